//! A request, as a handler gets it: its form is right, and nothing has happened yet.

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
    problem::{ApiResult, Code, Problem},
};
use crate::{
    audit::{Action, AuditEvent, Outcome},
    env::Timestamp,
    id::{InvalidId, TenantId},
    secret::{RestoreEpoch, SecretText, TokenClass, TokenRef},
    sign_in::Attempt,
};

/// The client's address as the gateway or the socket knows it: a request extension, which the local server and the Lambda
/// set. No header can say it (security.md 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The client's network, /24 or /56, as short text.
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

/// When a request began and its id, fixed before anything else is done with it.
#[derive(Clone)]
pub(super) struct Stamp {
    pub(super) now: Timestamp,
    pub(super) id: String,
    /// Which tenant the request speaks of, for the log: known once the request was read.
    pub(super) tenant: Arc<OnceLock<TenantId>>,
}

/// One request whose form is right: path, query, headers and body were checked in this order, and nothing was charged.
///
/// - `B` is the body: [`NoBody`], any type that reads from JSON (an object of at most 16 KiB), that in [`super::Large`] or
///   [`super::OrEmpty`], or a [`super::FormBody`].
/// - `P` is the path's parameter, or a tuple of them.
/// - `Q` is a struct of query parameters.
///
/// Fields that a struct does not have are refused, `null` is refused everywhere, and `#[serde(flatten)]` does not work.
pub struct ApiRequest<B = NoBody, P = (), Q = ()> {
    /// The body.
    pub body: B,
    /// The path's parameters.
    pub path: P,
    /// The query's.
    pub query: Q,
    /// The rest.
    pub request: Request,
}

impl<B: Body, P: DeserializeOwned + Send, Q: DeserializeOwned + Send> FromRequest<Arc<App>> for ApiRequest<B, P, Q> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &Arc<App>) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let path = path(&mut parts, state).await?;
        let query = form::query(parts.uri.query().unwrap_or(""))?;
        let mut request = Request::new(parts, state.store.restored())?;
        let body = B::read(&request.headers, body).await?;
        // Whoever sends slowly must not be judged by the time they began at: tokens, codes and step-ups end meanwhile.
        request.now = state.clock.now();
        Ok(Self { body, path, query, request })
    }
}

async fn path<P: DeserializeOwned + Send>(parts: &mut Parts, state: &Arc<App>) -> ApiResult<P> {
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
    // Every parameter of a path is an id.
    let wrong = raw.iter().filter(|(_, value)| TenantId::parse(value).is_err());
    if let Some(problem) = wrong.fold(None, |problem, (name, _)| malformed(problem, name)) {
        return Err(problem);
    }
    let read = Path::from_request_parts(parts, state).await;
    read.map(|Path(path)| path).map_err(|_| Problem::field("path:", "must be of this operation"))
}

/// What a request says beside path, query and body.
pub struct Request {
    /// Its moment, when all of it was there: the only one that its decisions are about.
    pub now: Timestamp,
    /// Its id, the response's `X-Request-Id`.
    pub id: String,
    /// The client's address, where it is known.
    pub peer: Option<IpAddr>,
    /// What the client's program calls itself: at most 200 characters, none of them a control character.
    pub user_agent: Option<String>,
    bearer: Option<TokenRef>,
    headers: HeaderMap,
    tenant: Arc<OnceLock<TenantId>>,
}

impl Request {
    fn new(parts: Parts, restored: RestoreEpoch) -> ApiResult<Self> {
        let Some(Stamp { now, id, tenant }) = parts.extensions.get::<Stamp>().cloned() else {
            tracing::error!("a handler was called outside of `serve`");
            return Err(Code::Unavailable.into());
        };
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_canonical());
        let mut request = Self { now, id, peer, user_agent: None, bearer: None, headers: parts.headers, tenant };
        request.user_agent = request.headers.get(header::USER_AGENT).and_then(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            (!text.is_empty()).then_some(text)
        });
        request.bearer = request.authorization("bearer").and_then(|text| TokenRef::parse(text, restored));
        if let Some(token) = &request.bearer {
            request.speaks_of(token.user().tenant());
        }
        Ok(request)
    }

    /// The tenant that the request names, for its line in the log. The first that is named stays: whose token it is, else
    /// what the body says. Nothing is proven by it.
    pub fn speaks_of(&self, tenant: &TenantId) {
        let _ = self.tenant.set(tenant.clone());
    }

    /// The credential of the one `Authorization` header, if it is of the scheme. Several say nothing.
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (is, credential) = self.header("authorization").ok()??.split_once(' ')?;
        is.eq_ignore_ascii_case(scheme).then_some(credential)
    }

    /// The client's network, /24 or /56, as short text; `-` where the address is not known.
    #[must_use]
    pub fn network(&self) -> String {
        self.peer.map_or_else(|| "-".to_owned(), |address| Peer(address).network())
    }

    /// The bearer token, if it is of the class.
    ///
    /// # Errors
    /// `invalid_token`.
    pub fn token(&self, class: TokenClass) -> ApiResult<&TokenRef> {
        self.any_token()
            .and_then(|token| if token.class() == class { Ok(token) } else { Err(Code::InvalidToken.into()) })
    }

    /// The bearer token, of whatever class.
    ///
    /// # Errors
    /// `invalid_token`.
    pub fn any_token(&self) -> ApiResult<&TokenRef> {
        self.bearer.as_ref().ok_or_else(|| Code::InvalidToken.into())
    }

    /// A fresh attempt; one for each guarded write or transaction of the handler.
    ///
    /// # Errors
    /// `unavailable` when there is no randomness.
    pub fn attempt(&self, app: &App) -> ApiResult<Attempt> {
        Ok(Attempt::begin(self.now, &*app.entropy)?)
    }

    /// Name and secret of HTTP Basic: a client credential.
    #[must_use]
    pub fn basic(&self) -> Option<(String, SecretText)> {
        let bytes = Zeroizing::new(BASE64.decode(self.authorization("basic")?.as_bytes()).ok()?);
        let (name, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some((name.to_owned(), SecretText::new(secret.to_owned())))
    }

    /// A header's value; `None` where there is no such header.
    ///
    /// # Errors
    /// `invalid_request` for several of them, or for bytes beyond visible ASCII.
    pub fn header(&self, name: &str) -> ApiResult<Option<&str>> {
        one(&self.headers, name)
    }

    /// The value of a cookie. Where one name comes several times, the first.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
        cookies.find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// Whether a page is wanted in the answer: it is a browser that goes from page to page.
    #[must_use]
    pub fn wants_html(&self) -> bool {
        self.header("accept").is_ok_and(|accept| accept.is_some_and(|it| it.contains("text/html")))
    }

    /// Something that happens in this request; who and whom follow.
    #[must_use]
    pub fn event(&self, action: Action, outcome: Outcome) -> AuditEvent {
        AuditEvent::new(action, outcome, &self.id)
    }
}

/// A header that comes once at most.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &str) -> ApiResult<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Problem::field(format!("header:{name}"), "must come once, of visible ASCII characters")),
    }
}
