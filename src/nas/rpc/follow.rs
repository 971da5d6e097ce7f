//! Event sources: the NAS sends what happens for as long as somebody is subscribed, and no longer.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::watch::Watches;
use super::{Answer, Call, Calls, Connection, Detail, Failure, Id, Waiting, place};
use crate::nas::methods::Listed;
use crate::nas::version::Candidate;

/// Events that have come and are not yet taken: a thousand past lines of a log come in one burst, before anybody knows
/// that the subscription stands. What comes on top of these is missed, and that is told.
const QUEUE: usize = 2048;
/// Bytes of them. They count against the budget of the connection, and if they filled it, the answer that makes their
/// follower take them would not be read.
const QUEUED: usize = 2 * 1024 * 1024;

/// Who hears of what, on one connection.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// By name and arguments, as the NAS repeats them in each event.
    table: Mutex<HashMap<String, Follower>>,
    /// Subscriptions under way that nobody waits for any more.
    given_up: Mutex<HashSet<u64>>,
    freed: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct Follower {
    heard: mpsc::Sender<Heard>,
    queued: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
}

/// What a follower hears.
#[derive(Debug)]
pub(in crate::nas) enum Heard {
    /// An event's `fields`.
    Item(Answer),
    /// The NAS ended it, for a reason or for none.
    Ended(Option<Detail>),
}

impl Heard {
    /// What it takes of memory, as far as that is of any size.
    fn bytes(&self) -> usize {
        match self {
            Self::Item(answer) => answer.frame.len(),
            Self::Ended(_) => 0,
        }
    }
}

/// An event, and where in its frame what it tells stands.
pub(super) enum Event {
    Item(Range<usize>),
    Ended(Option<Detail>),
}

/// A way to speak for the task that reads.
pub(super) struct Back {
    pub(super) outgoing: mpsc::WeakSender<(u64, String)>,
    pub(super) slots: Arc<Semaphore>,
}

/// A subscription. Dropped, it is taken back.
#[derive(Debug)]
pub(in crate::nas) struct Following {
    connection: Connection,
    name: String,
    heard: mpsc::Receiver<Heard>,
    queued: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
    uuid: Option<String>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Subscribes to `name`, which is an event source with its arguments.
    ///
    /// One at a time of each name: the NAS sends an event once however often it is asked for, and who comes
    /// second gets no past lines.
    pub(in crate::nas) async fn follow(&self, name: String, deadline: Instant) -> Result<Following, Failure> {
        let unwritten = |_| Failure::Deadline { written: false };
        let lost = |_| Failure::Lost { lost: self.calls.lost(), written: false };
        let slot = tokio::time::timeout_at(deadline, Arc::clone(&self.slots).acquire_owned());
        let slot = slot.await.map_err(unwritten)?.map_err(lost)?;
        let (told, heard) = mpsc::channel(QUEUE);
        let (queued, missed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let follower = Follower { heard: told, queued: Arc::clone(&queued), missed: Arc::clone(&missed) };
        loop {
            let mut freed = std::pin::pin!(self.calls.followers.freed.notified());
            freed.as_mut().enable();
            if self.calls.followers.add(&name, &follower) {
                break;
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(unwritten)?;
        }
        drop(follower);
        let connection = self.clone();
        let mut following =
            Following { connection, name, heard, queued, missed, uuid: None, slot: Some(slot) };
        following.uuid = Some(self.subscribe(&following.name, deadline).await?);
        Ok(following)
    }

    async fn subscribe(&self, name: &str, deadline: Instant) -> Result<String, Failure> {
        let id = self.calls.next.fetch_add(1, Ordering::Relaxed);
        let given_up = GivenUp { calls: &self.calls, id: Some(id) };
        let answer = self.call_as(id, None, "core.subscribe", &(name,), deadline).await;
        // Only an answer says that nothing is left to take back.
        if matches!(answer, Ok(_) | Err(Failure::Answered(_) | Failure::Lost { .. } | Failure::TooLong)) {
            given_up.not();
        }
        let answer = answer?;
        // Without a number there would be nothing to take back; the connection's end takes it back then.
        Ok(serde_json::from_str(answer.json()).unwrap_or_default())
    }
}

/// What is sent to hear of events.
pub(in crate::nas) fn sent() -> Vec<Listed> {
    const SUBSCRIBE: &[Candidate] = &Candidate::always("core.subscribe");
    const UNSUBSCRIBE: &[Candidate] = &Candidate::always("core.unsubscribe");
    vec![
        Listed::besides::<String>(SUBSCRIBE, false, &("app.stats:{\"interval\":2}",)),
        Listed::besides::<IgnoredAny>(UNSUBSCRIBE, false, &("11111111-2222-4333-8444-555555555555",)),
    ]
}

impl Following {
    /// What comes next; `None` when the connection is no more.
    pub(in crate::nas) async fn next(&mut self) -> Option<Heard> {
        let heard = self.heard.recv().await?;
        self.queued.fetch_sub(heard.bytes(), Ordering::Relaxed);
        Some(heard)
    }

    /// Whether events came faster than they were taken.
    pub(in crate::nas) fn has_missed_some(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let Self { connection, name, uuid, slot, .. } = self;
        connection.calls.followers.remove(name);
        if let Some(uuid) = uuid.take() {
            unsubscribe(&connection.calls, &connection.outgoing, &uuid, slot.take());
        }
    }
}

impl Followers {
    fn table(&self) -> MutexGuard<'_, HashMap<String, Follower>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn given_up(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &str, follower: &Follower) -> bool {
        let mut table = self.table();
        let free = !table.contains_key(name);
        if free {
            table.insert(name.to_owned(), follower.clone());
        }
        free
    }

    /// Follows `name` on no connection, for the fuzz targets.
    #[cfg(fuzzing)]
    pub(super) fn listen(&self, name: &str) -> mpsc::Receiver<Heard> {
        let (told, heard) = mpsc::channel(QUEUE);
        self.add(name, &Follower { heard: told, queued: Arc::default(), missed: Arc::default() });
        heard
    }

    fn remove(&self, name: &str) {
        self.table().remove(name);
        self.freed.notify_waiters();
    }

    /// Tells everybody that nothing more will come.
    pub(super) fn clear(&self) {
        self.table().clear();
        self.freed.notify_waiters();
    }

    /// Who follows what this notification is about, and what it tells. Whoever watches it hears of it.
    pub(super) fn find(
        &self,
        watches: &Watches,
        method: &str,
        params: &RawValue,
        frame: &Utf8Bytes,
    ) -> Option<(Follower, Event)> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            collection: Cow<'a, str>,
            #[serde(default, borrow)]
            fields: Option<&'a RawValue>,
            #[serde(default)]
            error: Option<Detail>,
        }
        let ended = match method {
            "collection_update" => false,
            "notify_unsubscribed" => true,
            _ => return None,
        };
        let table = self.table();
        if table.is_empty() && watches.is_empty() {
            return None;
        }
        let Params { collection, fields, error } = serde_json::from_str(params.get()).ok()?;
        watches.hear(&collection, ended);
        let follower = table.get(&*collection)?.clone();
        let event = match fields {
            _ if ended => Event::Ended(error),
            Some(fields) => Event::Item(place(fields, frame)),
            None => return None,
        };
        Some((follower, event))
    }

    /// Whether this answer is to a subscription that nobody waits for any more.
    pub(super) fn was_given_up(&self, id: u64) -> bool {
        self.given_up().remove(&id)
    }
}

impl Event {
    pub(super) fn told(self, frame: Utf8Bytes, held: OwnedSemaphorePermit) -> Heard {
        match self {
            Self::Item(result) => Heard::Item(Answer { frame, result, _held: held }),
            Self::Ended(error) => Heard::Ended(error),
        }
    }
}

impl Follower {
    pub(super) fn hear(&self, heard: Heard) {
        let bytes = heard.bytes();
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        // One is taken however large it is, and the end of them always.
        let too_much = bytes > 0 && before > 0 && before + bytes > QUEUED;
        // The socket is not held up for somebody who takes his time.
        if too_much || matches!(self.heard.try_send(heard), Err(mpsc::error::TrySendError::Full(_))) {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.missed.store(true, Ordering::Relaxed);
        }
    }
}

/// Marks a subscription as given up when it is dropped, which is when nobody waits for its answer.
struct GivenUp<'a> {
    calls: &'a Calls,
    id: Option<u64>,
}

impl GivenUp<'_> {
    fn not(mut self) {
        self.id = None;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.calls.followers.given_up().insert(id);
        }
    }
}

/// Takes back a subscription whose number came when nobody waited for it any more.
pub(super) fn unsubscribe_unheard(calls: &Calls, back: &Back, result: Option<&RawValue>) {
    let uuid = result.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    if let (Some(uuid), Some(outgoing)) = (uuid, back.outgoing.upgrade()) {
        unsubscribe(calls, &outgoing, &uuid, Arc::clone(&back.slots).try_acquire_owned().ok());
    }
}

/// Sends the call and waits for nothing. If it cannot be sent, the connection is at its end and the subscription
/// with it.
fn unsubscribe(
    calls: &Calls,
    outgoing: &mpsc::Sender<(u64, String)>,
    uuid: &str,
    slot: Option<OwnedSemaphorePermit>,
) {
    let id = calls.next.fetch_add(1, Ordering::Relaxed);
    let call = Call { jsonrpc: "2.0", id: Id::Ours(id), method: "core.unsubscribe", params: &(uuid,) };
    let Ok(text) = serde_json::to_string(&call) else { return };
    let (answer, _) = oneshot::channel();
    calls.table().insert(id, Waiting { answer, written: Arc::default(), _slot: slot });
    if calls.lost.get().is_some() || outgoing.try_send((id, text)).is_err() {
        calls.table().remove(&id);
    }
}
