//! `tailnas doctor`: tries what the daemon needs, one thing after the other, and says how to mend what fails.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::Signer;
use crate::audit::verify::{Against, CannotCheck, Report, Verdict, verify};
use crate::clock::Clock;
use crate::config::{self, Config, Credentials, Listen, Login, LoginClaim, ProviderKind, Trust};
use crate::dispatch::Catalogue;
use crate::domain::name::NasName;
use crate::domain::risk::Risk;
use crate::domain::text::{chain, foreign};
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;
use crate::nas::version::{Candidate, Version};
use crate::nas::visit::{self, KeyEnd, LetIn, Shown};
use crate::nas::{self, By};
use crate::net::certificate;
use crate::net::http::Client;
use crate::oauth::{NoAnswer, Outage, Provider};
use crate::secret::{SecretError, SecretSource};
use crate::tailnet::LocalApi;

use super::{CONFIG, complain, load, report, sandbox, say};

/// More than this many seconds between two clocks makes good tokens look bad.
const SKEW: i64 = 5;

/// What ends sooner than this is told.
const NOTICE: TimeDelta = TimeDelta::days(14);

/// Where systemd keeps the credentials of the running service.
const CREDENTIALS: &str = "/run/credentials/tailnas.service";

/// Where systemd writes what kind of container it runs in. On a machine of its own there is no such file.
const CONTAINER: &str = "/run/systemd/container";

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
    /// Print a report for somebody who helps, without logins, hosts, addresses and keys
    #[arg(long, conflicts_with_all = ["pin", "sandbox"])]
    report: bool,
    /// Take the next login at this NAS for the first one, however well the ones before were protected
    #[arg(long, conflicts_with_all = ["pin", "sandbox", "report"], value_name = "NAS")]
    forget_login: Option<NasName>,
}

pub(super) fn run(args: &Args) -> Exit {
    if args.sandbox {
        return sandbox::run();
    }
    if args.report {
        return report::run(&args.config);
    }
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Some(nas) = &args.forget_login {
        return forget_login(&config, nas);
    }
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
        let past = nas::PastLogins::in_folder(&config.state);
        let mut visit = Visit { ill: false, clock: Clock::system(), past };
        visit.files(&config);
        visit.tailnet(&config).await;
        visit.provider(&config).await;
        for nas in &config.nas {
            visit.nas(nas).await;
        }
        visit.audit(&config);
        Visit::backup(&config);
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

fn forget_login(config: &Config, nas: &NasName) -> Exit {
    let past = nas::PastLogins::in_folder(&config.state);
    match past.forget(nas) {
        Ok(true) => {
            say(&format!(
                "Forgotten. Its next login is taken for the first one at {nas}, whatever it offers then; run: systemctl \
                 restart tailnas\n"
            ));
            Exit::Ok
        }
        Ok(false) => {
            complain(&format!("Nothing is known of logins at {nas}, so there is nothing to forget."));
            Exit::Bad
        }
        Err(error) => {
            complain(&format!(
                "{}: {error}\nNothing was forgotten. Run this as root, on the daemon's host; a file that is damaged may \
                 be removed, and then the next login at each NAS is taken for the first one.",
                past.file().display()
            ));
            Exit::Unavailable
        }
    }
}

struct Visit {
    ill: bool,
    clock: Clock,
    past: nas::PastLogins,
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
        if !findings.notes.is_empty() {
            let keys: Vec<_> = findings.notes.iter().map(|note| note.key.as_str()).collect();
            Self::note(&format!(
                "not tried, since systemd gives these credentials to the service alone: {}\n  → As root: {}",
                keys.join(", "),
                with_credentials(config)
            ));
        }
        if findings.problems.is_empty() {
            Self::good("configuration, and the files it names");
        }
    }

    async fn tailnet(&mut self, config: &Config) {
        let local_api = LocalApi::new(&config.tailnet.socket, self.clock.clone());
        let status = match local_api.status().await {
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
        let host = config.server.url.host();
        if !host.eq_ignore_ascii_case(status.dns_name()) {
            Self::note(&format!(
                "server.url names {host}, and this machine is {}. That is right only if a Tailscale service or a \
                 certificate of your own has that name",
                status.dns_name()
            ));
        }
        // Behind `tailscale serve`, tailscaled ends TLS itself.
        if !config.server.listen.iter().any(|listen| matches!(listen, Listen::Tailnet(_))) {
            return;
        }
        match local_api.certificate(host).await {
            Ok(shown) => {
                let ends = shown.chain.first().and_then(|own| certificate::ends(own));
                let mend = "tailscaled renews it when it is asked: does it reach Let's Encrypt? \
                            See: journalctl -u tailscaled";
                self.end(&format!("our certificate for {host}"), ends, mend);
            }
            Err(error) => self.bad(
                &format!("our certificate for {host}: {}", chain(&error)),
                "Turn on HTTPS certificates for the tailnet (admin console, DNS), and see that server.url has the name \
                 of this machine.",
            ),
        }
    }

    async fn provider(&mut self, config: &Config) {
        let issuer = &config.provider.issuer;
        if let Some(client) = &config.provider.client
            && is_withheld(&client.secret)
        {
            return Self::note("provider: not asked, since our secret there was not to be had");
        }
        let http = match Client::new(config.provider.ca_file.as_deref()) {
            Ok(http) => http,
            Err(error) => return self.bad(&format!("provider: {}", chain(&error)), "Mend provider.ca_file."),
        };
        let (lifecycle, _deaths) = Lifecycle::new(self.clock.clone());
        let provider =
            Provider::new(&config.provider, &config.server.url, http.clone(), self.clock.clone(), lifecycle);
        let provider = match provider {
            Ok(provider) => provider,
            Err(error) => {
                return self.bad(
                    &format!("provider: {}", chain(&error)),
                    "Correct [provider] in the configuration.",
                );
            }
        };
        if let Some(claim) = unverified(&config.provider.kind) {
            Self::note(&format!(
                "provider.login_claim is {claim}, of which no provider says that it is verified\n  → See there that users \
                 cannot change it themselves; with email, email_verified says so of each token."
            ));
        }
        match provider.try_out().await {
            Ok(()) => Self::good(&format!("provider: {issuer} tells us about tokens")),
            Err(no_answer) => {
                let what = format!("provider: {issuer}: {}", foreign(&no_answer.to_string(), 400));
                return self.bad(&what, &mend_provider(&no_answer, issuer));
            }
        }
        let theirs = time_at(&http, issuer).await;
        self.clocks(
            "provider",
            theirs,
            "Set up time synchronisation on both (timedatectl). Tokens live five minutes, and their end has no leeway.",
        );
    }

    async fn nas(&mut self, config: &config::Nas) {
        let name = &config.name;
        let shown = match visit::look(config).await {
            Ok(shown) => shown,
            Err(error) => {
                let mend = format!(
                    "Is {} the address of the NAS, is it on, and may this machine reach it?",
                    config.url
                );
                return self.bad(&format!("NAS {name}: {}", chain(&error)), &mend);
            }
        };
        let Shown { pin, ends, trusted, generation, clock } = shown;
        if let Err(no_way) = trusted {
            // No key is shown to somebody who may not be the NAS.
            let mend =
                no_way.advice.unwrap_or("Try again; if it stays so, look at the web server of the NAS.");
            return self.bad(&format!("NAS {name}: {} (it shows {pin})", no_way.what), &format!("{mend}."));
        }
        match &config.trust {
            Trust::Pinned(_) => Self::good(&format!("NAS {name}: its certificate is pinned ({pin})")),
            Trust::System | Trust::CaFile(_) => {
                let mend = "Renew it under System > Certificates on the NAS.";
                self.end(&format!("NAS {name}: its certificate ({pin})"), ends, mend);
            }
        }
        self.clocks(
            &format!("NAS {name}"),
            clock,
            "Set up time synchronisation on both (timedatectl here, System > General > NTP on the NAS): the records of the \
             two cannot be put in one order otherwise.",
        );
        if let Err(why) = generation {
            return self.bad(&format!("NAS {name}: {why}"), "Is nas.url that of a TrueNAS, 25.04 or newer?");
        }
        self.account(config, By::Reader, &config.reader).await;
        match &config.writer {
            Some(writer) => self.account(config, By::Writer, writer).await,
            None => Self::note("there is no nas.writer: changes are not possible"),
        }
        match &config.maintenance {
            Some(maintenance) => self.account(config, By::Maintenance, maintenance).await,
            None => Self::note("there is no nas.maintenance: the NAS cannot be restarted from here"),
        }
    }

    async fn account(&mut self, config: &config::Nas, by: By, login: &Login) {
        let which = match by {
            By::Reader => "reader",
            By::Writer => "writer",
            By::Maintenance => "maintenance account",
        };
        let name = &config.name;
        let Login { username, key } = login;
        if is_withheld(key) {
            return Self::note(&format!(
                "NAS {name}: not logged in as the {which}, its key was not to be had"
            ));
        }
        let LetIn { version, generation, roles, ends } = match visit::knock(config, login, &self.past).await {
            Ok(let_in) => let_in,
            Err(turned_away) => {
                let what =
                    format!("NAS {name}: the {which} {username}: {}", foreign(&turned_away.reason, 400));
                return self.bad(&what, &foreign(&turned_away.hint, 400));
            }
        };
        Self::good(&format!(
            "NAS {name}: let in as the {which} {username}, it runs {}",
            foreign(&version, 80)
        ));
        let missing = missing(by, &roles, generation);
        if !missing.is_empty() {
            let missing: Vec<_> =
                missing.iter().map(|(role, tools)| format!("{role} ({})", tools.join(", "))).collect();
            self.bad(
                &format!("NAS {name}: the {which} {username} lacks roles: {}", missing.join("; ")),
                "Give it the roles on the NAS: Credentials > Groups > Privileges.",
            );
        }
        if by == By::Reader {
            let changes: Vec<_> =
                roles.iter().filter(|role| allows_changes(role)).map(|role| foreign(role, 60)).collect();
            if !changes.is_empty() {
                self.bad(
                    &format!("NAS {name}: the reader {username} has roles that allow changes: {}", changes.join(", ")),
                    "Give it READONLY_ADMIN and no other role (Credentials > Groups > Privileges): what only looks is to \
                     be held to that by the NAS too.",
                );
            }
        }
        let is_full = roles.iter().any(|role| role == "FULL_ADMIN");
        let enough = match by {
            By::Reader => Some("READONLY_ADMIN"),
            By::Writer => Some("the roles of the changes it is to make"),
            By::Maintenance => None,
        };
        if let Some(enough) = enough.filter(|_| is_full) {
            Self::note(&format!(
                "NAS {name}: the {which} {username} is a full administrator there. Give it {enough} and no more, so \
                 that the NAS holds it to that too"
            ));
        }
        let what = format!("NAS {name}: the API key of the {which} {username}");
        match ends {
            KeyEnd::At(at) => {
                let mend = "Make a new key (Credentials > Users > API Keys), put it in place, and run: \
                            systemctl restart tailnas";
                self.end(&what, Some(at), mend);
            }
            KeyEnd::Never => Self::note(&format!("{what} has no end")),
            KeyEnd::Unseen => {
                Self::note(&format!("{what}: when it ends, that account cannot see (API_KEY_READ)"));
            }
        }
    }

    fn audit(&mut self, config: &Config) {
        let dir = &config.audit.dir;
        let key = match config.audit.signing_key.load() {
            Ok(secret) => match Signer::parse(&secret) {
                Ok(signer) => Some(signer.public().clone()),
                Err(error) => {
                    let mend = format!("Make one: tailnas audit keygen {}", config.audit.signing_key.place());
                    self.bad(&format!("audit.signing_key: {error}"), &mend);
                    None
                }
            },
            // Told with the files.
            Err(_) => None,
        };
        match verify(dir, &Against { vkey: key, ..Against::default() }) {
            Ok(report) => self.log(dir, &report),
            Err(CannotCheck::NoLog(_)) => Self::note("audit log: there is none yet"),
            Err(CannotCheck::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::note("audit log: there is none yet");
            }
            Err(error) => self
                .bad(&format!("audit log: {}", chain(&error)), "Run this as root, or as the daemon's user."),
        }
    }

    fn backup(config: &Config) {
        if let Ok(kind) = std::fs::read_to_string(CONTAINER) {
            Self::note(&backed_up_together(&foreign(kind.trim(), 40), config.audit.copy.is_some()));
        }
    }

    fn log(&mut self, dir: &Path, report: &Report) {
        let records = report.records;
        match (report.verdict, &report.torn) {
            (Verdict::Clean, _) => Self::good(&format!("audit log: {records} records, the chain holds")),
            (Verdict::Tampered, _) => self.bad(
                "audit log: it is not what was written",
                &format!("Run: tailnas audit verify --dir {}", dir.display()),
            ),
            (Verdict::Unchecked, _) => self.bad(
                "audit log: the checkpoints beside it are about another one, so it may not be the one that belongs here",
                &format!(
                    "Unless you know why, hold it against a checkpoint kept elsewhere: \
                     tailnas audit verify --dir {} --checkpoint FILE",
                    dir.display()
                ),
            ),
            (Verdict::Torn, _) => self.bad(
                &format!(
                    "audit log: the {records} whole records hold, and behind them stands something that is no record, \
                     as a crash leaves it"
                ),
                "Start tailnas (systemctl start tailnas): a start describes the damage in the log and goes on behind it.",
            ),
        }
    }

    /// Tells of the end of something, as good news or as bad.
    fn end(&mut self, what: &str, ends: Option<DateTime<Utc>>, mend: &str) {
        let now = self.clock.now();
        match ends {
            None => Self::note(&format!("{what}: when it ends cannot be read")),
            Some(at) if at <= now => self.bad(&format!("{what} ended on {}", day(at)), mend),
            Some(at) if at - now < NOTICE => {
                self.bad(&format!("{what} ends in {} days, on {}", (at - now).num_days(), day(at)), mend);
            }
            Some(at) => Self::good(&format!("{what} is good until {}", day(at))),
        }
    }

    /// Compares a clock with ours.
    fn clocks(&mut self, whose: &str, theirs: Option<DateTime<Utc>>, mend: &str) {
        match theirs.map(|theirs| (theirs - self.clock.now()).num_seconds()) {
            Some(seconds) if seconds.abs() > SKEW => {
                self.bad(&format!("clocks: that of {whose} is {seconds} s from ours"), mend);
            }
            Some(seconds) => Self::good(&format!("clocks: that of {whose} is {seconds} s from ours")),
            None => Self::note(&format!("clocks: {whose} does not say what time it has")),
        }
    }
}

/// What a backup of a container of this kind means for the audit log. No check of the log by itself tells of it.
fn backed_up_together(kind: &str, has_copy: bool) -> String {
    let tells = if has_copy {
        "Only what is kept elsewhere tells, such as the file in audit.copy, if that is on another machine"
    } else {
        "Only what is kept elsewhere tells: let audit.copy name a file that another machine keeps"
    };
    format!(
        "audit log: this is a container ({kind}), and one backup of it holds the log and the key that signs it. Whoever has \
         that can write the log anew, and where an older one is put back the log by itself does not show it. {tells}"
    )
}

fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// The claim that says whose a token is, where nothing in a token says that it was verified.
const fn unverified(kind: &ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::Tsidp | ProviderKind::Generic { login_claim: LoginClaim::Email, .. } => None,
        ProviderKind::Generic { login_claim: LoginClaim::PreferredUsername, .. } => {
            Some("preferred_username")
        }
        ProviderKind::Generic { login_claim: LoginClaim::Username, .. } => Some("username"),
    }
}

/// Whether a secret is one that only the service is given.
fn is_withheld(source: &SecretSource) -> bool {
    matches!(source.load(), Err(SecretError::NoCredentials(_)))
}

/// The line that runs this command with the credentials of the service.
fn with_credentials(config: &Config) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "tailnas".into());
    let command = format!("{} doctor --config {}", program.display(), config.file.display());
    // While the service runs, root can read what it was given.
    if Path::new(CREDENTIALS).is_dir() {
        return format!("CREDENTIALS_DIRECTORY={CREDENTIALS} {command}");
    }
    let mut sources = vec![&config.audit.hmac_key, &config.audit.signing_key];
    sources.extend(config.provider.client.as_ref().map(|client| &client.secret));
    for nas in &config.nas {
        sources.push(&nas.reader.key);
        sources.extend([&nas.writer, &nas.maintenance].into_iter().flatten().map(|login| &login.key));
    }
    let loads: String = sources
        .into_iter()
        .filter_map(|source| match source {
            SecretSource::Credential(name) => Some(format!("-p LoadCredential={name}:tailnas.{name} ")),
            SecretSource::File(_) => None,
        })
        .collect();
    format!("systemd-run --quiet --pipe --wait --collect {loads}{command}")
}

/// What to do about a provider that was of no help.
pub(super) fn mend_provider(no_answer: &NoAnswer, issuer: &str) -> String {
    let metadata = format!("{issuer}/.well-known/openid-configuration");
    match no_answer.outage() {
        Outage::Unreachable if no_answer.to_string().contains("certificate") => {
            "Its certificate is not accepted: name the CA that signed it in provider.ca_file.".to_owned()
        }
        Outage::Unreachable | Outage::TimedOut | Outage::Busy | Outage::Internal => format!(
            "Is it running, and does the tailnet policy let this node reach it (ip: tcp:443)? Try: curl {metadata}"
        ),
        Outage::Status(400 | 401 | 403) | Outage::Unrecognised => {
            "It does not accept us. TSIDP must see this node's own tailnet address; any other provider wants a client \
             that may ask about tokens, in provider.client."
                .to_owned()
        }
        Outage::Status(_) | Outage::Malformed | Outage::Metadata => format!(
            "Is provider.issuer spelled as the provider spells itself? Compare it with \"issuer\" in: curl {metadata}"
        ),
    }
}

/// What time the provider has.
async fn time_at(http: &Client, issuer: &str) -> Option<DateTime<Utc>> {
    let url = format!("{issuer}/.well-known/openid-configuration");
    let request = http::Request::get(url).body(Vec::new()).ok()?;
    let response = http.send(request).await.ok()?;
    let date = response.headers().get(http::header::DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(date).ok().map(|date| date.to_utc())
}

/// The roles that the tools of an account need and that it does not have, each with those tools. Nothing where the
/// NAS does not tell the roles.
fn missing(by: By, roles: &[String], generation: Version) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut missing: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    if roles.is_empty() {
        return missing;
    }
    let catalogue = Catalogue::new();
    for spec in catalogue.specs() {
        let changes = spec.risk != Risk::Read;
        let done = if changes { spec.done_by } else { By::Reader };
        let looks = spec.looks.iter().filter(|_| spec.looks_by == by);
        let needs = spec.needs.iter().filter(|_| done == by).chain(looks);
        let there = needs.filter(|need| Candidate::choose(need.candidates, generation).is_some());
        for role in there.filter_map(|need| need.role).filter(|role| !has(roles, role)) {
            match missing.iter_mut().find(|(known, _)| *known == role) {
                Some((_, tools)) if tools.last() == Some(&spec.name) => {}
                Some((_, tools)) => tools.push(spec.name),
                None => missing.push((role, vec![spec.name])),
            }
        }
    }
    missing
}

/// Whether a role is for more than looking. Those of a full administrator are told of apart.
fn allows_changes(role: &str) -> bool {
    let suffixes = ["_WRITE", "_DELETE", "_ADMIN", "_CONTROL", "_MANAGER"];
    !matches!(role, "READONLY_ADMIN" | "FULL_ADMIN") && suffixes.iter().any(|suffix| role.ends_with(suffix))
}

/// Whether these roles hold `role`. A role to write holds the one to read the same, and a NAS may tell the ones that
/// others hold or not.
pub(super) fn has(roles: &[String], role: &str) -> bool {
    let writes = role.strip_suffix("_READ").map(|what| format!("{what}_WRITE"));
    roles.iter().any(|held| {
        held == role
            || held == "FULL_ADMIN"
            || (held == "READONLY_ADMIN" && role.ends_with("_READ"))
            || writes.as_ref() == Some(held)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nas::version::NEWEST;

    fn roles(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn whoever_runs_in_a_container_hears_what_one_backup_holds_and_what_would_tell() {
        let without = backed_up_together("lxc", false);
        assert!(
            without.contains("(lxc)") && without.contains("the log and the key that signs it"),
            "{without}"
        );
        assert!(without.contains("let audit.copy name a file"), "{without}");
        let with = backed_up_together("lxc", true);
        assert!(with.contains("the file in audit.copy, if that is on another machine"), "{with}");
    }

    #[test]
    fn a_role_for_more_than_looking_is_known_by_its_name() {
        for role in
            ["REPLICATION_ADMIN", "SHARING_ADMIN", "POOL_WRITE", "SNAPSHOT_DELETE", "FILESYSTEM_FULL_CONTROL"]
        {
            assert!(allows_changes(role), "{role}");
        }
        for role in ["READONLY_ADMIN", "POOL_READ", "FULL_ADMIN", "HAS_ALLOW_LIST"] {
            assert!(!allows_changes(role), "{role}");
        }
    }

    #[test]
    fn the_roles_that_the_documentation_names_are_enough_and_less_is_not() {
        let missing = |by, roles: &[String]| missing(by, roles, NEWEST);
        assert_eq!(missing(By::Reader, &roles(&["READONLY_ADMIN"])), []);
        for by in [By::Writer, By::Maintenance] {
            let enough: Vec<_> =
                Catalogue::new().roles_of_changes(by, NEWEST).into_iter().map(str::to_owned).collect();
            assert_eq!(missing(by, &enough), [], "{by:?}");
        }
        let lacking = missing(By::Writer, &roles(&["READONLY_ADMIN"]));
        assert!(
            lacking
                .iter()
                .any(|(role, tools)| *role == "SNAPSHOT_WRITE" && tools.contains(&"snapshot_create"))
        );
        assert!(missing(By::Reader, &roles(&["POOL_READ"])).iter().any(|(role, _)| *role == "DATASET_READ"));
        assert!(has(&roles(&["SNAPSHOT_WRITE"]), "SNAPSHOT_READ"));
        assert!(!has(&roles(&["READONLY_ADMIN"]), "SNAPSHOT_WRITE"));
    }
}
