//! The proof that it is on record.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::chain::Receipt;
use super::queue::{Ack, Job, NotRecorded, Queue, render};
use super::record::{Accepted, Act, Closing, End, Event, Look, NasJob, Outcome, Status};
use super::scan;
use crate::domain::access::{Access, Read, Write};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::risk::Risk;
use crate::domain::who::Who;
use crate::policy::permit::{Approval, Terms};

/// Something may now be done: if it is a change, its intent is on disk.
///
/// Only the [`Journal`](super::Journal) makes one, from a permit that policy gave. Closing it writes how it
/// went. One that is dropped instead is closed as `unknown`, since nobody says any more what was done under it.
///
/// A closed one opens no session any more:
///
/// ```compile_fail,E0382
/// # use tailnas::{audit::{Outcome, Warrant}, domain::access::Write, nas::Nas};
/// async fn reuse(nas: Nas, closed: Warrant<Write>, open: Warrant<Write>) {
///     let _receipt = closed.close(Outcome::ok()).await;
///     let _session = nas.session(&closed);
/// }
/// ```
///
/// ```
/// # use tailnas::{audit::{Outcome, Warrant}, domain::access::Write, nas::Nas};
/// async fn reuse(nas: Nas, closed: Warrant<Write>, open: Warrant<Write>) {
///     let _receipt = closed.close(Outcome::ok()).await;
///     let _session = nas.session(&open);
/// }
/// ```
#[must_use = "what was recorded is to be done, and then closed with its outcome"]
#[derive(Debug)]
pub struct Warrant<A: Access> {
    terms: Terms,
    entry: Option<Entry>,
    access: PhantomData<A>,
}

#[derive(Debug)]
enum Entry {
    Change(Open),
    Look(Arc<Queue>),
}

impl<A: Access> Warrant<A> {
    /// What may be done, on whose word.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Writes down how it went, and resolves once that is on disk. The record is written even if nobody waits
    /// for it.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`]. What was done stays done; the next start closes it as `unknown`.
    pub async fn close(mut self, outcome: Outcome) -> Result<Receipt, NotRecorded> {
        let written = match self.entry.take() {
            Some(Entry::Change(open)) => open.close(outcome)?,
            Some(Entry::Look(queue)) => look(&queue, &self.terms, outcome)?,
            None => return Err(NotRecorded::OnlyCounted),
        };
        written.await.unwrap_or_else(|_| Err(super::writer_gone()))
    }
}

impl Warrant<Write> {
    pub(super) fn change(terms: Terms, mut open: Open) -> Self {
        open.given = true;
        Self { terms, entry: Some(Entry::Change(open)), access: PhantomData }
    }

    /// Writes down that the NAS took it on as a job, and resolves once that is on disk. What is left of the warrant
    /// can change nothing more, and waits for the end of the job.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`]. The NAS goes on with it all the same, and the next start looks for the job.
    pub async fn accepted(
        mut self,
        job: NasJob,
        now: DateTime<Utc>,
    ) -> Result<(Receipt, Pending), NotRecorded> {
        let Some(Entry::Change(open)) = self.entry.take() else { return Err(NotRecorded::OnlyCounted) };
        let Some(brief) = open.brief.clone() else { return Err(NotRecorded::OnlyCounted) };
        let pending = Pending { brief, job: Some(job.clone()), since: now, open: Some(open) };
        let Brief { req, tool, nas, target } = pending.brief.clone();
        let event =
            Event::Accepted(Box::new(Accepted { req, parent: pending.seq(), tool, nas, target, job }));
        let (to, written) = oneshot::channel();
        if let Some(open) = &pending.open {
            open.queue.add(Job { event: render(&event)?, ack: Ack::Receipt(to) })?;
        }
        let receipt = written.await.unwrap_or_else(|_| Err(super::writer_gone()))?;
        Ok((receipt, pending))
    }
}

/// A change on disk that was made, or may have been, and of which nobody has written down how it ended: the NAS goes
/// on with it as a job, or the daemon ended in between.
///
/// Nothing can be changed under it any more, and what became of it can be looked up
/// ([`Nas::aftermath`](crate::nas::Nas::aftermath)). One that is dropped is left to the next start.
#[must_use = "somebody is to find out how it ended"]
#[derive(Debug)]
pub struct Pending {
    open: Option<Open>,
    brief: Brief,
    job: Option<NasJob>,
    since: DateTime<Utc>,
}

impl Pending {
    /// What an earlier run left.
    pub(super) fn left(queue: &Arc<Queue>, seq: u64, opened: scan::Opened) -> Self {
        let scan::Opened { req, tool, nas, target, at, job } = opened;
        let brief = Brief { req, tool, nas, target };
        let open = Open { queue: Arc::clone(queue), seq, brief: Some(brief.clone()), given: true };
        Self { open: Some(open), brief, job, since: at.unwrap_or(DateTime::UNIX_EPOCH) }
    }

    /// The number of the intent.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.seq)
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.brief.req
    }

    /// The tool.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.brief.tool
    }

    /// On which NAS.
    #[must_use]
    pub const fn nas(&self) -> Option<&NasName> {
        self.brief.nas.as_ref()
    }

    /// The job as which the NAS goes on with it, where it is known.
    #[must_use]
    pub const fn job(&self) -> Option<&NasJob> {
        self.job.as_ref()
    }

    /// A moment at which it was under way.
    #[must_use]
    pub const fn since(&self) -> DateTime<Utc> {
        self.since
    }

    /// Writes down how it ended, and resolves once that is on disk.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], and then the next start finds it open.
    pub async fn close(mut self, outcome: Outcome) -> Result<Receipt, NotRecorded> {
        let Some(open) = self.open.take() else { return Err(NotRecorded::OnlyCounted) };
        open.close(outcome)?.await.unwrap_or_else(|_| Err(super::writer_gone()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.brief = None;
            open.queue.leave_one();
        }
    }
}

impl Warrant<Read> {
    pub(super) const fn look(terms: Terms, queue: Arc<Queue>) -> Self {
        Self { terms, entry: Some(Entry::Look(queue)), access: PhantomData }
    }
}

impl<A: Access> Drop for Warrant<A> {
    fn drop(&mut self) {
        // A change closes itself: `Open`.
        if let Some(Entry::Look(queue)) = self.entry.take()
            && let Err(error) = look(&queue, &self.terms, dropped())
        {
            tracing::error!(
                req = %self.terms.request, tool = self.terms.tool, %error,
                "something was read without an audit record"
            );
        }
    }
}

/// Queues the record of a read.
fn look(queue: &Queue, terms: &Terms, outcome: Outcome) -> Result<Written, NotRecorded> {
    let event = Event::Read(Box::new(Look { act: Act::new(terms, false), end: End::new(outcome) }));
    let (to, written) = oneshot::channel();
    queue.close(&event, Ack::Receipt(to))?;
    Ok(written)
}

type Written = oneshot::Receiver<Result<Receipt, NotRecorded>>;

fn dropped() -> Outcome {
    Outcome::because(Status::Unknown, "dropped", "the task that did it ended without saying how it went")
}

/// The daemon may look at a NAS on its own account: nobody asked for it, and it is counted, not recorded.
///
/// It lends a [`Warrant`] to read under, and cannot be closed.
#[must_use = "a system warrant is there to be borrowed for a session"]
#[derive(Debug)]
pub struct SystemWarrant(Warrant<Read>);

impl SystemWarrant {
    pub(super) fn new(request: RequestId, purpose: &'static str) -> Self {
        let terms = Terms {
            request,
            who: Who::default(),
            tool: purpose,
            risk: Risk::Read,
            scope: None,
            nas: None,
            target: None,
            args: serde_json::Value::Null,
            args_h: String::new(),
            rule: "system".to_owned(),
            approval: Approval::NotNeeded,
            plan: None,
        };
        Self(Warrant { terms, entry: None, access: PhantomData })
    }
}

impl Deref for SystemWarrant {
    type Target = Warrant<Read>;

    fn deref(&self) -> &Warrant<Read> {
        &self.0
    }
}

/// What an outcome repeats of its intent, so that it can be read by itself.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    pub req: RequestId,
    pub tool: String,
    pub nas: Option<NasName>,
    pub target: Option<String>,
}

impl Brief {
    pub fn outcome(self, parent: u64, outcome: Outcome) -> Event {
        let Self { req, tool, nas, target } = self;
        Event::Outcome(Box::new(Closing { req, parent, tool, nas, target, end: End::new(outcome) }))
    }
}

/// An intent on disk that has no outcome yet. It never goes away without one, wherever it is dropped.
pub(super) struct Open {
    queue: Arc<Queue>,
    seq: u64,
    brief: Option<Brief>,
    /// Whether a warrant was made of it: before that, nothing can have been done.
    given: bool,
}

impl Open {
    pub fn new(queue: &Arc<Queue>, seq: u64, brief: Brief) -> Self {
        Self { queue: Arc::clone(queue), seq, brief: Some(brief), given: false }
    }

    fn close(mut self, outcome: Outcome) -> Result<Written, NotRecorded> {
        let (to, written) = oneshot::channel();
        self.record(outcome, Ack::Receipt(to))?;
        Ok(written)
    }

    fn record(&mut self, outcome: Outcome, ack: Ack) -> Result<(), NotRecorded> {
        let Some(brief) = self.brief.take() else { return Ok(()) };
        self.queue.close(&brief.outcome(self.seq, outcome), ack)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let outcome = if self.given {
            dropped()
        } else {
            Outcome::because(Status::Cancelled, "cancelled", "the request ended before anything was done")
        };
        if let Err(error) = self.record(outcome, Ack::Nobody) {
            tracing::error!(
                intent = self.seq, %error,
                "a change has no outcome in the audit log; the next start closes it as unknown"
            );
        }
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("seq", &self.seq).finish_non_exhaustive()
    }
}
