//! Enrolment of an authenticator app. An enrolment token or a session starts it, and the first code confirms it.
//!
//! The start stores the sealed secret as the user's pending enrolment ([`begin`]). The confirmation has three steps: the store
//! charges the attempt if [`check_confirmation`] allows it, the code is checked, and [`ConfirmedEnrolment::apply`] makes the
//! pending factor the active one and opens a session.

use super::session::TokenRejection;
use crate::{
    domain::{
        Amr, AuthType, Authenticator, CurrentIdp, Factor, FactorState, PendingEnrolment, Profile, Session,
        TenantPolicy, TimeStep, User,
    },
    env::{Entropy, Timestamp},
    id::UserKey,
    policy,
    secret::{CodeDigest, FactorRef, Nonce, RestoreEpoch, SealedSecret, TokenClass, TokenRef},
    sign_in::{Attempt, NewSession, SignInError, SignedIn},
    totp::TotpProof,
};

/// The token that authorises an enrolment.
#[derive(Clone, PartialEq, Eq)]
pub enum EnrolmentToken {
    /// An enrolment token, for a user without a factor.
    Enrolment(TokenRef),
    /// A session token, for a user who replaces the factor.
    Session(TokenRef),
}

/// Why a user may not start or confirm an enrolment, in the order of the HTTP contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentRejection {
    /// The token is not valid, or another token replaced the pending enrolment.
    #[error("the token is not valid")]
    InvalidToken,
    /// The session is older than the user's last security change.
    #[error("the session is older than the last security change")]
    RefreshRequired,
    /// The session has no fresh step-up and was not opened with a recovery token in the last 10 minutes.
    #[error("the session has no fresh step-up")]
    StepUpRequired,
    /// The factor was disabled, or the deadline to enrol has passed.
    #[error("the user needs a reset")]
    ResetRequired,
    /// The reset code is missing, wrong, used up or expired.
    #[error("the reset code is not valid")]
    ResetCode,
    /// No enrolment is pending: none was started, it expired, or its attempts are used up.
    #[error("no enrolment is pending")]
    NonePending,
}

/// What changed after a step of an enrolment was allowed, so that it is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentChanged {
    /// The token is no longer accepted.
    #[error(transparent)]
    Token(#[from] TokenRejection),
    /// The pending enrolment ended, or another one replaced it.
    #[error("the enrolment is no longer pending")]
    NonePending,
    /// The factor or the reset code is not the one that the enrolment was started with.
    #[error("the factor or the reset code changed during the enrolment")]
    Stale,
}

impl From<TokenRejection> for EnrolmentRejection {
    fn from(why: TokenRejection) -> Self {
        match why {
            TokenRejection::Invalid => Self::InvalidToken,
            TokenRejection::RefreshRequired => Self::RefreshRequired,
        }
    }
}

impl EnrolmentToken {
    /// Takes an enrolment token or a session token; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn new(token: TokenRef) -> Option<Self> {
        match token.class() {
            TokenClass::Enrolment => Some(Self::Enrolment(token)),
            TokenClass::Session => Some(Self::Session(token)),
            _ => None,
        }
    }

    /// The user who enrols.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.reference().user()
    }

    /// The token.
    #[must_use]
    pub fn reference(&self) -> &TokenRef {
        match self {
            Self::Enrolment(token) | Self::Session(token) => token,
        }
    }
}

/// Checks that the token is valid for this user. It does not check the tenant's IdP: see [`check_idp`].
///
/// # Errors
/// [`TokenRejection`]: each variant.
pub fn check_token(user: &User, token: &EnrolmentToken, now: Timestamp) -> Result<(), TokenRejection> {
    match token {
        EnrolmentToken::Session(token) => user.session(token, now).map(drop),
        EnrolmentToken::Enrolment(token) => {
            let entry = user.enrolments.get(token.id());
            let valid = entry.is_some_and(|it| it.is_valid(token, user.security_version, policy::ENROLMENT_LIFE, now));
            if valid && user.active { Ok(()) } else { Err(TokenRejection::Invalid) }
        }
    }
}

/// Checks that the tenant's IdP is still the one that the token came from. A token of a local sign-in passes.
///
/// # Errors
/// [`TokenRejection::Invalid`]: the IdP was replaced or removed.
pub fn check_idp(user: &User, token: &EnrolmentToken, current: Option<&CurrentIdp>) -> Result<(), TokenRejection> {
    let holds = match token {
        EnrolmentToken::Session(token) => {
            user.sessions.get(token.id()).is_none_or(|session| session.is_idp_current(current))
        }
        EnrolmentToken::Enrolment(_) => {
            user.auth_type == AuthType::Local
                || current.is_some_and(|current| current.generation == generation(user, token))
        }
    };
    if holds { Ok(()) } else { Err(TokenRejection::Invalid) }
}

/// Checks whether a user may start an enrolment. `code` is the digest of the reset code that the user gave.
///
/// # Errors
/// [`EnrolmentRejection`]: the first reason in the order of the variants. A user with a factor cannot start with an enrolment
/// token (`InvalidToken`).
pub fn check_start(
    user: &User,
    token: &EnrolmentToken,
    code: Option<&CodeDigest>,
    now: Timestamp,
) -> Result<(), EnrolmentRejection> {
    check_token(user, token, now)?;
    match token {
        EnrolmentToken::Session(token) => check_replacement(user, user.session(token, now)?, now),
        EnrolmentToken::Enrolment(_) => check_first_enrolment(user, code, now),
    }
}

/// A session replaces an active factor, with a fresh step-up or after a sign-in by recovery token.
fn check_replacement(user: &User, session: &Session, now: Timestamp) -> Result<(), EnrolmentRejection> {
    // Checked before the step-up, which is impossible with a disabled factor.
    if user.is_factor_disabled() {
        return Err(EnrolmentRejection::ResetRequired);
    }
    if !session.is_fresh_or_recovering(now) {
        return Err(EnrolmentRejection::StepUpRequired);
    }
    if user.factor.is_active() { Ok(()) } else { Err(EnrolmentRejection::ResetRequired) }
}

/// An enrolment token enrols a user without a factor, before the deadline, and with the reset code if one is required.
fn check_first_enrolment(user: &User, code: Option<&CodeDigest>, now: Timestamp) -> Result<(), EnrolmentRejection> {
    if user.has_factor() {
        return Err(EnrolmentRejection::InvalidToken);
    }
    if user.enrolment_deadline_passed(now) {
        return Err(EnrolmentRejection::ResetRequired);
    }
    let right = user.reset_code.as_ref().is_some_and(|stored| stored.is_valid(now) && Some(&stored.digest) == code);
    if user.reset_code_required && !right { Err(EnrolmentRejection::ResetCode) } else { Ok(()) }
}

/// Checks whether the user may send a code for the pending enrolment.
///
/// # Errors
/// [`EnrolmentRejection::InvalidToken`]: also if another token started the pending enrolment.
/// [`EnrolmentRejection::ResetRequired`]: the factor was disabled, which ends a pending enrolment.
/// [`EnrolmentRejection::NonePending`]: none was started, it has ended, or its attempts are used up.
pub fn check_confirmation(user: &User, token: &EnrolmentToken, now: Timestamp) -> Result<(), EnrolmentRejection> {
    check_token(user, token, now)?;
    match &user.pending {
        Some(pending) if pending.is_valid(token.reference(), now) && pending.attempts < policy::MAX_ATTEMPTS => Ok(()),
        _ if user.factor.state() == FactorState::Disabled => Err(EnrolmentRejection::ResetRequired),
        Some(pending) if pending.started_by != *token.reference().id() => Err(EnrolmentRejection::InvalidToken),
        _ => Err(EnrolmentRejection::NonePending),
    }
}

/// A user who may start an enrolment, as loaded. It comes only from the store's `authorize_enrolment`.
pub struct EnrolmentPermit {
    pub(crate) token: EnrolmentToken,
    pub(crate) user: User,
    /// Login name, display name and e-mail address.
    pub profile: Profile,
    /// The tenant's settings.
    pub policy: TenantPolicy,
}

impl EnrolmentPermit {
    /// The reference of the factor that the enrolment creates. `factor` is its id.
    #[must_use]
    pub fn factor(&self, factor: Nonce) -> FactorRef {
        FactorRef { user: self.token.key().clone(), incarnation: self.user.incarnation, factor }
    }

    /// The pending enrolment that the permit allows.
    pub(crate) fn pending(&self, factor: Nonce, secret: SealedSecret, now: Timestamp) -> PendingEnrolment {
        let code = self.user.reset_code.as_ref().filter(|_| self.user.reset_code_required);
        PendingEnrolment {
            factor,
            secret,
            started_by: self.token.reference().id().clone(),
            ends: now + policy::ENROLMENT_LIFE,
            attempts: 0,
            reset_code: code.map(|code| code.digest),
            factor_at_start: self.user.factor.active().map(|authenticator| authenticator.id),
        }
    }
}

/// Stores a pending enrolment in the user. A user has at most one, so it replaces an older one.
///
/// # Errors
/// [`EnrolmentChanged`]: the token is no longer accepted, or the factor or the reset code changed.
pub(crate) fn begin(
    user: &mut User,
    token: &EnrolmentToken,
    pending: &PendingEnrolment,
    now: Timestamp,
) -> Result<(), EnrolmentChanged> {
    check_token(user, token, now)?;
    if !pending.is_current(user) {
        return Err(EnrolmentChanged::Stale);
    }
    user.pending = Some(pending.clone());
    Ok(())
}

/// An attempt that was charged to a pending enrolment, before the code is checked. It comes only from the store's
/// `charge_confirmation`.
pub struct PendingConfirmation {
    pub(crate) token: EnrolmentToken,
    pub(crate) user: User,
    pub(crate) pending: PendingEnrolment,
    pub(crate) attempt: Attempt,
    pub(crate) restore_epoch: RestoreEpoch,
}

impl PendingConfirmation {
    /// The pending factor.
    #[must_use]
    pub fn factor(&self) -> FactorRef {
        FactorRef { user: self.token.key().clone(), incarnation: self.user.incarnation, factor: self.pending.factor }
    }

    /// The sealed secret of the pending factor.
    #[must_use]
    pub fn secret(&self) -> &SealedSecret {
        &self.pending.secret
    }

    /// The user as the charge left them.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }
}

/// A pending enrolment whose first code is right, and the session that it opens.
pub struct ConfirmedEnrolment {
    charged: PendingConfirmation,
    /// The time step of the code.
    step: TimeStep,
    session: NewSession,
}

impl ConfirmedEnrolment {
    /// Confirms the enrolment with the proof of a right code. It takes both values, so that a proof works once.
    ///
    /// # Errors
    /// [`SignInError::Foreign`]: the proof is of another factor than the pending one.
    pub fn new(charged: PendingConfirmation, proof: TotpProof, entropy: &dyn Entropy) -> Result<Self, SignInError> {
        if *proof.owner() != charged.factor() {
            return Err(SignInError::Foreign);
        }
        let PendingConfirmation { token, user, attempt, restore_epoch, .. } = &charged;
        // The confirmation raises the security version. The new session must have the raised version.
        let (version, amr) = (user.security_version.raised(), Amr::with_code(user.auth_type));
        let mut session = NewSession::signed_in(token.key(), version, amr, attempt, *restore_epoch, entropy)?;
        session.entry.idp_generation = generation(user, token);
        if let EnrolmentToken::Enrolment(token) = token {
            let device = user.enrolments.get(token.id()).and_then(|entry| entry.device.clone());
            session = session.with_known_device(device, *restore_epoch, entropy)?;
        }
        Ok(Self { step: proof.step(), charged, session })
    }

    /// The user who enrols.
    pub(crate) fn key(&self) -> &UserKey {
        self.charged.token.key()
    }

    /// The user as the charge left them.
    pub(crate) fn charged_user(&self) -> &User {
        &self.charged.user
    }

    /// The request's attempt.
    pub(crate) fn attempt(&self) -> &Attempt {
        &self.charged.attempt
    }

    /// Makes the pending factor the active one. The time step of its first code is spent, the recovery token and the reset code
    /// are void, and the new session is the only valid token (docs/security.md 22). Returns whether the device is new.
    ///
    /// # Errors
    /// [`EnrolmentChanged`]: each variant.
    pub(crate) fn apply(&self, user: &mut User) -> Result<bool, EnrolmentChanged> {
        let PendingConfirmation { token, pending: charged, attempt, .. } = &self.charged;
        let now = attempt.at();
        check_token(user, token, now)?;
        let is_charged =
            |stored: &&PendingEnrolment| stored.is_valid(token.reference(), now) && stored.factor == charged.factor;
        let pending = user.pending.as_ref().filter(is_charged).cloned().ok_or(EnrolmentChanged::NonePending)?;
        if !pending.is_current(user) {
            return Err(EnrolmentChanged::Stale);
        }
        user.pending = None;
        user.factor = Factor::Active(Authenticator {
            id: pending.factor,
            secret: pending.secret,
            last_step: self.step,
            enrolled_at: now.whole_second(),
            recovery_token: None,
        });
        user.recent_attempts.clear();
        user.consecutive_failures = 0;
        user.total_failures = 0;
        user.seen = now.whole_second();
        user.reset_code = None;
        user.reset_code_required = false;
        user.enrol_by = None;
        // Opened before the security version rises, because `open_session` removes sessions of earlier versions first when the
        // list is full.
        let new_device = user.open_session(&self.session, self.session.entry.clone(), None, now);
        user.raise_security_version();
        Ok(new_device)
    }

    /// The sign-in to return after the commit of [`Self::apply`].
    pub(crate) fn signed_in(self, new_device: bool) -> SignedIn {
        let entry = self.session.entry.clone();
        self.session.into_signed_in(entry, new_device)
    }
}

/// The generation of the IdP that the token came from. The session that the enrolment opens has the same generation.
fn generation(user: &User, token: &EnrolmentToken) -> Option<Nonce> {
    match token {
        EnrolmentToken::Enrolment(token) => user.enrolments.get(token.id())?.idp_generation,
        EnrolmentToken::Session(token) => user.sessions.get(token.id())?.idp_generation,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{ChallengeState, Kind, LoginTokenEntry, ResetCodeEntry, ResetCodeFor, Role},
        env::SystemEntropy,
        id::{TenantId, UserId},
        recovery::ResetCode,
        secret::{CodeKey, NewToken, TotpSecret},
        store::fixture::{NOW, STEP, add_session, attempt, authenticator, person},
        totp,
    };

    fn key() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap())
    }

    fn nonce() -> Nonce {
        Nonce::generate(&SystemEntropy).unwrap()
    }

    fn digest() -> CodeDigest {
        ResetCode::generate(&SystemEntropy).unwrap().digest(&CodeKey::new([2; 32].into()), &key())
    }

    /// A user without a factor, with an enrolment token.
    fn unenrolled() -> (User, EnrolmentToken) {
        let mut user = person(Kind::Employee, Role::Standard, nonce());
        let new = NewToken::generate(TokenClass::Enrolment, &key(), RestoreEpoch::default(), &SystemEntropy).unwrap();
        let token = new.reference();
        let entry = LoginTokenEntry {
            verifier: *token.verifier(),
            ends: NOW + policy::ENROLMENT_LIFE,
            state: ChallengeState::NEW,
            security_version: user.security_version,
            network: "10.0.0".to_owned(),
            device: None,
            idp_generation: None,
        };
        user.enrolments.insert(token.id().clone(), entry);
        (user, EnrolmentToken::new(token.clone()).unwrap())
    }

    /// A user with a factor, and a session with a fresh step-up.
    fn signed_in() -> (User, EnrolmentToken) {
        let mut user = person(Kind::Employee, Role::Standard, nonce());
        user.factor = Factor::Active(authenticator());
        let session = add_session(&mut user, &key());
        (user, EnrolmentToken::new(session).unwrap())
    }

    fn started(user: &User, token: &EnrolmentToken) -> PendingEnrolment {
        PendingEnrolment {
            factor: nonce(),
            secret: authenticator().secret,
            started_by: token.reference().id().clone(),
            ends: NOW + policy::ENROLMENT_LIFE,
            attempts: 0,
            reset_code: user.reset_code.as_ref().map(|code| code.digest),
            factor_at_start: user.factor.active().map(|authenticator| authenticator.id),
        }
    }

    fn confirmed(user: &User, token: &EnrolmentToken) -> ConfirmedEnrolment {
        let (user, token, pending) = (user.clone(), token.clone(), user.pending.clone().unwrap());
        let charged =
            PendingConfirmation { token, user, pending, attempt: attempt(NOW), restore_epoch: RestoreEpoch::default() };
        let secret = TotpSecret::generate(charged.factor(), &SystemEntropy).unwrap();
        let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, None).unwrap();
        ConfirmedEnrolment::new(charged, proof, &SystemEntropy).unwrap()
    }

    #[test]
    fn enrolment_token_starts_enrolment_only_for_a_user_without_a_factor() {
        let (mut user, token) = unenrolled();
        assert_eq!(check_start(&user, &token, None, NOW), Ok(()));
        assert_eq!(
            check_start(&user, &token, None, NOW + policy::ENROLMENT_LIFE),
            Err(EnrolmentRejection::InvalidToken)
        );
        user.factor = Factor::Active(authenticator());
        assert_eq!(check_start(&user, &token, None, NOW), Err(EnrolmentRejection::InvalidToken));
    }

    #[test]
    fn enrolment_after_its_time_needs_a_reset() {
        let (mut user, token) = unenrolled();
        user.enrol_by = Some(NOW);
        assert_eq!(check_start(&user, &token, None, NOW), Err(EnrolmentRejection::ResetRequired));
        user.enrol_by = Some(NOW + Duration::from_secs(1));
        assert_eq!(check_start(&user, &token, None, NOW), Ok(()));
    }

    #[test]
    fn session_of_a_recovery_token_starts_enrolment_without_a_step_up() {
        let (mut user, token) = signed_in();
        let session = user.sessions.get_mut(token.reference().id()).unwrap();
        (session.amr, session.step_up) = (Amr::Recovery, None);
        assert_eq!(check_start(&user, &token, None, NOW), Ok(()));
        let late = NOW + policy::RECOVERY_GRACE + Duration::from_millis(1);
        assert_eq!(check_start(&user, &token, None, late), Err(EnrolmentRejection::StepUpRequired));
    }

    #[test]
    fn reset_code_is_part_of_the_enrolment_only_if_it_is_required() {
        let (mut user, token) = unenrolled();
        user.reset_code = Some(ResetCodeEntry { digest: digest(), ends: NOW + Duration::from_millis(1), attempts: 0 });
        for required in [false, true] {
            user.reset_code_required = required;
            let profile = Profile {
                username: "ann".into(),
                display_name: "Ann".into(),
                email: None,
                created: NOW,
                name_id: None,
                subject: None,
            };
            let policy = TenantPolicy {
                name: "Acme".into(),
                issuer: "Acme".into(),
                accent: None,
                logo: None,
                reset_code_for: ResetCodeFor::Administrators,
                created: NOW,
            };
            let permit = EnrolmentPermit { token: token.clone(), user: user.clone(), profile, policy };
            let pending = permit.pending(nonce(), authenticator().secret, NOW);
            assert_eq!(pending.reset_code.is_some(), required);
            assert_eq!(begin(&mut user.clone(), &token, &pending, NOW), Ok(()));
        }
    }

    #[test]
    fn code_of_another_factor_confirms_nothing() {
        let (mut user, token) = unenrolled();
        let pending = started(&user, &token);
        user.pending = Some(pending.clone());
        let charged =
            PendingConfirmation { token, user, pending, attempt: attempt(NOW), restore_epoch: RestoreEpoch::default() };
        let other = FactorRef { factor: nonce(), ..charged.factor() };
        let secret = TotpSecret::generate(other, &SystemEntropy).unwrap();
        let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, None).unwrap();
        let refused = ConfirmedEnrolment::new(charged, proof, &SystemEntropy).err();
        assert!(matches!(refused, Some(SignInError::Foreign)));
    }

    #[test]
    fn required_reset_code_must_be_right_and_have_attempts_and_time_left() {
        let (mut user, token) = unenrolled();
        let code = digest();
        let entry = ResetCodeEntry { digest: code, ends: NOW + Duration::from_millis(1), attempts: 0 };
        user.reset_code_required = true;
        let start = |entry: Option<ResetCodeEntry>, code: Option<&CodeDigest>| {
            check_start(&User { reset_code: entry, ..user.clone() }, &token, code, NOW)
        };
        assert_eq!(start(Some(entry.clone()), Some(&code)), Ok(()));
        let used_up = ResetCodeEntry { attempts: policy::MAX_ATTEMPTS, ..entry.clone() };
        let ended = ResetCodeEntry { ends: NOW, ..entry.clone() };
        let other = digest();
        for (entry, code) in [
            (Some(entry.clone()), None),
            (Some(entry), Some(&other)),
            (Some(used_up), Some(&code)),
            (Some(ended), Some(&code)),
            (None, None),
            (None, Some(&code)),
        ] {
            assert_eq!(start(entry, code), Err(EnrolmentRejection::ResetCode));
        }
    }

    #[test]
    fn session_starts_enrolment_only_with_a_fresh_step_up_and_an_active_factor() {
        let (mut user, token) = signed_in();
        assert_eq!(check_start(&user, &token, None, NOW), Ok(()));
        let late = NOW + policy::STEP_UP_LIFE + Duration::from_secs(1);
        assert_eq!(check_start(&user, &token, None, late), Err(EnrolmentRejection::StepUpRequired));
        let without = User { factor: Factor::None, ..user.clone() };
        assert_eq!(check_start(&without, &token, None, NOW), Err(EnrolmentRejection::ResetRequired));
        user.factor.disable();
        assert_eq!(check_start(&user, &token, None, late), Err(EnrolmentRejection::ResetRequired));
        user.raise_security_version();
        assert_eq!(check_start(&user, &token, None, NOW), Err(EnrolmentRejection::RefreshRequired));
    }

    #[test]
    fn token_of_a_replaced_idp_is_rejected() {
        let (mut user, token) = unenrolled();
        user.auth_type = AuthType::SamlSso;
        let generation = Some(nonce());
        user.enrolments.get_mut(token.reference().id()).unwrap().idp_generation = generation;
        let current = |generation| CurrentIdp { entity_id: "https://idp.example".to_owned(), generation };
        assert_eq!(check_idp(&user, &token, Some(&current(generation))), Ok(()));
        assert_eq!(check_idp(&user, &token, Some(&current(Some(nonce())))), Err(TokenRejection::Invalid));
        assert_eq!(check_idp(&user, &token, None), Err(TokenRejection::Invalid));
    }

    #[test]
    fn begin_is_stale_after_the_factor_or_the_reset_code_changed() {
        let (mut user, token) = signed_in();
        let pending = started(&user, &token);
        user.factor = Factor::Active(authenticator());
        assert_eq!(begin(&mut user, &token, &pending, NOW), Err(EnrolmentChanged::Stale));
        let (mut user, token) = unenrolled();
        let code = |digest| Some(ResetCodeEntry { digest, ends: NOW + Duration::from_millis(1), attempts: 0 });
        user.reset_code = code(digest());
        let pending = started(&user, &token);
        user.reset_code = code(digest());
        assert_eq!(begin(&mut user, &token, &pending, NOW), Err(EnrolmentChanged::Stale));
        user.enrolments.clear();
        assert_eq!(begin(&mut user, &token, &pending, NOW), Err(TokenRejection::Invalid.into()));
    }

    #[test]
    fn confirmation_needs_a_pending_enrolment_of_the_token_with_attempts_left() {
        let (mut user, token) = unenrolled();
        assert_eq!(check_confirmation(&user, &token, NOW), Err(EnrolmentRejection::NonePending));
        let pending = started(&user, &token);
        user.pending = Some(pending.clone());
        assert_eq!(check_confirmation(&user, &token, NOW), Ok(()));
        user.pending = Some(PendingEnrolment { attempts: policy::MAX_ATTEMPTS, ..pending.clone() });
        assert_eq!(check_confirmation(&user, &token, NOW), Err(EnrolmentRejection::NonePending));
        let other = unenrolled().1;
        user.pending = Some(PendingEnrolment { started_by: other.reference().id().clone(), ..pending });
        assert_eq!(check_confirmation(&user, &token, NOW), Err(EnrolmentRejection::InvalidToken));
        user.pending = None;
        user.factor = Factor::Disabled(authenticator());
        assert_eq!(check_confirmation(&user, &token, NOW), Err(EnrolmentRejection::ResetRequired));
    }

    #[test]
    fn confirmed_enrolment_activates_the_factor_and_opens_the_only_valid_session() {
        let (mut user, token) = signed_in();
        let pending = started(&user, &token);
        begin(&mut user, &token, &pending, NOW).unwrap();
        user.consecutive_failures = 3;
        let confirmed = confirmed(&user, &token);
        assert_eq!(confirmed.apply(&mut user), Ok(false));
        assert!(
            user.factor.active().is_some_and(|it| it.id == confirmed.charged.pending.factor && it.last_step == STEP)
        );
        assert_eq!((user.consecutive_failures, user.pending.is_none(), user.sessions.len()), (0, true, 2));
        assert_eq!(check_token(&user, &token, NOW), Err(TokenRejection::RefreshRequired));
        assert!(user.session(confirmed.session.token.reference(), NOW).is_ok());
    }

    #[test]
    fn confirmed_enrolment_is_rejected_after_the_pending_enrolment_or_the_factor_changed() {
        let (mut user, token) = signed_in();
        user.pending = Some(started(&user, &token));
        let confirmed = confirmed(&user, &token);
        let apply = |mut user: User| confirmed.apply(&mut user);
        assert_eq!(apply(User { pending: None, ..user.clone() }), Err(EnrolmentChanged::NonePending));
        let newer = Some(started(&user, &token));
        assert_eq!(apply(User { pending: newer, ..user.clone() }), Err(EnrolmentChanged::NonePending));
        let ended = user.pending.clone().map(|pending| PendingEnrolment { ends: NOW, ..pending });
        assert_eq!(apply(User { pending: ended, ..user.clone() }), Err(EnrolmentChanged::NonePending));
        let factor = Factor::Active(authenticator());
        assert_eq!(apply(User { factor, ..user.clone() }), Err(EnrolmentChanged::Stale));
        assert_eq!(apply(User { active: false, ..user }), Err(TokenRejection::Invalid.into()));
    }
}
