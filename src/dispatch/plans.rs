//! What callers can ask about their plans. No NAS is asked for any of it, and none of it approves anything.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::plan::{Alteration, Draft, PlanId};
use crate::domain::risk::Risk;
use crate::domain::text::foreign;
use crate::nas::By;
use crate::policy::plans::{NotNow, State, View};
use crate::tools::render::{capital, size, table, time};
use crate::tools::schema::schema_of;
use crate::tools::{Answer, Log, Spec, arguments_of};

use super::change::THAWED_BY;
use super::{Call, Dispatcher, Failure, Item, Reply};

/// What is asked about plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboutPlans {
    /// Which there are.
    List,
    /// What one of them is.
    Show,
    /// How one of them ends.
    Wait,
    /// To take one back.
    Cancel,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoArgs {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlanArgs {
    /// Its handle.
    #[schemars(with = "String")]
    plan: PlanId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitArgs {
    /// Its handle.
    #[schemars(with = "String")]
    plan: PlanId,
    /// At most this long. Default: 25.
    #[serde(default = "patience")]
    #[schemars(range(min = 1, max = 50))]
    seconds: u64,
}

const fn patience() -> u64 {
    25
}

/// Longest time that one call waits, in seconds: clients and what is between give up after a minute.
const LONGEST: u64 = 50;

/// Most alterations of a plan that an answer tells, and longest side of one, in characters. The page shows all of it.
const SHOWN: usize = 60;
const LONGEST_SIDE: usize = 300;

pub(super) fn items() -> impl Iterator<Item = Item> {
    const PLAN: (&str, Log) = ("plan", Log::Plain);
    let spec = |name, title, description, log: &'static [(&'static str, Log)], input| Spec {
        name,
        title,
        description,
        scope: None,
        risk: Risk::Read,
        alters_plans: name == "plan_cancel",
        looks: &[],
        looks_by: By::Reader,
        done_by: By::Reader,
        needs: &[],
        switch: None,
        log,
        input,
        output: serde_json::Map::new(),
    };
    [
        Item::Plans(
            AboutPlans::List,
            spec("plans_list", "Plans", "Your plans and how it is with each.", &[], schema_of::<NoArgs>()),
        ),
        Item::Plans(
            AboutPlans::Show,
            spec(
                "plan_show",
                "A plan",
                "What a plan would do and how it is with it.",
                &[PLAN],
                schema_of::<PlanArgs>(),
            ),
        ),
        Item::Plans(
            AboutPlans::Wait,
            spec(
                "plan_wait",
                "Wait for a plan",
                "Waits until a plan was carried out, refused or has expired, and tells the result.",
                &[PLAN, ("seconds", Log::Plain)],
                schema_of::<WaitArgs>(),
            ),
        ),
        Item::Plans(
            AboutPlans::Cancel,
            spec(
                "plan_cancel",
                "Take a plan back",
                "Takes a waiting plan back.",
                &[PLAN],
                schema_of::<PlanArgs>(),
            ),
        ),
    ]
    .into_iter()
}

impl Dispatcher {
    pub(super) async fn about_plans(&self, call: Call, spec: &Spec, which: AboutPlans) -> Reply {
        enum Wanted {
            List,
            Show(PlanId),
            Wait(PlanId, Duration),
            Cancel(PlanId),
        }
        let arguments = call.arguments.clone();
        let wanted = match which {
            AboutPlans::List => arguments_of::<NoArgs>(arguments).map(|NoArgs {}| Wanted::List),
            AboutPlans::Show => arguments_of::<PlanArgs>(arguments).map(|args| Wanted::Show(args.plan)),
            AboutPlans::Cancel => arguments_of::<PlanArgs>(arguments).map(|args| Wanted::Cancel(args.plan)),
            AboutPlans::Wait => arguments_of::<WaitArgs>(arguments).map(|WaitArgs { plan, seconds }| {
                Wanted::Wait(plan, Duration::from_secs(seconds.clamp(1, LONGEST)))
            }),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(fault) => return self.misspelt(&call, spec, None, &fault),
        };
        self.answer_here(call, spec, async |call| {
            let view = match wanted {
                Wanted::List => return Ok(list(&self.plans.of(&call.caller))),
                Wanted::Show(id) => self.plans.find(&call.caller, id),
                Wanted::Wait(id, patience) => tokio::select! {
                    view = self.plans.wait(&call.caller, id, patience, |percent| {
                        call.tell(percent.into(), 100, "the NAS is at work");
                    }) => view,
                    () = call.gone.cancelled() => return Err(Failure::cancelled()),
                },
                Wanted::Cancel(id) => match self.plans.cancel(&call.caller, id) {
                    Ok(view) => Some(view),
                    Err(why) => return Err(no_such(&why)),
                },
            };
            view.map(|view| self.tell_of(&view)).ok_or_else(|| no_such(&NotNow::NoSuchPlan))
        })
        .await
    }

    /// A plan, for a model and for a person.
    pub(super) fn tell_of(&self, view: &View) -> Answer {
        let View { plan, state } = view;
        let page = self.page_of(plan.id());
        let draft = &within_an_answer(plan.draft(), &page);
        let mut structured = json!({
            "plan": plan.id(), "tool": plan.tool(), "nas": plan.nas(), "arguments": plan.shown(),
            "expires": time(plan.expires()), "effect": draft, "reason": plan.reason(),
        });
        merge(&mut structured, serde_json::to_value(state).unwrap_or_default());
        let told = state.to_string();
        let mut text = format!("Plan {}, {}.\n{}\n", plan.id(), told.trim_end_matches('.'), draft.summary);
        let _ = writeln!(text, "Risk: {}. Undo: {}.", draft.risk, draft.undo);
        for Alteration { what, before, after } in &draft.changes {
            let (before, after) =
                (before.as_deref().unwrap_or("nothing"), after.as_deref().unwrap_or("gone"));
            let _ = writeln!(text, "Changes {what}: {before} → {after}");
        }
        for dependent in &draft.dependents {
            let _ = writeln!(text, "{}: {}", capital(dependent.kind), dependent.name);
        }
        if let Some(bytes) = draft.bytes {
            let _ = writeln!(text, "Data: {}", size(bytes));
        }
        for (word, lines) in
            [("Stops", &draft.stops), ("Warning", &draft.warnings), ("Could not be seen", &draft.unseen)]
        {
            for line in lines {
                let _ = writeln!(text, "{word}: {line}");
            }
        }
        if *state == State::Waiting {
            let until = time(plan.expires());
            // Nobody is asked for a yes that would be refused.
            if let Some(frozen) = self.plans.brake().state() {
                structured["frozen"] = json!(frozen);
                let _ = writeln!(
                    text,
                    "NOT DONE, and not for now: {frozen}. It waits until {until}. {THAWED_BY}"
                );
            } else if plan.takes_approval() {
                structured["approve_at"] = json!(page);
                let _ = writeln!(
                    text,
                    "NOT DONE YET. A person approves or refuses it, until {until}, at {page}\nTell your person. Once \
                     approved it runs by itself; plan_wait tells how it ended."
                );
            } else {
                structured["confirm_with"] = json!({ "plan": plan.id() });
                let _ = writeln!(
                    text,
                    "NOT DONE YET. Ask your person. If they agree, call {} again with the same arguments and plan: \
                     \"{}\", until {until}.",
                    plan.tool(),
                    plan.id(),
                );
            }
        }
        Answer { structured, text, items: 1 }
    }
}

/// As much of a draft as an answer has room for.
fn within_an_answer(draft: &Draft, page: &str) -> Draft {
    let mut told = draft.clone();
    let more = told.changes.len().saturating_sub(SHOWN);
    told.changes.truncate(SHOWN);
    for Alteration { what: _, before, after } in &mut told.changes {
        for side in [before, after].into_iter().flatten() {
            *side = foreign(side, LONGEST_SIDE);
        }
    }
    if more > 0 {
        told.warnings.push(format!("{more} more changes are told on its page alone: {page}"));
    }
    told
}

fn list(views: &[View]) -> Answer {
    let rows: Vec<_> = views
        .iter()
        .map(|View { plan, state }| {
            [
                plan.id().to_string(),
                state.word().to_owned(),
                plan.risk().to_string(),
                plan.draft().summary.clone(),
            ]
        })
        .collect();
    let plans: Vec<_> = views
        .iter()
        .map(|View { plan, state }| {
            json!({
                "plan": plan.id(), "state": state.word(), "tool": plan.tool(), "risk": plan.risk(),
                "summary": plan.draft().summary, "expires": time(plan.expires()),
            })
        })
        .collect();
    let text = if rows.is_empty() {
        "You have no plans. They do not survive a restart.\n".to_owned()
    } else {
        table(["PLAN", "STATE", "RISK", "WHAT"], &rows)
    };
    Answer { structured: json!({ "plans": plans }), text, items: rows.len() }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn no_such(why: &NotNow) -> Failure {
    Failure {
        code: "no_such_plan",
        what: format!("It cannot be told or taken back: {why}."),
        meaning: "Nothing was changed.".to_owned(),
        next_step: "plans_list shows your plans.".to_owned(),
        ..Failure::default()
    }
}
