//! Logs of several files, and logs of which the first are gone.

use std::collections::BTreeMap;
use std::fs;

use super::super::note::{Given, Note};
use super::super::prune::{NotPruned, prune};
use super::super::scan::{Flaw, Tail};
use super::super::sinks::BESIDE;
use super::super::verify::{Against, Report, Verdict, verify};
use super::model::{Model, Op};
use super::*;

const LENGTH: u64 = 16 * 1024;

fn small(dir: &Path) -> Settings {
    Settings { rotate_at: LENGTH, ..settings(dir) }
}

/// A run with `changes` changes, and the receipts for them.
async fn run(dir: &Path, changes: usize) -> String {
    let (journal, _) = Journal::open(small(dir), clock(), heartbeat()).unwrap();
    let mut receipts = String::new();
    for _ in 0..changes {
        let warrant = journal.intent(terms("a")).await.unwrap();
        let receipt = warrant.close(Outcome::ok()).await.unwrap();
        receipts.push_str(&journal.signed(receipt));
        receipts.push('\n');
    }
    journal.close().await.unwrap();
    receipts
}

fn files(dir: &Path, ending: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn check(dir: &Path, receipts: &str) -> Report {
    let vkey = Some(signer().public().clone());
    let receipts = (!receipts.is_empty()).then(|| Given::all_in(receipts));
    let against = Against { vkey, receipts, ..Against::default() };
    verify(dir, &against).unwrap()
}

#[tokio::test]
async fn a_log_goes_on_from_file_to_file_and_from_start_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut receipts = run(dir, 60).await;
    receipts.push_str(&run(dir, 60).await);
    let names = files(dir, ".jsonl");
    assert!(names.len() > 4, "{names:?}");
    let text = |name: &String| fs::read_to_string(dir.join(name)).unwrap();
    for (at, name) in names.iter().enumerate() {
        let text = text(name);
        let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let (first, last) = (record(text.lines().next().unwrap()), record(text.lines().last().unwrap()));
        if at > 0 {
            assert_eq!(first["type"], "key", "{name} stands by itself");
            assert_eq!(record(text.lines().nth(1).unwrap())["type"], "checkpoint");
        }
        if let Some(next) = names.get(at + 1) {
            assert_eq!((&last["type"], &last["to"]), (&"rotate".into(), &next.as_str().into()));
        }
        assert!(text.len() as u64 <= LENGTH + 2 * 16 * 1024, "{name} is too long");
    }
    let report = check(dir, &receipts);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.files, report.compared.last().unwrap().agree), (names.len() as u64, 120));

    let second = dir.join(&names[1]);
    let whole = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    assert!(matches!(check(dir, &receipts).broken.unwrap().what, Flaw::File { .. }));
    fs::write(&second, &whole).unwrap();

    // A file that is cut into two is found, although no record is altered.
    let text = text(&names[1]);
    let half = text.len() / 2 + text[text.len() / 2..].find('\n').unwrap() + 1;
    let seq = serde_json::from_str::<serde_json::Value>(text[half..].lines().next().unwrap()).unwrap();
    let other = dir.join(storage::file_name(seq["seq"].as_u64().unwrap()));
    fs::write(&second, &text[..half]).unwrap();
    fs::write(&other, &text[half..]).unwrap();
    assert_eq!(check(dir, &receipts).broken.unwrap().what, Flaw::NotClosed);
    // And so are two that are made one.
    fs::remove_file(&other).unwrap();
    fs::remove_file(dir.join(&names[2])).ok();
    fs::write(&second, [&whole[..], b"{}"].concat()).unwrap();
    assert_eq!(check(dir, &receipts).verdict, Verdict::Tampered);
}

#[test]
fn where_there_is_no_log_nothing_is_pruned_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for place in [dir.path().join("typo").as_path(), dir.path()] {
        assert!(matches!(prune(place, u64::MAX), Err(NotPruned::NoLog(there)) if there == *place));
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn what_is_pruned_can_still_be_compared_and_not_be_altered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let receipts = run(dir, 120).await;
    let before = check(dir, &receipts);
    let names = files(dir, ".jsonl");
    let number = |name: &String| storage::first_of(name).unwrap();

    let running = Journal::open(small(dir), clock(), heartbeat()).unwrap().0;
    assert!(matches!(prune(dir, u64::MAX), Err(NotPruned::Running(_))));
    running.close().await.unwrap();
    assert!(prune(dir, number(&names[1]) - 1).unwrap().is_empty(), "a file goes as a whole or not at all");
    assert_eq!(prune(dir, number(&names[2])).unwrap(), names[..2]);
    assert_eq!(files(dir, ".jsonl"), names[2..]);
    assert_eq!(files(dir, ".hashes").len(), 2);

    let after = check(dir, &receipts);
    assert!(after.is_clean(), "{after}");
    assert_eq!((after.pruned, after.compared.last().unwrap().agree), (number(&names[2]), 120));
    let beside = Note::all_in(&fs::read_to_string(dir.join(BESIDE)).unwrap());
    assert_eq!(after.compared[0].agree, beside.len() as u64);
    assert!(after.records > before.records && after.to_string().contains("pruned     seq 0.."), "{after}");

    // The daemon goes on, and so does pruning; the last file stays.
    run(dir, 3).await;
    assert!(check(dir, &receipts).is_clean());
    prune(dir, u64::MAX).unwrap();
    assert_eq!(files(dir, ".jsonl").len(), 1);
    let last = check(dir, &receipts);
    assert!(last.is_clean(), "{last}");

    let hashes = dir.join(&files(dir, ".hashes")[1]);
    let whole = fs::read(&hashes).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&hashes, &altered).unwrap();
        assert_eq!(check(dir, &receipts).verdict, Verdict::Tampered, "byte {at}");
    }
    fs::write(&hashes, &whole[..whole.len() - 32]).unwrap();
    assert_eq!(check(dir, &receipts).verdict, Verdict::Tampered);
    fs::remove_file(&hashes).unwrap();
    assert_eq!(check(dir, &receipts).verdict, Verdict::Tampered);
}

#[tokio::test]
async fn nothing_is_pruned_of_a_damaged_log_or_before_open_changes_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (journal, _) = Journal::open(small(dir), clock(), heartbeat()).unwrap();
    std::mem::forget(journal.intent(terms("a")).await.unwrap());
    for _ in 0..40 {
        journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    }
    journal.close().await.unwrap();
    assert!(matches!(prune(dir, u64::MAX), Err(NotPruned::Open(3))));
    let (journal, _) = Journal::open(small(dir), clock(), heartbeat()).unwrap();
    for pending in journal.pending() {
        pending.close(Outcome::ok()).await.unwrap();
    }
    journal.close().await.unwrap();
    let first = dir.join(&files(dir, ".jsonl")[0]);
    let whole = fs::read_to_string(&first).unwrap();
    fs::write(&first, whole.replacen("alice", "malic", 1)).unwrap();
    assert!(matches!(prune(dir, u64::MAX), Err(NotPruned::Damaged(_))));
    fs::write(&first, &whole).unwrap();
    assert!(!prune(dir, u64::MAX).unwrap().is_empty());
    assert!(check(dir, "").is_clean(), "an outcome whose intent is pruned is no fault");
}

/// Every moment of a rotation, with all, some and none of what was not synced.
#[test]
fn no_crash_in_a_rotation_loses_anything_or_looks_like_tampering() {
    let model = Model::default();
    let (mut writer, _) = taken_up(&model).ok().unwrap();
    writer.rotate_at(1500);
    for _ in 0..6 {
        let opened = writer.seal(&intent("story"));
        writer.flush().unwrap();
        let closed = writer.seal(&outcome(opened.seq));
        writer.flush().unwrap();
        model.acked(closed.seq);
        writer.rotate().unwrap();
    }
    let created = model.ops().iter().filter(|op| matches!(op, Op::Create(_))).count();
    assert!(created > 3, "{created}");

    let (mut durable, mut acked) = (BTreeMap::<String, Vec<u8>>::new(), None);
    let mut pending: Option<(String, Vec<u8>)> = None;
    let mut crashes = 0;
    for op in model.ops() {
        match op {
            Op::Create(name) => drop(durable.insert(name, Vec::new())),
            Op::Append(name, bytes) => {
                assert!(pending.is_none(), "nothing else is appended before what is there is synced");
                pending = Some((name, bytes));
            }
            Op::Sync(_) => {
                if let Some((name, bytes)) = pending.take() {
                    durable.get_mut(&name).unwrap().extend(bytes);
                }
            }
            Op::Acked(seq) => acked = Some(seq),
        }
        let most = pending.as_ref().map_or(0, |(_, bytes)| bytes.len());
        for length in (0..most).step_by(29).chain([most.saturating_sub(1), most]) {
            let mut image = durable.clone();
            if let Some((name, bytes)) = &pending {
                image.get_mut(name).unwrap().extend(&bytes[..length]);
            }
            survives(image, acked);
            crashes += 1;
        }
    }
    assert!(crashes > 300, "{crashes}");
}

fn survives(image: BTreeMap<String, Vec<u8>>, acked: Option<u64>) {
    let model = Model::with(image.clone());
    let opened = match taken_up(&model) {
        Ok((_, opened)) => opened,
        Err(failed) => panic!("{}", failed.within(Path::new("the model"))),
    };
    assert!(acked.is_none_or(|acked| opened.records > acked), "acknowledged records were lost");
    for (name, before) in image {
        assert!(model.0.lock().unwrap().files[&name].starts_with(&before), "{name} was altered");
    }
    let after = model.survey();
    assert_eq!((&after.broken, &after.tail), (&None, &Tail::Whole));
    assert!(after.stray.is_empty() && !after.closed);
}
