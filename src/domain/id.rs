//! Identifiers that we hand out ourselves.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one request, from the first proof to the last audit record: a ULID, so that it sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(ulid::Ulid);

impl RequestId {
    /// A new one, from the system's time and random bits.
    #[must_use]
    pub fn new() -> Self {
        Self(ulid::Ulid::new())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
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
