//! `pool.dataset.*`

use serde_json::{Map, Value, json};

use super::{Access, Answer, Context, Method, human, method};
use crate::nas::Generation;
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Dataset, State};
use crate::nas::wire::{EBUSY, EEXIST, EFAULT, ENOENT, Failure};

const WANTED: &[Param] = &[optional(
    "data",
    Kind::Model(&[
        optional("get_children", Kind::Bool),
        optional("get_user_properties", Kind::Bool),
        optional("nest_results", Kind::Bool),
        optional("paths", Kind::Strings),
        optional("properties", Kind::NullOr(&Kind::Strings)),
    ]),
)];

const ID: &[Param] = &[required("id", Kind::Name)];
const CREATE: &[Param] = &[required(
    "data",
    Kind::Open(&[
        required("name", Kind::Name),
        optional("type", Kind::OneOf(&["FILESYSTEM", "VOLUME"])),
        optional("comments", Kind::Str),
        optional("quota", Kind::NullOr(&Kind::Int)),
    ]),
)];
const UPDATE: &[Param] = &[
    required("id", Kind::Name),
    required(
        "data",
        Kind::Model(&[
            optional("quota", Kind::NullOr(&Kind::Int)),
            optional("compression", Kind::OneOf(&["ON", "OFF", "LZ4", "GZIP", "ZSTD", "INHERIT"])),
            optional("readonly", Kind::OneOf(&["ON", "OFF", "INHERIT"])),
            optional("comments", Kind::Str),
        ]),
    ),
];
const RENAME: &[Param] = &[
    required("id", Kind::Name),
    required(
        "data",
        Kind::Model(&[
            required("new_name", Kind::Name),
            optional("recursive", Kind::Bool),
            optional("force", Kind::Bool),
        ]),
    ),
];
const DELETE: &[Param] = &[
    required("id", Kind::Name),
    optional("options", Kind::Model(&[optional("recursive", Kind::Bool), optional("force", Kind::Bool)])),
];

pub(super) const METHODS: &[Method] = &[
    method("pool.dataset.query", Access::Role("DATASET_READ"), QUERY, query),
    method("pool.dataset.attachments", Access::Role("DATASET_READ"), ID, attachments),
    method("pool.dataset.create", Access::Role("DATASET_WRITE"), CREATE, create),
    method("pool.dataset.update", Access::Role("DATASET_WRITE"), UPDATE, update),
    method("pool.dataset.rename", Access::Role("DATASET_WRITE"), RENAME, rename).since(Generation::V25_10),
    method("pool.dataset.delete", Access::Role("DATASET_DELETE"), DELETE, delete),
    method("zfs.resource.query", Access::Role("ZFS_RESOURCE_READ"), WANTED, resources)
        .since(Generation::V25_10),
];

fn known(state: &State, name: &str) -> Result<(), Failure> {
    match state.datasets.iter().any(|one| one.name == name) {
        true => Ok(()),
        false => Err(Failure::NotFound(format!("PoolDataset {name} does not exist"))),
    }
}

/// The shares and apps that use what is inside.
fn attachments(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let state = &*context.state;
    let name = context.args.str(0);
    known(state, name)?;
    let inside = format!("/mnt/{name}");
    let uses =
        |path: &str| path.strip_prefix(&inside).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let smb: Vec<_> = state.smb_shares.iter().filter(|one| uses(&one.path)).map(|one| &one.name).collect();
    let nfs: Vec<_> = state.nfs_shares.iter().filter(|one| uses(&one.path)).map(|one| &one.path).collect();
    let apps: Vec<_> = state
        .apps
        .iter()
        .filter(|one| one.mount.as_ref().is_some_and(|mount| uses(&mount.0)))
        .map(|one| &one.name)
        .collect();
    let rows = [
        json!({"type": "SMB Share", "service": "cifs", "attachments": smb}),
        json!({"type": "NFS Share", "service": "nfs", "attachments": nfs}),
        json!({"type": "App", "service": null, "attachments": apps}),
    ];
    let used = |row: &Value| row["attachments"].as_array().is_some_and(|names| !names.is_empty());
    Ok(Answer::Value(rows.into_iter().filter(used).collect()))
}

fn create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let data = context.args.get(0).clone();
    let generation = context.generation();
    let name = data["name"].as_str().unwrap_or_default();
    let state = &mut *context.state;
    if state.datasets.iter().any(|one| one.name == name) {
        return Err(Failure::invalid("pool_dataset_create.name", format!("Path {name} already exists")));
    }
    if !name.rsplit_once('/').is_some_and(|(parent, _)| state.datasets.iter().any(|one| one.name == parent)) {
        return Err(Failure::invalid("pool_dataset_create.name", "Parent dataset does not exist"));
    }
    state.add_dataset(name);
    if let Some(dataset) = state.datasets.last_mut() {
        dataset.quota = data["quota"].as_u64();
        dataset.comments = data["comments"].as_str().map(str::to_owned);
    }
    let made = state.datasets.last().map(|dataset| row(state, dataset, generation, true));
    Ok(Answer::Value(made.unwrap_or_default()))
}

fn update(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (name, data) = (context.args.str(0).to_owned(), context.args.get(1).clone());
    known(context.state, &name)?;
    let generation = context.generation();
    let state = &mut *context.state;
    let quota = data["quota"].as_u64();
    if quota.is_some_and(|quota| quota > 0 && quota < 1 << 30) {
        return Err(Failure::invalid(
            "pool_dataset_update.quota",
            "Input should be 0 or at least 1073741824",
        ));
    }
    if quota.is_some_and(|quota| quota > 0 && quota < state.used(&name)) {
        let why =
            format!("cannot set property for '{name}': size is less than current used or reserved space");
        return Err(Failure::call(EFAULT, why));
    }
    if let Some(dataset) = state.datasets.iter_mut().find(|one| one.name == name) {
        if quota.is_some() || data["quota"].is_null() && data.get("quota").is_some() {
            dataset.quota = quota.filter(|quota| *quota > 0);
        }
        if let Some(compression) = data["compression"].as_str() {
            dataset.compression = (compression != "INHERIT").then(|| compression.to_owned());
        }
        if let Some(readonly) = data["readonly"].as_str() {
            dataset.readonly = readonly == "ON";
        }
        if let Some(comments) = data["comments"].as_str() {
            dataset.comments = Some(comments.to_owned());
        }
    }
    let changed = state.datasets.iter().find(|one| one.name == name);
    Ok(Answer::Value(changed.map(|dataset| row(state, dataset, generation, true)).unwrap_or_default()))
}

fn rename(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (from, data) = (context.args.str(0).to_owned(), context.args.get(1).clone());
    known(context.state, &from)?;
    if data["force"] != true {
        return Err(Failure::invalid(
            "pool.dataset.rename.force",
            "No safety checks are performed when renaming",
        ));
    }
    let to = data["new_name"].as_str().unwrap_or_default();
    if context.state.datasets.iter().any(|one| one.name == to) {
        return Err(Failure::call(EEXIST, format!("cannot rename to '{to}': dataset already exists")));
    }
    context.state.rename_dataset(&from, to);
    Ok(Answer::Value(Value::Null))
}

fn delete(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let name = context.args.str(0).to_owned();
    known(context.state, &name)?;
    let below = format!("{name}/");
    let has_children = context.state.datasets.iter().any(|one| one.name.starts_with(&below));
    if has_children && context.args.get(1)["recursive"] != true {
        return Err(Failure::call(EFAULT, format!("cannot destroy '{name}': filesystem has children")));
    }
    if let Some((snapshot, why)) = context.state.kept_in(&name) {
        return Err(Failure::call(EBUSY, format!("cannot destroy '{snapshot}': {why}")));
    }
    context.state.destroy_dataset(&name);
    Ok(Answer::Value(json!(true)))
}

/// Rows without properties, which is all that a client that only wants to know who is who asks for.
fn resources(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let data = context.args.get(0);
    let wanted: Vec<&str> =
        data["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(missing) =
        wanted.iter().find(|path| context.state.datasets.iter().all(|one| one.name != **path))
    {
        return Err(Failure::call(ENOENT, format!("{missing}: not found")));
    }
    let below = data["get_children"] == true;
    let is_wanted = |name: &str| {
        let lies_below = |above: &&str| name.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
        wanted.is_empty() || wanted.contains(&name) || below && wanted.iter().any(lies_below)
    };
    let rows = context.state.datasets.iter().filter(|one| is_wanted(&one.name));
    let newer = context.generation() >= Generation::V26;
    let rows = rows.map(|dataset| {
        let mut row = json!({
            "name": dataset.name,
            "pool": dataset.pool(),
            "type": if dataset.volume.is_some() { "VOLUME" } else { "FILESYSTEM" },
            "createtxg": dataset.createtxg,
            "guid": dataset.guid,
            "properties": null,
            "user_properties": null,
            "children": null,
        });
        if newer {
            row["tier"] = Value::Null;
        }
        row
    });
    Ok(Answer::Value(rows.collect()))
}

/// Every dataset is a row of its own and also among the `children` of its parent, unless `extra` says
/// otherwise.
fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let extra = &context.args.get(1)["extra"];
    let (flat, children) = (extra["flat"] != false, extra["retrieve_children"] != false);
    let (state, generation) = (&*context.state, context.generation());
    // A row takes looking through all datasets: none is made that the filters leave out anyway.
    let filters = context.args.get(0);
    let top = state
        .datasets
        .iter()
        .filter(|dataset| (flat || !dataset.name.contains('/')) && may_match(filters, &dataset.name));
    context.query(top.map(|dataset| row(state, dataset, generation, children)).collect())
}

/// Whether filters, all of which must hold, let a dataset of this name through, as far as its name alone tells.
fn may_match(filters: &Value, name: &str) -> bool {
    filters.as_array().into_iter().flatten().all(|filter| {
        match (filter[0].as_str(), filter[1].as_str(), filter[2].as_str()) {
            (Some("id" | "name"), Some("="), Some(wanted)) => name == wanted,
            (Some("id" | "name"), Some("^"), Some(beginning)) => name.starts_with(beginning),
            _ => true,
        }
    })
}

fn children<'a>(state: &'a State, parent: &str) -> impl Iterator<Item = &'a Dataset> {
    let prefix = format!("{parent}/");
    state
        .datasets
        .iter()
        .filter(move |dataset| dataset.name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')))
}

pub(crate) fn row(state: &State, dataset: &Dataset, generation: Generation, nested: bool) -> Value {
    let used = state.used(&dataset.name);
    let snapshots: u64 =
        state.snapshots.iter().filter(|one| one.dataset == dataset.name).map(|one| one.used).sum();
    let pool = state.pools.iter().find(|pool| pool.name == dataset.pool());
    let free = pool.map_or(0, |pool| pool.usable().saturating_sub(state.used(&pool.name)));
    let available = dataset.quota.map_or(free, |quota| free.min(quota.saturating_sub(used)));
    let mountpoint = dataset.volume.is_none().then(|| format!("/mnt/{}", dataset.name));
    let below: Vec<Value> = if nested {
        children(state, &dataset.name).map(|child| row(state, child, generation, true)).collect()
    } else {
        Vec::new()
    };
    let mut user_properties = Map::new();
    if let Some(comments) = &dataset.comments {
        user_properties.insert(
            "org.freenas:description".to_owned(),
            property(comments, comments, comments.as_str(), "LOCAL"),
        );
    }
    let origin = dataset.origin.as_deref().unwrap_or_default();
    let compression = match &dataset.compression {
        Some(compression) => word(compression, "LOCAL"),
        None => word("LZ4", "INHERITED"),
    };

    let mut row = json!({
        "id": dataset.name,
        "type": if dataset.volume.is_some() { "VOLUME" } else { "FILESYSTEM" },
        "name": dataset.name,
        "pool": dataset.pool(),
        "encrypted": false,
        "encryption_root": null,
        "key_loaded": false,
        "locked": false,
        "mountpoint": mountpoint,
        "children": below,
        "user_properties": user_properties,
        "deduplication": word("OFF", "DEFAULT"),
        "sync": word("STANDARD", "DEFAULT"),
        "compression": compression,
        "compressratio": property("1.00x", "1.00", "1.00", "NONE"),
        "checksum": word("ON", "DEFAULT"),
        "copies": property("1", "1", 1, "DEFAULT"),
        "readonly": onoff(dataset.readonly),
        "origin": property(origin, origin, origin, "NONE"),
        "creation": property(
            &dataset.created.format("%a %b %e %H:%M %Y").to_string(),
            &dataset.created.timestamp().to_string(),
            date(dataset.created),
            "NONE",
        ),
        "key_format": {"value": null, "rawvalue": "none", "parsed": "none", "source": "DEFAULT", "source_info": null},
        "encryption_algorithm":
            {"value": null, "rawvalue": "off", "parsed": "off", "source": "DEFAULT", "source_info": null},
        "pbkdf2iters": property("0", "0", "0", "DEFAULT"),
        "reservation": limit(None, "DEFAULT"),
        "refreservation": limit(dataset.volume, "LOCAL"),
        "snapdev": word("HIDDEN", "DEFAULT"),
        "used": size(used, "NONE"),
        "available": size(available, "NONE"),
        "usedbychildren": size(used - dataset.own - snapshots, "NONE"),
        "usedbydataset": size(dataset.own, "NONE"),
        "usedbyrefreservation": size(0, "NONE"),
        "usedbysnapshots": size(snapshots, "NONE"),
    });
    let own = match dataset.volume {
        Some(volume) => json!({
            "volsize": size(volume, "LOCAL"),
            "volblocksize": property("16K", "16384", 16384, "DEFAULT"),
        }),
        None => json!({
            "quota": limit(dataset.quota, "LOCAL"),
            "refquota": limit(None, "DEFAULT"),
            "aclmode": word("DISCARD", "DEFAULT"),
            "acltype": word("POSIX", "LOCAL"),
            "atime": onoff(false),
            "exec": onoff(true),
            "casesensitivity": word("SENSITIVE", "NONE"),
            "recordsize": property("128K", "131072", 131_072, "DEFAULT"),
            "snapdir": word("HIDDEN", "DEFAULT"),
            "special_small_block_size": property("0", "0", 0, "DEFAULT"),
            "xattr": word("SA", "LOCAL"),
        }),
    };
    if let (Value::Object(row), Value::Object(own)) = (&mut row, own) {
        row.extend(own);
    }
    if let Some(comments) = &dataset.comments {
        row["comments"] = property(comments, comments, comments.as_str(), "LOCAL");
    }
    if generation >= Generation::V26 {
        row["tier"] = Value::Null;
    }
    row
}

fn property(value: &str, raw: &str, parsed: impl Into<Value>, source: &str) -> Value {
    json!({"value": value, "rawvalue": raw, "parsed": parsed.into(), "source": source, "source_info": null})
}

fn word(value: &str, source: &str) -> Value {
    let raw = value.to_lowercase();
    property(value, &raw, raw.as_str(), source)
}

fn onoff(on: bool) -> Value {
    let (value, raw) = if on { ("ON", "on") } else { ("OFF", "off") };
    property(value, raw, on, "LOCAL")
}

fn size(bytes: u64, source: &str) -> Value {
    property(&human(bytes), &bytes.to_string(), bytes, source)
}

/// A limit that is not set has no value.
fn limit(bytes: Option<u64>, source: &str) -> Value {
    match bytes {
        Some(bytes) => size(bytes, source),
        None => {
            json!({"value": null, "rawvalue": "0", "parsed": null, "source": "DEFAULT", "source_info": null})
        }
    }
}
