//! Disks, and the scrubs that read them through.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::domain::name::PoolName;
use crate::nas::methods::{disk, pool, scrub};

use super::render::{foreign, size, table, time};
use super::seen::Seen;
use super::storage::no_such_pool;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Disks>(), Entry::read::<Scrubs>()]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfPool {
    /// Only of this pool. Default: all.
    #[serde(default)]
    pool: Option<PoolName>,
}

// disks_list

struct Disks;

/// Disks, by name.
#[derive(Serialize, JsonSchema)]
struct DisksOutput {
    /// Disks.
    disks: Vec<Disk>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Disk {
    /// Device name.
    name: String,
    /// Pool it is part of.
    pool: Option<String>,
    /// Model.
    model: Option<String>,
    /// Serial number.
    serial: Option<String>,
    /// HDD or SSD.
    kind: Option<String>,
    /// Bytes.
    size_bytes: Option<u64>,
    /// Degrees Celsius.
    celsius: Option<f64>,
}

impl Tool for Disks {
    const NAME: &'static str = "disks_list";
    const TITLE: &'static str = "Disks";
    const DESCRIPTION: &'static str = "Disks with model, serial number, size, temperature and pool; those of no pool too. For errors see pools_list.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    const NEEDS: &'static [Need] = needs![disk::Disks, disk::Temperatures];
    type Args = OfPool;
    type Output = DisksOutput;

    fn target(args: &OfPool) -> Option<String> {
        args.pool.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: OfPool) -> Result<DisksOutput, ToolError> {
        let mut disks = nas.call(disk::Disks, disk::all()).await?;
        let mut seen = Seen::default();
        let celsius = seen.or_default("temperatures", nas.call(disk::Temperatures, []).await)?;
        if let Some(pool) = &args.pool {
            disks.retain(|disk| disk.pool.as_deref() == Some(pool.as_str()));
            if disks.is_empty() {
                return Err(no_such_pool(pool));
            }
        }
        let disks = disks.into_iter().map(|disk| Disk {
            celsius: celsius.get(&disk.name).copied().flatten(),
            name: foreign(&disk.name, 60),
            pool: disk.pool.map(|pool| foreign(&pool, 60)),
            model: disk.model.map(|model| foreign(&model, 60)),
            serial: disk.serial.map(|serial| foreign(&serial, 60)),
            kind: disk.kind.map(|kind| foreign(&kind, 20)),
            size_bytes: disk.size,
        });
        Ok(DisksOutput { disks: disks.collect(), not_seen: seen.not })
    }
}

impl Items for DisksOutput {
    fn items(&self) -> usize {
        self.disks.len()
    }
}

impl fmt::Display for DisksOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let rows: Vec<_> = self
            .disks
            .iter()
            .map(|disk| {
                [
                    disk.name.clone(),
                    text(&disk.pool),
                    text(&disk.kind),
                    disk.size_bytes.map_or_else(|| "?".to_owned(), size),
                    disk.celsius.map_or_else(|| "?".to_owned(), |celsius| format!("{celsius:.0} °C")),
                    text(&disk.model),
                    text(&disk.serial),
                ]
            })
            .collect();
        f.write_str(&table(["DISK", "POOL", "KIND", "SIZE", "TEMP", "MODEL", "SERIAL"], &rows))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

// scrub_status

struct Scrubs;

/// Scrubs and resilvers, pool by pool.
#[derive(Serialize, JsonSchema)]
struct ScrubsOutput {
    /// One for each pool.
    pools: Vec<Scrub>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Scrub {
    /// Pool.
    pool: String,
    /// SCRUB or RESILVER; absent when there never was one.
    kind: Option<String>,
    /// SCANNING, FINISHED, CANCELED.
    state: Option<String>,
    /// Percent done.
    percent: Option<f64>,
    /// Seconds that it still takes.
    seconds_left: Option<f64>,
    /// When it began, ISO 8601.
    started: Option<String>,
    /// When it ended, ISO 8601.
    finished: Option<String>,
    /// Errors found.
    errors: Option<u64>,
    /// When scrubs begin by themselves, in the NAS's time; empty for never.
    schedules: Vec<String>,
}

impl Tool for Scrubs {
    const NAME: &'static str = "scrub_status";
    const TITLE: &'static str = "Scrubs";
    const DESCRIPTION: &'static str = "For each pool the scrub or resilver that runs, or the last one, with errors, time left and the schedule.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    const NEEDS: &'static [Need] = needs![pool::Pools, scrub::Schedules];
    type Args = OfPool;
    type Output = ScrubsOutput;

    fn target(args: &OfPool) -> Option<String> {
        args.pool.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: OfPool) -> Result<ScrubsOutput, ToolError> {
        let query = args.pool.as_ref().map_or_else(pool::all, pool::one);
        let pools = nas.call(pool::Pools, query).await?;
        if let (Some(name), true) = (&args.pool, pools.is_empty()) {
            return Err(no_such_pool(name));
        }
        let mut seen = Seen::default();
        let tasks = seen.or_default("schedules", nas.call(scrub::Schedules, scrub::all()).await)?;
        let pools = pools.into_iter().map(|pool| scrub_row(pool, &tasks)).collect();
        Ok(ScrubsOutput { pools, not_seen: seen.not })
    }
}

fn scrub_row(pool: pool::Pool, tasks: &[scrub::ScrubTask]) -> Scrub {
    let schedules = tasks.iter().filter(|task| task.pool_name == pool.name && task.enabled != Some(false));
    let schedules = schedules
        .filter_map(|task| {
            let schedule = foreign(&task.schedule.as_ref()?.to_string(), 80);
            Some(match task.threshold {
                Some(days) => format!("{schedule}, not within {days} days of the last"),
                None => schedule,
            })
        })
        .collect();
    let scan = pool.scan;
    let part = |text: Option<&String>| text.map(|text| foreign(text, 20));
    Scrub {
        pool: foreign(&pool.name, 60),
        kind: part(scan.as_ref().and_then(|scan| scan.function.as_ref())),
        state: part(scan.as_ref().and_then(|scan| scan.state.as_ref())),
        percent: scan.as_ref().and_then(|scan| scan.percentage),
        seconds_left: scan.as_ref().and_then(|scan| scan.total_secs_left),
        started: scan.as_ref().and_then(|scan| scan.start_time).map(|at| time(at.0)),
        finished: scan.as_ref().and_then(|scan| scan.end_time).map(|at| time(at.0)),
        errors: scan.as_ref().and_then(|scan| scan.errors),
        schedules,
    }
}

impl Items for ScrubsOutput {
    fn items(&self) -> usize {
        self.pools.len()
    }
}

impl fmt::Display for ScrubsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for scrub in &self.pools {
            let kind = scrub.kind.as_deref().unwrap_or("scan").to_lowercase();
            write!(f, "- {}: ", scrub.pool)?;
            match (scrub.state.as_deref(), &scrub.finished) {
                (None, _) => write!(f, "never scrubbed")?,
                (Some("SCANNING"), _) => {
                    write!(f, "{kind} runs, {:.0} % done", scrub.percent.unwrap_or_default())?;
                    if let Some(seconds) = scrub.seconds_left {
                        let left = match seconds / 60.0 {
                            minutes if minutes < 60.0 => format!("{:.0} min", minutes.max(1.0)),
                            minutes => format!("{:.1} h", minutes / 60.0),
                        };
                        write!(f, ", about {left} left")?;
                    }
                }
                (Some("FINISHED"), Some(at)) => write!(f, "last {kind} ended {at}")?,
                (Some(state), _) => write!(f, "last {kind} {}", state.to_lowercase())?,
            }
            if let Some(errors) = scrub.errors {
                write!(f, ", {errors} errors")?;
            }
            match &scrub.schedules[..] {
                [] if self.not_seen.is_empty() => writeln!(f, "; no schedule")?,
                [] => writeln!(f)?,
                schedules => writeln!(f, "; {}", schedules.join("; "))?,
            }
        }
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}
