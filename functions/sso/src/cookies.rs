//! The cookies of a browser that signs in by an IdP: the pre-session, then the session or enrolment token.

use vestibule::{
    http::{App, Request},
    sso::{PreSession, PublicUrl},
};

const TOKEN: &str = "vestibule";
const PRE_SESSION: &str = "vestibule-sso";

/// The cookie of a session or enrolment token. `Lax`: the browser comes from the IdP's page, and brings it along at once.
pub(crate) fn token(app: &App, token: &str) -> String {
    let (name, secure) = (named(app, TOKEN), if encrypted(app) { "; Secure" } else { "" });
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// The pre-session cookie. The IdP's answer is a POST from another site, which brings `SameSite=None` cookies alone, and
/// browsers take those with `Secure` alone. On this machine over plain HTTP, ports are of one site: `Lax` does.
pub(crate) fn pre_session(app: &App, pre_session: &PreSession) -> String {
    let (name, value, life) = (named(app, PRE_SESSION), pre_session.cookie_value(), PreSession::LIFE.as_secs());
    let site = if encrypted(app) { "None; Secure" } else { "Lax" };
    format!("{name}={}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}", *value)
}

/// The pre-session that the browser brings.
pub(crate) fn brought(app: &App, request: &Request) -> Option<PreSession> {
    PreSession::parse(request.cookie(&named(app, PRE_SESSION))?)
}

/// `__Host-`: no other host and no plain HTTP can set it.
fn named(app: &App, name: &str) -> String {
    format!("{}{name}", if encrypted(app) { "__Host-" } else { "" })
}

fn encrypted(app: &App) -> bool {
    app.public_url.as_ref().is_none_or(PublicUrl::is_https)
}
