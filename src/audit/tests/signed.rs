//! Signatures, and what keeping them elsewhere finds.

use std::fmt::Write as _;
use std::fs;

use super::super::chain::{Chain, Stamp, seal_of};
use super::super::note::{Given, Note, PublicKey};
use super::super::sinks::BESIDE;
use super::super::verify::{Against, Report, Verdict, verify};
use super::model::Model;
use super::*;

fn open(dir: &Path, settings: Settings) -> Result<(Journal, Opened), OpenError> {
    fs::create_dir_all(dir).unwrap();
    Journal::open(Settings { dir: dir.join("log"), ..settings }, clock(), heartbeat())
}

/// Settings with a copy outside the folder of the log.
fn with_copy(dir: &Path) -> Settings {
    Settings { copy: Some(dir.join("copy")), ..settings(dir) }
}

/// A run of the daemon with `changes` changes, and the receipts for them.
async fn run(dir: &Path, changes: usize) -> (Opened, String) {
    let (journal, opened) = open(dir, with_copy(dir)).unwrap();
    let mut receipts = String::new();
    for _ in 0..changes {
        let warrant = journal.intent(terms("storage_snapshot_create")).await.unwrap();
        let receipt = warrant.close(Outcome::ok()).await.unwrap();
        writeln!(receipts, "On record: {}", journal.signed(receipt)).unwrap();
    }
    journal.close().await.unwrap();
    (opened, receipts)
}

fn notes(file: &Path) -> Vec<Note> {
    Note::all_in(&fs::read_to_string(file).unwrap())
}

fn expected() -> Against {
    Against { vkey: Some(signer().public().clone()), ..Against::default() }
}

fn with_checkpoints(dir: &Path) -> Against {
    Against { outside: vec![("copy".to_owned(), notes(&dir.join("copy")))], ..expected() }
}

fn report(dir: &Path, against: &Against) -> Report {
    verify(&dir.join("log"), against).unwrap()
}

/// The folder of the log as it is now, to be put back later.
fn keep(dir: &Path, name: &str) {
    fs::create_dir(dir.join(name)).unwrap();
    for entry in fs::read_dir(dir.join("log")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(name).join(entry.file_name())).unwrap();
    }
}

fn put_back(dir: &Path, name: &str) {
    fs::remove_dir_all(dir.join("log")).unwrap();
    fs::rename(dir.join(name), dir.join("log")).unwrap();
}

fn file(dir: &Path) -> PathBuf {
    dir.join("log").join("audit-00000000000000000000.jsonl")
}

/// The log with every record about `from` made one about `to`, and every hash computed anew.
fn rewritten(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut prev = "0".repeat(64);
    let mut out = String::new();
    for line in text.lines() {
        let Some(line) = change(line) else { continue };
        let body = line.split(",\"prev\":").next().unwrap();
        let body = format!("{body},\"prev\":\"{prev}\"");
        prev = Hash::leaf(body.as_bytes()).to_string();
        writeln!(out, "{body},\"hash\":\"{prev}\"}}").unwrap();
        assert!(seal_of(out.lines().last().unwrap().as_bytes()).is_some());
    }
    out
}

#[tokio::test]
async fn every_sink_gets_what_was_signed_and_all_of_it_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, receipts) = run(dir, 100).await;
    let newest = *notes(&dir.join("copy")).last().map(Note::checkpoint).as_ref().unwrap();
    assert_eq!(notes(&dir.join("log").join(BESIDE)).last().unwrap().checkpoint(), newest);
    let against = Against { receipts: Some(Given::all_in(&receipts)), ..with_checkpoints(dir) };
    let report = report(dir, &against);
    assert_eq!(report.verdict, Verdict::Clean, "{report}");
    assert_eq!(report.signed.uncovered, 0, "the stop is covered too: {report}");
    assert_eq!(report.signed.covered, Some(newest.size));
    assert!(report.signed.checkpoints >= 3, "{report}");
    let receipts = report.compared.iter().find(|one| one.what == "receipts").unwrap();
    assert_eq!((receipts.agree, receipts.problems.len()), (100, 0), "{report}");
    assert!(report.to_string().contains("behind record"), "{report}");
}

#[tokio::test]
async fn there_is_a_checkpoint_each_64_records_or_each_minute_and_a_sign_of_life_each_15() {
    let turned = Turned::default();
    let model = Model::default();
    let (mut writer, ..) = recovery::take_up(
        Box::new(model.clone()),
        Clock::from_tell(turned.clone()),
        &Arc::new(signer()),
        &[],
    )
    .ok()
    .unwrap();
    let mut types = |seconds: u64| {
        turned.turn(seconds);
        let before = model.bytes().len();
        writer.keep_up(Duration::from_secs(1_000_000 + turned.0.load(Ordering::Relaxed)));
        if !writer.is_flushed() {
            writer.flush().unwrap();
        }
        let text = String::from_utf8(model.bytes()[before..].to_vec()).unwrap();
        let named = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].to_string();
        text.lines().map(named).collect::<Vec<_>>()
    };
    assert!(types(0).is_empty() && types(59).is_empty());
    assert_eq!(types(1), ["\"checkpoint\""]);
    // It is not a reason for another one.
    assert!(types(60).is_empty() && types(800).is_empty());
    assert_eq!(types(100), ["\"heartbeat\""]);
    assert!(types(0).is_empty() && types(59).is_empty());
    assert_eq!(types(1), ["\"checkpoint\""]);
    for number in 0..63 {
        writer.seal(&intent("a"));
        writer.flush().unwrap();
        writer.keep_up(Duration::from_secs(1_000_000 + turned.0.load(Ordering::Relaxed)));
        assert!(writer.is_flushed(), "{number}");
    }
    writer.seal(&intent("a"));
    writer.flush().unwrap();
    writer.keep_up(Duration::from_secs(1_000_000 + turned.0.load(Ordering::Relaxed)));
    writer.flush().unwrap();
    assert_eq!(model.survey().checkpoints, 3);
    assert!(Report::of(model.survey(), false, &expected()).is_clean());
}

#[tokio::test]
async fn an_older_copy_that_was_put_back_is_recorded_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, 3).await;
    keep(dir, "old");
    let (_, receipts) = run(dir, 3).await;
    let signed = notes(&dir.join("copy")).last().unwrap().checkpoint();
    put_back(dir, "old");

    // The log alone is sound. What was kept elsewhere tells.
    assert!(report(dir, &expected()).is_clean());
    let told = report(dir, &with_checkpoints(dir));
    assert_eq!(told.verdict, Verdict::Tampered, "{told}");
    assert!(told.to_string().contains("the log has fewer records"), "{told}");
    let receipts = Against { receipts: Some(Given::all_in(&receipts)), ..expected() };
    assert_eq!(report(dir, &receipts).verdict, Verdict::Tampered);

    let (opened, _) = run(dir, 50).await;
    assert_eq!(opened.lost.len(), 1);
    assert_eq!((opened.lost[0].size, opened.lost[0].root), (signed.size, signed.root));
    let after = report(dir, &expected());
    assert_eq!(after.lost, opened.lost, "{after}");
    assert!(after.to_string().contains("LOST"), "{after}");
    // Once, and not again by later starts.
    assert!(run(dir, 0).await.0.lost.is_empty());
}

#[tokio::test]
async fn a_log_cut_off_between_records_is_found_by_the_file_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, 3).await;
    let text = fs::read_to_string(file(dir)).unwrap();
    let whole: Vec<&str> = text.split_inclusive('\n').collect();
    for kept in 2..whole.len() - 1 {
        fs::write(file(dir), whole[..kept].concat()).unwrap();
        assert_eq!(report(dir, &expected()).verdict, Verdict::Tampered, "{kept} kept");
    }
    let (opened, _) = run(dir, 0).await;
    assert_eq!(opened.lost.len(), 1, "both sinks say the same");
}

#[tokio::test]
async fn a_rewritten_log_is_found_by_its_own_checkpoints_and_without_them_by_those_outside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Of a run that is short, only the last checkpoint surely reaches what is outside.
    run(dir, 20).await;
    run(dir, 20).await;
    let genuine = fs::read_to_string(file(dir)).unwrap();
    let change = |line: &str| Some(line.replacen("tank/photos", "tank/other!", 1));
    fs::write(file(dir), rewritten(&genuine, change)).unwrap();
    let broken = report(dir, &Against::default()).broken.unwrap();
    assert!(matches!(broken.what, scan::Flaw::Checkpoint { .. }), "{broken}");

    // Numbers and links are right, and there is no checkpoint that could contradict.
    let mut unsigned = String::new();
    let others = genuine.lines().filter(|line| !line.contains("\"type\":\"checkpoint\""));
    for (seq, line) in others.enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = line.replacen(&format!("\"seq\":{},", value["seq"]), &format!("\"seq\":{seq},"), 1);
        let durable = format!(",\"durable\":{}", value["durable"]);
        unsigned.push_str(&line.replacen(&durable, "", 1));
        unsigned.push('\n');
    }
    fs::write(file(dir), rewritten(&unsigned, change)).unwrap();
    let beside = fs::read(dir.join("log").join(BESIDE)).unwrap();
    fs::remove_file(dir.join("log").join(BESIDE)).unwrap();
    let alone = report(dir, &expected());
    assert_eq!(alone.broken, None, "{alone}");
    assert_eq!(report(dir, &with_checkpoints(dir)).verdict, Verdict::Tampered);
    let error = open(dir, with_copy(dir)).unwrap_err();
    assert!(matches!(error, OpenError::Forked { .. }), "{error}");
    fs::write(dir.join("log").join(BESIDE), beside).unwrap();
    assert_eq!(report(dir, &expected()).verdict, Verdict::Tampered);
}

#[tokio::test]
async fn a_log_signed_anew_with_another_key_is_found_by_whoever_knows_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let other = || Signer::parse(&Signer::generate("tailnas/test").unwrap().0).unwrap();
    let (journal, _) = open(dir, Settings { signer: other(), ..settings(dir) }).unwrap();
    journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    assert!(report(dir, &Against::default()).is_clean());
    let told = report(dir, &expected());
    assert_eq!(told.verdict, Verdict::Tampered);
    assert!(told.to_string().contains("another key than the one"), "{told}");
    let error = open(dir, settings(dir)).unwrap_err();
    assert!(matches!(error, OpenError::OtherKey { .. }), "{error}");
}

/// What the genuine daemon said elsewhere has then nothing to say about it, which is no agreement.
#[tokio::test]
async fn a_log_put_in_the_place_of_another_by_a_key_of_another_name_is_not_called_clean() {
    let dir = tempfile::tempdir().unwrap();
    let genuine = dir.path().join("genuine");
    let (_, receipts) = run(&genuine, 3).await;
    let put_in = dir.path().join("put-in");
    let other = Signer::parse(&Signer::generate("tailnas/another").unwrap().0).unwrap();
    let (journal, _) = open(&put_in, Settings { signer: other, ..settings(&put_in) }).unwrap();
    journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    assert!(report(&put_in, &Against::default()).is_clean(), "by itself it is sound");

    let outside = vec![("copy".to_owned(), notes(&genuine.join("copy")))];
    let checkpoints = Against { outside, ..Against::default() };
    let receipts = Against { receipts: Some(Given::all_in(&receipts)), ..Against::default() };
    for against in [&checkpoints, &receipts] {
        assert!(verify(&genuine.join("log"), against).unwrap().is_clean());
        let told = report(&put_in, against);
        assert_eq!(told.verdict, Verdict::Unchecked, "{told}");
        assert!(told.to_string().contains("whether this is the log that belongs here"), "{told}");
    }
    // With one that agrees beside it: each has to.
    let both = Against {
        outside: vec![("copy".to_owned(), notes(&genuine.join("copy")))],
        receipts: Some(Given::all_in("")),
        ..Against::default()
    };
    assert_eq!(verify(&genuine.join("log"), &both).unwrap().verdict, Verdict::Unchecked);
    // So does the file beside it that the genuine daemon left.
    fs::copy(genuine.join("log").join(BESIDE), put_in.join("log").join(BESIDE)).unwrap();
    assert!(!report(&put_in, &Against::default()).is_clean());
    // Whoever knows the right key knows more.
    let known = Against { vkey: Some(signer().public().clone()), ..checkpoints };
    assert_eq!(report(&put_in, &known).verdict, Verdict::Tampered);
}

#[test]
fn a_log_that_names_no_key_is_none_of_ours() {
    let log = |events: &[&str]| {
        let (mut chain, mut bytes) = (Chain::EMPTY, Vec::new());
        let stamp = Stamp { at: DateTime::UNIX_EPOCH, mono: 0, boot: "b", durable: None };
        for event in events {
            chain.seal(&stamp, event.as_bytes(), &mut bytes);
        }
        Report::of(Model::of(&bytes).survey(), false, &Against::default())
    };
    let genesis = r#"{"type":"genesis","install":"x","tailnas":"0","format":1}"#;
    let lost = format!(r#"{{"type":"lost","have":1,"size":9,"root":"{}","sink":"copy"}}"#, Hash::ZERO);
    assert_eq!(log(&[genesis]).verdict, Verdict::Clean, "a start may have been cut off here");
    for event in [&lost, r#"{"type":"start","tailnas":"0","pid":1}"#] {
        let told = log(&[genesis, event]);
        assert_eq!(told.broken.unwrap().what, scan::Flaw::NoKey);
    }
}

#[test]
fn a_silence_that_no_daemon_keeps_is_told() {
    const MINUTE: u64 = 60_000_000_000;
    let key = format!(r#"{{"type":"key","vkey":"{}"}}"#, signer().public());
    let (mut chain, mut bytes) = (Chain::EMPTY, Vec::new());
    for (event, minutes, boot) in [
        (r#"{"type":"genesis","install":"x","tailnas":"0","format":1}"#, 0, "a"),
        (key.as_str(), 0, "a"),
        (r#"{"type":"heartbeat"}"#, 15, "a"),
        (r#"{"type":"heartbeat"}"#, 31, "a"),
        // Between two runs there is nobody who could say anything.
        (r#"{"type":"start","tailnas":"0","pid":1}"#, 300, "b"),
        (r#"{"type":"read"}"#, 347, "b"),
        (r#"{"type":"stop"}"#, 348, "b"),
    ] {
        let stamp = Stamp { at: DateTime::UNIX_EPOCH, mono: minutes * MINUTE, boot, durable: None };
        chain.seal(&stamp, event.as_bytes(), &mut bytes);
    }
    let report = Report::of(Model::of(&bytes).survey(), false, &Against::default());
    assert!(report.is_clean(), "it is no proof: {report}");
    assert_eq!(report.silences, [scan::Silence { after: 4, seconds: 47 * 60 }]);
    assert!(report.to_string().contains("47 min behind record 4"), "{report}");
}

/// What a stranger writes behind the last checkpoint excuses nothing, whatever it says of what is missing.
#[tokio::test]
async fn a_forged_word_of_loss_excuses_no_other_records() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, 2).await;
    let short = fs::read(file(dir)).unwrap();
    run(dir, 40).await;
    let survey = Model::of(&short).survey();
    let forged = |events: &[String]| {
        let (mut chain, mut bytes) = (survey.chain.clone(), short.clone());
        for event in events {
            let durable = Some(survey.records() - 1);
            let stamp = Stamp { at: DateTime::UNIX_EPOCH, mono: 0, boot: "b", durable };
            chain.seal(&stamp, event.as_bytes(), &mut bytes);
        }
        bytes
    };
    let have = survey.records();
    let lost = |have: u64| {
        format!(r#"{{"type":"lost","have":{have},"size":9999,"root":"{}","sink":"copy"}}"#, Hash::ZERO)
    };
    let others: Vec<String> = std::iter::repeat_n(String::from_utf8(intent("evil")).unwrap(), 130).collect();

    fs::write(file(dir), forged(&[&[lost(have)], &others[..]].concat())).unwrap();
    let error = open(dir, with_copy(dir)).unwrap_err();
    assert!(matches!(error, OpenError::Forked { .. }), "{error}");
    assert_eq!(report(dir, &expected()).verdict, Verdict::Tampered);

    // Behind the other records it would have to know less than it did.
    fs::write(file(dir), forged(&[&others[..], &[lost(have)]].concat())).unwrap();
    assert!(matches!(report(dir, &expected()).broken.unwrap().what, scan::Flaw::Lost { .. }));
    fs::write(file(dir), forged(&[&others[..], &[lost(have + 130)]].concat())).unwrap();
    assert!(matches!(open(dir, with_copy(dir)).unwrap_err(), OpenError::Forked { .. }));
}

#[test]
fn a_log_cannot_take_hold_of_the_terminal_that_shows_its_report() {
    let evil = "\\u001b]0;x\\u0007\\u202e\\u009b";
    let key = format!(r#"{{"type":"key","vkey":"{}"}}"#, signer().public());
    let lost = format!(r#"{{"type":"lost","have":2,"size":9,"root":"{}","sink":"{evil}"}}"#, Hash::ZERO);
    let sound = [r#"{"type":"genesis","install":"x","tailnas":"0","format":1}"#, &key, &lost];
    let report = |events: &[&str], change: &dyn Fn(String) -> String| {
        let (mut chain, mut text) = (Chain::EMPTY, String::new());
        for event in events {
            let mut line = Vec::new();
            let stamp = Stamp { at: DateTime::UNIX_EPOCH, mono: 0, boot: "b", durable: None };
            chain.seal(&stamp, event.as_bytes(), &mut line);
            let line = change(String::from_utf8(line).unwrap());
            let body = line.split(",\"hash\":").next().unwrap();
            chain.prev = Hash::leaf(body.as_bytes());
            writeln!(text, "{body},\"hash\":\"{}\"}}", chain.prev).unwrap();
        }
        Report::of(Model::of(text.as_bytes()).survey(), false, &Against::default())
    };
    let as_it_is = |line: String| line;
    let time = |line: String| line.replace("1970-01-01T00:00:00.000000Z", evil);
    let prev = |line: String| {
        let before = line.split("\"prev\"").next().unwrap();
        if line.contains("\"seq\":2") { format!("{before}\"prev\":\"{evil}\",\"hash\":") } else { line }
    };
    let vkey = format!(r#"{{"type":"key","vkey":"{evil}"}}"#);
    let odd = format!(r#"{{"type":"stop","durable":"{evil}"}}"#);
    for (what, told) in [
        ("a sink", report(&sound, &as_it_is)),
        ("a time", report(&sound, &time)),
        ("a link", report(&sound, &prev)),
        ("a key", report(&[sound[0], &vkey], &as_it_is)),
        ("a value of the wrong kind", report(&[sound[0], &odd], &as_it_is)),
    ] {
        let shown = told.to_string();
        let json = serde_json::to_string(&told).unwrap();
        assert!(
            shown.lines().chain([&*json]).all(|l| l.chars().all(crate::domain::text::is_harmless)),
            "{what}: {shown:?}"
        );
    }
}

#[tokio::test]
async fn a_key_is_followed_by_the_one_it_vouched_for_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, 70).await;
    let secret = Signer::generate("tailnas/second").unwrap().0;
    let second = || Signer::parse(&secret).unwrap();
    let settings = Settings { dir: dir.join("log"), ..with_copy(dir) };
    Journal::change_key(settings, second(), clock()).unwrap();
    let error = open(dir, with_copy(dir)).unwrap_err();
    assert!(matches!(error, OpenError::OtherKey { .. }), "{error}");
    let (journal, opened) = open(dir, Settings { signer: second(), ..with_copy(dir) }).unwrap();
    assert!(opened.lost.is_empty());
    journal.close().await.unwrap();
    for key in [signer().public(), second().public()] {
        let against = Against { vkey: Some(PublicKey::clone(key)), ..with_checkpoints(dir) };
        let report = report(dir, &against);
        assert!(report.is_clean() && report.signed.keys.len() == 2, "{report}");
    }
}

#[test]
fn a_second_key_counts_only_if_the_first_vouches_for_it() {
    let second = Signer::parse(&Signer::generate("tailnas/second").unwrap().0).unwrap();
    let log = |voucher: Option<String>| {
        let model = Model::default();
        let (mut writer, _) = taken_up(&model).ok().unwrap();
        let vkey = second.public().to_string();
        writer.add(&Event::Key(record::Key { vkey, voucher }));
        writer.flush().unwrap();
        model.survey()
    };
    assert!(matches!(log(None).broken.unwrap().what, scan::Flaw::Key { .. }));
    assert!(log(Some(second.vouch(second.public()))).broken.is_some());
    let survey = log(Some(signer().vouch(second.public())));
    assert_eq!(survey.broken, None);
    for key in [signer().public(), second.public()] {
        let against = Against { vkey: Some(PublicKey::clone(key)), ..Against::default() };
        assert!(Report::of(survey.clone(), false, &against).is_clean());
    }
}
