//! The pages `/verify` and `/step-up`: one field for a code.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Code, Problem, Routes,
        page::{
            Field, FormErrors, Page, PageError, PageForm, PageRequest, PageResult, Text, own_path, redirect,
            with_return_to,
        },
    },
    secret::{SecretText, TokenClass},
};

use crate::{
    check::CodeRequest,
    step_up::step_up_session,
    verify::{VerifyAnswer, sign_in},
};

/// The number of wrong codes after which the page asks about the clock of the phone.
const CLOCK_HINT: u8 = 2;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/verify", get(show_verify).post(submit_verify))
        .route("/step-up", get(show_step_up).post(submit_step_up))
}

#[derive(Deserialize)]
struct CodeQuery {
    return_to: Option<String>,
    /// Ask for a recovery token instead of a code.
    recovery: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeForm {
    code: Option<SecretText>,
    recovery_token: Option<SecretText>,
    return_to: Option<String>,
    /// How many codes of this form were wrong. It only decides whether a hint is shown.
    wrong: Option<u8>,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyTemplate {
    text: Text,
    code: Field,
    recovery: bool,
    /// The page for the other kind of code: a recovery token, or a code of the app.
    other_page: String,
    return_to: String,
    wrong: u8,
    /// Whether to ask about the clock of the phone.
    clock_hint: bool,
}

#[derive(Template)]
#[template(path = "ended.html")]
struct EndedTemplate {
    text: Text,
    /// Where the sign-in was to lead. A page there asks for another sign-in, unless this one is complete.
    return_to: String,
}

#[derive(Template)]
#[template(path = "step_up.html")]
struct StepUpTemplate {
    text: Text,
    code: Option<Field>,
    return_to: String,
    wrong: u8,
    /// Whether to ask about the clock of the phone.
    clock_hint: bool,
}

async fn show_verify(get: PageRequest<(), CodeQuery>) -> PageResult {
    let PageRequest { page, query, .. } = get;
    let return_to = own_path(query.return_to);
    if page.request.token(TokenClass::Challenge).is_err() {
        return Err(PageError::Redirect(redirect(&with_return_to("/login", &return_to), [])));
    }
    verify_page(&page, &FormErrors::none(), query.recovery.unwrap_or(false), return_to, 0)
}

async fn submit_verify(State(app): State<Arc<App>>, post: PageForm<CodeForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let form = form?;
    let (return_to, recovery) = (own_path(form.return_to), form.code.is_none() && form.recovery_token.is_some());
    let answer = match code_request(form.code.or(form.recovery_token)) {
        Ok(body) => sign_in(&app, &page.request, &body).await,
        Err(problem) => Err(problem),
    };
    match answer {
        // A user without a recovery token gets a new one first.
        Ok(VerifyAnswer::SignedIn { session, recovery: Some(_), .. }) => {
            Ok(page.signed_in(&session, &with_return_to("/settings/recovery-token?used=true", &return_to)))
        }
        Ok(VerifyAnswer::SignedIn { session, .. }) => Ok(page.signed_in(&session, &return_to)),
        Err(problem) if problem.code() == Code::InvalidToken => ended(&page, &return_to),
        Err(problem) => {
            let field = if recovery { "recovery_token" } else { "code" };
            let (errors, wrong) = wrong_code(&page, problem, field, form.wrong)?;
            verify_page(&page, &errors, recovery, return_to, wrong)
        }
    }
}

fn verify_page(page: &Page, errors: &FormErrors, recovery: bool, return_to: String, wrong: u8) -> PageResult {
    let (title, code, other_page) = if recovery {
        ("verify-recovery-title", Field::new(page, errors, "recovery_token"), "/verify")
    } else {
        ("verify-title", Field::new(page, errors, "code").code(), "/verify?recovery=true")
    };
    let (other_page, clock_hint) = (with_return_to(other_page, &return_to), wrong >= CLOCK_HINT);
    let template = VerifyTemplate { text: page.text, code, recovery, other_page, return_to, wrong, clock_hint };
    page.show_form(&page.text.get(title), errors, &template)
}

/// The challenge is used up or has expired: the person starts again.
fn ended(page: &Page, return_to: &str) -> PageResult {
    let template = EndedTemplate { text: page.text, return_to: return_to.to_owned() };
    page.show(&page.text.get("problem-title"), &template)
}

async fn show_step_up(State(app): State<Arc<App>>, get: PageRequest<(), CodeQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    let has_authenticator = principal.user().factor.active().is_some();
    step_up_page(&page, &FormErrors::none(), has_authenticator, own_path(query.return_to), 0)
}

async fn submit_step_up(State(app): State<Arc<App>>, post: PageForm<CodeForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let form = form?;
    let return_to = own_path(form.return_to);
    let answer = match code_request(form.code) {
        Ok(body) => step_up_session(&app, &page.request, &body).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(answer) => Ok(page.signed_in(&answer.session, &return_to)),
        Err(problem) if matches!(problem.code(), Code::InvalidToken | Code::SessionRefreshRequired) => {
            Err(PageError::Redirect(redirect(&with_return_to("/login", &return_to), [])))
        }
        Err(problem) => {
            let (errors, wrong) = wrong_code(&page, problem, "code", form.wrong)?;
            step_up_page(&page, &errors, true, return_to, wrong)
        }
    }
}

fn step_up_page(page: &Page, errors: &FormErrors, active: bool, return_to: String, wrong: u8) -> PageResult {
    let code = active.then(|| Field::new(page, errors, "code").code());
    let template = StepUpTemplate { text: page.text, code, return_to, wrong, clock_hint: wrong >= CLOCK_HINT };
    page.show_form(&page.text.get("step-up-title"), errors, &template)
}

fn code_request(code: Option<SecretText>) -> ApiResult<CodeRequest> {
    code.map(|code| CodeRequest { code }).ok_or_else(Problem::malformed_code)
}

/// What the form says about a problem, and how many codes were wrong by now.
fn wrong_code(
    page: &Page,
    problem: Problem,
    field: &'static str,
    wrong: Option<u8>,
) -> Result<(FormErrors, u8), PageError> {
    let now_wrong = u8::from(problem.code() == Code::InvalidCode);
    Ok((page.errors(problem, field)?, wrong.unwrap_or(0).saturating_add(now_wrong)))
}
