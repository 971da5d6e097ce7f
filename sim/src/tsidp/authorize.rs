//! `/authorize`: no password and no question, the user is whoever owns the node that connects.

use http::{Method, StatusCode, header::LOCATION};

use super::idp::{Answer, Caller, Idp, METHOD_NOT_ALLOWED, over_funnel, random_hex, refuse};
use super::metadata::SCOPES;
use super::state::{ChallengeMethod, Grant};
use crate::localapi::http::{Request, Response, empty, response, set};

impl Idp {
    pub(super) fn authorize(&self, request: &Request) -> Answer {
        if over_funnel(request) {
            return refuse(StatusCode::UNAUTHORIZED, "access_denied", "not allowed over funnel");
        }
        if !matches!(request.method, Method::GET | Method::POST) {
            return Err(METHOD_NOT_ALLOWED);
        }
        // Parameters come from the query also when the form is posted.
        let query = &request.query;
        let (redirect_uri, client_id) = (query.get("redirect_uri"), query.get("client_id"));
        if redirect_uri.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "must specify redirect_uri");
        }
        if client_id.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "must specify client_id");
        }
        let mut state = self.state();
        let Some(client) = state.client(client_id).cloned() else {
            return refuse(StatusCode::BAD_REQUEST, "invalid_client", "invalid client ID");
        };
        // Exact, also in the port: RFC 8252's leniency for loopback is not there.
        if !client.redirect_uris.iter().any(|uri| uri == redirect_uri) {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "redirect_uri mismatch");
        }
        let Caller::Node(user) = self.caller(request) else {
            let text = "failed to authenticate user with WhoIs";
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text);
        };
        let back = |parameters: &[(&str, &str)]| {
            let state = query.get("state");
            let state = (!state.is_empty()).then_some(("state", state));
            redirect(request, &with_query(redirect_uri, parameters.iter().copied().chain(state)))
        };
        if !user.node.tags().is_empty() {
            let text = "tagged node doesn't have a user identity";
            return Ok(back(&[("error", "access_denied"), ("error_description", text)]));
        }
        // Empty means openid; one that is not supported fails the whole login.
        let mut scopes: Vec<String> = query.get("scope").split_whitespace().map(str::to_owned).collect();
        if let Some(scope) = scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
            let text = format!("invalid scope: unsupported scope: {scope:?}");
            return Ok(back(&[("error", "invalid_scope"), ("error_description", &text)]));
        }
        if scopes.is_empty() {
            scopes.push("openid".to_owned());
        }
        // PKCE is optional, and plain when no method is named.
        let challenge = match (query.get("code_challenge"), query.get("code_challenge_method")) {
            ("", _) => None,
            (challenge, "" | "plain") => Some((ChallengeMethod::Plain, challenge.to_owned())),
            (challenge, "S256") => Some((ChallengeMethod::S256, challenge.to_owned())),
            _ => {
                let text = "unsupported code_challenge_method";
                return Ok(back(&[("error", "invalid_request"), ("error_description", text)]));
            }
        };
        let (code, now) = (random_hex(16), state.now());
        let grant = Grant {
            client_id: client.id.clone(),
            client: Some(client),
            nonce: query.get("nonce").to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge,
            scopes,
            // `resource` is not read here, only at /token.
            resources: Vec::new(),
            user: *user,
            issued: now,
            expires: now,
            jti: None,
            exchanged: false,
            actor: None,
        };
        state.codes.insert(code.clone(), grant);
        Ok(back(&[("code", &code)]))
    }
}

/// The URI with these parameters added to its query, sorted by name as Go's `Values.Encode` does.
fn with_query<'a>(uri: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (base, fragment) = uri.split_once('#').map_or((uri, None), |(base, fragment)| (base, Some(fragment)));
    let (base, query) = base.split_once('?').unwrap_or((base, ""));
    let mut pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    for (name, value) in parameters {
        pairs.retain(|(key, _)| key != name);
        pairs.push((name.to_owned(), value.to_owned()));
    }
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let query: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{base}?{}{fragment}", query.join("&"))
}

/// Go's `url.QueryEscape`. Unlike `form_urlencoded` it leaves `~` alone and escapes `*`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Go's `http.Redirect`: a link for those who do not follow, but only to GET.
fn redirect(request: &Request, location: &str) -> Response {
    let mut answer = match request.method {
        Method::GET => {
            let link = format!("<a href=\"{}\">Found</a>.\n\n", escape_html(location));
            response(StatusCode::FOUND, "text/html; charset=utf-8", link)
        }
        _ => empty(StatusCode::FOUND),
    };
    set(&mut answer, LOCATION, location);
    answer
}

fn escape_html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}
