//! What became of a change whose end nobody wrote down when it was made: the NAS goes on with it as a job, or the
//! daemon ended in between. The NAS is asked for its jobs, and the outcome is written when that is known, whether or
//! not anybody still listens.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::{NasJob, Outcome, Pending, Status};
use crate::clock::Clock;
use crate::domain::text::foreign;
use crate::lifecycle::Lifecycle;
use crate::nas::methods::job::{self, Job, JobState};
use crate::nas::{Fleet, Nas, NasError};

/// How long a NAS may be away before it is given up to learn what became of a change of which no job is known.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often a job is looked at: at first, and when it takes its time.
const SOON: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(15);

/// How many jobs a NAS keeps.
const JOBS: u32 = 1000;

/// By how much the clocks of the NAS and ours may differ.
const SKEW: TimeDelta = TimeDelta::minutes(10);

/// Finds out how a change ended, writes it down and tells. Where the daemon stops before that, it is left to the next
/// start. `far` hears how far the NAS is with it, in percent, each time that it is looked at.
pub async fn settle(
    pending: Pending,
    fleet: Fleet,
    clock: Clock,
    lifecycle: Lifecycle,
    far: impl Fn(u8),
) -> Option<Outcome> {
    let (seq, tool) = (pending.seq(), pending.tool().to_owned());
    let outcome = tokio::select! {
        outcome = found_out(&pending, &fleet, &clock, far) => outcome,
        () = lifecycle.stopping() => return None,
    };
    if let Err(error) = pending.close(outcome.clone()).await {
        tracing::error!(intent = seq, tool, %error, "how a change ended could not be recorded");
        return None;
    }
    tracing::info!(intent = seq, tool, status = %outcome.status, "it was found out how a change ended, and recorded");
    Some(outcome)
}

async fn found_out(pending: &Pending, fleet: &Fleet, clock: &Clock, far: impl Fn(u8)) -> Outcome {
    let Some(nas) = pending.nas().and_then(|name| fleet.now().get(name).cloned()) else {
        return Outcome::lost_in_a_crash(
            "the daemon ended before it could write down how this went, and no such NAS is configured any more",
        );
    };
    let begun = clock.mono();
    let mut pause = SOON;
    let mut known = pending.job().cloned();
    loop {
        match find(&nas, pending, known.as_ref()).await {
            Ok(Some(job)) => {
                if let Some(outcome) = ended(&job) {
                    return outcome;
                }
                if let Some(percent) = percent_of(&job) {
                    far(percent);
                }
                known = Some(NasJob { id: job.id, method: job.method.into() });
            }
            Ok(None) => return gone(known.as_ref()),
            Err(NasError::NoWriter) => {
                return Outcome::lost_in_a_crash(
                    "the daemon ended before it could write down how this went, and there is no account any more to \
                     ask the NAS with",
                );
            }
            // What the NAS is known to go on with is waited for as long as it takes.
            Err(error) if known.is_none() && clock.mono().saturating_sub(begun) > PATIENCE => {
                return Outcome::lost_in_a_crash(&format!(
                    "the daemon ended before it could write down how this went, and the NAS cannot be asked: {error}"
                ));
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LATER);
    }
}

/// The job that a change began: by the name of the request, which the NAS keeps since 25.10, and otherwise by its
/// number, if the job of that number is of the same kind and time. The numbers begin again when the NAS restarts.
async fn find(nas: &Nas, pending: &Pending, known: Option<&NasJob>) -> Result<Option<Job>, NasError> {
    let session = nas.aftermath(pending);
    let query = known.map_or_else(|| job::latest(JOBS), |known| job::one(known.id));
    let jobs = session.call(job::Jobs, query).await?;
    let same = |job: &Job| match known {
        _ if job.is_for(pending.request()) => true,
        // Also a job that somebody else began: the NAS gives the number of one that already waits to do the same.
        Some(known) => job.method == known.method && is_of_the_time(job, pending.since()),
        None => false,
    };
    Ok(jobs.into_iter().find(same))
}

fn is_of_the_time(job: &Job, since: DateTime<Utc>) -> bool {
    job.time_started.as_ref().is_none_or(|started| (started.0 - since).abs() < SKEW)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 100")]
fn percent_of(job: &Job) -> Option<u8> {
    let percent = job.progress.as_ref()?.percent?;
    Some(percent.clamp(0.0, 100.0) as u8)
}

fn ended(job: &Job) -> Option<Outcome> {
    let failed = |code| {
        let said = foreign(job.error.as_deref().unwrap_or_default(), 300);
        let reason =
            if said.is_empty() { format!("job {} of the NAS did not succeed", job.id) } else { said };
        Outcome::because(Status::Error, code, &reason)
    };
    match job.state {
        JobState::Success => Some(Outcome::ok()),
        JobState::Failed => Some(failed("job_failed")),
        JobState::Aborted => Some(failed("job_aborted")),
        JobState::Waiting | JobState::Running | JobState::Other => None,
    }
}

/// The NAS knows of no such job.
fn gone(known: Option<&NasJob>) -> Outcome {
    match known {
        Some(job) => Outcome::because(
            Status::Unknown,
            "job_gone",
            &format!("the NAS took it on as job {} and knows of that no more, as after a restart", job.id),
        ),
        None => Outcome::lost_in_a_crash(
            "the daemon ended before it could write down how this went, and no job of the NAS tells",
        ),
    }
}
