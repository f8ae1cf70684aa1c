//! What a backend has to do: read, apply guarded writes atomically, and list. It knows nothing of sign-in.

use async_trait::async_trait;

use super::write::{Item, Key, Write};
use crate::env::EntropyError;

/// We do not know, or the store cannot be asked: the caller is denied (security.md 57). What is known is a value, never an
/// error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or refused to work; whether a write happened may be unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Others keep writing the same items: nothing was written.
    #[error("the store is contended: {0}")]
    Contended(String),
    /// What is stored is not what this program writes: denied, and an alarm.
    #[error("an item does not read: {0}")]
    Corrupt(String),
}

impl From<EntropyError> for StoreError {
    /// Without randomness there is no token and no request: nothing was written.
    fn from(error: EntropyError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The answer to a single guarded write.
#[derive(Debug)]
pub enum Updated {
    /// Written and durable; the item as it is now (`None` after a delete).
    Written(Option<Item>),
    /// The guard did not hold; the item as it was then, if there was one.
    ///
    /// After a reply was lost the write may have been tried twice: then it can be this same write, already done, that the
    /// guard met. Every command marks its writes so that it can tell.
    Refused(Option<Item>),
}

/// The answer to a transaction.
#[derive(Debug)]
pub enum Transacted {
    /// All of it is written and durable.
    Committed,
    /// None of it is. For each write in order: `None` where its guard held, else the item that its guard met.
    Refused(Vec<Option<Option<Item>>>),
}

/// The item that a transaction's first write met, of a refusal: `None` where its guard held, or there was no item.
pub(crate) fn met_first(met: Vec<Option<Option<Item>>>) -> Option<Item> {
    met.into_iter().next().flatten().flatten()
}

/// Which writes may be sent again by the backend when a reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The write recognises itself (its own id is in its guard), or a second application only denies more.
    Idempotent,
    /// Send once: a lost reply is [`StoreError::Unavailable`].
    Never,
}

/// Writes that happen together or not at all. The last one puts an audit row under a key of its own: the row is the proof
/// that the transaction was committed, should its reply be lost.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(crate) writes: Vec<Write>,
}

impl Transaction {
    /// `writes`, and last the row that proves them.
    pub(crate) fn new(mut writes: Vec<Write>, row: Write) -> Self {
        writes.push(row);
        Self { writes }
    }

    /// The writes, at most 100, each of another item.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The key whose item exists exactly if the transaction was committed.
    #[must_use]
    pub fn receipt(&self) -> &Key {
        match self.writes.last() {
            Some(row) => &row.key,
            None => unreachable!("a transaction has its row"),
        }
    }
}

/// Which items to list: those of a partition, in the order of their sort keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// In the table, or in the index `dir` (whose keys are the attributes `GP` and `GS`).
    pub(crate) index: bool,
    /// The partition.
    pub(crate) partition: String,
    /// Only sort keys that start so.
    pub(crate) prefix: String,
    /// Only sort keys after this one, in the direction of reading.
    pub(crate) after: Option<String>,
    /// Against the order.
    pub(crate) descending: bool,
    /// At most so many items.
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
    /// Only sort keys (`GS` in the index, `SK` in the table) that start so.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
    /// Exclusive start, in the direction of reading. It need not be the key of an item.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
    /// Against the order of sort keys.
    #[must_use]
    pub fn descending(&self) -> bool {
        self.descending
    }
    /// At most so many items, more than 0.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A single table with one index for lists. Shipped twice, embedded (sled) and DynamoDB; the reference model is a third.
///
/// Every method is one round trip. Reads are consistent, but for the index.
#[async_trait]
pub trait Table: Send + Sync {
    /// Reads up to 100 items, each as it is now; in the order of the keys.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// Applies one guarded write atomically; what is answered is durable.
    async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError>;

    /// Applies all writes or none; what is answered is durable.
    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError>;

    /// Lists a partition. Fewer items than the limit means there are no more.
    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError>;
}
