//! Names: a user's profile, and the login name with its password.

use crate::{id::UserId, secret::Nonce};

/// A person's names (`P`): what does not raise the epoch, and is listed by the index `dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The login name as it was given.
    pub username: String,
    /// The name that is shown.
    pub display_name: String,
    /// Where notifications go.
    pub email: Option<String>,
    /// Created at, s.
    pub created: i64,
    /// Whom their organisation's IdP calls so, where that was linked.
    pub name_id: Option<String>,
    /// The link's digest, which goes with it.
    pub subject: Option<String>,
}

/// A login name (`L`): the password and its failures. Strangers can write it, so no sign-in transaction touches it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LoginRow {
    /// Whose name it is; absent for names that nobody has.
    pub uid: Option<UserId>,
    /// Password hash, PHC.
    pub hash: Option<String>,
    /// Password version.
    pub version: Option<i64>,
    /// Tries since the last success.
    pub attempts: i64,
    /// The last counted try, ms.
    pub last: i64,
    /// That try's attempt.
    pub attempt: Option<Nonce>,
    /// The day (since 1970) on which a row of five failures was last told of.
    pub told: Option<i64>,
}
