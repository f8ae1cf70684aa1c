//! The keys of a store as a JSON file. The local server keeps it in its data directory; a Lambda function reads it if
//! no KMS keys are configured.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    env::{Entropy, EntropyError},
    secret::{CodeKey, KeyRing, NameKey},
};

/// The format version that this program reads and writes.
pub const VERSION: u32 = 1;

/// The keys of one store, encoded. They are wiped when dropped; there is no Debug.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct KeyFile {
    v: u32,
    store: String,
    /// Keys numbered from 1. The newest key seals.
    sealing: Vec<SealingKey>,
    names: String,
    codes: String,
}

/// The number of a sealing key, and the key in base64.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct SealingKey {
    n: u64,
    key: String,
}

/// The keys of one store, decoded.
pub struct Keys {
    /// Seals the secrets of authenticator apps.
    pub ring: KeyRing,
    /// Digests login names and tickets.
    pub names: NameKey,
    /// Digests recovery tokens and reset codes.
    pub codes: CodeKey,
}

/// What is wrong with a key file. The message never quotes a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not valid JSON of this format, or a key in it is invalid.
    #[error("it is not a valid key file")]
    Malformed,
    /// The file has another format version.
    #[error("it is of version {0}, this program reads version {VERSION}")]
    Version(u32),
}

impl KeyFile {
    /// Generates the keys of a new store.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let key =
            || -> Result<String, EntropyError> { Ok(BASE64.encode(Zeroizing::new(entropy.bytes::<32>()?).as_slice())) };
        Ok(Self {
            v: VERSION,
            store: BASE64URL_NOPAD.encode(&entropy.bytes::<16>()?),
            sealing: vec![SealingKey { n: 1, key: key()? }],
            names: key()?,
            codes: key()?,
        })
    }

    /// Parses the file's content.
    ///
    /// # Errors
    /// [`KeyFileError::Malformed`] if it is not JSON of this format, [`KeyFileError::Version`] for another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        // The parser's message is dropped: it could quote a key.
        let file: Self = serde_json::from_slice(bytes).map_err(|_| KeyFileError::Malformed)?;
        if file.v == VERSION { Ok(file) } else { Err(KeyFileError::Version(file.v)) }
    }

    /// The id of the store that the keys belong to.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Decodes the keys.
    ///
    /// # Errors
    /// [`KeyFileError::Malformed`] if a key cannot be decoded or two sealing keys have the same number.
    pub fn keys(&self) -> Result<Keys, KeyFileError> {
        self.decode_keys().ok_or(KeyFileError::Malformed)
    }

    fn decode_keys(&self) -> Option<Keys> {
        let mut sealing = BTreeMap::new();
        for SealingKey { n, key } in &self.sealing {
            if sealing.insert(*n, decode(key)?).is_some() {
                return None; // two keys with one number: one of them would be lost
            }
        }
        let (names, codes) = (NameKey::new(decode(&self.names)?), CodeKey::new(decode(&self.codes)?));
        Some(Keys { ring: KeyRing::new(sealing)?, names, codes })
    }
}

fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEntropy;

    #[test]
    fn key_file_needs_its_version_and_one_key_for_each_number() {
        fn add(file: &mut KeyFile, n: u64) {
            let key = file.sealing[0].key.clone();
            file.sealing.push(SealingKey { n, key });
        }
        let written = |change: fn(&mut KeyFile)| {
            let mut file = KeyFile::generate(&SystemEntropy).unwrap();
            change(&mut file);
            KeyFile::parse(&serde_json::to_vec(&file).unwrap()).and_then(|file| file.keys())
        };
        assert!(written(|_| ()).is_ok() && written(|file| add(file, 2)).is_ok());
        assert_eq!(written(|file| file.v = 2).err(), Some(KeyFileError::Version(2)));
        assert_eq!(written(|file| add(file, 1)).err(), Some(KeyFileError::Malformed));
        assert_eq!(written(|file| file.sealing.clear()).err(), Some(KeyFileError::Malformed));
    }
}
