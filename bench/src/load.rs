//! Load over HTTP/1.1 connections that are kept, with every answer checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tailnas_sim::client::MODERN;
use tokio::net::TcpSocket;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::check::{self, Expected, Read, Scenario};
use crate::process;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ids are all of one length, so that answers are too.
const FIRST_ID: u64 = 1_000_000_000;

/// What is done less often than this within a window is watched for longer, but for no longer than so many windows.
const FEW: usize = 20;
const WINDOWS: u32 = 6;

/// Names of snapshots are used once.
static SNAPSHOT: AtomicU64 = AtomicU64::new(0);

/// Somebody who calls, from an address that says who they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where they call from.
    pub address: Ipv4Addr,
    /// Their login.
    pub login: String,
    /// Their token.
    pub token: String,
}

/// A server under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// What its answers must be.
    pub expected: Arc<Expected>,
    /// Who calls. Connections are shared out among them.
    pub callers: Arc<Vec<Caller>>,
}

/// What one run of a scenario came to.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How often it was done.
    pub done: u64,
    /// How often it was done in a second.
    pub per_second: f64,
    /// The median time in milliseconds.
    pub p50: f64,
    /// The 99th percentile in milliseconds.
    pub p99: f64,
    /// Processor time of the server for each, in microseconds.
    pub cpu: f64,
    /// Memory that the server held at the end, with all connections open, in KiB.
    pub resident: u64,
}

/// One connection of one caller.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    bearer: HeaderValue,
    expected: Arc<Expected>,
    login: String,
    number: usize,
    next_id: u64,
    seq: u64,
    /// An answer that was checked, and where in it its id stands. An answer that differs in its id alone is as right.
    right: Option<(Bytes, usize)>,
}

impl Connection {
    async fn open(target: &Target, number: usize) -> Result<Self, String> {
        let caller = &target.callers[number % target.callers.len()];
        let say = |error: &dyn std::error::Error| format!("connection {number} was not made: {error}");
        let socket = TcpSocket::new_v4().map_err(|error| say(&error))?;
        socket.bind(SocketAddr::new(IpAddr::V4(caller.address), 0)).map_err(|error| say(&error))?;
        let stream = socket.connect(target.address).await.map_err(|error| say(&error))?;
        stream.set_nodelay(true).map_err(|error| say(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| say(&error))?;
        tokio::spawn(connection);
        let host = HeaderValue::try_from(target.address.to_string());
        let bearer = HeaderValue::try_from(format!("Bearer {}", caller.token));
        Ok(Self {
            sender,
            host: host.map_err(|error| say(&error))?,
            bearer: bearer.map_err(|error| say(&error))?,
            expected: Arc::clone(&target.expected),
            login: caller.login.clone(),
            number,
            next_id: FIRST_ID,
            seq: 0,
            right: None,
        })
    }

    /// Does it once, with as many requests as that takes.
    async fn once(&mut self, scenario: Scenario) -> Result<Read, String> {
        match scenario {
            Scenario::Change => {}
            Scenario::Datasets => return self.ask(scenario, Some(&json!({ "within": "tank/photos" }))).await,
            _ => return self.ask(scenario, None).await,
        }
        let snapshot = SNAPSHOT.fetch_add(1, Ordering::Relaxed);
        let arguments = json!({ "dataset": dataset(self.number), "name": format!("bench-{snapshot}") });
        let planned = self.ask(scenario, Some(&arguments)).await?;
        let plan = planned.plan.ok_or("a change was made that nobody had confirmed")?;
        let mut confirmed = arguments;
        confirmed["plan"] = plan.into();
        let made = self.ask(scenario, Some(&confirmed)).await?;
        if made.plan.is_some() {
            return Err("a change that was confirmed was planned again".to_owned());
        }
        Ok(made)
    }

    async fn ask(&mut self, scenario: Scenario, arguments: Option<&Value>) -> Result<Read, String> {
        let id = self.next_id;
        self.next_id += 1;
        let request = self.request(scenario, arguments, id)?;
        let body = tokio::time::timeout(PATIENCE, self.send(request))
            .await
            .map_err(|_| format!("{}: no answer within {} s", scenario.name(), PATIENCE.as_secs()))??;
        if self.is_right(&body, id) {
            return Ok(Read::default());
        }
        let read = check::answer(scenario, &self.expected, &self.login, id, &body)?;
        if self.expected.recorded
            && let Some(seq) = read.seq
        {
            // What one connection asks comes one after the other, and so it must be on record.
            if seq <= self.seq {
                return Err(format!("record {seq} came after record {}", self.seq));
            }
            self.seq = seq;
        }
        if self.right.is_none() {
            let digits = id.to_string();
            let mut at = body.windows(digits.len()).enumerate().filter(|(_, it)| *it == digits.as_bytes());
            if let (Some((at, _)), None) = (at.next(), at.next()) {
                self.right = Some((body, at));
            }
        }
        Ok(read)
    }

    fn is_right(&self, body: &[u8], id: u64) -> bool {
        let Some((right, at)) = &self.right else { return false };
        let digits = id.to_string();
        let after = at + digits.len();
        body.len() == right.len()
            && body[*at..after] == *digits.as_bytes()
            && body[..*at] == right[..*at]
            && body[after..] == right[after..]
    }

    fn request(
        &self,
        scenario: Scenario,
        arguments: Option<&Value>,
        id: u64,
    ) -> Result<Request<Full<Bytes>>, String> {
        const META: &str = concat!(
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientCapabilities":{},"#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}}"#
        );
        let (method, params) = match scenario.tool() {
            None => (scenario.name(), format!("{{{META}}}")),
            Some(tool) => {
                let arguments = arguments.map_or_else(|| "{}".to_owned(), Value::to_string);
                ("tools/call", format!(r#"{{"name":"{tool}","arguments":{arguments},{META}}}"#))
            }
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let request = Request::post("/mcp")
            .header(header::HOST, self.host.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"))
            .header(header::AUTHORIZATION, self.bearer.clone())
            .header("mcp-protocol-version", HeaderValue::from_static(MODERN))
            .header("mcp-method", HeaderValue::from_static(method));
        let request = match scenario.tool() {
            Some(tool) => request.header("mcp-name", HeaderValue::from_static(tool)),
            None => request,
        };
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
        let lost = |error: hyper::Error| format!("connection {} was lost: {error}", self.number);
        self.sender.ready().await.map_err(lost)?;
        let answer = self.sender.send_request(request).await.map_err(lost)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(lost)?.to_bytes();
        let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if head.status == StatusCode::OK && kind.starts_with(b"application/json") {
            return Ok(body);
        }
        let cut: String = String::from_utf8_lossy(&body).chars().take(600).collect();
        Err(format!("HTTP {}: {cut}", head.status))
    }
}

/// The dataset of which the connection of this number takes snapshots. Each has its own: changes of one thing wait for
/// each other.
pub fn dataset(connection: usize) -> String {
    format!("tank/bench-{connection:03}")
}

/// Asks once, as the first caller.
pub async fn ask(target: &Target, scenario: Scenario) -> Result<Read, String> {
    Connection::open(target, 0).await?.once(scenario).await
}

/// Has `connections` do it `times` in all, and says up to which place that has filled the audit log.
pub async fn repeat(
    target: &Target,
    scenario: Scenario,
    connections: usize,
    times: u64,
) -> Result<u64, String> {
    let left = Arc::new(AtomicU64::new(times));
    let mut ways = JoinSet::new();
    for number in 0..connections {
        let (left, mut connection) = (Arc::clone(&left), Connection::open(target, number).await?);
        ways.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                connection.once(scenario).await?;
            }
            Ok::<u64, String>(connection.seq)
        });
    }
    let mut last = 0;
    while let Some(ended) = ways.join_next().await {
        last = last.max(ended.map_err(|error| error.to_string())??);
    }
    Ok(last)
}

/// Does it over and over on so many connections for as long as `window`, or longer where that is little, once each has
/// done it at least once and `warm` has gone by. What ends within the window counts.
pub async fn drive(
    target: &Target,
    scenario: Scenario,
    connections: usize,
    (warm, window): (Duration, Duration),
) -> Result<Sample, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let together = Arc::new(Barrier::new(connections));
    let mut ways = JoinSet::new();
    for number in 0..connections {
        let mut connection = Connection::open(target, number).await?;
        let (stop, together) = (Arc::clone(&stop), Arc::clone(&together));
        let (begun, all) = (Arc::clone(&begun), Arc::clone(&all));
        ways.spawn(async move {
            together.wait().await;
            let mut ended = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                connection.once(scenario).await?;
                let now = Instant::now();
                ended.push((now, now - began));
                all.fetch_add(1, Ordering::Relaxed);
                if ended.len() == 1 {
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok::<_, String>((ended, connection))
        });
    }
    let started = Instant::now();
    while started.elapsed() < warm || begun.load(Ordering::Relaxed) < connections {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // One that fails before it has done it once would be waited for in vain.
        if let Some(ended) = ways.try_join_next() {
            let said = ended.map_err(|error| error.to_string())?;
            return Err(said.err().unwrap_or_else(|| "a connection ended by itself".to_owned()));
        }
    }
    let (from, before) = (Instant::now(), process::cpu(target.pid)?);
    let so_far = all.load(Ordering::Relaxed);
    tokio::time::sleep(window).await;
    while all.load(Ordering::Relaxed) - so_far < FEW && from.elapsed() < window * WINDOWS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (until, after) = (Instant::now(), process::cpu(target.pid)?);
    let (resident, _) = process::memory(target.pid)?;
    stop.store(true, Ordering::Relaxed);

    let (mut took, mut open) = (Vec::new(), Vec::new());
    while let Some(ended) = ways.join_next().await {
        let (ended, connection) = ended.map_err(|error| error.to_string())??;
        took.extend(ended.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, took)| *took));
        // None is closed before all have ended: fewer connections would be another measurement.
        open.push(connection);
    }
    drop(open);
    // The next ones come from the same nodes, which have places for only so many.
    tokio::time::sleep(Duration::from_millis(20)).await;
    took.sort_unstable();
    let quantile = |share: usize| {
        let at = (took.len() * share).div_ceil(100).saturating_sub(1);
        took.get(at).map(|time| time.as_secs_f64() * 1e3)
    };
    let none = || format!("{}: nothing was done within {:?}", scenario.name(), until - from);
    let (p50, p99) = (quantile(50).ok_or_else(none)?, quantile(99).ok_or_else(none)?);
    let done = took.len();
    #[expect(clippy::cast_precision_loss, reason = "nobody asks 2^52 times")]
    let count = done as f64;
    Ok(Sample {
        done: done as u64,
        per_second: count / (until - from).as_secs_f64(),
        p50,
        p99,
        cpu: (after - before).as_secs_f64() * 1e6 / count,
        resident,
    })
}
