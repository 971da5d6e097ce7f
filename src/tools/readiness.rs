//! Is it safe to upgrade?

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::job::JobState;
use crate::nas::methods::query::Query;
use crate::nas::methods::{self, alert, boot, job, pool, smart, snapshot, system, update, vm};
use crate::nas::version::Version;

use super::backup;
use super::coverage::Snapshots;
use super::render::{foreign, size};
use super::report::{Causes, Evidence, Question, Report, seen};
use super::seen::Seen;
use super::upkeep::newer_versions;
use super::users_of::containers;
use super::{Entry, Log, Need, Nothing, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Readiness>()]
}

struct Readiness;

/// Whether to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Something must be seen to first.
    NoGo,
    /// Something should be seen to first.
    GoWithCare,
    /// Nothing speaks against it.
    Go,
    /// There is nothing to upgrade to.
    NothingNewer,
}

impl Question for Verdict {
    const CAUSES: &'static str = "What speaks against it, what weighs most first";
}

/// The version that has no tests of disks any more.
const GOLDEYE: Version = Version::new(25, 10, 0);
/// How much an upgrade should find free on the pool that the system starts from.
const ROOM: u64 = 4 << 30;
/// A copy that is older does not count as one of now.
const OLD: TimeDelta = TimeDelta::days(7);

impl Tool for Readiness {
    const NAME: &'static str = "upgrade_readiness";
    const TITLE: &'static str = "Whether it is safe to upgrade";
    const DESCRIPTION: &'static str = "Go or no-go for an upgrade: blockers, what the new version drops, backups, alerts, jobs, the way back.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![
        system::Info,
        update::Check,
        update::Versions,
        smart::Tests,
        pool::Pools,
        boot::Pool,
        boot::Environments,
        alert::Alerts,
        job::Jobs,
        snapshot::Times,
        vm::Containers,
        vm::Instances,
        methods::backup::SnapshotTasks,
        methods::backup::Replications,
        methods::backup::CloudSyncs,
        methods::backup::CloudBackups,
        methods::backup::Rsyncs
    ];
    type Args = Nothing;
    type Output = Report<Verdict>;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<Report<Verdict>, ToolError> {
        let info = nas.call(system::Info, []).await?;
        let mut check = Check::new(&info);
        let updates = nas.call(update::Check, []).await;
        let updates = check.unseen.or_default("updates", updates.map(Some))?;
        let versions = newer_versions(nas, &mut check.unseen).await?;
        let newer = check.updates(updates.as_ref(), &versions);
        check.pools(&nas.call(pool::Pools, pool::all()).await?);
        let boot_pool = nas.call(boot::Pool, []).await;
        let boot_pool = check.unseen.or_default("the boot pool", boot_pool.map(Some))?;
        check.boot_pool(boot_pool.as_ref());
        let environments = nas.call(boot::Environments, boot::all()).await;
        let environments = check.unseen.or_default("boot environments", environments)?;
        check.environments(&environments);
        let alerts = nas.call(alert::Alerts, []).await;
        let alerts = check.unseen.or_default("alerts", alerts)?;
        check.alerts(&alerts);
        let jobs = nas.call(job::Jobs, job::latest(200)).await;
        let jobs = check.unseen.or_default("jobs", jobs)?;
        check.jobs(&jobs);
        let tasks = backup::tasks(nas, &mut check.unseen, None).await?;
        let taken = Snapshots::look(nas, &mut check.unseen, Query::all()).await?;
        check.backups(&tasks, &taken);
        check.snapshots(&taken);
        let used = containers(nas, &mut check.unseen).await?;
        check.dropped(newer.as_deref(), &used);
        if check.crosses(newer.as_deref(), GOLDEYE) {
            let tests = nas.call(smart::Tests, Query::all().limit(100)).await;
            let tests = check.unseen.or_default("S.M.A.R.T. tests, which 25.10 no longer has", tests)?;
            check.disk_tests(&tests);
        }
        Ok(check.report(newer.as_deref()))
    }
}

struct Check {
    running: String,
    now: Option<DateTime<Utc>>,
    evidence: Vec<Evidence>,
    blockers: Causes,
    concerns: Causes,
    blocked: bool,
    concerned: bool,
    unseen: Seen,
}

impl Check {
    fn new(info: &system::SystemInfo) -> Self {
        Self {
            running: foreign(&info.version, 60),
            now: info.datetime.map(|at| at.0),
            evidence: Vec::new(),
            blockers: Causes::default(),
            concerns: Causes::default(),
            blocked: false,
            concerned: false,
            unseen: Seen::default(),
        }
    }

    fn block(&mut self, weight: u8, why: impl Into<String>) {
        self.blocked = true;
        self.blockers.may_be(weight, format!("BLOCKER: {}", why.into()));
    }

    fn worry(&mut self, weight: u8, why: impl Into<String>) {
        self.concerned = true;
        self.concerns.may_be(weight, why);
    }

    /// The version there is to go to: on its own train, or else the newest there is.
    fn updates(
        &mut self,
        status: Option<&update::UpdateStatus>,
        versions: &[update::Available],
    ) -> Option<String> {
        let own = status.and_then(|status| self.on_own_train(status));
        if let Some(new) = own {
            let new = foreign(&new.version, 60);
            self.evidence.push(seen("versions", format!("{} runs, {new} is there", self.running)));
            return Some(new);
        }
        let runs = number(&self.running);
        let newest = versions
            .iter()
            .filter(|one| number(&one.version.version).is_some_and(|new| runs.is_none_or(|runs| new > runs)))
            .max_by_key(|one| number(&one.version.version))?;
        let (new, train) = (foreign(&newest.version.version, 60), foreign(&newest.train, 60));
        let what = format!("{} runs, {new} is there, on another train ({train})", self.running);
        self.evidence.push(seen("versions", what));
        Some(new)
    }

    fn on_own_train(&mut self, status: &update::UpdateStatus) -> Option<update::NewVersion> {
        if let Some(error) = &status.error {
            let reason = error.reason.as_deref().or(error.errname.as_deref()).unwrap_or("no reason given");
            self.unseen
                .not
                .push(format!("updates: the NAS could not look for them: {}", foreign(reason, 200)));
        }
        if status.word() == Some("REBOOT_REQUIRED") {
            self.block(90, "an update was made already and waits for a reboot.");
        }
        status.new_version()
    }

    fn pools(&mut self, pools: &[pool::Pool]) {
        for pool in pools {
            let name = foreign(&pool.name, 60);
            let status = foreign(&pool.status, 20);
            self.evidence.push(seen(format!("pool {name}"), &*status));
            if pool.status != "ONLINE" {
                self.block(100, format!("pool {name} is {status}; mend it first."));
            } else if pool.healthy == Some(false) {
                self.worry(70, format!("Pool {name} is not quite healthy."));
            }
            if let Some(scan) = pool.scan.as_ref().filter(|scan| scan.state.as_deref() == Some("SCANNING")) {
                let kind = foreign(scan.function.as_deref().unwrap_or("scan"), 20).to_lowercase();
                self.evidence.push(seen(format!("pool {name}"), format!("a {kind} runs")));
                if kind == "resilver" {
                    self.block(95, format!("a resilver of {name} runs; let it end."));
                } else {
                    self.worry(30, format!("A {kind} of {name} runs; it goes on after the reboot."));
                }
            }
        }
    }

    fn boot_pool(&mut self, pool: Option<&boot::BootPool>) {
        let Some(pool) = pool else { return };
        let status = foreign(&pool.status, 20);
        let free = pool.free.map_or_else(String::new, |free| format!(", {} free", size(free)));
        self.evidence.push(seen("boot pool", format!("{status}{free}")));
        if pool.status != "ONLINE" || pool.healthy == Some(false) {
            self.block(98, format!("the boot pool is {status}; the new system would be written to it."));
        }
        if let Some(free) = pool.free.filter(|free| *free < ROOM) {
            self.block(85, format!("the boot pool has {} free; remove old boot environments.", size(free)));
        }
    }

    fn environments(&mut self, environments: &[boot::Environment]) {
        let back = environments.iter().filter(|one| one.can_activate != Some(false));
        for one in back.clone().filter(|one| one.active == Some(true)) {
            let what = "runs, and is what the upgrade could be taken back to";
            let about = format!("boot environment {}", foreign(&one.id, 100));
            self.evidence.push(seen(about, what).at(one.created.map(|at| at.0)));
        }
        if !environments.is_empty() && back.filter(|one| one.active == Some(true)).count() == 0 {
            self.worry(80, "The system that runs cannot be started again from its boot environment.");
        }
    }

    fn alerts(&mut self, alerts: &[alert::Alert]) {
        for alert in alerts.iter().filter(|alert| alert.dismissed != Some(true)) {
            let class = foreign(&alert.klass, 60);
            let words =
                foreign(alert.formatted.as_deref().or(alert.text.as_deref()).unwrap_or_default(), 200);
            let critical = matches!(alert.level.as_str(), "CRITICAL" | "ALERT" | "EMERGENCY");
            if !critical && !matches!(alert.level.as_str(), "WARNING" | "ERROR") {
                continue;
            }
            self.evidence.push(seen(format!("alert {class}"), words).at(alert.datetime.map(|at| at.0)));
            if critical {
                self.block(80, format!("there is a critical alert ({class})."));
            } else {
                self.worry(40, format!("There is a warning ({class})."));
            }
        }
    }

    fn jobs(&mut self, jobs: &[job::Job]) {
        // A scrub goes on after the reboot, and is told from the pool that it is of.
        let others = jobs.iter().filter(|job| !job.method.starts_with("pool.scrub"));
        for job in others.filter(|job| job.state == JobState::Running) {
            let method = foreign(&job.method, 60);
            let at = job.time_started.map(|at| at.0);
            self.evidence.push(seen(format!("job {}", job.id), format!("{method} runs")).at(at));
            self.worry(50, format!("The job {method} runs and would be cut off; let it end."));
        }
    }

    fn backups(&mut self, tasks: &[backup::Task], taken: &Snapshots) {
        let (now, mut good) = (self.now, false);
        let copies =
            tasks.iter().filter(|task| task.kind != backup::Kind::Snapshots && task.enabled != Some(false));
        for task in copies {
            let name = format!("{} {}", task.kind, foreign(&task.name, 80));
            let at = task.at.map(|at| at.0);
            match task.state {
                backup::State::Failed if task.pulls => {
                    self.evidence.push(seen(&*name, "failed last; it copies to here").at(at));
                    self.worry(35, format!("The copy to here {name} failed last."));
                }
                backup::State::Failed => {
                    self.evidence.push(seen(&*name, "failed last").at(at));
                    self.worry(75, format!("The copy {name} failed last."));
                }
                backup::State::Done => {
                    self.evidence.push(seen(&*name, "went well last").at(at));
                    let recent = |at: Option<DateTime<Utc>>| {
                        at.is_some_and(|at| now.is_none_or(|now| now - at <= OLD))
                    };
                    // What a replication copies is snapshots: a run that found no new one copied nothing.
                    let fresh = task.kind != backup::Kind::Replication || recent(taken.sent_by(task));
                    if !fresh && !task.pulls && now.is_none_or(|now| taken.reach_back_to(now - OLD)) {
                        self.worry(
                            85,
                            format!("The copy {name} went well, but of no snapshot of this week."),
                        );
                    }
                    good |= recent(at) && fresh && !task.local && !task.pulls;
                }
                _ => {}
            }
        }
        if !good {
            self.worry(90, "No copy elsewhere is known that went well within a week.");
        }
    }

    fn snapshots(&mut self, taken: &Snapshots) {
        match taken.newest() {
            Some(at) => self.evidence.push(seen("newest snapshot", "taken").at(Some(at))),
            // Where they could not be seen, that is told.
            None if !taken.known => {}
            None => self.worry(60, "There is no snapshot at all."),
        }
    }

    /// What the new version no longer has, and this NAS uses.
    fn dropped(&mut self, newer: Option<&str>, containers: &[(String, bool)]) {
        if self.crosses(newer, Version::new(26, 0, 0)) {
            if containers.is_empty() {
                self.evidence.push(seen("what 26 drops", "no instance of virt.* is here"));
            } else {
                let names: Vec<_> = containers.iter().map(|(name, _)| name.as_str()).take(10).collect();
                self.evidence
                    .push(seen("what 26 drops", format!("instances of virt.*: {}", names.join(", "))));
                self.worry(
                    85,
                    "26 has containers of another make: its instances (virt.*) must be moved or made anew.",
                );
            }
            self.unseen
                .not
                .push("scripts and programs that use the REST API, which 26 no longer has".to_owned());
        }
    }

    /// Whether an upgrade to `newer` goes from before `at` to it or beyond.
    fn crosses(&self, newer: Option<&str>, at: Version) -> bool {
        let parse = |version: &str| version.split('-').next().unwrap_or(version).parse::<Version>().ok();
        let (from, to) = (parse(&self.running), newer.and_then(parse));
        from.zip(to).is_some_and(|(from, to)| from < at && to >= at)
    }

    /// Tests of disks that are done on a schedule.
    fn disk_tests(&mut self, tests: &[smart::Test]) {
        let kinds: BTreeSet<_> = tests
            .iter()
            .map(|test| foreign(test.kind.as_deref().unwrap_or("?"), 20).to_lowercase())
            .collect();
        let kinds = Vec::from_iter(kinds).join(", ");
        match tests.len() {
            0 => self.evidence.push(seen("what 25.10 drops", "no S.M.A.R.T. test is set up here")),
            set_up => {
                self.evidence.push(seen("what 25.10 drops", format!("S.M.A.R.T. tests: {set_up} ({kinds})")));
                self.worry(
                    60,
                    "25.10 has no S.M.A.R.T. tests: those that are set up here are done no longer.",
                );
            }
        }
    }

    fn report(mut self, newer: Option<&str>) -> Report<Verdict> {
        self.unseen.not.push(
            "whether the configuration was saved outside the NAS, and whether the new version knows this \
                hardware"
                .to_owned(),
        );
        let target = newer.unwrap_or("a newer version");
        let save =
            "Save the configuration (System > General > Manage Configuration), tell the users (who_is_using)";
        let (verdict, summary, next_step) = match (self.blocked, newer, self.concerned) {
            (true, ..) => (
                Verdict::NoGo,
                format!("No-go: something must be seen to before {target}."),
                "See to the blockers, then ask again.".to_owned(),
            ),
            (false, None, _) => (
                Verdict::NothingNewer,
                format!("{} runs, and no newer version is known.", self.running),
                "Nothing to do; the findings hold for the next one.".to_owned(),
            ),
            (false, Some(_), true) => (
                Verdict::GoWithCare,
                format!(
                    "Go to {target} with care: nothing blocks it, and something should be seen to first."
                ),
                format!("See to the concerns in order. {save}, and read the release notes (update_check)."),
            ),
            (false, Some(_), false) => (
                Verdict::Go,
                format!("Go: nothing speaks against {target}."),
                format!("{save}, and upgrade in the web interface."),
            ),
        };
        let causes = [self.blockers.in_order(), self.concerns.in_order()].concat();
        Report {
            verdict,
            summary,
            evidence: self.evidence,
            total: 0,
            causes,
            not_seen: self.unseen.not,
            next_step,
        }
        .cut(60)
    }
}

/// What is before `-BETA.1` and the like.
fn number(version: &str) -> Option<Version> {
    version.split('-').next().unwrap_or(version).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(version: &str) -> Check {
        Check::new(&serde_json::from_value(json!({"version": version})).unwrap())
    }

    #[test]
    fn a_degraded_pool_is_a_no_go_whatever_else() {
        let mut check = check("25.10.5");
        let pool = json!({"id": 1, "name": "tank", "status": "DEGRADED"});
        check.pools(&[serde_json::from_value(pool).unwrap()]);
        check.worry(99, "Something else.");
        let report = check.report(Some("26.0.0"));
        assert_eq!(report.verdict, Verdict::NoGo);
        assert!(report.causes[0].starts_with("BLOCKER: pool tank is DEGRADED"), "{:?}", report.causes);
    }

    #[test]
    fn what_is_dropped_counts_only_where_it_is_crossed() {
        let used = [("debian".to_owned(), true)];
        for (from, to, concerned) in [
            ("25.10.5", "26.0.0", true),
            ("25.04.2", "26.0.0-BETA.1", true),
            ("25.10.5", "25.10.7", false),
            ("26.0.0", "26.0.1", false),
            ("25.10.5", "nonsense", false),
        ] {
            let mut check = check(from);
            check.dropped(Some(to), &used);
            assert_eq!(check.concerned, concerned, "{from} to {to}");
        }
    }

    #[test]
    fn a_version_of_another_train_is_known_too() {
        let versions: Vec<update::Available> = serde_json::from_value(json!([
            {"train": "Goldeye", "version": {"version": "25.10.5"}},
            {"train": "Halfmoon", "version": {"version": "26.0.1"}},
            {"train": "Halfmoon-BETA", "version": {"version": "26.0.0-BETA.1"}},
            {"train": "Odd", "version": {"version": "nightly"}},
        ]))
        .unwrap();
        let none = serde_json::from_value(json!({"status": {"new_version": null}})).unwrap();
        let mut other = check("25.10.5");
        assert_eq!(other.updates(Some(&none), &versions).as_deref(), Some("26.0.1"));
        assert!(other.report(Some("26.0.1")).to_string().contains("on another train (Halfmoon)"));
        let own = serde_json::from_value(json!({"status": {"new_version": {"version": "25.10.6"}}})).unwrap();
        assert_eq!(check("25.10.5").updates(Some(&own), &versions).as_deref(), Some("25.10.6"));
        assert_eq!(check("26.0.1").updates(Some(&none), &versions), None);
        assert_eq!(check("25.10.5").updates(None, &[]), None);
    }

    #[test]
    fn a_replication_that_found_nothing_new_is_no_copy_of_this_week() {
        let day = |day: i64| DateTime::UNIX_EPOCH + TimeDelta::days(day);
        for (taken, concern) in [(99, false), (50, true)] {
            let mut check = check("25.10.5");
            check.now = Some(day(100));
            let task =
                backup::Task::made_up(backup::Kind::Replication, "tank", backup::State::Done, day(100));
            check.backups(&[task], &Snapshots::of(&[("tank", day(taken))]));
            assert_eq!(check.concerned, concern, "{taken}");
        }
    }

    #[test]
    fn disk_tests_that_end_with_the_upgrade_are_told() {
        assert!(check("25.04.2").crosses(Some("25.10.5"), GOLDEYE));
        assert!(!check("25.10.4").crosses(Some("25.10.5"), GOLDEYE));
        let mut none = check("25.04.2");
        none.disk_tests(&[]);
        assert_eq!(none.report(Some("25.10.5")).verdict, Verdict::Go);
        let mut some = check("25.04.2");
        some.disk_tests(&[serde_json::from_value(json!({"type": "LONG", "all_disks": true})).unwrap()]);
        let report = some.report(Some("25.10.5"));
        assert_eq!(report.verdict, Verdict::GoWithCare);
        assert!(report.to_string().contains("S.M.A.R.T. tests: 1 (long)"), "{report}");
    }

    #[test]
    fn a_copy_to_here_that_failed_is_told_and_is_no_copy_elsewhere() {
        let mut check = check("25.10.5");
        let rsync = |direction: &str, state: &str| {
            let row = json!({
                "id": 1, "path": "/mnt/tank/a", "remotehost": "far", "desc": "a", "direction": direction,
                "enabled": true, "job": {"state": state},
            });
            backup::rsync(serde_json::from_value(row).unwrap())
        };
        check.backups(&[rsync("PULL", "FAILED"), rsync("PULL", "SUCCESS")], &Snapshots::of(&[]));
        let text = check.report(Some("25.10.6")).to_string();
        assert!(text.contains("rsync a: failed last; it copies to here"), "{text}");
        assert!(text.contains("No copy elsewhere is known"), "{text}");
    }

    #[test]
    fn a_job_that_would_be_cut_off_is_a_concern_and_a_scrub_that_goes_on_is_none_of_them() {
        for (method, concerned) in [("pool.scrub.scrub", false), ("replication.run", true)] {
            let mut check = check("25.10.5");
            let job = json!({"id": 1, "method": method, "state": "RUNNING"});
            check.jobs(&[serde_json::from_value(job).unwrap()]);
            assert_eq!(check.concerned, concerned, "{method}");
        }
    }

    #[test]
    fn nothing_newer_is_neither_go_nor_no_go() {
        assert_eq!(check("26.0.0").report(None).verdict, Verdict::NothingNewer);
        assert_eq!(check("25.10.5").report(Some("26.0.0")).verdict, Verdict::Go);
    }
}
