//! A tenant: its settings and its Administrators.

use std::collections::HashMap;

use crate::id::UserId;

/// A tenant's name and settings (`POLICY`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPolicy {
    /// The company.
    pub name: String,
    /// What an authenticator app shows as the issuer.
    pub issuer: String,
    /// For whom a reset hands out a reset code.
    pub reset_code_for: ResetCodeFor,
    /// Created at, s: no audit row is older.
    pub created: i64,
}

/// For whom a reset hands out a reset code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCodeFor {
    /// For Administrators.
    Administrators,
    /// For everyone.
    Everyone,
}

/// A tenant's active Administrators (`ADMINS`; in `support` its operators), as maps: a set that is written twice says the
/// same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administrators {
    /// Those who are active, and whether they sign in locally.
    pub active: HashMap<UserId, bool>,
    /// Those of them who have an active factor.
    pub with_mfa: HashMap<UserId, bool>,
    /// Whether the tenant's IdP is configured: without one, an active Administrator has to sign in locally.
    pub idp: bool,
}

impl Administrators {
    /// An active Administrator who signs in locally, other than `but`.
    pub(crate) fn local(&self, but: Option<&UserId>) -> Option<&UserId> {
        self.active.iter().filter(|(user, local)| **local && Some(*user) != but).map(|(user, _)| user).min()
    }
}
