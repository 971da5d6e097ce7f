//! `[metrics]`

use std::net::SocketAddr;

use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::shown;

use super::server::tailnet_address;

/// Where metrics are served; nowhere where the section is left out.
pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Option<SocketAddr>> {
    root.optional_table("metrics", &keys::METRICS, |metrics| metrics.required("listen", listen))
}

/// What is served there holds no secret and asks nobody who they are, so programs of this machine may have it.
fn listen(text: &str) -> Result<SocketAddr, Complaint> {
    let address: SocketAddr = text.parse().map_err(|_| {
        Complaint::new(format!("{} is not an address and a port", shown(text)))
            .hint("write \"127.0.0.1:9464\", or a tailnet address of this machine and a port")
    })?;
    if address.ip().is_loopback() && address.port() != 0 {
        return Ok(address);
    }
    tailnet_address(address).map_err(|complaint| complaint.hint("write \"127.0.0.1:9464\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_the_tailnet_and_nothing_else() {
        for text in ["127.0.0.1:9464", "[::1]:9464", "100.64.0.1:9464", "[fd7a:115c:a1e0::1]:9464"] {
            assert_eq!(listen(text).unwrap().to_string(), text);
        }
        for text in
            ["0.0.0.0:9464", "[::]:9464", "192.168.1.2:9464", "8.8.8.8:1", "127.0.0.1:0", "127.0.0.1", "x"]
        {
            assert!(listen(text).is_err(), "{text}");
        }
    }
}
