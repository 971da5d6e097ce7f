//! How much one caller, one node, and all callers together may ask for at a time, so that nobody's flood is felt by
//! anybody else.
//!
//! Calls are counted once it is known whose they are, and a caller is told about them as MCP tells things. Long before
//! that, and more generously, requests and connections are counted by the node they come from: to find out who is
//! asking costs more than to turn them away.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::caller::Caller;
use crate::clock::Clock;
use crate::config::Limits;

/// Callers that are remembered before those who have been quiet are forgotten.
const REMEMBERED: usize = 1024;

/// How long it takes, roughly, until one of the calls in progress is over.
const SOON: Duration = Duration::from_millis(500);

/// However few calls there may be, a node may knock as for so many a second, and so many at once: lists, logins and
/// pages are no calls.
const LEAST: Rate = Rate { per_second: 20, burst: 40 };

/// Nodes that are told apart; those beyond share one allowance. A tailnet has fewer.
const NODES: usize = 4096;

/// The budgets of all callers. Clones share them.
#[derive(Clone, Debug)]
pub struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Mutex<Limits>,
    clock: Clock,
    spent: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    /// Of all callers.
    calls: Bucket,
    in_flight: u32,
    callers: HashMap<Purse, Account>,
    nodes: HashMap<(Knock, Option<IpAddr>), Bucket>,
}

#[derive(Debug)]
struct Account {
    calls: Bucket,
    in_flight: u32,
}

/// What may be done at once, and again after a while.
#[derive(Debug)]
struct Bucket {
    /// In thousandths.
    saved: u64,
    /// As of when.
    counted: Duration,
}

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// What a node does before anybody knows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Knock {
    /// It makes a connection.
    Connection,
    /// It sends a request.
    Request,
}

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purse {
    /// A person, by their user id: one who has many nodes is one caller.
    User(u64),
    /// An agent, by the stable id of its node.
    Node(String),
}

impl Purse {
    /// That of `caller`.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        caller
            .user()
            .map_or_else(|| Self::Node(caller.peer().node_id().to_owned()), |user| Self::User(user.id()))
    }
}

/// A call that is within the budgets. It counts as in flight as long as this exists.
#[derive(Debug)]
#[must_use = "the call is in flight for as long as this exists"]
pub struct Spending {
    budgets: Budgets,
    purse: Purse,
}

/// A budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    what: Exceeded,
    retry_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceeded {
    /// Calls of this caller in a time.
    Calls(Rate),
    /// What one node does in a time.
    Knocks(Knock, Rate),
    /// Calls of this caller in progress.
    Caller(u32),
    /// Calls of everybody in a time.
    CallsInAll(Rate),
    /// Calls of everybody in progress.
    InAll(u32),
}

impl Budgets {
    /// Budgets of `limits`, with nothing spent yet.
    #[must_use]
    pub fn new(limits: Limits, clock: Clock) -> Self {
        let calls = Bucket::full(Rate::in_all(limits), clock.mono());
        let spent = Spent { calls, in_flight: 0, callers: HashMap::new(), nodes: HashMap::new() };
        Self(Arc::new(Inner { limits: Mutex::new(limits), clock, spent: Mutex::new(spent) }))
    }

    /// From the next call on these limits count. What was spent stays spent.
    pub fn use_limits(&self, limits: Limits) {
        *self.0.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        *self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one call out of a caller's budget and out of everybody's: out of both, or of neither.
    ///
    /// # Errors
    ///
    /// Which of them is used up, and when to try again.
    pub fn spend(&self, purse: Purse) -> Result<Spending, TooMany> {
        let limits = self.limits();
        let Limits { calls_in_flight, calls_in_flight_in_all, .. } = limits;
        let (rate, rate_in_all) = (Rate::of_one(limits), Rate::in_all(limits));
        let now = self.0.clock.mono();
        let mut spent = self.spent();
        let Spent { calls, in_flight, callers, nodes: _ } = &mut *spent;
        if callers.len() >= REMEMBERED {
            callers.retain(|_, account| account.in_flight > 0 || !account.calls.is_full(rate, now));
        }
        let account = callers
            .entry(purse.clone())
            .or_insert_with(|| Account { calls: Bucket::full(rate, now), in_flight: 0 });
        let exceeded = |what, retry_after| Err(TooMany { what, retry_after });
        if let Some(wait) = account.calls.fill(rate, now) {
            return exceeded(Exceeded::Calls(rate), wait);
        }
        if account.in_flight >= calls_in_flight {
            return exceeded(Exceeded::Caller(calls_in_flight), SOON);
        }
        if let Some(wait) = calls.fill(rate_in_all, now) {
            return exceeded(Exceeded::CallsInAll(rate_in_all), wait);
        }
        if *in_flight >= calls_in_flight_in_all {
            return exceeded(Exceeded::InAll(calls_in_flight_in_all), SOON);
        }
        account.calls.take();
        account.in_flight += 1;
        calls.take();
        *in_flight += 1;
        Ok(Spending { budgets: self.clone(), purse })
    }

    /// Counts what the node at `from` does. All of its callers have one allowance.
    ///
    /// # Errors
    ///
    /// When it is too much, and when to try again.
    pub fn knock(&self, from: IpAddr, knock: Knock) -> Result<(), TooMany> {
        let limits = self.limits();
        let rate = knock.rate(limits);
        let now = self.0.clock.mono();
        let nodes = &mut self.spent().nodes;
        let mut key = (knock, Some(from.to_canonical()));
        if nodes.len() >= NODES && !nodes.contains_key(&key) {
            nodes.retain(|(knock, _), bucket| !bucket.is_full(knock.rate(limits), now));
            if nodes.len() >= NODES {
                key.1 = None;
            }
        }
        let bucket = nodes.entry(key).or_insert_with(|| Bucket::full(rate, now));
        if let Some(retry_after) = bucket.fill(rate, now) {
            return Err(TooMany { what: Exceeded::Knocks(knock, rate), retry_after });
        }
        bucket.take();
        Ok(())
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.0.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knock {
    /// A call is a request, and a client asks for more than calls. One that makes a connection for each of its requests
    /// is to be told about these, and not closed.
    fn rate(self, limits: Limits) -> Rate {
        let times = match self {
            Self::Request => 2,
            Self::Connection => 4,
        };
        let Limits { calls_per_second, burst, .. } = limits;
        Rate {
            per_second: times * calls_per_second.max(LEAST.per_second),
            burst: times * burst.max(LEAST.burst),
        }
    }
}

impl Rate {
    /// Of the calls of one caller.
    const fn of_one(Limits { calls_per_second, burst, .. }: Limits) -> Self {
        Self { per_second: calls_per_second, burst }
    }

    /// Of the calls of all callers together.
    const fn in_all(Limits { calls_per_second_in_all, burst_in_all, .. }: Limits) -> Self {
        Self { per_second: calls_per_second_in_all, burst: burst_in_all }
    }
}

impl Bucket {
    fn full(rate: Rate, now: Duration) -> Self {
        Self { saved: 1000 * u64::from(rate.burst), counted: now }
    }

    /// Adds what was saved up since; how long to wait where that is not enough for one.
    fn fill(&mut self, rate: Rate, now: Duration) -> Option<Duration> {
        let saved = self.saved_by(rate, now);
        // Less than a thousandth is not lost, however often somebody knocks in between.
        if saved > self.saved || self.is_full(rate, now) {
            (self.saved, self.counted) = (saved, now);
        }
        let missing = 1000_u64.checked_sub(self.saved).filter(|missing| *missing > 0)?;
        Some(Duration::from_millis(missing.div_ceil(u64::from(rate.per_second))))
    }

    fn take(&mut self) {
        self.saved = self.saved.saturating_sub(1000);
    }

    /// Whether it is as if nothing had ever been taken out.
    fn is_full(&self, rate: Rate, now: Duration) -> bool {
        self.saved_by(rate, now) >= 1000 * u64::from(rate.burst)
    }

    fn saved_by(&self, rate: Rate, now: Duration) -> u64 {
        let passed = now.saturating_sub(self.counted).as_nanos();
        // Thousandths of one, per billionths of a second.
        let more = u64::try_from(passed * u128::from(rate.per_second) / 1_000_000).unwrap_or(u64::MAX);
        more.saturating_add(self.saved).min(1000 * u64::from(rate.burst))
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let mut spent = self.budgets.spent();
        spent.in_flight -= 1;
        if let Some(account) = spent.callers.get_mut(&self.purse) {
            account.in_flight -= 1;
        }
    }
}

impl TooMany {
    /// When there will be something in the budget again.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Exceeded::Calls(Rate { per_second, burst }) => {
                write!(
                    f,
                    "one caller may make {per_second} calls a second, and {burst} at once after a pause"
                )
            }
            Exceeded::Knocks(knock, Rate { per_second, burst }) => {
                let what = match knock {
                    Knock::Connection => "connections",
                    Knock::Request => "requests",
                };
                write!(f, "one node may make {per_second} {what} a second, and {burst} at once after a pause")
            }
            Exceeded::CallsInAll(Rate { per_second, burst }) => {
                write!(
                    f,
                    "all callers together may make {per_second} calls a second, and {burst} at once after a pause"
                )
            }
            Exceeded::Caller(most) => write!(f, "one caller may have {most} calls in progress"),
            Exceeded::InAll(most) => write!(f, "all callers together may have {most} calls in progress"),
        }
    }
}

impl std::error::Error for TooMany {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::clock::Tell;

    const LIMITS: Limits = Limits {
        calls_per_second: 20,
        burst: 40,
        calls_per_second_in_all: 10_000,
        burst_in_all: 10_000,
        calls_in_flight: 8,
        calls_in_flight_in_all: 12,
    };

    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl Tell for Hand {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn mono(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn budgets() -> (Budgets, Hand) {
        let hand = Hand::default();
        (Budgets::new(LIMITS, Clock::from_tell(hand.clone())), hand)
    }

    fn turn(hand: &Hand, millis: u64) {
        hand.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// How many calls, one after the other, are within the budget.
    fn calls(budgets: &Budgets, user: u64) -> usize {
        (0..1000).take_while(|_| budgets.spend(Purse::User(user)).is_ok()).count()
    }

    #[test]
    fn after_a_pause_there_are_as_many_as_the_burst_and_then_the_rate() {
        let (budgets, hand) = budgets();
        assert_eq!(calls(&budgets, 1), 40);
        assert_eq!(budgets.spend(Purse::User(1)).unwrap_err().retry_after(), Duration::from_millis(50));
        turn(&hand, 49);
        assert_eq!(budgets.spend(Purse::User(1)).unwrap_err().retry_after(), Duration::from_millis(1));
        turn(&hand, 1);
        assert_eq!(calls(&budgets, 1), 1);
        turn(&hand, 1000);
        assert_eq!(calls(&budgets, 1), 20);
        turn(&hand, 3_600_000);
        assert_eq!(calls(&budgets, 1), 40, "nobody saves up more than a burst");
    }

    #[test]
    fn one_callers_budget_is_not_anothers() {
        let (budgets, _) = budgets();
        assert_eq!(calls(&budgets, 1), 40);
        assert_eq!(calls(&budgets, 2), 40);
        let held: Vec<_> = (0..8).map_while(|_| budgets.spend(Purse::User(3)).ok()).collect();
        assert_eq!(held.len(), 8);
        assert_eq!(budgets.spend(Purse::User(3)).unwrap_err().what, Exceeded::Caller(8));
        assert!(budgets.spend(Purse::User(4)).is_ok());
        drop(held);
        assert!(budgets.spend(Purse::User(3)).is_ok());
    }

    #[test]
    fn all_callers_together_have_a_rate_and_what_is_refused_costs_nobody_a_call() {
        let (budgets, hand) = budgets();
        budgets.use_limits(Limits { calls_per_second_in_all: 50, burst_in_all: 100, ..LIMITS });
        assert_eq!([1, 2, 3].map(|user| calls(&budgets, user)), [40, 40, 20]);
        for _ in 0..100 {
            let too_many = budgets.spend(Purse::User(4)).unwrap_err();
            assert_eq!(too_many.retry_after(), Duration::from_millis(20));
            assert!(too_many.to_string().contains("all callers together may make 50 calls"), "{too_many}");
        }
        turn(&hand, 1000);
        assert_eq!(calls(&budgets, 4), 40, "nothing was taken from who was refused");
        assert_eq!(calls(&budgets, 1), 10, "what is left of everybody's");
        turn(&hand, 3_600_000);
        assert_eq!(
            [1, 2, 3].map(|user| calls(&budgets, user)),
            [40, 40, 20],
            "nobody saves up more than a burst"
        );
    }

    #[test]
    fn all_callers_together_have_a_limit_and_it_costs_nobody_a_call() {
        let (budgets, _) = budgets();
        let held: Vec<_> = (0..12).map_while(|user| budgets.spend(Purse::User(user)).ok()).collect();
        assert_eq!(held.len(), 12);
        for _ in 0..100 {
            assert_eq!(budgets.spend(Purse::User(99)).unwrap_err().what, Exceeded::InAll(12));
        }
        drop(held);
        assert_eq!(calls(&budgets, 99), 40);
    }

    #[test]
    fn one_nodes_knocks_are_not_anothers_and_take_bounded_room() {
        let (budgets, hand) = budgets();
        let node = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(0x6440_0000 + number));
        let knocks =
            |number, knock| (0..1000).take_while(|_| budgets.knock(node(number), knock).is_ok()).count();
        assert_eq!(knocks(1, Knock::Request), 80);
        let too_many = budgets.knock(node(1), Knock::Request).unwrap_err();
        assert_eq!(too_many.retry_after(), Duration::from_millis(25));
        assert!(too_many.to_string().contains("40 requests a second"), "{too_many}");
        let mapped: IpAddr = "::ffff:100.64.0.1".parse().unwrap();
        assert!(budgets.knock(mapped, Knock::Request).is_err(), "it is the same node");
        assert_eq!(knocks(1, Knock::Connection), 160);
        assert_eq!(knocks(2, Knock::Request), 80);
        turn(&hand, 1000);
        assert_eq!(knocks(1, Knock::Request), 40);
        assert_eq!(calls(&budgets, 1), 40, "and a caller's calls are counted by themselves");
        budgets.use_limits(Limits { calls_per_second: 1, burst: 1, ..LIMITS });
        assert_eq!(knocks(3, Knock::Request), 80, "what is no call is no call");
        budgets.use_limits(LIMITS);
        for number in 0..100_000 {
            let _ = budgets.knock(node(number), Knock::Request);
        }
        assert!(budgets.spent().nodes.len() <= NODES + 2);
        turn(&hand, 3_600_000);
        assert!(budgets.knock(node(200_000), Knock::Request).is_ok());
        assert_eq!(budgets.spent().nodes.len(), 1, "what is full again is forgotten");
    }

    #[test]
    fn callers_who_have_been_quiet_are_forgotten() {
        let (budgets, hand) = budgets();
        for user in 0..1024 {
            drop(budgets.spend(Purse::User(user)));
        }
        let _held = budgets.spend(Purse::User(7));
        turn(&hand, 3001);
        assert!(budgets.spend(Purse::User(5000)).is_ok());
        assert_eq!(budgets.spent().callers.len(), 2, "the one in progress and the new one");
    }
}
