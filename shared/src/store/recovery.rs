//! The command that makes a recovery token.

use super::{
    Store, StoreError, item,
    item::{FactorState, User},
    keys,
    session::{FreshSession, living},
    table::{Transacted, Transaction, met_first},
    write::{self, Action, Write, attr, eq, num},
};
use crate::{audit::AuditEvent, secret::CodeDigest, sign_in::Attempt};

/// What became of a new recovery token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// It is the one that works; the previous is void.
    Done,
    /// There is no factor to recover.
    NoFactor,
    /// The factor was disabled: only a reset helps.
    Disabled,
    /// The caller's session ended meanwhile.
    Gone(super::session::NoSession),
    /// The factor changed meanwhile.
    Stale,
}

impl Store {
    /// Puts the digest of a new recovery token in the place of the previous: one attribute, so there are never two, and the
    /// last one shown is the one that works (security.md 32, 35).
    ///
    /// # Errors
    /// [`StoreError`]; the token must not be shown then.
    pub async fn replace_recovery_token(
        &self,
        caller: &FreshSession,
        digest: &CodeDigest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Replaced, StoreError> {
        let (user, token, now) = (caller.principal().user(), caller.principal().token(), attempt.at());
        let Some(factor) = user.factor.authenticator().map(|it| it.id).filter(|_| state(user).is_none()) else {
            return Ok(state(user).unwrap_or(Replaced::NoFactor));
        };
        let mut conditions = living(token, now);
        conditions.extend([
            eq(attr("ep"), user.security_version),
            eq(attr("fs"), "a"),
            eq(attr("fid"), factor.bytes()),
        ]);
        let actions =
            vec![Action::Set(attr("rk"), write::bytes(digest.bytes())), Action::Set(attr("rkt"), num(now.secs()))];
        let write = Write::update(keys::user(token.user()), conditions, actions);
        let row = self.audit_row(token.user().tenant(), attempt, 0, event)?;
        let met = match self.table.transact(&Transaction::new(vec![write], row)).await? {
            Transacted::Committed => return Ok(Replaced::Done),
            Transacted::Refused(met) => met_first(met),
        };
        let Some(item) = met else { return Ok(Replaced::Gone(super::session::NoSession::Invalid)) };
        let met: User = item::read(item)?;
        Ok(match met.session(token, now) {
            Err(why) => Replaced::Gone(why),
            Ok(_) => state(&met).unwrap_or(Replaced::Stale),
        })
    }
}

fn state(user: &User) -> Option<Replaced> {
    match user.factor.state() {
        _ if user.disabled() => Some(Replaced::Disabled),
        FactorState::None => Some(Replaced::NoFactor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        policy,
        recovery::RecoveryCode,
        store::{
            fixture::{Ann, NOW, STEP, ann, attempt},
            session::Denied,
        },
    };

    async fn caller(ann: &Ann, token: &crate::secret::TokenRef) -> FreshSession {
        let principal = ann.store.read_session(token, NOW).await.unwrap().ok().unwrap();
        principal.fresh_or_recovering(NOW).ok().unwrap()
    }

    async fn replace(ann: &Ann, caller: &FreshSession) -> (RecoveryCode, Replaced) {
        let code = RecoveryCode::generate(&SystemEntropy).unwrap();
        let digest = code.digest(&ann.codes, &ann.key);
        let replaced = ann.store.replace_recovery_token(caller, &digest, &attempt(NOW), &ann.event()).await.unwrap();
        (code, replaced)
    }

    #[tokio::test]
    async fn the_last_token_shown_is_the_one_that_works() {
        let (mut ann, tokens) = ann(2).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let caller = caller(&ann, session.reference()).await;
        let (first, _) = replace(&ann, &caller).await;
        let (second, done) = replace(&ann, &caller).await;
        assert_eq!(done, Replaced::Done);
        for (code, works) in [(first, false), (second, true)] {
            ann.recovery = code;
            assert_eq!(ann.with_recovery(&tokens[1]).await.is_some(), works);
        }
        assert!(ann.read(&ann.key).await.factor.recovery_token().is_none(), "it is spent");
    }

    #[tokio::test]
    async fn there_is_no_token_without_a_factor_or_a_living_session() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let caller = caller(&ann, session.reference()).await;
        ann.change(Action::Set(attr("fs"), write::text("d"))).await;
        assert_eq!(replace(&ann, &caller).await.1, Replaced::Disabled);
        ann.change(Action::Set(attr("fs"), write::text("n"))).await;
        assert_eq!(replace(&ann, &caller).await.1, Replaced::NoFactor);
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(replace(&ann, &caller).await.1, Replaced::Gone(_)));
    }

    #[tokio::test]
    async fn a_recovery_session_may_for_ten_minutes_and_has_no_step_up() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_recovery(&tokens[0]).await.unwrap();
        let at = |now| {
            let (store, token) = (ann.store.clone(), session.reference().clone());
            async move { store.read_session(&token, now).await.unwrap().ok().unwrap() }
        };
        assert!(at(NOW).await.administrator(NOW).is_err_and(|why| why == Denied::StepUpRequired));
        assert!(at(NOW).await.fresh_or_recovering(NOW).is_ok());
        let late = NOW + policy::RECOVERY_GRACE + std::time::Duration::from_secs(1);
        assert!(at(late).await.fresh_or_recovering(late).is_err());
    }
}
