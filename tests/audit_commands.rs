//! The promises of the audit log, kept by the real daemon and checked with the commands a person has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::Bench;
use serde_json::{Value, json};
use tailnas_sim::world::ALICE;

fn tailnas(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is(output: &Output, code: i32) -> String {
    let said = text(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

async fn snapshot(bench: &Bench, name: &str) -> Value {
    let arguments = json!({ "dataset": "tank/photos", "name": name });
    let answer = bench.client(ALICE).call("snapshot_create", arguments).await.unwrap();
    assert!(!answer.is_error(), "{}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_checkpoints_and_commands_agree_until_an_older_copy_is_put_back() {
    let mut bench = Bench::start_with(|world| {
        let config = fs::read_to_string(world.config()).unwrap();
        let copy = world.audit_dir().with_file_name("copy");
        let config = config.replace("[audit]\n", &format!("[audit]\ncopy = \"{}\"\n", copy.display()));
        world.write("config.toml", &config).unwrap();
    })
    .await;
    bench.nas_is_up().await;
    let config = bench.world.config().display().to_string();
    let dir = bench.world.audit_dir();
    let copy = dir.with_file_name("copy");
    let vkey = bench.record("the key", |r| r["type"] == "key").await["vkey"].as_str().unwrap().to_owned();

    let first = snapshot(&bench, "one").await;
    let receipt = first["result"]["_meta"]["tailnas.dev/audit"]["receipt"].as_str().unwrap();
    let shown = first["result"]["content"][0]["text"].as_str().unwrap();
    assert!(shown.contains(&format!("On record: {receipt}")), "{shown}");
    let seq = first["result"]["_meta"]["tailnas.dev/audit"]["seq"].as_u64().unwrap();

    // On a live file, with the key of the configuration.
    let live = is(&tailnas(&["audit", "verify", "--config", &config], ""), 0);
    assert!(live.contains("unchecked  whether records were cut off"), "{live}");
    let verify = |with: &[&str], input: &str| {
        tailnas(&[&["audit", "verify", "--config", &config][..], with].concat(), input)
    };
    let said = is(&verify(&["--receipts", "-"], &first.to_string()), 0);
    assert!(said.contains("receipts: 1 of 1 agree"), "{said}");

    let record = is(&tailnas(&["audit", "show", &seq.to_string(), "--config", &config, "--json"], ""), 0);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["type"], &record["target"]), (&json!("outcome"), &json!("tank/photos@one")));
    assert_eq!(record["hash"], first["result"]["_meta"]["tailnas.dev/audit"]["hash"]);
    let user = "somebody";
    let arguments = json!({ "service": "middleware", "user": user });
    bench.client(ALICE).call("audit_query", arguments).await.unwrap();
    let looked = bench.record("the look", |r| r["type"] == "read" && r["tool"] == "audit_query").await;
    let hashed = is(&tailnas(&["audit", "hash", "--config", &config], &format!("{user}\n")), 0);
    assert_eq!(looked["args"]["user"]["hmac"], hashed.trim(), "{looked}");
    // As the documentation says it is done without tailnas.
    let key = bench.world.audit_dir().with_file_name("audit-hmac.key");
    let recipe = format!("printf %s {user} | openssl dgst -sha256 -hmac \"$(cat {})\"", key.display());
    if common::there_is("openssl") {
        let by_hand = Command::new("sh").args(["-c", &recipe]).output().unwrap();
        assert!(text(&by_hand).contains(hashed.trim()), "{}", text(&by_hand));
    }
    let exported = is(&tailnas(&["audit", "export", "--config", &config, "--since", "1", "--json"], ""), 0);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["seq"], 1);
    // 1 is for a log that was tampered with, and for nothing else.
    is(&tailnas(&["audit", "show", "999999", "--config", &config], ""), 3);
    is(&tailnas(&["audit", "prune", "--before", "1", "--config", &config], ""), 3);

    bench.daemon.stop().await.unwrap();
    let journal = bench.log();
    let said = is(&verify(&["--journal", "-", "--checkpoint", copy.to_str().unwrap()], &journal), 0);
    assert!(said.contains("compared   -: ") && said.contains(copy.to_str().unwrap()), "{said}");
    // A file with nothing in it is no agreement.
    is(&verify(&["--checkpoint", "-"], "nothing"), 3);
    is(&verify(&["--receipts", "-"], "nothing"), 3);

    let old = dir.with_file_name("old");
    copy_folder(&dir, &old);
    bench.start_again().await;
    bench.nas_is_up().await;
    let second = snapshot(&bench, "two").await.to_string();
    bench.daemon.stop().await.unwrap();
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&old, &dir).unwrap();

    is(&verify(&["--receipts", "-"], &first.to_string()), 0);
    let said = is(&verify(&["--receipts", "-"], &second), 1);
    assert!(said.contains("the record is not there any more"), "{said}");
    let said = is(&verify(&["--checkpoint", copy.to_str().unwrap()], ""), 1);
    assert!(said.contains("an older copy was put back"), "{said}");
    is(&verify(&["--journal", "-"], &bench.log()), 1);

    bench.start_again().await;
    bench.record("what is lost", |r| r["type"] == "lost").await;
    assert!(bench.log().contains("LOST"), "{}", bench.log());
    bench.daemon.stop().await.unwrap();

    // The right key, and a wrong one.
    let dir = dir.to_str().unwrap();
    is(&tailnas(&["audit", "verify", "--dir", dir, "--vkey", &vkey], ""), 0);
    let key = bench.world.audit_dir().with_file_name("other.key");
    let other = tailnas(&["audit", "keygen", key.to_str().unwrap()], "");
    let other = String::from_utf8(other.stdout).unwrap();
    is(&tailnas(&["audit", "verify", "--dir", dir, "--vkey", other.trim()], ""), 1);
}

/// A log with one change in it, of a daemon that was stopped, and the answer to that change.
async fn stopped_after_a_change() -> (Bench, String) {
    let mut bench = Bench::complete().await;
    let answer = snapshot(&bench, "one").await.to_string();
    bench.daemon.stop().await.unwrap();
    (bench, answer)
}

fn new_key(bench: &Bench) -> PathBuf {
    let file = bench.world.audit_dir().with_file_name("other.key");
    is(&tailnas(&["audit", "keygen", file.to_str().unwrap()], ""), 0);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_not_checked_without_the_key_that_must_have_signed_it() {
    let (bench, _) = stopped_after_a_change().await;
    let config = bench.world.config().display().to_string();
    let dir = bench.world.audit_dir().display().to_string();
    let vkey = bench.record("the key", |r| r["type"] == "key").await["vkey"].as_str().unwrap().to_owned();
    let key = new_key(&bench);
    let signing = bench.world.audit_dir().with_file_name("audit-signing.key");
    let away = signing.with_extension("away");
    // Wherever the log is, and never silently none.
    for with in [&["--config", &config][..], &["--config", &config, "--dir", &dir][..]] {
        let verify = || tailnas(&[&["audit", "verify"][..], with].concat(), "");
        is(&verify(), 0);
        fs::rename(&signing, &away).unwrap();
        let said = is(&verify(), 3);
        assert!(said.contains("audit.signing_key") && said.contains("--vkey"), "{said}");
        let known = [&["audit", "verify", "--vkey", &vkey][..], with].concat();
        is(&tailnas(&known, ""), 0);
        fs::copy(&key, &signing).unwrap();
        is(&verify(), 1);
        fs::write(&signing, "no key").unwrap();
        is(&verify(), 3);
        fs::rename(&away, &signing).unwrap();
    }
    // A folder from anywhere has no key that anybody could expect, and the report says so.
    let said = is(&tailnas(&["audit", "verify", "--dir", &dir], ""), 0);
    assert!(said.contains("unchecked  whether the key that signed it is yours"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_in_the_place_of_one_is_not_clean_to_whoever_kept_something_of_that() {
    let (mut bench, answer) = stopped_after_a_change().await;
    let dir = bench.world.audit_dir();
    let checkpoints = dir.with_file_name("kept");
    fs::copy(dir.join("checkpoints"), &checkpoints).unwrap();
    new_key(&bench);
    let config = fs::read_to_string(bench.world.config()).unwrap();
    bench.world.write("config.toml", &config.replace("audit-signing.key", "other.key")).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    bench.start_again().await;
    bench.daemon.stop().await.unwrap();

    let dir = dir.to_str().unwrap();
    is(&tailnas(&["audit", "verify", "--dir", dir], ""), 0);
    let file = checkpoints.to_str().unwrap();
    for (what, file, input) in [("--checkpoint", file, ""), ("--receipts", "-", answer.as_str())] {
        let said = is(&tailnas(&["audit", "verify", "--dir", dir, what, file], input), 3);
        assert!(said.contains("NOT CHECKED") && said.contains("of other logs"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_an_altered_log_or_half_of_one_without_a_word() {
    let (bench, _) = stopped_after_a_change().await;
    let dir = bench.world.audit_dir().display().to_string();
    let commands = [&["export"][..], &["tail", "-n", "1000"], &["show", "2"]];
    let run = |command: &[&str]| tailnas(&[&["audit"][..], command, &["--dir", &dir]].concat(), "");
    for command in commands {
        is(&run(command), 0);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut onto_a_full_disk = Command::new(env!("CARGO_BIN_EXE_tailnas"));
        onto_a_full_disk.arg("audit").args(command).args(["--dir", &dir]).stdout(full);
        is(&onto_a_full_disk.output().unwrap(), 74);
    }
    let file = bench.world.audit_dir().join("audit-00000000000000000000.jsonl");
    let altered = fs::read_to_string(&file).unwrap().replacen("\"pid\":", "\"pid\":1", 1);
    fs::write(&file, altered).unwrap();
    for command in commands {
        let said = is(&run(command), 1);
        assert!(said.contains("record 2 was altered"), "{said}");
    }
    is(&run(&["show", "1"]), 0);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_new_key_is_for_its_owner_and_takes_the_place_of_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signing.key");
    let made = tailnas(&["audit", "keygen", file.to_str().unwrap(), "--name", "attic"], "");
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    let public = String::from_utf8(made.stdout).unwrap();
    assert!(public.starts_with("tailnas/attic+"), "{public}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let private = fs::read_to_string(&file).unwrap();
    assert!(private.starts_with("PRIVATE+KEY+tailnas/attic+"));
    is(&tailnas(&["audit", "keygen", file.to_str().unwrap()], ""), 3);
    assert_eq!(fs::read_to_string(&file).unwrap(), private);
}
