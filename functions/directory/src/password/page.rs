//! The page `/settings/password`: a person changes their own password.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Code, Problem, Routes,
        page::{Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text},
    },
    password::{self, WeakPassword},
    secret::SecretText,
    store::{
        item::{AuthType, Kind},
        session::Principal,
    },
};

use super::{PasswordRequest, change_password, needs_step_up};

pub(crate) fn routes() -> Routes {
    Routes::new().route("/settings/password", get(show).post(submit))
}

#[derive(Deserialize)]
struct PasswordQuery {
    /// The password has just been changed.
    changed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    current_password: Option<SecretText>,
    new_password: Option<SecretText>,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordTemplate {
    text: Text,
    changed: bool,
    /// `None`: the person has no password here. It is not shown if the password has just been changed.
    form: Option<Fields>,
}

struct Fields {
    current: Field,
    new: Field,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), PasswordQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    let changed = query.changed.unwrap_or(false);
    if !changed && needs_step_up(&principal) && has_password(&principal) {
        page.stepped_up(&principal)?;
    }
    password_page(&page, &principal, &FormErrors::none(), changed)
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<PasswordForm>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let (problem, new) = match form.and_then(PasswordForm::filled) {
        Ok(body) => match change_password(&app, &page.request, &body).await {
            Ok(session) => return Ok(page.signed_in(&session, "/settings/password?changed=true")),
            Err(problem) => (problem, Some(body.new_password)),
        },
        Err(problem) => (problem, None),
    };
    // The fifth wrong password has ended the session, and the browser goes to sign in.
    let principal = page.principal(&app).await?;
    let why = match problem.code() {
        Code::InvalidCredentials => Some("password-wrong"),
        Code::InvalidRequest => new.and_then(|new| weakness(&new, principal.user().kind)),
        _ => None,
    };
    let errors = page.errors(problem, "current_password")?;
    let errors = match why {
        Some(why) => errors.saying(page.text.get(why)),
        None => errors,
    };
    password_page(&page, &principal, &errors, false)
}

impl PasswordForm {
    fn filled(self) -> Result<PasswordRequest, Problem> {
        match (self.current_password, self.new_password) {
            (Some(current_password), Some(new_password)) => Ok(PasswordRequest { current_password, new_password }),
            (None, Some(_)) => Err(Problem::field("/current_password", "is missing")),
            (Some(_), None) => Err(Problem::field("/new_password", "is missing")),
            (None, None) => {
                Err(Problem::field("/current_password", "is missing").and_field("/new_password", "is missing"))
            }
        }
    }
}

/// Which rule a refused password breaks.
fn weakness(new: &SecretText, kind: Kind) -> Option<&'static str> {
    match password::acceptable(new.expose(), Some(kind)).err()? {
        WeakPassword::TooShort if kind == Kind::Contact => Some("password-too-short-contact"),
        WeakPassword::TooShort => Some("password-too-short"),
        WeakPassword::TooLong => Some("password-too-long"),
        WeakPassword::Common => Some("password-common"),
    }
}

fn has_password(principal: &Principal) -> bool {
    principal.user().auth_type == AuthType::Local
}

fn password_page(page: &Page, principal: &Principal, errors: &FormErrors, changed: bool) -> PageResult {
    let rule = match principal.user().kind {
        Kind::Contact => "password-rule-contact",
        Kind::Employee => "password-rule-employee",
    };
    let fields = || Fields {
        current: Field::new(page, errors, "current_password").password("current-password"),
        new: Field::new(page, errors, "new_password").password("new-password").hint(page.text.get(rule)),
    };
    let template = PasswordTemplate { text: page.text, changed, form: has_password(principal).then(fields) };
    page.show_form(&page.text.get("security-password-change"), errors, &template)
}
