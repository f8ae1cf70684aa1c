//! A change of a user by an Administrator.

use crate::{
    domain::{AuthType, Kind, Role, User},
    env::Timestamp,
    id::TenantId,
};

/// What is to change about a user's item. `None` leaves it.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserChange {
    /// Employee or contact. An exclusion ends with the contact.
    pub kind: Option<Kind>,
    /// What the user may do.
    pub role: Option<Role>,
    /// How the user signs in.
    pub auth_type: Option<AuthType>,
    /// Whether the user may sign in.
    pub active: Option<bool>,
    /// A new password: whether it is long enough for a contact.
    pub password_fits_contact: Option<bool>,
    /// Whether the user is linked to another name id of the IdP.
    pub relinked: bool,
}

/// Why a user is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpdateRejection {
    /// The kind and the role do not go together.
    #[error("the kind and the role do not go together")]
    InvalidCombination,
    /// The new password is too short for a contact.
    #[error("the new password is too short for a contact")]
    PasswordTooShort,
}

/// Whether a role goes with a kind, in a tenant.
#[must_use]
pub fn role_allowed(tenant: &TenantId, kind: Kind, role: Role) -> bool {
    match (kind, role) {
        (Kind::Employee, Role::Operator) => tenant.is_support(),
        (Kind::Employee, Role::Administrator | Role::Standard) | (Kind::Contact, Role::Portal) => !tenant.is_support(),
        _ => false,
    }
}

/// Whether a role goes with a kind in at least one tenant: the check that is possible before the tenant is known.
#[must_use]
pub fn role_allowed_in_some_tenant(kind: Kind, role: Role) -> bool {
    (kind == Kind::Contact) == (role == Role::Portal)
}

/// Changes a user. Every change raises the security version: sessions have to be refreshed.
///
/// # Errors
/// [`UpdateRejection::InvalidCombination`]: after the change, the user's role would not be one for the kind and the tenant.
/// [`UpdateRejection::PasswordTooShort`]: the user would be a contact, and the new password is too short.
pub fn update_user(
    user: &mut User,
    tenant: &TenantId,
    change: UserChange,
    now: Timestamp,
) -> Result<(), UpdateRejection> {
    let (kind, role) = (change.kind.unwrap_or(user.kind), change.role.unwrap_or(user.role));
    if !role_allowed(tenant, kind, role) {
        return Err(UpdateRejection::InvalidCombination);
    }
    if kind == Kind::Contact && change.password_fits_contact == Some(false) {
        return Err(UpdateRejection::PasswordTooShort);
    }
    let before = (user.kind, user.role, user.role_by_groups, user.auth_type, user.active);
    (user.kind, user.role) = (kind, role);
    user.role_by_groups &= change.role.is_none();
    user.auth_type = change.auth_type.unwrap_or(user.auth_type);
    user.active = change.active.unwrap_or(user.active);
    let unchanged = before == (user.kind, user.role, user.role_by_groups, user.auth_type, user.active);
    if unchanged && change.password_fits_contact.is_none() && !change.relinked {
        return Ok(());
    }
    if user.kind == Kind::Employee {
        user.end_exclusion(now);
    }
    if let Some(fits_contact) = change.password_fits_contact {
        user.set_password(fits_contact);
    }
    if !user.active {
        user.devices.clear();
    }
    user.raise_security_version();
    Ok(())
}

impl User {
    /// Records a new password, and forgets the known devices.
    pub(crate) fn set_password(&mut self, fits_contact: bool) {
        self.password_version = self.password_version.raised();
        self.password_fits_contact = fits_contact;
        self.devices.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{Device, Exclusion},
        env::SystemEntropy,
        id::{BatchId, UserId},
        secret::{NewToken, Nonce, RestoreEpoch, TokenClass},
        store::fixture::{NOW, person},
    };

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    /// A contact who is excluded from MFA and has a known device.
    fn contact() -> User {
        let mut user = person(Kind::Contact, Role::Portal, Nonce::generate(&SystemEntropy).unwrap());
        user.excluded = Some(Exclusion { batch: BatchId::parse("b").unwrap(), at: NOW });
        let key = tenant().user(UserId::parse("u-con").unwrap());
        let token = NewToken::generate(TokenClass::Device, &key, RestoreEpoch::default(), &SystemEntropy).unwrap();
        let verifier = *token.reference().verifier();
        let device = Device { verifier, ends: NOW + Duration::from_secs(1), attempts: 0, last: NOW, attempt: None };
        user.devices.insert(token.reference().id().clone(), device);
        user
    }

    fn updated(change: UserChange) -> User {
        let mut user = contact();
        update_user(&mut user, &tenant(), change, NOW).unwrap();
        user
    }

    #[test]
    fn each_change_raises_the_security_version_and_none_leaves_it() {
        assert_eq!(updated(UserChange::default()).security_version.0, 1);
        let relinked = UserChange { relinked: true, ..UserChange::default() };
        assert_eq!(updated(relinked).security_version.0, 2);
        let method = UserChange { auth_type: Some(AuthType::SamlSso), ..UserChange::default() };
        assert_eq!(updated(method).security_version.0, 2);
    }

    #[test]
    fn rejected_change_leaves_the_user_as_it_was() {
        let (user, inactive) = (contact(), UserChange { active: Some(false), ..UserChange::default() });
        for (change, why) in [
            (UserChange { role: Some(Role::Administrator), ..inactive }, UpdateRejection::InvalidCombination),
            (UserChange { password_fits_contact: Some(false), ..inactive }, UpdateRejection::PasswordTooShort),
        ] {
            let mut changed = user.clone();
            assert_eq!(update_user(&mut changed, &tenant(), change, NOW), Err(why));
            assert!(changed == user);
        }
    }

    #[test]
    fn only_an_employee_loses_the_exclusion_and_only_an_inactive_user_the_devices() {
        let method = updated(UserChange { auth_type: Some(AuthType::SamlSso), ..UserChange::default() });
        assert!(method.excluded.is_some() && method.devices.len() == 1);
        let inactive = updated(UserChange { active: Some(false), ..UserChange::default() });
        assert!(inactive.excluded.is_some() && inactive.devices.is_empty());
        let (kind, role) = (Some(Kind::Employee), Some(Role::Standard));
        let employee = updated(UserChange { kind, role, ..UserChange::default() });
        assert!(employee.excluded.is_none() && employee.devices.len() == 1);
    }
}
