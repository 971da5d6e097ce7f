//! What a caller may do.

use std::collections::BTreeSet;

use super::capability;
use super::notices::Notices;
use super::rules::Rules;
use crate::config::{Agent, Grant, Grantee};
use crate::domain::name::NasName;
use crate::domain::scope::{Scope, ScopeSet};
use crate::oauth::ActiveToken;
use crate::tailnet::{Peer, PeerUser};

/// Scopes that say something about the login and nothing about a NAS.
const OF_THE_LOGIN: [&str; 4] = ["openid", "email", "profile", "offline_access"];

/// What a caller may do: what tailnet and policy file give together, and no more than the token allows where
/// the token speaks of it. Nothing follows from anything else. By default, nothing.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Each of these has to allow a thing: one for a person, more behind a relay. None allow nothing.
    parts: Vec<Vec<Entry>>,
    /// What the token allows; everything where it says nothing about it.
    token: Option<ScopeSet>,
    /// No person asks, or none whose node we see.
    machine: bool,
}

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The tailnet's policy, live.
    Tailnet,
    /// Our own policy file.
    Policy,
    /// The `[[agent]]` section of our configuration.
    Agent,
}

#[derive(Clone, Debug)]
struct Entry {
    rule: Rule,
    scopes: ScopeSet,
    nas: Reach,
}

/// On which NAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Every,
    Only(BTreeSet<NasName>),
}

impl Rule {
    /// The word for it in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tailnet => "tailnet",
            Self::Policy => "policy",
            Self::Agent => "agent",
        }
    }
}

impl Grants {
    /// What allows `scope` on `nas`, if anything does.
    #[must_use]
    pub fn allows(&self, scope: Scope, nas: &NasName) -> Option<Rule> {
        self.granted(scope, |reach| reach.covers(nas)).filter(|_| self.is_in_token(scope))
    }

    /// What allows `scope` on every NAS, or where none is touched.
    #[must_use]
    pub fn allows_everywhere(&self, scope: Scope) -> Option<Rule> {
        self.granted(scope, |reach| *reach == Reach::Every).filter(|_| self.is_in_token(scope))
    }

    /// Whether it is the token alone that does not allow `scope` on `nas`.
    #[must_use]
    pub fn withheld_by_token(&self, scope: Scope, nas: &NasName) -> bool {
        !self.is_in_token(scope) && self.granted(scope, |reach| reach.covers(nas)).is_some()
    }

    /// Whether this is about a relay or an agent, for which what takes a person is closed.
    #[must_use]
    pub const fn is_machine(&self) -> bool {
        self.machine
    }

    fn is_in_token(&self, scope: Scope) -> bool {
        self.token.is_none_or(|token| token.contains(scope))
    }

    /// The first part's rule, if every other part has one as well.
    fn granted(&self, scope: Scope, reaches: impl Fn(&Reach) -> bool) -> Option<Rule> {
        if self.machine && scope.is_for_people() {
            return None;
        }
        let rule = |part: &Vec<Entry>| {
            let entry = part.iter().find(|entry| entry.scopes.contains(scope) && reaches(&entry.nas))?;
            Some(entry.rule)
        };
        let (first, others) = self.parts.split_first()?;
        rule(first).filter(|_| others.iter().all(|part| rule(part).is_some()))
    }

    /// The union of what the capability of `user`'s node `peer` and the policy file give, narrowed by the token.
    pub(super) fn of_person(
        rules: &Rules,
        peer: &Peer,
        user: &PeerUser,
        token: &ActiveToken,
        notices: &Notices,
    ) -> Self {
        Self::of_anyone(rules, peer, user, notices).narrowed(token.scopes(), rules.by_token)
    }

    /// The same with a token that takes nothing away.
    pub(super) fn of_anyone(rules: &Rules, peer: &Peer, user: &PeerUser, notices: &Notices) -> Self {
        Self { parts: vec![of_user(rules, peer, user, notices)], token: None, machine: false }
    }

    /// What both the relay's own node and the person may do, the latter on each of their nodes.
    pub(super) fn of_relay(
        rules: &Rules,
        relay: &Peer,
        user: &PeerUser,
        nodes: &[Peer],
        token: &ActiveToken,
        notices: &Notices,
    ) -> Self {
        let of_nodes = nodes.iter().map(|node| of_user(rules, node, user, notices));
        let parts =
            std::iter::once(of_the_tailnet(relay, &rules.capability, notices)).chain(of_nodes).collect();
        Self { parts, token: None, machine: true }.narrowed(token.scopes(), rules.by_token)
    }

    /// What its section gives an agent, or else what the tailnet grants its node.
    pub(super) fn of_agent(rules: &Rules, peer: &Peer, agent: &Agent, notices: &Notices) -> Self {
        let part = match agent {
            Agent { tag: _, scopes: Some(scopes), nas } => {
                vec![Entry { rule: Rule::Agent, scopes: *scopes, nas: Reach::of(nas.clone()) }]
            }
            Agent { scopes: None, .. } => of_the_tailnet(peer, &rules.capability, notices),
        };
        Self { parts: vec![part], token: None, machine: true }
    }

    /// Where the token has words beyond those of the login, or where it has to, it allows these and no others.
    fn narrowed(self, words: &[String], always: bool) -> Self {
        let speaks = words.iter().any(|word| !OF_THE_LOGIN.contains(&word.as_str()));
        let token = (speaks || always).then(|| words.iter().filter_map(|word| word.parse().ok()).collect());
        Self { token, ..self }
    }
}

impl Reach {
    fn of(names: Option<BTreeSet<NasName>>) -> Self {
        names.map_or(Self::Every, Self::Only)
    }

    fn covers(&self, nas: &NasName) -> bool {
        match self {
            Self::Every => true,
            Self::Only(names) => names.contains(nas),
        }
    }
}

fn of_user(rules: &Rules, peer: &Peer, user: &PeerUser, notices: &Notices) -> Vec<Entry> {
    let mut entries = of_the_tailnet(peer, &rules.capability, notices);
    entries.extend(of_the_policy(user, &rules.grants));
    entries
}

fn of_the_tailnet(peer: &Peer, name: &str, notices: &Notices) -> Vec<Entry> {
    let Some(values) = peer.capability(name) else { return Vec::new() };
    let granted = match capability::read(values) {
        Ok(granted) => granted,
        Err(error) => {
            if notices.is_new(format!("{} {error}", peer.node_id())) {
                tracing::warn!(
                    capability = name,
                    node = peer.node_name(),
                    %error,
                    "the tailnet's grant cannot be read, so it grants nothing"
                );
            }
            return Vec::new();
        }
    };
    for word in granted.unknown {
        if notices.is_new(format!("scope {word}")) {
            tracing::warn!(capability = name, scope = ?word, "the tailnet grants a scope that does not exist");
        }
    }
    let entry = |(scopes, nas)| Entry { rule: Rule::Tailnet, scopes, nas };
    granted.rules.into_iter().map(entry).collect()
}

fn of_the_policy(user: &PeerUser, policy: &[Grant]) -> impl Iterator<Item = Entry> {
    policy
        .iter()
        .filter(|grant| match &grant.to {
            Grantee::Login(login) => login == user.login(),
            Grantee::Group(group) => user.groups().contains(group),
        })
        .map(|Grant { to: _, scopes, nas }| Entry {
            rule: Rule::Policy,
            scopes: *scopes,
            nas: Reach::of(nas.clone()),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn tailnet(values: &str) -> Grants {
        let raw = RawValue::from_string(values.to_owned()).unwrap();
        let Ok(granted) = capability::read(&raw) else { return Grants::default() };
        let entry = |(scopes, nas)| Entry { rule: Rule::Tailnet, scopes, nas };
        one(granted.rules.into_iter().map(entry).collect())
    }

    fn one(part: Vec<Entry>) -> Grants {
        Grants { parts: vec![part], ..Grants::default() }
    }

    fn spelled(grants: &Grants, nas: &str) -> String {
        let nas = nas.parse().unwrap();
        let allowed = Scope::ALL.iter().filter(|scope| grants.allows(**scope, &nas).is_some());
        allowed.map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_capability_grants_what_it_says_and_nothing_else() {
        for (values, home, attic) in [
            ("null", "", ""),
            ("[]", "", ""),
            (r#"[{"scopes":[]}]"#, "", ""),
            (r#"[{"scopes":["storage:read"]}]"#, "storage:read", "storage:read"),
            (r#"[{"scopes":["storage:write"],"nas":["*"]}]"#, "storage:write", "storage:write"),
            (r#"[{"scopes":["storage:read"],"nas":["home"]}]"#, "storage:read", ""),
            (r#"[{"scopes":["storage:read"],"nas":["home","*"]}]"#, "storage:read", "storage:read"),
            (r#"[{"scopes":["storage:read"],"nas":[]}]"#, "", ""),
            (
                r#"[{"scopes":["storage:read"],"nas":["home"]},{"scopes":["apps:read"],"nas":["attic"]}]"#,
                "storage:read",
                "apps:read",
            ),
            (
                r#"[{"scopes":["storage:read","STORAGE:WRITE","storage:*","*"]}]"#,
                "storage:read",
                "storage:read",
            ),
        ] {
            let grants = tailnet(values);
            assert_eq!((&*spelled(&grants, "home"), &*spelled(&grants, "attic")), (home, attic), "{values}");
        }
    }

    #[test]
    fn a_malformed_capability_grants_nothing_at_all() {
        for values in [
            "{}",
            "\"*\"",
            "true",
            r#"["storage:read"]"#,
            r#"[[["storage:read"]]]"#,
            r#"[{"scopes":["storage:read"]},null]"#,
            r#"[{"scopes":["storage:read"]},{"nas":["*"]}]"#,
            r#"[{"scopes":"storage:read"}]"#,
            r#"[{"scopes":["storage:read",7]}]"#,
            r#"[{"scopes":["storage:read"],"nas":null}]"#,
            r#"[{"scopes":["storage:read"],"nas":"*"}]"#,
            r#"[{"scopes":["storage:read"],"nas":["../x"]}]"#,
            r#"[{"scopes":["storage:read"],"nsa":["home"]}]"#,
            r#"[{"scopes":["storage:read"],"nas":["attic"],"nas":["*"]}]"#,
        ] {
            assert_eq!(spelled(&tailnet(values), "home"), "", "{values}");
        }
    }

    #[test]
    fn the_token_narrows_where_it_says_more_than_a_login_does() {
        let grants = tailnet(r#"[{"scopes":["storage:read","storage:write","apps:read"]}]"#);
        let all = "storage:read storage:write apps:read";
        for (words, left) in [
            (&[][..], all),
            (&["openid", "email", "profile", "offline_access"][..], all),
            (&["openid", "storage:read"][..], "storage:read"),
            (&["storage:read", "vms:read"][..], "storage:read"),
            (&["STORAGE:READ"][..], ""),
            (&["openid", "*"][..], ""),
            (&["OPENID"][..], ""),
        ] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(spelled(&grants.clone().narrowed(&words, false), "home"), left, "{words:?}");
        }
    }

    #[test]
    fn only_what_reaches_everywhere_counts_where_no_nas_is_touched() {
        let grants = tailnet(
            r#"[{"scopes":["jobs:read"],"nas":["home"]},{"scopes":["change:approve"]},
                {"scopes":["vms:read"],"nas":[]}]"#,
        );
        assert_eq!(grants.allows_everywhere(Scope::JobsRead), None);
        assert_eq!(grants.allows_everywhere(Scope::ChangeApprove), Some(Rule::Tailnet));
    }

    #[test]
    fn where_a_token_has_to_say_so_silence_allows_nothing() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let grants = tailnet(r#"[{"scopes":["storage:read","apps:read"]}]"#);
        let nas = "home".parse().unwrap();
        for (said, left) in [(&["openid", "email"][..], ""), (&[], ""), (&["apps:read"], "apps:read")] {
            let narrow = grants.clone().narrowed(&words(said), true);
            assert_eq!(spelled(&narrow, "home"), left, "{said:?}");
            assert!(narrow.withheld_by_token(Scope::StorageRead, &nas), "a better token would do");
            assert!(!narrow.withheld_by_token(Scope::VmsRead, &nas), "no token would do");
        }
        assert!(!grants.withheld_by_token(Scope::StorageRead, &nas));
    }

    #[test]
    fn behind_a_relay_everybody_has_to_be_allowed() {
        let part = |values: &str| tailnet(values).parts.remove(0);
        let relay = part(r#"[{"scopes":["storage:read","apps:read","storage:destroy","change:approve"]}]"#);
        let laptop = part(r#"[{"scopes":["storage:read","vms:read","storage:destroy","change:approve"]}]"#);
        let phone = part(r#"[{"scopes":["storage:read","apps:read"],"nas":["home"]}]"#);
        for (parts, home, attic) in [
            (vec![], "", ""),
            (vec![relay.clone()], "storage:read apps:read", "storage:read apps:read"),
            (vec![relay.clone(), laptop.clone()], "storage:read", "storage:read"),
            (vec![relay.clone(), laptop.clone(), phone.clone()], "storage:read", ""),
            (vec![relay.clone(), phone.clone()], "storage:read apps:read", ""),
            (vec![relay.clone(), Vec::new()], "", ""),
            (vec![Vec::new(), laptop.clone()], "", ""),
        ] {
            let grants = Grants { parts, token: None, machine: true };
            assert_eq!((&*spelled(&grants, "home"), &*spelled(&grants, "attic")), (home, attic));
            assert_eq!(grants.allows_everywhere(Scope::ChangeApprove), None);
        }
    }
}
