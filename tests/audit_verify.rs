//! The audit log as a program outside the daemon meets it: through its folder, and through `verify`.

#![expect(clippy::unwrap_used, reason = "what helpers of tests unwrap is what the test is about")]

use std::path::Path;
use std::time::Duration;

use tailnas::audit::verify::{Against, Verdict, verify};
use tailnas::audit::{Journal, OpenError, Refusal, Refused, Settings, Signer};
use tailnas::clock::Clock;
use tailnas::domain::id::RequestId;
use tailnas::domain::who::Who;
use tailnas::lifecycle::Lifecycle;
use tailnas::secret::Secret;

const KEY: &str = "PRIVATE+KEY+tailnas/test+97c30981+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

fn open(dir: &Path) -> Result<Journal, OpenError> {
    let clock = Clock::system();
    let heartbeat = Lifecycle::new(clock.clone()).0.heartbeat("audit", Duration::from_secs(5));
    let settings = Settings {
        dir: dir.to_owned(),
        hasher_key: Secret::new("0123456789abcdef0123456789abcdef".into()),
        signer: Signer::parse(&Secret::new(KEY.into())).unwrap(),
        copy: None,
        rotate_at: u64::MAX,
        reads_go_on: false,
    };
    Journal::open(settings, clock, heartbeat).map(|(journal, _)| journal)
}

async fn run(dir: &Path) {
    let journal = open(dir).unwrap();
    journal.refused(Refusal {
        request: RequestId::at(chrono::DateTime::UNIX_EPOCH),
        who: Who::default(),
        from: Some([100, 64, 0, 9].into()),
        reason: "invalid_token",
        detail: None,
        what: Refused::Entry,
    });
    let system = journal.system("sampler");
    assert!(system.terms().who.peer.is_none());
    journal.close().await.unwrap();
}

#[tokio::test]
async fn a_log_goes_on_from_start_to_start_and_its_report_is_plain_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path()).await;
    let earlier = verify(dir.path(), &Against::default()).unwrap();
    run(dir.path()).await;
    let report = verify(dir.path(), &Against::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(report.records, 10, "genesis, key, and twice start, auth_fail, stop, checkpoint");
    assert_ne!(report.root, earlier.root);
    let words = report.to_string();
    for part in ["chain      OK   seq 0..9, no gap", "tree size 10", "intents    0", "verdict    clean"] {
        assert!(words.contains(part), "{words}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "clean");
    assert_eq!(json["head"]["seq"], 9);
    assert_eq!(json["root"].as_str().unwrap().len(), 64);
    assert!(json["not_checked"].as_array().unwrap().len() >= 2);
}

#[tokio::test]
async fn a_changed_byte_is_named_and_the_daemon_does_not_start_over_it() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path()).await;
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("100.64.0.9", "100.64.0.8")).unwrap();

    let report = verify(dir.path(), &Against::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Tampered);
    let broken = report.broken.clone().unwrap();
    assert_eq!((broken.line, broken.seq), (4, 3));
    assert!(report.to_string().contains("the record was altered: its hash is "), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["broken"]["what"]["kind"], "altered");

    let error = open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("line 4"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap().len(), text.len());
}
