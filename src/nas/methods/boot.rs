//! Boot environments: the systems one can start.

use serde::{Deserialize, Serialize};

use super::query::{Query, Queryable};
use super::{Method, Nothing};
use crate::domain::access::{Read, Write};
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

/// The pool that the system starts from.
#[derive(Clone, Copy, Debug)]
pub struct Pool;

/// How that pool is.
#[derive(Clone, Debug, Deserialize)]
pub struct BootPool {
    /// `ONLINE`, `DEGRADED` …
    pub status: String,
    /// Nothing is wrong.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// Bytes left.
    #[serde(default)]
    pub free: Option<u64>,
}

impl Method for Pool {
    type Access = Read;
    type Params = Nothing;
    type Reply = BootPool;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("boot.get_state");
    const ROLE: Option<&'static str> = Some("READONLY_ADMIN");

    fn example() -> Self::Params {
        []
    }
}

/// Deletes a boot environment.
#[derive(Clone, Copy, Debug)]
pub struct Destroy;

/// The boot environment that is meant.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name, as the NAS told us.
    pub id: String,
}

impl Method for Destroy {
    type Access = Write;
    type Params = (Named,);
    type Reply = ();
    const CANDIDATES: &'static [Candidate] = &Candidate::always("boot.environment.destroy");
    const ROLE: Option<&'static str> = Some("BOOT_ENV_WRITE");

    fn example() -> Self::Params {
        (Named { id: "24.10.2.4".to_owned() },)
    }
}
