//! Asking the provider about a token: at most once at a time for each, and not again for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use oauth2::{AccessToken, RequestTokenError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::answer::Answer;
use super::bearer::Bearer;
use super::breaker::Breaker;
use super::cache::Shelf;
use super::claims::{Flaw, Rules};
use super::discovery::{Credentials, Discovery};
use super::error::{IntrospectError, NoAnswer, Outage};
use super::exchange::exchange;
use super::fingerprint::{Fingerprint, Ink};
use super::fishing::Fishing;
use super::flight::{Flight, Flights};
use super::recognition::Recognition;
use super::token::{ActiveToken, Facts};
use crate::clock::{Clock, Seldom};
use crate::config;
use crate::lifecycle::Lifecycle;
use crate::net::http::Client;
use crate::secret::SecretError;

/// How long "active" is believed. It bounds how late we learn of a revocation, for reads.
const ACTIVE_FOR: Duration = Duration::from_secs(30);

/// How long "not active" is believed, so that a client which repeats a dead token does not reach the provider
/// each time.
const INACTIVE_FOR: Duration = Duration::from_secs(10);

/// How long a token that was good is no guess of anybody's: for longer than most tokens live.
const NO_GUESS_FOR: Duration = Duration::from_hours(1);

/// How many answers of either kind are kept.
const KEPT: usize = 4096;

/// How many questions may be under way at once.
const AT_ONCE: usize = 8;

/// How long a question may wait for its turn.
const QUEUE: Duration = Duration::from_secs(1);

/// How long one question may take with everything that belongs to it, and how long anybody waits for an answer, with the
/// time that they wait for their turn: whoever calls is told within 2.5 s that the provider does not answer.
const PATIENCE: Duration = Duration::from_millis(2300);

/// More than this many seconds to live is a sign of a provider that counts in milliseconds.
const SUSPICIOUSLY_LONG: i64 = 24 * 60 * 60;

/// How new an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// At most 30 seconds old: enough to look at things.
    Cached,
    /// Asked for now, and not before: for changes.
    Fresh,
}

/// The OAuth provider. Clones are handles to the same one.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

/// Why there can be no provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The issuer is not what an issuer can be.
    #[error("{0:?} is not a URL that a provider can be asked at: it must be https, or http on this machine")]
    Issuer(String),
    /// Our secret at the provider cannot be had.
    #[error("the secret of provider.client cannot be had")]
    Secret(#[from] SecretError),
    /// The system has no random bits for us.
    #[error("the system gives no random bits")]
    Random(#[from] getrandom::Error),
}

struct Inner {
    rules: Rules,
    discovery: Discovery,
    http: Client,
    clock: Clock,
    lifecycle: Lifecycle,
    ink: Ink,
    slots: Arc<Semaphore>,
    desk: Mutex<Desk>,
    long_lived: Seldom,
}

/// What is known and what is being asked, under one lock.
struct Desk {
    active: Shelf<Fingerprint, Arc<Facts>>,
    inactive: Shelf<Fingerprint, ()>,
    /// Tokens that were good when they were last asked about. Whoever presents one is not fishing.
    no_guess: Shelf<Fingerprint, ()>,
    flights: Flights<Fingerprint, Outcome>,
    outage: Option<Outage>,
    breaker: Breaker,
    fishing: Fishing,
    recognition: Recognition,
}

/// How far a question about a token has come.
enum Begun {
    /// It need not be asked.
    Known(ActiveToken),
    /// It is being asked; `joined`, where somebody else asked it first.
    UnderWay { flight: Flight<Outcome>, joined: bool },
    /// As many as may are being asked.
    NoPlace,
}

type Outcome = Result<Arc<Facts>, IntrospectError>;

impl Provider {
    /// The provider that `config` names, asked about tokens for `resource`. Nothing is sent yet.
    pub fn new(
        config: &config::Provider,
        resource: &config::ResourceUrl,
        http: Client,
        clock: Clock,
        lifecycle: Lifecycle,
    ) -> Result<Self, ProviderError> {
        let rules = Rules {
            issuer: config.issuer.clone(),
            resource: resource.as_str().to_owned(),
            clients: config.clients.clone(),
            login_claim: match &config.kind {
                config::ProviderKind::Tsidp => None,
                config::ProviderKind::Generic { login_claim, .. } => Some(*login_claim),
            },
        };
        let credentials = config.client.as_ref().map(Credentials::load).transpose()?;
        let desk = Desk {
            active: Shelf::new(KEPT, ACTIVE_FOR),
            inactive: Shelf::new(KEPT, INACTIVE_FOR),
            no_guess: Shelf::new(KEPT, NO_GUESS_FOR),
            flights: Flights::new(),
            outage: None,
            breaker: Breaker::default(),
            fishing: Fishing::default(),
            recognition: Recognition::default(),
        };
        Ok(Self(Arc::new(Inner {
            rules,
            discovery: Discovery::new(&config.issuer, http.clone(), lifecycle.clone(), credentials)?,
            http,
            clock,
            lifecycle,
            ink: Ink::new()?,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            desk: Mutex::new(desk),
            long_lived: Seldom::default(),
        })))
    }

    /// What the provider says about a token, if that is as new as `freshness` demands and good enough. The one
    /// who presents it is `asker`, who may present a few bad ones a second and not more.
    pub async fn introspect(
        &self,
        bearer: &Bearer,
        freshness: Freshness,
        asker: &str,
    ) -> Result<ActiveToken, IntrospectError> {
        let print = self.0.ink.take(bearer);
        let now = self.0.clock.mono();
        let until = Instant::now() + PATIENCE;
        let mut place = None;
        let (flight, joined) = loop {
            match self.begin(print, bearer, freshness, asker, now, place.take())? {
                Begun::Known(token) => return Ok(token),
                Begun::UnderWay { flight, joined } => break (flight, joined),
                // Others are asking. Their answers take milliseconds, so ours can wait for a place.
                Begun::NoPlace => place = Some(self.wait_for_place().await?),
            }
        };
        // It flies on: its answer is the next one's.
        let outcome =
            tokio::time::timeout_at(until, flight).await.unwrap_or_else(|_| Err(Outage::TimedOut.into()));
        if joined && is_no_token(&outcome) {
            self.desk().fishing.charge_late(asker, now);
        }
        Ok(ActiveToken::new(outcome?, print, Duration::ZERO))
    }

    /// Answers from what is known, joins a question that is under way, or asks one if there is a place for it.
    fn begin(
        &self,
        print: Fingerprint,
        bearer: &Bearer,
        freshness: Freshness,
        asker: &str,
        now: Duration,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Begun, IntrospectError> {
        let mut desk = self.desk();
        // A question that is already under way may have been answered before the token was revoked, so one that
        // must be fresh joins none.
        if freshness == Freshness::Cached {
            match self.recall(&mut desk, print) {
                Some(Err(IntrospectError::Inactive)) => {
                    desk.charge(asker, now)?;
                    return Err(IntrospectError::Inactive);
                }
                Some(known) => return known.map(Begun::Known),
                None => {}
            }
            if let Some(flight) = desk.flights.join(&print) {
                return Ok(Begun::UnderWay { flight, joined: true });
            }
        }
        let place = place.or_else(|| Arc::clone(&self.0.slots).try_acquire_owned().ok());
        let Some(place) = place else { return Ok(Begun::NoPlace) };
        // Charged before the question goes out and given back when the token turns out to be good: of many
        // at once, no more than the limit get through. What was good of late is nobody's guess.
        let charged = if desk.no_guess.get(&print, now).is_some() {
            None
        } else {
            desk.charge(asker, now)?;
            Some(asker.to_owned())
        };
        if let Err(unavailable) = desk.breaker.let_through(now) {
            if let Some(asker) = &charged {
                desk.fishing.give_back(asker, now);
            }
            return Err(unavailable.into());
        }
        let flight = desk.flights.launch(print, Err(Outage::Internal.into()), |number| {
            let question = Question { print, number, charged };
            self.0.lifecycle.deed(self.clone().fly(question, bearer.clone(), place))
        });
        Ok(Begun::UnderWay { flight, joined: false })
    }

    async fn wait_for_place(&self) -> Result<OwnedSemaphorePermit, Outage> {
        match tokio::time::timeout(QUEUE, Arc::clone(&self.0.slots).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Outage::Busy),
        }
    }

    /// Asks the provider for its metadata, unless it is known already.
    ///
    /// # Errors
    ///
    /// When it is of no help, with the cause.
    pub async fn discover(&self) -> Result<(), NoAnswer> {
        self.0.discovery.introspector().await.map(drop)
    }

    /// Asks the provider for its metadata and then about a token that nobody ever issued, to see whether it would
    /// tell us about others. Nothing of the answer is kept.
    ///
    /// # Errors
    ///
    /// When it would not, with the cause.
    pub async fn try_out(&self) -> Result<(), NoAnswer> {
        self.discover().await?;
        let mut made_up = [0; 32];
        getrandom::fill(&mut made_up).map_err(|error| NoAnswer::new(Outage::Internal, error.to_string()))?;
        self.question(AccessToken::new(hex::encode(made_up))).await.map(drop)
    }

    /// Whether its metadata can be had. Nothing is made of them: for whoever watches it while nobody comes with a token.
    ///
    /// # Errors
    ///
    /// In words, when they cannot.
    pub async fn is_there(&self) -> Result<(), String> {
        let url = format!("{}/.well-known/openid-configuration", self.0.rules.issuer);
        let request = http::Request::get(url).body(Vec::new()).map_err(|error| error.to_string())?;
        let answer = self.0.http.send(request).await.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            status => Err(format!("it answers with status {}", status.as_u16())),
        }
    }

    /// In which way the provider was of no help when it was last asked about a token, or how its answers of
    /// late look wrong.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let desk = self.desk();
        desk.outage.or_else(|| desk.recognition.is_in_doubt().then_some(Outage::Unrecognised))
    }

    fn recall(&self, desk: &mut Desk, print: Fingerprint) -> Option<Result<ActiveToken, IntrospectError>> {
        let now = self.0.clock.mono();
        if desk.inactive.get(&print, now).is_some() {
            return Some(Err(IntrospectError::Inactive));
        }
        let (facts, age) = desk.active.get(&print, now)?;
        // RFC 7662 section 4: never beyond its expiry. That is wall clock time, which may have been set since.
        match facts.check_time(self.0.clock.now().timestamp()) {
            Ok(()) => Some(Ok(ActiveToken::new(Arc::clone(facts), print, age))),
            Err(flaw) => {
                desk.active.remove(&print);
                Some(Err(IntrospectError::Claims(flaw)))
            }
        }
    }

    async fn fly(self, question: Question, bearer: Bearer, slot: OwnedSemaphorePermit) -> Outcome {
        let print = question.print;
        let landing = Landing { provider: &self, question };
        let since = self.0.clock.mono();
        let outcome = tokio::time::timeout(PATIENCE, self.ask(print, &bearer))
            .await
            .unwrap_or_else(|_| Err(Outage::TimedOut.into()));
        drop(slot);
        landing.keep(&outcome, since);
        outcome
    }

    async fn ask(&self, print: Fingerprint, bearer: &Bearer) -> Outcome {
        let answer =
            self.question(AccessToken::new(bearer.expose().to_owned())).await.inspect_err(|no_answer| {
                if no_answer.outage() == Outage::Status(404) {
                    self.0.discovery.forget();
                }
            })?;
        let now = self.0.clock.now().timestamp();
        let facts = self.0.rules.judge(&answer, now)?;
        if facts.exp.saturating_sub(now) > SUSPICIOUSLY_LONG
            && let Some(times) = self.0.long_lived.due()
        {
            tracing::warn!(tok = print.short(), exp = facts.exp, times, "a token lives for more than a day");
        }
        Ok(Arc::new(facts))
    }

    /// What the provider says about `token`, whatever that is.
    async fn question(&self, token: AccessToken) -> Result<Answer, NoAnswer> {
        let introspector = self.0.discovery.introspector().await?;
        let unreadable = || NoAnswer::new(Outage::Malformed, "its answer is not one about a token");
        let http = |request| exchange(self.0.http.clone(), request);
        introspector.introspect(&token).request_async(&http).await.map_err(|error| match error {
            RequestTokenError::Request(no_answer) => no_answer,
            RequestTokenError::Parse(error, _) => {
                tracing::warn!(%error, "the provider's answer is not one about a token");
                unreadable()
            }
            RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => unreadable(),
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn charge(&mut self, asker: &str, now: Duration) -> Result<(), IntrospectError> {
        self.fishing.charge(asker, now).map_err(|retry_after| IntrospectError::TooMany { retry_after })
    }
}

/// Whether the provider said that there is no such token, or nothing that would say that there is.
const fn is_no_token(outcome: &Outcome) -> bool {
    matches!(outcome, Err(IntrospectError::Inactive | IntrospectError::Claims(Flaw::Active)))
}

/// A question on its way.
struct Question {
    print: Fingerprint,
    number: u64,
    /// Whose account it is charged to, should the token be no good.
    charged: Option<String>,
}

/// Takes a question off the list when it ends, also if its task panics: the next one asks anew.
struct Landing<'a> {
    provider: &'a Provider,
    question: Question,
}

impl Landing<'_> {
    /// Keeps an answer, unless a later question about the same token was asked since: that one knows better.
    fn keep(self, outcome: &Outcome, since: Duration) {
        let Question { print, number, charged } = &self.question;
        let (print, number) = (*print, *number);
        let now = self.provider.0.clock.mono();
        let mut desk = self.provider.desk();
        if let Err(IntrospectError::Unavailable(unavailable)) = outcome {
            desk.breaker.failed(*unavailable, now);
            desk.outage = Some(unavailable.outage());
        } else {
            desk.breaker.answered();
            desk.outage = None;
        }
        match outcome {
            Err(IntrospectError::Inactive) => desk.recognition.inactive(print),
            Err(IntrospectError::Unavailable(_) | IntrospectError::Claims(Flaw::Active)) => {}
            // Whatever is wrong with it, it is active.
            _ => desk.recognition.active(),
        }
        if let Some(asker) = charged
            && !is_no_token(outcome)
        {
            desk.fishing.give_back(asker, now);
        }
        if !desk.flights.is_latest(&print, number) {
            return;
        }
        match outcome {
            Ok(facts) => {
                desk.inactive.remove(&print);
                desk.active.put(print, Arc::clone(facts), since);
                desk.no_guess.put(print, (), since);
            }
            Err(IntrospectError::Inactive) => {
                desk.active.remove(&print);
                desk.no_guess.remove(&print);
                desk.inactive.put(print, (), since);
            }
            Err(
                IntrospectError::Claims(_) | IntrospectError::ClientNotAllowed | IntrospectError::Delegated,
            ) => {
                desk.active.remove(&print);
                desk.no_guess.remove(&print);
            }
            // No answer takes nothing back: what was known stays known for its time.
            Err(IntrospectError::Unavailable(_) | IntrospectError::TooMany { .. }) => {}
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.provider.desk().flights.land(&self.question.print, self.question.number);
    }
}
