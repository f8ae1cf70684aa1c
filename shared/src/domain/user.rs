//! A user of a tenant.

use std::collections::HashMap;

use super::{
    Device, Factor, FactorState, ItemVersion, LoginTokenEntry, MailToken, PasswordVersion, PendingEnrolment,
    ResetCodeEntry, SecurityVersion, Session,
};
use crate::{
    env::Timestamp,
    id::{BatchId, EntryId},
    policy,
    secret::Nonce,
};

/// What a user is to the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Works for the tenant.
    Employee,
    /// Belongs to a client of the tenant and signs in to the client portal.
    Contact,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An employee who administers the tenant.
    Administrator,
    /// An employee without administrative rights.
    Standard,
    /// A contact.
    Portal,
    /// A member of the support team; in tenant `support` only.
    Operator,
}

/// How a user signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// By password and code.
    Local,
    /// Through the organisation's identity provider.
    SamlSso,
}

/// The exclusion of a contact from MFA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// The batch that excluded the contact.
    pub batch: BatchId,
    /// When the batch excluded the contact.
    pub at: Timestamp,
}

/// A user, without names and without the password. It is one item of the store, so that one conditional write decides every
/// race about a user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Raised by every write of the item except the note of a session's last use. See `store::commit`.
    pub version: ItemVersion,
    /// Employee or contact.
    pub kind: Kind,
    /// What the user may do.
    pub role: Role,
    /// Whether groups of the IdP gave the role. An Administrator who sets the role clears it.
    pub role_by_groups: bool,
    /// How the user signs in.
    pub auth_type: AuthType,
    /// Whether the user may sign in.
    pub active: bool,
    /// Random, new with each creation: a user id that is created again is another user.
    pub incarnation: Nonce,
    /// Raised by every security change. Tokens of an earlier version are void.
    pub security_version: SecurityVersion,
    /// Raised by every new password; equal to the version in the login name's item.
    pub password_version: PasswordVersion,
    /// Whether the password, if there is one, was long enough for a contact when it was set.
    pub password_fits_contact: bool,
    /// Whether the user has proved that the address is theirs.
    pub email_verified: bool,
    /// Tokens that were mailed to the address.
    pub mail_tokens: HashMap<EntryId, MailToken>,
    /// Digest of the login name.
    pub login_digest: String,
    /// The second factor.
    pub factor: Factor,
    /// Code attempts charged and not refunded by a correct code: the id of the attempt, and its time.
    pub recent_attempts: HashMap<String, Timestamp>,
    /// Code attempts charged since the last complete sign-in.
    pub consecutive_failures: i64,
    /// Failed code attempts since the factor was enrolled. A sign-in does not clear it, so it shows a slow attack.
    pub total_failures: i64,
    /// Challenges.
    pub challenges: HashMap<EntryId, LoginTokenEntry>,
    /// Enrolment tokens.
    pub enrolments: HashMap<EntryId, LoginTokenEntry>,
    /// Sessions.
    pub sessions: HashMap<EntryId, Session>,
    /// Known devices.
    pub devices: HashMap<EntryId, Device>,
    /// The pending enrolment.
    pub pending: Option<PendingEnrolment>,
    /// The reset code that was handed out.
    pub reset_code: Option<ResetCodeEntry>,
    /// Whether enrolment needs the reset code.
    pub reset_code_required: bool,
    /// The end of the time to enrol after a reset, in whole seconds.
    pub enrol_by: Option<Timestamp>,
    /// The exclusion from MFA; only a contact has one.
    pub excluded: Option<Exclusion>,
    /// Times at which challenges and enrolment tokens were opened, by client network.
    pub networks: HashMap<String, Vec<Timestamp>>,
    /// Times of the resets that this Administrator made in the last hour.
    pub resets: Vec<Timestamp>,
    /// Last sign-in, creation, reset or inclusion, in whole seconds. An account without a factor is dormant
    /// [`policy::DORMANT`] later. It has no meaning during an exclusion.
    pub seen: Timestamp,
    /// When the last session was opened, in whole seconds.
    pub last_sign_in: Option<Timestamp>,
}

impl User {
    /// A new user, without a factor.
    #[must_use]
    pub fn new(
        kind: Kind,
        role: Role,
        auth_type: AuthType,
        incarnation: Nonce,
        login_digest: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            version: ItemVersion::default(),
            kind,
            role,
            role_by_groups: false,
            auth_type,
            active: true,
            incarnation,
            security_version: SecurityVersion(1),
            password_version: PasswordVersion(1),
            password_fits_contact: true,
            email_verified: false,
            mail_tokens: HashMap::new(),
            login_digest: login_digest.to_owned(),
            factor: Factor::None,
            recent_attempts: HashMap::new(),
            consecutive_failures: 0,
            total_failures: 0,
            challenges: HashMap::new(),
            enrolments: HashMap::new(),
            sessions: HashMap::new(),
            devices: HashMap::new(),
            pending: None,
            reset_code: None,
            reset_code_required: false,
            enrol_by: None,
            excluded: None,
            networks: HashMap::new(),
            resets: Vec::new(),
            seen: now.whole_second(),
            last_sign_in: None,
        }
    }

    /// Removes what a raised restore epoch made void, so that no response shows it. `since` is the time at which the epoch was
    /// raised.
    pub(crate) fn forget_before(&mut self, since: Timestamp) {
        self.sessions.retain(|_, session| session.created >= since);
        if let Some(authenticator) = self.factor.active_mut() {
            authenticator.recovery_token.take_if(|token| token.issued_at.secs() < since.secs());
        }
    }

    /// Whether the user is an active Administrator (in `support`: an active operator).
    #[must_use]
    pub fn administers_now(&self) -> bool {
        self.active && self.administers()
    }

    /// Whether the user's role administers the tenant: an Administrator, or an operator in tenant `support`.
    #[must_use]
    pub fn administers(&self) -> bool {
        matches!(self.role, Role::Administrator | Role::Operator)
    }

    /// Whether the password of this version signs the user in.
    #[must_use]
    pub fn accepts_password(&self, version: PasswordVersion) -> bool {
        self.active && self.auth_type == AuthType::Local && self.password_version == version
    }

    /// Whether the time to enrol after a reset has ended. False if there is no such time.
    #[must_use]
    pub fn enrolment_deadline_passed(&self, now: Timestamp) -> bool {
        self.enrol_by.is_some_and(|deadline| deadline <= now)
    }

    /// Whether no more codes are checked, because too many failed one after the other.
    #[must_use]
    pub fn code_attempts_exhausted(&self) -> bool {
        self.consecutive_failures >= policy::MAX_CONSECUTIVE_FAILURES
    }

    /// Whether there is a factor, active or disabled.
    #[must_use]
    pub fn has_factor(&self) -> bool {
        self.factor != Factor::None
    }

    /// Whether failures disabled the factor, or exhausted its attempts, so that it is about to be disabled: only a reset helps.
    #[must_use]
    pub fn is_factor_disabled(&self) -> bool {
        match self.factor.state() {
            FactorState::Active => self.code_attempts_exhausted(),
            FactorState::Disabled => true,
            FactorState::None => false,
        }
    }
}

/// Security changes.
impl User {
    /// Makes every session, challenge, enrolment token, pending enrolment and mailed token void. Sessions stay in the item, so that the
    /// service can answer `session_refresh_required` to them (docs/product.md P12).
    pub fn raise_security_version(&mut self) {
        self.security_version = self.security_version.raised();
        self.challenges.clear();
        self.enrolments.clear();
        self.mail_tokens.clear();
        self.pending = None;
    }

    /// Removes the factor with its recovery token, and forgets the failed codes.
    pub(crate) fn remove_factor(&mut self) {
        self.factor = Factor::None;
        self.recent_attempts.clear();
        self.consecutive_failures = 0;
        self.total_failures = 0;
    }
}
