//! Tasks that make copies: `pool.snapshottask.*`, `replication.*`, `cloudsync.*`, `cloud_backup.*`, `rsynctask.*`

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::jobs::{Plan, Work, date};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::last_at;
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

const ID: &[Param] = &[required("id", Kind::Int)];
const SYNC: &[Param] = &[
    required("id", Kind::Int),
    optional("cloud_sync_sync_options", Kind::Model(&[optional("dry_run", Kind::Bool)])),
];

pub(super) const METHODS: &[Method] = &[
    method("pool.snapshottask.run", Access::Role("SNAPSHOT_TASK_WRITE"), ID, run_snapshots),
    method("replication.run", Access::Role("REPLICATION_TASK_WRITE"), ID, run_replication),
    method("cloudsync.sync", Access::Role("CLOUD_SYNC_WRITE"), SYNC, run_cloud_sync),
    method("pool.snapshottask.query", Access::Role("SNAPSHOT_TASK_READ"), QUERY, snapshot_tasks),
    method("replication.query", Access::Role("REPLICATION_TASK_READ"), QUERY, replications),
    method("cloudsync.query", Access::Role("CLOUD_SYNC_READ"), QUERY, cloud_syncs),
    method("cloud_backup.query", Access::Role("CLOUD_BACKUP_READ"), QUERY, cloud_backups),
    method("rsynctask.query", Access::Role("SNAPSHOT_TASK_READ"), QUERY, rsyncs),
];

/// The number that a task is called by, if there is one of that number.
fn numbered(context: &Context<'_>, kind: &str, there: std::ops::RangeInclusive<i64>) -> Result<i64, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    match there.contains(&id) {
        true => Ok(id),
        false => Err(Failure::NotFound(format!("{kind} {id} does not exist"))),
    }
}

fn run_snapshots(context: &mut Context<'_>) -> Result<Answer, Failure> {
    numbered(context, "PeriodicSnapshotTask", 1..=1)?;
    let name = context.state.now().format("auto-%Y-%m-%d_%H-%M").to_string();
    for dataset in ["tank/photos", "tank/photos/2024"] {
        context.state.add_snapshot(dataset, &name);
    }
    Ok(Answer::Value(Value::Null))
}

fn run_replication(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = numbered(context, "Replication", 1..=2)?;
    let (from, to) = if id == 1 { ("tank/photos", "backup/photos") } else { ("tank/apps", "elsewhere") };
    Ok(Answer::Job(Plan {
        method: "replication.run",
        description: format!("Replication {id}"),
        lock: format!("replication {id}"),
        arguments: vec![json!(id)],
        work: Work::Replication { from: from.to_owned(), to: to.to_owned() },
    }))
}

fn run_cloud_sync(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = numbered(context, "CloudSync", 1..=1)?;
    Ok(Answer::Job(Plan {
        method: "cloudsync.sync",
        description: format!("Cloud sync {id}"),
        lock: format!("cloud_sync {id}"),
        arguments: vec![json!(id)],
        work: Work::Elsewhere,
    }))
}

/// A task as somebody set it.
fn set(context: &Context<'_>, mut row: Value) -> Value {
    for (name, value) in context.state.tasks_set_to.as_object().into_iter().flatten() {
        if let Some(field) = row.get_mut(name) {
            *field = value.clone();
        }
    }
    row
}

fn daily(hour: &str) -> Value {
    json!({"minute": "0", "hour": hour, "dom": "*", "month": "*", "dow": "*"})
}

fn within_the_day(hour: &str) -> Value {
    let mut schedule = daily(hour);
    schedule["begin"] = json!("00:00");
    schedule["end"] = json!("23:59");
    schedule
}

/// A job as a task shows its last one: with its arguments.
fn job(id: i64, method: &str, at: DateTime<Utc>, error: Option<&str>) -> Value {
    json!({
        "id": id,
        "method": method,
        "arguments": [CANARY],
        "description": null,
        "abortable": true,
        "progress": {"percent": 100, "description": "", "extra": null},
        "result": CANARY,
        "error": error,
        "exception": null,
        "state": if error.is_some() { "FAILED" } else { "SUCCESS" },
        "time_started": date(at),
        "time_finished": date(at + TimeDelta::minutes(20)),
    })
}

/// From 26 on what has a path says which dataset it is in.
fn located(mut row: Value, dataset: &str, generation: Generation) -> Value {
    if generation >= Generation::V26 {
        row["dataset"] = json!(dataset);
        row["relative_path"] = json!("");
    }
    row
}

fn snapshot_tasks(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let at = last_at(context.state.now(), 0);
    let row = json!({
        "id": 1,
        "dataset": "tank/photos",
        "recursive": true,
        "lifetime_value": 1,
        "lifetime_unit": "WEEK",
        "enabled": true,
        "exclude": [],
        "naming_schema": "auto-%Y-%m-%d_%H-%M",
        "allow_empty": true,
        "schedule": within_the_day("0"),
        "vmware_sync": false,
        "state": {"state": "FINISHED", "datetime": date(at)},
    });
    let row = set(context, row);
    context.query(vec![row])
}

fn replications(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let from_scratch = context.state.from_scratch;
    let (at, newest) = (last_at(context.state.now(), 1), context.state.night(0));
    let row = |id: i64, name: &str, source: &str, target: &str, transport: &str, state: Value| {
        let credentials = (transport != "LOCAL").then(|| {
            json!({
                "id": 1,
                "name": "offsite",
                "type": "SSH_CREDENTIALS",
                "attributes": {
                    "host": "offsite.example.com", "port": 22, "username": "root", "private_key": 2,
                    "remote_host_key": CANARY, "connect_timeout": 10,
                },
            })
        });
        let mut row = json!({
            "id": id,
            "name": name,
            "direction": "PUSH",
            "transport": transport,
            "ssh_credentials": credentials,
            "netcat_active_side": null,
            "netcat_active_side_listen_address": null,
            "netcat_active_side_port_min": null,
            "netcat_active_side_port_max": null,
            "netcat_passive_side_connect_address": null,
            "sudo": false,
            "source_datasets": [source],
            "target_dataset": target,
            "recursive": true,
            "exclude": [],
            "properties": true,
            "properties_exclude": [],
            "properties_override": {},
            "replicate": false,
        });
        // In two parts: a macro goes only so deep.
        let rest = json!({
            "encryption": true,
            "encryption_inherit": false,
            "encryption_key": CANARY,
            "encryption_key_format": "PASSPHRASE",
            "encryption_key_location": null,
            "periodic_snapshot_tasks": [],
            "naming_schema": [],
            "also_include_naming_schema": ["auto-%Y-%m-%d_%H-%M"],
            "name_regex": null,
            "auto": true,
            "schedule": within_the_day("1"),
            "restrict_schedule": null,
            "only_matching_schedule": false,
            "allow_from_scratch": from_scratch,
            "readonly": "SET",
            "hold_pending_snapshots": false,
            "retention_policy": "NONE",
            "lifetime_value": null,
            "lifetime_unit": null,
            "lifetimes": [],
            "compression": null,
            "speed_limit": null,
            "large_block": true,
            "embed": false,
            "compressed": true,
            "retries": 5,
            "logging_level": null,
            "enabled": true,
            "job": null,
            "has_encrypted_dataset_keys": false,
            "state": state,
        });
        if let (Value::Object(row), Value::Object(rest)) = (&mut row, rest) {
            row.extend(rest);
        }
        row
    };
    let finished =
        json!({"state": "FINISHED", "datetime": date(at), "last_snapshot": format!("tank/photos@{newest}")});
    let failed = json!({"state": "ERROR", "datetime": date(at), "error": "No route to host."});
    let rows = [
        row(1, "photos to backup", "tank/photos", "backup/photos", "LOCAL", finished),
        row(2, "apps to offsite", "tank/apps", "pool/homenas/apps", "SSH", failed),
    ];
    let rows = rows.map(|row| set(context, row));
    context.query(rows.into())
}

fn provider() -> Value {
    json!({
        "type": "S3", "access_key_id": CANARY, "secret_access_key": CANARY, "endpoint": "", "region": "",
        "skip_region": false, "signatures_v2": false, "max_upload_parts": 10000,
    })
}

fn credentials(generation: Generation) -> Value {
    if generation == Generation::V25_04 {
        json!({"id": 1, "name": "cold storage", "provider": "S3", "attributes": provider()})
    } else {
        json!({"id": 1, "name": "cold storage", "provider": provider()})
    }
}

fn cloud_syncs(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (at, generation) = (last_at(context.state.now(), 2), context.generation());
    let row = json!({
        "id": 1,
        "description": "photos to the cloud",
        "path": "/mnt/tank/photos",
        "credentials": credentials(generation),
        "attributes": {"bucket": "homenas-photos", "folder": "/all"},
        "schedule": daily("2"),
        "pre_script": CANARY,
        "post_script": "",
        "snapshot": false,
        "include": [],
        "exclude": [],
        "args": "",
        "enabled": true,
        "job": job(11, "cloudsync.sync", at, None),
        "locked": false,
        "bwlimit": [],
        "transfers": null,
        "direction": "PUSH",
        "transfer_mode": "SYNC",
        "encryption": true,
        "filename_encryption": false,
        "encryption_password": CANARY,
        "encryption_salt": CANARY,
        "create_empty_src_dirs": false,
        "follow_symlinks": false,
    });
    let row = set(context, located(row, "tank/photos", generation));
    context.query(vec![row])
}

fn cloud_backups(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let mut row = json!({
        "id": 1,
        "description": "media, some day",
        "path": "/mnt/tank/media",
        "credentials": {"id": 1, "name": "cold storage", "provider": provider()},
        "attributes": {"bucket": "b", "folder": "/"},
        "schedule": daily("4"),
        "pre_script": "",
        "post_script": "",
        "snapshot": false,
        "include": [],
        "exclude": [],
        "args": "",
        "enabled": false,
        "job": null,
        "locked": false,
        "password": CANARY,
        "keep_last": 14,
        "transfer_setting": "DEFAULT",
        "absolute_paths": false,
    });
    if generation > Generation::V25_04 {
        row["cache_path"] = Value::Null;
        row["rate_limit"] = Value::Null;
    }
    context.query(vec![located(row, "tank/media", generation)])
}

fn rsyncs(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (at, generation) = (last_at(context.state.now(), 5), context.generation());
    let row = json!({
        "id": 1,
        "path": "/mnt/tank2/scratch",
        "user": "root",
        "mode": "MODULE",
        "remotehost": "192.168.1.30",
        "remoteport": null,
        "remotemodule": "scratch",
        "ssh_credentials": null,
        "remotepath": "",
        "direction": "PULL",
        "desc": "scratch from the workstation",
        "schedule": daily("5"),
        "recursive": true,
        "times": true,
        "compress": true,
        "archive": false,
        "delete": false,
        "quiet": false,
        "preserveperm": false,
        "preserveattr": false,
        "delayupdates": true,
        "extra": [CANARY],
        "enabled": true,
        "locked": false,
        "job": job(12, "rsynctask.run", at, Some("rsync exited with code 10")),
    });
    context.query(vec![located(row, "tank2/scratch", generation)])
}
