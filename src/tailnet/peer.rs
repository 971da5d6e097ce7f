//! The node at the other end of a connection, as WhoIs tells it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEEPEST, Silence};
use crate::domain::who::PeerNote;
use crate::net::json;

/// A node of the tailnet that WhoIs named. Nothing else makes one.
#[derive(Clone, Debug)]
pub struct Peer {
    addr: SocketAddr,
    node_id: String,
    node_name: String,
    user: Option<PeerUser>,
    tags: Vec<String>,
    sharer: Option<u64>,
    capabilities: Arc<BTreeMap<String, Box<RawValue>>>,
}

/// The person whose node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUser {
    id: u64,
    login: String,
    display: String,
    groups: Vec<String>,
}

impl Peer {
    /// Where the connection comes from. The port is 0 where a proxy in front does not tell.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The node's stable id.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The node's DNS name, without the closing dot.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Whose node it is; `None` for a tagged node, which is nobody's.
    #[must_use]
    pub const fn user(&self) -> Option<&PeerUser> {
        self.user.as_ref()
    }

    /// Its tags; empty for a user's node.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The user who shared it into this tailnet from another one.
    #[must_use]
    pub const fn sharer(&self) -> Option<u64> {
        self.sharer
    }

    /// What the tailnet's policy grants this node towards ours under the application capability `name`: JSON
    /// of any kind, `null` included.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<&RawValue> {
        self.capabilities.get(name).map(Box::as_ref)
    }

    /// The peer for the audit log.
    #[must_use]
    pub fn note(&self) -> PeerNote {
        PeerNote {
            ip: self.addr.ip(),
            port: self.addr.port(),
            node_id: self.node_id.clone(),
            node_name: self.node_name.clone(),
            user: self.user.as_ref().map(|user| user.login.clone()),
            tags: self.tags.clone(),
        }
    }

    pub(super) fn read(addr: SocketAddr, body: &[u8]) -> Result<Self, Silence> {
        json::check(body, DEEPEST)?;
        let Answer { node, profile, capabilities } = serde_json::from_slice(body)?;
        if node.stable_id.is_empty() || node.id == 0 {
            return Err(Silence::Contradiction("a node without an id"));
        }
        let tags = node.tags.unwrap_or_default();
        // By the tags and never by the name: anybody may call himself "tagged-devices".
        let user = if tags.is_empty() { Some(PeerUser::of(node.user, profile)?) } else { None };
        Ok(Self {
            addr,
            node_id: node.stable_id,
            node_name: node.name.trim_end_matches('.').to_owned(),
            user,
            tags,
            sharer: node.sharer.filter(|id| *id != 0),
            capabilities: Arc::new(capabilities.unwrap_or_default()),
        })
    }
}

impl PeerUser {
    /// The user's id, the same for all nodes of a person.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The login, such as `alice@example.com`.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The name to show. Anything a person may call himself.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The tailnet groups the user is in, as far as the control server tells our node.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    fn of(owner: u64, profile: Profile) -> Result<Self, Silence> {
        if profile.id == 0 || profile.login.is_empty() {
            return Err(Silence::Contradiction("a user without an id or a login"));
        }
        // The binding of a token to this peer hangs on this one number.
        if profile.id != owner {
            return Err(Silence::Contradiction("the node is one user's and the profile another's"));
        }
        Ok(Self {
            id: profile.id,
            login: profile.login,
            display: profile.display.unwrap_or_default(),
            groups: profile.groups.unwrap_or_default(),
        })
    }
}

/// WhoIs as the wire has it. Whatever we do not use may be absent, `null` or new; ids go beyond 2^53.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Node")]
    node: Node,
    #[serde(rename = "UserProfile")]
    profile: Profile,
    #[serde(rename = "CapMap")]
    capabilities: Option<BTreeMap<String, Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(rename = "StableID")]
    stable_id: String,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "User")]
    user: u64,
    #[serde(rename = "Tags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Sharer")]
    sharer: Option<u64>,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(rename = "LoginName")]
    login: String,
    #[serde(rename = "DisplayName")]
    display: Option<String>,
    #[serde(rename = "Groups")]
    groups: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &str) -> Result<Peer, Silence> {
        Peer::read("100.64.0.5:41000".parse().unwrap(), body.as_bytes())
    }

    fn laptop() -> Value {
        json!({
            "Node": {
                "ID": 5_533_985_513_463_932_u64, "StableID": "nPJ3KzVQ8z11CNTRL", "User": 4_561_237_890_u64,
                "Name": "laptop.tail1234.ts.net.", "Key": "nodekey:c3", "Addresses": ["100.64.0.5/32"],
            },
            "UserProfile": {
                "ID": 4_561_237_890_u64, "LoginName": "alice@example.com", "DisplayName": "Alice Doe",
                "Groups": ["group:storage-admins"],
            },
            "CapMap": { "a.example/cap/flag": null, "a.example/cap/mcp": [{ "scopes": ["storage:read"] }] },
        })
    }

    /// `laptop` with the value at `pointer` replaced, or taken out.
    fn altered(pointer: &str, value: Option<Value>) -> String {
        let mut answer = laptop();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = answer.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => drop(parent.insert(key.to_owned(), value)),
            None => drop(parent.remove(key)),
        }
        answer.to_string()
    }

    #[test]
    fn a_users_node_is_read() {
        let peer = read(&laptop().to_string()).unwrap();
        assert_eq!(peer.node_id(), "nPJ3KzVQ8z11CNTRL");
        assert_eq!(peer.node_name(), "laptop.tail1234.ts.net");
        let user = peer.user().unwrap();
        assert_eq!((user.id(), user.login()), (4_561_237_890, "alice@example.com"));
        assert_eq!(user.groups(), ["group:storage-admins"]);
        assert_eq!(peer.capability("a.example/cap/flag").unwrap().get(), "null");
        assert!(peer.capability("a.example/cap/mcp").unwrap().get().contains("storage:read"));
        assert!(peer.capability("a.example/cap").is_none());
        assert_eq!(peer.note().user.as_deref(), Some("alice@example.com"));
    }

    #[test]
    fn what_may_be_absent_or_null_or_strange_may_be() {
        for (pointer, value) in [
            ("/CapMap", None),
            ("/CapMap", Some(Value::Null)),
            ("/CapMap", Some(json!({ "a.example/x": { "any": ["thing", 1.5] } }))),
            ("/UserProfile/Groups", None),
            ("/UserProfile/Groups", Some(Value::Null)),
            ("/UserProfile/DisplayName", None),
            ("/Node/Tags", Some(Value::Null)),
            ("/Node/Tags", Some(json!([]))),
            ("/Node/Sharer", Some(json!(0))),
            ("/Node/Key", None),
            ("/Node/Hostinfo", Some(json!("of another type"))),
            ("/New", Some(json!([1, 2]))),
            ("/Node/ID", Some(json!(u64::MAX))),
        ] {
            let peer = read(&altered(pointer, value.clone())).unwrap_or_else(|error| {
                panic!("{pointer} as {value:?}: {error:?}");
            });
            assert!(peer.user().is_some() && peer.sharer().is_none(), "{pointer} as {value:?}");
        }
    }

    #[test]
    fn what_an_identity_is_made_of_must_be_there_and_agree() {
        for (pointer, value) in [
            ("/Node", None),
            ("/Node", Some(Value::Null)),
            ("/UserProfile", None),
            ("/UserProfile", Some(json!([]))),
            ("/Node/ID", Some(json!("5533985513463932"))),
            ("/Node/ID", Some(json!(-1))),
            ("/Node/ID", Some(json!(0))),
            ("/Node/StableID", Some(json!(""))),
            ("/Node/StableID", Some(Value::Null)),
            ("/Node/User", Some(json!(1))),
            ("/Node/Tags", Some(json!("tag:ci"))),
            ("/Node/Sharer", Some(json!(-7))),
            ("/UserProfile/ID", Some(json!(4_561_237_890.5))),
            ("/UserProfile/ID", Some(json!(457))),
            ("/UserProfile/LoginName", Some(json!(""))),
            ("/UserProfile/LoginName", None),
            ("/UserProfile/Groups", Some(json!("group:admins"))),
            ("/CapMap", Some(json!([]))),
        ] {
            assert!(read(&altered(pointer, value.clone())).is_err(), "{pointer} as {value:?}");
        }
    }

    #[test]
    fn the_tags_decide_and_not_the_name() {
        let tagged = read(&altered("/Node/Tags", Some(json!(["tag:ci"])))).unwrap();
        assert!(tagged.user().is_none());
        assert_eq!(tagged.note().tags, ["tag:ci"]);
        let named = read(&altered("/UserProfile/LoginName", Some(json!("tagged-devices")))).unwrap();
        assert!(named.user().is_some());
    }

    #[test]
    fn a_shared_node_says_so() {
        assert_eq!(read(&altered("/Node/Sharer", Some(json!(99)))).unwrap().sharer(), Some(99));
    }

    #[test]
    fn hostile_bytes_are_no_peer() {
        let twice = laptop().to_string().replacen(r#""StableID""#, r#""StableID":"nOTHER","StableID""#, 1);
        let deep = altered("/CapMap", Some(json!({}))).replace("{}", &"[".repeat(100_000));
        let trailing = format!("{} {{}}", laptop());
        for body in ["", "null", "[]", "no match for IP:port", "{", &twice, &deep, &trailing] {
            assert!(read(body).is_err(), "{:?}", &body[..body.len().min(60)]);
        }
    }
}
