//! Secrets, planted where a daemon meets them, are looked for in everything it says and writes.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::fault::Fault;
use tailnas_sim::nas::Generation;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, World};

use crate::common::{Bench, program, shipped};

/// In the arguments of a tool.
const PASSWORD: &str = "planted-password-5hK2";
/// In a cookie.
const COOKIE: &str = "planted-cookie-9vQ7";
/// Ours at the provider, and repeated by it in its errors.
const CLIENT_SECRET: &str = "planted-client-secret-3xT8";
/// The key that the audit log hashes under.
const HMAC_KEY: &str = "planted-hmac-key-for-the-audit-log-0123456789";

/// What came back, with all its headers.
#[derive(Default)]
struct Heard(Vec<u8>);

impl Heard {
    fn hear(&mut self, answer: Answer) {
        self.0.extend(format!("{} {:?}", answer.status, answer.headers).into_bytes());
        self.0.extend(answer.body);
    }
}

/// What is called what, and what it is.
type Named = Vec<(String, Vec<u8>)>;

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_nowhere() {
    let mut bench = talkative().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let mut heard = Heard::default();
    // All goes well, and everything that can go wrong does.
    requests_go_wrong(&alice, &mut heard).await;
    calls_go_wrong(&alice, &bob, &mut heard).await;
    let link = a_passkey_is_enrolled(&bench, &alice, &mut heard).await;
    neighbours_go_wrong(&bench, &alice, &mut heard).await;
    let at = bench.world.metrics_address();
    let looker = Client { server: at, host: at.to_string(), token: None, ..alice.clone() };
    for path in ["/metrics", "/healthz", "/readyz", "/readyz/homenas", "/nothing"] {
        heard.hear(looker.send(Method::GET, path, &[], "").await.unwrap());
    }
    let mut told = Vec::new();
    while let Ok(Ok(message)) = tokio::time::timeout(Duration::from_millis(200), bench.daemon.told()).await {
        told.extend(message.into_bytes());
    }
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
        ("the maintenance account's API key", bench.world.nas.maintenance_key().key),
        ("the HMAC key", HMAC_KEY.to_owned()),
        ("the password", PASSWORD.to_owned()),
        ("the cookie", COOKIE.to_owned()),
        ("the client secret", CLIENT_SECRET.to_owned()),
        ("the link to enrol a passkey", link),
    ];
    let (kept, mut written) = files(bench.dir.path());
    assert!(bench.log().lines().count() > 10, "the log has nothing in it to look at");
    for (place, least) in [("daemon.log", 1), ("audit/", 2), ("state/", 1)] {
        let found = written.iter().filter(|(name, _)| name.starts_with(place)).count();
        assert!(found >= least, "{found} files {place}");
    }
    written.extend([("an answer".to_owned(), heard.0), ("what systemd is told".to_owned(), told)]);
    // Not the demo's, in which the simulator keeps what it is to know.
    written.push(("the program".to_owned(), std::fs::read(shipped()).unwrap()));
    assert_nowhere(&secrets, &written);
    // The way of looking finds what is there: each file that is for a secret has one of these.
    for (file, bytes) in &kept {
        let found = secrets.iter().any(|(_, secret)| is_in(&String::from_utf8_lossy(bytes), secret));
        assert!(found, "no secret is found in {file}");
    }
    assert_eq!(kept.len(), 6, "{:?}", kept.iter().map(|(file, _)| file).collect::<Vec<_>>());
}

/// A daemon with planted keys, as talkative as it can be made.
async fn talkative() -> Bench {
    // Browsers have passkeys for names alone, and so there are links to enrol one.
    let dir = tempfile::Builder::new().prefix("tailnas-test-").tempdir().unwrap();
    let world = World::start_as("localhost", dir.path(), 0, Generation::V25_10).await.unwrap();
    world.write("audit-hmac.key", HMAC_KEY).unwrap();
    world.write("client.secret", CLIENT_SECRET).unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let secret = world.config().with_file_name("client.secret");
    let client = format!("[provider.client]\nid = \"us\"\nsecret = \"file:{}\"", secret.display());
    world.write("config.toml", &format!("{config}\n{client}\n\n[log]\nfilter = \"trace\"\n")).unwrap();
    let bench = Bench::of(dir, world).await;
    bench.nas_is_up().await;
    bench
}

async fn requests_go_wrong(alice: &Client, heard: &mut Heard) {
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
            heard.hear(alice.send(Method::POST, path, &headers, body).await.unwrap());
        }
    }
}

async fn calls_go_wrong(alice: &Client, bob: &Client, heard: &mut Heard) {
    let password = json!({ "dataset": "tank/photos", "name": PASSWORD, "password": PASSWORD });
    for tool in ["snapshot_create", "pools_list", "whoami", "no_such_tool"] {
        heard.hear(alice.call(tool, password.clone()).await.unwrap());
        heard.hear(bob.call(tool, password.clone()).await.unwrap());
    }
    let kept = json!({ "dataset": "tank/photos", "name": "kept" });
    heard.hear(alice.call("snapshot_create", kept).await.unwrap());
    let thief = Client { from: IpAddr::V4(BOB.address), ..alice.clone() };
    heard.hear(thief.call("whoami", json!({})).await.unwrap());
}

/// As far as that goes without an authenticator. The secret of the link.
async fn a_passkey_is_enrolled(bench: &Bench, alice: &Client, heard: &mut Heard) -> String {
    let link = invitation(bench);
    let origin = bench.world.origin();
    let headers = [("content-type", "application/json"), ("origin", origin.as_str())];
    for (path, mut sent, expected) in [
        ("/console/enroll/begin", json!({ "secret": format!("{link}x") }), false),
        ("/console/enroll/begin", json!({ "form": link, "secret": link }), false),
        ("/console/enroll/begin", json!({ "secret": link, "label": "Laptop" }), true),
        ("/console/enroll/finish", json!({ "ceremony": link, "answer": { "id": link } }), false),
    ] {
        let page = alice.send(Method::GET, &format!("/console/enroll?secret={link}"), &[], "").await.unwrap();
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        let form = html.split_once("name=\"form\" value=\"").unwrap().1.split('"').next().unwrap();
        if path.ends_with("begin") && sent["form"].is_null() {
            sent["form"] = json!(form);
        }
        heard.hear(page);
        let answer = alice.send(Method::POST, path, &headers, sent.to_string()).await.unwrap();
        assert_eq!(answer.status == 200, expected, "{path}: {}", String::from_utf8_lossy(&answer.body));
        heard.hear(answer);
    }
    link
}

async fn neighbours_go_wrong(bench: &Bench, alice: &Client, heard: &mut Heard) {
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
        heard.hear(bench.client(ALICE).call("whoami", json!({})).await.unwrap());
        bench.world.tsidp.faults().clear();
    }
    for fault in [Fault::Garbage, Fault::HalfFrame, Fault::Drop] {
        bench.world.nas.faults_of("pool.query").once(fault);
        heard.hear(alice.call("pools_list", json!({})).await.unwrap());
        bench.nas_is_up().await;
    }
    bench.world.tailnet.revoke(IpAddr::V4(ALICE.address), CAPABILITY);
    let not = json!({ "dataset": "tank/photos", "name": "not" });
    heard.hear(alice.call("snapshot_create", not).await.unwrap());
    bench.world.tsidp.stop().await;
    heard.hear(bench.client(ALICE).call("whoami", json!({})).await.unwrap());
    bench.world.local_api.stop().await;
    heard.hear(alice.call("whoami", json!({})).await.unwrap());
    bench.world.nas.stop().await;
}

/// The secret of a link with which alice could enrol a passkey, made as root makes one.
fn invitation(bench: &Bench) -> String {
    let made = std::process::Command::new(shipped())
        .args(["passkey", "enroll", "alice@example.com", "--config"])
        .arg(bench.world.config())
        .output()
        .unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    said.split_once('#').unwrap().1.lines().next().unwrap().to_owned()
}

/// Panics where one of the secrets is in what was written, as it is or encoded.
fn assert_nowhere(secrets: &[(&str, String)], written: &[(String, Vec<u8>)]) {
    for (place, bytes) in written {
        let text = String::from_utf8_lossy(bytes);
        for (what, secret) in secrets {
            // What the caller asked for by name is repeated to the caller, and to nobody else.
            let told = *what == "the password" && place == "an answer";
            assert!(told || !is_in(&text, secret), "{what} is in {place}");
        }
    }
}

fn is_in(text: &str, secret: &str) -> bool {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    text.contains(secret) || text.contains(&base64)
}

/// Every file in `dir`, named from there: those that are for secrets, and all the others.
fn files(dir: &Path) -> (Named, Named) {
    let mut folders = vec![dir.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(dir).unwrap().display().to_string();
                found.push((name, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    let is_for_a_secret =
        |name: &str| Path::new(name).extension().is_some_and(|ending| ending == "key" || ending == "secret");
    found.into_iter().partition(|(name, _)| is_for_a_secret(name))
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
        "an hmac key for the simulated neighbourhood alone",
    ];
    let demo = std::fs::read(program()).unwrap();
    let shipped = std::fs::read(shipped()).unwrap();
    let (demo, shipped) = (String::from_utf8_lossy(&demo), String::from_utf8_lossy(&shipped));
    assert!(shipped.contains("tailnas.dev/audit"), "this is not the program");
    for word in words {
        assert!(demo.contains(word), "not even the demo says {word:?}");
        assert!(!shipped.contains(word), "the shipped program says {word:?}");
    }
}
