//! `GET /v1/admin/audit`: the audit events of a tenant.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use vestibule::{
    audit::Row,
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, Code, Limit, NoBody, Problem, Request, Routes, cursor},
    id::UserId,
    store::{
        lists::{AuditFilter, AuditRow, Cursor, List},
        session::Principal,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only events that this user caused, or that are about them: a user id.
    #[param(value_type = Option<String>, example = "u-ann")]
    user_id: Option<UserId>,
    /// Only events at this time or later (RFC 3339).
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    from: Option<String>,
    /// Only events before this time (RFC 3339).
    #[param(format = DateTime, example = "2026-02-01T00:00:00Z")]
    to: Option<String>,
    /// The maximum number of items in a page: 1 to 100. The default is 50.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Limit,
    /// Where the page begins: the `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of audit events.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditList {
    /// The events.
    pub(crate) items: Vec<Row>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page. A page can have fewer items
    /// than `limit` and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// List the audit events of the tenant
///
/// For an Administrator. The most recent event comes first. Events are kept for 90 days, or for as many days as the deployment
/// sets.
#[utoipa::path(get, path = "/v1/admin/audit", operation_id = "listAuditEvents", tag = "directory",
    security(("session" = [])), params(AuditQuery), responses(
    (status = 200, body = AuditList, description = "A page of audit events."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn list(State(app): State<Arc<App>>, call: ApiRequest<NoBody, (), AuditQuery>) -> ApiResult<Json<AuditList>> {
    let ApiRequest { query, request, .. } = call;
    let time = |field: &'static str, text: Option<&str>| {
        let invalid = || Problem::field(field, "must be an RFC 3339 time, such as 2026-01-01T00:00:00Z");
        text.map(|text| Timestamp::parse(text).ok_or_else(invalid)).transpose()
    };
    let (from, to) = (time("query:from", query.from.as_deref())?, time("query:to", query.to.as_deref())?);
    let filter = AuditFilter { user: query.user_id, from, to };
    let after = cursor(List::Audit, query.cursor.as_deref())?;
    let caller = request.principal(&app).await?;
    list_events(&app, &request, &caller, &filter, after.as_ref(), query.limit).await.map(Json)
}

/// Lists the audit events of the caller's tenant.
pub(crate) async fn list_events(
    app: &App,
    request: &Request,
    caller: &Principal,
    filter: &AuditFilter,
    after: Option<&Cursor>,
    limit: Limit,
) -> ApiResult<AuditList> {
    request.may_read(app, caller).await?;
    let tenant = caller.token().user().tenant();
    let settings = app.store.settings(tenant).await?.ok_or(Code::NotFound)?;
    let page = app.store.audit(tenant, filter, (settings.created, request.now), after, limit.get()).await?;
    let items = page.items.into_iter().map(|AuditRow { id, at, event }| Row::new(id, at, event)).collect();
    Ok(AuditList { items, next_cursor: page.next.map(|next| next.text(List::Audit)) })
}
