//! How full the pools are, and of what.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::history;
use crate::nas::Session;

use crate::domain::name::PoolName;
use crate::nas::methods::{dataset, pool};
use crate::nas::wire::Property;

use super::limit::Limit;
use super::render::{foreign, percent, size, time};
use super::seen::Seen;
use super::storage::no_such_pool;
use super::trend::{Growth, growth};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Capacity>()]
}

struct Capacity;

/// When a pool held what.
type Sample = (DateTime<Utc>, history::Pool);

/// Points of a history.
const POINTS: usize = 60;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CapacityArgs {
    /// Only this pool. Default: all.
    #[serde(default)]
    pool: Option<PoolName>,
    /// How many of the biggest datasets of each pool.
    #[serde(default)]
    limit: Limit<5, 50>,
    /// Also how full each was over time. Default: no.
    #[serde(default)]
    history: bool,
}

/// How full the pools are, the fullest first.
#[derive(Serialize, JsonSchema)]
struct CapacityOutput {
    /// The pools.
    pools: Vec<PoolCapacity>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct PoolCapacity {
    /// Name.
    pool: String,
    /// Percent in use, parity included.
    used_percent: Option<f64>,
    /// Bytes in use, parity included.
    used_bytes: Option<u64>,
    /// Bytes in all, parity included.
    size_bytes: Option<u64>,
    /// Bytes that files can still have, parity taken off.
    available_bytes: Option<u64>,
    /// How it grows, where there are samples of some days.
    growth: Option<Growth>,
    /// How full it was, oldest first, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<Point>,
    /// Biggest datasets, by what is theirs alone, without what lies below them.
    biggest: Vec<Share>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct Point {
    /// When, ISO 8601.
    at: String,
    /// Percent in use.
    used_percent: f64,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Share {
    /// Path.
    dataset: String,
    /// Bytes of its own data.
    data_bytes: u64,
    /// Bytes that only its snapshots keep.
    snapshot_bytes: u64,
}

impl Tool for Capacity {
    const NAME: &'static str = "pool_capacity";
    const TITLE: &'static str = "Capacity of the pools";
    const DESCRIPTION: &'static str = "How full each pool is, when it will be 70, 85, 100 % full, and which datasets take the most, data and snapshots apart.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("pool", Log::Plain), ("limit", Log::Plain), ("history", Log::Plain)];
    const NEEDS: &'static [Need] = needs![pool::Pools, dataset::Datasets];
    type Args = CapacityArgs;
    type Output = CapacityOutput;

    fn target(args: &CapacityArgs) -> Option<String> {
        args.pool.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: CapacityArgs) -> Result<CapacityOutput, ToolError> {
        let pools = args.pool.as_ref().map_or_else(pool::all, pool::one);
        let pools = nas.call(pool::Pools, pools).await?;
        if let (Some(name), true) = (&args.pool, pools.is_empty()) {
            return Err(no_such_pool(name));
        }
        let datasets = args.pool.as_ref().map_or_else(dataset::all, dataset::on_pool);
        let datasets = nas.call(dataset::Datasets, datasets).await?;
        let mut seen = Seen::default();
        let mut told = Vec::new();
        for pool in &pools {
            let mut capacity = capacity(pool, &datasets, args.limit.get());
            if let Some(samples) = samples_of(nas, pool, &mut seen).await {
                capacity.growth = growth_of(pool, &samples, &mut seen);
                if args.history {
                    capacity.history = thinned(&samples).map(point).collect();
                }
            }
            told.push(capacity);
        }
        told.sort_by(|one, other| {
            other.used_percent.partial_cmp(&one.used_percent).unwrap_or(std::cmp::Ordering::Equal)
        });
        Ok(CapacityOutput { pools: told, not_seen: seen.not })
    }
}

/// How full a pool was, by our own samples, oldest first: the NAS keeps none.
async fn samples_of(nas: &Session<'_, Read>, pool: &pool::Pool, seen: &mut Seen) -> Option<Vec<Sample>> {
    let name = foreign(&pool.name, 60);
    let Some(past) = nas.past() else {
        seen.not.push(format!("growth of {name}: this server keeps no history here"));
        return None;
    };
    match past.pool(pool.guid.clone()?).await {
        Ok(samples) => Some(samples),
        Err(error) => {
            seen.not.push(format!("growth of {name}: {error}"));
            None
        }
    }
}

fn growth_of(pool: &pool::Pool, samples: &[Sample], seen: &mut Seen) -> Option<Growth> {
    // A pool that was made larger grows on from there.
    let used: Vec<_> = samples.iter().map(|(at, sample)| (*at, sample.used)).collect();
    let growth = growth(&used, pool.size?);
    if growth.is_none() {
        let name = foreign(&pool.name, 60);
        let since =
            used.first().map_or_else(|| "none yet".to_owned(), |(at, _)| format!("since {}", time(*at)));
        seen.not.push(format!("growth of {name}: it takes samples of three days ({since})"));
    }
    growth
}

/// At most [`POINTS`] of them, the first and the last among these.
fn thinned(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    let last = samples.len().saturating_sub(1);
    let points = samples.len().min(POINTS);
    (0..points).filter_map(move |point| samples.get(point * last / points.saturating_sub(1).max(1)))
}

fn point((at, sample): &Sample) -> Point {
    Point { at: time(*at), used_percent: percent(sample.used, sample.size).unwrap_or_default() }
}

fn capacity(pool: &pool::Pool, datasets: &[dataset::Dataset], limit: usize) -> PoolCapacity {
    let number = |property: &Option<Property>| property.as_ref().and_then(Property::number);
    // The pool by its own field: "tank2/x" begins with "tank" too.
    let inside = || datasets.iter().filter(|dataset| dataset.pool.as_deref() == Some(&*pool.name));
    let root = inside().find(|dataset| dataset.id == pool.name);
    let mut biggest: Vec<_> = inside()
        .map(|dataset| Share {
            dataset: foreign(&dataset.id, 260),
            data_bytes: number(&dataset.usedbydataset).unwrap_or(0),
            snapshot_bytes: number(&dataset.usedbysnapshots).unwrap_or(0),
        })
        .filter(|share| share.data_bytes + share.snapshot_bytes > 0)
        .collect();
    biggest.sort_by_key(|share| std::cmp::Reverse(share.data_bytes.saturating_add(share.snapshot_bytes)));
    biggest.truncate(limit);
    PoolCapacity {
        pool: foreign(&pool.name, 60),
        used_percent: pool.allocated.zip(pool.size).and_then(|(used, size)| percent(used, size)),
        used_bytes: pool.allocated,
        size_bytes: pool.size,
        available_bytes: root.and_then(|root| number(&root.available)),
        growth: None,
        history: Vec::new(),
        biggest,
    }
}

impl Items for CapacityOutput {
    fn items(&self) -> usize {
        self.pools.len()
    }
}

impl fmt::Display for CapacityOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        for pool in &self.pools {
            let full = pool
                .used_percent
                .map_or_else(|| "fill level unknown".to_owned(), |full| format!("{full} % full"));
            writeln!(
                f,
                "{}: {full}, {} of {} in use (parity included), {} left for files",
                pool.pool,
                bytes(pool.used_bytes),
                bytes(pool.size_bytes),
                bytes(pool.available_bytes)
            )?;
            if let Some(growth) = &pool.growth {
                writeln!(f, "  {growth}")?;
            }
            for Point { at, used_percent } in &pool.history {
                writeln!(f, "  {at}: {used_percent} %")?;
            }
            for share in &pool.biggest {
                writeln!(
                    f,
                    "  - {}: {} of data, {} in snapshots alone",
                    share.dataset,
                    size(share.data_bytes),
                    size(share.snapshot_bytes)
                )?;
            }
        }
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn dataset(path: &str, data: u64, snapshots: u64) -> dataset::Dataset {
        serde_json::from_value(json!({
            "id": path, "type": "FILESYSTEM", "pool": path.split('/').next(), "available": {"parsed": 40},
            "used": {"parsed": 10_000}, "usedbydataset": {"parsed": data}, "usedbysnapshots": {"parsed": snapshots},
        }))
        .unwrap()
    }

    fn tank(allocated: u64, size: u64) -> pool::Pool {
        let json = json!({"id": 1, "name": "tank", "status": "ONLINE", "allocated": allocated, "size": size});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_biggest_is_so_by_what_is_its_own() {
        let datasets = [
            dataset("tank", 1, 0),
            dataset("tank/a", 5, 20),
            dataset("tank/b", 10, 1),
            dataset("tank2", 99, 0),
        ];
        let capacity = capacity(&tank(60, 80), &datasets, 2);
        assert_eq!(capacity.used_percent, Some(75.0));
        assert_eq!(capacity.available_bytes, Some(40));
        let biggest: Vec<_> = capacity.biggest.iter().map(|share| &*share.dataset).collect();
        assert_eq!(biggest, ["tank/a", "tank/b"]);
    }

    #[test]
    fn a_history_is_thinned_to_its_ends_and_what_lies_between() {
        for count in [0, 1, 2, 59, 60, 61, 500] {
            let sample = |second| (DateTime::from_timestamp(second, 0).unwrap(), history::Pool::default());
            let samples: Vec<_> = (0..count).map(sample).collect();
            let points: Vec<_> = thinned(&samples).map(|(at, _)| *at).collect();
            assert_eq!(points.len(), samples.len().min(POINTS), "{count}");
            assert_eq!(points.first(), samples.first().map(|(at, _)| at), "{count}");
            assert_eq!(points.last(), samples.last().map(|(at, _)| at), "{count}");
            assert!(points.is_sorted(), "{count}");
        }
    }

    proptest! {
        #[test]
        fn no_dataset_of_another_pool_is_counted(
            names in prop::collection::vec("(tank|tank2|tank-old|backup/tank|tan)(/[a-z]{1,3}){0,2}", 0..20),
            used in 0_u64..1000,
        ) {
            let datasets: Vec<_> = names.iter().map(|name| dataset(name, used + 1, 0)).collect();
            let capacity = capacity(&tank(used, 1000), &datasets, 50);
            prop_assert_eq!(
                capacity.biggest.len(),
                names.iter().filter(|name| *name == "tank" || name.starts_with("tank/")).count()
            );
            prop_assert!(capacity.used_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
        }
    }
}
