//! Jobs: what the NAS goes on with by itself.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::job::{self, JobState};
use crate::nas::methods::query::Query;

use super::limit::Limit;
use super::render::{fenced, foreign, shown_of, time};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<List>()]
}

const HIDDEN: &str = "Jobs of other accounts are hidden from an account that is no full administrator.";

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
    /// How many there are in all.
    total: u64,
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
    const NEEDS: &'static [Need] = needs![job::Jobs, job::JobCount];
    type Access = Read;
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        // The NAS keeps a thousand; a state is looked for among all of them.
        let limit = args.limit.get();
        let asked = if args.state.is_some() { 1000 } else { u32::try_from(limit).unwrap_or(u32::MAX) };
        let query = match args.id {
            Some(id) => job::one(id.into()),
            None => job::latest(asked),
        };
        let mut jobs: Vec<_> = nas.call(job::Jobs, query).await?.into_iter().map(row).collect();
        if let (Some(id), []) = (args.id, &jobs[..]) {
            return Err(ToolError::Inapplicable {
                what: format!("There is no job {id} that this account sees."),
                hint: format!("Numbers begin again when the NAS's middleware restarts. {HIDDEN}"),
            });
        }
        if let Some(state) = args.state {
            jobs.retain(|job| job.state == state);
        }
        let total = match (args.id, args.state) {
            (None, None) => nas.call(job::JobCount, Query::all()).await?,
            _ => u64::try_from(jobs.len()).unwrap_or(u64::MAX),
        };
        jobs.truncate(limit);
        Ok(ListOutput { jobs, total, note: HIDDEN.to_owned() })
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

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, method, state, percent, says, started, finished } = self;
        write!(f, "- {id} {method} {state:?}")?;
        if let (State::Running, Some(percent)) = (state, percent) {
            write!(f, " {percent:.0} %")?;
        }
        started.iter().try_for_each(|started| write!(f, ", started {started}"))?;
        finished.iter().try_for_each(|finished| write!(f, ", finished {finished}"))?;
        says.iter().try_for_each(|says| write!(f, ": {says}"))
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
        let lines: Vec<_> = self.jobs.iter().map(Job::to_string).collect();
        f.write_str(&fenced("jobs", &lines))?;
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        f.write_str(&shown_of(self.jobs.len(), total, "Raise limit, or name a state."))?;
        writeln!(f, "{}", self.note)
    }
}
