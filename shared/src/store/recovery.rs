//! Issue of a new recovery token.

use super::{
    AttemptEvent, OperationError, Store,
    commit::Audited,
    session::{FreshSession, TokenRejection},
};
use crate::{
    audit::AuditEvent,
    auth::recovery_token::{RecoveryTokenRejection, replace_recovery_token},
    domain::User,
    secret::CodeDigest,
    sign_in::Attempt,
};

/// Why no recovery token was issued.
pub type RecoveryTokenError = OperationError<RecoveryTokenRejection>;

impl Store {
    /// Replaces the digest of the recovery token. A user has at most one recovery token, and only the newest one works
    /// (docs/security.md 32, 35).
    ///
    /// # Errors
    /// [`RecoveryTokenError`]: the session ended, the user has no active factor, or the factor changed. If the store failed, the
    /// digest may have been replaced. Do not show the token.
    pub async fn replace_recovery_token(
        &self,
        caller: &FreshSession,
        digest: &CodeDigest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), RecoveryTokenError> {
        let (token, user) = (caller.principal().token(), caller.principal().user().clone());
        let factor = user.factor.active().map(|authenticator| authenticator.id);
        let audited = Audited { attempt, which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| {
            replace_recovery_token(user, token, factor, *digest, attempt.at())?;
            Ok(((), Vec::new()))
        };
        let gone = RecoveryTokenRejection::Session(TokenRejection::Invalid);
        self.commit_user(token.user(), user, audited, gone, decide).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        policy,
        recovery::RecoveryToken,
        store::{
            fixture::{Ann, NOW, STEP, ann, attempt, decided, factor_removal},
            session::Denied,
            write::{self, Action, attr},
        },
    };

    async fn caller(ann: &Ann, token: &crate::secret::TokenRef) -> FreshSession {
        let principal = ann.store.read_session(token, NOW).await.unwrap();
        principal.fresh_or_recovering(NOW).ok().unwrap()
    }

    async fn replace(ann: &Ann, caller: &FreshSession) -> (RecoveryToken, Result<(), RecoveryTokenRejection>) {
        let token = RecoveryToken::generate(&SystemEntropy).unwrap();
        let digest = token.digest(&ann.codes, &ann.key);
        let replaced = ann.store.replace_recovery_token(caller, &digest, &attempt(NOW), &ann.event()).await;
        (token, decided(replaced))
    }

    #[tokio::test]
    async fn only_the_newest_recovery_token_works() {
        let (mut ann, tokens) = ann(2).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let caller = caller(&ann, session.reference()).await;
        let (first, _) = replace(&ann, &caller).await;
        let (second, done) = replace(&ann, &caller).await;
        assert_eq!(done, Ok(()));
        for (token, works) in [(first, false), (second, true)] {
            ann.recovery = token;
            assert_eq!(ann.with_recovery(&tokens[1]).await.is_some(), works);
        }
        assert!(ann.read(&ann.key).await.factor.recovery_token().is_none(), "the recovery token is used up");
    }

    #[tokio::test]
    async fn recovery_token_requires_a_factor_and_a_valid_session() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let caller = caller(&ann, session.reference()).await;
        ann.change(Action::Set(attr("fs"), write::text("d"))).await;
        assert_eq!(replace(&ann, &caller).await.1, Err(RecoveryTokenRejection::FactorDisabled));
        ann.change_all(factor_removal()).await;
        assert_eq!(replace(&ann, &caller).await.1, Err(RecoveryTokenRejection::NoFactor));
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(replace(&ann, &caller).await.1, Err(RecoveryTokenRejection::Session(_))));
    }

    #[tokio::test]
    async fn recovery_session_counts_as_fresh_for_ten_minutes_but_has_no_step_up() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_recovery(&tokens[0]).await.unwrap();
        let at = |now| {
            let (store, token) = (ann.store.clone(), session.reference().clone());
            async move { store.read_session(&token, now).await.unwrap() }
        };
        assert!(at(NOW).await.administrator(NOW).is_err_and(|why| why == Denied::StepUpRequired));
        assert!(at(NOW).await.fresh_or_recovering(NOW).is_ok());
        let late = NOW + policy::RECOVERY_GRACE + std::time::Duration::from_secs(1);
        assert!(at(late).await.fresh_or_recovering(late).is_err());
    }
}
