//! What a flood does, to us and to others. A short run of each holds what must hold on any machine; the figures in
//! `docs/TESTED.md` are from longer ones of a release build, as said there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs neither lifecycle nor configuration"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, eventually, loudly, neighbourhood, release, shipped, start_shipped};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tailnas_sim::client::Client;
use tailnas_sim::world::{ALICE, BOB};
use tokio::net::TcpSocket;

/// A number of the longer run, or else of the short one.
fn scale(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |text| text.parse().unwrap())
}

/// A connection of HTTP/2 that is kept.
struct Kept {
    sender: SendRequest<Full<Bytes>>,
    url: String,
}

impl Kept {
    async fn connect(client: &Client) -> Option<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client.from, 0).into()).unwrap();
        let stream = TokioIo::new(socket.connect(client.server).await.ok()?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
        tokio::spawn(connection);
        Some(Self { sender, url: format!("http://{}{}", client.host, client.path) })
    }

    /// The status of an answer that was read to its end.
    async fn post(&mut self, token: &str, body: &'static str) -> Option<StatusCode> {
        self.sender.ready().await.ok()?;
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        let answer = self.sender.send_request(request).await.ok()?;
        let (status, wait) = (answer.status(), answer.headers().contains_key(header::RETRY_AFTER));
        answer.into_body().collect().await.ok()?;
        assert!(status != 429 || wait, "nobody says when to try again");
        Some(status)
    }
}

/// Presents each of `tokens` over one connection, as many at a time as one takes, and counts the answers.
async fn present(client: &Client, tokens: impl Iterator<Item = String>) -> Vec<StatusCode> {
    const AT_ONCE: usize = 16;
    let kept = Kept::connect(client).await.unwrap();
    let tokens: Vec<_> = tokens.collect();
    let mut ways = tokio::task::JoinSet::new();
    for way in 0..AT_ONCE {
        let mut kept = Kept { sender: kept.sender.clone(), url: kept.url.clone() };
        let tokens: Vec<_> = tokens.iter().skip(way).step_by(AT_ONCE).cloned().collect();
        ways.spawn(async move {
            let mut answers = Vec::new();
            for token in tokens {
                answers.push(kept.post(&token, "{}").await.unwrap());
            }
            answers
        });
    }
    ways.join_all().await.concat()
}

/// Memory is held to a limit; how soon it is ready is told and no more, as it is the machine's affair as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_idles_takes_little_memory() {
    let Some(folder) = release() else {
        return loudly(
            "NOT MEASURED: TAILNAS_TEST_RELEASE names no release, to look at what it takes when it idles",
        );
    };
    // In KiB, most of it pages of the program itself. What ships is built with the profile `dist`, for size; other
    // releases are half as large again.
    let most = if folder.ends_with("dist") { 20_000 } else { 30_000 };
    let (dir, world) = neighbourhood().await;
    let mut ready = Vec::new();
    for _ in 0..4 {
        let mut daemon = start_shipped(&world, dir.path()).await;
        ready.push(daemon.ready_after);
        assert!(daemon.stop().await.unwrap().success());
    }
    let daemon = start_shipped(&world, dir.path()).await;
    ready.push(daemon.ready_after);
    let at = world.metrics_address();
    let anybody = Client { server: at, host: at.to_string(), token: None, ..world.client(ALICE) };
    eventually("it has its NAS, and has looked at it", async || {
        let answer = anybody.send(Method::GET, "/readyz", &[], "").await;
        let looked = world.nas.transcript().into_iter().any(|call| call.method == "pool.dataset.query");
        looked && answer.is_ok_and(|answer| answer.status == StatusCode::OK)
    })
    .await;
    let resident = daemon.resident_kib().unwrap();
    let ready: Vec<_> = ready.into_iter().map(|after| format!("{:.0}", millis(after))).collect();
    let size = std::fs::metadata(shipped()).unwrap().len();
    loudly(&format!("{size} bytes; RSS idle: {resident} KiB; READY after {} ms", ready.join(", ")));
    assert!(resident < most, "{resident} KiB of at most {most}");
}

/// `TAILNAS_TEST_TOKENS` says how many.
#[tokio::test(flavor = "multi_thread")]
async fn random_tokens_from_one_node_reach_the_provider_as_often_as_the_limit_says_and_cost_no_memory() {
    // All the connections that one node gets, but for one.
    const WAYS: usize = 31;
    const SETTLED: Duration = Duration::from_secs(5);
    let tokens = scale("TAILNAS_TEST_TOKENS", 2000);
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let crowd = |tokens: usize, first: char| -> Vec<_> {
        let way = |way| {
            let bob = bob.clone();
            let random =
                (way..tokens).step_by(WAYS).map(move |number| format!("{first}{:032x}", number * 7_919));
            tokio::spawn(async move { present(&bob, random).await })
        };
        (0..WAYS).map(way).collect()
    };
    let resident = || bench.daemon.resident_kib().unwrap();
    let idle = resident();
    // What such a crowd takes while it is there comes and goes with it, and the allocator keeps the pages: not that
    // counts, but what each token leaves behind. So there are crowds before it, and all are gone when it is looked.
    for first in ['u', 'v', 'w'] {
        for way in crowd(2000, first) {
            way.await.unwrap();
        }
    }
    tokio::time::sleep(SETTLED).await;
    let before = (resident(), bench.world.tsidp.introspections());
    let began = Instant::now();
    let flood = crowd(tokens, 't');
    let mut calls = 0;
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        let answer = alice.call("whoami", json!({})).await.unwrap();
        assert!(answer.status == 200 && !answer.is_error(), "alice, during the flood: {answer:?}");
        calls += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed();
    let mut answers = Vec::new();
    for way in flood {
        answers.extend(way.await.unwrap());
    }
    let of = |status: u16| answers.iter().filter(|answer| answer.as_u16() == status).count();
    let asked = bench.world.tsidp.introspections() - before.1;
    tokio::time::sleep(SETTLED).await;
    let mut grown = resident().saturating_sub(before.0);
    // The allocator takes pages now and then, as before. What tokens leave behind, those of each crowd do.
    for again in ['x', 'y'] {
        if grown < 2048 {
            break;
        }
        let before = resident();
        for way in crowd(tokens, again) {
            way.await.unwrap();
        }
        tokio::time::sleep(SETTLED).await;
        grown = resident().saturating_sub(before);
    }
    loudly(&format!(
        "{tokens} random tokens in {:.1} s: {} x 401, {} x 429, {asked} questions to the provider (alice's among \
         them), RSS grew by {grown} KiB from {} KiB ({idle} KiB before its first request); {calls} calls of alice's, all \
         answered",
        took.as_secs_f64(),
        of(401),
        of(429),
        before.0,
    ));
    let limit = 20 + 5 * (usize::try_from(took.as_secs()).unwrap() + 1);
    assert_eq!(of(401) + of(429), tokens);
    assert!(of(401) <= limit, "{} were looked at in {took:?}", of(401));
    // Alice's own token is asked about again each half minute.
    assert!(asked <= limit + 1 + usize::try_from(took.as_secs() / 30).unwrap() + 1, "{asked} in {took:?}");
    assert!(grown < 2048, "RSS grew by {grown} KiB");
}

/// `TAILNAS_TEST_ROUNDS` says how many pairs of ten seconds; from ten on what was measured is held to a fifth.
#[tokio::test(flavor = "multi_thread")]
async fn ones_flood_moves_anothers_99th_percentile_by_no_more_than_a_fifth() {
    let rounds = scale("TAILNAS_TEST_ROUNDS", 1);
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for _ in 0..rounds {
        quiet.push(measure(&bob).await);
        let flood: Vec<_> = (0..8).map(|way| tokio::spawn(flood(alice.clone(), way % 2 == 0))).collect();
        flooded.push(measure(&bob).await);
        for way in flood {
            refused += way.await.unwrap();
        }
    }
    let halves = |rounds: &[Vec<Duration>], odd| {
        p99(rounds.iter().skip(usize::from(odd)).step_by(2).flatten().copied().collect())
    };
    let all = |rounds: &[Vec<Duration>]| p99(rounds.iter().flatten().copied().collect());
    let (without, with) = (all(&quiet), all(&flooded));
    loudly(&format!(
        "bob's p99 {:.2} ms alone and {:.2} ms in alice's flood ({:+.0} %), {rounds} pairs, {refused} calls of hers refused; noise, the quiet rounds \
         among themselves: {:.2} and {:.2} ms",
        millis(without),
        millis(with),
        100.0 * (millis(with) / millis(without) - 1.0),
        millis(halves(&quiet, false)),
        millis(halves(&quiet, rounds > 1)),
    ));
    if rounds >= 10 {
        assert!(refused > 0, "it was no flood: nothing of it was refused");
        assert!(with.as_secs_f64() <= 1.2 * without.as_secs_f64(), "{without:?} became {with:?}");
    }
}

/// Asks for much more than one caller may, for as long as somebody is measured: calls over connections that are made
/// anew each time, or the longest answer there is, again and again over one. How often it was refused.
async fn flood(caller: Client, calls: bool) -> usize {
    let end = Instant::now() + Duration::from_secs(5);
    let mut refused = 0;
    if calls {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while Instant::now() < end {
            tick.tick().await;
            // A connection that is one too many is closed.
            let done =
                caller.call("pools_list", json!({})).await.is_ok_and(|it| it.status == 200 && !it.is_error());
            refused += usize::from(!done);
        }
        return refused;
    }
    let token = caller.token.clone().unwrap();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    while Instant::now() < end {
        // A connection that is one too many is closed.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Some(mut kept) = Kept::connect(&caller).await else { continue };
        while let Some(answer) = kept.post(&token, list).await
            && Instant::now() < end
        {
            refused += usize::from(answer != StatusCode::OK);
        }
    }
    refused
}

/// How long each of bob's calls takes, fifteen a second for five seconds: within his budget.
async fn measure(bob: &Client) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(66));
    for _ in 0..75 {
        tick.tick().await;
        let began = Instant::now();
        let answer = bob.call("pools_list", json!({})).await.unwrap();
        assert!(answer.status == 200 && !answer.is_error(), "{answer:?}");
        took.push(began.elapsed());
    }
    took
}

fn p99(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[(all.len() * 99).div_ceil(100) - 1]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
