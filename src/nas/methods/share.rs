//! What the NAS gives to the network: SMB, NFS, iSCSI.

use serde::{Deserialize, Serialize};

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::domain::name::{Host, ShareName};
use crate::nas::version::{Candidate, Version};
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
    /// Its number.
    #[serde(default)]
    pub id: Option<i64>,
    /// What it is made for: `DEFAULT_SHARE` …
    #[serde(default)]
    pub purpose: Option<String>,
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
    /// Names that Windows does not know are written as they are.
    #[serde(default)]
    pub aapl_name_mangling: Option<bool>,
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
    /// Its number.
    #[serde(default)]
    pub id: Option<i64>,
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
            const TOLD: bool = true;

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
        "id",
        "purpose",
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
        "options.hostsdeny",
        "options.aapl_name_mangling"
    ]
);
method!(
    NfsShares,
    NfsShare,
    "sharing.nfs.query",
    "SHARING_NFS_READ",
    ["id", "path", "enabled", "ro", "networks", "hosts", "maproot_user", "mapall_user", "security"]
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

/// From here on an SMB share says what it is made for, and has the options of that.
pub const PURPOSES: Version = Version::new(25, 10, 0);

/// What a share is made for that is made for nothing in particular.
pub const PLAIN: &str = "DEFAULT_SHARE";

/// How an SMB share is set, or what of it is set anew. What is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SmbSettings {
    /// What clients call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ShareName>,
    /// The directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// It is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Clients may not write; 25.04.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ro: Option<bool>,
    /// Only these; 25.04.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostsallow: Option<Vec<Host>>,
    /// Clients may not write; since [`PURPOSES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly: Option<bool>,
    /// The rest; since [`PURPOSES`], and only as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<SmbOptions>,
}

/// Options of a share that is made for nothing in particular: all there are.
#[derive(Clone, Debug, Serialize)]
pub struct SmbOptions {
    purpose: &'static str,
    /// Names that Windows does not know are written as they are.
    pub aapl_name_mangling: bool,
    /// Only these.
    pub hostsallow: Vec<Host>,
    /// Not these.
    pub hostsdeny: Vec<String>,
}

impl SmbOptions {
    /// Those of a share that lets in `hosts`; the others are as `access` has them.
    #[must_use]
    pub fn letting_in(hosts: Vec<Host>, access: &SmbAccess) -> Self {
        Self {
            purpose: PLAIN,
            aapl_name_mangling: access.aapl_name_mangling.unwrap_or_default(),
            hostsallow: hosts,
            hostsdeny: access.hostsdeny.clone(),
        }
    }
}

/// How an NFS share is set, or what of it is set anew. What is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NfsSettings {
    /// The directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// It is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Clients may not write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ro: Option<bool>,
    /// Only these networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Host>>,
    /// Only these hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<Host>>,
}

impl NfsSettings {
    /// Lets in these alone, or everybody where there are none.
    #[must_use]
    pub fn letting_in(self, hosts: Vec<Host>) -> Self {
        let (networks, hosts) = hosts.into_iter().partition(Host::is_network);
        Self { networks: Some(networks), hosts: Some(hosts), ..self }
    }
}

/// It was written; what it is can be asked.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Written {}

macro_rules! change {
    ($(#[$doc:meta])* $item:ident, $params:ty, $reply:ty, $name:literal, $role:literal, $example:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $item;

        impl Method for $item {
            type Access = Write;
            type Params = $params;
            type Reply = $reply;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some($role);

            fn example() -> Self::Params {
                $example
            }
        }
    };
}

fn smb_example() -> SmbSettings {
    SmbSettings {
        name: "photos".parse().ok(),
        path: Some("/mnt/tank/photos".to_owned()),
        enabled: Some(true),
        ..SmbSettings::default()
    }
}

fn nfs_example() -> NfsSettings {
    let hosts = ["192.168.1.0/24", "desk.example.com"].into_iter().filter_map(|host| host.parse().ok());
    let path = Some("/mnt/tank/photos".to_owned());
    NfsSettings { path, enabled: Some(true), ro: Some(true), ..NfsSettings::default() }
        .letting_in(hosts.collect())
}

change! {
    /// Makes an SMB share.
    SmbCreate, (SmbSettings,), Written, "sharing.smb.create", "SHARING_SMB_WRITE", (smb_example(),)
}
change! {
    /// Changes an SMB share.
    SmbUpdate, (i64, SmbSettings), Written, "sharing.smb.update", "SHARING_SMB_WRITE", (1, smb_example())
}
change! {
    /// Takes an SMB share away. The files stay.
    SmbDelete, (i64,), bool, "sharing.smb.delete", "SHARING_SMB_WRITE", (1,)
}
change! {
    /// Makes an NFS share.
    NfsCreate, (NfsSettings,), Written, "sharing.nfs.create", "SHARING_NFS_WRITE", (nfs_example(),)
}
change! {
    /// Changes an NFS share.
    NfsUpdate, (i64, NfsSettings), Written, "sharing.nfs.update", "SHARING_NFS_WRITE", (1, nfs_example())
}
change! {
    /// Takes an NFS share away. The files stay.
    NfsDelete, (i64,), bool, "sharing.nfs.delete", "SHARING_NFS_WRITE", (1,)
}
