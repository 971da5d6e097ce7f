//! The simulated TrueNAS, spoken to as any client on the network would.

#![expect(clippy::expect_used, clippy::panic, reason = "what is not as it should be ends a test")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tailnas_sim::fault::Fault;
use tailnas_sim::nas::{ApiKey, Generation, JobState, Level, Nas, NasOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use Generation::{V25_04, V25_10, V26};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn dial(nas: &Nas) -> Box<dyn Stream> {
    let tcp = TcpStream::connect(nas.address()).await.expect("the simulator listens");
    if nas.ca_pem().is_empty() {
        return Box::new(tcp);
    }
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(nas.ca_pem().as_bytes()).expect("the CA is PEM");
    roots.add(ca).expect("the CA is a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    Box::new(tls.expect("the certificate is good for the address"))
}

struct Client {
    socket: WebSocketStream<Box<dyn Stream>>,
    id: u64,
    /// Notifications that came while an answer was awaited.
    events: Vec<Value>,
}

impl Client {
    async fn connect(nas: &Nas) -> Self {
        Self::route(nas, "/api/current").await.expect("the route exists")
    }

    async fn route(nas: &Nas, route: &str) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let url = nas.url().replace("/api/current", route);
        let (socket, _) = tokio_tungstenite::client_async(url, dial(nas).await).await?;
        Ok(Self { socket, id: 0, events: Vec::new() })
    }

    async fn login(nas: &Nas, key: &ApiKey) -> Self {
        let mut client = Self::connect(nas).await;
        assert_eq!(client.log_in(key).await["response_type"], "SUCCESS");
        client
    }

    async fn log_in(&mut self, key: &ApiKey) -> Value {
        let data = json!({"mechanism": "API_KEY_PLAIN", "username": key.username, "api_key": key.key});
        self.ok("auth.login_ex", json!([data])).await
    }

    async fn text(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("the connection is open");
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.text(request.to_string()).await;
        self.id
    }

    /// The next message, or what the server said when it closed.
    async fn next(&mut self) -> Result<Value, Option<(u16, String)>> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.socket.next());
            match next.await.expect("something happens within ten seconds") {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|_| Some((0, text.to_string())));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    async fn answer(&mut self, id: &Value) -> Value {
        loop {
            let message = self.next().await.expect("the connection stays open");
            if message.get("id") == Some(id) {
                return message;
            }
            self.events.push(message);
        }
    }

    async fn event(&mut self) -> Value {
        if self.events.is_empty() {
            self.next().await.expect("the connection stays open")
        } else {
            self.events.remove(0)
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.answer(&id.into()).await
    }

    async fn ok(&mut self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        answer.get("result").cloned().unwrap_or_else(|| panic!("{method}: {answer}"))
    }

    async fn error(&mut self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        answer.get("error").cloned().unwrap_or_else(|| panic!("{method} should fail: {answer}"))
    }
}

async fn nas(generation: Generation) -> Nas {
    let options = NasOptions { generation, ..NasOptions::default() };
    let nas = Nas::start(options).await.expect("a loopback port is free");
    nas.state(|state| state.pace.scrub_step = Duration::from_millis(5));
    nas
}

async fn http_get(nas: &Nas, path: &str) -> String {
    let mut stream = dial(nas).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
    let mut response = String::new();
    // The end of a TLS stream without a farewell is an end nevertheless.
    let _ = stream.read_to_string(&mut response).await;
    response
}

#[tokio::test]
async fn http_tells_the_versions_and_from_25_10_on_the_boot() {
    for (generation, newest) in [(V25_04, "v25.04.2"), (V25_10, "v25.10.5"), (V26, "v26.0.0")] {
        let nas = nas(generation).await;
        let versions = http_get(&nas, "/api/versions").await;
        assert!(versions.starts_with("HTTP/1.1 200"), "{versions}");
        assert!(versions.contains(newest) && !versions.contains("v24.10"), "{versions}");
        let boot = http_get(&nas, "/api/boot_id").await;
        let expected = if generation == V25_04 { "HTTP/1.1 404" } else { "HTTP/1.1 200" };
        assert!(boot.starts_with(expected), "{boot}");
        assert!(Client::route(&nas, "/api/v27.0.0").await.is_err());
        assert!(Client::route(&nas, &format!("/api/{newest}")).await.is_ok());
    }
}

#[tokio::test]
async fn what_is_not_a_call_is_answered_as_json_rpc_says() {
    let nas = nas(V25_10).await;
    let mut client = Client::connect(&nas).await;
    let rows = [
        ("nonsense", json!(null), -32700, "Expecting value: line 1 column 2 (char 1)"),
        ("[]", json!(null), -32700, "Batch messages are not supported at this time"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{}}"#,
            json!(1),
            -32600,
            "'params' member must be of type array",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"core.ping"}"#,
            json!(null),
            -32600,
            "'id' member must be of type null, integer or string",
        ),
        (r#"{"jsonrpc":"2.0","id":"a","method":"no.such"}"#, json!("a"), -32601, "Method does not exist"),
    ];
    for (text, id, code, message) in rows {
        client.text(text).await;
        let answer = client.answer(&id).await;
        assert_eq!(answer["error"], json!({"code": code, "message": message}), "{text}");
    }
    client.text(r#"{"jsonrpc":"2.0","id":null,"method":"core.ping"}"#).await;
    assert_eq!(client.answer(&Value::Null).await["result"], "pong");
    // Neither of these is answered, so the next answer is the ping's.
    client.text(r#"{"jsonrpc":"2.0","method":"core.ping"}"#).await;
    client.text(r#"{"jsonrpc":"1.0","method":"core.ping"}"#).await;
    let id = client.send("core.ping", json!([])).await;
    assert_eq!(client.next().await.expect("an answer")["id"], id);
}

#[tokio::test]
async fn messages_of_the_wrong_kind_or_size_end_the_connection() {
    let nas = nas(V25_10).await;
    let call = |length: usize| {
        let empty =
            json!({"jsonrpc": "2.0", "id": 1, "method": "core.ping", "params": [], "x": ""}).to_string();
        empty.replace(r#""x":"""#, &format!(r#""x":"{}""#, "é".repeat(length - empty.chars().count())))
    };

    let mut client = Client::connect(&nas).await;
    client.socket.send(Message::binary(vec![1])).await.expect("the connection is open");
    let closed = client.next().await.expect_err("binary frames are refused").expect("a close frame");
    assert_eq!(closed.0, 1003);
    assert!(closed.1.starts_with("Invalid websocket message type"), "{closed:?}");

    let mut client = Client::connect(&nas).await;
    client.text(call(8192)).await;
    assert_eq!(client.answer(&1.into()).await["result"], "pong");
    client.text(call(8193)).await;
    let closed = client.next().await.expect_err("too long");
    assert_eq!(closed, Some((1007, "Anonymous connection max message length is 8 kB".to_owned())));

    let mut client = Client::login(&nas, &nas.reader_key()).await;
    client.text(call(65536)).await;
    assert_eq!(client.answer(&1.into()).await["result"], "pong");
    client.text(call(65537)).await;
    let closed = client.next().await.expect_err("too long");
    assert_eq!(closed, Some((1009, "Max message length is 64 kB".to_owned())));
}

#[tokio::test]
async fn an_error_has_the_shape_of_its_generation() {
    for generation in [V25_04, V25_10, V26] {
        let nas = nas(generation).await;
        let mut client = Client::connect(&nas).await;
        let error = client.error("system.info", json!([])).await;
        assert_eq!(error["code"], -32001);
        assert_eq!(error["message"], "Method call error");
        let data = &error["data"];
        assert_eq!(data["error"], 207);
        assert_eq!(data["errname"], "ENOTAUTHENTICATED");
        assert_eq!(data["reason"], "[ENOTAUTHENTICATED] Not authenticated");
        assert_eq!(data["trace"]["class"], "CallError");
        assert_eq!(data["trace"].get("frames").is_some(), generation < V26);
        assert_eq!(data["extra"], Value::Null);
    }
}

#[tokio::test]
async fn arguments_are_checked_strictly() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.admin_key()).await;
    let long = "x".repeat(1025);
    let rows = [
        ("pool.query", json!([[], {"limit": "5"}]), "options.limit", "Input should be a valid integer"),
        ("pool.query", json!([[], {"limitx": 5}]), "options.limitx", "Extra inputs are not permitted"),
        ("pool.query", json!([[["name", "like", "x"]]]), "filters", "Value error, Invalid operation: like"),
        ("pool.query", json!([{}]), "filters", "Input should be a valid list"),
        ("system.info", json!([1, 2]), "", "Too many arguments (expected 0, found 2)"),
        ("pool.scrub.scrub", json!([]), "name", "Field required"),
        ("pool.scrub.scrub", json!(["tank", "GO"]), "action", "Input should be 'START', 'STOP' or 'PAUSE'"),
        ("core.job_abort", json!(["5"]), "id", "Input should be a valid integer"),
        ("pool.snapshot.create", json!([{"name": "x"}]), "data.dataset", "Field required"),
        (
            "pool.snapshot.create",
            json!([{"dataset": "", "name": "x"}]),
            "data.dataset",
            "String should have at least 1 character",
        ),
        (
            "pool.snapshot.create",
            json!([{"dataset": "tank", "name": long}]),
            "data.name",
            "String should have at most 1024 characters",
        ),
        (
            "pool.snapshot.create",
            json!([{"dataset": "tank", "name": "a@b"}]),
            "data.name",
            "Invalid snapshot name",
        ),
    ];
    for (method, params, attribute, message) in rows {
        let error = client.error(method, params).await;
        assert_eq!(error["code"], -32602, "{method}");
        assert_eq!(error["data"]["extra"], json!([[attribute, message, 22]]), "{method}");
        assert_eq!(error["data"]["reason"], format!("[EINVAL] {attribute}: {message}\n"), "{method}");
    }
    let error = client.error("core.job_abort", json!([99])).await;
    assert_eq!(error["data"]["extra"], json!([[null, "Job with id 99 does not exist", 2]]));
    let error = client.error("pool.query", json!([[["id", "=", 99]], {"get": true}])).await;
    assert_eq!(error["data"]["reason"], "MatchNotFound()");
    assert_eq!(error["code"], -32001);
}

#[tokio::test]
async fn the_twenty_first_call_in_flight_is_turned_away() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.reader_key()).await;
    nas.faults().always(Fault::Slow(Duration::from_millis(300)));
    let mut last = 0;
    for _ in 0..21 {
        last = client.send("core.ping", json!([])).await;
    }
    let first_answer = client.next().await.expect("an answer");
    assert_eq!(first_answer["id"], last);
    assert_eq!(
        first_answer["error"],
        json!({"code": -32000, "message": "Maximum number of concurrent calls (20) has exceeded"})
    );
    for _ in 0..20 {
        assert_eq!(client.next().await.expect("an answer")["result"], "pong");
    }
    nas.faults().clear();
    assert_eq!(client.ok("core.ping", json!([])).await, "pong");
}

#[tokio::test]
async fn answers_overtake_each_other() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.reader_key()).await;
    nas.faults_of("system.version").once(Fault::Slow(Duration::from_millis(200)));
    let slow = client.send("system.version", json!([])).await;
    let quick = client.send("core.ping", json!([])).await;
    assert_eq!(client.next().await.expect("an answer")["id"], quick);
    assert_eq!(client.next().await.expect("an answer")["id"], slow);
}

#[tokio::test]
async fn a_key_logs_in_with_the_name_it_belongs_to() {
    for generation in [V25_04, V25_10, V26] {
        let nas = nas(generation).await;
        let mut client = Client::connect(&nas).await;
        let success = client.log_in(&nas.reader_key()).await;
        assert_eq!(success["user_info"]["pw_name"], nas.reader_key().username);
        assert_eq!(success.get("reconnect_token").is_some(), generation == V26);
        assert_eq!(client.ok("auth.me", json!([])).await, success["user_info"]);
        assert_eq!(client.ok("auth.logout", json!([])).await, true);
        assert_eq!(client.error("auth.me", json!([])).await["data"]["errname"], "ENOTAUTHENTICATED");

        let mut client = Client::connect(&nas).await;
        let stranger = ApiKey { username: "somebody".to_owned(), ..nas.reader_key() };
        assert_eq!(client.log_in(&stranger).await, json!({"response_type": "AUTH_ERR"}));
        let nameless = json!([{"mechanism": "API_KEY_PLAIN", "api_key": "1-x"}]);
        let error = client.error("auth.login_ex", nameless).await;
        let field = "login_data.API_KEY_PLAIN.username";
        assert_eq!(error["data"]["extra"], json!([[field, "Field required", 22]]));
        if generation == V25_04 {
            let key = nas.reader_key();
            let data = json!({"mechanism": "API_KEY_PLAIN", "username": key.username, "api_key": key.key});
            let error = client.error("auth.login_ex", json!([data])).await;
            let reason = "AUTH: unexpected authenticator run state. Expected: START";
            assert_eq!(error["data"]["reason"], reason);
        } else {
            assert_eq!(client.log_in(&nas.reader_key()).await["response_type"], "SUCCESS");
        }
        let answers: Vec<String> = nas.logins().into_iter().map(|login| login.answer).collect();
        assert_eq!(answers[..3], ["SUCCESS", "AUTH_ERR", "EINVAL"]);
    }
}

#[tokio::test]
async fn a_right_key_over_plain_transport_is_revoked_and_a_wrong_one_is_not() {
    let options = NasOptions { tls: false, ..NasOptions::default() };
    let nas = Nas::start(options).await.expect("a loopback port is free");
    let mut client = Client::connect(&nas).await;
    let wrong = ApiKey { key: "1-wrong".to_owned(), ..nas.reader_key() };
    assert_eq!(client.log_in(&wrong).await["response_type"], "AUTH_ERR");
    assert_eq!(client.log_in(&nas.reader_key()).await["response_type"], "EXPIRED");
    nas.state(|state| {
        state.pace.plain_loopback_is_insecure = false;
        assert!(state.alerts.iter().any(|alert| alert.klass == "ApiKeyRevoked"));
    });
    assert_eq!(client.log_in(&nas.reader_key()).await["response_type"], "AUTH_ERR");
    assert_eq!(client.log_in(&nas.writer_key()).await["response_type"], "SUCCESS");
}

#[tokio::test]
async fn who_logs_in_too_often_waits_and_is_told() {
    let nas = nas(V25_10).await;
    nas.state(|state| state.pace.rate_limit_delay = Duration::ZERO..=Duration::from_millis(1));
    let wrong = ApiKey { username: "x".to_owned(), key: "1-x".to_owned() };
    let mut client = Client::connect(&nas).await;
    for _ in 0..20 {
        assert_eq!(client.log_in(&wrong).await["response_type"], "AUTH_ERR");
    }
    // The address is counted, not the connection.
    let mut client = Client::connect(&nas).await;
    let data = json!({"mechanism": "API_KEY_PLAIN", "username": "x", "api_key": "1-x"});
    let error = client.error("auth.login_ex", json!([data])).await;
    assert_eq!(error["data"]["reason"], "[EBUSY] Rate Limit Exceeded");
    assert_eq!(client.ok("core.ping", json!([])).await, "pong");
    let later = chrono::Utc::now() + chrono::TimeDelta::seconds(61);
    nas.state(|state| state.clock = Some(later));
    assert_eq!(client.log_in(&nas.reader_key()).await["response_type"], "SUCCESS");
}

#[tokio::test]
async fn a_role_opens_what_it_says_and_nothing_else() {
    let nas = nas(V26).await;
    let (reader, writer, admin) = (nas.reader_key(), nas.writer_key(), nas.admin_key());
    let snapshot = json!([{"dataset": "tank/media", "name": "by-role"}]);
    let rows = [
        (&reader, "pool.query", json!([]), true),
        (&reader, "user.query", json!([]), true),
        (&reader, "pool.snapshot.create", snapshot.clone(), false),
        (&reader, "alert.dismiss", json!(["x"]), false),
        (&reader, "core.subscribe", json!(["pool.query"]), true),
        (&reader, "core.subscribe", json!(["*"]), false),
        (&writer, "pool.snapshot.create", snapshot, true),
        (&reader, "pool.scrub.scrub", json!(["tank"]), false),
        (&writer, "pool.scrub.scrub", json!(["tank"]), true),
        (&writer, "pool.dataset.query", json!([]), true),
        (&writer, "pool.query", json!([]), true),
        (&writer, "user.query", json!([]), false),
        (&writer, "api_key.query", json!([]), false),
        (&reader, "api_key.query", json!([]), true),
        (&admin, "pool.scrub.scrub", json!(["tank"]), true),
        (&admin, "core.subscribe", json!(["no.such.collection"]), true),
    ];
    for (key, method, params, allowed) in rows {
        let answer = Client::login(&nas, key).await.call(method, params).await;
        let refused = answer["error"]["data"]["reason"] == "[EACCES] Not authorized";
        assert_eq!(!refused, allowed, "{} {method}: {answer}", key.username);
    }
    let mut client = Client::login(&nas, &admin).await;
    client.ok("privilege.become_readonly", json!([])).await;
    let error = client.error("pool.scrub.scrub", json!(["tank"])).await;
    assert_eq!(error["data"]["errname"], "EACCES");

    let hash = json!([[["uid", "=", 3000]], {"get": true, "select": ["unixhash"]}]);
    let mut client = Client::login(&nas, &reader).await;
    assert_eq!(client.ok("user.query", hash).await["unixhash"], "********");
}

#[tokio::test]
async fn a_snapshot_that_was_taken_is_there() {
    for generation in [V25_04, V25_10] {
        let nas = nas(generation).await;
        let mut client = Client::login(&nas, &nas.writer_key()).await;
        let service = if generation == V25_04 { "zfs.snapshot" } else { "pool.snapshot" };
        let (create, query) = (format!("{service}.create"), format!("{service}.query"));
        let newest =
            |name: &'static str| json!([[["snapshot_name", "=", name]], {"order_by": ["createtxg"]}]);

        let made = client.ok(&create, json!([{"dataset": "tank/photos", "name": "now"}])).await;
        assert_eq!(client.ok(&query, newest("now")).await, json!([made]));
        let other = if generation == V25_04 { "pool.snapshot.query" } else { "zfs.snapshot.query" };
        assert_eq!(client.error(other, json!([])).await["code"], -32601);

        let again = client.error(&create, json!([{"dataset": "tank/photos", "name": "now"}])).await;
        assert_eq!(again["data"]["errname"], "EEXIST");
        let nowhere = client.error(&create, json!([{"dataset": "tank/nope", "name": "now"}])).await;
        assert_eq!(nowhere["data"]["errname"], "EFAULT");

        // One of the children has it already, so none is taken.
        let all = json!([{"dataset": "tank", "name": "now", "recursive": true}]);
        assert_eq!(client.error(&create, all).await["data"]["errname"], "EEXIST");
        assert_eq!(client.ok(&query, json!([[["name", "=", "tank@now"]], {"count": true}])).await, 0);
        let all = json!([{"dataset": "tank", "name": "all", "recursive": true}]);
        client.ok(&create, all).await;
        let names =
            json!([[["snapshot_name", "=", "all"]], {"select": ["dataset"], "order_by": ["dataset"]}]);
        let taken = client.ok(&query, names).await;
        let expected = ["tank", "tank/apps", "tank/media", "tank/photos", "tank/photos/2024", "tank/vm-disk"];
        assert_eq!(taken, expected.map(|dataset| json!({"dataset": dataset})).into_iter().collect::<Value>());
    }
}

#[tokio::test]
async fn one_is_told_of_a_snapshot_that_was_taken_or_deleted_through_the_api_and_of_no_other() {
    for generation in [V25_04, V25_10, V26] {
        let nas = nas(generation).await;
        let mut reader = Client::login(&nas, &nas.reader_key()).await;
        let mut writer = Client::login(&nas, &nas.writer_key()).await;
        let service = if generation == V25_04 { "zfs.snapshot" } else { "pool.snapshot" };
        let (create, delete, query) =
            (format!("{service}.create"), format!("{service}.delete"), format!("{service}.query"));
        reader.ok("core.subscribe", json!([query])).await;

        nas.state(|state| state.add_snapshot("tank/photos", "by-a-task"));
        let made = writer.ok(&create, json!([{"dataset": "tank/photos", "name": "now"}])).await;
        let told = reader.event().await;
        let added = json!({"msg": "added", "collection": query, "id": "tank/photos@now", "fields": made});
        assert_eq!(told["params"], added, "{generation:?}");

        writer.ok(&delete, json!(["tank/photos@now"])).await;
        let told = reader.event().await;
        let removed = json!({"msg": "removed", "collection": query, "id": "tank/photos@now"});
        assert_eq!(told["params"], removed, "{generation:?}");
    }
}

#[tokio::test]
async fn the_world_changes_under_its_clients() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.reader_key()).await;
    for collection in ["pool.query", "alert.list"] {
        client.ok("core.subscribe", json!([collection])).await;
    }
    nas.state(|state| assert!(state.degrade_pool("tank")));
    let alert = client.event().await;
    assert_eq!(alert["method"], "collection_update");
    assert_eq!(
        (&alert["params"]["msg"], &alert["params"]["collection"]),
        (&json!("added"), &json!("alert.list"))
    );
    assert_eq!(alert["params"]["fields"]["klass"], "VolumeStatus");
    let pool = client.event().await;
    assert_eq!(pool["params"]["fields"]["status"], "DEGRADED");
    assert_eq!(pool["params"]["id"], 1);

    nas.state(|state| assert!(state.set_used("backup/tank2", 0)));
    let used = json!([[["id", "=", "backup/tank2"]], {"get": true}]);
    assert_eq!(client.ok("pool.dataset.query", used).await["used"]["parsed"], 0);
    let tank = json!([[["name", "=", "tank"]], {"get": true}]);
    let tank = client.ok("pool.query", tank).await;
    let (size, allocated) =
        (tank["size"].as_f64().expect("a size"), tank["allocated"].as_f64().expect("a size"));
    assert!((61.5..62.5).contains(&(allocated / size * 100.0)), "{tank}");
}

#[tokio::test]
async fn apps_are_made_changed_and_deleted_by_jobs() {
    let nas = nas(Generation::V26).await;
    let mut client = Client::login(&nas, &nas.writer_key()).await;
    let web = json!({ "image": "nginx:1.29", "ports": ["8080:80"], "volumes": ["/mnt/tank/media:/m:ro"] });
    let web = json!([{ "app_name": "web", "custom_app": true, "custom_compose_config": { "services": { "web": web } } }]);
    let port = json!({ "network": { "web_port": { "port_number": 32401 } } });
    for (method, params, ends_well) in [
        ("app.create", web.clone(), true),
        ("app.create", web, false),
        ("app.update", json!(["plex", { "values": port }]), true),
        ("app.upgrade", json!(["plex", { "snapshot_hostpaths": true }]), true),
        ("app.upgrade", json!(["plex"]), false),
        ("app.rollback", json!(["plex", { "app_version": "1.1.20" }]), true),
        ("app.rollback", json!(["plex", { "app_version": "0.0.1" }]), false),
        ("app.pull_images", json!(["plex"]), true),
        ("app.delete", json!(["nextcloud", { "remove_images": false }]), true),
    ] {
        let job = client.ok(method, params).await.as_i64().expect("the number of a job");
        nas.wait_for(|state| state.job(job).is_some_and(|job| job.state.ended())).await;
        let well = nas.state(|state| matches!(state.job(job).expect("a job").state, JobState::Success(_)));
        assert_eq!(well, ends_well, "{method}");
    }
    nas.state(|state| {
        let app = |name: &str| state.apps.iter().find(|app| app.name == name);
        let (web, plex) = (app("web").expect("it is there"), app("plex").expect("it is there"));
        assert!(web.custom && web.image == "nginx:1.29" && web.port == Some((80, 8080)));
        assert_eq!(plex.port, Some((32400, 32401)));
        assert!(plex.version == "1.1.20" && plex.latest.as_deref() == Some("1.2.0") && !plex.newer_image);
        assert!(app("nextcloud").is_none() && state.ix_volumes.iter().any(|(of, _)| of == "nextcloud"));
        assert!(state.snapshots.iter().any(|one| one.id() == "tank/media@ix-app-plex-1.1.20"));
    });
}

#[tokio::test]
async fn an_alert_can_be_dismissed_and_restored() {
    let nas = nas(V25_10).await;
    let uuid = nas.state(|state| state.raise_alert("Test", Level::Warning, "a test"));
    let mut client = Client::login(&nas, &nas.admin_key()).await;
    for (method, dismissed) in [("alert.dismiss", true), ("alert.restore", false)] {
        client.ok(method, json!([uuid])).await;
        let alerts = client.ok("alert.list", json!([])).await;
        let alert = alerts.as_array().into_iter().flatten().find(|alert| alert["uuid"] == uuid);
        assert_eq!(alert.expect("the alert is still there")["dismissed"], dismissed);
    }
    assert_eq!(client.error("alert.dismiss", json!(["x"])).await["data"]["errname"], "ENOENT");
}

#[tokio::test]
async fn a_scrub_is_a_job_that_tells_how_far_it_is() {
    for generation in [V25_04, V25_10] {
        let nas = nas(generation).await;
        let mut client = Client::login(&nas, &nas.admin_key()).await;
        client.ok("core.subscribe", json!(["core.get_jobs"])).await;
        let request = client.send("pool.scrub.scrub", json!(["tank", "START"])).await;
        let id = client.answer(&request.into()).await["result"].clone();
        assert!(id.is_i64(), "{id}");

        let mut seen = Vec::new();
        while seen.last() != Some(&json!("SUCCESS")) {
            let event = client.event().await["params"].clone();
            assert_eq!(event["id"], id);
            assert_eq!(event["msg"], if seen.is_empty() { "added" } else { "changed" });
            let messages = event["fields"].get("message_ids");
            assert_eq!(messages, (generation > V25_04).then_some(&json!([request])));
            seen.push(event["fields"]["state"].clone());
        }
        assert_eq!(seen[..2], [json!("WAITING"), json!("RUNNING")]);
        assert!(seen.len() > 4, "there is progress in between: {seen:?}");
        let job = client.ok("core.get_jobs", json!([[["id", "=", id]], {"get": true}])).await;
        assert_eq!(job["progress"]["percent"], 100);
        let pool = client.ok("pool.query", json!([[["name", "=", "tank"]], {"get": true}])).await;
        assert_eq!(pool["scan"]["state"], "FINISHED");
    }
}

#[tokio::test]
async fn without_legacy_jobs_the_answer_is_the_jobs_result() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.admin_key()).await;
    let options = client.ok("core.set_options", json!([{"legacy_jobs": false, "other": 1}])).await;
    assert_eq!(options, json!({"legacy_jobs": false, "private_methods": false, "py_exceptions": false}));
    assert_eq!(client.ok("pool.scrub.scrub", json!(["tank2"])).await, Value::Null);
    let error = client.error("pool.scrub.scrub", json!(["nope"])).await;
    assert_eq!(error["data"]["reason"], "[EFAULT] cannot open 'nope': no such pool");

    let old = self::nas(V25_04).await;
    let mut client = Client::login(&old, &old.admin_key()).await;
    assert_eq!(client.ok("core.set_options", json!([{"legacy_jobs": false}])).await, Value::Null);
    assert!(client.ok("pool.scrub.scrub", json!(["tank2"])).await.is_i64());
}

#[tokio::test]
async fn a_job_is_seen_and_aborted_by_its_owner_only() {
    let nas = nas(V25_10).await;
    nas.state(|state| state.pace.scrub_step = Duration::from_hours(1));
    let key = nas.state(|state| state.add_account("scrubber", &["POOL_WRITE"]));
    let mut owner = Client::login(&nas, &key).await;
    let mut reader = Client::login(&nas, &nas.reader_key()).await;
    let id = owner.ok("pool.scrub.scrub", json!(["tank"])).await;
    assert_eq!(owner.ok("core.get_jobs", json!([[], {"select": ["id"]}])).await, json!([{"id": id}]));
    assert_eq!(reader.ok("core.get_jobs", json!([])).await, json!([]));
    let error = reader.error("core.job_abort", json!([id])).await;
    assert_eq!(error["data"]["reason"], "[EPERM] Job is not owned by current session");
    assert_eq!(owner.ok("core.job_abort", json!([id])).await, Value::Null);
    let id = id.as_i64().expect("a job id");
    nas.wait_for(|state| state.job(id).is_some_and(|job| job.state == JobState::Aborted)).await;
    // The kernel goes on scrubbing.
    assert!(nas.state(|state| state.pools[0].scan.as_ref().is_some_and(|scan| scan.ended.is_none())));
}

#[tokio::test]
async fn after_a_restart_the_port_is_the_same_and_the_boot_is_not() {
    let nas = nas(V25_10).await;
    let mut client = Client::login(&nas, &nas.admin_key()).await;
    let boot = client.ok("system.boot_id", json!([])).await;
    client.ok("pool.snapshot.create", json!([{"dataset": "tank", "name": "kept"}])).await;
    nas.restart().await.expect("the port is free again");
    assert_eq!(client.next().await, Err(None));

    let mut client = Client::login(&nas, &nas.admin_key()).await;
    assert_ne!(client.ok("system.boot_id", json!([])).await, boot);
    assert_eq!(client.ok("core.get_jobs", json!([])).await, json!([]));
    assert_eq!(client.ok("pool.scrub.scrub", json!(["tank"])).await, 1);
    let kept = json!([[["id", "=", "tank@kept"]], {"count": true}]);
    assert_eq!(client.ok("pool.snapshot.query", kept).await, 1);

    nas.stop().await;
    assert!(TcpStream::connect(nas.address()).await.is_err());
}

#[tokio::test]
async fn an_upgrade_is_met_by_who_connects_after_it() {
    let nas = nas(V25_04).await;
    let mut before = Client::login(&nas, &nas.reader_key()).await;
    nas.set_generation(V26);
    let mut after = Client::login(&nas, &nas.reader_key()).await;
    assert_eq!(before.ok("system.version", json!([])).await, "TrueNAS-25.04.2");
    assert_eq!(after.ok("system.version", json!([])).await, "TrueNAS-26.0.0");

    // The old route is there, but most of it no longer works.
    let mut old = Client::route(&nas, "/api/v25.04.2").await.expect("the route is offered");
    old.log_in(&nas.reader_key()).await;
    let error = old.error("system.info", json!([])).await;
    assert_eq!(error["data"]["reason"], "[ENOMETHOD] Method 'info' not found in 'system'");
    let error = old.error("pool.query", json!([])).await;
    let reason = "API version 'v25.04.2' does not contain model 'PoolQueryResult'";
    assert_eq!(error["data"]["reason"], reason);
    assert!(old.ok("alert.list", json!([])).await.is_array());
}

#[tokio::test]
async fn each_fault_looks_as_it_is_called() {
    let nas = nas(V25_10).await;
    let writer = nas.writer_key();
    let create = |name: &str| json!([{"dataset": "tank", "name": name}]);
    let rows = [
        (Fault::Drop, "drop", false, Err(None)),
        (Fault::HalfFrame, "half", true, Err(None)),
        (Fault::Garbage, "garbage", true, Err(Some((0, "<html><h1>502 Bad Gateway</h1></html>".to_owned())))),
    ];
    for (fault, name, made, expected) in rows {
        let mut client = Client::login(&nas, &writer).await;
        nas.faults().once(fault.clone());
        client.send("pool.snapshot.create", create(name)).await;
        assert_eq!(client.next().await, expected, "{fault:?}");
        let there = nas.state(|state| state.snapshots.iter().any(|snapshot| snapshot.name == name));
        assert_eq!(there, made, "{fault:?}");
        let exchange = nas.transcript().pop().expect("the call was recorded");
        assert_eq!(exchange.method, "pool.snapshot.create");
        assert_eq!(exchange.username.as_deref(), Some(writer.username.as_str()));
        assert_eq!(exchange.outcome.is_some(), made, "{fault:?}");
    }

    let mut client = Client::login(&nas, &writer).await;
    nas.faults().once(Fault::Oversize(2 << 20));
    client.send("core.ping", json!([])).await;
    let text = client.socket.next().await.expect("a message").expect("a whole one");
    assert!(text.len() >= 2 << 20);

    nas.faults_of("system.version").once(Fault::Hang);
    client.send("system.version", json!([])).await;
    assert_eq!(client.ok("core.ping", json!([])).await, "pong");
}

#[tokio::test]
async fn mechanisms_cannot_be_listed_before_login_on_25() {
    for generation in [V25_04, V25_10, V26] {
        let nas = nas(generation).await;
        let answer = Client::connect(&nas).await.call("auth.mechanism_choices", json!([])).await;
        if generation == V26 {
            assert!(
                answer["result"].as_array().is_some_and(|choices| choices.contains(&json!("API_KEY_PLAIN")))
            );
        } else {
            let reason = "'NoneType' object has no attribute 'may_create_auth_token'";
            assert_eq!(answer["error"]["data"]["reason"], reason);
        }
    }
}

fn first_half(user: &str, key: &ApiKey) -> Value {
    let number = key.key.split('-').next().expect("a key begins with its number");
    let nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    json!({"mechanism": "SCRAM", "scram_type": "CLIENT_FIRST_MESSAGE", "rfc_str": format!("n,,n={user}:{number},r={nonce}")})
}

#[tokio::test]
async fn scram_puts_the_nonces_together_as_bytes_and_says_the_same_to_every_fault() {
    let nas = nas(V26).await;
    let key = nas.reader_key();
    let mut client = Client::connect(&nas).await;
    let challenge = client.ok("auth.login_ex", json!([first_half(&key.username, &key)])).await;
    let said = challenge["rfc_str"].as_str().expect("a challenge");
    // The text of our 32 bytes alone ends in "8=".
    assert!(said.starts_with("r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh"), "{said}");
    assert!(!said.contains("Hh8=,") && said.ends_with(",i=50000"), "{said}");
    let last =
        json!({"mechanism": "SCRAM", "scram_type": "CLIENT_FINAL_MESSAGE", "rfc_str": "c=biws,r=x,p=AAAA"});
    for half in [last.clone(), last, first_half("nobody", &key), first_half(&key.username, &nas.writer_key())]
    {
        assert_eq!(client.ok("auth.login_ex", json!([half])).await, json!({"response_type": "AUTH_ERR"}));
    }
    let old = Client::connect(&self::nas(V25_10).await)
        .await
        .error("auth.login_ex", json!([first_half("x", &key)]))
        .await;
    assert_eq!(old["code"], -32602);
}

/// Every answer against the schemas of the middleware itself.
mod schema {
    use std::path::{Path, PathBuf};

    use super::*;

    const VARIABLE: &str = "TAILNAS_API_SCHEMAS";

    /// Says so past the test runner, which keeps to itself what a test prints that passes.
    fn not_checked() {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED: {VARIABLE} names no folder with the schemas of the TrueNAS API"
        );
    }

    /// Methods that read, with arguments to call them with.
    fn reads(generation: Generation) -> Vec<(&'static str, Value)> {
        let mut reads: Vec<(&str, Value)> = [
            "system.info",
            "system.version",
            "system.ready",
            "system.boot_id",
            "core.ping",
            "core.get_jobs",
            "auth.me",
            "auth.mechanism_choices",
            "api_key.query",
            "alert.list",
            "pool.query",
            "pool.dataset.query",
            "service.query",
            "app.query",
            "sharing.smb.query",
            "sharing.nfs.query",
            "user.query",
            "disk.query",
            "disk.temperatures",
            "directoryservices.status",
            "boot.environment.query",
            "certificate.query",
            "pool.scrub.query",
            "iscsi.target.query",
            "iscsi.extent.query",
            "iscsi.targetextent.query",
            "iscsi.initiator.query",
            "iscsi.global.sessions",
            "nfs.get_nfs3_clients",
            "nfs.get_nfs4_clients",
            "boot.get_state",
            "pool.snapshottask.query",
            "replication.query",
            "cloudsync.query",
            "cloud_backup.query",
            "rsynctask.query",
            "interface.query",
            "network.general.summary",
            "group.query",
            "privilege.query",
            "audit.query",
            "app.image.query",
            "app.used_ports",
            "app.available",
            "app.ix_volume.query",
            "vm.query",
            "vm.device.query",
            "reporting.netdata_graphs",
        ]
        .map(|method| (method, json!([])))
        .to_vec();
        reads.push(("core.set_options", json!([{}])));
        reads.push(("core.subscribe", json!(["core.get_jobs"])));
        reads.push(("core.unsubscribe", json!(["x"])));
        reads.push(("filesystem.listdir", json!(["/mnt/tank/photos"])));
        reads.push(("filesystem.stat", json!(["/mnt/tank/photos/index.txt"])));
        reads.push(("filesystem.getacl", json!(["/mnt/tank/photos", true, true])));
        reads.push(("filesystem.getacl", json!(["/mnt/tank/media", true, true])));
        reads.push(("sharing.smb.getacl", json!([{"share_name": "media"}])));
        reads.push(("app.config", json!(["plex"])));
        reads.push(("app.outdated_docker_images", json!(["plex"])));
        reads.push(("app.rollback_versions", json!(["plex"])));
        reads.push((
            "reporting.netdata_get_data",
            json!([[{"name": "cpu"}, {"name": "memory"}], {"unit": "DAY"}]),
        ));
        let of_generation: &[&str] = match generation {
            V25_04 => &["zfs.snapshot.query", "update.check_available", "virt.instance.query", "smb.status"],
            V25_10 => &[
                "pool.snapshot.query",
                "update.status",
                "update.available_versions",
                "app.used_host_ips",
                "virt.instance.query",
            ],
            V26 => &[
                "pool.snapshot.query",
                "update.status",
                "update.available_versions",
                "app.used_host_ips",
                "container.query",
                "smb.status",
            ],
        };
        reads.extend(of_generation.iter().map(|method| (*method, json!([]))));
        if generation > V25_04 {
            reads.push(("disk.temperatures", json!([["sda"], true])));
        }
        reads
    }

    #[tokio::test]
    async fn every_answer_has_the_shape_the_middleware_promises() {
        let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            return not_checked();
        };
        for generation in [V25_04, V25_10, V26] {
            let schemas = load(&folder, generation);
            let methods = &schemas["methods"];
            let nas = nas(generation).await;
            let stranger = ApiKey { username: "x".to_owned(), ..nas.admin_key() };
            let failure = Client::connect(&nas).await.log_in(&stranger).await;
            check(generation, methods, "auth.login_ex", &failure);
            if generation == V26 {
                let key = nas.admin_key();
                let half = first_half(&key.username, &key);
                let challenge = Client::connect(&nas).await.ok("auth.login_ex", json!([half])).await;
                check(generation, methods, "auth.login_ex", &challenge);
            }
            let mut client = Client::connect(&nas).await;
            let success = client.log_in(&nas.admin_key()).await;
            check(generation, methods, "auth.login_ex", &success);
            check_all(generation, methods, &mut client).await;
            let summary = client.ok("app.upgrade_summary", json!(["plex"])).await;
            check(generation, methods, "app.upgrade_summary", &summary);
            check_sources(generation, &schemas, &mut client).await;
            check_accounts(generation, methods, &nas, &mut client).await;

            let service = if generation == V25_04 { "zfs" } else { "pool" };
            let create = format!("{service}.snapshot.create");
            let made = client.ok(&create, json!([{"dataset": "tank", "name": "made"}])).await;
            check(generation, methods, &create, &made);

            // Once more in a worse world, in the middle of a scrub.
            nas.state(|state| {
                state.pace.scrub_step = Duration::from_hours(1);
                state.update = Some("99.0".to_owned());
                state.degrade_pool("tank");
                state.end_job(2, JobState::Failed(14, "it broke".to_owned()));
                for app in &mut state.apps {
                    app.latest = None;
                }
            });
            let id = client.ok("pool.scrub.scrub", json!(["backup"])).await.as_i64().expect("a job id");
            nas.wait_for(|state| state.job(id).is_some_and(|job| job.state == JobState::Running)).await;
            check_all(generation, methods, &mut client).await;
            check(generation, methods, "core.job_abort", &client.ok("core.job_abort", json!([id])).await);
            check(generation, methods, "auth.logout", &client.ok("auth.logout", json!([])).await);
        }
    }

    /// The first event of each source, where the middleware publishes what it promises.
    async fn check_sources(generation: Generation, schemas: &Value, client: &mut Client) {
        if generation == V25_04 {
            return;
        }
        let id = format!("{:0>64}", hex("plex"));
        let log = json!({"app_name": "plex", "container_id": id, "tail_lines": 1});
        for (name, args) in [
            ("app.stats", json!({"interval": 2})),
            ("reporting.realtime", json!({"interval": 2})),
            ("app.container_log_follow", log),
        ] {
            let collection = format!("{name}:{args}");
            client.ok("core.subscribe", json!([collection])).await;
            let event = client.event().await;
            assert_eq!(event["params"]["collection"], json!(collection), "{event}");
            if (generation, name) == (V25_10, "reporting.realtime") {
                // Its model calls the disks "disls", so what is sent does not fit it.
                continue;
            }
            let schema = &schemas["events"][name]["schemas"]["ADDED"];
            let told = json!({"fields": event["params"]["fields"]});
            validate(generation, name, schema, &Value::Null, &told);
        }
    }

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A group, a privilege, a user and a key are made, as `tailnas setup` has them made; the key lets in.
    async fn check_accounts(generation: Generation, methods: &Value, nas: &Nas, client: &mut Client) {
        let group = client.ok("group.create", json!([{"name": "made", "smb": false}])).await;
        check(generation, methods, "group.create", &group);
        let gid = client.ok("group.query", json!([[["id", "=", group]], {"get": true}])).await["gid"].clone();
        let privilege =
            json!({"name": "made", "local_groups": [gid], "roles": ["READONLY_ADMIN"], "web_shell": false});
        let made = client.ok("privilege.create", json!([privilege])).await;
        check(generation, methods, "privilege.create", &made);
        let again = client.error("privilege.create", json!([privilege])).await;
        assert_eq!(again["data"]["extra"][0][0], "privilege_create.name", "{again}");
        let user = json!({"username": "made", "full_name": "Made", "group": group, "smb": false, "password_disabled": true});
        check(generation, methods, "user.create", &client.ok("user.create", json!([user])).await);
        let key = json!({"name": "made", "username": "made"});
        let made = client.ok("api_key.create", json!([key])).await;
        check(generation, methods, "api_key.create", &made);
        let key =
            ApiKey { username: "made".to_owned(), key: made["key"].as_str().expect("a key").to_owned() };
        let me = Client::login(nas, &key).await.ok("auth.me", json!([])).await;
        assert_eq!(me["privilege"]["roles"], json!({"$set": ["READONLY_ADMIN"]}), "{me}");
        for (method, params, what) in [
            ("group.create", json!([{"name": "made"}]), "already exists"),
            ("user.create", json!([user]), "already exists"),
            ("api_key.create", json!([{"name": "made", "username": "made"}]), "must be unique"),
            ("api_key.create", json!([{"name": "of-nobody", "username": "nobody"}]), "does not exist"),
            ("api_key.create", json!([{"name": "of-alice", "username": "alice"}]), "does not exist"),
            (
                "privilege.create",
                json!([{"name": "x", "roles": ["NO_ROLE"], "web_shell": false}]),
                "Invalid role",
            ),
            (
                "privilege.create",
                json!([{"name": "x", "local_groups": [9], "web_shell": false}]),
                "does not exist",
            ),
        ] {
            let refusal = client.error(method, params).await;
            assert!(
                refusal["data"]["reason"].as_str().is_some_and(|reason| reason.contains(what)),
                "{refusal}"
            );
        }
    }

    #[tokio::test]
    async fn a_person_logs_in_with_a_password_and_a_second_factor() {
        for generation in [V25_04, V25_10, V26] {
            let nas = nas(generation).await;
            nas.state(|state| state.accounts[2].second_factor = Some("123456".to_owned()));
            let login = |password: &str| json!([{"mechanism": "PASSWORD_PLAIN", "username": "truenas_admin", "password": password}]);
            let wrong = Client::connect(&nas).await.ok("auth.login_ex", login("wrong")).await;
            assert_eq!(wrong["response_type"], "AUTH_ERR");
            let mut client = Client::connect(&nas).await;
            let half = client.ok("auth.login_ex", login(nas.admin_password())).await;
            assert_eq!(half, json!({"response_type": "OTP_REQUIRED", "username": "truenas_admin"}));
            assert_eq!(client.error("auth.me", json!([])).await["data"]["errname"], "ENOTAUTHENTICATED");
            let code = json!([{"mechanism": "OTP_TOKEN", "otp_token": "123456"}]);
            let whole = client.ok("auth.login_ex", code.clone()).await;
            assert_eq!(whole["response_type"], "SUCCESS");
            // Without the password before it, it is nothing.
            let alone = Client::connect(&nas).await.error("auth.login_ex", code).await;
            assert_eq!(alone["data"]["errname"], "EINVAL");
        }
    }

    /// Methods that change something.
    const WRITES: &[&str] = &[
        "alert.dismiss",
        "alert.restore",
        "core.job_abort",
        "group.create",
        "user.create",
        "privilege.create",
        "api_key.create",
        "pool.scrub.scrub",
        "pool.snapshot.create",
        "zfs.snapshot.create",
        "auth.login_ex",
        "auth.login_with_api_key",
        "privilege.become_readonly",
        "auth.logout",
    ];

    #[tokio::test]
    async fn a_method_is_there_and_open_to_whom_the_middleware_says() {
        let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            return not_checked();
        };
        let everywhere = [V25_04, V25_10, V26].into_iter().flat_map(reads).map(|(method, _)| method);
        let names: Vec<&str> = everywhere.chain(WRITES.iter().copied()).collect();
        for generation in [V25_04, V25_10, V26] {
            let schemas = load(&folder, generation);
            let nas = nas(generation).await;
            // No arguments: who may not call the method is told so before they are looked at.
            for name in &names {
                let method = schemas["methods"].get(name);
                let stranger = Client::connect(&nas).await.call(name, json!([])).await;
                let reader = Client::login(&nas, &nas.reader_key()).await.call(name, json!([])).await;
                nas.state(|state| state.clock = Some(state.now() + chrono::TimeDelta::minutes(2)));
                let (stranger, reader) = (&stranger["error"], &reader["error"]);
                assert_eq!(stranger["code"] == -32601, method.is_none(), "{generation:?} {name}: {stranger}");
                assert_eq!(reader["code"] == -32601, method.is_none(), "{generation:?} {name}: {reader}");
                let Some(method) = method else { continue };
                let anyone = method["auth_required"] == false;
                let told = stranger["data"]["errname"] == "ENOTAUTHENTICATED";
                assert_eq!(told, !anyone, "{generation:?} {name}: {stranger}");
                let open = anyone || method["authz_required"] == false || method["readonly_admin"] == true;
                let refused = reader["data"]["errname"] == "EACCES";
                assert_eq!(refused, !open, "{generation:?} {name}: {reader}");
            }
        }
    }

    fn load(folder: &Path, generation: Generation) -> Value {
        let file = folder.join(format!("{}.json", generation.version()));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::from_str(&text).expect("the schemas are JSON")
    }

    async fn check_all(generation: Generation, methods: &Value, client: &mut Client) {
        for (method, params) in reads(generation) {
            let result = client.ok(method, params).await;
            check(generation, methods, method, &result);
        }
    }

    fn check(generation: Generation, methods: &Value, name: &str, result: &Value) {
        let method = methods.get(name).unwrap_or_else(|| panic!("{generation:?} has no {name}"));
        if let Some(schema) = method.get("result") {
            validate(generation, name, schema, &method["result_defs"], result);
        }
        if let Some(row) = method.get("entry_schema") {
            let rows = result.as_array().expect("a query answers a list");
            assert!(!rows.is_empty(), "{generation:?} {name}: nothing was checked");
            for one in rows {
                validate(generation, name, row, &method["result_defs"], one);
            }
        }
    }

    fn validate(generation: Generation, name: &str, schema: &Value, defs: &Value, instance: &Value) {
        let mut schema = schema.clone();
        if let (Some(schema), Some(defs)) = (schema.as_object_mut(), defs.as_object()) {
            let own = schema.entry("$defs").or_insert_with(|| json!({}));
            if let Some(own) = own.as_object_mut() {
                own.extend(defs.clone());
            }
        }
        on_the_wire(&mut schema, false);
        let validator = jsonschema::validator_for(&schema)
            .unwrap_or_else(|error| panic!("{generation:?} {name}: the schema is bad: {error}"));
        let errors: Vec<String> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{generation:?} {name}: {errors:#?}");
    }

    /// Makes a schema of the documentation one of the wire.
    ///
    /// A date is `{"$date": ms}` there. Schemas that predate the models of 25.10 (they have `_name_`) are not
    /// quite JSON Schema, call a date a string, and leave it to the reader what may be null. The field that
    /// discriminates between the options of SMB shares is not among them, so more than one may fit.
    fn on_the_wire(schema: &mut Value, was_date: bool) {
        const DATES: &[&str] = &[
            "boottime",
            "buildtime",
            "datetime",
            "time_started",
            "time_finished",
            "timestamp",
            "expiretime",
        ];
        let date = json!({
            "type": "object",
            "properties": {"$date": {"type": "integer"}},
            "required": ["$date"],
            "additionalProperties": false,
        });
        match schema {
            Value::Object(object) if object.get("format") == Some(&json!("date-time")) => *schema = date,
            Value::Object(object) => {
                let old = object.contains_key("_name_");
                if old {
                    if was_date {
                        *schema = json!({"anyOf": [date, {"type": "null"}]});
                        return;
                    }
                    object.remove("title");
                    object.remove("description");
                    match object.get_mut("items") {
                        Some(Value::Array(items)) if items.is_empty() => drop(object.remove("items")),
                        Some(items @ Value::Array(_)) => *items = json!({"anyOf": items}),
                        _ => {}
                    }
                    if let Some(kind) = object.get_mut("type") {
                        if *kind == "float" {
                            *kind = json!("number");
                        }
                        if kind.is_string() {
                            *kind = json!([kind, "null"]);
                        }
                    }
                    if let Some(Value::Array(choices)) = object.get_mut("enum") {
                        choices.push(Value::Null);
                    }
                    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                        choices.push(json!({"type": "null"}));
                    }
                }
                if object.remove("discriminator").is_some()
                    && let Some(choices) = object.remove("oneOf")
                {
                    object.insert("anyOf".to_owned(), choices);
                }
                for (key, value) in object.iter_mut() {
                    if key == "properties"
                        && let Value::Object(properties) = value
                    {
                        for (name, property) in properties {
                            on_the_wire(property, DATES.contains(&name.as_str()));
                        }
                    } else if key != "default" && key != "examples" {
                        on_the_wire(value, false);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| on_the_wire(item, false)),
            _ => {}
        }
    }
}
