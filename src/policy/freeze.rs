//! The brake: while it is on, no change is planned, approved or made.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::hand_over;

/// The file in the state folder that is there while changes are frozen.
const FILE: &str = "frozen";

/// Who froze changes where it was done by the command on the host.
pub const BY_ROOT: &str = "root on the host";

/// Longest note that is read.
const LONGEST: u64 = 4096;

/// Whether changes are frozen. It is a file, looked at for each change: `tailnas freeze` on the host and the page
/// on the tailnet act at once, a restart changes nothing, and what cannot be read is frozen.
#[derive(Clone, Debug)]
pub struct Freeze {
    dir: PathBuf,
}

/// Who froze changes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Who: a login, or `root on the host`.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// Why, in their words; empty where they gave none.
    #[serde(default)]
    pub reason: String,
}

/// As a part of a sentence: `changes are frozen by root on the host since 2026-11-21T12:00:00Z (something is odd)`.
impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, at, reason } = self;
        write!(f, "changes are frozen by {by}")?;
        if !at.is_empty() {
            write!(f, " since {at}")?;
        }
        if !reason.is_empty() {
            write!(f, " ({reason})")?;
        }
        Ok(())
    }
}

impl Freeze {
    /// The brake whose file is in `dir`, the state folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Who froze changes; `None` when nobody did. A file that cannot be read freezes too.
    #[must_use]
    pub fn state(&self) -> Option<Frozen> {
        let unreadable = |error: &dyn fmt::Display| Frozen {
            by: "nobody in particular".to_owned(),
            at: String::new(),
            reason: format!("whether changes are frozen cannot be read: {error}"),
        };
        let text = match File::open(self.file()) {
            Ok(file) => io::read_to_string(io::Read::take(file, LONGEST)),
            // Gone is thawed only where the folder is there: without it nobody could have frozen anything.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match fs::metadata(&self.dir) {
                    Ok(_) => None,
                    Err(error) => Some(unreadable(&format_args!("{}: {error}", self.dir.display()))),
                };
            }
            Err(error) => Err(error),
        };
        Some(match text.map(|text| serde_json::from_str(&text)) {
            Ok(Ok(frozen)) => frozen,
            Ok(Err(error)) => unreadable(&error),
            Err(error) => unreadable(&error),
        })
    }

    /// Freezes changes, for good until [`Freeze::thaw`]. What is under way comes to its end.
    ///
    /// # Errors
    ///
    /// When the file cannot be written to disk; then nothing is promised.
    pub fn freeze(&self, frozen: &Frozen) -> io::Result<()> {
        let new = self.dir.join(format!("{FILE}.new"));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        hand_over(&file, &self.dir)?;
        file.write_all(serde_json::to_string(frozen).map_err(io::Error::other)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.file())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Lets changes be made again.
    ///
    /// # Errors
    ///
    /// When the file cannot be taken away; then changes stay frozen.
    pub fn thaw(&self) -> io::Result<()> {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::open(&self.dir)?.sync_all(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_is_frozen_until_thawed_and_what_cannot_be_read_is_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let freeze = Freeze::new(dir.path());
        assert_eq!(freeze.state(), None);
        let frozen = Frozen { by: "alice".into(), at: "2026-11-21T12:00:00Z".into(), reason: "odd".into() };
        freeze.freeze(&frozen).unwrap();
        assert_eq!(Freeze::new(dir.path()).state(), Some(frozen), "also for the next start");
        freeze.thaw().unwrap();
        freeze.thaw().unwrap();
        assert_eq!(freeze.state(), None);

        for text in ["", "{", "thawed"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert!(freeze.state().is_some(), "{text:?}");
        }
        fs::remove_file(dir.path().join(FILE)).unwrap();
        fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(freeze.state().is_some(), "a folder in its place");
        assert!(Freeze::new(&dir.path().join("gone")).state().is_some(), "no state folder");
    }
}
