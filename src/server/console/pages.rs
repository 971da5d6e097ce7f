//! The pages that look. None of them changes anything.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::view::{
    Attention, Audit, Badge, ByNas, Change, Client, Connect, Decision, Enroll, Filter, Frame, Growth, Heed,
    History, Home, Job, Passkeys, PlanPage, Point, Pool, Row, Seen, Shown, Usage, Verdict, Vital, Waiting,
    Why,
};
use super::{Console, Visitor, owner};
use crate::audit::tail::{self, Entry};
use crate::audit::verify::{self, Against, verify};
use crate::caller::Caller;
use crate::dispatch::{Call, Reply, explain};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::plan::UndoNote;
use crate::domain::scope::Scope;
use crate::domain::text::foreign;
use crate::domain::who::McpNote;
use crate::passkey::PasskeyError;
use crate::policy::freeze::Frozen;
use crate::policy::plans::State as Waits;
use crate::tools::render::{capital, size};

/// How long the outcome of a check of the log is shown before it is checked again.
const CHECKED_FOR: Duration = Duration::from_mins(1);

/// Records that are looked through, and shown.
const LOOKED_THROUGH: usize = 5000;
const SHOWN: usize = 200;

/// Changes on the first page.
const CHANGES: usize = 10;

type Page = Result<Response, Fault>;

fn page(template: &impl Template) -> Page {
    Ok(Html(template.render().map_err(|error| Fault::broken(&error))?).into_response())
}

/// `GET /console`
pub(super) async fn home(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Page {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let (report, attention, pools, jobs, changes) = tokio::join!(
        console.parts.watch.report(),
        console.attention(&visitor),
        console.pools(&visitor),
        console.on_each::<Jobs>(&visitor, "jobs_list", json!({ "state": "running" })),
        console.changes(&visitor),
    );
    let mut parts: Vec<_> =
        report.nas.iter().map(|(name, part)| Vital::of(format!("NAS {name}"), part)).collect();
    parts.extend([
        Vital::of("Provider", &report.provider),
        Vital::of("tailscaled", &report.tailscaled),
        Vital::of("Audit log", &report.audit),
    ]);
    let frozen = console.parts.plans.brake().state();
    let may_brake = console.may_brake(&visitor);
    page(&Home {
        frame: Frame::new("Now", "/console", &visitor),
        thaw: (may_brake && frozen.is_some()).then(|| console.forms.to_be_asked(owner.id, "thaw")),
        freeze: (may_brake && frozen.is_none()).then(|| console.forms.issue(owner.id, "freeze")),
        frozen: frozen.map(|frozen| in_words(&frozen)),
        waiting: console.waiting(&visitor, owner.id),
        parts,
        attention,
        take_back: console.forms.issue(owner.id, "undo"),
        pools,
        jobs: jobs.into_iter().map(|(nas, seen)| (nas, seen.map(|seen| seen.jobs))).collect(),
        changes,
    })
}

/// `GET /console/plans/ID`
pub(super) async fn plan(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Page {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let view = console.plan(&visitor, &id).ok_or_else(Fault::no_plan)?;
    let forms = (view.state == Waits::Waiting).then(|| {
        let brake = console.parts.plans.brake().state();
        let (can_approve, how) = match (brake, console.parts.passkeys.of(&owner)) {
            (Some(frozen), _) => {
                let why = in_words(&frozen);
                (false, format!("Changes are frozen. {why} Until somebody thaws them this can only be refused."))
            }
            (None, Ok(keys)) if keys.is_empty() => {
                let why = PasskeyError::None(foreign(&owner.login, 80));
                (false, format!("To approve takes a passkey, and {why}"))
            }
            (None, Ok(_)) => (true, "Your passkey answers for exactly this plan. Once approved it runs by itself; nobody has to ask again.".to_owned()),
            (None, Err(error)) => (false, error.to_string()),
        };
        Decision {
            how,
            can_approve,
            approve: console.forms.to_be_asked(owner.id, format!("approve {id}")),
            refuse: console.forms.issue(owner.id, format!("refuse {id}")),
        }
    });
    let frame = Frame::new(view.plan.draft().summary.clone(), "", &visitor);
    page(&PlanPage { frame, plan: Shown::of(&view, &visitor), forms })
}

/// `GET /console/connect`
pub(super) async fn connect(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Page {
    let url = console.parts.url.as_str();
    let pretty = |value: Value| serde_json::to_string_pretty(&value).unwrap_or_default();
    // mcp-remote takes plain HTTP only when told to, and there is none but on the machine itself.
    let remote = if url.starts_with("http:") {
        json!(["mcp-remote", url, "--allow-http"])
    } else {
        json!(["mcp-remote", url])
    };
    let clients = vec![
        Client {
            id: "claude-code",
            name: "Claude Code",
            what: "In a terminal; then /mcp in Claude Code, and Authenticate.",
            text: format!("claude mcp add --transport http tailnas {url}"),
        },
        Client {
            id: "claude-desktop",
            name: "Claude Desktop",
            what: "In claude_desktop_config.json, through mcp-remote, which needs Node.js.",
            text: pretty(json!({ "mcpServers": { "tailnas": { "command": "npx", "args": remote } } })),
        },
        Client {
            id: "vs-code",
            name: "VS Code",
            what: "In .vscode/mcp.json of a workspace, or in the user's mcp.json.",
            text: pretty(json!({ "servers": { "tailnas": { "type": "http", "url": url } } })),
        },
        Client {
            id: "cursor",
            name: "Cursor",
            what: "In ~/.cursor/mcp.json.",
            text: pretty(json!({ "mcpServers": { "tailnas": { "url": url } } })),
        },
    ];
    page(&Connect { frame: Frame::new("Connect a client", "/console/connect", &visitor), clients })
}

/// `GET /console/why`
pub(super) async fn why(State(console): State<Arc<Console>>, Extension(visitor): Extension<Visitor>) -> Page {
    let dispatcher = &console.parts.dispatcher;
    let names = dispatcher.nas_names();
    let on = |nas: &NasName| {
        let verdict = |spec: &crate::tools::Spec| {
            let (allowed, why) = explain(spec, visitor.grants(), nas);
            Verdict { tool: spec.name, allowed, why }
        };
        (nas.to_string(), dispatcher.catalogue().specs().map(verdict).collect::<Vec<_>>())
    };
    let missing: Vec<&str> = Scope::ALL
        .iter()
        .filter(|scope| names.iter().any(|nas| visitor.grants().allows(**scope, nas).is_none()))
        .map(|scope| scope.as_str())
        .collect();
    let grant = (!missing.is_empty()).then(|| {
        let grant = json!({
            "src": visitor.sources(), "dst": ["<the node that tailnas runs on>"],
            "app": { &console.parts.capability: [{ "scopes": missing, "nas": names }] },
        });
        serde_json::to_string_pretty(&grant).unwrap_or_default()
    });
    page(&Why {
        frame: Frame::new("Why can't I", "/console/why", &visitor),
        login: foreign(visitor.name(), 80),
        node: foreign(visitor.peer().node_name(), 80),
        tables: names.iter().map(on).collect(),
        grant,
    })
}

/// `GET /console/audit`
pub(super) async fn audit(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(filter): Query<Filter>,
) -> Page {
    let (badge, records) = tokio::join!(console.badge(), console.records(&visitor));
    let records = records.map_err(|error| Fault::broken(&error))?;
    let rows = records.iter().rev().map(Row::of).filter(|row| row.fits(&filter));
    let rows: Vec<_> = rows.take(SHOWN).collect();
    let whose = if sees_all(&visitor, &console.parts.dispatcher.nas_names()) {
        ""
    } else {
        " Without the scope audit:read these are your own."
    };
    let shown = format!("{} records, the newest first, of the last {LOOKED_THROUGH}.{whose}", rows.len());
    page(&Audit { frame: Frame::new("Audit log", "/console/audit", &visitor), badge, filter, shown, rows })
}

/// `GET /console/passkeys`
pub(super) async fn passkeys(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Page {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    let listed = match console.parts.passkeys.of(&owner) {
        Ok(listed) => Seen::Yes(listed),
        Err(error) => Seen::No(error.to_string()),
    };
    page(&Passkeys {
        frame: Frame::new("Passkeys", "/console/passkeys", &visitor),
        login: foreign(visitor.name(), 80),
        listed,
    })
}

/// `GET /console/enroll`: the secret of the link stands behind its `#`, which browsers do not send.
pub(super) async fn enroll(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Page {
    let owner = owner(&visitor).ok_or_else(Fault::nobody)?;
    page(&Enroll {
        frame: Frame::new("Enrol a passkey", "/console/enroll", &visitor),
        login: foreign(&owner.login, 80),
        form: console.forms.to_be_asked(owner.id, "enrol"),
    })
}

/// As much of `pools_list` as is shown.
#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolSeen>,
}

#[derive(Deserialize)]
struct PoolSeen {
    name: String,
    status: String,
    healthy: Option<bool>,
    size_bytes: Option<u64>,
    free_bytes: Option<u64>,
    used_percent: Option<f64>,
}

impl PoolSeen {
    fn with(self, past: Option<&Capacity>) -> Pool {
        let Self { name, status, healthy, size_bytes, free_bytes, used_percent } = self;
        let growth = past.and_then(|past| past.growth.as_ref());
        Pool {
            tone: match (healthy, status.as_str()) {
                (Some(true), _) | (None, "ONLINE") => "good",
                (_, "FAULTED" | "OFFLINE" | "UNAVAIL") => "bad",
                _ => "warn",
            },
            usage: match (used_percent, size_bytes, free_bytes) {
                (Some(percent), Some(whole), Some(free)) => {
                    Some(Usage { percent, size: size(whole), free: size(free) })
                }
                _ => None,
            },
            history: past.and_then(|past| History::of(&past.history)),
            outlook: growth.and_then(|growth| growth.outlook(used_percent?)),
            name,
            status,
        }
    }
}

/// As much of `pool_capacity` as is shown.
#[derive(Deserialize)]
struct Capacities {
    pools: Vec<Capacity>,
}

#[derive(Deserialize)]
struct Capacity {
    pool: String,
    #[serde(default)]
    growth: Option<Growth>,
    #[serde(default)]
    history: Vec<Point>,
}

/// As much of `jobs_list` as is shown.
#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

fn in_words(frozen: &Frozen) -> String {
    let Frozen { by, at, reason } = frozen;
    let at = if at.is_empty() { String::new() } else { format!(" at {at}") };
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(" Why: {}.", foreign(reason, 300).trim_end_matches('.'))
    };
    format!("By {}{at}.{reason}", foreign(by, 80))
}

impl Console {
    /// The plans that wait for the visitor, those that take a person first.
    fn waiting(&self, visitor: &Visitor, user: u64) -> Vec<Waiting> {
        let may_approve = |nas: &NasName| visitor.grants().allows(Scope::ChangeApprove, nas).is_some();
        let mut waiting = self.parts.plans.visible_to(user, may_approve);
        waiting.retain(|view| view.state == Waits::Waiting);
        waiting.sort_by_key(|view| (std::cmp::Reverse(view.plan.risk()), view.plan.proposed()));
        waiting.iter().map(Waiting::of).collect()
    }

    /// How each NAS says it is, and what ends of what we reach it with.
    async fn attention(&self, visitor: &Visitor) -> Vec<Heed> {
        const TOOL: &str = "system_health";
        let seen = self.on_each(visitor, TOOL, json!({})).await;
        let heed = |(nas, health): (String, Seen<Attention>)| {
            let name = nas.parse::<NasName>().ok();
            // Also where the NAS does not answer: this may be why.
            let open = name.filter(|name| self.closed(visitor, TOOL, name).is_none());
            let ending = open.map(|name| self.parts.watch.ending(&name)).unwrap_or_default();
            Heed { nas, ending: ending.iter().map(|what| capital(what)).collect(), health }
        };
        seen.into_iter().map(heed).collect()
    }

    /// What `tool` says about each NAS.
    async fn on_each<T: DeserializeOwned>(
        &self,
        visitor: &Visitor,
        tool: &str,
        arguments: Value,
    ) -> ByNas<T> {
        let names = self.parts.dispatcher.nas_names();
        let several = names.len() > 1;
        let looks = names.into_iter().map(|nas| {
            let closed = self.closed(visitor, tool, &nas);
            let mut arguments = arguments.as_object().cloned().unwrap_or_default();
            if several {
                arguments.insert("nas".to_owned(), json!(nas));
            }
            async move {
                let seen = match closed {
                    Some(why) => Seen::No(why),
                    None => self.look(visitor, tool, arguments).await,
                };
                (nas.to_string(), seen)
            }
        });
        futures_util::future::join_all(looks).await
    }

    /// Why the visitor may not let `tool` look at `nas`. Who opens a page has not asked for what they may not have,
    /// so there is nothing to refuse and to write down.
    fn closed(&self, visitor: &Visitor, tool: &str, nas: &NasName) -> Option<String> {
        let spec = self.parts.dispatcher.catalogue().find(tool)?.spec();
        let (may, why) = explain(spec, visitor.grants(), nas);
        (!may).then(|| format!("You may not see this: {tool} {why}."))
    }

    /// A call from the console, on the way that every call takes.
    pub(super) async fn call(&self, visitor: &Visitor, tool: &str, arguments: Map<String, Value>) -> Reply {
        let call = Call {
            request: RequestId::at(self.parts.clock.now()),
            caller: Arc::clone(visitor),
            tool: tool.to_owned(),
            arguments,
            mcp: McpNote { method: "console".to_owned(), ..McpNote::default() },
            answered: None,
            gone: CancellationToken::new(),
            progress: None,
        };
        self.parts.dispatcher.call(call).await
    }

    /// Lets a tool look.
    async fn look<T: DeserializeOwned>(
        &self,
        visitor: &Visitor,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Seen<T> {
        match self.call(visitor, tool, arguments).await {
            Reply::Done(answer, ..) => match serde_json::from_value(answer.structured) {
                Ok(seen) => Seen::Yes(seen),
                Err(error) => Seen::No(format!("The answer of {tool} cannot be shown here: {error}.")),
            },
            // What looks is never asked about again.
            Reply::Planned(..) | Reply::NotAdmitted(..) => Seen::No(format!("{tool} does more than look.")),
            Reply::Failed(failure) => Seen::No(format!("{} {}", failure.what, failure.next_step)),
            Reply::NoSuchTool => Seen::No(format!("There is no {tool} here.")),
        }
    }

    /// The pools, how full they are, and how they came to be: two tools look, one at their health, one at their past.
    async fn pools(&self, visitor: &Visitor) -> ByNas<Vec<Pool>> {
        let (seen, past) = tokio::join!(
            self.on_each::<Pools>(visitor, "pools_list", json!({})),
            self.on_each::<Capacities>(visitor, "pool_capacity", json!({ "limit": 1, "history": true })),
        );
        let pools = seen.into_iter().zip(past).map(|((nas, seen), (_, past))| {
            let past = match past {
                Seen::Yes(past) => past.pools,
                Seen::No(_) => Vec::new(),
            };
            let pool = |pool: PoolSeen| {
                let past = past.iter().find(|capacity| capacity.pool == pool.name);
                pool.with(past)
            };
            (nas, seen.map(|seen| seen.pools.into_iter().map(pool).collect()))
        });
        pools.collect()
    }

    /// The last changes that the visitor may see.
    async fn changes(&self, visitor: &Visitor) -> Seen<Vec<Change>> {
        let records = match self.records(visitor).await {
            Ok(records) => records,
            Err(error) => return Seen::No(format!("The audit log cannot be read: {error}.")),
        };
        let outcome = |seq: &Value| {
            records.iter().find(|record| record["parent"] == *seq && record["type"] == "outcome")
        };
        let changes = records.iter().rev().filter(|record| record["type"] == "intent").take(CHANGES);
        Seen::Yes(
            changes
                .map(|intent| {
                    let row = Row::of(intent);
                    // Whoever reads what was done has no use for the handle of its plan.
                    let plan = intent.pointer("/plan/id").and_then(Value::as_str).unwrap_or_default();
                    let end = outcome(&intent["seq"]);
                    let row_of_end = end.map(Row::of);
                    Change {
                        seq: row.seq,
                        at: row.at,
                        can_undo: WayBack::of(intent).is_some(),
                        who: row.who,
                        what: row.what.replace(plan, "").trim_end().to_owned(),
                        tone: row_of_end.as_ref().map_or("warn", |end| end.tone),
                        status: row_of_end.map_or_else(|| "under way".to_owned(), |end| end.result),
                        undo: end.filter(|end| end["result"]["status"] == "ok").and_then(|_| {
                            let note = UndoNote::deserialize(intent.pointer("/plan/undo")?).ok()?;
                            Some(foreign(&note.to_string(), 600))
                        }),
                    }
                })
                .collect(),
        )
    }

    /// The call that takes a change back, if the visitor may see that change and there is one: its tool, and its
    /// arguments, which name the NAS where there are several.
    pub(super) async fn way_back(
        &self,
        visitor: &Visitor,
        change: u64,
    ) -> std::io::Result<Option<(String, Map<String, Value>)>> {
        let records = self.records(visitor).await?;
        let intent = records.iter().find(|record| record["seq"] == change && record["type"] == "intent");
        let Some(intent) = intent else { return Ok(None) };
        let Some(WayBack { tool, mut arguments }) = WayBack::of(intent) else { return Ok(None) };
        if self.parts.dispatcher.has_several() {
            arguments.insert("nas".to_owned(), intent["nas"].clone());
        }
        Ok(Some((tool, arguments)))
    }

    /// The last records that the visitor may see, oldest first.
    async fn records(&self, visitor: &Visitor) -> std::io::Result<Vec<Value>> {
        let (dir, visitor) = (self.parts.audit_dir.clone(), Arc::clone(visitor));
        let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(std::io::Error::other)?;
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<Value>> {
            let _turn = turn;
            let (entries, _) = tail::last(&dir, LOOKED_THROUGH)?;
            let records = entries.into_iter().filter_map(|entry| match entry {
                Entry::Record(record) => serde_json::to_value(*record).ok(),
                Entry::Other(_) => None,
            });
            Ok(records.filter(|record| sees(&visitor, record)).collect())
        });
        read.await.map_err(std::io::Error::other)?
    }

    /// What a check of the whole log comes to; checked at most once a minute, whoever asks.
    async fn badge(&self) -> Badge {
        let broke_off = || Badge::not_checked("The check broke off.".to_owned());
        let Ok(turn) = Arc::clone(&self.checking).acquire_owned().await else { return broke_off() };
        let (dir, kept, clock) =
            (self.parts.audit_dir.clone(), Arc::clone(&self.badge), self.parts.clock.clone());
        let known = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((badge, at)) = known
            && clock.mono().saturating_sub(at) < CHECKED_FOR
        {
            return badge;
        }
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let badge = checked(&dir);
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((badge.clone(), clock.mono()));
            badge
        });
        checked.await.unwrap_or_else(|_| broke_off())
    }
}

/// Checks the whole log.
fn checked(dir: &std::path::Path) -> Badge {
    let (tone, word, words) = match verify(dir, &Against::default()) {
        Ok(report) => match report.verdict {
            verify::Verdict::Clean => (
                "good",
                "Clean",
                "Every record is as it was written, as far as the log itself can \
                 tell. That none were cut off or rewritten, tailnas audit verify says against a checkpoint kept elsewhere.",
            ),
            verify::Verdict::Tampered => (
                "bad",
                "Tampered with",
                "The log is not what was written. On the host, \
                 tailnas audit verify says where.",
            ),
            verify::Verdict::Torn => ("warn", "Torn", "The end of the log is damaged, as a crash leaves it."),
            verify::Verdict::Unchecked => (
                "warn",
                "Not checked",
                "The checkpoints beside the log are about another one. Unless you \
                 know why, compare it with a checkpoint kept elsewhere: tailnas audit verify --checkpoint.",
            ),
        },
        Err(error) => return Badge::not_checked(error.to_string()),
    };
    Badge { tone, word, words: words.to_owned() }
}

/// The call that takes a change back, as the log keeps it.
#[derive(Deserialize)]
struct WayBack {
    tool: String,
    arguments: Map<String, Value>,
}

impl WayBack {
    /// That of an intent, where there is one.
    fn of(intent: &Value) -> Option<Self> {
        Self::deserialize(intent.pointer("/plan/undo/call")?).ok()
    }
}

fn sees_all(visitor: &Caller, names: &[NasName]) -> bool {
    names.iter().all(|nas| visitor.grants().allows(Scope::AuditRead, nas).is_some())
}

/// Their own records, and those of what `audit:read` covers.
fn sees(visitor: &Caller, record: &Value) -> bool {
    let grants = visitor.grants();
    let own = record.pointer("/peer/user").and_then(Value::as_str) == Some(visitor.name());
    own || match record["nas"].as_str().map(str::parse::<NasName>) {
        Some(Ok(nas)) => grants.allows(Scope::AuditRead, &nas).is_some(),
        Some(Err(_)) => false,
        None => grants.allows_everywhere(Scope::AuditRead).is_some(),
    }
}
