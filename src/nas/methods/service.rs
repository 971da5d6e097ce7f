//! System services: SMB, NFS, SSH and so on.

use serde::Deserialize;

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;

/// The services.
#[derive(Clone, Copy, Debug)]
pub struct Services;

/// Every service.
#[must_use]
pub fn all() -> Query<Services> {
    Query::all().order("service")
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// The number the NAS knows it by.
    pub id: i64,
    /// Its name, `cifs`.
    pub service: String,
    /// Whether it starts with the machine.
    #[serde(default)]
    pub enable: Option<bool>,
    /// `RUNNING`, `STOPPED`, `UNKNOWN`.
    #[serde(default)]
    pub state: Option<String>,
}

impl Queryable for Services {
    const SELECT: &'static [&'static str] = &["id", "service", "enable", "state"];
}

impl Method for Services {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Service>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("service.query");
    const ROLE: Option<&'static str> = Some("SERVICE_READ");

    fn example() -> Self::Params {
        all()
    }
}
