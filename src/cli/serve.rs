//! `tailnas serve`: the daemon.

use std::path::Path;

use crate::config::{self, Credentials};
use crate::{app, telemetry};

use crate::exit::Exit;

use super::complain;

pub(super) fn run(path: &Path) -> Exit {
    let config = match config::examine(path, Credentials::MustBeThere) {
        Ok((config, _)) => config,
        Err(findings) => {
            complain(&findings.problems.to_string());
            return Exit::Config;
        }
    };
    telemetry::start(config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("tailnas: the asynchronous runtime could not be started: {error}"));
            return Exit::Bug;
        }
    };
    runtime.block_on(app::serve(config))
}
