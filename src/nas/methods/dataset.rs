//! Datasets and volumes.

use std::time::Duration;

use serde::Deserialize;

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::Read;
use crate::domain::name::{DatasetPath, PoolName};
use crate::nas::version::Candidate;
use crate::nas::wire::Property;

/// Datasets and volumes, as a flat list.
#[derive(Clone, Copy, Debug)]
pub struct Datasets;

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
    ];
}

impl Method for Datasets {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Dataset>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.dataset.query");
    const ROLE: Option<&'static str> = Some("DATASET_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        all().limit(100).skip(100)
    }
}
