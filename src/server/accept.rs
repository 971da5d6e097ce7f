//! The accept loop: connections with limits and time-outs of ours, drained at the end.
//!
//! Not `axum::serve`, which has none of them.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use crate::audit::{self, Journal, Refused};
use crate::clock::{Clock, Seldom};
use crate::domain::id::RequestId;
use crate::domain::who::Who;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::policy::budgets::{Budgets, Knock};

use super::guard;
use super::health::Ends;
use super::listen::{Accepted, Listener, Via};
use super::pace::{Pace, Paced};
use super::places::{Full, Place, Places};

/// Connections at one time, over all listeners.
const CONNECTIONS: usize = 512;

/// Connections at one time from one address.
const CONNECTIONS_EACH: usize = 32;

/// Requests at one time on one connection of HTTP/2.
const STREAMS: u32 = 16;

/// How long a connection may take until it can carry HTTP: a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a connection may last before its client is asked to make a new one.
const AGE: Duration = Duration::from_hours(1);

/// How long a connection that has just been made may take to its first request once we are to stop.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// How long requests in progress may take to end once we are to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves `router` on every listener until the lifecycle stops. Requests in progress are deeds, for which the
/// stop waits. What is no request is refused in `unread`.
pub fn serve(
    listeners: Vec<Listener>,
    router: &Router,
    unread: &Unread,
    metrics: &Metrics,
    budgets: &Budgets,
    lifecycle: &Lifecycle,
) {
    let places = Places::new(CONNECTIONS, CONNECTIONS_EACH);
    for listener in listeners {
        let shared = Shared {
            router: router.clone(),
            unread: Some(unread.clone()),
            metrics: metrics.clone(),
            lifecycle: lifecycle.clone(),
        };
        let limits = Limits { places: places.clone(), budgets: Some(budgets.clone()) };
        lifecycle.service("listener", accept(listener, limits, shared));
    }
}

/// Keeps the certificate of the listeners fresh, where they have one, and tells `ends` when it ends.
pub fn keep_certificate(listeners: &[Listener], ends: &Ends, clock: &Clock, lifecycle: &Lifecycle) {
    // They share it, so one of them is enough.
    if let Some(tls) = listeners.iter().find_map(Listener::tls) {
        let fresh = tls.clone().keep_fresh(ends.clone(), clock.clone(), lifecycle.clone());
        lifecycle.service("certificate", fresh);
    }
}

/// Serves `router`, which is for looking at us, on a listener of its own with places of its own: whoever floods
/// one of the two cannot be told from the other.
pub fn serve_health(listener: Listener, router: Router, metrics: &Metrics, lifecycle: &Lifecycle) {
    let shared = Shared { router, unread: None, metrics: metrics.clone(), lifecycle: lifecycle.clone() };
    let limits = Limits { places: Places::new(CONNECTIONS_EACH, CONNECTIONS_EACH), budgets: None };
    lifecycle.service("metrics listener", accept(listener, limits, shared));
}

/// How many connections there may be.
struct Limits {
    /// At a time.
    places: Places,
    /// In a time; without, as many as come.
    budgets: Option<Budgets>,
}

impl Limits {
    /// A place for a connection, or the word for why there is none.
    fn admit(&self, via: &Via) -> Result<Place, &'static str> {
        let address = via.address();
        if let (Some(budgets), Some(address)) = (&self.budgets, address)
            && budgets.knock(address, Knock::Connection).is_err()
        {
            return Err("rate");
        }
        self.places.take(address).map_err(|full| match full {
            Full::InAll => "in_all",
            Full::Each => "each",
        })
    }
}

/// What the connections of one listener have in common.
#[derive(Clone)]
struct Shared {
    router: Router,
    unread: Option<Unread>,
    metrics: Metrics,
    lifecycle: Lifecycle,
}

/// Where it is written down that somebody sent what is no HTTP/1, or a head without end. Hyper answers that by itself
/// (400, 414, 431), and there is no request that a door could look at.
#[derive(Clone)]
pub struct Unread {
    /// The audit log.
    pub journal: Journal,
    /// The time.
    pub clock: Clock,
}

impl Unread {
    fn note(&self, error: &hyper::Error, via: &Via, metrics: &Metrics) {
        let reason = if error.is_parse_too_large() { "head_too_large" } else { "not_http" };
        metrics.request("malformed");
        metrics.admission_denied(reason);
        self.journal.refused(audit::Refusal {
            request: RequestId::at(self.clock.now()),
            who: Who::default(),
            from: via.address(),
            reason,
            detail: Some(error.to_string()),
            what: Refused::Entry,
        });
    }
}

async fn accept(listener: Listener, limits: Limits, shared: Shared) {
    let lifecycle = shared.lifecycle.clone();
    let failures = Seldom::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.stopping() => return,
        };
        let (stream, via) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it will pass, and trying at once only burns time.
                if let Some(times) = failures.due() {
                    tracing::warn!(%error, times, "a connection could not be accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // The newest is refused, and whoever is being served goes on.
        match limits.admit(&via) {
            Ok(place) => {
                lifecycle.deed(connection(stream, via, place, shared.clone()));
            }
            Err(limit) => {
                tracing::debug!(?via, limit, "a connection was refused: too many are open, or were made");
                shared.metrics.connection_refused(limit);
            }
        }
    }
}

/// One connection, from its handshake to its end.
async fn connection(stream: Accepted, via: Via, _held: Place, shared: Shared) {
    let Shared { router, unread, metrics, lifecycle } = shared;
    let over = |ended| over(ended, unread.as_ref(), &via, &metrics);
    let stream = match tokio::time::timeout(HANDSHAKE, stream.ready()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, ?via, "a connection was not set up"),
        Err(_) => return tracing::debug!(?via, "a connection took too long to be set up"),
    };
    let pace = Pace::new();
    let spoken = Arc::new(Notify::new());
    let service = service_fn({
        let (pace, via, spoken) = (pace.clone(), via.clone(), Arc::clone(&spoken));
        move |request| {
            spoken.notify_one();
            answer(router.clone(), via.clone(), pace.clone(), request)
        }
    });
    let builder = builder();
    let io = TokioIo::new(Paced::new(stream, pace.clone()));
    let mut served = pin!(builder.serve_connection(io, service));
    let mut late = pin!(pace.late());
    let mut old = pin!(async {
        tokio::select! {
            () = tokio::time::sleep(AGE) => {}
            () = lifecycle.stopping() => {
                // Who was let in a moment ago has not said anything yet, and would be hung up on.
                let _ = tokio::time::timeout(FIRST_WORD, spoken.notified()).await;
            }
        }
    });
    // In this order, so that a deadline that has just moved is not taken for one that has passed.
    tokio::select! {
        biased;
        ended = served.as_mut() => return over(ended),
        late = late.as_mut() => return tracing::debug!(?late, ?via, "a connection was closed"),
        () = old.as_mut() => served.as_mut().graceful_shutdown(),
    }
    // It takes no new request any more. What is in progress has its own time, unless we are to stop.
    let cut_off = async {
        lifecycle.stopping().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        ended = served.as_mut() => over(ended),
        late = late.as_mut() => tracing::debug!(?late, ?via, "a connection was closed"),
        () = cut_off => tracing::warn!(
            ?via, "a request was still in progress after {} s and was cut off; what it began goes on", DRAIN.as_secs()
        ),
    }
}

fn over(
    ended: Result<(), Box<dyn std::error::Error + Send + Sync>>,
    unread: Option<&Unread>,
    via: &Via,
    metrics: &Metrics,
) {
    // Errors here are the client's: it went away, or it did not speak HTTP.
    let Err(error) = ended else { return };
    tracing::debug!(%error, ?via, "a connection ended early");
    let parse = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse());
    if let (Some(unread), Some(error)) = (unread, parse) {
        unread.note(error, via, metrics);
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `pace` has the time-outs, and says why.
        .header_read_timeout(None)
        .max_buf_size(32 * 1024)
        .max_headers(guard::FIELDS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

async fn answer(
    router: Router,
    via: Via,
    pace: Pace,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let exchange = pace.begin(request.version());
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(via);
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| exchange.until_sent(body)))
}

/// What a connection can be made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
