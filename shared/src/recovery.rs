//! What is typed into the code field, and the recovery token that may be.

use data_encoding::{Encoding, Specification};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    env::{Entropy, EntropyError},
    id::UserKey,
    secret::{CodeDigest, DigestKeys},
    totp::TotpCode,
};

/// Crockford's base32 alphabet.
const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols of a recovery token: 128 random bits.
const SYMBOLS: usize = 26;
const PURPOSE: &str = "recovery-token";

/// What was typed is neither six digits nor of a recovery token's form: nothing is tried, nothing charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither 6 digits nor a recovery token")]
pub struct MalformedCode;

/// What may be typed into the code field.
pub enum Code {
    /// Six digits.
    Totp(TotpCode),
    /// A recovery token.
    Recovery(RecoveryCode),
}

impl Code {
    /// Reads what was typed; ASCII spaces and hyphens do not count (security.md 26).
    ///
    /// # Errors
    /// [`MalformedCode`].
    pub fn parse(typed: &str) -> Result<Self, MalformedCode> {
        let bare = Zeroizing::new(typed.chars().filter(|c| !matches!(c, ' ' | '-')).collect::<String>());
        if let Some(code) = TotpCode::parse(&bare) {
            return Ok(Self::Totp(code));
        }
        canonical(&bare, SYMBOLS).map(|text| Self::Recovery(RecoveryCode(text))).ok_or(MalformedCode)
    }
}

/// One spelling for all that read alike: upper case, O as 0, I and L as 1.
fn canonical(bare: &str, symbols: usize) -> Option<String> {
    if bare.len() != symbols {
        return None;
    }
    bare.chars()
        .map(|c| match c.to_ascii_uppercase() {
            'O' => Some('0'),
            'I' | 'L' => Some('1'),
            c => ALPHABET.contains(c).then_some(c),
        })
        .collect()
}

/// A recovery token in its one spelling. Wipes itself; cannot be printed or copied.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode(String);

impl RecoveryCode {
    /// 128 random bits.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self(crockford().encode(Zeroizing::new(entropy.bytes::<16>()?).as_slice())))
    }

    /// In groups of five, for the one response that shows it.
    #[must_use]
    pub fn to_display(&self) -> String {
        let groups: Vec<&str> =
            (0..self.0.len()).step_by(5).filter_map(|at| self.0.get(at..(at + 5).min(SYMBOLS))).collect();
        groups.join("-")
    }

    /// What the store keeps of it, under the person's key.
    #[must_use]
    pub fn digest(&self, keys: &DigestKeys, user: &UserKey) -> CodeDigest {
        keys.code(PURPOSE, user, &self.0)
    }
}

fn crockford() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str(ALPHABET);
    match specification.encoding() {
        Ok(encoding) => encoding,
        Err(_) => unreachable!("32 symbols make an encoding"),
    }
}

/// A person's recovery token was typed. It pays for one sign-in, and cannot be copied.
pub struct RecoveryProof {
    user: UserKey,
    digest: CodeDigest,
}

impl RecoveryProof {
    /// Whose token.
    #[must_use]
    pub fn user(&self) -> &UserKey {
        &self.user
    }

    /// The digest that is to be spent.
    #[must_use]
    pub fn digest(&self) -> &CodeDigest {
        &self.digest
    }
}

/// Compares what was typed with the person's own token, in the same time whether or not there is one (security.md 33).
#[must_use]
pub fn check(
    keys: &DigestKeys,
    user: &UserKey,
    stored: Option<&CodeDigest>,
    typed: &RecoveryCode,
) -> Option<RecoveryProof> {
    let digest = typed.digest(keys, user);
    let nothing = keys.code("no recovery token", user, "");
    let right = *stored.unwrap_or(&nothing) == digest;
    right.then(|| RecoveryProof { user: user.clone(), digest })
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

    fn recovery(typed: &str) -> Option<String> {
        match Code::parse(typed) {
            Ok(Code::Recovery(code)) => Some(code.0.clone()),
            _ => None,
        }
    }

    #[test]
    fn spellings_of_a_token_are_one() {
        let code = RecoveryCode::generate(&SystemEntropy).unwrap();
        let shown = code.to_display();
        assert_eq!(shown.len(), SYMBOLS + 5);
        let written = shown.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        for spelling in [&shown, &shown.replace('-', ""), &written] {
            assert_eq!(recovery(spelling).as_deref(), Some(&*code.0));
        }
    }

    #[test]
    fn malformed_codes_are_neither() {
        let cases = ["", "12345", "1234567", "+12345", "12345a", "123456\n", "ABCDE-FGHJK", "１２３４５６", "٣٣٣٣٣٣"];
        for typed in cases.into_iter().chain([&*"U".repeat(26), &*"A".repeat(27), &*"é".repeat(13)]) {
            assert!(Code::parse(typed).is_err(), "{typed}");
        }
        assert!(matches!(Code::parse(" 123-456 "), Ok(Code::Totp(_))));
    }

    #[test]
    fn a_token_proves_for_its_person_alone() {
        let keys = DigestKeys::new([1; 32], [2; 32]);
        let code = RecoveryCode::generate(&SystemEntropy).unwrap();
        let stored = code.digest(&keys, &ann());
        let bob = TenantId::parse("acme").unwrap().user(UserId::parse("u-bob").unwrap());
        assert!(check(&keys, &ann(), Some(&stored), &code).is_some());
        assert!(check(&keys, &bob, Some(&stored), &code).is_none());
        assert!(check(&keys, &ann(), None, &code).is_none());
    }
}
