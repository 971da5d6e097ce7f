//! Changes of the system itself: an update that is downloaded, the directory read anew.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::domain::access::{Read, Write};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::{directory, system, update};

use super::render::foreign;
use super::{Change, Done, Entry, Log, Need, Nothing, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::change::<UpdateDownload>(), Entry::change::<DirectoryRefresh>()]
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
