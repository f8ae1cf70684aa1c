//! Recovery tokens and reset codes, which a user types instead of a code of the authenticator app, and the format of
//! both.

use data_encoding::{Encoding, Specification};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    env::{Entropy, EntropyError},
    id::UserKey,
    secret::{CodeDigest, CodeKey},
    totp::TotpCode,
};

/// Crockford's Base32.
const SYMBOLS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RECOVERY_LENGTH: usize = 26;
const RESET_LENGTH: usize = 10;
const RECOVERY_PURPOSE: &str = "recovery-token";
const RESET_PURPOSE: &str = "reset-code";

/// The text is neither six digits nor a recovery token. It is not checked and costs no attempt (security.md 26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code is 6 digits or a recovery token of 26 symbols")]
pub struct MalformedCode;

/// A code that the user typed, in either form.
pub enum EnteredCode {
    /// Six digits.
    Totp(TotpCode),
    /// A recovery token.
    RecoveryToken(RecoveryToken),
}

impl EnteredCode {
    /// Parses a code. ASCII spaces and hyphens are dropped; the rest must be six ASCII digits or 26 Crockford symbols.
    ///
    /// # Errors
    /// [`MalformedCode`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        let bare = Zeroizing::new(text.replace([' ', '-'], ""));
        if let Some(code) = TotpCode::parse(&bare) {
            return Ok(Self::Totp(code));
        }
        canonical(&bare, RECOVERY_LENGTH).map(|token| Self::RecoveryToken(RecoveryToken(token))).ok_or(MalformedCode)
    }
}

/// The canonical spelling of `length` Crockford symbols without separators.
fn canonical(bare: &str, length: usize) -> Option<String> {
    if bare.len() != length {
        return None;
    }
    let mut canonical = Zeroizing::new(String::with_capacity(length));
    for byte in bare.bytes() {
        let symbol = match byte.to_ascii_uppercase() {
            b'O' => '0',
            b'I' | b'L' => '1',
            other => char::from(other),
        };
        if !SYMBOLS.contains(symbol) {
            return None;
        }
        canonical.push(symbol);
    }
    Some(std::mem::take(&mut *canonical))
}

fn grouped(canonical: &str) -> String {
    let mut text = String::with_capacity(canonical.len() * 2);
    for (index, symbol) in canonical.chars().enumerate() {
        if index > 0 && index % 5 == 0 {
            text.push('-');
        }
        text.push(symbol);
    }
    text
}

fn crockford() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str(SYMBOLS);
    match specification.encoding() {
        Ok(encoding) => encoding,
        Err(_) => unreachable!("32 distinct symbols are an encoding"),
    }
}

/// A recovery token of 128 bits in canonical form. It is wiped when dropped; there is no Debug.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryToken(String);

impl RecoveryToken {
    /// Generates a random one.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<16>()?);
        Ok(Self(crockford().encode(bytes.as_slice())))
    }

    /// The token in groups of five symbols, for the one response that shows it.
    #[must_use]
    pub fn display(&self) -> String {
        grouped(&self.0)
    }

    /// The 26 symbols.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.0
    }

    /// The digest that the store keeps.
    #[must_use]
    pub fn digest(&self, keys: &CodeKey, user: &UserKey) -> CodeDigest {
        keys.code(RECOVERY_PURPOSE, user, &self.0)
    }
}

/// Proof that a user's recovery token was correct. It cannot be copied or cloned, so it is used once.
pub struct RecoveryProof {
    user: UserKey,
    digest: CodeDigest,
}

impl RecoveryProof {
    /// The user whose token it was.
    #[must_use]
    pub fn user(&self) -> &UserKey {
        &self.user
    }

    /// The digest that the store must still hold when the proof is used.
    #[must_use]
    pub fn digest(&self) -> &CodeDigest {
        &self.digest
    }
}

/// Checks a recovery token in constant time. The work is the same if no token is stored.
#[must_use]
pub fn check(
    keys: &CodeKey,
    user: &UserKey,
    stored: Option<&CodeDigest>,
    token: &RecoveryToken,
) -> Option<RecoveryProof> {
    let digest = token.digest(keys, user);
    // No token is empty, so no input has this digest.
    let nothing = keys.code(RECOVERY_PURPOSE, user, "");
    let equal = *stored.unwrap_or(&nothing) == digest;
    (equal & stored.is_some()).then(|| RecoveryProof { user: user.clone(), digest })
}

/// A reset code of 50 bits that an Administrator or operator gives to the user. It is wiped when dropped; there is no
/// Debug.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ResetCode(String);

impl ResetCode {
    /// Generates a random one.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<RESET_LENGTH>()?);
        // 256 is a multiple of 32: every symbol is equally likely.
        Ok(Self(bytes.iter().map(|byte| char::from(SYMBOLS.as_bytes()[usize::from(byte % 32)])).collect()))
    }

    /// The code as `XXXXX-XXXXX`.
    #[must_use]
    pub fn display(&self) -> String {
        grouped(&self.0)
    }

    /// The digest that the store keeps.
    #[must_use]
    pub fn digest(&self, keys: &CodeKey, user: &UserKey) -> CodeDigest {
        keys.code(RESET_PURPOSE, user, &self.0)
    }

    /// The digest of the typed code. `None` if it is not ten symbols.
    #[must_use]
    pub fn parse_digest(keys: &CodeKey, user: &UserKey, text: &str) -> Option<CodeDigest> {
        let bare = Zeroizing::new(text.replace([' ', '-'], ""));
        canonical(&bare, RESET_LENGTH).map(|code| Self(code).digest(keys, user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        id::{TenantId, UserId},
    };

    fn user(name: &str) -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse(name).unwrap())
    }

    fn read(text: &str) -> RecoveryToken {
        match EnteredCode::parse(text) {
            Ok(EnteredCode::RecoveryToken(token)) => token,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn all_spellings_of_a_token_are_equal() {
        let token = RecoveryToken::generate(&SystemEntropy).unwrap();
        assert_eq!(token.canonical().len(), 26);
        let shown = token.display();
        for text in [shown.clone(), shown.to_lowercase(), shown.replace('-', " "), shown.replace('0', "o")] {
            assert_eq!(read(&text).canonical(), token.canonical());
        }
        assert_eq!(read(&shown.replace('1', "l")).canonical(), token.canonical());
        assert_ne!(RecoveryToken::generate(&SystemEntropy).unwrap().canonical(), token.canonical());
    }

    #[test]
    fn token_is_shown_in_groups_of_five() {
        let shown = RecoveryToken::generate(&SystemEntropy).unwrap().display();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 1]);
    }

    #[test]
    fn malformed_code_is_refused() {
        let long = "0".repeat(27);
        let with_u = format!("{}U", "0".repeat(25));
        for bad in [
            "",
            "１２３４５６",
            "١٢٣٤٥٦",
            "+12345",
            "12345",
            "1234567",
            "12345a",
            "123456\n",
            "123\t456",
            "123\u{a0}456",
            &long,
            &with_u,
        ] {
            assert!(EnteredCode::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["123456", "123 456", "12-34-56"] {
            assert!(matches!(EnteredCode::parse(good), Ok(EnteredCode::Totp(_))));
        }
    }

    #[test]
    fn digests_depend_on_user_and_purpose() {
        let keys = CodeKey::new([2; 32].into());
        let (ann, bob) = (user("u-ann"), user("u-bob"));
        let token = RecoveryToken::generate(&SystemEntropy).unwrap();
        let stored = token.digest(&keys, &ann);
        assert!(check(&keys, &ann, Some(&stored), &token).is_some());
        assert!(check(&keys, &bob, Some(&stored), &token).is_none());
        assert!(check(&keys, &ann, None, &token).is_none());
        let reset = ResetCode::generate(&SystemEntropy).unwrap();
        let typed = reset.display().to_lowercase();
        assert!(ResetCode::parse_digest(&keys, &ann, &typed) == Some(reset.digest(&keys, &ann)));
        assert!(ResetCode::parse_digest(&keys, &bob, &typed) != Some(reset.digest(&keys, &ann)));
        assert!(ResetCode::parse_digest(&keys, &ann, "12345").is_none());
    }
}
