//! A tenant: its settings and its Administrators.

use std::collections::HashMap;

use super::{AccentColor, Logo};
use crate::{env::Timestamp, id::UserId};

/// A tenant's name and settings (`POLICY`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPolicy {
    /// The company.
    pub name: String,
    /// What an authenticator app shows as the issuer.
    pub issuer: String,
    /// Which users get a reset code at a reset.
    pub reset_code_for: ResetCodeFor,
    /// The colour of the pages. With one, or with a logo, the pages show the issuer as the name of the service.
    pub accent: Option<AccentColor>,
    /// The digest of the logo, which is an item of its own.
    pub logo: Option<String>,
    /// Created at, in whole seconds: no audit row is older.
    pub created: Timestamp,
}

/// What to change in the settings of a tenant. What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
    /// What an authenticator app shows as the issuer.
    pub issuer: Option<String>,
    /// Which users get a reset code at a reset.
    pub reset_code_for: Option<ResetCodeFor>,
    /// The colour of the pages; `Some(None)` removes it.
    pub accent: Option<Option<AccentColor>>,
    /// The logo; `Some(None)` removes it.
    pub logo: Option<Option<Logo>>,
}

/// Which users get a reset code at a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCodeFor {
    /// Administrators.
    Administrators,
    /// All users.
    Everyone,
}

/// A tenant's active Administrators (`ADMINS`; in tenant `support` the operators). They are maps, so that a write that is
/// sent twice leaves the same item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administrators {
    /// The active Administrators; the value is whether they sign in locally.
    pub active: HashMap<UserId, bool>,
    /// The active Administrators with an active factor.
    pub with_mfa: HashMap<UserId, bool>,
    /// Whether an IdP is configured. Without one, at least one active Administrator must sign in locally.
    pub idp: bool,
}

impl Administrators {
    /// An active Administrator who signs in locally, other than `but`. The choice is the same at each call.
    pub(crate) fn local(&self, but: Option<&UserId>) -> Option<&UserId> {
        self.active.iter().filter(|(user, local)| **local && Some(*user) != but).map(|(user, _)| user).min()
    }
}
