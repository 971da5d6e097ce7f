//! The audit log: what was done, by whom, on whose word, written down before it is done.
//!
//! A change is recorded twice. Its *intent* is on disk before there is a [`Warrant`] to do it with; its
//! *outcome* is on disk before the caller hears of it. A read is recorded once, before its answer is given.
//! Whatever cannot be recorded is not done: the first error of the disk is the last thing this log does.
//!
//! The map: [`record`] says what stands in a line, `chain` seals it, `queue` is where it waits, `writer` is the
//! one thread that puts it on disk through `storage`. [`note`] signs it, `sinks` keep what was signed elsewhere.
//! `scan` reads it all again, for `recovery` at the start of the daemon and for [`verify`](mod@verify); `damage`
//! tells it what a crash may have done. `docs/AUDIT-LOG.md` describes the file as an interface.
//!
//! What is deliberately not here: any way to alter, shorten, rename or delete a file of the log.

pub mod bench;
mod chain;
mod damage;
mod hasher;
pub mod note;
pub mod prune;
mod queue;
pub mod record;
mod recovery;
mod refusals;
mod scan;
mod sinks;
mod storage;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod verify;
mod warrant;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use self::chain::{Hash, NotAHash, Receipt};
pub use self::hasher::Hasher;
pub use self::note::Signer;
pub use self::queue::{Health, NotRecorded};
pub use self::record::{Did, NasJob, Outcome, Personal, Reloaded, Status, Upstream};
pub use self::recovery::{Mended, OpenError, Opened};
pub use self::refusals::{Refusal, Refused};
pub use self::sinks::{JOURNALED, SinkHealth};
pub use self::warrant::{Pending, SystemWarrant, Warrant};

use self::queue::{Ack, Job, Queue, render};
use self::record::{Act, Event};
use self::recovery::Failed;
use self::sinks::{Found, Sinks};
use self::storage::{Disk, NotOurs, Storage};
use self::warrant::Brief;
use crate::clock::Clock;
use crate::domain::access::{Read, Write};
use crate::domain::id::RequestId;
use crate::lifecycle::Heartbeat;
use crate::metrics::Timings;
use crate::policy::permit::{Permit, Terms};
use crate::secret::Secret;

/// What a log is kept with.
#[derive(Debug)]
pub struct Settings {
    /// The folder.
    pub dir: PathBuf,
    /// The key under which what may not be written down is hashed.
    pub hasher_key: Secret,
    /// Who signs.
    pub signer: Signer,
    /// A file, best on another machine, that gets every checkpoint too.
    pub copy: Option<PathBuf>,
    /// How long a file of the log becomes before another one is begun, in bytes.
    pub rotate_at: u64,
    /// Whether reading goes on when there is no room for changes.
    pub reads_go_on: bool,
}

/// The log, open for writing. Clones write to the same one; it ends with [`Journal::close`].
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    hasher: Hasher,
    signer: Arc<Signer>,
    sinks: Arc<Sinks>,
    syncs: Timings,
    clock: Clock,
    pending: Mutex<Vec<Pending>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Takes up the log of these settings, or begins one, and starts the thread that writes it. Reads and checks the
    /// whole log, so it may take a second per million records; call it before anything waits.
    ///
    /// The thread beats `heartbeat` at least every second, unless the disk keeps it waiting.
    ///
    /// # Errors
    ///
    /// When another daemon has the log, when it was tampered with, when a newer version wrote it, or when the
    /// disk does not do as it should. Nothing has been recorded then.
    pub fn open(settings: Settings, clock: Clock, heartbeat: Heartbeat) -> Result<(Self, Opened), OpenError> {
        let Settings { dir, hasher_key, signer, copy, rotate_at, reads_go_on } = settings;
        let (disk, outside, sinks) = surroundings(&dir, copy.as_deref(), &clock)?;
        let keys = (Hasher::new(&hasher_key), Arc::new(signer));
        let (journal, opened) =
            Self::start((Box::new(disk), rotate_at), keys, (&outside, sinks), clock, heartbeat)
                .map_err(|failed| failed.within(&dir))?;
        if reads_go_on {
            journal.0.queue.let_reads_go_on();
        }
        Ok((journal, opened))
    }

    /// Lets the key of `settings` make `next` its successor in the log, which nobody else may be writing. From then
    /// on the log is continued with `next` alone.
    ///
    /// # Errors
    ///
    /// As [`Journal::open`].
    pub fn change_key(settings: Settings, next: Signer, clock: Clock) -> Result<Opened, OpenError> {
        let Settings { dir, signer, copy, .. } = settings;
        let (disk, outside, sinks) = surroundings(&dir, copy.as_deref(), &clock)?;
        let change = || {
            // What is open stays so: the next start of the daemon asks the NAS.
            let (mut writer, opened, _) =
                recovery::take_up(Box::new(disk), clock, &Arc::new(signer), &outside)?;
            writer.publish_to(Arc::clone(&sinks));
            writer.change_key(Arc::new(next))?;
            Ok(opened)
        };
        let changed = change().map_err(|failed: Failed| failed.within(&dir));
        sinks.close();
        changed
    }

    fn start(
        (storage, rotate_at): (Box<dyn Storage>, u64),
        (hasher, signer): (Hasher, Arc<Signer>),
        (outside, sinks): (&[Found], Arc<Sinks>),
        clock: Clock,
        heartbeat: Heartbeat,
    ) -> Result<(Self, Opened), Failed> {
        let (mut writer, opened, open) = recovery::take_up(storage, clock.clone(), &signer, outside)?;
        writer.publish_to(Arc::clone(&sinks));
        writer.rotate_at(rotate_at);
        let queue = Arc::new(Queue::new(clock.clone()));
        writer.tell(&queue);
        let syncs = writer.syncs();
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer::run(writer, &queue, &heartbeat)
        })?;
        let thread = Mutex::new(Some(thread));
        queue.reserve(open.len());
        let pending = open.into_iter().map(|(seq, opened)| Pending::left(&queue, seq, opened)).collect();
        let pending = Mutex::new(pending);
        Ok((Self(Arc::new(Inner { queue, hasher, signer, sinks, syncs, clock, pending, thread })), opened))
    }

    /// Records that something is about to be changed, and resolves with the warrant to do it once that is on
    /// disk. A caller who stops waiting gets no warrant, and the intent is closed as `cancelled`.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], and then it must not be done.
    pub async fn change(&self, permit: Permit<Write>) -> Result<Warrant<Write>, NotRecorded> {
        self.intent(permit.spend()).await
    }

    async fn intent(&self, terms: Terms) -> Result<Warrant<Write>, NotRecorded> {
        let act = Act::new(&terms, true);
        let brief =
            Brief { req: act.req, tool: act.tool.clone(), nas: act.nas.clone(), target: act.target.clone() };
        let (to, open) = oneshot::channel();
        let event = render(&Event::Intent(Box::new(act)))?;
        self.0.queue.admit(Some(Job { event, ack: Ack::Intent(to, brief) }))?;
        let open = open.await.unwrap_or_else(|_| Err(writer_gone()))?;
        Ok(Warrant::change(terms, open))
    }

    /// Gives the warrant to read. The record follows when it is closed, and before the answer.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`] where that record could not be written as things are; then it must not be read.
    pub fn read(&self, permit: Permit<Read>) -> Result<Warrant<Read>, NotRecorded> {
        self.look(permit.spend())
    }

    fn look(&self, terms: Terms) -> Result<Warrant<Read>, NotRecorded> {
        self.0.queue.admit(None)?;
        Ok(Warrant::look(terms, Arc::clone(&self.0.queue)))
    }

    /// A warrant for the daemon's own reading, such as samplers and health. These are counted by purpose, and
    /// the counts stand in the `stop` record; a record for each would bury everything else.
    pub fn system(&self, purpose: &'static str) -> SystemWarrant {
        self.0.queue.count_system(purpose);
        SystemWarrant::new(RequestId::at(self.0.clock.now()), purpose)
    }

    /// The changes that an earlier run left without an outcome; each is given once. Whoever takes one finds out how it
    /// ended, and one that nobody takes is left to the next start.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.0.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that the configuration was to be read again, and what came of it. Never waits; a log that takes in
    /// nothing more has no record of it.
    pub fn reloaded(&self, reloaded: Reloaded) {
        if let Ok(event) = render(&Event::Reload(reloaded)) {
            self.0.queue.tell(Job { event, ack: Ack::Nobody });
        }
    }

    /// Records what a person did that is no call, and resolves once that is on disk.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], and then it must not be done.
    pub async fn person(&self, personal: Personal) -> Result<Receipt, NotRecorded> {
        let (to, written) = oneshot::channel();
        self.0.queue.admit(None)?;
        self.0.queue.close(&Event::Person(Box::new(personal)), Ack::Receipt(to))?;
        written.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    /// Records that something was refused, in the daemon's own log as well. Never waits; many of a kind become one
    /// record with a count.
    pub fn refused(&self, refusal: Refusal) {
        self.0.queue.refuse(refusal);
    }

    /// How the log is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.queue.health()
    }

    /// How long each sync took.
    #[must_use]
    pub fn syncs(&self) -> &Timings {
        &self.0.syncs
    }

    /// How the places are that get its checkpoints.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkHealth> {
        self.0.sinks.health(self.0.clock.mono())
    }

    /// The record's receipt as one word, signed, for whoever asked for the change.
    #[must_use]
    pub fn signed(&self, receipt: Receipt) -> String {
        self.0.signer.receipt(receipt)
    }

    /// Resolves with the reason once the log is dead. Until then nothing happens, also not at the end.
    pub async fn died(&self) -> String {
        let mut over = self.0.queue.over();
        let dead = |over: &Option<NotRecorded>| matches!(over, Some(NotRecorded::Dead(_)));
        let why = match over.wait_for(dead).await.as_deref() {
            Ok(Some(NotRecorded::Dead(why))) => Some(why.to_string()),
            _ => None,
        };
        // Not within the match, which holds what is watched.
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Hashes under the key of this installation.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Writes what waits and a `stop` record, and resolves once that is on disk and the folder is free. From
    /// now on every call fails; a warrant that is still out is closed as `unknown` by the next start.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Dead`] where the disk failed.
    pub async fn close(self) -> Result<(), NotRecorded> {
        self.0.queue.stop();
        let mut over = self.0.queue.over();
        let result = match over.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why @ NotRecorded::Dead(_))) => Err(why.clone()),
            _ => Ok(()),
        };
        self.0.join();
        result
    }
}

/// What there is besides the log: its folder, which is ours from here on, and the checkpoints outside it.
fn surroundings(
    dir: &Path,
    copy: Option<&Path>,
    clock: &Clock,
) -> Result<(Disk, Vec<Found>, Arc<Sinks>), OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    let disk = Disk::open(dir).map_err(|error| match error {
        NotOurs::Locked => OpenError::Locked(dir.to_owned()),
        NotOurs::Io(source) => io(source),
    })?;
    let (outside, unread) = sinks::look(dir, copy);
    if let Some(unread) = unread {
        tracing::warn!(
            "the audit log could not be compared with the checkpoints outside it: {unread}. Whether an older copy \
             was put back, this start cannot tell"
        );
    }
    let sinks = Arc::new(Sinks::start(dir, copy, clock).map_err(io)?);
    Ok((disk, outside, sinks))
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if thread.join().is_err() {
            tracing::error!("the writer of the audit log panicked");
        }
        self.sinks.close();
    }
}

impl Drop for Inner {
    /// A log that is dropped instead of closed writes what waits, and no `stop`: nobody stopped it.
    fn drop(&mut self) {
        self.queue.abandon();
        self.join();
    }
}

fn writer_gone() -> NotRecorded {
    NotRecorded::Dead("the thread that writes it is gone".into())
}
