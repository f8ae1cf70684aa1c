//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    local::cli::main("vestibule")
}
