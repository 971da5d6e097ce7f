//! What the console can do besides looking. Each takes a form that this server gave to this person for it; whatever
//! could hurt takes a passkey as well.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::fault::Fault;
use super::{Console, Visitor, owner};
use crate::audit::{Did, Personal};
use crate::caller::Caller;
use crate::dispatch::Reply;
use crate::domain::id::RequestId;
use crate::domain::plan::{PlanId, PlanNote};
use crate::domain::scope::Scope;
use crate::domain::text::foreign;
use crate::passkey::{Act, Begun, PasskeyError};
use crate::policy::freeze::Frozen;
use crate::policy::plans::{Approver, NotNow, Plan, Proof, State as Waits, View};
use crate::tools::render::time;

type Answer = Result<Response, Fault>;

/// What our script sends to end a ceremony.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finished {
    ceremony: String,
    answer: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrolment {
    form: String,
    secret: String,
    #[serde(default)]
    label: String,
}

/// `POST /console/enroll/begin`
pub(super) async fn begin_enrolment(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Json(Enrolment { form, secret, label }): Json<Enrolment>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    console.spend(&visitor, owner.id, "enrol", &form).map_err(Fault::for_script)?;
    begun(console.parts.passkeys.begin_enrolment(&owner, &secret, &label))
}

/// `POST /console/enroll/finish`
pub(super) async fn finish_enrolment(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Json(Finished { ceremony, answer }): Json<Finished>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let passkeys = &console.parts.passkeys;
    let listed = block_in_place(|| passkeys.finish_enrolment(&owner, &ceremony, answer))
        .map_err(|error| not_proved(&error))?;
    let said = Personal::new(Did::Enroll, &visitor.who()).with(&listed.id).saying(&listed.label);
    if let Err(error) = console.parts.journal.person(said).await {
        // One that is not on record is good for nothing.
        if let Err(still) = block_in_place(|| passkeys.revoke(|kept| kept.id == listed.id)) {
            tracing::error!(
                passkey = listed.id,
                "a passkey is enrolled without a record and cannot be revoked: {still}"
            );
        }
        return Err(Fault::unrecorded(&error).for_script());
    }
    Ok(Json(json!({ "next": "/console/passkeys" })).into_response())
}

/// A token and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    form: String,
}

/// `POST /console/plans/ID/approve/begin`: asks for a passkey, to answer for this plan's digest.
pub(super) async fn begin_approval(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Json(Token { form }): Json<Token>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let view = console.plan(&visitor, &id).ok_or_else(|| Fault::no_plan().for_script())?;
    console.spend(&visitor, owner.id, &format!("approve {id}"), &form).map_err(Fault::for_script)?;
    begun(console.parts.passkeys.begin(&owner, Act::Approve(*view.plan.digest())))
}

/// `POST /console/plans/ID/approve/finish`: approves the plan and runs it.
pub(super) async fn finish_approval(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Json(Finished { ceremony, answer }): Json<Finished>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let view = console.plan(&visitor, &id).ok_or_else(|| Fault::no_plan().for_script())?;
    let present = match block_in_place(|| console.parts.passkeys.finish(&owner, &ceremony, answer)) {
        Ok(present) => present,
        Err(error) => {
            console.refused(&visitor, "passkey_refused");
            return Err(not_proved(&error).on_record());
        }
    };
    // Whoever answers for one thing has said nothing about another, and that is not put on record as a yes.
    let signed = match *present.act() {
        Act::Approve(signed) if signed == *view.plan.digest() => signed,
        Act::Approve(_) | Act::Thaw => {
            console.refused(&visitor, "passkey_refused");
            return Err(not_proved(&PasskeyError::NoCeremony).on_record());
        }
    };
    not_now(&console, &view).map_err(Fault::for_script)?;
    let said = Personal::new(Did::Approve, &visitor.who()).about(note(&view.plan)).with(present.passkey());
    console.parts.journal.person(said).await.map_err(|error| Fault::unrecorded(&error).for_script())?;
    let request = RequestId::at(console.parts.clock.now());
    let proof = Proof { passkey: present.passkey().to_owned(), signed };
    let approver = approver(&visitor, &view.plan).ok_or_else(Fault::nobody)?;
    let plan = console.parts.dispatcher.approve(request, view.plan.id(), approver, proof).map_err(|why| {
        let text = format!("{why}. Nothing was changed.");
        Fault::new(StatusCode::CONFLICT, "Not now", text).for_script()
    })?;
    Ok(Json(json!({ "next": format!("/console/plans/{}", plan.id()) })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct No {
    form: String,
    #[serde(default)]
    note: String,
}

/// `POST /console/plans/ID/refuse`: nothing is lost by a no, so it takes no passkey.
pub(super) async fn refuse(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(No { form, note: words }): Form<No>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let view = console.plan(&visitor, &id).ok_or_else(Fault::no_plan)?;
    console.spend(&visitor, owner.id, &format!("refuse {id}"), &form)?;
    let words = foreign(&words, 1000);
    let said = Personal::new(Did::Refuse, &visitor.who()).about(note(&view.plan)).saying(&words);
    console.parts.journal.person(said).await.map_err(|error| Fault::unrecorded(&error))?;
    let approver = approver(&visitor, &view.plan).ok_or_else(Fault::nobody)?;
    match console.parts.plans.refuse(view.plan.id(), &approver, &words) {
        // Its page says how it is with it by now.
        Ok(_) | Err(NotNow::NotWaiting(_)) => {
            Ok(Redirect::to(&format!("/console/plans/{id}")).into_response())
        }
        Err(why) => Err(Fault::new(StatusCode::CONFLICT, "Not now", format!("{why}. Nothing was changed."))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    form: String,
    change: u64,
}

/// `POST /console/undo`: plans what takes a change back. That is a plan like any other, so it takes no passkey yet.
pub(super) async fn undo(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Form(Back { form, change }): Form<Back>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    console.spend(&visitor, owner.id, "undo", &form)?;
    let not = |why: String| Fault::new(StatusCode::CONFLICT, "It cannot be taken back from here", why);
    let way = console.way_back(&visitor, change).await.map_err(|error| Fault::broken(&error))?;
    let none = || not("There is no such change, or no call takes it back. Nothing was changed.".to_owned());
    let (tool, arguments) = way.ok_or_else(none)?;
    match console.call(&visitor, &tool, arguments).await {
        Reply::Planned(answer, ..) => {
            let plan = answer.structured["plan"].as_str().unwrap_or_default();
            Ok(Redirect::to(&format!("/console/plans/{plan}")).into_response())
        }
        Reply::Failed(failure) | Reply::NotAdmitted(failure, _) => Err(not(failure.text())),
        Reply::Done(..) | Reply::NoSuchTool => Err(none()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Brake {
    form: String,
    #[serde(default)]
    reason: String,
}

/// `POST /console/freeze`: nothing is lost by stopping, so it takes no passkey.
pub(super) async fn freeze(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Form(Brake { form, reason }): Form<Brake>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    console.spend(&visitor, owner.id, "freeze", &form)?;
    if !console.may_brake(&visitor) {
        return Err(not_yours());
    }
    let frozen =
        Frozen { by: owner.login, at: time(console.parts.clock.now()), reason: foreign(&reason, 200) };
    // Frozen first: the brake must not wait for the log.
    let mut known = console.brake.lock().await;
    console.parts.plans.brake().freeze(&frozen).map_err(|error| brake_stuck(&error))?;
    let said = Personal::new(Did::Freeze, &visitor.who()).saying(&frozen.reason);
    if console.parts.journal.person(said).await.is_ok() {
        // Otherwise whoever watches the brake tries again.
        *known = Some(frozen);
    }
    Ok(Redirect::to("/console").into_response())
}

/// `POST /console/thaw/begin`
pub(super) async fn begin_thaw(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Json(Token { form }): Json<Token>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    console.spend(&visitor, owner.id, "thaw", &form).map_err(Fault::for_script)?;
    if !console.may_brake(&visitor) {
        return Err(not_yours().for_script());
    }
    begun(console.parts.passkeys.begin(&owner, Act::Thaw))
}

/// `POST /console/thaw/finish`
pub(super) async fn finish_thaw(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Json(Finished { ceremony, answer }): Json<Finished>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let present = match block_in_place(|| console.parts.passkeys.finish(&owner, &ceremony, answer)) {
        Ok(present) if *present.act() == Act::Thaw && console.may_brake(&visitor) => present,
        Ok(_) => return Err(not_yours().for_script()),
        Err(error) => {
            console.refused(&visitor, "passkey_refused");
            return Err(not_proved(&error).on_record());
        }
    };
    let mut known = console.brake.lock().await;
    let said = Personal::new(Did::Thaw, &visitor.who()).with(present.passkey());
    console.parts.journal.person(said).await.map_err(|error| Fault::unrecorded(&error).for_script())?;
    console.parts.plans.brake().thaw().map_err(|error| brake_stuck(&error).for_script())?;
    *known = None;
    Ok(Json(json!({ "next": "/console" })).into_response())
}

impl Console {
    /// The plan of this handle, if the visitor may see it.
    pub(super) fn plan(&self, visitor: &Caller, id: &str) -> Option<View> {
        let id: PlanId = id.parse().ok()?;
        let user = visitor.user()?.id();
        let may_approve = |nas: &_| visitor.grants().allows(Scope::ChangeApprove, nas).is_some();
        self.parts.plans.visible_to(user, may_approve).into_iter().find(|view| view.plan.id() == id)
    }

    /// Takes a form's token back; one that is not good is on record.
    fn spend(&self, visitor: &Caller, user: u64, purpose: &str, token: &str) -> Result<(), Fault> {
        self.forms.spend(user, purpose, token).map_err(|_| {
            self.refused(visitor, "forged_form");
            Fault::forged()
        })
    }
}

fn note(plan: &Plan) -> PlanNote {
    PlanNote { id: plan.id(), digest: hex::encode(plan.digest()), approver: None, undo: None }
}

fn approver(visitor: &Caller, plan: &Plan) -> Option<Approver> {
    let user = visitor.user()?;
    Some(Approver {
        user: user.id(),
        login: user.login().to_owned(),
        node: visitor.peer().node_name().to_owned(),
        may_approve: visitor.grants().allows(Scope::ChangeApprove, plan.nas()).is_some(),
    })
}

/// Whether a yes would come to nothing. Looked at before it is put on record, and again by whoever carries it out.
fn not_now(console: &Console, view: &View) -> Result<(), Fault> {
    let why = match (console.parts.plans.brake().state(), &view.state) {
        (Some(frozen), _) => NotNow::Frozen(frozen),
        (None, Waits::Waiting) => return Ok(()),
        (None, state) => NotNow::NotWaiting(state.clone()),
    };
    Err(Fault::new(StatusCode::CONFLICT, "Not now", format!("{why}. Nothing was changed.")))
}

fn not_yours() -> Fault {
    let text = "To freeze changes or to thaw them takes a grant that can change something, or change:approve. Nothing \
                was changed.";
    Fault::new(StatusCode::FORBIDDEN, "Not yours", text)
}

fn brake_stuck(error: &std::io::Error) -> Fault {
    let text =
        format!("The brake's file in the state folder cannot be written: {error}. Nothing was changed.");
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "The brake does not move", text)
}

fn begun(begun: Result<Begun, PasskeyError>) -> Answer {
    let Begun { ceremony, options } = begun.map_err(|error| not_proved(&error))?;
    Ok(Json(json!({ "ceremony": ceremony, "options": options })).into_response())
}

fn not_proved(error: &PasskeyError) -> Fault {
    let status = match error {
        PasskeyError::Store(_) | PasskeyError::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
        PasskeyError::Malformed => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    Fault::new(status, "not proved", format!("{error}. Nothing was changed.")).for_script()
}
