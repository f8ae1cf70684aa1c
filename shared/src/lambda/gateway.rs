//! What stands between a client and a function, as the environment describes it: the base path of a custom domain, whether
//! CloudFront is in front, and the origins whose pages may call the API (CORS). Nothing of it is taken from a request alone.

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

/// The header in which CloudFront proves itself: a secret that its configuration adds to each request to its origin.
const ORIGIN_SECRET: &str = "x-vestibule-origin";

/// The header in which CloudFront says who asks, as address and port. It overwrites what a client sent in it.
const VIEWER_ADDRESS: &str = "cloudfront-viewer-address";

/// What pages of other origins may use: the methods and request headers of the API, and what they may read of a response.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, idempotency-key");
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("retry-after, www-authenticate, x-request-id");

/// How long a browser may keep the answer to a preflight request, in seconds: so long an origin that is removed goes on asking.
const PREFLIGHT_KEPT: HeaderValue = HeaderValue::from_static("600");

/// The way from clients to functions. By default clients connect to API Gateway, the API has no base path, and pages of other
/// origins may not call it.
#[derive(Debug, Default)]
pub struct Gateway {
    /// With its slash: `/auth`; or empty.
    base_path: String,
    client: ClientAddress,
    origins: Vec<HeaderValue>,
}

/// Where the address of a client is from.
#[derive(Debug, Default)]
enum ClientAddress {
    /// Of the connection to API Gateway.
    #[default]
    Connection,
    /// CloudFront says it, and proves itself by a secret with this SHA-256.
    CloudFront([u8; 32]),
}

impl Gateway {
    /// Reads `VESTIBULE_BASE_PATH`, `VESTIBULE_CLIENT_ADDRESS`, `VESTIBULE_ORIGIN_SECRET_SHA256` and `VESTIBULE_CORS_ORIGINS`
    /// (docs/deploy.md). What is not set or empty has its default.
    ///
    /// # Errors
    /// Every variable that does not read.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let text = |name: &str| variable(name).unwrap_or_default();
        let base_path = faults.take(base_path(&text("VESTIBULE_BASE_PATH")));
        let client = faults.take(match &*text("VESTIBULE_CLIENT_ADDRESS") {
            "" | "connection" => Ok(ClientAddress::Connection),
            "cloudfront" => digest(&text("VESTIBULE_ORIGIN_SECRET_SHA256")).map(ClientAddress::CloudFront),
            other => Err(format!("VESTIBULE_CLIENT_ADDRESS {other}: it has to be connection or cloudfront")),
        });
        let origins = faults.take(origins(&text("VESTIBULE_CORS_ORIGINS")));
        match (base_path, client, origins) {
            (Some(base_path), Some(client), Some(origins)) => Ok(Self { base_path, client, origins }),
            _ => Err(faults),
        }
    }

    /// Takes the base path from the request's path, and says who asks, where that is known.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a request that did not come through CloudFront, [`Code::Unavailable`] for one that did and does
    /// not say who asks.
    pub(super) fn admit(&self, request: &mut Request) -> Result<(), Code> {
        // What API Gateway saw, whatever a header says. A REST API's path is told with its stage, which no route has.
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

    /// The path below the base path; the path itself where it is not below.
    fn below<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(&*self.base_path) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    fn client(&self, headers: &HeaderMap, connection: Option<IpAddr>) -> Result<Option<IpAddr>, Code> {
        let ClientAddress::CloudFront(wanted) = &self.client else { return Ok(connection) };
        let secret = headers.get(ORIGIN_SECRET).map(|secret| Sha256::digest(secret.as_bytes()));
        if !secret.is_some_and(|found| bool::from(found.as_slice().ct_eq(wanted))) {
            tracing::warn!("refused: a request that did not come through CloudFront");
            return Err(Code::NotFound);
        }
        let said = headers.get(VIEWER_ADDRESS).and_then(|value| value.to_str().ok()).and_then(without_port);
        if said.is_none() {
            tracing::error!("denied: CloudFront does not say who asks; its origin request policy has to");
        }
        said.map(Some).ok_or(Code::Unavailable)
    }

    /// The origin of the page that asks, if pages of that origin may.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Tells the browser whether a page of another origin may read the response.
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

/// Whether a browser asks beforehand what a page may send.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What pages of an allowed origin may send, whatever the path.
pub(super) const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
    (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_KEPT),
];

fn base_path(text: &str) -> Result<String, String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match text {
        "" => Ok(String::new()),
        _ if text.split('/').all(plain) => Ok(format!("/{text}")),
        _ => Err(format!("VESTIBULE_BASE_PATH {text}: it has to be as auth or company/auth")),
    }
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap_or_default();
    bytes.try_into().map_err(|_| "VESTIBULE_ORIGIN_SECRET_SHA256: it has to be 64 hexadecimal digits".to_owned())
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, String> {
    let all = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    all.map(|one| {
        let fault = || format!("VESTIBULE_CORS_ORIGINS {one}: an origin is as https://portal.example.com");
        if is_origin(one) { HeaderValue::from_str(one).map_err(|_| fault()) } else { Err(fault()) }
    })
    .collect()
}

/// An origin as browsers write it (RFC 6454): encrypted, or of this machine. `*` is none.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let own = ["localhost", "127.0.0.1", "[::1]"].contains(&authority.host());
    let encrypted = scheme == "https" || (scheme == "http" && own);
    let plain = !text.contains(['@', '*']) && text == text.to_ascii_lowercase();
    encrypted && plain && format!("{scheme}://{authority}") == text
}

/// The address of `198.51.100.7:46532`, or of `2001:db8::7:46532` with or without brackets.
fn without_port(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse().ok()
}

/// The same address at another path.
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
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Gateway, String> {
        let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        Gateway::read(find).map_err(|faults| faults.to_string())
    }

    #[test]
    fn what_does_not_read_is_a_fault() {
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
    fn a_viewers_address_has_its_port_behind_it() {
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
