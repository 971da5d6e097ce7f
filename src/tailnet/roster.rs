//! Everybody on the tailnet, as far as our node is told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::{DEEPEST, Silence};
use crate::net::json;

/// The nodes that our node knows of, in no order that means anything.
#[derive(Clone, Debug)]
pub struct Roster {
    own: Node,
    others: Vec<Node>,
}

/// One node. This says where to look and nothing about rights: who somebody is, WhoIs tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: String,
    addresses: Vec<IpAddr>,
    tags: Vec<String>,
    user_id: u64,
    login: String,
}

impl Roster {
    /// Our own node.
    #[must_use]
    pub const fn own(&self) -> &Node {
        &self.own
    }

    /// All the others.
    #[must_use]
    pub fn others(&self) -> &[Node] {
        &self.others
    }

    pub(super) fn read(body: &[u8]) -> Result<Self, Silence> {
        json::check(body, DEEPEST)?;
        let Answer { own, peers, users } = serde_json::from_slice(body)?;
        let users = users.unwrap_or_default();
        let node = |status: Status| {
            let login = users.get(&status.user_id.to_string()).map(|user| user.login.clone());
            Node {
                name: status.dns_name.trim_end_matches('.').to_owned(),
                addresses: status.addresses.unwrap_or_default(),
                tags: status.tags.unwrap_or_default(),
                user_id: status.user_id,
                login: login.unwrap_or_default(),
            }
        };
        Ok(Self { own: node(own), others: peers.unwrap_or_default().into_values().map(node).collect() })
    }
}

impl Node {
    /// Its DNS name, without the closing dot.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tailnet addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its tags; empty for a user's node.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The id of the user whose node it is; `None` for a tagged one, which is nobody's.
    #[must_use]
    pub fn user_id(&self) -> Option<u64> {
        self.tags.is_empty().then_some(self.user_id)
    }

    /// That user's login.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        (self.tags.is_empty() && !self.login.is_empty()).then_some(&*self.login)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Self")]
    own: Status,
    #[serde(rename = "Peer")]
    peers: Option<BTreeMap<String, Status>>,
    #[serde(rename = "User")]
    users: Option<BTreeMap<String, User>>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "DNSName", default)]
    dns_name: String,
    #[serde(rename = "UserID", default)]
    user_id: u64,
    #[serde(rename = "TailscaleIPs")]
    addresses: Option<Vec<IpAddr>>,
    #[serde(rename = "Tags")]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct User {
    #[serde(rename = "LoginName", default)]
    login: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_their_users_or_nobodys() {
        let roster = Roster::read(
            br#"{"Self":{"ID":"n1","DNSName":"nas-mcp.tail1234.ts.net.","UserID":9,"Tags":["tag:tailnas"]},
                "Peer":{"nodekey:1":{"DNSName":"laptop.tail1234.ts.net.","UserID":456,"TailscaleIPs":["100.64.0.5"]},
                        "nodekey:2":{"DNSName":"ci.","UserID":9,"Tags":["tag:ci"],"TailscaleIPs":null}},
                "User":{"456":{"ID":456,"LoginName":"alice@example.com"},"9":{"LoginName":"tagged-devices"}}}"#,
        )
        .unwrap();
        assert_eq!((roster.own().name(), roster.own().login()), ("nas-mcp.tail1234.ts.net", None));
        let of = |name: &str| roster.others().iter().find(|node| node.name() == name).unwrap();
        let laptop = of("laptop.tail1234.ts.net");
        assert_eq!((laptop.user_id(), laptop.login()), (Some(456), Some("alice@example.com")));
        assert_eq!(laptop.addresses(), ["100.64.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!((of("ci").user_id(), of("ci").login(), of("ci").tags().len()), (None, None, 1));
    }

    #[test]
    fn hostile_bytes_are_no_roster() {
        for body in
            ["", "null", "{}", r#"{"Self":null}"#, r#"{"Self":{"UserID":-1}}"#, r#"{"Self":{},"Peer":[1]}"#]
        {
            assert!(Roster::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
