//! The command line.

use std::process::ExitCode;

/// It takes less CPU than the allocator of the C library, and gives Argon2id huge pages (docs/adr/0006-libraries.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    local::cli::main("vestibule")
}
