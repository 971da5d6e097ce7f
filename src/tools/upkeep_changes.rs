//! Scrubs and their schedules, backup tasks that are run now, virtual machines, containers, and old systems to start.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::access::{Access, Covers, Read, Write};
use crate::domain::name::{DatasetPath, PoolName};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::query::Query;
use crate::nas::methods::schedule::{Cron, Schedule};
use crate::nas::methods::{backup, boot, dataset, pool, resource, scrub, share, vm};
use crate::nas::{NasError, Session};

use super::render::{capital, foreign, size, time};
use super::seen::Seen;
use super::storage::{identities_below, identity, no_such_pool};
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<ScrubStart>(),
        Entry::change::<ScrubStop>(),
        Entry::change::<ScrubSchedule>(),
        Entry::change::<BackupRun>(),
        Entry::change::<VmControl>(),
        Entry::change::<ContainerControl>(),
        Entry::change::<BootEnvDelete>(),
    ]
}

// scrub_start, scrub_stop

struct ScrubStart;
struct ScrubStop;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OnePool {
    /// Its name.
    pool: PoolName,
}

/// The pool, and whether it is being read through.
async fn scanned(nas: &Session<'_, Read>, name: &PoolName) -> Result<(pool::Pool, bool), ToolError> {
    let found = nas.call(pool::Pools, pool::one(name)).await?.pop().ok_or_else(|| no_such_pool(name))?;
    let scans = found.scan.as_ref().and_then(|scan| scan.state.as_deref()) == Some("SCANNING");
    Ok((found, scans))
}

fn scan_of(pool: &pool::Pool) -> String {
    let kind = pool.scan.as_ref().and_then(|scan| scan.function.as_deref()).unwrap_or("scan");
    foreign(kind, 20).to_lowercase()
}

/// What tells a pool, and this scan of it, from every other.
fn fingerprint(pool: &pool::Pool, scans: bool) -> Fingerprint {
    let began = pool.scan.as_ref().and_then(|scan| scan.start_time).map(|at| time(at.0));
    Fingerprint::of(&json!([pool.id, pool.guid, pool.status, scans, began]))
}

impl Change for ScrubStart {
    const NAME: &'static str = "scrub_start";
    const TITLE: &'static str = "Scrub a pool now";
    const DESCRIPTION: &'static str = "Reads all data of a pool and mends what it can. The pool is slower \
        until it ends, which takes hours.";
    const SCOPE: Scope = Scope::StorageWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![pool::Pools];
    const NEEDS: &'static [Need] = needs![pool::Scrub];
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    type Args = OnePool;

    fn target(args: &OnePool) -> String {
        args.pool.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OnePool) -> Result<Draft, ToolError> {
        let name = &args.pool;
        let (found, scans) = scanned(nas, name).await?;
        if scans {
            return Err(ToolError::inapplicable(
                format!("A {} of {name} runs already.", scan_of(&found)),
                "scrub_status tells how far it is.",
            ));
        }
        let mut draft = Draft::new(
            format!("Scrub the pool {name}."),
            Self::RISK,
            Undo::call(ScrubStop::NAME, json!({ "pool": name })),
            format!("pool {name}"),
            fingerprint(&found, scans),
        );
        let took = found.scan.as_ref().and_then(|scan| Some(scan.end_time?.0 - scan.start_time?.0));
        let before = match took {
            Some(took) => format!("idle; the last {} took {} min", scan_of(&found), took.num_minutes()),
            None => "idle".to_owned(),
        };
        draft.changes.push(Alteration::new(
            format!("pool {name}"),
            Some(before),
            Some("scrubbing".to_owned()),
        ));
        draft.warnings.push("The pool is slower until it ends.".to_owned());
        if found.status != "ONLINE" {
            let status = foreign(&found.status, 20);
            draft.warnings.push(format!("The pool is {status}: a scrub is hard on disks that are failing."));
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: OnePool) -> Result<Done, ToolError> {
        let job = nas.call(pool::Scrub, (args.pool.clone(), pool::Action::Start)).await?;
        Ok(Done::begun_beside(job, format!("The NAS scrubs {}.", args.pool)))
    }
}

impl Change for ScrubStop {
    const NAME: &'static str = "scrub_stop";
    const TITLE: &'static str = "Stop a scrub";
    const DESCRIPTION: &'static str =
        "Stops the scrub of a pool. The next one begins from the start. A resilver cannot be stopped.";
    const SCOPE: Scope = Scope::StorageWrite;
    /// No data is lost by it and nobody is interrupted. What it has read so far, hours and days of it, is: to begin anew
    /// takes nothing back. And a pool whose scrubs are stopped one after the other is never read through, so that its
    /// damage shows when a file is needed. It weighs as much as to switch the schedule off, and as to break off any job.
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![pool::Pools];
    const NEEDS: &'static [Need] = needs![pool::Scrub];
    const LOG: &'static [(&'static str, Log)] = &[("pool", Log::Plain)];
    type Args = OnePool;

    fn target(args: &OnePool) -> String {
        args.pool.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &OnePool) -> Result<Draft, ToolError> {
        let name = &args.pool;
        let (found, scans) = scanned(nas, name).await?;
        if !scans || scan_of(&found) != "scrub" {
            return Err(ToolError::inapplicable(
                format!("No scrub of {name} runs."),
                "There is nothing to stop.",
            ));
        }
        let mut draft = Draft::new(
            format!("Stop the scrub of the pool {name}."),
            Self::RISK,
            Undo::call(ScrubStart::NAME, json!({ "pool": name })),
            format!("pool {name}"),
            fingerprint(&found, scans),
        );
        let percent = found.scan.as_ref().and_then(|scan| scan.percentage).unwrap_or_default();
        let before = Some(format!("scrubbing, {percent:.0} % done"));
        draft.changes.push(Alteration::new(format!("pool {name}"), before, Some("idle".to_owned())));
        draft.stops.push(format!("The scrub, which has {percent:.0} % of the pool behind it."));
        draft.warnings.push(
            "What is read so far is read again by the next one, and errors in the rest stay unseen until then."
                .to_owned(),
        );
        let errors = found.scan.as_ref().and_then(|scan| scan.errors).unwrap_or_default();
        if errors > 0 {
            draft.warnings.push(format!(
                "It has found {errors} errors so far; where there are some, there may be more."
            ));
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: OnePool) -> Result<Done, ToolError> {
        let job = nas.call(pool::Scrub, (args.pool.clone(), pool::Action::Stop)).await?;
        Ok(Done::begun(job, format!("The NAS stops the scrub of {}.", args.pool)))
    }
}

// scrub_schedule

struct ScrubSchedule;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleArgs {
    /// Its name.
    pool: PoolName,
    /// When, as cron writes it in five fields, such as 0 3 * * 7.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    cron: Option<Cron>,
    /// Only if the last one is so many days ago.
    #[serde(default)]
    threshold_days: Option<u32>,
    /// Whether it is switched on.
    #[serde(default)]
    enabled: Option<bool>,
}

/// When the NAS scrubs a pool of its own accord, where nothing else is said: as it suggests itself.
const WEEKLY: &str = "0 0 * * 7";
const THRESHOLD: u32 = 35;

/// The schedule of a pool, if it has one.
async fn scheduled<A: Access + Covers<Read>>(
    nas: &Session<'_, A>,
    pool: &PoolName,
) -> Result<Option<scrub::ScrubTask>, ToolError> {
    let all = nas.call(scrub::Schedules, scrub::all()).await?;
    Ok(all.into_iter().find(|task| task.pool_name == pool.as_str()))
}

/// A schedule in words.
fn rhythm(cron: Option<&Cron>, threshold: Option<u32>, enabled: bool) -> String {
    let when =
        cron.map_or_else(|| "at times of its own".to_owned(), |cron| cron.clone().schedule().to_string());
    let days = threshold.map_or_else(String::new, |days| format!(", if the last one is {days} days ago"));
    format!("{}{when}{days}", if enabled { "" } else { "switched off; " })
}

impl Change for ScrubSchedule {
    const NAME: &'static str = "scrub_schedule";
    const TITLE: &'static str = "Schedule scrubs";
    const DESCRIPTION: &'static str = "Sets when the NAS scrubs a pool by itself. What is left away stays.";
    const SCOPE: Scope = Scope::StorageWrite;
    /// To switch it on as it is, or as the NAS suggests it. All else is more.
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![pool::Pools, scrub::Schedules];
    const NEEDS: &'static [Need] = needs![scrub::Create, scrub::Update];
    const LOG: &'static [(&'static str, Log)] = &[
        ("pool", Log::Plain),
        ("cron", Log::Plain),
        ("threshold_days", Log::Plain),
        ("enabled", Log::Plain),
    ];
    type Args = ScheduleArgs;

    fn target(args: &ScheduleArgs) -> String {
        args.pool.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &ScheduleArgs) -> Result<Draft, ToolError> {
        let ScheduleArgs { pool, cron, threshold_days, enabled } = args;
        let (found, _) = scanned(nas, pool).await?;
        let task = scheduled(nas, pool).await?;
        let was = task.as_ref().map(|task| {
            let cron = task.schedule.as_ref().and_then(Schedule::cron);
            (cron, task.threshold, task.enabled != Some(false))
        });
        let usual = || (WEEKLY.parse().ok(), Some(THRESHOLD), true);
        let before = was.clone().unwrap_or_else(usual);
        let is = (
            cron.clone().or_else(|| before.0.clone()),
            threshold_days.or(before.1),
            enabled.unwrap_or(before.2),
        );
        if was.as_ref() == Some(&is) {
            return Err(ToolError::inapplicable(
                format!("Scrubs of {pool} are scheduled so already."),
                "Name what is to be another: cron, threshold_days or enabled.",
            ));
        }
        let undo = match &was {
            Some((Some(cron), threshold, enabled)) => Undo::call(
                Self::NAME,
                json!({ "pool": pool, "cron": cron, "threshold_days": threshold, "enabled": enabled }),
            ),
            Some((None, ..)) => Undo::Words("set it in the TrueNAS web interface to what it was".to_owned()),
            None => Undo::call(Self::NAME, json!({ "pool": pool, "enabled": false })),
        };
        let in_words =
            |(cron, threshold, enabled): &(Option<Cron>, _, _)| rhythm(cron.as_ref(), *threshold, *enabled);
        let after = in_words(&is);
        let mut draft = Draft::new(
            format!("Have the NAS scrub the pool {pool} by itself: {after}."),
            Self::RISK,
            undo,
            format!("pool {pool}"),
            Fingerprint::of(&json!([found.id, found.guid, task.as_ref().map(|task| task.id), was])),
        );
        let told = was.as_ref().map(in_words);
        draft.changes.push(Alteration::new(format!("scrubs of {pool}"), told, Some(after)));
        // Which of two rhythms is the rarer cannot be told of all of them, and one that is moved often enough never comes.
        if (&is.0, is.1) != (&before.0, before.1) {
            draft.warnings.push(
                "A time that never comes, as the 31st of February, or that comes all too rarely is like none: errors are found \
                 when a file is needed. One that comes all the time leaves the pool slow."
                    .to_owned(),
            );
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        if !is.2 {
            let lost =
                "Nothing reads the pool through by itself then, and errors are found when a file is needed.";
            draft.warnings.push(lost.to_owned());
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: ScheduleArgs) -> Result<Done, ToolError> {
        let ScheduleArgs { pool, cron, threshold_days, enabled } = args;
        let wanted = scrub::Wanted {
            pool: None,
            threshold: threshold_days,
            schedule: cron.map(Cron::schedule),
            enabled,
        };
        if let Some(task) = scheduled(nas, &pool).await? {
            nas.call(scrub::Update, (task.id, wanted)).await?;
            return Ok(Done::now(format!("Changed when the NAS scrubs {pool}.")));
        }
        let found =
            nas.call(pool::Pools, pool::one(&pool)).await?.pop().ok_or_else(|| no_such_pool(&pool))?;
        let usual = WEEKLY.parse::<Cron>().ok().map(Cron::schedule);
        let made = scrub::Wanted {
            pool: Some(found.id),
            threshold: wanted.threshold.or(Some(THRESHOLD)),
            schedule: wanted.schedule.or(usual),
            enabled: wanted.enabled.or(Some(true)),
        };
        nas.call(scrub::Create, (made,)).await?;
        Ok(Done::now(format!("The NAS scrubs {pool} by itself from now on.")))
    }
}

// backup_run

struct BackupRun;

/// Kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Snapshots,
    Replication,
    CloudSync,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunArgs {
    /// Kind of task.
    kind: Kind,
    /// Its number in `backup_list`.
    id: i64,
}

/// A task, and what running it can do.
struct Task {
    name: String,
    facts: Value,
    /// What it does, from where to where: it stands behind its name.
    does: String,
    risk: Risk,
    warnings: Vec<String>,
    enabled: bool,
    runs: bool,
}

fn no_such_task(id: i64) -> ToolError {
    ToolError::inapplicable(format!("There is no such task {id}."), "backup_list shows which there are.")
}

/// What tells the datasets of these names, and what lies below them where that is `recursive`, from others that are made
/// again under them; of those that are not here there is nothing to tell.
async fn identities(
    nas: &Session<'_, Read>,
    names: &[String],
    recursive: Option<bool>,
) -> Result<Value, ToolError> {
    let mut all = Vec::new();
    for path in names.iter().filter_map(|name| name.parse::<DatasetPath>().ok()) {
        let Some(found) = nas.call(dataset::Datasets, dataset::one(&path)).await?.pop() else {
            all.push(Value::Null);
            continue;
        };
        all.push(identity(nas, &path, &found).await?);
        // Not told is taken for the worse.
        if recursive != Some(false) {
            all.extend(identities_below(nas, &path).await?);
        }
    }
    Ok(Value::Array(all))
}

async fn snapshot_task(nas: &Session<'_, Read>, id: i64) -> Result<Task, ToolError> {
    let all = nas.call(backup::SnapshotTasks, Query::all()).await?;
    let task = all.into_iter().find(|task| task.id == id).ok_or_else(|| no_such_task(id))?;
    let identities = identities(nas, std::slice::from_ref(&task.dataset), task.recursive).await?;
    let kept = match task.lifetime_value.zip(task.lifetime_unit.as_deref()) {
        Some((1, unit)) => format!("1 {}", foreign(unit, 10).to_lowercase()),
        Some((many, unit)) => format!("{many} {}s", foreign(unit, 10).to_lowercase()),
        None => "it is set to keep them".to_owned(),
    };
    Ok(Task {
        name: format!("the snapshot task of {}", foreign(&task.dataset, 200)),
        facts: json!([
            task.id,
            task.dataset,
            task.recursive,
            task.lifetime_value,
            task.lifetime_unit,
            task.rest,
            identities
        ]),
        does: format!("it takes snapshots of {}{}", foreign(&task.dataset, 200), and_below(task.recursive)),
        // What is deleted comes back with no snapshot that it takes.
        risk: Risk::Destructive,
        warnings: vec![format!("As after each run, snapshots of it that are older than {kept} are deleted.")],
        enabled: task.enabled != Some(false),
        runs: runs(task.state.as_ref()),
    })
}

fn runs(state: Option<&backup::TaskState>) -> bool {
    state.and_then(|state| state.state.as_deref()) == Some("RUNNING")
}

/// Not told is taken for the worse.
fn and_below(recursive: Option<bool>) -> &'static str {
    if recursive == Some(false) { "" } else { " and all below it" }
}

/// What opens a machine or a cloud, by the name that its owner gave it.
fn called(credentials: Option<&backup::Credentials>) -> String {
    let name = credentials.and_then(|credentials| credentials.name.as_deref());
    name.map_or_else(|| "a place that the NAS does not name".to_owned(), |name| foreign(name, 100))
}

async fn replication(nas: &Session<'_, Read>, id: i64) -> Result<Task, ToolError> {
    let all = nas.call(backup::Replications, Query::all()).await?;
    let task = all.into_iter().find(|task| task.id == id).ok_or_else(|| no_such_task(id))?;
    let ends: Vec<_> = task.source_datasets.iter().chain(&task.target_dataset).cloned().collect();
    let identities = identities(nas, &ends, task.recursive).await?;
    let target = foreign(task.target_dataset.as_deref().unwrap_or("?"), 200);
    let mut warnings =
        vec![format!("What was written to {target} by others since the last run is lost there.")];
    let keeps_all = task.retention_policy.as_deref() == Some("NONE");
    if !keeps_all {
        warnings.push(format!("It deletes snapshots of {target} that its retention does not keep."));
    }
    // Not told is taken for the worse.
    let from_scratch = task.allow_from_scratch != Some(false);
    if from_scratch {
        warnings.push(format!(
            "If the two have no snapshot in common, all of {target} is deleted and sent anew."
        ));
    }
    let makes_alike = task.replicate != Some(false);
    if makes_alike {
        warnings.push(format!(
            "It makes {target} the same as the source: datasets and snapshots that are there and not at the source are destroyed."
        ));
    }
    match task.readonly.as_deref() {
        Some("IGNORE") => {}
        Some("REQUIRE") => warnings.push(format!("It fails where {target} can be written to.")),
        _ => warnings.push(format!("It makes {target} read-only: whoever writes there can no longer.")),
    }
    let pulls = task.direction != "PUSH";
    let loses_nothing = keeps_all && !from_scratch && !makes_alike && !pulls;
    let risk = if loses_nothing { Risk::Disruptive } else { Risk::Destructive };
    let transport = task.transport.as_deref().unwrap_or("a way that the NAS does not tell");
    let (at_source, at_target) = match (transport, pulls) {
        ("LOCAL", _) => (String::new(), ", both on this NAS".to_owned()),
        (way, true) => (
            format!(" on {}", called(task.ssh_credentials.as_ref())),
            format!(" here, over {}", foreign(way, 40)),
        ),
        (way, false) => (
            " here".to_owned(),
            format!(" on {}, over {}", called(task.ssh_credentials.as_ref()), foreign(way, 40)),
        ),
    };
    let verb = if pulls { "fetches" } else { "sends" };
    let sources = foreign(&task.source_datasets.join(", "), 300);
    let below = and_below(task.recursive);
    // Whoever reads one sentence is to have read this.
    let at_worst = match (from_scratch, makes_alike) {
        (true, _) => format!(", and may delete everything in {target}"),
        (false, true) => format!(", and deletes in {target} what is not at the source"),
        (false, false) => String::new(),
    };
    Ok(Task {
        name: format!("the replication {}", foreign(&task.name, 100)),
        does: format!("it {verb} {sources}{below}{at_source} to {target}{at_target}{at_worst}"),
        facts: json!([
            task.id,
            task.name,
            task.direction,
            task.transport,
            task.ssh_credentials.and_then(|credentials| credentials.name),
            task.source_datasets,
            task.target_dataset,
            task.recursive,
            task.exclude,
            task.retention_policy,
            task.allow_from_scratch,
            task.replicate,
            task.readonly,
            task.periodic_snapshot_tasks,
            task.rest,
            identities
        ]),
        risk,
        warnings,
        enabled: task.enabled != Some(false),
        runs: runs(task.state.as_ref()),
    })
}

async fn cloud_sync(nas: &Session<'_, Read>, id: i64) -> Result<Task, ToolError> {
    let all = nas.call(backup::CloudSyncs, Query::all()).await?;
    let task = all.into_iter().find(|task| task.id == id).ok_or_else(|| no_such_task(id))?;
    let here = foreign(task.path.as_deref().unwrap_or("?"), 200);
    let backup::Place { bucket, folder } = task.attributes.unwrap_or_default();
    let bucket = bucket.map(|bucket| format!("the bucket {} of ", foreign(&bucket, 100))).unwrap_or_default();
    let folder = match folder.as_deref() {
        None | Some("" | "/") => String::new(),
        Some(folder) => format!("{} in ", foreign(folder, 200)),
    };
    let there = format!("{folder}{bucket}{}", called(task.credentials.as_ref()));
    let pushes = task.direction.as_deref() == Some("PUSH");
    let (verb, from, to) = if pushes { ("pushes", here, there) } else { ("pulls", there, here) };
    let mode = task.transfer_mode.as_deref().unwrap_or("?");
    let warning = match mode {
        "COPY" => format!("Files in {to} that are another there are written over."),
        "MOVE" => format!("What was copied is deleted from {from}, and written over in {to}."),
        // A mode that is not known is taken for this one.
        _ => format!("What is in {to} and not in {from} is deleted there."),
    };
    let mut warnings = vec![warning];
    let mut scripts = Vec::new();
    for (which, when) in [(backup::Script::Before, "before"), (backup::Script::After, "after")] {
        if !nas.call(backup::CloudSyncs, backup::with_script(id, which)).await?.is_empty() {
            scripts.push(when);
            warnings.push(format!(
                "The NAS runs a script of its owner as root {when} it. What that does is not looked at here: it may hold secrets."
            ));
        }
    }
    // What it writes over here nobody but us can bring back; there it may be kept.
    let loses_nothing = mode == "COPY" && pushes && scripts.is_empty();
    let risk = if loses_nothing { Risk::Disruptive } else { Risk::Destructive };
    Ok(Task {
        name: format!("the cloud sync {}", foreign(task.description.as_deref().unwrap_or("?"), 100)),
        does: format!("it {verb} {from} to {to} ({})", foreign(mode, 20)),
        facts: json!([
            task.id,
            task.description,
            task.path,
            task.direction,
            task.transfer_mode,
            from,
            to,
            scripts,
            task.rest
        ]),
        risk,
        warnings,
        enabled: task.enabled != Some(false),
        runs: task.job.as_ref().and_then(|job| job.state)
            == Some(crate::nas::methods::job::JobState::Running),
    })
}

impl Change for BackupRun {
    const NAME: &'static str = "backup_run";
    const TITLE: &'static str = "Run a backup task now";
    const DESCRIPTION: &'static str = "Runs a snapshot task, replication or cloud sync now. The plan says what that deletes or writes over.";
    const SCOPE: Scope = Scope::BackupWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        backup::SnapshotTasks,
        backup::Replications,
        backup::CloudSyncs,
        dataset::Datasets,
        resource::Resources
    ];
    const NEEDS: &'static [Need] = needs![backup::RunSnapshots, backup::RunReplication, backup::RunCloudSync];
    const LOG: &'static [(&'static str, Log)] = &[("kind", Log::Plain), ("id", Log::Plain)];
    type Args = RunArgs;

    fn target(args: &RunArgs) -> String {
        let kind = match args.kind {
            Kind::Snapshots => "snapshot task",
            Kind::Replication => "replication",
            Kind::CloudSync => "cloud sync",
        };
        format!("{kind} {}", args.id)
    }

    async fn plan(nas: &Session<'_, Read>, args: &RunArgs) -> Result<Draft, ToolError> {
        let RunArgs { kind, id } = *args;
        let task = match kind {
            Kind::Snapshots => snapshot_task(nas, id).await?,
            Kind::Replication => replication(nas, id).await?,
            Kind::CloudSync => cloud_sync(nas, id).await?,
        };
        if task.runs {
            let what = format!("{} runs already.", capital(&task.name));
            return Err(ToolError::inapplicable(what, "backup_list tells how it goes."));
        }
        let undo = match kind {
            Kind::Snapshots => "snapshot_delete deletes what it takes, and what it deletes stays so",
            Kind::Replication | Kind::CloudSync => "what was copied, written over or deleted stays so",
        };
        let undo = Undo::Impossible(undo.to_owned());
        let mut draft = Draft::new(
            format!("Run {}: {}.", task.name, task.does),
            task.risk,
            undo,
            Self::target(args),
            Fingerprint::of(&json!([task.facts, task.enabled])),
        );
        draft.warnings = task.warnings;
        if !task.enabled {
            draft.warnings.push("It is switched off, which somebody may have done on purpose.".to_owned());
            draft.risk = draft.risk.max(Risk::Disruptive);
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: RunArgs) -> Result<Done, ToolError> {
        let target = Self::target(&args);
        let job = match args.kind {
            Kind::Snapshots => {
                nas.call(backup::RunSnapshots, (args.id,)).await?;
                return Ok(Done::now(format!("The NAS runs {target}.")));
            }
            Kind::Replication => nas.call(backup::RunReplication, (args.id,)).await?,
            Kind::CloudSync => nas.call(backup::RunCloudSync, (args.id,)).await?,
        };
        Ok(Done::begun(job, format!("The NAS runs {target}.")))
    }
}

// vm_control

struct VmControl;

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    Start,
    Stop,
    Restart,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmArgs {
    /// Its number in `vms_list`.
    id: i64,
    /// What to do.
    action: Action,
}

impl Change for VmControl {
    const NAME: &'static str = "vm_control";
    const TITLE: &'static str = "Start, stop or restart a virtual machine";
    const DESCRIPTION: &'static str = "Starts a virtual machine, or has its system shut down or restart. Stop never cuts it off; restart does if it does not answer.";
    const SCOPE: Scope = Scope::VmsWrite;
    /// Also to start one: it takes memory and devices from the NAS, and an address on the network.
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![vm::Machines, vm::Devices, share::Extents];
    const NEEDS: &'static [Need] = needs![vm::Start, vm::Stop, vm::Restart];
    const LOG: &'static [(&'static str, Log)] = &[("id", Log::Plain), ("action", Log::Plain)];
    type Args = VmArgs;

    fn target(args: &VmArgs) -> String {
        format!("virtual machine {}", args.id)
    }

    async fn plan(nas: &Session<'_, Read>, args: &VmArgs) -> Result<Draft, ToolError> {
        let VmArgs { id, action } = *args;
        let all = nas.call(vm::Machines, Query::all()).await?;
        let Some(found) = all.iter().find(|machine| machine.id == id) else {
            let what = format!("There is no virtual machine {id}.");
            return Err(ToolError::inapplicable(what, "vms_list shows which there are."));
        };
        let state = found.status.as_ref().map_or_else(|| "?".to_owned(), |status| status.state.clone());
        let runs = state == "RUNNING";
        let name = foreign(&found.name, 100);
        if runs == (action == Action::Start) {
            let is = if runs { "runs already" } else { "does not run" };
            return Err(ToolError::inapplicable(format!("{name} {is}."), "vms_list tells how each is."));
        }
        let (verb, undo) = match action {
            Action::Start => ("Start", Undo::call(Self::NAME, json!({ "id": id, "action": "stop" }))),
            Action::Stop => ("Stop", Undo::call(Self::NAME, json!({ "id": id, "action": "start" }))),
            Action::Restart => {
                ("Restart", Undo::Words("nothing is left to take back once it runs again".to_owned()))
            }
        };
        let mut draft = Draft::new(
            format!("{verb} the virtual machine {name}."),
            Self::RISK,
            undo,
            Self::target(args),
            Fingerprint::of(&json!([found.id, found.uuid, found.name, state])),
        );
        let after = if action == Action::Stop { "STOPPED" } else { "RUNNING" };
        draft.changes.push(Alteration::new(name, Some(foreign(&state, 20)), Some(after.to_owned())));
        match action {
            Action::Start => {
                let memory = found.memory.map_or_else(String::new, |mib| format!(" of {}", size(mib << 20)));
                draft.warnings.push(format!("Its memory{memory} is taken from the NAS."));
                draft = with_its_devices(nas, id, &all, draft).await?;
            }
            Action::Stop => {
                draft.stops.push("Whoever uses it loses it until it is started again.".to_owned());
            }
            Action::Restart => {
                draft.stops.push("Whoever uses it loses it until it is up again.".to_owned());
                // The NAS stops it with `force_after_timeout`, which nobody who restarts one can leave away.
                draft.warnings.push(
                    "If its system does not shut down in time the NAS cuts it off, and what it had not written is lost."
                        .to_owned(),
                );
            }
        }
        Ok(if action == Action::Restart { draft.at_least(Risk::Destructive) } else { draft })
    }

    async fn run(nas: &Session<'_, Write>, args: VmArgs) -> Result<Done, ToolError> {
        let VmArgs { id, action } = args;
        match action {
            Action::Start => {
                nas.call(vm::Start, (id,)).await?;
                Ok(Done::now(format!("Started the virtual machine {id}.")))
            }
            Action::Stop => {
                let job = nas.call(vm::Stop, (id, vm::GENTLY)).await?;
                Ok(Done::begun(job, format!("The NAS asks the virtual machine {id} to shut down.")))
            }
            Action::Restart => {
                let job = nas.call(vm::Restart, (id,)).await?;
                Ok(Done::begun(job, format!("The NAS restarts the virtual machine {id}.")))
            }
        }
    }
}

/// What a machine has of the NAS once it runs, and who else has it. The NAS looks for none of that: two that write to one
/// volume both believe to be alone, and a device that is handed through is gone from the NAS at once.
async fn with_its_devices(
    nas: &Session<'_, Read>,
    id: i64,
    all: &[vm::Machine],
    mut draft: Draft,
) -> Result<Draft, ToolError> {
    let mut seen = Seen::default();
    let devices = seen.or_default("its devices", nas.call(vm::Devices, vm::of_all()).await)?;
    let extents = seen.or_default("iSCSI extents", nas.call(share::Extents, Query::all()).await)?;
    let (own, others): (Vec<_>, Vec<_>) = devices.iter().partition(|device| device.vm == Some(id));
    let called = |device: &vm::Device| {
        let machine = all.iter().find(|machine| Some(machine.id) == device.vm);
        let name = machine.map_or_else(|| "?".to_owned(), |machine| foreign(&machine.name, 100));
        format!("the virtual machine {name}")
    };
    let mut facts = Vec::new();
    for vm::Device { id, attributes, .. } in own {
        let vm::Attributes { dtype, path, mac, pptdev, device: usb, .. } = attributes;
        facts.push(json!([id, dtype, path, mac, pptdev, usb]));
        if let Some(disk) = written_to(attributes) {
            let machines = others.iter().filter(|other| written_to(&other.attributes) == Some(disk));
            let given = extents.iter().filter(|extent| extent.enabled != Some(false));
            let given =
                given.filter(|extent| extent.disk.as_deref().or(extent.path.as_deref()) == Some(disk));
            let given = given.map(|extent| format!("the iSCSI extent {}", foreign(&extent.name, 100)));
            let also: Vec<_> = machines.map(|other| called(other)).chain(given).collect();
            let disk = foreign(disk, 200);
            draft.warnings.push(format!("It writes to {disk}."));
            if !also.is_empty() {
                facts.push(json!(also));
                draft.warnings.push(format!(
                    "{} has {disk} too: where two write at a time, what is on it is lost.",
                    capital(&also.join(" and "))
                ));
                draft.risk = Risk::Destructive;
            }
        }
        if let Some(twin) = others.iter().find(|other| mac.is_some() && other.attributes.mac == *mac) {
            let twin = called(twin);
            facts.push(json!(twin));
            draft.warnings.push(format!("{} has the same address on the network.", capital(&twin)));
        }
        if let ("PCI" | "USB", Some(device)) =
            (dtype.as_deref().unwrap_or_default(), pptdev.as_ref().or(usb.as_ref()))
        {
            draft.stops.push(format!(
                "The NAS loses its device {}, and all that hangs on it, for as long as the machine runs.",
                foreign(device, 100)
            ));
        }
    }
    // What cannot be seen is taken for the worse.
    if !seen.not.is_empty() {
        draft.risk = Risk::Destructive;
    }
    draft.unseen.append(&mut seen.not);
    draft.fingerprint = draft.fingerprint.and(&json!(facts));
    Ok(draft)
}

/// The volume or the file that a device of a machine writes to, as extents name it.
fn written_to(device: &vm::Attributes) -> Option<&str> {
    let writes = matches!(device.dtype.as_deref(), Some("DISK" | "RAW"));
    let path = device.path.as_deref().filter(|_| writes)?;
    Some(path.strip_prefix("/dev/").unwrap_or(path))
}

// container_control

struct ContainerControl;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ContainerArgs {
    /// Its name in `containers_list`.
    container: String,
    /// What to do; TrueNAS 26 has no restart.
    action: Action,
}

/// A container as one generation or the other has it.
struct Found {
    handle: Handle,
    state: String,
    facts: Value,
    /// What it could do to the NAS once it runs.
    reaches: Vec<String>,
    /// What of that is not told.
    unseen: Option<&'static str>,
}

/// What the NAS wants to be told.
enum Handle {
    /// Since 26.
    Container(i64),
    /// Before.
    Instance(String),
}

/// The container of this name.
async fn container<A: Access + Covers<Read>>(nas: &Session<'_, A>, name: &str) -> Result<Found, ToolError> {
    let found = match nas.call(vm::Containers, Query::all()).await {
        Ok(all) => all.into_iter().find(|one| one.name == name).map(|one| Found {
            handle: Handle::Container(one.id),
            reaches: reaches(&one),
            unseen: None,
            facts: json!([one.id, one.uuid, one.name, one.dataset]),
            state: one.status.map(|status| status.state).unwrap_or_default(),
        }),
        Err(NasError::NoSuchMethod { .. }) => {
            let all = nas.call(vm::Instances, Query::all()).await?;
            all.into_iter().find(|one| one.name == name).map(|one| Found {
                reaches: (one.privileged_mode == Some(true)).then(|| ROOT.to_owned()).into_iter().collect(),
                unseen: Some("what it has of the NAS: this version tells that only in its web interface"),
                facts: json!([one.id, one.name, one.kind, one.storage_pool]),
                handle: Handle::Instance(one.id),
                state: one.status.unwrap_or_default(),
            })
        }
        Err(error) => return Err(error.into()),
    };
    found.ok_or_else(|| {
        let what = format!("There is no container {}.", foreign(name, 100));
        ToolError::inapplicable(what, "containers_list shows which there are; app_control is for apps.")
    })
}

const ROOT: &str = "Who is root in it is root of the NAS.";

/// What a container could do to the NAS. From 26 on; before, the NAS keeps its devices elsewhere.
fn reaches(one: &vm::Container) -> Vec<String> {
    let mut reaches = Vec::new();
    if one.idmap.is_none() {
        reaches.push(ROOT.to_owned());
    }
    if one.capabilities_policy.as_deref() == Some("ALLOW") {
        reaches.push("It has all rights that a program can have.".to_owned());
    }
    reaches.extend(one.devices.iter().filter_map(|device| {
        let vm::Attributes { source, pci_address, device, .. } = &device.attributes;
        let folder = source
            .as_ref()
            .map(|folder| format!("It could change and delete everything in {}.", foreign(folder, 200)));
        let device = pci_address.as_ref().or(device.as_ref());
        folder.or_else(|| {
            device.map(|device| format!("It has the device {} of the NAS.", foreign(device, 100)))
        })
    }));
    reaches
}

/// From 26 on. A stop and a start would do it, and are not made as one: a plan is one intent, one call and one outcome. The
/// stop is a job that may take as long as its timeout, or fail; were the daemon to end in between, or the job to be lost from
/// sight, the one record of both would say neither that it was restarted nor that it stands still, and nobody would
/// start it again. As two plans, each of them is known, and what comes between is seen by whoever plans the second.
fn no_restart() -> ToolError {
    ToolError::inapplicable(
        "This version of TrueNAS has no way to restart a container.",
        "Plan a stop. When plan_wait tells that it is done, plan a start. A person approves each.",
    )
}

impl Change for ContainerControl {
    const NAME: &'static str = "container_control";
    const TITLE: &'static str = "Start, stop or restart a container";
    const DESCRIPTION: &'static str =
        "Starts a container that is no app, or has it shut down or start again. It is never cut off.";
    const SCOPE: Scope = Scope::VmsWrite;
    /// Also to start one: what it does and what address it takes nobody here has judged.
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![vm::Containers, vm::Instances, vm::Births];
    const NEEDS: &'static [Need] = needs![
        vm::ContainerStart,
        vm::ContainerStop,
        vm::InstanceStart,
        vm::InstanceStop,
        vm::InstanceRestart
    ];
    const LOG: &'static [(&'static str, Log)] = &[("container", Log::Plain), ("action", Log::Plain)];
    type Args = ContainerArgs;

    fn target(args: &ContainerArgs) -> String {
        format!("container {}", foreign(&args.container, 100))
    }

    async fn plan(nas: &Session<'_, Read>, args: &ContainerArgs) -> Result<Draft, ToolError> {
        let ContainerArgs { container: name, action } = args;
        let Found { handle, state, mut facts, reaches, unseen: hidden } = container(nas, name).await?;
        let mut unseen = Vec::new();
        if let Handle::Instance(id) = &handle {
            let births = nas.call(vm::Births, vm::birth_of(id)).await?;
            let made = births.first().and_then(vm::Birth::at);
            if made.is_none() {
                unseen.push(
                    "whether it is still the same by then: the NAS does not tell when it was made".to_owned(),
                );
            }
            facts = json!([facts, made]);
        }
        let target = Self::target(args);
        let runs = state == "RUNNING";
        if runs == (*action == Action::Start) {
            let is = if runs { "runs already" } else { "does not run" };
            return Err(ToolError::inapplicable(
                format!("The {target} {is}."),
                "containers_list tells how each is.",
            ));
        }
        if let (Handle::Container(_), Action::Restart) = (&handle, action) {
            return Err(no_restart());
        }
        let call = |action: &str| Undo::call(Self::NAME, json!({ "container": name, "action": action }));
        let (verb, undo) = match action {
            Action::Start => ("Start", call("stop")),
            Action::Stop => ("Stop", call("start")),
            Action::Restart => {
                ("Restart", Undo::Words("nothing is left to take back once it runs again".to_owned()))
            }
        };
        let mut draft = Draft::new(
            format!("{verb} the {target}."),
            Self::RISK,
            undo,
            target.clone(),
            Fingerprint::of(&json!([facts, state, reaches])),
        );
        let after = if *action == Action::Stop { "STOPPED" } else { "RUNNING" };
        draft.changes.push(Alteration::new(target, Some(foreign(&state, 20)), Some(after.to_owned())));
        draft.unseen = unseen;
        let until = match action {
            Action::Start => {
                draft.unseen.extend(hidden.map(str::to_owned));
                let worst = if reaches.is_empty() { Self::RISK } else { Risk::Destructive };
                draft.warnings = reaches;
                return Ok(draft.at_least(worst));
            }
            Action::Stop => "it is started again",
            Action::Restart => "it is up again",
        };
        draft.stops.push(format!("Whoever uses it loses it until {until}."));
        draft
            .warnings
            .push("If its system does not shut down in time, it runs on, and the job fails.".to_owned());
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: ContainerArgs) -> Result<Done, ToolError> {
        let target = Self::target(&args);
        let handle = container(nas, &args.container).await?.handle;
        let job = match (handle, args.action) {
            (Handle::Container(id), Action::Start) => {
                nas.call(vm::ContainerStart, (id,)).await?;
                return Ok(Done::now(format!("Started the {target}.")));
            }
            (Handle::Container(id), Action::Stop) => nas.call(vm::ContainerStop, (id, vm::GENTLY)).await?,
            (Handle::Container(_), Action::Restart) => return Err(no_restart()),
            (Handle::Instance(id), Action::Start) => nas.call(vm::InstanceStart, (id,)).await?,
            (Handle::Instance(id), Action::Stop) => nas.call(vm::InstanceStop, (id, vm::PATIENTLY)).await?,
            (Handle::Instance(id), Action::Restart) => {
                nas.call(vm::InstanceRestart, (id, vm::PATIENTLY)).await?
            }
        };
        Ok(Done::begun(
            job,
            match args.action {
                Action::Start => format!("The NAS starts the {target}."),
                Action::Stop => format!("The NAS asks the {target} to shut down."),
                Action::Restart => format!("The NAS restarts the {target}."),
            },
        ))
    }
}

// boot_env_delete

struct BootEnvDelete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BootEnvArgs {
    /// Its name in `boot_env_list`.
    id: String,
}

impl Change for BootEnvDelete {
    const NAME: &'static str = "boot_env_delete";
    const TITLE: &'static str = "Delete a boot environment";
    const DESCRIPTION: &'static str = "Deletes an old system that could be started instead. Never the one \
        that runs or the one that starts next.";
    const SCOPE: Scope = Scope::SystemAdmin;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![boot::Environments];
    const NEEDS: &'static [Need] = needs![boot::Destroy];
    const LOG: &'static [(&'static str, Log)] = &[("id", Log::Plain)];
    type Args = BootEnvArgs;

    fn target(args: &BootEnvArgs) -> String {
        format!("boot environment {}", foreign(&args.id, 200))
    }

    async fn plan(nas: &Session<'_, Read>, args: &BootEnvArgs) -> Result<Draft, ToolError> {
        let all = nas.call(boot::Environments, boot::all()).await?;
        let Some(found) = all.iter().find(|environment| environment.id == args.id) else {
            let what = format!("There is no boot environment {}.", foreign(&args.id, 100));
            return Err(ToolError::inapplicable(what, "boot_env_list shows which there are."));
        };
        let name = foreign(&found.id, 100);
        // What is not told is taken for the worse.
        if found.active != Some(false) || found.activated != Some(false) {
            return Err(ToolError::inapplicable(
                format!("{name} runs, or is the one that starts next."),
                "Only one that is neither can be deleted.",
            ));
        }
        let left = all.iter().filter(|one| one.id != found.id && one.active == Some(false)).count();
        let mut draft = Draft::new(
            format!("Delete the boot environment {name}."),
            Self::RISK,
            Undo::Impossible("a boot environment that is deleted is gone".to_owned()),
            "boot environments",
            Fingerprint::of(&json!([found.id, found.created.map(|at| time(at.0)), found.keep])),
        );
        let holds = found.used_bytes.map_or_else(|| "?".to_owned(), size);
        let made = found.created.map_or_else(String::new, |at| format!(", made {}", time(at.0)));
        draft.changes.push(Alteration::new(
            format!("boot environment {name}"),
            Some(format!("{holds}{made}")),
            None,
        ));
        draft.bytes = found.used_bytes;
        if found.keep == Some(true) {
            draft.warnings.push("Somebody marked it to be kept.".to_owned());
        }
        if left == 0 {
            draft.warnings.push("It is the only one that one could go back to.".to_owned());
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: BootEnvArgs) -> Result<Done, ToolError> {
        let done = format!("Deleted the boot environment {}.", foreign(&args.id, 100));
        nas.call(boot::Destroy, (boot::Named { id: args.id },)).await?;
        Ok(Done::now(done))
    }
}
