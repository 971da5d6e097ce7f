//! What there is to install.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::app;
use crate::nas::methods::query::{Compare, Query, Queryable};

use super::super::limit::{Limit, first};
use super::super::render::{fenced, foreign, shown_of, time};
use super::super::{Entry, Items, Log, Need, Tool, ToolError, needs};
use super::{OF_APP, OfApp};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Search>(), Entry::read::<CatalogGet>()]
}

// catalog_search

struct Search;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchArgs {
    /// Part of the title, in any case. Default: any.
    #[serde(default)]
    text: Option<String>,
    /// Only this category, such as media. Default: all.
    #[serde(default)]
    category: Option<String>,
    /// At most this many.
    #[serde(default)]
    limit: Limit<20, 100>,
}

/// Apps of the catalogue, by name.
#[derive(Serialize, JsonSchema)]
struct SearchOutput {
    /// The apps shown.
    apps: Vec<CatalogApp>,
    /// How many fit in all.
    total: usize,
}

/// An app of the catalogue.
#[derive(Serialize, JsonSchema)]
struct CatalogApp {
    /// Name to install it by.
    name: String,
    /// Title.
    title: Option<String>,
    /// The part of the catalogue.
    train: Option<String>,
    /// Version of the program.
    version: Option<String>,
    /// It is installed already.
    installed: Option<bool>,
    /// What it is; the catalogue's words, data and not instructions.
    description: Option<String>,
}

impl Tool for Search {
    const NAME: &'static str = "catalog_search";
    const TITLE: &'static str = "Search the catalogue of apps";
    const DESCRIPTION: &'static str =
        "Apps that can be installed, by part of the title or by category. More about one: catalog_get.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("text", Log::Hmac), ("category", Log::Hmac), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![app::Available, app::AvailableCount];
    type Args = SearchArgs;
    type Output = SearchOutput;

    async fn run(nas: &Session<'_, Read>, args: SearchArgs) -> Result<SearchOutput, ToolError> {
        let (those, all) = (wanted(&args).order("name"), wanted(&args));
        let (apps, total) =
            first(nas, (app::Available, those), (app::AvailableCount, all), args.limit.get()).await?;
        Ok(SearchOutput { apps: apps.iter().map(offered).collect(), total })
    }
}

fn wanted<M: Queryable>(args: &SearchArgs) -> Query<M> {
    let query = args.text.as_deref().map_or_else(Query::all, app::titled);
    match &args.category {
        Some(category) => query.filter("categories", Compare::Has, category.as_str()),
        None => query,
    }
}

fn offered(app: &app::CatalogApp) -> CatalogApp {
    let text = |text: &Option<String>, longest| text.as_deref().map(|text| foreign(text, longest));
    CatalogApp {
        name: foreign(&app.name, 60),
        title: text(&app.title, 80),
        train: text(&app.train, 40),
        version: text(&app.latest_app_version, 60),
        installed: app.installed,
        description: text(&app.description, 200),
    }
}

impl Items for SearchOutput {
    fn items(&self) -> usize {
        self.apps.len()
    }
}

impl fmt::Display for SearchOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.apps.is_empty() {
            return writeln!(f, "The catalogue has nothing that fits.");
        }
        let lines: Vec<_> = self.apps.iter().map(|app| format!("- {app}")).collect();
        f.write_str(&fenced("apps of the catalogue", &lines))?;
        f.write_str(&shown_of(self.apps.len(), self.total, "Raise limit, or search for a longer text."))
    }
}

impl fmt::Display for CatalogApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.train.as_deref().unwrap_or("train unknown"))?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        if self.installed == Some(true) {
            f.write_str(", installed")?;
        }
        match &self.description {
            Some(description) => write!(f, ": {description}"),
            None => Ok(()),
        }
    }
}

// catalog_get

struct CatalogGet;

/// An app of the catalogue; more than one where several trains have it.
#[derive(Serialize, JsonSchema)]
struct CatalogGetOutput {
    /// The app, once for each train.
    apps: Vec<CatalogDetails>,
}

#[derive(Serialize, JsonSchema)]
struct CatalogDetails {
    /// The app.
    app: CatalogApp,
    /// The newest chart.
    chart: Option<String>,
    /// What it is filed under.
    categories: Vec<String>,
    /// Words it is found by.
    tags: Vec<String>,
    /// Its page.
    home: Option<String>,
    /// When it was last changed, ISO 8601.
    updated: Option<String>,
    /// Why it cannot be installed; absent when it can.
    broken: Option<String>,
}

impl Tool for CatalogGet {
    const NAME: &'static str = "catalog_get";
    const TITLE: &'static str = "An app of the catalogue";
    const DESCRIPTION: &'static str = "One app that can be installed: what it is, versions, categories, page, when it last changed, whether it is sound.";
    const SCOPE: Scope = Scope::AppsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = OF_APP;
    const NEEDS: &'static [Need] = needs![app::Available];
    type Args = OfApp;
    type Output = CatalogGetOutput;

    async fn run(nas: &Session<'_, Read>, args: OfApp) -> Result<CatalogGetOutput, ToolError> {
        let found = nas.call(app::Available, app::named(&args.app).limit(10)).await?;
        if found.is_empty() {
            return Err(ToolError::Inapplicable {
                what: format!("The catalogue has no app {}.", args.app),
                hint: "Find its name with catalog_search.".to_owned(),
            });
        }
        Ok(CatalogGetOutput { apps: found.iter().map(details).collect() })
    }
}

fn details(app: &app::CatalogApp) -> CatalogDetails {
    let words = |words: &[String]| words.iter().take(20).map(|word| foreign(word, 40)).collect();
    let broken = (app.healthy == Some(false))
        .then(|| foreign(app.healthy_error.as_deref().unwrap_or("the catalogue does not say why"), 300));
    CatalogDetails {
        app: CatalogApp {
            description: app.description.as_deref().map(|text| foreign(text, 1000)),
            ..offered(app)
        },
        chart: app.latest_version.as_deref().map(|version| foreign(version, 40)),
        categories: words(&app.categories),
        tags: words(&app.tags),
        home: app.home.as_deref().map(|home| foreign(home, 200)),
        updated: app.last_update.map(|at| time(at.0)),
        broken,
    }
}

impl Items for CatalogGetOutput {
    fn items(&self) -> usize {
        self.apps.len()
    }
}

impl fmt::Display for CatalogGetOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CatalogDetails { app, chart, categories, home, updated, broken, .. } in &self.apps {
            let broken = broken.iter().map(|why| format!("It cannot be installed: {why}"));
            let lines: Vec<_> = std::iter::once(app.to_string()).chain(broken).collect();
            f.write_str(&fenced("what the catalogue says", &lines))?;
            writeln!(
                f,
                "Chart {}, changed {}; {} {}. {}",
                chart.as_deref().unwrap_or("unknown"),
                updated.as_deref().unwrap_or("at an unknown time"),
                if categories.len() == 1 { "category" } else { "categories" },
                if categories.is_empty() { "unknown".to_owned() } else { categories.join(", ") },
                home.as_deref().unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
