//! Somebody's hand in the log.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::super::note::{Checkpoint, Note};
use super::super::recovery::Failed;
use super::super::scan::{Flaw, Scanner, Tail, Wanted};
use super::super::storage::file_name;
use super::super::verify::{Against, Report, Verdict};
use super::model::Model;
use super::*;

const RECORDS: usize = 50;

/// A log of fifty records, some of them written together, closed in order.
fn log() -> Vec<u8> {
    let model = Model::default();
    let (mut writer, _) = taken_up(&model).ok().unwrap();
    let mut parent = None;
    for number in 3..RECORDS {
        match parent.take() {
            Some(parent) => drop(writer.seal(&outcome(parent))),
            None => parent = Some(writer.seal(&intent("t")).seq),
        }
        // Batches of four in the first half.
        if number > RECORDS / 2 || number % 4 == 0 {
            writer.flush().unwrap();
        }
    }
    let bytes = model.bytes();
    assert_eq!(verdict(&bytes), Verdict::Clean);
    assert_eq!(lines(&bytes).len(), RECORDS);
    bytes
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

fn verdict(bytes: &[u8]) -> Verdict {
    Report::of(Model::of(bytes).survey(), false, &Against::default()).verdict
}

#[test]
fn every_flipped_bit_is_found() {
    let whole = log();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let whole = &whole;
            scope.spawn(move || every_flipped_bit_of_every_second_record(whole, half));
        }
    });
}

fn every_flipped_bit_of_every_second_record(whole: &[u8], half: usize) {
    let read = |scanner: &mut Scanner, bytes: &[u8], offset: usize| {
        scanner.lines(bytes, offset as u64).unwrap_or_else(|error| panic!("{error:?}"))
    };
    let mut before = Scanner::wanting(Wanted::default());
    before.begin_file(&file_name(0));
    let mut offset = 0;
    for (number, line) in lines(whole).into_iter().enumerate() {
        let mut rest = whole[offset..].to_vec();
        for bit in (0..line.len() * 8).filter(|_| number % 2 == half) {
            rest[bit / 8] ^= 1 << (bit % 8);
            let mut scanner = before.clone();
            let end = read(&mut scanner, &rest, offset);
            scanner.end_file(end);
            let found = Report::of(scanner.survey, false, &Against::default()).verdict;
            assert_eq!(found, Verdict::Tampered, "record {number}, bit {bit}");
            rest[bit / 8] ^= 1 << (bit % 8);
        }
        read(&mut before, line, offset);
        offset += line.len();
    }
}

#[test]
fn every_record_taken_out_doubled_swapped_or_put_in_is_found() {
    let whole = log();
    let lines = lines(&whole);
    for at in 0..RECORDS {
        let (before, from) = (lines[..at].concat(), lines[at..].concat());
        let after = lines[at + 1..].concat();
        if at + 1 < RECORDS {
            assert_eq!(verdict(&[&before[..], &after].concat()), Verdict::Tampered, "{at} taken out");
            let swapped = [&before[..], lines[at + 1], lines[at], &lines[at + 2..].concat()].concat();
            assert_eq!(verdict(&swapped), Verdict::Tampered, "{at} swapped with the next");
            let garbage = [&before[..], b"{\"seq\":7}\n", &from].concat();
            assert_eq!(verdict(&garbage), Verdict::Tampered, "garbage before {at}");
        }
        let doubled = [&before[..], lines[at], &from].concat();
        assert_eq!(verdict(&doubled), Verdict::Tampered, "{at} doubled");
        for other in [0, 3, RECORDS - 1] {
            if other != at {
                let put_in = [&before[..], lines[other], &from].concat();
                assert_eq!(verdict(&put_in), Verdict::Tampered, "{other} put in before {at}");
            }
        }
    }
}

/// What becomes of a line, without its newline.
type Change<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// Nothing intact is left behind the damage that could vouch for it; its bytes must tell.
#[test]
fn damage_to_every_record_from_some_place_to_the_end_is_no_crash() {
    let whole = log();
    let lines = lines(&whole);
    let all = |from: usize, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let changed: Vec<u8> =
            lines[from..].iter().flat_map(|line| change(&line[..line.len() - 1])).collect();
        [&lines[..from].concat()[..], &changed].concat()
    };
    let end = |text: &[u8], end: &[u8]| [text, end].concat();
    let changes: [(&str, Change<'_>); 9] = [
        ("one letter", &|text| end(&[&text[..60], b"~", &text[61..]].concat(), b"\n")),
        ("one zero", &|text| end(&[&text[..60], b"\0", &text[61..]].concat(), b"\n")),
        ("the last bytes cut off", &|text| end(&text[..text.len() - 9], b"\n")),
        ("the hash cut off", &|text| end(&text[..text.len() - 75], b"}\n")),
        ("the first byte cut off", &|text| end(&text[1..], b"\n")),
        ("CR LF", &|text| end(text, b"\r\n")),
        ("spaces behind", &|text| end(text, b" \n")),
        ("no newlines", &|text| text.to_vec()),
        ("empty lines", &|_| b"\n".to_vec()),
    ];
    for from in 0..RECORDS - 1 {
        for (what, change) in &changes {
            let found = Report::of(Model::of(&all(from, change)).survey(), false, &Against::default());
            assert_eq!(found.verdict, Verdict::Tampered, "{what}, from {from} on: {found}");
        }
    }
    let converted = Report::of(Model::of(&all(0, changes[5].1)).survey(), false, &Against::default());
    assert!(converted.to_string().contains("converted the file"), "{converted}");
}

#[test]
fn a_record_that_claims_a_newer_version_is_no_way_out() {
    let whole = log();
    let lines = lines(&whole);
    for at in [0, 5, RECORDS - 2] {
        let text = String::from_utf8(lines[at].to_vec()).unwrap();
        let body = text[..text.len() - 76].replace(r#"{"v":1,"#, r#"{"v":2,"#);
        let newer = format!("{body},\"hash\":\"{}\"}}\n", Hash::leaf(body.as_bytes()));
        let resealed = [&lines[..at].concat()[..], newer.as_bytes(), &lines[at + 1..].concat()].concat();
        assert_eq!(verdict(&resealed), Verdict::Tampered, "{at}");
        // Also where the ones behind it are made to continue from it.
        let mut chained = [&lines[..at].concat()[..], newer.as_bytes()].concat();
        let mut prev = Hash::leaf(body.as_bytes());
        for line in &lines[at + 1..] {
            let line = std::str::from_utf8(line).unwrap();
            let body = format!("{}\"prev\":\"{prev}\"", line.split("\"prev\":").next().unwrap());
            prev = Hash::leaf(body.as_bytes());
            chained.extend_from_slice(format!("{body},\"hash\":\"{prev}\"}}\n").as_bytes());
        }
        let found = Model::of(&chained).survey().broken.unwrap();
        assert!(matches!(found.what, Flaw::Version { v: 1, newer: 2 }), "{found}");
    }
}

#[test]
fn every_two_records_that_change_places_and_every_record_put_in_anywhere_are_found() {
    let whole = log();
    let lines = lines(&whole);
    for first in 0..RECORDS {
        for second in first + 1..RECORDS {
            let mut swapped = lines.clone();
            swapped.swap(first, second);
            assert_eq!(verdict_from(&swapped, first), Verdict::Tampered, "{first} and {second} swapped");
        }
        for at in 0..=RECORDS {
            // Behind the last one its own copy is what was tried above.
            let mut put_in = lines.clone();
            put_in.insert(at, lines[first]);
            assert_eq!(verdict_from(&put_in, at.min(first)), Verdict::Tampered, "{first} put in before {at}");
        }
    }
}

/// Cut off at any byte, the log is shorter than what was signed of it and kept elsewhere.
#[test]
fn every_cut_is_found_by_a_checkpoint_from_outside() {
    let whole = log();
    let signed = Model::of(&whole).survey();
    let checkpoint = Checkpoint { size: signed.records(), root: signed.tree.root() };
    let note = Note::exactly(&signer().checkpoint(checkpoint)).unwrap();
    let against = Against {
        vkey: Some(signer().public().clone()),
        outside: vec![("elsewhere".to_owned(), vec![note])],
        ..Against::default()
    };
    let mut before = Scanner::wanting(against.wanted());
    before.begin_file(&file_name(0));
    let mut offset = 0;
    for line in lines(&whole) {
        for cut in 0..line.len() {
            let mut scanner = before.clone();
            let end = scanner.lines(&line[..cut], offset as u64).unwrap_or_else(|error| panic!("{error:?}"));
            scanner.end_file(end);
            let report = Report::of(scanner.survey, false, &against);
            // Without its last newline alone, every record is still there.
            let whole_but_for_the_newline = offset + cut + 1 == whole.len();
            let expected = if whole_but_for_the_newline { Verdict::Torn } else { Verdict::Tampered };
            assert_eq!(report.verdict, expected, "cut off at byte {}", offset + cut);
        }
        before.lines(line, offset as u64).unwrap_or_else(|error| panic!("{error:?}"));
        offset += line.len();
    }
    before.end_file(offset as u64);
    assert!(Report::of(before.survey, false, &against).is_clean());
}

/// The verdict on lines of which the first `sound` are known to be in order; looks at no more than it takes.
fn verdict_from(lines: &[&[u8]], sound: usize) -> Verdict {
    // The prefix is read once for each length, not once for each attack.
    thread_local! {
        static BEFORE: RefCell<BTreeMap<Vec<u8>, Scanner>> = RefCell::default();
    }
    let prefix = lines[..sound].concat();
    let mut scanner = BEFORE.with_borrow_mut(|known| {
        let read = || {
            let mut scanner = Scanner::wanting(Wanted::default());
            scanner.begin_file(&file_name(0));
            scanner.lines(&prefix[..], 0).unwrap_or_else(|error| panic!("{error:?}"));
            scanner
        };
        known.entry(prefix.clone()).or_insert_with(read).clone()
    });
    let rest = lines[sound..].concat();
    let end = scanner.lines(&rest[..], prefix.len() as u64).unwrap_or_else(|error| panic!("{error:?}"));
    scanner.end_file(end);
    Report::of(scanner.survey, false, &Against::default()).verdict
}

/// The honest limit: without a copy elsewhere, a shorter log is as sound as a longer one.
#[test]
fn a_tail_cut_off_between_records_cannot_be_found_and_the_report_says_so() {
    let whole = log();
    let lines = lines(&whole);
    let report = Report::of(Model::of(&lines[..30].concat()).survey(), false, &Against::default());
    assert!(report.is_clean());
    assert!(report.to_string().contains("whether records were cut off at its end"), "{report}");
    assert_ne!(report.root, Report::of(Model::of(&whole).survey(), false, &Against::default()).root);
}

#[test]
fn the_daemon_refuses_to_go_on_behind_a_tampered_log_and_touches_nothing() {
    let mut bytes = log();
    let at = lines(&bytes)[..20].concat().len() + 40;
    bytes[at] ^= 1;
    let model = Model::of(&bytes);
    let failed = taken_up(&model).err().unwrap();
    let Failed::Tampered(broken) = failed else { panic!("not refused as tampered") };
    assert_eq!(broken.seq, 20);
    assert!(matches!(broken.what, Flaw::Altered { .. }));
    let text = OpenError::Tampered(broken).to_string();
    assert!(text.contains("line 21") && text.contains("tailnas audit verify"), "{text}");
    assert!(model.ops().is_empty());
}

#[test]
fn a_missing_first_file_is_found() {
    let files = [(file_name(7), log())].into();
    let report = Report::of(Model::with(files).survey(), false, &Against::default());
    assert_eq!(report.broken.unwrap().what, Flaw::File { expected: 0, found: 7 });
}

/// What a recovery record describes stays described: to alter it later is tampering.
#[test]
fn damage_once_described_is_sealed_too() {
    let mut bytes = log();
    bytes.truncate(bytes.len() - 50);
    let begin = Model::of(&bytes).survey();
    let Tail::Torn(torn) = begin.tail else { panic!("not torn") };
    let model = Model::of(&bytes);
    taken_up(&model).ok().unwrap();
    let mended = model.bytes();
    assert_eq!(verdict(&mended), Verdict::Clean);
    let begin = usize::try_from(torn.offset).unwrap();
    let end = begin + usize::try_from(torn.len).unwrap();
    for at in begin..=end {
        let mut altered = mended.clone();
        altered[at] ^= 1;
        assert_eq!(verdict(&altered), Verdict::Tampered, "byte {at}");
        let mut shorter = mended.clone();
        shorter.remove(at);
        assert_eq!(verdict(&shorter), Verdict::Tampered, "without byte {at}");
    }
}

#[test]
fn a_recovery_record_cannot_cover_more_than_a_crash_leaves() {
    let mut bytes = log();
    bytes.extend(std::iter::repeat_n(b'x', 2 * 1024 * 1024));
    assert_eq!(verdict(&bytes), Verdict::Tampered);
}

#[test]
fn a_newer_format_is_not_touched() {
    let bytes = log();
    let last = String::from_utf8(lines(&bytes)[RECORDS - 1].to_vec()).unwrap();
    let body = last[..last.len() - 76].replace(r#"{"v":1,"#, r#"{"v":2,"some":"thing","#);
    let newer = format!("{body},\"hash\":\"{}\"}}\n", Hash::leaf(body.as_bytes()));
    let bytes = [&lines(&bytes)[..RECORDS - 1].concat()[..], newer.as_bytes()].concat();
    let model = Model::of(&bytes);
    let failed = taken_up(&model).err();
    assert!(matches!(failed, Some(Failed::Newer(2))));
    assert_eq!(model.bytes(), bytes);
}
