//! The use of a mailed token: a new password, or a verified address.

use crate::{
    audit::AuditEvent,
    auth::mail_token::{InvalidMailToken, PasswordResetRejection, reset_password, verify_email},
    domain::User,
    password::PasswordHash,
    secret::{LoginKey, TokenClass, TokenRef},
    sign_in::Attempt,
    store::{AttemptEvent, OperationError, Store, commit::Audited, item, keys, users::new_password},
};

/// Why a token sets no password.
pub type ResetPasswordError = OperationError<PasswordResetRejection>;

/// Why a token verifies no address.
pub type MailTokenError = OperationError<InvalidMailToken>;

impl Store {
    /// The user of a mailed token. The token itself is not checked, except for its class.
    ///
    /// # Errors
    /// [`MailTokenError`]: it is no mailed token, its user does not exist, or the store failed.
    pub async fn load_mail_token(&self, token: &TokenRef) -> Result<User, MailTokenError> {
        if token.class() != TokenClass::Mail {
            return Err(OperationError::Rejected(InvalidMailToken));
        }
        let [user] = self.read_all([keys::user(token.user())]).await?;
        Ok(item::read(user.ok_or(OperationError::Rejected(InvalidMailToken))?)?)
    }

    /// Sets a new password by a mailed token, which is used up. Failed passwords are forgotten. `user` is the user as loaded.
    ///
    /// # Errors
    /// [`ResetPasswordError`]: the token was used or is not valid, or the password is refused. If the store failed, the password
    /// may have been set.
    pub async fn reset_password(
        &self,
        token: &TokenRef,
        user: User,
        hash: &PasswordHash,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), ResetPasswordError> {
        let key = token.user();
        let decide = |user: &mut User| {
            let login = LoginKey::of(key.tenant(), &user.login_digest);
            let write = new_password(key, &login, user.password_version, hash);
            reset_password(user, token, hash.long_enough_for_a_contact(), attempt.at())?;
            Ok(((), vec![write]))
        };
        let audited = Audited { attempt, which: AttemptEvent::Outcome, event };
        self.commit_user(key, user, audited, PasswordResetRejection::Token(InvalidMailToken), decide).await
    }

    /// Verifies the address of a user by a mailed token, which is used up. `user` is the user as loaded.
    ///
    /// # Errors
    /// [`MailTokenError`]: the token was used or is not valid. If the store failed, the address may be verified.
    pub async fn verify_email(
        &self,
        token: &TokenRef,
        user: User,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), MailTokenError> {
        let decide = |user: &mut User| Ok(((), verify_email(user, token, attempt.at()).map(|()| Vec::new())?));
        let audited = Audited { attempt, which: AttemptEvent::Outcome, event };
        self.commit_user(token.user(), user, audited, InvalidMailToken, decide).await
    }
}
