//! Rows that need time, another configuration or a crowd.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::User;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, World};

use crate::common::{Bench, eventually};
use crate::wire::connect;

fn configure(world: &World, from: &str, to: &str) {
    let text = std::fs::read_to_string(world.config()).unwrap();
    assert!(text.contains(from), "{text}");
    world.write("config.toml", &text.replace(from, to)).unwrap();
}

fn assert_outage(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}");
    assert!(answer.headers.contains_key(header::RETRY_AFTER), "{what}");
    assert!(
        !answer.headers.contains_key(header::WWW_AUTHENTICATE),
        "{what}: a client would drop a good token"
    );
}

/// B21.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there_is_an_outage() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    bench.world.tsidp.stop().await;
    let before = bench.nas_calls().len();
    for _ in 0..2 {
        assert_outage(&alice.call("pools_list", json!({})).await.unwrap(), "nobody listens");
    }
    bench.record("the outage", |r| r["type"] == "auth_fail" && r["result"]["code"] == "provider_down").await;

    let nameless = Bench::start_with(|world| {
        configure(world, &world.tsidp.issuer(), "https://idp.invalid");
    })
    .await;
    let answer = nameless.client(ALICE).call("whoami", json!({})).await.unwrap();
    assert_outage(&answer, "no such name");
    assert_eq!(bench.nas_calls().len(), before);
    bench.no_secret_is_written().await;
    nameless.no_secret_is_written().await;
}

/// C26.
#[tokio::test(flavor = "multi_thread")]
async fn only_listed_clients_are_let_in() {
    let bench = Bench::start_with(|world| {
        configure(world, "[provider]\n", "[provider]\nclients = [\"6e52117d3075041c33c9bdceddbcfef1\"]\n");
    })
    .await;
    bench.nas_is_up().await;
    let alice = bench.client(ALICE);
    assert!(!alice.call("whoami", json!({})).await.unwrap().is_error());
    let before = bench.nas_calls().len();
    for client_id in ["another", "6E52117D3075041C33C9BDCEDDBCFEF1", ""] {
        let spec = TokenSpec {
            client_id: client_id.to_owned(),
            ..TokenSpec::new("alice@example.com", &bench.world.mcp_url())
        };
        let other = Client { token: Some(bench.world.tsidp.mint(spec)), ..alice.clone() };
        assert_eq!(other.call("pools_list", json!({})).await.unwrap().status, 403, "{client_id:?}");
    }
    assert_eq!(bench.nas_calls().len(), before, "C26");
    bench.record("the client", |r| r["type"] == "auth_fail" && r["result"]["code"] == "client").await;
    bench.no_secret_is_written().await;
}

/// E01: over HTTP/2, because so many connections are not taken, and from a hundred nodes of hers, because so many
/// requests of one are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_are_one_question() {
    let bench = Bench::complete().await;
    let token = bench.client(ALICE).token.unwrap();
    let before = bench.world.tsidp.introspections();
    // So slow that all have asked before it answers.
    bench.world.tsidp.faults().once(Fault::Slow(Duration::from_millis(1200)));
    let mut crowd = tokio::task::JoinSet::new();
    for node in 1..=100 {
        let address = Ipv4Addr::new(127, 0, 5, node);
        let owner = User::new(456, "alice@example.com", "Alice Doe");
        bench.world.tailnet.add_user_node(address.into(), &format!("node-{node}"), owner);
        let stream = connect(address, bench.world.address()).await;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..10 {
            let (mut sender, url, token) = (sender.clone(), bench.world.mcp_url(), token.clone());
            crowd.spawn(async move {
                // The least that there is to answer: who is let in is the question here.
                let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
                let request = Request::post(url)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(header::ACCEPT, "application/json, text/event-stream")
                    .header(header::AUTHORIZATION, format!("Bearer {token}"))
                    .body(Full::new(Bytes::from_static(body.as_bytes())))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            });
        }
    }
    let mut answers = std::collections::BTreeMap::<_, u32>::new();
    for answer in crowd.join_all().await {
        *answers.entry(answer).or_default() += 1;
    }
    let good = (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned());
    let others: Vec<_> = answers.iter().filter(|(answer, _)| **answer != good).take(3).collect();
    assert_eq!(answers.get(&good), Some(&1000), "{others:#?}");
    assert_eq!(bench.world.tsidp.introspections() - before, 1);
    bench.no_secret_is_written().await;
}

/// E04, E07, E09, E10.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_over_after_thirty_seconds() {
    let (revoked, away) = (Bench::complete().await, Bench::complete().await);
    let (alice, other) = (revoked.client(ALICE), away.client(ALICE));
    let short = revoked.world.token(ALICE, Duration::from_secs(6));
    let short = Client { token: short, ..alice.clone() };
    for client in [&alice, &other, &short] {
        assert!(!client.call("pools_list", json!({})).await.unwrap().is_error());
    }
    // Bench::complete read with this client's predecessor; each client has a token of its own.
    revoked.world.tsidp.revoke(alice.token.as_ref().unwrap());
    away.world.tsidp.stop().await;
    assert_eq!(alice.call("pools_list", json!({})).await.unwrap().status, 200, "E04: a read, at once");
    assert!(!other.call("pools_list", json!({})).await.unwrap().is_error(), "E09: a read, at once");
    for (client, bench, what) in [(&alice, &revoked, "E04"), (&other, &away, "E10")] {
        let calls = bench.nas_calls().len();
        let change = json!({ "dataset": "tank/photos", "name": "late" });
        let answer = client.call("snapshot_create", change).await.unwrap();
        match what {
            "E04" => assert_eq!(answer.status, 401, "{what}"),
            _ => assert_outage(&answer, what),
        }
        assert_eq!(bench.nas_calls().len(), calls, "{what}");
    }

    let asked = revoked.world.tsidp.introspections();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(short.call("pools_list", json!({})).await.unwrap().status, 401, "E07");
    assert_eq!(revoked.world.tsidp.introspections(), asked, "E07: its end needs no provider");

    tokio::time::sleep(Duration::from_secs(24)).await;
    let calls = (revoked.nas_calls().len(), away.nas_calls().len());
    assert_eq!(alice.call("pools_list", json!({})).await.unwrap().status, 401, "E04");
    assert_outage(&other.call("pools_list", json!({})).await.unwrap(), "E09");
    assert_eq!((revoked.nas_calls().len(), away.nas_calls().len()), calls);
    let of = |code: &'static str| move |r: &serde_json::Value| r["result"]["code"] == code;
    revoked.record("E04, the end of what was remembered", of("inactive")).await;
    away.record("E09, E10", of("provider_down")).await;
    revoked.no_secret_is_written().await;
    away.no_secret_is_written().await;
}

/// E11.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_forgot_is_no_outage() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    bench.world.tsidp.restart().await.unwrap();
    let before = bench.nas_calls().len();
    assert_eq!(alice.call("pools_list", json!({})).await.unwrap().status, 401);
    assert_eq!(bench.nas_calls().len(), before, "E11");
    let again = bench.client(ALICE);
    eventually("a new token is good", async || {
        !again.call("pools_list", json!({})).await.unwrap().is_error()
    })
    .await;
    bench.record("E11", |r| r["type"] == "auth_fail" && r["result"]["code"] == "inactive").await;
    bench.no_secret_is_written().await;
}

/// Who is told that the daemon is ready may tell it to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_right_after_ready_is_orderly() {
    let mut bench = Bench::start().await;
    for _ in 0..20 {
        let status = bench.daemon.stop().await.unwrap();
        assert!(status.success(), "{status}");
        bench.start_again().await;
    }
}
