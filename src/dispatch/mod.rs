//! The way of a call from its name to its answer: look up, parse, judge, record, do, record, answer.

pub mod aftermath;
mod catalogue;
mod change;
mod changes;
mod explain;
mod plans;
mod redact;
mod undo;
mod whoami;

use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::audit::{
    Journal, NotRecorded, Outcome, Receipt, Refusal as Refused, Refused as What, Status, Upstream,
};
use crate::caller::{Caller, Denied, FreshCaller, Gate};
use crate::clock::{Clock, Seldom};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::plan::PlanId;
use crate::domain::scope::Scope;
use crate::domain::who::{McpNote, Via};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::nas::{Fleet, Nas, Roll, Trip};
use crate::policy::budgets::{Budgets, Purse, TooMany};
use crate::policy::plans::Plans;
use crate::policy::{self, Ask, Refusal};
use crate::tools::fields::FIELDS;
use crate::tools::{Answer, BadArguments, Kind, Log, Ready, Spec, ToolError};

pub use catalogue::{Catalogue, Item};
pub use explain::explain;

/// Carries calls out.
pub struct Dispatcher {
    catalogue: Catalogue,
    gate: Arc<Gate>,
    journal: Journal,
    log: PathBuf,
    fleet: Fleet,
    capability: String,
    console: String,
    budgets: Budgets,
    plans: Plans,
    clock: Clock,
    metrics: Metrics,
    lifecycle: Lifecycle,
    /// What could not be recorded, and so is in no record.
    unrecorded: Seldom,
}

/// What a dispatcher is made of.
pub struct Parts {
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// Where it is written down.
    pub journal: Journal,
    /// The folder of that.
    pub log: PathBuf,
    /// What it is done to.
    pub fleet: Fleet,
    /// The capability that grants come from, to name in refusals.
    pub capability: String,
    /// Our own origin, `https://HOST`: where people find the page on which they approve.
    pub origin: String,
    /// How much callers may ask for.
    pub budgets: Budgets,
    /// What is planned.
    pub plans: Plans,
    /// What tells the time.
    pub clock: Clock,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Where deeds are tracked.
    pub lifecycle: Lifecycle,
}

/// One call, as it came in.
pub struct Call {
    /// The request that it came with.
    pub request: RequestId,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// The tool's name.
    pub tool: String,
    /// Its arguments, unread.
    pub arguments: Map<String, Value>,
    /// What the client said over MCP.
    pub mcp: McpNote,
    /// What the client's person answered when they were asked about a plan.
    pub answered: Option<Answered>,
    /// Cancelled when the client is gone.
    pub gone: CancellationToken,
    /// Where to tell how far it is, if the client asked for that.
    pub progress: Option<Box<dyn Progress>>,
}

/// What a person answered to their client, as the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The plan they were asked about.
    pub plan: PlanId,
    /// Whether they agreed.
    pub yes: bool,
}

/// Tells a client how far its call is.
pub trait Progress: Send + Sync {
    /// `done` of `total` steps, and what comes now. Must not wait.
    fn tell(&self, done: u32, total: u32, now: &'static str);
}

/// What a call came to.
#[derive(Debug)]
pub enum Reply {
    /// It was done, and is on record. A change comes with its receipt as one word, signed.
    Done(Answer, Receipt, Option<String>),
    /// It is a plan, and waits to be agreed to; by the client's person, if that is enough.
    Planned(Answer, Receipt, Option<PlanId>),
    /// It was not done, or not to the end; the text says what that means and what to do next.
    Failed(Failure),
    /// Not done either: asked about again before a change, the caller was not admitted any more.
    NotAdmitted(Failure, Denied),
    /// There is no such tool.
    NoSuchTool,
}

/// A failure as the person reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// One word for programs: `missing_scope`, `nas_away` …
    pub code: &'static str,
    /// What happened.
    pub what: String,
    /// What that means for the NAS.
    pub meaning: String,
    /// What to do next.
    pub next_step: String,
    /// The grant that is missing, ready to be pasted into the tailnet policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Value>,
    /// The signed receipt of a change that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// A tool that a caller can use.
#[derive(Debug)]
pub struct Usable<'a> {
    /// The tool.
    pub spec: &'a Spec,
    /// The NASes to choose from in the argument [`NAS`]; none where there is no such argument.
    pub nas: Vec<NasName>,
}

/// The argument that says which NAS a call is for. Every tool that acts on one takes it while there is more than
/// one.
pub const NAS: &str = "nas";

/// Why a call is not carried out that cannot be recorded.
const UNRECORDED: &str = "audit_unavailable";

const NOTHING_SENT: &str = "Nothing was sent to the NAS.";

impl Dispatcher {
    /// A dispatcher of all the tools there are.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            gate,
            journal,
            log,
            fleet,
            capability,
            origin,
            budgets,
            plans,
            clock,
            metrics,
            lifecycle,
        } = parts;
        let (catalogue, console) = (Catalogue::new(), format!("{origin}/console"));
        Arc::new(Self {
            catalogue,
            gate,
            journal,
            log,
            fleet,
            capability,
            console,
            budgets,
            plans,
            clock,
            metrics,
            lifecycle,
            unrecorded: Seldom::default(),
        })
    }

    /// The tools.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The NASes there are.
    #[must_use]
    pub fn nas_names(&self) -> Vec<NasName> {
        self.fleet.now().keys().cloned().collect()
    }

    /// The tools that the caller has the scope for on any NAS, in the order of their names.
    pub fn usable<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = Usable<'a>> {
        let roll = self.fleet.now();
        let may = {
            let roll = Arc::clone(&roll);
            move |spec: &Spec| !theirs(&roll, caller, spec).is_empty()
        };
        self.catalogue.for_whoever(may).map(move |item| {
            let spec = item.spec();
            let nas = match item {
                // With one NAS it goes without saying which.
                Item::Nas(_) if roll.len() > 1 => theirs(&roll, caller, spec),
                Item::Nas(_) | Item::Whoami(_) | Item::Changes(_) | Item::Plans(..) | Item::Undo(_) => {
                    Vec::new()
                }
            };
            Usable { spec, nas }
        })
    }

    /// The NASes that the caller may use `tool` on.
    pub fn reach(&self, caller: &Caller, tool: &str) -> Vec<NasName> {
        match self.catalogue.find(tool) {
            Some(Item::Nas(entry)) => theirs(&self.fleet.now(), caller, &entry.spec),
            _ => Vec::new(),
        }
    }

    /// Whether there is more than one NAS, so that a call has to name the one it is for.
    pub fn has_several(&self) -> bool {
        self.fleet.now().len() > 1
    }

    /// The caller as tailnet and provider know them now, if they are still let in. For what goes on for longer
    /// than one call.
    pub async fn readmitted(&self, caller: &Caller) -> Option<Caller> {
        self.gate.readmit(caller).await.ok().map(FreshCaller::into_caller)
    }

    /// The scope that `caller` would need a better token for to call `tool` on the NAS that `nas` names: their
    /// grants allow it, and their token alone does not.
    pub fn withheld_by_token(&self, caller: &Caller, tool: &str, nas: Option<&str>) -> Option<Scope> {
        let scope = self.catalogue.find(tool)?.spec().scope?;
        let roll = self.fleet.now();
        let meant: Vec<_> = match nas.and_then(|name| find(&roll, name)) {
            Some(nas) => vec![nas.name()],
            None => roll.keys().collect(),
        };
        let grants = caller.grants();
        let withheld = meant.iter().any(|nas| grants.withheld_by_token(scope, nas));
        (withheld && meant.iter().all(|nas| grants.allows(scope, nas).is_none())).then_some(scope)
    }

    /// What is refused where `tool` is on the NAS that `nas` names, as the caller spelled them.
    pub fn refused(&self, tool: &str, nas: Option<&str>, missing: Option<Scope>) -> What {
        self.refused_on(tool, named(&self.fleet.now(), nas), missing)
    }

    fn refused_on(&self, tool: &str, nas: Option<&Nas>, missing: Option<Scope>) -> What {
        match self.catalogue.find(tool) {
            Some(item) => {
                What::Tool { tool: item.spec().name, nas: nas.map(|nas| nas.name().clone()), missing }
            }
            None => What::NoSuchTool(tool.to_owned()),
        }
    }

    /// Carries a call out. It runs to its end even if the caller of this function does not wait for it.
    pub async fn call(self: &Arc<Self>, call: Call) -> Reply {
        let this = Arc::clone(self);
        let tool = self.catalogue.find(&call.tool).map_or("unknown", |item| item.spec().name);
        let reply = match self.lifecycle.deed(async move { this.carry_out(call).await }).await {
            Ok(reply) => reply,
            Err(_) => Reply::Failed(Failure {
                code: "internal",
                what: "The daemon failed while it carried this out.".to_owned(),
                meaning: "If it was a change, it is not known whether it was done.".to_owned(),
                next_step: "Look at the audit log and at the daemon's journal, and report this.".to_owned(),
                ..Failure::default()
            }),
        };
        self.count(tool, &reply);
        reply
    }

    /// Counts how a call ended. What is refused because it cannot be recorded has no record: the journal has it.
    fn count(&self, tool: &'static str, reply: &Reply) {
        let ended = reply.word();
        self.metrics.tool_call(tool, ended);
        if ended == UNRECORDED
            && let Some(times) = self.unrecorded.due()
        {
            tracing::error!(tool, times, "calls were refused, because they could not be recorded");
        }
    }

    async fn carry_out(&self, mut call: Call) -> Reply {
        // First of all: a call that is refused costs something too, were it only the record.
        let _spending = match self.budgets.spend(Purse::of(&call.caller)) {
            Ok(spending) => spending,
            Err(too_many) => return self.too_many(&call, &too_many),
        };
        let Some(item) = self.catalogue.find(&call.tool) else {
            self.note(&call, None, None, "unknown_tool");
            return Reply::NoSuchTool;
        };
        let spec = item.spec();
        let entry = match item {
            Item::Whoami(_) => return self.whoami(call, spec).await,
            Item::Changes(_) => return self.changes(call, spec).await,
            Item::Plans(which, _) => return self.about_plans(call, spec, *which).await,
            Item::Undo(_) => return self.undo(call, spec).await,
            Item::Nas(entry) => entry,
        };
        let nas = match self.nas_of(&mut call, spec) {
            Ok(nas) => nas,
            Err(reply) => return *reply,
        };
        match &entry.kind {
            Kind::Read(tool) => match tool.parse(call.arguments.clone()) {
                Ok(ready) => self.read(call, spec, nas, ready).await,
                Err(fault) => self.misspelt(&call, spec, Some(&nas), &fault),
            },
            Kind::Change(tool) => self.change(call, spec, &nas, &**tool).await,
        }
    }

    /// The NAS that a call is for, if the caller may use the tool there. Takes the argument that names it away:
    /// no tool knows that there is more than one NAS. With one, it need not be named.
    fn nas_of(&self, call: &mut Call, spec: &Spec) -> Result<Nas, Box<Reply>> {
        let roll = self.fleet.now();
        let name = call.arguments.remove(NAS);
        let found = match &name {
            None => named(&roll, None),
            Some(name) => name.as_str().and_then(|name| find(&roll, name)),
        };
        if let Some(nas) = found {
            return match covered(&call.caller, spec, nas) {
                Ok(_) => Ok(nas.clone()),
                Err(refusal) => Err(Box::new(self.refuse(call, spec, Some(nas), &refusal))),
            };
        }
        let theirs = theirs(&roll, &call.caller, spec);
        let Some(scope) = spec.scope.filter(|_| theirs.is_empty()) else {
            let what = match name {
                None => "is missing, and there is more than one NAS".to_owned(),
                Some(_) => "there is no NAS of that name".to_owned(),
            };
            let theirs: Vec<_> = theirs.iter().map(NasName::as_str).collect();
            let what = format!("{what}; you can use this on: {}", theirs.join(", "));
            return Err(Box::new(self.misspelt(
                call,
                spec,
                None,
                &BadArguments { path: NAS.to_owned(), what },
            )));
        };
        Err(Box::new(self.refuse(call, spec, None, &Refusal::MissingScope { scope })))
    }

    async fn read(&self, call: Call, spec: &Spec, nas: Nas, ready: Box<dyn Ready>) -> Reply {
        let ask = self.ask(&call, spec, ready.target(), Some(nas.name().clone()));
        let permit = match policy::judge_read(&call.caller, ask) {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(&call, spec, Some(&nas), &refusal),
        };
        let warrant = match self.journal.read(permit) {
            Ok(warrant) => warrant,
            Err(error) => return unrecorded(&error),
        };

        call.tell(1, 2, "asking the NAS");
        let session = nas.session_to_look(&warrant);
        // Looking can be broken off at any time; nobody is left to read the answer.
        let result = tokio::select! {
            result = ready.run(&session) => Some(result),
            () = call.gone.cancelled() => None,
        };
        let outcome = outcome_of(result.as_ref(), &session.trips());

        match (self.metrics.audit(warrant.close(outcome)).await, result) {
            (Ok(receipt), Some(Ok(answer))) => {
                call.tell(2, 2, "recorded");
                Reply::Done(answer, receipt, None)
            }
            (Ok(_), Some(Err(error))) => Reply::Failed(failed(&error)),
            (Ok(_), None) => Reply::Failed(Failure::cancelled()),
            // No answer leaves that is not on record.
            (Err(error), _) => unrecorded(&error),
        }
    }

    /// Gives an answer for which no NAS is asked, on record like any other.
    async fn answer_here(
        &self,
        call: Call,
        spec: &Spec,
        answer: impl AsyncFnOnce(&Call) -> Result<Answer, Failure>,
    ) -> Reply {
        let ask = self.ask(&call, spec, None, None);
        let warrant = match policy::judge_read(&call.caller, ask).map(|permit| self.journal.read(permit)) {
            Ok(Ok(warrant)) => warrant,
            Ok(Err(error)) => return unrecorded(&error),
            Err(refusal) => return self.refuse(&call, spec, None, &refusal),
        };
        let answer = answer(&call).await;
        let outcome = match &answer {
            Ok(Answer { text, items, .. }) => {
                Outcome { bytes: Some(text.len() as u64), items: Some(*items as u64), ..Outcome::ok() }
            }
            Err(failure) => Outcome {
                code: Some(failure.code.to_owned()),
                reason: Some(failure.what.clone()),
                ..Outcome::of(Status::Error)
            },
        };
        match (self.metrics.audit(warrant.close(outcome)).await, answer) {
            (Ok(receipt), Ok(answer)) => Reply::Done(answer, receipt, None),
            (Ok(_), Err(failure)) => Reply::Failed(failure),
            (Err(error), _) => unrecorded(&error),
        }
    }

    fn ask(&self, call: &Call, spec: &Spec, target: Option<String>, nas: Option<NasName>) -> Ask {
        // Every list takes it, and what is in it by now are names from our own schemas.
        let log = [spec.log, &[(FIELDS, Log::Plain)]].concat();
        let (args, args_h) = redact::arguments(&call.arguments, &log, self.journal.hasher());
        Ask {
            request: call.request,
            tool: spec.name,
            scope: spec.scope,
            risk: spec.risk,
            nas,
            target,
            args,
            args_h,
            mcp: call.mcp.clone(),
        }
    }

    fn refuse(&self, call: &Call, spec: &Spec, nas: Option<&Nas>, refusal: &Refusal) -> Reply {
        let failure = self.refusal(&call.caller, spec, nas, refusal);
        self.note(call, Some(spec), nas, failure.code);
        Reply::Failed(failure)
    }

    fn refusal(&self, caller: &Caller, spec: &Spec, nas: Option<&Nas>, refusal: &Refusal) -> Failure {
        match refusal {
            Refusal::MissingScope { scope } => self.missing_scope(caller, spec, nas, *scope),
            Refusal::SwitchedOff => Failure {
                code: "switched_off",
                what: format!("{} is switched off.", spec.name),
                meaning: NOTHING_SENT.to_owned(),
                next_step: spec.switch.map_or_else(String::new, |switch| switch.how().to_owned()),
                ..Failure::default()
            },
            Refusal::TakesAPerson { risk } => Failure {
                code: "takes_a_person",
                what: format!("{} is {risk}: it takes a person on a node of their own.", spec.name),
                meaning: NOTHING_SENT.to_owned(),
                next_step:
                    "No grant opens it to a relay or an agent. Ask a person to do it from their own node."
                        .to_owned(),
                ..Failure::default()
            },
        }
    }

    fn missing_scope(&self, caller: &Caller, spec: &Spec, nas: Option<&Nas>, scope: Scope) -> Failure {
        let name = caller.name();
        let several = self.fleet.now().len() > 1;
        let on = nas.filter(|_| several).map(|nas| format!(" on {}", nas.name())).unwrap_or_default();
        let nas = nas.map_or("<the NAS it is for>", |nas| nas.name().as_str());
        let grant = serde_json::json!({
            "src": caller.sources(),
            "dst": ["<the node that tailnas runs on>"],
            "app": { &self.capability: [{ "scopes": [scope], "nas": [nas] }] },
        });
        Failure {
            code: "missing_scope",
            what: format!("{} needs the scope {scope}, and no grant gives it to {name}{on}.", spec.name),
            meaning: NOTHING_SENT.to_owned(),
            next_step: match caller.via() {
                None => {
                    "If this person is to have it, add the grant below to the tailnet policy: it counts from the \
                     next call on. Or add a [[grant]] to the configuration of tailnas: that counts once it was told \
                     to reload. Nobody has to log in again."
                }
                Some(Via::Relay) => {
                    "Through a relay, both the person and the relay's node need the grant below in the tailnet \
                     policy. It counts from the next call on; nobody has to log in again."
                }
                Some(Via::Agent) => {
                    "If this agent is to have it, add the scope to its [[agent]] section and have tailnas reload or, \
                     where that section names no scopes, add the grant below to the tailnet policy."
                }
            }
            .to_owned(),
            grant: Some(grant),
            ..Failure::default()
        }
    }

    fn too_many(&self, call: &Call, too_many: &TooMany) -> Reply {
        self.note(call, None, None, "too_many_calls");
        Reply::Failed(Failure {
            code: "too_many_calls",
            what: format!("These are too many calls: {too_many}."),
            meaning: NOTHING_SENT.to_owned(),
            next_step: format!("Try again in {} ms.", too_many.retry_after().as_millis()),
            ..Failure::default()
        })
    }

    fn misspelt(&self, call: &Call, spec: &Spec, nas: Option<&Nas>, fault: &BadArguments) -> Reply {
        self.note(call, Some(spec), nas, "invalid_arguments");
        Reply::Failed(Failure {
            code: "invalid_arguments",
            what: format!("The arguments do not fit {}: {fault}.", spec.name),
            meaning: NOTHING_SENT.to_owned(),
            next_step: "Call it again with arguments that fit its schema.".to_owned(),
            ..Failure::default()
        })
    }

    /// Writes a refusal down.
    fn note(&self, call: &Call, spec: Option<&Spec>, nas: Option<&Nas>, reason: &'static str) {
        self.note_of(call.request, (&call.caller, &call.mcp), (&call.tool, spec), nas, reason);
    }

    fn note_of(
        &self,
        request: RequestId,
        (caller, mcp): (&Caller, &McpNote),
        (tool, spec): (&str, Option<&Spec>),
        nas: Option<&Nas>,
        reason: &'static str,
    ) {
        let mut who = caller.who();
        who.mcp = Some(mcp.clone());
        let missing = spec.and_then(|spec| spec.scope).filter(|_| reason == "missing_scope");
        self.journal.refused(Refused {
            request,
            who,
            from: None,
            reason,
            detail: None,
            what: self.refused_on(tool, nas, missing),
        });
    }
}

impl Call {
    fn tell(&self, done: u32, total: u32, now: &'static str) {
        if let Some(progress) = &self.progress {
            progress.tell(done, total, now);
        }
    }
}

impl Reply {
    /// How it ended, in a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::Done(..) => "ok",
            Self::Planned(..) => "planned",
            Self::Failed(failure) | Self::NotAdmitted(failure, _) => failure.code,
            Self::NoSuchTool => "unknown_tool",
        }
    }

    /// The answer as a person reads it.
    fn text(&self) -> String {
        match self {
            Self::Done(answer, ..) | Self::Planned(answer, ..) => answer.text.clone(),
            Self::Failed(failure) | Self::NotAdmitted(failure, _) => failure.text(),
            Self::NoSuchTool => "There is no such tool.".to_owned(),
        }
    }
}

impl Failure {
    fn unrecorded(error: &NotRecorded) -> Self {
        let next_step = match error {
            NotRecorded::Busy => "Try again in a second; nothing is wrong with the log.",
            _ => "Have the operator look at the audit log's disk and at `journalctl -u tailnas`.",
        };
        Self {
            code: UNRECORDED,
            what: format!("It could not be recorded, so it was not done: {error}."),
            meaning: "Nothing was changed.".to_owned(),
            next_step: next_step.to_owned(),
            ..Self::default()
        }
    }

    fn cancelled() -> Self {
        Self {
            code: "cancelled",
            what: "The client went away before this was done.".to_owned(),
            meaning: "Nothing was changed.".to_owned(),
            next_step: "Ask again if it is still wanted.".to_owned(),
            ..Failure::default()
        }
    }

    /// The failure in the three sentences a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { code: _, what, meaning, next_step, grant, receipt } = self;
        let mut text = format!("{what}\n{meaning}\n{next_step}");
        if let Some(grant) = grant {
            text.push_str("\n\n");
            text.push_str(&serde_json::to_string_pretty(grant).unwrap_or_default());
        }
        if let Some(receipt) = receipt {
            text.push('\n');
            text.push_str(&on_record(receipt));
        }
        text
    }
}

/// What a change's answer says about its receipt. In the text, since many clients keep nothing else.
#[must_use]
pub fn on_record(receipt: &str) -> String {
    format!("On record: {receipt}")
}

/// Whether the caller may use a tool on a NAS, and by what.
fn covered(caller: &Caller, spec: &Spec, nas: &Nas) -> Result<String, Refusal> {
    if spec.switch.is_some_and(|switch| !switch.is_on(nas)) {
        return Err(Refusal::SwitchedOff);
    }
    policy::covered(caller.grants(), spec.scope, spec.risk, Some(nas.name()))
}

/// The NASes that the caller may use a tool on.
fn theirs(roll: &Roll, caller: &Caller, spec: &Spec) -> Vec<NasName> {
    roll.values().filter(|nas| covered(caller, spec, nas).is_ok()).map(|nas| nas.name().clone()).collect()
}

/// The NAS of this name.
fn find<'r>(roll: &'r Roll, name: &str) -> Option<&'r Nas> {
    roll.get(&name.parse::<NasName>().ok()?)
}

/// The same; the only one, where no name is given.
fn named<'r>(roll: &'r Roll, name: Option<&str>) -> Option<&'r Nas> {
    match name {
        Some(name) => find(roll, name),
        None => roll.values().next().filter(|_| roll.len() == 1),
    }
}

/// How a call ended, for the audit log: `None` where nobody waited for its end.
fn outcome_of<E: Borrow<ToolError>>(result: Option<&Result<Answer, E>>, trips: &[Trip]) -> Outcome {
    let (status, code, reason) = match result {
        Some(Ok(_)) => (Status::Ok, None, None),
        Some(Err(error)) => {
            let error = error.borrow();
            let status = if error.leaves_doubt() { Status::Unknown } else { Status::Error };
            (status, Some(error.code()), Some(error.to_string()))
        }
        None => (Status::Cancelled, Some("client_gone"), None),
    };
    let answer = result.and_then(|result| result.as_ref().ok());
    Outcome {
        status,
        code: code.map(str::to_owned),
        reason,
        up: trips
            .iter()
            .map(|Trip { method, ms, ok: _, job, recalled }| Upstream {
                method: (*method).into(),
                ms: *ms,
                job_id: *job,
                from_memory: *recalled,
            })
            .collect(),
        bytes: answer.map(|answer| answer.text.len() as u64),
        items: answer.map(|answer| answer.items as u64),
    }
}

fn failed(error: &ToolError) -> Failure {
    Failure {
        code: error.code(),
        what: error.to_string(),
        meaning: error.meaning().to_owned(),
        next_step: error.next_step(),
        ..Failure::default()
    }
}

fn unrecorded(error: &NotRecorded) -> Reply {
    Reply::Failed(Failure::unrecorded(error))
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use super::redact::arguments as redacted;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_the_queue_of_the_log_full_is_told_to_try_again_and_not_to_look_at_disks() {
        let busy = Failure::unrecorded(&NotRecorded::Busy).text();
        assert!(busy.contains("Nothing was changed") && busy.contains("Try again in a second"), "{busy}");
        let dead = Failure::unrecorded(&NotRecorded::Dead("EIO".into())).text();
        assert!(dead.contains("the audit log's disk") && !dead.contains("Try again"), "{dead}");
    }
}
