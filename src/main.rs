//! The `tailnas` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tailnas::cli::main().into()
}
