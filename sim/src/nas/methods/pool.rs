//! `pool.query` and `pool.scrub.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::{Plan, Work, date};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Layout, Pool, PoolStatus, Scan, ScanState, State};
use crate::nas::wire::Failure;

const SCRUB: &[Param] =
    &[required("name", Kind::Str), optional("action", Kind::OneOf(&["START", "STOP", "PAUSE"]))];

pub(super) const METHODS: &[Method] = &[
    method("pool.query", Access::Role("POOL_READ"), QUERY, query),
    method("pool.scrub.query", Access::Role("POOL_SCRUB_READ"), QUERY, schedules),
    method("pool.scrub.scrub", Access::Role("POOL_WRITE"), SCRUB, scrub),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (state, generation) = (&*context.state, context.generation());
    context.query(state.pools.iter().map(|pool| row(state, pool, generation)).collect())
}

/// Every pool but the last is scrubbed by itself.
fn schedules(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let pools = context.state.pools.split_last().map_or(&[][..], |(_, pools)| pools);
    let rows = pools.iter().map(|pool| {
        json!({
            "id": pool.id,
            "pool": pool.id,
            "pool_name": pool.name,
            "threshold": 35,
            "description": "",
            "schedule": {"minute": "00", "hour": "00", "dom": "*", "month": "*", "dow": "7"},
            "enabled": true,
        })
    });
    context.query(rows.collect())
}

fn scrub(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let pool = context.args.str(0).to_owned();
    let action = context.args.get(1).as_str().unwrap_or("START").to_owned();
    let description = match action.as_str() {
        "STOP" => format!("Stop scrubbing pool '{pool}'"),
        "PAUSE" => format!("Pause scrubbing pool '{pool}'"),
        _ => format!("Scrub of pool '{pool}'"),
    };
    let args = std::mem::take(&mut context.args);
    Ok(Answer::Job(Plan {
        method: "pool.scrub.scrub",
        arguments: args.into_values(),
        description,
        lock: format!("pool.scrub.scrub.{pool}-{action}"),
        work: Work::Scrub { pool, action },
    }))
}

pub(crate) fn row(state: &State, pool: &Pool, generation: Generation) -> Value {
    let (size, allocated) = (pool.size(), pool.raw(state.used(&pool.name)));
    let free = size.saturating_sub(allocated);
    let healthy = pool.status == PoolStatus::Online;
    let (code, detail) = if healthy {
        ("OK", Value::Null)
    } else {
        (
            "MISSING_DEV_R",
            json!(
                "One or more devices could not be opened. Sufficient replicas exist for the pool to continue \
                   functioning in a degraded state."
            ),
        )
    };
    let mut row = json!({
        "id": pool.id,
        "name": pool.name,
        "guid": pool.guid,
        "path": format!("/mnt/{}", pool.name),
        "status": pool.status.name(),
        "scan": pool.scan.as_ref().map(|scan| scan_row(scan, allocated)),
        "expand": null,
        "topology": {
            "data": [vdev(pool)],
            "log": [],
            "cache": [],
            "spare": [],
            "special": [],
            "dedup": [],
        },
        "healthy": healthy,
        "warning": false,
        "status_code": code,
        "status_detail": detail,
        "size": size,
        "allocated": allocated,
        "free": free,
        "freeing": 0,
        "dedup_table_size": 0,
        "dedup_table_quota": "auto",
        "fragmentation": "3",
        "size_str": size.to_string(),
        "allocated_str": allocated.to_string(),
        "free_str": free.to_string(),
        "freeing_str": "0",
        "autotrim": {"value": "off", "rawvalue": "off", "parsed": "off", "source": "DEFAULT"},
    });
    if generation >= Generation::V26 {
        row["all_sed"] = json!(false);
    }
    row
}

fn scan_row(scan: &Scan, bytes: u64) -> Value {
    let done = bytes / 100 * u64::from(scan.percent());
    let scanning = scan.state == ScanState::Scanning;
    json!({
        "function": "SCRUB",
        "state": match scan.state {
            ScanState::Scanning => "SCANNING",
            ScanState::Finished => "FINISHED",
            ScanState::Canceled => "CANCELED",
        },
        "start_time": date(scan.started),
        "end_time": scan.ended.map(date),
        "percentage": scan.percentage,
        "bytes_to_process": bytes,
        "bytes_processed": done,
        "bytes_issued": done,
        "pause": scan.paused.map(date),
        "errors": scan.errors,
        // At 500 MB/s.
        "total_secs_left": scanning.then_some((bytes - done) / 500_000_000),
    })
}

fn vdev(pool: &Pool) -> Value {
    let leaves: Vec<Value> = pool.disks.iter().enumerate().map(|(n, disk)| leaf(pool, n, disk)).collect();
    let (name, kind) = match pool.layout {
        Layout::Stripe => return leaves.into_iter().next().unwrap_or(Value::Null),
        Layout::Mirror => ("mirror-0", "MIRROR"),
        Layout::Raidz1 => ("raidz1-0", "RAIDZ1"),
    };
    json!({
        "name": name,
        "type": kind,
        "path": null,
        "guid": format!("{}9", pool.guid),
        "status": pool.status.name(),
        "stats": stats(pool.size()),
        "children": leaves,
        "unavail_disk": null,
    })
}

fn leaf(pool: &Pool, number: usize, disk: &str) -> Value {
    let failed = pool.failed_disks.iter().any(|failed| failed == disk);
    let missing = failed.then(|| json!({"name": disk, "devname": disk}));
    json!({
        "name": disk,
        "type": "DISK",
        "path": format!("/dev/disk/by-partuuid/{}-{number}", pool.guid),
        "guid": format!("{}{number}", pool.guid),
        "status": if failed { "UNAVAIL" } else { "ONLINE" },
        "stats": stats(pool.disk_size),
        "children": [],
        "device": if failed { Value::Null } else { json!(format!("{disk}1")) },
        "disk": if failed { Value::Null } else { json!(disk) },
        "unavail_disk": missing,
    })
}

fn stats(size: u64) -> Value {
    json!({
        "timestamp": 8_640_000_000_u64,
        "read_errors": 0,
        "write_errors": 0,
        "checksum_errors": 0,
        "ops": [0, 0, 0, 0, 0, 0, 0],
        "bytes": [0, 0, 0, 0, 0, 0, 0],
        "size": size,
        "allocated": 0,
        "fragmentation": 3,
        "self_healed": 0,
        "configured_ashift": 12,
        "logical_ashift": 9,
        "physical_ashift": 12,
    })
}
