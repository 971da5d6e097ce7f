//! `/introspect` (RFC 7662).

use http::{Method, StatusCode};
use serde::Serialize;

use super::idp::{Answer, Idp, METHOD_NOT_ALLOWED, json, local_part, refuse};
use super::state::{Access, Actor, CLOCK_SKEW, Grant};
use crate::localapi::http::Request;

/// An active token. The original is a Go map, so members are sorted by name.
///
/// What is not here is as much a fact as what is: no groups, no tailnet, no extra claims.
#[derive(Serialize)]
struct Active<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
    active: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    exp: i64,
    iat: i64,
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    nbf: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    /// The bare number; elsewhere it is `userid:` and the number.
    sub: String,
    token_type: &'static str,
    /// The full login name; in userinfo it is only the part before the `@`.
    username: String,
}

#[derive(Serialize)]
struct Inactive {
    active: bool,
}

impl Idp {
    pub(super) fn introspect(&self, request: &Request) -> Answer {
        if request.method != Method::POST {
            return Err(METHOD_NOT_ALLOWED);
        }
        let form = request.form();
        let token = form.get("token");
        if token.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "token is required");
        }
        let mut state = self.state();
        if let Some(answer) = state.answers.get(token) {
            return Ok(json(StatusCode::OK, answer));
        }
        // Whoever may not ask is told that the token is not active, never that it may not ask.
        match state.access(token) {
            Access::Valid(grant) if self.identify_client(&state, request).is_some() => {
                Ok(json(StatusCode::OK, &self.active(&grant)))
            }
            Access::Valid(_) | Access::Expired | Access::Unknown => {
                Ok(json(StatusCode::OK, &Inactive { active: false }))
            }
        }
    }

    fn active<'a>(&'a self, grant: &'a Grant) -> Active<'a> {
        let user = grant.user.node.user();
        let has = |scope: &str| grant.scopes.iter().any(|granted| granted == scope);
        Active {
            act: grant.actor.as_ref(),
            active: true,
            aud: grant.audience(),
            client_id: &grant.client_id,
            email: has("email").then(|| user.login.clone()),
            exp: grant.expires.timestamp(),
            iat: grant.issued.timestamp(),
            iss: &self.issuer,
            jti: grant.jti.as_deref(),
            nbf: (grant.issued - CLOCK_SKEW).timestamp(),
            picture: has("profile").then(|| user.picture.clone()),
            preferred_username: local_part(&user.login).filter(|_| has("profile")),
            scope: grant.scopes.join(" "),
            sub: user.id.to_string(),
            token_type: "Bearer",
            username: user.login,
        }
    }
}
