//! Complaints that are worth one line in the log and not one with each request.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// How many different complaints are remembered. What a policy file can hold has far fewer mistakes; beyond
/// that nothing more is logged.
const MOST: usize = 256;

/// The complaints that were made already.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<BTreeSet<String>>);

impl Notices {
    /// Whether nobody has complained of this yet.
    pub(super) fn is_new(&self, complaint: String) -> bool {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.len() < MOST && made.insert(complaint)
    }
}
