//! The directory the NAS takes users from: Active Directory, IPA, LDAP.

use serde::Deserialize;

use super::{Method, Nothing};
use crate::domain::access::{Read, Write};
use crate::nas::version::{Candidate, Version};

/// Whether the NAS has a directory, and how it is with it.
#[derive(Clone, Copy, Debug)]
pub struct State;

/// What [`State`] answers.
#[derive(Clone, Debug, Deserialize)]
pub struct DirectoryStatus {
    /// `ACTIVEDIRECTORY`, `IPA`, `LDAP`; absent without a directory.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// `DISABLED`, `FAULTED`, `LEAVING`, `JOINING`, `HEALTHY`.
    #[serde(default)]
    pub status: Option<String>,
    /// More, in words.
    #[serde(default)]
    pub status_msg: Option<String>,
}

/// How the NAS is joined to its directory.
#[derive(Clone, Copy, Debug)]
pub struct Config;

/// What [`Config`] answers, without whatever proves to the directory who the NAS is: that is never read.
#[derive(Clone, Debug, Deserialize)]
pub struct DirectoryConfig {
    /// Whether it is switched on.
    #[serde(default)]
    pub enable: Option<bool>,
    /// Whether its users and groups are kept here, for lists.
    #[serde(default)]
    pub enable_account_cache: Option<bool>,
    /// Seconds that a question may take.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// Realm of Kerberos.
    #[serde(default)]
    pub kerberos_realm: Option<String>,
    /// Of what kind the proof is.
    #[serde(default)]
    pub credential: Option<Credential>,
    /// Where the directory is.
    #[serde(default)]
    pub configuration: Option<Place>,
}

/// Of what kind it is that the NAS proves itself with, and nothing else of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Credential {
    /// `KERBEROS_USER`, `KERBEROS_PRINCIPAL`, `LDAP_PLAIN`, `LDAP_ANONYMOUS`, `LDAP_MTLS`.
    #[serde(default)]
    pub credential_type: Option<String>,
}

/// Where a directory is; which of these there are depends on its kind.
#[derive(Clone, Debug, Deserialize)]
pub struct Place {
    /// The domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// What the NAS is called in it.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Server of IPA.
    #[serde(default)]
    pub target_server: Option<String>,
    /// Servers of LDAP.
    #[serde(default)]
    pub server_urls: Vec<String>,
    /// Where an LDAP tree is searched from.
    #[serde(default)]
    pub basedn: Option<String>,
}

impl Method for Config {
    type Access = Read;
    type Params = Nothing;
    type Reply = DirectoryConfig;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(Version::new(25, 10, 0), "directoryservices.config")];
    const ROLE: Option<&'static str> = Some("DIRECTORY_SERVICE_READ");

    fn example() -> Self::Params {
        []
    }
}

impl Method for State {
    type Access = Read;
    type Params = Nothing;
    type Reply = DirectoryStatus;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("directoryservices.status");
    const ROLE: Option<&'static str> = None;

    fn example() -> Self::Params {
        []
    }
}

/// Reads the users and groups of the directory anew.
#[derive(Clone, Copy, Debug)]
pub struct Refresh;

impl Method for Refresh {
    type Access = Write;
    type Params = Nothing;
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("directoryservices.cache_refresh");
    const ROLE: Option<&'static str> = Some("DIRECTORY_SERVICE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        []
    }
}
