//! What pools and datasets held before: the NAS keeps no history of that, so we take samples and keep them.
//!
//! The samples lie in one file, `history.redb`. They may be lost without harm, so nothing waits for them and nothing
//! fails for lack of them: a file that is damaged is set aside, one of a newer format is left alone, and both are
//! said where somebody asks for history. How much is kept is bounded: every sample of [`FINE`], one a day for
//! [`COARSE`], of each no more than [`DATASETS`] datasets, and of a NAS that is no longer there nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::domain::name::NasName;

/// Format of the file. A daemon leaves one with a higher number alone.
const FORMAT: u64 = 1;
/// For so long every sample is kept.
pub const FINE: TimeDelta = TimeDelta::days(8);
/// For so long one sample a day is kept.
pub const COARSE: TimeDelta = TimeDelta::days(400);
/// Datasets of one sample, the largest first.
pub const DATASETS: usize = 500;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By NAS and second of 1970: when samples were taken.
const SAMPLES: TableDefinition<'_, (&str, i64), ()> = TableDefinition::new("samples");
/// By NAS, second and guid of the pool: bytes in use, bytes in all.
const POOLS: TableDefinition<'_, (&str, i64, &str), (u64, u64)> = TableDefinition::new("pools");
/// By NAS, second and path: bytes of data, in snapshots, in children.
const TREE: TableDefinition<'_, (&str, i64, &str), (u64, u64, u64)> = TableDefinition::new("datasets");

/// The samples. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct History(Arc<Database>);

/// A history that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The samples.
    pub history: History,
    /// Where a damaged file was put, if there was one: its samples are lost.
    pub set_aside: Option<PathBuf>,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A newer daemon wrote it. It is left as it is.
    #[error("{} has format {format}, and this version knows {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// Another daemon has it.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// It cannot be read or written.
    #[error("the history of pools cannot be read or written: {0}")]
    Store(String),
}

fn store(error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Store(error.into().to_string())
}

/// What a NAS held at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Its datasets.
    pub datasets: Vec<Dataset>,
}

/// What a pool held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// What identifies it, even under another name.
    pub guid: String,
    /// Bytes in use.
    pub used: u64,
    /// Bytes in all.
    pub size: u64,
}

/// What a dataset held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Path.
    pub path: String,
    /// Bytes of its own data.
    pub data: u64,
    /// Bytes that only its snapshots keep.
    pub snapshots: u64,
    /// Bytes of what lies below it.
    pub children: u64,
}

/// The samples of one NAS.
#[derive(Clone, Debug)]
pub struct Past {
    history: History,
    nas: NasName,
}

impl History {
    /// Opens the history in `dir`, or begins one. A damaged one is set aside.
    ///
    /// # Errors
    ///
    /// [`HistoryError`], and then the file is as it was.
    pub fn open(dir: &Path, now: DateTime<Utc>) -> Result<Opened, HistoryError> {
        let path = dir.join("history.redb");
        let io = |error: std::io::Error| HistoryError::Store(format!("{}: {error}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        match Self::take_up(&path) {
            Ok(history) => Ok(Opened { history, set_aside: None }),
            // What is no trouble of the disk or of rights is damage.
            Err(HistoryError::Store(_)) if fs::File::options().read(true).write(true).open(&path).is_ok() => {
                let aside = dir.join(format!("history.redb.damaged-{}", now.format("%Y%m%dT%H%M%SZ")));
                fs::rename(&path, &aside).map_err(io)?;
                Ok(Opened { history: Self::take_up(&path)?, set_aside: Some(aside) })
            }
            Err(error) => Err(error),
        }
    }

    fn take_up(path: &Path) -> Result<Self, HistoryError> {
        // A file that is damaged enough can make the library panic; that is damage, and no reason to end.
        let opened = std::panic::catch_unwind(|| Database::create(path));
        let opened = opened.map_err(|_| HistoryError::Store("the file is damaged".to_owned()))?;
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => HistoryError::Locked(path.to_owned()),
            error => store(error),
        })?;
        let changes = database.begin_write().map_err(store)?;
        {
            let mut meta = changes.open_table(META).map_err(store)?;
            let format = meta.get("format").map_err(store)?.map(|format| format.value());
            match format {
                Some(format) if format > FORMAT => {
                    return Err(HistoryError::Newer { path: path.to_owned(), format });
                }
                Some(_) => {}
                None => drop(meta.insert("format", FORMAT).map_err(store)?),
            }
            changes.open_table(SAMPLES).map_err(store)?;
            changes.open_table(POOLS).map_err(store)?;
            changes.open_table(TREE).map_err(store)?;
        }
        changes.commit().map_err(store)?;
        Ok(Self(Arc::new(database)))
    }

    /// Lets go of every NAS that is none of `known` and has had no sample for [`FINE`]: one that is taken out of the
    /// configuration by mistake has its history back when it is put back. Answers whose samples are gone.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written; then nothing of it was.
    pub async fn forget_all_but(
        &self,
        known: BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> Result<BTreeSet<String>, HistoryError> {
        let history = self.clone();
        let done = tokio::task::spawn_blocking(move || history.forget(&known, now.timestamp())).await;
        done.unwrap_or_else(|_| Err(HistoryError::Store("the file is damaged".to_owned())))
    }

    fn forget(&self, known: &BTreeSet<String>, now: i64) -> Result<BTreeSet<String>, HistoryError> {
        let mut newest: BTreeMap<String, i64> = BTreeMap::new();
        let reading = self.0.begin_read().map_err(store)?;
        for row in reading.open_table(SAMPLES).map_err(store)?.iter().map_err(store)? {
            let key = row.map_err(store)?.0;
            let (nas, at) = key.value();
            newest.insert(nas.to_owned(), at);
        }
        let gone = newest
            .into_iter()
            .filter(|(nas, at)| !known.contains(nas) && now.saturating_sub(*at) > FINE.num_seconds());
        let gone: BTreeSet<_> = gone.map(|(nas, _)| nas).collect();
        if gone.is_empty() {
            return Ok(gone);
        }
        let changes = self.0.begin_write().map_err(store)?;
        {
            let mut samples = changes.open_table(SAMPLES).map_err(store)?;
            let mut pools = changes.open_table(POOLS).map_err(store)?;
            let mut tree = changes.open_table(TREE).map_err(store)?;
            samples.retain(|(nas, _), ()| !gone.contains(nas)).map_err(store)?;
            pools.retain(|(nas, _, _), _| !gone.contains(nas)).map_err(store)?;
            tree.retain(|(nas, _, _), _| !gone.contains(nas)).map_err(store)?;
        }
        changes.commit().map_err(store)?;
        Ok(gone)
    }

    /// The samples of this NAS.
    #[must_use]
    pub fn of(&self, nas: NasName) -> Past {
        Past { history: self.clone(), nas }
    }
}

impl Past {
    /// Keeps a sample, and lets go of what is too old.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; then nothing of it was.
    pub async fn keep(&self, at: DateTime<Utc>, sample: Sample) -> Result<(), HistoryError> {
        self.work(move |past| past.write(at.timestamp(), sample)).await
    }

    /// When the samples were taken, oldest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub async fn times(&self) -> Result<Vec<DateTime<Utc>>, HistoryError> {
        let times = self.work(Self::seconds).await?;
        Ok(times.into_iter().filter_map(|at| DateTime::from_timestamp(at, 0)).collect())
    }

    /// How full the pool of this guid was over time, oldest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub async fn pool(&self, guid: String) -> Result<Vec<(DateTime<Utc>, Pool)>, HistoryError> {
        self.work(move |past| {
            let reading = past.history.0.begin_read().map_err(store)?;
            let table = reading.open_table(POOLS).map_err(store)?;
            let mut states = Vec::new();
            for row in table
                .range((past.nas.as_str(), i64::MIN, "")..(past.nas.as_str(), i64::MAX, ""))
                .map_err(store)?
            {
                let (key, value) = row.map_err(store)?;
                let ((_, at, of), (used, size)) = (key.value(), value.value());
                if let (true, Some(at)) = (of == guid, DateTime::from_timestamp(at, 0)) {
                    states.push((at, Pool { guid: guid.clone(), used, size }));
                }
            }
            Ok(states)
        })
        .await
    }

    /// The datasets as they were at `at` or before, as near as a sample was taken; failing that, as they were in
    /// the first sample. Nothing where there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub async fn datasets(
        &self,
        at: DateTime<Utc>,
    ) -> Result<Option<(DateTime<Utc>, Vec<Dataset>)>, HistoryError> {
        self.work(move |past| {
            let seconds = past.seconds()?;
            let before = seconds.iter().rev().find(|taken| **taken <= at.timestamp());
            let Some(&taken) = before.or_else(|| seconds.first()) else { return Ok(None) };
            let reading = past.history.0.begin_read().map_err(store)?;
            let table = reading.open_table(TREE).map_err(store)?;
            let mut datasets = Vec::new();
            for row in table
                .range((past.nas.as_str(), taken, "")..(past.nas.as_str(), taken + 1, ""))
                .map_err(store)?
            {
                let (key, value) = row.map_err(store)?;
                let (data, snapshots, children) = value.value();
                datasets.push(Dataset { path: key.value().2.to_owned(), data, snapshots, children });
            }
            Ok(DateTime::from_timestamp(taken, 0).map(|taken| (taken, datasets)))
        })
        .await
    }

    fn seconds(&self) -> Result<Vec<i64>, HistoryError> {
        let reading = self.history.0.begin_read().map_err(store)?;
        let table = reading.open_table(SAMPLES).map_err(store)?;
        let nas = self.nas.as_str();
        let rows = table.range((nas, i64::MIN)..=(nas, i64::MAX)).map_err(store)?;
        rows.map(|row| Ok(row.map_err(store)?.0.value().1)).collect()
    }

    fn write(&self, at: i64, sample: Sample) -> Result<(), HistoryError> {
        let Sample { pools, mut datasets } = sample;
        datasets.sort_by_key(|one| {
            std::cmp::Reverse(one.data.saturating_add(one.snapshots).saturating_add(one.children))
        });
        datasets.truncate(DATASETS);
        let nas = self.nas.as_str();
        let stale = stale(&self.seconds()?, at);
        let changes = self.history.0.begin_write().map_err(store)?;
        {
            let mut samples = changes.open_table(SAMPLES).map_err(store)?;
            let mut of_pools = changes.open_table(POOLS).map_err(store)?;
            let mut tree = changes.open_table(TREE).map_err(store)?;
            samples.insert((nas, at), ()).map_err(store)?;
            for pool in &pools {
                of_pools.insert((nas, at, pool.guid.as_str()), (pool.used, pool.size)).map_err(store)?;
            }
            for one in &datasets {
                let bytes = (one.data, one.snapshots, one.children);
                tree.insert((nas, at, one.path.as_str()), bytes).map_err(store)?;
            }
            for old in stale {
                samples.remove((nas, old)).map_err(store)?;
                of_pools.retain_in((nas, old, "")..(nas, old + 1, ""), |_, _| false).map_err(store)?;
                tree.retain_in((nas, old, "")..(nas, old + 1, ""), |_, _| false).map_err(store)?;
            }
        }
        changes.commit().map_err(store)
    }

    /// Off the async threads: it may wait for the disk.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let past = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&past)).await;
        done.unwrap_or_else(|_| Err(HistoryError::Store("the file is damaged".to_owned())))
    }
}

/// The samples to let go of when one is taken at `now`: what is older than [`COARSE`] or, beyond [`FINE`], not the first
/// of its day. A clock that was set back makes samples of the future; they stay until it has caught up.
fn stale(taken: &[i64], now: i64) -> Vec<i64> {
    const DAY: i64 = 86_400;
    let mut days = BTreeSet::new();
    let is_stale = |at: &i64| {
        let age = now.saturating_sub(*at);
        let first_of_day = days.insert(at.div_euclid(DAY));
        age > COARSE.num_seconds() || (age > FINE.num_seconds() && !first_of_day)
    };
    taken.iter().copied().filter(is_stale).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn sample(used: u64) -> Sample {
        Sample {
            pools: vec![Pool { guid: "1".to_owned(), used, size: 1000 }],
            datasets: vec![Dataset { path: "tank".to_owned(), data: used, snapshots: 1, children: 2 }],
        }
    }

    fn open(dir: &Path) -> Opened {
        History::open(dir, at(0)).unwrap()
    }

    fn past(opened: &Opened, nas: &str) -> Past {
        opened.history.of(nas.parse().unwrap())
    }

    #[tokio::test]
    async fn samples_survive_a_restart_and_each_nas_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        past(&opened, "one").keep(at(0), sample(5)).await.unwrap();
        past(&opened, "one").keep(at(3600), sample(7)).await.unwrap();
        past(&opened, "onetwo").keep(at(60), sample(9)).await.unwrap();
        assert!(matches!(History::open(dir.path(), at(0)), Err(HistoryError::Locked(_))));
        drop(opened);

        let opened = open(dir.path());
        assert_eq!(opened.set_aside, None);
        let one = past(&opened, "one");
        let used: Vec<_> =
            one.pool("1".to_owned()).await.unwrap().iter().map(|(_, pool)| pool.used).collect();
        assert_eq!(used, [5, 7]);
        assert_eq!(past(&opened, "onetwo").times().await.unwrap(), [at(60)]);
        for (asked, taken, data) in [(-50, 0, 5), (0, 0, 5), (3599, 0, 5), (3600, 3600, 7), (99_999, 3600, 7)]
        {
            let (when, datasets) = one.datasets(at(asked)).await.unwrap().unwrap();
            assert_eq!((when, datasets[0].data), (at(taken), data), "{asked}");
        }
        assert_eq!(past(&opened, "none").datasets(at(0)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside_and_the_history_begins_anew() {
        for damage in [&b"this is no database"[..], b"", &[0; 5000]] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("history.redb");
            fs::write(&path, damage).unwrap();
            let opened = open(dir.path());
            if let Some(aside) = &opened.set_aside {
                assert_eq!(fs::read(aside).unwrap(), damage, "what was there is kept");
            } else {
                assert!(damage.is_empty(), "an empty file alone is a beginning");
            }
            past(&opened, "one").keep(at(0), sample(5)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_cut_short_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        for hour in 0..50 {
            past(&opened, "one").keep(at(hour * 3600), sample(5)).await.unwrap();
        }
        drop(opened);
        let path = dir.path().join("history.redb");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 3]).unwrap();
        assert!(open(dir.path()).set_aside.is_some());
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let changes = opened.history.0.begin_write().unwrap();
        changes.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        changes.commit().unwrap();
        drop(opened);
        assert!(matches!(History::open(dir.path(), at(0)), Err(HistoryError::Newer { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_nas_that_is_gone_is_forgotten_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let day = 86_400;
        for (nas, last) in [("kept", 0), ("gone", 0), ("just-gone", 5)] {
            past(&opened, nas).keep(at(last * day), sample(5)).await.unwrap();
        }
        let forget = async |now: i64| {
            let known = BTreeSet::from(["kept".to_owned()]);
            Vec::from_iter(opened.history.forget_all_but(known, at(now * day)).await.unwrap())
        };
        assert!(forget(8).await.is_empty(), "it may come back");
        assert_eq!(forget(9).await, ["gone"]);
        assert!(past(&opened, "gone").times().await.unwrap().is_empty());
        assert!(past(&opened, "gone").pool("1".to_owned()).await.unwrap().is_empty());
        assert_eq!(past(&opened, "gone").datasets(at(0)).await.unwrap(), None);
        for nas in ["kept", "just-gone"] {
            assert_eq!(past(&opened, nas).pool("1".to_owned()).await.unwrap().len(), 1, "{nas}");
        }
    }

    /// The file grows as far as its bounds go, and then no more: the space of what is let go of is used again.
    #[tokio::test]
    async fn after_a_year_and_more_the_file_grows_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let past = past(&opened, "one");
        let bytes = || fs::metadata(dir.path().join("history.redb")).unwrap().len();
        let mut after_the_bound = 0;
        // Datasets come and go, one a day.
        for day in 0..840_u64 {
            let datasets = (day..day + 100).map(|number| Dataset {
                path: format!("tank/apps/some-application/{number}"),
                data: number,
                snapshots: 0,
                children: 0,
            });
            let pools = vec![Pool { guid: "1234567890123456789".to_owned(), used: day, size: 1000 }];
            let at = at(i64::try_from(day).unwrap() * 86_400);
            past.keep(at, Sample { pools, datasets: datasets.collect() }).await.unwrap();
            if day == 420 {
                after_the_bound = bytes();
            }
        }
        assert_eq!(past.times().await.unwrap().len(), 401);
        // Twice the samples were taken; kept, they would take twice the room.
        assert!(bytes() * 2 < after_the_bound * 3, "{} after {after_the_bound}", bytes());
    }

    #[tokio::test]
    async fn no_more_than_the_largest_datasets_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let datasets = (0..2000_u64).map(|number| Dataset {
            path: format!("tank/{number}"),
            data: number,
            snapshots: 0,
            children: 0,
        });
        let sample = Sample { pools: vec![], datasets: datasets.collect() };
        past(&opened, "one").keep(at(0), sample).await.unwrap();
        let (_, kept) = past(&opened, "one").datasets(at(0)).await.unwrap().unwrap();
        assert_eq!(kept.len(), DATASETS);
        assert!(kept.iter().all(|one| one.data >= 1500));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_kept_is_bounded_and_every_recent_sample_is(
            steps in prop::collection::vec(600..90_000_i64, 1..900),
        ) {
            let mut kept: Vec<i64> = Vec::new();
            let mut now = 1_790_000_000;
            for step in steps {
                now += step;
                let stale = stale(&kept, now);
                prop_assert!(stale.iter().all(|old| now - old > FINE.num_seconds()));
                kept.retain(|at| !stale.contains(at));
                kept.push(now);
            }
            let old = kept.iter().filter(|at| now - **at > FINE.num_seconds());
            prop_assert!(old.count() <= 393);
            prop_assert!(kept.iter().all(|at| now - at <= COARSE.num_seconds()));
        }
    }
}
