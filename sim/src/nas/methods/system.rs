//! `system.*`, `update.*` and `directoryservices.*`

use std::time::Duration;

use chrono::{TimeZone, Utc};
use serde_json::json;

use super::{Access, Answer, Context, Method, method};
use crate::nas::jobs::{Plan, Work, date};
use crate::nas::params::{Kind, Param, optional, required};
use crate::nas::wire::{EFAULT, Failure};
use crate::nas::{CANARY, Generation};

const TRAIN: &[Param] = &[optional("update-check-available", Kind::Model(&[optional("train", Kind::Str)]))];

const REBOOT: &[Param] = &[
    required("reason", Kind::Name),
    optional("options", Kind::Model(&[optional("delay", Kind::NullOr(&Kind::Int))])),
];
const DOWNLOAD: &[Param] =
    &[optional("train", Kind::NullOr(&Kind::Str)), optional("version", Kind::NullOr(&Kind::Str))];

pub(super) const METHODS: &[Method] = &[
    method("system.info", Access::Role("READONLY_ADMIN"), &[], info),
    method("system.version", Access::Session, &[], version),
    method("system.ready", Access::Role("FULL_ADMIN"), &[], ready).until(Generation::V25_04),
    method("system.ready", Access::Role("SYSTEM_GENERAL_READ"), &[], ready).since(Generation::V25_10),
    method("system.reboot", Access::Role("FULL_ADMIN"), REBOOT, reboot),
    method("system.boot_id", Access::Anyone, &[], boot_id),
    method("update.check_available", Access::Role("SYSTEM_UPDATE_READ"), TRAIN, check_available)
        .until(Generation::V25_04),
    method("update.status", Access::Role("SYSTEM_UPDATE_READ"), &[], update_status).since(Generation::V25_10),
    method("update.available_versions", Access::Role("SYSTEM_UPDATE_READ"), &[], available_versions)
        .since(Generation::V25_10),
    method("update.download", Access::Role("SYSTEM_UPDATE_WRITE"), &[], download).until(Generation::V25_04),
    method("update.download", Access::Role("SYSTEM_UPDATE_WRITE"), DOWNLOAD, download)
        .since(Generation::V25_10),
    method("directoryservices.status", Access::Session, &[], directory_status),
    method("directoryservices.config", Access::Role("DIRECTORY_SERVICE_READ"), &[], directory_config)
        .since(Generation::V25_10),
    method("directoryservices.cache_refresh", Access::Role("DIRECTORY_SERVICE_WRITE"), &[], refresh),
];

fn info(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let state = &*context.state;
    let up = state.now() - state.booted;
    let (days, hours, minutes) = (up.num_days(), up.num_hours() % 24, up.num_minutes() % 60);
    let info = json!({
        "version": context.generation().version(),
        "buildtime": date(Utc.timestamp_opt(1_787_000_000, 0).single().unwrap_or_default()),
        "hostname": state.hostname,
        "physmem": 34_359_738_368_u64,
        "model": "Intel(R) Xeon(R) E-2324G CPU @ 3.10GHz",
        "cores": 4,
        "physical_cores": 4,
        "loadavg": [0.21, 0.18, 0.11],
        "uptime": format!("{days} days, {hours}:{minutes:02}:{:02}", up.num_seconds() % 60),
        "uptime_seconds": up.num_milliseconds() as f64 / 1000.0,
        "system_serial": "HN0042",
        "system_product": "PowerEdge T150",
        "system_product_version": null,
        "license": null,
        "boottime": date(state.booted),
        "datetime": date(state.now()),
        "timezone": "Etc/UTC",
        "system_manufacturer": "Dell Inc.",
        "ecc_memory": true,
    });
    Ok(Answer::Value(info))
}

fn version(context: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(format!("TrueNAS-{}", context.generation().version()).into()))
}

fn ready(context: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(context.state.ready.into()))
}

fn boot_id(context: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(context.state.boot_id.clone().into()))
}

fn check_available(context: &mut Context<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Value(match &context.state.update {
        None => json!({"status": "UNAVAILABLE"}),
        Some(version) => json!({
            "status": "AVAILABLE",
            "changes": [{"operation": "upgrade", "old": {"name": "TrueNAS", "version": context.generation().version()},
                         "new": {"name": "TrueNAS", "version": version}}],
            "notice": null,
            "notes": null,
            "release_notes_url": format!("https://www.truenas.com/docs/scale/{version}/"),
            "changelog": "",
            "version": version,
            "filename": format!("TrueNAS-SCALE-{version}.update"),
            "filesize": 2_000_000_000,
            "checksum": "",
        }),
    }))
}

fn update_status(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let new = context.state.update.as_ref().map(|version| {
        json!({
            "version": version,
            "manifest": {"version": version, "train": "TrueNAS-SCALE-Goldeye"},
            "release_notes": null,
            "release_notes_url": format!("https://www.truenas.com/docs/scale/{version}/"),
        })
    });
    Ok(Answer::Value(json!({
        "code": "NORMAL",
        "status": {
            "current_version": {"train": "TrueNAS-SCALE-Goldeye", "profile": "GENERAL", "matches_profile": true},
            "new_version": new,
        },
        "error": null,
        "update_download_progress": null,
    })))
}

fn available_versions(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let train = "TrueNAS-SCALE-Goldeye";
    let versions = context.state.update.iter().map(|version| {
        json!({
            "train": train,
            "version": {
                "version": version,
                "manifest": {"version": version, "train": train},
                "release_notes": null,
                "release_notes_url": format!("https://www.truenas.com/docs/scale/{version}/"),
            },
        })
    });
    Ok(Answer::Value(versions.collect()))
}

fn directory_config(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let Some(domain) = &context.state.directory else {
        return Ok(Answer::Value(json!({
            "id": 1, "service_type": null, "credential": null, "enable": false, "enable_account_cache": true,
            "enable_dns_updates": true, "timeout": 10, "kerberos_realm": null, "configuration": null,
        })));
    };
    let idmap = json!({
        "builtin": {"name": null, "range_low": 90_000_001, "range_high": 100_000_000},
        "idmap_domain": {
            "name": "HOME", "range_low": 100_000_001, "range_high": 200_000_000, "idmap_backend": "RID",
            "sssd_compat": false,
        },
    });
    Ok(Answer::Value(json!({
        "id": 1, "service_type": "ACTIVEDIRECTORY",
        "credential": {"credential_type": "KERBEROS_USER", "username": CANARY, "password": CANARY},
        "enable": true, "enable_account_cache": true, "enable_dns_updates": true, "timeout": 10,
        "kerberos_realm": domain.to_uppercase(),
        "configuration": {
            "hostname": context.state.hostname, "domain": domain, "idmap": idmap, "site": null,
            "computer_account_ou": null, "use_default_domain": false, "enable_trusted_domains": false,
            "trusted_domains": [],
        },
    })))
}

fn directory_status(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let there = context.state.directory.is_some();
    let (kind, status) = if there { (Some("ACTIVEDIRECTORY"), Some("HEALTHY")) } else { (None, None) };
    Ok(Answer::Value(json!({"type": kind, "status": status, "status_msg": null})))
}

fn reboot(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let delay = context.args.get(1)["delay"].as_u64().unwrap_or_default();
    Ok(Answer::Job(Plan {
        method: "system.reboot",
        arguments: Vec::new(),
        description: "Restarting".to_owned(),
        lock: "system.reboot".to_owned(),
        work: Work::Reboot { delay: Duration::from_secs(delay) },
    }))
}

fn download(context: &mut Context<'_>) -> Result<Answer, Failure> {
    if context.state.update.is_none() {
        return Err(Failure::call(EFAULT, "No update available"));
    }
    elsewhere("update.download", "Downloading update")
}

fn refresh(_: &mut Context<'_>) -> Result<Answer, Failure> {
    elsewhere("directoryservices.cache_refresh", "Refreshing the cache of users and groups")
}

fn elsewhere(method: &'static str, description: &str) -> Result<Answer, Failure> {
    Ok(Answer::Job(Plan {
        method,
        arguments: Vec::new(),
        description: description.to_owned(),
        lock: method.to_owned(),
        work: Work::Elsewhere,
    }))
}
