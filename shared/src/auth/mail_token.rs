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
pub enum MailRejection {
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

/// The mailed token is unknown, spent, expired or for another purpose, or the user may not use it. The answer does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidMailToken;

/// Why a token sets no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordResetRejection {
    /// See [`InvalidMailToken`].
    #[error(transparent)]
    Token(#[from] InvalidMailToken),
    /// The new password is too short for a contact. The token stays valid.
    #[error("the new password is too short for a contact")]
    PasswordTooShort,
}

/// Whether a token may be mailed to the user. `has_address` and `has_password` say whether the profile has an address, and the
/// login name a password.
///
/// # Errors
/// [`MailRejection`]: the first of its variants that holds. Only an invitation is rejected for a password, and only a
/// verification for a verified address.
pub fn may_be_mailed(
    user: &User,
    purpose: MailPurpose,
    has_address: bool,
    has_password: bool,
) -> Result<(), MailRejection> {
    if !user.active || (purpose.sets_password() && user.auth_type != AuthType::Local) {
        return Err(MailRejection::NotEligible);
    }
    let verified_enough = user.email_verified || purpose != MailPurpose::Reset;
    match purpose {
        _ if !(has_address && verified_enough) => Err(MailRejection::NoAddress),
        MailPurpose::Invitation if has_password => Err(MailRejection::HasPassword),
        MailPurpose::Verification if user.email_verified => Err(MailRejection::Verified),
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
            old.is_in_time(now) && !replaced
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
    /// [`InvalidMailToken`]: the token is unknown, spent or expired, or the user is inactive.
    pub fn mail_token(&self, token: &TokenRef, now: Timestamp) -> Result<MailPurpose, InvalidMailToken> {
        let entry = self.mail_tokens.get(token.id()).filter(|entry| entry.verifier == *token.verifier());
        let entry = entry.filter(|entry| self.active && entry.is_in_time(now));
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
/// [`PasswordResetRejection::Token`]: as for [`User::may_reset_password`].
/// [`PasswordResetRejection::PasswordTooShort`]: the user is a contact, and the password is too short for one.
pub(crate) fn reset_password(
    user: &mut User,
    token: &TokenRef,
    fits_contact: bool,
    now: Timestamp,
) -> Result<(), PasswordResetRejection> {
    user.may_reset_password(token, now)?;
    if user.kind == Kind::Contact && !fits_contact {
        return Err(PasswordResetRejection::PasswordTooShort);
    }
    user.set_password(fits_contact);
    user.raise_security_version();
    user.email_verified = true;
    Ok(())
}

/// Verifies the user's address by a mailed token. All mailed tokens of the user are spent.
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        auth::update_user::{UserChange, update_user},
        domain::{Factor, Kind, Role},
        env::SystemEntropy,
        id::{TenantId, UserId, UserKey},
        secret::{NewToken, Nonce, RestoreEpoch, TokenClass},
        store::fixture::{NOW, add_session, authenticator, person},
    };

    fn key() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-bob").unwrap())
    }

    fn message() -> MessageId {
        MessageId::generate(&SystemEntropy).unwrap()
    }

    fn bob() -> User {
        let mut user = person(Kind::Employee, Role::Standard, Nonce::generate(&SystemEntropy).unwrap());
        (user.email_verified, user.factor) = (true, Factor::Active(authenticator()));
        user
    }

    fn new_token() -> TokenRef {
        let token = NewToken::generate(TokenClass::Mail, &key(), RestoreEpoch::default(), &SystemEntropy).unwrap();
        token.reference().clone()
    }

    /// Adds a token of a new message.
    fn mailed(user: &mut User, purpose: MailPurpose, at: Timestamp) -> TokenRef {
        let token = new_token();
        user.add_mail_token(&token, purpose, &message(), at);
        token
    }

    #[test]
    fn token_sets_a_password_once_and_touches_no_factor() {
        let mut user = bob();
        add_session(&mut user, &key());
        let (token, other) = (mailed(&mut user, MailPurpose::Reset, NOW), mailed(&mut user, MailPurpose::Reset, NOW));
        user.email_verified = false;
        let before = user.clone();
        reset_password(&mut user, &token, false, NOW).unwrap();
        assert_eq!(user.security_version, before.security_version.raised());
        assert_eq!(user.password_version, before.password_version.raised());
        assert!(user.factor == before.factor && user.sessions == before.sessions, "sessions have an earlier version");
        assert!(user.email_verified && !user.password_fits_contact);
        for token in [token, other] {
            assert_eq!(reset_password(&mut user, &token, true, NOW), Err(InvalidMailToken.into()));
        }
    }

    #[test]
    fn invitation_replaces_only_an_earlier_invitation() {
        let mut user = bob();
        let first = mailed(&mut user, MailPurpose::Invitation, NOW);
        let verification = mailed(&mut user, MailPurpose::Verification, NOW);
        assert_eq!(user.mail_token(&first, NOW), Ok(MailPurpose::Invitation), "another mail does not replace it");
        let second = mailed(&mut user, MailPurpose::Invitation, NOW);
        assert_eq!(user.mail_token(&first, NOW), Err(InvalidMailToken));
        assert_eq!(user.mail_token(&second, NOW), Ok(MailPurpose::Invitation));
        assert_eq!(user.mail_token(&verification, NOW), Ok(MailPurpose::Verification));
    }

    #[test]
    fn refused_password_does_not_use_the_token_up() {
        let mut user = User { kind: Kind::Contact, ..bob() };
        let token = mailed(&mut user, MailPurpose::Reset, NOW);
        assert_eq!(reset_password(&mut user, &token, false, NOW), Err(PasswordResetRejection::PasswordTooShort));
        assert_eq!(reset_password(&mut user, &token, true, NOW), Ok(()));
        assert!(user.password_fits_contact);
    }

    #[test]
    fn token_ends_after_its_purposes_life() {
        let lives = [
            (MailPurpose::Reset, Duration::from_secs(30 * 60)),
            (MailPurpose::Verification, Duration::from_secs(30 * 60)),
            (MailPurpose::Invitation, Duration::from_secs(7 * 86_400)),
        ];
        for (purpose, life) in lives {
            let mut user = bob();
            let token = mailed(&mut user, purpose, NOW);
            assert_eq!(user.mail_token(&token, NOW + life - Duration::from_millis(1)), Ok(purpose));
            assert_eq!(user.mail_token(&token, NOW + life), Err(InvalidMailToken));
            assert_eq!(user.mail_token(&token, NOW - policy::SKEW), Ok(purpose));
            let early = NOW - policy::SKEW - Duration::from_millis(1);
            assert_eq!(user.mail_token(&token, early), Err(InvalidMailToken));
        }
    }

    #[test]
    fn token_works_only_for_its_purpose() {
        let mut user = bob();
        let token = mailed(&mut user, MailPurpose::Verification, NOW);
        assert_eq!(reset_password(&mut user, &token, true, NOW), Err(InvalidMailToken.into()));
        let reset = mailed(&mut user, MailPurpose::Reset, NOW);
        assert_eq!(verify_email(&mut user, &reset, NOW), Err(InvalidMailToken));
        user.email_verified = false;
        let before = user.clone();
        assert_eq!(verify_email(&mut user, &token, NOW), Ok(()));
        let changed = User { email_verified: true, mail_tokens: std::collections::HashMap::new(), ..before };
        assert!(user == changed, "an address is verified and nothing else changes");
    }

    #[test]
    fn token_with_another_verifier_is_invalid() {
        let mut user = bob();
        let (token, other) = (mailed(&mut user, MailPurpose::Reset, NOW), new_token());
        user.mail_tokens.get_mut(token.id()).unwrap().verifier = *other.verifier();
        assert_eq!(user.mail_token(&token, NOW), Err(InvalidMailToken));
    }

    #[test]
    fn at_most_three_tokens_live_and_the_oldest_goes() {
        let mut user = bob();
        let at = |n| NOW + Duration::from_secs(n);
        let tokens: Vec<_> = (0..4).map(|n| mailed(&mut user, MailPurpose::Reset, at(n))).collect();
        let alive: Vec<_> = tokens.iter().map(|token| user.mail_token(token, at(4)).is_ok()).collect();
        assert_eq!(alive, [false, true, true, true]);
        let late = at(3) + policy::MAIL_TOKEN_LIFE;
        mailed(&mut user, MailPurpose::Reset, late);
        assert_eq!(user.mail_tokens.len(), 1, "expired tokens are removed");
    }

    #[test]
    fn message_delivered_again_replaces_its_own_token() {
        let (mut user, message, tokens) = (bob(), message(), [new_token(), new_token()]);
        let other = mailed(&mut user, MailPurpose::Reset, NOW);
        for token in &tokens {
            user.add_mail_token(token, MailPurpose::Reset, &message, NOW);
        }
        assert_eq!(user.mail_token(&tokens[0], NOW), Err(InvalidMailToken));
        assert!(user.mail_token(&tokens[1], NOW).is_ok() && user.mail_token(&other, NOW).is_ok());
    }

    #[test]
    fn new_invitation_voids_the_older_one() {
        let mut user = bob();
        let [first, second] = [MailPurpose::Invitation; 2].map(|purpose| mailed(&mut user, purpose, NOW));
        assert_eq!(user.mail_token(&first, NOW), Err(InvalidMailToken));
        assert_eq!(user.mail_token(&second, NOW), Ok(MailPurpose::Invitation));
    }

    #[test]
    fn tokens_are_void_after_each_change_of_address_password_or_security() {
        type Change = fn(&mut User);
        let changes: [(&str, Change); 4] = [
            ("address", User::change_address),
            ("password", |user| {
                change(user, UserChange { password_fits_contact: Some(true), ..UserChange::default() })
            }),
            ("activity", |user| change(user, UserChange { active: Some(false), ..UserChange::default() })),
            ("method", |user| change(user, UserChange { auth_type: Some(AuthType::SamlSso), ..UserChange::default() })),
        ];
        for (name, change_of) in changes {
            let mut user = bob();
            let token = mailed(&mut user, MailPurpose::Reset, NOW);
            change_of(&mut user);
            assert!(user.mail_tokens.is_empty(), "{name}");
            assert_eq!(user.mail_token(&token, NOW), Err(InvalidMailToken), "{name}");
        }
    }

    fn change(user: &mut User, change: UserChange) {
        update_user(user, key().tenant(), change, NOW).unwrap();
    }

    #[test]
    fn inactive_user_and_user_of_an_idp_cannot_use_a_token() {
        let mut user = bob();
        let token = mailed(&mut user, MailPurpose::Reset, NOW);
        let inactive = User { active: false, ..user.clone() };
        assert_eq!(inactive.mail_token(&token, NOW), Err(InvalidMailToken));
        let by_idp = User { auth_type: AuthType::SamlSso, ..user };
        assert_eq!(by_idp.may_reset_password(&token, NOW), Err(InvalidMailToken));
    }

    #[test]
    fn changed_address_is_not_verified() {
        let mut user = bob();
        user.change_address();
        assert!(!user.email_verified);
    }

    #[test]
    fn mail_goes_to_active_local_users_with_a_fitting_address() {
        use MailPurpose::{Invitation, Reset, Verification};
        let user = bob();
        let unverified = User { email_verified: false, ..user.clone() };
        let check = |user: &User, purpose| may_be_mailed(user, purpose, true, false);
        assert_eq!(may_be_mailed(&user, Reset, true, true), Ok(()));
        assert_eq!(check(&unverified, Reset), Err(MailRejection::NoAddress));
        assert_eq!(check(&unverified, Invitation), Ok(()));
        assert_eq!(check(&unverified, Verification), Ok(()));
        assert_eq!(check(&user, Verification), Err(MailRejection::Verified));
        assert_eq!(may_be_mailed(&unverified, Invitation, true, true), Err(MailRejection::HasPassword));
        for purpose in [Reset, Invitation, Verification] {
            assert_eq!(may_be_mailed(&unverified, purpose, false, false), Err(MailRejection::NoAddress));
            assert_eq!(check(&User { active: false, ..unverified.clone() }, purpose), Err(MailRejection::NotEligible));
        }
        let by_idp = User { auth_type: AuthType::SamlSso, ..unverified };
        assert_eq!(check(&by_idp, Reset), Err(MailRejection::NotEligible));
        assert_eq!(check(&by_idp, Invitation), Err(MailRejection::NotEligible));
        assert_eq!(check(&by_idp, Verification), Ok(()));
    }
}
