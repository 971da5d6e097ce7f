//! Why is my pool slow?

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::name::PoolName;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::app::Every;
use crate::nas::methods::job::JobState;
use crate::nas::methods::query::Query;
use crate::nas::methods::{alert, app, disk, job, pool, reporting};
use crate::nas::{Bounds, NasError, Session};

use super::render::{foreign, percent, size};
use super::report::{Causes, Evidence, Question, Report, seen};
use super::seen::Seen;
use super::storage::no_such_pool;
use super::{Entry, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Diagnose>()]
}

struct Diagnose;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DiagnoseArgs {
    /// The pool.
    pool: PoolName,
}

/// How the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It does not work as it should.
    Failing,
    /// Something was found that makes pools slow.
    Explained,
    /// Nothing was found.
    Unexplained,
}

impl Question for Verdict {}

/// Apps that move less than this a second are not worth a word.
const MUCH: f64 = 5e6;

impl Tool for Diagnose {
    const NAME: &'static str = "pool_diagnose";
    const TITLE: &'static str = "Why a pool is slow";
    const DESCRIPTION: &'static str = "Why a pool is slow or unwell, the likeliest cause first: scrub, errors, fill level, disks, jobs, apps. Takes seconds.";
    const SCOPE: Scope = Scope::StorageRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        pool::Pools,
        job::Jobs,
        alert::Alerts,
        disk::Temperatures,
        reporting::Graphs,
        reporting::Data,
        app::Stats
    ];
    type Args = DiagnoseArgs;
    type Output = Report<Verdict>;

    fn target(args: &DiagnoseArgs) -> Option<String> {
        Some(args.pool.to_string())
    }

    async fn run(nas: &Session<'_, Read>, args: DiagnoseArgs) -> Result<Report<Verdict>, ToolError> {
        let pools = nas.call(pool::Pools, pool::one(&args.pool)).await?;
        let Some(pool) = pools.into_iter().next() else { return Err(no_such_pool(&args.pool)) };
        let disks: Vec<_> = pool
            .topology
            .iter()
            .flat_map(pool::Topology::disks)
            .filter_map(|(purpose, disk)| Some((purpose, disk.disk.clone()?)))
            .collect();
        let mut found = Found::default();
        found.pool(&pool);

        let jobs = nas.call(job::Jobs, job::latest(200)).await;
        let jobs = found.unseen.or_default("jobs", jobs)?;
        found.jobs(&jobs);
        let alerts = nas.call(alert::Alerts, []).await;
        let alerts = found.unseen.or_default("alerts", alerts)?;
        found.alerts(&alerts, &pool.name);
        let celsius = nas.call(disk::Temperatures, []).await;
        let celsius = found.unseen.or_default("temperatures of disks", celsius)?;
        found.temperatures(&celsius, &disks);
        let rates = rates(nas, &disks).await;
        let rates = found.unseen.or_default("what each disk does", rates)?;
        found.peers(&rates, &disks);
        let apps = app_rates(nas).await;
        let apps = found.unseen.or_default("what apps read and write", apps)?;
        found.apps(apps);
        Ok(found.report(&pool))
    }
}

/// Bytes a second of each disk over the last hour, as far as the NAS measures them.
async fn rates(
    nas: &Session<'_, Read>,
    disks: &[(&'static str, String)],
) -> Result<BTreeMap<String, f64>, NasError> {
    let graphs = nas.call(reporting::Graphs, Query::all()).await?;
    let of = |identifier: &str| identifier.split(" | ").next().unwrap_or(identifier).to_owned();
    let wanted: Vec<_> = graphs
        .into_iter()
        .filter(|graph| graph.name == "disk")
        .flat_map(|graph| graph.identifiers)
        .filter(|identifier| disks.iter().any(|(_, disk)| *disk == of(identifier)))
        .map(|identifier| reporting::Wanted { name: "disk", identifier: Some(identifier) })
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let span = reporting::Span { unit: "HOUR", aggregate: false };
    let series = nas.call(reporting::Data, (wanted, span)).await?;
    Ok(series.iter().filter_map(|one| Some((of(one.identifier.as_deref()?), mean_rate(one)?))).collect())
}

/// Reads and writes together, in bytes a second: the NAS counts KiB.
fn mean_rate(series: &reporting::Series) -> Option<f64> {
    let time = series.legend.iter().position(|name| name == "time")?;
    let sums: Vec<f64> = series
        .data
        .iter()
        .map(|row| {
            row.iter().enumerate().filter(|(column, _)| *column != time).filter_map(|(_, value)| *value).sum()
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
    (!sums.is_empty()).then(|| sums.iter().sum::<f64>() / sums.len() as f64 * 1024.0)
}

/// Bytes a second that each app reads and writes at this moment, from two samples.
async fn app_rates(nas: &Session<'_, Read>) -> Result<Vec<(String, f64)>, NasError> {
    const SECONDS: u8 = 2;
    let bounds = Bounds { items: 2, bytes: 1 << 20, time: Duration::from_secs(8) };
    let told = nas.follow(app::Stats, Every { interval: SECONDS }, bounds).await?;
    let [first, second] = &told.items[..] else { return Ok(Vec::new()) };
    let total = |usage: &app::Usage| usage.blkio.as_ref().map(|io| io.read.saturating_add(io.write));
    let rates = second.iter().filter_map(|now| {
        let before = first.iter().find(|before| before.app_name == now.app_name)?;
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let bytes = total(now)?.saturating_sub(total(before)?) as f64;
        Some((foreign(&now.app_name, 60), bytes / f64::from(SECONDS)))
    });
    Ok(rates.collect())
}

#[derive(Default)]
struct Found {
    evidence: Vec<Evidence>,
    causes: Causes,
    unseen: Seen,
    failing: bool,
    caused: bool,
}

impl Found {
    fn because(&mut self, weight: u8, why: impl Into<String>) {
        self.caused = true;
        self.causes.may_be(weight, why);
    }

    fn pool(&mut self, pool: &pool::Pool) {
        let status = foreign(&pool.status, 20);
        let detail = pool.status_detail.as_deref().map(|detail| format!(": {}", foreign(detail, 200)));
        self.evidence.push(seen("state", format!("{status}{}", detail.unwrap_or_default())));
        if pool.status != "ONLINE" {
            self.failing = true;
            self.because(
                100,
                format!("The pool is {status}: what a missing disk held has to be worked out anew."),
            );
        }
        for (purpose, disk) in pool.topology.iter().flat_map(pool::Topology::disks) {
            let name = foreign(disk.disk.as_deref().or(disk.name.as_deref()).unwrap_or("?"), 60);
            let errors: u64 = disk.stats.as_ref().map_or(0, |stats| {
                [stats.read_errors, stats.write_errors, stats.checksum_errors].into_iter().flatten().sum()
            });
            let status = disk.status.as_deref().unwrap_or("ONLINE");
            if errors > 0 || !["ONLINE", "AVAIL", "INUSE"].contains(&status) {
                self.failing = true;
                let status = foreign(status, 20);
                self.evidence
                    .push(seen(format!("disk {name} ({purpose})"), format!("{status}, {errors} errors")));
                self.because(
                    95,
                    format!("Disk {name} fails: a read that it has to try again holds up the others."),
                );
            }
        }
        if let Some(scan) = &pool.scan {
            let kind = foreign(scan.function.as_deref().unwrap_or("scan"), 20).to_lowercase();
            let at = |date: Option<crate::nas::wire::Date>| date.map(|date| date.0);
            match scan.state.as_deref() {
                Some("SCANNING") => {
                    let done = scan.percentage.map_or_else(String::new, |done| format!(" at {done:.0} %"));
                    self.evidence.push(seen(&*kind, format!("runs{done}")).at(at(scan.start_time)));
                    let weight = if kind == "resilver" { 90 } else { 80 };
                    self.because(weight, format!("A {kind} reads the whole pool beside everything else."));
                }
                Some(state) => {
                    let errors = scan.errors.unwrap_or(0);
                    let what = format!("{}, {errors} errors", foreign(state, 20).to_lowercase());
                    self.evidence.push(seen(&*kind, what).at(at(scan.end_time)));
                }
                None => {}
            }
        }
        if let Some(full) = pool.allocated.zip(pool.size).and_then(|(used, all)| percent(used, all)) {
            self.evidence.push(seen("fill level", format!("{full} %")));
            if full >= 80.0 {
                let weight = if full >= 90.0 { 85 } else { 55 };
                self.because(weight, format!("At {full} % ZFS has to look for free space with every write."));
            }
        }
        if let Some(fragmented) = pool.fragmentation_percent() {
            self.evidence.push(seen("free space", format!("{fragmented} % fragmented")));
            if fragmented >= 50.0 {
                self.because(
                    40,
                    format!("Free space is in small pieces ({fragmented} % fragmented), so writes are."),
                );
            }
        }
    }

    fn jobs(&mut self, jobs: &[job::Job]) {
        // A scrub is told from the pool that it is of; another pool's does not slow this one.
        let others = jobs.iter().filter(|job| !job.method.starts_with("pool.scrub"));
        for job in others.filter(|job| job.state == JobState::Running) {
            let method = foreign(&job.method, 60);
            let started = job.time_started.map(|at| at.0);
            self.evidence.push(seen(format!("job {}", job.id), format!("{method} runs")).at(started));
            let moves = ["replication", "cloudsync", "cloud_backup", "rsynctask", "zfs."];
            if moves.iter().any(|family| job.method.starts_with(family)) {
                self.because(60, format!("The job {method} moves data."));
            }
        }
        self.unseen.not.push("jobs of other accounts, unless ours is a full administrator".to_owned());
    }

    fn alerts(&mut self, alerts: &[alert::Alert], pool: &str) {
        let about_it = |words: &str| {
            words
                .split(|c: char| !c.is_ascii_alphanumeric() && !"-_.:".contains(c))
                .any(|word| word.trim_end_matches(['.', ':']) == pool)
        };
        for alert in alerts.iter().filter(|alert| alert.dismissed != Some(true)) {
            let words = alert.formatted.as_deref().or(alert.text.as_deref()).unwrap_or_default();
            if about_it(words) {
                let at = alert.datetime.map(|at| at.0);
                self.evidence
                    .push(seen(format!("alert {}", foreign(&alert.klass, 60)), foreign(words, 200)).at(at));
            }
        }
    }

    fn temperatures(&mut self, celsius: &BTreeMap<String, Option<f64>>, disks: &[(&'static str, String)]) {
        for (_, disk) in disks {
            if let Some(celsius) = celsius.get(disk).copied().flatten().filter(|celsius| *celsius >= 55.0) {
                let disk = foreign(disk, 60);
                self.evidence.push(seen(format!("disk {disk}"), format!("{celsius:.0} °C")));
                self.because(45, format!("Disk {disk} is hot and may slow itself down."));
            }
        }
    }

    /// Disks of one purpose share the work. One that does far less, or far more, than the middle of them is not
    /// like the others.
    fn peers(&mut self, rates: &BTreeMap<String, f64>, disks: &[(&'static str, String)]) {
        let mut by_purpose: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for (purpose, disk) in disks {
            if let Some(rate) = rates.get(disk) {
                by_purpose.entry(purpose).or_default().push((disk, *rate));
            }
        }
        for (purpose, mut peers) in by_purpose {
            peers.sort_by(|one, other| one.1.total_cmp(&other.1));
            let middle = peers[peers.len() / 2].1;
            let all: f64 = peers.iter().map(|peer| peer.1).sum();
            let what = format!("{}/s in all over the last hour, {} disks", bytes(all), peers.len());
            self.evidence.push(seen(format!("{purpose} disks"), what));
            for (disk, rate) in peers.iter().filter(|_| peers.len() > 1 && middle > 100_000.0) {
                if *rate < middle * 0.6 || *rate > middle * 1.67 {
                    let disk = foreign(disk, 60);
                    let what = format!("{}/s, where its peers do {}/s", bytes(*rate), bytes(middle));
                    self.evidence.push(seen(format!("disk {disk}"), what));
                    self.because(
                        70,
                        format!("Disk {disk} is unlike its peers; a disk that lags holds up the others."),
                    );
                }
            }
        }
        if disks.iter().any(|(_, disk)| !rates.contains_key(disk)) {
            self.unseen.not.push("what some of the disks do: the NAS does not measure them".to_owned());
        }
    }

    fn apps(&mut self, mut apps: Vec<(String, f64)>) {
        apps.retain(|(_, rate)| *rate >= MUCH);
        apps.sort_by(|one, other| other.1.total_cmp(&one.1));
        for (app, rate) in apps.iter().take(5) {
            let what = format!("reads and writes {}/s, on whatever pool its data is", bytes(*rate));
            self.evidence.push(seen(format!("app {app}"), what));
            self.because(50, format!("The app {app} moves {} a second.", bytes(*rate)));
        }
    }

    fn report(mut self, pool: &pool::Pool) -> Report<Verdict> {
        self.unseen.not.push(
            "how long each disk takes to answer, what clients of shares do, and S.M.A.R.T.: the NAS does not tell"
                .to_owned(),
        );
        let name = foreign(&pool.name, 60);
        let (verdict, summary, next_step) = match (self.failing, self.caused) {
            (true, _) => (
                Verdict::Failing,
                format!("Pool {name} does not work as it should."),
                "See to the disk or state named first, and see that there is a backup (backup_coverage), before anything else.",
            ),
            (false, true) => (
                Verdict::Explained,
                format!("Pool {name} is sound, and something was found that makes pools slow."),
                "Wait for or deal with the likeliest cause, and ask again.",
            ),
            (false, false) => (
                Verdict::Unexplained,
                format!("Pool {name} is sound, and nothing was found that makes pools slow."),
                "Look at metrics (network, cpu, disk) at the time when it is slow: the pool may not be what is.",
            ),
        };
        Report {
            verdict,
            summary,
            evidence: self.evidence,
            total: 0,
            causes: self.causes.in_order(),
            not_seen: self.unseen.not,
            next_step: next_step.to_owned(),
        }
        .cut(60)
    }
}

fn bytes(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "three digits are shown")]
    size(rate.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(change: &serde_json::Value) -> pool::Pool {
        let mut json = json!({
            "id": 1, "name": "tank", "status": "ONLINE", "healthy": true, "size": 100, "allocated": 50,
            "topology": {"data": [{"type": "MIRROR", "children": [{"type": "DISK", "disk": "sda", "status": "ONLINE"}]}]},
        });
        json.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    fn report(change: &serde_json::Value) -> Report<Verdict> {
        let pool = pool(change);
        let mut found = Found::default();
        found.pool(&pool);
        found.report(&pool)
    }

    #[test]
    fn what_is_broken_comes_before_what_is_busy() {
        let both = report(&json!({
            "status": "DEGRADED", "allocated": 95,
            "scan": {"function": "RESILVER", "state": "SCANNING", "percentage": 10.0},
        }));
        assert_eq!(both.verdict, Verdict::Failing);
        let order: Vec<_> = both.causes.iter().map(|cause| &cause[..10]).collect();
        assert_eq!(order, ["The pool i", "A resilver", "At 95 % ZF"]);
        assert_eq!(report(&json!({})).verdict, Verdict::Unexplained);
        assert_eq!(report(&json!({"fragmentation": "60"})).verdict, Verdict::Explained);
    }

    #[test]
    fn a_disk_unlike_its_peers_is_told_and_alike_ones_are_not() {
        let disks: Vec<_> = ["sda", "sdb", "sdc"].map(|disk| ("data", disk.to_owned())).into();
        let causes = |rates: [f64; 3]| {
            let mut found = Found::default();
            found.peers(&disks.iter().map(|(_, disk)| disk.clone()).zip(rates).collect(), &disks);
            found.causes.in_order()
        };
        assert_eq!(causes([1e7, 1.1e7, 0.9e7]), Vec::<String>::new());
        assert!(causes([1e7, 1.1e7, 2e6])[0].starts_with("Disk sdc"));
        // Idle disks differ by nothing that matters.
        assert_eq!(causes([10.0, 1000.0, 0.0]), Vec::<String>::new());
    }

    #[test]
    fn an_alert_of_tank2_is_none_of_tank() {
        let alert = |text: &str| -> Vec<alert::Alert> {
            vec![
                serde_json::from_value(
                    json!({"uuid": "1", "klass": "X", "level": "INFO", "formatted": text}),
                )
                .unwrap(),
            ]
        };
        for (text, told) in [
            ("Pool tank2 is DEGRADED", 0),
            ("Pool tank is DEGRADED", 1),
            ("\"tank\".", 1),
            ("tank-old: full", 0),
            ("Pool tank: full", 1),
        ] {
            let mut found = Found::default();
            found.alerts(&alert(text), "tank");
            assert_eq!(found.evidence.len(), told, "{text}");
        }
    }
}
