//! Admission: from a connection and an Authorization header to a caller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::audit::{Journal, Refusal, Refused};
use crate::caller::{Denied, DenyKind, Gate};
use crate::config::is_tailnet;
use crate::domain::id::RequestId;
use crate::domain::who::Who;
use crate::metrics::Metrics;
use crate::oauth::{Challenge, Freshness, Presented, Texts};

use super::guard::refuse;
use super::listen::Via;
use super::places::Places;

/// What admission needs.
pub struct Admission {
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// Where refusals are written down.
    pub journal: Journal,
    /// The challenges.
    pub texts: Arc<Texts>,
    /// Where they are counted.
    pub metrics: Metrics,
    /// Requests in progress.
    pub(super) served: Places,
}

/// Lets a request through with its [`Caller`](crate::caller::Caller) beside it, or answers it here. The body
/// has not been touched: who is not admitted is not read.
pub async fn admit(State(admission): State<Arc<Admission>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = peer(&request) else {
        return admission.without_peer();
    };
    // Behind `tailscale serve` all connections are its own, so there the requests of a peer are counted.
    let Ok(_held) = admission.served.take(behind_serve(&request).then(|| peer.ip())) else {
        return too_many();
    };
    let bearer = match Presented::in_fields(request.headers().get_all(header::AUTHORIZATION)) {
        Presented::Token(bearer) => bearer,
        // Nothing to look at but the tailnet's word, which is enough where the configuration says so.
        Presented::Absent => {
            return match admission.gate.admit_agent(peer).await {
                Ok(Some(caller)) => {
                    request.extensions_mut().insert(Arc::new(caller));
                    next.run(request).await
                }
                Ok(None) => admission.without_token(peer, "no_token", Challenge::Login),
                Err(denied) => admission.denied(peer, &denied),
            };
        }
        Presented::Malformed => {
            return admission.without_token(peer, "malformed_token", Challenge::InvalidToken);
        }
        Presented::Several => {
            return admission.without_token(peer, "several_tokens", Challenge::InvalidRequest);
        }
    };
    match admission.gate.admit(peer, &bearer, Freshness::Cached).await {
        Ok(caller) => {
            // Nothing behind this line has any use for the token.
            request.headers_mut().remove(header::AUTHORIZATION);
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(denied) => admission.denied(peer, &denied),
    }
}

/// The tailnet address at the other end. Behind `tailscale serve`, which overwrites X-Forwarded-For with it,
/// that header is believed, for only root can have written to that socket; elsewhere it is not looked at.
fn peer(request: &Request) -> Option<SocketAddr> {
    match request.extensions().get::<Via>()? {
        Via::Direct(addr) => Some(*addr),
        Via::Serve => {
            let mut values = request.headers().get_all("x-forwarded-for").iter();
            let (value, None) = (values.next()?, values.next()) else { return None };
            let address: IpAddr = value.to_str().ok()?.parse().ok()?;
            // Nobody else can be told by WhoIs, and a proxy that forwards for others is not `tailscale serve`.
            is_tailnet(address.to_canonical()).then(|| SocketAddr::new(address, 0))
        }
    }
}

fn behind_serve(request: &Request) -> bool {
    matches!(request.extensions().get(), Some(Via::Serve))
}

fn too_many() -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests are in progress from there");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

impl Admission {
    fn without_peer(&self) -> Response {
        self.note(None, Who::default(), "no_peer_address");
        refuse(StatusCode::FORBIDDEN, "not admitted")
    }

    fn without_token(&self, peer: SocketAddr, reason: &'static str, challenge: Challenge) -> Response {
        self.note(Some(peer.ip()), Who::default(), reason);
        self.challenged(challenge)
    }

    fn denied(&self, peer: SocketAddr, denied: &Denied) -> Response {
        self.note(Some(peer.ip()), denied.who().clone(), denied.reason());
        match denied.kind() {
            DenyKind::Forbidden => refuse(StatusCode::FORBIDDEN, "not admitted"),
            // One answer for every cause, so that it tells nothing about the token.
            DenyKind::Unauthorized => self.challenged(Challenge::InvalidToken),
            DenyKind::TooMany { retry_after } => {
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                let body = json!({
                    "error": "too_many_requests",
                    "error_description": "too many tokens from this node were not active; none is looked at for a \
                                          moment, and nothing was sent to the NAS",
                });
                let headers = [(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))];
                (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response()
            }
            // Never a 401: a client would throw a good token away.
            DenyKind::Unavailable { retry_after } => {
                let mut headers = HeaderMap::new();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
                let body = json!({
                    "error": "temporarily_unavailable",
                    "error_description": format!(
                        "who you are cannot be found out at the moment ({}); nothing was sent to the NAS",
                        denied.reason()
                    ),
                });
                (StatusCode::SERVICE_UNAVAILABLE, headers, Json(body)).into_response()
            }
        }
    }

    fn challenged(&self, challenge: Challenge) -> Response {
        let (status, error, description) = match challenge {
            Challenge::Login => (
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "a bearer token of this tailnet's provider is needed",
            ),
            Challenge::InvalidToken => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "the token is not valid here")
            }
            Challenge::InvalidRequest => {
                (StatusCode::BAD_REQUEST, "invalid_request", "there must be exactly one Authorization field")
            }
        };
        let body = Json(json!({ "error": error, "error_description": description }));
        (status, [(header::WWW_AUTHENTICATE, self.texts.challenge(challenge))], body).into_response()
    }

    fn note(&self, peer: Option<IpAddr>, who: Who, reason: &'static str) {
        tracing::info!(peer = peer.map(tracing::field::display), reason, "not admitted");
        self.metrics.admission_denied(reason);
        let from = peer.filter(|_| who.peer.is_none());
        let request = RequestId::new();
        self.journal.refused(Refusal { request, who, from, reason, detail: None, what: Refused::Entry });
    }
}
