//! Ports of the NAS that an app asks for.

use std::net::IpAddr;

use serde_json::Value;

use super::rule::Rule;

/// Most ports of one range.
const LONGEST_RANGE: u16 = 1000;

/// Ports of the NAS at which an app would be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The service, or the key of the values it stands under.
    pub of: String,
    /// The address it is bound to; all of them where none is named.
    pub ip: Option<IpAddr>,
    /// The first port, and the last.
    pub range: (u16, u16),
    /// Whether it is UDP and not TCP.
    pub udp: bool,
}

/// A port of an app to which Docker gives a port of the NAS that nobody names, another at each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The service it is of.
    pub of: String,
    /// The address it is bound to; all of them where none is named.
    pub ip: Option<IpAddr>,
    /// The first port inside, and the last.
    pub inside: (u16, u16),
    /// Whether it is UDP and not TCP.
    pub udp: bool,
}

/// What an entry of `ports` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Ports that it names.
    Named(Published),
    /// Ports that Docker chooses.
    Chosen(Chosen),
}

impl Published {
    /// Whether two of them cannot both be had.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        self.udp == other.udp
            && self.range.0 <= other.range.1
            && other.range.0 <= self.range.1
            && (any(self.ip) || any(other.ip) || self.ip == other.ip)
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        spelled(f, self.range, self.udp)
    }
}

impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a port that Docker chooses, another at each start, ")?;
        match self.ip {
            Some(ip) => write!(f, "at {ip}")?,
            None => f.write_str("at every address")?,
        }
        f.write_str(" (inside it is ")?;
        spelled(f, self.inside, self.udp)?;
        f.write_str(")")
    }
}

/// `8000-8010/tcp`
fn spelled(f: &mut std::fmt::Formatter<'_>, (first, last): (u16, u16), udp: bool) -> std::fmt::Result {
    write!(f, "{first}")?;
    if last != first {
        write!(f, "-{last}")?;
    }
    f.write_str(if udp { "/udp" } else { "/tcp" })
}

/// An entry of `ports`.
pub(super) fn entry(service: &str, entry: &Value) -> Result<Entry, Rule> {
    let chosen = |inside, ip, udp| Entry::Chosen(Chosen { of: service.to_owned(), ip, inside, udp });
    match entry {
        // A number alone is a port of the container.
        Value::Number(_) => range_of(entry).map(|inside| chosen(inside, None, false)),
        Value::String(text) => short(service, text),
        Value::Object(fields) => {
            let known = ["target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"];
            if fields.keys().any(|key| !known.contains(&key.as_str())) {
                return Err(Rule::UnknownKey);
            }
            let udp = match fields.get("protocol").map(Value::as_str) {
                None | Some(Some("tcp")) => false,
                Some(Some("udp")) => true,
                Some(_) => return Err(Rule::Port),
            };
            // "ingress" is for swarms, and without one it is the same.
            if !fields.get("mode").is_none_or(|mode| mode == "host" || mode == "ingress") {
                return Err(Rule::Shape);
            }
            let target = range_of(fields.get("target").ok_or(Rule::Port)?)?;
            let ip = match fields.get("host_ip").map(Value::as_str) {
                None => None,
                Some(Some(ip)) => Some(ip.parse().map_err(|_| Rule::Port)?),
                Some(None) => return Err(Rule::Port),
            };
            let Some(published) = fields.get("published").filter(|published| **published != "") else {
                return Ok(chosen(target, ip, udp));
            };
            fits(Published { of: service.to_owned(), ip, range: range_of(published)?, udp }, target)
        }
        _ => Err(Rule::Shape),
    }
}

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`
fn short(service: &str, text: &str) -> Result<Entry, Rule> {
    let (ports, udp) = match text.rsplit_once('/') {
        None => (text, false),
        Some((ports, "tcp")) => (ports, false),
        Some((ports, "udp")) => (ports, true),
        Some(_) => return Err(Rule::Port),
    };
    let chosen = |inside, ip| Entry::Chosen(Chosen { of: service.to_owned(), ip, inside, udp });
    let Some((before, target)) = ports.rsplit_once(':') else {
        return range(ports).map(|inside| chosen(inside, None));
    };
    let (ip, published) = match before.rsplit_once(':') {
        None => (None, before),
        Some((ip, published)) => {
            let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            (Some(ip.parse().map_err(|_| Rule::Port)?), published)
        }
    };
    let target = range(target)?;
    if published.is_empty() {
        return Ok(chosen(target, ip));
    }
    fits(Published { of: service.to_owned(), ip, range: range(published)?, udp }, target)
}

/// As many ports outside as inside.
fn fits(published: Published, target: (u16, u16)) -> Result<Entry, Rule> {
    let (first, last) = published.range;
    // A range outside for one port inside lets Docker choose: it is the whole range that is asked for.
    if last - first > LONGEST_RANGE || (target.1 != target.0 && last - first != target.1 - target.0) {
        return Err(Rule::Port);
    }
    if first < 1024 {
        return Err(Rule::LowPort);
    }
    Ok(Entry::Named(published))
}

fn range_of(value: &Value) -> Result<(u16, u16), Rule> {
    match value {
        Value::Number(number) => {
            let port = number.as_u64().and_then(port_of).ok_or(Rule::Port)?;
            Ok((port, port))
        }
        Value::String(text) => range(text),
        _ => Err(Rule::Port),
    }
}

fn range(text: &str) -> Result<(u16, u16), Rule> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).and_then(port_of).ok_or(Rule::Port)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(Rule::Port) } else { Ok((first, last)) }
}

fn port_of(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(ports: &Value) -> Published {
        match entry("web", ports) {
            Ok(Entry::Named(port)) => port,
            other => panic!("{ports}: {other:?}"),
        }
    }

    #[test]
    fn ports_are_read_in_every_spelling() {
        for (text, said) in [
            ("8080:80", "8080/tcp"),
            ("8080:80/udp", "8080/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080/tcp"),
            ("[::1]:8080:80", "[::1]:8080/tcp"),
            ("8000-8010:9000-9010", "8000-8010/tcp"),
            ("8000-8010:80", "8000-8010/tcp"),
        ] {
            assert_eq!(named(&json!(text)).to_string(), said, "{text}");
        }
        for (unnamed, at, inside) in [
            (json!(80), "at every address", "80/tcp"),
            (json!("80"), "at every address", "80/tcp"),
            (json!("80/udp"), "at every address", "80/udp"),
            (json!("3000-3005"), "at every address", "3000-3005/tcp"),
            (json!("127.0.0.1::80"), "at 127.0.0.1", "80/tcp"),
            (json!("[::1]::80/udp"), "at ::1", "80/udp"),
            (json!({ "target": 80 }), "at every address", "80/tcp"),
            (json!({ "target": "80", "published": "", "host_ip": "127.0.0.1" }), "at 127.0.0.1", "80/tcp"),
        ] {
            let Ok(Entry::Chosen(port)) = entry("web", &unnamed) else { panic!("{unnamed}") };
            let said = port.to_string();
            assert!(said.contains(at) && said.contains(&format!("(inside it is {inside})")), "{said}");
        }
        for (bad, rule) in [
            (json!("0:80"), Rule::Port),
            (json!("70000:80"), Rule::Port),
            (json!("+8080:80"), Rule::Port),
            (json!("8010-8000:80"), Rule::Port),
            (json!("8000-8010:80-81"), Rule::Port),
            (json!("1024-65535:80"), Rule::Port),
            (json!("nas:8080:80"), Rule::Port),
            (json!("8080:80/sctp"), Rule::Port),
            (json!("443:443"), Rule::LowPort),
            (json!("1000-2000:80"), Rule::LowPort),
            (json!({ "target": 80, "published": "22" }), Rule::LowPort),
            (json!({ "target": 80, "published": 8080, "x": 1 }), Rule::UnknownKey),
            (json!({ "published": 8080 }), Rule::Port),
            (json!([80]), Rule::Shape),
        ] {
            assert_eq!(entry("web", &bad), Err(rule), "{bad}");
        }
    }

    #[test]
    fn addresses_that_cannot_both_be_bound_collide() {
        let at = |text: &str| named(&json!(text));
        assert!(at("8080:80").collides(&at("127.0.0.1:8080:80")));
        assert!(at("0.0.0.0:8080:80").collides(&at("192.168.1.2:8080:80")));
        assert!(at("8000-8010:80").collides(&at("8010:80")));
        assert!(!at("8080:80").collides(&at("8080:80/udp")));
        assert!(!at("127.0.0.1:8080:80").collides(&at("192.168.1.2:8080:80")));
    }
}
