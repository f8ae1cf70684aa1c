//! Names: a user's profile, and the login name with its password.

use super::PasswordVersion;
use crate::{
    env::{Day, Timestamp},
    id::UserId,
    secret::Nonce,
};

/// A user's names (`P`). A change of them does not raise the security version. The index `dir` lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The login name as it was given.
    pub username: String,
    /// The display name.
    pub display_name: String,
    /// The address for notifications.
    pub email: Option<String>,
    /// Created at, in whole seconds.
    pub created: Timestamp,
    /// The name id by which the tenant's IdP identifies the user, if it was linked.
    pub name_id: Option<String>,
    /// The digest of the linked name id.
    pub subject: Option<String>,
}

/// A login name (`L`): the password and its failures. Each unauthenticated attempt writes it, so no sign-in transaction has a
/// condition on it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LoginRow {
    /// The user who has the name. `None` if no user has it.
    pub uid: Option<UserId>,
    /// Password hash, PHC.
    pub hash: Option<String>,
    /// The version of the password. `None` if no user has the name.
    pub version: Option<PasswordVersion>,
    /// Attempts charged since the last success.
    pub attempts: i64,
    /// Time of the last charged attempt.
    pub last: Timestamp,
    /// Id of the last charged attempt.
    pub attempt: Option<Nonce>,
    /// The last day on which failures caused a notification.
    pub notified_day: Option<Day>,
}
