//! What is between a client and a function: the base path of a custom domain, CloudFront, and the origins whose pages
//! may call the API (CORS). All of it is configured by environment variables; a request alone is never trusted for it.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery},
};
use lambda_http::{RequestExt, request::RequestContext};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ConfigErrors;
use crate::http::{Code, Peer};

/// The header that proves that a request came through CloudFront: a secret that CloudFront's configuration adds.
const ORIGIN_SECRET: &str = "x-vestibule-origin";

/// The header in which CloudFront sends the client's address and port. CloudFront overwrites a value sent by the
/// client.
const VIEWER_ADDRESS: &str = "cloudfront-viewer-address";

/// The methods and request headers that pages of other origins may use, and the response headers that they may read.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, idempotency-key");
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("retry-after, www-authenticate, x-request-id");

/// How long a browser may cache the response to a preflight request, in seconds. A removed origin can call the API for
/// this long.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The settings of the path from clients to functions. By default clients connect to API Gateway, the API has no base
/// path, and pages of other origins may not call it.
#[derive(Debug, Default)]
pub struct Gateway {
    /// With a slash at the start, as `/auth`; or empty.
    base_path: String,
    client: ClientAddress,
    origins: Vec<HeaderValue>,
}

/// How the client's address is determined.
#[derive(Debug, Default)]
enum ClientAddress {
    /// From the connection to API Gateway.
    #[default]
    Connection,
    /// From a header of CloudFront. CloudFront proves itself with a secret that has this SHA-256.
    CloudFront([u8; 32]),
}

impl Gateway {
    /// Reads `VESTIBULE_BASE_PATH`, `VESTIBULE_CLIENT_ADDRESS`, `VESTIBULE_ORIGIN_SECRET_SHA256` and
    /// `VESTIBULE_CORS_ORIGINS` (docs/deploy.md). An unset or empty variable has its default.
    ///
    /// # Errors
    /// One error for each invalid variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let text = |name: &str| variable(name).unwrap_or_default();
        let base_path = faults.take(base_path(&text("VESTIBULE_BASE_PATH")));
        let client = faults.take(match &*text("VESTIBULE_CLIENT_ADDRESS") {
            "" | "connection" => Ok(ClientAddress::Connection),
            "cloudfront" => digest(&text("VESTIBULE_ORIGIN_SECRET_SHA256")).map(ClientAddress::CloudFront),
            other => Err(format!("VESTIBULE_CLIENT_ADDRESS {other}: it must be connection or cloudfront")),
        });
        let origins = faults.take(origins(&text("VESTIBULE_CORS_ORIGINS")));
        match (base_path, client, origins) {
            (Some(base_path), Some(client), Some(origins)) => Ok(Self { base_path, client, origins }),
            _ => Err(faults),
        }
    }

    /// Removes the base path from the request's path, and sets the client's address if it is known.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a request that did not come through CloudFront, [`Code::Unavailable`] if it did and has
    /// no client address.
    pub(super) fn admit(&self, request: &mut Request) -> Result<(), Code> {
        // The address that API Gateway saw; headers are ignored. The path of a REST API includes the stage, which no
        // route has.
        let (connection, path) = match request.extensions().get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV2(context)) => (context.http.source_ip.clone(), request.uri().path()),
            Some(RequestContext::ApiGatewayV1(context)) => {
                (context.identity.source_ip.clone(), request.raw_http_path())
            }
            _ => (None, request.uri().path()),
        };
        let path = self.below(path).to_owned();
        let connection = connection.and_then(|text| text.parse::<IpAddr>().ok());
        if let Some(uri) = at(request.uri(), &path) {
            *request.uri_mut() = uri;
        }
        if let Some(address) = self.client(request.headers(), connection)? {
            request.extensions_mut().insert(Peer(address));
        }
        Ok(())
    }

    /// The path below the base path, or the path itself if it is not below the base path.
    fn below<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(&*self.base_path) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    fn client(&self, headers: &HeaderMap, connection: Option<IpAddr>) -> Result<Option<IpAddr>, Code> {
        let ClientAddress::CloudFront(expected) = &self.client else { return Ok(connection) };
        let secret = headers.get(ORIGIN_SECRET).map(|secret| Sha256::digest(secret.as_bytes()));
        if !secret.is_some_and(|found| bool::from(found.as_slice().ct_eq(expected))) {
            tracing::warn!("refused: a request that did not come through CloudFront");
            return Err(Code::NotFound);
        }
        let address = headers.get(VIEWER_ADDRESS).and_then(|value| value.to_str().ok()).and_then(without_port);
        if address.is_none() {
            tracing::error!("denied: CloudFront sent no client address; its origin request policy must add it");
        }
        address.map(Some).ok_or(Code::Unavailable)
    }

    /// The origin of the calling page, if this origin may call the API.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Adds the CORS headers that tell the browser whether the page may read the response.
    pub(super) fn share(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

/// Whether this is a preflight request: a browser checks what a page may send.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The preflight response for an allowed origin, for all paths.
pub(super) const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
    (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE),
];

fn base_path(text: &str) -> Result<String, String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match text {
        "" => Ok(String::new()),
        _ if text.split('/').all(plain) => Ok(format!("/{text}")),
        _ => Err(format!("VESTIBULE_BASE_PATH {text}: it must look like auth or company/auth")),
    }
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap_or_default();
    bytes.try_into().map_err(|_| "VESTIBULE_ORIGIN_SECRET_SHA256: it must be 64 hexadecimal digits".to_owned())
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, String> {
    let all = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    all.map(|one| {
        let fault = || format!("VESTIBULE_CORS_ORIGINS {one}: an origin must look like https://portal.example.com");
        if is_origin(one) { HeaderValue::from_str(one).map_err(|_| fault()) } else { Err(fault()) }
    })
    .collect()
}

/// Whether this is an origin as browsers write it (RFC 6454), with HTTPS or on this machine. `*` is not an origin.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let own = ["localhost", "127.0.0.1", "[::1]"].contains(&authority.host());
    let encrypted = scheme == "https" || (scheme == "http" && own);
    let plain = !text.contains(['@', '*']) && text == text.to_ascii_lowercase();
    encrypted && plain && format!("{scheme}://{authority}") == text
}

/// The address in `198.51.100.7:46532`, or in `2001:db8::7:46532` with or without brackets.
fn without_port(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse().ok()
}

/// The same URI with another path.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    let path = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Gateway, String> {
        let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        Gateway::read(find).map_err(|faults| faults.to_string())
    }

    #[test]
    fn invalid_variable_is_an_error() {
        for (name, value, right) in [
            ("VESTIBULE_BASE_PATH", "auth", true),
            ("VESTIBULE_BASE_PATH", "company/auth_1", true),
            ("VESTIBULE_BASE_PATH", "/auth", false),
            ("VESTIBULE_BASE_PATH", "auth/", false),
            ("VESTIBULE_BASE_PATH", "a%2fb", false),
            ("VESTIBULE_CLIENT_ADDRESS", "connection", true),
            ("VESTIBULE_CLIENT_ADDRESS", "cloudfront", false),
            ("VESTIBULE_CLIENT_ADDRESS", "x-forwarded-for", false),
            ("VESTIBULE_CORS_ORIGINS", "https://portal.example.com, http://localhost:3000", true),
            ("VESTIBULE_CORS_ORIGINS", "*", false),
            ("VESTIBULE_CORS_ORIGINS", "https://*.example.com", false),
            ("VESTIBULE_CORS_ORIGINS", "https://portal.example.com/", false),
            ("VESTIBULE_CORS_ORIGINS", "https://Portal.example.com", false),
            ("VESTIBULE_CORS_ORIGINS", "https://a@portal.example.com", false),
            ("VESTIBULE_CORS_ORIGINS", "http://portal.example.com", false),
            ("VESTIBULE_CORS_ORIGINS", "ftp://localhost", false),
            ("VESTIBULE_CORS_ORIGINS", "null", false),
        ] {
            let found = read(&[(name, value)]);
            assert_eq!(found.is_ok(), right, "{name} {value}: {found:?}");
        }
        let cloudfront = |digest: &str| {
            read(&[("VESTIBULE_CLIENT_ADDRESS", "cloudfront"), ("VESTIBULE_ORIGIN_SECRET_SHA256", digest)])
        };
        assert!(cloudfront(&"0a".repeat(32)).is_ok());
        for wrong in ["", "0a", &"0a".repeat(33), &"zz".repeat(32)] {
            assert!(cloudfront(wrong).unwrap_err().contains("VESTIBULE_ORIGIN_SECRET_SHA256"), "{wrong}");
        }
    }

    #[test]
    fn base_path_is_removed_only_as_whole_parts() {
        let gateway = read(&[("VESTIBULE_BASE_PATH", "auth")]).unwrap();
        for (path, below) in [("/auth/v1", "/v1"), ("/auth", "/"), ("/authority/v1", "/authority/v1"), ("/v1", "/v1")] {
            assert_eq!(gateway.below(path), below);
        }
    }

    #[test]
    fn preflight_has_its_method_and_header() {
        let preflight = |method: Method, name: HeaderName| {
            is_preflight(&Request::builder().method(method).header(name, "GET").body(Body::empty()).unwrap())
        };
        assert!(preflight(Method::OPTIONS, header::ACCESS_CONTROL_REQUEST_METHOD));
        assert!(!preflight(Method::GET, header::ACCESS_CONTROL_REQUEST_METHOD));
        assert!(!preflight(Method::OPTIONS, header::ORIGIN));
    }

    #[test]
    fn viewer_address_needs_a_port() {
        for (text, address) in [
            ("198.51.100.7:46532", Some("198.51.100.7")),
            ("2001:db8::7:46532", Some("2001:db8::7")),
            ("[2001:db8::7]:46532", Some("2001:db8::7")),
            ("198.51.100.7", None),
            ("198.51.100.7:", None),
            ("198.51.100.7:46532, 203.0.113.1:1", None),
            ("", None),
        ] {
            assert_eq!(without_port(text), address.map(|it| it.parse().unwrap()), "{text}");
        }
    }
}
