//! Time that a test can turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tailnas::clock::{Clock, Tell};

/// A clock that goes as the system's does and can be turned, the wall's and the steady one apart.
#[derive(Clone, Default)]
pub struct Turn(Arc<Mutex<Turned>>);

#[derive(Default)]
struct Turned {
    wall: TimeDelta,
    steady: Duration,
    /// Where the wall clock stands, if it does.
    stopped: Option<DateTime<Utc>>,
}

impl Turn {
    /// One whose wall clock stands still.
    #[allow(dead_code, reason = "not every test has one")]
    pub fn stopped_at(at: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(Turned { stopped: Some(at), ..Turned::default() })))
    }

    fn turned(&self) -> MutexGuard<'_, Turned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn clock(&self) -> Clock {
        Clock::from_tell(self.clone())
    }

    /// Time goes by.
    pub fn pass(&self, seconds: u64) {
        self.set_wall(i64::try_from(seconds).unwrap());
        self.turned().steady += Duration::from_secs(seconds);
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, seconds: i64) {
        self.turned().wall += TimeDelta::seconds(seconds);
    }
}

impl Tell for Turn {
    fn now(&self) -> DateTime<Utc> {
        let turned = self.turned();
        turned.stopped.unwrap_or_else(|| Clock::system().now()) + turned.wall
    }

    fn mono(&self) -> Duration {
        Clock::system().mono() + self.turned().steady
    }
}
