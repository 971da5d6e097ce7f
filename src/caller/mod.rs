//! The caller: a peer of the tailnet and a token that agree on who is asking, and what that person may do. Or,
//! where the configuration says so, a tagged node that passes on what a person asks, or asks for itself.

mod capability;
mod denied;
mod gate;
mod grants;
mod notices;
mod rules;

use crate::domain::who::{Via, Who};
use crate::oauth::{ActiveToken, Bearer};
use crate::tailnet::{Peer, PeerUser};

pub use self::denied::{Denied, DenyKind, Why};
pub use self::gate::{Gate, explain};
pub use self::grants::{Grants, Rule};
pub use self::rules::Rules;

/// Who is asking: a user's node, and a token of that same user. Only [`Gate`] makes one, for one request.
#[derive(Debug)]
pub struct Caller {
    peer: Peer,
    standing: Standing,
    grants: Grants,
}

/// In which way somebody stands before us.
#[derive(Debug)]
enum Standing {
    /// A person, on a node of their own.
    Person(Login),
    /// A person, through a tagged node that is listed as a relay under this tag.
    Relayed(String, Login),
    /// A tagged node that is listed as an agent under this tag.
    Agent(String),
    /// A person, on a node of their own, with a browser and without a token: on the console.
    Visitor(PeerUser),
}

/// A person and their token.
#[derive(Debug)]
struct Login {
    user: PeerUser,
    token: ActiveToken,
    /// Kept so that a change can be asked about afresh, and for nothing else.
    bearer: Bearer,
}

/// A caller about whom tailnet and provider were asked just now, and said the same as before: what a change
/// needs. Only [`Gate`] makes one, by [`Gate::readmit`] and [`Gate::reconsider`].
#[derive(Debug)]
pub struct FreshCaller(Caller);

impl Caller {
    /// The node.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The user whose token it is and, except behind a relay, whose node; `None` for an agent.
    #[must_use]
    pub fn user(&self) -> Option<&PeerUser> {
        match &self.standing {
            Standing::Person(login) | Standing::Relayed(_, login) => Some(&login.user),
            Standing::Visitor(user) => Some(user),
            Standing::Agent(_) => None,
        }
    }

    /// The token; `None` for an agent and on the console.
    #[must_use]
    pub fn token(&self) -> Option<&ActiveToken> {
        self.login().map(|login| &login.token)
    }

    /// Through what, if not from a person's own node.
    #[must_use]
    pub const fn via(&self) -> Option<Via> {
        match self.standing {
            Standing::Person(_) | Standing::Visitor(_) => None,
            Standing::Relayed(..) => Some(Via::Relay),
            Standing::Agent(_) => Some(Via::Agent),
        }
    }

    /// What to call them: the user's login, or the tag of an agent.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.standing {
            Standing::Person(login) | Standing::Relayed(_, login) => login.user.login(),
            Standing::Visitor(user) => user.login(),
            Standing::Agent(tag) => tag,
        }
    }

    /// Everybody to whom the tailnet would have to grant something for this caller to have it.
    #[must_use]
    pub fn sources(&self) -> Vec<&str> {
        match &self.standing {
            Standing::Person(_) | Standing::Agent(_) | Standing::Visitor(_) => vec![self.name()],
            Standing::Relayed(tag, _) => vec![self.name(), tag],
        }
    }

    /// What the caller may do.
    #[must_use]
    pub const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The caller for the audit log. What was said over MCP is not known here.
    #[must_use]
    pub fn who(&self) -> Who {
        Who {
            peer: Some(self.peer.note()),
            auth: self.token().map(ActiveToken::note),
            via: self.via(),
            mcp: None,
        }
    }

    const fn login(&self) -> Option<&Login> {
        match &self.standing {
            Standing::Person(login) | Standing::Relayed(_, login) => Some(login),
            Standing::Agent(_) | Standing::Visitor(_) => None,
        }
    }

    /// Whether both are the same person, on the same node, in the same way, through the same OAuth client.
    fn is_same_as(&self, other: &Self) -> bool {
        let login = |caller: &Self| {
            let Login { user, token, bearer: _ } = caller.login()?;
            let client = token.client_id().map(str::to_owned);
            Some((user.id(), token.issuer().to_owned(), token.subject().to_owned(), client))
        };
        self.peer.node_id() == other.peer.node_id()
            && self.via() == other.via()
            && self.sources() == other.sources()
            && self.user().map(PeerUser::id) == other.user().map(PeerUser::id)
            && login(self) == login(other)
    }
}

impl FreshCaller {
    /// The caller, with the grants of this moment.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.0
    }

    /// The caller, no longer known to be fresh.
    #[must_use]
    pub fn into_caller(self) -> Caller {
        self.0
    }
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads the values of a capability, and says how many rules and unknown words are in them.
    #[must_use]
    pub fn capability(values: &serde_json::value::RawValue) -> Option<(usize, usize)> {
        let granted = super::capability::read(values).ok()?;
        Some((granted.rules.len(), granted.unknown.len()))
    }
}
