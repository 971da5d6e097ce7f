//! A tailnet with a few people, a provider, a tailscaled, and a clock that can be turned.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use tailnas::caller::{Gate, Rules};
use tailnas::config;
use tailnas::lifecycle::Lifecycle;
use tailnas::net::http::Client;
use tailnas::oauth::{Bearer, Presented, Provider};
use tailnas::tailnet::LocalApi;
use tailnas_sim::localapi::{LocalApi as Tailscaled, Tailnet, User};
use tailnas_sim::tsidp::{TokenSpec, Tsidp, TsidpOptions};

#[path = "../common/turn.rs"]
mod turn;

pub use turn::Turn;

pub const RESOURCE: &str = "https://truenas-mcp.tail1234.ts.net/mcp";
pub const CAPABILITY: &str = "tailnas.dev/cap/mcp";
pub const ALICE: u64 = 456;
pub const BOB: u64 = 457;

/// Everything around the code under test.
pub struct World {
    pub tailnet: Tailnet,
    pub tailscaled: Tailscaled,
    pub tsidp: Tsidp,
    pub clock: Turn,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut TsidpOptions)) -> Self {
        let tailnet = Tailnet::new("tail1234.ts.net");
        let mut alice = User::new(ALICE, "alice@example.com", "Alice");
        alice.groups = vec!["group:storage-admins".to_owned()];
        tailnet.add_user_node(address("laptop"), "laptop", alice);
        tailnet.add_user_node(address("bobs"), "bobs", User::new(BOB, "bob@example.com", "Bob"));
        tailnet.add_tagged_node(address("ci"), "ci", &["tag:ci"]);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tailscaled.sock");
        let mut options = TsidpOptions::new(tailnet.clone());
        change(&mut options);
        Self {
            tailscaled: Tailscaled::start(&socket, tailnet.clone()).await.unwrap(),
            tsidp: Tsidp::start(options).await.unwrap(),
            tailnet,
            clock: Turn::default(),
            _folder: folder,
        }
    }

    pub fn localapi(&self) -> LocalApi {
        LocalApi::new(self.tailscaled.socket(), self.clock.clock())
    }

    pub fn provider(&self) -> Provider {
        self.provider_called(&self.tsidp.issuer(), None)
    }

    pub fn provider_called(&self, issuer: &str, ca_file: Option<&std::path::Path>) -> Provider {
        self.provider_with(|config| {
            issuer.clone_into(&mut config.issuer);
            config.ca_file = ca_file.map(ToOwned::to_owned);
        })
    }

    pub fn provider_with(&self, change: impl FnOnce(&mut config::Provider)) -> Provider {
        let mut config = config::Provider {
            issuer: self.tsidp.issuer(),
            ca_file: None,
            clients: None,
            client: None,
            kind: config::ProviderKind::Tsidp,
        };
        change(&mut config);
        let http = Client::new(config.ca_file.as_deref()).unwrap();
        let (lifecycle, _) = Lifecycle::new(self.clock.clock());
        Provider::new(&config, &RESOURCE.parse().unwrap(), http, self.clock.clock(), lifecycle).unwrap()
    }

    pub fn gate(&self, policy: Vec<config::Grant>) -> Gate {
        self.gate_at(self.provider(), policy)
    }

    pub fn gate_at(&self, provider: Provider, policy: Vec<config::Grant>) -> Gate {
        let rules = Rules { capability: CAPABILITY.to_owned(), grants: policy, ..Rules::default() };
        Gate::new(self.localapi(), provider, rules)
    }

    /// A token of the user with this login, as an MCP client gets one.
    pub fn token(&self, login: &str) -> (String, Bearer) {
        let token = self.tsidp.mint(TokenSpec::new(login, RESOURCE));
        let bearer = bearer(&token);
        (token, bearer)
    }
}

/// The address of a node, all of which are on loopback.
pub fn address(node: &str) -> IpAddr {
    IpAddr::from([
        127,
        0,
        0,
        match node {
            "own" => 1,
            "laptop" => 2,
            "bobs" => 3,
            "ci" => 4,
            "phone" => 5,
            _ => 99,
        },
    ])
}

/// Where a connection of that node comes from.
pub fn connection(node: &str) -> SocketAddr {
    SocketAddr::new(address(node), 41000)
}

pub fn bearer(token: &str) -> Bearer {
    match Presented::in_fields([&HeaderValue::from_str(&format!("Bearer {token}")).unwrap()]) {
        Presented::Token(bearer) => bearer,
        other => panic!("{other:?}"),
    }
}
