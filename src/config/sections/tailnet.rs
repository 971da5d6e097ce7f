//! `[tailnet]`

use crate::config::Tailnet;
use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::absolute_path;

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Tailnet> {
    root.table_or_defaults("tailnet", &keys::TAILNET, |tailnet| {
        let socket = tailnet.optional("socket", absolute_path);
        let capability = tailnet.optional("capability", capability);
        Ok(Tailnet {
            socket: socket?.unwrap_or_else(|| "/run/tailscale/tailscaled.sock".into()),
            capability: capability?.unwrap_or_else(|| "tailnas.dev/cap/mcp".to_owned()),
        })
    })
}

/// `DOMAIN/PATH`, as Tailscale wants the names of application capabilities.
fn capability(text: &str) -> Result<String, Complaint> {
    let malformed = || Complaint::new("should be a domain, a slash and a path, without https://");
    let (domain, path) = text.split_once('/').ok_or_else(malformed)?;
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let step = |step: &str| {
        !step.is_empty()
            && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if !domain.contains('.') || !domain.split('.').all(label) || !path.split('/').all(step) {
        return Err(malformed());
    }
    if domain == "tailscale.com" || domain.ends_with(".tailscale.com") {
        return Err(Complaint::new("tailscale.com names Tailscale's own capabilities, not ours"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        for text in ["tailnas.dev/cap/mcp", "a.example/x", "nottailscale.com/x"] {
            assert_eq!(capability(text).as_deref(), Ok(text));
        }
        for text in [
            "tailnas.dev",
            "/cap",
            "dev/cap",
            "a.b/",
            "a.b/c//d",
            "https://a.b/c",
            "A.b/c",
            "a..b/c",
            "a.b/c d",
        ] {
            assert!(capability(text).is_err(), "{text}");
        }
        for text in ["tailscale.com/cap/x", "x.tailscale.com/cap/x"] {
            assert!(capability(text).unwrap_err().to_string().contains("Tailscale's own"), "{text}");
        }
    }
}
