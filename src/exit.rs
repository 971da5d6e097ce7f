//! What the exit codes mean; those above 63 are those of sysexits.h.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Well.
    Ok,
    /// `audit verify`, `show`, `export`, `tail`: the log was tampered with. `doctor`: something is wrong.
    Bad,
    /// `audit verify`: only the tail is torn.
    Torn,
    /// `audit`: the log cannot be checked, or what was asked for cannot be done.
    CannotCheck,
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// Something we need is not there (`EX_UNAVAILABLE`).
    Unavailable,
    /// Our own fault (`EX_SOFTWARE`).
    Bug,
    /// The audit log, or the output of a command, cannot be written (`EX_IOERR`).
    Audit,
    /// The configuration is wrong; a restart cannot help (`EX_CONFIG`).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Bad => 1,
            Exit::Torn => 2,
            Exit::CannotCheck => 3,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Bug => 70,
            Exit::Audit => 74,
            Exit::Config => 78,
        })
    }
}
