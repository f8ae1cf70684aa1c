//! `GET /v1/admin/audit`: what happened in a tenant.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use vestibule::{
    audit::{Outcome, Tell},
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
    items: Vec<AuditDto>,
    /// Where the list goes on, if it does. A page may come short of the limit and go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// One thing that happened.
#[derive(Serialize, ToSchema)]
struct AuditDto {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(example = "mfa.reset")]
    action: &'static str,
    outcome: OutcomeDto,
    /// Who did it; null where that is not known: a wrong password may be anybody's.
    actor: Option<String>,
    /// Whom it concerns; null where it is nobody.
    target: Option<String>,
    /// The request's `X-Request-Id`.
    request_id: String,
    /// The actor's tenant, where it is another: an operator of support.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Which fields were changed; never their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// Who was to be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notified: Vec<NotifiedDto>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OutcomeDto {
    Success,
    Refused,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NotifiedDto {
    User,
    Administrators,
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
    let items = page.items.into_iter().map(shown).collect();
    Ok(Json(AuditList { items, next_cursor: page.next.map(|next| next.text(List::Audit)) }))
}

fn shown(row: AuditRow) -> AuditDto {
    let AuditRow { id, at, event } = row;
    AuditDto {
        id,
        at,
        action: event.action.as_str(),
        outcome: match event.outcome {
            Outcome::Success => OutcomeDto::Success,
            Outcome::Refused => OutcomeDto::Refused,
        },
        actor: event.actor.map(String::from),
        target: event.target.map(String::from),
        request_id: event.request_id,
        actor_tenant: event.actor_tenant.map(String::from),
        reason: event.reason,
        ticket: event.ticket,
        batch_id: event.batch_id.map(String::from),
        client_id: event.client_id.map(String::from),
        changed: event.changed,
        user_agent: event.user_agent,
        notified: event
            .tell
            .into_iter()
            .map(|whom| match whom {
                Tell::User => NotifiedDto::User,
                Tell::Administrators => NotifiedDto::Administrators,
            })
            .collect(),
    }
}
