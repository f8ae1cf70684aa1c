//! The pages of sessions: `/`, `/settings/sessions`, `/logout`, and the files that all pages load.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use vestibule::{
    http::{
        ApiResult, App, Code, Routes,
        page::{
            Asset, FormErrors, ICON, Page, PageForm, PageRequest, PageResult, SCRIPT, STYLE, Text, accent_style,
            logo_file, logo_named, redirect,
        },
    },
    id::EntryId,
    secret::TokenClass,
    store::session::SessionsToEnd,
};

use crate::sessions::{SessionItem, end, end_one_session, sessions};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/", get(home))
        .route("/settings/sessions", get(show).post(submit))
        .route("/logout", get(ask).post(log_out))
        .route("/assets/{file}", get(asset))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsForm {
    /// The session to end. Without it, all others.
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsTemplate {
    text: Text,
    sessions: Vec<SessionItem>,
}

#[derive(Template)]
#[template(path = "logout.html")]
struct LogoutTemplate {
    text: Text,
}

/// A browser goes to its settings, or to sign in first. A client gets JSON.
async fn home(get: PageRequest) -> Response {
    let mut response = if get.page.request.wants_html() {
        redirect("/settings/security", [])
    } else {
        let service = json!({"service": "vestibule", "version": env!("CARGO_PKG_VERSION"), "health": "/healthz"});
        Json(service).into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn show(State(app): State<Arc<App>>, get: PageRequest) -> PageResult {
    let mut page = get.page;
    sessions_page(&app, &mut page, &FormErrors::none()).await
}

async fn sessions_page(app: &App, page: &mut Page, errors: &FormErrors) -> PageResult {
    let principal = page.principal(app).await?;
    let sessions = sessions(app, &page.request, &principal).await?;
    let template = SessionsTemplate { text: page.text, sessions };
    page.show_form(&page.text.get("sessions-title"), errors, &template)
}

async fn submit(State(app): State<Arc<App>>, post: PageForm<SessionsForm>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let principal = page.principal(&app).await?;
    let ended = match form?.id {
        None => end(&app, &page.request, &principal, &SessionsToEnd::Others).await,
        Some(id) => match EntryId::parse(&id) {
            Ok(id) => end_one_session(&app, &page.request, &principal, id).await,
            Err(_) => Err(Code::NotFound.into()),
        },
    };
    match ended {
        Ok(_) => Ok(redirect("/settings/sessions", [])),
        // It has ended already, which is what the person wanted.
        Err(problem) if problem.code() == Code::NotFound => Ok(redirect("/settings/sessions", [])),
        Err(problem) => {
            let errors = page.errors(problem, "main")?;
            sessions_page(&app, &mut page, &errors).await
        }
    }
}

/// Asks before it signs out: a link from another site must not do it.
async fn ask(get: PageRequest) -> PageResult {
    let page = get.page;
    page.show(&page.text.get("logout-title"), &LogoutTemplate { text: page.text })
}

async fn log_out(State(app): State<Arc<App>>, post: PageForm<NoFields>) -> PageResult {
    let PageForm { page, .. } = post;
    match page.request.principal(&app).await {
        Ok(principal) => {
            end(&app, &page.request, &principal, &SessionsToEnd::This).await?;
        }
        // There is no session any more. The browser forgets it too.
        Err(problem) if problem.code() != Code::Unavailable => {}
        Err(problem) => return Err(problem.into()),
    }
    let classes = [TokenClass::Session, TokenClass::Challenge, TokenClass::Enrolment];
    let mut response = redirect("/login", classes.map(|class| page.cookies.end(class)));
    // Browsers drop what they kept of the pages, so that "Back" shows none of them.
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    Ok(response)
}

/// The content of each file. Browsers keep it, because its name changes with it.
async fn asset(State(app): State<Arc<App>>, file: Result<Path<String>, PathRejection>) -> ApiResult<Response> {
    let Path(file) = file.map_err(|_| Code::NotFound)?;
    if let Some(style) = accent_style(&file) {
        return Ok(([(header::CONTENT_TYPE, STYLE_TYPE), KEPT], style).into_response());
    }
    if let Some((tenant, digest)) = logo_named(&file) {
        let logo = app.store.logo(&tenant).await?.filter(|logo| logo.digest() == digest).ok_or(Code::NotFound)?;
        return Ok(([(header::CONTENT_TYPE, "image/svg+xml"), KEPT], logo_file(&logo)).into_response());
    }
    let files: [(Asset, &str, &'static [u8]); 3] = [
        (STYLE, STYLE_TYPE, STYLE_CONTENT),
        (SCRIPT, "text/javascript; charset=utf-8", SCRIPT_CONTENT),
        (ICON, "image/svg+xml", ICON_CONTENT),
    ];
    let found = files.into_iter().find(|(asset, ..)| asset.file() == file);
    let (_, kind, content) = found.ok_or(Code::NotFound)?;
    Ok(([(header::CONTENT_TYPE, kind), KEPT], content).into_response())
}

const STYLE_TYPE: &str = "text/css; charset=utf-8";
const KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");

const STYLE_CONTENT: &[u8] = include_bytes!("../../../shared/assets/style.css");
const SCRIPT_CONTENT: &[u8] = include_bytes!("../../../shared/assets/page.js");
const ICON_CONTENT: &[u8] = include_bytes!("../../../shared/assets/icon.svg");
