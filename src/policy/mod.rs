//! Whether a caller may do what they ask, as a value that only this module can make.

pub mod budgets;
pub mod freeze;
pub mod permit;
pub mod plans;

use crate::caller::{Caller, FreshCaller, Grants};
use crate::domain::access::{Read, Write};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::plan::Draft;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::McpNote;

use freeze::Frozen;
use permit::{Approval, Permit, Terms};
use plans::{Applying, Approved, Turn};

/// One thing that somebody asks to have done, complete.
#[derive(Debug)]
pub struct Ask {
    /// The request this is about.
    pub request: RequestId,
    /// The tool.
    pub tool: &'static str,
    /// The scope the tool needs; `None` for one that everybody admitted may use.
    pub scope: Option<Scope>,
    /// What the tool can do at worst.
    pub risk: Risk,
    /// The NAS it would be done on; `None` where none is touched.
    pub nas: Option<NasName>,
    /// What exactly is acted on, where the tool can name it.
    pub target: Option<String>,
    /// The arguments as they may be written down.
    pub args: serde_json::Value,
    /// Keyed hash of the arguments as they are.
    pub args_h: String,
    /// What the client said over MCP.
    pub mcp: McpNote,
}

/// Why the answer is no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No grant gives the caller this scope on this NAS.
    MissingScope {
        /// The scope that is missing.
        scope: Scope,
    },
    /// It is off unless the configuration switches it on.
    SwitchedOff,
    /// It takes a person on a node of their own, and this is a relay or an agent.
    TakesAPerson {
        /// Its risk.
        risk: Risk,
    },
}

/// Why a change that was agreed to is not made, and the agreement, unspent.
#[derive(Debug)]
pub struct Unspent {
    /// Why not.
    pub why: WhyNot,
    /// To be given up.
    pub approved: Approved,
}

/// Why a change that was agreed to is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// No grant covers it any more.
    Refused(Refusal),
    /// It is no longer what was agreed to: the target is another, or something else hangs on it.
    Changed,
    /// Changes were frozen since.
    Frozen(Frozen),
}

/// Whether any of `grants` covers a tool that needs `scope` and can do `risk`, and which. Asked before the
/// arguments are looked at, and again by [`judge_read`] and [`judge_change`].
///
/// # Errors
///
/// The refusal, when none does.
pub fn covered(
    grants: &Grants,
    scope: Option<Scope>,
    risk: Risk,
    nas: Option<&NasName>,
) -> Result<String, Refusal> {
    // Whatever was granted: a relay's node, or an agent's, is not the person whom this takes.
    if grants.is_machine() && (risk == Risk::Destructive || scope.is_some_and(Scope::is_for_people)) {
        return Err(Refusal::TakesAPerson { risk });
    }
    let Some(scope) = scope else { return Ok("admitted".to_owned()) };
    let rule = match nas {
        Some(nas) => grants.allows(scope, nas),
        None => grants.allows_everywhere(scope),
    };
    rule.map(|rule| rule.as_str().to_owned()).ok_or(Refusal::MissingScope { scope })
}

/// Judges something that changes nothing.
///
/// # Errors
///
/// The refusal, when no grant covers it.
pub fn judge_read(caller: &Caller, ask: Ask) -> Result<Permit<Read>, Refusal> {
    let rule = covered(caller.grants(), ask.scope, ask.risk, ask.nas.as_ref())?;
    Ok(Permit::new(terms(caller, ask, rule, Approval::NotNeeded)))
}

/// Judges a change that was agreed to. Takes the caller as known *now*, and what the change would do *now*: the
/// tailnet was asked again for this, and so was the NAS, while nobody else was at work on the same subject. The brake
/// is looked at last: nothing but the record of the intent lies between this look and the change.
///
/// # Errors
///
/// Why not, when no grant covers it any more, it is no longer what was agreed to, or changes were frozen since.
pub fn judge_change(
    caller: &FreshCaller,
    ask: Ask,
    draft: &Draft,
    turn: &Turn,
    approved: Approved,
) -> Result<(Permit<Write>, Applying), Box<Unspent>> {
    let unspent = |why, approved| Err(Box::new(Unspent { why, approved }));
    let caller = caller.caller();
    let risk = ask.risk.max(draft.risk);
    let rule = match covered(caller.grants(), ask.scope, risk, ask.nas.as_ref()) {
        Ok(rule) if approved.still_holds(turn, draft) => match approved.frozen() {
            None => rule,
            Some(frozen) => return unspent(WhyNot::Frozen(frozen), approved),
        },
        Ok(_) => return unspent(WhyNot::Changed, approved),
        Err(refusal) => return unspent(WhyNot::Refused(refusal), approved),
    };
    let (approval, plan) = approved.note();
    let permit = Permit::new(Terms { risk, plan: Some(plan), ..terms(caller, ask, rule, approval) });
    Ok((permit, approved.spend()))
}

fn terms(caller: &Caller, ask: Ask, rule: String, approval: Approval) -> Terms {
    let Ask { request, tool, scope, risk, nas, target, args, args_h, mcp } = ask;
    let mut who = caller.who();
    who.mcp = Some(mcp);
    Terms { request, who, tool, risk, scope, nas, target, args, args_h, rule, approval, plan: None }
}
