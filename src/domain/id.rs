//! Identifiers that we hand out ourselves.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Names one request, from the first look at its head to the last audit record: a ULID, so that it sorts by time.
///
/// The door of the server makes one for each request, by the daemon's clock, and everything behind carries it along:
/// an answer, a refusal, an intent and its outcome all tell the same one. The default names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(ulid::Ulid);

impl RequestId {
    /// A new one, of this time and random bits.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(ulid::Ulid::from_datetime(now.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ulid::Ulid::from_string(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
