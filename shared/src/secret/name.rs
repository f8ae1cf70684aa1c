//! Digests of login names, names that IdPs use, and support tickets: the store holds no readable list of them.

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::{mac, seal::SealError};
use crate::{
    env::Entropy,
    id::{LoginName, TenantId},
};

/// A NameID of an IdP with the keys under which its link to a user is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameIdLink {
    /// The NameID, exactly as the IdP sent it.
    pub name_id: String,
    /// The key of the link in the store.
    pub subject: String,
    /// The key of the same text as a login name. No other user may have this login name.
    pub login: LoginKey,
}

/// The key of a login name in the store: a keyed digest of tenant and name, so the store holds no list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginKey {
    tenant: TenantId,
    digest: String,
}

impl LoginKey {
    /// Rebuilds the key from the digest that a user's item keeps.
    pub(crate) fn of(tenant: &TenantId, digest: &str) -> Self {
        Self { tenant: tenant.clone(), digest: digest.to_owned() }
    }

    /// The name's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The digest: 43 characters of base64url.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The key for digests of login names, NameIDs and support tickets.
pub struct NameKey {
    key: Zeroizing<[u8; 32]>,
}

impl NameKey {
    /// Wraps a 256-bit key.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    /// The key under which the store keeps a login name.
    #[must_use]
    pub fn login(&self, tenant: &TenantId, name: &LoginName) -> LoginKey {
        let digest = mac(&self.key, &[b"login", tenant.as_str().as_bytes(), name.as_str().as_bytes()]);
        LoginKey { tenant: tenant.clone(), digest: BASE64URL_NOPAD.encode(&digest) }
    }

    /// The key under which the store keeps the link between a NameID of an IdP and a user.
    #[must_use]
    pub fn subject(&self, tenant: &TenantId, entity_id: &str, name_id: &str) -> String {
        let parts = [b"subject", tenant.as_str().as_bytes(), entity_id.as_bytes(), name_id.as_bytes()];
        BASE64URL_NOPAD.encode(&mac(&self.key, &parts))
    }

    /// The keys for linking a NameID to a user.
    #[must_use]
    pub fn link(&self, tenant: &TenantId, entity_id: &str, name_id: &str) -> NameIdLink {
        NameIdLink {
            subject: self.subject(tenant, entity_id, name_id),
            login: self.login(tenant, &LoginName::fold(name_id)),
            name_id: name_id.to_owned(),
        }
    }

    /// Seals the private key that signs a tenant's requests to its IdP. The cipher is AES-256-GCM with a key per
    /// tenant, derived from this key. Layout: version (1 byte), nonce (12 bytes), ciphertext and tag.
    ///
    /// # Errors
    /// [`SealError::Entropy`] if the source of randomness fails.
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

    /// Opens a private key that was sealed for this tenant.
    ///
    /// # Errors
    /// [`SealError::Refused`] if the bytes were altered or sealed for another tenant.
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

    /// The key under which the store keeps a support ticket.
    #[must_use]
    pub fn ticket(&self, ticket: &str) -> String {
        BASE64URL_NOPAD.encode(&mac(&self.key, &[b"ticket", ticket.as_bytes()]))
    }
}
