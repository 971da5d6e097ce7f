//! Values that several sections have: paths, web addresses, secrets' places.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::problem::Complaint;
use crate::secret::SecretSource;

/// What every text must be, whatever it means: something, on one line, and not a secret.
pub(super) fn plain(text: &str) -> Result<&str, Complaint> {
    if holds_api_key(text) {
        // Wherever it was pasted: it is in a file that others can read, and must not be printed as well.
        return Err(Complaint::new("this looks like an API key, and secrets do not belong in this file")
            .hint(
                "keep the key in a file that only its owner may read and write \"credential:NAME\" or \
             \"file:/absolute/path\" here; then replace the key on the NAS, because this one was exposed",
            ));
    }
    if text.is_empty() {
        return Err(Complaint::new("is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Complaint::new("holds a control character, such as a line break"));
    }
    if text.trim() != text {
        return Err(Complaint::new("begins or ends with white space"));
    }
    Ok(text)
}

/// `value` as it may be shown: escaped, and not longer than a line.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
        None => format!("{value:?}"),
    }
}

/// The name of a key that somebody made up, as it may be shown.
pub(super) fn shown_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if holds_api_key(name) {
        "(something that looks like an API key)".to_owned()
    } else if !name.is_empty() && name.len() <= 80 && name.chars().all(bare) {
        name.to_owned()
    } else {
        shown(name)
    }
}

/// The API keys of TrueNAS are a number, `-` and 64 letters and digits.
fn holds_api_key(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| {
        word.split_once('-').is_some_and(|(number, rest)| {
            !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && rest.len() == 64
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    })
}

/// A path from the root. What it is relative to otherwise depends on who starts us.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Complaint> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err(Complaint::new("should be an absolute path"))
    }
}

/// A size from 64 KiB on, such as `64 MiB`.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    let complain = |what| Complaint::new(what).hint("write a size such as \"64 MiB\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(complain("should be a whole number of KiB, MiB or GiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= 64 << 10).ok_or_else(|| complain("should be at least 64 KiB"))
}

/// `credential:NAME` or `file:/absolute/path`. The value is never shown: it may be the secret itself.
pub(super) fn secret_source(text: &str) -> Result<SecretSource, Complaint> {
    let complain = |what| Complaint::new(what).hint("write \"credential:NAME\" or \"file:/absolute/path\"");
    if let Some(name) = text.strip_prefix("credential:") {
        // The name becomes a file name below $CREDENTIALS_DIRECTORY and must not lead out of it.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.bytes().all(fits) {
            return Err(complain("the name of a credential has letters, digits, '-', '_' and '.' only"));
        }
        Ok(SecretSource::Credential(name.to_owned()))
    } else if let Some(path) = text.strip_prefix("file:") {
        if !Path::new(path).is_absolute() {
            return Err(complain("the file of a secret should be an absolute path"));
        }
        Ok(SecretSource::File(PathBuf::from(path)))
    } else {
        Err(complain("should say where the secret is kept, not what it is"))
    }
}

/// An address on the web: `https`, or `http` on this machine alone. No user, no query, no fragment, and spelt
/// as every URL library spells it, so that comparing it as text is enough.
pub(super) fn web_url(text: &str) -> Result<Url, Complaint> {
    let url = Url::parse(text).map_err(|error| Complaint::new(format!("is not a URL: {error}")))?;
    // First of all, because what follows may show parts of it.
    no_user(&url)?;
    match url.scheme() {
        "https" => {}
        "http" if url.host().is_some_and(|host| is_loopback(&host)) => {}
        "http" => {
            return Err(Complaint::new("http is accepted for loopback hosts only, others could listen in")
                .hint("write https://"));
        }
        _ => return Err(Complaint::new("should begin with https://")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Complaint::new("should have no query (?…) and no fragment (#…)"));
    }
    // A URL without a path gets a "/" when it is parsed.
    let normal = url.as_str();
    if text != normal && format!("{text}/") != normal {
        return Err(
            Complaint::new("is not spelt the way programs spell it").hint(format!("write {normal:?}"))
        );
    }
    Ok(url)
}

/// A URL with `user:password@` would put a secret into the file and into every log.
pub(super) fn no_user(url: &Url) -> Result<(), Complaint> {
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err(Complaint::new("should have no user and no password").hint("take away what stands before the @"))
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => Ipv4Addr::is_loopback(ip),
        Host::Ipv6(ip) => Ipv6Addr::is_loopback(ip),
    }
}
