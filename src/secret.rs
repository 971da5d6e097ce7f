//! Secrets: where they come from, and a type that cannot print them.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

/// Longest secret we read from a file, in bytes.
const LONGEST: u64 = 16 * 1024;

/// A secret. It has no `Display` and no `Serialize`, and its `Debug` says nothing.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes `text` in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The secret itself. Each call is a place to look at in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret is kept. Never the environment and never the configuration file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A systemd credential of this name (`LoadCredential=`), below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A file that only its owner may read.
    File(PathBuf),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// systemd gave us no credentials.
    #[error(
        "the credential {0:?} is not there: systemd passed no credentials (no $CREDENTIALS_DIRECTORY). \
         Add LoadCredential={0}:PATH to the unit"
    )]
    NoCredentials(String),
    /// The file cannot be opened or read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than the owner may read the file.
    #[error("{} may be read by others (mode {mode:03o}). Run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is nothing in it, or far too much, or it is not text.
    #[error("{} does not hold one line of text", .0.display())]
    NotText(PathBuf),
}

impl SecretSource {
    /// Reads the secret; white space around it is dropped.
    ///
    /// # Errors
    ///
    /// When it is not there, others may read it, or it is not one line of text.
    pub fn load(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                read(&Path::new(&directory).join(name))
            }
            Self::File(path) => read(path),
        }
    }
}

impl SecretSource {
    /// Reads the secret as root does on the host, where systemd passes no credentials: a credential is then the file
    /// that the unit loads it from.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on_host(&self) -> Result<Secret, SecretError> {
        match self.load() {
            Err(SecretError::NoCredentials(_)) => read(Path::new(&self.place())),
            loaded => loaded,
        }
    }

    /// Where a person puts the secret: the file, or the one that the unit loads the credential from.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Credential(name) => format!("/etc/credstore/tailnas.{name}"),
            Self::File(path) => path.display().to_string(),
        }
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    // Not blocking: a FIFO put in the place of the file must not hold up the start.
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(SecretError::NotText(path.to_owned()));
    }
    // systemd gives credentials as 0400 or, with an ACL for a dynamic user, 0440 whose group bits are the
    // ACL's mask. Its folder is closed to everybody else, so what counts here is "others".
    let mode = meta.mode() & 0o777;
    let forbidden = if is_credential(path) { 0o007 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    match file.take(LONGEST + 1).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(SecretError::NotText(path.to_owned()));
        }
        Err(error) => return Err(unreadable(error)),
    }
    let line = text.trim();
    if line.is_empty() || line.contains('\n') || text.len() as u64 > LONGEST {
        return Err(SecretError::NotText(path.to_owned()));
    }
    Ok(Secret::new(line.to_owned()))
}

fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|directory| path.starts_with(directory))
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}
