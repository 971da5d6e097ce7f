//! Who is connected to what the NAS serves.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::query::{Query, Queryable};
use super::{Method, Then};
use crate::domain::access::Read;
use crate::nas::version::{Candidate, OLDEST, Version};

/// Clients of NFS version 3, as far as they said when they mounted and when they left.
#[derive(Clone, Copy, Debug)]
pub struct Nfs3;

/// Clients of NFS version 4.
#[derive(Clone, Copy, Debug)]
pub struct Nfs4;

/// iSCSI sessions.
#[derive(Clone, Copy, Debug)]
pub struct Iscsi;

/// SMB sessions. 25.10 tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Smb;

/// A client of NFS version 3.
#[derive(Clone, Debug, Deserialize)]
pub struct Nfs3Client {
    /// Its address.
    pub ip: String,
    /// What it has mounted.
    pub export: String,
}

/// A client of NFS version 4.
#[derive(Clone, Debug, Deserialize)]
pub struct Nfs4Client {
    /// What the NAS's kernel says of it: `address`, `name` and more.
    #[serde(default)]
    pub info: BTreeMap<String, Value>,
}

/// An iSCSI session.
#[derive(Clone, Debug, Deserialize)]
pub struct IscsiSession {
    /// Who.
    #[serde(default)]
    pub initiator: Option<String>,
    /// From where.
    #[serde(default)]
    pub initiator_addr: Option<String>,
    /// To what.
    #[serde(default)]
    pub target: Option<String>,
}

/// An SMB session.
#[derive(Clone, Debug, Deserialize)]
pub struct SmbSession {
    /// Who.
    #[serde(default)]
    pub username: Option<String>,
    /// From where.
    #[serde(default)]
    pub remote_machine: Option<String>,
}

impl Queryable for Nfs3 {
    const SELECT: &'static [&'static str] = &["ip", "export"];
}

impl Queryable for Nfs4 {
    const SELECT: &'static [&'static str] = &["info"];
}

impl Queryable for Iscsi {
    const SELECT: &'static [&'static str] = &["initiator", "initiator_addr", "target"];
}

impl Queryable for Smb {
    const SELECT: &'static [&'static str] = &["username", "remote_machine"];
}

impl Method for Nfs3 {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Nfs3Client>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("nfs.get_nfs3_clients");
    const ROLE: Option<&'static str> = Some("READONLY_ADMIN");

    fn example() -> Self::Params {
        Query::all().limit(100)
    }
}

impl Method for Nfs4 {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Nfs4Client>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("nfs.get_nfs4_clients");
    const ROLE: Option<&'static str> = Some("READONLY_ADMIN");

    fn example() -> Self::Params {
        Query::all().limit(100)
    }
}

impl Method for Iscsi {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<IscsiSession>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("iscsi.global.sessions");
    const ROLE: Option<&'static str> = Some("SHARING_ISCSI_GLOBAL_READ");

    fn example() -> Self::Params {
        Query::all().limit(100)
    }
}

impl Method for Smb {
    type Access = Read;
    /// What of the status, and of that which.
    type Params = Then<&'static str, Self>;
    type Reply = Vec<SmbSession>;
    const CANDIDATES: &'static [Candidate] = &[
        Candidate::since(Version::new(26, 0, 0), "smb.status"),
        Candidate::since(OLDEST, "smb.status").until(Version::new(25, 10, 0)),
    ];
    const ROLE: Option<&'static str> = Some("SHARING_SMB_READ");

    fn example() -> Self::Params {
        sessions(100)
    }
}

/// No more than so many sessions.
#[must_use]
pub fn sessions(most: u32) -> Then<&'static str, Smb> {
    Then("SESSIONS", Query::all().limit(most))
}
