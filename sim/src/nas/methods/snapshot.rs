//! `pool.snapshot.*`, which 25.04 calls `zfs.snapshot.*`

use serde_json::{Map, Value, json};

use super::{Access, Answer, Context, Method, human, method};
use crate::nas::Generation;
use crate::nas::events::{Change, Event};
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Snapshot, pool_of};
use crate::nas::wire::{EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, Failure};

const FIELDS: &[Param] = &[
    required("dataset", Kind::Name),
    optional("name", Kind::Name),
    optional("naming_schema", Kind::Name),
    optional("recursive", Kind::Bool),
    optional("exclude", Kind::Strings),
    optional("suspend_vms", Kind::Bool),
    optional("vmware_sync", Kind::Bool),
    optional("properties", Kind::Dict),
];
const CREATE: &[Param] = &[required("data", Kind::Model(FIELDS))];
const CREATE_25_04: &[Param] = &[required("snapshot_create", Kind::Model(FIELDS))];

const DELETE: &[Param] = &[
    required("id", Kind::Name),
    optional("options", Kind::Model(&[optional("defer", Kind::Bool), optional("recursive", Kind::Bool)])),
];

const BELOW: &[Param] =
    &[required("id", Kind::Name), optional("options", Kind::Model(&[optional("recursive", Kind::Bool)]))];
const CLONE: &[Param] = &[required(
    "data",
    Kind::Model(&[
        required("snapshot", Kind::Name),
        required("dataset_dst", Kind::Name),
        optional("dataset_properties", Kind::Dict),
    ]),
)];
const ROLLBACK: &[Param] = &[
    required("id", Kind::Name),
    optional(
        "options",
        Kind::Model(&[
            optional("recursive", Kind::Bool),
            optional("recursive_clones", Kind::Bool),
            optional("force", Kind::Bool),
            optional("recursive_rollback", Kind::Bool),
        ]),
    ),
];
const WRITE: Access = Access::Role("SNAPSHOT_WRITE");

pub(super) const METHODS: &[Method] = &[
    method("zfs.snapshot.query", Access::Role("SNAPSHOT_READ"), QUERY, query).until(Generation::V25_04),
    method("zfs.snapshot.create", Access::Role("SNAPSHOT_WRITE"), CREATE_25_04, create)
        .until(Generation::V25_04),
    method("zfs.snapshot.delete", Access::Role("SNAPSHOT_DELETE"), DELETE, delete).until(Generation::V25_04),
    method("pool.snapshot.delete", Access::Role("SNAPSHOT_DELETE"), DELETE, delete).since(Generation::V25_10),
    // 25.04 has the next four too, under their old names, for full administrators.
    method("pool.snapshot.hold", WRITE, BELOW, hold).since(Generation::V25_10),
    method("pool.snapshot.release", WRITE, BELOW, release).since(Generation::V25_10),
    method("pool.snapshot.clone", WRITE, CLONE, clone).since(Generation::V25_10),
    method("pool.snapshot.rollback", WRITE, ROLLBACK, rollback).since(Generation::V25_10),
    method("pool.snapshot.query", Access::Role("SNAPSHOT_READ"), QUERY, query).since(Generation::V25_10),
    method("pool.snapshot.create", Access::Role("SNAPSHOT_WRITE"), CREATE, create).since(Generation::V25_10),
];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let options = context.args.get(1);
    let extra = &options["extra"];
    if extra["retention"] == true
        && !by_id(context.args.get(0))
        && options["limit"].as_u64().unwrap_or(0) == 0
    {
        return Err(Failure::call(EINVAL, "`id` or `limit` is required if `retention` is requested"));
    }
    // Rows without properties are what makes listing names cheap.
    let names_only = options["select"] == json!(["name"]) || options["count"] == true;
    let bound = |name: &str| extra[name].as_u64().filter(|txg| *txg > 0);
    let (min, max) = (bound("min_txg").unwrap_or(0), bound("max_txg").unwrap_or(u64::MAX));
    let holds = extra["holds"] == true;
    let snapshots = context.state.snapshots.iter();
    let rows = snapshots.filter(|one| (min..=max).contains(&one.createtxg)).map(|snapshot| {
        let mut row = row(snapshot);
        if holds && !names_only {
            let since = snapshot.created.timestamp();
            row["holds"] = snapshot.holds.iter().map(|tag| (tag.clone(), json!(since))).collect();
        }
        if extra["retention"] == true {
            row["retention"] = Value::Null;
        }
        row
    });
    context.query(rows.collect())
}

fn by_id(filters: &Value) -> bool {
    filters.as_array().into_iter().flatten().any(|filter| filter[0] == "id")
}

fn create(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let data = context.args.get(0).clone();
    let old = context.generation() == Generation::V25_04;
    let argument = if old { "snapshot_create" } else { "data" };
    let invalid = |field: &str, message: &str| Err(Failure::invalid(format!("{argument}.{field}"), message));
    let dataset = data["dataset"].as_str().unwrap_or_default().to_owned();
    let recursive = data["recursive"] == true;
    let excluded: Vec<&str> =
        data["exclude"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let name = match (data["name"].as_str(), data["naming_schema"].as_str()) {
        (Some(name), None) => name.to_owned(),
        (None, Some(schema)) => strftime(schema, context.state.now()),
        // From 25.10 on these are two models, and the one that fits best complains.
        (Some(_), Some(_)) if old => {
            return invalid("naming_schema", "You can't specify name and naming schema at the same time");
        }
        (Some(_), Some(_)) => return invalid("naming_schema", "Extra inputs are not permitted"),
        (None, None) if old => {
            return invalid("naming_schema", "You must specify either name or naming schema");
        }
        (None, None) => return invalid("name", "Field required"),
    };
    if !excluded.is_empty() && !recursive {
        return invalid("exclude", "This option has no sense for non-recursive snapshots");
    }
    if !valid_name(&format!("{dataset}@{name}")) {
        return invalid("name", "Invalid snapshot name");
    }

    let failed =
        |errno, why: String| Err(Failure::call(errno, format!("Failed to snapshot {dataset}@{name}: {why}")));
    let prefix = format!("{dataset}/");
    let state = &mut *context.state;
    let all: Vec<String> = state.datasets.iter().map(|one| one.name.clone()).collect();
    if !all.contains(&dataset) {
        return failed(EFAULT, format!("cannot open '{dataset}': dataset does not exist"));
    }
    let taken: Vec<String> = all
        .into_iter()
        .filter(|one| *one == dataset || (recursive && one.starts_with(&prefix)))
        .filter(|one| !excluded.contains(&one.as_str()))
        .collect();
    // All or none: a recursive snapshot is one transaction.
    for one in &taken {
        if state.snapshots.iter().any(|snapshot| snapshot.dataset == *one && snapshot.name == name) {
            return failed(EEXIST, format!("cannot create snapshot '{one}@{name}': dataset already exists"));
        }
    }
    let properties: Vec<(String, String)> = data["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let created = state.now();
    for one in &taken {
        state.snapshot_at(one, &name, created, properties.clone());
        state.emit(Event::Snapshot(format!("{one}@{name}"), Change::Added));
    }
    let snapshot = state.snapshots.iter().find(|one| one.dataset == dataset && one.name == name);
    Ok(Answer::Value(snapshot.map_or(Value::Null, row)))
}

fn delete(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.str(0).to_owned();
    let recursive = context.args.get(1)["recursive"] == true;
    let (dataset, name) = id.split_once('@').unwrap_or_default();
    if !context.state.snapshots.iter().any(|one| one.id() == id) {
        return Err(Failure::NotFound(format!("Snapshot {id} does not exist")));
    }
    let below = format!("{dataset}/");
    let meant = |one: &Snapshot| {
        one.name == name && (one.dataset == dataset || (recursive && one.dataset.starts_with(&below)))
    };
    for one in context.state.snapshots.iter().filter(|one| meant(one)) {
        let id = one.id();
        if !one.holds.is_empty() {
            return Err(Failure::call(EBUSY, format!("cannot destroy snapshot {id}: it's being held")));
        }
        if context.state.datasets.iter().any(|dataset| dataset.origin.as_ref() == Some(&id)) {
            let why = format!("cannot destroy '{id}': snapshot has dependent clones");
            return Err(Failure::call(EFAULT, why));
        }
    }
    let gone: Vec<_> = context.state.snapshots.iter().filter(|one| meant(one)).map(Snapshot::id).collect();
    context.state.snapshots.retain(|one| !meant(one));
    for id in gone {
        context.state.emit(Event::Snapshot(id, Change::Removed));
    }
    Ok(Answer::Value(json!(true)))
}

/// The snapshots that `id` and `recursive` mean, as places in the list.
fn meant(context: &Context<'_>) -> Result<Vec<usize>, Failure> {
    let id = context.args.str(0);
    let recursive = context.args.get(1)["recursive"] == true;
    let (dataset, name) = id.split_once('@').unwrap_or_default();
    let below = format!("{dataset}/");
    let meant = |one: &Snapshot| {
        one.name == name && (one.dataset == dataset || (recursive && one.dataset.starts_with(&below)))
    };
    if !context.state.snapshots.iter().any(|one| one.id() == id) {
        return Err(Failure::NotFound(format!("Snapshot {id} does not exist")));
    }
    Ok((0..context.state.snapshots.len()).filter(|&at| meant(&context.state.snapshots[at])).collect())
}

fn hold(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let meant = meant(context)?;
    let snapshots = &mut context.state.snapshots;
    if let Some(&held) = meant.iter().find(|&&at| snapshots[at].holds.iter().any(|tag| tag == "truenas")) {
        let why =
            format!("cannot hold snapshot '{}': tag already exists on this dataset", snapshots[held].id());
        return Err(Failure::call(EFAULT, why));
    }
    for at in meant {
        snapshots[at].holds.push("truenas".to_owned());
    }
    Ok(Answer::Value(Value::Null))
}

/// Whoever holds it: all tags go.
fn release(context: &mut Context<'_>) -> Result<Answer, Failure> {
    for at in meant(context)? {
        context.state.snapshots[at].holds.clear();
    }
    Ok(Answer::Value(Value::Null))
}

fn clone(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let data = context.args.get(0).clone();
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let (id, target) = (text("snapshot"), text("dataset_dst"));
    let state = &mut *context.state;
    let Some(snapshot) = state.snapshots.iter().find(|one| one.id() == id) else {
        return Err(Failure::call(ENOENT, format!("cannot open '{id}': dataset does not exist")));
    };
    if pool_of(&snapshot.dataset) != pool_of(&target) {
        return Err(Failure::call(
            EFAULT,
            format!("cannot create '{target}': source and target pools differ"),
        ));
    }
    if state.datasets.iter().any(|one| one.name == target) {
        return Err(Failure::call(EEXIST, format!("cannot create '{target}': dataset already exists")));
    }
    let volume = state.datasets.iter().find(|one| one.name == snapshot.dataset).and_then(|one| one.volume);
    state.add_dataset(&target);
    if let Some(dataset) = state.datasets.last_mut() {
        (dataset.origin, dataset.volume) = (Some(id), volume);
    }
    Ok(Answer::Value(json!(true)))
}

fn rollback(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.str(0).to_owned();
    let options = context.args.get(1).clone();
    let (dataset, name) = id.split_once('@').unwrap_or_default();
    let state = &mut *context.state;
    let Some(to) = state.snapshots.iter().find(|one| one.id() == id).map(|one| one.createtxg) else {
        return Err(Failure::NotFound(format!("Snapshot {id} does not exist")));
    };
    let newer: Vec<_> =
        state.snapshots.iter().filter(|one| one.dataset == dataset && one.createtxg > to).cloned().collect();
    let fails = |why: &str| Err(Failure::call(EFAULT, format!("cannot rollback to '{id}': {why}")));
    if !newer.is_empty() && options["recursive"] != true && options["recursive_clones"] != true {
        return fails("more recent snapshots or bookmarks exist");
    }
    if newer.iter().any(|one| !one.holds.is_empty()) {
        return fails("a more recent snapshot is held");
    }
    let cloned = |one: &Snapshot| state.datasets.iter().any(|other| other.origin == Some(one.id()));
    if options["recursive_clones"] != true && newer.iter().any(cloned) {
        return fails("clones of previous snapshots exist");
    }
    state.roll_back(dataset, name);
    Ok(Answer::Value(Value::Null))
}

/// The few directives a naming schema is made of.
fn strftime(schema: &str, now: chrono::DateTime<chrono::Utc>) -> String {
    let mut name = schema.to_owned();
    for directive in ["%Y", "%m", "%d", "%H", "%M", "%S"] {
        if name.contains(directive) {
            name = name.replace(directive, &now.format(directive).to_string());
        }
    }
    name
}

fn valid_name(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.: /@".contains(c);
    id.len() < 256
        && id.chars().all(fine)
        && id.split_once('@').is_some_and(|(_, name)| !name.is_empty() && !name.contains(['@', '/']))
}

pub(crate) fn row(snapshot: &Snapshot) -> Value {
    let id = snapshot.id();
    let none = |value: String, raw: String, parsed: Value| json!({"value": value, "rawvalue": raw, "parsed": parsed, "source": "NONE"});
    let mut properties = Map::new();
    let created = snapshot.created;
    let txg = snapshot.createtxg.to_string();
    for (name, value) in [
        (
            "creation",
            none(
                created.format("%a %b %e %H:%M %Y").to_string(),
                created.timestamp().to_string(),
                date(created),
            ),
        ),
        ("createtxg", none(txg.clone(), txg.clone(), json!(txg))),
        ("used", none(human(snapshot.used), snapshot.used.to_string(), json!(snapshot.used))),
        (
            "referenced",
            none(human(snapshot.referenced), snapshot.referenced.to_string(), json!(snapshot.referenced)),
        ),
    ] {
        properties.insert(name.to_owned(), value);
    }
    for (name, value) in &snapshot.properties {
        let value = json!({"value": value, "rawvalue": value, "parsed": value, "source": "LOCAL"});
        properties.insert(name.clone(), value);
    }
    json!({
        "id": id,
        "name": id,
        "pool": pool_of(&snapshot.dataset),
        "type": "SNAPSHOT",
        "snapshot_name": snapshot.name,
        "dataset": snapshot.dataset,
        "createtxg": snapshot.createtxg.to_string(),
        "properties": properties,
    })
}
