//! Commands for those who run the service: create the first operator or a tenant, reset a locked-out administrator, raise the
//! restore epoch. No HTTP route leads here. In the cloud, IAM decides who may invoke the function; locally, the permissions of
//! the data directory decide.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule::{
    audit::{AuditAction, AuditEvent, Notify, Outcome},
    env::EntropyError,
    http::{
        App, Line, Problem,
        dto::{Email, ResetDto, Username},
    },
    id::{LoginName, TenantId, UserId, UserKey},
    password::HashError,
    recovery::ResetCode,
    secret::{Nonce, SecretText},
    sign_in::Attempt,
    store::{
        AttemptEvent, OperationError, OperatorEvents, StoreError,
        item::{AuthType, Kind, Role},
        reset::{NotSoleAdministrator, SupportResetRejection as Rejection},
        setup::Identity,
        tenant::{NewTenant, TenantError},
        users::{Actor, CreationError, CreationRejection, NewUser, NewUserDetails},
    },
};

/// A command, in JSON: for example `{"command": "status"}`. Unknown commands and fields are refused.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Create the first operator of support. Refused if an active operator exists.
    CreateOperator {
        /// Login name.
        username: Username,
        /// Display name.
        display_name: Line,
    },
    /// Create a tenant with its first Administrator.
    CreateTenant {
        /// The tenant's id.
        id: TenantId,
        /// The company's name.
        name: Line,
        /// The first Administrator.
        administrator: Administrator,
    },
    /// Reset the MFA of the only Administrator or operator, who is locked out. The rule is that of
    /// `POST /v1/support/mfa-resets`.
    ResetMfa {
        /// The user's tenant.
        tenant: TenantId,
        /// Login name.
        username: Username,
        /// The support ticket. It works for one reset, in any tenant.
        ticket: Line,
        /// The reason. It is kept in the audit.
        reason: Line,
    },
    /// Make every earlier token and code void, after a backup was restored.
    RaiseRestoreEpoch {
        /// The reason. It is kept in the audit.
        reason: Line,
    },
    /// Report the id and the restore epoch of the store, and the number of active operators.
    Status {},
}

/// The first Administrator of a new tenant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    username: Username,
    display_name: Line,
    email: Option<Email>,
}

/// The reason why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The JSON is not a command, or has wrong fields.
    #[error("not a command: {0}")]
    InvalidRequest(String),
    /// An active operator exists.
    #[error("an operator exists: operators create further operators")]
    OperatorExists,
    /// A tenant with the id exists.
    #[error("a tenant with this id exists")]
    TenantExists,
    /// A user with the login name exists.
    #[error("a user with this login name exists")]
    NameTaken,
    /// The tenant does not exist, or has no user with the login name.
    #[error("no such tenant or user")]
    NotFound,
    /// The user is not an Administrator, or another Administrator can do the reset.
    #[error(transparent)]
    NotSoleAdministrator(NotSoleAdministrator),
    /// The ticket was used for another reset.
    #[error("the ticket was used before")]
    TicketUsed,
    /// The table is not the one that the store was created in.
    #[error("the table was restored from a backup: raise the restore epoch first")]
    Restored,
    /// The table holds no store.
    #[error("the table is no store yet: create the first operator or a tenant")]
    NoStore,
    /// The store or a key failed. Whether the command was executed is unknown.
    #[error("the store or a key is unavailable: read the log and the status before you try again")]
    Unavailable,
}

impl Refusal {
    /// The code of the refusal, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::OperatorExists => "operator_exists",
            Self::TenantExists => "tenant_exists",
            Self::NameTaken => "name_taken",
            Self::NotFound => "not_found",
            Self::NotSoleAdministrator(_) => "not_sole_administrator",
            Self::TicketUsed => "ticket_used",
            Self::Restored => "restored",
            Self::NoStore => "no_store",
            Self::Unavailable => "unavailable",
        }
    }
}

macro_rules! unavailable {
    ($($error:ty)*) => { $(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                tracing::error!(%error, "an operators' command failed");
                Self::Unavailable
            }
        }
    )* };
}
unavailable! { StoreError EntropyError HashError serde_json::Error }

impl From<Problem> for Refusal {
    /// This function lacks a key. The code that needed the key has logged it.
    fn from(_: Problem) -> Self {
        Self::Unavailable
    }
}

/// Parses and executes a command. The parameters are those of [`run`].
///
/// # Errors
/// [`Refusal`]: nothing was done, except that the result is unknown after [`Refusal::Unavailable`].
pub async fn handle(app: &App, stream: Option<&str>, payload: Value, request: &str) -> Result<Value, Refusal> {
    let command = serde_json::from_value(payload).map_err(|error| Refusal::InvalidRequest(error.to_string()))?;
    run(app, stream, command, request).await
}

/// Executes a command. `stream` is the ARN of the table's stream, if the table has one; `request` is the id of the invocation
/// for the audit.
///
/// # Errors
/// As [`handle`].
pub async fn run(app: &App, stream: Option<&str>, command: Command, request: &str) -> Result<Value, Refusal> {
    let identity = app.store.identity().await?;
    let matches = |it: &Identity| it.stream.is_none() || stream.is_none() || it.stream.as_deref() == stream;
    match (&command, &identity) {
        (Command::Status {} | Command::RaiseRestoreEpoch { .. }, _) => {}
        (_, Some(identity)) if !matches(identity) => return Err(Refusal::Restored),
        (_, Some(_)) => {}
        (Command::ResetMfa { .. }, None) => return Err(Refusal::NoStore),
        (_, None) => app.store.identify(&random::<12>(app)?, stream).await?,
    }
    let operations = Operations { app, request, attempt: Attempt::begin(app.clock.now(), &*app.entropy)? };
    match command {
        Command::CreateOperator { username, display_name } => {
            operations.create_operator(&username, &display_name).await
        }
        Command::CreateTenant { id, name, administrator } => operations.create_tenant(id, &name, &administrator).await,
        Command::ResetMfa { tenant, username, ticket, reason } => {
            operations.reset(&tenant, &username, &ticket, &reason).await
        }
        Command::RaiseRestoreEpoch { reason } => {
            let event = operations.event(AuditAction::RestoreEpochRaised).because(&reason);
            let raised =
                app.store.raise_restore_epoch(stream, &operations.attempt, &event).await?.ok_or(Refusal::NoStore)?;
            Ok(json!({"restore_epoch": raised.number, "since": raised.since}))
        }
        Command::Status {} => {
            let operators = app.store.count_administrators(&TenantId::support()).await?.unwrap_or(0);
            let identity = identity.ok_or(Refusal::NoStore)?;
            let restored = identity.restore.number;
            let since = (restored > 0).then_some(identity.restore.since);
            let matches = matches(&identity);
            Ok(json!({"store": identity.id, "table_matches": matches, "restore_epoch": restored, "since": since,
                "active_operators": operators}))
        }
    }
}

fn random<const N: usize>(app: &App) -> Result<String, EntropyError> {
    Ok(BASE64URL_NOPAD.encode(&app.entropy.bytes::<N>()?))
}

/// One execution of a command.
struct Operations<'a> {
    app: &'a App,
    request: &'a str,
    attempt: Attempt,
}

impl Operations<'_> {
    fn event(&self, action: AuditAction) -> AuditEvent {
        AuditEvent::new(action, Outcome::Success, self.request)
    }

    /// A new administrator or operator, with a random password of 144 bits that is shown once.
    async fn new_user(
        &self,
        tenant: &TenantId,
        role: Role,
        username: &str,
        display_name: &str,
        email: Option<&str>,
    ) -> Result<(NewUser, String), Refusal> {
        let app = self.app;
        let (kind, auth_type) = (Kind::Employee, AuthType::Local);
        let details = NewUserDetails { kind, role, auth_type, username, display_name, email };
        let key = tenant.user(UserId::generate(&*app.entropy)?);
        let login = app.names()?.login(tenant, &LoginName::fold(username));
        let mut user = NewUser::new(key, login, &details, Nonce::generate(&*app.entropy)?, self.attempt.at());
        let password = random::<18>(app)?;
        user.hash = Some(app.passwords.hash(&SecretText::new(password.clone()), &*app.entropy).await?);
        Ok((user, password))
    }

    async fn create_operator(&self, username: &str, display_name: &str) -> Result<Value, Refusal> {
        let (support, store) = (TenantId::support(), &self.app.store);
        let (user, password) = self.new_user(&support, Role::Operator, username, display_name, None).await?;
        let answer = json!({"tenant": support.as_str(), "user_id": user.key.user().as_str(), "username": username,
            "password": password});
        let event = self.event(AuditAction::UserCreated).about(user.key.user());
        match store.create_user(&Actor::First, &user, &self.attempt, &event).await {
            Ok(()) => return Ok(answer),
            Err(CreationError::Rejected(CreationRejection::NoTenant)) => {}
            Err(CreationError::Rejected(CreationRejection::NameTaken)) => return Err(Refusal::NameTaken),
            Err(CreationError::Rejected(_)) => return Err(Refusal::OperatorExists),
            Err(CreationError::Store(error)) => return Err(error.into()),
        }
        let event = self.event(AuditAction::TenantCreated).about(user.key.user());
        let tenant = NewTenant { id: support, name: "Support".to_owned(), first: Some(user) };
        let events = OperatorEvents { in_support: &event, in_tenant: &event };
        match store.create_tenant(&Actor::First, &tenant, &self.attempt, &events).await {
            Ok(()) => Ok(answer),
            Err(TenantError::Rejected(_)) => Err(Refusal::OperatorExists),
            Err(TenantError::Store(error)) => Err(error.into()),
        }
    }

    async fn create_tenant(&self, id: TenantId, name: &str, first: &Administrator) -> Result<Value, Refusal> {
        if id.is_support() {
            return Err(Refusal::InvalidRequest("support is the tenant of the operators".to_owned()));
        }
        let (username, display_name, email) = (&first.username, &first.display_name, first.email.as_deref());
        let (user, password) = self.new_user(&id, Role::Administrator, username, display_name, email).await?;
        let answer = json!({"tenant": id.as_str(), "user_id": user.key.user().as_str(), "username": &**username,
            "password": password});
        let event = self.event(AuditAction::TenantCreated).about(user.key.user());
        let tenant = NewTenant { id, name: name.to_owned(), first: Some(user) };
        let events = OperatorEvents { in_support: &event, in_tenant: &event };
        match self.app.store.create_tenant(&Actor::First, &tenant, &self.attempt, &events).await {
            Ok(()) => Ok(answer),
            Err(TenantError::Rejected(_)) => Err(Refusal::TenantExists),
            Err(TenantError::Store(error)) => Err(error.into()),
        }
    }

    async fn reset(&self, tenant: &TenantId, username: &str, ticket: &str, reason: &str) -> Result<Value, Refusal> {
        let (app, names) = (self.app, self.app.names()?);
        let login = names.login(tenant, &LoginName::fold(username));
        let target = app.store.load_support_reset_by_name(login, names.ticket(ticket)).await?;
        let (codes, code) = (app.codes()?, ResetCode::generate(&*app.entropy)?);
        let mut in_support = self.event(AuditAction::MfaReset).because(reason);
        in_support.ticket = Some(ticket.to_owned());
        let mut in_tenant = in_support.clone().notify(Notify::User).notify(Notify::Administrators);
        in_tenant.actor_tenant = Some(TenantId::support());
        let digest = |key: &UserKey| code.digest(&codes, key);
        let events = OperatorEvents { in_support: &in_support, in_tenant: &in_tenant };
        let why = match app.store.reset_sole_administrator(&Actor::Seed, target, &digest, &self.attempt, &events).await
        {
            Ok(done) => return Ok(serde_json::to_value(ResetDto::new(&done, &code))?),
            // The reset may be committed, so the audit must not say that it was refused.
            Err(OperationError::Store(error)) => return Err(error.into()),
            // The caller is no user, so the last two cannot happen.
            Err(OperationError::Rejected(Rejection::NotFound | Rejection::SelfReset | Rejection::ActorRevoked)) => {
                Refusal::NotFound
            }
            Err(OperationError::Rejected(Rejection::NotSoleAdministrator(why))) => Refusal::NotSoleAdministrator(why),
            Err(OperationError::Rejected(Rejection::TicketUsed)) => Refusal::TicketUsed,
        };
        in_support.outcome = Outcome::Refused;
        app.store.record(&TenantId::support(), &self.attempt, AttemptEvent::Outcome, &in_support).await;
        Err(why)
    }
}
