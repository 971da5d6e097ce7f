//! When pools are scrubbed. What a scrub does stands with its [`pool`](super::pool).

use serde::Deserialize;

use super::Method;
use super::query::{Query, Queryable};
use super::schedule::Schedule;
use crate::domain::access::Read;
use crate::nas::version::Candidate;

/// The scrub schedules.
#[derive(Clone, Copy, Debug)]
pub struct Schedules;

/// Every schedule.
#[must_use]
pub fn all() -> Query<Schedules> {
    Query::all().order("pool_name")
}

/// When a pool is scrubbed.
#[derive(Clone, Debug, Deserialize)]
pub struct ScrubTask {
    /// The pool.
    pub pool_name: String,
    /// It is not switched off.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Days that must lie between two scrubs.
    #[serde(default)]
    pub threshold: Option<u32>,
    /// When it looks whether it is time.
    #[serde(default)]
    pub schedule: Option<Schedule>,
}

impl Queryable for Schedules {
    const SELECT: &'static [&'static str] = &["pool_name", "enabled", "threshold", "schedule"];
}

impl Method for Schedules {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<ScrubTask>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.scrub.query");
    const ROLE: Option<&'static str> = Some("POOL_SCRUB_READ");

    fn example() -> Self::Params {
        all()
    }
}
