//! The caller's own password: charge an attempt at the current password, and change it.

use tokio::join;

use super::new_password;
use crate::{
    audit::AuditEvent,
    auth::change_password::change_password,
    domain::User,
    env::Entropy,
    password::PasswordHash,
    secret::{LoginKey, TokenRef},
    sign_in::{Attempt, NewSession, OwnPasswordAttempt, SignedIn, VerifiedOwnPassword},
    store::{
        AttemptEvent, OperationError, Store, StoreError,
        commit::Audited,
        item, keys,
        session::{Principal, SessionError, TokenRejection, session_is_valid},
        table::{Retry, Updated},
        write::{self, Action, Condition, Write, absent, attr, ne},
    },
};

impl Store {
    /// Counts an attempt at the caller's current password at the caller's session. Failures at the login name do not affect
    /// it, and it does not delay sign-ins. The attempt stays counted whether or not the password is correct, and a session
    /// ends with the last of [`crate::policy::MAX_ATTEMPTS`].
    ///
    /// # Errors
    /// [`SessionError`]: the session ended, or its attempts are used up. If the store failed, the attempt may have been counted.
    pub async fn charge_own_password(
        &self,
        caller: &Principal,
        attempt: &Attempt,
    ) -> Result<OwnPasswordAttempt, SessionError> {
        let (token, now) = (caller.token(), attempt.at());
        let (count, login) = (charge_session(token, attempt), [keys::login(&caller.login())]);
        let (counted, row) = join!(self.table.update(&count, Retry::Idempotent), self.table.read(&login));
        let user: User = match counted? {
            Updated::Written(Some(item)) => item::read(item)?,
            Updated::Written(None) | Updated::Refused(None) => {
                return Err(OperationError::Rejected(TokenRejection::Invalid));
            }
            Updated::Refused(Some(item)) => {
                let user: User = item::read(item)?;
                let session = user.session_in_time(token, now).map_err(OperationError::Rejected)?;
                if session.password_attempt != Some(attempt.nonce()) {
                    return Err(OperationError::Rejected(TokenRejection::Invalid)); // its attempts are used up
                }
                user // this attempt was counted before, and the reply was lost
            }
        };
        let row = item::read(row?.into_iter().next().flatten().unwrap_or_default())?;
        Ok(OwnPasswordAttempt { token: token.clone(), row, user, attempt: *attempt })
    }

    /// Changes the caller's own password after the current password was verified. Known devices are forgotten, and every
    /// session except the new one, which it returns, is void.
    ///
    /// # Errors
    /// [`SessionError`]: the caller's session ended meanwhile, or the store failed and the password may have been changed.
    pub async fn change_password(
        &self,
        verified: VerifiedOwnPassword,
        hash: &PasswordHash,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<SignedIn, SessionError> {
        let VerifiedOwnPassword(OwnPasswordAttempt { token, row: _, user, attempt }) = verified;
        let (key, now) = (token.user(), attempt.at());
        let login = LoginKey::of(key.tenant(), &user.login_digest);
        let session = NewSession::signed_in(
            key,
            user.security_version,
            item::Amr::Password,
            &attempt,
            self.restore_epoch,
            entropy,
        )
        .map_err(StoreError::from)?;
        let audited = Audited { attempt: &attempt, which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| {
            let write = new_password(key, &login, user.password_version, hash);
            let entry = change_password(user, &token, &session, hash.long_enough_for_a_contact(), now)?;
            Ok((entry, vec![write]))
        };
        let entry = self.commit_user(key, user, audited, TokenRejection::Invalid, decide).await?;
        Ok(session.into_signed_in(entry, false))
    }
}

/// Counts an attempt at the current password at the caller's session, which must be valid. An attempt is counted once.
fn charge_session(token: &TokenRef, attempt: &Attempt) -> Write {
    let at = || attr("s").key(token.id().as_str().to_owned());
    let mut conditions = session_is_valid(token, attempt.at());
    conditions.push(Condition::Any(vec![absent(at().key("pa")), ne(at().key("pa"), attempt.id())]));
    let actions = vec![Action::Count(at().key("p"), 1), Action::Set(at().key("pa"), write::bytes(attempt.id()))];
    Write::update(keys::user(token.user()), conditions, actions)
}
