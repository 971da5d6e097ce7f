//! Seen from outside: whether we live, whether we can do our work, and what we have done. On a listener of its
//! own, for there nobody is asked who they are.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::audit::Journal;
use crate::caller::Gate;
use crate::clock::Clock;
use crate::config::is_tailnet;
use crate::domain::name::NasName;
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, Sample};
use crate::nas::{self, Fleet};
use crate::oauth::Outage;
use crate::tailnet::LocalApi;

use super::listen::Via;
use super::refusal::Refusal;

/// How old an answer may be. However often we are asked, nobody else is asked more often than this.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// How often it is looked while nobody asks.
const EVERY: Duration = Duration::from_secs(30);

/// How long before its end something is told.
const NOTICE: TimeDelta = TimeDelta::days(14);

/// What our work needs.
pub struct Vitals {
    /// tailscaled.
    pub local_api: LocalApi,
    /// Where the provider is known that is asked at present.
    pub gate: Arc<Gate>,
    /// The NASes.
    pub fleet: Fleet,
    /// The audit log.
    pub journal: Journal,
    /// What ends by itself.
    pub ends: Ends,
    /// What we have done.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
}

/// Something that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The certificate that clients see.
    OurCertificate,
    /// The certificate of a NAS.
    Certificate,
    /// The API key of the account that looks.
    ReaderKey,
    /// The API key of the account that changes.
    WriterKey,
    /// The API key of the account that restarts the NAS.
    MaintenanceKey,
}

impl Ending {
    /// In words, for whoever can do something about it: that it ends at `at`, what that means and what to do. Nothing
    /// while there is time, and nothing of what is renewed by itself.
    #[must_use]
    pub fn notice(self, at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
        const NEW_KEY: &str = "make a new one there (Credentials > Users > API Keys), put it in place, and run \
                               systemctl restart tailnas";
        let (what, then, mend) = match self {
            // Looked after where it is renewed.
            Self::OurCertificate => return None,
            Self::Certificate => (
                "the certificate of the NAS",
                "the NAS is out of reach",
                "renew it under System > Certificates there",
            ),
            Self::ReaderKey => ("the API key of the reader", "the NAS is out of reach", NEW_KEY),
            Self::WriterKey => ("the API key of the writer", "nothing on the NAS can be changed", NEW_KEY),
            Self::MaintenanceKey => {
                ("the API key of the maintenance account", "the NAS cannot be restarted from here", NEW_KEY)
            }
        };
        let end = at.format("%Y-%m-%d %H:%M UTC");
        if at <= now {
            Some(format!("{what} ended at {end}, so that {then}: {mend}"))
        } else if at - now < NOTICE {
            Some(format!("{what} ends soon, at {end}, and from then on {then}: {mend}"))
        } else {
            None
        }
    }
}

/// When what ends by itself does, ours and each NAS's, as it was known when somebody last looked. Clones are the same
/// one.
#[derive(Clone, Debug, Default)]
pub struct Ends(Arc<std::sync::Mutex<Known>>);

type Known = BTreeMap<(Ending, Option<NasName>), DateTime<Utc>>;

impl Ends {
    /// Notes when something ends, of a NAS or of ours; `None` for never, or where nobody knows.
    pub fn note(&self, what: Ending, nas: Option<&NasName>, at: Option<DateTime<Utc>>) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (what, nas.cloned());
        match at {
            Some(at) => drop(ends.insert(key, at)),
            None => drop(ends.remove(&key)),
        }
    }

    /// What of this NAS needs attention at `now`, each in words.
    fn notices(&self, nas: &NasName, now: DateTime<Utc>) -> Vec<String> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = ends.iter().filter(|((_, of), _)| of.as_ref() == Some(nas));
        theirs.filter_map(|((what, _), at)| what.notice(*at, now)).collect()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = |((what, nas), at): (&(Ending, Option<NasName>), &DateTime<Utc>)| {
            let (name, help) = match what {
                Ending::OurCertificate => (
                    "tailnas_certificate_expiry_timestamp_seconds",
                    "When the certificate ends that clients see, where there is no tailscale serve in front.",
                ),
                Ending::Certificate => (
                    "tailnas_nas_certificate_expiry_timestamp_seconds",
                    "When the certificate of the NAS ends.",
                ),
                Ending::ReaderKey => {
                    ("tailnas_nas_reader_key_expiry_timestamp_seconds", "When the reader's API key ends.")
                }
                Ending::WriterKey => {
                    ("tailnas_nas_writer_key_expiry_timestamp_seconds", "When the writer's API key ends.")
                }
                Ending::MaintenanceKey => (
                    "tailnas_nas_maintenance_key_expiry_timestamp_seconds",
                    "When the API key ends of the account that restarts the NAS.",
                ),
            };
            #[expect(clippy::cast_precision_loss, reason = "there is no other number in Prometheus")]
            let value = at.timestamp() as f64;
            let labels = nas.iter().map(|nas| ("nas", nas.to_string())).collect();
            Sample { name, kind: "gauge", help, part: "", labels, value }
        };
        ends.iter().map(sample).collect()
    }
}

/// Looks after what our work needs.
pub struct Watch {
    vitals: Vitals,
    /// The last answer, and when it was given. One asks, the others wait for the answer.
    last: Mutex<Option<(Report, Duration)>>,
}

/// Whether calls can be carried out, and what is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    ready: bool,
    /// tailscaled.
    pub tailscaled: Part,
    /// The provider.
    pub provider: Part,
    /// The NASes, by name.
    pub nas: BTreeMap<String, Part>,
    /// The audit log.
    pub audit: Part,
}

/// How it is with one of them.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Whether it does its work.
    pub ok: bool,
    /// Why not; where it does, what casts doubt on that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when, as far as we have looked.
    pub since: DateTime<Utc>,
}

impl Part {
    /// What a look found at `now`, after what the look before it found.
    fn seen(found: Result<(), String>, before: Option<&Self>, now: DateTime<Utc>) -> Self {
        let ok = found.is_ok();
        let since = before.filter(|before| before.ok == ok).map_or(now, |before| before.since);
        Self { ok, why: found.err(), since }
    }
}

/// `/healthz`, `/readyz`, the same for one NAS alone, and `/metrics`.
pub fn router(watch: Arc<Watch>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/readyz/{nas}", get(readyz_with))
        .route("/metrics", get(metrics))
        .with_state(watch)
        .layer(from_fn(near))
}

/// Programs of this machine and nodes of the tailnet: on a tailnet address, Linux takes packets from any
/// network that it is in.
async fn near(request: Request, next: Next) -> Response {
    let address =
        request.extensions().get::<Via>().and_then(Via::address).map(|address| address.to_canonical());
    match address {
        Some(address) if address.is_loopback() || is_tailnet(address) => next.run(request).await,
        _ => {
            let words = "this is for this machine and the tailnet";
            Refusal::new(StatusCode::FORBIDDEN, "not_near", words).into_response()
        }
    }
}

/// That we live, and how far the places are that keep the checkpoints of the log.
async fn healthz(State(watch): State<Arc<Watch>>) -> String {
    let sinks = watch.vitals.journal.sinks();
    sinks.iter().fold("alive\n".to_owned(), |text, sink| format!("{text}{sink}\n"))
}

async fn readyz(State(watch): State<Arc<Watch>>) -> Response {
    told(watch.report().await)
}

/// Whether calls can be carried out on one NAS, however it is with the others.
async fn readyz_with(State(watch): State<Arc<Watch>>, Path(name): Path<String>) -> Response {
    let mut report = watch.report().await;
    report.nas.retain(|nas, _| *nas == name);
    if report.nas.is_empty() {
        let words = "there is no NAS of that name";
        return Refusal::new(StatusCode::NOT_FOUND, "no_such_nas", words).into_response();
    }
    told(report.judged())
}

fn told(report: Report) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

async fn metrics(State(watch): State<Arc<Watch>>) -> Response {
    let report = watch.report().await;
    let Vitals { metrics, fleet, journal, ends, .. } = &watch.vitals;
    let text = metrics.text(&samples(&report, fleet, journal, ends), journal.syncs());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

impl Watch {
    /// Nobody has looked yet.
    #[must_use]
    pub fn new(vitals: Vitals) -> Arc<Self> {
        Arc::new(Self { vitals, last: Mutex::default() })
    }

    /// Looks now and then, also while nobody asks: since when something is so should not depend on that.
    pub async fn keep_looking(self: Arc<Self>, lifecycle: Lifecycle) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => drop(self.report().await),
                () = lifecycle.ending() => return,
            }
        }
    }

    /// What on our side of this NAS ends soon or has ended, each in words.
    #[must_use]
    pub fn ending(&self, nas: &NasName) -> Vec<String> {
        self.vitals.ends.notices(nas, self.vitals.clock.now())
    }

    /// How it is with everything, as of at most two seconds ago.
    pub async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        let now = self.vitals.clock.mono();
        if let Some((report, since)) = &*last
            && now.saturating_sub(*since) < FRESH_FOR
        {
            return report.clone();
        }
        let report = self.vitals.report(last.as_ref().map(|(report, _)| report)).await;
        *last = Some((report.clone(), self.vitals.clock.mono()));
        report
    }
}

impl Vitals {
    async fn report(&self, before: Option<&Report>) -> Report {
        let (tailscaled, provider) = tokio::join!(self.tailscaled(), self.provider());
        let now = self.clock.now();
        let fleet = self.fleet.now();
        let nas = fleet.iter().map(|(name, nas)| {
            let before = before.and_then(|before| before.nas.get(name.as_str()));
            (name.to_string(), Part::seen(judged(&nas.status()), before, now))
        });
        let mut provider = Part::seen(provider, before.map(|before| &before.provider), now);
        if provider.ok {
            provider.why = self.doubt();
        }
        let report = Report {
            ready: false,
            tailscaled: Part::seen(tailscaled, before.map(|before| &before.tailscaled), now),
            provider,
            nas: nas.collect(),
            audit: Part::seen(self.audit(), before.map(|before| &before.audit), now),
        };
        report.judged()
    }

    async fn tailscaled(&self) -> Result<(), String> {
        match self.local_api.status().await {
            Ok(status) if status.is_running() => Ok(()),
            Ok(status) => Err(format!("its state is {:?}: run tailscale up", status.backend_state())),
            Err(silence) => Err(format!("{silence}: see systemctl status tailscaled")),
        }
    }

    /// Asked for its metadata, for nobody may have come with a token for a while.
    async fn provider(&self) -> Result<(), String> {
        let provider = self.gate.provider();
        provider.is_there().await?;
        match provider.outage() {
            Some(Outage::Status(400 | 401 | 403)) => {
                Err("it refused to tell us about the last token: it may not recognise us".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What is told of a provider that answers. No more than that: whoever tries ten tokens brings it about, and a
    /// stranger is not to decide whether we are ready.
    fn doubt(&self) -> Option<String> {
        (self.gate.provider().outage() == Some(Outage::Unrecognised)).then(|| {
            "it said of every token lately that it is not active: it may not recognise us, or somebody tries tokens"
                .to_owned()
        })
    }

    fn audit(&self) -> Result<(), String> {
        let health = self.journal.health();
        health.dead.or(health.suspended).map_or(Ok(()), Err)
    }
}

impl Report {
    /// Ready when nothing is missing.
    fn judged(self) -> Self {
        let Self { ready: _, tailscaled, provider, nas, audit } = &self;
        let ready = [tailscaled, provider, audit].into_iter().chain(nas.values()).all(|part| part.ok);
        Self { ready, ..self }
    }
}

fn judged(status: &nas::Status) -> Result<(), String> {
    match status {
        nas::Status::Up { .. } => Ok(()),
        away => Err(away.to_string()),
    }
}

fn samples(report: &Report, fleet: &Fleet, journal: &Journal, ends: &Ends) -> Vec<Sample> {
    let gauge = |name, help, value| Sample { name, kind: "gauge", help, part: "", labels: Vec::new(), value };
    let up = |part: &Part| f64::from(u8::from(part.ok));
    let mut samples = vec![
        gauge("tailnas_tailscaled_up", "Whether tailscaled is on the tailnet.", up(&report.tailscaled)),
        gauge("tailnas_provider_up", "Whether the provider can be asked about tokens.", up(&report.provider)),
        gauge("tailnas_audit_up", "Whether the audit log can be written.", up(&report.audit)),
        Sample {
            name: "tailnas_audit_records_total",
            kind: "counter",
            part: "",
            labels: Vec::new(),
            help: "Records of the audit log that are on disk, since it was begun.",
            // Numbers begin at 0.
            value: number(journal.health().durable.map_or(0, |seq| seq + 1)),
        },
    ];
    samples.extend(journal.sinks().into_iter().map(|sink| Sample {
        labels: vec![("sink", sink.name)],
        ..gauge(
            "tailnas_audit_sink_behind_seconds",
            "For how long the place has not had the newest checkpoint of the audit log; 0 where it has.",
            sink.behind.unwrap_or_default().as_secs_f64(),
        )
    }));
    samples.extend(report.nas.iter().map(|(name, part)| Sample {
        labels: vec![("nas", name.clone())],
        ..gauge("tailnas_nas_up", "Whether the NAS has let us in.", up(part))
    }));
    samples.extend(calls(fleet));
    samples.extend(ends.samples());
    if let Some(bytes) = resident_bytes() {
        samples.push(gauge("process_resident_memory_bytes", "Resident memory size in bytes.", bytes));
    }
    samples
}

/// What each NAS was asked, by family of methods.
fn calls(fleet: &Fleet) -> Vec<Sample> {
    let fleet = fleet.now();
    let families = fleet.iter().flat_map(|(nas, of)| {
        of.calls().into_iter().map(move |(family, calls)| {
            (vec![("nas", nas.to_string()), ("family", family.to_owned())], calls)
        })
    });
    let (mut counts, mut times) = (Vec::new(), Vec::new());
    for (labels, nas::Calls { answered, failed, recalled, took }) in families {
        for (outcome, count) in [("answered", answered), ("failed", failed), ("recalled", recalled)] {
            counts.push(Sample {
                name: "tailnas_nas_calls_total",
                kind: "counter",
                help: "Calls of methods of the NAS. Recalled: not sent, for it had answered the same a moment ago.",
                part: "",
                labels: [&labels[..], &[("outcome", outcome.to_owned())]].concat(),
                value: number(count),
            });
        }
        for (part, value) in [("_sum", took.as_secs_f64()), ("_count", number(answered + failed))] {
            times.push(Sample {
                name: "tailnas_nas_call_duration_seconds",
                kind: "summary",
                help: "How long the NAS took for the calls that were sent to it.",
                part,
                labels: labels.clone(),
                value,
            });
        }
    }
    counts.into_iter().chain(times).collect()
}

/// A count. Up to 2^53 a float has them all.
#[expect(clippy::cast_precision_loss, reason = "there is no other number in Prometheus")]
fn number(count: u64) -> f64 {
    count as f64
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_told_in_the_last_two_weeks_and_from_then_on() {
        let now = "2026-11-21T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let told = |what: Ending, days| what.notice(now + TimeDelta::days(days), now);
        let keys = [Ending::Certificate, Ending::ReaderKey, Ending::WriterKey, Ending::MaintenanceKey];
        for what in keys {
            assert_eq!(told(what, 14), None, "{what:?}");
            let soon = told(what, 13).unwrap();
            assert!(soon.contains(" ends soon, at 2026-12-04 12:00 UTC, and from then on "), "{soon}");
            let over = told(what, -1).unwrap();
            assert!(over.contains(" ended at 2026-11-20 12:00 UTC, so that "), "{over}");
        }
        assert_eq!(told(Ending::OurCertificate, 1), None, "it is renewed by itself");
    }
}
