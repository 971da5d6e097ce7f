//! Starting tasks so that the end can wait for them, and knowing that the ones that must run still do.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// The daemon's tasks, from start to end. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    stopping: CancellationToken,
    ending: CancellationToken,
    services: TaskTracker,
    deeds: TaskTracker,
    died: mpsc::UnboundedSender<&'static str>,
    pulses: Mutex<Vec<Pulse>>,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    longest_silence: Duration,
    last: Arc<AtomicU64>,
}

/// The last beat of a heart of which none is expected any more: never too long ago.
const RETIRED: u64 = u64::MAX;

/// Receives the name of each service that ended without being asked to.
pub type Deaths = mpsc::UnboundedReceiver<&'static str>;

impl Lifecycle {
    /// A lifecycle in which nothing runs yet, and where to hear of services that die.
    #[must_use]
    pub fn new(clock: Clock) -> (Self, Deaths) {
        let (died, deaths) = mpsc::unbounded_channel();
        let inner = Inner {
            clock,
            stopping: CancellationToken::new(),
            ending: CancellationToken::new(),
            services: TaskTracker::new(),
            deeds: TaskTracker::new(),
            died,
            pulses: Mutex::default(),
        };
        (Self(Arc::new(inner)), deaths)
    }

    /// Runs a task that is to last as long as the daemon. If it ends before [`Lifecycle::stop`], by a return
    /// or by a panic, that is told as a death.
    pub fn service(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, false, task);
    }

    /// Runs a task that returns when nobody needs it any more; the end waits for it as for a service. Only a panic
    /// in it is told as a death.
    pub fn errand(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, true, task);
    }

    fn spawn(&self, name: &'static str, may_return: bool, task: impl Future<Output = ()> + Send + 'static) {
        let inner = Arc::clone(&self.0);
        self.0.services.spawn(async move {
            #[expect(
                clippy::disallowed_methods,
                reason = "a task of its own, so that a panic in it is seen here"
            )]
            let ended = tokio::spawn(task).await;
            let as_meant = may_return && ended.is_ok();
            if !as_meant && !inner.stopping.is_cancelled() {
                tracing::error!(service = name, panicked = ended.is_err(), "a service ended by itself");
                let _ = inner.died.send(name);
            }
        });
    }

    /// Runs something that must come to its own end: the stop waits for it, a client that hangs up does not
    /// end it.
    pub fn deed<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.0.deeds.spawn(task)
    }

    /// A pulse that must be felt at least every `longest_silence`, or [`Lifecycle::silent`] names it.
    #[must_use]
    pub fn heartbeat(&self, name: &'static str, longest_silence: Duration) -> Heartbeat {
        let last = Arc::new(AtomicU64::new(0));
        let heartbeat = Heartbeat { clock: self.0.clock.clone(), last: Arc::clone(&last) };
        heartbeat.beat();
        let mut pulses = self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|pulse| pulse.last.load(Ordering::Relaxed) != RETIRED);
        pulses.push(Pulse { name, longest_silence, last });
        heartbeat
    }

    /// The first thing that has not given a sign of life for too long.
    #[must_use]
    pub fn silent(&self) -> Option<&'static str> {
        let now = self.0.clock.mono();
        let pulses = self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses
            .iter()
            .find(|pulse| {
                now.saturating_sub(Duration::from_nanos(pulse.last.load(Ordering::Relaxed)))
                    > pulse.longest_silence
            })
            .map(|pulse| pulse.name)
    }

    /// Begins the end: nothing new is taken in, what is under way comes to its end.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }

    /// Resolves once nothing new is to be taken in.
    pub async fn stopping(&self) {
        self.0.stopping.cancelled().await;
    }

    /// Completes the end: nothing is under way any more, and what served it can go.
    pub fn end(&self) {
        self.0.stopping.cancel();
        self.0.ending.cancel();
    }

    /// Resolves once nothing is under way any more. What deeds need waits for this and not for
    /// [`Lifecycle::stopping`].
    pub async fn ending(&self) {
        self.0.ending.cancelled().await;
    }

    /// Waits until every deed has come to its end, at most `patience`. Says whether all did.
    pub async fn deeds_done(&self, patience: Duration) -> bool {
        self.0.deeds.close();
        tokio::time::timeout(patience, self.0.deeds.wait()).await.is_ok()
    }

    /// Waits until every service has ended, at most `patience`. Says whether all did.
    pub async fn services_done(&self, patience: Duration) -> bool {
        self.0.services.close();
        tokio::time::timeout(patience, self.0.services.wait()).await.is_ok()
    }
}

/// Says "still alive" to the watchdog.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    clock: Clock,
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Says that no more signs of life are to be expected, and that nothing is wrong with that.
    pub fn retire(self) {
        self.last.store(RETIRED, Ordering::Relaxed);
    }

    /// Says it now.
    pub fn beat(&self) {
        let nanos = u64::try_from(self.clock.mono().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos, Ordering::Relaxed);
    }
}
