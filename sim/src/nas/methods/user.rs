//! `user.*` and `group.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::accounts::{Account, Roles};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Group, State, User};
use crate::nas::wire::{Complaint, EEXIST, EINVAL, Failure};
use crate::nas::{CANARY, Generation};

const NEW_GROUP: &[Param] = &[required(
    "group_create",
    Kind::Model(&[
        optional("gid", Kind::NullOr(&Kind::Int)),
        required("name", Kind::Str),
        optional("smb", Kind::Bool),
        optional("sudo_commands", Kind::Strings),
        optional("sudo_commands_nopasswd", Kind::Strings),
        optional("userns_idmap", Kind::Any),
        optional("users", Kind::List),
    ]),
)];

const USER: [Param; 19] = [
    optional("uid", Kind::NullOr(&Kind::Int)),
    required("username", Kind::Str),
    required("full_name", Kind::Name),
    optional("group", Kind::NullOr(&Kind::Int)),
    optional("group_create", Kind::Bool),
    optional("groups", Kind::List),
    optional("home", Kind::Name),
    optional("home_create", Kind::Bool),
    optional("home_mode", Kind::Str),
    optional("shell", Kind::Name),
    optional("email", Kind::NullOr(&Kind::Str)),
    optional("password", Kind::NullOr(&Kind::Str)),
    optional("password_disabled", Kind::Bool),
    optional("ssh_password_enabled", Kind::Bool),
    optional("locked", Kind::Bool),
    optional("smb", Kind::Bool),
    optional("sudo_commands", Kind::Strings),
    optional("sshpubkey", Kind::NullOr(&Kind::Str)),
    optional("userns_idmap", Kind::Any),
];

const NEW_USER: &[Param] = &[required("user_create", Kind::Model(&USER))];

pub(super) const METHODS: &[Method] = &[
    method("user.query", Access::Role("ACCOUNT_READ"), QUERY, query),
    method("user.create", Access::Role("ACCOUNT_WRITE"), NEW_USER, create),
    method("group.query", Access::Role("ACCOUNT_READ"), QUERY, groups),
    method("group.create", Access::Role("ACCOUNT_WRITE"), NEW_GROUP, create_group),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let roles = &context.login()?.roles;
    let secrets = roles.full_admin() || roles.allow("ACCOUNT_WRITE");
    let generation = context.generation();
    let users = context.state.users.iter();
    context.query(users.map(|user| row(user, context.state, generation, secrets)).collect())
}

fn groups(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let groups = context.state.groups.iter();
    context.query(groups.map(|group| group_row(group, context.state, generation)).collect())
}

fn create_group(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let new = context.args.get(0);
    let name = new["name"].as_str().unwrap_or_default().to_owned();
    let smb = new["smb"] != false;
    let groups = &mut context.state.groups;
    if groups.iter().any(|group| group.name == name) {
        return Err(taken("group_create.name", format!("A Group with the name \"{name}\" already exists.")));
    }
    let id = 1 + groups.iter().map(|group| group.id).max().unwrap_or(0);
    let gid = 1 + groups.iter().map(|group| group.gid).max().unwrap_or(2999).max(2999);
    groups.push(Group { id, gid, name, builtin: false, smb, users: Vec::new() });
    Ok(Answer::Value(id.into()))
}

fn create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let new = context.args.get(0).clone();
    let text = |name: &str| new[name].as_str().unwrap_or_default().to_owned();
    let (username, smb, password_disabled) =
        (text("username"), new["smb"] != false, new["password_disabled"] == true);
    let state = &mut *context.state;
    if new["group"].is_null() == (new["group_create"] != true) {
        let words = "Enter either a group name or create a new group to continue.";
        return Err(Failure::invalid("user_create.group", words));
    }
    if state.users.iter().any(|user| user.username == username) {
        return Err(taken("user_create.username", format!("The username \"{username}\" already exists.")));
    }
    if !password_disabled && new["password"].as_str().is_none_or(str::is_empty) {
        return Err(Failure::invalid("user_create.password", "Password is required"));
    }
    if password_disabled && smb {
        let words = "Password authentication may not be disabled for SMB users.";
        return Err(Failure::invalid("user_create.password_disabled", words));
    }
    let group = new["group"].as_i64();
    let Some(gid) = state.groups.iter().find(|one| Some(one.id) == group).map(|one| one.gid) else {
        return Err(Failure::call(EINVAL, format!("Group {} not found", new["group"])));
    };
    let id = 1 + state.users.iter().map(|user| user.id).max().unwrap_or(0);
    let user = User {
        id,
        uid: 1 + state.users.iter().map(|user| user.uid).max().unwrap_or(2999),
        username: username.clone(),
        full_name: text("full_name"),
        builtin: false,
        locked: new["locked"] == true,
        smb,
        group,
        password_disabled,
        shell: if new["shell"].is_null() { "/usr/bin/zsh".to_owned() } else { text("shell") },
    };
    let roles = Roles::new(&state.roles_of_group(gid));
    state.accounts.push(Account::without_keys(&username, roles));
    let mut made = row(&user, state, generation, true);
    made["password"] = Value::Null;
    state.users.push(user);
    Ok(Answer::Value(made))
}

fn taken(attribute: &str, message: String) -> Failure {
    Failure::Invalid(vec![Complaint { attribute: Some(attribute.to_owned()), message, errno: EEXIST }])
}

pub(super) fn group_row(group: &Group, state: &State, generation: Generation) -> Value {
    let Group { id, gid, name, builtin, smb, users } = group;
    let mut row = json!({
        "id": id,
        "gid": gid,
        "name": name,
        "group": name,
        "builtin": builtin,
        "sudo_commands": [],
        "sudo_commands_nopasswd": [],
        "smb": smb,
        "userns_idmap": null,
        "sid": smb.then(|| format!("S-1-5-21-1000-2000-3000-{}", 20_000 + id)),
        "roles": state.roles_of_group(*gid),
        "local": true,
        "users": users,
    });
    match generation {
        Generation::V25_04 => row["id_type_both"] = json!(false),
        Generation::V25_10 | Generation::V26 => row["immutable"] = json!(builtin),
    }
    row
}

fn row(user: &User, state: &State, generation: Generation, secrets: bool) -> Value {
    let hash = if secrets { CANARY } else { "********" };
    let group = user.group.and_then(|id| state.groups.iter().find(|group| group.id == id));
    let roles = match group {
        Some(group) => state.roles_of_group(group.gid),
        None if user.builtin => vec!["FULL_ADMIN"],
        None => Vec::new(),
    };
    let keys = state.accounts.iter().filter(|account| group.is_some() && account.username == user.username);
    let keys: Vec<_> = keys.flat_map(|account| &account.keys).map(|key| key.id).collect();
    let group = group.map_or_else(
        || json!({"id": user.id, "bsdgrp_gid": user.uid, "bsdgrp_group": user.username}),
        |group| json!({"id": group.id, "bsdgrp_gid": group.gid, "bsdgrp_group": group.name}),
    );
    let mut row = json!({
        "id": user.id,
        "uid": user.uid,
        "username": user.username,
        "unixhash": hash,
        "smbhash": if user.smb { json!(hash) } else { Value::Null },
        "home": match (user.builtin, user.group) {
            (true, _) => "/root".to_owned(),
            (false, None) => format!("/mnt/tank/home/{}", user.username),
            (false, Some(_)) => "/var/empty".to_owned(),
        },
        "shell": user.shell,
        "full_name": user.full_name,
        "builtin": user.builtin,
        "smb": user.smb,
        "userns_idmap": null,
        "group": group,
        "groups": [],
        "password_disabled": user.password_disabled,
        "ssh_password_enabled": false,
        "sshpubkey": CANARY,
        "locked": user.locked,
        "sudo_commands": if user.username == "alice" { vec!["ALL"] } else { Vec::new() },
        "sudo_commands_nopasswd": [],
        "email": null,
        "immutable": user.builtin,
        "local": true,
        "roles": roles,
        "api_keys": keys,
        "twofactor_auth_configured": false,
        "sid": user.smb.then(|| format!("S-1-5-21-1000-2000-3000-{}", 20_000 + user.id)),
        "last_password_change": null,
        "password_age": null,
        "password_history": null,
        "password_change_required": false,
    });
    match generation {
        Generation::V25_04 => row["id_type_both"] = json!(false),
        Generation::V25_10 => {}
        Generation::V26 => row["webshare"] = json!(false),
    }
    row
}
