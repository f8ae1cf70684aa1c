//! The states of a sign-in, as types.
//!
//! Each state is a struct that no other crate can make, and a transition consumes it. The store's commits take the last state by
//! value, so a handler cannot open a session without a proof.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::{
    domain::{FactorState, Kind, LoginRow, LoginTokenEntry, User},
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, UserKey},
    password::{PasswordHash, PasswordProof},
    policy,
    secret::{LoginKey, Nonce, RestoreEpoch, TokenClass, TokenRef},
};

mod new_session;

pub(crate) use new_session::{DeviceOrigin, NewSession};
pub use new_session::{SignInError, SignedIn};

/// One execution of an operation: its time and a random id. The id identifies its writes if the store's reply to them is lost. The
/// charge, the commit and the audit rows of an operation have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    at: Timestamp,
    id: Nonce,
}

impl Attempt {
    /// Begins an execution.
    ///
    /// # Errors
    /// [`EntropyError`] if no randomness is available.
    pub fn begin(at: Timestamp, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { at, id: Nonce::generate(entropy)? })
    }

    /// The time of the request.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The random id.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.id.bytes()
    }

    /// The random id, to store it.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.id
    }

    /// The random id in base64url, for keys of maps and of items.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(self.id.bytes())
    }
}

/// An attempt at the password of a login name that was charged and not yet checked. Only the store's `charge_login` makes one.
pub struct PasswordAttempt {
    pub(crate) login: LoginKey,
    pub(crate) row: LoginRow,
    pub(crate) attempt: Attempt,
    /// The known device that was charged. `None`: the login name was charged.
    pub(crate) device: Option<EntryId>,
    /// The user, if the charge loaded them.
    pub(crate) loaded_user: Option<User>,
}

impl PasswordAttempt {
    /// The stored hash to check against. `None` if no user has the login name, or the user has no password.
    #[must_use]
    pub fn hash(&self) -> Option<PasswordHash> {
        self.row.hash.clone().map(PasswordHash::from_stored)
    }

    /// The user who has the login name, if one does. That the caller is this user is known only after [`Self::checked`].
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

    /// Consecutive failures of the device or of the login name. Counts this attempt as one.
    #[must_use]
    pub fn failures(&self) -> i64 {
        match (&self.device, &self.loaded_user) {
            (Some(device), Some(user)) => user.devices.get(device).map_or(0, |device| device.attempts),
            _ => self.row.attempts,
        }
    }

    /// Checks the proof and the user. The password version must be the same in the login name's item and the user's item, so
    /// the password did not change between the two reads.
    ///
    /// # Errors
    /// The attempt itself, if the password is wrong, no user has the login name, or the user is inactive or signs in by SSO.
    /// The caller cannot distinguish these cases.
    pub fn checked(self, proof: Option<PasswordProof>, user: Option<User>) -> Result<VerifiedPassword, Self> {
        let verified = match (&proof, &self.row.hash) {
            (Some(proof), Some(hash)) => proof.of(hash),
            _ => false,
        };
        match (user, self.owner()) {
            (Some(user), Some(key)) if verified => {
                VerifiedPassword { password_attempt: self, key, user }.if_permitted()
            }
            _ => Err(self),
        }
    }
}

/// The password was correct, and the user may sign in with it.
pub struct VerifiedPassword {
    pub(crate) password_attempt: PasswordAttempt,
    pub(crate) key: UserKey,
    pub(crate) user: User,
}

/// An attempt at the caller's own password that was charged to the caller's session and not yet checked. Only the store's
/// `charge_own_password` makes one.
pub struct OwnPasswordAttempt {
    pub(crate) token: TokenRef,
    pub(crate) row: LoginRow,
    pub(crate) user: User,
    pub(crate) attempt: Attempt,
}

impl OwnPasswordAttempt {
    /// The stored hash to check against. `None` if the user has no password.
    #[must_use]
    pub fn hash(&self) -> Option<PasswordHash> {
        self.row.hash.clone().map(PasswordHash::from_stored)
    }

    /// Whether the session ends if this attempt is wrong, because it used up the session's attempts.
    #[must_use]
    pub fn exhausts_session(&self) -> bool {
        self.user.sessions.get(self.token.id()).is_none_or(|session| session.password_attempts >= policy::MAX_ATTEMPTS)
    }

    /// Checks the proof. The password version must be the same in the login name's item and the user's item, so the password
    /// did not change between the two reads.
    ///
    /// # Errors
    /// The attempt itself, if the password is wrong or the user signs in by SSO.
    pub fn checked(self, proof: Option<PasswordProof>) -> Result<VerifiedOwnPassword, Self> {
        let verified = match (&proof, &self.row.hash) {
            (Some(proof), Some(hash)) => proof.of(hash),
            _ => false,
        };
        let own = self.row.uid.as_ref() == Some(self.token.user().user());
        let permitted = own && self.row.version.is_some_and(|version| self.user.accepts_password(version));
        if verified && permitted { Ok(VerifiedOwnPassword(self)) } else { Err(self) }
    }
}

/// The current password was correct. It permits a password change and nothing else.
pub struct VerifiedOwnPassword(pub(crate) OwnPasswordAttempt);

/// What a correct password leads to (product.md, sign-in table).
pub enum PasswordChecked {
    /// A code is required: leads to a challenge.
    MfaRequired(PendingSignIn),
    /// The user has no factor: leads to an enrolment token.
    EnrolmentRequired(PendingSignIn),
    /// An excluded contact: leads to a session.
    Excluded(ExcludedSignIn),
    /// The factor is disabled, or the time to enrol has passed: the user needs a reset.
    ResetRequired(VerifiedPassword),
}

/// A correct password that leads to a challenge or an enrolment token, and never to a session.
pub struct PendingSignIn {
    pub(crate) verified: VerifiedPassword,
    pub(crate) kind: LoginTokenKind,
}

/// The token that a first factor opens for a user who is not signed in yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginTokenKind {
    /// A challenge: the user sends a code with it.
    Challenge,
    /// An enrolment token: the user enrols a factor with it.
    Enrolment,
}

impl LoginTokenKind {
    pub(crate) fn class(self) -> TokenClass {
        match self {
            Self::Challenge => TokenClass::Challenge,
            Self::Enrolment => TokenClass::Enrolment,
        }
    }

    /// The next step of a user for whom it is opened.
    pub(crate) fn next_step(self) -> NextStep {
        match self {
            Self::Challenge => NextStep::CodeRequired,
            Self::Enrolment => NextStep::EnrolmentRequired,
        }
    }

    pub(crate) fn life(self) -> Duration {
        match self {
            Self::Challenge => policy::CHALLENGE_LIFE,
            Self::Enrolment => policy::ENROLMENT_LIFE,
        }
    }
}

impl PendingSignIn {
    /// The user.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.verified.key
    }

    /// Whether enrolment requires the reset code.
    #[must_use]
    pub fn reset_code_required(&self) -> bool {
        self.verified.user.reset_code_required
    }
}

/// A correct password of a contact who is excluded from MFA.
pub struct ExcludedSignIn {
    pub(crate) verified: VerifiedPassword,
}

impl ExcludedSignIn {
    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.verified.key
    }

    /// The user as loaded.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.verified.user
    }
}

impl VerifiedPassword {
    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// The user as loaded.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The attempt.
    #[must_use]
    pub fn password_attempt(&self) -> &PasswordAttempt {
        &self.password_attempt
    }

    pub(crate) fn if_permitted(self) -> Result<Self, PasswordAttempt> {
        if self.signs_in(&self.user) { Ok(self) } else { Err(self.password_attempt) }
    }

    /// Whether the password signs in this user: the user as loaded, or as they are after a change. A user who was deleted and
    /// created again under the same id is another user.
    pub(crate) fn signs_in(&self, user: &User) -> bool {
        let version = self.password_attempt.row.version;
        user.incarnation == self.user.incarnation && version.is_some_and(|version| user.accepts_password(version))
    }

    /// Decides the next step of the sign-in.
    #[must_use]
    pub fn decide(self) -> PasswordChecked {
        match NextStep::of(&self.user, self.password_attempt.attempt.at) {
            NextStep::ExcludedSession => PasswordChecked::Excluded(ExcludedSignIn { verified: self }),
            NextStep::CodeRequired => {
                PasswordChecked::MfaRequired(PendingSignIn { verified: self, kind: LoginTokenKind::Challenge })
            }
            NextStep::EnrolmentRequired => {
                PasswordChecked::EnrolmentRequired(PendingSignIn { verified: self, kind: LoginTokenKind::Enrolment })
            }
            NextStep::ResetRequired => PasswordChecked::ResetRequired(self),
        }
    }
}

/// The next step after the first factor: a password, or an assertion of the IdP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// An excluded contact: signed in without a second factor.
    ExcludedSession,
    /// The user has an active factor and must give a code.
    CodeRequired,
    /// The user has no factor and may enrol.
    EnrolmentRequired,
    /// The user needs a reset first.
    ResetRequired,
}

impl NextStep {
    /// Decides the next step. The exclusion comes first, because dormancy and the time to enrol do not apply to excluded
    /// contacts.
    pub(crate) fn of(user: &User, now: Timestamp) -> Self {
        let dormant = user.seen <= now - policy::DORMANT;
        let too_late = user.enrolment_deadline_passed(now);
        match user.factor.state() {
            FactorState::None if user.kind == Kind::Contact && user.excluded.is_some() => Self::ExcludedSession,
            FactorState::Active if !user.code_attempts_exhausted() => Self::CodeRequired,
            FactorState::None if !dormant && !too_late => Self::EnrolmentRequired,
            _ => Self::ResetRequired,
        }
    }
}

/// The token with which a code is sent.
#[derive(Clone, PartialEq, Eq)]
pub enum VerificationToken {
    /// A challenge: the code completes the sign-in.
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

    /// The user's entry of a challenge. `None` for a session.
    pub(crate) fn challenge_of<'a>(&self, user: &'a User) -> Option<&'a LoginTokenEntry> {
        match self {
            Self::Challenge(token) => user.challenges.get(token.id()),
            Self::Session(_) => None,
        }
    }

    /// Accepts a challenge. `None` for a token of another class (`invalid_token`).
    #[must_use]
    pub fn challenge(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Challenge).then_some(Self::Challenge(token))
    }

    /// Accepts a session token. `None` for a token of another class (`invalid_token`).
    #[must_use]
    pub fn session(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Session).then_some(Self::Session(token))
    }
}

/// An attempt at a code that was charged and not yet checked. Only the store's `charge_verification` makes one.
pub struct PendingVerification {
    pub(crate) user: User,
    pub(crate) token: VerificationToken,
    pub(crate) attempt: Attempt,
    pub(crate) restore_epoch: RestoreEpoch,
}

impl PendingVerification {
    /// The user as the charge left them.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.token.reference().user()
    }

    /// The request's attempt.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The challenge, if the code was sent with one.
    #[must_use]
    pub fn challenge(&self) -> Option<&LoginTokenEntry> {
        self.token.challenge_of(&self.user)
    }

    /// Whether the factor must be disabled if this attempt is wrong.
    #[must_use]
    pub fn exhausts_factor(&self) -> bool {
        self.user.factor.is_active() && self.user.code_attempts_exhausted()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{Exclusion, Factor, Role},
        env::SystemEntropy,
        id::BatchId,
        store::fixture::{NOW, authenticator, person},
    };

    /// What decides about the next step, as the sign-in table names it.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        kind: Kind,
        excluded: bool,
        factor: FactorState,
        /// The number of failures, and whether it is the limit that disables the factor.
        failures: (i64, bool),
        /// The last sign-in, and whether the account is dormant.
        seen: (Timestamp, bool),
        /// The end of the time to enrol, and whether it has passed.
        enrol_by: (Option<Timestamp>, bool),
    }

    impl Case {
        /// All combinations, with both sides of each limit.
        fn all() -> Vec<Self> {
            let second = Duration::from_secs(1);
            let most = policy::MAX_CONSECUTIVE_FAILURES;
            let all_failures = [(0, false), (most - 1, false), (most, true)];
            let all_seen = [(NOW, false), (NOW - policy::DORMANT + second, false), (NOW - policy::DORMANT, true)];
            let all_enrol_by = [(None, false), (Some(NOW + second), false), (Some(NOW), true)];
            let mut all = Vec::new();
            for (kind, excluded) in [Kind::Employee, Kind::Contact].into_iter().flat_map(|it| [(it, false), (it, true)])
            {
                for factor in [FactorState::None, FactorState::Active, FactorState::Disabled] {
                    for (failures, seen) in all_failures.into_iter().flat_map(|it| all_seen.map(|seen| (it, seen))) {
                        let case = |enrol_by| Self { kind, excluded, factor, failures, seen, enrol_by };
                        all.extend(all_enrol_by.map(case));
                    }
                }
            }
            all
        }

        fn user(&self) -> User {
            let batch = BatchId::parse("b").unwrap();
            User {
                excluded: self.excluded.then_some(Exclusion { batch, at: NOW }),
                factor: match self.factor {
                    FactorState::None => Factor::None,
                    FactorState::Active => Factor::Active(authenticator()),
                    FactorState::Disabled => Factor::Disabled(authenticator()),
                },
                consecutive_failures: self.failures.0,
                seen: self.seen.0,
                enrol_by: self.enrol_by.0,
                ..person(self.kind, Role::Standard, Nonce::generate(&SystemEntropy).unwrap())
            }
        }
    }

    /// A row of the sign-in table. What is `None` does not matter.
    struct Row {
        kind: Option<Kind>,
        factor: FactorState,
        exhausted: Option<bool>,
        excluded: Option<bool>,
        in_time: Option<bool>,
        step: NextStep,
    }

    impl Row {
        fn fits(&self, case: &Case) -> bool {
            let in_time = !case.seen.1 && !case.enrol_by.1;
            self.factor == case.factor
                && self.kind.is_none_or(|kind| kind == case.kind)
                && self.exhausted.is_none_or(|exhausted| exhausted == case.failures.1)
                && self.excluded.is_none_or(|excluded| excluded == case.excluded)
                && self.in_time.is_none_or(|expected| expected == in_time)
        }
    }

    /// The rows of the sign-in table in product.md.
    fn sign_in_table() -> [Row; 8] {
        use FactorState::{Active, Disabled, None as NoFactor};
        use Kind::{Contact, Employee};
        use NextStep::{CodeRequired, EnrolmentRequired, ExcludedSession, ResetRequired};
        let row =
            |kind, factor, exhausted, excluded, in_time, step| Row { kind, factor, exhausted, excluded, in_time, step };
        let (yes, no) = (Some(true), Some(false));
        [
            row(None, Active, no, None, None, CodeRequired),
            row(None, Active, yes, None, None, ResetRequired),
            row(None, Disabled, None, None, None, ResetRequired),
            // An employee is never excluded. If the item says so nevertheless, it has no effect.
            row(Some(Employee), NoFactor, None, None, yes, EnrolmentRequired),
            row(Some(Employee), NoFactor, None, None, no, ResetRequired),
            row(Some(Contact), NoFactor, None, no, yes, EnrolmentRequired),
            row(Some(Contact), NoFactor, None, no, no, ResetRequired),
            row(Some(Contact), NoFactor, None, yes, None, ExcludedSession),
        ]
    }

    #[test]
    fn next_step_is_that_of_the_sign_in_table() {
        let (table, cases) = (sign_in_table(), Case::all());
        assert_eq!(cases.len(), 2 * 2 * 3 * 3 * 3 * 3);
        for case in cases {
            let [row] = table.iter().filter(|row| row.fits(&case)).collect::<Vec<_>>()[..] else {
                panic!("{case:?} has no row or several")
            };
            assert_eq!(NextStep::of(&case.user(), NOW), row.step, "{case:?}");
        }
    }
}
