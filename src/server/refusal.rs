//! A request that is refused: what its sender is told, and what is written down about it. Both are one value, and
//! the door takes it apart, so that nothing can be refused in silence.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::IntoHeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::audit::Refused;
use crate::domain::id::RequestId;
use crate::domain::who::Who;

/// Why a request is not carried out.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    reason: &'static str,
    who: Who,
    detail: Option<String>,
    what: Refused,
    told: bool,
}

/// What is written down about a refusal.
pub(super) struct Note {
    /// Why, in a word.
    pub reason: &'static str,
    /// And in more of them.
    pub detail: Option<String>,
    /// Who.
    pub who: Who,
    /// What.
    pub what: Refused,
}

impl Refusal {
    /// A refusal with a few `words` for its sender, which give nothing away, and a `reason` for the audit log.
    pub(super) fn new(status: StatusCode, reason: &'static str, words: &str) -> Self {
        let error = status.canonical_reason().unwrap_or("refused").to_ascii_lowercase().replace(' ', "_");
        Self::saying(status, reason, &error, words)
    }

    /// The same, with the word for programs that some RFC asks for.
    pub(super) fn saying<'w>(
        status: StatusCode,
        reason: &'static str,
        error: &str,
        words: impl Into<Cow<'w, str>>,
    ) -> Self {
        let body = json!({ "error": error, "error_description": words.into() });
        let (who, detail) = (Who::default(), None);
        Self {
            status,
            headers: HeaderMap::new(),
            body,
            reason,
            who,
            detail,
            what: Refused::Entry,
            told: false,
        }
    }

    /// One of a caller's message, told as JSON-RPC tells errors.
    pub(super) fn of_message(status: StatusCode, reason: &'static str, body: Value) -> Self {
        let (who, detail) = (Who::default(), None);
        let what = Refused::Message;
        Self { status, headers: HeaderMap::new(), body, reason, who, detail, what, told: false }
    }

    /// More than somebody may have at a time, and when to try again.
    pub(super) fn too_many(words: &str, retry_after: Duration) -> Self {
        let words = format!("{words}; nothing was sent to the NAS");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", &words)
            .with(header::RETRY_AFTER, whole_seconds(retry_after))
    }

    /// With this header.
    pub(super) fn with(mut self, name: impl IntoHeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// With this member of the body.
    pub(super) fn saying_also(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body[name] = value.into();
        self
    }

    /// Of somebody about whom this much is known.
    pub(super) fn of(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// With more about why, for the audit log alone.
    pub(super) fn because(mut self, detail: Option<&str>) -> Self {
        self.detail = detail.map(str::to_owned);
        self
    }

    /// Not of being let in, but of this.
    pub(super) fn about(mut self, what: Refused) -> Self {
        self.what = what;
        self
    }

    /// Its few words.
    pub(super) fn words(&self) -> &str {
        self.body["error_description"].as_str().unwrap_or_default()
    }

    /// `page`, in which a person reads it, with the refusal beside it for the door to write down.
    pub(super) fn on_page(mut self, mut page: Response) -> Response {
        self.told = true;
        *page.status_mut() = self.status;
        page.headers_mut().extend(self.headers.clone());
        page.extensions_mut().insert(self);
        page
    }

    /// Whether the answer that it stands beside tells it already.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// Takes it apart: the answer, which names `request` so that its sender can say which record is about it, and what
    /// that record says.
    pub(super) fn answer(self, request: RequestId) -> (Response, Note) {
        let Self { status, headers, mut body, reason, who, detail, what, told: _ } = self;
        // JSON-RPC has one place for whatever a server wants to add to an error.
        let place = if body["error"].is_object() { &mut body["error"]["data"] } else { &mut body };
        if place.is_null() || place.is_object() {
            place["request"] = json!(request);
        }
        ((status, headers, Json(body)).into_response(), Note { reason, detail, who, what })
    }
}

/// The answer as it stands, for where there is no door; and the refusal beside it, for where there is one.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.headers.clone(), Json(&self.body)).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Beside an answer that refuses something of which there is a record already.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnRecord;

/// An error that somebody else answered with, the framework or a page, as a refusal as well: nothing is refused without a
/// record. What has no words gets some.
pub(super) fn never_silent(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let known = response.extensions();
    if !is_error || known.get::<Refusal>().is_some() || known.get::<OnRecord>().is_some() {
        return response;
    }
    let (reason, words) = match status {
        StatusCode::NOT_FOUND => ("no_such_path", "there is nothing here"),
        StatusCode::METHOD_NOT_ALLOWED => ("http_method", "this path takes other methods"),
        _ if status.is_server_error() => ("failed", "this could not be answered"),
        _ => ("not_served", "this is not asked for in this way"),
    };
    let refusal = Refusal::new(status, reason, words);
    // With words of its own, it is the answer to somebody who came as far as a page or a method.
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return refusal.about(Refused::Message).on_page(response);
    }
    match response.headers().get(header::ALLOW) {
        Some(allowed) => refusal.with(header::ALLOW, allowed.clone()).into_response(),
        None => refusal.into_response(),
    }
}

/// Rounded up, for Retry-After.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
