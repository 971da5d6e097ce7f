//! Time that a test can turn.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tailnas::clock::{Clock, Tell};

/// A clock that goes as the system's does and can be turned, the wall's and the steady one apart.
#[derive(Clone, Default)]
pub struct Turn(Arc<Mutex<(TimeDelta, Duration)>>);

impl Turn {
    pub fn clock(&self) -> Clock {
        Clock::from_tell(self.clone())
    }

    /// Time goes by.
    pub fn pass(&self, seconds: u64) {
        self.set_wall(i64::try_from(seconds).unwrap());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 += Duration::from_secs(seconds);
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, seconds: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += TimeDelta::seconds(seconds);
    }
}

impl Tell for Turn {
    fn now(&self) -> DateTime<Utc> {
        Clock::system().now() + self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn mono(&self) -> Duration {
        Clock::system().mono() + self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
