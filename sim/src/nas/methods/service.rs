//! `service.*`

use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::{Plan, Work};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::wire::Failure;

const LOUD: Param = optional(
    "options",
    Kind::Model(&[
        optional("ha_propagate", Kind::Bool),
        optional("silent", Kind::Bool),
        optional("timeout", Kind::NullOr(&Kind::Int)),
    ]),
);
const CONTROL: &[Param] = &[
    required("verb", Kind::OneOf(&["START", "STOP", "RESTART", "RELOAD"])),
    required("service", Kind::Name),
    LOUD,
];
const OLD: &[Param] = &[required("service", Kind::Name), LOUD];
const WRITE: Access = Access::Role("SERVICE_WRITE");

pub(super) const METHODS: &[Method] = &[
    method("service.query", Access::Role("SERVICE_READ"), QUERY, query),
    method("service.control", WRITE, CONTROL, control).since(Generation::V25_10),
    method("service.start", WRITE, OLD, |context| old(context, "START")).until(Generation::V25_10),
    method("service.stop", WRITE, OLD, |context| old(context, "STOP")).until(Generation::V25_10),
    method("service.restart", WRITE, OLD, |context| old(context, "RESTART")).until(Generation::V25_10),
];

fn control(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (verb, name) = (context.args.str(0).to_owned(), context.args.str(1).to_owned());
    Ok(Answer::Job(Plan {
        method: "service.control",
        description: format!("{verb} {name}"),
        lock: format!("service {name}"),
        arguments: vec![json!(verb), json!(name)],
        work: Work::Service { name, verb },
    }))
}

fn old(context: &mut Context<'_>, verb: &str) -> Result<Answer, Failure> {
    let name = context.args.str(0).to_owned();
    context
        .state
        .control_service(&name, verb)
        .map(Answer::Value)
        .map_err(|(errno, why)| Failure::call(errno, why))
}

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
