//! Why a page or an act is not given, as its reader can take it: a page for a person, JSON for our script.

use askama::Template as _;
use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::refusal::{OnRecord, Refusal};
use super::view::{Frame, Message};
use crate::domain::id::RequestId;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    title: &'static str,
    text: String,
    for_script: bool,
    on_record: bool,
}

impl Fault {
    pub fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self { status, title, text: text.into(), for_script: false, on_record: false }
    }

    /// The same, for our script to show.
    pub fn for_script(self) -> Self {
        Self { for_script: true, ..self }
    }

    /// The same, of which there is a record already.
    pub fn on_record(self) -> Self {
        Self { on_record: true, ..self }
    }

    /// A form that is on record as such.
    pub fn forged() -> Self {
        let text = "The form was sent twice, lay open for more than an hour, or did not come from a page that this \
                    server gave you. Nothing was changed. Load the page again.";
        Self::new(StatusCode::FORBIDDEN, "That form is no longer good", text).on_record()
    }

    pub fn nobody() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not admitted", "The console is for people on nodes of their own.")
    }

    pub fn no_plan() -> Self {
        let text = "Plans live for a quarter of an hour and not across a restart of the daemon, and one can see one's own, or \
                    those that one may approve. If you came from a notice, somebody else may have decided. Nothing was changed by this.";
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
        let Self { status, title, text, for_script, on_record } = self;
        let mut response = if for_script {
            (status, Json(json!({ "error": title, "error_description": text }))).into_response()
        } else {
            let page = Message { frame: Frame::bare(title), lines: vec![text] };
            match page.render() {
                Ok(html) => (status, Html(html)).into_response(),
                Err(_) => (status, title).into_response(),
            }
        };
        if on_record {
            response.extensions_mut().insert(OnRecord);
        }
        response
    }
}

/// The answer, as a page where it is a refusal that is none yet: one of the door or of the gate, or what the framework
/// says to a request that no page of ours makes.
pub(super) fn on_a_page(mut response: Response, id: Option<RequestId>) -> Response {
    let status = response.status();
    let page = |line: String| {
        let named = id.map(|id| format!("In the audit log this is request {id}."));
        let message = Message {
            frame: Frame::bare(title(status)),
            lines: [Some(line), named].into_iter().flatten().collect(),
        };
        message.render()
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        return match page(format!("This was refused: {}. Nothing was changed.", refusal.words())) {
            Ok(html) => refusal.on_page((status, Html(html)).into_response()),
            Err(_) => refusal.into_response(),
        };
    }
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let told = [&b"text/html"[..], b"application/json"].iter().any(|known| kind.starts_with(known));
    if told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let line = "No page of the console asks for this in this way. Nothing was changed.".to_owned();
    let Ok(html) = page(line) else { return response };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(head, html.into())
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "Not admitted",
        StatusCode::REQUEST_TIMEOUT => "Too slow",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        StatusCode::TOO_MANY_REQUESTS => "Too much at once",
        StatusCode::SERVICE_UNAVAILABLE => "Not at the moment",
        _ => "This is no page",
    }
}
