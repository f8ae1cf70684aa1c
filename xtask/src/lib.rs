//! What the checks of a change need besides tests: a cloud on this machine, and mutants of the SAML code.
//!
//! A check that asserts something is a test; what starts servers and serves is here. Panics are this crate's errors: a
//! person reads them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::{fs, path::Path};

use serde_json::Value;

pub mod cloud;
pub mod provision;
pub mod recorder;
pub mod saml_mutants;
pub mod seed;
pub mod watch;

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of the checkout.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The deployment template.
#[must_use]
pub fn template() -> Value {
    serde_saphyr::from_str(&read("infra/template.yaml")).unwrap()
}
