//! System services: SMB, NFS, SSH and so on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::nas::version::{Candidate, OLDEST, Version};

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
    const TOLD: bool = true;

    fn example() -> Self::Params {
        all()
    }
}

/// Starts, stops or restarts a service, as a job; since 25.10.
#[derive(Clone, Copy, Debug)]
pub struct Control;

/// Starts a service, where there is no [`Control`] yet.
#[derive(Clone, Copy, Debug)]
pub struct OldStart;

/// Stops a service, where there is no [`Control`] yet.
#[derive(Clone, Copy, Debug)]
pub struct OldStop;

/// Restarts a service, where there is no [`Control`] yet.
#[derive(Clone, Copy, Debug)]
pub struct OldRestart;

/// What is done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is stopped and started.
    Restart,
}

/// What is told of how it went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Loud {
    /// Otherwise a failure is told as a success that says `false`.
    silent: bool,
}

/// Failures are told as failures.
pub const LOUD: Loud = Loud { silent: false };

const CONTROL: Version = Version::new(25, 10, 0);
const GONE: Version = Version::new(26, 0, 0);

impl Method for Control {
    type Access = Write;
    type Params = (Verb, String, Loud);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(CONTROL, "service.control")];
    const ROLE: Option<&'static str> = Some("SERVICE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        (Verb::Restart, "cifs".to_owned(), LOUD)
    }
}

macro_rules! old {
    ($item:ident, $name:literal) => {
        impl Method for $item {
            type Access = Write;
            type Params = (String, Loud);
            type Reply = bool;
            const CANDIDATES: &'static [Candidate] = &[Candidate::since(OLDEST, $name).until(GONE)];
            const ROLE: Option<&'static str> = Some("SERVICE_WRITE");
            const DEADLINE: Duration = Duration::from_mins(2);

            fn example() -> Self::Params {
                ("cifs".to_owned(), LOUD)
            }
        }
    };
}

old!(OldStart, "service.start");
old!(OldStop, "service.stop");
old!(OldRestart, "service.restart");
