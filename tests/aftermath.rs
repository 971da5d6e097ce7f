//! A change of which the daemon could not write down how it ended: the next one asks the NAS.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use common::{Bench, eventually};
use serde_json::{Value, json};
use tailnas::audit::verify::{Against, verify};
use tailnas_sim::fault::Fault;
use tailnas_sim::nas::JobState;
use tailnas_sim::world::ALICE;

/// A daemon that was killed while the NAS was at a change, and the intent that it left.
async fn killed_in_a_change() -> (Bench, Value) {
    let mut bench = Bench::complete().await;
    bench.world.nas.faults_of("pool.snapshot.create").once(Fault::Hang);
    let alice = bench.client(ALICE);
    let call = tokio::spawn(async move {
        let _ = alice.call("snapshot_create", json!({ "dataset": "tank/photos", "name": "hangs" })).await;
    });
    let intent = bench.record("the intent", |record| record["type"] == "intent").await;
    eventually("the NAS heard of it", async || {
        bench.nas_calls().iter().any(|method| method == "pool.snapshot.create")
    })
    .await;
    bench.daemon.kill().await.unwrap();
    call.await.unwrap();
    (bench, intent)
}

/// Lets the NAS be at a job that a call of this name began.
fn job(bench: &Bench, id: i64, name: &str) {
    let username = bench.world.nas.writer_key().username;
    bench.world.nas.state(|state| {
        let mut job = state.jobs[0].clone();
        (job.id, job.state, job.message_ids) = (id, JobState::Running, vec![json!(name)]);
        (job.owner.username, job.started) = (username, state.now());
        state.jobs.push(job);
    });
}

async fn outcome(bench: &Bench, intent: &Value) -> Value {
    let outcome = |record: &Value| record["type"] == "outcome" && record["parent"] == intent["seq"];
    bench.record("the outcome", outcome).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_that_a_call_began_is_found_by_the_name_of_the_request_and_waited_for() {
    let (mut bench, intent) = killed_in_a_change().await;
    job(&bench, 900, "01ARZ3NDEKTSV4RRFFQ69G5FAV.1");
    job(&bench, 901, &format!("{}.7", intent["req"].as_str().unwrap()));
    bench.start_again().await;
    let asked = || bench.world.nas.transcript().iter().filter(|call| call.method == "core.get_jobs").count();
    eventually("the NAS is asked, and asked again", async || asked() > 1).await;
    assert_eq!(verify(&bench.world.audit_dir(), &Against::default()).unwrap().intents.open.len(), 1);
    bench.world.nas.state(|state| state.end_job(900, JobState::Success(Value::Null)));
    let why = "the disk\u{1b}[2J is gone".to_owned();
    bench.world.nas.state(|state| state.end_job(901, JobState::Failed(5, why)));

    let outcome = outcome(&bench, &intent).await;
    assert_eq!(
        (&outcome["result"]["status"], &outcome["result"]["code"]),
        (&json!("error"), &json!("job_failed"))
    );
    let reason = outcome["result"]["reason"].as_str().unwrap();
    assert!(reason.contains("is gone") && !reason.contains('\u{1b}'), "{reason:?}");
    bench.daemon.stop().await.unwrap();
    let report = verify(&bench.world.audit_dir(), &Against::default()).unwrap();
    assert!(report.is_clean() && report.intents.open.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_which_the_nas_has_no_job_is_unknown() {
    let (mut bench, intent) = killed_in_a_change().await;
    bench.start_again().await;
    let outcome = outcome(&bench, &intent).await;
    assert_eq!(
        (&outcome["result"]["status"], &outcome["result"]["code"]),
        (&json!("unknown"), &json!("crash"))
    );
    assert!(outcome["result"]["reason"].as_str().unwrap().contains("no job of the NAS tells"), "{outcome}");
    bench.daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_between_leaves_it_to_the_next_start() {
    let (mut bench, intent) = killed_in_a_change().await;
    job(&bench, 901, &format!("{}.7", intent["req"].as_str().unwrap()));
    bench.start_again().await;
    eventually("the NAS is asked", async || {
        bench.world.nas.transcript().iter().any(|call| call.method == "core.get_jobs")
    })
    .await;
    bench.daemon.stop().await.unwrap();
    let report = verify(&bench.world.audit_dir(), &Against::default()).unwrap();
    assert!(report.is_clean() && report.intents.open.len() == 1, "{report}");
    bench.world.nas.state(|state| state.end_job(901, JobState::Success(Value::Null)));
    bench.start_again().await;
    assert_eq!(outcome(&bench, &intent).await["result"]["status"], "ok");
    bench.daemon.stop().await.unwrap();
}
