//! What a user may do before they are signed in: answer a challenge, enrol, give a reset code.

use std::time::Duration;

use super::User;
use crate::{
    env::Timestamp,
    id::EntryId,
    policy,
    secret::{CodeDigest, Nonce, SealedSecret, TokenRef, TokenVerifier},
};

/// An open challenge: the password was right, the code is due.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Rest of the token's digest.
    pub verifier: TokenVerifier,
    /// Ends, ms.
    pub ends: i64,
    /// Tries charged. A spent challenge stays, its tries used up, until it ends: a late duplicate of the write that opened
    /// it finds it there and cannot revive it.
    pub attempts: i64,
    /// Epoch.
    pub security_version: i64,
    /// Client network.
    pub network: String,
    /// The known device it was opened from.
    pub device: Option<EntryId>,
    /// Of an enrolment token that an assertion opened: the generation of the IdP.
    pub idp: Option<Nonce>,
}

impl Challenge {
    /// Whether it is this token's, and its time and epoch hold.
    #[must_use]
    pub fn open(&self, token: &TokenRef, security_version: i64, life: Duration, now: Timestamp) -> bool {
        let longest = (now + life + policy::SKEW).millis();
        let in_time = self.ends > now.millis() && self.ends <= longest;
        self.verifier == *token.verifier() && self.security_version == security_version && in_time
    }
}

/// An enrolment that was started and not confirmed.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingEnrolment {
    /// The factor to be.
    pub factor: Nonce,
    /// Its sealed secret.
    pub secret: SealedSecret,
    /// The entry of the token it was started with.
    pub by: EntryId,
    /// Ends, ms.
    pub ends: i64,
    /// Tries charged.
    pub attempts: i64,
    /// The reset code it was started with: an older, voided one does not confirm.
    pub reset_code: Option<CodeDigest>,
    /// The factor seen at the start.
    pub was: Option<Nonce>,
}

impl PendingEnrolment {
    /// Whether this token started it and its time has not ended. Its attempts are not part of it.
    #[must_use]
    pub fn open(&self, token: &TokenRef, now: Timestamp) -> bool {
        let longest = (now + policy::ENROLMENT_LIFE + policy::SKEW).millis();
        self.by == *token.id() && self.ends > now.millis() && self.ends <= longest
    }

    /// Whether the user has the factor and the reset code that the enrolment was started with.
    #[must_use]
    pub fn fits(&self, user: &User) -> bool {
        let same_factor = match self.was {
            Some(factor) => user.factor.active().is_some_and(|authenticator| authenticator.id == factor),
            None => !user.has_factor(),
        };
        same_factor && self.code_holds(user)
    }

    /// Whether the reset code that it was started with, if there was one, is still the user's: an earlier one is void.
    pub(crate) fn code_holds(&self, user: &User) -> bool {
        let current = user.reset_code.as_ref().map(|code| &code.digest);
        self.reset_code.is_none() || self.reset_code.as_ref() == current
    }
}

/// A reset code that was handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetCodeEntry {
    /// Its digest.
    pub digest: CodeDigest,
    /// Ends, ms.
    pub ends: i64,
    /// Tries charged.
    pub attempts: i64,
}

impl ResetCodeEntry {
    /// Whether it can be tried: it has not ended and has attempts left.
    #[must_use]
    pub fn open(&self, now: Timestamp) -> bool {
        self.attempts < policy::MAX_ATTEMPTS && self.ends > now.millis()
    }
}
