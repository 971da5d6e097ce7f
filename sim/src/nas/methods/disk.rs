//! `disk.*`

use serde_json::{Map, Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::{Kind, Param, QUERY, optional};
use crate::nas::state::{Disk, State};
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

const TEMPERATURES: &[Param] = &[optional("name", Kind::Strings), optional("include_thresholds", Kind::Bool)];
const TEMPERATURES_25_04: &[Param] = &[
    optional("names", Kind::Strings),
    optional(
        "options",
        Kind::Model(&[
            optional("cache", Kind::NullOr(&Kind::Int)),
            optional("only_cached", Kind::Bool),
            optional("powermode", Kind::OneOf(&["NEVER", "SLEEP", "STANDBY", "IDLE"])),
        ]),
    ),
];

pub(super) const METHODS: &[Method] = &[
    method("disk.query", Access::Role("DISK_READ"), QUERY, query),
    method("smart.test.query", Access::Role("READONLY_ADMIN"), QUERY, tests).until(Generation::V25_04),
    method("disk.temperatures", Access::Role("REPORTING_READ"), TEMPERATURES_25_04, temperatures)
        .until(Generation::V25_04),
    method("disk.temperatures", Access::Role("REPORTING_READ"), TEMPERATURES, temperatures)
        .since(Generation::V25_10),
];

/// Where a disk is too hot.
const THRESHOLD: f64 = 60.0;

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (state, generation) = (&*context.state, context.generation());
    let disks = state.disks.iter().enumerate();
    context.query(disks.map(|(number, disk)| row(state, number, disk, generation)).collect())
}

fn tests(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.query(vec![json!({
        "id": 1, "desc": "", "type": "LONG", "all_disks": true, "disks": [],
        "schedule": {"hour": "00", "dom": "1", "month": "*", "dow": "*"},
    })])
}

fn temperatures(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let names: Vec<&str> =
        context.args.get(0).as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let thresholds = *context.args.get(1) == true;
    let wanted =
        context.state.disks.iter().filter(|disk| names.is_empty() || names.contains(&disk.name.as_str()));
    let temperatures: Map<String, Value> = wanted
        .map(|disk| {
            let temperature = match (disk.temperature, thresholds) {
                (Some(temperature), true) => json!([temperature, THRESHOLD]),
                (temperature, _) => json!(temperature),
            };
            (disk.name.clone(), temperature)
        })
        .collect();
    Ok(Answer::Value(Value::Object(temperatures)))
}

fn row(state: &State, number: usize, disk: &Disk, generation: Generation) -> Value {
    let pool = state.pools.iter().find(|pool| pool.disks.contains(&disk.name));
    let bus = if disk.name.starts_with("nvme") { "NVME" } else { "ATA" };
    let mut row = json!({
        "identifier": format!("{{serial_lunid}}{}_5000c500{number:08x}", disk.serial),
        "name": disk.name,
        "subsystem": if bus == "NVME" { "nvme" } else { "scsi" },
        "number": 2048 + 16 * number,
        "serial": disk.serial,
        "lunid": format!("5000c500{number:08x}"),
        "size": disk.size,
        "description": "",
        "transfermode": "Auto",
        "passwd": CANARY,
        "hddstandby": "ALWAYS ON",
        "advpowermgmt": "DISABLED",
        "expiretime": null,
        "model": disk.model,
        "rotationrate": disk.rpm,
        "type": if disk.rpm.is_some() { "HDD" } else { "SSD" },
        "zfs_guid": pool.map(|pool| format!("{}", 7_000_000_000_000_000_000_u64 + pool.id.unsigned_abs() * 100 + number as u64)),
        "bus": bus,
        "devname": disk.name,
        "enclosure": null,
        "pool": pool.map(|pool| pool.name.as_str()),
    });
    match generation {
        Generation::V25_04 => {
            row["togglesmart"] = json!(true);
            row["smartoptions"] = json!("");
            row["supports_smart"] = Value::Null;
            for limit in ["critical", "difference", "informational"] {
                row[limit] = Value::Null;
            }
        }
        Generation::V25_10 => {}
        Generation::V26 => {
            row["sed"] = json!(false);
            row["sed_status"] = json!("UNSUPPORTED");
        }
    }
    row
}
