//! `GET /v1/admin/users/{id}`: read a user.

use std::sync::Arc;

use axum::{Json, extract::State};
use vestibule::{
    http::{ApiRequest, ApiResult, App, Code, NoBody, Request, dto::UserDto},
    id::{UserId, UserKey},
    store::item::{Profile, User},
};

use super::load;

/// Get a user
///
/// For an Administrator of the user's tenant.
#[utoipa::path(get, path = "/v1/admin/users/{id}", operation_id = "getUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")), responses(
    (status = 200, body = UserDto, description = "The user."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn get(State(app): State<Arc<App>>, call: ApiRequest<NoBody, UserId>) -> ApiResult<Json<UserDto>> {
    let (key, user, profile) = read_user(&app, &call.request, call.path).await?;
    Ok(Json(UserDto::in_directory(&key, &user, &profile)))
}

/// Reads a user of the caller's tenant.
pub(crate) async fn read_user(app: &App, request: &Request, user: UserId) -> ApiResult<(UserKey, User, Profile)> {
    let (principal, target) = load(app, request, user).await?;
    request.may_read(app, &principal).await?;
    let (user, profile) = target.read()?.ok_or(Code::NotFound)?;
    Ok((target.key().clone(), user, profile))
}
