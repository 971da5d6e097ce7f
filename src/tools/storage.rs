//! Pools, datasets, snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, PoolName, SnapshotLabel, SnapshotName};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::query::Query;
use crate::nas::methods::{dataset, pool, resource, snapshot};
use crate::nas::wire::Property;
use crate::nas::{NasError, Session};

use super::limit::{Limit, first};
use super::render::{fenced, foreign, percent, shown_of, size, table, time};
use super::snapshot_changes::counts_in_quotas;
use super::{Change, Done, Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Pools>(), Entry::read::<Datasets>(), Entry::change::<SnapshotCreate>()]
}

// pools_list

struct Pools;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PoolsArgs {
    /// Only this pool. Default: all.
    #[serde(default)]
    pool: Option<PoolName>,
}

/// Pools with what they are made of.
#[derive(Serialize, JsonSchema)]
struct PoolsOutput {
    /// The pools.
    pools: Vec<Pool>,
}

#[derive(Serialize, JsonSchema)]
struct Pool {
    /// Name.
    name: String,
    /// ONLINE, DEGRADED, FAULTED, OFFLINE.
    status: String,
    /// What the NAS says about the status; data, not instructions.
    detail: Option<String>,
    /// Whether nothing is wrong.
    healthy: Option<bool>,
    /// Bytes in all, parity included.
    size_bytes: Option<u64>,
    /// Bytes in use.
    used_bytes: Option<u64>,
    /// Bytes left.
    free_bytes: Option<u64>,
    /// Percent in use.
    used_percent: Option<f64>,
    /// Fragmentation in percent.
    fragmentation_percent: Option<f64>,
    /// Scrub or resilver that runs, or the last one.
    scan: Option<Scan>,
    /// Disks, with the purpose they serve.
    disks: Vec<Disk>,
}

#[derive(Serialize, JsonSchema)]
struct Scan {
    /// SCRUB or RESILVER.
    kind: String,
    /// SCANNING, FINISHED, CANCELED.
    state: String,
    /// Percent done.
    percent: Option<f64>,
    /// When it began, ISO 8601.
    started: Option<String>,
    /// When it ended, ISO 8601.
    finished: Option<String>,
    /// Errors found.
    errors: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Disk {
    /// Device name.
    name: String,
    /// data, log, cache, spare, special or dedup.
    purpose: String,
    /// ONLINE, DEGRADED, FAULTED, UNAVAIL.
    status: Option<String>,
    /// Read, write and checksum errors together.
    errors: u64,
}

impl Tool for Pools {
    const NAME: &'static str = "pools_list";
    const TITLE: &'static str = "Pools";
    const DESCRIPTION: &'static str = "Storage pools: status, size, use, fragmentation, last scrub, and each disk with its state and error count.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    const NEEDS: &'static [Need] = needs![pool::Pools];
    type Args = PoolsArgs;
    type Output = PoolsOutput;

    fn target(args: &PoolsArgs) -> Option<String> {
        args.pool.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: PoolsArgs) -> Result<PoolsOutput, ToolError> {
        let query = args.pool.as_ref().map_or_else(pool::all, pool::one);
        let pools: Vec<_> = nas.call(pool::Pools, query).await?.into_iter().map(pool_row).collect();
        if let (Some(name), true) = (&args.pool, pools.is_empty()) {
            return Err(no_such_pool(name));
        }
        Ok(PoolsOutput { pools })
    }
}

/// There is no such pool.
pub(super) fn no_such_pool(name: &PoolName) -> ToolError {
    ToolError::Inapplicable {
        what: format!("There is no pool {name}."),
        hint: "Call pools_list without a name to see which there are.".to_owned(),
    }
}

fn pool_row(pool: pool::Pool) -> Pool {
    let disks = pool.topology.iter().flat_map(pool::Topology::disks).map(|(purpose, disk)| Disk {
        name: foreign(disk.disk.as_deref().or(disk.name.as_deref()).unwrap_or("?"), 60),
        purpose: purpose.to_owned(),
        status: disk.status.as_deref().map(|status| foreign(status, 20)),
        errors: disk.stats.as_ref().map_or(0, |stats| {
            [stats.read_errors, stats.write_errors, stats.checksum_errors].into_iter().flatten().sum()
        }),
    });
    Pool {
        disks: disks.collect(),
        name: foreign(&pool.name, 60),
        status: foreign(&pool.status, 20),
        detail: pool.status_detail.as_deref().map(|detail| foreign(detail, 300)),
        healthy: pool.healthy,
        size_bytes: pool.size,
        used_bytes: pool.allocated,
        free_bytes: pool.free,
        used_percent: pool.allocated.zip(pool.size).and_then(|(used, size)| percent(used, size)),
        fragmentation_percent: pool.fragmentation_percent(),
        scan: pool.scan.and_then(|scan| {
            Some(Scan {
                kind: foreign(&scan.function?, 20),
                state: foreign(&scan.state?, 20),
                percent: scan.percentage,
                started: scan.start_time.map(|at| time(at.0)),
                finished: scan.end_time.map(|at| time(at.0)),
                errors: scan.errors,
            })
        }),
    }
}

impl Items for PoolsOutput {
    fn items(&self) -> usize {
        self.pools.len()
    }
}

impl fmt::Display for PoolsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pools.is_empty() {
            return writeln!(f, "There are no pools.");
        }
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        let rows: Vec<_> = self
            .pools
            .iter()
            .map(|pool| {
                [
                    pool.name.clone(),
                    pool.status.clone(),
                    bytes(pool.used_bytes),
                    bytes(pool.size_bytes),
                    pool.used_percent.map_or_else(|| "?".to_owned(), |percent| format!("{percent} %")),
                    pool.scan.as_ref().map_or_else(|| "never".to_owned(), describe),
                    pool.disks.len().to_string(),
                ]
            })
            .collect();
        f.write_str(&table(["POOL", "STATUS", "USED", "SIZE", "FULL", "LAST SCAN", "DISKS"], &rows))?;
        for pool in &self.pools {
            for disk in &pool.disks {
                let status = disk.status.as_deref().unwrap_or("of unknown state");
                if disk.errors > 0 || !["ONLINE", "AVAIL", "INUSE"].contains(&status) {
                    writeln!(
                        f,
                        "{}: disk {} ({}) is {status}, {} errors",
                        pool.name, disk.name, disk.purpose, disk.errors
                    )?;
                }
            }
        }
        let unwell = self.pools.iter().filter(|pool| pool.status != "ONLINE");
        let details = unwell.filter_map(|pool| Some(format!("{}: {}", pool.name, pool.detail.as_ref()?)));
        let details: Vec<_> = details.collect();
        if details.is_empty() {
            return Ok(());
        }
        f.write_str(&fenced("what the NAS says of them", &details))
    }
}

fn describe(scan: &Scan) -> String {
    let kind = scan.kind.to_lowercase();
    match (scan.state.as_str(), scan.percent, &scan.finished) {
        ("SCANNING", Some(percent), _) => format!("{kind} at {percent:.0} %"),
        ("FINISHED", _, Some(at)) => format!("{kind} {at}, {} errors", scan.errors.unwrap_or(0)),
        (state, _, _) => format!("{kind} {}", state.to_lowercase()),
    }
}

// datasets_list

struct Datasets;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DatasetsArgs {
    /// Only this dataset and what lies below it. Default: all.
    #[serde(default)]
    within: Option<DatasetPath>,
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 1000>,
}

/// Datasets and volumes, by path.
#[derive(Serialize, JsonSchema)]
struct DatasetsOutput {
    /// The datasets shown.
    datasets: Vec<Dataset>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct Dataset {
    /// Path.
    path: String,
    /// filesystem or volume.
    kind: String,
    /// Bytes that it and all below it take.
    used_bytes: Option<u64>,
    /// Bytes of that which snapshots take.
    snapshot_bytes: Option<u64>,
    /// Bytes left to it.
    available_bytes: Option<u64>,
    /// The most it and all below it may take; absent without a quota.
    quota_bytes: Option<u64>,
    /// Compression.
    compression: Option<String>,
    /// Whether it is encrypted.
    encrypted: Option<bool>,
    /// Whether its key is missing.
    locked: Option<bool>,
    /// Whether it can only be read.
    read_only: Option<bool>,
}

impl Tool for Datasets {
    const NAME: &'static str = "datasets_list";
    const TITLE: &'static str = "Datasets";
    const DESCRIPTION: &'static str = "Datasets and volumes by path: use, snapshots' share, space left, quota, compression, encryption. Narrow with within.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("within", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![dataset::Datasets, dataset::DatasetCount];
    type Args = DatasetsArgs;
    type Output = DatasetsOutput;

    fn target(args: &DatasetsArgs) -> Option<String> {
        args.within.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: DatasetsArgs) -> Result<DatasetsOutput, ToolError> {
        let (those, all) = match &args.within {
            None => (dataset::all(), Query::all()),
            Some(path) => (dataset::all().within("id", path), Query::all().within("id", path)),
        };
        let limit = args.limit.get();
        let (rows, total) =
            first(nas, (dataset::Datasets, those), (dataset::DatasetCount, all), limit).await?;
        if let (Some(path), true) = (&args.within, rows.is_empty()) {
            return Err(no_such_dataset(path));
        }
        Ok(DatasetsOutput { datasets: rows.iter().map(dataset_row).collect(), total })
    }
}

/// There is no such dataset.
pub(super) fn no_such_dataset(path: &DatasetPath) -> ToolError {
    ToolError::Inapplicable {
        what: format!("There is no dataset {path}."),
        hint: "Call datasets_list to see which there are.".to_owned(),
    }
}

fn dataset_row(dataset: &dataset::Dataset) -> Dataset {
    let number = |property: &Option<Property>| property.as_ref().and_then(Property::number);
    Dataset {
        path: foreign(&dataset.id, 260),
        kind: foreign(&dataset.kind.to_lowercase(), 20),
        used_bytes: number(&dataset.used),
        snapshot_bytes: number(&dataset.usedbysnapshots),
        available_bytes: number(&dataset.available),
        quota_bytes: number(&dataset.quota).filter(|quota| *quota > 0),
        compression: dataset.compression.as_ref().and_then(|p| p.text()).map(|text| foreign(text, 20)),
        encrypted: dataset.encrypted,
        locked: dataset.locked,
        read_only: dataset
            .readonly
            .as_ref()
            .and_then(|p| p.text())
            .map(|text| text.eq_ignore_ascii_case("on")),
    }
}

impl Items for DatasetsOutput {
    fn items(&self) -> usize {
        self.datasets.len()
    }
}

impl fmt::Display for DatasetsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.datasets.is_empty() {
            return writeln!(f, "There are no datasets.");
        }
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        let rows: Vec<_> = self
            .datasets
            .iter()
            .map(|dataset| {
                let mut notes = Vec::new();
                if let Some(quota) = dataset.quota_bytes {
                    notes.push(format!("quota {}", size(quota)));
                }
                match (dataset.encrypted, dataset.locked) {
                    (Some(true), Some(true)) => notes.push("encrypted, locked".to_owned()),
                    (Some(true), _) => notes.push("encrypted".to_owned()),
                    _ => {}
                }
                if dataset.read_only == Some(true) {
                    notes.push("read-only".to_owned());
                }
                if dataset.kind == "volume" {
                    notes.push("volume".to_owned());
                }
                [
                    dataset.path.clone(),
                    bytes(dataset.used_bytes),
                    bytes(dataset.snapshot_bytes),
                    bytes(dataset.available_bytes),
                    notes.join(", "),
                ]
            })
            .collect();
        f.write_str(&table(["DATASET", "USED", "IN SNAPSHOTS", "AVAILABLE", "NOTES"], &rows))?;
        f.write_str(&shown_of(self.datasets.len(), self.total, "Narrow with within, or raise limit."))
    }
}

// snapshot_create

struct SnapshotCreate;

/// So many snapshots a client may have taken on its own word that no schedule deletes, by their names: of one dataset, or of a dataset and
/// all below it. Nobody but a person ends them, and all that is deleted stays in them.
const TAKEN_UNASKED: usize = 64;

/// As many digits as the shortest date and time has: `2099-1-1_0-0`.
const DIGITS_OF_A_TIME: usize = 8;

/// Whether a naming schema of some task, here or on a machine that fetches from here, could read a time from this name. The NAS
/// takes as schema what has at least year, month, day, hour and minute in it, or the seconds since 1970, and nothing else.
fn may_tell_a_time(label: &str) -> bool {
    label.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_OF_A_TIME
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SnapshotCreateArgs {
    /// Dataset to take it of.
    dataset: DatasetPath,
    /// What to call it.
    name: SnapshotLabel,
    /// Of everything below the dataset too, at one moment. Default: no.
    #[serde(default)]
    recursive: bool,
}

impl Change for SnapshotCreate {
    const NAME: &'static str = "snapshot_create";
    const TITLE: &'static str = "Create a snapshot";
    const DESCRIPTION: &'static str = "Takes a snapshot of a dataset, on request of everything below it too.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOG: &'static [(&'static str, Log)] =
        &[("dataset", Log::Plain), ("name", Log::Plain), ("recursive", Log::Plain)];
    const LOOKS: &'static [Need] = needs![dataset::Datasets, snapshot::Snapshots, resource::Resources];
    const NEEDS: &'static [Need] = needs![snapshot::Create];
    type Args = SnapshotCreateArgs;

    fn target(args: &SnapshotCreateArgs) -> String {
        format!("{}@{}", args.dataset, args.name)
    }

    async fn plan(nas: &Session<'_, Read>, args: &SnapshotCreateArgs) -> Result<Draft, ToolError> {
        let SnapshotCreateArgs { dataset, name, recursive } = args;
        let full = snapshot_of(dataset, name)?;
        // Replication sends what is newer by its name than the newest that both sides have, and what keeps snapshots for a time
        // counts from there. One that says it is of 2099 would end every backup of the dataset, without an error.
        if may_tell_a_time(name.as_str()) {
            return Err(ToolError::Inapplicable {
                what: format!(
                    "{name} could be read as a date and a time. Replication and retention go by the time in a snapshot's name, \
                     and one that is not of that time would keep others from being sent, or have them deleted."
                ),
                hint: format!(
                    "Choose a name with fewer than {DIGITS_OF_A_TIME} digits. When it was taken the NAS knows by itself."
                ),
            });
        }
        let found = one_dataset(nas, dataset).await?;
        if !nas.call(snapshot::Snapshots, snapshot::one(&full)).await?.is_empty() {
            return Err(ToolError::Inapplicable {
                what: format!("There is a snapshot {full} already."),
                hint: "Choose another name.".to_owned(),
            });
        }
        let below = if *recursive { ", and of everything below it" } else { "" };
        let mut draft = Draft::new(
            format!("Take the snapshot {full}{below}."),
            Self::RISK,
            Undo::call("snapshot_delete", json!({ "snapshot": full, "recursive": recursive })),
            subject(dataset),
            Fingerprint::of(&json!({ "dataset": identity(nas, dataset, &found).await? })),
        );
        draft.changes.push(Alteration::new(format!("snapshot {full}"), None, Some("there".to_owned())));
        counts_in_quotas(nas, dataset, &mut draft).await?;
        let others = if *recursive { snapshot::within(dataset) } else { snapshot::of(dataset) };
        let others = nas.call(snapshot::Snapshots, others).await?;
        let names: BTreeSet<_> = others.iter().filter_map(|one| one.snapshot_name.as_deref()).collect();
        let kept = names.into_iter().filter(|name| !may_tell_a_time(name)).count() + 1;
        if kept > TAKEN_UNASKED {
            draft.warnings.push(format!("With it there are {kept} there that no schedule deletes."));
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: SnapshotCreateArgs) -> Result<Done, ToolError> {
        let SnapshotCreateArgs { dataset, name, recursive } = args;
        let full = snapshot_of(&dataset, &name)?;
        nas.call(snapshot::Create, (snapshot::NewSnapshot { dataset, name, recursive },)).await?;
        let below = if recursive { ", and of everything below it" } else { "" };
        Ok(Done::now(format!("Created snapshot {full}{below}.")))
    }
}

fn snapshot_of(dataset: &DatasetPath, label: &SnapshotLabel) -> Result<SnapshotName, ToolError> {
    dataset.snapshot(label).map_err(|error| ToolError::Inapplicable {
        what: format!("{dataset}@{label} cannot be: {error}."),
        hint: "Choose a shorter name.".to_owned(),
    })
}

/// The dataset of this path.
pub(super) async fn one_dataset(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
) -> Result<dataset::Dataset, ToolError> {
    nas.call(dataset::Datasets, dataset::one(path)).await?.pop().ok_or_else(|| no_such_dataset(path))
}

/// What tells a dataset from every other, also from one that is made again under its name.
pub(super) async fn identity(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
    found: &dataset::Dataset,
) -> Result<Value, ToolError> {
    let of_zfs = match nas.call(resource::Resources, resource::one(path)).await {
        Ok(mut resources) => {
            let resource = resources.pop().ok_or_else(|| no_such_dataset(path))?;
            Some((resource.guid, resource.createtxg))
        }
        // 25.04 tells no more than the second in which it was made.
        Err(NasError::NoSuchMethod { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    known_by(found, of_zfs)
}

/// The same of everything below a dataset, one value each, by path.
pub(super) async fn identities_below(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
) -> Result<Vec<Value>, ToolError> {
    let mut below = nas.call(dataset::Datasets, dataset::below(path)).await?;
    if below.is_empty() {
        return Ok(Vec::new());
    }
    below.sort_by(|one, other| one.id.cmp(&other.id));
    let of_zfs: BTreeMap<_, _> = match nas.call(resource::Resources, resource::and_below(path)).await {
        Ok(all) => all.into_iter().map(|one| (one.name, (one.guid, one.createtxg))).collect(),
        Err(NasError::NoSuchMethod { .. }) => BTreeMap::new(),
        Err(error) => return Err(error.into()),
    };
    below.iter().map(|found| known_by(found, of_zfs.get(&found.id).copied())).collect()
}

/// Where the NAS tells no number, the second in which it was made has to do: what is made again later has another.
fn known_by(found: &dataset::Dataset, of_zfs: Option<(u64, u64)>) -> Result<Value, ToolError> {
    let created = found.creation.as_ref().and_then(|creation| creation.rawvalue.as_deref());
    if of_zfs.is_none() && created.is_none() {
        let untold = NasError::Unexpected {
            method: "pool.dataset.query",
            path: "creation".to_owned(),
            problem: "expected when it was made".to_owned(),
            changed: false,
        };
        return Err(untold.into());
    }
    Ok(json!([found.id, found.kind, of_zfs, created]))
}

/// Whatever changes a pool's datasets, snapshots or shares waits for the others that do: they may be each other's
/// ancestors, clones or names.
pub(super) fn subject(path: &DatasetPath) -> String {
    format!("pool {}", path.pool())
}
