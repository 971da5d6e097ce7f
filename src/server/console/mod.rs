//! The console: pages for a person at a browser, whom the tailnet names. There is no password and no token.
//!
//! Looking goes the way that calls go: by grants, budgets, warrants and the log. What the pages can do besides looking
//! is listed in `acts`, and whatever could hurt takes a passkey there: a program with the person's node can ask for
//! any of these pages.

mod acts;
mod fault;
mod forms;
mod pages;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

use super::admit::{self, Admission};
use super::body;
use super::health::Watch;
use super::refusal::Refusal;
use crate::audit::{self, Did, Journal, NotRecorded, Personal, Refused};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::config::ResourceUrl;
use crate::dispatch::{Dispatcher, explain};
use crate::domain::id::RequestId;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::Who;
use crate::lifecycle::Lifecycle;
use crate::passkey::{Owner, Passkeys, Revoked};
use crate::policy::freeze::{BY_ROOT, Frozen};
use crate::policy::plans::Plans;

use forms::Forms;
use view::Badge;

/// How often it is looked what root has done on the host.
const LOOK_AT_ROOT: Duration = Duration::from_secs(5);

/// Largest form, in bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// Where what pages load lies.
const FILES: &str = "/console/static/";

/// Everything a page may load, and who may frame it: nobody. No script and no style stands in a page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the console is made of.
pub struct Parts {
    /// What carries calls out.
    pub dispatcher: Arc<Dispatcher>,
    /// Where it is written down.
    pub journal: Journal,
    /// What is planned.
    pub plans: Plans,
    /// The passkeys.
    pub passkeys: Passkeys,
    /// What looks after what our work needs.
    pub watch: Arc<Watch>,
    /// Our URL.
    pub url: ResourceUrl,
    /// The capability that grants come from.
    pub capability: String,
    /// The folder of the log.
    pub audit_dir: PathBuf,
    /// The time.
    pub clock: Clock,
}

/// The console.
pub struct Console {
    parts: Parts,
    forms: Forms,
    /// What the last check of the log came to, and when.
    badge: Arc<Mutex<Option<(Badge, Duration)>>>,
    /// Who reads the last records, and who checks the whole log: one at a time, also where nobody waits for it any more.
    /// Anybody on the tailnet may ask for the pages that need it, and it takes megabytes, or minutes.
    reading: Arc<Semaphore>,
    checking: Arc<Semaphore>,
    /// Who is on record as having frozen changes, if they are.
    brake: tokio::sync::Mutex<Option<Frozen>>,
}

/// Somebody at a browser, as the tailnet says at this moment.
type Visitor = Arc<Caller>;

impl Console {
    /// The console over `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let forms = Forms::new(parts.clock.clone());
        // What was frozen before the start is on record already.
        let brake = tokio::sync::Mutex::new(parts.plans.brake().state());
        let one = || Arc::new(Semaphore::new(1));
        Arc::new(Self { parts, forms, badge: Arc::default(), reading: one(), checking: one(), brake })
    }

    /// Puts on record what root does on the host: pulls the brake or lets it go, takes a passkey away. The commands
    /// cannot write the log.
    pub async fn watch_root(self: Arc<Self>, lifecycle: Lifecycle) {
        loop {
            if let Err(error) = self.record_brake().await {
                tracing::warn!(%error, "that changes were frozen or thawed is not on record yet");
            }
            if let Err(error) = self.record_revoked().await {
                tracing::warn!(%error, "that a passkey was taken away is not on record yet");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AT_ROOT) => {}
                () = lifecycle.ending() => return,
            }
        }
    }

    async fn record_revoked(&self) -> Result<(), NotRecorded> {
        // A file that cannot be read is told to whoever needs a passkey.
        let Ok(revoked) = block_in_place(|| self.parts.passkeys.revoked()) else { return Ok(()) };
        for gone in revoked {
            let Revoked { id, login, label } = &gone;
            let personal = Personal::new(Did::Revoke, &Who::default()).with(id);
            self.parts.journal.person(personal.saying(&format!("of {login}: {label}"))).await?;
            if let Err(error) = block_in_place(|| self.parts.passkeys.is_recorded(&gone)) {
                tracing::warn!(passkey = id, "that it was taken away will be on record twice: {error}");
            }
        }
        Ok(())
    }

    async fn record_brake(&self) -> Result<(), NotRecorded> {
        let mut known = self.brake.lock().await;
        let now = self.parts.plans.brake().state();
        if *known == now {
            return Ok(());
        }
        let nobody = Who::default();
        let personal = match &now {
            Some(Frozen { by, reason, .. }) if by == BY_ROOT => {
                Personal::new(Did::Freeze, &nobody).saying(reason)
            }
            Some(Frozen { by, reason, .. }) => {
                Personal::new(Did::Freeze, &nobody).saying(&format!("{by}: {reason}"))
            }
            None => Personal::new(Did::Thaw, &nobody),
        };
        self.parts.journal.person(personal).await?;
        *known = now;
        Ok(())
    }

    /// Whether the visitor may freeze changes and thaw them: whoever may change anything, or approve.
    fn may_brake(&self, visitor: &Caller) -> bool {
        let dispatcher = &self.parts.dispatcher;
        dispatcher.nas_names().iter().any(|nas| {
            let grants = visitor.grants();
            // What everybody may call, as `undo`, gives nobody anything to stop.
            let changes = |spec: &crate::tools::Spec| {
                spec.scope.is_some() && spec.risk > Risk::Read && explain(spec, grants, nas).0
            };
            grants.allows(Scope::ChangeApprove, nas).is_some() || dispatcher.catalogue().specs().any(changes)
        })
    }

    /// Writes down that somebody whom we know was refused something here.
    fn refused(&self, visitor: &Caller, reason: &'static str) {
        self.parts.journal.refused(audit::Refusal {
            request: RequestId::at(self.parts.clock.now()),
            who: visitor.who(),
            from: None,
            reason,
            detail: None,
            what: Refused::Tool { tool: "console", nas: None, missing: None },
        });
    }
}

/// The pages, and what they are made of.
pub(super) fn router(console: Arc<Console>, admission: Arc<Admission>) -> Router {
    let files = Router::new()
        .route(
            "/console/static/console.css",
            get(async || file("text/css", include_str!("assets/console.css"))),
        )
        .route(
            "/console/static/console.js",
            get(async || file("text/javascript", include_str!("assets/console.js"))),
        );
    Router::new()
        .route("/console", get(pages::home))
        .route("/console/connect", get(pages::connect))
        .route("/console/why", get(pages::why))
        .route("/console/audit", get(pages::audit))
        .route("/console/passkeys", get(pages::passkeys))
        .route("/console/enroll", get(pages::enroll))
        .route("/console/enroll/begin", post(acts::begin_enrolment))
        .route("/console/enroll/finish", post(acts::finish_enrolment))
        .route("/console/plans/{id}", get(pages::plan))
        .route("/console/plans/{id}/approve/begin", post(acts::begin_approval))
        .route("/console/plans/{id}/approve/finish", post(acts::finish_approval))
        .route("/console/plans/{id}/refuse", post(acts::refuse))
        .route("/console/undo", post(acts::undo))
        .route("/console/freeze", post(acts::freeze))
        .route("/console/thaw/begin", post(acts::begin_thaw))
        .route("/console/thaw/finish", post(acts::finish_thaw))
        .route_layer(from_fn(with_its_body))
        .route_layer(from_fn_with_state(admission, admit::visitor))
        .merge(files)
        .with_state(console)
        // On these routes alone: a path that is nobody's is answered as one.
        .route_layer(from_fn(from_a_page_of_ours))
        .route_layer(from_fn(with_headers))
}

/// The whole of a form, once it is known whose it is and before anything of it counts.
async fn with_its_body(request: Request, next: Next) -> Response {
    let (head, unread) = request.into_parts();
    match body::read(unread, LARGEST_BODY).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(refusal) => {
            let who = head.extensions.get::<Visitor>().map(|caller| caller.who()).unwrap_or_default();
            refusal.of(who).into_response()
        }
    }
}

/// What a browser says about where a request comes from. Our pages are never a part of others', and nothing is done
/// that one of ours did not send.
async fn from_a_page_of_ours(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if let Some(b"iframe" | b"frame" | b"embed" | b"object" | b"fencedframe") = says("sec-fetch-dest") {
        let words = "the console is not shown within other pages";
        return Refusal::new(StatusCode::FORBIDDEN, "framed", words).into_response();
    }
    let site = says("sec-fetch-site");
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let allowed = match (reads, site) {
        // A link to a page may stand anywhere; a picture or a script of ours may not.
        (true, Some(b"cross-site" | b"same-site")) => says("sec-fetch-mode") == Some(b"navigate"),
        (true, _) => true,
        // That an Origin is ours, if there is one, has been looked at; here there must be one.
        (false, site) => matches!(site, None | Some(b"same-origin")) && headers.contains_key(header::ORIGIN),
    };
    if !allowed {
        let words = "this was not sent by a page of the console, so nothing was done";
        return Refusal::new(StatusCode::FORBIDDEN, "cross_site", words).into_response();
    }
    next.run(request).await
}

/// What goes wrong on the way to a page is told on one; our script, and whoever asks for a file, is told as programs are.
async fn with_headers(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().copied();
    let for_a_person = !request.uri().path().starts_with(FILES) && !is_json(request.headers());
    let mut response = next.run(request).await;
    if for_a_person {
        response = fault::on_a_page(response, id);
    }
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": with that, forms are sent with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Asked for anew after an update; a day would show new pages in old clothes.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    (headers, text).into_response()
}

/// The person behind a visitor. Whoever is admitted to the console is one.
fn owner(visitor: &Caller) -> Option<Owner> {
    visitor.user().map(|user| Owner { id: user.id(), login: user.login().to_owned() })
}
