//! Interfaces and where packets go.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::query::{Query, Queryable};
use super::{Method, Nothing};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// The network interfaces.
#[derive(Clone, Copy, Debug)]
pub struct Interfaces;

/// Gateways and name servers.
#[derive(Clone, Copy, Debug)]
pub struct Summary;

/// Every interface.
#[must_use]
pub fn all() -> Query<Interfaces> {
    Query::all().order("name")
}

/// An interface.
#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    /// Device name.
    pub name: String,
    /// `PHYSICAL`, `VLAN`, `BRIDGE`, `LINK_AGGREGATION`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// It takes its address from DHCP.
    #[serde(default)]
    pub ipv4_dhcp: Option<bool>,
    /// Largest packet, where somebody set it.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// What a VLAN rides on.
    #[serde(default)]
    pub vlan_parent_interface: Option<String>,
    /// Its tag.
    #[serde(default)]
    pub vlan_tag: Option<u32>,
    /// What an aggregation is made of.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub lag_ports: Vec<String>,
    /// What a bridge joins.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub bridge_members: Vec<String>,
    /// How it is.
    #[serde(default)]
    pub state: Option<InterfaceState>,
}

/// How an interface is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct InterfaceState {
    /// `LINK_STATE_UP`, `LINK_STATE_DOWN`, `LINK_STATE_UNKNOWN`.
    #[serde(default)]
    pub link_state: Option<String>,
    /// Speed and kind of link, `1000Mb/s Twisted Pair`.
    #[serde(default)]
    pub active_media_subtype: Option<String>,
    /// Its addresses.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub aliases: Vec<Alias>,
}

/// An address of an interface.
#[derive(Clone, Debug, Deserialize)]
pub struct Alias {
    /// `INET`, `INET6`, `LINK`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
    /// Length of the prefix, or a mask in text.
    #[serde(default)]
    pub netmask: Value,
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netmask {
            Value::Number(bits) => write!(f, "{}/{bits}", self.address),
            Value::String(mask) => write!(f, "{}/{mask}", self.address),
            _ => f.write_str(&self.address),
        }
    }
}

/// What [`Summary`] answers.
#[derive(Clone, Debug, Deserialize)]
pub struct General {
    /// Gateways.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub default_routes: Vec<String>,
    /// Name servers.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub nameservers: Vec<String>,
}

impl Queryable for Interfaces {
    const SELECT: &'static [&'static str] = &[
        "name",
        "type",
        "description",
        "ipv4_dhcp",
        "mtu",
        "vlan_parent_interface",
        "vlan_tag",
        "lag_ports",
        "bridge_members",
        "state.link_state",
        "state.active_media_subtype",
        "state.aliases",
    ];
}

impl Method for Interfaces {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Interface>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("interface.query");
    const ROLE: Option<&'static str> = Some("NETWORK_INTERFACE_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        all()
    }
}

impl Method for Summary {
    type Access = Read;
    type Params = Nothing;
    type Reply = General;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("network.general.summary");
    const ROLE: Option<&'static str> = Some("NETWORK_GENERAL_READ");

    fn example() -> Self::Params {
        []
    }
}
