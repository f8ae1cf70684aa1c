//! The pre-session cookie of a browser that signs in through an IdP.

use axum::http::HeaderValue;
use vestibule::{
    http::{App, Request, page::Cookies},
    sso::PreSession,
};

const PRE_SESSION: &str = "vestibule-sso";

/// The pre-session cookie. The IdP's response is a POST from another site, which sends only `SameSite=None` cookies, and browsers
/// accept those only with `Secure`. Over plain HTTP on loopback, `Lax` is enough: all ports belong to one site.
pub(crate) fn pre_session(app: &App, pre_session: &PreSession) -> HeaderValue {
    let cookies = Cookies::new(app);
    let (name, value, life) = (cookies.name(PRE_SESSION), pre_session.cookie_value(), PreSession::LIFE.as_secs());
    let site = if cookies.https() { "None; Secure" } else { "Lax" };
    let line = format!("{name}={}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}", *value);
    HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""))
}

/// The pre-session that the browser sent.
pub(crate) fn read_pre_session(app: &App, request: &Request) -> Option<PreSession> {
    PreSession::parse(request.cookie(&Cookies::new(app).name(PRE_SESSION))?)
}
