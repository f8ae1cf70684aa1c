//! `POST /v1/admin/users`: create a user.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{Action, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Line, Problem, Request,
        dto::{AuthTypeDto, Email, KindDto, RoleDto, UserDto, Username},
    },
    id::{LoginName, UserId},
    secret::{Nonce, SecretText},
    store::users::{
        Actor, CreationError, CreationRejection as Rejection, NewUser, NewUserDetails, fits, fits_somewhere,
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
    /// Where notifications are mailed.
    pub(crate) email: Option<Email>,
    /// The password: at most 1,024 bytes, at least 8 bytes for an employee and 15 characters for a contact. Common
    /// passwords are refused.
    #[schema(value_type = Option<String>, example = "correct horse battery staple")]
    pub(crate) password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user, if it is not the user name.
    pub(crate) sso_name_id: Option<NameId>,
}

/// Create a user
///
/// For an Administrator with a fresh step-up. The user enrols an authenticator at their first sign-in.
#[utoipa::path(post, path = "/v1/admin/users", operation_id = "createUser", tag = "directory",
    security(("session" = [])), request_body = CreateRequest, responses(
    (status = 201, body = UserDto, description = "The new user.", example = json!({
        "id": "u-bob", "username": "bob", "display_name": "Bob Meyer", "role": "standard", "mfa": "none"})),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 409, description = "`conflict`: Another user has the user name or the NameID, or a NameID was given and the \
        tenant has no identity provider."),
))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    call: ApiRequest<CreateRequest>,
) -> ApiResult<(StatusCode, Json<UserDto>)> {
    let user = create_user(&app, &call.request, call.body).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Creates a user of the caller's tenant.
pub(crate) async fn create_user(app: &App, request: &Request, body: CreateRequest) -> ApiResult<UserDto> {
    body.password.as_ref().map(|password| check_password(password, body.kind == KindDto::Contact)).transpose()?;
    // The form is checked before the caller. The tenant, and so its own rule, is known only after that.
    if !fits_somewhere(body.kind.into(), body.role.into()) {
        return Err(invalid_combination());
    }
    let admin = request.administrator(app).await?;
    let tenant = admin.tenant();
    if !fits(tenant, body.kind.into(), body.role.into()) {
        return Err(invalid_combination());
    }
    let id = UserId::generate(&*app.entropy)?;
    let login = app.names()?.login(tenant, &LoginName::fold(&body.username));
    let details = NewUserDetails {
        kind: body.kind.into(),
        role: body.role.into(),
        auth_type: body.auth_type.into(),
        username: &body.username,
        display_name: &body.display_name,
        email: body.email.as_deref(),
    };
    let mut user = NewUser::new(tenant.user(id), login, &details, Nonce::generate(&*app.entropy)?, request.now);
    if let Some(name_id) = body.sso_name_id {
        user = user.linked(name_id.link(app, &admin)?);
    }
    if let Some(idp) = admin.principal().idp() {
        user = user.in_tenant_with_idp(app.names()?, &idp.entity_id);
    }
    if let Some(password) = &body.password {
        user.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    let event = request.event(Action::UserCreated, Outcome::Success);
    let event = event.by(admin.key().user()).about(user.key.user());
    let created = app.store.create_user(&Actor::AdminContext(&admin), &user, &request.attempt(app)?, &event).await;
    let why = match created {
        Ok(()) => return Ok(UserDto::new(&user.key, &user.user, &user.profile)),
        Err(CreationError::Rejected(why)) => why,
        Err(CreationError::Store(error)) => return Err(error.into()),
    };
    Err(match why {
        Rejection::NameTaken => Problem::new(Code::Conflict).detail("another user has this username"),
        Rejection::SubjectTaken => name_id_taken(),
        Rejection::Ambiguous => name_id_is_a_username(),
        Rejection::IdTaken | Rejection::NoTenant | Rejection::NotFirst => Code::Unavailable.into(),
        Rejection::ActorRevoked => request.no_longer(app).await,
    })
}
