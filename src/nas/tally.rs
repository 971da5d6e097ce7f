//! How often a NAS was called and how long it took, by family of methods, for whoever watches over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The counts. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<&'static str, Calls>>>);

/// Calls of the methods of one family, since the daemon knows this NAS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// They had a result.
    pub answered: u64,
    /// The NAS said no, or nothing, or was lost on the way.
    pub failed: u64,
    /// They were not sent: the NAS had answered the same a moment ago.
    pub recalled: u64,
    /// How long those took that were sent, all together.
    pub took: Duration,
}

impl Tally {
    /// A call was made and had a result, or had none.
    pub(super) fn called(&self, method: &'static str, ok: bool, took: Duration) {
        self.count(method, |calls| {
            *(if ok { &mut calls.answered } else { &mut calls.failed }) += 1;
            calls.took += took;
        });
    }

    /// A call was not made, for its answer was known.
    pub(super) fn recalled(&self, method: &'static str) {
        self.count(method, |calls| calls.recalled += 1);
    }

    /// By family: that of `pool.dataset.query` is `pool.dataset`.
    pub(super) fn now(&self) -> BTreeMap<&'static str, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, method: &'static str, count: impl FnOnce(&mut Calls)) {
        let family = method.rsplit_once('.').map_or(method, |(family, _)| family);
        count(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(family).or_default());
    }
}
