//! A request as a handler gets it: its form was checked, and nothing has happened yet.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{FromRequest, Path, RawPathParams, Request as HttpRequest},
    http::{HeaderMap, header, request::Parts},
};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{
    App,
    form::{self, Body, NoBody},
    page::{Cookies, cookie},
    problem::{ApiResult, Code, Problem},
};
use crate::{
    audit::{AuditAction, AuditEvent, Outcome},
    env::Timestamp,
    id::{InvalidId, TenantId},
    language::Language,
    secret::{RestoreEpoch, SecretText, TokenClass, TokenRef},
    sign_in::Attempt,
};

/// The client's address as the gateway or the socket reports it. The local server or the Lambda sets this request
/// extension. No header can set it (security.md 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The network of a client. `-` for all clients whose address is not known.
    #[must_use]
    pub fn network_of(peer: Option<Self>) -> String {
        peer.map_or_else(|| "-".to_owned(), Self::network)
    }

    /// The client's network as a short text: /24 for IPv4, /56 for IPv6.
    #[must_use]
    pub fn network(self) -> String {
        match self.0.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}")
            }
            IpAddr::V6(address) => data_encoding::HEXLOWER.encode(&address.octets()[..7]),
        }
    }
}

/// What is known of a request before it is read.
#[derive(Clone)]
pub(super) struct Stamp {
    /// The id of the request.
    pub(super) id: String,
    /// The tenant that the request names, for the log. It is known once the request was read.
    pub(super) tenant: Arc<OnceLock<TenantId>>,
}

/// A request whose form was checked: path, query, headers and body, in this order. Nothing was charged yet.
///
/// - `B` is the body: [`NoBody`], a type that deserializes from JSON (an object of at most 16 KiB), such a type in
///   [`super::Large`] or [`super::OrEmpty`], or a [`super::FormBody`].
/// - `P` is the path parameter, or a tuple of them.
/// - `Q` is a struct of query parameters.
///
/// Unknown fields and `null` are refused everywhere. `#[serde(flatten)]` does not work.
pub struct ApiRequest<B = NoBody, P = (), Q = ()> {
    /// The body.
    pub body: B,
    /// The path parameters.
    pub path: P,
    /// The query parameters.
    pub query: Q,
    /// Headers, time and id of the request.
    pub request: Request,
}

impl<B: Body, P: DeserializeOwned + Send, Q: DeserializeOwned + Send> FromRequest<Arc<App>> for ApiRequest<B, P, Q> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &Arc<App>) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let path = path(&mut parts, state).await?;
        let query = form::query(parts.uri.query().unwrap_or(""))?;
        let mut request = Request::new(parts, state.clock.now(), state.store.restore_epoch())?;
        let body = B::read(&request.headers, body).await?;
        // The time again, after the body arrived. A client that sends its body slowly must not use a token, code or step-up that
        // expired meanwhile.
        request.now = state.clock.now();
        Ok(Self { body, path, query, request })
    }
}

pub(super) async fn path<P: DeserializeOwned + Send>(parts: &mut Parts, state: &Arc<App>) -> ApiResult<P> {
    use axum::extract::FromRequestParts;
    let malformed = |problem: Option<Problem>, name: &str| {
        let (field, detail) = (format!("path:{name}"), InvalidId.to_string());
        Some(match problem {
            None => Problem::field(field, detail),
            Some(problem) => problem.and_field(field, detail),
        })
    };
    let raw =
        RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::field("path:", "must be UTF-8"))?;
    // All path parameters are ids.
    let wrong = raw.iter().filter(|(_, value)| TenantId::parse(value).is_err());
    if let Some(problem) = wrong.fold(None, |problem, (name, _)| malformed(problem, name)) {
        return Err(problem);
    }
    let read = Path::from_request_parts(parts, state).await;
    read.map(|Path(path)| path).map_err(|_| Problem::field("path:", "must be a path of this operation"))
}

/// What a request has besides path, query and body.
pub struct Request {
    /// The time of the request, taken when its body was complete. All its decisions use this time.
    pub now: Timestamp,
    /// The id of the request, which the response repeats as `X-Request-Id`.
    pub id: String,
    /// The client's address, if known.
    pub peer: Option<IpAddr>,
    /// The `User-Agent` header: at most 200 characters, without control characters.
    pub user_agent: Option<String>,
    /// The language of the mails that the request asks for: the one that the client prefers, or that of the page.
    pub language: Language,
    /// The bearer token of the API, or the cookies of a page.
    tokens: Vec<TokenRef>,
    headers: HeaderMap,
    tenant: Arc<OnceLock<TenantId>>,
}

impl Request {
    /// A request of the API. It authenticates by its bearer token; cookies do not count.
    fn new(parts: Parts, now: Timestamp, restore_epoch: RestoreEpoch) -> ApiResult<Self> {
        let request = Self::without_tokens(parts, now)?;
        let token = request.authorization("bearer").and_then(|text| TokenRef::parse(text, restore_epoch));
        request.with_tokens(token.into_iter().collect())
    }

    /// A request of a page. It authenticates by its cookies; a bearer token does not count.
    pub(super) fn of_page(
        parts: Parts,
        now: Timestamp,
        cookies: Cookies,
        restore_epoch: RestoreEpoch,
    ) -> ApiResult<Self> {
        let request = Self::without_tokens(parts, now)?;
        let tokens = cookies.tokens(&request.headers, restore_epoch);
        request.with_tokens(tokens)
    }

    fn with_tokens(mut self, tokens: Vec<TokenRef>) -> ApiResult<Self> {
        if let Some(token) = tokens.first() {
            self.set_tenant(token.user().tenant());
        }
        self.tokens = tokens;
        Ok(self)
    }

    fn without_tokens(parts: Parts, now: Timestamp) -> ApiResult<Self> {
        let Some(Stamp { id, tenant }) = parts.extensions.get::<Stamp>().cloned() else {
            tracing::error!("a handler was called outside of `serve`");
            return Err(Code::Unavailable.into());
        };
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_canonical());
        let (language, headers, tokens) = (accepted_language(&parts.headers), parts.headers, Vec::new());
        let mut request = Self { now, id, peer, user_agent: None, language, tokens, headers, tenant };
        request.user_agent = request.headers.get(header::USER_AGENT).and_then(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            (!text.is_empty()).then_some(text)
        });
        Ok(request)
    }

    /// Sets the tenant of the request for the log. The first call counts: the tenant of the bearer token, or else the
    /// one in the body. The log line does not prove that the caller belongs to it.
    pub fn set_tenant(&self, tenant: &TenantId) {
        let _ = self.tenant.set(tenant.clone());
    }

    /// The credential of the `Authorization` header if it has this scheme. Several such headers count as none.
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (is, credential) = self.header("authorization").ok()??.split_once(' ')?;
        is.eq_ignore_ascii_case(scheme).then_some(credential)
    }

    /// The client's network as a short text: /24 for IPv4, /56 for IPv6, `-` if the address is not known.
    #[must_use]
    pub fn network(&self) -> String {
        Peer::network_of(self.peer.map(Peer))
    }

    /// The token of this class: the bearer token of the API, or a page's cookie.
    ///
    /// # Errors
    /// `invalid_token` if there is none.
    pub fn token(&self, class: TokenClass) -> ApiResult<&TokenRef> {
        self.tokens.iter().find(|token| token.class() == class).ok_or_else(|| Code::InvalidToken.into())
    }

    /// A new attempt, of one execution of an operation.
    ///
    /// # Errors
    /// `unavailable` if the source of randomness fails.
    pub fn attempt(&self, app: &App) -> ApiResult<Attempt> {
        Ok(Attempt::begin(self.now, &*app.entropy)?)
    }

    /// User name and password of HTTP Basic: a client credential.
    #[must_use]
    pub fn basic(&self) -> Option<(String, SecretText)> {
        let bytes = Zeroizing::new(BASE64.decode(self.authorization("basic")?.as_bytes()).ok()?);
        let (name, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some((name.to_owned(), SecretText::new(secret.to_owned())))
    }

    /// The value of a header; `None` if it is absent.
    ///
    /// # Errors
    /// `invalid_request` if the header occurs more than once or has bytes other than visible ASCII.
    pub fn header(&self, name: &str) -> ApiResult<Option<&str>> {
        one(&self.headers, name)
    }

    /// The value of a cookie. If the name occurs more than once, the first.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.headers, name)
    }

    /// Whether the client wants an HTML page: it is a browser that navigates.
    #[must_use]
    pub fn wants_html(&self) -> bool {
        wants_html(&self.headers)
    }

    /// A new audit event of this request. The caller adds actor and subject.
    #[must_use]
    pub fn event(&self, action: AuditAction, outcome: Outcome) -> AuditEvent {
        AuditEvent::new(action, outcome, &self.id)
    }
}

/// Whether a browser that navigates sent these headers.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let media = |range: &str| range.split(';').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("text/html"));
    one(headers, "accept").is_ok_and(|accept| accept.is_some_and(|it| it.split(',').any(media)))
}

/// The language that the client prefers.
pub(super) fn accepted_language(headers: &HeaderMap) -> Language {
    let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    header.map(Language::accepted).unwrap_or_default()
}

/// The value of a header that may occur at most once.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &str) -> ApiResult<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Problem::field(format!("header:{name}"), "must occur once, in visible ASCII characters")),
    }
}
