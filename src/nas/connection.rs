//! Keeping one session with the NAS: connect, log in, notice when it is gone, connect again.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Status;
use super::error::{NasError, tame};
use super::http;
use super::login::{self, Account, Trouble};
use super::rpc::{self, Budget, Connection, Lost};
use super::tls::Dialer;
use super::version::Version;
use crate::clock::Clock;
use crate::lifecycle::Heartbeat;
use crate::secret::Secret;

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The NAS counts logins over a minute.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(65);
/// A connection that lived this long was a good one, and the next attempt begins with a short pause again.
const GOOD: Duration = Duration::from_secs(10);
/// A call that comes while we are away has the next attempt made at once, but no sooner than this after the
/// last: 20 logins a minute are what the NAS allows.
const NUDGE: Duration = Duration::from_secs(3);
/// How long a call waits for a connection before it is told that there is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same before the first attempt has come to its end, which takes two TLS handshakes and a login.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether there is a sign of life to give.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// A session that lives.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) generation: Version,
    pub(super) version: String,
}

/// How it is with a session, inside.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) status: Status,
    live: Option<Live>,
    /// No attempt has come to its end yet.
    fresh: bool,
}

#[cfg(test)]
impl State {
    pub(super) fn up(status: Status, live: Live) -> Self {
        Self { status, live: Some(live), fresh: false }
    }
}

/// What calls see of a session: the state, and a way to say that it is needed.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) username: String,
    pub(super) state: watch::Receiver<State>,
    needed: Arc<Notify>,
    account: Arc<watch::Sender<Account>>,
}

impl Line {
    #[cfg(test)]
    pub(super) fn new(username: String, state: watch::Receiver<State>) -> Self {
        let account = Account {
            username: username.clone(),
            key: Secret::new(String::new()),
            only_looks: true,
            past: super::past_logins::PastLogins::in_folder(std::path::Path::new("/nonexistent"))
                .at(&"homenas".parse().unwrap()),
        };
        Self { username, state, needed: Arc::default(), account: Arc::new(watch::Sender::new(account)) }
    }

    /// Logs in with `key` from the next time on.
    pub(super) fn use_key(&self, key: Secret) {
        self.account.send_if_modified(|account| {
            let changed = account.key.expose() != key.expose();
            account.key = key;
            changed
        });
    }

    /// The session, if it is up or comes up soon.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Live, NasError> {
        let begun = Instant::now();
        let mut state = self.state.clone();
        loop {
            let fresh = {
                let State { status, live, fresh } = &*state.borrow_and_update();
                // A connection that has just ended is still here until its keeper has looked.
                if let Some(live) = live.as_ref().filter(|live| !live.connection.is_lost()) {
                    return Ok(live.clone());
                }
                if let Status::LoginRefused { since, reason, hint } = status {
                    let (reason, hint) = (reason.clone(), hint.clone());
                    return Err(NasError::LoginRefused { since: *since, reason, hint });
                }
                *fresh
            };
            self.needed.notify_one();
            let patience = if fresh { FIRST_PATIENCE } else { PATIENCE };
            let until = deadline.min(begun + patience);
            if !matches!(tokio::time::timeout_at(until, state.changed()).await, Ok(Ok(()))) {
                return Err(self.away());
            }
        }
    }

    /// The number of the API key that is used from the next login on.
    pub(super) fn key_number(&self) -> Option<i64> {
        self.account.borrow().number()
    }

    /// What to say when there is no session.
    pub(super) fn away(&self) -> NasError {
        match self.state.borrow().status.clone() {
            Status::Away { since, reason } => NasError::Away { since, reason },
            Status::LoginRefused { since, reason, hint } => NasError::LoginRefused { since, reason, hint },
            Status::Up { since, .. } => {
                NasError::Away { since, reason: "the connection was lost a moment ago".into() }
            }
        }
    }
}

/// When a session is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// From the start.
    Always,
    /// From the first call on.
    OnDemand,
}

/// Keeps one session. Run as a service.
pub(super) struct Keeper {
    /// What to call the NAS and the session in the log.
    nas: String,
    account: watch::Receiver<Account>,
    dialer: Dialer,
    budget: Budget,
    clock: Clock,
    wanted: Wanted,
    heartbeat: Option<Heartbeat>,
    state: watch::Sender<State>,
    needed: Arc<Notify>,
}

impl Keeper {
    pub(super) fn new(
        nas: String,
        account: Account,
        dialer: Dialer,
        budget: Budget,
        clock: Clock,
        wanted: Wanted,
    ) -> (Self, Line) {
        let reason = match wanted {
            Wanted::Always => "not connected yet",
            Wanted::OnDemand => "no change has been asked for yet",
        };
        let status = Status::Away { since: clock.now(), reason: reason.into() };
        let (state, seen) = watch::channel(State { status, live: None, fresh: true });
        let needed = Arc::new(Notify::new());
        let username = account.username.clone();
        let (keys, account) = watch::channel(account);
        let line = Line { username, state: seen, needed: Arc::clone(&needed), account: Arc::new(keys) };
        let heartbeat = None;
        (Self { nas, account, dialer, budget, clock, wanted, heartbeat, state, needed }, line)
    }

    /// Gives a sign of life with `heartbeat` from the start on.
    pub(super) fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// Comes to its end when nobody holds a [`Line`] to it any more.
    pub(super) async fn run(mut self) {
        let state = self.state.clone();
        tokio::select! {
            () = self.keep() => {}
            () = state.closed() => {
                tracing::info!(nas = %self.nas, user = self.username(), "nobody needs this session any more; it is closed");
            }
        }
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.retire();
        }
    }

    async fn keep(&mut self) {
        if self.wanted == Wanted::OnDemand {
            alive(self.heartbeat.as_ref(), self.needed.notified()).await;
        }
        let mut pause = SHORTEST_PAUSE;
        loop {
            let begun = Instant::now();
            match self.session().await {
                Trouble::Refused { reason, hint } => {
                    self.refused(reason, hint);
                    // Trying on would be a login storm. Another key, after somebody acted, is tried.
                    if alive(self.heartbeat.as_ref(), self.account.changed()).await.is_err() {
                        return alive(self.heartbeat.as_ref(), std::future::pending()).await;
                    }
                    pause = SHORTEST_PAUSE;
                }
                Trouble::NotSoSoon(reason) => {
                    self.away(&reason);
                    alive(self.heartbeat.as_ref(), tokio::time::sleep(RATE_LIMIT_PAUSE)).await;
                }
                Trouble::Away(reason) => {
                    if begun.elapsed() > GOOD && self.was_up() {
                        pause = SHORTEST_PAUSE;
                    }
                    self.away(&reason);
                    alive(self.heartbeat.as_ref(), self.pause(jittered(pause))).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One session, from the first packet to its end.
    async fn session(&mut self) -> Trouble {
        // Every step of connecting has a time of its own.
        self.beat();
        let account = self.account.borrow_and_update().clone();
        let (live, mut socket) = match connect(&self.dialer, &self.budget, &account).await {
            Ok(connected) => connected,
            Err(trouble) => return trouble,
        };
        let connection = live.connection.clone();
        self.up(live);
        let mut heard = None;
        let lost: Lost = loop {
            // What the NAS says, were it only to a ping, has been read: that, and not the time, is our sign of life.
            if heard.replace(connection.heard()) != Some(connection.heard()) {
                self.beat();
            }
            tokio::select! {
                lost = &mut socket => break lost,
                () = tokio::time::sleep(BEAT) => {}
            }
        };
        Trouble::Away(lost.to_string())
    }

    /// Waits out a pause, or less when somebody calls.
    async fn pause(&self, pause: Duration) {
        let begun = Instant::now();
        tokio::time::sleep(pause.min(NUDGE)).await;
        tokio::select! {
            () = tokio::time::sleep_until(begun + pause) => {}
            () = self.needed.notified() => {}
        }
    }

    fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    fn username(&self) -> String {
        self.account.borrow().username.clone()
    }

    fn was_up(&self) -> bool {
        matches!(self.state.borrow().status, Status::Up { .. })
    }

    fn up(&self, live: Live) {
        let Live { connection: _, generation, version } = &live;
        tracing::info!(nas = %self.nas, user = self.username(), %version, %generation, "connected to the NAS");
        let status =
            Status::Up { since: self.clock.now(), version: version.clone(), generation: *generation };
        self.state.send_replace(State { status, live: Some(live), fresh: false });
    }

    fn away(&self, reason: &str) {
        let reason = tame(reason);
        let since = match &self.state.borrow().status {
            Status::Away { since, reason: before } => {
                if *before == reason {
                    tracing::debug!(nas = %self.nas, user = self.username(), reason, "the NAS is still away");
                } else {
                    tracing::warn!(nas = %self.nas, user = self.username(), reason, "the NAS is away");
                }
                *since
            }
            Status::Up { .. } | Status::LoginRefused { .. } => {
                tracing::warn!(nas = %self.nas, user = self.username(), reason, "the NAS is away");
                self.clock.now()
            }
        };
        self.state.send_replace(State { status: Status::Away { since, reason }, live: None, fresh: false });
    }

    fn refused(&self, reason: &str, hint: String) {
        tracing::error!(nas = %self.nas, user = self.username(), reason, hint, "the NAS refused the login");
        let since: DateTime<Utc> = self.clock.now();
        let status = Status::LoginRefused { since, reason: reason.into(), hint };
        self.state.send_replace(State { status, live: None, fresh: false });
    }
}

/// Connects and logs in. The second part must be polled for as long as the session is to live; it answers why it
/// ended.
pub(super) async fn connect(
    dialer: &Dialer,
    budget: &Budget,
    account: &Account,
) -> Result<(Live, BoxFuture<'static, Lost>), Trouble> {
    let generation =
        http::greet(dialer).await.and_then(|greeting| greeting.generation).map_err(Trouble::Away)?;
    let (connection, socket, end_point) = rpc::open(dialer, budget).await.map_err(Trouble::Away)?;
    let mut socket = socket.boxed();
    let version = tokio::select! {
        // The socket first: when both are there, the reason it gives is the better one.
        biased;
        lost = &mut socket => return Err(Trouble::Away(format!("during the login, {lost}"))),
        version = login::log_in(&connection, account, generation, end_point.as_deref()) => version?,
    };
    Ok((Live { connection, generation, version }, socket))
}

/// Waits for what may take as long as it likes, and gives signs of life meanwhile.
async fn alive<T>(heartbeat: Option<&Heartbeat>, awaited: impl Future<Output = T>) -> T {
    let mut awaited = std::pin::pin!(awaited);
    loop {
        if let Some(heartbeat) = heartbeat {
            heartbeat.beat();
        }
        if let Ok(there) = tokio::time::timeout(BEAT, awaited.as_mut()).await {
            return there;
        }
    }
}

/// Between half of `pause` and all of it, so that many clients of one NAS do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    // Without randomness a fixed share will do: this is manners, not security.
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share / 2.0)
}
