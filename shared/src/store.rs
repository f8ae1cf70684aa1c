//! The store: commands, each one guarded write or one transaction.

pub mod keys;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod table;
pub mod write;
#[cfg(feature = "dynamo")]
pub mod dynamo;

pub use table::{StoreError, Table};
