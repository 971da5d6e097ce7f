//! `sharing.smb.*` and `sharing.nfs.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::{Kind, OPTIONS, Param, QUERY, optional, required};
use crate::nas::query;
use crate::nas::state::{NfsShare, SmbShare, State};
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

const ACL: &[Param] = &[required("data", Kind::Model(&[required("share_name", Kind::Name)]))];
const ACL_25_04: &[Param] = &[required("smb_getacl", Kind::Model(&[required("share_name", Kind::Name)]))];
const STATUS: &[Param] = &[
    optional(
        "info_level",
        Kind::OneOf(&["AUTH_LOG", "ALL", "SESSIONS", "SHARES", "LOCKS", "BYTERANGE", "NOTIFICATIONS"]),
    ),
    optional("filters", Kind::Filters),
    optional("options", Kind::Model(OPTIONS)),
    optional("status_options", Kind::Dict),
];

pub(super) const METHODS: &[Method] = &[
    method("sharing.smb.getacl", Access::Role("SHARING_SMB_READ"), ACL_25_04, smb_acl)
        .until(Generation::V25_04),
    method("sharing.smb.getacl", Access::Role("SHARING_SMB_READ"), ACL, smb_acl).since(Generation::V25_10),
    method("smb.status", Access::Role("SHARING_SMB_READ"), STATUS, smb_status).until(Generation::V25_04),
    method("smb.status", Access::Role("SHARING_SMB_READ"), STATUS, smb_status).since(Generation::V26),
    method("nfs.get_nfs3_clients", Access::Role("READONLY_ADMIN"), QUERY, nfs3),
    method("nfs.get_nfs4_clients", Access::Role("READONLY_ADMIN"), QUERY, nfs4),
    method("sharing.smb.query", Access::Role("SHARING_SMB_READ"), QUERY, smb),
    method("sharing.nfs.query", Access::Role("SHARING_NFS_READ"), QUERY, nfs),
];

fn smb(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (state, generation) = (&*context.state, context.generation());
    context.query(state.smb_shares.iter().map(|share| smb_row(state, share, generation)).collect())
}

fn nfs(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (state, generation) = (&*context.state, context.generation());
    context.query(state.nfs_shares.iter().map(|share| nfs_row(state, share, generation)).collect())
}

fn smb_acl(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let name = context.args.get(0)["share_name"].as_str().unwrap_or_default();
    let Some(share) = context.state.smb_shares.iter().find(|share| share.name == name) else {
        return Err(Failure::NotFound(format!("Share {name} does not exist")));
    };
    let everybody = json!({
        "ae_who_sid": "S-1-1-0", "ae_who_id": null, "ae_who_str": null, "ae_perm": "FULL", "ae_type": "ALLOWED",
    });
    Ok(Answer::Value(json!({"share_name": share.name, "share_acl": [everybody]})))
}

fn smb_status(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let sessions = [("alice", "192.168.1.7"), ("bob", "192.168.1.9")].into_iter().map(|(user, address)| {
        json!({
            "session_id": "3216549870", "uid": 3000, "gid": 3000, "username": user, "groupname": "family",
            "remote_machine": address, "hostname": format!("ipv4:{address}:50314"), "session_dialect": "SMB3_11",
            "encryption": {"cipher": "", "degree": "none"}, "signing": {"cipher": "AES-128-GMAC", "degree": "partial"},
        })
    });
    query::answer(sessions.collect(), context.args.get(1), context.args.get(2)).map(Answer::Value)
}

fn nfs3(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({"ip": "192.168.1.20", "export": "/mnt/tank/media"})])
}

fn nfs4(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let info = json!({
        "clientid": "0x5c3b1a2f6a1e0c2d", "address": "192.168.1.21:871", "status": "confirmed",
        "seconds from last renew": 12, "name": "Linux NFSv4.2 player", "minor version": 2,
        "Implementation domain": "kernel.org", "callback state": "UP",
    });
    let mut client = json!({"id": "4", "info": info});
    if context.generation() == Generation::V25_04 {
        client["state"] = json!({});
    } else {
        client["states"] = json!([]);
    }
    context.query(vec![client])
}

fn smb_row(state: &State, share: &SmbShare, generation: Generation) -> Value {
    let mut row = json!({
        "id": share.id,
        "purpose": "DEFAULT_SHARE",
        "name": share.name,
        "path": share.path,
        "enabled": share.enabled,
        "comment": share.comment,
        "locked": false,
    });
    if generation == Generation::V25_04 {
        row["purpose"] = json!("DEFAULT_SHARE");
        row["path_suffix"] = json!("");
        row["home"] = json!(false);
        row["ro"] = json!(share.readonly);
        row["browsable"] = json!(true);
        row["abe"] = json!(false);
        row["guestok"] = json!(share.guest);
        row["auxsmbconf"] = json!(CANARY);
        row["recyclebin"] = json!(false);
        row["hostsallow"] = json!([]);
        row["hostsdeny"] = json!([]);
        row["timemachine"] = json!(false);
        row["shadowcopy"] = json!(true);
        row["acl"] = json!(true);
    } else {
        row["readonly"] = json!(share.readonly);
        row["browsable"] = json!(true);
        row["access_based_share_enumeration"] = json!(false);
        row["audit"] = json!({"enable": false, "watch_list": [], "ignore_list": []});
        row["options"] = json!({"aapl_name_mangling": false, "hostsallow": [], "hostsdeny": []});
        if share.guest {
            // Only shares in the old manner still let anybody in.
            row["purpose"] = json!("LEGACY_SHARE");
            row["options"] = json!({
                "recyclebin": false, "path_suffix": null, "hostsallow": [], "hostsdeny": [], "guestok": true,
                "streams": true, "durablehandle": true, "shadowcopy": true, "fsrvp": false, "home": false,
                "acl": true, "afp": false, "timemachine": false, "timemachine_quota": 0,
                "aapl_name_mangling": false, "vuid": null, "auxsmbconf": CANARY,
            });
        }
    }
    located(state, &share.path, generation, &mut row);
    row
}

fn nfs_row(state: &State, share: &NfsShare, generation: Generation) -> Value {
    let mut row = json!({
        "id": share.id,
        "path": share.path,
        "aliases": [],
        "comment": "",
        "networks": share.networks,
        "hosts": [],
        "ro": share.readonly,
        "maproot_user": null,
        "maproot_group": null,
        "mapall_user": null,
        "mapall_group": null,
        "security": [],
        "enabled": share.enabled,
        "locked": false,
        "expose_snapshots": false,
    });
    located(state, &share.path, generation, &mut row);
    row
}

/// From 26 on a share says which dataset it is of.
fn located(state: &State, path: &str, generation: Generation, row: &mut Value) {
    if generation < Generation::V26 {
        return;
    }
    let inside = path.strip_prefix("/mnt/").unwrap_or_default();
    let holds =
        |name: &str| inside.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let dataset =
        state.datasets.iter().filter(|dataset| holds(&dataset.name)).max_by_key(|dataset| dataset.name.len());
    row["relative_path"] = dataset
        .and_then(|dataset| inside.strip_prefix(&dataset.name))
        .map_or(Value::Null, |rest| json!(rest.trim_start_matches('/')));
    row["dataset"] = json!(dataset.map(|dataset| &dataset.name));
    row["tier"] = Value::Null;
}
