//! Takes a sample of what pools and datasets hold, now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::Journal;
use crate::clock::Clock;
use crate::domain::name::NasName;
use crate::history::{Dataset, History, HistoryError, Past, Pool, Sample};
use crate::lifecycle::Lifecycle;
use crate::nas::methods::{dataset, pool};
use crate::nas::wire::Property;
use crate::nas::{Fleet, Nas, NasError, Status};

/// How long from one sample to the next.
const EVERY: TimeDelta = TimeDelta::hours(1);
/// How long to wait after one that failed.
const AGAIN: TimeDelta = TimeDelta::minutes(5);
/// How often to look for a NAS that is no longer there.
const TIDY: TimeDelta = TimeDelta::days(1);
/// How often to see whether it is time, and whether a NAS has come.
const LOOK: Duration = Duration::from_secs(1);

/// Takes samples of every NAS for as long as the daemon runs.
pub fn start(history: History, fleet: &Fleet, journal: &Journal, clock: &Clock, lifecycle: &Lifecycle) {
    let sampler = Sampler { history, fleet: fleet.clone(), journal: journal.clone(), clock: clock.clone() };
    let stop = lifecycle.clone();
    lifecycle.service("sampler", async move {
        tokio::select! {
            () = stop.ending() => {}
            () = sampler.run() => {}
        }
    });
}

struct Sampler {
    history: History,
    fleet: Fleet,
    journal: Journal,
    clock: Clock,
}

/// Why a sample could not be taken.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error(transparent)]
    Nas(#[from] NasError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl Sampler {
    async fn run(self) {
        // When the next sample of each is due, and which failed: said once until it works again, since a history that
        // lacks an hour is no emergency.
        let mut due: BTreeMap<NasName, DateTime<Utc>> = BTreeMap::new();
        let mut failed = BTreeSet::new();
        let mut tidied: Option<DateTime<Utc>> = None;
        loop {
            let now = self.clock.now();
            if tidied.is_none_or(|last| now < last || now - last >= TIDY) {
                tidied = Some(now);
                self.tidy(now).await;
            }
            for (name, nas) in self.fleet.now().iter() {
                let past = self.history.of(name.clone());
                nas.remember(|| past.clone());
                let now = self.clock.now();
                // A clock that was set back would otherwise mean a long wait.
                let waits = due.get(name).is_some_and(|due| *due > now && *due <= now + EVERY);
                if waits || !matches!(nas.status(), Status::Up { .. }) {
                    continue;
                }
                let next = match self.turn(nas, &past, now).await {
                    Ok(next) => {
                        failed.remove(name);
                        next
                    }
                    Err(missed) => {
                        if failed.insert(name.clone()) {
                            tracing::warn!(nas = %name, %missed, "no sample of what its pools hold; it is tried again");
                        }
                        now + AGAIN
                    }
                };
                due.insert(name.clone(), next);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets go of what is known of a NAS that is no longer in the configuration.
    async fn tidy(&self, now: DateTime<Utc>) {
        let known = self.fleet.now().keys().map(ToString::to_string).collect();
        match self.history.forget_all_but(known, now).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => {
                let gone: Vec<_> = gone.into_iter().collect();
                tracing::info!(
                    "the history of {} is deleted: it is not configured any more",
                    gone.join(", ")
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the history of pools could not be tidied; it is tried again tomorrow");
            }
        }
    }

    /// Takes a sample if the last one is old enough, and says when the next is due.
    async fn turn(&self, nas: &Nas, past: &Past, now: DateTime<Utc>) -> Result<DateTime<Utc>, Missed> {
        let last = past.times().await?.into_iter().next_back();
        if let Some(last) = last.filter(|last| *last <= now && now - *last < EVERY) {
            return Ok(last + EVERY);
        }
        let sample = self.sample(nas).await?;
        past.keep(now, sample).await?;
        Ok(now + EVERY)
    }

    async fn sample(&self, nas: &Nas) -> Result<Sample, NasError> {
        let warrant = self.journal.system("history of pools");
        let session = nas.session(&warrant);
        let pools = session.call(pool::Pools, pool::all()).await?;
        let datasets = session.call(dataset::Datasets, dataset::all()).await?;
        let number = |property: &Option<Property>| property.as_ref().and_then(Property::number).unwrap_or(0);
        Ok(Sample {
            pools: pools
                .into_iter()
                .filter_map(|pool| Some(Pool { guid: pool.guid?, used: pool.allocated?, size: pool.size? }))
                .collect(),
            datasets: datasets
                .into_iter()
                .map(|one| Dataset {
                    data: number(&one.usedbydataset),
                    snapshots: number(&one.usedbysnapshots),
                    children: number(&one.usedbychildren),
                    path: one.id,
                })
                .collect(),
        })
    }
}
