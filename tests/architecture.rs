//! Holds the code to the tables of `docs/ARCHITECTURE.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAP: &str = include_str!("../docs/ARCHITECTURE.md");

/// The rows of the table whose first heading is `heading`, as trimmed cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let rows: Vec<_> = MAP
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "docs/ARCHITECTURE.md has no table that begins with {heading:?}");
    rows
}

/// Every source file with the top-level module it belongs to.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap();
            let module = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            (module.trim_end_matches(".rs").to_owned(), path.clone(), fs::read_to_string(&path).unwrap())
        })
        .filter(|(module, _, _)| module != "lib" && module != "main")
        .collect()
}

/// The code of a file: no comments, and nothing from its test module on.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The words that follow `before` in `text`, up to the next character that cannot be part of a name.
fn names_after<'t>(text: &'t str, before: &str) -> BTreeSet<&'t str> {
    text.match_indices(before)
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let rest = &text[at + before.len()..];
            &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
        })
        .collect()
}

/// The modules of ours that a file names: `crate::a::…` and `crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<&str> {
    let mut found = names_after(code, "crate::");
    found.remove("");
    for (at, _) in code.match_indices("crate::{") {
        let rest = &code[at + "crate::{".len()..];
        let list = &rest[..rest.find(';').unwrap_or(rest.len())];
        let mut depth = 0;
        let mut word = 0;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' | ',' if depth == 0 => {
                    let name = list[word..i].trim().split("::").next().unwrap();
                    found.insert(name);
                    word = i + 1;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> = table("module")
        .into_iter()
        .map(|row| (row[0], row[2].split_whitespace().collect::<BTreeSet<_>>()))
        .collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, path, text) in sources() {
        let Some(may) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: the map has no module {module:?}", path.display()));
            continue;
        };
        for import in imports(&code(&text)) {
            seen.insert(import.to_owned());
            if import != module && !may.contains(import) && !may.contains("everything") {
                wrong.push(format!("{}: {module} may not import {import}", path.display()));
            }
        }
    }
    assert!(seen.len() > 10, "the test reads no imports any more: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_where_the_map_puts_them() {
    let confined: BTreeMap<_, _> = table("outside crate").into_iter().map(|row| (row[0], row[1])).collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, path, text) in sources() {
        let code = code(&text);
        for (name, only) in &confined {
            if code.contains(&format!("{name}::")) {
                seen.insert(*name);
                if module != *only {
                    wrong.push(format!("{}: {name} belongs to {only}", path.display()));
                }
            }
        }
    }
    assert_eq!(seen, confined.keys().copied().collect(), "the map confines a crate that nothing uses");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What changes a NAS without permit and warrant is for `tailnas setup` alone.
#[test]
fn the_daemon_makes_no_accounts() {
    let users: BTreeSet<_> = sources()
        .into_iter()
        .filter(|(_, _, text)| code(text).contains("provision::"))
        .map(|(_, path, _)| path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(users, BTreeSet::from(["setup".to_owned()]));
}

#[test]
fn the_reader_of_imports_reads_them() {
    let code = "use crate::a::B;\nuse crate::{c, d::{E, F}, g::H};\nlet x = crate::i::j();";
    assert_eq!(imports(code), BTreeSet::from(["a", "c", "d", "g", "i"]));
}
