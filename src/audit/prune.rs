//! Deleting old files of the log, by somebody who asks for just that. The hashes of their records stay, 32 bytes
//! each, so that what is left can still be checked against every checkpoint and receipt there ever was.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::chain::seal_of;
use super::scan::{Break, Wanted, survey};
use super::storage::{Disk, Files as _, Folder, NotOurs, first_of, hashes_name};
use crate::state::hand_over;

/// Why nothing was pruned, or not all.
#[derive(Debug, thiserror::Error)]
pub enum NotPruned {
    /// A daemon is writing it.
    #[error(
        "a tailnas is writing the audit log in {}: stop it first, with the socket that would start it again: systemctl \
         stop tailnas.socket tailnas.service. Nothing was deleted",
        .0.display()
    )]
    Running(PathBuf),
    /// The folder is not there, or has no log in it.
    #[error(
        "there is no audit log in {}. Nothing was deleted. Name the folder of the log with --dir, or leave --dir out to \
         take that of the configuration",
        .0.display()
    )]
    NoLog(PathBuf),
    /// It is not what was written.
    #[error("the audit log is damaged, and evidence is not deleted: {0}. Run: tailnas audit verify")]
    Damaged(Box<Break>),
    /// Changes without an outcome would be forgotten.
    #[error(
        "record {0} is a change whose outcome is not written yet: start the daemon once. Nothing was deleted"
    )]
    Open(u64),
    /// A newer version wrote it.
    #[error("the audit log was written by a newer tailnas: use that one. Nothing was deleted")]
    Newer,
    /// The disk did not do as it should. A file is deleted only once its hashes are on disk.
    #[error("the audit log in {} could not be pruned to the end", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Deletes the files of the log in `dir` in which every record is before `before`, and says which. The last file
/// always stays.
///
/// # Errors
///
/// See [`NotPruned`].
pub fn prune(dir: &Path, before: u64) -> Result<Vec<String>, NotPruned> {
    let io = |source| NotPruned::Io { dir: dir.to_owned(), source };
    // Asked first: the folder that is not there would be made in order to lock it.
    match Folder::new(dir).list() {
        Ok(names) if !names.is_empty() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        Ok(_) | Err(_) => return Err(NotPruned::NoLog(dir.to_owned())),
    }
    // Held to the end: no daemon may start in between.
    let lock = Disk::open(dir).map_err(|error| match error {
        NotOurs::Locked => NotPruned::Running(dir.to_owned()),
        NotOurs::Io(source) => io(source),
    })?;
    let found = survey(&lock, Wanted::default()).map_err(io)?;
    if let Some(broken) = found.broken {
        return Err(NotPruned::Damaged(Box::new(broken)));
    }
    if found.newer.is_some() {
        return Err(NotPruned::Newer);
    }
    let names = lock.list().map_err(io)?;
    let old: Vec<&String> = names
        .windows(2)
        .take_while(|pair| first_of(&pair[1]).is_some_and(|next| next <= before))
        .map(|pair| &pair[0])
        .collect();
    let kept = names.get(old.len()).and_then(|name| first_of(name)).unwrap_or(0);
    if let Some((&open, _)) = found.open.range(..kept).next() {
        return Err(NotPruned::Open(open));
    }
    for (at, name) in old.iter().enumerate() {
        let (first, next) = (first_of(name), names.get(at + 1).and_then(|name| first_of(name)));
        let records = next.zip(first).map(|(next, first)| next - first);
        replace(dir, name, records.unwrap_or_default()).map_err(io)?;
    }
    Ok(old.into_iter().cloned().collect())
}

/// Puts the hashes of its records in the place of a file.
fn replace(dir: &Path, name: &str, records: u64) -> io::Result<()> {
    let mut hashes = Vec::new();
    let mut lines = BufReader::new(Folder::new(dir).open(name)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        // What a crash damaged and a recovery describes is no record.
        if let Some(seal) = seal_of(line.strip_suffix(b"\n").unwrap_or(&line))
            && seal.written == seal.computed
        {
            hashes.extend_from_slice(seal.written.as_bytes());
        }
        line.clear();
    }
    if hashes.len() as u64 != records * 32 {
        // Whole records may stand in a stretch that a recovery describes as damaged.
        return Err(io::Error::other(format!("{name} holds damage that is kept as it is")));
    }
    let folder = File::open(dir)?;
    let name_of_hashes = hashes_name(first_of(name).unwrap_or_default());
    let part = dir.join(format!("{name_of_hashes}.part"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    hand_over(&file, dir)?;
    file.write_all(&hashes)?;
    file.sync_all()?;
    fs::rename(&part, dir.join(name_of_hashes))?;
    folder.sync_all()?;
    fs::remove_file(dir.join(name))?;
    folder.sync_all()
}
