//! `vm.*`, and containers as each generation has them.

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::Generation;
use crate::nas::jobs::{Plan, Work};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::{Container, Machine};
use crate::nas::wire::{EFAULT, Failure};

const START: &[Param] =
    &[required("id", Kind::Int), optional("options", Kind::Model(&[optional("overcommit", Kind::Bool)]))];
const STOP: &[Param] = &[
    required("id", Kind::Int),
    optional(
        "options",
        Kind::Model(&[optional("force", Kind::Bool), optional("force_after_timeout", Kind::Bool)]),
    ),
];
const ID: &[Param] = &[required("id", Kind::Int)];
const WRITE: Access = Access::Role("VM_WRITE");
const NAME: &[Param] = &[required("id", Kind::Str)];
const STOP_INSTANCE: &[Param] = &[
    required("id", Kind::Str),
    optional("stop_args", Kind::Model(&[optional("force", Kind::Bool), optional("timeout", Kind::Int)])),
];
const INSTANCES: Access = Access::Role("VIRT_INSTANCE_WRITE");
const CONTAINERS: Access = Access::Role("CONTAINER_WRITE");

pub(super) const METHODS: &[Method] = &[
    method("vm.start", WRITE, START, start),
    method("vm.stop", WRITE, STOP, |context| run(context, "vm.stop", false)),
    method("vm.restart", WRITE, ID, |context| run(context, "vm.restart", true)),
    method("vm.query", Access::Role("VM_READ"), QUERY, query),
    method("vm.device.query", Access::Role("VM_DEVICE_READ"), QUERY, devices),
    method("virt.instance.query", Access::Role("VIRT_INSTANCE_READ"), QUERY, instances)
        .until(Generation::V25_10),
    method("virt.instance.start", INSTANCES, NAME, |context| {
        run_instance(context, "virt.instance.start", true)
    })
    .until(Generation::V25_10),
    method("virt.instance.stop", INSTANCES, STOP_INSTANCE, |context| {
        run_instance(context, "virt.instance.stop", false)
    })
    .until(Generation::V25_10),
    method("virt.instance.restart", INSTANCES, STOP_INSTANCE, |context| {
        run_instance(context, "virt.instance.restart", true)
    })
    .until(Generation::V25_10),
    method("container.query", Access::Role("CONTAINER_READ"), QUERY, containers).since(Generation::V26),
    method("container.start", CONTAINERS, ID, start_container).since(Generation::V26),
    method("container.stop", CONTAINERS, STOP, stop_container).since(Generation::V26),
];

fn run_instance(context: &mut Context<'_>, method: &'static str, running: bool) -> Result<Answer, Failure> {
    let name = context.args.str(0).to_owned();
    Ok(Answer::Job(Plan {
        method,
        description: format!("{method} {name}"),
        lock: format!("instance {name}"),
        arguments: vec![json!(name)],
        work: Work::Container { name, running },
    }))
}

/// The container of the number in the arguments.
fn numbered<'a>(context: &'a Context<'_>) -> Result<&'a Container, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    let found = context.state.containers.iter().find(|one| one.id == id);
    found.ok_or_else(|| Failure::NotFound(format!("Container {id} does not exist")))
}

fn start_container(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let Container { name, running, .. } = numbered(context)?.clone();
    if running {
        return Err(Failure::call(EFAULT, format!("{name:?} container is already running")));
    }
    let started = context.state.run_container(&name, true);
    started.map(Answer::Value).map_err(|(errno, why)| Failure::call(errno, why))
}

fn stop_container(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let Container { name, id, .. } = numbered(context)?.clone();
    Ok(Answer::Job(Plan {
        method: "container.stop",
        description: format!("Stopping container {name}"),
        lock: format!("container_stop_{id}"),
        arguments: vec![json!(id)],
        work: Work::Container { name, running: false },
    }))
}

fn start(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    if context.state.machines.iter().any(|machine| machine.id == id && machine.running) {
        return Err(Failure::call(EFAULT, format!("VM {id} is already running")));
    }
    let started = context.state.run_machine(id, true);
    started.map(Answer::Value).map_err(|(errno, why)| Failure::call(errno, why))
}

fn run(context: &mut Context<'_>, method: &'static str, running: bool) -> Result<Answer, Failure> {
    let id = context.args.get(0).as_i64().unwrap_or_default();
    Ok(Answer::Job(Plan {
        method,
        description: format!("{method} {id}"),
        lock: format!("vm {id}"),
        arguments: vec![json!(id)],
        work: Work::Machine { id, running },
    }))
}

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(context.state.machines.iter().map(row).collect())
}

fn devices(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(context.state.machines.iter().flat_map(devices_of).collect())
}

fn row(machine: &Machine) -> Value {
    let (state, domain, pid) =
        if machine.running { ("RUNNING", "RUNNING", Some(4711)) } else { ("STOPPED", "SHUTOFF", None) };
    json!({
        "command_line_args": "", "cpu_mode": "HOST-PASSTHROUGH", "cpu_model": null, "name": machine.name,
        "description": machine.description, "vcpus": 1, "cores": 2, "threads": 1, "cpuset": null, "nodeset": null,
        "enable_cpu_topology_extension": false, "pin_vcpus": false, "suspend_on_snapshot": false,
        "trusted_platform_module": false, "memory": machine.memory, "min_memory": null,
        "hyperv_enlightenments": false, "bootloader": "UEFI", "bootloader_ovmf": "OVMF_CODE.fd",
        "autostart": true, "hide_from_msr": false, "ensure_display_device": true, "time": "LOCAL",
        "shutdown_timeout": 90, "arch_type": null, "machine_type": null, "uuid": uuid(machine.made, machine.id),
        "enable_secure_boot": false, "id": machine.id, "display_available": true,
        "status": {"state": state, "pid": pid, "domain_state": domain}, "devices": devices_of(machine),
    })
}

/// What no other machine or container has.
fn uuid(made: u64, id: i64) -> String {
    format!("{made:08x}-0000-4000-8000-{id:012}")
}

fn devices_of(machine: &Machine) -> Vec<Value> {
    let device = |number: i64, attributes: Value| json!({"id": machine.id * 10 + number, "vm": machine.id, "order": 1000 + number, "attributes": attributes});
    let disk_nic_display = [
        device(
            1,
            json!({
                "dtype": "DISK", "path": format!("/dev/zvol/{}", machine.disk), "type": "VIRTIO", "create_zvol": false,
                "zvol_name": null, "zvol_volsize": null, "logical_sectorsize": null,
                "physical_sectorsize": null, "iotype": "THREADS", "serial": "a1b2c3d4",
            }),
        ),
        device(
            2,
            json!({
                "dtype": "NIC", "mac": "00:a0:98:11:22:33", "nic_attach": "eno1", "type": "VIRTIO",
                "trust_guest_rx_filters": false,
            }),
        ),
        device(
            3,
            json!({
                "dtype": "DISPLAY", "resolution": "1024x768", "port": 5900, "bind": "0.0.0.0", "wait": false,
                "password": machine.display_password, "web": true, "type": "SPICE", "web_port": 5901,
            }),
        ),
    ];
    let handed = machine.hardware.iter().zip(4..);
    let handed = handed.map(|(address, number)| device(number, json!({"dtype": "PCI", "pptdev": address})));
    disk_nic_display.into_iter().chain(handed).collect()
}

fn instances(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (generation, raw) = (context.generation(), context.args.get(1)["extra"]["raw"] == true);
    let rows = context.state.containers.iter().map(|one| {
        let mut row = instance(one, generation);
        if raw {
            // What Incus has of it: more than this.
            let made = format!("2026-03-01T10:00:00.{:09}Z", one.made);
            row["raw"] =
                json!({"name": one.name, "created_at": made, "config": {"environment.TOKEN": "hunter2"}});
        }
        row
    });
    context.query(rows.collect())
}

fn instance(container: &Container, generation: Generation) -> Value {
    let mut row = json!({
        "id": container.name, "name": container.name, "type": "CONTAINER",
        "status": if container.running { "RUNNING" } else { "STOPPED" }, "cpu": "2", "memory": 2_147_483_648_u64,
        "autostart": true, "environment": {"TOKEN": "hunter2"},
        "aliases": [{"type": "INET", "address": "192.168.1.77", "netmask": 24}],
        "image": {
            "architecture": "amd64", "description": "Debian trixie amd64", "os": "Debian", "release": "trixie",
            "serial": "20260901", "type": "squashfs", "variant": "default", "secureboot": null,
        },
        "userns_idmap": null, "raw": null, "vnc_enabled": false, "vnc_port": null, "vnc_password": null,
        "secure_boot": null, "root_disk_size": null, "root_disk_io_bus": null, "storage_pool": "tank",
    });
    if generation >= Generation::V25_10 {
        row["privileged_mode"] = json!(false);
    }
    row
}

fn containers(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let rows = context.state.containers.iter().map(|container| {
        let folder = |(path, number): (&String, i64)| {
            json!({
                "id": container.id * 10 + number, "container": container.id,
                "attributes": {"dtype": "FILESYSTEM", "source": path, "target": "/data"},
            })
        };
        let devices: Vec<_> = container.folders.iter().zip(1..).map(folder).collect();
        json!({
            "id": container.id, "uuid": uuid(container.made, container.id), "name": container.name,
            "description": "", "cpuset": null, "autostart": true, "time": "LOCAL", "shutdown_timeout": 90,
            "dataset": format!("tank/.ix-virt/containers/{}", container.name), "init": "/sbin/init",
            "initdir": null, "initenv": {"TOKEN": "hunter2"}, "inituser": null, "initgroup": null,
            "idmap": {"type": "DEFAULT"}, "capabilities_policy": "DEFAULT", "capabilities_state": {},
            "devices": devices, "default_network": "truenasbr0",
            "status": {
                "state": if container.running { "RUNNING" } else { "STOPPED" },
                "pid": null, "domain_state": null,
            },
        })
    });
    context.query(rows.collect())
}
