//! `GET /v1/admin/portal-exclusions`: list the excluded contacts.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use vestibule::{
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, NoBody, Page, cursor},
    store::{item::ExclusionRow, lists::List},
};

/// A page of contacts who are excluded from MFA.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExclusionsAnswer {
    /// The contacts.
    items: Vec<ExclusionDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A contact who is excluded from MFA.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExclusionDto {
    /// The contact's id.
    #[schema(example = "u-carl")]
    contact_id: String,
    /// The contact's user name when they were excluded.
    #[schema(example = "carl")]
    username: String,
    /// When they were excluded.
    #[schema(value_type = String, format = DateTime)]
    excluded_at: Timestamp,
    /// The id of the Administrator who excluded them.
    #[schema(example = "u-ann")]
    excluded_by: String,
    /// The reason for the exclusion.
    #[schema(example = "Portal migration, agreed with the customer")]
    reason: String,
    /// The id of the batch that excluded them.
    #[schema(example = "b-3nTq8sVw")]
    batch_id: String,
}

/// List the excluded contacts
///
/// For an Administrator. The most recent exclusion comes first.
#[utoipa::path(get, path = "/v1/admin/portal-exclusions", operation_id = "listPortalExclusions",
    tag = "batch-portal-exclude", security(("session" = [])), params(Page), responses(
    (status = 200, body = ExclusionsAnswer, description = "A page of excluded contacts."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    call: ApiRequest<NoBody, (), Page>,
) -> ApiResult<Json<ExclusionsAnswer>> {
    let ApiRequest { query, request, .. } = call;
    let after = cursor(List::Exclusions, query.cursor.as_deref())?;
    let reader = request.administrator_reading(&app).await?;
    let page = app.store.exclusions(reader.token().user().tenant(), after.as_ref(), query.limit()).await?;
    Ok(Json(ExclusionsAnswer {
        items: page.items.into_iter().map(ExclusionDto::from).collect(),
        next_cursor: page.next.map(|next| next.text(List::Exclusions)),
    }))
}

impl From<ExclusionRow> for ExclusionDto {
    fn from(row: ExclusionRow) -> Self {
        Self {
            contact_id: row.contact.into(),
            username: row.username,
            excluded_at: row.at,
            excluded_by: row.by.into(),
            reason: row.reason,
            batch_id: row.batch.into(),
        }
    }
}
