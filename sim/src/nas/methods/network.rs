//! `interface.*` and `network.*`

use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;

pub(super) const METHODS: &[Method] = &[
    method("interface.query", Access::Role("NETWORK_INTERFACE_READ"), QUERY, interfaces),
    method("network.general.summary", Access::Role("NETWORK_GENERAL_READ"), &[], summary),
];

fn interfaces(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let row = |name: &str, up: bool, address: Option<&str>| {
        let aliases: Vec<_> = address
            .map(|address| {
                json!({"type": "INET", "address": address, "netmask": 24, "broadcast": "192.168.1.255"})
            })
            .into_iter()
            .collect();
        let mut row = json!({
            "id": name,
            "name": name,
            "fake": false,
            "type": "PHYSICAL",
            "aliases": [],
            "ipv4_dhcp": up,
            "ipv6_auto": false,
            "description": "",
            "mtu": null,
            "state": {
                "name": name,
                "orig_name": name,
                "description": name,
                "mtu": 1500,
                "cloned": false,
                "flags": if up { vec!["UP", "RUNNING"] } else { Vec::new() },
                "nd6_flags": [],
                "capabilities": [],
                "link_state": if up { "LINK_STATE_UP" } else { "LINK_STATE_DOWN" },
                "media_type": "Ethernet",
                "media_subtype": "autoselect",
                "active_media_type": "Ethernet",
                "active_media_subtype": if up { "1000Mb/s Twisted Pair" } else { "" },
                "supported_media": [],
                "media_options": null,
                "link_address": "02:00:00:00:00:01",
                "permanent_link_address": "02:00:00:00:00:01",
                "hardware_link_address": "02:00:00:00:00:01",
                "rx_queues": 4,
                "tx_queues": 4,
                "aliases": aliases,
            },
        });
        if generation == Generation::V25_04 {
            for alias in row["state"]["aliases"].as_array_mut().into_iter().flatten() {
                alias["netmask"] = json!("24");
            }
        }
        row
    };
    context.query(vec![row("eno1", true, Some("192.168.1.20")), row("eno2", false, None)])
}

fn summary(_: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(json!({
        "ips": {"eno1": {"IPV4": ["192.168.1.20/24"], "IPV6": []}},
        "default_routes": ["192.168.1.1"],
        "nameservers": ["192.168.1.1", "9.9.9.9"],
    })))
}
