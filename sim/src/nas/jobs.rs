//! Jobs: what outlives the call that started it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::apps::AppWork;
use super::events::{Change, Event};
use super::session::Login;
use super::state::{AppState, Machine, Scan, ScanState, State};
use super::wire::{EBUSY, EFAULT, ENOENT, EPERM, Failure, errno_name};
use super::{Generation, Shared};

/// How many jobs may wait for one lock.
const LOCK_QUEUE: usize = 5;

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// Another job holds its lock.
    Waiting,
    /// It runs.
    Running,
    /// It ended well.
    Success(Value),
    /// It ended badly: the errno and what was said.
    Failed(i32, String),
    /// Somebody aborted it.
    Aborted,
}

impl JobState {
    /// Whether nothing more will happen to the job.
    pub fn ended(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Success(_) => "SUCCESS",
            Self::Failed(..) => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }
}

/// Who started a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the user.
    pub username: String,
    /// Number of the key the user logged in with.
    pub key: Option<i64>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Number since the last start.
    pub id: i64,
    /// Method that started it.
    pub method: String,
    /// Arguments of that method.
    pub arguments: Vec<Value>,
    /// What it does, in words.
    pub description: String,
    /// How far it is.
    pub state: JobState,
    /// How far its work is.
    pub percent: u8,
    /// What it is doing.
    pub progress: String,
    /// Who started it.
    pub owner: Owner,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// Ids of the requests that started it.
    pub message_ids: Vec<Value>,
    pub(crate) lock: String,
    pub(crate) cancel: CancellationToken,
}

impl Job {
    /// The one that made a scrub which has ended.
    pub(crate) fn scrub(id: i64, pool: &str, scan: &Scan, owner: Owner) -> Self {
        Self {
            state: JobState::Success(Value::Null),
            progress: "Scrub finished".to_owned(),
            ended: scan.ended,
            arguments: vec![json!(pool), json!("START")],
            description: format!("Scrub of pool '{pool}'"),
            ..Self::running(id, "pool.scrub.scrub", 100, owner, scan.started)
        }
    }

    pub(crate) fn running(id: i64, method: &str, percent: u8, owner: Owner, started: DateTime<Utc>) -> Self {
        Self {
            id,
            method: method.to_owned(),
            arguments: vec![json!(id)],
            description: String::new(),
            state: JobState::Running,
            percent,
            progress: "Transferring".to_owned(),
            owner,
            started,
            ended: None,
            message_ids: Vec::new(),
            lock: String::new(),
            cancel: CancellationToken::new(),
        }
    }

    /// Whether it is told to be at it, and nothing works on it: it holds no lock.
    pub(crate) fn only_stands_there(&self) -> bool {
        self.lock.is_empty() && !self.state.ended()
    }

    /// Whether this session may see and abort it.
    pub(crate) fn visible_to(&self, login: &Login) -> bool {
        login.roles.full_admin() || self.owner.username == login.username
    }

    pub(crate) fn row(&self, generation: Generation) -> Value {
        let (result, error) = match &self.state {
            JobState::Success(result) => (result.clone(), None),
            JobState::Failed(errno, reason) => (Value::Null, Some((*errno, reason.clone()))),
            _ => (Value::Null, None),
        };
        let described = error.as_ref().map(|(errno, reason)| format!("[{}] {reason}", errno_name(*errno)));
        let exc_info = error.as_ref().map(|(errno, reason)| {
            json!({"repr": format!("CallError({reason:?})"), "type": null, "errno": errno, "extra": null})
        });
        let credentials = match self.owner.key {
            Some(key) => json!({"type": "API_KEY", "data": {
                "username": self.owner.username,
                "login_at": date(self.started),
                "api_key": {"id": key, "name": self.owner.username},
            }}),
            None => json!({"type": "UNIX_SOCKET", "data": {"username": self.owner.username}}),
        };
        let mut row = json!({
            "id": self.id,
            "method": self.method,
            "arguments": self.arguments,
            "transient": false,
            "description": self.description,
            "abortable": self.method == "cloudsync.sync",
            "logs_path": null,
            "logs_excerpt": null,
            "progress": {"percent": self.percent, "description": self.progress, "extra": null},
            "result": result,
            "result_encoding_error": null,
            "error": described,
            "exception": described.as_ref().map(|what| format!("Traceback (most recent call last):\n{what}\n")),
            "exc_info": exc_info,
            "state": self.state.name(),
            "time_started": date(self.started),
            "time_finished": self.ended.map(date),
            "credentials": credentials,
        });
        if generation >= Generation::V25_10 {
            row["message_ids"] = self.message_ids.clone().into();
        }
        row
    }
}

/// `{"$date": ms}`
pub(crate) fn date(date: DateTime<Utc>) -> Value {
    json!({"$date": date.timestamp_millis()})
}

/// A job as its method describes it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub method: &'static str,
    pub arguments: Vec<Value>,
    pub description: String,
    pub lock: String,
    pub work: Work,
}

/// What a job does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Scrub {
        pool: String,
        action: String,
    },
    Service {
        name: String,
        verb: String,
    },
    App {
        name: String,
        running: bool,
    },
    /// A virtual machine is stopped or started again.
    Machine {
        id: i64,
        running: bool,
    },
    /// A container is stopped or started.
    Container {
        name: String,
        running: bool,
    },
    /// The newest snapshot of a dataset is sent to another.
    Replication {
        from: String,
        to: String,
    },
    /// The machine starts anew, after this time.
    Reboot {
        delay: Duration,
    },
    /// What it does is not seen here: files go to a cloud, an update comes, a directory is read.
    Elsewhere,
    Apps(AppWork),
}

impl State {
    /// Queues a job and returns its id, or that of the job which already waits to do the same.
    pub(crate) fn enqueue(
        &mut self,
        plan: &Plan,
        owner: Owner,
        message_id: Option<&Value>,
    ) -> Result<(i64, bool), Failure> {
        let waiting = |job: &&Job| job.lock == plan.lock && job.state == JobState::Waiting;
        if self.jobs.iter().filter(waiting).count() >= LOCK_QUEUE
            && let Some(last) = self.jobs.iter().rev().find(waiting)
        {
            return if last.owner.username == owner.username {
                Ok((last.id, false))
            } else {
                Err(Failure::call(EBUSY, "This job is already being performed by another user"))
            };
        }
        let id = self.jobs.last().map_or(1, |job| job.id + 1);
        let now = self.now();
        self.jobs.push(Job {
            arguments: plan.arguments.clone(),
            description: plan.description.clone(),
            state: JobState::Waiting,
            progress: String::new(),
            started: now,
            message_ids: message_id.cloned().into_iter().collect(),
            lock: plan.lock.clone(),
            ..Job::running(id, plan.method, 0, owner, now)
        });
        self.emit(Event::Job(id, Change::Added));
        Ok((id, true))
    }

    /// The job of this id.
    pub fn job(&self, id: i64) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    fn change_job(&mut self, id: i64, change: impl FnOnce(&mut Job)) {
        let now = self.now();
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id && !job.state.ended()) {
            change(job);
            if job.state.ended() {
                job.ended = Some(now);
            }
            self.emit(Event::Job(id, Change::Changed));
        }
    }

    /// Ends a job, as if by its own doing.
    pub fn end_job(&mut self, id: i64, state: JobState) {
        self.change_job(id, |job| {
            if matches!(state, JobState::Success(_)) {
                job.percent = 100;
            }
            job.state = state;
        });
    }

    pub(crate) fn abort_job(&mut self, id: i64, login: &Login) -> Result<(), Failure> {
        let Some(job) = self.job(id) else {
            return Err(Failure::NotFound(format!("Job with id {id} does not exist")));
        };
        if !job.visible_to(login) {
            return Err(Failure::call(EPERM, "Job is not owned by current session"));
        }
        job.cancel.cancel();
        self.change_job(id, |job| job.state = JobState::Aborted);
        Ok(())
    }

    /// Starts, stops or restarts a service.
    pub(crate) fn control_service(&mut self, name: &str, verb: &str) -> Result<Value, (i32, String)> {
        let service = self.services.iter_mut().find(|service| service.name == name);
        let service = service.ok_or_else(|| (ENOENT, format!("Service {name} does not exist")))?;
        service.running = verb != "STOP";
        Ok(json!(true))
    }

    /// Starts an app or stops it.
    pub(crate) fn run_app(&mut self, name: &str, running: bool) -> Result<Value, (i32, String)> {
        let app = self.apps.iter_mut().find(|app| app.name == name);
        let app = app.ok_or_else(|| (ENOENT, format!("App {name} does not exist")))?;
        app.state = if running { AppState::Running } else { AppState::Stopped };
        self.emit(Event::App(name.to_owned()));
        Ok(Value::Null)
    }

    /// A scrub of this pool is under way, and stays where it is.
    pub fn begin_scrub(&mut self, pool: &str) {
        let begun = order_scan(self, pool, "START");
        debug_assert_eq!(begun, Ok(true), "no scrub of {pool}");
    }

    /// Starts a virtual machine or stops it.
    pub(crate) fn run_machine(&mut self, id: i64, running: bool) -> Result<Value, (i32, String)> {
        let machine = self.machines.iter_mut().find(|machine| machine.id == id);
        let machine = machine.ok_or_else(|| (ENOENT, format!("VM {id} does not exist")))?;
        machine.running = running;
        let (disk, hardware) = (machine.disk.clone(), machine.hardware.clone());
        self.taken.retain(|device| !hardware.contains(device));
        if running {
            self.taken.extend(hardware);
            // The NAS does not look who else has the disk.
            let writes = |other: &&Machine| other.running && other.disk == disk;
            if self.machines.iter().filter(writes).count() > 1 {
                self.spoilt.push(disk);
            }
        }
        Ok(Value::Null)
    }

    /// Starts a container or stops it.
    pub(crate) fn run_container(&mut self, name: &str, running: bool) -> Result<Value, (i32, String)> {
        let container = self.containers.iter_mut().find(|container| container.name == name);
        let container = container.ok_or_else(|| (ENOENT, format!("Container {name} does not exist")))?;
        container.running = running;
        Ok(Value::Null)
    }

    /// Sends the newest snapshot of one dataset to another that has it not.
    pub(crate) fn replicate(&mut self, from: &str, to: &str) {
        let newest = self.snapshots.iter().rev().find(|one| one.dataset == from).map(|one| one.name.clone());
        let is_there = |name: &str| self.snapshots.iter().any(|one| one.dataset == to && one.name == name);
        if let Some(name) = newest.filter(|name| !is_there(name)) {
            self.add_snapshot(to, &name);
        }
    }

    fn scan_of(&mut self, pool: &str) -> Option<(i64, &mut Option<Scan>)> {
        self.pools.iter_mut().find(|one| one.name == pool).map(|pool| (pool.id, &mut pool.scan))
    }
}

/// Does the work of a job, once its lock is free.
pub(crate) async fn run(shared: Arc<Shared>, id: i64, work: Work) {
    let Some((lock, cancel)) =
        shared.state(|state| state.job(id).map(|job| (job.lock.clone(), job.cancel.clone())))
    else {
        return;
    };
    let run = async {
        shared
            .wait_for(|state| {
                state.jobs.iter().all(|job| job.id >= id || job.lock != lock || job.state.ended())
            })
            .await;
        shared.state(|state| state.change_job(id, |job| job.state = JobState::Running));
        let done = match work {
            Work::Scrub { pool, action } => scrub(&shared, id, &pool, &action).await.map(|()| Value::Null),
            Work::Service { name, verb } => shared.state(|state| state.control_service(&name, &verb)),
            Work::App { name, running } => shared.state(|state| state.run_app(&name, running)),
            Work::Machine { id, running } => shared.state(|state| state.run_machine(id, running)),
            Work::Replication { from, to } => {
                shared.state(|state| state.replicate(&from, &to));
                Ok(Value::Null)
            }
            Work::Container { name, running } => shared.state(|state| state.run_container(&name, running)),
            Work::Reboot { delay } => {
                tokio::time::sleep(delay).await;
                // Who is connected is not thrown out: what was asked for is seen by the new boot.
                shared.state(State::boot);
                Ok(Value::Null)
            }
            Work::Elsewhere => Ok(Value::Null),
            Work::Apps(work) => shared.state(|state| state.work_on_app(work)),
        };
        let end = match done {
            Ok(result) => JobState::Success(result),
            Err((errno, reason)) => JobState::Failed(errno, reason),
        };
        shared.state(|state| state.end_job(id, end));
    };
    // The scrub itself belongs to the kernel: aborting the job that watches it does not stop it.
    cancel.run_until_cancelled(run).await;
}

async fn scrub(shared: &Arc<Shared>, id: i64, pool: &str, action: &str) -> Result<(), (i32, String)> {
    let started = shared.state(|state| order_scan(state, pool, action))?;
    if action != "START" {
        return Ok(());
    }
    if started {
        tokio::spawn(scan(Arc::downgrade(shared), pool.to_owned()));
    }
    let mut seen = 0.0;
    loop {
        let scan = shared.wait_for_some(|state| {
            match state.pools.iter().find(|one| one.name == pool).and_then(|pool| pool.scan.clone()) {
                Some(scan)
                    if scan.state == ScanState::Scanning
                        && scan.paused.is_none()
                        && scan.percentage <= seen =>
                {
                    None
                }
                other => Some(other),
            }
        });
        let Some(scan) = scan.await else { return Ok(()) };
        seen = scan.percentage;
        let (percent, what) = match &scan {
            Scan { paused: Some(_), .. } => (100, "Scrub paused"),
            Scan { state: ScanState::Finished, .. } => (100, "Scrub finished"),
            Scan { state: ScanState::Canceled, .. } => return Ok(()),
            scan => (scan.percent(), "Scrubbing"),
        };
        shared.state(|state| {
            state.change_job(id, |job| {
                job.percent = percent;
                what.clone_into(&mut job.progress);
            });
        });
        if percent == 100 {
            return Ok(());
        }
    }
}

/// Tells the kernel what to do with the scrub of a pool, and says whether one has been set in motion.
fn order_scan(state: &mut State, pool: &str, action: &str) -> Result<bool, (i32, String)> {
    let now = state.now();
    let Some((id, scan)) = state.scan_of(pool) else {
        return Err((EFAULT, format!("cannot open '{pool}': no such pool")));
    };
    let running = scan.as_mut().filter(|scan| scan.state == ScanState::Scanning);
    let started = match (action, running) {
        ("STOP", Some(scan)) => {
            scan.state = ScanState::Canceled;
            scan.ended = Some(now);
            false
        }
        ("PAUSE", Some(scan)) => {
            scan.paused = Some(now);
            false
        }
        ("STOP" | "PAUSE", None) => {
            return Err((EFAULT, format!("cannot scrub {pool}: there is no active scrub")));
        }
        (_, Some(scan)) if scan.paused.is_some() => {
            scan.paused = None;
            true
        }
        (_, Some(_)) => return Err((EBUSY, format!("cannot scrub {pool}: currently scrubbing"))),
        (_, None) => {
            *scan = Some(Scan {
                state: ScanState::Scanning,
                started: now,
                ended: None,
                paused: None,
                percentage: 0.0,
                errors: 0,
            });
            true
        }
    };
    state.emit(Event::Pool(id));
    Ok(started)
}

/// The kernel at work. It ends with the simulator, not with the middleware.
async fn scan(shared: std::sync::Weak<Shared>, pool: String) {
    loop {
        let Some(step) = shared.upgrade().map(|shared| shared.state(|state| state.pace.scrub_step)) else {
            return;
        };
        tokio::time::sleep(step).await;
        let Some(shared) = shared.upgrade() else { return };
        let goes_on = shared.state(|state| {
            let (now, percent) = (state.now(), state.pace.scrub_percent);
            let Some((id, Some(scan))) = state.scan_of(&pool) else { return false };
            if scan.state != ScanState::Scanning || scan.paused.is_some() {
                return false;
            }
            scan.percentage = (scan.percentage + percent).min(100.0);
            if scan.percentage >= 100.0 {
                scan.state = ScanState::Finished;
                scan.ended = Some(now);
            }
            let goes_on = scan.state == ScanState::Scanning;
            state.emit(Event::Pool(id));
            goes_on
        });
        if !goes_on {
            return;
        }
    }
}
