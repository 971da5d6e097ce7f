//! The tailnet that both doubles look at: nodes, their owners, and what they are granted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The user a tagged node belongs to. Real tailnets have such a user, too; its name says nothing.
const TAGGED_DEVICES: u64 = 999;

/// Real node ids have sixteen digits, which is where a parser that goes through `f64` begins to fail.
const FIRST_NODE_ID: u64 = 5_533_985_513_463_932;

/// Capabilities, each with the values of every grant that gives it. A real `CapMap` is this, as JSON.
pub type Capabilities = BTreeMap<String, Vec<Value>>;

/// A tailnet as seen from one of its nodes; clones share it.
///
/// Nodes live at loopback addresses here: whoever connects from 127.0.0.2 is the node that was added at
/// 127.0.0.2, whoever connects from an address of [`SelfNode`] is ourselves, and an address that is nobody's
/// is outside the tailnet.
#[derive(Clone, Debug)]
pub struct Tailnet(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    suffix: String,
    us: SelfNode,
    state: String,
    https: bool,
    nodes: Vec<Node>,
    raw: HashMap<IpAddr, Value>,
}

/// A person with an account in the tailnet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// The numeric user id; `sub` of an introspection answer.
    pub id: u64,
    /// The login name, such as `alice@example.com` or `bob@github`.
    pub login: String,
    /// The name for people.
    pub display: String,
    /// The address of a picture; may be empty.
    pub picture: String,
    /// Groups as `UserProfile.Groups` shows them; control sends none unless it is told to.
    pub groups: Vec<String>,
}

impl User {
    /// A user without a picture and without groups.
    pub fn new(id: u64, login: &str, display: &str) -> User {
        User { id, login: login.to_owned(), display: display.to_owned(), ..User::default() }
    }
}

/// The node tailscaled runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfNode {
    /// The first label of its name.
    pub host: String,
    /// Its Tailscale addresses.
    pub addresses: Vec<IpAddr>,
    /// Its tags; a node without any belongs to `user`.
    pub tags: Vec<String>,
    /// The numeric id of its owner.
    pub user: u64,
}

/// What a grant is a grant to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Destination {
    /// The node tailscaled runs on.
    SelfNode,
    /// A Tailscale service, `svc:name`.
    Service(String),
    /// Another address of ours, asked for with `dst_ip`.
    Address(IpAddr),
    /// The node TSIDP runs on.
    Tsidp,
}

/// A node as WhoIs sees it, with its capabilities toward one destination.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) name: String,
    pub(crate) capabilities: Capabilities,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) host: String,
    pub(crate) owner: Owner,
    pub(crate) sharer: u64,
    pub(crate) addresses: Vec<IpAddr>,
    granted: BTreeMap<Destination, Capabilities>,
}

#[derive(Clone, Debug)]
pub(crate) enum Owner {
    User(User),
    Tags(Vec<String>),
}

impl Node {
    pub(crate) fn stable_id(&self) -> String {
        format!("n{}CNTRL", &self.digest("stable")[..11])
    }

    pub(crate) fn key(&self) -> String {
        format!("nodekey:{}", self.digest("node"))
    }

    /// Sixty-four hex digits that are this node's own and the same in every run.
    pub(crate) fn digest(&self, purpose: &str) -> String {
        hex::encode(Sha256::digest(format!("{purpose} {} {}", self.id, self.host)))
    }

    pub(crate) fn tags(&self) -> &[String] {
        match &self.owner {
            Owner::User(_) => &[],
            Owner::Tags(tags) => tags,
        }
    }

    /// The owner's profile; a tagged node has the profile that stands for all of them.
    pub(crate) fn user(&self) -> User {
        match &self.owner {
            Owner::User(user) => user.clone(),
            Owner::Tags(_) => User::new(TAGGED_DEVICES, "tagged-devices", "Tagged Devices"),
        }
    }
}

impl Tailnet {
    /// A tailnet with the given MagicDNS suffix (`tail1234.ts.net`), no peers, and ourselves as the tagged
    /// node `truenas-mcp` at 127.0.0.1, which is where a process on this machine connects from by default.
    pub fn new(suffix: &str) -> Tailnet {
        Tailnet(Arc::new(Mutex::new(World {
            suffix: suffix.to_owned(),
            us: SelfNode {
                host: "truenas-mcp".to_owned(),
                addresses: vec![IpAddr::from([127, 0, 0, 1])],
                tags: vec!["tag:truenas-mcp".to_owned()],
                user: TAGGED_DEVICES,
            },
            state: "Running".to_owned(),
            https: true,
            nodes: Vec::new(),
            raw: HashMap::new(),
        })))
    }

    /// Add a node that belongs to a person.
    pub fn add_user_node(&self, addr: IpAddr, host: &str, user: User) {
        self.add(addr, host, Owner::User(user));
    }

    /// Add a tagged node. It belongs to no person.
    pub fn add_tagged_node(&self, addr: IpAddr, host: &str, tags: &[&str]) {
        self.add(addr, host, Owner::Tags(tags.iter().map(|&tag| tag.to_owned()).collect()));
    }

    /// Give a node one more address.
    pub fn add_address(&self, addr: IpAddr, another: IpAddr) {
        self.change(addr, |node| node.addresses.push(another));
    }

    /// Remove the node at this address from the tailnet.
    pub fn remove(&self, addr: IpAddr) {
        let mut world = self.world();
        world.nodes.retain(|node| !node.addresses.contains(&addr));
        world.raw.remove(&addr);
    }

    /// Grant a node a capability toward our node. Grants add up; one without values shows as `null`.
    pub fn grant(&self, addr: IpAddr, capability: &str, values: Vec<Value>) {
        self.grant_to(Destination::SelfNode, addr, capability, values);
    }

    /// Grant a node rules of `tailscale.com/cap/tsidp`, which count only toward TSIDP's node.
    pub fn grant_on_tsidp(&self, addr: IpAddr, rules: Vec<Value>) {
        self.grant_to(Destination::Tsidp, addr, TSIDP_CAPABILITY, rules);
    }

    /// Grant a node a capability toward any destination.
    pub fn grant_to(&self, to: Destination, addr: IpAddr, capability: &str, values: Vec<Value>) {
        self.change(addr, |node| {
            node.granted.entry(to).or_default().entry(capability.to_owned()).or_default().extend(values);
        });
    }

    /// Take a capability away from a node, whatever it was granted toward.
    pub fn revoke(&self, addr: IpAddr, capability: &str) {
        self.change(addr, |node| {
            for capabilities in node.granted.values_mut() {
                capabilities.remove(capability);
            }
        });
    }

    /// Take every TSIDP rule away from a node.
    pub fn revoke_on_tsidp(&self, addr: IpAddr) {
        self.revoke(addr, TSIDP_CAPABILITY);
    }

    /// Mark a node as shared in from another tailnet by this user; zero makes it ours again.
    pub fn set_sharer(&self, addr: IpAddr, user_id: u64) {
        self.change(addr, |node| node.sharer = user_id);
    }

    /// Say who we are.
    pub fn set_self(&self, us: SelfNode) {
        self.world().us = us;
    }

    /// Set `BackendState`: `Running`, `NeedsLogin`, `Stopped`, `Starting`, ...
    pub fn set_backend_state(&self, state: &str) {
        self.world().state = state.to_owned();
    }

    /// Say whether the tailnet has HTTPS certificates.
    pub fn set_https(&self, enabled: bool) {
        self.world().https = enabled;
    }

    /// Answer WhoIs of this address with exactly this, whether or not a node is there.
    pub fn raw_whois(&self, addr: IpAddr, answer: Value) {
        self.world().raw.insert(addr, answer);
    }

    /// Our own MagicDNS name, without a dot at the end.
    pub fn self_name(&self) -> String {
        let world = self.world();
        format!("{}.{}", world.us.host, world.suffix)
    }

    pub(crate) fn whois(&self, addr: IpAddr, toward: &Destination) -> Option<Peer> {
        let world = self.world();
        match world.nodes.iter().find(|node| node.addresses.contains(&addr)) {
            Some(node) => Some(world.peer(node, toward)),
            None if world.us.addresses.contains(&addr) => Some(world.peer(&world.us_as_node(), toward)),
            None => None,
        }
    }

    /// The first node of the user with this login name.
    pub(crate) fn node_of(&self, login: &str, toward: &Destination) -> Option<Peer> {
        let world = self.world();
        let theirs = |node: &&Node| matches!(&node.owner, Owner::User(user) if user.login == login);
        world.nodes.iter().find(theirs).map(|node| world.peer(node, toward))
    }

    pub(crate) fn node_with_key(&self, key: &str) -> Option<Peer> {
        let world = self.world();
        let node = world.nodes.iter().find(|node| node.key() == key)?;
        Some(world.peer(node, &Destination::SelfNode))
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let world = self.world();
        world.nodes.iter().map(|node| world.peer(node, &Destination::SelfNode)).collect()
    }

    pub(crate) fn raw(&self, addr: IpAddr) -> Option<Value> {
        self.world().raw.get(&addr).cloned()
    }

    /// Ourselves, as the other nodes see us.
    pub(crate) fn us(&self) -> Peer {
        let world = self.world();
        world.peer(&world.us_as_node(), &Destination::SelfNode)
    }

    pub(crate) fn suffix(&self) -> String {
        self.world().suffix.clone()
    }

    pub(crate) fn backend_state(&self) -> String {
        self.world().state.clone()
    }

    pub(crate) fn https(&self) -> bool {
        self.world().https
    }

    fn add(&self, addr: IpAddr, host: &str, owner: Owner) {
        let mut world = self.world();
        world.nodes.retain(|node| !node.addresses.contains(&addr));
        let id = world.nodes.iter().map(|node| node.id + 1).max().unwrap_or(FIRST_NODE_ID);
        world.nodes.push(Node {
            id,
            host: host.to_owned(),
            owner,
            sharer: 0,
            addresses: vec![addr],
            granted: BTreeMap::new(),
        });
    }

    /// # Panics
    ///
    /// When nobody is at `addr`: a test that grants something to nobody is mistaken.
    fn change(&self, addr: IpAddr, change: impl FnOnce(&mut Node)) {
        let mut world = self.world();
        let node = world.nodes.iter_mut().find(|node| node.addresses.contains(&addr));
        change(node.unwrap_or_else(|| panic!("no node of the tailnet is at {addr}")));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The capability TSIDP reads.
pub(crate) const TSIDP_CAPABILITY: &str = "tailscale.com/cap/tsidp";

impl World {
    fn us_as_node(&self) -> Node {
        let SelfNode { host, addresses, tags, user } = self.us.clone();
        let profiles = self.nodes.iter().map(Node::user);
        let owner = match tags {
            tags if !tags.is_empty() => Owner::Tags(tags),
            _ => Owner::User(
                profiles
                    .into_iter()
                    .find(|known| known.id == user)
                    .unwrap_or(User { id: user, ..User::default() }),
            ),
        };
        Node { id: FIRST_NODE_ID - 1, host, owner, sharer: 0, addresses, granted: BTreeMap::new() }
    }

    fn peer(&self, node: &Node, toward: &Destination) -> Peer {
        Peer {
            node: node.clone(),
            name: format!("{}.{}.", node.host, self.suffix),
            capabilities: node.granted.get(toward).cloned().unwrap_or_default(),
        }
    }
}
