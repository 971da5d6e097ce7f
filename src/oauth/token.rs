//! A token that its provider vouches for.

use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use crate::domain::who::AuthNote;

/// A token that is active, from our issuer, for us, and within its time. Only
/// [`Provider::introspect`](super::Provider::introspect) makes one.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    facts: Arc<Facts>,
    fingerprint: String,
    age: Duration,
}

/// Whose token it is, in the words of the tailnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The user with this id. TSIDP's subjects are these.
    UserId(String),
    /// The user with this login, by a claim that the configuration trusts.
    Login(String),
}

/// What the provider said, after every check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) holder: Holder,
    pub(super) username: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) jti: Option<String>,
    pub(super) exp: i64,
    pub(super) nbf: Option<i64>,
}

impl ActiveToken {
    pub(super) fn new(facts: Arc<Facts>, fingerprint: Fingerprint, age: Duration) -> Self {
        Self { facts, fingerprint: fingerprint.short(), age }
    }

    /// The provider that vouches for it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.facts.issuer
    }

    /// The subject, as the provider names it. Together with the issuer it is the identity.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    /// Whose it is on the tailnet.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.facts.holder
    }

    /// What the provider calls the user. To be shown, never to be decided by.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.facts.username.as_deref()
    }

    /// The OAuth client it was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.facts.client_id.as_deref()
    }

    /// Its scopes, each once, as the provider wrote them.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.facts.scopes
    }

    /// When it stops being good, in seconds since 1970.
    #[must_use]
    pub fn exp(&self) -> i64 {
        self.facts.exp
    }

    /// The provider's own id of it.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.facts.jti.as_deref()
    }

    /// How old the provider's answer is; zero when it was asked for this request.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// A keyed hash: the same token has the same one until the daemon restarts.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The token for the audit log.
    #[must_use]
    pub fn note(&self) -> AuthNote {
        AuthNote {
            iss: self.facts.issuer.clone(),
            sub: self.facts.subject.clone(),
            username: self.facts.username.clone(),
            client_id: self.facts.client_id.clone(),
            scope: self.facts.scopes.join(" "),
            jti: self.facts.jti.clone(),
            exp: self.facts.exp,
            tok: self.fingerprint.clone(),
            age_ms: u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
