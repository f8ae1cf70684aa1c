//! The pages `/enroll`, where a person sets up an authenticator app, and `/settings/security`, where they see its state.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Problem, Routes,
        dto::MfaDto,
        page::{Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text, own_path, with_return_to},
    },
    secret::{SecretText, TokenClass},
};

use crate::{
    confirm::{ConfirmAnswer, ConfirmRequest, confirm_enrolment},
    start::{StartRequest, start_enrolment},
};

pub(crate) fn routes() -> Routes {
    Routes::new().route("/enroll", get(show).post(submit)).route("/settings/security", get(security))
}

#[derive(Deserialize)]
struct EnrolmentQuery {
    /// The sign-in said that the reset code is needed.
    reset_code: Option<bool>,
    return_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentForm {
    step: Step,
    reset_code: Option<SecretText>,
    code: Option<SecretText>,
    return_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Make the secret, and show it.
    Start,
    /// Check the first code.
    Confirm,
}

/// Before the secret is made: a GET must not make one.
#[derive(Template)]
#[template(path = "start.html")]
struct StartTemplate {
    text: Text,
    replaces: bool,
    reset_code: Option<Field>,
    return_to: String,
}

/// The secret is shown once. After a wrong code only the field remains.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmTemplate {
    text: Text,
    shown: Option<Shown>,
    code: Field,
    again: String,
    return_to: String,
}

struct Shown {
    qr_svg: String,
    otpauth_uri: String,
    secret: String,
    account: String,
}

impl Shown {
    /// The key without the spaces that make it readable.
    fn compact(&self) -> String {
        self.secret.replace(' ', "")
    }
}

#[derive(Template)]
#[template(path = "security.html")]
struct SecurityTemplate {
    text: Text,
    mfa: MfaDto,
    excluded: bool,
    enrolled_at: Option<String>,
    token_since: Option<String>,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), EnrolmentQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let replaces = page.request.token(TokenClass::Enrolment).is_err();
    if replaces {
        let principal = page.principal(&app).await?;
        if !principal.session().is_recovering(page.request.now) {
            page.stepped_up(&principal)?;
        }
    }
    let required = query.reset_code.unwrap_or(false);
    start_page(&page, &FormErrors::none(), required, own_path(query.return_to))
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<EnrolmentForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let EnrolmentForm { step, reset_code, code, return_to } = form?;
    let return_to = own_path(return_to);
    match step {
        Step::Start => start(&app, &page, reset_code, return_to).await,
        Step::Confirm => confirm(&app, &page, code, return_to).await,
    }
}

async fn start(app: &App, page: &Page, reset_code: Option<SecretText>, return_to: String) -> PageResult {
    match start_enrolment(app, &page.request, StartRequest { reset_code }).await {
        Ok(answer) => {
            let shown = Shown {
                qr_svg: answer.qr_svg,
                otpauth_uri: answer.otpauth_uri,
                secret: answer.secret,
                account: answer.account,
            };
            confirm_page(page, &FormErrors::none(), Some(shown), return_to)
        }
        Err(problem) => {
            let required = problem.code() == Code::ResetCodeRequired;
            start_page(page, &page.errors(problem, "reset_code")?, required, return_to)
        }
    }
}

async fn confirm(app: &App, page: &Page, code: Option<SecretText>, return_to: String) -> PageResult {
    let answer = match code {
        Some(code) => confirm_enrolment(app, &page.request, &ConfirmRequest { code }).await,
        None => Err(Problem::malformed_code()),
    };
    match answer {
        Ok(ConfirmAnswer::MfaEnabled { session, .. }) => {
            Ok(page.signed_in(&session, &with_return_to("/settings/recovery-token?first=true", &return_to)))
        }
        // None is pending any more: five wrong codes ended it, or ten minutes passed.
        Err(problem) if problem.code() == Code::Conflict => {
            let errors = page.errors(problem, "main")?.saying(page.text.get("enrolment-ended"));
            start_page(page, &errors, false, return_to)
        }
        Err(problem) => confirm_page(page, &page.errors(problem, "code")?, None, return_to),
    }
}

fn start_page(page: &Page, errors: &FormErrors, reset_code: bool, return_to: String) -> PageResult {
    let replaces = page.request.token(TokenClass::Enrolment).is_err();
    let title = if replaces { "enrolment-replace-title" } else { "enrolment-title" };
    let reset_code = reset_code.then(|| Field::new(page, errors, "reset_code"));
    page.show_form(&page.text.get(title), errors, &StartTemplate { text: page.text, replaces, reset_code, return_to })
}

fn confirm_page(page: &Page, errors: &FormErrors, shown: Option<Shown>, return_to: String) -> PageResult {
    let title = if shown.is_some() { "enrolment-scan" } else { "enrolment-confirm" };
    let (code, again) = (Field::new(page, errors, "code").code(), with_return_to("/enroll", &return_to));
    page.show_form(&page.text.get(title), errors, &ConfirmTemplate { text: page.text, shown, code, again, return_to })
}

async fn security(State(app): State<Arc<App>>, get: PageRequest) -> PageResult {
    let mut page = get.page;
    let principal = page.principal(&app).await?;
    let factor = &principal.user().factor;
    let template = SecurityTemplate {
        text: page.text,
        mfa: factor.state().into(),
        excluded: principal.user().excluded.is_some(),
        enrolled_at: factor.active().map(|it| page.text.time(it.enrolled_at)),
        token_since: factor.recovery_token().map(|it| page.text.time(it.issued_at)),
    };
    page.show(&page.text.get("security-title"), &template)
}
