//! Logging in to the simulated NAS, whose side of SCRAM is written apart from ours.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tailnas::clock::Clock;
use tailnas::config::{self, Login, Trust};
use tailnas::lifecycle::{Deaths, Lifecycle};
use tailnas::nas::{Nas, PastLogins, Status};
use tailnas::secret::SecretSource;
use tailnas_sim::nas::{self as sim, Generation, NasOptions};
use tempfile::TempDir;

/// The daemon's side of one NAS, and what must outlive it.
struct Client {
    nas: Nas,
    _lifecycle: (Lifecycle, Deaths, TempDir),
}

impl Client {
    fn start(nas: &sim::Nas, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let past = PastLogins::in_folder(folder.path());
        Self::with_past(nas, key, folder, &past)
    }

    fn with_past(nas: &sim::Nas, key: &str, folder: TempDir, past: &PastLogins) -> Self {
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let config = config::Nas {
            files: Vec::new(),
            app_datasets: Vec::new(),
            app_devices: Vec::new(),
            name: "homenas".parse().unwrap(),
            url: nas.url().trim_end_matches("/api/current").parse().unwrap(),
            trust: Trust::CaFile(file("ca.pem", nas.ca_pem())),
            reader: Login {
                username: nas.reader_key().username,
                key: SecretSource::File(file("reader.key", key)),
            },
            writer: None,
            maintenance: None,
        };
        let clock = Clock::system();
        let (lifecycle, deaths) = Lifecycle::new(clock.clone());
        let nas = Nas::start(&config, past, &clock, &lifecycle).unwrap();
        Self { nas, _lifecycle: (lifecycle, deaths, folder) }
    }

    async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut changes = self.nas.changes();
        tokio::time::timeout(Duration::from_secs(30), changes.until(wanted)).await.unwrap().unwrap()
    }

    async fn refused(&self) -> (String, String) {
        match self.until(|status| matches!(status, Status::LoginRefused { .. })).await {
            Status::LoginRefused { reason, hint, .. } => (reason, hint),
            other => panic!("{other:?}"),
        }
    }
}

fn up(status: &Status) -> bool {
    matches!(status, Status::Up { .. })
}

async fn start(generation: Generation) -> sim::Nas {
    sim::Nas::start(NasOptions { generation, ..NasOptions::default() }).await.unwrap()
}

/// How often the key itself, without its number, was sent.
fn times_sent(nas: &sim::Nas) -> usize {
    let key = nas.reader_key().key;
    let (_, secret) = key.split_once('-').unwrap();
    nas.transcript().iter().filter(|exchange| exchange.params.to_string().contains(secret)).count()
}

#[tokio::test]
async fn where_scram_is_offered_the_key_is_not_sent_and_the_login_is_bound_to_the_certificate() {
    let nas = start(Generation::V26).await;
    let client = Client::start(&nas, &nas.reader_key().key);
    client.until(up).await;
    assert_eq!(times_sent(&nas), 0);
    let first = nas.transcript().into_iter().find(|exchange| exchange.method == "auth.login_ex").unwrap();
    let said = first.params[0]["rfc_str"].as_str().unwrap();
    common::hold_against_schemas(&nas, "26.0.0");
    assert!(said.starts_with("p=tls-server-end-point,,n=tailnas-reader:"), "{said}");
}

#[tokio::test]
async fn where_it_is_not_the_key_is_sent() {
    for (generation, published) in [(Generation::V25_04, "25.04.2"), (Generation::V25_10, "25.10.5")] {
        let nas = start(generation).await;
        Client::start(&nas, &nas.reader_key().key).until(up).await;
        assert_eq!(times_sent(&nas), 1);
        assert!(nas.transcript().iter().all(|exchange| exchange.method != "auth.mechanism_choices"));
        common::hold_against_schemas(&nas, published);
    }
}

#[tokio::test]
async fn a_wrong_key_is_tried_once() {
    let nas = start(Generation::V26).await;
    let client = Client::start(&nas, &format!("1-{}", "0".repeat(64)));
    let (reason, _) = client.refused().await;
    assert!(reason.contains("do not belong together"), "{reason}");
    assert_eq!(nas.logins().len(), 1, "{:?}", nas.logins());
}

#[tokio::test]
async fn a_nas_that_no_longer_offers_scram_does_not_get_the_key_before_somebody_says_so() {
    let nas = start(Generation::V26).await;
    let (state, key) = (tempfile::tempdir().unwrap(), nas.reader_key().key);
    let past = PastLogins::in_folder(&state.path().join("state"));
    let start = || Client::with_past(&nas, &key, tempfile::tempdir().unwrap(), &past);
    let client = start();
    client.until(up).await;
    nas.state(|state| state.pace.scram = false);
    nas.restart().await.unwrap();
    let refused = client.refused().await;
    drop(client);
    // A restart of ours is no reason to send it.
    for (reason, hint) in [refused, start().refused().await] {
        assert!(
            reason.contains("SCRAM") && hint.contains("doctor --forget-login homenas"),
            "{reason} {hint}"
        );
    }
    // Neither is a memory that nobody can read.
    let known = std::fs::read(past.file()).unwrap();
    std::fs::write(past.file(), "{").unwrap();
    let (reason, hint) = start().refused().await;
    assert!(reason.contains("cannot be read") && hint.contains("nas-logins.json"), "{reason} {hint}");
    std::fs::write(past.file(), known).unwrap();
    assert_eq!(times_sent(&nas), 0);

    assert!(past.forget(&"homenas".parse().unwrap()).unwrap());
    start().until(up).await;
    assert_eq!(times_sent(&nas), 1);
}

#[tokio::test]
async fn a_nas_that_was_put_back_to_an_older_version_does_not_get_it_either() {
    let nas = start(Generation::V26).await;
    let client = Client::start(&nas, &nas.reader_key().key);
    client.until(up).await;
    nas.set_generation(Generation::V25_10);
    nas.restart().await.unwrap();
    client.refused().await;
    assert_eq!(times_sent(&nas), 0);
}

#[tokio::test]
async fn too_few_rounds_are_not_reckoned() {
    let nas = start(Generation::V26).await;
    nas.state(|state| state.pace.scram_rounds = 4096);
    let client = Client::start(&nas, &nas.reader_key().key);
    let (reason, hint) = client.refused().await;
    assert!(reason.contains("rounds") && hint.contains("4096"), "{reason} {hint}");
}
