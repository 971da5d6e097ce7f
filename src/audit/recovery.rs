//! How a log is taken up again: what is there is read and checked, a torn end is described and left where it
//! is, and every change whose outcome nobody wrote is handed to whoever can ask the NAS about it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::chain::Hash;
use super::note::{Checkpoint, Note, PublicKey, Signer};
use super::queue::{NotRecorded, render};
use super::record::{ClockStep, Event, Genesis, Lost, Recovery, Start, VERSION};
use super::scan::{self, Break, Survey, Tail, Wanted, survey};
use super::sinks::Found;
use super::storage::{Storage, file_name};
use super::writer::{DRIFT_MS, WriteFailed, Writer};
use crate::clock::Clock;

/// Why the log cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error(
        "another tailnas is writing the audit log in {}. Two cannot share one; stop the other first, with its socket: \
         systemctl stop tailnas.socket tailnas.service",
        .0.display()
    )]
    Locked(PathBuf),
    /// It is not what was written.
    #[error(
        "the audit log is damaged in a way that no crash explains: {0}. Nothing was written. \
         Run: tailnas audit verify. Keep a copy of the folder as evidence; with the folder moved away, \
         the next start begins a new log"
    )]
    Tampered(Box<Break>),
    /// A checkpoint of ours, kept outside the log, is of another one.
    #[error(
        "the audit log is not the one that was signed: {sink} has a good checkpoint over {size} records, and the \
         first {size} records here are others. Nothing was written. Keep a copy of the folder and of {sink} as \
         evidence; with both moved away, the next start begins a new log"
    )]
    Forked {
        /// Where the checkpoint is.
        sink: String,
        /// How many records it covers.
        size: u64,
    },
    /// Another key signed it.
    #[error(
        "the audit log is signed with the key {theirs}, and audit.signing_key is {ours}. Nothing was written. Put \
         the old key back, or have it vouch for the new one: tailnas audit rotate-key"
    )]
    OtherKey {
        /// The key of the log.
        theirs: String,
        /// The key of the configuration.
        ours: String,
    },
    /// A newer version wrote it.
    #[error(
        "the audit log was written by a newer tailnas (format {0}; this one knows {VERSION}). Install that version again"
    )]
    Newer(u64),
    /// The folder or a file cannot be read.
    #[error("the audit log in {} cannot be opened", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the audit log cannot be continued: {0}")]
    Write(String),
}

/// What was found when the log was taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How many records were there; 0 for a new log.
    pub records: u64,
    /// The damage at its end, and the record that describes it now.
    pub recovered: Option<Mended>,
    /// The intents of which nobody has written down how they ended: [`Journal::pending`](super::Journal::pending).
    pub open: Vec<u64>,
    /// What was signed and is not there any more.
    pub lost: Vec<Lost>,
}

/// The end of the log that a crash left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Number of the record that describes it.
    pub seq: u64,
    /// Where it begins in its file.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, recovered, open, lost } = self;
        match records {
            0 => write!(f, "a new audit log was begun")?,
            records => write!(f, "the audit log was taken up after {records} records")?,
        }
        if let Some(Mended { seq, offset, len }) = recovered {
            write!(f, "; its torn end ({len} bytes at {offset}) is described in record {seq}")?;
        }
        if !open.is_empty() {
            write!(f, "; of {} changes nobody wrote down how they ended, and the NAS is asked", open.len())?;
        }
        for Lost { have, size, sink, .. } in lost {
            write!(
                f,
                "; LOST: {sink} has a checkpoint over {size} records, and there are {have}: an older copy was put \
                 back, or the log was moved away"
            )?;
        }
        Ok(())
    }
}

pub(super) enum Failed {
    Tampered(Box<Break>),
    Forked { sink: String, size: u64 },
    OtherKey { theirs: String, ours: String },
    Newer(u64),
    Io(io::Error),
    Write(String),
}

impl Failed {
    /// The same, for whoever wants the log in `dir`.
    pub fn within(self, dir: &Path) -> OpenError {
        match self {
            Self::Tampered(broken) => OpenError::Tampered(broken),
            Self::Forked { sink, size } => OpenError::Forked { sink, size },
            Self::OtherKey { theirs, ours } => OpenError::OtherKey { theirs, ours },
            Self::Newer(version) => OpenError::Newer(version),
            Self::Io(source) => OpenError::Io { dir: dir.to_owned(), source },
            Self::Write(why) => OpenError::Write(why),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WriteFailed> for Failed {
    fn from(error: WriteFailed) -> Self {
        Self::Write(error.to_string())
    }
}

impl From<NotRecorded> for Failed {
    fn from(error: NotRecorded) -> Self {
        Self::Write(error.to_string())
    }
}

/// Takes up the log in `storage`, or begins one, and gives the intents that have no outcome by their numbers.
pub(super) fn take_up(
    mut storage: Box<dyn Storage>,
    clock: Clock,
    signer: &Arc<Signer>,
    outside: &[Found],
) -> Result<(Writer, Opened, BTreeMap<u64, scan::Opened>), Failed> {
    // What is read counts as on disk from here on.
    storage.settle()?;
    let sizes = outside.iter().flat_map(|found| &found.notes).map(|note| note.checkpoint().size).collect();
    let found = survey(&*storage, Wanted { sizes, ..Wanted::default() })?;
    if let Some(broken) = found.broken {
        return Err(Failed::Tampered(Box::new(broken)));
    }
    if let Some(version) = found.newer {
        return Err(Failed::Newer(version));
    }
    if let Some((_, key)) = found.keys.last()
        && key != signer.public()
    {
        return Err(Failed::OtherKey { theirs: key.to_string(), ours: signer.public().to_string() });
    }
    if found.newest_is_signed() == Some(false) {
        return Err(Failed::Tampered(Box::new(found.unsigned())));
    }
    let lost = compare(&found, signer.public(), outside)?;
    let records = found.records();
    let set_back = found.last.as_deref().and_then(|last| set_back(last, clock.now()));
    let Survey { chain, tree, live, tail, open, install, keys, newest, pruned, closed, .. } = found;
    let (file, length) = if let Some((file, length)) = live {
        // A disk that takes no more writes is to be found out before anything is added.
        storage.sync(&file)?;
        (file, length)
    } else {
        let file = file_name(0);
        storage.create(&file)?;
        (file, 0)
    };
    let last_good_seq = chain.next.checked_sub(1);
    let covered = newest.map(|note| note.checkpoint().size);
    let mut writer = Writer::new(
        storage,
        (file, length),
        (chain, tree),
        random_name()?,
        clock,
        (Arc::clone(signer), covered),
    );

    let damage = match tail {
        Tail::Whole => None,
        Tail::NoNewline => {
            writer.end_line();
            Some(Recovery { offset: length + 1, len: 0, sha256: Hash::of(b""), last_good_seq })
        }
        Tail::Torn(torn) => {
            if !torn.ends_in_newline {
                writer.end_line();
            }
            Some(Recovery { offset: torn.offset, len: torn.len, sha256: torn.sha256, last_good_seq })
        }
    };
    let mut recovered = None;
    if let Some(recovery) = damage {
        let (offset, len) = (recovery.offset, recovery.len);
        let receipt = writer.seal(&render(&Event::Recovery(recovery))?);
        // By itself: a second crash then adds no more than this to the damage.
        writer.flush()?;
        recovered = Some(Mended { seq: receipt.seq, offset, len });
    }

    if closed && recovered.is_none() {
        // The crash was between the record that closes a file and the next file.
        let next = file_name(records);
        writer.begin(next)?;
    }

    let tailnas = env!("CARGO_PKG_VERSION").to_owned();
    if install.is_none() && pruned == 0 {
        let genesis = Genesis { install: random_name()?, tailnas: tailnas.clone(), format: VERSION };
        writer.seal(&render(&Event::Genesis(genesis))?);
        writer.flush()?;
    }
    if keys.is_empty() {
        writer.name_key();
        writer.flush()?;
    }
    for lost in &lost {
        writer.seal(&render(&Event::Lost(lost.clone()))?);
        writer.flush()?;
    }
    if !lost.is_empty() {
        // At once: what no checkpoint covers excuses nothing at later starts.
        writer.sign();
        writer.flush()?;
    }
    if let Some(by_ms) = set_back {
        writer.seal(&render(&Event::ClockStep(ClockStep { by_ms }))?);
        writer.flush()?;
    }
    writer.seal(&render(&Event::Start(Start { tailnas, pid: std::process::id() }))?);
    writer.flush()?;

    let opened = Opened { records, recovered, open: open.keys().copied().collect(), lost };
    let open = open.into_iter().map(|(seq, open)| (seq, open.read())).collect();
    Ok((writer, opened, open))
}

/// By how many milliseconds it is earlier now than when the last record was written, if that is more than clocks drift.
/// That it is later says nothing: time passes while no daemon runs.
fn set_back(last: &str, now: DateTime<Utc>) -> Option<i64> {
    let last = DateTime::parse_from_rfc3339(last).ok()?;
    let by_ms = now.timestamp_millis().saturating_sub(last.timestamp_millis());
    (by_ms < -DRIFT_MS).then_some(by_ms)
}

/// Holds the log against the good checkpoints that each sink has. Where one contradicts it, it was not us who wrote
/// it; where the newest is beyond its end, what is in between is lost.
fn compare(found: &Survey, ours: &PublicKey, outside: &[Found]) -> Result<Vec<Lost>, Failed> {
    let keys: Vec<&PublicKey> = found.keys.iter().map(|(_, key)| key).chain([ours]).collect();
    let mut lost: Vec<Lost> = Vec::new();
    for Found { sink, notes } in outside {
        let good = notes.iter().filter(|note| keys.iter().any(|key| key.signed(note)));
        let mut newest = None;
        for Checkpoint { size, root } in good.map(Note::checkpoint) {
            newest = Some((size, root));
            // What an earlier start found to be lost, the sinks still have.
            let told = found.told().any(|lost| lost.have < size && size <= lost.size);
            if !told && found.roots.get(&size).is_some_and(|here| *here != root) {
                return Err(Failed::Forked { sink: sink.clone(), size });
            }
        }
        if let Some((size, root)) = newest.filter(|(size, _)| *size > found.records())
            && lost.iter().all(|lost| (lost.size, lost.root) != (size, root))
        {
            lost.push(Lost { have: found.records(), size, root, sink: sink.clone() });
        }
    }
    Ok(lost)
}

/// 16 random bytes, as text.
fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}
