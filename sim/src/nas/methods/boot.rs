//! `boot.environment.*`

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::date;
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;

pub(super) const METHODS: &[Method] = &[
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

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let now = context.state.now();
    let running = context.generation().version();
    let row = |id: &str, active: bool, days: i64| {
        json!({
            "id": id,
            "dataset": format!("boot-pool/ROOT/{id}"),
            "active": active,
            "activated": active,
            "created": date(now - TimeDelta::days(days)),
            "used_bytes": 2_900_000_000_u64,
            "used": "2.70G",
            "keep": false,
            "can_activate": true,
        })
    };
    context.query(vec![row("24.10.2.4", false, 400), row(running, true, 90)])
}
