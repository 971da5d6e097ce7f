//! Reading the configuration again, on SIGHUP: all of it or nothing.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::Signal;

use super::tell;
use crate::audit::{Journal, Reloaded, Status};
use crate::caller::{Gate, Rules};
use crate::clock::Clock;
use crate::config::{self, Config, Credentials, Digests};
use crate::lifecycle::Lifecycle;
use crate::nas::{Fleet, Muster};
use crate::net::http::Client;
use crate::oauth::{Provider, Texts};
use crate::policy::budgets::Budgets;
use crate::policy::plans::Plans;
use crate::telemetry;

/// What can be changed while the daemon runs.
pub(super) struct Reload {
    /// The configuration as it is lived by, except for what needs a restart.
    pub(super) config: Config,
    pub(super) gate: Arc<Gate>,
    pub(super) texts: Texts,
    pub(super) fleet: Fleet,
    pub(super) budgets: Budgets,
    pub(super) plans: Plans,
    pub(super) journal: Journal,
    pub(super) clock: Clock,
    pub(super) lifecycle: Lifecycle,
}

/// Everything that can be wrong with a new configuration has been by the time there is one of these.
struct Prepared {
    config: Config,
    provider: Provider,
    texts: Texts,
    muster: Muster,
}

impl Reload {
    /// Reads the configuration anew each time `hangup` comes.
    pub(super) async fn on(mut self, mut hangup: Signal) {
        loop {
            tokio::select! {
                () = self.lifecycle.stopping() => return self.lifecycle.ending().await,
                told = hangup.recv() => if told.is_none() { return self.lifecycle.ending().await },
            }
            announce();
            self.again();
            tell(&[NotifyState::Ready]);
        }
    }

    fn again(&mut self) {
        let (digests, prepared) = self.prepare();
        self.journal.reloaded(Reloaded {
            config: digests.config,
            policy: digests.policy,
            status: if prepared.is_ok() { Status::Ok } else { Status::Error },
        });
        match prepared {
            Ok(prepared) => self.apply(prepared),
            Err(problems) => tracing::error!(
                "the configuration is wrong, so nothing of it was taken over and the old one goes on: {problems}"
            ),
        }
    }

    /// Reads the new configuration and makes everything that it needs, and changes nothing.
    fn prepare(&self) -> (Digests, Result<Prepared, String>) {
        match config::examine(&self.config.file, Credentials::MustBeThere) {
            Ok((config, _)) => (config.digests.clone(), self.make(config)),
            Err(findings) => (findings.digests, Err(findings.problems.to_string())),
        }
    }

    fn make(&self, config: Config) -> Result<Prepared, String> {
        let http =
            Client::new(config.provider.ca_file.as_deref()).map_err(|error| telemetry::chain(&error))?;
        // The URL is one of the things that need a restart; tokens are for the one that clients use.
        let url = &self.config.server.url;
        let (clock, lifecycle) = (self.clock.clone(), self.lifecycle.clone());
        let provider = Provider::new(&config.provider, url, http, clock, lifecycle)
            .map_err(|error| telemetry::chain(&error))?;
        let texts = Texts::new(url, &config.provider).map_err(|error| telemetry::chain(&error))?;
        let muster = self.fleet.muster(&config.nas, &self.clock).map_err(|error| telemetry::chain(&error))?;
        Ok(Prepared { config, provider, texts, muster })
    }

    /// Takes the new configuration over. Nothing here can fail.
    fn apply(&mut self, prepared: Prepared) {
        let Prepared { config, provider, texts, muster } = prepared;
        for setting in needing_a_restart(&self.config, &config) {
            tracing::warn!(setting, "was changed, and needs a restart: until then the old value counts");
        }
        telemetry::set_level(config.log);
        let rules = Rules { capability: self.config.tailnet.capability.clone(), ..Rules::of(&config) };
        self.gate.replace(provider, rules);
        self.texts.replace(&texts);
        self.fleet.take_over(muster, &self.lifecycle);
        self.budgets.use_limits(config.limits);
        self.plans.always_approve(config.always_approved);
        let Config { provider, nas, grants, relays, agents, always_approved, limits, log, .. } = config;
        tracing::info!(
            nas = nas.len(),
            grants = grants.len(),
            relays = relays.len(),
            agents = agents.len(),
            "the configuration was read again"
        );
        let kept = self.config.clone();
        self.config = Config { provider, nas, grants, relays, agents, always_approved, limits, log, ..kept };
    }
}

/// The settings that differ and that a running daemon cannot change.
fn needing_a_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("server.url", old.server.url != new.server.url),
        ("server.listen", old.server.listen != new.server.listen),
        ("tailnet", old.tailnet != new.tailnet),
        ("audit", old.audit != new.audit),
        ("state.dir", old.state != new.state),
        ("metrics", old.metrics != new.metrics),
        ("notify", old.notify != new.notify),
    ]
    .into_iter()
    .filter_map(|(setting, changed)| changed.then_some(setting))
    .collect()
}

/// Tells systemd that a reload begins, and when, so that it knows the READY that ends it from an earlier one.
fn announce() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told of the reload"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_the_rest_is_not() {
        let example = include_str!("../../deploy/tailnas.toml");
        let parse = |text: &str| {
            let no_policy = |_: &std::path::Path| Err(config::Complaint::new("is not there"));
            config::parse("tailnas.toml".as_ref(), text, no_policy).unwrap()
        };
        let old = parse(example);
        for (from, to, named) in [
            ("example.ts.net/mcp", "other.ts.net/mcp", Some("server.url")),
            ("listen = [\"systemd\"]", "listen = [\"unix:/run/x.sock\"]", Some("server.listen")),
            ("#socket = \"/run/", "socket = \"/tmp/", Some("tailnet")),
            ("name = \"nas\"", "name = \"attic\"", None),
            ("wss://nas.example", "wss://attic.example", None),
            ("#pins", "pins", None),
            ("#files", "files", None),
            ("tailnas-reader", "somebody", None),
            ("/var/log/tailnas", "/var/log/other", Some("audit")),
            ("#dir = \"/var/lib/", "dir = \"/srv/", Some("state.dir")),
            ("idp.example", "other.example", None),
            ("#clients", "clients", None),
            ("#filter = \"info\"", "filter = \"debug\"", None),
            ("credential:nas-reader-key", "credential:another", None),
        ] {
            assert!(example.contains(from), "{from}");
            let new = parse(&example.replacen(from, to, 1));
            assert_eq!(needing_a_restart(&old, &new), named.into_iter().collect::<Vec<_>>(), "{from}");
        }
    }
}
