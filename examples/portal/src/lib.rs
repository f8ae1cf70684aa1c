//! An example of a portal: a web application whose users sign in with Vestibule.
//!
//! - A page for signed-in users asks Vestibule who the session belongs to ([`SignedIn`]).
//! - A payment needs a code that the user entered within the last five minutes ([`SignedIn::is_fresh`]).
//!
//! The portal and Vestibule share one address, so that the portal receives the session cookie. Here the portal forwards every path
//! that is not its own to Vestibule, which is enough for development. In production, let CloudFront or a load balancer choose by
//! path: Vestibule counts attempts by client network, so it has to see the client's address.

mod forward;
mod session;

use std::sync::Arc;

use askama::Template;
use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;

pub use session::SignedIn;

/// How the portal reaches Vestibule, and how it is reached.
pub struct Config {
    /// The address at which browsers reach the portal, like `http://127.0.0.1:8090`. Vestibule has the same as its public URL.
    pub public_url: String,
    /// The address of Vestibule, like `http://127.0.0.1:8080`.
    pub vestibule: String,
    /// The client credential of the portal, from `POST /v1/admin/clients`.
    pub client_id: String,
    /// The secret of the client credential.
    pub client_secret: String,
    /// The current time in seconds since 1970.
    pub clock: fn() -> u64,
}

struct Portal {
    config: Config,
    http: Client<HttpConnector, axum::body::Body>,
}

/// The paths of the portal. All others are Vestibule's.
pub fn router(config: Config) -> Router {
    let http = Client::builder(TokioExecutor::new()).build_http();
    Router::new()
        .route("/portal", get(invoices))
        .route("/portal/pay", get(payment_form).post(pay))
        .fallback(forward::forward)
        .with_state(Arc::new(Portal { config, http }))
}

#[derive(Template)]
#[template(path = "invoices.html")]
struct Invoices<'a> {
    user: &'a SignedIn,
}

#[derive(Template)]
#[template(path = "pay.html")]
struct Pay<'a> {
    user: &'a SignedIn,
    paid: Option<u32>,
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        // A page about a user must not be in a cache when they have signed out.
        Ok(html) => ([(header::CACHE_CONTROL, "no-store")], Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A page for signed-in users.
async fn invoices(user: SignedIn) -> Response {
    page(&Invoices { user: &user })
}

/// The form of a payment. It asks for a code before it shows the form, so that nothing that the user types is lost.
async fn payment_form(State(portal): State<Arc<Portal>>, user: SignedIn) -> Response {
    match user.is_fresh((portal.config.clock)()) {
        true => page(&Pay { user: &user, paid: None }),
        false => confirm_first(),
    }
}

#[derive(Deserialize)]
struct Payment {
    amount: u32,
}

/// A payment.
async fn pay(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    user: SignedIn,
    Form(payment): Form<Payment>,
) -> Response {
    // The browser sends the session cookie with forms of other sites, too.
    if headers.get(header::ORIGIN).is_none_or(|origin| origin != portal.config.public_url.as_str()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match user.is_fresh((portal.config.clock)()) {
        true => page(&Pay { user: &user, paid: Some(payment.amount) }),
        false => confirm_first(),
    }
}

fn confirm_first() -> Response {
    Redirect::to("/step-up?return_to=/portal/pay").into_response()
}
