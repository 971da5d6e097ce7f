//! Jobs: what the NAS goes on with after it has answered.

use serde::Deserialize;
use serde_json::Value;

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::domain::id::RequestId;
use crate::nas::rpc::BEFORE_NUMBER;
use crate::nas::version::Candidate;
use crate::nas::wire::Date;

/// Jobs. An account that is no full administrator sees only those it started itself.
#[derive(Clone, Copy, Debug)]
pub struct Jobs;

/// How many jobs an account sees.
#[derive(Clone, Copy, Debug)]
pub struct JobCount;

/// The latest jobs, newest first.
#[must_use]
pub fn latest(jobs: u32) -> Query<Jobs> {
    Query::all().order("-id").limit(jobs)
}

/// The job of this number, or nothing: numbers begin again at 1 when the middleware restarts.
#[must_use]
pub fn one(id: i64) -> Query<Jobs> {
    Query::all().filter("id", Compare::Is, id)
}

/// A job, without its arguments and its result: both may hold secrets.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// What it does.
    pub method: String,
    /// How it is with it.
    pub state: JobState,
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Whether an abort would be heard.
    #[serde(default)]
    pub abortable: Option<bool>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// When it began.
    #[serde(default)]
    pub time_started: Option<Date>,
    /// When it ended.
    #[serde(default)]
    pub time_finished: Option<Date>,
    /// The ids of the calls that began it; since 25.10.
    #[serde(default)]
    pub message_ids: Vec<Value>,
    /// Who began it, if anybody did.
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// Who began a job. Only the name is selected.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Credentials {
    /// What is known of them.
    #[serde(default)]
    pub data: Option<User>,
}

/// Somebody who began a job.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Their account on the NAS.
    #[serde(default)]
    pub username: Option<String>,
}

impl Job {
    /// Whether a call for this request began it. A session names its changes so that this can be told.
    #[must_use]
    pub fn is_for(&self, request: RequestId) -> bool {
        let request = request.to_string();
        let names = self.message_ids.iter().filter_map(|id| id.as_str()?.split_once(BEFORE_NUMBER));
        names.into_iter().any(|(name, _)| name == request)
    }

    /// The account that began it; the NAS begins some by itself.
    #[must_use]
    pub fn begun_by(&self) -> Option<&str> {
        self.credentials.as_ref()?.data.as_ref()?.username.as_deref()
    }
}

/// How it is with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// It has not begun.
    Waiting,
    /// It is at it.
    Running,
    /// It is done.
    Success,
    /// It could not be done.
    Failed,
    /// Somebody ended it.
    Aborted,
    /// Something a later generation brought.
    #[serde(other)]
    Other,
}

impl JobState {
    /// Whether it is at it, or will be.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Progress {
    /// Of a hundred.
    #[serde(default)]
    pub percent: Option<f64>,
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
}

impl Queryable for Jobs {
    const SELECT: &'static [&'static str] = &[
        "id",
        "method",
        "state",
        "description",
        "progress",
        "abortable",
        "error",
        "time_started",
        "time_finished",
        "message_ids",
        "credentials.data.username",
    ];
}

impl Queryable for JobCount {
    const COUNT: bool = true;
}

impl Method for JobCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("core.get_jobs");
    const ROLE: Option<&'static str> = None;

    fn example() -> Self::Params {
        Query::all()
    }
}

impl Method for Jobs {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Job>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("core.get_jobs");
    const ROLE: Option<&'static str> = None;

    fn example() -> Self::Params {
        latest(50)
    }
}

/// Tells a job to stop, and does not wait until it has. The NAS tells those too that take no notice. An account that is no
/// full administrator may do that to the jobs it began itself.
#[derive(Clone, Copy, Debug)]
pub struct Abort;

impl Method for Abort {
    type Access = Write;
    type Params = (i64,);
    type Reply = ();
    const CANDIDATES: &'static [Candidate] = &Candidate::always("core.job_abort");
    const ROLE: Option<&'static str> = None;

    fn example() -> Self::Params {
        (101,)
    }
}
