//! `POST /v1/admin/users`: create a user.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Line, Problem, Request,
        dto::{AuthTypeDto, Email, KindDto, RoleDto, UserDto, Username},
    },
    id::{LoginName, TenantId, UserId},
    mail_order::OrderedMail,
    secret::{LoginKey, Nonce, SecretText},
    store::{
        session::AdminContext,
        users::{
            Actor, CreationError, CreationRejection as Rejection, NewUser, NewUserDetails, role_allowed,
            role_allowed_in_some_tenant,
        },
    },
};

use super::{NameId, check_password, invalid_combination, name_id_is_a_username, name_id_taken};

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "standard", "username": "bob", "display_name": "Bob Meyer", "email": "bob@acme.example"}))]
pub(crate) struct CreateRequest {
    /// Whether the user is an employee or a contact.
    pub(crate) kind: KindDto,
    /// `portal` for a contact, `administrator` or `standard` for an employee. In tenant `support`, every user is an `operator`.
    pub(crate) role: RoleDto,
    /// How the user signs in.
    pub(crate) auth_type: AuthTypeDto,
    /// The user name. It is unique within the tenant.
    pub(crate) username: Username,
    /// The display name.
    pub(crate) display_name: Line,
    /// Where notifications and links are mailed.
    pub(crate) email: Option<Email>,
    /// The password: at most 1,024 bytes, at least 8 bytes for an employee and 15 characters for a contact. Common
    /// passwords are refused.
    #[schema(value_type = Option<String>, example = "correct horse battery staple")]
    pub(crate) password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user, if it is not the user name.
    pub(crate) sso_name_id: Option<NameId>,
    /// Whether the user gets a mail with a link to choose a password, valid for 7 days. It needs an e-mail address, and
    /// excludes a password and a sign-in through the identity provider.
    #[serde(default)]
    pub(crate) invite: bool,
}

impl CreateRequest {
    /// The checks that need no caller: the form comes before the token.
    pub(crate) fn check_form(&self) -> ApiResult<()> {
        self.password.as_ref().map(|password| check_password(password, Some(self.kind))).transpose()?;
        if self.invite {
            if self.email.is_none() {
                return Err(Problem::field("/email", "is needed for an invitation"));
            }
            if self.password.is_some() {
                return Err(Problem::field("/password", "must be absent if the user is invited"));
            }
            if self.auth_type != AuthTypeDto::Local {
                return Err(Problem::field("/auth_type", "must be local if the user is invited"));
            }
        }
        if role_allowed_in_some_tenant(self.kind.into(), self.role.into()) {
            Ok(())
        } else {
            Err(invalid_combination())
        }
    }

    /// The check that needs the tenant.
    pub(crate) fn check_in(&self, tenant: &TenantId) -> ApiResult<()> {
        if role_allowed(tenant, self.kind.into(), self.role.into()) { Ok(()) } else { Err(invalid_combination()) }
    }

    pub(crate) fn login(&self, app: &App, tenant: &TenantId) -> ApiResult<LoginKey> {
        Ok(app.names()?.login(tenant, &LoginName::fold(&self.username)))
    }
}

/// Creates the user and orders the invitation, if there is one. The form was checked.
pub(super) async fn create_checked(
    app: &App,
    request: &Request,
    admin: &AdminContext,
    body: &CreateRequest,
) -> ApiResult<NewUser> {
    if body.invite {
        app.mail_queue()?;
    }
    let user = new_user(app, request, admin, body).await?;
    let event = request.event(AuditAction::UserCreated, Outcome::Success).by(admin.key().user());
    let created = event.clone().about(user.key.user());
    match app.store.create_user(&Actor::AdminContext(admin), &user, &request.attempt(app)?, &created).await {
        Ok(()) => {}
        Err(CreationError::Rejected(why)) => return Err(rejected(app, request, admin, event, why).await),
        Err(CreationError::Store(error)) => return Err(error.into()),
    }
    if body.invite {
        request.order_mail(app, OrderedMail::invitation(&user.key, admin.key().user())).await?;
    }
    Ok(user)
}

/// The response to a creation that the store refused. `event` names no target: the user does not exist.
async fn rejected(app: &App, request: &Request, admin: &AdminContext, event: AuditEvent, why: Rejection) -> Problem {
    let problem = match why {
        Rejection::NameTaken => Problem::new(Code::Conflict).detail("another user has this username"),
        Rejection::SubjectTaken => name_id_taken(),
        Rejection::Ambiguous => name_id_is_a_username(),
        Rejection::IdTaken | Rejection::NoTenant | Rejection::NotFirst => return Code::Unavailable.into(),
        Rejection::ActorRevoked => return request.no_longer(app).await,
    };
    request.refused(app, admin, event, problem).await
}

async fn new_user(app: &App, request: &Request, admin: &AdminContext, body: &CreateRequest) -> ApiResult<NewUser> {
    let tenant = admin.tenant();
    let id = UserId::generate(&*app.entropy)?;
    let details = NewUserDetails {
        kind: body.kind.into(),
        role: body.role.into(),
        auth_type: body.auth_type.into(),
        username: &body.username,
        display_name: &body.display_name,
        email: body.email.as_deref(),
    };
    let (login, incarnation) = (body.login(app, tenant)?, Nonce::generate(&*app.entropy)?);
    let mut user = NewUser::new(tenant.user(id), login, &details, incarnation, request.now);
    if let Some(name_id) = &body.sso_name_id {
        user = user.linked(name_id.link(app, admin)?);
    }
    if let Some(idp) = admin.principal().idp() {
        user = user.in_tenant_with_idp(app.names()?, &idp.entity_id);
    }
    if let Some(password) = &body.password {
        user.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    Ok(user)
}

/// Create a user
///
/// For an Administrator with a fresh step-up. The user enrols an authenticator at their first sign-in. If an invitation could
/// not be queued, the answer is `unavailable` although the user was created: send it with `POST …/invitation`.
#[utoipa::path(post, path = "/v1/admin/users", operation_id = "createUser", tag = "directory",
    security(("session" = [])), request_body = CreateRequest, responses(
    (status = 201, body = UserDto, description = "The new user.", example = json!({
        "id": "u-bob", "username": "bob", "display_name": "Bob Meyer", "role": "standard", "mfa": "none"})),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`: The user is to be invited, and the deployment sends no mails with links."),
    (status = 409, description = "`conflict`: Another user has the user name or the NameID, or a NameID was given and the \
        tenant has no identity provider."),
))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    call: ApiRequest<CreateRequest>,
) -> ApiResult<(StatusCode, Json<UserDto>)> {
    let user = create_user(&app, &call.request, &call.body).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Creates a user of the caller's tenant.
pub(crate) async fn create_user(app: &App, request: &Request, body: &CreateRequest) -> ApiResult<UserDto> {
    body.check_form()?;
    let admin = request.administrator(app).await?;
    body.check_in(admin.tenant())?;
    let user = create_checked(app, request, &admin, body).await?;
    Ok(UserDto::in_directory(&user.key, &user.user, &user.profile))
}
