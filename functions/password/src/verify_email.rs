//! `POST /v1/email-verifications/confirm`: verify an address with a token from a mail.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Outcome},
    http::{ApiRequest, ApiResult, App, Request},
};

use super::MailedToken;

/// The token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    /// The token from the mail.
    token: MailedToken,
}

/// Verify an e-mail address with a token from a mail
///
/// The token works once. It needs no session, and it does nothing else.
#[utoipa::path(post, path = "/v1/email-verifications/confirm", operation_id = "confirmEmailVerification", tag = "password",
    request_body = VerifyRequest, responses(
    (status = 204, description = "The address is verified."),
    (status = 401, description = "`invalid_token`: The token is unknown, used, expired or for another purpose, or the user is \
        inactive."),
))]
pub(crate) async fn verify(State(app): State<Arc<App>>, call: ApiRequest<VerifyRequest>) -> ApiResult<StatusCode> {
    verify_address(&app, &call.request, &call.body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Verifies the address, and uses up the token.
pub(crate) async fn verify_address(app: &App, request: &Request, token: &MailedToken) -> ApiResult<()> {
    let token = token.parse(app, request)?;
    let user = app.store.load_mail_token(&token).await?;
    let event = request.event(AuditAction::EmailVerified, Outcome::Success).about(token.user().user());
    app.store.verify_email(&token, user, &request.attempt(app)?, &event).await?;
    Ok(())
}
