//! The servers that are measured, each a process of its own.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailnas_sim::client::Client;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::localapi::User;
use tailnas_sim::nas::Generation;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, CAPABILITY, World};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::check::{Expected, Scenario};
use crate::load::{self, Caller, Target};

/// How many people call. Each has a node, and a node gets 32 connections.
const PEOPLE: u8 = 16;

/// Limits out of the way, by ordinary keys: one caller may make 20 calls a second by default.
const LIMITS: &str = "\n[limits]\ncalls_per_second = 10000\nburst = 10000\ncalls_per_second_in_all = 10000\n\
                      burst_in_all = 10000\ncalls_in_flight = 10000\ncalls_in_flight_in_all = 10000\n";

/// How long the daemon remembers what the provider said of a token; FastMCP is told to do the same.
const INTROSPECTION_SECONDS: u64 = 30;

/// How a program is started: on the servers' core, where there is one.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The core that servers run on.
    pub core: Option<usize>,
}

impl Launch {
    fn command(&self, program: &Path, arguments: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        match self.core {
            // It becomes the program: the process is the same.
            Some(core) => {
                let mut all = vec!["-c".into(), core.to_string().into(), program.into()];
                all.extend(arguments);
                ("taskset".into(), all)
            }
            None => (program.to_owned(), arguments),
        }
    }
}

/// The daemon and everything around it.
pub struct Home {
    /// What is around it.
    pub world: World,
    /// The daemon.
    pub daemon: Daemon,
    /// Who calls it.
    pub callers: Arc<Vec<Caller>>,
    program: PathBuf,
    launch: Launch,
    dir: TempDir,
}

impl Home {
    /// Starts the daemon of the program `demo` in a neighbourhood that was changed before, and waits until its NAS
    /// answers and the first sample of its history is taken. There is a dataset for each of `connections`.
    pub async fn start(
        program: &Path,
        launch: &Launch,
        connections: usize,
        change: impl FnOnce(&World),
    ) -> Result<Self, String> {
        let say = |error: std::io::Error| format!("the daemon could not be started: {error}");
        let dir = tempfile::Builder::new().prefix("tailnas-bench-").tempdir().map_err(say)?;
        let world = World::start(dir.path(), 0, Generation::V25_10).await.map_err(say)?;
        let config = fs::read_to_string(world.config()).map_err(say)?;
        world.write("config.toml", &format!("{config}{LIMITS}")).map_err(say)?;
        let callers = (1..=PEOPLE).map(|number| {
            let address = Ipv4Addr::new(127, 0, 1, number);
            caller(&world, address, &format!("{number}@example.com"), ALICE.scopes)
        });
        let callers = Arc::new(callers.collect());
        world.nas.state(|nas| (0..connections).for_each(|number| nas.add_dataset(&load::dataset(number))));
        change(&world);
        let daemon = start_daemon(program, launch, &world, dir.path()).await?;
        let home = Self { world, daemon, callers, program: program.to_owned(), launch: launch.clone(), dir };
        home.ready().await?;
        Ok(home)
    }

    /// Stops the daemon, and starts it on what it left behind. Its NAS may be a moment later.
    pub async fn restart(&mut self) -> Result<(), String> {
        self.stop().await?;
        self.start_again().await
    }

    /// Stops the daemon.
    pub async fn stop(&mut self) -> Result<(), String> {
        self.daemon.stop().await.map(drop).map_err(|error| error.to_string())
    }

    /// Starts it on what it left behind.
    pub async fn start_again(&mut self) -> Result<(), String> {
        self.daemon = start_daemon(&self.program, &self.launch, &self.world, self.dir.path()).await?;
        Ok(())
    }

    /// The daemon as a server like any other.
    pub fn target(&self) -> Result<Target, String> {
        let pid = self.daemon.pid().ok_or("the daemon has ended")?;
        Ok(Target {
            address: self.world.address(),
            pid,
            expected: Arc::new(Expected { recorded: true, ..Expected::default() }),
            callers: Arc::clone(&self.callers),
        })
    }

    /// Where its audit log is.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Takes back what changes have left on the NAS: it is the NAS that would become slower.
    pub fn tidy(&self) {
        self.world.nas.state(|nas| nas.snapshots.retain(|one| !one.name.starts_with("bench-")));
    }

    /// Waits until its NAS answers, and its first look at it is over.
    pub async fn ready(&self) -> Result<(), String> {
        let alice = Client { token: self.world.token(ALICE, LIFETIME), ..self.world.client(ALICE) };
        let started = Instant::now();
        let mut up = false;
        while started.elapsed() < Duration::from_secs(60) {
            if up {
                // The daemon's own look at the datasets is none of what is measured.
                let calls = self.world.nas.transcript();
                if calls.iter().any(|call| call.method == "pool.dataset.query" && call.outcome.is_some()) {
                    return Ok(());
                }
            } else {
                let answer = alice.call("system_info", json!({})).await.map_err(|error| error.to_string())?;
                up = answer.status == 200 && !answer.is_error();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the daemon did not reach its NAS within a minute".to_owned())
    }
}

/// How long tokens are good.
const LIFETIME: Duration = Duration::from_hours(8);

/// A new person with a node at this address, whose grant gives these scopes.
pub fn caller(world: &World, address: Ipv4Addr, login: &str, scopes: &[&str]) -> Caller {
    let [.., third, fourth] = address.octets();
    let id = 10_000 + 256 * u64::from(third) + u64::from(fourth);
    world.tailnet.add_user_node(address.into(), &format!("bench-{id}"), User::new(id, login, login));
    world.tailnet.grant(address.into(), CAPABILITY, vec![json!({ "scopes": scopes, "nas": ["*"] })]);
    let spec = TokenSpec { lifetime: LIFETIME, ..TokenSpec::new(login, &world.mcp_url()) };
    Caller { address, login: login.to_owned(), token: world.tsidp.mint(spec) }
}

async fn start_daemon(program: &Path, launch: &Launch, world: &World, dir: &Path) -> Result<Daemon, String> {
    let arguments = vec!["daemon".into(), world.config().into(), world.address().to_string().into()];
    let (program, arguments) = launch.command(program, arguments);
    Daemon::start(&program, arguments, dir).await.map_err(|error| error.to_string())
}

/// Another server than the daemon.
pub struct Peer {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
}

impl Peer {
    /// Starts a program that prints its port once it listens.
    pub async fn start(launch: &Launch, program: &Path, arguments: &[OsString]) -> Result<Self, String> {
        let name = program.display().to_string();
        let say = |error: std::io::Error| format!("{name} could not be started: {error}");
        let (program, arguments) = launch.command(program, arguments.to_vec());
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(say)?;
        let pid = child.id().ok_or_else(|| format!("{name} ended at once"))?;
        let out = child.stdout.take().ok_or_else(|| format!("{name} has no output"))?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line())
            .await
            .map_err(|_| format!("{name} did not listen within a minute"))?
            .map_err(say)?;
        let port = line.and_then(|line| line.trim().parse::<u16>().ok());
        let port = port.ok_or_else(|| format!("{name} ended before it listened"))?;
        Ok(Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), pid })
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

/// What the daemon answers, as the other servers are told it: a file for them, and what their answers must be.
pub async fn answers(home: &Home) -> Result<(PathBuf, Expected), String> {
    let caller = &home.callers[0];
    let client =
        Client { from: caller.address.into(), token: Some(caller.token.clone()), ..home.world.client(ALICE) };
    let result = async |method: &str, params: Value| {
        let answer = client.modern(method, params).await.map_err(|error| error.to_string())?;
        match answer.json()["result"].take() {
            Value::Null => Err(format!("{method}: {}", String::from_utf8_lossy(&answer.body))),
            result => Ok(result),
        }
    };
    let discover = result("server/discover", json!({})).await?;
    let tools = result("tools/list", json!({})).await?;
    let whoami = result("tools/call", json!({ "name": Scenario::Whoami.name(), "arguments": {} })).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = tools["tools"].as_array().into_iter().flatten().map(|tool| text(&tool["name"])).collect();
    let expected = Expected {
        instructions: text(&discover["instructions"]),
        tools: names,
        login: Some(caller.login.clone()),
        recorded: false,
    };
    let tokens: Vec<_> = home.callers.iter().map(|caller| &caller.token).collect();
    let answers = json!({
        "tokens": tokens,
        "introspection": format!("{}/introspect", home.world.tsidp.issuer()),
        "introspection_cache_seconds": INTROSPECTION_SECONDS,
        "discover": discover,
        "tools": tools,
        "whoami": whoami,
    });
    let file = home.folder().join("answers.json");
    fs::write(&file, answers.to_string()).map_err(|error| error.to_string())?;
    Ok((file, expected))
}
