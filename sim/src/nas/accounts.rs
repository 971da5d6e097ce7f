//! Who may log in, with which key, and what that lets them do.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

/// A user name and the key that belongs to it, as a client would be given them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Name of the user.
    pub username: String,
    /// `<number>-<64 letters and digits>`
    pub key: String,
}

/// A user with a privilege and API keys.
#[derive(Clone, Debug)]
pub struct Account {
    /// Name of the user.
    pub username: String,
    /// What it may do.
    pub roles: Roles,
    /// Its keys.
    pub keys: Vec<Key>,
    /// What it logs in with where a person does; `None` for one that has no password.
    pub password: Option<String>,
    /// What it is asked for after the password; a real one changes by the minute.
    pub second_factor: Option<String>,
}

/// An API key as the server keeps it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Number in the database, also the first part of the key.
    pub id: i64,
    /// What follows the number.
    pub secret: String,
    /// What it is called; `None` for one that is called like its user.
    pub name: Option<String>,
    /// What it is stretched with, for logins that do not show it.
    pub salt: [u8; 16],
    /// When it stops being accepted.
    pub expires: Option<DateTime<Utc>>,
    /// Whether the server has revoked it for good.
    pub revoked: bool,
}

impl Account {
    pub(crate) fn with_key(username: &str, roles: &[&str], id: i64) -> (Self, ApiKey) {
        let secret = super::random_text(64);
        let key = ApiKey { username: username.to_owned(), key: format!("{id}-{secret}") };
        let account =
            Self { keys: vec![Key::new(id, secret)], ..Self::without_keys(username, Roles::new(roles)) };
        (account, key)
    }

    pub(crate) fn without_keys(username: &str, roles: Roles) -> Self {
        Self { username: username.to_owned(), roles, keys: Vec::new(), password: None, second_factor: None }
    }
}

impl Key {
    pub(crate) fn new(id: i64, secret: String) -> Self {
        Self { id, secret, name: None, salt: super::random_bytes(), expires: None, revoked: false }
    }
}

/// A set of role names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<String>);

impl Roles {
    /// These roles.
    pub fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether they let their holder do nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they let their holder do everything.
    pub fn full_admin(&self) -> bool {
        self.0.contains("FULL_ADMIN")
    }

    /// Whether they let their holder do what asks for `role`. Roles only ever add.
    pub fn allow(&self, role: &str) -> bool {
        let writes = role.strip_suffix("_READ").map(|what| format!("{what}_WRITE"));
        self.full_admin()
            || self.0.contains(role)
            || (role.ends_with("_READ") && self.0.contains("READONLY_ADMIN"))
            || writes.is_some_and(|writes| self.0.contains(&writes))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
