//! Counts of what happened, for Prometheus.
//!
//! A label is a word of ours, or the name of a NAS as our configuration has it: the name of a person, a node or a
//! dataset cannot become one, and the number of series is bounded by program text and configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Upper bounds of the buckets of a histogram, in seconds. A sync takes from half a millisecond on an SSD to
/// seconds on a disk that is busy.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The counters. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    requests: Family<1>,
    connections_refused: Family<1>,
    admission_denied: Family<1>,
    fields_ignored: Family<1>,
    tool_calls: Family<2>,
    audit_wait: Timings,
}

/// Counters of one name, told apart by labels.
#[derive(Debug)]
struct Family<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    counts: Mutex<BTreeMap<[&'static str; N], u64>>,
}

/// How long something took, each time. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Timings(Arc<Mutex<Histogram>>);

#[derive(Debug, Default)]
struct Histogram {
    /// How many were within each bound; the last is for those beyond all of them.
    counts: [u64; BUCKETS.len() + 1],
    sum: Duration,
}

/// Something that is looked up when somebody asks, and not counted.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name, by the conventions of Prometheus.
    pub name: &'static str,
    /// `gauge`, `counter` or `summary`.
    pub kind: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Which part of a summary this is, `_sum` or `_count`; nothing where it is none.
    pub part: &'static str,
    /// What tells it from others of the same name, which come one after the other.
    pub labels: Vec<(&'static str, String)>,
    /// How much it is.
    pub value: f64,
}

impl Metrics {
    /// Counters that all stand at nothing.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            requests: Family::new(
                "tailnas_requests_total",
                "HTTP requests, by how they were answered.",
                ["outcome"],
            ),
            connections_refused: Family::new(
                "tailnas_connections_refused_total",
                "Connections closed because too many were open, in all or from one address, or made in too short a time.",
                ["limit"],
            ),
            admission_denied: Family::new(
                "tailnas_admission_denied_total",
                "Requests whose sender was not admitted, by the reason that the audit log has too.",
                ["reason"],
            ),
            fields_ignored: Family::new(
                "tailnas_proxy_fields_ignored_total",
                "Header fields of a proxy, from somebody who is none. They are not looked at.",
                ["field"],
            ),
            tool_calls: Family::new(
                "tailnas_tool_calls_total",
                "Calls of tools, by how they ended.",
                ["tool", "status"],
            ),
            audit_wait: Timings::default(),
        }))
    }

    /// A request was answered.
    pub fn request(&self, outcome: &'static str) {
        self.0.requests.count([outcome]);
    }

    /// A connection was closed before anything was read from it.
    pub fn connection_refused(&self, limit: &'static str) {
        self.0.connections_refused.count([limit]);
    }

    /// Somebody was not admitted.
    pub fn admission_denied(&self, reason: &'static str) {
        self.0.admission_denied.count([reason]);
    }

    /// A field was not looked at that only a proxy has a use for.
    pub fn field_ignored(&self, field: &'static str) {
        self.0.fields_ignored.count([field]);
    }

    /// A call ended.
    pub fn tool_call(&self, tool: &'static str, status: &'static str) {
        self.0.tool_calls.count([tool, status]);
    }

    /// Waits for the audit log, and notes for how long.
    pub async fn audit<T>(&self, recorded: impl Future<Output = T>) -> T {
        let start = self.0.clock.mono();
        let result = recorded.await;
        let took = self.0.clock.mono().saturating_sub(start);
        self.0.audit_wait.observe(took);
        result
    }

    /// Everything in the text format 0.0.4 of Prometheus, with `samples` taken just now and with what the
    /// audit log's syncs took.
    #[must_use]
    pub fn text(&self, samples: &[Sample], syncs: &Timings) -> String {
        let inner = &self.0;
        let mut text = String::new();
        inner.requests.write(&mut text);
        inner.connections_refused.write(&mut text);
        inner.admission_denied.write(&mut text);
        inner.fields_ignored.write(&mut text);
        inner.tool_calls.write(&mut text);
        inner.audit_wait.histogram().write(
            &mut text,
            "tailnas_audit_wait_seconds",
            "How long a call waited until its record was on disk.",
        );
        syncs.histogram().write(
            &mut text,
            "tailnas_audit_sync_seconds",
            "How long the disk of the audit log took for one sync, which may be of many records.",
        );
        let mut last = "";
        for Sample { name, kind, help, part, labels, value } in samples {
            if last != *name {
                heading(&mut text, name, kind, help);
            }
            last = name;
            let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{part}{labels} {value}");
        }
        text
    }
}

impl<const N: usize> Family<N> {
    const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, help, labels, counts: Mutex::new(BTreeMap::new()) }
    }

    fn count(&self, values: [&'static str; N]) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(values).or_default() += 1;
    }

    fn write(&self, text: &mut String) {
        heading(text, self.name, "counter", self.help);
        for (values, count) in &*self.counts.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels: Vec<_> =
                self.labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let _ = writeln!(text, "{}{{{}}} {count}", self.name, labels.join(","));
        }
    }
}

impl Timings {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        self.histogram().observe(took);
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += took;
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        heading(text, name, "histogram", help);
        let mut so_far = 0;
        let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(self.counts) {
            so_far += count;
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
        }
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {so_far}", self.sum.as_secs_f64());
    }
}

fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::new(Clock::system());
        metrics.request("answered");
        metrics.request("answered");
        metrics.tool_call("whoami", "ok");
        assert_eq!(metrics.audit(async { 5 }).await, 5);
        let sample = |labels, value| Sample {
            name: "tailnas_nas_up",
            kind: "gauge",
            help: "Whether.",
            part: "",
            labels,
            value,
        };
        let of = |name: &str| vec![("nas", name.to_owned())];
        let text = metrics.text(&[sample(of("attic"), 0.0), sample(of("home"), 1.0)], &Timings::default());
        assert_eq!(text.matches("# HELP tailnas_nas_up ").count(), 1, "{text}");
        for line in [
            "# TYPE tailnas_requests_total counter",
            "tailnas_requests_total{outcome=\"answered\"} 2",
            "tailnas_tool_calls_total{tool=\"whoami\",status=\"ok\"} 1",
            "# TYPE tailnas_audit_wait_seconds histogram",
            "tailnas_audit_wait_seconds_bucket{le=\"+Inf\"} 1",
            "tailnas_audit_wait_seconds_count 1",
            "tailnas_nas_up{nas=\"attic\"} 0",
            "tailnas_nas_up{nas=\"home\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn buckets_add_up() {
        let mut histogram = Histogram::default();
        for millis in [0, 1, 3, 200, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut text = String::new();
        histogram.write(&mut text, "x", "X.");
        for line in [
            "x_bucket{le=\"0.0005\"} 1",
            "x_bucket{le=\"0.001\"} 2",
            "x_bucket{le=\"0.25\"} 4",
            "x_bucket{le=\"5\"} 4",
            "x_bucket{le=\"+Inf\"} 5",
            "x_count 5",
            "x_sum 60.204",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }
}
