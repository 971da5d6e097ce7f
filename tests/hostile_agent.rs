//! An agent that means harm: it has every scope, its person's node and identity, every tool, every page and endpoint of
//! the console, an authenticator of its own making and all the time it wants. Two of them, whose people may approve each
//! other's plans. What neither has is a passkey of a person.
//!
//! However it goes about it, nothing is lost and nothing stops. What may have happened to the NAS stands in [`Treasure::is_whole`], and
//! which calls may have done it in [`takes_nobody`]: lists of this test's own, which know nothing of what the daemon says of its tools. All
//! else of the simulated NAS is as it was.
//!
//! Two runs are always the same, and a third is another each time. `TAILNAS_STEPS` says how many steps each of them takes,
//! `TAILNAS_SEED` which one there is instead of the three. A failure names both.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test may panic")]
#![expect(clippy::match_bool, clippy::single_match_else, reason = "two choices read best side by side")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::changes::{self, example};
use common::{Bench, Inside};
use http::Method;
use serde_json::{Value, json};
use tailnas::audit::verify::{Against, Verdict, verify};
use tailnas::dispatch::Catalogue;
use tailnas::domain::risk::Risk;
use tailnas::domain::scope::Scope;
use tailnas::policy::freeze::Freeze;
use tailnas::tools::Spec;
use tailnas_sim::browser::Browser;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::nas::{
    App, AppState, Container, Dataset, JobState, Machine, Scan, ScanState, ScrubTask, SmbShare, Snapshot,
    State,
};
use tailnas_sim::passkey::Passkey;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, Person};

const PAGES: &[&str] = &["", "/connect", "/why", "/audit", "/passkeys", "/enroll", "/static/console.js"];

/// The endpoints of the console that do something.
const ACTS: &[&str] = &[
    "/console/enroll/begin",
    "/console/enroll/finish",
    "/console/plans/PLAN/approve/begin",
    "/console/plans/PLAN/approve/finish",
    "/console/plans/PLAN/refuse",
    "/console/undo",
    "/console/freeze",
    "/console/thaw/begin",
    "/console/thaw/finish",
];

/// Enough of a random number: every run of a seed is the same run. (Vigna's `SplitMix64`.)
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll() % most.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What must still be there, and must still run.
struct Treasure {
    before: State,
}

/// Digits that a date and a time have at least: a snapshot whose name has so many could be taken for one of a schedule.
const DIGITS_OF_A_TIME: usize = 8;

impl Treasure {
    /// What is another, if anything is that may not be without a person. What may is taken out of both, and the rest compared to the
    /// last field.
    fn is_whole(&self, now: &State) -> Result<(), String> {
        let before = &self.before;
        for old in before.jobs.iter().filter(|old| !old.state.ended()) {
            if now.job(old.id).is_none_or(|new| new.state == JobState::Aborted) {
                return Err(format!("{} was broken off", old.method));
            }
        }
        let mut is = now.clone();
        // Who is logged in, and what the NAS counts of that, are its own affair.
        let mut was = now.clone();
        was.put_back(before.clone());
        (is.jobs, was.jobs) = (Vec::new(), Vec::new());
        datasets(before, &mut is)?;
        snapshots(before, &mut is)?;
        scrubs(before, &mut is)?;
        for alert in &mut is.alerts {
            if let Some(old) = before.alerts.iter().find(|old| old.uuid == alert.uuid) {
                alert.dismissed = old.dismissed;
            }
        }
        // Of those that do not run this one alone reaches nothing outside of its container.
        for app in is.apps.iter_mut().filter(|app| app.name == "nextcloud" && app.state == AppState::Running)
        {
            app.state = AppState::Stopped;
        }
        if format!("{is:?}") == format!("{was:?}") {
            return Ok(());
        }
        let (is, was) = (format!("{is:#?}"), format!("{was:#?}"));
        let (is, was): (Vec<_>, Vec<_>) = (is.lines().collect(), was.lines().collect());
        let at = (0..=is.len()).find(|&at| is.get(at) != was.get(at)).unwrap_or_default();
        let around = |lines: &[&str]| lines[at.saturating_sub(20)..lines.len().min(at + 5)].join("\n");
        Err(format!("it was\n{}\nand is\n{}", around(&was), around(&is)))
    }
}

/// Whether this lies in that, or is it.
fn lies_in(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether what is kept there counts in somebody's quota.
fn is_limited(before: &State, dataset: &str) -> bool {
    before.datasets.iter().any(|one| one.quota.is_some() && lies_in(dataset, &one.name))
}

/// New ones may lie beside the others, empty or as clones that nobody is given, and not too many; those that were there may
/// be compressed otherwise and have other words.
fn datasets(before: &State, is: &mut State) -> Result<(), String> {
    let old_of = |one: &Dataset| before.datasets.iter().find(|old| old.guid == one.guid);
    for new in is.datasets.iter().filter(|one| old_of(one).is_none()) {
        let pool = is.datasets.iter().filter(|one| one.pool() == new.pool()).count();
        let given = before.smb_shares.iter().map(|share| &share.path);
        let mut given = given.chain(before.nfs_shares.iter().map(|share| &share.path));
        let path = format!("/mnt/{}", new.name);
        let shown = new.origin.is_some() && given.any(|folder| lies_in(&path, folder));
        let of = new.origin.as_deref().and_then(|origin| origin.split_once('@'));
        let limited = of.is_some_and(|(dataset, _)| is_limited(before, dataset));
        if new.own > 0 || new.readonly || pool > 256 || shown || limited {
            return Err(format!("{new:?} was made"));
        }
    }
    is.datasets.retain(|one| old_of(one).is_some());
    for one in &mut is.datasets {
        if let Some(old) = old_of(one) {
            (one.compression, one.comments) = (old.compression.clone(), old.comments.clone());
        }
    }
    Ok(())
}

/// More may be taken, under names that no schedule goes by, and those that are there may be held, where neither counts in a
/// quota; neither too often.
fn snapshots(before: &State, is: &mut State) -> Result<(), String> {
    let old_of = |one: &Snapshot| {
        before.snapshots.iter().find(|old| old.createtxg == one.createtxg && old.id() == one.id())
    };
    let held = |one: &Snapshot| one.holds.iter().any(|tag| tag == "truenas");
    for new in is.snapshots.iter().filter(|one| old_of(one).is_none()) {
        let digits = new.name.bytes().filter(u8::is_ascii_digit).count();
        let beside = is.snapshots.iter().filter(|one| one.dataset == new.dataset).count();
        if digits >= DIGITS_OF_A_TIME || is_limited(before, &new.dataset) || beside > 100 {
            return Err(format!("{} was taken", new.id()));
        }
    }
    if is.snapshots.iter().filter(|one| held(one)).count() > 16 * before.datasets.len() {
        return Err("more and more is held".to_owned());
    }
    is.snapshots.retain(|one| old_of(one).is_some());
    for one in &mut is.snapshots {
        if let Some(old) = old_of(one)
            && held(one)
            && !held(old)
            && !is_limited(before, &one.dataset)
        {
            one.holds.retain(|tag| tag != "truenas");
        }
    }
    Ok(())
}

/// A pool may be read through once more, and a schedule switched on, or made where there is none: as the NAS suggests it.
fn scrubs(before: &State, is: &mut State) -> Result<(), String> {
    for pool in &mut is.pools {
        let old = before.pools.iter().find(|old| old.guid == pool.guid).and_then(|old| old.scan.clone());
        let goes_on = |old: &Scan, new: &Scan| {
            new.started >= old.started && new.state != ScanState::Canceled && new.paused.is_none()
        };
        match (&old, &pool.scan) {
            (Some(old), Some(new)) if goes_on(old, new) => {}
            (None, _) => {}
            (Some(old), new) => return Err(format!("the scrub of {}: {old:?} is {new:?}", pool.name)),
        }
        pool.scan = old;
    }
    let old_of = |one: &ScrubTask| before.scrub_tasks.iter().find(|old| old.id == one.id);
    for new in is.scrub_tasks.iter().filter(|one| old_of(one).is_none()) {
        let others = is.scrub_tasks.iter().filter(|one| one.pool == new.pool).count();
        if (new.cron.join(" ").as_str(), new.threshold, new.enabled, others) != ("0 0 * * 7", 35, true, 1) {
            return Err(format!("{new:?} was made"));
        }
    }
    is.scrub_tasks.retain(|one| old_of(one).is_some());
    for one in is.scrub_tasks.iter_mut().filter(|one| one.enabled) {
        one.enabled = old_of(one).is_some_and(|old| old.enabled);
    }
    Ok(())
}

/// Whether a call may be carried out that no person agreed to, as it is on record: a tool, and what its arguments may be then.
fn takes_nobody(tool: &str, arguments: &Value) -> bool {
    let has = |name: &str| arguments.get(name).is_some_and(|value| !value.is_null());
    match tool {
        "alert_dismiss" | "alert_restore" | "dataset_create" | "directory_refresh" | "scrub_start"
        | "snapshot_clone" | "snapshot_hold" | "update_download" => true,
        "snapshot_create" => {
            let name = arguments["name"].as_str().unwrap_or_default();
            name.bytes().filter(u8::is_ascii_digit).count() < DIGITS_OF_A_TIME
        }
        "dataset_update" => !has("quota_bytes") && !has("read_only"),
        "scrub_schedule" => !has("cron") && !has("threshold_days") && arguments["enabled"] != false,
        "app_control" => arguments["app"] == "nextcloud" && arguments["action"] == "start",
        _ => false,
    }
}

/// What has once been possible, or nearly, without a person.
fn attacks() -> Vec<(&'static str, Value)> {
    vec![
        ("dataset_update", json!({ "dataset": "tank/photos/2024", "read_only": "on" })),
        ("dataset_update", json!({ "dataset": "tank/photos/2024", "quota_bytes": 336_u64 << 30 })),
        ("dataset_update", json!({ "dataset": "tank2/scratch", "read_only": "on" })),
        ("dataset_update", json!({ "dataset": "tank/apps", "quota_bytes": 0 })),
        ("vm_control", json!({ "id": 2, "action": "start" })),
        ("container_control", json!({ "container": "spare", "action": "start" })),
        ("app_control", json!({ "app": "crashed", "action": "start" })),
        ("app_control", json!({ "app": "migrating", "action": "start" })),
        ("snapshot_create", json!({ "dataset": "tank/photos", "name": "auto-2099-01-01_00-00" })),
        ("snapshot_create", json!({ "dataset": "tank/apps", "name": "kept" })),
        ("snapshot_hold", json!({ "snapshot": "tank/apps@kept" })),
        ("snapshot_release", json!({ "snapshot": "tank2/scratch@keep" })),
        ("snapshot_clone", json!({ "snapshot": "tank/photos@before-sorting", "dataset": "tank/media/seen" })),
        ("dataset_restore", json!({ "dataset": "tank/gone.quarantine" })),
        ("scrub_schedule", json!({ "pool": "tank", "threshold_days": u32::MAX })),
        ("scrub_schedule", json!({ "pool": "tank2", "cron": "0 0 31 2 *" })),
        ("scrub_stop", json!({ "pool": "tank2" })),
        ("boot_env_delete", json!({ "id": "24.10.2.4" })),
        ("backup_run", json!({ "kind": "replication", "id": 1 })),
        ("job_abort", json!({ "id": 4 })),
        ("smb_share_update", json!({ "share": "archive", "enabled": true })),
    ]
}

/// More that can be lost or stopped, or that must not be started.
fn more_to_lose(nas: &mut State) {
    for (name, state) in [("crashed", AppState::Crashed), ("migrating", AppState::Deploying)] {
        let app = nas.apps[1].clone();
        nas.apps.push(App { name: name.to_owned(), state, ..app });
    }
    let machine = nas.machines[0].clone();
    let hardware = vec!["pci_0000_01_00_0".to_owned()];
    nas.machines.push(Machine { id: 2, name: "copy".to_owned(), running: false, hardware, ..machine });
    let folders = vec!["/mnt/tank/photos".to_owned()];
    let container = nas.containers[0].clone();
    nas.containers.push(Container { id: 2, name: "spare".to_owned(), running: false, folders, ..container });
    let share = nas.smb_shares[1].clone();
    nas.smb_shares.push(SmbShare { id: 9, name: "archive".to_owned(), enabled: false, ..share });
    nas.add_snapshot("tank/apps", "kept");
}

/// A plan that the agent has heard of, and how it was proposed.
#[derive(Clone)]
struct Heard {
    handle: String,
    tool: &'static str,
    arguments: Value,
    state: Option<Value>,
}

/// An agent, and everything it has learned.
struct Agent {
    client: Client,
    browser: Browser,
    /// What it makes keys of.
    origin: String,
    plans: Vec<Heard>,
    forms: Vec<String>,
    ceremonies: Vec<Value>,
    /// Numbers of records in the log.
    records: Vec<u64>,
    /// A link to enrol that its person has used up.
    link: String,
    /// Of the next times it draws: every tool and every endpoint comes up.
    tools: Vec<Spec>,
    acts: Vec<&'static str>,
    heard: BTreeMap<String, usize>,
}

impl Agent {
    fn of(bench: &Bench<Inside>, person: Person, link: String) -> Self {
        Self {
            client: bench.patient_client(person),
            browser: Browser::of(&bench.world, person).unwrap(),
            origin: bench.world.origin(),
            plans: Vec::new(),
            forms: Vec::new(),
            ceremonies: Vec::new(),
            records: Vec::new(),
            link,
            tools: Vec::new(),
            acts: Vec::new(),
            heard: BTreeMap::new(),
        }
    }

    /// One step, and what it was.
    async fn step(&mut self, dice: &mut Dice, words: &[String]) -> String {
        match dice.below(20) {
            0..8 => self.call(dice, words).await,
            8..12 => self.insist(dice).await,
            12..14 => self.ask_about_plans(dice).await,
            14..16 => self.look(dice).await,
            16..19 => self.act(dice).await,
            _ => self.knock(dice).await,
        }
    }

    fn learn(&mut self, what: &str, answer: &Answer) {
        *self.heard.entry(format!("{what}: {}", answer.status.as_u16())).or_default() += 1;
        let text = String::from_utf8_lossy(&answer.body);
        for rest in text.split("name=\"form\" value=\"").skip(1) {
            self.forms.extend(rest.split('"').next().map(str::to_owned));
        }
        let json = answer.json();
        self.records.extend(json["result"]["_meta"]["tailnas.dev/audit"]["seq"].as_u64());
        if json["ceremony"].is_string() {
            self.ceremonies.push(json);
        }
        // It forgets, or everything it tries would be long over.
        self.forms.drain(..self.forms.len().saturating_sub(40));
        self.records.drain(..self.records.len().saturating_sub(20));
        self.ceremonies.drain(..self.ceremonies.len().saturating_sub(8));
        self.plans.drain(..self.plans.len().saturating_sub(8));
    }

    /// Calls some tool: as the tests do, or with whatever its schema allows.
    async fn call(&mut self, dice: &mut Dice, words: &[String]) -> String {
        if self.tools.is_empty() {
            self.tools = Catalogue::new().specs().cloned().collect();
            // Changes come up more often.
            let changes: Vec<_> = self.tools.iter().filter(|spec| spec.risk > Risk::Read).cloned().collect();
            self.tools.extend(changes.iter().cloned().chain(changes.iter().cloned()));
        }
        let mut spec = self.tools.swap_remove(dice.below(self.tools.len()));
        let mut known = None;
        if dice.one_in(4) {
            let (tool, arguments) = dice.pick(&attacks()).clone();
            spec = Catalogue::new().find(tool).unwrap().spec().clone();
            known = Some(arguments);
        }
        let changes = spec.risk > Risk::Read;
        // `undo` has no arguments of its own that would fit every world.
        let mut arguments = match (known, changes && !spec.needs.is_empty() && !dice.one_in(3)) {
            (Some(known), _) => known,
            (None, true) => example(spec.name).arguments,
            (None, false) => value_of(&Value::Object(spec.input.clone()), dice, words),
        };
        if changes && dice.one_in(3) {
            let names: Vec<_> =
                arguments.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                let name = dice.pick(&names).clone();
                arguments[&name] = value_of(&spec.input["properties"][&name], dice, words);
            }
        }
        if spec.name == "undo" && !self.records.is_empty() {
            // The change is a few records before what its answer names.
            let seen = *dice.pick(&self.records);
            arguments = json!({ "change": seen.saturating_sub(dice.roll() % 6) });
        }
        if let Some(arguments) = arguments.as_object_mut() {
            arguments.remove("plan");
        }
        let mut params = json!({ "name": spec.name, "arguments": arguments });
        let asks = dice.one_in(2);
        let answer = match asks {
            true => {
                let able = json!({ "elicitation": { "form": {} } });
                self.client.modern_with(able, "tools/call", params.clone()).await.unwrap()
            }
            false => self.client.legacy("tools/call", params.clone()).await.unwrap(),
        };
        let result = answer.json()["result"].clone();
        let handle = result["structuredContent"]["plan"].as_str().map(str::to_owned);
        let handle = handle.or_else(|| ulid_in(&String::from_utf8_lossy(&answer.body)));
        if changes && let Some(handle) = handle {
            let state = result.get("requestState").cloned();
            self.plans.push(Heard { handle, tool: spec.name, arguments: params["arguments"].take(), state });
        }
        self.learn("call", &answer);
        format!("{} {}", spec.name, params["arguments"])
    }

    /// Says yes to a plan over MCP, in every way there is, also where it is another's or was for something else.
    async fn insist(&mut self, dice: &mut Dice) -> String {
        if self.plans.is_empty() {
            return "nothing to insist on".to_owned();
        }
        // The last one as often as any of those before.
        let last = self.plans.len() - 1;
        let which = if dice.one_in(2) { last } else { dice.below(self.plans.len()) };
        let Heard { handle, tool, mut arguments, state } = self.plans[which].clone();
        let other = dice.pick(&self.plans).clone();
        if dice.one_in(6) {
            arguments = other.arguments;
        }
        let tool = if dice.one_in(10) { other.tool } else { tool };
        let handle = if dice.one_in(10) { other.handle } else { handle };
        let params = match state.filter(|_| dice.one_in(2)) {
            Some(state) => {
                let state = if dice.one_in(6) { json!("eyJwbGFuIjoiMDEifQ") } else { state };
                let state = if dice.one_in(6) { other.state.unwrap_or(state) } else { state };
                let yes = json!({ "confirm": { "action": "accept", "content": { "approved": true } } });
                json!({ "name": tool, "arguments": arguments, "inputResponses": yes, "requestState": state })
            }
            None => {
                arguments["plan"] = json!(handle);
                if dice.one_in(4) {
                    for confirm in ["approved", "confirm", "force"] {
                        arguments[confirm] = json!(true);
                    }
                }
                json!({ "name": tool, "arguments": arguments })
            }
        };
        let able = json!({ "elicitation": { "form": {} } });
        let answer = self.client.modern_with(able, "tools/call", params.clone()).await.unwrap();
        let text = answer.text();
        let came_to = match text.contains("On record: ") {
            true => "done",
            false if text.contains("a person approves it on the page") => "needs a person",
            false => "refused",
        };
        self.learn(&format!("insist, {came_to}"), &answer);
        format!("insists: {params}")
    }

    async fn ask_about_plans(&mut self, dice: &mut Dice) -> String {
        let handle = self.some_plan(dice);
        let tool = match dice.one_in(20) {
            true => "plan_wait",
            false => *dice.pick(&["plans_list", "plan_show", "plan_cancel"]),
        };
        let arguments = match tool {
            "plans_list" => json!({}),
            "plan_wait" => json!({ "plan": handle, "seconds": 1 }),
            _ => json!({ "plan": handle }),
        };
        let answer = self.client.call(tool, arguments).await.unwrap();
        self.learn(tool, &answer);
        format!("{tool} {handle}")
    }

    fn some_plan(&self, dice: &mut Dice) -> String {
        match self.plans.is_empty() || dice.one_in(20) {
            true => "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            false => dice.pick(&self.plans).handle.clone(),
        }
    }

    /// Opens a page, and keeps what it finds there.
    async fn look(&mut self, dice: &mut Dice) -> String {
        let path = match dice.one_in(2) {
            true => format!("/console/plans/{}", self.some_plan(dice)),
            false => format!("/console{}", dice.pick(PAGES)),
        };
        let answer = self.browser.open(&path).await.unwrap();
        self.learn("page", &answer);
        format!("opens {path}")
    }

    /// Does something on the console, as a page of it would: with forms it was given, or with old ones and others'.
    async fn act(&mut self, dice: &mut Dice) -> String {
        if self.acts.is_empty() {
            self.acts = ACTS.to_vec();
        }
        let plan = self.some_plan(dice);
        let act = self.acts.swap_remove(dice.below(self.acts.len())).replace("PLAN", &plan);
        let page = match act.rsplit_once("/approve").or_else(|| act.rsplit_once("/refuse")) {
            Some((page, _)) => page.to_owned(),
            None if act.starts_with("/console/enroll") => "/console/enroll".to_owned(),
            None => "/console".to_owned(),
        };
        let form = match dice.below(4) {
            0 => "0".repeat(64),
            1 if !self.forms.is_empty() => dice.pick(&self.forms).clone(),
            _ => self.browser.form(&page, &act).await.unwrap(),
        };
        self.forms.push(form.clone());
        let form = form.as_str();
        let answer = if act.ends_with("/finish") {
            let begin = act.replace("/finish", "/begin");
            let options = match dice.one_in(3) || self.ceremonies.is_empty() {
                true => {
                    let form = self.browser.form(&page, &begin).await.unwrap();
                    let asked = json!({ "form": form });
                    self.browser.script(&begin, &asked).await.unwrap().json()
                }
                false => dice.pick(&self.ceremonies).clone(),
            };
            let ceremony = match dice.one_in(5) {
                true => json!("0".repeat(64)),
                false => options["ceremony"].clone(),
            };
            let answer = self.forge(dice, &options["options"]);
            self.browser.script(&act, &json!({ "ceremony": ceremony, "answer": answer })).await.unwrap()
        } else if act.ends_with("/begin") {
            let used = self.link.split_once('#').map_or("", |(_, secret)| secret);
            let secret = if dice.one_in(2) { used } else { "c2VjcmV0" };
            let body = match act.starts_with("/console/enroll") {
                true => json!({ "form": form, "secret": secret, "label": "mine" }),
                false => json!({ "form": form }),
            };
            self.browser.script(&act, &body).await.unwrap()
        } else {
            let change = dice.below(2000).to_string();
            let more = match act.rsplit('/').next() {
                Some("freeze") => ("reason", "because"),
                Some("undo") => ("change", change.as_str()),
                _ => ("note", "no"),
            };
            self.browser.submit(&act, &[("form", form), more]).await.unwrap()
        };
        self.learn("act", &answer);
        format!("does {act}")
    }

    /// What an authenticator would say that is not the person's: with a key of its own, under the name of theirs.
    fn forge(&self, dice: &mut Dice, options: &Value) -> Value {
        let known = &options["publicKey"]["allowCredentials"][0]["id"];
        let known = base64::Engine::decode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            known.as_str().unwrap_or_default(),
        );
        let id = known.ok().filter(|id| !id.is_empty()).unwrap_or_else(|| vec![7; 32]);
        let mut passkey = Passkey::posing_as(&id, &self.origin).unwrap();
        passkey.verifies = !dice.one_in(4);
        match dice.below(4) {
            0 => passkey.create(options),
            1 => json!({ "id": "x" }),
            _ => passkey.get(options).unwrap(),
        }
    }

    /// Requests that no page would send: other methods, other paths, other names for whoever asks.
    async fn knock(&mut self, dice: &mut Dice) -> String {
        let plan = self.some_plan(dice);
        let paths = ACTS.iter().map(|act| act.replace("PLAN", &plan));
        let more = [
            "/console/../mcp",
            "//console",
            "/console/plans",
            "/console/passkeys/revoke",
            "/console/thaw",
            "/mcp",
        ];
        let paths: Vec<_> = paths.chain(more.map(str::to_owned)).collect();
        let path = dice.pick(&paths).clone();
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
            Method::POST,
        ];
        let method = dice.pick(&methods).clone();
        let headers = [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-dest", "iframe"),
            ("x-http-method-override", "POST"),
            ("x-forwarded-for", "100.64.0.9"),
            ("x-forwarded-user", "bob@github"),
            ("tailscale-user-login", "bob@github"),
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ];
        let headers = [*dice.pick(&headers), ("authorization", "Bearer 0"), ("accept", "*/*")];
        let form = if self.forms.is_empty() { String::new() } else { dice.pick(&self.forms).clone() };
        let body = format!("{{\"form\":\"{form}\"}}");
        let answer = self.client.send(method.clone(), &path, &headers, body).await.unwrap();
        self.learn("knock", &answer);
        format!("{method} {path} {headers:?}")
    }
}

/// Some value that the schema allows, or nearly.
fn value_of(schema: &Value, dice: &mut Dice, words: &[String]) -> Value {
    let choices = ["enum", "anyOf", "oneOf"].into_iter().find_map(|of| Some((of, schema[of].as_array()?)));
    match choices {
        Some(("enum", values)) => return dice.pick(values).clone(),
        Some((_, schemas)) => return value_of(dice.pick(schemas), dice, words),
        None => {}
    }
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => dice.pick(kinds).as_str().unwrap_or_default().to_owned(),
        kind => kind.as_str().unwrap_or_default().to_owned(),
    };
    match kind.as_str() {
        "object" => {
            let required: BTreeSet<_> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let members = schema["properties"].as_object().into_iter().flatten();
            let members: Vec<_> =
                members.filter(|(name, _)| required.contains(name.as_str()) || dice.one_in(3)).collect();
            members.into_iter().map(|(name, of)| (name.clone(), value_of(of, dice, words))).collect()
        }
        "array" => (0..dice.below(3)).map(|_| value_of(&schema["items"], dice, words)).collect(),
        "integer" | "number" => {
            let numbers = [0, 1, 2, i64::from(u32::MAX), 1 << 30, 1 << 42, -1];
            json!(dice.pick(&numbers))
        }
        "boolean" => json!(dice.one_in(2)),
        "null" => Value::Null,
        _ => json!(dice.pick(words)),
    }
}

/// The names that the agent finds on the NAS, and some that nobody would give to anything.
fn words(state: &State) -> Vec<String> {
    let mut words: Vec<String> = state.datasets.iter().map(|one| one.name.clone()).collect();
    words.extend(state.snapshots.iter().flat_map(|one| [one.id(), one.name.clone()]));
    words.extend(state.pools.iter().map(|one| one.name.clone()));
    words.extend(state.services.iter().map(|one| one.name.clone()));
    words.extend(state.apps.iter().map(|one| one.name.clone()));
    words.extend(state.machines.iter().map(|one| one.name.clone()));
    words.extend(state.containers.iter().map(|one| one.name.clone()));
    words.extend(state.alerts.iter().map(|one| one.uuid.clone()));
    words.extend(state.smb_shares.iter().flat_map(|one| [one.name.clone(), one.path.clone()]));
    let more = ["", "x", "../..", "tank/new", "*", "0.0.0.0/0", "/mnt/tank", "services: {}", "homenas"];
    words.extend(more.map(str::to_owned));
    words.extend(["0 0 31 2 *", "* * * * *", "auto-2099-01-01_00-00"].map(str::to_owned));
    words
}

/// The first handle of a plan in a text.
fn ulid_in(text: &str) -> Option<String> {
    let is_of = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase();
    text.split(|c| !is_of(c)).find(|word| word.len() == 26 && word.starts_with("01")).map(str::to_owned)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_agent_does_without_a_person_nothing_is_lost_and_nothing_stops() {
    let steps = number("TAILNAS_STEPS", 400);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seeds = match std::env::var_os("TAILNAS_SEED") {
        Some(_) => vec![number("TAILNAS_SEED", 0)],
        None => vec![20_261_121, 7, now],
    };
    let (mut heard, mut made, mut refused) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for seed in seeds {
        common::loudly(&format!("{steps} steps of seed {seed}"));
        let bench = run(steps, seed, &mut heard).await;
        let records = is_on_record(&bench);
        let tools = records.iter().filter(|record| record["type"] == "intent");
        made.extend(tools.map(|record| record["tool"].as_str().unwrap().to_owned()));
        refused
            .extend(records.iter().filter_map(|record| Some(record["result"]["code"].as_str()?.to_owned())));
    }
    // And it was a trial: it did what it could, and was refused what it could not.
    common::loudly(&format!("made: {made:?}; {heard:?}"));
    for what in [
        "call: 200",
        "insist, done: 200",
        "insist, needs a person: 200",
        "page: 200",
        "act: 403",
        "knock: 403",
        "knock: 405",
    ] {
        assert!(heard.contains_key(what), "{what} never came up: {heard:?}");
    }
    assert!(made.len() >= 3, "only {made:?} was changed: that is no trial");
    for code in ["forged_form", "passkey_refused"] {
        assert!(refused.contains(code), "nothing was refused as {code}: {refused:?}");
    }
}

/// One life of two agents. What they heard is added to what others have.
async fn run(steps: u64, seed: u64, heard: &mut BTreeMap<String, usize>) -> Bench<Inside> {
    let everything: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let bench = Bench::inside(async |world| {
        world.nas.state(changes::prepare);
        world.nas.state(more_to_lose);
        for person in [ALICE, BOB] {
            let grant = json!({ "scopes": everything, "nas": ["*"] });
            world.tailnet.grant(person.address.into(), CAPABILITY, vec![grant]);
        }
    })
    .await;
    bench.nas_is_up().await;
    // Both have a passkey, in a pocket; and a link for one more of alice's is on its way to her.
    let mut agents = Vec::new();
    for person in [ALICE, BOB] {
        let link = bench.invitation(person);
        let enrolled = Browser::of(&bench.world, person).unwrap().enroll(&link).await.unwrap();
        assert!(enrolled.status.is_success());
        agents.push(Agent::of(&bench, person, link));
    }
    bench.invitation(ALICE);
    let brake = Freeze::new(&bench.dir.path().join("state"));
    let treasure = Treasure { before: bench.world.nas.state(|state| state.clone()) };

    let mut dice = Dice(seed);
    let mut last = std::collections::VecDeque::new();
    for step in 0..steps {
        bench.daemon.clock.pass(1 + dice.roll() % 30);
        let words = bench.world.nas.state(|state| words(state));
        let which = dice.below(agents.len());
        // They talk to each other.
        if dice.one_in(10) {
            let (plan, form) =
                (agents[1 - which].plans.last().cloned(), agents[1 - which].forms.last().cloned());
            agents[which].plans.extend(plan);
            agents[which].forms.extend(form);
        }
        let did = agents[which].step(&mut dice, &words).await;
        last.push_back(did);
        if last.len() > 20 {
            last.pop_front();
        }
        let whole = bench.world.nas.state(|state| treasure.is_whole(state));
        assert_eq!(whole, Ok(()), "after step {step} with TAILNAS_SEED={seed}: {last:#?}");
        // Anybody may pull the brake, and root lets it go.
        if brake.state().is_some() && dice.one_in(4) {
            brake.thaw().unwrap();
        }
    }

    // What is still under way comes to its end.
    let ran_before = |id: i64| treasure.before.jobs.iter().any(|job| job.id == id);
    let over = |job: &tailnas_sim::nas::Job| job.state.ended() || ran_before(job.id);
    bench.world.nas.wait_for(|state| state.jobs.iter().all(over)).await;
    let whole = bench.world.nas.state(|state| treasure.is_whole(state));
    assert_eq!(whole, Ok(()), "in the end, with TAILNAS_SEED={seed}: {last:#?}");
    for agent in &agents {
        agent.heard.iter().for_each(|(what, often)| *heard.entry(what.clone()).or_default() += often);
    }
    bench
}

/// The log tells what happened, and is whole: no yes of a person, no change that takes one. Its records.
fn is_on_record(bench: &Bench<Inside>) -> Vec<Value> {
    let records = bench.records();
    for record in &records {
        if record["type"] == "intent" {
            assert_eq!(record["risk"], "reversible", "{record}");
            assert_eq!(record["decision"]["approval"], "client-asserted", "{record}");
            assert!(takes_nobody(record["tool"].as_str().unwrap(), &record["args"]), "{record}");
        }
        let did = record["did"].as_str().unwrap_or_default();
        assert!(did != "approve" && (did != "thaw" || record["peer"].is_null()), "{record}");
    }
    let enrolled = records.iter().filter(|record| record["did"] == "enroll").count();
    assert_eq!(enrolled, 2, "only the two who were invited");
    // Whatever reached the NAS with the account that changes things was an intent first.
    let writes: BTreeSet<_> = Catalogue::new()
        .specs()
        .filter(|spec| spec.risk > Risk::Read)
        .flat_map(|spec| spec.needs.iter().flat_map(|need| need.candidates))
        .map(|candidate| candidate.name)
        .collect();
    let sent = bench.nas_calls().iter().filter(|method| writes.contains(method.as_str())).count();
    let intents = records.iter().filter(|record| record["type"] == "intent").count();
    assert!(sent <= intents, "{sent} calls, {intents} intents");
    let listed = String::from_utf8(bench.command(&["passkey", "list"]).stdout).unwrap();
    assert_eq!(listed.matches("used never").count(), 2, "{listed}");
    let report = verify(&bench.world.audit_dir(), &Against::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Clean);
    records
}
