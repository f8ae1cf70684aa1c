//! `GET /v1/admin/users`: list the users of the tenant.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vestibule::{
    http::{
        ApiRequest, ApiResult, App, Limit, NoBody, Request, cursor,
        dto::{KindDto, MfaDto, NameStart, UserDto},
    },
    store::{
        lists::{Cursor, List, UserFilter},
        session::Principal,
    },
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only employees, or only contacts.
    #[param(inline)]
    kind: Option<KindDto>,
    /// Only users whose authenticator has this state.
    #[param(inline)]
    mfa: Option<MfaDto>,
    /// Only users who are excluded from MFA (`true`), or who are not (`false`).
    excluded: Option<bool>,
    /// Only users whose user name or display name begins with this text. Upper and lower case are the same.
    #[param(example = "an")]
    #[param(inline)]
    q: Option<NameStart>,
    /// The maximum number of items in a page: 1 to 100. The default is 50.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Limit,
    /// Where the page begins: the `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserList {
    /// The users.
    pub(crate) items: Vec<UserDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page. A page can have fewer items
    /// than `limit` and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// List the users of the tenant
///
/// For an Administrator. The list is in the order of user names. Filters can be combined.
#[utoipa::path(get, path = "/v1/admin/users", operation_id = "listUsers", tag = "directory",
    security(("session" = [])), params(ListQuery), responses(
    (status = 200, body = UserList, description = "A page of users."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    call: ApiRequest<NoBody, (), ListQuery>,
) -> ApiResult<Json<UserList>> {
    let ApiRequest { query, request, .. } = call;
    let after = cursor(List::Users, query.cursor.as_deref())?;
    let caller = request.principal(&app).await?;
    let filter = UserFilter {
        kind: query.kind.map(Into::into),
        mfa: query.mfa.map(Into::into),
        excluded: query.excluded,
        start: query.q.map(String::from),
    };
    list_users(&app, &request, &caller, &filter, after.as_ref(), query.limit).await.map(Json)
}

/// Lists users of the caller's tenant.
pub(crate) async fn list_users(
    app: &App,
    request: &Request,
    caller: &Principal,
    filter: &UserFilter,
    after: Option<&Cursor>,
    limit: Limit,
) -> ApiResult<UserList> {
    request.may_read(app, caller).await?;
    let page = app.store.list_users(caller.token().user().tenant(), filter, after, limit.get()).await?;
    let items = page.items.iter().map(|(key, user, profile)| UserDto::in_directory(key, user, profile)).collect();
    Ok(UserList { items, next_cursor: page.next.map(|next| next.text(List::Users)) })
}
