//! Sessions and known devices.

use super::{AuthType, SecurityVersion};
use crate::{
    env::Timestamp,
    policy,
    secret::{Nonce, TokenVerifier},
};

/// How a session was authenticated (RFC 8176).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amr {
    /// Password only: an excluded contact.
    Password,
    /// Password and code.
    Otp,
    /// Password and recovery token.
    Recovery,
    /// An assertion of the tenant's IdP.
    Sso,
    /// An assertion and a code.
    SsoOtp,
}

impl Amr {
    /// Whether a code was given. A code counts as a step-up.
    #[must_use]
    pub fn otp(self) -> bool {
        matches!(self, Self::Otp | Self::SsoOtp)
    }

    /// Whether an assertion of the tenant's IdP was given.
    #[must_use]
    pub fn by_idp(self) -> bool {
        matches!(self, Self::Sso | Self::SsoOtp)
    }

    /// The value for a code after this first factor.
    #[must_use]
    pub fn with_code(auth_type: AuthType) -> Self {
        match auth_type {
            AuthType::Local => Self::Otp,
            AuthType::SamlSso => Self::SsoOtp,
        }
    }
}

/// A session.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The part of the token's digest that is not the session's id.
    pub verifier: TokenVerifier,
    /// Time of the sign-in. The audit row of the sign-in has the same time.
    pub created: Timestamp,
    /// Id of the attempt that signed in. Time and id give the key of the audit row.
    pub attempt: Nonce,
    /// When it ends, in whole seconds.
    pub ends: Timestamp,
    /// Last use, in whole seconds. It is recorded at most once a minute.
    pub seen: Timestamp,
    /// Last step-up, in whole seconds.
    pub step_up: Option<Timestamp>,
    /// How it was authenticated.
    pub amr: Amr,
    /// The user's security version when it was opened.
    pub security_version: SecurityVersion,
    /// The generation of the IdP whose assertion opened it.
    pub idp_generation: Option<Nonce>,
    /// Attempts at the user's current password that were charged to this session.
    pub password_attempts: i64,
    /// Id of the last of these attempts.
    pub password_attempt: Option<Nonce>,
}

impl Session {
    /// Whether the IdP that opened it is still the tenant's IdP. True if no IdP opened it.
    #[must_use]
    pub fn is_idp_current(&self, current: Option<&CurrentIdp>) -> bool {
        !self.amr.by_idp() || current.is_some_and(|current| current.generation == self.idp_generation)
    }

    /// Whether it has not ended, and its attempts at the current password are not used up.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.is_in_time(now) && self.password_attempts < policy::MAX_ATTEMPTS
    }

    /// Whether it has not ended and is not idle. An end that is too far in the future came from a clock that ran ahead, and
    /// is refused.
    #[must_use]
    pub fn is_in_time(&self, now: Timestamp) -> bool {
        let longest = now + policy::SESSION_LIFE + policy::SKEW;
        self.ends > now && self.ends <= longest && self.seen > now - policy::SESSION_IDLE
    }

    /// Whether its step-up is at most [`policy::STEP_UP_LIFE`] old, counted in whole seconds.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let oldest = (now - policy::STEP_UP_LIFE).whole_second();
        self.step_up.is_some_and(|at| at >= oldest && at <= now + policy::SKEW)
    }

    /// Time of the last authentication: the step-up, or else the sign-in.
    #[must_use]
    pub fn authenticated(&self) -> Timestamp {
        self.step_up.unwrap_or(self.created)
    }

    /// Whether the user may replace their own factor: the session is fresh, or a recovery token opened it a short time ago.
    #[must_use]
    pub fn is_fresh_or_recovering(&self, now: Timestamp) -> bool {
        self.is_fresh(now) || self.is_recovering(now)
    }

    /// Whether a recovery token opened it within the last [`policy::RECOVERY_GRACE`].
    #[must_use]
    pub fn is_recovering(&self, now: Timestamp) -> bool {
        self.amr == Amr::Recovery && self.created >= now - policy::RECOVERY_GRACE
    }
}

/// The part of the tenant's IdP that sessions are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentIdp {
    /// Entity id.
    pub entity_id: String,
    /// See [`super::Idp::generation`].
    pub generation: Option<Nonce>,
}

/// A known device. Attempts at the password from it are charged to it, and not to the login name.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// The part of the token's digest that is not the device's id.
    pub verifier: TokenVerifier,
    /// When it ends, in whole seconds.
    pub ends: Timestamp,
    /// Password attempts charged since the last success.
    pub attempts: i64,
    /// Time of the last charged attempt. At first, the time at which the device became known.
    pub last: Timestamp,
    /// Id of the last charged attempt.
    pub attempt: Option<Nonce>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::fixture::{NOW, session};

    #[test]
    fn session_is_authenticated_at_the_sign_in_or_the_last_step_up() {
        let mut session = session();
        session.created = NOW - Duration::from_secs(5);
        assert_eq!(session.authenticated(), NOW, "signing in with a code is a step-up");
        session.step_up = None;
        assert_eq!(session.authenticated(), NOW - Duration::from_secs(5));
        assert!(!session.is_fresh(NOW));
    }

    /// The times of a session are whole seconds; the current time has milliseconds.
    #[test]
    fn session_ends_and_ages_by_whole_seconds() {
        let (second, ms) = (Duration::from_secs(1), Duration::from_millis(1));
        let session = Session { ends: NOW + second, step_up: Some(NOW), ..session() };
        assert!(session.is_in_time(NOW + second - ms) && !session.is_in_time(NOW + second));
        let idle = Session { seen: NOW - policy::SESSION_IDLE + second, ..session.clone() };
        assert!(idle.is_in_time(NOW + second - ms) && !idle.is_in_time(NOW + second));
        let stale = NOW + policy::STEP_UP_LIFE + second;
        assert!(session.is_fresh(stale - ms) && !session.is_fresh(stale));
        let ahead = Session { ends: NOW + policy::SESSION_LIFE + policy::SKEW + second, ..session };
        assert!(ahead.is_in_time(NOW + second) && !ahead.is_in_time(NOW + second - ms));
    }
}
