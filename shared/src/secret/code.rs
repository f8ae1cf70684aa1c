//! Digests of recovery tokens, reset codes and client secrets.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{mac, token::RestoreEpoch};
use crate::id::{ClientId, UserKey};

/// A 32-byte digest, keyed with a key that the store does not have. Comparison takes constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct CodeDigest(#[serde(with = "serde_bytes")] [u8; 32]);

impl PartialEq for CodeDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for CodeDigest {}

impl CodeDigest {
    /// The bytes that a condition of the store compares.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digest of a client secret. The secret is generated and has at least 128 bits, so plain SHA-256 is enough and
    /// no key is needed.
    #[must_use]
    pub fn of_client_secret(client: &ClientId, secret: &str) -> Self {
        Self(
            Sha256::new()
                .chain_update(b"vestibule/1 client")
                .chain_update([0])
                .chain_update(client.as_str())
                .chain_update([0])
                .chain_update(secret)
                .finalize()
                .into(),
        )
    }
}

/// The key for digests of recovery tokens and reset codes.
pub struct CodeKey {
    key: Zeroizing<[u8; 32]>,
    restore_epoch: RestoreEpoch,
}

impl CodeKey {
    /// Wraps a 256-bit key, for a store that was never restored from a backup.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key, restore_epoch: RestoreEpoch::default() }
    }

    /// The same key, for digests in the given restore epoch.
    #[must_use]
    pub fn at(&self, restore_epoch: RestoreEpoch) -> Self {
        Self { key: self.key.clone(), restore_epoch }
    }

    /// The digest of a user's code (a recovery token or a reset code). `purpose` separates the two kinds.
    #[must_use]
    pub fn code(&self, purpose: &'static str, user: &UserKey, canonical: &str) -> CodeDigest {
        let (tenant, user) = (user.tenant().as_str().as_bytes(), user.user().as_str().as_bytes());
        let number = self.restore_epoch.number.to_be_bytes();
        let parts = [purpose.as_bytes(), tenant, user, canonical.as_bytes(), &number];
        CodeDigest(mac(&self.key, if self.restore_epoch.number > 0 { &parts } else { &parts[..4] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{TenantId, UserId};

    #[test]
    fn digest_contains_the_restore_epoch_once_there_was_a_restore() {
        let (key, ann) = ([1; 32], TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap()));
        let digest = |number| {
            let restore_epoch = RestoreEpoch { number, ..RestoreEpoch::default() };
            CodeKey::new(key.into()).at(restore_epoch).code("purpose", &ann, "code")
        };
        let never = CodeDigest(mac(&key, &[b"purpose", b"acme", b"u-ann", b"code"]));
        assert!(digest(0) == never && digest(1) != never && digest(2) != digest(1));
    }
}
