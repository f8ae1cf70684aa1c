//! The worker's part: charge a mail and make its token, in one transaction.

use std::time::Duration;

use super::{MailLog, MailRejection, NotCharged};
use crate::{
    audit::{AuditAction, AuditEvent, Outcome},
    auth::mail_token::may_be_mailed,
    domain::{ItemVersion, LoginRow, MailPurpose, Profile, TenantPolicy, User},
    env::{Entropy, Timestamp},
    id::{MessageId, UserId, UserKey},
    mail_order::{MailOrder, OrderedMail},
    secret::{LoginKey, NewToken, TokenClass},
    sign_in::Attempt,
    store::{
        AttemptEvent, OperationError, Store, StoreError,
        commit::{self, Retries},
        item, keys,
        table::{Retry, Transacted, Transaction},
        write::{Action, Item, Key, Value, Write, absent, attr, eq, exists, num},
    },
};

/// A token that was made, and what its mail says.
pub struct IssuedToken {
    /// The token. Its text goes into one mail.
    pub token: NewToken,
    /// What the token permits.
    pub purpose: MailPurpose,
    /// The address to send it to.
    pub address: String,
    /// The tenant's name.
    pub company: String,
    /// The user's login name.
    pub username: String,
    /// The user's display name.
    pub display_name: String,
    /// The user.
    pub user: UserKey,
    login: LoginKey,
    message: MessageId,
}

/// A mail that was charged, to note that it was sent.
pub struct ChargedMail {
    login: LoginKey,
    message: MessageId,
}

impl IssuedToken {
    /// The mail of the token.
    #[must_use]
    pub fn mail(&self) -> ChargedMail {
        ChargedMail { login: self.login.clone(), message: self.message.clone() }
    }
}

/// Why no token is made.
#[derive(Debug, thiserror::Error)]
pub enum IssueRejection {
    /// Nobody has the login name, or the user was deleted.
    #[error("there is no such user")]
    NoUser,
    /// The user gets no such mail.
    #[error(transparent)]
    NoMail(#[from] MailRejection),
    /// The limit is reached, or the mail was sent before.
    #[error(transparent)]
    NotCharged(#[from] NotCharged),
    /// The message asks for no token.
    #[error("the message asks for no token")]
    NoToken,
}

/// A user with what decides about a mail.
struct Loaded {
    key: UserKey,
    login: LoginKey,
    user: User,
    profile: Profile,
    company: String,
    has_password: bool,
    log: MailLog,
}

impl Store {
    /// Makes the token that a message asks for: charges the mail and adds the token to the user in one transaction. A message
    /// that is delivered again replaces its own token, until its mail was sent ([`Self::mark_mail_sent`]).
    ///
    /// # Errors
    /// [`IssueRejection`]: the user does not exist or gets no such mail, or the limit of mails is reached. If the store failed, the
    /// token may have been made.
    pub async fn issue_mail_token(
        &self,
        order: &MailOrder,
        attempt: &Attempt,
        entropy: &dyn Entropy,
    ) -> Result<IssuedToken, OperationError<IssueRejection>> {
        let mut retries = Retries::of(attempt);
        loop {
            let loaded = self.load_for_mail(&order.mail).await?;
            let purpose = purpose(&order.mail).ok_or(rejected(IssueRejection::NoToken))?;
            let token = NewToken::generate(TokenClass::Mail, &loaded.key, self.restore_epoch, entropy)
                .map_err(StoreError::from)?;
            let writes = loaded.decide(order, purpose, &token, attempt.at())?;
            let event = event(order, purpose, loaded.key.user());
            let audit_row = self.audit_row(loaded.key.tenant(), attempt, AttemptEvent::Outcome, &event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, audit_row)).await? {
                return Ok(loaded.issued(order, purpose, token));
            }
            retries.pause().await?;
        }
    }

    /// Notes that the mail of a token was sent. The message sends no other mail.
    ///
    /// # Errors
    /// [`StoreError`]: it may have been noted.
    pub async fn mark_mail_sent(&self, mail: &ChargedMail) -> Result<(), StoreError> {
        let at = || attr("m").key(mail.message.as_str().to_owned());
        let sent = Action::Set(at().key("s"), Value::Bool(true));
        let write =
            Write::update(keys::mail_log(&mail.login), vec![exists(at())], vec![sent, Action::Count(attr("v"), 1)]);
        self.table.update(&write, Retry::Idempotent).await.map(drop)
    }

    /// The name of a tenant and the login name of a user, for a notice.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn names_for_notice(&self, user: &UserKey) -> Result<Option<(String, Profile)>, StoreError> {
        let [policy, profile] = self.read_all([keys::tenant(user.tenant()), keys::profile(user)]).await?;
        let (Some(policy), Some(profile)) = (policy, profile) else { return Ok(None) };
        Ok(Some((item::read::<TenantPolicy>(policy)?.name, item::read(profile)?)))
    }

    /// Reads the user whom a message is about, and what else decides about the mail.
    async fn load_for_mail(&self, mail: &OrderedMail) -> Result<Loaded, OperationError<IssueRejection>> {
        let (tenant, user) = match mail {
            OrderedMail::Reset { tenant, login, .. } => {
                let login = LoginKey::of(tenant, login);
                let (row, log) = self.login_for_mail(&login).await?;
                let key = tenant.user(row.uid.clone().ok_or(rejected(IssueRejection::NoUser))?);
                let items = self.read_all(user_keys(&key)).await?;
                return loaded(key, login, items, &row, log);
            }
            OrderedMail::Invitation { tenant, user, .. } | OrderedMail::Verification { tenant, user, .. } => {
                (tenant, user)
            }
            OrderedMail::AddressChanged { .. } => return Err(rejected(IssueRejection::NoToken)),
        };
        let key = tenant.user(user.clone());
        let items = self.read_all(user_keys(&key)).await?;
        let user: User = item::read(items[0].clone().ok_or(rejected(IssueRejection::NoUser))?)?;
        let login = LoginKey::of(tenant, &user.login_digest);
        let (row, log) = self.login_for_mail(&login).await?;
        loaded(key, login, items, &row, log)
    }

    async fn login_for_mail(&self, login: &LoginKey) -> Result<(LoginRow, MailLog), OperationError<IssueRejection>> {
        let [row, log] = self.read_all([keys::login(login), keys::mail_log(login)]).await?;
        let row = item::read(row.ok_or(rejected(IssueRejection::NoUser))?)?;
        Ok((row, log.map(item::read).transpose()?.unwrap_or_default()))
    }
}

fn rejected(why: impl Into<IssueRejection>) -> OperationError<IssueRejection> {
    OperationError::Rejected(why.into())
}

fn user_keys(key: &UserKey) -> [Key; 3] {
    [keys::user(key), keys::profile(key), keys::tenant(key.tenant())]
}

fn loaded(
    key: UserKey,
    login: LoginKey,
    [user, profile, policy]: [Option<Item>; 3],
    row: &LoginRow,
    log: MailLog,
) -> Result<Loaded, OperationError<IssueRejection>> {
    let (Some(user), Some(profile), Some(policy)) = (user, profile, policy) else {
        return Err(rejected(IssueRejection::NoUser));
    };
    let user: User = item::read(user)?;
    // Between the two reads the login name can have got another user.
    if row.uid.as_ref() != Some(key.user()) {
        return Err(rejected(IssueRejection::NoUser));
    }
    let company = item::read::<TenantPolicy>(policy)?.name;
    Ok(Loaded { key, login, user, profile: item::read(profile)?, company, has_password: row.hash.is_some(), log })
}

impl Loaded {
    /// The writes of a new token: the user, the charge, and the condition that the address is as loaded.
    fn decide(
        &self,
        order: &MailOrder,
        purpose: MailPurpose,
        token: &NewToken,
        now: Timestamp,
    ) -> Result<Vec<Write>, OperationError<IssueRejection>> {
        may_be_mailed(&self.user, purpose, self.profile.email.is_some(), self.has_password).map_err(rejected)?;
        let mut log = self.log.clone();
        log.charge(&order.id, network(&order.mail), now).map_err(rejected)?;
        log.version = log.version.raised();
        let mut user = self.user.clone();
        user.add_mail_token(token.reference(), purpose, &order.id, now);
        let address = self.profile.email.clone().unwrap_or_default();
        Ok(vec![
            commit::update(&self.key, &self.user, &user)?,
            self.log_write(&log, now)?,
            Write::check(keys::profile(&self.key), vec![eq(attr("em"), address.as_str())]),
        ])
    }

    fn log_write(&self, log: &MailLog, now: Timestamp) -> Result<Write, StoreError> {
        let mut item = item::write(log)?;
        item.insert("ttl".to_owned(), num((now + Duration::from_secs(2 * 86_400)).secs()));
        let as_loaded = if self.log.version == ItemVersion::default() {
            absent(attr("v"))
        } else {
            eq(attr("v"), self.log.version)
        };
        let actions = item.into_iter().map(|(name, value)| Action::Set(attr(name), value)).collect();
        Ok(Write::update(keys::mail_log(&self.login), vec![as_loaded], actions))
    }

    fn issued(self, order: &MailOrder, purpose: MailPurpose, token: NewToken) -> IssuedToken {
        IssuedToken {
            token,
            purpose,
            address: self.profile.email.unwrap_or_default(),
            company: self.company,
            username: self.profile.username,
            display_name: self.profile.display_name,
            user: self.key,
            login: self.login,
            message: order.id.clone(),
        }
    }
}

fn purpose(mail: &OrderedMail) -> Option<MailPurpose> {
    match mail {
        OrderedMail::Reset { .. } => Some(MailPurpose::Reset),
        OrderedMail::Invitation { .. } => Some(MailPurpose::Invitation),
        OrderedMail::Verification { .. } => Some(MailPurpose::Verification),
        OrderedMail::AddressChanged { .. } => None,
    }
}

/// The client network whose limit counts the mail. An Administrator's invitation has none.
fn network(mail: &OrderedMail) -> Option<&str> {
    match mail {
        OrderedMail::Reset { network, .. } | OrderedMail::Verification { network, .. } => Some(network),
        OrderedMail::Invitation { .. } | OrderedMail::AddressChanged { .. } => None,
    }
}

fn event(order: &MailOrder, purpose: MailPurpose, user: &UserId) -> AuditEvent {
    let action = match purpose {
        MailPurpose::Reset => AuditAction::PasswordResetMailed,
        MailPurpose::Invitation => AuditAction::InvitationMailed,
        MailPurpose::Verification => AuditAction::VerificationMailed,
    };
    let event = AuditEvent::new(action, Outcome::Success, &order.request_id).about(user);
    match &order.mail {
        OrderedMail::Invitation { by, .. } => event.by(by),
        OrderedMail::Verification { user, .. } => event.by(user),
        OrderedMail::Reset { .. } | OrderedMail::AddressChanged { .. } => event,
    }
}
