//! Shared by the tests of the whole service. [`Service`] is either all routes in this process, on any store and with a
//! clock that the test sets, or a server that runs elsewhere. The test users enrol, sign in and step up as real users
//! do. Every answer is checked against the API document.
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

pub mod aws;
pub mod browser;
pub mod crowd;
pub mod document;
pub mod emulator;
pub mod faulty;
pub mod flows;
pub mod http;
pub mod idp;
pub mod log;
pub mod mails;
mod remote;
pub mod rights;
pub mod runtime;
pub mod stream;
pub mod stub;
pub mod wire;

/// The public URL of a service in this process.
pub const PUBLIC_URL: &str = "https://login.example.com";

/// The service under test.
pub struct Service(Target);

enum Target {
    /// All routes in this process.
    InProcess {
        router: Router,
        clock: Arc<TestClock>,
        app: Arc<App>,
        mails: Arc<mails::TestMails>,
        table: Arc<dyn Table>,
    },
    /// A server at this URL, on the system clock.
    Remote(String),
}

/// A response of the service.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The HTTP headers.
    pub headers: HeaderMap,
    /// The body as JSON if its content type is JSON, else as text; null if it is empty.
    pub body: Value,
}

impl Reply {
    /// The problem's code, or an empty string for a success.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Whether the response is a problem with this status and this code.
    #[must_use]
    pub fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.code() == code
    }

    /// The text at a JSON pointer. Panics if there is no text.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        match self.body.pointer(pointer).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => panic!("no text at {pointer}: {self:?}"),
        }
    }

    /// The time at a JSON pointer, in seconds.
    #[must_use]
    pub fn seconds(&self, pointer: &str) -> i64 {
        Timestamp::parse(&self.text(pointer)).unwrap().secs()
    }

    /// This response. Panics if it is not a success.
    #[allow(clippy::must_use_candidate, reason = "a test may only want the assertion")]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }
}

/// A request to the service.
#[derive(Clone)]
pub struct TestRequest {
    method: Method,
    path: String,
    body: Option<(&'static str, String)>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    from: SocketAddr,
}

impl TestRequest {
    /// A request without body, sent from 127.0.0.1.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        Self { method, path: path.into(), body: None, token: None, headers: Vec::new(), from }
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(("application/json", body.to_string()));
        self
    }

    /// Adds a form as the body.
    #[must_use]
    pub fn form(mut self, body: &str) -> Self {
        self.body = Some(("application/x-www-form-urlencoded", body.to_owned()));
        self
    }

    /// Adds a form with a file as the body.
    #[must_use]
    pub fn multipart(mut self, fields: &[(&str, &str)]) -> Self {
        let part = |(name, value): &(&str, &str)| {
            format!("--part\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = fields.iter().map(part).collect::<String>() + "--part--\r\n";
        self.body = Some(("multipart/form-data; boundary=part", body));
        self
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the client address.
    #[must_use]
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.from = SocketAddr::from((address, 1));
        self
    }
}

/// A user, and what the user knows.
#[derive(Clone, Debug)]
pub struct TestUser {
    /// Id of the tenant.
    pub tenant: String,
    /// Username.
    pub username: String,
    /// Password.
    pub password: String,
    /// User id.
    pub id: String,
    /// The secret of the authenticator app; empty before enrolment.
    pub secret: String,
    /// The time step of the last code that was used.
    pub step: i64,
    /// The session token; empty before the first sign-in.
    pub session: String,
    /// The token of the known device; empty before the first sign-in.
    pub device: String,
}

impl TestUser {
    /// A user of whom only the tenant, the name and the password are known.
    #[must_use]
    pub fn new(tenant: &str, username: &str, password: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            username: username.to_owned(),
            password: password.to_owned(),
            id: String::new(),
            secret: String::new(),
            step: 0,
            session: String::new(),
            device: String::new(),
        }
    }
}

/// The time at which the test clock starts.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_015);

impl Service {
    /// A service on a temporary store without users.
    #[must_use]
    pub fn new() -> Self {
        let data = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap();
        Self::with_table(Arc::new(data.table), data.keys)
    }

    /// A service on this table.
    #[must_use]
    pub fn with_table(table: Arc<dyn Table>, keys: Keys) -> Self {
        Self::with_sealer(Arc::new(keys.ring), table, keys.names, keys.codes)
    }

    /// A service on this table that seals secrets with this sealer.
    #[must_use]
    pub fn with_sealer(sealer: Arc<dyn Sealer>, table: Arc<dyn Table>, names: NameKey, codes: CodeKey) -> Self {
        let store = Store::new(Arc::clone(&table));
        Self::build(store, sealer, table, names, codes)
    }

    /// A service on this table, in the restore epoch that its store records.
    pub async fn in_current_epoch(table: Arc<dyn Table>, keys: Keys) -> Self {
        let store = Store::new(Arc::clone(&table));
        let restore_epoch = store.identity().await.unwrap().unwrap().restore;
        Self::build(store.at(restore_epoch), Arc::new(keys.ring), table, keys.names, keys.codes)
    }

    fn build(store: Store, sealer: Arc<dyn Sealer>, table: Arc<dyn Table>, names: NameKey, codes: CodeKey) -> Self {
        let (clock, mails) = (Arc::new(TestClock::at(BEGIN)), Arc::new(mails::TestMails::default()));
        let app = Arc::new(App {
            store,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(SystemEntropy),
            sealer: Some(sealer),
            names: Some(Arc::new(names)),
            codes: Some(Arc::new(codes)),
            passwords: Arc::new(Passwords::new(PasswordParams::cheap(), 4, 256, &SystemEntropy).unwrap()),
            public_url: PublicUrl::parse(PUBLIC_URL).ok(),
            mails: Some(Arc::clone(&mails) as _),
        });
        let router = local::server::router(Arc::clone(&app), Arc::clone(&table));
        Self(Target::InProcess { router, clock, app, mails, table })
    }

    /// The same service with another configuration, on the same store and the same clock. Only in this process.
    #[must_use]
    pub fn configured(&self, change: impl FnOnce(&mut App)) -> Self {
        let Target::InProcess { clock, app, mails, table, .. } = &self.0 else {
            panic!("a running server cannot be configured")
        };
        let mut app = App {
            store: app.store.clone(),
            clock: Arc::clone(&app.clock),
            entropy: Arc::clone(&app.entropy),
            sealer: app.sealer.clone(),
            names: app.names.clone(),
            codes: app.codes.clone(),
            passwords: Arc::clone(&app.passwords),
            public_url: app.public_url.clone(),
            mails: app.mails.clone(),
        };
        change(&mut app);
        let (app, clock, mails, table) = (Arc::new(app), Arc::clone(clock), Arc::clone(mails), Arc::clone(table));
        let router = local::server::router(Arc::clone(&app), Arc::clone(&table));
        Self(Target::InProcess { router, clock, app, mails, table })
    }

    /// A service for tests that do not set the clock, with the users of [`Self::with_users`]: the server at
    /// `VESTIBULE_URL` (with new tenants for each call), or all routes in this process if the variable is not set.
    pub async fn from_environment() -> (Self, TestUsers) {
        let Ok(url) = std::env::var("VESTIBULE_URL") else { return Self::with_users().await };
        let service = Self::at(&url);
        let users = remote::create_users(&service).await;
        (service, users)
    }

    /// The server at a URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self(Target::Remote(url.trim_end_matches('/').to_owned()))
    }

    /// Serves on a free port until the process ends. Returns the URL. Only in this process.
    pub async fn listen(&self) -> String {
        let Target::InProcess { router, .. } = &self.0 else { panic!("a running server listens already") };
        http::listen(router.clone()).await
    }

    /// The state of the handlers. Only in this process.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        match &self.0 {
            Target::InProcess { app, .. } => app,
            Target::Remote(_) => panic!("a running server is only reachable over HTTP"),
        }
    }

    /// The queue of mails. Only in this process.
    #[must_use]
    pub fn mails(&self) -> &Arc<mails::TestMails> {
        match &self.0 {
            Target::InProcess { mails, .. } => mails,
            Target::Remote(_) => panic!("the queue of a running server cannot be read"),
        }
    }

    /// Delivers the messages that wait, and returns the mails that were sent since the last call.
    pub async fn sent_mails(&self) -> Vec<mails::TestMail> {
        self.mails().deliver_all(self.app()).await
    }

    /// The test clock. Only in this process.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        match &self.0 {
            Target::InProcess { clock, .. } => clock,
            Target::Remote(_) => panic!("the clock of a running server cannot be set"),
        }
    }

    /// A service with the tenants of most tests. In acme, ann and amy are Administrators, bob and eve are employees,
    /// con1 to con3 are contacts, and off is an inactive employee. In globex, gus is an Administrator and gil an
    /// employee. In support, op is an operator.
    pub async fn with_users() -> (Self, TestUsers) {
        let service = Self::new();
        let users = service.add_users().await;
        (service, users)
    }

    /// Adds the users of [`Self::with_users`].
    pub async fn add_users(&self) -> TestUsers {
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
        let seed = local::seed::Seed::parse("test users", seed.to_string().as_bytes()).unwrap();
        let users = seed.tenants.iter().flat_map(|tenant| {
            tenant.users.iter().map(|user| TestUser {
                id: format!("u-{}", user.username),
                ..TestUser::new(tenant.id.as_str(), &user.username, &password(&user.username))
            })
        });
        let users = users.map(|user| (user.username.clone(), user)).collect();
        local::seeding::add_missing(self.app(), seed).await.unwrap();
        users
    }

    /// Sends a request, and checks the answer against the API document.
    pub async fn send(&self, test_request: TestRequest) -> Reply {
        let mut request = Request::builder().method(test_request.method.clone()).uri(&test_request.path);
        if let Some(token) = &test_request.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &test_request.headers {
            request = request.header(name, value);
        }
        let body = match &test_request.body {
            Some((kind, body)) => {
                request = request.header("content-type", *kind);
                Body::from(body.clone())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(test_request.from));
        let reply = self.raw(request).await;
        if reply.status.is_success()
            && let Some(("application/json", body)) = &test_request.body
        {
            document::check_accepted(&test_request.method, &test_request.path, body);
        }
        reply
    }

    /// Sends a request unchanged, and checks the answer against the API document.
    pub async fn raw(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match &self.0 {
            Target::InProcess { router, .. } => router.clone().oneshot(request).await.unwrap(),
            Target::Remote(url) => http::send(url, request).await,
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
        self.send(TestRequest::new(Method::GET, path).token(token)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(TestRequest::new(Method::POST, path).token(token).json(body)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(TestRequest::new(Method::PUT, path).token(token).json(body)).await
    }

    /// `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, token: &str, body: Value) -> Reply {
        self.send(TestRequest::new(Method::PATCH, path).token(token).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str, token: &str) -> Reply {
        self.send(TestRequest::new(Method::DELETE, path).token(token)).await
    }

    /// Advances the test clock.
    pub fn advance(&self, seconds: u64) {
        self.clock().advance(Duration::from_secs(seconds));
    }

    /// The service's current time, in seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Target::InProcess { clock, .. } => clock.now().secs(),
            Target::Remote(_) => SystemClock.now().secs(),
        }
    }

    /// The current time step of TOTP.
    #[must_use]
    pub fn step(&self) -> i64 {
        self.now() / 30
    }

    /// The current time step. If it ends within 15 seconds on the system clock, waits for the next one.
    #[must_use]
    pub fn stable_step(&self) -> i64 {
        let gone = self.now() % 30;
        if matches!(self.0, Target::Remote(_)) && gone > 15 {
            remote::sleep(30 - gone);
        }
        self.step()
    }

    /// Whether a duration is the expected one, in seconds. On the system clock, 20 seconds of difference are allowed.
    #[must_use]
    pub fn is_about(&self, seconds: i64, expected: i64) -> bool {
        let late = if matches!(self.0, Target::Remote(_)) { 20 } else { 0 };
        (seconds - expected).abs() <= late
    }

    /// Sends the user's password to `/v1/login`.
    pub async fn login(&self, user: &TestUser) -> Reply {
        self.login_with(user, &user.password).await
    }

    /// Sends another password to `/v1/login`.
    pub async fn login_with(&self, user: &TestUser, password: &str) -> Reply {
        let body = json!({"tenant": user.tenant, "username": user.username, "password": password});
        self.send(TestRequest::new(Method::POST, "/v1/login").json(body)).await
    }

    /// Signs in with the password and returns the challenge token.
    pub async fn challenge_token(&self, user: &TestUser) -> String {
        self.login(user).await.ok().text("/challenge/token")
    }

    /// Sends a code to `/v1/verify`.
    pub async fn verify(&self, challenge: &str, code: &str) -> Reply {
        self.post("/v1/verify", challenge, json!({"code": code})).await
    }

    /// Signs in with the password and returns the enrolment token.
    pub async fn enrolment_token(&self, user: &TestUser) -> String {
        self.login(user).await.ok().text("/enrolment/token")
    }

    /// A code that was not used yet. Advances the clock, or waits, if the next code is not valid yet.
    pub fn next_code(&self, user: &mut TestUser) -> String {
        match &self.0 {
            Target::InProcess { .. } => {
                user.step = self.step().max(user.step + 1);
                if user.step > self.step() + 1 {
                    self.advance(30 * u64::try_from(user.step - self.step()).unwrap());
                }
            }
            // Waiting takes real time: the previous time step is used too while its code is valid for long enough.
            Target::Remote(_) => {
                let now = self.now();
                let first = if now % 30 < 20 { now / 30 - 1 } else { now / 30 };
                user.step = first.max(user.step + 1);
                remote::sleep((user.step - 1) * 30 - now);
            }
        }
        totp_code(&user.secret, user.step)
    }

    /// A code that is wrong now and in the next and previous three time steps.
    #[must_use]
    pub fn wrong_code(&self, user: &TestUser) -> String {
        let near: Vec<_> = (-3..=3).map(|shift| totp_code(&user.secret, self.step() + shift)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }

    /// Enrols with the password, and a code of the new secret.
    pub async fn enrol(&self, user: &mut TestUser) -> Reply {
        let token = self.enrolment_token(user).await;
        self.enrol_with(user, &token, json!({})).await
    }

    /// Enrols with an enrolment token or a session. `start` is the body of the first request.
    pub async fn enrol_with(&self, user: &mut TestUser, token: &str, start: Value) -> Reply {
        let start = self.post("/v1/mfa/enrolments", token, start).await.ok();
        user.secret = start.text("/secret");
        user.step = 0;
        let code = self.next_code(user);
        let reply = self.post("/v1/mfa/enrolments/confirm", token, json!({"code": code})).await.ok();
        self.signed_in(user, &reply);
        reply
    }

    /// Signs in with the password and a code.
    pub async fn sign_in(&self, user: &mut TestUser) -> Reply {
        let token = self.challenge_token(user).await;
        let code = self.next_code(user);
        let reply = self.post("/v1/verify", &token, json!({"code": code})).await.ok();
        self.signed_in(user, &reply);
        reply
    }

    /// A session with a recent step-up: enrols, steps up or signs in.
    pub async fn stepped_up_session(&self, user: &mut TestUser) -> String {
        if user.secret.is_empty() {
            self.enrol(user).await;
        } else {
            let code = self.next_code(user);
            let stepped = self.post("/v1/step-up", &user.session, json!({"code": code})).await;
            if stepped.status == 200 {
                self.signed_in(user, &stepped);
            } else {
                self.sign_in(user).await;
            }
        }
        user.session.clone()
    }

    fn signed_in(&self, user: &mut TestUser, reply: &Reply) {
        user.session = reply.text("/session/token");
        if let Some(device) = reply.body.pointer("/session/device_token").and_then(Value::as_str) {
            device.clone_into(&mut user.device);
        }
        if let Some(id) = reply.body.pointer("/user/id").and_then(Value::as_str) {
            id.clone_into(&mut user.id);
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

/// The code that an authenticator app shows, calculated independently of the service.
#[must_use]
pub fn totp_code(secret: &str, step: i64) -> String {
    local::totp::code(secret, Timestamp::from_secs(step * 30)).unwrap()
}

/// Test users by username.
pub type TestUsers = HashMap<String, TestUser>;

/// The test user of this name.
pub fn user_mut<'a>(users: &'a mut TestUsers, name: &str) -> &'a mut TestUser {
    users.get_mut(name).unwrap()
}
