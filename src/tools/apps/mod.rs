//! Apps: how they are, what they are set up with, what they print, what there is to install, and changing all of it.

mod catalogue;
mod config;
mod deploy;
mod installed;
mod logs;
mod setup;
mod upgrade;
mod versions;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::access::Read;
use crate::domain::name::AppName;
use crate::nas::Session;
use crate::nas::methods::app;

use super::{Entry, Log, ToolError};

pub(super) use deploy::as_set_up;

/// The tools of this folder.
pub(super) fn family() -> Vec<Entry> {
    [
        installed::family(),
        config::family(),
        logs::family(),
        catalogue::family(),
        versions::family(),
        deploy::family(),
        setup::family(),
        upgrade::family(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfApp {
    /// The app.
    app: AppName,
}

const OF_APP: &[(&str, Log)] = &[("app", Log::Plain)];

fn target(args: &OfApp) -> String {
    format!("app {}", args.app)
}

fn inapplicable(what: String, hint: &str) -> ToolError {
    ToolError::Inapplicable { what, hint: hint.to_owned() }
}

fn not_installed(name: &AppName) -> ToolError {
    inapplicable(format!("There is no app {name} on this NAS."), "apps_list tells which there are.")
}

/// What an app is and in which version, and the containers it has: those of one that is made again under its name are
/// others. So they are where somebody stops it, or sets it up anew, which is reason enough to look again. One without
/// containers has nothing of the kind.
pub(super) fn identity(app: &app::App) -> Value {
    let details = &app.active_workloads.container_details;
    let mut containers: Vec<_> = details.iter().map(|container| &container.id).collect();
    containers.sort();
    json!([app.name, app.version, app.custom_app, containers])
}

async fn find(nas: &Session<'_, Read>, name: &AppName) -> Result<app::App, ToolError> {
    let found = nas.call(app::Apps, app::one(name)).await?;
    found.into_iter().next().ok_or_else(|| not_installed(name))
}
