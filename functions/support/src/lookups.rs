//! `GET /v1/support/tenants` and `GET /v1/support/tenants/{tenant}/users`: an operator looks up tenants and their users.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Limit, NoBody, Page, Request, Routes, cursor,
        dto::{KindDto, MfaDto, NameStart, RoleDto},
    },
    id::{TenantId, UserKey},
    secret::TokenClass,
    store::{
        AttemptEvent,
        item::{Profile, User},
        lists::{List, UserFilter},
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list_tenants)).routes(routes!(list_users))
}

/// The query of both lists. Each operation documents `q` itself; [`Page`] documents `limit` and `cursor`. `#[serde(flatten)]`
/// would allow unknown fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    pub(crate) q: Option<NameStart>,
    #[serde(default)]
    pub(crate) limit: Limit,
    pub(crate) cursor: Option<String>,
}

/// A page of tenants.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantList {
    /// The tenants.
    pub(crate) items: Vec<TenantDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page. A page can have fewer items
    /// than `limit` and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// A tenant, as operators see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantDto {
    /// The id of the tenant.
    #[schema(example = "acme")]
    pub(crate) id: String,
    /// The name of the company.
    #[schema(example = "Acme")]
    pub(crate) name: String,
}

/// A page of a tenant's users.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantUserList {
    /// The users.
    pub(crate) items: Vec<TenantUserDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page. A page can have fewer items
    /// than `limit` and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// A user of a tenant, with the fields that operators see.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"mfa": "active", "role": "administrator"}))]
pub(crate) struct TenantUserDto {
    /// The user's id. It is unique within the tenant.
    #[schema(example = "u-ann")]
    pub(crate) id: String,
    /// The user name, as it was entered.
    #[schema(example = "ann")]
    pub(crate) username: String,
    /// The display name.
    #[schema(example = "Ann Lee")]
    pub(crate) display_name: String,
    /// Whether the user is an employee or a contact.
    pub(crate) kind: KindDto,
    /// The user's role.
    pub(crate) role: RoleDto,
    /// The state of the user's authenticator.
    pub(crate) mfa: MfaDto,
    /// Whether the user may sign in.
    #[schema(example = true)]
    pub(crate) active: bool,
    /// Whether the user is a contact who is excluded from MFA.
    pub(crate) excluded: bool,
}

impl TenantUserDto {
    fn new(key: &UserKey, user: &User, profile: Profile) -> Self {
        Self {
            id: key.user().as_str().to_owned(),
            username: profile.username,
            display_name: profile.display_name,
            kind: user.kind.into(),
            role: user.role.into(),
            mfa: user.factor.state().into(),
            active: user.active,
            excluded: user.excluded.is_some(),
        }
    }
}

/// List the tenants
///
/// For an operator. The list is in the order of tenant ids. Each request is recorded in the audit of `support`.
#[utoipa::path(get, path = "/v1/support/tenants", operation_id = "listTenants", tag = "support",
    security(("session" = [])), params(("q" = inline(Option<NameStart>), Query, description = "Only tenants whose id or name begins \
    with this text. Upper and lower case are the same.", example = "ac"), Page), responses(
    (status = 200, body = TenantList, description = "A page of tenants."),
    (status = 403, description = "`forbidden`: Only an operator may do this."),
))]
async fn list_tenants(
    State(app): State<Arc<App>>,
    call: ApiRequest<NoBody, (), Search>,
) -> ApiResult<Json<TenantList>> {
    let ApiRequest { query, request, .. } = call;
    find_tenants(&app, &request, query).await.map(Json)
}

/// Lists the tenants, for an operator.
pub(crate) async fn find_tenants(app: &App, request: &Request, query: Search) -> ApiResult<TenantList> {
    let after = cursor(List::Tenants, query.cursor.as_deref())?;
    let principal = request.principal(app).await?;
    request.may_look_up(app, &principal).await?;
    let operator = principal.token().user();
    let event = request.event(AuditAction::TenantsListed, Outcome::Success).by(operator.user());
    app.store.record_or_fail(operator.tenant(), &request.attempt(app)?, AttemptEvent::Outcome, &event).await?;
    let start = query.q.map(String::from);
    let page = app.store.tenants(start.as_deref(), after.as_ref(), query.limit.get()).await?;
    let items = page.items.into_iter().map(|(id, policy)| TenantDto { id: String::from(id), name: policy.name });
    Ok(TenantList { items: items.collect(), next_cursor: page.next.map(|next| next.text(List::Tenants)) })
}

/// List the users of a tenant
///
/// For an operator. The list is in the order of user names. Each request is recorded in the audit of the tenant, with the
/// operator as its actor.
#[utoipa::path(get, path = "/v1/support/tenants/{tenant}/users", operation_id = "listTenantUsers", tag = "support",
    security(("session" = [])), params(("tenant" = String, Path, description = "The id of the tenant.", example = "acme"),
    ("q" = inline(Option<NameStart>), Query, description = "Only users whose user name or display name begins with this text. \
    Upper and lower case are the same.", example = "an"), Page), responses(
    (status = 200, body = TenantUserList, description = "A page of the tenant's users."),
    (status = 403, description = "`forbidden`: Only an operator may do this."),
    (status = 404, description = "`not_found`: The tenant does not exist."),
))]
async fn list_users(
    State(app): State<Arc<App>>,
    call: ApiRequest<NoBody, TenantId, Search>,
) -> ApiResult<Json<TenantUserList>> {
    let ApiRequest { path: tenant, query, request, .. } = call;
    find_users(&app, &request, &tenant, query).await.map(Json)
}

/// Lists the users of a tenant, for an operator.
pub(crate) async fn find_users(
    app: &App,
    request: &Request,
    tenant: &TenantId,
    query: Search,
) -> ApiResult<TenantUserList> {
    let after = cursor(List::Users, query.cursor.as_deref())?;
    let token = request.token(TokenClass::Session)?;
    let (principal, found) = app.store.load_tenant(token, tenant, request.now).await?;
    request.may_look_up(app, &principal).await?;
    found.ok_or(Code::NotFound)?;
    let operator = principal.token().user();
    let mut event = request.event(AuditAction::UsersListed, Outcome::Success).by(operator.user());
    event.actor_tenant = Some(operator.tenant().clone()).filter(|own| own != tenant);
    app.store.record_or_fail(tenant, &request.attempt(app)?, AttemptEvent::Outcome, &event).await?;
    let filter = UserFilter { start: query.q.map(String::from), ..UserFilter::default() };
    let page = app.store.list_users(tenant, &filter, after.as_ref(), query.limit.get()).await?;
    let items = page.items.into_iter().map(|(key, user, profile)| TenantUserDto::new(&key, &user, profile));
    let next_cursor = page.next.map(|next| next.text(List::Users));
    Ok(TenantUserList { items: items.collect(), next_cursor })
}
