//! Installing, changing, upgrading and deleting apps: jobs, all of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{APPS_READ, plex};
use crate::domain::access::{Read, Write};
use crate::domain::name::AppName;
use crate::nas::methods::Method;
use crate::nas::methods::query::{Compare, Query, Queryable};
use crate::nas::version::Candidate;

/// Installs an app.
#[derive(Clone, Copy, Debug)]
pub struct Create;

/// Changes what an app is set up with.
#[derive(Clone, Copy, Debug)]
pub struct Update;

/// Brings an app to a newer version.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade;

/// Brings an app back to an older version.
#[derive(Clone, Copy, Debug)]
pub struct Rollback;

/// Gets the newest images of the names that an app uses.
#[derive(Clone, Copy, Debug)]
pub struct PullImages;

/// Deletes an app.
#[derive(Clone, Copy, Debug)]
pub struct Delete;

/// The versions that an app can be brought back to.
#[derive(Clone, Copy, Debug)]
pub struct RollbackVersions;

/// Volumes that the NAS keeps for apps.
#[derive(Clone, Copy, Debug)]
pub struct IxVolumes;

/// An app that is not there yet.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum NewApp {
    /// From the catalogue.
    OfCatalogue {
        /// What it is to be called.
        app_name: AppName,
        /// What it is in the catalogue.
        catalog_app: AppName,
        /// The part of the catalogue.
        train: String,
        /// The chart, or `latest`.
        version: String,
        /// What is to be other than by default.
        values: Map<String, Value>,
    },
    /// From a Compose file, as the object that was judged.
    OfFile {
        /// What it is to be called.
        app_name: AppName,
        /// Always.
        custom_app: bool,
        /// The file.
        custom_compose_config: Map<String, Value>,
    },
}

/// What an app is to be set up with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewConfig {
    /// Of an app of the catalogue: these keys, each as a whole.
    Values(Map<String, Value>),
    /// Of another: all of the file.
    CustomComposeConfig(Map<String, Value>),
}

/// How an app is upgraded.
#[derive(Clone, Debug, Serialize)]
pub struct UpgradeTo {
    /// The chart, or `latest`.
    pub app_version: String,
    /// Whether snapshots are taken of the datasets that are mounted into it.
    pub snapshot_hostpaths: bool,
}

/// What an app is brought back to.
#[derive(Clone, Debug, Serialize)]
pub struct RollBackTo {
    /// The chart.
    pub app_version: String,
    /// Whether its own volumes go back to what they were then.
    pub rollback_snapshot: bool,
}

/// What is done with new images.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pulled {
    /// Whether containers are made anew from them at once.
    pub redeploy: bool,
}

/// What goes with an app.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Remove {
    /// Images that nothing else uses.
    pub remove_images: bool,
    /// Volumes that the NAS keeps for it; never through here.
    remove_ix_volumes: bool,
}

impl Remove {
    /// The app, with its images if they are not wanted any more. What the NAS keeps for it stays.
    #[must_use]
    pub const fn app(remove_images: bool) -> Self {
        Self { remove_images, remove_ix_volumes: false }
    }
}

/// A volume that the NAS keeps for an app.
#[derive(Clone, Debug, Deserialize)]
pub struct IxVolume {
    /// What it is called.
    pub name: String,
}

/// Those of this app.
#[must_use]
pub fn volumes_of(app: &AppName) -> Query<IxVolumes> {
    Query::all().filter("app_name", Compare::Is, app.as_str()).order("name")
}

impl Queryable for IxVolumes {
    const SELECT: &'static [&'static str] = &["name"];
}

impl Method for IxVolumes {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<IxVolume>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.ix_volume.query");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        volumes_of(&plex())
    }
}

impl Method for RollbackVersions {
    type Access = Read;
    type Params = (AppName,);
    type Reply = Vec<String>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.rollback_versions");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        (plex(),)
    }
}

fn some(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

macro_rules! job {
    ($item:ident, $name:literal, $params:ty, $example:expr) => {
        impl Method for $item {
            type Access = Write;
            type Params = $params;
            type Reply = i64;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some("APPS_WRITE");
            const JOB: bool = true;

            fn example() -> Self::Params {
                $example
            }
        }
    };
}

job!(Create, "app.create", (NewApp,), {
    let services = json!({ "services": { "web": { "image": "nginx:1.29" } } });
    (NewApp::OfFile { app_name: plex(), custom_app: true, custom_compose_config: some(&services) },)
});
job!(
    Update,
    "app.update",
    (AppName, NewConfig),
    (plex(), NewConfig::Values(some(&json!({ "network": { "host_network": false } }))))
);
job!(
    Upgrade,
    "app.upgrade",
    (AppName, UpgradeTo),
    (plex(), UpgradeTo { app_version: "latest".to_owned(), snapshot_hostpaths: true })
);
job!(
    Rollback,
    "app.rollback",
    (AppName, RollBackTo),
    (plex(), RollBackTo { app_version: "1.1.19".to_owned(), rollback_snapshot: false })
);
job!(PullImages, "app.pull_images", (AppName, Pulled), (plex(), Pulled { redeploy: true }));
job!(Delete, "app.delete", (AppName, Remove), (plex(), Remove::app(false)));
