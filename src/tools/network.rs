//! The network as the NAS sees it.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::nas::methods::network;

use super::render::foreign;
use super::seen::Seen;
use super::{Entry, Items, Log, Need, Nothing, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Config>()]
}

struct Config;

/// Interfaces, gateways, name servers.
#[derive(Serialize, JsonSchema)]
struct ConfigOutput {
    /// Interfaces, by name.
    interfaces: Vec<Interface>,
    /// Gateways.
    gateways: Vec<String>,
    /// Name servers.
    name_servers: Vec<String>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Interface {
    /// Device name.
    name: String,
    /// PHYSICAL, VLAN, BRIDGE, `LINK_AGGREGATION`.
    kind: Option<String>,
    /// up, down or unknown.
    link: Option<String>,
    /// Speed and kind of link.
    media: Option<String>,
    /// Addresses with the length of their prefix.
    addresses: Vec<String>,
    /// Whether it takes its address from DHCP.
    dhcp: Option<bool>,
    /// Largest packet, where somebody set it.
    mtu: Option<u32>,
    /// Tag of a VLAN.
    vlan: Option<u32>,
    /// Interfaces it is made of or rides on.
    over: Vec<String>,
    /// What somebody wrote about it.
    description: Option<String>,
}

impl Tool for Config {
    const NAME: &'static str = "network_config";
    const TITLE: &'static str = "Network";
    const DESCRIPTION: &'static str =
        "Network interfaces with link, speed and addresses, and the gateways and name servers of the NAS.";
    const SCOPE: Scope = Scope::NetworkRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![network::Interfaces, network::Summary];
    type Args = Nothing;
    type Output = ConfigOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<ConfigOutput, ToolError> {
        let interfaces = nas.call(network::Interfaces, network::all()).await?;
        let mut seen = Seen::default();
        let summary = nas.call(network::Summary, []).await.map(Some);
        let summary = seen.or_default("gateways and name servers", summary)?;
        let texts = |texts: &[String]| texts.iter().map(|text| foreign(text, 100)).collect();
        Ok(ConfigOutput {
            interfaces: interfaces.into_iter().map(interface).collect(),
            gateways: summary.as_ref().map(|summary| texts(&summary.default_routes)).unwrap_or_default(),
            name_servers: summary.as_ref().map(|summary| texts(&summary.nameservers)).unwrap_or_default(),
            not_seen: seen.not,
        })
    }
}

fn interface(interface: network::Interface) -> Interface {
    let state = interface.state.unwrap_or_default();
    let over =
        interface.lag_ports.iter().chain(&interface.bridge_members).chain(&interface.vlan_parent_interface);
    let some = |text: Option<String>| text.map(|text| foreign(&text, 100)).filter(|text| !text.is_empty());
    Interface {
        name: foreign(&interface.name, 60),
        over: over.map(|name| foreign(name, 60)).collect(),
        kind: some(interface.kind),
        link: some(state.link_state).map(|link| link.trim_start_matches("LINK_STATE_").to_lowercase()),
        media: some(state.active_media_subtype),
        // A LINK alias is the hardware address.
        addresses: state
            .aliases
            .iter()
            .filter(|alias| alias.kind.starts_with("INET"))
            .map(|alias| foreign(&alias.to_string(), 100))
            .collect(),
        dhcp: interface.ipv4_dhcp,
        mtu: interface.mtu,
        vlan: interface.vlan_tag,
        description: some(interface.description),
    }
}

impl Items for ConfigOutput {
    fn items(&self) -> usize {
        self.interfaces.len()
    }
}

impl fmt::Display for ConfigOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for interface in &self.interfaces {
            write!(f, "- {}: link {}", interface.name, interface.link.as_deref().unwrap_or("unknown"))?;
            if let Some(media) = &interface.media {
                write!(f, ", {media}")?;
            }
            match &interface.addresses[..] {
                [] => write!(f, ", no address")?,
                addresses => write!(f, ", {}", addresses.join(", "))?,
            }
            if interface.dhcp == Some(true) {
                write!(f, " (DHCP)")?;
            }
            if let Some(vlan) = interface.vlan {
                write!(f, ", VLAN {vlan}")?;
            }
            if !interface.over.is_empty() {
                write!(f, ", over {}", interface.over.join(", "))?;
            }
            match &interface.description {
                Some(description) => writeln!(f, ": {description}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "Gateways: {}", self.gateways.join(", "))?;
        writeln!(f, "Name servers: {}", self.name_servers.join(", "))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}
