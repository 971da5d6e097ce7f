//! HTTP: from an accepted connection to an admitted request. The only module that knows axum.

mod accept;
mod admit;
mod body;
pub mod console;
mod envelope;
mod guard;
pub mod health;
pub mod listen;
mod mirror;
mod pace;
mod places;
mod refusal;
mod step_up;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::audit::{self, Journal, Refused};
use crate::caller::Gate;
use crate::clock::Clock;
use crate::config::ResourceUrl;
use crate::dispatch::Dispatcher;
use crate::domain::id::RequestId;
use crate::lifecycle::Lifecycle;
use crate::mcp;
use crate::metrics::Metrics;
use crate::oauth::Texts;
use crate::policy::budgets::{Budgets, Knock};

use places::Places;
use refusal::{Note, Refusal};

pub use accept::{Unread, keep_certificate, serve, serve_health};

/// Largest body we read, in bytes. The NAS takes no call beyond 64 KiB, and JSON that is read becomes up to two
/// hundred times as large in memory.
const LARGEST_BODY: usize = 256 * 1024;

/// Requests in progress at one time.
const REQUESTS: usize = 2048;

/// Requests in progress at one time from one peer.
const REQUESTS_EACH: usize = 64;

/// How long somebody who sends too many requests waits until they are told.
const HELD_BACK: Duration = Duration::from_millis(250);

/// What the pages and the MCP endpoint are made of.
pub struct Parts {
    /// Our URL.
    pub url: ResourceUrl,
    /// The texts a resource server answers with.
    pub texts: Texts,
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// Where refusals are written down.
    pub journal: Journal,
    /// What carries calls out.
    pub dispatcher: Arc<Dispatcher>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where tasks are tracked.
    pub lifecycle: Lifecycle,
    /// The time.
    pub clock: Clock,
    /// The pages for people.
    pub console: Arc<console::Console>,
    /// How much may be asked for.
    pub budgets: Budgets,
}

/// Everything we answer to over HTTP.
pub fn router(parts: Parts) -> Router {
    let Parts { url, texts, gate, journal, dispatcher, metrics, lifecycle, clock, console, budgets } = parts;
    let texts = Arc::new(texts);
    let served = Places::new(REQUESTS, REQUESTS_EACH);
    let admission = Arc::new(admit::Admission { gate, texts: Arc::clone(&texts), served });
    let step_up = step_up::StepUp { dispatcher: Arc::clone(&dispatcher), texts: Arc::clone(&texts) };
    let mcp = mcp::service(dispatcher, &lifecycle, LARGEST_BODY);

    let endpoint = Router::new()
        .route(url.path(), any(move |request| async move { mcp.handle(request).await }))
        // Layers of this route alone: what is not there is not there for everybody.
        .route_layer(from_fn_with_state(Arc::new(step_up), step_up::check))
        .route_layer(from_fn(envelope::check))
        .route_layer(from_fn_with_state(Arc::clone(&admission), admit::admit))
        .route_layer(from_fn(guard::mcp));

    let mut router = Router::new();
    for path in texts.well_known_paths() {
        router = router.route(path, get(metadata));
    }
    router
        .with_state(texts)
        .merge(endpoint)
        .merge(console::router(console, admission))
        .layer(from_fn_with_state(Arc::new(guard::Origin::of(&url)), guard::all))
        .layer(from_fn_with_state(Door { journal, metrics, clock, budgets }, door))
}

/// The header that names the request in an answer, as the audit log does.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the door needs.
#[derive(Clone)]
struct Door {
    journal: Journal,
    metrics: Metrics,
    clock: Clock,
    budgets: Budgets,
}

/// Names each request, answers it within the time for a whole one, and writes down which were refused. What was begun
/// goes on by itself.
async fn door(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let id = RequestId::at(door.clock.now());
    request.extensions_mut().insert(id);
    for field in guard::fields_to_ignore(&request) {
        door.metrics.field_ignored(field);
    }
    let from = admit::peer(&request).map(|peer| peer.ip());
    let mut response = match from.map_or(Ok(()), |from| door.budgets.knock(from, Knock::Request)) {
        Ok(()) => tokio::time::timeout(pace::REQUEST, next.run(request)).await.unwrap_or_else(|_| {
            let words = "it took too long to answer; the audit log says what became of it";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", words).into_response()
        }),
        // Before anybody is asked who that is. And not hurried: one connection can be told so only so often.
        Err(too_many) => {
            tokio::time::sleep(HELD_BACK).await;
            Refusal::too_many(&too_many.to_string(), too_many.retry_after()).into_response()
        }
    };
    response = refusal::never_silent(response);
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let told = refusal.is_told();
        let (answer, Note { reason, detail, who, what }) = refusal.answer(id);
        if !told {
            response = answer;
        }
        let from = from.filter(|_| who.peer.is_none());
        door.refused(audit::Refusal { request: id, from, who, reason, detail, what });
    }
    door.metrics.request(match response.status().as_u16() {
        200..=399 => "answered",
        401 => "unauthorized",
        403 => "forbidden",
        429 => "too_many",
        400..=499 => "malformed",
        _ => "unavailable",
    });
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

impl Door {
    fn refused(&self, refusal: audit::Refusal) {
        if matches!(refusal.what, Refused::Entry) {
            self.metrics.admission_denied(refusal.reason);
        }
        self.journal.refused(refusal);
    }
}

/// RFC 9728 section 3: the metadata of this protected resource.
async fn metadata(State(texts): State<Arc<Texts>>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "max-age=300"),
        // It is public, and clients that live in a browser look for it.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, texts.metadata_document().to_string())
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Whether a body is one sound JSON-RPC message, or else the id and code of the error it is answered with.
    ///
    /// # Errors
    ///
    /// Id and code.
    pub fn envelope(body: &[u8]) -> Result<(), (serde_json::Value, i32)> {
        super::envelope::judge(body).map(drop).map_err(|fault| {
            let (id, code, _) = fault.answer();
            (id, code)
        })
    }
}
