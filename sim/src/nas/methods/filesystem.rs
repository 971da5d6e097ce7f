//! `filesystem.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::{Kind, OPTIONS, Param, optional, required};
use crate::nas::query;
use crate::nas::state::{File, State};
use crate::nas::wire::{EINVAL, ENOENT, Failure};

const ATTRIBUTES: Access = Access::Role("FILESYSTEM_ATTRS_READ");
const LISTDIR: &[Param] = &[
    required("path", Kind::Name),
    optional("query_filters", Kind::Filters),
    optional("query_options", Kind::Model(OPTIONS)),
];
const STAT: &[Param] = &[required("path", Kind::Name)];
const GETACL: &[Param] =
    &[required("path", Kind::Name), optional("simplified", Kind::Bool), optional("resolve_ids", Kind::Bool)];

pub(super) const METHODS: &[Method] = &[
    method("filesystem.listdir", ATTRIBUTES, LISTDIR, listdir),
    method("filesystem.stat", ATTRIBUTES, STAT, stat),
    method("filesystem.getacl", ATTRIBUTES, GETACL, getacl),
];

/// What a path leads to: the dataset's mountpoint, the snapshot it goes through, and the rest.
struct Place<'a> {
    root: String,
    snapshot: Option<&'a str>,
    dataset: &'a str,
    rest: &'a str,
}

fn place<'a>(state: &'a State, path: &'a str) -> Option<Place<'a>> {
    let inside = path.strip_prefix("/mnt/")?;
    let (dataset, rest) = state
        .datasets
        .iter()
        .filter(|one| one.volume.is_none())
        .filter_map(|one| {
            let rest = inside.strip_prefix(&*one.name)?;
            let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
            Some((&*one.name, rest))
        })
        .max_by_key(|(name, _)| name.len())?;
    let root = format!("/mnt/{dataset}");
    let Some(inside) = rest.strip_prefix(".zfs/snapshot/") else {
        return Some(Place { root, snapshot: None, dataset, rest });
    };
    let (snapshot, rest) = inside.split_once('/').unwrap_or((inside, ""));
    let known = state.snapshots.iter().any(|one| one.dataset == dataset && one.name == snapshot);
    known.then(|| Place {
        root: format!("{root}/.zfs/snapshot/{snapshot}"),
        snapshot: Some(snapshot),
        dataset,
        rest,
    })
}

impl Place<'_> {
    fn files<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a File> {
        state
            .files
            .iter()
            .filter(|file| file.dataset == self.dataset && file.snapshot.as_deref() == self.snapshot)
    }

    fn path(&self, rest: &str) -> String {
        if rest.is_empty() { self.root.clone() } else { format!("{}/{rest}", self.root) }
    }

    /// The file of this name, or a folder that files are in.
    fn find<'a>(&'a self, state: &'a State) -> Option<Option<&'a File>> {
        let file = self.files(state).find(|file| file.path == self.rest);
        let prefix = format!("{}/", self.rest);
        let is_folder = self.rest.is_empty() || self.files(state).any(|file| file.path.starts_with(&prefix));
        file.map(Some).or_else(|| is_folder.then_some(None))
    }
}

fn missing(path: &str) -> Failure {
    Failure::call(ENOENT, format!("Path {path} not found"))
}

fn listdir(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let state = &*context.state;
    let path = context.args.str(0);
    let place = place(state, path).ok_or_else(|| missing(path))?;
    if place.find(state).ok_or_else(|| missing(path))?.is_some() {
        return Err(Failure::call(EINVAL, format!("Path {path} is not a directory")));
    }
    let prefix = if place.rest.is_empty() { String::new() } else { format!("{}/", place.rest) };
    let mut rows: Vec<Value> = Vec::new();
    for file in place.files(state) {
        let Some(inside) = file.path.strip_prefix(&prefix) else { continue };
        let name = inside.split('/').next().unwrap_or(inside);
        if rows.iter().any(|row| row["name"] == name) {
            continue;
        }
        let own = (inside == name).then_some(file);
        let full = place.path(&format!("{prefix}{name}"));
        let link = own.and_then(|file| file.link.clone());
        rows.push(json!({
            "name": name,
            "path": full,
            "realpath": link.unwrap_or(full),
            "type": kind(own),
            "size": own.map_or(3, |file| file.size),
            "allocation_size": own.map_or(512, |file| file.size),
            "mode": if own.is_some() { 33_188 } else { 16_877 },
            "acl": false,
            "uid": 3000,
            "gid": 3000,
            "mount_id": 91,
            "is_mountpoint": false,
            "is_ctldir": place.snapshot.is_some(),
            "attributes": [],
            "xattrs": [],
            "zfs_attrs": ["ARCHIVE"],
        }));
    }
    query::answer(rows, context.args.get(1), context.args.get(2)).map(Answer::Value)
}

fn kind(file: Option<&File>) -> &'static str {
    match file {
        None => "DIRECTORY",
        Some(File { link: Some(_), .. }) => "SYMLINK",
        Some(_) => "FILE",
    }
}

fn stat(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let state = &*context.state;
    let path = context.args.str(0);
    // Links on the way are followed, as the kernel does.
    for link in state.files.iter().filter_map(|file| Some((file, file.link.as_ref()?))) {
        let (file, target) = link;
        let from = format!("/mnt/{}/{}", file.dataset, file.path);
        if path == from || path.starts_with(&format!("{from}/")) {
            let realpath = format!("{target}{}", path.strip_prefix(&from).unwrap_or_default());
            let kind = if path == from { "SYMLINK" } else { "FILE" };
            return Ok(Answer::Value(row(&realpath, kind, 10, state.now().timestamp(), 99)));
        }
    }
    let place = place(state, path).ok_or_else(|| missing(path))?;
    let file = place.find(state).ok_or_else(|| missing(path))?;
    let modified = file.map_or_else(|| state.booted, |file| file.modified).timestamp();
    let number = file.map_or(34, |file| file.inode);
    Ok(Answer::Value(row(
        &place.path(place.rest),
        kind(file),
        file.map_or(3, |file| file.size),
        modified,
        number,
    )))
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this century are far below 2^53")]
fn row(realpath: &str, kind: &str, size: u64, modified: i64, inode: u64) -> Value {
    let time = modified as f64;
    json!({
        "realpath": realpath, "type": kind, "size": size, "allocation_size": size,
        "mode": if kind == "DIRECTORY" { 16_877 } else { 33_188 },
        "uid": 3000, "gid": 3000, "atime": time, "mtime": time, "ctime": time, "btime": time, "dev": 65,
        "mount_id": 91, "inode": inode, "nlink": 1, "is_mountpoint": false, "is_ctldir": false, "attributes": [],
        "user": "alice", "group": "family", "acl": false,
    })
}

fn getacl(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let state = &*context.state;
    let path = context.args.str(0);
    let place = place(state, path).ok_or_else(|| missing(path))?;
    place.find(state).ok_or_else(|| missing(path))?;
    let resolve = *context.args.get(2) == true;
    let entry = |tag: &str, id: i64, name: &str, basic: &str| {
        let who = if resolve && !name.is_empty() { json!(name) } else { Value::Null };
        let id = if tag.ends_with('@') { Value::Null } else { json!(id) };
        json!({"tag": tag, "id": id, "who": who, "type": "ALLOW", "perms": {"BASIC": basic}, "flags": {"BASIC": "INHERIT"}})
    };
    let mut answer = json!({
        "path": path, "user": "alice", "group": "family", "uid": 3000, "gid": 3000, "acltype": "NFS4",
        "aclflags": {"autoinherit": false, "protected": false, "defaulted": false},
        "trivial": false,
        "acl": [
            entry("owner@", -1, "", "FULL_CONTROL"),
            entry("GROUP", 3000, "family", "MODIFY"),
            entry("everyone@", -1, "", "READ"),
        ],
    });
    if place.dataset.ends_with("media") {
        let rights = |read: bool, write: bool| json!({"READ": read, "WRITE": write, "EXECUTE": read});
        let entry = |tag: &str, perms: Value| json!({"tag": tag, "id": -1, "perms": perms, "default": false, "who": null});
        answer["acltype"] = json!("POSIX1E");
        answer["trivial"] = json!(true);
        answer["acl"] = json!([
            entry("USER_OBJ", rights(true, true)),
            entry("GROUP_OBJ", rights(true, false)),
            entry("OTHER", rights(true, false)),
        ]);
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("aclflags");
        }
    }
    Ok(Answer::Value(answer))
}
