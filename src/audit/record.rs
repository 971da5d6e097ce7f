//! What stands in the log. `docs/AUDIT-LOG.md` tells people about each field; keep the two together.
//!
//! The order of the fields here is their order in the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::chain::Hash;
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::plan::{PlanNote, UndoNote};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::Who;
use crate::policy::permit::{Approval, Terms};

/// The version of the format. A daemon refuses to continue a log with a higher one.
pub const VERSION: u64 = 1;

/// Longest line, with its newline.
pub const LONGEST: usize = 16 * 1024;

/// Longest way back that is written down with a change, in bytes.
const LONGEST_UNDO: usize = 1024;

/// More than what the writer puts around an event: number, times, `durable`, the two hashes.
pub(super) const AROUND: usize = 512;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format.
    pub v: u64,
    /// Number of the record: one more than that of the record before, across files and starts.
    pub seq: u64,
    /// The wall clock when it was written, RFC 3339 in UTC. It may step; `seq` never does.
    pub ts: String,
    /// Nanoseconds on a clock that only runs forward, comparable within one `boot`.
    pub mono: u64,
    /// Random name of the run of the daemon that wrote it.
    pub boot: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// Highest number known to be on disk when this was written; absent in the very first records.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub durable: Option<u64>,
    /// Hash of the record before; zeros in the first.
    pub prev: Hash,
    /// Hash of everything before this field.
    pub hash: Hash,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The log begins.
    Genesis(Genesis),
    /// The daemon started.
    Start(Start),
    /// The daemon was asked to stop, and did.
    Stop(Stop),
    /// The configuration was to be read again.
    Reload(Reloaded),
    /// Something is about to be changed.
    Intent(Box<Act>),
    /// The NAS goes on with an intent as a job; its outcome follows when that ends.
    Accepted(Box<Accepted>),
    /// What became of an intent.
    Outcome(Box<Closing>),
    /// Something was read, and the answer is about to be given.
    Read(Box<Look>),
    /// A caller we know was refused something.
    Denied(Box<Turned>),
    /// Nobody was admitted.
    AuthFail(Box<Turned>),
    /// A person did something on the console, or root on the host.
    Person(Box<Personal>),
    /// The end of the log was damaged, and goes on from here.
    Recovery(Recovery),
    /// From here on, checkpoints are signed with this key.
    Key(Key),
    /// Every record before this one, signed.
    Checkpoint(Signed),
    /// The file is full, and the log goes on in another one.
    Rotate(Rotate),
    /// There is hardly any room left, or nobody knows how much: nothing new is let in.
    Suspended(Space),
    /// There is room again.
    Resumed(Space),
    /// The wall clock was set.
    ClockStep(ClockStep),
    /// Nothing happened for a while, and the daemon was there.
    Heartbeat {},
    /// Elsewhere more of this log is known than there is here.
    Lost(Lost),
}

/// The log begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Genesis {
    /// Random name of this log.
    pub install: String,
    /// The daemon that began it.
    pub tailnas: String,
    /// Version of the format it began with.
    pub format: u64,
}

/// The daemon started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Its version.
    pub tailnas: String,
    /// Its process id.
    pub pid: u32,
}

/// The daemon stopped in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// How often the daemon looked at a NAS on its own account since the start, by purpose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub system: BTreeMap<String, u64>,
}

/// The configuration was to be read again while the daemon runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// SHA-256 of the configuration file, as `sha256sum` prints it; absent where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<String>,
    /// The same of the policy file; absent also where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// `ok` where it counts from now on, `error` where something in it is wrong and the one before goes on.
    pub status: Status,
}

/// What was allowed, to whom, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// The request.
    pub req: RequestId,
    /// Who asked.
    #[serde(flatten)]
    pub who: Who,
    /// The tool.
    pub tool: String,
    /// `read`, `write` or `destructive`.
    pub class: Cow<'static, str>,
    /// The risk, as judged.
    pub risk: Risk,
    /// The NAS; absent where none is touched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nas: Option<NasName>,
    /// What exactly is acted on; absent where the tool cannot name it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The arguments without their secrets; absent when there are none or they were too long.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub args: Option<serde_json::Value>,
    /// Length of the arguments that were too long to be written down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub args_cut: Option<usize>,
    /// Keyed hash of the arguments as they are.
    pub args_h: String,
    /// Why it is allowed.
    pub decision: Decision,
    /// The plan that was agreed to; absent where nothing is changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<PlanNote>,
}

/// What policy said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may be done.
    pub allow: bool,
    /// Who gave the grant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// The scope that was needed and there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Scope>,
    /// Who confirmed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval: Option<Approval>,
    /// The scope that was needed and not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<Scope>,
}

/// The NAS goes on with an intent as a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The request of the intent.
    pub req: RequestId,
    /// The number of the intent.
    pub parent: u64,
    /// Its tool.
    pub tool: String,
    /// Its NAS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nas: Option<NasName>,
    /// Its target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The job.
    pub job: NasJob,
}

/// A job of the NAS. Its number alone does not name it: the numbers begin again when the NAS restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NasJob {
    /// Its number.
    pub id: i64,
    /// The method that it carries out.
    pub method: Cow<'static, str>,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    /// The request of the intent.
    pub req: RequestId,
    /// The number of the intent.
    pub parent: u64,
    /// Its tool.
    pub tool: String,
    /// Its NAS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nas: Option<NasName>,
    /// Its target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// What was called, and how it ended.
    #[serde(flatten)]
    pub end: End,
}

/// Something was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What was allowed.
    #[serde(flatten)]
    pub act: Act,
    /// What was called, and how it ended.
    #[serde(flatten)]
    pub end: End,
}

/// What was called, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The calls to the NAS, in order; absent when there were none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub up: Vec<Upstream>,
    /// How many further calls are left out of `up`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub up_cut: Option<usize>,
    /// How it ended.
    pub result: Ending,
}

/// One call to the NAS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The method.
    pub method: Cow<'static, str>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The job it started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<i64>,
    /// It was not sent: the NAS had answered the same a moment ago.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub from_memory: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// In one word.
    pub status: Status,
    /// A word for programs, such as the error's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Size of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Number of things in the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub items: Option<u64>,
}

/// How something ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was done.
    Ok,
    /// It failed, and the NAS said so.
    Error,
    /// It was refused.
    Denied,
    /// It was given up before the NAS was asked.
    Cancelled,
    /// Nobody knows: it may have been done.
    Unknown,
}

impl Status {
    /// The spelling in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal, or many of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turned {
    /// The request; absent where many are counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub req: Option<RequestId>,
    /// The address of the connection; absent where `peer` says it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<IpAddr>,
    /// Who asked, as far as they are known.
    #[serde(flatten)]
    pub who: Who,
    /// The tool that was asked for. Where it is none of ours, as the caller spelled it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// The NAS that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nas: Option<NasName>,
    /// What policy said.
    pub decision: Decision,
    /// Why, as `code` and `reason`.
    pub result: Ending,
    /// How many there were since the last record for the same peer and reason; absent in the first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}

/// What a person did that is no call: said yes or no to a plan, enrolled a passkey, pulled the brake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Personal {
    /// What.
    pub did: Did,
    /// Who, as the tailnet says; absent where it was root on the host.
    #[serde(flatten)]
    pub who: Who,
    /// The plan it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<PlanNote>,
    /// The passkey it was done with or that it was about, by its name in our store.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub passkey: Option<String>,
    /// What they said about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a person can do that is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// Said yes to a plan.
    Approve,
    /// Said no to a plan.
    Refuse,
    /// Enrolled a passkey.
    Enroll,
    /// Took a passkey away.
    Revoke,
    /// Froze changes.
    Freeze,
    /// Let changes be made again.
    Thaw,
}

impl Did {
    /// The spelling in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Refuse => "refuse",
            Self::Enroll => "enroll",
            Self::Revoke => "revoke",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

impl Personal {
    /// `who` did it.
    #[must_use]
    pub fn new(did: Did, who: &Who) -> Self {
        Self { did, who: cut_who(who), plan: None, passkey: None, note: None }
    }

    /// The same about a plan.
    #[must_use]
    pub fn about(self, plan: PlanNote) -> Self {
        Self { plan: Some(plan), ..self }
    }

    /// The same with a passkey.
    #[must_use]
    pub fn with(self, passkey: &str) -> Self {
        Self { passkey: Some(cut(passkey, 64)), ..self }
    }

    /// The same with what they said.
    #[must_use]
    pub fn saying(self, note: &str) -> Self {
        Self { note: (!note.is_empty()).then(|| cut(note, 1024)), ..self }
    }
}

/// The end of the log was damaged: what the damage is, to the byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Where in this file the damage begins.
    pub offset: u64,
    /// How long it is; 0 when only the last newline was missing.
    pub len: u64,
    /// Hash of the damaged bytes.
    pub sha256: Hash,
    /// The record before the damage; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_good_seq: Option<u64>,
}

/// From here on, checkpoints are signed with this key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Its public part.
    pub vkey: String,
    /// The signed note with which the key before it made it its successor; absent for the first key, and where a
    /// new file repeats the key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voucher: Option<String>,
}

/// How much room there is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes that are free on its disk; absent where that could not be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub free: Option<u64>,
}

/// The wall clock was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStep {
    /// By how many milliseconds, backwards where it is negative.
    pub by_ms: i64,
}

/// The last record of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// The file in which the log goes on.
    pub to: String,
}

/// Every record before this one, signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signed {
    /// The signed note.
    pub note: String,
}

/// Elsewhere more of this log is known than there is here: an older copy was put back, or the log was moved away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many records there are here.
    pub have: u64,
    /// How many were signed.
    pub size: u64,
    /// The root over those.
    pub root: Hash,
    /// Where that checkpoint was found.
    pub sink: String,
}

/// The outcome of something done under a warrant, as its doer tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// In one word.
    pub status: Status,
    /// A word for programs, such as the error's name.
    pub code: Option<String>,
    /// A sentence for people, without secrets.
    pub reason: Option<String>,
    /// The calls to the NAS, in order.
    pub up: Vec<Upstream>,
    /// Size of the answer in bytes.
    pub bytes: Option<u64>,
    /// Number of things in the answer.
    pub items: Option<u64>,
}

impl Outcome {
    /// An outcome of which nothing but the status is told.
    #[must_use]
    pub const fn of(status: Status) -> Self {
        Self { status, code: None, reason: None, up: Vec::new(), bytes: None, items: None }
    }

    /// It was done.
    #[must_use]
    pub const fn ok() -> Self {
        Self::of(Status::Ok)
    }

    /// The daemon ended before this was written down, and nobody can tell any more how it went.
    #[must_use]
    pub fn lost_in_a_crash(reason: &str) -> Self {
        Self::because(Status::Unknown, "crash", reason)
    }

    /// An outcome with a word for programs and a sentence for people.
    #[must_use]
    pub fn because(status: Status, code: &str, reason: &str) -> Self {
        Self { code: Some(code.to_owned()), reason: Some(reason.to_owned()), ..Self::of(status) }
    }
}

/// Longest arguments that are written down, as JSON.
const ARGS: usize = 4096;

/// Most calls to the NAS that are listed in one record.
const CALLS: usize = 16;

impl Act {
    pub(super) fn new(terms: &Terms, changes: bool) -> Self {
        let Terms { request, who, tool, risk, scope, nas, target, args, args_h, rule, approval, plan } =
            terms;
        let length = if args.is_null() { 0 } else { args.to_string().len() };
        Self {
            req: *request,
            who: cut_who(who),
            tool: (*tool).to_owned(),
            class: class(changes, *risk).into(),
            risk: *risk,
            nas: nas.clone(),
            target: target.as_deref().map(|target| cut(target, 512)),
            args: (length > 0 && length <= ARGS).then(|| args.clone()),
            args_cut: (length > ARGS).then_some(length),
            args_h: cut(args_h, 64),
            decision: Decision {
                allow: true,
                rule: Some(cut(rule, 256)),
                scope: *scope,
                approval: Some(*approval),
                missing: None,
            },
            plan: plan.clone().map(cut_plan),
        }
    }
}

const fn class(changes: bool, risk: Risk) -> &'static str {
    match (changes, risk) {
        (false, _) => "read",
        (true, Risk::Destructive) => "destructive",
        (true, Risk::Read | Risk::Reversible | Risk::Disruptive) => "write",
    }
}

impl End {
    pub(super) fn new(outcome: Outcome) -> Self {
        let Outcome { status, code, reason, mut up, bytes, items } = outcome;
        let up_cut = up.len().checked_sub(CALLS).filter(|&left_out| left_out > 0);
        up.truncate(CALLS);
        for call in &mut up {
            if encoded(&call.method) > 64 {
                call.method = cut(&call.method, 64).into();
            }
        }
        let result = Ending {
            status,
            code: code.map(|code| cut(&code, 64)),
            reason: reason.map(|reason| cut(&reason, 1024)),
            bytes,
            items,
        };
        Self { up, up_cut, result }
    }
}

/// What came from outside, at lengths that let a whole record stay below [`LONGEST`]: an outcome must never be
/// refused for its size.
pub(super) fn cut_who(who: &Who) -> Who {
    let mut who = who.clone();
    if let Some(peer) = &mut who.peer {
        shorten(&mut peer.node_id, 128);
        shorten(&mut peer.node_name, 256);
        peer.user.iter_mut().for_each(|user| shorten(user, 320));
        peer.tags.truncate(8);
        peer.tags.iter_mut().for_each(|tag| shorten(tag, 128));
    }
    if let Some(auth) = &mut who.auth {
        shorten(&mut auth.iss, 512);
        shorten(&mut auth.sub, 256);
        shorten(&mut auth.scope, 1024);
        shorten(&mut auth.tok, 64);
        auth.username.iter_mut().for_each(|name| shorten(name, 320));
        auth.client_id.iter_mut().for_each(|id| shorten(id, 256));
        auth.jti.iter_mut().for_each(|id| shorten(id, 128));
    }
    if let Some(mcp) = &mut who.mcp {
        shorten(&mut mcp.method, 64);
        mcp.protocol.iter_mut().for_each(|version| shorten(version, 32));
        mcp.rpc_id.iter_mut().for_each(|id| shorten(id, 64));
        mcp.client.iter_mut().for_each(|client| shorten(client, 128));
    }
    who
}

fn cut_plan(mut plan: PlanNote) -> PlanNote {
    if let Some(approver) = &mut plan.approver {
        shorten(&mut approver.user, 320);
        shorten(&mut approver.node, 256);
        shorten(&mut approver.passkey, 128);
    }
    match &mut plan.undo {
        Some(UndoNote::Words(words) | UndoNote::Impossible(words)) => shorten(words, LONGEST_UNDO),
        // What is cut off cannot be called any more.
        Some(undo @ UndoNote::Call { .. }) if encoded(&undo.to_string()) > LONGEST_UNDO => {
            *undo =
                UndoNote::Words("it is too long to be kept here; the plan of the change said it".to_owned());
        }
        Some(UndoNote::Call { .. }) | None => {}
    }
    plan
}

fn shorten(text: &mut String, most: usize) {
    if encoded(text) > most {
        *text = cut(text, most);
    }
}

/// `text`, ending in `…` if it takes more than `most` bytes in JSON.
pub(super) fn cut(text: &str, most: usize) -> String {
    if encoded(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub('…'.len_utf8());
    let kept = text.chars().take_while(|&c| {
        let rest = left.checked_sub(encoded_char(c));
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    kept.chain(['…']).collect()
}

fn encoded(text: &str) -> usize {
    text.chars().map(encoded_char).sum()
}

/// What a character takes in JSON as `serde_json` writes it.
fn encoded_char(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}
