//! More than one NAS: each call goes to the one it names, and each NAS stands for itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::net::IpAddr;

use common::{Bench, eventually, neighbourhood, tool_names};
use serde_json::{Value, json};
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::nas::{Generation, Nas};
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, Person};

/// `homenas` of 25.10 and `attic` of 26, both up.
async fn two() -> Bench {
    let (dir, mut world) = neighbourhood().await;
    world.add_nas("attic", Generation::V26).await.unwrap();
    let bench = Bench::of(dir, world).await;
    for nas in ["homenas", "attic"] {
        is_up(&bench, nas).await;
    }
    // Nor is the daemon's own look at each, for its history, one of a test's calls.
    for nas in [&bench.world.nas, attic(&bench)] {
        eventually("the first sample was taken", async || {
            let calls = nas.transcript();
            calls.iter().any(|call| call.method == "pool.dataset.query" && call.outcome.is_some())
        })
        .await;
    }
    bench
}

async fn is_up(bench: &Bench, nas: &str) {
    let alice = bench.client(ALICE);
    eventually("the NAS answers", async || {
        !alice.call("system_info", json!({ "nas": nas })).await.unwrap().is_error()
    })
    .await;
}

fn attic(bench: &Bench) -> &Nas {
    &bench.world.others[0].1
}

/// How many calls of `method` a NAS has heard.
fn heard(nas: &Nas, method: &str) -> usize {
    nas.transcript().iter().filter(|call| call.method.ends_with(method)).count()
}

fn grant(bench: &Bench, person: Person, values: &Value) {
    let address = IpAddr::V4(person.address);
    bench.world.tailnet.revoke(address, CAPABILITY);
    bench.world.tailnet.grant(address, CAPABILITY, values.as_array().unwrap().clone());
}

/// The schema of a tool's arguments, as this caller sees it.
async fn schema(client: &Client, tool: &str) -> Value {
    let listed = client.modern("tools/list", json!({})).await.unwrap().json();
    let tools = listed["result"]["tools"].as_array().unwrap();
    tools.iter().find(|found| found["name"] == tool).unwrap_or(&Value::Null)["inputSchema"].clone()
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Answer {
    client.call(tool, arguments).await.unwrap()
}

async fn health(bench: &Bench, path: &str) -> (u16, Value) {
    let client = Client { server: bench.world.metrics_address(), ..bench.client(ALICE) };
    let answer = client.send(http::Method::GET, path, &[], "").await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_nas_it_names_and_to_no_other() {
    let bench = two().await;
    let alice = bench.client(ALICE);
    for (nas, version) in [("homenas", "25.10.5"), ("attic", "26.0.0")] {
        let answer = call(&alice, "system_info", json!({ "nas": nas })).await;
        assert!(answer.text().contains(version), "{nas}: {}", answer.text());
    }
    let made =
        call(&alice, "snapshot_create", json!({ "nas": "attic", "dataset": "tank/photos", "name": "one" }));
    let made = made.await;
    assert!(!made.is_error(), "{}", made.text());
    assert_eq!((heard(&bench.world.nas, "snapshot.create"), heard(attic(&bench), "snapshot.create")), (0, 1));
    for kind in ["intent", "read"] {
        let record = bench.record(kind, |r| r["type"] == kind && r["nas"] == "attic").await;
        assert_eq!(record["args"]["nas"], Value::Null, "it is told once: {record}");
    }

    // It has to be said, and said right; what cannot be carried out reaches neither of them.
    let before = (bench.nas_calls().len(), attic(&bench).transcript().len());
    for (arguments, told) in [
        (json!({}), "nas: is missing, and there is more than one NAS; you can use this on: attic, homenas"),
        (
            json!({ "nas": "cellar" }),
            "nas: there is no NAS of that name; you can use this on: attic, homenas",
        ),
        (json!({ "nas": "../attic" }), "nas: there is no NAS of that name"),
        (json!({ "nas": 7 }), "nas: there is no NAS of that name"),
        (json!({ "nas": ["attic"] }), "nas: there is no NAS of that name"),
    ] {
        let answer = call(&alice, "pools_list", arguments.clone()).await;
        assert!(answer.is_error() && answer.text().contains(told), "{arguments}: {}", answer.text());
    }
    assert_eq!((bench.nas_calls().len(), attic(&bench).transcript().len()), before);
    let denied = bench.record("it", |r| r["type"] == "denied" && r["tool"] == "pools_list").await;
    assert_eq!(denied["nas"], Value::Null, "none was meant: {denied}");

    let pools = schema(&alice, "pools_list").await;
    assert_eq!(pools["properties"]["nas"]["enum"], json!(["attic", "homenas"]));
    assert_eq!(pools["required"][0], "nas", "{pools}");
    assert_eq!(schema(&alice, "whoami").await["properties"]["nas"], Value::Null, "it is about no NAS");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_sees_follows_the_nas_that_their_grants_name() {
    let bench = two().await;
    grant(
        &bench,
        BOB,
        &json!([
            { "scopes": ["storage:read"], "nas": ["attic"] },
            { "scopes": ["alerts:read"], "nas": ["*"] },
        ]),
    );
    let bob = bench.client(BOB);
    assert_eq!(schema(&bob, "pools_list").await["properties"]["nas"]["enum"], json!(["attic"]));
    assert_eq!(schema(&bob, "alerts_list").await["properties"]["nas"]["enum"], json!(["attic", "homenas"]));
    assert!(!call(&bob, "pools_list", json!({ "nas": "attic" })).await.is_error());
    assert!(!call(&bob, "alerts_list", json!({ "nas": "homenas" })).await.is_error());

    let before = bench.nas_calls().len();
    let refused = call(&bob, "pools_list", json!({ "nas": "homenas" })).await;
    assert!(refused.text().contains("no grant gives it to bob@github on homenas"), "{}", refused.text());
    assert!(refused.text().contains(r#""homenas""#), "the grant to add: {}", refused.text());
    assert_eq!(bench.nas_calls().len(), before);
    let denied = bench.record("it", |r| r["type"] == "denied" && r["tool"] == "pools_list").await;
    assert_eq!((&denied["nas"], &denied["decision"]["missing"]), (&json!("homenas"), &json!("storage:read")));
    let wrong = call(&bob, "pools_list", json!({ "nas": "cellar" })).await;
    assert!(wrong.text().contains("you can use this on: attic."), "{}", wrong.text());

    let whoami = call(&bob, "whoami", json!({})).await;
    let told = whoami.json()["result"]["structuredContent"].clone();
    let names: Vec<_> = told["nas"].as_array().unwrap().iter().map(|nas| nas["name"].clone()).collect();
    assert_eq!(names, [json!("attic"), json!("homenas")]);
    let scope = |name: &str| {
        let scopes = told["scopes"].as_array().unwrap();
        scopes.iter().find(|granted| granted["scope"] == name).unwrap()["on"].clone()
    };
    assert_eq!((scope("storage:read"), scope("alerts:read")), (json!(["attic"]), Value::Null));
    assert!(whoami.text().contains("Scopes by tailnet, on attic alone: storage:read."), "{}", whoami.text());

    // The command says the same of each.
    let config = bench.world.config();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["grants", "explain", "bob@github", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let parts: Vec<_> = text.split(", NAS ").collect();
    let [_, home, attic] = &parts[..] else { panic!("a part for each: {text}") };
    assert!(home.starts_with("homenas:") && attic.starts_with("attic:"), "{text}");
    let has = |part: &str| part.contains("storage:read by a grant of the tailnet");
    assert_eq!((has(home), has(attic)), (false, true), "{text}");

    // With no grant at all there is no NAS.
    grant(&bench, BOB, &json!([]));
    assert_eq!(tool_names(&bob.modern("tools/list", json!({})).await.unwrap()), ["changes_list", "whoami"]);
    let nobody = call(&bob, "whoami", json!({})).await;
    assert_eq!(nobody.json()["result"]["structuredContent"]["nas"], json!([]));
    for arguments in [json!({}), json!({ "nas": "cellar" })] {
        let refused = call(&bob, "pools_list", arguments).await;
        assert!(refused.text().contains("needs the scope storage:read"), "{}", refused.text());
        assert!(!refused.text().contains("attic"), "he is told no names: {}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_keeps_nobody_from_the_other() {
    let bench = two().await;
    let alice = bench.client(ALICE);
    assert_eq!(health(&bench, "/readyz").await.0, 200);
    attic(&bench).stop().await;
    eventually("it is missed", async || health(&bench, "/readyz").await.0 == 503).await;
    let (_, report) = health(&bench, "/readyz").await;
    assert_eq!(
        (&report["nas"]["attic"]["ok"], &report["nas"]["homenas"]["ok"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(health(&bench, "/readyz/homenas").await.0, 200);
    assert_eq!(health(&bench, "/readyz/attic").await.0, 503);
    assert_eq!(health(&bench, "/readyz/cellar").await.0, 404);
    let (_, metrics) = health(&bench, "/metrics").await;
    for line in [r#"tailnas_nas_up{nas="attic"} 0"#, r#"tailnas_nas_up{nas="homenas"} 1"#] {
        assert!(metrics.as_str().unwrap().lines().any(|found| found == line), "{line}: {metrics}");
    }
    let begun = std::time::Instant::now();
    assert!(!call(&alice, "pools_list", json!({ "nas": "homenas" })).await.is_error());
    assert!(begun.elapsed().as_millis() < 1000, "it waited for the other one");
    assert!(call(&alice, "pools_list", json!({ "nas": "attic" })).await.is_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_one_in_and_lets_one_go() {
    let mut bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    assert_eq!(schema(&alice, "pools_list").await["properties"]["nas"], Value::Null);
    let alone = std::fs::read_to_string(bench.world.config()).unwrap();

    bench.world.add_nas("attic", Generation::V25_04).await.unwrap();
    bench.reload().await;
    is_up(&bench, "attic").await;
    assert!(!call(&alice, "pools_list", json!({ "nas": "homenas" })).await.is_error());
    assert!(call(&alice, "pools_list", json!({})).await.is_error(), "now it has to be said which");
    assert_eq!(heard(&bench.world.nas, "login_ex"), 1, "the first one's session went on");

    // Under the old name there is another machine now: what was known of the first counts no longer.
    let swapped = std::fs::read_to_string(bench.world.config()).unwrap();
    let swapped = swapped.replace("\"homenas\"", "\"cellar\"");
    bench.world.write("config.toml", &swapped).unwrap();
    bench.reload().await;
    is_up(&bench, "cellar").await;
    assert!(call(&alice, "pools_list", json!({ "nas": "homenas" })).await.is_error());

    bench.world.write("config.toml", &alone).unwrap();
    bench.reload().await;
    bench.nas_is_up().await;
    assert!(!call(&alice, "pools_list", json!({})).await.is_error());
    assert_eq!(schema(&alice, "pools_list").await["properties"]["nas"], Value::Null);
    eventually("its session is closed", async || bench.log().contains("nobody needs this session any more"))
        .await;
    assert!(!bench.log().contains("a service ended by itself"), "{}", bench.log());
    let before = attic(&bench).transcript().len();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(attic(&bench).transcript().len(), before, "nothing goes to one that was let go");
}
