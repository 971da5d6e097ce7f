//! Tests of disks by themselves (S.M.A.R.T.), which TrueNAS had until 25.04.

use serde::Deserialize;

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::{Candidate, OLDEST, Version};

/// Tests that are done on a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Tests;

/// A test.
#[derive(Clone, Debug, Deserialize)]
pub struct Test {
    /// `LONG`, `SHORT`, `CONVEYANCE`, `OFFLINE`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Of all disks.
    #[serde(default)]
    pub all_disks: Option<bool>,
}

impl Queryable for Tests {
    const SELECT: &'static [&'static str] = &["type", "all_disks"];
}

impl Method for Tests {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Test>;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "smart.test.query").until(Version::new(25, 10, 0))];
    const ROLE: Option<&'static str> = Some("READONLY_ADMIN");

    fn example() -> Self::Params {
        Query::all().limit(100)
    }
}
