//! The daemon, as it ships, on a listener that only the demo can give it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use tailnas::clock::{Clock, Tell};
use tailnas::config::Credentials;
use tailnas::exit::Exit;
use tailnas::server::listen::Listener;
use tailnas::{app, config, telemetry};
use tailnas_sim::world::World;

/// The arguments with which this program becomes the daemon of `world`.
pub fn command(world: &World) -> Vec<OsString> {
    vec!["daemon".into(), world.config().into(), world.address().to_string().into()]
}

/// Runs the daemon until it is told to stop.
pub fn run(path: &Path, address: SocketAddr) -> ExitCode {
    let config = match config::examine(path, Credentials::MustBeThere) {
        Ok((config, _)) => config,
        Err(findings) => {
            eprintln!("{}", findings.problems);
            return Exit::Config.into();
        }
    };
    telemetry::start(config.log);
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return Exit::Bug.into();
    };
    runtime.block_on(async {
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => {
                let listeners = vec![Listener::Plain(listener)];
                app::run(config, listeners, clock(path), app::asked_to_stop()).await.into()
            }
            Err(error) => {
                eprintln!("cannot listen on {address}: {error}");
                Exit::Unavailable.into()
            }
        }
    })
}

/// The system's clock; with a file `clock` beside the configuration at `path`, one whose wall clock is off by the seconds
/// in that. A test that sets the clock of a daemon cannot set that of the machine.
fn clock(path: &Path) -> Clock {
    let off_by = path.with_file_name("clock");
    if off_by.exists() { Clock::from_tell(Off { off_by, system: Clock::system() }) } else { Clock::system() }
}

struct Off {
    off_by: PathBuf,
    system: Clock,
}

impl Tell for Off {
    fn now(&self) -> DateTime<Utc> {
        let seconds = std::fs::read_to_string(&self.off_by).ok().and_then(|text| text.trim().parse().ok());
        let off_by = seconds.and_then(TimeDelta::try_seconds).unwrap_or_default();
        let now = self.system.now();
        now.checked_add_signed(off_by).unwrap_or(now)
    }

    fn mono(&self) -> std::time::Duration {
        self.system.mono()
    }
}
