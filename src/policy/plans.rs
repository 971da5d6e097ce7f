//! Plans: what somebody wants changed, held until a person has agreed to exactly that.
//!
//! A plan is bound to its proposer, their node and client, the NAS, the tool, the exact arguments and what the
//! target was when it was planned. It is used once, lives for a quarter of an hour, and does not survive a
//! restart. Whether it may be carried out is said by an [`Approved`], which only this module makes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, watch};

use super::budgets::Purse;
use super::freeze::{Freeze, Frozen};
use super::permit::Approval;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::domain::name::NasName;
use crate::domain::plan::{ApproverNote, Draft, PlanId, PlanNote, UndoNote};
use crate::domain::risk::Risk;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::who::{McpNote, Via};

/// How long a plan waits for its approval.
pub const LIFETIME: Duration = Duration::from_mins(15);

/// How long it can be looked at once it is over.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Plans of one caller that may wait at a time.
const WAITING_EACH: usize = 16;

/// Plans of all callers that may wait at a time.
const WAITING_IN_ALL: usize = 128;

/// Plans that are kept, waiting or over.
const KEPT: usize = 512;

/// How long a change waits for the end of a job that is at the same thing.
const A_JOB_ENDS: Duration = Duration::from_secs(5);

/// Longest note of somebody who refuses a plan, and longest result that is kept, in characters.
const LONGEST_TEXT: usize = 2000;

/// All plans. Clones share them.
#[derive(Clone, Debug)]
pub struct Plans(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    freeze: Freeze,
    /// The scopes whose changes a person always approves.
    always_approved: Mutex<ScopeSet>,
    book: Mutex<BTreeMap<PlanId, Entry>>,
    /// Who is at work on a subject.
    turns: Mutex<HashMap<Subject, Arc<Lane>>>,
    /// Counts the changes of any plan's state.
    changed: watch::Sender<u64>,
}

/// What is changed: a NAS, and what on it.
type Subject = (NasName, String);

/// One subject, on which one change is at work at a time.
#[derive(Debug, Default)]
struct Lane {
    alone: Arc<tokio::sync::Mutex<()>>,
    /// The job with which the NAS goes on with the change whose turn it is.
    job: Mutex<Option<i64>>,
}

#[derive(Debug)]
struct Entry {
    plan: Arc<Plan>,
    state: State,
    /// On the steady clock: when it expires, or when it is forgotten.
    until: Duration,
}

/// What somebody wants changed, and what that would do. Nothing in it ever changes.
#[derive(Debug)]
pub struct Plan {
    id: PlanId,
    caller: Arc<Caller>,
    owner: Owner,
    mcp: McpNote,
    nas: NasName,
    tool: &'static str,
    title: &'static str,
    arguments: Map<String, Value>,
    shown: Value,
    reason: Option<String>,
    draft: Draft,
    undo: UndoNote,
    proposed: DateTime<Utc>,
    expires: DateTime<Utc>,
    digest: [u8; 32],
}

/// Whose plan it is, and from where: the part of the caller that a plan is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    purse: Purse,
    node: String,
    client: Option<String>,
    via: Option<Via>,
}

/// How it is with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits to be approved.
    Waiting,
    /// It was approved and is being carried out.
    Running {
        /// Who approved it; `None` where that was the client's own doing.
        #[serde(skip_serializing_if = "Option::is_none")]
        approved_by: Option<String>,
        /// How far the NAS is with it, as far as it tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
    },
    /// Nothing more will happen to it.
    Over {
        /// How it ended.
        end: End,
        /// What there is to say about that: the result, what went wrong, the note of whoever refused it.
        text: String,
    },
}

/// How a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was carried out.
    Done,
    /// It was not, or not to the end.
    Failed,
    /// Nobody knows whether it was.
    Unknown,
    /// A person said no.
    Refused,
    /// Whoever proposed it took it back.
    Cancelled,
    /// Nobody approved it in time.
    Expired,
}

/// A plan and how it is with it.
#[derive(Clone, Debug)]
pub struct View {
    /// The plan.
    pub plan: Arc<Plan>,
    /// How it is with it.
    pub state: State,
}

/// What is proposed.
#[derive(Debug)]
pub struct Proposal {
    /// Who proposes it.
    pub caller: Arc<Caller>,
    /// What their client said over MCP.
    pub mcp: McpNote,
    /// The NAS it is about.
    pub nas: NasName,
    /// The tool.
    pub tool: &'static str,
    /// What people call the tool.
    pub title: &'static str,
    /// Its arguments, exactly.
    pub arguments: Map<String, Value>,
    /// The arguments as they may be shown and written down.
    pub shown: Value,
    /// Why, in the words of the model. Untrusted.
    pub reason: Option<String>,
    /// What it would do.
    pub draft: Draft,
    /// How that is taken back, as it may be written down.
    pub undo: UndoNote,
}

/// Why a plan is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Changes are frozen.
    #[error("{0}")]
    Frozen(Frozen),
    /// The caller has as many waiting as one may have, the oldest of them for this long yet.
    #[error("{WAITING_EACH} plans of yours are waiting already")]
    TooMany(Duration),
    /// There are as many waiting as there may be, the oldest of them for this long yet.
    #[error("{WAITING_IN_ALL} plans are waiting already")]
    Full(Duration),
    /// As many as are kept wait or are being carried out.
    #[error("{KEPT} plans are waiting or being carried out already")]
    AtWork,
}

/// Why a plan cannot be carried out, refused or taken back now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// There is none of this handle that the asker may see. Also after a restart.
    #[error("there is no such plan of yours: plans live for {} minutes and not across a restart", LIFETIME.as_secs() / 60)]
    NoSuchPlan,
    /// It does not wait any more.
    #[error("the plan is no longer waiting: it is {}", .0.word())]
    NotWaiting(State),
    /// It was made for something else.
    #[error("the plan is for {0}")]
    Another(&'static str),
    /// The client's word is not enough for it.
    #[error("it is {0}: a person approves it on the page, nobody can over MCP")]
    TakesApproval(Risk),
    /// Whoever approves may not.
    #[error("{0}")]
    NotYours(&'static str),
    /// Changes are frozen.
    #[error("{0}")]
    Frozen(Frozen),
}

/// A person on a node of their own, as the tailnet says at this moment.
#[derive(Clone, Debug)]
pub struct Approver {
    /// Their user id.
    pub user: u64,
    /// Their login.
    pub login: String,
    /// The name of their node.
    pub node: String,
    /// Whether their grants give `change:approve` on the plan's NAS.
    pub may_approve: bool,
}

/// What an approver showed: a passkey of theirs, which verified them.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Its name in our store.
    pub passkey: String,
    /// The digest that the assertion's challenge was made of.
    pub signed: [u8; 32],
}

/// A person agreed to this plan, or the client says so where that is enough. It is good for one change, and only
/// [`Plans`] makes one:
///
/// ```compile_fail,E0599
/// # use tailnas::policy::plans::Approved;
/// fn twice(approved: &Approved, another: Approved) -> Approved {
///     approved.clone()
/// }
/// ```
///
/// ```
/// # use tailnas::policy::plans::Approved;
/// fn twice(approved: &Approved, another: Approved) -> Approved {
///     another
/// }
/// ```
///
/// One that is dropped leaves the plan failed, with nothing changed.
#[derive(Debug)]
#[must_use = "the plan fails unless what was approved is carried out"]
pub struct Approved {
    hold: Hold,
    approval: Approval,
    approver: Option<ApproverNote>,
}

/// A plan that is being carried out. One that is dropped without an end leaves the plan `unknown`.
#[derive(Debug)]
#[must_use = "how it ended is to be told"]
pub struct Applying(Hold);

/// Nobody else is at work on the same subject for as long as this exists.
#[derive(Debug)]
pub struct Turn {
    plan: PlanId,
    lane: Arc<Lane>,
    _alone: OwnedMutexGuard<()>,
}

/// The NAS is still at another change of the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the NAS is still at another change of the same ({subject}), as job {job}")]
pub struct StillAtIt {
    subject: String,
    job: i64,
}

#[derive(Debug)]
struct Hold {
    plans: Plans,
    plan: Arc<Plan>,
    /// Whether it may have reached the NAS.
    sent: bool,
    over: bool,
}

impl Plans {
    /// No plans yet.
    #[must_use]
    pub fn new(freeze: Freeze, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            freeze,
            always_approved: Mutex::default(),
            book: Mutex::default(),
            turns: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    /// From now on a person approves every change that takes one of these scopes, however harmless the tool says it is. A plan
    /// that is waiting for less is refused when it is to be carried out.
    pub fn always_approve(&self, scopes: ScopeSet) {
        *self.0.always_approved.lock().unwrap_or_else(PoisonError::into_inner) = scopes;
    }

    /// What a change that takes `scope` would do, with the risk that the configuration gives it at least. It raises a
    /// risk, and never lowers one.
    #[must_use]
    pub fn at_least_configured(&self, mut draft: Draft, scope: Option<Scope>) -> Draft {
        let always = *self.0.always_approved.lock().unwrap_or_else(PoisonError::into_inner);
        match scope.filter(|scope| always.contains(*scope)) {
            Some(scope) if draft.risk < Risk::Disruptive => {
                draft
                    .warnings
                    .push(format!("The configuration has a person approve whatever takes {scope}."));
                draft.at_least(Risk::Disruptive)
            }
            _ => draft,
        }
    }

    /// The brake.
    #[must_use]
    pub fn brake(&self) -> &Freeze {
        &self.0.freeze
    }

    /// Takes a plan. The same one, proposed again while it waits, is the one that is there.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn propose(&self, proposal: Proposal) -> Result<View, NotTaken> {
        if let Some(frozen) = self.0.freeze.state() {
            return Err(NotTaken::Frozen(frozen));
        }
        let owner = Owner::of(&proposal.caller);
        let digest = digest(&owner, &proposal);
        let mut book = self.book();
        let waiting = || book.values().filter(|entry| entry.state == State::Waiting);
        if let Some(same) = waiting().find(|entry| entry.plan.digest == digest) {
            return Ok(same.view());
        }
        let now = self.0.clock.mono();
        if let Some(until) = no_room(waiting(), WAITING_IN_ALL) {
            return Err(NotTaken::Full(until.saturating_sub(now)));
        }
        let own = waiting().filter(|entry| entry.plan.owner.purse == owner.purse);
        if let Some(until) = no_room(own, WAITING_EACH) {
            return Err(NotTaken::TooMany(until.saturating_sub(now)));
        }
        while book.len() >= KEPT {
            let over = book.iter().filter(|(_, entry)| matches!(entry.state, State::Over { .. }));
            let Some(oldest) = over.map(|(id, entry)| (entry.until, *id)).min() else {
                return Err(NotTaken::AtWork);
            };
            book.remove(&oldest.1);
        }
        let Proposal { caller, mcp, nas, tool, title, arguments, shown, reason, draft, undo } = proposal;
        let proposed = self.0.clock.now();
        let plan = Arc::new(Plan {
            id: PlanId::at(proposed),
            caller,
            owner,
            mcp,
            nas,
            tool,
            title,
            arguments,
            shown,
            reason,
            draft,
            undo,
            proposed,
            expires: proposed + TimeDelta::from_std(LIFETIME).unwrap_or_default(),
            digest,
        });
        let until = now + LIFETIME;
        let entry = Entry { plan: Arc::clone(&plan), state: State::Waiting, until };
        let view = entry.view();
        book.insert(plan.id, entry);
        drop(book);
        self.tell();
        Ok(view)
    }

    /// The plans of `caller`, from whichever of their nodes, the newest first.
    #[must_use]
    pub fn of(&self, caller: &Caller) -> Vec<View> {
        let purse = Purse::of(caller);
        self.book().values().rev().filter(|entry| entry.plan.owner.purse == purse).map(Entry::view).collect()
    }

    /// The plans that a person may see on the page: their own, and others' where they may approve. The newest
    /// first.
    pub fn visible_to(&self, user: u64, may_approve: impl Fn(&NasName) -> bool) -> Vec<View> {
        let sees = |plan: &Plan| plan.owner.purse == Purse::User(user) || may_approve(&plan.nas);
        self.book().values().rev().filter(|entry| sees(&entry.plan)).map(Entry::view).collect()
    }

    /// How many wait for a person, for a notice that names nobody.
    #[must_use]
    pub fn waiting_for_a_person(&self) -> usize {
        let takes_one = |entry: &&Entry| entry.state == State::Waiting && entry.plan.takes_approval();
        self.book().values().filter(takes_one).count()
    }

    /// The plan of this handle, if it is `caller`'s.
    #[must_use]
    pub fn find(&self, caller: &Caller, id: PlanId) -> Option<View> {
        let purse = Purse::of(caller);
        self.book().get(&id).filter(|entry| entry.plan.owner.purse == purse).map(Entry::view)
    }

    /// Waits until the plan is over, or for `patience`, and answers how it is with it then. `far` hears how far the NAS is
    /// with it in percent, each time that it is further.
    pub async fn wait(
        &self,
        caller: &Caller,
        id: PlanId,
        patience: Duration,
        far: impl Fn(u8),
    ) -> Option<View> {
        let mut changed = self.0.changed.subscribe();
        let over = async {
            let mut told = None;
            loop {
                changed.borrow_and_update();
                match self.find(caller, id) {
                    Some(View { state: State::Running { percent: Some(now), .. }, .. })
                        if told < Some(now) =>
                    {
                        told = Some(now);
                        far(now);
                    }
                    Some(View { state: State::Waiting | State::Running { .. }, .. }) => {}
                    _ => return,
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        // However it ended: what is told is how it is.
        let _ = tokio::time::timeout(patience, over).await;
        self.find(caller, id)
    }

    /// Tells when the state of some plan changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Takes a waiting plan back, for whoever proposed it.
    ///
    /// # Errors
    ///
    /// When it is not theirs or does not wait any more.
    pub fn cancel(&self, caller: &Caller, id: PlanId) -> Result<View, NotNow> {
        let purse = Purse::of(caller);
        self.close(id, |plan| plan.owner.purse == purse, End::Cancelled, "It was taken back.")
    }

    /// Says no to a waiting plan, for a person on the page, with a note to whoever proposed it.
    ///
    /// # Errors
    ///
    /// When they may not, or it does not wait any more.
    pub fn refuse(&self, id: PlanId, approver: &Approver, note: &str) -> Result<View, NotNow> {
        let Approver { user, login, may_approve, .. } = approver;
        let note: String = note.trim().chars().take(LONGEST_TEXT).collect();
        let text = if note.is_empty() {
            format!("{login} refused it.")
        } else {
            format!("{login} refused it, with this note: {note}")
        };
        self.close(id, |plan| *may_approve || plan.owner.purse == Purse::User(*user), End::Refused, &text)
    }

    fn close(
        &self,
        id: PlanId,
        may: impl FnOnce(&Plan) -> bool,
        end: End,
        text: &str,
    ) -> Result<View, NotNow> {
        let mut book = self.book();
        let entry = book.get_mut(&id).filter(|entry| may(&entry.plan)).ok_or(NotNow::NoSuchPlan)?;
        if entry.state != State::Waiting {
            return Err(NotNow::NotWaiting(entry.state.clone()));
        }
        entry.state = State::Over { end, text: text.to_owned() };
        entry.until = self.0.clock.mono() + REMEMBERED;
        let view = entry.view();
        drop(book);
        self.tell();
        Ok(view)
    }

    /// Approves a waiting plan, for a person on the page who showed a passkey: their own or, with `change:approve`,
    /// another's. It must be carried out now.
    ///
    /// # Errors
    ///
    /// When they may not, the passkey was asked about something else, it does not wait any more, or changes are
    /// frozen.
    pub fn approve(&self, id: PlanId, approver: Approver, proof: Proof) -> Result<Approved, NotNow> {
        let Approver { user, login, node, may_approve } = approver;
        let Proof { passkey, signed } = proof;
        let by = Some(login.clone());
        let (hold, approval) = self.take(id, by, |plan| {
            let own = plan.owner.purse == Purse::User(user);
            if !own && !may_approve {
                return Err(NotNow::NoSuchPlan);
            }
            if signed != plan.digest {
                return Err(NotNow::NotYours("the passkey was asked about another plan"));
            }
            Ok(if own { Approval::Passkey } else { Approval::SecondPrincipal })
        })?;
        let approver = ApproverNote { user: login, node, passkey };
        Ok(Approved { hold, approval, approver: Some(approver) })
    }

    /// The client says that its person agreed to a waiting plan of `caller`, on `nas`, with `tool` and exactly
    /// these `arguments`: which is enough for one that is Reversible.
    ///
    /// # Errors
    ///
    /// When it is another's, for something else, takes a person, does not wait any more, or changes are frozen.
    pub fn confirm(
        &self,
        id: PlanId,
        caller: &Caller,
        (nas, tool): (&NasName, &str),
        arguments: &Map<String, Value>,
    ) -> Result<Approved, NotNow> {
        let owner = Owner::of(caller);
        let (hold, approval) = self.take(id, None, |plan| {
            plan.is_for(&owner, (nas, tool), arguments)?;
            if plan.takes_approval() {
                return Err(NotNow::TakesApproval(plan.risk()));
            }
            Ok(match owner.via {
                None | Some(Via::Relay) => Approval::ClientAsserted,
                Some(Via::Agent) => Approval::Unattended,
            })
        })?;
        Ok(Approved { hold, approval, approver: None })
    }

    fn take<T>(
        &self,
        id: PlanId,
        approved_by: Option<String>,
        may: impl FnOnce(&Plan) -> Result<T, NotNow>,
    ) -> Result<(Hold, T), NotNow> {
        if let Some(frozen) = self.0.freeze.state() {
            return Err(NotNow::Frozen(frozen));
        }
        let mut book = self.book();
        let entry = book.get_mut(&id).ok_or(NotNow::NoSuchPlan)?;
        let told = may(&entry.plan)?;
        if entry.state != State::Waiting {
            return Err(NotNow::NotWaiting(entry.state.clone()));
        }
        entry.state = State::Running { approved_by, percent: None };
        let plan = Arc::clone(&entry.plan);
        drop(book);
        self.tell();
        Ok((Hold { plans: self.clone(), plan, sent: false, over: false }, told))
    }

    /// Waits until nobody else is at work on what the plan is about; for a moment only where that is the NAS, with a
    /// job.
    ///
    /// # Errors
    ///
    /// When the NAS goes on with that job.
    pub async fn turn(&self, plan: &Plan) -> Result<Turn, StillAtIt> {
        let subject = &plan.draft.subject;
        let lane = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, lane| Arc::strong_count(lane) > 1);
            Arc::clone(turns.entry((plan.nas.clone(), subject.clone())).or_default())
        };
        let mut alone = pin!(Arc::clone(&lane.alone).lock_owned());
        loop {
            if let Ok(alone) = tokio::time::timeout(A_JOB_ENDS, alone.as_mut()).await {
                return Ok(Turn { plan: plan.id, lane, _alone: alone });
            }
            let job = *lane.job();
            if let Some(job) = job {
                return Err(StillAtIt { subject: subject.clone(), job });
            }
        }
    }

    /// The book, as it is now: what has expired is over, what is long over is forgotten.
    fn book(&self) -> MutexGuard<'_, BTreeMap<PlanId, Entry>> {
        let now = self.0.clock.mono();
        let mut book = self.0.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.retain(|_, entry| !matches!(entry.state, State::Over { .. }) || now < entry.until);
        for entry in book.values_mut().filter(|entry| entry.state == State::Waiting && now >= entry.until) {
            let text = "Nobody approved it in time. Nothing was changed.".to_owned();
            entry.state = State::Over { end: End::Expired, text };
            entry.until = now + REMEMBERED;
        }
        book
    }

    fn far(&self, id: PlanId, now: u8) {
        let mut book = self.book();
        let Some(State::Running { percent, .. }) = book.get_mut(&id).map(|entry| &mut entry.state) else {
            return;
        };
        if percent.replace(now) == Some(now) {
            return;
        }
        drop(book);
        self.tell();
    }

    fn settle(&self, id: PlanId, end: End, text: &str) {
        let mut book = self.book();
        if let Some(entry) = book.get_mut(&id) {
            entry.state = State::Over { end, text: text.chars().take(LONGEST_TEXT).collect() };
            entry.until = self.0.clock.mono() + REMEMBERED;
        }
        drop(book);
        self.tell();
    }

    fn tell(&self) {
        self.0.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Until when, on the steady clock, the oldest of these plans waits, where there are as many as there may be.
fn no_room<'e>(waiting: impl Iterator<Item = &'e Entry>, most: usize) -> Option<Duration> {
    let until: Vec<Duration> = waiting.map(|entry| entry.until).collect();
    until.iter().min().copied().filter(|_| until.len() >= most)
}

impl Lane {
    fn job(&self) -> MutexGuard<'_, Option<i64>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The NAS goes on with the change as this job: who waits for a turn is told so.
    pub fn goes_on(&self, job: i64) {
        *self.lane.job() = Some(job);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the next one's turn comes.
        *self.lane.job() = None;
    }
}

impl Entry {
    fn view(&self) -> View {
        View { plan: Arc::clone(&self.plan), state: self.state.clone() }
    }
}

impl Plan {
    /// Its handle.
    #[must_use]
    pub const fn id(&self) -> PlanId {
        self.id
    }

    /// Who proposed it, as they were then.
    #[must_use]
    pub const fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// What their client said over MCP. Untrusted.
    #[must_use]
    pub const fn mcp(&self) -> &McpNote {
        &self.mcp
    }

    /// The NAS it is about.
    #[must_use]
    pub const fn nas(&self) -> &NasName {
        &self.nas
    }

    /// The tool.
    #[must_use]
    pub const fn tool(&self) -> &'static str {
        self.tool
    }

    /// What people call the tool.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// Its arguments, exactly; they may hold secrets.
    #[must_use]
    pub const fn arguments(&self) -> &Map<String, Value> {
        &self.arguments
    }

    /// Its arguments as they may be shown.
    #[must_use]
    pub const fn shown(&self) -> &Value {
        &self.shown
    }

    /// Why, in the words of the model. Untrusted.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What it would do.
    #[must_use]
    pub const fn draft(&self) -> &Draft {
        &self.draft
    }

    /// What it can do at worst.
    #[must_use]
    pub const fn risk(&self) -> Risk {
        self.draft.risk
    }

    /// Whether a person must approve it on the page.
    #[must_use]
    pub fn takes_approval(&self) -> bool {
        self.risk() > Risk::Reversible
    }

    /// When it was proposed.
    #[must_use]
    pub const fn proposed(&self) -> DateTime<Utc> {
        self.proposed
    }

    /// When it expires.
    #[must_use]
    pub const fn expires(&self) -> DateTime<Utc> {
        self.expires
    }

    /// What exactly is agreed to: SHA-256 over the proposer, their node and client, the NAS, the tool, the exact
    /// arguments, the risk and the target's fingerprint.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether it is `owner`'s plan of calling `tool` with `arguments` on `nas`.
    fn is_for(
        &self,
        owner: &Owner,
        (nas, tool): (&NasName, &str),
        arguments: &Map<String, Value>,
    ) -> Result<(), NotNow> {
        if self.owner.purse != owner.purse {
            return Err(NotNow::NoSuchPlan);
        }
        if self.owner != *owner {
            return Err(NotNow::Another("another node or client of yours"));
        }
        if self.nas != *nas {
            return Err(NotNow::Another("another NAS"));
        }
        if self.tool != tool {
            return Err(NotNow::Another("another tool"));
        }
        if self.arguments != *arguments {
            return Err(NotNow::Another("other arguments"));
        }
        Ok(())
    }
}

impl State {
    /// In a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running { .. } => "running",
            Self::Over { end, .. } => end.word(),
        }
    }
}

impl End {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl Owner {
    fn of(caller: &Caller) -> Self {
        Self {
            purse: Purse::of(caller),
            node: caller.peer().node_id().to_owned(),
            client: caller.token().and_then(|token| token.client_id()).map(str::to_owned),
            via: caller.via(),
        }
    }
}

fn digest(owner: &Owner, proposal: &Proposal) -> [u8; 32] {
    let Owner { purse, node, client, via } = owner;
    let purse = match purse {
        Purse::User(id) => json!({ "user": id }),
        Purse::Node(id) => json!({ "node": id }),
    };
    let Proposal { nas, tool, arguments, draft, .. } = proposal;
    let all = json!({
        "caller": [purse, node, client, via], "nas": nas, "tool": tool, "arguments": arguments,
        "risk": draft.risk, "fingerprint": hex::encode(draft.fingerprint.as_bytes()),
    });
    Sha256::digest(all.to_string().as_bytes()).into()
}

impl Approved {
    /// The plan that was approved.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.hold.plan
    }

    /// It is not carried out after all; nothing was changed.
    pub fn give_up(mut self, why: &str) {
        self.hold.end(End::Failed, why);
    }

    /// Whether `draft`, made just now, is still what was agreed to.
    pub(super) fn still_holds(&self, turn: &Turn, draft: &Draft) -> bool {
        let agreed = &self.hold.plan.draft;
        turn.plan == self.hold.plan.id
            && draft.fingerprint == agreed.fingerprint
            && draft.subject == agreed.subject
            && draft.risk <= agreed.risk
    }

    /// Who froze changes since, if somebody did.
    pub(super) fn frozen(&self) -> Option<Frozen> {
        self.hold.plans.brake().state()
    }

    /// Who agreed, in which way, for the record.
    pub(super) fn note(&self) -> (Approval, PlanNote) {
        let Self { hold, approval, approver } = self;
        let digest = hex::encode(hold.plan.digest);
        let undo = Some(hold.plan.undo.clone());
        (*approval, PlanNote { id: hold.plan.id, digest, approver: approver.clone(), undo })
    }

    /// Spent: from here on the NAS may hear of it.
    pub(super) fn spend(mut self) -> Applying {
        self.hold.sent = true;
        Applying(self.hold)
    }
}

impl Applying {
    /// The NAS is so far with it, in percent.
    pub fn far(&self, percent: u8) {
        self.0.plans.far(self.0.plan.id, percent);
    }

    /// It has come to its end.
    pub fn end(mut self, end: End, text: &str) {
        self.0.end(end, text);
    }
}

impl Hold {
    fn end(&mut self, end: End, text: &str) {
        self.over = true;
        self.plans.settle(self.plan.id, end, text);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        match (self.over, self.sent) {
            (true, _) => {}
            (false, false) => self.end(End::Failed, "It was given up before anything was sent to the NAS."),
            (false, true) => self.end(End::Unknown, "It is not known whether it was done."),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting for approval"),
            Self::Running { approved_by, percent } => {
                if let Some(by) = approved_by {
                    write!(f, "approved by {by}, ")?;
                }
                f.write_str("being carried out")?;
                percent.map_or(Ok(()), |percent| write!(f, ", {percent} % done"))
            }
            Self::Over { end, text } => write!(f, "{}: {text}", end.word()),
        }
    }
}
