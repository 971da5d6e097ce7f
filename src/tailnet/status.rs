//! Who we are on the tailnet.

use std::net::IpAddr;

use serde::Deserialize;

use super::{DEEPEST, Silence};
use crate::net::json;

/// The state of our own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailnetStatus {
    backend_state: String,
    addresses: Vec<IpAddr>,
    dns_name: String,
    cert_domains: Vec<String>,
    self_id: String,
}

impl TailnetStatus {
    /// tailscaled's own word: `Running`, `NeedsLogin`, `Stopped` …
    #[must_use]
    pub fn backend_state(&self) -> &str {
        &self.backend_state
    }

    /// Whether the node is on the tailnet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.backend_state == "Running"
    }

    /// Our tailnet addresses. Empty until the node has logged in.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Our name, without the closing dot. May be empty.
    #[must_use]
    pub fn dns_name(&self) -> &str {
        &self.dns_name
    }

    /// The names tailscaled can get certificates for.
    #[must_use]
    pub fn cert_domains(&self) -> &[String] {
        &self.cert_domains
    }

    /// The stable id of our node. May be empty until the node has logged in.
    #[must_use]
    pub fn self_id(&self) -> &str {
        &self.self_id
    }

    pub(super) fn read(body: &[u8]) -> Result<Self, Silence> {
        json::check(body, DEEPEST)?;
        let answer: Answer = serde_json::from_slice(body)?;
        let own = answer.own.unwrap_or_default();
        Ok(Self {
            backend_state: answer.backend_state,
            addresses: answer.addresses.unwrap_or_default(),
            dns_name: own.dns_name.trim_end_matches('.').to_owned(),
            cert_domains: answer.cert_domains.unwrap_or_default(),
            self_id: own.id,
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "BackendState")]
    backend_state: String,
    #[serde(rename = "TailscaleIPs")]
    addresses: Option<Vec<IpAddr>>,
    #[serde(rename = "Self")]
    own: Option<Own>,
    #[serde(rename = "CertDomains")]
    cert_domains: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Own {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "DNSName", default)]
    dns_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_node_knows_itself() {
        let status = TailnetStatus::read(
            br#"{"Version":"1.102.3","BackendState":"Running","TailscaleIPs":["100.64.0.1","fd7a:115c:a1e0::1"],
                "Self":{"ID":"nSELF","PublicKey":"nodekey:00","DNSName":"nas.tail1234.ts.net.","UserID":7},
                "CurrentTailnet":{"Name":"x","MagicDNSSuffix":"tail1234.ts.net","MagicDNSEnabled":true},
                "CertDomains":["nas.tail1234.ts.net"],"Peer":null}"#,
        )
        .unwrap();
        assert!(status.is_running());
        assert_eq!(status.self_id(), "nSELF");
        assert_eq!(status.dns_name(), "nas.tail1234.ts.net");
        assert_eq!(status.addresses().len(), 2);
        assert_eq!(status.cert_domains(), ["nas.tail1234.ts.net"]);
    }

    #[test]
    fn a_node_that_has_not_logged_in_has_no_identity() {
        let status = TailnetStatus::read(
            br#"{"BackendState":"NeedsLogin","TailscaleIPs":null,"Self":null,"CertDomains":null}"#,
        )
        .unwrap();
        assert!(!status.is_running());
        assert_eq!(status.self_id(), "");
    }
}
