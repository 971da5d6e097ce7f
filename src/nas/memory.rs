//! What a NAS answered a moment ago, kept for as long as it can be taken to be true.
//!
//! A list is given again while all of this holds: the session it came over is up, on it the NAS tells of changes and
//! has told of none since the list was asked for, nothing was changed through here meanwhile, and it is no older than
//! [`OLDEST`], since bytes in use grow without a word. Nothing is decided by what is given again: a plan, its
//! fingerprint and a change ask the NAS ([`Use`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::rpc::watch::Watch;
use crate::clock::Clock;

/// How old an answer may be that is given again.
pub const OLDEST: Duration = Duration::from_secs(3);
/// The largest answer that is kept, in bytes. Larger ones come from a NAS with thousands of things, and to ask again
/// is then the smaller evil.
const LARGEST: usize = 1 << 20;
/// Bytes of all that is kept.
const MOST: usize = 4 << 20;

/// What a session has to do with what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing: each of its calls is sent.
    Nothing,
    /// Takes what is kept, and keeps.
    Recalls,
    /// What was kept before its calls, or while they were made, is worth nothing after them.
    Unsettles,
}

/// What one NAS answered a moment ago. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// Counts what we do to the NAS.
    unsettled: AtomicU64,
    places: Mutex<HashMap<Key, Place>>,
}

/// The same call gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    method: &'static str,
    params: String,
}

#[derive(Debug, Default)]
struct Place {
    turn: Arc<tokio::sync::Mutex<()>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    text: Arc<str>,
    asked: Asked,
}

/// How things stood when an answer was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    at: Duration,
    unsettled: u64,
    watch: Watch,
    told: u64,
}

/// A call's turn. Of several that ask the same at the same time one asks, and the others find its answer.
#[derive(Debug)]
pub(super) struct Turn<'m> {
    memory: &'m Memory,
    key: Key,
    _alone: OwnedMutexGuard<()>,
}

/// While this lives, something is being done to the NAS.
#[derive(Debug)]
pub(super) struct Unsettled<'m>(&'m Memory);

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, unsettled: AtomicU64::new(0), places: Mutex::default() }))
    }

    /// Waits until nobody else asks the same.
    pub(super) async fn turn(&self, method: &'static str, params: String) -> Turn<'_> {
        let key = Key { method, params };
        let turn = {
            let mut places = self.places();
            self.tidy(&mut places);
            Arc::clone(&places.entry(key.clone()).or_default().turn)
        };
        Turn { memory: self, key, _alone: turn.lock_owned().await }
    }

    /// From now on nothing is true any more that was asked before what is returned is dropped.
    pub(super) fn unsettle(&self) -> Unsettled<'_> {
        self.count();
        Unsettled(self)
    }

    /// How things stand, for an answer that is about to be asked for.
    pub(super) fn asked(&self, watch: Watch) -> Asked {
        let told = watch.told();
        let unsettled = self.0.unsettled.load(Ordering::Acquire);
        Asked { at: self.0.clock.mono(), unsettled, watch, told }
    }

    fn holds(&self, asked: &Asked) -> bool {
        let Asked { at, unsettled, watch, told } = asked;
        self.0.clock.mono().saturating_sub(*at) <= OLDEST
            && self.0.unsettled.load(Ordering::Acquire) == *unsettled
            && watch.stands()
            && watch.told() == *told
    }

    fn count(&self) {
        self.0.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what is true no longer, and of places where nobody has anything to do.
    fn tidy(&self, places: &mut HashMap<Key, Place>) {
        places.retain(|_, Place { turn, kept }| {
            *kept = kept.take().filter(|kept| self.holds(&kept.asked));
            kept.is_some() || Arc::strong_count(turn) > 1
        });
    }
}

impl Turn<'_> {
    /// The answer, if it came over the session that `watch` is of, and is still true.
    pub(super) fn recall(&self, watch: &Watch) -> Option<Arc<str>> {
        let places = self.memory.places();
        let kept = places.get(&self.key)?.kept.as_ref()?;
        let holds = kept.asked.watch.is(watch) && self.memory.holds(&kept.asked);
        holds.then(|| Arc::clone(&kept.text))
    }

    /// Keeps an answer that was asked for when things stood so.
    pub(super) fn keep(self, asked: Asked, text: &str) {
        let size = self.key.params.len() + text.len();
        if size > LARGEST || !self.memory.holds(&asked) {
            return;
        }
        let mut places = self.memory.places();
        self.memory.tidy(&mut places);
        while size + bytes(&places) > MOST {
            let kept = places.iter_mut().filter(|(_, place)| place.kept.is_some());
            let Some((_, oldest)) =
                kept.min_by_key(|(_, place)| place.kept.as_ref().map(|kept| kept.asked.at))
            else {
                return;
            };
            oldest.kept = None;
        }
        if let Some(place) = places.get_mut(&self.key) {
            place.kept = Some(Kept { text: text.into(), asked });
        }
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        self.0.count();
    }
}

fn bytes(places: &HashMap<Key, Place>) -> usize {
    let size = |(key, place): (&Key, &Place)| Some(key.params.len() + place.kept.as_ref()?.text.len());
    places.iter().filter_map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_and_the_oldest_goes_first() {
        let memory = Memory::new(Clock::system());
        let watch = Watch::standing();
        let half = "x".repeat(LARGEST / 2);
        for number in 0..20 {
            let turn = memory.turn("pool.query", number.to_string()).await;
            turn.keep(memory.asked(watch.clone()), &half);
            assert!(bytes(&memory.places()) <= MOST);
        }
        assert!(memory.turn("pool.query", "0".into()).await.recall(&watch).is_none());
        assert!(memory.turn("pool.query", "19".into()).await.recall(&watch).is_some());
        let turn = memory.turn("pool.query", "large".into()).await;
        turn.keep(memory.asked(watch.clone()), &"x".repeat(LARGEST));
        assert!(memory.turn("pool.query", "large".into()).await.recall(&watch).is_none());
        // Places are not kept for what nobody asks for any more.
        for number in 0..1000 {
            drop(memory.turn("app.query", number.to_string()).await);
        }
        assert!(memory.places().len() < 20, "{}", memory.places().len());
    }
}
