//! Versions: numbers that each change raises by one. Each kind is a type of its own, so that two kinds are never compared.

use serde::{Deserialize, Serialize};

macro_rules! versions {
    ($($(#[$meta:meta])* $name:ident)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub struct $name(pub i64);

        impl $name {
            /// The version after one more change.
            #[must_use]
            pub const fn raised(self) -> Self {
                Self(self.0 + 1)
            }
        }
    )* };
}
versions! {
    /// The version of an item of the store. An item that no write raised has version 0.
    ItemVersion
    /// The version of what a user's tokens depend on. A new user has version 1.
    SecurityVersion
    /// The version of a user's password. A new user has version 1, with or without a password.
    PasswordVersion
}
