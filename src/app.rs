//! The daemon from start to end.

mod expiry;
mod reload;
mod watchdog;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::{self, Journal, Settings, Signer};
use crate::caller::{Gate, Rules};
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::{self, Dispatcher, aftermath};
use crate::exit::Exit;
use crate::history::History;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::nas::{Fleet, PastLogins};
use crate::net::http::Client;
use crate::notify::Notifier;
use crate::oauth::{Provider, Texts};
use crate::passkey::Passkeys;
use crate::policy::budgets::Budgets;
use crate::policy::freeze::Freeze;
use crate::policy::plans::Plans;
use crate::sampler;
use crate::secret::SecretSource;
use crate::server::console::{self, Console};
use crate::server::listen::{self, Listener};
use crate::server::{self, Unread, health, router};
use crate::tailnet::LocalApi;
use crate::telemetry;

use reload::Reload;
use watchdog::Watchdog;

/// How long the audit writer may show no sign of life before the watchdog is told nothing more.
const LONGEST_SILENCE: Duration = Duration::from_secs(20);

/// Messages to systemd that may wait.
const UNTOLD: usize = 16;

/// How long deeds in progress may take to end.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long systemd is to wait for us while we wait for tailscaled. It is told so again and again.
const STILL_WAITING_US: u32 = 30_000_000;

/// Runs the daemon where its configuration says, until it is told to stop, and says how that went.
pub async fn serve(config: Config) -> Exit {
    let local_api = LocalApi::new(&config.tailnet.socket, Clock::system());
    match listen::bind(&config.server, &local_api, &mut tell_waiting()).await {
        Ok(listeners) => run(config, listeners, Clock::system(), asked_to_stop()).await,
        Err(error) => {
            log_chain(&error);
            Exit::Unavailable
        }
    }
}

/// Tells the log and systemd what we wait for before we can be ready.
fn tell_waiting() -> impl FnMut(&str) {
    let mut last = String::new();
    move |what| {
        if last != what {
            tracing::info!("{what}");
            what.clone_into(&mut last);
        }
        tell(&[NotifyState::Status(what), NotifyState::ExtendTimeoutUsec(STILL_WAITING_US)]);
    }
}

/// Runs the daemon on `listeners`, by `clock`, until `asked_to_stop` resolves, and says how that went.
pub async fn run(
    config: Config,
    listeners: Vec<Listener>,
    clock: Clock,
    asked_to_stop: impl Future<Output = ()>,
) -> Exit {
    let (lifecycle, mut deaths) = Lifecycle::new(clock.clone());
    // From the start: until there is a handler, a SIGHUP ends us.
    let hangup = signal(SignalKind::hangup());

    // The log first: nothing is answered that could not be written down. From here on it gets its end, whatever
    // else goes wrong: a log without one says that the daemon died.
    let journal = match open_journal(&config, &clock, &lifecycle) {
        Ok(journal) => journal,
        Err(exit) => return exit,
    };
    let watchdog = OnceLock::new();
    let served = async {
        match start(&config, listeners, hangup, &clock, &lifecycle, &journal).await {
            // It watches until the end: a stop that hangs is no better than a service that does.
            Ok(watching) => {
                let _ = watchdog.set(watching);
                std::future::pending().await
            }
            Err(exit) => exit,
        }
    };
    let exit = tokio::select! {
        exit = served => exit,
        () = asked_to_stop => Exit::Ok,
        reason = journal.died() => {
            tracing::error!("the audit log can no longer be written: {reason}. Nothing is served any more");
            Exit::Audit
        }
        name = deaths.recv() => {
            tracing::error!(service = name, "stopping, because a service ended by itself");
            Exit::Bug
        }
    };

    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    lifecycle.stop();
    let deeds = lifecycle.deeds_done(PATIENCE).await;
    // Only now the connection to the NAS: what was under way needed it.
    lifecycle.end();
    let services = lifecycle.services_done(PATIENCE).await;
    if !(services && deeds) {
        tracing::warn!("not everything in progress came to its end; the audit log says what is open");
    }
    match journal.close().await {
        Ok(()) => exit,
        Err(error) => {
            log_chain(&error);
            Exit::Audit
        }
    }
}

/// Puts everything together and serves, in the background.
async fn start(
    config: &Config,
    listeners: Vec<Listener>,
    hangup: std::io::Result<Signal>,
    clock: &Clock,
    lifecycle: &Lifecycle,
    journal: &Journal,
) -> Result<Watchdog, Exit> {
    let parts = assemble(config, clock, lifecycle, journal.clone())?;
    server::keep_certificate(&listeners, &parts.ends, clock, lifecycle);
    let expiry = expiry::Watch {
        fleet: parts.reload.fleet.clone(),
        journal: journal.clone(),
        ends: parts.ends,
        clock: clock.clone(),
        lifecycle: lifecycle.clone(),
    };
    let fleet = parts.reload.fleet.clone();
    if let Some(address) = config.metrics {
        let listener = listen::bind_metrics(address, &parts.local_api, &mut tell_waiting()).await;
        let listener = listener.map_err(|error| {
            log_chain(&error);
            Exit::Unavailable
        })?;
        server::serve_health(listener, health::router(Arc::clone(&parts.watch)), &parts.metrics, lifecycle);
    }
    for pending in journal.pending() {
        let settled = aftermath::settle(pending, fleet.clone(), clock.clone(), lifecycle.clone(), |_| {});
        drop(lifecycle.deed(settled));
    }
    lifecycle.service("health", parts.watch.keep_looking(lifecycle.clone()));
    lifecycle.service("root", Arc::clone(&parts.server.console).watch_root(lifecycle.clone()));
    lifecycle.service("notices", parts.notifier.watch(parts.plans, lifecycle.clone()));
    let budgets = parts.reload.budgets.clone();
    let unread = Unread { journal: journal.clone(), clock: clock.clone() };
    server::serve(listeners, &router(parts.server), &unread, &parts.metrics, &budgets, lifecycle);
    tracing::info!(url = %config.server.url, "ready");
    tell(&[NotifyState::Ready, NotifyState::Status(&status(&fleet, journal))]);
    match hangup {
        Ok(hangup) => lifecycle.service("reload", parts.reload.on(hangup)),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be caught; the configuration is read at a start alone");
        }
    }
    lifecycle.service("expiry", expiry.run());
    keep_history(config, clock, lifecycle, &fleet, journal);
    watch(lifecycle, fleet, journal.clone()).map_err(|error| {
        log_chain(&error);
        Exit::Unavailable
    })
}

/// Samples of pools and datasets. Nothing else waits for them: without, growth is not told, and that is said.
fn keep_history(config: &Config, clock: &Clock, lifecycle: &Lifecycle, fleet: &Fleet, journal: &Journal) {
    match History::open(&config.state, clock.now()) {
        Ok(opened) => {
            if let Some(aside) = &opened.set_aside {
                tracing::error!(
                    "the history of pools was damaged and begins anew; what was there is in {}",
                    aside.display()
                );
            }
            sampler::start(opened.history, fleet, journal, clock, lifecycle);
        }
        Err(error) => tracing::error!("{error}. Nothing can be said of the growth of pools"),
    }
}

struct Assembled {
    reload: Reload,
    server: server::Parts,
    watch: Arc<health::Watch>,
    ends: health::Ends,
    local_api: LocalApi,
    notifier: Notifier,
    plans: Plans,
    metrics: Metrics,
}

fn open_journal(config: &Config, clock: &Clock, lifecycle: &Lifecycle) -> Result<Journal, Exit> {
    let load = |source: &SecretSource| {
        source.load().map_err(|error| {
            log_chain(&error);
            Exit::Config
        })
    };
    let config = &config.audit;
    let hasher_key = load(&config.hmac_key)?;
    let signer = Signer::parse(&load(&config.signing_key)?).map_err(|error| {
        tracing::error!("audit.signing_key: {error}. Make one with: tailnas audit keygen FILE");
        Exit::Config
    })?;
    let settings = Settings {
        dir: config.dir.clone(),
        hasher_key,
        signer,
        copy: config.copy.clone(),
        rotate_at: config.rotate_at,
        reads_go_on: config.reads_go_on,
    };
    let heartbeat = lifecycle.heartbeat("audit writer", LONGEST_SILENCE);
    match Journal::open(settings, clock.clone(), heartbeat) {
        Ok((journal, opened)) => {
            if opened.lost.is_empty() {
                tracing::info!(dir = %config.dir.display(), "{opened}");
            } else {
                tracing::error!(dir = %config.dir.display(), "{opened}");
            }
            Ok(journal)
        }
        Err(error) => {
            log_chain(&error);
            Err(exit_of(&error))
        }
    }
}

fn exit_of(error: &audit::OpenError) -> Exit {
    // Damage is not cured by a restart; a disk may be.
    match error {
        audit::OpenError::Tampered(_)
        | audit::OpenError::Forked { .. }
        | audit::OpenError::OtherKey { .. }
        | audit::OpenError::Newer(_) => Exit::Config,
        audit::OpenError::Locked(_) | audit::OpenError::Io { .. } | audit::OpenError::Write(_) => Exit::Audit,
    }
}

fn assemble(
    config: &Config,
    clock: &Clock,
    lifecycle: &Lifecycle,
    journal: Journal,
) -> Result<Assembled, Exit> {
    let unusable = |error: &dyn std::error::Error| {
        log_chain(error);
        Exit::Config
    };
    let fleet = Fleet::start(&config.nas, PastLogins::in_folder(&config.state), clock, lifecycle)
        .map_err(|error| unusable(&error))?;
    let http = Client::new(config.provider.ca_file.as_deref()).map_err(|error| unusable(&error))?;
    let metrics = Metrics::new(clock.clone());
    let provider =
        Provider::new(&config.provider, &config.server.url, http.clone(), clock.clone(), lifecycle.clone())
            .map_err(|error| unusable(&error))?;
    let texts = Texts::new(&config.server.url, &config.provider).map_err(|error| unusable(&error))?;
    let local_api = LocalApi::new(&config.tailnet.socket, clock.clone());
    let ends = health::Ends::default();
    let gate = Arc::new(Gate::new(local_api.clone(), provider, Rules::of(config)));
    let watch = health::Watch::new(health::Vitals {
        local_api: local_api.clone(),
        gate: Arc::clone(&gate),
        fleet: fleet.clone(),
        journal: journal.clone(),
        ends: ends.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
    });
    let budgets = Budgets::new(config.limits, clock.clone());
    // Where it is missing nobody could freeze changes, and so there would be none.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&config.state);
    made.map_err(|error| {
        tracing::error!(%error, "state.dir: {} cannot be made", config.state.display());
        Exit::Config
    })?;
    let plans = Plans::new(Freeze::new(&config.state), clock.clone());
    plans.always_approve(config.always_approved);
    let dispatcher = Dispatcher::new(dispatch::Parts {
        gate: Arc::clone(&gate),
        journal: journal.clone(),
        log: config.audit.dir.clone(),
        fleet: fleet.clone(),
        capability: config.tailnet.capability.clone(),
        origin: config.server.url.origin(),
        budgets: budgets.clone(),
        plans: plans.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
    });
    let reload = Reload {
        config: config.clone(),
        gate: Arc::clone(&gate),
        texts: texts.clone(),
        fleet,
        budgets: budgets.clone(),
        plans: plans.clone(),
        journal: journal.clone(),
        clock: clock.clone(),
        lifecycle: lifecycle.clone(),
    };
    let client = Client::new(None).map_err(|error| unusable(&error))?;
    let notifier = Notifier::new(config, client).map_err(|error| unusable(&error))?;
    let origin = config.server.url.origin().parse().map_err(|error| unusable(&error))?;
    let console = Console::new(console::Parts {
        dispatcher: Arc::clone(&dispatcher),
        journal: journal.clone(),
        plans: plans.clone(),
        passkeys: Passkeys::new(&config.state, &origin, clock.clone()),
        watch: Arc::clone(&watch),
        url: config.server.url.clone(),
        capability: config.tailnet.capability.clone(),
        audit_dir: config.audit.dir.clone(),
        clock: clock.clone(),
    });
    let server = server::Parts {
        url: config.server.url.clone(),
        texts,
        gate,
        journal,
        dispatcher,
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
        clock: clock.clone(),
        console,
        budgets,
    };
    Ok(Assembled { reload, server, watch, ends, local_api, notifier, plans, metrics })
}

/// Tells systemd that we live, as long as everything that must run gives a sign of life; without systemd,
/// only logs what has fallen silent.
fn watch(lifecycle: &Lifecycle, fleet: Fleet, journal: Journal) -> std::io::Result<Watchdog> {
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |longest| longest / 3);
    watchdog::start(lifecycle, every, LONGEST_SILENCE, move |verdict| match verdict {
        Ok(()) => tell(&[NotifyState::Watchdog, NotifyState::Status(&status(&fleet, &journal))]),
        Err(name) => {
            tracing::error!(service = name, "no sign of life; the watchdog is not told that we live");
        }
    })
}

fn status(fleet: &Fleet, journal: &Journal) -> String {
    let recorded = journal.health().durable.map_or_else(|| "nothing".to_owned(), |seq| seq.to_string());
    let behind = journal.sinks().into_iter().filter(|sink| sink.error.is_some()).map(|sink| sink.name);
    let behind = behind.collect::<Vec<_>>().join(", ");
    let behind = if behind.is_empty() { behind } else { format!("; no checkpoint reaches {behind}") };
    let suspended = journal.health().suspended.map(|why| format!("; SUSPENDED: {why}")).unwrap_or_default();
    format!("{fleet}; audited up to {recorded}{behind}{suspended}")
}

/// Takes over the signals that ask us to stop, now and not when it is first waited for: who hears that we are ready may
/// send one. Resolves when one of them has come.
pub fn asked_to_stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            // Without handlers the signals keep their default, which is to end us.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Tells systemd, and never waits for it: the socket takes only so many messages, and whoever holds its other
/// end may have stopped reading. What does not fit is left out.
fn tell(state: &[NotifyState<'_>]) {
    static HERALD: OnceLock<SyncSender<String>> = OnceLock::new();
    let herald = HERALD.get_or_init(|| {
        let (herald, messages) = std::sync::mpsc::sync_channel::<String>(UNTOLD);
        std::thread::spawn(move || {
            for message in messages {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                    tracing::warn!(%error, "systemd could not be told");
                }
            }
        });
        herald
    });
    let message: Vec<_> = state.iter().map(ToString::to_string).collect();
    let _ = herald.try_send(message.join("\n"));
}

/// Logs an error with all its causes, in one line.
pub fn log_chain(error: &dyn std::error::Error) {
    tracing::error!("{}", telemetry::chain(error));
}
