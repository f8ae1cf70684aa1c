//! Secrets in their three forms: plaintext that cannot be printed or copied, sealed for the store, and digests.

use std::collections::BTreeMap;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    env::{Entropy, EntropyError, Timestamp},
    id::{ClientId, EntryId, LoginName, TenantId, UserId, UserKey},
};

/// A secret text that came from a caller: a password, a code, a reset code. It wipes itself and can be neither printed,
/// copied nor serialised.
///
/// ```compile_fail,E0277
/// let password = vestibule::secret::SecretText::new("hunter2".to_owned());
/// println!("{password:?}"); // no Debug on a secret
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that checks it.
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

// ---------------------------------------------------------------- tokens

/// How often the store was restored from a backup. The number is part of what every token and every code is digested to, so
/// that whatever was handed out before the last time matches nothing (ADR 0010).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreEpoch {
    /// 0: never.
    pub number: u32,
    /// When it was raised; what was made before is void.
    pub since: Timestamp,
}

/// The four classes of bearer token; none can be used in another's place (security.md 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenClass {
    /// `vs_`: somebody is signed in.
    Session,
    /// `vc_`: the password was right, a code is due.
    Challenge,
    /// `ve_`: the password was right, an authenticator has to be enrolled.
    Enrolment,
    /// `vd_`: a device that signed in before; proves nothing but that.
    Device,
}

impl TokenClass {
    const ALL: [Self; 4] = [Self::Session, Self::Challenge, Self::Enrolment, Self::Device];

    fn prefix(self) -> &'static str {
        match self {
            Self::Session => "vs_",
            Self::Challenge => "vc_",
            Self::Enrolment => "ve_",
            Self::Device => "vd_",
        }
    }
}

/// More of a token's SHA-256: with the entry's id the store holds 224 bits of the digest, and never the token.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct TokenVerifier(#[serde(with = "serde_bytes")] [u8; 16]);

impl PartialEq for TokenVerifier {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for TokenVerifier {}

impl TokenVerifier {
    /// The bytes, as a condition of the store compares them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A token that was parsed and digested. It says which person's item to ask and which entry to look for; nobody is a
/// principal before the entry's guard matched.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRef {
    class: TokenClass,
    user: UserKey,
    id: EntryId,
    verifier: TokenVerifier,
}

impl TokenRef {
    /// Reads a token strictly: no padding, no spare bits, exact lengths, parsed ids. `None` means `invalid_token`, found
    /// without asking the store.
    #[must_use]
    pub fn parse(text: &str, restored: RestoreEpoch) -> Option<Self> {
        let class = TokenClass::ALL.into_iter().find(|class| text.starts_with(class.prefix()))?;
        if text.len() > 256 {
            return None;
        }
        let body = Zeroizing::new(BASE64URL_NOPAD.decode(text.get(3..)?.as_bytes()).ok()?);
        let rest = body.strip_prefix(&[1_u8])?;
        let (tenant, rest) = take_id(rest)?;
        let (user, rest) = take_id(rest)?;
        if rest.len() != 32 {
            return None;
        }
        let user = TenantId::parse(tenant).ok()?.user(UserId::parse(user).ok()?);
        let (id, verifier) = digest_token(class, restored, &body);
        Some(Self { class, user, id, verifier })
    }

    /// The token's class.
    #[must_use]
    pub fn class(&self) -> TokenClass {
        self.class
    }

    /// The person the token speaks of.
    #[must_use]
    pub fn user(&self) -> &UserKey {
        &self.user
    }

    /// The entry in the person's item.
    #[must_use]
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// What the entry must hold.
    #[must_use]
    pub fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }
}

fn take_id(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(id).ok()?, rest))
}

fn digest_token(class: TokenClass, restored: RestoreEpoch, body: &[u8]) -> (EntryId, TokenVerifier) {
    let mut hash = Sha256::new().chain_update(b"vestibule/1").chain_update(class.prefix()).chain_update(body);
    // A body says by itself where it ends.
    if restored.number > 0 {
        hash.update(restored.number.to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    // 96 bits name the entry and 128 guard it: all of a person's tokens live in one item, so each byte counts.
    let mut verifier = [0; 16];
    verifier.copy_from_slice(&digest[12..28]);
    (entry_id(&digest[..12]), TokenVerifier(verifier))
}

fn entry_id(bytes: &[u8]) -> EntryId {
    match EntryId::try_from(BASE64URL_NOPAD.encode(bytes)) {
        Ok(id) => id,
        Err(_) => unreachable!("base64url is of the alphabet of ids"),
    }
}

/// A token just made: its text is for exactly one response, its reference for the store.
pub struct NewToken {
    text: Zeroizing<String>,
    reference: TokenRef,
}

impl NewToken {
    /// Makes a token of 256 random bits for a person.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(
        class: TokenClass,
        user: &UserKey,
        restored: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let mut body = Zeroizing::new(vec![1]);
        for id in [user.tenant().as_str(), user.user().as_str()] {
            body.push(u8::try_from(id.len()).unwrap_or(0)); // an id is at most 64 long
            body.extend_from_slice(id.as_bytes());
        }
        body.extend_from_slice(Zeroizing::new(entropy.bytes::<32>()?).as_slice());
        let (id, verifier) = digest_token(class, restored, &body);
        let text = Zeroizing::new(format!("{}{}", class.prefix(), *Zeroizing::new(BASE64URL_NOPAD.encode(&body))));
        Ok(Self { text, reference: TokenRef { class, user: user.clone(), id, verifier } })
    }

    /// What the store is told.
    #[must_use]
    pub fn reference(&self) -> &TokenRef {
        &self.reference
    }

    /// The text, for the response that hands it out.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text.to_string()
    }
}

// ---------------------------------------------------------------- keyed digests

/// A digest under a key that the store does not have: 32 bytes, compared in constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct CodeDigest(#[serde(with = "serde_bytes")] [u8; 32]);

impl PartialEq for CodeDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for CodeDigest {}

impl CodeDigest {
    /// The bytes, as a condition of the store compares them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of a machine-made secret of at least 128 bits (a client's), which needs no key.
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

/// What an IdP calls somebody, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameIdLink {
    /// The NameID, exactly.
    pub name_id: String,
    /// The place of the link.
    pub subject: String,
    /// Where somebody is who has it as their login name: nobody else may.
    pub login: LoginKey,
}

/// Where a login name is kept: a keyed digest of tenant and name, so that the store holds no list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginKey {
    tenant: TenantId,
    digest: String,
}

impl LoginKey {
    /// Of a person's item, which keeps the digest of its name.
    pub(crate) fn of(tenant: &TenantId, digest: &str) -> Self {
        Self { tenant: tenant.clone(), digest: digest.to_owned() }
    }

    /// The name's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// 43 characters of base64url.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The key under which login names and tickets are digested.
pub struct NameKey {
    key: Zeroizing<[u8; 32]>,
}

impl NameKey {
    /// From a key of 256 bits.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    /// The place of a login name.
    #[must_use]
    pub fn login(&self, tenant: &TenantId, name: &LoginName) -> LoginKey {
        let digest = mac(&self.key, &[b"login", tenant.as_str().as_bytes(), name.as_str().as_bytes()]);
        LoginKey { tenant: tenant.clone(), digest: BASE64URL_NOPAD.encode(&digest) }
    }

    /// The place of the link between somebody and what an IdP calls them.
    #[must_use]
    pub fn subject(&self, tenant: &TenantId, entity_id: &str, name_id: &str) -> String {
        let parts = [b"subject", tenant.as_str().as_bytes(), entity_id.as_bytes(), name_id.as_bytes()];
        BASE64URL_NOPAD.encode(&mac(&self.key, &parts))
    }

    /// What an IdP calls somebody, to be linked.
    #[must_use]
    pub fn link(&self, tenant: &TenantId, entity_id: &str, name_id: &str) -> NameIdLink {
        NameIdLink {
            subject: self.subject(tenant, entity_id, name_id),
            login: self.login(tenant, &LoginName::fold(name_id)),
            name_id: name_id.to_owned(),
        }
    }

    /// Seals a private key that signs a tenant's requests to its IdP: AES-256-GCM under a key of the tenant's own, derived from
    /// this one. Layout: version 1, nonce 12, ciphertext and tag.
    ///
    /// # Errors
    /// [`SealError`]: there is no randomness.
    pub fn seal_request_key(
        &self,
        tenant: &TenantId,
        private_key: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let nonce = entropy.bytes::<12>()?;
        let sealed =
            self.request_cipher(tenant)?.encrypt(&nonce.into(), private_key).map_err(|_| SealError::Refused)?;
        Ok([&[1], &nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for this tenant, and for no other.
    ///
    /// # Errors
    /// [`SealError::Refused`].
    pub fn open_request_key(&self, tenant: &TenantId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&1, rest)) = sealed.split_first() else { return Err(SealError::Refused) };
        let (&nonce, ciphertext) = rest.split_first_chunk::<12>().ok_or(SealError::Refused)?;
        let opened = self.request_cipher(tenant)?.decrypt(&nonce.into(), ciphertext);
        opened.map(Zeroizing::new).map_err(|_| SealError::Refused)
    }

    fn request_cipher(&self, tenant: &TenantId) -> Result<Aes256Gcm, SealError> {
        let key = Zeroizing::new(mac(&self.key, &[b"request key", tenant.as_str().as_bytes()]));
        Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| SealError::Refused)
    }

    /// The place of a support ticket.
    #[must_use]
    pub fn ticket(&self, ticket: &str) -> String {
        BASE64URL_NOPAD.encode(&mac(&self.key, &[b"ticket", ticket.as_bytes()]))
    }
}

/// The key under which recovery tokens and reset codes are digested.
pub struct CodeKey {
    key: Zeroizing<[u8; 32]>,
    restored: RestoreEpoch,
}

impl CodeKey {
    /// From a key of 256 bits, for a store that was never restored from a backup.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key, restored: RestoreEpoch::default() }
    }

    /// The same in a restore epoch.
    #[must_use]
    pub fn at(&self, restored: RestoreEpoch) -> Self {
        Self { key: self.key.clone(), restored }
    }

    /// The digest of a person's code (a recovery token, a reset code): `purpose` keeps the kinds apart.
    #[must_use]
    pub fn code(&self, purpose: &'static str, user: &UserKey, canonical: &str) -> CodeDigest {
        let (tenant, user) = (user.tenant().as_str().as_bytes(), user.user().as_str().as_bytes());
        let number = self.restored.number.to_be_bytes();
        let parts = [purpose.as_bytes(), tenant, user, canonical.as_bytes(), &number];
        CodeDigest(mac(&self.key, if self.restored.number > 0 { &parts } else { &parts[..4] }))
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = match <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    for part in parts {
        // Each part with its length: no two lists of parts have the same bytes.
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

// ---------------------------------------------------------------- the authenticator's secret

/// 12 random bytes that name something which comes and goes: a factor, an incarnation of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(#[serde(with = "serde_bytes")] [u8; 12]);

impl Nonce {
    /// A fresh one.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        entropy.bytes().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Which factor of which person, in which incarnation: the context a secret is sealed for (security.md 55).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorRef {
    /// The person.
    pub user: UserKey,
    /// The person's incarnation: a user id that comes back after deletion is another person.
    pub incarnation: Nonce,
    /// The factor.
    pub factor: Nonce,
}

/// The 160 bits an authenticator shares with us (RFC 4226 R6), and whose they are. Wipes itself; no Debug, Clone or
/// Serialize.
pub struct TotpSecret {
    owner: FactorRef,
    bytes: Zeroizing<[u8; 20]>,
}

impl TotpSecret {
    /// A fresh secret for a factor.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(owner: FactorRef, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { owner, bytes: Zeroizing::new(entropy.bytes()?) })
    }

    /// Takes known bytes: for the tests of algorithms.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn from_bytes(owner: FactorRef, bytes: [u8; 20]) -> Self {
        Self { owner, bytes: Zeroizing::new(bytes) }
    }

    /// Whose secret it is.
    #[must_use]
    pub fn owner(&self) -> &FactorRef {
        &self.owner
    }

    /// The bytes, for the algorithms of this crate and the enrolment response.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8; 20] {
        &self.bytes
    }
}

/// A TOTP secret as it is stored: AES-256-GCM, bound to tenant, user, incarnation, factor and purpose. Layout: version 1,
/// key number 8, nonce 12, ciphertext and tag 36.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret(#[serde(with = "serde_bytes")] Vec<u8>);

/// A sealed secret's parts.
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

    /// The bytes, as the store keeps them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of the key it was sealed under.
    #[cfg(feature = "kms")]
    pub(crate) fn number(&self) -> Option<u64> {
        self.parts().map(|parts| parts.number)
    }
}

/// A secret could not be sealed or opened: denied, and an alarm for whoever runs the service.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key is missing, disabled or out of reach.
    #[error("sealing key unavailable: {0}")]
    Unavailable(String),
    /// The ciphertext is not what was sealed for this factor.
    #[error("a sealed secret does not open in its place")]
    Refused,
    /// There is no randomness for a nonce.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Keeps TOTP secrets. The local key ring is one; KMS is another.
#[async_trait]
pub trait Sealer: Send + Sync {
    /// Seals a secret for its owner.
    ///
    /// # Errors
    /// [`SealError`]; nothing may be stored then.
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError>;

    /// Opens what was sealed for this owner, and for nobody else.
    ///
    /// # Errors
    /// [`SealError`]; the sign-in is denied then.
    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError>;

    /// Whether what was just opened has to be sealed anew: its key has a successor.
    async fn outdated(&self, sealed: &SealedSecret) -> bool;
}

/// Keys held by this process: the newest seals, each opens what it sealed.
pub struct KeyRing {
    /// Whose numbers the keys have: it is in the stored form and in what the ciphertext is bound to, so no secret of one
    /// kind of ring is taken for one of another.
    version: u8,
    keys: BTreeMap<u64, Zeroizing<[u8; 32]>>,
}

impl KeyRing {
    /// A ring of numbered keys; the highest number seals. `None` for an empty one.
    #[must_use]
    pub fn new(keys: BTreeMap<u64, Zeroizing<[u8; 32]>>) -> Option<Self> {
        if keys.is_empty() { None } else { Some(Self { version: 1, keys }) }
    }

    /// A ring of the store's data keys, none of which is unwrapped yet.
    #[cfg(feature = "kms")]
    pub(crate) fn of_data_keys() -> Self {
        Self { version: 2, keys: BTreeMap::new() }
    }

    /// Takes a key in.
    #[cfg(feature = "kms")]
    pub(crate) fn insert(&mut self, number: u64, key: Zeroizing<[u8; 32]>) {
        self.keys.insert(number, key);
    }

    /// Whether the key of that number is there.
    #[cfg(feature = "kms")]
    pub(crate) fn has(&self, number: u64) -> bool {
        self.keys.contains_key(&number)
    }
}

fn seal_context(version: u8, owner: &FactorRef) -> Vec<u8> {
    let mut context = format!("vestibule/{version} totp-secret").into_bytes();
    let (tenant, user) = (owner.user.tenant().as_str(), owner.user.user().as_str());
    for part in [tenant.as_bytes(), user.as_bytes(), owner.incarnation.bytes(), owner.factor.bytes()] {
        context.push(u8::try_from(part.len()).unwrap_or(0)); // ids are at most 64 long
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
    use crate::env::SystemEntropy;

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
    async fn a_sealed_secret_opens_only_in_its_place() {
        let secret = TotpSecret::generate(owner(1), &SystemEntropy).unwrap();
        let sealed = ring().seal(&secret, &SystemEntropy).await.unwrap();
        assert_eq!(sealed.0.len(), 57);
        assert_eq!(ring().open(owner(1), &sealed).await.unwrap().expose(), secret.expose());
        assert!(matches!(ring().open(owner(2), &sealed).await, Err(SealError::Refused)));
        let other = FactorRef { incarnation: Nonce([8; 12]), ..owner(1) };
        assert!(matches!(ring().open(other, &sealed).await, Err(SealError::Refused)));
    }

    #[tokio::test]
    async fn an_older_key_still_opens_and_a_missing_one_denies() {
        let old = KeyRing::new(BTreeMap::from([(1, Zeroizing::new([1; 32]))])).unwrap();
        let secret = TotpSecret::generate(owner(1), &SystemEntropy).unwrap();
        let sealed = old.seal(&secret, &SystemEntropy).await.unwrap();
        assert!(ring().open(owner(1), &sealed).await.is_ok());
        let newer = ring().seal(&secret, &SystemEntropy).await.unwrap();
        assert!(matches!(old.open(owner(1), &newer).await, Err(SealError::Unavailable(_))));
        assert!(ring().outdated(&sealed).await && !ring().outdated(&newer).await && !old.outdated(&sealed).await);
    }

    #[cfg(feature = "kms")]
    #[tokio::test]
    async fn a_secret_of_one_kind_of_ring_is_refused_by_another_with_the_same_key() {
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

    #[test]
    fn a_token_is_read_back_and_nothing_else_is_a_token() {
        let token = NewToken::generate(TokenClass::Session, &ann(), RestoreEpoch::default(), &SystemEntropy).unwrap();
        let reference = token.reference().clone();
        let text = token.into_text();
        assert!(TokenRef::parse(&text, RestoreEpoch::default()).unwrap() == reference);
        for bad in ["", "vs_", "x", &text[..text.len() - 1], &format!("{text}A"), &format!("{text}="), "vs_é"] {
            assert!(TokenRef::parse(bad, RestoreEpoch::default()).is_none(), "{bad}");
        }
        let challenge = TokenRef::parse(&text.replacen("vs_", "vc_", 1), RestoreEpoch::default()).unwrap();
        assert!(challenge.class() == TokenClass::Challenge && challenge.id() != reference.id());
    }
}
