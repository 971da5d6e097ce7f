//! How many at a time: connections, or requests, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places, each taken for as long as its [`Place`] exists. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    /// Only addresses that have a place, so there are never more of them than places.
    by: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    InAll,
    /// This address has as many as it may.
    Each,
}

impl Places {
    /// So many `in_all`, and so many for `each` address.
    pub(super) fn new(in_all: usize, each: usize) -> Self {
        Self(Arc::new(Inner { in_all, each, taken: Mutex::default() }))
    }

    /// Takes a place for `address`; `None` where only the number in all can count.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Result<Place, Full> {
        // A peer is one peer, however its address is written.
        let address = address.map(|address| address.to_canonical());
        let mut taken = self.taken();
        if taken.in_all >= self.0.in_all {
            return Err(Full::InAll);
        }
        if let Some(address) = address {
            let its = taken.by.entry(address).or_default();
            if *its >= self.0.each {
                return Err(Full::Each);
            }
            *its += 1;
        }
        taken.in_all += 1;
        Ok(Place { places: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.in_all -= 1;
        if let Some(address) = self.address
            && let Some(its) = taken.by.get_mut(&address)
        {
            *its -= 1;
            if *its == 0 {
                taken.by.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, address: &str) -> Result<Place, Full> {
        places.take(Some(address.parse().unwrap()))
    }

    #[test]
    fn one_address_cannot_take_the_places_of_another() {
        let places = Places::new(3, 2);
        let held: Vec<_> = (0..2).map(|_| take(&places, "100.64.0.1").unwrap()).collect();
        assert_eq!(take(&places, "100.64.0.1").unwrap_err(), Full::Each);
        assert_eq!(take(&places, "::ffff:100.64.0.1").unwrap_err(), Full::Each);
        let other = take(&places, "100.64.0.2").unwrap();
        assert_eq!(take(&places, "100.64.0.3").unwrap_err(), Full::InAll);
        drop(other);
        drop(held);
        assert_eq!(places.taken().in_all, 0);
        assert!(places.taken().by.is_empty(), "an address without a place is remembered");
    }

    #[test]
    fn who_has_no_address_counts_in_all() {
        let places = Places::new(2, 1);
        let _held = [places.take(None).unwrap(), places.take(None).unwrap()];
        assert_eq!(places.take(None).unwrap_err(), Full::InAll);
        assert_eq!(take(&places, "100.64.0.1").unwrap_err(), Full::InAll);
    }
}
