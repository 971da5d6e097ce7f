//! The first look at a request, at its head alone, before anything of its body is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Version, header};

use crate::config::ResourceUrl;

use super::listen::Via;
use super::refusal::Refusal;

/// Header fields of one request.
pub(super) const FIELDS: usize = 64;

/// Fields in which a proxy says for whom it asks, the spellings with `_` included, which some take for the same.
const OF_PROXIES: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-user",
    "x-real-ip",
    "x_forwarded_for",
    "tailscale-user-login",
    "tailscale-app-capabilities",
];

/// Those of them that a request has which no proxy of ours brought. Nobody looks at what they say.
pub(super) fn fields_to_ignore(request: &Request) -> impl Iterator<Item = &'static str> {
    let is_direct = matches!(request.extensions().get::<Via>(), Some(Via::Direct(_)));
    OF_PROXIES.into_iter().filter(move |field| is_direct && request.headers().contains_key(*field))
}

/// Names that a request for us may carry.
pub struct Origin {
    /// Host and port, as they stand in our URL; the default port may be left out.
    authorities: Vec<String>,
    /// Scheme, host and port of a page of ours.
    origin: String,
}

impl Origin {
    /// Those of `url`.
    pub fn of(url: &ResourceUrl) -> Self {
        let host = url.host();
        let mut authorities = vec![format!("{host}:{}", url.port())];
        if !url.origin().ends_with(&format!(":{}", url.port())) {
            authorities.push(host.to_owned());
        }
        Self { authorities, origin: url.origin() }
    }

    fn names_us(&self, authority: &str) -> bool {
        self.authorities.iter().any(|ours| ours.eq_ignore_ascii_case(authority))
    }
}

/// Every request: it must name us, in one voice, and no page of somebody else's may have sent it.
pub async fn all(State(ours): State<Arc<Origin>>, request: Request, next: Next) -> Response {
    match ours.refuse(&request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

impl Origin {
    fn refuse(&self, request: &Request) -> Option<Refusal> {
        let refuse = |status, reason, words| Some(Refusal::new(status, reason, words));
        let Some(via) = request.extensions().get::<Via>() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "no_connection", "the connection is not known");
        };
        // RFC 9112 section 6.1 lets others stand before `chunked`; nobody needs them, and what stands between may stop at
        // another one than hyper does.
        if !is_plain(request.headers()) {
            let words = "the one transfer coding there may be is chunked";
            return refuse(StatusCode::BAD_REQUEST, "transfer_coding", words);
        }
        // Hyper counts the fields of HTTP/1, and those of HTTP/2 only by their size.
        if request.headers().len() > FIELDS {
            let words = "there are too many header fields";
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", words);
        }
        let Some(authority) = authority(request, via) else {
            return refuse(StatusCode::BAD_REQUEST, "not_one_host", "exactly one host must be named");
        };
        // A name that is not ours: a page elsewhere whose name was made to point here (DNS rebinding).
        if !self.names_us(authority) {
            return refuse(StatusCode::MISDIRECTED_REQUEST, "other_host", "this server has another name");
        }
        // MCP, Streamable HTTP, "Security Warning": an Origin that is not valid is answered 403.
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let own = origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(&self.origin));
            if !own || origins.next().is_some() {
                return refuse(
                    StatusCode::FORBIDDEN,
                    "other_origin",
                    "pages of other origins may not call this server",
                );
            }
        }
        if request.headers().contains_key("tailscale-funnel-request") {
            let words = "this server is for the tailnet, not for the Internet";
            return refuse(StatusCode::FORBIDDEN, "funnel", words);
        }
        None
    }
}

/// The one authority a request names, or nothing where it names none or contradicts itself.
fn authority<'r>(request: &'r Request, via: &Via) -> Option<&'r str> {
    let named = match request.version() {
        // RFC 9113 section 8.3.1: `:authority` takes the place of Host, and a Host beside it must agree.
        Version::HTTP_2 => {
            let authority = request.uri().authority()?.as_str();
            match one(request.headers(), &header::HOST) {
                Ok(None) => authority,
                Ok(Some(host)) if host.eq_ignore_ascii_case(authority) => authority,
                _ => return None,
            }
        }
        // RFC 9112 section 3.2: the target is a path; one that names a host itself is for a proxy.
        _ if request.uri().authority().is_some() => return None,
        _ => one(request.headers(), &header::HOST).ok()??,
    };
    match via {
        Via::Direct(_) => Some(named),
        // `tailscale serve` sets Host to `localhost` on a unix socket; the name is in X-Forwarded-Host.
        Via::Serve => one(request.headers(), &header::HeaderName::from_static("x-forwarded-host")).ok()?,
    }
}

/// The one value of a header: `Ok(None)` where it is absent.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The MCP endpoint: POST of JSON only. There are no sessions, so there is nothing to GET or to DELETE.
pub async fn mcp(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "http_method", "use POST")
            .with(header::ALLOW, header::HeaderValue::from_static("POST"))
            .into_response();
    }
    if !is_json(request.headers()) {
        let words = "the content type must be application/json in UTF-8";
        return Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", words).into_response();
    }
    if !is_unpacked(request.headers()) {
        let words = "the body must be sent as it is, without a content encoding";
        return Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", words).into_response();
    }
    next.run(request).await
}

/// Whether the body is sent as it is, or in chunks of it.
fn is_plain(headers: &HeaderMap) -> bool {
    match one(headers, &header::TRANSFER_ENCODING) {
        Ok(coding) => coding.is_none_or(|coding| coding.eq_ignore_ascii_case("chunked")),
        Err(()) => false,
    }
}

/// Whether the body is what it says, and nothing has to be unpacked.
fn is_unpacked(headers: &HeaderMap) -> bool {
    match one(headers, &header::CONTENT_ENCODING) {
        Ok(coding) => coding.is_none_or(|coding| coding.eq_ignore_ascii_case("identity")),
        Err(()) => false,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(content_type)) = one(headers, &header::CONTENT_TYPE) else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| parameter.to_ascii_lowercase().replace('"', "") == "charset=utf-8")
}
