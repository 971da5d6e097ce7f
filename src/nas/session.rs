//! Calls, made under a warrant.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::connection::{Line, Live};
use super::error::{NasError, tame};
use super::memory::{Memory, Use};
use super::methods::{Method, Source};
use super::rpc::follow::{Following, Heard};
use super::rpc::{Answer, Failure, LONGEST_ANSWER, LONGEST_CALL, Lost, Refusal};
use super::tally::Tally;
use super::version::{Candidate, Version};
use crate::audit::{Pending, Warrant};
use crate::config;
use crate::domain::access::{Access, Covers, Read};
use crate::domain::id::RequestId;
use crate::domain::name::DatasetPath;
use crate::history::Past;

/// How often a look is sent again when the NAS turns it away for too many calls at a time.
const TURNED_AWAY: u32 = 5;
/// How long a subscription may take to begin, others to the same source included.
const SUBSCRIBE: Duration = Duration::from_secs(15);
/// How long the NAS may take to agree to tell of changes. What it does not agree to is asked without.
const AGREE: Duration = Duration::from_secs(5);
/// How long a look waits for another one that asks the same. Where what comes is not kept, for it is too large or the NAS
/// tells of changes all the time, each would have to wait for all before it: then they ask beside each other.
const IN_TURN: Duration = Duration::from_secs(2);

/// The right to call the NAS for as long as a warrant is open. There is no other way to a method, and a session
/// that was opened to look cannot send one that changes:
///
/// ```compile_fail,E0277
/// # use tailnas::domain::access::{Read, Write};
/// # use tailnas::nas::{NasError, Session, methods::{Method as _, snapshot}};
/// async fn change(reading: &Session<'_, Read>, writing: &Session<'_, Write>) -> Result<(), NasError> {
///     reading.call(snapshot::Create, snapshot::Create::example()).await.map(drop)
/// }
/// ```
///
/// ```
/// # use tailnas::domain::access::{Read, Write};
/// # use tailnas::nas::{NasError, Session, methods::{Method as _, snapshot}};
/// async fn change(reading: &Session<'_, Read>, writing: &Session<'_, Write>) -> Result<(), NasError> {
///     writing.call(snapshot::Create, snapshot::Create::example()).await.map(drop)
/// }
/// ```
#[derive(Debug)]
pub struct Session<'w, A: Access> {
    line: Option<Line>,
    /// For whom a change is made: the NAS keeps that with the job it begins.
    request: Option<RequestId>,
    config: Option<&'w config::Nas>,
    past: Option<&'w Past>,
    /// What the NAS answered a moment ago, and what that is to this session.
    memory: (Memory, Use),
    tally: Tally,
    trips: Mutex<Vec<Trip>>,
    warrant: PhantomData<fn() -> &'w Warrant<A>>,
}

/// One call to the NAS, for the record: what was called, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trip {
    /// The method, as this generation calls it.
    pub method: &'static str,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Whether it had a result.
    pub ok: bool,
    /// The job that it started.
    pub job: Option<i64>,
    /// It was not sent: the NAS had answered the same a moment ago.
    pub recalled: bool,
}

/// How much is taken of an event source.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events.
    pub items: usize,
    /// Bytes of all of them. The one that goes over is the last.
    pub bytes: usize,
    /// From the subscription on.
    pub time: Duration,
}

/// What an event source told.
#[derive(Clone, Debug)]
pub struct Followed<I> {
    /// The events, in order.
    pub items: Vec<I>,
    /// Why there are no more.
    pub end: End,
    /// Some came faster than they were taken and are not among them.
    pub missed: bool,
}

/// Why an event source was followed no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There were enough events.
    Items,
    /// They were large enough.
    Bytes,
    /// The time was over.
    Time,
    /// The NAS had no more to tell.
    Source,
}

#[cfg(test)]
impl<A: Access> Session<'static, A> {
    /// A session that nothing vouches for.
    pub(super) fn on(line: Option<Line>) -> Self {
        Self::with(line, (Memory::new(crate::clock::Clock::system()), Use::Nothing))
    }

    pub(super) fn with(line: Option<Line>, memory: (Memory, Use)) -> Self {
        Self::bare(line, memory, Tally::default())
    }
}

impl<'w, A: Access> Session<'w, A> {
    pub(super) fn new(
        warrant: &'w Warrant<A>,
        line: Option<Line>,
        (memory, uses): (&Memory, Use),
        tally: &Tally,
        (config, past): (&'w config::Nas, Option<&'w Past>),
    ) -> Self {
        let request = Some(warrant.terms().request);
        let config = Some(config);
        Self { request, config, past, ..Self::bare(line, (memory.clone(), uses), tally.clone()) }
    }

    /// One that knows nothing but its line.
    fn bare(line: Option<Line>, memory: (Memory, Use), tally: Tally) -> Self {
        Self {
            line,
            request: None,
            config: None,
            past: None,
            memory,
            tally,
            trips: Mutex::default(),
            warrant: PhantomData,
        }
    }

    /// The datasets whose files may be looked at, with what lies below them.
    #[must_use]
    pub fn files(&self) -> &[DatasetPath] {
        self.config.map_or(&[], |config| &config.files)
    }

    /// The datasets that apps may see, with what lies below them.
    #[must_use]
    pub fn app_datasets(&self) -> &[DatasetPath] {
        self.config.map_or(&[], |config| &config.app_datasets)
    }

    /// The devices that apps may have.
    #[must_use]
    pub fn app_devices(&self) -> &[String] {
        self.config.map_or(&[], |config| &config.app_devices)
    }

    /// What the NAS held before, where that is kept.
    #[must_use]
    pub const fn past(&self) -> Option<&Past> {
        self.past
    }

    /// Whether this generation of the NAS has the method. Sends nothing.
    ///
    /// # Errors
    ///
    /// When the NAS is away, and does not tell what it runs.
    pub async fn has<M: Method>(&self, method: M) -> Result<bool, NasError> {
        match self.require(method).await {
            Ok(()) => Ok(true),
            Err(NasError::NoSuchMethod { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same, for what cannot be done without it.
    ///
    /// # Errors
    ///
    /// [`NasError::NoSuchMethod`] where it has none; or when the NAS is away.
    pub async fn require<M: Method>(&self, _: M) -> Result<(), NasError> {
        let line = self.line.as_ref().ok_or(NasError::NoWriter)?;
        let nas = line.live(Instant::now() + M::DEADLINE).await?;
        choose(M::CANDIDATES, &nas).map(drop)
    }

    /// Whether the NAS speaks this version or a later one, where that says how something is written. Sends nothing.
    ///
    /// # Errors
    ///
    /// When the NAS is away, and does not tell what it runs.
    pub async fn speaks(&self, version: Version) -> Result<bool, NasError> {
        let line = self.line.as_ref().ok_or(NasError::NoWriter)?;
        Ok(line.live(Instant::now() + SUBSCRIBE).await?.generation >= version)
    }

    /// Calls a method.
    ///
    /// What only looks is sent once more when the connection is lost under it. What changes is sent once: if its
    /// answer is lost, the outcome is [`NasError::Unknown`].
    pub async fn call<M: Method>(&self, _: M, params: M::Params) -> Result<M::Reply, NasError>
    where
        A: Covers<M::Access>,
    {
        // Arguments are plain values; that they cannot be written as JSON is as good as too long.
        let params =
            to_raw_value(&params).map_err(|_| NasError::TooLarge { answer: false, limit: LONGEST_CALL })?;
        let (said, about) = self.carry(Manner::of::<M>(), &params).await?;
        parse(about, said.json())
    }

    /// The same for any method: what is the same for all of them is compiled once.
    async fn carry(&self, manner: Manner, params: &RawValue) -> Result<(Said, About), NasError> {
        let line = self.line.as_ref().ok_or(NasError::NoWriter)?;
        let deadline = Instant::now() + manner.deadline;
        let (memory, uses) = &self.memory;
        let _unsettled = (*uses == Use::Unsettles).then(|| memory.unsettle());
        if manner.told && *uses == Use::Recalls {
            return self.recall(memory, manner, params, line, deadline).await;
        }
        self.ask(manner, params, line, deadline).await
    }

    /// Calls a method, unless the NAS answered the same call a moment ago.
    async fn recall(
        &self,
        memory: &Memory,
        manner: Manner,
        params: &RawValue,
        line: &Line,
        deadline: Instant,
    ) -> Result<(Said, About), NasError> {
        // Of a NAS that is away nothing is told that it said before.
        let nas = line.live(deadline).await?;
        let method = choose(manner.candidates, &nas)?;
        let begun = Instant::now();
        // Before anything is asked for, so that no change can fall in between.
        let Some(watch) = nas.connection.watch(method, deadline.min(begun + AGREE)).await else {
            return self.ask(manner, params, line, deadline).await;
        };
        let patience = deadline.min(Instant::now() + IN_TURN);
        let turn = memory.turn(method, params.get().to_owned());
        let Ok(turn) = tokio::time::timeout_at(patience, turn).await else {
            return self.ask(manner, params, line, deadline).await;
        };
        if let Some(text) = turn.recall(&watch) {
            self.tally.recalled(method);
            self.note(Trip { recalled: true, ..Trip::of(method, begun, true) });
            return Ok((Said::Before(text), manner.about(method)));
        }
        let asked = memory.asked(watch);
        let (said, about) = self.ask(manner, params, line, deadline).await?;
        turn.keep(asked, said.json());
        Ok((said, about))
    }

    async fn ask(
        &self,
        manner: Manner,
        params: &RawValue,
        line: &Line,
        deadline: Instant,
    ) -> Result<(Said, About), NasError> {
        let mut patience = if manner.change { Patience::NONE } else { Patience::LOOK };
        loop {
            let nas = line.live(deadline).await?;
            let method = choose(manner.candidates, &nas)?;
            let begun = Instant::now();
            let request = self.request.filter(|_| manner.change);
            let outcome = nas.connection.call_for(request, method, params, deadline).await;
            // What starts a job answers its number.
            let job =
                outcome.as_ref().ok().filter(|_| manner.job).and_then(|job| job.json().trim().parse().ok());
            self.tally.called(method, outcome.is_ok(), begun.elapsed());
            self.note(Trip { job, ..Trip::of(method, begun, outcome.is_ok()) });
            let failure = match outcome {
                Ok(answer) => return Ok((Said::Now(answer), manner.about(method))),
                Err(failure) => failure,
            };
            if let Failure::Answered(refusal) = &failure
                && refusal.is_logged_out()
            {
                nas.connection.hang_up("the session on the NAS had ended");
            }
            match patience.again(&failure) {
                Some(pause) => tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await,
                None => return Err(explain(failure, manner.about(method), &nas, line)),
            }
        }
    }
}

impl<'w> Session<'w, Read> {
    pub(super) fn after(_: &'w Pending, line: Option<Line>, memory: &Memory, tally: &Tally) -> Self {
        // What it looks after goes on changing the NAS.
        Self::bare(line, (memory.clone(), Use::Unsettles), tally.clone())
    }
}

impl Session<'_, Read> {
    /// Follows an event source for as long as `bounds` say, and answers what came. Then, and whenever nobody
    /// waits for this any more, the subscription is taken back.
    pub async fn follow<S: Source>(
        &self,
        _: S,
        args: S::Args,
        bounds: Bounds,
    ) -> Result<Followed<S::Item>, NasError> {
        let line = self.line.as_ref().ok_or(NasError::NoWriter)?;
        let begun = Instant::now();
        let nas = line.live(begun + SUBSCRIBE).await?;
        let source = choose(S::CANDIDATES, &nas)?;
        let about = About { method: source, change: false, role: S::ROLE, deadline: SUBSCRIBE };
        let args = serde_json::to_string(&args).unwrap_or_default();
        let outcome = async {
            let following = nas.connection.follow(format!("{source}:{args}"), begun + SUBSCRIBE).await;
            let mut following = following.map_err(|failure| explain(failure, about, &nas, line))?;
            collect::<S>(&mut following, about, bounds, &nas, line).await
        }
        .await;
        self.note(Trip::of(source, begun, outcome.is_ok()));
        outcome
    }
}

async fn collect<S: Source>(
    following: &mut Following,
    about: About,
    bounds: Bounds,
    nas: &Live,
    line: &Line,
) -> Result<Followed<S::Item>, NasError> {
    let until = Instant::now() + bounds.time;
    let (mut items, mut bytes) = (Vec::new(), 0);
    let end = loop {
        match tokio::time::timeout_at(until, following.next()).await {
            Err(_) => break End::Time,
            Ok(None) => return Err(line.away()),
            Ok(Some(Heard::Ended(None))) => break End::Source,
            Ok(Some(Heard::Ended(Some(detail)))) => {
                let refusal = Refusal { code: -32602, message: String::new(), data: Some(detail) };
                return Err(refused(&refusal, about, nas, line));
            }
            Ok(Some(Heard::Item(event))) => {
                bytes += event.json().len();
                items.push(parse(about, event.json())?);
            }
        }
        if items.len() >= bounds.items || bytes >= bounds.bytes {
            break if items.len() >= bounds.items { End::Items } else { End::Bytes };
        }
    };
    Ok(Followed { items, end, missed: following.has_missed_some() })
}

impl<A: Access> Session<'_, A> {
    /// The calls that were made so far.
    pub fn trips(&self) -> Vec<Trip> {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trip: Trip) {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner).push(trip);
    }
}

impl Trip {
    fn of(method: &'static str, begun: Instant, ok: bool) -> Self {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { method, ms, ok, job: None, recalled: false }
    }
}

/// How often one call may be sent again.
struct Patience {
    lost: u32,
    turned_away: u32,
}

impl Patience {
    const NONE: Self = Self { lost: 0, turned_away: 0 };
    const LOOK: Self = Self { lost: 1, turned_away: TURNED_AWAY };

    /// The pause before the call is sent again, if it is.
    fn again(&mut self, failure: &Failure) -> Option<Duration> {
        let (left, pause) = match failure {
            // The same answer would come again.
            Failure::Lost { lost: Lost::TooLarge, .. } => return None,
            Failure::Lost { .. } => (&mut self.lost, Duration::ZERO),
            Failure::Answered(refusal) if refusal.is_logged_out() => (&mut self.lost, Duration::ZERO),
            Failure::Answered(refusal) if refusal.is_too_many_calls() => {
                let before = TURNED_AWAY.saturating_sub(self.turned_away);
                (&mut self.turned_away, Duration::from_millis(100) * 2_u32.pow(before))
            }
            Failure::Answered(_) | Failure::Deadline { .. } | Failure::TooLong => return None,
        };
        *left = left.checked_sub(1)?;
        Some(pause)
    }
}

fn choose(candidates: &[Candidate], nas: &Live) -> Result<&'static str, NasError> {
    Candidate::choose(candidates, nas.generation).ok_or_else(|| NasError::NoSuchMethod {
        method: candidates.first().map_or("", |candidate| candidate.name),
        version: nas.version.trim_start_matches("TrueNAS-").to_owned(),
    })
}

fn parse<T: DeserializeOwned>(about: About, json: &str) -> Result<T, NasError> {
    let mut json = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut json).map_err(|error| NasError::Unexpected {
        method: about.method,
        path: tame(&error.path().to_string()),
        problem: problem(error.inner()),
        changed: about.change,
    })
}

/// What serde expected. What it found instead may be anything, a secret too, and is left out.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {}", tame(expected)),
        None if text.starts_with("missing field `") => tame(text),
        None => "there is something else".into(),
    }
}

/// What must be known of a call to say what its failure means.
#[derive(Clone, Copy)]
struct About {
    method: &'static str,
    change: bool,
    role: Option<&'static str>,
    deadline: Duration,
}

/// How a method is called, whichever it is.
#[derive(Clone, Copy)]
struct Manner {
    candidates: &'static [Candidate],
    change: bool,
    job: bool,
    told: bool,
    role: Option<&'static str>,
    deadline: Duration,
}

impl Manner {
    const fn of<M: Method>() -> Self {
        Self {
            candidates: M::CANDIDATES,
            change: M::Access::CHANGES,
            job: M::JOB,
            told: M::TOLD,
            role: M::ROLE,
            deadline: M::DEADLINE,
        }
    }

    const fn about(&self, method: &'static str) -> About {
        About { method, change: self.change, role: self.role, deadline: self.deadline }
    }
}

/// A result of the NAS: of this moment, or of the one before.
enum Said {
    Now(Answer),
    Before(Arc<str>),
}

impl Said {
    fn json(&self) -> &str {
        match self {
            Self::Now(answer) => answer.json(),
            Self::Before(text) => text,
        }
    }
}

fn explain(failure: Failure, about: About, nas: &Live, line: &Line) -> NasError {
    let About { method, change, deadline, .. } = about;
    match failure {
        Failure::Lost { lost, written: true } if change => {
            NasError::Unknown { method, reason: lost.to_string() }
        }
        Failure::Lost { lost: Lost::TooLarge, .. } => {
            NasError::TooLarge { answer: true, limit: LONGEST_ANSWER }
        }
        Failure::Lost { .. } => line.away(),
        Failure::Deadline { written: true } if change => {
            NasError::Unknown { method, reason: format!("no answer came within {} s", deadline.as_secs()) }
        }
        Failure::Deadline { .. } => NasError::Timeout { after: deadline },
        Failure::TooLong => NasError::TooLarge { answer: false, limit: LONGEST_CALL },
        Failure::Answered(refusal) if refusal.is_logged_out() => line.away(),
        Failure::Answered(refusal) => refused(&refusal, about, nas, line),
    }
}

/// A refusal in our own terms.
fn refused(refusal: &Refusal, about: About, nas: &Live, line: &Line) -> NasError {
    const ENOENT: i64 = 2;
    const EEXIST: i64 = 17;
    let About { method, change, role, .. } = about;
    if refusal.is_no_such_method() {
        return NasError::NoSuchMethod {
            method,
            version: nas.version.trim_start_matches("TrueNAS-").to_owned(),
        };
    }
    if refusal.is_too_many_calls() {
        return NasError::Busy { reason: refusal.words() };
    }
    let faults = refusal.faults();
    if let Some(fault) = faults.iter().find(|fault| matches!(fault.errno, Some(ENOENT | EEXIST))) {
        let what = fault.problem.clone();
        return if fault.errno == Some(ENOENT) {
            NasError::NotFound { what }
        } else {
            NasError::Exists { what }
        };
    }
    if !faults.is_empty() {
        return NasError::Invalid {
            fields: faults.into_iter().map(|fault| (fault.field, fault.problem)).collect(),
        };
    }
    let words = refusal.words();
    match refusal.errno() {
        Some(ENOENT) => NasError::NotFound { what: words },
        Some(EEXIST) => NasError::Exists { what: words },
        Some(Refusal::EACCES) => NasError::NotAuthorized { method, username: line.username.clone(), role },
        Some(Refusal::EBUSY) => NasError::Busy { reason: words },
        _ => NasError::Refused { errname: refusal.errname(), reason: words, change },
    }
}

/// One thing the NAS has against the arguments.
struct Fault {
    field: String,
    problem: String,
    errno: Option<i64>,
}

impl Refusal {
    /// Its name for the kind of error.
    fn errname(&self) -> String {
        let name = self.data.as_ref().and_then(|data| data.errname.as_deref());
        name.map_or_else(|| format!("JSON-RPC {}", self.code), tame)
    }

    /// What a validation error lists: `[[field, problem, errno], …]`. The field is `null` where it is about the
    /// thing as a whole.
    fn faults(&self) -> Vec<Fault> {
        let Some(Value::Array(rows)) = self.data.as_ref().map(|data| &data.extra) else { return Vec::new() };
        if self.code != -32602 {
            return Vec::new();
        }
        rows.iter()
            .filter_map(|row| {
                let field = row.get(0)?.as_str().unwrap_or_default();
                let problem = row.get(1)?.as_str()?;
                Some(Fault {
                    field: tame(field),
                    problem: tame(problem),
                    errno: row.get(2).and_then(Value::as_i64),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
