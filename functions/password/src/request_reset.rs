//! `POST /v1/password-resets`: ask for a mail with a link to set a new password.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    http::{ApiRequest, ApiResult, App, Request},
    id::{LoginName, TenantId},
    mail_order::OrderedMail,
};

use super::{Accepted, charge_network};

/// Who forgot the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetRequest {
    /// The id of the user's tenant.
    #[schema(value_type = String, example = "acme")]
    pub(crate) tenant: TenantId,
    /// The user name.
    #[schema(example = "ann")]
    pub(crate) username: String,
}

/// Ask for a mail to set a new password
///
/// If the user exists, is active, signs in with a password and has a verified e-mail address, they get a mail with a link. The
/// answer is the same for every user name, whether a mail is sent or not. A user name gets at most 3 mails an hour from one
/// client network, and 30 a day. `Accept-Language` chooses the language of the mail: English or German.
#[utoipa::path(post, path = "/v1/password-resets", operation_id = "requestPasswordReset", tag = "password",
    request_body = PasswordResetRequest, responses(
    (status = 202, body = Accepted, description = "The request was accepted, whether or not there is such a user."),
    (status = 404, description = "`not_found`: The deployment sends no mails with links."),
    (status = 429, description = "`too_many_attempts`: There were more than 20 requests in an hour from one network."),
))]
pub(crate) async fn request(
    State(app): State<Arc<App>>,
    call: ApiRequest<PasswordResetRequest>,
) -> ApiResult<(StatusCode, Json<Accepted>)> {
    ask_for_reset(&app, &call.request, &call.body).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted {})))
}

/// Queues the mail. Nothing shows whether there is such a user.
pub(crate) async fn ask_for_reset(app: &App, request: &Request, body: &PasswordResetRequest) -> ApiResult<()> {
    request.set_tenant(&body.tenant);
    let login = app.names()?.login(&body.tenant, &LoginName::fold(&body.username));
    app.mail_queue()?;
    charge_network(app, request).await?;
    request.order_mail(app, OrderedMail::reset(&login, request.network())).await?;
    Ok(())
}
