//! The use of a mailed token: a new password, or a verified address.

use crate::{
    audit::AuditEvent,
    auth::mail_token::{InvalidMailToken, ResetRejection, reset_password, verify_email},
    domain::User,
    password::PasswordHash,
    secret::{LoginKey, TokenClass, TokenRef},
    sign_in::Attempt,
    store::{
        Store, StoreError,
        commit::{Audited, CommitError},
        item, keys,
        users::new_password,
    },
};

/// Why a token sets no password.
#[derive(Debug, thiserror::Error)]
pub enum ResetPasswordError {
    /// The decision.
    #[error(transparent)]
    Rejected(#[from] ResetRejection),
    /// The password may have been set.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum MailTokenError {
    /// The decision.
    #[error(transparent)]
    Rejected(#[from] InvalidMailToken),
    /// The token may have been used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CommitError<ResetRejection>> for ResetPasswordError {
    fn from(error: CommitError<ResetRejection>) -> Self {
        match error {
            CommitError::Rejected(why) => Self::Rejected(why),
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<CommitError<InvalidMailToken>> for MailTokenError {
    fn from(error: CommitError<InvalidMailToken>) -> Self {
        match error {
            CommitError::Rejected(why) => Self::Rejected(why),
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl Store {
    /// The user of a mailed token. The token itself is not checked, except for its class.
    ///
    /// # Errors
    /// [`MailTokenError`].
    pub async fn load_mail_token(&self, token: &TokenRef) -> Result<User, MailTokenError> {
        if token.class() != TokenClass::Mail {
            return Err(InvalidMailToken.into());
        }
        let [user] = self.read_all([keys::user(token.user())]).await?;
        Ok(item::read(user.ok_or(InvalidMailToken)?)?)
    }

    /// Sets a new password by a mailed token, which is used up. Failed passwords are forgotten. `user` is the user as loaded.
    ///
    /// # Errors
    /// [`ResetPasswordError`].
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
            let login = LoginKey::of(key.tenant(), &user.login);
            let write = new_password(key, &login, user.password_version, hash);
            reset_password(user, token, hash.long_enough_for_a_contact(), attempt.at())?;
            Ok(((), vec![write]))
        };
        let audited = Audited { attempt, number: 0, event };
        Ok(self.commit_user(key, user, audited, ResetRejection::Token(InvalidMailToken), decide).await?)
    }

    /// Verifies the address of a user by a mailed token, which is used up. `user` is the user as loaded.
    ///
    /// # Errors
    /// [`MailTokenError`].
    pub async fn verify_email(
        &self,
        token: &TokenRef,
        user: User,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), MailTokenError> {
        let decide = |user: &mut User| Ok(((), verify_email(user, token, attempt.at()).map(|()| Vec::new())?));
        let audited = Audited { attempt, number: 0, event };
        Ok(self.commit_user(token.user(), user, audited, InvalidMailToken, decide).await?)
    }
}
