//! Rights that change while the daemon runs, and callers that come in other ways: the daemon as a process, its
//! configuration rewritten and read again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::{Bench, eventually, given_by, tool_names};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas_sim::client::Client;
use tailnas_sim::localapi::User;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, Person, TAGGED};

fn configuration(bench: &Bench) -> String {
    std::fs::read_to_string(bench.world.config()).unwrap()
}

fn write(bench: &Bench, text: &str) {
    bench.world.write("config.toml", text).unwrap();
}

/// Starts a daemon that has its NAS, with `more` at the end of its configuration.
async fn bench_with(more: &str) -> Bench {
    let bench = Bench::start_with(|world| {
        let text = std::fs::read_to_string(world.config()).unwrap();
        world.write("config.toml", &(text + more)).unwrap();
    })
    .await;
    bench.nas_is_up().await;
    bench
}

/// What `tailnas grants` says about the neighbourhood.
fn grants(bench: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let config = bench.world.config();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["grants"])
        .args(args)
        .args(["--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_explains_is_what_the_daemon_does() {
    let bench = bench_with("\n[[agent]]\ntag = \"tag:ci\"\nscopes = [\"system:read\"]\n").await;
    let agent = Client { token: None, ..at(TAGGED, bench.client(ALICE)) };
    for (name, client) in
        [("alice@example.com", bench.client(ALICE)), ("bob@github", bench.client(BOB)), ("tag:ci", agent)]
    {
        let (code, text) = grants(&bench, &["explain", name]);
        assert_eq!(code, Some(0), "{text}");
        let yes: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("✓ ")).collect();
        let yes: Vec<_> = yes.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(yes, tool_names(&client.modern("tools/list", json!({})).await.unwrap()), "{name}: {text}");
        let no = text.lines().filter(|line| line.trim().starts_with("✗ ")).count();
        assert_eq!(yes.len() + no, Catalogue::new().specs().count(), "{text}");
    }
    let (code, text) = grants(&bench, &["explain", "bob@github", "--address", "127.0.0.2"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("needs alerts:read, which no grant gives them"), "{text}");
    assert!(text.contains("storage:read by a grant of the tailnet"), "{text}");
    for (args, said) in [
        (&["explain", "bob@github", "--address", "127.0.0.1"][..], "is not bob@github's"),
        (&["explain", "carol@example.com"], "has no node on this tailnet"),
        (&["explain", "carol@example.com", "--address", "127.0.0.50"], "knows no node with that address"),
        (&["explain", "tag:tailnas", "--address", "127.0.0.100"], "tagged node"),
    ] {
        let (code, text) = grants(&bench, args);
        assert!(code == Some(1) && text.contains(said), "{args:?}: {code:?} {text}");
    }
    bench.world.local_api.stop().await;
    let (code, text) = grants(&bench, &["explain", "bob@github"]);
    assert!(code != Some(0) && text.contains("tailscaled could not be asked"), "{code:?} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_grants_are_those_of_this_tailnet_and_let_people_in() {
    let bench = bench_with("\n[[relay]]\ntag = \"tag:ci\"\n").await;
    let (code, text) = grants(&bench, &["print"]);
    assert_eq!(code, Some(0), "{text}");
    let commented = text.lines().filter(|line| line.contains(" // ") || line.starts_with("//")).count();
    assert!(commented + 4 >= text.lines().count(), "a comment on each line that says something: {text}");
    // As a reader of HuJSON takes it: without comments, and with commas before a closing bracket.
    let plain: String = text.lines().map(|line| line.split("// ").next().unwrap().trim()).collect();
    let plain = format!("{{{}}}", plain.trim_end_matches(',')).replace(",]", "]");
    let policy: Value = serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}: {plain}"));
    let of = |capability: &str| -> Vec<Value> {
        let grants = policy["grants"].as_array().unwrap().iter();
        grants.filter(|grant| grant["app"][capability].is_array()).cloned().collect()
    };
    let [people, relay] = &of(CAPABILITY)[..] else { panic!("{policy}") };
    assert_eq!(people["src"], json!(["alice@example.com", "bob@github"]));
    assert_eq!((&people["dst"], &relay["src"]), (&json!(["tag:tailnas"]), &json!(["tag:ci"])));
    assert_eq!(people["ip"], json!([format!("tcp:{}", bench.world.address().port())]));
    let [tsidp] = &of("tailscale.com/cap/tsidp")[..] else { panic!("{policy}") };
    assert_eq!(tsidp["app"]["tailscale.com/cap/tsidp"][0]["resources"], json!([bench.world.mcp_url()]));
    assert_eq!(policy["grants"].as_array().unwrap().last().unwrap()["src"], json!(["tag:tailnas"]));

    // What it says, put where the tailnet puts it, is understood.
    let bobs = IpAddr::V4(BOB.address);
    bench.world.tailnet.revoke(bobs, CAPABILITY);
    let values = people["app"][CAPABILITY].as_array().unwrap().clone();
    bench.world.tailnet.grant(bobs, CAPABILITY, values);
    let listed = tool_names(&bench.client(BOB).modern("tools/list", json!({})).await.unwrap());
    let catalogue = Catalogue::new();
    let looks: Vec<_> =
        catalogue.for_whoever(|spec| spec.risk == Risk::Read).map(|item| item.spec().name).collect();
    assert_eq!(listed, looks, "everything that only looks");
}

fn at(person: Person, client: Client) -> Client {
    Client { from: IpAddr::V4(person.address), ..client }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_changes_nothing_and_a_right_one_everything_at_once() {
    let bench = Bench::complete().await;
    let bob = bench.client(BOB);
    let call = async |tool: &str| bob.call(tool, json!({})).await.unwrap();
    assert!(call("alerts_list").await.is_error());
    let good = configuration(&bench);
    let grant = "\n[[grant]]\nlogin = \"bob@github\"\nscopes = [\"alerts:read\"]\n";

    // The grant is right, and three other things are not: all of it is told, and none of it is taken over.
    let issuer = bench.world.tsidp.issuer();
    let bad = good.replace(&issuer, "ftp://idp").replace("[tailnet]", "[tailnet]\ncolour = \"red\"")
        + grant
        + "\n[[agent]]\ntag = \"tag:ci\"\nscopes = [\"storage:destroy\"]\n";
    write(&bench, &bad);
    bench.reload().await;
    assert!(call("alerts_list").await.is_error(), "nothing of a wrong file counts");
    assert!(!call("pools_list").await.is_error(), "and the old one goes on");
    let log = bench.log();
    for said in ["the old one goes on", "provider.issuer", "tailnet.colour", "no agent can destroy"] {
        assert!(log.contains(said), "{said} in {log}");
    }
    let digest = hex::encode(Sha256::digest(&bad));
    let refused = bench.record("the reload", |record| record["type"] == "reload").await;
    assert_eq!((&refused["status"], &refused["config"]), (&json!("error"), &json!(digest)));

    // A file it names that cannot be used is as bad.
    write(&bench, &(good.replace("[[nas]]", "ca_file = \"/nowhere/ca.pem\"\n\n[[nas]]") + grant));
    bench.reload().await;
    assert!(call("alerts_list").await.is_error());
    assert!(bench.log().contains("/nowhere/ca.pem"));

    write(&bench, &(good.clone() + grant + "\n[log]\nfilter = \"debug\"\n"));
    bench.reload().await;
    assert!(!call("alerts_list").await.is_error(), "from the next call on");
    let record = bench.record("the read", |r| r["tool"] == "alerts_list" && r["type"] == "read").await;
    assert_eq!(record["decision"]["rule"], "policy");
    let reloads: Vec<_> = bench.records().into_iter().filter(|record| record["type"] == "reload").collect();
    assert_eq!(reloads.iter().map(|reload| &reload["status"]).collect::<Vec<_>>(), ["error", "error", "ok"]);

    // A policy file, and what cannot be changed at run time.
    bench.world.write("policy.toml", &grant.replace("alerts", "jobs")).unwrap();
    let policy = format!("\n[policy]\nfile = \"{}/policy.toml\"\n", bench.dir.path().display());
    write(&bench, &(good.replace("/audit\"", "/elsewhere\"") + &policy));
    bench.reload().await;
    assert!(!call("jobs_list").await.is_error());
    assert!(call("alerts_list").await.is_error(), "what is no longer granted is refused");
    assert!(bench.log().contains("needs a restart"), "{}", bench.log());
    assert!(!bench.dir.path().join("elsewhere").exists());

    write(&bench, &(good + "\n[limits]\ncalls_per_second = 1\nburst = 1\n"));
    bench.reload().await;
    let mut refused = 0;
    for _ in 0..10 {
        refused += u32::from(call("pools_list").await.is_error());
    }
    assert!(refused > 0, "one call a second, and ten were let through at once");
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_wants_a_person_for_is_not_made_on_a_clients_word() {
    let bench = Bench::complete().await;
    let alice = bench.client(ALICE);
    let snapshot = json!({ "dataset": "tank/photos", "name": "asked" });
    let call = async |arguments: &Value| {
        let params = json!({ "name": "snapshot_create", "arguments": arguments });
        alice.modern("tools/call", params).await.unwrap()
    };
    let planned = async || call(&snapshot).await.json()["result"]["structuredContent"].clone();
    let insists = async |plan: &Value| {
        let mut arguments = snapshot.clone();
        arguments["plan"] = plan["plan"].clone();
        let answer = call(&arguments).await;
        assert!(answer.is_error(), "{}", answer.text());
        answer.text()
    };
    let before = planned().await;
    assert_eq!(before["effect"]["risk"], "reversible", "{before}");

    let good = configuration(&bench);
    write(&bench, &(good.clone() + "\n[approval]\nalways = [\"storage:write\"]\n"));
    bench.reload().await;
    // What was planned before was planned for less.
    assert!(insists(&before).await.contains("Nothing was changed"));
    let raised = planned().await;
    assert_eq!(raised["effect"]["risk"], "disruptive", "{raised}");
    let why = "The configuration has a person approve whatever takes storage:write.";
    assert!(raised["effect"]["warnings"].to_string().contains(why), "{raised}");
    assert!(insists(&raised).await.contains("a person approves it on the page"));
    assert!(!bench.nas_calls().contains(&"pool.snapshot.create".to_owned()));

    // A scope of which it would mean nothing is a mistake, and the old file goes on.
    write(&bench, &(good.clone() + "\n[approval]\nalways = [\"storage:read\"]\n"));
    bench.reload().await;
    assert!(bench.log().contains("nothing is changed with storage:read"), "{}", bench.log());
    assert_eq!(planned().await["effect"]["risk"], "disruptive");
    write(&bench, &good);
    bench.reload().await;
    assert_eq!(planned().await["effect"]["risk"], "reversible");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_tried_again_with_another_key() {
    let bench = Bench::start_with(|world| world.write("reader.key", "1-wrong").unwrap()).await;
    let alice = bench.client(ALICE);
    let refused = async || {
        let answer = alice.call("system_info", json!({})).await.unwrap();
        answer.is_error() && answer.text().contains("refused")
    };
    eventually("the NAS refused the login", refused).await;
    let logins = || bench.world.nas.transcript().iter().filter(|call| call.method == "auth.login_ex").count();
    let before = logins();
    bench.reload().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(logins(), before, "the same key is not tried again");
    bench.world.write("reader.key", &bench.world.nas.reader_key().key).unwrap();
    bench.reload().await;
    bench.nas_is_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_brings_a_person_who_may_no_more_than_both() {
    let bench = bench_with("\n[[relay]]\ntag = \"tag:ci\"\n").await;
    let through = at(TAGGED, bench.client(ALICE));
    // The runner's node has storage:read alone; Alice has that and more.
    let listed = tool_names(&through.modern("tools/list", json!({})).await.unwrap());
    assert_eq!(listed, given_by(TAGGED.scopes));
    assert!(!through.call("pools_list", json!({})).await.unwrap().is_error());
    let refused = through.call("alerts_list", json!({})).await.unwrap();
    assert!(refused.is_error() && refused.text().contains("both the person and the relay's node"));
    let record = bench.record("the read", |r| r["type"] == "read" && r["via"] == "relay").await;
    assert_eq!(record["peer"]["tags"], json!(["tag:ci"]));
    assert_eq!(record["auth"]["username"], "alice@example.com");
    let denied = bench.record("the refusal", |r| r["type"] == "denied" && r["via"] == "relay").await;
    assert_eq!(denied["decision"]["missing"], "alerts:read");

    // With a grant for the relay a change goes through it, and is told apart.
    let tagged = IpAddr::V4(TAGGED.address);
    bench.world.tailnet.grant(tagged, CAPABILITY, vec![json!({ "scopes": ["storage:write"] })]);
    let arguments = json!({ "dataset": "tank/photos", "name": "relayed" });
    let changed = through.call("snapshot_create", arguments).await.unwrap();
    assert!(!changed.is_error(), "{}", changed.text());
    let intent = bench.record("the intent", |r| r["type"] == "intent").await;
    assert_eq!(intent["via"], "relay");

    // Without a token a relay is nobody; once it is taken out of the file it is what it was.
    let nobody = Client { token: None, ..through.clone() };
    assert_eq!(nobody.call("whoami", json!({})).await.unwrap().status, 401);
    write(&bench, &configuration(&bench).replace("tag:ci", "tag:other"));
    bench.reload().await;
    assert_eq!(through.call("pools_list", json!({})).await.unwrap().status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_comes_without_a_token_and_has_what_its_section_says() {
    let bench =
        bench_with("\n[[agent]]\ntag = \"tag:ci\"\nscopes = [\"system:read\", \"storage:write\"]\n").await;
    let agent = Client { token: None, ..at(TAGGED, bench.client(ALICE)) };
    let whoami = agent.call("whoami", json!({})).await.unwrap();
    assert!(whoami.text().contains("You are the agent tag:ci"), "{}", whoami.text());
    assert!(!agent.call("system_info", json!({})).await.unwrap().is_error());
    let refused = agent.call("pools_list", json!({})).await.unwrap();
    assert!(refused.is_error() && refused.text().contains("[[agent]]"), "{}", refused.text());
    let read = bench.record("the read", |r| r["tool"] == "system_info" && r["via"] == "agent").await;
    assert!(read["auth"].is_null() && read["decision"]["rule"] == "agent", "{read}");
    let arguments = json!({ "dataset": "tank/photos", "name": "nightly" });
    assert!(!agent.call("snapshot_create", arguments).await.unwrap().is_error());
    let intent = bench.record("the intent", |r| r["type"] == "intent").await;
    assert_eq!(intent["decision"]["approval"], "unattended", "no person agreed to it");

    let person = Client { token: None, ..bench.client(ALICE) };
    assert_eq!(person.call("whoami", json!({})).await.unwrap().status, 401, "people need a token");
    let with_token = at(TAGGED, bench.client(ALICE));
    assert_eq!(with_token.call("whoami", json!({})).await.unwrap().status, 403, "it is no relay");
    // The calls' grant can be taken away like any other.
    write(&bench, &configuration(&bench).replace("\"system:read\", ", ""));
    bench.reload().await;
    assert!(agent.call("system_info", json!({})).await.unwrap().is_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_is_told_what_to_ask_for_and_a_token_without_it_sends_for_a_better_one() {
    let bench = bench_with("").await;
    let kind =
        "kind = \"generic\"\nlogin_claim = \"email\"\nscopes = [\"openid\", \"email\", \"system:read\"]\n";
    write(&bench, &configuration(&bench).replace("\n[[nas]]", &format!("{kind}\n[[nas]]")));
    bench.reload().await;
    let alice = bench.client(ALICE);
    let token = |name: &str, change: Value| {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let mut claims = json!({
            "active": true, "aud": bench.world.mcp_url(), "client_id": "c", "exp": now + 300, "sub": "0b1c-uuid",
            "iss": bench.world.tsidp.issuer(), "token_type": "Bearer", "scope": "openid email system:read",
            "email": "alice@example.com", "email_verified": true,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        bench.world.tsidp.set_claims(name, claims);
        Client { token: Some(name.to_owned()), ..alice.clone() }
    };
    let metadata =
        alice.send(http::Method::GET, "/.well-known/oauth-protected-resource", &[], "").await.unwrap();
    assert_eq!(metadata.json()["scopes_supported"], json!(["openid", "email", "system:read"]));
    let nobody = Client { token: None, ..alice.clone() }.call("whoami", json!({})).await.unwrap();
    let challenge = nobody.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"scope="openid email system:read""#), "{challenge}");

    let good = token("good", json!({}));
    assert!(!good.call("system_info", json!({})).await.unwrap().is_error());
    // Her grants have it and her token does not: she is sent for a better one, in both eras.
    let params = json!({ "name": "pools_list", "arguments": {} });
    for answer in
        [good.call("pools_list", json!({})).await.unwrap(), good.legacy("tools/call", params).await.unwrap()]
    {
        assert_eq!(answer.status, 403);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
        assert!(challenge.contains(r#"scope="openid email system:read storage:read""#), "{challenge}");
        assert_eq!(answer.json()["error"], "insufficient_scope");
    }
    let record = bench.record("it", |r| r["result"]["code"] == "insufficient_scope").await;
    assert_eq!((&record["type"], &record["decision"]["missing"]), (&json!("denied"), &json!("storage:read")));
    let better = token("better", json!({ "scope": "openid email system:read storage:read" }));
    assert!(!better.call("pools_list", json!({})).await.unwrap().is_error());
    // A token with a scope that no grant of hers has: no login would help, so the answer names the grant.
    let more = token("more", json!({ "scope": "openid apps:read alerts:read", "email": "bob@github" }));
    let more = at(BOB, more);
    let answer = more.call("alerts_list", json!({})).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.is_error() && answer.text().contains("no grant gives it to bob@github"),
        "{}",
        answer.text()
    );
    for (name, change) in [
        ("issuer", json!({ "iss": "https://other.example" })),
        ("unverified", json!({ "email_verified": false })),
        ("without", json!({ "email": null })),
        ("another", json!({ "email": "bob@github" })),
    ] {
        assert_eq!(token(name, change).call("whoami", json!({})).await.unwrap().status, 401, "{name}");
    }
    bench.no_secret_is_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tsidp_a_missing_scope_is_an_answer_and_no_challenge() {
    let bench = Bench::complete().await;
    let spec = tailnas_sim::tsidp::TokenSpec {
        scopes: vec!["openid".into(), "system:read".into()],
        ..tailnas_sim::tsidp::TokenSpec::new("alice@example.com", &bench.world.mcp_url())
    };
    let narrow = Client { token: Some(bench.world.tsidp.mint(spec)), ..bench.client(ALICE) };
    let answer = narrow.call("pools_list", json!({})).await.unwrap();
    assert_eq!(answer.status, 200, "TSIDP refuses a login that asks for a scope of ours");
    assert!(answer.is_error() && !answer.headers.contains_key("www-authenticate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_tokens_is_slowed_down_and_nobody_else_is() {
    // Not many: whoever sends too many is kept waiting. `tests/load.rs` has more patience.
    const TRIES: usize = 100;
    let bench = Bench::complete().await;
    bench.world.tailnet.add_user_node(
        [127, 0, 0, 7].into(),
        "mallory",
        User::new(458, "mallory@github", "M"),
    );
    let mallory = Client { from: [127, 0, 0, 7].into(), ..bench.client(ALICE) };
    let alice = bench.client(ALICE);
    let mut refused = 0;
    let asked = bench.world.tsidp.introspections();
    let began = std::time::Instant::now();
    for number in 0..TRIES {
        let client = Client { token: Some(format!("{number:032x}")), ..mallory.clone() };
        let answer = client.call("whoami", json!({})).await.unwrap();
        match answer.status.as_u16() {
            429 => {
                refused += 1;
                assert_eq!(answer.headers["retry-after"], "1");
                assert!(!answer.headers.contains_key("www-authenticate"));
            }
            status => assert_eq!(status, 401),
        }
        if number % 20 == 0 {
            assert!(!alice.call("pools_list", json!({})).await.unwrap().is_error());
        }
    }
    let limit = 20 + 5 * usize::try_from(began.elapsed().as_secs() + 1).unwrap();
    let asked = bench.world.tsidp.introspections() - asked;
    assert!(asked <= limit + 2 && refused + limit >= TRIES, "{asked} asked, {refused} refused");
    bench.record("it", |r| r["type"] == "auth_fail" && r["result"]["code"] == "token_fishing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reload_it_is_the_new_provider_whose_health_is_told() {
    let bench = Bench::complete().await;
    let watcher = Client { server: bench.world.metrics_address(), ..bench.client(ALICE) };
    let provider = async || {
        let answer = watcher.send(http::Method::GET, "/readyz", &[], "").await.unwrap();
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    };
    eventually("all is there", async || provider().await.0 == 200).await;
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    write(&bench, &configuration(&bench).replace(&bench.world.tsidp.issuer(), &format!("http://{gone}")));
    bench.reload().await;
    eventually("the new one is missed", async || provider().await.0 == 503).await;
    let (_, told) = provider().await;
    assert!(told.contains("provider"), "{told}");
}
