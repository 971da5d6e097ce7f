//! `[[nas]]`

use std::collections::BTreeSet;

use url::Url;

use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::no_user;
use crate::config::{Login, Nas, Pin, Trust};
use crate::domain::name::{DatasetPath, NasName};

/// Reads every NAS, at least one, and the names of all that are written down, so that a grant is not blamed for
/// naming one that has another mistake in it.
pub(in crate::config) fn read(root: &mut Section<'_>) -> (Read<Vec<Nas>>, Read<BTreeSet<NasName>>) {
    let mut names = Ok(BTreeSet::new());
    let mut urls = BTreeSet::new();
    let each = root.tables("nas", &keys::NAS, |nas| one(nas, &mut names, &mut urls));
    let each = each.and_then(|each| if each.is_empty() { Err(root.missing("nas")) } else { Ok(each) });
    if let (Err(reported), Ok(known)) = (&each, &names)
        && known.is_empty()
    {
        names = Err(*reported);
    }
    (each, names)
}

fn one(nas: &mut Section<'_>, names: &mut Read<BTreeSet<NasName>>, urls: &mut BTreeSet<String>) -> Read<Nas> {
    let name =
        nas.required("name", |text| text.parse::<NasName>().map_err(|bad| Complaint::new(bad.to_string())));
    let url = nas.required("url", |text| {
        let url = nas_url(text)?;
        // Two names for one machine: a grant of the one would be a grant of the other.
        if urls.insert(url.to_string()) {
            Ok(url)
        } else {
            Err(Complaint::new("is the address of another [[nas]]").hint("take one of the two away"))
        }
    });
    let trust = trust(nas);
    let reader = nas.table("reader", &keys::READER, login);
    let reader_key = reader.as_ref().ok().map(|reader| reader.key.clone());
    let writer = nas.optional_table("writer", &keys::WRITER, |section| {
        let writer = login(section)?;
        if Some(&writer.key) == reader_key.as_ref() {
            return Err(section.report(
                "key",
                Complaint::new(
                    "is the key of the reader: looking around would be done with the right to change",
                )
                .hint("make a second account on the NAS with a key of its own, or leave the writer out"),
            ));
        }
        Ok(writer)
    });
    let others: Vec<_> =
        reader_key.iter().chain(writer.iter().flatten().map(|writer| &writer.key)).cloned().collect();
    let maintenance = nas.optional_table("maintenance", &keys::MAINTENANCE, |section| {
        let maintenance = login(section)?;
        if others.contains(&maintenance.key) {
            return Err(section.report(
                "key",
                Complaint::new(
                    "is the key of another account: everything that one does would be done as a full administrator",
                )
                .hint("make a third account on the NAS with a key of its own, or leave maintenance out"),
            ));
        }
        Ok(maintenance)
    });
    let files = nas.optional_list("files", |text| {
        text.parse::<DatasetPath>().map_err(|bad| Complaint::new(bad.to_string()))
    });
    let app_datasets = nas.optional_list("app_datasets", |text| {
        text.parse::<DatasetPath>().map_err(|bad| Complaint::new(bad.to_string()))
    });
    let app_devices = nas.optional_list("app_devices", device);
    let is_new = match (&name, names.as_mut()) {
        (Ok(name), Ok(known)) => known.insert(name.clone()),
        (Err(reported), _) => {
            *names = Err(*reported);
            true
        }
        (Ok(_), Err(_)) => true,
    };
    if !is_new {
        return Err(nas.report(
            "name",
            Complaint::new("is the name of another [[nas]]")
                .hint("grants and callers tell them apart by name: give each its own"),
        ));
    }
    let files = files?.unwrap_or_default();
    let (app_datasets, app_devices) = (app_datasets?.unwrap_or_default(), app_devices?.unwrap_or_default());
    let (name, url, trust) = (name?, url?, trust?);
    let (reader, writer, maintenance) = (reader?, writer?, maintenance?);
    Ok(Nas { name, url, trust, reader, writer, maintenance, files, app_datasets, app_devices })
}

/// What a container may be given of the machine: never a disk, never its memory.
fn device(text: &str) -> Result<String, Complaint> {
    const GRAPHICS: &str = "nvidia.com/gpu";
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let below_dev = text
        .strip_prefix("/dev/")
        .is_some_and(|rest| rest.split('/').all(|part| plain(part) && part != "." && part != ".."));
    if !below_dev && text != GRAPHICS {
        return Err(Complaint::new("should be a path below /dev, or nvidia.com/gpu"));
    }
    let first = text.split('/').nth(2).unwrap_or_default();
    let is_storage = ["disk", "dm-", "loop", "mapper", "md", "nvme", "sd", "sg", "zd", "zfs", "zvol"];
    if is_storage.iter().any(|name| first.starts_with(name)) || ["mem", "kmem", "port"].contains(&first) {
        return Err(Complaint::new("is a disk or the memory of the NAS, which no app may have"));
    }
    Ok(text.to_owned())
}

fn login(section: &mut Section<'_>) -> Read<Login> {
    let username = section.required("username", username);
    let key = section.secret("key");
    Ok(Login { username: username?, key: key? })
}

/// Not shown: what stands here by mistake is usually the key.
fn username(text: &str) -> Result<String, Complaint> {
    if text.contains(char::is_whitespace) {
        return Err(Complaint::new("the name of a user has no white space in it"));
    }
    Ok(text.to_owned())
}

fn trust(nas: &mut Section<'_>) -> Read<Trust> {
    let ca_file = nas.ca_file("ca_file");
    let pins = nas.optional_list("pins", pin);
    if nas.has("ca_file") && nas.has("pins") {
        return Err(nas.report(
            "pins",
            Complaint::new("there is a ca_file as well, and only one of the two can decide")
                .hint("keep ca_file if a CA issued the NAS's certificate, pins if it signed it itself"),
        ));
    }
    match (ca_file?, pins?) {
        (Some(file), _) => Ok(Trust::CaFile(file)),
        (None, Some(pins)) if pins.len() > 2 => Err(nas.report(
            "pins",
            Complaint::new("has more than two pins")
                .hint("keep the certificate in use and, while it is being renewed, the next one"),
        )),
        (None, Some(pins)) => Ok(Trust::Pinned(pins)),
        (None, None) => Ok(Trust::System),
    }
}

fn pin(text: &str) -> Result<Pin, Complaint> {
    let malformed = || {
        Complaint::new("should be \"sha256:\" and 64 hexadecimal digits, without colons between them")
            .hint("tailnas doctor --pin shows it")
    };
    let digits = text.strip_prefix("sha256:").ok_or_else(malformed)?;
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).map_err(|_| malformed())?;
    Ok(Pin(hash))
}

/// `wss://HOST[:PORT]`. Everything else about the connection is not for the configuration to decide.
fn nas_url(text: &str) -> Result<Url, Complaint> {
    let Some((_, rest)) = text.split_once("://") else {
        return Err(Complaint::new("should begin with wss://"));
    };
    let url = Url::parse(text).map_err(|error| Complaint::new(format!("is not a URL: {error}")))?;
    // First of all, because what follows shows the host.
    no_user(&url)?;
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| Complaint::new("names no host"))?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    match url.scheme() {
        "wss" => {}
        "ws" | "http" => {
            return Err(Complaint::new(
                "is a plain connection: TrueNAS revokes every API key that it sees on one",
            )
            .hint(format!("write \"wss://{host}\"")));
        }
        "https" => {
            return Err(Complaint::new("should begin with wss://, the API is a WebSocket")
                .hint(format!("write \"wss://{host}{port}\"")));
        }
        _ => return Err(Complaint::new("should begin with wss://")),
    }
    if rest.contains(['/', '\\', '?', '#']) {
        return Err(Complaint::new(
            "should be wss://HOST or wss://HOST:PORT and nothing else; tailnas adds the path",
        )
        .hint(format!("write \"wss://{host}{port}\"")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for text in ["wss://nas.local", "wss://nas.local:8443", "wss://192.168.1.2", "wss://[fd00::1]:444"] {
            assert!(nas_url(text).is_ok(), "{text}");
        }
        let plain = "is a plain connection: TrueNAS revokes every API key that it sees on one";
        let more = "should be wss://HOST or wss://HOST:PORT and nothing else; tailnas adds the path";
        for (text, what) in [
            ("nas.local", "should begin with wss://"),
            ("nas.local:443", "should begin with wss://"),
            ("ftp://nas.local", "should begin with wss://"),
            ("ws://nas.local", plain),
            ("http://nas.local", plain),
            ("https://nas.local", "should begin with wss://, the API is a WebSocket"),
            ("wss://root:hunter2@nas.local", "should have no user and no password"),
            ("wss://nas.local/", more),
            ("wss://nas.local/api/current", more),
            ("wss://nas.local?x", more),
            ("wss://nas.local#x", more),
            ("wss://", "is not a URL: empty host"),
        ] {
            assert_eq!(nas_url(text).unwrap_err().to_string(), what, "{text}");
        }
    }

    #[test]
    fn devices() {
        for text in
            ["/dev/dri", "/dev/dri/renderD128", "/dev/ttyUSB0", "/dev/serial/by-id/usb-x", "nvidia.com/gpu"]
        {
            assert!(device(text).is_ok(), "{text}");
        }
        for text in [
            "dri",
            "/dev",
            "/dev/",
            "/dev/../etc",
            "/dev/dri/..",
            "/dev/sda",
            "/dev/nvme0n1",
            "/dev/zvol/tank/x",
            "/dev/mem",
        ] {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pins() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(pin(&format!("sha256:{digits}")).is_ok());
        assert_eq!(pin(&format!("sha256:{}", digits.to_uppercase())), pin(&format!("sha256:{digits}")));
        for text in
            [&digits, "sha256:", "sha256:01:23", &format!("sha256:{digits}0"), &format!("sha1:{digits}")]
        {
            assert!(pin(text).is_err(), "{text}");
        }
    }
}
