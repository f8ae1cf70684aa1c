//! `POST /v1/support/mfa-resets`: reset the MFA of a tenant's only Administrator, who is locked out.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Code, Line, Problem, Request, Routes, dto::ResetDto},
    id::{LoginName, TenantId, UserKey},
    recovery::ResetCode,
    secret::TokenClass,
    store::{
        OperationError, OperatorEvents,
        reset::{NotSoleAdministrator, SupportResetRejection},
        users::Actor,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(reset))
}

/// The user whose MFA support resets, and the reason.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ticket": "SUP-1042", "reason": "Lost their phone, identity checked by call-back"}))]
pub(crate) struct SupportResetRequest {
    /// The id of the user's tenant.
    #[schema(value_type = String, example = "acme")]
    pub(crate) tenant: TenantId,
    /// The user's name.
    #[schema(example = "ann")]
    pub(crate) username: String,
    /// The support ticket. It works for one reset, in any tenant.
    pub(crate) ticket: Line,
    /// The reason. It is kept in the audit of the tenant and of support.
    pub(crate) reason: Line,
}

/// Reset the MFA of a locked-out Administrator
///
/// For an operator with a fresh step-up. It resets an Administrator only if no other active Administrator of the tenant
/// has an active authenticator.
#[utoipa::path(post, path = "/v1/support/mfa-resets", operation_id = "resetAdministratorMfa", tag = "support",
    security(("session" = [])), request_body = SupportResetRequest, responses(
    (status = 200, body = ResetDto, description = "The Administrator's MFA is reset."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an operator may do this, and not for themselves."),
    (status = 404, description = "`not_found`: The tenant does not exist, or it has no such user."),
    (status = 409, description = "`not_sole_administrator`: `detail` says whether the user is not an active Administrator, or another \
        active Administrator has an active authenticator; `ticket_used`"),
))]
async fn reset(State(app): State<Arc<App>>, call: ApiRequest<SupportResetRequest>) -> ApiResult<Json<ResetDto>> {
    let ApiRequest { body, request, .. } = call;
    reset_administrator(&app, &request, body).await.map(Json).map_err(|refusal| refusal.problem)
}

/// Why nobody was reset.
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    /// The cause of `not_sole_administrator`.
    pub(crate) not_sole: Option<NotSoleAdministrator>,
}

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), not_sole: None }
    }
}

/// Resets the MFA of a tenant's only Administrator, for an operator.
pub(crate) async fn reset_administrator(
    app: &App,
    request: &Request,
    body: SupportResetRequest,
) -> Result<ResetDto, Refusal> {
    let names = app.names()?;
    let login = names.login(&body.tenant, &LoginName::fold(&body.username));
    let (token, ticket) = (request.token(TokenClass::Session)?, names.ticket(&body.ticket));
    let (principal, target) = app.store.load_support_reset(token, login, ticket, request.now).await?;
    let operator = request.may_operate(app, principal).await?;
    let code = ResetCode::generate(&*app.entropy)?;
    let mut in_support =
        request.event(AuditAction::MfaReset, Outcome::Success).by(operator.key().user()).because(&body.reason);
    in_support.ticket = Some(body.ticket.to_string());
    let mut in_tenant = in_support.clone().notify(Notify::User).notify(Notify::Administrators);
    in_tenant.actor_tenant = Some(operator.tenant().clone());
    let codes = app.codes()?;
    let digest = |key: &UserKey| code.digest(&codes, key);
    let (actor, attempt) = (Actor::AdminContext(&operator), request.attempt(app)?);
    let events = OperatorEvents { in_support: &in_support, in_tenant: &in_tenant };
    let rejection = match app.store.reset_sole_administrator(&actor, target, &digest, &attempt, &events).await {
        Ok(done) => return Ok(ResetDto::new(&done, &code)),
        Err(OperationError::Store(error)) => return Err(error.into()),
        Err(OperationError::Rejected(rejection)) => rejection,
    };
    let refusal: Refusal = match rejection {
        SupportResetRejection::NotFound => return Err(Code::NotFound.into()),
        SupportResetRejection::ActorRevoked => return Err(request.no_longer(app).await.into()),
        SupportResetRejection::NotSoleAdministrator(why) => {
            let problem = Problem::new(Code::NotSoleAdministrator).detail(why.to_string());
            Refusal { problem, not_sole: Some(why) }
        }
        SupportResetRejection::TicketUsed => Code::TicketUsed.into(),
        SupportResetRejection::SelfReset => {
            Problem::new(Code::Forbidden).detail("you cannot reset your own MFA").into()
        }
    };
    let problem = request.refused(app, &operator, in_support, refusal.problem).await;
    Err(Refusal { problem, ..refusal })
}
