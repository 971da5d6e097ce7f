//! Why somebody is not admitted.

use std::fmt;
use std::time::Duration;

use crate::domain::who::Who;
use crate::oauth::IntrospectError;

/// How long a client is asked to wait for tailscaled.
const WAIT: Duration = Duration::from_secs(5);

/// Not admitted, and what is known about whom.
#[derive(Debug)]
pub struct Denied {
    why: Why,
    who: Box<Who>,
    detail: Option<String>,
}

/// Why, by what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody of the tailnet is at that address.
    PeerUnknown,
    /// tailscaled could not be asked.
    PeerUnavailable,
    /// A tagged node, which is nobody's.
    Tagged,
    /// A node that was shared in from another tailnet.
    SharedIn,
    /// Our own node: every process on this machine would be its owner.
    OwnNode,
    /// The token was not accepted.
    Token(IntrospectError),
    /// The token belongs to another user than the node does.
    Binding,
    /// Asked again, the answer was another person, node or client than before.
    Changed,
}

/// What kind of answer that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyKind {
    /// Not from there, whatever the token.
    Forbidden,
    /// Not with this token.
    Unauthorized,
    /// Too many bad tokens from there.
    TooMany {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// We cannot tell at present.
    Unavailable {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
}

impl Denied {
    pub(super) fn new(why: Why, who: Who) -> Self {
        Self { why, who: Box::new(who), detail: None }
    }

    pub(super) fn because(mut self, cause: &dyn std::error::Error) -> Self {
        self.detail = Some(cause.to_string());
        self
    }

    /// What lies behind it, for the audit log. Never for the client.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Why.
    #[must_use]
    pub const fn why(&self) -> Why {
        self.why
    }

    /// Whom, as far as it was known by then: for the audit log.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// What kind of answer that is.
    #[must_use]
    pub const fn kind(&self) -> DenyKind {
        match self.why {
            Why::PeerUnknown | Why::Tagged | Why::SharedIn | Why::OwnNode => DenyKind::Forbidden,
            Why::PeerUnavailable => DenyKind::Unavailable { retry_after: WAIT },
            Why::Binding | Why::Changed => DenyKind::Unauthorized,
            Why::Token(error) => match error {
                IntrospectError::Inactive | IntrospectError::Claims(_) => DenyKind::Unauthorized,
                IntrospectError::ClientNotAllowed | IntrospectError::Delegated => DenyKind::Forbidden,
                IntrospectError::TooMany { retry_after } => DenyKind::TooMany { retry_after },
                IntrospectError::Unavailable(unavailable) => {
                    DenyKind::Unavailable { retry_after: unavailable.retry_after() }
                }
            },
        }
    }

    /// A short word for the audit log. Never for the client.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self.why {
            Why::PeerUnknown => "peer_unknown",
            Why::PeerUnavailable => "tailscaled_down",
            Why::Tagged => "tagged",
            Why::SharedIn => "shared_in",
            Why::OwnNode => "own_node",
            Why::Token(error) => error.word(),
            Why::Binding => "binding",
            Why::Changed => "changed",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not admitted ({})", self.reason())
    }
}

impl std::error::Error for Denied {}
