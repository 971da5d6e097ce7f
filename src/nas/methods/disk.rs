//! Disks.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::query::{Query, Queryable};
use super::{Method, Nothing};
use crate::domain::access::Read;
use crate::nas::version::Candidate;

/// The disks, with the pools they belong to.
#[derive(Clone, Copy, Debug)]
pub struct Disks;

/// How warm the disks are. The NAS asks them at most every few minutes.
#[derive(Clone, Copy, Debug)]
pub struct Temperatures;

/// Every disk.
#[must_use]
pub fn all() -> Query<Disks> {
    Query::all().order("name").extra("pools", true)
}

/// A disk.
#[derive(Clone, Debug, Deserialize)]
pub struct Disk {
    /// Device name, `sda`.
    pub name: String,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// Model.
    #[serde(default)]
    pub model: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// `HDD`, `SSD`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Rotations per minute.
    #[serde(default)]
    pub rotationrate: Option<u32>,
    /// `ATA`, `NVME` …
    #[serde(default)]
    pub bus: Option<String>,
    /// The pool it is part of.
    #[serde(default)]
    pub pool: Option<String>,
}

impl Queryable for Disks {
    const SELECT: &'static [&'static str] =
        &["name", "serial", "model", "size", "type", "rotationrate", "bus", "pool"];
}

impl Method for Disks {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Disk>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("disk.query");
    const ROLE: Option<&'static str> = Some("DISK_READ");

    fn example() -> Self::Params {
        all()
    }
}

impl Method for Temperatures {
    type Access = Read;
    type Params = Nothing;
    /// Degrees Celsius by device name; `None` where a disk does not say.
    type Reply = BTreeMap<String, Option<f64>>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("disk.temperatures");
    const ROLE: Option<&'static str> = Some("REPORTING_READ");

    fn example() -> Self::Params {
        []
    }
}
