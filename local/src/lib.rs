//! All of Vestibule on one port over an embedded store.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod data_dir;
pub mod sled_table;
