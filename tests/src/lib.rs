//! What the tests of the whole service share: all routes in one process, over whichever store, under a clock that they
//! move, or a server that runs somewhere; and people who enrol, sign in and step up as a person would. Every answer is
//! checked against the API document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;
use vestibule::{
    env::{Clock, SystemClock, SystemEntropy, TestClock, Timestamp},
    http::App,
    key_file::Keys,
    password::{PasswordParams, Passwords},
    secret::{CodeKey, NameKey, Sealer},
    sso::PublicUrl,
    store::{Store, Table},
};

pub mod crowd;
pub mod document;
pub mod emulator;
pub mod faulty;
pub mod idp;
pub mod log;
mod remote;
pub mod stream;

/// Where people reach the service, as long as it is in this process.
pub const PUBLIC_URL: &str = "https://login.example.com";

/// The service.
pub struct Service(Place);

enum Place {
    /// In this process.
    Here { router: Router, clock: Arc<TestClock>, app: Arc<App> },
    /// A server that runs somewhere, under the clock of everybody.
    Remote(remote::Server),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON, else as text; null where there is none.
    pub body: Value,
}

impl Reply {
    /// The problem's code; empty for a success.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Status and code, for comparison.
    #[must_use]
    pub fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.code() == code
    }

    /// The text at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        match self.body.pointer(pointer).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => panic!("no text at {pointer}: {self:?}"),
        }
    }

    /// The time at a JSON pointer, seconds.
    #[must_use]
    pub fn seconds(&self, pointer: &str) -> i64 {
        Timestamp::parse(&self.text(pointer)).unwrap().secs()
    }

    /// The answer, which has to be a success.
    #[allow(clippy::must_use_candidate, reason = "that it is one can be all that a test wants")]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }
}

/// A request.
#[derive(Clone)]
pub struct Ask {
    method: Method,
    path: String,
    body: Option<(&'static str, String)>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    from: SocketAddr,
}

impl Ask {
    /// Of a method and a path.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        Self { method, path: path.into(), body: None, token: None, headers: Vec::new(), from }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(("application/json", body.to_string()));
        self
    }

    /// With a form as a body.
    #[must_use]
    pub fn form(mut self, body: &str) -> Self {
        self.body = Some(("application/x-www-form-urlencoded", body.to_owned()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// From another address.
    #[must_use]
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.from = SocketAddr::from((address, 1));
        self
    }
}

/// Somebody, and what they know.
#[derive(Clone, Debug)]
pub struct Person {
    /// Tenant.
    pub tenant: String,
    /// Login name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Id.
    pub id: String,
    /// The authenticator's secret, once enrolled.
    pub secret: String,
    /// The last step whose code was used.
    pub step: i64,
    /// The session.
    pub session: String,
    /// The known device.
    pub device: String,
}

/// The moment at which tests begin.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_015);

impl Service {
    /// Over a store that is gone afterwards, with nobody in it.
    #[must_use]
    pub fn new() -> Self {
        let data = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap();
        Self::over(Arc::new(data.table), data.keys)
    }

    /// Over a table.
    #[must_use]
    pub fn over(table: Arc<dyn Table>, keys: Keys) -> Self {
        Self::sealed_by(Arc::new(keys.ring), table, keys.names, keys.codes)
    }

    /// Over a table, with secrets sealed by whatever.
    #[must_use]
    pub fn sealed_by(sealer: Arc<dyn Sealer>, table: Arc<dyn Table>, names: NameKey, codes: CodeKey) -> Self {
        let store = Store::new(Arc::clone(&table));
        Self::of(store, sealer, table, names, codes)
    }

    /// Over a table, in the restore epoch that its store says it is in.
    pub async fn in_its_epoch(table: Arc<dyn Table>, keys: Keys) -> Self {
        let store = Store::new(Arc::clone(&table));
        let restored = store.identity().await.unwrap().unwrap().restore;
        Self::of(store.at(restored), Arc::new(keys.ring), table, keys.names, keys.codes)
    }

    fn of(store: Store, sealer: Arc<dyn Sealer>, table: Arc<dyn Table>, names: NameKey, codes: CodeKey) -> Self {
        let clock = Arc::new(TestClock::at(BEGIN));
        let app = Arc::new(App {
            store,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(SystemEntropy),
            sealer: Some(sealer),
            names: Some(Arc::new(names)),
            codes: Some(Arc::new(codes)),
            passwords: Arc::new(Passwords::new(PasswordParams::cheap(), 4, 256, &SystemEntropy).unwrap()),
            public_url: PublicUrl::parse(PUBLIC_URL).ok(),
        });
        let router = local::server::router(Arc::clone(&app), table);
        Self(Place::Here { router, clock, app })
    }

    /// What a test that moves no clock runs on, with the people of [`Self::peopled`], each in tenants of their own: the
    /// server at `VESTIBULE_URL`, or else all routes in this process.
    pub async fn given() -> (Self, People) {
        let Some(server) = remote::Server::of_environment() else { return Self::peopled().await };
        let service = Self(Place::Remote(server));
        let people = remote::populate(&service).await;
        (service, people)
    }

    /// What the handlers work with, in this process.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        match &self.0 {
            Place::Here { app, .. } => app,
            Place::Remote(_) => panic!("a running server is looked at over HTTP alone"),
        }
    }

    /// The clock of this process, which moves when it is moved.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        match &self.0 {
            Place::Here { clock, .. } => clock,
            Place::Remote(_) => panic!("nobody moves the clock of a running server"),
        }
    }

    /// With the two tenants of most tests: acme (ann and amy administer it, bob and eve work there, con1 to con3 are
    /// contacts, off is inactive) and globex (gus administers it, gil works there); and op of support.
    pub async fn peopled() -> (Self, People) {
        let service = Self::new();
        let people = service.populate().await;
        (service, people)
    }

    /// Puts the people of [`Self::peopled`] in.
    pub async fn populate(&self) -> People {
        let seed = json!({"tenants": [
            {"id": "acme", "name": "Acme", "users": [
                someone("ann", "employee", "administrator"), someone("amy", "employee", "administrator"),
                someone("bob", "employee", "standard"), someone("eve", "employee", "standard"),
                someone("con1", "contact", "portal"), someone("con2", "contact", "portal"),
                someone("con3", "contact", "portal"),
                {"username": "off", "password": password("off"), "display_name": "off", "kind": "employee",
                 "role": "standard", "active": false}]},
            {"id": "globex", "name": "Globex", "users": [
                someone("gus", "employee", "administrator"), someone("gil", "employee", "standard")]},
            {"id": "support", "name": "Support", "users": [someone("op", "employee", "operator")]}]});
        let seed = local::seed::Seed::parse("the tests' people", seed.to_string().as_bytes()).unwrap();
        let people = seed.tenants.iter().flat_map(|tenant| {
            tenant.users.iter().map(|user| Person {
                tenant: tenant.id.as_str().to_owned(),
                username: user.username.clone(),
                password: password(&user.username),
                id: format!("u-{}", user.username),
                secret: String::new(),
                step: 0,
                session: String::new(),
                device: String::new(),
            })
        });
        let people = people.map(|person| (person.username.clone(), person)).collect();
        local::seeding::add_missing(self.app(), seed).await.unwrap();
        people
    }

    /// Sends a request, and checks the answer against the API document.
    pub async fn send(&self, ask: Ask) -> Reply {
        let mut request = Request::builder().method(ask.method.clone()).uri(&ask.path);
        if let Some(token) = &ask.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let body = match &ask.body {
            Some((kind, body)) => {
                request = request.header("content-type", *kind);
                Body::from(body.clone())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(ask.from));
        let reply = self.raw(request).await;
        if reply.status.is_success()
            && let Some(("application/json", body)) = &ask.body
        {
            document::check_accepted(&ask.method, &ask.path, body);
        }
        reply
    }

    /// Sends a request as it is, and checks the answer against the API document.
    pub async fn raw(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match &self.0 {
            Place::Here { router, .. } => router.clone().oneshot(request).await.unwrap(),
            Place::Remote(server) => server.send(request).await,
        };
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let kind = parts.headers.get("content-type").map(|kind| kind.to_str().unwrap()).unwrap_or_default();
        let body = match () {
            () if bytes.is_empty() => Value::Null,
            () if kind.ends_with("json") => serde_json::from_slice(&bytes).unwrap(),
            () => Value::String(String::from_utf8(bytes.to_vec()).unwrap()),
        };
        let reply = Reply { status: parts.status, headers: parts.headers, body };
        document::check(&method, &path, &reply);
        reply
    }

    /// `GET`.
    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.send(Ask::new(Method::GET, path).token(token)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(Ask::new(Method::POST, path).token(token).json(body)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(Ask::new(Method::PUT, path).token(token).json(body)).await
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(Ask::new(Method::PATCH, path).token(token).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str, token: &str) -> Reply {
        self.send(Ask::new(Method::DELETE, path).token(token)).await
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: u64) {
        self.clock().advance(Duration::from_secs(seconds));
    }

    /// What time it is there, in seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Place::Here { clock, .. } => clock.now().secs(),
            Place::Remote(_) => SystemClock.now().secs(),
        }
    }

    /// The current time step.
    #[must_use]
    pub fn step(&self) -> i64 {
        self.now() / 30
    }

    /// The current time step, of which there is enough left for a few requests.
    #[must_use]
    pub fn steady(&self) -> i64 {
        let gone = self.now() % 30;
        if matches!(self.0, Place::Remote(_)) && gone > 15 {
            remote::wait(30 - gone);
        }
        self.step()
    }

    /// Whether so many seconds are those that were expected; a clock that nobody moves goes on meanwhile.
    #[must_use]
    pub fn about(&self, seconds: i64, expected: i64) -> bool {
        let late = if matches!(self.0, Place::Remote(_)) { 20 } else { 0 };
        (seconds - expected).abs() <= late
    }

    /// The password door.
    pub async fn login(&self, person: &Person) -> Reply {
        self.login_with(person, &person.password).await
    }

    /// The password door, with a password of one's own.
    pub async fn login_with(&self, person: &Person, password: &str) -> Reply {
        let body = json!({"tenant": person.tenant, "username": person.username, "password": password});
        self.send(Ask::new(Method::POST, "/v1/login").json(body)).await
    }

    /// A challenge, by the password.
    pub async fn challenge(&self, person: &Person) -> String {
        self.login(person).await.ok().text("/challenge/token")
    }

    /// The code door.
    pub async fn verify(&self, challenge: &str, code: &str) -> Reply {
        self.post("/v1/verify", challenge, json!({"code": code})).await
    }

    /// An enrolment token, by the password.
    pub async fn enrolment(&self, person: &Person) -> String {
        self.login(person).await.ok().text("/enrolment/token")
    }

    /// A code that was not used yet. Time passes if there is none.
    pub fn code(&self, person: &mut Person) -> String {
        match &self.0 {
            Place::Here { .. } => {
                person.step = self.step().max(person.step + 1);
                if person.step > self.step() + 1 {
                    self.pass(30 * u64::try_from(person.step - self.step()).unwrap());
                }
            }
            // Waiting takes its time here: the step before is taken too, while it is good for long enough.
            Place::Remote(_) => {
                let now = self.now();
                let first = if now % 30 < 20 { now / 30 - 1 } else { now / 30 };
                person.step = first.max(person.step + 1);
                remote::wait((person.step - 1) * 30 - now);
            }
        }
        code(&person.secret, person.step)
    }

    /// A code that is wrong now.
    #[must_use]
    pub fn wrong(&self, person: &Person) -> String {
        let near: Vec<_> = (-3..=3).map(|shift| code(&person.secret, self.step() + shift)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }

    /// Enrols: password, secret, code.
    pub async fn enrol(&self, person: &mut Person) -> Reply {
        let token = self.enrolment(person).await;
        self.enrol_with(person, &token, json!({})).await
    }

    /// Enrols with a token.
    pub async fn enrol_with(&self, person: &mut Person, token: &str, start: Value) -> Reply {
        let start = self.post("/v1/mfa/enrolments", token, start).await.ok();
        person.secret = start.text("/secret");
        person.step = 0;
        let code = self.code(person);
        let reply = self.post("/v1/mfa/enrolments/confirm", token, json!({"code": code})).await.ok();
        self.signed_in(person, &reply);
        reply
    }

    /// Signs in: password, code.
    pub async fn sign_in(&self, person: &mut Person) -> Reply {
        let token = self.challenge(person).await;
        let code = self.code(person);
        let reply = self.post("/v1/verify", &token, json!({"code": code})).await.ok();
        self.signed_in(person, &reply);
        reply
    }

    /// A session with a fresh step-up, however it is come by.
    pub async fn fresh(&self, person: &mut Person) -> String {
        if person.secret.is_empty() {
            self.enrol(person).await;
        } else {
            let code = self.code(person);
            let stepped = self.post("/v1/step-up", &person.session, json!({"code": code})).await;
            if stepped.status == 200 {
                self.signed_in(person, &stepped);
            } else {
                self.sign_in(person).await;
            }
        }
        person.session.clone()
    }

    fn signed_in(&self, person: &mut Person, reply: &Reply) {
        person.session = reply.text("/session/token");
        if let Some(device) = reply.body.pointer("/session/device_token").and_then(Value::as_str) {
            device.clone_into(&mut person.device);
        }
        if let Some(id) = reply.body.pointer("/user/id").and_then(Value::as_str) {
            id.clone_into(&mut person.id);
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

fn password(name: &str) -> String {
    format!("{name} and a long tail of words")
}

fn someone(name: &str, kind: &str, role: &str) -> Value {
    json!({"id": format!("u-{name}"), "username": name, "password": password(name), "display_name": name, "kind": kind,
           "role": role})
}

/// What an authenticator shows: an implementation that is not the service's.
#[must_use]
pub fn code(secret: &str, step: i64) -> String {
    let seconds = u64::try_from(step * 30).unwrap();
    let secret = totp_rs::Secret::try_from_base32(secret.replace(' ', "")).unwrap();
    totp_rs::Builder::new().with_secret(secret).build().unwrap().generate(seconds).to_string()
}

/// People by name.
pub type People = HashMap<String, Person>;

/// One of them.
pub fn of<'a>(people: &'a mut People, name: &str) -> &'a mut Person {
    people.get_mut(name).unwrap()
}
