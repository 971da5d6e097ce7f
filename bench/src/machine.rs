//! The machine that is measured on, and how it is shared out.

use std::fs;
use std::path::Path;

use rustix::thread::CpuSet;

/// Which cores the servers get, and which the load generator with the simulator.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// How many this process was given.
    pub all: usize,
    /// The one that every server runs on; `None` where there is no second one for us.
    pub server: Option<usize>,
}

/// Keeps this process, and every thread it will start, off the first core it was given: that one is for the server
/// that is measured. To be called before any thread is started.
pub fn share_out() -> Result<Cores, String> {
    let ours = rustix::thread::sched_getaffinity(None).map_err(|error| error.to_string())?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core)).collect();
    let [server, rest @ ..] = cores.as_slice() else { return Err("there is no core".to_owned()) };
    if rest.is_empty() {
        return Ok(Cores { all: 1, server: None });
    }
    let mut set = CpuSet::new();
    rest.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| error.to_string())?;
    Ok(Cores { all: cores.len(), server: Some(*server) })
}

/// What a reader has to know of the machine, in a line. Nothing that names it.
pub fn describe(cores: Cores, logs: &Path) -> String {
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy().into_owned();
    let machine = system.machine().to_string_lossy().into_owned();
    let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    let processor = processor.map(|name| format!("{name}, ")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let memory = memory.map(|kib| format!(", {} GiB", kib.div_ceil(1 << 20))).unwrap_or_default();
    let logs = filesystem(logs).unwrap_or_else(|| "an unknown file system".to_owned());
    let shared = match cores.server {
        Some(_) => "each server on one core, load generator and simulator on the others",
        None => "server, load generator and simulator on the same core",
    };
    format!(
        "{processor}{} cores{memory}, Linux {kernel} {machine}; {shared}; audit logs on {logs}",
        cores.all
    )
}

/// The kind of file system that `path` lies on.
fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let below = kinds.filter(|(at, _)| path.starts_with(at));
    below.max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind.to_owned())
}
