//! How long the other end of a connection may take for what.
//!
//! hyper's own time-out for a head runs while a kept connection is idle as well, begins only once the first
//! bytes showed which HTTP is spoken, and does not exist for HTTP/2. So it is switched off, and the connection
//! is watched from outside: by when its next head, its next request or its present answer must be complete.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// For the head of a request, from its first byte on; the first of a connection from its beginning on.
const HEAD: Duration = Duration::from_secs(5);

/// For doing nothing between two requests.
const IDLE: Duration = Duration::from_mins(1);

/// For a whole request, its answer included. The slowest method of the NAS has two minutes.
pub(super) const REQUEST: Duration = Duration::from_mins(3);

/// For taking an answer that says that it took too long.
const LAST_WORD: Duration = Duration::from_secs(10);

/// What has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The head of a request.
    Head,
    /// The next request.
    Idle,
    /// A whole request.
    Request,
}

/// Where one connection stands. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    between: Between,
    /// HTTP/2: bytes may come without being the head of anything.
    multiplexed: bool,
    /// The requests in progress, and since when.
    exchanges: BTreeMap<u64, Instant>,
    next: u64,
}

#[derive(Debug)]
enum Between {
    /// A head is on its way since then.
    Head(Instant),
    /// Nothing is, since then.
    Idle(Instant),
}

impl Pace {
    /// That of a connection that has just been made.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new(Instant::now()))))
    }

    /// Resolves with what is late once something is. To be polled together with the connection: it is what
    /// happens there that moves the end.
    pub(super) async fn late(&self) -> Late {
        let mut sleep = pin!(sleep_until(self.state().due().0));
        poll_fn(|context| {
            loop {
                let (due, what) = self.state().due();
                if sleep.deadline() != due {
                    sleep.as_mut().reset(due);
                }
                ready!(sleep.as_mut().poll(context));
                if self.state().due().0 == due {
                    return Poll::Ready(what);
                }
            }
        })
        .await
    }

    /// A request whose head is complete is in progress as long as what this returns exists.
    pub(super) fn begin(&self, version: Version) -> Exchange {
        let number = self.state().begin(version, Instant::now());
        Exchange { pace: self.clone(), number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn new(now: Instant) -> Self {
        Self { between: Between::Head(now), multiplexed: false, exchanges: BTreeMap::new(), next: 0 }
    }

    /// Bytes came.
    fn heard(&mut self, now: Instant) {
        if !self.multiplexed && self.exchanges.is_empty() && matches!(self.between, Between::Idle(_)) {
            self.between = Between::Head(now);
        }
    }

    /// They were the end of a head.
    fn begin(&mut self, version: Version, now: Instant) -> u64 {
        self.multiplexed |= version == Version::HTTP_2;
        let number = self.next;
        self.next += 1;
        self.exchanges.insert(number, now);
        number
    }

    /// An answer is sent, or given up.
    fn end(&mut self, number: u64, now: Instant) {
        self.exchanges.remove(&number);
        if self.exchanges.is_empty() {
            self.between = Between::Idle(now);
        }
    }

    /// What is late when, if nothing happens before.
    fn due(&self) -> (Instant, Late) {
        match (self.exchanges.first_key_value(), &self.between) {
            (Some((_, since)), _) => (*since + REQUEST + LAST_WORD, Late::Request),
            (None, Between::Head(since)) => (*since + HEAD, Late::Head),
            (None, Between::Idle(since)) => (*since + IDLE, Late::Idle),
        }
    }
}

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pace: Pace,
    number: u64,
}

impl Exchange {
    /// The body of the answer; the exchange ends with it.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Answer { body, _exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.pace.state().end(self.number, Instant::now());
    }
}

struct Answer {
    body: Body,
    _exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells the pace when bytes come.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
}

impl<S> Paced<S> {
    pub(super) const fn new(stream: S, pace: Pace) -> Self {
        Self { stream, pace }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.pace.state().heard(Instant::now());
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_new_connection_has_as_long_as_a_head_however_it_trickles() {
        let start = Instant::now();
        let mut state = State::new(start);
        state.heard(start + seconds(1));
        state.heard(start + seconds(4));
        assert_eq!(state.due(), (start + HEAD, Late::Head));
    }

    #[test]
    fn between_requests_there_is_a_minute_and_then_five_seconds_for_the_head() {
        let start = Instant::now();
        let mut state = State::new(start);
        let number = state.begin(Version::HTTP_11, start);
        state.heard(start + seconds(1));
        state.end(number, start + seconds(2));
        assert_eq!(state.due(), (start + seconds(2) + IDLE, Late::Idle));
        state.heard(start + seconds(50));
        state.heard(start + seconds(54));
        assert_eq!(state.due(), (start + seconds(50) + HEAD, Late::Head));
    }

    #[test]
    fn what_is_said_between_requests_over_http_2_is_no_head() {
        let start = Instant::now();
        let mut state = State::new(start);
        let number = state.begin(Version::HTTP_2, start);
        state.end(number, start);
        state.heard(start + seconds(30));
        assert_eq!(state.due(), (start + IDLE, Late::Idle));
    }

    #[test]
    fn of_the_requests_in_progress_the_oldest_counts() {
        let start = Instant::now();
        let mut state = State::new(start);
        let first = state.begin(Version::HTTP_2, start);
        let second = state.begin(Version::HTTP_2, start + seconds(60));
        assert_eq!(state.due(), (start + REQUEST + LAST_WORD, Late::Request));
        state.end(first, start + seconds(70));
        assert_eq!(state.due(), (start + seconds(60) + REQUEST + LAST_WORD, Late::Request));
        state.end(second, start + seconds(80));
        assert_eq!(state.due(), (start + seconds(80) + IDLE, Late::Idle));
    }

    #[test]
    fn an_answer_is_in_progress_until_it_is_sent_and_keeps_its_length() {
        let pace = Pace::new();
        let body = pace.begin(Version::HTTP_11).until_sent(Body::from("answer"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(pace.state().due().1, Late::Request);
        drop(body);
        assert_eq!(pace.state().due().1, Late::Idle);
    }
}
