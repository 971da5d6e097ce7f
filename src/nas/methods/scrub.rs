//! When pools are scrubbed. What a scrub does stands with its [`pool`](super::pool).

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Query, Queryable};
use super::schedule::{Cron, Schedule};
use crate::domain::access::{Read, Write};
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
    /// Its number.
    pub id: i64,
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
    const SELECT: &'static [&'static str] = &["id", "pool_name", "enabled", "threshold", "schedule"];
}

impl Method for Schedules {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<ScrubTask>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.scrub.query");
    const ROLE: Option<&'static str> = Some("POOL_SCRUB_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        all()
    }
}

/// Makes a schedule for a pool that has none.
#[derive(Clone, Copy, Debug)]
pub struct Create;

/// Changes a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Update;

/// How a schedule is to be. What is left out stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wanted {
    /// The number of the pool; for one that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<i64>,
    /// Days that must lie between two scrubs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    /// When it looks whether it is time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Whether it is switched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Wanted {
    fn example(pool: Option<i64>) -> Self {
        let schedule = "0 3 1 * *".parse::<Cron>().ok().map(Cron::schedule);
        Self { pool, threshold: Some(20), schedule, enabled: Some(true) }
    }
}

impl Method for Create {
    type Access = Write;
    type Params = (Wanted,);
    type Reply = IgnoredAny;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.scrub.create");
    const ROLE: Option<&'static str> = Some("POOL_SCRUB_WRITE");

    fn example() -> Self::Params {
        (Wanted::example(Some(1)),)
    }
}

impl Method for Update {
    type Access = Write;
    type Params = (i64, Wanted);
    type Reply = IgnoredAny;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.scrub.update");
    const ROLE: Option<&'static str> = Some("POOL_SCRUB_WRITE");

    fn example() -> Self::Params {
        (1, Wanted::example(None))
    }
}
