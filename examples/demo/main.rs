//! `cargo demo`: the daemon against a simulated tailnet, provider and NAS, on this machine alone.
//!
//! An example and not a part of the daemon: it mints tokens and listens on loopback, and the daemon can do
//! neither (see `docs/adr/0001-the-demo-is-an-example.md`).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo talks to a person")]

mod daemon;
mod neighbourhood;
mod tour;
mod welcome;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tailnas_sim::daemon::Daemon;
use tailnas_sim::nas::Generation;
use tailnas_sim::world::{ALICE, CAPABILITY, World};
use tokio::signal::unix::{SignalKind, signal};

/// How long a daemon that gives no answer may take to be gone, before that is no reason for the answer.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// How much of what a daemon said last is repeated, in lines.
const LAST_WORDS: usize = 20;

/// How long the printed tokens are good. Real ones of TSIDP last five minutes and are refreshed by the client.
const TOKEN_LIFETIME: Duration = Duration::from_hours(8);

/// Runs tailnas against a simulated NAS, provider and tailnet. Nothing outside this machine is touched.
#[derive(Debug, Parser)]
struct Args {
    /// Walk through a tour and end, with 0 only if every step did what it said
    #[arg(long)]
    once: bool,

    /// Port of the daemon on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// What the daemon is called. Browsers have passkeys for names alone; some clients do better with 127.0.0.1
    #[arg(long, default_value = "localhost", value_parser = ["localhost", "127.0.0.1"])]
    name: String,

    /// Write URL, tokens and folders as JSON into this file once ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Grant alice this scope too; may be given more than once
    #[arg(long, value_name = "SCOPE")]
    also: Vec<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon itself, on loopback; the demo starts this in a process of its own
    #[command(hide = true)]
    Daemon {
        /// Its configuration
        config: PathBuf,
        /// Where it listens
        address: std::net::SocketAddr,
    },
    /// What a daemon needs around it, and none; for tests of an installed one
    #[command(hide = true)]
    Neighbourhood {
        /// A folder for it
        dir: PathBuf,
        /// The URL of the daemon
        url: String,
    },
}

fn main() -> ExitCode {
    let began = Instant::now();
    let args = Args::parse();
    if let Some(Command::Daemon { config, address }) = args.command {
        return daemon::run(&config, address);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.and_then(|runtime| match &args.command {
        Some(Command::Neighbourhood { dir, url }) => {
            runtime.block_on(neighbourhood::run(dir, url, TOKEN_LIFETIME)).map(|()| true)
        }
        Some(Command::Daemon { .. }) | None => runtime.block_on(demo(&args, began)),
    });
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("The demo ends here: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a file that is there as a whole or not at all, and is nobody else's to read: there are tokens in it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

async fn demo(args: &Args, began: Instant) -> io::Result<bool> {
    let dir = tempfile::Builder::new().prefix("tailnas-demo-").tempdir()?;
    let world = World::start_as(&args.name, dir.path(), args.port, Generation::V25_10).await?;
    if !args.also.is_empty() {
        let scopes: Vec<_> =
            ALICE.scopes.iter().copied().chain(args.also.iter().map(String::as_str)).collect();
        let grant = serde_json::json!({ "scopes": scopes, "nas": ["*"] });
        world.tailnet.grant(ALICE.address.into(), CAPABILITY, vec![grant]);
    }
    let program = std::env::current_exe()?;
    let command = daemon::command(&world);
    let mut daemon = Daemon::start(&program, &command, dir.path()).await?;
    let tell = |daemon: &Daemon| match &args.ready_file {
        Some(file) => write_whole(file, &welcome::ready_file(&world, daemon, TOKEN_LIFETIME)),
        None => Ok(()),
    };
    tell(&daemon)?;
    let well = if args.once {
        match tour::walk(&world, &daemon, began.elapsed()).await {
            Ok(well) => well,
            Err(error) => {
                let ended = tokio::time::timeout(GONE_WITHIN, daemon.ended()).await;
                return Err(ended.map_or(error, |ended| died(ended, dir.path())));
            }
        }
    } else {
        println!("{}", welcome::text(&world, &daemon, TOKEN_LIFETIME));
        let mut terminate = signal(SignalKind::terminate())?;
        // For tests of clients: the daemon is restarted; what a login gave is good no more, as after five minutes.
        let mut restart = signal(SignalKind::user_defined2())?;
        let mut expire = signal(SignalKind::user_defined1())?;
        loop {
            tokio::select! {
                // In this order: what is pressed here reaches the daemon as well.
                biased;
                pressed = tokio::signal::ctrl_c() => break pressed?,
                _ = terminate.recv() => break,
                _ = expire.recv() => world.tsidp.expire_logins(),
                _ = restart.recv() => {
                    daemon.stop().await?;
                    daemon = Daemon::start(&program, &command, dir.path()).await?;
                    tell(&daemon)?;
                }
                ended = daemon.ended() => return Err(died(ended, dir.path())),
            }
        }
        println!("\nStopping.");
        true
    };
    let status = daemon.stop().await?;
    Ok(well && status.success())
}

/// What is to be said of a daemon that nobody stopped.
fn died(ended: io::Result<ExitStatus>, dir: &Path) -> io::Error {
    let status = match ended {
        Ok(status) => status,
        Err(error) => return error,
    };
    let log = std::fs::read_to_string(dir.join("daemon.log")).unwrap_or_default();
    let mut last: Vec<_> = log.lines().rev().take(LAST_WORDS).collect();
    last.reverse();
    io::Error::other(format!("the daemon ended by itself ({status}). It said last:\n{}", last.join("\n")))
}
