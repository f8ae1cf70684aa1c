//! Digests of login names, names that IdPs use, and support tickets: the store holds no readable list of them.

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::{mac, seal::SealError};
use crate::{
    env::Entropy,
    id::{LoginName, TenantId, UserKey},
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

    /// Seals the private key that signs a tenant's requests to its IdP.
    ///
    /// # Errors
    /// [`SealError::Entropy`] if the source of randomness fails.
    pub fn seal_request_key(
        &self,
        tenant: &TenantId,
        private_key: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        self.seal(&[b"request key", tenant.as_str().as_bytes()], private_key, entropy)
    }

    /// Opens a private key that was sealed for this tenant.
    ///
    /// # Errors
    /// [`SealError::Refused`] if the bytes were altered or sealed for another tenant.
    pub fn open_request_key(&self, tenant: &TenantId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open(&[b"request key", tenant.as_str().as_bytes()], sealed)
    }

    /// Seals what a form has to keep for the user who sent it: it may have secrets, which no page shows.
    ///
    /// # Errors
    /// [`SealError::Entropy`] if the source of randomness fails.
    pub fn seal_form(&self, user: &UserKey, content: &[u8], entropy: &dyn Entropy) -> Result<String, SealError> {
        Ok(BASE64URL_NOPAD.encode(&self.seal(&form_of(user), content, entropy)?))
    }

    /// Opens what was sealed for this user.
    ///
    /// # Errors
    /// [`SealError::Refused`] if it was altered or sealed for another user.
    pub fn open_form(&self, user: &UserKey, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = BASE64URL_NOPAD.decode(sealed.as_bytes()).map_err(|_| SealError::Refused)?;
        self.open(&form_of(user), &sealed)
    }

    /// Seals with AES-256-GCM and a key for each context, derived from this key. Layout: version (1 byte), nonce (12 bytes),
    /// ciphertext and tag.
    fn seal(&self, context: &[&[u8]], content: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        let nonce = entropy.bytes::<12>()?;
        let sealed = self.cipher(context)?.encrypt(&nonce.into(), content).map_err(|_| SealError::Refused)?;
        Ok([&[1], &nonce[..], &sealed].concat())
    }

    fn open(&self, context: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&1, rest)) = sealed.split_first() else { return Err(SealError::Refused) };
        let (&nonce, ciphertext) = rest.split_first_chunk::<12>().ok_or(SealError::Refused)?;
        let opened = self.cipher(context)?.decrypt(&nonce.into(), ciphertext);
        opened.map(Zeroizing::new).map_err(|_| SealError::Refused)
    }

    fn cipher(&self, context: &[&[u8]]) -> Result<Aes256Gcm, SealError> {
        let key = Zeroizing::new(mac(&self.key, context));
        Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| SealError::Refused)
    }

    /// The key under which the store keeps a support ticket.
    #[must_use]
    pub fn ticket(&self, ticket: &str) -> String {
        BASE64URL_NOPAD.encode(&mac(&self.key, &[b"ticket", ticket.as_bytes()]))
    }
}

fn form_of(user: &UserKey) -> [&[u8]; 3] {
    [b"form", user.tenant().as_str().as_bytes(), user.user().as_str().as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::SystemEntropy, id::UserId};

    #[test]
    fn content_of_a_form_is_opened_for_its_user_only() {
        let key = |byte| NameKey::new(Zeroizing::new([byte; 32]));
        let user = |tenant: &str, id: &str| TenantId::parse(tenant).unwrap().user(UserId::parse(id).unwrap());
        let (names, ann) = (key(1), user("acme", "u-ann"));
        let content = b"username,password\nbob,x";
        let sealed = names.seal_form(&ann, content, &SystemEntropy).unwrap();
        assert_eq!(names.open_form(&ann, &sealed).unwrap().as_slice(), content);
        assert_ne!(names.seal_form(&ann, content, &SystemEntropy).unwrap(), sealed, "a nonce of its own");
        let (before, after) = sealed.split_at(30);
        let altered = format!("{before}{}{}", if after.starts_with('A') { 'B' } else { 'A' }, &after[1..]);
        let refused = |result: Result<Zeroizing<Vec<u8>>, SealError>| matches!(result, Err(SealError::Refused));
        for other in ["", "AQ", "!", &*altered, &sealed[..sealed.len() - 4]] {
            assert!(refused(names.open_form(&ann, other)), "{other}");
        }
        for other in [user("acme", "u-amy"), user("globex", "u-ann")] {
            assert!(refused(names.open_form(&other, &sealed)));
        }
        assert!(refused(key(2).open_form(&ann, &sealed)));
    }
}
