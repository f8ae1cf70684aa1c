//! `POST /v1/support/tenants` and `POST /v1/support/clients`: create a tenant, or a client credential for one or all tenants.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Line, Problem, Routes,
        dto::{Email, NewClientDto, UserDto, Username},
    },
    id::{LoginName, TenantId, UserId},
    password,
    secret::{Nonce, SecretText},
    store::{
        OperationError, OperatorEvents,
        client::{ClientRejection, NewClient},
        item::{AuthType, Kind, Role},
        tenant::{NewTenant, TenantError, TenantRejection},
        users::{Actor, NewUser, NewUserDetails},
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(create_tenant)).routes(routes!(create_client))
}

/// A tenant to create, with its first Administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Acme"}))]
struct TenantRequest {
    /// The id of the tenant. Users type it to sign in, and it cannot be changed.
    #[schema(value_type = String, example = "acme")]
    id: TenantId,
    /// The name of the company.
    name: Line,
    /// The first Administrator.
    administrator: AdministratorRequest,
}

/// The first Administrator of a tenant: an employee who signs in with a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"username": "ann", "display_name": "Ann Lee", "email": "ann@acme.example"}))]
struct AdministratorRequest {
    /// The user name.
    username: Username,
    /// The password: 8 to 1,024 bytes. Common passwords are refused.
    #[schema(value_type = String, example = "correct horse battery staple")]
    password: SecretText,
    /// The display name.
    display_name: Line,
    /// Where notifications are mailed.
    email: Option<Email>,
}

/// A new tenant.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"administrator": {"mfa": "none"}}))]
struct TenantAnswer {
    /// The id of the tenant.
    #[schema(example = "acme")]
    id: String,
    /// The name of the company.
    #[schema(example = "Acme")]
    name: String,
    /// The first Administrator.
    administrator: UserDto,
}

/// Create a tenant
///
/// For an operator with a fresh step-up. The new tenant has one Administrator, who enrols an authenticator at the first
/// sign-in.
#[utoipa::path(post, path = "/v1/support/tenants", operation_id = "createTenant", tag = "support",
    security(("session" = [])), request_body = TenantRequest, responses(
    (status = 201, body = TenantAnswer, description = "The new tenant."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an operator may do this."),
    (status = 409, description = "`conflict`: A tenant with this id exists."),
))]
async fn create_tenant(
    State(app): State<Arc<App>>,
    call: ApiRequest<TenantRequest>,
) -> ApiResult<(StatusCode, Json<TenantAnswer>)> {
    let ApiRequest { body, request, .. } = call;
    let first = body.administrator;
    password::acceptable(first.password.expose(), Some(Kind::Employee))
        .map_err(|weak| Problem::weak("/administrator/password", weak))?;
    if body.id.is_support() {
        return Err(Problem::field("/id", "must not be support, the tenant of the operators"));
    }
    let operator = request.operator(&app).await?;
    let details = NewUserDetails {
        kind: Kind::Employee,
        role: Role::Administrator,
        auth_type: AuthType::Local,
        username: &first.username,
        display_name: &first.display_name,
        email: first.email.as_deref(),
    };
    let key = body.id.user(UserId::generate(&*app.entropy)?);
    let login = app.names()?.login(&body.id, &LoginName::fold(&first.username));
    let mut user = NewUser::new(key, login, &details, Nonce::generate(&*app.entropy)?, request.now);
    user.hash = Some(app.passwords.hash(&first.password, &*app.entropy).await?);
    let administrator = UserDto::new(&user.key, &user.user, &user.profile);
    let in_support = request.event(AuditAction::TenantCreated, Outcome::Success).by(operator.key().user());
    let mut in_tenant = in_support.clone().about(user.key.user());
    in_tenant.actor_tenant = Some(operator.tenant().clone());
    let tenant = NewTenant { id: body.id, name: body.name.to_string(), first: Some(user) };
    let (actor, attempt) = (Actor::AdminContext(&operator), request.attempt(&app)?);
    let events = OperatorEvents { in_support: &in_support, in_tenant: &in_tenant };
    match app.store.create_tenant(&actor, &tenant, &attempt, &events).await {
        Ok(()) => {}
        Err(TenantError::Rejected(TenantRejection::Taken)) => {
            let why = Problem::new(Code::Conflict).detail("a tenant with this id exists");
            return Err(request.refused(&app, &operator, in_support.clone(), why).await);
        }
        Err(TenantError::Rejected(TenantRejection::ActorRevoked)) => return Err(request.no_longer(&app).await),
        Err(TenantError::Store(error)) => return Err(error.into()),
    }
    let answer = TenantAnswer { id: String::from(tenant.id), name: tenant.name, administrator };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A client credential to create, for one tenant or for all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Customer portal"}))]
struct SupportClientRequest {
    /// The purpose of the credential, as users read it.
    name: Line,
    /// The id of the tenant whose tokens it may introspect. Default: the tokens of every tenant.
    #[schema(value_type = Option<String>, example = "acme")]
    tenant: Option<TenantId>,
}

/// Create a client credential for any tenant
///
/// For an operator with a fresh step-up. A portal uses the credential to introspect session tokens.
#[utoipa::path(post, path = "/v1/support/clients", operation_id = "createSupportClient", tag = "support",
    security(("session" = [])), request_body = SupportClientRequest, responses(
    (status = 201, body = NewClientDto, description = "The credential. Its secret is shown only here."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an operator may do this."),
    (status = 404, description = "`not_found`: The tenant does not exist."),
))]
async fn create_client(
    State(app): State<Arc<App>>,
    call: ApiRequest<SupportClientRequest>,
) -> ApiResult<(StatusCode, Json<NewClientDto>)> {
    let ApiRequest { body, request, .. } = call;
    let operator = request.operator(&app).await?;
    let tenant = body.tenant.as_ref().unwrap_or(operator.tenant());
    let new = NewClient::generate(tenant, &body.name, body.tenant.is_none(), request.now, &*app.entropy)?;
    let mut event = request.event(AuditAction::ClientCreated, Outcome::Success).by(operator.key().user());
    event.actor_tenant = body.tenant.as_ref().map(|_| operator.tenant().clone());
    event.client_id = Some(new.client.id.clone());
    match app.store.create_client(&operator, &new.client, &request.attempt(&app)?, &event).await {
        Ok(()) => Ok((StatusCode::CREATED, Json(NewClientDto::new(&new)))),
        Err(OperationError::Rejected(ClientRejection::ActorRevoked)) => Err(request.no_longer(&app).await),
        Err(error) => Err(Problem::of(error, |_| Code::NotFound.into())),
    }
}
