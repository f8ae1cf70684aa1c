//! The HTTP client of the commands: HTTPS, or plain HTTP to this machine.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Response, Uri, header},
};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{Failure, terminal};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// Time limit for opening a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for a request with its response. A chunk of an import hashes many passwords.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait if a gateway does not say it.
const RETRY: Duration = Duration::from_secs(2);

/// A server.
pub(crate) struct Server {
    /// Scheme and authority.
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<&'a Value>,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, token: None, body: None, idempotency_key: None }
    }

    pub(crate) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: &'a str, body: &'a Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, path) }
    }

    pub(crate) fn token(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }
}

/// A response with a JSON body.
pub(crate) struct Reply {
    status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The code of the problem, if the request was refused.
    pub(crate) fn code(&self) -> Option<&str> {
        self.body["code"].as_str().filter(|_| !self.is_success())
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success. `action` names the request in the error message.
    ///
    /// # Errors
    /// The code and the detail of the problem, and what to do.
    pub(crate) fn ok(self, action: &str) -> Result<Value, Failure> {
        if self.is_success() {
            return Ok(self.body);
        }
        let field = |name: &str| self.body[name].as_str().map(str::to_owned);
        let code = field("code").unwrap_or_else(|| format!("status {}", self.status));
        let detail = field("detail").or_else(|| field("title")).map(|text| format!(" ({text})")).unwrap_or_default();
        let advice = self.advice(&code).map(|text| format!(": {text}")).unwrap_or_default();
        Err(format!("{action} was refused: {code}{detail}{advice}").into())
    }

    /// Whether the server did not do what was asked.
    pub(crate) fn is_refusal(&self) -> bool {
        (400..500).contains(&self.status)
    }

    /// How long to wait before the request is sent again, if the service or the gateway before it is unavailable.
    pub(crate) fn unavailable(&self) -> Option<Duration> {
        matches!(self.status, 502..=504).then(|| self.retry_after().unwrap_or(RETRY))
    }

    fn retry_after(&self) -> Option<Duration> {
        self.body["retry_after_seconds"].as_u64().map(Duration::from_secs)
    }

    fn advice(&self, code: &str) -> Option<String> {
        match code {
            "invalid_credentials" => Some("check tenant, login name and password".to_owned()),
            "forbidden" if self.body["detail"].is_null() => Some("sign in as an Administrator".to_owned()),
            "invalid_token" | "session_refresh_required" => {
                Some(format!("sign in again with `{}`", terminal::command(&["login"])))
            }
            _ => match self.unavailable().or_else(|| self.retry_after()) {
                Some(wait) => Some(format!("try again in {} s", wait.as_secs())),
                None if self.body["code"].is_null() => Some("is the server Vestibule?".to_owned()),
                None => None,
            },
        }
    }
}

/// A request was sent, and no answer came that can be read: it is not known whether the server did it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoAnswer(String);

impl Server {
    /// # Errors
    /// The URL is neither HTTPS nor plain HTTP to this machine, or has a path. The system has no certificate authorities.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let Some((base, https)) = base(url) else {
            let why = "is not the URL of a server: --url takes https://HOST, or http://127.0.0.1:PORT on this machine";
            return Err(format!("{url} {why}").into());
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let tls = tls.with_safe_default_protocol_versions()?;
        // A machine without certificate authorities can still use its own server.
        let tls = if https {
            tls.with_native_roots().map_err(|error| {
                format!("no certificate authorities were found ({error}): install the package ca-certificates, or set SSL_CERT_FILE")
            })?
        } else {
            tls.with_root_certificates(RootCertStore::empty())
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth()).https_or_http();
        let connector = connector.enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { url: base, client })
    }

    /// The URL without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let response = self.exchange(call).await?;
        let (status, success) = (response.status().as_u16(), response.status().is_success());
        let bytes = response.into_body();
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            // A gateway explains its errors in another form.
            Err(_) if bytes.is_empty() || !success => Value::Null,
            Err(_) => return Err(NoAnswer(format!("{} answered without JSON: is it Vestibule?", self.url)).into()),
        };
        Ok(Reply { status, body })
    }

    /// Sends a request. Redirects are not followed.
    ///
    /// # Errors
    /// [`NoAnswer`]: it was sent. Otherwise no connection was made.
    pub(crate) async fn exchange(&self, call: Call<'_>) -> Result<Response<Zeroizing<Vec<u8>>>, Failure> {
        let mut request = Request::builder().method(call.method).uri(format!("{}{}", self.url, call.path));
        if let Some(token) = call.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let body = match call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.header(header::ACCEPT, "application/json").body(body)?;
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| self.not_answered(&error))?;
            let (head, body) = response.into_parts();
            let body = to_bytes(Body::new(body), MAX_RESPONSE).await.map_err(|error| {
                NoAnswer(format!("{} sent more than {MAX_RESPONSE} bytes, or not all ({})", self.url, cause(&error)))
            })?;
            Ok(Response::from_parts(head, Zeroizing::new(body.to_vec())))
        };
        timeout(TIMEOUT, answer).await.unwrap_or_else(|_| {
            let seconds = TIMEOUT.as_secs();
            Err(NoAnswer(format!("{} did not answer within {seconds} s: try again later", self.url)).into())
        })
    }

    fn not_answered(&self, error: &legacy::Error) -> Failure {
        let (url, cause) = (&self.url, cause(error));
        match error.is_connect() {
            true => format!("no server answers at {url} ({cause}): is the URL right, and is the server running there?")
                .into(),
            false => NoAnswer(format!("{url} closed the connection without an answer ({cause}): try again")).into(),
        }
    }
}

/// The first cause of an error.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Scheme and authority of a URL, and whether it is HTTPS.
fn base(url: &str) -> Option<(String, bool)> {
    let uri: Uri = url.parse().ok()?;
    let (scheme, host, authority) = (uri.scheme_str()?, uri.host()?, uri.authority()?);
    let is_loopback = || {
        let bare = host.trim_matches(['[', ']']);
        host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    };
    let allowed = scheme == "https" || (scheme == "http" && is_loopback());
    let bare = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    (allowed && bare).then(|| (format!("{scheme}://{authority}"), scheme == "https"))
}

/// A text of a response.
///
/// # Errors
/// The response has another form.
pub(crate) fn text(value: &Value) -> Result<Zeroizing<String>, Failure> {
    let text = value.as_str().ok_or("unexpected response: is the server Vestibule?")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (good, expected) in [
            ("http://127.0.0.1:8080", ("http://127.0.0.1:8080", false)),
            ("http://localhost:1/", ("http://localhost:1", false)),
            ("http://[::1]:8080/", ("http://[::1]:8080", false)),
            ("https://auth.example.com", ("https://auth.example.com", true)),
            ("https://auth.example.com:8443/", ("https://auth.example.com:8443", true)),
        ] {
            assert_eq!(base(good).as_ref().map(|(url, https)| (url.as_str(), *https)), Some(expected), "{good}");
        }
        for bad in [
            "http://10.0.0.1:80",
            "http://example.com",
            "127.0.0.1:8080",
            "http://127.0.0.1.evil/",
            "http://127.0.0.1@evil.example/",
            "https://user@auth.example.com/",
            "https://auth.example.com/path",
            "https://auth.example.com/?a=b",
            "ftp://127.0.0.1",
            "",
        ] {
            assert_eq!(base(bad), None, "{bad}");
        }
    }

    #[test]
    fn refusal_says_what_to_do() {
        let refused = |status, body| Reply { status, body }.ok("the request").unwrap_err().to_string();
        let body = json!({"code": "unavailable", "title": "Temporarily unavailable", "retry_after_seconds": 2});
        assert_eq!(
            refused(503, body),
            "the request was refused: unavailable (Temporarily unavailable): try again in 2 s"
        );
        assert!(refused(403, json!({"code": "forbidden"})).ends_with(": sign in as an Administrator"));
        let detail = json!({"code": "forbidden", "detail": "not yourself"});
        assert_eq!(refused(403, detail), "the request was refused: forbidden (not yourself)");
        assert!(refused(401, json!({"code": "invalid_token"})).contains(" login`"));
        assert_eq!(refused(502, Value::Null), "the request was refused: status 502: try again in 2 s");
        assert_eq!(refused(404, Value::Null), "the request was refused: status 404: is the server Vestibule?");
        let limited = json!({"code": "too_many_attempts", "title": "Too many attempts", "retry_after_seconds": 60});
        assert!(refused(429, limited).ends_with(": try again in 60 s"));
        assert_eq!(Reply { status: 200, body: json!({"code": "x"}) }.code(), None);
    }
}
