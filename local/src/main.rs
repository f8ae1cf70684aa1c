//! The local runner.

fn main() {
    use std::io::Write;
    // Nothing is served yet; saying so beats a server that answers nothing.
    let _ =
        writeln!(std::io::stdout(), "Vestibule {}: no flow is served yet. See README.md.", env!("CARGO_PKG_VERSION"));
}
