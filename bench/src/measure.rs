//! What is measured, in which order.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tailnas_sim::world::ALICE;

use crate::check::{Expected, Scenario};
use crate::load::{self, Caller, Sample, Target};
use crate::process;
use crate::servers::{self, Home, Launch, Peer};

/// The daemon, in tables.
pub const OURS: &str = "tailnas";
/// The anchor, in tables.
pub const BARE: &str = "bare rmcp";
/// FastMCP with a list of tokens, in tables.
pub const FASTMCP: &str = "FastMCP, bearer";
/// FastMCP that asks the provider, in tables.
pub const FASTMCP_ASKS: &str = "FastMCP, introspection";
/// The TypeScript SDK, in tables.
pub const TYPESCRIPT: &str = "TypeScript SDK, bearer";

/// How many connections budgets are about.
pub const USUAL: usize = 64;
/// How many connections there are while something grows.
const GROWN: usize = 16;
/// Plans that may wait at one time; a change on each of more connections would be refused.
pub const MOST_CHANGES: usize = 128;

/// Everything there is; with all of it a caller sees every tool.
const EVERYTHING: [&str; 27] = [
    "system:read",
    "system:admin",
    "storage:read",
    "storage:write",
    "storage:destroy",
    "shares:read",
    "shares:write",
    "apps:read",
    "apps:logs",
    "apps:config",
    "apps:write",
    "apps:destroy",
    "vms:read",
    "vms:write",
    "network:read",
    "services:read",
    "services:write",
    "backup:read",
    "backup:write",
    "users:read",
    "alerts:read",
    "alerts:write",
    "jobs:read",
    "jobs:write",
    "metrics:read",
    "audit:read",
    "change:approve",
];

/// How thoroughly.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How often each thing is measured.
    pub rounds: usize,
    /// How often each server is started.
    pub starts: usize,
    /// For how long at least before it counts, and for how long it counts.
    pub times: (Duration, Duration),
    /// How many connections.
    pub connections: Vec<usize>,
    /// Records in the log.
    pub records: Vec<u64>,
    /// Datasets on the NAS, besides the 28 that are there anyway.
    pub datasets: Vec<usize>,
}

impl Pace {
    /// Less than eight minutes.
    pub fn usual() -> Self {
        Self {
            rounds: 3,
            starts: 5,
            times: (Duration::from_millis(120), Duration::from_millis(600)),
            connections: vec![1, 16, USUAL, 256],
            records: vec![100, 1000, 10_000, 100_000],
            datasets: vec![0, 72, 972, 9_972],
        }
    }

    /// Less than two minutes.
    pub fn quick() -> Self {
        Self {
            rounds: 2,
            starts: 2,
            times: (Duration::from_millis(100), Duration::from_millis(300)),
            connections: vec![1, USUAL],
            records: vec![100, 10_000],
            datasets: vec![0, 972],
        }
    }
}

/// What there is to run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The demo, which can be the daemon.
    pub demo: PathBuf,
    /// The anchor.
    pub bare: PathBuf,
    /// Python that has FastMCP and the script to run, or why not.
    pub fastmcp: Result<(PathBuf, PathBuf), String>,
    /// Node and the script to run, or why not.
    pub typescript: Result<(PathBuf, PathBuf), String>,
}

/// One scenario on one server with so many connections.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The server.
    pub server: &'static str,
    /// The scenario.
    pub scenario: Scenario,
    /// How many connections.
    pub connections: usize,
    /// A sample for each round, or why there is none.
    pub samples: Result<Vec<Sample>, String>,
}

/// How long a server takes to start, and what memory it holds.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The server.
    pub server: &'static str,
    /// From its start to its first answer, each time, in milliseconds.
    pub starts: Vec<f64>,
    /// KiB, two seconds after its first answer.
    pub idle: u64,
    /// KiB with the most connections that were tried, all of them busy: the most of all rounds.
    pub loaded: u64,
    /// The most KiB it ever held.
    pub peak: u64,
}

/// How a cost changes with the size of something.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Of what.
    pub of: &'static str,
    /// What was done.
    pub scenario: Scenario,
    /// Whether the cost must stay the same.
    pub flat: bool,
    /// On how many connections.
    pub connections: usize,
    /// Size, and a sample for each round.
    pub points: Vec<(u64, Vec<Sample>)>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Under load.
    pub cells: Vec<Cell>,
    /// At rest.
    pub standings: Vec<Standing>,
    /// As things grow.
    pub growths: Vec<Growth>,
    /// From start to READY in milliseconds, by the number of records in the log.
    pub ready: Vec<(u64, Vec<f64>)>,
    /// What was not run, and why.
    pub not_run: Vec<String>,
}

/// A server other than the daemon, and how it is started.
struct Other {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Peer,
}

/// Says how far it is.
fn tell(what: &str) {
    eprintln!("{what}");
}

/// Measures everything.
pub async fn everything(programs: &Programs, launch: &Launch, pace: &Pace) -> Result<Measured, String> {
    let mut measured = Measured::default();
    side_by_side(programs, launch, pace, &mut measured).await?;
    growth_with_tools(programs, launch, pace, &mut measured).await?;
    growth_with_records(programs, launch, pace, &mut measured).await?;
    growth_with_datasets(programs, launch, pace, &mut measured).await?;
    Ok(measured)
}

async fn side_by_side(
    programs: &Programs,
    launch: &Launch,
    pace: &Pace,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut home = Home::start(&programs.demo, launch, USUAL, |_| {}).await?;
    let (file, expected) = servers::answers(&home).await?;

    let mut wanted: Vec<(&'static str, PathBuf, Vec<OsString>)> =
        vec![(BARE, programs.bare.clone(), vec![file.clone().into()])];
    match &programs.fastmcp {
        Ok((python, script)) => {
            for (name, by) in [(FASTMCP, "bearer"), (FASTMCP_ASKS, "introspection")] {
                wanted.push((name, python.clone(), vec![script.into(), file.clone().into(), by.into()]));
            }
        }
        Err(why) => measured.not_run.push(format!("FastMCP: {why}")),
    }
    match &programs.typescript {
        Ok((node, script)) => {
            wanted.push((TYPESCRIPT, node.clone(), vec![script.into(), file.clone().into()]));
        }
        Err(why) => measured.not_run.push(format!("the TypeScript SDK: {why}")),
    }

    let theirs = Arc::new(expected.clone());
    let mine = Arc::new(Expected { login: None, recorded: true, ..expected });
    let callers = Arc::clone(&home.callers);
    let target_of = |peer: &Peer| Target {
        address: peer.address,
        pid: peer.pid,
        expected: Arc::clone(&theirs),
        callers: Arc::clone(&callers),
    };

    tell("starts");
    let mut starts: Vec<Vec<f64>> = vec![Vec::new(); wanted.len() + 1];
    let mut others: Vec<Other> = Vec::new();
    for round in 0..pace.starts {
        home.stop().await?;
        let began = Instant::now();
        home.start_again().await?;
        load::ask(&Target { expected: Arc::clone(&mine), ..home.target()? }, Scenario::Discover).await?;
        starts[0].push(began.elapsed().as_secs_f64() * 1e3);
        for (at, (name, program, arguments)) in wanted.iter().enumerate() {
            let began = Instant::now();
            let running = Peer::start(launch, program, arguments).await?;
            load::ask(&target_of(&running), Scenario::Discover).await?;
            starts[at + 1].push(began.elapsed().as_secs_f64() * 1e3);
            if round + 1 < pace.starts {
                running.stop().await?;
            } else {
                let (program, arguments) = (program.clone(), arguments.clone());
                others.push(Other { name, program, arguments, running });
            }
        }
    }
    home.ready().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let own = Target { expected: Arc::clone(&mine), ..home.target()? };
    let mut pids = vec![(OURS, own.pid)];
    pids.extend(others.iter().map(|other| (other.name, other.running.pid)));
    for ((server, pid), starts) in pids.iter().zip(starts) {
        let (idle, _) = process::memory(*pid)?;
        measured.standings.push(Standing { server, starts, idle, loaded: 0, peak: 0 });
    }

    for scenario in [Scenario::Discover, Scenario::List, Scenario::Whoami] {
        for &connections in &pace.connections {
            tell(&format!("{} on {connections} connections", scenario.name()));
            let mut targets = vec![(BARE, None), (OURS, Some(own.clone()))];
            targets.extend(
                others.iter().map(|other| other.name).filter(|name| *name != BARE).map(|it| (it, None)),
            );
            let mut cells: Vec<Cell> = targets
                .iter()
                .map(|(server, _)| Cell { server, scenario, connections, samples: Ok(Vec::new()) })
                .collect();
            for _ in 0..pace.rounds {
                for ((name, target), cell) in targets.iter().zip(&mut cells) {
                    let Ok(samples) = &mut cell.samples else { continue };
                    let target = match target {
                        Some(target) => target.clone(),
                        None => {
                            let other = others.iter().find(|other| other.name == *name);
                            target_of(&other.ok_or("a server that was started is not there")?.running)
                        }
                    };
                    match load::drive(&target, scenario, connections, pace.times).await {
                        Ok(sample) => samples.push(sample),
                        Err(why) => {
                            cell.samples = Err(why);
                            // What another server makes of the connections that it was left with is no part of the next.
                            if let Some(other) = others.iter_mut().find(|other| other.name == *name) {
                                other.running = Peer::start(launch, &other.program, &other.arguments).await?;
                            }
                        }
                    }
                }
            }
            measured.cells.extend(cells);
        }
    }
    for &connections in &pace.connections {
        tell(&format!("what only the daemon does, on {connections} connections"));
        let scenarios = [Scenario::Small, Scenario::Cached, Scenario::Nas];
        let mut all = scenarios.map(|scenario| (scenario, Vec::new()));
        for _ in 0..pace.rounds {
            for (scenario, samples) in &mut all {
                samples.push(load::drive(&own, *scenario, connections, pace.times).await?);
            }
        }
        let of = |(scenario, samples)| Cell { server: OURS, scenario, connections, samples: Ok(samples) };
        measured.cells.extend(all.map(of));
    }
    // After the others: plans are kept for an hour, and whoever has some has more to list.
    for &connections in pace.connections.iter().filter(|connections| **connections <= MOST_CHANGES) {
        tell(&format!("changes on {connections} connections"));
        let mut samples = Vec::new();
        for _ in 0..pace.rounds {
            samples.push(load::drive(&own, Scenario::Change, connections, pace.times).await?);
            home.tidy();
        }
        let scenario = Scenario::Change;
        measured.cells.push(Cell { server: OURS, scenario, connections, samples: Ok(samples) });
    }

    let most = pace.connections.iter().copied().max().unwrap_or_default();
    for standing in &mut measured.standings {
        let pid = match others.iter().find(|other| other.name == standing.server) {
            Some(other) => other.running.pid,
            None => own.pid,
        };
        (_, standing.peak) = process::memory(pid)?;
        let cells = measured.cells.iter();
        let mine = cells.filter(|cell| cell.server == standing.server && cell.connections == most);
        let held = mine.filter_map(|cell| cell.samples.as_ref().ok()).flatten().map(|sample| sample.resident);
        standing.loaded = held.max().unwrap_or_default();
    }
    Ok(())
}

/// What is done while something grows, whether its cost must stay the same, and on how many connections.
#[derive(Clone, Copy)]
struct Grows(Scenario, bool, usize);

/// Runs each scenario on each target in turn, round after round.
async fn in_turns(
    of: &'static str,
    targets: &[(u64, Target)],
    scenarios: &[Grows],
    pace: &Pace,
    tidy: impl Fn(),
) -> Result<Vec<Growth>, String> {
    let mut growths = Vec::new();
    for &Grows(scenario, flat, connections) in scenarios {
        tell(&format!("{} by {of}", scenario.name()));
        let mut points: Vec<_> = targets.iter().map(|(size, _)| (*size, Vec::new())).collect();
        for _ in 0..pace.rounds {
            for ((_, target), (_, samples)) in targets.iter().zip(&mut points) {
                samples.push(load::drive(target, scenario, connections, pace.times).await?);
                tidy();
            }
        }
        growths.push(Growth { of, scenario, flat, connections, points });
    }
    Ok(growths)
}

async fn growth_with_tools(
    programs: &Programs,
    launch: &Launch,
    pace: &Pace,
    measured: &mut Measured,
) -> Result<(), String> {
    let home = Home::start(&programs.demo, launch, GROWN, |_| {}).await?;
    let few = ["services:read", "storage:read"];
    let more = ["apps:read", "services:read", "storage:read"];
    let grants: [&[&str]; 4] = [&few, &more, ALICE.scopes, &EVERYTHING];
    let mut targets = Vec::new();
    for (number, scopes) in (1..).zip(grants) {
        let address = Ipv4Addr::new(127, 0, 2, number);
        let somebody = servers::caller(&home.world, address, &format!("grant-{number}@example.com"), scopes);
        let callers: Arc<Vec<Caller>> = Arc::new(vec![somebody]);
        let target = Target { callers, ..home.target()? };
        let seen = load::ask(&target, Scenario::List).await?.tools;
        targets.push((seen as u64, target));
    }
    // A list of more tools is longer, and costs what it is long.
    let scenarios = [
        Grows(Scenario::Cached, true, GROWN),
        Grows(Scenario::Nas, true, GROWN),
        Grows(Scenario::List, false, GROWN),
    ];
    measured.growths.extend(in_turns("tools granted", &targets, &scenarios, pace, || {}).await?);
    Ok(())
}

async fn growth_with_records(
    programs: &Programs,
    launch: &Launch,
    pace: &Pace,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut homes = Vec::new();
    for &records in &pace.records {
        tell(&format!("an audit log of {records} records"));
        let mut home = Home::start(&programs.demo, launch, GROWN, |_| {}).await?;
        let target = home.target()?;
        let so_far = load::repeat(&target, Scenario::Whoami, 1, 1).await?;
        let filled = load::repeat(&target, Scenario::Whoami, GROWN, records.saturating_sub(so_far)).await?;
        if filled < records {
            return Err(format!("the log ends at {filled} and not at {records}"));
        }
        let mut ready = Vec::new();
        for _ in 0..pace.starts {
            home.restart().await?;
            ready.push(home.daemon.ready_after.as_secs_f64() * 1e3);
        }
        home.ready().await?;
        measured.ready.push((records, ready));
        homes.push((records, home));
    }
    // It looks through the newest records for the caller's changes, up to a bound.
    let scenarios = [
        Grows(Scenario::Whoami, true, GROWN),
        Grows(Scenario::Change, true, GROWN),
        Grows(Scenario::Changes, false, 1),
    ];
    measured.growths.extend(grown("records in the audit log", &homes, &scenarios, pace).await?);
    Ok(())
}

async fn growth_with_datasets(
    programs: &Programs,
    launch: &Launch,
    pace: &Pace,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut homes = Vec::new();
    for &more in &pace.datasets {
        tell(&format!("{more} more datasets"));
        let add = |world: &tailnas_sim::world::World| {
            world
                .nas
                .state(|nas| (0..more).for_each(|number| nas.add_dataset(&format!("tank/more-{number:05}"))));
        };
        let home = Home::start(&programs.demo, launch, GROWN, add).await?;
        let all = home.world.nas.state(|nas| nas.datasets.len());
        homes.push((all as u64, home));
    }
    // The simulator counts all of them each time; with one at a time it has the time for that.
    let scenarios = [
        Grows(Scenario::Whoami, true, GROWN),
        Grows(Scenario::Datasets, true, GROWN),
        Grows(Scenario::Change, true, GROWN),
        Grows(Scenario::AllDatasets, true, 1),
    ];
    measured.growths.extend(grown("datasets on the NAS", &homes, &scenarios, pace).await?);
    Ok(())
}

/// Runs the scenarios on these daemons, in turns. Each is told by how much there is `of` something.
async fn grown(
    of: &'static str,
    homes: &[(u64, Home)],
    scenarios: &[Grows],
    pace: &Pace,
) -> Result<Vec<Growth>, String> {
    let mut targets = Vec::new();
    for (much, home) in homes {
        targets.push((*much, home.target()?));
    }
    let tidy = || homes.iter().for_each(|(_, home)| home.tidy());
    in_turns(of, &targets, scenarios, pace, tidy).await
}

/// The middle of some numbers.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => numbers[half],
        _ => f64::midpoint(numbers[half - 1], numbers[half]),
    }
}

/// Half of what lies between the smallest and the largest, as a share of the middle: how much of a difference is noise.
pub fn spread(numbers: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let (least, most) = numbers
        .clone()
        .into_iter()
        .fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
    (most - least) / 2.0 / median(numbers)
}

/// One sample as JSON.
pub fn json(sample: &Sample) -> Value {
    serde_json::json!({
        "done": sample.done, "per_second": sample.per_second, "p50_ms": sample.p50, "p99_ms": sample.p99,
        "cpu_us": sample.cpu, "resident_kib": sample.resident,
    })
}
