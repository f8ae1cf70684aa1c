//! `POST /v1/password-resets/confirm`: set a new password with a token from a mail.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Problem, Request},
    password,
    secret::SecretText,
    store::item::Kind,
};

use super::MailedToken;

/// The token and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPasswordRequest {
    /// The token from the mail.
    pub(crate) token: MailedToken,
    /// The new password: at most 1,024 bytes, at least 8 bytes for an employee and 15 characters for a contact. Common
    /// passwords are refused.
    #[schema(value_type = String, example = "seven green lamps in the hall")]
    pub(crate) new_password: SecretText,
}

/// Set a new password with a token from a mail
///
/// The token is from a mail about a forgotten password, or from an invitation. It works once; a password that is refused does
/// not use it up. All sessions, challenges, device tokens and other mailed tokens of the user become void. The user is not
/// signed in, and the next sign-in asks for a code as before.
#[utoipa::path(post, path = "/v1/password-resets/confirm", operation_id = "confirmPasswordReset", tag = "password",
    request_body = NewPasswordRequest, responses(
    (status = 204, description = "The password is set."),
    (status = 401, description = "`invalid_token`: The token is unknown, used, expired or for another purpose, or the user may \
        not use it."),
))]
pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    call: ApiRequest<NewPasswordRequest>,
) -> ApiResult<StatusCode> {
    set_password(&app, &call.request, &call.body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the password, and uses up the token.
pub(crate) async fn set_password(app: &App, request: &Request, body: &NewPasswordRequest) -> ApiResult<()> {
    check_new_password(body, None)?;
    let token = body.token.parse(app, request)?;
    let user = app.store.load_mail_token(&token).await?;
    user.may_reset_password(&token, request.now)?;
    check_new_password(body, Some(user.kind))?;
    let hash = app.passwords.hash(&body.new_password, &*app.entropy).await?;
    let event =
        request.event(AuditAction::PasswordReset, Outcome::Success).about(token.user().user()).notify(Notify::User);
    app.store.reset_password(&token, user, &hash, &request.attempt(app)?, &event).await?;
    Ok(())
}

fn check_new_password(body: &NewPasswordRequest, kind: Option<Kind>) -> ApiResult<()> {
    password::acceptable(body.new_password.expose(), kind).map_err(|weak| Problem::weak("/new_password", weak))
}
