//! Why there is no active token, by what is to be done about it.

use std::sync::Arc;
use std::time::Duration;

use super::claims::Flaw;

/// How long a client is asked to wait when the provider does not say.
const WAIT: Duration = Duration::from_secs(5);

/// The longest that we pass on.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectError {
    /// The provider says: not active. Expired, revoked, or never issued.
    #[error("the provider says that the token is not active")]
    Inactive,
    /// It is active, and not for us or not good enough.
    #[error("the token is active but not acceptable ({})", .0.word())]
    Claims(Flaw),
    /// It was issued to an OAuth client that is not on the list.
    #[error("the token was issued to an OAuth client that is not on the list")]
    ClientNotAllowed,
    /// Somebody acts for the user (RFC 8693 section 4.1).
    #[error("the token is a delegation")]
    Delegated,
    /// Too many tokens from this peer were not active. The provider was not asked about this one.
    #[error("too many tokens from this node were not active")]
    TooMany {
        /// How long to wait before the next one.
        retry_after: Duration,
    },
    /// Nobody can say. That is no reason for a client to throw its token away.
    #[error("the provider gave no usable answer")]
    Unavailable(#[from] Unavailable),
}

impl IntrospectError {
    /// A short word for the audit log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Claims(flaw) => flaw.word(),
            Self::ClientNotAllowed => "client",
            Self::Delegated => "delegated",
            Self::TooMany { .. } => "token_fishing",
            Self::Unavailable(unavailable) => unavailable.outage.word(),
        }
    }
}

/// The provider gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider gave no usable answer ({})", outage.word())]
pub struct Unavailable {
    outage: Outage,
    retry_after: Duration,
}

/// The same, with what lies behind it: for a person who wants to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct NoAnswer {
    unavailable: Unavailable,
    cause: Arc<str>,
}

impl NoAnswer {
    pub(super) fn new(unavailable: impl Into<Unavailable>, cause: impl Into<Arc<str>>) -> Self {
        Self { unavailable: unavailable.into(), cause: cause.into() }
    }

    /// In which way it was of no help.
    #[must_use]
    pub const fn outage(&self) -> Outage {
        self.unavailable.outage
    }
}

impl From<NoAnswer> for Unavailable {
    fn from(no_answer: NoAnswer) -> Self {
        no_answer.unavailable
    }
}

impl From<NoAnswer> for IntrospectError {
    fn from(no_answer: NoAnswer) -> Self {
        Self::Unavailable(no_answer.unavailable)
    }
}

/// In which way a provider is of no help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// No connection.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// An answer of another status than 200. 400, 401 and 403 mean that it does not accept *us*.
    Status(u16),
    /// An answer that is not the JSON it should be.
    Malformed,
    /// Its metadata is not that of the configured issuer, or has no introspection endpoint we may use.
    Metadata,
    /// It answers, and has called every token of late inactive: it may not recognise *us*.
    Unrecognised,
    /// It already has as many questions from us as we ask at once.
    Busy,
    /// Our own mistake.
    Internal,
}

impl Unavailable {
    /// Why.
    #[must_use]
    pub const fn outage(self) -> Outage {
        self.outage
    }

    /// How long to wait before trying again.
    #[must_use]
    pub const fn retry_after(self) -> Duration {
        self.retry_after
    }

    /// With the wait that the provider asked for, within reason.
    pub(super) fn asking_for(self, wait: Option<Duration>) -> Self {
        let retry_after = wait.map_or(self.retry_after, |wait| wait.clamp(WAIT, LONGEST_WAIT));
        Self { retry_after, ..self }
    }
}

impl From<Outage> for Unavailable {
    fn from(outage: Outage) -> Self {
        Self { outage, retry_after: WAIT }
    }
}

impl From<Outage> for IntrospectError {
    fn from(outage: Outage) -> Self {
        Self::Unavailable(outage.into())
    }
}

impl Outage {
    /// A short word for the audit log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable | Self::TimedOut => "provider_down",
            Self::Status(400 | 401 | 403) => "provider_refuses_us",
            Self::Status(_) => "provider_status",
            Self::Malformed => "provider_answer",
            Self::Metadata => "provider_metadata",
            Self::Unrecognised => "provider_knows_no_token",
            Self::Busy => "provider_busy",
            Self::Internal => "internal",
        }
    }
}
