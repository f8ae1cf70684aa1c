//! What only those may who run the service: the first operator, a tenant, break-glass, and the restore epoch. There is no
//! HTTP route to it: in the cloud IAM says who may invoke it, on one's own machine who may read the data directory.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule::{
    audit::{Action, AuditEvent, Notify, Outcome},
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
        StoreError,
        item::{AuthType, Kind, Role},
        reset::{NotSole, ResetError},
        setup::Identity,
        tenant::{NewTenant, TenantCreated},
        users::{Actor, Created, NewUser, NewUserDetails},
    },
};

/// What can be asked: `{"command": "status"}` and the like. What is not known is refused.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The first operator of support, while there is no active one.
    CreateOperator {
        /// Login name.
        username: Username,
        /// The name that is shown.
        display_name: Line,
    },
    /// A tenant with its first Administrator.
    CreateTenant {
        /// The tenant's id.
        id: TenantId,
        /// The company's name.
        name: Line,
        /// Who administers it first.
        administrator: Administrator,
    },
    /// For a sole Administrator or operator who is locked out: under the rule of `POST /v1/support/mfa-resets`.
    ResetMfa {
        /// Whose.
        tenant: TenantId,
        /// Login name.
        username: Username,
        /// Works once, in whichever tenant.
        ticket: Line,
        /// Why; it is kept in the audit.
        reason: Line,
    },
    /// After a backup was restored: every token and code of before is void.
    RaiseRestoreEpoch {
        /// Why; it is kept in the audit.
        reason: Line,
    },
    /// What the store says of itself.
    Status {},
}

/// An Administrator to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    username: Username,
    display_name: Line,
    email: Option<Email>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a command, or not its fields.
    #[error("not a command: {0}")]
    InvalidRequest(String),
    /// There is an active operator.
    #[error("there is an operator already: operators create one another")]
    OperatorExists,
    /// There is a tenant of the id.
    #[error("there is a tenant of this id")]
    TenantExists,
    /// Somebody has the login name.
    #[error("somebody has this login name")]
    NameTaken,
    /// There is nobody of the name in the tenant.
    #[error("there is no such tenant or user")]
    NotFound,
    /// The target is no Administrator, or another one can do it.
    #[error(transparent)]
    NotSoleAdministrator(NotSole),
    /// Every ticket works once.
    #[error("the ticket was used before")]
    TicketUsed,
    /// The table is another than the store was in.
    #[error("the table was restored from a backup: raise the restore epoch first")]
    Restored,
    /// There is no store in the table.
    #[error("the table is no store yet: create the first operator or a tenant")]
    NoStore,
    /// It is not known whether it was done.
    #[error("the store or a key is out of reach: look at the log and at the status before trying again")]
    Unavailable,
}

impl Refusal {
    /// For programs.
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
                tracing::error!(%error, "a command of the operators failed");
                Self::Unavailable
            }
        }
    )* };
}
unavailable! { StoreError EntropyError HashError serde_json::Error }

impl From<Problem> for Refusal {
    /// A key that this function was not given, which is logged where it is missed.
    fn from(_: Problem) -> Self {
        Self::Unavailable
    }
}

/// Reads a command and does it.
///
/// # Errors
/// [`Refusal`]: nothing was done, unless it is [`Refusal::Unavailable`].
pub async fn answer(app: &App, stream: Option<&str>, payload: Value, request: &str) -> Result<Value, Refusal> {
    let command = serde_json::from_value(payload).map_err(|error| Refusal::InvalidRequest(error.to_string()))?;
    run(app, stream, command, request).await
}

/// Does a command. `stream` is the ARN of the table's stream, where tables have one; `request` names the invocation in the audit.
///
/// # Errors
/// As [`answer`].
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
    let done = Done { app, request, attempt: Attempt::begin(app.clock.now(), &*app.entropy)? };
    match command {
        Command::CreateOperator { username, display_name } => done.operator(&username, &display_name).await,
        Command::CreateTenant { id, name, administrator } => done.tenant(id, &name, &administrator).await,
        Command::ResetMfa { tenant, username, ticket, reason } => {
            done.reset(&tenant, &username, &ticket, &reason).await
        }
        Command::RaiseRestoreEpoch { reason } => {
            let event = done.event(Action::RestoreEpochRaised).because(&reason);
            let raised = app.store.raise_restore_epoch(stream, &done.attempt, &event).await?.ok_or(Refusal::NoStore)?;
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

struct Done<'a> {
    app: &'a App,
    request: &'a str,
    attempt: Attempt,
}

impl Done<'_> {
    fn event(&self, action: Action) -> AuditEvent {
        AuditEvent::new(action, Outcome::Success, self.request)
    }

    /// Somebody new who administers, with a password of 144 bits that is shown once.
    async fn person(
        &self,
        tenant: &TenantId,
        role: Role,
        username: &str,
        display_name: &str,
        email: Option<&str>,
    ) -> Result<(NewUser, String), Refusal> {
        let app = self.app;
        let (kind, auth_type) = (Kind::Employee, AuthType::Local);
        let asked = NewUserDetails { kind, role, auth_type, username, display_name, email };
        let key = tenant.user(UserId::generate(&*app.entropy)?);
        let login = app.names()?.login(tenant, &LoginName::fold(username));
        let mut person = NewUser::new(key, login, &asked, Nonce::generate(&*app.entropy)?, self.attempt.at());
        let password = random::<18>(app)?;
        person.hash = Some(app.passwords.hash(&SecretText::new(password.clone()), &*app.entropy).await?);
        Ok((person, password))
    }

    async fn operator(&self, username: &str, display_name: &str) -> Result<Value, Refusal> {
        let (support, store) = (TenantId::support(), &self.app.store);
        let (person, password) = self.person(&support, Role::Operator, username, display_name, None).await?;
        let answer = json!({"tenant": support.as_str(), "user_id": person.key.user().as_str(), "username": username,
            "password": password});
        let event = self.event(Action::UserCreated).about(person.key.user());
        match store.create_user(&Actor::First, &person, &self.attempt, &event).await? {
            Created::Done => return Ok(answer),
            Created::NoTenant => {}
            Created::NameTaken => return Err(Refusal::NameTaken),
            Created::NotFirst
            | Created::IdTaken
            | Created::SubjectTaken
            | Created::Ambiguous
            | Created::ActorRevoked => {
                return Err(Refusal::OperatorExists);
            }
        }
        let event = self.event(Action::TenantCreated).about(person.key.user());
        let tenant = NewTenant { id: support, name: "Support".to_owned(), first: Some(person) };
        match store.create_tenant(&Actor::First, &tenant, &self.attempt, (&event, &event)).await? {
            TenantCreated::Done => Ok(answer),
            TenantCreated::Taken | TenantCreated::ActorRevoked => Err(Refusal::OperatorExists),
        }
    }

    async fn tenant(&self, id: TenantId, name: &str, first: &Administrator) -> Result<Value, Refusal> {
        if id.is_support() {
            return Err(Refusal::InvalidRequest("support is the tenant of operators".to_owned()));
        }
        let (username, display_name, email) = (&first.username, &first.display_name, first.email.as_deref());
        let (person, password) = self.person(&id, Role::Administrator, username, display_name, email).await?;
        let answer = json!({"tenant": id.as_str(), "user_id": person.key.user().as_str(), "username": &**username,
            "password": password});
        let event = self.event(Action::TenantCreated).about(person.key.user());
        let tenant = NewTenant { id, name: name.to_owned(), first: Some(person) };
        match self.app.store.create_tenant(&Actor::First, &tenant, &self.attempt, (&event, &event)).await? {
            TenantCreated::Done => Ok(answer),
            TenantCreated::Taken | TenantCreated::ActorRevoked => Err(Refusal::TenantExists),
        }
    }

    async fn reset(&self, tenant: &TenantId, username: &str, ticket: &str, reason: &str) -> Result<Value, Refusal> {
        let (app, names) = (self.app, self.app.names()?);
        let login = names.login(tenant, &LoginName::fold(username));
        let asked = app.store.load_support_reset_by_name(login, names.ticket(ticket)).await?;
        let (codes, code) = (app.codes()?, ResetCode::generate(&*app.entropy)?);
        let mut here = self.event(Action::MfaReset).because(reason);
        here.ticket = Some(ticket.to_owned());
        let mut there = here.clone().notify(Notify::User).notify(Notify::Administrators);
        there.actor_tenant = Some(TenantId::support());
        let digest = |key: &UserKey| code.digest(&codes, key);
        let events = (&here, &there);
        let why = match app.store.reset_sole_administrator(&Actor::Seed, asked, &digest, &self.attempt, events).await {
            Ok(done) => return Ok(serde_json::to_value(ResetDto::new(&done, &code))?),
            Err(ResetError::NotFound | ResetError::SelfReset | ResetError::ActorRevoked) => Refusal::NotFound,
            Err(ResetError::Store(error)) => error.into(),
            Err(ResetError::NotSole(why)) => Refusal::NotSoleAdministrator(why),
            Err(ResetError::OverBudget { .. }) => Refusal::Unavailable, // a reset by ticket has no budget
            Err(ResetError::TicketUsed) => Refusal::TicketUsed,
        };
        here.outcome = Outcome::Refused;
        app.store.record(&TenantId::support(), &self.attempt, 0, &here).await;
        Err(why)
    }
}
