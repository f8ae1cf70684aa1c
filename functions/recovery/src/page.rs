//! The page `/settings/recovery-token`: a new recovery token, which is shown once.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Routes,
        page::{FormErrors, Page, PageForm, PageRequest, PageResult, Text, own_path, redirect},
    },
    store::session::Principal,
};

use crate::issue;

pub(crate) fn routes() -> Routes {
    Routes::new().route("/settings/recovery-token", get(show).post(submit))
}

#[derive(Deserialize)]
struct TokenQuery {
    /// The person has just set up their authenticator: this is the last step.
    first: Option<bool>,
    /// The person has just used up their recovery token.
    used: Option<bool>,
    return_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenForm {
    /// The person has saved the token that the page showed, and goes on.
    saved: Option<String>,
    return_to: Option<String>,
}

/// Before the token is made: a GET must not void the one that there is.
#[derive(Template)]
#[template(path = "create.html")]
struct CreateTemplate {
    text: Text,
    first: bool,
    used: bool,
    exists: bool,
    return_to: String,
}

#[derive(Template)]
#[template(path = "shown.html")]
struct ShownTemplate {
    text: Text,
    recovery_token: String,
    return_to: String,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), TokenQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    if !principal.session().is_recovering(page.request.now) && principal.user().factor.active().is_some() {
        page.stepped_up(&principal)?;
    }
    create_page(&page, &FormErrors::none(), exists(&principal), query)
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<TokenForm>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let TokenForm { saved, return_to } = form?;
    let return_to = own_path(return_to);
    if saved.is_some() {
        return Ok(redirect(&return_to, []));
    }
    let principal = page.principal(&app).await?;
    let exists = exists(&principal);
    // An excluded contact cannot step up, so the page must not ask for it.
    let none = !principal.user().has_factor();
    let issued = if none { Err(Code::Conflict.into()) } else { issue(&app, &page.request, principal).await };
    match issued {
        Ok(answer) => {
            let template = ShownTemplate { text: page.text, recovery_token: answer.recovery_token, return_to };
            page.show(&page.text.get("token-shown-title"), &template)
        }
        Err(problem) => {
            let errors = page.errors(problem, "main")?;
            let errors = if none { errors.saying(page.text.get("token-conflict")) } else { errors };
            let query = TokenQuery { first: None, used: None, return_to: Some(return_to) };
            create_page(&page, &errors, exists, query)
        }
    }
}

fn exists(principal: &Principal) -> bool {
    principal.user().factor.recovery_token().is_some()
}

fn create_page(page: &Page, errors: &FormErrors, exists: bool, query: TokenQuery) -> PageResult {
    let first = query.first.unwrap_or(false);
    let template = CreateTemplate {
        text: page.text,
        first,
        used: query.used.unwrap_or(false),
        exists,
        return_to: own_path(query.return_to),
    };
    let title = if first { "token-step-title" } else { "token-title" };
    page.show_form(&page.text.get(title), errors, &template)
}
