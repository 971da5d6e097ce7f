//! What each tool answers, as somebody read it, and docs/TOOLS.md, made from the tools themselves.
//!
//! `TAILNAS_WRITE_DOCS=1 cargo test --test tools_docs` writes docs/TOOLS.md anew; without it, a page that is not what
//! the tools are is a failure. The answers are snapshots: `INSTA_UPDATE=always` writes those.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::changes::example;
use common::{Bench, Inside, Turn};
use serde::Deserialize;
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::history::{Dataset, History, Pool, Sample};
use tailnas::tools::{Spec, Switch};
use tailnas_sim::client::Client;
use tailnas_sim::nas::{Roles, State};
use tailnas_sim::world::{ALICE, CAPABILITY, World};

fn arguments(tool: &str) -> Value {
    match tool {
        "app_get" | "app_config" | "app_upgrade_summary" => json!({ "app": "plex" }),
        "compose_validate" => json!({ "compose": "services:\n  web: {image: nginx, privileged: true}\n" }),
        "app_logs" => json!({ "app": "plex", "lines": 3 }),
        "catalog_get" => json!({ "app": "syncthing" }),
        "catalog_search" => json!({ "text": "jelly" }),
        "metrics" => json!({ "kind": "cpu" }),
        "vm_devices" => json!({ "id": 1 }),
        "pool_diagnose" => json!({ "pool": "tank" }),
        "access_explain" => json!({ "dataset": "tank/photos" }),
        "file_list" => json!({ "path": "/mnt/tank/photos" }),
        "file_versions" => json!({ "path": "/mnt/tank/photos/albums/summer.jpg" }),
        _ => json!({}),
    }
}

/// When the examples are: a Wednesday morning. Every clock around them stands still.
fn moment() -> DateTime<Utc> {
    "2026-10-14T10:30:00Z".parse().unwrap()
}

/// A daemon, its NAS on a day on which something happens, and samples of three weeks. The reader's account is a full
/// administrator, or it would see no job but its own.
async fn bench(change: impl FnOnce(&World)) -> Bench<Inside> {
    let bench = Bench::inside_at(Turn::stopped_at(moment()), async move |world| {
        world.tsidp.set_now(moment());
        let samples = world.nas.state(|state| {
            state.stop_at(moment());
            state.be_eventful();
            let reader = state.accounts.iter_mut().find(|account| account.username == "tailnas-reader");
            reader.unwrap().roles = Roles::new(&["FULL_ADMIN"]);
            // The last one is of this moment, so that the daemon takes none.
            (0..=21 * 4)
                .rev()
                .map(|quarter| (moment() - TimeDelta::hours(6 * quarter), sample(state, quarter)))
                .collect::<Vec<_>>()
        });
        let opened = History::open(&world.config().with_file_name("state"), moment()).unwrap();
        let past = opened.history.of("homenas".parse().unwrap());
        for (at, sample) in samples {
            past.keep(at, sample).await.unwrap();
        }
        change(world);
    })
    .await;
    common::eventually("the NAS answers", async || {
        !bench.patient_client(ALICE).call("system_info", json!({})).await.unwrap().is_error()
    })
    .await;
    bench
}

/// What the NAS held so many quarters of a day ago: films come in all the time, by and large.
fn sample(state: &State, quarters: i64) -> Sample {
    let quarters = quarters.unsigned_abs();
    let less = quarters * (5 << 30) + (quarters % 3) * (1 << 30);
    let pools = state.pools.iter().map(|pool| {
        let used = pool.raw(state.used(&pool.name)) - if pool.name == "tank" { less } else { 0 };
        Pool { guid: pool.guid.clone(), used, size: pool.size() }
    });
    let datasets = state.datasets.iter().map(|one| {
        let kept = state.snapshots.iter().filter(|snapshot| snapshot.dataset == one.name);
        Dataset {
            path: one.name.clone(),
            data: one.own - if one.name == "tank/media" { less } else { 0 },
            snapshots: kept.map(|snapshot| snapshot.used).sum(),
            children: 0,
        }
    });
    Sample { pools: pools.collect(), datasets: datasets.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_as_somebody_read_it() {
    let bench = bench(|_| {}).await;
    let alice = bench.patient_client(ALICE);
    // Something to tell of in changes_list.
    let taken = json!({ "dataset": "tank/photos", "name": "before-holidays", "reason": "the album is about to be sorted" });
    make(&alice, "snapshot_create", taken).await;
    // What a change says that it would do is below.
    let catalogue = Catalogue::new();
    for spec in catalogue.specs().filter(|spec| spec.risk == Risk::Read && !spec.output.is_empty()) {
        let text = answer(&alice, spec.name).await;
        insta::assert_snapshot!(format!("answer_{}", spec.name), steady(&text, &bench));
    }
}

/// Plans a change that the client's own word is enough for, and has it made.
async fn make(client: &Client, tool: &str, mut arguments: Value) -> String {
    let planned = client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
    arguments["plan"] = planned.json()["result"]["structuredContent"]["plan"].clone();
    let made = client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap();
    assert!(!made.is_error(), "{tool}: {} {}", planned.text(), made.text());
    made.text()
}

/// What each change says that it would do, to a client that asks its person nothing, and what is asked about plans.
#[tokio::test(flavor = "multi_thread")]
async fn each_plan_is_as_somebody_read_it() {
    let bench = bench(|world| {
        world.nas.state(|state| {
            state.add_dataset("tank/gone.quarantine");
            state.hold("tank2/scratch@keep", "truenas");
            state.begin_job("cloudsync.sync", "tailnas-writer");
        });
        let every: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![json!({ "scopes": every, "nas": ["*"] })]);
    })
    .await;
    let alice = bench.patient_client(ALICE);
    let text =
        make(&alice, "snapshot_create", json!({ "dataset": "tank/photos", "name": "before-holidays" })).await;
    insta::assert_snapshot!("made_snapshot_create", steady(&text, &bench));
    let change = changes_to(&alice).await;
    let job = bench.world.nas.state(|state| state.jobs.iter().map(|job| job.id).max());
    let plan = |tool: &'static str, arguments: Value| {
        let alice = &alice;
        async move {
            tokio::time::sleep(Duration::from_millis(60)).await;
            let params = json!({ "name": tool, "arguments": arguments });
            let answer = alice.modern("tools/call", params).await.unwrap();
            assert!(!answer.is_error(), "{tool}: {}", answer.text());
            let plan = answer.json()["result"]["structuredContent"]["plan"].as_str().unwrap().to_owned();
            (answer.text().replace(&plan, "PLAN"), plan)
        }
    };
    for spec in Catalogue::new().specs().filter(|spec| spec.risk != Risk::Read) {
        let arguments = match spec.name {
            "undo" => json!({ "change": change }),
            "job_abort" => json!({ "id": job }),
            "update_download" => json!({ "version": "25.10.6" }),
            "service_control" => json!({ "service": "cifs", "action": "restart" }),
            "app_control" => json!({ "app": "plex", "action": "restart" }),
            name => example(name).arguments,
        };
        let (text, id) = plan(spec.name, arguments).await;
        // Only so many may wait at a time.
        alice.call("plan_cancel", json!({ "plan": id })).await.unwrap();
        insta::assert_snapshot!(format!("plan_{}", spec.name), steady(&text, &bench));
    }
    // What is asked about plans: one waits for its person, and one for its client.
    let (_, one) = plan("dataset_delete", json!({ "dataset": "tank/media" })).await;
    let (_, other) = plan("alert_dismiss", json!({ "uuid": "b8a0c9d4-7c41-4a43-8d0e-7f7c0f1d9e02" })).await;
    for (tool, arguments) in [
        ("plans_list", json!({})),
        ("plan_show", json!({ "plan": other })),
        ("plan_wait", json!({ "plan": one, "seconds": 1 })),
        ("plan_cancel", json!({ "plan": one })),
    ] {
        let answer = alice.call(tool, arguments).await.unwrap();
        assert!(!answer.is_error(), "{tool}: {}", answer.text());
        let mut lines: Vec<_> =
            answer.text().replace(&one, "PLAN").replace(&other, "OTHER").lines().map(str::to_owned).collect();
        if tool == "plans_list" {
            // The others are those from above. Which is first is their number's doing.
            lines.retain(|line| line.contains("PLAN") || line.contains("OTHER"));
            lines[1..].sort();
        }
        insta::assert_snapshot!(format!("answer_{tool}"), steady(&lines.join("\n"), &bench));
    }
}

/// Number of the newest change.
async fn changes_to(client: &Client) -> Value {
    let listed = client.call("changes_list", json!({ "limit": 1 })).await.unwrap();
    listed.json()["result"]["structuredContent"]["changes"][0]["seq"].clone()
}

#[test]
fn the_page_is_what_the_tools_are() {
    let page = page(&Catalogue::new());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/TOOLS.md");
    if std::env::var_os("TAILNAS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/TOOLS.md is not what the tools are; TAILNAS_WRITE_DOCS=1 cargo test --test tools_docs writes it"
    );
}

async fn answer(client: &Client, tool: &str) -> String {
    // Within what one caller may ask for in a second.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let answer = client.call(tool, arguments(tool)).await.unwrap();
    assert!(!answer.is_error(), "{tool}: {}", answer.text());
    answer.text()
}

/// The text without what is another one each time: ports, hashes, random marks.
fn steady(text: &str, bench: &Bench<Inside>) -> String {
    let text = text.replace(&bench.world.origin(), "ORIGIN").replace(&bench.world.tsidp.issuer(), "ISSUER");
    let mut clean = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let hex =
            rest.bytes().take_while(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()).count();
        let begins_word = clean.chars().last().is_none_or(|last| !last.is_ascii_alphanumeric());
        if hex >= 16 && begins_word {
            clean.push_str("HEX");
            rest = &rest[hex..];
        } else {
            clean.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    let lines = clean.lines().map(|line| match line.split_once("On record: ") {
        Some((before, _)) => format!("{before}On record: RECEIPT"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

// docs/TOOLS.md

fn page(catalogue: &Catalogue) -> String {
    let mut page = String::from(
        "# The tools\n\n\
         Made from the tools themselves by `TAILNAS_WRITE_DOCS=1 cargo test --test tools_docs`; without the variable that test \
         fails where this page is not what the tools are. An example of each answer, and of what each change plans, from a simulated NAS, is in \
         `tests/tools_docs/snapshots` of the source.\n\n\
         Every tool that acts on a NAS takes `nas` as well when more than one is configured, and a list takes `fields`.\n\n\
         A plan is one call that changes the NAS, with one intent before it and one outcome after it on record. What takes two \
         calls is two plans: TrueNAS 26 cannot restart a container, so it is stopped, and when that is done, started.\n\n",
    );
    for spec in catalogue.specs() {
        let Spec { name, title, description, scope, risk, switch, looks, needs, input, .. } = spec;
        let scope = scope.map_or_else(|| "none".to_owned(), |scope| format!("`{scope}`"));
        writeln!(page, "## {name}\n\n{title}. {description}\n").unwrap();
        writeln!(page, "- scope {scope}, risk {risk}").unwrap();
        match switch {
            Some(Switch::Files) => {
                writeln!(page, "- off unless the configuration names datasets as `nas.files`").unwrap();
            }
            Some(Switch::Maintenance) => {
                writeln!(page, "- off unless the configuration has an account for it, `nas.maintenance`")
                    .unwrap();
            }
            None => {}
        }
        for (what, asked) in [("while it is planned", looks), ("of the NAS", needs)] {
            if asked.is_empty() {
                continue;
            }
            let methods = asked.iter().flat_map(|need| need.candidates).map(|one| format!("`{}`", one.name));
            let methods: BTreeSet<_> = methods.collect();
            let roles: BTreeSet<_> =
                asked.iter().filter_map(|need| need.role).map(|role| format!("`{role}`")).collect();
            let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
            writeln!(page, "- methods {what}: {}; roles: {}", list(methods), list(roles)).unwrap();
        }
        let required = input.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let arguments = input.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (argument, schema) in arguments.filter(|(name, _)| *name != "fields") {
            let must = if required.contains(&json!(argument)) { ", required" } else { "" };
            let words = schema["description"].as_str().map_or_else(String::new, |words| format!(": {words}"));
            writeln!(page, "- `{argument}` ({}{must}){words}", kind(schema)).unwrap();
        }
        page.push('\n');
    }
    page.push_str(&parity(catalogue));
    page
}

fn kind(schema: &Value) -> String {
    let mut kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<_> =
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            kinds.join(" or ")
        }
        _ => "one of several words".to_owned(),
    };
    if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        write!(kind, " from {least} to {most}").unwrap();
    }
    if !schema["default"].is_null() && !schema["default"].is_boolean() {
        write!(kind, ", default {}", schema["default"]).unwrap();
    }
    kind
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parity {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    system: String,
    names: Vec<String>,
    more: Option<usize>,
    #[serde(default)]
    ours: Vec<String>,
    later: Option<String>,
    #[serde(default)]
    absent: Vec<String>,
    not: Option<String>,
}

/// Number, what it is, and how many tools it has.
const SYSTEMS: [(&str, &str, usize); 5] = [
    ("000", "the official TrueNAS MCP server", 50),
    ("001", "a server for custom apps", 33),
    ("002", "a plan of a project", 0),
    ("003", "a homelab server with levels of capability", 40),
    ("004", "a homelab server on a tailnet", 29),
];

fn parity(catalogue: &Catalogue) -> String {
    let parity: Parity = toml::from_str(include_str!("parity.toml")).unwrap();
    let mut text = String::from(
        "# What became of the tools of five other systems\n\n\
         tailnas replaces five systems that had 152 names of tools between them. A row with a number stands for so many \
         names that are not spelt out; 0 is what they have in another form than a tool.\n\n",
    );
    for (number, what, names) in SYSTEMS {
        let of_it = parity.row.iter().filter(|row| row.system == number);
        let count: usize = of_it.map(|row| row.more.unwrap_or(row.names.len())).sum();
        assert_eq!(count, names, "names of {number}");
        writeln!(text, "## {number}: {what}, {names} tools\n\n| theirs | ours |\n| --- | --- |").unwrap();
        for row in parity.row.iter().filter(|row| row.system == number) {
            for tool in &row.ours {
                assert!(
                    catalogue.find(tool).is_some(),
                    "{tool} is said to answer {:?}, and is not there",
                    row.names
                );
            }
            assert_eq!(
                row.later.is_some(),
                !row.absent.is_empty(),
                "{:?}: which tools come later",
                row.names
            );
            for tool in &row.absent {
                assert!(catalogue.find(tool).is_none(), "{tool} is said to come later, and is there");
            }
            let ours: Vec<_> = row.ours.iter().map(|tool| format!("`{tool}`")).collect();
            let answer = match (&ours[..], &row.later, &row.not) {
                ([_, ..], None, None) => ours.join(", "),
                ([], Some(later), None) => format!("comes later: {later}"),
                ([], None, Some(why)) => format!("not offered: {why}"),
                _ => panic!("one answer for {:?}", row.names),
            };
            let more = row.more.map_or_else(String::new, |more| format!(" ({more})"));
            writeln!(text, "| {}{more} | {answer} |", row.names.join(", ")).unwrap();
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}
