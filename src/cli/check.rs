//! `tailnas check`: everything that is wrong with the configuration, at once.

use std::path::Path;

use crate::config::{self, Credentials, Note};

use crate::exit::Exit;

use super::{complain, say};

pub(super) fn run(path: &Path) -> Exit {
    let tell = |notes: &[Note]| notes.iter().for_each(|note| say(&format!("{note}\n")));
    // By hand there are no credentials; only the unit has them.
    match config::examine(path, Credentials::MayBeAbsent) {
        Ok((_, notes)) => {
            tell(&notes);
            say(&format!("{}: no problems\n", path.display()));
            Exit::Ok
        }
        Err(findings) => {
            tell(&findings.notes);
            complain(&findings.problems.to_string());
            Exit::Config
        }
    }
}
