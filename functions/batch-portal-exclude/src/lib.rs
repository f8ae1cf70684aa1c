//! `/v1/admin/portal-exclusions`: contacts of the portal are excluded from MFA, or included again, many at a time.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome as Went},
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, Code, Large, Line, NoBody, Page, Problem, Request, Routes, cursor},
    id::{BatchId, IdempotencyKey, InvalidId, UserId},
    store::{
        batch::{self, BatchResult, Outcome, Report, Status},
        item::ExclusionRow,
        lists::List,
    },
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(run, list)).routes(routes!(read))
}

/// The most contacts of one request.
const MOST: usize = 1_000;

/// Which contacts to exclude from MFA, or to include again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "Portal migration, agreed with the customer"}))]
struct BatchRequest {
    /// The ids of 1 to 1,000 contacts. An id that comes twice counts once.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 1000, example = json!(["u-carl", "u-cora"]))]
    contact_ids: Vec<UserId>,
    /// `true` excludes the contacts from MFA, `false` includes them again.
    #[schema(example = true)]
    disable_mfa: bool,
    /// Why. It is kept in the audit and in the list of exclusions.
    reason: Line,
    /// `true` changes nothing and answers what would happen. Without it: `false`. A dry run uses the key up like any other
    /// request.
    #[serde(default)]
    dry_run: bool,
}

/// A batch of exclusions or inclusions.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "completed"}))]
struct BatchAnswer {
    /// The id of the batch.
    #[schema(example = "b-3nTq8sVw")]
    batch_id: String,
    /// Whether the batch excludes contacts from MFA. Otherwise it includes them again.
    #[schema(example = true)]
    disable_mfa: bool,
    /// Whether the batch only tells what would happen.
    dry_run: bool,
    /// How far the batch is.
    status: StatusDto,
    /// How many contacts had which outcome.
    counts: Counts,
    /// The outcome of each contact, in the order of the request. While the batch runs: of those that are done.
    #[schema(example = json!([
        {"contact_id": "u-carl", "outcome": "excluded"}, {"contact_id": "u-cora", "outcome": "excluded"}]))]
    results: Vec<ResultDto>,
}

/// How far a batch is: it runs (`running`), every contact is done (`completed`), or it ended before all were done
/// (`stopped`), for example since the Administrator lost their role.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusDto {
    Running,
    Completed,
    Stopped,
}

/// How many contacts had which outcome.
#[derive(Default, Serialize, ToSchema)]
struct Counts {
    /// How many were excluded.
    #[schema(example = 2)]
    excluded: usize,
    /// How many were included again.
    #[schema(example = 0)]
    included: usize,
    /// How many were in the wanted state before.
    #[schema(example = 0)]
    unchanged: usize,
    /// How many had any other outcome.
    #[schema(example = 0)]
    refused: usize,
}

/// The outcome of one contact.
#[derive(Serialize, ToSchema)]
struct ResultDto {
    /// The contact's id.
    #[schema(example = "u-carl")]
    contact_id: String,
    /// What became of the contact.
    outcome: ExclusionOutcomeDto,
}

/// What became of a contact: it was `excluded` from MFA or `included` again; it was in that state before (`unchanged`); the
/// id is of somebody who is no contact (`not_a_contact`) or of nobody (`not_found`); the contact's password is too short to be
/// their only factor (`password_too_short`); or the batch stopped before it (`not_applied`). A password needs 15 characters,
/// which also had to be recorded when it was set: a new password helps.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ExclusionOutcomeDto {
    Excluded,
    Included,
    Unchanged,
    NotAContact,
    NotFound,
    PasswordTooShort,
    NotApplied,
}

/// A page of contacts who are excluded from MFA.
#[derive(Serialize, ToSchema)]
struct ExclusionsAnswer {
    /// The contacts.
    items: Vec<ExclusionDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A contact who is excluded from MFA.
#[derive(Serialize, ToSchema)]
struct ExclusionDto {
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
    /// Why they were excluded.
    #[schema(example = "Portal migration, agreed with the customer")]
    reason: String,
    /// The id of the batch that excluded them.
    #[schema(example = "b-3nTq8sVw")]
    batch_id: String,
}

/// Exclude contacts from MFA, or include them again
///
/// For an Administrator with a fresh step-up. An excluded contact signs in with the password alone. The same key with the
/// same body continues a batch that was interrupted, or repeats its answer. The body may be as large as 256 KiB.
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
async fn run(State(app): State<Arc<App>>, call: ApiRequest<Large<BatchRequest>>) -> ApiResult<Json<BatchAnswer>> {
    let ApiRequest { body: Large(body), request, .. } = call;
    let key = idempotency_key(&request)?;
    if !(1..=MOST).contains(&body.contact_ids.len()) {
        return Err(Problem::field("/contact_ids", "must be 1 to 1000 ids"));
    }
    let admin = request.administrator(&app).await?;
    let event = request.event(Action::ExclusionBatch, Went::Success).by(admin.key().user());
    let event = event.because(&body.reason);
    let wanted = batch::BatchRequest {
        key,
        contacts: body.contact_ids,
        disable_mfa: body.disable_mfa,
        dry_run: body.dry_run,
        reason: body.reason.into(),
    };
    match app.store.run_batch(&admin, &wanted, &request.attempt(&app)?, &event).await? {
        BatchResult::Report(report) => Ok(Json(report.into())),
        BatchResult::OtherBody => Err(Code::IdempotencyMismatch.into()),
        BatchResult::ActorRevoked => Err(request.no_longer(&app).await),
    }
}

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
async fn read(State(app): State<Arc<App>>, call: ApiRequest<NoBody, BatchId>) -> ApiResult<Json<BatchAnswer>> {
    let reader = call.request.administrator_reading(&app).await?;
    let report = app.store.batch(reader.token().user().tenant(), &call.path).await?;
    report.map(|report| Json(report.into())).ok_or_else(|| Code::NotFound.into())
}

/// List the excluded contacts
///
/// For an Administrator. The contact who was excluded last comes first.
#[utoipa::path(get, path = "/v1/admin/portal-exclusions", operation_id = "listPortalExclusions",
    tag = "batch-portal-exclude", security(("session" = [])), params(Page), responses(
    (status = 200, body = ExclusionsAnswer, description = "A page of excluded contacts."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn list(State(app): State<Arc<App>>, call: ApiRequest<NoBody, (), Page>) -> ApiResult<Json<ExclusionsAnswer>> {
    let ApiRequest { query, request, .. } = call;
    let after = cursor(List::Exclusions, query.cursor.as_deref())?;
    let reader = request.administrator_reading(&app).await?;
    let page = app.store.exclusions(reader.token().user().tenant(), after.as_ref(), query.limit()).await?;
    Ok(Json(ExclusionsAnswer {
        items: page.items.into_iter().map(ExclusionDto::from).collect(),
        next_cursor: page.next.map(|next| next.text(List::Exclusions)),
    }))
}

fn idempotency_key(request: &Request) -> ApiResult<IdempotencyKey> {
    let key = request.header("idempotency-key")?.and_then(|key| IdempotencyKey::parse(key).ok());
    key.ok_or_else(|| Problem::field("header:idempotency-key", InvalidId.to_string()))
}

impl From<Report> for BatchAnswer {
    fn from(report: Report) -> Self {
        let mut counts = Counts::default();
        for (_, outcome) in &report.results {
            *match outcome {
                Outcome::Excluded => &mut counts.excluded,
                Outcome::Included => &mut counts.included,
                Outcome::Unchanged => &mut counts.unchanged,
                Outcome::NotAContact | Outcome::NotFound | Outcome::PasswordTooShort | Outcome::NotApplied => {
                    &mut counts.refused
                }
            } += 1;
        }
        let result = |(contact, outcome): (UserId, Outcome)| ResultDto {
            contact_id: contact.into(),
            outcome: match outcome {
                Outcome::Excluded => ExclusionOutcomeDto::Excluded,
                Outcome::Included => ExclusionOutcomeDto::Included,
                Outcome::Unchanged => ExclusionOutcomeDto::Unchanged,
                Outcome::NotAContact => ExclusionOutcomeDto::NotAContact,
                Outcome::NotFound => ExclusionOutcomeDto::NotFound,
                Outcome::PasswordTooShort => ExclusionOutcomeDto::PasswordTooShort,
                Outcome::NotApplied => ExclusionOutcomeDto::NotApplied,
            },
        };
        Self {
            batch_id: report.id.into(),
            disable_mfa: report.disable_mfa,
            dry_run: report.dry_run,
            status: match report.status {
                Status::Running => StatusDto::Running,
                Status::Completed => StatusDto::Completed,
                Status::Stopped => StatusDto::Stopped,
            },
            counts,
            results: report.results.into_iter().map(result).collect(),
        }
    }
}

impl From<ExclusionRow> for ExclusionDto {
    fn from(row: ExclusionRow) -> Self {
        Self {
            contact_id: row.contact.into(),
            username: row.username,
            excluded_at: Timestamp::from_millis(row.at),
            excluded_by: row.by.into(),
            reason: row.why,
            batch_id: row.batch.into(),
        }
    }
}
