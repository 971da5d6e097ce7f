//! HTTP/2, which frames a request by other rules than HTTP/1 and comes to the same checks.

use std::net::Ipv4Addr;

use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tailnas_sim::localapi::User;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, CAPABILITY};

use crate::common::Bench;
use crate::wire::connect;

type Post = Request<Full<Bytes>>;

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pools_list","arguments":{}}}"#;

/// A good call of alice's.
fn good(bench: &Bench) -> Post {
    let token = bench.world.tsidp.mint(TokenSpec::new(ALICE.login.unwrap(), &bench.world.mcp_url()));
    Request::post(bench.world.mcp_url())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::new(Bytes::from_static(CALL.as_bytes())))
        .unwrap()
}

fn add(post: &mut Post, name: &'static str, value: &'static str) {
    post.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
}

/// The same path at another name, or another path.
fn aim(post: &mut Post, authority: Option<&str>, path: &str) {
    let ours = post.uri().authority().unwrap().as_str().to_owned();
    *post.uri_mut() = format!("http://{}{path}", authority.unwrap_or(&ours)).parse().unwrap();
}

/// What is wrong, how a good request becomes so, its status, and the code of its record; none where it is good.
type Case = (&'static str, fn(&mut Post), u16, Option<&'static str>);

const CASES: [Case; 18] = [
    ("nothing", |_| {}, 200, None),
    ("another name", |post| aim(post, Some("evil.example"), "/mcp"), 421, Some("other_host")),
    ("a Host beside it of another mind", |post| add(post, "host", "evil.example"), 400, Some("not_one_host")),
    (
        "two Hosts beside it",
        |post| {
            add(post, "host", "evil.example");
            add(post, "host", "evil.example");
        },
        400,
        Some("not_one_host"),
    ),
    ("a page of others", |post| add(post, "origin", "https://evil.example"), 403, Some("other_origin")),
    ("the Internet", |post| add(post, "tailscale-funnel-request", "?1"), 403, Some("funnel")),
    (
        "no token",
        |post| {
            post.headers_mut().remove(header::AUTHORIZATION);
        },
        401,
        Some("no_token"),
    ),
    ("two tokens", |post| add(post, "authorization", "Bearer x"), 400, Some("several_tokens")),
    ("another method", |post| *post.method_mut() = Method::DELETE, 405, Some("http_method")),
    ("another path", |post| aim(post, None, "/MCP"), 404, Some("no_such_path")),
    ("another path, by dots", |post| aim(post, None, "/x/../mcp"), 404, Some("no_such_path")),
    ("two content types", |post| add(post, "content-type", "text/plain"), 415, Some("content_type")),
    ("a packed body", |post| add(post, "content-encoding", "gzip"), 415, Some("content_encoding")),
    (
        "more fields than anybody needs",
        |post| (0..101).for_each(|_| add(post, "x-many", "1")),
        431,
        Some("head_too_large"),
    ),
    ("another tool in the head", |post| add(post, "mcp-name", "whoami"), 400, Some("header_mismatch")),
    ("a batch", |post| *post.body_mut() = Full::new(Bytes::from_static(b"[{},{}]")), 400, Some("batch")),
    (
        "two versions",
        |post| {
            add(post, "mcp-protocol-version", "2025-06-18");
            add(post, "mcp-protocol-version", "2025-11-25");
        },
        400,
        Some("header_mismatch"),
    ),
    ("the fields of a proxy", |post| add(post, "x-forwarded-for", "127.0.0.9"), 200, None),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_is_hostile_over_http2() {
    let bench = Bench::complete().await;
    let mut wrong = Vec::new();
    for (number, (what, change, status, code)) in (1..).zip(CASES) {
        let from = Ipv4Addr::new(127, 1, 2, number);
        let owner = User::new(456, "alice@example.com", "Alice Doe");
        bench.world.tailnet.add_user_node(from.into(), "laptop", owner);
        let grant = json!({ "scopes": ["storage:read"], "nas": ["*"] });
        bench.world.tailnet.grant(from.into(), CAPABILITY, vec![grant]);
        let mut post = good(&bench);
        change(&mut post);
        let before = bench.nas_calls().len();
        let stream = connect(from, bench.world.address()).await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(post).await.unwrap();
        let got = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        if got != status {
            wrong.push(format!("{what}: {got} and not {status}: {}", String::from_utf8_lossy(&body)));
        }
        let Some(code) = code else { continue };
        let address = from.to_string();
        let record = bench.record(what, |r| r["peer"]["ip"] == address || r["from"] == address).await;
        if record["result"]["code"] != code {
            wrong.push(format!("{what}: no {code} on record, but {record}"));
        }
        if bench.nas_calls().len() != before {
            wrong.push(format!("{what}: the NAS was asked"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.no_secret_is_written().await;
}

/// The protocol itself answers that, before there is a request: the one refusal over HTTP that has no record.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_refused_over_http2_as_well() {
    let bench = Bench::complete().await;
    let before = bench.nas_calls().len();
    let mut post = good(&bench);
    post.headers_mut().insert("x-long", HeaderValue::from_str(&"x".repeat(20_000)).unwrap());
    let stream = connect(ALICE.address, bench.world.address()).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // The answer and the reset behind it may come as one.
    if let Ok(answer) = sender.send_request(post).await {
        assert_eq!(answer.status(), 431);
    }
    assert_eq!(bench.nas_calls().len(), before);
}
