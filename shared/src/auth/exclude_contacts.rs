//! Exclusion of contacts from MFA, and the end of an exclusion.

use crate::{
    domain::{Exclusion, Kind, User},
    env::Timestamp,
};

/// Why the exclusion of a user does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExclusionRejection {
    /// An employee is never excluded (docs/security.md 43).
    #[error("the user is not a contact")]
    NotAContact,
    /// The password would be the only factor, and it is too short, or was set before Vestibule stored whether it is long enough
    /// (docs/security.md 9).
    #[error("the password is too short to be the only factor")]
    PasswordTooShort,
    /// The contact is already in the requested state.
    #[error("the exclusion does not change")]
    Unchanged,
}

/// Excludes a contact from MFA: the factor and every token are void, and the contact signs in with the password alone.
///
/// # Errors
/// [`ExclusionRejection`]: each variant.
pub fn exclude_contact(user: &mut User, exclusion: Exclusion) -> Result<(), ExclusionRejection> {
    if user.kind != Kind::Contact {
        return Err(ExclusionRejection::NotAContact);
    }
    if user.excluded.is_some() {
        return Err(ExclusionRejection::Unchanged);
    }
    if !user.password_fits_contact {
        return Err(ExclusionRejection::PasswordTooShort);
    }
    user.remove_factor();
    user.reset_code = None;
    user.reset_code_required = false;
    user.enrol_by = None;
    user.excluded = Some(exclusion);
    user.raise_security_version();
    Ok(())
}

/// Includes an excluded contact again: the contact must enrol at the next sign-in.
///
/// # Errors
/// [`ExclusionRejection::NotAContact`]: the user is an employee. [`ExclusionRejection::Unchanged`]: the contact is not excluded.
pub fn include_contact(user: &mut User, now: Timestamp) -> Result<(), ExclusionRejection> {
    if user.kind != Kind::Contact {
        return Err(ExclusionRejection::NotAContact);
    }
    if user.excluded.is_none() {
        return Err(ExclusionRejection::Unchanged);
    }
    user.end_exclusion(now);
    user.raise_security_version();
    Ok(())
}

impl User {
    /// Ends the exclusion of an excluded user, who must enrol at the next sign-in. An excluded user needed no factor, so the
    /// account must not count as dormant, and the enrolment deadline of an earlier reset no longer applies.
    pub(crate) fn end_exclusion(&mut self, now: Timestamp) {
        if self.excluded.take().is_some() {
            self.seen = now.whole_second();
            self.enrol_by = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Factor, Role},
        env::SystemEntropy,
        id::BatchId,
        secret::Nonce,
        store::fixture::{NOW, authenticator, person},
    };

    fn contact() -> User {
        let enrolled = Factor::Active(authenticator());
        let incarnation = Nonce::generate(&SystemEntropy).unwrap();
        User { factor: enrolled, consecutive_failures: 3, ..person(Kind::Contact, Role::Portal, incarnation) }
    }

    fn exclusion() -> Exclusion {
        Exclusion { batch: BatchId::parse("b").unwrap(), at: NOW }
    }

    #[test]
    fn excluded_contact_has_no_factor_and_no_valid_session() {
        let mut user = contact();
        exclude_contact(&mut user, exclusion()).unwrap();
        assert!(user.excluded == Some(exclusion()) && !user.has_factor());
        assert_eq!((user.security_version.0, user.consecutive_failures), (2, 0));
    }

    #[test]
    fn reincluded_contact_is_not_dormant_and_may_enrol() {
        let mut user =
            User { excluded: Some(exclusion()), seen: Timestamp::default(), enrol_by: Some(NOW), ..contact() };
        include_contact(&mut user, NOW).unwrap();
        assert!(user.excluded.is_none() && user.seen == NOW && user.enrol_by.is_none());
        assert_eq!(user.security_version.0, 2);
    }

    #[test]
    fn employee_is_neither_excluded_nor_included() {
        let user = User { kind: Kind::Employee, ..contact() };
        assert_eq!(exclude_contact(&mut user.clone(), exclusion()), Err(ExclusionRejection::NotAContact));
        assert_eq!(include_contact(&mut user.clone(), NOW), Err(ExclusionRejection::NotAContact));
    }

    #[test]
    fn contact_with_a_short_password_is_not_excluded() {
        let mut user = User { password_fits_contact: false, ..contact() };
        assert_eq!(exclude_contact(&mut user, exclusion()), Err(ExclusionRejection::PasswordTooShort));
        assert!(user.excluded.is_none() && user.has_factor());
    }

    #[test]
    fn second_exclusion_and_second_inclusion_change_nothing() {
        let excluded = User { excluded: Some(exclusion()), password_fits_contact: false, ..contact() };
        assert_eq!(exclude_contact(&mut excluded.clone(), exclusion()), Err(ExclusionRejection::Unchanged));
        assert_eq!(include_contact(&mut contact(), NOW), Err(ExclusionRejection::Unchanged));
    }
}
