//! The configuration as meant: every value parsed, every default filled in.
//!
//! [`load`] turns TOML as written into a [`Config`], or into [`Problems`]: all of them at once. Whether the
//! world is as the configuration says is another question, which [`Config::check_files`] answers; [`examine`] asks
//! both, and the second one also where the answer to the first is no.

mod check;
mod file;
mod keys;
mod problem;
mod reader;
mod resource_url;
mod sections;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::domain::name::{DatasetPath, NasName};
use crate::domain::scope::ScopeSet;
use crate::secret::SecretSource;

use reader::{Read, Report};

pub use check::{Credentials, Digests, Findings, Named, Note};
pub use problem::{Complaint, Position, Problem, Problems};
pub use resource_url::ResourceUrl;
pub use sections::server::{is_tailnet, tailnet_address};

/// Everything the daemon needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[tailnet]`
    pub tailnet: Tailnet,
    /// `[provider]`
    pub provider: Provider,
    /// `[[nas]]`: at least one, and no name twice.
    pub nas: Vec<Nas>,
    /// `[audit]`
    pub audit: Audit,
    /// `[state] dir`: the folder of what we keep besides the log, such as passkeys.
    pub state: PathBuf,
    /// `[[grant]]`, here or in the file that `[policy] file` names.
    pub grants: Vec<Grant>,
    /// `[[relay]]`
    pub relays: Vec<Relay>,
    /// `[[agent]]`
    pub agents: Vec<Agent>,
    /// `[approval] always`: the scopes whose changes a person always approves.
    pub always_approved: ScopeSet,
    /// `[limits]`
    pub limits: Limits,
    /// `[metrics] listen`: where health and metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// `[[notify]]`: who is told that something waits for a person.
    pub notify: Vec<Notify>,
    /// `[log] filter`
    pub log: tracing::Level,
    /// The file all this was read from, to read it again.
    pub file: PathBuf,
    /// The files and folders it names, for [`Config::check_files`].
    pub named: Vec<Named>,
    /// Of the files it was read from.
    pub digests: Digests,
}

/// Reads the configuration file at `path`, and the policy file if it names one.
///
/// # Errors
///
/// Everything that is wrong with them. There is no falling back to defaults.
pub fn load(path: &Path) -> Result<Config, Problems> {
    match file::read_text(path) {
        Ok(text) => parse(path, &text, file::read_text),
        Err(complaint) => Err(of_the_file(path, complaint).into()),
    }
}

/// Reads the configuration file at `path` and looks at every file and folder that it names. Gives the configuration
/// with what could not be looked at.
///
/// # Errors
///
/// Everything that is wrong, in the file and in the world, so that it can be mended in one go.
pub fn examine(path: &Path, credentials: Credentials) -> Result<(Config, Vec<Note>), Findings> {
    let (text, exposed) = file::look(path);
    let mut problems = Problems::default();
    if let Some(complaint) = exposed {
        problems.push(of_the_file(path, complaint));
    }
    let (config, named, digests) = match text {
        Ok(text) => {
            let (config, report) = read(path, &text, file::read_text);
            problems.append(report.problems);
            (config.ok(), report.named, report.digests)
        }
        Err(complaint) => {
            problems.push(of_the_file(path, complaint));
            (None, Vec::new(), Digests::default())
        }
    };
    let world = check::look_at(&named, credentials);
    problems.append(world.problems);
    match config {
        Some(config) if problems.is_empty() => Ok((config, world.notes)),
        Some(_) | None => Err(Findings { problems, notes: world.notes, digests }),
    }
}

/// What is wrong with the configuration file itself.
fn of_the_file(path: &Path, complaint: Complaint) -> Problem {
    let complaint = match path.try_exists() {
        Ok(false) => complaint.hint(
            "`sudo tailnas setup` writes it step by step; or copy the example (tailnas.toml in the documentation) there \
             and edit it. --config FILE names another one",
        ),
        Ok(true) | Err(_) => complaint,
    };
    complaint.at(Some(path), None, String::new())
}

/// Reads the configuration `text`, which was found in `file`. `policy` gets at the text of the policy file.
///
/// # Errors
///
/// Everything that is wrong with both.
pub fn parse(
    file: &Path,
    text: &str,
    policy: impl FnOnce(&Path) -> Result<String, Complaint>,
) -> Result<Config, Problems> {
    // What has a problem is not a configuration, whatever else could be made of it.
    match read(file, text, policy) {
        (Ok(config), report) if report.problems.is_empty() => Ok(config),
        (Ok(_) | Err(_), report) => Err(report.problems),
    }
}

fn read(
    file: &Path,
    text: &str,
    policy: impl FnOnce(&Path) -> Result<String, Complaint>,
) -> (Read<Config>, Report) {
    let (mut report, mut policy_report) = (Report::default(), Report::default());
    let config = reader::document(file, text, &keys::ROOT, &mut report, |root| {
        let server = sections::server::read(root);
        let tailnet = sections::tailnet::read(root);
        let provider = sections::provider::read(root);
        let (nas, names) = sections::nas::read(root);
        let audit = sections::audit::read(root);
        let state = sections::state::read(root);
        let grants = sections::grant::read(root, &names);
        let relays = sections::relay::read(root);
        let agents = sections::agent::read(root, &names);
        let policy = sections::policy::read(root, policy);
        let always_approved = sections::approval::read(root);
        let limits = sections::limits::read(root);
        let metrics = sections::metrics::read(root);
        let notify = sections::notify::read(root);
        let log = sections::log::read(root);
        let more_grants = policy.and_then(|file| match file {
            Some((path, text)) => {
                policy_report.digests.policy = Some(digest(&text));
                reader::document(&path, &text, &keys::POLICY_FILE, &mut policy_report, |root| {
                    sections::grant::read(root, &names)
                })
            }
            None => Ok(Vec::new()),
        });
        Ok(Config {
            server: server?,
            tailnet: tailnet?,
            provider: provider?,
            nas: nas?,
            audit: audit?,
            state: state?,
            grants: [grants?, more_grants?].concat(),
            relays: relays?,
            agents: agents?,
            always_approved: always_approved?,
            limits: limits?,
            metrics: metrics?,
            notify: notify?,
            log: log?,
            file: file.to_owned(),
            named: Vec::new(),
            digests: Digests::default(),
        })
    });
    // A policy file holds grants, and names no other.
    report.problems.append(policy_report.problems);
    report.digests = Digests { config: Some(digest(text)), policy: policy_report.digests.policy };
    let (named, digests) = (report.named.clone(), report.digests.clone());
    (config.map(|config| Config { named, digests, ..config }), report)
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// What we are to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The URL clients use, our OAuth resource identifier (RFC 8707) and the audience tokens must have: one
    /// string for all three.
    pub url: ResourceUrl,
    /// Where to listen.
    pub listen: Vec<Listen>,
}

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A unix socket behind `tailscale serve`.
    Unix(PathBuf),
    /// A tailnet address of this machine, with TLS.
    Tailnet(SocketAddr),
    /// Sockets that systemd hands over.
    Systemd,
}

/// How to reach tailscaled, and what our capability is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tailnet {
    /// tailscaled's LocalAPI socket.
    pub socket: PathBuf,
    /// The application capability whose values are grants, such as `tailnas.dev/cap/mcp`.
    pub capability: String,
}

/// The OAuth provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its issuer, exactly as its metadata and its tokens spell it.
    pub issuer: String,
    /// A CA certificate to trust for it, instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// If set, only tokens that were issued to these OAuth clients are accepted.
    pub clients: Option<BTreeSet<String>>,
    /// Who we are at the provider when we ask about a token. TSIDP needs nothing: it knows us by our node.
    pub client: Option<ProviderClient>,
    /// What is known of its ways.
    pub kind: ProviderKind,
}

/// What kind of provider it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// TSIDP: its subjects are the tailnet's user ids, and it knows no scopes but those of a login.
    Tsidp,
    /// Any other.
    Generic {
        /// The claim that must equal the login of the connecting node's user.
        login_claim: LoginClaim,
        /// The scopes that clients are told to ask for when they log in.
        scopes: Vec<String>,
    },
}

/// A claim that says who a user is at the tailnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginClaim {
    /// `email`, where `email_verified` is true.
    Email,
    /// `preferred_username`.
    PreferredUsername,
    /// `username` (RFC 7662).
    Username,
}

/// Us as a client of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderClient {
    /// The client id.
    pub id: String,
    /// Where its secret is kept.
    pub secret: SecretSource,
    /// How it is shown.
    pub method: ClientMethod,
}

/// How a client authenticates (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMethod {
    /// In the `Authorization` field.
    Basic,
    /// In the body.
    Post,
}

/// A TrueNAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nas {
    /// What we call it.
    pub name: NasName,
    /// `wss://HOST[:PORT]`; the path of the API is ours to add.
    pub url: url::Url,
    /// Whose certificate is the NAS's.
    pub trust: Trust,
    /// The account everything that only looks is done with.
    pub reader: Login,
    /// The account changes are made with. Without one there are none.
    pub writer: Option<Login>,
    /// The account the NAS is restarted with. Without one it is not.
    pub maintenance: Option<Login>,
    /// Datasets whose files may be looked at, with what lies below them.
    pub files: Vec<DatasetPath>,
    /// Datasets that apps may see when they are deployed from here, with what lies below them.
    pub app_datasets: Vec<DatasetPath>,
    /// Devices that apps may have when they are deployed from here.
    pub app_devices: Vec<String>,
}

/// An API key and the user it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user on the NAS.
    pub username: String,
    /// Where the key is kept.
    pub key: SecretSource,
}

/// How the NAS's certificate is judged. There is no way to switch that off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the system's root certificates.
    System,
    /// By the CA certificates in this PEM file alone.
    CaFile(PathBuf),
    /// The certificate is one of these; its name and dates do not matter. Two at a time, so that a certificate
    /// can be renewed.
    Pinned(Vec<Pin>),
}

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The folder of the log.
    pub dir: PathBuf,
    /// The key under which what may not be written down is hashed.
    pub hmac_key: SecretSource,
    /// The key that signs checkpoints and receipts.
    pub signing_key: SecretSource,
    /// A file that gets every checkpoint too, best one that another machine keeps.
    pub copy: Option<PathBuf>,
    /// How long a file of the log becomes before another one is begun, in bytes.
    pub rotate_at: u64,
    /// Whether reading goes on when there is no room for the log of changes.
    pub reads_go_on: bool,
}

/// How much callers may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of one caller in a second, in the long run.
    pub calls_per_second: u32,
    /// Calls that one caller can make at once after a pause.
    pub burst: u32,
    /// Calls of all callers in a second, in the long run.
    pub calls_per_second_in_all: u32,
    /// Calls that all callers together can make at once after a pause.
    pub burst_in_all: u32,
    /// Calls of one caller that are in progress at one time.
    pub calls_in_flight: u32,
    /// Calls of all callers that are in progress at one time.
    pub calls_in_flight_in_all: u32,
}

/// Somebody who is told that something waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// How that is said there.
    pub kind: NotifyKind,
    /// Where. For some services it is a secret by itself, so it is not shown.
    pub url: url::Url,
    /// What proves that we may.
    pub token: Option<SecretSource>,
}

/// What takes notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyKind {
    /// ntfy: a topic.
    Ntfy,
    /// Gotify: a server.
    Gotify,
    /// Home Assistant: a webhook or a notify action.
    HomeAssistant,
    /// Anything that takes JSON.
    Webhook,
}

impl NotifyKind {
    /// The spelling in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ntfy => "ntfy",
            Self::Gotify => "gotify",
            Self::HomeAssistant => "homeassistant",
            Self::Webhook => "webhook",
        }
    }
}

/// One entry of the policy file: who may do what, for tailnets where grants are not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whom it is for.
    pub to: Grantee,
    /// What it allows.
    pub scopes: ScopeSet,
    /// On which NAS; all of them when `None`.
    pub nas: Option<BTreeSet<NasName>>,
}

/// Tagged nodes that pass the requests of people on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Their tag, `tag:NAME`.
    pub tag: String,
}

/// Tagged nodes that ask for themselves, without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Their tag, `tag:NAME`.
    pub tag: String,
    /// What they may do; what the tailnet grants their node when `None`.
    pub scopes: Option<ScopeSet>,
    /// On which NAS; all of them when `None`.
    pub nas: Option<BTreeSet<NasName>>,
}

/// Whom a grant of the policy file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// The user with this tailnet login.
    Login(String),
    /// The users of this tailnet group, `group:NAME`.
    Group(String),
}
