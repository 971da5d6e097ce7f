//! The daemon, as it ships, on a listener that only the demo can give it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use tailnas::clock::Clock;
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
                app::run(config, listeners, Clock::system(), app::asked_to_stop()).await.into()
            }
            Err(error) => {
                eprintln!("cannot listen on {address}: {error}");
                Exit::Unavailable.into()
            }
        }
    })
}
