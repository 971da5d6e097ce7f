//! The proof that it is on record.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::chain::Receipt;
use super::queue::{Ack, Job, NotRecorded, Queue, render};
use super::record::{Act, Closing, End, Event, Look, Outcome, Status};
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
    queue.close(Job { event: render(&event)?, ack: Ack::Receipt(to) })?;
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
        self.queue.close(Job { event: render(&brief.outcome(self.seq, outcome))?, ack })
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
