//! Entries of a sign-in or an enrolment that is not complete: challenges, pending enrolments, reset codes.

use std::time::Duration;

use super::{SecurityVersion, User};
use crate::{
    env::Timestamp,
    id::EntryId,
    policy,
    secret::{CodeDigest, Nonce, SealedSecret, TokenRef, TokenVerifier},
};

/// A token that continues a sign-in: a challenge (the password was correct, a code is required) or an enrolment token.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginTokenEntry {
    /// The part of the token's digest that is not the entry's id.
    pub verifier: TokenVerifier,
    /// When it ends.
    pub ends: Timestamp,
    /// Whether it is spent, and the attempts charged. An enrolment token has no attempts.
    pub state: ChallengeState,
    /// The user's security version when it was opened.
    pub security_version: SecurityVersion,
    /// The client network that it was opened from: the first 24 bits of an IPv4 address, or the first 56 of an IPv6 address.
    pub network: String,
    /// The known device it was opened from.
    pub device: Option<EntryId>,
    /// The generation of the IdP, if an assertion opened this enrolment token.
    pub idp_generation: Option<Nonce>,
}

/// The state of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeState {
    /// No code was accepted.
    Open {
        /// Attempts charged.
        attempts: i64,
    },
    /// A code was accepted. A spent challenge stays in the user's item until it ends: if the write that opened the challenge
    /// arrives twice, the second copy finds the entry and changes nothing.
    Spent,
}

impl ChallengeState {
    /// The state of a new challenge.
    pub const NEW: Self = Self::Open { attempts: 0 };

    /// Whether it is open and fewer attempts than this were charged.
    #[must_use]
    pub fn is_open_below(self, limit: i64) -> bool {
        matches!(self, Self::Open { attempts } if attempts < limit)
    }
}

impl LoginTokenEntry {
    /// Whether it belongs to this token, has not ended and has the user's security version. `life` is the lifetime of a new
    /// one: an end further in the future came from a clock that ran ahead.
    #[must_use]
    pub fn is_valid(
        &self,
        token: &TokenRef,
        security_version: SecurityVersion,
        life: Duration,
        now: Timestamp,
    ) -> bool {
        let in_time = self.ends > now && self.ends <= now + life + policy::SKEW;
        self.verifier == *token.verifier() && self.security_version == security_version && in_time
    }
}

/// An enrolment that was started and not confirmed.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingEnrolment {
    /// The id of the new factor.
    pub factor: Nonce,
    /// The sealed secret of the new factor.
    pub secret: SealedSecret,
    /// The id of the token that started it: an enrolment token or a session.
    pub started_by: EntryId,
    /// When it ends.
    pub ends: Timestamp,
    /// Attempts charged.
    pub attempts: i64,
    /// The reset code that started it. It must still be the user's reset code at the confirmation.
    pub reset_code: Option<CodeDigest>,
    /// The id of the user's factor at the start.
    pub factor_at_start: Option<Nonce>,
}

impl PendingEnrolment {
    /// Whether this token started it and it has not ended. The number of attempts is not part of it.
    #[must_use]
    pub fn is_valid(&self, token: &TokenRef, now: Timestamp) -> bool {
        let longest = now + policy::ENROLMENT_LIFE + policy::SKEW;
        self.started_by == *token.id() && self.ends > now && self.ends <= longest
    }

    /// Whether the user has the factor and the reset code that the enrolment was started with.
    #[must_use]
    pub fn is_current(&self, user: &User) -> bool {
        let same_factor = match self.factor_at_start {
            Some(factor) => user.factor.active().is_some_and(|authenticator| authenticator.id == factor),
            None => !user.has_factor(),
        };
        same_factor && self.is_reset_code_current(user)
    }

    /// Whether the reset code that started it is still the user's reset code. True if no reset code was needed.
    pub(crate) fn is_reset_code_current(&self, user: &User) -> bool {
        let current = user.reset_code.as_ref().map(|code| &code.digest);
        self.reset_code.is_none() || self.reset_code.as_ref() == current
    }
}

/// A reset code that was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetCodeEntry {
    /// Keyed digest of the code.
    pub digest: CodeDigest,
    /// When it ends.
    pub ends: Timestamp,
    /// Attempts charged.
    pub attempts: i64,
}

impl ResetCodeEntry {
    /// Whether it has not ended and has attempts left.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.attempts < policy::MAX_ATTEMPTS && self.ends > now
    }
}
