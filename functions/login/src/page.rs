//! The page `/login`: tenant, username and password, or the way to the tenant's identity provider.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Problem, Routes,
        page::{
            Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text, own_path, redirect,
            redirect_to_enrolment, with_query, with_return_to,
        },
    },
    id::TenantId,
    secret::{SecretText, TokenClass},
};

use crate::{LoginAnswer, LoginRequest, sign_in};

pub(crate) fn routes() -> Routes {
    Routes::new().route("/login", get(show).post(submit))
}

#[derive(Deserialize)]
struct LoginQuery {
    tenant: Option<String>,
    return_to: Option<String>,
}

/// The fields as they were sent, so that the form can show them again. The password is never shown.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LoginForm {
    tenant: Option<String>,
    username: Option<String>,
    password: Option<SecretText>,
    return_to: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginTemplate {
    text: Text,
    tenant: Field,
    username: Field,
    password: Field,
    sso_tenant: Field,
    return_to: String,
    /// Where the form is sent. It names the tenant whose brand the page has, if there is one.
    action: String,
    /// The page for a forgotten password, with the same tenant.
    forgot: String,
    sso: Sso,
}

/// What the page knows of the tenant's identity provider.
enum Sso {
    /// No tenant is named: ask for it.
    Unknown,
    /// The tenant has none.
    None { tenant: String },
    /// Where the sign-in there starts.
    Link { tenant: String, href: String },
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), LoginQuery>) -> PageResult {
    let PageRequest { page, query, .. } = get;
    let sso = match &query.tenant {
        Some(tenant) => sso(&app, tenant, query.return_to.as_deref()).await?,
        None => Sso::Unknown,
    };
    let form = LoginForm { tenant: query.tenant, return_to: query.return_to, ..LoginForm::default() };
    form_page(&page, &FormErrors::none(), form, sso)
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<LoginForm>) -> PageResult {
    let PageForm { page, form, .. } = post;
    let form = form?;
    let return_to = own_path(form.return_to.clone());
    let answer = match request(&page, &form) {
        Ok(body) => sign_in(&app, &page.request, body).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(answer) => Ok(next_page(&page, &answer, &return_to)),
        Err(problem) => form_page(&page, &page.errors(problem, "password")?, form, Sso::Unknown),
    }
}

/// The request of the API that the form makes. All fields that are wrong are named.
fn request(page: &Page, form: &LoginForm) -> ApiResult<LoginRequest> {
    let tenant = form.tenant.as_deref().and_then(|text| TenantId::parse(text.trim()).ok());
    match (tenant, form.username.clone(), &form.password) {
        (Some(tenant), Some(username), Some(password)) => Ok(LoginRequest {
            tenant,
            username,
            password: SecretText::new(password.expose().to_owned()),
            device_token: page.token_text(TokenClass::Device),
        }),
        (tenant, username, password) => {
            let missing =
                [("/tenant", tenant.is_none()), ("/username", username.is_none()), ("/password", password.is_none())];
            let mut fields = missing.into_iter().filter(|(_, missing)| *missing).map(|(field, _)| field);
            let first = Problem::field(fields.next().unwrap_or_default(), "is required");
            Err(fields.fold(first, |problem, field| problem.and_field(field, "is required")))
        }
    }
}

/// The cookie of what the password led to, and the page that comes next.
fn next_page(page: &Page, answer: &LoginAnswer, return_to: &str) -> Response {
    match answer {
        LoginAnswer::SignedIn { session, .. } => page.signed_in(session, return_to),
        LoginAnswer::MfaRequired { challenge } => {
            let (token, until) = (&challenge.token, challenge.expires_at);
            let cookie = page.cookies.until(TokenClass::Challenge, token, until, page.request.now);
            redirect(&with_return_to("/verify", return_to), [cookie])
        }
        LoginAnswer::EnrolmentRequired { enrolment, reset_code_required } => {
            redirect_to_enrolment(page.cookies, enrolment, *reset_code_required, return_to, page.request.now)
        }
    }
}

async fn sso(app: &App, tenant: &str, return_to: Option<&str>) -> ApiResult<Sso> {
    let Ok(id) = TenantId::parse(tenant.trim()) else { return Ok(Sso::Unknown) };
    let tenant = id.as_str().to_owned();
    Ok(match app.store.idp(&id).await?.configured() {
        Some(_) => {
            let href = with_return_to(&format!("/v1/sso/{tenant}/login"), return_to.unwrap_or("/"));
            Sso::Link { tenant, href }
        }
        None => Sso::None { tenant },
    })
}

fn form_page(page: &Page, errors: &FormErrors, form: LoginForm, sso: Sso) -> PageResult {
    let tenant = form.tenant.unwrap_or_default();
    let named = TenantId::parse(tenant.trim()).map(String::from).unwrap_or_default();
    let template = LoginTemplate {
        text: page.text,
        action: with_query("/login", [("tenant", &*named)]),
        forgot: with_query("/password/forgot", [("tenant", &*named)]),
        tenant: Field::new(page, errors, "tenant").value(&tenant).autocomplete("organization"),
        username: Field::new(page, errors, "username")
            .value(form.username.unwrap_or_default())
            .autocomplete("username"),
        password: Field::new(page, errors, "password").password("current-password"),
        sso_tenant: Field::new(page, &FormErrors::none(), "tenant").value(tenant).id("sso-tenant"),
        return_to: own_path(form.return_to),
        sso,
    };
    page.show_form(&page.text.get("login-title"), errors, &template)
}
