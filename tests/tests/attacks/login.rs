//! Section L: sign-in with a password.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::Method;
use futures_util::{future::join_all, poll};
use serde_json::{Value, json};
use tests::{Service, TestRequest, TestUser, user_mut};
use tokio::time::timeout;
use vestibule::{
    env::{Entropy, EntropyError, SystemEntropy},
    id::{LoginName, TenantId},
    password::{PasswordParams, Passwords},
    policy::Backoff,
    sign_in::Attempt,
    store::memory::MemoryTable,
};

use super::{actions, audit, create, raw, texts, visible_parts};

/// L01
#[tokio::test]
async fn password_alone_gives_no_access() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
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
        let request = TestRequest::new(Method::GET, "/v1/session").header("cookie", &cookies);
        assert!(service.send(request).await.is(401, "invalid_token"));
        if value.starts_with('v') {
            let request = TestRequest::new(Method::GET, format!("/v1/session?access_token={value}"));
            assert!(service.send(request).await.is(400, "invalid_request"), "tokens in a URL are ignored");
        }
    }
}

/// L02
#[tokio::test]
async fn login_refusals_are_identical_including_headers() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.patch("/v1/admin/users/u-eve", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    service.enrol(user_mut(&mut users, "bob")).await;
    let stranger = TestUser { username: "nobody".into(), ..users["bob"].clone() };
    let elsewhere = TestUser { tenant: "nowhere".into(), ..users["bob"].clone() };
    let wrong = visible_parts(&service.login_with(&users["bob"], "wrong").await);
    assert_eq!(wrong.0, 401);
    for user in [&stranger, &elsewhere, &users["off"], &users["eve"]] {
        assert_eq!(visible_parts(&service.login(user).await), wrong);
        assert_eq!(visible_parts(&service.login_with(user, "wrong").await), wrong);
    }
    // The delays after failures are identical too.
    let mut delayed = Vec::new();
    for user in [&users["bob"], &stranger, &elsewhere, &users["off"], &users["eve"]] {
        while service.login_with(user, "wrong").await.status != 429 {}
        delayed.push(visible_parts(&service.login(user).await));
    }
    assert!(delayed.iter().all(|answer| *answer == delayed[0] && answer.0 == 429), "{delayed:?}");
}

/// L04
#[tokio::test]
async fn attempts_from_a_hundred_addresses_share_one_budget() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    let (mut evaluated, mut delayed) = (0, 0);
    let log_in = |n: u8, password: &str| {
        let body = json!({"tenant": bob.tenant, "username": bob.username, "password": password});
        let from = format!("198.51.{n}.7");
        let request = TestRequest::new(Method::POST, "/v1/login").json(body).from([198, 51, n, 7]);
        service.send(request.header("x-forwarded-for", &from).header("user-agent", &from))
    };
    for n in 0..120 {
        match log_in(n, &format!("guess {n}")).await.status.as_u16() {
            401 => evaluated += 1,
            429 => delayed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((evaluated, delayed), (5, 115));
    assert!(log_in(200, &bob.password).await.is(429, "too_many_attempts"), "the right password is not checked either");
    service.advance(1);
    assert_eq!(log_in(200, &bob.password).await.ok().text("/status"), "enrolment_required");
}

/// L06, L07
#[tokio::test]
async fn spellings_of_a_username_share_one_account_and_counter() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let zoe = create(&service, &ann, "acme", "zoë", "a long password of zoe").await;
    for taken in ["ZOË", "zoe\u{308}", "ｚｏë"] {
        let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": taken,
                          "display_name": "Z", "password": "a long password of zoe"});
        assert!(service.post("/v1/admin/users", &ann, body).await.is(409, "conflict"), "{taken} is the same username");
    }
    let named = |name: &str| TestUser { username: name.into(), ..zoe.clone() };
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
async fn all_bytes_of_a_password_count_and_1024_is_the_maximum() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let long = "p4".repeat(512);
    let umlauts = format!("{}ü{}", "q".repeat(71), "tail");
    for (name, password) in [("long", &long), ("wide", &umlauts)] {
        let user = create(&service, &ann, "acme", name, password).await;
        service.login(&user).await.ok();
        let cut = password.chars().take(password.chars().count() - 1).collect::<String>();
        let other = format!("{cut}x");
        for wrong in [&cut, &other, &password.chars().take(71).collect(), &password.chars().take(72).collect()] {
            assert!(service.login_with(&user, wrong).await.is(401, "invalid_credentials"));
        }
        // A password that is too long is no attempt: this was the fourth failure, so the right one is still checked.
        for _ in 0..6 {
            let reply = service.login_with(&user, &format!("{long}x")).await;
            assert!(reply.is(400, "invalid_request"));
        }
        assert!(service.login_with(&user, &"x".repeat(1 << 20)).await.is(413, "payload_too_large"));
        service.login(&user).await.ok();
    }
}

/// L09
#[tokio::test]
async fn half_an_hour_of_wrong_passwords_does_not_lock_out_the_user() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
    for round in 0..180 {
        service.login_with(bob, "a guess").await;
        if round % 45 == 0 {
            let request = TestRequest::new(Method::POST, "/v1/login").json(known.clone()).from([203, 0, 113, round]);
            assert_eq!(
                service.send(request).await.ok().text("/status"),
                "mfa_required",
                "a known device is not delayed, {round}"
            );
        }
        service.advance(10);
    }
    assert!(service.login(bob).await.is(429, "too_many_attempts"));
    let (bob, eve) = (users["bob"].clone(), &users["eve"]);
    assert_eq!(service.login(eve).await.ok().text("/status"), "enrolment_required", "other users are not affected");
    service.advance(900);
    assert_eq!(service.login(&bob).await.ok().text("/status"), "mfa_required", "a new client after fifteen minutes");
}

/// An attack that is slow enough for every delay.
#[tokio::test]
async fn hundredth_wrong_password_in_a_row_is_reported_as_an_attack_once() {
    let (service, mut users) = Service::with_users().await;
    let eve = users["eve"].clone();
    let mut reported = Vec::new();
    for failures in [99, 1, 1] {
        for _ in 0..failures {
            service.advance(900);
            assert!(service.login_with(&eve, "a guess").await.is(401, "invalid_credentials"));
        }
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let rows = audit(&service, &ann, &eve.id).await;
        reported.push(actions(&rows, "login.attacked").into_iter().cloned().collect::<Vec<_>>());
    }
    assert_eq!([reported[0].len(), reported[1].len(), reported[2].len()], [0, 1, 1]);
    assert_eq!(reported[1][0]["notified"], json!(["user", "administrators"]));
}

/// L10, X10
#[test]
fn password_flood_beyond_the_queue_is_refused_at_once() {
    // The only blocking thread is occupied: no password is checked before `release`.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let data = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap();
        let service = Service::with_table(Arc::new(MemoryTable::default()), data.keys);
        let log_in = |number: usize| {
            let name = format!("name{number}");
            let body = json!({"tenant": "acme", "username": name, "password": "some long password of words"});
            service.send(TestRequest::new(Method::POST, "/v1/login").json(body))
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || held.recv());
        // 4 run and 256 wait: the limits of `Service::build`.
        let mut admitted = join_all((0..260).map(log_in));
        assert!(poll!(&mut admitted).is_pending());
        for _ in 0..6 {
            let refused = timeout(Duration::from_secs(10), log_in(260)).await.expect("the refusal does not wait");
            assert!(refused.is(503, "unavailable"), "{refused:?}");
            assert_eq!(refused.headers["retry-after"], refused.body["retry_after_seconds"].to_string().as_str());
        }
        release.send(()).unwrap();
        assert!(blocked.await.unwrap().is_ok());
        for refused in admitted.await {
            assert!(refused.is(401, "invalid_credentials"), "{refused:?}");
        }
        assert!(
            log_in(260).await.is(401, "invalid_credentials"),
            "there is room again, and the refused requests used no attempt"
        );
    });
}

#[tokio::test]
async fn request_holds_exactly_one_code() {
    let (service, users) = Service::with_users().await;
    let bob = &users["bob"];
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
    // None of these was an attempt.
    for _ in 0..4 {
        assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    }
    service.login(bob).await.ok();
}

/// A network at its limit of challenges gets the same answer for right and wrong passwords; otherwise the answer would
/// reveal whether a password is right.
#[tokio::test]
async fn network_limit_is_reported_for_any_password() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for _ in 0..19 {
        service.login(bob).await.ok();
    }
    let right = service.login(bob).await;
    assert!(right.is(429, "too_many_attempts"), "{right:?}");
    assert_eq!(visible_parts(&service.login_with(bob, "wrong").await), visible_parts(&right));
}

/// Failures before the right password do not delay a user who needs a reset.
#[tokio::test]
async fn right_password_needing_a_reset_ends_consecutive_failures() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.advance(91 * 86_400);
    for _ in 0..3 {
        for _ in 0..3 {
            assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
        }
        assert!(service.login(bob).await.is(403, "mfa_reset_required"));
    }
}

/// The stored hash of a user's password. Reading it counts as a wrong password.
async fn stored_hash(service: &Service, user: &TestUser) -> String {
    let app = service.app();
    let tenant = TenantId::parse(&user.tenant).unwrap();
    let login = app.names.as_ref().unwrap().login(&tenant, &LoginName::fold(&user.username));
    let attempt = Attempt::begin(app.clock.now(), &*app.entropy).unwrap();
    let charged = app.store.charge_login(&login, None, &Backoff::at(attempt.at()), &attempt).await;
    charged.ok().unwrap().hash().unwrap().as_str().to_owned()
}

/// security.md 8: only a sign-in has the password, so a hash of weaker parameters is replaced then.
#[tokio::test]
async fn right_password_replaces_a_hash_of_weaker_parameters_and_no_other() {
    let (service, users) = Service::with_users().await;
    let bob = &users["bob"];
    let strict = service.configured(|app| {
        app.passwords = Arc::new(Passwords::new(PasswordParams::default(), 4, 256, &SystemEntropy).unwrap());
    });
    let weak = stored_hash(&service, bob).await;
    service.login(bob).await.ok();
    assert!(strict.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    assert_eq!(stored_hash(&service, bob).await, weak);
    strict.login(bob).await.ok();
    let strong = stored_hash(&service, bob).await;
    assert!(weak.contains("$m=8,t=1,") && strong.contains("$m=19456,t=2,"), "{weak} {strong}");
    strict.login(bob).await.ok();
    assert_eq!(stored_hash(&service, bob).await, strong);
}

/// A source of randomness whose call of this number fails.
struct FailsOnce(AtomicUsize);

impl Entropy for FailsOnce {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 { Err(EntropyError) } else { SystemEntropy.fill(buffer) }
    }
}

/// The stronger hash serves later sign-ins. One of the calls of a sign-in makes its salt.
#[tokio::test]
async fn failed_upgrade_of_the_hash_refuses_no_right_password() {
    let passwords = Arc::new(Passwords::new(PasswordParams::default(), 4, 256, &SystemEntropy).unwrap());
    let mut signed_in_with_the_old_hash = 0;
    for call in 0..8 {
        let (service, users) = Service::with_users().await;
        let bob = &users["bob"];
        let weak = stored_hash(&service, bob).await;
        let strict = service.configured(|app| {
            app.passwords = Arc::clone(&passwords);
            app.entropy = Arc::new(FailsOnce(AtomicUsize::new(call)));
        });
        let reply = strict.login(bob).await;
        if reply.status == 200 && stored_hash(&service, bob).await == weak {
            signed_in_with_the_old_hash += 1;
        }
    }
    assert_eq!(signed_in_with_the_old_hash, 1);
}

/// A contact may be excluded at any time, and then signs in with the password only.
#[tokio::test]
async fn contact_changes_to_no_password_of_fewer_than_fifteen_characters() {
    let (service, mut users) = Service::with_users().await;
    for (name, fourteen) in [("con1", 400), ("bob", 200)] {
        let user = user_mut(&mut users, name);
        let session = service.stepped_up_session(user).await;
        let to = |new: &str| json!({"current_password": user.password, "new_password": new});
        let reply = service.post("/v1/password", &session, to("fourteen chars")).await;
        assert_eq!(reply.status, fourteen, "{name}: {reply:?}");
        if fourteen == 400 {
            service.post("/v1/password", &session, to("fifteen or more")).await.ok();
        }
    }
}
