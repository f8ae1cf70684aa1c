//! `POST /v1/mfa/enrolments/confirm`: confirm an enrolment.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Problem, Request,
        dto::{SessionDto, UserDto},
    },
    recovery::EnteredCode,
    secret::SecretText,
    store::{
        AttemptEvent,
        enrolment::{ConfirmedEnrolment, EnrolmentCommitError},
        item::FactorState,
    },
    totp,
};

use crate::enrolment_token;

/// The first code of the new authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmRequest {
    /// The 6 digits that the new authenticator shows. Spaces and hyphens are ignored.
    #[schema(value_type = String, example = "492039")]
    pub(crate) code: SecretText,
}

/// A finished enrolment.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum ConfirmAnswer {
    /// The authenticator is active, and the user is signed in with it.
    MfaEnabled {
        /// The new session. It counts as stepped up.
        session: SessionDto,
        /// The user of the authenticator.
        user: UserDto,
    },
}

/// Confirm an enrolment
///
/// Takes a current code of the new authenticator, which becomes active. The user is signed in. All other sessions,
/// challenges and recovery tokens of the user become void, and a reset code is used up. Five wrong codes end the pending
/// enrolment. Use the token that the enrolment was started with.
#[utoipa::path(post, path = "/v1/mfa/enrolments/confirm", operation_id = "confirmEnrolment", tag = "enable-mfa",
    security(("enrolment" = []), ("session" = [])), request_body = ConfirmRequest, responses(
    (status = 200, body = ConfirmAnswer, description = "The authenticator is active, and the user is signed in."),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`; `invalid_token`: Also if another token has replaced the enrolment; \
        `session_refresh_required`"),
    (status = 403, description = "`mfa_reset_required`; `reset_code_required`: The reset code that the enrolment was \
        started with has become void."),
    (status = 409, description = "`conflict`: No enrolment is pending: none was started, it has expired, or five wrong \
        codes have ended it."),
))]
pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    call: ApiRequest<ConfirmRequest>,
) -> ApiResult<Json<ConfirmAnswer>> {
    confirm_enrolment(&app, &call.request, &call.body).await.map(Json)
}

/// Checks the first code, and activates the authenticator.
pub(crate) async fn confirm_enrolment(app: &App, request: &Request, body: &ConfirmRequest) -> ApiResult<ConfirmAnswer> {
    let Ok(EnteredCode::Totp(code)) = EnteredCode::parse(body.code.expose()) else {
        return Err(Problem::malformed_code());
    };
    let (token, attempt) = (enrolment_token(request)?, request.attempt(app)?);
    let key = token.key().clone();
    let (charge, profile) = join!(app.store.charge_confirmation(token, attempt), app.store.read_profile(&key));
    let charged = charge?;
    // The profile is read before the code is spent, so that a failed read costs no code.
    let profile = profile?;
    let user = charged.user().clone();
    let secret = app.sealer()?.open(charged.factor(), charged.secret()).await?;
    // A new factor has not accepted any time step yet.
    let proof = totp::check(&secret, &code, request.now, None);
    let confirmed = proof.map(|proof| ConfirmedEnrolment::new(charged, proof, &*app.entropy)).transpose()?;
    let mut event = request.event(AuditAction::FactorActivated, Outcome::Success).own(key.user()).notify(Notify::User);
    event.user_agent.clone_from(&request.user_agent);
    let accepted = match confirmed {
        Some(confirmed) => match app.store.confirm_enrolment(confirmed, &event).await {
            Err(EnrolmentCommitError::Rejected(_)) => None, // another request used the code, or the user changed
            accepted => Some(accepted?),
        },
        None => None,
    };
    let Some(signed_in) = accepted else {
        let event = request.event(AuditAction::Enrolment, Outcome::Refused).own(key.user());
        app.store.record(key.tenant(), &attempt, AttemptEvent::WrongCode, &event).await;
        return Err(Code::InvalidCode.into());
    };
    Ok(ConfirmAnswer::MfaEnabled {
        session: SessionDto::new(signed_in.token, &signed_in.session, signed_in.device),
        user: UserDto { mfa: FactorState::Active.into(), ..UserDto::new(&key, &user, &profile) },
    })
}
