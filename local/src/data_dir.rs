//! The data directory: keys, store and lock of one local server.
//!
//! In an empty store no user has a second factor. So if the data directory is incomplete, Vestibule refuses to start: it
//! initialises only an empty directory. The file `initialising` exists until the initialisation is complete.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use vestibule::{
    env::{Entropy, EntropyError},
    key_file::{KeyFile, KeyFileError, Keys},
};
use zeroize::Zeroizing;

use crate::sled_table::{IdentityFault, LOG_FILE, SledTable};

const LOCK: &str = "lock";
const MARKER: &str = "initialising";
const KEYS: &str = "keys.json";
const DB: &str = "db";
// Names that exist only during the initialisation.
const KEYS_NEW: &str = "keys.json.new";
const DB_NEW: &str = "db.new";
/// The names that Vestibule creates in the directory.
const OUR_NAMES: [&str; 7] = [LOCK, MARKER, KEYS, DB, KEYS_NEW, DB_NEW, crate::mail::FILE];

/// An open data directory.
pub struct DataDir {
    /// The store, which holds the directory's lock until it is dropped.
    pub table: SledTable,
    /// The keys of the store.
    pub keys: Keys,
    /// The store's random id, which never changes.
    pub store_id: String,
}

/// The reason why the directory cannot be used. Nothing in it was changed. The message says what is wrong and how to repair it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it open.
    #[error("another vestibule is using this directory ({}): stop it, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// It holds files of other programs.
    #[error("{} holds other files and no vestibule store: choose an empty directory", .0.display())]
    Foreign(PathBuf),
    /// Other users than the owner may access it.
    #[error("{} is open to other users of this machine: run `chmod {required_mode} {}`", .path.display(), .path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// The mode it must have.
        required_mode: &'static str,
    },
    /// A part of the store is missing.
    #[error("{} is missing, and an empty store would let users sign in without a second factor: restore the whole \
             directory from a backup, or choose an empty directory", .0.display())]
    Missing(PathBuf),
    /// A part of the store is unreadable.
    #[error("{} is damaged ({fault}): restore the whole directory from a backup", .path.display())]
    Damaged {
        /// The damaged file or directory.
        path: PathBuf,
        /// The error that was found.
        fault: String,
    },
    /// The keys and the store are each complete, but belong to different stores.
    #[error("the keys and the store in {} belong to different stores: restore both from the same backup", .0.display())]
    Mixed(PathBuf),
    /// It was written by another version of this program.
    #[error("{} has version {found}, and this program reads version 1: use the program that wrote it", .path.display())]
    Version {
        /// The file or directory.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// An error of the operating system.
    #[error("cannot use {}: {error}; check that it is a directory that this user may write, and that the disk is not full",
            .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The system has no randomness for keys.
    #[error("{0}: start again")]
    Entropy(#[from] EntropyError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { path, error }
}

fn damaged(path: &Path, fault: impl Into<String>) -> DataDirError {
    DataDirError::Damaged { path: path.to_owned(), fault: fault.into() }
}

impl DataDir {
    /// Opens a data directory. A missing or empty directory is initialised first.
    ///
    /// # Errors
    /// [`DataDirError`] if the directory is incomplete, damaged, in use, open to other users, or holds other files. Nothing in it
    /// is changed.
    pub fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, DataDirError> {
        if !path.try_exists().map_err(at(path))? {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        }
        list(path)?; // before anything is written, because the directory may belong to another program
        let lock = lock(path)?;
        let names = list(path)?; // again: before the lock, another process may have been initialising it
        let has = |name: &str| names.contains(name);
        let exists = OUR_NAMES.iter().any(|name| *name != LOCK && has(name));
        if !exists {
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at(path))?;
            write_new(&path.join(MARKER), b"")?;
            sync(path)?;
        }
        check_private(path, "700")?;
        if !exists || has(MARKER) {
            initialise(path, entropy)?;
        }
        Self::open_whole(path, lock)
    }

    /// A temporary store with its own keys, which is deleted when it is dropped.
    ///
    /// # Errors
    /// [`DataDirError::Io`] if the disk is full, [`DataDirError::Entropy`] if the system has no randomness.
    pub fn ephemeral(entropy: &dyn Entropy) -> Result<Self, DataDirError> {
        let file = KeyFile::generate(entropy)?;
        let path = Path::new("the temporary store");
        let table = catch_panic(path, || SledTable::temporary().map_err(|error| broken(path, error)))?;
        table.init_identity(file.store()).map_err(|error| damaged(path, error.to_string()))?;
        Self::with(path, table, &file)
    }

    fn open_whole(path: &Path, lock: File) -> Result<Self, DataDirError> {
        let file = read_keys(&path.join(KEYS))?;
        let db = path.join(DB);
        // sled creates missing files, so check first that they exist.
        for part in [db.clone(), db.join("conf"), db.join("db"), db.join(LOG_FILE)] {
            if !part.try_exists().map_err(at(&part))? {
                return Err(DataDirError::Missing(part));
            }
        }
        let table = catch_panic(&db, || open_sled(&db, Some(lock)))?;
        Self::with(path, table, &file)
    }

    fn with(path: &Path, table: SledTable, file: &KeyFile) -> Result<Self, DataDirError> {
        let db = path.join(DB);
        let found = catch_panic(&db, || {
            table.identity().map_err(|fault| match fault {
                IdentityFault::Missing => damaged(&db, "its identity record is missing"),
                IdentityFault::Version(found) => DataDirError::Version { path: db.clone(), found },
                IdentityFault::Store(error) => damaged(&db, error.to_string()),
            })
        })?;
        if found != file.store() {
            return Err(DataDirError::Mixed(path.to_owned()));
        }
        let keys = file.keys().map_err(|_| damaged(&path.join(KEYS), "a key is unreadable"))?;
        Ok(Self { table, keys, store_id: found })
    }
}

/// The names in the directory. Refused if they are all of other programs.
fn list(path: &Path) -> Result<BTreeSet<String>, DataDirError> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        names.insert(entry.map_err(at(path))?.file_name().to_string_lossy().into_owned());
    }
    // A lock alone proves nothing: other programs create files with that name too.
    let foreign = names.iter().any(|name| !OUR_NAMES.contains(&name.as_str()));
    let ours = names.iter().any(|name| name != LOCK && OUR_NAMES.contains(&name.as_str()));
    if foreign && !ours { Err(DataDirError::Foreign(path.to_owned())) } else { Ok(names) }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join(LOCK);
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name).map_err(at(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(DataDirError::Io { path: name, error }),
    }
}

/// Initialises the directory, or completes an initialisation that a crash interrupted: first the keys; then the store, which gets
/// its final name when its identity is on disk; then the marker is removed.
fn initialise(path: &Path, entropy: &dyn Entropy) -> Result<(), DataDirError> {
    let (keys, db, db_new) = (path.join(KEYS), path.join(DB), path.join(DB_NEW));
    if !keys.try_exists().map_err(at(&keys))? {
        if db.try_exists().map_err(at(&db))? {
            return Err(DataDirError::Missing(keys)); // an interrupted initialisation has no store without keys
        }
        let bytes = serde_json::to_vec_pretty(&KeyFile::generate(entropy)?);
        let bytes = Zeroizing::new(bytes.map_err(|error| damaged(&keys, error.to_string()))?);
        let new = path.join(KEYS_NEW);
        remove(fs::remove_file(&new), &new)?;
        write_new(&new, &bytes)?;
        fs::rename(&new, &keys).map_err(at(&keys))?;
        sync(path)?;
    }
    if !db.try_exists().map_err(at(&db))? {
        let file = read_keys(&keys)?;
        remove(fs::remove_dir_all(&db_new), &db_new)?;
        DirBuilder::new().mode(0o700).create(&db_new).map_err(at(&db_new))?;
        catch_panic(&db_new, || {
            let table = open_sled(&db_new, None)?;
            table.init_identity(file.store()).map_err(|error| damaged(&db_new, error.to_string()))
        })?;
        sync(&db_new)?;
        fs::rename(&db_new, &db).map_err(at(&db))?;
        sync(path)?;
    }
    let marker = path.join(MARKER);
    remove(fs::remove_file(&marker), &marker)?;
    sync(path)
}

fn open_sled(path: &Path, lock: Option<File>) -> Result<SledTable, DataDirError> {
    SledTable::open(path, lock).map_err(|error| broken(path, error))
}

fn broken(path: &Path, error: io::Error) -> DataDirError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            damaged(path, error.to_string())
        }
        _ => DataDirError::Io { path: path.to_owned(), error },
    }
}

/// Runs `work`, and turns a panic into an error: sled panics on some damage.
fn catch_panic<T>(path: &Path, work: impl FnOnce() -> Result<T, DataDirError>) -> Result<T, DataDirError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged(path, "the store crashed while it was read")))
}

fn read_keys(path: &Path) -> Result<KeyFile, DataDirError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DataDirError::Missing(path.to_owned())),
        opened => opened.map_err(at(path))?,
    };
    check_private(path, "600")?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(at(path))?;
    KeyFile::parse(&bytes).map_err(|fault| match fault {
        KeyFileError::Malformed => damaged(path, fault.to_string()),
        KeyFileError::Version(found) => DataDirError::Version { path: path.to_owned(), found: found.to_string() },
    })
}

/// Refuses a file or directory that other users may access.
fn check_private(path: &Path, required_mode: &'static str) -> Result<(), DataDirError> {
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(DataDirError::Open { path: path.to_owned(), required_mode }) }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

/// Makes the names in a directory durable.
fn sync(path: &Path) -> Result<(), DataDirError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

fn remove(result: io::Result<()>, path: &Path) -> Result<(), DataDirError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
