//! One question for all who ask the same.

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::JoinHandle;

/// A question on its way. Everybody who waits for it gets the same answer, whatever it is; the question runs
/// as a task of its own, so none of those who wait can take it down by leaving.
pub(super) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// The questions on their way. The owner keeps it under the same lock as what the answers go into: then there
/// is no moment in which an answer is neither under way nor there.
pub(super) struct Flights<K, T: Clone> {
    aloft: HashMap<K, (u64, Flight<T>)>,
    next: u64,
}

impl<K: Clone + Eq + Hash, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self { aloft: HashMap::new(), next: 0 }
    }

    /// The question about `key` that is under way.
    pub(super) fn join(&self, key: &K) -> Option<Flight<T>> {
        self.aloft.get(key).map(|(_, flight)| flight.clone())
    }

    /// Sends a question on its way. It becomes the one to join, in the place of an earlier one. `start` is
    /// given its number; `fallen` is the answer if the task comes to grief.
    pub(super) fn launch(
        &mut self,
        key: K,
        fallen: T,
        start: impl FnOnce(u64) -> JoinHandle<T>,
    ) -> Flight<T> {
        let number = self.next;
        self.next += 1;
        let flight = start(number).map(|ended| ended.unwrap_or(fallen)).boxed().shared();
        self.aloft.insert(key, (number, flight.clone()));
        flight
    }

    /// Whether `number` is the latest question about `key`, whose answer is the one to keep.
    pub(super) fn is_latest(&self, key: &K, number: u64) -> bool {
        self.aloft.get(key).is_some_and(|(latest, _)| *latest == number)
    }

    /// Takes the question out, unless there is a later one by now.
    pub(super) fn land(&mut self, key: &K, number: u64) {
        if self.is_latest(key, number) {
            self.aloft.remove(key);
        }
    }
}
