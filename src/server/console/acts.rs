//! What the console can do besides looking. Each takes a form that this server gave to this person for it; whatever
//! could hurt takes a passkey as well.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::{Console, Visitor, owner};
use crate::passkey::{Begun, PasskeyError};

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
    console.forms.spend(owner.id, "enrol", &form).map_err(|_| Fault::forged().for_script())?;
    begun(console.parts.passkeys.begin_enrolment(&owner, &secret, &label))
}

/// `POST /console/enroll/finish`
pub(super) async fn finish_enrolment(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Json(Finished { ceremony, answer }): Json<Finished>,
) -> Answer {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let listed = console
        .parts
        .passkeys
        .finish_enrolment(&owner, &ceremony, answer)
        .map_err(|error| not_proved(&error))?;
    tracing::info!(login = owner.login, passkey = listed.id, "a passkey was enrolled");
    Ok(Json(json!({ "next": "/console/passkeys" })).into_response())
}

fn begun(begun: Result<Begun, PasskeyError>) -> Answer {
    let Begun { ceremony, options } = begun.map_err(|error| not_proved(&error))?;
    Ok(Json(json!({ "ceremony": ceremony, "options": options })).into_response())
}

fn not_proved(error: &PasskeyError) -> Fault {
    let status = match error {
        PasskeyError::Store(_) | PasskeyError::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
        PasskeyError::Busy => StatusCode::TOO_MANY_REQUESTS,
        PasskeyError::Malformed => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    Fault::new(status, "not proved", format!("{error}. Nothing was done.")).for_script()
}
