//! `boot.environment.*`

use chrono::TimeDelta;
use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::jobs::date;
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;

pub(super) const METHODS: &[Method] =
    &[method("boot.environment.query", Access::Role("BOOT_ENV_READ"), QUERY, query)];

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
