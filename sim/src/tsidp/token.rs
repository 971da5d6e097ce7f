//! `/token`: codes, refresh tokens, and token exchange.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::claims;
use super::idp::{
    Answer, Idp, METHOD_NOT_ALLOWED, Refusal, json as json_answer, local_part, random_hex, refuse, subject,
};
use super::key;
use super::metadata::TOKEN_EXCHANGE;
use super::state::{
    Access, Actor, CLOCK_SKEW, ChallengeMethod, Grant, REFRESH_LIFETIME, State, TOKEN_LIFETIME,
};
use crate::localapi::http::{Form, Request};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A 400.
fn bad<T>(code: &'static str, description: &'static str) -> Result<T, Refusal> {
    refuse(StatusCode::BAD_REQUEST, code, description)
}

impl Idp {
    pub(super) fn token(&self, request: &Request) -> Answer {
        if request.method != Method::POST {
            return Err(METHOD_NOT_ALLOWED);
        }
        let form = request.form();
        match form.get("grant_type") {
            "authorization_code" => self.redeem_code(request, &form),
            "refresh_token" => self.refresh(request, &form),
            TOKEN_EXCHANGE if self.sts => self.exchange(request, &form),
            TOKEN_EXCHANGE => bad("unsupported_grant_type", "token exchange not enabled"),
            _ => bad("unsupported_grant_type", "unsupported grant type"),
        }
    }

    fn redeem_code(&self, request: &Request, form: &Form) -> Answer {
        let code = form.get("code");
        if code.is_empty() {
            return bad("invalid_request", "code is required");
        }
        let mut state = self.state();
        // Gone before anything is checked: a failed attempt burns the code.
        let Some(mut grant) = state.codes.remove(code) else {
            return bad("invalid_grant", "code not found");
        };
        authenticate(&grant, request, form)?;
        if grant.redirect_uri != form.get("redirect_uri") {
            return bad("invalid_request", "redirect_uri mismatch");
        }
        if let Some((method, challenge)) = &grant.challenge {
            let verifier = form.get("code_verifier");
            if verifier.is_empty() {
                return bad("invalid_request", "code_verifier is required");
            }
            if !verifies(*method, challenge, verifier) {
                return bad("invalid_grant", "code verification failed");
            }
        }
        if let Some(resources) = allowed_resources(&grant, form, "invalid resource")? {
            grant.resources = resources;
        }
        self.issue(&mut state, grant)
    }

    fn refresh(&self, request: &Request, form: &Form) -> Answer {
        let token = form.get("refresh_token");
        if token.is_empty() {
            return bad("invalid_request", "refresh_token is required");
        }
        let mut state = self.state();
        let now = state.now();
        let Some(mut grant) = state.refresh.remove(token).filter(|grant| grant.expires >= now) else {
            return bad("invalid_grant", "invalid refresh token");
        };
        authenticate(&grant, request, form)?;
        if let Some(resources) = allowed_resources(&grant, form, "resource validation failed")? {
            let widened = resources.iter().any(|resource| !grant.resources.contains(resource));
            if widened && !grant.resources.is_empty() {
                return bad("invalid_request", "requested resource not in original grant");
            }
            grant.resources = resources;
        }
        self.issue(&mut state, grant)
    }

    /// RFC 8693. Whoever can call may exchange: the exchanger need not be in the token's audience, and what
    /// it may ask for are the *user's* resources.
    fn exchange(&self, request: &Request, form: &Form) -> Answer {
        let unauthorized = |code, description| refuse(StatusCode::UNAUTHORIZED, code, description);
        if form.get("subject_token").is_empty() {
            return bad("invalid_request", "subject_token is required");
        }
        if form.get("subject_token_type") != ACCESS_TOKEN {
            return bad("invalid_request", "unsupported subject_token_type");
        }
        if !matches!(form.get("requested_token_type"), "" | ACCESS_TOKEN) {
            return bad("invalid_request", "unsupported requested_token_type");
        }
        let audiences = form.all("audience");
        if audiences.is_empty() {
            return bad("invalid_request", "audience is required");
        }
        let mut state = self.state();
        let Some(exchanger) = self.identify_client(&state, request) else {
            return unauthorized("invalid_client", "invalid client credentials");
        };
        let mut grant = match state.access(form.get("subject_token")) {
            Access::Unknown => return unauthorized("invalid_grant", "invalid subject token"),
            Access::Expired => return unauthorized("invalid_grant", "subject token expired"),
            Access::Valid(grant) => *grant,
        };
        let Ok(rules) = claims::rules(&grant.user) else {
            return refuse(StatusCode::FORBIDDEN, "access_denied", "failed to unmarshal STS capability");
        };
        grant.resources = claims::allowed(&rules, &grant.user, &audiences);
        if grant.resources.is_empty() {
            return refuse(StatusCode::FORBIDDEN, "access_denied", "access denied for requested audience");
        }
        grant.actor = actor(&mut state, form)?;
        let now = state.now();
        grant.client_id = exchanger;
        grant.exchanged = true;
        grant.jti = None;
        grant.issued = now;
        grant.expires = now + TOKEN_LIFETIME;

        #[derive(Serialize)]
        struct Exchanged {
            access_token: String,
            expires_in: i64,
            issued_token_type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<String>,
            token_type: &'static str,
        }
        // A requested scope changes nothing; it is only contradicted.
        let (scope, requested) = (grant.scopes.join(" "), form.get("scope"));
        let answer = Exchanged {
            access_token: random_hex(16),
            expires_in: TOKEN_LIFETIME.num_seconds(),
            issued_token_type: ACCESS_TOKEN,
            scope: (!requested.is_empty() && requested != scope).then_some(scope),
            token_type: "Bearer",
        };
        state.access.insert(answer.access_token.clone(), grant);
        Ok(json_answer(StatusCode::OK, &answer))
    }

    fn issue(&self, state: &mut State, mut grant: Grant) -> Answer {
        let now = state.now();
        let jti = random_hex(16);
        grant.issued = now;
        grant.expires = now + TOKEN_LIFETIME;
        grant.jti = Some(jti);

        #[derive(Serialize)]
        struct Issued {
            id_token: String,
            token_type: &'static str,
            access_token: String,
            refresh_token: String,
            expires_in: i64,
        }
        let issued = Issued {
            id_token: key::sign(&self.id_token(&grant)?),
            token_type: "Bearer",
            access_token: random_hex(16),
            refresh_token: random_hex(16),
            expires_in: TOKEN_LIFETIME.num_seconds(),
        };
        let refresh = Grant { expires: now + REFRESH_LIFETIME, ..grant.clone() };
        state.access.insert(issued.access_token.clone(), grant);
        state.refresh.insert(issued.refresh_token.clone(), refresh);
        Ok(json_answer(StatusCode::OK, &issued))
    }

    fn id_token(&self, grant: &Grant) -> Result<BTreeMap<String, Value>, Refusal> {
        let node = &grant.user.node;
        let user = node.user();
        let audience = grant.audience();
        let tailnet = grant.user.name.split_once('.').map_or("", |(_, tailnet)| tailnet);
        let prefixes: Vec<String> = node.addresses.iter().map(crate::localapi::prefix).collect();
        let has = |scope: &str| grant.scopes.iter().any(|granted| granted == scope);
        let claims = [
            ("addresses", Some(json!(prefixes))),
            ("azp", (audience.len() > 1).then(|| json!(grant.client_id))),
            ("aud", Some(json!(audience))),
            ("email", has("email").then(|| json!(self.email(&user.login)))),
            ("exp", Some(json!(grant.expires.timestamp()))),
            ("iat", Some(json!(grant.issued.timestamp()))),
            ("iss", Some(json!(self.issuer))),
            ("jti", grant.jti.as_ref().map(|jti| json!(jti))),
            ("key", Some(json!(node.key()))),
            ("nbf", Some(json!((grant.issued - CLOCK_SKEW).timestamp()))),
            ("nid", Some(json!(node.id))),
            ("node", Some(json!(grant.user.name))),
            ("nonce", (!grant.nonce.is_empty()).then(|| json!(grant.nonce))),
            ("picture", (has("profile") && !user.picture.is_empty()).then(|| json!(user.picture))),
            (
                "preferred_username",
                local_part(&user.login).filter(|_| has("profile")).map(|name| json!(name)),
            ),
            ("sub", Some(json!(subject(&grant.user)))),
            ("tailnet", Some(json!(tailnet))),
            ("uid", Some(json!(user.id))),
        ];
        let mut claims: BTreeMap<String, Value> =
            claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let Ok(rules) = claims::rules(&grant.user) else {
            return bad("invalid_request", "failed to unmarshal capability");
        };
        match claims::add_extra(&mut claims, &rules) {
            Ok(()) => Ok(claims),
            Err(claims::ProtectedClaim) => bad("invalid_request", "failed to merge extra claims"),
        }
    }
}

/// Every client has a secret and must show it, also one registered as public.
fn authenticate(grant: &Grant, request: &Request, form: &Form) -> Result<(), Refusal> {
    let failed = |status| refuse(status, "invalid_client", "client authentication failed");
    let posted = || (form.get("client_id").to_owned(), form.get("client_secret").to_owned());
    let (id, secret) = request.basic_auth().unwrap_or_else(posted);
    match &grant.client {
        Some(_) if id.is_empty() || secret.is_empty() => failed(StatusCode::UNAUTHORIZED),
        Some(client) if client.id != id => failed(StatusCode::BAD_REQUEST),
        Some(client) if client.secret == secret => Ok(()),
        Some(_) | None => failed(StatusCode::UNAUTHORIZED),
    }
}

/// The requested resources the user may have, or nothing if none were requested. None left is an error.
fn allowed_resources(
    grant: &Grant,
    form: &Form,
    none_left: &'static str,
) -> Result<Option<Vec<String>>, Refusal> {
    let requested = form.all("resource");
    if requested.is_empty() {
        return Ok(None);
    }
    let rules = claims::rules(&grant.user).unwrap_or_default();
    match claims::allowed(&rules, &grant.user, &requested) {
        allowed if allowed.is_empty() => bad("invalid_request", none_left),
        allowed => Ok(Some(allowed)),
    }
}

fn actor(state: &mut State, form: &Form) -> Result<Option<Actor>, Refusal> {
    let token = form.get("actor_token");
    if token.is_empty() {
        return Ok(None);
    }
    if !matches!(form.get("actor_token_type"), "" | ACCESS_TOKEN) {
        return bad("invalid_request", "unsupported actor_token_type");
    }
    let Access::Valid(actor) = state.access(token) else {
        return bad("invalid_request", "invalid or expired actor_token");
    };
    let sub = subject(&actor.user);
    Ok(Some(Actor { sub, client_id: actor.client_id, act: actor.actor.map(Box::new) }))
}

/// RFC 7636: the verifier is 43 to 128 unreserved characters.
fn verifies(method: ChallengeMethod, challenge: &str, verifier: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if !(43..=128).contains(&verifier.len()) || !verifier.chars().all(unreserved) {
        return false;
    }
    match method {
        ChallengeMethod::Plain => verifier == challenge,
        ChallengeMethod::S256 => URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge,
    }
}
