//! The kept connection, against a small NAS behind TLS on a loopback port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::methods::{Method as _, snapshot, system};
use super::rpc::other_end::{OtherEnd, accept_key};
use super::*;
use crate::config::{Login, Pin, Trust};
use crate::domain::access::{Read, Write};
use crate::lifecycle::Deaths;
use crate::secret::SecretSource;

/// A NAS that knows as much as these tests need.
struct TinyNas {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    pem: String,
    world: Arc<World>,
    _tasks: JoinSet<()>,
}

struct World {
    versions: Mutex<&'static str>,
    verdict: Mutex<Value>,
    mechanisms: Mutex<Vec<&'static str>>,
    /// User and method of every call.
    heard: Mutex<Vec<(String, String)>>,
    /// Connections that got through TLS.
    arrivals: Mutex<usize>,
    kick: Notify,
}

const GOLDEYE: &str = r#"["v25.04.2", "v25.10.0", "v25.10.5"]"#;
const HALFMOON: &str = r#"["v25.10.5", "v26.0.0"]"#;

impl TinyNas {
    async fn start(versions: &'static str, verdict: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(World {
            versions: Mutex::new(versions),
            verdict: Mutex::new(json!({"response_type": verdict})),
            mechanisms: Mutex::new(vec!["API_KEY_PLAIN"]),
            heard: Mutex::default(),
            arrivals: Mutex::default(),
            kick: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let there = Arc::clone(&world);
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                guests.spawn(receive(acceptor.clone(), tcp, Arc::clone(&there)));
            }
        });
        Self { address, pem: certificate.pem(), certificate: certificate.der().clone(), world, _tasks: tasks }
    }

    fn pin(&self) -> Pin {
        Pin(Sha256::digest(&self.certificate).into())
    }

    fn heard(&self) -> Vec<(String, String)> {
        self.world.heard.lock().unwrap().clone()
    }

    fn logins(&self) -> usize {
        self.heard().iter().filter(|(_, method)| method == "auth.login_ex").count()
    }
}

async fn receive(acceptor: TlsAcceptor, tcp: TcpStream, world: Arc<World>) {
    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
    *world.arrivals.lock().unwrap() += 1;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    if head.starts_with("GET /api/versions ") {
        let body = *world.versions.lock().unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    assert!(head.starts_with("GET /api/current "), "{head}");
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = accept_key(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut socket = OtherEnd::on(stream).await;
    let mut user = String::new();
    loop {
        let call = tokio::select! {
            () = world.kick.notified() => return,
            call = socket.listen() => call,
        };
        let Some(call) = call else { return };
        if let Some(username) = call["params"][0]["username"].as_str() {
            username.clone_into(&mut user);
        }
        let method = call["method"].as_str().unwrap().to_owned();
        let result = match method.as_str() {
            "auth.login_ex" => {
                if call["params"][0]["mechanism"] == "API_KEY_PLAIN" {
                    assert_eq!(call["params"][0]["api_key"], "1-secret");
                } else {
                    assert!(!call.to_string().contains("secret"), "{call}");
                }
                world.verdict.lock().unwrap().clone()
            }
            "auth.mechanism_choices" => json!(*world.mechanisms.lock().unwrap()),
            "privilege.become_readonly" => Value::Null,
            "system.version" => json!("TrueNAS-Tiny"),
            "system.ready" => json!(true),
            "pool.snapshot.create" => json!({"id": "tank/photos@before-upgrade"}),
            other => panic!("{other}"),
        };
        world.heard.lock().unwrap().push((user.clone(), method));
        socket.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": result})).await;
    }
}

/// The client, and what must outlive it.
struct Client {
    nas: Nas,
    folder: TempDir,
    lifecycle: Lifecycle,
    _deaths: Deaths,
}

impl Client {
    fn start(address: SocketAddr, trust: impl FnOnce(&TempDir) -> Trust) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, address, trust(&folder));
        let clock = Clock::system();
        let (lifecycle, deaths) = Lifecycle::new(clock.clone());
        let past = PastLogins::in_folder(folder.path());
        let nas = Nas::start(&config, &past, &clock, &lifecycle).unwrap();
        Self { nas, folder, lifecycle, _deaths: deaths }
    }

    fn pinned(nas: &TinyNas) -> Self {
        let pin = nas.pin();
        Self::start(nas.address, |_| Trust::Pinned(vec![pin]))
    }

    async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut changes = self.nas.changes();
        tokio::time::timeout(Duration::from_secs(20), changes.until(wanted)).await.unwrap().unwrap()
    }

    async fn up(&self) -> (String, Version) {
        match self.until(|status| matches!(status, Status::Up { .. })).await {
            Status::Up { version, generation, .. } => (version, generation),
            other => panic!("{other:?}"),
        }
    }

    /// The reason of an attempt that has failed.
    async fn away(&self) -> String {
        let failed =
            |status: &Status| matches!(status, Status::Away { reason, .. } if reason != "not connected yet");
        match self.until(failed).await {
            Status::Away { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn reading(&self) -> Session<'static, Read> {
        Session::on(Some(self.nas.0.reader.clone()))
    }

    fn writing(&self) -> Session<'static, Write> {
        Session::on(self.nas.0.writer.clone())
    }
}

fn config(folder: &TempDir, address: SocketAddr, trust: Trust) -> config::Nas {
    let key = folder.path().join("key");
    std::fs::write(&key, "1-secret\n").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let login = |username: &str| Login { username: username.into(), key: SecretSource::File(key.clone()) };
    config::Nas {
        files: Vec::new(),
        app_datasets: Vec::new(),
        app_devices: Vec::new(),
        name: "tiny".parse().unwrap(),
        url: format!("wss://localhost:{}", address.port()).parse().unwrap(),
        trust,
        reader: login("reader"),
        writer: Some(login("writer")),
        maintenance: None,
    }
}

#[tokio::test]
async fn a_pinned_nas_is_up_with_its_version_and_the_reader_may_only_look() {
    let nas = TinyNas::start(HALFMOON, "SUCCESS").await;
    let client = Client::pinned(&nas);
    assert_eq!(client.up().await, ("TrueNAS-Tiny".into(), Version::new(26, 0, 0)));
    let methods: Vec<_> = nas.heard().into_iter().map(|(_, method)| method).collect();
    assert_eq!(
        methods,
        ["auth.mechanism_choices", "auth.login_ex", "privilege.become_readonly", "system.version"]
    );
    assert_eq!(client.reading().call(system::Ready, []).await, Ok(true));
}

#[tokio::test]
async fn a_nas_is_trusted_by_its_ca_file() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let client = Client::start(nas.address, |folder| {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &nas.pem).unwrap();
        Trust::CaFile(file)
    });
    assert_eq!(client.up().await.1, Version::new(25, 10, 5));
    // There is no way to give up writing before 26.
    assert!(nas.heard().iter().all(|(_, method)| method != "privilege.become_readonly"));
    drop(client.folder);
}

#[tokio::test]
async fn another_certificate_gets_not_one_byte_from_us() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let client = Client::start(nas.address, |_| Trust::Pinned(vec![Pin([7; 32])]));
    let reason = client.away().await;
    assert!(reason.contains("not pinned") && reason.contains(&hex::encode(nas.pin().0)), "{reason}");
    let client = Client::start(nas.address, |_| Trust::System);
    assert!(client.away().await.contains("not accepted"));
    assert_eq!((*nas.world.arrivals.lock().unwrap(), nas.logins()), (0, 0));
}

#[tokio::test]
async fn a_refused_login_is_not_tried_again() {
    let nas = TinyNas::start(GOLDEYE, "AUTH_ERR").await;
    let client = Client::pinned(&nas);
    client.until(|status| matches!(status, Status::LoginRefused { .. })).await;
    for _ in 0..3 {
        let error = client.reading().call(system::Ready, []).await.unwrap_err();
        assert!(matches!(error, NasError::LoginRefused { .. }), "{error:?}");
    }
    // Longer than the first pauses before another attempt would be.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(nas.logins(), 1);
}

#[tokio::test]
async fn a_login_without_the_proof_that_goes_with_it_is_none() {
    let nas = TinyNas::start(HALFMOON, "SUCCESS").await;
    *nas.world.mechanisms.lock().unwrap() = vec!["API_KEY_PLAIN", "SCRAM"];
    let client = Client::pinned(&nas);
    match client.until(|status| matches!(status, Status::LoginRefused { .. })).await {
        Status::LoginRefused { reason, .. } => assert!(reason.contains("SCRAM"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lost_connection_comes_back_and_asks_for_the_version_again() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let client = Client::pinned(&nas);
    assert_eq!(client.up().await.1, Version::new(25, 10, 5));
    *nas.world.versions.lock().unwrap() = HALFMOON;
    nas.world.kick.notify_waiters();
    client.until(|status| matches!(status, Status::Away { .. })).await;
    assert_eq!(client.reading().call(system::Ready, []).await, Ok(true));
    assert_eq!(client.up().await.1, Version::new(26, 0, 0));
}

#[tokio::test]
async fn the_writer_logs_in_when_the_first_change_is_made() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let client = Client::pinned(&nas);
    client.up().await;
    assert_eq!(client.reading().call(system::Ready, []).await, Ok(true));
    assert!(nas.heard().iter().all(|(user, _)| user == "reader"));
    let made = client.writing().call(snapshot::Create, snapshot::Create::example()).await.unwrap();
    assert_eq!(made.id, "tank/photos@before-upgrade");
    let writer = |method: &str| ("writer".to_owned(), method.to_owned());
    assert!(nas.heard().contains(&writer("pool.snapshot.create")));
    assert!(matches!(client.nas.writer_status(), Some(Status::Up { .. })));
}

#[tokio::test]
async fn what_is_no_truenas_or_too_old_is_told_apart() {
    for (versions, says) in [
        ("[]", "no version that we understand"),
        (r#"["v24.10.0"]"#, "too old"),
        ("<html>", "is this a TrueNAS?"),
    ] {
        let nas = TinyNas::start(versions, "SUCCESS").await;
        let reason = Client::pinned(&nas).away().await;
        assert!(reason.contains(says), "{reason}");
        assert_eq!(nas.logins(), 0);
    }
}

#[tokio::test]
async fn a_call_while_the_nas_is_off_says_so_within_seconds() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let client = Client::start(nobody, |_| Trust::Pinned(vec![Pin([7; 32])]));
    let call = client.reading();
    let call = call.call(system::Ready, []);
    let error = tokio::time::timeout(Duration::from_secs(5), call).await.unwrap().unwrap_err();
    assert!(matches!(&error, NasError::Away { reason, .. } if reason.contains("no connection")), "{error:?}");
}

#[tokio::test]
async fn the_services_end_when_they_are_told_to() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let client = Client::pinned(&nas);
    client.up().await;
    client.lifecycle.end();
    assert!(client.lifecycle.services_done(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn the_presented_pin_is_that_of_the_certificate() {
    let nas = TinyNas::start(GOLDEYE, "SUCCESS").await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, nas.address, Trust::System);
    assert_eq!(presented_pin(&config).await.unwrap(), nas.pin());
    assert_eq!(nas.logins(), 0);
}

/// Time as tokio tells it, which a test can let pass at once.
struct Paused(tokio::time::Instant);

impl crate::clock::Tell for Paused {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn mono(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_nas_that_is_away_for_hours_is_no_loop_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let clock = Clock::from_tell(Paused(tokio::time::Instant::now()));
    let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
    let past = PastLogins::in_folder(folder.path());
    let _nas = Nas::start(&config(&folder, address, Trust::System), &past, &clock, &lifecycle).unwrap();
    for _ in 0..3 * 3600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(lifecycle.silent(), None);
    }
}

/// A clock that a test turns.
#[derive(Clone, Default)]
struct Hand(Arc<std::sync::atomic::AtomicU64>);

impl crate::clock::Tell for Hand {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn mono(&self) -> Duration {
        Duration::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// What it beats is not a timer beside the loop: where the loop is stuck, there is no sign of life.
#[test]
fn a_loop_that_hangs_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hand = Hand::default();
    let clock = Clock::from_tell(hand.clone());
    let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
    let past = PastLogins::in_folder(folder.path());
    let nas = Nas::start(&config(&folder, address, Trust::System), &past, &clock, &lifecycle).unwrap();
    let mut changes = nas.changes();
    runtime.block_on(
        changes
            .until(|status| matches!(status, Status::Away { reason, .. } if reason != "not connected yet")),
    );
    let wait = || hand.0.fetch_add(2 * LONGEST_SILENCE.as_secs(), std::sync::atomic::Ordering::Relaxed);
    // As long as it goes round, time may wait: the next round is a sign of life.
    wait();
    let alive = || lifecycle.silent().is_none();
    assert!((0..200).any(|_| alive() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    // Whoever looks at its state and does not look away keeps it from going on at its next attempt.
    let held = changes.0.borrow();
    let stuck = (0..20).any(|_| {
        wait();
        // Longer than it takes a loop that goes round to beat once.
        std::thread::sleep(connection::BEAT + Duration::from_secs(1));
        lifecycle.silent() == Some("NAS connection")
    });
    assert!(stuck, "it is stuck and called alive");
    drop(held);
    assert!((0..200).any(|_| alive() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    lifecycle.end();
}
