//! A TrueNAS: JSON-RPC 2.0 over WebSocket with an API key, as three generations of the middleware speak it.
//!
//! [`Nas::start`] listens on a loopback port and serves one world, the [`State`]. Calls change it for good, and
//! tests look at it and change it through [`Nas::state`]. Rows are rendered for the generation a connection
//! speaks, so that the same world can be seen through each of them.

mod accounts;
mod apps;
mod events;
mod jobs;
mod methods;
mod params;
mod query;
mod scram;
mod server;
mod session;
mod sources;
mod state;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::watch;

pub use self::accounts::{Account, ApiKey, Key, Roles};
pub use self::jobs::{Job, JobState, Owner};
pub use self::state::{
    Alert, App, AppState, Container, Dataset, Disk, File, Group, Layout, Level, Machine, Measured, NfsShare,
    Pace, Pool, PoolStatus, Privilege, Scan, ScanState, ScrubTask, Service, SmbShare, Snapshot, State, User,
};
use crate::fault::Faults;
use crate::tls::Identity;

/// Stands wherever a row has a secret, or something that may hold one. A NAS redacts some of these for who may
/// not see them; this one does not, so that a client that asks for them gives itself away.
pub const CANARY: &str = "canary-that-must-not-leave-the-nas";

/// What the account for changes may do: what the documentation of tailnas asks for, and no more. Besides, it may change
/// containers, whatever the generation calls that.
const WRITER: &[&str] = &[
    "ALERT_LIST_WRITE",
    "APPS_WRITE",
    "BOOT_ENV_WRITE",
    "CLOUD_SYNC_WRITE",
    "DATASET_DELETE",
    "DATASET_WRITE",
    "DIRECTORY_SERVICE_WRITE",
    "POOL_SCRUB_WRITE",
    "POOL_WRITE",
    "REPLICATION_TASK_WRITE",
    "SERVICE_WRITE",
    "SHARING_NFS_WRITE",
    "SHARING_SMB_WRITE",
    "SNAPSHOT_DELETE",
    "SNAPSHOT_TASK_WRITE",
    "SNAPSHOT_WRITE",
    "SYSTEM_UPDATE_WRITE",
    "VM_WRITE",
];

/// A generation of the middleware's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// 25.04.2
    V25_04,
    /// 25.10.5
    V25_10,
    /// 26.0.0
    V26,
}

impl Generation {
    /// The versions that `GET /api/versions` lists.
    pub fn versions(self) -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "v25.04.0", "v25.04.1", "v25.04.2", "v25.10.0", "v25.10.1", "v25.10.2", "v25.10.4", "v25.10.5",
            "v26.0.0",
        ];
        match self {
            Self::V25_04 => &ALL[..3],
            Self::V25_10 => &ALL[..8],
            Self::V26 => ALL,
        }
    }

    /// What `system.info` calls the version.
    pub fn version(self) -> &'static str {
        match self {
            Self::V25_04 => "25.04.2",
            Self::V25_10 => "25.10.5",
            Self::V26 => "26.0.0",
        }
    }
}

/// How to start a [`Nas`].
#[derive(Clone, Copy, Debug)]
pub struct NasOptions {
    /// The generation it is of.
    pub generation: Generation,
    /// Where it listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Whether it speaks TLS. Without it, keys that are used are revoked.
    pub tls: bool,
}

impl Default for NasOptions {
    /// 25.10 behind TLS on a free loopback port.
    fn default() -> Self {
        Self { generation: Generation::V25_10, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls: true }
    }
}

/// One call as the server saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// The same on the kernel's clock that is never set and goes on in sleep (`CLOCK_BOOTTIME`): what another process
    /// has read from that can be compared with it.
    pub boottime: Duration,
    /// Number of the connection it came by, counted from 1.
    pub connection: u64,
    /// Who had logged in on that connection.
    pub username: Option<String>,
    /// What its client calls it; absent for a notification.
    pub id: Option<Value>,
    /// Method called.
    pub method: String,
    /// Its arguments.
    pub params: Value,
    /// The result or the error of the JSON-RPC response; `None` while there is none. What a
    /// [`Fault`](crate::fault::Fault) kept from the client is here nevertheless.
    pub outcome: Option<Result<Value, Value>>,
}

/// One attempt to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAttempt {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Number of the connection it came by.
    pub connection: u64,
    /// The user name it gave.
    pub username: Option<String>,
    /// `SUCCESS`, `AUTH_ERR` or `EXPIRED`, or the error's name.
    pub answer: String,
}

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct Nas {
    shared: Arc<Shared>,
    tls: Option<Identity>,
    address: SocketAddr,
    reader: ApiKey,
    writer: ApiKey,
    admin: ApiKey,
    maintenance: ApiKey,
    admin_password: String,
    running: tokio::sync::Mutex<Option<server::Running>>,
}

impl Nas {
    /// Starts to listen.
    pub async fn start(options: NasOptions) -> io::Result<Self> {
        let (reader_account, reader) = Account::with_key("tailnas-reader", &["READONLY_ADMIN"], 1);
        let containers =
            if options.generation >= Generation::V26 { "CONTAINER_WRITE" } else { "VIRT_INSTANCE_WRITE" };
        let (writer_account, writer) =
            Account::with_key("tailnas-writer", &[WRITER, &[containers]].concat(), 2);
        let (mut admin_account, admin) = Account::with_key("truenas_admin", &["FULL_ADMIN"], 3);
        let admin_password = random_text(20);
        admin_account.password = Some(admin_password.clone());
        let tls = options.tls.then(Identity::generate).transpose()?;
        let (maintenance_account, maintenance) = Account::with_key("tailnas-maintenance", &["FULL_ADMIN"], 4);
        let accounts = vec![reader_account, writer_account, admin_account, maintenance_account];
        let shared = Arc::new(Shared::new(State::homenas(accounts, Utc::now()), options, tls.as_ref()));
        let running = server::listen(Arc::clone(&shared), options.listen, tls.as_ref()).await?;
        Ok(Self {
            address: running.address,
            running: tokio::sync::Mutex::new(Some(running)),
            shared,
            tls,
            reader,
            writer,
            admin,
            maintenance,
            admin_password,
        })
    }

    /// Where clients connect: `wss://127.0.0.1:PORT/api/current`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/api/current", self.address)
    }

    /// The address it listens on; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that signed its own; empty without TLS.
    pub fn ca_pem(&self) -> &str {
        self.tls.as_ref().map_or("", Identity::ca_pem)
    }

    /// `sha256:` and the hex digest of its certificate's DER; empty without TLS.
    pub fn certificate_pin(&self) -> String {
        self.tls.as_ref().map_or_else(String::new, |tls| tls.pin().to_owned())
    }

    /// A key of a user who may read everything.
    pub fn reader_key(&self) -> ApiKey {
        self.reader.clone()
    }

    /// A key of a user who may see datasets and take snapshots, and nothing else.
    pub fn writer_key(&self) -> ApiKey {
        self.writer.clone()
    }

    /// The key of the account that may restart it.
    pub fn maintenance_key(&self) -> ApiKey {
        self.maintenance.clone()
    }

    /// A key of a user who may do everything.
    pub fn admin_key(&self) -> ApiKey {
        self.admin.clone()
    }

    /// What that user logs in with as a person does.
    pub fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// Closes the listener and every connection.
    pub async fn stop(&self) {
        let running = self.running.lock().await.take();
        self.shared.cancel_jobs();
        if let Some(running) = running {
            running.stop().await;
        }
    }

    /// Stops if it runs and starts again: the same port and the same world, but a new boot without jobs.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.shared.state(State::boot);
        let running = server::listen(Arc::clone(&self.shared), self.address, self.tls.as_ref()).await?;
        *self.running.lock().await = Some(running);
        Ok(())
    }

    /// Upgrades the NAS under its clients: who connects from now on meets this generation.
    pub fn set_generation(&self, generation: Generation) {
        *lock(&self.shared.generation) = generation;
    }

    /// Faults for calls of any method.
    ///
    /// [`Fault::Hang`](crate::fault::Fault::Hang) and [`Fault::Drop`](crate::fault::Fault::Drop) keep a call from
    /// being made; after any other fault it has been made, though the client may not learn of it.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Faults for calls of one method, which come before those for any.
    pub fn faults_of(&self, method: &str) -> Faults {
        lock(&self.shared.faults_of).entry(method.to_owned()).or_default().clone()
    }

    /// Looks at the world or changes it. Subscribers are told afterwards.
    pub fn state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        self.shared.state(look)
    }

    /// Waits until the world is so.
    pub async fn wait_for(&self, so: impl FnMut(&State) -> bool) {
        self.shared.wait_for(so).await;
    }

    /// Every call since the start, in order of arrival.
    pub fn transcript(&self) -> Vec<Exchange> {
        lock(&self.shared.transcript).clone()
    }

    /// Keeps the calls and forgets what came back of those that succeeded, for a run so long that there is no room for
    /// all of it.
    pub fn forget_results(&self) {
        for exchange in lock(&self.shared.transcript).iter_mut() {
            if let Some(Ok(result)) = &mut exchange.outcome {
                *result = Value::Null;
            }
        }
    }

    /// Every attempt to log in since the start.
    pub fn logins(&self) -> Vec<LoginAttempt> {
        lock(&self.shared.state).logins.clone()
    }
}

impl Drop for Nas {
    /// The listener and its connections end with `running`; jobs are tasks of their own.
    fn drop(&mut self) {
        self.shared.cancel_jobs();
    }
}

/// What the connections have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts the times the state may have changed.
    version: watch::Sender<u64>,
    generation: Mutex<Generation>,
    tls: bool,
    /// What a login can be bound to.
    end_point: Option<Vec<u8>>,
    faults: Faults,
    faults_of: Mutex<HashMap<String, Faults>>,
    transcript: Mutex<Vec<Exchange>>,
    connections: Mutex<u64>,
}

impl Shared {
    fn new(state: State, options: NasOptions, tls: Option<&Identity>) -> Self {
        Self {
            state: Mutex::new(state),
            version: watch::Sender::new(0),
            generation: Mutex::new(options.generation),
            tls: options.tls,
            // The certificate is signed with SHA-256, so what logins are bound to is what pins it.
            end_point: tls.and_then(|tls| hex::decode(tls.pin().trim_start_matches("sha256:")).ok()),
            faults: Faults::default(),
            faults_of: Mutex::default(),
            transcript: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    fn state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.state);
        let result = look(&mut state);
        state.deliver();
        drop(state);
        self.version.send_modify(|version| *version += 1);
        result
    }

    async fn wait_for(&self, mut so: impl FnMut(&State) -> bool) {
        self.wait_for_some(|state| so(state).then_some(())).await;
    }

    async fn wait_for_some<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            let found = look(&lock(&self.state));
            if let Some(found) = found {
                return found;
            }
            if version.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn cancel_jobs(&self) {
        lock(&self.state).jobs.iter().for_each(|job| job.cancel.cancel());
    }

    fn fault(&self, method: &str) -> Option<crate::fault::Fault> {
        let own = lock(&self.faults_of).get(method).and_then(Faults::take);
        own.or_else(|| self.faults.take())
    }
}

/// A test that panicked while it looked at the state has failed already; the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "a kernel without randomness is no place for a test")]
    getrandom::fill(&mut bytes).expect("the kernel has randomness for user space");
    bytes
}

/// Letters and digits. That some are a little more likely than others does not matter to a simulator.
fn random_text(length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(ALPHABET[usize::from(random_bytes::<1>()[0]) % 62])).collect()
}

fn random_uuid() -> String {
    let hex = hex::encode(random_bytes::<16>());
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
