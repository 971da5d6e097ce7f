//! Pools, and the disks they are made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::domain::name::PoolName;
use crate::nas::version::Candidate;
use crate::nas::wire::{Date, null_is_empty, text_or_number};

/// The pools, with topology and the last scan.
#[derive(Clone, Copy, Debug)]
pub struct Pools;

/// Every pool.
#[must_use]
pub fn all() -> Query<Pools> {
    Query::all().order("name")
}

/// The pool of this name, or nothing.
#[must_use]
pub fn one(name: &PoolName) -> Query<Pools> {
    Query::all().filter("name", Compare::Is, name.as_str())
}

/// A pool.
#[derive(Clone, Debug, Deserialize)]
pub struct Pool {
    /// The number the NAS knows it by.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What identifies it, even under another name.
    #[serde(default)]
    pub guid: Option<String>,
    /// `ONLINE`, `DEGRADED`, `FAULTED`, `OFFLINE` …
    pub status: String,
    /// More about the status, in words.
    #[serde(default)]
    pub status_detail: Option<String>,
    /// Nothing is wrong.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// Something should be looked at.
    #[serde(default)]
    pub warning: Option<bool>,
    /// Bytes; absent when the pool is not imported.
    #[serde(default)]
    pub size: Option<u64>,
    /// Bytes in use.
    #[serde(default)]
    pub allocated: Option<u64>,
    /// Bytes left.
    #[serde(default)]
    pub free: Option<u64>,
    /// Percent, as text.
    #[serde(default, deserialize_with = "text_or_number")]
    pub fragmentation: Option<String>,
    /// The scrub or resilver that runs, or the last one.
    #[serde(default)]
    pub scan: Option<Scan>,
    /// What it is made of; absent when the pool is not imported.
    #[serde(default)]
    pub topology: Option<Topology>,
}

/// A scrub or resilver.
#[derive(Clone, Debug, Deserialize)]
pub struct Scan {
    /// `SCRUB`, `RESILVER`.
    #[serde(default)]
    pub function: Option<String>,
    /// `SCANNING`, `FINISHED`, `CANCELED`.
    #[serde(default)]
    pub state: Option<String>,
    /// When it began.
    #[serde(default)]
    pub start_time: Option<Date>,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<Date>,
    /// How far it is.
    #[serde(default)]
    pub percentage: Option<f64>,
    /// Errors it found.
    #[serde(default)]
    pub errors: Option<u64>,
    /// How long it still takes, in seconds.
    #[serde(default)]
    pub total_secs_left: Option<f64>,
    /// Since when it pauses.
    #[serde(default)]
    pub pause: Option<Date>,
}

/// What a pool is made of, by purpose.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Topology {
    /// Where the data is.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub data: Vec<Vdev>,
    /// The intent log.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub log: Vec<Vdev>,
    /// The read cache.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub cache: Vec<Vdev>,
    /// Spare disks.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub spare: Vec<Vdev>,
    /// Metadata.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub special: Vec<Vdev>,
    /// The table of duplicates.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub dedup: Vec<Vdev>,
}

/// A group of disks, or a disk.
#[derive(Clone, Debug, Deserialize)]
pub struct Vdev {
    /// `MIRROR`, `RAIDZ1`, `DISK` …
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What ZFS calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// What identifies it.
    #[serde(default, deserialize_with = "text_or_number")]
    pub guid: Option<String>,
    /// `ONLINE`, `DEGRADED`, `FAULTED`, `UNAVAIL` …
    #[serde(default)]
    pub status: Option<String>,
    /// The disk, `sda`, where this is one.
    #[serde(default)]
    pub disk: Option<String>,
    /// Its counters.
    #[serde(default)]
    pub stats: Option<VdevStats>,
    /// What it is made of; empty for a disk.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub children: Vec<Self>,
}

/// Counters of a vdev.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VdevStats {
    /// Reads that failed.
    #[serde(default)]
    pub read_errors: Option<u64>,
    /// Writes that failed.
    #[serde(default)]
    pub write_errors: Option<u64>,
    /// Blocks that were not what they should have been.
    #[serde(default)]
    pub checksum_errors: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Bytes in use.
    #[serde(default)]
    pub allocated: Option<u64>,
}

impl Topology {
    /// The disks, each with the purpose it serves.
    pub fn disks(&self) -> impl Iterator<Item = (&'static str, &Vdev)> {
        let Self { data, log, cache, spare, special, dedup } = self;
        [
            ("data", data),
            ("log", log),
            ("cache", cache),
            ("spare", spare),
            ("special", special),
            ("dedup", dedup),
        ]
        .into_iter()
        .flat_map(|(purpose, vdevs)| vdevs.iter().flat_map(Vdev::disks).map(move |disk| (purpose, disk)))
    }
}

impl Vdev {
    /// The disks at the ends of the tree.
    #[must_use]
    pub fn disks(&self) -> Vec<&Self> {
        if self.children.is_empty() {
            vec![self]
        } else {
            self.children.iter().flat_map(Self::disks).collect()
        }
    }
}

impl Pool {
    /// How fragmented the free space is, in percent. The NAS tells it as text, with or without a sign.
    #[must_use]
    pub fn fragmentation_percent(&self) -> Option<f64> {
        self.fragmentation
            .as_deref()?
            .trim_end_matches('%')
            .parse()
            .ok()
            .filter(|percent: &f64| percent.is_finite())
    }
}

impl Queryable for Pools {
    const SELECT: &'static [&'static str] = &[
        "id",
        "name",
        "guid",
        "status",
        "status_detail",
        "healthy",
        "warning",
        "size",
        "allocated",
        "free",
        "fragmentation",
        "scan",
        "topology",
    ];
}

impl Method for Pools {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Pool>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.query");
    const ROLE: Option<&'static str> = Some("POOL_READ");
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disks_of_a_pool_are_the_ends_of_its_trees() {
        let topology: Topology = serde_json::from_str(
            r#"{"data": [{"type": "MIRROR", "children": [
                  {"type": "DISK", "disk": "sda", "guid": "1", "stats": {"read_errors": 3}, "children": []},
                  {"type": "REPLACING", "children": [{"disk": "sdb", "guid": 2}, {"disk": "sdc", "stats": null}]}]}],
                "log": null, "cache": [{"type": "DISK", "disk": "nvme0n1"}], "new_in_28": {}}"#,
        )
        .unwrap();
        let disks: Vec<_> =
            topology.disks().map(|(purpose, disk)| (purpose, disk.disk.as_deref().unwrap())).collect();
        assert_eq!(disks, [("data", "sda"), ("data", "sdb"), ("data", "sdc"), ("cache", "nvme0n1")]);
    }
}

/// Reads all data of a pool and mends what it can, or stops doing so. The job goes on for as long as that does; one that
/// is ended does not end the scrub.
#[derive(Clone, Copy, Debug)]
pub struct Scrub;

/// What is done to a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
}

impl Method for Scrub {
    type Access = Write;
    type Params = (PoolName, Action);
    type Reply = i64;
    // "pool.scrub.run" does nothing where the last one is not long ago, and does not say so.
    const CANDIDATES: &'static [Candidate] = &Candidate::always("pool.scrub.scrub");
    const ROLE: Option<&'static str> = Some("POOL_WRITE");
    const JOB: bool = true;

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        ("tank".parse().expect("a pool"), Action::Start)
    }
}
