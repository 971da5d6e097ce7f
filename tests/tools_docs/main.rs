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

use common::Bench;
use serde::Deserialize;
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::tools::{Spec, Switch};
use tailnas_sim::client::Client;
use tailnas_sim::world::{ALICE, CAPABILITY};

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

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_as_somebody_read_it() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    // Until the first sample of the history is on disk, two of the answers are others.
    common::eventually("a sample", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = alice.call("space_changes", json!({})).await.unwrap();
        answer.json()["result"]["structuredContent"]["verdict"] == "unchanged"
    })
    .await;
    // What a change says that it would do is below; what is asked about plans has tests of its own.
    let catalogue = Catalogue::new();
    for spec in catalogue.specs().filter(|spec| spec.risk == Risk::Read && !spec.output.is_empty()) {
        let text = answer(&alice, spec.name).await;
        insta::assert_snapshot!(format!("answer_{}", spec.name), steady(&text, bench.dir.path()));
    }
}

/// What each change says that it would do, to a client that asks its person nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_plan_is_as_somebody_read_it() {
    let bench = Bench::start_with(|world| {
        world.nas.state(|state| state.add_dataset("tank/gone.quarantine"));
        let every: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![json!({ "scopes": every, "nas": ["*"] })]);
    })
    .await;
    bench.nas_is_up().await;
    let alice = bench.client(ALICE);
    let catalogue = Catalogue::new();
    for spec in catalogue.specs().filter(|spec| spec.risk != Risk::Read) {
        let Some(arguments) = change(spec.name) else {
            common::loudly(&format!("{} has no example of its plan", spec.name));
            continue;
        };
        tokio::time::sleep(Duration::from_millis(60)).await;
        let params = json!({ "name": spec.name, "arguments": arguments });
        let answer = alice.modern("tools/call", params).await.unwrap();
        assert!(!answer.is_error(), "{}: {}", spec.name, answer.text());
        // Only so many may wait at a time.
        let plan = answer.json()["result"]["structuredContent"]["plan"].as_str().unwrap().to_owned();
        alice.call("plan_cancel", json!({ "plan": plan })).await.unwrap();
        let text = answer.text().replace(&plan, "PLAN").replace(&bench.world.origin(), "ORIGIN");
        insta::assert_snapshot!(format!("plan_{}", spec.name), steady(&text, bench.dir.path()));
    }
}

/// A change that can be planned in the simulated world.
fn change(tool: &str) -> Option<Value> {
    Some(match tool {
        "alert_dismiss" => json!({ "uuid": "b8a0c9d4-7c41-4a43-8d0e-7f7c0f1d9e02" }),
        "alert_restore" => json!({ "uuid": "5d2f7f3e-30a8-4c57-9bb0-2a1f1c8f6e01" }),
        "app_control" => json!({ "app": "plex", "action": "restart" }),
        "dataset_create" => json!({ "dataset": "tank/new" }),
        "dataset_delete" => json!({ "dataset": "tank/media" }),
        "dataset_purge" | "dataset_restore" => json!({ "dataset": "tank/gone.quarantine" }),
        "service_control" => json!({ "service": "cifs", "action": "stop" }),
        "snapshot_create" => json!({ "dataset": "tank/photos", "name": "planned" }),
        "snapshot_delete" => json!({ "snapshot": "tank/media@before-upgrade" }),
        _ => return None,
    })
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

/// The text without what is another one each time: times, hashes, random marks, places in the file system.
fn steady(text: &str, dir: &Path) -> String {
    let text = text.replace(&dir.display().to_string(), "DIR");
    let mut clean = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let hex =
            rest.bytes().take_while(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()).count();
        let begins_word = clean.chars().last().is_none_or(|last| !last.is_ascii_alphanumeric());
        if digits == 4 && is_time(rest) {
            clean.push_str("TIME");
            rest = &rest[20..];
        } else if digits == 4 && is_day(rest) && begins_word {
            clean.push_str("DAY");
            rest = &rest[10..];
        } else if rest.starts_with("127.0.0.1:") {
            // The kernel chose the port.
            clean.push_str("127.0.0.1:PORT");
            let port = &rest["127.0.0.1:".len()..];
            rest = port.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if digits == 2 && begins_word && is_clock(rest) {
            clean.push_str("CLOCK");
            rest = &rest[8..];
        } else if hex >= 16 && begins_word {
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

fn is_clock(text: &str) -> bool {
    text.get(8..).is_some_and(|rest| rest.starts_with(" UTC"))
        && text.as_bytes()[..8].iter().zip(b"00:00:00").all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
}

fn is_day(text: &str) -> bool {
    text.len() >= 10
        && text.as_bytes()[..10].iter().zip(b"0000-00-00").all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
        // The names of snapshots have days of their own, and those stay.
        && !text[10..].starts_with('_')
}

fn is_time(text: &str) -> bool {
    is_day(text)
        && text.len() >= 20
        && text.as_bytes()[10..20].iter().zip(b"T00:00:00Z").all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
}

// docs/TOOLS.md

fn page(catalogue: &Catalogue) -> String {
    let mut page = String::from(
        "# The tools\n\n\
         Made from the tools themselves by `TAILNAS_WRITE_DOCS=1 cargo test --test tools_docs`; without the variable that test \
         fails where this page is not what the tools are. An example of each answer, and of what some of the changes plan, from a simulated NAS, is in \
         [tests/tools_docs/snapshots](../tests/tools_docs/snapshots).\n\n\
         Every tool that acts on a NAS takes `nas` as well when more than one is configured, and a list takes `fields`.\n\n",
    );
    for spec in catalogue.specs() {
        let Spec { name, title, description, scope, risk, switch, looks, needs, input, .. } = spec;
        let scope = scope.map_or_else(|| "none".to_owned(), |scope| format!("`{scope}`"));
        writeln!(page, "## {name}\n\n{title}. {description}\n").unwrap();
        writeln!(page, "- scope {scope}, risk {risk}").unwrap();
        if *switch == Some(Switch::Files) {
            writeln!(page, "- off unless the configuration names datasets as `nas.files`").unwrap();
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
    not: Option<String>,
}

const SYSTEMS: [(&str, &str); 5] = [
    ("000", "the official TrueNAS MCP server"),
    ("001", "a server for custom apps"),
    ("002", "a plan of a project"),
    ("003", "a homelab server with levels of capability"),
    ("004", "a homelab server on a tailnet"),
];

fn parity(catalogue: &Catalogue) -> String {
    let parity: Parity = toml::from_str(include_str!("parity.toml")).unwrap();
    let count: usize = parity.row.iter().map(|row| row.more.unwrap_or(row.names.len())).sum();
    let mut text = format!(
        "# What became of the tools of five other systems\n\n\
         tailnas replaces five systems that had 152 names of tools between them. The list we have of these names folds some \
         of them into groups and repeats others, so that {count} are accounted for below: a row with a number stands for so \
         many names that are not spelt out.\n\n"
    );
    for (number, what) in SYSTEMS {
        writeln!(text, "## {number}: {what}\n\n| theirs | ours |\n| --- | --- |").unwrap();
        for row in parity.row.iter().filter(|row| row.system == number) {
            for tool in &row.ours {
                assert!(
                    catalogue.find(tool).is_some(),
                    "{tool} is said to answer {:?}, and is not there",
                    row.names
                );
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
