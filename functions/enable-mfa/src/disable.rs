//! `DELETE /v1/mfa`: always refused.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use vestibule::http::{ApiRequest, ApiResult, App, Code};

/// Refuse to disable MFA
///
/// MFA is mandatory: users cannot disable it. This operation exists so that clients get a clear answer. It always refuses.
#[utoipa::path(delete, path = "/v1/mfa", operation_id = "disableMfa", tag = "enable-mfa", security(("session" = [])),
    responses(
    (status = 403, description = "`mfa_mandatory`"),
))]
pub(crate) async fn disable(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    call.request.principal(&app).await?;
    Err(Code::MfaMandatory.into())
}
