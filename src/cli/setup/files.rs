//! What setup writes: whole, or not at all.

use std::fs::File;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::Trouble;
use crate::secret::SecretSource;

/// Everybody may read it; it holds no secret.
pub(super) const READABLE: Mode = Mode { file: 0o644, folder: 0o755 };

/// Only its owner, who is root, may.
pub(super) const SECRET: Mode = Mode { file: 0o600, folder: 0o700 };

/// Permissions of a file, and of the folder for it where there is none.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    file: u32,
    folder: u32,
}

/// Where a secret is kept until systemd hands it to the daemon.
pub(super) fn place(source: &SecretSource, credstore: &Path) -> PathBuf {
    match source {
        SecretSource::Credential(name) => credstore.join(format!("tailnas.{name}")),
        SecretSource::File(path) => path.clone(),
    }
}

/// Whether a secret is where systemd finds it, in clear or encrypted.
pub(super) fn is_there(source: &SecretSource, credstore: &Path) -> bool {
    place(source, credstore).exists() || is_sealed(source, credstore)
}

/// Whether a secret lies encrypted beside the folder of those in clear (systemd-creds(1)): systemd alone opens it.
pub(super) fn is_sealed(source: &SecretSource, credstore: &Path) -> bool {
    let SecretSource::Credential(name) = source else { return false };
    let mut folder = credstore.as_os_str().to_owned();
    folder.push(".encrypted");
    Path::new(&folder).join(format!("tailnas.{name}")).exists()
}

/// Says early what would come to light late: that we are not root.
pub(super) fn can_be_written(file: &Path) -> Result<(), Trouble> {
    let there = file.ancestors().skip(1).find(|folder| folder.exists());
    match rustix::fs::access(there.unwrap_or(Path::new("/")), Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(error) => {
            Err(Trouble::new(format!("{} cannot be written: {error}", file.display()), "Run this as root."))
        }
    }
}

/// Writes `text` to `file`: beside it first, then in its place, so that nobody finds half of it.
pub(super) fn write(file: &Path, text: &str, mode: Mode) -> Result<(), Trouble> {
    replace(file, text, mode).map_err(|error| {
        Trouble::new(
            format!("{} cannot be written: {error}", file.display()),
            "Is there room, and are you root?",
        )
    })
}

/// Takes a file away, if it is there.
pub(super) fn remove(file: &Path) -> Result<(), Trouble> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Trouble::new(format!("{} cannot be taken away: {error}", file.display()), "Are you root?"))
        }
        _ => Ok(()),
    }
}

fn replace(file: &Path, text: &str, mode: Mode) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(mode.folder).create(folder)?;
        std::fs::set_permissions(folder, Permissions::from_mode(mode.folder))?;
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let done = fill(&beside, text, mode).and_then(|()| std::fs::rename(&beside, file));
    if done.is_err() {
        // It may hold a secret, or half of one.
        let _ = std::fs::remove_file(&beside);
    }
    done?;
    File::open(folder)?.sync_all()
}

fn fill(file: &Path, text: &str, mode: Mode) -> io::Result<()> {
    let mut to = File::options().write(true).create_new(true).mode(mode.file).open(file)?;
    // Whatever the umask left of it: the daemon must be able to read its configuration.
    to.set_permissions(Permissions::from_mode(mode.file))?;
    to.write_all(text.as_bytes())?;
    to.sync_all()
}
