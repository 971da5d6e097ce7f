//! Apps that are there: how they are, what they use, their ports and images.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::app;
use crate::nas::methods::query::Query;
use crate::nas::{Bounds, NasError, Session};

use super::super::limit::{Limit, first};
use super::super::render::{foreign, shown_of, size, table};
use super::super::{Entry, Items, Log, Need, Nothing, Tool, ToolError, needs};
use super::{OF_APP, OfApp, find, target};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::read::<List>(),
        Entry::read::<Get>(),
        Entry::read::<Stats>(),
        Entry::read::<Images>(),
        Entry::read::<Ports>(),
    ]
}

// apps_list

struct List;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 500>,
}

/// Apps, by name.
#[derive(Serialize, JsonSchema)]
struct ListOutput {
    /// The apps shown.
    apps: Vec<App>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct App {
    /// Name.
    name: String,
    /// Title in the catalogue.
    title: Option<String>,
    /// RUNNING, STOPPED, CRASHED, DEPLOYING, STOPPING.
    state: String,
    /// Version of the program.
    version: Option<String>,
    /// Version of the chart it is packed in.
    chart: Option<String>,
    /// A newer chart is there.
    upgrade_available: Option<bool>,
    /// Made from a compose file of somebody's own, not from the catalogue.
    custom: Option<bool>,
}

impl Tool for List {
    const NAME: &'static str = "apps_list";
    const TITLE: &'static str = "Apps";
    const DESCRIPTION: &'static str = "Installed apps with state, versions and whether an upgrade is there. More of one: app_get. What they use: app_stats.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![app::Brief, app::AppCount];
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        let (apps, total) =
            first(nas, (app::Brief, app::all()), (app::AppCount, Query::all()), args.limit.get()).await?;
        Ok(ListOutput { apps: apps.iter().map(brief).collect(), total })
    }
}

fn brief(app: &app::App) -> App {
    let text = |text: &Option<String>| text.as_deref().map(|text| foreign(text, 60));
    App {
        name: foreign(&app.name, 60),
        title: text(&app.metadata.title),
        state: foreign(&app.state, 20),
        version: text(&app.metadata.app_version),
        chart: text(&app.version),
        upgrade_available: app.upgrade_available,
        custom: app.custom_app,
    }
}

impl Items for ListOutput {
    fn items(&self) -> usize {
        self.apps.len()
    }
}

impl fmt::Display for ListOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.apps.is_empty() {
            return writeln!(f, "There are no apps.");
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let rows: Vec<_> = self
            .apps
            .iter()
            .map(|app| {
                [
                    app.name.clone(),
                    app.state.clone(),
                    text(&app.version),
                    text(&app.chart),
                    if app.upgrade_available == Some(true) { "yes".to_owned() } else { String::new() },
                    if app.custom == Some(true) { "custom".to_owned() } else { "catalogue".to_owned() },
                ]
            })
            .collect();
        f.write_str(&table(["APP", "STATE", "VERSION", "CHART", "UPGRADE", "FROM"], &rows))?;
        f.write_str(&shown_of(self.apps.len(), self.total, "Raise limit to see more."))
    }
}

// app_get

struct Get;

/// An app with what runs of it.
#[derive(Serialize, JsonSchema)]
struct GetOutput {
    /// The app itself.
    app: App,
    /// The part of the catalogue it is from.
    train: Option<String>,
    /// Its containers.
    containers: Vec<Container>,
    /// Where it is reached.
    ports: Vec<Port>,
    /// What of the NAS it sees.
    mounts: Vec<Mount>,
    /// Docker's networks that it is in.
    networks: Vec<String>,
    /// Its pages, as the app names them.
    pages: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
struct Container {
    /// Its name in the app, for `app_logs`.
    name: String,
    /// running, exited, crashed, created, starting.
    state: String,
    /// Its image.
    image: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Port {
    /// Address and port on the NAS.
    on_nas: String,
    /// Port in the app.
    in_app: u16,
    /// tcp or udp.
    protocol: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Mount {
    /// Path on the NAS.
    on_nas: String,
    /// Path in the app.
    in_app: String,
    /// Whether the app can only read it.
    read_only: bool,
}

impl Tool for Get {
    const NAME: &'static str = "app_get";
    const TITLE: &'static str = "An app";
    const DESCRIPTION: &'static str = "One app: state, versions, containers with images, ports, networks, \
        what of the NAS is mounted into it, and its pages.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = OF_APP;
    const NEEDS: &'static [Need] = needs![app::Apps];
    type Args = OfApp;
    type Output = GetOutput;

    fn target(args: &OfApp) -> Option<String> {
        Some(target(args))
    }

    async fn run(nas: &Session<'_, Read>, args: OfApp) -> Result<GetOutput, ToolError> {
        let found = find(nas, &args.app).await?;
        let app = brief(&found);
        let workloads = found.active_workloads;
        let containers = workloads.container_details.iter().map(|one| Container {
            name: foreign(&one.service_name, 80),
            state: foreign(one.state.as_deref().unwrap_or("unknown"), 20),
            image: one.image.as_deref().map(|image| foreign(image, 200)),
        });
        let mounts = workloads.volumes.iter().map(|one| Mount {
            on_nas: foreign(&one.source, 200),
            in_app: foreign(&one.destination, 200),
            read_only: one.mode.as_deref() == Some("ro"),
        });
        let pages = found
            .portals
            .iter()
            .take(20)
            .filter_map(|(name, url)| Some((foreign(name, 60), foreign(url.as_str()?, 200))));
        Ok(GetOutput {
            app,
            train: found.metadata.train.map(|train| foreign(&train, 40)),
            containers: containers.collect(),
            ports: workloads.used_ports.iter().flat_map(ports).collect(),
            mounts: mounts.collect(),
            networks: workloads.networks.iter().map(|one| foreign(&one.name, 80)).collect(),
            pages: pages.collect(),
        })
    }
}

fn ports(port: &app::Port) -> impl Iterator<Item = Port> {
    port.host_ports.iter().map(|host| {
        let ip = foreign(host.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0"), 60);
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
        Port {
            on_nas: format!("{ip}:{}", host.host_port),
            in_app: port.container_port,
            protocol: port.protocol.as_deref().map(|protocol| foreign(protocol, 10)),
        }
    })
}

impl Items for GetOutput {
    fn items(&self) -> usize {
        1
    }
}

impl fmt::Display for GetOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let App { name, state, version, chart, upgrade_available, .. } = &self.app;
        let version = version.as_deref().unwrap_or("?");
        writeln!(f, "{name}: {state}, version {version}, chart {}", chart.as_deref().unwrap_or("?"))?;
        if *upgrade_available == Some(true) {
            writeln!(f, "An upgrade is there: app_upgrade_summary.")?;
        }
        for Container { name, state, image } in &self.containers {
            writeln!(f, "- container {name}: {state}, {}", image.as_deref().unwrap_or("image unknown"))?;
        }
        for Port { on_nas, in_app, protocol } in &self.ports {
            writeln!(f, "- port {on_nas} to {in_app}/{}", protocol.as_deref().unwrap_or("?"))?;
        }
        for Mount { on_nas, in_app, read_only } in &self.mounts {
            writeln!(f, "- {on_nas} at {in_app}{}", if *read_only { ", read only" } else { "" })?;
        }
        if !self.networks.is_empty() {
            writeln!(f, "- networks: {}", self.networks.join(", "))?;
        }
        for (name, url) in &self.pages {
            let any =
                if url.contains("://0.0.0.0") { " (0.0.0.0 stands for the address of the NAS)" } else { "" };
            writeln!(f, "- page {name}: {url}{any}")?;
        }
        Ok(())
    }
}

// app_stats

struct Stats;

/// What running apps use at this moment, the busiest first.
#[derive(Serialize, JsonSchema)]
struct StatsOutput {
    /// The apps.
    apps: Vec<Usage>,
}

#[derive(Serialize, JsonSchema)]
struct Usage {
    /// Name.
    app: String,
    /// Percent of a processor.
    cpu_percent: f64,
    /// Bytes of memory.
    memory_bytes: u64,
    /// Bytes a second that come in.
    received_bytes_per_second: f64,
    /// Bytes a second that go out.
    sent_bytes_per_second: f64,
    /// Bytes read from disk since it was started.
    read_bytes: Option<u64>,
    /// Bytes written to disk since it was started.
    written_bytes: Option<u64>,
}

impl Tool for Stats {
    const NAME: &'static str = "app_stats";
    const TITLE: &'static str = "What apps use";
    const DESCRIPTION: &'static str = "Processor, memory, network and disk use of running apps now, the \
        busiest first. One sample; takes some seconds.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![app::Stats];
    type Args = Nothing;
    type Output = StatsOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<StatsOutput, ToolError> {
        let bounds = Bounds { items: 1, bytes: 1 << 20, time: Duration::from_secs(10) };
        let mut told = nas.follow(app::Stats, app::Every { interval: 2 }, bounds).await?;
        let Some(sample) = told.items.pop() else {
            return Err(NasError::Timeout { after: bounds.time }.into());
        };
        let mut apps: Vec<_> = sample.iter().map(usage).collect();
        apps.sort_by(|one, other| {
            other.cpu_percent.total_cmp(&one.cpu_percent).then(other.memory_bytes.cmp(&one.memory_bytes))
        });
        Ok(StatsOutput { apps })
    }
}

fn usage(usage: &app::Usage) -> Usage {
    Usage {
        app: foreign(&usage.app_name, 60),
        cpu_percent: usage.cpu_usage,
        memory_bytes: usage.memory,
        received_bytes_per_second: usage.networks.iter().map(|one| one.rx_bytes).sum(),
        sent_bytes_per_second: usage.networks.iter().map(|one| one.tx_bytes).sum(),
        read_bytes: usage.blkio.as_ref().map(|io| io.read),
        written_bytes: usage.blkio.as_ref().map(|io| io.write),
    }
}

impl Items for StatsOutput {
    fn items(&self) -> usize {
        self.apps.len()
    }
}

impl fmt::Display for StatsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.apps.is_empty() {
            return writeln!(f, "No app runs.");
        }
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        let rows: Vec<_> = self
            .apps
            .iter()
            .map(|app| {
                [
                    app.app.clone(),
                    format!("{:.0} %", app.cpu_percent),
                    size(app.memory_bytes),
                    rate(app.received_bytes_per_second),
                    rate(app.sent_bytes_per_second),
                    bytes(app.read_bytes),
                    bytes(app.written_bytes),
                ]
            })
            .collect();
        f.write_str(&table(["APP", "CPU", "MEMORY", "IN", "OUT", "READ", "WRITTEN"], &rows))
    }
}

fn rate(bytes: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float stops at the ends of the range"
    )]
    let whole = bytes as u64;
    format!("{}/s", size(whole))
}

// images_list

struct Images;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImagesArgs {
    /// At most this many, the largest first.
    #[serde(default)]
    limit: Limit<50, 500>,
}

/// Container images, the largest first.
#[derive(Serialize, JsonSchema)]
struct ImagesOutput {
    /// The images shown.
    images: Vec<Image>,
    /// How many there are in all.
    total: usize,
    /// Bytes of all of them. Layers that several share are counted for each.
    total_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct Image {
    /// Its names, or its number where it has none.
    names: Vec<String>,
    /// Bytes.
    size_bytes: Option<u64>,
    /// When it was made.
    created: Option<String>,
    /// No name points to it any more.
    dangling: bool,
    /// The registry has a newer one.
    update_available: Option<bool>,
}

impl Tool for Images {
    const NAME: &'static str = "images_list";
    const TITLE: &'static str = "Container images";
    const DESCRIPTION: &'static str = "Container images on the NAS, the largest first, with size, and \
        whether they are unused or have a newer version.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![app::Images];
    type Args = ImagesArgs;
    type Output = ImagesOutput;

    async fn run(nas: &Session<'_, Read>, args: ImagesArgs) -> Result<ImagesOutput, ToolError> {
        let mut images = nas.call(app::Images, Query::all()).await?;
        images.sort_by_key(|image| std::cmp::Reverse(image.size));
        let total = images.len();
        let total_bytes = images.iter().filter_map(|image| image.size).fold(0, u64::saturating_add);
        let images = images.into_iter().take(args.limit.get()).map(image).collect();
        Ok(ImagesOutput { images, total, total_bytes })
    }
}

fn image(image: app::Image) -> Image {
    let mut names: Vec<_> = image.repo_tags.iter().take(5).map(|name| foreign(name, 200)).collect();
    if names.is_empty() {
        names.push(foreign(&image.id, 80));
    }
    Image {
        names,
        size_bytes: image.size,
        created: image.created.map(|at| foreign(&at, 40)),
        dangling: image.dangling == Some(true),
        update_available: image.update_available,
    }
}

impl Items for ImagesOutput {
    fn items(&self) -> usize {
        self.images.len()
    }
}

impl fmt::Display for ImagesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} images, {} in all.", self.total, size(self.total_bytes))?;
        for image in &self.images {
            let bytes = image.size_bytes.map_or_else(|| "size unknown".to_owned(), size);
            let dangling = if image.dangling { ", unused" } else { "" };
            let update = if image.update_available == Some(true) { ", newer one available" } else { "" };
            writeln!(f, "- {}: {bytes}{dangling}{update}", image.names.join(", "))?;
        }
        f.write_str(&shown_of(self.images.len(), self.total, "Raise limit to see more."))
    }
}

// app_ports

struct Ports;

/// Ports of the NAS that apps use.
#[derive(Serialize, JsonSchema)]
struct PortsOutput {
    /// The ports, in order.
    ports: Vec<u16>,
    /// Ports of running apps, by app.
    by_app: BTreeMap<String, BTreeSet<u16>>,
    /// Addresses that apps are bound to, by app; absent where this TrueNAS does not tell.
    addresses: Option<BTreeMap<String, Vec<String>>>,
}

impl Tool for Ports {
    const NAME: &'static str = "app_ports";
    const TITLE: &'static str = "Ports that apps use";
    const DESCRIPTION: &'static str = "Ports of the NAS that apps already use, and the addresses they are \
        bound to. Look here before choosing a port.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![app::UsedPorts, app::UsedHostIps, app::Apps];
    type Args = Nothing;
    type Output = PortsOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<PortsOutput, ToolError> {
        let mut ports = nas.call(app::UsedPorts, []).await?;
        ports.sort_unstable();
        ports.dedup();
        let addresses = match nas.call(app::UsedHostIps, []).await {
            Ok(addresses) => Some(addresses),
            Err(NasError::NoSuchMethod { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let clean = |ips: Vec<String>| ips.iter().take(20).map(|ip| foreign(ip, 60)).collect();
        let addresses = addresses.map(|addresses| {
            addresses.into_iter().map(|(app, ips)| (foreign(&app, 60), clean(ips))).collect()
        });
        let apps = nas.call(app::Apps, app::all()).await?;
        let by_app = apps.iter().filter_map(|app| {
            let outside = app.active_workloads.used_ports.iter().flat_map(|port| &port.host_ports);
            let outside: BTreeSet<_> = outside.map(|host| host.host_port).collect();
            (!outside.is_empty()).then(|| (foreign(&app.name, 60), outside))
        });
        Ok(PortsOutput { ports, by_app: by_app.collect(), addresses })
    }
}

impl Items for PortsOutput {
    fn items(&self) -> usize {
        self.ports.len()
    }
}

impl fmt::Display for PortsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |port: &u16| {
            let used = |(app, ports): (&String, &BTreeSet<u16>)| ports.contains(port).then(|| app.clone());
            let apps: Vec<_> = self.by_app.iter().filter_map(used).collect();
            format!(
                "{port} ({})",
                if apps.is_empty() { "of no running app".to_owned() } else { apps.join(", ") }
            )
        };
        let ports: Vec<_> = self.ports.iter().map(told).collect();
        writeln!(f, "Ports in use: {}", if ports.is_empty() { "none".to_owned() } else { ports.join(", ") })?;
        match &self.addresses {
            None => writeln!(f, "This TrueNAS does not tell which addresses they are bound to."),
            Some(addresses) => addresses
                .iter()
                .try_for_each(|(app, ips)| writeln!(f, "- {app} is bound to {}", ips.join(", "))),
        }
    }
}
