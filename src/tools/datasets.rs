//! Making, setting aside, bringing back and destroying datasets, and deleting snapshots.
//!
//! A snapshot dies with its dataset, so that no snapshot makes the deletion of a dataset safe. Where the NAS can
//! rename, what is deleted is only set aside under another name; destroying it is another change, later.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, SnapshotName};
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::{dataset, resource, snapshot};
use crate::nas::{NasError, Session};

use super::render::{foreign, size};
use super::storage::{identity, one_dataset, subject};
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<Create>(),
        Entry::change::<Delete>(),
        Entry::change::<Restore>(),
        Entry::change::<Purge>(),
        Entry::change::<DeleteSnapshot>(),
    ]
}

/// What stands behind the name of a dataset that was set aside.
const ASIDE: &str = ".quarantine";

/// Longest comment, in characters.
const COMMENT: usize = 500;

fn inapplicable(what: String, hint: &str) -> ToolError {
    ToolError::Inapplicable { what, hint: hint.to_owned() }
}

/// What a dataset is, what is in it and what uses it.
struct Held {
    dataset: dataset::Dataset,
    identity: Value,
    below: Vec<String>,
    snapshots: u64,
    dependents: Vec<Dependent>,
    unseen: Vec<String>,
}

impl Held {
    async fn of(nas: &Session<'_, Read>, path: &DatasetPath) -> Result<Self, ToolError> {
        if !path.as_str().contains('/') {
            return Err(inapplicable(
                format!("{path} is the root of a pool."),
                "A pool is exported or destroyed in the TrueNAS web interface, and not here.",
            ));
        }
        let dataset = one_dataset(nas, path).await?;
        let identity = identity(nas, path, &dataset).await?;
        let below = nas.call(dataset::Datasets, dataset::below(path)).await?;
        let snapshots = nas.call(snapshot::Count, snapshot::within(path)).await?;
        let mut unseen = Vec::new();
        let attached = match nas.call(dataset::Attachments, (path.clone(),)).await {
            Ok(attached) => attached,
            Err(error @ (NasError::NotAuthorized { .. } | NasError::NoSuchMethod { .. })) => {
                unseen.push(format!("what uses it: {error}"));
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let mut dependents: Vec<_> = attached
            .iter()
            .flat_map(|of_a_kind| {
                let kind = foreign(&of_a_kind.kind, 40);
                of_a_kind.attachments.iter().map(move |name| Dependent {
                    kind: "in use",
                    name: format!("{kind} {}", foreign(name, 80)),
                })
            })
            .collect();
        dependents.sort();
        let mut below: Vec<_> = below.into_iter().map(|dataset| dataset.id).collect();
        below.sort();
        Ok(Self { dataset, identity, below, snapshots, dependents, unseen })
    }

    fn bytes(&self) -> Option<u64> {
        self.dataset.used.as_ref().and_then(crate::nas::wire::Property::number)
    }

    /// `412 GiB, 2 datasets below it, 3 snapshots`.
    fn contents(&self) -> String {
        let bytes = self.bytes().map_or_else(|| "an unknown amount of data".to_owned(), size);
        let below = match self.below.len() {
            0 => String::new(),
            1 => ", 1 dataset below it".to_owned(),
            more => format!(", {more} datasets below it"),
        };
        let snapshots = if self.snapshots == 1 { "snapshot" } else { "snapshots" };
        let uses = match &self.dependents[..] {
            [] => String::new(),
            [one] => format!("; {} uses it", one.name),
            more => format!("; {} things use it", more.len()),
        };
        format!("{bytes}{below}, {} {snapshots}{uses}", self.snapshots)
    }

    /// What it is and what hangs on it. Data that grows is no change, and nor is one more snapshot of what is only
    /// set aside.
    fn fingerprint(&self, with_snapshots: bool) -> Fingerprint {
        let uses: Vec<_> = self.dependents.iter().map(|dependent| &dependent.name).collect();
        let snapshots = with_snapshots.then_some(self.snapshots);
        Fingerprint::of(&json!([self.identity, self.below, uses, snapshots]))
    }
}

fn set_aside(path: &DatasetPath) -> Result<DatasetPath, ToolError> {
    format!("{path}{ASIDE}").parse().map_err(|error| {
        inapplicable(format!("{path} cannot be set aside: {error}."), "Rename it in the web interface first.")
    })
}

fn brought_back(path: &DatasetPath) -> Result<DatasetPath, ToolError> {
    path.as_str().strip_suffix(ASIDE).and_then(|name| name.parse().ok()).ok_or_else(|| {
        inapplicable(
            format!("{path} was not set aside: its name does not end in {ASIDE}."),
            "dataset_delete sets a dataset aside.",
        )
    })
}

/// There is nothing of this name yet, and what it would lie in is there.
async fn is_free(nas: &Session<'_, Read>, path: &DatasetPath) -> Result<(), ToolError> {
    if nas.call(dataset::Datasets, dataset::one(path)).await?.is_empty() {
        return Ok(());
    }
    Err(inapplicable(
        format!("There is a dataset {path} already."),
        "Choose another name, or look at that one.",
    ))
}

// dataset_create

struct Create;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateArgs {
    /// Its path; what it lies in is there already.
    dataset: DatasetPath,
    /// Most that it and all below it may take. Default: no limit.
    #[serde(default)]
    quota_bytes: Option<u64>,
    /// Words about it.
    #[serde(default)]
    comment: Option<String>,
}

impl Change for Create {
    const NAME: &'static str = "dataset_create";
    const TITLE: &'static str = "Create a dataset";
    const DESCRIPTION: &'static str = "Makes an empty filesystem in a pool or dataset.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![dataset::Datasets, resource::Resources];
    const NEEDS: &'static [Need] = needs![dataset::Create];
    const LOG: &'static [(&'static str, Log)] =
        &[("dataset", Log::Plain), ("quota_bytes", Log::Plain), ("comment", Log::Len)];
    type Args = CreateArgs;

    fn target(args: &CreateArgs) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &CreateArgs) -> Result<Draft, ToolError> {
        let CreateArgs { dataset: path, quota_bytes, comment } = args;
        if comment.as_ref().is_some_and(|comment| comment.chars().count() > COMMENT) {
            let what = format!("The comment is longer than {COMMENT} characters.");
            return Err(inapplicable(what, "Say it in fewer words."));
        }
        // The NAS takes less than this for a mistake.
        if quota_bytes.is_some_and(|quota| quota < 1 << 30) {
            return Err(inapplicable(
                "The quota is below 1 GiB.".to_owned(),
                "Choose more, or leave it away for none.",
            ));
        }
        let above = path.as_str().rsplit_once('/').and_then(|(above, _)| above.parse::<DatasetPath>().ok());
        let Some(above) = above else {
            return Err(inapplicable(
                format!("{path} would be a pool."),
                "Pools are made in the TrueNAS web interface.",
            ));
        };
        let found = one_dataset(nas, &above).await?;
        is_free(nas, path).await?;
        let quota = quota_bytes.map(|quota| format!(", with a quota of {}", size(quota))).unwrap_or_default();
        let mut draft = Draft::new(
            format!("Make the empty dataset {path}{quota}."),
            Self::RISK,
            Undo::call("dataset_delete", json!({ "dataset": path })),
            subject(path),
            Fingerprint::of(&identity(nas, &above, &found).await?),
        );
        draft.changes.push(Alteration::new(format!("dataset {path}"), None, Some("empty".to_owned())));
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: CreateArgs) -> Result<Done, ToolError> {
        let CreateArgs { dataset: path, quota_bytes, comment } = args;
        let new = dataset::NewFilesystem::at(path.clone(), quota_bytes, comment);
        nas.call(dataset::Create, (new,)).await?;
        Ok(Done::now(format!("Made the dataset {path}.")))
    }
}

// dataset_delete

struct Delete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneDataset {
    /// Its path.
    dataset: DatasetPath,
}

impl Change for Delete {
    const NAME: &'static str = "dataset_delete";
    const TITLE: &'static str = "Delete a dataset";
    const DESCRIPTION: &'static str = "Sets a dataset aside under another name, with all in it: what uses it loses it, and dataset_restore brings it \
         back. TrueNAS 25.04 cannot rename, and there it is destroyed at once; the plan says which.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] =
        needs![dataset::Datasets, dataset::Attachments, snapshot::Count, resource::Resources];
    const NEEDS: &'static [Need] = needs![dataset::Rename, dataset::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("dataset", Log::Plain)];
    type Args = OneDataset;

    fn target(args: &OneDataset) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneDataset) -> Result<Draft, ToolError> {
        let path = &args.dataset;
        let held = Held::of(nas, path).await?;
        let (how, undo) = if nas.has(dataset::Rename).await? {
            let aside = set_aside(path)?;
            is_free(nas, &aside).await?;
            let undo = Undo::call("dataset_restore", json!({ "dataset": aside }));
            (format!("It is set aside as {aside}, and no data is lost."), undo)
        } else {
            let why = "this TrueNAS cannot rename a dataset; it is destroyed with its snapshots".to_owned();
            ("It is destroyed, with its snapshots.".to_owned(), Undo::Impossible(why))
        };
        let mut draft = Draft::new(
            format!("Delete {path}: {}. {how}", held.contents()),
            Self::RISK,
            undo.clone(),
            subject(path),
            held.fingerprint(!undo.is_possible()),
        );
        draft.changes.push(Alteration::new(format!("dataset {path}"), Some(held.contents()), None));
        draft.stops =
            held.dependents.iter().map(|used| format!("{} no longer finds it", used.name)).collect();
        (draft.bytes, draft.dependents, draft.unseen) = (held.bytes(), held.dependents, held.unseen);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: OneDataset) -> Result<Done, ToolError> {
        let path = args.dataset;
        if nas.has(dataset::Rename).await? {
            let aside = set_aside(&path)?;
            nas.call(dataset::Rename, (path.clone(), dataset::NewName::of(aside.clone()))).await?;
            return Ok(Done::now(format!("Set {path} aside as {aside}. Nothing of it is lost.")));
        }
        nas.call(dataset::Delete, (path.clone(), dataset::DeleteOptions { recursive: true })).await?;
        Ok(Done::now(format!("Destroyed {path} with all in it.")))
    }
}

// dataset_restore

struct Restore;

impl Change for Restore {
    const NAME: &'static str = "dataset_restore";
    const TITLE: &'static str = "Bring a deleted dataset back";
    const DESCRIPTION: &'static str =
        "Gives a dataset that dataset_delete set aside (its name ends in .quarantine) its old name again.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![dataset::Datasets, resource::Resources];
    const NEEDS: &'static [Need] = needs![dataset::Rename];
    const LOG: &'static [(&'static str, Log)] = &[("dataset", Log::Plain)];
    type Args = OneDataset;

    fn target(args: &OneDataset) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneDataset) -> Result<Draft, ToolError> {
        let back = brought_back(&args.dataset)?;
        nas.require(dataset::Rename).await?;
        let found = one_dataset(nas, &args.dataset).await?;
        is_free(nas, &back).await?;
        let mut draft = Draft::new(
            format!("Bring {} back as {back}.", args.dataset),
            Self::RISK,
            Undo::call("dataset_delete", json!({ "dataset": back })),
            subject(&back),
            Fingerprint::of(&identity(nas, &args.dataset, &found).await?),
        );
        let name = |path: &DatasetPath| Some(path.to_string());
        draft.changes.push(Alteration::new("name", name(&args.dataset), name(&back)));
        draft.warnings.push("Shares of the old path serve it again.".to_owned());
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: OneDataset) -> Result<Done, ToolError> {
        let back = brought_back(&args.dataset)?;
        nas.call(dataset::Rename, (args.dataset.clone(), dataset::NewName::of(back.clone()))).await?;
        Ok(Done::now(format!("{back} is there again.")))
    }
}

// dataset_purge

struct Purge;

impl Change for Purge {
    const NAME: &'static str = "dataset_purge";
    const TITLE: &'static str = "Destroy a dataset that was set aside";
    const DESCRIPTION: &'static str = "Destroys a dataset that dataset_delete set aside (its name ends in .quarantine), with its snapshots and all \
         below it. For good.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] =
        needs![dataset::Datasets, dataset::Attachments, snapshot::Count, resource::Resources];
    const NEEDS: &'static [Need] = needs![dataset::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("dataset", Log::Plain)];
    type Args = OneDataset;

    fn target(args: &OneDataset) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneDataset) -> Result<Draft, ToolError> {
        let path = &args.dataset;
        brought_back(path)?;
        let held = Held::of(nas, path).await?;
        let why = "its snapshots are destroyed with it".to_owned();
        let mut draft = Draft::new(
            format!("Destroy {path} for good: {}.", held.contents()),
            Self::RISK,
            Undo::Impossible(why),
            subject(path),
            held.fingerprint(true),
        );
        draft.changes.push(Alteration::new(format!("dataset {path}"), Some(held.contents()), None));
        (draft.bytes, draft.dependents, draft.unseen) = (held.bytes(), held.dependents, held.unseen);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: OneDataset) -> Result<Done, ToolError> {
        let path = args.dataset;
        nas.call(dataset::Delete, (path.clone(), dataset::DeleteOptions { recursive: true })).await?;
        Ok(Done::now(format!("Destroyed {path} with all in it.")))
    }
}

// snapshot_delete

struct DeleteSnapshot;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteSnapshotArgs {
    /// In full, tank/photos@daily.
    snapshot: SnapshotName,
    /// The snapshots of that name below its dataset too. Default: no.
    #[serde(default)]
    recursive: bool,
}

impl DeleteSnapshotArgs {
    fn parts(&self) -> Result<(DatasetPath, &str), ToolError> {
        let text = self.snapshot.as_str();
        text.split_once('@')
            .and_then(|(dataset, label)| Some((dataset.parse().ok()?, label)))
            .ok_or_else(|| inapplicable(format!("{text} is no snapshot."), "Write it dataset@name."))
    }
}

impl Change for DeleteSnapshot {
    const NAME: &'static str = "snapshot_delete";
    const TITLE: &'static str = "Delete a snapshot";
    const DESCRIPTION: &'static str = "Deletes a snapshot, on request those of the same name below its dataset too. What only they keep is lost.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![snapshot::Snapshots, dataset::Datasets];
    const NEEDS: &'static [Need] = needs![snapshot::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("snapshot", Log::Plain), ("recursive", Log::Plain)];
    type Args = DeleteSnapshotArgs;

    fn target(args: &DeleteSnapshotArgs) -> String {
        args.snapshot.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &DeleteSnapshotArgs) -> Result<Draft, ToolError> {
        let (dataset, label) = args.parts()?;
        let query = if args.recursive { snapshot::within(&dataset) } else { snapshot::one(&args.snapshot) };
        let mut found = nas.call(snapshot::Snapshots, query).await?;
        found.retain(|one| one.snapshot_name.as_deref() == Some(label));
        found.sort_by(|one, other| one.id.cmp(&other.id));
        if !found.iter().any(|one| one.id == args.snapshot.as_str()) {
            return Err(inapplicable(
                format!("There is no snapshot {}.", args.snapshot),
                "snapshots_list shows which there are.",
            ));
        }
        let clones: Vec<_> = nas
            .call(dataset::Datasets, dataset::all())
            .await?
            .into_iter()
            .filter(|dataset| {
                let origin = dataset.origin.as_ref().and_then(crate::nas::wire::Property::text);
                origin.is_some_and(|origin| found.iter().any(|one| one.id == origin))
            })
            .map(|dataset| dataset.id)
            .collect();
        if let Some(clone) = clones.first() {
            return Err(inapplicable(
                format!(
                    "{} is a clone of it, and ZFS keeps a snapshot that has clones.",
                    foreign(clone, 200)
                ),
                "Delete the clone first, if it is not wanted.",
            ));
        }
        let used = |one: &snapshot::Snapshot| {
            one.properties.get("used").and_then(crate::nas::wire::Property::number).unwrap_or(0)
        };
        let bytes = found.iter().map(used).sum();
        let which = match found.len() {
            1 => format!("Delete the snapshot {}", args.snapshot),
            more => format!("Delete the {more} snapshots @{label} of {dataset} and below it"),
        };
        let identities: Vec<_> = found.iter().map(|one| json!([one.id, one.createtxg])).collect();
        let mut draft = Draft::new(
            format!("{which}. At least {} that only it keeps are lost.", size(bytes)),
            Self::RISK,
            Undo::Impossible("a deleted snapshot cannot be made again".to_owned()),
            subject(&dataset),
            Fingerprint::of(&Value::Array(identities)),
        );
        draft.changes = found
            .iter()
            .take(20)
            .map(|one| {
                Alteration::new(format!("snapshot {}", foreign(&one.id, 255)), Some(size(used(one))), None)
            })
            .collect();
        draft.bytes = Some(bytes);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: DeleteSnapshotArgs) -> Result<Done, ToolError> {
        let DeleteSnapshotArgs { snapshot, recursive } = args;
        nas.call(snapshot::Delete, (snapshot.clone(), snapshot::DeleteOptions { recursive })).await?;
        let below = if recursive { ", and those of the same name below it" } else { "" };
        Ok(Done::now(format!("Deleted the snapshot {snapshot}{below}.")))
    }
}
