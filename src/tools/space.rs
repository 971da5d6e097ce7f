//! What ate the space?

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::name::DatasetPath;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::history;
use crate::nas::Session;
use crate::nas::methods::query::Query;
use crate::nas::methods::{dataset, snapshot, system};
use crate::nas::wire::Property;

use super::limit::Limit;
use super::render::{foreign, size, time};
use super::report::{Causes, Question, Report, seen};
use super::seen::Seen;
use super::storage::no_such_dataset;
use super::{Entry, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<SpaceChanges>()]
}

struct SpaceChanges;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SpaceArgs {
    /// Only this dataset and what lies below it. Default: all.
    #[serde(default)]
    within: Option<DatasetPath>,
    /// Since so many days ago.
    #[serde(default)]
    days: Limit<7, 400>,
    /// At most this many datasets, the largest change first.
    #[serde(default)]
    limit: Limit<20, 60>,
}

/// Which way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// More is in use.
    Grew,
    /// Less is in use.
    Shrank,
    /// Some grew and others shrank by about as much.
    Moved,
    /// Next to nothing changed.
    Unchanged,
    /// There is nothing to compare with.
    Unknown,
}

impl Question for Verdict {}

/// Less than this is next to nothing.
const LITTLE: i64 = 16 << 20;
/// So many snapshots are looked at where there is no history.
const SNAPSHOTS: u32 = 5000;

impl Tool for SpaceChanges {
    const NAME: &'static str = "space_changes";
    const TITLE: &'static str = "What took or gave back space";
    const DESCRIPTION: &'static str = "Which datasets grew or shrank in the last days, live data and snapshots apart, the largest change first.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("within", Log::Plain), ("days", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![dataset::Datasets, system::Info, snapshot::Snapshots];
    type Args = SpaceArgs;
    type Output = Report<Verdict>;

    fn target(args: &SpaceArgs) -> Option<String> {
        args.within.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: SpaceArgs) -> Result<Report<Verdict>, ToolError> {
        let query = args.within.as_ref().map_or_else(dataset::all, |path| dataset::all().within("id", path));
        let datasets = nas.call(dataset::Datasets, query).await?;
        if let (Some(path), true) = (&args.within, datasets.is_empty()) {
            return Err(no_such_dataset(path));
        }
        let now: BTreeMap<_, _> = datasets.iter().map(|one| (one.id.clone(), Held::of(one))).collect();
        let mut unseen = Seen::default();
        let clock = nas.call(system::Info, []).await?.datetime.map(|at| at.0);
        let days = i64::try_from(args.days.get()).unwrap_or(i64::MAX);
        let since = clock.map(|now| now - TimeDelta::days(days));

        let before = match (nas.past(), since) {
            (Some(past), Some(since)) => past.datasets(since).await.unwrap_or_else(|error| {
                unseen.not.push(error.to_string());
                None
            }),
            (None, _) => {
                unseen.not.push("samples of earlier days: this server keeps no history here".to_owned());
                None
            }
            (_, None) => None,
        };
        let in_scope = |path: &str| {
            args.within
                .as_ref()
                .is_none_or(|within| path.parse::<DatasetPath>().is_ok_and(|path| path.is_within(within)))
        };
        let old: Option<(DateTime<Utc>, BTreeMap<String, Held>)> = before.map(|(at, datasets)| {
            let held = datasets.into_iter().filter(|one| in_scope(&one.path));
            (at, held.map(|one| (one.path.clone(), Held::was(&one))).collect())
        });
        // The samples begin later than was asked: snapshots reach further back, and tell of live data alone.
        let reaches =
            old.as_ref().zip(since).is_some_and(|((at, _), since)| *at <= since + TimeDelta::hours(2));
        let mut earlier = Earlier::new();
        if let (false, Some(since)) = (reaches, since) {
            let near = (TimeDelta::days(days) / 4).max(TimeDelta::days(1));
            let those = args.within.as_ref().map_or_else(Query::all, snapshot::within);
            let those = snapshot::between(those, since - near, since + near);
            let snapshots = nas.call(snapshot::Snapshots, snapshot::newest(those).limit(SNAPSHOTS)).await;
            let snapshots = unseen.or_default("snapshots", snapshots)?;
            earlier = nearest(&snapshots, &now, since);
            if snapshots.len() >= SNAPSHOTS as usize {
                unseen.not.push(format!(
                    "snapshots from about {} beyond the newest {SNAPSHOTS} of them",
                    time(since)
                ));
            }
            unseen.not.push(match &old {
                Some((at, _)) => format!(
                    "how it was before {}, when the samples begin, but for what snapshots tell",
                    time(*at)
                ),
                None => "how it was, but for what snapshots tell: there are no samples yet".to_owned(),
            });
            let without = now.keys().filter(|path| !earlier.contains_key(*path)).count();
            if without > 0 {
                unseen.not.push(format!(
                    "{without} of {} datasets, which have no snapshot from about {}",
                    now.len(),
                    time(since)
                ));
            }
        }
        Ok(report(old.as_ref(), &now, &earlier, unseen, args.limit.get()))
    }
}

/// What a dataset holds itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    data: i64,
    snapshots: i64,
    children: i64,
}

impl Held {
    fn of(dataset: &dataset::Dataset) -> Self {
        let number =
            |property: &Option<Property>| signed(property.as_ref().and_then(Property::number).unwrap_or(0));
        Self {
            data: number(&dataset.usedbydataset),
            snapshots: number(&dataset.usedbysnapshots),
            children: number(&dataset.usedbychildren),
        }
    }

    fn was(dataset: &history::Dataset) -> Self {
        let history::Dataset { path: _, data, snapshots, children } = dataset;
        Self { data: signed(*data), snapshots: signed(*snapshots), children: signed(*children) }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// `+1.50 GiB`
fn signed_size(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", size(bytes.unsigned_abs()))
}

/// By dataset: when a snapshot was taken, and by how much its live data has changed since.
type Earlier = BTreeMap<String, (DateTime<Utc>, i64)>;

/// What live data each dataset held when its snapshot nearest to `since` was taken, next to now.
fn nearest(snapshots: &[snapshot::Snapshot], now: &BTreeMap<String, Held>, since: DateTime<Utc>) -> Earlier {
    let mut nearest: BTreeMap<&str, (TimeDelta, DateTime<Utc>, i64)> = BTreeMap::new();
    for one in snapshots {
        let created = one.properties.get("creation").and_then(Property::time);
        let referenced = one.properties.get("referenced").and_then(Property::number);
        let (Some(dataset), Some(created), Some(referenced)) = (one.dataset.as_deref(), created, referenced)
        else {
            continue;
        };
        let off = (created - since).abs();
        if nearest.get(dataset).is_none_or(|known| off < known.0) {
            nearest.insert(dataset, (off, created, signed(referenced)));
        }
    }
    let changes = nearest.into_iter().filter_map(|(dataset, (_, at, then))| {
        let by = now.get(dataset)?.data.saturating_sub(then);
        Some((dataset.to_owned(), (at, by)))
    });
    changes.collect()
}

/// How a dataset changed.
#[derive(Default)]
struct Change {
    /// Since the sample; nothing where there is none.
    sampled: Option<Sampled>,
    /// Its live data, since a snapshot that is older than the sample.
    earlier: Option<(DateTime<Utc>, i64)>,
}

struct Sampled {
    data: i64,
    snapshots: i64,
    below: i64,
    note: &'static str,
}

impl Change {
    /// By how many bytes, over as much of the time as is known.
    fn by(&self) -> i64 {
        let (data, kept) = self.sampled.as_ref().map_or((0, 0), |sampled| (sampled.data, sampled.snapshots));
        self.earlier.map_or(data, |(_, by)| by).saturating_add(kept)
    }

    /// How much went on, one way and the other.
    fn weight(&self) -> i64 {
        let sampled = self.sampled.as_ref();
        let sampled = sampled.map_or(0, |one| one.data.abs().saturating_add(one.snapshots.abs()));
        sampled.max(self.earlier.map_or(0, |(_, by)| by.abs()))
    }
}

/// What changed since the sample, by dataset.
fn since_sample<'n>(
    old: &'n BTreeMap<String, Held>,
    now: &'n BTreeMap<String, Held>,
    unseen: &mut Seen,
) -> BTreeMap<&'n str, Change> {
    let full = old.len() >= history::DATASETS;
    if full {
        unseen.not.push(format!("datasets beyond the {} largest of the sample", history::DATASETS));
    }
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    for path in old.keys().chain(now.keys().filter(|path| !old.contains_key(*path))) {
        let (was, is, note) = match (old.get(path), now.get(path)) {
            (Some(was), Some(is)) => (*was, *is, ""),
            (Some(was), None) => (*was, Held::default(), ", gone"),
            // Not among the largest then, perhaps, and not new.
            (None, Some(is)) if !full => (Held::default(), *is, ", new"),
            (None, _) => continue,
        };
        changes.entry(path).or_default().sampled = Some(Sampled {
            data: is.data.saturating_sub(was.data),
            snapshots: is.snapshots.saturating_sub(was.snapshots),
            below: is.children.saturating_sub(was.children),
            note,
        });
    }
    changes
}

fn report(
    old: Option<&(DateTime<Utc>, BTreeMap<String, Held>)>,
    now: &BTreeMap<String, Held>,
    earlier: &Earlier,
    mut unseen: Seen,
    limit: usize,
) -> Report<Verdict> {
    let sample = old.map(|(at, _)| *at);
    let mut changes = old.map(|(_, old)| since_sample(old, now, &mut unseen)).unwrap_or_default();
    for (path, one) in earlier {
        changes.entry(path).or_default().earlier = Some(*one);
    }
    let total = changes.values().fold(0_i64, |total, change| total.saturating_add(change.by()));
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.weight()));

    let mut causes = Causes::default();
    let mut evidence = Vec::new();
    for (number, (path, change)) in changes.iter().enumerate() {
        let path = foreign(path, 260);
        if let Some((at, by)) = change.earlier.filter(|(_, by)| by.abs() >= LITTLE) {
            let what = format!("live data {} since its snapshot of then", signed_size(by));
            evidence.push(seen(&*path, what).at(Some(at)).bytes(by));
            if number < 3 && by >= LITTLE {
                causes.may_be(70, format!("{path}: {} of new data was written.", size(by.unsigned_abs())));
            }
        }
        let Some(Sampled { data, snapshots: kept, below, note }) = &change.sampled else { continue };
        let (data, kept, below) = (*data, *kept, *below);
        if data.abs() < LITTLE && kept.abs() < LITTLE {
            continue;
        }
        let below =
            if below.abs() < LITTLE { String::new() } else { format!(", below it {}", signed_size(below)) };
        let what =
            format!("live data {}, in snapshots {}{below}{note}", signed_size(data), signed_size(kept));
        evidence.push(seen(&*path, what).bytes(data.saturating_add(kept)));
        if number < 3 && kept > data.max(0) && kept >= LITTLE {
            let why = "data that was deleted or overwritten is still kept by its snapshots";
            causes.may_be(80, format!("{path}: {why} ({}).", signed_size(kept)));
        } else if number < 3 && data >= LITTLE && change.earlier.is_none_or(|(_, by)| by < LITTLE) {
            causes.may_be(70, format!("{path}: {} of new data was written.", size(data.unsigned_abs())));
        }
    }

    let verdict = match total {
        _ if sample.is_none() && earlier.is_empty() => Verdict::Unknown,
        LITTLE.. => Verdict::Grew,
        total if total <= -LITTLE => Verdict::Shrank,
        _ if evidence.is_empty() => Verdict::Unchanged,
        _ => Verdict::Moved,
    };
    let summary = match (sample, earlier.is_empty()) {
        (None, true) => "There is nothing to compare with.".to_owned(),
        (None, false) => {
            format!("Live data changed by {} in all, as far as snapshots tell.", signed_size(total))
        }
        (Some(at), true) => format!("{} in all since the sample of {}.", signed_size(total), time(at)),
        (Some(at), false) => format!(
            "{} in all: live data since snapshots of the time that was asked for, what snapshots keep since the sample of {}.",
            signed_size(total),
            time(at)
        ),
    };
    let next_step = match evidence.first() {
        Some(first) => format!(
            "Look at {}: snapshots_list shows what its snapshots keep, pool_capacity the trend.",
            first.about()
        ),
        None if sample.is_none() => {
            "This server takes a sample every hour from now on; ask again in some days.".to_owned()
        }
        None => "Nothing here. Ask about more days, or look at the trend with pool_capacity.".to_owned(),
    };
    Report {
        verdict,
        summary,
        evidence,
        total: 0,
        causes: causes.in_order(),
        not_seen: unseen.not,
        next_step,
    }
    .cut(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: i64 = 1 << 30;

    fn held(data: i64, snapshots: i64) -> Held {
        Held { data, snapshots, children: 0 }
    }

    fn told(old: &[(&str, Held)], now: &[(&str, Held)]) -> Report<Verdict> {
        let map =
            |rows: &[(&str, Held)]| rows.iter().map(|(path, held)| ((*path).to_owned(), *held)).collect();
        report(Some(&(DateTime::UNIX_EPOCH, map(old))), &map(now), &Earlier::new(), Seen::default(), 20)
    }

    #[test]
    fn what_was_written_and_what_snapshots_keep_are_told_apart() {
        let report = told(
            &[("tank", held(GIB, 0)), ("tank/a", held(10 * GIB, 0)), ("tank/gone", held(GIB, 0))],
            &[("tank", held(GIB, 0)), ("tank/a", held(6 * GIB, 9 * GIB)), ("tank/new", held(2 * GIB, 0))],
        );
        assert_eq!(report.verdict, Verdict::Grew);
        let text = report.to_string();
        assert!(text.contains("- tank/a: live data -4.00 GiB, in snapshots +9.00 GiB\n"), "{text}");
        assert!(text.contains("- tank/new: live data +2.00 GiB, in snapshots +0 B, new\n"), "{text}");
        assert!(text.contains("- tank/gone: live data -1.00 GiB, in snapshots +0 B, gone\n"), "{text}");
        assert!(text.contains("1. tank/a: data that was deleted or overwritten is still kept"), "{text}");
        assert!(text.starts_with("+6.00 GiB in all"), "{text}");
    }

    #[test]
    fn next_to_nothing_is_unchanged_and_nothing_to_compare_with_is_unknown() {
        assert_eq!(told(&[("a", held(5, 5))], &[("a", held(6, 6))]).verdict, Verdict::Unchanged);
        let none = report(None, &BTreeMap::new(), &Earlier::new(), Seen::default(), 20);
        assert_eq!(none.verdict, Verdict::Unknown);
    }

    /// The report of a NAS that has been sampled for an hour, or not at all, and has older snapshots.
    fn young(sampled: bool, now: &[(&str, Held)], earlier: &[(&str, i64)]) -> Report<Verdict> {
        let now: BTreeMap<_, _> = now.iter().map(|(path, held)| ((*path).to_owned(), *held)).collect();
        let earlier = earlier.iter().map(|(path, by)| ((*path).to_owned(), (DateTime::UNIX_EPOCH, *by)));
        let old = sampled.then(|| (DateTime::UNIX_EPOCH, now.clone()));
        report(old.as_ref(), &now, &earlier.collect(), Seen::default(), 20)
    }

    #[test]
    fn in_the_first_week_the_verdict_is_of_what_snapshots_and_samples_tell_together() {
        let now = [("tank/a", held(500 * GIB, GIB)), ("tank/b", held(GIB, 0))];
        for sampled in [true, false] {
            let grown = young(sampled, &now, &[("tank/a", 400 * GIB)]);
            assert_eq!(grown.verdict, Verdict::Grew);
            let text = grown.to_string();
            assert!(text.contains("+400 GiB in all"), "{text}");
            assert!(text.contains("- tank/a: live data +400 GiB since its snapshot of then"), "{text}");
            assert!(text.contains("1. tank/a: 400 GiB of new data"), "{text}");
            assert!(text.contains("Next: Look at tank/a:"), "{text}");

            let even = young(sampled, &now, &[("tank/a", 4 * GIB), ("tank/b", -4 * GIB)]);
            assert_eq!((even.verdict, even.evidence.len()), (Verdict::Moved, 2));
            assert_eq!(young(sampled, &now, &[("tank/a", -4 * GIB)]).verdict, Verdict::Shrank);
            let still = young(sampled, &now, &[("tank/a", 5)]);
            assert_eq!((still.verdict, still.evidence.len()), (Verdict::Unchanged, 0));
            assert!(!still.next_step.contains("Look at"), "{}", still.next_step);
        }
        assert_eq!(young(false, &now, &[]).verdict, Verdict::Unknown);
        assert_eq!(young(true, &now, &[]).verdict, Verdict::Unchanged);
    }

    #[test]
    fn the_snapshot_nearest_to_the_day_is_compared_with() {
        let snapshot = |name: &str, seconds: i64, referenced: i64| -> snapshot::Snapshot {
            serde_json::from_value(serde_json::json!({
                "id": format!("tank/a@{name}"), "dataset": "tank/a", "properties": {
                    "creation": {"rawvalue": seconds.to_string()}, "referenced": {"rawvalue": referenced.to_string()},
                },
            }))
            .unwrap()
        };
        let snapshots =
            [snapshot("late", 1900, 3 * GIB), snapshot("near", 1010, GIB), snapshot("early", 0, 0)];
        let now = BTreeMap::from([("tank/a".to_owned(), held(4 * GIB, 0))]);
        let since = DateTime::from_timestamp(1000, 0).unwrap();
        let found = nearest(&snapshots, &now, since);
        let at = DateTime::from_timestamp(1010, 0).unwrap();
        assert_eq!(found, BTreeMap::from([("tank/a".to_owned(), (at, 3 * GIB))]));
    }

    proptest! {
        #[test]
        fn what_is_told_of_adds_up_whatever_the_order(
            rows in prop::collection::btree_map("[a-z]{1,4}", (0..1_i64 << 40, 0..1_i64 << 40, 0..1_i64 << 40, 0..1_i64 << 40), 0..20),
        ) {
            let old: Vec<_> = rows.iter().map(|(path, bytes)| (path.as_str(), held(bytes.0, bytes.1))).collect();
            let now: Vec<_> = rows.iter().map(|(path, bytes)| (path.as_str(), held(bytes.2, bytes.3))).collect();
            let total: i64 = rows.values().map(|bytes| bytes.2 + bytes.3 - bytes.0 - bytes.1).sum();
            let summary = told(&old, &now).summary;
            prop_assert!(summary.starts_with(&signed_size(total)), "{} {}", summary, total);
        }
    }
}
