//! Clients: dynamic registration (RFC 7591) and the admin's `/clients/`.

use chrono::{DateTime, SecondsFormat, Utc};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::idp::{
    Answer, Idp, METHOD_NOT_ALLOWED, NOT_GRANTED, OVER_FUNNEL, cors, json, over_funnel, random_hex, refuse,
};
use crate::localapi::http::{Request, Response, empty, go_json, response};

/// A client as it is stored and, in this order, shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Client {
    #[serde(rename = "client_id")]
    pub(super) id: String,
    #[serde(rename = "client_secret", skip_serializing_if = "String::is_empty")]
    pub(super) secret: String,
    #[serde(rename = "client_name", skip_serializing_if = "String::is_empty")]
    name: String,
    pub(super) redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    token_endpoint_auth_method: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grant_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_types: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    logo_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contacts: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    application_type: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dynamically_registered: bool,
    created_at: String,
    /// The first of `redirect_uris` where the whole client is shown, otherwise empty.
    redirect_uri: String,
}

/// What a client may say about itself. Nothing of it is checked but that there is a redirect URI.
#[derive(Deserialize)]
struct Registration {
    redirect_uris: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    scope: Option<String>,
    contacts: Option<Vec<String>>,
    application_type: Option<String>,
}

impl Idp {
    pub(super) fn register(&self, request: &Request) -> Answer {
        // The order counts: someone unknown is told so before anything else, without the CORS headers.
        let rules = self.access_rules(request)?;
        if over_funnel(request) {
            return Err(OVER_FUNNEL);
        }
        cors(request, "POST, OPTIONS", |request| {
            if request.method != Method::POST {
                return Err(METHOD_NOT_ALLOWED);
            }
            if !rules.iter().any(|rule| rule.allow_dcr) {
                return Err(NOT_GRANTED);
            }
            let Ok(registration) = serde_json::from_slice::<Registration>(&request.body) else {
                return refuse(StatusCode::BAD_REQUEST, "invalid_request", "invalid request body");
            };
            let redirect_uris = registration.redirect_uris.unwrap_or_default();
            let Some(redirect_uri) = redirect_uris.first().cloned() else {
                let text = "redirect_uris is required";
                return refuse(StatusCode::BAD_REQUEST, "invalid_client_metadata", text);
            };
            let text = |given: Option<String>, default: &str| {
                given.filter(|given| !given.is_empty()).unwrap_or_else(|| default.to_owned())
            };
            let list = |given: Option<Vec<String>>, default: &str| {
                given.filter(|given| !given.is_empty()).unwrap_or_else(|| vec![default.to_owned()])
            };
            let mut state = self.state();
            let client = Client {
                id: random_hex(16),
                secret: random_hex(32),
                name: registration.client_name.unwrap_or_default(),
                redirect_uris,
                token_endpoint_auth_method: text(
                    registration.token_endpoint_auth_method,
                    "client_secret_basic",
                ),
                grant_types: list(registration.grant_types, "authorization_code"),
                response_types: list(registration.response_types, "code"),
                scope: registration.scope.unwrap_or_default(),
                client_uri: registration.client_uri.unwrap_or_default(),
                logo_uri: registration.logo_uri.unwrap_or_default(),
                contacts: registration.contacts.unwrap_or_default(),
                application_type: text(registration.application_type, "web"),
                dynamically_registered: true,
                created_at: rfc3339(state.now()),
                redirect_uri,
            };
            state.clients.push(client.clone());
            Ok(json(StatusCode::CREATED, &client))
        })
    }

    pub(super) fn clients(&self, request: &Request) -> Answer {
        let rules = self.access_rules(request)?;
        if over_funnel(request) {
            return Err(OVER_FUNNEL);
        }
        if !rules.iter().any(|rule| rule.allow_admin_ui) {
            return Err(NOT_GRANTED);
        }
        match (request.path.trim_start_matches("/clients/"), &request.method) {
            ("", &Method::GET) => {
                let state = self.state();
                let listed =
                    |client: &Client| Client { created_at: client.created_at.clone(), ..client.outline() };
                Ok(unlabelled(&state.clients.iter().map(listed).collect::<Vec<_>>()))
            }
            ("new", &Method::POST) => self.add_client(request),
            ("" | "new", _) => Err(METHOD_NOT_ALLOWED),
            (id, method) => self.one_client(id, method),
        }
    }

    fn add_client(&self, request: &Request) -> Answer {
        let form = request.form();
        let uris = form.get("redirect_uri").lines().map(str::trim).filter(|uri| !uri.is_empty());
        let redirect_uris: Vec<String> = uris.map(str::to_owned).collect();
        let name = form.get("name");
        if form.get("redirect_uri").is_empty() || name.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "missing redirect_uri or name");
        }
        let mut state = self.state();
        let client = Client {
            id: random_hex(16),
            secret: random_hex(32),
            name: name.to_owned(),
            redirect_uri: redirect_uris.first().cloned().unwrap_or_default(),
            redirect_uris,
            created_at: rfc3339(state.now()),
            ..Client::default()
        };
        state.clients.push(client.clone());
        Ok(unlabelled(&client))
    }

    fn one_client(&self, id: &str, method: &Method) -> Answer {
        let mut state = self.state();
        let Some(client) = state.client(id) else {
            return refuse(StatusCode::NOT_FOUND, "not_found", "client not found");
        };
        match *method {
            Method::GET => Ok(unlabelled(&client.outline())),
            Method::DELETE => {
                state.clients.retain(|client| client.id != id);
                state.codes.retain(|_, grant| grant.client_id != id);
                state.access.retain(|_, grant| grant.client_id != id);
                state.refresh.retain(|_, grant| grant.client_id != id);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(METHOD_NOT_ALLOWED),
        }
    }
}

impl Client {
    /// The client as it is shown to an admin: without its secret, and with Go's zero time.
    fn outline(&self) -> Client {
        Client {
            id: self.id.clone(),
            name: self.name.clone(),
            redirect_uris: self.redirect_uris.clone(),
            created_at: "0001-01-01T00:00:00Z".to_owned(),
            ..Client::default()
        }
    }
}

/// JSON under the type Go guesses when a handler names none.
fn unlabelled(body: &impl Serialize) -> Response {
    response(StatusCode::OK, "text/plain; charset=utf-8", go_json(body, None) + "\n")
}

/// Go's `RFC3339Nano`, which drops zeros at the end of the fraction.
fn rfc3339(time: DateTime<Utc>) -> String {
    let text = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}
