//! Are my backups good? What each dataset has, the gaps first.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::name::DatasetPath;
use crate::nas::methods::query::Query;
use crate::nas::methods::{backup as tasks, dataset, snapshot, system};

use super::backup::{self, State, Task};
use super::limit::Limit;
use super::render::{foreign, shown_of, time};
use super::seen::Seen;
use super::storage::no_such_dataset;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Coverage>()]
}

/// So many of the newest snapshots are looked at. A dataset that is not among them has none newer than the
/// oldest of them, which is what counts.
const NEWEST: u32 = 5000;

struct Coverage;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CoverageArgs {
    /// Only this dataset and what lies below it. Default: all.
    #[serde(default)]
    within: Option<DatasetPath>,
    /// A copy older than this many days is a gap.
    #[serde(default)]
    max_age_days: Limit<7, 365>,
    /// At most this many, the gaps first.
    #[serde(default)]
    limit: Limit<50, 500>,
}

/// What each dataset has, the gaps first.
#[derive(Serialize, JsonSchema)]
struct CoverageOutput {
    /// The datasets shown.
    datasets: Vec<Row>,
    /// How many there are in all.
    total: usize,
    /// How many of them have a gap.
    gaps: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    /// Path.
    dataset: String,
    /// How well it is covered.
    verdict: Verdict,
    /// Newest snapshot here, ISO 8601.
    newest_snapshot: Option<String>,
    /// Copies elsewhere, with how it went last.
    copies: Vec<String>,
    /// What is missing.
    gaps: Vec<String>,
}

/// How well a dataset is covered, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Neither a snapshot nor a copy.
    Nothing,
    /// Copies were set up, but none is good and recent.
    CopiesFail,
    /// Snapshots at best, which go down with their pool.
    NoCopy,
    /// A copy on this very NAS.
    SameNas,
    /// A good copy elsewhere.
    Covered,
    /// It is itself the copy of something else.
    IsACopy,
}

impl Tool for Coverage {
    const NAME: &'static str = "backup_coverage";
    const TITLE: &'static str = "What is backed up";
    const DESCRIPTION: &'static str = "For each dataset its newest snapshot and its copies elsewhere, the gaps first; and what could not be seen.";
    const SCOPE: Scope = Scope::BackupRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("within", Log::Plain), ("max_age_days", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        dataset::Datasets,
        system::Info,
        snapshot::Times,
        tasks::SnapshotTasks,
        tasks::Replications,
        tasks::CloudSyncs,
        tasks::CloudBackups,
        tasks::Rsyncs
    ];
    type Args = CoverageArgs;
    type Output = CoverageOutput;

    fn target(args: &CoverageArgs) -> Option<String> {
        args.within.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: CoverageArgs) -> Result<CoverageOutput, ToolError> {
        let query = args.within.as_ref().map_or_else(dataset::all, |path| dataset::all().within("id", path));
        let datasets = nas.call(dataset::Datasets, query).await?;
        if let (Some(path), true) = (&args.within, datasets.is_empty()) {
            return Err(no_such_dataset(path));
        }
        let now = nas.call(system::Info, []).await?.datetime.map(|at| at.0);
        let mut seen = Seen::default();
        let tasks = backup::tasks(nas, &mut seen, None).await?;
        let those = args.within.as_ref().map_or_else(Query::all, snapshot::within);
        let snapshots = Snapshots::look(nas, &mut seen, those).await?;
        // A copy that stays here lies outside of what was asked for, as a rule.
        let everywhere = match &args.within {
            Some(_) if tasks.iter().any(Task::stays) => {
                Some(nas.call(dataset::Datasets, dataset::all()).await?)
            }
            _ => None,
        };
        let everywhere = everywhere.as_deref().unwrap_or(&datasets);

        let oldest =
            now.map(|now| now - TimeDelta::days(i64::try_from(args.max_age_days.get()).unwrap_or(i64::MAX)));
        if oldest.is_none() {
            seen.not.push("the time on the NAS, so that age was not judged".to_owned());
        }
        seen.not.push(
            "Copies that other machines pull from here, and whether any copy can be restored: not known to \
                the NAS"
                .to_owned(),
        );
        let mut rows: Vec<_> =
            datasets.iter().map(|dataset| cover(dataset, everywhere, &snapshots, &tasks, oldest)).collect();
        rows.sort_by(|one, other| {
            let key = |row: &Row| (row.gaps.is_empty(), row.verdict);
            key(one).cmp(&key(other)).then_with(|| one.dataset.cmp(&other.dataset))
        });
        let (total, gaps) = (rows.len(), rows.iter().filter(|row| !row.gaps.is_empty()).count());
        rows.truncate(args.limit.get());
        Ok(CoverageOutput { datasets: rows, total, gaps, not_seen: seen.not })
    }
}

/// When the snapshots of each dataset were taken, as far as we looked.
pub(super) struct Snapshots {
    taken: BTreeMap<String, Vec<DateTime<Utc>>>,
    /// Where not all were looked at: the age of the oldest one that was.
    looked_back_to: Option<DateTime<Utc>>,
    /// They could be seen.
    pub(super) known: bool,
}

impl Snapshots {
    /// The newest of these.
    pub(super) async fn look(
        nas: &Session<'_, Read>,
        seen: &mut Seen,
        those: Query<snapshot::Times>,
    ) -> Result<Self, ToolError> {
        let times = nas.call(snapshot::Times, snapshot::newest(those).limit(NEWEST)).await;
        let known = times.is_ok();
        let times = seen.or_default("snapshots", times)?;
        let mut taken: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for one in &times {
            if let Some(created) = one.created() {
                taken.entry(one.dataset.clone()).or_default().push(created);
            }
        }
        let full = times.len() >= NEWEST as usize;
        let oldest = times.iter().filter_map(snapshot::SnapshotTime::created).min();
        Ok(Self { taken, looked_back_to: oldest.filter(|_| full), known })
    }

    /// The newest of all.
    pub(super) fn newest(&self) -> Option<DateTime<Utc>> {
        self.taken.values().flatten().max().copied()
    }

    fn newest_of(&self, dataset: &str) -> Option<DateTime<Utc>> {
        self.taken.get(dataset)?.iter().max().copied()
    }

    /// From when what the last run of this replication sent of the dataset is: from the newest snapshot that there was
    /// by then. It sends no others than its own, so it may be older, but never newer.
    fn sent(&self, dataset: &str, task: &Task) -> Option<DateTime<Utc>> {
        let run = task.at?.0;
        self.taken.get(dataset)?.iter().filter(|taken| **taken <= run).max().copied()
    }

    /// The same of the newest of all that the replication copies.
    pub(super) fn sent_by(&self, task: &Task) -> Option<DateTime<Utc>> {
        let copied = self.taken.keys().filter(|dataset| task.here.iter().any(|here| within(dataset, here)));
        copied.filter_map(|dataset| self.sent(dataset, task)).max()
    }

    /// Whether every snapshot since `then` was looked at.
    pub(super) fn reach_back_to(&self, then: DateTime<Utc>) -> bool {
        self.known && self.looked_back_to.is_none_or(|oldest| oldest <= then)
    }

    #[cfg(test)]
    pub(super) fn of(rows: &[(&str, DateTime<Utc>)]) -> Self {
        let mut taken: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (path, at) in rows {
            taken.entry((*path).to_owned()).or_default().push(*at);
        }
        Self { taken, looked_back_to: None, known: true }
    }
}

/// What stands against a copy that its task says it has made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doubt {
    /// It was made too long ago.
    Old,
    /// The run was recent, and what it sent is not.
    NothingNew(Option<DateTime<Utc>>),
    /// There is no such dataset.
    Missing(String),
}

impl Doubt {
    fn of(
        task: &Task,
        dataset: &dataset::Dataset,
        all: &[dataset::Dataset],
        snapshots: &Snapshots,
        recent: impl Fn(Option<DateTime<Utc>>) -> bool,
    ) -> Option<Self> {
        if !recent(task.at.map(|at| at.0)) {
            return Some(Self::Old);
        }
        if task.kind != backup::Kind::Replication {
            return None;
        }
        if let Some(target) = target(task, &dataset.id)
            && !all.iter().any(|one| one.id == target)
        {
            return Some(Self::Missing(target));
        }
        let sent = snapshots.sent(&dataset.id, task);
        (!recent(sent)).then_some(Self::NothingNew(sent))
    }

    fn words(&self, snapshots: &Snapshots) -> String {
        match self {
            Self::Old => "ran too long ago".to_owned(),
            Self::NothingNew(Some(at)) => format!("ran, but copied nothing newer than {}", time(*at)),
            Self::NothingNew(None) if !snapshots.known => {
                "ran, but how old what it copied is cannot be told without the snapshots".to_owned()
            }
            Self::NothingNew(None) => match snapshots.looked_back_to {
                Some(since) => format!("ran, but found no snapshot since {} to copy", time(since)),
                None => "ran, but found no snapshot to copy".to_owned(),
            },
            Self::Missing(target) => format!("ran, but there is no {}", foreign(target, 260)),
        }
    }
}

/// The dataset on this NAS that holds the copy, for a replication that stays here. Of one with several sources the
/// NAS settles the names itself.
fn target(task: &Task, dataset: &str) -> Option<String> {
    let [source] = &task.here[..] else { return None };
    let there = task.there.as_deref().filter(|_| task.stays())?;
    Some(format!("{there}{}", dataset.strip_prefix(source.as_str())?))
}

fn cover(
    dataset: &dataset::Dataset,
    all: &[dataset::Dataset],
    snapshots: &Snapshots,
    tasks: &[Task],
    oldest: Option<DateTime<Utc>>,
) -> Row {
    let newest = snapshots.newest_of(&dataset.id);
    let recent = |at: Option<DateTime<Utc>>| at.is_some_and(|at| oldest.is_none_or(|oldest| at >= oldest));
    let copies: Vec<_> = tasks
        .iter()
        .filter(|task| task.kind != backup::Kind::Snapshots && !task.pulls && task.enabled != Some(false))
        .filter_map(|task| Some((task, reach(task, dataset, all)?)))
        .collect();
    let doubt = |task: &Task| Doubt::of(task, dataset, all, snapshots, recent);
    let good = |task: &Task| task.state == State::Done && doubt(task).is_none();
    let whole = |(_, reach): &&(&Task, Reach)| *reach == Reach::Whole;
    let elsewhere = copies.iter().filter(whole).any(|(task, _)| !task.local && good(task));
    let here = copies.iter().filter(whole).any(|(task, _)| task.local && good(task));
    let has_snapshots = newest.is_some() || snapshots.looked_back_to.is_some();

    let filled_by = filled_by(dataset, tasks);
    let verdict = if !filled_by.is_empty() {
        Verdict::IsACopy
    } else if elsewhere {
        Verdict::Covered
    } else if here {
        Verdict::SameNas
    } else if copies.iter().any(|(_, reach)| *reach == Reach::Whole) {
        Verdict::CopiesFail
    } else if has_snapshots || !snapshots.known {
        Verdict::NoCopy
    } else {
        Verdict::Nothing
    };

    let mut gaps = Vec::new();
    let mut gap = |holds: bool, what: String| {
        if holds {
            gaps.push(what);
        }
    };
    if verdict != Verdict::IsACopy {
        match (newest, snapshots.looked_back_to) {
            (Some(at), _) => gap(!recent(Some(at)), format!("newest snapshot is old, of {}", time(at))),
            (None, Some(since)) => gap(true, format!("no snapshot since {}", time(since))),
            (None, None) => gap(snapshots.known, "no snapshot".to_owned()),
        }
        gap(copies.is_empty(), "no copy elsewhere".to_owned());
        gap(verdict == Verdict::SameNas, "its only good copy is on this NAS".to_owned());
    }
    for (task, reach) in &copies {
        let partly = *reach == Reach::Part;
        gap(partly, format!("{} \"{}\" copies only a part of it", task.kind, foreign(&task.name, 120)));
    }
    let from_here = copies.iter().map(|(task, _)| (*task, true));
    for (task, from_here) in from_here.chain(filled_by.into_iter().map(|task| (task, false))) {
        let what = match task.state {
            State::Failed => "failed".to_owned(),
            State::Never => "has no run that is known".to_owned(),
            State::Done if from_here => match doubt(task) {
                Some(doubt) => doubt.words(snapshots),
                None => continue,
            },
            State::Done if !recent(task.at.map(|at| at.0)) => Doubt::Old.words(snapshots),
            State::Done | State::Waiting | State::Running => continue,
        };
        gap(true, format!("{} \"{}\" {what}", task.kind, foreign(&task.name, 120)));
    }
    Row {
        dataset: foreign(&dataset.id, 260),
        verdict,
        newest_snapshot: newest.map(time),
        copies: copies.iter().map(|(task, _)| described(task)).collect(),
        gaps,
    }
}

fn described(task: &Task) -> String {
    let there = task.there.as_deref().map(|there| format!(" to {}", foreign(there, 120))).unwrap_or_default();
    let at = task.at.map(|at| format!(" {}", time(at.0))).unwrap_or_default();
    format!("{} \"{}\"{there}: {}{at}", task.kind, foreign(&task.name, 120), task.state)
}

/// How much of a dataset a task copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Whole,
    Part,
}

fn reach(task: &Task, dataset: &dataset::Dataset, all: &[dataset::Dataset]) -> Option<Reach> {
    if task.kind == backup::Kind::Replication {
        let excluded = task.exclude.iter().any(|excluded| within(&dataset.id, excluded));
        let copied = task
            .here
            .iter()
            .any(|source| dataset.id == *source || (task.recursive && within(&dataset.id, source)));
        return (copied && !excluded).then_some(Reach::Whole);
    }
    // The others copy directories. A volume has none.
    let mountpoint = dataset.mountpoint.as_deref()?;
    task.here.iter().find_map(|path| {
        let path = path.trim_end_matches('/');
        if within(mountpoint, path) {
            Some(Reach::Whole)
        } else if within(path, mountpoint)
            && !all.iter().any(|other| holds_more_closely(other, path, mountpoint))
        {
            Some(Reach::Part)
        } else {
            None
        }
    })
}

/// Whether the directory belongs to this dataset rather than to the one mounted at `above`.
fn holds_more_closely(dataset: &dataset::Dataset, path: &str, above: &str) -> bool {
    let mountpoint = dataset.mountpoint.as_deref();
    mountpoint.is_some_and(|mountpoint| mountpoint.len() > above.len() && within(path, mountpoint))
}

/// Whether `path` is `ancestor` or lies below it.
fn within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What copies to here: a pull, or a replication that stays on this NAS.
fn filled_by<'a>(dataset: &dataset::Dataset, tasks: &'a [Task]) -> Vec<&'a Task> {
    let mountpoint = dataset.mountpoint.as_deref();
    let fills = |task: &Task| match task.kind {
        backup::Kind::Replication if task.pulls => task.here.iter().any(|here| within(&dataset.id, here)),
        backup::Kind::Replication => {
            task.local && task.there.as_deref().is_some_and(|there| within(&dataset.id, there))
        }
        backup::Kind::CloudSync | backup::Kind::Rsync if task.pulls => {
            mountpoint.is_some_and(|mountpoint| task.here.iter().any(|here| within(mountpoint, here)))
        }
        _ => false,
    };
    tasks.iter().filter(|task| task.enabled != Some(false) && fills(task)).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "NOTHING",
            Self::CopiesFail => "COPIES FAIL",
            Self::NoCopy => "NO COPY",
            Self::SameNas => "SAME NAS",
            Self::Covered => "covered",
            Self::IsACopy => "is a copy",
        })
    }
}

impl Items for CoverageOutput {
    fn items(&self) -> usize {
        self.datasets.len()
    }
}

impl fmt::Display for CoverageOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} datasets have a gap.", self.gaps, self.total)?;
        for row in &self.datasets {
            let good = matches!(row.verdict, Verdict::Covered | Verdict::IsACopy);
            let but = if good && !row.gaps.is_empty() { ", with a gap" } else { "" };
            writeln!(f, "- [{}{but}] {}", row.verdict, row.dataset)?;
            for gap in &row.gaps {
                writeln!(f, "    gap: {gap}")?;
            }
            if let Some(at) = &row.newest_snapshot {
                writeln!(f, "    newest snapshot: {at}")?;
            }
            for copy in &row.copies {
                writeln!(f, "    {copy}")?;
            }
        }
        f.write_str(&shown_of(self.datasets.len(), self.total, "Narrow with within, or raise limit."))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))?;
        if self.gaps > 0 {
            writeln!(f, "Next: Begin with the first. backup_list tells why a task failed.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::backup::Kind;
    use super::*;

    fn dataset(path: &str) -> dataset::Dataset {
        let json = json!({"id": path, "type": "FILESYSTEM", "mountpoint": format!("/mnt/{path}")});
        serde_json::from_value(json).unwrap()
    }

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(day)
    }

    fn task(kind: Kind, here: &str, state: State, at: i64) -> Task {
        Task::made_up(kind, here, state, day(at))
    }

    fn snapshots(of: &[(&str, i64)]) -> Snapshots {
        Snapshots::of(&of.iter().map(|(path, at)| (*path, day(*at))).collect::<Vec<_>>())
    }

    fn verdict(path: &str, snapshots: &Snapshots, tasks: &[Task]) -> Verdict {
        cover(&dataset(path), &[dataset("there/a")], snapshots, tasks, Some(day(100))).verdict
    }

    #[test]
    fn a_dataset_is_as_well_covered_as_its_best_copy() {
        let some = snapshots(&[("tank/a", 105)]);
        let none = snapshots(&[]);
        let stale = snapshots(&[("tank/a", 50)]);
        let after = snapshots(&[("tank/a", 50), ("tank/a", 106)]);
        let unseen = Snapshots { known: false, ..snapshots(&[]) };
        let files = || task(Kind::CloudSync, "/mnt/tank/a/", State::Done, 105);
        let good = || task(Kind::Replication, "tank", State::Done, 105);
        let old = || task(Kind::CloudSync, "/mnt/tank/a/", State::Done, 50);
        let failed = || task(Kind::Rsync, "/mnt/tank/a", State::Failed, 105);
        let off = || Task { enabled: Some(false), ..good() };
        let local = || Task { local: true, ..good() };
        let part = || task(Kind::CloudBackup, "/mnt/tank/a/docs", State::Done, 105);
        let flat = || Task { recursive: false, ..good() };
        let but = || Task { exclude: vec!["tank/a".to_owned()], ..good() };
        for (what, snapshots, tasks, expected) in [
            ("nothing at all", &none, vec![], Verdict::Nothing),
            ("snapshots", &some, vec![], Verdict::NoCopy),
            ("a good copy", &some, vec![good()], Verdict::Covered),
            ("a run that found nothing to copy", &none, vec![good()], Verdict::CopiesFail),
            ("a run that found nothing new", &stale, vec![good()], Verdict::CopiesFail),
            ("a snapshot of after the run", &after, vec![good()], Verdict::CopiesFail),
            ("a copy of files, which takes no snapshot", &none, vec![files()], Verdict::Covered),
            ("snapshots that could not be seen", &unseen, vec![good()], Verdict::CopiesFail),
            ("one good, one bad", &some, vec![failed(), good()], Verdict::Covered),
            ("an old copy", &some, vec![old()], Verdict::CopiesFail),
            ("a failed copy", &some, vec![failed()], Verdict::CopiesFail),
            ("switched off", &some, vec![off()], Verdict::NoCopy),
            ("on the same NAS", &some, vec![local()], Verdict::SameNas),
            ("only a part", &some, vec![part()], Verdict::NoCopy),
            ("only the parent", &some, vec![flat()], Verdict::NoCopy),
            ("all but this", &some, vec![but()], Verdict::NoCopy),
        ] {
            assert_eq!(verdict("tank/a", snapshots, &tasks), expected, "{what}");
        }
    }

    #[test]
    fn a_copy_on_this_nas_is_one_only_where_its_dataset_is() {
        let local = Task {
            local: true,
            there: Some("backup/a".to_owned()),
            ..task(Kind::Replication, "tank/a", State::Done, 105)
        };
        let some = snapshots(&[("tank/a", 105), ("tank/a/b", 105)]);
        let all = |paths: &[&str]| paths.iter().map(|path| dataset(path)).collect::<Vec<_>>();
        let whole = all(&["tank/a", "tank/a/b", "backup/a", "backup/a/b"]);
        let part = all(&["tank/a", "tank/a/b", "backup/a", "backup/a/bc"]);
        let row =
            |all: &[_]| cover(&dataset("tank/a/b"), all, &some, std::slice::from_ref(&local), Some(day(100)));
        assert_eq!(row(&whole).verdict, Verdict::SameNas);
        assert_eq!(row(&part).verdict, Verdict::CopiesFail);
        assert_eq!(row(&part).gaps, ["replication \"t\" ran, but there is no backup/a/b"]);
        let several = Task { here: vec!["tank/a".to_owned(), "tank/x".to_owned()], ..local.clone() };
        assert_eq!(
            cover(&dataset("tank/a/b"), &part, &some, &[several], Some(day(100))).verdict,
            Verdict::SameNas
        );
    }

    #[test]
    fn what_is_copied_to_is_no_gap() {
        let pull = Task { pulls: true, ..task(Kind::Replication, "tank/copy", State::Done, 105) };
        let row = cover(&dataset("tank/copy/x"), &[], &snapshots(&[]), &[pull], Some(day(100)));
        assert_eq!((row.verdict, row.gaps.len()), (Verdict::IsACopy, 0));
    }

    #[test]
    fn a_copy_that_is_no_longer_filled_is_a_gap() {
        let pull = Task { pulls: true, ..task(Kind::Rsync, "/mnt/tank/copy", State::Failed, 105) };
        let row = cover(&dataset("tank/copy"), &[], &snapshots(&[]), &[pull], Some(day(100)));
        assert_eq!((row.verdict, row.gaps), (Verdict::IsACopy, vec!["rsync \"t\" failed".to_owned()]));
    }

    #[test]
    fn a_directory_is_part_of_the_dataset_that_holds_it_alone() {
        let all = [dataset("tank"), dataset("tank/a")];
        let cloud = task(Kind::CloudSync, "/mnt/tank/a/docs", State::Done, 105);
        assert_eq!(reach(&cloud, &all[0], &all), None);
        assert_eq!(reach(&cloud, &all[1], &all), Some(Reach::Part));
    }

    #[test]
    fn a_volume_is_in_no_directory() {
        let volume: dataset::Dataset =
            serde_json::from_value(json!({"id": "tank/vm", "type": "VOLUME", "mountpoint": null})).unwrap();
        let cloud = task(Kind::CloudSync, "/mnt/tank", State::Done, 105);
        let row = cover(&volume, &[], &snapshots(&[]), &[cloud], Some(day(100)));
        assert_eq!(row.verdict, Verdict::Nothing);
    }

    #[test]
    fn a_dataset_beyond_the_newest_snapshots_is_not_said_to_have_none() {
        let far = Snapshots { looked_back_to: Some(day(90)), ..snapshots(&[]) };
        let row = cover(&dataset("tank/a"), &[], &far, &[], Some(day(100)));
        assert_eq!(row.verdict, Verdict::NoCopy);
        assert!(row.gaps[0].starts_with("no snapshot since 1970-04-01"), "{:?}", row.gaps);
    }

    #[test]
    fn snapshots_that_could_not_be_seen_are_no_gap() {
        let unseen = Snapshots { known: false, ..snapshots(&[]) };
        let row = cover(&dataset("tank/a"), &[], &unseen, &[], Some(day(100)));
        assert_eq!((row.verdict, row.gaps), (Verdict::NoCopy, vec!["no copy elsewhere".to_owned()]));
    }

    proptest! {
        #[test]
        fn a_copy_of_tank_says_nothing_of_what_only_looks_like_it(
            path in "(tank2|tank-old|tan|backup/tank)(/[a-z]{1,3}){0,2}",
            kind in prop::sample::select(vec![Kind::Replication, Kind::CloudSync, Kind::CloudBackup, Kind::Rsync]),
        ) {
            let source = if kind == Kind::Replication { "tank" } else { "/mnt/tank" };
            let tasks = [task(kind, source, State::Done, 105)];
            prop_assert_eq!(verdict(&path, &snapshots(&[("tank", 105)]), &tasks), Verdict::Nothing);
        }
    }
}
