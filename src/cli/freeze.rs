//! `tailnas freeze` and `tailnas thaw`: the brake for whoever is root on the host.

use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::exit::Exit;
use crate::policy::freeze::{BY_ROOT, Freeze, Frozen};
use crate::tools::render::time;

use super::{CONFIG, complain, load, say};

#[derive(Debug, clap::Args)]
pub(super) struct FreezeArgs {
    /// Why, for everybody who is refused
    #[arg(default_value = "")]
    reason: String,
    /// The configuration file
    #[arg(long, short, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn freeze(args: &FreezeArgs) -> Exit {
    with_brake(&args.config, |brake| {
        let at = time(Clock::system().now());
        brake.freeze(&Frozen { by: BY_ROOT.to_owned(), at, reason: args.reason.clone() })?;
        say("Changes are frozen: nothing is planned, approved or begun until: tailnas thaw\n");
        Ok(())
    })
}

pub(super) fn thaw(config: &Path) -> Exit {
    with_brake(config, |brake| {
        brake.thaw()?;
        say("Changes can be planned and approved again.\n");
        Ok(())
    })
}

fn with_brake(config: &Path, act: impl FnOnce(&Freeze) -> io::Result<()>) -> Exit {
    let config = match load(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match act(&Freeze::new(&config.state)) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&format!(
                "{}: {error}\nNothing was changed. The state folder belongs to the daemon: run this as root, on the \
                 daemon's host, after its first start.",
                config.state.display()
            ));
            Exit::Unavailable
        }
    }
}
