//! `boot.environment.*`

use chrono::{DurationRound as _, TimeDelta};
use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, QUERY, required};
use crate::nas::wire::Failure;

const NAMED: &[Param] = &[required("boot_environment_destroy", Kind::Model(&[required("id", Kind::Name)]))];

pub(super) const METHODS: &[Method] = &[
    method("boot.environment.destroy", Access::Role("BOOT_ENV_WRITE"), NAMED, destroy),
    method("boot.environment.query", Access::Role("BOOT_ENV_READ"), QUERY, query),
    method("boot.get_state", Access::Role("READONLY_ADMIN"), &[], state),
];

fn state(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let none: Vec<Value> = Vec::new();
    let mut row = json!({
        "name": "boot-pool",
        "status": "ONLINE",
        "path": "/boot-pool",
        "scan": null,
        "expand": null,
        "healthy": true,
        "warning": false,
        "status_code": "OK",
        "status_detail": null,
        "size": 63_350_767_616_u64,
        "allocated": 9_126_805_504_u64,
        "free": 54_223_962_112_u64,
        "freeing": 0,
        "dedup_table_size": 0,
        "dedup_table_quota": "auto",
        "fragmentation": "4",
        "size_str": "63350767616",
        "allocated_str": "9126805504",
        "free_str": "54223962112",
        "freeing_str": "0",
        "autotrim": {"value": "off", "rawvalue": "off", "parsed": "off", "source": "DEFAULT"},
        "topology": {"data": none, "log": none, "cache": none, "spare": none, "special": none, "dedup": none},
    });
    if context.generation() == Generation::V25_04 {
        row["scan"] = json!({});
        row["expand"] = json!({});
    } else if context.generation() >= Generation::V26 {
        row["all_sed"] = Value::Null;
    }
    Ok(Answer::Value(row))
}

fn destroy(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.get(0)["id"].as_str().unwrap_or_default().to_owned();
    if id == context.generation().version() {
        return Err(Failure::invalid(
            "boot_environment_destroy.id",
            "Deleting the active boot environment is not allowed",
        ));
    }
    let systems = &mut context.state.old_systems;
    let Some(at) = systems.iter().position(|one| *one == id) else {
        return Err(Failure::invalid("boot_environment_destroy.id", format!("{id:?} not found")));
    };
    systems.remove(at);
    Ok(Answer::Value(Value::Null))
}

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    // The same each time it is asked for: a system that is made again is another one.
    let today = context.state.now().duration_trunc(TimeDelta::days(1)).unwrap_or_default();
    let running = context.generation().version();
    let row = |id: &str, active: bool, days: i64| {
        json!({
            "id": id,
            "dataset": format!("boot-pool/ROOT/{id}"),
            "active": active,
            "activated": active,
            "created": date(today - TimeDelta::days(days)),
            "used_bytes": 2_900_000_000_u64,
            "used": "2.70G",
            "keep": false,
            "can_activate": true,
        })
    };
    let days = context.state.days_of_old_systems;
    let old = context.state.old_systems.iter().map(|id| row(id, false, days));
    let rows = old.chain([row(running, true, 40)]).collect();
    context.query(rows)
}
