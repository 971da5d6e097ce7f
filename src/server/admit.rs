//! Admission: from a connection and an Authorization header to a caller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::caller::{Caller, Denied, DenyKind, Gate};
use crate::config::is_tailnet;
use crate::domain::id::RequestId;
use crate::mcp::NoLonger;
use crate::oauth::{Challenge, Freshness, Presented, Texts};

use super::listen::Via;
use super::places::{Place, Places};
use super::refusal::{OnRecord, Refusal, whole_seconds};

/// What admission needs.
pub(super) struct Admission {
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// The challenges.
    pub texts: Arc<Texts>,
    /// Requests in progress.
    pub served: Places,
}

/// Lets a request through with its [`Caller`] beside it, or answers it here. The body has not been touched: who is
/// not admitted is not read.
pub(super) async fn admit(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (peer, _held) = match admission.enter(&request) {
        Ok(entered) => entered,
        Err(refusal) => return (*refusal).into_response(),
    };
    let presented = Presented::in_fields(request.headers().get_all(header::AUTHORIZATION));
    match admission.caller(peer, presented).await {
        Ok(caller) => {
            // Nothing behind this line has any use for the token.
            request.headers_mut().remove(header::AUTHORIZATION);
            let id = request.extensions().get::<RequestId>().copied();
            let no_longer = NoLonger::default();
            request.extensions_mut().insert(Arc::new(caller));
            request.extensions_mut().insert(no_longer.clone());
            let response = next.run(request).await;
            // Asked again before a change, the answer was another one. It is on record as a refusal of that change.
            match (no_longer.heard(), id) {
                (Some(denied), Some(id)) => {
                    let mut answer = admission.denied(denied).answer(id).0;
                    answer.extensions_mut().insert(OnRecord);
                    answer
                }
                _ => response,
            }
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets a person through to the console with their [`Caller`] beside the request, or answers it here.
pub(super) async fn visitor(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (peer, _held) = match admission.enter(&request) {
        Ok(entered) => entered,
        Err(refusal) => return (*refusal).into_response(),
    };
    match admission.gate.admit_visitor(peer).await {
        Ok(caller) => {
            request.headers_mut().remove(header::AUTHORIZATION);
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(denied) => admission.denied(&denied).into_response(),
    }
}

/// The tailnet address at the other end. Behind `tailscale serve`, which overwrites X-Forwarded-For with it,
/// that header is believed, for only root can have written to that socket; elsewhere it is not looked at.
pub(super) fn peer(request: &Request) -> Option<SocketAddr> {
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

impl Admission {
    /// Where a request comes from, and its place among those in progress, which it has until that is dropped.
    ///
    /// Places are of a peer, and not of its connections: one of HTTP/2 carries many requests, and those of
    /// `tailscale serve` carry everybody's.
    fn enter(&self, request: &Request) -> Result<(SocketAddr, Place), Box<Refusal>> {
        let peer = peer(request).ok_or_else(|| {
            Box::new(Refusal::new(StatusCode::FORBIDDEN, "no_peer_address", "not admitted"))
        })?;
        let place = self.served.take(Some(peer.ip())).map_err(|_| {
            Box::new(Refusal::too_many(
                "too many requests are in progress from there",
                Duration::from_secs(1),
            ))
        })?;
        Ok((peer, place))
    }

    async fn caller(&self, peer: SocketAddr, presented: Presented) -> Result<Caller, Refusal> {
        match presented {
            Presented::Token(bearer) => {
                self.gate.admit(peer, &bearer, Freshness::Cached).await.map_err(|denied| self.denied(&denied))
            }
            // Nothing to look at but the tailnet's word, which is enough where the configuration says so.
            Presented::Absent => match self.gate.admit_agent(peer).await {
                Ok(agent) => agent.ok_or_else(|| self.challenged("no_token", Challenge::Login)),
                Err(denied) => Err(self.denied(&denied)),
            },
            Presented::Malformed => Err(self.challenged("malformed_token", Challenge::InvalidToken)),
            Presented::Several => Err(self.challenged("several_tokens", Challenge::InvalidRequest)),
        }
    }

    /// What somebody is told who is not admitted. The same at the door and before a change.
    fn denied(&self, denied: &Denied) -> Refusal {
        let reason = denied.reason();
        let refusal = match denied.kind() {
            DenyKind::Forbidden => Refusal::new(StatusCode::FORBIDDEN, reason, "not admitted"),
            // One answer for every cause, so that it tells nothing about the token.
            DenyKind::Unauthorized => self.challenged(reason, Challenge::InvalidToken),
            DenyKind::TooMany { retry_after } => {
                let words = "too many tokens from this node were not active; none is looked at for a moment, and nothing \
                             was sent to the NAS";
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason, words)
                    .with(header::RETRY_AFTER, whole_seconds(retry_after))
            }
            // Never a 401: a client would throw a good token away.
            DenyKind::Unavailable { retry_after } => {
                let words = format!(
                    "who you are cannot be found out at the moment ({reason}); nothing was sent to the NAS"
                );
                Refusal::saying(StatusCode::SERVICE_UNAVAILABLE, reason, "temporarily_unavailable", words)
                    .with(header::RETRY_AFTER, whole_seconds(retry_after))
            }
        };
        refusal.of(denied.who().clone()).because(denied.detail())
    }

    fn challenged(&self, reason: &'static str, challenge: Challenge) -> Refusal {
        let (status, error, words) = match challenge {
            Challenge::Login => (
                StatusCode::UNAUTHORIZED,
                // RFC 6750 section 3.1: who showed no token has shown no invalid one.
                "unauthorized",
                "a bearer token of this tailnet's provider is needed",
            ),
            Challenge::InvalidToken => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "the token is not valid here")
            }
            Challenge::InvalidRequest => {
                (StatusCode::BAD_REQUEST, "invalid_request", "there must be exactly one Authorization field")
            }
        };
        Refusal::saying(status, reason, error, words)
            .with(header::WWW_AUTHENTICATE, self.texts.challenge(challenge))
    }
}
