//! All of Vestibule on one port over an embedded store.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod args;
pub mod data_dir;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod enrol;
pub mod idp;
pub mod log;
pub mod login;
pub mod mail;
pub mod seed;
pub mod seeding;
pub mod server;
pub mod sled_table;
pub mod terminal;
pub mod totp;
pub mod welcome;
pub mod wire;

/// Why a command did not work: one line for whoever typed it, with the cause and what mends it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
