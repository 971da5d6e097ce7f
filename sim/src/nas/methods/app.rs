//! `app.*`

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::apps::AppWork;
use crate::nas::jobs::{Plan, Work};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{App, AppState};
use crate::nas::wire::{EFAULT, Failure};

const UPGRADE: &[Param] = &[
    required("app_name", Kind::Name),
    optional("options", Kind::Model(&[optional("app_version", Kind::Str)])),
];

const NAME: &[Param] = &[required("app_name", Kind::Name)];
const CREATE: &[Param] = &[required(
    "app_create",
    Kind::Model(&[
        required("app_name", Kind::Name),
        optional("catalog_app", Kind::NullOr(&Kind::Str)),
        optional("custom_app", Kind::Bool),
        optional("custom_compose_config", Kind::Dict),
        optional("custom_compose_config_string", Kind::Str),
        optional("train", Kind::Name),
        optional("values", Kind::Dict),
        optional("version", Kind::Name),
    ]),
)];
const UPDATE: &[Param] = &[
    required("app_name", Kind::Name),
    optional(
        "update",
        Kind::Model(&[
            optional("custom_compose_config", Kind::Dict),
            optional("custom_compose_config_string", Kind::Str),
            optional("values", Kind::Dict),
        ]),
    ),
];
const DO_UPGRADE: &[Param] = &[
    required("app_name", Kind::Name),
    optional(
        "options",
        Kind::Model(&[
            optional("app_version", Kind::Name),
            optional("snapshot_hostpaths", Kind::Bool),
            optional("values", Kind::Dict),
        ]),
    ),
];
const ROLLBACK: &[Param] = &[
    required("app_name", Kind::Name),
    required(
        "options",
        Kind::Model(&[required("app_version", Kind::Name), optional("rollback_snapshot", Kind::Bool)]),
    ),
];
const PULL: &[Param] = &[
    required("app_name", Kind::Name),
    optional("options", Kind::Model(&[optional("redeploy", Kind::Bool)])),
];
const DELETE: &[Param] = &[
    required("app_name", Kind::Name),
    optional(
        "options",
        Kind::Model(&[
            optional("force_remove_custom_app", Kind::Bool),
            optional("force_remove_ix_volumes", Kind::Bool),
            optional("remove_images", Kind::Bool),
            optional("remove_ix_volumes", Kind::Bool),
        ]),
    ),
];

pub(super) const METHODS: &[Method] = &[
    method("app.query", Access::Role("APPS_READ"), QUERY, query),
    method("app.config", Access::Role("APPS_READ"), NAME, config),
    method("app.image.query", Access::Role("APPS_READ"), QUERY, images),
    method("app.used_ports", Access::Role("APPS_READ"), &[], used_ports),
    method("app.used_host_ips", Access::Role("APPS_READ"), &[], |_| Ok(Answer::Value(json!({}))))
        .since(Generation::V25_10),
    method("app.available", Access::Role("CATALOG_READ"), QUERY, available),
    method("app.upgrade_summary", Access::Role("APPS_READ"), UPGRADE, upgrade_summary),
    method("app.outdated_docker_images", Access::Role("APPS_READ"), NAME, outdated),
    method("app.start", Access::Role("APPS_WRITE"), NAME, |context| run(context, "app.start", true)),
    method("app.stop", Access::Role("APPS_WRITE"), NAME, |context| run(context, "app.stop", false)),
    method("app.redeploy", Access::Role("APPS_WRITE"), NAME, |context| run(context, "app.redeploy", true)),
    method("app.rollback_versions", Access::Role("APPS_READ"), NAME, |context| {
        named(context).map(|app| Answer::Value(json!(app.earlier)))
    }),
    method("app.ix_volume.query", Access::Role("APPS_READ"), QUERY, ix_volumes),
    method("app.create", Access::Role("APPS_WRITE"), CREATE, |context| {
        let options = context.args.get(0).clone();
        let name = options["app_name"].as_str().unwrap_or_default().to_owned();
        work(context, "app.create", &name, AppWork::Create(options))
    }),
    method("app.update", Access::Role("APPS_WRITE"), UPDATE, |context| {
        on(context, "app.update", AppWork::Update)
    }),
    method("app.upgrade", Access::Role("APPS_WRITE"), DO_UPGRADE, |context| {
        on(context, "app.upgrade", AppWork::Upgrade)
    }),
    method("app.rollback", Access::Role("APPS_WRITE"), ROLLBACK, |context| {
        on(context, "app.rollback", AppWork::Rollback)
    }),
    method("app.pull_images", Access::Role("APPS_WRITE"), PULL, |context| {
        on(context, "app.pull_images", AppWork::PullImages)
    }),
    method("app.delete", Access::Role("APPS_WRITE"), DELETE, |context| {
        on(context, "app.delete", AppWork::Delete)
    }),
];

fn ix_volumes(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let rows = context.state.ix_volumes.iter().map(|(app, name)| json!({ "app_name": app, "name": name }));
    context.query(rows.collect())
}

/// A job on the app that is named first, with the options that come second.
fn on(
    context: &mut Context<'_>,
    method: &'static str,
    of: fn(String, Value) -> AppWork,
) -> Result<Answer, Failure> {
    let name = context.args.str(0).to_owned();
    let options = context.args.get(1).clone();
    work(context, method, &name, of(name.clone(), options))
}

fn work(
    context: &mut Context<'_>,
    method: &'static str,
    name: &str,
    work: AppWork,
) -> Result<Answer, Failure> {
    let arguments = [context.args.get(0).clone(), context.args.get(1).clone()];
    Ok(Answer::Job(Plan {
        method,
        description: format!("{method} {name}"),
        lock: format!("app {name}"),
        arguments: arguments.into_iter().filter(|argument| !argument.is_null()).collect(),
        work: Work::Apps(work),
    }))
}

/// The app that the first argument names.
fn named<'a>(context: &'a Context<'_>) -> Result<&'a App, Failure> {
    let name = context.args.str(0);
    let app = context.state.apps.iter().find(|app| app.name == name);
    app.ok_or_else(|| Failure::NotFound(format!("App {name} does not exist")))
}

fn config(context: &mut Context<'_>) -> Result<Answer, Failure> {
    named(context).map(|app| Answer::Value(app.config.clone()))
}

fn images(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let rows = context.state.apps.iter().enumerate().map(|(number, app)| {
        let (image, tag) = app.image.rsplit_once(':').unwrap_or((&app.image, "latest"));
        let parsed = json!({
            "image": image, "tag": tag, "registry": "registry-1.docker.io", "complete_tag": app.image,
            "reference": tag, "reference_is_digest": false,
        });
        json!({
            "id": format!("sha256:{number:064x}"), "repo_tags": [app.image], "repo_digests": [], "size": 412_000_000,
            "dangling": false, "update_available": app.newer_image, "created": "2026-08-01T10:00:00Z",
            "author": "", "comment": "", "parsed_repo_tags": [parsed],
        })
    });
    context.query(rows.collect())
}

fn used_ports(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let ports: BTreeSet<u16> =
        context.state.apps.iter().filter_map(|app| app.port).map(|port| port.1).collect();
    Ok(Answer::Value(json!(ports)))
}

fn available(context: &mut Context<'_>) -> Result<Answer, Failure> {
    const CATALOG: [(&str, &str, &str, &str); 4] = [
        ("jellyfin", "Jellyfin", "media", "A media server whose program is free."),
        ("nextcloud", "Nextcloud", "productivity", "Files, calendars and contacts."),
        ("plex", "Plex", "media", "A media server."),
        ("syncthing", "Syncthing", "storage", "Keeps folders the same on several machines."),
    ];
    let generation = context.generation();
    let rows = CATALOG.iter().map(|(name, title, category, description)| {
        let mut row = json!({
            "app_readme": "<p>A readme</p>", "catalog": "TRUENAS", "categories": [category],
            "description": description, "healthy": true, "healthy_error": null, "home": "https://example.org/",
            "location": format!("/mnt/.ix-apps/truenas_catalog/trains/stable/{name}"),
            "latest_version": "1.2.0", "latest_app_version": "10.1", "latest_human_version": "10.1_1.2.0",
            "last_update": {"$date": 1_790_000_000_000_i64}, "name": name, "recommended": false, "title": title,
            "maintainers": [{"name": "truenas", "url": null, "email": "dev@example.org"}],
            "tags": [category], "screenshots": [], "sources": [], "icon_url": null, "train": "stable",
            "installed": context.state.apps.iter().any(|app| app.name == *name),
        });
        if generation >= Generation::V25_10 {
            row["popularity_rank"] = json!(1);
        }
        row
    });
    context.query(rows.collect())
}

fn upgrade_summary(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let app = named(context)?;
    let Some(latest) = &app.latest else {
        return Err(Failure::call(EFAULT, format!("No upgrade available for '{}'", app.name)));
    };
    let human = format!("{}_{latest}", app.app_version);
    Ok(Answer::Value(json!({
        "latest_version": latest, "latest_human_version": human, "upgrade_version": latest,
        "upgrade_human_version": human, "changelog": "Fixes.\nMore fixes.",
        "available_versions_for_upgrade": [{"version": latest, "human_version": human}],
    })))
}

fn outdated(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let app = named(context)?;
    let images: Vec<&str> = if app.newer_image { vec![app.image.as_str()] } else { Vec::new() };
    Ok(Answer::Value(json!(images)))
}

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    context.query(context.state.apps.iter().map(|app| row(app, generation)).collect())
}

pub(crate) fn row(app: &App, generation: Generation) -> Value {
    let (state, container) = match app.state {
        AppState::Running => ("RUNNING", "running"),
        AppState::Stopped => ("STOPPED", "exited"),
        AppState::Crashed => ("CRASHED", "crashed"),
        AppState::Deploying => ("DEPLOYING", "starting"),
    };
    let ports = app.port.iter().map(|(inside, outside)| {
        let host = json!({"host_port": outside, "host_ip": "0.0.0.0"});
        json!({"container_port": inside, "protocol": "tcp", "host_ports": [host]})
    });
    let mounts = app.mount.iter().map(|(on_nas, in_app)| {
        let kind = if on_nas.starts_with("/mnt/.ix-apps/docker/volumes/") { "volume" } else { "bind" };
        json!({"source": on_nas, "destination": in_app, "mode": "rw", "type": kind})
    });
    let mounts: Vec<Value> = mounts.collect();
    let host_mounts: Vec<Value> = app
        .makers_mounts
        .iter()
        .map(|path| json!({"description": "What it looks after.", "host_path": path}))
        .collect();
    let stopped = app.state == AppState::Stopped;
    let used: Vec<Value> = if stopped { Vec::new() } else { ports.collect() };
    let details = json!({
        "service_name": app.name,
        "image": app.image,
        "port_config": used,
        "state": container,
        "volume_mounts": mounts,
        "id": app.container_id(),
    });
    let mut row = json!({
        "name": app.name,
        "id": app.name,
        "state": state,
        "upgrade_available": app.latest.is_some(),
        "latest_version": app.latest.as_ref().unwrap_or(&app.version),
        "image_updates_available": app.newer_image,
        "custom_app": app.custom,
        "migrated": false,
        "human_version": format!("{}_{}", app.app_version, app.version),
        "version": app.version,
        "metadata": {
            "app_version": app.app_version,
            "title": app.title,
            "train": "stable",
            "version": app.version,
            "capabilities": [{"description": "It is able to chown files.", "name": "CHOWN"}],
            "host_mounts": host_mounts,
        },
        "active_workloads": {
            "containers": i32::from(!stopped),
            "used_ports": used,
            "container_details": if stopped { json!([]) } else { json!([details]) },
            "volumes": if stopped { json!([]) } else { json!(mounts) },
            "images": [app.image],
            "networks": if stopped { json!([]) } else { json!([network(app)]) },
        },
        "notes": null,
        "portals": app.port.map(|port| format!("http://0.0.0.0:{}/", port.1)).map_or(json!({}), |url| json!({"Web UI": url})),
        "version_details": null,
    });
    if generation >= Generation::V25_10 {
        row["active_workloads"]["used_host_ips"] = json!([]);
    }
    if generation >= Generation::V26 {
        row["action_required"] = json!(false);
        row["latest_app_version"] = json!(app.app_version);
    }
    row
}

/// The network that Docker makes for an app.
fn network(app: &App) -> Value {
    json!({
        "Name": format!("ix-{}_default", app.name), "Id": app.container_id(), "Labels": {},
        "Created": "2026-09-20T10:00:00Z", "Scope": "local", "Driver": "bridge", "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": "172.16.1.0/24", "Gateway": "172.16.1.1"}]},
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {},
    })
}

fn run(context: &mut Context<'_>, method: &'static str, running: bool) -> Result<Answer, Failure> {
    let name = context.args.str(0).to_owned();
    Ok(Answer::Job(Plan {
        method,
        description: format!("{method} {name}"),
        lock: format!("app {name}"),
        arguments: vec![json!(name)],
        work: Work::App { name, running },
    }))
}
