//! `sharing.smb.*` and `sharing.nfs.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::QUERY;
use crate::nas::state::{NfsShare, SmbShare, State};
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

pub(super) const METHODS: &[Method] = &[
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
