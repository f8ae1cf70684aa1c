//! An incomplete or damaged data directory is refused; it is never initialised again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use local::data_dir::{DataDir, DataDirError};
use tempfile::TempDir;
use vestibule::{
    env::SystemEntropy,
    store::{Table, keys},
};

fn open(path: &Path) -> Result<DataDir, DataDirError> {
    DataDir::open(path, &SystemEntropy)
}

fn refusal(path: &Path) -> DataDirError {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// A directory with a closed store, and the store's id.
fn created() -> (TempDir, PathBuf, String) {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("data");
    let id = open(&path).unwrap().store_id;
    (temporary, path, id)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn new_directory_is_private_and_complete() {
    let (_temporary, path, _) = created();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("keys.json")), 0o600);
    let mut names: Vec<_> =
        fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db", "keys.json", "lock"]);
}

#[tokio::test]
async fn reopening_keeps_keys_and_identity() {
    let (_temporary, path, id) = created();
    let before = fs::read(path.join("keys.json")).unwrap();
    let opened = open(&path).unwrap();
    assert_eq!(opened.store_id, id);
    assert_eq!(fs::read(path.join("keys.json")).unwrap(), before);
    let read = opened.table.read(&[keys::identity()]).await.unwrap();
    assert!(read[0].as_ref().unwrap().contains_key("id"));
    let other = DataDir::ephemeral(&SystemEntropy).unwrap();
    assert_ne!(other.store_id, id);
}

#[test]
fn open_directory_cannot_be_opened_again() {
    let (_temporary, path, _) = created();
    let first = open(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, DataDirError::InUse(_)), "{error}");
    assert!(error.to_string().starts_with("another vestibule is using this directory"));
    drop(first);
    open(&path).unwrap();
}

#[test]
fn missing_part_is_refused_and_not_recreated() {
    for part in ["keys.json", "db", "db/db", "db/conf", "db/write-ahead.log"] {
        let (_temporary, path, _) = created();
        let missing = path.join(part);
        if missing.is_dir() {
            fs::remove_dir_all(&missing).unwrap()
        } else {
            fs::remove_file(&missing).unwrap()
        }
        for _ in 0..2 {
            let error = refusal(&path);
            assert!(matches!(error, DataDirError::Missing(_)), "{part}: {error}");
            assert!(!missing.exists(), "{part} was recreated");
        }
    }
}

#[test]
fn store_with_missing_or_different_identity_is_refused() {
    let (_temporary, path, _) = created();
    {
        let db = sled::open(path.join("db")).unwrap();
        db.open_tree("main").unwrap().clear().unwrap();
        db.flush().unwrap();
    }
    assert!(refusal(&path).to_string().contains("identity record is missing"));

    let ((_a, a, _), (_b, b, _)) = (created(), created());
    fs::copy(a.join("keys.json"), b.join("keys.json")).unwrap();
    assert!(matches!(refusal(&b), DataDirError::Mixed(_)));
}

#[test]
fn other_version_is_refused() {
    let (_temporary, path, _) = created();
    {
        let db = sled::open(path.join("db")).unwrap();
        let main = db.open_tree("main").unwrap();
        let key = "SYS\0STORE";
        let text = String::from_utf8(main.get(key).unwrap().unwrap().to_vec()).unwrap();
        main.insert(key, text.replace(r#"{"N":"1"}"#, r#"{"N":"2"}"#).as_bytes()).unwrap();
        db.flush().unwrap();
    }
    assert!(matches!(refusal(&path), DataDirError::Version { .. }));
}

#[test]
fn public_or_unreadable_keys_are_refused() {
    let (_temporary, path, _) = created();
    let keys = path.join("keys.json");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(&path).to_string().contains("chmod 600"));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&keys, "{}").unwrap();
    assert!(matches!(refusal(&path), DataDirError::Damaged { .. }));
}

#[test]
fn foreign_directory_is_refused_and_unchanged() {
    let temporary = TempDir::new().unwrap();
    fs::write(temporary.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(refusal(temporary.path()), DataDirError::Foreign(_)));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}

#[test]
fn interrupted_initialisation_is_completed() {
    let (_temporary, path, id) = created();
    fs::write(path.join("initialising"), "").unwrap();
    fs::rename(path.join("db"), path.join("db.new")).unwrap();
    assert_eq!(open(&path).unwrap().store_id, id);
    assert!(!path.join("initialising").exists() && !path.join("db.new").exists());
}

/// Opening either fails without a panic, or finds the store with its identity.
#[test]
fn damaged_database_is_refused_or_recovered_without_panic() {
    for file in ["db/conf", "db/db"] {
        for damage in 0..3 {
            let (_temporary, path, id) = created();
            std::thread::sleep(Duration::from_millis(20));
            let at = path.join(file);
            let mut bytes = fs::read(&at).unwrap();
            match damage {
                0 => bytes.clear(),
                1 => bytes.truncate(bytes.len() / 2),
                _ => bytes.iter_mut().for_each(|byte| *byte ^= 0x5A),
            }
            fs::write(&at, &bytes).unwrap();
            match open(&path) {
                // sled recovers from some damage. Then the identity must exist, and the data must not have been lost entirely.
                Ok(opened) => {
                    assert_eq!(opened.store_id, id);
                    assert!(file == "db/conf" || damage == 1, "{file} with damage {damage} was opened");
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("backup") || text.contains("cannot use"), "{text}");
                }
            }
        }
    }
}
