//! A code at a challenge signs in; a code at a session steps it up. A recovery token replaces the code at a challenge.
//!
//! An attempt is charged first ([`check_attempt`] is what the charge requires), then the code is checked, then
//! [`SignIn::apply`] spends what was proven and opens the session.

use super::session::TokenRejection;
use crate::{
    domain::{Amr, ChallengeState, FactorState, Session, TimeStep, User},
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, UserKey},
    policy,
    recovery::RecoveryProof,
    secret::{CodeDigest, Nonce, SealedSecret},
    sign_in::{Attempt, NewSession, PendingVerification, SignInError, SignedIn, VerificationToken},
    totp::TotpProof,
};

/// Why a code is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerificationRejection {
    /// The token is unknown, has ended, was spent, or its attempts are used up.
    #[error("the token is not valid")]
    InvalidToken,
    /// The session is older than the user's last security change.
    #[error("the session is older than the last security change")]
    RefreshRequired,
    /// The factor was disabled: only a reset helps.
    #[error("the factor is disabled")]
    FactorDisabled,
    /// There is no factor.
    #[error("there is no factor")]
    NoFactor,
}

impl From<TokenRejection> for VerificationRejection {
    fn from(why: TokenRejection) -> Self {
        match why {
            TokenRejection::Invalid => Self::InvalidToken,
            TokenRejection::RefreshRequired => Self::RefreshRequired,
        }
    }
}

/// A correct code grants nothing: another request spent the time step, the recovery token or the attempt, or the user changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the code was used meanwhile")]
pub struct ProofRejected;

/// Whether a code may be checked: first the token, then the factor. The window of recent attempts is not part of it.
///
/// # Errors
/// [`VerificationRejection`]: each variant. A disabled factor is `InvalidToken` at a challenge.
pub fn check_attempt(user: &User, token: &VerificationToken, now: Timestamp) -> Result<(), VerificationRejection> {
    check_token(user, token, now)?;
    if token.challenge_of(user).is_some_and(|challenge| !challenge.state.is_open_below(policy::MAX_ATTEMPTS)) {
        return Err(VerificationRejection::InvalidToken);
    }
    match (user.factor.state(), token) {
        (FactorState::Active, _) if !user.code_attempts_exhausted() => Ok(()),
        (FactorState::None, _) => Err(VerificationRejection::NoFactor),
        // At a challenge the response is the same as for a void token. The next sign-in says that a reset is required.
        (_, VerificationToken::Challenge(_)) => Err(VerificationRejection::InvalidToken),
        (_, VerificationToken::Session(_)) => Err(VerificationRejection::FactorDisabled),
    }
}

/// Whether the token works for this user. The last attempt at a challenge is charged before its code is checked, so the number
/// of attempts is not part of it.
fn check_token(user: &User, token: &VerificationToken, now: Timestamp) -> Result<(), TokenRejection> {
    match token {
        VerificationToken::Challenge(reference) => {
            let usable = token.challenge_of(user).is_some_and(|challenge| {
                challenge.state != ChallengeState::Spent
                    && challenge.is_valid(reference, user.security_version, policy::CHALLENGE_LIFE, now)
            });
            if usable && user.active { Ok(()) } else { Err(TokenRejection::Invalid) }
        }
        VerificationToken::Session(token) => user.session(token, now).map(drop),
    }
}

/// A correct code and the session that it opens. It is made from a charged attempt and a proof of the same factor.
///
/// There is no session without a proof:
/// ```compile_fail,E0451
/// # fn any<T>() -> T { loop {} }
/// # fn mint(pending: vestibule::sign_in::PendingVerification) -> vestibule::auth::verify_code::SignIn {
/// vestibule::auth::verify_code::SignIn { pending, proof: any(), session: any() } // private fields
/// # }
/// ```
pub struct SignIn {
    pending: PendingVerification,
    proof: Proof,
    session: NewSession,
}

/// What was proven and is spent by the sign-in.
enum Proof {
    /// A time step of an authenticator app; with its secret, if that was sealed under a newer key.
    Step { factor: Nonce, step: TimeStep, resealed: Option<SealedSecret> },
    /// A recovery token.
    RecoveryToken(CodeDigest),
}

/// What a sign-in put into the user: the session, and whether its device is new.
#[derive(Clone)]
pub(crate) struct OpenedSession {
    session: Session,
    new_device: bool,
}

impl SignIn {
    /// Signs in, or steps up, with a code of the factor that was charged. It consumes the attempt and the proof, so a proof
    /// works once. `resealed` is the factor's secret sealed under a newer key, to replace the stored one.
    ///
    /// # Errors
    /// [`SignInError::Foreign`]: the proof is of another user's factor, or of another factor of the user.
    pub fn with_totp(
        pending: PendingVerification,
        proof: TotpProof,
        resealed: Option<SealedSecret>,
        entropy: &dyn Entropy,
    ) -> Result<Self, SignInError> {
        let (owner, user) = (proof.owner(), &pending.user);
        let factor = user.factor.active().map(|authenticator| authenticator.id);
        if owner.user != *pending.key() || owner.incarnation != user.incarnation || Some(owner.factor) != factor {
            return Err(SignInError::Foreign);
        }
        let proof = Proof::Step { factor: owner.factor, step: proof.step(), resealed };
        let mut session = new_session(&pending, Amr::with_code(user.auth_type), entropy)?;
        if matches!(pending.token, VerificationToken::Challenge(_)) {
            session = session.with_known_device(opened_from(&pending), pending.restore_epoch, entropy)?;
        }
        Ok(Self { pending, proof, session })
    }

    /// Signs in with a recovery token, at a challenge only.
    ///
    /// # Errors
    /// [`SignInError::Foreign`]: the proof is of another user, or the attempt is one of a session.
    pub fn with_recovery(
        pending: PendingVerification,
        proof: RecoveryProof,
        entropy: &dyn Entropy,
    ) -> Result<Self, SignInError> {
        if proof.user() != pending.key() || matches!(pending.token, VerificationToken::Session(_)) {
            return Err(SignInError::Foreign);
        }
        let session = new_session(&pending, Amr::Recovery, entropy)?;
        let session = session.with_known_device(opened_from(&pending), pending.restore_epoch, entropy)?;
        Ok(Self { proof: Proof::RecoveryToken(*proof.digest()), pending, session })
    }

    /// Who signs in.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.pending.key()
    }

    /// The request's attempt.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.pending.attempt
    }

    /// The user as the charge left them.
    pub(crate) fn charged_user(&self) -> &User {
        &self.pending.user
    }

    /// Spends the attempt, the code and the challenge, and opens the session. At a step-up the new session replaces the old
    /// one and keeps its end.
    ///
    /// # Errors
    /// [`ProofRejected`]: another request spent what this one needs, or the user changed.
    pub(crate) fn apply(&self, user: &mut User) -> Result<OpenedSession, ProofRejected> {
        let PendingVerification { token, attempt, .. } = &self.pending;
        let (now, mut session) = (attempt.at(), self.session.entry.clone());
        check_token(user, token, now).map_err(|_| ProofRejected)?;
        if !user.recent_attempts.contains_key(&attempt.text()) {
            return Err(ProofRejected);
        }
        self.proof.spend(user)?;
        user.refund(attempt);
        let stepped_up = match token {
            VerificationToken::Challenge(token) => {
                user.challenges
                    .entry(token.id().clone())
                    .and_modify(|challenge| challenge.state = ChallengeState::Spent);
                None
            }
            VerificationToken::Session(token) => {
                user.sessions.get(token.id()).inspect(|old| session.continues(old));
                Some(token.id())
            }
        };
        let new_device = user.open_session(&self.session, session.clone(), stepped_up, now);
        user.seen = now.whole_second();
        Ok(OpenedSession { session, new_device })
    }

    /// What the caller gets after the commit of [`Self::apply`].
    pub(crate) fn signed_in(self, opened: OpenedSession) -> SignedIn {
        self.session.into_signed_in(opened.session, opened.new_device)
    }
}

/// The failures do not disable the factor, or it is disabled already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the factor is not exhausted")]
pub struct NotExhausted;

/// Disables a factor after [`policy::MAX_CONSECUTIVE_FAILURES`]. Challenges, enrolment tokens and the recovery token are void;
/// sessions stay.
///
/// # Errors
/// [`NotExhausted`]: the factor is not active, or has fewer failures.
pub fn disable_factor(user: &mut User) -> Result<(), NotExhausted> {
    if !user.factor.is_active() || !user.code_attempts_exhausted() {
        return Err(NotExhausted);
    }
    user.factor.disable();
    user.challenges.clear();
    user.enrolments.clear();
    user.pending = None;
    Ok(())
}

impl Proof {
    /// Spends what was proven.
    ///
    /// # Errors
    /// [`ProofRejected`]: it was spent already, or the factor is disabled or another one.
    fn spend(&self, user: &mut User) -> Result<(), ProofRejected> {
        let authenticator = user.factor.active_mut().ok_or(ProofRejected)?;
        match self {
            Self::Step { factor, step, resealed } => {
                if authenticator.id != *factor {
                    return Err(ProofRejected);
                }
                authenticator.accept_step(*step).map_err(|_| ProofRejected)?;
                if let Some(resealed) = resealed {
                    authenticator.secret = resealed.clone();
                }
            }
            Self::RecoveryToken(digest) => {
                let token = authenticator.recovery_token.take_if(|token| token.digest == *digest);
                token.ok_or(ProofRejected)?;
            }
        }
        Ok(())
    }
}

impl User {
    /// Takes a charged attempt back, because it was no failure, and clears the consecutive failures.
    fn refund(&mut self, attempt: &Attempt) {
        self.recent_attempts.remove(&attempt.text());
        self.consecutive_failures = 0;
        self.total_failures -= 1;
    }
}

impl Session {
    /// Copies what a step-up must not change from the old session: a step-up is no new sign-in and extends nothing.
    fn continues(&mut self, old: &Self) {
        self.created = old.created;
        self.attempt = old.attempt;
        self.ends = old.ends;
        self.idp_generation = old.idp_generation;
        (self.password_attempts, self.password_attempt) = (old.password_attempts, old.password_attempt);
    }
}

fn new_session(pending: &PendingVerification, amr: Amr, entropy: &dyn Entropy) -> Result<NewSession, EntropyError> {
    let version = pending.user.security_version;
    NewSession::signed_in(pending.key(), version, amr, &pending.attempt, pending.restore_epoch, entropy)
}

/// The known device that the challenge was opened from.
fn opened_from(pending: &PendingVerification) -> Option<EntryId> {
    pending.challenge().and_then(|challenge| challenge.device.clone())
}
