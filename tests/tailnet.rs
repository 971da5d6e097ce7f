//! The daemon as it ships on a tailnet address of its own, in a network that holds nothing else: late address,
//! TLS, who is let in. Needs `unshare` and `ip`, and says so where it cannot run; with `TAILNAS_RUN_ALL` that fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::localapi::{SelfNode, User};
use tailnas_sim::nas::Generation;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, CAPABILITY, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const OURS: &str = "100.64.0.1:8443";
const PHONE: &str = "100.64.0.7";

/// Set for the copy of this program that runs in the network of its own.
const INSIDE: &str = "TAILNAS_TEST_IN_ITS_OWN_NETWORK";

#[test]
fn a_tailnet_address_of_its_own() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let possible = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return common::did_not_run("no network of its own can be made here (unshare -rn, ip)");
    }
    let script = r#"ip link set lo up && ip addr add 100.64.0.7/32 dev lo && exec "$0" --exact a_tailnet_address_of_its_own --nocapture"#;
    let status = Command::new("unshare")
        .args(["-rn", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "it failed in its own network; see above");
}

async fn connect(from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(OURS.parse().unwrap()).await
}

async fn inside() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), 0, Generation::V25_10).await.unwrap();
    world.tailnet.set_self(SelfNode {
        host: "nas-mcp".to_owned(),
        addresses: vec!["100.64.0.1".parse().unwrap()],
        tags: vec!["tag:tailnas".to_owned()],
        user: 1,
    });
    let phone: IpAddr = PHONE.parse().unwrap();
    world.tailnet.add_user_node(phone, "phone", User::new(456, "alice@example.com", "Alice Doe"));
    world.tailnet.grant(phone, CAPABILITY, vec![json!({ "scopes": ["system:read"], "nas": ["*"] })]);
    let name = world.tailnet.self_name();
    let url = format!("https://{name}:8443/mcp");
    let config = std::fs::read_to_string(world.config()).unwrap();
    let config = config
        .replace(&world.mcp_url(), &url)
        .replace(&format!("unix:{}/tailnas.sock", dir.path().display()), OURS);
    world.write("config.toml", &config).unwrap();

    // The address comes two seconds after the daemon, as at a boot.
    let late = tokio::spawn(async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let added = Command::new("ip").args(["addr", "add", "100.64.0.1/32", "dev", "lo"]).status();
        assert!(added.unwrap().success());
    });
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tailnas"));
    let path = world.config();
    let args = ["serve".as_ref(), "--config".as_ref(), path.as_os_str()];
    let daemon = Daemon::start(program, args, dir.path()).await.unwrap();
    late.await.unwrap();
    assert!(daemon.ready_after >= Duration::from_secs(2), "it was ready before it could be reached");
    let log = std::fs::read_to_string(dir.path().join("daemon.log")).unwrap();
    assert!(log.contains("waiting for the address 100.64.0.1:8443"), "{log}");

    // Over the tailnet: TLS under our name, and the caller is whose address it is.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.local_api.ca_pem().as_bytes()).unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let token = world.tsidp.mint(TokenSpec::new(ALICE.login.unwrap(), &url));
    let ask = async || {
        let body =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{}}}"#;
        let stream = connect(PHONE).await.unwrap();
        let mut stream =
            connector.connect(ServerName::try_from(name.clone()).unwrap(), stream).await.unwrap();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {name}:8443\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             X-Forwarded-For: 100.64.0.9\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A peer that closes without saying so is no error to us.
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("alice@example.com") && answer.contains(PHONE), "{answer}");
    };
    ask().await;

    // From this machine, without the tailnet: closed before a handshake.
    let mut stream = connect("127.0.0.1").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or_default(), 0);

    // The same socket from systemd, which has bound it: its number 3 is there before the daemon is.
    let mut daemon = daemon;
    assert!(daemon.stop().await.unwrap().success());
    let config = std::fs::read_to_string(world.config()).unwrap();
    world.write("config.toml", &config.replace(OURS, "systemd")).unwrap();
    let handed_over = std::net::TcpListener::bind(OURS).unwrap();
    rustix::io::fcntl_setfd(&handed_over, rustix::io::FdFlags::empty()).unwrap();
    let script = format!(
        r#"exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" serve --config "$1""#,
        std::os::fd::AsRawFd::as_raw_fd(&handed_over)
    );
    let args = ["-c".as_ref(), script.as_ref(), program.as_os_str(), path.as_os_str()];
    let _daemon = Daemon::start(std::path::Path::new("bash"), args, dir.path()).await.unwrap();
    drop(handed_over);
    ask().await;
}
