//! Tests of the HTTP layer with a small router.

use std::{net::IpAddr, sync::Mutex};

use axum::{
    Json, Router,
    body::Body as HttpBody,
    extract::State,
    http::{HeaderMap, Request as HttpRequest, StatusCode},
};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::routes;

use super::*;
use crate::{
    audit::{AuditAction, Outcome},
    env::{EntropyError, SystemEntropy, TestClock, Timestamp},
    id::{IdempotencyKey, TenantId, UserId},
    password::{HashError, PasswordParams},
    secret::{CodeKey, KeyRing, NameKey, NewToken, RestoreEpoch, TokenClass},
    store::{
        StoreError,
        memory::MemoryTable,
        session::{Denied, TokenRejection},
    },
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct NoEntropy;
impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

fn app_with(entropy: Arc<dyn Entropy>) -> Arc<App> {
    app_at(entropy, Arc::new(TestClock::at(NOW)))
}

fn app_at(entropy: Arc<dyn Entropy>, clock: Arc<TestClock>) -> Arc<App> {
    let key = zeroize::Zeroizing::new([1; 32]);
    Arc::new(App {
        store: Store::new(Arc::new(MemoryTable::default())),
        clock,
        entropy,
        sealer: Some(Arc::new(KeyRing::new([(1, key)].into()).unwrap())),
        names: Some(Arc::new(NameKey::new([1; 32].into()))),
        codes: Some(Arc::new(CodeKey::new([2; 32].into()))),
        passwords: Arc::new(Passwords::new(PasswordParams::cheap(), 1, 1, &SystemEntropy).unwrap()),
        public_url: None,
        mails: None,
    })
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
struct Inner {
    at: u32,
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    Blue,
}

/// Without `deny_unknown_fields`: the layer must refuse unknown fields.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
struct Thing {
    #[schema(value_type = String)]
    name: String,
    inner: Option<Inner>,
    list: Option<Vec<String>>,
    on: Option<bool>,
    colour: Option<Colour>,
}

#[derive(Deserialize, Serialize)]
struct Choices {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Filter {
    on: Option<bool>,
    colour: Option<Colour>,
    q: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[utoipa::path(post, path = "/v1/things", request_body = Thing, security(("session" = [])),
               responses((status = 200, body = Thing), (status = 429, description = "`too_many_attempts`")))]
async fn post_thing(call: ApiRequest<Thing>) -> Json<Thing> {
    Json(call.body)
}

#[utoipa::path(get, path = "/v1/things", params(Page), responses((status = 200)))]
async fn list_things(call: ApiRequest<NoBody, (), Page>) -> Json<Value> {
    Json(json!({"limit": call.query.limit(), "cursor": call.query.cursor}))
}

#[utoipa::path(get, path = "/v1/filtered", responses((status = 200)))]
async fn filtered(call: ApiRequest<NoBody, (), Filter>) -> Json<Value> {
    let Filter { on, colour, q, limit } = call.query;
    Json(json!({"on": on, "colour": colour, "q": q, "limit": limit.get()}))
}

#[utoipa::path(get, path = "/v1/things/{id}/{other}", responses((status = 200)))]
async fn get_thing(call: ApiRequest<NoBody, (UserId, UserId)>) -> String {
    format!("{} {}", call.path.0, call.path.1)
}

#[utoipa::path(post, path = "/v1/large", request_body = Thing, responses((status = 200)))]
async fn large(call: ApiRequest<Large<Thing>>) -> String {
    call.body.0.name.len().to_string()
}

#[utoipa::path(post, path = "/v1/choices", request_body = Option<Thing>, responses((status = 200)))]
async fn choices(call: ApiRequest<OrEmpty<Choices>>) -> Json<Choices> {
    Json(call.body.0)
}

#[utoipa::path(post, path = "/v1/form", responses((status = 200)))]
async fn form(call: ApiRequest<FormBody<Choices>>) -> Json<Choices> {
    Json(call.body.0)
}

#[utoipa::path(get, path = "/v1/mirror", responses((status = 200)))]
async fn mirror(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<Value>> {
    let request = call.request;
    let attempt = request.attempt(&app)?;
    Ok(Json(json!({
        "now": request.now, "id": request.id, "network": request.network(), "user_agent": request.user_agent,
        "html": request.wants_html(), "session": request.token(TokenClass::Session).is_ok(), "device": request.token(TokenClass::Device).is_ok(),
        "basic": request.basic().map(|(name, secret)| format!("{name}|{}", secret.expose())),
        "key": request.header("idempotency-key")?.map(IdempotencyKey::parse).transpose().map_err(|_| Code::InvalidRequest)?,
        "attempt": attempt.at() == request.now,
        "event": request.event(AuditAction::Login, Outcome::Success).request_id,
    })))
}

#[utoipa::path(delete, path = "/v1/administer", responses((status = 204)))]
async fn administer(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    call.request.administrator(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/panic", responses((status = 200)))]
async fn panics(_: ApiRequest) -> String {
    panic!("secret of the handler")
}

/// The problem that the next request to `/v1/problem` returns.
static NEXT: Mutex<Option<Problem>> = Mutex::new(None);
#[utoipa::path(get, path = "/v1/problem", responses((status = 200)))]
async fn problem(_: ApiRequest) -> ApiResult<String> {
    NEXT.lock().unwrap().take().map_or(Ok(String::new()), Err)
}

fn routes() -> Routes {
    Routes::new()
        .routes(routes!(post_thing, list_things))
        .routes(routes!(filtered))
        .routes(routes!(get_thing))
        .routes(routes!(large))
        .routes(routes!(choices))
        .routes(routes!(form))
        .routes(routes!(mirror))
        .routes(routes!(administer))
        .routes(routes!(panics))
        .routes(routes!(problem))
}

fn router() -> Router {
    serve(routes(), app_with(Arc::new(SystemEntropy)))
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code, after checks of all other fields.
    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/problems/{code}"));
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"], self.header("x-request-id"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        let waits = matches!(self.status.as_u16(), 429 | 503);
        assert_eq!(body.get("retry_after_seconds").is_some(), waits);
        if waits {
            assert_eq!(body["retry_after_seconds"].to_string(), self.header("retry-after"));
        }
        code
    }
}

async fn send(request: HttpRequest<HttpBody>) -> Reply {
    send_to(router(), request).await
}

async fn send_to(router: Router, request: HttpRequest<HttpBody>) -> Reply {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let reply =
        Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() };
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(reply.header("strict-transport-security").starts_with("max-age=31536000"));
    assert!(!reply.header("x-request-id").is_empty());
    reply
}

async fn post(path: &str, body: impl Into<HttpBody>) -> Reply {
    post_as("application/json", path, body).await
}

async fn post_as(kind: &str, path: &str, body: impl Into<HttpBody>) -> Reply {
    send(HttpRequest::post(path).header("content-type", kind).body(body.into()).unwrap()).await
}

async fn get(path: &str) -> Reply {
    send(HttpRequest::get(path).body(HttpBody::empty()).unwrap()).await
}

async fn mirrored(headers: &[(&str, &[u8])]) -> Reply {
    let mut request = HttpRequest::get("/v1/mirror");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.body(HttpBody::empty()).unwrap()).await
}

const COMPLETE: &str = r#"{"name":"a","inner":{"at":1},"list":["x"],"on":true,"colour":"blue"}"#;

#[tokio::test]
async fn well_formed_body_is_accepted() {
    for kind in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        let reply = post_as(kind, "/v1/things", COMPLETE).await;
        assert_eq!(reply.json(), serde_json::from_str::<Value>(COMPLETE).unwrap(), "{kind}");
    }
    assert_eq!(post("/v1/things", r#" {"name":"\ud83d\ude00"} "#).await.json()["name"], "😀");
}

#[tokio::test]
async fn malformed_body_is_refused() {
    let deep = format!(r#"{{"name":"a","x":{}{}}}"#, "[".repeat(6000), "]".repeat(6000));
    let cases: &[&[u8]] = &[
        b"",
        b"hello",
        b"null",
        b"[]",
        b"\"x\"",
        br#"{"name":"a""#,
        br#"{"name":"a",}"#,
        br#"{"name":"a"} {}"#,
        br#"[{"name":"a"}]"#,
        br#"["a"]"#,                        // serde accepts an array for a struct
        br#"{"name":"a","inner":[1]}"#,     // also a nested one
        br#"{"name":"a","name":"a"}"#,      // serde keeps the last of two equal keys
        br#"{"name":"a","n\u0061me":"a"}"#, // also if one is escaped
        br#"{"name":"a","inner":{"at":1,"at":1}}"#,
        br#"{"name":"a","more":1}"#, // serde ignores unknown fields
        br#"{"name":"a","inner":{"at":1,"b":2}}"#,
        br#"{"name":"a","NAME":"a"}"#,
        br#"{"name":"a","on":null}"#, // serde accepts null for an optional field
        br#"{"name":"a","list":[null]}"#,
        br#"{"name":null}"#,
        br#"{"name":7}"#,
        br#"{"name":["a"]}"#,
        br#"{"name":"a","on":"true"}"#,
        br#"{"name":"a","on":1}"#,
        br#"{"name":"a","list":"x"}"#,
        br#"{"name":"a","list":{}}"#,
        br#"{"name":"a","inner":{"at":"1"}}"#,
        br#"{"name":"a","inner":{"at":-1}}"#,
        br#"{"name":"a","inner":{"at":1.0}}"#,
        br#"{"name":"a","colour":"green"}"#,
        br#"{"name":"a","colour":{"blue":{}}}"#,
        br#"{"name":"a\u0000"}"#,
        br#"{"name":"\ud800"}"#,
        br#"{"name":"a","x":NaN}"#,
        b"{\"name\":\"\xff\"}",
        b"\xef\xbb\xbf{\"name\":\"a\"}",
        deep.as_bytes(),
    ];
    for case in cases {
        let reply = post("/v1/things", case.to_vec()).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "invalid_request"), "{case:?}");
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!said.contains("serde") && !said.contains("line "), "{said}");
    }
}

#[tokio::test]
async fn other_content_type_is_refused() {
    let kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
    ];
    for kind in kinds {
        assert_eq!(post_as(kind, "/v1/things", COMPLETE).await.code(), "invalid_request", "{kind}");
    }
    assert_eq!(post_as("text/plain", "/v1/large", COMPLETE).await.code(), "invalid_request");
    let missing = HttpRequest::post("/v1/things").body(COMPLETE.into()).unwrap();
    assert_eq!(send(missing).await.code(), "invalid_request");
    let twice = HttpRequest::post("/v1/things").header("content-type", "application/json");
    let twice = twice.header("content-type", "application/json").body(COMPLETE.into()).unwrap();
    assert_eq!(send(twice).await.code(), "invalid_request");
}

/// A body of `frames` frames of 1 KiB each; `taken` counts the frames that were read.
fn stream(frames: usize, taken: Arc<Mutex<usize>>) -> HttpBody {
    HttpBody::from_stream(futures_util::stream::iter((0..frames).map(move |_| {
        *taken.lock().unwrap() += 1;
        Ok::<_, std::io::Error>(vec![b' '; 1024])
    })))
}

#[tokio::test]
async fn too_large_body_is_refused_and_read_up_to_a_limit() {
    let padded = |to: usize| format!("{COMPLETE}{}", " ".repeat(to - COMPLETE.len()));
    assert_eq!(post("/v1/things", padded(16 * 1024)).await.status, 200);
    assert_eq!(post("/v1/things", padded(16 * 1024 + 1)).await.code(), "payload_too_large");
    assert_eq!(post("/v1/large", padded(256 * 1024)).await.status, 200);
    assert_eq!(post("/v1/large", padded(256 * 1024 + 1)).await.code(), "payload_too_large");
    for (path, sent, read) in [("/v1/things", 300, 300), ("/v1/things", 5000, 1025), ("/v1/large", 5000, 1025)] {
        let taken = Arc::new(Mutex::new(0));
        assert_eq!(post(path, stream(sent, taken.clone())).await.code(), "payload_too_large");
        assert_eq!(*taken.lock().unwrap(), read, "{path} {sent}");
    }
}

#[tokio::test]
async fn empty_body_counts_as_object_only_if_all_fields_are_optional() {
    let empty = HttpRequest::post("/v1/choices").body(HttpBody::empty()).unwrap();
    assert_eq!(send(empty).await.json(), json!({"name": null}));
    assert_eq!(post("/v1/choices", "{}").await.status, 200);
    assert_eq!(post("/v1/choices", r#"{"name":"a"}"#).await.json()["name"], "a");
    for bad in ["null", " ", r#"{"name":null}"#, r#"{"x":1}"#] {
        assert_eq!(post("/v1/choices", bad).await.code(), "invalid_request", "{bad}");
    }
    assert_eq!(post_as("text/plain", "/v1/choices", "{}").await.code(), "invalid_request");
}

#[tokio::test]
async fn body_is_refused_where_none_is_allowed() {
    let with = |body: &'static str| HttpRequest::get("/v1/mirror").body(body.into()).unwrap();
    assert_eq!(send(with("")).await.status, 200);
    let refused = send(with("{}")).await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["detail"]),
        ("invalid_request", &json!("the body must be empty"))
    );
    let missing = post("/v1/things", "{}").await;
    assert_eq!(missing.json()["detail"], "/name is missing");
}

#[tokio::test]
async fn page_is_for_a_client_that_accepts_html() {
    let html = async |headers: &[(&str, &[u8])]| mirrored(headers).await.json()["html"].clone();
    assert_eq!(html(&[("accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]).await, true);
    assert_eq!(html(&[("accept", b"application/json, */*")]).await, false);
    assert_eq!(html(&[]).await, false);
}

#[tokio::test]
async fn form_is_as_strict_as_json() {
    const FORM: &str = "application/x-www-form-urlencoded";
    assert_eq!(post_as(FORM, "/v1/form", "name=a%20b+c").await.json()["name"], "a b c");
    for bad in ["name=a&name=b", "x=1", "name=%00", "name=%ff", "name=a&n%61me=a"] {
        assert_eq!(post_as(FORM, "/v1/form", bad).await.code(), "invalid_request", "{bad}");
    }
    assert_eq!(post("/v1/form", "name=a").await.code(), "invalid_request");
    assert_eq!(post_as(FORM, "/v1/form", vec![b'a'; 20_000]).await.code(), "payload_too_large");
}

#[tokio::test]
async fn malformed_query_is_refused() {
    assert_eq!(get("/v1/things").await.json(), json!({"limit": 50, "cursor": null}));
    assert_eq!(get("/v1/things?").await.json()["limit"], 50);
    assert_eq!(get("/v1/things?limit=100&cursor=12").await.json(), json!({"limit": 100, "cursor": "12"}));
    let whole = get("/v1/filtered?on=true&colour=red&q=123&limit=1").await.json();
    assert_eq!(whole, json!({"on": true, "colour": "red", "q": "123", "limit": 1}));
    assert_eq!(get("/v1/filtered?q=true").await.json()["q"], "true");
    let bad = [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=%2B1",
        "limit=ten",
        "limit=",
        "limit=1&limit=1",
        "x=1",
        "cursor=%00",
        "cursor=%ff",
        "LIMIT=1",
        "limit=1.0",
        "limit=18446744073709551617",
    ];
    for query in bad {
        assert_eq!(get(&format!("/v1/things?{query}")).await.code(), "invalid_request", "{query}");
    }
    for query in ["on=perhaps", "on=1", "colour=green", "q=a&q=b", "fields=secret"] {
        assert_eq!(get(&format!("/v1/filtered?{query}")).await.code(), "invalid_request", "{query}");
    }
    assert_eq!(get("/v1/mirror?x=1").await.code(), "invalid_request");
    assert_eq!(post("/v1/things?x=1", COMPLETE).await.code(), "invalid_request");
}

#[tokio::test]
async fn malformed_path_parameter_is_refused() {
    assert_eq!(get("/v1/things/u-1/u-2").await.body, b"u-1 u-2");
    for bad in ["a%20b/x", "a%2Fb/x", "%ff/x", "a%00/x", "a.b/x", &format!("{}/x", "a".repeat(65))] {
        assert_eq!(get(&format!("/v1/things/{bad}")).await.code(), "invalid_request", "{bad}");
    }
}

#[tokio::test]
async fn unknown_path_is_404_and_unknown_method_is_405() {
    for path in ["/", "/v1", "/v1/nothing", "/v1/things/", "/%00"] {
        let reply = get(path).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"), "{path}");
    }
    for method in ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"] {
        let request = HttpRequest::builder().method(method).uri("/v1/things").body(HttpBody::empty()).unwrap();
        let reply = send(request).await;
        assert_eq!(reply.status.as_u16(), 405, "{method}");
        // A response to HEAD has no body.
        assert!(method == "HEAD" || reply.code() == "method_not_allowed", "{method}");
        let mut allowed: Vec<_> = reply.header("allow").split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "POST"], "{method}");
    }
    let request = HttpRequest::head("/v1/nothing").body(HttpBody::empty()).unwrap();
    assert_eq!(send(request).await.status.as_u16(), 404);
}

#[tokio::test]
async fn request_has_one_time_and_one_id() {
    let (one, other) = (mirrored(&[]).await, mirrored(&[("x-request-id", b"mine")]).await);
    assert_eq!(one.json()["id"], one.header("x-request-id"));
    assert_eq!(one.json()["event"], one.header("x-request-id"));
    assert_eq!(one.json()["now"], NOW.to_string());
    assert_eq!(one.json()["attempt"], true);
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    assert_ne!(other.header("x-request-id"), "mine");
}

/// security.md 4: otherwise a client that holds back its body would extend every lifetime, and a stolen code would work
/// for hours.
#[tokio::test]
async fn request_time_is_taken_after_the_body() {
    let clock = Arc::new(TestClock::at(NOW));
    let router = serve(routes(), app_at(Arc::new(SystemEntropy), clock.clone()));
    let slow = futures_util::stream::once(async move {
        clock.shift_millis(3_600_000);
        Ok::<_, std::io::Error>(Vec::new())
    });
    let request = HttpRequest::get("/v1/mirror").body(HttpBody::from_stream(slow)).unwrap();
    let later = NOW + std::time::Duration::from_secs(3600);
    assert_eq!(send_to(router, request).await.json()["now"], later.to_string());
}

#[tokio::test]
async fn client_address_ignores_headers() {
    let network = async |peer: Option<&str>| {
        let mut request = HttpRequest::get("/v1/mirror");
        for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            request = request.header(name, "9.9.9.9");
        }
        let mut request = request.body(HttpBody::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer.parse::<IpAddr>().unwrap()));
        }
        send(request).await.json()["network"].clone()
    };
    assert_eq!(network(None).await, "-");
    assert_eq!(network(Some("10.1.2.3")).await, "10.1.2");
    assert_eq!(network(Some("::ffff:10.1.2.3")).await, "10.1.2");
    assert_eq!(network(Some("2001:db8:1:23ff::1")).await, "20010db8000123");
}

#[tokio::test]
async fn user_agent_is_cut_and_has_no_control_characters() {
    let agent = async |value: &[u8]| mirrored(&[("user-agent", value)]).await.json()["user_agent"].clone();
    assert_eq!(agent(b"curl/8").await, "curl/8");
    assert_eq!(agent(b"a\tb\xc2\x85c").await, "abc");
    assert_eq!(agent(&[b'a'; 500]).await.as_str().unwrap().len(), 200);
    assert_eq!(agent(b"").await, Value::Null);
}

#[tokio::test]
async fn bearer_token_needs_exactly_one_header() {
    let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
    let text = |class| NewToken::generate(class, &user, RestoreEpoch::default(), &SystemEntropy).unwrap().into_text();
    let seen = async |headers: &[(&str, &[u8])]| {
        let body = mirrored(headers).await.json();
        (body["device"] == true || body["session"] == true, body["session"] == true)
    };
    let (session, device) = (text(TokenClass::Session), text(TokenClass::Device));
    for scheme in ["Bearer", "bearer"] {
        assert_eq!(seen(&[("authorization", format!("{scheme} {session}").as_bytes())]).await, (true, true));
    }
    assert_eq!(seen(&[("authorization", format!("Bearer {device}").as_bytes())]).await, (true, false));
    let good = format!("Bearer {session}");
    for bad in
        ["", "Bearer", "Bearer ", "Bearer x", &session, &format!("Bearer  {session}"), &format!("Basic {session}")]
    {
        assert_eq!(seen(&[("authorization", bad.as_bytes())]).await, (false, false), "{bad}");
    }
    assert_eq!(seen(&[("authorization", good.as_bytes()), ("authorization", good.as_bytes())]).await, (false, false));
    assert_eq!(seen(&[("cookie", good.as_bytes())]).await, (false, false));
}

#[tokio::test]
async fn basic_credential_is_name_and_secret() {
    let basic = async |value: &str| mirrored(&[("authorization", value.as_bytes())]).await.json()["basic"].clone();
    assert_eq!(basic("Basic YTpiOmM=").await, "a|b:c");
    for bad in ["Basic x", "Basic YQ==", "Bearer YTpi", "Basic /////w=="] {
        assert_eq!(basic(bad).await, Value::Null, "{bad}");
    }
}

#[tokio::test]
async fn repeated_or_non_ascii_header_is_refused() {
    assert_eq!(mirrored(&[("idempotency-key", b"k")]).await.json()["key"], "k");
    for bad in [b"".as_slice(), b"a b", b"\xe9"] {
        assert_eq!(mirrored(&[("idempotency-key", bad)]).await.code(), "invalid_request");
    }
    assert_eq!(mirrored(&[("idempotency-key", b"k"), ("idempotency-key", b"k")]).await.code(), "invalid_request");
}

#[tokio::test]
async fn administration_without_session_is_refused() {
    let request = || HttpRequest::delete("/v1/administer");
    let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
    assert_eq!(send(request().body(HttpBody::empty()).unwrap()).await.code(), "invalid_token");
    for class in [TokenClass::Session, TokenClass::Challenge, TokenClass::Enrolment, TokenClass::Device] {
        let token = NewToken::generate(class, &user, RestoreEpoch::default(), &SystemEntropy).unwrap().into_text();
        let with = request().header("authorization", format!("Bearer {token}")).body(HttpBody::empty()).unwrap();
        assert_eq!(send(with).await.code(), "invalid_token");
    }
    let form_first = HttpRequest::delete("/v1/administer?x=1").body(HttpBody::empty()).unwrap();
    assert_eq!(send(form_first).await.code(), "invalid_request");
}

#[tokio::test]
async fn panicking_handler_answers_503_without_details() {
    let reply = get("/v1/panic").await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "unavailable"));
    assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
}

#[tokio::test]
async fn without_randomness_request_is_refused_with_a_complete_response() {
    let router = serve(routes(), app_with(Arc::new(NoEntropy)));
    let request = HttpRequest::get("/v1/mirror").body(HttpBody::empty()).unwrap();
    let reply = send_to(router, request).await;
    assert_eq!(reply.code(), "unavailable");
    assert_eq!(reply.header("x-request-id"), NOW.millis().to_string());
}

/// Sends a request that returns the problem. One test at a time may use `NEXT`.
async fn respond_with(problem: Problem) -> Reply {
    static LOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _lock = LOCK.lock().await;
    *NEXT.lock().unwrap() = Some(problem);
    get("/v1/problem").await
}

#[tokio::test]
async fn each_code_has_its_status_and_challenge() {
    for code in Code::ALL {
        let reply = respond_with(Problem::new(*code)).await;
        assert_eq!((reply.status, reply.code().as_str()), (code.status(), code.as_str()));
        assert_eq!(reply.headers.contains_key("www-authenticate"), reply.status == 401);
        assert_eq!(reply.json().get("detail"), None);
    }
    let stale = respond_with(Denied::StepUpRequired.into()).await;
    assert_eq!(stale.header("www-authenticate"), r#"Bearer error="insufficient_user_authentication", max_age="300""#);
    let client = respond_with(Problem::unauthorized_client()).await;
    assert_eq!(client.code(), "invalid_token");
    assert_eq!(client.header("www-authenticate"), r#"Basic realm="vestibule", charset="UTF-8""#);
}

#[tokio::test]
async fn problem_has_its_detail_and_retry_time() {
    let reply = respond_with(Problem::new(Code::TooManyAttempts).retry_after(17).detail("wait")).await;
    assert_eq!((reply.code().as_str(), reply.header("retry-after")), ("too_many_attempts", "17"));
    assert_eq!(reply.json()["detail"], "wait");
    assert_eq!(respond_with(Problem::new(Code::TooManyAttempts).retry_after(0)).await.header("retry-after"), "1");
}

#[tokio::test]
async fn internal_causes_are_not_in_responses() {
    let internal: [Problem; 7] = [
        StoreError::Unavailable("sled says".into()).into(),
        StoreError::Contended("sled says".into()).into(),
        StoreError::Corrupt("sled says".into()).into(),
        EntropyError.into(),
        HashError::Busy.into(),
        HashError::Unusable.into(),
        crate::secret::SealError::Unavailable("sled says".into()).into(),
    ];
    for problem in internal {
        let reply = respond_with(problem).await;
        assert_eq!(reply.code(), "unavailable");
        assert_eq!(reply.json().get("detail"), None);
        assert!(!String::from_utf8_lossy(&reply.body).contains("sled"));
    }
    assert_eq!(respond_with(HashError::TooLong.into()).await.code(), "invalid_request");
    assert_eq!(respond_with(TokenRejection::Invalid.into()).await.code(), "invalid_token");
    assert_eq!(respond_with(TokenRejection::RefreshRequired.into()).await.code(), "session_refresh_required");
    assert_eq!(respond_with(Denied::Forbidden.into()).await.code(), "forbidden");
}

#[test]
fn line_has_1_to_200_printable_characters() {
    let line = |text: &str| Line::try_from(text.to_owned()).is_ok();
    assert!(line("x") && line(&"é".repeat(200)) && line(" a "));
    assert!(!line("") && !line(" ") && !line("a\nb") && !line("a\u{7f}") && !line(&"é".repeat(201)));
}

#[test]
fn api_document_has_the_common_responses() {
    let document = serde_json::to_value(document(routes())).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["info"]["license"]["name"], "MIT OR Apache-2.0");
    let post = &document["paths"]["/v1/things"]["post"]["responses"];
    for status in ["400", "401", "413", "429", "503"] {
        let content = &post[status]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(content, "#/components/schemas/Problem", "{status}");
        assert!(post[status]["headers"]["X-Request-Id"].is_object());
        assert_eq!(post[status]["headers"]["Retry-After"].is_object(), status == "429" || status == "503");
    }
    assert!(post["200"]["headers"]["X-Request-Id"].is_object());
    assert!(post["200"]["content"]["application/json"].is_object());
    assert_eq!(document["paths"]["/v1/things"]["get"]["responses"].get("401"), None);
    assert_eq!(document["paths"]["/v1/things"]["get"]["parameters"][0]["name"], "limit");
    assert_eq!(document["components"]["securitySchemes"]["client"]["scheme"], "basic");
    assert_eq!(document["components"]["securitySchemes"]["session"]["scheme"], "bearer");
    let codes = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    assert_eq!(codes.len(), Code::ALL.len());
    assert_eq!(document["components"]["schemas"]["Problem"]["properties"]["code"]["$ref"], "#/components/schemas/Code");
}

#[test]
fn missing_key_is_unavailable() {
    let mut app = Arc::into_inner(app_with(Arc::new(SystemEntropy))).unwrap();
    assert!(app.sealer().is_ok() && app.names().is_ok() && app.codes().is_ok());
    (app.sealer, app.names, app.codes) = (None, None, None);
    let denied = [app.sealer().err(), app.names().err(), app.codes().err()];
    assert!(denied.into_iter().all(|problem| problem.is_some_and(|problem| problem.code() == Code::Unavailable)));
}
