//! The JSON of WhoIs and status, in the order and with the omissions of tailscaled's Go types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::http::go_json;
use super::tailnet::{Owner, Peer, Tailnet};

const TAB: Option<&[u8]> = Some(b"\t");

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WhoIs {
    node: Node,
    user_profile: UserProfile,
    /// A node without capabilities has `null` here, not `{}`; a capability without values likewise.
    cap_map: Option<BTreeMap<String, Option<Vec<Value>>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(rename = "StableID")]
    stable_id: String,
    name: String,
    user: u64,
    #[serde(skip_serializing_if = "is_zero")]
    sharer: u64,
    key: String,
    #[serde(flatten)]
    machine: Option<Machine>,
    addresses: Vec<String>,
    #[serde(rename = "AllowedIPs", skip_serializing_if = "Vec::is_empty")]
    allowed_ips: Vec<String>,
    #[serde(flatten)]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(flatten)]
    flags: Option<Flags>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Machine {
    key_expiry: &'static str,
    machine: String,
    disco_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    #[serde(rename = "HomeDERP")]
    home_derp: u32,
    hostinfo: Hostinfo,
    created: &'static str,
    cap: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Hostinfo {
    #[serde(rename = "OS")]
    os: &'static str,
    #[serde(rename = "OSVersion")]
    os_version: &'static str,
    hostname: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Flags {
    online: bool,
    machine_authorized: bool,
    computed_name: String,
    computed_name_with_host: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UserProfile {
    #[serde(rename = "ID")]
    id: u64,
    login_name: String,
    display_name: String,
    #[serde(rename = "ProfilePicURL", skip_serializing_if = "String::is_empty")]
    profile_pic_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
}

pub(super) fn whois(peer: &Peer) -> String {
    let node = &peer.node;
    let user = node.user();
    // A user's node has everything filled in, a tagged one only what is never omitted: both ends of what
    // a client must be able to read.
    let full = matches!(node.owner, Owner::User(_));
    let prefixes: Vec<String> = node.addresses.iter().map(prefix).collect();
    let answer = WhoIs {
        node: Node {
            id: node.id,
            stable_id: node.stable_id(),
            name: peer.name.clone(),
            user: user.id,
            sharer: node.sharer,
            key: node.key(),
            machine: full.then(|| Machine {
                key_expiry: "2027-05-01T00:00:00Z",
                machine: format!("mkey:{}", node.digest("machine")),
                disco_key: format!("discokey:{}", node.digest("disco")),
            }),
            allowed_ips: if full { prefixes.clone() } else { Vec::new() },
            addresses: prefixes,
            details: full.then(|| Details {
                home_derp: 4,
                hostinfo: Hostinfo { os: "linux", os_version: "6.12.0", hostname: node.host.clone() },
                created: "2026-01-01T00:00:00Z",
                cap: 130,
            }),
            tags: node.tags().to_vec(),
            flags: full.then(|| Flags {
                online: true,
                machine_authorized: true,
                computed_name: node.host.clone(),
                computed_name_with_host: node.host.clone(),
            }),
        },
        user_profile: UserProfile {
            id: user.id,
            login_name: user.login,
            display_name: user.display,
            profile_pic_url: user.picture,
            groups: user.groups,
        },
        cap_map: (!peer.capabilities.is_empty()).then(|| {
            let values = |values: &Vec<Value>| (!values.is_empty()).then(|| values.clone());
            peer.capabilities.iter().map(|(name, all)| (name.clone(), values(all))).collect()
        }),
    };
    go_json(&answer, TAB)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    version: &'static str,
    #[serde(rename = "TUN")]
    tun: bool,
    backend_state: String,
    have_node_key: bool,
    #[serde(rename = "AuthURL")]
    auth_url: &'static str,
    #[serde(rename = "TailscaleIPs")]
    tailscale_ips: Option<Vec<IpAddr>>,
    #[serde(rename = "Self")]
    us: PeerStatus,
    health: Vec<String>,
    #[serde(rename = "MagicDNSSuffix")]
    magic_dns_suffix: String,
    current_tailnet: CurrentTailnet,
    cert_domains: Option<Vec<String>>,
    peer: Option<BTreeMap<String, PeerStatus>>,
    user: BTreeMap<String, UserProfile>,
    client_version: Option<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CurrentTailnet {
    name: String,
    #[serde(rename = "MagicDNSSuffix")]
    magic_dns_suffix: String,
    #[serde(rename = "MagicDNSEnabled")]
    magic_dns_enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PeerStatus {
    #[serde(rename = "ID")]
    id: String,
    public_key: String,
    host_name: String,
    #[serde(rename = "DNSName")]
    dns_name: String,
    #[serde(rename = "OS")]
    os: &'static str,
    #[serde(rename = "UserID")]
    user_id: u64,
    #[serde(rename = "TailscaleIPs")]
    tailscale_ips: Vec<IpAddr>,
    #[serde(rename = "AllowedIPs")]
    allowed_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    online: bool,
    in_network_map: bool,
    in_magic_sock: bool,
    in_engine: bool,
}

pub(super) fn status(tailnet: &Tailnet, with_peers: bool) -> String {
    let (us, suffix, state) = (tailnet.us(), tailnet.suffix(), tailnet.backend_state());
    let running = state == "Running";
    let peers = tailnet.peers();
    let profile = |peer: &Peer| {
        let user = peer.node.user();
        let profile = UserProfile {
            id: user.id,
            login_name: user.login,
            display_name: user.display,
            profile_pic_url: user.picture,
            groups: Vec::new(),
        };
        (user.id.to_string(), profile)
    };
    let status = Status {
        version: "1.102.3-t0000000000-g0000000000",
        tun: true,
        have_node_key: true,
        auth_url: "",
        tailscale_ips: running.then(|| us.node.addresses.clone()),
        us: PeerStatus { online: running, in_network_map: running, in_magic_sock: false, ..peer_status(&us) },
        health: Vec::new(),
        magic_dns_suffix: suffix.clone(),
        cert_domains: (running && tailnet.https()).then(|| vec![tailnet.self_name()]),
        current_tailnet: CurrentTailnet {
            name: "example.com".to_owned(),
            magic_dns_suffix: suffix,
            magic_dns_enabled: true,
        },
        user: peers.iter().chain([&us]).map(profile).collect(),
        peer: with_peers.then(|| peers.iter().map(|peer| (peer.node.key(), peer_status(peer))).collect()),
        client_version: None,
        backend_state: state,
    };
    go_json(&status, TAB) + "\n"
}

fn peer_status(peer: &Peer) -> PeerStatus {
    PeerStatus {
        id: peer.node.stable_id(),
        public_key: peer.node.key(),
        host_name: peer.node.host.clone(),
        dns_name: peer.name.clone(),
        os: "linux",
        user_id: peer.node.user().id,
        tailscale_ips: peer.node.addresses.clone(),
        allowed_ips: peer.node.addresses.iter().map(prefix).collect(),
        tags: peer.node.tags().to_vec(),
        online: true,
        in_network_map: true,
        in_magic_sock: true,
        in_engine: false,
    }
}

/// An address as the prefix that holds only itself.
pub(crate) fn prefix(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
