//! The data directory: keys, store and lock of one local Vestibule.
//!
//! An empty store would mean that nobody has a second factor. So a directory that is not whole is refused, never begun
//! anew: only an empty one is initialised, and `initialising` stands in it until that is done.

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

use crate::sled_table::{IdentityFault, SledTable};

const LOCK: &str = "lock";
const MARKER: &str = "initialising";
const KEYS: &str = "keys.json";
const DB: &str = "db";
/// Files that are only there while a directory is initialised.
const KEYS_NEW: &str = "keys.json.new";
const DB_NEW: &str = "db.new";
const OURS: [&str; 7] = [LOCK, MARKER, KEYS, DB, KEYS_NEW, DB_NEW, crate::mail::FILE];

/// What a data directory holds, open.
pub struct DataDir {
    /// The store; it holds the directory's lock until it is dropped.
    pub table: SledTable,
    /// Its keys.
    pub keys: Keys,
    /// The store's random id, the same for as long as the store lives.
    pub store_id: String,
}

/// The directory cannot be used; nothing in it was changed. The message says what is wrong and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it open.
    #[error("another vestibule is using this directory ({}): stop it, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// It holds somebody else's files.
    #[error("{} holds other files and no vestibule store: choose an empty directory", .0.display())]
    Foreign(PathBuf),
    /// Others than the owner may use it.
    #[error("{} is open to other users of this machine: run `chmod {mend} {}`", .path.display(), .path.display())]
    Open {
        /// What is open.
        path: PathBuf,
        /// The mode it must have.
        mend: &'static str,
    },
    /// A part of the store is gone.
    #[error("{} is missing, and an empty store would admit people without a second factor: restore the whole directory \
             from a backup, or choose an empty directory to begin anew", .0.display())]
    Missing(PathBuf),
    /// A part of the store does not read.
    #[error("{} is damaged ({fault}): restore the whole directory from a backup", .path.display())]
    Damaged {
        /// What is damaged.
        path: PathBuf,
        /// How it showed.
        fault: String,
    },
    /// Keys and store are each whole, but not of one directory.
    #[error("the keys and the store in {} belong to different stores: restore both from the same backup", .0.display())]
    Mixed(PathBuf),
    /// It was written by another version of this program.
    #[error("{} is of version {found}, this program reads version 1: use the program that wrote it", .path.display())]
    Version {
        /// What is of another version.
        path: PathBuf,
        /// Which.
        found: String,
    },
    /// The system does not let us.
    #[error("cannot use {}: {error}; check that it is a directory that this user may write, with room on the disk",
            .path.display())]
    Io {
        /// At which path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no randomness for keys.
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
    /// Opens a data directory; one that is absent or empty is initialised first.
    ///
    /// # Errors
    /// [`DataDirError`] when the directory is not whole, not ours, in use or open to others. It is left as it is.
    pub fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, DataDirError> {
        if !path.try_exists().map_err(at(path))? {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        }
        list(path)?; // before anything is written into somebody else's directory
        let lock = lock(path)?;
        let names = list(path)?; // again: what was there before the lock may be another's beginning
        let has = |name: &str| names.contains(name);
        let begun = OURS.iter().any(|name| *name != LOCK && has(name));
        if !begun {
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at(path))?;
            write_new(&path.join(MARKER), b"")?;
            sync(path)?;
        }
        private(path, "700")?;
        if !begun || has(MARKER) {
            initialise(path, entropy)?;
        }
        Self::open_whole(path, lock)
    }

    /// A store that is gone when it is dropped, with keys of its own: for trying out and for tests.
    ///
    /// # Errors
    /// [`DataDirError`] when there is no room for it, or no randomness.
    pub fn ephemeral(entropy: &dyn Entropy) -> Result<Self, DataDirError> {
        let file = KeyFile::generate(entropy)?;
        let path = Path::new("the temporary store");
        let table = guarded(path, || {
            let db = sled::Config::new().temporary(true).open().map_err(|error| broken(path, error))?;
            SledTable::new(db, None).map_err(|error| broken(path, error))
        })?;
        table.init_identity(file.store()).map_err(|error| damaged(path, error.to_string()))?;
        Self::with(path, table, &file)
    }

    fn open_whole(path: &Path, lock: File) -> Result<Self, DataDirError> {
        let file = read_keys(&path.join(KEYS))?;
        let db = path.join(DB);
        // sled makes what it does not find: it may only be asked for what is there.
        for part in [db.clone(), db.join("conf"), db.join("db")] {
            if !part.try_exists().map_err(at(&part))? {
                return Err(DataDirError::Missing(part));
            }
        }
        let table = guarded(&db, || open_sled(&db, Some(lock)))?;
        Self::with(path, table, &file)
    }

    fn with(path: &Path, table: SledTable, file: &KeyFile) -> Result<Self, DataDirError> {
        let db = path.join(DB);
        let found = guarded(&db, || {
            table.identity().map_err(|fault| match fault {
                IdentityFault::Missing => damaged(&db, "its identity record is missing"),
                IdentityFault::Version(found) => DataDirError::Version { path: db.clone(), found },
                IdentityFault::Store(error) => damaged(&db, error.to_string()),
            })
        })?;
        if found != file.store() {
            return Err(DataDirError::Mixed(path.to_owned()));
        }
        let keys = file.keys().map_err(|_| damaged(&path.join(KEYS), "a key does not read"))?;
        Ok(Self { table, keys, store_id: found })
    }
}

/// What is in the directory; refused if that is only others' files.
fn list(path: &Path) -> Result<BTreeSet<String>, DataDirError> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        names.insert(entry.map_err(at(path))?.file_name().to_string_lossy().into_owned());
    }
    // A lock alone proves nothing: others make files of that name too.
    let foreign = names.iter().any(|name| !OURS.contains(&name.as_str()));
    let ours = names.iter().any(|name| name != LOCK && OURS.contains(&name.as_str()));
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

/// Brings a directory that was begun to its end, from wherever a crash left it: keys, then a store that gets its name only
/// once its identity is on the disk, then the marker goes.
fn initialise(path: &Path, entropy: &dyn Entropy) -> Result<(), DataDirError> {
    let (keys, db, db_new) = (path.join(KEYS), path.join(DB), path.join(DB_NEW));
    if !keys.try_exists().map_err(at(&keys))? {
        if db.try_exists().map_err(at(&db))? {
            return Err(DataDirError::Missing(keys)); // no crash of ours leaves a store without keys
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
        guarded(&db_new, || {
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
    let db = sled::Config::new().path(path).open().map_err(|error| broken(path, error))?;
    SledTable::new(db, lock).map_err(|error| broken(path, error))
}

fn broken(path: &Path, error: sled::Error) -> DataDirError {
    match error {
        sled::Error::Io(error) if error.kind() != io::ErrorKind::Other => {
            DataDirError::Io { path: path.to_owned(), error }
        }
        error => damaged(path, error.to_string()),
    }
}

/// sled panics over some damage; that too is an answer.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, DataDirError>) -> Result<T, DataDirError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged(path, "the store broke off while it was read")))
}

fn read_keys(path: &Path) -> Result<KeyFile, DataDirError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DataDirError::Missing(path.to_owned())),
        opened => opened.map_err(at(path))?,
    };
    private(path, "600")?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(at(path))?;
    KeyFile::parse(&bytes).map_err(|fault| match fault {
        KeyFileError::Malformed => damaged(path, fault.to_string()),
        KeyFileError::Version(found) => DataDirError::Version { path: path.to_owned(), found: found.to_string() },
    })
}

fn private(path: &Path, mend: &'static str) -> Result<(), DataDirError> {
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(DataDirError::Open { path: path.to_owned(), mend }) }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

/// Names in a directory are durable once the directory is.
fn sync(path: &Path) -> Result<(), DataDirError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

fn remove(result: io::Result<()>, path: &Path) -> Result<(), DataDirError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
