//! The LocalAPI double: what the real Go types print, and the statuses around it.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::{Destination, LocalApi, Tailnet, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const ALICE: &str = "127.0.0.5";
const TAGGED: &str = "127.0.0.7";
const HOST: &str = "Host: local-tailscaled.sock";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn a_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("tailscaled-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name)
}

fn tailnet() -> Tailnet {
    let tailnet = Tailnet::new("tail1234.ts.net");
    let alice = User {
        picture: "https://pics.example/alice.png".to_owned(),
        groups: vec!["group:storage-admins".to_owned()],
        ..User::new(4561237890, "alice@example.com", "Alice Doe")
    };
    tailnet.add_user_node(ip(ALICE), "laptop", alice);
    tailnet.add_address(ip(ALICE), ip("fd7a:115c:a1e0::5"));
    tailnet.grant(ip(ALICE), "example.com/cap/flag", vec![]);
    let scopes = json!({"scopes": ["storage:read", "apps:write"]});
    tailnet.grant(ip(ALICE), "example.com/cap/truenas-mcp", vec![scopes]);
    tailnet.add_tagged_node(ip(TAGGED), "ci", &["tag:ci"]);
    tailnet
}

async fn ask(socket: &Path, request: &str, headers: &[&str]) -> (String, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let headers = headers.join("\r\n");
    let message = format!("{request} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (head.to_owned(), body.to_owned())
}

async fn whois(socket: &Path, query: &str) -> (u16, String) {
    let (head, body) = ask(socket, &format!("GET /localapi/v0/whois?{query}"), &[HOST]).await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

#[tokio::test]
async fn whois_prints_what_the_real_types_print() {
    let api = LocalApi::start(&a_path(), tailnet()).await.unwrap();
    let socket = api.socket().to_owned();
    let user = r#"{
	"Node": {
		"ID": 5533985513463932,
		"StableID": "STABLE",
		"Name": "laptop.tail1234.ts.net.",
		"User": 4561237890,
		"Key": "KEY",
		"KeyExpiry": "2027-05-01T00:00:00Z",
		"Machine": "MACHINE",
		"DiscoKey": "DISCO",
		"Addresses": [
			"127.0.0.5/32",
			"fd7a:115c:a1e0::5/128"
		],
		"AllowedIPs": [
			"127.0.0.5/32",
			"fd7a:115c:a1e0::5/128"
		],
		"HomeDERP": 4,
		"Hostinfo": {
			"OS": "linux",
			"OSVersion": "6.12.0",
			"Hostname": "laptop"
		},
		"Created": "2026-01-01T00:00:00Z",
		"Cap": 130,
		"Online": true,
		"MachineAuthorized": true,
		"ComputedName": "laptop",
		"ComputedNameWithHost": "laptop"
	},
	"UserProfile": {
		"ID": 4561237890,
		"LoginName": "alice@example.com",
		"DisplayName": "Alice Doe",
		"ProfilePicURL": "https://pics.example/alice.png",
		"Groups": [
			"group:storage-admins"
		]
	},
	"CapMap": {
		"example.com/cap/flag": null,
		"example.com/cap/truenas-mcp": [
			{
				"scopes": [
					"storage:read",
					"apps:write"
				]
			}
		]
	}
}"#;
    let tagged = r#"{
	"Node": {
		"ID": 5533985513463933,
		"StableID": "STABLE",
		"Name": "ci.tail1234.ts.net.",
		"User": 999,
		"Key": "KEY",
		"Addresses": [
			"127.0.0.7/32"
		],
		"Tags": [
			"tag:ci"
		]
	},
	"UserProfile": {
		"ID": 999,
		"LoginName": "tagged-devices",
		"DisplayName": "Tagged Devices"
	},
	"CapMap": null
}"#;
    for (query, expected) in [
        ("addr=127.0.0.5:40000", user),
        ("addr=127.0.0.5", user),
        ("addr=%5Bfd7a:115c:a1e0::5%5D:40000&proto=tcp", user),
        ("addr=127.0.0.7:1", tagged),
    ] {
        let (status, answer) = whois(&socket, query).await;
        let mut text = answer.clone();
        let parsed: Value = serde_json::from_str(&answer).unwrap();
        for (member, name) in
            [("StableID", "STABLE"), ("Key", "KEY"), ("Machine", "MACHINE"), ("DiscoKey", "DISCO")]
        {
            if let Some(value) = parsed["Node"][member].as_str() {
                text = text.replace(value, name);
            }
        }
        assert_eq!((status, text.as_str()), (200, expected), "{query}");
        // By key it is the same node.
        let key = format!("addr={}", parsed["Node"]["Key"].as_str().unwrap());
        assert_eq!(whois(&socket, &key).await, (200, answer));
    }
}

#[tokio::test]
async fn refusals_have_the_real_statuses_and_texts() {
    let tailnet = tailnet();
    let api = LocalApi::start(&a_path(), tailnet.clone()).await.unwrap();
    let socket = api.socket().to_owned();
    for (query, status, text) in [
        ("addr=127.0.0.9:40000", 404, "no match for IP:port\n"),
        ("addr=nodekey:00", 404, "no match for IP:port\n"),
        ("", 400, "missing 'addr' parameter\n"),
        ("addr=", 400, "missing 'addr' parameter\n"),
        ("addr=laptop", 400, "invalid 'addr' parameter\n"),
        ("addr=127.0.0.5:99999", 400, "invalid 'addr' parameter\n"),
        ("addr=127.0.0.5&svc_name=truenas", 400, "invalid svc_name\n"),
        ("addr=127.0.0.5&dst_ip=here", 400, "invalid dst_ip\n"),
    ] {
        assert_eq!(whois(&socket, query).await, (status, text.to_owned()), "{query}");
    }
    for headers in [
        &["Host: localhost"][..],
        &["Host: local-tailscaled.sock:80"],
        &[HOST, "Origin: https://evil.example"],
        &[HOST, "Referer: https://evil.example/"],
    ] {
        let (head, body) = ask(&socket, "GET /localapi/v0/whois?addr=127.0.0.5", headers).await;
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{headers:?}: {head}");
        assert!(head.contains("\r\nX-Content-Type-Options: nosniff") && !head.contains("Tailscale-Version"));
        assert_eq!(body, "invalid localapi request\n");
    }
    let (head, body) = ask(&socket, "GET /localapi/v0/nope", &[HOST]).await;
    assert!(head.starts_with("HTTP/1.1 404 ") && body == "404 page not found\n");
    assert!(head.contains("\r\nTailscale-Cap: 130\r\n") && head.contains("\r\nTailscale-Version: 1.102.3"));
    assert_eq!(api.requests().last().map(String::as_str), Some("GET /localapi/v0/nope"));
}

#[tokio::test]
async fn what_changes_in_the_tailnet_shows_at_once() {
    let tailnet = tailnet();
    let api = LocalApi::start(&a_path(), tailnet.clone()).await.unwrap();
    let socket = api.socket().to_owned();
    let ask = async |query: &str| -> Value { serde_json::from_str(&whois(&socket, query).await.1).unwrap() };
    tailnet.revoke(ip(ALICE), "example.com/cap/flag");
    tailnet.revoke(ip(ALICE), "example.com/cap/truenas-mcp");
    assert_eq!(ask("addr=127.0.0.5").await["CapMap"], Value::Null);
    // What is granted toward one destination is not granted toward another.
    tailnet.grant_on_tsidp(ip(ALICE), vec![json!({"allow_dcr": true})]);
    let service = Destination::Service("svc:truenas-mcp".to_owned());
    tailnet.grant_to(service, ip(ALICE), "example.com/cap/truenas-mcp", vec![json!({"scopes": []})]);
    assert_eq!(ask("addr=127.0.0.5").await["CapMap"], Value::Null);
    assert_eq!(ask("addr=127.0.0.5&dst_ip=127.0.0.1").await["CapMap"], Value::Null);
    let expected = json!({"example.com/cap/truenas-mcp": [{"scopes": []}]});
    assert_eq!(ask("addr=127.0.0.5&svc_name=svc:truenas-mcp").await["CapMap"], expected);
    tailnet.set_sharer(ip(ALICE), 42);
    assert_eq!(ask("addr=127.0.0.5").await["Node"]["Sharer"], 42);
    tailnet.raw_whois(ip("127.0.0.9"), json!({"Node": null}));
    assert_eq!(ask("addr=127.0.0.9:1").await, json!({"Node": null}));
    tailnet.remove(ip(ALICE));
    assert_eq!(whois(&socket, "addr=127.0.0.5").await.0, 404);
}

#[tokio::test]
async fn a_late_connection_is_unknown_at_first() {
    let api = LocalApi::start(&a_path(), tailnet()).await.unwrap();
    let socket = api.socket().to_owned();
    api.register_late(2);
    // An address that is nobody's does not use them up.
    for (addr, status) in
        [("127.0.0.9", 404), ("127.0.0.5", 404), ("127.0.0.5", 404), ("127.0.0.5", 200), ("127.0.0.5", 200)]
    {
        assert_eq!(whois(&socket, &format!("addr={addr}:1")).await.0, status);
    }
}

#[tokio::test]
async fn status_says_who_we_are() {
    let tailnet = tailnet();
    let api = LocalApi::start(&a_path(), tailnet.clone()).await.unwrap();
    let socket = api.socket().to_owned();
    let (_, body) = ask(&socket, "GET /localapi/v0/status", &[HOST]).await;
    assert!(body.starts_with("{\n\t\"Version\": \"1.102.3") && body.ends_with("}\n"));
    let status: Value = serde_json::from_str(&body).unwrap();
    for (pointer, expected) in [
        ("/BackendState", json!("Running")),
        ("/TailscaleIPs", json!(["127.0.0.1"])),
        ("/Self/DNSName", json!("truenas-mcp.tail1234.ts.net.")),
        ("/CurrentTailnet/MagicDNSSuffix", json!("tail1234.ts.net")),
        ("/CertDomains", json!(["truenas-mcp.tail1234.ts.net"])),
    ] {
        assert_eq!(status.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(status["Peer"].as_object().unwrap().len(), 2);
    // Our own address is us, to ourselves and to TSIDP; the key tells that it is the same node.
    let (code, us) = whois(&socket, "addr=127.0.0.1:40000").await;
    let us: Value = serde_json::from_str(&us).unwrap();
    assert_eq!((code, &us["Node"]["Key"]), (200, &status["Self"]["PublicKey"]));
    assert_eq!(us["Node"]["Tags"], json!(["tag:truenas-mcp"]));
    tailnet.set_backend_state("NeedsLogin");
    let (_, body) = ask(&socket, "GET /localapi/v0/status?peers=false", &[HOST]).await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["BackendState"], "NeedsLogin");
    assert_eq!((&status["TailscaleIPs"], &status["Peer"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn certificates_come_as_key_and_chain() {
    let tailnet = tailnet();
    let api = LocalApi::start(&a_path(), tailnet.clone()).await.unwrap();
    let socket = api.socket().to_owned();
    let path = "GET /localapi/v0/cert/truenas-mcp.tail1234.ts.net";
    let (head, pair) = ask(&socket, &format!("{path}?type=pair"), &[HOST]).await;
    assert!(head.contains("\r\nContent-Type: text/plain\r\n"), "{head}");
    assert!(pair.starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    let (_, key) = ask(&socket, &format!("{path}?type=key"), &[HOST]).await;
    let (_, chain) = ask(&socket, path, &[HOST]).await;
    assert_eq!(pair, key + &chain);
    assert_eq!(chain.matches("-----BEGIN CERTIFICATE-----").count(), 2);
    assert!(chain.ends_with(&api.ca_pem()));

    // What is handed out is a key that fits its certificate.
    use rustls::pki_types::pem::PemObject;
    let chain =
        rustls::pki_types::CertificateDer::pem_slice_iter(pair.as_bytes()).map(Result::unwrap).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pair.as_bytes()).unwrap();
    assert!(matches!(key, rustls::pki_types::PrivateKeyDer::Sec1(_)));
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();

    let other = "GET /localapi/v0/cert/other.tail1234.ts.net?type=pair";
    let (head, body) = ask(&socket, other, &[HOST]).await;
    assert!(head.starts_with("HTTP/1.1 500 ") && body.starts_with("invalid domain \"other"), "{body}");
    api.deny_certificates(true);
    let (head, body) = ask(&socket, path, &[HOST]).await;
    assert!(head.starts_with("HTTP/1.1 403 ") && body == "cert access denied\n");
}

#[tokio::test]
async fn a_restart_makes_a_new_socket_at_the_same_path() {
    let api = LocalApi::start(&a_path(), tailnet()).await.unwrap();
    let socket = api.socket().to_owned();
    let before = std::fs::metadata(&socket).unwrap();
    // Something else takes the inode that becomes free, or the new socket could get it again.
    let mut idle = UnixStream::connect(&socket).await.unwrap();
    let keep = socket.with_extension("kept");
    std::fs::hard_link(&socket, &keep).unwrap();
    api.restart().await.unwrap();
    std::fs::remove_file(&keep).unwrap();
    assert_ne!(std::fs::metadata(&socket).unwrap().ino(), before.ino());
    // Cut while it was served it ends, cut before it was accepted it is reset.
    assert!(matches!(idle.read(&mut [0]).await, Ok(0) | Err(_)), "old connections are cut");
    assert_eq!(whois(&socket, "addr=127.0.0.5").await.0, 200);

    api.stop().await;
    assert!(!socket.exists());
    api.restart().await.unwrap();
    api.faults().once(Fault::Hang);
    let hung = tokio::time::timeout(Duration::from_millis(50), whois(&socket, "addr=127.0.0.5")).await;
    assert!(hung.is_err());
    drop(api);
    assert!(!socket.exists());
}
