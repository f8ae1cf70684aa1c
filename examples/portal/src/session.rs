//! Who the user is: the portal asks Vestibule (RFC 7662).

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::FromRequestParts,
    http::{HeaderMap, Method, Request, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use data_encoding::BASE64;
use serde::Deserialize;

use crate::Portal;

/// How long a code counts as fresh, in seconds.
const FRESH: u64 = 300;

/// How many bytes of an answer are read.
const MAX_ANSWER: usize = 64 * 1024;

/// A signed-in user. A request without a valid session is sent to the sign-in page, and returns after it.
#[derive(Debug, Deserialize)]
pub struct SignedIn {
    /// The id of the user within the tenant.
    pub sub: String,
    /// The tenant.
    pub tenant: String,
    /// The login name.
    pub username: String,
    /// How the user signed in (RFC 8176): `otp` is a code of the authenticator app.
    pub amr: Vec<String>,
    /// When the user last entered a password or code, in seconds since 1970.
    pub auth_time: u64,
}

impl SignedIn {
    /// Whether the user entered a code of the authenticator app within the last five minutes. A recovery token is no such code:
    /// it may be stolen. `now`: seconds since 1970.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.amr.iter().any(|method| method == "otp") && now.checked_sub(self.auth_time).is_some_and(|age| age < FRESH)
    }
}

/// The answer of the introspection.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Active(SignedIn),
    Inactive {},
}

impl FromRequestParts<Arc<Portal>> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Response> {
        let user = match session_cookie(&parts.headers) {
            // Whatever fails, nobody is signed in.
            Some(token) => {
                portal.introspect(token).await.map_err(|()| StatusCode::SERVICE_UNAVAILABLE.into_response())?
            }
            None => None,
        };
        let query = serde_urlencoded::to_string([("return_to", parts.uri.path())]).unwrap_or_default();
        user.ok_or_else(|| Redirect::to(&format!("/login?{query}")).into_response())
    }
}

/// The session in the cookie that Vestibule has set. Its name has no prefix on plain HTTP, which is for development.
fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find_map(|(name, value)| matches!(name, "__Host-vestibule" | "vestibule").then_some(value))
}

impl Portal {
    /// The user of a session token, or none if it is not valid.
    async fn introspect(&self, token: &str) -> Result<Option<SignedIn>, ()> {
        let config = &self.config;
        let credential = BASE64.encode(format!("{}:{}", config.client_id, config.client_secret).as_bytes());
        let form = serde_urlencoded::to_string([("token", token)]).map_err(drop)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v1/introspect", config.vestibule))
            .header(header::AUTHORIZATION, format!("Basic {credential}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .map_err(drop)?;
        let response = self.http.request(request).await.map_err(drop)?;
        if response.status() != StatusCode::OK {
            return Err(());
        }
        let body = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await.map_err(drop)?;
        Ok(match serde_json::from_slice(&body).map_err(drop)? {
            Answer::Active(user) => Some(user),
            Answer::Inactive {} => None,
        })
    }
}
