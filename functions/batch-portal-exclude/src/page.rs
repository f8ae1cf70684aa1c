//! The page `/admin/exclusions`: who is excluded from MFA. An Administrator chooses contacts, sees what would happen (a dry run),
//! confirms, and sees what happened.

mod choose;
mod contacts;
mod excluded;
mod outcome;

use std::sync::Arc;

use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Routes,
        dto::NameStart,
        page::{FormErrors, PageRequest, PageResult, PageUpload},
    },
    id::{BatchId, UserId},
};

/// The path of the page.
const PATH: &str = "/admin/exclusions";

pub(crate) fn routes() -> Routes {
    Routes::new().route(PATH, get(show).post(submit))
}

/// Which of its views the page shows. Without `change` and `batch`: the excluded contacts.
#[derive(Deserialize)]
struct ExclusionsQuery {
    /// The form that makes this change.
    change: Option<Change>,
    /// The one contact that the form is about.
    contact: Option<UserId>,
    /// The beginning of the names of the contacts that the form offers.
    q: Option<NameStart>,
    /// A batch: its preview, or its results.
    batch: Option<BatchId>,
    /// The part of the results, from 1.
    part: Option<usize>,
    format: Option<Format>,
    /// The confirmation was interrupted.
    interrupted: Option<bool>,
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    #[default]
    Exclude,
    Include,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Csv,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExclusionsForm {
    /// The preview to confirm. Without it, the other fields are a new choice.
    confirm: Option<BatchId>,
    #[serde(default)]
    change: Change,
    /// The ticked contacts.
    #[serde(default)]
    chosen: Vec<String>,
    /// The pasted ids, one in a line.
    contact_ids: Option<String>,
    /// The content of the file.
    csv: Option<String>,
    reason: Option<String>,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), ExclusionsQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    page.request.may_read(&app, &principal).await?;
    let tenant = principal.token().user().tenant();
    if let Some(id) = query.batch {
        let report = app.store.batch(tenant, &id).await?.ok_or(Code::NotFound)?;
        if matches!(query.format, Some(Format::Csv)) {
            return Ok(outcome::csv(&report));
        }
        if outcome::to_confirm(&report) {
            page.stepped_up(&principal)?;
        }
        let interrupted = query.interrupted.unwrap_or(false);
        return outcome::show(&app, &page, tenant, &report, query.part, interrupted, &FormErrors::none()).await;
    }
    if let Some(change) = query.change {
        page.stepped_up(&principal)?;
        let offered =
            choose::Offered { contact: query.contact, start: query.q.map(String::from), cursor: query.cursor };
        return choose::show(&app, &page, tenant, change, offered).await;
    }
    excluded::show(&app, &page, tenant, query.cursor.as_deref()).await
}

async fn submit(State(app): State<Arc<App>>, post: PageUpload<ExclusionsForm>) -> PageResult {
    let PageUpload { mut page, form } = post;
    let principal = page.principal(&app).await?;
    page.request.may_read(&app, &principal).await?;
    let tenant = principal.token().user().tenant();
    match form {
        Ok(ExclusionsForm { confirm: Some(preview), .. }) => outcome::confirm(&app, &page, tenant, &preview).await,
        Ok(form) => choose::preview(&app, &page, tenant, form).await,
        Err(problem) => choose::unread(&app, &page, tenant, problem).await,
    }
}
