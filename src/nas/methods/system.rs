//! The machine itself.

use serde::{Deserialize, Serialize};

use super::{Method, Nothing};
use crate::domain::access::{Read, Write};
use crate::nas::version::Candidate;
use crate::nas::wire::Date;

/// Hardware, version, load and times.
#[derive(Clone, Copy, Debug)]
pub struct Info;

/// What [`Info`] answers.
#[derive(Clone, Debug, Deserialize)]
pub struct SystemInfo {
    /// The short version, `25.10.1`.
    pub version: String,
    /// What the machine calls itself.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Memory in bytes.
    #[serde(default)]
    pub physmem: Option<u64>,
    /// The processor.
    #[serde(default)]
    pub model: Option<String>,
    /// Threads the processor runs at once.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Cores it has.
    #[serde(default)]
    pub physical_cores: Option<u32>,
    /// Load over 1, 5 and 15 minutes.
    #[serde(default)]
    pub loadavg: Vec<f64>,
    /// Seconds since the start.
    #[serde(default)]
    pub uptime_seconds: Option<f64>,
    /// When it was started.
    #[serde(default)]
    pub boottime: Option<Date>,
    /// Its own idea of the time.
    #[serde(default)]
    pub datetime: Option<Date>,
    /// Its time zone.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Whether the memory corrects errors.
    #[serde(default)]
    pub ecc_memory: Option<bool>,
    /// Who made it.
    #[serde(default)]
    pub system_manufacturer: Option<String>,
    /// What they call it.
    #[serde(default)]
    pub system_product: Option<String>,
}

impl Method for Info {
    type Access = Read;
    type Params = Nothing;
    type Reply = SystemInfo;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("system.info");
    const ROLE: Option<&'static str> = Some("READONLY_ADMIN");

    fn example() -> Self::Params {
        []
    }
}

/// The version in full, `TrueNAS-25.10.1`.
#[derive(Clone, Copy, Debug)]
pub struct FullVersion;

impl Method for FullVersion {
    type Access = Read;
    type Params = Nothing;
    type Reply = String;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("system.version");
    const ROLE: Option<&'static str> = None;

    fn example() -> Self::Params {
        []
    }
}

/// Whether the start is over.
#[derive(Clone, Copy, Debug)]
pub struct Ready;

impl Method for Ready {
    type Access = Read;
    type Params = Nothing;
    type Reply = bool;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("system.ready");
    const ROLE: Option<&'static str> = Some("SYSTEM_GENERAL_READ");

    fn example() -> Self::Params {
        []
    }
}

/// Restarts the machine: why, and when. The NAS lets nobody do that who is less than a full administrator.
#[derive(Clone, Copy, Debug)]
pub struct Reboot;

/// When the machine is restarted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Delay {
    /// Seconds from now.
    delay: u32,
}

/// So soon, and not at once: the answer must come before the connection goes.
pub const IN_TEN_SECONDS: Delay = Delay { delay: 10 };

impl Method for Reboot {
    type Access = Write;
    type Params = (String, Delay);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("system.reboot");
    const ROLE: Option<&'static str> = Some("FULL_ADMIN");
    const JOB: bool = true;

    fn example() -> Self::Params {
        ("asked for through tailnas".to_owned(), IN_TEN_SECONDS)
    }
}
