//! The rule that replaces a recovery token.

use super::session::TokenRejection;
use crate::{
    domain::{StoredRecoveryToken, User},
    env::Timestamp,
    secret::{CodeDigest, Nonce, TokenRef},
};

/// Why no recovery token is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryTokenRejection {
    /// The caller's session ended.
    #[error(transparent)]
    Session(#[from] TokenRejection),
    /// The factor is disabled: the user needs a reset.
    #[error("the factor is disabled")]
    FactorDisabled,
    /// The user has no factor to recover.
    #[error("the user has no factor")]
    NoFactor,
    /// The factor is not the one that the caller's request loaded.
    #[error("the factor was replaced")]
    FactorReplaced,
}

/// Replaces the recovery token of the factor with the id `factor`. The previous token is void.
///
/// # Errors
/// [`RecoveryTokenRejection`], in the order of its variants.
pub fn replace_recovery_token(
    user: &mut User,
    session: &TokenRef,
    factor: Option<Nonce>,
    digest: CodeDigest,
    now: Timestamp,
) -> Result<(), RecoveryTokenRejection> {
    user.session(session, now)?;
    if user.is_factor_disabled() {
        return Err(RecoveryTokenRejection::FactorDisabled);
    }
    let authenticator = user.factor.active_mut().ok_or(RecoveryTokenRejection::NoFactor)?;
    if factor != Some(authenticator.id) {
        return Err(RecoveryTokenRejection::FactorReplaced);
    }
    authenticator.recovery_token = Some(StoredRecoveryToken { digest, issued_at: now.whole_second() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Authenticator, Factor, Kind, Role},
        env::SystemEntropy,
        id::{TenantId, UserId, UserKey},
        policy,
        recovery::RecoveryToken,
        secret::CodeKey,
        store::fixture::{NOW, add_session, authenticator, person},
    };

    fn key() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
    }

    fn digest() -> CodeDigest {
        RecoveryToken::generate(&SystemEntropy).unwrap().digest(&CodeKey::new([2; 32].into()), &key())
    }

    /// A user with a session, and an authenticator app that has a recovery token.
    fn user() -> (User, TokenRef, Option<Nonce>) {
        let recovery_token = Some(StoredRecoveryToken { digest: digest(), issued_at: NOW });
        let authenticator = Authenticator { recovery_token, ..authenticator() };
        let incarnation = Nonce::generate(&SystemEntropy).unwrap();
        let mut user = person(Kind::Employee, Role::Standard, incarnation);
        let (session, factor) = (add_session(&mut user, &key()), authenticator.id);
        user.factor = Factor::Active(authenticator);
        (user, session, Some(factor))
    }

    #[test]
    fn new_recovery_token_replaces_the_previous_one() {
        let ((mut user, session, factor), new) = (user(), digest());
        assert_eq!(replace_recovery_token(&mut user, &session, factor, new, NOW), Ok(()));
        assert!(user.factor.recovery_token().is_some_and(|token| token.digest == new));
    }

    #[test]
    fn recovery_token_needs_a_valid_session() {
        let (mut user, session, factor) = user();
        let late = NOW + policy::SESSION_LIFE;
        let rejected = replace_recovery_token(&mut user, &session, factor, digest(), late);
        assert_eq!(rejected, Err(TokenRejection::Invalid.into()));
        user.raise_security_version();
        let rejected = replace_recovery_token(&mut user, &session, factor, digest(), NOW);
        assert_eq!(rejected, Err(TokenRejection::RefreshRequired.into()));
    }

    #[test]
    fn recovery_token_needs_an_active_factor() {
        let (user, session, factor) = user();
        let rejected = |mut user: User| replace_recovery_token(&mut user, &session, factor, digest(), NOW);
        let exhausted = User { consecutive_failures: policy::MAX_CONSECUTIVE_FAILURES, ..user.clone() };
        assert_eq!(rejected(exhausted), Err(RecoveryTokenRejection::FactorDisabled));
        let mut disabled = user.clone();
        disabled.factor.disable();
        assert_eq!(rejected(disabled), Err(RecoveryTokenRejection::FactorDisabled));
        assert_eq!(rejected(User { factor: Factor::None, ..user }), Err(RecoveryTokenRejection::NoFactor));
    }

    #[test]
    fn recovery_token_is_not_issued_for_a_replaced_factor() {
        let (mut user, session, factor) = user();
        user.factor = Factor::Active(authenticator());
        let rejected = replace_recovery_token(&mut user, &session, factor, digest(), NOW);
        assert_eq!(rejected, Err(RecoveryTokenRejection::FactorReplaced));
    }
}
