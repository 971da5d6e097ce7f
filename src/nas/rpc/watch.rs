//! Changes that the NAS tells of, counted: what has changed is asked for when somebody wants to know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Connection, Failure};

/// What is watched on one connection, by the name of the event.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<&'static str, Arc<Watched>>>);

#[derive(Debug, Default)]
struct Watched {
    /// Whether the NAS has agreed to tell; empty while nobody knows.
    agreed: OnceCell<bool>,
    told: AtomicU64,
    over: AtomicBool,
}

/// A collection of which the NAS tells when it changes, for as long as the connection lives.
#[derive(Clone, Debug)]
pub(in crate::nas) struct Watch(Arc<Watched>);

impl Connection {
    /// Has the NAS tell of changes of `collection`; `None` where it does not, or does not say so in time.
    ///
    /// Subscribed to once and never taken back: that ends with the connection.
    pub(in crate::nas) async fn watch(&self, collection: &'static str, deadline: Instant) -> Option<Watch> {
        let watched = self.calls.watches.of(collection);
        let agreed = watched.agreed.get_or_try_init(|| async {
            match self.call("core.subscribe", &(collection,), deadline).await {
                Ok(_) => Ok(true),
                Err(Failure::Answered(no)) if !no.is_too_many_calls() && !no.is_logged_out() => {
                    tracing::debug!(collection, reason = no.words(), "the NAS does not tell of changes");
                    Ok(false)
                }
                Err(failure) => Err(failure),
            }
        });
        let agreed = matches!(tokio::time::timeout_at(deadline, agreed).await, Ok(Ok(true)));
        agreed.then(|| Watch(watched))
    }
}

impl Watches {
    /// The NAS told of a change, or that it tells no more.
    pub(super) fn hear(&self, collection: &str, ended: bool) {
        if let Some(watched) = self.table().get(collection) {
            watched.over.fetch_or(ended, Ordering::AcqRel);
            watched.told.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Nothing more will be told.
    pub(super) fn clear(&self) {
        for (_, watched) in self.table().drain() {
            watched.over.store(true, Ordering::Release);
        }
    }

    fn of(&self, collection: &'static str) -> Arc<Watched> {
        Arc::clone(self.table().entry(collection).or_default())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<&'static str, Arc<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// How often the NAS told of a change so far.
    pub(in crate::nas) fn told(&self) -> u64 {
        self.0.told.load(Ordering::Acquire)
    }

    /// Whether it would tell of another.
    pub(in crate::nas) fn stands(&self) -> bool {
        !self.0.over.load(Ordering::Acquire)
    }

    /// Whether the other is of the same collection on the same connection.
    pub(in crate::nas) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[cfg(test)]
    pub(in crate::nas) fn standing() -> Self {
        Self(Arc::default())
    }
}
