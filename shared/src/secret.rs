//! Secrets: plaintext that cannot be printed or copied, its digests, and its sealed form for the store.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

mod code;
mod name;
mod seal;
mod token;

pub use code::{CodeDigest, CodeKey};
pub use name::{LoginKey, NameIdLink, NameKey};
pub use seal::{FactorRef, KeyRing, Nonce, SealError, SealedSecret, Sealer, TotpSecret};
pub use token::{NewToken, RestoreEpoch, TokenClass, TokenRef, TokenVerifier};

/// A secret that the caller sent: a password, a code or a reset code. The text is wiped when it is dropped. It cannot
/// be printed, copied or serialised.
///
/// ```compile_fail,E0277
/// let password = vestibule::secret::SecretText::new("hunter2".to_owned());
/// println!("{password:?}"); // error: a secret has no Debug
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text. Call this only where the secret is checked.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// HMAC-SHA-256 of a list of parts.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = match <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC accepts keys of any length"),
    };
    for part in parts {
        // The length of each part is hashed too, so two different lists of parts never give the same bytes.
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
