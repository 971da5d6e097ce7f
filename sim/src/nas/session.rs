//! One WebSocket connection: its calls, its login, and its answers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::accounts::Roles;
use super::jobs::{self, JobState, Owner, Plan};
use super::methods::{self, Access, Answer, Context, Method};
use super::params::Args;
use super::scram;
use super::server::Spoken;
use super::state::State;
use super::wire::{
    ANONYMOUS_LIMIT, EBUSY, EINTR, ENOMETHOD, ENOTAUTHENTICATED, Failure, Malformed, Request, SESSION_LIMIT,
    errno_name,
};
use super::{Exchange, Generation, LoginAttempt, Shared, lock, random_bytes};
use crate::fault::Fault;

/// Calls of one connection that run at once, and that run or wait.
const RUNNING: usize = 10;
const IN_FLIGHT: usize = 20;

/// What goes out to the client.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(String),
    /// The beginning of a frame that announces all of this text, and then nothing more.
    Torn(String),
    /// One text frame of these bytes, be they text or not.
    Frame(Vec<u8>),
    /// Nothing more.
    HangUp,
}

/// Who has logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub username: String,
    /// Number of the API key; `None` for somebody with a password.
    pub key: Option<i64>,
    pub roles: Roles,
}

/// Who a row or an event is for.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub generation: Generation,
    pub login: Login,
}

/// What the server remembers of a connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options of core.set_options, one by one")]
pub(crate) struct Session {
    pub connection: u64,
    pub peer: IpAddr,
    pub spoken: Spoken,
    pub login: Option<Login>,
    pub legacy_jobs: bool,
    pub private_methods: bool,
    pub py_exceptions: bool,
    /// 25.04 does not let go of a login that failed: no other can follow on the same connection.
    pub authenticator_stuck: bool,
    /// A login by SCRAM that is half done.
    pub scram: Option<scram::Exchange>,
    /// Who has given a right password and owes the second factor.
    pub half_in: Option<String>,
}

impl Session {
    pub fn new(connection: u64, peer: IpAddr, spoken: Spoken) -> Self {
        Self {
            connection,
            peer,
            spoken,
            login: None,
            legacy_jobs: true,
            private_methods: false,
            py_exceptions: false,
            authenticator_stuck: false,
            scram: None,
            half_in: None,
        }
    }

    pub fn caller(&self) -> Option<Caller> {
        self.login.clone().map(|login| Caller { generation: self.spoken.generation, login })
    }
}

struct Connection {
    shared: Arc<Shared>,
    session: Mutex<Session>,
    outbox: mpsc::UnboundedSender<Outgoing>,
    running: Semaphore,
    in_flight: AtomicUsize,
}

/// Serves a connection until either side has enough of it.
pub(crate) async fn serve<S>(shared: Arc<Shared>, mut socket: WebSocketStream<S>, session: Session)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (outbox, mut inbox) = mpsc::unbounded_channel();
    let number = session.connection;
    let connection = Arc::new(Connection {
        shared: Arc::clone(&shared),
        session: Mutex::new(session),
        outbox,
        running: Semaphore::new(RUNNING),
        in_flight: AtomicUsize::new(0),
    });
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            outgoing = inbox.recv() => match outgoing {
                Some(Outgoing::Text(text)) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        break;
                    }
                }
                Some(Outgoing::Torn(text)) => {
                    // The connection ends here in any case.
                    let _ = tear(socket.get_mut(), &text).await;
                    break;
                }
                Some(Outgoing::Frame(bytes)) => {
                    if whole(socket.get_mut(), &bytes).await.is_err() {
                        break;
                    }
                }
                Some(Outgoing::HangUp) | None => break,
            },
            incoming = socket.next() => match incoming {
                Some(Ok(Message::Text(text))) => match connection.too_long(&text) {
                    Some(close) => {
                        finish(&mut socket, close).await;
                        break;
                    }
                    None => connection.receive(&text, &mut calls),
                },
                Some(Ok(Message::Binary(_))) => {
                    let reason = "Invalid websocket message type: <WSMsgType.BINARY: 2>".into();
                    finish(&mut socket, CloseFrame { code: CloseCode::Unsupported, reason }).await;
                    break;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            Some(_) = calls.join_next() => {}
        }
    }
    // Calls end here. What they change they change at once, so nothing is left half done.
    drop(calls);
    shared.state(|state| state.listeners.retain(|listener| listener.connection != number));
}

/// Says goodbye and gives the client a moment to hear it: closing at once could lose the close frame.
async fn finish<S>(socket: &mut WebSocketStream<S>, frame: CloseFrame)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if socket.close(Some(frame)).await.is_ok() {
        let drain = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    }
}

/// A text frame's header for all of it and half of its payload.
async fn tear(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> std::io::Result<()> {
    frame(stream, text.len(), &text.as_bytes()[..text.len() / 2]).await
}

/// A text frame whose payload need not be text.
async fn whole(stream: &mut (impl AsyncWrite + Unpin), payload: &[u8]) -> std::io::Result<()> {
    frame(stream, payload.len(), payload).await
}

/// A text frame's header for a payload of this length (RFC 6455, section 5.2), and so much of the payload.
async fn frame(stream: &mut (impl AsyncWrite + Unpin), length: usize, payload: &[u8]) -> std::io::Result<()> {
    let mut bytes = vec![0x81];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

impl Connection {
    fn too_long(&self, text: &str) -> Option<CloseFrame> {
        let length = text.chars().count();
        if lock(&self.session).login.is_none() {
            (length > ANONYMOUS_LIMIT).then(|| CloseFrame {
                code: CloseCode::Invalid,
                reason: "Anonymous connection max message length is 8 kB".into(),
            })
        } else {
            (length > SESSION_LIMIT)
                .then(|| CloseFrame { code: CloseCode::Size, reason: "Max message length is 64 kB".into() })
        }
    }

    fn receive(self: &Arc<Self>, text: &str, calls: &mut JoinSet<()>) {
        match Request::parse(text) {
            Ok(request) => {
                let exchange = self.record(&request);
                // Counted here, so that the order of arrival decides who is one too many.
                let place = self.in_flight.fetch_add(1, Ordering::SeqCst);
                let connection = Arc::clone(self);
                calls.spawn(async move {
                    connection.call(request, exchange, place < IN_FLIGHT).await;
                    connection.in_flight.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(Malformed::Answer(id, failure)) => {
                let error = failure.to_json(self.generation(), &[]);
                self.send(Outgoing::Text(json!({"jsonrpc": "2.0", "error": error, "id": id}).to_string()));
            }
            Err(Malformed::Ignore) => {}
        }
    }

    fn generation(&self) -> Generation {
        lock(&self.session).spoken.generation
    }

    fn record(&self, request: &Request) -> usize {
        let session = lock(&self.session);
        let exchange = Exchange {
            at: chrono::Utc::now(),
            boottime: boottime(),
            connection: session.connection,
            username: session.login.as_ref().map(|login| login.username.clone()),
            id: request.id.clone(),
            method: request.method.clone(),
            params: Value::from(request.params.as_slice()),
            outcome: None,
        };
        let mut transcript = lock(&self.shared.transcript);
        transcript.push(exchange);
        transcript.len() - 1
    }

    async fn call(&self, request: Request, exchange: usize, admitted: bool) {
        if !admitted {
            let message = format!("Maximum number of concurrent calls ({IN_FLIGHT}) has exceeded");
            let outcome = self.conclude(&request, exchange, Err(Failure::protocol(-32000, message)));
            return self.respond(&request, outcome, None);
        }
        let Ok(_slot) = self.running.acquire().await else { return };
        let fault = self.shared.fault(&request.method);
        match fault {
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::Drop | Fault::Status(..) | Fault::Body(..)) => return self.send(Outgoing::HangUp),
            _ => {}
        }
        let outcome = self.execute(&request).await;
        let outcome = self.conclude(&request, exchange, outcome);
        match &fault {
            Some(Fault::Slow(by)) => tokio::time::sleep(*by).await,
            Some(Fault::Held(gate)) => gate.passed().await,
            _ => {}
        }
        self.respond(&request, outcome, fault.as_ref());
    }

    fn conclude(
        &self,
        request: &Request,
        exchange: usize,
        outcome: Result<Value, Failure>,
    ) -> Result<Value, Value> {
        let outcome = outcome.map_err(|failure| failure.to_json(self.generation(), &request.params));
        if let Some(exchange) = lock(&self.shared.transcript).get_mut(exchange) {
            exchange.outcome = Some(outcome.clone());
        }
        outcome
    }

    fn respond(&self, request: &Request, outcome: Result<Value, Value>, fault: Option<&Fault>) {
        let Some(id) = &request.id else { return };
        let response = match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": id}),
            Err(error) => json!({"jsonrpc": "2.0", "error": error, "id": id}),
        };
        let mut text = response.to_string();
        self.send(match fault {
            Some(Fault::Garbage) => Outgoing::Text("<html><h1>502 Bad Gateway</h1></html>".to_owned()),
            Some(Fault::HalfFrame) => Outgoing::Torn(text),
            Some(Fault::Wire(bytes)) => Outgoing::Frame(bytes.clone()),
            Some(Fault::Oversize(length)) => {
                text.extend(std::iter::repeat_n(' ', length.saturating_sub(text.len())));
                Outgoing::Text(text)
            }
            _ => Outgoing::Text(text),
        });
    }

    fn send(&self, outgoing: Outgoing) {
        // Nobody listens on a connection that is closed.
        let _ = self.outbox.send(outgoing);
    }

    async fn execute(&self, request: &Request) -> Result<Value, Failure> {
        let generation = self.generation();
        let method = methods::find(generation, &request.method)
            .ok_or_else(|| Failure::protocol(-32601, "Method does not exist"))?;
        if self.admit(method)? == Admission::Late {
            let delay = self.shared.state(|state| random_within(&state.pace.rate_limit_delay));
            tokio::time::sleep(delay).await;
            let failure = Failure::call(EBUSY, "Rate Limit Exceeded");
            self.note_login(method, request, &Err(failure.clone()));
            return Err(failure);
        }
        let answer = self.run(method, request);
        self.note_login(method, request, &answer);
        match answer? {
            Answer::Value(value) => Ok(value),
            Answer::Job(plan) => self.start_job(plan, request.id.as_ref()).await,
        }
    }

    /// Whether this session may call the method at all.
    fn admit(&self, method: &Method) -> Result<Admission, Failure> {
        let session = lock(&self.session);
        let Some(login) = &session.login else {
            if method.access != Access::Anyone {
                return Err(Failure::call(ENOTAUTHENTICATED, "Not authenticated"));
            }
            let exempt = method.name == "core.set_options";
            let limited = !exempt && self.shared.state(|state| over_limit(state, method.name, session.peer));
            return Ok(if limited { Admission::Late } else { Admission::Now });
        };
        match method.access {
            Access::Role(role) if !login.roles.allow(role) => Err(Failure::unauthorized()),
            Access::Role(_) | Access::Session | Access::Anyone => Ok(Admission::Now),
        }
    }

    fn run(&self, method: &Method, request: &Request) -> Result<Answer, Failure> {
        let args = Args::check(method.params, &request.params)?;
        let mut session = lock(&self.session);
        if let Some(version) = &session.spoken.broken {
            survives(method, version)?;
        }
        let encrypted = self.shared.tls;
        let end_point = self.shared.end_point.as_deref();
        self.shared.state(|state| {
            let (session, outbox) = (&mut *session, &self.outbox);
            (method.run)(&mut Context { state, session, outbox, encrypted, end_point, args })
        })
    }

    fn note_login(&self, method: &Method, request: &Request, answer: &Result<Answer, Failure>) {
        if !method.name.starts_with("auth.login") {
            return;
        }
        let answer = match answer {
            Ok(Answer::Value(Value::Bool(true))) => "SUCCESS",
            Ok(Answer::Value(Value::Bool(false))) => "AUTH_ERR",
            // One half is no attempt yet.
            Ok(Answer::Value(value)) if value["scram_type"] == "SERVER_FIRST_RESPONSE" => return,
            Ok(Answer::Value(value)) if value["scram_type"] == "SERVER_FINAL_RESPONSE" => "SUCCESS",
            Ok(Answer::Value(value)) => value["response_type"].as_str().unwrap_or_default(),
            Ok(Answer::Job(_)) => "",
            Err(Failure::Call { errno, .. }) => errno_name(*errno),
            Err(_) => "EINVAL",
        };
        let username = request.params.first().and_then(|data| data["username"].as_str());
        let connection = lock(&self.session).connection;
        self.shared.state(|state| {
            state.logins.push(LoginAttempt {
                at: state.now(),
                connection,
                username: username.map(str::to_owned),
                answer: answer.to_owned(),
            });
        });
    }

    async fn start_job(&self, plan: Plan, message_id: Option<&Value>) -> Result<Value, Failure> {
        let (owner, legacy) = {
            let session = lock(&self.session);
            let login = session.login.as_ref().ok_or_else(Failure::unauthorized)?;
            (Owner { username: login.username.clone(), key: login.key }, session.legacy_jobs)
        };
        let (id, fresh) = self.shared.state(|state| state.enqueue(&plan, owner, message_id))?;
        if fresh {
            tokio::spawn(jobs::run(Arc::clone(&self.shared), id, plan.work));
        }
        if legacy {
            return Ok(id.into());
        }
        let end = self.shared.wait_for_some(|state| match state.job(id) {
            Some(job) => job.state.ended().then(|| job.state.clone()),
            None => Some(JobState::Aborted),
        });
        match end.await {
            JobState::Success(result) => Ok(result),
            JobState::Failed(errno, reason) => Err(Failure::call(errno, reason)),
            _ => Err(Failure::call(EINTR, "Job was aborted")),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Admission {
    Now,
    /// Too many have asked before: say so, but not yet.
    Late,
}

/// Counts a call made before login. The window begins with the first call and lasts a minute.
fn over_limit(state: &mut State, method: &str, peer: IpAddr) -> bool {
    let (now, limit) = (state.now(), state.pace.anonymous_calls);
    let window = state.login_windows.entry((method.to_owned(), peer)).or_insert((now, 0));
    if now - window.0 >= TimeDelta::seconds(60) {
        *window = (now, 0);
    }
    window.1 += 1;
    window.1 > limit
}

fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn random_within(range: &std::ops::RangeInclusive<Duration>) -> Duration {
    let part = f64::from(random_bytes::<1>()[0]) / 255.0;
    *range.start() + range.end().saturating_sub(*range.start()).mul_f64(part)
}

/// What becomes of a call on a route of 25.04 that a newer server offers: methods whose schemas have been
/// rewritten since either cannot be found or cannot convert their result.
fn survives(method: &Method, version: &str) -> Result<(), Failure> {
    const REWRITTEN: &[&str] = &[
        "system.",
        "pool.",
        "disk.",
        "service.",
        "core.get_jobs",
        "core.job_abort",
        "update.",
        "sharing.smb.",
    ];
    if method.name == "system.boot_id" || !REWRITTEN.iter().any(|prefix| method.name.starts_with(prefix)) {
        return Ok(());
    }
    let (service, name) = method.name.rsplit_once('.').unwrap_or_default();
    if name == "query" || name == "get_jobs" {
        let words = method.name.split(['.', '_']).flat_map(|word| {
            word.chars().enumerate().map(|(n, c)| if n == 0 { c.to_ascii_uppercase() } else { c })
        });
        let model: String = words.collect();
        return Err(Failure::exception(
            "APIVersionDoesNotContainModelException",
            format!("API version '{version}' does not contain model '{model}Result'"),
        ));
    }
    Err(Failure::call(ENOMETHOD, format!("Method '{name}' not found in '{service}'")))
}
