//! Virtual machines, and containers that are not apps.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::{Read, Write};
use crate::nas::version::{Candidate, OLDEST, Version};
use crate::nas::wire::null_is_empty;

/// From here on containers are no longer `virt.instance`.
const CONTAINERS: Version = Version::new(26, 0, 0);

/// Virtual machines, without their devices.
#[derive(Clone, Copy, Debug)]
pub struct Machines;

/// A virtual machine.
#[derive(Clone, Debug, Deserialize)]
pub struct Machine {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Sockets.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Cores of each socket.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Threads of each core.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Memory in MiB.
    #[serde(default)]
    pub memory: Option<u64>,
    /// It starts with the NAS.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// `UEFI`, `UEFI_CSM`.
    #[serde(default)]
    pub bootloader: Option<String>,
    /// How it is.
    #[serde(default)]
    pub status: Option<State>,
    /// A number that no other has, nor one that is made again under its name.
    #[serde(default)]
    pub uuid: Option<String>,
}

/// How a machine or container is.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    /// `RUNNING`, `STOPPED`, `SUSPENDED`, `ERROR` …
    pub state: String,
}

impl Queryable for Machines {
    const SELECT: &'static [&'static str] = &[
        "id",
        "name",
        "description",
        "vcpus",
        "cores",
        "threads",
        "memory",
        "autostart",
        "bootloader",
        "status",
        "uuid",
    ];
}

impl Method for Machines {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Machine>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.query");
    const ROLE: Option<&'static str> = Some("VM_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all().order("name").limit(50)
    }
}

/// How many virtual machines there are.
#[derive(Clone, Copy, Debug)]
pub struct MachineCount;

impl Queryable for MachineCount {
    const COUNT: bool = true;
}

impl Method for MachineCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.query");
    const ROLE: Option<&'static str> = Some("VM_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all()
    }
}

/// Devices of virtual machines. The password of a display is not selected.
#[derive(Clone, Copy, Debug)]
pub struct Devices;

/// The devices of every machine.
#[must_use]
pub fn of_all() -> Query<Devices> {
    Query::all().order("id")
}

/// The devices of one machine, in their order.
#[must_use]
pub fn of(machine: i64) -> Query<Devices> {
    Query::all().filter("vm", Compare::Is, machine).order("order")
}

/// A device.
#[derive(Clone, Debug, Deserialize)]
pub struct Device {
    /// Its number.
    pub id: i64,
    /// Number of the machine that has it; absent for a device of a container.
    #[serde(default)]
    pub vm: Option<i64>,
    /// The place it has in the order of booting.
    #[serde(default)]
    pub order: Option<i64>,
    /// What it is.
    pub attributes: Attributes,
}

/// What a device is. Which of the fields there are depends on the kind.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Attributes {
    /// `DISK`, `NIC`, `DISPLAY`, `CDROM`, `RAW`, `PCI`, `USB`; of a container `FILESYSTEM`, `GPU`, `NIC`, `USB`.
    #[serde(default)]
    pub dtype: Option<String>,
    /// Device node, file or image.
    #[serde(default)]
    pub path: Option<String>,
    /// `VIRTIO`, `AHCI`, `E1000`, `SPICE`, `VNC`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Bytes of a file.
    #[serde(default)]
    pub size: Option<u64>,
    /// Hardware address.
    #[serde(default)]
    pub mac: Option<String>,
    /// The interface of the NAS it hangs on.
    #[serde(default)]
    pub nic_attach: Option<String>,
    /// The address a display listens on.
    #[serde(default)]
    pub bind: Option<String>,
    /// The port of a display.
    #[serde(default)]
    pub port: Option<u16>,
    /// The port of its page.
    #[serde(default)]
    pub web_port: Option<u16>,
    /// Whether it has a page.
    #[serde(default)]
    pub web: Option<bool>,
    /// A PCI device that is handed through.
    #[serde(default)]
    pub pptdev: Option<String>,
    /// A USB device that is handed through.
    #[serde(default)]
    pub device: Option<String>,
    /// A folder of the NAS that a container has.
    #[serde(default)]
    pub source: Option<String>,
    /// A graphics card that a container has.
    #[serde(default)]
    pub pci_address: Option<String>,
}

impl Queryable for Devices {
    const SELECT: &'static [&'static str] = &[
        "id",
        "vm",
        "order",
        "attributes.dtype",
        "attributes.path",
        "attributes.type",
        "attributes.size",
        "attributes.mac",
        "attributes.nic_attach",
        "attributes.bind",
        "attributes.port",
        "attributes.web_port",
        "attributes.web",
        "attributes.pptdev",
        "attributes.device",
    ];
}

impl Method for Devices {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Device>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.device.query");
    const ROLE: Option<&'static str> = Some("VM_DEVICE_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        of(1)
    }
}

/// Containers and machines of 25.x's own kind.
#[derive(Clone, Copy, Debug)]
pub struct Instances;

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// What it is called by in other calls.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `CONTAINER` or `VM`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// `RUNNING`, `STOPPED`, `ERROR`, `FROZEN` …
    #[serde(default)]
    pub status: Option<String>,
    /// Processors it may use, as a number or a range.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Bytes of memory it may use.
    #[serde(default)]
    pub memory: Option<u64>,
    /// It starts with the NAS.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// The pool it lives on.
    #[serde(default)]
    pub storage_pool: Option<String>,
    /// Its addresses.
    #[serde(default)]
    pub aliases: Vec<Alias>,
    /// What it was made from.
    #[serde(default)]
    pub image: Option<Image>,
    /// Who is root in it is root of the NAS; since 25.10.
    #[serde(default)]
    pub privileged_mode: Option<bool>,
}

/// An address of an instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Alias {
    /// The address.
    pub address: String,
}

/// What an instance was made from.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
}

impl Queryable for Instances {
    // Neither "raw" nor "environment" nor the password of its display.
    const SELECT: &'static [&'static str] = &[
        "id",
        "name",
        "type",
        "status",
        "cpu",
        "memory",
        "autostart",
        "storage_pool",
        "aliases",
        "image.description",
        "privileged_mode",
    ];
}

impl Method for Instances {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Instance>;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "virt.instance.query").until(CONTAINERS)];
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all().order("name").limit(50)
    }
}

/// How many containers and machines of 25.x's own kind there are.
#[derive(Clone, Copy, Debug)]
pub struct InstanceCount;

impl Queryable for InstanceCount {
    const COUNT: bool = true;
}

impl Method for InstanceCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = Instances::CANDIDATES;
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all()
    }
}

/// When instances of 25.x were made: nothing else tells one from another that is made under its name.
#[derive(Clone, Copy, Debug)]
pub struct Births;

/// That of the instance of this name.
#[must_use]
pub fn birth_of(instance: &str) -> Query<Births> {
    // Of all that the NAS keeps of it, which holds secrets, the NAS sends what is selected.
    Query::all().filter("id", Compare::Is, instance).extra("raw", true)
}

/// When an instance was made.
#[derive(Clone, Debug, Deserialize)]
pub struct Birth {
    #[serde(default)]
    raw: Option<Raw>,
}

#[derive(Clone, Debug, Deserialize)]
struct Raw {
    #[serde(default)]
    created_at: Option<String>,
}

impl Birth {
    /// When, as Incus writes it; `None` where the NAS does not tell.
    #[must_use]
    pub fn at(&self) -> Option<&str> {
        self.raw.as_ref()?.created_at.as_deref()
    }
}

impl Queryable for Births {
    const SELECT: &'static [&'static str] = &["raw.created_at"];
}

impl Method for Births {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Birth>;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "virt.instance.query").until(CONTAINERS)];
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_READ");

    fn example() -> Self::Params {
        birth_of("debian")
    }
}

/// Containers, from 26 on.
#[derive(Clone, Copy, Debug)]
pub struct Containers;

/// A container.
#[derive(Clone, Debug, Deserialize)]
pub struct Container {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Processors it may use.
    #[serde(default)]
    pub cpuset: Option<String>,
    /// It starts with the NAS.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// The dataset it lives in.
    #[serde(default)]
    pub dataset: Option<String>,
    /// What it has of the NAS.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub devices: Vec<Device>,
    /// Whom of the NAS its users are; absent where they are the same, root among them.
    #[serde(default)]
    pub idmap: Option<Map<String, Value>>,
    /// `DEFAULT`, `ALLOW`: all rights; `DENY`: none.
    #[serde(default)]
    pub capabilities_policy: Option<String>,
    /// How it is.
    #[serde(default)]
    pub status: Option<State>,
    /// A number that no other has, nor one that is made again under its name.
    #[serde(default)]
    pub uuid: Option<String>,
}

impl Queryable for Containers {
    const SELECT: &'static [&'static str] = &[
        "id",
        "uuid",
        "name",
        "description",
        "cpuset",
        "autostart",
        "dataset",
        "devices",
        "idmap",
        "capabilities_policy",
        "status",
    ];
}

impl Method for Containers {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Container>;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(CONTAINERS, "container.query")];
    const ROLE: Option<&'static str> = Some("CONTAINER_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all().order("name").limit(50)
    }
}

/// How many containers there are, from 26 on.
#[derive(Clone, Copy, Debug)]
pub struct ContainerCount;

impl Queryable for ContainerCount {
    const COUNT: bool = true;
}

impl Method for ContainerCount {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = u64;
    const CANDIDATES: &'static [Candidate] = Containers::CANDIDATES;
    const ROLE: Option<&'static str> = Some("CONTAINER_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        Query::all()
    }
}

/// Starts a virtual machine.
#[derive(Clone, Copy, Debug)]
pub struct Start;

/// Has the system of a virtual machine shut down.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

/// Has it shut down, cuts it off if that takes longer than its timeout, and starts it again: the NAS has no other way.
#[derive(Clone, Copy, Debug)]
pub struct Restart;

/// How a machine or a container is stopped.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Manner {
    force: bool,
    force_after_timeout: bool,
}

/// Its system is asked, and never cut off. A restart cannot be told so.
pub const GENTLY: Manner = Manner { force: false, force_after_timeout: false };

impl Method for Start {
    type Access = Write;
    type Params = (i64,);
    type Reply = ();
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.start");
    const ROLE: Option<&'static str> = Some("VM_WRITE");

    fn example() -> Self::Params {
        (1,)
    }
}

impl Method for Stop {
    type Access = Write;
    type Params = (i64, Manner);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.stop");
    const ROLE: Option<&'static str> = Some("VM_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        (1, GENTLY)
    }
}

impl Method for Restart {
    type Access = Write;
    type Params = (i64,);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("vm.restart");
    const ROLE: Option<&'static str> = Some("VM_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        (1,)
    }
}

/// Starts a container, from 26 on.
#[derive(Clone, Copy, Debug)]
pub struct ContainerStart;

/// Has a container shut down, from 26 on. There is nothing there that restarts one.
#[derive(Clone, Copy, Debug)]
pub struct ContainerStop;

/// Starts an instance of 25.x.
#[derive(Clone, Copy, Debug)]
pub struct InstanceStart;

/// Has an instance of 25.x shut down.
#[derive(Clone, Copy, Debug)]
pub struct InstanceStop;

/// Has an instance of 25.x shut down and starts it again.
#[derive(Clone, Copy, Debug)]
pub struct InstanceRestart;

/// How an instance of 25.x is stopped.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Patience {
    force: bool,
    /// Seconds.
    timeout: i64,
}

/// Its system is asked and has as long as a virtual machine has; when that is over the NAS gives up, and it runs on.
pub const PATIENTLY: Patience = Patience { force: false, timeout: 90 };

impl Method for ContainerStart {
    type Access = Write;
    type Params = (i64,);
    type Reply = ();
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(CONTAINERS, "container.start")];
    const ROLE: Option<&'static str> = Some("CONTAINER_WRITE");

    fn example() -> Self::Params {
        (1,)
    }
}

impl Method for ContainerStop {
    type Access = Write;
    type Params = (i64, Manner);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(CONTAINERS, "container.stop")];
    const ROLE: Option<&'static str> = Some("CONTAINER_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        (1, GENTLY)
    }
}

impl Method for InstanceStart {
    type Access = Write;
    type Params = (String,);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "virt.instance.start").until(CONTAINERS)];
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        ("debian".to_owned(),)
    }
}

impl Method for InstanceStop {
    type Access = Write;
    type Params = (String, Patience);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "virt.instance.stop").until(CONTAINERS)];
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        ("debian".to_owned(), PATIENTLY)
    }
}

impl Method for InstanceRestart {
    type Access = Write;
    type Params = (String, Patience);
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(OLDEST, "virt.instance.restart").until(CONTAINERS)];
    const ROLE: Option<&'static str> = Some("VIRT_INSTANCE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        ("debian".to_owned(), PATIENTLY)
    }
}
