//! `POST /v1/admin/users/{user_id}/mfa-reset`: an Administrator resets the MFA of a user of the tenant.

mod page;

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Code, Line, Problem, Request, Routes, dto::ResetDto},
    id::UserId,
    recovery::ResetCode,
    secret::TokenClass,
    store::{OperationError, reset::MfaResetRejection},
};

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(reset)).merge(page::routes())
}

/// The reason for the reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "Lost their phone"}))]
struct ResetRequest {
    /// The reason for the reset. It is kept in the audit.
    reason: Line,
}

/// Reset a user's MFA
///
/// For an Administrator with a fresh step-up. The user's authenticator, recovery token, sessions and other tokens become
/// void. At the next sign-in, before `enrol_by`, the user must enrol a new authenticator. A second reset before that changes
/// only the reset code, if there is one.
#[utoipa::path(post, path = "/v1/admin/users/{user_id}/mfa-reset", operation_id = "resetUserMfa", tag = "admin-reset",
    security(("session" = [])),
    params(("user_id" = String, Path, description = "The user's id.", example = "u-ann")),
    request_body = ResetRequest, responses(
    (status = 200, body = ResetDto, description = "The user's MFA is reset."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this, and not for themselves."),
    (status = 404, description = "`not_found`"),
    (status = 429, description = "`too_many_attempts`: An Administrator may reset 10 users an hour; a tenant, 50."),
))]
async fn reset(State(app): State<Arc<App>>, call: ApiRequest<ResetRequest, UserId>) -> ApiResult<Json<ResetDto>> {
    reset_user(&app, &call.request, call.path, &call.body).await.map(Json)
}

/// Resets a user of the caller's tenant.
async fn reset_user(app: &App, request: &Request, user: UserId, body: &ResetRequest) -> ApiResult<ResetDto> {
    let token = request.token(TokenClass::Session)?;
    let (principal, target) = app.store.load_reset(token, user.clone(), request.now).await?;
    let admin = request.may_administer(app, principal).await?;
    let code = ResetCode::generate(&*app.entropy)?;
    let event = request.event(AuditAction::MfaReset, Outcome::Success).by(admin.key().user()).about(&user);
    let event = event.because(&body.reason).notify(Notify::User);
    let digest = code.digest(&app.codes()?, target.key());
    let rejection = match app.store.reset_mfa(&admin, target, digest, &request.attempt(app)?, &event).await {
        Ok(done) => return Ok(ResetDto::new(&done, &code)),
        Err(OperationError::Store(error)) => return Err(error.into()),
        Err(OperationError::Rejected(rejection)) => rejection,
    };
    let problem = match rejection {
        MfaResetRejection::NotFound => return Err(Code::NotFound.into()),
        MfaResetRejection::ActorRevoked => return Err(request.no_longer(app).await),
        MfaResetRejection::OverBudget { retry_at } => Problem::too_many(request.now, retry_at),
        MfaResetRejection::SelfReset => Problem::new(Code::Forbidden).detail("you cannot reset your own MFA"),
    };
    Err(request.refused(app, &admin, event, problem).await)
}
