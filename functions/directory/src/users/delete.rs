//! `DELETE /v1/admin/users/{id}`: delete a user.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use vestibule::{
    audit::{AuditAction, Outcome},
    http::{ApiRequest, ApiResult, App, NoBody, Request},
    id::UserId,
};

use super::{load_for_change, refusal};

/// Delete a user
///
/// For an Administrator with a fresh step-up. All tokens of the user become void, and the user name can be used again. The
/// audit keeps its events.
#[utoipa::path(delete, path = "/v1/admin/users/{id}", operation_id = "deleteUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")), responses(
    (status = 204, description = "The user is deleted."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`conflict`: The tenant would lose its last active Administrator."),
))]
pub(crate) async fn delete(State(app): State<Arc<App>>, call: ApiRequest<NoBody, UserId>) -> ApiResult<StatusCode> {
    delete_user(&app, &call.request, call.path).await.map(|()| StatusCode::NO_CONTENT)
}

/// Deletes a user of the caller's tenant.
pub(crate) async fn delete_user(app: &App, request: &Request, user: UserId) -> ApiResult<()> {
    let (admin, target) = load_for_change(app, request, user).await?;
    let event = request.event(AuditAction::UserDeleted, Outcome::Success);
    let event = event.by(admin.key().user()).about(target.key().user());
    match app.store.delete_user(&admin, target, &request.attempt(app)?, &event).await {
        Ok(()) => Ok(()),
        Err(error) => Err(refusal(app, request, &admin, event, error).await),
    }
}
