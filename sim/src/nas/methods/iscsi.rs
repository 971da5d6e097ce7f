//! `iscsi.*`

use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;

pub(super) const METHODS: &[Method] = &[
    method("iscsi.target.query", Access::Role("SHARING_ISCSI_TARGET_READ"), QUERY, targets),
    method("iscsi.extent.query", Access::Role("SHARING_ISCSI_EXTENT_READ"), QUERY, extents),
    method(
        "iscsi.targetextent.query",
        Access::Role("SHARING_ISCSI_TARGETEXTENT_READ"),
        QUERY,
        target_extents,
    ),
    method("iscsi.global.sessions", Access::Role("SHARING_ISCSI_GLOBAL_READ"), QUERY, sessions),
    method("iscsi.initiator.query", Access::Role("SHARING_ISCSI_INITIATOR_READ"), QUERY, initiators),
];

fn targets(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({
        "id": 1,
        "name": "vm",
        "alias": null,
        "mode": "ISCSI",
        "groups": [{"portal": 1, "initiator": 1, "authmethod": "NONE", "auth": null}],
        "auth_networks": [],
        "iscsi_parameters": null,
        "rel_tgt_id": 1,
    })])
}

fn extents(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let mut row = json!({
        "id": 1,
        "name": "vm-disk",
        "type": "DISK",
        "disk": "zvol/tank/vm-disk",
        "path": "zvol/tank/vm-disk",
        "serial": "20acb8e1f2d34",
        "filesize": 0,
        "blocksize": 512,
        "pblocksize": false,
        "avail_threshold": null,
        "comment": "",
        "naa": "0x6589cfc0000001",
        "insecure_tpc": true,
        "xen": false,
        "rpm": "SSD",
        "ro": false,
        "enabled": true,
        "vendor": "TrueNAS",
        "locked": false,
    });
    if context.generation() > Generation::V25_04 {
        row["product_id"] = json!("iSCSI Disk");
    }
    if context.generation() >= Generation::V26 {
        row["dataset"] = json!("tank/vm-disk");
        row["relative_path"] = json!("");
    }
    context.query(vec![row])
}

fn target_extents(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({"id": 1, "target": 1, "extent": 1, "lunid": 0})])
}

fn initiators(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({"id": 1, "initiators": [], "comment": "everybody"})])
}

fn sessions(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({
        "initiator": "iqn.1993-08.org.debian:01:workshop",
        "initiator_addr": "192.168.1.30",
        "initiator_alias": null,
        "target": "iqn.2005-10.org.freenas.ctl:vm",
        "target_alias": "vm",
        "header_digest": null,
        "data_digest": null,
        "max_data_segment_length": null,
        "max_receive_data_segment_length": 262_144,
        "max_xmit_data_segment_length": 262_144,
        "max_burst_length": 1_048_576,
        "first_burst_length": 65_536,
        "immediate_data": true,
        "iser": false,
        "offload": false,
    })])
}
