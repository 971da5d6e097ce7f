//! What the pages show: plain data, cleaned and put into words, for the templates in `pages/`.

use std::fmt::Write as _;

use askama::Template;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::caller::Caller;
use crate::domain::risk::Risk;
use crate::domain::text::foreign;
use crate::passkey::Listed;
use crate::policy::plans::{End, State, View};
use crate::server::health::Part;
use crate::tailnet::PeerUser;
use crate::tools::render::size;

/// The pages that have a place in the head of each.
pub(super) const PLACES: &[(&str, &str)] = &[
    ("/console", "Now"),
    ("/console/connect", "Connect"),
    ("/console/why", "Why can't I"),
    ("/console/audit", "Audit"),
    ("/console/passkeys", "Passkeys"),
];

/// The kinds of records that one can filter for.
pub(super) const KINDS: &[(&str, &str)] = &[
    ("", "Everything"),
    ("changes", "Changes"),
    ("read", "Reads"),
    ("refused", "Refusals"),
    ("daemon", "The daemon itself"),
];

/// What every page has around it.
#[derive(Debug)]
pub(super) struct Frame {
    pub title: String,
    pub path: &'static str,
    pub me: Option<Me>,
}

#[derive(Debug)]
pub(super) struct Me {
    pub login: String,
    pub node: String,
}

impl Frame {
    pub fn new(title: impl Into<String>, path: &'static str, visitor: &Caller) -> Self {
        let me = Me {
            login: foreign(visitor.name(), 80),
            node: foreign(visitor.peer().node_name().split('.').next().unwrap_or_default(), 80),
        };
        Self { title: title.into(), path, me: Some(me) }
    }

    /// For somebody we do not know.
    pub fn bare(title: &str) -> Self {
        Self { title: title.to_owned(), path: "", me: None }
    }
}

/// What could be seen, or why it could not.
#[derive(Debug)]
pub(super) enum Seen<T> {
    Yes(T),
    No(String),
}

impl<T> Seen<T> {
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Yes(seen) => Seen::Yes(with(seen)),
            Self::No(why) => Seen::No(why),
        }
    }
}

/// Something for each NAS, by its name.
pub(super) type ByNas<T> = Vec<(String, Seen<T>)>;

#[derive(Template)]
#[template(path = "message.html")]
pub(super) struct Message {
    pub frame: Frame,
    pub lines: Vec<String>,
}

#[derive(Template)]
#[template(path = "home.html")]
pub(super) struct Home {
    pub frame: Frame,
    pub frozen: Option<String>,
    /// The token with which changes can be thawed.
    pub thaw: Option<String>,
    /// The token with which changes can be frozen.
    pub freeze: Option<String>,
    pub waiting: Vec<Waiting>,
    pub parts: Vec<Vital>,
    pub attention: Vec<Heed>,
    pub pools: ByNas<Vec<Pool>>,
    pub jobs: ByNas<Vec<Job>>,
    pub changes: Seen<Vec<Change>>,
    /// The token with which one of them can be taken back.
    pub take_back: String,
}

#[derive(Template)]
#[template(path = "plan.html")]
pub(super) struct PlanPage {
    pub frame: Frame,
    pub plan: Shown,
    /// Absent where there is nothing to decide any more.
    pub forms: Option<Decision>,
}

#[derive(Template)]
#[template(path = "connect.html")]
pub(super) struct Connect {
    pub frame: Frame,
    pub clients: Vec<Client>,
}

#[derive(Template)]
#[template(path = "why.html")]
pub(super) struct Why {
    pub frame: Frame,
    pub login: String,
    pub node: String,
    pub tables: Vec<(String, Vec<Verdict>)>,
    pub grant: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
pub(super) struct Audit {
    pub frame: Frame,
    pub badge: Badge,
    pub filter: Filter,
    pub shown: String,
    pub rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "passkeys.html")]
pub(super) struct Passkeys {
    pub frame: Frame,
    pub login: String,
    pub listed: Seen<Vec<Listed>>,
}

#[derive(Template)]
#[template(path = "enroll.html")]
pub(super) struct Enroll {
    pub frame: Frame,
    pub login: String,
    pub form: String,
}

/// A plan that waits, on the first page.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: String,
    pub summary: String,
    pub risk: String,
    pub tone: &'static str,
    pub login: String,
    pub expires: String,
}

impl Waiting {
    pub fn of(view: &View) -> Self {
        let plan = &view.plan;
        Self {
            id: plan.id().to_string(),
            summary: plan.draft().summary.clone(),
            risk: plan.risk().to_string(),
            tone: tone_of_risk(plan.risk()),
            login: foreign(plan.caller().name(), 80),
            expires: moment(plan.expires()),
        }
    }
}

/// A plan, in full.
#[derive(Debug)]
pub(super) struct Shown {
    pub id: String,
    pub risk: String,
    pub tone: &'static str,
    pub state: &'static str,
    pub state_tone: &'static str,
    /// Whether it is being carried out, so that there is something to follow.
    pub runs: bool,
    pub result: Option<String>,
    pub nas: String,
    pub title: &'static str,
    pub tool: &'static str,
    pub login: String,
    pub node: String,
    pub own: bool,
    pub proposed: String,
    pub expires: String,
    pub stops: Vec<String>,
    pub dependents: Vec<(&'static str, String)>,
    pub bytes: Option<String>,
    pub undoable: bool,
    pub undo: String,
    pub warnings: Vec<String>,
    pub unseen: Vec<String>,
    pub changes: Vec<BeforeAfter>,
    pub arguments: String,
    pub digest: String,
    pub client: Option<String>,
    pub client_id: Option<String>,
    pub reason: Option<String>,
}

#[derive(Debug)]
pub(super) struct BeforeAfter {
    pub what: String,
    pub before: String,
    pub after: String,
}

/// What can be said to a plan, and with which tokens.
#[derive(Debug)]
pub(super) struct Decision {
    pub how: String,
    pub can_approve: bool,
    pub approve: String,
    pub refuse: String,
}

impl Shown {
    pub fn of(view: &View, visitor: &Caller) -> Self {
        let View { plan, state } = view;
        let (draft, caller) = (plan.draft(), plan.caller());
        let (state_tone, result) = match state {
            State::Waiting => ("warn", None),
            State::Running { approved_by, percent } => {
                let by = approved_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
                let far = percent.map(|percent| format!(", {percent} % done")).unwrap_or_default();
                ("warn", Some(format!("Approved{by}; it is being carried out{far}.")))
            }
            State::Over { end, text } => {
                let tone = match end {
                    End::Done => "good",
                    End::Refused | End::Cancelled | End::Expired => "warn",
                    End::Failed | End::Unknown => "bad",
                };
                (tone, Some(foreign(text, 1500)))
            }
        };
        let side = |side: &Option<String>, absent: &str| side.clone().unwrap_or_else(|| absent.to_owned());
        Self {
            id: plan.id().to_string(),
            risk: plan.risk().to_string(),
            tone: tone_of_risk(plan.risk()),
            state: state.word(),
            state_tone,
            runs: matches!(state, State::Running { .. }),
            result,
            nas: plan.nas().to_string(),
            title: plan.title(),
            tool: plan.tool(),
            login: foreign(caller.name(), 80),
            node: foreign(caller.peer().node_name(), 80),
            own: caller.user().map(PeerUser::id) == visitor.user().map(PeerUser::id),
            proposed: moment(plan.proposed()),
            expires: moment(plan.expires()),
            stops: draft.stops.clone(),
            dependents: draft.dependents.iter().map(|on| (on.kind, on.name.clone())).collect(),
            bytes: draft.bytes.map(size),
            undoable: draft.undo.is_possible(),
            undo: draft.undo.to_string(),
            warnings: draft.warnings.clone(),
            unseen: draft.unseen.clone(),
            changes: draft
                .changes
                .iter()
                .map(|change| BeforeAfter {
                    what: change.what.clone(),
                    before: side(&change.before, "not there"),
                    after: side(&change.after, "gone"),
                })
                .collect(),
            arguments: serde_json::to_string_pretty(plan.shown()).unwrap_or_default(),
            digest: hex::encode(plan.digest()),
            client: plan.mcp().client.as_deref().map(|client| foreign(client, 80)),
            client_id: caller.token().and_then(|token| token.client_id()).map(|id| foreign(id, 80)),
            reason: plan.reason().map(|reason| foreign(reason, 1000)),
        }
    }
}

fn tone_of_risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Read | Risk::Reversible => "",
        Risk::Disruptive => "warn",
        Risk::Destructive => "bad",
    }
}

/// How it is with something our work needs.
#[derive(Debug)]
pub(super) struct Vital {
    pub name: String,
    pub word: &'static str,
    pub tone: &'static str,
    pub since: String,
    pub why: Option<String>,
}

impl Vital {
    pub fn of(name: impl Into<String>, part: &Part) -> Self {
        let (word, tone) = if part.ok { ("up", "good") } else { ("down", "bad") };
        let why = part.why.as_deref().map(|why| foreign(why, 300));
        Self { name: name.into(), word, tone, since: moment(part.since), why }
    }
}

/// What needs attention about a NAS.
#[derive(Debug)]
pub(super) struct Heed {
    pub nas: String,
    /// What on our side of it ends by itself, for those who may see how it is.
    pub ending: Vec<String>,
    pub health: Seen<Attention>,
}

/// The answer of `system_health`.
#[derive(Debug, Deserialize)]
pub(super) struct Attention {
    pub verdict: String,
    #[serde(default)]
    pub findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Finding {
    #[serde(rename = "level")]
    pub severity: String,
    pub what: String,
}

impl Attention {
    pub fn tone(&self) -> &'static str {
        tone_of(&self.verdict)
    }
}

impl Finding {
    pub fn tone(&self) -> &'static str {
        tone_of(&self.severity)
    }
}

fn tone_of(verdict: &str) -> &'static str {
    match verdict {
        "healthy" => "good",
        "critical" => "bad",
        _ => "warn",
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    pub name: String,
    pub status: String,
    pub tone: &'static str,
    pub usage: Option<Usage>,
    pub history: Option<History>,
    pub outlook: Option<String>,
}

#[derive(Debug)]
pub(super) struct Usage {
    pub percent: f64,
    pub size: String,
    pub free: String,
}

/// A point of a pool's history.
#[derive(Debug, Deserialize)]
pub(super) struct Point {
    pub at: DateTime<Utc>,
    pub used_percent: f64,
}

/// How a pool grows.
#[derive(Debug, Deserialize)]
pub(super) struct Growth {
    clear: bool,
    bytes_per_day: f64,
    reaches: Vec<Reach>,
}

#[derive(Debug, Deserialize)]
struct Reach {
    percent: u8,
    days: f64,
    soonest: f64,
    latest: f64,
}

/// A picture of use over time.
#[derive(Debug)]
pub(super) struct History {
    /// The path of an SVG of 600 by 100, of which 100 is the bottom.
    pub path: String,
    /// The same in words.
    pub words: String,
}

impl History {
    /// Of points, oldest first; nothing where there are fewer than two moments.
    pub fn of(points: &[Point]) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a year or two")]
        let seconds = |from: &Point, to: &Point| (to.at - from.at).num_seconds() as f64;
        let (first, last) = (points.first()?, points.last()?);
        let span = seconds(first, last);
        if span <= 0.0 {
            return None;
        }
        let mut path = String::new();
        for point in points {
            let x = seconds(first, point) / span * 600.0;
            let y = 100.0 - point.used_percent.clamp(0.0, 100.0);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let (from, to) = (first.used_percent, last.used_percent);
        let words = format!(
            "From {from:.1} % on {} to {to:.1} % on {}; the dashed line is {CROWDED} %.",
            first.at.format("%Y-%m-%d"),
            last.at.format("%Y-%m-%d")
        );
        Some(Self { path, words })
    }
}

/// So full, in percent, a pool becomes slow, and TrueNAS warns.
const CROWDED: u8 = 85;

impl Growth {
    /// When a pool that is so full now will be crowded, in words; nothing where it is already.
    pub fn outlook(&self, used_percent: f64) -> Option<String> {
        if used_percent >= f64::from(CROWDED) {
            return None;
        }
        let Self { clear, bytes_per_day, reaches } = self;
        let crowded = reaches.iter().find(|reach| reach.percent == CROWDED);
        Some(match (crowded, clear) {
            (Some(Reach { days, soonest, latest, .. }), _) => {
                format!("{CROWDED} % full in {days:.0} days ({soonest:.0} to {latest:.0}).")
            }
            (None, false) => "No clear growth.".to_owned(),
            (None, true) if *bytes_per_day <= 0.0 => "It shrinks.".to_owned(),
            (None, true) => format!("It grows; when it will be {CROWDED} % full cannot be said yet."),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub method: String,
    pub percent: Option<f64>,
    pub says: Option<String>,
}

#[derive(Debug)]
pub(super) struct Change {
    pub seq: u64,
    pub at: String,
    pub who: String,
    pub what: String,
    pub status: String,
    pub tone: &'static str,
    pub undo: Option<String>,
    /// Whether a call takes it back, which can be planned from here.
    pub can_undo: bool,
}

/// A client, and what to copy into it.
#[derive(Debug)]
pub(super) struct Client {
    pub id: &'static str,
    pub name: &'static str,
    pub what: &'static str,
    pub text: String,
}

/// Whether somebody may call a tool.
#[derive(Debug)]
pub(super) struct Verdict {
    pub tool: &'static str,
    pub allowed: bool,
    pub why: String,
}

/// What a check of the log came to.
#[derive(Clone, Debug)]
pub(super) struct Badge {
    pub tone: &'static str,
    pub word: &'static str,
    pub words: String,
}

impl Badge {
    pub const fn not_checked(words: String) -> Self {
        Self { tone: "warn", word: "Not checked", words }
    }
}

/// Which records are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    pub who: String,
    pub what: String,
    pub kind: String,
}

/// A record of the log, as its JSON says: whatever kinds there will be, none is left out here.
#[derive(Debug)]
pub(super) struct Row {
    pub seq: u64,
    pub at: String,
    pub kind: String,
    pub who: String,
    pub what: String,
    pub result: String,
    pub tone: &'static str,
}

impl Row {
    pub fn of(record: &Value) -> Self {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let words = |parts: &[&str]| {
            let parts = parts.iter().filter(|part| !part.is_empty()).copied();
            foreign(&parts.collect::<Vec<_>>().join(" "), 200)
        };
        let who = [text("/peer/user"), text("/peer/node_name"), text("/auth/username"), text("/from")];
        let kind = text("/type");
        let result = text("/result/status");
        let status = if result.is_empty() { text("/status") } else { result };
        let what = if is_of_the_daemon(kind) {
            foreign(&of_the_daemon(record), 200)
        } else {
            words(&[
                text("/did"),
                text("/tool"),
                text("/target"),
                text("/nas"),
                text("/plan/id"),
                text("/note"),
            ])
        };
        Self {
            seq: record["seq"].as_u64().unwrap_or_default(),
            at: text("/ts").get(..19).unwrap_or_default().replace('T', " "),
            kind: foreign(kind, 40),
            who: foreign(who.into_iter().find(|who| !who.is_empty()).unwrap_or_default(), 80),
            what,
            result: words(&[status, text("/result/code")]),
            tone: match status {
                "ok" => "good",
                "denied" | "error" => "warn",
                "unknown" | "timeout" => "bad",
                _ => "",
            },
        }
    }

    pub fn fits(&self, filter: &Filter) -> bool {
        let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.trim().to_lowercase());
        let kind = match filter.kind.as_str() {
            "" => true,
            "changes" => matches!(self.kind.as_str(), "intent" | "accepted" | "outcome" | "person"),
            "read" => self.kind == "read",
            "refused" => matches!(self.kind.as_str(), "denied" | "auth_fail"),
            "daemon" => is_of_the_daemon(&self.kind),
            _ => false,
        };
        kind && holds(&self.who, &filter.who) && holds(&self.what, &filter.what)
    }
}

/// Whether nobody asked for what such a record is about. Kinds of later versions are taken for such, so that each is
/// found by one of the filters.
fn is_of_the_daemon(kind: &str) -> bool {
    !matches!(kind, "intent" | "accepted" | "outcome" | "person" | "read" | "denied" | "auth_fail")
}

/// What such a record says, for people.
fn of_the_daemon(record: &Value) -> String {
    let word = |name: &str| match &record[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let said = [
        ("tailnas", "version "),
        ("to", "goes on in "),
        ("free", "bytes free: "),
        ("by_ms", "milliseconds: "),
        ("have", "records that are there: "),
        ("size", "records that were: "),
        ("len", "bytes damaged: "),
        ("system", "looked at the NAS: "),
        ("vkey", "key "),
    ];
    let said = said.iter().filter_map(|(name, words)| Some(format!("{words}{}", word(name)?)));
    said.collect::<Vec<_>>().join(", ")
}

/// A moment, to the second, in UTC.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_two_points_at_least_and_stays_in_its_frame() {
        let point =
            |second, used_percent| Point { at: DateTime::from_timestamp(second, 0).unwrap(), used_percent };
        assert!(History::of(&[]).is_none());
        assert!(History::of(&[point(0, 1.0)]).is_none());
        assert!(History::of(&[point(5, 1.0), point(5, 2.0)]).is_none());
        let history = History::of(&[point(0, 40.0), point(86_400, 50.0), point(172_800, 120.0)]).unwrap();
        assert_eq!(history.path, "M0.0 60.0L300.0 50.0L600.0 0.0");
        assert!(history.words.contains("From 40.0 % on 1970-01-01"), "{}", history.words);
    }

    #[test]
    fn when_a_pool_will_be_crowded_is_said_only_where_it_is_known() {
        let growth = |clear, bytes_per_day, percent| Growth {
            clear,
            bytes_per_day,
            reaches: vec![Reach { percent, days: 40.4, soonest: 31.6, latest: 52.0 }],
        };
        for (full, growth, said) in [
            (62.0, growth(true, 1e9, 85), Some("85 % full in 40 days (32 to 52).")),
            (62.0, growth(true, 1e9, 70), Some("It grows; when it will be 85 % full cannot be said yet.")),
            (62.0, growth(true, -1e9, 70), Some("It shrinks.")),
            (62.0, growth(false, 1e9, 70), Some("No clear growth.")),
            (85.0, growth(true, 1e9, 85), None),
        ] {
            assert_eq!(growth.outlook(full).as_deref(), said);
        }
    }

    #[test]
    fn a_record_of_any_kind_is_a_row() {
        let record = serde_json::json!({
            "seq": 7, "ts": "2026-11-21T12:00:00.123456Z", "type": "outcome", "tool": "snapshot_create",
            "target": "tank/x\u{202e}", "result": { "status": "ok" },
        });
        let row = Row::of(&record);
        assert_eq!(
            (row.seq, row.at.as_str(), row.what.as_str()),
            (7, "2026-11-21 12:00:00", "snapshot_create tank/x")
        );
        assert!(row.fits(&Filter { what: "TANK".into(), kind: "changes".into(), ..Filter::default() }));
        assert!(!row.fits(&Filter { who: "alice".into(), ..Filter::default() }));
        let empty = Row::of(&serde_json::json!({ "type": "of a later version" }));
        assert!(empty.fits(&Filter::default()) && empty.result.is_empty());
    }

    #[test]
    fn each_record_is_found_by_one_kind_and_what_the_daemon_did_by_its_own() {
        for (record, kind, what) in [
            (serde_json::json!({ "type": "start", "tailnas": "1.0.0", "pid": 7 }), "daemon", "version 1.0.0"),
            (serde_json::json!({ "type": "checkpoint", "note": "a signed note" }), "daemon", ""),
            (serde_json::json!({ "type": "reload", "config": "ab", "status": "ok" }), "daemon", ""),
            (
                serde_json::json!({ "type": "stop", "system": { "expiry": 2 } }),
                "daemon",
                r#"looked at the NAS: {"expiry":2}"#,
            ),
            (serde_json::json!({ "type": "of a later version", "tool": "x" }), "daemon", ""),
            (serde_json::json!({ "type": "outcome", "tool": "x", "parent": 3 }), "changes", "x"),
            // Root on the host, who has no peer.
            (
                serde_json::json!({ "type": "person", "did": "freeze", "note": "odd" }),
                "changes",
                "freeze odd",
            ),
            (serde_json::json!({ "type": "auth_fail", "from": "100.64.0.1" }), "refused", ""),
            (serde_json::json!({ "type": "read", "tool": "pools_list" }), "read", "pools_list"),
        ] {
            let row = Row::of(&record);
            let fits = |kind: &&str| row.fits(&Filter { kind: (*kind).into(), ..Filter::default() });
            let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| !kind.is_empty()).collect();
            assert_eq!(kinds.into_iter().filter(fits).collect::<Vec<_>>(), [kind], "{record}");
            assert_eq!(row.what, what, "{record}");
        }
    }
}
