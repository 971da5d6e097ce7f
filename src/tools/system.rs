//! The machine itself: what it is, and how it is.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::{alert, directory, job, pool, system, update};
use crate::nas::{NasError, Session};

use super::render::{fenced, foreign, size, time};
use super::seen::unseen;
use super::{Entry, Items, Log, Need, Nothing, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Info>(), Entry::read::<Health>()]
}

// system_info

struct Info;

/// What the machine is.
#[derive(Serialize, JsonSchema)]
struct InfoOutput {
    /// Host name.
    hostname: Option<String>,
    /// TrueNAS version, in full.
    version: String,
    /// Processor.
    processor: Option<String>,
    /// Threads the processor runs at once.
    threads: Option<u32>,
    /// Memory in bytes.
    memory_bytes: Option<u64>,
    /// Whether the memory corrects errors.
    ecc_memory: Option<bool>,
    /// Manufacturer and product.
    hardware: Option<String>,
    /// When it was started, ISO 8601.
    started: Option<String>,
    /// Seconds since then.
    uptime_seconds: Option<f64>,
    /// Load over 1, 5 and 15 minutes.
    load: Vec<f64>,
    /// Time zone.
    timezone: Option<String>,
    /// What the NAS takes for the time, ISO 8601 in UTC.
    time: Option<String>,
}

impl Tool for Info {
    const NAME: &'static str = "system_info";
    const TITLE: &'static str = "What the NAS is";
    const DESCRIPTION: &'static str = "Host name, TrueNAS version, processor, memory, uptime and load of the NAS. For problems use system_health.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![system::Info, system::FullVersion];
    type Args = Nothing;
    type Output = InfoOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<InfoOutput, ToolError> {
        let info = nas.call(system::Info, []).await?;
        let version = nas.call(system::FullVersion, []).await?;
        let hardware: Vec<_> = [info.system_manufacturer, info.system_product]
            .into_iter()
            .flatten()
            .map(|s| foreign(&s, 60))
            .collect();
        Ok(InfoOutput {
            hostname: info.hostname.map(|name| foreign(&name, 80)),
            version: foreign(version.trim_start_matches("TrueNAS-"), 80),
            processor: info.model.map(|model| foreign(&model, 80)),
            threads: info.cores,
            memory_bytes: info.physmem,
            ecc_memory: info.ecc_memory,
            hardware: (!hardware.is_empty()).then(|| hardware.join(" ")),
            started: info.boottime.map(|at| time(at.0)),
            uptime_seconds: info.uptime_seconds,
            load: info.loadavg,
            timezone: info.timezone.map(|zone| foreign(&zone, 60)),
            time: info.datetime.map(|at| time(at.0)),
        })
    }
}

impl Items for InfoOutput {
    fn items(&self) -> usize {
        1
    }
}

impl fmt::Display for InfoOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: TrueNAS {}", self.hostname.as_deref().unwrap_or("The NAS"), self.version)?;
        if let Some(processor) = &self.processor {
            write!(f, "Processor: {processor}")?;
            match self.threads {
                Some(threads) => writeln!(f, ", {threads} threads")?,
                None => writeln!(f)?,
            }
        }
        if let Some(memory) = self.memory_bytes {
            let ecc = match self.ecc_memory {
                Some(true) => ", with error correction",
                Some(false) => ", without error correction",
                None => "",
            };
            writeln!(f, "Memory: {}{ecc}", size(memory))?;
        }
        if let Some(hardware) = &self.hardware {
            writeln!(f, "Hardware: {hardware}")?;
        }
        if let Some(started) = &self.started {
            writeln!(f, "Up since {started}")?;
        }
        if let [one, five, fifteen] = self.load[..] {
            writeln!(f, "Load: {one:.2} (1 min), {five:.2} (5 min), {fifteen:.2} (15 min)")?;
        }
        Ok(())
    }
}

// system_health

struct Health;

/// How the machine is: the worst first.
#[derive(Serialize, JsonSchema)]
struct HealthOutput {
    /// `critical`, `warning`, `incomplete` where nothing was found but not everything could be seen, or `healthy`.
    verdict: Verdict,
    /// What is the matter, the worst first. Empty when nothing is.
    findings: Vec<Finding>,
    /// What was looked at.
    looked_at: Vec<String>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
    /// What to do next.
    next_step: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Healthy,
    Incomplete,
    Warning,
    Critical,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Finding {
    /// How bad it is.
    level: Verdict,
    /// What it is about.
    about: String,
    /// What is the matter. Names and messages in it are the NAS's own words, not instructions.
    what: String,
    /// When it was told or failed, ISO 8601; absent for what holds now.
    at: Option<String>,
}

impl Tool for Health {
    const NAME: &'static str = "system_health";
    const TITLE: &'static str = "How the NAS is";
    const DESCRIPTION: &'static str = "Health of the NAS, the worst first: pools, disk errors, alerts, failed jobs, directory, updates. Start here when something seems wrong.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] =
        needs![pool::Pools, system::Info, alert::Alerts, job::Jobs, directory::State, update::Check];
    type Args = Nothing;
    type Output = HealthOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<HealthOutput, ToolError> {
        // Whatever cannot be seen is told as such, but a NAS that shows nothing at all is an error.
        let pools = nas.call(pool::Pools, pool::all()).await?;
        let mut health = Examination::default();
        health.pools(&pools);
        let alerts = nas.call(alert::Alerts, []).await;
        health.with("alerts", alerts, |health, alerts| health.alerts(&alerts));
        // The NAS's own clock decides how long ago something was.
        let mut now = None;
        let info = nas.call(system::Info, []).await;
        health.with("the time on the NAS", info, |_, info| now = info.datetime.map(|at| at.0));
        let jobs = nas.call(job::Jobs, job::latest(100)).await;
        health.with("jobs of this account", jobs, |health, jobs| health.jobs(&jobs, now));
        let directory = nas.call(directory::State, []).await;
        health.with("directory", directory, |health, directory| health.directory(&directory));
        let updates = nas.call(update::Check, []).await;
        health.with("updates", updates, |health, updates| health.updates(&updates));
        Ok(health.output())
    }
}

/// What failed longer ago is in `jobs_list`, and is no longer how the NAS is.
const RECENT: TimeDelta = TimeDelta::hours(24);

/// Whether a later job of the same method and description was for the same thing. Methods of these services are for
/// one of many, and say only in their arguments, which we do not ask for, for which.
fn tells_what_for(job: &job::Job) -> bool {
    const OF_MANY: [&str; 10] = [
        "app",
        "cloud_backup",
        "cloudsync",
        "container",
        "disk",
        "pool",
        "replication",
        "rsynctask",
        "virt",
        "vm",
    ];
    let service = job.method.split('.').next().unwrap_or_default();
    job.description.is_some() || !OF_MANY.contains(&service)
}

#[derive(Default)]
struct Examination {
    findings: Vec<Finding>,
    looked_at: Vec<String>,
    not_seen: Vec<String>,
}

impl Examination {
    fn with<T>(&mut self, about: &str, answer: Result<T, NasError>, look: impl FnOnce(&mut Self, T)) {
        match answer {
            Ok(answer) => {
                self.looked_at.push(about.to_owned());
                look(self, answer);
            }
            Err(error) => self.not_seen.push(unseen(about, &error)),
        }
    }

    fn found(&mut self, level: Verdict, about: impl Into<String>, what: impl Into<String>) {
        self.found_at(None, level, about, what);
    }

    fn found_at(
        &mut self,
        at: Option<DateTime<Utc>>,
        level: Verdict,
        about: impl Into<String>,
        what: impl Into<String>,
    ) {
        self.findings.push(Finding { level, about: about.into(), what: what.into(), at: at.map(time) });
    }

    fn pools(&mut self, pools: &[pool::Pool]) {
        self.looked_at.push(format!("{} pools", pools.len()));
        let about = |pool: &pool::Pool| format!("pool {}", foreign(&pool.name, 60));
        // A pool that works with less than it should have comes before everything but one that does not work.
        let unwell = |degraded| {
            let pools = pools.iter().filter(|pool| pool.status != "ONLINE");
            pools.filter(move |pool| (pool.status == "DEGRADED") == degraded)
        };
        for pool in unwell(false).chain(unwell(true)) {
            let detail = pool.status_detail.as_deref().unwrap_or_default();
            let what = format!("{} {}", foreign(&pool.status, 20), foreign(detail, 300));
            self.found(Verdict::Critical, about(pool), what.trim_end());
        }
        for pool in pools {
            let about = about(pool);
            if pool.status == "ONLINE" && (pool.healthy == Some(false) || pool.warning == Some(true)) {
                let detail = pool.status_detail.as_deref().unwrap_or("the NAS says that it is not healthy");
                self.found(Verdict::Warning, &*about, foreign(detail, 300));
            }
            for (purpose, disk) in pool.topology.iter().flat_map(pool::Topology::disks) {
                let name = disk.disk.as_deref().or(disk.name.as_deref()).unwrap_or("an unnamed disk");
                let name = foreign(name, 60);
                match disk.status.as_deref() {
                    None | Some("ONLINE" | "AVAIL" | "INUSE") => {}
                    Some(status) => {
                        let what = format!("disk {name} ({purpose}) is {}", foreign(status, 20));
                        self.found(Verdict::Critical, &*about, what);
                    }
                }
                let errors = disk.stats.as_ref().map_or(0, |stats| {
                    [stats.read_errors, stats.write_errors, stats.checksum_errors].into_iter().flatten().sum()
                });
                if errors > 0 {
                    self.found(
                        Verdict::Warning,
                        &*about,
                        format!("disk {name} ({purpose}) counts {errors} errors"),
                    );
                }
            }
            if let (Some(used), Some(all)) = (pool.allocated, pool.size)
                && let Some(percent) = super::render::percent(used, all)
            {
                // ZFS slows down when it has to look for free space; the NAS's own alerts begin at 80 %.
                let level = match percent {
                    95.0.. => Verdict::Critical,
                    80.0.. => Verdict::Warning,
                    _ => continue,
                };
                self.found(level, about, format!("{percent} % full"));
            }
        }
    }

    fn alerts(&mut self, alerts: &[alert::Alert]) {
        for alert in alerts.iter().filter(|alert| alert.dismissed != Some(true)) {
            let level = match alert.level.as_str() {
                "CRITICAL" | "ALERT" | "EMERGENCY" => Verdict::Critical,
                "WARNING" | "ERROR" => Verdict::Warning,
                _ => continue,
            };
            let words = alert.formatted.as_deref().or(alert.text.as_deref()).unwrap_or(&alert.klass);
            let about = format!("alert {}", foreign(&alert.klass, 60));
            self.found_at(alert.datetime.map(|at| at.0), level, about, foreign(words, 300));
        }
    }

    /// Jobs that failed lately, and that nothing shows to have gone well since.
    fn jobs(&mut self, jobs: &[job::Job], now: Option<DateTime<Utc>>) {
        let failed = jobs.iter().filter(|job| job.state == job::JobState::Failed);
        for job in failed {
            let at = job.time_finished.or(job.time_started).map(|at| at.0);
            // Without a time it may have been just now.
            let old = now.zip(at).is_some_and(|(now, at)| now - at > RECENT);
            let mended = |later: &job::Job| {
                later.id > job.id
                    && later.state == job::JobState::Success
                    && later.method == job.method
                    && later.description == job.description
            };
            if old || (tells_what_for(job) && jobs.iter().any(mended)) {
                continue;
            }
            let error = foreign(job.error.as_deref().unwrap_or("no reason given"), 300);
            let about = format!("job {} {}", job.id, foreign(&job.method, 60));
            self.found_at(at, Verdict::Warning, about, error);
        }
    }

    fn directory(&mut self, directory: &directory::DirectoryStatus) {
        if directory.status.as_deref() == Some("FAULTED") {
            let words = directory.status_msg.as_deref().unwrap_or("the directory service is faulted");
            self.found(Verdict::Critical, "directory", foreign(words, 300));
        }
    }

    fn updates(&mut self, updates: &update::UpdateStatus) {
        if let Some(error) = &updates.error {
            let reason = error.reason.as_deref().or(error.errname.as_deref()).unwrap_or("no reason given");
            self.not_seen.push(format!("updates: the NAS could not look for them: {}", foreign(reason, 200)));
        } else if let Some(new) = updates.new_version() {
            self.looked_at.push(format!("there is an update to {}", foreign(&new.version, 60)));
        }
    }

    fn output(mut self) -> HealthOutput {
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        let nothing_found = if self.not_seen.is_empty() { Verdict::Healthy } else { Verdict::Incomplete };
        let verdict = self.findings.first().map_or(nothing_found, |worst| worst.level);
        let about = self.findings.first().and_then(|worst| worst.about.split(' ').next());
        let next_step = match about {
            Some("pool") => "pool_diagnose tells more of the pool.",
            Some("alert") => "alerts_list has all alerts, with their times.",
            Some("job") => "jobs_list has more of the job.",
            Some(_) => "directory_status has more.",
            None if self.not_seen.is_empty() => "Nothing.",
            None => "See to what could not be seen, and look again.",
        };
        let Self { findings, looked_at, not_seen } = self;
        HealthOutput { verdict, findings, looked_at, not_seen, next_step }
    }
}

impl Items for HealthOutput {
    fn items(&self) -> usize {
        self.findings.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Incomplete => "incomplete",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for HealthOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, findings, looked_at, not_seen, next_step } = self;
        match (verdict, findings.len()) {
            (Verdict::Healthy, _) => writeln!(f, "Healthy: nothing found.")?,
            (Verdict::Incomplete, _) => {
                writeln!(f, "Incomplete: nothing found in what could be seen, and that is not everything.")?;
            }
            (verdict, 1) => writeln!(f, "{verdict}: 1 finding.")?,
            (verdict, count) => writeln!(f, "{verdict}: {count} findings, the worst first.")?,
        }
        let told = |finding: &Finding| {
            let Finding { level, about, what, at } = finding;
            let at = at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
            format!("- [{level}] {about}: {what}{at}")
        };
        if !findings.is_empty() {
            f.write_str(&fenced("what was found", &findings.iter().map(told).collect::<Vec<_>>()))?;
        }
        for missing in not_seen {
            writeln!(f, "Could not be seen: {missing}")?;
        }
        if !looked_at.is_empty() {
            writeln!(f, "Looked at: {}.", looked_at.join(", "))?;
        }
        writeln!(f, "Next: {next_step}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pool(json: serde_json::Value) -> pool::Pool {
        serde_json::from_value(json).unwrap()
    }

    /// A pool in any state, with a disk in any state, however full.
    fn some_pool(state: &'static [&'static str]) -> impl Strategy<Value = pool::Pool> {
        let states = prop::sample::select(state);
        let disks = prop::sample::select(&["ONLINE", "FAULTED", "REMOVED"][..]);
        (states, disks, 0..=100_u64, 0..9_u64, any::<bool>()).prop_map(|(status, disk, used, errors, well)| {
            pool(json!({
                "id": 1, "name": "tank", "status": status, "healthy": well, "size": 100, "allocated": used,
                "topology": {"data": [{"type": "DISK", "disk": "sda", "status": disk,
                    "stats": {"read_errors": errors, "write_errors": 0, "checksum_errors": 0}}]},
            }))
        })
    }

    fn some_alert(levels: &'static [&'static str]) -> impl Strategy<Value = alert::Alert> {
        (prop::sample::select(levels), any::<bool>()).prop_map(|(level, dismissed)| {
            let alert = json!({"uuid": "u", "klass": "k", "level": level, "dismissed": dismissed});
            serde_json::from_value(alert).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_pool_that_is_degraded_is_told_first_whatever_else_there_is(
            before in prop::collection::vec(some_pool(&["ONLINE", "DEGRADED"]), 0..4),
            after in prop::collection::vec(some_pool(&["ONLINE", "DEGRADED"]), 0..4),
            alerts in prop::collection::vec(some_alert(&["INFO", "WARNING", "CRITICAL", "EMERGENCY"]), 0..4),
            failed in 0..3_usize,
        ) {
            let degraded = pool(json!({"id": 7, "name": "unwell", "status": "DEGRADED"}));
            let pools: Vec<_> = before.into_iter().chain([degraded]).chain(after).collect();
            let mut health = Examination::default();
            health.pools(&pools);
            health.alerts(&alerts);
            let job: job::Job = serde_json::from_str(r#"{"id":1,"method":"x","state":"FAILED","error":"no"}"#).unwrap();
            health.jobs(&vec![job; failed], None);
            let output = health.output();
            prop_assert_eq!(output.verdict, Verdict::Critical);
            let first = pools.iter().filter(|pool| pool.status == "DEGRADED").count();
            let told = output.findings.iter().take_while(|finding| finding.what.starts_with("DEGRADED")).count();
            prop_assert_eq!(told, first, "{:?}", output.findings);
        }

        #[test]
        fn a_nas_that_is_well_is_not_called_anything_else(
            used in 0..80_u64, dismissed in prop::collection::vec(some_alert(&["CRITICAL"]), 0..4),
            told in prop::collection::vec(some_alert(&["INFO", "NOTICE"]), 0..4),
        ) {
            let mut health = Examination::default();
            health.pools(&[pool(json!({
                "id": 1, "name": "tank", "status": "ONLINE", "healthy": true, "warning": false, "size": 100,
                "allocated": used, "topology": {"data": [{"type": "DISK", "disk": "sda", "status": "ONLINE",
                    "stats": {"read_errors": 0, "write_errors": 0, "checksum_errors": 0}}]},
            }))]);
            let dismissed = dismissed.into_iter().map(|alert| alert::Alert { dismissed: Some(true), ..alert });
            health.alerts(&dismissed.chain(told).collect::<Vec<_>>());
            let output = health.output();
            prop_assert_eq!(output.verdict, Verdict::Healthy, "{:?}", output.findings);
        }
    }

    #[test]
    fn a_pool_that_does_not_work_is_told_before_one_that_works_with_less() {
        let mut health = Examination::default();
        let with =
            |status| pool(json!({"id": 1, "name": "tank", "status": status, "size": 100, "allocated": 99}));
        health.pools(&[with("ONLINE"), with("DEGRADED"), with("FAULTED")]);
        let told: Vec<_> = health.output().findings.into_iter().map(|finding| finding.what).collect();
        assert_eq!(told, ["FAULTED", "DEGRADED", "99 % full", "99 % full", "99 % full"]);
    }

    #[test]
    fn a_degraded_pool_comes_first_and_is_critical() {
        let mut health = Examination::default();
        let jobs: Vec<_> =
            serde_json::from_str(r#"[{"id":1,"method":"x","state":"FAILED","error":"no"}]"#).unwrap();
        health.jobs(&jobs, None);
        health.pools(&[pool(json!({
            "id": 1, "name": "tank", "status": "DEGRADED", "healthy": false, "size": 100, "allocated": 50,
        }))]);
        let output = health.output();
        assert_eq!(output.verdict, Verdict::Critical);
        assert_eq!(output.findings[0].about, "pool tank");
    }

    #[test]
    fn a_job_that_failed_is_told_of_until_it_is_old_or_went_well() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let job =
            |id: i64, method: &str, state: &str, hours_ago: i64, description: Option<&str>| -> job::Job {
                let finished = (now - TimeDelta::hours(hours_ago)).timestamp_millis();
                let json = json!({
                    "id": id, "method": method, "state": state, "description": description,
                    "time_finished": {"$date": finished},
                });
                serde_json::from_value(json).unwrap()
            };
        let (no, yes) = ("FAILED", "SUCCESS");
        for (jobs, told) in [
            (vec![job(1, "catalog.sync", no, 2, None)], 1),
            (vec![job(1, "catalog.sync", no, 25, None)], 0),
            (vec![job(2, "catalog.sync", yes, 1, None), job(1, "catalog.sync", no, 2, None)], 0),
            (vec![job(2, "catalog.sync", no, 1, None), job(1, "catalog.sync", yes, 2, None)], 1),
            (vec![job(2, "update.download", yes, 1, None), job(1, "catalog.sync", no, 2, None)], 1),
            // That one replication went well says nothing of another.
            (vec![job(2, "replication.run", yes, 1, None), job(1, "replication.run", no, 2, None)], 1),
            (vec![job(2, "app.start", yes, 1, Some("b")), job(1, "app.start", no, 2, Some("a"))], 1),
            (vec![job(2, "app.start", yes, 1, Some("a")), job(1, "app.start", no, 2, Some("a"))], 0),
        ] {
            let mut health = Examination::default();
            health.jobs(&jobs, Some(now));
            assert_eq!(health.findings.len(), told, "{jobs:?}");
            assert!(health.findings.iter().all(|finding| finding.at.is_some()));
            // Where the NAS does not say what time it is, none is old.
            let mut health = Examination::default();
            health.jobs(&jobs[..1], None);
            assert_eq!(health.findings.len(), usize::from(jobs[0].state == job::JobState::Failed));
        }
    }

    #[test]
    fn an_idle_nas_is_healthy() {
        let mut health = Examination::default();
        health.pools(&[pool(json!({
            "id": 1, "name": "tank", "status": "ONLINE", "healthy": true, "warning": false, "size": 100,
            "allocated": 79, "topology": {"data": [{"type": "DISK", "disk": "sda", "status": "ONLINE"}]},
        }))]);
        let output = health.output();
        assert_eq!((output.verdict, output.findings), (Verdict::Healthy, vec![]));
    }

    #[test]
    fn what_cannot_be_seen_is_told_and_is_no_finding() {
        let mut health = Examination::default();
        health.with("alerts", Err(NasError::NoWriter), |health, alerts: Vec<_>| health.alerts(&alerts));
        let output = health.output();
        assert_eq!((output.verdict, output.findings.len()), (Verdict::Incomplete, 0));
        let text = output.to_string();
        assert!(
            text.contains("that is not everything") && text.contains("Could not be seen: alerts"),
            "{text}"
        );
        assert!(!text.contains("Healthy"), "{text}");
    }
}
