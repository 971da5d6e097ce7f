//! The double against exchanges recorded from the real TSIDP: status, headers and body as they were,
//! random ids aside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::{Tailnet, User};
use tailnas_sim::tsidp::{TokenSpec, Tsidp, TsidpOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

// The recording's addresses, moved to loopback.
const LOOPBACK: &str = "127.0.0.1";
const ALICE: &str = "127.0.0.5";
const BOB: &str = "127.0.0.6";
const TAGGED: &str = "127.0.0.7";
const COLLIDING: &str = "127.0.0.8";
const OUTSIDE: &str = "127.0.0.9";

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const WANT_JSON: &str = "Accept: application/json";
const FUNNEL: &str = "Tailscale-Funnel-Request: ?1";
const RESOURCE: &str = "https%3A%2F%2Ftruenas-mcp.tail.ts.net%2Fmcp";
const CHALLENGE: &str =
    "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
const CALLBACK: &str = "redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback";
const VERIFIER: &str = "code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const INACTIVE: &str = "200 OK\nContent-Type: application/json\n\n{\"active\":false}\n";

struct World {
    tsidp: Tsidp,
    tailnet: Tailnet,
    /// What stands in an answer, and what stood in the recording instead.
    names: Vec<(String, String)>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl World {
    async fn new() -> World {
        let tailnet = Tailnet::new("tail.ts.net");
        let alice = User {
            picture: "https://pics.example/alice.png".to_owned(),
            ..User::new(456, "alice@example.com", "Alice")
        };
        tailnet.add_user_node(ip(ALICE), "laptop", alice);
        tailnet.add_user_node(ip(BOB), "gh", User::new(457, "bob@github", "Bob"));
        tailnet.add_tagged_node(ip(TAGGED), "ci", &["tag:ci"]);
        tailnet.add_user_node(ip(COLLIDING), "odd", User::new(458, "eve@example.com", "Eve"));
        tailnet.grant_on_tsidp(
            ip(ALICE),
            vec![json!({
                "allow_dcr": true,
                "users": ["*"],
                "resources": ["https://truenas-mcp.tail.ts.net/mcp"],
                "extraClaims": {
                    "truenas_scopes": ["storage:read", "apps:write"], "groups": ["storage-admins"],
                    "tier": 3, "on": true,
                },
                "includeInUserInfo": true,
            })],
        );
        tailnet.grant_on_tsidp(ip(COLLIDING), vec![json!({"extraClaims": {"sub": "root"}})]);
        let options = TsidpOptions {
            sts: true,
            issuer: Some("https://idp.tail.ts.net".to_owned()),
            loopback: vec![ip(LOOPBACK)],
            ..TsidpOptions::new(tailnet.clone())
        };
        let tsidp = Tsidp::start(options).await.unwrap();
        tsidp.set_now("2026-11-20T20:34:23.018026289Z".parse::<DateTime<Utc>>().unwrap());
        World { tsidp, tailnet, names: Vec::new() }
    }

    /// Send a request and render the answer: status, sorted headers, empty line, body. `Content-Length` is
    /// checked and left out, `Date` is only left out.
    async fn ask(&self, from: &str, request: &str, headers: &[&str], body: &str) -> String {
        let (head, body) = split(&self.raw(from, request, headers, body).await);
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        let status = lines.remove(0).strip_prefix("HTTP/1.1 ").unwrap();
        lines.retain(|line| !line.starts_with("Date: ") && *line != "Connection: close");
        let length = format!("Content-Length: {}", body.len());
        assert!(status == "204 No Content" || lines.contains(&length.as_str()), "{head}");
        lines.retain(|line| *line != length);
        lines.sort();
        let mut text = format!("{status}\n{}\n\n{body}", lines.join("\n"));
        for (actual, recorded) in &self.names {
            text = text.replace(actual, recorded);
        }
        text
    }

    async fn raw(&self, from: &str, request: &str, headers: &[&str], body: &str) -> Vec<u8> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip(from), 0)).unwrap();
        let stream = socket.connect(self.tsidp.address()).await.unwrap();
        exchange(stream, &message("idp.tail.ts.net", request, headers, body)).await
    }

    async fn register(&mut self) -> (String, String) {
        let body = r#"{"client_name":"Claude","redirect_uris":["http://localhost:3118/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"storage:read"}"#;
        let answer = self.raw(ALICE, "POST /register", &["Content-Type: application/json"], body).await;
        let client: Value = serde_json::from_str(&split(&answer).1).unwrap();
        let member = |name: &str| client[name].as_str().unwrap().to_owned();
        let (id, secret) = (member("client_id"), member("client_secret"));
        self.rename(&id, "6e52117d3075041c33c9bdceddbcfef1");
        self.rename(&secret, "79486d93b4ddf401fcfbc73c83c10dbd06fc586dc3a16f810fd48577a2c16ecc");
        (id, secret)
    }

    /// Visit /authorize and come back with a code.
    async fn code(&self, from: &str, client: &str, scope: &str) -> String {
        let request = format!(
            "GET /authorize?client_id={client}&{CHALLENGE}&{CALLBACK}&response_type=code&scope={scope}&state=st"
        );
        let answer = self.ask(from, &request, &[], "").await;
        let code = answer.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        assert_eq!(
            answer,
            format!(
                "302 Found\nContent-Type: text/html; charset=utf-8\n\
                 Location: http://localhost:3118/callback?code={code}&state=st\n\n\
                 <a href=\"http://localhost:3118/callback?code={code}&amp;state=st\">Found</a>.\n\n"
            )
        );
        code
    }

    async fn tokens(&self, from: &str, form: &str) -> BTreeMap<String, Value> {
        let (head, body) = split(&self.raw(from, "POST /token", &[FORM, WANT_JSON], form).await);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}\n{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn introspect(&self, from: &str, token: &str) -> String {
        self.ask(from, "POST /introspect", &[FORM], &format!("token={token}")).await
    }

    fn rename(&mut self, actual: &str, recorded: &str) {
        self.names.push((actual.to_owned(), recorded.to_owned()));
    }
}

fn message(host: &str, request: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &str) -> Vec<u8> {
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that breaks has still sent what it sent.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

fn split(answer: &[u8]) -> (String, String) {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.to_owned(), body.to_owned())
}

const CORS: &str = "Access-Control-Allow-Headers: *\nAccess-Control-Allow-Methods: METHODS\nAccess-Control-Allow-Origin: *\n";

fn ok(methods: &str, body: &str) -> String {
    format!("200 OK\n{}Content-Type: application/json\n\n{body}\n", CORS.replace("METHODS", methods))
}

/// An error without CORS headers; JSON ends with a line feed, text does not.
fn refused(status: &str, body: &str) -> String {
    let end = if body.starts_with('{') { "\n" } else { "" };
    format!(
        "{status}\nCache-Control: no-store\nContent-Type: text/plain; charset=utf-8\nPragma: no-cache\n\n{body}{end}"
    )
}

/// An error of /token or /register.
fn refused_cors(status: &str, body: &str) -> String {
    let cors = CORS.replace("METHODS", "POST, OPTIONS");
    refused(status, body).replacen("Cache-Control", &format!("{cors}Cache-Control"), 1)
}

/// The members of a JWT after checking its signature against jwks.json.
async fn jwt(world: &World, token: &str) -> (String, String) {
    let jwks = world.raw(OUTSIDE, "GET /.well-known/jwks.json", &[], "").await;
    let jwks: Value = serde_json::from_str(&split(&jwks).1).unwrap();
    let component = |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let key = aws_lc_rs::rsa::PublicKeyComponents { n: component("n"), e: component("e") };
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let text = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (text(header), text(claims))
}

#[tokio::test]
async fn discovery_is_the_recorded_one() {
    let world = World::new().await;
    let openid = r#"{
  "issuer": "https://idp.tail.ts.net",
  "authorization_endpoint": "https://idp.tail.ts.net/authorize",
  "token_endpoint": "https://idp.tail.ts.net/token",
  "userinfo_endpoint": "https://idp.tail.ts.net/userinfo",
  "introspection_endpoint": "https://idp.tail.ts.net/introspect",
  "registration_endpoint": "https://idp.tail.ts.net/register",
  "jwks_uri": "https://idp.tail.ts.net/.well-known/jwks.json",
  "scopes_supported": [
    "openid",
    "email",
    "profile"
  ],
  "response_types_supported": [
    "id_token",
    "code"
  ],
  "subject_types_supported": [
    "public"
  ],
  "claims_supported": [
    "sub",
    "aud",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "username",
    "email",
    "key",
    "addresses",
    "nid",
    "node",
    "tailnet",
    "tags",
    "user",
    "uid"
  ],
  "id_token_signing_alg_values_supported": [
    "RS256"
  ],
  "grant_types_supported": [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange"
  ],
  "token_endpoint_auth_methods_supported": [
    "client_secret_post",
    "client_secret_basic"
  ],
  "code_challenge_methods_supported": [
    "plain",
    "S256"
  ]
}"#;
    let oauth = r#"{
  "issuer": "https://idp.tail.ts.net",
  "authorization_endpoint": "https://idp.tail.ts.net/authorize",
  "token_endpoint": "https://idp.tail.ts.net/token",
  "introspection_endpoint": "https://idp.tail.ts.net/introspect",
  "registration_endpoint": "https://idp.tail.ts.net/register",
  "jwks_uri": "https://idp.tail.ts.net/.well-known/jwks.json",
  "response_types_supported": [
    "id_token",
    "code"
  ],
  "grant_types_supported": [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange"
  ],
  "scopes_supported": [
    "openid",
    "email",
    "profile"
  ],
  "token_endpoint_auth_methods_supported": [
    "client_secret_post",
    "client_secret_basic"
  ],
  "authorization_details_types_supported": [
    "resource_indicators"
  ],
  "resource_indicators_supported": true,
  "code_challenge_methods_supported": [
    "plain",
    "S256"
  ]
}"#;
    // The recorded lengths.
    assert_eq!((openid.len() + 1, oauth.len() + 1), (1197, 909));
    let registration = "  \"registration_endpoint\": \"https://idp.tail.ts.net/register\",\n";
    let (openid_path, oauth_path) =
        ("GET /.well-known/openid-configuration", "GET /.well-known/oauth-authorization-server");
    for (from, request, headers, expected) in [
        (ALICE, openid_path, &[][..], ok("GET, OPTIONS", openid)),
        (ALICE, oauth_path, &[], ok("GET, OPTIONS", oauth)),
        (OUTSIDE, oauth_path, &[FUNNEL], ok("GET, OPTIONS", &oauth.replace(registration, ""))),
        (
            ALICE,
            "GET /.well-known/oauth-authorization-server/mcp",
            &[],
            refused("403 Forbidden", "Error 403: access_denied - application capability not granted"),
        ),
        (
            BOB,
            "GET /",
            &[],
            refused("403 Forbidden", "Error 403: access_denied - application capability not granted"),
        ),
        (
            ALICE,
            "POST /revoke",
            &[FORM, WANT_JSON],
            refused(
                "403 Forbidden",
                r#"{"error":"access_denied","error_description":"application capability not granted"}"#,
            ),
        ),
    ] {
        assert_eq!(world.ask(from, request, headers, "").await, expected, "{request}");
    }
    let jwks = world.ask(ALICE, "GET /.well-known/jwks.json", &[], "").await;
    let n = jwks.split("\"n\": \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(n.len(), 342);
    let keys = format!(
        "{{\n  \"keys\": [\n    {{\n      \"use\": \"sig\",\n      \"kty\": \"RSA\",\n      \
         \"kid\": \"16426365825751361313\",\n      \"alg\": \"RS256\",\n      \"n\": \"{n}\",\n      \
         \"e\": \"AQAB\"\n    }}\n  ]\n}}"
    );
    assert_eq!(jwks, ok("GET, OPTIONS", &keys));
}

#[tokio::test]
async fn registration_is_the_recorded_one() {
    let mut world = World::new().await;
    let created = |body: &str| ok("POST, OPTIONS", body).replacen("200 OK", "201 Created", 1);
    let one = r#"{"redirect_uris":["http://localhost/cb"]}"#;
    for (from, headers, body, expected) in [
        (
            ALICE,
            &[][..],
            r#"{"redirect_uris":["anything goes here"]}"#,
            created(
                r#"{"client_id":"ID","client_secret":"SECRET","redirect_uris":["anything goes here"],"token_endpoint_auth_method":"client_secret_basic","grant_types":["authorization_code"],"response_types":["code"],"application_type":"web","dynamically_registered":true,"created_at":"2026-11-20T20:34:23.018026289Z","redirect_uri":"anything goes here"}"#,
            ),
        ),
        (
            LOOPBACK,
            &[WANT_JSON],
            one,
            created(
                r#"{"client_id":"ID","client_secret":"SECRET","redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"client_secret_basic","grant_types":["authorization_code"],"response_types":["code"],"application_type":"web","dynamically_registered":true,"created_at":"2026-11-20T20:34:23.018026289Z","redirect_uri":"http://localhost/cb"}"#,
            ),
        ),
        (
            ALICE,
            &[],
            r#"{"client_name":"Claude","redirect_uris":["http://localhost:3118/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"storage:read"}"#,
            created(
                r#"{"client_id":"ID","client_secret":"SECRET","client_name":"Claude","redirect_uris":["http://localhost:3118/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"scope":"storage:read","application_type":"web","dynamically_registered":true,"created_at":"2026-11-20T20:34:23.018026289Z","redirect_uri":"http://localhost:3118/callback"}"#,
            ),
        ),
        (
            ALICE,
            &[WANT_JSON],
            "{}",
            refused_cors(
                "400 Bad Request",
                r#"{"error":"invalid_client_metadata","error_description":"redirect_uris is required"}"#,
            ),
        ),
        (
            BOB,
            &[WANT_JSON],
            one,
            refused_cors(
                "403 Forbidden",
                r#"{"error":"access_denied","error_description":"application capability not granted"}"#,
            ),
        ),
        (
            OUTSIDE,
            &[WANT_JSON],
            one,
            refused(
                "500 Internal Server Error",
                r#"{"error":"server_error","error_description":"Error getting WhoIs"}"#,
            ),
        ),
        (
            ALICE,
            &[FUNNEL, WANT_JSON],
            one,
            refused(
                "401 Unauthorized",
                r#"{"error":"access_denied","error_description":"not available over funnel"}"#,
            ),
        ),
    ] {
        let mut answer = world.ask(from, "POST /register", headers, body).await;
        for (member, name) in [("client_id", "ID"), ("client_secret", "SECRET")] {
            if let Some(id) = answer.split(&format!("\"{member}\":\"")).nth(1) {
                let id = id.split('"').next().unwrap().to_owned();
                assert_eq!(id.len(), if name == "ID" { 32 } else { 64 });
                answer = answer.replace(&id, name);
            }
        }
        assert_eq!(answer, expected, "{from} {body}");
    }

    // An admin sees clients without their secrets, and can delete one with everything it was given.
    let (id, _) = world.register().await;
    let list = world.ask(LOOPBACK, "GET /clients/", &[], "").await;
    assert!(
        list.starts_with("200 OK\nContent-Type: text/plain; charset=utf-8\n\n[{\"client_id\":\""),
        "{list}"
    );
    let last = r#"{"client_id":"6e52117d3075041c33c9bdceddbcfef1","client_name":"Claude","redirect_uris":["http://localhost:3118/callback"],"created_at":"2026-11-20T20:34:23.018026289Z","redirect_uri":""}]"#;
    assert!(list.trim_end().ends_with(last), "{list}");
    assert!(!list.contains("client_secret"));
    let token = world.tsidp.mint(TokenSpec { client_id: id.clone(), ..TokenSpec::new("bob@github", "x") });
    let deleted = world.ask(LOOPBACK, &format!("DELETE /clients/{id}"), &[], "").await;
    assert_eq!(deleted, "204 No Content\n\n\n");
    assert_eq!(world.introspect(BOB, &token).await, INACTIVE);
}

#[tokio::test]
async fn authorization_errors_are_the_recorded_ones() {
    let mut world = World::new().await;
    let (client, _) = world.register().await;
    let redirect = |query: &str| {
        let url = format!("http://localhost:3118/callback?{query}&state=st");
        let link = url.replace('&', "&amp;");
        format!(
            "302 Found\nContent-Type: text/html; charset=utf-8\nLocation: {url}\n\n\
             <a href=\"{link}\">Found</a>.\n\n"
        )
    };
    let scope = |scope| {
        format!("error=invalid_scope&error_description=invalid+scope%3A+unsupported+scope%3A+%22{scope}%22")
    };
    let good = format!("client_id={client}&{CHALLENGE}&{CALLBACK}&response_type=code&state=st");
    let bad_request = |text: &str| refused("400 Bad Request", text);
    for (from, headers, query, expected) in [
        (ALICE, &[][..], format!("{good}&scope=openid+storage%3Aread"), redirect(&scope("storage%3Aread"))),
        (ALICE, &[], format!("{good}&scope=openid+offline_access"), redirect(&scope("offline_access"))),
        (
            TAGGED,
            &[],
            format!("{good}&scope=openid"),
            redirect("error=access_denied&error_description=tagged+node+doesn%27t+have+a+user+identity"),
        ),
        (
            OUTSIDE,
            &[],
            good.clone(),
            refused(
                "500 Internal Server Error",
                "Error 500: server_error - failed to authenticate user with WhoIs",
            ),
        ),
        (
            ALICE,
            &[FUNNEL],
            good.clone(),
            refused("401 Unauthorized", "Error 401: access_denied - not allowed over funnel"),
        ),
        (
            ALICE,
            &[],
            good.replace("3118", "3119"),
            bad_request("Error 400: invalid_request - redirect_uri mismatch"),
        ),
        (
            ALICE,
            &[],
            good.replace(&client, "nope"),
            bad_request("Error 400: invalid_client - invalid client ID"),
        ),
    ] {
        let answer = world.ask(from, &format!("GET /authorize?{query}"), headers, "").await;
        assert_eq!(answer, expected, "{from} {query}");
    }
}

#[tokio::test]
async fn a_login_is_the_recorded_one() {
    let mut world = World::new().await;
    let (client, secret) = world.register().await;
    let form = |code: &str, more: &str| {
        format!(
            "client_id={client}&client_secret={secret}&code={code}&{VERIFIER}&grant_type=authorization_code&{CALLBACK}{more}"
        )
    };
    let invalid_resource = || {
        refused_cors(
            "400 Bad Request",
            r#"{"error":"invalid_request","error_description":"invalid resource"}"#,
        )
    };

    for (from, more, expected) in [
        (ALICE, format!("&resource={RESOURCE}%2F"), invalid_resource()),
        (BOB, format!("&resource={RESOURCE}"), invalid_resource()),
        (
            COLLIDING,
            String::new(),
            refused_cors(
                "400 Bad Request",
                r#"{"error":"invalid_request","error_description":"failed to merge extra claims"}"#,
            ),
        ),
    ] {
        let code = world.code(from, &client, "openid").await;
        let body = form(&code, &more);
        assert_eq!(world.ask(from, "POST /token", &[FORM, WANT_JSON], &body).await, expected, "{from}");
    }
    let unknown = world.ask(ALICE, "POST /token", &[FORM], &form("nope", "")).await;
    assert_eq!(unknown, refused_cors("400 Bad Request", "Error 400: invalid_grant - code not found"));
    let code = world.code(ALICE, &client, "openid").await;
    let without = form(&code, "").replace(&format!("&client_secret={secret}"), "");
    let expected = r#"{"error":"invalid_client","error_description":"client authentication failed"}"#;
    let answer = world.ask(ALICE, "POST /token", &[FORM, WANT_JSON], &without).await;
    assert_eq!(answer, refused_cors("401 Unauthorized", expected));
    let grant = format!("grant_type=client_credentials&client_id={client}&client_secret={secret}");
    let expected = r#"{"error":"unsupported_grant_type","error_description":"unsupported grant type"}"#;
    let answer = world.ask(OUTSIDE, "POST /token", &[FORM, WANT_JSON], &grant).await;
    assert_eq!(answer, refused_cors("400 Bad Request", expected));

    // The login that works, with a resource that is granted and one that is silently dropped.
    let code = world.code(ALICE, &client, "openid+email+profile").await;
    let body = form(&code, &format!("&resource={RESOURCE}&resource=https%3A%2F%2Fevil.example%2F"));
    let answer = world.raw(ALICE, "POST /token", &[FORM, WANT_JSON], &body).await;
    let (_, answer) = split(&answer);
    let tokens: BTreeMap<String, Value> = serde_json::from_str(&answer).unwrap();
    let member = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let (access, refresh, id_token) = (member("access_token"), member("refresh_token"), member("id_token"));
    assert_eq!(
        answer,
        format!(
            r#"{{"id_token":"{id_token}","token_type":"Bearer","access_token":"{access}","refresh_token":"{refresh}","expires_in":300}}"#
        ) + "\n"
    );
    assert_eq!((access.len(), refresh.len()), (32, 32));
    let again = world.ask(ALICE, "POST /token", &[FORM], &body).await;
    assert_eq!(again, refused_cors("400 Bad Request", "Error 400: invalid_grant - code not found"));

    let (header, claims) = jwt(&world, &id_token).await;
    assert_eq!(header, r#"{"alg":"RS256","kid":"16426365825751361313","typ":"JWT"}"#);
    let parsed: Value = serde_json::from_str(&claims).unwrap();
    world.rename(parsed["jti"].as_str().unwrap(), "369feb0d43c244e0a210b92fbf1ba313");
    let (nid, key) = (&parsed["nid"], &parsed["key"]);
    assert_eq!(
        claims.replace(&client, "CLIENT").replace(parsed["jti"].as_str().unwrap(), "JTI"),
        format!(
            r#"{{"addresses":["127.0.0.5/32"],"aud":["CLIENT","https://truenas-mcp.tail.ts.net/mcp"],"azp":"CLIENT","email":"alice@example.com","exp":1795207163,"groups":["storage-admins"],"iat":1795206863,"iss":"https://idp.tail.ts.net","jti":"JTI","key":{key},"nbf":1795206563,"nid":{nid},"node":"laptop.tail.ts.net.","on":true,"picture":"https://pics.example/alice.png","preferred_username":"alice","sub":"userid:456","tailnet":"tail.ts.net.","tier":3,"truenas_scopes":["storage:read","apps:write"],"uid":456}}"#
        )
    );

    // Every node of the tailnet may ask, whatever it is; from outside only with a client's secret.
    let active = "200 OK\nContent-Type: application/json\n\n".to_owned()
        + r#"{"active":true,"aud":["6e52117d3075041c33c9bdceddbcfef1","https://truenas-mcp.tail.ts.net/mcp"],"client_id":"6e52117d3075041c33c9bdceddbcfef1","email":"alice@example.com","exp":1795207163,"iat":1795206863,"iss":"https://idp.tail.ts.net","jti":"369feb0d43c244e0a210b92fbf1ba313","nbf":1795206563,"picture":"https://pics.example/alice.png","preferred_username":"alice","scope":"openid email profile","sub":"456","token_type":"Bearer","username":"alice@example.com"}"#
        + "\n";
    let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("{client}:{secret}")));
    let posted = format!("token={access}&client_id={client}&client_secret={secret}");
    let in_query = format!("POST /introspect?token={access}");
    let required = "Error 400: invalid_request - token is required";
    let required_json = r#"{"error":"invalid_request","error_description":"token is required"}"#;
    let wrong_basic = "Authorization: Basic eDp5";
    let just_token = format!("token={access}");
    let before = world.tsidp.introspections();
    let cases: Vec<(&str, &str, Vec<&str>, String, String)> = vec![
        (BOB, "POST /introspect", vec![FORM], just_token.clone(), active.clone()),
        (TAGGED, "POST /introspect", vec![FORM, wrong_basic], just_token.clone(), active.clone()),
        (OUTSIDE, "POST /introspect", vec![FORM, &basic], just_token.clone(), active.clone()),
        (OUTSIDE, "POST /introspect", vec![FORM], posted, active.clone()),
        (BOB, &in_query, vec![FORM], String::new(), active.clone()),
        (OUTSIDE, "POST /introspect", vec![FORM], just_token.clone(), INACTIVE.to_owned()),
        (OUTSIDE, "POST /introspect", vec![FORM, wrong_basic], just_token.clone(), INACTIVE.to_owned()),
        (BOB, "POST /introspect", vec![FORM], "token=deadbeef".to_owned(), INACTIVE.to_owned()),
        (OUTSIDE, "POST /introspect", vec![FORM], "token=deadbeef".to_owned(), INACTIVE.to_owned()),
        (
            BOB,
            "POST /introspect",
            vec![FORM],
            format!("token={refresh}&token_type_hint=refresh_token"),
            INACTIVE.to_owned(),
        ),
        (BOB, "POST /introspect", vec![FORM], format!("token={id_token}"), INACTIVE.to_owned()),
        (BOB, "POST /introspect", vec![FORM], String::new(), refused("400 Bad Request", required)),
        (
            BOB,
            "POST /introspect",
            vec![FORM, WANT_JSON],
            String::new(),
            refused("400 Bad Request", required_json),
        ),
        (
            BOB,
            "POST /introspect",
            vec!["Content-Type: application/json"],
            format!("{{\"token\":\"{access}\"}}"),
            refused("400 Bad Request", required),
        ),
        (
            BOB,
            "GET /introspect?token=x",
            vec![],
            String::new(),
            refused("405 Method Not Allowed", "Error 405: invalid_request - method not allowed"),
        ),
    ];
    let count = cases.len();
    for (from, request, headers, body, expected) in cases {
        assert_eq!(world.ask(from, request, &headers, &body).await, expected, "{from} {request} {body}");
    }
    assert_eq!(world.tsidp.introspections(), before + count);

    // userinfo needs no tailnet, only the token.
    let userinfo = "200 OK\nContent-Type: application/json\n\n".to_owned()
        + r#"{"email":"alice@example.com","groups":["storage-admins"],"name":"Alice","on":true,"picture":"https://pics.example/alice.png","sub":"userid:456","tier":3,"truenas_scopes":["storage:read","apps:write"],"username":"alice"}"#
        + "\n";
    let bearer = format!("Authorization: Bearer {access}");
    assert_eq!(world.ask(OUTSIDE, "GET /userinfo", &[&bearer], "").await, userinfo);

    // Grants are a snapshot: taking them away changes neither userinfo nor refresh.
    world.tailnet.revoke_on_tsidp(ip(ALICE));
    assert_eq!(world.ask(OUTSIDE, "GET /userinfo", &[&bearer], "").await, userinfo);
    let renew = format!(
        "client_id={client}&client_secret={secret}&grant_type=refresh_token&refresh_token={refresh}&resource={RESOURCE}"
    );
    let renewed = world.tokens(OUTSIDE, &renew).await;
    let renewed_access = renewed["access_token"].as_str().unwrap();
    let (_, claims) = jwt(&world, renewed["id_token"].as_str().unwrap()).await;
    let claims: Value = serde_json::from_str(&claims).unwrap();
    assert_eq!(claims["truenas_scopes"], json!(["storage:read", "apps:write"]));
    world.rename(claims["jti"].as_str().unwrap(), "369feb0d43c244e0a210b92fbf1ba313");
    assert_eq!(world.introspect(BOB, renewed_access).await, active);
    assert_eq!(world.introspect(BOB, &access).await, active, "the old access token stays valid");
    let reuse = world.ask(OUTSIDE, "POST /token", &[FORM, WANT_JSON], &renew).await;
    let expected = r#"{"error":"invalid_grant","error_description":"invalid refresh token"}"#;
    assert_eq!(reuse, refused_cors("400 Bad Request", expected));
}

#[tokio::test]
async fn a_login_without_resource_is_for_the_client_alone() {
    let mut world = World::new().await;
    let (client, secret) = world.register().await;
    for (scope, expected) in [
        (
            "",
            r#"{"active":true,"aud":["6e52117d3075041c33c9bdceddbcfef1"],"client_id":"6e52117d3075041c33c9bdceddbcfef1","exp":1795207163,"iat":1795206863,"iss":"https://idp.tail.ts.net","jti":"JTI","nbf":1795206563,"scope":"openid","sub":"457","token_type":"Bearer","username":"bob@github"}"#,
        ),
        (
            "openid+email+profile",
            r#"{"active":true,"aud":["6e52117d3075041c33c9bdceddbcfef1"],"client_id":"6e52117d3075041c33c9bdceddbcfef1","email":"bob@github","exp":1795207163,"iat":1795206863,"iss":"https://idp.tail.ts.net","jti":"JTI","nbf":1795206563,"picture":"","preferred_username":"bob","scope":"openid email profile","sub":"457","token_type":"Bearer","username":"bob@github"}"#,
        ),
    ] {
        // `resource` at /authorize counts for nothing.
        let code = world.code(BOB, &client, &format!("{scope}&resource={RESOURCE}")).await;
        let form = format!(
            "client_id={client}&client_secret={secret}&code={code}&{VERIFIER}&grant_type=authorization_code&{CALLBACK}"
        );
        let access = world.tokens(BOB, &form).await["access_token"].as_str().unwrap().to_owned();
        let answer = world.introspect(TAGGED, &access).await;
        let jti = answer.split("\"jti\":\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(
            answer.replace(jti, "JTI"),
            format!("200 OK\nContent-Type: application/json\n\n{expected}\n")
        );
        let bearer = format!("Authorization: Bearer {access}");
        assert_eq!(
            world.ask(OUTSIDE, "GET /userinfo", &[&bearer], "").await,
            "200 OK\nContent-Type: application/json\n\n".to_owned()
                + r#"{"email":"bob@github.idp.tail.ts.net","name":"Bob","sub":"userid:457","username":"bob"}"#
                + "\n"
        );
    }
}

#[tokio::test]
async fn userinfo_errors_and_cross_origin_requests_are_the_recorded_ones() {
    let world = World::new().await;
    let challenge = |status: &str, error: &str, text: &str| {
        format!("{status}\nWww-Authenticate: Bearer error=\"{error}\", error_description=\"{text}\"\n\n")
    };
    let missing = challenge("400 Bad Request", "invalid_request", "invalid Authorization header");
    let forbidden = |text: &str| {
        format!(
            "403 Forbidden\nContent-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\n\n{text}\n"
        )
    };
    let fetch_site = forbidden("cross-origin request detected from Sec-Fetch-Site header");
    let origin = forbidden(
        "cross-origin request detected, and/or browser is out of date: Sec-Fetch-Site is missing, and Origin does not match Host",
    );
    let token = format!("token={}", world.tsidp.mint(TokenSpec::new("bob@github", "x")));
    for (request, headers, body, expected) in [
        (
            "GET /userinfo",
            &["Authorization: Bearer nope"][..],
            "",
            challenge("401 Unauthorized", "invalid_token", "invalid token"),
        ),
        ("GET /userinfo", &[], "", missing.clone()),
        ("GET /userinfo", &["Authorization: bearer x"], "", missing),
        (
            "POST /userinfo",
            &[],
            "",
            refused("405 Method Not Allowed", "Error 405: invalid_request - method not allowed"),
        ),
        (
            "POST /register",
            &["Origin: http://localhost:6274", "Sec-Fetch-Site: cross-site"],
            "{}",
            fetch_site,
        ),
        ("POST /introspect", &["Origin: https://truenas-mcp.tail.ts.net", FORM], &token, origin),
    ] {
        assert_eq!(world.ask(BOB, request, headers, body).await, expected, "{request} {headers:?}");
    }
    for headers in [["Origin: https://idp.tail.ts.net", FORM], ["Sec-Fetch-Site: same-origin", FORM]] {
        let answer = world.ask(BOB, "POST /introspect", &headers, &token).await;
        assert!(answer.contains("\"active\":true"), "{headers:?}: {answer}");
    }
}

#[tokio::test]
async fn token_exchange_is_the_recorded_one() {
    let world = World::new().await;
    let subject = world.tsidp.mint(TokenSpec::new("alice@example.com", "https://other.example/"));
    let form = |audience: &str| {
        format!(
            "audience={audience}&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&scope=storage%3Aread&subject_token={subject}&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
        )
    };
    // A tagged node without credentials exchanges a token that was for somebody else.
    let answer = world.ask(TAGGED, "POST /token", &[FORM, WANT_JSON], &form(RESOURCE)).await;
    let token = answer.split("\"access_token\":\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!(
        r#"{{"access_token":"{token}","expires_in":300,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token","scope":"openid email profile","token_type":"Bearer"}}"#
    );
    assert_eq!(answer, ok("POST, OPTIONS", &body));
    let introspected = world.introspect(BOB, token).await;
    let node = introspected.split("node:").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        introspected.replace(node, "13"),
        "200 OK\nContent-Type: application/json\n\n".to_owned()
            + r#"{"active":true,"aud":["https://truenas-mcp.tail.ts.net/mcp"],"client_id":"node:13","email":"alice@example.com","exp":1795207163,"iat":1795206863,"iss":"https://idp.tail.ts.net","nbf":1795206563,"picture":"https://pics.example/alice.png","preferred_username":"alice","scope":"openid email profile","sub":"456","token_type":"Bearer","username":"alice@example.com"}"#
            + "\n"
    );
    let denied = world.ask(TAGGED, "POST /token", &[FORM, WANT_JSON], &form("https%3A%2F%2Fother%2F")).await;
    let expected = r#"{"error":"access_denied","error_description":"access denied for requested audience"}"#;
    assert_eq!(denied, refused_cors("403 Forbidden", expected));
}

#[tokio::test]
async fn tokens_end_by_time_by_hand_and_with_the_process() {
    let mut world = World::new().await;
    let (client, _) = world.register().await;
    let mint =
        || world.tsidp.mint(TokenSpec::new("alice@example.com", "https://truenas-mcp.tail.ts.net/mcp"));
    let (aging, expired, revoked, dying) = (mint(), mint(), mint(), mint());
    world.tsidp.expire(&expired);
    world.tsidp.revoke(&revoked);
    assert_eq!(world.introspect(BOB, &expired).await, INACTIVE);
    assert_eq!(world.introspect(BOB, &revoked).await, INACTIVE);

    world.tsidp.advance(TimeDelta::seconds(300));
    assert!(world.introspect(BOB, &aging).await.contains("\"active\":true"), "exp itself is still valid");
    world.tsidp.advance(TimeDelta::seconds(1));
    assert_eq!(world.introspect(BOB, &aging).await, INACTIVE);

    let stays = mint();
    world.tsidp.set_claims(&stays, json!({"active": true, "sub": "<0>", "exp": "soon"}));
    assert_eq!(
        world.introspect(OUTSIDE, &stays).await,
        "200 OK\nContent-Type: application/json\n\n{\"active\":true,\"exp\":\"soon\",\"sub\":\"\\u003c0\\u003e\"}\n"
    );
    let address = world.tsidp.address();
    world.tsidp.restart().await.unwrap();
    assert_eq!(world.tsidp.address(), address);
    assert_eq!(world.introspect(BOB, &dying).await, INACTIVE);
    world.code(ALICE, &client, "openid").await;
}

#[tokio::test]
async fn faults_show_on_the_wire() {
    let world = World::new().await;
    let faults = world.tsidp.faults();
    let ask = async || world.raw(BOB, "GET /.well-known/openid-configuration", &[], "").await;
    let right = split(&ask().await);

    faults.once(Fault::Slow(Duration::from_millis(20)));
    assert_eq!(split(&ask().await).1, right.1);
    faults.once(Fault::Drop);
    assert_eq!(ask().await, b"");
    faults.once(Fault::Garbage);
    assert!(!ask().await.starts_with(b"HTTP/"));
    faults.once(Fault::HalfFrame);
    let half = ask().await;
    assert!(half.starts_with(b"HTTP/1.1 200 OK\r\n") && half.len() < right.1.len(), "{}", half.len());
    faults.once(Fault::Status(502, "bad gateway".to_owned()));
    let (head, body) = split(&ask().await);
    assert!(head.starts_with("HTTP/1.1 502 ") && body == "bad gateway");
    faults.once(Fault::Body("text/html".to_owned(), b"<html>".to_vec()));
    let (head, body) = split(&ask().await);
    assert!(head.contains("Content-Type: text/html\r\n") && body == "<html>");
    faults.once(Fault::Oversize(100_000));
    let body = split(&ask().await).1;
    assert_eq!((body.len(), body.trim_end()), (100_000, right.1.trim_end()));
    faults.once(Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(50), ask()).await.is_err());
    assert_eq!(split(&ask().await).1, right.1);
}

#[tokio::test]
async fn https_has_its_own_authority() {
    let options = TsidpOptions { tls: true, ..TsidpOptions::new(Tailnet::new("tail.ts.net")) };
    let tsidp = Tsidp::start(options).await.unwrap();
    assert_eq!(tsidp.issuer(), format!("https://{}", tsidp.address()));
    let mut roots = rustls::RootCertStore::empty();
    let pem = tsidp.ca_pem().unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    roots.add(STANDARD.decode(der).unwrap().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for name in ["127.0.0.1", "localhost"] {
        let stream = tokio::net::TcpStream::connect(tsidp.address()).await.unwrap();
        let stream = connector.connect(name.try_into().unwrap(), stream).await.unwrap();
        let answer = exchange(stream, &message(name, "GET /.well-known/openid-configuration", &[], "")).await;
        assert!(split(&answer).1.contains(&format!("\"issuer\": \"{}\"", tsidp.issuer())));
    }
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let options =
        TsidpOptions { listen: "0.0.0.0:0".parse().unwrap(), ..TsidpOptions::new(Tailnet::new("x")) };
    assert!(Tsidp::start(options).await.is_err());
}
