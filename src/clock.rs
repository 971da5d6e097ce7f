//! Time, from a clock that is handed in, so that a test can turn it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// How often something that happens again and again is said.
const SELDOM: Duration = Duration::from_mins(1);

/// Tells the time. Clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Tell>);

/// What a clock is made of.
pub trait Tell: Send + Sync + 'static {
    /// The wall clock. It may step in either direction.
    fn now(&self) -> DateTime<Utc>;

    /// Time since some fixed point that never runs backwards and goes on while the machine sleeps.
    fn mono(&self) -> Duration;
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::from_tell(System)
    }

    /// A clock of the caller's making.
    pub fn from_tell(tell: impl Tell) -> Self {
        Self(Arc::new(tell))
    }

    /// The wall clock. It may step in either direction: never measure a duration with it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    /// Time since some fixed point; never runs backwards.
    #[must_use]
    pub fn mono(&self) -> Duration {
        self.0.mono()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

struct System;

impl Tell for System {
    fn now(&self) -> DateTime<Utc> {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
        Utc::now()
    }

    fn mono(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    }
}

/// What is worth a line in the log when it happens, and not a line each time: somebody outside can make it happen as
/// often as they like.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// Whether it is to be said now: how often it happened since it was said last, this time included. `None` within
    /// a minute of that. Nothing but the log depends on it, so it goes by the machine's own clock.
    pub fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.since += 1;
        if said.last.is_some_and(|last| now - last < SELDOM) {
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_all_the_time_is_said_once_a_minute_with_how_often() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(1));
        for _ in 0..1000 {
            assert_eq!(seldom.due(), None);
        }
        tokio::time::advance(SELDOM).await;
        assert_eq!(seldom.due(), Some(1001));
        assert_eq!(seldom.due(), None);
    }
}
