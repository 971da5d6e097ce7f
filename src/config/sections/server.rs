//! `[server]`

use std::net::{IpAddr, SocketAddr};

use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::{absolute_path, shown};
use crate::config::{Listen, Server};

/// The longest path a unix socket can have (`sun_path`, less the closing NUL).
const LONGEST_SOCKET_PATH: usize = 107;

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Server> {
    root.table("server", &keys::SERVER, |server| {
        let url = server.required("url", str::parse);
        let listen = server.required_list("listen", listen);
        Ok(Server { url: url?, listen: listen? })
    })
}

fn listen(text: &str) -> Result<Listen, Complaint> {
    if text == "systemd" {
        return Ok(Listen::Systemd);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        if path.len() > LONGEST_SOCKET_PATH {
            let what = format!("the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes");
            return Err(Complaint::new(what));
        }
        return absolute_path(path)
            .map(Listen::Unix)
            .map_err(|complaint| complaint.hint("write \"unix:/run/tailnas/tailnas.sock\""));
    }
    match text.parse() {
        Ok(address) => tailnet_address(address).map(Listen::Tailnet),
        Err(_) if text.parse::<IpAddr>().is_ok() => Err(Complaint::new("lacks a port")
            .hint("write \"IP:PORT\"; an IPv6 address in brackets, such as \"[fd7a:115c:a1e0::1]:443\"")),
        Err(_) => Err(Complaint::new(format!("{} is not a place to listen", shown(text)))
            .hint("write \"unix:/absolute/path\", \"IP:PORT\" or \"systemd\"")),
    }
}

/// `address`, if it is one of the tailnet: only tailscaled can bring a connection to such an address, and only
/// then does WhoIs say who it is from.
///
/// # Errors
///
/// What is wrong with every other kind of address, with a hint.
pub fn tailnet_address(address: SocketAddr) -> Result<SocketAddr, Complaint> {
    let hint = "listen on this machine's tailnet address (tailscale ip -4), or on a unix socket behind \
                tailscale serve";
    // ::ffff:0.0.0.0 and its like are judged as what they stand for.
    let ip = address.ip().to_canonical();
    let what = if ip.is_unspecified() {
        "would listen on every network of this machine, not on the tailnet alone"
    } else if ip.is_loopback() {
        "is open to every program on this machine, and the tailnet knows none of them"
    } else if is_private(ip) {
        "is an address of the local network, where the tailnet does not say who is asking"
    } else if !is_tailnet(address.ip()) {
        "is not a tailnet address (100.64.0.0/10 or fd7a:115c:a1e0::/48)"
    } else if address.port() == 0 {
        return Err(Complaint::new("has port 0, which is a different port after every start")
            .hint("write the port that [server] url names, usually 443"));
    } else {
        return Ok(address);
    };
    Err(Complaint::new(what).hint(hint))
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(v6) => (v6.is_unique_local() && !is_tailnet(ip)) || v6.is_unicast_link_local(),
    }
}

/// Whether tailscaled gives addresses like this one to the nodes of a tailnet.
#[must_use]
pub fn is_tailnet(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => matches!(ip.segments(), [0xfd7a, 0x115c, 0xa1e0, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen() {
        for (text, expected) in [
            ("systemd", Listen::Systemd),
            ("unix:/run/x.sock", Listen::Unix("/run/x.sock".into())),
            ("100.64.0.0:443", Listen::Tailnet("100.64.0.0:443".parse().unwrap())),
            ("100.127.255.255:1", Listen::Tailnet("100.127.255.255:1".parse().unwrap())),
            ("[fd7a:115c:a1e0::1]:443", Listen::Tailnet("[fd7a:115c:a1e0::1]:443".parse().unwrap())),
        ] {
            assert_eq!(listen(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_other_address_is_refused_for_its_own_reason() {
        let wildcard = "would listen on every network of this machine, not on the tailnet alone";
        let loopback = "is open to every program on this machine, and the tailnet knows none of them";
        let local = "is an address of the local network, where the tailnet does not say who is asking";
        let other = "is not a tailnet address (100.64.0.0/10 or fd7a:115c:a1e0::/48)";
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, what) in [
            ("0.0.0.0:443", wildcard),
            ("[::]:443", wildcard),
            ("[::ffff:0.0.0.0]:443", wildcard),
            ("127.0.0.1:443", loopback),
            ("127.9.9.9:443", loopback),
            ("[::1]:443", loopback),
            ("[::ffff:127.0.0.1]:443", loopback),
            ("192.168.1.2:443", local),
            ("10.0.0.1:443", local),
            ("172.16.0.1:443", local),
            ("169.254.1.1:443", local),
            ("[fd00::1]:443", local),
            ("[fe80::1]:443", local),
            ("100.63.255.255:443", other),
            ("100.128.0.0:443", other),
            ("8.8.8.8:443", other),
            ("[2001:db8::1]:443", other),
            ("[::ffff:100.64.0.1]:443", other),
            ("100.64.0.1:0", "has port 0, which is a different port after every start"),
            ("100.64.0.1", "lacks a port"),
            ("fd7a:115c:a1e0::1", "lacks a port"),
            ("unix:run/x.sock", "should be an absolute path"),
            (&long, "the path of a unix socket has at most 107 bytes"),
            ("nas:443", "\"nas:443\" is not a place to listen"),
            (":443", "\":443\" is not a place to listen"),
            ("Systemd", "\"Systemd\" is not a place to listen"),
        ] {
            assert_eq!(listen(text).unwrap_err().to_string(), what, "{text}");
        }
    }
}
