//! `audit.*`

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::CANARY;
use crate::nas::Generation;
use crate::nas::jobs::date;
use crate::nas::params::{Kind, OPTIONS, Param, optional};
use crate::nas::query;
use crate::nas::wire::Failure;

const FIELDS: &[Param] = &[
    optional("services", Kind::Strings),
    optional("query-filters", Kind::Filters),
    optional("query-options", Kind::Model(OPTIONS)),
    optional("remote_controller", Kind::Bool),
];
const QUERY: &[Param] = &[optional("data", Kind::Model(FIELDS))];
const QUERY_25_04: &[Param] = &[optional("audit_query", Kind::Model(FIELDS))];

pub(super) const METHODS: &[Method] = &[
    method("audit.query", Access::Role("SYSTEM_AUDIT_READ"), QUERY_25_04, query).until(Generation::V25_04),
    method("audit.query", Access::Role("SYSTEM_AUDIT_READ"), QUERY, query).since(Generation::V25_10),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let data = context.args.get(0);
    let services: Vec<&str> = match data["services"].as_array() {
        Some(services) => services.iter().filter_map(Value::as_str).collect(),
        None if context.generation() == Generation::V25_04 => vec!["MIDDLEWARE", "SUDO"],
        None => vec!["MIDDLEWARE"],
    };
    let now = context.state.now();
    let row = |minutes: i64, service: &str, user: &str, address: &str, event: &str, success: bool| {
        let at = now - TimeDelta::minutes(minutes);
        let data = match event {
            "METHOD_CALL" => json!({"method": "user.update", "params": [CANARY], "description": CANARY}),
            _ => json!({"error": CANARY}),
        };
        json!({
            "audit_id": format!("0{minutes:07}-1111-4222-8333-444455556666"),
            "message_timestamp": at.timestamp(),
            "timestamp": date(at),
            "address": address,
            "username": user,
            "session": "5f0b2c64-0000-4000-8000-000000000000",
            "service": service,
            "service_data": {"vers": {"major": 0, "minor": 1}, "origin": address, "secret": CANARY},
            "event": event,
            "event_data": data,
            "success": success,
        })
    };
    let rows = vec![
        row(2000, "MIDDLEWARE", "truenas_admin", "192.168.1.7", "AUTHENTICATION", true),
        row(45, "MIDDLEWARE", "truenas_admin", "192.168.1.7", "METHOD_CALL", true),
        row(30, "MIDDLEWARE", "root", "192.168.1.66", "AUTHENTICATION", false),
        row(20, "SUDO", "alice", "127.0.0.1", "ACCEPT", true),
        row(10, "SMB", "alice", "192.168.1.7", "CONNECT", true),
    ];
    let rows =
        rows.into_iter().filter(|row| row["service"].as_str().is_some_and(|of| services.contains(&of)));
    query::answer(rows.collect(), &data["query-filters"], &data["query-options"]).map(Answer::Value)
}
