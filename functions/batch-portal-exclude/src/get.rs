//! `GET /v1/admin/portal-exclusions/{batch_id}`: read a batch.

use std::sync::Arc;

use axum::{Json, extract::State};
use vestibule::{
    http::{ApiRequest, ApiResult, App, Code, NoBody},
    id::BatchId,
};

use crate::report::BatchAnswer;

/// Get a batch of exclusions
///
/// For an Administrator. A batch that has not ended is `running`, with the results so far.
#[utoipa::path(get, path = "/v1/admin/portal-exclusions/{batch_id}", operation_id = "getPortalExclusionBatch",
    tag = "batch-portal-exclude", security(("session" = [])),
    params(("batch_id" = String, Path, description = "The id of the batch.", example = "b-3nTq8sVw")), responses(
    (status = 200, body = BatchAnswer, description = "The batch as it is stored."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    call: ApiRequest<NoBody, BatchId>,
) -> ApiResult<Json<BatchAnswer>> {
    let reader = call.request.administrator_reading(&app).await?;
    let report = app.store.batch(reader.token().user().tenant(), &call.path).await?;
    report.map(|report| Json(report.into())).ok_or_else(|| Code::NotFound.into())
}
