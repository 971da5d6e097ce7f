//! Event sources: what is told for as long as somebody has subscribed, with arguments in the name.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::session::Outgoing;
use super::state::{App, AppState, State};

/// The role that following a source takes; `None` for what is no source.
pub(crate) fn role(collection: &str) -> Option<&'static str> {
    match split(collection).0 {
        "app.stats" | "app.container_log_follow" => Some("APPS_READ"),
        "reporting.realtime" => Some("REPORTING_READ"),
        _ => None,
    }
}

fn split(collection: &str) -> (&str, &str) {
    collection.split_once(':').unwrap_or((collection, "{}"))
}

/// Tells a new subscriber what there is to tell at once: past lines, or one measurement. A fault in the arguments
/// ends the subscription that was just made.
pub(crate) fn begin(state: &State, collection: &str, outbox: &mpsc::UnboundedSender<Outgoing>) {
    let events = match first(state, collection) {
        Some(Ok(events)) => events.into_iter().map(|fields| update(collection, &fields)).collect(),
        Some(Err(reason)) => vec![ended(collection, &reason)],
        None => Vec::new(),
    };
    for event in events {
        // A closed connection hears nothing.
        let _ = outbox.send(Outgoing::Text(event.to_string()));
    }
}

fn update(collection: &str, fields: &Value) -> Value {
    let params = json!({"msg": "added", "collection": collection, "fields": fields});
    json!({"jsonrpc": "2.0", "method": "collection_update", "params": params})
}

fn ended(collection: &str, reason: &str) -> Value {
    let error = json!({
        "error": 22, "errname": "EINVAL", "reason": format!("[EINVAL] {reason}"), "trace": null,
        "extra": [["", reason, 22]],
    });
    let params = json!({"collection": collection, "error": error});
    json!({"jsonrpc": "2.0", "method": "notify_unsubscribed", "params": params})
}

fn first(state: &State, collection: &str) -> Option<Result<Vec<Value>, String>> {
    let (name, args) = split(collection);
    role(name)?;
    let Ok(args) = serde_json::from_str::<Value>(args) else { return Some(Err("invalid JSON".to_owned())) };
    Some(match name {
        "app.container_log_follow" => lines(state, &args),
        _ if args["interval"].as_i64().unwrap_or(2) < 2 => {
            Err("Input should be greater than or equal to 2".to_owned())
        }
        "app.stats" => Ok(vec![state.apps.iter().filter(runs).map(usage).collect()]),
        _ => Ok(vec![realtime(state)]),
    })
}

fn runs(app: &&App) -> bool {
    app.state == AppState::Running
}

fn usage(app: &App) -> Value {
    json!({
        "app_name": app.name, "cpu_usage": 12, "memory": 734_003_200_u64,
        "networks": [{"interface_name": "eth0", "rx_bytes": 2048, "tx_bytes": 1_048_576}],
        "blkio": {"read": 52_428_800, "write": 4_096_000},
    })
}

fn lines(state: &State, args: &Value) -> Result<Vec<Value>, String> {
    let app = state.apps.iter().find(|app| args["app_name"] == app.name).ok_or("App not found")?;
    if app.state == AppState::Stopped || args["container_id"] != app.container_id() {
        return Err("Container not found".to_owned());
    }
    let tail = args["tail_lines"].as_u64().unwrap_or(500);
    let tail = usize::try_from(tail).unwrap_or(usize::MAX);
    Ok(app.log.iter().skip(app.log.len().saturating_sub(tail)).map(|line| printed(line)).collect())
}

fn printed(line: &str) -> Value {
    json!({"data": format!("{line}\n"), "timestamp": "2026-11-20T10:00:00.000000000Z"})
}

fn realtime(state: &State) -> Value {
    let links: serde_json::Map<String, Value> = state
        .links
        .iter()
        .map(|(name, speed)| {
            let link = json!({
                "link_state": "LINK_STATE_UP", "speed": speed, "received_bytes_rate": 0.0, "sent_bytes_rate": 0.0,
            });
            (name.clone(), link)
        })
        .collect();
    let zfs: serde_json::Map<String, Value> = [
        "demand_accesses_per_second",
        "demand_data_accesses_per_second",
        "demand_metadata_accesses_per_second",
        "demand_data_hits_per_second",
        "demand_data_io_hits_per_second",
        "demand_data_misses_per_second",
        "demand_data_hit_percentage",
        "demand_data_io_hit_percentage",
        "demand_data_miss_percentage",
        "demand_metadata_hits_per_second",
        "demand_metadata_io_hits_per_second",
        "demand_metadata_misses_per_second",
        "demand_metadata_hit_percentage",
        "demand_metadata_io_hit_percentage",
        "demand_metadata_miss_percentage",
        "l2arc_hits_per_second",
        "l2arc_misses_per_second",
        "total_l2arc_accesses_per_second",
        "l2arc_access_hit_percentage",
        "l2arc_miss_percentage",
        "bytes_read_per_second_from_the_l2arc",
        "bytes_written_per_second_to_the_l2arc",
    ]
    .map(|name| (name.to_owned(), json!(0)))
    .into_iter()
    .collect();
    json!({
        "cpu": {"cpu": {"usage": 3.0, "temp": 41.0}},
        "disks": {"busy": 0.0, "read_bytes": 0.0, "write_bytes": 0.0, "read_ops": 0.0, "write_ops": 0.0},
        "interfaces": links,
        "memory": {
            "arc_size": 12_884_901_888_u64, "arc_free_memory": 1 << 30, "arc_available_memory": 1 << 30,
            "physical_memory_total": 34_359_738_368_u64, "physical_memory_available": 17_179_869_184_u64,
        },
        "zfs": zfs,
        "pools": {},
    })
}

impl State {
    /// Has an app print a line, which its followers hear, and says whether there is such an app.
    pub fn print(&mut self, name: &str, line: &str) -> bool {
        let Some(app) = self.apps.iter_mut().find(|app| app.name == name) else { return false };
        app.log.push(line.to_owned());
        let container = app.container_id();
        for listener in &self.listeners {
            let (source, args) = split(&listener.collection);
            let of_it =
                serde_json::from_str::<Value>(args).is_ok_and(|args| args["container_id"] == container);
            if source == "app.container_log_follow" && of_it {
                let event = update(&listener.collection, &printed(line));
                let _ = listener.outbox.send(Outgoing::Text(event.to_string()));
            }
        }
        true
    }

    /// The event sources that are followed now, with arguments, in no order.
    pub fn subscriptions(&self) -> Vec<String> {
        let collections = self.listeners.iter().map(|listener| listener.collection.clone());
        collections.filter(|collection| collection.contains(':')).collect()
    }
}
