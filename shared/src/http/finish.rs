//! What all responses have in common, whatever the result of the request is.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{MatchedPath, Request as HttpRequest},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64URL_NOPAD;
use futures_util::FutureExt;
use tower::ServiceExt;

use super::{
    App, Routes,
    call::{Stamp, wants_html},
    page::{has_pre_session, language, problem_page},
    problem::{Code, Problem},
};
use crate::{
    env::{Clock, Entropy},
    id::TenantId,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Builds the router that serves the routes. Each request first gets its id and its timestamp. Each response gets the
/// common headers and, if it is a problem, its body. An unknown path, an unknown method and a handler that panics are
/// problems too.
pub fn serve(routes: Routes, app: Arc<App>) -> Router {
    let (router, _) = routes.split_for_parts();
    let router = router.layer(from_fn(note_path)).with_state(app.clone());
    finished(router, Arc::clone(&app.clock), Arc::clone(&app.entropy))
}

/// A router that gives the same response to every request, with the common headers: used when nothing can be served.
pub fn always<A>(answer: A, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Router
where
    A: IntoResponse + Clone + Send + Sync + 'static,
{
    finished(Router::new().fallback(async move || answer.clone()), clock, entropy)
}

/// Wraps the whole router instead of its routes, so requests that match no route pass here too.
fn finished(router: Router, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Router {
    Router::new().fallback(move |request: HttpRequest| {
        let (router, clock, entropy) = (router.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        async move { finish(router, &*clock, &*entropy, request).await }
    })
}

/// Adds the route's path pattern to the response for the log. The request's own path contains ids.
async fn note_path(request: HttpRequest, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(path);
    }
    response
}

async fn finish(router: Router, clock: &dyn Clock, entropy: &dyn Entropy, mut request: HttpRequest) -> Response {
    let now = clock.now();
    // Without randomness nothing is granted, but the log still needs an id that distinguishes the response.
    let id = entropy.bytes::<12>().map_or_else(|_| now.millis().to_string(), |id| BASE64URL_NOPAD.encode(&id));
    let method = request.method().clone();
    let page = page_kind(&request).map(|kind| (kind, language(request.headers())));
    if method == Method::HEAD {
        // axum serves HEAD as GET. No route has OPTIONS, so this request finds out which methods the path allows.
        *request.method_mut() = Method::OPTIONS;
    }
    let tenant = Arc::new(OnceLock::new());
    request.extensions_mut().insert(Stamp { id: id.clone(), tenant: Arc::clone(&tenant) });
    let mut response = match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(request_id = id, "a handler panicked");
            Problem::new(Code::Unavailable).into_response()
        }
    };
    let path = response.extensions_mut().remove::<MatchedPath>();
    let problem = problem_of(&response);
    if let Some(problem) = &problem {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = page.and_then(|page| problem_page(page, problem, &id)).unwrap_or_else(|| problem.render(&id));
        response.extensions_mut().insert(problem.code());
        // axum sets it on a 405 only.
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, without_head(&allow));
        }
    }
    common(response.headers_mut(), &id);
    let shown = response.extensions().get::<Rendered>().and_then(|Rendered(code)| *code);
    let code = shown.or(problem.as_ref().map(Problem::code));
    tracing::info!(
        request_id = id,
        tenant = tenant.get().map(TenantId::as_str),
        method = method.as_str(),
        path = path.as_ref().map(MatchedPath::as_str),
        status = response.status().as_u16(),
        code = code.map(Code::as_str),
        millis = (clock.now() - now).as_millis(),
        "answered"
    );
    response
}

/// Requests of a browser whose problems are shown as a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// A page.
    Page,
    /// The end of a sign-in: an identity provider sent the browser back to a path of the API.
    SsoReturn,
}

/// Whether a browser asks for a page, or for JSON like other clients. A browser that comes back from an identity provider has
/// the cookie of the sign-in that it started.
fn page_kind(request: &HttpRequest) -> Option<PageKind> {
    let (path, headers) = (request.uri().path(), request.headers());
    match () {
        () if !wants_html(headers) => None,
        () if !path.starts_with("/v1/") => Some(PageKind::Page),
        () if path.starts_with("/v1/sso/") && path.ends_with("/acs") && has_pre_session(headers) => {
            Some(PageKind::SsoReturn)
        }
        () => None,
    }
}

/// Marks a response as a finished page, which may say what is wrong with a form.
#[derive(Clone)]
pub(super) struct Rendered(pub(super) Option<Code>);

/// The problem in a response: one that a handler returned, or one for a bare error status of axum.
fn problem_of(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    if response.extensions().get::<Rendered>().is_some() {
        return None;
    }
    match response.status() {
        status if !status.is_client_error() && !status.is_server_error() => None,
        StatusCode::NOT_FOUND => Some(Code::NotFound.into()),
        StatusCode::METHOD_NOT_ALLOWED => Some(Code::MethodNotAllowed.into()),
        status => {
            tracing::error!(status = status.as_u16(), "a response with an error status that the API does not define");
            Some(Code::Unavailable.into())
        }
    }
}

fn without_head(allow: &HeaderValue) -> HeaderValue {
    let methods: Vec<_> = allow.to_str().unwrap_or("").split(',').map(str::trim).filter(|m| *m != "HEAD").collect();
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// The response to bytes that are not a readable HTTP request. No router sees them.
pub fn unreadable(entropy: &dyn Entropy) -> Response {
    let id = entropy.bytes::<12>().map_or_else(|_| String::from("-"), |id| BASE64URL_NOPAD.encode(&id));
    let mut response = Problem::new(Code::InvalidRequest).detail("the request is not readable HTTP").render(&id);
    common(response.headers_mut(), &id);
    response
}

fn common(headers: &mut HeaderMap, id: &str) {
    // Only the files of pages say that they may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_status_without_problem_gets_one() {
        let code = |status: StatusCode| problem_of(&status.into_response()).map(|problem| problem.code());
        assert_eq!(code(StatusCode::NOT_FOUND), Some(Code::NotFound));
        assert_eq!(code(StatusCode::IM_A_TEAPOT), Some(Code::Unavailable));
        assert_eq!(code(StatusCode::INTERNAL_SERVER_ERROR), Some(Code::Unavailable));
        assert_eq!(code(StatusCode::SEE_OTHER), None);
    }
}
