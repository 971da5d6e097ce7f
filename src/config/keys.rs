//! Every key there is, in one place: the reader refuses what is not here, and a test holds `docs/CONFIG.md` and
//! `deploy/tailnas.toml` against it.

/// A table of the configuration: what it is called and what may stand in it.
#[derive(Debug)]
pub(super) struct Shape {
    /// Its name without indices, such as `nas.reader`; empty for the file itself.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

/// A key, and a value as one would write it, for hints.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
}

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example }
}

pub(super) const ROOT: Shape = Shape {
    name: "",
    keys: &[
        key("server", "[server]"),
        key("tailnet", "[tailnet]"),
        key("provider", "[provider]"),
        key("nas", "[[nas]]"),
        key("audit", "[audit]"),
        key("state", "[state]"),
        key("grant", "[[grant]]"),
        key("relay", "[[relay]]"),
        key("agent", "[[agent]]"),
        key("policy", "[policy]"),
        key("approval", "[approval]"),
        key("limits", "[limits]"),
        key("metrics", "[metrics]"),
        key("notify", "[[notify]]"),
        key("log", "[log]"),
    ],
};

/// The file that `[policy] file` names.
pub(super) const POLICY_FILE: Shape = Shape { name: "", keys: &[key("grant", "[[grant]]")] };

pub(super) const SERVER: Shape = Shape {
    name: "server",
    keys: &[
        key("url", r#"url = "https://tailnas.example.ts.net/mcp""#),
        key("listen", r#"listen = ["unix:/run/tailnas/tailnas.sock"]"#),
    ],
};

pub(super) const TAILNET: Shape = Shape {
    name: "tailnet",
    keys: &[
        key("socket", r#"socket = "/run/tailscale/tailscaled.sock""#),
        key("capability", r#"capability = "tailnas.dev/cap/mcp""#),
    ],
};

pub(super) const PROVIDER: Shape = Shape {
    name: "provider",
    keys: &[
        key("issuer", r#"issuer = "https://idp.example.ts.net""#),
        key("ca_file", r#"ca_file = "/etc/tailnas/provider-ca.pem""#),
        key("clients", r#"clients = ["CLIENT-ID"]"#),
        key("kind", r#"kind = "tsidp""#),
        key("login_claim", r#"login_claim = "email""#),
        key("scopes", r#"scopes = ["openid", "email", "storage:read"]"#),
        key("client", r#"client = { id = "tailnas", secret = "credential:provider-client-secret" }"#),
    ],
};

pub(super) const CLIENT: Shape = Shape {
    name: "provider.client",
    keys: &[
        key("id", r#"id = "tailnas""#),
        key("secret", r#"secret = "credential:provider-client-secret""#),
        key("method", r#"method = "basic""#),
    ],
};

pub(super) const NAS: Shape = Shape {
    name: "nas",
    keys: &[
        key("name", r#"name = "nas""#),
        key("url", r#"url = "wss://nas.example.ts.net""#),
        key("ca_file", r#"ca_file = "/etc/tailnas/nas-ca.pem""#),
        key("pins", r#"pins = ["sha256:64 hexadecimal digits"]"#),
        key("files", r#"files = ["tank/photos"]"#),
        key("app_datasets", r#"app_datasets = ["tank/apps"]"#),
        key("app_devices", r#"app_devices = ["/dev/dri"]"#),
        key("reader", r#"reader = { username = "tailnas-reader", key = "credential:nas-reader-key" }"#),
        key("writer", r#"writer = { username = "tailnas-writer", key = "credential:nas-writer-key" }"#),
        key(
            "maintenance",
            r#"maintenance = { username = "tailnas-maintenance", key = "credential:nas-maintenance-key" }"#,
        ),
    ],
};

pub(super) const READER: Shape = Shape {
    name: "nas.reader",
    keys: &[
        key("username", r#"username = "tailnas-reader""#),
        key("key", r#"key = "credential:nas-reader-key""#),
    ],
};

pub(super) const WRITER: Shape = Shape {
    name: "nas.writer",
    keys: &[
        key("username", r#"username = "tailnas-writer""#),
        key("key", r#"key = "credential:nas-writer-key""#),
    ],
};

pub(super) const MAINTENANCE: Shape = Shape {
    name: "nas.maintenance",
    keys: &[
        key("username", r#"username = "tailnas-maintenance""#),
        key("key", r#"key = "credential:nas-maintenance-key""#),
    ],
};

pub(super) const AUDIT: Shape = Shape {
    name: "audit",
    keys: &[
        key("dir", r#"dir = "/var/log/tailnas""#),
        key("hmac_key", r#"hmac_key = "credential:audit-hmac-key""#),
        key("signing_key", r#"signing_key = "credential:audit-signing-key""#),
        key("rotate_at", r#"rotate_at = "64 MiB""#),
        key("reads_when_suspended", r#"reads_when_suspended = "no""#),
        key("copy", r#"copy = "/mnt/other-machine/tailnas-checkpoints""#),
    ],
};

pub(super) const STATE: Shape = Shape { name: "state", keys: &[key("dir", r#"dir = "/var/lib/tailnas""#)] };

pub(super) const GRANT: Shape = Shape {
    name: "grant",
    keys: &[
        key("login", r#"login = "alice@example.com""#),
        key("group", r#"group = "group:admins""#),
        key("scopes", r#"scopes = ["system:read", "storage:read"]"#),
        key("nas", r#"nas = ["nas"]"#),
    ],
};

pub(super) const RELAY: Shape = Shape { name: "relay", keys: &[key("tag", r#"tag = "tag:gateway""#)] };

pub(super) const AGENT: Shape = Shape {
    name: "agent",
    keys: &[
        key("tag", r#"tag = "tag:ci""#),
        key("scopes", r#"scopes = ["system:read"]"#),
        key("nas", r#"nas = ["nas"]"#),
    ],
};

pub(super) const POLICY: Shape =
    Shape { name: "policy", keys: &[key("file", r#"file = "/etc/tailnas/policy.toml""#)] };

pub(super) const APPROVAL: Shape =
    Shape { name: "approval", keys: &[key("always", r#"always = ["storage:write"]"#)] };

pub(super) const LIMITS: Shape = Shape {
    name: "limits",
    keys: &[
        key("calls_per_second", "calls_per_second = 20"),
        key("burst", "burst = 40"),
        key("calls_per_second_in_all", "calls_per_second_in_all = 200"),
        key("burst_in_all", "burst_in_all = 400"),
        key("calls_in_flight", "calls_in_flight = 8"),
        key("calls_in_flight_in_all", "calls_in_flight_in_all = 64"),
    ],
};

pub(super) const METRICS: Shape =
    Shape { name: "metrics", keys: &[key("listen", r#"listen = "127.0.0.1:9464""#)] };

pub(super) const NOTIFY: Shape = Shape {
    name: "notify",
    keys: &[
        key("kind", r#"kind = "ntfy""#),
        key("url", r#"url = "https://ntfy.example.ts.net/nas""#),
        key("token", r#"token = "credential:ntfy-token""#),
    ],
};

pub(super) const LOG: Shape = Shape { name: "log", keys: &[key("filter", r#"filter = "info""#)] };

/// Every table below the file itself.
pub(super) const TABLES: &[&Shape] = &[
    &SERVER,
    &TAILNET,
    &PROVIDER,
    &CLIENT,
    &NAS,
    &READER,
    &WRITER,
    &MAINTENANCE,
    &AUDIT,
    &STATE,
    &GRANT,
    &RELAY,
    &AGENT,
    &POLICY,
    &APPROVAL,
    &LIMITS,
    &METRICS,
    &NOTIFY,
    &LOG,
];

impl Shape {
    /// The key of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of the keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// The table in which a key of this name would be right, when it is not right in this one.
    pub(super) fn elsewhere(&self, name: &str) -> Option<&'static Shape> {
        TABLES.iter().copied().find(|other| other.name != self.name && other.find(name).is_some())
    }
}

/// The one of `known` that somebody most likely meant by `word`.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Comparing takes time and memory in proportion to the length, and no key of ours is long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let enough = 1 + word.chars().count() / 4;
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= enough)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_one_that_somebody_could_have_meant() {
        for (word, nearest_key) in
            [("lisen", Some("listen")), ("Listen", Some("listen")), ("uri", Some("url")), ("timeout", None)]
        {
            assert_eq!(nearest(word, SERVER.names()), nearest_key, "{word}");
        }
        assert_eq!(nearest("hmac-key", AUDIT.names()), Some("hmac_key"));
        assert_eq!(nearest(&"x".repeat(1 << 20), SERVER.names()), None);
    }
}
