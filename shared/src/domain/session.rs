//! Sessions and known devices.

use super::AuthType;
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
    /// Time of the sign-in, ms. The audit row of the sign-in has the same time.
    pub created: i64,
    /// Id of the attempt that signed in. Time and id give the key of the audit row.
    pub attempt: Nonce,
    /// Ends, s.
    pub ends: i64,
    /// Last use, s. It is recorded at most once a minute.
    pub seen: i64,
    /// Last step-up, s; 0 for none.
    pub step_up: i64,
    /// How it was authenticated.
    pub amr: Amr,
    /// The user's security version when it was opened.
    pub security_version: i64,
    /// The generation of the IdP whose assertion opened it.
    pub idp: Option<Nonce>,
    /// Attempts at the user's current password that were counted at this session.
    pub password_attempts: i64,
    /// Id of the last of these attempts.
    pub password_attempt: Option<Nonce>,
}

impl Session {
    /// Whether the IdP that opened it is still the tenant's IdP. True if no IdP opened it.
    #[must_use]
    pub fn idp_holds(&self, current: Option<&CurrentIdp>) -> bool {
        !self.amr.by_idp() || current.is_some_and(|current| current.generation == self.idp)
    }

    /// Whether it has not ended, and its attempts at the current password are not used up.
    #[must_use]
    pub fn alive(&self, now: Timestamp) -> bool {
        self.in_time(now) && self.password_attempts < policy::MAX_ATTEMPTS
    }

    /// Whether it has not ended and is not idle. An end that is too far in the future came from a clock that ran ahead, and
    /// is refused.
    #[must_use]
    pub fn in_time(&self, now: Timestamp) -> bool {
        let now_s = now.secs();
        let longest = (now + policy::SESSION_LIFE + policy::SKEW).secs();
        self.ends > now_s && self.ends <= longest && self.seen > (now - policy::SESSION_IDLE).secs()
    }

    /// Whether its step-up is at most [`policy::STEP_UP_LIFE`] old.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> bool {
        self.step_up >= (now - policy::STEP_UP_LIFE).secs() && self.step_up <= (now + policy::SKEW).secs()
    }

    /// Time of the last authentication: the step-up, or else the sign-in.
    #[must_use]
    pub fn authenticated(&self) -> Timestamp {
        if self.step_up > 0 { Timestamp::from_secs(self.step_up) } else { Timestamp::from_millis(self.created) }
    }

    /// Whether a recovery token opened it within the last [`policy::RECOVERY_GRACE`].
    #[must_use]
    pub fn recovering(&self, now: Timestamp) -> bool {
        self.amr == Amr::Recovery && self.created >= (now - policy::RECOVERY_GRACE).millis()
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

/// A known device. Wrong passwords from it are counted separately.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// The part of the token's digest that is not the device's id.
    pub verifier: TokenVerifier,
    /// Ends, s.
    pub ends: i64,
    /// Password attempts since the last success.
    pub attempts: i64,
    /// Time of the last counted attempt, ms. At first, the time at which the device became known.
    pub last: i64,
    /// Id of the last counted attempt.
    pub attempt: Option<Nonce>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Kind, Role, User},
        env::SystemEntropy,
        id::{TenantId, UserId},
        store::fixture::{NOW, add_session, person},
    };

    fn session() -> Session {
        let key = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
        let mut user: User = person(Kind::Employee, Role::Standard, Nonce::generate(&SystemEntropy).unwrap());
        let token = add_session(&mut user, &key);
        user.sessions.remove(token.id()).unwrap()
    }

    #[test]
    fn session_is_authenticated_at_the_sign_in_or_the_last_step_up() {
        let mut session = session();
        session.created = NOW.millis() - 5000;
        assert_eq!(session.authenticated(), NOW, "signing in with a code is a step-up");
        session.step_up = 0;
        assert_eq!(session.authenticated().millis(), NOW.millis() - 5000);
        assert!(!session.fresh(NOW));
    }
}
