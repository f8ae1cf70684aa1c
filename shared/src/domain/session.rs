//! Sessions and known devices.

use super::AuthType;
use crate::{
    env::Timestamp,
    policy,
    secret::{Nonce, TokenVerifier},
};

/// How a session was paid for (RFC 8176).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amr {
    /// Password alone: an excluded contact.
    Password,
    /// Password and code.
    Otp,
    /// Password and recovery token.
    Recovery,
    /// An assertion of their organisation's IdP.
    Sso,
    /// An assertion, and a code.
    SsoOtp,
}

impl Amr {
    /// Whether a code was given: it counts as a step-up.
    #[must_use]
    pub fn otp(self) -> bool {
        matches!(self, Self::Otp | Self::SsoOtp)
    }

    /// Whether an assertion of the organisation's IdP was part of it.
    #[must_use]
    pub fn by_idp(self) -> bool {
        matches!(self, Self::Sso | Self::SsoOtp)
    }

    /// With a code given by somebody of this door.
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
    /// Rest of the token's digest.
    pub verifier: TokenVerifier,
    /// Signed in at, ms: the moment of the audit row that says from where.
    pub created: i64,
    /// The attempt that signed in: with the moment, the key of its audit row.
    pub attempt: Nonce,
    /// Ends, s.
    pub ends: i64,
    /// Last seen, s; noted at most once a minute.
    pub seen: i64,
    /// Last step-up, s; 0 for none.
    pub step_up: i64,
    /// How it was paid for.
    pub amr: Amr,
    /// Epoch.
    pub security_version: i64,
    /// The generation of the IdP that it came from, if it came from one.
    pub idp: Option<Nonce>,
    /// Tries at the person's current password that were charged to this session.
    pub password_attempts: i64,
    /// The attempt of the last of them.
    pub password_attempt: Option<Nonce>,
}

impl Session {
    /// Whether the tenant's IdP is the one that it came from, if it came from one.
    #[must_use]
    pub fn idp_holds(&self, current: Option<&CurrentIdp>) -> bool {
        !self.amr.by_idp() || current.is_some_and(|current| current.generation == self.idp)
    }

    /// Whether its times hold, and its tries at the current password are not used up.
    #[must_use]
    pub fn alive(&self, now: Timestamp) -> bool {
        self.in_time(now) && self.password_attempts < policy::MAX_ATTEMPTS
    }

    /// Whether its times hold. Both ends of its life are looked at: a clock that was set back makes no session immortal.
    #[must_use]
    pub fn in_time(&self, now: Timestamp) -> bool {
        let now_s = now.secs();
        let longest = (now + policy::SESSION_LIFE + policy::SKEW).secs();
        self.ends > now_s && self.ends <= longest && self.seen > (now - policy::SESSION_IDLE).secs()
    }

    /// Whether its step-up is fresh.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> bool {
        self.step_up > 0
            && self.step_up >= (now - policy::STEP_UP_LIFE).secs()
            && self.step_up <= (now + policy::SKEW).secs()
    }

    /// When its owner last proved who they are: at the sign-in, or the last step-up.
    #[must_use]
    pub fn authenticated(&self) -> Timestamp {
        if self.step_up > 0 { Timestamp::from_secs(self.step_up) } else { Timestamp::from_millis(self.created) }
    }

    /// Whether it was made with a recovery token within the last ten minutes.
    #[must_use]
    pub fn recovering(&self, now: Timestamp) -> bool {
        self.amr == Amr::Recovery && self.created >= (now - policy::RECOVERY_GRACE).millis()
    }
}

/// As much of a tenant's IdP as sessions are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentIdp {
    /// Its entity id.
    pub entity_id: String,
    /// See [`Idp::generation`].
    pub generation: Option<Nonce>,
}

/// A known device, with a password counter of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// Rest of the token's digest.
    pub verifier: TokenVerifier,
    /// Ends, s.
    pub ends: i64,
    /// Tries since the last success.
    pub attempts: i64,
    /// The last counted try, ms; at first, when it became known.
    pub last: i64,
    /// That try's attempt.
    pub attempt: Option<Nonce>,
}
