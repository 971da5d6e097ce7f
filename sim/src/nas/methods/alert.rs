//! `alert.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::events::Event;
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, required};
use crate::nas::state::Alert;
use crate::nas::wire::{ENOENT, Failure};

const UUID: &[Param] = &[required("uuid", Kind::Str)];

pub(super) const METHODS: &[Method] = &[
    method("alert.list", Access::Role("ALERT_LIST_READ"), &[], list),
    method("alert.dismiss", Access::Role("ALERT_LIST_WRITE"), UUID, |context| dismiss(context, true)),
    method("alert.restore", Access::Role("ALERT_LIST_WRITE"), UUID, |context| dismiss(context, false)),
];

fn list(context: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(context.state.alerts.iter().map(row).collect()))
}

fn dismiss(context: &mut Context<'_>, dismissed: bool) -> Result<Answer, Failure> {
    let uuid = context.args.str(0);
    let alert = context.state.alerts.iter_mut().find(|alert| alert.uuid == uuid);
    let alert = alert.ok_or_else(|| Failure::call(ENOENT, format!("Alert {uuid} does not exist")))?;
    alert.dismissed = dismissed;
    let event = Event::AlertChanged(alert.uuid.clone());
    context.state.emit(event);
    Ok(Answer::Value(Value::Null))
}

pub(crate) fn row(alert: &Alert) -> Value {
    json!({
        "uuid": alert.uuid,
        "source": "",
        "klass": alert.klass,
        "args": null,
        "node": "Controller A",
        "key": "null",
        "datetime": date(alert.raised),
        "last_occurrence": date(alert.raised),
        "dismissed": alert.dismissed,
        "mail": null,
        "text": alert.text,
        "id": alert.uuid,
        "level": alert.level.name(),
        "formatted": alert.text,
        "one_shot": true,
    })
}
