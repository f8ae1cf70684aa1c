//! `/v1/admin/settings`: a tenant's settings. None of them weakens MFA.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome},
    http::{Answer, App, Call, Code, Line, OrEmpty, Routes},
    store::item::{ResetCodeFor, TenantPolicy},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(read, change))
}

/// For whom a reset hands out a reset code.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResetCodeForDto {
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SettingsRequest {
    /// What authenticator apps show.
    issuer: Option<Line>,
    reset_code_for: Option<ResetCodeForDto>,
}

#[derive(Serialize, ToSchema)]
struct SettingsDto {
    issuer: String,
    reset_code_for: ResetCodeForDto,
}

fn shown(policy: TenantPolicy) -> Json<SettingsDto> {
    let reset_code_for = match policy.reset_code_for {
        ResetCodeFor::Administrators => ResetCodeForDto::Administrators,
        ResetCodeFor::Everyone => ResetCodeForDto::Everyone,
    };
    Json(SettingsDto { issuer: policy.issuer, reset_code_for })
}

/// The settings.
#[utoipa::path(get, path = "/v1/admin/settings", tag = "directory", security(("session" = [])), responses(
    (status = 200, body = SettingsDto),
    (status = 403, description = "`forbidden`"),
))]
async fn read(State(app): State<Arc<App>>, call: Call) -> Answer<Json<SettingsDto>> {
    let reader = call.request.administrator_reading(&app).await?;
    let policy = app.store.settings(reader.token().user().tenant()).await?;
    Ok(shown(policy.ok_or(Code::NotFound)?))
}

/// Changes settings.
#[utoipa::path(patch, path = "/v1/admin/settings", tag = "directory", security(("session" = [])),
    request_body = SettingsRequest, responses(
    (status = 200, body = SettingsDto),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
))]
async fn change(State(app): State<Arc<App>>, call: Call<OrEmpty<SettingsRequest>>) -> Answer<Json<SettingsDto>> {
    let Call { body: OrEmpty(body), request, .. } = call;
    let authority = request.administrator(&app).await?;
    let mut event = request.event(Action::SettingsChanged, Outcome::Success).by(authority.key().user());
    event.changed.extend(body.issuer.as_ref().map(|_| "issuer".to_owned()));
    event.changed.extend(body.reset_code_for.map(|_| "reset_code_for".to_owned()));
    let (issuer, whom) = (body.issuer.as_deref(), body.reset_code_for.map(Into::into));
    let attempt = request.attempt(&app)?;
    let policy = app.store.change_settings(&authority, issuer, whom, &attempt, &event).await?;
    Ok(shown(policy.ok_or(Code::InvalidToken)?))
}
