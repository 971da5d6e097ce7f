//! Datasets and volumes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, PoolName};
use crate::nas::version::{Candidate, Version};
use crate::nas::wire::Property;

/// Datasets and volumes, as a flat list.
#[derive(Clone, Copy, Debug)]
pub struct Datasets;

/// How many datasets and volumes there are.
#[derive(Clone, Copy, Debug)]
pub struct DatasetCount;

/// Makes a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Create;

/// Changes what a dataset is set to.
#[derive(Clone, Copy, Debug)]
pub struct Update;

/// Gives a dataset another name. Nothing of it is lost; whatever knew it by the old one loses it.
#[derive(Clone, Copy, Debug)]
pub struct Rename;

/// Destroys a dataset with its snapshots and all below it.
#[derive(Clone, Copy, Debug)]
pub struct Delete;

/// What on the NAS uses a dataset.
#[derive(Clone, Copy, Debug)]
pub struct Attachments;

/// Every dataset.
#[must_use]
pub fn all() -> Query<Datasets> {
    // The NAS answers a flat list in which each row carries its whole subtree once more; what we select leaves
    // that out. "retrieve_children: false" is no way to be rid of it: without an id it gives root datasets only.
    Query::all().order("id")
}

/// The datasets of a pool.
#[must_use]
pub fn on_pool(pool: &PoolName) -> Query<Datasets> {
    all().filter("pool", Compare::Is, pool.as_str())
}

/// How many there are on the pool of this one.
#[must_use]
pub fn beside(path: &DatasetPath) -> Query<DatasetCount> {
    Query::all().filter("pool", Compare::Is, path.pool())
}

/// What lies below a dataset, at any depth, without the dataset.
#[must_use]
pub fn below(ancestor: &DatasetPath) -> Query<Datasets> {
    all().filter("id", Compare::StartsWith, format!("{ancestor}/"))
}

/// The dataset of this path, or nothing.
#[must_use]
pub fn one(path: &DatasetPath) -> Query<Datasets> {
    Query::all().filter("id", Compare::Is, path.as_str()).extra("retrieve_children", false)
}

/// A dataset or volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Dataset {
    /// Its path.
    pub id: String,
    /// `FILESYSTEM` or `VOLUME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The pool it is on.
    #[serde(default)]
    pub pool: Option<String>,
    /// Where it is mounted.
    #[serde(default)]
    pub mountpoint: Option<String>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: Option<bool>,
    /// Whether its key is missing.
    #[serde(default)]
    pub locked: Option<bool>,
    /// Bytes it and all below it take.
    #[serde(default)]
    pub used: Option<Property>,
    /// Bytes of that which snapshots take.
    #[serde(default)]
    pub usedbysnapshots: Option<Property>,
    /// Bytes of that which its own data takes.
    #[serde(default)]
    pub usedbydataset: Option<Property>,
    /// Bytes of that which lies below it.
    #[serde(default)]
    pub usedbychildren: Option<Property>,
    /// Bytes left to it.
    #[serde(default)]
    pub available: Option<Property>,
    /// The most it and all below it may take.
    #[serde(default)]
    pub quota: Option<Property>,
    /// The most its own data may take.
    #[serde(default)]
    pub refquota: Option<Property>,
    /// How it is compressed.
    #[serde(default)]
    pub compression: Option<Property>,
    /// How well.
    #[serde(default)]
    pub compressratio: Option<Property>,
    /// Whether it may be written to.
    #[serde(default)]
    pub readonly: Option<Property>,
    /// Size of its blocks.
    #[serde(default)]
    pub recordsize: Option<Property>,
    /// Size of the volume.
    #[serde(default)]
    pub volsize: Option<Property>,
    /// The snapshot it is a clone of.
    #[serde(default)]
    pub origin: Option<Property>,
    /// When it was made.
    #[serde(default)]
    pub creation: Option<Property>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub comments: Option<Property>,
}

impl Queryable for Datasets {
    const SELECT: &'static [&'static str] = &[
        "id",
        "type",
        "pool",
        "mountpoint",
        "encrypted",
        "locked",
        "used",
        "usedbysnapshots",
        "usedbydataset",
        "usedbychildren",
        "available",
        "quota",
        "refquota",
        "compression",
        "compressratio",
        "readonly",
        "recordsize",
        "volsize",
        "origin",
        "creation",
        "comments",
    ];
}

impl Queryable for DatasetCount {
    const COUNT: bool = true;
}

impl Method for DatasetCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.query");
    const ROLE: Option<&'static str> = Some("DATASET_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        Query::all().within("id", &"tank/photos".parse().expect("a dataset"))
    }
}

impl Method for Datasets {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Dataset>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.query");
    const ROLE: Option<&'static str> = Some("DATASET_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        all().limit(100).skip(100)
    }
}

/// A filesystem to be made.
#[derive(Clone, Debug, Serialize)]
pub struct NewFilesystem {
    /// Its path; the dataset above it is there.
    pub name: DatasetPath,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The most it and all below it may take, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// What somebody writes about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
}

impl NewFilesystem {
    /// One at `name`.
    #[must_use]
    pub const fn at(name: DatasetPath, quota: Option<u64>, comments: Option<String>) -> Self {
        Self { name, kind: "FILESYSTEM", quota, comments }
    }
}

/// What a dataset is set to from now on. What is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Settings {
    /// The most it and all below it may take, in bytes; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// How new data is compressed: `LZ4`, `ZSTD`, `OFF`, `INHERIT` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<&'static str>,
    /// `ON`, `OFF`, `INHERIT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly: Option<&'static str>,
    /// What somebody writes about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
}

/// It was made; what it is can be asked.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Made {}

/// What a dataset is called from now on.
#[derive(Clone, Debug, Serialize)]
pub struct NewName {
    new_name: DatasetPath,
    /// The NAS looks for nothing that uses the dataset, and wants to be told that we know. We looked.
    force: bool,
}

impl NewName {
    /// It is called `name`.
    #[must_use]
    pub const fn of(name: DatasetPath) -> Self {
        Self { new_name: name, force: true }
    }
}

/// How far a dataset is destroyed.
#[derive(Clone, Debug, Serialize)]
pub struct DeleteOptions {
    /// With all below it.
    pub recursive: bool,
}

/// One kind of things that use a dataset.
#[derive(Clone, Debug, Deserialize)]
pub struct Attachment {
    /// What they are, `SMB Share`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Their names.
    #[serde(default)]
    pub attachments: Vec<String>,
}

impl Method for Create {
    type Access = Write;
    type Params = (NewFilesystem,);
    type Reply = Made;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.create");
    const ROLE: Option<&'static str> = Some("DATASET_WRITE");
    const DEADLINE: Duration = Duration::from_mins(1);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        let name = "tank/new".parse().expect("a dataset");
        (NewFilesystem::at(name, Some(1 << 40), Some("Scans".to_owned())),)
    }
}

impl Method for Update {
    type Access = Write;
    type Params = (DatasetPath, Settings);
    type Reply = Made;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.update");
    const ROLE: Option<&'static str> = Some("DATASET_WRITE");
    const DEADLINE: Duration = Duration::from_mins(1);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        let settings = Settings {
            quota: Some(1 << 40),
            compression: Some("ZSTD"),
            readonly: Some("ON"),
            comments: Some("Scans".to_owned()),
        };
        ("tank/old".parse().expect("a dataset"), settings)
    }
}

impl Method for Rename {
    type Access = Write;
    type Params = (DatasetPath, NewName);
    type Reply = ();
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(Version::new(25, 10, 0), "pool.dataset.rename")];
    const ROLE: Option<&'static str> = Some("DATASET_WRITE");
    const DEADLINE: Duration = Duration::from_mins(1);

    #[expect(clippy::expect_used, reason = "the names are right there")]
    fn example() -> Self::Params {
        let path = |text: &str| text.parse().expect("a dataset");
        (path("tank/old"), NewName::of(path("tank/old.quarantine")))
    }
}

impl Method for Delete {
    type Access = Write;
    type Params = (DatasetPath, DeleteOptions);
    type Reply = Option<bool>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.delete");
    const ROLE: Option<&'static str> = Some("DATASET_DELETE");
    const DEADLINE: Duration = Duration::from_mins(2);

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        ("tank/old".parse().expect("a dataset"), DeleteOptions { recursive: true })
    }
}

impl Method for Attachments {
    type Access = Read;
    type Params = (DatasetPath,);
    type Reply = Vec<Attachment>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.attachments");
    const ROLE: Option<&'static str> = Some("DATASET_READ");

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        ("tank/old".parse().expect("a dataset"),)
    }
}
