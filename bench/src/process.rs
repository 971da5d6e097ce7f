//! What the kernel knows of a server: processor time and memory.

use std::fs;
use std::time::Duration;

/// Processor time that a process has used since its start, in user space and in the kernel, with all its threads, also
/// those that have ended.
pub fn cpu(pid: u32) -> Result<Duration, String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| gone(pid, &error))?;
    // The name stands in parentheses and may hold anything; after it utime and stime are the 12th and 13th (proc(5)).
    let after = stat.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
    let mut fields = after.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(kernel))) => {
            let per_second = rustix::param::clock_ticks_per_second();
            Ok(Duration::from_micros((user + kernel) * 1_000_000 / per_second))
        }
        _ => Err(format!("/proc/{pid}/stat is not as proc(5) has it")),
    }
}

/// Memory of a process in KiB: what it holds (`VmRSS`), and the most it has held (`VmHWM`).
pub fn memory(pid: u32) -> Result<(u64, u64), String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| gone(pid, &error))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    of("VmRSS:").zip(of("VmHWM:")).ok_or_else(|| format!("/proc/{pid}/status says nothing of memory"))
}

fn gone(pid: u32, error: &std::io::Error) -> String {
    format!("process {pid} is gone: {error}")
}
