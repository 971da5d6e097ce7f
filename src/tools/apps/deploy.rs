//! Making apps: from the catalogue, and from a Compose file.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::compose::{self, Bind, Bounds, Reach, Refusal, Stack};
use crate::domain::access::{Access, Read, Write};
use crate::domain::name::AppName;
use crate::domain::plan::{Alteration, Dependent, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::{app, file};
use crate::nas::{NasError, Session};

use super::super::render::foreign;
use super::super::{Change, Done, Entry, Items, Log, Need, Tool, ToolError, needs};
use super::inapplicable;
use super::setup::{differences, readable};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Validate>(), Entry::change::<Install>(), Entry::change::<Deploy>()]
}

/// Values of an app, as an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Values(pub(super) Map<String, Value>);

impl JsonSchema for Values {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// What the judge must know of the NAS: the ports that apps use, but for those of `own`.
pub(super) async fn ports_of_others(
    nas: &Session<'_, Read>,
    own: Option<&app::App>,
) -> Result<BTreeSet<u16>, ToolError> {
    let used = nas.call(app::UsedPorts, []).await?;
    let own: BTreeSet<u16> = own
        .into_iter()
        .flat_map(|own| &own.active_workloads.used_ports)
        .flat_map(|port| port.host_ports.iter().map(|host| host.host_port))
        .collect();
    Ok(used.into_iter().filter(|port| !own.contains(port)).collect())
}

pub(super) fn bounds<'a, A: Access>(nas: &'a Session<'_, A>, used_ports: &'a BTreeSet<u16>) -> Bounds<'a> {
    Bounds { datasets: nas.app_datasets(), devices: nas.app_devices(), used_ports }
}

/// What is refused, each with what would pass.
pub(super) fn refused(refusals: &[Refusal]) -> ToolError {
    const SHOWN: usize = 10;
    let things = match refusals.len() {
        1 => "One thing in it is refused".to_owned(),
        more => format!("{more} things in it are refused"),
    };
    let mut what = format!("{things}, so none of it was sent:");
    for (number, refusal) in refusals.iter().take(SHOWN).enumerate() {
        let _ = write!(what, " ({}) {refusal}", number + 1);
    }
    if refusals.len() > SHOWN {
        let _ = write!(what, " And {} more.", refusals.len() - SHOWN);
    }
    inapplicable(what, "Change what is refused as it says; compose_validate judges a file without a plan.")
}

/// Judges a Compose file as it is to be sent.
pub(super) fn judged(file: Map<String, Value>, bounds: &Bounds<'_>) -> Result<Stack, ToolError> {
    compose::judge(file, bounds).map_err(|refusals| refused(&refusals))
}

/// Whether paths lead where they say: a container may have left a symbolic link where another one is to look. What
/// tells each from what may be made in its place later.
pub(super) async fn as_they_say(nas: &Session<'_, Read>, binds: &[Bind]) -> Result<Vec<Value>, ToolError> {
    let paths: BTreeSet<_> = binds.iter().map(|bind| &bind.source).collect();
    let mut found = Vec::new();
    for path in paths {
        let shown = foreign(path.as_str(), 200);
        match nas.call(file::Stat, (path.clone(),)).await {
            Ok(status) if status.realpath == path.as_str() && status.kind == "DIRECTORY" => {
                found.push(json!([path, status.inode]));
            }
            Ok(_) => {
                return Err(inapplicable(
                    format!(
                        "{shown} is a link, leads through one, or is no folder; a link can lead anywhere."
                    ),
                    "Name the folder that is meant.",
                ));
            }
            Err(NasError::NotFound { .. }) => {
                return Err(inapplicable(
                    format!("There is no {shown}; Docker would make it, as root."),
                    "Make it first: dataset_create makes a dataset.",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// What an app would be able to do decides how it is agreed to.
pub(super) fn risk_of(reach: &Reach) -> Risk {
    if reach.writes() {
        Risk::Destructive
    } else if reach.binds.is_empty() && reach.devices.is_empty() {
        Risk::Reversible
    } else {
        Risk::Disruptive
    }
}

/// Tells in a draft what an app would reach, and raises its risk to that.
pub(super) fn told(mut draft: Draft, reach: &Reach) -> Draft {
    for Bind { of, source, writable } in &reach.binds {
        let (of, path) = (foreign(of, 60), foreign(source.as_str(), 200));
        draft.dependents.push(Dependent { kind: "mounted", name: path.clone() });
        draft.warnings.push(if *writable {
            format!(
                "{of} could change and delete everything in {path}. If it only has to read, make the mount read only \
                 (:ro, read_only: true)."
            )
        } else {
            format!("{of} could read everything in {path}.")
        });
    }
    draft.dependents.sort();
    draft.dependents.dedup();
    for port in &reach.ports {
        draft.warnings.push(format!("{} is reached at {port} of the NAS.", foreign(&port.of, 60)));
    }
    for port in &reach.chosen_ports {
        draft.warnings.push(format!("{} is reached at {port}.", foreign(&port.of, 60)));
    }
    for device in &reach.devices {
        draft.warnings.push(format!("It has the device {}.", foreign(device, 80)));
    }
    draft.at_least(risk_of(reach))
}

/// Tells in a draft what an app that is there would reach once it runs, by what it is set up with, and raises the risk to
/// that: what its owner has put there is not forbidden, and whoever lets it run, or lets another program run with it,
/// should know of it. All of that becomes part of what the plan is about.
pub(in crate::tools) async fn as_set_up(
    nas: &Session<'_, Read>,
    app: &app::App,
    name: &AppName,
    draft: Draft,
) -> Result<Draft, ToolError> {
    const SHOWN: usize = 10;
    let config = nas.call(app::Config, (name.clone(),)).await?;
    let used_ports = ports_of_others(nas, Some(app)).await?;
    let (mounts, rights) = (app.metadata.mounts(), app.metadata.rights());
    let set_up = compose::SetUp {
        config: &config,
        custom: app.custom_app == Some(true),
        mounts: mounts.as_deref().unwrap_or_default(),
        capabilities: rights.as_deref().unwrap_or_default(),
    };
    let (reach, refusals) = compose::survey(&set_up, &bounds(nas, &used_ports));
    let (places, elsewhere) = match as_they_say(nas, &reach.binds).await {
        Ok(places) => (places, None),
        Err(ToolError::Inapplicable { what, .. }) => (Vec::new(), Some(what)),
        Err(error) => return Err(error),
    };
    let mut draft = told(draft, &reach);
    let out: Vec<_> = refusals.iter().filter(|refusal| refusal.rule.lets_out()).collect();
    draft.warnings.extend(out.iter().take(SHOWN).map(|refusal| format!("{}.", refusal.as_it_is())));
    if out.len() > SHOWN {
        draft.warnings.push(format!("{} more things of it reach out of its containers.", out.len() - SHOWN));
    }
    if !out.is_empty() || elsewhere.is_some() {
        draft = draft.at_least(Risk::Destructive);
    }
    draft.warnings.extend(elsewhere);
    if mounts.is_none() || rights.is_none() {
        draft.unseen.push("what its makers give it of the NAS besides what it is set up with".to_owned());
        draft = draft.at_least(Risk::Disruptive);
    }
    draft.fingerprint =
        draft.fingerprint.and(&json!([app.version, app.custom_app, config, mounts, rights, places]));
    Ok(draft)
}

/// The images of a file's services, for people.
pub(super) fn images(stack: &Stack) -> String {
    let shown = stack
        .images
        .iter()
        .take(8)
        .map(|(service, image)| format!("{} from {}", foreign(service, 60), foreign(image, 120)));
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if stack.images.len() > 8 {
        let _ = write!(shown, " and {} more", stack.images.len() - 8);
    }
    shown
}

/// There is no app of this name, and there can be one.
async fn is_free(nas: &Session<'_, Read>, name: &AppName) -> Result<(), ToolError> {
    let text = name.as_str();
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
        return Err(inapplicable(
            format!("An app cannot be called {name}."),
            "A name begins with a letter and does not end in a hyphen.",
        ));
    }
    if nas.call(app::Apps, app::one(name)).await?.is_empty() {
        return Ok(());
    }
    Err(inapplicable(
        format!("There is an app {name} already."),
        "Choose another name, or change that one with app_update.",
    ))
}

/// A train or version: it goes to the NAS as it is.
pub(super) fn word(what: &str, text: &str) -> Result<String, ToolError> {
    let sound = (1..=60).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    if sound {
        return Ok(text.to_owned());
    }
    Err(inapplicable(
        format!("{} is no {what}.", foreign(text, 60)),
        "app_upgrade_summary and catalog_get tell which there are.",
    ))
}

// app_install

/// What the catalogue calls a container of one's own: a Compose file by another name.
const RUNS_ANYTHING: &str = "ix-app";

struct Install;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InstallArgs {
    /// What to call it.
    app: AppName,
    /// Its name in the catalogue. Default: the same.
    #[serde(default)]
    catalog_app: Option<AppName>,
    /// Part of the catalogue. Default: stable.
    #[serde(default)]
    train: Option<String>,
    /// Chart. Default: the newest.
    #[serde(default)]
    version: Option<String>,
    /// What is to be other than by default, as `app_config` names it.
    #[serde(default)]
    values: Values,
}

impl InstallArgs {
    fn of(&self) -> &AppName {
        self.catalog_app.as_ref().unwrap_or(&self.app)
    }

    fn train(&self) -> Result<String, ToolError> {
        word("train", self.train.as_deref().unwrap_or("stable"))
    }

    fn version(&self) -> Result<String, ToolError> {
        word("version", self.version.as_deref().unwrap_or("latest"))
    }
}

impl Change for Install {
    const NAME: &'static str = "app_install";
    const TITLE: &'static str = "Install an app";
    const DESCRIPTION: &'static str = "Installs a catalogue app. Host paths must lie in datasets that are allowed; privileged and host networking are refused.";
    const SCOPE: Scope = Scope::AppsWrite;
    /// What an app of the catalogue takes besides its values is not to be seen in them: some have Docker's socket, and
    /// with that the NAS.
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![app::Apps, app::Available, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![app::change::Create];
    const LOG: &'static [(&'static str, Log)] = &[
        ("app", Log::Plain),
        ("catalog_app", Log::Plain),
        ("train", Log::Plain),
        ("version", Log::Plain),
        ("values", Log::Hmac),
    ];
    type Args = InstallArgs;

    fn target(args: &InstallArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &InstallArgs) -> Result<Draft, ToolError> {
        let (of, train, version) = (args.of(), args.train()?, args.version()?);
        if of.as_str() == RUNS_ANYTHING {
            let what = format!("{of} runs any image with whatever rights its values give it.");
            return Err(inapplicable(what, "app_deploy makes an app of any image, from a Compose file."));
        }
        is_free(nas, &args.app).await?;
        let offered = nas.call(app::Available, app::named(of).limit(10)).await?;
        let Some(offered) = offered.into_iter().find(|one| one.train.as_deref() == Some(&train)) else {
            let what = format!("The catalogue has no {of} in its train {train}.");
            return Err(inapplicable(what, "catalog_search finds what there is."));
        };
        if offered.healthy == Some(false) {
            let why = foreign(offered.healthy_error.as_deref().unwrap_or("it does not say why"), 200);
            let what = format!("The catalogue says that {of} cannot be installed: {why}");
            return Err(inapplicable(what, "Wait until it is mended, or install another one."));
        }
        let used_ports = ports_of_others(nas, None).await?;
        let reach = compose::judge_values(&args.values.0, None, &bounds(nas, &used_ports))
            .map_err(|refusals| refused(&refusals))?;
        readable(&args.values.0)?;
        let places = as_they_say(nas, &reach.binds).await?;
        let newest = foreign(offered.latest_version.as_deref().unwrap_or("unknown"), 40);
        let chart = if version == "latest" {
            format!("chart {newest}, the newest")
        } else {
            format!("chart {version}")
        };
        let mut draft = Draft::new(
            format!("Install the app {} from {of} of the catalogue ({chart}).", args.app),
            Self::RISK,
            Undo::call("app_delete", json!({ "app": args.app })),
            format!("app {}", args.app),
            Fingerprint::of(&json!(["none", of, train, newest, places])),
        );
        draft.changes.push(Alteration::new(format!("app {}", args.app), None, Some("runs".to_owned())));
        differences(&mut draft, &Map::new(), &args.values.0);
        draft.unseen.push(
            "what the app takes of the NAS besides these values: one that manages containers has Docker's socket, and \
             with that the NAS. Its page in the catalogue says so"
                .to_owned(),
        );
        Ok(told(draft, &reach))
    }

    async fn run(nas: &Session<'_, Write>, args: InstallArgs) -> Result<Done, ToolError> {
        let (train, version) = (args.train()?, args.version()?);
        let new = app::change::NewApp::OfCatalogue {
            app_name: args.app.clone(),
            catalog_app: args.of().clone(),
            train,
            version,
            values: args.values.0,
        };
        let job = nas.call(app::change::Create, (new,)).await?;
        Ok(Done::begun(job, format!("The NAS is about to install {}.", args.app)))
    }
}

// app_deploy

struct Deploy;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeployArgs {
    /// What to call it.
    app: AppName,
    /// The Compose file.
    compose: String,
}

impl Change for Deploy {
    const NAME: &'static str = "app_deploy";
    const TITLE: &'static str = "Deploy a Compose file";
    const DESCRIPTION: &'static str = "Makes an app from a Compose file. What reaches out of its containers is refused, with the rule and what would pass.";
    const SCOPE: Scope = Scope::AppsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![app::Apps, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![app::change::Create];
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("compose", Log::Hmac)];
    type Args = DeployArgs;

    fn target(args: &DeployArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &DeployArgs) -> Result<Draft, ToolError> {
        let DeployArgs { app: name, compose } = args;
        let file = compose::read(compose).map_err(|refusal| refused(&[refusal]))?;
        is_free(nas, name).await?;
        let used_ports = ports_of_others(nas, None).await?;
        let stack = judged(file, &bounds(nas, &used_ports))?;
        readable(&stack.file)?;
        let places = as_they_say(nas, &stack.reach.binds).await?;
        let mut draft = Draft::new(
            format!("Deploy the app {name}: {}.", images(&stack)),
            Self::RISK,
            Undo::call("app_delete", json!({ "app": name })),
            format!("app {name}"),
            Fingerprint::of(&json!(["none", places])),
        );
        draft.changes.push(Alteration::new(format!("app {name}"), None, Some("runs".to_owned())));
        differences(&mut draft, &Map::new(), &stack.file);
        draft.warnings.extend(stack.notes.iter().map(|note| foreign(note, 200)));
        Ok(told(draft, &stack.reach))
    }

    async fn run(nas: &Session<'_, Write>, args: DeployArgs) -> Result<Done, ToolError> {
        // The tree that was judged is what is sent: judged once more, for it is made anew from the same text.
        let file = compose::read(&args.compose).map_err(|refusal| refused(&[refusal]))?;
        let stack = judged(file, &bounds(nas, &BTreeSet::new()))?;
        let new = app::change::NewApp::OfFile {
            app_name: args.app.clone(),
            custom_app: true,
            custom_compose_config: stack.file,
        };
        let job = nas.call(app::change::Create, (new,)).await?;
        Ok(Done::begun(job, format!("The NAS is about to deploy {}.", args.app)))
    }
}

// compose_validate

struct Validate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ValidateArgs {
    /// The Compose file.
    compose: String,
    /// The app it is for, if there is one.
    #[serde(default)]
    app: Option<AppName>,
}

/// What is said of a Compose file.
#[derive(Serialize, JsonSchema)]
struct Verdict {
    /// Whether it could be deployed.
    passes: bool,
    /// What is refused: where, by which rule, and what would pass.
    refused: Vec<String>,
    /// What it would reach, and what should be known of it.
    notes: Vec<String>,
    /// How a deployment would have to be agreed to: disruptive or destructive.
    risk: Option<String>,
}

impl Tool for Validate {
    const NAME: &'static str = "compose_validate";
    const TITLE: &'static str = "May this Compose file be deployed?";
    const DESCRIPTION: &'static str = "Judges a Compose file by the rules of app_deploy, changing nothing: what is refused, what would pass, what it would reach.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("compose", Log::Hmac)];
    const NEEDS: &'static [Need] = needs![app::Apps, app::UsedPorts];
    type Args = ValidateArgs;
    type Output = Verdict;

    async fn run(nas: &Session<'_, Read>, args: ValidateArgs) -> Result<Verdict, ToolError> {
        let own = match &args.app {
            Some(name) => nas.call(app::Apps, app::one(name)).await?.pop(),
            None => None,
        };
        let used_ports = ports_of_others(nas, own.as_ref()).await?;
        let judged = compose::read(&args.compose)
            .map_err(|refusal| vec![refusal])
            .and_then(|file| compose::judge(file, &bounds(nas, &used_ports)));
        let judged = judged
            .map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>())
            .and_then(|stack| match readable(&stack.file) {
                Ok(()) => Ok(stack),
                Err(error) => Err(vec![error.to_string()]),
            });
        Ok(match judged {
            Err(refused) => Verdict { passes: false, refused, notes: Vec::new(), risk: None },
            Ok(stack) => {
                let draft = Draft::new(
                    "",
                    Risk::Disruptive,
                    Undo::Words(String::new()),
                    "",
                    Fingerprint::of(&Value::Null),
                );
                let Draft { warnings, risk, .. } = told(draft, &stack.reach);
                let mut notes: Vec<_> = stack.notes.iter().map(|note| foreign(note, 200)).collect();
                notes.push(format!("It runs {}.", images(&stack)));
                notes.extend(warnings);
                Verdict { passes: true, refused: Vec::new(), notes, risk: Some(risk.to_string()) }
            }
        })
    }
}

impl Items for Verdict {
    fn items(&self) -> usize {
        self.refused.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.risk {
            Some(risk) => writeln!(f, "It passes. Deploying it is {risk}.")?,
            None => writeln!(f, "It is refused.")?,
        }
        self.refused.iter().chain(&self.notes).try_for_each(|line| writeln!(f, "- {line}"))
    }
}
