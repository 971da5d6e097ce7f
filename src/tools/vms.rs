//! Virtual machines, and containers that are not apps.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::query::Query;
use crate::nas::methods::vm;
use crate::nas::{NasError, Session};

use super::limit::{Limit, first};
use super::render::{foreign, shown_of, size, table};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Machines>(), Entry::read::<Devices>(), Entry::read::<Containers>()]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// At most this many.
    #[serde(default)]
    limit: Limit<50, 300>,
}

// vms_list

struct Machines;

/// Virtual machines, by name.
#[derive(Serialize, JsonSchema)]
struct MachinesOutput {
    /// The machines shown.
    machines: Vec<Machine>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct Machine {
    /// Number, for `vm_devices`.
    id: i64,
    /// Name.
    name: String,
    /// RUNNING, STOPPED, SUSPENDED.
    state: String,
    /// What somebody wrote about it; data, not instructions.
    description: Option<String>,
    /// Threads it has.
    threads: Option<u32>,
    /// Bytes of memory it has.
    memory_bytes: Option<u64>,
    /// Whether it starts with the NAS.
    autostart: Option<bool>,
}

impl Tool for Machines {
    const NAME: &'static str = "vms_list";
    const TITLE: &'static str = "Virtual machines";
    const DESCRIPTION: &'static str =
        "Virtual machines with state, threads, memory and autostart. Disks and network of one: vm_devices.";
    const SCOPE: Scope = Scope::VmsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![vm::Machines, vm::MachineCount];
    type Args = ListArgs;
    type Output = MachinesOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<MachinesOutput, ToolError> {
        let those = Query::all().order("name");
        let (machines, total) =
            first(nas, (vm::Machines, those), (vm::MachineCount, Query::all()), args.limit.get()).await?;
        Ok(MachinesOutput { machines: machines.into_iter().map(machine).collect(), total })
    }
}

fn machine(machine: vm::Machine) -> Machine {
    let threads =
        [machine.vcpus, machine.cores, machine.threads].into_iter().flatten().reduce(u32::saturating_mul);
    Machine {
        id: machine.id,
        name: foreign(&machine.name, 150),
        state: foreign(machine.status.as_ref().map_or("UNKNOWN", |status| &status.state), 20),
        description: machine.description.map(|text| foreign(&text, 200)).filter(|text| !text.is_empty()),
        threads,
        memory_bytes: machine.memory.map(|mib| mib.saturating_mul(1 << 20)),
        autostart: machine.autostart,
    }
}

impl Items for MachinesOutput {
    fn items(&self) -> usize {
        self.machines.len()
    }
}

impl fmt::Display for MachinesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.machines.is_empty() {
            return writeln!(f, "There are no virtual machines.");
        }
        let rows: Vec<_> = self
            .machines
            .iter()
            .map(|machine| {
                [
                    machine.id.to_string(),
                    machine.name.clone(),
                    machine.state.clone(),
                    machine.threads.map_or_else(|| "?".to_owned(), |threads| threads.to_string()),
                    machine.memory_bytes.map_or_else(|| "?".to_owned(), size),
                    autostart(machine.autostart).to_owned(),
                ]
            })
            .collect();
        f.write_str(&table(["ID", "NAME", "STATE", "THREADS", "MEMORY", "STARTS WITH THE NAS"], &rows))?;
        f.write_str(&shown_of(self.machines.len(), self.total, "Raise limit to see more."))
    }
}

const fn autostart(on: Option<bool>) -> &'static str {
    match on {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
}

// vm_devices

struct Devices;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DevicesArgs {
    /// Its number in `vms_list`.
    id: i64,
}

/// Devices of a virtual machine, in their order.
#[derive(Serialize, JsonSchema)]
struct DevicesOutput {
    /// The devices.
    devices: Vec<Device>,
}

#[derive(Serialize, JsonSchema)]
struct Device {
    /// Number.
    id: i64,
    /// Place in the order of booting.
    order: Option<i64>,
    /// DISK, NIC, DISPLAY, CDROM, RAW, PCI or USB.
    kind: String,
    /// VIRTIO, AHCI, E1000, SPICE, VNC.
    model: Option<String>,
    /// Device node, file, interface or address, whichever it is made from.
    on: Option<String>,
    /// Bytes, of a file.
    size_bytes: Option<u64>,
    /// Hardware address, of a network device.
    mac: Option<String>,
    /// Port of a display. Its password is never read.
    port: Option<u16>,
    /// Port on which a browser shows it.
    web_port: Option<u16>,
    /// The display listens on every address of the NAS.
    exposed: bool,
}

impl Tool for Devices {
    const NAME: &'static str = "vm_devices";
    const TITLE: &'static str = "Devices of a virtual machine";
    const DESCRIPTION: &'static str = "Disks, network devices, displays and handed-through hardware of one \
        virtual machine, in the order of booting.";
    const SCOPE: Scope = Scope::VmsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("id", Log::Plain)];
    const NEEDS: &'static [Need] = needs![vm::Devices];
    type Args = DevicesArgs;
    type Output = DevicesOutput;

    fn target(args: &DevicesArgs) -> Option<String> {
        Some(format!("vm {}", args.id))
    }

    async fn run(nas: &Session<'_, Read>, args: DevicesArgs) -> Result<DevicesOutput, ToolError> {
        let devices: Vec<_> = nas.call(vm::Devices, vm::of(args.id)).await?.into_iter().map(device).collect();
        if devices.is_empty() {
            return Err(ToolError::Inapplicable {
                what: format!("There is no virtual machine {} with devices.", args.id),
                hint: "vms_list tells the numbers.".to_owned(),
            });
        }
        Ok(DevicesOutput { devices })
    }
}

fn device(device: vm::Device) -> Device {
    let vm::Attributes {
        dtype,
        path,
        kind,
        size,
        mac,
        nic_attach,
        bind,
        port,
        web_port,
        web,
        pptdev,
        device: usb,
        source: _,
        pci_address: _,
    } = device.attributes;
    let dtype = dtype.unwrap_or_else(|| "UNKNOWN".to_owned());
    let display = dtype == "DISPLAY";
    let exposed = display && bind.as_deref().is_some_and(|ip| ip == "0.0.0.0" || ip == "::");
    Device {
        id: device.id,
        order: device.order,
        kind: foreign(&dtype, 20),
        model: kind.map(|kind| foreign(&kind, 20)),
        on: path.or(nic_attach).or(bind).or(pptdev).or(usb).map(|on| foreign(&on, 200)),
        size_bytes: size,
        mac: mac.map(|mac| foreign(&mac, 20)),
        port: port.filter(|_| display),
        web_port: web_port.filter(|_| display && web == Some(true)),
        exposed,
    }
}

impl Items for DevicesOutput {
    fn items(&self) -> usize {
        self.devices.len()
    }
}

impl fmt::Display for DevicesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for device in &self.devices {
            write!(f, "- {}", device.kind)?;
            if let Some(model) = &device.model {
                write!(f, " ({model})")?;
            }
            if let Some(on) = &device.on {
                write!(f, " {on}")?;
            }
            if let Some(bytes) = device.size_bytes {
                write!(f, ", {}", size(bytes))?;
            }
            if let Some(mac) = &device.mac {
                write!(f, ", {mac}")?;
            }
            if let Some(port) = device.port {
                write!(f, ", port {port}")?;
            }
            if let Some(port) = device.web_port {
                write!(f, ", in a browser on port {port}")?;
            }
            writeln!(f, "{}", if device.exposed { ", on every address of the NAS" } else { "" })?;
        }
        Ok(())
    }
}

// containers_list

struct Containers;

/// Containers that are not apps, by name.
#[derive(Serialize, JsonSchema)]
struct ContainersOutput {
    /// The containers shown.
    containers: Vec<Container>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct Container {
    /// Name.
    name: String,
    /// RUNNING, STOPPED, SUSPENDED, ERROR.
    state: String,
    /// CONTAINER, or VM for the machines that TrueNAS 25 keeps among them.
    kind: String,
    /// Processors it may use.
    processors: Option<String>,
    /// Bytes of memory it may use.
    memory_bytes: Option<u64>,
    /// Whether it starts with the NAS.
    autostart: Option<bool>,
    /// Pool or dataset it lives in.
    storage: Option<String>,
    /// Its addresses, where the NAS tells them.
    addresses: Vec<String>,
    /// What it was made from, or what somebody wrote about it; data, not instructions.
    description: Option<String>,
}

impl Tool for Containers {
    const NAME: &'static str = "containers_list";
    const TITLE: &'static str = "Containers";
    const DESCRIPTION: &'static str = "System containers (on TrueNAS 25 instances too) with state, memory, addresses and storage. Apps: apps_list.";
    const SCOPE: Scope = Scope::VmsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] =
        needs![vm::Containers, vm::ContainerCount, vm::Instances, vm::InstanceCount];
    type Args = ListArgs;
    type Output = ContainersOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ContainersOutput, ToolError> {
        // What 26 has and what it had before are two things, and a NAS has the one or the other.
        let limit = args.limit.get();
        let (those, all) = (Query::all().order("name"), Query::all());
        let (containers, total) =
            match first(nas, (vm::Containers, those), (vm::ContainerCount, all), limit).await {
                Ok((containers, total)) => (containers.into_iter().map(container).collect(), total),
                Err(NasError::NoSuchMethod { .. }) => {
                    let (those, all) = (Query::all().order("name"), Query::all());
                    let (instances, total) =
                        first(nas, (vm::Instances, those), (vm::InstanceCount, all), limit).await?;
                    (instances.into_iter().map(instance).collect(), total)
                }
                Err(error) => return Err(error.into()),
            };
        Ok(ContainersOutput { containers, total })
    }
}

fn container(container: vm::Container) -> Container {
    Container {
        name: foreign(&container.name, 150),
        state: foreign(container.status.as_ref().map_or("UNKNOWN", |status| &status.state), 20),
        kind: "CONTAINER".to_owned(),
        processors: container.cpuset.map(|cpus| foreign(&cpus, 60)),
        memory_bytes: None,
        autostart: container.autostart,
        storage: container.dataset.map(|dataset| foreign(&dataset, 200)),
        addresses: Vec::new(),
        description: container.description.map(|text| foreign(&text, 200)).filter(|text| !text.is_empty()),
    }
}

fn instance(instance: vm::Instance) -> Container {
    Container {
        name: foreign(&instance.name, 150),
        state: foreign(instance.status.as_deref().unwrap_or("UNKNOWN"), 20),
        kind: foreign(instance.kind.as_deref().unwrap_or("CONTAINER"), 20),
        processors: instance.cpu.map(|cpus| foreign(&cpus, 60)),
        memory_bytes: instance.memory,
        autostart: instance.autostart,
        storage: instance.storage_pool.map(|pool| foreign(&pool, 200)),
        addresses: instance.aliases.iter().take(8).map(|alias| foreign(&alias.address, 60)).collect(),
        description: instance.image.and_then(|image| image.description).map(|text| foreign(&text, 200)),
    }
}

impl Items for ContainersOutput {
    fn items(&self) -> usize {
        self.containers.len()
    }
}

impl fmt::Display for ContainersOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.containers.is_empty() {
            return writeln!(f, "There are no containers.");
        }
        let rows: Vec<_> = self
            .containers
            .iter()
            .map(|one| {
                [
                    one.name.clone(),
                    one.kind.clone(),
                    one.state.clone(),
                    one.memory_bytes.map_or_else(|| "?".to_owned(), size),
                    autostart(one.autostart).to_owned(),
                    one.storage.clone().unwrap_or_else(|| "?".to_owned()),
                    one.addresses.join(" "),
                ]
            })
            .collect();
        let head = ["NAME", "KIND", "STATE", "MEMORY", "STARTS WITH THE NAS", "IN", "ADDRESSES"];
        f.write_str(&table(head, &rows))?;
        f.write_str(&shown_of(self.containers.len(), self.total, "Raise limit to see more."))
    }
}
