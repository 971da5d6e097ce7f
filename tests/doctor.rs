//! `tailnas doctor` in a neighbourhood where all is well, and in ones where one thing is not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::io::Write as _;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use common::{Bench, eventually};
use tailnas::dispatch::Catalogue;
use tailnas::nas::By;
use tailnas_sim::browser::Browser;
use tailnas_sim::fault::Fault;
use tailnas_sim::nas::{Generation, Roles};
use tailnas_sim::world::{ALICE, BOB, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct Neighbourhood {
    world: World,
    dir: TempDir,
}

impl Neighbourhood {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start(dir.path(), 0, Generation::V25_10).await.unwrap();
        Self { world, dir }
    }

    /// The same configuration with something else in the place of `from`.
    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.world.config()).unwrap();
        assert!(text.contains(from), "{from:?} is not in:\n{text}");
        self.world.write("config.toml", &text.replace(from, to)).unwrap();
    }

    async fn doctor(&self) -> Said {
        doctor(self.world.config()).await
    }

    /// A doctor who finds one thing wrong and names cause and fix.
    async fn ill(&self, cause: &[&str], fix: &str) -> Said {
        let said = self.doctor().await;
        assert_eq!(said.code, Some(1), "{}", said.text);
        let wrong: Vec<_> = said.text.lines().filter(|line| line.starts_with('✗')).collect();
        let [wrong] = wrong[..] else { panic!("one thing is wrong, and not {wrong:#?} in:\n{}", said.text) };
        for part in cause {
            assert!(wrong.contains(part), "{part:?} is not in {wrong:?}");
        }
        let mend = said.text.lines().skip_while(|line| *line != wrong).nth(1).unwrap();
        assert!(mend.starts_with("  → ") && mend.contains(fix), "{fix:?} is not in {mend:?}");
        said
    }
}

struct Said {
    text: String,
    code: Option<i32>,
}

async fn doctor(config: impl AsRef<Path>) -> Said {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["doctor", "--config", config.as_ref().to_str().unwrap()])
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Said { text, code: output.status.code() }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_it_says_so_of_every_part_in_every_generation() {
    for generation in [Generation::V25_04, Generation::V25_10, Generation::V26] {
        let here = Neighbourhood::new().await;
        here.world.nas.set_generation(generation);
        let wanted = Catalogue::new().roles_of_changes(By::Writer, generation.version().parse().unwrap());
        here.world.nas.state(|state| {
            let account = state.accounts.iter_mut().find(|account| account.username == "tailnas-writer");
            account.unwrap().roles = Roles::new(&wanted.into_iter().collect::<Vec<_>>());
        });
        let said = here.doctor().await;
        assert_eq!(said.code, Some(0), "{generation:?}: {}", said.text);
        for part in [
            "✓ configuration",
            "✓ tailscaled: this machine is nas-mcp.tail1234.ts.net",
            "tells us about tokens",
            "✓ clocks: that of provider",
            "✓ clocks: that of NAS homenas",
            "its certificate (sha256:",
            "let in as the reader tailnas-reader",
            "let in as the writer tailnas-writer",
            "let in as the maintenance account tailnas-maintenance",
            "the API key of the reader tailnas-reader has no end",
            "the API key of the writer tailnas-writer: when it ends, that account cannot see",
            "there is none yet",
        ] {
            assert!(said.text.contains(part), "{generation:?}: {part:?} is not in:\n{}", said.text);
        }
        let changes: Vec<_> = here.world.nas.transcript().into_iter().map(|call| call.method).collect();
        assert!(changes.iter().all(|method| !method.contains("create")), "it changes nothing: {changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_nobody_verifies_is_pointed_out() {
    for (claim, is_verified) in [("email", true), ("preferred_username", false), ("username", false)] {
        let here = Neighbourhood::new().await;
        here.change("\n[[nas]]", &format!("kind = \"generic\"\nlogin_claim = \"{claim}\"\n\n[[nas]]"));
        let said = here.doctor().await;
        let noted =
            said.text.contains(&format!("· provider.login_claim is {claim}, of which no provider says"));
        assert_eq!((said.code, noted), (Some(0), !is_verified), "{}", said.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_tailnet_or_the_provider_is_told_with_its_cause() {
    let here = Neighbourhood::new().await;
    here.world.tailnet.set_backend_state("NeedsLogin");
    here.ill(&["tailscaled", "NeedsLogin"], "tailscale up").await;
    here.world.tailnet.set_backend_state("Running");
    here.world.local_api.stop().await;
    here.ill(&["tailscaled", "socket cannot be reached", "No such file"], "systemctl status tailscaled")
        .await;
    here.world.local_api.restart().await.unwrap();

    here.world.tsidp.faults().always(Fault::Status(403, "no".into()));
    here.ill(&["provider", "status 403"], "does not accept us").await;
    here.world.tsidp.faults().always(Fault::Body("text/html".into(), b"<html>".to_vec()));
    here.ill(&["provider", "not said to be application/json"], "provider.issuer").await;
    here.world.tsidp.faults().clear();
    here.world.tsidp.set_now(Utc::now() + TimeDelta::seconds(90));
    here.ill(&["clocks: that of provider", "s from ours"], "timedatectl").await;
    here.world.tsidp.set_now(Utc::now());
    here.world.tsidp.stop().await;
    here.ill(&["provider", "Connection refused"], "curl http://127.0.0.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_told_once_and_no_key_is_shown_to_it() {
    let here = Neighbourhood::new().await;
    let ca = format!("ca_file = \"{}/nas-ca.pem\"", here.dir.path().display());
    let pins = format!("pins = [\"sha256:{}\"]", "0".repeat(64));
    here.change(&ca, &pins);
    let said = here
        .ill(&["not pinned", &here.world.nas.certificate_pin()], "System > Certificates on the NAS itself")
        .await;
    assert_eq!(said.text.matches("not pinned").count(), 1, "{}", said.text);
    assert!(!said.text.contains("doctor --pin") && !said.text.contains("still starting"), "{}", said.text);

    let stranger = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    here.world.write("nas-ca.pem", &params.self_signed(&stranger).unwrap().pem()).unwrap();
    here.change(&pins, &ca);
    let said = here.ill(&["is not accepted", "UnknownIssuer"], "nas.ca_file").await;
    assert!(!said.text.contains("still starting"), "{}", said.text);
    assert!(here.world.nas.logins().is_empty(), "no key is shown to a stranger");

    here.world.nas.stop().await;
    here.ill(&["NAS homenas", "Connection refused"], "is it on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_is_tried_once_and_told_of_with_what_it_lacks() {
    let here = Neighbourhood::new().await;
    // Nobody mends ten things within one minute.
    here.world.nas.state(|state| state.pace.anonymous_calls = 200);
    let writer = here.world.nas.writer_key().key;
    here.world.write("writer.key", "2-wrong").unwrap();
    here.ill(&["the writer tailnas-writer", "refused the login"], "made for the user tailnas-writer").await;
    let tried = here.world.nas.logins().iter().filter(|login| login.answer != "SUCCESS").count();
    assert_eq!(tried, 1);
    here.world.write("writer.key", &writer).unwrap();

    let with_roles = |roles: &'static [&'static str]| {
        here.world.nas.state(|state| {
            let account = state.accounts.iter_mut().find(|account| account.username == "tailnas-writer");
            account.unwrap().roles = Roles::new(roles);
        });
    };
    with_roles(&["DATASET_READ"]);
    here.ill(&["the writer tailnas-writer lacks roles: ", "SNAPSHOT_WRITE (snapshot_clone"], "Privileges")
        .await;
    with_roles(&["FULL_ADMIN"]);
    let said = here.doctor().await;
    assert!(said.code == Some(0) && said.text.contains("is a full administrator"), "{}", said.text);

    let reads_with = |roles: &'static [&'static str]| {
        here.world.nas.state(|state| {
            let account = state.accounts.iter_mut().find(|account| account.username == "tailnas-reader");
            account.unwrap().roles = Roles::new(roles);
        });
    };
    reads_with(&["READONLY_ADMIN", "REPLICATION_ADMIN"]);
    here.ill(
        &["the reader tailnas-reader has roles that allow changes: ", "REPLICATION_ADMIN"],
        "READONLY_ADMIN and no other",
    )
    .await;
    reads_with(&["READONLY_ADMIN"]);

    let reader_ends = |at| {
        here.world.nas.state(|state| {
            let account = state.accounts.iter_mut().find(|account| account.username == "tailnas-reader");
            account.unwrap().keys[0].expires = at;
        });
    };
    reader_ends(Some(Utc::now() + TimeDelta::hours(60)));
    here.ill(&["the API key of the reader tailnas-reader ends in 2 days"], "Make a new key").await;
    reader_ends(Some(Utc::now() - TimeDelta::hours(1)));
    here.ill(&["the reader tailnas-reader", "has expired or was revoked"], "Make a new key").await;
    reader_ends(None);
    here.world.nas.state(|state| state.clock = Some(Utc::now() - TimeDelta::seconds(90)));
    here.ill(&["clocks: that of NAS homenas is -9"], "time synchronisation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_only_the_service_has_are_a_note_with_the_line_to_run() {
    let here = Neighbourhood::new().await;
    let dir = here.dir.path().display().to_string();
    here.change(&format!("file:{dir}/reader.key"), "credential:nas-reader-key");
    here.change(&format!("file:{dir}/audit-hmac.key"), "credential:audit-hmac-key");
    let said = here.doctor().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    for part in [
        "not tried, since systemd gives these credentials to the service alone: nas[0].reader.key, audit.hmac_key",
        "systemd-run",
        "-p LoadCredential=audit-hmac-key:tailnas.audit-hmac-key -p LoadCredential=nas-reader-key:tailnas.nas-reader-key ",
        "not logged in as the reader",
        "let in as the writer",
    ] {
        assert!(said.text.contains(part), "{part:?} is not in:\n{}", said.text);
    }
    let known = [Some("tailnas-writer"), Some("tailnas-maintenance")];
    assert!(here.world.nas.logins().iter().all(|login| known.contains(&login.username.as_deref())));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_itself_tells_of_a_key_that_ends_while_there_is_time() {
    let at = Utc::now() + TimeDelta::days(3);
    let bench = Bench::start_with(|world| {
        world.nas.state(|state| {
            let ends = ["tailnas-writer", "tailnas-maintenance"];
            for account in state.accounts.iter_mut().filter(|one| ends.contains(&one.username.as_str())) {
                account.keys[0].expires = Some(at);
            }
        });
    })
    .await;
    let end = at.format("%Y-%m-%d %H:%M UTC");
    let told = [
        format!(
            "the API key of the writer ends soon, at {end}, and from then on nothing on the NAS can be changed"
        ),
        format!(
            "the API key of the maintenance account ends soon, at {end}, and from then on the NAS cannot be restarted"
        ),
    ];
    for told in &told {
        eventually(told, async || bench.log().contains(told)).await;
    }
    assert!(!bench.log().contains("the API key of the reader ends soon"), "{}", bench.log());

    let metrics = get(bench.world.metrics_address(), "/metrics").await;
    for of in ["writer", "maintenance"] {
        let line =
            format!("tailnas_nas_{of}_key_expiry_timestamp_seconds{{nas=\"homenas\"}} {}", at.timestamp());
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    assert!(
        metrics.contains("tailnas_nas_certificate_expiry_timestamp_seconds{nas=\"homenas\"} "),
        "{metrics}"
    );
    assert!(!metrics.contains("tailnas_nas_reader_key_expiry"), "it has no end:\n{metrics}");

    // Who may see how the NAS is sees that too, and nobody else.
    for (person, sees) in [(ALICE, true), (BOB, false)] {
        let page = Browser::of(&bench.world, person).unwrap().open("/console").await.unwrap();
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains("What needs attention"), "{page}");
        for told in &told {
            assert_eq!(page.contains(told.trim_start_matches("the ")), sees, "{told}: {page}");
        }
    }
}

async fn get(at: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_the_log_is_no_chain_that_holds() {
    let mut bench = Bench::complete().await;
    let said = doctor(bench.world.config()).await;
    assert!(said.code == Some(0) && said.text.contains("the chain holds"), "{}", said.text);
    bench.daemon.kill().await.unwrap();
    let files = std::fs::read_dir(bench.world.audit_dir()).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).max().unwrap();
    std::fs::File::options().append(true).open(log).unwrap().write_all(b"{\"v\":1,\"seq\":").unwrap();
    let said = doctor(bench.world.config()).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(
        !said.text.contains("the chain holds") && said.text.contains("as a crash leaves it"),
        "{}",
        said.text
    );
    assert!(said.text.contains("→ Start tailnas"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_for_somebody_who_helps_names_nobody() {
    let neighbourhood = Neighbourhood::new().await;
    let world = &neighbourhood.world;
    let grant = "\n[[grant]]\nlogin = \"carol@example.com\"\nscopes = [\"storage:read\"]\n";
    let config = std::fs::read_to_string(world.config()).unwrap();
    world.write("config.toml", &(config + grant)).unwrap();
    let args = ["doctor", "--report", "--config"];
    let program = env!("CARGO_BIN_EXE_tailnas");
    let asked = tokio::process::Command::new(program).args(args).arg(world.config()).output().await.unwrap();
    assert!(asked.status.success());
    let report = String::from_utf8(asked.stdout).unwrap();
    for told in
        ["== machine", "[[grant]]", "storage:read", "let in as the reader", "== journal", "<address 1>"]
    {
        assert!(report.contains(told), "{told}: {report}");
    }
    let pin = world.nas.certificate_pin();
    let secrets = [world.nas.reader_key().key, world.nas.writer_key().key, pin.replace("sha256:", "")];
    for hidden in ["carol", "127.0.0.1", "tail1234"].into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!report.contains(hidden), "{hidden}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nas_that_once_kept_the_key_secret_does_not_get_it_and_can_be_forgotten() {
    let here = Neighbourhood::new().await;
    let state = here.dir.path().join("state");
    let past = tailnas::nas::PastLogins::in_folder(&state);
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(past.file(), r#"{"homenas":{"scram":true,"bound":true}}"#).unwrap();
    std::fs::set_permissions(past.file(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said = here.doctor().await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(
        said.text.contains("now wants the key itself") && said.text.contains("--forget-login homenas"),
        "{}",
        said.text
    );
    assert!(here.world.nas.logins().is_empty(), "no key is shown");

    let config = here.world.config();
    let forget = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_tailnas"))
            .args(["doctor", "--config", config.to_str().unwrap(), "--forget-login", "homenas"])
            .output()
            .unwrap()
    };
    assert_eq!(forget().status.code(), Some(0));
    assert_eq!(forget().status.code(), Some(1), "there is nothing more to forget");
    assert_eq!(here.doctor().await.code, Some(0));
    // The doctor looks; what the logins were like is kept by the daemon.
    assert_eq!(std::fs::read_to_string(past.file()).unwrap(), "{}");
}
