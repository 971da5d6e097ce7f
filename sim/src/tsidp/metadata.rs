//! The two discovery documents.

use http::StatusCode;
use serde::Serialize;

use super::idp::{Answer, Idp, over_funnel};
use crate::localapi::http::{Request, go_json, response};

pub(super) const SCOPES: [&str; 3] = ["openid", "email", "profile"];

/// Claims that a rule's `extraClaims` may not name.
pub(super) const CLAIMS: [&str; 17] = [
    "sub",
    "aud",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "username",
    "email",
    "key",
    "addresses",
    "nid",
    "node",
    "tailnet",
    "tags",
    "user",
    "uid",
];

const RESPONSE_TYPES: [&str; 2] = ["id_token", "code"];
const AUTH_METHODS: [&str; 2] = ["client_secret_post", "client_secret_basic"];
const CHALLENGE_METHODS: [&str; 2] = ["plain", "S256"];
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

#[derive(Serialize)]
struct OpenIdConfiguration<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    introspection_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    jwks_uri: String,
    scopes_supported: [&'static str; 3],
    response_types_supported: [&'static str; 2],
    subject_types_supported: [&'static str; 1],
    claims_supported: [&'static str; 17],
    id_token_signing_alg_values_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 2],
    code_challenge_methods_supported: [&'static str; 2],
}

#[derive(Serialize)]
struct AuthorizationServer<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    introspection_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    jwks_uri: String,
    response_types_supported: [&'static str; 2],
    grant_types_supported: Vec<&'static str>,
    scopes_supported: [&'static str; 3],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    authorization_details_types_supported: [&'static str; 1],
    resource_indicators_supported: bool,
    code_challenge_methods_supported: [&'static str; 2],
}

impl Idp {
    pub(super) fn openid_configuration(&self, request: &Request) -> Answer {
        Ok(pretty(&OpenIdConfiguration {
            issuer: &self.issuer,
            authorization_endpoint: self.url("/authorize"),
            token_endpoint: self.url("/token"),
            userinfo_endpoint: self.url("/userinfo"),
            introspection_endpoint: self.url("/introspect"),
            registration_endpoint: self.registration_endpoint(request),
            jwks_uri: self.url("/.well-known/jwks.json"),
            scopes_supported: SCOPES,
            response_types_supported: RESPONSE_TYPES,
            subject_types_supported: ["public"],
            claims_supported: CLAIMS,
            id_token_signing_alg_values_supported: ["RS256"],
            grant_types_supported: self.grant_types(),
            token_endpoint_auth_methods_supported: AUTH_METHODS,
            code_challenge_methods_supported: CHALLENGE_METHODS,
        }))
    }

    pub(super) fn oauth_metadata(&self, request: &Request) -> Answer {
        Ok(pretty(&AuthorizationServer {
            issuer: &self.issuer,
            authorization_endpoint: self.url("/authorize"),
            token_endpoint: self.url("/token"),
            introspection_endpoint: self.url("/introspect"),
            registration_endpoint: self.registration_endpoint(request),
            jwks_uri: self.url("/.well-known/jwks.json"),
            response_types_supported: RESPONSE_TYPES,
            grant_types_supported: self.grant_types(),
            scopes_supported: SCOPES,
            token_endpoint_auth_methods_supported: AUTH_METHODS,
            authorization_details_types_supported: ["resource_indicators"],
            resource_indicators_supported: true,
            code_challenge_methods_supported: CHALLENGE_METHODS,
        }))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// Clients cannot register from the Internet.
    fn registration_endpoint(&self, request: &Request) -> Option<String> {
        (!over_funnel(request)).then(|| self.url("/register"))
    }

    fn grant_types(&self) -> Vec<&'static str> {
        let mut types = vec!["authorization_code", "refresh_token"];
        types.extend(self.sts.then_some(TOKEN_EXCHANGE));
        types
    }
}

/// Discovery documents and keys are indented by two spaces.
pub(super) fn pretty(body: &impl Serialize) -> crate::localapi::http::Response {
    response(StatusCode::OK, "application/json", go_json(body, Some(b"  ")) + "\n")
}
