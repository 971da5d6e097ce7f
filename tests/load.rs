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

use common::{Bench, loudly};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tailnas_sim::client::Client;
use tailnas_sim::world::{ALICE, BOB};
use tokio::net::TcpSocket;

/// A number of the longer run, or else of the short one.
fn scale(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |text| text.parse().unwrap())
}

/// Sends a POST for each of `tokens` over one connection, and counts the answers.
async fn present(client: &Client, tokens: impl Iterator<Item = String>) -> Vec<StatusCode> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client.from, 0).into()).unwrap();
    let stream = socket.connect(client.server).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for token in tokens {
        sender.ready().await.unwrap();
        let request = Request::post(client.path.as_str())
            .header(header::HOST, client.server.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from_static(b"{}")))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let headers = answer.headers().clone();
        answer.into_body().collect().await.unwrap();
        assert!(status != 429 || headers.contains_key(header::RETRY_AFTER));
        answers.push(status);
    }
    answers
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// `TAILNAS_TEST_TOKENS` says how many.
#[tokio::test(flavor = "multi_thread")]
async fn random_tokens_from_one_node_reach_the_provider_as_often_as_the_limit_says_and_cost_no_memory() {
    const WAYS: usize = 4;
    let tokens = scale("TAILNAS_TEST_TOKENS", 2000);
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let pid = bench.daemon.pid().unwrap();
    // Once, so that what is allocated for good is there.
    present(&bob, (0..200).map(|number| format!("warm-{number:032x}"))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = (resident_kib(pid), bench.world.tsidp.introspections());
    let began = Instant::now();
    let flood: Vec<_> = (0..WAYS)
        .map(|way| {
            let bob = bob.clone();
            let random = (way..tokens).step_by(WAYS).map(|number| format!("t{:032x}", number * 7_919));
            tokio::spawn(async move { present(&bob, random).await })
        })
        .collect();
    let mut calls = 0;
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        let answer = alice.call("whoami", json!({})).await.unwrap();
        assert!(!answer.is_error(), "alice, during the flood: {}", answer.text());
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
    let grown = resident_kib(pid).saturating_sub(before.0);
    loudly(&format!(
        "{tokens} random tokens in {:.1} s: {} x 401, {} x 429, {asked} questions to the provider (alice's among \
         them), RSS grew by {grown} KiB from {} KiB; {calls} calls of alice's, all answered",
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
        // Ten times what she may, over connections that are made anew each time.
        let flood: Vec<_> = (0..4)
            .map(|_| {
                let alice = alice.clone();
                tokio::spawn(async move {
                    let mut refused = 0;
                    let mut tick = tokio::time::interval(Duration::from_millis(20));
                    let end = Instant::now() + Duration::from_secs(5);
                    while Instant::now() < end {
                        tick.tick().await;
                        refused += u32::from(alice.call("pools_list", json!({})).await.unwrap().is_error());
                    }
                    refused
                })
            })
            .collect();
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

/// How long each of bob's calls takes, fifteen a second for five seconds: within his budget.
async fn measure(bob: &Client) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(66));
    for _ in 0..75 {
        tick.tick().await;
        let began = Instant::now();
        let answer = bob.call("pools_list", json!({})).await.unwrap();
        assert!(!answer.is_error(), "{}", answer.text());
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
