//! `/v1/admin/settings`: the settings of a tenant. No setting weakens MFA.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome},
    http::{ApiRequest, ApiResult, App, Code, Line, OrEmpty, Request, Routes},
    store::{
        item::{ResetCodeFor, TenantPolicy},
        session::Principal,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get, update))
}

/// Which users get a reset code when their MFA is reset: only Administrators (`administrators`), or every user (`everyone`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResetCodeForDto {
    Administrators,
    Everyone,
}

impl From<ResetCodeForDto> for ResetCodeFor {
    fn from(dto: ResetCodeForDto) -> Self {
        match dto {
            ResetCodeForDto::Administrators => Self::Administrators,
            ResetCodeForDto::Everyone => Self::Everyone,
        }
    }
}

/// The settings to change. Absent settings do not change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"issuer": "Acme", "reset_code_for": "everyone"}))]
pub(crate) struct SettingsRequest {
    /// The name that authenticator apps show next to the user name.
    pub(crate) issuer: Option<Line>,
    /// Which users get a reset code when their MFA is reset.
    pub(crate) reset_code_for: Option<ResetCodeForDto>,
}

/// The settings of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsDto {
    /// The name that authenticator apps show next to the user name.
    #[schema(example = "Acme")]
    pub(crate) issuer: String,
    /// Which users get a reset code when their MFA is reset.
    pub(crate) reset_code_for: ResetCodeForDto,
}

impl SettingsDto {
    fn new(policy: TenantPolicy) -> Self {
        let reset_code_for = match policy.reset_code_for {
            ResetCodeFor::Administrators => ResetCodeForDto::Administrators,
            ResetCodeFor::Everyone => ResetCodeForDto::Everyone,
        };
        Self { issuer: policy.issuer, reset_code_for }
    }
}

/// Get the settings of the tenant
///
/// For an Administrator.
#[utoipa::path(get, path = "/v1/admin/settings", operation_id = "getSettings", tag = "directory",
    security(("session" = [])), responses(
    (status = 200, body = SettingsDto, description = "The settings."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn get(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<SettingsDto>> {
    let caller = call.request.principal(&app).await?;
    read_settings(&app, &call.request, &caller).await.map(Json)
}

/// Reads the settings of the caller's tenant.
pub(crate) async fn read_settings(app: &App, request: &Request, caller: &Principal) -> ApiResult<SettingsDto> {
    request.may_read(app, caller).await?;
    let policy = app.store.settings(caller.token().user().tenant()).await?;
    Ok(SettingsDto::new(policy.ok_or(Code::NotFound)?))
}

/// Change the settings of the tenant
///
/// For an Administrator with a fresh step-up. Absent settings do not change. No setting weakens MFA.
#[utoipa::path(patch, path = "/v1/admin/settings", operation_id = "updateSettings", tag = "directory",
    security(("session" = [])), request_body = SettingsRequest, responses(
    (status = 200, body = SettingsDto, description = "The settings after the change.",
        example = json!({"reset_code_for": "everyone"})),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn update(
    State(app): State<Arc<App>>,
    call: ApiRequest<OrEmpty<SettingsRequest>>,
) -> ApiResult<Json<SettingsDto>> {
    let ApiRequest { body: OrEmpty(body), request, .. } = call;
    change_settings(&app, &request, body).await.map(Json)
}

/// Changes the settings of the caller's tenant.
pub(crate) async fn change_settings(app: &App, request: &Request, body: SettingsRequest) -> ApiResult<SettingsDto> {
    let admin = request.administrator(app).await?;
    let mut event = request.event(Action::SettingsChanged, Outcome::Success).by(admin.key().user());
    event.changed.extend(body.issuer.as_ref().map(|_| "issuer".to_owned()));
    event.changed.extend(body.reset_code_for.map(|_| "reset_code_for".to_owned()));
    let (issuer, reset_code_for) = (body.issuer.as_deref(), body.reset_code_for.map(Into::into));
    let attempt = request.attempt(app)?;
    let policy = app.store.change_settings(&admin, issuer, reset_code_for, &attempt, &event).await?;
    Ok(SettingsDto::new(policy.ok_or(Code::InvalidToken)?))
}
