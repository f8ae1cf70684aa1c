//! `POST /v1/password`: one's own password.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Notify, Outcome},
    http::{ApiRequest, ApiResult, App, Code, PASSWORD_TOO_LONG, Problem, Request, Routes, dto::SessionDto},
    id::UserKey,
    password,
    secret::SecretText,
    sign_in::{Attempt, OwnPasswordAttempt},
    store::{
        item::{Amr, Kind},
        users::PasswordChanged,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(change))
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
/// Takes a session with a fresh step-up; an excluded contact needs none. The caller's device tokens and all their other
/// sessions are void. A wrong current password is counted in this session alone: failures at sign-in do not matter, and the
/// fifth wrong one ends the session.
#[utoipa::path(post, path = "/v1/password", operation_id = "changePassword", tag = "directory",
    security(("session" = [])), request_body = PasswordRequest, responses(
    (status = 200, body = PasswordAnswer, description = "The password is changed. The session has a new token."),
    (status = 401, description = "`invalid_credentials`: The current password is wrong. The fifth time the session ends; \
        `invalid_token`, \
        `session_refresh_required`, `step_up_required`"),
))]
async fn change(State(app): State<Arc<App>>, call: ApiRequest<PasswordRequest>) -> ApiResult<Json<PasswordAnswer>> {
    let ApiRequest { body, request, .. } = call;
    acceptable(&body, false)?;
    if body.current_password.expose().len() > password::MAX_BYTES {
        return Err(Problem::field("/current_password", PASSWORD_TOO_LONG));
    }
    let caller = request.principal(&app).await?;
    // An excluded contact has no factor to step up with.
    if caller.session().amr != Amr::Password && !caller.session().fresh(request.now) {
        return Err(Code::StepUpRequired.into());
    }
    acceptable(&body, caller.user().kind == Kind::Contact)?;
    let (key, attempt) = (caller.token().user().clone(), request.attempt(&app)?);
    let place = app.passwords.place()?;
    let tried = app.store.charge_own_password(&caller, &attempt).await??;
    let proof = app.passwords.verify(place, &body.current_password, tried.hash().as_ref()).await?;
    let right = match tried.checked(proof) {
        Ok(right) => right,
        Err(tried) => return Err(wrong(&app, &request, &key, &tried, &attempt).await),
    };
    let hash = app.passwords.hash(&body.new_password, &*app.entropy).await?;
    let mut event = request.event(Action::PasswordChanged, Outcome::Success).own(key.user()).notify(Notify::User);
    event.user_agent.clone_from(&request.user_agent);
    match app.store.change_password(right, &hash, &*app.entropy, &event).await? {
        PasswordChanged::Done(signed_in) => {
            let session = SessionDto::new(signed_in.token, &signed_in.session, signed_in.device);
            Ok(Json(PasswordAnswer { session }))
        }
        PasswordChanged::NoSession(why) => Err(why.into()),
    }
}

fn acceptable(body: &PasswordRequest, contact: bool) -> ApiResult<()> {
    password::acceptable(body.new_password.expose(), contact).map_err(|weak| Problem::weak("/new_password", weak))
}

/// Writes down that the current password was wrong; and tells its owner where that ended the session.
async fn wrong(app: &App, request: &Request, key: &UserKey, tried: &OwnPasswordAttempt, attempt: &Attempt) -> Problem {
    let mut event = request.event(Action::PasswordChanged, Outcome::Refused).own(key.user());
    app.store.record(key.tenant(), attempt, 0, &event).await;
    if tried.was_the_last() {
        event.action = Action::PasswordAttacked;
        app.store.record(key.tenant(), attempt, 1, &event.notify(Notify::User)).await;
    }
    Code::InvalidCredentials.into()
}
