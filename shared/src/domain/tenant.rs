//! A tenant: its settings and its Administrators.

use std::collections::{HashMap, HashSet};

use super::{AccentColor, AuthType, Logo};
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
    /// The colour of the pages. If the tenant has a colour or a logo, the pages show the issuer as the name of the service.
    pub accent: Option<AccentColor>,
    /// The digest of the logo, which is an item of its own.
    pub logo: Option<String>,
    /// Created at, in whole seconds: no audit row is older.
    pub created: Timestamp,
}

/// What to change in the settings of a tenant. `None` leaves a setting.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
    /// What an authenticator app shows as the issuer.
    pub issuer: Option<String>,
    /// Which users get a reset code at a reset.
    pub reset_code_for: Option<ResetCodeFor>,
    /// The colour of the pages.
    pub accent: Change<AccentColor>,
    /// The logo.
    pub logo: Change<Logo>,
}

/// A change of a setting that a tenant may lack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The setting stays as it is.
    #[default]
    Keep,
    /// The tenant has the setting no longer.
    Remove,
    /// The setting gets this value.
    Set(T),
}

/// Which users get a reset code at a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCodeFor {
    /// Administrators.
    Administrators,
    /// All users.
    Everyone,
}

/// A tenant's active Administrators (`ADMINS`; in tenant `support` the operators).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administrators {
    /// The active Administrators, and how each signs in.
    pub active: HashMap<UserId, AuthType>,
    /// The active Administrators with an active factor.
    pub with_mfa: HashSet<UserId>,
    /// Whether an IdP is configured. Without one, at least one active Administrator must sign in locally.
    pub has_idp: bool,
}

impl Administrators {
    /// An active Administrator who signs in locally, other than `except`. The choice is the same at each call.
    pub(crate) fn local(&self, except: Option<&UserId>) -> Option<&UserId> {
        let local = self.active.iter().filter(|(_, auth_type)| **auth_type == AuthType::Local);
        local.map(|(user, _)| user).filter(|user| Some(*user) != except).min()
    }
}
