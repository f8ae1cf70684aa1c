//! The page `/admin/users/{id}/mfa-reset`: resets a user's MFA, and shows the reset code once.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Line, Problem, Routes,
        dto::{ResetDto, UserDto},
        page::{Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text},
    },
    id::UserId,
    policy,
    secret::TokenClass,
};

use crate::{ResetRequest, reset_user};

pub(crate) fn routes() -> Routes {
    Routes::new().route("/admin/users/{id}/mfa-reset", get(show).post(submit))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetForm {
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetTemplate {
    text: Text,
    user: UserDto,
    /// `None` if the page is about the caller, who cannot reset themselves.
    reason: Option<Field>,
}

/// After the reset. The code is shown once.
#[derive(Template)]
#[template(path = "done.html")]
struct DoneTemplate {
    text: Text,
    user: UserDto,
    /// The reset code, and until when it works.
    code: Option<(String, String)>,
    enrol_by: String,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<UserId>) -> PageResult {
    let PageRequest { mut page, path: id, .. } = get;
    let caller = page.principal(&app).await?;
    let user = read_user(&app, &page, id).await?;
    let own = user.id == caller.token().user().user().as_str();
    if !own {
        page.stepped_up(&caller)?;
    }
    form_page(&page, &FormErrors::none(), user, own, String::new())
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<ResetForm, UserId>) -> PageResult {
    let PageForm { mut page, path: id, form } = post;
    let reason = form?.reason.unwrap_or_default();
    let caller = page.principal(&app).await?;
    let done = match Line::try_from(reason.trim().to_owned()) {
        Ok(reason) => reset_user(&app, &page.request, id.clone(), &ResetRequest { reason }).await,
        Err(detail) => Err(Problem::field("/reason", detail)),
    };
    match done {
        Ok(done) => done_page(&page, done),
        Err(problem) if problem.code() == Code::Forbidden || problem.code() == Code::NotFound => Err(problem.into()),
        Err(problem) => {
            let over_budget = problem.code() == Code::TooManyAttempts;
            let errors = page.errors(problem, "reason")?;
            let errors = if over_budget { errors.saying(page.text.get("reset-too-many")) } else { errors };
            let user = read_user(&app, &page, id).await?;
            let own = user.id == caller.token().user().user().as_str();
            form_page(&page, &errors, user, own, reason)
        }
    }
}

/// The user to reset, for an Administrator of their tenant.
async fn read_user(app: &App, page: &Page, id: UserId) -> Result<UserDto, Problem> {
    let token = page.request.token(TokenClass::Session)?;
    let (caller, target) = app.store.load_user(token, id, page.request.now).await?;
    page.request.may_read(app, &caller).await?;
    let (user, profile) = target.read()?.ok_or(Code::NotFound)?;
    Ok(UserDto::new(target.key(), &user, &profile))
}

fn form_page(page: &Page, errors: &FormErrors, user: UserDto, own: bool, reason: String) -> PageResult {
    let reason = (!own).then(|| Field::new(page, errors, "reason").value(reason));
    let title = page.text.with("reset-title", "name", user.display_name.as_str());
    page.show_form(&title, errors, &ResetTemplate { text: page.text, user, reason })
}

fn done_page(page: &Page, done: ResetDto) -> PageResult {
    let text = page.text;
    let code_until = text.time(page.request.now + policy::RESET_CODE_LIFE);
    let title = text.with("reset-done-title", "name", done.user.display_name.as_str());
    let code = done.reset_code.map(|code| (code, code_until));
    let template = DoneTemplate { text, user: done.user, code, enrol_by: text.time(done.enrol_by) };
    page.show(&title, &template)
}
