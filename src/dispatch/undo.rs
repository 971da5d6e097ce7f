//! Takes a change back: its way back is in the log, and is planned like any other change.

use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::audit::record::{Act, Event, Record};
use crate::audit::{Outcome, Status, tail};
use crate::domain::plan::UndoNote;
use crate::domain::risk::Risk;
use crate::nas::By;
use crate::policy;
use crate::tools::schema::{of_a_change, schema_of};
use crate::tools::{Kind, Log, Spec, arguments_of};

use super::changes::{Me, RECORDS};
use super::{Call, Dispatcher, Failure, Item, Reply, covered, find, unrecorded};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Its number in `changes_list`.
    change: u64,
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "undo",
        title: "Take a change back",
        description: "Plans what takes back a change of yours, by its number in changes_list. What that does at worst is in the plan.",
        scope: None,
        // What it plans has a scope and a risk of its own, which count.
        risk: Risk::Reversible,
        log: &[("change", Log::Plain), ("plan", Log::Plain)],
        alters_plans: false,
        looks: &[],
        looks_by: By::Reader,
        done_by: By::Reader,
        needs: &[],
        switch: None,
        input: of_a_change(schema_of::<Args>()),
        output: Map::new(),
    }
}

/// A change as the log has it, and how it ended; `None` while it is under way.
type Found = (Box<Act>, Option<Status>);

impl Dispatcher {
    /// Finds the way back in the log, and plans it or makes it, as if it were called by its own name.
    pub(super) async fn undo(&self, mut call: Call, spec: &Spec) -> Reply {
        let mut besides = Map::new();
        for name in ["plan", "reason"] {
            besides.extend(call.arguments.remove_entry(name));
        }
        let change = match arguments_of::<Args>(call.arguments.clone()) {
            Ok(Args { change }) => change,
            Err(fault) => return self.misspelt(&call, spec, None, &fault),
        };
        let ask = self.ask(&call, spec, None, None);
        let ask = policy::Ask { risk: Risk::Read, ..ask };
        let warrant = match policy::judge_read(&call.caller, ask).map(|permit| self.journal.read(permit)) {
            Ok(Ok(warrant)) => warrant,
            Ok(Err(error)) => return unrecorded(&error),
            Err(refusal) => return self.refuse(&call, spec, None, &refusal),
        };
        let oldest = self.journal.health().durable.unwrap_or(0).saturating_sub(RECORDS);
        let (log, me) = (self.log.clone(), Me::of(&call.caller));
        let found = if change < oldest {
            Ok(None)
        } else {
            let found = tokio::task::spawn_blocking(move || look(&log, change, &me)).await;
            found.unwrap_or_else(|_| Err(io::Error::other("the reader of the log failed")))
        };
        let back = found.map_err(|error| unreadable(&error)).and_then(|found| way_back(change, found));
        let outcome = match &back {
            Ok(_) => Outcome::ok(),
            Err(failure) => Outcome::because(Status::Error, failure.code, &failure.what),
        };
        if let Err(error) = self.metrics.audit(warrant.close(outcome)).await {
            return unrecorded(&error);
        }
        let (act, tool, arguments) = match back {
            Ok(back) => back,
            Err(failure) => return Reply::Failed(*failure),
        };

        let Some(Item::Nas(entry)) = self.catalogue.find(&tool) else {
            return Reply::Failed(*none(format!(
                "There is no tool {tool} any more, which would take it back."
            )));
        };
        let Kind::Change(change) = &entry.kind else {
            return Reply::Failed(*none(format!("{tool} changes nothing.")));
        };
        let nas = act.nas.as_ref().and_then(|nas| find(&self.fleet.now(), nas.as_str()).cloned());
        let Some(nas) = nas else {
            return Reply::Failed(*none(
                "The NAS that it was made on is not configured any more.".to_owned(),
            ));
        };
        call.tool = tool;
        call.arguments = arguments;
        call.arguments.extend(besides);
        match covered(&call.caller, &entry.spec, &nas) {
            Ok(_) => self.change(call, &entry.spec, &nas, &**change).await,
            Err(refusal) => self.refuse(&call, &entry.spec, Some(&nas), &refusal),
        }
    }
}

/// The change of this number, if `me` made it.
fn look(log: &Path, change: u64, me: &Me) -> io::Result<Option<Found>> {
    let mut found: Option<Found> = None;
    tail::changes_from(log, change, |Record { seq, event, .. }| match event {
        Event::Intent(act) if seq == change && me.is(&act.who) => found = Some((act, None)),
        Event::Outcome(closing) if closing.parent == change => {
            if let Some((_, ended)) = &mut found {
                *ended = Some(closing.end.result.status);
            }
        }
        _ => {}
    })?;
    Ok(found)
}

/// The call that takes a change back: what was changed, the tool, and its arguments.
type Back = (Box<Act>, String, Map<String, Value>);

fn way_back(change: u64, found: Option<Found>) -> Result<Back, Box<Failure>> {
    let Some((mut act, ended)) = found else {
        return Err(none(format!("You made no change {change}, or it is too long ago.")));
    };
    match ended {
        // What is not known to have been made may have been: the plan looks.
        Some(Status::Ok | Status::Unknown) => {}
        Some(Status::Error | Status::Denied | Status::Cancelled) => {
            return Err(none(format!("Change {change} was not made.")));
        }
        None => return Err(none(format!("Change {change} is under way."))),
    }
    match act.plan.as_mut().and_then(|plan| plan.undo.take()) {
        Some(UndoNote::Call { tool, arguments }) => Ok((act, tool, arguments)),
        Some(UndoNote::Words(words)) => Err(none(format!("No call takes it back: {words}."))),
        Some(UndoNote::Impossible(why)) => Err(none(format!("It cannot be taken back: {why}."))),
        None => Err(none("The log does not keep how it is taken back.".to_owned())),
    }
}

fn none(what: String) -> Box<Failure> {
    Box::new(Failure {
        code: "no_undo",
        what,
        meaning: "Nothing was changed.".to_owned(),
        next_step: "changes_list tells of each change how it is taken back.".to_owned(),
        ..Failure::default()
    })
}

fn unreadable(error: &io::Error) -> Box<Failure> {
    let mut failure = none(format!("The audit log cannot be read: {error}."));
    "Have the operator look at its folder; `tailnas audit verify` says what is wrong."
        .clone_into(&mut failure.next_step);
    failure
}
