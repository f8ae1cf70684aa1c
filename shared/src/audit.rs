//! What is written down: a closed set of events, each one row. The row of a change stands in the transaction that makes the
//! change, and is its proof; it is the outbox of notifications too.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    env::Timestamp,
    id::{AuditId, UserId},
};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened, from a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Action {
            /// The name as the API shows it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// A password was tried.
    Login = "login",
    /// Wrong passwords in a row: sign-in is delayed.
    LoginDelayed = "login.delayed",
    /// A code or recovery token was tried at a challenge.
    Verify = "verify",
    /// A code was tried at a session.
    StepUp = "step_up",
    /// A recovery token signed somebody in.
    RecoveryUsed = "recovery_token.used",
    /// A recovery token was made; older ones are void.
    RecoveryIssued = "recovery_token.issued",
    /// An enrolment was started.
    EnrolmentStarted = "enrolment.started",
    /// An authenticator was enrolled.
    FactorActivated = "factor.activated",
    /// A hundred failures in a row disabled the factor.
    FactorDisabled = "factor.disabled",
    /// An Administrator or support reset somebody's MFA.
    MfaReset = "mfa.reset",
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Success,
    /// Refused.
    Refused,
}

/// Who is to be told, by whatever channel the deployment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// The person concerned.
    User,
    /// The tenant's Administrators.
    Administrators,
}

/// One thing that happened. It can hold no secret: none of its fields has room for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// What.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// Who did it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<UserId>,
    /// The request's id.
    pub request_id: String,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who is to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<Tell>,
}

/// In how many partitions a tenant's rows of a month lie.
pub const SHARDS: u8 = 4;

impl AuditEvent {
    /// The partition of the month: rows about one person are in one.
    #[must_use]
    pub fn shard(&self) -> u8 {
        match self.target.as_ref().or(self.actor.as_ref()) {
            Some(user) => Sha256::digest(user.as_str())[0] % SHARDS,
            None => 0,
        }
    }
}

/// How the API names a row: its moment and its attempt, with the event's number within the attempt.
#[must_use]
pub fn row_id(at: Timestamp, attempt: &str, event: u16) -> Option<AuditId> {
    AuditId::parse(&format!("{:013}-{attempt}-{event}", at.millis())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_an_id_of_the_contract() {
        let id = row_id(Timestamp::from_secs(1_800_000_000), "AAAAAAAAAAAAAAAA", 999).unwrap();
        assert_eq!(id.as_str(), "1800000000000-AAAAAAAAAAAAAAAA-999");
    }
}
