//! `core.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::events::{self, Listener};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::random_uuid;
use crate::nas::sources;
use crate::nas::wire::Failure;

const OPTIONS: &[Param] = &[required(
    "options",
    Kind::Open(&[
        optional("legacy_jobs", Kind::Bool),
        optional("private_methods", Kind::Bool),
        optional("py_exceptions", Kind::Bool),
    ]),
)];

pub(super) const METHODS: &[Method] = &[
    method("core.ping", Access::Session, &[], ping).until(Generation::V25_04),
    method("core.ping", Access::Anyone, &[], ping).since(Generation::V25_10),
    method("core.set_options", Access::Anyone, OPTIONS, set_options),
    method("core.subscribe", Access::Session, &[required("event", Kind::Str)], subscribe),
    method("core.unsubscribe", Access::Session, &[required("id_", Kind::Str)], unsubscribe),
    method("core.get_jobs", Access::Session, QUERY, get_jobs),
    method("core.job_abort", Access::Session, &[required("id", Kind::Int)], job_abort),
];

fn ping(_: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value("pong".into()))
}

fn set_options(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let wanted = |name: &str| context.args.get(0)[name].as_bool();
    let (jobs, private, exceptions) =
        (wanted("legacy_jobs"), wanted("private_methods"), wanted("py_exceptions"));
    let session = &mut *context.session;
    session.py_exceptions = exceptions.unwrap_or(session.py_exceptions);
    if session.spoken.generation == Generation::V25_04 {
        return Ok(Answer::Value(Value::Null));
    }
    session.legacy_jobs = jobs.unwrap_or(session.legacy_jobs);
    session.private_methods = private.unwrap_or(session.private_methods);
    Ok(Answer::Value(json!({
        "legacy_jobs": session.legacy_jobs,
        "private_methods": session.private_methods,
        "py_exceptions": session.py_exceptions,
    })))
}

fn subscribe(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let caller = context.session.caller().ok_or_else(Failure::unauthorized)?;
    let collection = context.args.str(0).to_owned();
    if events::role(&collection).is_some_and(|role| !caller.login.roles.allow(role)) {
        return Err(Failure::unauthorized());
    }
    let uuid = random_uuid();
    sources::begin(context.state, &collection, context.outbox);
    context.state.listeners.push(Listener {
        uuid: uuid.clone(),
        connection: context.session.connection,
        collection,
        caller,
        outbox: context.outbox.clone(),
    });
    Ok(Answer::Value(uuid.into()))
}

fn unsubscribe(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (uuid, connection) = (context.args.str(0), context.session.connection);
    context.state.listeners.retain(|one| one.connection != connection || one.uuid != uuid);
    Ok(Answer::Value(Value::Null))
}

fn get_jobs(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (login, generation) = (context.login()?, context.generation());
    let visible = context.state.jobs.iter().filter(|job| job.visible_to(login));
    context.query(visible.map(|job| job.row(generation)).collect())
}

fn job_abort(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let login = context.login()?.clone();
    let id = context.args.get(0).as_i64().unwrap_or_default();
    context.state.abort_job(id, &login)?;
    Ok(Answer::Value(Value::Null))
}
