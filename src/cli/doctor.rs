//! `tailnas doctor`: tries what the daemon needs, one thing after the other, and says how to mend what fails.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::verify::{Against, CannotCheck, Verdict, verify};
use crate::clock::Clock;
use crate::config::{self, Config, Credentials, Pin, Trust};
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;
use crate::nas::{self, Nas};
use crate::net::http::Client;
use crate::oauth::Provider;
use crate::tailnet::LocalApi;
use crate::telemetry::chain;

use super::{CONFIG, complain, load, sandbox, say};

/// How long the NAS may take to let us in.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// More than this many seconds between two clocks makes good tokens look bad.
const SKEW: i64 = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// Print the pin of the certificate the NAS shows, behind its name where there are several, and nothing else
    #[arg(long)]
    pin: bool,
    /// Try what the sandbox of the service must make impossible, and nothing else
    #[arg(long, conflicts_with = "pin")]
    sandbox: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    if args.sandbox {
        return sandbox::run();
    }
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("tailnas: the asynchronous runtime could not be started: {error}"));
            return Exit::Bug;
        }
    };
    runtime.block_on(async {
        if args.pin {
            return pins(&config.nas).await;
        }
        let mut visit = Visit { ill: false };
        visit.files(&config);
        visit.tailnet(&config).await;
        visit.provider(&config).await;
        for nas in &config.nas {
            visit.nas(nas).await;
        }
        visit.audit(&config);
        if visit.ill { Exit::Bad } else { Exit::Ok }
    })
}

async fn pins(nas: &[config::Nas]) -> Exit {
    let mut exit = Exit::Ok;
    for one in nas {
        let name = if nas.len() == 1 { String::new() } else { format!("{} ", one.name) };
        match nas::presented_pin(one).await {
            Ok(pin) => say(&format!("{name}{pin}\n")),
            Err(error) => {
                complain(&format!("{name}{}", chain(&error)));
                exit = Exit::Unavailable;
            }
        }
    }
    exit
}

struct Visit {
    ill: bool,
}

impl Visit {
    fn good(what: &str) {
        say(&format!("✓ {what}\n"));
    }

    fn bad(&mut self, what: &str, mend: &str) {
        self.ill = true;
        say(&format!("✗ {what}\n  → {mend}\n"));
    }

    fn note(what: &str) {
        say(&format!("· {what}\n"));
    }

    fn files(&mut self, config: &Config) {
        let findings = config.check_files(Credentials::MayBeAbsent);
        for problem in &findings.problems {
            let mend = problem.hint.as_deref().unwrap_or("Correct it in the configuration.");
            self.bad(&format!("{}: {}", problem.key, problem.what), mend);
        }
        for note in &findings.notes {
            Self::note(&format!("{}: {}", note.key, note.what));
        }
        if findings.problems.is_empty() {
            Self::good("configuration, and the files it names");
        }
    }

    async fn tailnet(&mut self, config: &Config) {
        let status = match LocalApi::new(&config.tailnet.socket, Clock::system()).status().await {
            Ok(status) => status,
            Err(error) => {
                let mend =
                    "Is tailscaled running (systemctl status tailscaled), and is tailnet.socket its socket?";
                return self.bad(&format!("tailscaled: {}", chain(&error)), mend);
            }
        };
        if !status.is_running() {
            let mend = "Run: tailscale up";
            return self.bad(&format!("tailscaled: its state is {:?}", status.backend_state()), mend);
        }
        Self::good(&format!("tailscaled: this machine is {}", status.dns_name()));
        if !config.server.url.host().eq_ignore_ascii_case(status.dns_name()) {
            Self::note(&format!(
                "server.url names {}, and this machine is {}. That is right only if a Tailscale service or a \
                 certificate of your own has that name",
                config.server.url.host(),
                status.dns_name()
            ));
        }
    }

    async fn provider(&mut self, config: &Config) {
        let issuer = &config.provider.issuer;
        let clock = Clock::system();
        let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
        let http = match Client::new(config.provider.ca_file.as_deref()) {
            Ok(http) => http,
            Err(error) => return self.bad(&format!("provider: {}", chain(&error)), "Mend provider.ca_file."),
        };
        let asked =
            Provider::new(&config.provider, &config.server.url, http.clone(), clock.clone(), lifecycle)
                .map_err(|error| chain(&error));
        let found = match asked {
            Ok(provider) => provider.discover().await.map_err(|error| chain(&error)),
            Err(error) => Err(error),
        };
        match found {
            Ok(()) => Self::good(&format!("provider: {issuer} can be asked about tokens")),
            Err(error) => {
                let mend = format!(
                    "Open {issuer}/.well-known/openid-configuration from this machine. The tailnet policy must let \
                     this node reach the provider (ip: tcp:443), and the issuer must be spelled as it spells itself."
                );
                return self.bad(&format!("provider: {error}"), &mend);
            }
        }
        match skew(&http, issuer, &clock).await {
            Some(seconds) if seconds.abs() > SKEW => self.bad(
                &format!("clocks: the provider's is {seconds} s from ours"),
                "Set up time synchronisation on both (timedatectl). Tokens live five minutes, and their end has no leeway.",
            ),
            Some(seconds) => Self::good(&format!("clocks: the provider's is {seconds} s from ours")),
            None => Self::note("clocks: the provider does not say what time it has"),
        }
    }

    async fn nas(&mut self, config: &config::Nas) {
        let name = &config.name;
        match nas::presented_pin(config).await {
            Ok(shown) => self.certificate(config, shown),
            Err(error) => {
                let mend = format!(
                    "Is {} the address of the NAS, is it on, and may this machine reach it?",
                    config.url
                );
                return self.bad(&format!("NAS {name}: {}", chain(&error)), &mend);
            }
        }
        let clock = Clock::system();
        let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
        let nas = match Nas::start(config, &clock, &lifecycle) {
            Ok(nas) => nas,
            Err(error) => return self.bad(&format!("NAS {name}: {}", chain(&error)), "Mend what it names."),
        };
        match settled(&nas).await {
            nas::Status::Up { version, .. } => {
                Self::good(&format!("NAS {name}: let in as {}, it runs {version}", config.reader.username));
                if config.writer.is_none() {
                    Self::note("there is no nas.writer: changes are not possible");
                }
            }
            nas::Status::LoginRefused { reason, hint, .. } => {
                self.bad(&format!("NAS {name}: it refused the login: {reason}"), &hint);
            }
            nas::Status::Away { reason, .. } => {
                self.bad(&format!("NAS {name}: {reason}"), "Is it still starting? Try again in a minute.");
            }
        }
        lifecycle.end();
        lifecycle.services_done(PATIENCE).await;
    }

    fn certificate(&mut self, config: &config::Nas, shown: Pin) {
        let name = &config.name;
        match &config.trust {
            Trust::Pinned(pins) if pins.contains(&shown) => {
                Self::good(&format!("NAS {name}: its certificate is pinned ({shown})"));
            }
            Trust::Pinned(_) => self.bad(
                &format!("NAS {name}: it shows another certificate than the pinned ones: {shown}"),
                "If you renewed it, compare this with System > Certificates on the NAS and put it into nas.pins. \
                 If you did not, somebody may stand between.",
            ),
            Trust::System | Trust::CaFile(_) => {
                Self::note(&format!("NAS {name}: its certificate has the pin {shown}"));
            }
        }
    }

    fn audit(&mut self, config: &Config) {
        let dir = &config.audit.dir;
        match verify(dir, &Against::default()) {
            Ok(report) if report.verdict == Verdict::Tampered => self.bad(
                "audit log: it is not what was written",
                &format!("Run: tailnas audit verify --dir {}", dir.display()),
            ),
            Ok(report) => Self::good(&format!("audit log: {} records, the chain holds", report.records)),
            Err(CannotCheck::NoLog(_)) => Self::note("audit log: there is none yet"),
            Err(error) => self
                .bad(&format!("audit log: {}", chain(&error)), "Run this as root, or as the daemon's user."),
        }
    }
}

/// How it is with the NAS once it has let us in or refused us, or once we have waited long enough.
pub(super) async fn settled(nas: &Nas) -> nas::Status {
    let mut changes = nas.changes();
    let settled = changes.until(|status| !matches!(status, nas::Status::Away { .. }));
    match tokio::time::timeout(PATIENCE, settled).await {
        Ok(Some(status)) => status,
        Ok(None) | Err(_) => nas.status(),
    }
}

/// Seconds by which the provider's clock is ahead of ours.
async fn skew(http: &Client, issuer: &str, clock: &Clock) -> Option<i64> {
    let url = format!("{issuer}/.well-known/openid-configuration");
    let request = http::Request::get(url).body(Vec::new()).ok()?;
    let response = http.send(request).await.ok()?;
    let date = response.headers().get(http::header::DATE)?.to_str().ok()?;
    let theirs = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    Some((theirs.to_utc() - clock.now()).num_seconds())
}
