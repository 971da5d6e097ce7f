//! The rules for Compose files.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::keep::is_left_out;
use super::ports;
use super::{Bind, Bounds, Reach, Refusal, Rule, Stack};
use crate::domain::name::FilePath;
use crate::domain::text::foreign;

/// Most services of a file.
const MOST_SERVICES: usize = 32;

/// More refusals than these help nobody.
const MOST_REFUSALS: usize = 50;

/// What makes a container somewhere else than in itself is none of these: keys of a service that are let through
/// whatever they hold.
const FREE: &[&str] = &[
    "attach",
    "cap_drop",
    "command",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "init",
    "labels",
    "links",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "pids_limit",
    "platform",
    "profiles",
    "read_only",
    "restart",
    "scale",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "working_dir",
];

/// Keys of a service that are refused whatever they hold.
const NEVER: &[(&str, Rule)] = &[
    // The runtime takes properties of systemd units from them.
    ("annotations", Rule::Runtime),
    ("build", Rule::Build),
    ("cgroup_parent", Rule::HostNamespace),
    ("credential_spec", Rule::ReadsHost),
    ("develop", Rule::Build),
    ("device_cgroup_rules", Rule::Device),
    ("env_file", Rule::ReadsHost),
    ("extends", Rule::ReadsHost),
    ("external_links", Rule::External),
    ("isolation", Rule::Runtime),
    ("label_file", Rule::ReadsHost),
    ("oom_kill_disable", Rule::Limits),
    ("oom_score_adj", Rule::Limits),
    ("post_start", Rule::RunsOnHost),
    ("pre_stop", Rule::RunsOnHost),
    ("provider", Rule::RunsOnHost),
    ("runtime", Rule::Runtime),
    ("secrets", Rule::ReadsHost),
    ("use_api_socket", Rule::Socket),
    ("volumes_from", Rule::HostNamespace),
];

/// The rights that Docker gives every container, less the one that makes devices.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Where the sockets and the data of Docker are.
const SOCKETS: &[&str] =
    &["/run/containerd", "/run/docker", "/var/lib/docker", "/var/run/containerd", "/var/run/docker"];

/// The name under which the configuration allows graphics cards that are not below `/dev`.
pub(super) const NVIDIA: &str = "nvidia.com/gpu";

/// Somebody who looks at one file or one set of values.
pub(super) struct Court<'a> {
    bounds: &'a Bounds<'a>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) reach: Reach,
    notes: Vec<String>,
}

/// Where we are.
#[derive(Clone, Debug)]
pub(super) struct At {
    service: Option<String>,
    path: String,
}

impl At {
    pub(super) fn top(key: &str) -> Self {
        Self { service: None, path: key.to_owned() }
    }

    fn service(name: &str) -> Self {
        Self { service: Some(name.to_owned()), path: format!("services.{name}") }
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { service: self.service.clone(), path }
    }

    pub(super) fn item(&self, index: usize) -> Self {
        Self { service: self.service.clone(), path: format!("{}[{index}]", self.path) }
    }

    /// Whether it is a path of `host_path_config`, of its own or of its list of permissions.
    pub(super) fn is_of_host_path(&self) -> bool {
        self.path.ends_with("host_path_config.path") || self.path.ends_with("host_path_config.acl.path")
    }

    /// Whether it is one of the rights that are added.
    pub(super) fn is_of_capabilities(&self) -> bool {
        let list = self.path.rsplit_once('[').map_or(self.path.as_str(), |(list, _)| list);
        ["cap_add.add", "capabilities.add", "caps.add"].iter().any(|rights| list.ends_with(rights))
    }

    /// Whether it is what tells an image.
    pub(super) fn is_of_image(&self) -> bool {
        self.path.rsplit('.').next() == Some("image")
    }

    /// What asks for a port or a path here.
    pub(super) fn whose(&self) -> String {
        self.service.clone().unwrap_or_else(|| self.path.clone())
    }
}

pub(super) fn stack(file: Map<String, Value>, bounds: &Bounds<'_>) -> Result<Stack, Vec<Refusal>> {
    let mut court = Court::new(bounds);
    let images = court.whole(&file);
    let Court { refusals, reach, notes, .. } = court;
    if refusals.is_empty() { Ok(Stack { file, reach, images, notes }) } else { Err(refusals) }
}

impl<'a> Court<'a> {
    pub(super) fn new(bounds: &'a Bounds<'a>) -> Self {
        Self { bounds, refusals: Vec::new(), reach: Reach::default(), notes: Vec::new() }
    }

    /// Judges a Compose file, and answers the services' images.
    pub(super) fn whole(&mut self, file: &Map<String, Value>) -> Vec<(String, String)> {
        for (key, value) in file {
            let at = At::top(key);
            self.plain_key(&at, key);
            self.text_in(&at, value);
        }
        self.file(file)
    }

    /// Judges what the makers of an app of the catalogue give it.
    pub(super) fn makers(&mut self, mounts: &[String], capabilities: &[String]) {
        let at = At::top("what its makers give it");
        for mount in mounts {
            self.bind(&at, mount, true);
        }
        for name in capabilities {
            self.capability(&at, name);
        }
    }

    pub(super) fn refuse(&mut self, at: &At, found: &Value, rule: Rule) {
        let found = match (rule, found) {
            // It can be a secret, a password with a dollar sign in it or one in the wrong place, and what is said here is
            // written into the log; or it is long. Where it stands is enough.
            (Rule::Interpolation | Rule::UnknownKey | Rule::Shape, _)
            | (_, Value::Array(_) | Value::Object(_) | Value::Null) => String::new(),
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        };
        self.refuse_text(at, &found, rule);
    }

    pub(super) fn refuse_text(&mut self, at: &At, found: &str, rule: Rule) {
        if self.refusals.len() < MOST_REFUSALS {
            self.refusals.push(Refusal::new(at.service.as_deref(), &at.path, found, rule));
        }
    }

    /// No text may still be filled in, by Docker or by us. It is looked for in all of the tree, also where nothing
    /// else is judged.
    fn text_in(&mut self, at: &At, value: &Value) {
        match value {
            Value::String(text) if is_left_out(text) => self.refuse_text(at, "left out", Rule::Hidden),
            Value::String(text) if text.replace("$$", "").contains('$') => {
                self.refuse(at, value, Rule::Interpolation);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.text_in(&at.item(index), item);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    let at = at.key(key);
                    self.plain_key(&at, key);
                    self.text_in(&at, field);
                }
            }
            _ => {}
        }
    }

    /// Whoever agrees reads the keys: none may look like another, or hide.
    pub(super) fn plain_key(&mut self, at: &At, key: &str) {
        if foreign(key, 100) != key {
            self.refuse_text(at, "letters that nobody sees", Rule::Shape);
        }
    }

    /// Judges all of a file, and answers the services' images.
    fn file(&mut self, file: &Map<String, Value>) -> Vec<(String, String)> {
        let top = At::top("");
        for (key, value) in file {
            let at = top.key(key);
            match key.as_str() {
                "services" | "version" => {}
                "volumes" => self.each(&at, value, Self::volume),
                "networks" => self.each(&at, value, Self::network),
                "configs" => self.each(&at, value, Self::content),
                "secrets" | "include" => self.refuse(&at, value, Rule::ReadsHost),
                "name" => self.refuse(&at, value, Rule::External),
                key if key.starts_with("x-") => {}
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
        let services = file.get("services").and_then(Value::as_object);
        let Some(services) = services.filter(|all| (1..=MOST_SERVICES).contains(&all.len())) else {
            self.refuse_text(&top.key("services"), "", Rule::NoServices);
            return Vec::new();
        };
        let mut images = Vec::new();
        for (name, service) in services {
            let at = At::service(name);
            self.word(&at, name);
            match service.as_object() {
                Some(fields) => {
                    images.extend(self.one_service(&at, fields, file).map(|image| (name.clone(), image)));
                }
                None => self.refuse(&at, service, Rule::Shape),
            }
        }
        images
    }

    fn each(&mut self, at: &At, value: &Value, mut judge: impl FnMut(&mut Self, &At, &Map<String, Value>)) {
        let empty = Map::new();
        match value {
            Value::Object(all) => {
                for (name, one) in all {
                    let at = at.key(name);
                    self.word(&at, name);
                    match one {
                        Value::Null => judge(self, &at, &empty),
                        Value::Object(fields) => judge(self, &at, fields),
                        other => self.refuse(&at, other, Rule::Shape),
                    }
                }
            }
            Value::Null => {}
            other => self.refuse(at, other, Rule::Shape),
        }
    }

    /// What a file declares has a plain name; one that looks like a path could become one.
    fn word(&mut self, at: &At, name: &str) {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        {
            self.refuse_text(at, name, Rule::Shape);
        }
    }

    fn items<'v>(&mut self, at: &At, value: &'v Value) -> &'v [Value] {
        match value {
            Value::Array(items) => items,
            Value::Null => &[],
            other => {
                self.refuse(at, other, Rule::Shape);
                &[]
            }
        }
    }

    // What the end of a file declares.

    fn volume(&mut self, at: &At, volume: &Map<String, Value>) {
        for (key, value) in volume {
            let at = at.key(key);
            match key.as_str() {
                "labels" => {}
                "driver" if value == "local" => {}
                "driver" => self.refuse(&at, value, Rule::Driver),
                "driver_opts" if is_empty(value) => {}
                "driver_opts" => self.refuse(&at, value, Rule::VolumeDriver),
                "external" if *value == Value::Bool(false) => {}
                // A name makes it the volume of whoever else has that name.
                "external" | "name" => self.refuse(&at, value, Rule::External),
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
    }

    fn network(&mut self, at: &At, network: &Map<String, Value>) {
        for (key, value) in network {
            let at = at.key(key);
            match key.as_str() {
                "labels" | "internal" | "attachable" | "enable_ipv4" | "enable_ipv6" => {}
                "ipam" => {
                    match value.get("driver") {
                        None => {}
                        Some(driver) if driver == "default" => {}
                        Some(driver) => self.refuse(&at.key("driver"), driver, Rule::Driver),
                    }
                    // Docker asks nobody whether the network of the house has these addresses.
                    let pools = value.get("config").and_then(Value::as_array).into_iter().flatten();
                    for subnet in pools.filter_map(|pool| pool.get("subnet")?.as_str()) {
                        self.notes.push(format!(
                            "{} takes the addresses {subnet}: machines that have one of them can no longer reach the NAS.",
                            at.path
                        ));
                    }
                }
                "driver" if value == "bridge" => {}
                "driver_opts" if is_empty(value) => {}
                "driver" | "driver_opts" => self.refuse(&at, value, Rule::Driver),
                "external" if *value == Value::Bool(false) => {}
                "external" | "name" => self.refuse(&at, value, Rule::External),
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
    }

    fn content(&mut self, at: &At, config: &Map<String, Value>) {
        for (key, value) in config {
            let at = at.key(key);
            match key.as_str() {
                "content" if value.is_string() => {}
                "content" => self.refuse(&at, value, Rule::Shape),
                "file" | "environment" => self.refuse(&at, value, Rule::ReadsHost),
                "external" if *value == Value::Bool(false) => {}
                "external" | "name" => self.refuse(&at, value, Rule::External),
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
    }

    // Services.

    fn one_service(
        &mut self,
        at: &At,
        service: &Map<String, Value>,
        file: &Map<String, Value>,
    ) -> Option<String> {
        for (key, value) in service {
            let at = at.key(key);
            if let Some((_, rule)) = NEVER.iter().find(|(never, _)| never == key) {
                self.refuse(&at, value, *rule);
                continue;
            }
            match key.as_str() {
                key if FREE.contains(&key) || key.starts_with("x-") => {}
                "image" => self.image(&at, value),
                "privileged" if *value == Value::Bool(false) => {}
                "privileged" => self.refuse(&at, value, Rule::Privileged),
                "network_mode" => self.namespace(&at, value, &["bridge", "none"]),
                "pid" | "uts" => self.namespace(&at, value, &[]),
                "ipc" => self.namespace(&at, value, &["none", "private", "shareable"]),
                "userns_mode" => self.namespace(&at, value, &[""]),
                "cgroup" => self.namespace(&at, value, &["private"]),
                "cap_add" => self.capabilities(&at, value),
                "security_opt" => self.security(&at, value),
                "devices" => self.devices(&at, value),
                "gpus" if value == "all" => self.needs_nvidia(&at, value),
                "gpus" => self.cards(&at, value),
                "sysctls" => self.sysctls(&at, value),
                "environment" => self.environment(&at, value),
                "ports" => self.ports(&at, value),
                "volumes" => self.volumes(&at, value, file),
                "networks" => self.names(&at, value, file, "networks"),
                "configs" => self.configs(&at, value, file),
                "logging" => self.logging(&at, value),
                "deploy" => self.deploy(&at, value),
                "pull_policy" if value == "build" => self.refuse(&at, value, Rule::Build),
                "pull_policy" => {}
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
        if !service.contains_key("image") && !service.contains_key("build") {
            self.refuse_text(&at.key("image"), "nothing", Rule::Image);
        }
        service.get("image").and_then(Value::as_str).map(str::to_owned)
    }

    pub(super) fn image(&mut self, at: &At, value: &Value) {
        let Some(text) = value.as_str() else { return self.refuse(at, value, Rule::Image) };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon behind the last slash begins a tag; one before it, a registry's port.
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let word = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let is_digest = |digest: &str| {
            digest
                .strip_prefix("sha256:")
                .is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let sound = path.len() <= 255
            && path.split('/').all(|part| word(part, "._-:"))
            && tag.is_none_or(|tag| tag.len() <= 128 && word(tag, "._-"))
            && digest.is_none_or(is_digest);
        match (sound, tag.is_some() || digest.is_some()) {
            (false, _) => self.refuse(at, value, Rule::Image),
            (true, false) => self.refuse(at, value, Rule::ImageTag),
            (true, true) if digest.is_none() && tag == Some("latest") => {
                self.notes.push(format!("{}: latest is another image each day.", at.path));
            }
            (true, true) => {}
        }
    }

    /// A namespace of the container's own, or of a service of the same file.
    fn namespace(&mut self, at: &At, value: &Value, allowed: &[&str]) {
        let own = value.as_str().is_some_and(|mode| {
            allowed.contains(&mode)
                || mode.strip_prefix("service:").is_some_and(|service| !service.is_empty())
        });
        if !own {
            self.refuse(at, value, Rule::HostNamespace);
        }
    }

    fn capabilities(&mut self, at: &At, value: &Value) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            self.capability(&at.item(index), item.as_str().unwrap_or_default());
        }
    }

    pub(super) fn capability(&mut self, at: &At, name: &str) {
        let upper = name.to_ascii_uppercase();
        if !CAPABILITIES.contains(&upper.strip_prefix("CAP_").unwrap_or(&upper)) {
            self.refuse_text(at, name, Rule::Capability);
        }
    }

    fn security(&mut self, at: &At, value: &Value) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            let harmless = ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
            if !item.as_str().is_some_and(|option| harmless.contains(&option)) {
                self.refuse(&at.item(index), item, Rule::SecurityOpt);
            }
        }
    }

    fn devices(&mut self, at: &At, value: &Value) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            let at = at.item(index);
            let source = match item {
                Value::String(text) if text.starts_with('/') => text.split(':').next(),
                Value::String(text) => Some(text.split('=').next().unwrap_or(text)),
                Value::Object(fields) => fields.get("source").and_then(Value::as_str),
                _ => None,
            };
            match source {
                Some(source) => self.device(&at, source),
                None => self.refuse(&at, item, Rule::Shape),
            }
        }
    }

    pub(super) fn device(&mut self, at: &At, source: &str) {
        let plain = !source.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..");
        let allowed = self.bounds.devices.iter().any(|device| {
            source.strip_prefix(device.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if plain && allowed && !source.contains('$') {
            self.reach.devices.push(source.to_owned());
        } else {
            self.refuse_text(at, source, Rule::Device);
        }
    }

    pub(super) fn needs_nvidia(&mut self, at: &At, value: &Value) {
        if self.bounds.devices.iter().any(|device| device == NVIDIA) {
            self.reach.devices.push(NVIDIA.to_owned());
        } else {
            self.refuse(at, value, Rule::Device);
        }
    }

    /// Graphics cards of NVIDIA. The same words, with another driver or with names of another maker's devices, ask for
    /// any device of the NAS.
    fn cards(&mut self, at: &At, value: &Value) {
        const ABILITIES: &[&str] =
            &["compat32", "compute", "display", "gpu", "graphics", "ngx", "nvidia", "utility", "video"];
        let is_card = |id: &str| {
            let number = id.strip_prefix("GPU-").or_else(|| id.strip_prefix("MIG-")).unwrap_or(id);
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        for (index, wanted) in self.items(at, value).iter().enumerate() {
            let at = at.item(index);
            self.only(&at, wanted, &["capabilities", "count", "device_ids", "driver"]);
            if let Some(driver) = wanted.get("driver").filter(|driver| **driver != "nvidia") {
                self.refuse(&at.key("driver"), driver, Rule::Device);
            }
            let ability = |word: &str| ABILITIES.contains(&word);
            self.cards_are(&at.key("capabilities"), &wanted["capabilities"], ability);
            self.cards_are(&at.key("device_ids"), &wanted["device_ids"], is_card);
        }
        self.needs_nvidia(at, value);
    }

    fn cards_are(&mut self, at: &At, words: &Value, known: impl Fn(&str) -> bool) {
        for (index, word) in self.items(at, words).iter().enumerate() {
            if !word.as_str().is_some_and(&known) {
                self.refuse(&at.item(index), word, Rule::Device);
            }
        }
    }

    fn sysctls(&mut self, at: &At, value: &Value) {
        let names: Vec<&str> = match value {
            Value::Object(all) => all.keys().map(String::as_str).collect(),
            Value::Array(all) => all.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
            _ => return self.refuse(at, value, Rule::Shape),
        };
        for name in names.into_iter().filter(|name| !name.starts_with("net.")) {
            self.refuse_text(at, name, Rule::Sysctl);
        }
    }

    fn environment(&mut self, at: &At, value: &Value) {
        match value {
            Value::Object(all) => {
                for (name, value) in all {
                    match value {
                        Value::Null => self.refuse(&at.key(name), value, Rule::HostEnv),
                        Value::Array(_) | Value::Object(_) => self.refuse(&at.key(name), value, Rule::Shape),
                        _ => {}
                    }
                }
            }
            _ => {
                for (index, item) in self.items(at, value).iter().enumerate() {
                    match item.as_str() {
                        Some(text) if text.contains('=') => {}
                        Some(_) => self.refuse(&at.item(index), item, Rule::HostEnv),
                        None => self.refuse(&at.item(index), item, Rule::Shape),
                    }
                }
            }
        }
    }

    fn ports(&mut self, at: &At, value: &Value) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            let at = at.item(index);
            match ports::entry(&at.whose(), item) {
                Ok(ports::Entry::Named(port)) => self.port(&at, port),
                Ok(ports::Entry::Chosen(port)) => self.reach.chosen_ports.push(port),
                Err(rule) => self.refuse(&at, item, rule),
            }
        }
    }

    pub(super) fn port(&mut self, at: &At, port: ports::Published) {
        let (first, last) = port.range;
        if self.reach.ports.iter().any(|other| other.collides(&port)) {
            self.refuse_text(at, &port.to_string(), Rule::PortTwice);
        } else if self.bounds.used_ports.range(first..=last).next().is_some() {
            self.refuse_text(at, &port.to_string(), Rule::PortUsed);
        } else {
            self.reach.ports.push(port);
        }
    }

    fn volumes(&mut self, at: &At, value: &Value, file: &Map<String, Value>) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            let at = at.item(index);
            match item {
                Value::String(text) => self.short_volume(&at, text, file),
                Value::Object(fields) => self.long_volume(&at, fields, file),
                other => self.refuse(&at, other, Rule::Shape),
            }
        }
    }

    /// `[SOURCE:]TARGET[:MODE]`
    fn short_volume(&mut self, at: &At, text: &str, file: &Map<String, Value>) {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, mode) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, mode] => (Some(source), target, mode),
            _ => return self.refuse_text(at, text, Rule::Shape),
        };
        if !target.starts_with('/') {
            return self.refuse_text(at, text, Rule::Shape);
        }
        let mut writable = true;
        for option in mode.split(',').filter(|_| !mode.is_empty()) {
            match option {
                "ro" => writable = false,
                "rw" | "z" | "Z" | "nocopy" | "cached" | "consistent" | "delegated" | "private"
                | "rprivate" => {}
                "shared" | "rshared" | "slave" | "rslave" => self.refuse_text(at, option, Rule::Propagation),
                _ => self.refuse_text(at, option, Rule::Shape),
            }
        }
        match source {
            None => {}
            Some(source) if source.starts_with(['/', '.', '~', '\\']) => self.bind(at, source, writable),
            Some(source) => self.declared(at, source, file, "volumes"),
        }
    }

    fn long_volume(&mut self, at: &At, volume: &Map<String, Value>, file: &Map<String, Value>) {
        let text = |key: &str| volume.get(key).and_then(Value::as_str);
        for (key, value) in volume {
            let at = at.key(key);
            match key.as_str() {
                "type" | "source" | "target" | "consistency" if value.is_string() => {}
                "read_only" if value.is_boolean() => {}
                "volume" => self.only(&at, value, &["nocopy", "subpath", "labels"]),
                "tmpfs" => self.only(&at, value, &["size", "mode"]),
                "bind" => {
                    self.only(&at, value, &["propagation", "create_host_path", "selinux"]);
                    match value.get("propagation") {
                        None => {}
                        Some(mode) if mode == "private" || mode == "rprivate" => {}
                        Some(mode) => self.refuse(&at.key("propagation"), mode, Rule::Propagation),
                    }
                }
                "type" | "source" | "target" | "consistency" | "read_only" => {
                    self.refuse(&at, value, Rule::Shape);
                }
                _ => self.refuse(&at, value, Rule::UnknownKey),
            }
        }
        let writable = volume.get("read_only") != Some(&Value::Bool(true));
        match (text("type"), text("source")) {
            (Some("tmpfs" | "volume"), None) => {}
            (Some("bind"), Some(source)) => self.bind(&at.key("source"), source, writable),
            (Some("volume"), Some(source)) => self.declared(&at.key("source"), source, file, "volumes"),
            (kind, _) => self.refuse_text(&at.key("type"), kind.unwrap_or_default(), Rule::Shape),
        }
    }

    fn only(&mut self, at: &At, value: &Value, known: &[&str]) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
                    self.refuse(&at.key(key), value, Rule::UnknownKey);
                }
            }
            other => self.refuse(at, other, Rule::Shape),
        }
    }

    /// A place of the NAS in a container.
    pub(super) fn bind(&mut self, at: &At, source: &str, writable: bool) {
        let is_of_docker = SOCKETS.iter().any(|place| source.starts_with(place))
            || source.to_ascii_lowercase().ends_with(".sock");
        let rule = if is_of_docker {
            Some(Rule::Socket)
        } else if !source.starts_with('/') {
            Some(Rule::RelativePath)
        } else {
            None
        };
        if let Some(rule) = rule {
            return self.refuse_text(at, source, rule);
        }
        // The grammar refuses what leads elsewhere than it says; a slash at the end does not.
        let path = source.strip_suffix('/').unwrap_or(source).parse::<FilePath>().ok();
        let allowed = |path: &FilePath| {
            !source.contains('$')
                && self.bounds.datasets.iter().any(|dataset| {
                    let root = format!("/mnt/{dataset}").parse::<FilePath>();
                    root.is_ok_and(|root| path.below(&root).is_some())
                })
        };
        match path.filter(allowed) {
            Some(source) => self.reach.binds.push(Bind { of: at.whose(), source, writable }),
            None => self.refuse_text(at, source, Rule::HostPath),
        }
    }

    fn declared(&mut self, at: &At, name: &str, file: &Map<String, Value>, of: &str) {
        if !file.get(of).and_then(Value::as_object).is_some_and(|all| all.contains_key(name)) {
            self.refuse_text(at, name, Rule::Undeclared);
        }
    }

    /// Names of things that the file declares, as a list or as the keys of a map.
    fn names(&mut self, at: &At, value: &Value, file: &Map<String, Value>, of: &str) {
        let names: BTreeSet<&str> = match value {
            Value::Object(all) => all.keys().map(String::as_str).collect(),
            _ => self.items(at, value).iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        };
        for name in names.into_iter().filter(|name| *name != "default") {
            self.declared(at, name, file, of);
        }
    }

    fn configs(&mut self, at: &At, value: &Value, file: &Map<String, Value>) {
        for (index, item) in self.items(at, value).iter().enumerate() {
            let at = at.item(index);
            match item {
                Value::String(name) => self.declared(&at, name, file, "configs"),
                Value::Object(fields) => {
                    self.only(&at, item, &["source", "target", "uid", "gid", "mode"]);
                    let name = fields.get("source").and_then(Value::as_str).unwrap_or_default();
                    self.declared(&at, name, file, "configs");
                }
                other => self.refuse(&at, other, Rule::Shape),
            }
        }
    }

    fn logging(&mut self, at: &At, value: &Value) {
        self.only(at, value, &["driver", "options"]);
        if let Some(driver) = value.get("driver")
            && !["json-file", "local", "none"].iter().any(|known| driver == known)
        {
            self.refuse(&at.key("driver"), driver, Rule::Driver);
        }
    }

    fn deploy(&mut self, at: &At, value: &Value) {
        self.only(at, value, &["mode", "replicas", "labels", "resources", "restart_policy"]);
        let Some(resources) = value.get("resources") else { return };
        let at = at.key("resources");
        self.only(&at, resources, &["limits", "reservations"]);
        for part in ["limits", "reservations"] {
            let Some(limits) = resources.get(part) else { continue };
            let at = at.key(part);
            self.only(&at, limits, &["cpus", "memory", "pids", "devices"]);
            if let Some(devices) = limits.get("devices").filter(|devices| !is_empty(devices)) {
                self.cards(&at.key("devices"), devices);
            }
        }
    }
}

/// Whether there is nothing in it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Result<Stack, Vec<Refusal>> {
        let bounds = Bounds { datasets: &[], devices: &[], used_ports: &BTreeSet::new() };
        super::super::judge(super::super::read(text).unwrap(), &bounds)
    }

    #[test]
    fn a_refusal_repeats_no_value_that_may_be_a_secret() {
        for text in [
            "services: {web: {image: 'a:1', environment: {PASSWORD: 'hunter$2'}}}",
            "services: {web: {image: 'a:1', environment: ['PASSWORD=hunter$2']}}",
            "services: {web: {image: 'a:1', command: ['--password=hunter$2']}}",
            "services: {web: {image: 'a:1', enviroment: 'PASSWORD=hunter2'}}",
            "services: {web: {image: 'a:1', environment: 'PASSWORD=hunter2'}}",
        ] {
            let refusals = judged(text).unwrap_err();
            assert!(refusals.iter().all(|refusal| !refusal.to_string().contains("hunter")), "{refusals:?}");
        }
    }

    #[test]
    fn who_may_have_graphics_cards_of_nvidia_may_have_no_other_device_by_their_words() {
        let devices = [NVIDIA.to_owned()];
        let bounds = Bounds { datasets: &[], devices: &devices, used_ports: &BTreeSet::new() };
        for (wanted, refused) in [
            ("gpus: all", None),
            ("gpus: [{driver: nvidia, count: 1}]", None),
            ("gpus: [{device_ids: ['0', 'GPU-8f1c'], capabilities: [gpu, compute]}]", None),
            ("gpus: [{driver: cdi, device_ids: ['evil.com/disk=all']}]", Some("services.web.gpus[0].driver")),
            ("gpus: [{device_ids: ['evil.com/disk=all']}]", Some("services.web.gpus[0].device_ids[0]")),
            ("gpus: [{capabilities: [tpu]}]", Some("services.web.gpus[0].capabilities[0]")),
            ("gpus: [{options: {a: b}}]", Some("services.web.gpus[0].options")),
            ("gpus: 1", Some("services.web.gpus")),
            ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", None),
            (
                "deploy: {resources: {reservations: {devices: [{driver: cdi, capabilities: [gpu]}]}}}",
                Some("services.web.deploy.resources.reservations.devices[0].driver"),
            ),
        ] {
            let text = format!("services: {{web: {{image: 'a:1', {wanted}}}}}");
            let verdict = super::super::judge(super::super::read(&text).unwrap(), &bounds);
            let at = verdict.as_ref().err().map(|refusals| refusals[0].at.as_str());
            assert_eq!(at, refused, "{wanted}: {verdict:?}");
            assert!(verdict.is_err() || verdict.unwrap().reach.devices == [NVIDIA], "{wanted}");
        }
    }

    #[test]
    fn addresses_that_a_network_takes_are_told() {
        let text =
            "services: {web: {image: 'a:1'}}\nnetworks: {n: {ipam: {config: [{subnet: 192.168.1.0/24}]}}}";
        let notes = judged(text).unwrap().notes;
        assert!(notes.iter().any(|note| note.contains("192.168.1.0/24")), "{notes:?}");
    }
}
