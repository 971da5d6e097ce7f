//! The few things the log asks of a disk, so that a test can put a worse disk beneath it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{Advice, FlockOperation, OFlags};
use rustix::io::Errno;

use crate::state::hand_over;

/// The name of the file whose first record is number `first`.
pub(super) fn file_name(first: u64) -> String {
    format!("audit-{first:020}.jsonl")
}

/// The name of the file with the hashes of the records that were in the file whose first record is number `first`.
pub(super) fn hashes_name(first: u64) -> String {
    format!("audit-{first:020}.hashes")
}

/// The number of the first record in the file of this name; `None` for any other file.
pub(super) fn first_of(name: &str) -> Option<u64> {
    number(name.strip_suffix(".jsonl")?)
}

/// The number of the first record whose hash is in the file of this name; `None` for any other file.
pub(super) fn first_hash_of(name: &str) -> Option<u64> {
    number(name.strip_suffix(".hashes")?)
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Reading a log.
pub(super) trait Files {
    /// The names of the log's files, in the order in which they were written.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The names of the files with hashes of pruned records, in the order of those.
    fn pruned(&self) -> io::Result<Vec<String>>;

    /// A file from its first byte, and how long it is now.
    fn read(&self, name: &str) -> io::Result<(Box<dyn Read + '_>, u64)>;
}

/// Writing a log: there is no way to alter or take away what is there.
pub(super) trait Storage: Files + Send {
    /// Makes an empty file that is still there after a power cut. It must not exist.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Puts `bytes` behind the end of a file.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended to the file survives a power cut.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Returns once what is read is what the disk has. After a sync that failed, Linux calls the pages clean that
    /// never reached the disk: reads go on to show them, and another sync succeeds without writing them.
    fn settle(&mut self) -> io::Result<()>;

    /// Fails where the file that is written to is no longer the one of this name, or not as long as what was written to
    /// it.
    fn still_there(&self, name: &str, length: u64) -> io::Result<()>;

    /// How many bytes are free.
    fn free(&self) -> io::Result<u64>;
}

/// A folder with a log in it, to look at.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn names(&self, number: impl Fn(&str) -> Option<u64>) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.0.read_dir()? {
            if let Ok(name) = entry?.file_name().into_string()
                && number(&name).is_some()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(self.0.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{name} is not a regular file")));
        }
        Ok(file)
    }

    /// Whether a daemon has the log open at this moment.
    pub fn is_being_written(&self) -> io::Result<bool> {
        // The lock is let go at once. A daemon that starts in this very moment tries again: `Disk::open`.
        match rustix::fs::flock(File::open(&self.0)?, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

impl Files for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.names(first_of)
    }

    fn pruned(&self) -> io::Result<Vec<String>> {
        self.names(first_hash_of)
    }

    fn read(&self, name: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        let file = self.open(name)?;
        let length = file.metadata()?.len();
        Ok((Box::new(file), length))
    }
}

/// Why the log's folder cannot be had.
#[derive(Debug)]
pub(super) enum NotOurs {
    /// Somebody else holds the lock.
    Locked,
    Io(io::Error),
}

impl From<io::Error> for NotOurs {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for NotOurs {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A folder with a log in it, to write to, locked against every other writer.
#[derive(Debug)]
pub(super) struct Disk {
    folder: Folder,
    /// Held open for its lock.
    lock: File,
    live: Option<(String, File)>,
}

impl Disk {
    /// Makes the folder if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<Self, NotOurs> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => sync_parent(path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let lock =
            File::options().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(path)?;
        // A second's patience: our predecessor may be in its last breath, or someone is just verifying.
        for _ in 0..20 {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { folder: Folder::new(path), lock, live: None }),
                Err(Errno::WOULDBLOCK) => sleep(Duration::from_millis(50)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(NotOurs::Locked)
    }

    fn live(&mut self, name: &str) -> io::Result<&mut File> {
        if self.live.as_ref().is_none_or(|(open, _)| open != name) {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let file = File::options().append(true).custom_flags(flags).open(self.folder.0.join(name))?;
            self.live = Some((name.to_owned(), file));
        }
        self.live.as_mut().map(|(_, file)| file).ok_or_else(|| io::Error::other("no file is open"))
    }
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn pruned(&self) -> io::Result<Vec<String>> {
        self.folder.pruned()
    }

    fn read(&self, name: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        self.folder.read(name)
    }
}

impl Storage for Disk {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let file =
            File::options().append(true).create_new(true).mode(0o600).open(self.folder.0.join(name))?;
        hand_over(&file, &self.folder.0)?;
        file.sync_all()?;
        rustix::fs::fsync(&self.lock)?;
        self.live = Some((name.to_owned(), file));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.live(name)?.write_all(bytes)
    }

    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::fstatvfs(&self.lock)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn still_there(&self, name: &str, length: u64) -> io::Result<()> {
        let Some((_, file)) = self.live.as_ref().filter(|(open, _)| open == name) else { return Ok(()) };
        // A file that was unlinked or replaced takes bytes as gladly as ever, and nobody will read them.
        let replaced = || io::Error::other(format!("{name} was taken away or replaced while it was in use"));
        let (ours, there) = (file.metadata()?, self.folder.0.join(name).symlink_metadata());
        match there {
            Ok(there) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => return Err(replaced()),
        }
        // So does one that was cut off, and then what follows stands where no record belongs.
        match ours.len() {
            now if now == length => Ok(()),
            now => Err(io::Error::other(format!(
                "{name} was cut off or added to by somebody else while it was in use: it has {now} bytes, and {length} \
                 were written"
            ))),
        }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.live(name)?.sync_data()
    }

    fn settle(&mut self) -> io::Result<()> {
        for name in self.list()? {
            let file = self.folder.open(&name)?;
            // Only clean pages are dropped.
            file.sync_data()?;
            // A file system may ignore this; then what is read is what was always read.
            if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
                tracing::warn!(file = name.as_str(), %error, "this start may read the audit log from memory, not from its disk");
            }
        }
        Ok(())
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
