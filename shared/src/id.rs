//! Identifiers and names. Every key contains its tenant: no call of the store takes a user id alone.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::env::{Entropy, EntropyError};

/// The text is not an id: 1 to 64 characters of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidId;

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses 1 to 64 characters of `[A-Za-z0-9_-]`. An id cannot contain the separator of the store's keys, so
            /// it can neither forge another item's key nor be a prefix of it.
            ///
            /// # Errors
            /// [`InvalidId`] for anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
            }

            /// Generates an id of 128 random bits.
            ///
            /// # Errors
            /// [`EntropyError`] if the source of randomness fails.
            pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                Ok(Self(BASE64URL_NOPAD.encode(&entropy.bytes::<16>()?)))
            }

            /// The id as the API and the store's keys use it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                if is_id(&text) { Ok(Self(text)) } else { Err(InvalidId) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// A company. `support` is the reserved tenant of operators.
    TenantId
);
id_type!(
    /// A user id, unique within its tenant. Only a [`UserKey`] identifies a user.
    UserId
);
id_type!(
    /// A portal's client credential for introspection.
    ClientId
);
id_type!(
    /// A batch exclusion.
    BatchId
);
id_type!(
    /// An entry in a user's item (session, challenge, …). It is a part of the token's digest, never the token.
    EntryId
);
id_type!(
    /// A client-supplied `Idempotency-Key`.
    IdempotencyKey
);
id_type!(
    /// A message that asks for a mail.
    MessageId
);
id_type!(
    /// The id of an audit row in the API.
    AuditId
);

impl TenantId {
    /// The reserved tenant whose users are operators.
    #[must_use]
    pub fn support() -> Self {
        Self("support".to_owned())
    }

    /// Whether this is the reserved tenant of operators.
    #[must_use]
    pub fn is_support(&self) -> bool {
        self.0 == "support"
    }

    /// The key of a user of this tenant. This is the only way to get a [`UserKey`].
    #[must_use]
    pub fn user(&self, user: UserId) -> UserKey {
        UserKey { tenant: self.clone(), user }
    }
}

/// A user: a user id together with its tenant.
///
/// Only [`TenantId::user`] makes one:
/// ```compile_fail,E0451
/// # use vestibule::id::{TenantId, UserId, UserKey};
/// let user = UserId::parse("u-ann").unwrap();
/// let tenant = TenantId::parse("acme").unwrap();
/// let key = UserKey { tenant, user }; // error: private fields; use `tenant.user(user)`
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    tenant: TenantId,
    user: UserId,
}

impl UserKey {
    /// The user's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The user's id within the tenant.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

/// A login name in canonical form: NFKC, case folded, NFKC again (security.md 12). All spellings of a name are equal,
/// so they share the account, its failure counter and its policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(String);

impl LoginName {
    /// The canonical form of what the user typed. Surrounding spaces are kept, so such a name matches no user.
    #[must_use]
    pub fn fold(text: &str) -> Self {
        Self(fold(text))
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that an IdP asserts, to be used as a login name.
///
/// It is compared more strictly than a name typed at sign-in. An attacker who can register at the IdP chooses this
/// name, so a look-alike must not match another user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertedName {
    lower: String,
    login: LoginName,
}

impl AssertedName {
    /// Parses the asserted name. `None` if NFKC changes it: then it only looks like the name it would become.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.nfkc().eq(text.chars()).then(|| Self { lower: text.to_lowercase(), login: LoginName::fold(text) })
    }

    /// The login name to look the user up by. Several asserted names share one login name, so check [`Self::matches`]
    /// too.
    #[must_use]
    pub fn login(&self) -> &LoginName {
        &self.login
    }

    /// Whether it equals this username, which an Administrator typed. Only case may differ. Full case folding is not
    /// used, so `strauss` does not match `strauß`.
    #[must_use]
    pub fn matches(&self, username: &str) -> bool {
        self.lower == username.nfkc().collect::<String>().to_lowercase()
    }
}

/// Whether the character is invisible but changes how the text around it is shown: a control character, a line
/// separator, or a Unicode bidirectional control. A name with such a character can look like another name.
#[must_use]
pub fn is_display_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Maximum length of a folded user name, in bytes. Name, separator and user id form a sort key of the index, whose
/// limit is 1,024 bytes. Folding can turn one character into 18 bytes.
pub const MAX_FOLDED: usize = 1024 - 1 - 64;

/// Folds a text with NFKC and full case folding, to compare names and search in them.
#[must_use]
pub fn fold(text: &str) -> String {
    caseless::default_case_fold_str(&text.nfkc().collect::<String>()).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_fold_to_one_login_name() {
        for other in ["BOB", "ｂｏｂ", "Bob"] {
            assert_eq!(LoginName::fold(other), LoginName::fold("bob"));
        }
        assert_eq!(LoginName::fold("e\u{301}ve"), LoginName::fold("\u{c9}ve"));
        for other in [" bob", "bob ", "bob\u{200b}", "bob.", "b0b"] {
            assert_ne!(LoginName::fold(other), LoginName::fold("bob"));
        }
    }

    #[test]
    fn asserted_name_that_nfkc_alters_is_none() {
        for altered in ["ｋim", "ᵏim", "𝐤im", "kⅰm", "\u{212a}im", "kim\u{a0}", "e\u{301}ve", "ſam", "ﬁn"] {
            assert_eq!(AssertedName::parse(altered), None, "{altered}");
        }
        for stable in ["kim", "KIM", "éve", "strauß", "ΣΑΣ", "kim@acme.example", "кim"] {
            assert!(AssertedName::parse(stable).is_some(), "{stable}");
        }
    }

    #[test]
    fn asserted_name_differs_from_the_username_in_case_only() {
        for (asserted, username, same) in [
            ("KIM", "kim", true),
            ("kim", "Kim", true),
            ("kim", "ｋim", true),
            ("STRAUẞ", "strauß", true),
            ("éve", "E\u{301}VE", true),
            ("strauss", "strauß", false),
            ("strauß", "STRAUSS", false),
            ("σασ", "σας", false),
            ("kim.", "kim", false),
        ] {
            let name = AssertedName::parse(asserted).unwrap();
            assert_eq!(name.matches(username), same, "{asserted} {username}");
        }
        // Both have the same login name and still differ as asserted names.
        assert_eq!(AssertedName::parse("strauss").unwrap().login(), &LoginName::fold("strauß"));
    }

    #[test]
    fn character_that_changes_how_text_is_shown_is_a_display_control() {
        assert!(['\n', '\u{7f}', '\u{200e}', '\u{202e}', '\u{2069}'].into_iter().all(is_display_control));
        assert!(!['a', ' ', 'é', '😀'].into_iter().any(is_display_control));
    }

    #[test]
    fn id_with_separator_is_refused() {
        for bad in ["", "a#b", "a b", "a/b", "é", "a.b", &"a".repeat(65)] {
            assert_eq!(TenantId::parse(bad), Err(InvalidId));
        }
        assert!(UserId::parse(&"a".repeat(64)).is_ok());
    }
}
