//! What runs on the NAS, in one list.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::query::Query;
use crate::nas::methods::{app, service, vm};

use super::limit::Limit;
use super::render::{foreign, shown_of, table};
use super::seen::Seen;
use super::users_of::containers;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Inventory>()]
}

struct Inventory;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InventoryArgs {
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 500>,
}

/// What is installed and can run.
#[derive(Serialize, JsonSchema)]
struct InventoryOutput {
    /// One for each.
    items: Vec<Item>,
    /// How many there are in all.
    total: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    /// app, machine, container or service.
    kind: &'static str,
    /// Name.
    name: String,
    /// RUNNING, STOPPED or what else the NAS says.
    state: String,
    /// Version and ports of an app, memory of a machine, whether it starts with the NAS.
    about: String,
}

impl Tool for Inventory {
    const NAME: &'static str = "inventory_get";
    const TITLE: &'static str = "What runs on the NAS";
    const DESCRIPTION: &'static str =
        "All that can run: apps with version and ports, machines, containers, services.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] =
        needs![app::Apps, vm::Machines, vm::Containers, vm::Instances, service::Services];
    type Args = InventoryArgs;
    type Output = InventoryOutput;

    async fn run(nas: &Session<'_, Read>, args: InventoryArgs) -> Result<InventoryOutput, ToolError> {
        let mut unseen = Seen::default();
        let apps = unseen.or_default("apps", nas.call(app::Apps, app::all()).await)?;
        let mut items: Vec<_> = apps.iter().map(of_app).collect();
        let machines = nas.call(vm::Machines, Query::all().order("name")).await;
        items.extend(unseen.or_default("virtual machines", machines)?.iter().map(of_machine));
        let containers = containers(nas, &mut unseen).await?.into_iter().map(|(name, runs)| Item {
            kind: "container",
            name,
            state: if runs { "RUNNING" } else { "STOPPED" }.to_owned(),
            about: String::new(),
        });
        items.extend(containers);
        let services = nas.call(service::Services, service::all()).await;
        items.extend(unseen.or_default("services", services)?.iter().map(of_service));
        let total = items.len();
        items.truncate(args.limit.get());
        Ok(InventoryOutput { items, total, not_seen: unseen.not })
    }
}

fn of_app(app: &app::App) -> Item {
    let ports = app.active_workloads.used_ports.iter().flat_map(|port| &port.host_ports);
    let ports: BTreeSet<_> = ports.map(|host| host.host_port).collect();
    let mut about = foreign(app.human_version.as_deref().unwrap_or("version unknown"), 80);
    if !ports.is_empty() {
        let ports: Vec<_> = ports.iter().take(20).map(u16::to_string).collect();
        let _ = write!(about, ", port {}", ports.join(", "));
    }
    Item { kind: "app", name: foreign(&app.name, 60), state: foreign(&app.state, 20), about }
}

fn of_machine(machine: &vm::Machine) -> Item {
    let state = machine.status.as_ref().map_or("UNKNOWN", |status| status.state.as_str());
    Item {
        kind: "machine",
        name: foreign(&machine.name, 100),
        state: foreign(state, 20),
        about: starts(machine.autostart),
    }
}

fn of_service(service: &service::Service) -> Item {
    Item {
        kind: "service",
        name: foreign(&service.service, 60),
        state: foreign(service.state.as_deref().unwrap_or("UNKNOWN"), 20),
        about: starts(service.enable),
    }
}

fn starts(by_itself: Option<bool>) -> String {
    if by_itself == Some(true) { "starts with the NAS".to_owned() } else { String::new() }
}

impl Items for InventoryOutput {
    fn items(&self) -> usize {
        self.items.len()
    }
}

impl fmt::Display for InventoryOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .items
            .iter()
            .map(|item| [item.kind.to_owned(), item.name.clone(), item.state.clone(), item.about.clone()])
            .collect();
        f.write_str(&table(["KIND", "NAME", "STATE", "ABOUT"], &rows))?;
        f.write_str(&shown_of(self.items.len(), self.total, "Raise limit to see more."))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}
