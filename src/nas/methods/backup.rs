//! Tasks that make copies: snapshots, replication, cloud, rsync.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Method;
use super::job::JobState;
use super::query::{Compare, Query, Queryable};
use super::schedule::Schedule;
use crate::domain::access::{Read, Write};
use crate::nas::version::Candidate;
use crate::nas::wire::{Date, null_is_empty};

/// The replication tasks.
#[derive(Clone, Copy, Debug)]
pub struct Replications;

/// The tasks that take snapshots.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotTasks;

/// The tasks that copy to or from a cloud.
#[derive(Clone, Copy, Debug)]
pub struct CloudSyncs;

/// The tasks that back up to `TrueCloud`.
#[derive(Clone, Copy, Debug)]
pub struct CloudBackups;

/// The rsync tasks.
#[derive(Clone, Copy, Debug)]
pub struct Rsyncs;

/// The cloud sync of this number, if the NAS runs a script of its owner before it, or after it. The script itself stays where it
/// is.
#[must_use]
pub fn with_script(id: i64, which: Script) -> Query<CloudSyncs> {
    let field = match which {
        Script::Before => "pre_script",
        Script::After => "post_script",
    };
    Query::all().filter("id", Compare::Is, id).filter(field, Compare::IsNot, "")
}

/// When the NAS runs a script of a cloud sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Before it copies.
    Before,
    /// Once it has.
    After,
}

/// How it went with a task of the NAS's replicator, which is no job.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TaskState {
    /// `PENDING`, `RUNNING`, `FINISHED`, `ERROR`, `HOLD` …
    #[serde(default)]
    pub state: Option<String>,
    /// Since when.
    #[serde(default)]
    pub datetime: Option<Date>,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
}

/// The last job of a task, without its arguments, which hold secrets.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TaskJob {
    /// How it is with it.
    #[serde(default)]
    pub state: Option<JobState>,
    /// When it began.
    #[serde(default)]
    pub time_started: Option<Date>,
    /// When it ended.
    #[serde(default)]
    pub time_finished: Option<Date>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// A replication task.
#[derive(Clone, Debug, Deserialize)]
pub struct Replication {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `PUSH`: from here; `PULL`: to here.
    pub direction: String,
    /// `SSH`, `SSH+NETCAT`, `LOCAL`.
    #[serde(default)]
    pub transport: Option<String>,
    /// What opens the other machine; absent where there is none.
    #[serde(default)]
    pub ssh_credentials: Option<Credentials>,
    /// It is not switched off.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// It runs by itself.
    #[serde(default)]
    pub auto: Option<bool>,
    /// What it copies.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub source_datasets: Vec<String>,
    /// Where to.
    #[serde(default)]
    pub target_dataset: Option<String>,
    /// With everything below.
    #[serde(default)]
    pub recursive: Option<bool>,
    /// But not these.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub exclude: Vec<String>,
    /// `SOURCE`, `CUSTOM`: it deletes snapshots there; `NONE`: it does not.
    #[serde(default)]
    pub retention_policy: Option<String>,
    /// It may delete all there and send it anew.
    #[serde(default)]
    pub allow_from_scratch: Option<bool>,
    /// It makes the target the same as the source, and destroys there what the source has not.
    #[serde(default)]
    pub replicate: Option<bool>,
    /// `SET`: it makes the target read-only; `REQUIRE`: it fails where it is not; `IGNORE`.
    #[serde(default)]
    pub readonly: Option<String>,
    /// The snapshot tasks whose snapshots it sends.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub periodic_snapshot_tasks: Vec<Numbered>,
    /// What else decides over what it sends and deletes: how names are read, how long snapshots are kept there, properties.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
    /// When; absent where it follows a snapshot task.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// How it went.
    #[serde(default)]
    pub state: Option<TaskState>,
}

/// Something that is meant by its number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number.
    pub id: i64,
}

/// A task that takes snapshots.
#[derive(Clone, Debug, Deserialize)]
pub struct SnapshotTask {
    /// Its number.
    pub id: i64,
    /// What it takes them of.
    pub dataset: String,
    /// And of everything below.
    #[serde(default)]
    pub recursive: Option<bool>,
    /// It is not switched off.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// When.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// How many `lifetime_unit`s they are kept.
    #[serde(default)]
    pub lifetime_value: Option<u32>,
    /// `HOUR`, `DAY`, `WEEK`, `MONTH`, `YEAR`.
    #[serde(default)]
    pub lifetime_unit: Option<String>,
    /// How it went.
    #[serde(default)]
    pub state: Option<TaskState>,
    /// What else decides over what it takes and deletes.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A task that copies to a cloud, or back, or backs up to one.
#[derive(Clone, Debug, Deserialize)]
pub struct CloudTask {
    /// Its number.
    pub id: i64,
    /// What somebody calls it.
    #[serde(default)]
    pub description: Option<String>,
    /// `PUSH`: from here; `PULL`: to here. Absent for a backup, which is always from here.
    #[serde(default)]
    pub direction: Option<String>,
    /// `COPY`, `SYNC`, `MOVE`; absent for a backup.
    #[serde(default)]
    pub transfer_mode: Option<String>,
    /// The directory here.
    #[serde(default)]
    pub path: Option<String>,
    /// It is not switched off.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// When.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Which cloud.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Where in it. Of a backup it is not asked for.
    #[serde(default)]
    pub attributes: Option<Place>,
    /// How it went.
    #[serde(default)]
    pub job: Option<TaskJob>,
    /// What else decides over what it copies and deletes. Of a backup nothing. Scripts and arguments may hold secrets, and are not
    /// asked for.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A place in a cloud.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Place {
    /// Which bucket, where the cloud has such.
    #[serde(default)]
    pub bucket: Option<String>,
    /// The folder in it.
    #[serde(default)]
    pub folder: Option<String>,
}

/// What stands for a cloud or another machine: its name, not what opens it.
#[derive(Clone, Debug, Deserialize)]
pub struct Credentials {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
}

/// An rsync task.
#[derive(Clone, Debug, Deserialize)]
pub struct Rsync {
    /// Its number.
    pub id: i64,
    /// What somebody calls it.
    #[serde(default)]
    pub desc: Option<String>,
    /// `PUSH`: from here; `PULL`: to here.
    #[serde(default)]
    pub direction: Option<String>,
    /// The directory here.
    #[serde(default)]
    pub path: Option<String>,
    /// The other machine.
    #[serde(default)]
    pub remotehost: Option<String>,
    /// It is not switched off.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// When.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// How it went.
    #[serde(default)]
    pub job: Option<TaskJob>,
}

macro_rules! method {
    ($item:ident, $reply:ty, $name:literal, $role:literal, [$($field:literal),*]) => {
        impl Queryable for $item {
            const SELECT: &'static [&'static str] = &[$($field),*];
        }

        impl Method for $item {
            type Access = Read;
            type Params = Query<Self>;
            type Reply = Vec<$reply>;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some($role);
            const TOLD: bool = true;

            fn example() -> Self::Params {
                Query::all()
            }
        }
    };
}

method!(
    Replications,
    Replication,
    "replication.query",
    "REPLICATION_TASK_READ",
    [
        "id",
        "name",
        "direction",
        "transport",
        "ssh_credentials.name",
        "enabled",
        "auto",
        "source_datasets",
        "target_dataset",
        "recursive",
        "exclude",
        "retention_policy",
        "allow_from_scratch",
        "replicate",
        "readonly",
        "periodic_snapshot_tasks",
        "naming_schema",
        "also_include_naming_schema",
        "name_regex",
        "restrict_schedule",
        "only_matching_schedule",
        "hold_pending_snapshots",
        "lifetime_value",
        "lifetime_unit",
        "lifetimes",
        "properties",
        "properties_exclude",
        "properties_override",
        "encryption",
        "encryption_inherit",
        "schedule",
        "state"
    ]
);
method!(
    SnapshotTasks,
    SnapshotTask,
    "pool.snapshottask.query",
    "SNAPSHOT_TASK_READ",
    [
        "id",
        "dataset",
        "recursive",
        "exclude",
        "enabled",
        "schedule",
        "naming_schema",
        "allow_empty",
        "lifetime_value",
        "lifetime_unit",
        "state"
    ]
);
method!(
    CloudSyncs,
    CloudTask,
    "cloudsync.query",
    "CLOUD_SYNC_READ",
    [
        "id",
        "description",
        "direction",
        "transfer_mode",
        "path",
        "enabled",
        "schedule",
        "credentials.name",
        "attributes.bucket",
        "attributes.folder",
        "snapshot",
        "include",
        "exclude",
        "encryption",
        "filename_encryption",
        "create_empty_src_dirs",
        "follow_symlinks",
        "job.state",
        "job.time_started",
        "job.time_finished",
        "job.error"
    ]
);
method!(
    CloudBackups,
    CloudTask,
    "cloud_backup.query",
    "CLOUD_BACKUP_READ",
    [
        "id",
        "description",
        "path",
        "enabled",
        "schedule",
        "credentials.name",
        "job.state",
        "job.time_started",
        "job.time_finished",
        "job.error"
    ]
);
method!(
    Rsyncs,
    Rsync,
    "rsynctask.query",
    "SNAPSHOT_TASK_READ",
    [
        "id",
        "desc",
        "direction",
        "path",
        "remotehost",
        "enabled",
        "schedule",
        "job.state",
        "job.time_started",
        "job.time_finished",
        "job.error"
    ]
);

macro_rules! run {
    ($(#[$doc:meta])* $item:ident, $reply:ty, $job:literal, $name:literal, $role:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $item;

        impl Method for $item {
            type Access = Write;
            type Params = (i64,);
            type Reply = $reply;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some($role);
            const JOB: bool = $job;

            fn example() -> Self::Params {
                (1,)
            }
        }
    };
}

run! {
    /// Takes the snapshots of a task now. What comes of it is in the task; from 27 on it is a job, whose number is not
    /// looked at.
    RunSnapshots, IgnoredAny, false, "pool.snapshottask.run", "SNAPSHOT_TASK_WRITE"
}
run! {
    /// Runs a replication now.
    RunReplication, i64, true, "replication.run", "REPLICATION_TASK_WRITE"
}
run! {
    /// Runs a cloud sync now.
    RunCloudSync, i64, true, "cloudsync.sync", "CLOUD_SYNC_WRITE"
}
