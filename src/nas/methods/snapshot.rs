//! Snapshots. What 25.10 calls `pool.snapshot` was `zfs.snapshot` before.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, PoolName, SnapshotLabel, SnapshotName};
use crate::nas::version::{Candidate, OLDEST, Version};
use crate::nas::wire::Property;

const RENAMED: Version = Version::new(25, 10, 0);

/// Snapshots, with their properties.
#[derive(Clone, Copy, Debug)]
pub struct Snapshots;

/// How many snapshots there are.
#[derive(Clone, Copy, Debug)]
pub struct Count;

/// When snapshots were made, and of what; nothing else of them.
#[derive(Clone, Copy, Debug)]
pub struct Times;

/// Takes a snapshot. Not a job: it is there when the answer is.
#[derive(Clone, Copy, Debug)]
pub struct Create;

/// Deletes a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Delete;

/// Keeps a snapshot from being deleted, by whomever, until it is released. This and what follows take a full
/// administrator on 25.04, which no account of ours is: there we have none of it.
#[derive(Clone, Copy, Debug)]
pub struct Hold;

/// Takes away everything that keeps a snapshot from being deleted.
#[derive(Clone, Copy, Debug)]
pub struct Release;

/// Makes a dataset of what a snapshot holds.
#[derive(Clone, Copy, Debug)]
pub struct MakeClone;

/// Takes a dataset back to what it was when a snapshot of it was taken.
#[derive(Clone, Copy, Debug)]
pub struct Rollback;

/// What is meant besides a snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct AndBelow {
    /// The snapshots of the same name below its dataset.
    pub recursive: bool,
}

/// What a clone is made of, and where.
#[derive(Clone, Debug, Serialize)]
pub struct NewClone {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The path of the new dataset; what it lies in is there.
    pub dataset_dst: DatasetPath,
}

/// How far a rollback goes.
#[derive(Clone, Debug, Serialize)]
pub struct RollbackOptions {
    /// Newer snapshots of the dataset are destroyed. Without it the NAS refuses where there are any.
    pub recursive: bool,
}

/// With what keeps them from being deleted.
#[must_use]
pub fn with_holds(of: Query<Snapshots>) -> Query<Snapshots> {
    of.extra("holds", true)
}

/// The snapshots of one dataset. The NAS goes through all it has to find them, so it may take its time.
#[must_use]
pub fn of<M: Queryable>(dataset: &DatasetPath) -> Query<M> {
    Query::all().filter("dataset", Compare::Is, dataset.as_str())
}

/// The snapshots of a dataset and of everything below it.
#[must_use]
pub fn within<M: Queryable>(dataset: &DatasetPath) -> Query<M> {
    Query::all().within("dataset", dataset)
}

/// The snapshots on a pool.
#[must_use]
pub fn on_pool<M: Queryable>(pool: &PoolName) -> Query<M> {
    Query::all().filter("pool", Compare::Is, pool.as_str())
}

/// Those that were made in this time. What is compared is text, as in [`newest`].
#[must_use]
pub fn between<M: Queryable>(of: Query<M>, from: DateTime<Utc>, to: DateTime<Utc>) -> Query<M> {
    let seconds = |at: DateTime<Utc>| format!("{:010}", at.timestamp().max(0));
    of.filter("properties.creation.rawvalue", Compare::AtLeast, seconds(from)).filter(
        "properties.creation.rawvalue",
        Compare::AtMost,
        seconds(to),
    )
}

/// The newest first. What is ordered by is text, and seconds have had ten digits since 2001; transactions, which would be
/// exact, have any number of them.
#[must_use]
pub fn newest<M: Queryable>(of: Query<M>) -> Query<M> {
    of.order("-properties.creation.rawvalue")
}

/// The snapshot of this name, or nothing.
#[must_use]
pub fn one(name: &SnapshotName) -> Query<Snapshots> {
    Query::all().filter("id", Compare::Is, name.as_str())
}

/// A snapshot.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// In full, `tank/photos@daily`.
    pub id: String,
    /// The dataset.
    #[serde(default)]
    pub dataset: Option<String>,
    /// What stands behind the `@`.
    #[serde(default)]
    pub snapshot_name: Option<String>,
    /// The transaction that made it. No two snapshots that ever were on the pool share one and a name.
    #[serde(default)]
    pub createtxg: Option<String>,
    /// Its properties, `creation`, `used`, `referenced` among them.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
    /// What keeps it from being deleted, by name: ours is `truenas`. Absent unless asked for.
    #[serde(default)]
    pub holds: BTreeMap<String, Value>,
}

/// When a snapshot was made.
#[derive(Clone, Debug, Deserialize)]
pub struct SnapshotTime {
    /// The dataset.
    pub dataset: String,
    /// `creation` alone.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

impl SnapshotTime {
    /// When.
    #[must_use]
    pub fn created(&self) -> Option<DateTime<Utc>> {
        self.properties.get("creation").and_then(Property::time)
    }
}

/// What to take a snapshot of.
#[derive(Clone, Debug, Serialize)]
pub struct NewSnapshot {
    /// The dataset.
    pub dataset: DatasetPath,
    /// What to call it.
    pub name: SnapshotLabel,
    /// Of everything below the dataset too, at one moment.
    pub recursive: bool,
}

impl Queryable for Snapshots {
    const SELECT: &'static [&'static str] = &[
        "id",
        "dataset",
        "snapshot_name",
        "createtxg",
        "properties.creation",
        "properties.used",
        "properties.referenced",
        "holds",
    ];
}

impl Queryable for Times {
    const SELECT: &'static [&'static str] = &["dataset", "properties.creation.rawvalue"];
}

impl Queryable for Count {
    const COUNT: bool = true;
}

const QUERY: &[Candidate] = &[
    Candidate::since(RENAMED, "pool.snapshot.query"),
    Candidate::since(OLDEST, "zfs.snapshot.query").until(RENAMED),
];

impl Method for Snapshots {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Snapshot>;
    const CANDIDATES: &'static [Candidate] = QUERY;
    const ROLE: Option<&'static str> = Some("SNAPSHOT_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(2);

    fn example() -> Self::Params {
        Query::all().filter("dataset", Compare::Is, "tank").order("createtxg").limit(100)
    }
}

impl Method for Count {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = QUERY;
    const ROLE: Option<&'static str> = Some("SNAPSHOT_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(2);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        within(&"tank/photos".parse().expect("a dataset"))
    }
}

impl Method for Times {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<SnapshotTime>;
    const CANDIDATES: &'static [Candidate] = QUERY;
    const ROLE: Option<&'static str> = Some("SNAPSHOT_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(2);

    fn example() -> Self::Params {
        newest(Query::all()).limit(5000)
    }
}

impl Method for Create {
    type Access = Write;
    type Params = (NewSnapshot,);
    type Reply = Snapshot;
    const CANDIDATES: &'static [Candidate] = &[
        Candidate::since(RENAMED, "pool.snapshot.create"),
        Candidate::since(OLDEST, "zfs.snapshot.create").until(RENAMED),
    ];
    const ROLE: Option<&'static str> = Some("SNAPSHOT_WRITE");
    const DEADLINE: Duration = Duration::from_mins(2);

    #[expect(clippy::expect_used, reason = "the two names are right there")]
    fn example() -> Self::Params {
        let dataset = "tank/photos".parse().expect("a dataset");
        let name = "before-upgrade".parse().expect("a label");
        (NewSnapshot { dataset, name, recursive: false },)
    }
}

impl Method for Delete {
    type Access = Write;
    type Params = (SnapshotName, AndBelow);
    type Reply = bool;
    const CANDIDATES: &'static [Candidate] = &[
        Candidate::since(RENAMED, "pool.snapshot.delete"),
        Candidate::since(OLDEST, "zfs.snapshot.delete").until(RENAMED),
    ];
    const ROLE: Option<&'static str> = Some("SNAPSHOT_DELETE");
    const DEADLINE: Duration = Duration::from_mins(2);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        ("tank/photos@before-upgrade".parse().expect("a snapshot"), AndBelow { recursive: false })
    }
}

#[expect(clippy::expect_used, reason = "the names are right there")]
fn example_names() -> (SnapshotName, DatasetPath) {
    let snapshot = "tank/photos@before-upgrade".parse().expect("a snapshot");
    (snapshot, "tank/photos-before".parse().expect("a dataset"))
}

macro_rules! since_renamed {
    ($item:ident, $params:ty, $reply:ty, $name:literal, $example:expr) => {
        impl Method for $item {
            type Access = Write;
            type Params = $params;
            type Reply = $reply;
            const CANDIDATES: &'static [Candidate] = &[Candidate::since(RENAMED, $name)];
            const ROLE: Option<&'static str> = Some("SNAPSHOT_WRITE");
            const DEADLINE: Duration = Duration::from_mins(2);

            fn example() -> Self::Params {
                $example
            }
        }
    };
}

since_renamed!(Hold, (SnapshotName, AndBelow), (), "pool.snapshot.hold", {
    (example_names().0, AndBelow { recursive: false })
});
since_renamed!(Release, (SnapshotName, AndBelow), (), "pool.snapshot.release", {
    (example_names().0, AndBelow { recursive: false })
});
since_renamed!(MakeClone, (NewClone,), bool, "pool.snapshot.clone", {
    let (snapshot, dataset_dst) = example_names();
    (NewClone { snapshot, dataset_dst },)
});
since_renamed!(Rollback, (SnapshotName, RollbackOptions), (), "pool.snapshot.rollback", {
    (example_names().0, RollbackOptions { recursive: true })
});
