//! `POST /v1/admin/portal-exclusions`: exclude contacts from MFA, or include them again.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Outcome},
    http::{ApiRequest, ApiResult, App, Code, Large, Line, Problem, Request},
    id::{IdempotencyKey, InvalidId, UserId},
    store::{
        OperationError,
        batch::{self, BatchRejection},
    },
};

use crate::report::BatchAnswer;

/// Maximum number of contacts in one request.
const MAX_CONTACTS: usize = 1_000;

/// Which contacts to exclude from MFA, or to include again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "Portal migration, agreed with the customer"}))]
pub(crate) struct BatchRequest {
    /// The ids of 1 to 1,000 contacts. An id that is given twice counts once.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 1000, example = json!(["u-carl", "u-cora"]))]
    pub(crate) contact_ids: Vec<UserId>,
    /// `true` excludes the contacts from MFA, `false` includes them again.
    #[schema(example = true)]
    pub(crate) disable_mfa: bool,
    /// The reason. It is kept in the audit and in the list of exclusions.
    pub(crate) reason: Line,
    /// `true` changes nothing and returns what would happen. Default: `false`. A dry run uses up the idempotency key like any
    /// other request.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Exclude contacts from MFA, or include them again
///
/// For an Administrator with a fresh step-up. An excluded contact signs in with only the password. A request with the
/// same key and the same body continues an interrupted batch, or repeats the response. Maximum size of the body: 256 KiB.
#[utoipa::path(post, path = "/v1/admin/portal-exclusions", operation_id = "changePortalExclusions",
    tag = "batch-portal-exclude", security(("session" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`. \
        Each Administrator has their own keys.", example = "migration-2026-01")),
    request_body = BatchRequest, responses(
    (status = 200, body = BatchAnswer, description = "The batch, with the outcome of each contact."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 409, description = "`idempotency_mismatch`"),
    (status = 413, description = "`payload_too_large`: The limit is 256 KiB."),
))]
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    call: ApiRequest<Large<BatchRequest>>,
) -> ApiResult<Json<BatchAnswer>> {
    let ApiRequest { body: Large(body), request, .. } = call;
    let key = idempotency_key(&request)?;
    run_batch(&app, &request, key, body).await.map(Json)
}

/// Starts a batch, continues it, or repeats its response.
pub(crate) async fn run_batch(
    app: &App,
    request: &Request,
    key: IdempotencyKey,
    body: BatchRequest,
) -> ApiResult<BatchAnswer> {
    if !(1..=MAX_CONTACTS).contains(&body.contact_ids.len()) {
        return Err(Problem::field("/contact_ids", "must be 1 to 1000 ids"));
    }
    let admin = request.administrator(app).await?;
    let event = request.event(AuditAction::ExclusionBatch, Outcome::Success).by(admin.key().user());
    let event = event.because(&body.reason);
    let batch = batch::BatchRequest {
        key,
        contacts: body.contact_ids,
        change: body.disable_mfa.into(),
        dry_run: body.dry_run,
        reason: body.reason.into(),
    };
    match app.store.run_batch(&admin, &batch, &request.attempt(app)?, &event).await {
        Ok(report) => Ok(report.into()),
        Err(OperationError::Rejected(BatchRejection::OtherBody)) => Err(Code::IdempotencyMismatch.into()),
        Err(OperationError::Rejected(BatchRejection::ActorRevoked)) => Err(request.no_longer(app).await),
        Err(OperationError::Store(error)) => Err(error.into()),
    }
}

fn idempotency_key(request: &Request) -> ApiResult<IdempotencyKey> {
    let key = request.header("idempotency-key")?.and_then(|key| IdempotencyKey::parse(key).ok());
    key.ok_or_else(|| Problem::field("header:idempotency-key", InvalidId.to_string()))
}
