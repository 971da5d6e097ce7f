//! The TrueNAS: one socket for looking, one for changing, and the methods that can be sent over them.
//!
//! A method is reached through a [`Session`], a session through a [`Warrant`], and a
//! warrant is a line on disk. There is no other way in, and none by a method's name.
//!
//! Nothing here waits for the NAS to be there: after a power cut we are up first.

mod connection;
mod end_point;
mod error;
mod fleet;
mod http;
mod login;
mod memory;
pub mod methods;
mod past_logins;
pub mod provision;
mod rpc;
mod scram;
mod session;
mod tally;
#[cfg(test)]
mod tests;
mod tls;
pub mod version;
pub mod visit;
pub mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

pub use self::error::NasError;
pub use self::fleet::{Fleet, Muster, Roll};
pub use self::memory::OLDEST;
pub use self::past_logins::PastLogins;
pub use self::session::{Bounds, End, Followed, Session, Trip};
pub use self::tally::Calls;
pub use self::tls::{NoWay, PinError, presented_pin};

use self::connection::{Keeper, Line, State, Wanted};
use self::login::Account;
use self::memory::{Memory, Use};
use self::rpc::Budget;
use self::tally::Tally;
use self::tls::Dialer;
use self::version::Version;
use crate::audit::{Pending, Warrant};
use crate::clock::Clock;
use crate::config;
use crate::domain::access::{Access, Read};
use crate::domain::name::NasName;
use crate::history::Past;
use crate::lifecycle::Lifecycle;
use crate::secret::{Secret, SecretError};

/// How long a connection loop may show no sign of life before the watchdog is told nothing more. Connecting and logging
/// in take at most so long, and a NAS that says nothing for a minute is given up.
const LONGEST_SILENCE: Duration = Duration::from_mins(3);

/// A NAS. Clones are the same one; its sessions are kept until the last of them is gone.
#[derive(Clone, Debug)]
pub struct Nas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: config::Nas,
    dialer: Dialer,
    reader: Line,
    writer: Option<Line>,
    maintenance: Option<Line>,
    memory: Memory,
    tally: Tally,
    past: OnceLock<Past>,
}

/// By which of our accounts the NAS is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The one that can only read.
    Reader,
    /// The one for changes.
    Writer,
    /// The one that restarts it, a full administrator.
    Maintenance,
}

/// How it is with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Connected and logged in.
    Up {
        /// Since when.
        since: DateTime<Utc>,
        /// What runs there, `TrueNAS-25.10.1`.
        version: String,
        /// The generation of its interface.
        generation: Version,
    },
    /// Not connected. It is tried again.
    Away {
        /// Since when.
        since: DateTime<Utc>,
        /// What the last attempt ran into.
        reason: String,
    },
    /// Not let in. It is not tried again before a restart.
    LoginRefused {
        /// Since when.
        since: DateTime<Utc>,
        /// What the NAS said.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

impl Status {
    /// The status without what runs there, which is nobody's business who may not look at the system.
    #[must_use]
    pub fn without_version(&self) -> String {
        match self {
            Self::Up { since, .. } => format!("connected since {}", in_words(since)),
            Self::Away { .. } | Self::LoginRefused { .. } => self.to_string(),
        }
    }
}

fn in_words(since: &DateTime<Utc>) -> String {
    since.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { since, version, .. } => write!(f, "connected since {}, {version}", in_words(since)),
            Self::Away { since, reason } => write!(f, "away since {}: {reason}", in_words(since)),
            Self::LoginRefused { since, reason, .. } => {
                write!(f, "refuses the login since {}: {reason}", in_words(since))
            }
        }
    }
}

/// Why we cannot even try to connect.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An API key cannot be had.
    #[error("the API key of {username} cannot be read")]
    Key {
        /// Whose key.
        username: String,
        /// Why not.
        source: SecretError,
    },
    /// A key goes over TLS or not at all.
    #[error("{0} is no wss:// address, and an API key goes over TLS or not at all")]
    NotTls(String),
    /// No host to connect to.
    #[error("{0} names no host")]
    NoHost(String),
    /// The file with the CA is no use.
    #[error("the CA file {} is no use: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An empty list of pins trusts nobody.
    #[error("no certificate is pinned. `tailnas doctor --pin` shows the one the NAS has")]
    NoPins,
    /// This machine trusts nobody.
    #[error(
        "this machine has no root certificates. Install ca-certificates, pin the certificate or name a CA file"
    )]
    NoRoots,
    /// The roots are no use.
    #[error("the root certificates are no use: {0}")]
    Roots(String),
    /// The TLS library does not like its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The API keys of a NAS, read anew.
#[derive(Debug)]
pub struct Keys {
    reader: Secret,
    writer: Option<Secret>,
    maintenance: Option<Secret>,
}

impl Keys {
    /// Reads them from where `config` says they are kept.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn load(config: &config::Nas) -> Result<Self, StartError> {
        let writer = config.writer.as_ref().map(key_of).transpose()?;
        let maintenance = config.maintenance.as_ref().map(key_of).transpose()?;
        Ok(Self { reader: key_of(&config.reader)?, writer, maintenance })
    }
}

fn key_of(login: &config::Login) -> Result<Secret, StartError> {
    let username = || login.username.clone();
    login.key.load().map_err(|source| StartError::Key { username: username(), source })
}

impl Nas {
    /// Starts to keep a connection to the NAS of `config`, and does not wait for it.
    ///
    /// # Errors
    ///
    /// When there is nothing to connect with: a key or a CA file cannot be read, the address is no use.
    pub fn start(
        config: &config::Nas,
        past: &PastLogins,
        clock: &Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        Ok(Self::prepare(config, past, clock)?.start(lifecycle))
    }

    /// Everything of [`Nas::start`] that can fail, and nothing of the rest.
    fn prepare(config: &config::Nas, past: &PastLogins, clock: &Clock) -> Result<Prepared, StartError> {
        let dialer = Dialer::new(config)?;
        let budget = Budget::new();
        let past = past.at(&config.name);
        let keep = |login: &config::Login, wanted| {
            let key = key_of(login)?;
            let only_looks = wanted == Wanted::Always;
            let account = Account { username: login.username.clone(), key, only_looks, past: past.clone() };
            let name = config.name.to_string();
            Ok(Keeper::new(name, account, dialer.clone(), budget.clone(), clock.clone(), wanted))
        };
        let reader = keep(&config.reader, Wanted::Always)?;
        let writer = config.writer.as_ref().map(|login| keep(login, Wanted::OnDemand)).transpose()?;
        let maintenance =
            config.maintenance.as_ref().map(|login| keep(login, Wanted::OnDemand)).transpose()?;
        let memory = Memory::new(clock.clone());
        Ok(Prepared { config: config.clone(), dialer, reader, writer, maintenance, memory })
    }

    /// What we call it.
    pub fn name(&self) -> &NasName {
        &self.0.config.name
    }

    /// Whether this is the NAS of `config`, reached in the same way and with the same accounts. Their keys may be
    /// others: [`Nas::use_keys`].
    fn is_the_one(&self, config: &config::Nas) -> bool {
        let config::Nas { name, url, trust, reader, writer, maintenance, files, app_datasets, app_devices } =
            &self.0.config;
        let username = |login: &config::Login| login.username.clone();
        *name == config.name
            && *url == config.url
            && *trust == config.trust
            && *files == config.files
            && *app_datasets == config.app_datasets
            && *app_devices == config.app_devices
            && reader.username == config.reader.username
            && writer.as_ref().map(username) == config.writer.as_ref().map(username)
            && maintenance.as_ref().map(username) == config.maintenance.as_ref().map(username)
    }

    /// A session for what `warrant` allows. What looks goes over the reader's account, what changes over the
    /// writer's, and so does what is looked up on the way: a job can be seen only by the account that began it.
    pub fn session<'w, A: Access>(&'w self, warrant: &'w Warrant<A>) -> Session<'w, A> {
        self.session_by(if A::CHANGES { By::Writer } else { By::Reader }, warrant)
    }

    /// The same over the account that somebody says. What a session may do hangs on its warrant alone: one that was opened
    /// to look cannot send what changes, over whichever account.
    pub fn session_by<'w, A: Access>(&'w self, by: By, warrant: &'w Warrant<A>) -> Session<'w, A> {
        let uses = if A::CHANGES { Use::Unsettles } else { Use::Nothing };
        self.session_that(uses, warrant, self.line(by))
    }

    fn line(&self, by: By) -> Option<Line> {
        match by {
            By::Reader => Some(self.0.reader.clone()),
            By::Writer => self.0.writer.clone(),
            By::Maintenance => self.0.maintenance.clone(),
        }
    }

    /// The same for a look by which nothing is decided: some of what it asks may be answered with what the NAS said a
    /// moment ago ([`OLDEST`]), if it has told of no change since.
    pub fn session_to_look<'w>(&'w self, warrant: &'w Warrant<Read>) -> Session<'w, Read> {
        self.session_that(Use::Recalls, warrant, Some(self.0.reader.clone()))
    }

    fn session_that<'w, A: Access>(
        &'w self,
        uses: Use,
        warrant: &'w Warrant<A>,
        line: Option<Line>,
    ) -> Session<'w, A> {
        let Inner { config, memory, tally, past, .. } = &*self.0;
        Session::new(warrant, line, (memory, uses), tally, (config, past.get()))
    }

    /// From now on its sessions have this past.
    pub fn remember(&self, past: impl FnOnce() -> Past) {
        self.0.past.get_or_init(past);
    }

    /// Whether the files of any dataset may be looked at.
    #[must_use]
    pub fn shows_files(&self) -> bool {
        !self.0.config.files.is_empty()
    }

    /// Whether there is an account to restart it with.
    #[must_use]
    pub fn can_be_restarted(&self) -> bool {
        self.0.maintenance.is_some()
    }

    /// A session to find out what became of a change: over the writer's account, for a job can be seen only by the
    /// account that began it.
    pub fn aftermath<'w>(&'w self, pending: &'w Pending) -> Session<'w, Read> {
        Session::after(pending, self.0.writer.clone(), &self.0.memory, &self.0.tally)
    }

    /// From the next login on uses these keys. Where the NAS refused a login, a key that is another one is tried
    /// at once; a session that is up stays, since what is under way on it may be a change.
    pub fn use_keys(&self, keys: Keys) {
        self.0.reader.use_key(keys.reader);
        if let (Some(line), Some(key)) = (&self.0.writer, keys.writer) {
            line.use_key(key);
        }
        if let (Some(line), Some(key)) = (&self.0.maintenance, keys.maintenance) {
            line.use_key(key);
        }
    }

    /// What was asked of it so far, by family of methods.
    pub fn calls(&self) -> BTreeMap<&'static str, Calls> {
        self.0.tally.now()
    }

    /// How it is with the reader's connection, which is there or should be.
    pub fn status(&self) -> Status {
        self.0.reader.state.borrow().status.clone()
    }

    /// The same for the writer's, which is made for the first change; `None` without a writer.
    pub fn writer_status(&self) -> Option<Status> {
        self.0.writer.as_ref().map(|line| line.state.borrow().status.clone())
    }

    /// When the certificate that the NAS showed last ends. A pinned one has no end that matters.
    pub fn certificate_ends(&self) -> Option<DateTime<Utc>> {
        self.0.dialer.ends()
    }

    /// The numbers by which the NAS knows our API keys, as far as we have them and they have one.
    #[must_use]
    pub fn key_numbers(&self) -> Vec<(By, i64)> {
        let numbered = |by| Some((by, self.line(by)?.key_number()?));
        [By::Reader, By::Writer, By::Maintenance].into_iter().filter_map(numbered).collect()
    }

    /// Tells when [`Nas::status`] changes.
    pub fn changes(&self) -> Changes {
        Changes(self.0.reader.state.clone())
    }
}

/// Changes of the status of a NAS.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<State>);

impl Changes {
    /// Waits until `wanted` holds of the status, and answers it.
    pub async fn until(&mut self, wanted: impl Fn(&Status) -> bool) -> Option<Status> {
        self.0.wait_for(|state| wanted(&state.status)).await.ok().map(|state| state.status.clone())
    }
}

/// A NAS that can be started, and nothing can go wrong with that.
struct Prepared {
    config: config::Nas,
    dialer: Dialer,
    reader: (Keeper, Line),
    writer: Option<(Keeper, Line)>,
    maintenance: Option<(Keeper, Line)>,
    memory: Memory,
}

impl Prepared {
    fn start(self, lifecycle: &Lifecycle) -> Nas {
        let Self { config, dialer, reader: (reader, reader_line), writer, maintenance, memory } = self;
        let heartbeat = lifecycle.heartbeat("NAS connection", LONGEST_SILENCE);
        run(lifecycle, "nas reader", reader.with_heartbeat(heartbeat));
        let on_demand = |name, kept: Option<(Keeper, Line)>| {
            kept.map(|(keeper, line)| {
                run(lifecycle, name, keeper);
                line
            })
        };
        let (writer, maintenance) =
            (on_demand("nas writer", writer), on_demand("nas maintenance", maintenance));
        Nas(Arc::new(Inner {
            config,
            dialer,
            reader: reader_line,
            writer,
            maintenance,
            memory,
            tally: Tally::default(),
            past: OnceLock::new(),
        }))
    }
}

/// What is sent besides the [methods], each from one place: logins, and what is about one connection. Listed as the methods
/// are, to hold it against the published schemas.
#[must_use]
pub fn sent_besides() -> Vec<methods::Listed> {
    [login::sent(), rpc::follow::sent(), visit::sent()].concat()
}

fn run(lifecycle: &Lifecycle, name: &'static str, keeper: Keeper) {
    let stop = lifecycle.clone();
    lifecycle.errand(name, async move {
        tokio::select! {
            () = stop.ending() => {}
            () = keeper.run() => {}
        }
    });
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use super::rpc::fuzzing::{Frame, frame};
}
