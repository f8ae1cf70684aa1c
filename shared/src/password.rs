//! Passwords: hashing with bounded concurrency, and the rules for new passwords.
//!
//! `common_passwords.txt` holds the entries with at least 8 characters of Django's `common-passwords.txt.gz` (django
//! 5.2.19; created by Royce Williams; BSD-3-Clause, see the file NOTICE).

use std::{
    collections::HashSet,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::{
    domain::Kind,
    env::{Entropy, EntropyError},
    secret::SecretText,
};

/// Maximum length of a password in bytes, before normalization. Longer passwords are refused without hashing.
pub const MAX_BYTES: usize = 1024;

static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Why a new password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Fewer than 8 bytes, or fewer than 15 characters for a contact.
    #[error("the password is too short: it needs at least 8 bytes, and at least 15 characters for a contact")]
    TooShort,
    /// More than [`MAX_BYTES`] bytes.
    #[error("the password is too long: it may have at most {MAX_BYTES} bytes")]
    TooLong,
    /// The password is in the list of common passwords.
    #[error("the password is a common one: choose another")]
    Common,
}

/// Minimum number of characters for a contact's password, because it may be the only factor.
const CONTACT_CHARACTERS: usize = 15;

/// Checks a new password (security.md 9 and 10): 8 to 1024 bytes, at least 15 characters for a contact, and not a common
/// password in any case. `kind`: the kind of the user, if it is known already.
///
/// # Errors
/// [`WeakPassword`] says which rule the password breaks.
pub fn acceptable(password: &str, kind: Option<Kind>) -> Result<(), WeakPassword> {
    if password.len() > MAX_BYTES {
        return Err(WeakPassword::TooLong);
    }
    if password.len() < 8 || (kind == Some(Kind::Contact) && !long_enough_for_a_contact(password)) {
        return Err(WeakPassword::TooShort);
    }
    let folded = Zeroizing::new(password.nfkc().collect::<String>().to_lowercase());
    if COMMON.contains(folded.as_str()) { Err(WeakPassword::Common) } else { Ok(()) }
}

fn long_enough_for_a_contact(password: &str) -> bool {
    password.chars().count() >= CONTACT_CHARACTERS
}

/// The cost parameters of Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordParams {
    memory_kib: u32,
    passes: u32,
}

impl Default for PasswordParams {
    /// 19,456 KiB, two passes, one lane (OWASP).
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

impl PasswordParams {
    /// The minimum that Argon2 accepts, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn cheap() -> Self {
        Self { memory_kib: 8, passes: 1 }
    }
}

/// A stored hash: an Argon2id PHC string. No Debug.
#[derive(Clone)]
pub struct PasswordHash {
    phc: String,
    /// Whether the password is long enough for a contact. Only the code that hashes the password knows its length.
    long_enough_for_a_contact: bool,
}

impl PasswordHash {
    /// Wraps a hash from the store. An invalid hash is detected when it is verified. The password's length is unknown,
    /// so it does not count as long enough for a contact.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self { phc: text, long_enough_for_a_contact: false }
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.phc
    }

    /// Whether the password is known to be long enough for a contact.
    #[must_use]
    pub fn long_enough_for_a_contact(&self) -> bool {
        self.long_enough_for_a_contact
    }
}

/// A password could not be hashed or checked. The request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The queue is full.
    #[error("too many passwords are being checked")]
    Busy,
    /// More than [`MAX_BYTES`] bytes.
    #[error("the password is too long")]
    TooLong,
    /// Argon2 does not accept the stored hash or the parameters.
    #[error("a password hash is unusable")]
    Unusable,
    /// The source of randomness failed, so there is no salt.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Proof that a password matched one stored hash. It cannot be copied or cloned.
pub struct PasswordProof(PasswordHash);

impl PasswordProof {
    /// Whether the proof is for this hash.
    #[must_use]
    pub fn of(&self, stored: &str) -> bool {
        self.0.phc == stored
    }
}

/// Hashes and checks passwords on blocking threads. The number of running and of waiting operations is limited.
pub struct Passwords {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    admitted: Arc<AtomicUsize>,
    limit: usize,
    memory: Arc<Memory>,
    dummy: PasswordHash,
}

/// Work memory of Argon2, kept for reuse: at most one block list per running operation. If it were allocated each time,
/// the allocator would keep 19 MiB or more for every thread that ever hashed.
type Memory = Mutex<Vec<Vec<Block>>>;

/// A place in the queue, released when dropped. Take it before the attempt is charged: a user who is refused because
/// others fill the queue then loses no attempt.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    /// A hasher that runs `concurrency` operations at once and lets `queue` more wait. For users without a password it
    /// checks against a dummy hash of random bytes: that takes as long as a real check and costs no hashing at start.
    ///
    /// # Errors
    /// [`HashError::Unusable`] if Argon2 does not accept the parameters, [`HashError::Entropy`] if the source of
    /// randomness fails.
    pub fn new(
        params: PasswordParams,
        concurrency: usize,
        queue: usize,
        entropy: &dyn Entropy,
    ) -> Result<Self, HashError> {
        let argon2_params = Params::new(params.memory_kib, params.passes, 1, None).map_err(|_| HashError::Unusable)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, argon2_params);
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let dummy = stored(&argon2, &entropy.bytes()?, &entropy.bytes::<{ Params::DEFAULT_OUTPUT_LEN }>()?)?;
        Ok(Self {
            argon2,
            running: Arc::new(Semaphore::new(concurrency)),
            admitted: Arc::new(AtomicUsize::new(0)),
            limit: concurrency.saturating_add(queue),
            memory: Arc::default(),
            dummy,
        })
    }

    /// Hashes a password after NFKC normalization, with a random salt of 128 bits.
    ///
    /// # Errors
    /// [`HashError`], as each variant says.
    pub async fn hash(&self, password: &SecretText, entropy: &dyn Entropy) -> Result<PasswordHash, HashError> {
        let salt = entropy.bytes::<16>()?;
        let argon2 = self.argon2.clone();
        let hash = move |password: &[u8], blocks: &mut _| hash_with(&argon2, password, &salt, blocks);
        let hash = self.run(self.place()?, password, hash).await?;
        Ok(PasswordHash { long_enough_for_a_contact: long_enough_for_a_contact(password.expose()), ..hash })
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full.
    pub fn place(&self) -> Result<Place, HashError> {
        let place = Place(Arc::clone(&self.admitted));
        if self.admitted.fetch_add(1, Ordering::AcqRel) >= self.limit { Err(HashError::Busy) } else { Ok(place) }
    }

    /// Checks a password, after NFKC normalization, against the stored hash. If `stored` is `None` the same work is
    /// done and the result is `None`.
    ///
    /// # Errors
    /// [`HashError`]; the caller must then deny the sign-in.
    pub async fn verify(
        &self,
        place: Place,
        password: &SecretText,
        stored: Option<&PasswordHash>,
    ) -> Result<Option<PasswordProof>, HashError> {
        let hash = stored.unwrap_or(&self.dummy).clone();
        let right = self.run(place, password, move |password, blocks| verify_with(&hash, password, blocks)).await?;
        Ok(stored.filter(|_| right).map(|stored| PasswordProof(stored.clone())))
    }

    /// Whether the hash has weaker parameters than new hashes get (security.md 8).
    #[must_use]
    pub fn outdated(&self, stored: &PasswordHash) -> bool {
        let parameters = phc::PasswordHash::new(&stored.phc).ok().and_then(|hash| Params::try_from(&hash).ok());
        let now = self.argon2.params();
        parameters.is_none_or(|old| old.m_cost() < now.m_cost() || old.t_cost() < now.t_cost())
    }

    async fn run<T: Send + 'static>(
        &self,
        place: Place,
        password: &SecretText,
        work: impl FnOnce(&[u8], &mut Vec<Block>) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        if password.expose().len() > MAX_BYTES {
            return Err(HashError::TooLong);
        }
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| HashError::Busy)?;
        let normal = Zeroizing::new(password.expose().nfkc().collect::<String>());
        let memory = Arc::clone(&self.memory);
        // The task owns place and permit: if the caller stops waiting, the work still counts until it ends.
        let task = tokio::task::spawn_blocking(move || {
            let _held = (place, permit);
            let free = || memory.lock().unwrap_or_else(PoisonError::into_inner);
            let mut blocks = free().pop().unwrap_or_default();
            let result = work(normal.as_bytes(), &mut blocks);
            free().push(blocks);
            result
        });
        task.await.map_err(|_| HashError::Unusable)?
    }
}

fn hash_with(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8; 16],
    blocks: &mut Vec<Block>,
) -> Result<PasswordHash, HashError> {
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(argon2, password, salt, &mut output, blocks)?;
    stored(argon2, salt, &output)
}

/// The PHC string of a hash.
fn stored(argon2: &Argon2<'_>, salt: &[u8; 16], output: &[u8]) -> Result<PasswordHash, HashError> {
    let unusable = |_| HashError::Unusable;
    let hash = phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: phc::ParamsString::try_from(argon2.params()).map_err(unusable)?,
        salt: Some(phc::Salt::new(salt).map_err(|_| HashError::Unusable)?),
        hash: Some(phc::Output::new(output).map_err(|_| HashError::Unusable)?),
    };
    Ok(PasswordHash::from_stored(hash.to_string()))
}

/// Verifies with the parameters in the stored hash, which may differ from the current ones.
fn verify_with(hash: &PasswordHash, password: &[u8], blocks: &mut Vec<Block>) -> Result<bool, HashError> {
    let hash = phc::PasswordHash::new(&hash.phc).map_err(|_| HashError::Unusable)?;
    let (Some(version), Some(salt), Some(expected)) = (hash.version, hash.salt, hash.hash) else {
        return Err(HashError::Unusable);
    };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| HashError::Unusable)?;
    let version = Version::try_from(version).map_err(|_| HashError::Unusable)?;
    let params = Params::try_from(&hash).map_err(|_| HashError::Unusable)?;
    let mut output = Zeroizing::new(vec![0; expected.len()]);
    fill(&Argon2::new(algorithm, version, params), password, &salt, &mut output, blocks)?;
    Ok(output.ct_eq(expected.as_bytes()).into())
}

fn fill(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    blocks: &mut Vec<Block>,
) -> Result<(), HashError> {
    blocks.resize(argon2.params().block_count(), Block::new());
    argon2.hash_password_into_with_memory(password, salt, output, &mut blocks[..]).map_err(|_| HashError::Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEntropy;

    fn text(password: &str) -> SecretText {
        SecretText::new(password.to_owned())
    }

    #[test]
    fn weak_new_password_is_refused() {
        assert!(COMMON.len() >= 3000);
        assert_eq!(acceptable("password", None), Err(WeakPassword::Common));
        assert_eq!(acceptable("PassWord", None), Err(WeakPassword::Common));
        assert_eq!(acceptable("ab3!kz9q", Some(Kind::Employee)), Ok(()));
        assert_eq!(acceptable("ab3!kz9q", Some(Kind::Contact)), Err(WeakPassword::TooShort));
        assert_eq!(acceptable("a good long password", Some(Kind::Contact)), Ok(()));
        assert_eq!(acceptable("1234567", None), Err(WeakPassword::TooShort));
        assert_eq!(acceptable(&"x".repeat(1024), Some(Kind::Contact)), Ok(()));
        assert_eq!(acceptable(&"x".repeat(1025), Some(Kind::Contact)), Err(WeakPassword::TooLong));
    }

    #[tokio::test]
    async fn hash_verifies_only_its_password() {
        let passwords = Passwords::new(PasswordParams::cheap(), 1, 4, &SystemEntropy).unwrap();
        let hash = passwords.hash(&text("caf\u{e9} long"), &SystemEntropy).await.unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        let right = |password: &'static str| {
            let (passwords, hash) = (&passwords, &hash);
            async move { passwords.verify(passwords.place().unwrap(), &text(password), Some(hash)).await.unwrap().is_some() }
        };
        assert!(right("cafe\u{301} long").await);
        assert!(!right("cafe long").await);
        assert!(passwords.verify(passwords.place().unwrap(), &text("cafe\u{301} long"), None).await.unwrap().is_none());
        let broken = PasswordHash::from_stored("x".to_owned());
        assert_eq!(
            passwords.verify(passwords.place().unwrap(), &text("cafe long"), Some(&broken)).await.err(),
            Some(HashError::Unusable)
        );
        assert_eq!(
            passwords.verify(passwords.place().unwrap(), &text(&"x".repeat(1025)), None).await.err(),
            Some(HashError::TooLong)
        );
    }

    #[tokio::test]
    async fn new_hash_knows_whether_password_is_long_enough_for_a_contact() {
        let passwords = Passwords::new(PasswordParams::cheap(), 1, 1, &SystemEntropy).unwrap();
        for (password, long_enough) in
            [("15 characters ..", true), ("15 characters .", true), ("14 characters.", false)]
        {
            let hash = passwords.hash(&text(password), &SystemEntropy).await.unwrap();
            assert_eq!(hash.long_enough_for_a_contact(), long_enough, "{password}");
            assert!(!PasswordHash::from_stored(hash.as_str().to_owned()).long_enough_for_a_contact());
        }
    }

    #[tokio::test]
    async fn hash_with_weaker_parameters_is_outdated() {
        let weak = PasswordParams::cheap();
        let hasher = |params| Passwords::new(params, 1, 1, &SystemEntropy).unwrap();
        let old = hasher(weak).hash(&text("a good long password"), &SystemEntropy).await.unwrap();
        for strong in [PasswordParams { memory_kib: 16, ..weak }, PasswordParams { passes: 2, ..weak }] {
            let new = hasher(strong).hash(&text("a good long password"), &SystemEntropy).await.unwrap();
            assert!(hasher(strong).outdated(&old) && !hasher(strong).outdated(&new) && !hasher(weak).outdated(&new));
        }
    }

    #[tokio::test]
    async fn hashes_with_different_parameters_share_work_memory() {
        // From the tests of the reference implementation.
        let reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let reference = PasswordHash::from_stored(reference.to_owned());
        let passwords = Passwords::new(PasswordParams::cheap(), 1, 4, &SystemEntropy).unwrap();
        let ours = passwords.hash(&text("password"), &SystemEntropy).await.unwrap();
        for _ in 0..2 {
            for hash in [&reference, &ours] {
                assert!(
                    passwords
                        .verify(passwords.place().unwrap(), &text("password"), Some(hash))
                        .await
                        .unwrap()
                        .is_some()
                );
                assert!(
                    passwords
                        .verify(passwords.place().unwrap(), &text("passwore"), Some(hash))
                        .await
                        .unwrap()
                        .is_none()
                );
            }
        }
        assert_eq!(passwords.memory.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn full_queue_is_busy() {
        let passwords = Passwords::new(PasswordParams::cheap(), 1, 1, &SystemEntropy).unwrap();
        let password = text("a good long password");
        let held = passwords.running.clone().acquire_owned().await.unwrap();
        let place = Place(Arc::clone(&passwords.admitted));
        passwords.admitted.fetch_add(1, Ordering::AcqRel);
        let waiting = passwords.verify(passwords.place().unwrap(), &password, None);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(passwords.place().err(), Some(HashError::Busy));
        drop((held, place));
        assert!(waiting.await.unwrap().is_none());
        assert!(passwords.verify(passwords.place().unwrap(), &password, None).await.is_ok());
    }
}
