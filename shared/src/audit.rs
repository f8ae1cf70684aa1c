//! What is written down: a closed set of events, each one row. The row of a change stands in the transaction that makes the
//! change, and is its proof; it is the outbox of notifications too.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    env::Timestamp,
    id::{AuditId, BatchId, ClientId, TenantId, UserId},
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
    /// An assertion of the tenant's IdP was brought; `reason` says which rule it breaks.
    SsoLogin = "sso.login",
    /// The tenant's IdP was configured.
    IdpChanged = "idp.changed",
    /// The tenant has no IdP any more.
    IdpRemoved = "idp.removed",
    /// Five wrong passwords in a row, told once a day: sign-in is delayed.
    LoginDelayed = "login.delayed",
    /// A hundred wrong passwords in a row.
    LoginAttacked = "login.attacked",
    /// A code or recovery token was tried at a challenge.
    Verify = "verify",
    /// A code was tried at a session.
    StepUp = "step_up",
    /// Fifty more failed codes since the factor began, whatever sign-ins came between.
    FactorAttacked = "factor.attacked",
    /// A recovery token signed somebody in.
    RecoveryUsed = "recovery_token.used",
    /// A recovery token was made; older ones are void.
    RecoveryIssued = "recovery_token.issued",
    /// An enrolment was started.
    EnrolmentStarted = "enrolment.started",
    /// A code was tried at a pending enrolment, or a reset code at its start.
    Enrolment = "enrolment",
    /// An authenticator was enrolled.
    FactorActivated = "factor.activated",
    /// A hundred failures in a row disabled the factor.
    FactorDisabled = "factor.disabled",
    /// An Administrator or support reset somebody's MFA.
    MfaReset = "mfa.reset",
    /// A reset was repeated: its reset code is new, the older void.
    ResetCodeRenewed = "mfa.reset_code_renewed",
    /// A batch exclusion was begun.
    ExclusionBatch = "exclusion.batch",
    /// A contact was excluded from MFA.
    ContactExcluded = "exclusion.excluded",
    /// A contact was included again.
    ContactIncluded = "exclusion.included",
    /// Somebody ended sessions of theirs.
    SessionsEnded = "sessions.ended",
    /// A user was created.
    UserCreated = "user.created",
    /// A user was changed.
    UserChanged = "user.changed",
    /// A user was deleted.
    UserDeleted = "user.deleted",
    /// A password was changed by its owner or set by an Administrator.
    PasswordChanged = "password.changed",
    /// A tenant was created.
    TenantCreated = "tenant.created",
    /// A tenant's settings were changed.
    SettingsChanged = "settings.changed",
    /// A credential for introspection was made.
    ClientCreated = "client.created",
    /// A credential for introspection was deleted.
    ClientDeleted = "client.deleted",
    /// The store was restored from a backup: all tokens and codes of before are void.
    RestoreEpochRaised = "restore_epoch.raised",
    /// Somebody asked for what their role does not allow.
    Forbidden = "forbidden",
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = OutcomeDto))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Success,
    /// Refused.
    Refused,
}

/// Who is to be told, by whatever channel the deployment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = NotifiedDto))]
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
    /// The request's id.
    pub request_id: String,
    /// Who did it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// The actor's tenant, where it is another: an operator of support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_tenant: Option<TenantId>,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<UserId>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The support ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The batch exclusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// The credential for introspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// Which fields were changed; never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What the person's program calls itself, at a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Who is to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<Tell>,
}

impl AuditEvent {
    /// Something that happened in a request; who and whom follow.
    #[must_use]
    pub fn new(action: Action, outcome: Outcome, request_id: &str) -> Self {
        Self {
            action,
            outcome,
            request_id: request_id.to_owned(),
            actor: None,
            actor_tenant: None,
            target: None,
            reason: None,
            ticket: None,
            batch_id: None,
            client_id: None,
            changed: Vec::new(),
            user_agent: None,
            tell: Vec::new(),
        }
    }

    /// Done by somebody.
    #[must_use]
    pub fn by(mut self, actor: &UserId) -> Self {
        self.actor = Some(actor.clone());
        self
    }

    /// About somebody.
    #[must_use]
    pub fn about(mut self, target: &UserId) -> Self {
        self.target = Some(target.clone());
        self
    }

    /// By somebody, about themselves.
    #[must_use]
    pub fn own(self, user: &UserId) -> Self {
        self.by(user).about(user)
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Somebody is to be told.
    #[must_use]
    pub fn tell(mut self, whom: Tell) -> Self {
        if !self.tell.contains(&whom) {
            self.tell.push(whom);
        }
        self
    }
}

/// One thing that happened, as the API shows it and as it leaves the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = AuditDto))]
pub struct Row {
    /// Its id, unique within the tenant.
    pub id: String,
    /// When.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What.
    #[cfg_attr(feature = "http", schema(value_type = String, example = "mfa.reset"))]
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// Who did it; null where that is not known: a wrong password may be anybody's.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub actor: Option<UserId>,
    /// Whom it concerns; null where it is nobody.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub target: Option<UserId>,
    /// The request's `X-Request-Id`.
    pub request_id: String,
    /// The actor's tenant, where it is another: an operator of support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub actor_tenant: Option<TenantId>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The support ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The batch exclusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub batch_id: Option<BatchId>,
    /// The credential for introspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub client_id: Option<ClientId>,
    /// Which fields were changed; never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What the person's program calls itself, at a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Who was to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<Tell>,
}

impl Row {
    /// An event under its id.
    #[must_use]
    pub fn new(id: String, at: Timestamp, event: AuditEvent) -> Self {
        let AuditEvent { action, outcome, request_id, actor, actor_tenant, target, reason, .. } = event;
        let AuditEvent { ticket, batch_id, client_id, changed, user_agent, tell: notified, .. } = event;
        Self {
            id,
            at,
            action,
            outcome,
            actor,
            target,
            request_id,
            actor_tenant,
            reason,
            ticket,
            batch_id,
            client_id,
            changed,
            user_agent,
            notified,
        }
    }

    /// The person whom it is about: whom it concerns, or else who did it.
    #[must_use]
    pub fn concerned(&self) -> Option<&UserId> {
        self.target.as_ref().or(self.actor.as_ref())
    }
}

/// In how many partitions a tenant's rows of a month lie.
pub const SHARDS: u8 = 4;

impl AuditEvent {
    /// The partition of the month: rows about one person are in one.
    #[must_use]
    pub fn shard(&self) -> u8 {
        match self.target.as_ref().or(self.actor.as_ref()) {
            Some(user) => shard(user),
            None => 0,
        }
    }
}

/// The partition of the month with the rows about somebody.
#[must_use]
pub fn shard(user: &UserId) -> u8 {
    Sha256::digest(user.as_str())[0] % SHARDS
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
