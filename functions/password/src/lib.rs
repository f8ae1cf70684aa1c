//! Forgotten passwords, invitations that are accepted, and verified e-mail addresses. The worker `password-mail` sends the
//! mails: a request only queues one, so its response shows nothing about a user.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    http::{ApiResult, App, Code, Problem, Request, Routes},
    secret::{SecretText, TokenRef},
    store::login::Exhausted,
};

mod confirm_reset;
mod page;
mod request_reset;
mod request_verification;
mod verify_email;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new()
        .routes(routes!(request_reset::request))
        .routes(routes!(confirm_reset::confirm))
        .routes(routes!(request_verification::request))
        .routes(routes!(verify_email::verify))
        .merge(page::routes())
}

/// The request was accepted. The answer says nothing more.
#[derive(Serialize, ToSchema)]
struct Accepted {}

/// A token from a mail.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "vp_Wq3fY8tLw0Kz6RjXc1NbVg")]
pub(crate) struct MailedToken(pub(crate) SecretText);

impl MailedToken {
    /// Parses the token. Its tenant is noted for the log.
    fn parse(&self, app: &App, request: &Request) -> ApiResult<TokenRef> {
        let token = TokenRef::parse(self.0.expose(), app.store.restore_epoch()).ok_or(Code::InvalidToken)?;
        request.set_tenant(token.user().tenant());
        Ok(token)
    }
}

/// Counts a request for a mail at the caller's network.
async fn charge_network(app: &App, request: &Request) -> ApiResult<()> {
    let charged = app.store.charge_mail_request(&request.network(), &request.attempt(app)?).await;
    charged.map_err(|error| Problem::of(error, |Exhausted { retry_at }| Problem::too_many(request.now, retry_at)))
}
