//! A data directory is whole, or it is refused: never begun anew over what is there.
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

/// A directory with a store in it, closed. Returns the store's id.
fn made() -> (TempDir, PathBuf, String) {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("data");
    let id = open(&path).unwrap().store_id;
    (temporary, path, id)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_directory_is_private_and_complete() {
    let (_temporary, path, _) = made();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("keys.json")), 0o600);
    let mut names: Vec<_> =
        fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db", "keys.json", "lock"]);
}

#[tokio::test]
async fn reopening_keeps_keys_and_identity() {
    let (_temporary, path, id) = made();
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
fn a_second_opening_is_refused_while_the_first_lives() {
    let (_temporary, path, _) = made();
    let first = open(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, DataDirError::InUse(_)), "{error}");
    assert!(error.to_string().starts_with("another vestibule is using this directory"));
    drop(first);
    open(&path).unwrap();
}

#[test]
fn a_missing_part_is_refused_and_nothing_is_made() {
    for part in ["keys.json", "db", "db/db", "db/conf"] {
        let (_temporary, path, _) = made();
        let gone = path.join(part);
        if gone.is_dir() {
            fs::remove_dir_all(&gone).unwrap()
        } else {
            fs::remove_file(&gone).unwrap()
        }
        for _ in 0..2 {
            let error = refusal(&path);
            assert!(matches!(error, DataDirError::Missing(_)), "{part}: {error}");
            assert!(!gone.exists(), "{part} was made anew");
        }
    }
}

#[test]
fn a_store_without_identity_or_with_anothers_is_refused() {
    let (_temporary, path, _) = made();
    {
        let db = sled::open(path.join("db")).unwrap();
        db.open_tree("main").unwrap().clear().unwrap();
        db.flush().unwrap();
    }
    assert!(refusal(&path).to_string().contains("identity record is missing"));

    let ((_a, a, _), (_b, b, _)) = (made(), made());
    fs::copy(a.join("keys.json"), b.join("keys.json")).unwrap();
    assert!(matches!(refusal(&b), DataDirError::Mixed(_)));
}

#[test]
fn another_version_is_refused() {
    let (_temporary, path, _) = made();
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
fn keys_that_others_can_read_or_nobody_are_refused() {
    let (_temporary, path, _) = made();
    let keys = path.join("keys.json");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(&path).to_string().contains("chmod 600"));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&keys, "{}").unwrap();
    assert!(matches!(refusal(&path), DataDirError::Damaged { .. }));
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let temporary = TempDir::new().unwrap();
    fs::write(temporary.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(refusal(temporary.path()), DataDirError::Foreign(_)));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}

#[test]
fn an_interrupted_beginning_is_finished() {
    let (_temporary, path, id) = made();
    fs::write(path.join("initialising"), "").unwrap();
    fs::rename(path.join("db"), path.join("db.new")).unwrap();
    assert_eq!(open(&path).unwrap().store_id, id);
    assert!(!path.join("initialising").exists() && !path.join("db.new").exists());
}

/// Damage is refused, or the whole store with its identity is found in spite of it; and never a panic.
#[test]
fn a_damaged_database_is_refused_without_panic() {
    for file in ["db/conf", "db/db"] {
        for damage in 0..3 {
            let (_temporary, path, id) = made();
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
                // sled makes up for some of it; then the identity must be there, and data wholly gone cannot be.
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
