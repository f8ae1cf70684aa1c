//! The cookies of a browser that signs in through an IdP: the pre-session, then the session or enrolment token.

use vestibule::{
    http::{App, Request},
    sso::{PreSession, PublicUrl},
};

const TOKEN: &str = "vestibule";
const PRE_SESSION: &str = "vestibule-sso";

/// The cookie of a session or enrolment token. `SameSite=Lax`, because the navigation starts at the IdP's page and must already
/// send the cookie.
pub(crate) fn token(app: &App, token: &str) -> String {
    let (name, secure) = (cookie_name(app, TOKEN), if is_https(app) { "; Secure" } else { "" });
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// The pre-session cookie. The IdP's response is a POST from another site, which sends only `SameSite=None` cookies, and browsers
/// accept those only with `Secure`. Over plain HTTP on loopback, `Lax` is enough: all ports belong to one site.
pub(crate) fn pre_session(app: &App, pre_session: &PreSession) -> String {
    let (name, value, life) = (cookie_name(app, PRE_SESSION), pre_session.cookie_value(), PreSession::LIFE.as_secs());
    let site = if is_https(app) { "None; Secure" } else { "Lax" };
    format!("{name}={}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}", *value)
}

/// The pre-session that the browser sent.
pub(crate) fn read_pre_session(app: &App, request: &Request) -> Option<PreSession> {
    PreSession::parse(request.cookie(&cookie_name(app, PRE_SESSION))?)
}

/// The cookie's name. With `__Host-`, neither another host nor plain HTTP can set the cookie.
fn cookie_name(app: &App, name: &str) -> String {
    format!("{}{name}", if is_https(app) { "__Host-" } else { "" })
}

fn is_https(app: &App) -> bool {
    app.public_url.as_ref().is_none_or(PublicUrl::is_https)
}
