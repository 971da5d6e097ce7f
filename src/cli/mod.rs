//! The command line: one command, one file.

mod audit;
mod check;
mod doctor;
mod freeze;
mod grants;
mod notify;
mod passkey;
mod report;
mod sandbox;
mod serve;
mod setup;
mod tools;

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};

use crate::exit::Exit;

/// Where the configuration is, unless said otherwise.
const CONFIG: &str = "/etc/tailnas/config.toml";

/// A `TrueNAS` behind MCP on a tailnet: grants from the tailnet, every call on record.
#[derive(Debug, Parser)]
#[command(name = "tailnas", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(ConfigFile),
    /// Check the configuration and tell all its problems at once
    Check(ConfigFile),
    /// List the tools with their scopes and risks
    Tools(tools::Args),
    /// Read and verify the audit log
    Audit(audit::Args),
    /// Try to reach tailscaled, the provider and the NAS, and say how to mend what is wrong
    Doctor(doctor::Args),
    /// Set tailnas up on this machine, step by step; a second run goes on where the first one ended
    Setup(setup::Args),
    /// Say who may call what and why, and write grants for the tailnet policy
    Grants(grants::Args),
    /// Refuse every change from now on, also those that were approved and have not begun
    Freeze(freeze::FreezeArgs),
    /// Let changes be made again
    Thaw(ConfigFile),
    /// Try the notices that something waits for a person
    Notify(notify::Args),
    /// Let people enrol passkeys, list and revoke them
    Passkey(passkey::Args),
    /// Print the version
    Version,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> Exit {
    std::panic::catch_unwind(obey).unwrap_or_else(|_| {
        // What it was and where has been said by then.
        complain(
            "tailnas: that is a bug of tailnas, and it ends here. Whether a change that was under way was made, the next \
             start of the daemon asks the NAS and writes into the audit log. Please report it, with the lines above",
        );
        Exit::Bug
    })
}

fn obey() -> Exit {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return other_than_a_command(&error),
    };
    let exit = run(&command);
    let Some(error) = UNSAID.get() else { return exit };
    complain(&format!("what there was to say could not be written to the end: {error}"));
    if exit == Exit::Ok { Exit::Audit } else { exit }
}

fn run(command: &Command) -> Exit {
    match command {
        Command::Serve(file) => serve::run(&file.config),
        Command::Check(file) => check::run(&file.config),
        Command::Tools(args) => tools::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Setup(args) => setup::run(args),
        Command::Grants(args) => grants::run(args),
        Command::Freeze(args) => freeze::freeze(args),
        Command::Thaw(file) => freeze::thaw(&file.config),
        Command::Notify(args) => notify::run(args),
        Command::Passkey(args) => passkey::run(args),
        Command::Version => {
            say(&format!("tailnas {}\n", env!("CARGO_PKG_VERSION")));
            Exit::Ok
        }
    }
}

/// Help, or what is wrong with the command line. That has a status of its own: clap's, 2, is the one by which
/// `audit verify` says that the end of the log is torn.
fn other_than_a_command(error: &clap::Error) -> Exit {
    // Where it cannot be shown there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}

/// The configuration, or its problems on stderr.
fn load(path: &std::path::Path) -> Result<Config, Exit> {
    config::load(path).map_err(|problems| {
        complain(&problems.to_string());
        Exit::Config
    })
}

/// Why stdout did not take something: half an export must not look like a whole one.
static UNSAID: OnceLock<std::io::Error> = OnceLock::new();

/// Writes to stdout. A reader that went away (`tailnas tools | head`) is no fault of ours.
fn say(text: &str) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        // The first one is told.
        let _ = UNSAID.set(error);
    }
}

/// Writes a line to stderr.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}
