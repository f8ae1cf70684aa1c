//! DynamoDB instead of the embedded store, for development. The data directory holds the keys, and the table's name holds the
//! id of the store.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use aws_sdk_dynamodb::config::Credentials;
use vestibule::{
    env::SystemEntropy,
    key_file::{KeyFile, Keys},
    store::{
        Store, Table,
        dynamo::{self, DynamoTable},
    },
    tls_roots::TlsRoots,
};
use zeroize::Zeroizing;

use crate::Failure;

/// Opens the table that the key file in a directory names. Creates the file and the table if they do not exist. Without a
/// directory, the keys are new.
///
/// # Errors
/// A message that says what is wrong with the keys, or that the endpoint does not answer.
pub async fn open(directory: Option<&Path>, endpoint: &str) -> Result<(Arc<dyn Table>, Keys), Failure> {
    let file = match directory {
        Some(directory) => keys(directory)?,
        None => KeyFile::generate(&SystemEntropy)?,
    };
    let keys = file.keys()?;
    // An emulator accepts any credentials. The client never calls AWS, because it always has an endpoint.
    let credentials = Credentials::new("local", "local", None, None, "local");
    let client = dynamo::client("eu-central-1".into(), credentials, Some(endpoint.to_owned()), &TlsRoots::read(None)?);
    let table = DynamoTable::new(client, format!("vestibule-{}", file.store()), Arc::new(SystemEntropy));
    let unreached = |error| format!("DynamoDB at {endpoint} failed ({error}): is it running?");
    table.create().await.map_err(unreached)?;
    let table: Arc<dyn Table> = Arc::new(table);
    Store::new(Arc::clone(&table)).identify(file.store(), None).await.map_err(unreached)?;
    Ok((table, keys))
}

fn keys(directory: &Path) -> Result<KeyFile, Failure> {
    let path = directory.join("keys.json");
    let at = |error: &dyn std::fmt::Display| Failure::from(format!("cannot use {}: {error}", path.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| at(&error))?;
    match fs::read(&path).map(Zeroizing::new) {
        Ok(bytes) => KeyFile::parse(&bytes).map_err(|fault| at(&fault)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = KeyFile::generate(&SystemEntropy)?;
            let text = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
            let created = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
            created.and_then(|mut to| to.write_all(&text).and_then(|()| to.sync_all())).map_err(|error| at(&error))?;
            Ok(file)
        }
        Err(error) => Err(at(&error)),
    }
}
