//! Refusals, kept from flooding the log: anyone who reaches the port can cause them.
//!
//! Of each kind, which is peer, reason and tool, the first is written at once, the others as one count a minute. There
//! is room for a fixed number of kinds; what does not fit is counted together. So the log, and the daemon's own, grow
//! by at most that many records a minute, whatever is thrown at the port, and the rest of the queue never notices.
//! While the log has hardly any room left, it does not grow by refusals at all: they wait here.
//!
//! Nobody can hide what they do behind others, or behind other things that they do: strangers, nodes of the tailnet
//! and callers have room of their own, one peer has only a part of it, and a token that is presented from another
//! person's node is never counted together with anything else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::record::{Decision, Ending, Event, Status, Turned, cut, cut_who};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::scope::Scope;
use crate::domain::who::Who;

/// The reason of a refusal that is a sign of a stolen token: another person's node presented it.
const BINDING: &str = "binding";

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
    /// A message of a caller we know, which is none that we answer: a `denied` record.
    Message,
    /// A tool that there is not: a `denied` record, with the name as the caller spelled it.
    NoSuchTool(String),
    /// A tool, to a caller we know: a `denied` record.
    Tool {
        /// The tool.
        tool: &'static str,
        /// On which NAS.
        nas: Option<NasName>,
        /// The scope they do not have.
        missing: Option<Scope>,
    },
}

/// Whose refusals share room. In the order in which they are written when there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A token on another person's node. There are never more of these kinds than nodes in the tailnet.
    Binding,
    /// Callers, who were admitted.
    Caller,
    /// Nodes of the tailnet that were not.
    Node,
    /// Whoever WhoIs does not know, or was not asked about.
    Stranger,
}

impl Class {
    /// How many kinds are told apart at a time: in all, and of one peer.
    const fn room(self) -> (usize, usize) {
        match self {
            Self::Binding => (usize::MAX, usize::MAX),
            // A caller has a kind for each tool: whoever tries them all hides none behind the others.
            Self::Caller => (1024, 256),
            Self::Node => (256, 16),
            Self::Stranger => (64, 16),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// One kind.
    Kind { class: Class, entry: bool, peer: String, reason: &'static str, tool: Option<&'static str> },
    /// The kinds of one peer for which there is no room.
    Peer { class: Class, entry: bool, peer: String },
    /// The kinds of all peers for which there is no room.
    Others { class: Class, entry: bool },
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
        let key = self.room_for(Key::of(&refusal));
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.more += 1;
            return false;
        }
        let others = !matches!(key, Key::Kind { .. });
        let slot = Slot { sample: refusal, first: !others, more: u64::from(others), since: Duration::ZERO };
        self.slots.insert(key, slot);
        self.fresh += usize::from(!others);
        !others
    }

    /// Where a kind is counted: by itself, as long as there is room.
    fn room_for(&self, key: Key) -> Key {
        let Key::Kind { class, entry, peer, .. } = &key else { return key };
        if self.slots.contains_key(&key) {
            return key;
        }
        let (in_all, of_one) = class.room();
        let (mut all, mut its) = (0, 0);
        for other in self.slots.keys() {
            if let Key::Kind { class: same, peer: whose, .. } = other
                && same == class
            {
                all += 1;
                its += usize::from(whose == peer);
            }
        }
        if its >= of_one {
            return Key::Peer { class: *class, entry: *entry, peer: peer.clone() };
        }
        if all >= in_all { Key::Others { class: *class, entry: *entry } } else { key }
    }

    /// How many stand in no record yet.
    pub fn waiting(&self) -> u64 {
        self.slots.values().map(|slot| u64::from(slot.first) + slot.more).sum()
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
        let Refusal { who, from, reason, what, request: _, detail: _ } = refusal;
        let peer = match (&who.peer, from) {
            (Some(peer), _) => peer.node_id.clone(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => String::new(),
        };
        let entry = matches!(what, Refused::Entry);
        let class = match (&who.peer, entry) {
            (Some(_), true) if *reason == BINDING => Class::Binding,
            (Some(_), true) => Class::Node,
            (None, true) => Class::Stranger,
            (_, false) => Class::Caller,
        };
        let tool = match what {
            Refused::Tool { tool, .. } => Some(*tool),
            // Names that callers make up are as many as they like.
            Refused::NoSuchTool(_) | Refused::Message | Refused::Entry => None,
        };
        Self::Kind { class, entry, peer, reason, tool }
    }
}

impl Slot {
    /// The record of the first one, or of `count` others of the same kind.
    fn event(&self, key: &Key, count: Option<u64>) -> Event {
        let Refusal { request, who, from, reason, detail, what } = &self.sample;
        let single = count.is_none();
        let everybody = matches!(key, Key::Others { .. });
        let others = !matches!(key, Key::Kind { .. });
        let who = match (single, everybody) {
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
            from: from.filter(|_| who.peer.is_none() && !everybody),
            who,
            tool: None,
            nas: None,
            decision: Decision::default(),
            result: ending,
            count,
        });
        match what {
            Refused::Entry => return Event::AuthFail(turned),
            Refused::NoSuchTool(spelled) => turned.tool = Some(cut(spelled, 128)).filter(|_| single),
            Refused::Tool { tool, nas, missing } if !others => {
                turned.tool = Some((*tool).to_owned());
                turned.nas.clone_from(nas);
                turned.decision.missing = *missing;
            }
            Refused::Message | Refused::Tool { .. } => {}
        }
        Event::Denied(turned)
    }
}

/// Says in the daemon's own log what a record of a refusal says, so that the two grow alike.
pub(super) fn log(event: &Event) {
    let (Event::AuthFail(turned) | Event::Denied(turned)) = event else { return };
    let Turned { req, from, who, tool, nas: _, decision: _, result, count } = &**turned;
    let request = req.map(tracing::field::display);
    let peer = who.peer.as_ref().map(|peer| peer.node_name.as_str());
    let address = who.peer.as_ref().map(|peer| peer.ip).or(*from).map(tracing::field::display);
    let (reason, detail, tool) = (result.code.as_deref(), result.reason.as_deref(), tool.as_deref());
    match (event, count) {
        (Event::AuthFail(_), None) => tracing::info!(request, peer, address, reason, detail, "not admitted"),
        (Event::AuthFail(_), Some(count)) => {
            tracing::info!(peer, address, reason, count, "not admitted, again");
        }
        (_, None) => tracing::info!(request, peer, address, tool, reason, "refused"),
        (_, Some(count)) => tracing::info!(peer, address, tool, reason, count, "refused, again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::who::PeerNote;

    fn refusal(ip: u8, reason: &'static str) -> Refusal {
        Refusal {
            request: RequestId::at(chrono::DateTime::UNIX_EPOCH),
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
        let (most, _) = Class::Stranger.room();
        let mut refusals = Refusals::default();
        for ip in 0..200 {
            refusals.add(refusal(ip, "a"));
        }
        assert_eq!(refusals.due(START, 1000).len(), most);
        let events = refusals.due(START + WINDOW, 1000);
        assert_eq!(counts(&events), [Some(200 - most as u64)]);
    }

    /// One of a node of the tailnet, which has this id.
    fn known(node: &str, reason: &'static str, what: Refused) -> Refusal {
        let peer = PeerNote {
            ip: [100, 64, 0, 7].into(),
            port: 1,
            node_id: node.to_owned(),
            node_name: format!("{node}.example.ts.net"),
            user: Some("alice@example.com".to_owned()),
            tags: Vec::new(),
        };
        Refusal { who: Who { peer: Some(peer), ..Who::default() }, what, from: None, ..refusal(0, reason) }
    }

    fn words<'e>(events: &'e [Event]) -> Vec<(Option<&'e str>, Option<&'e str>, Option<u64>)> {
        let word = |event: &'e Event| match event {
            Event::AuthFail(turned) | Event::Denied(turned) => {
                (turned.tool.as_deref(), turned.result.code.as_deref(), turned.count)
            }
            other => panic!("{other:?}"),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn strangers_hide_nobody_whom_the_tailnet_knows() {
        let mut refusals = Refusals::default();
        for ip in 0..200 {
            refusals.add(refusal(ip, "peer_unknown"));
        }
        assert!(refusals.add(known("nMALLORY", "inactive", Refused::Entry)));
        assert!(refusals.add(known("nMALLORY", BINDING, Refused::Entry)));
        let events = refusals.due(START, 2);
        assert_eq!(
            words(&events),
            [(None, Some(BINDING), None), (None, Some("inactive"), None)],
            "and come first"
        );
    }

    #[test]
    fn a_token_on_another_persons_node_is_never_one_of_others() {
        let mut refusals = Refusals::default();
        for number in 0..5000 {
            refusals.add(known(&format!("n{number}"), "inactive", Refused::Entry));
            assert!(refusals.add(known(&format!("n{number}"), BINDING, Refused::Entry)), "{number}");
        }
    }

    #[test]
    fn one_denied_tool_does_not_hide_another() {
        let denied =
            |tool| known("nAGENT", "missing_scope", Refused::Tool { tool, nas: None, missing: None });
        let mut refusals = Refusals::default();
        for _ in 0..100 {
            refusals.add(denied("alerts_list"));
        }
        assert!(refusals.add(denied("snapshot_create")));
        // Neither do tools that it makes up.
        for number in 0..5000 {
            refusals.add(known("nAGENT", "unknown_tool", Refused::NoSuchTool(number.to_string())));
        }
        let reason = Some("missing_scope");
        let first = [
            (Some("alerts_list"), reason, None),
            (Some("snapshot_create"), reason, None),
            (Some("0"), Some("unknown_tool"), None),
        ];
        let mut events = words(&refusals.due(START, 1000))
            .into_iter()
            .map(|(tool, code, count)| (tool.map(str::to_owned), code.map(str::to_owned), count))
            .collect::<Vec<_>>();
        events.sort();
        let mut expected =
            first.map(|(tool, code, count)| (tool.map(str::to_owned), code.map(str::to_owned), count));
        expected.sort();
        assert_eq!(events, expected);
        assert!(refusals.add(denied("pool_scrub")));
    }

    #[test]
    fn one_peer_does_not_take_the_room_of_the_others() {
        const REASONS: [&str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
            "t",
        ];
        let mut refusals = Refusals::default();
        for node in 0..100 {
            for reason in REASONS {
                refusals.add(known(&format!("n{node:03}"), reason, Refused::Entry));
            }
        }
        let (most, of_one) = Class::Node.room();
        let events = refusals.due(START, 1_000_000);
        assert_eq!(events.len(), most);
        let later = refusals.due(START + WINDOW, 1_000_000);
        let peers = most / of_one;
        // Sixteen have their own account of the rest, and whoever came after them shares one.
        let counted: Vec<_> = later
            .iter()
            .map(|event| match event {
                Event::AuthFail(turned) => (turned.who.peer.is_some(), turned.count.unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        let rest = (REASONS.len() - of_one) as u64;
        assert_eq!(counted.iter().filter(|it| **it == (true, rest)).count(), peers);
        assert!(counted.contains(&(false, (100 - peers as u64) * REASONS.len() as u64)), "{counted:?}");
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
