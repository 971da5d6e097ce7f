//! A daemon in its neighbourhood, for the tests that go all the way.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod changes;
mod schemas;
mod turn;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tailnas::app;
use tailnas::config::{self, Credentials};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::exit::Exit;
use tailnas::server::listen::Listener;
use tailnas::tools::Spec;
use tailnas_sim::browser::Browser;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::daemon::Daemon;
use tailnas_sim::nas::{Generation, Nas};
use tailnas_sim::world::{ALICE, Person, World};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use turn::Turn;

/// A running daemon, and everything around it.
pub struct Bench<D = Daemon> {
    pub world: World,
    pub daemon: D,
    pub dir: TempDir,
}

/// A daemon within the process of the test, whose clock can be turned. It stops when this is dropped.
pub struct Inside {
    pub clock: Turn,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Exit>,
}

impl Inside {
    async fn start(world: &World, clock: Turn, listener: TcpListener) -> Self {
        let (config, _) = config::examine(&world.config(), Credentials::MustBeThere).unwrap();
        let (stop, stopped) = oneshot::channel();
        let until = async { drop(stopped.await) };
        let run = app::run(config, vec![Listener::Plain(listener)], clock.clock(), until);
        #[allow(clippy::disallowed_methods, reason = "it stands for a process")]
        let mut running = tokio::spawn(run);
        // Whoever connects waits until somebody serves.
        let client = world.client(ALICE);
        let page = client.send(Method::GET, "/console/static/console.css", &[], "");
        tokio::select! {
            page = page => assert_eq!(page.unwrap().status, 200),
            ended = &mut running => panic!("the daemon ended before it served anybody: {ended:?}"),
        }
        Self { clock, stop, running }
    }
}

impl Bench<Inside> {
    /// A daemon in a neighbourhood that was changed before it started. Browsers have passkeys for its name.
    pub async fn inside(change: impl AsyncFnOnce(&mut World)) -> Self {
        Self::inside_at(Turn::default(), change).await
    }

    /// The same, by this clock.
    pub async fn inside_at(clock: Turn, change: impl AsyncFnOnce(&mut World)) -> Self {
        // Held from here on: whatever port is let go of may be somebody else's a moment later, with so many around. So
        // there are no metrics either.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (dir, mut world) = neighbourhood_of("localhost", listener.local_addr().unwrap().port()).await;
        let config = std::fs::read_to_string(world.config()).unwrap();
        let (config, _) = config.split_once("[metrics]").unwrap();
        world.write("config.toml", config).unwrap();
        change(&mut world).await;
        let daemon = Inside::start(&world, clock, listener).await;
        Self { world, daemon, dir }
    }

    /// Stops the daemon, and waits for its end.
    pub async fn stop(self) -> (World, TempDir) {
        let Self { world, daemon: Inside { stop, running, .. }, dir } = self;
        drop(stop);
        assert_eq!(running.await.unwrap(), Exit::Ok);
        (world, dir)
    }

    /// Starts it on what another left behind.
    pub async fn started(world: World, dir: TempDir) -> Self {
        let listener = TcpListener::bind(world.address()).await.unwrap();
        let daemon = Inside::start(&world, Turn::default(), listener).await;
        Self { world, daemon, dir }
    }
}

impl Bench {
    /// A daemon that is ready. Its NAS may be a moment later.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A daemon whose neighbourhood was changed before it started.
    pub async fn start_with(change: impl FnOnce(&World)) -> Self {
        let (dir, world) = neighbourhood().await;
        change(&world);
        Self::of(dir, world).await
    }

    /// A daemon in a neighbourhood that is there already.
    pub async fn of(dir: TempDir, world: World) -> Self {
        let daemon = start_daemon(&world, dir.path()).await;
        Self { world, daemon, dir }
    }

    /// A daemon that has its NAS.
    pub async fn complete() -> Self {
        let bench = Self::start().await;
        bench.nas_is_up().await;
        bench
    }

    /// Starts the daemon again, on what the one before left behind.
    pub async fn start_again(&mut self) {
        self.daemon = start_daemon(&self.world, self.dir.path()).await;
    }

    /// The same, where it may not come up.
    pub async fn try_again(&mut self) -> std::io::Result<()> {
        let args = arguments(&self.world);
        self.daemon = Daemon::start(&program(), args, self.dir.path()).await?;
        Ok(())
    }

    /// Asks for a reload as `systemctl reload` does, and waits for the end of it.
    pub async fn reload(&self) {
        let hangup = format!("kill -HUP {}", self.daemon.pid().unwrap());
        assert!(Command::new("sh").args(["-c", &hangup]).status().unwrap().success());
        let until = async |wanted: &str| loop {
            let told = self.daemon.told().await.unwrap();
            if told.contains(wanted) {
                return told;
            }
        };
        let reloading = tokio::time::timeout(Duration::from_secs(10), until("RELOADING=1")).await.unwrap();
        assert!(reloading.contains("MONOTONIC_USEC="), "systemd needs to know when: {reloading}");
        tokio::time::timeout(Duration::from_secs(10), until("READY=1")).await.unwrap();
    }

    /// That no token which was ever issued, and no key of the NAS, is in anything that was written so far: the audit
    /// log, the daemon's own log, the metrics.
    pub async fn no_secret_is_written(&self) {
        let at = self.world.metrics_address();
        let anybody = Client {
            server: at,
            host: at.to_string(),
            token: None,
            path: String::new(),
            ..self.client(ALICE)
        };
        let metrics = anybody.send(Method::GET, "/metrics", &[], "").await.unwrap();
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        assert!(metrics.contains("tailnas_requests_total"), "{metrics}");
        let written = format!("{:?}\n{}\n{metrics}", self.records(), self.log());
        let tokens = self.world.tsidp.minted();
        assert!(!tokens.is_empty(), "nobody ever had a token");
        let keys = [self.world.nas.reader_key().key.clone(), self.world.nas.writer_key().key.clone()];
        for secret in tokens.iter().chain(&keys) {
            assert!(!written.contains(secret.as_str()), "a secret was written:\n{written}");
        }
    }

    /// What the daemon wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("daemon.log")).unwrap()
    }
}

impl<D> Bench<D> {
    /// Waits until a read reaches the NAS.
    pub async fn nas_is_up(&self) {
        let alice = self.client(ALICE);
        eventually("the NAS answers", async || {
            !alice.call("system_info", json!({})).await.unwrap().is_error()
        })
        .await;
        // The daemon's own look at it, when it takes the first sample of its history, is none of a test's calls.
        eventually("the first sample was taken", async || {
            let calls = self.world.nas.transcript();
            calls.iter().any(|call| call.method == "pool.dataset.query" && call.outcome.is_some())
        })
        .await;
    }

    pub fn client(&self, person: Person) -> Client {
        self.world.client(person)
    }

    /// A client whose token is good for longer than any test turns the clock.
    pub fn patient_client(&self, person: Person) -> Client {
        Client { token: self.world.token(person, Duration::from_hours(10_000)), ..self.world.client(person) }
    }

    /// The person's browser, with a passkey that is enrolled through a link of root's.
    pub async fn enrolled(&self, person: Person) -> Browser {
        let browser = Browser::of(&self.world, person).unwrap();
        let answer = browser.enroll(&self.invitation(person)).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.json());
        browser
    }

    /// The link that root makes on the host, for one passkey of this person.
    pub fn invitation(&self, person: Person) -> String {
        let said = self.command(&["passkey", "enroll", person.login.unwrap()]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap().lines().next().unwrap().to_owned()
    }

    /// Runs the program as root does on the host, with the configuration of this daemon.
    pub fn command(&self, arguments: &[&str]) -> Output {
        command(&self.world, arguments)
    }

    /// Every record of the audit log that is on disk.
    pub fn records(&self) -> Vec<Value> {
        records(&self.world.audit_dir())
    }

    /// Waits for a record, and answers it.
    pub async fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..100 {
            if let Some(found) = self.records().into_iter().find(|record| wanted(record)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no record of {what} in {:#?}", self.records());
    }

    /// Holds every call that the daemon has sent so far against the schemas that `generation` publishes, where the
    /// checkout has them.
    pub fn hold_against_schemas(&self, generation: &str) {
        hold_against_schemas(&self.world.nas, generation);
    }

    /// How many calls reached the NAS, besides those that keep the connection.
    pub fn nas_calls(&self) -> Vec<String> {
        let calls = self.world.nas.transcript().into_iter().map(|call| call.method);
        let keeps = |method: &str| {
            let core = method.starts_with("core.") && !["core.get_jobs", "core.job_abort"].contains(&method);
            method.starts_with("auth.") || core
        };
        calls.filter(|method| !keeps(method)).collect()
    }
}

/// Runs the program as root does on the host, with the configuration of `world`.
pub fn command(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailnas"));
    command.args(arguments).arg("--config").arg(world.config()).output().unwrap()
}

/// Holds every call that `nas` has got so far against the schemas that `generation` publishes, where the
/// checkout has them, and what it answered to logins, subscriptions and the changes of tools. Rows of other answers have
/// only what was selected.
pub fn hold_against_schemas(nas: &Nas, generation: &str) {
    static SAID: Once = Once::new();
    let Some(folder) = std::env::var_os("TAILNAS_API_SCHEMAS").map(PathBuf::from) else {
        return SAID.call_once(|| {
            loudly("NOT CHECKED: TAILNAS_API_SCHEMAS names no folder with the schemas of the TrueNAS API");
        });
    };
    let published = std::fs::read_to_string(folder.join(format!("{generation}.json"))).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    let catalogue = Catalogue::new();
    let changes = catalogue.specs().filter(|spec| spec.risk > Risk::Read).flat_map(|spec| spec.needs);
    let changes: BTreeSet<_> =
        changes.flat_map(|need| need.candidates).map(|candidate| candidate.name).collect();
    let (mut faults, mut asked) = (BTreeSet::new(), BTreeSet::new());
    let mut held = 0;
    for call in nas.transcript() {
        let theirs = &published["methods"][&call.method];
        if theirs.is_null() {
            faults.insert(format!("{generation} has no {}", call.method));
            continue;
        }
        // What takes nothing says nothing of parameters in the older style.
        let parameters = theirs["params"].as_array().cloned().unwrap_or_default();
        let arguments = call.params.as_array().cloned().unwrap_or_default();
        held += 1;
        if arguments.len() > parameters.len() {
            faults.insert(format!("{}: {} arguments", call.method, arguments.len()));
        }
        // Most is asked over and over.
        let first_time = asked.insert((call.method.clone(), call.params.to_string()));
        for (parameter, argument) in parameters.iter().zip(&arguments).filter(|_| first_time) {
            let schema = schemas::with_defs(&parameter["schema"], &theirs["params_defs"]);
            for error in jsonschema::validator_for(&schema).unwrap().iter_errors(argument) {
                faults.insert(format!("{}: {}: {error}", call.method, parameter["name"]));
            }
        }
        if call.method == "core.subscribe" {
            let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
            let (event, parameters) = name.split_once(':').unzip();
            let theirs = &published["events"][event.unwrap_or(name)];
            // The sources of 25.04 are published nowhere.
            if theirs.is_null() && (event.is_none() || generation != "25.04.2") {
                faults.insert(format!("{generation} has no event {name}"));
            }
            if let (Some(parameters), false) = (parameters, theirs.is_null()) {
                let schema = &theirs["schemas"]["Subscription parameters"];
                let given: Value = serde_json::from_str(parameters).unwrap();
                for error in jsonschema::validator_for(schema).unwrap().iter_errors(&given) {
                    faults.insert(format!("{name}: {error}"));
                }
            }
        }
        let Some(Ok(result)) = &call.outcome else { continue };
        let whole = ["auth.", "privilege.become_readonly", "core.subscribe", "core.unsubscribe"];
        let change = changes.contains(call.method.as_str());
        if change && theirs["job"] == true {
            if !result.is_i64() {
                faults.insert(format!("answer to {}: {result} is no number of a job", call.method));
            }
        // The older style says nothing of what may be null, and of some answers nothing at all.
        } else if (change && theirs["result"].is_object() && theirs["result"].get("_name_").is_none())
            || whole.iter().any(|name| call.method.starts_with(name))
        {
            let mut schema = schemas::with_defs(&theirs["result"], &theirs["result_defs"]);
            any_that_fits(&mut schema);
            for error in jsonschema::validator_for(&schema).unwrap().iter_errors(result) {
                faults.insert(format!("answer to {}: {error}", call.method));
            }
        }
    }
    assert!(held > 0, "nothing was sent");
    assert!(faults.is_empty(), "{generation}: {faults:#?}");
}

/// What tells the options of SMB shares from one another is among them in a request, and beside them in an answer: there
/// more than one of their schemas may fit.
fn any_that_fits(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("discriminator")
                && let Some(kinds) = fields.remove("oneOf")
            {
                fields.insert("anyOf".to_owned(), kinds);
            }
            fields.values_mut().for_each(any_that_fits);
        }
        Value::Array(values) => values.iter_mut().for_each(any_that_fits),
        _ => {}
    }
}

/// A neighbourhood without its daemon.
pub async fn neighbourhood() -> (TempDir, World) {
    neighbourhood_of("127.0.0.1", 0).await
}

/// The same, of a daemon of this name that listens on this port; 0 takes a free one.
async fn neighbourhood_of(name: &str, port: u16) -> (TempDir, World) {
    let dir = tempfile::Builder::new().prefix("tailnas-test-").tempdir().unwrap();
    let world = World::start_as(name, dir.path(), port, Generation::V25_10).await.unwrap();
    (dir, world)
}

/// The demo's own daemon, the shipped one on a loopback listener: `cargo test` builds examples. That of a release where
/// `TAILNAS_TEST_RELEASE` names the folder that cargo built one in.
pub fn program() -> PathBuf {
    if let Some(folder) = release() {
        return folder.join("examples/demo");
    }
    let deps = std::env::current_exe().unwrap();
    let program = deps.parent().unwrap().with_file_name("examples").join("demo");
    assert!(program.exists(), "the example is not built; `cargo test` without --test builds it");
    program
}

/// The program that ships.
pub fn shipped() -> PathBuf {
    release().map_or_else(|| env!("CARGO_BIN_EXE_tailnas").into(), |folder| folder.join("tailnas"))
}

/// The folder of the release that is tested, if any is.
pub fn release() -> Option<PathBuf> {
    std::env::var_os("TAILNAS_TEST_RELEASE").map(PathBuf::from)
}

fn arguments(world: &World) -> [OsString; 3] {
    ["daemon".into(), world.config().into(), world.address().to_string().into()]
}

async fn start_daemon(world: &World, dir: &Path) -> Daemon {
    start(&program(), &arguments(world), dir).await
}

/// Starts the program that ships, as its unit does.
pub async fn start_shipped(world: &World, dir: &Path) -> Daemon {
    start(&shipped(), &["serve".into(), "--config".into(), world.config().into()], dir).await
}

async fn start(program: &Path, arguments: &[OsString], dir: &Path) -> Daemon {
    // A connection of another test may go out from the very port for a moment: EADDRINUSE, which each libc words its way.
    for _ in 0..50 {
        match Daemon::start(program, arguments, dir).await {
            Err(error) if error.to_string().contains("os error 98") => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            started => return started.unwrap(),
        }
    }
    panic!("the port of the daemon never became free")
}

/// The records of the log in `dir`, oldest first.
pub fn records(dir: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>()
        })
        .collect()
}

/// Says something that must be seen, whatever the test runner does with what tests print.
pub fn loudly(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Says that something was not tested for want of something on this machine. Where `TAILNAS_RUN_ALL` is set, as in CI, that
/// is a failure: nobody reads what a test says that passes.
pub fn did_not_run(why: &str) {
    assert!(std::env::var_os("TAILNAS_RUN_ALL").is_none(), "it did not run, and everything must: {why}");
    loudly(&format!("did not run: {why}"));
}

/// Whether this program is here. Where it is not, says that what takes it was not tested.
pub fn there_is(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        did_not_run(&format!("it takes {program}"));
    }
    there
}

/// Waits for a state, not for a moment.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come to this within 10 s: {what}");
}

/// The names of the tools in an answer to `tools/list`.
pub fn tool_names(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let tools = json["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list of tools: {json}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// The names of the tools that a grant of these scopes gives, in their order.
pub fn given_by(scopes: &[&str]) -> Vec<&'static str> {
    let given = |spec: &Spec| spec.scope.is_none_or(|scope| scopes.contains(&scope.as_str()));
    Catalogue::new().for_whoever(given).map(|item| item.spec().name).collect()
}
