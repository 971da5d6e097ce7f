//! A bounded number of answers, each kept for the same time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Keeps the newest `capacity` values for `lifetime` of the monotonic clock.
pub(super) struct Shelf<K, V> {
    capacity: usize,
    lifetime: Duration,
    kept: HashMap<K, Kept<V>>,
    /// The keys in the order they came, which is the order they go.
    order: BTreeMap<u64, K>,
    next: u64,
}

struct Kept<V> {
    value: V,
    since: Duration,
    place: u64,
}

impl<K: Clone + Eq + Hash, V> Shelf<K, V> {
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { capacity, lifetime, kept: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// The value under `key` and how old it is.
    pub(super) fn get(&self, key: &K, now: Duration) -> Option<(&V, Duration)> {
        let kept = self.kept.get(key)?;
        let age = now.saturating_sub(kept.since);
        (age < self.lifetime).then_some((&kept.value, age))
    }

    /// Keeps `value`, which is as of `since`.
    pub(super) fn put(&mut self, key: K, value: V, since: Duration) {
        self.remove(&key);
        self.make_room(since);
        let place = self.next;
        self.next += 1;
        self.order.insert(place, key.clone());
        self.kept.insert(key, Kept { value, since, place });
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(kept) = self.kept.remove(key) {
            self.order.remove(&kept.place);
        }
    }

    fn make_room(&mut self, now: Duration) {
        while let Some((_, oldest)) = self.order.first_key_value() {
            let expired =
                self.kept.get(oldest).is_none_or(|kept| now.saturating_sub(kept.since) >= self.lifetime);
            if !expired && self.kept.len() < self.capacity {
                return;
            }
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_value_is_kept_until_its_time_is_over_and_not_at_that_time() {
        let mut shelf = Shelf::new(4, at(30));
        shelf.put("a", 1, at(100));
        assert_eq!(shelf.get(&"a", at(129)), Some((&1, at(29))));
        assert_eq!(shelf.get(&"a", at(130)), None);
        assert_eq!(shelf.get(&"b", at(100)), None);
    }

    #[test]
    fn the_oldest_goes_first_and_nothing_grows() {
        let mut shelf = Shelf::new(3, at(30));
        for (key, time) in [(1, 1), (2, 2), (3, 3), (1, 4), (4, 5)] {
            shelf.put(key, key, at(time));
        }
        let kept: Vec<_> = (1..=4).filter(|key| shelf.get(key, at(5)).is_some()).collect();
        assert_eq!(kept, [1, 3, 4]);
        for time in 0..1000 {
            shelf.put(9, 9, at(time));
            shelf.put(time, time, at(time));
        }
        assert!(shelf.kept.len() <= 3 && shelf.order.len() == shelf.kept.len());
        shelf.put(5, 5, at(5000));
        assert_eq!(shelf.kept.len(), 1, "what had expired went");
    }
}
