//! The page `/settings/email`: a person sees their own e-mail address, and asks for the mail that verifies it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::http::{
    App,
    page::{FormErrors, Page, PageForm, PageRequest, PageResult, Text, redirect},
};

use super::NoFields;
use crate::request_verification::ask_for_verification;

/// The path of the page.
pub(super) const PATH: &str = "/settings/email";

#[derive(Deserialize)]
pub(super) struct EmailQuery {
    /// The mail was sent.
    sent: Option<bool>,
}

#[derive(Template)]
#[template(path = "email.html")]
struct EmailTemplate {
    text: Text,
    address: Option<String>,
    verified: bool,
    sent: bool,
    /// The deployment sends mails with links.
    mails: bool,
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest<(), EmailQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    email_page(&app, &mut page, &FormErrors::none(), query.sent.unwrap_or(false)).await
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageForm<NoFields>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let NoFields {} = form?;
    match ask_for_verification(&app, &page.request).await {
        Ok(()) => Ok(redirect("/settings/email?sent=true", [])),
        Err(problem) => {
            let errors = page.errors(problem, "main")?;
            email_page(&app, &mut page, &errors, false).await
        }
    }
}

async fn email_page(app: &App, page: &mut Page, errors: &FormErrors, sent: bool) -> PageResult {
    let (principal, profile) = page.named_principal(app).await?;
    let template = EmailTemplate {
        text: page.text,
        address: profile.email,
        verified: principal.user().email_verified,
        sent,
        mails: app.mails.is_some(),
    };
    page.show_form(&page.text.get("security-email"), errors, &template)
}
