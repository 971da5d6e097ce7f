//! `tailnas setup`: from an installed program to a running service, one leg after the other.
//!
//! Each leg is tried before the next one is begun, and says ✓, or ✗ with what to do about it. The configuration is
//! written once all that it takes has been answered and works; it and each key that works are kept, so that a second run
//! goes on from there.

mod answers;
mod files;
mod texts;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::answers::{Answers, Question};
use self::texts::Draft;
use super::{CONFIG, complain, doctor, grants, say};
use crate::audit::Signer;
use crate::clock::Clock;
use crate::config::{self, Complaint, Config, Login, Pin, Trust, is_tailnet};
use crate::dispatch::Catalogue;
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;
use crate::nas::provision::{Account, Admin, Entry};
use crate::nas::version::NEWEST;
use crate::nas::visit::{self, TurnedAway};
use crate::nas::{self, By};
use crate::net::http::{Client, HttpError, Response};
use crate::oauth::Provider;
use crate::secret::{Secret, SecretSource};
use crate::tailnet::{CertificateError, LocalApi, Node, Roster};
use crate::telemetry::chain;
use crate::tools::render;

/// Where the sockets of `tailnas.socket` are changed, below the folder of units.
const SOCKET_DROP_IN: &str = "tailnas.socket.d/listen.conf";

/// What tailscaled must find in its environment so that the service, which is not root's, gets the certificate of this
/// machine.
const CERTIFICATE_FOR_US: &str = "TS_PERMIT_CERT_UID=tailnas";

/// What the accounts on the NAS are called, unless somebody says otherwise.
const READER: &str = "tailnas-reader";
const WRITER: &str = "tailnas-writer";
const MAINTENANCE: &str = "tailnas-maintenance";

/// Where `tailscale serve` finds us.
const SERVED: &str = "unix:/run/tailnas/tailnas.sock";

/// How often it is asked whether we answer, where that takes too long; two seconds each.
const QUESTIONS: usize = 15;

/// Where the name servers of this machine are.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// More of a command's words than this is not shown.
const LONGEST_WORDS: usize = 400;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ask nothing, and take the answers from FILE: lines of NAME = VALUE
    #[arg(long, value_name = "FILE", long_help = answers::help())]
    answers: Option<PathBuf>,
    /// The configuration file to write
    #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// Where keys are kept for systemd
    #[arg(long, default_value = "/etc/credstore", value_name = "DIR")]
    credstore: PathBuf,
    /// Where units of this machine are changed for systemd
    #[arg(long, default_value = "/etc/systemd/system", value_name = "DIR")]
    units: PathBuf,
    /// What tailscaled's unit reads its environment from
    #[arg(long, default_value = "/etc/default/tailscaled", value_name = "FILE")]
    tailscaled_defaults: PathBuf,
    /// Set nothing up; print what makes the accounts on the NAS by hand
    #[arg(long, conflicts_with = "answers")]
    by_hand: bool,
}

/// Why setting up cannot go on, and the one thing to do about it.
#[derive(Debug)]
struct Trouble {
    what: String,
    mend: String,
}

impl Trouble {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

pub(super) fn run(args: &Args) -> Exit {
    if args.by_hand {
        return by_hand();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("tailnas: the asynchronous runtime could not be started: {error}"));
            return Exit::Bug;
        }
    };
    match runtime.block_on(walk(args)) {
        Ok(()) => Exit::Ok,
        Err(Trouble { what, mend }) => {
            say(&format!("✗ {what}\n  → {mend}\n  Then run this again: it goes on from here.\n"));
            Exit::Bad
        }
    }
}

/// Prints the script for the NAS, with the names of accounts that setup suggests.
fn by_hand() -> Exit {
    let catalogue = Catalogue::new();
    let looks = catalogue.roles_of_looks();
    let [old, new] =
        [texts::BEFORE_26, NEWEST].map(|generation| catalogue.roles_of_changes(By::Writer, generation));
    let restarts = catalogue.roles_of_changes(By::Maintenance, NEWEST);
    let accounts = [(READER, &looks), (WRITER, &old), (WRITER, &new), (MAINTENANCE, &restarts)];
    let [Some(reader), Some(old), Some(new), Some(maintenance)] =
        accounts.map(|(name, roles)| Account::new(name, roles))
    else {
        return Exit::Bug;
    };
    let Some(script) = texts::script(&reader, [&old, &new], &maintenance) else { return Exit::Bug };
    say(&script);
    Exit::Ok
}

fn good(what: &str) {
    say(&format!("✓ {what}\n"));
}

async fn walk(args: &Args) -> Result<(), Trouble> {
    let mut answers = Answers::new(args.answers.as_deref())?;
    files::can_be_written(&args.config)?;
    let (config, roster) = if args.config.exists() {
        let config = kept(&args.config)?;
        let roster = tailnet(&config.tailnet.socket).await?;
        provider(&config, None).await?;
        (config, roster)
    } else {
        written(args, &mut answers).await?
    };
    keys(&config, &args.credstore, &mut answers).await?;
    log(&config, &args.credstore)?;
    start(&config, roster.own(), args).await?;
    say(&texts::farewell(&config, &grants::text(&config, &roster)));
    Ok(())
}

/// A configuration that is there is somebody's, and is used as it is.
fn kept(file: &Path) -> Result<Config, Trouble> {
    let config = config::load(file).map_err(|problems| {
        Trouble::new(
            format!("{} is not a configuration: {problems}", file.display()),
            "Correct that; or, to begin anew, move the file away.",
        )
    })?;
    good(&format!("configuration: {} is kept as it is; to begin anew, move it away", file.display()));
    Ok(config)
}

/// Asks for what only a person knows, tries it, and writes the configuration.
async fn written(args: &Args, answers: &mut Answers) -> Result<(Config, Roster), Trouble> {
    let socket = PathBuf::from(answers.unless_usual(&Question::TAILSCALED)?);
    let roster = tailnet(&socket).await?;
    let name = roster.own().name().to_owned();
    let mut draft = Draft {
        url: format!("https://{name}/mcp"),
        socket,
        issuer: provider_name(&roster).map(|name| format!("https://{name}")).unwrap_or_default(),
        nas_name: "nas".to_owned(),
        nas: String::new(),
        trust: Trust::System,
        reader: READER.to_owned(),
        writer: None,
        maintenance: None,
    };
    good(&format!("the URL of this server, its OAuth resource and its audience: {}", draft.url));

    let guess = Some(draft.issuer.clone()).filter(|issuer| !issuer.is_empty());
    draft.issuer = answers.to(&Question::PROVIDER, guess.as_deref())?;
    draft.nas = texts::nas_url(&answers.to(&Question::NAS, None)?);
    draft.nas_name = answers.to(&Question::NAS_NAME, Some(&draft.nas_name))?;
    let config = draft.parse(&args.config)?;
    provider(&config, Some(&args.config)).await?;
    for nas in &config.nas {
        draft.trust = trust(nas, answers).await?;
    }
    for nas in &draft.parse(&args.config)?.nas {
        is_known(nas).await?;
    }
    draft.reader = answers.to(&Question::READER, Some(&draft.reader))?;
    let writer = answers.to(&Question::WRITER, Some(""))?;
    draft.writer = (!writer.is_empty()).then_some(writer);
    let maintenance = answers.to(&Question::MAINTENANCE, None)?;
    draft.maintenance = (!maintenance.is_empty()).then_some(maintenance);
    listen(roster.own(), &args.units, answers)?;

    let config = draft.parse(&args.config)?;
    files::write(&args.config, &draft.text(), files::READABLE)?;
    good(&format!("configuration: written to {}", args.config.display()));
    Ok((config, roster))
}

/// Who is on the tailnet, if we are.
async fn tailnet(socket: &Path) -> Result<Roster, Trouble> {
    let local_api = LocalApi::new(socket, Clock::system());
    let silent = |error: &dyn std::error::Error| {
        Trouble::new(
            format!("tailscaled: {}", chain(error)),
            "Install Tailscale (https://tailscale.com/download/linux), and run: systemctl start tailscaled",
        )
    };
    let status = local_api.status().await.map_err(|error| silent(&error))?;
    if !status.is_running() {
        let what = format!("tailscaled: its state is {:?}", status.backend_state());
        return Err(Trouble::new(what, "Run: tailscale up --advertise-tags=tag:tailnas"));
    }
    if status.dns_name().is_empty() {
        return Err(Trouble::new(
            "tailscaled: this machine has no name on the tailnet",
            "Enable MagicDNS on the DNS page of the tailnet's admin console.",
        ));
    }
    if !status.cert_domains().iter().any(|name| name == status.dns_name()) {
        return Err(Trouble::new(
            format!("tailscaled: it can get no certificate for {}", status.dns_name()),
            "Enable HTTPS certificates on the DNS page of the tailnet's admin console.",
        ));
    }
    let roster = local_api.roster().await.map_err(|error| silent(&error))?;
    good(&format!("tailnet: this machine is {}, and can have a certificate", status.dns_name()));
    Ok(roster)
}

/// The node that is called as TSIDP calls itself.
fn provider_name(roster: &Roster) -> Option<String> {
    roster.others().iter().map(Node::name).find(|name| name.starts_with("idp.")).map(str::to_owned)
}

/// Whether the provider tells us about tokens. `unwritten` is the configuration file where there is none yet.
async fn provider(config: &Config, unwritten: Option<&Path>) -> Result<(), Trouble> {
    let issuer = &config.provider.issuer;
    let clock = Clock::system();
    let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
    let refused = |error: &dyn std::error::Error| {
        Trouble::new(format!("provider: {}", chain(error)), "Correct what it names.")
    };
    let http = Client::new(config.provider.ca_file.as_deref()).map_err(|error| refused(&error))?;
    let provider = Provider::new(&config.provider, &config.server.url, http, clock, lifecycle)
        .map_err(|error| refused(&error))?;
    provider.try_out().await.map_err(|no_answer| {
        let in_the_configuration = doctor::mend_provider(&no_answer, issuer);
        let mend = unwritten.and_then(|file| texts::mend_provider(&no_answer, file));
        Trouble::new(format!("provider: {no_answer}"), mend.unwrap_or(in_the_configuration))
    })?;
    good(&format!("provider: {issuer} tells us about tokens"));
    Ok(())
}

/// How the NAS's certificate is to be known: by the one it shows now, once a person has compared it.
async fn trust(nas: &config::Nas, answers: &mut Answers) -> Result<Trust, Trouble> {
    let shown = nas::presented_pin(nas).await.map_err(|error| unreached(nas, &error))?;
    say(&texts::compare(&shown, nas.url.port_or_known_default().unwrap_or(443)));
    let pin = answers.to(&Question::PIN, Some("no"))?;
    match pin.as_str() {
        "system" => Ok(Trust::System),
        "yes" if answers.are_a_persons() => Ok(pinned(shown)),
        given if is_pin(given, &shown.to_string()) => Ok(pinned(shown)),
        _ => Err(Trouble::new(
            format!("NAS: its certificate is {shown}, and nobody said that this is the right one"),
            "Compare it with what the NAS itself says. If they differ, somebody stands between: find out who.",
        )),
    }
}

/// Whether somebody has given this pin, with or without what stands before its digits; `sha256sum` prints them bare.
fn is_pin(given: &str, pin: &str) -> bool {
    let digits = |text: &str| {
        let word = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        word.trim_start_matches("sha256:").to_owned()
    };
    digits(given) == digits(pin)
}

fn unreached(nas: &config::Nas, error: &dyn std::error::Error) -> Trouble {
    Trouble::new(
        format!("NAS: {}", chain(error)),
        format!("Is {} its address, is it on, and may this machine reach it?", nas.url),
    )
}

/// Whether that is a NAS whose certificate holds, and of a generation that we speak to: before anything is written and
/// anybody is asked for keys.
async fn is_known(nas: &config::Nas) -> Result<(), Trouble> {
    let shown = visit::look(nas).await.map_err(|error| unreached(nas, &error))?;
    if let Err(no_way) = shown.trusted {
        let mend = match (no_way.advice, &nas.trust) {
            (None, _) => "Try again; if it stays so, look at the web server of the NAS.",
            (Some(_), Trust::System) => {
                "Compare its SHA-256 with what the NAS itself says, and pin it (nas-pin); or have this system trust the CA \
                 that signed it (update-ca-certificates)."
            }
            (Some(_), Trust::Pinned(_) | Trust::CaFile(_)) => {
                "It is another one than a moment ago: run this again, and compare it anew."
            }
        };
        return Err(Trouble::new(format!("NAS: {}", no_way.what), mend));
    }
    match shown.generation {
        Ok(_) => Ok(()),
        Err(why) => Err(Trouble::new(
            format!("NAS: {}", render::foreign(&why, LONGEST_WORDS)),
            format!("Is {} the address of a TrueNAS, 25.04 or newer, and has it started?", nas.url),
        )),
    }
}

fn pinned(pin: Pin) -> Trust {
    good(&format!("NAS: its certificate is pinned, {pin}"));
    Trust::Pinned(vec![pin])
}

/// The API keys of the accounts, each tried before it is kept.
async fn keys(config: &Config, credstore: &Path, answers: &mut Answers) -> Result<(), Trouble> {
    let catalogue = Catalogue::new();
    let looks = catalogue.roles_of_looks();
    let past = nas::PastLogins::in_folder(&config.state);
    for nas in &config.nas {
        // One that cannot be seen now is told of as soon as it is needed.
        let shown = visit::look(nas).await.ok().and_then(|shown| shown.generation.ok());
        let generation = shown.unwrap_or(NEWEST);
        let [changes, restarts] =
            [By::Writer, By::Maintenance].map(|by| catalogue.roles_of_changes(by, generation));
        let accounts: Vec<_> = [
            (Some(&nas.reader), &Question::READER_KEY, &looks),
            (nas.writer.as_ref(), &Question::WRITER_KEY, &changes),
            (nas.maintenance.as_ref(), &Question::MAINTENANCE_KEY, &restarts),
        ]
        .into_iter()
        .filter_map(|(login, question, roles)| Some((login?, question, roles)))
        .collect();
        let without: Vec<_> = accounts
            .iter()
            .filter(|(login, ..)| !files::is_there(&login.key, credstore))
            .map(|(login, ..)| login.username.as_str())
            .collect();
        let mut admin = if without.is_empty() { None } else { admin(nas, &without, answers).await? };
        for (login, question, roles) in accounts {
            let Login { username, key } = login;
            let place = files::place(key, credstore);
            if files::is_sealed(key, credstore) {
                say(&texts::sealed(username, place.exists().then_some(place.as_path())));
                continue;
            }
            let fresh = !place.exists();
            let is_made = fresh && admin.is_some();
            if fresh {
                // Before a key is made or typed that could not be kept.
                files::can_be_written(&place)?;
                let account = Account::new(username, roles);
                let key = if let Some(admin) = &mut admin {
                    made(admin, username, account.as_ref()).await?
                } else {
                    if answers.are_a_persons() {
                        say(&texts::make_it(username, account.as_ref()));
                    }
                    answers.secret(question)?
                };
                files::write(&place, &format!("{}\n", key.expose()), files::SECRET)
                    .map_err(|trouble| if is_made { left_behind(trouble, username) } else { trouble })?;
            }
            let login = Login { username: username.clone(), key: SecretSource::File(place.clone()) };
            if let Err(trouble) = let_in(nas, &login, roles, &past).await {
                // One that does not work must not be what the next run finds.
                if fresh {
                    let _ = std::fs::remove_file(&place);
                }
                return Err(if is_made { left_behind(trouble, username) } else { trouble });
            }
        }
        if let Some(admin) = admin {
            admin.leave().await;
        }
    }
    Ok(())
}

/// A key that was made and is kept nowhere is good on the NAS all the same.
fn left_behind(trouble: Trouble, username: &str) -> Trouble {
    let mend = format!(
        "{} The API key that was just made for {username} is kept nowhere: delete it under Credentials > Users > API \
         Keys.",
        trouble.mend
    );
    Trouble { mend, ..trouble }
}

/// Logs an administrator in who makes these accounts, where there is to be one.
async fn admin(
    nas: &config::Nas,
    accounts: &[&str],
    answers: &mut Answers,
) -> Result<Option<Admin>, Trouble> {
    if answers.are_a_persons() {
        say(&texts::accounts(accounts));
    }
    let username = answers.to(&Question::ADMIN, None)?;
    if username.is_empty() {
        return Ok(None);
    }
    let password = answers.secret(&Question::ADMIN_PASSWORD)?;
    let admin = match Admin::log_in(nas, &username, &password).await.map_err(no_admin)? {
        Entry::In(admin) => admin,
        Entry::HalfWay(half_way) => {
            let code = answers.secret(&Question::SECOND_FACTOR)?;
            half_way.answer(&code).await.map_err(no_admin)?
        }
    };
    good(&format!("NAS: {username} is logged in, to make the accounts"));
    Ok(Some(admin))
}

/// An account that an administrator makes, and the key of it.
async fn made(admin: &mut Admin, username: &str, account: Option<&Account<'_>>) -> Result<Secret, Trouble> {
    let Some(account) = account else {
        return Err(Trouble::new(
            format!("NAS: no local user can be called {}", render::foreign(username, 60)),
            "Make that account by hand, or give it a name of letters, digits, \"_\", \"-\" and \".\", 32 at most.",
        ));
    };
    let key = admin.make(account).await.map_err(no_admin)?;
    good(&format!("NAS: {username} is there, with a group, a privilege and a new key"));
    Ok(key)
}

fn no_admin(TurnedAway { reason, hint }: TurnedAway) -> Trouble {
    Trouble::new(format!("NAS: {reason}"), hint)
}

/// Whether the NAS lets this login in; it should have these roles.
async fn let_in(
    nas: &config::Nas,
    login: &Login,
    roles: &BTreeSet<&'static str>,
    past: &nas::PastLogins,
) -> Result<(), Trouble> {
    match visit::knock(nas, login, past).await {
        Ok(let_in) => {
            good(&format!("NAS: {} is let in, it runs {}", login.username, let_in.version));
            let lacks: Vec<_> =
                roles.iter().copied().filter(|role| !doctor::has(&let_in.roles, role)).collect();
            // A NAS that tells no roles at all has nothing to say about them.
            if !lacks.is_empty() && !let_in.roles.is_empty() {
                say(&texts::lacks(&login.username, &lacks.join(", ")));
            }
            Ok(())
        }
        Err(turned_away) => {
            let what = format!("NAS: {}: {}", login.username, turned_away.reason);
            Err(Trouble::new(what, turned_away.hint_before_there_is_a_service()))
        }
    }
}

/// The keys of the audit log: made once, and never again for a log that is there.
fn log(config: &Config, credstore: &Path) -> Result<(), Trouble> {
    let dir = &config.audit.dir;
    // A partition of its own has a folder for what is found after a crash.
    let is_of_a_log = |file: &std::fs::DirEntry| file.file_name() != "lost+found";
    let begun = std::fs::read_dir(dir).is_ok_and(|files| files.flatten().any(|file| is_of_a_log(&file)));
    let missing: Vec<_> = [&config.audit.hmac_key, &config.audit.signing_key]
        .into_iter()
        .filter(|source| !files::is_there(source, credstore))
        .map(|source| files::place(source, credstore))
        .collect();
    if begun && let Some(place) = missing.first() {
        return Err(Trouble::new(
            format!(
                "audit log: there is one in {}, and its key {} is not there",
                dir.display(),
                place.display()
            ),
            format!(
                "Put the key back from your backup; or, to begin a new log, move {} away.",
                dir.display()
            ),
        ));
    }
    for place in &missing {
        let text = if *place == files::place(&config.audit.signing_key, credstore) {
            signing_key(config)?
        } else {
            Secret::new(hex::encode(random()?))
        };
        files::write(place, &format!("{}\n", text.expose()), files::SECRET)?;
    }
    if missing.is_empty() {
        good("audit log: its keys are there");
    }
    Ok(())
}

fn signing_key(config: &Config) -> Result<Secret, Trouble> {
    let number = hex::encode(random()?);
    let name = format!("tailnas/{}-{}", config.server.url.host(), number.get(..8).unwrap_or_default());
    let (secret, public) = Signer::generate(&name).map_err(|error| {
        Trouble::new(
            format!("audit log: no key could be made: {error}"),
            "Report this: it should not happen.",
        )
    })?;
    good(
        "audit log: a key that signs it was made. Keep its public part somewhere else than on this machine:",
    );
    say(&format!("  {public}\n"));
    Ok(secret)
}

fn random() -> Result<[u8; 32], Trouble> {
    let mut bytes = [0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Trouble::new(format!("the kernel has no randomness: {error}"), "Wait a minute.")),
    }
}

/// Asks how clients come in, and puts what follows from it where `tailnas.socket` finds it.
fn listen(own: &Node, units: &Path, answers: &mut Answers) -> Result<(), Trouble> {
    let drop_in = units.join(SOCKET_DROP_IN);
    let guess = (way(units) != Way::Serve).then_some("systemd");
    match answers.to(&Question::LISTEN, guess)?.as_str() {
        "serve" => files::remove(&drop_in),
        "tailnet" if own.addresses().is_empty() => {
            Err(Trouble::new("tailnet: this machine has no address there", "Run: tailscale up"))
        }
        "tailnet" => files::write(&drop_in, &texts::sockets(own.addresses()), files::READABLE),
        "systemd" => Ok(()),
        other => Err(Trouble::new(
            format!("{} is no way to listen", render::foreign(other, 60)),
            "Say serve, tailnet or systemd.",
        )),
    }
}

/// How clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `tailscale serve` passes them on to the unix socket.
    Serve,
    /// Straight to the tailnet address.
    Tailnet,
    /// On sockets that somebody has given `tailnas.socket` by hand.
    AsItIs,
}

fn way(units: &Path) -> Way {
    let ours = units.join(SOCKET_DROP_IN);
    let others = ours.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    if ours.exists() {
        Way::Tailnet
    } else if others.count() > 0 {
        Way::AsItIs
    } else {
        Way::Serve
    }
}

/// Whether tailscaled gives the service the certificate of this machine, which it gives to root and to one user whom it
/// was told. A service that does not get it does not start.
async fn certificate(config: &Config, defaults: &Path) -> Result<(), Trouble> {
    let refused = || {
        Trouble::new(
            "tailnet: tailscaled does not give the certificate of this machine to the user of the service",
            format!(
                "Run: echo {CERTIFICATE_FOR_US} >>{} && systemctl restart tailscaled",
                defaults.display()
            ),
        )
    };
    let file = std::fs::read_to_string(defaults).unwrap_or_default();
    let unit =
        told("systemctl", &["show", "-P", "Environment", "tailscaled.service"], "Read: journalctl -n 20")?;
    let says_so = |words: &str| words.trim().replace(['"', '\''], "") == CERTIFICATE_FOR_US;
    if !file.lines().chain(unit.split_whitespace()).any(says_so) {
        return Err(refused());
    }
    // The first one has to be had from Let's Encrypt, which takes a while and does not always succeed.
    let host = config.server.url.host();
    match LocalApi::new(&config.tailnet.socket, Clock::system()).certificate(host).await {
        Ok(_) => Ok(()),
        Err(CertificateError::Refused) => Err(refused()),
        Err(error) => Err(Trouble::new(
            format!("tailnet: no certificate for {host}: {}", chain(&error)),
            format!("Run: tailscale cert {host}, and do what it says."),
        )),
    }
}

/// Starts the service, and puts it on the tailnet.
async fn start(config: &Config, own: &Node, args: &Args) -> Result<(), Trouble> {
    let direct = config.server.listen.iter().any(|listen| *listen != config::Listen::Systemd);
    let way = if direct { Way::AsItIs } else { way(&args.units) };
    let ends_tls = config.server.listen.iter().any(|listen| matches!(listen, config::Listen::Tailnet(_)));
    if ends_tls || way == Way::Tailnet {
        certificate(config, &args.tailscaled_defaults).await?;
    }
    let read = "Read: journalctl -u tailnas.socket -n 20";
    // A socket takes new addresses only while nothing holds the old ones.
    if holds_old_addresses(&args.units, read)? {
        told("systemctl", &["stop", "tailnas.service", "tailnas.socket"], read)?;
    }
    told("systemctl", &["daemon-reload"], "Read: journalctl -n 20")?;
    if !direct {
        told("systemctl", &["enable", "--now", "tailnas.socket"], read)?;
    }
    told("systemctl", &["enable", "tailnas.service"], "Read: journalctl -n 20")?;
    told("systemctl", &["restart", "tailnas.service"], "Read: journalctl -u tailnas -n 20")
        .map_err(with_journal)?;
    good("service: tailnas runs, and will after a restart of this machine");
    match way {
        Way::Serve => {
            if let Some(other) = served_already(own.name()) {
                return Err(Trouble::new(
                    format!("tailnet: something else is served at https://{} already: {other}", own.name()),
                    "Serve it under another port or path (tailscale serve status shows it); or, if it may go, run: \
                     tailscale serve --https=443 off",
                ));
            }
            let mend =
                "Run it by hand, and do what it says: Serve may have to be allowed for the tailnet once.";
            told("tailscale", &["serve", "--bg", "--yes", SERVED], mend)?;
            good(&format!("tailnet: {} is served to it", own.name()));
        }
        Way::Tailnet => {
            let addresses: Vec<_> = own.addresses().iter().map(IpAddr::to_string).collect();
            good(&format!(
                "tailnet: tailnas.socket is told to listen on {}, port 443",
                addresses.join(" and ")
            ));
        }
        Way::AsItIs => {}
    }
    if way != Way::AsItIs {
        let url = config.server.url.as_str();
        match is_there(config, own).await {
            Ok(()) => good(&format!("tailnet: {url} answers, and is what clients will be told it is")),
            Err(why) => say(&texts::unanswered(url, &why)),
        }
    }
    let outside: Vec<_> = outside(config).iter().map(IpAddr::to_string).collect();
    if !outside.is_empty() {
        say(&texts::outside(&outside.join(" ")));
    }
    Ok(())
}

/// Whether what `tailnas.socket` is told was changed since it began to listen, however often systemd has read it since.
fn holds_old_addresses(units: &Path, read: &str) -> Result<bool, Trouble> {
    if told("systemctl", &["show", "-P", "NeedDaemonReload", "tailnas.socket"], read)?.trim() == "yes" {
        return Ok(true);
    }
    let since = ["show", "--timestamp=unix", "-P", "ActiveEnterTimestamp", "tailnas.socket"];
    let since = told("systemctl", &since, read)?;
    let Some(since) = since.trim().strip_prefix('@').and_then(|seconds| seconds.parse::<i64>().ok()) else {
        return Ok(false);
    };
    let folder = units.join(SOCKET_DROP_IN).parent().map(Path::to_owned).unwrap_or_default();
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path());
    // The folder too: it is what changes when a file is taken away.
    let mut changed = files.chain([folder]).filter_map(|path| std::fs::metadata(path).ok());
    Ok(changed.any(|meta| meta.mtime() >= since))
}

/// What somebody has `tailscale serve` pass on where we are to be, in its words.
fn served_already(name: &str) -> Option<String> {
    let status = Command::new("tailscale").args(["serve", "status", "--json"]).output().ok()?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
    let other = match &status["Web"][format!("{name}:443")]["Handlers"]["/"] {
        serde_json::Value::Null => status["TCP"]["443"]["TCPForward"].as_str()?.to_owned(),
        handler => handler.to_string(),
    };
    (!other.contains(SERVED.trim_start_matches("unix:"))).then(|| render::foreign(&other, LONGEST_WORDS))
}

/// Asks at this machine's own addresses for what every client asks for first: whose resource this is (RFC 9728).
async fn is_there(config: &Config, own: &Node) -> Result<(), String> {
    let url = &config.server.url;
    let addresses: Vec<_> = own.addresses().iter().map(|ip| SocketAddr::new(*ip, url.port())).collect();
    let client = Client::at(url.host(), &addresses).map_err(|error| chain(&error))?;
    let metadata = format!("{}/.well-known/oauth-protected-resource{}", url.origin(), url.path());
    for _ in 0..QUESTIONS {
        let request = http::Request::get(&metadata).body(Vec::new()).map_err(|error| error.to_string())?;
        match client.send(request).await {
            Ok(answer) if is_resource(&answer, url.as_str()) => return Ok(()),
            Ok(answer) => {
                return Err(format!("somebody else answers, with status {}", answer.status().as_u16()));
            }
            // Behind `tailscale serve`, the first question waits for the certificate.
            Err(HttpError::TimedOut) => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Err(HttpError::TimedOut.to_string())
}

fn is_resource(answer: &Response, url: &str) -> bool {
    let body = serde_json::from_slice::<serde_json::Value>(answer.body());
    answer.status() == http::StatusCode::OK && body.is_ok_and(|body| body["resource"] == url)
}

/// Addresses of name servers, the NAS and the provider that the sandbox of the unit does not let us reach, where names tell them.
fn outside(config: &Config) -> Vec<IpAddr> {
    let provider = url::Url::parse(&config.provider.issuer).ok();
    let nas = config.nas.iter().map(|nas| &nas.url);
    let named = nas.chain(&provider).filter_map(|url| url.socket_addrs(|| None).ok()).flatten();
    let servers = name_servers(&std::fs::read_to_string(NAME_SERVERS).unwrap_or_default());
    let all: BTreeSet<_> = named.map(|address| address.ip()).chain(servers).collect();
    all.into_iter().filter(|ip| !is_near(*ip)).collect()
}

/// Whom the service asks for names itself (resolv.conf(5)).
fn name_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
            // An address that is good on one interface only is followed by that.
            address.split('%').next()?.parse().ok()
        })
        .collect()
}

/// As `IPAddressAllow=` in tailnas.service has it.
fn is_near(ip: IpAddr) -> bool {
    is_tailnet(ip)
        || match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        }
}

/// What the daemon itself said last, where there is a journal: systemctl says that it failed, and not why.
fn with_journal(trouble: Trouble) -> Trouble {
    let last = ["-u", "tailnas.service", "-t", "tailnas", "-n", "40", "-o", "cat", "--no-pager"];
    let words =
        Command::new("journalctl").args(last).output().map(|output| output.stdout).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    // Before each start it tells what the sandbox is worth, in a table that has nothing to do with this.
    let is_of_the_sandbox = |line: &&str| line.contains(" enforced") || line.starts_with("SANDBOX ");
    let mut lines: Vec<_> = words.lines().rev().filter(|line| !is_of_the_sandbox(line)).take(4).collect();
    lines.reverse();
    let words = render::foreign(&lines.join("\n"), LONGEST_WORDS);
    if words.is_empty() {
        return trouble;
    }
    Trouble { what: format!("{}\n  It said: {words}", trouble.what), ..trouble }
}

/// Runs a command, and answers what it printed.
fn told(program: &str, args: &[&str], mend: &str) -> Result<String, Trouble> {
    let line = format!("{program} {}", args.join(" "));
    let failed = |what: &str| Trouble::new(format!("{line}: {what}"), mend);
    let output = Command::new(program).args(args).output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = render::foreign(&words, LONGEST_WORDS);
    Err(failed(if words.is_empty() { "it failed and said nothing" } else { &words }))
}

/// A configuration that names other files is somebody's work; what setup writes names none.
fn no_policy_file(_: &Path) -> Result<String, Complaint> {
    Err(Complaint::new("is not what setup writes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_of_the_file_and_the_ones_on_the_internet_are_told() {
        let text = "# mine\nsearch tail1234.ts.net\nnameserver 1.1.1.1\n  nameserver\t100.100.100.100 # MagicDNS\n\
                    nameserver fe80::1%eth0\nnameserver 2606:4700::1111\nnameserver nobody\noptions nameserver 9.9.9.9\n";
        let servers = name_servers(text);
        assert_eq!(servers.len(), 4, "{servers:?}");
        let outside: Vec<_> = servers.iter().filter(|ip| !is_near(**ip)).map(IpAddr::to_string).collect();
        assert_eq!(outside, ["1.1.1.1", "2606:4700::1111"]);
    }

    #[test]
    fn only_what_calls_itself_this_resource_is_this_server() {
        let url = "https://nas-mcp.tail1234.ts.net/mcp";
        let answer = |status: u16, body: &str| {
            let mut answer = Response::new(body.as_bytes().to_vec());
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer
        };
        assert!(is_resource(&answer(200, r#"{"resource":"https://nas-mcp.tail1234.ts.net/mcp"}"#), url));
        for (status, body) in [
            (200, r#"{"resource":"https://nas-mcp.tail1234.ts.net/"}"#),
            (404, r#"{"resource":"https://nas-mcp.tail1234.ts.net/mcp"}"#),
            (200, "<html>"),
        ] {
            assert!(!is_resource(&answer(status, body), url), "{status} {body}");
        }
    }
}
