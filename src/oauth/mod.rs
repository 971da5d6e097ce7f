//! The OAuth side: the token a request carries, what its provider says about it, and the texts that tell
//! clients where to get a better one.

mod answer;
mod bearer;
mod breaker;
mod cache;
mod claims;
mod discovery;
mod error;
mod exchange;
mod fingerprint;
mod fishing;
mod flight;
mod provider;
mod recognition;
mod texts;
mod token;

pub use self::bearer::{Bearer, Presented};
pub use self::claims::Flaw;
pub use self::error::{IntrospectError, NoAnswer, Outage, Unavailable};
pub use self::provider::{Freshness, Provider, ProviderError};
pub use self::texts::{Challenge, Texts, TextsError};
pub use self::token::{ActiveToken, Holder};

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    use super::answer::Answer;
    use super::claims::Rules;

    /// Judges an introspection answer as it came. Gives the subject and the end of a token that is accepted.
    #[must_use]
    pub fn introspection(body: &[u8], issuer: &str, resource: &str, now: i64) -> Option<(String, i64)> {
        crate::net::json::check(body, super::exchange::DEEPEST).ok()?;
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let rules = Rules {
            issuer: issuer.to_owned(),
            resource: resource.to_owned(),
            clients: None,
            login_claim: None,
        };
        rules.judge(&answer, now).ok().map(|facts| (facts.subject, facts.exp))
    }
}
