//! Snapshots.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::domain::name::DatasetPath;
use crate::nas::methods::query::{Query, Queryable};
use crate::nas::methods::{dataset, snapshot};
use crate::nas::wire::Property;

use super::limit::{Limit, first};
use super::render::{foreign, shown_of, size, table, time};
use super::storage::no_such_dataset;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Snapshots>()]
}

struct Snapshots;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SnapshotsArgs {
    /// Only of this dataset and what lies below it. Default: all.
    #[serde(default)]
    within: Option<DatasetPath>,
    /// At most this many, newest first.
    #[serde(default)]
    limit: Limit<50, 1000>,
}

/// Snapshots, newest first.
#[derive(Serialize, JsonSchema)]
struct SnapshotsOutput {
    /// The snapshots shown.
    snapshots: Vec<Snapshot>,
    /// How many there are in all.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct Snapshot {
    /// In full, dataset@name.
    name: String,
    /// When it was made, ISO 8601.
    created: Option<String>,
    /// Bytes that only it keeps, which deleting it would give back.
    used_bytes: Option<u64>,
    /// Bytes of data in it.
    referenced_bytes: Option<u64>,
}

impl Tool for Snapshots {
    const NAME: &'static str = "snapshots_list";
    const TITLE: &'static str = "Snapshots";
    const DESCRIPTION: &'static str = "Snapshots, newest first: when, what each alone keeps, what it holds, and how many there are. Narrow with within.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("within", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![snapshot::Count, dataset::Datasets, snapshot::Snapshots];
    type Args = SnapshotsArgs;
    type Output = SnapshotsOutput;

    fn target(args: &SnapshotsArgs) -> Option<String> {
        args.within.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: SnapshotsArgs) -> Result<SnapshotsOutput, ToolError> {
        let within = args.within.as_ref();
        let newest = snapshot::newest(those(within));
        let (snapshots, total) =
            first(nas, (snapshot::Snapshots, newest), (snapshot::Count, those(within)), args.limit.get())
                .await?;
        if snapshots.is_empty()
            && let Some(path) = within
            && nas.call(dataset::Datasets, dataset::one(path)).await?.is_empty()
        {
            return Err(no_such_dataset(path));
        }
        let snapshots = snapshots.iter().map(|snapshot| {
            let property = |name| snapshot.properties.get(name);
            Snapshot {
                name: foreign(&snapshot.id, 260),
                created: property("creation").and_then(Property::time).map(time),
                used_bytes: property("used").and_then(Property::number),
                referenced_bytes: property("referenced").and_then(Property::number),
            }
        });
        Ok(SnapshotsOutput { snapshots: snapshots.collect(), total })
    }
}

fn those<M: Queryable>(within: Option<&DatasetPath>) -> Query<M> {
    within.map_or_else(Query::all, snapshot::within)
}

impl Items for SnapshotsOutput {
    fn items(&self) -> usize {
        self.snapshots.len()
    }
}

impl fmt::Display for SnapshotsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.snapshots.is_empty() {
            return writeln!(f, "There are no snapshots.");
        }
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        let rows: Vec<_> = self
            .snapshots
            .iter()
            .map(|snapshot| {
                let created = snapshot.created.clone().unwrap_or_else(|| "?".to_owned());
                [snapshot.name.clone(), created, bytes(snapshot.used_bytes), bytes(snapshot.referenced_bytes)]
            })
            .collect();
        f.write_str(&table(["SNAPSHOT", "CREATED", "KEEPS", "HOLDS"], &rows))?;
        f.write_str(&shown_of(self.snapshots.len(), self.total, "Narrow with within, or raise limit."))
    }
}
