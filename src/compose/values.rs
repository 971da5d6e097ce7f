//! The rules for the values of catalogue apps: what reaches out of an app has the same names in most of them.

use serde_json::{Map, Value};

use super::judge::{At, Court, NVIDIA};
use super::keep::is_left_out;
use super::ports::Published;
use super::{Bounds, Reach, Refusal, Rule};

/// Keys that give away what only the NAS should have, whatever they stand in.
const RIGHTS: &[(&str, Rule)] = &[
    ("privileged", Rule::Privileged),
    ("host_network", Rule::HostNamespace),
    ("hostNetwork", Rule::HostNamespace),
    ("host_pid", Rule::HostNamespace),
    ("hostPID", Rule::HostNamespace),
    ("host_ipc", Rule::HostNamespace),
    ("hostIPC", Rule::HostNamespace),
];

/// Judges values that would be sent, where they are others than those that are there. What is there already is not
/// judged again: its owner has put it there.
///
/// # Errors
///
/// Everything in them that may not be, up to fifty things.
pub fn judge_values(
    values: &Map<String, Value>,
    there: Option<&Map<String, Value>>,
    bounds: &Bounds<'_>,
) -> Result<Reach, Vec<Refusal>> {
    let mut court = Court::new(bounds);
    court.values(values, there);
    if court.refusals.is_empty() { Ok(court.reach) } else { Err(court.refusals) }
}

impl Court<'_> {
    /// All of them.
    pub(super) fn values(&mut self, values: &Map<String, Value>, there: Option<&Map<String, Value>>) {
        if there != Some(values) {
            self.object(&At::top(""), values);
        }
        for (key, value) in values {
            self.value(&At::top(key), key, value, there.and_then(|there| there.get(key)));
        }
    }

    fn value(&mut self, at: &At, key: &str, value: &Value, there: Option<&Value>) {
        self.plain_key(at, key);
        // What was left out is refused also where it was left out before: it must not be written.
        if let Value::String(text) = value
            && is_left_out(text)
        {
            return self.refuse_text(at, "left out", Rule::Hidden);
        }
        let same = there == Some(value);
        match value {
            Value::Object(fields) => {
                if !same {
                    self.object(at, fields);
                }
                for (key, value) in fields {
                    self.value(&at.key(key), key, value, there.and_then(|there| there.get(key)));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&at.item(index), key, item, there.and_then(|there| there.get(index)));
                }
            }
            _ if same => {}
            Value::Bool(false) | Value::Null => {}
            other => self.leaf(at, key, other),
        }
    }

    /// What an object is as a whole: a place of the NAS, a port, a graphics card.
    fn object(&mut self, at: &At, fields: &Map<String, Value>) {
        let writable = fields.get("read_only") != Some(&Value::Bool(true));
        for (key, value) in fields {
            match key.as_str() {
                "host_path_config" => {
                    let paths = [value.get("path"), value.pointer("/acl/path")];
                    for path in
                        paths.into_iter().flatten().filter_map(Value::as_str).filter(|path| !path.is_empty())
                    {
                        self.bind(&at.key(key), path, writable);
                    }
                }
                "cifs_config" | "nfs_config" if is_used(value) => {
                    self.refuse(&at.key(key), value, Rule::NetworkMount);
                }
                _ => {}
            }
        }
        let published = !matches!(fields.get("bind_mode").and_then(Value::as_str), Some("exposed" | ""));
        let udp = fields.get("protocol").is_some_and(|protocol| protocol == "udp");
        for key in ["port_number", "published"] {
            let Some(port) = fields.get(key).filter(|port| published && !port.is_boolean()) else { continue };
            let at = at.key(key);
            match port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) {
                None => self.refuse(&at, port, Rule::Port),
                Some(port) if port < 1024 => self.refuse_text(&at, &port.to_string(), Rule::LowPort),
                Some(port) => {
                    self.port(&at, Published { of: at.whose(), ip: None, range: (port, port), udp });
                }
            }
        }
        // Some templates put it into a file as it is: a line feed in it would be the next line of that.
        if at.is_of_image()
            && let Some(repository) = fields.get("repository").and_then(Value::as_str)
        {
            let image = match fields.get("tag").and_then(Value::as_str) {
                None | Some("") => repository.to_owned(),
                Some(tag) => format!("{repository}:{tag}"),
            };
            self.image(at, &Value::String(image));
        }
        if let Some(gpus) = fields.get("gpus") {
            let at = at.key("gpus");
            if gpus.get("use_all_gpus") == Some(&Value::Bool(true)) {
                self.device(&at.key("use_all_gpus"), "/dev/dri");
            }
            if gpus.get("nvidia_gpu_selection").is_some_and(is_used) {
                self.needs_nvidia(&at.key("nvidia_gpu_selection"), &Value::String(NVIDIA.to_owned()));
            }
        }
    }

    fn leaf(&mut self, at: &At, key: &str, value: &Value) {
        if let Some((_, rule)) = RIGHTS.iter().find(|(right, _)| *right == key) {
            return self.refuse(at, value, *rule);
        }
        let Some(text) = value.as_str() else { return };
        match key {
            // Where it is seen in the container.
            "mount_path" | "container_path" => {}
            // Judged with the object around it.
            "path" if at.is_of_host_path() => {}
            "cap_add" | "capabilities" | "caps" => self.capability(at, text),
            "add" if at.is_of_capabilities() => self.capability(at, text),
            "host_device" => self.device(at, text),
            _ if text.starts_with("/mnt/") || text.starts_with("/dev/") || text.contains("docker.sock") => {
                self.bind(at, text, true);
            }
            "host_path" => self.bind(at, text, true),
            _ => {}
        }
    }
}

/// Whether something is filled in.
fn is_used(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(is_used),
        Value::Object(fields) => fields.values().any(is_used),
    }
}
