//! Refusals, kept from flooding the log: anyone who reaches the port can cause them.
//!
//! Of each peer and reason the first is written at once, the others as one count a minute. There is room for
//! a fixed number of peers and reasons; what does not fit is counted together. So the log grows by at most
//! that many records a minute, whatever is thrown at the port, and the rest of the queue never notices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::record::{Decision, Ending, Event, Status, Turned, cut, cut_who};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::scope::Scope;
use crate::domain::who::Who;

/// How many peers and reasons are told apart at a time; strangers and callers each have as many, so that the
/// ones cannot crowd out the others.
const MOST: usize = 64;

/// How long refusals are counted before the count is written.
const WINDOW: Duration = Duration::from_mins(1);

/// Something that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The request.
    pub request: RequestId,
    /// Who asked, as far as they are known.
    pub who: Who,
    /// The address of the connection, where `who` names no peer.
    pub from: Option<IpAddr>,
    /// Why, in one word for programs, such as `invalid_token`. Refusals are counted by peer and reason, so it
    /// comes from a fixed set and never from outside.
    pub reason: &'static str,
    /// Why, for people; without secrets.
    pub detail: Option<String>,
    /// What was refused.
    pub what: Refused,
}

/// What was refused.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Being let in at all: an `auth_fail` record.
    Entry,
    /// A tool, to a caller we know: a `denied` record.
    Tool {
        /// The tool, as the caller spelled it.
        tool: String,
        /// On which NAS.
        nas: Option<NasName>,
        /// The scope they do not have.
        missing: Option<Scope>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Peer { entry: bool, peer: String, reason: &'static str },
    Others { entry: bool },
}

#[derive(Default)]
pub(super) struct Refusals {
    slots: BTreeMap<Key, Slot>,
    fresh: usize,
}

struct Slot {
    sample: Refusal,
    /// Not written yet.
    first: bool,
    /// Refused since the last record.
    more: u64,
    /// When the last record was made.
    since: Duration,
}

impl Refusals {
    /// Takes one in. Says whether the writer should look at once.
    pub fn add(&mut self, refusal: Refusal) -> bool {
        let mut key = Key::of(&refusal);
        let alike = || self.slots.keys().filter(|other| other.is_entry() == key.is_entry()).count();
        if !self.slots.contains_key(&key) && alike() >= MOST {
            key = Key::Others { entry: key.is_entry() };
        }
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.more += 1;
            return false;
        }
        let others = matches!(key, Key::Others { .. });
        let slot = Slot { sample: refusal, first: !others, more: u64::from(others), since: Duration::ZERO };
        self.slots.insert(key, slot);
        self.fresh += usize::from(!others);
        !others
    }

    pub const fn urgent(&self) -> bool {
        self.fresh > 0
    }

    /// The records that are due, at most `most` of them.
    pub fn due(&mut self, now: Duration, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for (key, slot) in &mut self.slots {
            if events.len() == most {
                break;
            }
            if slot.first {
                slot.first = false;
                slot.since = now;
                self.fresh -= 1;
                events.push(slot.event(key, None));
            } else if slot.since == Duration::ZERO {
                slot.since = now;
            } else if slot.more > 0 && now.saturating_sub(slot.since) >= WINDOW {
                events.push(slot.event(key, Some(slot.more)));
                slot.more = 0;
                slot.since = now;
            }
        }
        let quiet = |slot: &Slot| !slot.first && slot.more == 0 && now.saturating_sub(slot.since) >= WINDOW;
        self.slots.retain(|_, slot| !quiet(slot));
        events
    }

    /// Everything that is not written yet.
    pub fn rest(&mut self) -> Vec<Event> {
        self.fresh = 0;
        let mut events = Vec::new();
        for (key, slot) in std::mem::take(&mut self.slots) {
            if slot.first {
                events.push(slot.event(&key, None));
            }
            if slot.more > 0 {
                events.push(slot.event(&key, Some(slot.more)));
            }
        }
        events
    }
}

impl Key {
    fn of(refusal: &Refusal) -> Self {
        let peer = match (&refusal.who.peer, refusal.from) {
            (Some(peer), _) => peer.node_id.clone(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => String::new(),
        };
        Self::Peer { entry: matches!(refusal.what, Refused::Entry), peer, reason: refusal.reason }
    }

    const fn is_entry(&self) -> bool {
        match self {
            Self::Peer { entry, .. } | Self::Others { entry } => *entry,
        }
    }
}

impl Slot {
    /// The record of the first one, or of `count` others of the same peer and reason.
    fn event(&self, key: &Key, count: Option<u64>) -> Event {
        let Refusal { request, who, from, reason, detail, what } = &self.sample;
        let single = count.is_none();
        let others = matches!(key, Key::Others { .. });
        let who = match (single, others) {
            (true, _) => cut_who(who),
            (false, false) => cut_who(&Who { peer: who.peer.clone(), ..Who::default() }),
            (false, true) => Who::default(),
        };
        let ending = Ending {
            status: Status::Denied,
            code: Some(if others { "others".to_owned() } else { cut(reason, 64) }),
            reason: detail.as_deref().filter(|_| single).map(|detail| cut(detail, 1024)),
            bytes: None,
            items: None,
        };
        let mut turned = Box::new(Turned {
            req: single.then_some(*request),
            from: from.filter(|_| who.peer.is_none() && !others),
            who,
            tool: None,
            nas: None,
            decision: Decision::default(),
            result: ending,
            count,
        });
        match what {
            Refused::Entry => Event::AuthFail(turned),
            Refused::Tool { tool, nas, missing } => {
                if single {
                    turned.tool = Some(cut(tool, 128));
                    turned.nas.clone_from(nas);
                    turned.decision.missing = *missing;
                }
                Event::Denied(turned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(ip: u8, reason: &'static str) -> Refusal {
        Refusal {
            request: RequestId::new(),
            who: Who::default(),
            from: Some([100, 64, 0, ip].into()),
            reason,
            detail: None,
            what: Refused::Entry,
        }
    }

    fn counts(events: &[Event]) -> Vec<Option<u64>> {
        let count = |event: &Event| match event {
            Event::AuthFail(turned) => turned.count,
            other => panic!("{other:?}"),
        };
        events.iter().map(count).collect()
    }

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn the_first_is_told_at_once_and_the_others_as_a_count_a_minute() {
        let mut refusals = Refusals::default();
        assert!(refusals.add(refusal(1, "invalid_token")));
        assert!(refusals.urgent());
        assert_eq!(counts(&refusals.due(START, 32)), [None]);
        for _ in 0..1000 {
            assert!(!refusals.add(refusal(1, "invalid_token")));
        }
        assert!(!refusals.urgent());
        assert!(refusals.due(START + Duration::from_secs(59), 32).is_empty());
        assert_eq!(counts(&refusals.due(START + WINDOW, 32)), [Some(1000)]);
        assert!(refusals.due(START + WINDOW * 2, 32).is_empty());
        // A quiet minute later it is a first one again.
        assert!(refusals.add(refusal(1, "invalid_token")));
    }

    #[test]
    fn each_peer_and_reason_counts_by_itself() {
        let mut refusals = Refusals::default();
        for (ip, reason) in [(1, "a"), (1, "b"), (2, "a")] {
            assert!(refusals.add(refusal(ip, reason)));
            assert!(!refusals.add(refusal(ip, reason)));
        }
        assert_eq!(counts(&refusals.due(START, 32)), [None; 3]);
        assert_eq!(counts(&refusals.rest()), [Some(1); 3]);
    }

    #[test]
    fn a_crowd_is_counted_together() {
        let mut refusals = Refusals::default();
        for ip in 0..200 {
            refusals.add(refusal(ip, "a"));
        }
        assert_eq!(refusals.due(START, 1000).len(), MOST);
        let events = refusals.due(START + WINDOW, 1000);
        assert_eq!(counts(&events), [Some(200 - MOST as u64)]);
    }

    #[test]
    fn no_more_than_its_share_is_taken_at_a_time() {
        let mut refusals = Refusals::default();
        for ip in 0..40 {
            refusals.add(refusal(ip, "a"));
        }
        assert_eq!(refusals.due(START, 32).len(), 32);
        assert!(refusals.urgent());
        assert_eq!(refusals.due(START, 32).len(), 8);
    }
}
