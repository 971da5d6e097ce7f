//! Making, changing, setting aside, bringing back and destroying datasets.
//!
//! A snapshot dies with its dataset, so that no snapshot makes the deletion of a dataset safe. Where the NAS can
//! rename, what is deleted is only set aside under another name; destroying it is another change, later.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::DatasetPath;
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::query::Query;
use crate::nas::methods::{app, client, dataset, resource, share, snapshot};
use crate::nas::wire::Property;
use crate::nas::{NasError, Session};

use super::render::{foreign, size};
use super::seen::Seen;
use super::storage::{identities_below, identity, one_dataset, subject};
use super::users_of::{connected, serving};
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<Create>(),
        Entry::change::<Delete>(),
        Entry::change::<Restore>(),
        Entry::change::<Purge>(),
        Entry::change::<Update>(),
    ]
}

/// What stands behind the name of a dataset that was set aside.
const ASIDE: &str = ".quarantine";

/// Longest comment, in characters.
const COMMENT: usize = 500;

/// What a dataset is, what is in it and what uses it.
struct Held {
    dataset: dataset::Dataset,
    identity: Value,
    /// What lies below it, each by what no other has.
    below: Vec<Value>,
    snapshots: u64,
    dependents: Vec<Dependent>,
    unseen: Vec<String>,
}

impl Held {
    async fn of(nas: &Session<'_, Read>, path: &DatasetPath) -> Result<Self, ToolError> {
        if !path.as_str().contains('/') {
            return Err(ToolError::inapplicable(
                format!("{path} is the root of a pool."),
                "A pool is exported or destroyed in the TrueNAS web interface, and not here.",
            ));
        }
        let dataset = one_dataset(nas, path).await?;
        let identity = identity(nas, path, &dataset).await?;
        let below = identities_below(nas, path).await?;
        let snapshots = nas.call(snapshot::Count, snapshot::within(path)).await?;
        let mut unseen = Vec::new();
        let dependents = users_of(nas, path, &mut unseen).await?;
        Ok(Self { dataset, identity, below, snapshots, dependents, unseen })
    }

    fn bytes(&self) -> Option<u64> {
        self.dataset.used.as_ref().and_then(Property::number)
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

/// What on the NAS uses a dataset, something below it or, from further up, a folder that it lies in; in an order of its
/// own.
///
/// The NAS tells of what lies at the dataset or below it and is switched on. SMB gives the datasets below a share as well, and
/// so does Docker with a folder that it mounts; and what is switched off or a file loses its dataset like anything else.
pub(super) async fn users_of(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
    unseen: &mut Vec<String>,
) -> Result<Vec<Dependent>, ToolError> {
    let attached = match nas.call(dataset::Attachments, (path.clone(),)).await {
        Ok(attached) => attached,
        Err(error @ (NasError::NotAuthorized { .. } | NasError::NoSuchMethod { .. })) => {
            unseen.push(format!("what uses it: {error}"));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let called = |kind: &str, name: &str| format!("{} {}", foreign(kind, 40), foreign(name, 80));
    let mut users: Vec<_> = attached
        .iter()
        .flat_map(|of_a_kind| of_a_kind.attachments.iter().map(move |name| called(&of_a_kind.kind, name)))
        .collect();

    let mut seen = Seen::default();
    let smb = seen.or_default("SMB shares", nas.call(share::SmbShares, Query::all()).await)?;
    let nfs = seen.or_default("NFS shares", nas.call(share::NfsShares, Query::all()).await)?;
    let extents = seen.or_default("iSCSI extents", nas.call(share::Extents, Query::all()).await)?;
    let apps = seen.or_default("apps", nas.call(app::Apps, app::all()).await)?;
    let given = smb.iter().map(|one| ("SMB Share", &one.name, one.path.clone(), one.enabled));
    let given =
        given.chain(nfs.iter().map(|one| ("NFS Share", &one.path, Some(one.path.clone()), one.enabled)));
    let given = given.chain(extents.iter().map(|one| ("iSCSI Extent", &one.name, place(one), one.enabled)));
    let binds = apps.iter().flat_map(|app| {
        let volumes = app.active_workloads.volumes.iter();
        volumes.map(move |volume| ("App", &app.name, Some(volume.source.clone()), None))
    });
    let at = format!("/mnt/{path}");
    let lies_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for (kind, name, folder, enabled) in given.chain(binds) {
        let Some(folder) = folder else { continue };
        let below = lies_in(&folder, &at);
        if !below && !lies_in(&at, &folder) {
            continue;
        }
        let whence = if below { String::new() } else { format!(" (by {}, above it)", foreign(&folder, 120)) };
        let off = if enabled == Some(false) { " (switched off)" } else { "" };
        let user = format!("{}{whence}{off}", called(kind, name));
        if !users.contains(&user) {
            users.push(user);
        }
    }
    let rest: Vec<_> =
        apps.iter().filter(|app| app.state != "RUNNING").map(|app| app.name.as_str()).collect();
    if !rest.is_empty() {
        seen.not.push(format!("folders of apps that do not run: {}", foreign(&rest.join(", "), 200)));
    }
    unseen.append(&mut seen.not);
    users.sort();
    Ok(users.into_iter().map(|name| Dependent { kind: "in use by", name }).collect())
}

/// Where what an extent gives lies, as a path; volumes have theirs below `/mnt` here, as datasets have.
fn place(extent: &share::Extent) -> Option<String> {
    let at = extent.path.as_ref().or(extent.disk.as_ref())?;
    // A device is written with a plus sign for each space.
    Some(
        at.strip_prefix("zvol/")
            .map_or_else(|| at.clone(), |volume| format!("/mnt/{}", volume.replace('+', " "))),
    )
}

fn set_aside(path: &DatasetPath) -> Result<DatasetPath, ToolError> {
    format!("{path}{ASIDE}").parse().map_err(|error| {
        ToolError::inapplicable(
            format!("{path} cannot be set aside: {error}."),
            "Rename it in the web interface first.",
        )
    })
}

fn brought_back(path: &DatasetPath) -> Result<DatasetPath, ToolError> {
    path.as_str().strip_suffix(ASIDE).and_then(|name| name.parse().ok()).ok_or_else(|| {
        ToolError::inapplicable(
            format!("{path} was not set aside: its name does not end in {ASIDE}."),
            "dataset_delete sets a dataset aside.",
        )
    })
}

/// There is nothing of this name yet.
pub(super) async fn is_free(nas: &Session<'_, Read>, path: &DatasetPath) -> Result<(), ToolError> {
    if nas.call(dataset::Datasets, dataset::one(path)).await?.is_empty() {
        return Ok(());
    }
    Err(ToolError::inapplicable(
        format!("There is a dataset {path} already."),
        "Choose another name, or look at that one.",
    ))
}

/// What a new dataset lies in.
pub(super) fn above(path: &DatasetPath) -> Result<DatasetPath, ToolError> {
    let above = path.as_str().rsplit_once('/').and_then(|(above, _)| above.parse().ok());
    above.ok_or_else(|| {
        ToolError::inapplicable(
            format!("{path} would be a pool."),
            "Pools are made in the TrueNAS web interface.",
        )
    })
}

/// So many datasets of a pool a client may come to on its own word: each of them costs whenever the NAS starts.
const MADE_UNASKED: u64 = 256;

/// Has a person say whether there is to be one more on a pool that has so many.
pub(super) async fn not_too_many(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
    draft: &mut Draft,
) -> Result<(), ToolError> {
    let all = nas.call(dataset::DatasetCount, dataset::beside(path)).await? + 1;
    if all > MADE_UNASKED {
        draft.warnings.push(format!("With it the pool {} has {all} datasets.", path.pool()));
        draft.risk = draft.risk.max(Risk::Disruptive);
    }
    Ok(())
}

/// What the NAS would take for a mistake.
fn fits(quota_bytes: Option<u64>, comment: Option<&str>) -> Result<(), ToolError> {
    if comment.is_some_and(|comment| comment.chars().count() > COMMENT) {
        let what = format!("The comment is longer than {COMMENT} characters.");
        return Err(ToolError::inapplicable(what, "Say it in fewer words."));
    }
    if quota_bytes.is_some_and(|quota| quota < 1 << 30) {
        return Err(ToolError::inapplicable("The quota is below 1 GiB.", "Choose more, or none."));
    }
    Ok(())
}

// dataset_create

struct Create;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateArgs {
    /// Its path.
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
    const LOOKS: &'static [Need] = needs![dataset::Datasets, dataset::DatasetCount, resource::Resources];
    const NEEDS: &'static [Need] = needs![dataset::Create];
    const LOG: &'static [(&'static str, Log)] =
        &[("dataset", Log::Plain), ("quota_bytes", Log::Plain), ("comment", Log::Len)];
    type Args = CreateArgs;

    fn target(args: &CreateArgs) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &CreateArgs) -> Result<Draft, ToolError> {
        let CreateArgs { dataset: path, quota_bytes, comment } = args;
        fits(*quota_bytes, comment.as_deref())?;
        let above = above(path)?;
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
        not_too_many(nas, path, &mut draft).await?;
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: CreateArgs) -> Result<Done, ToolError> {
        let CreateArgs { dataset: path, quota_bytes, comment } = args;
        let new = dataset::NewFilesystem::at(path.clone(), quota_bytes, comment);
        nas.call(dataset::Create, (new,)).await?;
        Ok(Done::now(format!("Made the dataset {path}.")))
    }
}

// dataset_update

struct Update;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateArgs {
    /// Its path.
    dataset: DatasetPath,
    /// Most that it and all below it may take; 0 for no limit.
    #[serde(default)]
    quota_bytes: Option<u64>,
    /// How new data is compressed.
    #[serde(default)]
    compression: Option<Compression>,
    /// Whether it can only be read.
    #[serde(default)]
    read_only: Option<ReadOnly>,
    /// Words about it; empty for none.
    #[serde(default)]
    comment: Option<String>,
}

/// Compression; as what it lies in has it, where it is inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Compression {
    Off,
    Lz4,
    Zstd,
    Gzip,
    Inherit,
}

/// Whether something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ReadOnly {
    On,
    Off,
    Inherit,
}

impl Compression {
    const fn wire(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Lz4 => "LZ4",
            Self::Zstd => "ZSTD",
            Self::Gzip => "GZIP",
            Self::Inherit => INHERIT,
        }
    }
}

impl ReadOnly {
    const fn wire(self) -> &'static str {
        match self {
            Self::On => "ON",
            Self::Off => "OFF",
            Self::Inherit => INHERIT,
        }
    }
}

const INHERIT: &str = "INHERIT";

/// How a property is set: what one would write to set it so again.
fn set_to(property: Option<&Property>) -> String {
    let is_local = |property: &&Property| property.source.as_deref() == Some("LOCAL");
    let set = property.filter(is_local).and_then(Property::text);
    set.map_or_else(|| INHERIT.to_owned(), str::to_uppercase)
}

/// What is another, what it was, and how much worse that makes it.
#[derive(Default)]
struct Altered {
    changes: Vec<Alteration>,
    back: Map<String, Value>,
    /// What `back` cannot say.
    by_hand: Vec<String>,
    warnings: Vec<String>,
    stops: Vec<String>,
    disruptive: bool,
}

impl Altered {
    fn quota(
        &mut self,
        dataset: &dataset::Dataset,
        wanted: u64,
        dependents: &[Dependent],
    ) -> Result<(), ToolError> {
        if dataset.kind != "FILESYSTEM" {
            return Err(ToolError::inapplicable(
                format!("{} is a volume, and has a size rather than a quota.", dataset.id),
                "Leave quota_bytes away.",
            ));
        }
        fits((wanted > 0).then_some(wanted), None)?;
        let now = dataset.quota.as_ref().and_then(Property::number).unwrap_or(0);
        let used = dataset.used.as_ref().and_then(Property::number).unwrap_or(0);
        if wanted > 0 && wanted <= used {
            return Err(ToolError::inapplicable(
                format!(
                    "{} holds {} already, and the quota would be {}.",
                    dataset.id,
                    size(used),
                    size(wanted)
                ),
                "Choose more than it holds.",
            ));
        }
        if wanted == now {
            return Ok(());
        }
        // Tighter, and whoever writes is told that the disk is full, sooner than before; wider, and what kept one of them
        // from filling the pool is gone. Who writes there, from another machine or by a script, cannot all be seen.
        self.disruptive = true;
        if wanted > 0 && (now == 0 || wanted < now) {
            let left = size(wanted - used);
            self.stops.push(format!("Writing fails once the {left} that are left are taken."));
        } else {
            let most = if wanted == 0 { "all that the pool has".to_owned() } else { size(wanted) };
            self.warnings.push(format!(
                "Who writes there can take {most}. Nothing can be written to a pool that is full."
            ));
        }
        self.warnings.extend(dependents.iter().map(|used| format!("{} writes to it.", used.name)));
        let shown = |bytes: u64| Some(if bytes == 0 { "none".to_owned() } else { size(bytes) });
        self.changes.push(Alteration::new("quota", shown(now), shown(wanted)));
        self.back.insert("quota_bytes".to_owned(), json!(now));
        Ok(())
    }

    fn compression(&mut self, dataset: &dataset::Dataset, wanted: Compression) {
        let now = set_to(dataset.compression.as_ref());
        if now == wanted.wire() {
            return;
        }
        self.warnings
            .push("What is there already stays as it is; only new data is compressed so.".to_owned());
        match now.as_str() {
            "OFF" | "LZ4" | "ZSTD" | "GZIP" | INHERIT => {
                self.back.insert("compression".to_owned(), json!(now.to_lowercase()));
            }
            other => self.by_hand.push(format!("set compression to {}", foreign(other, 20))),
        }
        let shown = |text: &str| Some(foreign(text, 20).to_lowercase());
        self.changes.push(Alteration::new("compression", shown(&now), shown(wanted.wire())));
    }

    fn read_only(&mut self, dataset: &dataset::Dataset, wanted: ReadOnly, dependents: &[Dependent]) {
        let now = set_to(dataset.readonly.as_ref());
        if now == wanted.wire() {
            return;
        }
        // Who writes there cannot all be seen, from another machine or by a script. What an inherited setting comes to is not
        // looked up, and so is taken for both.
        self.disruptive = true;
        if wanted != ReadOnly::Off {
            self.stops.push("Whoever writes to it, by whatever way, can no longer.".to_owned());
            let losers = dependents.iter().map(|used| format!("{} can no longer write to it", used.name));
            self.stops.extend(losers);
        }
        if wanted != ReadOnly::On {
            self.warnings.push(
                "What could not be changed there can be changed. If a replication fills it, that fails once \
                 somebody else writes."
                    .to_owned(),
            );
        }
        self.back.insert("read_only".to_owned(), json!(now.to_lowercase()));
        let shown = |text: &str| Some(foreign(text, 20).to_lowercase());
        self.changes.push(Alteration::new("read-only", shown(&now), shown(wanted.wire())));
    }

    fn comment(&mut self, dataset: &dataset::Dataset, wanted: &str) -> Result<(), ToolError> {
        fits(None, Some(wanted))?;
        let now = dataset.comments.as_ref().and_then(Property::text).unwrap_or_default();
        if now == wanted {
            return Ok(());
        }
        self.back.insert("comment".to_owned(), json!(now));
        let shown = |text: &str| (!text.is_empty()).then(|| format!("\"{}\"", foreign(text, 200)));
        self.changes.push(Alteration::new("comment", shown(now), shown(wanted)));
        Ok(())
    }

    fn undo(&self, dataset: &DatasetPath) -> Undo {
        if self.by_hand.is_empty() {
            let mut back = self.back.clone();
            back.insert("dataset".to_owned(), json!(dataset));
            return Undo::call(Update::NAME, Value::Object(back));
        }
        let by_hand = format!("{} in the TrueNAS web interface", self.by_hand.join(" and "));
        Undo::Words(if self.back.is_empty() {
            by_hand
        } else {
            format!("{by_hand}, and the rest with {}: what it was stands in the plan", Update::NAME)
        })
    }
}

impl Change for Update {
    const NAME: &'static str = "dataset_update";
    const TITLE: &'static str = "Change a dataset's settings";
    const DESCRIPTION: &'static str = "Changes quota, compression, read-only or comment of a dataset or volume. What is left away stays; no data is touched.";
    const SCOPE: Scope = Scope::StorageWrite;
    /// Quota and read-only are more: somebody writes there, or is kept from it.
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![
        dataset::Datasets,
        dataset::Attachments,
        resource::Resources,
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        app::Apps
    ];
    const NEEDS: &'static [Need] = needs![dataset::Update];
    const LOG: &'static [(&'static str, Log)] = &[
        ("dataset", Log::Plain),
        ("quota_bytes", Log::Plain),
        ("compression", Log::Plain),
        ("read_only", Log::Plain),
        ("comment", Log::Len),
    ];
    type Args = UpdateArgs;

    fn target(args: &UpdateArgs) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &UpdateArgs) -> Result<Draft, ToolError> {
        let UpdateArgs { dataset: path, quota_bytes, compression, read_only, comment } = args;
        let found = one_dataset(nas, path).await?;
        let mut unseen = Vec::new();
        let dependents = if read_only.is_some() || quota_bytes.is_some() {
            users_of(nas, path, &mut unseen).await?
        } else {
            Vec::new()
        };
        let mut altered = Altered::default();
        if let Some(wanted) = quota_bytes {
            altered.quota(&found, *wanted, &dependents)?;
        }
        if let Some(wanted) = compression {
            altered.compression(&found, *wanted);
        }
        if let Some(wanted) = read_only {
            altered.read_only(&found, *wanted, &dependents);
        }
        if let Some(wanted) = comment {
            altered.comment(&found, wanted)?;
        }
        if altered.changes.is_empty() {
            return Err(ToolError::inapplicable(format!("{path} is so already."), "There is nothing to do."));
        }
        let what: Vec<_> = altered.changes.iter().map(|change| change.what.as_str()).collect();
        let hangs: Vec<_> = dependents.iter().map(|dependent| &dependent.name).collect();
        let before: Vec<_> = altered.changes.iter().map(|change| &change.before).collect();
        let risk = if altered.disruptive || !unseen.is_empty() { Risk::Disruptive } else { Self::RISK };
        let mut draft = Draft::new(
            format!("Change {} of {path}.", what.join(", ")),
            risk,
            altered.undo(path),
            subject(path),
            Fingerprint::of(&json!([identity(nas, path, &found).await?, hangs, before])),
        );
        let Altered { changes, warnings, stops, .. } = altered;
        (draft.changes, draft.warnings, draft.stops) = (changes, warnings, stops);
        (draft.dependents, draft.unseen) = (dependents, unseen);
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: UpdateArgs) -> Result<Done, ToolError> {
        let UpdateArgs { dataset: path, quota_bytes, compression, read_only, comment } = args;
        let settings = dataset::Settings {
            quota: quota_bytes,
            compression: compression.map(Compression::wire),
            readonly: read_only.map(ReadOnly::wire),
            comments: comment,
        };
        nas.call(dataset::Update, (path.clone(), settings)).await?;
        Ok(Done::now(format!("Changed the settings of {path}.")))
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
    const DESCRIPTION: &'static str = "Sets a dataset aside under another name; dataset_restore brings it back. TrueNAS 25.04 destroys it at once: the plan says which.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![
        dataset::Datasets,
        dataset::Attachments,
        snapshot::Count,
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
    const NEEDS: &'static [Need] = needs![dataset::Rename, dataset::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("dataset", Log::Plain)];
    type Args = OneDataset;

    fn target(args: &OneDataset) -> String {
        args.dataset.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneDataset) -> Result<Draft, ToolError> {
        let path = &args.dataset;
        let held = Held::of(nas, path).await?;
        let (aside, undo) = if nas.has(dataset::Rename).await? {
            let aside = set_aside(path)?;
            is_free(nas, &aside).await?;
            let undo = Undo::call("dataset_restore", json!({ "dataset": aside }));
            (Some(format!("set aside as {aside}")), undo)
        } else {
            let why = "this TrueNAS cannot rename a dataset; it is destroyed with its snapshots".to_owned();
            (None, Undo::Impossible(why))
        };
        let how = aside.as_ref().map_or_else(
            || "It is destroyed, with its snapshots.".to_owned(),
            |aside| format!("It is {aside}, and no data is lost."),
        );
        let mut draft = Draft::new(
            format!("Delete {path}: {}. {how}", held.contents()),
            Self::RISK,
            undo.clone(),
            subject(path),
            held.fingerprint(!undo.is_possible()),
        );
        draft.changes.push(Alteration::new(format!("dataset {path}"), Some(held.contents()), aside));
        draft.stops =
            held.dependents.iter().map(|used| format!("{} no longer finds it", used.name)).collect();
        (draft.bytes, draft.dependents, draft.unseen) = (held.bytes(), held.dependents, held.unseen);
        let mut seen = Seen::default();
        draft.stops.extend(connected(nas, &serving(&draft.dependents), &mut seen).await?);
        draft.unseen.extend(seen.not);
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
    const DESCRIPTION: &'static str = "Gives a dataset that dataset_delete set aside its old name again.";
    const SCOPE: Scope = Scope::StorageWrite;
    /// What was taken from everybody's reach is in it again, and it may lie over what has come to its place since.
    const RISK: Risk = Risk::Disruptive;
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
            Fingerprint::of(&json!([
                identity(nas, &args.dataset, &found).await?,
                identities_below(nas, &args.dataset).await?
            ])),
        );
        let name = |path: &DatasetPath| Some(path.to_string());
        draft.changes.push(Alteration::new("name", name(&args.dataset), name(&back)));
        draft.warnings.push("Shares of the old path serve it again.".to_owned());
        draft.warnings.push(format!("Files that are in the folder /mnt/{back} now are hidden by it."));
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
    const DESCRIPTION: &'static str =
        "Destroys a dataset that dataset_delete set aside, with its snapshots and all below it. For good.";
    const SCOPE: Scope = Scope::StorageDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![
        dataset::Datasets,
        dataset::Attachments,
        snapshot::Count,
        resource::Resources,
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        app::Apps
    ];
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
