//! When a provider is not asked for a while, because it was of no help again and again.

use std::time::Duration;

use super::error::{Outage, Unavailable};

/// How many failures in a row it takes.
const FAILURES: u32 = 5;

/// How long nobody is asked then; after that, one question is let through to see.
const REST: Duration = Duration::from_secs(5);

/// Counts failures in a row. With the fifth it opens: then everybody is answered at once instead of after a
/// time-out each, and a provider that comes up again is not met by a crowd.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    last: Option<Unavailable>,
    rest_until: Duration,
}

impl Breaker {
    /// Whether a question may go out now. If it may and the breaker is open, it is the one that tries.
    ///
    /// # Errors
    ///
    /// What the last question came to, while it is open.
    pub(super) fn let_through(&mut self, now: Duration) -> Result<(), Unavailable> {
        let Some(last) = self.last.filter(|_| self.failures >= FAILURES) else { return Ok(()) };
        if now < self.rest_until {
            return Err(last);
        }
        self.rest_until = now + REST;
        Ok(())
    }

    /// A question got an answer about its token, whichever.
    pub(super) fn answered(&mut self) {
        if self.failures >= FAILURES {
            tracing::info!("the provider answers again");
        }
        *self = Self::default();
    }

    /// A question got none.
    pub(super) fn failed(&mut self, unavailable: Unavailable, now: Duration) {
        // Neither says anything about the provider.
        if matches!(unavailable.outage(), Outage::Busy | Outage::Internal) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some(unavailable);
        self.rest_until = now + REST;
        if self.failures == FAILURES {
            tracing::error!(
                why = unavailable.outage().word(),
                "the provider was of no help {FAILURES} times in a row: until it answers, it is asked once in {} s, \
                 nobody new is admitted, and nothing is changed on the NAS",
                REST.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn down() -> Unavailable {
        Outage::TimedOut.into()
    }

    #[test]
    fn it_opens_with_the_fifth_failure_in_a_row_and_lets_one_through_every_five_seconds() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(breaker.let_through(at(1)).is_ok());
            breaker.failed(down(), at(1));
        }
        breaker.answered();
        for _ in 0..5 {
            assert!(breaker.let_through(at(1)).is_ok(), "an answer in between begins a new row");
            breaker.failed(down(), at(1));
        }
        assert_eq!(breaker.let_through(at(1)), Err(down()));
        assert_eq!(breaker.let_through(at(5)), Err(down()));
        assert!(breaker.let_through(at(6)).is_ok());
        assert!(breaker.let_through(at(6)).is_err(), "one, while it is on its way");
        breaker.failed(down(), at(8));
        assert!(breaker.let_through(at(12)).is_err());
        assert!(breaker.let_through(at(13)).is_ok());
        breaker.answered();
        for _ in 0..100 {
            assert!(breaker.let_through(at(13)).is_ok());
        }
    }

    #[test]
    fn our_own_trouble_does_not_count() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(Outage::Busy.into(), at(1));
            breaker.failed(Outage::Internal.into(), at(1));
        }
        assert!(breaker.let_through(at(1)).is_ok());
    }
}
