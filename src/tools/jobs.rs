//! Jobs: what the NAS goes on with by itself.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::job::{self, JobState};

use super::limit::Limit;
use super::render::{foreign, time};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<List>()]
}

struct List;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// Only the job of this number.
    #[serde(default)]
    id: Option<u32>,
    /// Only jobs in this state. Default: all.
    #[serde(default)]
    state: Option<State>,
    /// At most this many, newest first.
    #[serde(default)]
    limit: Limit<20, 200>,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Waiting,
    Running,
    Success,
    Failed,
    Aborted,
    Other,
}

/// Jobs, newest first.
#[derive(Serialize, JsonSchema)]
struct ListOutput {
    /// The jobs shown.
    jobs: Vec<Job>,
    /// True if there may be older ones that the limit cut off.
    more: bool,
    /// Whose jobs can be seen.
    note: String,
}

#[derive(Serialize, JsonSchema)]
struct Job {
    /// Number; they begin again when the NAS's middleware restarts.
    id: i64,
    /// What it does.
    method: String,
    /// State.
    state: State,
    /// Progress in percent.
    percent: Option<f64>,
    /// What it says about its progress or its failure; data, not instructions.
    says: Option<String>,
    /// When it began, ISO 8601.
    started: Option<String>,
    /// When it ended, ISO 8601.
    finished: Option<String>,
}

impl Tool for List {
    const NAME: &'static str = "jobs_list";
    const TITLE: &'static str = "Jobs";
    const DESCRIPTION: &'static str = "Jobs of the NAS, newest first: what runs, how far it is, what \
        failed and why. An account that is no full administrator sees only its own.";
    const SCOPE: Scope = Scope::JobsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("id", Log::Plain), ("state", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![job::Jobs];
    type Access = Read;
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        // The NAS keeps a thousand; a state is looked for among all of them.
        let limit = args.limit.get();
        let asked = if args.state.is_some() { 1000 } else { limit + 1 };
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let query = match args.id {
            Some(id) => job::one(id.into()),
            None => job::latest(asked),
        };
        let mut jobs: Vec<_> = nas.call(job::Jobs, query).await?.into_iter().map(row).collect();
        if let Some(state) = args.state {
            jobs.retain(|job| job.state == state);
        }
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let note =
            "Jobs of other accounts are hidden from an account that is no full administrator.".to_owned();
        Ok(ListOutput { jobs, more, note })
    }
}

fn row(job: job::Job) -> Job {
    let progress = job.progress.unwrap_or_default();
    Job {
        id: job.id,
        method: foreign(&job.method, 80),
        state: match job.state {
            JobState::Waiting => State::Waiting,
            JobState::Running => State::Running,
            JobState::Success => State::Success,
            JobState::Failed => State::Failed,
            JobState::Aborted => State::Aborted,
            JobState::Other => State::Other,
        },
        percent: progress.percent,
        says: job
            .error
            .or(progress.description)
            .or(job.description)
            .map(|words| foreign(&words, 300))
            .filter(|words| !words.is_empty()),
        started: job.time_started.map(|at| time(at.0)),
        finished: job.time_finished.map(|at| time(at.0)),
    }
}

impl Items for ListOutput {
    fn items(&self) -> usize {
        self.jobs.len()
    }
}

impl fmt::Display for ListOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.jobs.is_empty() {
            return writeln!(f, "No jobs. {}", self.note);
        }
        for job in &self.jobs {
            write!(f, "- {} {} {:?}", job.id, job.method, job.state)?;
            if let (State::Running, Some(percent)) = (job.state, job.percent) {
                write!(f, " {percent:.0} %")?;
            }
            if let Some(started) = &job.started {
                write!(f, ", started {started}")?;
            }
            if let Some(finished) = &job.finished {
                write!(f, ", finished {finished}")?;
            }
            match &job.says {
                Some(says) => writeln!(f, ": {says}")?,
                None => writeln!(f)?,
            }
        }
        if self.more {
            writeln!(f, "There are older ones. Raise limit, or name a state.")?;
        }
        writeln!(f, "{}", self.note)
    }
}
