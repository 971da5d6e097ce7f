//! What waits to be written, and the one place where everybody meets the writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::chain::Receipt;
use super::record::{AROUND, Event, LONGEST};
use super::refusals::{Refusal, Refusals};
use super::warrant::{Brief, Open};
use crate::clock::Clock;

/// Most records that wait at a time.
const MOST_WAITING: usize = 4096;

/// Most warrants that are out at a time. Each has room for the record that closes it.
pub(super) const MOST_OPEN: usize = 4096;

/// Most records of one batch, besides refusals.
const BATCH: usize = 480;

/// Most refusals of one batch.
const REFUSALS: usize = 32;

/// Most bytes of one batch; one record more may begin below this.
const BATCH_BYTES: usize = 1024 * 1024 - LONGEST;

/// How long the writer gathers, at most, before a batch that does not take everybody along.
const GATHERING: Duration = Duration::from_micros(300);

/// Once nobody has come for this long, nobody else is on the way.
const QUIET: Duration = Duration::from_micros(40);

/// After how long at the disk nothing new is let in behind the writer.
const STALLED: Duration = Duration::from_secs(10);

/// Why something is not on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// Too much waits already.
    #[error("{MOST_WAITING} records wait to be written to the audit log; try again in a moment")]
    Busy,
    /// It is larger than a record may be.
    #[error("it would be an audit record of {0} bytes, and {LONGEST} is the most")]
    TooLarge(usize),
    /// The log failed and is written no more.
    #[error("the audit log is dead since it could not be written: {0}")]
    Dead(Arc<str>),
    /// There is hardly any room left, or nobody knows how much.
    #[error("the audit log takes in nothing new: {0}")]
    Suspended(Arc<str>),
    /// The disk does not come to an end with what it was given.
    #[error(
        "the disk of the audit log has been busy with one write for {0} s, and nothing new is let in behind it"
    )]
    Stalled(u64),
    /// The daemon is stopping.
    #[error("the audit log is closed, because the daemon is stopping")]
    Stopped,
    /// The daemon's own reading is counted, and has no record of its own.
    #[error("a system warrant has no record of its own")]
    OnlyCounted,
}

/// Whom to tell once a record is on disk.
pub(super) enum Ack {
    Nobody,
    Receipt(oneshot::Sender<Result<Receipt, NotRecorded>>),
    /// An intent. What is sent closes the intent when it is dropped: whoever has stopped waiting leaves no
    /// intent open.
    Intent(oneshot::Sender<Result<Open, NotRecorded>>, Brief),
}

/// A record that waits.
pub(super) struct Job {
    pub event: Vec<u8>,
    pub ack: Ack,
}

/// What the writer takes at a time.
pub(super) struct Batch {
    pub jobs: Vec<Job>,
    pub refusals: Vec<Event>,
    /// Set when this is the last batch.
    pub last: Option<Last>,
}

/// How the writing ends.
pub(super) enum Last {
    /// In order: with a `stop` record, which says how often the daemon itself has looked.
    Stop(BTreeMap<&'static str, u64>),
    /// Nobody has a handle any more.
    Abandoned,
}

/// How the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Number of the last record handed to the disk.
    pub seq: Option<u64>,
    /// Number of the last record known to be on it.
    pub durable: Option<u64>,
    /// Why it takes in nothing new for now; `None` while it does.
    pub suspended: Option<String>,
    /// Why the log is dead; `None` while it lives.
    pub dead: Option<String>,
}

pub(super) struct Queue {
    clock: Clock,
    state: Mutex<State>,
    ready: Condvar,
    /// Why it ended, told once everything that could be written is written.
    over: watch::Sender<Option<NotRecorded>>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    open: usize,
    refusals: Refusals,
    system: BTreeMap<&'static str, u64>,
    stopping: Option<Stopping>,
    suspended: Option<Arc<str>>,
    /// Whether reading goes on while it is suspended.
    reads_go_on: bool,
    ended: Option<NotRecorded>,
    /// Since when the writer is at the disk.
    at_disk: Option<Duration>,
    seq: Option<u64>,
    durable: Option<u64>,
}

impl State {
    /// How long the disk has been at one thing, where that is too long.
    fn stalled(&self, now: Duration) -> Option<NotRecorded> {
        let since = now.saturating_sub(self.at_disk?);
        (since > STALLED).then_some(NotRecorded::Stalled(since.as_secs()))
    }
}

#[derive(Clone, Copy)]
enum Stopping {
    InOrder,
    Abandoned,
}

/// The event as JSON, if it fits into a record.
pub(super) fn render(event: &Event) -> Result<Vec<u8>, NotRecorded> {
    // Nothing in an event can fail to be JSON; if it ever does, it is not on record.
    let json = serde_json::to_vec(event).map_err(|_| NotRecorded::TooLarge(usize::MAX))?;
    match json.len() + AROUND {
        size if size > LONGEST => Err(NotRecorded::TooLarge(size)),
        _ => Ok(json),
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), ready: Condvar::new(), over: watch::Sender::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more warrant out, if there is room for everything it may write, and queues its intent.
    pub fn admit(&self, intent: Option<Job>) -> Result<(), NotRecorded> {
        let mut state = self.state();
        match (&state.ended, state.stopping) {
            (Some(why), _) => return Err(why.clone()),
            (None, Some(_)) => return Err(NotRecorded::Stopped),
            (None, None) => {}
        }
        if let Some(why) = &state.suspended
            && (intent.is_some() || !state.reads_go_on)
        {
            return Err(NotRecorded::Suspended(Arc::clone(why)));
        }
        if let Some(stalled) = state.stalled(self.clock.mono()) {
            return Err(stalled);
        }
        if state.jobs.len() >= MOST_WAITING || state.open >= MOST_OPEN {
            return Err(NotRecorded::Busy);
        }
        state.open += 1;
        if let Some(intent) = intent {
            state.jobs.push_back(intent);
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Queues the record that closes a warrant. Its room was set aside when the warrant was let out; where the event
    /// cannot be a record, it is given back all the same: nobody closes that warrant any more.
    pub fn close(&self, closing: &Event, ack: Ack) -> Result<(), NotRecorded> {
        let event = render(closing).inspect_err(|_| self.leave_one())?;
        self.queue(Job { event, ack }, 1)
    }

    /// Queues a record about a warrant that stays open.
    pub fn add(&self, record: Job) -> Result<(), NotRecorded> {
        self.queue(record, 0)
    }

    fn queue(&self, record: Job, closes: usize) -> Result<(), NotRecorded> {
        let mut state = self.state();
        if let Some(why) = &state.ended {
            return Err(why.clone());
        }
        state.open = state.open.saturating_sub(closes);
        state.jobs.push_back(record);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Sets aside room for the records that close what an earlier run left open.
    pub fn reserve(&self, open: usize) {
        self.state().open += open;
    }

    /// Gives the room of a warrant back that is closed by a later run.
    pub fn leave_one(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
    }

    /// Queues a record that belongs to no warrant.
    pub fn tell(&self, job: Job) {
        let mut state = self.state();
        if state.ended.is_none() && state.jobs.len() < MOST_WAITING {
            state.jobs.push_back(job);
            drop(state);
            self.ready.notify_one();
        }
    }

    pub fn refuse(&self, refusal: Refusal) {
        if self.state().refusals.add(refusal) {
            self.ready.notify_one();
        }
    }

    pub fn count_system(&self, purpose: &'static str) {
        *self.state().system.entry(purpose).or_default() += 1;
    }

    /// Gathers what `expected` more are about to bring, for as long as they keep coming, and says how many came.
    /// It does not sleep: to be woken takes about as long as all of this. So the time is that of the machine, not of the
    /// clock.
    pub fn gather(&self, expected: usize) -> usize {
        let waiting = || {
            let state = self.state();
            (state.jobs.len(), state.stopping.is_some())
        };
        let (before, mut stopping) = waiting();
        let began = Instant::now();
        let (mut came, mut last_came) = (0, began);
        while came < expected && before + came < BATCH && !stopping {
            let now = Instant::now();
            if now.duration_since(last_came) > QUIET || now.duration_since(began) > GATHERING {
                break;
            }
            std::thread::yield_now();
            let there;
            (there, stopping) = waiting();
            if there > before + came {
                (came, last_came) = (there - before, now);
            }
        }
        came
    }

    /// Waits for work, at most for `patience`, and takes as much as one sync is to cover.
    pub fn take(&self, patience: Duration) -> Batch {
        let mut state = self.state();
        state.at_disk = None;
        // The last room is for what is under way. Refusals, which anybody can cause, wait in memory until there is more.
        let tells_refusals = state.suspended.is_none();
        let urgent = tells_refusals && state.refusals.urgent();
        if state.jobs.is_empty() && !urgent && state.stopping.is_none() {
            state = self.ready.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while jobs.len() < BATCH && bytes < BATCH_BYTES {
            let Some(job) = state.jobs.pop_front() else { break };
            bytes += job.event.len() + AROUND;
            jobs.push(job);
        }
        let now = self.clock.mono();
        state.at_disk = Some(now);
        let last = match state.stopping {
            // Not with the last jobs but after them: whoever no longer waits for one of these may close it yet.
            Some(stopping) if jobs.is_empty() => Some(match stopping {
                Stopping::InOrder => Last::Stop(std::mem::take(&mut state.system)),
                Stopping::Abandoned => Last::Abandoned,
            }),
            _ => None,
        };
        let refusals = match last {
            Some(_) => state.refusals.rest(),
            None if tells_refusals => state.refusals.due(now, REFUSALS),
            None => Vec::new(),
        };
        if matches!(last, Some(Last::Stop(_))) {
            // Closed under the same lock that showed it empty: nothing can come in behind the last batch.
            state.ended = Some(NotRecorded::Stopped);
        }
        Batch { jobs, refusals, last }
    }

    /// Lets nothing new in while there is a reason. What was let in before has its room; an intent that is not on disk
    /// yet was not let in.
    pub fn suspend(&self, why: Option<String>) {
        let Some(why) = why.map(Arc::<str>::from) else {
            self.state().suspended = None;
            return;
        };
        let intents = {
            let mut state = self.state();
            state.suspended = Some(Arc::clone(&why));
            let is_intent = |job: &Job| matches!(job.ack, Ack::Intent(..));
            let (intents, rest): (VecDeque<Job>, VecDeque<Job>) =
                std::mem::take(&mut state.jobs).into_iter().partition(is_intent);
            state.jobs = rest;
            state.open = state.open.saturating_sub(intents.len());
            intents
        };
        for intent in intents {
            intent.ack.fail(&NotRecorded::Suspended(Arc::clone(&why)));
        }
    }

    /// How many were refused and stand in no record yet.
    pub fn refused(&self) -> u64 {
        self.state().refusals.waiting()
    }

    /// Lets reads in even then.
    pub fn let_reads_go_on(&self) {
        self.state().reads_go_on = true;
    }

    pub fn wrote(&self, seq: Option<u64>, durable: Option<u64>) {
        let mut state = self.state();
        state.seq = seq;
        state.durable = durable;
    }

    /// Lets nothing new in; what is there is still written.
    pub fn stop(&self) {
        self.state().stopping.get_or_insert(Stopping::InOrder);
        self.ready.notify_one();
    }

    pub fn abandon(&self) {
        self.state().stopping.get_or_insert(Stopping::Abandoned);
        self.ready.notify_one();
    }

    /// Ends the log, and tells everybody who waits.
    pub fn end(&self, why: &NotRecorded) {
        let jobs = {
            let mut state = self.state();
            state.ended = Some(why.clone());
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            job.ack.fail(why);
        }
        self.over.send_replace(Some(why.clone()));
    }

    pub fn health(&self) -> Health {
        let state = self.state();
        let dead = match &state.ended {
            Some(NotRecorded::Dead(why)) => Some(why.to_string()),
            _ => None,
        };
        let stalled = || state.stalled(self.clock.mono()).map(|stalled| stalled.to_string());
        let suspended = state.suspended.as_deref().map(str::to_owned).or_else(stalled);
        Health { seq: state.seq, durable: state.durable, suspended, dead }
    }

    pub fn over(&self) -> watch::Receiver<Option<NotRecorded>> {
        self.over.subscribe()
    }
}

impl Ack {
    pub fn succeed(self, receipt: Receipt, queue: &Arc<Queue>) {
        match self {
            Self::Nobody => {}
            // Whoever does not listen any more has their record all the same.
            Self::Receipt(to) => drop(to.send(Ok(receipt))),
            Self::Intent(to, brief) => drop(to.send(Ok(Open::new(queue, receipt.seq, brief)))),
        }
    }

    pub fn fail(self, why: &NotRecorded) {
        match self {
            Self::Nobody => {}
            Self::Receipt(to) => drop(to.send(Err(why.clone()))),
            Self::Intent(to, _) => drop(to.send(Err(why.clone()))),
        }
    }
}
