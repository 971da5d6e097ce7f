//! Changing what an app is set up with.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::compose::{self, Bounds, Reach};
use crate::domain::access::{Access, Covers, Read, Write};
use crate::domain::name::AppName;
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::app;
use crate::nas::methods::app::change;
use crate::nas::methods::file;

use super::super::render::foreign;
use super::super::{Change, Done, Entry, Log, Need, ToolError, needs};
use super::config::{Leaf, WHOLE, leaves};
use super::deploy::{Values, as_they_say, bounds, images, judged, ports_of_others, refused, told};
use super::{identity, inapplicable, not_installed};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::change::<Update>()]
}

/// Most settings that somebody can be asked to agree to: each of them is shown.
const MOST: usize = 1000;

/// Longest call that an undo is given as, in bytes.
const LONGEST_UNDO: usize = 1500;

/// Tells in a draft what would be another, with secrets left out.
pub(super) fn differences(draft: &mut Draft, before: &Map<String, Value>, after: &Map<String, Value>) {
    draft.changes.extend(Differences::of(before, after).alterations);
}

/// Whether all of it can be shown to whoever agrees to it.
pub(super) fn readable(settings: &Map<String, Value>) -> Result<(), ToolError> {
    let all = leaves(settings);
    if all.len() > MOST {
        return Err(inapplicable(
            format!("It has more than {MOST} settings, and whoever agrees to it is shown each of them."),
            "Leave out what it can do without, such as labels, or make several apps of it.",
        ));
    }
    if let Some(long) = all.iter().find(|leaf| leaf.value.as_str().is_some_and(|text| text.len() > WHOLE)) {
        return Err(inapplicable(
            format!("{} is too long to be shown to whoever agrees to it.", foreign(&long.path, 200)),
            "Put it into a file of the app's own.",
        ));
    }
    Ok(())
}

struct Differences {
    /// What decides most comes first.
    alterations: Vec<Alteration>,
    /// Whether the settings before can be told in full.
    open: bool,
    /// Whether something is new.
    adds: bool,
}

impl Differences {
    fn of(before: &Map<String, Value>, after: &Map<String, Value>) -> Self {
        let (there, wanted) = (by_path(before), leaves(after));
        let stays: BTreeSet<_> = wanted.iter().map(|leaf| leaf.path.as_str()).collect();
        let (mut open, mut adds, mut found) = (true, false, Vec::new());
        for leaf in &wanted {
            let was = there.get(&leaf.path);
            if was.is_some_and(|was| was.value == leaf.value) {
                continue;
            }
            open &= was.is_none_or(Leaf::is_open);
            adds |= was.is_none();
            let alteration = Alteration::new(leaf.path.clone(), was.map(Leaf::whole), Some(leaf.whole()));
            found.push((leaf.place, alteration));
        }
        for leaf in there.values().filter(|leaf| !stays.contains(leaf.path.as_str())) {
            open &= leaf.is_open();
            found.push((leaf.place, Alteration::new(leaf.path.clone(), Some(leaf.whole()), None)));
        }
        found.sort_by_key(|(place, _)| *place);
        let alterations = found.into_iter().map(|(_, alteration)| alteration).collect();
        Self { alterations, open, adds }
    }
}

fn by_path(settings: &Map<String, Value>) -> BTreeMap<String, Leaf<'_>> {
    leaves(settings).into_iter().map(|leaf| (leaf.path.clone(), leaf)).collect()
}

// app_update

struct Update;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateArgs {
    /// The app.
    app: AppName,
    /// Of an app of the catalogue: what is to be another, named as by `app_config`.
    #[serde(default)]
    values: Option<Values>,
    /// Of an app from a Compose file: all of the new file.
    #[serde(default)]
    compose: Option<String>,
}

/// What would be sent, and what is there.
struct Next {
    /// All that it is set up with.
    there: Map<String, Value>,
    /// The part of it that would be another.
    before: Map<String, Value>,
    after: Map<String, Value>,
    reach: Reach,
    notes: Vec<String>,
    custom: bool,
}

impl Next {
    /// Works out what would be sent. Once to plan it and once to do it, with what each account may see.
    async fn of<A: Access + Covers<Read>>(
        nas: &Session<'_, A>,
        args: &UpdateArgs,
        (custom, bounds): (bool, &Bounds<'_>),
    ) -> Result<Self, ToolError> {
        let name = &args.app;
        let there: Map<String, Value> = nas.call(app::Config, (name.clone(),)).await?;
        match (&args.values, &args.compose, custom) {
            (None, Some(text), true) => {
                let mut file = compose::read(text).map_err(|refusal| refused(&[refusal]))?;
                compose::keep(&mut file, &there);
                let stack = judged(file, bounds)?;
                let mut notes = stack.notes.clone();
                notes.push(format!("It would run {}.", images(&stack)));
                let before = there.clone();
                Ok(Self { there, before, after: stack.file, reach: stack.reach, notes, custom })
            }
            (Some(Values(patch)), None, false) => {
                if let Some(theirs) = patch.keys().find(|key| key.starts_with("ix_")) {
                    let what = format!("{} is the NAS's own.", foreign(theirs, 60));
                    return Err(inapplicable(what, "Leave it out."));
                }
                let mut patch = patch.clone();
                compose::keep(&mut patch, &there);
                // The NAS replaces each key as a whole, so that each is sent as a whole.
                let keys: BTreeSet<_> = patch.keys().cloned().collect();
                let only = |(key, value): (&String, &Value)| {
                    keys.contains(key).then(|| (key.clone(), value.clone()))
                };
                let before: Map<String, Value> = there.iter().filter_map(only).collect();
                let mut after = before.clone();
                merge(&mut after, patch);
                let reach = compose::judge_values(&after, Some(&before), bounds)
                    .map_err(|refusals| refused(&refusals))?;
                Ok(Self { there, before, after, reach, notes: Vec::new(), custom })
            }
            (None, None, _) | (Some(_), Some(_), _) => Err(inapplicable(
                "Either values or compose is what is to be changed, and one of the two.".to_owned(),
                "Values are of apps of the catalogue, compose is of apps from a Compose file.",
            )),
            (_, _, true) => Err(inapplicable(
                format!("{name} is from a Compose file and has no values."),
                "Send the whole new file as compose.",
            )),
            (_, _, false) => Err(inapplicable(
                format!("{name} is from the catalogue and has no Compose file."),
                "Send what is to be another as values.",
            )),
        }
    }

    /// Back to what is there now, as one can say it without secrets.
    fn undo(&self, name: &AppName, differences: &Differences) -> Undo {
        if self.custom {
            let file = "app_update with the file as it was; it is kept nowhere here, for secrets stand in it";
            return Undo::Words(file.to_owned());
        }
        let before = json!({ "app": name, "values": self.before });
        let nothing_hidden = leaves(&self.before).iter().all(Leaf::is_open);
        if differences.open && nothing_hidden && !differences.adds && before.to_string().len() <= LONGEST_UNDO
        {
            return Undo::call("app_update", before);
        }
        Undo::Words(
            "app_update with the settings as they were, which the plan names; not those that are hidden"
                .to_owned(),
        )
    }
}

/// Puts a change into an object: what is an object in both goes on inside, and everything else is replaced.
fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(patch)) => merge(into, patch),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

impl Change for Update {
    const NAME: &'static str = "app_update";
    const TITLE: &'static str = "Change what an app is set up with";
    const DESCRIPTION: &'static str = "Changes values of a catalogue app or the Compose file of a custom one, judged as app_deploy is. A value ******** stays what it is.";
    const SCOPE: Scope = Scope::AppsWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![app::Apps, app::Config, app::UsedPorts, file::Stat];
    const NEEDS: &'static [Need] = needs![change::Update];
    const LOG: &'static [(&'static str, Log)] =
        &[("app", Log::Plain), ("values", Log::Hmac), ("compose", Log::Hmac)];
    type Args = UpdateArgs;

    fn target(args: &UpdateArgs) -> String {
        args.app.to_string()
    }

    async fn plan(nas: &Session<'_, Read>, args: &UpdateArgs) -> Result<Draft, ToolError> {
        let name = &args.app;
        let found = super::find(nas, name).await?;
        let custom = found.custom_app == Some(true);
        let used_ports = ports_of_others(nas, Some(&found)).await?;
        let next = Next::of(nas, args, (custom, &bounds(nas, &used_ports))).await?;
        if next.before == next.after {
            let what = format!("Nothing of {name} would be another.");
            return Err(inapplicable(what, "app_config tells what it is set up with."));
        }
        readable(&next.after)?;
        let places = as_they_say(nas, &next.reach.binds).await?;
        let what = if custom { "Compose file" } else { "settings" };
        let differences = Differences::of(&next.before, &next.after);
        let changed = differences.alterations.len();
        let settings = if changed == 1 { "1 setting".to_owned() } else { format!("{changed} settings") };
        let mut draft = Draft::new(
            format!("Change the {what} of {name} ({settings}) and make its containers anew."),
            Self::RISK,
            next.undo(name, &differences),
            format!("app {name}"),
            Fingerprint::of(&json!([identity(&found), next.there, places])),
        );
        draft.changes = differences.alterations;
        draft.stops.push("Whoever uses it loses it for a moment.".to_owned());
        draft.warnings.extend(next.notes.iter().map(|note| foreign(note, 300)));
        Ok(told(draft, &next.reach))
    }

    async fn run(nas: &Session<'_, Write>, args: UpdateArgs) -> Result<Done, ToolError> {
        let name = &args.app;
        let found = nas.call(app::Apps, app::one(name)).await?.pop().ok_or_else(|| not_installed(name))?;
        let custom = found.custom_app == Some(true);
        // Ports were looked at a moment ago; what is kept of the settings may be seen by this account alone, so that
        // all of it is judged as it is sent.
        let next = Next::of(nas, &args, (custom, &bounds(nas, &BTreeSet::new()))).await?;
        let config = if custom {
            change::NewConfig::CustomComposeConfig(next.after)
        } else {
            change::NewConfig::Values(next.after)
        };
        let job = nas.call(change::Update, (name.clone(), config)).await?;
        Ok(Done::begun(job, format!("The NAS is about to change {name}.")))
    }
}
