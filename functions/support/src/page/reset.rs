//! The form that resets a sole Administrator, and the reset code, which is shown once.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Code, Line, Problem,
        dto::ResetDto,
        page::{Field, FormErrors, Page, PageForm, PageResult, Text, with_query},
    },
    id::TenantId,
    store::reset::NotSoleAdministrator,
};

use super::PATH;
use crate::resets::{Refusal, SupportResetRequest, reset_administrator};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetForm {
    tenant: TenantId,
    username: String,
    ticket: Option<String>,
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "support_reset.html")]
struct FormTemplate {
    text: Text,
    tenant: String,
    username: String,
    ticket: Field,
    reason: Field,
    back: String,
}

#[derive(Template)]
#[template(path = "support_reset_code.html")]
struct DoneTemplate {
    text: Text,
    done: ResetDto,
    back: String,
}

pub(super) fn show(page: &Page, tenant: TenantId, username: String) -> PageResult {
    form(page, ResetForm { tenant, username, ticket: None, reason: None }, &FormErrors::none())
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageForm<ResetForm>) -> PageResult {
    let PageForm { mut page, form: sent, .. } = post;
    let principal = page.principal(&app).await?;
    page.request.may_look_up(&app, &principal).await?;
    let sent = sent?;
    let done = match sent.request() {
        Ok(body) => reset_administrator(&app, &page.request, body).await,
        Err(problem) => Err(problem.into()),
    };
    match done {
        Ok(done) => {
            let title = page.text.with("support-done-title", "user", done.user.display_name.clone());
            page.show(&title, &DoneTemplate { text: page.text, done, back: back(&sent.tenant) })
        }
        Err(refusal) => {
            let errors = errors(&page, refusal)?;
            form(&page, sent, &errors)
        }
    }
}

impl ResetForm {
    fn request(&self) -> ApiResult<SupportResetRequest> {
        let line = |text: &Option<String>| Line::try_from(text.clone().unwrap_or_default());
        match (line(&self.ticket), line(&self.reason)) {
            (Ok(ticket), Ok(reason)) => {
                Ok(SupportResetRequest { tenant: self.tenant.clone(), username: self.username.clone(), ticket, reason })
            }
            (Err(ticket), Err(reason)) => Err(Problem::field("/ticket", ticket).and_field("/reason", reason)),
            (Err(ticket), Ok(_)) => Err(Problem::field("/ticket", ticket)),
            (Ok(_), Err(reason)) => Err(Problem::field("/reason", reason)),
        }
    }
}

/// What is wrong, with the cause of the refusal.
fn errors(page: &Page, refusal: Refusal) -> Result<FormErrors, vestibule::http::page::PageError> {
    let Refusal { problem, not_sole } = refusal;
    let why = match (problem.code(), not_sole) {
        (_, Some(NotSoleAdministrator::NotAnAdministrator)) => Some("support-not-administrator"),
        (_, Some(NotSoleAdministrator::AnotherCanReset)) => Some("support-another"),
        (Code::NotFound, None) => Some("support-not-found"),
        (Code::Forbidden, None) => Some("support-self"),
        _ => None,
    };
    let field = if problem.code() == Code::TicketUsed { "ticket" } else { "main" };
    let errors = page.errors(problem, field)?;
    Ok(match why {
        Some(why) => errors.saying(page.text.get(why)),
        None => errors,
    })
}

fn form(page: &Page, sent: ResetForm, errors: &FormErrors) -> PageResult {
    let template = FormTemplate {
        text: page.text,
        back: back(&sent.tenant),
        tenant: sent.tenant.into(),
        username: sent.username,
        ticket: Field::new(page, errors, "ticket").value(sent.ticket.unwrap_or_default()),
        reason: Field::new(page, errors, "reason").value(sent.reason.unwrap_or_default()),
    };
    page.show_form(&page.text.get("support-reset-title"), errors, &template)
}

fn back(tenant: &TenantId) -> String {
    with_query(PATH, [("tenant", tenant.as_str())])
}
