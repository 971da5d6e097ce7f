//! What the NAS gives to the network: SMB, NFS, iSCSI.

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// The SMB shares.
#[derive(Clone, Copy, Debug)]
pub struct SmbShares;

/// The NFS shares.
#[derive(Clone, Copy, Debug)]
pub struct NfsShares;

/// The iSCSI targets.
#[derive(Clone, Copy, Debug)]
pub struct Targets;

/// The iSCSI extents: what targets give.
#[derive(Clone, Copy, Debug)]
pub struct Extents;

/// Which target gives which extent.
#[derive(Clone, Copy, Debug)]
pub struct TargetExtents;

/// Groups of initiators that targets let in.
#[derive(Clone, Copy, Debug)]
pub struct Initiators;

/// An SMB share. 25.10 moved most of it below `options` and renamed `ro`.
#[derive(Clone, Debug, Deserialize)]
pub struct SmbShare {
    /// What clients call it.
    pub name: String,
    /// The directory.
    #[serde(default)]
    pub path: Option<String>,
    /// It is served.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Clients may not write; 25.04.
    #[serde(default)]
    pub ro: Option<bool>,
    /// Clients may not write; since 25.10.
    #[serde(default)]
    pub readonly: Option<bool>,
    /// Who lets in whom; 25.04.
    #[serde(flatten)]
    pub old: SmbAccess,
    /// Who lets in whom; since 25.10.
    #[serde(default)]
    pub options: Option<SmbAccess>,
}

/// Whom an SMB share lets in.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SmbAccess {
    /// Anybody without a password.
    #[serde(default)]
    pub guestok: Option<bool>,
    /// Only these; empty for all.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub hostsallow: Vec<String>,
    /// Not these.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub hostsdeny: Vec<String>,
}

impl SmbShare {
    /// Whom it lets in.
    #[must_use]
    pub fn access(&self) -> &SmbAccess {
        self.options.as_ref().unwrap_or(&self.old)
    }

    /// Whether clients may not write.
    #[must_use]
    pub fn read_only(&self) -> Option<bool> {
        self.readonly.or(self.ro)
    }
}

/// An NFS share.
#[derive(Clone, Debug, Deserialize)]
pub struct NfsShare {
    /// The directory.
    pub path: String,
    /// It is served.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Clients may not write.
    #[serde(default)]
    pub ro: Option<bool>,
    /// Only these networks.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub networks: Vec<String>,
    /// Only these hosts.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub hosts: Vec<String>,
    /// Who root of a client is here.
    #[serde(default)]
    pub maproot_user: Option<String>,
    /// Who everybody of a client is here.
    #[serde(default)]
    pub mapall_user: Option<String>,
    /// `SYS`, `KRB5` …; `SYS` believes what clients say of themselves.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub security: Vec<String>,
}

/// An iSCSI target.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Only these networks; empty for all.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub auth_networks: Vec<String>,
    /// Whom it lets in, and how they show who they are.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub groups: Vec<TargetGroup>,
}

/// Whom a target lets in.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetGroup {
    /// Number of the group of initiators; absent for all.
    #[serde(default)]
    pub initiator: Option<i64>,
    /// `NONE`, `CHAP`, `CHAP_MUTUAL`.
    #[serde(default)]
    pub authmethod: Option<String>,
}

/// What a target gives.
#[derive(Clone, Debug, Deserialize)]
pub struct Extent {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// A file.
    #[serde(default)]
    pub path: Option<String>,
    /// A volume or disk.
    #[serde(default)]
    pub disk: Option<String>,
    /// It is served.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Clients may not write.
    #[serde(default)]
    pub ro: Option<bool>,
}

/// That a target gives an extent.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetExtent {
    /// Number of the target.
    pub target: i64,
    /// Number of the extent.
    pub extent: i64,
}

/// A group of initiators.
#[derive(Clone, Debug, Deserialize)]
pub struct InitiatorGroup {
    /// Its number.
    pub id: i64,
    /// Their names; empty for all.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub initiators: Vec<String>,
}

macro_rules! method {
    ($item:ident, $reply:ty, $name:literal, $role:literal, [$($field:literal),*]) => {
        impl Queryable for $item {
            const SELECT: &'static [&'static str] = &[$($field),*];
        }

        impl Method for $item {
            type Access = Read;
            type Params = Query<Self>;
            type Reply = Vec<$reply>;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some($role);

            fn example() -> Self::Params {
                Query::all()
            }
        }
    };
}

method!(
    SmbShares,
    SmbShare,
    "sharing.smb.query",
    "SHARING_SMB_READ",
    [
        "name",
        "path",
        "enabled",
        "ro",
        "readonly",
        "guestok",
        "hostsallow",
        "hostsdeny",
        "options.guestok",
        "options.hostsallow",
        "options.hostsdeny"
    ]
);
method!(
    NfsShares,
    NfsShare,
    "sharing.nfs.query",
    "SHARING_NFS_READ",
    ["path", "enabled", "ro", "networks", "hosts", "maproot_user", "mapall_user", "security"]
);
method!(
    Targets,
    Target,
    "iscsi.target.query",
    "SHARING_ISCSI_TARGET_READ",
    ["id", "name", "auth_networks", "groups"]
);
method!(
    Extents,
    Extent,
    "iscsi.extent.query",
    "SHARING_ISCSI_EXTENT_READ",
    ["id", "name", "path", "disk", "enabled", "ro"]
);
method!(
    TargetExtents,
    TargetExtent,
    "iscsi.targetextent.query",
    "SHARING_ISCSI_TARGETEXTENT_READ",
    ["target", "extent"]
);
method!(
    Initiators,
    InitiatorGroup,
    "iscsi.initiator.query",
    "SHARING_ISCSI_INITIATOR_READ",
    ["id", "initiators"]
);

/// Who may do what over an SMB share, before the permissions of the files are looked at.
#[derive(Clone, Copy, Debug)]
pub struct SmbAcl;

/// The share that is asked about.
#[derive(Clone, Debug, Serialize)]
pub struct OfShare {
    /// What clients call it, as the NAS told us.
    pub share_name: String,
}

/// Who may do what over a share.
#[derive(Clone, Debug, Deserialize)]
pub struct ShareAcl {
    /// The entries.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub share_acl: Vec<ShareAce>,
}

/// One entry.
#[derive(Clone, Debug, Deserialize)]
pub struct ShareAce {
    /// Who, by number; `S-1-1-0` is everybody.
    #[serde(default)]
    pub ae_who_sid: Option<String>,
    /// Who, by name.
    #[serde(default)]
    pub ae_who_str: Option<String>,
    /// `FULL`, `CHANGE`, `READ`.
    pub ae_perm: String,
    /// `ALLOWED`, `DENIED`.
    pub ae_type: String,
}

impl Method for SmbAcl {
    type Access = Read;
    type Params = (OfShare,);
    type Reply = ShareAcl;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("sharing.smb.getacl");
    const ROLE: Option<&'static str> = Some("SHARING_SMB_READ");

    fn example() -> Self::Params {
        (OfShare { share_name: "photos".to_owned() },)
    }
}
