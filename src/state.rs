//! Files that the daemon keeps for itself, in the folder `[state] dir` names: read whole, replaced whole, open to
//! their owner alone.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// The folder. Whatever the daemon and the commands of root both write in it, they write under its lock.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

/// Nobody else changes anything in the folder as long as this exists.
#[derive(Debug)]
pub struct Locked<'d> {
    dir: &'d StateDir,
    _lock: File,
}

impl StateDir {
    /// The folder at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where `name` is, to be named to people.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in the file `name`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no regular file, may be read by others, or is longer than `most` bytes.
    pub fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        // Not blocking and not through a link: what stands there must be a file, and ours.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let file = match File::options().read(true).custom_flags(flags).open(self.path_of(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(io::Error::other(
                "others than its owner may read it or write it; run chmod 600 on it",
            ));
        }
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("it is longer than {most} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Waits until nobody else changes anything here, and makes the folder where it is missing.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or written.
    pub fn lock(&self) -> io::Result<Locked<'_>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let lock = self.open_new(".lock", false)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Locked { dir: self, _lock: lock })
    }

    /// Opens `name` for writing, as a file of the folder's owner.
    fn open_new(&self, name: &str, truncate: bool) -> io::Result<File> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(truncate)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.path_of(name))?;
        hand_over(&file, &self.0)?;
        Ok(file)
    }
}

/// Gives a file that root has made in `folder` to the owner of that folder: what the commands of root leave in the
/// folders of the daemon, the daemon must be able to read and to go on with, and the daemon is not root. What anybody
/// else has made stays as it is.
///
/// # Errors
///
/// When the file system does not let root give it away.
pub(crate) fn hand_over(made: &File, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (folder, meta) = (std::fs::metadata(folder)?, made.metadata()?);
    if (folder.uid(), folder.gid()) == (meta.uid(), meta.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(made, Some(folder.uid()), Some(folder.gid()))
}

impl Locked<'_> {
    /// Puts `bytes` in the place of the file `name`, or leaves the old one as it was. On disk when this returns.
    ///
    /// # Errors
    ///
    /// When it could not be written. The old file is still there then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        let mut file = self.dir.open_new(&new, true)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(self.dir.path_of(&new), self.dir.path_of(name))?;
        File::open(&self.dir.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_belongs_to_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&folder.path().join("made/by/us"));
        assert_eq!(dir.read("x", 10).unwrap(), None);
        let locked = dir.lock().unwrap();
        locked.replace("x", b"one").unwrap();
        locked.replace("x", b"two").unwrap();
        assert_eq!(dir.read("x", 10).unwrap().as_deref(), Some(&b"two"[..]));
        let mode = std::fs::metadata(dir.path_of("x")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(dir.read("x", 2).is_err(), "it is longer than that");
        assert!(!dir.path_of("x.new").exists());
    }

    #[test]
    fn what_others_could_have_put_there_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        dir.lock().unwrap().replace("x", b"ours").unwrap();
        std::os::unix::fs::symlink(dir.path_of("x"), dir.path_of("link")).unwrap();
        assert!(dir.read("link", 10).is_err());
        std::fs::create_dir(dir.path_of("folder")).unwrap();
        assert!(dir.read("folder", 10).is_err());
        std::fs::set_permissions(dir.path_of("x"), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(dir.read("x", 10).unwrap_err().to_string().contains("chmod 600"));
    }
}
