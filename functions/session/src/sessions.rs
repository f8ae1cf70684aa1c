//! The caller's own sessions.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome},
    env::Timestamp,
    http::{
        Answer, App, Call, Code, Request, Routes,
        dto::{AmrDto, UserDto, amr},
    },
    id::EntryId,
    policy,
    secret::TokenClass,
    store::session::{Ended, Principal, Which},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(current, end_current)).routes(routes!(list, end_others)).routes(routes!(end_one))
}

#[derive(Serialize, ToSchema)]
struct CurrentAnswer {
    session: CurrentDto,
    user: UserDto,
    recovery_token: RecoveryTokenDto,
}

#[derive(Serialize, ToSchema)]
struct CurrentDto {
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    amr: Vec<AmrDto>,
    /// When they last proved who they are: at the sign-in, or the last step-up.
    #[schema(value_type = String, format = DateTime)]
    auth_time: Timestamp,
    /// There while the step-up is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    step_up_until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct RecoveryTokenDto {
    exists: bool,
}

#[derive(Serialize, ToSchema)]
struct ListAnswer {
    items: Vec<SessionItem>,
}

#[derive(Serialize, ToSchema)]
struct SessionItem {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Noted at most once a minute.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    amr: Vec<AmrDto>,
    /// What the program that signed in called itself; empty where it did not say.
    user_agent: String,
    current: bool,
}

/// The caller, and the session they ask with.
#[utoipa::path(get, path = "/v1/session", tag = "session", security(("session" = [])), responses(
    (status = 200, body = CurrentAnswer),
))]
async fn current(State(app): State<Arc<App>>, call: Call) -> Answer<Json<CurrentAnswer>> {
    let request = call.request;
    let token = request.token(TokenClass::Session)?;
    let (principal, profile) = app.store.read_named_session(token, request.now).await??;
    let (session, user) = (principal.session(), principal.user());
    let until = Timestamp::from_secs(session.step_up) + policy::STEP_UP_LIFE;
    Ok(Json(CurrentAnswer {
        session: CurrentDto {
            expires_at: Timestamp::from_secs(session.ends),
            amr: amr(session.amr),
            auth_time: session.authenticated(),
            step_up_until: session.fresh(request.now).then_some(until),
        },
        user: UserDto::new(token.user(), user, &profile),
        recovery_token: RecoveryTokenDto { exists: user.recovery.is_some() },
    }))
}

/// Signs out.
#[utoipa::path(delete, path = "/v1/session", tag = "session", security(("session" = [])), responses(
    (status = 204),
))]
async fn end_current(State(app): State<Arc<App>>, call: Call) -> Answer<StatusCode> {
    let principal = call.request.principal(&app).await?;
    end(&app, &call.request, &principal, &Which::This).await
}

/// The caller's living sessions, the newest first.
#[utoipa::path(get, path = "/v1/sessions", tag = "session", security(("session" = [])), responses(
    (status = 200, body = ListAnswer),
))]
async fn list(State(app): State<Arc<App>>, call: Call) -> Answer<Json<ListAnswer>> {
    let principal = call.request.principal(&app).await?;
    let mut agents = app.store.user_agents(&principal).await?;
    let mut living = principal.living(call.request.now);
    living.sort_by_key(|(_, session)| std::cmp::Reverse(session.created));
    let items = living.into_iter().map(|(id, session)| SessionItem {
        id: id.as_str().to_owned(),
        created_at: Timestamp::from_millis(session.created),
        last_seen_at: Timestamp::from_secs(session.seen),
        amr: amr(session.amr),
        user_agent: agents.remove(id).unwrap_or_default(),
        current: id == principal.token().id(),
    });
    Ok(Json(ListAnswer { items: items.collect() }))
}

/// Ends all sessions but the current one, and forgets the known devices.
#[utoipa::path(delete, path = "/v1/sessions", tag = "session", security(("session" = [])), responses(
    (status = 204),
))]
async fn end_others(State(app): State<Arc<App>>, call: Call) -> Answer<StatusCode> {
    let principal = call.request.principal(&app).await?;
    end(&app, &call.request, &principal, &Which::Others).await
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "session", security(("session" = [])),
    params(("id" = String, Path)), responses(
    (status = 204),
    (status = 404, description = "`not_found`: the caller has no such living session"),
))]
async fn end_one(State(app): State<Arc<App>>, call: Call<vestibule::http::NoBody, EntryId>) -> Answer<StatusCode> {
    let principal = call.request.principal(&app).await?;
    if !principal.living(call.request.now).iter().any(|(id, _)| **id == call.path) {
        return Err(Code::NotFound.into());
    }
    end(&app, &call.request, &principal, &Which::One(call.path)).await
}

async fn end(app: &App, request: &Request, caller: &Principal, which: &Which) -> Answer<StatusCode> {
    let event = request.event(Action::SessionsEnded, Outcome::Success).own(caller.token().user().user());
    match (app.store.end_sessions(caller, which, &request.attempt(app)?, &event).await?, which) {
        (Ended::Yes, _) => Ok(StatusCode::NO_CONTENT),
        // Theirs ended, or the caller's own did.
        (Ended::Gone, Which::One(_)) => {
            Err(request.principal(app).await.err().unwrap_or_else(|| Code::NotFound.into()))
        }
        (Ended::Gone, _) => Err(request.no_longer(app).await),
    }
}
