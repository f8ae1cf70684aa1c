//! The embedded store: the table in a sled database.
//!
//! sled returns before its data is on disk. So one thread writes, flushes, and only then answers ([`writer`]): otherwise a used
//! code or recovery token would work again after a crash. Reads run on the thread of the caller, because sled answers them from
//! memory. They too return only what is on disk.

use std::{collections::HashMap, fmt, fs::File, ops::Bound, sync::Arc};

use async_trait::async_trait;
use sled::{
    Db, IVec, Transactional, Tree,
    transaction::{ConflictableTransactionError, TransactionError, TransactionalTree},
};
use vestibule::store::{
    StoreError, Table, keys,
    table::{Query, Retry, Transacted, Transaction, Unmet, Updated},
    write::{Effect, Item, Key, Value, Write},
};

mod writer;

use writer::Writer;

/// The version of the stored format, in the identity record.
const VERSION: &str = "1";

/// A table in a sled database: a tree `main` of items and a tree `dir`, the index for lists.
///
/// What a method returns is on disk: a crash right after it undoes nothing that a caller has seen. This holds for written items,
/// refusals, reads and lists. After a failed write, all methods return [`StoreError::Unavailable`].
#[derive(Clone)]
pub struct SledTable(Arc<Shared>);

struct Shared {
    // The order matters: the writer's thread ends before the database is closed.
    writer: Writer,
    trees: Arc<Trees>,
}

struct Trees {
    main: Tree,
    dir: Tree,
    // The order matters: the database is closed before the directory's lock is released.
    _db: Db,
    _lock: Option<File>,
}

impl fmt::Debug for SledTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SledTable")
    }
}

/// The result of a transaction: the items after it, or why it was refused.
type Outcome = Result<Result<Vec<Option<Item>>, Unmet>, StoreError>;

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Why a transaction was aborted.
enum AbortReason {
    Refused(Unmet),
    Corrupt(String),
}

type InTransaction<T> = Result<T, ConflictableTransactionError<AbortReason>>;

fn unavailable(error: &sled::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn main_key(key: &Key) -> Vec<u8> {
    [key.pk().as_bytes(), &[0], key.sk().as_bytes()].concat()
}

/// The key of an item in the index, if the item is in the index.
fn dir_key(item: Option<&Item>, main_key: &[u8]) -> Option<Vec<u8>> {
    match item.map(|item| (item.get("GP"), item.get("GS"))) {
        Some((Some(Value::S(partition)), Some(Value::S(sort)))) => {
            Some([partition.as_bytes(), &[0], sort.as_bytes(), &[0], main_key].concat())
        }
        _ => None,
    }
}

// The message has only the position and the category of the error, because an item can hold secrets that must not be logged.
fn decode(bytes: &[u8]) -> Result<Item, String> {
    serde_json::from_slice::<HashMap<String, Value>>(bytes)
        .map_err(|error| format!("line {}, column {}: {:?}", error.line(), error.column(), error.classify()))
}

fn encode(item: &Item) -> Result<Vec<u8>, String> {
    serde_json::to_vec(item).map_err(|error| format!("an item cannot be encoded: {:?}", error.classify()))
}

fn corrupt(reason: String) -> ConflictableTransactionError<AbortReason> {
    ConflictableTransactionError::Abort(AbortReason::Corrupt(reason))
}

/// A write whose condition held, with the key in `main`, and the item before and after.
struct Applied<'a> {
    write: &'a Write,
    main_key: Vec<u8>,
    before: Option<Item>,
    after: Option<Item>,
}

impl Trees {
    fn open(db: Db, lock: Option<File>) -> sled::Result<Self> {
        Ok(Self { main: db.open_tree("main")?, dir: db.open_tree("dir")?, _db: db, _lock: lock })
    }

    /// Applies all writes, or none, without a flush. All conditions and effects see the items before the transaction.
    ///
    /// # Errors
    /// An error of sled. It accepts no more writes until it is opened again.
    fn commit(&self, writes: &[Write]) -> sled::Result<Outcome> {
        // sled repeats the closure on a conflict, so it must be deterministic.
        let result = (&self.main, &self.dir).transaction(|(main, dir)| {
            let applied = apply(main, writes)?;
            for applied in &applied {
                applied.store(main, dir)?;
            }
            Ok(applied.into_iter().map(|applied| applied.after).collect())
        });
        match result {
            Ok(after) => Ok(Ok(Ok(after))),
            Err(TransactionError::Abort(AbortReason::Refused(unmet))) => Ok(Ok(Err(unmet))),
            Err(TransactionError::Abort(AbortReason::Corrupt(reason))) => Ok(Err(StoreError::Corrupt(reason))),
            Err(TransactionError::Storage(error)) => Err(error),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Item>, StoreError> {
        let found = self.main.get(key).map_err(|error| unavailable(&error))?;
        found.map(|bytes| decode(&bytes).map_err(StoreError::Corrupt)).transpose()
    }

    fn list(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let base = [query.partition().as_bytes(), &[0]].concat();
        let Some(range) = range(&base, query) else { return Ok(Vec::new()) };
        let tree = if query.index() { &self.dir } else { &self.main };
        let scan = tree.range::<Vec<u8>, _>(range);
        let entries: Box<dyn Iterator<Item = sled::Result<(IVec, IVec)>>> =
            if query.descending() { Box::new(scan.rev()) } else { Box::new(scan) };
        let mut found = Vec::new();
        for entry in entries {
            if found.len() >= query.limit() {
                break;
            }
            let (key, value) = entry.map_err(|error| unavailable(&error))?;
            if !query.index() {
                found.push(decode(&value).map_err(StoreError::Corrupt)?);
                continue;
            }
            // The item may have changed since the scan saw its entry, and no longer belong to this entry.
            if let Some(item) = self.get(&value)?
                && dir_key(Some(&item), &value).as_deref() == Some(&key)
            {
                found.push(item);
            }
        }
        Ok(found)
    }
}

/// The range of keys of a query. `None`: the range is empty. Keys hold no NUL, and UTF-8 has no byte 0xFF: so NUL ends a sort key,
/// and 0xFF sorts after all keys with the same prefix.
fn range(base: &[u8], query: &Query) -> Option<KeyRange> {
    let start = [base, query.prefix().as_bytes()].concat();
    let mut end = [&start[..], &[0xFF]].concat();
    let mut lower = Bound::Included(start.clone());
    let mut first = start;
    if let Some(after) = query.after() {
        let mut after = [base, after.as_bytes()].concat();
        if query.descending() {
            end = end.min(after);
        } else {
            if query.index() {
                after.extend_from_slice(&[0, 0xFF]); // after every item with this sort key
            }
            if after >= first {
                lower = Bound::Excluded(after.clone());
                first = after;
            }
        }
    }
    (first < end).then_some((lower, Bound::Excluded(end)))
}

/// Evaluates the writes without storing them. Collects all refusals, not only the first.
fn apply<'a>(main: &TransactionalTree, writes: &'a [Write]) -> InTransaction<Vec<Applied<'a>>> {
    let mut applied = Vec::with_capacity(writes.len());
    let mut unmet = Unmet::new();
    for write in writes {
        let key = main_key(write.key());
        let before = main.get(&key)?.map(|bytes| decode(&bytes)).transpose().map_err(corrupt)?;
        match write.apply(before.as_ref()) {
            Ok(after) => applied.push(Applied { write, main_key: key, before, after }),
            Err(_) => {
                unmet.insert(write.key().clone(), before);
            }
        }
    }
    if !unmet.is_empty() {
        return Err(ConflictableTransactionError::Abort(AbortReason::Refused(unmet)));
    }
    Ok(applied)
}

impl Applied<'_> {
    fn store(&self, main: &TransactionalTree, dir: &TransactionalTree) -> InTransaction<()> {
        if matches!(self.write.effect(), Effect::Check) {
            return Ok(());
        }
        match &self.after {
            Some(item) => main.insert(&self.main_key[..], encode(item).map_err(corrupt)?)?,
            None => main.remove(&self.main_key[..])?,
        };
        let (old, new) = (dir_key(self.before.as_ref(), &self.main_key), dir_key(self.after.as_ref(), &self.main_key));
        if old != new {
            if let Some(old) = old {
                dir.remove(old)?;
            }
            if let Some(new) = new {
                dir.insert(new, &self.main_key[..])?;
            }
        }
        Ok(())
    }
}

/// What is wrong with the identity record.
#[derive(Debug)]
pub(crate) enum IdentityFault {
    Missing,
    Version(String),
    Store(StoreError),
}

impl SledTable {
    /// The table in an open database. It holds the directory's lock until it is dropped.
    pub(crate) fn new(db: Db, lock: Option<File>) -> sled::Result<Self> {
        let trees = Arc::new(Trees::open(db, lock)?);
        Ok(Self(Arc::new(Shared { writer: Writer::start(&trees)?, trees })))
    }

    /// The number of flushes since the table was opened, for tests.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.0.writer.flushes()
    }

    /// Writes the identity record. No command writes it later.
    pub(crate) fn init_identity(&self, id: &str) -> Result<(), StoreError> {
        let mut item = keys::identity().attributes();
        item.insert("id".to_owned(), Value::S(id.to_owned()));
        item.insert("v".to_owned(), Value::N(VERSION.to_owned()));
        let bytes = encode(&item).map_err(StoreError::Corrupt)?;
        self.0.trees.main.insert(main_key(&keys::identity()), bytes).map_err(|error| unavailable(&error))?;
        self.0.trees.main.flush().map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// The store's id.
    pub(crate) fn identity(&self) -> Result<String, IdentityFault> {
        let item = self.0.trees.get(&main_key(&keys::identity())).map_err(IdentityFault::Store)?;
        let item = item.ok_or(IdentityFault::Missing)?;
        match (item.get("v"), item.get("id")) {
            (Some(Value::N(version)), _) if version != VERSION => Err(IdentityFault::Version(version.clone())),
            (Some(Value::N(_)), Some(Value::S(id))) => Ok(id.clone()),
            _ => Err(IdentityFault::Missing),
        }
    }

    async fn commit(&self, writes: Vec<Write>) -> Outcome {
        self.0.writer.commit(vec![writes]).await.remove(0)
    }

    /// Returns the result of a read when everything that it may have seen is on disk.
    async fn on_disk<T>(&self, found: Result<T, StoreError>) -> Result<T, StoreError> {
        self.0.writer.flushed().await?;
        found
    }
}

fn updated(outcome: Outcome) -> Result<Updated, StoreError> {
    Ok(match outcome? {
        Ok(after) => Updated::Written(after.into_iter().next().flatten()),
        Err(unmet) => Updated::Refused(unmet.into_values().next().flatten()), // of the only write
    })
}

#[async_trait]
impl Table for SledTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.on_disk(keys.iter().map(|key| self.0.trees.get(&main_key(key))).collect()).await
    }

    async fn update(&self, write: &Write, _: Retry) -> Result<Updated, StoreError> {
        updated(self.commit(vec![write.clone()]).await)
    }

    async fn update_each(&self, writes: &[(Write, Retry)]) -> Vec<Result<Updated, StoreError>> {
        let transactions = writes.iter().map(|(write, _)| vec![write.clone()]).collect();
        self.0.writer.commit(transactions).await.into_iter().map(updated).collect()
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        Ok(match self.commit(transaction.writes().to_vec()).await? {
            Ok(_) => Transacted::Committed,
            Err(unmet) => Transacted::Refused(unmet),
        })
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.on_disk(self.0.trees.list(query)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_item_decodes_to_the_same_item() {
        let item = Item::from([
            ("PK".to_owned(), Value::S("p".to_owned())),
            ("n".to_owned(), Value::N("-7".to_owned())),
            ("b".to_owned(), Value::B(vec![0, 255, 7])),
            ("yes".to_owned(), Value::Bool(true)),
            ("m".to_owned(), Value::M(Item::from([("b".to_owned(), Value::B(vec![1]))]))),
            ("l".to_owned(), Value::L(vec![Value::N("1".to_owned())])),
            ("e".to_owned(), Value::M(Item::new())),
        ]);
        assert_eq!(decode(&encode(&item).unwrap()).unwrap(), item);
        assert!(decode(b"{\"PK\":").is_err());
    }
}
