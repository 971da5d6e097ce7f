//! Boot environments: the systems one can start.

use serde::Deserialize;

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::Date;

/// The boot environments.
#[derive(Clone, Copy, Debug)]
pub struct Environments;

/// Every boot environment.
#[must_use]
pub fn all() -> Query<Environments> {
    Query::all()
}

/// A boot environment.
#[derive(Clone, Debug, Deserialize)]
pub struct Environment {
    /// Its name.
    pub id: String,
    /// It runs.
    #[serde(default)]
    pub active: Option<bool>,
    /// It is the one that starts next.
    #[serde(default)]
    pub activated: Option<bool>,
    /// When it was made.
    #[serde(default)]
    pub created: Option<Date>,
    /// Bytes it takes.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// Updates do not remove it.
    #[serde(default)]
    pub keep: Option<bool>,
    /// It can be started.
    #[serde(default)]
    pub can_activate: Option<bool>,
}

impl Queryable for Environments {
    const SELECT: &'static [&'static str] =
        &["id", "active", "activated", "created", "used_bytes", "keep", "can_activate"];
}

impl Method for Environments {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Environment>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("boot.environment.query");
    const ROLE: Option<&'static str> = Some("BOOT_ENV_READ");

    fn example() -> Self::Params {
        all()
    }
}
