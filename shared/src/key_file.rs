//! The key ring as a file: what the local runner keeps in its data directory, and what a function reads where no key service
//! is configured.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    env::{Entropy, EntropyError},
    secret::{CodeKey, KeyRing, NameKey},
};

/// The version this program reads and writes.
pub const VERSION: u32 = 1;

/// The keys of one store. Wipes itself; no Debug.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct KeyFile {
    v: u32,
    store: String,
    /// Keys numbered from 1; the newest seals.
    sealing: Vec<SealingKey>,
    names: String,
    codes: String,
}

/// Number and base64 of each sealing key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct SealingKey {
    n: u64,
    key: String,
}

/// The keys of one store, read.
pub struct Keys {
    /// Seals authenticators' secrets.
    pub ring: KeyRing,
    /// Digests login names and tickets.
    pub names: NameKey,
    /// Digests recovery tokens and reset codes.
    pub codes: CodeKey,
}

/// What is wrong with a key file. It quotes no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It is not of the form.
    #[error("it does not read")]
    Malformed,
    /// Another version of the program wrote it.
    #[error("it is of version {0}, this program reads version {VERSION}")]
    Version(u32),
}

impl KeyFile {
    /// Fresh keys of a new store.
    ///
    /// # Errors
    /// [`EntropyError`].
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

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        // The parser's message is not passed on: it may quote a key.
        let file: Self = serde_json::from_slice(bytes).map_err(|_| KeyFileError::Malformed)?;
        if file.v == VERSION { Ok(file) } else { Err(KeyFileError::Version(file.v)) }
    }

    /// The store that the keys are of.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The keys.
    ///
    /// # Errors
    /// [`KeyFileError::Malformed`] when one of them does not read, or two have one number.
    pub fn keys(&self) -> Result<Keys, KeyFileError> {
        self.read().ok_or(KeyFileError::Malformed)
    }

    fn read(&self) -> Option<Keys> {
        let mut sealing = BTreeMap::new();
        for SealingKey { n, key } in &self.sealing {
            if sealing.insert(*n, decode(key)?).is_some() {
                return None; // two keys of one number: one of them would be lost
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
