//! A reset of a user's MFA: by an Administrator of the tenant, or by support for a sole Administrator who is locked out.

use crate::{
    domain::{Administrators, ResetCodeEntry, ResetCodeFor, User},
    env::Timestamp,
    id::UserId,
    policy,
    secret::CodeDigest,
};

/// What a reset changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// The factor is gone, and the user has to enrol.
    Reset,
    /// The user was reset before and has not enrolled: only the reset code is new.
    CodeRenewed,
    /// The user was reset before, has not enrolled and needs no reset code.
    Unchanged,
}

/// Why an operator of support may not reset a user (`not_sole_administrator`). The messages are those of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSoleAdministrator {
    /// The user is no Administrator: an Administrator of the tenant can reset them.
    #[error("the user is not an active Administrator of the tenant: an Administrator of the tenant can reset them")]
    NotAnAdministrator,
    /// Another Administrator with an active factor can reset them.
    #[error("another active Administrator of the tenant has an active factor and can reset the user")]
    AnotherCanReset,
}

/// Resets a user, or renews the reset code of one who was reset and has not enrolled. `code` becomes the reset code where one
/// is required: for Administrators, and for everyone if the tenant says so.
pub fn reset_mfa(user: &mut User, code_for: ResetCodeFor, code: CodeDigest, now: Timestamp) -> ResetKind {
    let awaits_enrolment = !user.has_factor() && user.enrol_by.is_some() && !user.enrolment_deadline_passed(now);
    if !awaits_enrolment {
        let code_required = user.administers() || code_for == ResetCodeFor::Everyone;
        reset(user, code_required.then_some(code), now);
        return ResetKind::Reset;
    }
    if !user.reset_code_required {
        return ResetKind::Unchanged;
    }
    user.reset_code = Some(reset_code(code, now));
    ResetKind::CodeRenewed
}

/// Resets a sole Administrator. The reset code is always required, and every reset is a new one.
pub fn reset_sole_administrator(user: &mut User, code: CodeDigest, now: Timestamp) {
    reset(user, Some(code), now);
}

/// Whether a user is an active Administrator and no other active one has an active factor.
///
/// # Errors
/// [`NotSoleAdministrator::NotAnAdministrator`]: the user is no active Administrator.
/// [`NotSoleAdministrator::AnotherCanReset`]: another active Administrator has an active factor.
pub fn check_sole_administrator(administrators: &Administrators, user: &UserId) -> Result<(), NotSoleAdministrator> {
    if !administrators.active.contains_key(user) {
        return Err(NotSoleAdministrator::NotAnAdministrator);
    }
    if administrators.with_mfa.iter().any(|other| other != user) {
        return Err(NotSoleAdministrator::AnotherCanReset);
    }
    Ok(())
}

/// No factor, no token and no known device: the only way in is enrolment, within [`policy::ENROL_WINDOW`].
fn reset(user: &mut User, code: Option<CodeDigest>, now: Timestamp) {
    user.remove_factor();
    user.devices.clear();
    user.seen = now.whole_second();
    user.enrol_by = Some((now + policy::ENROL_WINDOW).whole_second());
    user.reset_code_required = code.is_some();
    user.reset_code = code.map(|digest| reset_code(digest, now));
    user.raise_security_version();
}

fn reset_code(digest: CodeDigest, now: Timestamp) -> ResetCodeEntry {
    ResetCodeEntry { digest, ends: now + policy::RESET_CODE_LIFE, attempts: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Factor, Kind, Role},
        env::SystemEntropy,
        id::TenantId,
        recovery::ResetCode,
        secret::{CodeKey, Nonce},
        store::fixture::{NOW, authenticator, person},
    };

    #[test]
    fn reset_of_an_enrolled_user_within_the_time_of_an_earlier_reset_is_a_new_one() {
        let key = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
        let code = ResetCode::generate(&SystemEntropy).unwrap().digest(&CodeKey::new([2; 32].into()), &key);
        let mut user = person(Kind::Employee, Role::Standard, Nonce::generate(&SystemEntropy).unwrap());
        assert_eq!(reset_mfa(&mut user, ResetCodeFor::Administrators, code, NOW), ResetKind::Reset);
        assert_eq!(reset_mfa(&mut user, ResetCodeFor::Administrators, code, NOW), ResetKind::Unchanged);
        user.factor = Factor::Active(authenticator());
        assert_eq!(reset_mfa(&mut user, ResetCodeFor::Administrators, code, NOW), ResetKind::Reset);
        assert!(!user.has_factor());
    }
}
