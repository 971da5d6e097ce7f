//! Faults that a server of this crate can be told to show.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// One way of not answering properly.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Answer correctly, this much later.
    Slow(Duration),
    /// Answer correctly, once this is open.
    Held(Gate),
    /// Read the request and never answer.
    Hang,
    /// Close the connection without an answer.
    Drop,
    /// Answer with bytes that are not what the protocol speaks.
    Garbage,
    /// Send the first half of the right answer, then close the connection.
    HalfFrame,
    /// Answer with this HTTP status and body. Where the protocol has no statuses this is [`Fault::Drop`].
    Status(u16, String),
    /// Answer 200 with this content type and body instead of the right ones (HTTP only).
    Body(String, Vec<u8>),
    /// Send exactly these bytes, then close the connection. Where the protocol has messages it is one message.
    Wire(Vec<u8>),
    /// Pad the right answer with white space to at least this many bytes.
    Oversize(usize),
}

/// What keeps answers back until somebody opens it; clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets through who waits, and whoever comes from now on.
    pub fn open(&self) {
        self.0.close();
    }

    pub(crate) async fn passed(&self) {
        // There is never anything to get: the wait ends when it is closed.
        drop(self.0.acquire().await);
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The faults one server is to show; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    every: Option<Every>,
    shown: u64,
}

/// A fault in so many requests.
#[derive(Debug)]
struct Every {
    nth: u64,
    faults: VecDeque<Fault>,
    left: u64,
}

impl Every {
    fn take(&mut self) -> Option<Fault> {
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        self.left = self.nth;
        let fault = self.faults.pop_front()?;
        self.faults.push_back(fault.clone());
        Some(fault)
    }
}

impl Faults {
    /// Show `fault` on the next request only. Called twice, the faults come one after the other.
    pub fn once(&self, fault: Fault) {
        self.plan().next.push_back(fault);
    }

    /// Show `fault` on every request that has no fault of its own, until [`Faults::clear`].
    pub fn always(&self, fault: Fault) {
        self.plan().always = Some(fault);
    }

    /// Show one of `faults` on every `nth` request that has no fault of its own, each in its turn, until
    /// [`Faults::clear`].
    pub fn every(&self, nth: u64, faults: impl IntoIterator<Item = Fault>) {
        let nth = nth.max(1);
        self.plan().every = Some(Every { nth, faults: faults.into_iter().collect(), left: nth });
    }

    /// How many faults were shown so far.
    pub fn shown(&self) -> u64 {
        self.plan().shown
    }

    /// Answer properly from now on.
    pub fn clear(&self) {
        let mut plan = self.plan();
        *plan = Plan { shown: plan.shown, ..Plan::default() };
    }

    /// The fault to show for the request being served, if any.
    pub fn take(&self) -> Option<Fault> {
        let mut plan = self.plan();
        let always = plan.always.clone();
        let fault = plan.next.pop_front().or(always);
        let fault = fault.or_else(|| plan.every.as_mut().and_then(Every::take));
        plan.shown += u64::from(fault.is_some());
        fault
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_request_gets_one_of_the_faults_in_turn_and_those_that_were_asked_for_come_first() {
        let faults = Faults::default();
        faults.every(3, [Fault::Hang, Fault::Drop]);
        let six: Vec<_> = (0..6).map(|_| faults.take()).collect();
        assert_eq!(six, [None, None, Some(Fault::Hang), None, None, Some(Fault::Drop)]);
        faults.once(Fault::Garbage);
        assert_eq!(faults.take(), Some(Fault::Garbage));
        assert_eq!((faults.take(), faults.take(), faults.take()), (None, None, Some(Fault::Hang)));
        faults.clear();
        assert!((0..6).all(|_| faults.take().is_none()));
        assert_eq!(faults.shown(), 4);
    }
}
