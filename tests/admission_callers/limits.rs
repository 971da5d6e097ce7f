//! What is done about peers that try tokens, a provider that is gone, and one that does not know us.

use std::time::Duration;

use serde_json::json;
use tailnas::caller::{DenyKind, Gate};
use tailnas::config::{ClientMethod, ProviderClient};
use tailnas::oauth::{Freshness, Outage};
use tailnas::secret::SecretSource;
use tailnas_sim::client::Client;
use tailnas_sim::fault::Fault;

use crate::world::{World, address, bearer, connection};

/// The answer in a word.
async fn knock(gate: &Gate, node: &str, token: &str) -> &'static str {
    match gate.admit(connection(node), &bearer(token), Freshness::Cached).await {
        Ok(_) => "admitted",
        Err(denied) => denied.reason(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_random_tokens_from_one_node_reach_nobody() {
    let world = World::new().await;
    let provider = world.provider();
    let gate = world.gate_at(provider.clone(), Vec::new());
    let (alices, _) = world.token("alice@example.com");
    assert_eq!(knock(&gate, "laptop", &alices).await, "admitted");
    let began = std::time::Instant::now();
    let mut words = std::collections::BTreeMap::<_, usize>::new();
    for number in 0..100_000_u32 {
        // The provider's own door: the tailnet, which is asked first, has no part in this.
        let token = bearer(&format!("{number:032x}"));
        let error = provider.introspect(&token, Freshness::Cached, "nBOB").await.unwrap_err();
        *words.entry(error.word()).or_default() += 1;
        if number % 1_000 == 0 {
            assert_eq!(knock(&gate, "laptop", &alices).await, "admitted", "who is known");
            let (another, _) = world.token("alice@example.com");
            assert_eq!(knock(&gate, "laptop", &another).await, "admitted", "and who is not, elsewhere");
        }
    }
    let limit = 20 + 5 * usize::try_from(began.elapsed().as_secs() + 1).unwrap();
    assert!(words["inactive"] <= limit, "{words:?} in {:?}", began.elapsed());
    assert_eq!(words["inactive"] + words["token_fishing"], 100_000, "{words:?}");
    // Alice's hundred and one, and her first once more for each half minute that this took.
    let asked = world.tsidp.introspections() - words["inactive"];
    assert!(asked <= 101 + usize::try_from(began.elapsed().as_secs() / 30).unwrap(), "{asked}");
}

/// Behind a relay the account is the relay's, and people share it.
#[tokio::test]
async fn who_tries_tokens_takes_nothing_from_a_token_that_was_good() {
    let world = World::new().await;
    let provider = world.provider();
    let ask = async |token: &str| match provider.introspect(&bearer(token), Freshness::Cached, "nRELAY").await
    {
        Ok(_) => "accepted",
        Err(error) => error.word(),
    };
    let fish = async |round: &str| {
        for number in 0..200 {
            if ask(&format!("{round}{number}")).await == "token_fishing" {
                return;
            }
        }
        panic!("nobody minds");
    };
    let (hers, _) = world.token("alice@example.com");
    assert_eq!(ask(&hers).await, "accepted");
    // It is asked about again, since what was known of it is over.
    world.clock.pass(31);
    fish("a").await;
    let asked = world.tsidp.introspections();
    assert_eq!(ask(&hers).await, "accepted");
    assert_eq!(world.tsidp.introspections(), asked + 1);
    // One that nobody has seen is a guess like any other. Between two questions a moment may pass in which one more is
    // forgiven.
    let mut new = Vec::new();
    for round in 0..50 {
        fish(&format!("b{round}-")).await;
        new.push(ask(&world.token("alice@example.com").0).await);
        if new.last() == Some(&"token_fishing") {
            break;
        }
    }
    assert!(new.contains(&"token_fishing"), "{new:?}");
    // And so is one that is good no more, as soon as that is known.
    world.tsidp.revoke(&hers);
    world.clock.pass(31);
    fish("c").await;
    assert_eq!(ask(&hers).await, "inactive");
    let mut dead = Vec::new();
    for round in 0..50 {
        fish(&format!("d{round}-")).await;
        dead.push(ask(&hers).await);
        if dead.last() == Some(&"token_fishing") {
            break;
        }
    }
    assert!(dead.contains(&"token_fishing"), "{dead:?}");
}

#[tokio::test]
async fn who_tries_tokens_is_told_when_to_go_on_and_may_then() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    for number in 0..20 {
        assert_eq!(knock(&gate, "bobs", &format!("t{number}")).await, "inactive");
    }
    // Nothing of it depends on how long the above took: the rest is refused at some point, and soon.
    let mut denied = None;
    for number in 20..200 {
        match gate.admit(connection("bobs"), &bearer(&format!("t{number}")), Freshness::Cached).await {
            Err(error) if error.reason() == "token_fishing" => {
                denied = Some(error);
                break;
            }
            other => assert_eq!(other.unwrap_err().reason(), "inactive"),
        }
    }
    let DenyKind::TooMany { retry_after } = denied.expect("it is refused in the end").kind() else {
        panic!("another kind of answer");
    };
    assert!(retry_after <= Duration::from_millis(200), "{retry_after:?}");
    // Known good is no guess, however many bad ones there were; and an active one is not charged.
    let (bobs, _) = world.token("bob@example.com");
    world.clock.pass(1);
    for _ in 0..100 {
        assert_eq!(knock(&gate, "bobs", &bobs).await, "admitted");
    }
    assert_eq!(knock(&gate, "bobs", "t1000").await, "inactive");
    // A dead token that is repeated is charged as well, although nobody has to be asked about it.
    let asked = world.tsidp.introspections();
    let mut last = "";
    for _ in 0..1000 {
        last = knock(&gate, "bobs", "t1000").await;
    }
    assert_eq!(last, "token_fishing");
    assert_eq!(world.tsidp.introspections(), asked);
    // And while that goes on, a change is asked about afresh, for the token is known to be good.
    let caller =
        gate.admit(connection("bobs"), &bearer(&bobs), Freshness::Cached).await.expect("known to be good");
    assert!(gate.readmit(&caller).await.is_ok());
}

#[tokio::test]
async fn after_five_failures_in_a_row_nobody_waits_for_the_provider() {
    let world = World::new().await;
    let provider = world.provider();
    provider.discover().await.unwrap();
    let ask = async |token: &str| match provider.introspect(&bearer(token), Freshness::Fresh, "n").await {
        Ok(_) => "accepted",
        Err(error) => error.word(),
    };
    let (token, _) = world.token("alice@example.com");
    assert_eq!(ask(&token).await, "accepted");
    world.tsidp.faults().always(Fault::Status(500, String::new()));
    for _ in 0..5 {
        assert_eq!(ask(&token).await, "provider_status");
    }
    let asked = world.tsidp.introspections();
    for _ in 0..100 {
        assert_eq!(ask(&token).await, "provider_status", "why, and at once");
    }
    assert_eq!(world.tsidp.introspections(), asked, "nobody asked");
    assert_eq!(provider.outage(), Some(Outage::Status(500)));
    // What is known is still good for reading.
    assert!(provider.introspect(&bearer(&token), Freshness::Cached, "n").await.is_ok());
    // Every five seconds one tries.
    world.clock.pass(5);
    for _ in 0..10 {
        assert_eq!(ask(&token).await, "provider_status");
    }
    assert_eq!(world.tsidp.introspections(), asked + 1);
    world.tsidp.faults().clear();
    assert_eq!(ask(&token).await, "provider_status", "not before its time");
    world.clock.pass(5);
    for _ in 0..3 {
        assert_eq!(ask(&token).await, "accepted");
    }
    assert_eq!(provider.outage(), None);
}

#[tokio::test]
async fn a_provider_that_knows_no_token_at_all_may_not_know_us() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let provider = world.provider();
    let ask = async |token: &str| provider.introspect(&bearer(token), Freshness::Fresh, token).await.is_ok();
    assert_eq!(knock(&gate, "laptop", &world.token("alice@example.com").0).await, "admitted");
    // TSIDP cannot find out who we are any more, and says of every token that it is not active.
    world.tailnet.set_self(tailnas_sim::localapi::SelfNode {
        host: "truenas-mcp".to_owned(),
        addresses: vec![address("elsewhere")],
        tags: vec!["tag:truenas-mcp".to_owned()],
        user: 1,
    });
    for number in 0..12 {
        let (token, _) = world.token(if number % 2 == 0 { "alice@example.com" } else { "bob@example.com" });
        assert_eq!(provider.outage(), (number >= 10).then_some(Outage::Unrecognised), "{number}");
        assert!(!ask(&token).await);
    }
    world.tailnet.set_self(tailnas_sim::localapi::SelfNode {
        host: "truenas-mcp".to_owned(),
        addresses: vec![address("own")],
        tags: vec!["tag:truenas-mcp".to_owned()],
        user: 1,
    });
    assert!(ask(&world.token("alice@example.com").0).await);
    assert_eq!(provider.outage(), None);
}

#[tokio::test]
async fn we_are_known_by_our_node_or_as_a_client_in_either_way() {
    let world = World::new().await;
    world.tailnet.grant_on_tsidp(address("laptop"), vec![json!({ "allow_dcr": true })]);
    let laptop = Client {
        server: world.tsidp.address(),
        host: world.tsidp.address().to_string(),
        from: address("laptop"),
        token: None,
        path: String::new(),
    };
    let registered = laptop
        .send(
            http::Method::POST,
            "/register",
            &[("content-type", "application/json")],
            json!({ "redirect_uris": ["http://127.0.0.1/"] }).to_string(),
        )
        .await
        .unwrap()
        .json();
    let id = registered["client_id"].as_str().unwrap().to_owned();
    let right = registered["client_secret"].as_str().unwrap();
    // Nobody of the tailnet: only who shows a secret is told the truth.
    world.tailnet.set_self(tailnas_sim::localapi::SelfNode {
        host: "truenas-mcp".to_owned(),
        addresses: vec![address("elsewhere")],
        tags: vec!["tag:truenas-mcp".to_owned()],
        user: 1,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    for (secret, method, known) in [
        (Some(right), ClientMethod::Basic, true),
        (Some(right), ClientMethod::Post, true),
        (Some("wrong"), ClientMethod::Basic, false),
        (Some("wrong"), ClientMethod::Post, false),
        (None, ClientMethod::Basic, false),
    ] {
        let client = secret.map(|secret| {
            use std::io::Write as _;
            use std::os::unix::fs::OpenOptionsExt as _;
            let _ = std::fs::remove_file(&file);
            let mut file =
                std::fs::File::options().create_new(true).write(true).mode(0o600).open(&file).unwrap();
            file.write_all(secret.as_bytes()).unwrap();
            ProviderClient {
                id: id.clone(),
                secret: SecretSource::File(folder.path().join("secret")),
                method,
            }
        });
        let provider = world.provider_with(|config| config.client = client);
        let (token, _) = world.token("alice@example.com");
        let answer = provider.introspect(&bearer(&token), Freshness::Cached, "n").await;
        assert_eq!(answer.is_ok(), known, "{secret:?} {method:?}");
    }
}

/// Eight questions are asked at once, and this provider answers none: who waits for a place waits for an answer that
/// much less.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_keeps_nobody_waiting_for_longer_than_one_question_takes() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    provider.introspect(&bearer(&token), Freshness::Cached, "nALICE").await.unwrap();
    world.tsidp.faults().always(Fault::Hang);
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..24_u32 {
        let provider = provider.clone();
        asked.spawn(async move {
            // So that some come while the places are taken, and get one that comes free.
            tokio::time::sleep(Duration::from_millis(120) * number).await;
            let began = std::time::Instant::now();
            let token = bearer(&format!("{number:032x}"));
            let answer = provider.introspect(&token, Freshness::Fresh, &format!("n{number}")).await;
            (answer.unwrap_err().word(), began.elapsed())
        });
    }
    for (word, took) in asked.join_all().await {
        assert!(["provider_down", "provider_busy"].contains(&word), "{word}");
        assert!(took < Duration::from_millis(2800), "{took:?}");
    }
}
