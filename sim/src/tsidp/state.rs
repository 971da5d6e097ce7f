//! What TSIDP remembers: clients on disk, codes and tokens in memory only.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;

use super::clients::Client;
use crate::localapi::Peer;

/// Access tokens live this long unless they were minted with another lifetime.
pub(super) const TOKEN_LIFETIME: TimeDelta = TimeDelta::minutes(5);
pub(super) const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(30);
/// `nbf` lies this far before `iat`.
pub(super) const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

#[derive(Default)]
pub(super) struct State {
    /// The stopped clock, if it was stopped.
    pub(super) now: Option<DateTime<Utc>>,
    pub(super) clients: Vec<Client>,
    pub(super) codes: HashMap<String, Grant>,
    pub(super) access: HashMap<String, Grant>,
    pub(super) refresh: HashMap<String, Grant>,
    pub(super) answers: HashMap<String, Value>,
    /// Every token that was minted, were it forgotten by now.
    pub(super) minted: Vec<String>,
}

/// What the user's visit to `/authorize` established; a code and every token carry a copy.
///
/// `user` is a snapshot: TSIDP never looks again whether the node still exists or is still granted
/// anything, neither on refresh nor on introspection.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client: Option<Client>,
    pub(super) client_id: String,
    pub(super) nonce: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<(ChallengeMethod, String)>,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) user: Peer,
    pub(super) issued: DateTime<Utc>,
    pub(super) expires: DateTime<Utc>,
    /// Absent from exchanged tokens.
    pub(super) jti: Option<String>,
    pub(super) exchanged: bool,
    pub(super) actor: Option<Actor>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum ChallengeMethod {
    Plain,
    S256,
}

/// The `act` claim of RFC 8693.
#[derive(Clone, Serialize)]
pub(super) struct Actor {
    pub(super) sub: String,
    pub(super) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<Box<Actor>>,
}

impl Grant {
    pub(super) fn audience(&self) -> Vec<String> {
        let client = (!self.exchanged).then(|| self.client_id.clone());
        client.into_iter().chain(self.resources.iter().cloned()).collect()
    }
}

impl State {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(Utc::now)
    }

    /// The access token's grant. An expired one is forgotten on sight.
    pub(super) fn access(&mut self, token: &str) -> Access {
        let now = self.now();
        match self.access.get(token) {
            None => Access::Unknown,
            Some(grant) if grant.expires < now => {
                self.access.remove(token);
                Access::Expired
            }
            Some(grant) => Access::Valid(Box::new(grant.clone())),
        }
    }

    pub(super) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }
}

pub(super) enum Access {
    Unknown,
    Expired,
    Valid(Box<Grant>),
}
