//! What an attacker tries, one case a test, and what may not come of it. What the journeys and the table of
//! authorization show already is not repeated here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request},
};
use futures_util::{future::join_all, poll};
use serde_json::{Value, json};
use tests::{Ask, Person, Reply, Service, code, document::DOCUMENT, of};
use tokio::time::timeout;
use vestibule::{env::SystemEntropy, store::memory::MemoryTable};

async fn recovery_token(service: &Service, session: &str) -> String {
    let ask = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(session);
    service.send(ask).await.ok().text("/recovery_token")
}

async fn reset(service: &Service, admin: &str, id: &str) -> Reply {
    service.post(&format!("/v1/admin/users/{id}/mfa-reset"), admin, json!({"reason": "r"})).await
}

async fn exclude(service: &Service, token: &str, key: &str, ids: &[&str], disable: bool) -> Reply {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "kiosk"});
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
    service.send(ask.header("idempotency-key", key)).await
}

async fn audit(service: &Service, admin: &str, id: &str) -> Vec<Value> {
    let rows = service.get(&format!("/v1/admin/audit?user_id={id}&limit=100"), admin).await.ok();
    rows.body["items"].as_array().unwrap().clone()
}

fn actions<'a>(rows: &'a [Value], action: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["action"] == action).collect()
}

/// Creates a person as an Administrator does.
async fn create(service: &Service, admin: &str, tenant: &str, username: &str, password: &str) -> Person {
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": username,
                      "display_name": username, "password": password});
    let created = service.post("/v1/admin/users", admin, body).await.ok();
    Person {
        tenant: tenant.into(),
        username: username.into(),
        password: password.into(),
        id: created.text("/id"),
        secret: String::new(),
        step: 0,
        session: String::new(),
        device: String::new(),
    }
}

/// A request that `Ask` would not make.
async fn raw(service: &Service, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    service.raw(request).await
}

/// Everything of an answer that a client sees, but for what differs from request to request.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let mut body = reply.body.clone();
    if let Some(id) = body.get_mut("request_id") {
        *id = Value::Null;
    }
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status.as_u16(), headers, body)
}

/// All texts in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// L01
#[tokio::test]
async fn a_password_alone_gives_nothing_that_opens_anything() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let reply = service.login(bob).await.ok();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&reply.body), ["challenge", "status"]);
    assert_eq!(keys(&reply.body["challenge"]), ["expires_at", "methods", "token"]);
    assert!(reply.headers.get("set-cookie").is_none());
    let mut values = texts(&reply.body);
    values.extend(reply.headers.values().map(|value| value.to_str().unwrap().to_owned()));
    values.extend(values.clone().iter().map(|value| value.replace("vc_", "vs_")));
    for value in values {
        assert!(service.get("/v1/session", &value).await.is(401, "invalid_token"), "{value}");
        let cookies = format!("session={value}; __Host-session={value}; token={value}");
        let asked = Ask::new(Method::GET, "/v1/session").header("cookie", &cookies);
        assert!(service.send(asked).await.is(401, "invalid_token"));
        if value.starts_with('v') {
            let asked = Ask::new(Method::GET, format!("/v1/session?access_token={value}"));
            assert!(service.send(asked).await.is(400, "invalid_request"), "no token is taken from a URL");
        }
    }
}

/// L02
#[tokio::test]
async fn refusals_at_the_password_door_are_alike_to_the_last_header() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.patch("/v1/admin/users/u-eve", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    service.enrol(of(&mut people, "bob")).await;
    let stranger = Person { username: "nobody".into(), ..people["bob"].clone() };
    let elsewhere = Person { tenant: "nowhere".into(), ..people["bob"].clone() };
    let wrong = seen(&service.login_with(&people["bob"], "wrong").await);
    assert_eq!(wrong.0, 401);
    for person in [&stranger, &elsewhere, &people["off"], &people["eve"]] {
        assert_eq!(seen(&service.login(person).await), wrong);
        assert_eq!(seen(&service.login_with(person, "wrong").await), wrong);
    }
    // And so are the delays that come of them.
    let mut delayed = Vec::new();
    for person in [&people["bob"], &stranger, &elsewhere, &people["off"], &people["eve"]] {
        while service.login_with(person, "wrong").await.status != 429 {}
        delayed.push(seen(&service.login(person).await));
    }
    assert!(delayed.iter().all(|answer| *answer == delayed[0] && answer.0 == 429), "{delayed:?}");
}

/// L04
#[tokio::test]
async fn guesses_from_a_hundred_addresses_share_one_allowance() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    let (mut evaluated, mut delayed) = (0, 0);
    let guess = |n: u8, password: &str| {
        let body = json!({"tenant": bob.tenant, "username": bob.username, "password": password});
        let from = format!("198.51.{n}.7");
        let ask = Ask::new(Method::POST, "/v1/login").json(body).from([198, 51, n, 7]);
        service.send(ask.header("x-forwarded-for", &from).header("user-agent", &from))
    };
    for n in 0..120 {
        match guess(n, &format!("guess {n}")).await.status.as_u16() {
            401 => evaluated += 1,
            429 => delayed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((evaluated, delayed), (5, 115));
    assert!(guess(200, &bob.password).await.is(429, "too_many_attempts"), "the right one is not looked at either");
    service.pass(1);
    assert_eq!(guess(200, &bob.password).await.ok().text("/status"), "enrolment_required");
}

/// L06, L07
#[tokio::test]
async fn spellings_of_a_name_are_one_account_with_one_counter() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let zoe = create(&service, &ann, "acme", "zoë", "a long password of zoe").await;
    for taken in ["ZOË", "zoe\u{308}", "ｚｏë"] {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": taken,
                          "display_name": "Z", "password": "a long password of zoe"});
        assert!(service.post("/v1/admin/users", &ann, body).await.is(409, "conflict"), "{taken} is a second identity");
    }
    let named = |name: &str| Person { username: name.into(), ..zoe.clone() };
    for same in ["ZOË", "zoe\u{308}", "ｚｏë", "Zoë"] {
        assert_eq!(service.login(&named(same)).await.ok().text("/status"), "enrolment_required", "{same}");
    }
    for other in [" zoë", "zoë ", "zoë\u{200b}", "zoë.", "zoe", "zoë@acme", "acme/zoë"] {
        assert!(service.login(&named(other)).await.is(401, "invalid_credentials"), "{other}");
    }
    assert!(service.login(&named("zoë\u{0}")).await.is(400, "invalid_request"));
    for (n, spelling) in ["zoë", "ZOË", "zoe\u{308}", "ｚｏë", "Zoë", "zOë"].iter().enumerate() {
        let status = service.login_with(&named(spelling), "wrong").await.status;
        assert_eq!(status, if n < 5 { 401 } else { 429 }, "{spelling}");
    }
}

/// L08
#[tokio::test]
async fn a_password_counts_to_its_last_byte_and_beyond_1024_is_no_password() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let long = "p4".repeat(512);
    let umlauts = format!("{}ü{}", "q".repeat(71), "tail");
    for (name, password) in [("long", &long), ("wide", &umlauts)] {
        let person = create(&service, &ann, "acme", name, password).await;
        service.login(&person).await.ok();
        let cut = password.chars().take(password.chars().count() - 1).collect::<String>();
        let other = format!("{cut}x");
        for wrong in [&cut, &other, &password.chars().take(71).collect(), &password.chars().take(72).collect()] {
            assert!(service.login_with(&person, wrong).await.is(401, "invalid_credentials"));
        }
        // Too long is no try: this was the fourth failure, and the right one is taken still.
        for _ in 0..6 {
            let reply = service.login_with(&person, &format!("{long}x")).await;
            assert!(reply.is(400, "invalid_request"));
        }
        assert!(service.login_with(&person, &"x".repeat(1 << 20)).await.is(413, "payload_too_large"));
        service.login(&person).await.ok();
    }
}

/// L09
#[tokio::test]
async fn half_an_hour_of_guesses_locks_nobody_out() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
    for round in 0..180 {
        service.login_with(bob, "a guess").await;
        if round % 45 == 0 {
            let ask = Ask::new(Method::POST, "/v1/login").json(known.clone()).from([203, 0, 113, round]);
            assert_eq!(service.send(ask).await.ok().text("/status"), "mfa_required", "a known device, {round}");
        }
        service.pass(10);
    }
    assert!(service.login(bob).await.is(429, "too_many_attempts"));
    let (bob, eve) = (people["bob"].clone(), &people["eve"]);
    assert_eq!(service.login(eve).await.ok().text("/status"), "enrolment_required", "others notice nothing");
    service.pass(900);
    assert_eq!(
        service.login(&bob).await.ok().text("/status"),
        "mfa_required",
        "a new client, after a quarter of an hour"
    );
}

/// L10, X10
#[test]
fn a_flood_of_passwords_is_refused_at_once_beyond_the_queue() {
    // One thread may block, and it does: no password gets checked before `release`.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let data = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap();
        let service = Service::over(Arc::new(MemoryTable::default()), data.keys);
        let guess = |number: usize| {
            let name = format!("name{number}");
            let body = json!({"tenant": "acme", "username": name, "password": "some long password of words"});
            service.send(Ask::new(Method::POST, "/v1/login").json(body))
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || held.recv());
        // 4 at once and 256 who wait: as many as `Service::over` admits.
        let mut admitted = join_all((0..260).map(guess));
        assert!(poll!(&mut admitted).is_pending());
        for _ in 0..6 {
            let refused = timeout(Duration::from_secs(10), guess(260)).await.expect("it does not wait for anybody");
            assert!(refused.is(503, "unavailable"), "{refused:?}");
            assert_eq!(refused.headers["retry-after"], refused.body["retry_after_seconds"].to_string().as_str());
        }
        release.send(()).unwrap();
        assert!(blocked.await.unwrap().is_ok());
        for refused in admitted.await {
            assert!(refused.is(401, "invalid_credentials"), "{refused:?}");
        }
        assert!(guess(260).await.is(401, "invalid_credentials"), "there is room again, and no try was lost");
    });
}

#[tokio::test]
async fn a_request_holds_one_guess_in_one_form() {
    let (service, people) = Service::peopled().await;
    let bob = &people["bob"];
    let right = json!(bob.password).to_string();
    let many: Vec<_> = (0..1000).map(|n| format!("\"{n}\"")).collect();
    let bodies = [
        format!(r#"{{"tenant":"acme","username":"bob","password":[{right},"b"]}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{{"a":{right}}}}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":"x","password":{right}}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right},"password":"x"}}"#),
        format!(r#"{{"tenant":"acme","username":"eve","username":"bob","password":{right}}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right},"\u0070assword":"x"}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":[{}]}}"#, many.join(",")),
        format!(r#"[{{"tenant":"acme","username":"bob","password":{right}}}]"#),
        format!(r#"["acme","bob",{right}]"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right}}} {{}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right},"device_token":null}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right},"mfa":false}}"#),
        format!(r#"{{"tenant":"acme","username":"bob","password":{right}"#),
        r#"{"tenant":"acme","username":"bob","password":true}"#.to_owned(),
        r#"{"tenant":"acme","username":"bob"}"#.to_owned(),
        String::new(),
    ];
    for body in bodies {
        let reply = raw(&service, "POST", "/v1/login", &[("content-type", "application/json")], body.clone()).await;
        assert!(reply.is(400, "invalid_request"), "{body}: {reply:?}");
    }
    let body = json!({"tenant": "acme", "username": "bob", "password": bob.password}).to_string();
    for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json"] {
        let reply = raw(&service, "POST", "/v1/login", &[("content-type", kind)], body.clone()).await;
        assert!(reply.is(400, "invalid_request"), "{kind}");
    }
    let query = raw(&service, "POST", "/v1/login?username=eve", &[("content-type", "application/json")], body).await;
    assert!(query.is(400, "invalid_request"));
    // None of these was a try.
    for _ in 0..4 {
        assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    }
    service.login(bob).await.ok();
}

/// E03, R05, A04
#[tokio::test]
async fn a_stolen_session_without_its_own_fresh_step_up_changes_no_factor() {
    let (service, mut people) = Service::peopled().await;
    let ann = of(&mut people, "ann");
    service.enrol(ann).await;
    let stolen = ann.session.clone();
    let shown = recovery_token(&service, &stolen).await;
    service.pass(301);
    // The step-up of another session of hers is not this one's.
    let own = service.sign_in(ann).await.text("/session/token");
    for path in ["/v1/mfa/enrolments", "/v1/mfa/recovery-token"] {
        let reply = service.send(Ask::new(Method::POST, path).token(&stolen)).await;
        assert!(reply.is(401, "step_up_required"), "{path}: {reply:?}");
    }
    assert!(reset(&service, &stolen, "u-bob").await.is(401, "step_up_required"));
    assert!(exclude(&service, &stolen, "k", &["u-con1"], true).await.is(401, "step_up_required"));
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", &format!("Bearer {own}"))];
    assert!(raw(&service, "POST", "/v1/mfa/recovery-token", &form, "a=b").await.is(400, "invalid_request"));
    // Nothing of hers is changed: factor and recovery token work.
    service.sign_in(ann).await;
    let challenge = service.challenge(ann).await;
    let recovered = service.verify(&challenge, &shown).await.ok().text("/session/token");
    service.pass(601);
    for path in ["/v1/mfa/enrolments", "/v1/mfa/recovery-token"] {
        let reply = service.send(Ask::new(Method::POST, path).token(&recovered)).await;
        assert!(reply.is(401, "step_up_required"), "a recovered session, ten minutes later: {path}");
    }
}

/// E04, E13
#[tokio::test]
async fn five_wrong_codes_or_ten_minutes_end_a_pending_enrolment_and_nothing_else() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    let token = service.enrolment(bob).await;
    let confirm = |code: String| service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code}));
    assert!(confirm("123456".into()).await.is(409, "conflict"), "nothing is pending");
    bob.secret = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok().text("/secret");
    for _ in 0..5 {
        assert!(confirm(service.wrong(bob)).await.is(401, "invalid_code"));
    }
    assert!(confirm(code(&bob.secret, service.step())).await.is(409, "conflict"));
    service.enrol_with(bob, &token, json!({})).await;
    assert_eq!(service.login(bob).await.text("/status"), "mfa_required");
    // With a session no token's end comes first: it is the enrolment's own.
    let session = bob.session.clone();
    let secret = service.post("/v1/mfa/enrolments", &session, json!({})).await.ok().text("/secret");
    service.pass(600);
    let late = json!({"code": code(&secret, service.step())});
    let late = service.post("/v1/mfa/enrolments/confirm", &session, late).await;
    assert!(!late.status.is_success(), "{late:?}");
    service.sign_in(bob).await;
}

/// E05
#[tokio::test]
async fn of_two_enrolments_the_newest_alone_can_be_confirmed() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    let (one, two) = (service.enrolment(bob).await, service.enrolment(bob).await);
    let start = async |token: &str| service.post("/v1/mfa/enrolments", token, json!({})).await.ok().text("/secret");
    let confirm = async |token: &str, secret: &str| {
        let code = code(secret, service.step());
        service.post("/v1/mfa/enrolments/confirm", token, json!({"code": code})).await
    };
    let (first, second) = (start(&one).await, start(&one).await);
    assert_ne!(first, second);
    assert!(confirm(&one, &first).await.is(401, "invalid_code"));
    let third = start(&two).await;
    for _ in 0..6 {
        assert!(
            confirm(&one, &second).await.is(401, "invalid_token"),
            "replaced by another token, which is not charged"
        );
    }
    let done = confirm(&two, &third).await.ok();
    for token in [&one, &two] {
        assert!(service.post("/v1/mfa/enrolments", token, json!({})).await.is(401, "invalid_token"));
    }
    bob.session = done.text("/session/token");
    // Shown, never confirmed: no door takes them.
    service.pass(60);
    for secret in [&first, &second] {
        let challenge = service.challenge(bob).await;
        assert!(service.verify(&challenge, &code(secret, service.step())).await.is(401, "invalid_code"));
    }
}

/// E06
#[tokio::test]
async fn the_confirming_code_is_spent() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let (used, next) = (code(&bob.secret, bob.step), code(&bob.secret, bob.step + 1));
    let challenge = service.challenge(bob).await;
    assert!(service.verify(&challenge, &used).await.is(401, "invalid_code"));
    let stepped = service.post("/v1/step-up", &bob.session, json!({"code": used})).await;
    assert!(stepped.is(401, "invalid_code"));
    service.verify(&challenge, &next).await.ok();
}

/// E07
#[tokio::test]
async fn secrets_are_160_random_bits() {
    let (service, people) = Service::peopled().await;
    let token = service.enrolment(&people["bob"]).await;
    let (mut secrets, mut ones) = (BTreeSet::new(), [0_u32; 160]);
    for _ in 0..64 {
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        let secret = start.text("/secret").replace(' ', "");
        let bytes = totp_rs::Secret::try_from_base32(secret.clone()).unwrap();
        let bytes: &[u8] = bytes.as_ref();
        assert_eq!(bytes.len(), 20);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
        }
        assert_eq!(start.body["algorithm"], "SHA1");
        assert_eq!((&start.body["digits"], &start.body["period"]), (&json!(6), &json!(30)));
        secrets.insert(secret);
    }
    assert_eq!(secrets.len(), 64);
    // Of 64 tosses each bit is neither always the same nor close to it: beyond 8 and 56 is one in a hundred million.
    assert!(ones.iter().all(|count| (8..=56).contains(count)), "{ones:?}");
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// E08, E09
#[tokio::test]
async fn names_get_into_the_uri_and_the_picture_as_names_alone() {
    let (service, mut people) = Service::peopled().await;
    let names = [
        "a?secret=AAAA&issuer=Evil",
        "x&algorithm=MD5",
        "a:b",
        "%0d%0a",
        "c#frag",
        "d/../e",
        "f g+h",
        "\"><script>alert(1)</script>",
        "\u{202e}evil",
        "<svg onload=x>",
    ];
    for (n, name) in names.iter().enumerate() {
        let ann = service.fresh(of(&mut people, "ann")).await;
        service.patch("/v1/admin/settings", &ann, json!({"issuer": name})).await.ok();
        let person = create(&service, &ann, "acme", &format!("{name}{n}"), "a good long password").await;
        let token = service.enrolment(&person).await;
        let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
        let (secret, uri) = (start.text("/secret").replace(' ', ""), start.text("/otpauth_uri"));
        assert!(uri.is_ascii() && !uri.contains(['#', '<', '>', '"', ' ']), "{uri}");
        let (label, query) = uri.strip_prefix("otpauth://totp/").unwrap().split_once('?').unwrap();
        let mut parameters: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        parameters.sort_unstable();
        let keys: Vec<_> = parameters.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["algorithm", "digits", "issuer", "period", "secret"], "{uri}");
        let shown = |text: &str| text.replace([':', '\u{202e}'], "");
        let values: Vec<_> = parameters.iter().map(|(_, value)| percent_decoded(value)).collect();
        assert_eq!(values, ["SHA1", "6", &shown(name), "30", &secret]);
        assert!(!label.contains('/'), "{label}");
        assert_eq!(percent_decoded(label), format!("{}:{}", shown(name), shown(&person.username)));
        // The picture is made of rectangles and paths: no text, no script, nothing that is loaded.
        let svg = start.text("/qr_svg");
        let tags: BTreeSet<_> =
            svg.split('<').skip(1).map(|tag| tag.split([' ', '>', '/']).find(|it| !it.is_empty()).unwrap()).collect();
        assert!(tags.iter().all(|tag| ["svg", "rect", "path"].contains(tag)), "{tags:?}");
        assert!(!svg.contains("href") && !svg.contains(" on"));
        assert!(start.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    }
}

/// E11
#[tokio::test]
async fn an_abandoned_enrolment_is_asked_for_again_with_another_secret() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    let token = service.enrolment(bob).await;
    let first = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok().text("/secret");
    for skip in [
        json!({"code": ""}),
        json!({"code": null}),
        json!({}),
        json!({"code": "000000", "skip": true}),
        json!({"skip": true}),
        json!({"code": false}),
        json!({"code": []}),
        json!({"code": 0}),
    ] {
        let reply = service.post("/v1/mfa/enrolments/confirm", &token, skip.clone()).await;
        assert_eq!(reply.status, 400, "{skip}");
    }
    let again = service.login(bob).await.ok();
    assert_eq!(again.text("/status"), "enrolment_required");
    let token = again.text("/enrolment/token");
    let start = service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    assert_ne!(start.text("/secret"), first);
    let code = code(&first, service.step());
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await;
    assert!(reply.is(401, "invalid_code"));
}

/// E12, X04
#[tokio::test]
async fn a_new_factor_ends_every_session_and_so_does_each_step_up_its_own() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let mut sessions = vec![bob.session.clone()];
    for _ in 0..2 {
        service.sign_in(bob).await;
        sessions.push(bob.session.clone());
    }
    let before = bob.session.clone();
    let own = service.fresh(bob).await;
    assert_ne!(own, before);
    assert!(service.get("/v1/session", &before).await.is(401, "invalid_token"), "stepped up: the old token is dead");
    service.get("/v1/session", &sessions[0]).await.ok();
    service.enrol_with(bob, &own, json!({})).await;
    sessions[2] = own;
    for session in &sessions {
        assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"));
    }
    assert!(!sessions.contains(&bob.session));
    service.get("/v1/session", &bob.session).await.ok();
}

/// V02, V12
#[tokio::test]
async fn a_spent_code_stays_spent_in_its_trailing_step_and_a_challenge_too() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.pass(60);
    let used = code(&bob.secret, service.step());
    let challenge = service.challenge(bob).await;
    service.verify(&challenge, &used).await.ok();
    service.pass(30);
    let next = code(&bob.secret, service.step());
    assert!(service.verify(&challenge, &next).await.is(401, "invalid_token"), "the challenge is spent");
    let other = service.challenge(bob).await;
    assert!(service.verify(&other, &used).await.is(401, "invalid_code"), "still within T-1, and spent");
    service.verify(&other, &next).await.ok();
}

/// V06, V14
#[tokio::test]
async fn all_doors_of_a_factor_share_one_budget() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let shown = recovery_token(&service, &bob.session).await;
    for _ in 0..4 {
        let reply = service.post("/v1/step-up", &bob.session, json!({"code": service.wrong(bob)})).await;
        assert!(reply.is(401, "invalid_code"));
    }
    let never = "0123456789ABCDEFGHJKMNPQRS";
    let mixed = service.challenge(bob).await;
    for wrong in [&service.wrong(bob), never, &service.wrong(bob), never, &service.wrong(bob)] {
        assert!(service.verify(&mixed, wrong).await.is(401, "invalid_code"));
    }
    service.pass(30);
    let right = code(&bob.secret, service.step());
    for right in [&right, &shown] {
        assert!(service.verify(&mixed, right).await.is(401, "invalid_token"), "five of either kind end a challenge");
    }
    let other = service.challenge(bob).await;
    assert!(service.verify(&other, never).await.is(401, "invalid_code"), "the tenth");
    for tried in [&right, &shown, &service.wrong(bob)] {
        assert!(service.verify(&other, tried).await.is(429, "too_many_attempts"));
    }
    assert!(service.post("/v1/step-up", &bob.session, json!({"code": right})).await.is(429, "too_many_attempts"));
    assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required");
    service.pass(900);
    let challenge = service.challenge(bob).await;
    service.verify(&challenge, &shown).await.ok();
}

/// V07
#[tokio::test]
async fn headers_of_the_client_give_no_further_tries() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let body = json!({"tenant": "acme", "username": "bob", "password": bob.password});
    let knock = |n: u8, from: [u8; 4]| {
        let mut ask = Ask::new(Method::POST, "/v1/login").json(body.clone()).from(from);
        for name in ["x-forwarded-for", "x-real-ip", "true-client-ip", "cf-connecting-ip", "user-agent"] {
            ask = ask.header(name, &format!("198.51.100.{n}"));
        }
        service.send(ask.header("forwarded", &format!("for=198.51.100.{n}")))
    };
    for n in 0..20 {
        knock(n, [192, 0, 2, n]).await.ok();
    }
    assert!(knock(20, [192, 0, 2, 200]).await.is(429, "too_many_attempts"), "twenty of one network");
    let challenge = knock(21, [192, 0, 3, 1]).await.ok().text("/challenge/token");
    service.pass(30);
    service.verify(&challenge, &code(&bob.secret, service.step())).await.ok();
    service.pass(870);
    knock(22, [192, 0, 2, 1]).await.ok();
}

/// V08, V09
#[tokio::test]
async fn a_code_is_six_ascii_digits_of_now_whatever_the_client_says() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.pass(60);
    let (step, challenge) = (service.step(), service.challenge(bob).await);
    let right = code(&bob.secret, step);
    let wide: String = right.chars().map(|digit| char::from_u32(digit as u32 + 0xff10 - 0x30).unwrap()).collect();
    let arabic: String = right.chars().map(|digit| char::from_u32(digit as u32 + 0x660 - 0x30).unwrap()).collect();
    let (longer, shorter, signed) = (format!("{right}0"), right[..5].to_owned(), format!("+{right}"));
    let (tab, line, zero) = (format!("\t{right}"), format!("{right}\n"), format!("{right}\u{200b}"));
    let (huge, two) = ("1".repeat(10_000), format!("{right},{right}"));
    for bad in [wide, arabic, longer, shorter, signed, tab, line, zero, huge, two, String::new(), " ".into()] {
        assert!(service.verify(&challenge, &bad).await.is(400, "malformed_code"), "{bad:?}");
    }
    let number: u64 = right.parse().unwrap();
    for bad in [
        json!(number),
        json!(1.5),
        json!(null),
        json!(true),
        json!([]),
        json!([right]),
        json!({"$ne": ""}),
        json!(format!("{right}\u{0}")),
    ] {
        let reply = service.post("/v1/verify", &challenge, json!({"code": bad})).await;
        assert!(reply.is(400, "invalid_request"), "{bad}");
    }
    for field in ["time", "timestamp", "user", "challenge", "remember", "skip"] {
        let reply = service.post("/v1/verify", &challenge, json!({"code": right, field: "1"})).await;
        assert!(reply.is(400, "invalid_request"), "{field}");
    }
    // The client's clock says that these are right; they are four of the five tries, and nothing before was one.
    for shift in [-3, -2, 2, 3] {
        let body = json!({"code": code(&bob.secret, step + shift)});
        let ask = Ask::new(Method::POST, "/v1/verify").token(&challenge).json(body);
        let ask = ask.header("date", "Fri, 15 Jan 2027 08:02:00 GMT").header("x-amz-date", "20270115T080200Z");
        assert!(service.send(ask).await.is(401, "invalid_code"), "T{shift:+}");
    }
    service.verify(&challenge, &format!(" {}-{} ", &right[..3], &right[3..])).await.ok();
    let challenge = service.challenge(bob).await;
    for respelled in [right.clone(), format!("{} {}", &right[..3], &right[3..]), format!("-{right}-")] {
        assert!(service.verify(&challenge, &respelled).await.is(401, "invalid_code"), "{respelled}");
    }
}

/// V10, R03
#[tokio::test]
async fn nobodys_code_or_recovery_token_opens_anothers_challenge() {
    let (service, mut people) = Service::peopled().await;
    for name in ["bob", "ann", "gil"] {
        service.enrol(of(&mut people, name)).await;
    }
    let shown = recovery_token(&service, &people["bob"].session).await;
    service.pass(60);
    let mine = code(&people["bob"].secret, service.step());
    for name in ["ann", "gil"] {
        let challenge = service.challenge(&people[name]).await;
        for other in [&mine, &shown] {
            assert!(service.verify(&challenge, other).await.is(401, "invalid_code"), "{name}");
            let both = json!({"code": other, "user": "u-bob", "tenant": "acme"});
            assert!(service.post("/v1/verify", &challenge, both).await.is(400, "invalid_request"));
        }
        let reply = service.post("/v1/step-up", &people[name].session, json!({"code": mine})).await;
        assert!(reply.is(401, "invalid_code"));
    }
    // Nothing of bob's was consumed.
    for (code, amr) in [(&mine, "otp"), (&shown, "recovery")] {
        let challenge = service.challenge(&people["bob"]).await;
        assert_eq!(service.verify(&challenge, code).await.ok().body["session"]["amr"], json!(["pwd", amr]));
    }
}

/// V11
#[tokio::test]
async fn a_challenge_lives_for_five_minutes() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let (one, two) = (service.challenge(bob).await, service.challenge(bob).await);
    service.pass(299);
    service.verify(&one, &code(&bob.secret, service.step())).await.ok();
    service.pass(1);
    assert!(service.verify(&two, &code(&bob.secret, service.step() + 1)).await.is(401, "invalid_token"));
}

/// V13, X03
#[tokio::test]
async fn a_token_that_differs_anywhere_is_no_token() {
    let (service, mut people) = Service::peopled().await;
    service.enrol(of(&mut people, "gil")).await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge(bob).await;
    service.pass(30);
    let right = code(&bob.secret, service.step());
    let mut forged: Vec<String> = (0..challenge.len())
        .map(|at| {
            let other = if &challenge[at..=at] == "A" { "B" } else { "A" };
            format!("{}{other}{}", &challenge[..at], &challenge[at + 1..])
        })
        .collect();
    forged.extend((0..challenge.len()).map(|end| challenge[..end].to_owned()));
    forged.push(challenge.to_uppercase());
    forged.push(format!("{challenge}="));
    forged.push(format!("{challenge}A"));
    forged.push(format!("{challenge}{challenge}"));
    forged.push(format!("vc_{}", "A".repeat(6000)));
    forged.push("../../v1/verify".into());
    forged.push(bob.session.replace("vs_", "vc_"));
    for token in forged {
        let reply = service.verify(&token, &right).await;
        assert!(reply.is(401, "invalid_token"), "{token}: {reply:?}");
    }
    let twice = Ask::new(Method::POST, "/v1/verify").token("vc_x").json(json!({"code": right}));
    let twice = twice.header("authorization", &format!("Bearer {challenge}"));
    assert!(!service.send(twice).await.status.is_success(), "two credentials are none");
    service.verify(&challenge, &right).await.ok();
}

/// V15
#[tokio::test]
async fn refused_codes_are_alike_whatever_was_wrong() {
    let (service, mut people) = Service::peopled().await;
    for name in ["bob", "eve"] {
        service.enrol(of(&mut people, name)).await;
    }
    let shown = recovery_token(&service, &people["bob"].session).await;
    let bob = of(&mut people, "bob");
    let challenge = service.challenge(bob).await;
    service.verify(&challenge, &shown).await.ok();
    service.sign_in(bob).await;
    let used = code(&bob.secret, bob.step);
    let mut answers = Vec::new();
    for name in ["bob", "eve"] {
        let person = &people[name];
        let tried = [service.wrong(person), used.clone(), shown.clone(), "0123456789ABCDEFGHJKMNPQRS".into()];
        let challenge = service.challenge(person).await;
        for tried in tried {
            answers.push(seen(&service.verify(&challenge, &tried).await));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
}

/// V16, S07
#[tokio::test]
async fn a_challenge_from_before_a_change_is_dead() {
    let (service, mut people) = Service::peopled().await;
    let changes = [
        json!({"password": "quite another password"}),
        json!({"auth_type": "saml_sso"}),
        json!({"active": false}),
        json!({"role": "administrator"}),
        json!({"kind": "contact", "role": "portal"}),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let mut person = create(&service, &ann, "acme", &format!("p{n}"), "a good long password").await;
        service.enrol(&mut person).await;
        let (session, challenge) = (person.session.clone(), service.challenge(&person).await);
        service.patch(&format!("/v1/admin/users/{}", person.id), &ann, change.clone()).await.ok();
        let code = service.code(&mut person);
        assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"), "{change}");
        let reply = service.get("/v1/session", &session).await;
        let code = if change == json!({"active": false}) { "invalid_token" } else { "session_refresh_required" };
        assert!(reply.is(401, code), "{change}: {reply:?}");
    }
    // And so for one's own password, and a new factor.
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge(bob).await;
    let body = json!({"current_password": bob.password, "new_password": "quite another password"});
    bob.session = service.post("/v1/password", &bob.session, body).await.ok().text("/session/token");
    service.pass(30);
    assert!(service.verify(&challenge, &code(&bob.secret, service.step())).await.is(401, "invalid_token"));
    assert!(service.login(bob).await.is(401, "invalid_credentials"));
    bob.password = "quite another password".into();
    let challenge = service.challenge(bob).await;
    let session = service.fresh(bob).await;
    service.enrol_with(bob, &session, json!({})).await;
    service.pass(30);
    assert!(service.verify(&challenge, &code(&bob.secret, service.step())).await.is(401, "invalid_token"));
}

/// V19
#[tokio::test]
async fn a_slow_drip_of_wrong_codes_is_noticed_and_ends_the_factor() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for n in 0..100 {
        assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required", "{n}");
        let challenge = service.challenge(bob).await;
        assert!(service.verify(&challenge, &service.wrong(bob)).await.is(401, "invalid_code"), "{n}");
        service.pass(16 * 60);
    }
    assert!(service.login(bob).await.is(403, "mfa_reset_required"));
    let ann = service.fresh(of(&mut people, "ann")).await;
    let told = audit_of_all(&service, &ann, "u-bob").await;
    assert_eq!(actions(&told, "factor.attacked").len(), 2);
    let disabled = actions(&told, "factor.disabled");
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0]["notified"], json!(["user", "administrators"]));
}

async fn audit_of_all(service: &Service, admin: &str, id: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/admin/audit?user_id={id}&limit=100{cursor}");
        let page = service.get(&path, admin).await.ok();
        rows.extend(page.body["items"].as_array().unwrap().iter().cloned());
        match page.body.get("next_cursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => return rows,
        }
    }
}

/// V20, X01
#[tokio::test]
async fn the_same_person_in_two_tenants_is_two_people() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let gus = service.fresh(of(&mut people, "gus")).await;
    let mut here = create(&service, &ann, "acme", "twin", "the same password of both").await;
    let mut there = create(&service, &gus, "globex", "twin", "the same password of both").await;
    service.enrol(&mut here).await;
    service.enrol(&mut there).await;
    let shown = recovery_token(&service, &there.session).await;
    service.pass(60);
    let challenge = service.challenge(&here).await;
    for other in [&code(&there.secret, service.step()), &shown] {
        assert!(service.verify(&challenge, other).await.is(401, "invalid_code"));
    }
    for _ in 0..5 {
        service.login_with(&here, "wrong").await;
    }
    assert!(service.login(&here).await.is(429, "too_many_attempts"));
    let challenge = service.challenge(&there).await;
    service.verify(&challenge, &shown).await.ok();
    // What the client says of tenants is not heard.
    let mut ask = Ask::new(Method::GET, "/v1/session").token(&here.session);
    for name in ["x-tenant", "x-tenant-id", "x-user-id", "x-forwarded-host"] {
        ask = ask.header(name, "globex");
    }
    let reply = service.send(ask.header("host", "globex.example")).await.ok();
    assert_eq!((reply.text("/user/tenant"), reply.text("/user/id")), ("acme".into(), here.id.clone()));
    assert!(service.get("/v1/session?tenant=globex", &here.session).await.is(400, "invalid_request"));
    assert!(service.get(&format!("/v1/admin/users/{}", there.id), &ann).await.is(404, "not_found"));
}

/// R06, R08, R11
#[tokio::test]
async fn a_recovery_token_has_128_bits_and_many_spellings_that_work_once_in_all() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let (mut tokens, mut symbols) = (BTreeSet::new(), BTreeSet::new());
    let mut shown = String::new();
    for _ in 0..40 {
        shown = recovery_token(&service, &bob.session).await;
        let bare = shown.replace('-', "");
        assert_eq!(bare.len(), 26);
        assert!(bare.chars().all(|symbol| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(symbol)), "{bare}");
        symbols.extend(bare.chars());
        tokens.insert(bare[..13].to_owned());
        tokens.insert(bare[13..].to_owned());
    }
    assert_eq!((tokens.len(), symbols.len()), (80, 32));
    let bare = shown.replace('-', "");
    let spellings = [
        bare.to_lowercase().replace('0', "o").replace('1', "l"),
        bare.replace('0', "O").replace('1', "I"),
        bare.replace('1', "i"),
        bare.chars().map(|symbol| format!(" -{symbol}")).collect(),
        shown.clone(),
        bare.clone(),
    ];
    let guess = |n: usize| format!("{}{n}", &bare[..25]).chars().rev().collect::<String>();
    let challenge = service.challenge(bob).await;
    for n in 0..5 {
        assert!(service.verify(&challenge, &guess(n)).await.is(401, "invalid_code"));
    }
    assert!(service.verify(&challenge, &shown).await.is(401, "invalid_token"), "five guesses end the challenge");
    let challenge = service.challenge(bob).await;
    assert_eq!(service.verify(&challenge, &spellings[0]).await.ok().body["session"]["amr"], json!(["pwd", "recovery"]));
    for spelling in &spellings[..5] {
        let challenge = service.challenge(bob).await;
        assert!(service.verify(&challenge, spelling).await.is(401, "invalid_code"), "{spelling}");
    }
}

/// R09
#[tokio::test]
async fn a_recovered_session_administers_nothing_and_leaves_mfa_on() {
    let (service, mut people) = Service::peopled().await;
    let ann = of(&mut people, "ann");
    service.enrol(ann).await;
    let shown = recovery_token(&service, &ann.session).await;
    let challenge = service.challenge(ann).await;
    let reply = service.verify(&challenge, &shown).await.ok();
    let recovered = reply.text("/session/token");
    let current = service.get("/v1/session", &recovered).await.ok();
    assert_eq!(current.body["session"]["amr"], json!(["pwd", "recovery"]));
    assert!(current.body["session"].get("step_up_until").is_none());
    assert_eq!(current.body["recovery_token"]["exists"], false);
    assert_eq!(service.get("/v1/mfa", &recovered).await.ok().text("/status"), "active");
    for reply in [
        reset(&service, &recovered, "u-bob").await,
        exclude(&service, &recovered, "k", &["u-con1"], true).await,
        service.patch("/v1/admin/users/u-bob", &recovered, json!({"role": "administrator"})).await,
        service.patch("/v1/admin/settings", &recovered, json!({"reset_code_for": "everyone"})).await,
        service.post("/v1/admin/clients", &recovered, json!({"name": "c"})).await,
        service.delete("/v1/admin/users/u-bob", &recovered).await,
    ] {
        assert!(reply.is(401, "step_up_required"), "{reply:?}");
    }
    let body = json!({"current_password": ann.password, "new_password": "quite another password"});
    assert!(service.post("/v1/password", &recovered, body).await.is(401, "step_up_required"));
    assert!(service.post("/v1/step-up", &recovered, json!({"code": shown})).await.is(400, "malformed_code"));
    assert_eq!(service.login(ann).await.ok().text("/status"), "mfa_required");
}

/// A02, X02
#[tokio::test]
async fn anothers_things_are_as_absent_as_things_that_never_were() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let gil = service.fresh(of(&mut people, "gil")).await;
    let ids = ["u-gil", "u-never", "U-BOB", "u-bob2", "0"];
    let mut answers = Vec::new();
    for id in ids {
        let path = format!("/v1/admin/users/{id}");
        answers.push(vec![
            seen(&service.get(&path, &ann).await),
            seen(&service.patch(&path, &ann, json!({"active": false})).await),
            seen(&service.delete(&path, &ann).await),
            seen(&reset(&service, &ann, id).await),
        ]);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[0].iter().all(|answer| answer.0 == 404));
    let batch = exclude(&service, &ann, "k", &ids, true).await.ok();
    assert!(batch.body["results"].as_array().unwrap().iter().all(|result| result["outcome"] == "not_found"));
    for body in [json!({"reason": "r", "user_id": "u-bob"}), json!({"reason": "r", "tenant": "globex"})] {
        let reply = service.post("/v1/admin/users/u-gil/mfa-reset", &ann, body).await;
        assert!(reply.is(400, "invalid_request"), "one person, named by the path");
    }
    for path in ["/v1/admin/users/u-bob%2Fmfa-reset", "/v1/admin/users/u-bob%00", "/v1/admin/users/..%2Fu-bob"] {
        assert!(service.get(path, &ann).await.is(400, "invalid_request"), "{path}");
    }
    // Sessions of others, batches of others, audit and cursors of others.
    let listed = service.get("/v1/sessions", &gil).await.ok().text("/items/0/id");
    assert!(service.delete(&format!("/v1/sessions/{listed}"), &ann).await.is(404, "not_found"));
    service.get("/v1/session", &gil).await.ok();
    let gus = service.fresh(of(&mut people, "gus")).await;
    let path = format!("/v1/admin/portal-exclusions/{}", batch.text("/batch_id"));
    service.get(&path, &ann).await.ok();
    assert!(service.get(&path, &gus).await.is(404, "not_found"));
    assert_eq!(audit(&service, &gus, "u-ann").await, Vec::<Value>::new());
    for list in ["users", "audit", "portal-exclusions"] {
        let page = service.get(&format!("/v1/admin/{list}?limit=1"), &ann).await.ok();
        if let Some(cursor) = page.body.get("next_cursor") {
            let path = format!("/v1/admin/{list}?cursor={}", cursor.as_str().unwrap());
            let reply = service.get(&path, &gus).await;
            let theirs = reply.body.to_string();
            assert!(!theirs.contains("acme") && !theirs.contains("u-ann") && !theirs.contains("u-bob"), "{theirs}");
        }
    }
}

/// A05
#[tokio::test]
async fn a_reset_leaves_nothing_of_the_old_factor_for_ever() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let first = bob.session.clone();
    let shown = recovery_token(&service, &first).await;
    service.sign_in(bob).await;
    let (second, old, device) = (bob.session.clone(), bob.secret.clone(), bob.device.clone());
    let challenge = service.challenge(bob).await;
    let pending = service.post("/v1/mfa/enrolments", &second, json!({})).await.ok().text("/secret");
    let ann = service.fresh(of(&mut people, "ann")).await;
    reset(&service, &ann, "u-bob").await.ok();
    service.pass(60);
    for session in [&first, &second] {
        assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"));
        let step = json!({"code": code(&old, service.step())});
        assert!(service.post("/v1/step-up", session, step).await.is(401, "session_refresh_required"));
    }
    for tried in [&code(&old, service.step()), &shown] {
        assert!(service.verify(&challenge, tried).await.is(401, "invalid_token"));
    }
    let body = json!({"code": code(&pending, service.step())});
    let reply = service.post("/v1/mfa/enrolments/confirm", &second, body.clone()).await;
    assert!(reply.is(401, "session_refresh_required"));
    let bob = of(&mut people, "bob");
    let token = service.enrolment(bob).await;
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(reply.is(409, "conflict"), "the pending secret is gone: {reply:?}");
    // The device is not known any more: its guesses are everybody's.
    let guess = json!({"tenant": "acme", "username": "bob", "password": "wrong", "device_token": device});
    for _ in 0..5 {
        let reply = service.send(Ask::new(Method::POST, "/v1/login").json(guess.clone())).await;
        assert!(reply.is(401, "invalid_credentials"));
    }
    assert!(service.login(bob).await.is(429, "too_many_attempts"));
    service.pass(1);
    service.enrol(bob).await;
    service.pass(60);
    for tried in [&code(&old, service.step()), &code(&pending, service.step()), &shown] {
        let challenge = service.challenge(bob).await;
        assert!(service.verify(&challenge, tried).await.is(401, "invalid_code"));
    }
}

/// A06
#[tokio::test]
async fn support_needs_a_whole_sign_in_and_a_ticket_of_its_own() {
    let (service, mut people) = Service::peopled().await;
    let body = |tenant: &str, name: &str, ticket: &str| json!({"tenant": tenant, "username": name, "ticket": ticket, "reason": "r"});
    let path = "/v1/support/mfa-resets";
    service.enrol(of(&mut people, "gus")).await;
    let half = service.enrolment(&people["op"]).await;
    assert!(service.post(path, &half, body("globex", "gus", "T-1")).await.is(401, "invalid_token"));
    let op = service.fresh(of(&mut people, "op")).await;
    let new = json!({"id": "initech", "name": "Initech", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    service.post("/v1/support/tenants", &op, new).await.ok();
    for bad in ["", " ", "T-1\r\nT-2", "T\u{1b}[31m", &"T".repeat(201)] {
        let reply = service.post(path, &op, body("globex", "gus", bad)).await;
        assert!(reply.is(400, "invalid_request"), "{bad:?}");
    }
    for odd in ["acme#gus", "globex/../acme", "T#globex"] {
        assert!(service.post(path, &op, body(odd, "gus", "T-1")).await.is(400, "invalid_request"), "{odd}");
    }
    service.post(path, &op, body("globex", "GUS", "T-1")).await.ok();
    for ticket in ["T-1", "T-1"] {
        let reply = service.post(path, &op, body("initech", "ian", ticket)).await;
        assert!(reply.is(409, "ticket_used"), "in another tenant too: {reply:?}");
    }
    service.post(path, &op, body("initech", "ian", "T-2")).await.ok();
    // An operator is no Administrator of anybody's tenant.
    assert!(service.get("/v1/admin/users/u-gus", &op).await.is(404, "not_found"));
    assert!(reset(&service, &op, "u-gus").await.is(404, "not_found"));
    assert!(service.post(path, &op, body("support", "op", "T-3")).await.is(403, "forbidden"), "nor resets themselves");
}

/// A07
#[tokio::test]
async fn a_spree_of_resets_stops_at_ten_and_a_tenants_at_fifty() {
    let (service, mut people) = Service::peopled().await;
    let mut admins = Vec::new();
    let ann = service.fresh(of(&mut people, "ann")).await;
    for n in 0..5 {
        let mut admin = create(&service, &ann, "acme", &format!("admin{n}"), "a good long password").await;
        service.patch(&format!("/v1/admin/users/{}", admin.id), &ann, json!({"role": "administrator"})).await.ok();
        admins.push(service.fresh(&mut admin).await);
    }
    let mut targets = Vec::new();
    for n in 0..52 {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso",
                          "username": format!("t{n}"), "display_name": "T"});
        targets.push(service.post("/v1/admin/users", &ann, body).await.ok().text("/id"));
    }
    for (n, target) in targets[..50].iter().enumerate() {
        let admin = &admins[n / 10];
        reset(&service, admin, target).await.ok();
        if n % 10 == 9 {
            let reply = reset(&service, admin, &targets[51]).await;
            assert!(reply.is(429, "too_many_attempts"), "the eleventh");
            reset(&service, admin, target).await.ok();
        }
    }
    let reply = reset(&service, &ann, &targets[50]).await;
    assert!(reply.is(429, "too_many_attempts"), "the tenant's fifty-first: {reply:?}");
    service.pass(3600);
    let ann = service.fresh(of(&mut people, "ann")).await;
    reset(&service, &ann, &targets[50]).await.ok();
}

/// A08, A09, A10
#[tokio::test]
async fn the_audit_has_each_reset_once_and_each_refusal() {
    let (service, mut people) = Service::peopled().await;
    service.enrol(of(&mut people, "amy")).await;
    let bob = service.fresh(of(&mut people, "bob")).await;
    assert!(reset(&service, &bob, "u-eve").await.is(403, "forbidden"));
    let ann = service.fresh(of(&mut people, "ann")).await;
    let shown = reset(&service, &ann, "u-amy").await.ok().text("/reset_code");
    reset(&service, &ann, "u-amy").await.ok();
    reset(&service, &ann, "u-eve").await.ok();
    reset(&service, &ann, "u-eve").await.ok();
    let rows = audit(&service, &ann, "u-bob").await;
    let refused = actions(&rows, "forbidden");
    assert_eq!((refused.len(), &refused[0]["outcome"]), (1, &json!("refused")));
    for id in ["u-amy", "u-eve"] {
        let rows = audit(&service, &ann, id).await;
        let resets = actions(&rows, "mfa.reset");
        assert_eq!(resets.len(), 1, "a repeat is none: {resets:?}");
        let row = resets[0];
        assert_eq!((&row["actor"], &row["target"], &row["reason"]), (&json!("u-ann"), &json!(id), &json!("r")));
        // The other Administrators are told of one of them.
        let told = if id == "u-amy" { json!(["user", "administrators"]) } else { json!(["user"]) };
        assert_eq!(row["notified"], told);
        assert!(!Value::from(rows).to_string().contains(&shown));
    }
}

/// A11
#[tokio::test]
async fn a_dormant_account_is_not_enrolled_by_whoever_has_its_password() {
    let (service, mut people) = Service::peopled().await;
    service.enrol(of(&mut people, "ann")).await;
    service.pass(89 * 86_400);
    let token = service.enrolment(&people["eve"]).await;
    service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    service.pass(2 * 86_400);
    for name in ["bob", "eve", "con1", "amy"] {
        assert!(service.login(&people[name]).await.is(403, "mfa_reset_required"), "{name}: half a sign-in is none");
        assert!(service.login_with(&people[name], "wrong").await.is(401, "invalid_credentials"));
    }
    // Whoever has a factor is not asked for more than it.
    let ann = service.fresh(of(&mut people, "ann")).await;
    reset(&service, &ann, "u-eve").await.ok();
    service.enrol(of(&mut people, "eve")).await;
}

/// A12
#[tokio::test]
async fn a_reset_code_is_for_one_person_five_tries_and_a_day() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.patch("/v1/admin/settings", &ann, json!({"reset_code_for": "everyone"})).await.ok();
    let bobs = reset(&service, &ann, "u-bob").await.ok().text("/reset_code");
    let eves = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    assert_ne!(bobs, eves);
    let login = service.login(&people["bob"]).await.ok();
    assert_eq!(login.body["reset_code_required"], true);
    let token = login.text("/enrolment/token");
    let start =
        async |token: &str, code: &str| service.post("/v1/mfa/enrolments", token, json!({"reset_code": code})).await;
    for wrong in [&eves, "00000-00000", "ZZZZZ-ZZZZZ", "AAAAA-AAAAA", "11111-11111"] {
        assert!(start(&token, wrong).await.is(403, "reset_code_required"));
    }
    assert!(start(&token, &bobs).await.is(403, "reset_code_required"), "five tries end it");
    assert!(start(&service.enrolment(&people["bob"]).await, &bobs).await.is(403, "reset_code_required"));
    // Once in all: used up where it enrolled.
    let eve = of(&mut people, "eve");
    let token = service.enrolment(eve).await;
    service.enrol_with(eve, &token, json!({"reset_code": eves})).await;
    let again = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    let token = service.enrolment(eve).await;
    assert!(start(&token, &eves).await.is(403, "reset_code_required"));
    start(&token, &again).await.ok();
    // A new code voids an enrolment that was started with the older one.
    let newer = reset(&service, &ann, "u-eve").await.ok().text("/reset_code");
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": "123456"})).await;
    assert!(!reply.status.is_success(), "{reply:?}");
    service.pass(86_400);
    let token = service.enrolment(eve).await;
    assert!(start(&token, &newer).await.is(403, "reset_code_required"), "a day later");
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(403, "reset_code_required"));
}

/// B01, B03, A03
#[tokio::test]
async fn no_list_of_contacts_reaches_an_employee_or_oneself() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.enrol(of(&mut people, "bob")).await;
    let ids = ["u-bob", "u-ann", "u-eve", "u-bob"];
    let reply = exclude(&service, &ann, "k", &ids, true).await.ok();
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|result| result["outcome"] == "not_a_contact"), "{results:?}");
    service.get("/v1/session", &people["bob"].session).await.ok();
    assert_eq!(service.login(&people["bob"]).await.text("/status"), "mfa_required");
    assert_eq!(service.login(&people["eve"]).await.text("/status"), "enrolment_required");
    // Nor does a contact become an employee and stay excluded, or the other way round.
    exclude(&service, &ann, "k2", &["u-con1"], true).await.ok();
    let body = json!({"kind": "employee", "role": "standard"});
    service.patch("/v1/admin/users/u-con1", &ann, body).await.ok();
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "enrolment_required");
    let again = exclude(&service, &ann, "k2", &["u-con1"], true).await.ok();
    assert_eq!(again.text("/results/0/outcome"), "excluded", "what was done, told again");
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "enrolment_required", "and not done again");
    let fresh = exclude(&service, &ann, "k3", &["u-con1"], true).await.ok();
    assert_eq!(fresh.text("/results/0/outcome"), "not_a_contact");
}

/// B04
#[tokio::test]
async fn a_batch_is_one_to_a_thousand_ids_of_the_right_form() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let ids = |n: usize| (0..n).map(|n| format!("c{n}")).collect::<Vec<_>>();
    let post = |ids: Value| {
        let body = json!({"contact_ids": ids, "disable_mfa": true, "reason": "r"});
        let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        service.send(ask.header("idempotency-key", "k"))
    };
    for bad in [
        json!([]),
        json!(ids(1001)),
        json!([["u-con1"]]),
        json!([null]),
        json!([1]),
        json!("u-con1"),
        json!({}),
        json!(["u-con1", ""]),
        json!(["u-con1#X"]),
        json!(["T#acme"]),
        json!(["a".repeat(65)]),
        json!(["u-con1 "]),
    ] {
        assert!(
            post(bad.clone()).await.is(400, "invalid_request"),
            "{}",
            bad.to_string().chars().take(40).collect::<String>()
        );
    }
    assert!(post(json!(ids(40_000))).await.is(413, "payload_too_large"));
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    for keys in [vec![], vec![""], vec!["a b"], vec!["k", "k"]] {
        let mut ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body.clone());
        for key in &keys {
            ask = ask.header("idempotency-key", key);
        }
        assert!(service.send(ask).await.is(400, "invalid_request"), "{keys:?}");
    }
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "enrolment_required", "nothing was written");
    let whole = post(json!(ids(1000))).await.ok();
    assert_eq!(whole.body["counts"]["refused"], 1000);
}

/// B05
#[tokio::test]
async fn an_idempotency_key_is_its_administrators_own() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let amy = service.fresh(of(&mut people, "amy")).await;
    let gus = service.fresh(of(&mut people, "gus")).await;
    let one = exclude(&service, &ann, "same", &["u-con1"], true).await.ok();
    let two = exclude(&service, &amy, "same", &["u-con1", "u-con2"], true).await.ok();
    assert_eq!(two.body["counts"], json!({"excluded": 1, "included": 0, "unchanged": 1, "refused": 0}));
    let three = exclude(&service, &gus, "same", &["u-con1"], false).await.ok();
    assert_eq!(three.text("/results/0/outcome"), "not_found");
    let batches: BTreeSet<_> = [&one, &two, &three].iter().map(|reply| reply.text("/batch_id")).collect();
    assert_eq!(batches.len(), 3);
    assert!(exclude(&service, &ann, "same", &["u-con1"], false).await.is(409, "idempotency_mismatch"));
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "signed_in");
    let rows = audit(&service, &ann, "u-con1").await;
    assert_eq!(actions(&rows, "exclusion.excluded").len(), 1);
}

/// B07, B08
#[tokio::test]
async fn exclusion_takes_the_factor_and_inclusion_does_not_give_it_back() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let con = of(&mut people, "con1");
    service.enrol(con).await;
    let session = con.session.clone();
    let shown = recovery_token(&service, &session).await;
    let challenge = service.challenge(con).await;
    exclude(&service, &ann, "k1", &["u-con1"], true).await.ok();
    service.pass(30);
    let right = code(&con.secret, service.step());
    for tried in [&right, &shown] {
        assert!(service.verify(&challenge, tried).await.is(401, "invalid_token"));
    }
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let exempt = service.login(con).await.ok().text("/session/token");
    let step = service.post("/v1/step-up", &exempt, json!({"code": right})).await;
    assert!(!step.status.is_success(), "{step:?}");
    exclude(&service, &ann, "k2", &["u-con1"], false).await.ok();
    assert!(service.get("/v1/session", &exempt).await.is(401, "session_refresh_required"));
    let token = service.enrolment(con).await;
    let body = json!({"code": right});
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(reply.is(409, "conflict"), "the old secret is no pending one: {reply:?}");
    service.enrol_with(con, &token, json!({})).await;
    service.pass(60);
    let challenge = service.challenge(con).await;
    assert!(service.verify(&challenge, &shown).await.is(401, "invalid_code"));
}

/// B09, X04
#[tokio::test]
async fn an_excluded_contact_reaches_the_portal_alone_for_eight_hours() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    exclude(&service, &ann, "k", &["u-con1"], true).await.ok();
    let session = service.login(&people["con1"]).await.ok().text("/session/token");
    let current = service.get("/v1/session", &session).await.ok();
    assert_eq!(current.body["session"]["amr"], json!(["pwd"]));
    for (method, path, body) in [
        ("POST", "/v1/mfa/enrolments", json!({})),
        ("POST", "/v1/mfa/recovery-token", Value::Null),
        ("POST", "/v1/step-up", json!({"code": "123456"})),
        ("GET", "/v1/admin/users", Value::Null),
        ("GET", "/v1/admin/audit", Value::Null),
        ("GET", "/v1/admin/settings", Value::Null),
        ("POST", "/v1/admin/users/u-con2/mfa-reset", json!({"reason": "r"})),
        ("PATCH", "/v1/admin/users/u-con1", json!({"role": "portal"})),
        ("DELETE", "/v1/mfa", Value::Null),
    ] {
        let ask = Ask::new(Method::from_bytes(method.as_bytes()).unwrap(), path).token(&session);
        let reply = service.send(if body.is_null() { ask } else { ask.json(body) }).await;
        assert!(reply.status == 403 || reply.is(401, "step_up_required"), "{method} {path}: {reply:?}");
    }
    for _ in 0..19 {
        service.pass(1500);
        service.get("/v1/session", &session).await.ok();
    }
    service.pass(300);
    assert!(service.get("/v1/session", &session).await.is(401, "invalid_token"), "eight hours, however busy");
}

/// X04
#[tokio::test]
async fn a_session_ends_after_twelve_hours_however_busy_and_step_ups_do_not_prolong_it() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for _ in 0..28 {
        service.pass(1500);
        service.get("/v1/session", &bob.session).await.ok();
        service.fresh(bob).await;
    }
    let ends = service.get("/v1/session", &bob.session).await.ok().text("/session/expires_at");
    let ends = vestibule::env::Timestamp::parse(&ends).unwrap().secs();
    assert_eq!(ends, tests::BEGIN.secs() + 12 * 3600);
    service.pass(u64::try_from(ends - service.now() - 1).unwrap());
    service.get("/v1/session", &bob.session).await.ok();
    service.pass(1);
    assert!(service.get("/v1/session", &bob.session).await.is(401, "invalid_token"));
}

/// X05
#[tokio::test]
async fn no_page_elsewhere_can_ask_on_anybodys_behalf() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let bearer = format!("Bearer {ann}");
    let body = json!({"reason": "r"}).to_string();
    let path = "/v1/admin/users/u-bob/mfa-reset";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; a=b"] {
        let headers = [("content-type", kind), ("authorization", &bearer), ("origin", "null")];
        assert!(raw(&service, "POST", path, &headers, body.clone()).await.is(400, "invalid_request"), "{kind}");
    }
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    assert!(raw(&service, "GET", path, &headers, "").await.is(405, "method_not_allowed"));
    for (name, value) in [("cookie", format!("session={ann}")), ("x-authorization", bearer.clone())] {
        let headers = [(name, value.as_str()), ("content-type", "application/json")];
        assert!(raw(&service, "POST", path, &headers, body.clone()).await.is(401, "invalid_token"), "{name}");
    }
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let reply = raw(&service, "OPTIONS", path, &preflight, "").await;
    assert!(reply.is(405, "method_not_allowed"));
    let headers = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
    let elsewhere = raw(&service, "GET", "/v1/session", &headers, "").await.ok();
    for reply in [elsewhere, service.login(&people["bob"]).await] {
        assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{reply:?}");
    }
}

/// X06, X07
#[tokio::test]
async fn errors_say_no_more_than_their_code() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let bearer = format!("Bearer {ann}");
    let json = "application/json";
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    type Probe<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Vec<u8>);
    let probes: Vec<Probe<'_>> = vec![
        ("POST", "/v1/login", vec![("content-type", json)], b"{".to_vec()),
        ("POST", "/v1/login", vec![("content-type", json)], deep.into_bytes()),
        ("POST", "/v1/login", vec![("content-type", json)], vec![0xff, 0xfe, 0]),
        ("POST", "/v1/login", vec![("content-type", json)], b"{\"tenant\":\"\\ud800\"}".to_vec()),
        ("POST", "/v1/login", vec![("content-type", json)], b"{\"tenant\":1e999}".to_vec()),
        ("POST", "/v1/login", vec![("content-type", json), ("content-type", json)], b"{}".to_vec()),
        ("GET", "/v1/admin/users?limit=0", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?limit=-1", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?limit=99999999999999999999", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?cursor=%00", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?cursor=x", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/audit?from=yesterday", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/audit?user_id=a%23b", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users/%ff", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/session?fields=secret", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/mfa?expand=secret", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?filter%5Btotp%5D=1", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/admin/users?limit=1&limit=2", vec![("authorization", &bearer)], vec![]),
        ("GET", "/v1/no-such-thing", vec![], vec![]),
        ("GET", "/", vec![], vec![]),
        ("GET", "//v1/session", vec![], vec![]),
        ("GET", "/V1/session", vec![], vec![]),
        ("GET", "/v1/session/", vec![], vec![]),
    ];
    for (method, path, headers, body) in probes {
        let what = format!("{method} {path} {headers:?}");
        let reply = raw(&service, method, path, &headers, body).await;
        assert!([400, 404].contains(&reply.status.as_u16()), "{what}: {reply:?}");
        let said = reply.body.to_string().to_lowercase();
        for word in ["serde", "expected", "line ", "column", "sled", "dynamo", "panick", ".rs", "rust", "axum"] {
            assert!(!said.contains(word), "{what}: {said}");
        }
    }
    service.get("/v1/session", &ann).await.ok();
}

/// X09
#[tokio::test]
async fn methods_that_are_not_there_do_nothing() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let bearer = format!("Bearer {ann}");
    for (pattern, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path = pattern.replace("{id}", "u-con1").replace("{user_id}", "u-con1");
        let path = path.replace("{batch_id}", "b").replace("{client_id}", "c");
        let there: BTreeSet<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
            if there.contains(method) {
                continue;
            }
            let reply = raw(&service, method, &path, &[("authorization", &bearer)], "").await;
            assert!(reply.status == 405, "{method} {path}: {reply:?}");
            let allowed: BTreeSet<_> =
                reply.headers["allow"].to_str().unwrap().split(',').map(|method| method.trim().to_owned()).collect();
            assert_eq!(allowed, there, "{method} {path}");
        }
    }
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let headers = [("authorization", bearer.as_str()), (name, "DELETE")];
        raw(&service, "GET", "/v1/session", &headers, "").await.ok();
        raw(&service, "GET", "/v1/admin/users/u-con1", &headers, "").await.ok();
    }
    service.get("/v1/admin/users/u-con1", &ann).await.ok();
}

/// X14
#[tokio::test]
async fn in_no_state_does_a_door_give_more_than_is_its_own() {
    let (service, mut people) = Service::peopled().await;
    let none = Value::Null;
    let states = [
        // What is done to somebody who has a factor; and what the password gives then.
        (none.clone(), false, "mfa_required"),
        (none.clone(), true, "enrolment_required"),
        (json!({"active": false}), false, "invalid_credentials"),
        (json!({"auth_type": "saml_sso"}), false, "invalid_credentials"),
        (json!({"auth_type": "saml_sso"}), true, "invalid_credentials"),
        (json!({"kind": "contact", "role": "portal"}), false, "mfa_required"),
        (json!({"role": "administrator"}), true, "enrolment_required"),
        (json!({"display_name": "x"}), true, "enrolment_required"),
    ];
    for (n, (change, is_reset, expected)) in states.into_iter().enumerate() {
        let ann = service.fresh(of(&mut people, "ann")).await;
        let mut person = create(&service, &ann, "acme", &format!("s{n}"), "a good long password").await;
        service.enrol(&mut person).await;
        let old = person.session.clone();
        if is_reset {
            reset(&service, &ann, &person.id).await.ok();
        }
        if !change.is_null() {
            service.patch(&format!("/v1/admin/users/{}", person.id), &ann, change.clone()).await.ok();
        }
        let reply = service.login(&person).await;
        let said = if reply.status == 200 { reply.text("/status") } else { reply.code().to_owned() };
        assert_eq!(said, expected, "{change} {is_reset}");
        assert!(reply.body.get("session").is_none() && reply.body.get("user").is_none());
        assert!(!reply.body.to_string().contains("vs_"));
        if !change.is_null() && change.get("display_name").is_none() || is_reset {
            assert_eq!(service.get("/v1/session", &old).await.status, 401);
        }
    }
}

/// X16, V18, R10
#[tokio::test]
async fn a_request_that_is_dropped_half_way_is_done_or_undone() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let (mut done, mut undone) = (0, 0);
    for polls in 0..64 {
        let challenge = service.challenge(bob).await;
        let code = service.code(bob);
        let before = sessions(&service, &bob.session).await;
        let finished = dropped_after(polls, service.verify(&challenge, &code)).await;
        // What was under way may still be done after the drop: the next answer tells.
        let again = service.verify(&challenge, &code).await;
        assert_eq!(sessions(&service, &bob.session).await, before + 1, "one success: {finished:?}, {again:?}");
        if again.status == 200 {
            undone += 1;
            assert!(finished.is_none());
            bob.session = again.text("/session/token");
        } else {
            done += 1;
            if let Some(reply) = finished {
                bob.session = reply.ok().text("/session/token");
                break;
            }
        }
        // Nine more would make it end by number: only the one in use stays.
        assert_eq!(service.delete("/v1/sessions", &bob.session).await.status, 204);
        service.pass(60);
    }
    assert!(done > 0 && undone > 0, "{done} done, {undone} undone");
    // A try is charged before anything is answered: whoever drops the answers has no further tries.
    service.pass(900);
    for _ in 0..2 {
        let challenge = service.challenge(bob).await;
        for _ in 0..5 {
            dropped_after(3, service.verify(&challenge, &service.wrong(bob))).await;
        }
    }
    let challenge = service.challenge(bob).await;
    assert!(service.verify(&challenge, &code(&bob.secret, service.step())).await.is(429, "too_many_attempts"));
}

async fn sessions(service: &Service, session: &str) -> usize {
    service.get("/v1/sessions", session).await.ok().body["items"].as_array().unwrap().len()
}

/// Lets a future run for so many polls at most, then drops it: a client that went away.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
