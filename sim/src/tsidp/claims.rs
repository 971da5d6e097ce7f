//! The rules of `tailscale.com/cap/tsidp`, and the claims they add.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::metadata::CLAIMS;
use crate::localapi::{Peer, TSIDP_CAPABILITY};

/// One value of the capability. The member names are the real ones, both styles of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    #[serde(rename = "includeInUserInfo")]
    pub(super) include_in_user_info: bool,
    #[serde(rename = "extraClaims")]
    pub(super) extra_claims: BTreeMap<String, Value>,
    pub(super) users: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) allow_admin_ui: bool,
    pub(super) allow_dcr: bool,
}

impl Rule {
    fn allows(&self, login: &str, resource: &str) -> bool {
        // Exact strings: `https://host/mcp/` is not `https://host/mcp`.
        self.users.iter().any(|user| user == "*" || user == login)
            && self.resources.iter().any(|allowed| allowed == "*" || allowed == resource)
    }
}

/// The node's rules. One that is not of this shape spoils them all.
pub(super) fn rules(peer: &Peer) -> serde_json::Result<Vec<Rule>> {
    let values = peer.capabilities.get(TSIDP_CAPABILITY).into_iter().flatten();
    values.map(Rule::deserialize).collect()
}

/// Those of the requested resources that the user may ask for; the others are dropped without a word.
pub(super) fn allowed(rules: &[Rule], peer: &Peer, requested: &[String]) -> Vec<String> {
    let login = peer.node.user().login;
    requested
        .iter()
        .filter(|resource| rules.iter().any(|rule| rule.allows(&login, resource)))
        .cloned()
        .collect()
}

/// A claim whose name is not free for `extraClaims`.
#[derive(Debug)]
pub(super) struct ProtectedClaim;

/// Add the rules' extra claims to the standard ones.
pub(super) fn add_extra<'a>(
    claims: &mut BTreeMap<String, Value>,
    rules: impl IntoIterator<Item = &'a Rule>,
) -> Result<(), ProtectedClaim> {
    for (name, value) in merge(rules) {
        if CLAIMS.contains(&name.as_str()) {
            return Err(ProtectedClaim);
        }
        claims.insert(name, value);
    }
    Ok(())
}

/// Merge the claims of several rules. Lists unite, and their members become strings (in random order in the
/// real one, here in the order of the rules); of scalars the first wins; an object, a null or an empty list
/// vanishes.
fn merge<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> BTreeMap<String, Value> {
    #[derive(Default)]
    struct Claim {
        first: Option<Value>,
        is_list: bool,
        members: Vec<String>,
    }
    let mut merged: BTreeMap<String, Claim> = BTreeMap::new();
    for (name, value) in rules.into_iter().flat_map(|rule| &rule.extra_claims) {
        let claim = merged.entry(name.clone()).or_default();
        claim.is_list |= value.is_array();
        claim.first.get_or_insert_with(|| value.clone());
        collect(value, &mut claim.members);
    }
    let finished = |claim: Claim| match claim {
        Claim { members, .. } if members.is_empty() => None,
        Claim { is_list: true, members, .. } => Some(Value::from(members)),
        Claim { first, .. } => first,
    };
    merged.into_iter().filter_map(|(name, claim)| Some((name, finished(claim)?))).collect()
}

fn collect(value: &Value, members: &mut Vec<String>) {
    let member = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(values) => return values.iter().for_each(|value| collect(value, members)),
        Value::Null | Value::Object(_) => return,
    };
    if !members.contains(&member) {
        members.push(member);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_of_several_rules_merge() {
        for (rules, expected) in [
            (json!([{"a": [1, 2]}]), json!({"a": ["1", "2"]})),
            (json!([{"a": ["x"]}, {"a": ["y", "x"]}]), json!({"a": ["x", "y"]})),
            (json!([{"a": 3, "b": true}, {"a": 4}]), json!({"a": 3, "b": true})),
            (json!([{"a": "x"}, {"a": ["y"]}]), json!({"a": ["x", "y"]})),
            (json!([{"a": {}, "b": null, "c": []}]), json!({})),
            (json!([{"a": [["x"], {}, null]}]), json!({"a": ["x"]})),
        ] {
            let rules: Vec<Value> = serde_json::from_value(rules).unwrap();
            let rules: Vec<Rule> = rules
                .iter()
                .map(|claims| Rule::deserialize(json!({"extraClaims": claims})).unwrap())
                .collect();
            assert_eq!(json!(merge(&rules)), expected);
        }
    }
}
