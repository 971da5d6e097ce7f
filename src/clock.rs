//! Time, from a clock that is handed in, so that a test can turn it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

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
