//! Changes of the system itself: an update that is downloaded, the directory read anew, a restart.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::domain::access::{Read, Write};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::{app, boot, client, dataset, directory, job, pool, system, update, vm};
use crate::nas::{By, Session};

use super::render::{foreign, time};
use super::seen::Seen;
use super::users_of::{named, users};
use super::{Change, Done, Entry, Log, Need, Nothing, Switch, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::change::<UpdateDownload>(), Entry::change::<DirectoryRefresh>(), Entry::change::<Reboot>()]
}

// update_download

struct UpdateDownload;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DownloadArgs {
    /// The one that `update_check` offers.
    version: String,
}

impl Change for UpdateDownload {
    const NAME: &'static str = "update_download";
    const TITLE: &'static str = "Download an update";
    const DESCRIPTION: &'static str = "Downloads the update that the NAS offers. Nothing is installed by it.";
    const SCOPE: Scope = Scope::SystemAdmin;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![update::Check, system::Info];
    const NEEDS: &'static [Need] = needs![update::Download];
    const LOG: &'static [(&'static str, Log)] = &[("version", Log::Plain)];
    type Args = DownloadArgs;

    fn target(args: &DownloadArgs) -> String {
        format!("update {}", foreign(&args.version, 60))
    }

    async fn plan(nas: &Session<'_, Read>, args: &DownloadArgs) -> Result<Draft, ToolError> {
        let offered = nas.call(update::Check, []).await?;
        if let Some(error) = &offered.error {
            let why = error.reason.as_deref().or(error.errname.as_deref()).unwrap_or("it does not say why");
            return Err(ToolError::inapplicable(
                format!("The NAS could not look for updates: {}.", foreign(why, 200).trim_end_matches('.')),
                "Does it reach the internet? Then try again.",
            ));
        }
        let target = Self::target(args);
        let Some(new) = offered.new_version().filter(|new| new.version == args.version) else {
            return Err(ToolError::inapplicable(
                format!("The NAS does not offer the {target}."),
                "update_check tells what it offers.",
            ));
        };
        let runs = nas.call(system::Info, []).await?.version;
        let mut draft = Draft::new(
            format!("Download the {target}."),
            Self::RISK,
            Undo::Words(
                "nothing runs by it: it lies there until it is installed or another takes its place"
                    .to_owned(),
            ),
            "updates",
            Fingerprint::of(&json!([new.version, offered.train(), runs])),
        );
        draft.changes.push(Alteration::new(
            target,
            Some(format!("on offer; {} runs", foreign(&runs, 60))),
            Some("downloaded, not installed".to_owned()),
        ));
        draft.warnings.push("The NAS takes what it offers when the download begins.".to_owned());
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: DownloadArgs) -> Result<Done, ToolError> {
        let target = Self::target(&args);
        let job = nas.call(update::Download, []).await?;
        Ok(Done::begun(job, format!("The NAS downloads the {target}.")))
    }
}

// directory_refresh

struct DirectoryRefresh;

impl Change for DirectoryRefresh {
    const NAME: &'static str = "directory_refresh";
    const TITLE: &'static str = "Read the directory anew";
    const DESCRIPTION: &'static str = "Has the NAS read the users and groups of its directory anew.";
    const SCOPE: Scope = Scope::SystemAdmin;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![directory::State];
    const NEEDS: &'static [Need] = needs![directory::Refresh];
    const LOG: &'static [(&'static str, Log)] = &[];
    type Args = Nothing;

    fn target(_: &Nothing) -> String {
        "directory".to_owned()
    }

    async fn plan(nas: &Session<'_, Read>, args: &Nothing) -> Result<Draft, ToolError> {
        let state = nas.call(directory::State, []).await?;
        let Some(kind) = state.kind.map(|kind| foreign(&kind, 20)) else {
            return Err(ToolError::inapplicable(
                "The NAS takes no users from a directory.",
                "users_list has those it knows itself.",
            ));
        };
        let status = foreign(state.status.as_deref().unwrap_or("?"), 20);
        if status != "HEALTHY" {
            return Err(ToolError::inapplicable(
                format!("The directory ({kind}) is {status}, and cannot be read."),
                "directory_status tells more.",
            ));
        }
        let mut draft = Draft::new(
            format!("Read the users and groups of the directory ({kind}) anew."),
            Self::RISK,
            Undo::Words(
                "nothing is left to take back: what is kept of the directory is what it says".to_owned(),
            ),
            Self::target(args),
            Fingerprint::of(&json!([kind, status])),
        );
        draft.changes.push(Alteration::new(
            "users and groups of the directory",
            Some("as they were read last".to_owned()),
            Some("as the directory has them".to_owned()),
        ));
        draft.warnings.push("Until it is done, lists of users and groups may lack some of them.".to_owned());
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, _: Nothing) -> Result<Done, ToolError> {
        let job = nas.call(directory::Refresh, []).await?;
        Ok(Done::begun(job, "The NAS reads its directory anew."))
    }
}

// reboot

struct Reboot;

/// What runs on the NAS by itself, as [`users`] calls it.
const STAYS: [&str; 3] = ["virtual machine", "container", "app"];

/// What the NAS writes down as the reason. The true one is in our log, and is not the NAS's business.
const REASON: &str = "agreed to by a person through tailnas";

impl Change for Reboot {
    const NAME: &'static str = "reboot";
    const TITLE: &'static str = "Restart the NAS";
    const DESCRIPTION: &'static str = "Restarts the NAS. The plan says whom and what that hits.";
    const SCOPE: Scope = Scope::SystemAdmin;
    // What clients and apps have not written when it goes down is lost.
    const RISK: Risk = Risk::Destructive;
    const LOOKS: &'static [Need] = needs![
        system::Info,
        boot::Environments,
        pool::Pools,
        dataset::Datasets,
        job::Jobs,
        client::Smb,
        client::Nfs4,
        client::Nfs3,
        client::Iscsi,
        vm::Machines,
        vm::Containers,
        vm::Instances,
        app::Brief
    ];
    const NEEDS: &'static [Need] = needs![system::Reboot];
    // It sees the jobs of everybody, who all would be hit.
    const LOOKS_BY: By = By::Maintenance;
    const DONE_BY: By = By::Maintenance;
    const SWITCH: Option<Switch> = Some(Switch::Maintenance);
    const LOG: &'static [(&'static str, Log)] = &[];
    type Args = Nothing;

    fn target(_: &Nothing) -> String {
        "the NAS".to_owned()
    }

    async fn plan(nas: &Session<'_, Read>, args: &Nothing) -> Result<Draft, ToolError> {
        let info = nas.call(system::Info, []).await?;
        let runs = foreign(&info.version, 60);
        let mut unseen = Seen::default();
        let environments = nas.call(boot::Environments, boot::all()).await;
        let environments = unseen.or_default("what it starts next", environments)?;
        let next = environments.iter().find(|one| one.activated == Some(true));
        let other = next.filter(|next| next.active == Some(false)).map(|next| foreign(&next.id, 60));
        let pools = nas.call(pool::Pools, pool::all()).await?;
        let hit = users(nas, &mut unseen).await?;
        let locked = nas.call(dataset::Datasets, dataset::all()).await;
        let locked = unseen.or_default("encrypted datasets", locked)?;
        let open =
            locked.iter().filter(|one| one.encrypted == Some(true) && one.locked != Some(true)).count();

        // Who works at it comes and goes by the minute; what runs on it, and what it starts into, is what was agreed to.
        let mut stays: Vec<_> =
            hit.iter().filter(|one| STAYS.contains(&one.about())).map(ToString::to_string).collect();
        stays.sort();
        let scans: Vec<_> = pools.iter().filter_map(|pool| Some((pool, pool.scan.as_ref()?))).collect();
        let scans: Vec<_> =
            scans.into_iter().filter(|(_, scan)| scan.state.as_deref() == Some("SCANNING")).collect();
        let scanned = scans.iter().map(|(pool, scan)| json!([pool.guid, scan.function]));
        let booted = info.boottime.map(|at| time(at.0));
        let facts = json!([
            info.hostname,
            booted,
            info.version,
            other,
            stays,
            scanned.collect::<Vec<_>>(),
            pools.iter().map(|pool| json!([pool.guid, pool.status])).collect::<Vec<_>>(),
        ]);
        let host = foreign(info.hostname.as_deref().unwrap_or("the NAS"), 60);
        let next_one = other.as_ref().map_or_else(String::new, |other| format!(" It starts into {other}."));
        let mut draft = Draft::new(
            format!("Restart {host}, which runs {runs}.{next_one}"),
            Self::RISK,
            Undo::Impossible("whom it interrupts is interrupted".to_owned()),
            Self::target(args),
            Fingerprint::of(&facts),
        );
        let since = booted.map_or_else(String::new, |at| format!(", up since {at}"));
        let after = other.unwrap_or_else(|| runs.clone());
        draft.changes.push(Alteration::new(
            host,
            Some(format!("{runs}{since}")),
            Some(format!("{after}, started anew")),
        ));
        draft.stops.push("Everything that uses the NAS loses it until it is up again.".to_owned());
        draft.stops.extend(named(&hit));
        draft
            .warnings
            .push("What clients, apps and machines have not written when it goes down is lost.".to_owned());
        draft.warnings.push("If it does not come up again, somebody must be there to see why.".to_owned());
        for (pool, scan) in scans {
            let (name, kind) = (foreign(&pool.name, 60), scan.function.as_deref().unwrap_or("scan"));
            draft.warnings.push(match kind {
                "RESILVER" => format!(
                    "A resilver of {name} runs. It goes on afterwards; until it is through, the pool lacks redundancy."
                ),
                kind => format!("A {} of {name} runs, and goes on afterwards.", foreign(kind, 20).to_lowercase()),
            });
        }
        for pool in pools.iter().filter(|pool| pool.status != "ONLINE") {
            let (name, status) = (foreign(&pool.name, 60), foreign(&pool.status, 20));
            draft
                .warnings
                .push(format!("The pool {name} is {status}: a disk that is failing may not come back."));
        }
        if open > 0 {
            draft.warnings.push(format!(
                "{open} encrypted datasets are open. Those with a passphrase stay locked afterwards until somebody gives it."
            ));
        }
        draft.unseen = unseen.not;
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, _: Nothing) -> Result<Done, ToolError> {
        nas.call(system::Reboot, (REASON.to_owned(), system::IN_TEN_SECONDS)).await?;
        // Its job ends with the machine, and nobody hears how.
        Ok(Done::now(
            "The NAS restarts in 10 s. It is away until it is up again, and tailnas comes back by itself.",
        ))
    }
}
