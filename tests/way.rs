//! The way of a request, from a real socket to a real WebSocket and back, with the daemon as a process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{Bench, changes, eventually, given_by, loudly, tool_names};
use http::Method;
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::domain::scope::Scope;
use tailnas_sim::client::{Answer, Client, MODERN};
use tailnas_sim::fault::Fault;
use tailnas_sim::nas::{CANARY, Generation, Roles};
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, TAGGED};

fn all() -> Vec<&'static str> {
    Catalogue::new().specs().map(|spec| spec.name).collect()
}

fn arguments(tool: &str) -> Value {
    let catalogue = Catalogue::new();
    match tool {
        "app_get" | "app_config" | "app_upgrade_summary" => json!({ "app": "plex" }),
        "app_logs" => json!({ "app": "plex", "lines": 5 }),
        "catalog_get" => json!({ "app": "syncthing" }),
        "catalog_search" => json!({ "text": "jelly" }),
        "pool_diagnose" => json!({ "pool": "tank" }),
        "file_list" => json!({ "path": "/mnt/tank/photos" }),
        "file_versions" => json!({ "path": "/mnt/tank/photos/albums/summer.jpg" }),
        "metrics" => json!({ "kind": "cpu" }),
        "vm_devices" => json!({ "id": 1 }),
        "undo" => json!({ "change": 7 }),
        "compose_validate" => json!({ "compose": "services: {web: {image: 'nginx:1.29'}}" }),
        _ if catalogue.find(tool).unwrap().spec().risk > Risk::Read => changes::example(tool).arguments,
        _ => json!({}),
    }
}

const fn version(generation: Generation) -> &'static str {
    match generation {
        Generation::V25_04 => "25.04.2",
        Generation::V25_10 => "25.10.5",
        Generation::V26 => "26.0.0",
    }
}

/// The tools that a generation has no method for.
const fn lacking(generation: Generation) -> &'static [&'static str] {
    match generation {
        // Of snapshots, 25.04 leaves more than taking and deleting to full administrators, which our account is not.
        Generation::V25_04 => {
            &["dataset_restore", "snapshot_clone", "snapshot_hold", "snapshot_release", "snapshot_rollback"]
        }
        Generation::V25_10 | Generation::V26 => &[],
    }
}

/// The roles that the documentation asks for follow from what each tool says that it uses.
fn uses_what_it_says<'a>(tool: &str, asked: impl Iterator<Item = &'a str>) {
    let catalogue = Catalogue::new();
    let spec = catalogue.specs().find(|spec| spec.name == tool).unwrap();
    let said: Vec<_> =
        spec.looks.iter().chain(spec.needs).flat_map(|need| need.candidates).map(|one| one.name).collect();
    for method in asked {
        // What the connection asks for, and the daemon on its own account.
        let own = [
            "api_key.query",
            "core.ping",
            "core.subscribe",
            "core.unsubscribe",
            "system.version",
            "privilege.become_readonly",
        ];
        assert!(
            method.starts_with("auth.") || own.contains(&method) || said.contains(&method),
            "{tool} asks for {method} and does not say so"
        );
    }
}

fn authenticate(answer: &Answer) -> String {
    answer.headers["www-authenticate"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_answers_in_both_eras_and_every_generation() {
    for generation in [Generation::V25_04, Generation::V25_10, Generation::V26] {
        let bench = Bench::start_with(|world| {
            world.nas.set_generation(generation);
            world.nas.state(changes::prepare);
            let scopes: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
            let everything = json!({ "scopes": scopes, "nas": ["*"] });
            world.tailnet.grant(IpAddr::V4(ALICE.address), CAPABILITY, vec![everything]);
        })
        .await;
        bench.nas_is_up().await;
        let alice = bench.client(ALICE);
        let mut plan = Value::Null;

        for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
            let opened = alice.legacy("initialize", json!({
                "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
            }));
            assert_eq!(opened.await.unwrap().json()["result"]["protocolVersion"], revision);
        }
        let discovered = alice.modern("server/discover", json!({})).await.unwrap();
        assert!(
            discovered.json()["result"]["supportedVersions"].as_array().unwrap().contains(&json!(MODERN))
        );

        let listed = [
            alice.legacy("tools/list", json!({})).await.unwrap(),
            alice.modern("tools/list", json!({})).await.unwrap(),
        ];
        for (era, listed) in ["legacy", "modern"].into_iter().zip(listed) {
            assert_eq!(tool_names(&listed), all(), "{era}");
            for tool in all() {
                // Within what one caller may ask for in a second.
                tokio::time::sleep(Duration::from_millis(60)).await;
                let arguments = match tool {
                    "plan_wait" => json!({ "plan": plan, "seconds": 1 }),
                    "plan_cancel" | "plan_show" => json!({ "plan": plan }),
                    _ => arguments(tool),
                };
                let params = json!({ "name": tool, "arguments": arguments });
                let before = bench.world.nas.transcript().len();
                let answer = match era {
                    "legacy" => alice.legacy("tools/call", params).await.unwrap(),
                    _ => alice.modern("tools/call", params).await.unwrap(),
                };
                let asked = bench.world.nas.transcript().split_off(before);
                uses_what_it_says(tool, asked.iter().map(|call| call.method.as_str()));
                assert!(!answer.text().is_empty(), "{tool} has no text");
                if tool == "undo" {
                    // Nothing was changed yet.
                    assert!(answer.text().contains("You made no change 7"), "{}", answer.text());
                    continue;
                }
                if answer.is_error() {
                    // The only excuse, and it names the version.
                    let lacks = format!("TrueNAS {} has no ", version(generation));
                    assert!(answer.text().contains(&lacks), "{generation:?} {era} {tool}: {}", answer.text());
                    assert!(lacking(generation).contains(&tool), "{generation:?} {tool} could answer");
                    continue;
                }
                assert!(!lacking(generation).contains(&tool), "{generation:?} {tool} answers after all");
                let data = &answer.json()["result"]["structuredContent"];
                assert!(data.is_object(), "{tool} has no data");
                if data["state"] == "waiting" {
                    // There are more changes than plans that one caller may have waiting.
                    let earlier = std::mem::replace(&mut plan, data["plan"].clone());
                    if !earlier.is_null() && earlier != plan {
                        tokio::time::sleep(Duration::from_millis(60)).await;
                        alice.call("plan_cancel", json!({ "plan": earlier })).await.unwrap();
                    }
                }
                assert!(answer.json()["result"]["_meta"]["tailnas.dev/audit"]["seq"].is_u64(), "{tool}");
            }
        }
        bench.hold_against_schemas(match generation {
            Generation::V25_04 => "25.04.2",
            Generation::V25_10 => "25.10.5",
            Generation::V26 => "26.0.0",
        });
        assert_eq!(
            alice.modern("tools/list", json!({})).await.unwrap().json()["result"]["cacheScope"],
            "private",
            "what one caller sees is not for another"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bob_sees_and_can_call_only_storage_reads() {
    let bench = Bench::complete().await;
    let bob = bench.client(BOB);
    let listed = tool_names(&bob.modern("tools/list", json!({})).await.unwrap());
    assert_eq!(listed, given_by(BOB.scopes));
    assert!(listed.contains(&"pools_list".to_owned()) && !listed.contains(&"system_info".to_owned()));
    // When its own keys end, the daemon asks by itself.
    let asked =
        || bench.nas_calls().into_iter().filter(|method| method != "api_key.query").collect::<Vec<_>>();
    let before = asked();
    // Who can propose nothing is not told of plans, and may ask for his none all the same.
    let hidden =
        |tool: &&str| !listed.contains(&(*tool).to_owned()) && !tool.starts_with("plan") && *tool != "undo";
    for tool in all().into_iter().filter(hidden) {
        // Within what one caller may ask for in a second.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let answer = bob.call(tool, json!({ "dataset": 5 })).await.unwrap();
        assert!(answer.is_error(), "{tool}");
        assert!(answer.text().contains("no grant gives it to bob@github"), "{tool}: {}", answer.text());
        assert!(answer.text().contains("Nothing was sent to the NAS"), "{tool}: {}", answer.text());
    }
    assert_eq!(asked(), before, "a refusal reached the NAS");
    let denied = bench.record("the refusal", |r| r["type"] == "denied" && r["tool"] == "alerts_list").await;
    assert_eq!(denied["peer"]["user"], "bob@github");
    assert_eq!(denied["decision"]["missing"], "alerts:read");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_nobody_is_not_let_in() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let before = bench.nas_calls().len();
    for (who, from) in [("a tagged node", TAGGED.address), ("a stranger", Ipv4Addr::new(127, 0, 0, 9))] {
        let client = Client { from: IpAddr::V4(from), ..alice.clone() };
        let answer = client.call("pools_list", json!({})).await.unwrap();
        assert_eq!(answer.status, 403, "{who}");
    }
    bench.world.tailnet.set_sharer(IpAddr::V4(ALICE.address), 99);
    assert_eq!(alice.call("pools_list", json!({})).await.unwrap().status, 403, "a node shared in");
    assert_eq!(bench.nas_calls().len(), before);
    for reason in ["tagged", "peer_unknown", "shared_in"] {
        bench.record(reason, |r| r["type"] == "auth_fail" && r["result"]["code"] == reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_node_is_not_let_in() {
    let bench = Bench::complete().await;
    let ours = Client { from: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 100)), ..bench.client(ALICE) };
    assert_eq!(ours.call("whoami", json!({})).await.unwrap().status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_refused_at_another_persons_node() {
    let bench = Bench::complete().await;
    let thief = Client { from: IpAddr::V4(BOB.address), ..bench.client(ALICE) };
    let answer = thief.call("pools_list", json!({})).await.unwrap();
    assert_eq!(answer.status, 401);
    assert!(authenticate(&answer).contains("invalid_token"));
    let record = bench.record("the theft", |r| r["result"]["code"] == "binding").await;
    assert_eq!(record["peer"]["user"], "bob@github");
    assert_eq!(record["auth"]["username"], "alice@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_the_same_answer() {
    let bench = Bench::complete().await;
    let (world, alice) = (&bench.world, bench.client(ALICE));
    let other = TokenSpec { audiences: vec!["https://grafana.tail1234.ts.net/".into()], ..spec(&bench) };
    let none = TokenSpec { audiences: vec![], ..spec(&bench) };
    let expired = world.tsidp.mint(spec(&bench));
    world.tsidp.expire(&expired);
    let act = world.tsidp.mint(spec(&bench));
    let claims = |change: Value| {
        let token = world.tsidp.mint(spec(&bench));
        let now = chrono_now();
        let mut answer = json!({
            "active": true, "aud": ["c", world.mcp_url()], "client_id": "c", "exp": now + 300, "iat": now,
            "iss": world.tsidp.issuer(), "nbf": now - 300, "scope": "openid", "sub": "456", "token_type": "Bearer",
            "username": "alice@example.com",
        });
        for (name, value) in change.as_object().unwrap() {
            answer[name] = value.clone();
        }
        world.tsidp.set_claims(&token, answer);
        token
    };
    let bad = [
        ("unknown", "0".repeat(32)),
        ("not a token", "a b".into()),
        ("expired", expired),
        ("for another resource", world.tsidp.mint(other)),
        ("for no resource", world.tsidp.mint(none)),
        ("active as text", claims(json!({ "active": "true" }))),
        ("of another issuer", claims(json!({ "iss": "https://evil.example" }))),
        ("without an end", claims(json!({ "exp": null }))),
        ("not yet good", claims(json!({ "nbf": chrono_now() + 3600 }))),
        ("a refresh token", claims(json!({ "token_type": "refresh" }))),
        ("of nobody", claims(json!({ "sub": "" }))),
        ("audience with a slash", claims(json!({ "aud": format!("{}/", world.mcp_url()) }))),
    ];
    let before = bench.nas_calls().len();
    let mut answers = Vec::new();
    for (what, token) in bad {
        let answer =
            Client { token: Some(token), ..alice.clone() }.call("pools_list", json!({})).await.unwrap();
        assert_eq!(answer.status, 401, "{what}");
        assert!(authenticate(&answer).contains(r#"error="invalid_token""#), "{what}");
        if what != "not a token" {
            let mut said = answer.json();
            assert!(said["request"].take().is_string(), "{what}: which record is about it");
            answers.push((said, authenticate_bytes(&answer.headers)));
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the answers tell the causes apart");
    assert_eq!(bench.nas_calls().len(), before);
    let good = Client { token: Some(act), ..alice }.call("whoami", json!({})).await.unwrap();
    assert!(!good.is_error(), "and a good one is still good");
}

fn authenticate_bytes(headers: &http::HeaderMap) -> Vec<u8> {
    headers["www-authenticate"].as_bytes().to_vec()
}

fn spec(bench: &Bench) -> TokenSpec {
    TokenSpec::new("alice@example.com", &bench.world.mcp_url())
}

fn chrono_now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_told_where_to_get_one() {
    let bench = Bench::start().await;
    let nobody = Client { token: None, ..bench.client(ALICE) };
    let answer = nobody.call("whoami", json!({})).await.unwrap();
    assert_eq!(answer.status, 401);
    let challenge = authenticate(&answer);
    assert!(!challenge.contains("error="), "RFC 6750 section 3.1: {challenge}");
    let (_, rest) = challenge.split_once(r#"resource_metadata=""#).unwrap();
    let metadata = rest.split('"').next().unwrap();
    let path = metadata.strip_prefix(&format!("http://{}", bench.world.address())).unwrap();
    for path in [path, "/.well-known/oauth-protected-resource"] {
        let answer = nobody.send(Method::GET, path, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.json()["resource"],
            bench.world.mcp_url(),
            "one string for URL, resource and audience"
        );
        assert_eq!(answer.json()["authorization_servers"], json!([bench.world.tsidp.issuer()]));
        // TSIDP refuses a login that asks for any other.
        assert_eq!(answer.json()["scopes_supported"], json!(["openid", "email", "profile"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_away_lets_nobody_in_and_takes_nobodys_token_away() {
    let bench = Bench::complete().await;
    bench.world.tsidp.stop().await;
    let before = bench.nas_calls().len();
    let began = Instant::now();
    let fresh = bench.client(ALICE);
    let answer = fresh.call("pools_list", json!({})).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(2500), "after {:?}", began.elapsed());
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.headers.contains_key("www-authenticate"), "a client would drop a good token");
    assert_eq!(bench.nas_calls().len(), before, "something reached the NAS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_refused_while_the_provider_is_away_even_if_the_token_is_known() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    assert!(!alice.call("pools_list", json!({})).await.unwrap().is_error());
    bench.world.tsidp.stop().await;
    assert!(!alice.call("pools_list", json!({})).await.unwrap().is_error(), "a read lives on what is known");
    let before = bench.nas_calls().len();
    let answer = alice.call("snapshot_create", arguments("snapshot_create")).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(answer.json()["error_description"].as_str().unwrap().contains("nothing was sent to the NAS"));
    assert_eq!(bench.nas_calls().len(), before);
    let record =
        bench.record("the change", |r| r["type"] == "denied" && r["tool"] == "snapshot_create").await;
    assert_eq!(record["req"], answer.json()["request"], "the answer says which record is about it");
    assert_eq!(record["req"].as_str(), answer.headers["x-request-id"].to_str().ok());
    assert!(bench.records().iter().all(|record| record["type"] != "intent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_taken_away_refuses_the_next_call() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    assert!(!alice.call("pools_list", json!({})).await.unwrap().is_error());
    bench.world.tailnet.revoke(IpAddr::V4(ALICE.address), CAPABILITY);
    let answer = alice.call("pools_list", json!({})).await.unwrap();
    assert!(answer.is_error());
    assert!(answer.text().contains("storage:read"), "{}", answer.text());
    assert_eq!(tool_names(&alice.modern("tools/list", json!({})).await.unwrap()), ["changes_list", "whoami"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tailscaled_away_lets_nobody_in_and_coming_back_is_enough() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    bench.world.local_api.restart().await.unwrap();
    assert!(!alice.call("whoami", json!({})).await.unwrap().is_error(), "a restart goes unnoticed");
    bench.world.local_api.stop().await;
    assert_eq!(alice.call("whoami", json!({})).await.unwrap().status, 503);
    bench.world.local_api.restart().await.unwrap();
    assert!(!alice.call("whoami", json!({})).await.unwrap().is_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nas_that_is_away_is_said_to_be_and_works_again_without_a_restart() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    bench.world.nas.stop().await;
    eventually("the loss is noticed", async || alice.call("pools_list", json!({})).await.unwrap().is_error())
        .await;
    let text = alice.call("pools_list", json!({})).await.unwrap().text();
    assert!(text.contains("cannot be reached since"), "{text}");
    assert!(text.contains("Nothing was changed."), "{text}");
    bench.world.nas.restart().await.unwrap();
    eventually("it works again", async || !alice.call("pools_list", json!({})).await.unwrap().is_error())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_tried_once() {
    let bench = Bench::start_with(|world| {
        world
            .write("reader.key", "7-0000000000000000000000000000000000000000000000000000000000000000")
            .unwrap();
    })
    .await;
    let alice = bench.client(ALICE);
    eventually("the refusal is told", async || {
        alice.call("pools_list", json!({})).await.unwrap().text().contains("refused the login")
    })
    .await;
    for _ in 0..20 {
        assert!(alice.call("pools_list", json!({})).await.unwrap().is_error());
    }
    assert_eq!(bench.world.nas.logins().len(), 1, "{:?}", bench.world.nas.logins());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_on_disk_before_it_is_made_and_its_outcome_before_it_is_told() {
    let bench = Bench::complete().await;
    bench.world.nas.faults_of("pool.snapshot.create").once(Fault::Slow(Duration::from_millis(400)));
    let alice = bench.client(ALICE);
    let call = tokio::spawn(async move { alice.call("snapshot_create", arguments("snapshot_create")).await });
    let intent = bench.record("the intent", |r| r["type"] == "intent").await;
    assert!(!call.is_finished(), "the intent is there while the NAS is still at it");
    assert_eq!(intent["target"], "tank/photos@planned");
    assert_eq!(intent["decision"]["approval"], "client-asserted");
    let answer = call.await.unwrap().unwrap();
    let outcome = bench.records().into_iter().find(|r| r["parent"] == intent["seq"]).unwrap();
    assert_eq!(outcome["result"]["status"], "ok");
    assert_eq!(answer.json()["result"]["_meta"]["tailnas.dev/audit"]["seq"], outcome["seq"]);
    assert_eq!(answer.json()["result"]["_meta"]["tailnas.dev/audit"]["hash"], outcome["hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_is_lost_is_unknown_and_not_tried_again() {
    let bench = Bench::complete().await;
    bench.world.nas.faults_of("pool.snapshot.create").once(Fault::HalfFrame);
    let alice = bench.client(ALICE);
    let answer = alice.call("snapshot_create", arguments("snapshot_create")).await.unwrap();
    assert!(answer.is_error());
    assert!(answer.text().contains("not known whether"), "{}", answer.text());
    let outcome = bench.record("its outcome", |r| r["type"] == "outcome").await;
    assert_eq!(outcome["result"]["status"], "unknown");
    bench.nas_is_up().await;
    let sent = bench.nas_calls().iter().filter(|method| *method == "pool.snapshot.create").count();
    assert_eq!(sent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_a_read_and_not_a_change() {
    let bench = Bench::complete().await;
    for (method, millis) in [("pool.query", 600), ("pool.snapshot.create", 2000)] {
        bench.world.nas.faults_of(method).once(Fault::Slow(Duration::from_millis(millis)));
    }
    let alice = bench.client(ALICE);
    let patience = Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, alice.call("pools_list", json!({}))).await.is_err());
    let read = bench.record("the read", |r| r["type"] == "read" && r["tool"] == "pools_list").await;
    assert_eq!(read["result"]["status"], "cancelled");
    let change =
        tokio::spawn(async move { alice.call("snapshot_create", arguments("snapshot_create")).await });
    bench.record("the intent", |r| r["type"] == "intent").await;
    change.abort();
    assert!(change.await.unwrap_err().is_cancelled(), "it hung up while the NAS was at it");
    let outcome = bench.record("the outcome", |r| r["type"] == "outcome").await;
    assert_eq!(outcome["result"]["status"], "ok", "{outcome}");
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_never_reach_the_nas() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let before = bench.nas_calls().len();
    let long = "a".repeat(256);
    let datasets = [
        "tank/../x",
        "tank/x@-r",
        "tank/x;reboot",
        "tank\u{0}",
        "-tank",
        "tank/$(id)",
        "%2e%2e",
        "tank/",
        "",
        &long,
    ];
    let mut bad: Vec<_> = datasets.iter().map(|name| json!({ "dataset": name, "name": "x" })).collect();
    bad.extend(
        ["-r", "a/b", "a@b", "x y ", "\u{1b}[31m"].map(|name| json!({ "dataset": "tank", "name": name })),
    );
    bad.push(json!({ "dataset": "tank", "name": "x", "force": true }));
    bad.push(json!({ "dataset": "tank" }));
    bad.push(json!({ "dataset": ["tank"], "name": "x" }));
    bad.push(json!({ "dataset": "tank", "name": "x", "recursive": "yes" }));
    for arguments in bad {
        let answer = alice.call("snapshot_create", arguments.clone()).await.unwrap();
        assert!(answer.is_error(), "{arguments}");
        assert!(answer.text().contains("Nothing was sent to the NAS"), "{arguments}: {}", answer.text());
    }
    assert_eq!(bench.nas_calls().len(), before);
    assert!(bench.records().iter().all(|record| record["type"] != "intent"));
}

/// What it is, method, headers, body; then the status and the JSON-RPC error it must get.
type Row<'a> = (&'a str, Method, Vec<(&'a str, &'a str)>, &'a str, u16, Option<i64>);

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_answers_as_http_and_json_rpc_say() {
    let bench = Bench::start().await;
    let alice = bench.client(ALICE);
    let bearer = format!("Bearer {}", alice.token.as_ref().unwrap());
    let json = ("content-type", "application/json");
    let auth = ("authorization", bearer.as_str());
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let accept = ("accept", "application/json, text/event-stream");
    let host = bench.world.address().to_string();
    let rows: Vec<Row<'_>> = vec![
        ("all in order", Method::POST, vec![json, auth, accept], good, 200, None),
        ("GET", Method::GET, vec![auth], "", 405, None),
        ("DELETE", Method::DELETE, vec![auth], "", 405, None),
        ("no content type", Method::POST, vec![auth, accept], good, 415, None),
        (
            "form",
            Method::POST,
            vec![("content-type", "application/x-www-form-urlencoded"), auth],
            good,
            415,
            None,
        ),
        (
            "UTF-16",
            Method::POST,
            vec![("content-type", "application/json; charset=utf-16"), auth],
            good,
            415,
            None,
        ),
        ("a second host", Method::POST, vec![json, auth, accept, ("host", "evil.example")], good, 400, None),
        (
            "another origin",
            Method::POST,
            vec![json, auth, accept, ("origin", "https://evil.example")],
            good,
            403,
            None,
        ),
        ("no origin", Method::POST, vec![json, auth, accept, ("origin", "null")], good, 403, None),
        (
            "Funnel",
            Method::POST,
            vec![json, auth, accept, ("tailscale-funnel-request", "?1")],
            good,
            403,
            None,
        ),
        ("two tokens", Method::POST, vec![json, auth, auth, accept], good, 400, None),
        ("Basic", Method::POST, vec![json, ("authorization", "Basic dTpw"), accept], good, 401, None),
        ("token in a cookie", Method::POST, vec![json, ("cookie", &bearer), accept], good, 401, None),
        ("no JSON", Method::POST, vec![json, auth, accept], "{", 400, Some(-32700)),
        ("a batch", Method::POST, vec![json, auth, accept], "[]", 400, Some(-32600)),
        (
            "a response",
            Method::POST,
            vec![json, auth, accept],
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            400,
            Some(-32600),
        ),
        (
            "headers of a proxy",
            Method::POST,
            vec![
                json,
                auth,
                accept,
                ("x-forwarded-for", "127.0.0.2"),
                ("x-forwarded-host", "evil"),
                ("tailscale-user-login", "root@example.com"),
            ],
            good,
            200,
            None,
        ),
    ];
    for (what, method, headers, body, status, code) in rows {
        let answer = alice.send(method, "/mcp", &headers, body.to_owned()).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["error"]["code"].as_i64(), code, "{what}");
    }
    let stranger = raw(&bench, "POST /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(stranger.starts_with("HTTP/1.1 421"), "{stranger}");
    let proxied = raw(&bench, &format!("POST http://{host}/mcp HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert!(proxied.starts_with("HTTP/1.1 400"), "{proxied}");
    for path in ["//mcp", "/mcp/", "/%6dcp", "/mcp;a", "/x/../mcp", "/"] {
        let answer = alice.send(Method::POST, path, &[json, auth, accept], good).await.unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
}

async fn raw(bench: &Bench, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(bench.world.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_tool_and_an_unknown_method_are_errors_of_the_protocol() {
    let bench = Bench::start().await;
    let alice = bench.client(ALICE);
    let tool = alice.call("dataset_destroy_all", json!({})).await.unwrap();
    assert_eq!(tool.json()["error"]["code"], -32602);
    let method = alice.modern("tools/destroy", json!({})).await.unwrap();
    assert_eq!((method.status.as_u16(), method.json()["error"]["code"].as_i64()), (404, Some(-32601)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_of_a_client_what_it_said_of_itself() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    for (era, said) in [("legacy", Value::Null), ("modern", json!("tailnas-sim 1"))] {
        let params = json!({ "name": "whoami", "arguments": {} });
        let answer = match era {
            "legacy" => alice.legacy("tools/call", params).await.unwrap(),
            _ => alice.modern("tools/call", params).await.unwrap(),
        };
        let id = &answer.json()["result"]["_meta"]["tailnas.dev/audit"]["request"];
        let record = bench.record("the call", |r| r["req"] == *id).await;
        assert_eq!(record["mcp"]["client"], said, "{era}: {record}");
        assert_eq!(id.as_str(), answer.headers["x-request-id"].to_str().ok(), "{era}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_the_nas_is_for_who_may_look_at_the_system() {
    let bench = Bench::complete().await;
    for (person, told) in [(ALICE, true), (BOB, false)] {
        let answer = bench.client(person).call("whoami", json!({})).await.unwrap();
        assert!(answer.text().contains("NAS homenas: connected since"), "{}", answer.text());
        let whole = answer.json().to_string();
        assert_eq!(whole.contains("25.10"), told, "{}: {whole}", person.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_when_it_is_asked_for() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let params = json!({
        "name": "snapshot_create", "arguments": arguments("snapshot_create"), "_meta": { "progressToken": "p" },
    });
    let answer = alice.call_and_answer("accept", params).await.unwrap();
    let events = answer.events();
    let steps: Vec<_> = events.iter().filter(|event| event["method"] == "notifications/progress").collect();
    let last = &steps.last().unwrap_or_else(|| panic!("{events:?}"))["params"];
    assert_eq!(last["progress"], last["total"], "the last step comes as well: {events:?}");
    assert!(steps.iter().all(|step| step["params"]["progressToken"] == "p"));
    assert!(!answer.is_error() && events.last().unwrap()["result"].is_object(), "{events:?}");
}

/// What looks at the NAS has told what it saw: an answer that tells nothing has no secret in it either.
fn answered(tool: &str, answer: &Answer, generation: Generation) {
    let catalogue = Catalogue::new();
    let spec = catalogue.find(tool).unwrap().spec();
    // A change is planned or refused, and what has no scope asks nothing of the NAS.
    if spec.risk > Risk::Read || spec.scope.is_none() || !answer.is_error() {
        return;
    }
    let lacks = format!("TrueNAS {} has no ", version(generation));
    assert!(answer.text().contains(&lacks), "{generation:?} {tool}: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_the_audit_or_an_answer() {
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let mut answers = Vec::new();
    for tool in all() {
        // Twenty calls a second are allowed.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let answer = alice.call(tool, arguments(tool)).await.unwrap();
        answered(tool, &answer, Generation::V25_10);
        answers.push(answer);
        answers.push(bob.call(tool, json!({ "password": "hunter2-canary" })).await.unwrap());
    }
    let thief = Client { from: IpAddr::V4(BOB.address), ..alice.clone() };
    answers.push(thief.call("whoami", json!({})).await.unwrap());
    let said: Vec<_> =
        answers.iter().map(|answer| format!("{:?} {:?}", answer.headers, answer.body)).collect();
    let world = &bench.world;
    let secrets = [
        alice.token.clone().unwrap(),
        bob.token.clone().unwrap(),
        world.nas.reader_key().key.clone(),
        world.nas.writer_key().key.clone(),
        world.nas.maintenance_key().key.clone(),
        "an hmac key for the simulated neighbourhood alone".to_owned(),
        "hunter2-canary".to_owned(),
    ];
    let written =
        [("answers", said.concat()), ("audit", format!("{:?}", bench.records())), ("log", bench.log())];
    for secret in &secrets {
        for (place, text) in &written {
            assert!(!text.contains(secret.as_str()), "a secret is in the {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_on_the_nas_is_never_asked_for() {
    for generation in [Generation::V25_04, Generation::V25_10, Generation::V26] {
        // An account that may see everything: nothing is left to the NAS's own redaction.
        let bench = Bench::start_with(|world| {
            world.nas.set_generation(generation);
            let reader = world.nas.reader_key().username;
            world.nas.state(|state| {
                let account = state.accounts.iter_mut().find(|account| account.username == reader).unwrap();
                account.roles = Roles::new(&["FULL_ADMIN"]);
            });
        })
        .await;
        bench.nas_is_up().await;
        let alice = bench.client(ALICE);
        let mut said = String::new();
        for tool in all() {
            tokio::time::sleep(Duration::from_millis(60)).await;
            let answer = alice.call(tool, arguments(tool)).await.unwrap();
            answered(tool, &answer, generation);
            said.push_str(&String::from_utf8_lossy(&answer.body));
        }
        assert!(!said.contains(CANARY), "{generation:?}: a secret is in an answer");
        for call in bench.world.nas.transcript() {
            let outcome = format!("{:?}", call.outcome);
            assert!(!outcome.contains(CANARY), "{generation:?} {}: a secret left the NAS", call.method);
        }
        let login = bench.world.nas.reader_key();
        let transcript = bench.world.nas.transcript();
        assert!(transcript.iter().any(|call| call.username.as_ref() == Some(&login.username)));
    }
}

/// What a model has to read before it can do anything.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_tools_is_short() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let every: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    for (scopes, most) in [(&every[..], 48 * 1024), (&["storage:read"][..], 8 * 1024)] {
        let grant = json!({ "scopes": scopes, "nas": ["*"] });
        bench.world.tailnet.revoke(IpAddr::V4(ALICE.address), CAPABILITY);
        bench.world.tailnet.grant(IpAddr::V4(ALICE.address), CAPABILITY, vec![grant]);
        let listed = alice.modern("tools/list", json!({})).await.unwrap();
        assert_eq!(tool_names(&listed), given_by(scopes));
        let (bytes, tools) = (listed.body.len(), tool_names(&listed).len());
        loudly(&format!("{} scopes: {tools} tools, {bytes} of {most} bytes", scopes.len()));
        assert!(bytes < most, "the list of {tools} tools has {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_the_fields_that_are_asked_for_and_all_of_its_items() {
    let bench = Bench::complete().await;
    // What is so many hours ago is so for both calls of each.
    bench.world.nas.state(|nas| nas.clock = Some(nas.now()));
    let alice = bench.client(ALICE);
    let mut lists = 0;
    for spec in Catalogue::new().specs() {
        let takes_fields = spec.input["properties"]["fields"].is_object();
        // What acts on no NAS is never long.
        let of_a_nas = spec.scope.is_some();
        assert!(takes_fields || !of_a_nas || !spec.name.ends_with("_list"), "{} is a list", spec.name);
        if !takes_fields {
            continue;
        }
        lists += 1;
        let members = spec.output["properties"].as_object().unwrap();
        let (list, member) = members.iter().find(|(_, m)| m["items"]["properties"].is_object()).unwrap();
        let field = member["items"]["properties"].as_object().unwrap().keys().next().unwrap();
        let whole = alice.call(spec.name, arguments(spec.name)).await.unwrap();
        let mut asked = arguments(spec.name);
        asked["fields"] = json!([field]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let some = alice.call(spec.name, asked).await.unwrap();
        assert!(!some.is_error(), "{}: {}", spec.name, some.text());
        let data = |answer: &Answer| answer.json()["result"]["structuredContent"].clone();
        let items = |answer: &Answer| data(answer)[list].as_array().unwrap().clone();
        let projected: Vec<_> = items(&whole)
            .iter()
            .map(|item| item.get(field).map_or(json!({}), |value| json!({ field: value })))
            .collect();
        // What is measured is another number a moment later, and the simulated log of the NAS is as old as it always is.
        if ["metrics", "app_stats", "audit_query"].contains(&spec.name) {
            assert_eq!(items(&some).len(), projected.len(), "{}", spec.name);
        } else {
            assert_eq!(items(&some), projected, "{}", spec.name);
        }
        assert_eq!(data(&some)["total"], data(&whole)["total"], "{}", spec.name);
        let validator = jsonschema::validator_for(&Value::Object(spec.output.clone())).unwrap();
        assert!(validator.is_valid(&data(&some)) && validator.is_valid(&data(&whole)), "{}", spec.name);
    }
    assert!(lists > 20, "{lists}");
    let record = bench.record("it", |r| r["tool"] == "pools_list" && r["args"]["fields"].is_array()).await;
    assert_eq!(record["type"], "read", "which fields is told as it is: {record}");

    let before = bench.nas_calls().len();
    let wrong = alice.call("pools_list", json!({ "fields": ["nmae"] })).await.unwrap();
    assert!(wrong.is_error() && wrong.text().contains("fields[0]: no item has a field"), "{}", wrong.text());
    assert!(wrong.text().contains("name"), "it says which there are: {}", wrong.text());
    assert_eq!(bench.nas_calls().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_on_tank_never_shows_tank2() {
    let bench = Bench::start_with(|world| {
        world.nas.state(|state| {
            state.add_dataset("tank2/photos");
            state.add_dataset("tank-old");
            for dataset in ["tank", "tank2", "tank2/photos", "tank-old", "backup/tank2", "tank/photos/2024"] {
                state.add_snapshot(dataset, "now");
            }
        });
    })
    .await;
    bench.nas_is_up().await;
    let alice = bench.client(ALICE);
    let catalogue = Catalogue::new();
    let filters: Vec<_> = catalogue
        .specs()
        .filter(|spec| spec.risk == Risk::Read)
        .flat_map(|spec| {
            let takes = |name: &&str| spec.input["properties"].get(*name).is_some();
            ["pool", "within", "dataset"].into_iter().filter(takes).map(|name| (spec.name, name))
        })
        .collect();
    assert!(filters.len() >= 10 && filters.contains(&("space_changes", "within")), "{filters:?}");
    for (tool, argument) in filters {
        let answer = alice.call(tool, json!({ argument: "tank" })).await.unwrap();
        let data = answer.json()["result"]["structuredContent"].to_string();
        // What grew, if anything did, is not for this test to say.
        let shows = data.contains("tank") || tool == "space_changes";
        assert!(!answer.is_error() && shows, "{tool}: {}", answer.text());
        for other in ["tank2", "tank-old", "nvme0n1"] {
            assert!(!data.contains(other), "{tool} shows {other}: {data}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_goes_to_the_nas_and_the_total_is_told() {
    let bench = Bench::start_with(|world| {
        world.nas.state(|state| {
            for number in 0..300 {
                state.add_snapshot("tank/media", &format!("s{number}"));
            }
        });
    })
    .await;
    bench.nas_is_up().await;
    let alice = bench.client(ALICE);
    let answer = alice.call("snapshots_list", json!({ "within": "tank/media", "limit": 7 })).await.unwrap();
    let data = &answer.json()["result"]["structuredContent"];
    assert_eq!((data["snapshots"].as_array().unwrap().len(), &data["total"]), (7, &json!(301)));
    assert!(answer.text().contains("Shown: 7 of 301."), "{}", answer.text());
    let calls = bench.world.nas.transcript();
    let mut listed = calls
        .iter()
        .filter(|call| call.method.ends_with("snapshot.query") && call.params[1]["count"] != true);
    assert!(listed.all(|call| call.params[1]["limit"] == 7));
    for (tool, arguments) in [
        ("users_list", json!({ "limit": 1, "builtin": true })),
        ("groups_list", json!({ "limit": 1, "builtin": true })),
        ("audit_query", json!({ "limit": 1 })),
    ] {
        let answer = alice.call(tool, arguments).await.unwrap();
        let data = &answer.json()["result"]["structuredContent"];
        assert!(data["total"].as_u64().unwrap() > 1, "{tool}: {}", answer.text());
        assert!(answer.text().contains("Shown: 1 of "), "{tool}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_orderly() {
    let mut bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    bench.world.nas.faults_of("pool.snapshot.create").once(Fault::Slow(Duration::from_millis(500)));
    let call = tokio::spawn(async move { alice.call("snapshot_create", arguments("snapshot_create")).await });
    bench.record("the intent", |r| r["type"] == "intent").await;
    let status = bench.daemon.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let answer = call.await.unwrap().unwrap();
    assert!(!answer.is_error(), "the stop waits for what is under way: {}\n{}", answer.text(), bench.log());
    let records = bench.records();
    let ends: Vec<_> = records.iter().rev().take(2).map(|record| &record["type"]).collect();
    assert_eq!(ends, ["checkpoint", "stop"]);
    assert!(records.iter().any(|r| r["type"] == "outcome" && r["result"]["status"] == "ok"));
}
