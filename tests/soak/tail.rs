//! The audit log as it grows, read once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use super::history::Record;

/// The records of a folder, and how far each file has been read.
pub struct Tail {
    dir: PathBuf,
    read: BTreeMap<PathBuf, u64>,
    pub records: Vec<Record>,
}

impl Tail {
    pub fn of(dir: PathBuf) -> Self {
        Self { dir, read: BTreeMap::new(), records: Vec::new() }
    }

    /// Reads what was written since, whole lines alone.
    pub fn catch_up(&mut self) {
        let entries = std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|is| is == "jsonl")).collect();
        files.sort();
        for path in files {
            let mut file = File::open(&path).unwrap();
            let read = self.read.entry(path).or_default();
            file.seek(SeekFrom::Start(*read)).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            *read += whole as u64;
            let lines = std::str::from_utf8(&bytes[..whole]).unwrap().lines();
            self.records.extend(lines.map(|line| serde_json::from_str::<Record>(line).unwrap()));
        }
    }

    /// How many intents have no outcome yet.
    pub fn open(&self) -> usize {
        let count = |kind: &str| self.records.iter().filter(|record| record.kind == kind).count();
        count("intent").saturating_sub(count("outcome"))
    }
}
