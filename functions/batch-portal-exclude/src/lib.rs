//! `/v1/admin/portal-exclusions`: contacts of the portal are excluded from MFA, or included again, many at a time.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome as Went},
    env::Timestamp,
    http::{Answer, App, Call, Code, Large, Line, NoBody, Page, Problem, Request, Routes},
    id::{BatchId, IdempotencyKey, UserId},
    store::{
        batch::{Outcome, Ran, Report, Status, Wanted},
        item::ExclusionRow,
        lists::{Cursor, List},
    },
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(run, list)).routes(routes!(read))
}

/// The most contacts of one request.
const MOST: usize = 1_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    /// Whose; the same one twice counts once.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 1000)]
    contact_ids: Vec<UserId>,
    /// `true` excludes them from MFA, `false` includes them again.
    disable_mfa: bool,
    /// Why; it is kept in the audit and in the list.
    reason: Line,
    /// Only tells what would happen. It claims the key like any other.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, ToSchema)]
struct BatchAnswer {
    batch_id: String,
    disable_mfa: bool,
    dry_run: bool,
    status: StatusDto,
    counts: Counts,
    /// In the order given; while it runs, of those it came to.
    results: Vec<ResultDto>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusDto {
    Running,
    Completed,
    Stopped,
}

#[derive(Default, Serialize, ToSchema)]
struct Counts {
    excluded: usize,
    included: usize,
    unchanged: usize,
    /// All others.
    refused: usize,
}

#[derive(Serialize, ToSchema)]
struct ResultDto {
    contact_id: String,
    outcome: ExclusionOutcomeDto,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ExclusionOutcomeDto {
    Excluded,
    Included,
    Unchanged,
    NotAContact,
    NotFound,
    NotApplied,
}

#[derive(Serialize, ToSchema)]
struct ExclusionsAnswer {
    items: Vec<ExclusionDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ExclusionDto {
    contact_id: String,
    /// As it was then.
    username: String,
    #[schema(value_type = String, format = DateTime)]
    excluded_at: Timestamp,
    /// The Administrator.
    excluded_by: String,
    reason: String,
    batch_id: String,
}

/// Excludes or includes. The same key with the same body goes on where it was left, or repeats the answer.
#[utoipa::path(post, path = "/v1/admin/portal-exclusions", tag = "batch-portal-exclude", security(("session" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 64 of `[A-Za-z0-9_-]`; this Administrator's own")),
    request_body = BatchRequest, responses(
    (status = 200, body = BatchAnswer),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
    (status = 409, description = "`idempotency_mismatch`"),
    (status = 413, description = "`payload_too_large`: more than 256 KiB"),
))]
async fn run(State(app): State<Arc<App>>, call: Call<Large<BatchRequest>>) -> Answer<Json<BatchAnswer>> {
    let Call { body: Large(body), request, .. } = call;
    let key = idempotency_key(&request)?;
    if !(1..=MOST).contains(&body.contact_ids.len()) {
        return Err(Problem::new(Code::InvalidRequest).detail("contact_ids are 1 to 1,000"));
    }
    let authority = request.administrator(&app).await?;
    let event = request.event(Action::ExclusionBatch, Went::Success).by(authority.key().user());
    let event = event.because(&body.reason);
    let wanted = Wanted {
        key,
        contacts: body.contact_ids,
        disable_mfa: body.disable_mfa,
        dry_run: body.dry_run,
        reason: body.reason.into(),
    };
    match app.store.run_batch(&authority, &wanted, &request.attempt(&app)?, &event).await? {
        Ran::Report(report) => Ok(Json(report.into())),
        Ran::OtherBody => Err(Code::IdempotencyMismatch.into()),
        Ran::ActorGone => Err(request.no_longer(&app).await),
    }
}

/// A batch, from what is durable: `running`, with the results so far, until it ended.
#[utoipa::path(get, path = "/v1/admin/portal-exclusions/{batch_id}", tag = "batch-portal-exclude",
    security(("session" = [])), params(("batch_id" = String, Path)), responses(
    (status = 200, body = BatchAnswer),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`forbidden`"),
    (status = 404, description = "`not_found`"),
))]
async fn read(State(app): State<Arc<App>>, call: Call<NoBody, BatchId>) -> Answer<Json<BatchAnswer>> {
    let reader = call.request.administrator_reading(&app).await?;
    let report = app.store.batch(reader.token().user().tenant(), &call.path).await?;
    report.map(|report| Json(report.into())).ok_or_else(|| Code::NotFound.into())
}

/// The contacts that are excluded, the latest first.
#[utoipa::path(get, path = "/v1/admin/portal-exclusions", tag = "batch-portal-exclude", security(("session" = [])),
    params(Page), responses(
    (status = 200, body = ExclusionsAnswer),
    (status = 401, description = "`invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`forbidden`"),
))]
async fn list(State(app): State<Arc<App>>, call: Call<NoBody, (), Page>) -> Answer<Json<ExclusionsAnswer>> {
    let Call { query, request, .. } = call;
    let malformed = || Problem::new(Code::InvalidRequest).detail("the cursor is none of this list");
    let read = |text: &String| Cursor::parse(List::Exclusions, text).ok_or_else(malformed);
    let after = query.cursor.as_ref().map(read).transpose()?;
    let reader = request.administrator_reading(&app).await?;
    let page = app.store.exclusions(reader.token().user().tenant(), after.as_ref(), query.limit()).await?;
    Ok(Json(ExclusionsAnswer {
        items: page.items.into_iter().map(ExclusionDto::from).collect(),
        next_cursor: page.next.map(|next| next.text(List::Exclusions)),
    }))
}

fn idempotency_key(request: &Request) -> Answer<IdempotencyKey> {
    let key = request.header("idempotency-key")?.and_then(|key| IdempotencyKey::parse(key).ok());
    key.ok_or_else(|| {
        Problem::new(Code::InvalidRequest).detail("an Idempotency-Key is 1 to 64 of A-Z, a-z, 0-9, _ and -")
    })
}

impl From<Report> for BatchAnswer {
    fn from(report: Report) -> Self {
        let mut counts = Counts::default();
        for (_, outcome) in &report.results {
            *match outcome {
                Outcome::Excluded => &mut counts.excluded,
                Outcome::Included => &mut counts.included,
                Outcome::Unchanged => &mut counts.unchanged,
                Outcome::NotAContact | Outcome::NotFound | Outcome::NotApplied => &mut counts.refused,
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
