//! `tailnas check`: everything that is wrong with the configuration, at once.

use std::path::Path;

use crate::config::Credentials;

use crate::exit::Exit;

use super::{complain, load, say};

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    // By hand there are no credentials; only the unit has them.
    let findings = config.check_files(Credentials::MayBeAbsent);
    for note in &findings.notes {
        say(&format!("{note}\n"));
    }
    if findings.problems.is_empty() {
        say(&format!("{}: no problems\n", path.display()));
        Exit::Ok
    } else {
        complain(&findings.problems.to_string());
        Exit::Config
    }
}
