//! `tailnas serve`: the daemon.

use std::path::Path;

use crate::{app, telemetry};

use crate::exit::Exit;

use super::{complain, load};

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
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
