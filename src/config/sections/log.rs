//! `[log]`

use tracing::Level;

use crate::config::keys::{self, nearest};
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::shown;

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Level> {
    root.table_or_defaults("log", &keys::LOG, |log| {
        let filter = log.optional("filter", level);
        Ok(filter?.unwrap_or(Level::INFO))
    })
}

/// A plain word. A filter by module would let somebody silence the one that reports refusals.
fn level(text: &str) -> Result<Level, Complaint> {
    if let Some((_, level)) = LEVELS.iter().find(|(word, _)| *word == text) {
        return Ok(*level);
    }
    let complaint = Complaint::new(format!("{} is not a level", shown(text)));
    Err(match nearest(text, LEVELS.iter().map(|(word, _)| *word)) {
        Some(word) => complaint.hint(format!("did you mean {word:?}?")),
        None => complaint.hint("write \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
    })
}
