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

async fn find(nas: &Session<'_, Read>, name: &AppName) -> Result<app::App, ToolError> {
    let found = nas.call(app::Apps, app::one(name)).await?;
    found.into_iter().next().ok_or_else(|| not_installed(name))
}
