//! `audit verify` over a folder with one file of any bytes, or with a genuine log that was edited.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tailnas::audit::verify::{Against, Verdict, verify};

const GENUINE: &[u8] = include_bytes!("../genuine-audit.jsonl");
const NAME: &str = "audit-00000000000000000000.jsonl";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("tailnas-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    // What was signed of the genuine log, as the daemon keeps it beside.
    let genuine = String::from_utf8_lossy(GENUINE);
    let records = genuine.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let notes: String = records.filter_map(|record| Some(format!("{}\n", record["note"].as_str()?))).collect();
    std::fs::write(folder.join("checkpoints"), notes).expect("a file");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let bytes = if how % 2 == 0 { rest.to_vec() } else { edited(rest) };
    std::fs::write(FOLDER.join(NAME), &bytes).expect("a file");
    let Ok(report) = verify(&FOLDER, &Against::default()) else { return };
    let _ = (report.to_string(), serde_json::to_string(&report).expect("a report is JSON"));
    if report.verdict == Verdict::Clean {
        assert_eq!(soundness(&bytes), Ok(report.records), "{}", String::from_utf8_lossy(&bytes));
    }
});

/// The genuine log after edits of four bytes each: where, twice; what is done; with which byte.
fn edited(edits: &[u8]) -> Vec<u8> {
    let mut bytes = GENUINE.to_vec();
    for edit in edits.chunks_exact(4).take(16) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        match edit[2] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[3]),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = edit[3],
            _ => bytes.push(edit[3]),
        }
    }
    bytes
}

/// The same promise by another hand, from `docs/AUDIT-LOG.md`: the number of records of an unbroken chain.
fn soundness(bytes: &[u8]) -> Result<u64, String> {
    let mut before = "0".repeat(64);
    let mut records = 0;
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    for line in text.split_terminator('\n') {
        let (sealed, _) = line.rsplit_once(r#","hash":""#).ok_or("a line without a hash")?;
        let record: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(sealed.as_bytes());
        let hash = hex::encode(hash.finalize());
        if record["seq"] != records || record["prev"] != *before || record["hash"] != *hash {
            return Err(format!("line {records} does not follow"));
        }
        (before, records) = (hash, records + 1);
    }
    if text.is_empty() || text.ends_with('\n') {
        Ok(records)
    } else {
        Err("no newline at the end".to_owned())
    }
}
