//! The interface of a backend: read, apply conditional writes atomically, and list. It knows nothing of sign-in.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::write::{Item, Key, Write};
use crate::env::EntropyError;

/// The outcome is unknown, or the store cannot be used: the caller must deny the request (security.md 57). A rejection by a
/// rule is never one of these.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not respond or refused to work. A write may have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Other requests keep writing the same items. Nothing was written.
    #[error("the store is contended: {0}")]
    Contended(String),
    /// A stored item is not one that this program writes. The request is denied and an alarm is raised.
    #[error("an item cannot be read: {0}")]
    Corrupt(String),
}

impl From<EntropyError> for StoreError {
    /// Without randomness no token and no request can be made, so nothing was written.
    fn from(error: EntropyError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The result of a single conditional write.
#[derive(Debug)]
pub enum Updated {
    /// Written and durable, with the item after the write (`None` after a delete).
    Written(Option<Item>),
    /// The condition did not hold, with the item as it was then, if there was one.
    ///
    /// After a lost reply the write may have been sent twice. The item can then already contain this same write. Every
    /// command marks its writes so that it can recognise them.
    Refused(Option<Item>),
}

/// The result of a transaction.
#[derive(Debug)]
pub enum Transacted {
    /// All writes are applied and durable.
    Committed,
    /// No write is applied.
    Refused(Unmet),
}

/// The items whose conditions did not hold, by key, as they were then. `None`: there was no item. An item that is not in the
/// map met its condition, or was not checked because another transaction held it.
pub type Unmet = HashMap<Key, Option<Item>>;

/// Whether the backend may send a write again when a reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may: the condition recognises the write by its own id, or a second application only denies more.
    Idempotent,
    /// It may not: a lost reply is [`StoreError::Unavailable`].
    Never,
}

/// Writes that are applied together or not at all, each to a different item. The last write, the marker, puts a new item: an
/// audit row, or the outcomes of a batch's group. If the reply is lost, this item proves that the transaction was committed, or
/// that another request applied the group.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(crate) writes: Vec<Write>,
}

impl Transaction {
    /// A transaction of `writes` and the marker, which is last.
    pub(crate) fn new(mut writes: Vec<Write>, marker: Write) -> Self {
        writes.push(marker);
        Self { writes }
    }

    /// The writes: at most 100, each to a different item.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The key of the marker. If its item exists, the transaction has nothing left to do.
    #[must_use]
    pub fn marker(&self) -> &Key {
        match self.writes.last() {
            Some(marker) => &marker.key,
            None => unreachable!("a transaction has a marker"),
        }
    }
}

/// A query: items of one partition in the order of their sort keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whether to query the index `dir` (with the key attributes `GP` and `GS`) instead of the table.
    pub(crate) index: bool,
    /// The partition.
    pub(crate) partition: String,
    /// Only sort keys with this prefix.
    pub(crate) prefix: String,
    /// Only sort keys after this one, in the direction of reading.
    pub(crate) after: Option<String>,
    /// Whether to read in descending order.
    pub(crate) descending: bool,
    /// Maximum number of items.
    pub(crate) limit: usize,
}

impl Query {
    /// Whether to read the index `dir` instead of the table.
    #[must_use]
    pub fn index(&self) -> bool {
        self.index
    }
    /// The partition: `GP` in the index, `PK` in the table.
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.partition
    }
    /// Only sort keys (`GS` in the index, `SK` in the table) with this prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
    /// The exclusive start in the direction of reading. It need not be the key of an item.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
    /// Whether to read in descending order of sort keys.
    #[must_use]
    pub fn descending(&self) -> bool {
        self.descending
    }
    /// Maximum number of items, more than 0.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A table with one index for lists. There are two backends, the embedded store (sled) and DynamoDB, and the reference
/// model.
///
/// Every method takes one round trip. Reads are consistent, except those of the index.
#[async_trait]
pub trait Table: Send + Sync {
    /// Reads up to 100 items as they are now, in the order of the keys.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// Applies one conditional write atomically. The returned state is durable.
    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError>;

    /// Applies independent conditional writes, each to a different item and by itself. Returns the results in the order of the
    /// writes. The embedded store flushes once for all; other backends send the writes in parallel.
    async fn update_each(&self, writes: &[(Write, Retry)]) -> Vec<Result<Updated, StoreError>> {
        join_all(writes.iter().map(|(write, retry)| self.update(write, *retry))).await
    }

    /// Applies all writes or none. The returned state is durable.
    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError>;

    /// Lists a partition. Fewer items than the limit means there are no more.
    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError>;
}
