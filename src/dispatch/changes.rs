//! Tells what was changed through this server, from its own log, and how it can be taken back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit::record::{Act, Event, Record};
use crate::audit::{Status, tail};
use crate::caller::Caller;
use crate::domain::plan::UndoNote;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::{Via, Who};
use crate::nas::By;
use crate::policy;
use crate::policy::freeze::Frozen;
use crate::tools::fields::{self, List};
use crate::tools::render::{foreign, shown_of};
use crate::tools::schema::{answer_schema_of, schema_of, without_nulls};
use crate::tools::{Answer, BadArguments, Log, Spec, ToolError, guard};

use super::change::once_thawed;
use super::{Call, Dispatcher, Reply, failed, outcome_of, unrecorded};

/// How far back in the log is looked.
pub(super) const RECORDS: u64 = 50_000;
/// Most changes of one answer.
const MOST: u16 = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Of everybody, which needs the scope audit:read. Default: no.
    #[serde(default)]
    everyone: bool,
    /// At most this many, newest first.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 200))]
    limit: u16,
}

const fn twenty() -> u16 {
    20
}

/// Changes, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the answer is called so")]
struct Changes {
    /// The changes shown.
    changes: Vec<Change>,
    /// How many there are in all, as far back as was looked.
    total: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    /// Number of its record in the audit log.
    seq: u64,
    /// When, ISO 8601.
    at: String,
    /// Who asked for it.
    by: String,
    /// Tool.
    tool: String,
    /// NAS.
    nas: Option<String>,
    /// What exactly it acted on.
    target: Option<String>,
    /// How it ended: ok, error, cancelled, unknown …; `open` while it is under way.
    outcome: String,
    /// Why it did not end well.
    reason: Option<String>,
    /// How it can be taken back.
    undo: Option<String>,
}

pub(super) fn spec() -> Spec {
    let (input, output, _) = schemas();
    Spec {
        name: "changes_list",
        title: "What was changed through here",
        description: "What you changed through this server, newest first: how it ended, and how to take it back.",
        scope: None,
        risk: Risk::Read,
        alters_plans: false,
        log: &[("everyone", Log::Plain), ("limit", Log::Plain)],
        looks: &[],
        looks_by: By::Reader,
        done_by: By::Reader,
        needs: &[],
        switch: None,
        input,
        output,
    }
}

/// Of arguments and answer, and what the answer is a list of.
fn schemas() -> (Map<String, Value>, Map<String, Value>, Option<List>) {
    let (mut input, mut output) = (schema_of::<Args>(), answer_schema_of::<Changes>());
    let list = fields::offer(&mut input, &mut output);
    (input, output, list)
}

impl Dispatcher {
    pub(super) async fn changes(&self, call: Call, spec: &Spec) -> Reply {
        let (_, _, list) = schemas();
        let mut arguments = call.arguments.clone();
        let narrow = match list.as_ref().map(|list| list.take_fields(&mut arguments)).transpose() {
            Ok(fields) => list.as_ref().zip(fields.flatten()),
            Err(fault) => return self.misspelt(&call, spec, None, &fault),
        };
        let args = match serde_json::from_value::<Args>(arguments.into()) {
            Ok(args) if (1..=MOST).contains(&args.limit) => args,
            Ok(args) => {
                let what = format!("{} is not between 1 and {MOST}", args.limit);
                return self.misspelt(&call, spec, None, &BadArguments { path: "limit".to_owned(), what });
            }
            Err(error) => {
                let what = foreign(&error.to_string(), 200);
                return self.misspelt(
                    &call,
                    spec,
                    None,
                    &BadArguments { path: "arguments".to_owned(), what },
                );
            }
        };
        if args.everyone {
            // On every NAS: the log is one for all of them.
            let all = policy::covered(call.caller.grants(), Some(Scope::AuditRead), Risk::Read, None);
            if let Err(refusal) = all {
                return self.refuse(&call, spec, None, &refusal);
            }
        }
        let ask = self.ask(&call, spec, None, None);
        let warrant = match policy::judge_read(&call.caller, ask).map(|permit| self.journal.read(permit)) {
            Ok(Ok(warrant)) => warrant,
            Ok(Err(error)) => return unrecorded(&error),
            Err(refusal) => return self.refuse(&call, spec, None, &refusal),
        };
        let from = self.journal.health().durable.unwrap_or(0).saturating_sub(RECORDS);
        let (log, me) = (self.log.clone(), Me::of(&call.caller));
        let wanted = (!args.everyone).then_some(me);
        let read = tokio::task::spawn_blocking(move || look(&log, from, args.limit.into(), wanted.as_ref()));
        let read = read.await.unwrap_or_else(|_| Err(io::Error::other("the reader of the log failed")));
        let frozen = self.plans.brake().state();
        let answer =
            read.map(|found| found.told(from, frozen.as_ref())).map_err(|error| ToolError::Inapplicable {
                what: format!("The audit log cannot be read: {error}."),
                hint: "Have the operator look at its folder; `tailnas audit verify` says what is wrong."
                    .to_owned(),
            });
        let answer = answer.map(|changes| Answer {
            text: changes.to_string(),
            items: changes.changes.len(),
            structured: without_nulls(serde_json::to_value(changes).unwrap_or_default()),
        });
        let answer = answer.map(|answer| {
            guard::within_bounds(match &narrow {
                Some((list, fields)) => list.narrow(answer, fields),
                None => answer,
            })
        });
        let recorded = self.metrics.audit(warrant.close(outcome_of(Some(&answer), &[])));
        match (recorded.await, answer) {
            (Ok(receipt), Ok(answer)) => Reply::Done(answer, receipt, None),
            (Ok(_), Err(error)) => Reply::Failed(failed(&error)),
            (Err(error), _) => unrecorded(&error),
        }
    }
}

/// Who somebody is in the log.
pub(super) enum Me {
    /// A person, by provider and subject.
    Person(String, String),
    /// An agent, by its tag.
    Agent(String),
}

impl Me {
    pub(super) fn of(caller: &Caller) -> Self {
        match caller.token() {
            Some(token) => Self::Person(token.issuer().to_owned(), token.subject().to_owned()),
            None => Self::Agent(caller.name().to_owned()),
        }
    }

    pub(super) fn is(&self, who: &Who) -> bool {
        match self {
            Self::Person(issuer, subject) => {
                who.auth.as_ref().is_some_and(|auth| auth.iss == *issuer && auth.sub == *subject)
            }
            Self::Agent(tag) => {
                who.via == Some(Via::Agent) && who.peer.as_ref().is_some_and(|peer| peer.tags.contains(tag))
            }
        }
    }
}

/// An intent, and how it ended.
struct Found {
    seq: u64,
    at: String,
    act: Box<Act>,
    ended: Option<(Status, Option<String>)>,
}

struct All {
    newest: VecDeque<Found>,
    total: usize,
}

/// Reads the log. Only as many as are shown are kept at a time, so that a long log takes no memory.
fn look(log: &Path, from: u64, limit: usize, wanted: Option<&Me>) -> io::Result<All> {
    let mut all = All { newest: VecDeque::new(), total: 0 };
    tail::changes_from(log, from, |Record { seq, ts, event, .. }| match event {
        Event::Intent(act) if wanted.is_none_or(|me| me.is(&act.who)) => {
            all.total += 1;
            if all.newest.len() == limit {
                all.newest.pop_front();
            }
            all.newest.push_back(Found { seq, at: ts, act, ended: None });
        }
        Event::Outcome(closing) => {
            if let Some(found) = all.newest.iter_mut().find(|found| found.seq == closing.parent) {
                found.ended = Some((closing.end.result.status, closing.end.result.reason));
            }
        }
        _ => {}
    })?;
    Ok(all)
}

impl All {
    fn told(self, from: u64, frozen: Option<&Frozen>) -> Changes {
        let mut not_seen = vec![
            "whether somebody has taken it back since, and what was changed on the NAS by other ways (audit_query)"
                .to_owned(),
        ];
        if from > 0 {
            not_seen.push(format!("changes before record {from} of the log; `tailnas audit` shows them"));
        }
        let changes = self.newest.into_iter().rev().map(|found| change(found, frozen));
        Changes { changes: changes.collect(), total: self.total, not_seen }
    }
}

/// How the change of this number is taken back.
fn way_back(seq: u64, undo: Option<&UndoNote>, frozen: Option<&Frozen>) -> String {
    let way = match undo {
        Some(UndoNote::Call { tool, .. }) => {
            format!("Call undo with change {seq}; it plans {}.", foreign(tool, 60))
        }
        Some(note) => format!("{}.", foreign(&note.to_string(), 600)),
        None => "The log does not keep how: the plan of the change said it when it was made.".to_owned(),
    };
    match (frozen, undo) {
        (None, _) | (_, None | Some(UndoNote::Impossible(_))) => way,
        (Some(frozen), Some(_)) => once_thawed(frozen, &way),
    }
}

fn change(Found { seq, at, act, ended }: Found, frozen: Option<&Frozen>) -> Change {
    let Act { who, tool, nas, target, plan, .. } = *act;
    let way = way_back(seq, plan.as_ref().and_then(|plan| plan.undo.as_ref()), frozen);
    let undo = match ended.as_ref().map(|ended| ended.0) {
        Some(Status::Ok) => Some(way),
        Some(Status::Error | Status::Denied | Status::Cancelled) => None,
        Some(Status::Unknown) | None => Some(format!("Look first whether it was done. {way}")),
    };
    let user = who.peer.and_then(|peer| peer.user.or_else(|| peer.tags.first().cloned()));
    let by = who.auth.and_then(|auth| auth.username).or(user).unwrap_or_else(|| "?".to_owned());
    Change {
        seq,
        at: foreign(&at, 40),
        by: foreign(&by, 100),
        tool: foreign(&tool, 60),
        nas: nas.map(|nas| nas.to_string()),
        target: target.map(|target| foreign(&target, 300)),
        outcome: ended.as_ref().map_or_else(|| "open".to_owned(), |ended| ended.0.to_string()),
        reason: ended.and_then(|ended| ended.1).map(|reason| foreign(&reason, 300)),
        undo,
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "Nothing was changed through this server.")?;
        }
        for Change { seq, at, by, tool, nas, target, outcome, reason, undo } in &self.changes {
            write!(f, "- #{seq} {at} {by}: {tool}")?;
            if let Some(target) = target {
                write!(f, " {target}")?;
            }
            if let Some(nas) = nas {
                write!(f, " on {nas}")?;
            }
            write!(f, ": {outcome}")?;
            if let Some(reason) = reason {
                write!(f, " ({reason})")?;
            }
            writeln!(f)?;
            if let Some(undo) = undo {
                writeln!(f, "  Undo: {undo}")?;
            }
        }
        f.write_str(&shown_of(self.changes.len(), self.total, "Raise limit."))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}
