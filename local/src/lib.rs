//! The local server: all flows of Vestibule on one port, with an embedded store, for development. And the command line.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub(crate) mod admin;
pub mod args;
pub mod audit;
pub(crate) mod batch;
pub mod cli;
pub(crate) mod client;
pub(crate) mod code;
pub mod completion;
pub mod data_dir;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod enrol;
pub mod exclusions;
pub mod idp;
pub mod import;
pub(crate) mod journal;
pub mod letters;
pub mod log;
pub mod login;
pub mod mail;
mod mail_page;
pub(crate) mod output;
pub mod seed;
pub mod seeding;
pub mod server;
pub(crate) mod sheet;
pub mod signals;
pub mod sled_table;
pub mod sso;
pub(crate) mod state;
pub mod terminal;
pub mod totp;
pub mod users;
pub mod welcome;
pub mod wire;

/// Why a command failed: one line for the user of the command, with the cause and what to do.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
