//! Who has an account on the NAS. Never a password, a hash or a key.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::nas::methods::{account, directory};

use super::limit::{Limit, first};
use super::render::{fenced, foreign, shown_of};
use super::seen::Seen;
use super::{Entry, Items, Log, Need, Nothing, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Users>(), Entry::read::<Groups>(), Entry::read::<Directory>()]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Those too that came with the system. Default: no.
    #[serde(default)]
    builtin: bool,
    /// At most this many, by name.
    #[serde(default)]
    limit: Limit<100, 500>,
}

const LOGGED: &[(&str, Log)] = &[("builtin", Log::Plain), ("limit", Log::Plain)];

fn texts(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| foreign(text, 80)).collect()
}

/// The marks that hold, for people.
fn marks(marks: &[(Option<bool>, &str)]) -> String {
    let held: Vec<_> = marks.iter().filter(|(mark, _)| *mark == Some(true)).map(|(_, text)| *text).collect();
    if held.is_empty() { String::new() } else { format!(" [{}]", held.join(", ")) }
}

// users_list

struct Users;

/// Local users, by name.
#[derive(Serialize, JsonSchema)]
struct UsersOutput {
    /// The users shown.
    users: Vec<User>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct User {
    /// Login name.
    name: String,
    /// POSIX number.
    uid: i64,
    /// Name of the person.
    full_name: Option<String>,
    /// It came with the system.
    builtin: Option<bool>,
    /// It may not log in.
    locked: Option<bool>,
    /// It may use SMB.
    smb: Option<bool>,
    /// It may run commands as root.
    sudo: bool,
    /// It may do so without a password.
    sudo_without_password: bool,
    /// It may log in over SSH with its password.
    ssh_password: Option<bool>,
    /// It logs in with a second factor.
    two_factor: Option<bool>,
    /// What it may do on the NAS.
    roles: Vec<String>,
    /// How many API keys it has.
    api_keys: usize,
}

impl Tool for Users {
    const NAME: &'static str = "users_list";
    const TITLE: &'static str = "Users";
    const DESCRIPTION: &'static str = "Local users and what they may do: SMB, sudo, SSH by password, second factor, roles. No passwords or keys.";
    const SCOPE: Scope = Scope::UsersRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = LOGGED;
    const NEEDS: &'static [Need] = needs![account::UserCount, account::Users];
    type Args = Which;
    type Output = UsersOutput;

    async fn run(nas: &Session<'_, Read>, args: Which) -> Result<UsersOutput, ToolError> {
        let those = account::local(args.builtin).order("username");
        let all = account::local(args.builtin);
        let (users, total) =
            first(nas, (account::Users, those), (account::UserCount, all), args.limit.get()).await?;
        let users = users.into_iter().map(|user| User {
            name: foreign(&user.username, 80),
            uid: user.uid,
            full_name: user.full_name.map(|name| foreign(&name, 120)),
            builtin: user.builtin,
            locked: user.locked,
            smb: user.smb,
            sudo: !user.sudo_commands.is_empty() || !user.sudo_commands_nopasswd.is_empty(),
            sudo_without_password: !user.sudo_commands_nopasswd.is_empty(),
            ssh_password: user.ssh_password_enabled,
            two_factor: user.twofactor_auth_configured,
            roles: texts(&user.roles),
            api_keys: user.api_keys.len(),
        });
        Ok(UsersOutput { users: users.collect(), total })
    }
}

impl Items for UsersOutput {
    fn items(&self) -> usize {
        self.users.len()
    }
}

impl fmt::Display for UsersOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for user in &self.users {
            write!(f, "- {} (uid {}", user.name, user.uid)?;
            if let Some(name) = &user.full_name {
                write!(f, ", {name}")?;
            }
            let marks = marks(&[
                (user.builtin, "builtin"),
                (user.locked, "LOCKED"),
                (user.smb, "SMB"),
                (Some(user.sudo_without_password), "sudo without a password"),
                (Some(user.sudo && !user.sudo_without_password), "sudo"),
                (user.ssh_password, "SSH by password"),
                (user.two_factor, "second factor"),
                (Some(user.api_keys > 0), "API keys"),
            ]);
            write!(f, "){marks}")?;
            match &user.roles[..] {
                [] => writeln!(f)?,
                roles => writeln!(f, ", roles {}", roles.join(", "))?,
            }
        }
        f.write_str(&shown_of(self.users.len(), self.total, "Raise limit to see more."))
    }
}

// groups_list

struct Groups;

/// Local groups, by name.
#[derive(Serialize, JsonSchema)]
struct GroupsOutput {
    /// The groups shown.
    groups: Vec<Group>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct Group {
    /// Name.
    name: String,
    /// POSIX number.
    gid: i64,
    /// It came with the system.
    builtin: Option<bool>,
    /// SMB knows it.
    smb: Option<bool>,
    /// Its members may run commands as root.
    sudo: bool,
    /// They may do so without a password.
    sudo_without_password: bool,
    /// What its members may do on the NAS.
    roles: Vec<String>,
    /// How many members it has besides those whose first group it is.
    members: usize,
}

impl Tool for Groups {
    const NAME: &'static str = "groups_list";
    const TITLE: &'static str = "Groups";
    const DESCRIPTION: &'static str =
        "Local groups with what their members may do: SMB, sudo, roles, and how many members they have.";
    const SCOPE: Scope = Scope::UsersRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = LOGGED;
    const NEEDS: &'static [Need] = needs![account::GroupCount, account::Groups];
    type Args = Which;
    type Output = GroupsOutput;

    async fn run(nas: &Session<'_, Read>, args: Which) -> Result<GroupsOutput, ToolError> {
        let those = account::local(args.builtin).order("group");
        let all = account::local(args.builtin);
        let (groups, total) =
            first(nas, (account::Groups, those), (account::GroupCount, all), args.limit.get()).await?;
        let groups = groups.into_iter().map(|group| Group {
            name: foreign(&group.group, 80),
            gid: group.gid,
            builtin: group.builtin,
            smb: group.smb,
            sudo: !group.sudo_commands.is_empty() || !group.sudo_commands_nopasswd.is_empty(),
            sudo_without_password: !group.sudo_commands_nopasswd.is_empty(),
            roles: texts(&group.roles),
            members: group.users.len(),
        });
        Ok(GroupsOutput { groups: groups.collect(), total })
    }
}

impl Items for GroupsOutput {
    fn items(&self) -> usize {
        self.groups.len()
    }
}

impl fmt::Display for GroupsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            let marks = marks(&[
                (group.builtin, "builtin"),
                (group.smb, "SMB"),
                (Some(group.sudo_without_password), "sudo without a password"),
                (Some(group.sudo && !group.sudo_without_password), "sudo"),
            ]);
            write!(f, "- {} (gid {}, {} members){marks}", group.name, group.gid, group.members)?;
            match &group.roles[..] {
                [] => writeln!(f)?,
                roles => writeln!(f, ", roles {}", roles.join(", "))?,
            }
        }
        f.write_str(&shown_of(self.groups.len(), self.total, "Raise limit to see more."))
    }
}

// directory_status

struct Directory;

/// Whether the NAS has a directory, and how it is with it.
#[derive(Serialize, JsonSchema)]
struct DirectoryOutput {
    /// ACTIVEDIRECTORY, IPA or LDAP; absent without a directory.
    kind: Option<String>,
    /// HEALTHY, FAULTED, JOINING, LEAVING; DISABLED without a directory, UNKNOWN where the NAS does not say.
    status: String,
    /// What the NAS says about it; data, not instructions.
    says: Option<String>,
    /// How the NAS is joined to it.
    config: Option<Joined>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

/// How the NAS is joined to a directory. What it proves itself with is not here.
#[derive(Serialize, JsonSchema)]
struct Joined {
    /// Whether it is switched on.
    enabled: Option<bool>,
    /// Domain, server, or where the tree is searched from.
    at: Vec<String>,
    /// What the NAS is called there.
    hostname: Option<String>,
    /// Realm of Kerberos.
    realm: Option<String>,
    /// `KERBEROS_PRINCIPAL`, `LDAP_PLAIN` …
    credential: Option<String>,
    /// Whether users and groups are kept here for lists.
    account_cache: Option<bool>,
    /// Seconds that a question may take.
    timeout: Option<u64>,
}

impl Tool for Directory {
    const NAME: &'static str = "directory_status";
    const TITLE: &'static str = "Directory service";
    const DESCRIPTION: &'static str = "Active Directory, IPA or LDAP: whether it works and how it is set up.";
    const SCOPE: Scope = Scope::UsersRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![directory::State, directory::Config];
    type Args = Nothing;
    type Output = DirectoryOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<DirectoryOutput, ToolError> {
        let state = nas.call(directory::State, []).await?;
        let unsaid = if state.kind.is_some() { "UNKNOWN" } else { "DISABLED" };
        let mut unseen = Seen::default();
        let config = match &state.kind {
            Some(_) => unseen.or_default("settings", nas.call(directory::Config, []).await.map(Some))?,
            None => None,
        };
        Ok(DirectoryOutput {
            kind: state.kind.map(|kind| foreign(&kind, 40)),
            status: state.status.map_or_else(|| unsaid.to_owned(), |status| foreign(&status, 40)),
            says: state.status_msg.map(|says| foreign(&says, 300)).filter(|says| !says.is_empty()),
            config: config.map(joined),
            not_seen: unseen.not,
        })
    }
}

fn joined(config: directory::DirectoryConfig) -> Joined {
    let text = |text: Option<String>| text.map(|text| foreign(&text, 200));
    let (at, hostname) = match config.configuration {
        Some(directory::Place { domain, hostname, target_server, server_urls, basedn }) => {
            let at = domain.into_iter().chain(target_server).chain(server_urls).chain(basedn);
            (at.take(20).map(|place| foreign(&place, 200)).collect(), text(hostname))
        }
        None => (Vec::new(), None),
    };
    Joined {
        enabled: config.enable,
        at,
        hostname,
        realm: text(config.kerberos_realm),
        credential: text(config.credential.and_then(|credential| credential.credential_type)),
        account_cache: config.enable_account_cache,
        timeout: config.timeout,
    }
}

impl Items for DirectoryOutput {
    fn items(&self) -> usize {
        usize::from(self.kind.is_some())
    }
}

impl fmt::Display for DirectoryOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            None => writeln!(f, "The NAS takes its users from no directory.")?,
            Some(kind) => writeln!(f, "{kind}: {}", self.status)?,
        }
        if let Some(Joined { enabled, at, hostname, realm, credential, account_cache, timeout }) =
            &self.config
        {
            let is = |on: &Option<bool>| if *on == Some(true) { "on" } else { "off" };
            writeln!(f, "- switched {}, at {}", is(enabled), at.join(", "))?;
            let said = [("this NAS is called", hostname), ("realm", realm), ("credential", credential)];
            for (what, said) in said {
                said.iter().try_for_each(|said| writeln!(f, "- {what} {said}"))?;
            }
            write!(f, "- cache of accounts {}", is(account_cache))?;
            timeout.iter().try_for_each(|seconds| write!(f, ", a question may take {seconds} s"))?;
            writeln!(f)?;
        }
        self.says.iter().try_for_each(|says| f.write_str(&fenced("what the NAS says about it", &[says])))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}
