//! The embedded store: the table in a sled database.
//!
//! sled returns before its data is on disk. So one thread writes ([`writer`]): to a log on disk ([`write_ahead_log`]), then to sled,
//! and only then it answers. Otherwise a used code or recovery token would work again after a crash. Reads run on the thread of the
//! caller, because sled answers them from memory. They see only what is on disk.

use std::{
    collections::HashMap,
    fmt,
    fs::{File, TryLockError},
    io,
    ops::Bound,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sled::{Config, Db, IVec, Tree};
use vestibule::store::{
    StoreError, Table, keys,
    table::{Query, Retry, Transacted, Transaction, Unmet, Updated},
    write::{Effect, Item, Key, Refused, Value, Write},
};

mod json;
mod write_ahead_log;
mod writer;

use json::{decode, encode};
pub(crate) use write_ahead_log::FILE as LOG_FILE;
use write_ahead_log::WriteAheadLog;
use writer::Writer;

/// sled's own file in its directory.
const SLED_FILE: &str = "db";

/// How long a dropped database may take to close.
const CLOSING: Duration = Duration::from_secs(10);

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

/// The result of a transaction.
enum Outcome {
    /// All writes are applied. The items after it, in the order of the writes.
    Committed(Vec<Option<Item>>),
    /// No write is applied.
    Refused(Unmet),
}

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn unavailable(error: &sled::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn main_key(key: &Key) -> String {
    format!("{}\0{}", key.pk(), key.sk())
}

/// The key of an item in the index, if the item is in the index.
fn dir_key(item: Option<&Item>, main_key: &str) -> Option<String> {
    match item.map(|item| (item.get("GP"), item.get("GS"))) {
        Some((Some(Value::S(partition)), Some(Value::S(sort)))) => Some(format!("{partition}\0{sort}\0{main_key}")),
        _ => None,
    }
}

/// The new values of keys in the two trees. `None`: the key is removed. An item is encoded once: the log and sled get the same text.
#[derive(Default, Serialize, Deserialize)]
struct Changes {
    main: HashMap<String, Option<Box<RawValue>>>,
    dir: HashMap<String, Option<String>>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.dir.is_empty()
    }

    fn extend(&mut self, later: Self) {
        self.main.extend(later.main);
        self.dir.extend(later.dir);
    }

    /// Adds an item that a write has changed. `old` is its key in the index before that.
    ///
    /// # Errors
    /// The item cannot be encoded.
    fn add(&mut self, main_key: String, old: Option<String>, after: Option<&Item>) -> Result<(), StoreError> {
        let new = dir_key(after, &main_key);
        if old != new {
            self.dir.extend(old.map(|old| (old, None)));
            self.dir.extend(new.map(|new| (new, Some(main_key.clone()))));
        }
        self.main.insert(main_key, after.map(encode).transpose()?);
        Ok(())
    }
}

impl Trees {
    fn open(path: &Path, lock: Option<File>) -> sled::Result<Self> {
        wait_until_closed(path)?;
        Self::with(Config::new().path(path), lock)
    }

    fn temporary() -> sled::Result<Self> {
        Self::with(Config::new().temporary(true), None)
    }

    fn with(config: Config, lock: Option<File>) -> sled::Result<Self> {
        let db = config.flush_every_ms(None).open()?; // the writer says when
        Ok(Self { main: db.open_tree("main")?, dir: db.open_tree("dir")?, _db: db, _lock: lock })
    }

    /// Evaluates a transaction: adds all its writes to `changes`, or none. The transaction sees the items with these changes, and
    /// all its conditions and effects see the items before it.
    fn evaluate(&self, writes: &[Write], changes: &mut Changes) -> Result<Outcome, StoreError> {
        let (mut own, mut items) = (Changes::default(), Vec::with_capacity(writes.len()));
        let mut unmet = Unmet::new();
        for write in writes {
            let key = main_key(write.key());
            let before = match changes.main.get(&key) {
                Some(item) => item.as_ref().map(|item| decode(item.get().as_bytes())).transpose()?,
                None => self.get(&key)?,
            };
            let old = dir_key(before.as_ref(), &key);
            match write.apply(before) {
                Ok(after) => {
                    if !matches!(write.effect(), Effect::Check) {
                        own.add(key, old, after.as_ref())?;
                    }
                    items.push(after);
                }
                Err(Refused(before)) => {
                    unmet.insert(write.key().clone(), before); // all of them, not only the first
                }
            }
        }
        if !unmet.is_empty() {
            return Ok(Outcome::Refused(unmet));
        }
        changes.extend(own);
        Ok(Outcome::Committed(items))
    }

    /// Changes the trees, without a flush. The log makes this atomic: sled's own batches and transactions write to disk twice each,
    /// which wakes all threads of its pool.
    ///
    /// # Errors
    /// An error of sled. It accepts no more writes until it is opened again.
    fn apply(&self, changes: Changes) -> sled::Result<()> {
        for (key, item) in changes.main {
            set(&self.main, &key, item.as_deref().map(RawValue::get))?;
        }
        for (key, main_key) in changes.dir {
            set(&self.dir, &key, main_key.as_deref())?;
        }
        Ok(())
    }

    fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, StoreError> {
        let found = self.main.get(key).map_err(|error| unavailable(&error))?;
        found.map(|bytes| decode(&bytes)).transpose()
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
                found.push(decode(&value)?);
                continue;
            }
            // The item may have changed since the scan saw its entry, and no longer belong to this entry.
            if let Some(item) = self.get(&value)?
                && dir_key(Some(&item), &String::from_utf8_lossy(&value))
                    .is_some_and(|current| key == current.as_bytes())
            {
                found.push(item);
            }
        }
        Ok(found)
    }
}

fn set(tree: &Tree, key: &str, value: Option<&str>) -> sled::Result<()> {
    match value {
        Some(value) => tree.insert(key, value)?,
        None => tree.remove(key)?,
    };
    Ok(())
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

/// What is wrong with the identity record.
#[derive(Debug)]
pub(crate) enum IdentityFault {
    Missing,
    Version(String),
    Store(StoreError),
}

impl SledTable {
    /// Opens the table in a directory, or creates it. The table holds the directory's lock until it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] and [`io::ErrorKind::Other`]: a file is damaged. Otherwise an error of the system.
    pub(crate) fn open(path: &Path, lock: Option<File>) -> io::Result<Self> {
        let trees = Trees::open(path, lock)?;
        let log = WriteAheadLog::open(path, &trees)?;
        Self::start(trees, Some(log))
    }

    /// A temporary table, which is deleted when it is dropped, and so needs no log.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn temporary() -> io::Result<Self> {
        Self::start(Trees::temporary()?, None)
    }

    fn start(trees: Trees, log: Option<WriteAheadLog>) -> io::Result<Self> {
        let trees = Arc::new(trees);
        Ok(Self(Arc::new(Shared { writer: Writer::start(&trees, log)?, trees })))
    }

    /// The number of groups that were written since the table was opened, for tests. With a log, each takes one sync.
    #[must_use]
    pub fn written_groups(&self) -> u64 {
        self.0.writer.groups()
    }

    /// Writes the identity record of a new store, which is not served yet.
    pub(crate) fn init_identity(&self, id: &str) -> Result<(), StoreError> {
        let mut item = keys::identity().attributes();
        item.insert("id".to_owned(), Value::S(id.to_owned()));
        item.insert("v".to_owned(), Value::N(VERSION.to_owned()));
        let item = encode(&item)?;
        set(&self.0.trees.main, &main_key(&keys::identity()), Some(item.get())).map_err(|error| unavailable(&error))?;
        self.0.trees.main.flush().map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// The store's id.
    pub(crate) fn identity(&self) -> Result<String, IdentityFault> {
        let item = self.0.trees.get(main_key(&keys::identity())).map_err(IdentityFault::Store)?;
        let item = item.ok_or(IdentityFault::Missing)?;
        match (item.get("v"), item.get("id")) {
            (Some(Value::N(version)), _) if version != VERSION => Err(IdentityFault::Version(version.clone())),
            (Some(Value::N(_)), Some(Value::S(id))) => Ok(id.clone()),
            _ => Err(IdentityFault::Missing),
        }
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Outcome, StoreError> {
        self.0.writer.commit(vec![writes]).await.remove(0)
    }

    /// # Errors
    /// [`StoreError::Unavailable`]: a write failed.
    fn unless_stopped<T>(&self, found: Result<T, StoreError>) -> Result<T, StoreError> {
        self.0.writer.check_running()?;
        found
    }
}

/// Waits until a database that this process has dropped is closed. Its file stays locked until the last job of sled's pool has ended,
/// and sled refuses to open a locked file. No other process has the file, because none has the directory's lock.
///
/// # Errors
/// An error of the system.
fn wait_until_closed(path: &Path) -> io::Result<()> {
    let Ok(file) = File::open(path.join(SLED_FILE)) else { return Ok(()) }; // a new database, or sled reports the error
    for _ in 0..CLOSING.as_millis() {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            tried => return Ok(tried?),
        }
    }
    Ok(()) // sled says that the file is locked
}

/// The result of a transaction with one write.
fn updated(outcome: Outcome) -> Updated {
    match outcome {
        Outcome::Committed(after) => Updated::Written(after.into_iter().next().flatten()),
        Outcome::Refused(unmet) => Updated::Refused(unmet.into_values().next().flatten()),
    }
}

#[async_trait]
impl Table for SledTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.unless_stopped(keys.iter().map(|key| self.0.trees.get(main_key(key))).collect())
    }

    async fn update(&self, write: &Write, _: Retry) -> Result<Updated, StoreError> {
        self.commit(vec![write.clone()]).await.map(updated)
    }

    async fn update_each(&self, writes: &[(Write, Retry)]) -> Vec<Result<Updated, StoreError>> {
        let transactions = writes.iter().map(|(write, _)| vec![write.clone()]).collect();
        self.0.writer.commit(transactions).await.into_iter().map(|outcome| outcome.map(updated)).collect()
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        Ok(match self.commit(transaction.writes().to_vec()).await? {
            Outcome::Committed(_) => Transacted::Committed,
            Outcome::Refused(unmet) => Transacted::Refused(unmet),
        })
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.unless_stopped(self.0.trees.list(query))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn database_is_opened_again_as_soon_as_it_is_closed() {
        let directory = TempDir::new().unwrap();
        drop(SledTable::open(directory.path(), None).unwrap());
        let file = File::open(directory.path().join(SLED_FILE)).unwrap();
        file.lock().unwrap(); // as a job of sled's pool that has not ended
        thread::scope(|scope| {
            let opened = scope.spawn(|| SledTable::open(directory.path(), None));
            thread::sleep(Duration::from_millis(200));
            file.unlock().unwrap();
            assert!(opened.join().unwrap().is_ok());
        });
    }
}
