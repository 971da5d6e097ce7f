//! `[[agent]]`

use std::collections::BTreeSet;

use super::grant::{nas_name, scope};
use super::relay::one_tag;
use crate::config::Agent;
use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::domain::name::NasName;
use crate::domain::scope::{Scope, ScopeSet};

pub(in crate::config) fn read(root: &mut Section<'_>, known: &Read<BTreeSet<NasName>>) -> Read<Vec<Agent>> {
    let mut seen = BTreeSet::new();
    root.tables("agent", &keys::AGENT, |agent| {
        let tag = one_tag(agent, &mut seen);
        let scopes = agent.optional_list("scopes", open_to_agents);
        let nas = agent.optional_list("nas", |text| nas_name(text, known));
        let (tag, scopes, nas) = (tag?, scopes?, nas?);
        if scopes.is_none() && nas.is_some() {
            return Err(agent.report(
                "nas",
                Complaint::new("says where, and no scopes say what")
                    .hint("add scopes, or leave nas out and let the tailnet's grant say both"),
            ));
        }
        Ok(Agent {
            tag,
            scopes: scopes.map(ScopeSet::from_iter),
            nas: nas.map(|names| names.into_iter().collect()),
        })
    })
}

/// Approving is for people, and what destroys needs a person. Policy refuses both whatever stands here; who
/// wrote it should learn that before the night it is missed.
fn open_to_agents(text: &str) -> Result<Scope, Complaint> {
    let scope = scope(text)?;
    if scope.is_for_people() {
        return Err(Complaint::new(format!("{scope} is for people: no agent can destroy or approve")));
    }
    Ok(scope)
}
