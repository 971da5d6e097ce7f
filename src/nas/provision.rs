//! Making the accounts that tailnas has on a NAS: once, by `tailnas setup`, as an administrator who is there.
//!
//! This stands outside of the way of a request, and is the only thing besides the
//! [catalogue of methods](super::methods) that changes a NAS: when it is done there is no caller, no policy and no log
//! yet. The daemon never comes here, which `tests/architecture.rs` holds. What is made, the NAS records in its own audit.
//!
//! Each of the four things is looked for before it is made, so that a second run goes on where the first one ended. One
//! that is there and is not what it would be made as is left alone, and told: it may be somebody else's.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::tame;
use super::http;
use super::methods::Listed;
use super::rpc::{self, Answer, Budget, Connection, Failure, Lost, Refusal};
use super::tls::Dialer;
use super::version::Candidate;
use super::visit::TurnedAway;
use crate::config;
use crate::domain::text;
use crate::secret::Secret;

/// Making a user takes the NAS some seconds: it writes its password files anew.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is looked at of the three that may be there.
const OF_USER: [&str; 7] =
    ["id", "group", "groups", "builtin", "password_disabled", "sudo_commands", "sudo_commands_nopasswd"];
const OF_PRIVILEGE: [&str; 4] = ["local_groups", "ds_groups", "roles", "web_shell"];
const OF_GROUP: [&str; 5] = ["id", "gid", "builtin", "users", "roles"];

/// Longest name of a local user or group.
const LONGEST_NAME: usize = 32;

/// An account that is to be on a NAS. Its group and its privilege are called as it is.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    username: &'a str,
    roles: &'a BTreeSet<&'static str>,
}

impl<'a> Account<'a> {
    /// The account `username`, which is to have these roles and no others; `None` where no local user can be called
    /// that.
    #[must_use]
    pub fn new(username: &'a str, roles: &'a BTreeSet<&'static str>) -> Option<Self> {
        let mut letters = username.bytes();
        let begins_well = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let goes_on = letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        (begins_well && goes_on && username.len() <= LONGEST_NAME).then_some(Self { username, roles })
    }

    /// What it is called.
    #[must_use]
    pub const fn username(&self) -> &str {
        self.username
    }

    /// The roles it is to have, as JSON.
    #[must_use]
    pub fn roles(&self) -> Value {
        json!(self.roles)
    }

    /// What `group.create` takes.
    #[must_use]
    pub fn group(&self) -> Value {
        json!({ "name": self.username, "smb": false })
    }

    /// What `privilege.create` takes, with the POSIX number of the group.
    #[must_use]
    pub fn privilege(&self, gid: &Value) -> Value {
        json!({ "name": self.username, "local_groups": [gid], "roles": self.roles, "web_shell": false })
    }

    /// What `user.create` takes, with the number of the group in the NAS's database.
    #[must_use]
    pub fn user(&self, group: &Value) -> Value {
        json!({
            "username": self.username, "full_name": "tailnas", "group": group, "smb": false,
            "password_disabled": true, "shell": "/usr/sbin/nologin",
        })
    }

    /// What `api_key.create` takes. No two keys can have one name.
    #[must_use]
    pub fn key(&self, name: &str) -> Value {
        json!({ "name": name, "username": self.username })
    }
}

/// What a password led to.
pub enum Entry {
    /// In.
    In(Admin),
    /// To the question for a second factor.
    HalfWay(HalfWay),
}

/// An administrator whose password was right, and who has to say one thing more.
pub struct HalfWay(Admin);

/// An administrator who is logged in. Dropped, they are logged out.
pub struct Admin {
    username: String,
    connection: Connection,
    socket: Fuse<BoxFuture<'static, Lost>>,
}

#[derive(Deserialize)]
struct Verdict {
    response_type: String,
    #[serde(default)]
    urls: Vec<String>,
}

#[derive(Deserialize)]
struct Group {
    id: i64,
    gid: i64,
    builtin: bool,
    #[serde(default)]
    users: Vec<i64>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct Privilege {
    local_groups: Vec<Grantee>,
    ds_groups: Vec<Value>,
    roles: BTreeSet<String>,
    web_shell: bool,
}

#[derive(Deserialize)]
struct Grantee {
    gid: Option<i64>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    group: FirstGroup,
    groups: Vec<i64>,
    builtin: bool,
    password_disabled: bool,
    sudo_commands: Vec<Value>,
    sudo_commands_nopasswd: Vec<Value>,
}

#[derive(Deserialize)]
struct FirstGroup {
    id: i64,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

impl HalfWay {
    /// Whose second factor it is.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.0.username
    }

    /// Gives the second factor.
    ///
    /// # Errors
    ///
    /// When it is not the right one.
    pub async fn answer(self, code: &Secret) -> Result<Admin, TurnedAway> {
        let Self(mut admin) = self;
        match admin.say(&second_factor(code.expose())).await?.response_type.as_str() {
            "SUCCESS" => Ok(admin),
            _ => Err(TurnedAway {
                reason: format!("it does not take the second factor of {}", admin.username),
                hint: "Give the code that is shown now; it changes every half minute.".to_owned(),
            }),
        }
    }
}

impl Admin {
    /// Logs in with a password, over TLS and to a NAS whose certificate is the one that the configuration trusts.
    ///
    /// # Errors
    ///
    /// When the NAS cannot be reached or does not let them in.
    pub async fn log_in(nas: &config::Nas, username: &str, password: &Secret) -> Result<Entry, TurnedAway> {
        let away = |reason: String| TurnedAway {
            reason: tame(&reason),
            hint: format!("Is {} on, and may this machine reach it?", nas.url),
        };
        let dialer = Dialer::new(nas).map_err(|error| away(text::chain(&error)))?;
        http::greet(&dialer).await.and_then(|greeting| greeting.generation).map_err(away)?;
        let (connection, socket, _) = rpc::open(&dialer, &Budget::new()).await.map_err(away)?;
        let mut admin = Self { username: username.to_owned(), connection, socket: socket.boxed().fuse() };

        let Verdict { response_type, urls } = admin.say(&by_password(username, password.expose())).await?;
        let (reason, hint) = match response_type.as_str() {
            "SUCCESS" => return Ok(Entry::In(admin)),
            "OTP_REQUIRED" => return Ok(Entry::HalfWay(HalfWay(admin))),
            "AUTH_ERR" => (
                format!("it does not know a {username} with this password"),
                "Give the name and the password that you log in with at its web interface.".to_owned(),
            ),
            "EXPIRED" => (
                format!("the password of {username} is over"),
                "Log in at its web interface and set a new one.".to_owned(),
            ),
            "DENIED" => (
                format!("{username} may not use its interface for programs"),
                "Name a full administrator, such as truenas_admin.".to_owned(),
            ),
            "REDIRECT" => (
                format!("it is the standby controller; the active one is at {}", tame(&urls.join(", "))),
                "Use the address that moves with the active one.".to_owned(),
            ),
            _ => (
                "it answered the login in a way that we do not know".to_owned(),
                "Make the accounts by hand, and report this with the version of TrueNAS.".to_owned(),
            ),
        };
        Err(TurnedAway { reason, hint })
    }

    /// Makes `account`, or what of it is not there yet, and a new key for it.
    ///
    /// # Errors
    ///
    /// When the NAS refuses, or has something by that name that is not what it would be made as. What was made until
    /// then is there, and is used the next time.
    pub async fn make(&mut self, account: &Account<'_>) -> Result<Secret, TurnedAway> {
        let user: Option<User> = self.find("user.query", "username", account.username, &OF_USER).await?;
        let privilege: Option<Privilege> =
            self.find("privilege.query", "name", account.username, &OF_PRIVILEGE).await?;
        let group = self.group(account, user.as_ref(), privilege.is_some()).await?;
        // Before its group gets any rights.
        if let Some(user) = &user {
            is_only_ours(account, user, group.id)?;
        }
        match privilege {
            Some(privilege) => is_ours(account, &privilege, group.gid)?,
            None => drop(self.ask("privilege.create", &[account.privilege(&group.gid.into())]).await?),
        }
        if user.is_none() {
            self.ask("user.create", &[account.user(&group.id.into())]).await?;
        }
        self.key(account).await
    }

    async fn group(
        &mut self,
        account: &Account<'_>,
        user: Option<&User>,
        has_privilege: bool,
    ) -> Result<Group, TurnedAway> {
        let name = account.username;
        if let Some(group) = self.find::<Group>("group.query", "group", name, &OF_GROUP).await? {
            let what = if group.builtin {
                "came with the system"
            } else if group.users.iter().any(|id| user.is_none_or(|user| user.id != *id)) {
                "has members, who would get the rights of tailnas"
            } else if !has_privilege && !group.roles.is_empty() {
                "gives rights already"
            } else {
                return Ok(group);
            };
            return Err(another(&format!("a group {name} that {what}"), "group"));
        }
        self.ask("group.create", &[account.group()]).await?;
        let made = self.find("group.query", "group", name, &OF_GROUP).await?;
        made.ok_or_else(|| TurnedAway {
            reason: format!("it made the group {name}, and does not have it now"),
            hint: "Try again; if it stays so, make the accounts by hand and report this.".to_owned(),
        })
    }

    async fn key(&mut self, account: &Account<'_>) -> Result<Secret, TurnedAway> {
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|error| TurnedAway {
            reason: format!("the kernel has no randomness: {error}"),
            hint: "Wait a minute, and try again.".to_owned(),
        })?;
        let name = format!("{}-{}", account.username, hex::encode(number));
        match self.ask("api_key.create", &[account.key(&name)]).await {
            Ok(answer) => match serde_json::from_str::<Key>(answer.json()) {
                Ok(Key { key }) => Ok(Secret::new(key)),
                Err(_) => Err(TurnedAway {
                    reason: format!("it made the API key {name}, and its answer cannot be read"),
                    hint: format!("Delete {name} under Credentials > Users > API Keys, and report this."),
                }),
            },
            Err(TurnedAway { reason, hint }) => Err(TurnedAway {
                reason,
                hint: format!(
                    "{hint} If there is an API key {name} under Credentials > Users > API Keys, delete it: nobody \
                     has it."
                ),
            }),
        }
    }

    /// Logs out.
    pub async fn leave(mut self) {
        // The session ends with the connection anyway.
        let _ = self.call("auth.logout", &[(); 0]).await;
    }

    async fn say(&mut self, login: &Value) -> Result<Verdict, TurnedAway> {
        let answer = self.ask("auth.login_ex", &[login]).await?;
        serde_json::from_str(answer.json()).map_err(|_| TurnedAway {
            reason: "its answer to the login cannot be read".to_owned(),
            hint: "Is that a TrueNAS, 25.04 or newer?".to_owned(),
        })
    }

    /// The one that is called `name`, of what `method` has.
    async fn find<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        field: &str,
        name: &str,
        fields: &[&str],
    ) -> Result<Option<T>, TurnedAway> {
        let answer = self.ask(method, &called(field, name, fields)).await?;
        let mut found: Vec<T> = serde_json::from_str(answer.json()).map_err(|error| TurnedAway {
            reason: format!("its answer to {method} cannot be read: {error}"),
            hint: "Make the accounts by hand, and report this with the version of TrueNAS.".to_owned(),
        })?;
        Ok(found.pop())
    }

    async fn ask<P: Serialize>(&mut self, method: &'static str, params: &P) -> Result<Answer, TurnedAway> {
        self.call(method, params).await.map_err(|failure| self.refused(method, failure))
    }

    async fn call<P: Serialize>(&mut self, method: &'static str, params: &P) -> Result<Answer, Failure> {
        let until = Instant::now() + PATIENCE;
        tokio::select! {
            // The socket first: when both are there, the reason it gives is the better one.
            biased;
            lost = &mut self.socket => Err(Failure::Lost { lost, written: true }),
            answer = self.connection.call(method, params, until) => answer,
        }
    }

    fn refused(&self, method: &str, failure: Failure) -> TurnedAway {
        let again = "Run this again: what was made until now is found and used.";
        let (reason, hint) = match failure {
            Failure::Answered(refusal) if refusal.errno() == Some(Refusal::EACCES) => (
                format!("{} may not do {method} there", self.username),
                "Name a full administrator (the role FULL_ADMIN), such as truenas_admin.".to_owned(),
            ),
            Failure::Answered(refusal) if refusal.errno() == Some(Refusal::EBUSY) => {
                ("it limits logins for a minute".to_owned(), "Wait a minute, and try again.".to_owned())
            }
            Failure::Answered(refusal) => {
                (format!("it refused {method}: {}", refusal.words()), "Mend what it names.".to_owned())
            }
            Failure::Lost { lost, .. } => (format!("during {method}, {lost}"), again.to_owned()),
            Failure::Deadline { .. } => {
                (format!("it did not answer {method} within {} s", PATIENCE.as_secs()), again.to_owned())
            }
            Failure::TooLong => (format!("{method} would be too long"), "Choose shorter names.".to_owned()),
        };
        TurnedAway { reason, hint }
    }
}

fn by_password(username: &str, password: &str) -> Value {
    json!({ "mechanism": "PASSWORD_PLAIN", "username": username, "password": password })
}

fn second_factor(code: &str) -> Value {
    json!({ "mechanism": "OTP_TOKEN", "otp_token": code })
}

/// Filters and options for these fields of the one whose `field` is `name`.
fn called(field: &str, name: &str, fields: &[&str]) -> (Value, Value) {
    (json!([[field, "=", name]]), json!({ "select": fields }))
}

/// What all of this sends, as the [methods](super::methods) are listed: to hold it against the published schemas.
#[must_use]
pub fn sent() -> Vec<Listed> {
    const LOGIN: &[Candidate] = &Candidate::always("auth.login_ex");
    const LOGOUT: &[Candidate] = &Candidate::always("auth.logout");
    const USERS: &[Candidate] = &Candidate::always("user.query");
    const PRIVILEGES: &[Candidate] = &Candidate::always("privilege.query");
    const GROUPS: &[Candidate] = &Candidate::always("group.query");
    const NEW_USER: &[Candidate] = &Candidate::always("user.create");
    const NEW_PRIVILEGE: &[Candidate] = &Candidate::always("privilege.create");
    const NEW_GROUP: &[Candidate] = &Candidate::always("group.create");
    const NEW_KEY: &[Candidate] = &Candidate::always("api_key.create");
    let name = "tailnas-reader";
    let roles = BTreeSet::from(["READONLY_ADMIN"]);
    let account = Account { username: name, roles: &roles };
    vec![
        Listed::besides::<Verdict>(LOGIN, false, &[by_password("truenas_admin", "text")]),
        Listed::besides::<Verdict>(LOGIN, false, &[second_factor("123456")]),
        Listed::besides::<Vec<User>>(USERS, false, &called("username", name, &OF_USER)),
        Listed::besides::<Vec<Privilege>>(PRIVILEGES, false, &called("name", name, &OF_PRIVILEGE)),
        Listed::besides::<Vec<Group>>(GROUPS, false, &called("group", name, &OF_GROUP)),
        Listed::besides::<IgnoredAny>(NEW_GROUP, true, &[account.group()]),
        Listed::besides::<IgnoredAny>(NEW_PRIVILEGE, true, &[account.privilege(&json!(3001))]),
        Listed::besides::<IgnoredAny>(NEW_USER, true, &[account.user(&json!(101))]),
        Listed::besides::<Key>(NEW_KEY, true, &[account.key("tailnas-reader-1")]),
        Listed::besides::<IgnoredAny>(LOGOUT, false, &[(); 0]),
    ]
}

fn is_ours(account: &Account<'_>, there: &Privilege, gid: i64) -> Result<(), TurnedAway> {
    let Privilege { local_groups, ds_groups, roles, web_shell } = there;
    let groups: Vec<_> = local_groups.iter().map(|group| group.gid).collect();
    let same_roles = roles.iter().map(String::as_str).eq(account.roles.iter().copied());
    if same_roles && groups == [Some(gid)] && ds_groups.is_empty() && !web_shell {
        return Ok(());
    }
    let wanted = account.roles.iter().copied().collect::<Vec<_>>().join(", ");
    Err(TurnedAway {
        reason: format!("it has a privilege {} that is not the one tailnas needs", account.username),
        hint: format!(
            "Under Credentials > Groups > Privileges, give it the group {} alone, the roles {wanted} and no web shell; \
             or delete it, and it is made.",
            account.username
        ),
    })
}

/// Another group would give it more than the privilege does; and one that somebody logs in as would give the rights of
/// tailnas to them.
fn is_only_ours(account: &Account<'_>, there: &User, group: i64) -> Result<(), TurnedAway> {
    let what = if there.group.id != group || !there.groups.is_empty() {
        "is in other groups"
    } else if there.builtin {
        "came with the system"
    } else if !there.password_disabled {
        "has a password"
    } else if !there.sudo_commands.is_empty() || !there.sudo_commands_nopasswd.is_empty() {
        "may use sudo"
    } else {
        return Ok(());
    };
    Err(another(&format!("a user {} that {what}", account.username), "user"))
}

fn another(what: &str, kind: &str) -> TurnedAway {
    TurnedAway {
        reason: format!("it has {what}"),
        hint: format!(
            "Choose another name for the account: it is in the configuration, as is the key. If nobody needs that {kind}, \
             delete it on the NAS."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_local_users_makes_no_account() {
        let roles = BTreeSet::new();
        for name in ["tailnas-reader", "_x", "A.b_c-9"] {
            assert!(Account::new(name, &roles).is_some(), "{name}");
        }
        let long = "x".repeat(LONGEST_NAME + 1);
        for name in ["", "-x", "9x", "a b", "a'b", "a\"b", "a$", "EXAMPLE\\alice", "ä", "a\n", &long] {
            assert!(Account::new(name, &roles).is_none(), "{name}");
        }
    }
}
