//! The handler: which path is whose, who is asking, and how an error looks.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, HOST, ORIGIN, PRAGMA,
};
use http::{Method, StatusCode};
use serde::Serialize;

use super::claims::{self, Rule};
use super::key;
use super::state::State;
use crate::fault::Faults;
use crate::localapi::http::{self as wire, Handler, Request, Response, empty, go_json, set};
use crate::localapi::{Destination, Peer, Tailnet};

pub(super) struct Idp {
    pub(super) issuer: String,
    pub(super) tailnet: Tailnet,
    pub(super) sts: bool,
    pub(super) loopback: Vec<IpAddr>,
    pub(super) faults: Faults,
    pub(super) introspections: AtomicUsize,
    state: Mutex<State>,
}

/// Who sent a request, by its source address alone.
pub(super) enum Caller {
    Loopback(IpAddr),
    Node(Box<Peer>),
    Nobody,
}

/// An error answer. `Accept` decides the body, and the status is sent before the content type is set, so
/// that one is always Go's guess.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) description: &'static str,
}

/// Shorthand for the `Err` of a handler.
pub(super) fn refuse<T>(
    status: StatusCode,
    code: &'static str,
    description: &'static str,
) -> Result<T, Refusal> {
    Err(Refusal { status, code, description })
}

pub(super) const METHOD_NOT_ALLOWED: Refusal = Refusal {
    status: StatusCode::METHOD_NOT_ALLOWED,
    code: "invalid_request",
    description: "method not allowed",
};

pub(super) const OVER_FUNNEL: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    code: "access_denied",
    description: "not available over funnel",
};

pub(super) const NOT_GRANTED: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: "access_denied",
    description: "application capability not granted",
};

impl Refusal {
    pub(super) fn response(&self, request: &Request) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            error_description: &'static str,
        }
        let Refusal { status, code, description } = *self;
        let body = if request.header(ACCEPT).contains("application/json") {
            go_json(&Body { error: code, error_description: description }, None) + "\n"
        } else {
            format!("Error {}: {code} - {description}", status.as_u16())
        };
        let mut response = wire::response(status, "text/plain; charset=utf-8", body);
        set(&mut response, CACHE_CONTROL, "no-store");
        set(&mut response, PRAGMA, "no-cache");
        response
    }
}

pub(super) type Answer = Result<Response, Refusal>;

impl Handler for Idp {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn arrived(&self, request: &Request) {
        if request.path == "/introspect" {
            self.introspections.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn handle(&self, request: &Request) -> Response {
        let mut response = self.respond(request);
        let date = self.state().now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = date.parse() {
            response.headers_mut().insert(http::header::DATE, date);
        }
        response
    }
}

impl Idp {
    fn respond(&self, request: &Request) -> Response {
        if let Some(text) = self.cross_origin(request) {
            return wire::error(StatusCode::FORBIDDEN, text);
        }
        let answer = match request.path.as_str() {
            "/.well-known/openid-configuration" => {
                cors(request, "GET, OPTIONS", |r| self.openid_configuration(r))
            }
            "/.well-known/oauth-authorization-server" => {
                cors(request, "GET, OPTIONS", |r| self.oauth_metadata(r))
            }
            "/.well-known/jwks.json" => cors(request, "GET, OPTIONS", |_| key::jwks()),
            "/authorize" => self.authorize(request),
            "/token" => cors(request, "POST, OPTIONS", |r| self.token(r)),
            "/introspect" => self.introspect(request),
            "/userinfo" => self.userinfo(request),
            "/register" => self.register(request),
            path if path.starts_with("/clients/") => self.clients(request),
            _ => self.admin_pages(request),
        };
        answer.unwrap_or_else(|refusal| refusal.response(request))
    }
}

/// Add the headers for browsers to whatever `handle` answers, and answer their preflight.
pub(super) fn cors(request: &Request, methods: &str, handle: impl FnOnce(&Request) -> Answer) -> Answer {
    let mut response = match request.method {
        Method::OPTIONS => empty(StatusCode::NO_CONTENT),
        _ => handle(request).unwrap_or_else(|refusal| refusal.response(request)),
    };
    set(&mut response, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, methods);
    set(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, "*");
    Ok(response)
}

impl Idp {
    pub(super) fn new(issuer: String, tailnet: Tailnet, sts: bool, loopback: Vec<IpAddr>) -> Idp {
        Idp {
            issuer,
            tailnet,
            sts,
            loopback,
            faults: Faults::default(),
            introspections: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn caller(&self, request: &Request) -> Caller {
        match request.peer {
            None => Caller::Nobody,
            Some(addr) if self.loopback.contains(&addr) => Caller::Loopback(addr),
            Some(addr) => match self.tailnet.whois(addr, &Destination::Tsidp) {
                Some(peer) => Caller::Node(Box::new(peer)),
                None => Caller::Nobody,
            },
        }
    }

    /// The name of the client that sends a request. First match wins, and wrong credentials are no
    /// obstacle: any node of the tailnet is a client by being one.
    pub(super) fn identify_client(&self, state: &State, request: &Request) -> Option<String> {
        let form = request.form();
        let posted = (form.get("client_id").to_owned(), form.get("client_secret").to_owned());
        for (id, secret) in request.basic_auth().into_iter().chain([posted]) {
            if state.client(&id).is_some_and(|client| client.secret == secret) {
                return Some(id);
            }
        }
        match self.caller(request) {
            Caller::Loopback(addr) => Some(format!("local:{addr}")),
            Caller::Node(peer) => Some(format!("node:{}", peer.node.id)),
            Caller::Nobody => None,
        }
    }

    /// The caller's rules, for the endpoints behind an application capability.
    pub(super) fn access_rules(&self, request: &Request) -> Result<Vec<Rule>, Refusal> {
        match self.caller(request) {
            Caller::Loopback(_) => {
                Ok(vec![Rule { allow_admin_ui: true, allow_dcr: true, ..Rule::default() }])
            }
            Caller::Node(peer) => claims::rules(&peer).or_else(|_| {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "failed unmarshaling app cap rule")
            }),
            Caller::Nobody => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Error getting WhoIs")
            }
        }
    }

    pub(super) fn admin_pages(&self, request: &Request) -> Answer {
        let rules = self.access_rules(request)?;
        if over_funnel(request) {
            return Err(OVER_FUNNEL);
        }
        if !rules.iter().any(|rule| rule.allow_admin_ui) {
            return Err(NOT_GRANTED);
        }
        refuse(StatusCode::NOT_FOUND, "not_found", "not found")
    }

    /// The guard against cross-site requests that stands before every handler (`filippo.io/csrf`).
    pub(super) fn cross_origin(&self, request: &Request) -> Option<&'static str> {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let origin = request.header(ORIGIN);
        let trusted = origin == self.issuer;
        match request.header("sec-fetch-site") {
            "same-origin" | "none" => return None,
            "" => {}
            _ => return (!trusted).then_some("cross-origin request detected from Sec-Fetch-Site header"),
        }
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        if origin.is_empty() || host == request.header(HOST) || trusted {
            return None;
        }
        Some(
            "cross-origin request detected, and/or browser is out of date: \
             Sec-Fetch-Site is missing, and Origin does not match Host",
        )
    }

    /// Login names that only look like mail addresses, made into ones under the issuer's host.
    pub(super) fn email(&self, login: &str) -> String {
        if !login.ends_with("@github") && !login.ends_with("@passkey") {
            return login.to_owned();
        }
        let host = self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, host)| host);
        format!("{login}.{}", host.split(':').next().unwrap_or(host))
    }
}

pub(super) fn over_funnel(request: &Request) -> bool {
    !request.header("tailscale-funnel-request").is_empty()
}

/// `userid:456`, as Go prints a user id; introspection alone prints the bare number.
pub(super) fn subject(peer: &Peer) -> String {
    format!("userid:{}", peer.node.user().id)
}

/// The part of a login name before the `@`, if there is one.
pub(super) fn local_part(login: &str) -> Option<String> {
    login.split_once('@').map(|(local, _)| local.to_owned())
}

/// Compact JSON with a line feed, as Go's encoder writes it.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    wire::response(status, "application/json", go_json(body, None) + "\n")
}

pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the system has randomness");
    hex::encode(random)
}
