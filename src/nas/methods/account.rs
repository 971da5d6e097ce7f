//! Local users and groups, without passwords, hashes and keys.

use serde::Deserialize;

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// The users.
#[derive(Clone, Copy, Debug)]
pub struct Users;

/// How many users there are.
#[derive(Clone, Copy, Debug)]
pub struct UserCount;

/// The groups.
#[derive(Clone, Copy, Debug)]
pub struct Groups;

/// How many groups there are.
#[derive(Clone, Copy, Debug)]
pub struct GroupCount;

/// Local accounts; with `builtin`, those too that came with the system.
#[must_use]
pub fn local<M: Queryable>(builtin: bool) -> Query<M> {
    let local = Query::all().filter("local", Compare::Is, true);
    if builtin { local } else { local.filter("builtin", Compare::Is, false) }
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// POSIX number.
    pub uid: i64,
    /// Login name.
    pub username: String,
    /// Name of the person.
    #[serde(default)]
    pub full_name: Option<String>,
    /// It came with the system.
    #[serde(default)]
    pub builtin: Option<bool>,
    /// It may not log in.
    #[serde(default)]
    pub locked: Option<bool>,
    /// It may use SMB.
    #[serde(default)]
    pub smb: Option<bool>,
    /// It has no password to log in with.
    #[serde(default)]
    pub password_disabled: Option<bool>,
    /// It may log in over SSH with its password.
    #[serde(default)]
    pub ssh_password_enabled: Option<bool>,
    /// What it may run as root.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sudo_commands: Vec<String>,
    /// What it may run as root without a password.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sudo_commands_nopasswd: Vec<String>,
    /// What it may do on the NAS.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub roles: Vec<String>,
    /// Numbers of its API keys, not the keys.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub api_keys: Vec<i64>,
    /// It logs in with a second factor.
    #[serde(default)]
    pub twofactor_auth_configured: Option<bool>,
}

/// A group.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// POSIX number.
    pub gid: i64,
    /// Name.
    pub group: String,
    /// It came with the system.
    #[serde(default)]
    pub builtin: Option<bool>,
    /// SMB knows it.
    #[serde(default)]
    pub smb: Option<bool>,
    /// What its members may run as root.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sudo_commands: Vec<String>,
    /// What its members may run as root without a password.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sudo_commands_nopasswd: Vec<String>,
    /// What its members may do on the NAS.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub roles: Vec<String>,
    /// Numbers of its members.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub users: Vec<i64>,
}

impl Queryable for Users {
    const SELECT: &'static [&'static str] = &[
        "uid",
        "username",
        "full_name",
        "builtin",
        "locked",
        "smb",
        "password_disabled",
        "ssh_password_enabled",
        "sudo_commands",
        "sudo_commands_nopasswd",
        "roles",
        "api_keys",
        "twofactor_auth_configured",
    ];
}

impl Queryable for UserCount {
    const COUNT: bool = true;
}

impl Queryable for Groups {
    const SELECT: &'static [&'static str] =
        &["gid", "group", "builtin", "smb", "sudo_commands", "sudo_commands_nopasswd", "roles", "users"];
}

impl Queryable for GroupCount {
    const COUNT: bool = true;
}

macro_rules! method {
    ($item:ident, $reply:ty, $name:literal) => {
        impl Method for $item {
            type Access = Read;
            type Params = Query<Self>;
            type Reply = $reply;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some("ACCOUNT_READ");
            const TOLD: bool = true;

            fn example() -> Self::Params {
                local(false)
            }
        }
    };
}

method!(Users, Vec<User>, "user.query");
method!(UserCount, u64, "user.query");
method!(Groups, Vec<Group>, "group.query");
method!(GroupCount, u64, "group.query");
