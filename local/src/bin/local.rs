//! The command line under its first name. Scripts and `cargo run -p local` use it.

use std::process::ExitCode;

fn main() -> ExitCode {
    local::cli::main("local")
}
