//! Apps, what they are made from, and what they print.

pub mod change;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::query::{Compare, Query, Queryable};
use super::{Method, Nothing, Source};
use crate::domain::access::{Read, Write};
use crate::domain::name::AppName;
use crate::nas::version::{Candidate, OLDEST, Version};
use crate::nas::wire::{Date, null_is_empty};

const APPS_READ: Option<&str> = Some("APPS_READ");

/// Installed apps.
#[derive(Clone, Copy, Debug)]
pub struct Apps;

/// The same without what runs of them.
#[derive(Clone, Copy, Debug)]
pub struct Brief;

/// How many apps are installed.
#[derive(Clone, Copy, Debug)]
pub struct AppCount;

/// Every app.
#[must_use]
pub fn all<M: Queryable>() -> Query<M> {
    Query::all().order("name")
}

/// The app of this name, or nothing.
#[must_use]
pub fn one(name: &AppName) -> Query<Apps> {
    Query::all().filter("name", Compare::Is, name.as_str())
}

/// An installed app.
#[derive(Clone, Debug, Deserialize)]
pub struct App {
    /// Its name, which is its id too.
    pub name: String,
    /// `RUNNING`, `STOPPED`, `CRASHED`, `DEPLOYING`, `STOPPING` …
    pub state: String,
    /// Version of the chart.
    #[serde(default)]
    pub version: Option<String>,
    /// Version of the program and of the chart.
    #[serde(default)]
    pub human_version: Option<String>,
    /// A newer chart is there.
    #[serde(default)]
    pub upgrade_available: Option<bool>,
    /// The newest chart.
    #[serde(default)]
    pub latest_version: Option<String>,
    /// The program in it; 26 and later.
    #[serde(default)]
    pub latest_app_version: Option<String>,
    /// Newer images of the same names are there.
    #[serde(default)]
    pub image_updates_available: Option<bool>,
    /// Somebody wrote the compose file by hand.
    #[serde(default)]
    pub custom_app: Option<bool>,
    /// Where its pages are.
    #[serde(default)]
    pub portals: BTreeMap<String, Value>,
    /// From the catalogue.
    #[serde(default)]
    pub metadata: Metadata,
    /// What runs of it.
    #[serde(default)]
    pub active_workloads: Workloads,
}

/// What the catalogue says of an installed app.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// What people call it.
    #[serde(default)]
    pub title: Option<String>,
    /// Version of the program.
    #[serde(default)]
    pub app_version: Option<String>,
    /// The part of the catalogue.
    #[serde(default)]
    pub train: Option<String>,
    /// What its makers mount into it, whatever it is set up with. The NAS passes on what they wrote, in no certain form.
    #[serde(default)]
    pub host_mounts: Value,
    /// Rights that its makers give it, likewise.
    #[serde(default)]
    pub capabilities: Value,
}

impl Metadata {
    /// Places of the NAS that its makers mount into it; `None` where they cannot be told.
    #[must_use]
    pub fn mounts(&self) -> Option<Vec<String>> {
        each(&self.host_mounts, "host_path")
    }

    /// Rights that its makers give it; `None` where they cannot be told.
    #[must_use]
    pub fn rights(&self) -> Option<Vec<String>> {
        each(&self.capabilities, "name")
    }
}

/// This field of each of them, if each has it.
fn each(all: &Value, field: &str) -> Option<Vec<String>> {
    all.as_array()?.iter().map(|one| Some(one.get(field)?.as_str()?.to_owned())).collect()
}

/// What runs of an app.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Workloads {
    /// Its containers.
    #[serde(default)]
    pub container_details: Vec<Container>,
    /// Its ports.
    #[serde(default)]
    pub used_ports: Vec<Port>,
    /// What is mounted into it.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Its images.
    #[serde(default)]
    pub images: Vec<String>,
    /// Docker's networks that it is in.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// A network of Docker.
#[derive(Clone, Debug, Deserialize)]
pub struct Network {
    /// What Docker calls it.
    #[serde(rename = "Name")]
    pub name: String,
}

/// A container of an app.
#[derive(Clone, Debug, Deserialize)]
pub struct Container {
    /// Docker's number of it.
    pub id: String,
    /// What the compose file calls it.
    pub service_name: String,
    /// Its image.
    #[serde(default)]
    pub image: Option<String>,
    /// `running`, `exited`, `crashed`, `created`, `starting`.
    #[serde(default)]
    pub state: Option<String>,
}

/// A port of an app.
#[derive(Clone, Debug, Deserialize)]
pub struct Port {
    /// Inside.
    pub container_port: u16,
    /// `tcp` or `udp`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Outside.
    #[serde(default)]
    pub host_ports: Vec<HostPort>,
}

/// Where a port is reached.
#[derive(Clone, Debug, Deserialize)]
pub struct HostPort {
    /// The port.
    pub host_port: u16,
    /// The address it is bound to.
    #[serde(default)]
    pub host_ip: Option<String>,
}

/// Something mounted into an app.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// On the NAS.
    pub source: String,
    /// In the app.
    pub destination: String,
    /// `rw` or `ro`.
    #[serde(default)]
    pub mode: Option<String>,
    /// `bind`, `volume`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

impl Queryable for Apps {
    const SELECT: &'static [&'static str] = &[
        "name",
        "state",
        "version",
        "human_version",
        "upgrade_available",
        "latest_version",
        "latest_app_version",
        "image_updates_available",
        "custom_app",
        "portals",
        "metadata.title",
        "metadata.app_version",
        "metadata.train",
        "metadata.host_mounts",
        "metadata.capabilities",
        "active_workloads",
    ];
}

impl Queryable for Brief {
    const SELECT: &'static [&'static str] = &[
        "name",
        "state",
        "version",
        "human_version",
        "upgrade_available",
        "latest_version",
        "latest_app_version",
        "image_updates_available",
        "custom_app",
        "metadata.title",
        "metadata.app_version",
        "metadata.train",
    ];
}

impl Queryable for AppCount {
    const COUNT: bool = true;
}

impl Method for AppCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.query");
    const ROLE: Option<&'static str> = APPS_READ;
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        Query::all()
    }
}

impl Method for Brief {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<App>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.query");
    const ROLE: Option<&'static str> = APPS_READ;
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        all().limit(100)
    }
}

impl Method for Apps {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<App>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.query");
    const ROLE: Option<&'static str> = APPS_READ;
    const TOLD: bool = true;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        all().limit(50)
    }
}

/// What somebody set an app up with. Secrets stand in it as they are.
#[derive(Clone, Copy, Debug)]
pub struct Config;

impl Method for Config {
    type Access = Read;
    type Params = (AppName,);
    type Reply = Map<String, Value>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.config");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        (plex(),)
    }
}

/// Images on the NAS.
#[derive(Clone, Copy, Debug)]
pub struct Images;

/// An image.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// Docker's number of it.
    pub id: String,
    /// Its names.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub repo_tags: Vec<String>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// When it was made.
    #[serde(default)]
    pub created: Option<String>,
    /// No name points to it any more.
    #[serde(default)]
    pub dangling: Option<bool>,
    /// The registry has a newer one of the same name.
    #[serde(default)]
    pub update_available: Option<bool>,
}

impl Queryable for Images {
    const SELECT: &'static [&'static str] =
        &["id", "repo_tags", "size", "created", "dangling", "update_available"];
}

impl Method for Images {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Image>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.image.query");
    const ROLE: Option<&'static str> = APPS_READ;
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all().order("-size").limit(100)
    }
}

/// Ports of the NAS that apps use.
#[derive(Clone, Copy, Debug)]
pub struct UsedPorts;

impl Method for UsedPorts {
    type Access = Read;
    type Params = Nothing;
    type Reply = Vec<u16>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.used_ports");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        []
    }
}

/// Addresses of the NAS that apps are bound to, by app.
#[derive(Clone, Copy, Debug)]
pub struct UsedHostIps;

impl Method for UsedHostIps {
    type Access = Read;
    type Params = Nothing;
    type Reply = BTreeMap<String, Vec<String>>;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(Version::new(25, 10, 0), "app.used_host_ips")];
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        []
    }
}

/// What the catalogue has. Whole, it is more than a MiB.
#[derive(Clone, Copy, Debug)]
pub struct Available;

/// How many apps of the catalogue there are.
#[derive(Clone, Copy, Debug)]
pub struct AvailableCount;

/// Apps of the catalogue whose title has `text` in it, in whatever case.
#[must_use]
pub fn titled<M: Queryable>(text: &str) -> Query<M> {
    Query::all().filter("title", Compare::HasInAnyCase, text)
}

/// The apps of this name; each train has its own.
#[must_use]
pub fn named(name: &AppName) -> Query<Available> {
    Query::all().filter("name", Compare::Is, name.as_str())
}

/// An app of the catalogue.
#[derive(Clone, Debug, Deserialize)]
pub struct CatalogApp {
    /// Its name.
    pub name: String,
    /// What people call it.
    #[serde(default)]
    pub title: Option<String>,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// The part of the catalogue.
    #[serde(default)]
    pub train: Option<String>,
    /// What it is filed under.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub categories: Vec<String>,
    /// Words it is found by.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub tags: Vec<String>,
    /// The newest chart.
    #[serde(default)]
    pub latest_version: Option<String>,
    /// The program in it.
    #[serde(default)]
    pub latest_app_version: Option<String>,
    /// It is installed here.
    #[serde(default)]
    pub installed: Option<bool>,
    /// Whether it can be installed.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// Why not.
    #[serde(default)]
    pub healthy_error: Option<String>,
    /// Its page.
    #[serde(default)]
    pub home: Option<String>,
    /// When it was last changed.
    #[serde(default)]
    pub last_update: Option<Date>,
}

impl Queryable for Available {
    const SELECT: &'static [&'static str] = &[
        "name",
        "title",
        "description",
        "train",
        "categories",
        "tags",
        "latest_version",
        "latest_app_version",
        "installed",
        "healthy",
        "healthy_error",
        "home",
        "last_update",
    ];
}

impl Queryable for AvailableCount {
    const COUNT: bool = true;
}

impl Method for AvailableCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.available");
    const ROLE: Option<&'static str> = Some("CATALOG_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        titled("plex")
    }
}

impl Method for Available {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<CatalogApp>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.available");
    const ROLE: Option<&'static str> = Some("CATALOG_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        titled("plex").filter("categories", Compare::Has, "media").order("name").limit(20)
    }
}

/// What an upgrade of an app would bring. An error where there is none.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeSummary;

/// What [`UpgradeSummary`] answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Upgrade {
    /// The newest program and chart.
    #[serde(default)]
    pub latest_human_version: Option<String>,
    /// What it would be upgraded to.
    #[serde(default)]
    pub upgrade_version: Option<String>,
    /// The same with the program's version.
    #[serde(default)]
    pub upgrade_human_version: Option<String>,
    /// What is new.
    #[serde(default)]
    pub changelog: Option<String>,
    /// What could be chosen.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub available_versions_for_upgrade: Vec<UpgradeChoice>,
}

/// A version to upgrade to.
#[derive(Clone, Debug, Deserialize)]
pub struct UpgradeChoice {
    /// The chart.
    pub version: String,
    /// Program and chart.
    pub human_version: String,
}

impl Method for UpgradeSummary {
    type Access = Read;
    type Params = (AppName,);
    type Reply = Upgrade;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.upgrade_summary");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        (plex(),)
    }
}

/// The images of an app that their registries have newer ones of.
#[derive(Clone, Copy, Debug)]
pub struct OutdatedImages;

impl Method for OutdatedImages {
    type Access = Read;
    type Params = (AppName,);
    type Reply = Vec<String>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("app.outdated_docker_images");
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Params {
        (plex(),)
    }
}

/// What the containers of each app use, every so many seconds.
#[derive(Clone, Copy, Debug)]
pub struct Stats;

/// How often [`Stats`] tells.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Every {
    /// Seconds, at least two.
    pub interval: u8,
}

/// What an app uses.
#[derive(Clone, Debug, Deserialize)]
pub struct Usage {
    /// The app.
    pub app_name: String,
    /// Percent of a processor.
    pub cpu_usage: f64,
    /// Bytes of memory.
    pub memory: u64,
    /// By interface.
    #[serde(default)]
    pub networks: Vec<Traffic>,
    /// Of its disks.
    #[serde(default)]
    pub blkio: Option<BlockIo>,
}

/// What goes through an interface of an app, in bytes a second.
#[derive(Clone, Debug, Deserialize)]
pub struct Traffic {
    /// In.
    pub rx_bytes: f64,
    /// Out.
    pub tx_bytes: f64,
}

/// What an app has read and written since it was started, in bytes.
#[derive(Clone, Debug, Deserialize)]
pub struct BlockIo {
    /// Read.
    pub read: u64,
    /// Written.
    pub write: u64,
}

impl Source for Stats {
    type Args = Every;
    type Item = Vec<Usage>;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(OLDEST, "app.stats")];
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Args {
        Every { interval: 2 }
    }
}

/// What a container prints, and has printed last. There is no plain call for it.
#[derive(Clone, Copy, Debug)]
pub struct Log;

/// Of which container.
#[derive(Clone, Debug, Serialize)]
pub struct LogOf {
    /// The app.
    pub app_name: AppName,
    /// Docker's number of the container.
    pub container_id: String,
    /// How many past lines.
    pub tail_lines: u16,
}

/// A piece of what was printed; mostly one line.
#[derive(Clone, Debug, Deserialize)]
pub struct Printed {
    /// With its line feeds.
    pub data: String,
    /// When.
    #[serde(default)]
    pub timestamp: Option<String>,
}

impl Source for Log {
    type Args = LogOf;
    type Item = Printed;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(OLDEST, "app.container_log_follow")];
    const ROLE: Option<&'static str> = APPS_READ;

    fn example() -> Self::Args {
        LogOf { app_name: plex(), container_id: "f".repeat(64), tail_lines: 100 }
    }
}

#[expect(clippy::expect_used, reason = "the name is right there")]
fn plex() -> AppName {
    "plex".parse().expect("a name of an app")
}

/// Starts an app.
#[derive(Clone, Copy, Debug)]
pub struct Start;

/// Stops an app.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

/// Makes an app's containers anew.
#[derive(Clone, Copy, Debug)]
pub struct Redeploy;

macro_rules! job {
    ($item:ident, $name:literal) => {
        impl Method for $item {
            type Access = Write;
            type Params = (AppName,);
            type Reply = i64;
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some("APPS_WRITE");
            const JOB: bool = true;

            fn example() -> Self::Params {
                ("plex".parse().expect("an app"),)
            }
        }
    };
}

job!(Start, "app.start");
job!(Stop, "app.stop");
job!(Redeploy, "app.redeploy");
