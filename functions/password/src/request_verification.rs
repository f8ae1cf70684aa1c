//! `POST /v1/email-verifications`: ask for a mail to verify the caller's own address.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use vestibule::{
    http::{ApiRequest, ApiResult, App, Code, Problem, Request},
    mail_order::OrderedMail,
};

use super::{Accepted, charge_network};

/// Ask for a mail to verify your e-mail address
///
/// Needs a session. The mail has a link with a token that verifies the address and does nothing else. The limits are those of
/// `POST /v1/password-resets`.
#[utoipa::path(post, path = "/v1/email-verifications", operation_id = "requestEmailVerification", tag = "password",
    security(("session" = [])), responses(
    (status = 202, body = Accepted, description = "The request was accepted."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 404, description = "`not_found`: The deployment sends no mails with links."),
    (status = 409, description = "`conflict`: You have no e-mail address, or it is verified."),
    (status = 429, description = "`too_many_attempts`: There were more than 20 requests in an hour from one network."),
))]
pub(crate) async fn request(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<(StatusCode, Json<Accepted>)> {
    ask_for_verification(&app, &call.request).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted {})))
}

/// Queues the mail.
pub(crate) async fn ask_for_verification(app: &App, request: &Request) -> ApiResult<()> {
    let (caller, profile) = request.named_principal(app).await?;
    if profile.email.is_none() || caller.user().email_verified {
        let detail =
            if profile.email.is_none() { "you have no e-mail address" } else { "your e-mail address is verified" };
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    app.mail_queue()?;
    charge_network(app, request).await?;
    request.order_mail(app, OrderedMail::verification(caller.token().user(), request.network())).await
}
