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

const ID: &[Param] = &[required("id", Kind::Int)];
const OPTIONS_OF_SMB: Kind = Kind::Model(&[
    required("purpose", Kind::OneOf(&["DEFAULT_SHARE"])),
    optional("aapl_name_mangling", Kind::Bool),
    optional("hostsallow", Kind::Strings),
    optional("hostsdeny", Kind::Strings),
]);
const SMB: &[Param] = &[
    optional("name", Kind::Name),
    optional("path", Kind::Name),
    optional("enabled", Kind::Bool),
    optional("comment", Kind::Str),
    optional("readonly", Kind::Bool),
    optional("options", OPTIONS_OF_SMB),
];
const SMB_25_04: &[Param] = &[
    optional("name", Kind::Name),
    optional("path", Kind::Name),
    optional("enabled", Kind::Bool),
    optional("comment", Kind::Str),
    optional("ro", Kind::Bool),
    optional("hostsallow", Kind::Strings),
    optional("hostsdeny", Kind::Strings),
];
const SMB_CREATE: &[Param] = &[required("data", Kind::Model(SMB))];
const SMB_CREATE_25_04: &[Param] = &[required("sharingsmb_create", Kind::Model(SMB_25_04))];
const SMB_UPDATE: &[Param] = &[required("id", Kind::Int), required("data", Kind::Model(SMB))];
const SMB_UPDATE_25_04: &[Param] =
    &[required("id", Kind::Int), required("sharingsmb_update", Kind::Model(SMB_25_04))];
const NFS: &[Param] = &[
    optional("path", Kind::Name),
    optional("enabled", Kind::Bool),
    optional("comment", Kind::Str),
    optional("ro", Kind::Bool),
    optional("networks", Kind::Strings),
    optional("hosts", Kind::Strings),
];
const NFS_CREATE: &[Param] = &[required("data", Kind::Model(NFS))];
const NFS_UPDATE: &[Param] = &[required("id", Kind::Int), required("data", Kind::Model(NFS))];
const WRITE_SMB: Access = Access::Role("SHARING_SMB_WRITE");
const WRITE_NFS: Access = Access::Role("SHARING_NFS_WRITE");

pub(super) const METHODS: &[Method] = &[
    method("sharing.smb.getacl", Access::Role("SHARING_SMB_READ"), ACL_25_04, smb_acl)
        .until(Generation::V25_04),
    method("sharing.smb.getacl", Access::Role("SHARING_SMB_READ"), ACL, smb_acl).since(Generation::V25_10),
    method("smb.status", Access::Role("SHARING_SMB_READ"), STATUS, smb_status).until(Generation::V25_04),
    method("smb.status", Access::Role("SHARING_SMB_READ"), STATUS, smb_status).since(Generation::V26),
    method("nfs.get_nfs3_clients", Access::Role("READONLY_ADMIN"), QUERY, nfs3),
    method("nfs.get_nfs4_clients", Access::Role("READONLY_ADMIN"), QUERY, nfs4),
    method("sharing.smb.create", WRITE_SMB, SMB_CREATE_25_04, smb_create).until(Generation::V25_04),
    method("sharing.smb.create", WRITE_SMB, SMB_CREATE, smb_create).since(Generation::V25_10),
    method("sharing.smb.update", WRITE_SMB, SMB_UPDATE_25_04, smb_update).until(Generation::V25_04),
    method("sharing.smb.update", WRITE_SMB, SMB_UPDATE, smb_update).since(Generation::V25_10),
    method("sharing.smb.delete", WRITE_SMB, ID, smb_delete),
    method("sharing.nfs.create", WRITE_NFS, NFS_CREATE, nfs_create),
    method("sharing.nfs.update", WRITE_NFS, NFS_UPDATE, nfs_update),
    method("sharing.nfs.delete", WRITE_NFS, ID, nfs_delete),
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

/// What is given of an SMB share is set.
fn set_smb(share: &mut SmbShare, data: &Value) {
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    share.name = text("name").unwrap_or_else(|| share.name.clone());
    share.path = text("path").unwrap_or_else(|| share.path.clone());
    share.comment = text("comment").unwrap_or_else(|| share.comment.clone());
    share.enabled = data["enabled"].as_bool().unwrap_or(share.enabled);
    let readonly = data["readonly"].as_bool().or_else(|| data["ro"].as_bool());
    share.readonly = readonly.unwrap_or(share.readonly);
    if let Some(hosts) = strings(&data["hostsallow"]).or_else(|| strings(&data["options"]["hostsallow"])) {
        share.hosts = hosts;
    }
}

fn strings(list: &Value) -> Option<Vec<String>> {
    Some(list.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// A path that is there and on a pool.
fn checked(state: &State, field: &str, path: &Value) -> Result<(), Failure> {
    let Some(path) = path.as_str() else { return Ok(()) };
    let inside = path.strip_prefix("/mnt/").unwrap_or_default();
    if state.datasets.iter().any(|dataset| dataset.name == inside) {
        return Ok(());
    }
    Err(Failure::invalid(field, "This path does not exist."))
}

fn no_share(kind: &str, id: i64) -> Failure {
    Failure::NotFound(format!("{kind} {id} does not exist"))
}

fn smb_create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (data, generation) = (context.args.get(0).clone(), context.generation());
    let state = &mut *context.state;
    let name = data["name"].as_str().unwrap_or_default();
    if name.is_empty() || data["path"].is_null() {
        return Err(Failure::invalid("sharingsmb_create.name", "Field required"));
    }
    checked(state, "sharingsmb_create.path", &data["path"])?;
    if state.smb_shares.iter().any(|share| share.name.eq_ignore_ascii_case(name)) {
        return Err(Failure::invalid("sharingsmb_create.name", "Share with this name already exists."));
    }
    let id = state.smb_shares.iter().map(|share| share.id).max().unwrap_or(0) + 1;
    let mut share = SmbShare {
        id,
        name: String::new(),
        path: String::new(),
        comment: String::new(),
        enabled: true,
        readonly: false,
        guest: false,
        hosts: Vec::new(),
    };
    set_smb(&mut share, &data);
    let row = smb_row(state, &share, generation);
    state.smb_shares.push(share);
    Ok(Answer::Value(row))
}

fn smb_update(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (id, data) = (context.args.get(0).as_i64().unwrap_or_default(), context.args.get(1).clone());
    let generation = context.generation();
    let state = &mut *context.state;
    checked(state, "sharingsmb_update.path", &data["path"])?;
    let share = state.smb_shares.iter_mut().find(|share| share.id == id);
    let share = share.ok_or_else(|| no_share("SMBShare", id))?;
    set_smb(share, &data);
    let share = share.clone();
    Ok(Answer::Value(smb_row(state, &share, generation)))
}

fn smb_delete(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    let before = context.state.smb_shares.len();
    context.state.smb_shares.retain(|share| share.id != id);
    if context.state.smb_shares.len() == before {
        return Err(no_share("SMBShare", id));
    }
    Ok(Answer::Value(json!(true)))
}

/// What is given of an NFS share is set.
fn set_nfs(share: &mut NfsShare, data: &Value) {
    share.path = data["path"].as_str().map_or_else(|| share.path.clone(), str::to_owned);
    share.enabled = data["enabled"].as_bool().unwrap_or(share.enabled);
    share.readonly = data["ro"].as_bool().unwrap_or(share.readonly);
    share.networks = strings(&data["networks"]).unwrap_or_else(|| share.networks.clone());
    share.hosts = strings(&data["hosts"]).unwrap_or_else(|| share.hosts.clone());
}

fn nfs_create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (data, generation) = (context.args.get(0).clone(), context.generation());
    let state = &mut *context.state;
    if data["path"].is_null() {
        return Err(Failure::invalid("sharingnfs_create.path", "Field required"));
    }
    checked(state, "sharingnfs_create.path", &data["path"])?;
    let id = state.nfs_shares.iter().map(|share| share.id).max().unwrap_or(0) + 1;
    let mut share = NfsShare {
        id,
        path: String::new(),
        networks: Vec::new(),
        hosts: Vec::new(),
        enabled: true,
        readonly: false,
        maproot: None,
        mapall: None,
    };
    set_nfs(&mut share, &data);
    let row = nfs_row(state, &share, generation);
    state.nfs_shares.push(share);
    Ok(Answer::Value(row))
}

fn nfs_update(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (id, data) = (context.args.get(0).as_i64().unwrap_or_default(), context.args.get(1).clone());
    let generation = context.generation();
    let state = &mut *context.state;
    checked(state, "sharingnfs_update.path", &data["path"])?;
    let share = state.nfs_shares.iter_mut().find(|share| share.id == id);
    let share = share.ok_or_else(|| no_share("NFSShare", id))?;
    set_nfs(share, &data);
    let share = share.clone();
    Ok(Answer::Value(nfs_row(state, &share, generation)))
}

fn nfs_delete(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    let before = context.state.nfs_shares.len();
    context.state.nfs_shares.retain(|share| share.id != id);
    if context.state.nfs_shares.len() == before {
        return Err(no_share("NFSShare", id));
    }
    Ok(Answer::Value(json!(true)))
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
    context.query(vec![json!({"ip": "192.168.1.22", "export": "/mnt/tank/media"})])
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
        row["hostsallow"] = json!(share.hosts);
        row["hostsdeny"] = json!([]);
        row["timemachine"] = json!(false);
        row["shadowcopy"] = json!(true);
        row["acl"] = json!(true);
    } else {
        row["readonly"] = json!(share.readonly);
        row["browsable"] = json!(true);
        row["access_based_share_enumeration"] = json!(false);
        row["audit"] = json!({"enable": false, "watch_list": [], "ignore_list": []});
        row["options"] = json!({"aapl_name_mangling": false, "hostsallow": share.hosts, "hostsdeny": []});
        if share.guest {
            // Only shares in the old manner still let anybody in.
            row["purpose"] = json!("LEGACY_SHARE");
            row["options"] = json!({
                "recyclebin": false, "path_suffix": null, "hostsallow": share.hosts, "hostsdeny": [], "guestok": true,
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
        "hosts": share.hosts,
        "ro": share.readonly,
        "maproot_user": share.maproot,
        "maproot_group": null,
        "mapall_user": share.mapall,
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
