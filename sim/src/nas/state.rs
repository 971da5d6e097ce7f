//! The world behind the API: one homelab NAS, its accounts, and what has happened to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveTime, TimeDelta, TimeZone, Utc};
use serde_json::{Value, json};

use super::LoginAttempt;
use super::accounts::{Account, ApiKey};
use super::events::{Change, Event, Listener};
use super::jobs::{Job, JobState, Owner};
use super::wire::EFAULT;

/// Everything the simulated NAS knows. Change it through [`Nas::state`](super::Nas::state): who subscribed
/// to what was changed is told.
#[derive(Clone, Debug)]
pub struct State {
    /// Name of the host.
    pub hostname: String,
    /// When the system was started last.
    pub booted: DateTime<Utc>,
    /// Changes with every start.
    pub boot_id: String,
    /// Whether the system has finished starting.
    pub ready: bool,
    /// The time on this NAS; `None` for the real one.
    pub clock: Option<DateTime<Utc>>,
    /// Storage pools.
    pub pools: Vec<Pool>,
    /// Filesystems and volumes, the root of each pool included.
    pub datasets: Vec<Dataset>,
    /// Snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Files, those in snapshots too. Folders are there because files are in them.
    pub files: Vec<File>,
    /// Alerts, dismissed ones included.
    pub alerts: Vec<Alert>,
    /// Jobs since the last start.
    pub jobs: Vec<Job>,
    /// System services.
    pub services: Vec<Service>,
    /// Installed apps.
    pub apps: Vec<App>,
    /// Volumes that the NAS keeps for apps: whose, and what they are called. They outlive their app.
    pub ix_volumes: Vec<(String, String)>,
    /// Virtual machines.
    pub machines: Vec<Machine>,
    /// Containers that are not apps.
    pub containers: Vec<Container>,
    /// Volumes that two machines wrote to at a time, each as if it were alone: what was on them is lost.
    pub spoilt: Vec<String>,
    /// Devices that the NAS has lost to machines, by their PCI addresses.
    pub taken: Vec<String>,
    /// What was measured.
    pub measured: Vec<Measured>,
    /// Network interfaces and their speed in Mbit/s.
    pub links: Vec<(String, u32)>,
    /// SMB shares.
    pub smb_shares: Vec<SmbShare>,
    /// NFS shares.
    pub nfs_shares: Vec<NfsShare>,
    /// Local users.
    pub users: Vec<User>,
    /// Local groups.
    pub groups: Vec<Group>,
    /// What the members of groups may do.
    pub privileges: Vec<Privilege>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// When pools are scrubbed.
    pub scrub_tasks: Vec<ScrubTask>,
    /// Systems that could be started besides the one that runs.
    pub old_systems: Vec<String>,
    /// How many days ago these were made.
    pub days_of_old_systems: i64,
    /// Version of an available update, if there is one.
    pub update: Option<String>,
    /// The Active Directory domain that users are taken from, if there is one.
    pub directory: Option<String>,
    /// Whether replications may delete what is at their target and begin anew.
    pub from_scratch: bool,
    /// What else somebody set replications, snapshot tasks and cloud syncs to; it stands in each that has such a field.
    pub tasks_set_to: Value,
    /// Who may log in, and as what.
    pub accounts: Vec<Account>,
    /// How fast and how strict the server is.
    pub pace: Pace,
    pub(crate) logins: Vec<LoginAttempt>,
    pub(crate) login_windows: HashMap<(String, IpAddr), (DateTime<Utc>, u32)>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) pending: Vec<Event>,
    pub(crate) txg: u64,
}

/// How fast and how strict the server is.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Time between two steps of a scrub.
    pub scrub_step: Duration,
    /// Percent of a scrub done in one step.
    pub scrub_percent: f64,
    /// Calls of one method that an address may make before it logs in, per minute.
    pub anonymous_calls: u32,
    /// How late the answer to a call over that limit is.
    pub rate_limit_delay: RangeInclusive<Duration>,
    /// Rounds that a key is stretched by for SCRAM. A real NAS has ten times as many.
    pub scram_rounds: u32,
    /// Whether SCRAM is offered where the generation has it.
    pub scram: bool,
    /// A real NAS takes a loopback client for a secure one even without TLS. A simulator has no other
    /// clients, so it does not, or keys could never be seen to be revoked.
    pub plain_loopback_is_insecure: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            scrub_step: Duration::from_secs(1),
            scrub_percent: 10.0,
            anonymous_calls: 20,
            rate_limit_delay: Duration::from_secs(1)..=Duration::from_secs(10),
            scram_rounds: 50_000,
            scram: true,
            plain_loopback_is_insecure: true,
        }
    }
}

/// How the disks of a pool hold its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One disk, no redundancy.
    Stripe,
    /// All disks hold the same.
    Mirror,
    /// One disk's worth of parity.
    Raidz1,
}

/// Health of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStatus {
    /// Everything works.
    Online,
    /// Works, with less redundancy than it should have.
    Degraded,
    /// Does not work.
    Faulted,
}

impl PoolStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Degraded => "DEGRADED",
            Self::Faulted => "FAULTED",
        }
    }
}

/// What a scrub is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// It runs, unless it is paused.
    Scanning,
    /// It came to its end.
    Finished,
    /// It was stopped.
    Canceled,
}

/// The last scrub of a pool.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What it is doing.
    pub state: ScanState,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// Since when it is paused.
    pub paused: Option<DateTime<Utc>>,
    /// How much is done.
    pub percentage: f64,
    /// Errors found.
    pub errors: u64,
}

impl Scan {
    /// How much is done, in whole percent.
    pub fn percent(&self) -> u8 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float stops at the ends of the range"
        )]
        let percent = self.percentage as u8;
        percent.min(100)
    }
}

/// A storage pool of one vdev.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Number in the database.
    pub id: i64,
    /// Name, also of its root dataset.
    pub name: String,
    /// ZFS's own number of it, as text.
    pub guid: String,
    /// Health.
    pub status: PoolStatus,
    /// How its disks hold the data.
    pub layout: Layout,
    /// Names of its disks.
    pub disks: Vec<String>,
    /// Names of those that do not work.
    pub failed_disks: Vec<String>,
    /// Size of each disk in bytes.
    pub disk_size: u64,
    /// The last scrub.
    pub scan: Option<Scan>,
}

impl Pool {
    /// Bytes on disk, parity included, as `zpool list` counts them: a mirror counts once.
    pub fn size(&self) -> u64 {
        match self.layout {
            Layout::Mirror => self.disk_size,
            Layout::Stripe | Layout::Raidz1 => self.disk_size * self.disks.len() as u64,
        }
    }

    /// Bytes that files can have.
    pub fn usable(&self) -> u64 {
        match self.layout {
            Layout::Mirror | Layout::Stripe => self.size(),
            Layout::Raidz1 => self.disk_size * self.disks.len().saturating_sub(1) as u64,
        }
    }

    /// Bytes on disk that so many bytes of data take.
    pub fn raw(&self, data: u64) -> u64 {
        match self.layout {
            Layout::Mirror | Layout::Stripe => data,
            Layout::Raidz1 => {
                let disks = self.disks.len() as u64;
                data / disks.saturating_sub(1).max(1) * disks
            }
        }
    }
}

/// A filesystem or volume.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Full name, beginning with the pool's.
    pub name: String,
    /// Size in bytes of a volume; `None` for a filesystem.
    pub volume: Option<u64>,
    /// Bytes of its own data, without children and snapshots.
    pub own: u64,
    /// Quota in bytes.
    pub quota: Option<u64>,
    /// Whether it may not be written.
    pub readonly: bool,
    /// How it is compressed; `None` as what it lies in.
    pub compression: Option<String>,
    /// Free text.
    pub comments: Option<String>,
    /// The snapshot it is a clone of.
    pub origin: Option<String>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// A number that no other ever has.
    pub guid: u64,
    /// Transaction group in which it was made.
    pub createtxg: u64,
}

impl Dataset {
    /// Name of its pool.
    pub fn pool(&self) -> &str {
        pool_of(&self.name)
    }
}

pub(crate) fn pool_of(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or(dataset)
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it is of.
    pub dataset: String,
    /// What follows the `@`.
    pub name: String,
    /// Transaction group in which it was made; grows with every change.
    pub createtxg: u64,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Bytes that only it keeps.
    pub used: u64,
    /// Bytes of data in it.
    pub referenced: u64,
    /// User properties.
    pub properties: Vec<(String, String)>,
    /// What keeps it from being deleted.
    pub holds: Vec<String>,
}

impl Snapshot {
    /// `dataset@name`
    pub fn id(&self) -> String {
        format!("{}@{}", self.dataset, self.name)
    }
}

/// A file, as it is or as a snapshot keeps it.
#[derive(Clone, Debug)]
pub struct File {
    /// The dataset it is on.
    pub dataset: String,
    /// The snapshot that keeps it; `None` for the file as it is.
    pub snapshot: Option<String>,
    /// Where on the dataset.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was written last.
    pub modified: DateTime<Utc>,
    /// Its number.
    pub inode: u64,
    /// Where it leads, if it is a link.
    pub link: Option<String>,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be acted upon.
    Critical,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// An alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its identity.
    pub uuid: String,
    /// Class of alert.
    pub klass: String,
    /// How bad it is.
    pub level: Level,
    /// What it says.
    pub text: String,
    /// Whether somebody waved it away.
    pub dismissed: bool,
    /// When it came up.
    pub raised: DateTime<Utc>,
}

/// A system service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Number in the database.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Whether it starts with the system.
    pub enabled: bool,
    /// Whether it runs.
    pub running: bool,
}

/// What an app is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppState {
    /// It runs.
    Running,
    /// It was stopped.
    Stopped,
    /// It ended by itself.
    Crashed,
    /// It is being started.
    Deploying,
}

/// An installed app of one container.
#[derive(Clone, Debug)]
pub struct App {
    /// Name and id.
    pub name: String,
    /// Title in the catalog.
    pub title: String,
    /// What it is doing.
    pub state: AppState,
    /// Version of the package.
    pub version: String,
    /// Version of the program in it.
    pub app_version: String,
    /// Newer version of the package, if there is one.
    pub latest: Option<String>,
    /// Container image.
    pub image: String,
    /// The registry has a newer image of the same name.
    pub newer_image: bool,
    /// Container port and the port of the host it is reached at.
    pub port: Option<(u16, u16)>,
    /// Directory of the host mounted into it, and where.
    pub mount: Option<(String, String)>,
    /// What it was set up with.
    pub config: Value,
    /// What it has printed, line by line.
    pub log: Vec<String>,
    /// Somebody wrote its compose file.
    pub custom: bool,
    /// Versions it can be rolled back to.
    pub earlier: Vec<String>,
    /// Places of the host that its makers mount into it, whatever it is set up with.
    pub makers_mounts: Vec<String>,
    /// Tells it from one that was there before under its name; 0 for what was there from the beginning.
    pub made: u64,
}

impl App {
    /// Docker's number of its container.
    pub fn container_id(&self) -> String {
        let name = hex::encode(&self.name);
        format!("{:0>64}", if self.made == 0 { name } else { format!("{:x}{name}", self.made) })
    }
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Number in the database.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Whether it runs.
    pub running: bool,
    /// Memory in MiB.
    pub memory: u64,
    /// Password of its display.
    pub display_password: String,
    /// Tells it from one that was there before under its name and number.
    pub made: u64,
    /// The volume that it writes to.
    pub disk: String,
    /// Devices of the NAS that are handed through to it, by their PCI addresses.
    pub hardware: Vec<String>,
}

/// A container that is not an app.
#[derive(Clone, Debug)]
pub struct Container {
    /// Number in the database, since 26.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Tells it from one that was there before under its name and number.
    pub made: u64,
    /// Folders of the NAS that it has; TrueNAS 26.
    pub folders: Vec<String>,
}

/// A graph: values at equal distances up to now, over whatever span is asked for.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Name of the graph.
    pub name: String,
    /// Of which thing.
    pub identifier: Option<String>,
    /// What the columns are, without the time.
    pub legend: Vec<&'static str>,
    /// Values of the columns.
    pub rows: Vec<Vec<Option<f64>>>,
}

/// An SMB share.
#[derive(Clone, Debug)]
pub struct SmbShare {
    /// Number in the database.
    pub id: i64,
    /// Name clients see.
    pub name: String,
    /// Directory.
    pub path: String,
    /// Free text.
    pub comment: String,
    /// Whether it is served.
    pub enabled: bool,
    /// Whether clients may not write.
    pub readonly: bool,
    /// Whether clients need no password.
    pub guest: bool,
    /// Hosts and networks that may use it; empty for all.
    pub hosts: Vec<String>,
}

/// An NFS share.
#[derive(Clone, Debug)]
pub struct NfsShare {
    /// Number in the database.
    pub id: i64,
    /// Directory.
    pub path: String,
    /// Networks that may mount it; empty for all.
    pub networks: Vec<String>,
    /// Hosts that may, besides.
    pub hosts: Vec<String>,
    /// Whether it is served.
    pub enabled: bool,
    /// Whether clients may not write.
    pub readonly: bool,
    /// Who root of a client is here.
    pub maproot: Option<String>,
    /// Who everybody of a client is here.
    pub mapall: Option<String>,
}

/// A local user.
#[derive(Clone, Debug)]
pub struct User {
    /// Number in the database.
    pub id: i64,
    /// POSIX number.
    pub uid: i64,
    /// Login name.
    pub username: String,
    /// Name of the person.
    pub full_name: String,
    /// Whether it came with the system.
    pub builtin: bool,
    /// Whether it may log in.
    pub locked: bool,
    /// Whether it may use SMB.
    pub smb: bool,
    /// Number in the database of its first group; `None` for one that is its alone and that nobody asks about.
    pub group: Option<i64>,
    /// Whether it has no password to log in with.
    pub password_disabled: bool,
    /// What it gets when it logs in.
    pub shell: String,
}

/// A local group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Number in the database.
    pub id: i64,
    /// POSIX number.
    pub gid: i64,
    /// Name.
    pub name: String,
    /// Whether it came with the system.
    pub builtin: bool,
    /// Whether SMB knows it.
    pub smb: bool,
    /// Numbers in the database of the users that have joined it.
    pub users: Vec<i64>,
}

/// What the members of groups may do.
#[derive(Clone, Debug)]
pub struct Privilege {
    /// Number in the database.
    pub id: i64,
    /// Name.
    pub name: String,
    /// What it is called inside, if it came with the system.
    pub builtin: Option<String>,
    /// POSIX numbers of the groups.
    pub groups: Vec<i64>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Whether it lets them use the shell in the browser.
    pub web_shell: bool,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Device name.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// Model.
    pub model: String,
    /// Size in bytes.
    pub size: u64,
    /// Rotations per minute; `None` for a solid state disk.
    pub rpm: Option<u32>,
    /// Degrees Celsius; `None` when it does not say.
    pub temperature: Option<f64>,
}

/// When a pool is scrubbed.
#[derive(Clone, Debug)]
pub struct ScrubTask {
    /// Number in the database.
    pub id: i64,
    /// Number of the pool.
    pub pool: i64,
    /// Minute, hour, day of the month, month, day of the week, as cron has them.
    pub cron: [String; 5],
    /// Days that must lie between two scrubs.
    pub threshold: i64,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl ScrubTask {
    /// As the NAS makes one by itself for the pool of this number.
    pub(crate) fn usual(pool: i64) -> Self {
        let cron = ["00", "00", "*", "*", "7"].map(str::to_owned);
        Self { id: pool, pool, cron, threshold: 35, enabled: true }
    }
}

const TIB: u64 = 1 << 40;
const GIB: u64 = 1 << 30;

/// The first moment of this world's history.
fn long_ago() -> DateTime<Utc> {
    Utc.timestamp_opt(1_735_725_600, 0).single().unwrap_or_default()
}

impl State {
    /// A believable homelab NAS, with these accounts, as it is at this moment. What it tells of its past follows
    /// the calendar, in UTC: what is done at midnight was done at midnight.
    pub(crate) fn homenas(accounts: Vec<Account>, now: DateTime<Utc>) -> Self {
        let writer = accounts.iter().find_map(|account| {
            let key = account.keys.first().filter(|_| account.username == "tailnas-writer")?;
            Some(Owner { username: account.username.clone(), key: Some(key.id) })
        });
        let mut state = Self {
            hostname: "homenas".to_owned(),
            booted: now - UP,
            boot_id: super::random_uuid(),
            ready: true,
            clock: None,
            pools: pools(now),
            datasets: datasets(),
            snapshots: Vec::new(),
            files: files(now),
            alerts: alerts(now),
            jobs: Vec::new(),
            services: services(),
            apps: apps(),
            ix_volumes: vec![
                ("plex".to_owned(), "config".to_owned()),
                ("nextcloud".to_owned(), "html".to_owned()),
            ],
            machines: machines(),
            containers: vec![Container {
                id: 1,
                name: "debian".to_owned(),
                running: true,
                made: 0,
                folders: Vec::new(),
            }],
            spoilt: Vec::new(),
            taken: Vec::new(),
            measured: measured(),
            links: vec![("eno1".to_owned(), 1000)],
            smb_shares: smb_shares(),
            nfs_shares: nfs_shares(),
            users: users(),
            groups: groups(),
            privileges: privileges(),
            disks: disks(),
            scrub_tasks: [1, 2].map(ScrubTask::usual).into(),
            old_systems: vec!["24.10.2.4".to_owned()],
            days_of_old_systems: 400,
            from_scratch: false,
            tasks_set_to: json!({}),
            update: None,
            directory: None,
            accounts,
            pace: Pace::default(),
            logins: Vec::new(),
            login_windows: HashMap::new(),
            listeners: Vec::new(),
            pending: Vec::new(),
            txg: 41_000,
        };
        // What somebody took by hand stays; of the nightly ones, those of a week.
        for (dataset, name, days, kept) in [
            ("tank/photos", BEFORE_SORTING, 80, 3 * GIB),
            ("tank/photos/2024", BEFORE_SORTING, 80, GIB),
            ("tank/photos", AFTER_SORTING, 50, GIB / 2),
            ("tank/media", "before-upgrade", 20, 12 * GIB),
            ("tank2/scratch", "keep", 10, 2 * GIB),
        ] {
            state.snapshot_at(dataset, name, now - TimeDelta::days(days), Vec::new());
            if let Some(snapshot) = state.snapshots.last_mut() {
                snapshot.used = kept;
            }
        }
        for night in nights(now) {
            for dataset in ["tank/photos", "tank/photos/2024", "backup/photos", "backup/photos/2024"] {
                state.snapshot_at(dataset, &nightly(night), night, Vec::new());
            }
        }
        let root = Owner { username: "root".to_owned(), key: None };
        let scrubbed =
            |name: &str| state.pools.iter().find(|pool| pool.name == name).and_then(|pool| pool.scan.clone());
        let scrub = |id, pool: &str, owner| Some(Job::scrub(id, pool, &scrubbed(pool)?, owner));
        let jobs = [
            scrub(1, "tank", root.clone()),
            Some(Job::running(2, "cloudsync.sync", 42, root, now - TimeDelta::minutes(40))),
            writer.and_then(|writer| scrub(3, "tank2", writer)),
        ];
        state.jobs.extend(jobs.into_iter().flatten());
        state
    }

    /// Makes this the world as it is at `now`, where its clock stops, with the same accounts.
    pub fn stop_at(&mut self, now: DateTime<Utc>) {
        let then = Self { clock: Some(now), ..Self::homenas(self.accounts.clone(), now) };
        let jobs = then.jobs.clone();
        self.put_back(then);
        self.jobs = jobs;
    }

    /// More happens than on most days: somebody scrubs a pool, a copy has failed and an update is there. Users come
    /// from a directory.
    pub fn be_eventful(&mut self) {
        let (now, root) = (self.now(), Owner { username: "root".to_owned(), key: None });
        let scan = Scan {
            state: ScanState::Scanning,
            started: now - TimeDelta::minutes(3),
            ended: None,
            paused: None,
            percentage: 42.0,
            errors: 0,
        };
        let begun = last_at(now, 5);
        self.jobs.retain(|job| job.state.ended());
        self.jobs.push(Job {
            arguments: vec![json!(1)],
            state: JobState::Failed(EFAULT, "rsync exited with code 10".to_owned()),
            ended: Some(begun + TimeDelta::minutes(20)),
            ..Job::running(4, "rsynctask.run", 100, root.clone(), begun)
        });
        self.jobs.push(Job {
            arguments: vec![json!("tank2"), json!("START")],
            description: "Scrub of pool 'tank2'".to_owned(),
            progress: "Scrubbing".to_owned(),
            ..Job::running(5, "pool.scrub.scrub", scan.percent(), root, scan.started)
        });
        self.pools
            .iter_mut()
            .filter(|pool| pool.name == "tank2")
            .for_each(|pool| pool.scan = Some(scan.clone()));
        self.update = Some("25.10.6".to_owned());
        self.directory = Some("home.example.com".to_owned());
    }

    /// What the automatic snapshot of so many nights ago is called; that of the last midnight is 0.
    pub fn night(&self, ago: usize) -> String {
        let auto =
            self.snapshots.iter().filter(|one| one.dataset == "tank/photos" && one.name.starts_with("auto-"));
        auto.rev().nth(ago).map(|one| one.name.clone()).unwrap_or_default()
    }

    /// The time on this NAS.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.unwrap_or_else(Utc::now)
    }

    /// Makes one disk of a pool fail, raises the alert that goes with it, and says whether there was one.
    pub fn degrade_pool(&mut self, name: &str) -> bool {
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.name == name) else { return false };
        pool.status = PoolStatus::Degraded;
        pool.failed_disks = pool.disks.last().cloned().into_iter().collect();
        let id = pool.id;
        self.raise_alert(
            "VolumeStatus",
            Level::Critical,
            &format!(
                "Pool {name} state is DEGRADED: One or more devices could not be used because the label is \
                 missing or invalid. Sufficient replicas exist for the pool to continue functioning in a \
                 degraded state."
            ),
        );
        self.emit(Event::Pool(id));
        true
    }

    /// A job of this kind is at it that an account began, and goes on until somebody ends it: its number.
    pub fn begin_job(&mut self, method: &str, username: &str) -> i64 {
        let id = self.jobs.last().map_or(1, |job| job.id + 1);
        let owner = Owner { username: username.to_owned(), key: None };
        self.jobs.push(Job::running(id, method, 42, owner, self.now()));
        self.emit(Event::Job(id, Change::Added));
        id
    }

    /// Sets how many bytes of its own a dataset has, and says whether there is such a dataset.
    pub fn set_used(&mut self, dataset: &str, bytes: u64) -> bool {
        let found = self.datasets.iter_mut().find(|one| one.name == dataset);
        found.map(|dataset| dataset.own = bytes).is_some()
    }

    /// Raises an alert and returns its uuid.
    pub fn raise_alert(&mut self, klass: &str, level: Level, text: &str) -> String {
        let uuid = super::random_uuid();
        self.alerts.push(Alert {
            uuid: uuid.clone(),
            klass: klass.to_owned(),
            level,
            text: text.to_owned(),
            dismissed: false,
            raised: self.now(),
        });
        self.emit(Event::AlertAdded(uuid.clone()));
        uuid
    }

    /// Adds an account with these roles and one key.
    pub fn add_account(&mut self, username: &str, roles: &[&str]) -> ApiKey {
        let keys = self.accounts.iter().flat_map(|account| &account.keys);
        let id = keys.map(|key| key.id).max().unwrap_or(0) + 1;
        let (account, key) = Account::with_key(username, roles, id);
        self.accounts.push(account);
        key
    }

    /// The roles that members of the group with this POSIX number have by it.
    pub fn roles_of_group(&self, gid: i64) -> Vec<&str> {
        let privileges = self.privileges.iter().filter(|privilege| privilege.groups.contains(&gid));
        privileges.flat_map(|privilege| &privilege.roles).map(String::as_str).collect()
    }

    /// Adds a dataset without data of its own.
    pub fn add_dataset(&mut self, name: &str) {
        self.txg += 7;
        let created = self.now();
        self.datasets.push(Dataset { createtxg: self.txg, ..dataset(name, 0, created) });
        self.emit(Event::Dataset(name.to_owned(), Change::Added));
    }

    /// Gives a dataset and all below it another name. Its snapshots go with it.
    pub(crate) fn rename_dataset(&mut self, from: &str, to: &str) {
        let renamed = |name: &str| {
            let rest = name.strip_prefix(from)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        };
        for dataset in &mut self.datasets {
            if let Some(name) = renamed(&dataset.name) {
                dataset.name = name;
            }
            if let Some((of, label)) = dataset.origin.as_deref().and_then(|origin| origin.split_once('@'))
                && let Some(of) = renamed(of)
            {
                dataset.origin = Some(format!("{of}@{label}"));
            }
        }
        for snapshot in &mut self.snapshots {
            if let Some(dataset) = renamed(&snapshot.dataset) {
                snapshot.dataset = dataset;
            }
        }
    }

    /// Destroys a dataset and all below it, and every snapshot of them.
    pub fn destroy_dataset(&mut self, name: &str) {
        let inside =
            |one: &str| one.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.datasets.retain(|dataset| !inside(&dataset.name));
        self.snapshots.retain(|snapshot| !inside(&snapshot.dataset));
        self.emit(Event::Dataset(name.to_owned(), Change::Removed));
    }

    /// The snapshot that keeps a dataset from being destroyed, and why: somebody holds it, or a clone elsewhere needs
    /// it.
    pub(crate) fn kept_in(&self, name: &str) -> Option<(String, &'static str)> {
        let inside =
            |one: &str| one.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.snapshots.iter().filter(|one| inside(&one.dataset)).find_map(|snapshot| {
            let id = snapshot.id();
            let cloned = |one: &Dataset| one.origin.as_ref() == Some(&id) && !inside(&one.name);
            match (snapshot.holds.is_empty(), self.datasets.iter().any(cloned)) {
                (false, _) => Some((id, "it's being held")),
                (true, true) => Some((id, "it has dependent clones")),
                (true, false) => None,
            }
        })
    }

    /// Takes a dataset back to what a snapshot of it holds; what is newer is gone.
    pub(crate) fn roll_back(&mut self, dataset: &str, label: &str) {
        let Some(to) = self.snapshots.iter().find(|one| one.dataset == dataset && one.name == label) else {
            return;
        };
        let (txg, referenced) = (to.createtxg, to.referenced);
        self.snapshots.retain(|one| one.dataset != dataset || one.createtxg <= txg);
        self.set_used(dataset, referenced);
        let kept = |file: &File| file.dataset == dataset && file.snapshot.as_deref() == Some(label);
        let back: Vec<_> = self.files.iter().filter(|file| kept(file)).cloned().collect();
        self.files.retain(|file| file.dataset != dataset || file.snapshot.is_some());
        self.files.extend(back.into_iter().map(|file| File { snapshot: None, ..file }));
    }

    /// Keeps a snapshot from being deleted.
    pub fn hold(&mut self, id: &str, tag: &str) {
        if let Some(snapshot) = self.snapshots.iter_mut().find(|one| one.id() == id) {
            snapshot.holds.push(tag.to_owned());
        }
    }

    /// Destroys a dataset and makes another under its name, within the same second and looking the same.
    pub fn make_dataset_again(&mut self, name: &str) {
        let Some(old) = self.datasets.iter().find(|one| one.name == name).cloned() else { return };
        self.destroy_dataset(name);
        self.add_dataset(name);
        if let Some(new) = self.datasets.last_mut() {
            *new = Dataset { guid: new.guid, createtxg: new.createtxg, ..old };
        }
    }

    /// Destroys a snapshot and takes another under its name.
    pub fn make_snapshot_again(&mut self, id: &str) {
        let Some(at) = self.snapshots.iter().position(|one| one.id() == id) else { return };
        let old = self.snapshots.remove(at);
        self.add_snapshot(&old.dataset, &old.name);
        if let Some(new) = self.snapshots.last_mut() {
            *new = Snapshot { createtxg: new.createtxg, ..old };
        }
    }

    /// Deletes an app and installs it again under its name, in the same version and set up alike.
    pub fn make_app_again(&mut self, name: &str) {
        self.txg += 7;
        self.apps.iter_mut().filter(|app| app.name == name).for_each(|app| app.made = self.txg);
    }

    /// Deletes the virtual machines and containers and makes them again under their names and numbers, as they were.
    pub fn make_machines_again(&mut self) {
        self.txg += 7;
        self.machines.iter_mut().for_each(|machine| machine.made = self.txg);
        self.containers.iter_mut().for_each(|container| container.made = self.txg);
    }

    /// Makes the world what it was when `before` was a copy of it. Who is logged in and who listens stays, and so do jobs,
    /// but for those that ran without anything working on them.
    pub fn put_back(&mut self, before: Self) {
        let now = std::mem::replace(self, before);
        let mut jobs = now.jobs;
        for job in self.jobs.drain(..).filter(Job::only_stands_there) {
            jobs.retain(|other| other.id != job.id);
            jobs.push(job);
        }
        jobs.sort_by_key(|job| job.id);
        self.jobs = jobs;
        (self.logins, self.login_windows) = (now.logins, now.login_windows);
        (self.listeners, self.pending) = (now.listeners, now.pending);
        // It only ever grows, whatever is put back.
        self.txg = now.txg;
    }

    /// Takes a snapshot as a periodic task would, whoever may call the API.
    pub fn add_snapshot(&mut self, dataset: &str, name: &str) {
        let created = self.now();
        self.snapshot_at(dataset, name, created, Vec::new());
    }

    pub(crate) fn snapshot_at(
        &mut self,
        dataset: &str,
        name: &str,
        created: DateTime<Utc>,
        properties: Vec<(String, String)>,
    ) {
        let referenced = self.datasets.iter().find(|one| one.name == dataset).map_or(0, |one| one.own);
        self.txg += 7;
        self.snapshots.push(Snapshot {
            dataset: dataset.to_owned(),
            name: name.to_owned(),
            createtxg: self.txg,
            created,
            used: 0,
            referenced,
            properties,
            holds: Vec::new(),
        });
    }

    /// The middleware starts anew: jobs and what it remembered of its clients are gone.
    pub(crate) fn boot(&mut self) {
        self.booted = self.now();
        self.boot_id = super::random_uuid();
        self.jobs.clear();
        self.listeners.clear();
        self.pending.clear();
        self.login_windows.clear();
    }

    /// Bytes of a dataset, its children and their snapshots.
    pub fn used(&self, dataset: &str) -> u64 {
        let inside = |name: &str| {
            name.strip_prefix(dataset).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let own: u64 = self.datasets.iter().filter(|one| inside(&one.name)).map(|one| one.own).sum();
        let kept: u64 = self.snapshots.iter().filter(|one| inside(&one.dataset)).map(|one| one.used).sum();
        own + kept
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.pending.push(event);
    }
}

/// What a snapshot was called that somebody took by hand.
const BEFORE_SORTING: &str = "before-sorting";
const AFTER_SORTING: &str = "after-sorting";

/// How long the system has been up.
pub(crate) const UP: TimeDelta = TimeDelta::days(26);

/// When it was so late last. What began then and takes a quarter of an hour has ended.
pub(crate) fn last_at(now: DateTime<Utc>, hour: u32) -> DateTime<Utc> {
    let at = now.date_naive().and_time(NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or_default()).and_utc();
    if at + TimeDelta::minutes(30) > now { at - TimeDelta::days(1) } else { at }
}

/// The midnights of the last week, oldest first.
fn nights(now: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    (0..7).rev().map(move |ago| last_at(now, 0) - TimeDelta::days(ago))
}

fn nightly(night: DateTime<Utc>) -> String {
    night.format("auto-%Y-%m-%d_%H-%M").to_string()
}

fn pools(now: DateTime<Utc>) -> Vec<Pool> {
    // Scrubs by schedule begin on a Sunday at midnight, the others when somebody wants them.
    let yesterday = last_at(now, 0) - TimeDelta::days(1);
    let sunday = yesterday - TimeDelta::days(yesterday.weekday().num_days_from_sunday().into());
    let scrubbed = |started: DateTime<Utc>, took: TimeDelta| {
        Some(Scan {
            state: ScanState::Finished,
            started,
            ended: Some(started + took),
            paused: None,
            percentage: 100.0,
            errors: 0,
        })
    };
    let pool = |id: i64, name: &str, layout, disks: &[&str], disk_size, scan| Pool {
        id,
        name: name.to_owned(),
        guid: (9_876_543_210_987_650_000_u64 + id.unsigned_abs()).to_string(),
        status: PoolStatus::Online,
        layout,
        disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
        failed_disks: Vec::new(),
        disk_size,
        scan,
    };
    vec![
        pool(1, "tank", Layout::Mirror, &["sda", "sdb"], 8 * TIB, scrubbed(sunday, TimeDelta::hours(6))),
        pool(
            2,
            "backup",
            Layout::Raidz1,
            &["sdc", "sdd", "sde"],
            4 * TIB,
            scrubbed(sunday - TimeDelta::days(14), TimeDelta::hours(4)),
        ),
        pool(
            3,
            "tank2",
            Layout::Stripe,
            &["nvme0n1"],
            512 * GIB,
            scrubbed(last_at(now, 20), TimeDelta::minutes(2)),
        ),
    ]
}

fn dataset(name: &str, own: u64, created: DateTime<Utc>) -> Dataset {
    Dataset {
        name: name.to_owned(),
        volume: None,
        own,
        quota: None,
        readonly: false,
        compression: Some("LZ4".to_owned()),
        comments: None,
        origin: None,
        created,
        // What ZFS chooses leaves room for a sign.
        guid: u64::from_le_bytes(super::random_bytes()) >> 1,
        createtxg: 5,
    }
}

fn datasets() -> Vec<Dataset> {
    let plain = |name: &str, own: u64| dataset(name, own, long_ago());
    vec![
        plain("tank", GIB),
        // 62 % of the pool, together with its siblings.
        plain("tank/media", 3 * TIB + 512 * GIB),
        Dataset { comments: Some("Family photos".to_owned()), ..plain("tank/photos", 700 * GIB) },
        plain("tank/photos/2024", 300 * GIB),
        Dataset { quota: Some(TIB), ..plain("tank/apps", 350 * GIB) },
        Dataset { volume: Some(200 * GIB), ..plain("tank/vm-disk", 145 * GIB) },
        plain("backup", GIB),
        Dataset { readonly: true, ..plain("backup/photos", 700 * GIB) },
        Dataset { readonly: true, ..plain("backup/photos/2024", 300 * GIB) },
        // Looks like the pool of that name to whoever compares only the end.
        plain("backup/tank2", 40 * GIB),
        plain("tank2", GIB),
        plain("tank2/scratch", 90 * GIB),
    ]
}

/// Two photos, one of which was worked on yesterday evening, a link out of the dataset, and a text that is gone.
fn files(now: DateTime<Utc>) -> Vec<File> {
    let before = |days: i64| now - TimeDelta::days(days);
    let worked_on = last_at(now, 18);
    let file = |snapshot: Option<&str>, path: &str, size: u64, modified: DateTime<Utc>, inode: u64| File {
        dataset: "tank/photos".to_owned(),
        snapshot: snapshot.map(str::to_owned),
        path: path.to_owned(),
        size,
        modified,
        inode,
        link: None,
    };
    // How both photos were at a moment.
    let photos = |snapshot: Option<&str>, at: DateTime<Utc>| {
        let (size, modified) = if at < worked_on { (4_000_000, before(90)) } else { (5_100_000, worked_on) };
        [
            file(snapshot, "albums/summer.jpg", size, modified, 101),
            file(snapshot, "albums/winter.jpg", 4_800_000, before(300), 102),
        ]
    };
    let mut files = Vec::from(photos(None, now));
    files.push(file(None, "index.txt", 1200, before(30), 103));
    files.push(File { link: Some("/etc".to_owned()), ..file(None, "shortcut", 4, before(20), 104) });
    files.extend(photos(Some(BEFORE_SORTING), before(80)));
    files.push(file(Some(BEFORE_SORTING), "letter.txt", 9000, before(100), 105));
    files.extend(photos(Some(AFTER_SORTING), before(50)));
    for night in nights(now) {
        files.extend(photos(Some(&nightly(night)), night));
        files.push(file(Some(&nightly(night)), "index.txt", 1200, before(30), 103));
    }
    files
}

fn alerts(now: DateTime<Utc>) -> Vec<Alert> {
    let alert = |uuid: &str, klass: &str, level, text: &str, dismissed| Alert {
        uuid: uuid.to_owned(),
        klass: klass.to_owned(),
        level,
        text: text.to_owned(),
        dismissed,
        raised: now - TimeDelta::days(3),
    };
    vec![
        alert(
            "5d2f7f3e-30a8-4c57-9bb0-2a1f1c8f6e01",
            "ZpoolCapacityNotice",
            Level::Info,
            "Space usage for pool \"tank\" is 62%. Optimal pool performance requires used space remain below \
             80%.",
            true,
        ),
        alert(
            "b8a0c9d4-7c41-4a43-8d0e-7f7c0f1d9e02",
            "UPSOnBattery",
            Level::Warning,
            "UPS ups was on battery power for 12 seconds.",
            false,
        ),
    ]
}

fn services() -> Vec<Service> {
    let service = |id, name: &str, on| Service { id, name: name.to_owned(), enabled: on, running: on };
    vec![
        service(4, "cifs", true),
        service(7, "iscsitarget", true),
        service(9, "nfs", true),
        service(10, "ssh", false),
        service(13, "ups", true),
    ]
}

fn apps() -> Vec<App> {
    vec![
        App {
            name: "plex".to_owned(),
            title: "Plex".to_owned(),
            state: AppState::Running,
            version: "1.1.20".to_owned(),
            app_version: "1.41.3".to_owned(),
            latest: Some("1.2.0".to_owned()),
            image: "plexinc/pms-docker:1.41.3".to_owned(),
            newer_image: true,
            port: Some((32400, 32400)),
            mount: Some(("/mnt/tank/media".to_owned(), "/data".to_owned())),
            config: json!({
                "plex": {
                    "claim_token": "claim-xxxxSECRETxxxx",
                    "additional_envs": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LANG", "value": "C"}],
                },
                "network": {"web_port": {"port_number": 32400}},
                "resources": {"limits": {"cpus": 2, "memory": 4096}},
            }),
            log: (1..=150).map(|number| format!("request {number} served")).collect(),
            custom: false,
            earlier: vec!["1.1.19".to_owned()],
            makers_mounts: Vec::new(),
            made: 0,
        },
        App {
            name: "nextcloud".to_owned(),
            title: "Nextcloud".to_owned(),
            state: AppState::Stopped,
            version: "2.0.4".to_owned(),
            app_version: "31.0.2".to_owned(),
            latest: None,
            image: "nextcloud:31.0.2".to_owned(),
            newer_image: false,
            port: Some((80, 30027)),
            mount: Some(("/mnt/tank/apps/nextcloud".to_owned(), "/var/www/html".to_owned())),
            config: json!({"nextcloud": {"admin_user": "admin", "admin_pass": "********"}}),
            log: Vec::new(),
            custom: false,
            earlier: Vec::new(),
            makers_mounts: Vec::new(),
            made: 0,
        },
    ]
}

fn machines() -> Vec<Machine> {
    vec![Machine {
        id: 1,
        name: "homeassistant".to_owned(),
        description: "Lights and heating".to_owned(),
        running: true,
        memory: 4096,
        display_password: "hunter2".to_owned(),
        made: 0,
        disk: "tank/vm-disk".to_owned(),
        hardware: Vec::new(),
    }]
}

/// A NAS that has little to do.
fn measured() -> Vec<Measured> {
    let steady = |name: &str, identifier: Option<&str>, columns: &[(&'static str, f64)]| Measured {
        name: name.to_owned(),
        identifier: identifier.map(str::to_owned),
        legend: columns.iter().map(|column| column.0).collect(),
        rows: (0..60)
            .map(|step| {
                columns.iter().map(|column| Some(column.1 * (1.0 + f64::from(step % 5) / 100.0))).collect()
            })
            .collect(),
    };
    let sda = Some("sda | Type: HDD | Model: WDC_WD80EFZZ | Serial: WD-CA0A1B2C");
    let sdb = Some("sdb | Type: HDD | Model: WDC_WD80EFZZ | Serial: WD-CA0A1B2D");
    vec![
        steady("cpu", None, &[("cpu", 3.0), ("cpu0", 2.0), ("cpu1", 4.0)]),
        steady("cputemp", None, &[("cpu", 41.0), ("cpu0", 40.0), ("cpu1", 42.0)]),
        steady("disk", sda, &[("reads", 120.0), ("writes", 80.0)]),
        steady("disk", sdb, &[("reads", 118.0), ("writes", 82.0)]),
        steady("interface", Some("eno1"), &[("received", 2400.0), ("sent", 600.0)]),
        steady("load", None, &[("shortterm", 0.2), ("midterm", 0.3), ("longterm", 0.3)]),
        // Bytes that are available, of 32 GiB.
        steady("memory", None, &[("available", 30_000_000_000.0)]),
        // 26 days.
        steady("uptime", None, &[("uptime", 2_246_400.0)]),
        steady("arcsize", None, &[("size", 12_884_901_888.0)]),
        steady("disktemp", sda, &[("temperature_value", 34.0)]),
        steady("disktemp", sdb, &[("temperature_value", 35.0)]),
        // The steps go up to 4 % more.
        steady("upscharge", None, &[("charge", 96.0)]),
    ]
}

fn smb_shares() -> Vec<SmbShare> {
    let share = |id, name: &str, path: &str, readonly| SmbShare {
        id,
        name: name.to_owned(),
        path: path.to_owned(),
        comment: String::new(),
        enabled: true,
        readonly,
        guest: name == "media",
        hosts: Vec::new(),
    };
    vec![share(1, "media", "/mnt/tank/media", true), share(2, "photos", "/mnt/tank/photos", false)]
}

fn nfs_shares() -> Vec<NfsShare> {
    vec![NfsShare {
        id: 1,
        path: "/mnt/tank/media".to_owned(),
        networks: vec!["192.168.1.0/24".to_owned()],
        hosts: Vec::new(),
        enabled: true,
        readonly: true,
        maproot: None,
        mapall: None,
    }]
}

fn users() -> Vec<User> {
    let user = |id, uid, username: &str, full_name: &str, builtin| User {
        id,
        uid,
        username: username.to_owned(),
        full_name: full_name.to_owned(),
        builtin,
        locked: false,
        smb: !builtin,
        group: None,
        password_disabled: false,
        shell: "/usr/bin/zsh".to_owned(),
    };
    vec![
        user(1, 0, "root", "root", true),
        user(35, 950, "truenas_admin", "Local Administrator", false),
        user(71, 3000, "alice", "Alice", false),
        user(72, 3001, "bob", "Bob", false),
    ]
}

fn groups() -> Vec<Group> {
    let group = |id, gid, name: &str, builtin, users: &[i64]| Group {
        id,
        gid,
        name: name.to_owned(),
        builtin,
        smb: !builtin,
        users: users.to_vec(),
    };
    vec![group(43, 544, "builtin_administrators", true, &[35]), group(112, 3000, "family", false, &[71, 72])]
}

fn privileges() -> Vec<Privilege> {
    vec![Privilege {
        id: 1,
        name: "Local Administrator".to_owned(),
        builtin: Some("LOCAL_ADMINISTRATOR".to_owned()),
        groups: vec![544],
        roles: vec!["FULL_ADMIN".to_owned()],
        web_shell: true,
    }]
}

fn disks() -> Vec<Disk> {
    let spinning = |name: &str, serial: &str, size, temperature| Disk {
        name: name.to_owned(),
        serial: serial.to_owned(),
        model: if size == 8 * TIB { "WDC_WD80EFZZ" } else { "WDC_WD40EFPX" }.to_owned(),
        size,
        rpm: Some(5640),
        temperature: Some(temperature),
    };
    vec![
        spinning("sda", "WD-CA0A1B2C", 8 * TIB, 34.0),
        spinning("sdb", "WD-CA0A1B2D", 8 * TIB, 35.0),
        spinning("sdc", "WD-CB0A1B2E", 4 * TIB, 37.0),
        spinning("sdd", "WD-CB0A1B2F", 4 * TIB, 36.0),
        spinning("sde", "WD-CB0A1B2G", 4 * TIB, 38.0),
        Disk {
            name: "nvme0n1".to_owned(),
            serial: "S5GXNX0T".to_owned(),
            model: "Samsung_SSD_980".to_owned(),
            size: 512 * GIB,
            rpm: None,
            temperature: None,
        },
    ]
}
