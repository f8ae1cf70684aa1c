//! Bearer tokens: their text, and the digest of it that the store holds.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, TenantId, UserId, UserKey},
};

/// How many times the store was restored from a backup. The number is part of the digest of every token and code, so
/// everything that was issued before the last restore matches nothing (ADR 0010).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreEpoch {
    /// The number of restores; 0 if there was none.
    pub number: u32,
    /// When the number was last raised. Tokens and codes from before this time are void.
    pub since: Timestamp,
}

/// The five classes of bearer token. A token of one class is never accepted in place of another (security.md 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenClass {
    /// `vs_`: the user is signed in.
    Session,
    /// `vc_`: the password was correct; a code must follow.
    Challenge,
    /// `ve_`: the password was correct; the user must enrol an authenticator app.
    Enrolment,
    /// `vd_`: a known device. It proves only that the user signed in on this device before.
    Device,
    /// `vp_`: came by mail. It sets a password or verifies an address, and proves nothing else.
    Mail,
}

impl TokenClass {
    /// All classes.
    pub(crate) const ALL: [Self; 5] = [Self::Session, Self::Challenge, Self::Enrolment, Self::Device, Self::Mail];

    fn prefix(self) -> &'static str {
        match self {
            Self::Session => "vs_",
            Self::Challenge => "vc_",
            Self::Enrolment => "ve_",
            Self::Device => "vd_",
            Self::Mail => "vp_",
        }
    }
}

/// 128 bits of a token's SHA-256. Together with the entry's id the store holds 224 bits of the digest, and never the
/// token itself. Comparison takes constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct TokenVerifier(#[serde(with = "serde_bytes")] [u8; 16]);

impl PartialEq for TokenVerifier {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for TokenVerifier {}

impl TokenVerifier {
    /// The bytes that a condition of the store compares.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A token after parsing and digesting. It says which user's item to read and which entry to look for. It proves
/// nothing until the entry's verifier has matched.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRef {
    class: TokenClass,
    user: UserKey,
    id: EntryId,
    verifier: TokenVerifier,
}

impl TokenRef {
    /// Parses a token strictly: no padding, no spare bits, exact lengths, valid ids. `None` means `invalid_token`; the
    /// store need not be read.
    #[must_use]
    pub fn parse(text: &str, restore_epoch: RestoreEpoch) -> Option<Self> {
        let class = TokenClass::ALL.into_iter().find(|class| text.starts_with(class.prefix()))?;
        let body = Zeroizing::new(BASE64URL_NOPAD.decode(text.get(3..)?.as_bytes()).ok()?);
        let rest = body.strip_prefix(&[1_u8])?;
        let (tenant, rest) = take_id(rest)?;
        let (user, rest) = take_id(rest)?;
        if rest.len() != 32 {
            return None;
        }
        let user = TenantId::parse(tenant).ok()?.user(UserId::parse(user).ok()?);
        let (id, verifier) = digest_token(class, restore_epoch, &body);
        Some(Self { class, user, id, verifier })
    }

    /// The token's class.
    #[must_use]
    pub fn class(&self) -> TokenClass {
        self.class
    }

    /// The user that the token names.
    #[must_use]
    pub fn user(&self) -> &UserKey {
        &self.user
    }

    /// The id of the entry in the user's item.
    #[must_use]
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// The verifier that the entry must hold.
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

fn digest_token(class: TokenClass, restore_epoch: RestoreEpoch, body: &[u8]) -> (EntryId, TokenVerifier) {
    let mut hash = Sha256::new().chain_update(b"vestibule/1").chain_update(class.prefix()).chain_update(body);
    // The body has its own length fields, so appending the number is unambiguous.
    if restore_epoch.number > 0 {
        hash.update(restore_epoch.number.to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    // 96 bits are the entry's id and 128 bits its verifier. All tokens of a user are stored in one item, so every byte
    // counts.
    let mut verifier = [0; 16];
    verifier.copy_from_slice(&digest[12..28]);
    (entry_id(&digest[..12]), TokenVerifier(verifier))
}

fn entry_id(bytes: &[u8]) -> EntryId {
    match EntryId::try_from(BASE64URL_NOPAD.encode(bytes)) {
        Ok(id) => id,
        Err(_) => unreachable!("base64url uses only characters that ids allow"),
    }
}

/// A new token: its text goes into exactly one response, its reference into the store.
pub struct NewToken {
    text: Zeroizing<String>,
    reference: TokenRef,
}

impl NewToken {
    /// Generates a token with 256 random bits for a user.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(
        class: TokenClass,
        user: &UserKey,
        restore_epoch: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let mut body = Zeroizing::new(vec![1]);
        for id in [user.tenant().as_str(), user.user().as_str()] {
            body.push(u8::try_from(id.len()).unwrap_or(0)); // an id has at most 64 bytes
            body.extend_from_slice(id.as_bytes());
        }
        body.extend_from_slice(Zeroizing::new(entropy.bytes::<32>()?).as_slice());
        let (id, verifier) = digest_token(class, restore_epoch, &body);
        let text = Zeroizing::new(format!("{}{}", class.prefix(), *Zeroizing::new(BASE64URL_NOPAD.encode(&body))));
        Ok(Self { text, reference: TokenRef { class, user: user.clone(), id, verifier } })
    }

    /// The reference for the store.
    #[must_use]
    pub fn reference(&self) -> &TokenRef {
        &self.reference
    }

    /// The text, for the response that delivers it.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEntropy;

    fn ann() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
    }

    #[test]
    fn generated_token_parses_and_malformed_tokens_do_not() {
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

    #[test]
    fn digest_contains_the_restore_epoch_once_there_was_a_restore() {
        let body = b"body of a token";
        let id = |number| digest_token(TokenClass::Session, RestoreEpoch { number, ..RestoreEpoch::default() }, body).0;
        let never = Sha256::new().chain_update(b"vestibule/1vs_").chain_update(body).finalize();
        assert!(id(0) == entry_id(&never[..12]) && id(1) != id(0) && id(2) != id(1));
    }
}
