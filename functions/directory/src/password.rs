//! `POST /v1/password`: the caller changes their own password.

mod page;

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Code, PASSWORD_TOO_LONG, Problem, Request, Routes, dto::SessionDto},
    id::UserKey,
    password,
    secret::SecretText,
    sign_in::{Attempt, OwnPasswordAttempt},
    store::{
        AttemptEvent,
        item::{Amr, Kind},
        session::Principal,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(change)).merge(page::routes())
}

/// The current password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordRequest {
    /// The current password.
    #[schema(value_type = String, example = "correct horse battery staple")]
    current_password: SecretText,
    /// The new password: at most 1,024 bytes, at least 8 bytes for an employee and 15 characters for a contact. Common
    /// passwords are refused.
    #[schema(value_type = String, example = "seven green lamps in the hall")]
    new_password: SecretText,
}

/// The session after a change of password.
#[derive(Serialize, ToSchema)]
struct PasswordAnswer {
    /// The session with its new token.
    session: SessionDto,
}

/// Change your own password
///
/// Needs a session with a fresh step-up; an excluded contact needs no step-up. The caller's device tokens and all other
/// sessions of the caller become void. A wrong current password counts in this session only, not at the sign-in. The fifth
/// wrong password ends the session.
#[utoipa::path(post, path = "/v1/password", operation_id = "changePassword", tag = "directory",
    security(("session" = [])), request_body = PasswordRequest, responses(
    (status = 200, body = PasswordAnswer, description = "The password is changed. The session has a new token."),
    (status = 401, description = "`invalid_credentials`: The current password is wrong. The fifth wrong password ends the session; \
        `invalid_token`, `session_refresh_required`, `step_up_required`"),
))]
async fn change(State(app): State<Arc<App>>, call: ApiRequest<PasswordRequest>) -> ApiResult<Json<PasswordAnswer>> {
    let ApiRequest { body, request, .. } = call;
    let session = change_password(&app, &request, &body).await?;
    Ok(Json(PasswordAnswer { session }))
}

/// Changes the caller's password, and returns the session with its new token.
async fn change_password(app: &App, request: &Request, body: &PasswordRequest) -> ApiResult<SessionDto> {
    check_new_password(body, None)?;
    if body.current_password.expose().len() > password::MAX_BYTES {
        return Err(Problem::field("/current_password", PASSWORD_TOO_LONG));
    }
    let caller = request.principal(app).await?;
    if needs_step_up(&caller) && !caller.session().is_fresh(request.now) {
        return Err(Code::StepUpRequired.into());
    }
    check_new_password(body, Some(caller.user().kind))?;
    let (key, attempt) = (caller.token().user().clone(), request.attempt(app)?);
    let place = app.passwords.place()?;
    let password_attempt = app.store.charge_own_password(&caller, &attempt).await?;
    let proof = app.passwords.verify(place, &body.current_password, password_attempt.hash().as_ref()).await?;
    let verified = match password_attempt.checked(proof) {
        Ok(verified) => verified,
        Err(refused) => return Err(wrong_password(app, request, &key, &refused, &attempt).await),
    };
    let hash = app.passwords.hash(&body.new_password, &*app.entropy).await?;
    let mut event = request.event(AuditAction::PasswordChanged, Outcome::Success).own(key.user()).notify(Notify::User);
    event.user_agent.clone_from(&request.user_agent);
    let signed_in = app.store.change_password(verified, &hash, &*app.entropy, &event).await?;
    Ok(SessionDto::new(signed_in.token, &signed_in.session, signed_in.device))
}

/// An excluded contact has no factor to step up with.
fn needs_step_up(caller: &Principal) -> bool {
    caller.session().amr != Amr::Password
}

fn check_new_password(body: &PasswordRequest, kind: Option<Kind>) -> ApiResult<()> {
    password::acceptable(body.new_password.expose(), kind).map_err(|weak| Problem::weak("/new_password", weak))
}

/// Records a wrong current password. The user gets a mail if it ended the session.
async fn wrong_password(
    app: &App,
    request: &Request,
    key: &UserKey,
    refused: &OwnPasswordAttempt,
    attempt: &Attempt,
) -> Problem {
    let mut event = request.event(AuditAction::PasswordChanged, Outcome::Refused).own(key.user());
    app.store.record(key.tenant(), attempt, AttemptEvent::Outcome, &event).await;
    if refused.exhausts_session() {
        event.action = AuditAction::PasswordAttacked;
        app.store.record(key.tenant(), attempt, AttemptEvent::Limit, &event.notify(Notify::User)).await;
    }
    Code::InvalidCredentials.into()
}
