//! The way of a change: planned, agreed to, looked at once more, recorded, made, recorded, answered.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::audit::{NasJob, Outcome, Receipt, Status, Warrant};
use crate::caller::{Caller, Denied, FreshCaller};
use crate::domain::access::Write;
use crate::domain::id::RequestId;
use crate::domain::plan::{Draft, PlanId, Undo, UndoNote};
use crate::domain::who::McpNote;
use crate::nas::Nas;
use crate::policy::freeze::Frozen;
use crate::policy::plans::{
    Applying, Approved, Approver, End, NotNow, NotTaken, Plan, Proof, Proposal, State, StillAtIt, Turn,
};
use crate::policy::{self, Ask, Unspent, WhyNot};
use crate::tools::schema::REASON;
use crate::tools::{
    Answer, BadArguments, Done, Kind, Log, ParseChange, ReadyChange, Spec, ToolError, render,
};

use super::{
    Call, Dispatcher, Failure, Item, NOTHING_SENT, Progress, Reply, aftermath, failed, outcome_of, redact,
    unrecorded,
};

const NOTHING_CHANGED: &str = "Nothing was changed.";
pub(super) const THAWED_BY: &str =
    "A person thaws changes on the page, or root on the host with `tailnas thaw`.";

/// What every change takes besides its own arguments.
struct Besides {
    plan: Option<PlanId>,
    reason: Option<String>,
}

/// For whom a change is planned or made, and who hears how far it is.
struct Errand<'a> {
    request: RequestId,
    nas: &'a Nas,
    caller: &'a Caller,
    mcp: &'a McpNote,
    spec: &'a Spec,
    arguments: &'a Map<String, Value>,
    progress: Option<&'a dyn Progress>,
    gone: CancellationToken,
}

impl Dispatcher {
    /// Plans a change, or makes one that was planned.
    pub(super) async fn change(
        &self,
        mut call: Call,
        spec: &Spec,
        nas: &Nas,
        tool: &dyn ParseChange,
    ) -> Reply {
        let besides = match Besides::take(&mut call.arguments) {
            Ok(besides) => besides,
            Err(fault) => return self.misspelt(&call, spec, Some(nas), &fault),
        };
        let ready = match tool.parse(call.arguments.clone()) {
            Ok(ready) => ready,
            Err(fault) => return self.misspelt(&call, spec, Some(nas), &fault),
        };
        match (call.answered, besides.plan) {
            (Some(answered), _) if !answered.yes => self.declined(&call, spec, nas, answered.plan),
            (Some(answered), _) => self.confirmed(call, spec, nas, answered.plan).await,
            (None, Some(plan)) => self.confirmed(call, spec, nas, plan).await,
            (None, None) => self.propose(call, spec, nas, (&*ready, besides.reason)).await,
        }
    }

    /// Finds out what a change would do, and holds it until somebody agrees.
    async fn propose(
        &self,
        call: Call,
        spec: &Spec,
        nas: &Nas,
        (ready, reason): (&dyn ReadyChange, Option<String>),
    ) -> Reply {
        if let Some(frozen) = self.plans.brake().state() {
            return self.not_taken(&call, spec, nas, &NotTaken::Frozen(frozen));
        }
        // Before anything is told: until then HTTP can still say that the caller is not admitted.
        let caller = match self.gate.readmit(&call.caller).await {
            Ok(caller) => caller.into_caller(),
            Err(denied) => return self.no_longer(&call, spec, nas, denied),
        };
        call.tell(1, 2, "looking at what it would do");
        let (draft, receipt) = match self.look(&call.errand(spec, nas, &caller), ready).await {
            Ok(drafted) => drafted,
            Err(failure) => {
                self.note_unless_read(&call, spec, nas, &failure);
                return Reply::Failed(failure);
            }
        };
        // The data can make it worse than the tool declares, and then it may be closed to a machine.
        if let Err(refusal) = policy::covered(caller.grants(), spec.scope, draft.risk, Some(nas.name())) {
            return self.refuse(&call, spec, Some(nas), &refusal);
        }
        let (shown, _) = redact::arguments(&call.arguments, spec.log, self.journal.hasher());
        let proposal = Proposal {
            caller: Arc::new(caller),
            mcp: call.mcp.clone(),
            nas: nas.name().clone(),
            tool: spec.name,
            title: spec.title,
            arguments: call.arguments.clone(),
            shown,
            reason,
            undo: self.undo_note(&draft.undo),
            draft,
        };
        match self.plans.propose(proposal) {
            Ok(view) => {
                call.tell(2, 2, "planned");
                let confirm = (!view.plan.takes_approval()).then(|| view.plan.id());
                Reply::Planned(self.tell_of(&view), receipt, confirm)
            }
            Err(why) => self.not_taken(&call, spec, nas, &why),
        }
    }

    /// The client says that its person agreed.
    async fn confirmed(&self, call: Call, spec: &Spec, nas: &Nas, id: PlanId) -> Reply {
        // Before anything is told, as above.
        let caller = match self.gate.readmit(&call.caller).await {
            Ok(caller) => caller,
            Err(denied) => return self.no_longer(&call, spec, nas, denied),
        };
        let approved = match self.plans.confirm(id, caller.caller(), (nas.name(), spec.name), &call.arguments)
        {
            Ok(approved) => approved,
            Err(why) => return self.not_now(&call, spec, nas, (id, &why)),
        };
        let errand = call.errand(spec, nas, caller.caller());
        self.carry_out_plan(approved, &caller, &errand).await
    }

    fn declined(&self, call: &Call, spec: &Spec, nas: &Nas, id: PlanId) -> Reply {
        self.note(call, Some(spec), Some(nas), "declined");
        let over = match self.plans.cancel(&call.caller, id) {
            Ok(_) => "Your person said no, and the plan is taken back.".to_owned(),
            Err(why) => format!("Your person said no, and {why}."),
        };
        Reply::Failed(Failure {
            code: "declined",
            what: over,
            meaning: NOTHING_CHANGED.to_owned(),
            next_step: "Do not ask again unless your person wants it.".to_owned(),
            ..Failure::default()
        })
    }

    /// Approves a plan, for a person on the page who made `request`, and carries it out: nobody has to wait for it or
    /// to wake up.
    ///
    /// # Errors
    ///
    /// Why it cannot be approved now.
    pub fn approve(
        self: &Arc<Self>,
        request: RequestId,
        id: PlanId,
        approver: Approver,
        proof: Proof,
    ) -> Result<Arc<Plan>, NotNow> {
        let agreed = self.plans.approve(id, approver, proof)?;
        let (this, plan) = (Arc::clone(self), Arc::clone(agreed.plan()));
        // Its end is in the plan, for whoever looks; there is nobody else to tell.
        drop(self.lifecycle.deed(async move { this.carry_out_approved(request, agreed).await }));
        Ok(plan)
    }

    async fn carry_out_approved(&self, request: RequestId, approved: Approved) {
        let plan = Arc::clone(approved.plan());
        let Some(spec) = self.catalogue.find(plan.tool()).map(Item::spec) else { return };
        let Some(nas) = self.fleet.now().get(plan.nas()).cloned() else {
            approved.give_up(&format!("There is no NAS {} any more. {NOTHING_CHANGED}", plan.nas()));
            return;
        };
        let caller = match self.gate.reconsider(plan.caller()).await {
            Ok(caller) => caller,
            Err(denied) => {
                approved.give_up(&format!(
                    "Whoever proposed it is no longer let in: {denied}. {NOTHING_CHANGED}"
                ));
                return;
            }
        };
        let errand = Errand {
            request,
            nas: &nas,
            caller: caller.caller(),
            mcp: plan.mcp(),
            spec,
            arguments: plan.arguments(),
            progress: None,
            gone: CancellationToken::new(),
        };
        let reply = self.carry_out_plan(approved, &caller, &errand).await;
        self.count(spec.name, &reply);
    }

    /// Carries out what was agreed to, if it is still what was agreed to.
    async fn carry_out_plan(&self, approved: Approved, caller: &FreshCaller, errand: &Errand<'_>) -> Reply {
        let plan = Arc::clone(approved.plan());
        let Some(ready) = self.ready(&plan) else {
            approved.give_up(NOTHING_CHANGED);
            return Reply::NoSuchTool;
        };
        // Alone from here to the end: what is looked at now is what is changed then.
        let turn = match self.plans.turn(&plan).await {
            Ok(turn) => turn,
            Err(why) => return self.still_at_it(errand, approved, &why),
        };
        errand.tell(1, 4, "looking whether it is still so");
        let draft = match self.look(errand, &*ready).await {
            Ok((draft, _)) => draft,
            Err(failure) => {
                approved.give_up(&failure.text());
                return Reply::Failed(failure);
            }
        };
        let ask = self.ask_for(errand, Some(ready.target()));
        let (permit, applying) = match policy::judge_change(caller, ask, &draft, &turn, approved) {
            Ok(permitted) => permitted,
            Err(unspent) => return self.unspent(errand, *unspent),
        };
        errand.tell(2, 4, "recording the intent");
        let warrant = match self.metrics.audit(self.journal.change(permit)).await {
            Ok(warrant) => warrant,
            Err(error) => {
                let reply = unrecorded(&error);
                applying.end(End::Failed, &reply.text());
                return reply;
            }
        };

        // From here on nobody can break it off: the intent is on disk and its outcome must follow.
        errand.tell(3, 4, "changing the NAS");
        let session = errand.nas.session_by(errand.spec.done_by, &warrant);
        let result = ready.run(&session).await;
        let trips = session.trips();
        drop(session);
        let job = trips.iter().find_map(|trip| Some(NasJob { id: trip.job?, method: trip.method.into() }));
        // A job that takes the NAS down with it tells of no end.
        if let (Ok(done @ Done { job: Some(_), .. }), Some(job)) = (&result, job) {
            let answer = self.answer(&plan, done);
            let turn = (!done.beside).then_some(turn);
            return self.goes_on(errand, (applying, warrant), answer, (job, turn)).await;
        }
        let result = result.map(|done| self.answer(&plan, &done));
        let outcome = outcome_of(Some(&result), &trips);
        let recorded = self.metrics.audit(warrant.close(outcome)).await;
        errand.tell(4, 4, "recorded");

        let end = match &result {
            Ok(_) => End::Done,
            Err(error) if error.leaves_doubt() => End::Unknown,
            Err(_) => End::Failed,
        };
        let reply = match (recorded, result) {
            (Ok(receipt), Ok(answer)) => Reply::Done(answer, receipt, Some(self.journal.signed(receipt))),
            (Ok(receipt), Err(error)) => {
                let signed = Some(self.journal.signed(receipt));
                Reply::Failed(Failure { receipt: signed, ..failed(&error) })
            }
            (Err(error), result) => {
                tracing::error!(%error, tool = plan.tool(), "the outcome of a change could not be recorded");
                Reply::Failed(Failure {
                    code: "outcome_not_recorded",
                    what: format!("The outcome could not be written to the audit log: {error}."),
                    meaning: match result {
                        Ok(_) => "The change was made.".to_owned(),
                        Err(error) => error.meaning().to_owned(),
                    },
                    next_step: "The daemon takes no further change until the audit log can be written."
                        .to_owned(),
                    ..Failure::default()
                })
            }
        };
        applying.end(end, &reply.text());
        reply
    }

    /// The NAS goes on with a change as a job: that is on record and told at once. How it ends is recorded and told
    /// in the plan when it does, whether or not anybody waits for it.
    async fn goes_on(
        &self,
        errand: &Errand<'_>,
        (applying, warrant): (Applying, Warrant<Write>),
        answer: Answer,
        (job, turn): (NasJob, Option<Turn>),
    ) -> Reply {
        let number = job.id;
        if let Some(turn) = &turn {
            turn.goes_on(number);
        }
        let accepted = self.metrics.audit(warrant.accepted(job, self.clock.now())).await;
        errand.tell(4, 4, "recorded");
        let (receipt, pending) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let failure = Failure {
                    code: "outcome_not_recorded",
                    what: format!("That the NAS took it on could not be written to the audit log: {error}."),
                    meaning: format!("The NAS goes on with it, as job {number}."),
                    next_step: "The daemon takes no further change until the audit log can be written."
                        .to_owned(),
                    ..Failure::default()
                };
                applying.end(End::Unknown, &failure.text());
                return Reply::Failed(failure);
            }
        };
        let (fleet, clock, lifecycle) = (self.fleet.clone(), self.clock.clone(), self.lifecycle.clone());
        let text = answer.text.clone();
        drop(self.lifecycle.deed(async move {
            let far = |percent| applying.far(percent);
            let settled = aftermath::settle(pending, fleet, clock, lifecycle, far).await;
            // Where the daemon stops first, the plan goes with it; and what waits for its turn gets none, for the NAS is
            // still at it.
            let Some(Outcome { status, reason, .. }) = settled else {
                std::mem::forget(turn);
                return;
            };
            drop(turn);
            match status {
                Status::Ok => applying.end(End::Done, &format!("Job {number} of the NAS is done. {text}")),
                Status::Error => applying.end(End::Failed, &reason.unwrap_or_default()),
                _ => applying.end(End::Unknown, &reason.unwrap_or_default()),
            }
        }));
        Reply::Done(answer, receipt, Some(self.journal.signed(receipt)))
    }

    /// Looks at what a change would do. It is on record as a read of the same tool.
    async fn look(&self, errand: &Errand<'_>, ready: &dyn ReadyChange) -> Result<(Draft, Receipt), Failure> {
        let ask = self.ask_for(errand, Some(ready.target()));
        let permit = policy::judge_read(errand.caller, ask)
            .map_err(|refusal| self.refusal(errand.caller, errand.spec, Some(errand.nas), &refusal))?;
        let warrant = self.journal.read(permit).map_err(|error| Failure::unrecorded(&error))?;
        let session = errand.nas.session_by(errand.spec.looks_by, &warrant);
        let drafted = tokio::select! {
            drafted = ready.plan(&session) => Some(drafted),
            () = errand.gone.cancelled() => None,
        };
        let outcome = outcome_of(drafted.as_ref().map(planned).as_ref(), &session.trips());
        let recorded = self.metrics.audit(warrant.close(outcome)).await;
        match (recorded, drafted) {
            (Ok(receipt), Some(Ok(draft))) => {
                Ok((self.plans.at_least_configured(draft, errand.spec.scope), receipt))
            }
            (Ok(_), Some(Err(error))) => Err(failed(&error)),
            (Ok(_), None) => Err(Failure::cancelled()),
            (Err(error), _) => Err(Failure::unrecorded(&error)),
        }
    }

    /// The way back as it may be written down. A call is kept only whole: what the log must not hold is not left out
    /// of it.
    fn undo_note(&self, undo: &Undo) -> UndoNote {
        match undo {
            Undo::Words(words) => UndoNote::Words(words.clone()),
            Undo::Impossible(why) => UndoNote::Impossible(why.clone()),
            Undo::Call { tool, arguments } => {
                let log = self.catalogue.find(tool).map_or(&[][..], |item| item.spec().log);
                let plain = |name: &String| log.iter().any(|(one, log)| one == name && *log == Log::Plain);
                match arguments {
                    Value::Object(arguments) if arguments.keys().all(plain) => {
                        UndoNote::Call { tool: (*tool).to_owned(), arguments: arguments.clone() }
                    }
                    _ => UndoNote::Words(format!(
                        "{tool} sets it back; what it was is not kept in the log, and the plan of the change said it"
                    )),
                }
            }
        }
    }

    fn ready(&self, plan: &Plan) -> Option<Box<dyn ReadyChange>> {
        match self.catalogue.find(plan.tool())? {
            Item::Nas(entry) => match &entry.kind {
                Kind::Change(tool) => tool.parse(plan.arguments().clone()).ok(),
                Kind::Read(_) => None,
            },
            Item::Whoami(_) | Item::Changes(_) | Item::Plans(..) | Item::Undo(_) => None,
        }
    }

    fn ask_for(&self, errand: &Errand<'_>, target: Option<String>) -> Ask {
        let Errand { request, mcp, spec, arguments, .. } = errand;
        let (args, args_h) = redact::arguments(arguments, spec.log, self.journal.hasher());
        Ask {
            request: *request,
            tool: spec.name,
            scope: spec.scope,
            risk: spec.risk,
            nas: Some(errand.nas.name().clone()),
            target,
            args,
            args_h,
            mcp: (*mcp).clone(),
        }
    }

    fn still_at_it(&self, errand: &Errand<'_>, approved: Approved, why: &StillAtIt) -> Reply {
        let failure = Failure {
            code: "still_at_it",
            what: format!("It is not made: {why}."),
            meaning: NOTHING_CHANGED.to_owned(),
            next_step: "jobs_list tells how far that is, and job_abort breaks off one that heeds it. When it has ended, \
                        plan this again."
                .to_owned(),
            ..Failure::default()
        };
        self.given_up(errand, approved, failure)
    }

    /// An approved plan that is not carried out.
    fn given_up(&self, errand: &Errand<'_>, approved: Approved, failure: Failure) -> Reply {
        approved.give_up(&failure.text());
        self.note_of(
            errand.request,
            (errand.caller, errand.mcp),
            (errand.spec.name, Some(errand.spec)),
            Some(errand.nas),
            failure.code,
        );
        Reply::Failed(failure)
    }

    fn unspent(&self, errand: &Errand<'_>, unspent: Unspent) -> Reply {
        let Unspent { why, approved } = unspent;
        let failure = match why {
            WhyNot::Frozen(frozen) => Failure {
                code: "frozen",
                what: format!("It is not made: {frozen}."),
                meaning: NOTHING_CHANGED.to_owned(),
                next_step: THAWED_BY.to_owned(),
                ..Failure::default()
            },
            WhyNot::Refused(refusal) => self.refusal(errand.caller, errand.spec, Some(errand.nas), &refusal),
            WhyNot::Changed => Failure {
                code: "changed_meanwhile",
                what: format!(
                    "{} is no longer what was agreed to: the target is another, or something else hangs on it.",
                    approved.plan().draft().summary.trim_end_matches('.')
                ),
                meaning: NOTHING_CHANGED.to_owned(),
                next_step: "Plan it again, and look at what is different.".to_owned(),
                ..Failure::default()
            },
        };
        self.given_up(errand, approved, failure)
    }

    fn not_taken(&self, call: &Call, spec: &Spec, nas: &Nas, why: &NotTaken) -> Reply {
        let (code, next_step) = match why {
            NotTaken::Frozen(_) => ("frozen", THAWED_BY.to_owned()),
            NotTaken::TooMany(wait) => (
                "too_many_plans",
                format!(
                    "Have them approved or refused, or take some back with plan_cancel. Or try again {}.",
                    expired_in(*wait)
                ),
            ),
            NotTaken::Full(wait) => ("too_many_plans", format!("Try again {}.", expired_in(*wait))),
            NotTaken::AtWork => ("too_many_plans", "Try again when some of them have ended.".to_owned()),
        };
        self.note(call, Some(spec), Some(nas), code);
        Reply::Failed(Failure {
            code,
            what: format!("No plan is taken: {why}."),
            meaning: NOTHING_CHANGED.to_owned(),
            next_step,
            ..Failure::default()
        })
    }

    fn not_now(&self, call: &Call, spec: &Spec, nas: &Nas, (id, why): (PlanId, &NotNow)) -> Reply {
        let (code, next_step) = match why {
            NotNow::NoSuchPlan => ("no_such_plan", "Call it without a plan to make a new one."),
            NotNow::Another(_) => {
                ("another_plan", "Repeat the call as it was planned, from where it was, or plan this one.")
            }
            NotNow::TakesApproval(_) => {
                ("needs_approval", "When it is approved it runs by itself: plan_wait tells how it ended.")
            }
            NotNow::Frozen(_) => ("frozen", THAWED_BY),
            NotNow::NotWaiting(State::Running { .. }) => ("plan_running", "plan_wait tells how it ended."),
            NotNow::NotWaiting(_) | NotNow::NotYours(_) => {
                ("plan_over", "A plan is good for one change. plan_show tells how it ended.")
            }
        };
        self.note(call, Some(spec), Some(nas), code);
        let at = if code == "needs_approval" {
            format!(" The page: {}.", self.page_of(id))
        } else {
            String::new()
        };
        Reply::Failed(Failure {
            code,
            what: format!("It is not done on this call: {why}.{at}"),
            meaning: "Nothing was changed by this call.".to_owned(),
            next_step: next_step.to_owned(),
            ..Failure::default()
        })
    }

    fn no_longer(&self, call: &Call, spec: &Spec, nas: &Nas, denied: Denied) -> Reply {
        self.note(call, Some(spec), Some(nas), denied.reason());
        let failure = Failure {
            code: "not_admitted",
            what: format!("Before a change, tailnet and provider are asked again who you are: {denied}."),
            meaning: NOTHING_SENT.to_owned(),
            next_step: "Try again; if it stays so, log in again.".to_owned(),
            ..Failure::default()
        };
        Reply::NotAdmitted(failure, denied)
    }

    /// A look that failed is on record as a read; one that was refused is not yet.
    fn note_unless_read(&self, call: &Call, spec: &Spec, nas: &Nas, failure: &Failure) {
        if matches!(failure.code, "missing_scope" | "takes_a_person") {
            self.note(call, Some(spec), Some(nas), failure.code);
        }
    }

    /// What was changed, for a model and for a person.
    fn answer(&self, plan: &Plan, done: &Done) -> Answer {
        let Done { text, job, beside: _ } = done;
        let undo = &plan.draft().undo;
        let undo = match self.plans.brake().state() {
            Some(frozen) if undo.is_possible() => once_thawed(&frozen, undo),
            _ => undo.to_string(),
        };
        let mut structured = json!({ "state": "done", "plan": plan.id(), "text": text, "undo": undo });
        let mut said = format!("{text}\n");
        if let Some(job) = job {
            structured["job"] = json!(job);
            structured["state"] = json!("running");
            let _ = writeln!(said, "The NAS goes on with it as job {job}; plan_wait tells how it ends.");
        }
        let _ = writeln!(said, "Undo: {undo}.");
        Answer { structured, text: said, items: 1 }
    }

    pub(super) fn page_of(&self, id: PlanId) -> String {
        format!("{}/plans/{id}", self.console)
    }
}

impl Besides {
    /// Takes them out of the arguments.
    fn take(arguments: &mut Map<String, Value>) -> Result<Self, BadArguments> {
        let mut text = |name: &str| match arguments.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BadArguments { path: name.to_owned(), what: "should be a text".to_owned() }),
        };
        let plan = text("plan")?.map(|plan| plan.parse().map_err(|error| (plan, error)));
        let plan = plan.transpose().map_err(|(_, error): (String, crate::domain::plan::NotAPlanId)| {
            BadArguments { path: "plan".to_owned(), what: error.to_string() }
        })?;
        let reason = text("reason")?;
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON) {
            let what = format!("should be no longer than {REASON} characters");
            return Err(BadArguments { path: "reason".to_owned(), what });
        }
        let reason =
            reason.map(|reason| render::foreign(&reason, REASON)).filter(|reason| !reason.is_empty());
        Ok(Self { plan, reason })
    }
}

impl Call {
    fn errand<'a>(&'a self, spec: &'a Spec, nas: &'a Nas, caller: &'a Caller) -> Errand<'a> {
        Errand {
            request: self.request,
            nas,
            caller,
            mcp: &self.mcp,
            spec,
            arguments: &self.arguments,
            progress: self.progress.as_deref(),
            gone: self.gone.clone(),
        }
    }
}

impl Errand<'_> {
    fn tell(&self, done: u32, total: u32, now: &'static str) {
        if let Some(progress) = self.progress {
            progress.tell(done, total, now);
        }
    }
}

/// When there is room for another plan at the latest.
fn expired_in(wait: Duration) -> String {
    // Rounded up: never too early.
    format!("in {} s, when the oldest of them has expired", wait.as_secs() + 1)
}

/// A draft as the audit log counts it: what it says is in the plan.
fn planned(drafted: &Result<Draft, ToolError>) -> Result<Answer, &ToolError> {
    drafted.as_ref().map(|draft| Answer { structured: Value::Null, text: draft.summary.clone(), items: 1 })
}

/// A way back while changes are frozen: it is one, and not at this moment.
pub(super) fn once_thawed(frozen: &Frozen, way: &impl fmt::Display) -> String {
    format!("not now, for {frozen}; once they are thawed: {way}")
}
