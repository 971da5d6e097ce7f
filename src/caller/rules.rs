//! What the configuration says about who may do what.

use crate::config::{Agent, Config, Grant, ProviderKind, Relay};
use crate::domain::scope::Scope;
use crate::tailnet::Peer;

/// The rules by which a caller's grants are made.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The application capability whose values are grants.
    pub capability: String,
    /// The policy file.
    pub grants: Vec<Grant>,
    /// Tagged nodes that pass on the requests of people.
    pub relays: Vec<Relay>,
    /// Tagged nodes that ask for themselves.
    pub agents: Vec<Agent>,
    /// A token allows only the scopes it has, also where it has none of ours.
    pub by_token: bool,
}

impl Rules {
    /// The rules of `config`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        // Where clients are told to ask for scopes of ours, a token without them is one that was not given any.
        let by_token = match &config.provider.kind {
            ProviderKind::Tsidp => false,
            ProviderKind::Generic { scopes, .. } => scopes.iter().any(|word| word.parse::<Scope>().is_ok()),
        };
        Self {
            capability: config.tailnet.capability.clone(),
            grants: config.grants.clone(),
            relays: config.relays.clone(),
            agents: config.agents.clone(),
            by_token,
        }
    }

    /// The tag by which `peer` is a relay.
    pub(super) fn relay(&self, peer: &Peer) -> Option<&Relay> {
        self.relays.iter().find(|relay| peer.tags().contains(&relay.tag))
    }

    /// The section by which `peer` is an agent.
    pub(super) fn agent(&self, peer: &Peer) -> Option<&Agent> {
        self.agents.iter().find(|agent| peer.tags().contains(&agent.tag))
    }
}
