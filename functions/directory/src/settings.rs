//! `/v1/admin/settings`: the settings of a tenant. No setting weakens MFA.

use std::sync::Arc;

use axum::{Json, extract::State};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Outcome},
    domain::{AccentColor, Change, Logo, SettingsChange},
    http::{ApiRequest, ApiResult, App, Code, Line, OrEmpty, Request, Routes, page::logo_path},
    id::TenantId,
    store::{
        ActorRevoked, OperationError,
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
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"issuer": "Acme", "reset_code_for": "everyone"}))]
pub(crate) struct SettingsRequest {
    /// The name that authenticator apps show next to the user name.
    pub(crate) issuer: Option<Line>,
    /// Which users get a reset code when their MFA is reset.
    pub(crate) reset_code_for: Option<ResetCodeForDto>,
    /// The colour of links and buttons on the pages of the tenant: `#rrggbb`, with a contrast of at least 4.5:1 to white (WCAG
    /// 2.2, 1.4.3). An empty text removes it. With a colour, all pages, also that of the sign-in, show `issuer` as the name of
    /// the service.
    #[schema(value_type = Option<String>, example = "#1d4fbf")]
    pub(crate) accent_color: Option<AccentDto>,
    /// The logo on the pages of the tenant: a PNG image in Base64, of at most 10 KiB and 1,024 by 1,024 pixels. An empty text
    /// removes it. As with a colour, all pages then show `issuer`.
    #[schema(value_type = Option<String>, example = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")]
    pub(crate) logo: Option<LogoDto>,
}

/// A new logo. An empty text removes the logo.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogoDto(pub(crate) Change<Logo>);

impl TryFrom<String> for LogoDto {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Ok(Self(Change::Remove));
        }
        let logo = BASE64.decode(text.as_bytes()).ok().and_then(Logo::parse);
        logo.map(|logo| Self(Change::Set(logo)))
            .ok_or("must be a PNG image in Base64, of at most 10 KiB and 1,024 by 1,024 pixels, or empty")
    }
}

/// A new colour. An empty text removes the colour.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AccentDto(pub(crate) Change<AccentColor>);

impl TryFrom<String> for AccentDto {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let color = if text.is_empty() { Ok(Change::Remove) } else { AccentColor::parse(&text).map(Change::Set) };
        color.map(Self).map_err(|_| "must be #rrggbb with a contrast of at least 4.5:1 to white, or empty")
    }
}

/// The settings of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsDto {
    /// The name that authenticator apps show next to the user name.
    #[schema(example = "Acme")]
    pub(crate) issuer: String,
    /// Which users get a reset code when their MFA is reset.
    pub(crate) reset_code_for: ResetCodeForDto,
    /// The colour of links and buttons on the pages of the tenant, if one is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "#1d4fbf")]
    pub(crate) accent_color: Option<String>,
    /// The path of the logo, if there is one. It changes with the logo.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/assets/logo-acme-2cf24dba5fb0a30e.svg")]
    pub(crate) logo_path: Option<String>,
}

impl SettingsDto {
    fn new(tenant: &TenantId, policy: TenantPolicy) -> Self {
        let reset_code_for = match policy.reset_code_for {
            ResetCodeFor::Administrators => ResetCodeForDto::Administrators,
            ResetCodeFor::Everyone => ResetCodeForDto::Everyone,
        };
        Self {
            issuer: policy.issuer,
            reset_code_for,
            accent_color: policy.accent.map(|accent| accent.to_string()),
            logo_path: policy.logo.map(|digest| logo_path(tenant, &digest)),
        }
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
    let tenant = caller.token().user().tenant();
    let policy = app.store.settings(tenant).await?;
    Ok(SettingsDto::new(tenant, policy.ok_or(Code::NotFound)?))
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
    let mut event = request.event(AuditAction::SettingsChanged, Outcome::Success).by(admin.key().user());
    event.changed.extend(body.issuer.as_ref().map(|_| "issuer".to_owned()));
    event.changed.extend(body.reset_code_for.map(|_| "reset_code_for".to_owned()));
    event.changed.extend(body.accent_color.as_ref().map(|_| "accent_color".to_owned()));
    event.changed.extend(body.logo.as_ref().map(|_| "logo".to_owned()));
    let change = SettingsChange {
        issuer: body.issuer.map(String::from),
        reset_code_for: body.reset_code_for.map(Into::into),
        accent: body.accent_color.map_or(Change::Keep, |AccentDto(accent)| accent),
        logo: body.logo.map_or(Change::Keep, |LogoDto(logo)| logo),
    };
    match app.store.change_settings(&admin, &change, &request.attempt(app)?, &event).await {
        Ok(policy) => Ok(SettingsDto::new(admin.tenant(), policy)),
        Err(OperationError::Rejected(ActorRevoked)) => Err(request.no_longer(app).await),
        Err(OperationError::Store(error)) => Err(error.into()),
    }
}
