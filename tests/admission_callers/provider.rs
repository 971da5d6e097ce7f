//! Introspection: what counts as an answer, what is kept, and how often the provider is asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tailnas::oauth::{Flaw, Freshness, IntrospectError, Outage, Provider};
use tailnas_sim::fault::Fault;
use tailnas_sim::tsidp::TokenSpec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{RESOURCE, World, bearer};

/// The answer in a word.
async fn ask(provider: &Provider, token: &str, freshness: Freshness) -> &'static str {
    match provider.introspect(&bearer(token), freshness, "nASKER").await {
        Ok(_) => "accepted",
        Err(error) => error.word(),
    }
}

async fn outage(provider: &Provider, token: &str) -> Option<Outage> {
    match provider.introspect(&bearer(token), Freshness::Cached, "nASKER").await {
        Err(IntrospectError::Unavailable(unavailable)) => Some(unavailable.outage()),
        _ => None,
    }
}

/// E01, E02: whether the answer is good or bad, a thousand who ask at once get it from one call.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_ask_about_one_cold_token_are_one_call() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    let crowd = async || {
        let one = || {
            let (provider, token) = (provider.clone(), token.clone());
            tokio::spawn(async move { ask(&provider, &token, Freshness::Cached).await })
        };
        let crowd: Vec<_> = (0..1000).map(|_| one()).collect();
        let mut answers = std::collections::BTreeMap::<_, u32>::new();
        for member in crowd {
            *answers.entry(member.await.unwrap()).or_default() += 1;
        }
        answers.into_iter().collect::<Vec<_>>()
    };
    provider.discover().await.unwrap();
    // So slow that all of the thousand ask while it is under way.
    world.tsidp.faults().once(Fault::Slow(Duration::from_millis(500)));
    world.tsidp.faults().once(Fault::Slow(Duration::from_millis(500)));
    assert_eq!(crowd().await, [("accepted", 1000)]);
    assert_eq!(world.tsidp.introspections(), 1);

    world.clock.pass(31);
    world.tsidp.faults().clear();
    world.tsidp.faults().always(Fault::Hang);
    assert_eq!(crowd().await, [("provider_down", 1000)]);
    assert_eq!(world.tsidp.introspections(), 2);

    world.tsidp.faults().clear();
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    assert_eq!(world.tsidp.introspections(), 3);
}

/// The B rows that are about the way of the answer. Each is an outage; none is the token's fault.
#[tokio::test]
async fn what_is_no_answer_is_an_outage_and_never_a_bad_token() {
    let world = World::new().await;
    let provider = world.provider();
    provider.discover().await.unwrap();
    let (token, _) = world.token("alice@example.com");
    let json = "application/json";
    let body = |kind: &str, body: &str| Fault::Body(kind.to_owned(), body.as_bytes().to_vec());
    let deep = format!(r#"{{"active":true,"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (row, fault, outage_then) in [
        ("B07", body("text/html", "<html>"), Outage::Malformed),
        ("B07", body(json, "<html>"), Outage::Malformed),
        ("B08", body(json, r#"{"active":tr"#), Outage::Malformed),
        ("B08", Fault::HalfFrame, Outage::Unreachable),
        ("B09", body(json, ""), Outage::Malformed),
        ("B10", body(json, r#"[{"active":true}]"#), Outage::Malformed),
        ("B10", body(json, r#""active""#), Outage::Malformed),
        ("B11", body("text/html", r#"{"active":true}"#), Outage::Malformed),
        ("B13", body(json, &deep), Outage::Malformed),
        ("B14", body(json, r#"{"active":false}x"#), Outage::Malformed),
        ("B14", body(json, r#"{"active":false}{"active":true}"#), Outage::Malformed),
        ("B14", body(json, r#"{"active":false,"active":true}"#), Outage::Malformed),
        ("B17", Fault::Status(400, r#"{"error":"invalid_request"}"#.to_owned()), Outage::Status(400)),
        ("B18", Fault::Status(401, String::new()), Outage::Status(401)),
        ("B18", Fault::Status(403, "cross-origin request".to_owned()), Outage::Status(403)),
        ("B19", Fault::Status(429, String::new()), Outage::Status(429)),
        ("B20", Fault::Status(500, String::new()), Outage::Status(500)),
        ("B20", Fault::Status(503, r#"{"active":true}"#.to_owned()), Outage::Status(503)),
        ("B20", Fault::Status(201, r#"{"active":true}"#.to_owned()), Outage::Status(201)),
        ("B20", Fault::Status(302, String::new()), Outage::Status(302)),
        ("B21", Fault::Drop, Outage::Unreachable),
        ("B21", Fault::Garbage, Outage::Unreachable),
        ("B21", Fault::Oversize(65 * 1024), Outage::Malformed),
        ("B24", body(json, "\u{feff}{\"active\":true}"), Outage::Malformed),
        (
            "B24",
            Fault::Body(json.to_owned(), b"{\"active\":true,\"sub\":\"\xff\"}".to_vec()),
            Outage::Malformed,
        ),
        ("B24", Fault::Body(json.to_owned(), b"{\0\"\0".to_vec()), Outage::Malformed),
    ] {
        // So that the breaker lets this one through, however many failed before.
        world.clock.pass(5);
        world.tsidp.faults().once(fault.clone());
        assert_eq!(outage(&provider, &token).await, Some(outage_then), "{row} {fault:?}");
        assert_eq!(provider.outage(), Some(outage_then));
        world.tsidp.faults().clear();
    }
    world.clock.pass(5);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    assert_eq!(provider.outage(), None);
}

#[tokio::test]
async fn a_provider_that_is_gone_or_hangs_is_told_in_time() {
    let world = World::new().await;
    let (known, unknown) = (world.provider(), world.provider());
    known.discover().await.unwrap();
    let (token, _) = world.token("alice@example.com");
    world.tsidp.faults().always(Fault::Hang);
    let timed = async |provider: &Provider| {
        let start = Instant::now();
        (ask(provider, &token, Freshness::Cached).await, start.elapsed())
    };
    for (word, time) in <[_; 2]>::from(tokio::join!(timed(&known), timed(&unknown))) {
        assert_eq!(word, "provider_down");
        assert!(time < Duration::from_millis(2500), "{time:?}");
    }
    world.tsidp.stop().await;
    for provider in [&known, &unknown] {
        let (answer, time) = timed(provider).await;
        assert_eq!(answer, "provider_down");
        assert!(time < Duration::from_millis(1500), "B21: {time:?}");
    }
}

/// E04, E07, E09, E11.
#[tokio::test]
async fn active_is_believed_for_thirty_seconds_and_never_beyond_its_expiry() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    let first = provider.introspect(&bearer(&token), Freshness::Cached, "nASKER").await.unwrap();
    assert_eq!(first.age(), Duration::ZERO);
    world.tsidp.revoke(&token);
    world.clock.pass(29);
    let later = provider.introspect(&bearer(&token), Freshness::Cached, "nASKER").await.unwrap();
    assert_eq!(later.age().as_secs(), 29);
    assert_eq!(later.fingerprint(), first.fingerprint());
    assert!(!token.contains(first.fingerprint()) && first.fingerprint().len() == 32);
    world.clock.pass(2);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "inactive");

    let mut short = TokenSpec::new("alice@example.com", RESOURCE);
    short.lifetime = Duration::from_secs(20 + 31);
    let short = world.tsidp.mint(short);
    assert_eq!(ask(&provider, &short, Freshness::Cached).await, "accepted");
    let calls = world.tsidp.introspections();
    world.clock.pass(21);
    assert_eq!(ask(&provider, &short, Freshness::Cached).await, "expired");
    assert_eq!(world.tsidp.introspections(), calls, "expiry needs no provider");

    // The same while the provider is away: what is known stays known for its time, and not for changes.
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    world.tsidp.stop().await;
    assert_eq!(ask(&provider, &token, Freshness::Fresh).await, "provider_down");
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    world.clock.pass(31);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "provider_down");
    world.tsidp.restart().await.unwrap();
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "inactive");
}

/// E12.
#[tokio::test]
async fn a_wall_clock_that_is_set_keeps_no_answer_longer() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    world.clock.set_wall(3600);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "expired");
    world.clock.set_wall(-3600);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    world.tsidp.revoke(&token);
    world.clock.pass(31);
    world.clock.set_wall(-31);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "inactive");
}

#[tokio::test]
async fn not_active_is_believed_for_ten_seconds() {
    let world = World::new().await;
    let provider = world.provider();
    for _ in 0..5 {
        assert_eq!(ask(&provider, "deadbeef", Freshness::Cached).await, "inactive");
    }
    assert_eq!(world.tsidp.introspections(), 1);
    world.clock.pass(10);
    assert_eq!(ask(&provider, "deadbeef", Freshness::Cached).await, "inactive");
    assert_eq!(world.tsidp.introspections(), 2);
    // B02 is no definite "no": it is asked about each time.
    world.tsidp.set_claims("odd", serde_json::json!({}));
    for _ in 0..2 {
        assert_eq!(ask(&provider, "odd", Freshness::Cached).await, "active", "the word for B02");
    }
    assert_eq!(world.tsidp.introspections(), 4);
}

#[tokio::test]
async fn fresh_asks_and_what_it_hears_counts_from_then_on() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    assert_eq!(ask(&provider, &token, Freshness::Fresh).await, "accepted");
    assert_eq!(world.tsidp.introspections(), 2);
    world.tsidp.revoke(&token);
    assert_eq!(ask(&provider, &token, Freshness::Fresh).await, "inactive");
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "inactive");
    assert_eq!(world.tsidp.introspections(), 3);
}

/// A question asked before a revocation must not answer one asked after it, nor be kept when it comes late.
#[tokio::test]
async fn fresh_does_not_wait_for_an_older_question() {
    let world = World::new().await;
    let provider = world.provider();
    provider.discover().await.unwrap();
    let (token, _) = world.token("alice@example.com");
    world.tsidp.faults().once(Fault::Slow(Duration::from_millis(300)));
    let older = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { ask(&provider, &token, Freshness::Cached).await }
    });
    while world.tsidp.introspections() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.tsidp.set_claims(&token, serde_json::json!({ "active": false }));
    assert_eq!(ask(&provider, &token, Freshness::Fresh).await, "inactive");
    // The older answer, which is on its way still, says what was true before.
    world.tsidp.set_claims(
        &token,
        serde_json::json!({
            "active": true, "iss": world.tsidp.issuer(), "aud": [RESOURCE], "token_type": "Bearer",
            "exp": world.tsidp.now().timestamp() + 300, "sub": "456",
        }),
    );
    assert_eq!(older.await.unwrap(), "accepted");
    assert_eq!(world.tsidp.introspections(), 2);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "inactive");
    assert_eq!(world.tsidp.introspections(), 2, "the later question's answer is the one that is kept");
}

#[tokio::test]
async fn whoever_asks_first_may_leave() {
    let world = World::new().await;
    let provider = world.provider();
    provider.discover().await.unwrap();
    let (token, _) = world.token("alice@example.com");
    world.tsidp.faults().once(Fault::Slow(Duration::from_millis(200)));
    let first = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { ask(&provider, &token, Freshness::Cached).await }
    });
    while world.tsidp.introspections() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.abort();
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");
    assert_eq!(world.tsidp.introspections(), 1);
}

#[tokio::test]
async fn more_than_eight_questions_wait_a_second_for_their_turn() {
    let world = World::new().await;
    let provider = world.provider();
    provider.discover().await.unwrap();
    world.tsidp.faults().always(Fault::Slow(Duration::from_millis(1300)));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let provider = provider.clone();
            tokio::spawn(async move { ask(&provider, &format!("t{number}"), Freshness::Cached).await })
        })
        .collect();
    let mut words = Vec::new();
    for task in tasks {
        words.push(task.await.unwrap());
    }
    assert_eq!(words.iter().filter(|word| **word == "inactive").count(), 8);
    assert_eq!(words.iter().filter(|word| **word == "provider_busy").count(), 12);
    world.tsidp.faults().clear();
    assert_eq!(ask(&provider, "t19", Freshness::Cached).await, "inactive");
}

#[tokio::test]
async fn discovery_is_tried_again_and_believes_only_its_issuer() {
    let world = World::new().await;
    let provider = world.provider();
    let (token, _) = world.token("alice@example.com");
    world.tsidp.faults().once(Fault::Status(500, String::new()));
    assert_eq!(outage(&provider, &token).await, Some(Outage::Status(500)));
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "accepted");

    // The same place by another name, a slash more, somebody else altogether.
    let issuer = world.tsidp.issuer();
    for alias in [issuer.replace("127.0.0.1", "localhost"), format!("{issuer}/")] {
        assert_eq!(outage(&world.provider_called(&alias, None), &token).await, Some(Outage::Metadata));
    }
    let world = World::with(|options| options.issuer = Some("https://idp.tail1234.ts.net".to_owned())).await;
    let provider = world.provider_called(&format!("http://{}", world.tsidp.address()), None);
    assert_eq!(outage(&provider, "x").await, Some(Outage::Metadata));

    // Tokens go to the issuer's own origin only, and never in the clear.
    let issuer = world.tsidp.address();
    for endpoint in ["https://evil.example/introspect", "http://127.0.0.1:1/introspect", "ftp://x/", ""] {
        let issuer = format!("http://{issuer}");
        let document = serde_json::json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "jwks_uri": format!("{issuer}/jwks"), "introspection_endpoint": endpoint,
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let document = Fault::Body("application/json".to_owned(), document.to_string().into_bytes());
        world.tsidp.faults().once(document);
        let provider = world.provider_called(&issuer, None);
        assert_eq!(outage(&provider, "x").await, Some(Outage::Metadata), "{endpoint:?}");
    }
    assert_eq!(world.tsidp.introspections(), 0);
}

/// B23.
#[tokio::test]
async fn only_the_authority_that_was_named_is_trusted() {
    let world = World::with(|options| options.tls = true).await;
    let stranger = World::with(|options| options.tls = true).await;
    let folder = tempfile::tempdir().unwrap();
    let (token, _) = world.token("alice@example.com");
    for (tsidp, answer) in [(&world.tsidp, "accepted"), (&stranger.tsidp, "provider_down")] {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, tsidp.ca_pem().unwrap()).unwrap();
        let provider = world.provider_called(&world.tsidp.issuer(), Some(&file));
        assert_eq!(ask(&provider, &token, Freshness::Cached).await, answer);
    }
    let provider = world.provider_called(&world.tsidp.issuer(), None);
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "provider_down", "not a system root");
}

/// Certificates of one authority, which is in a file.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        params.key_usages =
            vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), file, _folder: folder }
    }

    /// Listens with a certificate for this name and these years. Answers nothing; the number is of the bytes that it was
    /// told once TLS stood.
    async fn server(&self, name: &str, years: [i32; 2]) -> (SocketAddr, Arc<AtomicUsize>) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years[0], 1, 1);
        params.not_after = rcgen::date_time_ymd(years[1], 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let length = stream.read(&mut [0; 1024]).await.unwrap_or_default();
                counted.fetch_add(length, Ordering::SeqCst);
            }
        });
        (address, heard)
    }
}

/// B23: a trusted authority is not enough.
#[tokio::test]
async fn a_certificate_of_another_name_or_of_another_time_is_nobodys() {
    let world = World::new().await;
    let (token, _) = world.token("alice@example.com");
    let authority = Authority::new();
    for (what, name, years, is_told) in [
        ("sound", "127.0.0.1", [2020, 4000], true),
        ("of another name", "idp.tail1234.ts.net", [2020, 4000], false),
        ("of another address", "127.0.0.2", [2020, 4000], false),
        ("expired", "127.0.0.1", [2020, 2021], false),
        ("not yet good", "127.0.0.1", [3999, 4000], false),
    ] {
        let (address, heard) = authority.server(name, years).await;
        let provider = world.provider_called(&format!("https://{address}"), Some(&authority.file));
        assert_eq!(ask(&provider, &token, Freshness::Cached).await, "provider_down", "{what}");
        assert_eq!(heard.load(Ordering::SeqCst) > 0, is_told, "{what}");
    }
}

/// B23: to a server that says hello in TLS 1.1, soundly but for that, nothing is said but an alert.
#[tokio::test]
async fn tls_before_1_2_is_not_spoken() {
    const ALERT: u8 = 21;
    let world = World::new().await;
    let (token, _) = world.token("alice@example.com");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let issuer = format!("https://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let behind = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut hello: Vec<u8> = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend([7; 32]);
        // No session, ECDHE-RSA with AES-128, no compression.
        hello.extend([0, 0xc0, 0x13, 0]);
        while let Ok((mut stream, _)) = listener.accept().await {
            // All of what the client said first, so that what is left is what it says to the hello.
            let mut record = [0; 5];
            let _ = stream.read_exact(&mut record).await;
            let mut first = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
            let _ = stream.read_exact(&mut first).await;
            let _ = stream.write_all(&hello).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            behind.lock().unwrap().push(rest);
        }
    });
    let provider = world.provider_called(&issuer, Some(&Authority::new().file));
    assert_eq!(ask(&provider, &token, Freshness::Cached).await, "provider_down");
    for _ in 0..100 {
        if heard.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let heard = heard.lock().unwrap();
    assert!(!heard.is_empty(), "nobody came as far as that");
    for rest in heard.iter() {
        assert!(rest.first().is_none_or(|kind| *kind == ALERT) && rest.len() < 16, "{rest:?}");
    }
}

/// C11: a token without our resource, which TSIDP gives to clients that do not ask for one.
#[tokio::test]
async fn a_token_for_nobody_in_particular_is_not_for_us() {
    let world = World::new().await;
    let mut spec = TokenSpec::new("alice@example.com", RESOURCE);
    spec.audiences.clear();
    let token = world.tsidp.mint(spec);
    let error = world.provider().introspect(&bearer(&token), Freshness::Cached, "nASKER").await.unwrap_err();
    assert_eq!(error, IntrospectError::Claims(Flaw::Audience));
}
