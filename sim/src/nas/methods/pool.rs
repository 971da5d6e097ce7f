//! `pool.query` and `pool.scrub.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::{Plan, Work, date};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Layout, Pool, PoolStatus, Scan, ScanState, ScrubTask, State};
use crate::nas::wire::{Complaint, EINVAL, ENOENT, Failure};

const SCRUB: &[Param] =
    &[required("name", Kind::Str), optional("action", Kind::OneOf(&["START", "STOP", "PAUSE"]))];

const CRON: Kind = Kind::Model(&[
    optional("minute", Kind::Str),
    optional("hour", Kind::Str),
    optional("dom", Kind::Str),
    optional("month", Kind::Str),
    optional("dow", Kind::Str),
]);
const NEW_SCHEDULE: &[Param] = &[required(
    "data",
    Kind::Model(&[
        required("pool", Kind::Int),
        optional("threshold", Kind::Int),
        optional("description", Kind::Str),
        optional("schedule", CRON),
        optional("enabled", Kind::Bool),
    ]),
)];
const SCHEDULE: &[Param] = &[
    required("id_", Kind::Int),
    required(
        "data",
        Kind::Model(&[
            optional("pool", Kind::Int),
            optional("threshold", Kind::Int),
            optional("description", Kind::Str),
            optional("schedule", CRON),
            optional("enabled", Kind::Bool),
        ]),
    ),
];
const WRITE_SCHEDULES: Access = Access::Role("POOL_SCRUB_WRITE");

pub(super) const METHODS: &[Method] = &[
    method("pool.query", Access::Role("POOL_READ"), QUERY, query),
    method("pool.scrub.query", Access::Role("POOL_SCRUB_READ"), QUERY, schedules),
    method("pool.scrub.create", WRITE_SCHEDULES, NEW_SCHEDULE, create_schedule),
    method("pool.scrub.update", WRITE_SCHEDULES, SCHEDULE, update_schedule),
    method("pool.scrub.scrub", Access::Role("POOL_WRITE"), SCRUB, scrub),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (state, generation) = (&*context.state, context.generation());
    context.query(state.pools.iter().map(|pool| row(state, pool, generation)).collect())
}

fn schedules(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let tasks = context.state.scrub_tasks.iter();
    context.query(tasks.filter_map(|task| schedule_row(context.state, task)).collect())
}

fn schedule_row(state: &State, task: &ScrubTask) -> Option<Value> {
    let pool = state.pools.iter().find(|pool| pool.id == task.pool)?;
    let [minute, hour, dom, month, dow] = &task.cron;
    Some(json!({
        "id": task.id,
        "pool": pool.id,
        "pool_name": pool.name,
        "threshold": task.threshold,
        "description": "",
        "schedule": {"minute": minute, "hour": hour, "dom": dom, "month": month, "dow": dow},
        "enabled": task.enabled,
    }))
}

fn create_schedule(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let wanted = context.args.get(0).clone();
    let pool = wanted["pool"].as_i64().unwrap_or_default();
    let complaint = if context.state.pools.iter().all(|one| one.id != pool) {
        Some(("The specified volume does not exist", ENOENT))
    } else if context.state.scrub_tasks.iter().any(|task| task.pool == pool) {
        Some(("A scrub with this pool already exists", EINVAL))
    } else {
        None
    };
    if let Some((message, errno)) = complaint {
        let attribute = Some("pool_scrub_create.pool".to_owned());
        return Err(Failure::Invalid(vec![Complaint { attribute, message: message.to_owned(), errno }]));
    }
    let id = 1 + context.state.scrub_tasks.iter().map(|task| task.id).max().unwrap_or(0);
    context.state.scrub_tasks.push(ScrubTask { id, ..ScrubTask::usual(pool) });
    change_schedule(context.state, id, &wanted)
}

fn update_schedule(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    let wanted = context.args.get(1).clone();
    change_schedule(context.state, id, &wanted)
}

fn change_schedule(state: &mut State, id: i64, wanted: &Value) -> Result<Answer, Failure> {
    let Some(task) = state.scrub_tasks.iter_mut().find(|task| task.id == id) else {
        return Err(Failure::NotFound(format!("PoolScrub {id} does not exist")));
    };
    let names = ["minute", "hour", "dom", "month", "dow"];
    for (field, name) in task.cron.iter_mut().zip(names) {
        if let Some(text) = wanted["schedule"][name].as_str() {
            text.clone_into(field);
        }
    }
    task.threshold = wanted["threshold"].as_i64().unwrap_or(task.threshold);
    task.enabled = wanted["enabled"].as_bool().unwrap_or(task.enabled);
    let task = task.clone();
    Ok(Answer::Value(schedule_row(state, &task).unwrap_or_default()))
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
