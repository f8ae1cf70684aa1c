//! The pages of forgotten passwords: `/password/forgot`, and those that links of mails lead to, `/password/reset` and
//! `/email/verify`. The token of a link moves to a cookie at once, so that the address bar and the history do not keep it.

mod email;

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{extract::State, response::Response, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Problem, Routes,
        page::{Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text, redirect, with_query},
    },
    id::TenantId,
    secret::{SecretText, TokenClass, TokenRef},
};

use crate::{
    MailedToken,
    confirm_reset::{NewPasswordRequest, set_password},
    request_reset::{PasswordResetRequest, ask_for_reset},
    verify_email::verify_address,
};

/// How long a browser keeps the token of a link. The token itself may live longer.
const COOKIE_LIFE: Duration = Duration::from_secs(3600);

pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/password/forgot", get(show_forgot).post(submit_forgot))
        .route("/password/reset", get(show_reset).post(submit_reset))
        .route("/email/verify", get(show_verify).post(submit_verify))
        .route(email::PATH, get(email::show).post(email::submit))
}

#[derive(Deserialize)]
struct ForgotQuery {
    /// The form was sent.
    sent: Option<bool>,
    /// The tenant that the sign-in page knows.
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct LinkQuery {
    token: Option<SecretText>,
    /// The form was sent, and the token is used up.
    done: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgotForm {
    tenant: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetForm {
    new_password: Option<SecretText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

#[derive(Template)]
#[template(path = "forgot.html")]
struct ForgotTemplate {
    text: Text,
    /// Where the form is sent. The named tenant decides how the page looks.
    action: String,
    tenant: Field,
    username: Field,
}

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetTemplate {
    text: Text,
    new_password: Field,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyTemplate {
    text: Text,
}

/// What was done, or why a link does not work.
#[derive(Template)]
#[template(path = "said.html")]
struct SaidTemplate<'a> {
    text: Text,
    id: &'a str,
}

async fn show_forgot(get: PageRequest<(), ForgotQuery>) -> PageResult {
    let PageRequest { page, query, .. } = get;
    if query.sent == Some(true) {
        return said(&page, "forgot-sent");
    }
    forgot_page(&page, &FormErrors::none(), ForgotForm { tenant: query.tenant, username: None })
}

async fn submit_forgot(State(app): State<Arc<App>>, post: PageForm<ForgotForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let form = form?;
    let tenant = form.tenant.as_deref().and_then(|text| TenantId::parse(text.trim()).ok());
    let asked = match (tenant, form.username.clone()) {
        (Some(tenant), Some(username)) => {
            ask_for_reset(&app, &page.request, &PasswordResetRequest { tenant, username }).await
        }
        (None, _) => Err(Problem::field("/tenant", "is required")),
        (_, None) => Err(Problem::field("/username", "is required")),
    };
    match asked {
        Ok(()) => Ok(redirect("/password/forgot?sent=true", [])),
        Err(problem) => forgot_page(&page, &page.errors(problem, "username")?, form),
    }
}

fn forgot_page(page: &Page, errors: &FormErrors, form: ForgotForm) -> PageResult {
    let field = |name, value: Option<String>| Field::new(page, errors, name).value(value.unwrap_or_default());
    let tenant = form.tenant.unwrap_or_default();
    let named = TenantId::parse(tenant.trim()).map(String::from).unwrap_or_default();
    let template = ForgotTemplate {
        text: page.text,
        action: with_query("/password/forgot", [("tenant", &*named)]),
        tenant: field("tenant", Some(tenant)),
        username: field("username", form.username).autocomplete("username"),
    };
    page.show_form(&page.text.get("forgot-title"), errors, &template)
}

/// Moves the token of a link to a cookie. A text that is no such token is not kept.
fn keep(app: &App, page: &Page, token: &SecretText, path: &str) -> Response {
    let read = TokenRef::parse(token.expose(), app.store.restore_epoch());
    match read.filter(|token| token.class() == TokenClass::Mail) {
        Some(_) => redirect(path, [page.cookies.set(TokenClass::Mail, token.expose(), COOKIE_LIFE)]),
        None => used_up(page, path),
    }
}

fn kept(page: &Page) -> Option<MailedToken> {
    page.token_text(TokenClass::Mail).map(MailedToken)
}

/// Goes on without the token.
fn used_up(page: &Page, path: &str) -> Response {
    redirect(path, [page.cookies.end(TokenClass::Mail)])
}

async fn show_reset(State(app): State<Arc<App>>, get: PageRequest<(), LinkQuery>) -> PageResult {
    let PageRequest { page, query, .. } = get;
    match (query.token, kept(&page)) {
        (Some(token), _) => Ok(keep(&app, &page, &token, "/password/reset")),
        (None, Some(_)) => reset_page(&page, &FormErrors::none()),
        (None, None) if query.done == Some(true) => said(&page, "choose-password-done"),
        (None, None) => said(&page, "link-ended"),
    }
}

async fn submit_reset(State(app): State<Arc<App>>, post: PageForm<ResetForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let (form, Some(token)) = (form?, kept(&page)) else { return Ok(used_up(&page, "/password/reset")) };
    let done = match form.new_password {
        Some(new_password) => set_password(&app, &page.request, &NewPasswordRequest { token, new_password }).await,
        None => Err(Problem::field("/new_password", "is required")),
    };
    match done {
        Ok(()) => {
            let ended = [TokenClass::Mail, TokenClass::Session].map(|class| page.cookies.end(class));
            Ok(redirect("/password/reset?done=true", ended))
        }
        Err(problem) if problem.code() == Code::InvalidToken => Ok(used_up(&page, "/password/reset")),
        Err(problem) => {
            let errors =
                page.errors(problem, "new_password")?.saying_at("new_password", page.text.get("choose-password-rules"));
            reset_page(&page, &errors)
        }
    }
}

fn reset_page(page: &Page, errors: &FormErrors) -> PageResult {
    let hint = page.text.get("choose-password-rules");
    let new_password = Field::new(page, errors, "new_password").password("new-password").hint(hint);
    page.show_form(&page.text.get("choose-password-title"), errors, &ResetTemplate { text: page.text, new_password })
}

async fn show_verify(State(app): State<Arc<App>>, get: PageRequest<(), LinkQuery>) -> PageResult {
    let PageRequest { page, query, .. } = get;
    match (query.token, kept(&page)) {
        (Some(token), _) => Ok(keep(&app, &page, &token, "/email/verify")),
        (None, Some(_)) => page.show(&page.text.get("verify-email-title"), &VerifyTemplate { text: page.text }),
        (None, None) if query.done == Some(true) => said(&page, "verify-email-done"),
        (None, None) => said(&page, "link-ended"),
    }
}

async fn submit_verify(State(app): State<Arc<App>>, post: PageForm<NoFields>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let (NoFields {}, Some(token)) = (form?, kept(&page)) else { return Ok(used_up(&page, "/email/verify")) };
    match verify_address(&app, &page.request, &token).await {
        Ok(()) => Ok(used_up(&page, "/email/verify?done=true")),
        Err(problem) if problem.code() == Code::InvalidToken => Ok(used_up(&page, "/email/verify")),
        Err(problem) => Err(problem.into()),
    }
}

fn said(page: &Page, id: &str) -> PageResult {
    let title = page.text.get(&format!("{id}-title"));
    page.show(&title, &SaidTemplate { text: page.text, id })
}
