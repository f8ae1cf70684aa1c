//! `POST /v1/support/mfa-resets`: for a sole Administrator who is locked out.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Code, Line, Problem, Routes, dto::ResetDto},
    id::{LoginName, TenantId, UserKey},
    recovery::ResetCode,
    secret::TokenClass,
    store::{reset::ResetError, users::Actor},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(reset))
}

/// Whose MFA support resets, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ticket": "SUP-1042", "reason": "Lost their phone, identity checked by call-back"}))]
struct SupportResetRequest {
    /// The id of the user's tenant.
    #[schema(value_type = String, example = "acme")]
    tenant: TenantId,
    /// The user's name.
    #[schema(example = "ann")]
    username: String,
    /// The support ticket. It works for one reset, whatever the tenant.
    ticket: Line,
    /// Why. It is kept in the audit of the tenant and of support.
    reason: Line,
}

/// Reset the MFA of a locked-out Administrator
///
/// For an operator with a fresh step-up. It resets an Administrator only where no other active Administrator of the tenant
/// has an active authenticator.
#[utoipa::path(post, path = "/v1/support/mfa-resets", operation_id = "resetAdministratorMfa", tag = "support",
    security(("session" = [])), request_body = SupportResetRequest, responses(
    (status = 200, body = ResetDto, description = "The Administrator's MFA is reset."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only operators may, and not for themselves."),
    (status = 404, description = "`not_found`: There is no such tenant, or no such user in it."),
    (status = 409, description = "`not_sole_administrator`: `detail` says whether the user is no active Administrator, or another \
        active one has an active authenticator; `ticket_used`"),
))]
async fn reset(State(app): State<Arc<App>>, call: ApiRequest<SupportResetRequest>) -> ApiResult<Json<ResetDto>> {
    let ApiRequest { body, request, .. } = call;
    let names = app.names()?;
    let login = names.login(&body.tenant, &LoginName::fold(&body.username));
    let (token, ticket) = (request.token(TokenClass::Session)?, names.ticket(&body.ticket));
    let (principal, asked) = app.store.load_support_reset(token, login, ticket, request.now).await??;
    let operator = request.may_operate(&app, principal).await?;
    let code = ResetCode::generate(&*app.entropy)?;
    let mut here = request.event(Action::MfaReset, Outcome::Success).by(operator.key().user()).because(&body.reason);
    here.ticket = Some(body.ticket.to_string());
    let mut there = here.clone().notify(Notify::User).notify(Notify::Administrators);
    there.actor_tenant = Some(operator.tenant().clone());
    let codes = app.codes()?;
    let digest = |key: &UserKey| code.digest(&codes, key);
    let attempt = request.attempt(&app)?;
    let why: Problem = match app
        .store
        .reset_sole_administrator(&Actor::AdminContext(&operator), asked, &digest, &attempt, (&here, &there))
        .await
    {
        Ok(done) => return Ok(Json(ResetDto::new(&done, &code))),
        Err(ResetError::NotFound) => return Err(Code::NotFound.into()),
        Err(ResetError::ActorRevoked) => return Err(request.no_longer(&app).await),
        Err(ResetError::NotSole(why)) => Problem::new(Code::NotSoleAdministrator).detail(why.to_string()),
        Err(ResetError::TicketUsed) => Code::TicketUsed.into(),
        Err(ResetError::SelfReset) => Problem::new(Code::Forbidden).detail("nobody resets themselves"),
        Err(ResetError::Store(error)) => return Err(error.into()),
        Err(ResetError::OverBudget { retry_at }) => Problem::too_many(request.now, retry_at),
    };
    Err(request.refused(&app, &operator, here, why).await)
}
