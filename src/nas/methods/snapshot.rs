//! Snapshots. What 25.10 calls `pool.snapshot` was `zfs.snapshot` before.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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

/// What goes with a snapshot that is deleted.
#[derive(Clone, Debug, Serialize)]
pub struct DeleteOptions {
    /// The snapshots of the same name below its dataset.
    pub recursive: bool,
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

/// The newest first, and no more than so many. What is ordered by is text, and seconds have had ten digits since
/// 2001; transactions, which would be exact, have any number of them.
#[must_use]
pub fn newest<M: Queryable>(of: Query<M>, snapshots: u32) -> Query<M> {
    of.order("-properties.creation.rawvalue").limit(snapshots)
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
    const DEADLINE: Duration = Duration::from_mins(2);

    fn example() -> Self::Params {
        newest(Query::all(), 5000)
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
    type Params = (SnapshotName, DeleteOptions);
    type Reply = bool;
    const CANDIDATES: &'static [Candidate] = &[
        Candidate::since(RENAMED, "pool.snapshot.delete"),
        Candidate::since(OLDEST, "zfs.snapshot.delete").until(RENAMED),
    ];
    const ROLE: Option<&'static str> = Some("SNAPSHOT_DELETE");
    const DEADLINE: Duration = Duration::from_mins(2);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        ("tank/photos@before-upgrade".parse().expect("a snapshot"), DeleteOptions { recursive: false })
    }
}
