//! Mailed tokens: who gets one, and what a token does. A token sets a password or verifies an address. It never signs in,
//! and it never touches the factor.

use crate::{
    domain::{AuthType, Kind, MailPurpose, MailToken, User},
    env::Timestamp,
    id::MessageId,
    policy,
    secret::TokenRef,
};

/// Why no token is mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMail {
    /// The user is inactive, or signs in through an IdP and so has no password.
    #[error("the user is inactive or has no password to set")]
    NotEligible,
    /// The user has no address, or for a reset no verified address.
    #[error("the user has no address for this mail")]
    NoAddress,
    /// The user has a password already, so no invitation is sent.
    #[error("the user has a password")]
    HasPassword,
    /// The address is verified already.
    #[error("the address is verified")]
    Verified,
}

/// The password token is unknown, used, expired or for another purpose; or the user may not use it. All are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidMailToken;

/// Why a token sets no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResetRejection {
    /// See [`InvalidMailToken`].
    #[error(transparent)]
    Token(#[from] InvalidMailToken),
    /// The new password is too short for a contact. The token stays valid.
    #[error("the new password is too short for a contact")]
    PasswordTooShort,
}

/// Whether a token may be mailed to the user. `has_address` and `has_password` are what the items of the user's names say.
///
/// # Errors
/// [`NoMail`].
pub fn may_be_mailed(user: &User, purpose: MailPurpose, has_address: bool, has_password: bool) -> Result<(), NoMail> {
    if !user.active || (purpose.sets_password() && user.auth_type != AuthType::Local) {
        return Err(NoMail::NotEligible);
    }
    let verified_enough = user.email_verified || purpose != MailPurpose::Reset;
    match purpose {
        _ if !(has_address && verified_enough) => Err(NoMail::NoAddress),
        MailPurpose::Invitation if has_password => Err(NoMail::HasPassword),
        MailPurpose::Verification if user.email_verified => Err(NoMail::Verified),
        _ => Ok(()),
    }
}

impl User {
    /// Adds a mailed token. Removed are: expired tokens, an earlier token of the same message, an earlier invitation if this
    /// is one, and the oldest while there are [`policy::MAIL_TOKENS`].
    pub(crate) fn add_mail_token(
        &mut self,
        token: &TokenRef,
        purpose: MailPurpose,
        message: &MessageId,
        now: Timestamp,
    ) {
        let invitation = purpose == MailPurpose::Invitation;
        self.mail_tokens.retain(|_, old| {
            let replaced = old.message == *message || (invitation && old.purpose == MailPurpose::Invitation);
            old.in_time(now) && !replaced
        });
        while self.mail_tokens.len() >= policy::MAIL_TOKENS {
            let oldest = self.mail_tokens.iter().min_by_key(|(_, old)| old.created).map(|(id, _)| id.clone());
            oldest.map(|id| self.mail_tokens.remove(&id));
        }
        let entry = MailToken { verifier: *token.verifier(), purpose, created: now, message: message.clone() };
        self.mail_tokens.insert(token.id().clone(), entry);
    }

    /// The purpose of a token, if it is valid and the user is active.
    ///
    /// # Errors
    /// [`InvalidMailToken`].
    pub fn mail_token(&self, token: &TokenRef, now: Timestamp) -> Result<MailPurpose, InvalidMailToken> {
        let entry = self.mail_tokens.get(token.id()).filter(|entry| entry.verifier == *token.verifier());
        let entry = entry.filter(|entry| self.active && entry.in_time(now));
        entry.map(|entry| entry.purpose).ok_or(InvalidMailToken)
    }

    /// Whether a token may set a new password of the user.
    ///
    /// # Errors
    /// [`InvalidMailToken`]; also for a token that only verifies the address, and for a user of an IdP.
    pub fn may_reset_password(&self, token: &TokenRef, now: Timestamp) -> Result<(), InvalidMailToken> {
        let permitted = self.mail_token(token, now)?.sets_password() && self.auth_type == AuthType::Local;
        if permitted { Ok(()) } else { Err(InvalidMailToken) }
    }

    /// Records that the user has another address, or none. No earlier token proves it.
    pub(crate) fn change_address(&mut self) {
        self.email_verified = false;
        self.mail_tokens.clear();
    }
}

/// Sets a new password by a mailed token, which proves the address too. Every session, challenge, known device and other
/// mailed token of the user is void.
///
/// # Errors
/// [`ResetRejection`].
pub(crate) fn reset_password(
    user: &mut User,
    token: &TokenRef,
    fits_contact: bool,
    now: Timestamp,
) -> Result<(), ResetRejection> {
    user.may_reset_password(token, now)?;
    if user.kind == Kind::Contact && !fits_contact {
        return Err(ResetRejection::PasswordTooShort);
    }
    user.set_password(fits_contact);
    user.raise_security_version();
    user.email_verified = true;
    Ok(())
}

/// Verifies the user's address by a mailed token. All mailed tokens of the user are used up.
///
/// # Errors
/// [`InvalidMailToken`]; also for a token that sets a password.
pub(crate) fn verify_email(user: &mut User, token: &TokenRef, now: Timestamp) -> Result<(), InvalidMailToken> {
    if user.mail_token(token, now)?.sets_password() {
        return Err(InvalidMailToken);
    }
    user.email_verified = true;
    user.mail_tokens.clear();
    Ok(())
}

#[cfg(test)]
mod tests;
