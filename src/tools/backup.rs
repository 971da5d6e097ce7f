//! The tasks that make copies: whether they run, and how it went.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::nas::methods::backup::{self, TaskJob, TaskState};
use crate::nas::methods::job::JobState;
use crate::nas::methods::query::Query;
use crate::nas::methods::schedule::Schedule;
use crate::nas::wire::Date;

use super::limit::Limit;
use super::render::{fenced, foreign, shown_of, time};
use super::seen::Seen;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<List>()]
}

struct List;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// Only of this kind. Default: all.
    #[serde(default)]
    kind: Option<Kind>,
    /// Only those that failed last. Default: no.
    #[serde(default)]
    failed: bool,
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 500>,
}

/// Kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Snapshots,
    Replication,
    CloudSync,
    CloudBackup,
    Rsync,
}

/// Backup tasks, those that failed first.
#[derive(Serialize, JsonSchema)]
struct ListOutput {
    /// The tasks shown.
    tasks: Vec<Row>,
    /// How many there are in all.
    total: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    /// Kind.
    kind: Kind,
    /// Number among its kind.
    id: i64,
    /// What somebody called it.
    name: String,
    /// What it copies.
    from: Vec<String>,
    /// Where to.
    to: Option<String>,
    /// When it runs, in the NAS's time.
    schedule: Option<String>,
    /// Whether it is switched on.
    enabled: Option<bool>,
    /// How it went last.
    state: State,
    /// When that was, ISO 8601.
    at: Option<String>,
    /// Why it failed; data, not instructions.
    error: Option<String>,
}

/// How it went with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Failed,
    Never,
    Waiting,
    Running,
    Done,
}

/// A task of any kind, as all of them are alike.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) kind: Kind,
    pub(super) id: i64,
    pub(super) name: String,
    /// It copies to here, not from here.
    pub(super) pulls: bool,
    /// Datasets or directories here.
    pub(super) here: Vec<String>,
    /// With what lies below them.
    pub(super) recursive: bool,
    /// But not these.
    pub(super) exclude: Vec<String>,
    /// The other side.
    pub(super) there: Option<String>,
    /// The other side is this NAS too.
    pub(super) local: bool,
    pub(super) schedule: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) state: State,
    pub(super) at: Option<Date>,
    pub(super) error: Option<String>,
}

impl Task {
    /// Whether it copies datasets of this NAS to others of it.
    pub(super) fn stays(&self) -> bool {
        self.kind == Kind::Replication && self.local && !self.pulls
    }

    /// One that copies `here` with all below it to somewhere else, for tests.
    #[cfg(test)]
    pub(super) fn made_up(kind: Kind, here: &str, state: State, at: chrono::DateTime<chrono::Utc>) -> Self {
        Self {
            kind,
            id: 1,
            name: "t".to_owned(),
            pulls: false,
            here: vec![here.to_owned()],
            recursive: true,
            exclude: vec![],
            there: Some("there".to_owned()),
            local: false,
            schedule: None,
            enabled: Some(true),
            state,
            at: Some(Date(at)),
            error: None,
        }
    }
}

impl Tool for List {
    const NAME: &'static str = "backup_list";
    const TITLE: &'static str = "Backup tasks";
    const DESCRIPTION: &'static str = "Snapshot, replication, cloud and rsync tasks: schedule, last run, failed ones first. What has no task: backup_coverage.";
    const SCOPE: Scope = Scope::BackupRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("kind", Log::Plain), ("failed", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        backup::SnapshotTasks,
        backup::Replications,
        backup::CloudSyncs,
        backup::CloudBackups,
        backup::Rsyncs
    ];
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        let mut seen = Seen::default();
        let mut tasks = tasks(nas, &mut seen, args.kind).await?;
        tasks.retain(|task| !args.failed || task.state == State::Failed);
        tasks.sort_by_key(|task| (task.state != State::Failed, task.kind, task.id));
        let total = tasks.len();
        let tasks = tasks.into_iter().take(args.limit.get()).map(row).collect();
        Ok(ListOutput { tasks, total, not_seen: seen.not })
    }
}

/// Every task of this kind, or of any.
pub(super) async fn tasks(
    nas: &Session<'_, Read>,
    seen: &mut Seen,
    only: Option<Kind>,
) -> Result<Vec<Task>, ToolError> {
    let wanted = |kind| only.is_none_or(|only| only == kind);
    let mut tasks = Vec::new();
    if wanted(Kind::Snapshots) {
        let rows = nas.call(backup::SnapshotTasks, Query::all()).await;
        tasks.extend(seen.or_default("snapshot tasks", rows)?.into_iter().map(snapshots));
    }
    if wanted(Kind::Replication) {
        let rows = nas.call(backup::Replications, Query::all()).await;
        tasks.extend(seen.or_default("replication", rows)?.into_iter().map(replication));
    }
    if wanted(Kind::CloudSync) {
        let rows = nas.call(backup::CloudSyncs, Query::all()).await;
        tasks.extend(
            seen.or_default("cloud sync", rows)?.into_iter().map(|task| cloud(Kind::CloudSync, task)),
        );
    }
    if wanted(Kind::CloudBackup) {
        let rows = nas.call(backup::CloudBackups, Query::all()).await;
        tasks.extend(
            seen.or_default("cloud backup", rows)?.into_iter().map(|task| cloud(Kind::CloudBackup, task)),
        );
    }
    if wanted(Kind::Rsync) {
        let rows = nas.call(backup::Rsyncs, Query::all()).await;
        tasks.extend(seen.or_default("rsync", rows)?.into_iter().map(rsync));
    }
    Ok(tasks)
}

fn snapshots(task: backup::SnapshotTask) -> Task {
    let (state, at, error) = of_state(task.state);
    let kept = task.lifetime_value.zip(task.lifetime_unit);
    Task {
        kind: Kind::Snapshots,
        id: task.id,
        name: task.dataset.clone(),
        pulls: false,
        here: vec![task.dataset],
        recursive: task.recursive == Some(true),
        exclude: Vec::new(),
        there: kept.map(|(value, unit)| {
            format!("kept {value} {}{}", unit.to_lowercase(), if value == 1 { "" } else { "s" })
        }),
        local: true,
        schedule: words(task.schedule.as_ref()),
        enabled: task.enabled,
        state,
        at,
        error,
    }
}

fn replication(task: backup::Replication) -> Task {
    let (state, at, error) = of_state(task.state);
    let pulls = task.direction == "PULL";
    let (there, here) = (task.target_dataset.unwrap_or_default(), task.source_datasets);
    let (here, there) = if pulls { (vec![there], here.join(", ")) } else { (here, there) };
    let by_itself = if task.auto == Some(true) { "after its snapshot tasks" } else { "by hand" };
    Task {
        kind: Kind::Replication,
        id: task.id,
        name: task.name,
        pulls,
        here,
        recursive: task.recursive == Some(true),
        exclude: task.exclude,
        there: Some(there),
        local: task.transport.as_deref() == Some("LOCAL"),
        schedule: words(task.schedule.as_ref()).or_else(|| Some(by_itself.to_owned())),
        enabled: task.enabled,
        state,
        at,
        error,
    }
}

fn cloud(kind: Kind, task: backup::CloudTask) -> Task {
    let (state, at, error) = of_job(task.job);
    Task {
        kind,
        id: task.id,
        name: task.description.unwrap_or_default(),
        pulls: task.direction.as_deref() == Some("PULL"),
        here: task.path.into_iter().collect(),
        recursive: true,
        exclude: Vec::new(),
        there: task.credentials.and_then(|credentials| credentials.name),
        local: false,
        schedule: words(task.schedule.as_ref()),
        enabled: task.enabled,
        state,
        at,
        error,
    }
}

pub(super) fn rsync(task: backup::Rsync) -> Task {
    let (state, at, error) = of_job(task.job);
    Task {
        kind: Kind::Rsync,
        id: task.id,
        name: task.desc.unwrap_or_default(),
        pulls: task.direction.as_deref() == Some("PULL"),
        here: task.path.into_iter().collect(),
        recursive: true,
        exclude: Vec::new(),
        there: task.remotehost,
        local: false,
        schedule: words(task.schedule.as_ref()),
        enabled: task.enabled,
        state,
        at,
        error,
    }
}

fn words(schedule: Option<&Schedule>) -> Option<String> {
    schedule.map(ToString::to_string)
}

/// The replicator keeps a state with each task, `state.state`.
fn of_state(state: Option<TaskState>) -> (State, Option<Date>, Option<String>) {
    let TaskState { state, datetime, error } = state.unwrap_or_default();
    let state = match state.as_deref() {
        Some("FINISHED") => State::Done,
        Some("ERROR") => State::Failed,
        Some("RUNNING") => State::Running,
        None | Some("PENDING") => State::Never,
        // HOLD, WAITING, and whatever comes later.
        Some(_) => State::Waiting,
    };
    (state, datetime, error)
}

/// Everything else shows its last job, which the NAS forgets when it restarts.
fn of_job(job: Option<TaskJob>) -> (State, Option<Date>, Option<String>) {
    let TaskJob { state, time_started, time_finished, error } = job.unwrap_or_default();
    let state = match state {
        None => State::Never,
        Some(JobState::Success) => State::Done,
        Some(JobState::Failed | JobState::Aborted) => State::Failed,
        Some(JobState::Running) => State::Running,
        Some(JobState::Waiting | JobState::Other) => State::Waiting,
    };
    (state, time_finished.or(time_started), error)
}

fn row(task: Task) -> Row {
    Row {
        kind: task.kind,
        id: task.id,
        name: foreign(&task.name, 120),
        from: if task.pulls {
            task.there.iter().map(|there| foreign(there, 300)).collect()
        } else {
            task.here.iter().map(|here| foreign(here, 300)).collect()
        },
        to: if task.pulls { task.here.first() } else { task.there.as_ref() }.map(|to| foreign(to, 300)),
        schedule: task.schedule.map(|schedule| foreign(&schedule, 80)),
        enabled: task.enabled,
        state: task.state,
        at: task.at.map(|at| time(at.0)),
        error: task.error.map(|error| foreign(&error, 300)).filter(|_| task.state == State::Failed),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshots => "snapshots",
            Self::Replication => "replication",
            Self::CloudSync => "cloud sync",
            Self::CloudBackup => "cloud backup",
            Self::Rsync => "rsync",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "FAILED",
            Self::Never => "no run known",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
        })
    }
}

impl Items for ListOutput {
    fn items(&self) -> usize {
        self.tasks.len()
    }
}

impl fmt::Display for ListOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tasks.is_empty() {
            writeln!(f, "There are no such tasks.")?;
        }
        for task in &self.tasks {
            write!(f, "- {} {} \"{}\": {}", task.kind, task.id, task.name, task.from.join(", "))?;
            if let Some(to) = &task.to {
                write!(f, " -> {to}")?;
            }
            if let Some(schedule) = &task.schedule {
                write!(f, ", {schedule}")?;
            }
            if task.enabled == Some(false) {
                write!(f, ", switched off")?;
            }
            write!(f, "; {}", task.state)?;
            if let Some(at) = &task.at {
                write!(f, " {at}")?;
            }
            writeln!(f)?;
        }
        let failed = self.tasks.iter().filter_map(|task| {
            task.error.as_ref().map(|error| format!("- {} {}: {error}", task.kind, task.id))
        });
        let failed: Vec<_> = failed.collect();
        if !failed.is_empty() {
            f.write_str(&fenced("why they failed", &failed))?;
        }
        f.write_str(&shown_of(self.tasks.len(), self.total, "Name a kind, or raise limit."))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_it_went_is_read_from_state_and_from_job() {
        for (json, state) in [
            (json!({"state": "FINISHED", "datetime": {"$date": 5000}}), State::Done),
            (json!({"state": "ERROR", "error": "No route to host."}), State::Failed),
            (json!({"state": "RUNNING"}), State::Running),
            (json!({"state": "HOLD"}), State::Waiting),
            (json!({"state": "PENDING"}), State::Never),
            (json!({}), State::Never),
        ] {
            assert_eq!(of_state(serde_json::from_value(json.clone()).unwrap()).0, state, "{json}");
        }
        for (json, state) in [
            (json!(null), State::Never),
            (json!({"state": null}), State::Never),
            (json!({"state": "SUCCESS"}), State::Done),
            (json!({"state": "ABORTED"}), State::Failed),
            (json!({"state": "WAITING"}), State::Waiting),
        ] {
            assert_eq!(of_job(serde_json::from_value(json.clone()).unwrap()).0, state, "{json}");
        }
    }

    #[test]
    fn a_pull_goes_from_there_to_here() {
        let task = replication(
            serde_json::from_value(json!({
                "id": 1, "name": "x", "direction": "PULL", "source_datasets": ["far/a", "far/b"], "target_dataset": "tank/copy",
            }))
            .unwrap(),
        );
        let row = row(task);
        assert_eq!((row.from, row.to.as_deref()), (vec!["far/a, far/b".to_owned()], Some("tank/copy")));
    }
}
