//! The sign-in state machine: what must have happened before what, as types.
//!
//! Each state is a struct with private fields; a transition consumes it. The store's commits take the last state by value,
//! so no handler can make a session that nothing paid for.

use data_encoding::BASE64URL_NOPAD;

use crate::{
    domain::{Amr, AuthType, Challenge, FactorState, Kind, LoginRow, Session, User},
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, UserKey},
    password::{PasswordHash, PasswordProof},
    policy,
    secret::{LoginKey, NewToken, Nonce, RestoreEpoch, TokenClass, TokenRef},
};

/// One invocation of a handler: its moment and a random id, by which its writes are recognised after a lost reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    at: Timestamp,
    id: Nonce,
}

impl Attempt {
    /// A fresh one; never two for one request, never one for two.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn begin(at: Timestamp, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { at, id: Nonce::generate(entropy)? })
    }

    /// The request's moment.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The random bytes.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.id.bytes()
    }

    /// The random bytes, to keep.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.id
    }

    /// The id as a key of a map and part of a key.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(self.id.bytes())
    }
}

/// A try at a login name's password that was charged and not yet decided. It comes from the store's `charge_login` alone.
pub struct PasswordAttempt {
    pub(crate) login: LoginKey,
    pub(crate) row: LoginRow,
    pub(crate) attempt: Attempt,
    /// The known device whose counter was charged, instead of the name's.
    pub(crate) device: Option<EntryId>,
    /// The person, where the charge has read them already.
    pub(crate) person: Option<User>,
}

impl PasswordAttempt {
    /// The stored hash to check against; `None` for names that nobody has, and people without a password.
    #[must_use]
    pub fn hash(&self) -> Option<PasswordHash> {
        self.row.hash.clone().map(PasswordHash::from_stored)
    }

    /// Who has the name, if somebody does. Not who is asking: that is known only from [`Self::checked`].
    #[must_use]
    pub fn owner(&self) -> Option<UserKey> {
        self.row.uid.clone().map(|user| self.login.tenant().user(user))
    }

    /// The login name.
    #[must_use]
    pub fn login(&self) -> &LoginKey {
        &self.login
    }

    /// The request's attempt.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Failures in a row, this try among them, should it be one: of the device or the name.
    #[must_use]
    pub fn failures(&self) -> i64 {
        match (&self.device, &self.person) {
            (Some(device), Some(user)) => user.devices.get(device).map_or(0, |device| device.attempts),
            _ => self.row.attempts,
        }
    }

    /// Takes the proof, and the person as they are. The password version is equal in both, so no password change lies
    /// between the two reads.
    ///
    /// # Errors
    /// The try itself, when it is refused: wrong, nobody's, inactive or an SSO user, all alike.
    pub fn checked(self, proof: Option<PasswordProof>, person: Option<User>) -> Result<VerifiedPassword, Self> {
        let right = match (&proof, &self.row.hash) {
            (Some(proof), Some(hash)) => proof.of(hash),
            _ => false,
        };
        match (person, self.owner()) {
            (Some(user), Some(key)) if right => VerifiedPassword { password_attempt: self, key, user }.if_permitted(),
            _ => Err(self),
        }
    }
}

/// The password was right, and its owner may sign in with it.
pub struct VerifiedPassword {
    pub(crate) password_attempt: PasswordAttempt,
    pub(crate) key: UserKey,
    pub(crate) user: User,
}

/// A try at one's own password that was charged to one's session and not yet decided. It comes from the store's
/// `charge_own_password` alone.
pub struct OwnPasswordAttempt {
    pub(crate) token: TokenRef,
    pub(crate) row: LoginRow,
    pub(crate) user: User,
    pub(crate) attempt: Attempt,
}

impl OwnPasswordAttempt {
    /// The stored hash to check against; `None` for people without a password.
    #[must_use]
    pub fn hash(&self) -> Option<PasswordHash> {
        self.row.hash.clone().map(PasswordHash::from_stored)
    }

    /// Whether this try, should it be wrong, was the last that the session has: it has ended.
    #[must_use]
    pub fn was_the_last(&self) -> bool {
        self.user.sessions.get(self.token.id()).is_none_or(|session| session.password_attempts >= policy::MAX_ATTEMPTS)
    }

    /// Takes the proof. The password version is equal in both items, so no password change lies between the two reads.
    ///
    /// # Errors
    /// The try itself, when it is refused: the password is wrong, or the person signs in through their IdP.
    pub fn checked(self, proof: Option<PasswordProof>) -> Result<VerifiedOwnPassword, Self> {
        let right = match (&proof, &self.row.hash) {
            (Some(proof), Some(hash)) => proof.of(hash),
            _ => false,
        };
        let may = self.user.auth_type == AuthType::Local
            && self.row.uid.as_ref() == Some(self.token.user().user())
            && self.row.version == Some(self.user.password_version);
        if right && may { Ok(VerifiedOwnPassword(self)) } else { Err(self) }
    }
}

/// The current password was right: worth a new one, and nothing else.
pub struct VerifiedOwnPassword(pub(crate) OwnPasswordAttempt);

/// What a right password is worth (product.md, sign-in table).
pub enum PasswordChecked {
    /// The code is due: worth a challenge.
    MfaRequired(Continuation),
    /// There is no factor: worth an enrolment token.
    EnrolmentRequired(Continuation),
    /// An excluded contact: worth a session.
    Exempt(Exempt),
    /// The factor was disabled, or the time to enrol has passed: worth nothing before a reset.
    ResetRequired(VerifiedPassword),
}

/// A right password that opens a challenge or an enrolment token, and never a session.
pub struct Continuation {
    pub(crate) right: VerifiedPassword,
    pub(crate) class: TokenClass,
}

impl Continuation {
    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.right.key
    }

    /// Whether enrolment asks for the reset code that was handed out.
    #[must_use]
    pub fn reset_code_required(&self) -> bool {
        self.right.user.reset_code_required
    }
}

/// A right password of a contact who is excluded from MFA.
pub struct Exempt {
    pub(crate) right: VerifiedPassword,
}

impl Exempt {
    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.right.key
    }

    /// As they were read.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.right.user
    }
}

impl VerifiedPassword {
    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// As they were read.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The try.
    #[must_use]
    pub fn password_attempt(&self) -> &PasswordAttempt {
        &self.password_attempt
    }

    pub(crate) fn if_permitted(self) -> Result<Self, PasswordAttempt> {
        let User { active, auth_type, password_version, .. } = self.user;
        let may = active && auth_type == AuthType::Local && self.password_attempt.row.version == Some(password_version);
        if may { Ok(self) } else { Err(self.password_attempt) }
    }

    /// What it is worth.
    #[must_use]
    pub fn decide(self) -> PasswordChecked {
        match NextStep::of(&self.user, self.password_attempt.attempt.at) {
            NextStep::Exempt => PasswordChecked::Exempt(Exempt { right: self }),
            NextStep::CodeRequired => {
                PasswordChecked::MfaRequired(Continuation { right: self, class: TokenClass::Challenge })
            }
            NextStep::EnrolmentRequired => {
                PasswordChecked::EnrolmentRequired(Continuation { right: self, class: TokenClass::Enrolment })
            }
            NextStep::ResetRequired => PasswordChecked::ResetRequired(self),
        }
    }
}

/// What somebody may do who has come through a first door, the password's or their IdP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// An excluded contact: signed in.
    Exempt,
    /// They have an authenticator.
    CodeRequired,
    /// They have none, and may enrol one.
    EnrolmentRequired,
    /// Nothing before a reset.
    ResetRequired,
}

impl NextStep {
    /// The exemption is decided first: an excluded contact has no factor to be disabled and no time to enrol in.
    pub(crate) fn of(user: &User, now: Timestamp) -> Self {
        let dormant = user.seen <= (now - policy::DORMANT).secs();
        let too_late = user.enrol_by.is_some_and(|until| until <= now.secs());
        match user.factor.state() {
            FactorState::None if user.kind == Kind::Contact && user.excluded.is_some() => Self::Exempt,
            FactorState::Active if user.consecutive_failures < policy::MAX_CONSECUTIVE_FAILURES => Self::CodeRequired,
            FactorState::None if !dormant && !too_late => Self::EnrolmentRequired,
            _ => Self::ResetRequired,
        }
    }
}

/// The door by which a code is tried.
#[derive(Clone, PartialEq, Eq)]
pub enum VerificationToken {
    /// A challenge: the code signs in.
    Challenge(TokenRef),
    /// A session: the code steps it up.
    Session(TokenRef),
}

impl VerificationToken {
    /// The token.
    #[must_use]
    pub fn reference(&self) -> &TokenRef {
        match self {
            Self::Challenge(token) | Self::Session(token) => token,
        }
    }

    /// Takes a token of the class that fits; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn challenge(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Challenge).then_some(Self::Challenge(token))
    }

    /// Takes a session token; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn session(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Session).then_some(Self::Session(token))
    }
}

/// A try that was charged and not yet decided. It comes from the store's `charge_verification` alone.
pub struct PendingVerification {
    pub(crate) user: User,
    pub(crate) token: VerificationToken,
    pub(crate) attempt: Attempt,
    pub(crate) restored: RestoreEpoch,
}

impl PendingVerification {
    /// The person as the charge left them.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.token.reference().user()
    }

    /// The request's attempt.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The challenge, when that is the door.
    #[must_use]
    pub fn challenge(&self) -> Option<&Challenge> {
        match &self.token {
            VerificationToken::Challenge(token) => self.user.challenges.get(token.id()),
            VerificationToken::Session(_) => None,
        }
    }

    /// Whether this try, should it be wrong, was the last that the factor has.
    #[must_use]
    pub fn exhausts_factor(&self) -> bool {
        self.user.factor.state() == FactorState::Active
            && self.user.consecutive_failures >= policy::MAX_CONSECUTIVE_FAILURES
    }
}

/// What makes a session: a token and its entry, and perhaps a device that becomes known by it.
pub(crate) struct NewSession {
    pub(crate) token: NewToken,
    pub(crate) entry: Session,
    /// Where the sign-in came from.
    pub(crate) from: From,
}

/// The device of a sign-in.
pub(crate) enum From {
    /// Not to be known: a step-up, or a password alone.
    Unknown,
    /// Known: renewed, as long as it is.
    Known(EntryId),
    /// One that is known is renewed, as long as it is; else it becomes known by this token.
    Device(Option<EntryId>, NewToken),
}

/// Somebody is signed in: what they get.
pub struct SignedIn {
    /// The session's token.
    pub token: NewToken,
    /// The session.
    pub session: Session,
    /// The token of a device that became known.
    pub device: Option<NewToken>,
}

impl NewSession {
    pub(crate) fn id(&self) -> &EntryId {
        self.token.reference().id()
    }

    /// A session of somebody who signs in now.
    pub(crate) fn signed_in(
        user: &UserKey,
        security_version: i64,
        amr: Amr,
        attempt: &Attempt,
        restored: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let token = NewToken::generate(TokenClass::Session, user, restored, entropy)?;
        let now = attempt.at;
        let life = match amr {
            Amr::Password => policy::EXEMPT_SESSION_LIFE,
            Amr::Otp | Amr::Recovery | Amr::Sso | Amr::SsoOtp => policy::SESSION_LIFE,
        };
        let step_up = if amr.otp() { now.secs() } else { 0 };
        let verifier = *token.reference().verifier();
        let ends = (now + life).secs();
        let (created, seen) = (now.millis(), now.secs());
        let (password_attempts, password_attempt, idp) = (0, None, None);
        let attempt = attempt.id;
        let entry = Session {
            verifier,
            created,
            attempt,
            ends,
            seen,
            step_up,
            amr,
            security_version,
            idp,
            password_attempts,
            password_attempt,
        };
        Ok(Self { token, entry, from: From::Unknown })
    }

    /// Lets the device become known, or renews the one the sign-in was opened from.
    pub(crate) fn knowing(
        mut self,
        opened_from: Option<EntryId>,
        restored: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let token = NewToken::generate(TokenClass::Device, self.token.reference().user(), restored, entropy)?;
        self.from = From::Device(opened_from, token);
        Ok(self)
    }

    /// After the commit: what the user gets. `entry` is the session as it was written.
    pub(crate) fn into_signed_in(self, entry: Session, new_device: bool) -> SignedIn {
        let device = match self.from {
            From::Device(_, token) if new_device => Some(token),
            _ => None,
        };
        SignedIn { token: self.token, session: entry, device }
    }
}
