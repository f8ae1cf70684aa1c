//! Names of things. Every key carries its tenant: there is no bare user id in a call of the store.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::env::{Entropy, EntropyError};

/// An id that is not 1 to 64 of `[A-Za-z0-9_-]`.
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
            /// Takes 1 to 64 of `[A-Za-z0-9_-]`: no id can hold the separator of the store's keys, so none can forge or
            /// prefix another's key.
            ///
            /// # Errors
            /// [`InvalidId`] for anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
            }

            /// A fresh one: 128 random bits.
            ///
            /// # Errors
            /// [`EntropyError`] when there is no randomness.
            pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                Ok(Self(BASE64URL_NOPAD.encode(&entropy.bytes::<16>()?)))
            }

            /// The id as it stands in the API and in keys.
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
    /// A user within a tenant. Only a [`UserKey`] names a person.
    UserId
);
id_type!(
    /// A portal's credential for introspection.
    ClientId
);
id_type!(
    /// A batch exclusion.
    BatchId
);
id_type!(
    /// An entry in a person's item (session, challenge, …): a part of its token's digest, never the token.
    EntryId
);
id_type!(
    /// A client-supplied `Idempotency-Key`.
    IdempotencyKey
);
id_type!(
    /// An audit row, as the API names it.
    AuditId
);

impl TenantId {
    /// The reserved tenant whose people are operators.
    #[must_use]
    pub fn support() -> Self {
        Self("support".to_owned())
    }

    /// Whether this is the reserved tenant of operators.
    #[must_use]
    pub fn is_support(&self) -> bool {
        self.0 == "support"
    }

    /// Names a person of this tenant; the only way to a [`UserKey`].
    #[must_use]
    pub fn user(&self, user: UserId) -> UserKey {
        UserKey { tenant: self.clone(), user }
    }
}

/// A person: a user id together with its tenant.
///
/// There is no way to it but through a tenant:
/// ```compile_fail,E0451
/// # use vestibule::id::{TenantId, UserId, UserKey};
/// let user = UserId::parse("u-ann").unwrap();
/// let tenant = TenantId::parse("acme").unwrap();
/// let key = UserKey { tenant, user }; // private fields: `tenant.user(user)` is the way
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    tenant: TenantId,
    user: UserId,
}

impl UserKey {
    /// The person's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The person's id within the tenant.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

/// A login name, canonical: NFKC, case folded, NFKC again (security.md 12). Two spellings of one name are one value, so
/// they share the account, its counter and its policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(String);

impl LoginName {
    /// The canonical form of whatever somebody typed. Surrounding spaces stay, and so match nobody.
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

/// A name that an IdP says, where it may stand for a login name.
///
/// It is compared more strictly than what somebody types at a sign-in: whoever can register at the IdP chooses it, so a
/// look-alike must not become another person's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertedName {
    lower: String,
    login: LoginName,
}

impl AssertedName {
    /// Reads what the IdP says. `None`: NFKC alters it, so that it only looks like the name it would become.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.nfkc().eq(text.chars()).then(|| Self { lower: text.to_lowercase(), login: LoginName::fold(text) })
    }

    /// The login name under which its person is looked up. Several asserted names have the same one: ask [`Self::is`] too.
    #[must_use]
    pub fn login(&self) -> &LoginName {
        &self.login
    }

    /// Whether it is this username, as an Administrator typed it: only case may differ. Full case folding does not count,
    /// so `strauss` is not `strauß`.
    #[must_use]
    pub fn is(&self, username: &str) -> bool {
        self.lower == username.nfkc().collect::<String>().to_lowercase()
    }
}

/// Whether a character is not shown, but changes how the text around it is: a control character, a line separator, or one of
/// Unicode's bidirectional controls. A name with one can look like another.
#[must_use]
pub fn is_display_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest canonical form of a user name, in bytes: with the user's id it is a sort key of the index, which takes 1,024.
/// Some characters become eighteen.
pub const MAX_FOLDED: usize = 1024 - 1 - 64;

/// NFKC and full case folding, for matching names and searching them.
#[must_use]
pub fn fold(text: &str) -> String {
    caseless::default_case_fold_str(&text.nfkc().collect::<String>()).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
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
            assert_eq!(name.is(username), same, "{asserted} {username}");
        }
        // The same place in the table, and still two names.
        assert_eq!(AssertedName::parse("strauss").unwrap().login(), &LoginName::fold("strauß"));
    }

    #[test]
    fn ids_hold_no_separator() {
        for bad in ["", "a#b", "a b", "a/b", "é", "a.b", &"a".repeat(65)] {
            assert_eq!(TenantId::parse(bad), Err(InvalidId));
        }
        assert!(UserId::parse(&"a".repeat(64)).is_ok());
    }
}
