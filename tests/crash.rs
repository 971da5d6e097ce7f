//! The daemon is killed in a stream of changes, started again, and asked what it remembers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use common::{Bench, eventually, program};
use serde_json::{Value, json};
use tailnas::audit::verify::{Against, verify};
use tailnas::dispatch::Catalogue;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::nas::Snapshot;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// How often the daemon is killed, unless `TAILNAS_KILLS` says otherwise.
const KILLS: u64 = 12;

/// Moments that can be had again: `TAILNAS_SEED` says which.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let seed = std::env::var("TAILNAS_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("TAILNAS_SEED={seed}");
        Self(seed)
    }

    /// A number below `most`, by `SplitMix64`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % most.max(1)
    }

    fn moment(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(longest.as_micros()).unwrap()))
    }
}

/// What callers were told.
#[derive(Default)]
struct Acknowledged {
    /// The snapshots that were made.
    snapshots: BTreeSet<String>,
    /// The records that the answers name, by number, with their hashes.
    records: BTreeMap<u64, Value>,
}

impl Acknowledged {
    fn take(&mut self, answer: &Answer) {
        let record = &answer.json()["result"]["_meta"]["tailnas.dev/audit"];
        self.records.insert(record["seq"].as_u64().unwrap(), record["hash"].clone());
    }
}

fn is_done(answer: &Answer) -> bool {
    answer.status == 200 && !answer.is_error()
}

async fn start_scrub(client: &Client, arguments: Value) -> io::Result<Answer> {
    client.modern("tools/call", json!({ "name": "scrub_start", "arguments": arguments })).await
}

/// Begins a scrub, which the NAS goes on with as a job. `None`: not now.
async fn scrub(client: &Client) -> io::Result<Option<Answer>> {
    let planned = start_scrub(client, json!({ "pool": "tank2" })).await?;
    if !is_done(&planned) {
        return Ok(None);
    }
    let plan = planned.json()["result"]["structuredContent"]["plan"].clone();
    let answer = start_scrub(client, json!({ "pool": "tank2", "plan": plan })).await?;
    Ok(Some(answer).filter(is_done))
}

/// Snapshots by alice, four at a time, and scrubs by bob, one after the other, until they are told to stop or there is
/// nobody to answer.
fn load(
    bench: &Bench,
    round: u64,
    stop: &Arc<AtomicBool>,
    told: &Arc<Mutex<Acknowledged>>,
) -> Vec<JoinHandle<()>> {
    let snapshots = (0..4).map(|writer| {
        let (client, stop, told) = (bench.client(ALICE), Arc::clone(stop), Arc::clone(told));
        tokio::spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("r{round}w{writer}n{number}");
                let arguments = json!({ "dataset": "tank/photos", "name": name });
                // What is not acknowledged, nothing is promised about.
                match client.call("snapshot_create", arguments).await {
                    Ok(answer) if is_done(&answer) => {
                        let mut told = told.lock().unwrap();
                        told.take(&answer);
                        told.snapshots.insert(format!("tank/photos@{name}"));
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        })
    });
    let (client, stop, told) = (bench.client(BOB), Arc::clone(stop), Arc::clone(told));
    let scrubs = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            match scrub(&client).await {
                Ok(Some(answer)) => told.lock().unwrap().take(&answer),
                Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => return,
            }
        }
    });
    snapshots.chain([scrubs]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_every_intent_has_one_outcome() {
    let kills = std::env::var("TAILNAS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = Random::seeded();
    let mut bench = Bench::start_with(|world| {
        world.nas.state(|state| {
            state.pace.scrub_step = Duration::from_millis(30);
            // Whoever logs in more than twenty times a minute is made to wait for one by the NAS.
            state.pace.anonymous_calls = u32::MAX;
        });
        let all: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        world.tailnet.grant(BOB.address.into(), CAPABILITY, vec![json!({ "scopes": all, "nas": ["*"] })]);
    })
    .await;
    bench.nas_is_up().await;
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    let scrubbed = scrub(&bench.client(BOB)).await.unwrap().unwrap();
    assert!(scrubbed.text().contains("goes on with it as job"), "{}", scrubbed.text());
    told.lock().unwrap().take(&scrubbed);
    let (mut killed, mut killed_in_a_start) = (0, 0);
    let (mut round, mut made) = (0, BTreeSet::new());
    // On a slow machine more often, until there is something that could be lost.
    let enough = || told.lock().unwrap().snapshots.len() > 20;
    while killed < kills || (!enough() && killed < kills + 50) {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = load(&bench, round, &stop, &told);
        round += 1;
        // Also while it still asks the NAS what became of the changes that the one before left.
        if random.below(2) == 0 {
            bench.nas_is_up().await;
        }
        tokio::time::sleep(random.moment(Duration::from_millis(500))).await;
        bench.daemon.kill().await.unwrap();
        killed += 1;
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
        // Somebody tidies up: of many that no schedule deletes one more takes a person.
        made.append(&mut taken_away(&bench));
        // And while it reads the log, describes its end and takes it up.
        while random.below(3) == 0 {
            let soon = random.moment(bench.daemon.ready_after);
            if let Ok(Ok(())) = tokio::time::timeout(soon, bench.try_again()).await {
                bench.daemon.kill().await.unwrap();
            }
            killed += 1;
            killed_in_a_start += 1;
        }
        bench.start_again().await;
    }
    eventually("the NAS was asked about every change", async || {
        verify(&bench.world.audit_dir(), &Against::default()).unwrap().intents.open.is_empty()
    })
    .await;
    bench.daemon.stop().await.unwrap();
    println!("killed {killed} times, of them {killed_in_a_start} in a start");
    made.append(&mut taken_away(&bench));
    holds(&bench, &told.lock().unwrap(), &made);
}

/// The snapshots of the load that are there, which are so no longer.
fn taken_away(bench: &Bench) -> BTreeSet<String> {
    let of_the_load = |one: &Snapshot| one.name.starts_with('r');
    bench.world.nas.state(|state| {
        let ids = state.snapshots.iter().filter(|one| of_the_load(one)).map(Snapshot::id).collect();
        state.snapshots.retain(|one| !of_the_load(one));
        ids
    })
}

/// Holds the log against what callers were told, and against the snapshots that the NAS took.
fn holds(bench: &Bench, told: &Acknowledged, made: &BTreeSet<String>) {
    let report = verify(&bench.world.audit_dir(), &Against::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.intents.open.is_empty(), "{report}");

    let mut outcomes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    let mut hashes = BTreeMap::new();
    for record in bench.records() {
        hashes.insert(record["seq"].as_u64().unwrap(), record["hash"].clone());
        match record["type"].as_str().unwrap() {
            "intent" => {
                let seq = record["seq"].as_u64().unwrap();
                outcomes.entry(seq).or_default();
                targets.insert(seq, record["target"].as_str().unwrap().to_owned());
            }
            "outcome" => {
                let status = record["result"]["status"].as_str().unwrap().to_owned();
                if status == "unknown" {
                    assert!(record["result"]["reason"].is_string(), "unknown without a reason: {record}");
                }
                outcomes.entry(record["parent"].as_u64().unwrap()).or_default().push(status);
            }
            "accepted" => {
                assert!(accepted.insert(record["parent"].as_u64().unwrap()), "accepted twice: {record}");
            }
            _ => {}
        }
    }
    assert!(
        !accepted.is_empty() && accepted.iter().all(|intent| outcomes.contains_key(intent)),
        "{accepted:?}"
    );
    for (seq, hash) in &told.records {
        assert_eq!(
            hashes.get(seq),
            Some(hash),
            "an answer names record {seq}, and it is another one or not there"
        );
    }
    assert!(outcomes.values().all(|outcomes| outcomes.len() == 1), "not one outcome each: {outcomes:?}");
    let done: BTreeSet<_> = outcomes
        .iter()
        .filter(|(_, outcomes)| outcomes[0] == "ok")
        .map(|(seq, _)| targets[seq].clone())
        .collect();
    let acknowledged = &told.snapshots;
    let (intents, unknown) = (outcomes.len(), report.intents.unknown.len());
    println!(
        "{intents} intents, {} of them jobs, {} snapshots acknowledged, {unknown} unknown",
        accepted.len(),
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20, "too few changes to mean anything: {}", acknowledged.len());
    let missing: Vec<_> = acknowledged.difference(&done).collect();
    assert!(missing.is_empty(), "acknowledged and not in the log: {missing:?}");

    let recorded: BTreeSet<_> = targets.values().cloned().collect();
    let unrecorded: Vec<_> = made.difference(&recorded).collect();
    assert!(unrecorded.is_empty(), "made without an intent: {unrecorded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_does_not_outlive_its_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ready.json");
    let demo = Command::new(program())
        .arg("--ready-file")
        .arg(&file)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the demo is ready", async || file.exists()).await;
    let ready: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let kill = format!("kill -KILL {}", ready["pid"]);
    assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_mins(1), demo.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("the daemon ended by itself (signal: 9 (SIGKILL))"), "{said}");
}
