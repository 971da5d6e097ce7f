//! Starting and stopping services and apps, and putting alerts aside.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::domain::access::{Read, Write};
use crate::domain::name::AppName;
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::query::Query;
use crate::nas::methods::{alert, app, client, file, service, share};

use super::apps::{as_set_up, identity};
use super::render::{capital, foreign};
use super::seen::Seen;
use super::users_of::{clients_of, named};
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<ServiceControl>(),
        Entry::change::<AppControl>(),
        Entry::change::<AlertDismiss>(),
        Entry::change::<AlertRestore>(),
    ]
}

fn inapplicable(what: String, hint: &str) -> ToolError {
    ToolError::Inapplicable { what, hint: hint.to_owned() }
}

// service_control

struct ServiceControl;

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    Start,
    Stop,
    Restart,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start => "Started",
            Self::Stop => "Stopped",
            Self::Restart => "Restarted",
        }
    }

    /// What takes it back.
    const fn opposite(self) -> Option<Self> {
        match self {
            Self::Start => Some(Self::Stop),
            Self::Stop => Some(Self::Start),
            Self::Restart => None,
        }
    }

    /// Starting something makes it reachable; stopping interrupts whoever uses it.
    fn fits(self, runs: bool, what: &str) -> Result<(), ToolError> {
        let (is, hint) = match (self, runs) {
            (Self::Start, true) => ("runs already", "Restart it if that is what is wanted."),
            (Self::Stop, false) => ("does not run", "There is nothing to stop."),
            (Self::Restart, false) => ("does not run", "Start it instead."),
            _ => return Ok(()),
        };
        Err(inapplicable(format!("{what} {is}."), hint))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceArgs {
    /// Its name, such as cifs.
    service: String,
    /// What to do.
    action: Action,
}

impl Change for ServiceControl {
    const NAME: &'static str = "service_control";
    const TITLE: &'static str = "Start, stop or restart a service";
    const DESCRIPTION: &'static str = "Starts, stops or restarts a service such as SMB (cifs) or NFS. Who uses it is interrupted; whether it starts at boot stays.";
    const SCOPE: Scope = Scope::ServicesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        service::Services,
        share::SmbShares,
        share::NfsShares,
        client::Smb,
        client::Nfs4,
        client::Nfs3,
        client::Iscsi
    ];
    const NEEDS: &'static [Need] =
        needs![service::Control, service::OldStart, service::OldStop, service::OldRestart];
    const LOG: &'static [(&'static str, Log)] = &[("service", Log::Plain), ("action", Log::Plain)];
    type Args = ServiceArgs;

    fn target(args: &ServiceArgs) -> String {
        args.service.clone()
    }

    async fn plan(nas: &Session<'_, Read>, args: &ServiceArgs) -> Result<Draft, ToolError> {
        let ServiceArgs { service: name, action } = args;
        let services = nas.call(service::Services, service::all()).await?;
        let Some(found) = services.iter().find(|service| service.service == *name) else {
            let what = format!("There is no service {}.", foreign(name, 40));
            return Err(inapplicable(what, "services_list shows which there are."));
        };
        let runs = found.state.as_deref() == Some("RUNNING");
        action.fits(runs, name)?;
        // What is known to hang on it, where we know.
        let enabled = |on: Option<bool>| on.unwrap_or(true);
        let mut dependents: Vec<Dependent> = match name.as_str() {
            "cifs" => {
                let shares = nas.call(share::SmbShares, Query::all()).await?;
                let served = shares.into_iter().filter(|share| enabled(share.enabled));
                served.map(|share| Dependent { kind: "SMB share", name: foreign(&share.name, 80) }).collect()
            }
            "nfs" => {
                let shares = nas.call(share::NfsShares, Query::all()).await?;
                let served = shares.into_iter().filter(|share| enabled(share.enabled));
                served.map(|share| Dependent { kind: "NFS share", name: foreign(&share.path, 120) }).collect()
            }
            _ => Vec::new(),
        };
        dependents.sort();
        let used = match dependents.len() {
            0 => String::new(),
            1 => " 1 share depends on it.".to_owned(),
            more => format!(" {more} shares depend on it."),
        };
        let undo = match action.opposite() {
            Some(opposite) => Undo::call(Self::NAME, json!({ "service": name, "action": opposite.word() })),
            None => Undo::Words("nothing is left to take back once it runs again".to_owned()),
        };
        let hangs: Vec<_> = dependents.iter().map(|dependent| &dependent.name).collect();
        let mut draft = Draft::new(
            format!("{} the service {name}.{used}", capital(action.word())),
            Self::RISK,
            undo,
            format!("service {name}"),
            Fingerprint::of(&json!([found.id, found.service, runs, hangs])),
        );
        let before = if runs { "runs" } else { "does not run" };
        let after = match action {
            Action::Start => "runs",
            Action::Stop => "does not run",
            Action::Restart => "runs, started anew",
        };
        draft.changes.push(Alteration::new(name.clone(), Some(before.to_owned()), Some(after.to_owned())));
        let interrupts = |how: &str| format!("Whoever uses it loses it {how}.");
        match action {
            Action::Start => {
                draft.warnings.extend(["What it serves can be reached again, or anew.".to_owned()]);
            }
            Action::Stop => draft.stops.extend([interrupts("until it is started again")]),
            Action::Restart => draft.stops.extend([interrupts("for a moment")]),
        }
        if *action != Action::Start {
            // They come and go by the minute, and are no part of what is agreed to.
            let mut seen = Seen::default();
            draft.stops.extend(named(&clients_of(nas, name, &mut seen).await?));
            draft.unseen = seen.not;
        }
        draft.dependents = dependents;
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: ServiceArgs) -> Result<Done, ToolError> {
        let ServiceArgs { service: name, action } = args;
        if nas.has(service::Control).await? {
            let verb = match action {
                Action::Start => service::Verb::Start,
                Action::Stop => service::Verb::Stop,
                Action::Restart => service::Verb::Restart,
            };
            let job = nas.call(service::Control, (verb, name.clone(), service::LOUD)).await?;
            return Ok(Done::begun(job, format!("The NAS is about to {} {name}.", action.word())));
        }
        let args = (name.clone(), service::LOUD);
        match action {
            Action::Start => nas.call(service::OldStart, args).await?,
            Action::Stop => nas.call(service::OldStop, args).await?,
            Action::Restart => nas.call(service::OldRestart, args).await?,
        };
        Ok(Done::now(format!("{} {name}.", action.done())))
    }
}

// app_control

struct AppControl;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AppArgs {
    /// Its name.
    app: AppName,
    /// What to do.
    action: Action,
}

impl Change for AppControl {
    const NAME: &'static str = "app_control";
    const TITLE: &'static str = "Start, stop or restart an app";
    const DESCRIPTION: &'static str = "Starts, stops or restarts (redeploys) an app. Its data stays.";
    const SCOPE: Scope = Scope::AppsWrite;
    /// One that reaches out of its containers once it runs is more.
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![app::Apps, app::Config, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![app::Start, app::Stop, app::Redeploy];
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("action", Log::Plain)];
    type Args = AppArgs;

    fn target(args: &AppArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &AppArgs) -> Result<Draft, ToolError> {
        let AppArgs { app: name, action } = args;
        let Some(found) = nas.call(app::Apps, app::one(name)).await?.pop() else {
            return Err(inapplicable(format!("There is no app {name}."), "apps_list shows which there are."));
        };
        let state = found.state.as_str();
        // One that crashed or hangs in between may be stopped and started, if a person says so.
        match state {
            "RUNNING" => action.fits(true, name.as_str())?,
            "STOPPED" => action.fits(false, name.as_str())?,
            _ => {}
        }
        let undo = match action.opposite() {
            Some(opposite) => Undo::call(Self::NAME, json!({ "app": name, "action": opposite.word() })),
            None => Undo::Words("nothing is left to take back once it runs again".to_owned()),
        };
        let mut draft = Draft::new(
            format!("{} the app {name}.", capital(action.word())),
            Self::RISK,
            undo,
            format!("app {name}"),
            Fingerprint::of(&json!([identity(&found), state])),
        );
        let after = match action {
            Action::Start => "RUNNING",
            Action::Stop => "STOPPED",
            Action::Restart => "RUNNING, in containers made anew",
        };
        draft.changes.push(Alteration::new(
            name.to_string(),
            Some(foreign(state, 20)),
            Some(after.to_owned()),
        ));
        let interrupted = match action {
            Action::Stop => Some("Whoever uses it loses it until it is started again."),
            Action::Restart => Some("Whoever uses it loses it for a moment."),
            // One container that crashed or is not up yet makes this the state of the app; the others run.
            Action::Start if state != "STOPPED" => Some(
                "What runs of it is cut off and made anew, also where it is at something that must not be interrupted, as \
                 after an upgrade.",
            ),
            Action::Start => None,
        };
        if let Some(interrupted) = interrupted {
            draft.stops.push(interrupted.to_owned());
            draft = draft.at_least(Risk::Disruptive);
        }
        // What runs already reaches nothing anew.
        if *action == Action::Start || *action == Action::Restart && state != "RUNNING" {
            draft = as_set_up(nas, &found, name, draft).await?;
        }
        Ok(draft)
    }

    async fn run(nas: &Session<'_, Write>, args: AppArgs) -> Result<Done, ToolError> {
        let AppArgs { app: name, action } = args;
        let args = (name.clone(),);
        let job = match action {
            Action::Start => nas.call(app::Start, args).await?,
            Action::Stop => nas.call(app::Stop, args).await?,
            Action::Restart => nas.call(app::Redeploy, args).await?,
        };
        Ok(Done::begun(job, format!("The NAS is about to {} {name}.", action.word())))
    }
}

// alert_dismiss, alert_restore

struct AlertDismiss;
struct AlertRestore;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AlertArgs {
    /// Its id in `alerts_list`.
    uuid: String,
}

/// A change of an alert: which of the two tools, and what takes it back.
async fn plan_alert(
    nas: &Session<'_, Read>,
    AlertArgs { uuid }: &AlertArgs,
    dismiss: bool,
) -> Result<Draft, ToolError> {
    let alerts = nas.call(alert::Alerts, []).await?;
    let Some(found) = alerts.into_iter().find(|alert| alert.uuid == *uuid) else {
        let what = format!("There is no alert {}.", foreign(uuid, 40));
        return Err(inapplicable(what, "alerts_list shows which there are."));
    };
    let dismissed = found.dismissed.unwrap_or(false);
    if dismissed == dismiss {
        let is = if dismiss { "is put aside already" } else { "was not put aside" };
        return Err(inapplicable(format!("The alert {is}."), "There is nothing to do."));
    }
    let said = foreign(found.formatted.as_deref().or(found.text.as_deref()).unwrap_or(&found.klass), 200);
    let (verb, back) = if dismiss { ("Put aside", "alert_restore") } else { ("Bring back", "alert_dismiss") };
    let mut draft = Draft::new(
        format!("{verb} the alert {}.", foreign(&found.klass, 60)),
        Risk::Reversible,
        Undo::call(back, json!({ "uuid": uuid })),
        format!("alert {uuid}"),
        Fingerprint::of(&json!([found.uuid, found.klass, dismissed])),
    );
    let shown = |dismissed: bool| Some(if dismissed { "put aside" } else { "shown" }.to_owned());
    draft.changes.push(Alteration::new(format!("alert \"{said}\""), shown(dismissed), shown(dismiss)));
    if dismiss {
        draft.warnings.push("What it warns of stays as it is.".to_owned());
    }
    Ok(draft)
}

impl Change for AlertDismiss {
    const NAME: &'static str = "alert_dismiss";
    const TITLE: &'static str = "Put an alert aside";
    const DESCRIPTION: &'static str = "Puts an alert aside. What it warns of stays as it is.";
    const SCOPE: Scope = Scope::AlertsWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![alert::Alerts];
    const NEEDS: &'static [Need] = needs![alert::Dismiss];
    const LOG: &'static [(&'static str, Log)] = &[("uuid", Log::Plain)];
    type Args = AlertArgs;

    fn target(args: &AlertArgs) -> String {
        args.uuid.clone()
    }

    async fn plan(nas: &Session<'_, Read>, args: &AlertArgs) -> Result<Draft, ToolError> {
        plan_alert(nas, args, true).await
    }

    async fn run(nas: &Session<'_, Write>, args: AlertArgs) -> Result<Done, ToolError> {
        nas.call(alert::Dismiss, (args.uuid,)).await?;
        Ok(Done::now("The alert is put aside."))
    }
}

impl Change for AlertRestore {
    const NAME: &'static str = "alert_restore";
    const TITLE: &'static str = "Bring an alert back";
    const DESCRIPTION: &'static str = "Brings an alert back that was put aside.";
    const SCOPE: Scope = Scope::AlertsWrite;
    const RISK: Risk = Risk::Reversible;
    const LOOKS: &'static [Need] = needs![alert::Alerts];
    const NEEDS: &'static [Need] = needs![alert::Restore];
    const LOG: &'static [(&'static str, Log)] = &[("uuid", Log::Plain)];
    type Args = AlertArgs;

    fn target(args: &AlertArgs) -> String {
        args.uuid.clone()
    }

    async fn plan(nas: &Session<'_, Read>, args: &AlertArgs) -> Result<Draft, ToolError> {
        plan_alert(nas, args, false).await
    }

    async fn run(nas: &Session<'_, Write>, args: AlertArgs) -> Result<Done, ToolError> {
        nas.call(alert::Restore, (args.uuid,)).await?;
        Ok(Done::now("The alert is shown again."))
    }
}
