//! Changes: planned, agreed to, and made once, for every tool that makes one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use common::Bench;
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::tools::Spec;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::world::{ALICE, BOB, CAPABILITY};

/// Arguments with which each change can be planned in the simulated world.
fn arguments(tool: &str) -> Value {
    match tool {
        "snapshot_create" => json!({ "dataset": "tank/photos", "name": "planned" }),
        "snapshot_delete" | "snapshot_hold" | "snapshot_rollback" => {
            json!({ "snapshot": "tank/media@before-upgrade" })
        }
        "snapshot_release" => json!({ "snapshot": "tank2/scratch@keep" }),
        "snapshot_clone" => json!({ "snapshot": "tank/media@before-upgrade", "dataset": "tank/old-media" }),
        "smb_share_create" => {
            json!({ "name": "scratch", "dataset": "tank2/scratch", "hosts": ["192.168.1.0/24"] })
        }
        "smb_share_update" => json!({ "share": "photos", "read_only": true, "hosts": ["192.168.1.7"] }),
        "smb_share_delete" => json!({ "share": "photos" }),
        "nfs_share_create" => json!({ "dataset": "tank/photos", "hosts": ["192.168.1.0/24", "192.168.1.7"] }),
        "nfs_share_update" => {
            json!({ "path": "/mnt/tank/media", "read_only": false, "hosts": ["192.168.1.7"] })
        }
        "nfs_share_delete" => json!({ "path": "/mnt/tank/media" }),
        "scrub_start" => json!({ "pool": "backup" }),
        "scrub_stop" => json!({ "pool": "tank2" }),
        "backup_run" => json!({ "kind": "snapshots", "id": 1 }),
        "vm_control" => json!({ "id": 1, "action": "stop" }),
        "boot_env_delete" => json!({ "id": "24.10.2.4" }),
        "dataset_update" => json!({ "dataset": "tank/photos", "compression": "zstd" }),
        "dataset_create" => json!({ "dataset": "tank/new" }),
        "dataset_delete" => json!({ "dataset": "tank/media" }),
        "dataset_purge" | "dataset_restore" => json!({ "dataset": "tank/gone.quarantine" }),
        "service_control" => json!({ "service": "ssh", "action": "start" }),
        "app_control" => json!({ "app": "nextcloud", "action": "start" }),
        "alert_dismiss" => json!({ "uuid": "b8a0c9d4-7c41-4a43-8d0e-7f7c0f1d9e02" }),
        "alert_restore" => json!({ "uuid": "5d2f7f3e-30a8-4c57-9bb0-2a1f1c8f6e01" }),
        other => panic!("say how {other} is called"),
    }
}

async fn bench() -> Bench {
    let bench = Bench::start_with(|world| {
        world.nas.state(|state| {
            state.add_dataset("tank/gone.quarantine");
            state.hold("tank2/scratch@keep", "truenas");
            state.begin_scrub("tank2");
            // Scrubs end while somebody waits for them.
            (state.pace.scrub_step, state.pace.scrub_percent) = (std::time::Duration::from_millis(10), 50.0);
        });
        let all: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![json!({ "scopes": all, "nas": ["*"] })]);
    })
    .await;
    bench.nas_is_up().await;
    bench
}

fn writes(spec: &Spec) -> BTreeSet<&'static str> {
    spec.needs.iter().flat_map(|need| need.candidates).map(|candidate| candidate.name).collect()
}

/// How often the NAS was asked to change something for this tool.
fn sent(bench: &Bench, spec: &Spec) -> usize {
    let writes = writes(spec);
    bench.nas_calls().iter().filter(|method| writes.contains(method.as_str())).count()
}

/// As a client that puts no questions to anybody.
async fn call(client: &Client, tool: &str, arguments: &Value) -> Answer {
    client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap()
}

fn with_plan(arguments: &Value, plan: &Value) -> Value {
    let mut arguments = arguments.clone();
    arguments["plan"] = plan.clone();
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_made_that_was_not_planned_and_agreed_to() {
    let catalogue = Catalogue::new();
    let mut seen = 0;
    for spec in catalogue.specs().filter(|spec| spec.risk != Risk::Read && !spec.needs.is_empty()) {
        seen += 1;
        let bench = bench().await;
        let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
        let (tool, arguments) = (spec.name, arguments(spec.name));

        let refused = call(&bob, tool, &arguments).await;
        assert!(
            refused.is_error() && refused.text().contains("no grant gives it"),
            "{tool}: {}",
            refused.text()
        );

        let planned = call(&alice, tool, &arguments).await;
        assert!(!planned.is_error() && planned.text().contains("NOT DONE YET"), "{tool}: {}", planned.text());
        let plan = planned.json()["result"]["structuredContent"].clone();
        assert_eq!(plan["state"], "waiting", "{tool}");
        assert_eq!(sent(&bench, spec), 0, "{tool}: a plan changed something");

        // The grant of storage that bob gets now is as good as hers, and the plan is hers all the same.
        let scopes = json!({ "scopes": [spec.scope], "nas": ["*"] });
        bench.world.tailnet.grant(BOB.address.into(), CAPABILITY, vec![scopes]);
        let others = call(&bob, tool, &with_plan(&arguments, &plan["plan"])).await;
        assert!(others.is_error() && others.text().contains("no such plan"), "{tool}: {}", others.text());
        let unknown = call(&alice, tool, &with_plan(&arguments, &json!("01ARZ3NDEKTSV4RRFFQ69G5FAV"))).await;
        assert!(unknown.is_error() && unknown.text().contains("no such plan"), "{tool}: {}", unknown.text());
        let (other, elsewhere) = if tool == "snapshot_create" {
            ("dataset_create", json!({ "dataset": "tank/new" }))
        } else {
            ("snapshot_create", json!({ "dataset": "tank/photos", "name": "planned" }))
        };
        let wrong = call(&alice, other, &with_plan(&elsewhere, &plan["plan"])).await;
        assert!(wrong.is_error() && wrong.text().contains("another tool"), "{tool}: {}", wrong.text());
        for answer in [&others, &unknown, &wrong] {
            assert!(answer.text().contains("Nothing was changed"), "{tool}: {}", answer.text());
        }
        assert_eq!(sent(&bench, spec), 0, "{tool}");

        let agreed = call(&alice, tool, &with_plan(&arguments, &plan["plan"])).await;
        if plan["effect"]["risk"] == "reversible" {
            assert!(!agreed.is_error(), "{tool}: {}", agreed.text());
            assert!(agreed.text().contains("Undo: ") && agreed.text().contains("On record: "), "{tool}");
            let intent = bench.record("the intent", |r| r["type"] == "intent").await;
            assert_eq!(intent["decision"]["approval"], "client-asserted", "{tool}");
            assert_eq!(intent["plan"]["id"], plan["plan"], "{tool}");
            bench.record("the outcome", |r| r["type"] == "outcome" && r["result"]["status"] == "ok").await;
            assert_eq!(sent(&bench, spec), 1, "{tool}");
            let again = call(&alice, tool, &with_plan(&arguments, &plan["plan"])).await;
            assert!(
                again.is_error() && again.text().contains("no longer waiting"),
                "{tool}: {}",
                again.text()
            );
        } else {
            assert!(
                agreed.is_error() && agreed.text().contains("/console/plans/"),
                "{tool}: {}",
                agreed.text()
            );
            assert!(agreed.text().contains("Nothing was changed"), "{tool}: {}", agreed.text());
        }
        let count = |kind: &str| bench.records().iter().filter(|record| record["type"] == kind).count();
        let made = usize::from(plan["effect"]["risk"] == "reversible");
        assert_eq!((sent(&bench, spec), count("intent"), count("outcome")), (made, made, made), "{tool}");
    }
    assert!(seen >= 10, "{seen} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_arguments_are_another_change() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let planned = call(&alice, "snapshot_create", &arguments("snapshot_create")).await;
    let plan = planned.json()["result"]["structuredContent"]["plan"].clone();
    for other in [
        json!({ "dataset": "tank/photos", "name": "other" }),
        json!({ "dataset": "tank/media", "name": "planned" }),
        json!({ "dataset": "tank/photos", "name": "planned", "recursive": true }),
        json!({ "dataset": "tank/photos", "name": "planned", "recursive": false }),
    ] {
        let answer = call(&alice, "snapshot_create", &with_plan(&other, &plan)).await;
        assert!(answer.is_error() && answer.text().contains("other arguments"), "{other}: {}", answer.text());
    }
    assert!(bench.records().iter().all(|record| record["type"] != "intent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_made_again_under_its_name_is_another() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let planned = call(&alice, "snapshot_create", &arguments("snapshot_create")).await;
    let plan = planned.json()["result"]["structuredContent"]["plan"].clone();
    bench.world.nas.state(|state| {
        let old = state.datasets.iter().find(|one| one.name == "tank/photos").unwrap().clone();
        state.datasets.retain(|one| one.name != "tank/photos");
        state.add_dataset("tank/photos");
        // In the same second, and looking the same.
        let new = state.datasets.last_mut().unwrap();
        (new.created, new.comments, new.own) = (old.created, old.comments, old.own);
    });
    let answer = call(&alice, "snapshot_create", &with_plan(&arguments("snapshot_create"), &plan)).await;
    assert!(answer.is_error() && answer.text().contains("no longer what was agreed to"), "{}", answer.text());
    assert!(answer.text().contains("Nothing was changed"), "{}", answer.text());
    assert!(bench.records().iter().all(|record| record["type"] != "intent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_says_no_is_heard_and_a_plan_can_be_taken_back() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let params = json!({ "name": "snapshot_create", "arguments": arguments("snapshot_create") });
    for no in ["decline", "cancel"] {
        let answer = alice.call_and_answer(no, params.clone()).await.unwrap();
        assert!(answer.is_error() && answer.text().contains("said no"), "{no}: {}", answer.text());
    }
    let planned = call(&alice, "snapshot_create", &arguments("snapshot_create")).await;
    let plan = json!({ "plan": planned.json()["result"]["structuredContent"]["plan"] });
    assert!(call(&alice, "plans_list", &json!({})).await.text().contains("waiting"));
    assert!(call(&bench.client(BOB), "plan_show", &plan).await.is_error(), "it is not his");
    assert!(!call(&alice, "plan_cancel", &plan).await.is_error());
    assert!(call(&alice, "plan_wait", &plan).await.text().contains("cancelled"));
    assert!(call(&alice, "plan_cancel", &plan).await.is_error(), "it is over");
    assert!(bench.records().iter().all(|record| record["type"] != "intent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_changes_are_neither_planned_nor_made_until_thawed() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let planned = call(&alice, "snapshot_create", &arguments("snapshot_create")).await;
    let plan = planned.json()["result"]["structuredContent"]["plan"].clone();
    let file = bench.dir.path().join("state/frozen");
    std::fs::write(&file, r#"{"by":"alice","at":"2026-11-21T12:00:00Z","reason":"something is odd"}"#)
        .unwrap();
    for arguments in [arguments("snapshot_create"), with_plan(&arguments("snapshot_create"), &plan)] {
        let answer = call(&alice, "snapshot_create", &arguments).await;
        assert!(answer.is_error() && answer.text().contains("frozen by alice"), "{}", answer.text());
        assert!(answer.text().contains("Nothing was changed"), "{}", answer.text());
    }
    assert!(!call(&alice, "pools_list", &json!({})).await.is_error(), "looking goes on");
    std::fs::remove_file(file).unwrap();
    let answer = call(&alice, "snapshot_create", &with_plan(&arguments("snapshot_create"), &plan)).await;
    assert!(!answer.is_error(), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_writer_may_do_what_the_documentation_asks_for() {
    let bench = bench().await;
    let writer = bench.world.nas.writer_key().username;
    let roles = bench.world.nas.state(|state| {
        let account = state.accounts.iter().find(|account| account.username == writer).unwrap();
        account.roles.names().map(str::to_owned).collect::<BTreeSet<_>>()
    });
    let wanted = Catalogue::new().roles_of_changes().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(roles, wanted);
    let readme = include_str!("../README.md");
    assert!(wanted.iter().all(|role| readme.contains(role.as_str())), "{wanted:?}");
}
