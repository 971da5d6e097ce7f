//! `/userinfo`: what was true of the user at login.

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::Value;

use super::claims;
use super::idp::{Answer, Idp, METHOD_NOT_ALLOWED, json, local_part, refuse, subject};
use super::state::Access;
use crate::localapi::http::{Request, Response, empty, set};

impl Idp {
    pub(super) fn userinfo(&self, request: &Request) -> Answer {
        if request.method != Method::GET {
            return Err(METHOD_NOT_ALLOWED);
        }
        // The scheme is compared as it stands, capital letter and single space.
        let Some(token) = request.header(AUTHORIZATION).strip_prefix("Bearer ") else {
            return Ok(challenge(StatusCode::BAD_REQUEST, "invalid_request", "invalid Authorization header"));
        };
        let unauthorized = |text| Ok(challenge(StatusCode::UNAUTHORIZED, "invalid_token", text));
        let grant = match self.state().access(token) {
            Access::Unknown => return unauthorized("invalid token"),
            Access::Expired => return unauthorized("token expired"),
            Access::Valid(grant) => grant,
        };
        let user = grant.user.node.user();
        let members = [
            ("email", self.email(&user.login)),
            ("name", user.display),
            ("picture", user.picture),
            ("sub", subject(&grant.user)),
            ("username", local_part(&user.login).unwrap_or_default()),
        ];
        let mut members: BTreeMap<String, Value> = members
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let Ok(rules) = claims::rules(&grant.user) else {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "failed to unmarshal capability");
        };
        let shown = rules.iter().filter(|rule| rule.include_in_user_info);
        match claims::add_extra(&mut members, shown) {
            Ok(()) => Ok(json(StatusCode::OK, &members)),
            Err(claims::ProtectedClaim) => {
                refuse(StatusCode::BAD_REQUEST, "invalid_request", "failed to process user claims")
            }
        }
    }
}

/// An answer of RFC 6750, section 3.1; it has no body.
fn challenge(status: StatusCode, error: &str, description: &str) -> Response {
    let mut response = empty(status);
    let value = format!("Bearer error=\"{error}\", error_description=\"{description}\"");
    set(&mut response, WWW_AUTHENTICATE, &value);
    response
}
