//! `service.*`

use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;

pub(super) const METHODS: &[Method] = &[method("service.query", Access::Role("SERVICE_READ"), QUERY, query)];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let services = context.state.services.iter();
    let rows = services.map(|service| {
        json!({
            "id": service.id,
            "service": service.name,
            "enable": service.enabled,
            "state": if service.running { "RUNNING" } else { "STOPPED" },
            "pids": if service.running { vec![1000 + service.id] } else { Vec::new() },
        })
    });
    context.query(rows.collect())
}
