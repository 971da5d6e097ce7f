//! `tailnas notify test`: whether notices arrive.

use std::path::PathBuf;

use crate::exit::Exit;
use crate::net::http::Client;
use crate::notify::Notifier;
use crate::telemetry::chain;

use super::{CONFIG, complain, load, say};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The configuration file
    #[arg(long, short, default_value = CONFIG, value_name = "FILE", global = true)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send everybody a notice that says that it is a test
    Test,
}

pub(super) fn run(args: &Args) -> Exit {
    let Command::Test = args.command;
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if config.notify.is_empty() {
        complain("There is no [[notify]] in the configuration, so nobody is told when something waits.");
        return Exit::Bad;
    }
    let notifier = Client::new(None)
        .map_err(|error| chain(&error))
        .and_then(|client| Notifier::new(&config, client).map_err(|error| chain(&error)));
    let notifier = match notifier {
        Ok(notifier) => notifier,
        Err(why) => {
            complain(&why);
            return Exit::Config;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("tailnas: the asynchronous runtime could not be started: {error}"));
            return Exit::Bug;
        }
    };
    let mut exit = Exit::Ok;
    for (index, (kind, result)) in runtime.block_on(notifier.test()).into_iter().enumerate() {
        match result {
            Ok(()) => say(&format!("✓ notify[{index}], {}: taken\n", kind.as_str())),
            Err(error) => {
                exit = Exit::Bad;
                say(&format!("✗ notify[{index}], {}: {}\n", kind.as_str(), chain(&error)));
            }
        }
    }
    exit
}
