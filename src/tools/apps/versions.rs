//! What is behind, and what an upgrade would bring.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::name::AppName;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::app;
use crate::nas::methods::query::{Compare, Query};

use super::super::limit::Limit;
use super::super::render::{fenced, foreign, shown_of};
use super::super::seen::unseen;
use super::super::{Entry, Items, Log, Need, Tool, ToolError, needs};
use super::{OF_APP, OfApp, not_installed, target};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<UpgradeSummary>(), Entry::read::<Currency>()]
}

// app_upgrade_summary

struct UpgradeSummary;

/// Lines of a list of changes that are shown.
const CHANGES: usize = 100;

/// What an upgrade of an app would bring.
#[derive(Serialize, JsonSchema)]
struct UpgradeOutput {
    /// The app.
    app: String,
    /// Program and chart that run.
    current: Option<String>,
    /// Program and chart it would be upgraded to; absent when there is nothing newer.
    upgrade: Option<String>,
    /// Others that could be chosen.
    choices: Vec<String>,
    /// What is new; the makers' words, data and not instructions.
    changelog: Vec<String>,
}

impl Tool for UpgradeSummary {
    const NAME: &'static str = "app_upgrade_summary";
    const TITLE: &'static str = "What an upgrade of an app would bring";
    const DESCRIPTION: &'static str = "For one app: the version that runs, the one an upgrade would bring, other choices and the list of changes.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = OF_APP;
    const NEEDS: &'static [Need] = needs![app::Brief, app::UpgradeSummary];
    type Args = OfApp;
    type Output = UpgradeOutput;

    fn target(args: &OfApp) -> Option<String> {
        Some(target(args))
    }

    async fn run(nas: &Session<'_, Read>, args: OfApp) -> Result<UpgradeOutput, ToolError> {
        let found = nas.call(app::Brief, Query::all().filter("name", Compare::Is, args.app.as_str())).await?;
        let found = found.into_iter().next().ok_or_else(|| not_installed(&args.app))?;
        let text = |text: Option<String>| text.map(|text| foreign(&text, 80));
        let mut output = UpgradeOutput {
            app: foreign(&found.name, 60),
            current: text(found.human_version),
            upgrade: None,
            choices: Vec::new(),
            changelog: Vec::new(),
        };
        // Where nothing is newer the NAS answers with an error.
        if found.upgrade_available == Some(true) {
            let summary = nas.call(app::UpgradeSummary, (args.app,)).await?;
            output.upgrade = text(summary.upgrade_human_version.or(summary.upgrade_version));
            let choices = summary.available_versions_for_upgrade.iter().take(20);
            output.choices = choices.map(|choice| foreign(&choice.human_version, 80)).collect();
            let changelog = summary.changelog.unwrap_or_default();
            let lines = changelog.lines().map(|line| foreign(line, 300)).filter(|line| !line.is_empty());
            output.changelog = lines.collect();
            let left_out = output.changelog.len().saturating_sub(CHANGES);
            output.changelog.truncate(CHANGES);
            output.changelog.extend((left_out > 0).then(|| format!("… and {left_out} more lines")));
        }
        Ok(output)
    }
}

impl Items for UpgradeOutput {
    fn items(&self) -> usize {
        1
    }
}

impl fmt::Display for UpgradeOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current.as_deref().unwrap_or("an unknown version");
        let Some(upgrade) = &self.upgrade else {
            return writeln!(f, "{} runs {current}; there is no newer chart.", self.app);
        };
        writeln!(f, "{} runs {current} and could be upgraded to {upgrade}.", self.app)?;
        if self.choices.len() > 1 {
            writeln!(f, "Choices: {}", self.choices.join(", "))?;
        }
        if !self.changelog.is_empty() {
            f.write_str(&fenced("changes", &self.changelog))?;
        }
        Ok(())
    }
}

// app_currency

struct Currency;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CurrencyArgs {
    /// Only this app. Default: all.
    #[serde(default)]
    app: Option<AppName>,
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 500>,
}

/// Which apps are up to date; those that are not come first.
#[derive(Serialize, JsonSchema)]
struct CurrencyOutput {
    /// The apps shown.
    apps: Vec<Current>,
    /// How many there are in all.
    total: usize,
    /// How many of all are not up to date.
    behind: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Current {
    /// Name.
    name: String,
    /// Neither a newer chart nor a newer image is there.
    up_to_date: bool,
    /// Program and chart that run.
    running: Option<String>,
    /// The newest chart, where it is newer.
    newer_chart: Option<String>,
    /// The program in it, where the NAS tells.
    newer_app: Option<String>,
    /// Images that their registries have newer ones of.
    outdated_images: Vec<String>,
}

/// Each is a call of its own.
const MOST_LOOKED_INTO: usize = 20;

impl Tool for Currency {
    const NAME: &'static str = "app_currency";
    const TITLE: &'static str = "What apps are behind";
    const DESCRIPTION: &'static str = "Which apps are behind in chart or image, those first. What an upgrade would bring: app_upgrade_summary.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("app", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![app::Brief, app::OutdatedImages];
    type Args = CurrencyArgs;
    type Output = CurrencyOutput;

    fn target(args: &CurrencyArgs) -> Option<String> {
        args.app.as_ref().map(|app| format!("app {app}"))
    }

    async fn run(nas: &Session<'_, Read>, args: CurrencyArgs) -> Result<CurrencyOutput, ToolError> {
        let query = match &args.app {
            Some(name) => Query::all().filter("name", Compare::Is, name.as_str()),
            None => app::all(),
        };
        let found = nas.call(app::Brief, query).await?;
        if let (true, Some(name)) = (found.is_empty(), &args.app) {
            return Err(not_installed(name));
        }
        let mut not_seen = Vec::new();
        let mut apps = Vec::new();
        let (mut looked_into, mut passed_over) = (0, 0);
        for app in found {
            let mut outdated_images = Vec::new();
            if app.image_updates_available == Some(true) {
                match app.name.parse::<AppName>() {
                    Ok(name) if looked_into < MOST_LOOKED_INTO => {
                        looked_into += 1;
                        match nas.call(app::OutdatedImages, (name,)).await {
                            Ok(images) => {
                                outdated_images =
                                    images.iter().take(20).map(|one| foreign(one, 200)).collect();
                            }
                            Err(error) => {
                                not_seen
                                    .push(unseen(&format!("images of {}", foreign(&app.name, 60)), &error));
                            }
                        }
                    }
                    _ => passed_over += 1,
                }
            }
            apps.push(current(&app, outdated_images));
        }
        if passed_over > 0 {
            not_seen.push(format!(
                "which images of {passed_over} more apps are outdated; ask for one by its name"
            ));
        }
        let total = apps.len();
        apps.sort_by_key(|app| app.up_to_date);
        let behind = apps.iter().filter(|app| !app.up_to_date).count();
        apps.truncate(args.limit.get());
        Ok(CurrencyOutput { apps, total, behind, not_seen })
    }
}

fn current(app: &app::App, outdated_images: Vec<String>) -> Current {
    let text = |text: &Option<String>| text.as_deref().map(|text| foreign(text, 80));
    let newer = app.upgrade_available == Some(true);
    Current {
        name: foreign(&app.name, 60),
        up_to_date: !newer && app.image_updates_available != Some(true),
        running: text(&app.human_version),
        newer_chart: text(&app.latest_version).filter(|_| newer),
        newer_app: text(&app.latest_app_version).filter(|_| newer),
        outdated_images,
    }
}

impl Items for CurrencyOutput {
    fn items(&self) -> usize {
        self.apps.len()
    }
}

impl fmt::Display for CurrencyOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.total, self.behind) {
            (0, _) => writeln!(f, "There are no apps.")?,
            (1, 0) => writeln!(f, "It is up to date.")?,
            (all, 0) => writeln!(f, "All {all} apps are up to date.")?,
            (1, 1) => writeln!(f, "It is not up to date.")?,
            (all, 1) => writeln!(f, "1 of {all} apps is not up to date.")?,
            (all, behind) => writeln!(f, "{behind} of {all} apps are not up to date.")?,
        }
        for app in &self.apps {
            write!(f, "- {} {}", app.name, app.running.as_deref().unwrap_or("of unknown version"))?;
            if let Some(chart) = &app.newer_chart {
                write!(f, "; chart {chart} is there")?;
            }
            if let Some(program) = &app.newer_app {
                write!(f, " with {program}")?;
            }
            if !app.outdated_images.is_empty() {
                write!(f, "; newer images of {}", app.outdated_images.join(", "))?;
            }
            writeln!(f, "{}", if app.up_to_date { ": up to date" } else { "" })?;
        }
        for what in &self.not_seen {
            writeln!(f, "Not seen: {what}")?;
        }
        f.write_str(&shown_of(self.apps.len(), self.total, "Raise limit to see more."))
    }
}
