//! The session that a sign-in opens, and the device of the sign-in.

use super::Attempt;
use crate::{
    domain::{Amr, SecurityVersion, Session},
    env::{Entropy, EntropyError},
    id::{EntryId, UserKey},
    policy,
    secret::{NewToken, RestoreEpoch, TokenClass},
};

/// A new session: its token, its entry, and the device of the sign-in.
pub(crate) struct NewSession {
    pub(crate) token: NewToken,
    pub(crate) entry: Session,
    /// The device of the sign-in.
    pub(crate) from: DeviceOrigin,
}

/// The device of a sign-in, and what happens to it.
pub(crate) enum DeviceOrigin {
    /// Nothing: the session was opened by a step-up or by a password alone.
    Unknown,
    /// The device is renewed if it is still known.
    Known(EntryId),
    /// The device is renewed if it is still known. Otherwise this token makes it a known device.
    Device(Option<EntryId>, NewToken),
}

/// What the caller gets after a sign-in.
pub struct SignedIn {
    /// The session's token.
    pub token: NewToken,
    /// The session.
    pub session: Session,
    /// The token of the device, if it became a known device.
    pub device: Option<NewToken>,
}

/// Why a proof opens no session.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The proof is of another user or of another factor than the charged attempt.
    #[error("the proof is of another factor")]
    Foreign,
    /// There is no randomness for a token.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl NewSession {
    pub(crate) fn id(&self) -> &EntryId {
        self.token.reference().id()
    }

    /// Makes the session of a user who signs in now.
    pub(crate) fn signed_in(
        user: &UserKey,
        security_version: SecurityVersion,
        amr: Amr,
        attempt: &Attempt,
        restore_epoch: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let token = NewToken::generate(TokenClass::Session, user, restore_epoch, entropy)?;
        let now = attempt.at;
        let life = match amr {
            Amr::Password => policy::EXCLUDED_SESSION_LIFE,
            Amr::Otp | Amr::Recovery | Amr::Sso | Amr::SsoOtp => policy::SESSION_LIFE,
        };
        let step_up = amr.otp().then(|| now.whole_second());
        let verifier = *token.reference().verifier();
        let ends = (now + life).whole_second();
        let (created, seen) = (now, now.whole_second());
        let (password_attempts, password_attempt, idp_generation) = (0, None, None);
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
            idp_generation,
            password_attempts,
            password_attempt,
        };
        Ok(Self { token, entry, from: DeviceOrigin::Unknown })
    }

    /// Makes the device a known device, or renews the known device that the sign-in was opened from.
    pub(crate) fn with_known_device(
        mut self,
        opened_from: Option<EntryId>,
        restore_epoch: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let token = NewToken::generate(TokenClass::Device, self.token.reference().user(), restore_epoch, entropy)?;
        self.from = DeviceOrigin::Device(opened_from, token);
        Ok(self)
    }

    /// What the user gets after the commit. `entry` is the session as it was written.
    pub(crate) fn into_signed_in(self, entry: Session, new_device: bool) -> SignedIn {
        let device = match self.from {
            DeviceOrigin::Device(_, token) if new_device => Some(token),
            _ => None,
        };
        SignedIn { token: self.token, session: entry, device }
    }
}
