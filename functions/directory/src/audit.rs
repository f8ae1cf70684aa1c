//! `GET /v1/admin/audit`: what happened in a tenant.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use vestibule::{
    audit::Row,
    env::Timestamp,
    http::{Answer, App, Call, Code, Limit, NoBody, Problem, Routes},
    id::UserId,
    store::lists::{AuditFilter, AuditRow, List},
};

use crate::users::cursor;

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// By somebody or about them.
    #[param(value_type = Option<String>)]
    user_id: Option<UserId>,
    /// RFC 3339: at this moment or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339: before this moment.
    #[param(format = DateTime)]
    to: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AuditList {
    items: Vec<Row>,
    /// Where the list goes on, if it does. A page may come short of the limit and go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The audit, the latest first. It is kept for 400 days.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "directory", security(("session" = [])), params(AuditQuery), responses(
    (status = 200, body = AuditList),
    (status = 403, description = "`forbidden`"),
))]
async fn list(State(app): State<Arc<App>>, call: Call<NoBody, (), AuditQuery>) -> Answer<Json<AuditList>> {
    let Call { query, request, .. } = call;
    let bad = || Problem::new(Code::InvalidRequest).detail("a time is RFC 3339");
    let moment = |text: Option<&str>| text.map(|text| Timestamp::parse(text).ok_or_else(bad)).transpose();
    let (from, to) = (moment(query.from.as_deref())?, moment(query.to.as_deref())?);
    let filter = AuditFilter { user: query.user_id, from, to };
    let after = cursor(List::Audit, query.cursor.as_deref())?;
    let reader = request.administrator_reading(&app).await?;
    let tenant = reader.token().user().tenant();
    let settings = app.store.settings(tenant).await?.ok_or(Code::NotFound)?;
    let since = Timestamp::from_secs(settings.created);
    let page = app.store.audit(tenant, &filter, (since, request.now), after.as_ref(), query.limit.get()).await?;
    let items = page.items.into_iter().map(|AuditRow { id, at, event }| Row::new(id, at, event)).collect();
    Ok(Json(AuditList { items, next_cursor: page.next.map(|next| next.text(List::Audit)) }))
}
