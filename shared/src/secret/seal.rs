//! The secret of an authenticator app, and how it is sealed for the store.

use std::collections::BTreeMap;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    env::{Entropy, EntropyError},
    id::UserKey,
};

/// 12 random bytes that identify something with a limited life: a factor, or an incarnation of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(#[serde(with = "serde_bytes")] [u8; 12]);

impl Nonce {
    /// Generates a new one.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        entropy.bytes().map(Self)
    }

    /// The 12 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A factor of a user in one incarnation: the context that a secret is sealed for (security.md 55).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorRef {
    /// The user.
    pub user: UserKey,
    /// The user's incarnation. If a user id is created again after deletion, it is a different user.
    pub incarnation: Nonce,
    /// The factor.
    pub factor: Nonce,
}

/// The 160-bit secret that an authenticator app shares with Vestibule (RFC 4226 R6), and the factor it belongs to. It
/// is wiped when dropped and has no Debug, Clone or Serialize.
pub struct TotpSecret {
    owner: FactorRef,
    bytes: Zeroizing<[u8; 20]>,
}

impl TotpSecret {
    /// Generates a secret for a factor.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(owner: FactorRef, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { owner, bytes: Zeroizing::new(entropy.bytes()?) })
    }

    /// Wraps known bytes, for tests of the algorithms.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn from_bytes(owner: FactorRef, bytes: [u8; 20]) -> Self {
        Self { owner, bytes: Zeroizing::new(bytes) }
    }

    /// The factor that the secret belongs to.
    #[must_use]
    pub fn owner(&self) -> &FactorRef {
        &self.owner
    }

    /// The bytes, for the algorithms of this crate and for the enrolment response.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8; 20] {
        &self.bytes
    }
}

/// A TOTP secret as the store keeps it: AES-256-GCM, bound to tenant, user, incarnation, factor and purpose. Layout:
/// version (1 byte), key number (8 bytes), nonce (12 bytes), ciphertext and tag (36 bytes).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret(#[serde(with = "serde_bytes")] Vec<u8>);

/// The parts of a sealed secret.
struct Parts<'a> {
    version: u8,
    number: u64,
    nonce: [u8; 12],
    ciphertext: &'a [u8],
}

impl SealedSecret {
    fn parts(&self) -> Option<Parts<'_>> {
        let (&version, rest) = self.0.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (&nonce, ciphertext) = rest.split_first_chunk()?;
        Some(Parts { version, number: u64::from_be_bytes(*number), nonce, ciphertext })
    }

    /// The bytes for the store.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of the key that sealed it.
    #[cfg(feature = "kms")]
    pub(crate) fn number(&self) -> Option<u64> {
        self.parts().map(|parts| parts.number)
    }
}

/// A secret could not be sealed or opened. The request is denied and an alarm is raised.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key is missing, disabled or unreachable.
    #[error("sealing key unavailable: {0}")]
    Unavailable(String),
    /// The ciphertext was not sealed for this factor.
    #[error("a sealed secret does not belong to this factor")]
    Refused,
    /// The source of randomness failed, so there is no nonce.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Seals and opens TOTP secrets. [`KeyRing`] does it with keys in this process, `KmsSealer` with keys in AWS KMS.
#[async_trait]
pub trait Sealer: Send + Sync {
    /// Seals a secret for its factor.
    ///
    /// # Errors
    /// [`SealError`]; the caller must then store nothing.
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError>;

    /// Opens a secret that was sealed for this factor.
    ///
    /// # Errors
    /// [`SealError`]; the caller must then deny the sign-in.
    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError>;

    /// Whether the secret must be sealed again because its key has a successor.
    async fn outdated(&self, sealed: &SealedSecret) -> bool;
}

/// Keys held by this process. The newest key seals; each key opens what it sealed.
pub struct KeyRing {
    /// The kind of ring that numbered the keys: 1 for a key file, 2 for data keys of the store. It is stored in the
    /// sealed secret and authenticated with it, so a secret sealed by one kind of ring is never opened by the other.
    version: u8,
    keys: BTreeMap<u64, Zeroizing<[u8; 32]>>,
}

impl KeyRing {
    /// A ring of numbered keys. The highest number seals. `None` if there is no key.
    #[must_use]
    pub fn new(keys: BTreeMap<u64, Zeroizing<[u8; 32]>>) -> Option<Self> {
        if keys.is_empty() { None } else { Some(Self { version: 1, keys }) }
    }

    /// A ring for the store's data keys. It starts empty: no data key is unwrapped yet.
    #[cfg(feature = "kms")]
    pub(crate) fn of_data_keys() -> Self {
        Self { version: 2, keys: BTreeMap::new() }
    }

    /// Adds a key.
    #[cfg(feature = "kms")]
    pub(crate) fn insert(&mut self, number: u64, key: Zeroizing<[u8; 32]>) {
        self.keys.insert(number, key);
    }

    /// Whether the ring has the key with this number.
    #[cfg(feature = "kms")]
    pub(crate) fn has(&self, number: u64) -> bool {
        self.keys.contains_key(&number)
    }
}

fn seal_context(version: u8, owner: &FactorRef) -> Vec<u8> {
    let mut context = format!("vestibule/{version} totp-secret").into_bytes();
    let (tenant, user) = (owner.user.tenant().as_str(), owner.user.user().as_str());
    for part in [tenant.as_bytes(), user.as_bytes(), owner.incarnation.bytes(), owner.factor.bytes()] {
        context.push(u8::try_from(part.len()).unwrap_or(0)); // an id has at most 64 bytes
        context.extend_from_slice(part);
    }
    context
}

#[async_trait]
impl Sealer for KeyRing {
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError> {
        let Some((id, key)) = self.keys.last_key_value() else { return Err(SealError::Unavailable("no key".into())) };
        let nonce = entropy.bytes::<12>()?;
        let cipher = Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| SealError::Refused)?;
        let context = seal_context(self.version, &secret.owner);
        let sealed = cipher
            .encrypt(&nonce.into(), Payload { msg: secret.bytes.as_slice(), aad: &context })
            .map_err(|_| SealError::Refused)?;
        Ok(SealedSecret([&[self.version], &id.to_be_bytes()[..], &nonce, &sealed].concat()))
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        let Some(Parts { version, number, nonce, ciphertext }) = sealed.parts() else { return Err(SealError::Refused) };
        if version != self.version {
            return Err(SealError::Refused);
        }
        let key = self.keys.get(&number).ok_or_else(|| SealError::Unavailable(format!("no key {number}")))?;
        let cipher = Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| SealError::Refused)?;
        let context = seal_context(version, &owner);
        let opened = Zeroizing::new(
            cipher
                .decrypt(&nonce.into(), Payload { msg: ciphertext, aad: &context })
                .map_err(|_| SealError::Refused)?,
        );
        let bytes: [u8; 20] = opened.as_slice().try_into().map_err(|_| SealError::Refused)?;
        Ok(TotpSecret { owner, bytes: Zeroizing::new(bytes) })
    }

    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        let newest = self.keys.last_key_value().map(|(number, _)| *number);
        sealed.parts().is_some_and(|parts| Some(parts.number) < newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        id::{TenantId, UserId},
    };

    fn ann() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
    }

    fn owner(factor: u8) -> FactorRef {
        FactorRef { user: ann(), incarnation: Nonce([7; 12]), factor: Nonce([factor; 12]) }
    }

    fn ring() -> KeyRing {
        KeyRing::new(BTreeMap::from([(1, Zeroizing::new([1; 32])), (2, Zeroizing::new([2; 32]))])).unwrap()
    }

    #[tokio::test]
    async fn sealed_secret_opens_only_for_its_factor() {
        let secret = TotpSecret::generate(owner(1), &SystemEntropy).unwrap();
        let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
        assert_eq!(sealed.0.len(), 57);
        assert_eq!(ring().open(owner(1), &sealed).await.unwrap().expose(), secret.expose());
        assert!(matches!(ring().open(owner(2), &sealed).await, Err(SealError::Refused)));
        let other = FactorRef { incarnation: Nonce([8; 12]), ..owner(1) };
        assert!(matches!(ring().open(other, &sealed).await, Err(SealError::Refused)));
    }

    #[tokio::test]
    async fn older_key_opens_and_missing_key_is_unavailable() {
        let old = KeyRing::new(BTreeMap::from([(1, Zeroizing::new([1; 32]))])).unwrap();
        let secret = TotpSecret::generate(owner(1), &SystemEntropy).unwrap();
        let sealed = old.seal(&secret, &SystemEntropy).await.unwrap();
        assert!(ring().open(owner(1), &sealed).await.is_ok());
        let newer = ring().seal(&secret, &SystemEntropy).await.unwrap();
        assert!(matches!(old.open(owner(1), &newer).await, Err(SealError::Unavailable(_))));
        assert!(ring().outdated(&sealed).await && !ring().outdated(&newer).await && !old.outdated(&sealed).await);
    }

    #[test]
    fn ring_without_key_does_not_exist() {
        assert!(KeyRing::new(BTreeMap::new()).is_none());
    }

    #[cfg(feature = "kms")]
    #[tokio::test]
    async fn secret_of_another_kind_of_ring_is_refused_despite_equal_key() {
        let mut data_keys = KeyRing::of_data_keys();
        data_keys.insert(1, Zeroizing::new([1; 32]));
        let local = KeyRing::new(BTreeMap::from([(1, Zeroizing::new([1; 32]))])).unwrap();
        let secret = TotpSecret::generate(owner(1), &SystemEntropy).unwrap();
        for (from, to, other) in [(&data_keys, &local, 1), (&local, &data_keys, 2)] {
            let mut sealed = from.seal(&secret, &SystemEntropy).await.unwrap();
            assert_eq!(sealed.0.len(), 57);
            assert!(matches!(to.open(owner(1), &sealed).await, Err(SealError::Refused)));
            sealed.0[0] = other;
            assert!(matches!(to.open(owner(1), &sealed).await, Err(SealError::Refused)));
        }
    }
}
