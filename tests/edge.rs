//! The edge: what a connection may do before anybody knows who it is. Raw sockets, because no client library
//! would send such things.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::{Bench, eventually};
use serde_json::{Value, json};
use tailnas_sim::client::Client;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::User;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// How many connections may be open in all, and from one address.
const IN_ALL: usize = 512;
const EACH: usize = 32;

/// Nobody of the tailnet calls from here, so that alice and bob keep their places.
const SOMEBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

async fn connect_from(bench: &Bench, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(bench.world.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whatever comes until the other end closes. A reset after an answer is an end as well.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer).await
        && length > 0
    {
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Whatever comes within a moment.
async fn so_far(stream: &mut TcpStream, wait: Duration) -> String {
    let mut buffer = vec![0; 65536];
    let read = tokio::time::timeout(wait, stream.read(&mut buffer)).await;
    let length = read.map_or(0, Result::unwrap_or_default);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The head of a POST of alice's, without its last empty line.
fn head(bench: &Bench, client: &Client, more: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more}",
        bench.world.address(),
        client.token.as_deref().unwrap(),
    )
}

/// How many of the calls that reached the NAS somebody may have caused: when its own keys end, the daemon asks by itself.
fn nas_was_asked(bench: &Bench) -> usize {
    bench.nas_calls().iter().filter(|method| *method != "api_key.query").count()
}

/// Stops the daemon, so that all its records are on disk, and looks that no refusal is among them: who sent no request
/// was refused none, and whoever opens connections fills no log.
async fn nobody_was_refused(mut bench: Bench) {
    assert!(bench.daemon.stop().await.unwrap().success(), "{}", bench.log());
    let refused = |record: &Value| matches!(record["type"].as_str(), Some("auth_fail" | "denied"));
    let refusals: Vec<_> = bench.records().into_iter().filter(refused).collect();
    assert!(refusals.is_empty(), "{refusals:#?}");
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn about(seconds: f64, took: Duration) -> bool {
    (seconds - 0.5..seconds + 3.0).contains(&took.as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_closed_after_five_seconds() {
    let bench = Bench::complete().await;
    let before = nas_was_asked(&bench);
    let mut silent = connect_from(&bench, ALICE.address).await;
    let mut preface = connect_from(&bench, ALICE.address).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let (mut reader, mut writer) = connect_from(&bench, ALICE.address).await.into_split();
    let started = Instant::now();
    let trickle = tokio::spawn(async move {
        for byte in
            b"POST /mcp HTTP/1.1\r\nHost: a-host-name-that-takes-a-long-time-to-write\r\n".iter().cycle()
        {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut rest = Vec::new();
    let (nothing, frames, trickled) =
        tokio::join!(until_closed(&mut silent), until_closed(&mut preface), async {
            let _ = reader.read_to_end(&mut rest).await;
            started.elapsed()
        });
    assert!(about(5.0, started.elapsed()), "{:?}", started.elapsed());
    assert!(about(5.0, trickled), "the head that trickled: {trickled:?}");
    assert_eq!(nothing, "", "who asked nothing is told nothing");
    assert!(!frames.contains("HTTP/1.1 2"), "{frames}");
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    trickle.abort();
    assert_eq!(nas_was_asked(&bench), before);
    bench.no_secret_is_written().await;
    nobody_was_refused(bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let bench = Bench::start().await;
    let alice = bench.client(ALICE);
    let mut stream = connect_from(&bench, ALICE.address).await;
    let request = format!("{}Content-Length: {}\r\n\r\n{LIST}", head(&bench, &alice, ""), LIST.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&so_far(&mut stream, Duration::from_secs(5)).await), "200");
    assert_eq!(so_far(&mut stream, Duration::from_secs(7)).await, "");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&so_far(&mut stream, Duration::from_secs(5)).await), "200");
    // Once its next head has begun, it has five seconds like any other.
    stream.write_all(b"POST /mcp HTTP/1.1\r\n").await.unwrap();
    let started = Instant::now();
    assert_eq!(until_closed(&mut stream).await, "");
    assert!(about(5.0, started.elapsed()), "{:?}", started.elapsed());
}

/// The beginning of the answer to a request of alice's whose body never ends, and when it came.
async fn trickled(bench: &Bench, head: &str, framing: &str) -> (String, Duration) {
    let (mut reader, mut writer) = connect_from(bench, ALICE.address).await.into_split();
    let begin = format!("{head}{framing}\r\n");
    let chunked = framing.starts_with('T');
    let started = Instant::now();
    let trickle = tokio::spawn(async move {
        writer.write_all(begin.as_bytes()).await.unwrap();
        while writer.write_all(if chunked { b"1\r\n \r\n" } else { b" " }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let mut answer = vec![0; 4096];
    let length = reader.read(&mut answer).await.unwrap();
    let took = started.elapsed();
    trickle.abort();
    (String::from_utf8_lossy(&answer[..length]).into_owned(), took)
}

const FRAMINGS: [&str; 2] = ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"];

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_answered_408_after_ten_seconds() {
    let bench = Bench::complete().await;
    let head = head(&bench, &bench.client(ALICE), "");
    let before = nas_was_asked(&bench);
    for framing in FRAMINGS {
        let (answer, took) = trickled(&bench, &head, framing).await;
        assert_eq!(status(&answer), "408", "{framing}: {answer}");
        assert!(about(10.0, took), "{framing}: {took:?}");
    }
    bench.record("the bodies", |r| r["type"] == "denied" && r["result"]["code"] == "body_slow").await;
    assert_eq!(nas_was_asked(&bench), before);
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_forms_are_answered_408_after_ten_seconds() {
    let bench = Bench::start().await;
    let head = |path: &str, kind: &str| {
        let (host, origin) = (bench.world.address(), bench.world.origin());
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Type: {kind}\r\n")
    };
    // What a page sends, and what our script does.
    let form = head("/console/freeze", "application/x-www-form-urlencoded");
    let script = head("/console/thaw/begin", "application/json");
    let [length, chunked] = FRAMINGS;
    let (of_page, of_script) =
        tokio::join!(trickled(&bench, &form, length), trickled(&bench, &script, chunked));
    for (answer, took) in [of_page, of_script] {
        assert_eq!(status(&answer), "408", "{answer}");
        assert!(about(10.0, took), "{took:?}: {answer}");
    }
    let record = bench.record("a slow form", |record| record.to_string().contains("\"body_slow\"")).await;
    assert_eq!(record["peer"]["user"], "alice@example.com", "{record}");
    // And one that says that it is too large is not waited for.
    let mut stream = connect_from(&bench, ALICE.address).await;
    stream.write_all(format!("{form}Content-Length: 65537\r\n\r\n").as_bytes()).await.unwrap();
    let answer = so_far(&mut stream, Duration::from_secs(5)).await;
    assert_eq!(status(&answer), "413", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_capped_and_the_others_are_served() {
    let bench = Bench::complete().await;
    let before = nas_was_asked(&bench);
    let wanted: usize = std::env::var("TAILNAS_TEST_CONNECTIONS").map_or(700, |text| text.parse().unwrap());
    // Here too each takes a file, and 1024 is the usual limit.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = usize::try_from(files.unwrap_or(u64::MAX)).unwrap_or(usize::MAX) - 300;
    let mut held = Vec::new();
    for number in 0..wanted {
        // Sixteen addresses with 32 places each would be all there are; a seventeenth finds none.
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 15).unwrap());
        let stream = connect_from(&bench, from).await;
        if held.len() < most {
            held.push(stream);
        }
    }
    let open = eventually_open(&held).await;
    assert_eq!(open, 15 * EACH, "of {} connections", held.len());
    assert!(open < IN_ALL);
    assert_eq!(nas_was_asked(&bench), before);
    // Alice's address has places of its own.
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    assert!(!alice.call("pools_list", json!({})).await.unwrap().is_error());
    let mut others = Vec::new();
    for _ in 0..EACH - 1 {
        others.push(connect_from(&bench, BOB.address).await);
    }
    assert!(!bob.call("pools_list", json!({})).await.unwrap().is_error(), "the last place of bob's");
    bench.no_secret_is_written().await;
    nobody_was_refused(bench).await;
}

/// How many of these connections are still open.
async fn eventually_open(held: &[TcpStream]) -> usize {
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.iter()
        .filter(|stream| matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_is_refused_when_all_places_are_taken() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let before = nas_was_asked(&bench);
    let mut serving = connect_from(&bench, ALICE.address).await;
    let request = format!("{}Content-Length: {}\r\n\r\n{LIST}", head(&bench, &alice, ""), LIST.len());
    serving.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&so_far(&mut serving, Duration::from_secs(5)).await), "200");
    let mut held = Vec::new();
    for number in 0..IN_ALL {
        held.push(connect_from(&bench, Ipv4Addr::new(127, 0, 2, u8::try_from(number / EACH).unwrap())).await);
    }
    let mut newest = connect_from(&bench, BOB.address).await;
    assert_eq!(until_closed(&mut newest).await, "");
    serving.write_all(request.as_bytes()).await.unwrap();
    let served = so_far(&mut serving, Duration::from_secs(5)).await;
    assert_eq!(status(&served), "200", "who was being served goes on: {served}");
    drop(held);
    let bob = bench.client(BOB);
    eventually("places that were given back can be taken", async || {
        bob.call("whoami", json!({})).await.is_ok_and(|answer| !answer.is_error())
    })
    .await;
    assert_eq!(nas_was_asked(&bench), before);
    bench.no_secret_is_written().await;
    nobody_was_refused(bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_to_continue_who_is_not_admitted() {
    let bench = Bench::start().await;
    let mut stream = connect_from(&bench, ALICE.address).await;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\
         Expect: 100-continue\r\n\r\n",
        bench.world.address()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = so_far(&mut stream, Duration::from_secs(5)).await;
    assert_eq!(status(&answer), "401", "{answer}");
    assert!(!answer.contains("100 Continue"));
    // And who is, is told so.
    let mut stream = connect_from(&bench, ALICE.address).await;
    let more = format!("Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", LIST.len());
    stream.write_all(head(&bench, &bench.client(ALICE), &more).as_bytes()).await.unwrap();
    assert_eq!(status(&so_far(&mut stream, Duration::from_secs(5)).await), "100");
    stream.write_all(LIST.as_bytes()).await.unwrap();
    assert_eq!(status(&so_far(&mut stream, Duration::from_secs(5)).await), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_could_be_read_in_two_ways_is_not_read_in_either() {
    let bench = Bench::start().await;
    let alice = bench.client(ALICE);
    let length = LIST.len();
    let whole = format!("Content-Length: {length}\r\n");
    let chunk = format!("{length:x}\r\n{LIST}\r\n0\r\n\r\n");
    let extended = format!("{length:x};{}\r\n{LIST}\r\n0\r\n\r\n", "x".repeat(20 * 1024));
    let many = "X-Again: 1\r\n".repeat(101);
    let large = format!("X-Large: {}\r\n", "x".repeat(40 * 1024));
    for (name, headers, body, expected) in [
        ("plain", whole.clone(), LIST, &["200"][..]),
        ("plain, chunked", "Transfer-Encoding: chunked\r\n".into(), &chunk, &["200"]),
        ("two lengths", format!("{whole}Content-Length: 5\r\n"), LIST, &["400"]),
        ("two lengths in one", format!("Content-Length: {length}, {length}\r\n"), LIST, &["400"]),
        ("a length with a sign", format!("Content-Length: +{length}\r\n"), LIST, &["400"]),
        ("a length with a letter", format!("Content-Length: {length}x\r\n"), LIST, &["400"]),
        ("another coding", "Transfer-Encoding: xchunked\r\n".into(), &chunk, &["400"]),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n".into(), &chunk, &["400"]),
        ("space before the colon", "Transfer-Encoding : chunked\r\n".into(), &chunk, &["400"]),
        ("a folded header", format!("{whole}X-Folded: a\r\n b\r\n"), LIST, &["400"]),
        ("NUL in a header", format!("{whole}X-Nul: a\0b\r\n"), LIST, &["400"]),
        ("a bare CR in a header", format!("{whole}X-Cr: a\rb\r\n"), LIST, &["400"]),
        (
            "a chunk of too many bytes",
            "Transfer-Encoding: chunked\r\n".into(),
            "fffffffffffffffff\r\n{}",
            &["400"],
        ),
        (
            "a chunk size that is none",
            "Transfer-Encoding: chunked\r\n".into(),
            "0x5\r\nhello\r\n0\r\n\r\n",
            &["400"],
        ),
        ("a long chunk extension", "Transfer-Encoding: chunked\r\n".into(), &extended, &["400"]),
        ("101 headers", format!("{whole}{many}"), LIST, &["431"]),
        ("a head of 40 KiB", format!("{whole}{large}"), LIST, &["431"]),
    ] {
        let mut stream = connect_from(&bench, ALICE.address).await;
        let request = format!("{}\r\n{body}", head(&bench, &alice, &headers));
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = so_far(&mut stream, Duration::from_secs(5)).await;
        assert!(expected.contains(&status(&answer)), "{name}: {answer}");
        if status(&answer) != "200" {
            stream.write_all(request.as_bytes()).await.unwrap_or_default();
            assert_eq!(until_closed(&mut stream).await, "", "{name}: it must not go on after that");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_doubtful_end_is_never_a_second_request() {
    let bench = Bench::start().await;
    let alice = bench.client(ALICE);
    // For who goes by the length, the second request is part of the body; for who goes by the chunks, it is not.
    let second = format!("{}Content-Length: {}\r\n\r\n{LIST}", head(&bench, &alice, ""), LIST.len());
    let chunks = format!("{:x}\r\n{LIST}\r\n0\r\n\r\n", LIST.len());
    let more = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunks.len() + second.len());
    let mut stream = connect_from(&bench, ALICE.address).await;
    stream
        .write_all(format!("{}\r\n{chunks}{second}", head(&bench, &alice, &more)).as_bytes())
        .await
        .unwrap();
    let answers = until_closed(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_256_kibibytes_is_too_large() {
    const MOST: usize = 256 * 1024;
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let before = nas_was_asked(&bench);
    // With a length, nothing of it is read.
    let mut stream = connect_from(&bench, ALICE.address).await;
    let begin =
        head(&bench, &alice, &format!("Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", MOST + 1));
    stream.write_all(begin.as_bytes()).await.unwrap();
    let answer = so_far(&mut stream, Duration::from_secs(5)).await;
    assert_eq!(status(&answer), "413", "{answer}");
    // Without one, no more than that.
    for (length, expected) in [(MOST, "400"), (MOST + 1, "413")] {
        let (mut reader, mut writer) = connect_from(&bench, ALICE.address).await.into_split();
        let begin = head(&bench, &alice, "Transfer-Encoding: chunked\r\n\r\n");
        let body = format!("{length:x}\r\n{}\r\n0\r\n\r\n", " ".repeat(length));
        let sending = tokio::spawn(async move {
            writer.write_all(begin.as_bytes()).await?;
            writer.write_all(body.as_bytes()).await?;
            std::io::Result::Ok(writer)
        });
        let mut answer = vec![0; 4096];
        let length = reader.read(&mut answer).await.unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer[..length])), expected);
        sending.abort();
    }
    bench.record("the body", |r| r["type"] == "denied" && r["result"]["code"] == "body_too_large").await;
    assert_eq!(nas_was_asked(&bench), before);
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_request_in_progress_and_not_for_idle_connections() {
    let mut bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let _idle = connect_from(&bench, ALICE.address).await;
    bench.world.nas.faults_of("pool.query").once(Fault::Slow(Duration::from_secs(2)));
    let asked = tokio::spawn(async move { alice.call("pools_list", json!({})).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    let status = bench.daemon.stop().await.unwrap();
    assert!(status.success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let answer = asked.await.unwrap().unwrap();
    assert!(!answer.is_error(), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_nobody_from_any_address() {
    let bench = Bench::start().await;
    let stranger = Client { from: IpAddr::V4(SOMEBODY), ..bench.client(ALICE) };
    assert_eq!(stranger.call("whoami", json!({})).await.unwrap().status, 403);
}

/// The daemon as it ships, on its unix socket. Tests that run as root play tailscaled; others can only see that
/// they are not let in.
#[tokio::test(flavor = "multi_thread")]
async fn behind_serve_the_socket_is_for_root_and_the_headers_say_who_it_is() {
    let bench = Bench::start().await;
    let phone: IpAddr = "100.64.0.7".parse().unwrap();
    bench.world.tailnet.add_user_node(phone, "phone", User::new(456, "alice@example.com", "Alice Doe"));
    bench.world.tailnet.grant(phone, CAPABILITY, vec![json!({ "scopes": ["system:read"], "nas": ["*"] })]);
    let dir = bench.dir.path();
    // The log has one writer and the place for metrics one listener, so this daemon has another log and no metrics.
    let config = std::fs::read_to_string(bench.world.config()).unwrap();
    let config = config
        .replace("/audit\"", "/audit-behind-serve\"")
        .replace(&format!("[metrics]\nlisten = \"{}\"", bench.world.metrics_address()), "");
    bench.world.write("serve.toml", &config).unwrap();
    let beside = dir.join("beside");
    std::fs::create_dir(&beside).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tailnas"));
    let config = dir.join("serve.toml");
    let args = ["serve".as_ref(), "--config".as_ref(), config.as_os_str()];
    let _daemon = Daemon::start(program, args, &beside).await.unwrap();

    let alice = bench.client(ALICE);
    let host = bench.world.address().to_string();
    let ask = async |host: &str, headers: &str| {
        let mut stream = UnixStream::connect(dir.join("tailnas.sock")).await?;
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{host}Connection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             Content-Length: {}\r\n{headers}\r\n{LIST}",
            alice.token.as_deref().unwrap(),
            LIST.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let named = format!("X-Forwarded-Host: {host}\r\n");
    let from = "X-Forwarded-For: 100.64.0.7\r\n";
    if !rustix::process::geteuid().is_root() {
        let answer = ask(&named, from).await.unwrap_or_default();
        assert_eq!(answer, "", "a process that is not root was answered");
        common::did_not_run("not as root, so only that others are refused behind `tailscale serve`");
        return;
    }
    // Another user of this machine: the file is not theirs to open, and if it were, they are not root.
    let socket = dir.join("tailnas.sock");
    let as_nobody = |socket: std::path::PathBuf| {
        std::thread::spawn(move || {
            // This thread alone becomes somebody else, for as long as it lasts.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
            let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer)?;
            std::io::Result::Ok(answer)
        })
        .join()
        .unwrap()
    };
    open_to_all(dir, 0o711);
    assert_eq!(as_nobody(socket.clone()).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    open_to_all(&socket, 0o666);
    for _ in 0..5 {
        assert_eq!(
            as_nobody(socket.clone()).unwrap_or_default(),
            "",
            "somebody who is not root was answered"
        );
    }
    let log = std::fs::read_to_string(beside.join("daemon.log")).unwrap();
    let told: Vec<_> = log.lines().filter(|line| line.contains("that is not root")).collect();
    assert_eq!(told.len(), 1, "one line a minute, however often somebody tries: {told:#?}");
    assert!(told[0].contains("uid 65534"), "{told:?}");

    for (what, host, headers, expected) in [
        ("as tailscale serve forwards it", named.as_str(), from, "200"),
        ("no name", "", from, "400"),
        ("another name", "X-Forwarded-Host: evil.example\r\n", from, "421"),
        ("nobody", &named, "", "403"),
        ("somebody of the tailnet whom it does not know", &named, "X-Forwarded-For: 100.64.0.8\r\n", "403"),
        ("an address of this machine", &named, "X-Forwarded-For: 127.0.0.1\r\n", "403"),
        ("an address of the local network", &named, "X-Forwarded-For: 192.168.1.2\r\n", "403"),
        ("two addresses", &named, "X-Forwarded-For: 100.64.0.7, 100.64.0.7\r\n", "403"),
        ("two headers", &named, "X-Forwarded-For: 100.64.0.7\r\nX-Forwarded-For: 100.64.0.7\r\n", "403"),
        ("somebody else's node", &named, "X-Forwarded-For: 127.0.0.2\r\n", "403"),
        ("the Internet", &named, "X-Forwarded-For: 100.64.0.7\r\nTailscale-Funnel-Request: ?1\r\n", "403"),
    ] {
        let answer = ask(host, headers).await.unwrap();
        assert_eq!(status(&answer), expected, "{what}: {answer}");
    }
}

fn open_to_all(path: &std::path::Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callers_flood_is_refused_and_anothers_calls_are_not() {
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    // A caller is a person: a second node does not double the budget.
    let desktop = Ipv4Addr::new(127, 0, 0, 4);
    bench.world.tailnet.add_user_node(
        desktop.into(),
        "desktop-2",
        User::new(456, "alice@example.com", "Alice Doe"),
    );
    let flood: Vec<_> = (0..16)
        .map(|number| {
            let from = if number % 2 == 0 { ALICE.address } else { desktop };
            let alice = Client { from: from.into(), ..alice.clone() };
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for _ in 0..12 {
                    let answer = alice.call("whoami", json!({})).await.unwrap();
                    if answer.is_error() {
                        refused.push(answer.text());
                    }
                }
                refused
            })
        })
        .collect();
    for _ in 0..10 {
        let answer = bob.call("pools_list", json!({})).await.unwrap();
        assert!(answer.status == 200 && !answer.is_error(), "bob, during alice's flood: {answer:?}");
    }
    let mut refused = Vec::new();
    for flood in flood {
        refused.extend(flood.await.unwrap());
    }
    assert!(!refused.is_empty(), "nothing of a flood was refused");
    for text in &refused {
        assert!(text.contains("too many calls") && text.contains("Try again in"), "{text}");
        assert!(text.contains("Nothing was sent to the NAS"), "{text}");
    }
    let record = bench
        .record("the flood", |r| {
            r["decision"]["reason"] == "too_many_calls" || r["result"]["code"] == "too_many_calls"
        })
        .await;
    assert_eq!(record["peer"]["user"], "alice@example.com");
    let about_it: Vec<Value> =
        bench.records().into_iter().filter(|record| record.to_string().contains("too_many_calls")).collect();
    assert!(
        about_it.len() < refused.len() || refused.len() < 3,
        "{} records of {}",
        about_it.len(),
        refused.len()
    );
    eventually("alice is served again", async || !alice.call("whoami", json!({})).await.unwrap().is_error())
        .await;
    bench.no_secret_is_written().await;
}

/// Whoever reaches the port can do all this as often as they like.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_strangers_do_the_journal_has_few_lines_of_it() {
    const TIMES: usize = 40;
    let bench = Bench::complete().await;
    let (alice, bob) = (bench.client(ALICE), bench.client(BOB));
    let stranger = Client { from: IpAddr::V4(SOMEBODY), ..alice.clone() };
    let before = bench.log().lines().count();
    let json = ("content-type", "application/json");
    let post = async |client: &Client, path: &str, headers: &[(&str, &str)], body: &str| {
        client.send(http::Method::POST, path, headers, body.to_owned()).await.unwrap().status.as_u16()
    };
    let bearer = format!("Bearer {}", alice.token.as_deref().unwrap());
    let signed = ("authorization", bearer.as_str());
    // As fast as they may: what is beyond that is one kind of refusal, whatever it is.
    let mut tick = tokio::time::interval(Duration::from_millis(150));
    for number in 0..TIMES {
        tick.tick().await;
        // What no HTTP is, of either version.
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
        ] {
            connect_from(&bench, SOMEBODY).await.write_all(garbage).await.unwrap();
        }
        assert_eq!(stranger.call("whoami", json!({})).await.unwrap().status, 403);
        let name = format!("no-{number}.example");
        let elsewhere = Client { host: name.clone(), ..stranger.clone() };
        assert_eq!(post(&elsewhere, "/mcp", &[json], "{}").await, 421);
        assert_eq!(post(&alice, &format!("/no/{number}"), &[json, signed], "{}").await, 404);
        assert_eq!(post(&alice, "/mcp", &[json, ("origin", &format!("https://{name}"))], "{}").await, 403);
        assert_eq!(
            post(&alice, "/mcp", &[("content-type", &format!("text/{number}")), signed], "{}").await,
            415
        );
        assert_eq!(post(&alice, "/mcp", &[json, signed], &format!("{{\"no\":{number}}}")).await, 400);
        let token = format!("Bearer t{number:032x}");
        let looked_at = post(&bob, "/mcp", &[json, ("authorization", &token)], "{}").await;
        assert!(matches!(looked_at, 401 | 429), "{looked_at}");
        alice.call(&format!("no_tool_{number}"), json!({})).await.unwrap();
    }
    // The same while the provider talks nonsense.
    bench.world.tsidp.faults().always(Fault::Body("text/html".to_owned(), "<p>".into()));
    for number in 0..TIMES {
        let token = format!("Bearer n{number:032x}");
        let looked_at = post(&alice, "/mcp", &[json, ("authorization", &token)], "{}").await;
        assert!(matches!(looked_at, 429 | 503), "{looked_at}");
    }
    let log = bench.log();
    let written = log.lines().skip(before).collect::<Vec<_>>();
    assert!(written.len() < 60, "{} lines:\n{}", written.len(), written.join("\n"));
    assert!(written.iter().any(|line| line.contains("peer_unknown")), "{}", written.join("\n"));
    for told in ["no-", "/no/", "n000"] {
        assert!(!written.iter().any(|line| line.contains(told)), "{told} is in:\n{}", written.join("\n"));
    }
}

/// GETs from the listener for health and metrics, or from the other one.
async fn look(at: SocketAddr, path: &str) -> (u16, String) {
    let client = Client {
        server: at,
        host: at.to_string(),
        from: IpAddr::V4(ALICE.address),
        token: None,
        path: String::new(),
    };
    let answer = client.send(http::Method::GET, path, &[], "").await.unwrap();
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

/// The value of a series, 0 where there is none.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_can_be_counted_from_outside() {
    let bench = Bench::complete().await;
    let at = bench.world.metrics_address();
    let alice = bench.client(ALICE);
    let (_, before) = look(at, "/metrics").await;
    assert!(!alice.call("whoami", json!({})).await.unwrap().is_error());
    assert!(
        !alice
            .call("snapshot_create", json!({ "dataset": "tank/photos", "name": "m" }))
            .await
            .unwrap()
            .is_error()
    );
    assert!(bench.client(BOB).call("system_info", json!({})).await.unwrap().is_error());
    let stranger = Client { from: IpAddr::V4(SOMEBODY), ..alice.clone() };
    assert_eq!(stranger.call("whoami", json!({})).await.unwrap().status, 403);
    alice.call("no_such_tool_of_mine", json!({})).await.unwrap();
    // F24: not looked at, and counted.
    let path = "/.well-known/oauth-protected-resource";
    let forged = [("x-forwarded-for", "127.0.0.2"), ("tailscale-user-login", "root@example.com")];
    for fields in [&forged[..1], &forged] {
        assert_eq!(alice.send(http::Method::GET, path, fields, "").await.unwrap().status, 200);
    }
    let (status, after) = look(at, "/metrics").await;
    assert_eq!(status, 200);
    for (series, more) in [
        // A change is two: its plan, and what its person said to that.
        ("tailnas_requests_total{outcome=\"answered\"}", 7.0),
        ("tailnas_proxy_fields_ignored_total{field=\"x-forwarded-for\"}", 2.0),
        ("tailnas_proxy_fields_ignored_total{field=\"tailscale-user-login\"}", 1.0),
        ("tailnas_requests_total{outcome=\"forbidden\"}", 1.0),
        ("tailnas_admission_denied_total{reason=\"peer_unknown\"}", 1.0),
        ("tailnas_tool_calls_total{tool=\"whoami\",status=\"ok\"}", 1.0),
        ("tailnas_tool_calls_total{tool=\"snapshot_create\",status=\"planned\"}", 1.0),
        ("tailnas_tool_calls_total{tool=\"snapshot_create\",status=\"ok\"}", 1.0),
        ("tailnas_tool_calls_total{tool=\"system_info\",status=\"missing_scope\"}", 1.0),
        ("tailnas_tool_calls_total{tool=\"unknown\",status=\"unknown_tool\"}", 1.0),
        // whoami; two looks, the intent and the outcome.
        ("tailnas_audit_wait_seconds_count", 5.0),
        // Two for the change alone.
        ("tailnas_audit_sync_seconds_count", 4.0),
    ] {
        let counted = value(&after, series) - value(&before, series);
        // Refusals and checkpoints are synced when it suits.
        let as_wanted = if series.contains("sync") { counted >= more } else { (counted - more).abs() < 0.5 };
        assert!(as_wanted, "{series} went up by {counted}:\n{after}");
    }
    assert!(
        value(&after, "tailnas_audit_records_total") >= value(&before, "tailnas_audit_records_total") + 3.0
    );
    for up in ["tailscaled_up", "provider_up", "nas_up{nas=\"homenas\"}", "audit_up"] {
        assert!((value(&after, &format!("tailnas_{up}")) - 1.0).abs() < 0.5, "{up}:\n{after}");
    }
    let family = "{nas=\"homenas\",family=\"pool.snapshot\"";
    for (series, more) in [
        (format!("tailnas_nas_calls_total{family},outcome=\"answered\"}}"), 1.0),
        (format!("tailnas_nas_call_duration_seconds_count{family}}}"), 1.0),
        (format!("tailnas_nas_call_duration_seconds_sum{family}}}"), 1e-6),
    ] {
        assert!(value(&after, &series) >= value(&before, &series) + more, "{series}:\n{after}");
    }
    for told in [alice.token.as_deref().unwrap(), "alice", "bob", "no_such_tool_of_mine", "tank", "127.0."] {
        assert!(!after.contains(told), "{told:?} is told to everybody:\n{after}");
    }
    // Every sample has a type, and a name as Prometheus wants it.
    for line in after.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        assert!(after.contains(&format!("# TYPE {family} ")), "{line}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_only_on_the_listener_for_it() {
    const PARTS: [&str; 4] = ["/tailscaled", "/provider", "/nas/homenas", "/audit"];
    let bench = Bench::complete().await;
    let at = bench.world.metrics_address();
    let (status, alive) = look(at, "/healthz").await;
    assert_eq!((status, alive.lines().next()), (200, Some("alive")));
    for sink in ["checkpoints", "journal"] {
        assert!(alive.contains(&format!("\ncheckpoints to {sink}: ")), "{alive}");
    }
    let ready = async || {
        let (status, text) = look(at, "/readyz").await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (status, report) = ready().await;
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(look(bench.world.address(), path).await.0, 404, "{path} where clients come in");
        assert_eq!(look(at, "/mcp").await.0, 404);
    }
    let missing = async |part: &str| {
        let ok = |report: &Value, part: &str| report.pointer(part).unwrap()["ok"].clone();
        eventually(part, async || ok(&ready().await.1, part) == json!(false)).await;
        let (status, report) = ready().await;
        assert_eq!((status, &report["ready"]), (503, &json!(false)), "{report}");
        assert!(!report.pointer(part).unwrap()["why"].as_str().unwrap().is_empty(), "{report}");
        for other in PARTS.iter().filter(|other| **other != part) {
            assert_eq!(ok(&report, other), json!(true), "{part} is missing: {report}");
        }
        assert_eq!(look(at, "/healthz").await.0, 200, "it lives all the same");
    };
    bench.world.local_api.stop().await;
    missing("/tailscaled").await;
    bench.world.local_api.restart().await.unwrap();
    bench.world.tsidp.faults().always(Fault::Drop);
    eventually("tailscaled is back", async || ready().await.1["tailscaled"]["ok"] == json!(true)).await;
    missing("/provider").await;
    bench.world.tsidp.faults().clear();
    eventually("all is well again", async || ready().await.0 == 200).await;
    bench.world.nas.stop().await;
    missing("/nas/homenas").await;
}

/// It says "not active" of every token to a client it does not know, and so it does while somebody guesses: an alarm, and
/// nothing that a stranger could take us out of service with.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_knows_no_token_is_an_alarm_and_no_outage() {
    let bench = Bench::complete().await;
    let at = bench.world.metrics_address();
    let alice = bench.client(ALICE);
    let alarms = || bench.log().matches("the provider may not recognise us").count();
    let provider = async || {
        let (status, text) = look(at, "/readyz").await;
        (status, serde_json::from_str::<Value>(&text).unwrap()["provider"].clone())
    };
    for number in 0..9 {
        let guess = Client { token: Some(format!("no-such-token-{number}")), ..alice.clone() };
        assert_eq!(guess.call("whoami", json!({})).await.unwrap().status, 401, "{number}");
    }
    assert_eq!(alarms(), 0, "{}", bench.log());
    let tenth = Client { token: Some("no-such-token".to_owned()), ..alice.clone() };
    assert_eq!(tenth.call("whoami", json!({})).await.unwrap().status, 401);
    eventually("the alarm", async || alarms() == 1).await;
    let doubted = |part: &Value| part["why"].as_str().is_some_and(|why| why.contains("may not recognise us"));
    eventually("it is told on /readyz", async || doubted(&provider().await.1)).await;
    let (status, part) = provider().await;
    assert_eq!((status, &part["ok"]), (200, &json!(true)), "{part}");
    // A token that it knows ends the doubt.
    assert!(!bench.client(ALICE).call("whoami", json!({})).await.unwrap().is_error());
    eventually("the doubt is over", async || !doubted(&provider().await.1)).await;
    assert_eq!(alarms(), 1, "{}", bench.log());
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_just_before_a_stop_is_answered() {
    let mut bench = Bench::start().await;
    let mut early = connect_from(&bench, ALICE.address).await;
    // Connections are taken in the order they come in, so this one was.
    let mut later = connect_from(&bench, ALICE.address).await;
    let request =
        b"GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    later.write_all(request).await.unwrap();
    assert!(until_closed(&mut later).await.starts_with("HTTP/1.1 "));
    let address = bench.world.address();
    let asked = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        early.write_all(request).await.unwrap();
        until_closed(&mut early).await
    };
    let (status, answer) = tokio::join!(bench.daemon.stop(), asked);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    assert!(status.unwrap().success());
}
