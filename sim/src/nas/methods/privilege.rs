//! `privilege.*`, but for what a session does to itself.

use serde_json::{Value, json};

use super::user::group_row;
use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::accounts::Roles;
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Privilege, State};
use crate::nas::wire::{Complaint, EINVAL, Failure};

const NEW: &[Param] = &[required(
    "privilege_create",
    Kind::Model(&[
        required("name", Kind::Name),
        optional("local_groups", Kind::List),
        optional("ds_groups", Kind::List),
        optional("roles", Kind::Strings),
        required("web_shell", Kind::Bool),
    ]),
)];

/// Roles that stand for many others.
const TOP: [&str; 4] = ["FULL_ADMIN", "READONLY_ADMIN", "SHARING_ADMIN", "REPLICATION_ADMIN"];

pub(super) const METHODS: &[Method] = &[
    method("privilege.query", Access::Role("PRIVILEGE_READ"), QUERY, query),
    method("privilege.create", Access::Role("PRIVILEGE_WRITE"), NEW, create),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let privileges = context.state.privileges.iter();
    context.query(privileges.map(|privilege| row(privilege, context.state, generation)).collect())
}

fn create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let new = context.args.get(0).clone();
    let list = |name: &str| new[name].as_array().cloned().unwrap_or_default();
    let name = new["name"].as_str().unwrap_or_default().to_owned();
    let state = &mut *context.state;
    let mut complaints = Vec::new();
    let mut complain = |attribute: String, message: String| {
        complaints.push(Complaint { attribute: Some(attribute), message, errno: EINVAL });
    };
    if state.privileges.iter().any(|privilege| privilege.name == name) {
        complain("privilege_create.name".to_owned(), "Object with this name already exists".to_owned());
    }
    let groups: Vec<_> = list("local_groups").iter().filter_map(Value::as_i64).collect();
    for (index, gid) in groups.iter().enumerate() {
        if state.groups.iter().all(|group| group.gid != *gid) {
            let message = format!(
                "{gid}: local group does not exist. This error may be addressed by either re-creating the missing \
                 group with the specified group id or removing this entry from the privilege."
            );
            complain(format!("privilege_create.local_groups.{index}"), message);
        }
    }
    let roles: Vec<_> = list("roles").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for (index, _) in roles.iter().enumerate().filter(|(_, role)| !is_role(role, generation)) {
        complain(format!("privilege_create.roles.{index}"), "Invalid role".to_owned());
    }
    if !complaints.is_empty() {
        return Err(Failure::Invalid(complaints));
    }
    let id = 1 + state.privileges.iter().map(|privilege| privilege.id).max().unwrap_or(0);
    let web_shell = new["web_shell"] == true;
    state.privileges.push(Privilege { id, name, builtin: None, groups: groups.clone(), roles, web_shell });
    give(state, &groups);
    let made = state.privileges.last().map(|privilege| row(privilege, state, generation));
    Ok(Answer::Value(made.unwrap_or_default()))
}

/// Who is in these groups already has what they give, from the next login on.
fn give(state: &mut State, gids: &[i64]) {
    for gid in gids {
        let group = state.groups.iter().find(|group| group.gid == *gid).map(|group| group.id);
        let roles = Roles::new(&state.roles_of_group(*gid));
        let members = state.users.iter().filter(|user| user.group.is_some() && user.group == group);
        for name in members.map(|user| user.username.clone()).collect::<Vec<_>>() {
            if let Some(account) = state.accounts.iter_mut().find(|account| account.username == name) {
                account.roles = roles.clone();
            }
        }
    }
}

/// The NAS has a list of them; here it is enough to look like one, and to be none that only another generation has.
fn is_role(name: &str, generation: Generation) -> bool {
    let elsewhere = if generation >= Generation::V26 { "VIRT_" } else { "CONTAINER_" };
    if name.starts_with(elsewhere) {
        return false;
    }
    TOP.contains(&name) || ["_READ", "_WRITE", "_DELETE"].iter().any(|ending| name.ends_with(ending))
}

fn row(privilege: &Privilege, state: &State, generation: Generation) -> Value {
    let Privilege { id, name, builtin, groups, roles, web_shell } = privilege;
    let groups = groups.iter().map(|gid| {
        let group = state.groups.iter().find(|group| group.gid == *gid);
        group.map_or_else(
            || json!({"gid": gid, "sid": null, "group": null}),
            |group| group_row(group, state, generation),
        )
    });
    json!({
        "id": id,
        "builtin_name": builtin,
        "name": name,
        "local_groups": groups.collect::<Vec<_>>(),
        "ds_groups": [],
        "roles": roles,
        "web_shell": web_shell,
    })
}
