//! Bringing apps to other versions, and deleting them.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::AppName;
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::app::change;
use crate::nas::methods::{app, file};

use super::super::render::foreign;
use super::super::seen::Seen;
use super::super::{Change, Done, Entry, Log, Need, ToolError, needs};
use super::deploy::{as_set_up, word};
use super::{find, identity, inapplicable};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<Upgrade>(),
        Entry::change::<Rollback>(),
        Entry::change::<PullImages>(),
        Entry::change::<Delete>(),
    ]
}

/// Lines of the makers' own account of what is new.
const LINES: usize = 12;

const fn yes() -> bool {
    true
}

fn subject(name: &AppName) -> String {
    format!("app {name}")
}

fn version_of(app: &app::App) -> Option<String> {
    app.version.as_deref().map(|version| foreign(version, 60))
}

fn interrupted() -> String {
    "Whoever uses it loses it for as long as that takes.".to_owned()
}

/// The NAS tells what the makers of the chart that is there give it, and not what those of another one do.
fn of_another_chart(to: &str) -> String {
    format!(
        "what the makers of {to} give it of the NAS, if that is more than those of the chart it has now do"
    )
}

// app_upgrade

struct Upgrade;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpgradeArgs {
    /// The app.
    app: AppName,
    /// Chart, as `app_upgrade_summary` names it. Default: the newest.
    #[serde(default)]
    version: Option<String>,
    /// Take snapshots of the datasets that are mounted into it. Default: yes.
    #[serde(default = "yes")]
    snapshot_host_paths: bool,
}

impl Change for Upgrade {
    const NAME: &'static str = "app_upgrade";
    const TITLE: &'static str = "Upgrade an app";
    const DESCRIPTION: &'static str = "Brings an app to a newer chart, after snapshots of what is mounted into it. The plan says what is new.";
    const SCOPE: Scope = Scope::AppsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] =
        needs![app::Apps, app::UpgradeSummary, app::Config, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![change::Upgrade];
    const LOG: &'static [(&'static str, Log)] =
        &[("app", Log::Plain), ("version", Log::Plain), ("snapshot_host_paths", Log::Plain)];
    type Args = UpgradeArgs;

    fn target(args: &UpgradeArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &UpgradeArgs) -> Result<Draft, ToolError> {
        let UpgradeArgs { app: name, version, snapshot_host_paths } = args;
        let found = find(nas, name).await?;
        // Where nothing is newer the NAS answers with an error.
        if found.upgrade_available != Some(true) {
            let what = format!("There is no newer chart for {name}.");
            return Err(inapplicable(
                what,
                "app_pull_images gets newer images of the same names, if there are any.",
            ));
        }
        let summary = nas.call(app::UpgradeSummary, (name.clone(),)).await?;
        let newest = summary.upgrade_version.as_deref().map(|version| foreign(version, 60));
        let to = match version {
            Some(version) => {
                let wanted = word("version", version)?;
                let known =
                    summary.available_versions_for_upgrade.iter().any(|choice| choice.version == wanted);
                if !known && newest.as_ref() != Some(&wanted) {
                    let what = format!("{name} cannot be upgraded to {wanted}.");
                    return Err(inapplicable(what, "app_upgrade_summary tells to which versions it can."));
                }
                wanted
            }
            None => newest.clone().unwrap_or_else(|| "the newest".to_owned()),
        };
        let before = version_of(&found);
        let undo = match &before {
            Some(before) => Undo::call("app_rollback", json!({ "app": name, "version": before })),
            None => Undo::Words("app_rollback, to the version before".to_owned()),
        };
        let mut draft = Draft::new(
            format!("Upgrade {name} from {} to {to}.", before.as_deref().unwrap_or("an unknown version")),
            Self::RISK,
            undo,
            subject(name),
            Fingerprint::of(&json!([identity(&found), newest])),
        );
        draft.unseen.push(of_another_chart(&to));
        draft.changes.push(Alteration::new(format!("version of {name}"), before, Some(to)));
        draft.stops.push(interrupted());
        draft.warnings.push(
            "A newer program may change its data so that the older one cannot read it: going back brings back the \
             program and not the data."
                .to_owned(),
        );
        draft.warnings.push(if *snapshot_host_paths {
            "Snapshots are taken of the datasets that are mounted into it.".to_owned()
        } else {
            "No snapshots are taken of what is mounted into it.".to_owned()
        });
        let changelog = summary.changelog.unwrap_or_default();
        let lines = changelog.lines().map(|line| foreign(line, 200)).filter(|line| !line.is_empty());
        draft
            .warnings
            .extend(lines.take(LINES).map(|line| format!("Its makers say of what is new: \"{line}\"")));
        // It is another program that has all of this from then on.
        as_set_up(nas, &found, name, draft).await
    }

    async fn run(nas: &Session<'_, Write>, args: UpgradeArgs) -> Result<Done, ToolError> {
        let UpgradeArgs { app: name, version, snapshot_host_paths } = args;
        // The newest is the one that was planned: a moment ago it still was.
        let to = change::UpgradeTo {
            app_version: word("version", version.as_deref().unwrap_or("latest"))?,
            snapshot_hostpaths: snapshot_host_paths,
        };
        let job = nas.call(change::Upgrade, (name.clone(), to)).await?;
        Ok(Done::begun(job, format!("The NAS is about to upgrade {name}.")))
    }
}

// app_rollback

struct Rollback;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollbackArgs {
    /// The app.
    app: AppName,
    /// Chart to go back to.
    version: String,
    /// Take its own volumes back to what they were then; all later data in them is lost. Default: no.
    #[serde(default)]
    with_volumes: bool,
}

impl Change for Rollback {
    const NAME: &'static str = "app_rollback";
    const TITLE: &'static str = "Bring an app back to an older version";
    const DESCRIPTION: &'static str =
        "Brings an app back to a chart it had before. Its data stays, unless its own volumes go back too.";
    const SCOPE: Scope = Scope::AppsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] =
        needs![app::Apps, change::RollbackVersions, app::Config, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![change::Rollback];
    const LOG: &'static [(&'static str, Log)] =
        &[("app", Log::Plain), ("version", Log::Plain), ("with_volumes", Log::Plain)];
    type Args = RollbackArgs;

    fn target(args: &RollbackArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &RollbackArgs) -> Result<Draft, ToolError> {
        let RollbackArgs { app: name, version, with_volumes } = args;
        let to = word("version", version)?;
        let found = find(nas, name).await?;
        let versions = nas.call(change::RollbackVersions, (name.clone(),)).await?;
        if !versions.contains(&to) {
            let there: Vec<_> = versions.iter().take(20).map(|version| foreign(version, 40)).collect();
            let hint = if there.is_empty() {
                "There is no version that it could go back to.".to_owned()
            } else {
                format!("It can go back to {}.", there.join(", "))
            };
            return Err(inapplicable(format!("{name} cannot go back to {to}."), &hint));
        }
        let before = version_of(&found);
        let undo = match (&before, with_volumes) {
            (_, true) => Undo::Impossible("what was written to its volumes since then is lost".to_owned()),
            (Some(before), false) => Undo::call("app_upgrade", json!({ "app": name, "version": before })),
            (None, false) => Undo::Words("app_upgrade brings it to the newest version".to_owned()),
        };
        let data = if *with_volumes { ", and its own volumes with it" } else { "" };
        let mut draft = Draft::new(
            format!(
                "Bring {name} back from {} to {to}{data}.",
                before.as_deref().unwrap_or("an unknown version")
            ),
            Self::RISK,
            undo,
            subject(name),
            Fingerprint::of(&identity(&found)),
        );
        draft.unseen.push(of_another_chart(&to));
        draft.changes.push(Alteration::new(format!("version of {name}"), before, Some(to)));
        draft.stops.push(interrupted());
        if *with_volumes {
            draft
                .warnings
                .push("Everything that it wrote to its own volumes since that version is lost.".to_owned());
            draft = draft.at_least(Risk::Destructive);
        } else {
            draft
                .warnings
                .push("An older program may not be able to read what a newer one wrote.".to_owned());
        }
        as_set_up(nas, &found, name, draft).await
    }

    async fn run(nas: &Session<'_, Write>, args: RollbackArgs) -> Result<Done, ToolError> {
        let RollbackArgs { app: name, version, with_volumes } = args;
        let to =
            change::RollBackTo { app_version: word("version", &version)?, rollback_snapshot: with_volumes };
        let job = nas.call(change::Rollback, (name.clone(), to)).await?;
        Ok(Done::begun(job, format!("The NAS is about to bring {name} back to {version}.")))
    }
}

// app_pull_images

struct PullImages;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PullArgs {
    /// The app.
    app: AppName,
    /// Make its containers anew from them at once. Default: yes.
    #[serde(default = "yes")]
    redeploy: bool,
}

impl Change for PullImages {
    const NAME: &'static str = "app_pull_images";
    const TITLE: &'static str = "Get newer images of an app";
    const DESCRIPTION: &'static str =
        "Gets the newest images of the names that an app uses and makes its containers anew.";
    const SCOPE: Scope = Scope::AppsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] =
        needs![app::Apps, app::OutdatedImages, app::Config, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![change::PullImages];
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("redeploy", Log::Plain)];
    type Args = PullArgs;

    fn target(args: &PullArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &PullArgs) -> Result<Draft, ToolError> {
        let PullArgs { app: name, redeploy } = args;
        let found = find(nas, name).await?;
        let outdated = nas.call(app::OutdatedImages, (name.clone(),)).await?;
        let why =
            "the older image has no name any more once there is a newer one of the same name".to_owned();
        let then = if *redeploy { "and make its containers anew from them" } else { "for its next start" };
        let mut draft = Draft::new(
            format!("Get the newest images of {name} {then}."),
            Self::RISK,
            Undo::Impossible(why),
            subject(name),
            Fingerprint::of(&json!([identity(&found), outdated])),
        );
        for image in outdated.iter().take(20) {
            let newer = Some("the newest of that name".to_owned());
            draft.changes.push(Alteration::new(
                format!("image {}", foreign(image, 120)),
                Some("an older one".to_owned()),
                newer,
            ));
        }
        if outdated.is_empty() {
            draft
                .warnings
                .push("The NAS knows of no newer images; it may not have looked lately.".to_owned());
        }
        if *redeploy {
            draft.stops.push(interrupted());
        }
        // Also where it is not made anew at once: whoever restarts it later lets the new program run, and is told nothing.
        as_set_up(nas, &found, name, draft).await
    }

    async fn run(nas: &Session<'_, Write>, args: PullArgs) -> Result<Done, ToolError> {
        let PullArgs { app: name, redeploy } = args;
        let job = nas.call(change::PullImages, (name.clone(), change::Pulled { redeploy })).await?;
        Ok(Done::begun(job, format!("The NAS is about to get the newest images of {name}.")))
    }
}

// app_delete

/// Whether what is mounted is a volume of Docker's own, or nothing that stays.
fn is_dockers(volume: &app::Volume) -> bool {
    volume.kind.as_deref().map_or(!volume.source.starts_with('/'), |kind| kind != "bind")
}

/// The volumes of Docker that go with an app: those of what runs of it, and those that its Compose file declares.
fn volumes_lost(name: &AppName, app: &app::App, config: &Map<String, Value>) -> BTreeSet<String> {
    let running = app.active_workloads.volumes.iter().filter(|one| is_dockers(one) && !one.source.is_empty());
    // Docker keeps a volume in a folder of its name.
    let running = running.map(|one| {
        let folder = one.source.strip_suffix("/_data").and_then(|path| path.rsplit('/').next());
        folder.unwrap_or(&one.source).to_owned()
    });
    let declared = config.get("volumes").filter(|_| app.custom_app == Some(true)).and_then(Value::as_object);
    let declared = declared.into_iter().flatten().filter(|(_, volume)| {
        // One that is another's stays.
        volume.get("external").is_none_or(|external| *external == Value::Bool(false))
    });
    let declared = declared.map(|(key, volume)| match volume.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => format!("ix-{name}_{key}"),
    });
    running.chain(declared).map(|volume| foreign(&volume, 120)).collect()
}

/// These volumes, for the end of a sentence.
fn with_volumes(lost: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let named = lost.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match lost.len() {
        0 => String::new(),
        1 => format!(" and the Docker volume {named} with all that is in it"),
        all if all <= SHOWN => format!(" and {all} Docker volumes with all that is in them: {named}"),
        all => {
            format!(" and {all} Docker volumes with all that is in them: {named} and {} more", all - SHOWN)
        }
    }
}

struct Delete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteArgs {
    /// The app.
    app: AppName,
    /// Images that nothing else uses too. Default: no.
    #[serde(default)]
    remove_images: bool,
}

impl Change for Delete {
    const NAME: &'static str = "app_delete";
    const TITLE: &'static str = "Delete an app";
    const DESCRIPTION: &'static str = "Deletes an app with its settings and Docker volumes. ix volumes and mounted datasets stay; the plan names them.";
    const SCOPE: Scope = Scope::AppsDestroy;
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![app::Apps, app::Config, change::IxVolumes];
    const NEEDS: &'static [Need] = needs![change::Delete];
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("remove_images", Log::Plain)];
    type Args = DeleteArgs;

    fn target(args: &DeleteArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &DeleteArgs) -> Result<Draft, ToolError> {
        let DeleteArgs { app: name, remove_images } = args;
        let found = find(nas, name).await?;
        let mut seen = Seen::default();
        let config = seen.or_default("its settings", nas.call(app::Config, (name.clone(),)).await)?;
        let kept = nas.call(change::IxVolumes, change::volumes_of(name)).await?;
        let kept: Vec<_> = kept.iter().map(|volume| foreign(&volume.name, 60)).collect();
        let volumes = &found.active_workloads.volumes;
        let mounted = volumes.iter().filter(|one| !is_dockers(one)).map(|one| foreign(&one.source, 200));
        let mounted: BTreeSet<_> = mounted.collect();
        let lost = volumes_lost(name, &found, &config);
        let why =
            "its settings and its Docker volumes go with it; installed again, it begins with what stays"
                .to_owned();
        let mut draft = Draft::new(
            format!("Delete the app {name}, with its settings{}.", with_volumes(&lost)),
            Self::RISK,
            Undo::Impossible(why),
            subject(name),
            Fingerprint::of(&json!([identity(&found), config, kept, mounted, lost])),
        );
        draft.unseen = seen.not;
        let is = found.state.as_str();
        draft.changes.push(Alteration::new(format!("app {name}"), Some(foreign(is, 20)), None));
        let gone = |volume: &String| {
            Alteration::new(format!("Docker volume {volume}"), Some("there, with its data".to_owned()), None)
        };
        draft.changes.extend(lost.iter().map(gone));
        if !lost.is_empty() {
            draft.warnings.push(
                "Docker volumes cannot be set aside: what is in them is gone at once and for good."
                    .to_owned(),
            );
            draft.unseen.push("how much is in its Docker volumes: the NAS does not tell".to_owned());
        }
        draft.stops.push("Whoever uses it loses it.".to_owned());
        draft.dependents =
            mounted.iter().map(|path| Dependent { kind: "mounted", name: path.clone() }).collect();
        draft.warnings.push(if kept.is_empty() {
            "The NAS keeps no ix volumes for it.".to_owned()
        } else {
            format!("What the NAS keeps for it stays: the ix volumes {}.", kept.join(", "))
        });
        if !mounted.is_empty() {
            let mounted: Vec<_> = mounted.into_iter().collect();
            draft.warnings.push(format!("What is mounted into it stays: {}.", mounted.join(", ")));
        }
        if volumes.is_empty() {
            let what = "what is mounted into it, and Docker volumes that no Compose file of its own names: the NAS tells only \
                        of what runs";
            draft.unseen.push(what.to_owned());
        }
        if found.active_workloads.container_details.is_empty() {
            draft.unseen.push(
                "whether it is still the same by then: nothing tells an app without containers from one that is made \
                 again under its name and set up alike"
                    .to_owned(),
            );
        }
        if *remove_images {
            draft.warnings.push("Its images go too, where nothing else uses them.".to_owned());
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: DeleteArgs) -> Result<Done, ToolError> {
        let DeleteArgs { app: name, remove_images } = args;
        let job = nas.call(change::Delete, (name.clone(), change::Remove::app(remove_images))).await?;
        Ok(Done::begun(job, format!("The NAS is about to delete {name}.")))
    }
}
