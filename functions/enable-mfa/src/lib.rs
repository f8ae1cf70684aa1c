//! `/v1/mfa`: enrol an authenticator app, and read the state of the caller's MFA. No operation here removes MFA.

mod confirm;
mod disable;
mod page;
mod start;
mod status;

use utoipa_axum::routes;
use vestibule::{
    http::{ApiResult, Code, Request, Routes},
    secret::TokenClass,
    store::enrolment::EnrolmentToken,
};

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new()
        .routes(routes!(start::start))
        .routes(routes!(confirm::confirm))
        .routes(routes!(status::status, disable::disable))
        .merge(page::routes())
}

/// The token that authorizes an enrolment: an enrolment token or a session token.
fn enrolment_token(request: &Request) -> ApiResult<EnrolmentToken> {
    let token = request.token(TokenClass::Enrolment).or_else(|_| request.token(TokenClass::Session))?;
    EnrolmentToken::new(token.clone()).ok_or_else(|| Code::InvalidToken.into())
}
