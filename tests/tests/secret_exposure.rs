//! X08, X15: a secret appears only in the response that issues it, and in no other response, log line or file. Each log
//! event is one line for any input.
//!
//! The only test in this file, because it captures all logs of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::Path, sync::Arc};

use axum::http::Method;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use local::{data_dir::DataDir, mail::NotifyingTable};
use serde_json::{Value, json};
use tests::{
    Reply, Service, TestRequest, TestUser,
    idp::{BROWSER, Idp, authn_request, form},
    log::Log,
    totp_code,
};
use tracing_subscriber::filter::LevelFilter;
use vestibule::env::SystemEntropy;

/// A secret, and where it may appear.
struct Canary {
    what: &'static str,
    /// Its encodings.
    forms: Vec<String>,
    /// The index of the response that issues it.
    issued_by: Option<usize>,
}

/// Bytes as a string with one character per byte, for searching.
fn as_searchable(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn encoded(bytes: &[u8]) -> Vec<String> {
    let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let hex = HEXLOWER.encode(bytes);
    let escaped: String = bytes
        .iter()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(*b).into() } else { format!("%{b:02X}") })
        .collect();
    vec![
        as_searchable(bytes),
        BASE64_NOPAD.encode(bytes),
        BASE64URL_NOPAD.encode(bytes),
        BASE32_NOPAD.encode(bytes),
        hex.to_uppercase(),
        hex,
        escaped,
        list.join(","),
    ]
}

/// The service, all of its responses, and the secrets in them.
struct Observer {
    service: Service,
    replies: Vec<(String, Reply)>,
    canaries: Vec<Canary>,
}

/// The `NameID` of an unknown user: the audit stores it for the tenant's Administrators.
const UNKNOWN: &str = "name of an unknown user";
const AUDIT: &str = "/v1/admin/audit?limit=100";

impl Observer {
    async fn request(&mut self, what: &str, request: TestRequest) -> &Reply {
        let reply = self.service.send(request).await;
        self.replies.push((what.to_owned(), reply));
        &self.replies.last().unwrap().1
    }

    async fn post(&mut self, path: &str, token: &str, body: Value) -> &Reply {
        let request = TestRequest::new(Method::POST, path).json(body);
        let request = if token.is_empty() { request } else { request.token(token) };
        self.request(&format!("POST {path}"), request).await
    }

    fn canary(&mut self, what: &'static str, forms: Vec<String>, issued_by: Option<usize>) {
        self.canaries.push(Canary { what, forms, issued_by });
    }

    /// Registers a secret that the user entered.
    fn entered(&mut self, what: &'static str, text: &str) -> String {
        self.canary(what, encoded(text.as_bytes()), None);
        text.to_owned()
    }

    /// Registers a secret at a pointer in the last response.
    fn issued(&mut self, what: &'static str, pointer: &str) -> String {
        let text = self.replies.last().unwrap().1.text(pointer);
        self.register_issued(what, &text);
        text
    }

    /// Registers a secret in any part of the last response.
    fn register_issued(&mut self, what: &'static str, text: &str) {
        let last = self.replies.len() - 1;
        let mut forms = encoded(text.as_bytes());
        let compact = text.replace([' ', '-'], "");
        if ["vs_", "vc_", "ve_", "vd_", "vp_"].iter().any(|class| text.starts_with(class)) {
            let bytes = BASE64URL_NOPAD.decode(&text.as_bytes()[3..]).unwrap();
            forms.extend(encoded(&bytes[bytes.len() - 32..]));
            forms.push(text[3..].to_owned());
        } else if what == "secret" {
            forms.extend(encoded(&BASE32_NOPAD.decode(compact.as_bytes()).unwrap()));
        } else if what == "relay state" {
            forms.extend(encoded(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()));
        }
        forms.push(compact.to_lowercase());
        forms.push(compact);
        self.canary(what, forms, Some(last));
    }

    fn next_code(&mut self, secret: &str, step: i64) -> String {
        let code = totp_code(secret, step);
        self.canary("code", vec![code.clone()], None);
        code
    }

    /// Enrols, and registers password, secret, codes and session.
    async fn enrol(&mut self, user: &mut TestUser, reset_code: Option<&str>) {
        self.login(user).await;
        let token = self.issued("enrolment token", "/enrolment/token");
        let start = reset_code.map_or(json!({}), |code| json!({"reset_code": code}));
        self.enrol_with(user, &token, start).await;
    }

    async fn enrol_with(&mut self, user: &mut TestUser, token: &str, start: Value) {
        self.post("/v1/mfa/enrolments", token, start).await;
        user.secret = self.issued("secret", "/secret");
        let (right, wrong) = (self.next_code(&user.secret, self.service.step()), self.service.wrong_code(user));
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": wrong})).await;
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": right})).await;
        user.session = self.issued("session token", "/session/token");
        if self.replies.last().unwrap().1.body.pointer("/session/device_token").is_some() {
            user.device = self.issued("device token", "/session/device_token");
        }
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": right})).await;
    }

    async fn login(&mut self, user: &TestUser) -> &Reply {
        let body = json!({"tenant": user.tenant, "username": user.username, "password": user.password});
        self.post("/v1/login", "", body).await
    }
}

/// Whether digits appear as a separate number.
fn is_separate_number(haystack: &str, digits: &str) -> bool {
    haystack.match_indices(digits).any(|(at, _)| {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        !digit(haystack[..at].chars().next_back()) && !digit(haystack[at + digits.len()..].chars().next())
    })
}

impl Canary {
    fn is_in(&self, haystack: &str) -> bool {
        match self.what {
            "code" => is_separate_number(haystack, &self.forms[0]),
            _ => self.forms.iter().any(|form| haystack.contains(form.as_str())),
        }
    }
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![(path.display().to_string(), as_searchable(&fs::read(&path).unwrap()))],
        })
        .collect()
}

#[tokio::test]
async fn secrets_appear_only_in_the_response_that_issues_them() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().without_time().with_max_level(LevelFilter::TRACE);
    subscriber.with_writer(log.clone()).init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let DataDir { table, keys, .. } = DataDir::open(&path, &SystemEntropy).unwrap();
    let table = NotifyingTable::new(Arc::new(table), Some(&path)).unwrap();
    let service = Service::with_table(Arc::new(table), keys);
    let mut users = service.add_users().await;
    let mut observer = Observer { service, replies: Vec::new(), canaries: Vec::new() };
    let mut ann = users.remove("ann").unwrap();
    observer.entered("password", &ann.password);
    observer.enrol(&mut ann, None).await;
    journey(&mut observer, &mut ann).await;
    sso_journey(&mut observer, &ann, users.get_mut("bob").unwrap()).await;
    misuse(&mut observer, &ann).await;

    let Observer { service, replies, canaries } = observer;
    assert!(canaries.len() > 30, "{}", canaries.len());
    // Only the audit read after the sign-in names the unknown user.
    let audit = replies.iter().rposition(|(what, _)| *what == AUDIT);
    for (n, (what, reply)) in replies.iter().enumerate() {
        let visible = format!("{} {:?}", reply.body, reply.headers);
        for canary in &canaries {
            let own = canary.issued_by == Some(n) || (canary.what == UNKNOWN && audit == Some(n));
            assert_eq!(canary.is_in(&visible), own, "{} in {what} ({n})", canary.what);
        }
    }
    let logged = log.take();
    for (what, reply) in &replies {
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert!(logged.contains(id), "{what} was not logged");
    }
    let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
    assert!(logged.lines().all(is_object), "every log line is one event");
    assert!(logged.lines().all(|line| !line.contains('\u{1b}')));
    drop(service);
    let stored = files(&path);
    assert!(stored.iter().any(|(_, text)| text.contains("Robin Canary")), "the search finds stored data");
    assert!(stored.iter().any(|(name, text)| name.ends_with("mail.jsonl") && text.contains("mfa.reset")));
    for canary in &canaries {
        assert!(!canary.is_in(&logged), "{} in the log", canary.what);
        for (name, text) in stored.iter().filter(|_| canary.what != UNKNOWN) {
            assert!(!canary.is_in(text), "{} in {name}", canary.what);
        }
    }
}

/// A user's sign-ins and changes, and what others learn about the user.
async fn journey(observer: &mut Observer, ann: &mut TestUser) {
    let mut robin = new_user(observer, ann).await;
    let challenge = known_device_and_recovery(observer, &mut robin).await;
    step_up_and_password_change(observer, &mut robin).await;
    forgotten_password(observer, &mut robin).await;
    mfa_reset(observer, ann, &mut robin).await;
    introspection(observer, ann, [&robin.session, &robin.device, &challenge]).await;
    reads(observer, ann, &robin).await;
}

/// A new user enrols.
async fn new_user(observer: &mut Observer, ann: &TestUser) -> TestUser {
    let password = observer.entered("password", "Canary of Zanzibar, 17 feathers");
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "robin",
                      "display_name": "Robin Canary", "email": "robin@example.org", "password": password});
    let created = observer.post("/v1/admin/users", &ann.session, body).await.text("/id");
    let mut robin = TestUser { username: "robin".into(), password, id: created, ..ann.clone() };
    let wrong = observer.entered("password", "Canary of Zanzibar, 18 feathers");
    observer.login(&TestUser { password: wrong, ..robin.clone() }).await;
    observer.enrol(&mut robin, None).await;
    robin
}

/// A sign-in on a known device with wrong codes and a recovery token, then a new enrolment. Returns the challenge token.
async fn known_device_and_recovery(observer: &mut Observer, robin: &mut TestUser) -> String {
    let renew = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&robin.session);
    observer.request("POST recovery token", renew).await;
    let recovery = observer.issued("recovery token", "/recovery_token");

    let known =
        json!({"tenant": "acme", "username": "robin", "password": robin.password, "device_token": robin.device});
    observer.post("/v1/login", "", known).await;
    let challenge = observer.issued("challenge token", "/challenge/token");
    let never = observer.entered("recovery token", "7ZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-7");
    let wrong = observer.service.wrong_code(robin);
    for tried in [&wrong, &never, &recovery, &recovery] {
        observer.post("/v1/verify", &challenge, json!({"code": tried})).await;
    }
    let after = observer.replies.pop().unwrap();
    let recovered = observer.issued("session token", "/session/token");
    observer.replies.push(after);
    observer.enrol_with(robin, &recovered, json!({})).await;
    challenge
}

async fn step_up_and_password_change(observer: &mut Observer, robin: &mut TestUser) {
    let code = observer.next_code(&robin.secret, observer.service.step() + 1);
    observer.post("/v1/step-up", &robin.session, json!({"code": code})).await;
    robin.session = observer.issued("session token", "/session/token");
    let newer = observer.entered("password", "Canary of Zanzibar, 19 feathers");
    let change = json!({"current_password": robin.password, "new_password": newer});
    observer.post("/v1/password", &robin.session, change).await;
    robin.session = observer.issued("session token", "/session/token");
    robin.password = newer;
}

async fn mfa_reset(observer: &mut Observer, ann: &TestUser, robin: &mut TestUser) {
    let everyone = TestRequest::new(Method::PATCH, "/v1/admin/settings").token(&ann.session);
    observer.request("PATCH settings", everyone.json(json!({"reset_code_for": "everyone"}))).await;
    let path = format!("/v1/admin/users/{}/mfa-reset", robin.id);
    let mut shown = String::new();
    for _ in 0..2 {
        observer.post(&path, &ann.session, json!({"reason": "a lost phone"})).await;
        shown = observer.issued("reset code", "/reset_code");
    }
    observer.login(robin).await;
    let token = observer.issued("enrolment token", "/enrolment/token");
    let wrong = observer.entered("reset code", "7Z7Z7-7Z7Z7");
    observer.post("/v1/mfa/enrolments", &token, json!({"reset_code": wrong})).await;
    observer.enrol(robin, Some(&shown)).await;
}

async fn introspection(observer: &mut Observer, ann: &TestUser, tokens: [&String; 3]) {
    observer.post("/v1/admin/clients", &ann.session, json!({"name": "portal"})).await;
    let client = observer.replies.last().unwrap().1.text("/client_id");
    let secret = observer.issued("client secret", "/client_secret");
    for token in tokens {
        let basic = data_encoding::BASE64.encode(format!("{client}:{secret}").as_bytes());
        let request = TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
        observer.request("introspection", request.header("authorization", &format!("Basic {basic}"))).await;
    }
}

async fn reads(observer: &mut Observer, ann: &TestUser, robin: &TestUser) {
    for (path, token) in [
        ("/v1/session", &robin.session),
        ("/v1/sessions", &robin.session),
        ("/v1/mfa", &robin.session),
        ("/v1/admin/users", &ann.session),
        ("/v1/admin/settings", &ann.session),
        ("/v1/admin/clients", &ann.session),
        ("/v1/admin/audit?limit=100", &ann.session),
        ("/v1/admin/portal-exclusions", &ann.session),
    ] {
        observer.request(path, TestRequest::new(Method::GET, path).token(token)).await;
    }
    assert!(observer.replies.last().unwrap().1.status == 200);
}

/// Verifies the address and sets a new password, each by a token that is in a mail and in no response.
async fn forgotten_password(observer: &mut Observer, robin: &mut TestUser) {
    let verify = TestRequest::new(Method::POST, "/v1/email-verifications").token(&robin.session);
    observer.request("POST email verification", verify).await;
    let token = observer.mailed_token().await;
    observer.post("/v1/email-verifications/confirm", "", json!({"token": token})).await;
    observer.post("/v1/password-resets", "", json!({"tenant": "acme", "username": "robin"})).await;
    let token = observer.mailed_token().await;
    let newest = observer.entered("password", "Canary of Zanzibar, 20 feathers");
    for _ in 0..2 {
        observer.post("/v1/password-resets/confirm", "", json!({"token": token, "new_password": newest})).await;
    }
    robin.password = newest;
    observer.login(robin).await;
    let challenge = observer.issued("challenge token", "/challenge/token");
    let code = observer.next_code(&robin.secret, observer.service.step() + 2);
    observer.service.advance(30);
    observer.post("/v1/verify", &challenge, json!({"code": code})).await;
    robin.session = observer.issued("session token", "/session/token");
    robin.device = observer.issued("device token", "/session/device_token");
}

impl Observer {
    /// The token of the last mail: no response has it.
    async fn mailed_token(&mut self) -> String {
        let mails = self.service.sent_mails().await;
        let token = mails.last().unwrap().token();
        self.register_issued("mailed token", &token);
        self.canaries.last_mut().unwrap().issued_by = None;
        token
    }

    /// Posts the IdP's response to a new request in a browser; the response is a secret.
    async fn sign_in_by_sso(&mut self, idp: &Idp, name_id: &str) {
        let start = TestRequest::new(Method::GET, "/v1/sso/acme/login").header("accept", BROWSER);
        let sent = self.request("GET sso login", start).await;
        let pre_session = sent.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let authn_request = authn_request(sent);
        self.register_issued("pre-session", pre_session.split('=').nth(1).unwrap());
        self.register_issued("relay state", &authn_request.relay_state);
        let mut spec = idp.valid_response(&self.service, &self.service.sp("acme").await, &authn_request, name_id);
        spec.attributes = vec![("Phone".into(), vec![self.entered("attribute", "Canary's number 0041")])];
        let response = spec.sign_assertion(idp);
        let signature = response.split("SignatureValue>").nth(1).unwrap().split('<').next().unwrap().replace('\n', "");
        self.entered("signature", &signature);
        self.entered("response", &BASE64.encode(response.as_bytes()));
        let form = form(&response, &authn_request.relay_state);
        for (what, request) in [
            ("a response in an address", TestRequest::new(Method::GET, format!("/v1/sso/acme/acs?{form}"))),
            (
                "a response of one",
                TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&form).header("cookie", &pre_session),
            ),
            ("a spent response", TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&form)),
        ] {
            self.request(what, request).await;
        }
    }

    /// The token in the cookie of the last response.
    fn cookie(&mut self) -> String {
        let spent = self.replies.pop().unwrap();
        let cookie = self.replies.last().unwrap().1.headers["set-cookie"].to_str().unwrap();
        let token = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        self.register_issued("cookie", &token);
        self.replies.push(spent);
        token
    }
}

/// Sign-in by an IdP. Its metadata and certificate are not secrets.
async fn sso_journey(observer: &mut Observer, ann: &TestUser, bob: &mut TestUser) {
    let idp = Idp::new("https://idp.example/metadata");
    let configure = TestRequest::new(Method::PUT, "/v1/admin/sso").token(&ann.session).json(idp.fields());
    assert_eq!(observer.request("PUT sso", configure).await.status, 200);
    let change = TestRequest::new(Method::PATCH, "/v1/admin/users/u-bob").token(&ann.session);
    observer.request("PATCH bob", change.json(json!({"auth_type": "saml_sso"}))).await;
    observer.sign_in_by_sso(&idp, "bob").await;
    let token = observer.cookie();
    observer.enrol_with(bob, &token, json!({})).await;
    observer.sign_in_by_sso(&idp, "bob").await;
    let session = observer.cookie();
    observer.request("GET session", TestRequest::new(Method::GET, "/v1/session").token(&session)).await;
    let nobody = observer.entered(UNKNOWN, "Canary of the IdP 23");
    observer.sign_in_by_sso(&idp, &nobody).await;
    let broken = observer.entered("response", &BASE64.encode(b"<Response><Canary of Zanzibar>"));
    let state = observer.entered("unknown relay state", "CanaryOfZanzibarInARelay");
    for form in [
        vec![("SAMLResponse", broken.as_str()), ("RelayState", &state)],
        vec![("SAMLResponse", "no base64 of Canary"), ("RelayState", &state)],
        vec![("RelayState", &state)],
        vec![("SAMLResponse", &broken), (&state, "x")],
    ] {
        let form = serde_urlencoded::to_string(form).unwrap();
        observer.request("a broken response", TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&form)).await;
    }
    for path in ["/v1/admin/sso", AUDIT, "/v1/sso/acme/metadata"] {
        let shown = observer.request(path, TestRequest::new(Method::GET, path).token(&ann.session)).await;
        assert_eq!(shown.status, 200, "{path}");
    }
}

/// Secrets in wrong places, and input that could break the log.
async fn misuse(observer: &mut Observer, ann: &TestUser) {
    secrets_in_wrong_places(observer, &ann.session).await;
    input_of_several_lines(observer, ann).await;
}

async fn secrets_in_wrong_places(observer: &mut Observer, session: &str) {
    for path in [
        format!("/v1/session?token={session}"),
        format!("/v1/sessions/{session}"),
        format!("/v1/admin/users/{session}"),
        format!("/v1/{session}"),
        format!("/v1/admin/users?q={session}"),
        format!("/v1/admin/users?cursor={session}"),
    ] {
        for method in [Method::GET, Method::DELETE] {
            observer.request("a path with a token", TestRequest::new(method, &path).token(session)).await;
        }
    }
    let secret = observer.entered("password", "Canary in a wrong place 4711");
    for body in [
        json!({"tenant": "acme", "username": "ann", "password": [secret]}),
        json!({"tenant": "acme", secret.clone(): 1}),
        json!({"tenant": secret, "username": "ann", "password": "x"}),
        json!({"code": secret}),
        json!(secret),
    ] {
        for path in ["/v1/login", "/v1/verify", "/v1/password", "/v1/mfa/enrolments"] {
            observer.post(path, session, body.clone()).await;
        }
    }
    let broken = "no token at all, and too long for one ".repeat(50);
    for request in [
        TestRequest::new(Method::GET, "/v1/session").token(&secret),
        TestRequest::new(Method::GET, "/v1/session").header("authorization", &secret),
        TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={session}&token={session}")),
        TestRequest::new(Method::GET, "/v1/session").header("cookie", &format!("session={session}")),
        TestRequest::new(Method::GET, "/v1/session").token(&broken).header("user-agent", &broken),
    ] {
        observer.request("a credential of another form", request).await;
    }
}

async fn input_of_several_lines(observer: &mut Observer, ann: &TestUser) {
    let nasty = "x\r\n{\"level\":\"INFO\"}\u{1b}[31m\u{2028}".to_owned() + &"y".repeat(9_000);
    for username in [nasty.clone(), nasty.replace(['\r', '\n'], "")] {
        let stranger = TestUser { username, ..ann.clone() };
        let agent = TestRequest::new(Method::POST, "/v1/login").header("user-agent", "a\t{\"level\":\"INFO\"}");
        let body = json!({"tenant": "acme", "username": stranger.username, "password": "x"});
        observer.request("a name of several lines", agent.json(body)).await;
    }
    let path = "/v1/admin/users/u-bob/mfa-reset";
    for reason in [nasty, "\"}\\n{\"level\":\"INFO\"} \u{202e}".to_owned()] {
        observer.post(path, &ann.session, json!({"reason": reason})).await;
    }
    // If the last request was a reset, its response contains bob's reset code.
    if observer.replies.last().unwrap().1.status == 200 {
        observer.issued("reset code", "/reset_code");
    }
}
