//! Files and folders: what there is, and who may get at it. What stands in a file is not to be had: that takes a
//! full administrator.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::query::{Compare, Query, Queryable};
use super::{Method, Then};
use crate::domain::access::Read;
use crate::domain::name::FilePath;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// What is in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Listing;

/// How much is in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Count;

/// What one thing is.
#[derive(Clone, Copy, Debug)]
pub struct Stat;

/// Who may do what with a file or folder.
#[derive(Clone, Copy, Debug)]
pub struct Acl;

/// Something in a folder.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// What it is called; any text without a slash.
    pub name: String,
    /// `DIRECTORY`, `FILE`, `SYMLINK`, `OTHER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
}

/// What a path leads to.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The path, all links on the way followed.
    pub realpath: String,
    /// `DIRECTORY`, `FILE`, `SYMLINK`, `OTHER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// When its contents changed last, in seconds of 1970.
    pub mtime: f64,
    /// Its number on its dataset.
    pub inode: u64,
}

/// Who may do what.
#[derive(Clone, Debug, Deserialize)]
pub struct Permissions {
    /// `NFS4`, `POSIX1E`, `DISABLED`.
    pub acltype: String,
    /// Owner.
    #[serde(default)]
    pub user: Option<String>,
    /// Group.
    #[serde(default)]
    pub group: Option<String>,
    /// Nothing but what the mode bits say.
    #[serde(default)]
    pub trivial: Option<bool>,
    /// The entries.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub acl: Vec<AclEntry>,
}

/// One entry of a list of permissions.
#[derive(Clone, Debug, Deserialize)]
pub struct AclEntry {
    /// `owner@`, `group@`, `everyone@`, `USER`, `GROUP`; `USER_OBJ`, `GROUP_OBJ`, `OTHER`, `MASK`.
    pub tag: String,
    /// Number of the user or group.
    #[serde(default)]
    pub id: Option<i64>,
    /// Its name.
    #[serde(default)]
    pub who: Option<String>,
    /// `ALLOW`, `DENY`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// A truth for each right, or one word for all of them.
    #[serde(default)]
    pub perms: BTreeMap<String, Value>,
    /// It is what new files get, and says nothing of this one.
    #[serde(default)]
    pub default: Option<bool>,
}

/// What is in `folder`, by name, no more than so many.
#[must_use]
pub fn first(folder: FilePath, items: u32) -> Then<FilePath, Listing> {
    Then(folder, Query::all().order("name").limit(items))
}

impl Queryable for Listing {
    const SELECT: &'static [&'static str] = &["name", "type", "size"];
}

impl Queryable for Count {
    const COUNT: bool = true;
}

const LISTDIR: &[Candidate] = &Candidate::always("filesystem.listdir");
const ROLE: Option<&str> = Some("FILESYSTEM_ATTRS_READ");

#[expect(clippy::expect_used, reason = "the path is right there")]
fn somewhere() -> FilePath {
    "/mnt/tank/photos".parse().expect("a path")
}

impl Method for Listing {
    type Access = Read;
    type Params = Then<FilePath, Self>;
    type Reply = Vec<Item>;
    const CANDIDATES: &'static [Candidate] = LISTDIR;
    const ROLE: Option<&'static str> = ROLE;

    fn example() -> Self::Params {
        Then(somewhere(), Query::all().filter("name", Compare::StartsWith, "a").order("name").limit(100))
    }
}

impl Method for Count {
    type Access = Read;
    type Params = Then<FilePath, Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = LISTDIR;
    const ROLE: Option<&'static str> = ROLE;

    fn example() -> Self::Params {
        Then(somewhere(), Query::all())
    }
}

impl Method for Stat {
    type Access = Read;
    type Params = (FilePath,);
    type Reply = Status;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("filesystem.stat");
    const ROLE: Option<&'static str> = ROLE;

    fn example() -> Self::Params {
        (somewhere(),)
    }
}

impl Method for Acl {
    type Access = Read;
    /// The path, whether to put rights together to one word, whether to name who has a number.
    type Params = (FilePath, bool, bool);
    type Reply = Permissions;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("filesystem.getacl");
    const ROLE: Option<&'static str> = ROLE;

    fn example() -> Self::Params {
        (somewhere(), true, true)
    }
}
