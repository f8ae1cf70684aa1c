//! X08, X15: what is secret is in the one response that hands it out, and in no other, no log line and no file; and each
//! event of the log is one line, whatever is typed.
//!
//! The only test of its program: the log is collected for the whole of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::Path, sync::Arc};

use axum::http::Method;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use local::{data_dir::DataDir, mail::NotifyingTable};
use serde_json::{Value, json};
use tests::{
    Ask, Person, Reply, Service, code,
    idp::{BROWSER, Idp, asked, form},
    log::Log,
};
use tracing_subscriber::filter::LevelFilter;
use vestibule::env::SystemEntropy;

/// Something secret.
struct Canary {
    what: &'static str,
    /// In whatever encoding it may be seen.
    forms: Vec<String>,
    /// The response that hands it out.
    handed_out_by: Option<usize>,
}

/// Bytes as a text that can be searched: each a character.
fn latin(bytes: &[u8]) -> String {
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
        latin(bytes),
        BASE64_NOPAD.encode(bytes),
        BASE64URL_NOPAD.encode(bytes),
        BASE32_NOPAD.encode(bytes),
        hex.to_uppercase(),
        hex,
        escaped,
        list.join(","),
    ]
}

/// The service with all that it answered, and what of it was secret.
struct Watched {
    service: Service,
    replies: Vec<(String, Reply)>,
    canaries: Vec<Canary>,
}

/// What the IdP calls somebody unknown: it is kept for the tenant's Administrators, who read it in the audit.
const UNKNOWN: &str = "name of nobody";
const AUDIT: &str = "/v1/admin/audit?limit=100";

impl Watched {
    async fn ask(&mut self, what: &str, ask: Ask) -> &Reply {
        let reply = self.service.send(ask).await;
        self.replies.push((what.to_owned(), reply));
        &self.replies.last().unwrap().1
    }

    async fn post(&mut self, path: &str, token: &str, body: Value) -> &Reply {
        let ask = Ask::new(Method::POST, path).json(body);
        let ask = if token.is_empty() { ask } else { ask.token(token) };
        self.ask(&format!("POST {path}"), ask).await
    }

    fn canary(&mut self, what: &'static str, forms: Vec<String>, handed_out_by: Option<usize>) {
        self.canaries.push(Canary { what, forms, handed_out_by });
    }

    /// Something that a person typed.
    fn typed(&mut self, what: &'static str, text: &str) -> String {
        self.canary(what, encoded(text.as_bytes()), None);
        text.to_owned()
    }

    /// Something that the last response has handed out.
    fn handed_out(&mut self, what: &'static str, pointer: &str) -> String {
        let text = self.replies.last().unwrap().1.text(pointer);
        self.given(what, &text);
        text
    }

    /// The same, in whatever part of the response.
    fn given(&mut self, what: &'static str, text: &str) {
        let last = self.replies.len() - 1;
        let mut forms = encoded(text.as_bytes());
        let bare = text.replace([' ', '-'], "");
        if ["vs_", "vc_", "ve_", "vd_"].iter().any(|class| text.starts_with(class)) {
            let bytes = BASE64URL_NOPAD.decode(&text.as_bytes()[3..]).unwrap();
            forms.extend(encoded(&bytes[bytes.len() - 32..]));
            forms.push(text[3..].to_owned());
        } else if what == "secret" {
            forms.extend(encoded(&BASE32_NOPAD.decode(bare.as_bytes()).unwrap()));
        } else if what == "relay state" {
            forms.extend(encoded(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()));
        }
        forms.push(bare.to_lowercase());
        forms.push(bare);
        self.canary(what, forms, Some(last));
    }

    fn code(&mut self, secret: &str, step: i64) -> String {
        let code = code(secret, step);
        self.canary("code", vec![code.clone()], None);
        code
    }

    /// Password, new secret, code: a session.
    async fn enrol(&mut self, person: &mut Person, reset_code: Option<&str>) {
        self.login(person).await;
        let token = self.handed_out("enrolment token", "/enrolment/token");
        let start = reset_code.map_or(json!({}), |code| json!({"reset_code": code}));
        self.enrol_with(person, &token, start).await;
    }

    async fn enrol_with(&mut self, person: &mut Person, token: &str, start: Value) {
        self.post("/v1/mfa/enrolments", token, start).await;
        person.secret = self.handed_out("secret", "/secret");
        let (right, wrong) = (self.code(&person.secret, self.service.step()), self.service.wrong(person));
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": wrong})).await;
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": right})).await;
        person.session = self.handed_out("session token", "/session/token");
        if self.replies.last().unwrap().1.body.pointer("/session/device_token").is_some() {
            person.device = self.handed_out("device token", "/session/device_token");
        }
        self.post("/v1/mfa/enrolments/confirm", token, json!({"code": right})).await;
    }

    async fn login(&mut self, person: &Person) -> &Reply {
        let body = json!({"tenant": person.tenant, "username": person.username, "password": person.password});
        self.post("/v1/login", "", body).await
    }
}

/// Whether digits stand somewhere as a number of their own.
fn stands_alone(haystack: &str, digits: &str) -> bool {
    haystack.match_indices(digits).any(|(at, _)| {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        !digit(haystack[..at].chars().next_back()) && !digit(haystack[at + digits.len()..].chars().next())
    })
}

impl Canary {
    fn is_in(&self, haystack: &str) -> bool {
        match self.what {
            "code" => stands_alone(haystack, &self.forms[0]),
            _ => self.forms.iter().any(|form| haystack.contains(form.as_str())),
        }
    }
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![(path.display().to_string(), latin(&fs::read(&path).unwrap()))],
        })
        .collect()
}

#[tokio::test]
async fn secrets_are_in_the_response_that_hands_them_out_and_nowhere_else() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().without_time().with_max_level(LevelFilter::TRACE);
    subscriber.with_writer(log.clone()).init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let DataDir { table, keys, .. } = DataDir::open(&path, &SystemEntropy).unwrap();
    let table = NotifyingTable::new(Arc::new(table), Some(&path)).unwrap();
    let service = Service::over(Arc::new(table), keys);
    let mut people = service.populate().await;
    let mut watched = Watched { service, replies: Vec::new(), canaries: Vec::new() };
    let mut ann = people.remove("ann").unwrap();
    watched.typed("password", &ann.password);
    watched.enrol(&mut ann, None).await;
    journey(&mut watched, &mut ann).await;
    by_the_idp(&mut watched, &ann, people.get_mut("bob").unwrap()).await;
    misuse(&mut watched, &ann).await;

    let Watched { service, replies, canaries } = watched;
    assert!(canaries.len() > 30, "{}", canaries.len());
    // Only the audit that was read after the sign-in names it.
    let audit = replies.iter().rposition(|(what, _)| *what == AUDIT);
    for (n, (what, reply)) in replies.iter().enumerate() {
        let said = format!("{} {:?}", reply.body, reply.headers);
        for canary in &canaries {
            let own = canary.handed_out_by == Some(n) || (canary.what == UNKNOWN && audit == Some(n));
            assert_eq!(canary.is_in(&said), own, "{} in {what} ({n})", canary.what);
        }
    }
    let logged = log.take();
    for (what, reply) in &replies {
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert!(logged.contains(id), "{what} was not logged");
    }
    let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
    assert!(logged.lines().all(is_object), "one event, one line");
    assert!(logged.lines().all(|line| !line.contains('\u{1b}')));
    drop(service);
    let kept = files(&path);
    assert!(kept.iter().any(|(_, text)| text.contains("Robin Canary")), "what is kept is found");
    assert!(kept.iter().any(|(name, text)| name.ends_with("mail.jsonl") && text.contains("mfa.reset")));
    for canary in &canaries {
        assert!(!canary.is_in(&logged), "{} in the log", canary.what);
        for (name, text) in kept.iter().filter(|_| canary.what != UNKNOWN) {
            assert!(!canary.is_in(text), "{} in {name}", canary.what);
        }
    }
}

/// A person's life with the service.
async fn journey(watched: &mut Watched, ann: &mut Person) {
    let password = watched.typed("password", "Canary of Zanzibar, 17 feathers");
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "robin",
                      "display_name": "Robin Canary", "email": "robin@example.org", "password": password});
    let created = watched.post("/v1/admin/users", &ann.session, body).await.text("/id");
    let mut robin = Person { username: "robin".into(), password, id: created, ..ann.clone() };
    let wrong = watched.typed("password", "Canary of Zanzibar, 18 feathers");
    watched.login(&Person { password: wrong, ..robin.clone() }).await;
    watched.enrol(&mut robin, None).await;
    let renew = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&robin.session);
    watched.ask("POST recovery token", renew).await;
    let recovery = watched.handed_out("recovery token", "/recovery_token");

    let known =
        json!({"tenant": "acme", "username": "robin", "password": robin.password, "device_token": robin.device});
    watched.post("/v1/login", "", known).await;
    let challenge = watched.handed_out("challenge token", "/challenge/token");
    let never = watched.typed("recovery token", "7ZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-7");
    let wrong = watched.service.wrong(&robin);
    for tried in [&wrong, &never, &recovery, &recovery] {
        watched.post("/v1/verify", &challenge, json!({"code": tried})).await;
    }
    let after = watched.replies.pop().unwrap();
    let recovered = watched.handed_out("session token", "/session/token");
    watched.replies.push(after);
    watched.enrol_with(&mut robin, &recovered, json!({})).await;

    let code = watched.code(&robin.secret, watched.service.step() + 1);
    watched.post("/v1/step-up", &robin.session, json!({"code": code})).await;
    robin.session = watched.handed_out("session token", "/session/token");
    let newer = watched.typed("password", "Canary of Zanzibar, 19 feathers");
    let change = json!({"current_password": robin.password, "new_password": newer});
    watched.post("/v1/password", &robin.session, change).await;
    robin.session = watched.handed_out("session token", "/session/token");
    robin.password = newer;

    let everyone = Ask::new(Method::PATCH, "/v1/admin/settings").token(&ann.session);
    watched.ask("PATCH settings", everyone.json(json!({"reset_code_for": "everyone"}))).await;
    let path = format!("/v1/admin/users/{}/mfa-reset", robin.id);
    let mut shown = String::new();
    for _ in 0..2 {
        watched.post(&path, &ann.session, json!({"reason": "a lost phone"})).await;
        shown = watched.handed_out("reset code", "/reset_code");
    }
    watched.login(&robin).await;
    let token = watched.handed_out("enrolment token", "/enrolment/token");
    let wrong = watched.typed("reset code", "7Z7Z7-7Z7Z7");
    watched.post("/v1/mfa/enrolments", &token, json!({"reset_code": wrong})).await;
    watched.enrol(&mut robin, Some(&shown)).await;

    watched.post("/v1/admin/clients", &ann.session, json!({"name": "portal"})).await;
    let client = watched.replies.last().unwrap().1.text("/client_id");
    let secret = watched.handed_out("client secret", "/client_secret");
    for token in [&robin.session, &robin.device, &challenge] {
        let basic = data_encoding::BASE64.encode(format!("{client}:{secret}").as_bytes());
        let ask = Ask::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
        watched.ask("introspection", ask.header("authorization", &format!("Basic {basic}"))).await;
    }
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
        watched.ask(path, Ask::new(Method::GET, path).token(token)).await;
    }
    assert!(watched.replies.last().unwrap().1.status == 200);
}

impl Watched {
    /// The IdP's answer to a new request, as a browser brings it: what the IdP signed is for nobody else.
    async fn arrives(&mut self, idp: &Idp, name_id: &str) {
        let start = Ask::new(Method::GET, "/v1/sso/acme/login").header("accept", BROWSER);
        let sent = self.ask("GET sso login", start).await;
        let pre_session = sent.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let request = asked(sent);
        self.given("pre-session", pre_session.split('=').nth(1).unwrap());
        self.given("relay state", &request.relay_state);
        let mut says = idp.answer(&self.service, &self.service.sp("acme").await, &request, name_id);
        says.attributes = vec![("Phone".into(), vec![self.typed("attribute", "Canary's number 0041")])];
        let response = says.signed(idp);
        let signature = response.split("SignatureValue>").nth(1).unwrap().split('<').next().unwrap().replace('\n', "");
        self.typed("signature", &signature);
        self.typed("response", &BASE64.encode(response.as_bytes()));
        let form = form(&response, &request.relay_state);
        for (what, ask) in [
            ("a response in an address", Ask::new(Method::GET, format!("/v1/sso/acme/acs?{form}"))),
            (
                "a response of one",
                Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form).header("cookie", &pre_session),
            ),
            ("a spent response", Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form)),
        ] {
            self.ask(what, ask).await;
        }
    }

    /// The token in the cookie of the last response but the one after it.
    fn cookie(&mut self) -> String {
        let spent = self.replies.pop().unwrap();
        let cookie = self.replies.last().unwrap().1.headers["set-cookie"].to_str().unwrap();
        let token = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        self.given("cookie", &token);
        self.replies.push(spent);
        token
    }
}

/// Through the IdP's door. Its metadata and its certificate are no secrets.
async fn by_the_idp(watched: &mut Watched, ann: &Person, bob: &mut Person) {
    let idp = Idp::new("https://idp.example/metadata");
    let configure = Ask::new(Method::PUT, "/v1/admin/sso").token(&ann.session).json(idp.fields());
    assert_eq!(watched.ask("PUT sso", configure).await.status, 200);
    let change = Ask::new(Method::PATCH, "/v1/admin/users/u-bob").token(&ann.session);
    watched.ask("PATCH bob", change.json(json!({"auth_type": "saml_sso"}))).await;
    watched.arrives(&idp, "bob").await;
    let token = watched.cookie();
    watched.enrol_with(bob, &token, json!({})).await;
    watched.arrives(&idp, "bob").await;
    let session = watched.cookie();
    watched.ask("GET session", Ask::new(Method::GET, "/v1/session").token(&session)).await;
    let nobody = watched.typed(UNKNOWN, "Canary of the IdP 23");
    watched.arrives(&idp, &nobody).await;
    let broken = watched.typed("response", &BASE64.encode(b"<Response><Canary of Zanzibar>"));
    let state = watched.typed("relay state of nobody", "CanaryOfZanzibarInARelay");
    for form in [
        vec![("SAMLResponse", broken.as_str()), ("RelayState", &state)],
        vec![("SAMLResponse", "no base64 of Canary"), ("RelayState", &state)],
        vec![("RelayState", &state)],
        vec![("SAMLResponse", &broken), (&state, "x")],
    ] {
        let form = serde_urlencoded::to_string(form).unwrap();
        watched.ask("a broken response", Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form)).await;
    }
    for path in ["/v1/admin/sso", AUDIT, "/v1/sso/acme/metadata"] {
        let shown = watched.ask(path, Ask::new(Method::GET, path).token(&ann.session)).await;
        assert_eq!(shown.status, 200, "{path}");
    }
}

/// Secrets where they do not belong, and what would break a log.
async fn misuse(watched: &mut Watched, ann: &Person) {
    let session = ann.session.clone();
    for path in [
        format!("/v1/session?token={session}"),
        format!("/v1/sessions/{session}"),
        format!("/v1/admin/users/{session}"),
        format!("/v1/{session}"),
        format!("/v1/admin/users?q={session}"),
        format!("/v1/admin/users?cursor={session}"),
    ] {
        for method in [Method::GET, Method::DELETE] {
            watched.ask("a path with a token", Ask::new(method, &path).token(&session)).await;
        }
    }
    let secret = watched.typed("password", "Canary in a wrong place 4711");
    for body in [
        json!({"tenant": "acme", "username": "ann", "password": [secret]}),
        json!({"tenant": "acme", secret.clone(): 1}),
        json!({"tenant": secret, "username": "ann", "password": "x"}),
        json!({"code": secret}),
        json!(secret),
    ] {
        for path in ["/v1/login", "/v1/verify", "/v1/password", "/v1/mfa/enrolments"] {
            watched.post(path, &session, body.clone()).await;
        }
    }
    let broken = "no token at all, and too long for one ".repeat(50);
    for ask in [
        Ask::new(Method::GET, "/v1/session").token(&secret),
        Ask::new(Method::GET, "/v1/session").header("authorization", &secret),
        Ask::new(Method::POST, "/v1/introspect").form(&format!("token={session}&token={session}")),
        Ask::new(Method::GET, "/v1/session").header("cookie", &format!("session={session}")),
        Ask::new(Method::GET, "/v1/session").token(&broken).header("user-agent", &broken),
    ] {
        watched.ask("a credential of another form", ask).await;
    }
    let nasty = "x\r\n{\"level\":\"INFO\"}\u{1b}[31m\u{2028}".to_owned() + &"y".repeat(9_000);
    for username in [nasty.clone(), nasty.replace(['\r', '\n'], "")] {
        let stranger = Person { username, ..ann.clone() };
        let agent = Ask::new(Method::POST, "/v1/login").header("user-agent", "a\t{\"level\":\"INFO\"}");
        let body = json!({"tenant": "acme", "username": stranger.username, "password": "x"});
        watched.ask("a name of several lines", agent.json(body)).await;
    }
    let path = "/v1/admin/users/u-bob/mfa-reset";
    for reason in [nasty, "\"}\\n{\"level\":\"INFO\"} \u{202e}".to_owned()] {
        watched.post(path, &session, json!({"reason": reason})).await;
    }
    // Bob's reset code came with the last of these, if it was one.
    if watched.replies.last().unwrap().1.status == 200 {
        watched.handed_out("reset code", "/reset_code");
    }
}
