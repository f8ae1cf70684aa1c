//! `POST /v1/mfa/recovery-token`: issue a recovery token, which is shown once.

mod page;

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, Code, Request, Routes},
    recovery::RecoveryToken,
    store::session::Principal,
};

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(replace)).merge(page::routes())
}

/// A new recovery token.
#[derive(Serialize, ToSchema)]
struct RecoveryTokenAnswer {
    /// The token: 26 symbols of Crockford base32, in groups of five. No other response contains it.
    #[schema(example = "7Q2KX-M4DWN-0JH8T-VZ3RB-5CYFG-6")]
    recovery_token: String,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Issue a recovery token
///
/// If the authenticator is lost, the token replaces a code once. The previous token becomes void. The operation needs a
/// session with a fresh step-up or, for 10 minutes, a session that a recovery token opened.
#[utoipa::path(post, path = "/v1/mfa/recovery-token", operation_id = "createRecoveryToken", tag = "recovery",
    security(("session" = [])), responses(
    (status = 201, body = RecoveryTokenAnswer, description = "The new recovery token. It is shown only here."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`mfa_reset_required`"),
    (status = 409, description = "`conflict`: The caller has no active authenticator."),
))]
async fn replace(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<(StatusCode, Json<RecoveryTokenAnswer>)> {
    let principal = call.request.principal(&app).await?;
    issue(&app, &call.request, principal).await.map(|answer| (StatusCode::CREATED, Json(answer)))
}

/// Issues the token, and replaces the previous one.
async fn issue(app: &App, request: &Request, principal: Principal) -> ApiResult<RecoveryTokenAnswer> {
    // Before the step-up check: a user with a disabled factor cannot step up.
    if principal.user().is_factor_disabled() {
        return Err(Code::MfaResetRequired.into());
    }
    let caller = principal.fresh_or_recovering(request.now)?;
    let key = caller.principal().token().user();
    let token = RecoveryToken::generate(&*app.entropy)?;
    let digest = token.digest(&app.codes()?, key);
    let event = request.event(AuditAction::RecoveryIssued, Outcome::Success).own(key.user()).notify(Notify::User);
    app.store.replace_recovery_token(&caller, &digest, &request.attempt(app)?, &event).await?;
    let created_at = Timestamp::from_secs(request.now.secs());
    Ok(RecoveryTokenAnswer { recovery_token: token.display(), created_at })
}
