//! `GET /v1/mfa`: the state of the caller's MFA.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use vestibule::{
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, dto::MfaDto},
};

/// The state of the caller's MFA.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "active", "method": "totp"}))]
pub(crate) struct StatusAnswer {
    /// The state of the authenticator.
    status: MfaDto,
    /// The kind of authenticator. Present if an authenticator is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<FactorDto>,
    /// When the authenticator was enrolled. Present if an authenticator is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-15T09:30:00Z")]
    enrolled_at: Option<Timestamp>,
    /// The caller's recovery token.
    recovery_token: RecoveryTokenStatus,
}

/// The kind of an authenticator: an app that shows time-based codes (`totp`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FactorDto {
    Totp,
}

/// Whether the caller has a recovery token. The token itself was shown only once.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryTokenStatus {
    /// Whether the caller has an unused recovery token.
    #[schema(example = true)]
    exists: bool,
    /// When it was issued. Present if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-15T09:30:00Z")]
    created_at: Option<Timestamp>,
}

/// Get the state of your own MFA
///
/// Returns whether the caller has an authenticator and a recovery token, and since when.
#[utoipa::path(get, path = "/v1/mfa", operation_id = "getMfa", tag = "enable-mfa", security(("session" = [])), responses(
    (status = 200, body = StatusAnswer, description = "The state of the caller's MFA."),
))]
pub(crate) async fn status(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<StatusAnswer>> {
    let principal = call.request.principal(&app).await?;
    let user = principal.user();
    let authenticator = user.factor.active();
    let recovery_token = user.factor.recovery_token();
    Ok(Json(StatusAnswer {
        status: user.factor.state().into(),
        method: authenticator.map(|_| FactorDto::Totp),
        enrolled_at: authenticator.map(|it| it.enrolled_at),
        recovery_token: RecoveryTokenStatus {
            exists: recovery_token.is_some(),
            created_at: recovery_token.map(|token| token.issued_at),
        },
    }))
}
