//! The whole body of an admitted request: it is not too large, and does not take for ever to come.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::refusal::Refusal;
use crate::audit::Refused;

/// How long a body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Its bytes, of which there are at most `largest`.
///
/// # Errors
///
/// What is wrong with how it came.
pub(super) async fn read(body: Body, largest: usize) -> Result<Bytes, Box<Refusal>> {
    const TOO_LARGE: (StatusCode, &str, &str) =
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too large");
    let refused =
        |(status, reason, words)| Err(Box::new(Refusal::new(status, reason, words).about(Refused::Message)));
    // One that says so beforehand is not read at all.
    if body.size_hint().lower() > largest as u64 {
        return refused(TOO_LARGE);
    }
    match tokio::time::timeout(TIMEOUT, Limited::new(body, largest).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => refused(TOO_LARGE),
        Ok(Err(_)) => refused((StatusCode::BAD_REQUEST, "body_broken", "the body broke off")),
        Err(_) => refused((StatusCode::REQUEST_TIMEOUT, "body_slow", "the body took too long")),
    }
}
