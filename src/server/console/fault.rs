//! Why a page or an act is not given, as its reader can take it: a page for a person, JSON for our script.

use askama::Template as _;
use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::view::{Frame, Message};

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    title: &'static str,
    text: String,
    for_script: bool,
}

impl Fault {
    pub fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self { status, title, text: text.into(), for_script: false }
    }

    /// The same, for our script to show.
    pub fn for_script(self) -> Self {
        Self { for_script: true, ..self }
    }

    pub fn forged() -> Self {
        let text = "The form was sent twice, lay open for more than an hour, or did not come from a page that this \
                    server gave you. Nothing was done. Load the page again.";
        Self::new(StatusCode::FORBIDDEN, "That form is no longer good", text)
    }

    pub fn nobody() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not admitted", "The console is for people on nodes of their own.")
    }

    pub fn no_plan() -> Self {
        let text = "Plans live for a quarter of an hour and not across a restart of the daemon, and one can see one's own, or \
                    those that one may approve. If you came from a notice, somebody else may have decided.";
        Self::new(StatusCode::GONE, "There is no such plan here", text)
    }

    /// What is not on record is not done.
    pub fn unrecorded(error: &dyn std::fmt::Display) -> Self {
        let text = format!("It could not be recorded, so it was not done: {error}.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not recorded", text)
    }

    pub fn broken(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a page of the console could not be made");
        let text = "The page could not be made. Nothing was changed; the daemon's journal says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "This is our fault", text)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { status, title, text, for_script } = self;
        if for_script {
            return (status, Json(json!({ "error": title, "error_description": text }))).into_response();
        }
        let page = Message { frame: Frame::bare(title), lines: vec![text] };
        match page.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(_) => (status, title).into_response(),
        }
    }
}
