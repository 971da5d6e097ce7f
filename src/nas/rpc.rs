//! JSON-RPC over one WebSocket. The only file that knows the WebSocket library.
//!
//! Calls go out as they come, answers come back in any order, each to the call whose number it bears. One task
//! owns the socket; when it ends, for whatever reason, every call that waits learns of it. What the NAS says
//! without being asked goes to whoever subscribed to it ([`follow`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::error::tame;
use super::tls::{Dialer, server_end_point};
use crate::domain::id::RequestId;

pub(super) mod follow;
pub(super) mod watch;

/// Calls in flight on one connection. The NAS refuses the 21st.
const SLOTS: usize = 20;
/// The longest call, in characters. The NAS closes the connection on a longer one.
pub(super) const LONGEST_CALL: usize = 64 * 1024;
/// The longest answer, in bytes. Answers of several MiB are ordinary.
pub(super) const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Bytes of what has come and is not yet dealt with, over all connections to one NAS, beside which the next message is
/// read. How large that is nobody knows before it is there.
const UNREAD: usize = 32 * 1024 * 1024;
/// The same with the next one.
const BUDGET: usize = UNREAD + LONGEST_ANSWER;
/// nginx on the NAS gives up on a connection that was silent for 60 s, and the NAS sends no pings.
const PING: Duration = Duration::from_secs(25);
const SILENCE: Duration = Duration::from_mins(1);
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long the NAS may take to let us write.
const STALL: Duration = Duration::from_secs(20);

/// How much of what the NAS has said may lie about in memory. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    const UNIT: usize = 1024;

    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET / Self::UNIT)))
    }

    /// Waits until the largest answer would fit beside what is there.
    async fn room(&self) {
        let largest = u32::try_from(LONGEST_ANSWER / Self::UNIT).unwrap_or(u32::MAX);
        // Given back at once: what comes is taken when its size is known.
        drop(self.0.acquire_many(largest).await);
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT)).ok()?;
        Arc::clone(&self.0).acquire_many_owned(units).await.ok()
    }
}

/// Why a connection is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The other end closed it, or the network did.
    Closed(String),
    /// Nothing was heard for too long.
    Silent,
    /// What came was not JSON-RPC.
    Garbage,
    /// An answer was larger than we take.
    TooLarge,
    /// We let go of it.
    Dropped,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(how) => write!(f, "the connection was closed: {how}"),
            Self::Silent => write!(f, "nothing was heard for {} s", SILENCE.as_secs()),
            Self::Garbage => f.write_str("what came was not JSON-RPC"),
            Self::TooLarge => write!(f, "an answer was larger than {} MiB", LONGEST_ANSWER >> 20),
            Self::Dropped => f.write_str("tailnas let go of the connection"),
        }
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection went away. Whether the call had been `written` decides what can be said about it.
    Lost { lost: Lost, written: bool },
    /// The deadline passed.
    Deadline { written: bool },
    /// The call is longer than the NAS takes. It was not sent.
    TooLong,
    /// The NAS said no.
    Answered(Refusal),
}

/// An `error` as the NAS sends it, less the traceback.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Option<Detail>,
}

/// What an error says, less the traceback.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Detail {
    #[serde(default)]
    pub(super) error: Option<i64>,
    #[serde(default)]
    pub(super) errname: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) extra: Value,
}

impl Refusal {
    /// "You may not."
    pub(super) const EACCES: i64 = 13;
    /// "Not now."
    pub(super) const EBUSY: i64 = 16;
    /// "Not in this way."
    pub(super) const EOPNOTSUPP: i64 = 95;

    pub(super) fn errno(&self) -> Option<i64> {
        self.data.as_ref()?.error
    }

    pub(super) fn is_no_such_method(&self) -> bool {
        const ENOMETHOD: i64 = 201;
        self.code == -32601 || self.errno() == Some(ENOMETHOD)
    }

    /// The 21st call at a time. It was turned away, not queued.
    pub(super) fn is_too_many_calls(&self) -> bool {
        self.code == -32000
    }

    /// The session is no more, though the connection is. The call was turned away.
    pub(super) fn is_logged_out(&self) -> bool {
        const ENOTAUTHENTICATED: i64 = 207;
        self.errno() == Some(ENOTAUTHENTICATED)
            || (self.errno() == Some(Self::EACCES) && self.words().contains("Session is expired"))
    }

    /// What the NAS says, without the name of the error in front.
    pub(super) fn words(&self) -> String {
        let reason = self.data.as_ref().and_then(|data| data.reason.as_deref()).unwrap_or(&self.message);
        let bare = match reason.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_uppercase()) => rest,
            _ => reason,
        };
        tame(bare)
    }
}

/// A result as it came; its bytes count against the [`Budget`] until this is dropped.
#[derive(Debug)]
pub(super) struct Answer {
    frame: Utf8Bytes,
    result: Range<usize>,
    _held: OwnedSemaphorePermit,
}

impl Answer {
    /// The result's own text.
    pub(super) fn json(&self) -> &str {
        self.frame.get(self.result.clone()).filter(|text| !text.is_empty()).unwrap_or("null")
    }
}

/// A connection that calls can be made on. Clones are the same connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    calls: Arc<Calls>,
    outgoing: mpsc::Sender<(u64, String)>,
    slots: Arc<Semaphore>,
    ending: CancellationToken,
}

#[derive(Debug, Default)]
struct Calls {
    next: AtomicU64,
    /// How many messages were read and dealt with.
    heard: AtomicU64,
    table: Mutex<HashMap<u64, Waiting>>,
    followers: follow::Followers,
    watches: watch::Watches,
    lost: OnceLock<Lost>,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Answer, Refusal>>,
    /// Set before the first byte goes out. From then on the NAS may have acted on it.
    written: Arc<AtomicBool>,
    /// Kept until the answer comes, where nobody waits for it who could keep it.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> Lost {
        self.lost.get().cloned().unwrap_or(Lost::Dropped)
    }
}

/// One entry of the table. It goes when its call goes.
struct Entry<'a> {
    calls: &'a Calls,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.calls.table().remove(&self.id);
    }
}

#[derive(Serialize)]
struct Call<'a, P: ?Sized> {
    jsonrpc: &'static str,
    id: Id<'a>,
    method: &'a str,
    params: &'a P,
}

impl Connection {
    /// Sends a call and waits for its answer, until `deadline` at most.
    ///
    /// Private to `nas` on purpose: outside it there is no method by string.
    pub(super) async fn call<P: Serialize>(
        &self,
        method: &str,
        params: &P,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        self.call_for(None, method, params, deadline).await
    }

    /// The same, with the name of a request that the NAS is to keep with what it does.
    pub(super) async fn call_for<P: Serialize + ?Sized>(
        &self,
        request: Option<RequestId>,
        method: &str,
        params: &P,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let slot = tokio::time::timeout_at(deadline, self.slots.acquire()).await;
        let slot = slot.map_err(|_| Failure::Deadline { written: false })?;
        let _slot = slot.map_err(|_| Failure::Lost { lost: self.calls.lost(), written: false })?;
        let id = self.calls.next.fetch_add(1, Ordering::Relaxed);
        self.call_as(id, request, method, params, deadline).await
    }

    /// The same with a number and a slot that the caller has.
    async fn call_as<P: Serialize + ?Sized>(
        &self,
        id: u64,
        request: Option<RequestId>,
        method: &str,
        params: &P,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let unwritten = |_| Failure::Deadline { written: false };
        let lost = |written| Failure::Lost { lost: self.calls.lost(), written };
        // Arguments are plain values; that they cannot be written as JSON is as good as too long.
        let named = Id::of(id, request);
        let text = serde_json::to_string(&Call { jsonrpc: "2.0", id: named, method, params })
            .map_err(|_| Failure::TooLong)?;
        if text.chars().count() > LONGEST_CALL {
            return Err(Failure::TooLong);
        }
        let (answer, answered) = oneshot::channel();
        let written = Arc::new(AtomicBool::new(false));
        self.calls.table().insert(id, Waiting { answer, written: Arc::clone(&written), _slot: None });
        let entry = Entry { calls: &self.calls, id };
        // The end of the connection is marked before the table is emptied. Whoever came too late for that
        // finds the mark here.
        if self.calls.lost.get().is_some() {
            return Err(lost(false));
        }
        let sent = tokio::time::timeout_at(deadline, self.outgoing.send((id, text))).await;
        sent.map_err(unwritten)?.map_err(|_| lost(false))?;

        let answer = tokio::time::timeout_at(deadline, answered).await;
        // Taken out of the table first: what is not in it is not written any more, so that a call we call unsent
        // stays so.
        drop(entry);
        let written = written.load(Ordering::Acquire);
        match answer {
            Ok(Ok(answer)) => answer.map_err(Failure::Answered),
            Ok(Err(_)) => Err(lost(written)),
            Err(_) => Err(Failure::Deadline { written }),
        }
    }

    /// How many messages of the NAS were read so far.
    pub(super) fn heard(&self) -> u64 {
        self.calls.heard.load(Ordering::Relaxed)
    }

    /// Whether the connection is known to be no more.
    pub(super) fn is_lost(&self) -> bool {
        self.calls.lost.get().is_some()
    }

    /// Ends the connection; who made it makes another.
    pub(super) fn hang_up(&self, why: &str) {
        let _ = self.calls.lost.set(Lost::Closed(why.to_owned()));
        self.ending.cancel();
    }
}

/// The WebSocket of the NAS at the other end of `dialer`, before any login, what must run for it to live, and
/// what the login can be tied to.
pub(super) async fn open(
    dialer: &Dialer,
    budget: &Budget,
) -> Result<(Connection, impl Future<Output = Lost> + Send + use<>, Option<Vec<u8>>), String> {
    let stream = dialer.dial().await.map_err(|no_way| no_way.to_string())?;
    let end_point = server_end_point(&stream);
    let address = format!("wss://{}/api/current", dialer.authority());
    let request = address.into_client_request().map_err(|error| say(&error))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_ANSWER))
        // The NAS sends every answer as one frame.
        .max_frame_size(Some(LONGEST_ANSWER));
    let shake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let (socket, _) = tokio::time::timeout(HANDSHAKE, shake)
        .await
        .map_err(|_| format!("the WebSocket was not opened within {} s", HANDSHAKE.as_secs()))?
        .map_err(|error| say(&error))?;
    let (connection, run) = serve(socket, budget.clone());
    Ok((connection, run, end_point))
}

/// The two halves of a connection: one to make calls on, one that must be polled for as long as it is to live.
fn serve<S>(socket: S, budget: Budget) -> (Connection, impl Future<Output = Lost> + Send)
where
    S: Sink<Message, Error = WsError> + Stream<Item = Result<Message, WsError>> + Send,
{
    let calls = Arc::new(Calls::default());
    let slots = Arc::new(Semaphore::new(SLOTS));
    let (outgoing, queue) = mpsc::channel(2 * SLOTS);
    let ending = CancellationToken::new();
    let end = End { calls: Arc::clone(&calls), slots: Arc::clone(&slots) };
    // Weak, so that who lets go of the last connection ends the task.
    let back = follow::Back { outgoing: outgoing.downgrade(), slots: Arc::clone(&slots) };
    let connection = Connection { calls: Arc::clone(&calls), outgoing, slots, ending: ending.clone() };
    let run = async move {
        let end = end;
        let (sink, stream) = socket.split();
        let lost = tokio::select! {
            lost = write(sink, queue, &calls) => lost,
            lost = read(stream, &calls, &budget, &back) => lost,
            () = ending.cancelled() => calls.lost(),
        };
        let _ = end.calls.lost.set(lost);
        end.calls.lost()
    };
    (connection, run)
}

/// Tells every call that waits that it waits in vain, even if the task is dropped in the middle.
struct End {
    calls: Arc<Calls>,
    slots: Arc<Semaphore>,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.calls.lost.set(Lost::Dropped);
        self.slots.close();
        self.calls.table().clear();
        self.calls.followers.clear();
        self.calls.watches.clear();
    }
}

async fn write(
    mut sink: impl Sink<Message, Error = WsError> + Unpin,
    mut queue: mpsc::Receiver<(u64, String)>,
    calls: &Calls,
) -> Lost {
    let mut ping = tokio::time::interval(PING);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            call = queue.recv() => {
                let Some((id, text)) = call else { return Lost::Dropped };
                match calls.table().get(&id) {
                    Some(waiting) => waiting.written.store(true, Ordering::Release),
                    None => continue, // Nobody waits for it any more; it never left.
                }
                Message::text(text)
            }
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        match tokio::time::timeout(STALL, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Lost::Closed(say(&error)),
            Err(_) => return Lost::Closed("the NAS does not read what we send".into()),
        }
    }
}

async fn read(
    mut stream: impl Stream<Item = Result<Message, WsError>> + Unpin,
    calls: &Calls,
    budget: &Budget,
    back: &follow::Back,
) -> Lost {
    loop {
        budget.room().await;
        let message = match tokio::time::timeout(SILENCE, stream.next()).await {
            Err(_) => return Lost::Silent,
            Ok(None) => return Lost::Closed("without a word".into()),
            Ok(Some(Err(WsError::Capacity(_)))) => return Lost::TooLarge,
            Ok(Some(Err(WsError::Protocol(_) | WsError::Utf8(_)))) => return Lost::Garbage,
            Ok(Some(Err(error))) => return Lost::Closed(say(&error)),
            Ok(Some(Ok(message))) => message,
        };
        let frame = match message {
            Message::Text(frame) => frame,
            Message::Ping(_) | Message::Pong(_) => {
                calls.heard.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Message::Close(frame) => {
                return Lost::Closed(parting_words(frame.map(|f| (f.code.into(), f.reason))));
            }
            Message::Binary(_) | Message::Frame(_) => return Lost::Garbage,
        };
        let Some(held) = budget.take(frame.len()).await else { return Lost::TooLarge };
        if deliver(frame, held, calls, back).is_err() {
            return Lost::Garbage;
        }
        calls.heard.fetch_add(1, Ordering::Relaxed);
    }
}

fn parting_words(close: Option<(u16, Utf8Bytes)>) -> String {
    match close {
        // The NAS lets us in and then closes when our address is not on its list.
        Some((1008, reason)) => format!(
            "\"{}\" (1008). Allow the address of this machine in System > General Settings > GUI > Allowed IP \
             Addresses",
            tame(&reason)
        ),
        Some((code, reason)) => format!("\"{}\" ({code})", tame(&reason)),
        None => "by the NAS".into(),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, borrow)]
    id: Option<Id<'a>>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default, borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
}

/// We number calls ourselves; whatever else stands there is not ours. A call that changes something bears the name of
/// its request before the number, which the NAS keeps with the job that it begins.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Ours(u64),
    Named(#[serde(borrow)] Cow<'a, str>),
    Foreign(Value),
}

/// What stands between the name of a request and the number of its call.
pub(super) const BEFORE_NUMBER: char = '.';

impl Id<'_> {
    fn of(number: u64, request: Option<RequestId>) -> Self {
        match request {
            Some(request) => Self::Named(format!("{request}{BEFORE_NUMBER}{number}").into()),
            None => Self::Ours(number),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Ours(number) => Some(*number),
            Self::Named(name) => name.rsplit_once(BEFORE_NUMBER)?.1.parse().ok(),
            Self::Foreign(_) => None,
        }
    }
}

struct Garbage;

/// Hands an answer to the call it belongs to, and an event to whoever follows its source. What is for nobody is
/// passed over.
fn deliver(
    frame: Utf8Bytes,
    held: OwnedSemaphorePermit,
    calls: &Calls,
    back: &follow::Back,
) -> Result<(), Garbage> {
    // serde would read an array as the fields of the envelope in their order.
    if !frame.trim_start().starts_with('{') {
        return Err(Garbage);
    }
    let Envelope { id, result, error, method, params } = serde_json::from_str(&frame).map_err(|_| Garbage)?;
    let id = match (id.map(|id| id.number()), method, params) {
        (Some(Some(id)), ..) => id,
        (None, Some(method), Some(params)) => {
            if let Some((follower, event)) = calls.followers.find(&calls.watches, &method, params, &frame) {
                follower.hear(event.told(frame, held));
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    if calls.followers.was_given_up(id) {
        follow::unsubscribe_unheard(calls, back, result);
        return Ok(());
    }
    let outcome = match (error, result) {
        (Some(refusal), _) => Err(refusal),
        (None, Some(raw)) => {
            // The result stays where it is in the frame: it may be large, and one copy of it is enough.
            Ok(place(raw, &frame))
        }
        // A `null` result reads as an absent one.
        (None, None) => Ok(0..0),
    };
    let Some(Waiting { answer, .. }) = calls.table().remove(&id) else { return Ok(()) };
    let _ = answer.send(match outcome {
        Ok(result) => Ok(Answer { frame, result, _held: held }),
        Err(refusal) => Err(refusal),
    });
    Ok(())
}

/// Where in `frame` the text of `raw` stands, which was read from it.
fn place(raw: &RawValue, frame: &Utf8Bytes) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - frame.as_str().as_ptr().addr();
    start..start + raw.get().len()
}

fn say(error: &WsError) -> String {
    match error {
        WsError::Http(response) => format!(
            "/api/current was answered with {}: is this the address and port of the NAS's web interface?",
            response.status()
        ),
        // rustls would tell about TLS, with a link to its own documentation.
        WsError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "without a word".into(),
        WsError::Io(error) => error.to_string(),
        other => tame(&other.to_string()),
    }
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::follow::{Back, Heard};
    use super::{
        Arc, AtomicBool, Budget, Calls, SLOTS, Semaphore, Utf8Bytes, Waiting, deliver, mpsc, oneshot,
    };

    /// What a frame is to us while the call 7 waits and somebody follows the events `x`.
    #[derive(Debug)]
    pub enum Frame {
        /// Nothing, or nothing that anybody waits for.
        Ignored,
        /// The text of the result of the call.
        Result(String),
        /// The words of its error.
        Refusal(String),
        /// The text of what an event tells.
        Event(String),
        /// The end of the events.
        Ended,
    }

    /// Takes a text frame as it came.
    ///
    /// # Errors
    ///
    /// When it is not JSON-RPC, and the connection would be given up.
    pub fn frame(text: &str) -> Result<Frame, ()> {
        let calls = Calls::default();
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting { answer, written: Arc::new(AtomicBool::new(true)), _slot: None };
        calls.table().insert(7, waiting);
        let mut heard = calls.followers.listen("x");
        let (outgoing, _sent) = mpsc::channel(1);
        let back = Back { outgoing: outgoing.downgrade(), slots: Arc::new(Semaphore::new(SLOTS)) };
        let held = Arc::clone(&Budget::new().0).try_acquire_many_owned(1).map_err(drop)?;
        deliver(Utf8Bytes::from(text), held, &calls, &back).map_err(drop)?;
        Ok(match (answered.try_recv(), heard.try_recv()) {
            (Ok(Ok(answer)), _) => Frame::Result(answer.json().to_owned()),
            (Ok(Err(refusal)), _) => Frame::Refusal(refusal.words()),
            (Err(_), Ok(Heard::Item(item))) => Frame::Event(item.json().to_owned()),
            (Err(_), Ok(Heard::Ended(_))) => Frame::Ended,
            (Err(_), Err(_)) => Frame::Ignored,
        })
    }
}

#[cfg(test)]
pub(super) mod other_end;

#[cfg(test)]
mod tests;
