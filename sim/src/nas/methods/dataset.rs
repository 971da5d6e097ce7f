//! `pool.dataset.*`

use serde_json::{Map, Value, json};

use super::{Access, Answer, Context, Method, human, method};
use crate::nas::Generation;
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, QUERY, optional};
use crate::nas::state::{Dataset, State};
use crate::nas::wire::{ENOENT, Failure};

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

pub(super) const METHODS: &[Method] = &[
    method("pool.dataset.query", Access::Role("DATASET_READ"), QUERY, query),
    method("zfs.resource.query", Access::Role("ZFS_RESOURCE_READ"), WANTED, resources)
        .since(Generation::V25_10),
];

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
    let rows = context.state.datasets.iter().filter(|one| wanted.is_empty() || wanted.contains(&&*one.name));
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
    let top = state.datasets.iter().filter(|dataset| flat || !dataset.name.contains('/'));
    context.query(top.map(|dataset| row(state, dataset, generation, children)).collect())
}

fn children<'a>(state: &'a State, parent: &str) -> impl Iterator<Item = &'a Dataset> {
    let prefix = format!("{parent}/");
    state
        .datasets
        .iter()
        .filter(move |dataset| dataset.name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')))
}

fn row(state: &State, dataset: &Dataset, generation: Generation, nested: bool) -> Value {
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
        "compression": word("LZ4", "LOCAL"),
        "compressratio": property("1.00x", "1.00", "1.00", "NONE"),
        "checksum": word("ON", "DEFAULT"),
        "copies": property("1", "1", 1, "DEFAULT"),
        "readonly": onoff(dataset.readonly),
        "origin": property("", "", "", "NONE"),
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
