//! A batch: the preview with its confirmation, or the results.

use std::{borrow::Cow, collections::HashMap};

use askama::Template;
use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use vestibule::{
    http::{
        App, Code, Line, Problem,
        page::{FormErrors, Page, PageResult, Text, choice_name, redirect},
    },
    id::{BatchId, IdempotencyKey, InvalidId, TenantId, UserId},
    store::{
        batch::{ContactOutcome, ExclusionChange, Report, Status},
        item::Profile,
    },
};

use super::PATH;
use crate::{
    report::ExclusionOutcomeDto,
    run::{BatchRequest, run_batch},
};

/// Contacts in one part of the results.
const PART: usize = 100;

#[derive(Template)]
#[template(path = "outcome.html")]
struct OutcomeTemplate<'a> {
    text: Text,
    report: &'a Report,
    excludes: bool,
    /// How many contacts have each outcome.
    counts: Vec<(Cow<'static, str>, usize)>,
    rows: Vec<Row<'a>>,
    /// The preview of a change that can be confirmed.
    confirm: bool,
    interrupted: bool,
    previous: Option<usize>,
    next: Option<usize>,
}

struct Row<'a> {
    id: &'a str,
    /// User name and display name, if there is such a user.
    name: Option<&'a Profile>,
    outcome: Cow<'static, str>,
}

/// The name of an outcome, as the API has it.
fn code(outcome: ContactOutcome) -> String {
    choice_name(&ExclusionOutcomeDto::from(outcome))
}

fn said(text: Text, outcome: ContactOutcome) -> Cow<'static, str> {
    text.get(&format!("outcome-{}", code(outcome)))
}

/// Whether a batch is the preview of a change, so that its page has a form.
pub(super) fn to_confirm(report: &Report) -> bool {
    let changes =
        |(_, outcome): &(_, ContactOutcome)| matches!(outcome, ContactOutcome::Excluded | ContactOutcome::Included);
    report.dry_run && report.status == Status::Completed && report.results.iter().any(changes)
}

/// Makes the change of a preview. The id of the preview is the idempotency key, so a repeated confirmation continues or repeats
/// the same batch.
pub(super) async fn confirm(app: &App, page: &Page, tenant: &TenantId, preview: &BatchId) -> PageResult {
    let report = app.store.batch(tenant, preview).await?.filter(to_confirm).ok_or(Code::NotFound)?;
    let key = IdempotencyKey::parse(&format!("page-{preview}"));
    let key = key.map_err(|wrong: InvalidId| Problem::field("/confirm", wrong.to_string()))?;
    let reason = Line::try_from(report.reason.clone()).map_err(|wrong| Problem::field("/reason", wrong))?;
    let contact_ids = report.results.iter().map(|(contact, _)| contact.clone()).collect();
    let body = BatchRequest { contact_ids, disable_mfa: report.change.into(), reason, dry_run: false };
    match run_batch(app, &page.request, key, body).await {
        Ok(answer) => Ok(redirect(&format!("{PATH}?batch={}", answer.batch_id), [])),
        // Some contacts may be done. A new confirmation continues.
        Err(problem) if problem.code() == Code::Unavailable => {
            Ok(redirect(&format!("{PATH}?batch={preview}&interrupted=true"), []))
        }
        Err(problem) => show(app, page, tenant, &report, None, false, &page.errors(problem, "main")?).await,
    }
}

/// The results as a file. The column `id` can be uploaded again.
pub(super) fn csv(report: &Report) -> Response {
    // Ids and outcomes contain neither separators nor quotes.
    let rows = report.results.iter().map(|(contact, outcome)| format!("{contact},{}\r\n", code(*outcome)));
    let file = format!("attachment; filename=\"exclusions-{}.csv\"", report.id);
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, file)];
    (headers, format!("id,outcome\r\n{}", rows.collect::<String>())).into_response()
}

/// The page of a batch. `part` is the part of the results that it shows, from 1.
pub(super) async fn show(
    app: &App,
    page: &Page,
    tenant: &TenantId,
    report: &Report,
    part: Option<usize>,
    interrupted: bool,
    errors: &FormErrors,
) -> PageResult {
    let parts = report.results.len().div_ceil(PART).max(1);
    let part = part.unwrap_or(1).clamp(1, parts);
    let shown = report.results.iter().skip((part - 1) * PART).take(PART);
    let names: HashMap<UserId, Profile> = app.store.names(tenant, shown.clone().map(|(contact, _)| contact)).await?;
    let rows = shown.map(|(contact, outcome)| Row {
        id: contact.as_str(),
        name: names.get(contact),
        outcome: said(page.text, *outcome),
    });
    let template = OutcomeTemplate {
        text: page.text,
        report,
        excludes: report.change == ExclusionChange::Exclude,
        counts: counts(page.text, report),
        rows: rows.collect(),
        confirm: to_confirm(report),
        interrupted,
        previous: (part > 1).then(|| part - 1),
        next: (part < parts).then_some(part + 1),
    };
    let title = match (report.dry_run, report.change) {
        (true, ExclusionChange::Exclude) => "exclusions-preview-exclude",
        (true, ExclusionChange::Include) => "exclusions-preview-include",
        (false, _) => "exclusions-done-title",
    };
    page.show_form(&page.text.get(title), errors, &template)
}

/// How many contacts have each outcome, changes first.
fn counts(text: Text, report: &Report) -> Vec<(Cow<'static, str>, usize)> {
    let order = [
        ContactOutcome::Excluded,
        ContactOutcome::Included,
        ContactOutcome::Unchanged,
        ContactOutcome::NotAContact,
        ContactOutcome::NotFound,
        ContactOutcome::PasswordTooShort,
        ContactOutcome::NotApplied,
    ];
    let count = |outcome| report.results.iter().filter(|(_, found)| *found == outcome).count();
    let counts = order.into_iter().map(|outcome| (said(text, outcome), count(outcome)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_preview_with_changes_can_be_confirmed() {
        let report = |dry_run, status, outcome| Report {
            id: BatchId::parse("b").unwrap(),
            change: ExclusionChange::Exclude,
            dry_run,
            reason: "r".to_owned(),
            status,
            results: vec![(UserId::parse("u-con1").unwrap(), outcome)],
        };
        assert!(to_confirm(&report(true, Status::Completed, ContactOutcome::Excluded)));
        assert!(to_confirm(&report(true, Status::Completed, ContactOutcome::Included)));
        for (dry_run, status, outcome) in [
            (false, Status::Completed, ContactOutcome::Excluded),
            (true, Status::Running, ContactOutcome::Excluded),
            (true, Status::Stopped, ContactOutcome::Excluded),
            (true, Status::Completed, ContactOutcome::Unchanged),
        ] {
            assert!(!to_confirm(&report(dry_run, status, outcome)), "{dry_run} {status:?} {outcome:?}");
        }
    }
}
