//! `user.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::QUERY;
use crate::nas::state::User;
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

pub(super) const METHODS: &[Method] = &[
    method("user.query", Access::Role("ACCOUNT_READ"), QUERY, query),
    method("group.query", Access::Role("ACCOUNT_READ"), QUERY, groups),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let roles = &context.login()?.roles;
    let secrets = roles.full_admin() || roles.allow("ACCOUNT_WRITE");
    let generation = context.generation();
    let users = context.state.users.iter();
    context.query(users.map(|user| row(user, generation, secrets)).collect())
}

fn groups(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let row = |id: i64, gid: i64, name: &str, builtin: bool, users: &[i64]| {
        let mut row = json!({
            "id": id,
            "gid": gid,
            "name": name,
            "group": name,
            "builtin": builtin,
            "sudo_commands": [],
            "sudo_commands_nopasswd": [],
            "smb": !builtin,
            "userns_idmap": null,
            "sid": (!builtin).then(|| format!("S-1-5-21-1000-2000-3000-{}", 20_000 + id)),
            "roles": if name == "builtin_administrators" { vec!["FULL_ADMIN"] } else { Vec::new() },
            "local": true,
            "users": users,
        });
        match generation {
            Generation::V25_04 => row["id_type_both"] = json!(false),
            Generation::V25_10 | Generation::V26 => row["immutable"] = json!(builtin),
        }
        row
    };
    context.query(vec![
        row(43, 544, "builtin_administrators", true, &[35]),
        row(112, 3000, "family", false, &[71, 72]),
    ])
}

fn row(user: &User, generation: Generation, secrets: bool) -> Value {
    let hash = if secrets { CANARY } else { "********" };
    let mut row = json!({
        "id": user.id,
        "uid": user.uid,
        "username": user.username,
        "unixhash": hash,
        "smbhash": if user.smb { json!(hash) } else { Value::Null },
        "home": if user.builtin { "/root".to_owned() } else { format!("/mnt/tank/home/{}", user.username) },
        "shell": "/usr/bin/zsh",
        "full_name": user.full_name,
        "builtin": user.builtin,
        "smb": user.smb,
        "userns_idmap": null,
        "group": {"id": user.id, "bsdgrp_gid": user.uid, "bsdgrp_group": user.username},
        "groups": [],
        "password_disabled": false,
        "ssh_password_enabled": false,
        "sshpubkey": CANARY,
        "locked": user.locked,
        "sudo_commands": if user.username == "alice" { vec!["ALL"] } else { Vec::new() },
        "sudo_commands_nopasswd": [],
        "email": null,
        "immutable": user.builtin,
        "local": true,
        "roles": if user.builtin { vec!["FULL_ADMIN"] } else { Vec::new() },
        "api_keys": [],
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
