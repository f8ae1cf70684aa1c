//! What all pages have in common: the frame, the headers, and what happens instead of a page.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Cookies, FormErrors, ICON, Page, SCRIPT, STYLE, Text,
    brand::Brand,
    form::{Message, problem_text},
    with_return_to,
};
use crate::{
    domain::Role,
    env::Timestamp,
    http::{
        dto::EnrolmentDto,
        finish::{PageKind, Rendered},
        problem::{Code, Problem},
    },
    language::Language,
};

/// Everything comes from this origin, no frame may contain a page, and forms are sent to this origin only.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// The response to the request for a page.
pub type PageResult = Result<Response, PageError>;

/// What is sent instead of the page.
#[derive(Debug)]
pub enum PageError {
    /// A problem, shown as a page of its own.
    Problem(Problem),
    /// The browser goes elsewhere: to sign in, or to step up.
    Redirect(Response),
}

impl<P: Into<Problem>> From<P> for PageError {
    fn from(problem: P) -> Self {
        Self::Problem(problem.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Redirect(response) => response,
        }
    }
}

/// Where a signed-in person can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Navigation {
    /// The pages of an Administrator of the tenant, or of an operator over tenant `support`.
    administers: bool,
    /// The pages of support.
    operates: bool,
}

impl Navigation {
    /// The navigation of this role.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self { administers: matches!(role, Role::Administrator | Role::Operator), operates: role == Role::Operator }
    }
}

#[derive(Template)]
#[template(path = "layout.html")]
struct Layout<'a> {
    text: Text,
    title: &'a str,
    errors: &'a [Message],
    navigation: Option<Navigation>,
    brand: Option<&'a Brand>,
    /// For each other language: its code, its name, and this page in it.
    languages: Vec<(&'static str, &'static str, String)>,
    style: String,
    script: String,
    icon: String,
    body: &'a str,
}

impl Page {
    /// Shows the page.
    ///
    /// # Errors
    /// `unavailable` if the page cannot be written.
    pub fn show(&self, title: &str, body: &impl Template) -> PageResult {
        self.show_form(title, &FormErrors::none(), body)
    }

    /// Shows the page with a form. If the form was sent and is wrong, `errors` says so at the top of the page.
    ///
    /// # Errors
    /// `unavailable` if the page cannot be written.
    pub fn show_form(&self, title: &str, errors: &FormErrors, body: &impl Template) -> PageResult {
        let (text, navigation, brand, path) = (self.text, self.navigation, self.brand.as_ref(), self.here());
        let frame = Frame { text, navigation, brand, path };
        let mut response = frame.page(errors.status(), errors.code(), title, errors.messages(), body)?;
        if self.chosen {
            let cookie = self.cookies.set_language(self.text.language().code());
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

/// What a page needs of its request.
struct Frame<'a> {
    text: Text,
    navigation: Option<Navigation>,
    brand: Option<&'a Brand>,
    path: String,
}

impl Frame<'_> {
    fn page(
        &self,
        status: StatusCode,
        code: Option<Code>,
        title: &str,
        errors: &[Message],
        body: &impl Template,
    ) -> Result<Response, Problem> {
        let body = &body.render().map_err(|error| unwritten(&error))?;
        let others = Language::ALL.into_iter().filter(|language| *language != self.text.language());
        let languages = others.map(|it| (it.code(), it.name(), in_language(&self.path, it))).collect();
        let layout = Layout {
            text: self.text,
            title,
            errors,
            navigation: self.navigation,
            brand: self.brand,
            languages,
            style: STYLE.path(),
            script: SCRIPT.path(),
            icon: ICON.path(),
            body,
        };
        let html = layout.render().map_err(|error| unwritten(&error))?;
        let mut response = (status, headers(), Body::from(html)).into_response();
        response.extensions_mut().insert(Rendered(code));
        Ok(response)
    }
}

fn unwritten(error: &askama::Error) -> Problem {
    tracing::error!(%error, "a page cannot be written");
    Code::Unavailable.into()
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ])
}

/// The same page in another language.
fn in_language(path: &str, language: Language) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("lang="));
    let pairs: Vec<_> = kept.map(str::to_owned).chain([format!("lang={}", language.code())]).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemTemplate<'a> {
    text: Text,
    what: &'a str,
    request_id: &'a str,
}

/// A problem as a page. `None` if the page cannot be written.
pub(in crate::http) fn problem_page(
    (kind, language): (PageKind, Language),
    problem: &Problem,
    request_id: &str,
) -> Option<Response> {
    let text = Text::new(language);
    let what = match (kind, problem.code()) {
        (PageKind::SsoReturn, Code::InvalidCredentials) => text.get("sso-not-accepted").into_owned(),
        _ => problem_text(text, problem),
    };
    let frame = Frame { text, navigation: None, brand: None, path: "/".to_owned() };
    let body = ProblemTemplate { text, what: &what, request_id };
    let code = problem.code();
    let mut response = frame.page(code.status(), Some(code), &text.get("problem-title"), &[], &body).ok()?;
    problem.retry_header(response.headers_mut());
    Some(response)
}

/// Sends the browser to set up an authenticator, and then to a page of this service.
#[must_use]
pub fn redirect_to_enrolment(
    cookies: Cookies,
    enrolment: &EnrolmentDto,
    reset_code_required: bool,
    return_to: &str,
    now: Timestamp,
) -> Response {
    let path = if reset_code_required { "/enroll?reset_code=true" } else { "/enroll" };
    redirect(&with_return_to(path, return_to), [cookies.enrolment(enrolment, now)])
}

/// Sends the browser to a page of this service, with cookies.
#[must_use]
pub fn redirect(path: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
