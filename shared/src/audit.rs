//! The audit: a closed set of events, each one row. The row of a change is written by the transaction that makes the
//! change, so it proves the change. Notifications are sent from the same rows.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    env::Timestamp,
    id::{AuditId, BatchId, ClientId, TenantId, UserId},
};

macro_rules! actions {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// What happened, from a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = Action))]
        pub enum AuditAction {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
        }

        impl AuditAction {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the action means, as the API document says it.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The name of the action in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// An excluded contact signed in with a password alone, or a sign-in with a password was refused.
    Login = "login",
    /// A password was correct. The result has its own event.
    PasswordAccepted = "login.password_accepted",
    /// A response of the tenant's identity provider was sent to sign in. If it was refused, `reason` says why.
    SsoLogin = "sso.login",
    /// The tenant's identity provider was set.
    IdpChanged = "idp.changed",
    /// The tenant's identity provider was removed.
    IdpRemoved = "idp.removed",
    /// There were five wrong passwords in a row: sign-in is delayed. It is recorded once a day.
    LoginDelayed = "login.delayed",
    /// There were 100 wrong passwords in a row.
    LoginAttacked = "login.attacked",
    /// There were five wrong current passwords in one session. That session has ended.
    PasswordAttacked = "password.attacked",
    /// A code or recovery token was sent to answer a challenge. If a recovery token was right, the action is
    /// `recovery_token.used`.
    Verify = "verify",
    /// A code was sent to step a session up.
    StepUp = "step_up",
    /// There were 50 more wrong codes for the same authenticator, even with sign-ins in between.
    FactorAttacked = "factor.attacked",
    /// A user signed in with a recovery token.
    RecoveryUsed = "recovery_token.used",
    /// A recovery token was issued. Older ones are void.
    RecoveryIssued = "recovery_token.issued",
    /// An enrolment was started.
    EnrolmentStarted = "enrolment.started",
    /// A code was sent to confirm an enrolment, or a reset code to start one.
    Enrolment = "enrolment",
    /// An authenticator was enrolled.
    FactorActivated = "factor.activated",
    /// An authenticator was disabled after 100 wrong codes in a row.
    FactorDisabled = "factor.disabled",
    /// An Administrator or operator reset a user's MFA.
    MfaReset = "mfa.reset",
    /// A reset was repeated. The reset code is new, and the older one is void.
    ResetCodeRenewed = "mfa.reset_code_renewed",
    /// A batch of exclusions was started.
    ExclusionBatch = "exclusion.batch",
    /// A contact was excluded from MFA.
    ContactExcluded = "exclusion.excluded",
    /// A contact was included again.
    ContactIncluded = "exclusion.included",
    /// A user ended their own sessions.
    SessionsEnded = "sessions.ended",
    /// A user was created.
    UserCreated = "user.created",
    /// A user was changed.
    UserChanged = "user.changed",
    /// A user was deleted.
    UserDeleted = "user.deleted",
    /// A user changed their own password, or the current password was wrong. If an Administrator sets a password, the action is
    /// `user.changed`.
    PasswordChanged = "password.changed",
    /// A link to set a forgotten password was mailed to the user.
    PasswordResetMailed = "password.reset_mailed",
    /// A password was set with a link that was mailed.
    PasswordReset = "password.reset",
    /// A link to set the first password was mailed to the user.
    InvitationMailed = "invitation.mailed",
    /// A link to verify the e-mail address was mailed to the user.
    VerificationMailed = "email.verification_mailed",
    /// The user proved that the e-mail address is theirs.
    EmailVerified = "email.verified",
    /// A tenant was created.
    TenantCreated = "tenant.created",
    /// An operator looked up tenants. It is in the audit of `support`.
    TenantsListed = "tenants.listed",
    /// An operator looked up users of the tenant.
    UsersListed = "users.listed",
    /// A tenant's settings were changed.
    SettingsChanged = "settings.changed",
    /// A client credential was created.
    ClientCreated = "client.created",
    /// A client credential was deleted.
    ClientDeleted = "client.deleted",
    /// The store was restored from a backup. All tokens and codes from before are void.
    RestoreEpochRaised = "restore_epoch.raised",
    /// A user asked for something that their role does not allow.
    Forbidden = "forbidden",
}

/// Whether something was done (`success`) or refused (`refused`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = OutcomeDto))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Success,
    /// Refused.
    Refused,
}

/// Who is notified: the user concerned (`user`) or the tenant's Administrators (`administrators`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema), schema(as = NotifiedDto))]
#[serde(rename_all = "snake_case")]
pub enum Notify {
    /// The user concerned.
    User,
    /// The tenant's Administrators.
    Administrators,
}

/// An event before it is stored. None of its fields may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// What happened.
    pub action: AuditAction,
    /// Whether it was done or refused.
    pub outcome: Outcome,
    /// The request's id.
    pub request_id: String,
    /// Who did it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// The actor's tenant if it differs from the tenant of the audit: the actor is an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_tenant: Option<TenantId>,
    /// The user concerned.
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
    /// The client credential for introspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The names of the changed fields, never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The `User-Agent` header, at a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The NameID of an unknown user, as the IdP sent it, made [`visible`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_id: Option<String>,
    /// The `Format` of that name, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_id_format: Option<String>,
    /// The refused algorithm of a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Who is notified.
    #[serde(rename = "tell", default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// A text chosen by an unauthenticated client, made safe to show to an Administrator: its first 256 characters. Invisible
/// characters, characters that change the order of others, and the backslash are written as `\u{…}`.
#[must_use]
pub fn visible(text: &str) -> String {
    let hidden = |c: char| {
        let format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        format || c.is_control() || c == '\\' || (c.is_whitespace() && c != ' ')
    };
    let shown = |c: char| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().take(256).map(shown).collect()
}

impl AuditEvent {
    /// An event of a request. Actor, subject and details follow by the other methods.
    #[must_use]
    pub fn new(action: AuditAction, outcome: Outcome, request_id: &str) -> Self {
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
            name_id: None,
            name_id_format: None,
            algorithm: None,
            notify: Vec::new(),
        }
    }

    /// Sets the actor.
    #[must_use]
    pub fn by(mut self, actor: &UserId) -> Self {
        self.actor = Some(actor.clone());
        self
    }

    /// Sets the user concerned.
    #[must_use]
    pub fn about(mut self, target: &UserId) -> Self {
        self.target = Some(target.clone());
        self
    }

    /// Sets the user as both the actor and the user concerned.
    #[must_use]
    pub fn own(self, user: &UserId) -> Self {
        self.by(user).about(user)
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Adds a group to notify.
    #[must_use]
    pub fn notify(mut self, group: Notify) -> Self {
        if !self.notify.contains(&group) {
            self.notify.push(group);
        }
        self
    }
}

/// How long audit rows are kept, in days. They expire afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRetention {
    days: u16,
}

/// The text is not an allowed number of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a number of days, 1 to {MAX_DAYS}")]
pub struct BadRetention;

const MAX_DAYS: u16 = 3_650;

impl Default for AuditRetention {
    /// 90 days.
    fn default() -> Self {
        Self { days: 90 }
    }
}

impl FromStr for AuditRetention {
    type Err = BadRetention;

    /// Parses a number of days, 1 to 3650.
    fn from_str(text: &str) -> Result<Self, BadRetention> {
        let days = text.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
        days.map(|days| Self { days }).ok_or(BadRetention)
    }
}

impl fmt::Display for AuditRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.days.fmt(f)
    }
}

impl AuditRetention {
    /// The retention as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.days) * 86_400)
    }
}

/// An event of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "http",
    derive(utoipa::ToSchema),
    schema(as = AuditDto, example = json!({"action": "mfa.reset", "notified": ["user"]}))
)]
pub struct Row {
    /// The id of the event. It is unique within the tenant.
    #[cfg_attr(feature = "http", schema(example = "1768469400000-Xq7LmB2vT9sKd4Rw-0"))]
    pub id: String,
    /// When it happened.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What happened.
    pub action: AuditAction,
    /// Whether it was done or refused.
    pub outcome: Outcome,
    /// The id of the user who did it. Null if that is not known: anybody can send a wrong password.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, required = true, example = "u-ann"))]
    pub actor: Option<UserId>,
    /// The id of the user concerned. Null if the event concerns no user.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, required = true, example = "u-bob"))]
    pub target: Option<UserId>,
    /// The `X-Request-Id` of the response to the request that did it.
    #[cfg_attr(feature = "http", schema(example = "7hKq2mVx9TfLwZ3c"))]
    pub request_id: String,
    /// The id of the actor's tenant if it is another one: the actor is an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub actor_tenant: Option<TenantId>,
    /// Why, in the actor's words. For a refused SSO sign-in: which rule the assertion breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(example = "Lost their phone"))]
    pub reason: Option<String>,
    /// The support ticket that it was done for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The id of the batch of exclusions that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub batch_id: Option<BatchId>,
    /// The id of the client credential that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(value_type = Option<String>))]
    pub client_id: Option<ClientId>,
    /// The names of the fields that were changed, without their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The `User-Agent` of a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The NameID of an unknown user, as the identity provider sent it. Invisible characters are written as `\u{…}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(example = "G-0b1c6d7e"))]
    pub name_id: Option<String>,
    /// The `Format` of that name, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(example = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"))]
    pub name_id_format: Option<String>,
    /// The refused algorithm of a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "http", schema(example = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"))]
    pub algorithm: Option<String>,
    /// Who was notified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<Notify>,
}

impl Row {
    /// The row of an event.
    #[must_use]
    pub fn new(id: String, at: Timestamp, event: AuditEvent) -> Self {
        let AuditEvent { action, outcome, request_id, actor, actor_tenant, target, reason, .. } = event;
        let AuditEvent { ticket, batch_id, client_id, changed, user_agent, notify: notified, .. } = event;
        let AuditEvent { name_id, name_id_format, algorithm, .. } = event;
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
            name_id,
            name_id_format,
            algorithm,
            notified,
        }
    }

    /// The user the row is about: the target, or else the actor.
    #[must_use]
    pub fn concerned(&self) -> Option<&UserId> {
        self.target.as_ref().or(self.actor.as_ref())
    }
}

/// Number of partitions of a tenant's rows of one month.
pub const SHARDS: u8 = 4;

impl AuditEvent {
    /// The partition of the row within its month. All rows about one user are in the same partition.
    #[must_use]
    pub fn shard(&self) -> u8 {
        match self.target.as_ref().or(self.actor.as_ref()) {
            Some(user) => shard(user),
            None => 0,
        }
    }
}

/// The partition, within a month, of the rows about a user.
#[must_use]
pub fn shard(user: &UserId) -> u8 {
    Sha256::digest(user.as_str())[0] % SHARDS
}

/// The id of a row in the API: time, attempt, and the number of the event within the attempt.
#[must_use]
pub fn row_id(at: Timestamp, attempt: &str, event: u16) -> Option<AuditId> {
    AuditId::parse(&format!("{:013}-{attempt}-{event}", at.millis())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_1_to_3650_days() {
        for (text, days) in [("1", 1), ("90", 90), ("3650", 3_650)] {
            let kept: AuditRetention = text.parse().unwrap();
            assert_eq!((kept.duration(), kept.to_string().as_str()), (Duration::from_secs(days * 86_400), text));
        }
        assert_eq!(AuditRetention::default(), "90".parse().unwrap());
        for bad in ["", "0", "3651", "-1", "90.0", "90 days", " 90"] {
            assert_eq!(bad.parse::<AuditRetention>(), Err(BadRetention), "{bad:?}");
        }
    }

    #[test]
    fn untrusted_text_is_made_visible_and_cut() {
        assert_eq!(visible("Zoë ｋim"), "Zoë ｋim");
        assert_eq!(visible("a\u{202e}b\u{200b}\n\u{7}\\\u{a0}"), "a\\u{202e}b\\u{200b}\\u{a}\\u{7}\\u{5c}\\u{a0}");
        assert_eq!(visible(&"é".repeat(257)).chars().count(), 256);
    }

    #[test]
    fn event_notifies_each_group_once() {
        let event =
            AuditEvent::new(AuditAction::Verify, Outcome::Success, "r").notify(Notify::User).notify(Notify::User);
        assert_eq!(event.notify(Notify::Administrators).notify, [Notify::User, Notify::Administrators]);
    }

    #[test]
    fn longest_row_id_is_a_valid_audit_id() {
        let id = row_id(Timestamp::from_secs(1_800_000_000), "AAAAAAAAAAAAAAAA", 999).unwrap();
        assert_eq!(id.as_str(), "1800000000000-AAAAAAAAAAAAAAAA-999");
    }
}
