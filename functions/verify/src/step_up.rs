//! `POST /v1/step-up`: check a code again within a session.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use vestibule::{
    audit::AuditAction,
    http::{ApiRequest, ApiResult, App, Code, Problem, Request, dto::SessionDto},
    recovery::EnteredCode,
    secret::TokenClass,
    sign_in::{SignedIn, VerificationToken},
};

use crate::check::{CodeRequest, charge, check_totp};

/// A stepped-up session.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepUpAnswer {
    /// The session with its new token.
    pub(crate) session: SessionDto,
}

/// Step up a session
///
/// Checks a code again within a session, as sensitive operations require. A step-up is fresh for 300 seconds. The session
/// gets a new token, and the old one is void. It takes 6 digits only; a recovery token is refused and not used up.
#[utoipa::path(post, path = "/v1/step-up", operation_id = "stepUp", tag = "verify", security(("session" = [])),
    request_body = CodeRequest, responses(
    (status = 200, body = StepUpAnswer, description = "The code is right. The session has a new token."),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`, `invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`mfa_reset_required`; `forbidden`: The user has no authenticator: an excluded contact."),
    (status = 429, description = "`too_many_attempts`: The user had 10 wrong codes in 15 minutes. The code was not checked."),
))]
pub(crate) async fn step_up(
    State(app): State<Arc<App>>,
    call: ApiRequest<CodeRequest>,
) -> ApiResult<Json<StepUpAnswer>> {
    step_up_session(&app, &call.request, &call.body).await.map(Json)
}

/// Checks the code, and replaces the token of the session.
pub(crate) async fn step_up_session(app: &App, request: &Request, body: &CodeRequest) -> ApiResult<StepUpAnswer> {
    let Ok(EnteredCode::Totp(code)) = EnteredCode::parse(body.code.expose()) else {
        return Err(Problem::malformed_code());
    };
    let token = VerificationToken::session(request.token(TokenClass::Session)?.clone()).ok_or(Code::InvalidToken)?;
    let pending = charge(app, request, token).await?;
    let SignedIn { token, session, device } = check_totp(app, request, pending, &code, AuditAction::StepUp).await?;
    Ok(StepUpAnswer { session: SessionDto::new(token, &session, device) })
}
