//! Changes of datasets and snapshots: what their plans say, and what is so afterwards, on each generation of the NAS.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use common::Bench;
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas_sim::client::Client;
use tailnas_sim::nas::{Generation, Machine, State};
use tailnas_sim::world::{ALICE, CAPABILITY};

const GENERATIONS: [(Generation, &str); 3] =
    [(Generation::V25_04, "25.04.2"), (Generation::V25_10, "25.10.5"), (Generation::V26, "26.0.0")];

/// A daemon in front of a NAS of this generation, and alice, who may use every tool.
async fn bench(generation: Generation, change: impl FnOnce(&mut State)) -> (Bench, Client) {
    let bench = Bench::start_with(|world| {
        world.nas.set_generation(generation);
        world.nas.state(change);
        let all: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![json!({ "scopes": all, "nas": ["*"] })]);
    })
    .await;
    bench.nas_is_up().await;
    let alice = bench.client(ALICE);
    (bench, alice)
}

/// What a plan says: its data, and its text.
async fn plan(client: &Client, tool: &str, arguments: &Value) -> (Value, String) {
    let answer = client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
    assert!(!answer.is_error(), "{tool}: {}", answer.text());
    (answer.json()["result"]["structuredContent"].clone(), answer.text())
}

async fn no_plan(client: &Client, tool: &str, arguments: &Value) -> String {
    let answer = client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
    assert!(answer.is_error(), "{tool}: {}", answer.text());
    assert!(answer.text().contains("Nothing was changed"), "{tool}: {}", answer.text());
    answer.text()
}

/// Plans something that the client's own word is enough for, and has it made.
async fn make(client: &Client, tool: &str, arguments: &Value) -> String {
    let (planned, text) = plan(client, tool, arguments).await;
    assert_eq!(planned["effect"]["risk"], "reversible", "{tool}: {text}");
    let mut arguments = arguments.clone();
    arguments["plan"] = planned["plan"].clone();
    let answer = client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
    assert!(!answer.is_error(), "{tool}: {}", answer.text());
    answer.text()
}

/// Number of the newest change.
async fn last_change(client: &Client) -> Value {
    let (listed, text) = plan(client, "changes_list", &json!({ "limit": 1 })).await;
    assert_eq!(listed["changes"][0]["outcome"], "ok", "{text}");
    listed["changes"][0]["seq"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_dataset_are_changed_and_set_back() {
    for (generation, version) in GENERATIONS {
        let (bench, alice) = bench(generation, |_| {}).await;
        let scratch = || {
            bench
                .world
                .nas
                .state(|nas| nas.datasets.iter().find(|one| one.name == "tank2/scratch").unwrap().clone())
        };
        let wanted = json!({ "dataset": "tank2/scratch", "compression": "zstd" });
        let text = make(&alice, "dataset_update", &wanted).await;
        assert!(
            text.contains(
                r#"Undo: call dataset_update with {"compression":"lz4","dataset":"tank2/scratch"}"#
            ),
            "{text}"
        );
        assert_eq!(scratch().compression.as_deref(), Some("ZSTD"));

        let change = last_change(&alice).await;
        let text = make(&alice, "undo", &json!({ "change": change })).await;
        assert!(text.contains("Changed the settings of tank2/scratch"), "{text}");
        assert_eq!(scratch().compression.as_deref(), Some("LZ4"));
        // Once is enough: it is so already.
        assert!(no_plan(&alice, "undo", &json!({ "change": change })).await.contains("is so already"));

        let read_only = json!({ "dataset": "tank/photos", "read_only": "on" });
        let (planned, text) = plan(&alice, "dataset_update", &read_only).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains("SMB Share photos can no longer write to it"), "{text}");
        let (planned, text) =
            plan(&alice, "dataset_update", &json!({ "dataset": "backup/photos", "read_only": "off" })).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        // However much it leaves, whoever writes by the share had no limit before.
        let limit = json!({ "dataset": "tank/photos", "quota_bytes": 2_u64 << 40 });
        let (planned, text) = plan(&alice, "dataset_update", &limit).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains("SMB Share photos writes to it"), "{text}");
        // 1004.5 GiB with its snapshots and what is below it; 1050 leave hardly anything.
        let (planned, text) = plan(
            &alice,
            "dataset_update",
            &json!({ "dataset": "tank/photos", "quota_bytes": 1050_u64 << 30 }),
        )
        .await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains("Stops: Writing fails once the 45.5 GiB"), "{text}");
        for (arguments, why) in [
            (json!({ "dataset": "tank/photos", "quota_bytes": 1_u64 << 35 }), "holds 1004 GiB already"),
            (json!({ "dataset": "tank/photos", "quota_bytes": 7 }), "below 1 GiB"),
            (json!({ "dataset": "tank/photos", "compression": "lz4" }), "is so already"),
            (json!({ "dataset": "tank/photos" }), "is so already"),
            (json!({ "dataset": "tank/vm-disk", "quota_bytes": 1_u64 << 40 }), "is a volume"),
            (json!({ "dataset": "tank/nope", "compression": "lz4" }), "There is no dataset"),
        ] {
            let text = no_plan(&alice, "dataset_update", &arguments).await;
            assert!(text.contains(why), "{arguments}: {text}");
        }
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_from_further_up_or_unseen_is_nothing_a_client_may_stop() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        nas.add_dataset("tank/media/old");
        let mut off = nas.smb_shares[1].clone();
        (off.id, off.enabled) = (9, false);
        "archive".clone_into(&mut off.name);
        nas.smb_shares.push(off);
    })
    .await;
    let photos = "SMB Share photos (by /mnt/tank/photos, above it)";
    for (arguments, told) in [
        // The share gives what lies below its dataset as well, and the NAS does not say so of that.
        (
            json!({ "dataset": "tank/photos/2024", "read_only": "on" }),
            format!("{photos} can no longer write to it"),
        ),
        (
            json!({ "dataset": "tank/photos/2024", "quota_bytes": 336_u64 << 30 }),
            format!("{photos} writes to it."),
        ),
        (
            json!({ "dataset": "tank/photos", "read_only": "on" }),
            "SMB Share archive (switched off) can no longer write to it".to_owned(),
        ),
        (
            json!({ "dataset": "tank/media/old", "read_only": "on" }),
            "App plex (by /mnt/tank/media, above it) can no longer write to it".to_owned(),
        ),
        // Whoever uses it from another machine is not seen at all.
        (json!({ "dataset": "tank2/scratch", "read_only": "on" }), "by whatever way".to_owned()),
        (
            json!({ "dataset": "tank2/scratch", "quota_bytes": 400_u64 << 30 }),
            "Writing fails once the 308 GiB".to_owned(),
        ),
        // A limit is what keeps one of them from filling the pool.
        (json!({ "dataset": "tank/apps", "quota_bytes": 0 }), "can take all that the pool has".to_owned()),
        (json!({ "dataset": "tank/apps", "quota_bytes": 64_u64 << 40 }), "can take 64.0 TiB".to_owned()),
    ] {
        let (planned, text) = plan(&alice, "dataset_update", &arguments).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{arguments}: {text}");
        assert!(text.contains(&told), "{arguments}: {told}: {text}");
    }
    assert!(bench.nas_calls().iter().all(|method| method != "pool.dataset.update"));
    for (tool, arguments, told) in [
        ("dataset_delete", json!({ "dataset": "tank/photos/2024" }), photos),
        ("dataset_delete", json!({ "dataset": "tank/vm-disk" }), "iSCSI Extent vm-disk no longer finds it"),
        (
            "dataset_delete",
            json!({ "dataset": "tank/media/old" }),
            "folders of apps that do not run: nextcloud",
        ),
    ] {
        let (_, text) = plan(&alice, tool, &arguments).await;
        assert!(text.contains(told), "{tool} {arguments}: {text}");
    }
    let night = bench.world.nas.state(|nas| nas.night(0));
    let below = json!({ "snapshot": format!("tank/photos/2024@{night}") });
    let (_, text) = plan(&alice, "snapshot_rollback", &below).await;
    assert!(text.contains(&format!("{photos} finds its files as they were")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_keep_is_no_undo_of_the_log() {
    let (bench, alice) = bench(Generation::V25_10, |_| {}).await;
    let secret = json!({ "dataset": "tank/photos", "comment": "Alice's" });
    let text = make(&alice, "dataset_update", &secret).await;
    assert!(text.contains("Family photos"), "the plan knows what it was: {text}");
    let text = no_plan(&alice, "undo", &json!({ "change": last_change(&alice).await })).await;
    assert!(text.contains("what it was is not kept in the log"), "{text}");
    let intent = bench.record("the intent", |record| record["type"] == "intent").await;
    assert!(!intent.to_string().contains("Family photos"), "{intent}");
    assert!(intent["plan"]["undo"]["words"].is_string(), "{intent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ones_own_changes_are_taken_back_and_only_those_that_were_made() {
    let (bench, alice) = bench(Generation::V25_10, |_| {}).await;
    make(&alice, "snapshot_create", &json!({ "dataset": "tank/photos", "name": "one" })).await;
    let change = last_change(&alice).await;
    let (planned, text) = plan(&alice, "undo", &json!({ "change": change, "reason": "a mistake" })).await;
    assert_eq!(
        (&planned["tool"], &planned["effect"]["risk"]),
        (&json!("snapshot_delete"), &json!("destructive"))
    );
    assert!(
        text.contains("A person approves or refuses it"),
        "what it does counts, not how it is called: {text}"
    );

    let bob = bench.client(tailnas_sim::world::BOB);
    let all: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
    let grant = vec![json!({ "scopes": all, "nas": ["*"] })];
    bench.world.tailnet.grant(tailnas_sim::world::BOB.address.into(), CAPABILITY, grant);
    assert!(no_plan(&bob, "undo", &json!({ "change": change })).await.contains("You made no change"));
    for number in [0, 1, u64::MAX] {
        let text = no_plan(&alice, "undo", &json!({ "change": number })).await;
        assert!(text.contains("You made no change"), "{number}: {text}");
    }
    // The scope of what takes it back is needed, and asked for by name.
    let only = vec![json!({ "scopes": ["storage:read", "storage:write"], "nas": ["*"] })];
    bench.world.tailnet.revoke(ALICE.address.into(), CAPABILITY);
    bench.world.tailnet.grant(ALICE.address.into(), CAPABILITY, only);
    let answer = alice
        .modern("tools/call", json!({ "name": "undo", "arguments": { "change": change } }))
        .await
        .unwrap();
    assert!(
        answer.is_error() && answer.text().contains("snapshot_delete needs the scope storage:destroy"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_held_released_and_cloned() {
    for (generation, version) in &GENERATIONS[1..] {
        let (bench, alice) = bench(*generation, |nas| {
            nas.hold("tank2/scratch@keep", "zettarepl");
        })
        .await;
        let held = |id: &str| {
            bench
                .world
                .nas
                .state(|nas| nas.snapshots.iter().find(|one| one.id() == id).unwrap().holds.clone())
        };
        let night = bench.world.nas.state(|nas| nas.night(0));
        let both = json!({ "snapshot": format!("tank/photos@{night}"), "recursive": true });
        let text = make(&alice, "snapshot_hold", &both).await;
        assert!(text.contains("is held, and those of the same name below it"), "{text}");
        assert_eq!(held(&format!("tank/photos/2024@{night}")), ["truenas"]);
        assert!(no_plan(&alice, "snapshot_hold", &both).await.contains("is held already"));
        assert!(no_plan(&alice, "snapshot_delete", &both).await.contains("is held, and cannot be deleted"));
        // It could be deleted by a schedule the next minute: that is not for a client to say.
        let (planned, text) = plan(&alice, "snapshot_release", &both).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        let (_, text) = plan(&alice, "snapshot_release", &json!({ "snapshot": "tank2/scratch@keep" })).await;
        assert!(text.contains("held (zettarepl)") && text.contains("may have to begin anew"), "{text}");
        let free = json!({ "snapshot": "tank/media@before-upgrade" });
        assert!(no_plan(&alice, "snapshot_release", &free).await.contains("Nothing holds"));

        let beside = json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank/september" });
        let text = make(&alice, "snapshot_clone", &beside).await;
        assert!(text.contains("Made tank/september"), "{text}");
        bench.world.nas.state(|nas| {
            let clone = nas.datasets.iter().find(|one| one.name == "tank/september").unwrap();
            assert_eq!(clone.origin.as_deref(), Some("tank/photos@before-sorting"));
        });
        let text =
            no_plan(&alice, "snapshot_delete", &json!({ "snapshot": "tank/photos@before-sorting" })).await;
        assert!(text.contains("tank/september is a clone of it"), "{text}");
        // Below a share, whoever may use that may see it.
        let shared = json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank/media/september" });
        let (planned, text) = plan(&alice, "snapshot_clone", &shared).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains("It lies in what the SMB share media gives"), "{text}");
        for (arguments, why) in [
            (json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank2/x" }), "stays on its pool"),
            (json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank/media" }), "already"),
            (
                json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank/no/x" }),
                "no dataset tank/no",
            ),
            (json!({ "snapshot": "tank/photos@nope", "dataset": "tank/x" }), "no snapshot"),
        ] {
            let text = no_plan(&alice, "snapshot_clone", &arguments).await;
            assert!(text.contains(why), "{arguments}: {text}");
        }
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_ever_is_bounded_and_says_what_it_costs() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        nas.snapshots.iter_mut().for_each(|one| one.used = 3 << 30);
        (0..17).for_each(|number| nas.add_snapshot("tank2/scratch", &format!("s{number}")));
        nas.add_snapshot("tank/apps", "x");
    })
    .await;
    let hold = |snapshot: String| json!({ "snapshot": snapshot });
    let (planned, text) = plan(&alice, "snapshot_hold", &hold("tank/media@before-upgrade".into())).await;
    assert_eq!(planned["effect"]["risk"], "reversible", "{text}");
    assert!(text.contains("A hold has no end of its own") && text.contains("(3.00 GiB now"), "{text}");
    // Whoever writes where a quota is may be told that it is full, by what nobody sees.
    let (planned, text) = plan(&alice, "snapshot_hold", &hold("tank/apps@x".into())).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("counts in the quota of tank/apps (1.00 TiB, of which 674"), "{text}");
    bench
        .world
        .nas
        .state(|nas| nas.datasets.iter_mut().find(|one| one.name == "tank2").unwrap().quota = Some(1 << 40));
    let (planned, text) = plan(&alice, "snapshot_hold", &hold("tank2/scratch@s0".into())).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("counts in the quota of tank2 ("), "{text}");
    bench.world.nas.state(|nas| nas.datasets.iter_mut().for_each(|one| one.quota = None));
    bench
        .world
        .nas
        .state(|nas| (0..15).for_each(|number| nas.hold(&format!("tank2/scratch@s{number}"), "truenas")));
    make(&alice, "snapshot_hold", &hold("tank2/scratch@s15".into())).await;
    let (planned, text) = plan(&alice, "snapshot_hold", &hold("tank2/scratch@s16".into())).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("With it 17 snapshots of tank2/scratch and below it are held so."), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_does_not_say_in_its_name_when_it_was_taken() {
    let (bench, alice) = bench(Generation::V25_10, |_| {}).await;
    // The last ones are read as a time by a schema without anything in between, and by one of seconds.
    for name in [
        "auto-2099-01-01_00-00",
        "auto-2099-1-1_0-0",
        "209901010000",
        "x2099.1.1.0.0y",
        "auto-20991111",
        "4070908800",
    ] {
        let named = json!({ "dataset": "tank/photos", "name": name });
        let text = no_plan(&alice, "snapshot_create", &named).await;
        assert!(text.contains("could be read as a date and a time"), "{name}: {text}");
        assert!(text.contains("fewer than 8 digits"), "{name}: {text}");
    }
    assert!(!bench.nas_calls().contains(&"pool.snapshot.create".to_owned()));
    make(&alice, "snapshot_create", &json!({ "dataset": "tank/photos", "name": "before-1.2.0_Nov-2026" }))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fills_a_pool_bit_by_bit_takes_a_person_in_the_end() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        // Those of a schedule end by themselves.
        (0..100)
            .for_each(|number| nas.add_snapshot("tank2/scratch", &format!("auto-2026-01-01_00-{number}")));
        (0..62).for_each(|number| nas.add_snapshot("tank2/scratch", &format!("s{number}")));
    })
    .await;
    // With `keep`, which is there.
    let one_more = |name: &str| json!({ "dataset": "tank2/scratch", "name": name });
    make(&alice, "snapshot_create", &one_more("last")).await;
    let above = json!({ "dataset": "tank2", "name": "all", "recursive": true });
    for (arguments, told) in [
        (one_more("too-many"), "With it there are 65 there that no schedule deletes."),
        (above, "With it there are 65 there that no schedule deletes."),
        (json!({ "dataset": "tank/apps", "name": "x" }), "counts in the quota of tank/apps"),
    ] {
        let (planned, text) = plan(&alice, "snapshot_create", &arguments).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains(told), "{told}: {text}");
    }
    make(&alice, "snapshot_create", &json!({ "dataset": "tank2", "name": "all" })).await;

    // Each of another name: of the same the plan that waits would be answered.
    let clone = |dataset: &str| json!({ "snapshot": "tank/photos@before-sorting", "dataset": dataset });
    bench.world.nas.state(|nas| {
        for number in 0..15 {
            nas.add_dataset(&format!("tank/c{number}"));
            nas.datasets.last_mut().unwrap().origin = Some("tank/photos@after-sorting".to_owned());
        }
    });
    make(&alice, "snapshot_clone", &clone("tank/d")).await;
    let (planned, text) = plan(&alice, "snapshot_clone", &clone("tank/e")).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("With it there are 17 clones of snapshots of tank/photos."), "{text}");
    bench.world.nas.state(|nas| {
        nas.datasets.retain(|one| one.origin.is_none());
        nas.datasets.iter_mut().find(|one| one.name == "tank/photos").unwrap().quota = Some(2 << 40);
    });
    let (planned, text) = plan(&alice, "snapshot_clone", &clone("tank/f")).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("counts in the quota of tank/photos (2.00 TiB"), "{text}");

    bench.world.nas.state(|nas| {
        nas.datasets.iter_mut().for_each(|one| one.quota = None);
        let there = nas.datasets.iter().filter(|one| one.pool() == "tank").count();
        (there..255).for_each(|number| nas.add_dataset(&format!("tank/media/n{number}")));
    });
    make(&alice, "dataset_create", &json!({ "dataset": "tank/256" })).await;
    for (tool, arguments) in
        [("dataset_create", json!({ "dataset": "tank/257" })), ("snapshot_clone", clone("tank/g"))]
    {
        let (planned, text) = plan(&alice, tool, &arguments).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        assert!(text.contains("With it the pool tank has 257 datasets."), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_names_what_is_lost_and_destroys_nothing_that_was_not_named() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        nas.snapshots.iter_mut().for_each(|one| one.used = 3 << 30);
    })
    .await;
    let night = |ago| bench.world.nas.state(|nas| format!("tank/photos@{}", nas.night(ago)));
    let (before, last) = (night(1), night(0));
    let (planned, text) = plan(&alice, "snapshot_rollback", &json!({ "snapshot": last })).await;
    assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
    assert!(text.contains("everything written since") && text.contains("no undo"), "{text}");
    assert!(text.contains("SMB Share photos finds its files as they were"), "{text}");

    let back = json!({ "snapshot": before });
    let text = no_plan(&alice, "snapshot_rollback", &back).await;
    assert!(text.contains("would destroy 1 snapshot that came after"), "{text}");
    assert!(text.contains(&last) && text.contains("snapshot_clone"), "{text}");
    let destroying = json!({ "snapshot": before, "destroy_newer": true });
    let (planned, text) = plan(&alice, "snapshot_rollback", &destroying).await;
    assert!(text.contains("and 1 newer snapshot with at least 3.00 GiB"), "{text}");
    assert_eq!(planned["effect"]["bytes"], 3_u64 << 30);
    assert!(text.contains(&format!("Changes snapshot {last}: 3.00 GiB → gone")), "{text}");

    bench.world.nas.state(|nas| nas.hold(&last, "truenas"));
    let text = no_plan(&alice, "snapshot_rollback", &destroying).await;
    assert!(text.contains("is newer, and held"), "{text}");
    bench.world.nas.state(|nas| {
        nas.snapshots.iter_mut().for_each(|one| one.holds.clear());
        nas.add_dataset("tank/last-night");
        nas.datasets.last_mut().unwrap().origin = Some(last.clone());
    });
    let text = no_plan(&alice, "snapshot_rollback", &destroying).await;
    assert!(text.contains("tank/last-night is a clone of a newer snapshot"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_says_who_will_reach_it_and_by_what_else() {
    for (generation, version) in GENERATIONS {
        let (bench, alice) = bench(generation, |nas| {
            nas.services.iter_mut().filter(|one| one.name == "nfs").for_each(|one| one.running = false);
        })
        .await;
        let open = json!({ "name": "pictures", "dataset": "tank/photos" });
        let (planned, text) = plan(&alice, "smb_share_create", &open).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        for wanted in [
            "Share tank/photos by SMB, to be read and written, with everybody who reaches the NAS.",
            "whoever reaches the NAS may try",
            "The SMB share photos gives the same folder.",
            "It gives the datasets below it as well: 1 of them.",
            r#"Undo: call smb_share_delete with {"share":"pictures"}"#,
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let narrow = json!({ "dataset": "tank/photos/2024", "read_only": true, "hosts": ["192.168.1.0/24"] });
        let (_, text) = plan(&alice, "nfs_share_create", &narrow).await;
        for wanted in [
            "Share tank/photos/2024 by NFS, read-only, with 192.168.1.0/24.",
            "It lies in what the SMB share photos gives.",
            "NFS believes what clients say",
            "The NFS service does not run",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("may try"), "{text}");
        let (_, text) = plan(&alice, "nfs_share_create", &json!({ "dataset": "tank" })).await;
        assert!(text.contains("It is the root of its pool"), "{text}");
        assert!(text.contains("What the SMB share media gives lies in it"), "{text}");

        let (_, text) =
            plan(&alice, "smb_share_update", &json!({ "share": "media", "read_only": false })).await;
        assert!(text.contains("It lets guests in, without a password."), "{text}");
        assert!(text.contains("Changes read-only: yes → no"), "{text}");
        let (_, text) =
            plan(&alice, "smb_share_update", &json!({ "share": "media", "enabled": false })).await;
        assert!(
            text.contains(r#"Undo: call smb_share_update with {"enabled":true,"share":"media"}"#),
            "{text}"
        );
        assert!(
            text.contains("Stops: Whoever uses it loses it") && !text.contains("lets guests in"),
            "{text}"
        );

        let (_, text) = plan(&alice, "smb_share_delete", &json!({ "share": "photos" })).await;
        assert!(text.contains("The files stay."), "{text}");
        assert!(text.contains(r#"call smb_share_create with {"dataset":"tank/photos","hosts":[],"name":"photos","read_only":false}"#), "{text}");
        // What lets guests in is not made again by this program.
        let (_, text) = plan(&alice, "smb_share_delete", &json!({ "share": "media" })).await;
        assert!(text.contains("Undo: make it again in the TrueNAS web interface"), "{text}");
        let (_, text) = plan(&alice, "nfs_share_delete", &json!({ "path": "/mnt/tank/media" })).await;
        assert!(text.contains(r#"call nfs_share_create with {"dataset":"tank/media","hosts":["192.168.1.0/24"],"read_only":true}"#), "{text}");

        for (tool, arguments, why) in [
            (
                "smb_share_create",
                json!({ "name": "Photos", "dataset": "tank/media" }),
                "There is an SMB share Photos already",
            ),
            ("smb_share_create", json!({ "name": "x", "dataset": "tank/vm-disk" }), "is a volume"),
            ("smb_share_create", json!({ "name": "x", "dataset": "tank/nope" }), "There is no dataset"),
            ("smb_share_update", json!({ "share": "photos" }), "is so already"),
            ("smb_share_update", json!({ "share": "nope", "enabled": true }), "There is no SMB share nope"),
            ("smb_share_delete", json!({ "share": "nope" }), "There is no SMB share nope"),
            (
                "nfs_share_create",
                json!({ "dataset": "tank/media" }),
                "There is an NFS share of /mnt/tank/media already",
            ),
            (
                "nfs_share_update",
                json!({ "path": "/mnt/tank/photos", "enabled": true }),
                "There is no NFS share",
            ),
            ("nfs_share_delete", json!({ "path": "/mnt/tank/photos" }), "There is no NFS share"),
        ] {
            let text = no_plan(&alice, tool, &arguments).await;
            assert!(text.contains(why), "{tool} {arguments}: {text}");
        }
        for (tool, arguments) in [
            ("smb_share_create", json!({ "name": "a/b", "dataset": "tank/photos" })),
            ("smb_share_create", json!({ "name": "x", "dataset": "tank/photos", "hosts": ["*(rw)"] })),
            ("nfs_share_create", json!({ "dataset": "tank/photos", "hosts": ["10.0.0.0/99"] })),
            ("nfs_share_update", json!({ "path": "/etc", "enabled": true })),
        ] {
            let answer =
                alice.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
            assert!(
                answer.is_error() && answer.text().contains("The arguments do not fit"),
                "{}",
                answer.text()
            );
        }
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_is_told_of_what_they_would_lose() {
    for (generation, version) in GENERATIONS {
        let (bench, alice) = bench(generation, |_| {}).await;
        let smb = match generation {
            Generation::V25_10 => "Could not be seen: SMB clients: TrueNAS 25.10.5 has no smb.status",
            _ => "Stops: SMB client: alice from 192.168.1.7",
        };
        let nfs = "Stops: NFS 4 client: Linux NFSv4.2 player from 192.168.1.21:871";
        for (tool, arguments, told) in [
            ("service_control", json!({ "service": "cifs", "action": "restart" }), smb),
            ("service_control", json!({ "service": "nfs", "action": "stop" }), nfs),
            (
                "service_control",
                json!({ "service": "iscsitarget", "action": "stop" }),
                "Stops: iSCSI session: ",
            ),
            ("smb_share_update", json!({ "share": "photos", "enabled": false }), smb),
            ("smb_share_delete", json!({ "share": "photos" }), smb),
            ("nfs_share_update", json!({ "path": "/mnt/tank/media", "enabled": false }), nfs),
            ("dataset_delete", json!({ "dataset": "tank/media" }), nfs),
            ("dataset_delete", json!({ "dataset": "tank/photos" }), smb),
            (
                "nfs_share_delete",
                json!({ "path": "/mnt/tank/media" }),
                "Stops: NFS 3 client: 192.168.1.22 has /mnt/tank/media",
            ),
        ] {
            let (_, text) = plan(&alice, tool, &arguments).await;
            assert!(text.contains(told), "{tool} {arguments} on {version}: {text}");
        }
        let start = json!({ "service": "ssh", "action": "start" });
        let (_, text) = plan(&alice, "service_control", &start).await;
        assert!(!text.contains(" client: "), "nobody loses what begins: {text}");
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_says_who_a_client_is_on_the_nas() {
    let (bench, alice) = bench(Generation::V25_10, |_| {}).await;
    let writable = json!({ "path": "/mnt/tank/media", "read_only": false });
    for (maproot, mapall, told) in [
        (None, None, "can be any of them but root."),
        (Some("root"), None, "can be any of them, and is root here as root."),
        (Some("root"), Some("media"), "Everybody on a host that is let in is media here."),
        (None, Some("root"), "Everybody on a host that is let in is root here."),
    ] {
        bench.world.nas.state(|nas| {
            let share = &mut nas.nfs_shares[0];
            (share.maproot, share.mapall) = (maproot.map(str::to_owned), mapall.map(str::to_owned));
        });
        let (_, text) = plan(&alice, "nfs_share_update", &writable).await;
        assert!(text.contains(told), "{told}: {text}");
        assert_eq!(text.contains("but root"), maproot.is_none() && mapall.is_none(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_scrubbed_on_a_clients_word_and_the_scrub_stopped_on_a_persons() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        nas.pace.scrub_step = std::time::Duration::from_mins(5);
    })
    .await;
    let tank2 = json!({ "pool": "tank2" });
    assert!(no_plan(&alice, "scrub_stop", &tank2).await.contains("No scrub of tank2 runs"));
    let text = make(&alice, "scrub_start", &tank2).await;
    assert!(text.contains("The NAS scrubs tank2") && text.contains("goes on with it as job"), "{text}");
    common::eventually("it scrubs", async || {
        bench.world.nas.state(|nas| nas.pools[2].scan.as_ref().is_some_and(|scan| scan.ended.is_none()))
    })
    .await;
    assert!(no_plan(&alice, "scrub_start", &tank2).await.contains("A scrub of tank2 runs already"));
    bench.world.nas.state(|nas| nas.pools[2].scan.as_mut().unwrap().errors = 3);
    let (planned, text) = plan(&alice, "scrub_stop", &tank2).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "what it has read is lost: {text}");
    for told in ["Undo: call scrub_start", "read again by the next one", "It has found 3 errors so far"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let insists = json!({ "pool": "tank2", "plan": planned["plan"] });
    assert!(no_plan(&alice, "scrub_stop", &insists).await.contains("a person approves it on the page"));
    assert!(bench.world.nas.state(|nas| nas.pools[2].scan.as_ref().unwrap().ended.is_none()));
    assert!(
        no_plan(&alice, "scrub_start", &json!({ "pool": "nope" })).await.contains("There is no pool nope")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_plan_hears_how_far_the_nas_is_with_it() {
    let (bench, alice) = bench(Generation::V25_10, |nas| {
        nas.pace.scrub_step = std::time::Duration::from_mins(5);
    })
    .await;
    let (planned, _) = plan(&alice, "scrub_start", &json!({ "pool": "tank2" })).await;
    let of_plan = json!({ "plan": planned["plan"] });
    let arguments = json!({ "pool": "tank2", "plan": planned["plan"] });
    let begun = alice.modern("tools/call", json!({ "name": "scrub_start", "arguments": arguments })).await;
    assert!(begun.unwrap().text().contains("goes on with it as job"));
    common::eventually("it scrubs", async || {
        bench.world.nas.state(|nas| nas.pools[2].scan.as_ref().is_some_and(|scan| scan.ended.is_none()))
    })
    .await;
    bench.world.nas.state(|nas| nas.pools[2].scan.as_mut().unwrap().percentage = 42.0);
    common::eventually("it is looked how far it is", async || {
        plan(&alice, "plan_show", &of_plan).await.0["percent"] == 42
    })
    .await;
    let params = json!({
        "name": "plan_wait", "arguments": { "plan": planned["plan"], "seconds": 1 }, "_meta": { "progressToken": "p" },
    });
    let waited = alice.modern("tools/call", params).await.unwrap();
    let events = waited.events();
    let told = events.iter().find(|event| event["method"] == "notifications/progress");
    let told = &told.unwrap_or_else(|| panic!("{events:?}"))["params"];
    assert_eq!((told["progress"].as_f64(), told["total"].as_f64()), (Some(42.0), Some(100.0)), "{told}");
    assert!(waited.text().contains("being carried out, 42 % done"), "{}", waited.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn scrubs_are_switched_on_on_a_clients_word_and_no_more() {
    let (bench, alice) = bench(Generation::V25_10, |nas| nas.scrub_tasks[1].enabled = false).await;
    for arguments in [
        json!({ "pool": "tank", "enabled": false }),
        json!({ "pool": "tank", "threshold_days": u32::MAX }),
        json!({ "pool": "tank", "cron": "0 0 31 2 *" }),
        json!({ "pool": "tank", "cron": "* * * * *", "threshold_days": 0 }),
        json!({ "pool": "backup", "cron": "0 0 * * 6", "enabled": true }),
        json!({ "pool": "tank2", "cron": "0 0 31 2 *" }),
    ] {
        let (planned, text) = plan(&alice, "scrub_schedule", &arguments).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{arguments}: {text}");
        assert!(text.contains("errors are found when a file is needed"), "{arguments}: {text}");
    }
    let tasks = || bench.world.nas.state(|nas| nas.scrub_tasks.clone());
    assert_eq!(tasks().len(), 2);
    // As it was, and where there was none as the NAS suggests it.
    for pool in ["backup", "tank2"] {
        make(&alice, "scrub_schedule", &json!({ "pool": pool, "enabled": true })).await;
    }
    assert!(tasks().len() == 3 && tasks().iter().all(|task| task.enabled), "{:?}", tasks());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_restarted_where_the_nas_can_and_stopped_and_started_where_it_cannot() {
    for (generation, version) in GENERATIONS {
        let (bench, alice) = bench(generation, |_| {}).await;
        let does = |action: &str| json!({ "container": "debian", "action": action });
        let (planned, text) = plan(&alice, "container_control", &does("stop")).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        if generation == Generation::V26 {
            let refused = no_plan(&alice, "container_control", &does("restart")).await;
            for told in ["has no way to restart a container", "Plan a stop", "plan a start"] {
                assert!(refused.contains(told), "{told}: {refused}");
            }
        } else {
            let (planned, text) = plan(&alice, "container_control", &does("restart")).await;
            assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        }
        bench.world.nas.state(|nas| nas.containers[0].running = false);
        let (planned, text) = plan(&alice, "container_control", &does("start")).await;
        assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
        // What it has of the NAS 26 tells, and of the others it is said that they do not.
        bench.world.nas.state(|nas| nas.containers[0].folders.push("/mnt/tank/photos".to_owned()));
        let (planned, text) = plan(&alice, "container_control", &does("start")).await;
        if generation == Generation::V26 {
            assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
            assert!(text.contains("could change and delete everything in /mnt/tank/photos"), "{text}");
        } else {
            assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
            assert!(text.contains("Could not be seen: what it has of the NAS"), "{text}");
        }
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_task_is_as_dangerous_as_it_is_set_up_to_be() {
    for (generation, version) in GENERATIONS {
        let (bench, alice) = bench(generation, |_| {}).await;
        for (kind, id, risk, word) in [
            ("snapshots", 1, "destructive", "older than 1 week are deleted"),
            (
                "replication",
                1,
                "disruptive",
                "What was written to backup/photos by others since the last run is lost",
            ),
            (
                "cloud_sync",
                1,
                "destructive",
                "What is in /all in the bucket homenas-photos of cold storage and not in /mnt/tank/photos is deleted there",
            ),
        ] {
            let (planned, text) = plan(&alice, "backup_run", &json!({ "kind": kind, "id": id })).await;
            assert_eq!(planned["effect"]["risk"], risk, "{text}");
            assert!(text.contains(word), "{text}");
            assert!(!text.contains("may delete everything"), "{text}");
            let text = no_plan(&alice, "backup_run", &json!({ "kind": kind, "id": 99 })).await;
            assert!(text.contains("There is no such task 99"), "{text}");
        }
        bench.world.nas.state(|nas| nas.from_scratch = true);
        // What it does, from where to where, by what and over what, and the worst of it, in the first sentence.
        for (kind, id, sentence) in [
            (
                "snapshots",
                1,
                "Run the snapshot task of tank/photos: it takes snapshots of tank/photos and all below it.",
            ),
            (
                "replication",
                1,
                "Run the replication photos to backup: it sends tank/photos and all below it to backup/photos, both on \
                 this NAS, and may delete everything in backup/photos.",
            ),
            (
                "replication",
                2,
                "Run the replication apps to offsite: it sends tank/apps and all below it here to pool/homenas/apps on \
                 offsite, over SSH, and may delete everything in pool/homenas/apps.",
            ),
            (
                "cloud_sync",
                1,
                "Run the cloud sync photos to the cloud: it pushes /mnt/tank/photos to /all in the bucket homenas-photos \
                 of cold storage (SYNC).",
            ),
        ] {
            let (planned, text) = plan(&alice, "backup_run", &json!({ "kind": kind, "id": id })).await;
            assert_eq!(planned["effect"]["summary"], sentence, "{text}");
            assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
        }
        bench.world.nas.state(|nas| nas.from_scratch = false);
        for (set_to, kind, risk, told) in [
            (json!({ "readonly": "SET" }), "replication", "disruptive", "It makes backup/photos read-only"),
            (
                json!({ "replicate": true }),
                "replication",
                "destructive",
                "both on this NAS, and deletes in backup/photos what is not at the source.",
            ),
            // The script stays where it is; that there is one is told.
            (
                json!({ "transfer_mode": "COPY" }),
                "cloud_sync",
                "destructive",
                "runs a script of its owner as root before it",
            ),
            (json!({ "transfer_mode": "COPY", "pre_script": "" }), "cloud_sync", "disruptive", "(COPY)"),
        ] {
            bench.world.nas.state(|nas| nas.tasks_set_to = set_to.clone());
            let (planned, text) = plan(&alice, "backup_run", &json!({ "kind": kind, "id": 1 })).await;
            assert_eq!(planned["effect"]["risk"], risk, "{set_to}: {text}");
            assert!(text.contains(told), "{set_to}: {told}: {text}");
        }
        bench.hold_against_schemas(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_no_clients_to_start_and_systems_that_run_are_not_deleted() {
    let (bench, alice) = bench(Generation::V26, |nas| nas.machines[0].running = false).await;
    assert!(
        no_plan(&alice, "vm_control", &json!({ "id": 1, "action": "stop" })).await.contains("does not run")
    );
    let start = json!({ "id": 1, "action": "start" });
    // Its volume is given by iSCSI as well: where both write, what is on it is lost.
    let (planned, text) = plan(&alice, "vm_control", &start).await;
    assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
    assert!(text.contains("The iSCSI extent vm-disk has zvol/tank/vm-disk too"), "{text}");
    assert!(text.contains(r#"Undo: call vm_control with {"action":"stop","id":1}"#), "{text}");
    bench.world.nas.state(|nas| "tank/other-disk".clone_into(&mut nas.machines[0].disk));
    let (planned, text) = plan(&alice, "vm_control", &start).await;
    assert_eq!(planned["effect"]["risk"], "disruptive", "{text}");
    assert!(text.contains("It writes to zvol/tank/other-disk."), "{text}");
    let insists = json!({ "id": 1, "action": "start", "plan": planned["plan"] });
    assert!(no_plan(&alice, "vm_control", &insists).await.contains("a person approves it on the page"));
    bench.world.nas.state(|nas| {
        let copy = nas.machines[0].clone();
        nas.machines.push(Machine { id: 2, name: "copy".to_owned(), ..copy });
        nas.machines[0].hardware.push("pci_0000_01_00_0".to_owned());
    });
    let (planned, text) = plan(&alice, "vm_control", &start).await;
    assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
    for told in [
        "The virtual machine copy has zvol/tank/other-disk too",
        "The virtual machine copy has the same address on the network.",
        "Stops: The NAS loses its device pci_0000_01_00_0",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    bench.world.nas.state(|nas| nas.machines[0].running = true);
    // One that is restarted is cut off if it does not answer.
    for (action, risk) in [("stop", "disruptive"), ("restart", "destructive")] {
        let (planned, text) = plan(&alice, "vm_control", &json!({ "id": 1, "action": action })).await;
        assert_eq!(planned["effect"]["risk"], risk, "{text}");
        assert!(text.contains("Stops: Whoever uses it loses it"), "{text}");
    }
    assert!(
        no_plan(&alice, "vm_control", &json!({ "id": 7, "action": "start" }))
            .await
            .contains("no virtual machine 7")
    );

    let (planned, text) = plan(&alice, "boot_env_delete", &json!({ "id": "24.10.2.4" })).await;
    assert_eq!(planned["effect"]["risk"], "destructive", "{text}");
    assert!(text.contains("It is the only one that one could go back to"), "{text}");
    let text = no_plan(&alice, "boot_env_delete", &json!({ "id": "26.0.0" })).await;
    assert!(text.contains("runs, or is the one that starts next"), "{text}");
    assert!(
        no_plan(&alice, "boot_env_delete", &json!({ "id": "nope" })).await.contains("no boot environment")
    );
}
