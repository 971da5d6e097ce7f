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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Bench;
use serde_json::json;
use tailnas::audit::verify::{Against, verify};
use tailnas_sim::world::ALICE;

/// How often the daemon is killed, unless `TAILNAS_KILLS` says otherwise.
const KILLS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_every_intent_has_one_outcome() {
    let kills = std::env::var("TAILNAS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut bench = Bench::complete().await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..kills {
        bench.nas_is_up().await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (client, stop) = (bench.client(ALICE), Arc::clone(&stop));
                let acknowledged = Arc::clone(&acknowledged);
                tokio::spawn(async move {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let name = format!("r{round}w{writer}n{number}");
                        let arguments = json!({ "dataset": "tank/photos", "name": name });
                        match client.call("snapshot_create", arguments).await {
                            Ok(answer) if answer.status == 200 && !answer.is_error() => {
                                acknowledged.lock().unwrap().insert(format!("tank/photos@{name}"));
                            }
                            // Not acknowledged: nothing is promised about it.
                            Ok(_) => {}
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        // A different moment each round.
        tokio::time::sleep(Duration::from_millis(60 + 37 * (round % 8))).await;
        bench.daemon.kill().await.unwrap();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        bench.start_again().await;
    }
    common::eventually("the NAS was asked about every change", async || {
        verify(&bench.world.audit_dir(), &Against::default()).unwrap().intents.open.is_empty()
    })
    .await;
    bench.daemon.stop().await.unwrap();

    let report = verify(&bench.world.audit_dir(), &Against::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.intents.open.is_empty(), "{report}");

    let mut outcomes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for record in bench.records() {
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
            _ => {}
        }
    }
    assert!(outcomes.values().all(|outcomes| outcomes.len() == 1), "not one outcome each: {outcomes:?}");
    let done: BTreeSet<_> = outcomes
        .iter()
        .filter(|(_, outcomes)| outcomes[0] == "ok")
        .map(|(seq, _)| targets[seq].clone())
        .collect();
    let acknowledged = acknowledged.lock().unwrap();
    let (intents, unknown) = (outcomes.len(), report.intents.unknown.len());
    println!("{kills} kills: {intents} intents, {} acknowledged, {unknown} unknown", acknowledged.len());
    assert!(acknowledged.len() > 20, "too few changes to mean anything: {}", acknowledged.len());
    let missing: Vec<_> = acknowledged.difference(&done).collect();
    assert!(missing.is_empty(), "acknowledged and not in the log: {missing:?}");

    let recorded: BTreeSet<_> = targets.values().cloned().collect();
    let made: BTreeSet<_> = bench.world.nas.state(|state| {
        state.snapshots.iter().map(tailnas_sim::nas::Snapshot::id).filter(|id| id.contains("@r")).collect()
    });
    let unrecorded: Vec<_> = made.difference(&recorded).collect();
    assert!(unrecorded.is_empty(), "made without an intent: {unrecorded:?}");
}
