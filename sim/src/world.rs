//! A whole neighbourhood for one daemon: a tailnet with people in it, a TSIDP, a tailscaled, a TrueNAS, and
//! the configuration that tells a daemon where they are.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::localapi::{LocalApi, SelfNode, Tailnet, User};
use crate::nas::{Generation, Nas, NasOptions};
use crate::tsidp::{TokenSpec, Tsidp, TsidpOptions};

/// The capability that grants come from, as the daemon's default has it.
pub const CAPABILITY: &str = "tailnas.dev/cap/mcp";

/// What signs the audit log here: a key that everybody knows, as `tailnas audit keygen` writes one.
const SIGNING_KEY: &str =
    "PRIVATE+KEY+tailnas/simulated+e98a29ff+AQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";

/// Somebody in the tailnet; who they are follows from the address they call from.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// Short name.
    pub name: &'static str,
    /// Where they call from.
    pub address: Ipv4Addr,
    /// Tailnet login; `None` for a tagged node, which is nobody.
    pub login: Option<&'static str>,
    /// The scopes their grant gives.
    pub scopes: &'static [&'static str],
}

/// Reads everything and makes changes.
pub const ALICE: Person = Person {
    name: "alice",
    address: Ipv4Addr::new(127, 0, 0, 1),
    login: Some("alice@example.com"),
    scopes: &[
        "system:read",
        "storage:read",
        "storage:write",
        "alerts:read",
        "jobs:read",
        "services:read",
        "shares:read",
        "backup:read",
        "network:read",
        "users:read",
        "audit:read",
        "apps:read",
        "apps:config",
        "apps:logs",
        "vms:read",
        "metrics:read",
    ],
};

/// Reads storage and nothing else.
pub const BOB: Person = Person {
    name: "bob",
    address: Ipv4Addr::new(127, 0, 0, 2),
    login: Some("bob@github"),
    scopes: &["storage:read"],
};

/// A node that belongs to a tag and to no person.
pub const TAGGED: Person =
    Person { name: "ci", address: Ipv4Addr::new(127, 0, 0, 3), login: None, scopes: &["storage:read"] };

/// Everybody.
pub const PEOPLE: [Person; 3] = [ALICE, BOB, TAGGED];

/// The neighbourhood. Dropped, its servers stop.
pub struct World {
    /// Who is in the tailnet, and what their grants are.
    pub tailnet: Tailnet,
    /// tailscaled.
    pub local_api: LocalApi,
    /// The identity provider.
    pub tsidp: Tsidp,
    /// The NAS, `homenas`.
    pub nas: Nas,
    /// More of them, by name.
    pub others: Vec<(String, Nas)>,
    dir: PathBuf,
    name: String,
    port: u16,
    metrics_port: u16,
}

impl World {
    /// Starts everything and writes `config.toml` into `dir`. The daemon is to listen on 127.0.0.1 at `port`;
    /// 0 takes one that the kernel says is free.
    pub async fn start(dir: &Path, port: u16, generation: Generation) -> io::Result<Self> {
        Self::start_as("127.0.0.1", dir, port, generation).await
    }

    /// The same with a daemon that is called `name`, which must lead to 127.0.0.1: browsers have no passkeys for an
    /// address.
    pub async fn start_as(name: &str, dir: &Path, port: u16, generation: Generation) -> io::Result<Self> {
        let port = if port == 0 { free_port()? } else { port };
        let tailnet = tailnet();
        let local_api = LocalApi::start(&dir.join("tailscaled.sock"), tailnet.clone()).await?;
        let tsidp = Tsidp::start(TsidpOptions::new(tailnet.clone())).await?;
        let nas = Nas::start(NasOptions { generation, ..NasOptions::default() }).await?;
        let (dir, metrics_port) = (dir.to_owned(), free_port()?);
        let name = name.to_owned();
        let world =
            Self { tailnet, local_api, tsidp, nas, others: Vec::new(), dir, name, port, metrics_port };
        world.tailnet.grant_on_tsidp(
            IpAddr::V4(ALICE.address),
            vec![json!({ "allow_dcr": true, "users": ["*"], "resources": [world.mcp_url()] })],
        );
        world.tailnet.grant_on_tsidp(
            IpAddr::V4(BOB.address),
            vec![json!({ "allow_dcr": true, "users": ["*"], "resources": [world.mcp_url()] })],
        );
        world.write_config()?;
        Ok(world)
    }

    /// Starts one more NAS and writes it into the configuration.
    pub async fn add_nas(&mut self, name: &str, generation: Generation) -> io::Result<()> {
        let nas = Nas::start(NasOptions { generation, ..NasOptions::default() }).await?;
        let section = self.nas_section(name, &nas)?;
        self.others.push((name.to_owned(), nas));
        let config = fs::read_to_string(self.config())?;
        self.write("config.toml", &format!("{config}\n{section}"))
    }

    /// The daemon's URL, resource identifier and audience.
    pub fn mcp_url(&self) -> String {
        format!("{}/mcp", self.origin())
    }

    /// The daemon's origin, as a browser has it.
    pub fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    fn host(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }

    /// Where the daemon is to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where the daemon's health and metrics are.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.metrics_port))
    }

    /// The daemon's configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The daemon's audit log.
    pub fn audit_dir(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// A token for `person`, as if they had logged in for our resource.
    pub fn token(&self, person: Person, lifetime: Duration) -> Option<String> {
        let spec = TokenSpec { lifetime, ..TokenSpec::new(person.login?, &self.mcp_url()) };
        Some(self.tsidp.mint(spec))
    }

    /// A client at `person`'s address, with a token of theirs that is good for five minutes.
    pub fn client(&self, person: Person) -> Client {
        Client {
            server: self.address(),
            host: self.host(),
            from: IpAddr::V4(person.address),
            token: self.token(person, Duration::from_secs(300)),
            path: "/mcp".to_owned(),
        }
    }

    fn write_config(&self) -> io::Result<()> {
        self.write("audit-hmac.key", "an hmac key for the simulated neighbourhood alone")?;
        self.write("audit-signing.key", SIGNING_KEY)?;
        let dir = self.dir.display();
        let config = format!(
            r#"[server]
url = "{url}"
listen = ["unix:{dir}/tailnas.sock"]

[tailnet]
socket = "{dir}/tailscaled.sock"

[provider]
issuer = "{issuer}"

{nas}
[audit]
dir = "{dir}/audit"
hmac_key = "file:{dir}/audit-hmac.key"
signing_key = "file:{dir}/audit-signing.key"

[state]
dir = "{dir}/state"

[metrics]
listen = "{metrics}"
"#,
            url = self.mcp_url(),
            metrics = self.metrics_address(),
            issuer = self.tsidp.issuer(),
            nas = self.nas_section("homenas", &self.nas)?,
        );
        self.write("config.toml", &config)
    }

    /// The section of the configuration for `nas`, and the files it names.
    fn nas_section(&self, name: &str, nas: &Nas) -> io::Result<String> {
        let (reader, writer, maintenance) = (nas.reader_key(), nas.writer_key(), nas.maintenance_key());
        // The first one's files have had these names from the beginning.
        let prefix = if name == "homenas" { String::new() } else { format!("{name}-") };
        self.write(&format!("{prefix}nas-ca.pem"), nas.ca_pem())?;
        self.write(&format!("{prefix}reader.key"), &reader.key)?;
        self.write(&format!("{prefix}writer.key"), &writer.key)?;
        self.write(&format!("{prefix}maintenance.key"), &maintenance.key)?;
        let at = format!("{}/{prefix}", self.dir.display());
        Ok(format!(
            r#"[[nas]]
name = "{name}"
url = "{url}"
ca_file = "{at}nas-ca.pem"
files = ["tank/photos"]
app_datasets = ["tank/apps", "tank/media"]
app_devices = ["/dev/dri"]
reader = {{ username = "{reader}", key = "file:{at}reader.key" }}
writer = {{ username = "{writer}", key = "file:{at}writer.key" }}
maintenance = {{ username = "{maintenance}", key = "file:{at}maintenance.key" }}
"#,
            url = nas.url().trim_end_matches("/api/current"),
            reader = reader.username,
            writer = writer.username,
            maintenance = maintenance.username,
        ))
    }

    /// Writes a file beside the configuration that only its owner can read.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        use io::Write as _;
        let mut file = fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.dir.join(name))?;
        file.write_all(text.as_bytes())
    }
}

fn tailnet() -> Tailnet {
    let tailnet = Tailnet::new("tail1234.ts.net");
    // Not the address that people call from: what comes from our own node is refused.
    tailnet.set_self(SelfNode {
        host: "nas-mcp".to_owned(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, 100))],
        tags: vec!["tag:tailnas".to_owned()],
        user: 1,
    });
    tailnet.add_user_node(
        IpAddr::V4(ALICE.address),
        "laptop",
        User::new(456, "alice@example.com", "Alice Doe"),
    );
    tailnet.add_user_node(IpAddr::V4(BOB.address), "desktop", User::new(457, "bob@github", "Bob Roe"));
    tailnet.add_tagged_node(IpAddr::V4(TAGGED.address), "runner", &["tag:ci"]);
    for person in PEOPLE {
        tailnet.grant(
            IpAddr::V4(person.address),
            CAPABILITY,
            vec![json!({ "scopes": person.scopes, "nas": ["*"] })],
        );
    }
    tailnet
}

/// A port that was free a moment ago. The daemon has to know its port before it starts, since its URL is in
/// its configuration, and has to come back to it after a restart.
///
/// No port is given twice by one process, or two of its worlds could meet on one.
fn free_port() -> io::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
}
