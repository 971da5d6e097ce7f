//! The list of keys against the documents, and what must hold for any text at all.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../deploy/tailnas.toml");
const REFERENCE: &str = include_str!("../../docs/CONFIG.md");

fn no_policy(_: &Path) -> Result<String, Complaint> {
    Err(Complaint::new("is not there"))
}

fn known() -> BTreeSet<String> {
    let tables = keys::TABLES.iter();
    tables.flat_map(|table| table.names().map(|key| format!("{}.{key}", table.name))).collect()
}

/// The keys of the example, also those behind a `#`; prose has a space there.
fn keys_of_the_example() -> BTreeSet<String> {
    let mut table = "";
    let mut keys = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
            // A table within a table is one of that table's keys.
            keys.extend(table.contains('.').then(|| table.to_owned()));
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with(' ')
        {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

#[test]
fn the_example_has_every_key_and_no_other() {
    assert_eq!(keys_of_the_example(), known());
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let rows = REFERENCE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> =
        rows.map(|(key, _)| key.to_owned()).filter(|key| key.contains('.')).collect();
    assert_eq!(documented, known());
}

#[test]
fn the_reference_has_every_scope() {
    for scope in crate::domain::scope::Scope::ALL {
        assert!(REFERENCE.contains(&format!("`{scope}`")), "{scope}");
    }
}

#[test]
fn the_example_is_a_configuration() {
    let config = parse(Path::new("tailnas.toml"), EXAMPLE, no_policy).unwrap();
    assert!(config.nas[0].writer.is_none());
    assert!(config.grants.is_empty());
}

#[test]
fn every_optional_line_of_the_example_can_be_used() {
    let text: Vec<&str> = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("#pins"))
        .map(|line| if line.starts_with("# ") { line } else { line.strip_prefix('#').unwrap_or(line) })
        .collect();
    let config = parse(Path::new("tailnas.toml"), &text.join("\n"), |_| Ok(String::new())).unwrap();
    assert!(config.nas[0].writer.is_some());
    assert_eq!(config.grants.len(), 2);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _ = parse(Path::new("x"), &text, no_policy);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(Path::new("x"), &String::from_utf8_lossy(&bytes), no_policy);
    }

    /// Random text is hardly ever TOML, so this one starts from something that is.
    #[test]
    fn no_damage_to_the_example_makes_the_reader_panic(
        start in 0..EXAMPLE.len(),
        length in 0..200_usize,
        instead in "[\\PC\\n\"=\\[\\]]{0,20}",
    ) {
        let bytes = EXAMPLE.as_bytes();
        let end = (start + length).min(bytes.len());
        let damaged = [&bytes[..start], instead.as_bytes(), &bytes[end..]].concat();
        let _ = parse(Path::new("x"), &String::from_utf8_lossy(&damaged), |_| Ok(instead.clone()));
    }

    /// A value of the wrong kind under a known key gets past the syntax and into every section.
    #[test]
    fn no_value_under_a_known_key_makes_the_reader_panic(
        key in proptest::sample::select(known().into_iter().collect::<Vec<_>>()),
        value in "[a-z:/*@.0-9\\[\\] ]{0,30}",
        kind in 0..5_usize,
    ) {
        let value = match kind {
            0 => format!("{value:?}"),
            1 => format!("[{value:?}, {value:?}]"),
            2 => "17".to_owned(),
            3 => format!("{{ x = {value:?} }}"),
            _ => "[[], 1979-05-27, 1.5, true]".to_owned(),
        };
        let text = format!("{key} = {value}\n");
        let problems = parse(Path::new("x"), &text, no_policy).unwrap_err();
        prop_assert!(!problems.is_empty());
    }
}
