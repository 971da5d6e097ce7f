//! Jobs: what the NAS goes on with by itself.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::access::{Read, Write};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::job::{self, JobState};
use crate::nas::methods::query::{Compare, Query, Queryable};
use crate::nas::{By, Session};

use super::limit::{Limit, first};
use super::render::{fenced, foreign, shown_of, time};
use super::{Change, Done, Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<List>(), Entry::change::<Abort>()]
}

const HIDDEN: &str = "Jobs of other accounts are hidden from an account that is no full administrator.";
// jobs_list

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
    total: usize,
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
    const DESCRIPTION: &'static str =
        "Jobs of the NAS, newest first: what runs, how far, what failed and why.";
    const SCOPE: Scope = Scope::JobsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("id", Log::Plain), ("state", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![job::Jobs, job::JobCount];
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        let ListArgs { id, state, limit } = args;
        let Some(id) = id else {
            let (those, all) = (in_state(state).order("-id"), in_state(state));
            let (jobs, total) = first(nas, (job::Jobs, those), (job::JobCount, all), limit.get()).await?;
            return Ok(ListOutput::of(jobs, total));
        };
        let mut jobs = nas.call(job::Jobs, job::one(id.into())).await?;
        if jobs.is_empty() {
            return Err(ToolError::Inapplicable {
                what: format!("There is no job {id} that this account sees."),
                hint: format!("Numbers begin again when the NAS's middleware restarts. {HIDDEN}"),
            });
        }
        jobs.retain(|job| state.is_none_or(|state| state == State::from(job.state)));
        let total = jobs.len();
        Ok(ListOutput::of(jobs, total))
    }
}

impl ListOutput {
    fn of(jobs: Vec<job::Job>, total: usize) -> Self {
        Self { jobs: jobs.into_iter().map(row).collect(), total, note: HIDDEN.to_owned() }
    }
}

/// Jobs in this state, or all.
fn in_state<M: Queryable>(state: Option<State>) -> Query<M> {
    let is = |word: &str| Query::all().filter("state", Compare::Is, word);
    match state {
        None => Query::all(),
        Some(State::Waiting) => is("WAITING"),
        Some(State::Running) => is("RUNNING"),
        Some(State::Success) => is("SUCCESS"),
        Some(State::Failed) => is("FAILED"),
        Some(State::Aborted) => is("ABORTED"),
        Some(State::Other) => ["WAITING", "RUNNING", "SUCCESS", "FAILED", "ABORTED"]
            .into_iter()
            .fold(Query::all(), |query, word| query.filter("state", Compare::IsNot, word)),
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Waiting => Self::Waiting,
            JobState::Running => Self::Running,
            JobState::Success => Self::Success,
            JobState::Failed => Self::Failed,
            JobState::Aborted => Self::Aborted,
            JobState::Other => Self::Other,
        }
    }
}

fn row(job: job::Job) -> Job {
    let progress = job.progress.unwrap_or_default();
    Job {
        id: job.id,
        method: foreign(&job.method, 80),
        state: job.state.into(),
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
        f.write_str(&shown_of(self.jobs.len(), self.total, "Raise limit, or name a state."))?;
        writeln!(f, "{}", self.note)
    }
}

// job_abort

struct Abort;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AbortArgs {
    /// Its number.
    id: u32,
}

/// How often one looks whether a job that was told to stop has stopped. The NAS tells it, and does not wait.
const LOOKS_AFTERWARDS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(3),
    Duration::from_secs(5),
];

/// What is there once a job of this kind has stopped in the middle, and what takes that back.
fn half_done(method: &str) -> (&'static str, Undo) {
    let again = || Undo::Words("run the task again: what is there already is not copied twice".to_owned());
    let gone = || Undo::Impossible("what it did so far stays, and nothing goes on from there".to_owned());
    match method {
        "cloudsync.sync" | "cloudsync.sync_onetime" => (
            "What it copied, wrote over or deleted so far stays so, and the rest is as it was: the two sides do not agree.",
            again(),
        ),
        "cloud_backup.sync" => (
            "This run leaves no backup to restore from. What it sent stays where it was sent, and takes room there.",
            again(),
        ),
        "disk.wipe" => ("A part of the disk is written over, and nothing on it can be relied on.", gone()),
        app if app.starts_with("app.") => {
            ("The app is left between what it was and what it was to become, and may not run.", gone())
        }
        _ => ("What it did so far stays so, and the rest is not done.", gone()),
    }
}

impl Change for Abort {
    const NAME: &'static str = "job_abort";
    const TITLE: &'static str = "Break off a job";
    const DESCRIPTION: &'static str =
        "Breaks off a job that heeds it, such as a cloud sync. The plan says what is left half done.";
    const SCOPE: Scope = Scope::JobsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![job::Jobs];
    const NEEDS: &'static [Need] = needs![job::Abort];
    // Only the account that began a job sees it, and only that one can break it off.
    const LOOKS_BY: By = By::Writer;
    const LOG: &'static [(&'static str, Log)] = &[("id", Log::Plain)];
    type Args = AbortArgs;

    fn target(args: &AbortArgs) -> String {
        format!("job {}", args.id)
    }

    async fn plan(nas: &Session<'_, Read>, args: &AbortArgs) -> Result<Draft, ToolError> {
        let id = args.id;
        let Some(found) = nas.call(job::Jobs, job::one(id.into())).await?.pop() else {
            return Err(ToolError::inapplicable(
                format!("The account for changes sees no job {id}."),
                "It sees those that were begun through here. Any other is broken off by whoever began it, at the NAS.",
            ));
        };
        let method = foreign(&found.method, 80);
        if !found.state.goes_on() {
            return Err(ToolError::inapplicable(
                format!("The job {id} ({method}) is over."),
                "jobs_list tells how it ended.",
            ));
        }
        // The NAS would tell it all the same, and say that it did.
        if found.abortable != Some(true) {
            let hint = match found.method.as_str() {
                "pool.scrub.scrub" => "scrub_stop stops a scrub.",
                _ => "plan_wait or jobs_list tells how far it is.",
            };
            let what =
                format!("The job {id} ({method}) takes no notice of being broken off, and would go on.");
            return Err(ToolError::inapplicable(what, hint));
        }
        let (left, undo) = half_done(&found.method);
        let since = found.time_started.map(|at| time(at.0));
        let by = found.begun_by().map(|user| foreign(user, 60));
        let mut draft = Draft::new(
            format!("Break off the job {id}, {method}."),
            Self::RISK,
            undo,
            Self::target(args),
            Fingerprint::of(&json!([found.id, found.method, since, by])),
        );
        let progress = found.progress.unwrap_or_default();
        let far = progress.percent.map_or_else(String::new, |percent| format!(", {percent:.0} % done"));
        let now = if found.state == JobState::Waiting { "waiting" } else { "running" };
        draft.changes.push(Alteration::new(
            Self::target(args),
            Some(format!("{now}{far}")),
            Some("broken off".to_owned()),
        ));
        let says = found.description.or(progress.description).map(|words| foreign(&words, 200));
        let says =
            says.filter(|words| !words.is_empty()).map_or_else(String::new, |words| format!(": {words}"));
        let begun = match (by, since) {
            (Some(by), Some(at)) => format!(", begun as {by} at {at}"),
            (Some(by), None) => format!(", begun as {by}"),
            (None, Some(at)) => format!(", begun by the NAS itself at {at}"),
            (None, None) => String::new(),
        };
        draft.stops.push(format!("{method}{says}{begun}."));
        draft.warnings.push(left.to_owned());
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: AbortArgs) -> Result<Done, ToolError> {
        let id = i64::from(args.id);
        nas.call(job::Abort, (id,)).await?;
        let mut seen = None;
        for pause in LOOKS_AFTERWARDS {
            tokio::time::sleep(pause).await;
            // It was told, whatever becomes of this look.
            seen = nas.call(job::Jobs, job::one(id)).await.ok().and_then(|mut jobs| jobs.pop());
            if seen.as_ref().is_none_or(|job| !job.state.goes_on()) {
                break;
            }
        }
        Ok(Done::now(match seen.map(|job| job.state) {
            Some(JobState::Aborted | JobState::Failed) => format!("The job {id} is broken off."),
            Some(JobState::Success) => format!("The job {id} came to its end before it could be broken off."),
            Some(_) => {
                format!(
                    "The job {id} was told to stop, and has not stopped after 10 s. jobs_list tells when it has."
                )
            }
            None => format!("The job {id} was told to stop; whether it has could not be seen."),
        }))
    }
}
