//! Secrets, planted where a daemon meets them, are looked for in everything it says and writes.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tailnas_sim::client::Client;
use tailnas_sim::fault::Fault;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY};

use crate::common::{Bench, program};
use crate::runner::contains;

/// In the arguments of a tool.
const PASSWORD: &str = "planted-password-5hK2";
/// In a cookie.
const COOKIE: &str = "planted-cookie-9vQ7";
/// Ours at the provider, and repeated by it in its errors.
const CLIENT_SECRET: &str = "planted-client-secret-3xT8";
/// The key that the audit log hashes under.
const HMAC_KEY: &str = "planted-hmac-key-for-the-audit-log-0123456789";

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_nowhere() {
    let mut bench = Bench::start_with(|world| {
        world.write("audit-hmac.key", HMAC_KEY).unwrap();
        // As talkative as it can be made.
        let config = std::fs::read_to_string(world.config()).unwrap();
        let secret = world.config().with_file_name("client.secret");
        world.write("client.secret", CLIENT_SECRET).unwrap();
        let client = format!("[provider.client]\nid = \"us\"\nsecret = \"file:{}\"", secret.display());
        world.write("config.toml", &format!("{config}\n{client}\n\n[log]\nfilter = \"trace\"\n")).unwrap();
    })
    .await;
    bench.nas_is_up().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let mut said = Vec::new();
    let mut hear = |answer: tailnas_sim::client::Answer| {
        said.extend(format!("{} {:?}", answer.status, answer.headers).into_bytes());
        said.extend(&answer.body);
    };

    // All goes well, and everything that can go wrong does.
    let bearer = format!("Bearer {}", alice.token.as_ref().unwrap());
    let cookie = format!("session={COOKIE}");
    for (path, body) in [("/mcp", "{"), ("/mcp", "[]"), ("/nowhere", "{}"), ("/mcp", r#"{"jsonrpc":"2.0"}"#)]
    {
        for authorization in [bearer.as_str(), &format!("{bearer} x"), &format!("{bearer};"), "Basic x"] {
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("authorization", authorization),
                ("cookie", cookie.as_str()),
            ];
            hear(alice.send(Method::POST, path, &headers, body).await.unwrap());
        }
    }
    let password = json!({ "dataset": "tank/photos", "name": PASSWORD, "password": PASSWORD });
    for tool in ["snapshot_create", "pools_list", "whoami", "no_such_tool"] {
        hear(alice.call(tool, password.clone()).await.unwrap());
        hear(bob.call(tool, password.clone()).await.unwrap());
    }
    hear(alice.call("snapshot_create", json!({ "dataset": "tank/photos", "name": "kept" })).await.unwrap());
    let thief = Client { from: IpAddr::V4(BOB.address), ..alice.clone() };
    hear(thief.call("whoami", json!({})).await.unwrap());
    for fault in [
        Fault::Status(401, CLIENT_SECRET.to_owned()),
        Fault::Status(500, CLIENT_SECRET.to_owned()),
        Fault::Body("text/html".to_owned(), CLIENT_SECRET.into()),
        Fault::Body("application/json".to_owned(), format!("{{\"active\":\"{CLIENT_SECRET}\"}}").into()),
        Fault::Body("application/json".to_owned(), format!("{{\"active\":true,{CLIENT_SECRET}").into()),
        Fault::Garbage,
        Fault::HalfFrame,
    ] {
        bench.world.tsidp.faults().once(fault);
        hear(bench.client(ALICE).call("whoami", json!({})).await.unwrap());
        bench.world.tsidp.faults().clear();
    }
    for fault in [Fault::Garbage, Fault::HalfFrame, Fault::Drop] {
        bench.world.nas.faults_of("pool.query").once(fault);
        hear(alice.call("pools_list", json!({})).await.unwrap());
        bench.nas_is_up().await;
    }
    bench.world.tailnet.revoke(IpAddr::V4(ALICE.address), CAPABILITY);
    hear(alice.call("snapshot_create", json!({ "dataset": "tank/photos", "name": "not" })).await.unwrap());
    bench.world.tsidp.stop().await;
    hear(bench.client(ALICE).call("whoami", json!({})).await.unwrap());
    bench.world.local_api.stop().await;
    hear(alice.call("whoami", json!({})).await.unwrap());
    bench.world.nas.stop().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // A cut and an orderly stop both.
    bench.daemon.kill().await.unwrap();
    bench.start_again().await;
    let status = bench.daemon.stop().await.unwrap();
    assert!(
        status.success(),
        "{status}: {}",
        bench.log().lines().rev().take(9).collect::<Vec<_>>().join("\n")
    );

    let (reader, writer) = (bench.world.nas.reader_key().key, bench.world.nas.writer_key().key);
    let signing = std::fs::read_to_string(bench.world.config().with_file_name("audit-signing.key")).unwrap();
    let signing = signing.trim().rsplit('+').next().unwrap().to_owned();
    let secrets = [
        ("the log's signing key", signing),
        ("our credentials at the provider", format!("us:{CLIENT_SECRET}")),
        ("the access token", alice.token.unwrap()),
        ("another access token", bob.token.unwrap()),
        ("the reader's API key", reader),
        ("the writer's API key", writer),
        ("the HMAC key", HMAC_KEY.to_owned()),
        ("the password", PASSWORD.to_owned()),
        ("the cookie", COOKIE.to_owned()),
        ("the client secret", CLIENT_SECRET.to_owned()),
    ];
    let mut written = vec![("an answer".to_owned(), said)];
    written.extend(files(&bench.world.audit_dir()));
    written.push(("the log".to_owned(), bench.log().into_bytes()));
    assert!(bench.log().lines().count() > 10, "the log has nothing in it to look at");
    assert_nowhere(&secrets, &written);
}

/// Panics where one of the secrets is in what was written, as it is or encoded.
fn assert_nowhere(secrets: &[(&str, String)], written: &[(String, Vec<u8>)]) {
    use base64::Engine as _;
    for (what, secret) in secrets {
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
        for (place, bytes) in written {
            // What the caller asked for by name is repeated to the caller, and to nobody else.
            let told = *what == "the password" && place == "an answer";
            for form in [secret.as_bytes(), base64.as_bytes()] {
                assert!(told || !contains(bytes, form), "{what} is in {place}");
            }
        }
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (format!("the audit log's {}", path.display()), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn the_shipped_program_has_nothing_of_the_simulator_in_it() {
    // Said by the simulator's TSIDP, tailscaled and NAS, and by nobody else.
    let words = [
        "TSIDP double",
        "tailscaled double",
        "this is not HTTP",
        "resource validation failed",
        "requested resource not in original grant",
        "tailnas-sim",
        "truenas_admin",
        "an hmac key for the simulated neighbourhood alone",
    ];
    let demo = std::fs::read(program()).unwrap();
    let shipped = std::fs::read(env!("CARGO_BIN_EXE_tailnas")).unwrap();
    let (demo, shipped) = (String::from_utf8_lossy(&demo), String::from_utf8_lossy(&shipped));
    assert!(shipped.contains("tailnas.dev/audit"), "this is not the program");
    for word in words {
        assert!(demo.contains(word), "not even the demo says {word:?}");
        assert!(!shipped.contains(word), "the shipped program says {word:?}");
    }
}
