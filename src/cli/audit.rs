//! `tailnas audit`: read and verify the log, and make the key that signs it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use crate::audit::bench::{Measured, Rate, measure};
use crate::audit::note::{BadKey, Given, Note, PublicKey};
use crate::audit::prune::prune;
use crate::audit::tail::{self, Entry};
use crate::audit::verify::{Against, Verdict, verify};
use crate::audit::{Hasher, Journal, Settings, Signer};
use crate::clock::Clock;
use crate::config::Audit;
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;
use crate::secret::{Secret, SecretSource};

use super::{CONFIG, complain, load, say};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that nobody has changed the log. Exit: 0 clean, 1 tampered, 2 only the tail is torn, 3 cannot check; 64 wrong
    /// usage
    Verify {
        #[command(flatten)]
        log: Log,
        /// The public key that must have signed it [default: that of the configuration; with --dir and no --config none,
        /// and then the report says so]
        #[arg(long, value_name = "KEY", value_parser = boxed_key)]
        vkey: Option<Box<PublicKey>>,
        /// A copy of checkpoints kept elsewhere; - for stdin
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// What `journalctl -u tailnas -o cat` printed; - for stdin
        #[arg(long, value_name = "FILE")]
        journal: Vec<PathBuf>,
        /// The transcript of a client, with the receipts in its answers; - for stdin
        #[arg(long, value_name = "FILE")]
        receipts: Vec<PathBuf>,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one record
    Show {
        /// Its number
        seq: u64,
        #[command(flatten)]
        log: Log,
        /// Print it as it stands in the log
        #[arg(long)]
        json: bool,
    },
    /// Print the keyed hash under which the value of an argument stands in the log, such as the name of a user; it is read
    /// from stdin
    Hash {
        /// The configuration file
        #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
        config: PathBuf,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the records
    Export {
        #[command(flatten)]
        log: Log,
        /// From this number on
        #[arg(long, default_value_t = 0, value_name = "SEQ")]
        since: u64,
        /// Print them as they stand in the log
        #[arg(long)]
        json: bool,
    },
    /// Show the last records
    Tail {
        #[command(flatten)]
        log: Log,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Wait for more
        #[arg(long, short)]
        follow: bool,
        /// Print them as JSON, one a line
        #[arg(long)]
        json: bool,
    },
    /// Make a new key that signs the log: the private part into FILE, the public part on stdout
    Keygen {
        /// Where the private key goes; it must not exist
        file: PathBuf,
        /// What the key is called, besides "tailnas/" [default: something random]
        #[arg(long)]
        name: Option<String>,
    },
    /// Delete the files of the log in which every record is before SEQ, and keep the hashes of their records. Neither the
    /// daemon may run nor its socket, which would start it: systemctl stop tailnas.socket tailnas.service
    Prune {
        #[command(flatten)]
        log: Log,
        /// The first record that must stay
        #[arg(long, value_name = "SEQ")]
        before: u64,
        /// Print what was done as JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure what the log can do on a disk, beside what the disk itself can do. Takes half a minute
    Bench {
        /// A folder on that disk
        dir: PathBuf,
        /// Print the figures as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the key of the log make another one its successor. Neither the daemon may run nor its socket, which would start
    /// it: systemctl stop tailnas.socket tailnas.service
    RotateKey {
        /// The private key that is to follow, from `tailnas audit keygen`
        next: PathBuf,
        /// The private key of the log [default: the one the configuration names]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The configuration file
        #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Log {
    /// The folder of the log [default: the one the configuration names]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The configuration file [default: /etc/tailnas/config.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn boxed_key(text: &str) -> Result<Box<PublicKey>, BadKey> {
    text.parse().map(Box::new)
}

impl Log {
    fn configuration(&self) -> Result<Audit, Exit> {
        load(self.config.as_deref().unwrap_or(Path::new(CONFIG))).map(|config| config.audit)
    }

    fn folder(&self) -> Result<PathBuf, Exit> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => self.configuration().map(|audit| audit.dir),
        }
    }

    /// The folder, and the key that must have signed the log. Whoever names a folder and nothing else may have a log
    /// from anywhere: then there is none, and the report says that it was not checked. A configuration has one, and
    /// where that cannot be had, nothing may look as if it had been checked.
    fn folder_and_key(&self, vkey: Option<&PublicKey>) -> Result<(PathBuf, Option<PublicKey>), Exit> {
        let named = |dir: &PathBuf| (dir.clone(), vkey.cloned());
        if let Some(dir) = self.dir.as_ref().filter(|_| vkey.is_some() || self.config.is_none()) {
            return Ok(named(dir));
        }
        let audit = self.configuration()?;
        let dir = self.dir.as_ref().unwrap_or(&audit.dir);
        if vkey.is_some() {
            return Ok(named(dir));
        }
        match private_key(&audit.signing_key) {
            Ok(signer) => Ok((dir.clone(), Some(signer.public().clone()))),
            Err(problem) => {
                complain(&format!(
                    "The log was not checked: whether the right key signed it cannot be told, since that key cannot be \
                     had. audit.signing_key: {problem}. Run this as root, or give the public part, which tailnas audit \
                     keygen printed, with --vkey"
                ));
                Err(Exit::CannotCheck)
            }
        }
    }
}

pub(super) fn run(args: &Args) -> Exit {
    let in_folder = |log: &Log, show: &dyn Fn(&Path) -> io::Result<Exit>| match log.folder() {
        Ok(dir) => show(&dir).unwrap_or_else(|error| {
            complain(&format!("the audit log in {} cannot be read: {error}", dir.display()));
            Exit::CannotCheck
        }),
        Err(exit) => exit,
    };
    match &args.command {
        Command::Verify { log, vkey, checkpoint, journal, receipts, json } => {
            // Whatever is missing: it is not the log that was found wanting.
            let Ok((dir, vkey)) = log.folder_and_key(vkey.as_deref()) else { return Exit::CannotCheck };
            match against(vkey, checkpoint.iter().chain(journal), receipts) {
                Ok(against) => run_verify(&dir, &against, *json),
                Err(problem) => {
                    complain(&problem);
                    Exit::CannotCheck
                }
            }
        }
        Command::Show { seq, log, json } => in_folder(log, &|dir| run_show(dir, *seq, *json)),
        Command::Hash { config, json } => run_hash(config, *json),
        Command::Export { log, since, json } => in_folder(log, &|dir| run_export(dir, *since, *json)),
        Command::Tail { log, lines, follow, json } => {
            in_folder(log, &|dir| run_tail(dir, *lines, *follow, *json))
        }
        Command::Prune { log, before, json } => match log.folder() {
            Ok(dir) => run_prune(&dir, *before, *json),
            Err(exit) => exit,
        },
        Command::Bench { dir, json } => run_bench(dir, *json),
        Command::RotateKey { next, key, config } => match load(config) {
            Ok(config) => run_rotate_key(&config.audit, next, key.as_deref()),
            Err(exit) => exit,
        },
        Command::Keygen { file, name } => run_keygen(file, name.as_deref()),
    }
}

/// Reads what the log is to be held against. A file in which there is nothing to hold it against is a mistake, and
/// must not look like agreement.
fn against<'a>(
    vkey: Option<PublicKey>,
    checkpoints: impl Iterator<Item = &'a PathBuf>,
    transcripts: &[PathBuf],
) -> Result<Against, String> {
    let mut against = Against { vkey, ..Against::default() };
    for file in checkpoints {
        let notes = Note::all_in(&text_of(file)?);
        if notes.is_empty() {
            return Err(format!("there is no signed checkpoint in {}", file.display()));
        }
        against.outside.push((file.display().to_string(), notes));
    }
    for file in transcripts {
        let receipts = Given::all_in(&text_of(file)?);
        if receipts.is_empty() {
            return Err(format!("there is no receipt in {}", file.display()));
        }
        against.receipts.get_or_insert_default().extend(receipts);
    }
    Ok(against)
}

fn text_of(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn run_verify(dir: &Path, against: &Against, json: bool) -> Exit {
    let report = match verify(dir, against) {
        Ok(report) => report,
        Err(error) => {
            complain(&crate::telemetry::chain(&error));
            return Exit::CannotCheck;
        }
    };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default()));
    } else {
        say(&format!("{report}\n"));
    }
    match report.verdict {
        Verdict::Clean => Exit::Ok,
        Verdict::Tampered => Exit::Bad,
        Verdict::Torn => Exit::Torn,
        Verdict::Unchecked => Exit::CannotCheck,
    }
}

fn run_show(dir: &Path, seq: u64, json: bool) -> io::Result<Exit> {
    let mut found = false;
    let flaw = tail::each_from(dir, seq, |line, entry| {
        found = matches!(entry, Entry::Record(record) if record.seq == seq);
        match (found, json) {
            (false, _) => {}
            (true, true) => say(&format!("{line}\n")),
            (true, false) => say(&format!("{}\n", serde_json::to_string_pretty(entry).unwrap_or_default())),
        }
        false
    })?;
    if !found {
        complain(&format!("there is no record {seq} in {}", dir.display()));
    }
    Ok(as_written(dir, flaw.as_deref(), if found { Exit::Ok } else { Exit::CannotCheck }))
}

/// Says of what was shown that it is not what was written, where that could be seen. That nothing could be seen is no
/// proof: only `audit verify` holds the log against its signatures.
fn as_written(dir: &Path, flaw: Option<&str>, exit: Exit) -> Exit {
    let Some(flaw) = flaw else { return exit };
    complain(&format!(
        "The log is not what was written: {flaw}. Do not rely on what is shown. What else is wrong says: tailnas audit \
         verify --dir {}",
        dir.display()
    ));
    Exit::Bad
}

fn run_export(dir: &Path, since: u64, json: bool) -> io::Result<Exit> {
    let flaw = tail::each_from(dir, since, |line, entry| {
        if json {
            say(&format!("{line}\n"));
        } else {
            say(&format!("{entry}\n"));
        }
        true
    })?;
    Ok(as_written(dir, flaw.as_deref(), Exit::Ok))
}

fn run_tail(dir: &Path, lines: usize, follow: bool, json: bool) -> io::Result<Exit> {
    let (entries, mut tail) = tail::last(dir, lines)?;
    show(&entries, json);
    let mut exit = as_written(dir, tail.flaw(), Exit::Ok);
    if !follow {
        return Ok(exit);
    }
    loop {
        std::thread::sleep(Duration::from_millis(200));
        show(&tail.more()?, json);
        if exit == Exit::Ok {
            exit = as_written(dir, tail.flaw(), Exit::Ok);
        }
    }
}

fn show(entries: &[Entry], json: bool) {
    for entry in entries {
        if json {
            say(&format!("{}\n", serde_json::to_string(entry).unwrap_or_default()));
        } else {
            say(&format!("{entry}\n"));
        }
    }
}

/// The value comes from stdin: what stands in a command line, everybody on the machine can read.
fn run_hash(config: &Path, json: bool) -> Exit {
    let config = match load(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let key = match secret(&config.audit.hmac_key) {
        Ok(key) => key,
        Err(problem) => {
            complain(&format!("audit.hmac_key: {problem}"));
            return Exit::Config;
        }
    };
    match text_of(Path::new("-")) {
        Ok(value) => {
            let hash = Hasher::new(&key).hash(value.strip_suffix('\n').unwrap_or(&value).as_bytes());
            say(&if json { format!("{{\"hash\":\"{hash}\"}}\n") } else { format!("{hash}\n") });
            Exit::Ok
        }
        Err(problem) => {
            complain(&problem);
            Exit::CannotCheck
        }
    }
}

fn run_bench(dir: &Path, json: bool) -> Exit {
    let clock = Clock::system();
    let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
    match measure(dir, &clock, &lifecycle) {
        Ok(measured) if json => {
            say(&format!("{}\n", serde_json::to_string_pretty(&measured).unwrap_or_default()));
            Exit::Ok
        }
        Ok(Measured { written, verified_per_second, bytes_per_record }) => {
            for Rate { who, per_second, p50_us, p99_us } in written {
                say(&format!("{who:28} {per_second:10.0}/s   p50 {p50_us:8.0} us   p99 {p99_us:8.0} us\n"));
            }
            say(&format!(
                "verify, one core             {verified_per_second:10.0}/s   {bytes_per_record} bytes each\n"
            ));
            Exit::Ok
        }
        Err(error) => {
            complain(&format!("it could not be measured in {}: {error}", dir.display()));
            Exit::CannotCheck
        }
    }
}

fn run_prune(dir: &Path, before: u64, json: bool) -> Exit {
    match prune(dir, before) {
        Ok(pruned) if json => {
            say(&format!("{}\n", serde_json::json!({ "files": pruned })));
            Exit::Ok
        }
        Ok(pruned) => {
            for file in pruned {
                say(&format!("{file} is deleted; the hashes of its records are kept\n"));
            }
            Exit::Ok
        }
        Err(error) => {
            complain(&crate::telemetry::chain(&error));
            Exit::CannotCheck
        }
    }
}

fn run_rotate_key(audit: &Audit, next: &Path, key: Option<&Path>) -> Exit {
    let current = key.map_or_else(|| audit.signing_key.clone(), |key| SecretSource::File(key.to_owned()));
    let rotated = secret(&audit.hmac_key).and_then(|hasher_key| {
        let (signer, next) = (private_key(&current)?, private_key(&SecretSource::File(next.to_owned()))?);
        let public = next.public().clone();
        let settings = Settings {
            dir: audit.dir.clone(),
            hasher_key,
            signer,
            copy: audit.copy.clone(),
            rotate_at: audit.rotate_at,
            reads_go_on: audit.reads_go_on,
        };
        let opened = Journal::change_key(settings, next, Clock::system());
        opened.map(|opened| (opened, public)).map_err(|error| crate::telemetry::chain(&error))
    });
    match rotated {
        Ok((opened, public)) => {
            complain(&format!(
                "{opened}. From here on {} signs it: let audit.signing_key name that key before the daemon starts, and \
                 keep its public part, below, somewhere else than on this machine. Then: systemctl start tailnas.socket \
                 tailnas.service",
                public.name()
            ));
            say(&format!("{public}\n"));
            Exit::Ok
        }
        Err(problem) => {
            complain(&format!("The key was not changed: {problem}"));
            Exit::CannotCheck
        }
    }
}

fn secret(source: &SecretSource) -> Result<Secret, String> {
    source.load_on_host().map_err(|error| crate::telemetry::chain(&error))
}

fn private_key(source: &SecretSource) -> Result<Signer, String> {
    Signer::parse(&secret(source)?).map_err(|error| format!("{source}: {error}"))
}

fn run_keygen(file: &Path, name: Option<&str>) -> Exit {
    match keygen(file, name) {
        Ok(public) => {
            complain(&format!(
                "The private key is in {}. Let audit.signing_key name it, and keep the public key below somewhere \
                 else than on this machine: tailnas audit verify --vkey wants it.",
                file.display()
            ));
            say(&format!("{public}\n"));
            Exit::Ok
        }
        Err(error) => {
            complain(&format!("no key was made in {}: {error}", file.display()));
            Exit::CannotCheck
        }
    }
}

fn keygen(file: &Path, name: Option<&str>) -> io::Result<PublicKey> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => random_name()?,
    };
    let (secret, public) = Signer::generate(&format!("tailnas/{name}"))?;
    let mut to = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    to.write_all(format!("{}\n", secret.expose()).as_bytes())?;
    to.sync_all()?;
    Ok(public)
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}
