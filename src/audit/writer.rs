//! The one thread that writes: everything that waits goes out in one write and one sync, and then everybody is
//! told. While one sync takes its time, the next batch gathers; and for a moment after it, where those who were told are
//! soon back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{Chain, Receipt, Stamp, Tree};
use super::note::{Checkpoint, Signer};
use super::queue::{Ack, Batch, Last, MOST_OPEN, NotRecorded, Queue, render};
use super::record::{ClockStep, Event, Key, LONGEST, Rotate, Signed, Space, Stop};
use super::refusals;
use super::sinks::Sinks;
use super::storage::{Storage, file_name};
use crate::clock::Clock;
use crate::lifecycle::Heartbeat;
use crate::metrics::Timings;

/// How long the writer sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// After how many records there is a checkpoint.
const CHECKPOINT_RECORDS: u64 = 64;

/// How old the newest checkpoint may become when there is something it does not cover.
const CHECKPOINT_AGE: Duration = Duration::from_mins(1);

/// Below this many free bytes nothing new is let in. It is the room for everything that may already be let in: so many
/// warrants, each with a record of the greatest length. A change may still write two, `accepted` and `outcome`, which
/// together are shorter than that.
const LEAST_FREE: u64 = (MOST_OPEN * LONGEST) as u64;

/// From this many on it is let in again.
const FREE_AGAIN: u64 = LEAST_FREE + LEAST_FREE / 4;

/// Below this many somebody should look after the disk.
const LITTLE_FREE: u64 = 8 * LEAST_FREE;

/// A sync that takes longer than this is worth a word.
const SLOW: Duration = Duration::from_secs(1);

/// How often it is said how many refusals wait for room.
const COUNTED: Duration = Duration::from_mins(1);

/// By how much the clocks may drift apart between two looks.
pub(super) const DRIFT_MS: i64 = 2000;

/// How long the log may be silent.
const SILENCE: Duration = Duration::from_mins(15);

/// The end of the log, and how to make it longer.
pub(super) struct Writer {
    storage: Box<dyn Storage>,
    file: String,
    /// How long the file is, and how long it may become.
    length: u64,
    rotate_at: u64,
    chain: Chain,
    tree: Tree,
    signer: Arc<Signer>,
    /// How many records the newest checkpoint covers, and when the next one is due for its age.
    signed: u64,
    sign_at: Option<Duration>,
    /// When the last record was made.
    last_at: Duration,
    sinks: Arc<Sinks>,
    /// Why nothing new is let in; `None` while it is.
    short: Option<Short>,
    /// When it was last said how many refusals wait for room.
    counted_at: Duration,
    /// Whether it was said that there is little room.
    warned: bool,
    /// How far the wall clock was ahead of the other one, in milliseconds.
    ahead: i64,
    durable: Option<u64>,
    boot: String,
    clock: Clock,
    batch: Vec<u8>,
    syncs: Timings,
}

/// Why nothing new is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// There is too little room.
    Little,
    /// Nobody knows how much there is.
    Untold,
}

/// The disk did not take a batch. What part of it is there, nobody can say.
#[derive(Debug, thiserror::Error)]
#[error("{file} could not be {what}: {source}")]
pub(super) struct WriteFailed {
    pub file: String,
    pub what: &'static str,
    pub source: io::Error,
}

impl Writer {
    /// A writer that goes on behind `chain`, all of which is on disk.
    pub fn new(
        storage: Box<dyn Storage>,
        (file, length): (String, u64),
        (chain, tree): (Chain, Tree),
        boot: String,
        clock: Clock,
        (signer, covered): (Arc<Signer>, Option<u64>),
    ) -> Self {
        let durable = chain.next.checked_sub(1);
        Self {
            storage,
            file,
            length,
            rotate_at: u64::MAX,
            durable,
            chain,
            tree,
            signer,
            signed: covered.unwrap_or_default(),
            sign_at: None,
            last_at: clock.mono(),
            sinks: Arc::default(),
            short: None,
            counted_at: Duration::ZERO,
            warned: false,
            ahead: ahead(&clock),
            boot,
            clock,
            batch: Vec::new(),
            syncs: Timings::default(),
        }
    }

    /// Begins another file once one is this long.
    pub const fn rotate_at(&mut self, length: u64) {
        self.rotate_at = length;
    }

    /// Goes on in another file if this one is long enough. The record that closes this one is on disk before there
    /// is another; a crash in between leaves a closed file, and the next start begins the other.
    pub fn rotate(&mut self) -> Result<(), WriteFailed> {
        if self.length < self.rotate_at {
            return Ok(());
        }
        let to = file_name(self.chain.next + 1);
        self.add(&Event::Rotate(Rotate { to: to.clone() }));
        self.flush()?;
        self.begin(to)
    }

    /// Begins the next file. It names the key and is signed at once, so that it stands by itself when those before
    /// it are gone.
    pub fn begin(&mut self, file: String) -> Result<(), WriteFailed> {
        self.storage.create(&file).map_err(|source| {
            let file = file.clone();
            WriteFailed { file, what: "begun", source }
        })?;
        (self.file, self.length) = (file, 0);
        self.name_key();
        self.flush()?;
        self.sign();
        self.flush()
    }

    /// Says which key signs.
    pub fn name_key(&mut self) {
        let vkey = self.signer.public().to_string();
        self.add(&Event::Key(Key { vkey, voucher: None }));
    }

    /// Sends checkpoints to these from now on.
    pub fn publish_to(&mut self, sinks: Arc<Sinks>) {
        self.sinks = sinks;
    }

    /// How long its syncs take.
    pub fn syncs(&self) -> Timings {
        self.syncs.clone()
    }

    /// Ends the line that a crash left without its end, in the next batch.
    pub fn end_line(&mut self) {
        self.batch.push(b'\n');
    }

    /// Adds a record to the next batch.
    pub fn seal(&mut self, event: &[u8]) -> Receipt {
        self.last_at = self.clock.mono();
        let stamp = Stamp {
            at: self.clock.now(),
            mono: u64::try_from(self.last_at.as_nanos()).unwrap_or(u64::MAX),
            boot: &self.boot,
            durable: self.durable,
        };
        let receipt = self.chain.seal(&stamp, event, &mut self.batch);
        self.tree.push(receipt.hash);
        receipt
    }

    /// Signs the log as it is, all of which is on disk, and makes the record of it the first of the next batch.
    /// The sinks have it at once: were it first recorded, a crash in between would leave them behind for long.
    pub fn sign(&mut self) {
        let checkpoint = Checkpoint { size: self.tree.size(), root: self.tree.root() };
        let note = self.signer.checkpoint(checkpoint);
        self.sinks.publish(checkpoint.size, &note, self.clock.mono());
        self.add(&Event::Checkpoint(Signed { note }));
        self.signed = checkpoint.size;
        self.sign_at = None;
    }

    /// Lets the key make `next` its successor, and goes on with that.
    pub fn change_key(&mut self, next: Arc<Signer>) -> Result<(), WriteFailed> {
        self.sign();
        let (vkey, voucher) = (next.public().to_string(), self.signer.vouch(next.public()));
        self.add(&Event::Key(Key { vkey, voucher: Some(voucher) }));
        self.flush()?;
        self.signer = next;
        self.sign();
        self.flush()
    }

    /// What is due without anybody asking: a checkpoint, a sign of life.
    pub fn keep_up(&mut self, now: Duration) {
        if now.saturating_sub(self.last_at) >= SILENCE {
            self.add(&Event::Heartbeat {});
            return;
        }
        // The record of the newest checkpoint is itself not covered, and alone no reason for another one.
        let uncovered = self.chain.next.saturating_sub(self.signed + 1);
        if uncovered == 0 {
            return;
        }
        let at = *self.sign_at.get_or_insert(now + CHECKPOINT_AGE);
        if uncovered >= CHECKPOINT_RECORDS || now >= at {
            self.sign();
        }
    }

    /// Whether nothing waits for the next batch.
    pub fn is_flushed(&self) -> bool {
        self.batch.is_empty()
    }

    /// Writes the batch, and returns once it is on disk.
    pub fn flush(&mut self) -> Result<(), WriteFailed> {
        let failed = |what, source| WriteFailed { file: self.file.clone(), what, source };
        self.storage.append(&self.file, &self.batch).map_err(|source| failed("written", source))?;
        let before = self.clock.mono();
        self.storage.sync(&self.file).map_err(|source| failed("synced", source))?;
        let took = self.clock.mono().saturating_sub(before);
        self.syncs.observe(took);
        if took > SLOW {
            tracing::warn!(
                ms = took.as_millis(),
                "the disk of the audit log is slow, and every call waits for it"
            );
        }
        self.length += self.batch.len() as u64;
        self.batch.clear();
        // Before anybody is told that it is there.
        self.still_there()?;
        self.durable = self.last();
        Ok(())
    }

    const fn last(&self) -> Option<u64> {
        self.chain.next.checked_sub(1)
    }
}

/// Writes until it is told to stop, or until the disk fails.
pub(super) fn run(mut writer: Writer, queue: &Arc<Queue>, heartbeat: &Heartbeat) {
    let _told = TellOfPanic(queue);
    writer.look_around(queue);
    let mut company = Company::default();
    loop {
        heartbeat.beat();
        company.gather(queue);
        let Batch { jobs, refusals, last } = queue.take(IDLE);
        let mut acks: Vec<(Ack, Receipt)> = Vec::with_capacity(jobs.len());
        for job in jobs {
            acks.push((job.ack, writer.seal(&job.event)));
        }
        for event in refusals {
            refusals::log(&event);
            writer.add(&event);
        }
        let idle = writer.is_flushed();
        let mut written = writer.flush_for(queue);
        if let (Ok(()), Some(Last::Stop(system))) = (&written, &last) {
            let system = system.iter().map(|(purpose, times)| ((*purpose).to_owned(), *times)).collect();
            writer.add(&Event::Stop(Stop { system }));
            // By itself, so that its `durable` vouches for everything before it.
            written = writer.flush_for(queue);
            if written.is_ok() {
                writer.sign();
                written = writer.flush_for(queue);
            }
        }
        // Never tried again: after a failed sync the kernel may have dropped the very pages, and the next sync
        // would succeed without them.
        if let Err(failure) = written {
            return die(&failure, queue, acks);
        }
        company.told = acks.len();
        for (ack, receipt) in acks {
            ack.succeed(receipt, queue);
        }
        if last.is_none() {
            // Whoever waited has their answer; what fails here fails the next batch too.
            // What is written is looked for at once.
            let there = if idle { writer.still_there() } else { Ok(()) };
            if let Err(failure) = there.and_then(|()| writer.rotate()) {
                return die(&failure, queue, Vec::new());
            }
            writer.look_around(queue);
            writer.keep_up(writer.clock.mono());
        } else {
            // Lets go of the folder before anybody hears that we are done.
            drop(writer);
            queue.end(&NotRecorded::Stopped);
            return;
        }
    }
}

/// Those who were told last that their record is on disk. Whoever makes one change after the other is soon back, and
/// it is worth a moment to wait for them: the sync that takes the first of them along keeps all others waiting.
#[derive(Default)]
struct Company {
    told: usize,
    /// How many batches in a row they were waited for in vain, or not at all.
    alone: u32,
}

impl Company {
    /// After so many batches in vain nobody is waited for,
    const PATIENCE: u32 = 4;

    /// but once in so many batches, since that may have changed.
    const ONCE_IN: u32 = 64;

    fn gather(&mut self, queue: &Queue) {
        let told = std::mem::take(&mut self.told);
        if told == 0 {
            return;
        }
        let wait = self.alone < Self::PATIENCE || self.alone.is_multiple_of(Self::ONCE_IN);
        let in_vain = !wait || queue.gather(told) < told.div_ceil(2);
        self.alone = if in_vain { self.alone.saturating_add(1) } else { 0 };
    }
}

/// How far the wall clock is ahead of the one that only runs forward, in milliseconds.
fn ahead(clock: &Clock) -> i64 {
    let mono = i64::try_from(clock.mono().as_millis()).unwrap_or(i64::MAX);
    clock.now().timestamp_millis().saturating_sub(mono)
}

/// Nothing is written any more, and everybody who waits hears why.
fn die(failure: &WriteFailed, queue: &Queue, acks: Vec<(Ack, Receipt)>) {
    tracing::error!(error = %failure, "the audit log is dead: nothing is done any more");
    let why = NotRecorded::Dead(failure.to_string().into());
    queue.end(&why);
    for (ack, _) in acks {
        ack.fail(&why);
    }
}

impl Writer {
    fn still_there(&self) -> Result<(), WriteFailed> {
        let failed = |source| WriteFailed { file: self.file.clone(), what: "found", source };
        self.storage.still_there(&self.file, self.length).map_err(failed)
    }

    /// Looks at the room on the disk and at the clock.
    fn look_around(&mut self, queue: &Queue) {
        let ahead = ahead(&self.clock);
        let by_ms = ahead.saturating_sub(self.ahead);
        if by_ms.abs() > DRIFT_MS {
            self.ahead = ahead;
            self.add(&Event::ClockStep(ClockStep { by_ms }));
        }
        let space = self.storage.free();
        let free = space.as_ref().ok().copied();
        // Not again at the first byte, or it would come and go.
        let least = if self.short.is_some() { FREE_AGAIN } else { LEAST_FREE };
        let short = match free {
            Some(free) if free >= least => None,
            Some(_) => Some(Short::Little),
            // It may be none, and what is let in must have its room.
            None => Some(Short::Untold),
        };
        if short != self.short {
            let first = self.short.is_none();
            self.short = short;
            if short.is_some() {
                let why = match space {
                    Ok(free) => format!(
                        "{} MiB are free on its disk; {} are kept for what is already under way, and from {} on it goes \
                         on",
                        free >> 20,
                        LEAST_FREE >> 20,
                        FREE_AGAIN >> 20
                    ),
                    Err(error) => {
                        format!(
                            "how much room its disk has cannot be told ({error}); once it can, it goes on"
                        )
                    }
                };
                tracing::error!("the audit log takes in nothing new: {why}");
                queue.suspend(Some(why));
                if first {
                    self.add(&Event::Suspended(Space { free }));
                    self.counted_at = self.clock.mono();
                }
            } else {
                tracing::info!("there is room again for the audit log, and changes are made again");
                queue.suspend(None);
                self.add(&Event::Resumed(Space { free }));
            }
        }
        let now = self.clock.mono();
        if self.short.is_some() && now.saturating_sub(self.counted_at) >= COUNTED {
            self.counted_at = now;
            let refused = queue.refused();
            if refused > 0 {
                tracing::warn!(refused, "refusals wait for room in the audit log, and are lost in a crash");
            }
        }
        let Some(free) = free else { return };
        if free < LITTLE_FREE && !self.warned {
            tracing::warn!(mib = free >> 20, "there is little room left for the audit log");
        }
        self.warned = free < LITTLE_FREE;
    }

    /// Tells the queue how far the log is.
    pub fn tell(&self, queue: &Queue) {
        queue.wrote(self.last(), self.durable);
    }

    /// Writes the batch if there is anything in it, and keeps the queue's word on how far the log is.
    fn flush_for(&mut self, queue: &Queue) -> Result<(), WriteFailed> {
        if self.is_flushed() {
            return Ok(());
        }
        self.tell(queue);
        self.flush()?;
        self.tell(queue);
        Ok(())
    }

    /// Adds a record that nobody waits for.
    pub fn add(&mut self, event: &Event) {
        match render(event) {
            Ok(event) => drop(self.seal(&event)),
            Err(error) => tracing::error!(%error, "an audit record was left out"),
        }
    }
}

/// Leaves nobody waiting for a writer that is gone.
struct TellOfPanic<'a>(&'a Arc<Queue>);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(&super::writer_gone());
        }
    }
}
