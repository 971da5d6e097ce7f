//! Documents that name tests: each test they name is there.

use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Panics where there is no such test, as `file::function`: what is named must be run as a test, and not only be there.
pub fn assert_exists(named: &str, whose: &str) {
    let (file, function) =
        named.split_once("::").unwrap_or_else(|| panic!("{whose}: {named} is no file::test"));
    let source = read(file);
    let begin = source.find(&format!("fn {function}("));
    let begin = begin.unwrap_or_else(|| panic!("{whose}: there is no {named}"));
    let attributes: Vec<_> = source[..begin].lines().rev().take(3).collect();
    let is_test = attributes.iter().any(|line| line.contains("#[test]") || line.contains("#[tokio::test"));
    assert!(is_test, "{whose}: {named} is no test");
}

/// The tests that a line names, in backticks.
fn tests_in(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| word.contains(".rs::"))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    for (document, least) in [("docs/THREAT-MODEL.md", 10), ("docs/KNOWN-ATTACKS.md", 30)] {
        let text = read(document);
        let mut named = 0;
        for line in text.lines() {
            for test in tests_in(line) {
                assert_exists(test, document);
                named += 1;
            }
        }
        assert!(named >= least, "{document} names {named} tests");
    }
}

/// What a document says in one go: a row of a table, a point of a list, a paragraph.
fn statements(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let begins = line.starts_with("| ")
            || line.starts_with("- ")
            || line.starts_with(|c: char| c.is_ascii_digit());
        match found.last_mut().filter(|_| goes_on && !begins && !line.trim().is_empty()) {
            Some(last) => *last = format!("{last} {}", line.trim()),
            None => found.push(line.to_owned()),
        }
        goes_on = !line.trim().is_empty() && !line.starts_with('#') && !line.starts_with("| ");
    }
    found
}

/// Down to what it does not defend against, the threat model says nothing that is not tried.
#[test]
fn everything_that_the_threat_model_says_is_held_by_a_test() {
    let (text, known) = (read("docs/THREAT-MODEL.md"), crate::row::all());
    let (held, _) = text.split_once("## What it does not defend against").unwrap();
    let mut said = 0;
    for statement in statements(held) {
        let is_heading =
            ["| ---", "| asset |", "| who |"].iter().any(|heading| statement.starts_with(heading));
        let is_point = statement.starts_with("- ") || statement.starts_with(|c: char| c.is_ascii_digit());
        if is_heading || !(is_point || statement.starts_with("| ")) {
            continue;
        }
        said += 1;
        let ids = statement.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_id(word));
        let rows =
            ids.inspect(|id| assert!(known.contains_key(*id), "there is no row {id}: {statement}")).count();
        assert!(rows + tests_in(&statement).count() > 0, "nothing holds: {statement}");
    }
    assert!(said > 30, "{said} statements");
}

#[test]
fn every_fuzz_target_that_a_document_names_is_there() {
    let mut named = 0;
    for document in ["docs/THREAT-MODEL.md", "docs/KNOWN-ATTACKS.md", "docs/TESTED.md"] {
        let text = read(document);
        for behind in text.split("fuzz target `").skip(1) {
            let target = behind.split('`').next().unwrap();
            assert!(
                read("fuzz/Cargo.toml").contains(&format!("name = \"{target}\"")),
                "{document}: {target}"
            );
            assert!(
                read(&format!("fuzz/fuzz_targets/{target}.rs")).contains("fuzz_target!"),
                "{document}: {target}"
            );
            named += 1;
        }
    }
    assert!(named >= 5, "{named} fuzz targets");
}

#[test]
fn every_known_attack_is_held_by_a_test_or_says_that_nothing_holds_it() {
    let (text, known) = (read("docs/KNOWN-ATTACKS.md"), crate::row::all());
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        if line.starts_with("| attack") {
            continue;
        }
        rows += 1;
        let nothing_yet = line.contains("**Nothing yet**");
        let mut held = tests_in(line).count();
        // What takes a real browser is held by a script.
        for script in line.split('`').skip(1).step_by(2).filter(|word| word.ends_with("/run.sh")) {
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(script).exists(),
                "there is no {script}: {line}"
            );
            held += 1;
        }
        // Rows of the table of hostile input are named by their ids.
        for id in line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_id(word)) {
            let row = known.get(id).unwrap_or_else(|| panic!("there is no row {id}: {line}"));
            assert!(row.later.is_none() || nothing_yet, "nothing holds {id} yet: {line}");
            held += 1;
        }
        assert!(held > 0 || nothing_yet, "nothing holds: {line}");
    }
    assert!(rows > 20, "{rows} attacks");
}

fn is_id(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() == 3 && (b'A'..=b'G').contains(&bytes[0]) && bytes[1..].iter().all(u8::is_ascii_digit)
}
