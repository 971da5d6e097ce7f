//! `core.subscribe` and the `collection_update` messages it brings.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Generation;
use super::methods;
use super::session::{Caller, Outgoing};
use super::sources;
use super::state::State;

/// Something happened that subscribers hear of. What they are told is taken from the state afterwards.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Job(i64, Change),
    Pool(i64),
    AlertAdded(String),
    AlertChanged(String),
    /// A dataset, by its name.
    Dataset(String, Change),
    /// A snapshot that somebody took or deleted through the API, by its name. Of those that a task takes nobody is told.
    Snapshot(String, Change),
    /// An app, by its name.
    App(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Changed,
    Removed,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One subscription.
#[derive(Clone)]
pub(crate) struct Listener {
    pub uuid: String,
    pub connection: u64,
    pub collection: String,
    pub caller: Caller,
    pub outbox: mpsc::UnboundedSender<Outgoing>,
}

impl std::fmt::Debug for Listener {
    /// Without the way to it, whose own state is another each time that somebody looks.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { uuid, connection, collection, caller, .. } = self;
        let mut told = f.debug_struct("Listener");
        told.field("uuid", uuid).field("connection", connection);
        told.field("collection", collection).field("caller", caller).finish_non_exhaustive()
    }
}

/// The role that hearing of a collection takes; `None` when any session may.
pub(crate) fn role(collection: &str) -> Option<&'static str> {
    match collection {
        "core.get_jobs" => None,
        "alert.list" => Some("ALERT_LIST_READ"),
        "pool.query" => Some("POOL_READ"),
        "pool.dataset.query" => Some("DATASET_READ"),
        "app.query" => Some("APPS_READ"),
        "pool.snapshot.query" | "zfs.snapshot.query" => Some("SNAPSHOT_READ"),
        source if sources::role(source).is_some() => sources::role(source),
        // Unknown names are accepted from a full administrator and never fire.
        _ => Some("FULL_ADMIN"),
    }
}

impl State {
    /// Tells subscribers what has happened since the last time.
    pub(crate) fn deliver(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            for listener in &self.listeners {
                let Some((collection, params)) = self.render(&event, &listener.caller) else { continue };
                if listener.collection == collection || listener.collection == "*" {
                    let message = json!({"jsonrpc": "2.0", "method": "collection_update", "params": params});
                    // A closed connection takes its subscriptions away in a moment.
                    let _ = listener.outbox.send(Outgoing::Text(message.to_string()));
                }
            }
        }
    }

    fn render(&self, event: &Event, caller: &Caller) -> Option<(&'static str, Value)> {
        let (collection, id, change, fields): (_, Value, _, _) = match event {
            Event::Job(id, change) => {
                let job = self.job(*id).filter(|job| job.visible_to(&caller.login))?;
                ("core.get_jobs", (*id).into(), *change, job.row(caller.generation))
            }
            Event::Pool(id) => {
                let pool = self.pools.iter().find(|pool| pool.id == *id)?;
                let row = methods::pool::row(self, pool, caller.generation);
                ("pool.query", (*id).into(), Change::Changed, row)
            }
            Event::AlertAdded(uuid) | Event::AlertChanged(uuid) => {
                let alert = self.alerts.iter().find(|alert| alert.uuid == *uuid)?;
                let added = matches!(event, Event::AlertAdded(_));
                let change = if added { Change::Added } else { Change::Changed };
                ("alert.list", uuid.as_str().into(), change, methods::alert::row(alert))
            }
            Event::Dataset(name, change) => {
                let dataset = self.datasets.iter().find(|dataset| dataset.name == *name);
                let row =
                    dataset.map(|dataset| methods::dataset::row(self, dataset, caller.generation, true));
                ("pool.dataset.query", name.as_str().into(), *change, row.unwrap_or_default())
            }
            Event::Snapshot(name, change) => {
                let snapshot = self.snapshots.iter().find(|one| one.id() == *name);
                let row = snapshot.map(methods::snapshot::row);
                let renamed = caller.generation >= Generation::V25_10;
                let collection = if renamed { "pool.snapshot.query" } else { "zfs.snapshot.query" };
                (collection, name.as_str().into(), *change, row.unwrap_or_default())
            }
            Event::App(name) => {
                let app = self.apps.iter().find(|app| app.name == *name)?;
                (
                    "app.query",
                    name.as_str().into(),
                    Change::Changed,
                    methods::app::row(app, caller.generation),
                )
            }
        };
        let mut message = json!({"msg": change.name(), "collection": collection, "id": id});
        if change != Change::Removed {
            message["fields"] = fields;
        }
        Some((collection, message))
    }
}
