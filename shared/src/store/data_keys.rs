//! The data keys that seal the secrets of authenticator apps, as the key service wrapped them. They are in one item,
//! which only sealing reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError, item, keys,
    table::{Retry, Updated},
    write::{Action, Item, Value, Write, absent, attr, exists},
};
use crate::env::Timestamp;

/// A data key that only the key service can unwrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The ciphertext.
    #[serde(rename = "w", with = "serde_bytes")]
    wrapped: Vec<u8>,
    /// Created at, in milliseconds since 1970.
    #[serde(rename = "at")]
    made: i64,
}

impl WrappedKey {
    /// A data key that was created at `made`.
    #[must_use]
    pub fn new(wrapped: Vec<u8>, made: Timestamp) -> Self {
        Self { wrapped, made: made.millis() }
    }

    /// The ciphertext of the key service.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// When the key was created.
    #[must_use]
    pub fn made(&self) -> Timestamp {
        Timestamp::from_millis(self.made)
    }
}

/// All data keys of a store by number. The highest number seals.
pub type WrappedKeys = BTreeMap<u64, WrappedKey>;

#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(rename = "k")]
    keys: BTreeMap<String, WrappedKey>,
}

impl Store {
    /// Reads the data keys. There are none before the first secret is sealed.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn data_keys(&self) -> Result<WrappedKeys, StoreError> {
        let [found] = self.read_all([keys::data_keys()]).await?;
        found.map_or(Ok(WrappedKeys::new()), read)
    }

    /// Adds a data key as the successor of the key before it, unless the number is taken. Returns the keys that are
    /// stored then, so concurrent callers all get the same.
    ///
    /// # Errors
    /// [`StoreError`]; the key must then not be used, because it may not be stored.
    pub async fn add_data_key(&self, number: u64, key: &WrappedKey) -> Result<WrappedKeys, StoreError> {
        let write = if number == 1 {
            let row = Row { keys: BTreeMap::from([(number.to_string(), key.clone())]) };
            Write::update(keys::data_keys(), vec![absent(attr("PK"))], set_all(item::write(&row)?))
        } else {
            let at = |number: u64| attr("k").key(number.to_string());
            let action = Action::Set(at(number), Value::M(item::write(key)?));
            Write::update(keys::data_keys(), vec![exists(at(number - 1)), absent(at(number))], vec![action])
        };
        // If it is sent twice, the second attempt finds the key of the first.
        match self.table.update(&write, Retry::Idempotent).await? {
            Updated::Written(Some(found)) | Updated::Refused(Some(found)) => read(found),
            Updated::Written(None) | Updated::Refused(None) => {
                Err(StoreError::Corrupt("the data keys are missing".into()))
            }
        }
    }
}

fn set_all(row: Item) -> Vec<Action> {
    row.into_iter().map(|(name, value)| Action::Set(attr(name), value)).collect()
}

fn read(found: Item) -> Result<WrappedKeys, StoreError> {
    let corrupt = |_| StoreError::Corrupt("the number of a data key".into());
    let row: Row = item::read(found)?;
    row.keys.into_iter().map(|(number, key)| Ok((number.parse().map_err(corrupt)?, key))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::memory::MemoryTable;

    fn key(byte: u8) -> WrappedKey {
        WrappedKey::new(vec![byte; 3], Timestamp::from_secs(i64::from(byte)))
    }

    #[tokio::test]
    async fn data_key_number_is_used_once_and_in_order() {
        let store = Store::new(Arc::new(MemoryTable::default()));
        assert!(store.data_keys().await.unwrap().is_empty());
        assert!(matches!(store.add_data_key(2, &key(2)).await, Err(StoreError::Corrupt(_))), "there is no key 1");
        let first = WrappedKeys::from([(1, key(1))]);
        assert_eq!(store.add_data_key(1, &key(1)).await.unwrap(), first);
        assert_eq!(
            store.add_data_key(1, &key(9)).await.unwrap(),
            first,
            "the second caller gets the first caller's key"
        );
        assert_eq!(store.add_data_key(3, &key(3)).await.unwrap(), first, "there is no key 2");
        let both = WrappedKeys::from([(1, key(1)), (2, key(2))]);
        assert_eq!(store.add_data_key(2, &key(2)).await.unwrap(), both);
        assert_eq!(store.add_data_key(2, &key(8)).await.unwrap(), both);
        assert_eq!(store.data_keys().await.unwrap(), both);
    }
}
