//! A user's second factor: an authenticator app, and the recovery token that replaces a code once.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use crate::{
    env::Timestamp,
    secret::{CodeDigest, Nonce, SealedSecret},
};

/// Length of a time step in seconds (RFC 6238).
const PERIOD: i64 = 30;

/// A user's second factor. An active factor always has its secret: there is no state without one.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Factor {
    /// Not enrolled.
    #[default]
    None,
    /// Enrolled and confirmed.
    Active(Authenticator),
    /// Disabled by [`crate::policy::MAX_CONSECUTIVE_FAILURES`]. Only a reset helps.
    Disabled(Authenticator),
}

/// An enrolled authenticator app.
#[derive(Clone, PartialEq, Eq)]
pub struct Authenticator {
    /// A random id, new with each enrolment. The secret is sealed for it.
    pub id: Nonce,
    /// The TOTP secret, sealed.
    pub secret: SealedSecret,
    /// The last accepted time step. A code of this step or an earlier one is refused (RFC 6238, 5.2).
    pub last_step: TimeStep,
    /// When it was confirmed, in whole seconds.
    pub enrolled_at: Timestamp,
    /// The recovery token, if one was issued and not used.
    pub recovery_token: Option<StoredRecoveryToken>,
}

/// An issued recovery token.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRecoveryToken {
    /// Keyed digest of the token.
    pub digest: CodeDigest,
    /// When it was issued, in whole seconds.
    pub issued_at: Timestamp,
}

/// A time step of the codes of authenticator apps (RFC 6238): the number of 30-second intervals since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeStep(pub i64);

impl TimeStep {
    /// The time step of a time.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.secs().div_euclid(PERIOD))
    }

    /// When it begins. It ends when the next one begins.
    #[must_use]
    pub const fn begins(self) -> Timestamp {
        Timestamp::from_secs(self.0.saturating_mul(PERIOD))
    }
}

impl Add<i64> for TimeStep {
    type Output = Self;
    fn add(self, steps: i64) -> Self {
        Self(self.0 + steps)
    }
}

impl Sub<i64> for TimeStep {
    type Output = Self;
    fn sub(self, steps: i64) -> Self {
        Self(self.0 - steps)
    }
}

/// The state of a factor, for lists and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorState {
    /// See [`Factor::None`].
    None,
    /// See [`Factor::Active`].
    Active,
    /// See [`Factor::Disabled`].
    Disabled,
}

impl Factor {
    /// Which state it is in.
    #[must_use]
    pub fn state(&self) -> FactorState {
        match self {
            Self::None => FactorState::None,
            Self::Active(_) => FactorState::Active,
            Self::Disabled(_) => FactorState::Disabled,
        }
    }

    /// Whether it is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active().is_some()
    }

    /// The authenticator app of an active factor.
    #[must_use]
    pub fn active(&self) -> Option<&Authenticator> {
        match self {
            Self::Active(authenticator) => Some(authenticator),
            Self::None | Self::Disabled(_) => None,
        }
    }

    /// As [`Self::active`], to change it.
    pub fn active_mut(&mut self) -> Option<&mut Authenticator> {
        match self {
            Self::Active(authenticator) => Some(authenticator),
            Self::None | Self::Disabled(_) => None,
        }
    }

    /// The authenticator app of an active or disabled factor.
    #[must_use]
    pub fn authenticator(&self) -> Option<&Authenticator> {
        match self {
            Self::Active(authenticator) | Self::Disabled(authenticator) => Some(authenticator),
            Self::None => None,
        }
    }

    /// The recovery token of an active factor.
    #[must_use]
    pub fn recovery_token(&self) -> Option<&StoredRecoveryToken> {
        self.active().and_then(|authenticator| authenticator.recovery_token.as_ref())
    }

    /// Disables an active factor and removes its recovery token.
    pub fn disable(&mut self) {
        *self = match std::mem::take(self) {
            Self::Active(authenticator) => Self::Disabled(Authenticator { recovery_token: None, ..authenticator }),
            unchanged => unchanged,
        };
    }
}

impl Authenticator {
    /// Accepts a time step. From then on this step and every earlier one are refused.
    ///
    /// # Errors
    /// [`StepSpent`] if the step is not after the last accepted one.
    pub fn accept_step(&mut self, step: TimeStep) -> Result<(), StepSpent> {
        if step <= self.last_step {
            return Err(StepSpent);
        }
        self.last_step = step;
        Ok(())
    }
}

/// The time step, or a later one, was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time step is spent")]
pub struct StepSpent;
