//! The directory the NAS takes users from: Active Directory, IPA, LDAP.

use serde::Deserialize;

use super::{Method, Nothing};
use crate::domain::access::Read;
use crate::nas::version::Candidate;

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
