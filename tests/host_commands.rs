//! What root does on the host while the daemon runs: freeze and thaw, passkeys, notices. Each counts at once, and is on
//! record.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test may panic")]

mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use common::changes::{self, example};
use common::{Bench, Inside};
use serde_json::{Value, json};
use tailnas::dispatch::Catalogue;
use tailnas_sim::client::Answer;
use tailnas_sim::world::{ALICE, CAPABILITY, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn bench() -> Bench<Inside> {
    bench_with(String::new()).await
}

/// A daemon with these further lines in its configuration.
async fn bench_with(config: String) -> Bench<Inside> {
    let bench = Bench::inside(async |world| {
        world.nas.state(changes::prepare);
        let scopes: Vec<_> = Catalogue::new().specs().filter_map(|spec| spec.scope).collect();
        let grant = json!({ "scopes": scopes, "nas": ["*"] });
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![grant]);
        append(world, &config);
    })
    .await;
    bench.nas_is_up().await;
    bench
}

fn append(world: &World, config: &str) {
    let mut file = std::fs::File::options().append(true).open(world.config()).unwrap();
    file.write_all(config.as_bytes()).unwrap();
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn plan(bench: &Bench<Inside>, tool: &str) -> Answer {
    let params = json!({ "name": tool, "arguments": example(tool).arguments });
    bench.client(ALICE).modern("tools/call", params).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_freezes_and_thaws_changes() {
    let bench = bench().await;
    let frozen = bench.command(&["freeze", "a disk sounds odd"]);
    assert!(frozen.status.success() && said(&frozen).contains("Changes are frozen"), "{}", said(&frozen));
    let refused = plan(&bench, "snapshot_create").await;
    assert!(refused.is_error(), "{}", refused.text());
    for words in ["frozen by root on the host since ", "(a disk sounds odd)", "Nothing was changed"] {
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    let record = bench.record("the brake", |r| r["did"] == "freeze").await;
    assert_eq!((&record["note"], &record["peer"]), (&json!("a disk sounds odd"), &Value::Null));
    let thawed = bench.command(&["thaw"]);
    assert!(thawed.status.success(), "{}", said(&thawed));
    assert!(!plan(&bench, "snapshot_create").await.is_error());
    let record = bench.record("that it was let go", |r| r["did"] == "thaw").await;
    assert!(record["peer"].is_null(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_that_root_takes_away_is_good_for_nothing_and_that_is_on_record() {
    let bench = bench().await;
    let none = bench.command(&["passkey", "list"]);
    assert!(none.status.success() && said(&none).contains("Nobody has a passkey yet"), "{}", said(&none));
    let mut phone = bench.enrolled(ALICE).await;
    let listed = said(&bench.command(&["passkey", "list"]));
    assert!(listed.contains("alice@example.com  a passkey  enrolled "), "{listed}");
    let id = listed.split_whitespace().next().unwrap();

    let planned = plan(&bench, "dataset_purge").await.json()["result"]["structuredContent"]["plan"].clone();
    let revoked = bench.command(&["passkey", "revoke", id]);
    assert!(revoked.status.success() && said(&revoked).contains(id), "{}", said(&revoked));
    let answer = phone.approve(planned.as_str().unwrap()).await.unwrap();
    assert_eq!(answer.status, 403);
    assert!(answer.json()["error_description"].as_str().unwrap().contains("you have no passkey here yet"));
    let record = bench.record("that it was taken away", |r| r["did"] == "revoke").await;
    assert_eq!((record["passkey"].as_str(), &record["peer"]), (Some(id), &Value::Null));
    assert_eq!(record["note"], "of alice@example.com: a passkey");
    let again = bench.command(&["passkey", "revoke", id]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("nothing was changed"), "{}", said(&again));

    // Also while nobody is there to write it down.
    bench.enrolled(ALICE).await;
    let (world, dir) = bench.stop().await;
    assert!(common::command(&world, &["passkey", "revoke", "--login", "alice@example.com"]).status.success());
    let bench = Bench::started(world, dir).await;
    let revoked = |records: Vec<Value>| records.iter().filter(|r| r["did"] == "revoke").count();
    common::eventually("both are on record", async || revoked(bench.records()) == 2).await;
}

/// A service that takes notices, and everything that came in. One that is `deaf` takes them and never answers.
async fn service(deaf: bool) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut part) = (String::new(), [0; 4096]);
            // Each of ours is short, and ends with its body.
            while !complete(&request) {
                let Ok(read @ 1..) = stream.read(&mut part).await else { break };
                request.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            requests.lock().unwrap().push(request);
            if deaf {
                open.push(stream);
            } else {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
            }
        }
    });
    (address, heard)
}

fn complete(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_a_count_and_a_link_and_holds_nothing_up() {
    let (hook, heard) = service(false).await;
    let (deaf, _) = service(true).await;
    let away = SocketAddr::from(([127, 0, 0, 1], 9));
    let bench = bench_with(format!(
        "\n[[notify]]\nkind = \"webhook\"\nurl = \"http://{hook}/hook\"\n\n[[notify]]\nkind = \"ntfy\"\nurl = \"http://{away}/topic\"\n\n\
         [[notify]]\nkind = \"gotify\"\nurl = \"http://{deaf}/\"\n"
    ))
    .await;
    let link = format!("{}/console", bench.world.origin());

    // Nobody is told of what the client's own person agrees to.
    assert!(!plan(&bench, "snapshot_create").await.is_error());
    assert!(!plan(&bench, "dataset_purge").await.is_error());
    let hooked = || heard.lock().unwrap().clone();
    common::eventually("a notice came", async || !hooked().is_empty()).await;
    // One service is away and another never answers; nothing waits for them.
    assert!(!plan(&bench, "dataset_delete").await.is_error());
    let [notice] = &hooked()[..] else { panic!("one notice: {:?}", hooked()) };
    let (start, body) = notice.split_once("\r\n\r\n").unwrap();
    assert!(start.starts_with("POST /hook HTTP/1.1"), "{start}");
    let text = format!("1 change waits for approval: {link}");
    let wanted = json!({ "event": "waiting", "waiting": 1, "text": text, "url": link });
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), wanted);
    for name in ["alice", "laptop", "tank", "quarantine", "purge", "Bearer"] {
        assert!(!notice.contains(name), "{name} is in {notice}");
    }

    let (world, _dir) = bench.stop().await;
    let config = std::fs::read_to_string(world.config()).unwrap();
    world.write("config.toml", config.split("\n[[notify]]\nkind = \"gotify\"").next().unwrap()).unwrap();
    let tested = common::command(&world, &["notify", "test"]);
    assert_eq!(tested.status.code(), Some(1), "one of them is away: {}", said(&tested));
    assert!(said(&tested).contains("✓ notify[0], webhook: taken"), "{}", said(&tested));
    assert!(said(&tested).contains("✗ notify[1], ntfy: "), "{}", said(&tested));
    let last = hooked().pop().unwrap();
    assert!(last.contains("A test. Nothing waits") && last.contains(&link), "{last}");
}
