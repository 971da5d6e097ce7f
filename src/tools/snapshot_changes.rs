//! Holding, releasing, cloning, deleting snapshots, and taking a dataset back to one.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, FilePath, SnapshotName};
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::query::Query;
use crate::nas::methods::snapshot::AndBelow;
use crate::nas::methods::{Then, app, client, dataset, file, resource, share, snapshot};
use crate::nas::wire::Property;
use crate::nas::{NasError, Session};

use super::datasets::{above, is_free, not_too_many, users_of};
use super::render::{foreign, size, time};
use super::seen::Seen;
use super::storage::{identity, one_dataset, subject};
use super::users_of::{connected, serving};
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<Hold>(),
        Entry::change::<Release>(),
        Entry::change::<MakeClone>(),
        Entry::change::<Rollback>(),
        Entry::change::<Delete>(),
    ]
}

/// What the NAS calls a hold that somebody asked it for. Others are those of replications.
const OURS: &str = "truenas";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SnapshotArgs {
    /// In full, tank/photos@daily.
    snapshot: SnapshotName,
    /// Those below its dataset too. Default: no.
    #[serde(default)]
    recursive: bool,
}

impl SnapshotArgs {
    /// The snapshots that are meant, by name, the one that is named among them.
    async fn find(&self, nas: &Session<'_, Read>) -> Result<Vec<snapshot::Snapshot>, ToolError> {
        let (dataset, _) = parts(&self.snapshot)?;
        let query = if self.recursive { snapshot::within(&dataset) } else { snapshot::one(&self.snapshot) };
        self.among(nas.call(snapshot::Snapshots, snapshot::with_holds(query)).await?)
    }

    /// Those of `all` that are meant.
    fn among(&self, mut all: Vec<snapshot::Snapshot>) -> Result<Vec<snapshot::Snapshot>, ToolError> {
        let (_, label) = parts(&self.snapshot)?;
        all.retain(|one| one.snapshot_name.as_deref() == Some(label));
        all.sort_by(|one, other| one.id.cmp(&other.id));
        if !all.iter().any(|one| one.id == self.snapshot.as_str()) {
            return Err(no_such_snapshot(&self.snapshot));
        }
        Ok(all)
    }

    /// `the snapshot tank/photos@daily`, or how many of them.
    fn which(&self, found: &[snapshot::Snapshot]) -> String {
        match (found.len(), self.snapshot.as_str().split_once('@')) {
            (2.., Some((dataset, label))) => {
                format!("the {} snapshots @{label} of {dataset} and below it", found.len())
            }
            _ => format!("the snapshot {}", self.snapshot),
        }
    }

    fn and_below(&self) -> &'static str {
        if self.recursive { ", and those of the same name below it" } else { "" }
    }
}

/// The dataset and the label.
fn parts(snapshot: &SnapshotName) -> Result<(DatasetPath, &str), ToolError> {
    let text = snapshot.as_str();
    text.split_once('@')
        .and_then(|(dataset, label)| Some((dataset.parse().ok()?, label)))
        .ok_or_else(|| ToolError::inapplicable(format!("{text} is no snapshot."), "Write it dataset@name."))
}

fn no_such_snapshot(snapshot: &SnapshotName) -> ToolError {
    ToolError::inapplicable(
        format!("There is no snapshot {snapshot}."),
        "snapshots_list shows which there are.",
    )
}

/// The transaction in which a snapshot was taken.
fn txg(one: &snapshot::Snapshot) -> Result<u64, ToolError> {
    one.createtxg.as_deref().and_then(|txg| txg.parse().ok()).ok_or_else(|| {
        let untold = NasError::Unexpected {
            method: "pool.snapshot.query",
            path: "createtxg".to_owned(),
            problem: "expected a number".to_owned(),
            changed: false,
        };
        untold.into()
    })
}

/// What no other snapshot has, nor one that is taken again under the same name.
fn known_by(one: &snapshot::Snapshot) -> Result<Value, ToolError> {
    Ok(json!([one.id, txg(one)?]))
}

/// The same of several, and what holds each.
fn known_and_held_by(all: &[snapshot::Snapshot]) -> Result<Value, ToolError> {
    all.iter().map(|one| known_by(one).map(|known| json!([known, holds_of(one)]))).collect()
}

fn holds_of(one: &snapshot::Snapshot) -> Vec<&str> {
    one.holds.keys().map(String::as_str).collect()
}

/// Bytes that only this snapshot keeps.
fn used(one: &snapshot::Snapshot) -> u64 {
    one.properties.get("used").and_then(Property::number).unwrap_or(0)
}

/// Names of the datasets that are clones of one of these snapshots.
async fn clones_of(
    nas: &Session<'_, Read>,
    snapshots: &[snapshot::Snapshot],
) -> Result<Vec<String>, ToolError> {
    let is_one = |dataset: &dataset::Dataset| {
        let origin = dataset.origin.as_ref().and_then(Property::text);
        origin.is_some_and(|origin| snapshots.iter().any(|one| one.id == origin))
    };
    let all = nas.call(dataset::Datasets, dataset::all()).await?;
    Ok(all.into_iter().filter(is_one).map(|dataset| dataset.id).collect())
}

/// Says what may hang on a snapshot: at most so many lines of it.
const SHOWN: usize = 20;

// snapshot_hold, snapshot_release

struct Hold;
struct Release;

/// So many snapshots of a dataset and of what lies below it a client may hold on its own word: what is held is never
/// deleted by a schedule, and all that are held for ever fill a pool.
const HELD_UNASKED: usize = 16;

/// Says in which quotas counts what a snapshot of this dataset keeps, of the dataset and of those it lies in. Where there is one, a
/// client's word is not enough.
pub(super) async fn counts_in_quotas(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
    draft: &mut Draft,
) -> Result<(), ToolError> {
    let mut next = Some(path.clone());
    while let Some(of) = next {
        let found = one_dataset(nas, &of).await?;
        let number = |property: &Option<Property>| property.as_ref().and_then(Property::number);
        if let Some(bytes) = number(&found.quota).filter(|bytes| *bytes > 0) {
            let left = number(&found.used).map(|used| size(bytes.saturating_sub(used)));
            draft.stops.push(format!(
                "What it keeps counts in the quota of {of} ({}, of which {} is left): writing there fails once that is used \
                 up, and deleting files does not help.",
                size(bytes),
                left.unwrap_or_else(|| "an unknown rest".to_owned())
            ));
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        next = above(&of).ok();
    }
    Ok(())
}

impl Change for Hold {
    const NAME: &'static str = "snapshot_hold";
    const TITLE: &'static str = "Hold a snapshot";
    const DESCRIPTION: &'static str = "Keeps a snapshot from being deleted, by a schedule too, until \
        snapshot_release. Since TrueNAS 25.10.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![snapshot::Snapshots, dataset::Datasets];
    const NEEDS: &'static [Need] = needs![snapshot::Hold];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("recursive", Log::Plain)];
    type Args = SnapshotArgs;

    fn target(args: &SnapshotArgs) -> String {
        args.snapshot.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &SnapshotArgs) -> Result<Draft, ToolError> {
        nas.require(snapshot::Hold).await?;
        let (dataset, _) = parts(&args.snapshot)?;
        let all = nas.call(snapshot::Snapshots, snapshot::with_holds(snapshot::within(&dataset))).await?;
        let held_already = all.iter().filter(|one| one.holds.contains_key(OURS)).count();
        let found = args.among(
            all.into_iter().filter(|one| args.recursive || one.id == args.snapshot.as_str()).collect(),
        )?;
        // One that is held already makes the NAS refuse all of them.
        if let Some(held) = found.iter().find(|one| one.holds.contains_key(OURS)) {
            return Err(ToolError::inapplicable(
                format!("{} is held already.", foreign(&held.id, 255)),
                "Hold those that are not, one by one.",
            ));
        }
        let mut draft = Draft::new(
            format!("Keep {} from being deleted until it is released.", args.which(&found)),
            Self::RISK,
            Undo::call(Release::NAME, json!({ "snapshot": args.snapshot, "recursive": args.recursive })),
            subject(&dataset),
            Fingerprint::of(&known_and_held_by(&found)?),
        );
        let held = |one: &snapshot::Snapshot| {
            let before = if one.holds.is_empty() { "can be deleted" } else { "held by a replication" };
            let what = format!("snapshot {}", foreign(&one.id, 255));
            Alteration::new(what, Some(before.to_owned()), Some("held".to_owned()))
        };
        draft.changes = found.iter().take(SHOWN).map(held).collect();
        draft.warnings.push(format!(
            "A hold has no end of its own: until it is released the space that only it keeps ({} now, more with all that \
             is changed or deleted) stays taken, and its dataset cannot be destroyed.",
            size(found.iter().map(used).sum())
        ));
        counts_in_quotas(nas, &dataset, &mut draft).await?;
        let held = held_already + found.len();
        if held > HELD_UNASKED {
            draft.warnings.push(format!("With it {held} snapshots of {dataset} and below it are held so."));
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: SnapshotArgs) -> Result<Done, ToolError> {
        let below = args.and_below();
        let SnapshotArgs { snapshot, recursive } = args;
        nas.call(snapshot::Hold, (snapshot.clone(), AndBelow { recursive })).await?;
        Ok(Done::now(format!("{snapshot} is held{below}.")))
    }
}

impl Change for Release {
    const NAME: &'static str = "snapshot_release";
    const TITLE: &'static str = "Release a snapshot";
    const DESCRIPTION: &'static str = "Takes away what keeps a snapshot from being deleted: a schedule may \
        delete it then. Since TrueNAS 25.10.";
    const SCOPE: Scope = Scope::StorageWrite;
    /// Nothing is lost by it, but a schedule or a script may be waiting to delete what it releases.
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![snapshot::Snapshots];
    const NEEDS: &'static [Need] = needs![snapshot::Release];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("recursive", Log::Plain)];
    type Args = SnapshotArgs;

    fn target(args: &SnapshotArgs) -> String {
        args.snapshot.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &SnapshotArgs) -> Result<Draft, ToolError> {
        nas.require(snapshot::Release).await?;
        let found = args.find(nas).await?;
        if let Some(free) = found.iter().find(|one| one.holds.is_empty()) {
            return Err(ToolError::inapplicable(
                format!("Nothing holds {}.", foreign(&free.id, 255)),
                "Release those that are held, one by one.",
            ));
        }
        let (dataset, _) = parts(&args.snapshot)?;
        let others: BTreeSet<_> = found.iter().flat_map(holds_of).filter(|tag| *tag != OURS).collect();
        let undo = if others.is_empty() {
            Undo::call(Hold::NAME, json!({ "snapshot": args.snapshot, "recursive": args.recursive }))
        } else {
            Undo::Words(format!("{} holds it again, though not in the name of a replication", Hold::NAME))
        };
        let mut draft = Draft::new(
            format!("Let {} be deleted again, by whoever may.", args.which(&found)),
            Self::RISK,
            undo,
            subject(&dataset),
            Fingerprint::of(&known_and_held_by(&found)?),
        );
        let released = |one: &snapshot::Snapshot| {
            let what = format!("snapshot {}", foreign(&one.id, 255));
            let tags = foreign(&holds_of(one).join(", "), 100);
            Alteration::new(what, Some(format!("held ({tags})")), Some("can be deleted".to_owned()))
        };
        draft.changes = found.iter().take(SHOWN).map(released).collect();
        draft.warnings.push("If its time is over, a schedule deletes it at its next run.".to_owned());
        if !others.is_empty() {
            draft.warnings.push(
                "A replication that has not sent it yet holds it: without it that may have to begin anew."
                    .to_owned(),
            );
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: SnapshotArgs) -> Result<Done, ToolError> {
        let below = args.and_below();
        let SnapshotArgs { snapshot, recursive } = args;
        nas.call(snapshot::Release, (snapshot.clone(), AndBelow { recursive })).await?;
        Ok(Done::now(format!("Nothing holds {snapshot} any more{below}.")))
    }
}

// snapshot_clone

struct MakeClone;

/// So many clones of a dataset's snapshots a client may make on its own word: each keeps its snapshot from being deleted, by
/// a schedule too.
const CLONED_UNASKED: usize = 16;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CloneArgs {
    /// In full, tank/photos@daily.
    snapshot: SnapshotName,
    /// Path of the new dataset, on the same pool.
    dataset: DatasetPath,
}

impl Change for MakeClone {
    const NAME: &'static str = "snapshot_clone";
    const TITLE: &'static str = "Clone a snapshot";
    const DESCRIPTION: &'static str = "Makes a new dataset of what a snapshot holds: the way to an old \
        state without losing the new one. Since TrueNAS 25.10.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![
        snapshot::Snapshots,
        dataset::Datasets,
        dataset::DatasetCount,
        resource::Resources,
        share::SmbShares,
        share::NfsShares,
        file::Count
    ];
    const NEEDS: &'static [Need] = needs![snapshot::MakeClone];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("dataset", Log::Plain)];
    type Args = CloneArgs;

    fn target(args: &CloneArgs) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &CloneArgs) -> Result<Draft, ToolError> {
        let CloneArgs { snapshot, dataset: path } = args;
        nas.require(snapshot::MakeClone).await?;
        let (of, _) = parts(snapshot)?;
        let Some(found) = nas.call(snapshot::Snapshots, snapshot::one(snapshot)).await?.pop() else {
            return Err(no_such_snapshot(snapshot));
        };
        if of.pool() != path.pool() {
            return Err(ToolError::inapplicable(
                format!("{snapshot} is on the pool {}, and a clone stays on its pool.", of.pool()),
                "Choose a path on the same pool.",
            ));
        }
        let above = above(path)?;
        let lies_in = one_dataset(nas, &above).await?;
        is_free(nas, path).await?;
        hides_nothing(nas, path).await?;
        let (given_by, unseen) = given_by(nas, path).await?;
        let mut draft = Draft::new(
            format!("Make the dataset {path} of what {snapshot} holds."),
            Self::RISK,
            Undo::call("dataset_delete", json!({ "dataset": path })),
            subject(path),
            Fingerprint::of(&json!([known_by(&found)?, identity(nas, &above, &lies_in).await?, given_by])),
        );
        let referenced = found.properties.get("referenced").and_then(Property::number);
        let holds = referenced.map_or_else(|| "what it holds".to_owned(), size);
        draft.changes.push(Alteration::new(format!("dataset {path}"), None, Some(holds)));
        draft.warnings.push(format!("{snapshot} cannot be deleted as long as the clone is there."));
        counts_in_quotas(nas, &of, &mut draft).await?;
        not_too_many(nas, path, &mut draft).await?;
        let snapshots = nas.call(snapshot::Snapshots, snapshot::of(&of)).await?;
        let clones = clones_of(nas, &snapshots).await?.len() + 1;
        if clones > CLONED_UNASKED {
            draft.warnings.push(format!("With it there are {clones} clones of snapshots of {of}."));
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        // What was in nobody's reach may come into somebody's.
        if !given_by.is_empty() || !unseen.is_empty() {
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        draft.warnings.extend(
            given_by.iter().map(|share| format!("It lies in what {share} gives, and so may be given too.")),
        );
        draft.unseen = unseen;
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: CloneArgs) -> Result<Done, ToolError> {
        let CloneArgs { snapshot, dataset } = args;
        let new = snapshot::NewClone { snapshot: snapshot.clone(), dataset_dst: dataset.clone() };
        nas.call(snapshot::MakeClone, (new,)).await?;
        Ok(Done::now(format!("Made {dataset} of what {snapshot} holds.")))
    }
}

/// There are no files where the dataset would be mounted: it would lie over them, and whoever uses them, as an app does
/// that has a folder there, would find others. For a clone the NAS does not look.
async fn hides_nothing(nas: &Session<'_, Read>, path: &DatasetPath) -> Result<(), ToolError> {
    let folder = format!("/mnt/{path}");
    let in_the_way = |what: &str| {
        ToolError::inapplicable(
            format!("{what} {}, and the clone would lie over it.", foreign(&folder, 260)),
            "Choose another path.",
        )
    };
    let place: FilePath = folder.parse().map_err(|_| in_the_way("Nobody can look at"))?;
    match nas.call(file::Count, Then(place, Query::all())).await {
        Ok(0) | Err(NasError::NotFound { .. }) => Ok(()),
        Ok(_) => Err(in_the_way("There are files in")),
        Err(NasError::Refused { .. }) => Err(in_the_way("There is something at")),
        Err(error) => Err(error.into()),
    }
}

/// The shares that give what lies at this path, or what it lies in; and what could not be seen of that.
async fn given_by(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
) -> Result<(Vec<String>, Vec<String>), ToolError> {
    let mut seen = Seen::default();
    let inside = |folder: &str| {
        let rest = format!("/mnt/{path}").strip_prefix(folder).map(str::to_owned);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let smb = seen.or_default("SMB shares", nas.call(share::SmbShares, Query::all()).await)?;
    let nfs = seen.or_default("NFS shares", nas.call(share::NfsShares, Query::all()).await)?;
    let smb = smb.iter().filter(|share| share.enabled != Some(false));
    let smb = smb.filter(|share| share.path.as_deref().is_some_and(inside));
    let nfs = nfs.iter().filter(|share| share.enabled != Some(false) && inside(&share.path));
    let mut given_by: Vec<_> = smb
        .map(|share| format!("the SMB share {}", foreign(&share.name, 80)))
        .chain(nfs.map(|share| format!("the NFS share {}", foreign(&share.path, 120))))
        .collect();
    given_by.sort();
    Ok((given_by, seen.not))
}

// snapshot_rollback

struct Rollback;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollbackArgs {
    /// In full, tank/photos@daily.
    snapshot: SnapshotName,
    /// Destroy the newer snapshots of its dataset, without which it cannot go back. Default: no.
    #[serde(default)]
    destroy_newer: bool,
}

impl Change for Rollback {
    const NAME: &'static str = "snapshot_rollback";
    const TITLE: &'static str = "Take a dataset back to a snapshot";
    const DESCRIPTION: &'static str = "Takes a dataset back to a snapshot: all written since is lost. snapshot_clone loses nothing. Since TrueNAS 25.10.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![
        snapshot::Snapshots,
        dataset::Datasets,
        dataset::Attachments,
        resource::Resources,
        client::Smb,
        client::Nfs4,
        client::Nfs3,
        client::Iscsi,
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        app::Apps
    ];
    const NEEDS: &'static [Need] = needs![snapshot::Rollback];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("destroy_newer", Log::Plain)];
    type Args = RollbackArgs;

    fn target(args: &RollbackArgs) -> String {
        args.snapshot.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &RollbackArgs) -> Result<Draft, ToolError> {
        let RollbackArgs { snapshot, destroy_newer } = args;
        nas.require(snapshot::Rollback).await?;
        let (path, _) = parts(snapshot)?;
        let dataset = one_dataset(nas, &path).await?;
        let all = nas.call(snapshot::Snapshots, snapshot::with_holds(snapshot::of(&path))).await?;
        let to = all.iter().find(|one| one.id == snapshot.as_str());
        let to = to.ok_or_else(|| no_such_snapshot(snapshot))?;
        let newer = newer(&all, to)?;
        if !newer.is_empty() && !destroy_newer {
            let names: Vec<_> = newer.iter().take(SHOWN).map(|one| foreign(&one.id, 255)).collect();
            return Err(ToolError::inapplicable(
                format!(
                    "Going back would destroy {} that came after {snapshot}: {}.",
                    count(newer.len(), "snapshot"),
                    names.join(", ")
                ),
                "snapshot_clone makes the old state a dataset of its own and loses nothing. If they are not wanted, \
                 plan it with destroy_newer.",
            ));
        }
        if let Some(held) = newer.iter().find(|one| !one.holds.is_empty()) {
            return Err(ToolError::inapplicable(
                format!("{} is newer, and held.", foreign(&held.id, 255)),
                "snapshot_clone loses nothing; snapshot_release lets it be destroyed.",
            ));
        }
        if let Some(clone) = clones_of(nas, &newer).await?.first() {
            return Err(ToolError::inapplicable(
                format!(
                    "{} is a clone of a newer snapshot, and would have to be destroyed.",
                    foreign(clone, 200)
                ),
                "snapshot_clone loses nothing.",
            ));
        }
        let mut unseen = Vec::new();
        let dependents = users_of(nas, &path, &mut unseen).await?;

        let bytes = newer.iter().map(used).sum();
        let taken = to.properties.get("creation").and_then(Property::time).map(time);
        let when = taken.clone().unwrap_or_else(|| "it was taken".to_owned());
        let with = match newer.len() {
            0 => String::new(),
            some => format!(", and {} with at least {}", count(some, "newer snapshot"), size(bytes)),
        };
        let newer_ones = newer.iter().map(known_by).collect::<Result<Vec<_>, _>>()?;
        let uses: Vec<_> = dependents.iter().map(|used| &used.name).collect();
        let facts = json!([identity(nas, &path, &dataset).await?, known_by(to)?, newer_ones, uses]);
        let mut draft = Draft::new(
            format!("Take {path} back to {snapshot}: everything written since {when} is lost{with}."),
            Self::RISK,
            Undo::Impossible("what was written since is kept nowhere".to_owned()),
            subject(&path),
            Fingerprint::of(&facts),
        );
        let as_of = taken.map_or_else(|| "as it was then".to_owned(), |at| format!("as it was at {at}"));
        draft.changes.push(Alteration::new(
            format!("dataset {path}"),
            Some("as it is now".to_owned()),
            Some(as_of),
        ));
        draft.changes.extend(newer.iter().take(SHOWN).map(|one| {
            Alteration::new(format!("snapshot {}", foreign(&one.id, 255)), Some(size(used(one))), None)
        }));
        if newer.len() > SHOWN {
            draft
                .warnings
                .push(format!("{} in all are destroyed; the newest are not shown here.", newer.len()));
        }
        if !newer.is_empty() {
            draft.warnings.push(
                "A replication that builds on one of the newer snapshots has to begin anew.".to_owned(),
            );
            draft.bytes = Some(bytes);
        }
        draft.warnings.push("Datasets below it stay as they are.".to_owned());
        let loses = |used: &Dependent| format!("{} finds its files as they were, under its feet", used.name);
        draft.stops = dependents.iter().map(loses).collect();
        let mut seen = Seen { not: unseen };
        draft.stops.extend(connected(nas, &serving(&dependents), &mut seen).await?);
        (draft.dependents, draft.unseen) = (dependents, seen.not);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: RollbackArgs) -> Result<Done, ToolError> {
        let RollbackArgs { snapshot, destroy_newer } = args;
        let options = snapshot::RollbackOptions { recursive: destroy_newer };
        nas.call(snapshot::Rollback, (snapshot.clone(), options)).await?;
        Ok(Done::now(format!("Its dataset is what {snapshot} holds.")))
    }
}

fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

/// The snapshots of the same dataset that were taken after `than`, the oldest first.
fn newer(
    all: &[snapshot::Snapshot],
    than: &snapshot::Snapshot,
) -> Result<Vec<snapshot::Snapshot>, ToolError> {
    // By transaction and not by time: clocks are set.
    let taken = all.iter().map(|one| txg(one).map(|txg| (txg, one)));
    let mut order = taken.collect::<Result<Vec<_>, ToolError>>()?;
    let than = txg(than)?;
    order.sort_by_key(|(txg, _)| *txg);
    Ok(order.into_iter().filter(|(txg, _)| *txg > than).map(|(_, one)| one.clone()).collect())
}

// snapshot_delete

struct Delete;

/// What a deletion of so many snapshots loses that keep so many bytes, each of them alone.
fn lost(bytes: u64, snapshots: usize) -> String {
    match (bytes, snapshots) {
        (0, 1) => "It keeps nothing that is not elsewhere too.".to_owned(),
        (0, _) => "None of them alone keeps anything; what only they together keep is lost.".to_owned(),
        (bytes, _) => format!("At least {} that only it keeps are lost.", size(bytes)),
    }
}

impl Change for Delete {
    const NAME: &'static str = "snapshot_delete";
    const TITLE: &'static str = "Delete a snapshot";
    const DESCRIPTION: &'static str = "Deletes a snapshot, on request those of the same name below its \
        dataset too. What only they keep is lost.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![snapshot::Snapshots, dataset::Datasets];
    const NEEDS: &'static [Need] = needs![snapshot::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("recursive", Log::Plain)];
    type Args = SnapshotArgs;

    fn target(args: &SnapshotArgs) -> String {
        args.snapshot.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &SnapshotArgs) -> Result<Draft, ToolError> {
        let (dataset, _) = parts(&args.snapshot)?;
        let found = args.find(nas).await?;
        if let Some(held) = found.iter().find(|one| !one.holds.is_empty()) {
            return Err(ToolError::inapplicable(
                format!("{} is held, and cannot be deleted.", foreign(&held.id, 255)),
                "snapshot_release releases it, if it is not wanted any more.",
            ));
        }
        if let Some(clone) = clones_of(nas, &found).await?.first() {
            return Err(ToolError::inapplicable(
                format!(
                    "{} is a clone of it, and ZFS keeps a snapshot that has clones.",
                    foreign(clone, 200)
                ),
                "Delete the clone first, if it is not wanted.",
            ));
        }
        let bytes = found.iter().map(used).sum();
        let mut draft = Draft::new(
            format!("Delete {}. {}", args.which(&found), lost(bytes, found.len())),
            Self::RISK,
            Undo::Impossible("a deleted snapshot cannot be made again".to_owned()),
            subject(&dataset),
            Fingerprint::of(&found.iter().map(known_by).collect::<Result<Value, ToolError>>()?),
        );
        draft.changes = found
            .iter()
            .take(SHOWN)
            .map(|one| {
                Alteration::new(format!("snapshot {}", foreign(&one.id, 255)), Some(size(used(one))), None)
            })
            .collect();
        draft.bytes = Some(bytes);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: SnapshotArgs) -> Result<Done, ToolError> {
        let below = args.and_below();
        let SnapshotArgs { snapshot, recursive } = args;
        nas.call(snapshot::Delete, (snapshot.clone(), AndBelow { recursive })).await?;
        Ok(Done::now(format!("Deleted the snapshot {snapshot}{below}.")))
    }
}
