//! `/v1/session` and `/v1/sessions`: read and end the caller's own sessions.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Outcome},
    env::Timestamp,
    http::{
        ApiRequest, ApiResult, App, Code, NoBody, Request, Routes,
        dto::{AmrDto, UserDto, amr},
    },
    id::EntryId,
    policy,
    store::session::{Principal, SessionsToEnd},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(current, end_current)).routes(routes!(list, end_others)).routes(routes!(end_one))
}

/// The caller and their session.
#[derive(Serialize, ToSchema)]
struct CurrentAnswer {
    /// The session of the token.
    session: CurrentDto,
    /// The user of the session.
    user: UserDto,
    /// The caller's recovery token.
    recovery_token: RecoveryTokenDto,
}

/// A session, without its token.
#[derive(Serialize, ToSchema)]
struct CurrentDto {
    /// When the session ends at the latest. It ends earlier after 30 minutes without use.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T21:30:00Z")]
    expires_at: Timestamp,
    /// How the user signed in.
    #[schema(example = json!(["pwd", "otp"]))]
    amr: Vec<AmrDto>,
    /// When the user last proved who they are: at the sign-in, or at the last step-up.
    #[schema(value_type = String, format = DateTime)]
    auth_time: Timestamp,
    /// When the step-up stops being fresh. Present while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-15T09:35:00Z")]
    step_up_until: Option<Timestamp>,
}

/// Whether the caller has a recovery token. The token itself was shown only once.
#[derive(Serialize, ToSchema)]
struct RecoveryTokenDto {
    /// Whether the caller has an unused recovery token.
    #[schema(example = true)]
    exists: bool,
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
struct ListAnswer {
    /// The sessions: at most 10.
    items: Vec<SessionItem>,
}

/// One of the caller's sessions, without its token.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionItem {
    /// The id of the session. It is not secret.
    #[schema(example = "s-9Lx2Vb7q")]
    pub(crate) id: String,
    /// When the user signed in.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When the session was last used. It is updated at most once a minute.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) last_seen_at: Timestamp,
    /// How the user signed in.
    #[schema(example = json!(["pwd", "otp"]))]
    amr: Vec<AmrDto>,
    /// The `User-Agent` of the sign-in: at most 200 characters. Empty if the request had none.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64)")]
    pub(crate) user_agent: String,
    /// Whether it is the session of this request.
    #[schema(example = true)]
    pub(crate) current: bool,
}

/// Get the current session
///
/// Returns who the caller is, and how long the session and its step-up last.
#[utoipa::path(get, path = "/v1/session", operation_id = "getSession", tag = "session", security(("session" = [])),
    responses(
    (status = 200, body = CurrentAnswer, description = "The caller and their session."),
))]
async fn current(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<CurrentAnswer>> {
    let request = call.request;
    let (principal, profile) = request.named_principal(&app).await?;
    let (session, user) = (principal.session(), principal.user());
    Ok(Json(CurrentAnswer {
        session: CurrentDto {
            expires_at: session.ends,
            amr: amr(session.amr),
            auth_time: session.authenticated(),
            step_up_until: session
                .step_up
                .filter(|_| session.is_fresh(request.now))
                .map(|at| at + policy::STEP_UP_LIFE),
        },
        user: UserDto::new(principal.token().user(), user, &profile),
        recovery_token: RecoveryTokenDto { exists: user.factor.recovery_token().is_some() },
    }))
}

/// Sign out
///
/// Ends the session of the token.
#[utoipa::path(delete, path = "/v1/session", operation_id = "endSession", tag = "session", security(("session" = [])),
    responses(
    (status = 204, description = "The session is ended."),
))]
async fn end_current(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    let principal = call.request.principal(&app).await?;
    end(&app, &call.request, &principal, &SessionsToEnd::This).await
}

/// List your own sessions
///
/// The newest session comes first.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "listSessions", tag = "session", security(("session" = [])),
    responses(
    (status = 200, body = ListAnswer, description = "The caller's sessions."),
))]
async fn list(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<ListAnswer>> {
    let principal = call.request.principal(&app).await?;
    Ok(Json(ListAnswer { items: sessions(&app, &call.request, &principal).await? }))
}

/// The valid sessions of the caller, the newest first.
pub(crate) async fn sessions(app: &App, request: &Request, principal: &Principal) -> ApiResult<Vec<SessionItem>> {
    let mut agents = app.store.user_agents(principal).await?;
    let mut living = principal.valid_sessions(request.now);
    living.sort_by_key(|(_, session)| std::cmp::Reverse(session.created));
    let items = living.into_iter().map(|(id, session)| SessionItem {
        id: id.as_str().to_owned(),
        created_at: session.created,
        last_seen_at: session.seen,
        amr: amr(session.amr),
        user_agent: agents.remove(id).unwrap_or_default(),
        current: id == principal.token().id(),
    });
    Ok(items.collect())
}

/// End all other sessions
///
/// Ends the caller's sessions except the current one. The caller's device tokens become void.
#[utoipa::path(delete, path = "/v1/sessions", operation_id = "endOtherSessions", tag = "session",
    security(("session" = [])), responses(
    (status = 204, description = "The other sessions are ended."),
))]
async fn end_others(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    let principal = call.request.principal(&app).await?;
    end(&app, &call.request, &principal, &SessionsToEnd::Others).await
}

/// End one of your own sessions
///
/// The session can be the current one.
#[utoipa::path(delete, path = "/v1/sessions/{id}", operation_id = "endSessionById", tag = "session",
    security(("session" = [])),
    params(("id" = String, Path, description = "The id of the session.", example = "s-9Lx2Vb7q")), responses(
    (status = 204, description = "The session is ended."),
    (status = 404, description = "`not_found`: The caller has no such session, or it has ended."),
))]
async fn end_one(State(app): State<Arc<App>>, call: ApiRequest<NoBody, EntryId>) -> ApiResult<StatusCode> {
    let principal = call.request.principal(&app).await?;
    end_one_session(&app, &call.request, &principal, call.path).await
}

/// Ends a valid session of the caller.
pub(crate) async fn end_one_session(
    app: &App,
    request: &Request,
    caller: &Principal,
    session: EntryId,
) -> ApiResult<StatusCode> {
    if !caller.valid_sessions(request.now).iter().any(|(id, _)| **id == session) {
        return Err(Code::NotFound.into());
    }
    end(app, request, caller, &SessionsToEnd::One(session)).await
}

pub(crate) async fn end(
    app: &App,
    request: &Request,
    caller: &Principal,
    which: &SessionsToEnd,
) -> ApiResult<StatusCode> {
    let event = request.event(AuditAction::SessionsEnded, Outcome::Success).own(caller.token().user().user());
    app.store.end_sessions(caller, which, &request.attempt(app)?, &event).await?;
    Ok(StatusCode::NO_CONTENT)
}
