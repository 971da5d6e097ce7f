//! The NAS's own audit: who did what on it, by any way in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Events;

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct EventCount;

/// Part of the NAS that keeps an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Service {
    /// API and web interface.
    Middleware,
    /// Files over SMB.
    Smb,
    /// Commands run as root.
    Sudo,
    /// The system itself.
    System,
}

/// An audit is asked with an object of its own around filters and options.
#[derive(Debug)]
pub struct AuditQuery<M> {
    service: Service,
    query: Query<M>,
}

/// What happened in a service since `since`, in seconds of 1970. Which services a NAS looks at when it is not told
/// differs by generation.
#[must_use]
pub fn since<M: Queryable>(since: i64, service: Service) -> AuditQuery<M> {
    let query = Query::all().filter("message_timestamp", Compare::AtLeast, since);
    AuditQuery { service, query }
}

impl<M: Queryable> AuditQuery<M> {
    /// Only what this account did.
    #[must_use]
    pub fn by(mut self, user: &str) -> Self {
        self.query = self.query.filter("username", Compare::Is, user);
        self
    }

    /// Only what was refused or failed.
    #[must_use]
    pub fn failed(mut self) -> Self {
        self.query = self.query.filter("success", Compare::Is, false);
        self
    }

    /// The newest first, and no more than so many.
    #[must_use]
    pub fn newest(mut self, events: u32) -> Self {
        self.query = self.query.order("-message_timestamp").limit(events);
        self
    }
}

impl<M: Queryable> Serialize for AuditQuery<M> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("services", &[self.service])?;
        map.serialize_entry("query-filters", self.query.filters())?;
        map.serialize_entry("query-options", &self.query.options())?;
        map.end()
    }
}

/// Something that happened. With what it was done is left out: arguments may hold anything.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditEvent {
    /// When, in seconds of 1970.
    #[serde(default)]
    pub message_timestamp: Option<i64>,
    /// Which account.
    #[serde(default)]
    pub username: Option<String>,
    /// From where.
    #[serde(default)]
    pub address: Option<String>,
    /// `METHOD_CALL`, `AUTHENTICATION` …
    #[serde(default)]
    pub event: Option<String>,
    /// It was let through.
    #[serde(default)]
    pub success: Option<bool>,
    /// Of a call.
    #[serde(default)]
    pub event_data: Option<Called>,
}

/// What was called.
#[derive(Clone, Debug, Deserialize)]
pub struct Called {
    /// The method.
    #[serde(default)]
    pub method: Option<String>,
}

impl Queryable for Events {
    const SELECT: &'static [&'static str] =
        &["message_timestamp", "username", "address", "event", "success", "event_data.method"];
}

impl Queryable for EventCount {
    const COUNT: bool = true;
}

const QUERY: &[Candidate] = &Candidate::always("audit.query");

impl Method for Events {
    type Access = Read;
    type Params = (AuditQuery<Self>,);
    type Reply = Vec<AuditEvent>;
    const CANDIDATES: &'static [Candidate] = QUERY;
    const ROLE: Option<&'static str> = Some("SYSTEM_AUDIT_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        (since(1_790_000_000, Service::Middleware).by("root").failed().newest(50),)
    }
}

impl Method for EventCount {
    type Access = Read;
    type Params = (AuditQuery<Self>,);
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = QUERY;
    const ROLE: Option<&'static str> = Some("SYSTEM_AUDIT_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        (since(1_790_000_000, Service::Smb),)
    }
}
