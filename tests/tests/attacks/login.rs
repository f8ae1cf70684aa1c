//! Section L: the password door.

use std::{sync::Arc, time::Duration};

use axum::http::Method;
use futures_util::{future::join_all, poll};
use serde_json::{Value, json};
use tests::{Ask, Person, Service, of};
use tokio::time::timeout;
use vestibule::{env::SystemEntropy, store::memory::MemoryTable};

use super::{create, raw, seen, texts};

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
    let log_in = |n: u8, password: &str| {
        let body = json!({"tenant": bob.tenant, "username": bob.username, "password": password});
        let from = format!("198.51.{n}.7");
        let ask = Ask::new(Method::POST, "/v1/login").json(body).from([198, 51, n, 7]);
        service.send(ask.header("x-forwarded-for", &from).header("user-agent", &from))
    };
    for n in 0..120 {
        match log_in(n, &format!("guess {n}")).await.status.as_u16() {
            401 => evaluated += 1,
            429 => delayed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((evaluated, delayed), (5, 115));
    assert!(log_in(200, &bob.password).await.is(429, "too_many_attempts"), "the right one is not looked at either");
    service.pass(1);
    assert_eq!(log_in(200, &bob.password).await.ok().text("/status"), "enrolment_required");
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
        let log_in = |number: usize| {
            let name = format!("name{number}");
            let body = json!({"tenant": "acme", "username": name, "password": "some long password of words"});
            service.send(Ask::new(Method::POST, "/v1/login").json(body))
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || held.recv());
        // 4 at once and 256 who wait: as many as `Service::over` admits.
        let mut admitted = join_all((0..260).map(log_in));
        assert!(poll!(&mut admitted).is_pending());
        for _ in 0..6 {
            let refused = timeout(Duration::from_secs(10), log_in(260)).await.expect("it does not wait for anybody");
            assert!(refused.is(503, "unavailable"), "{refused:?}");
            assert_eq!(refused.headers["retry-after"], refused.body["retry_after_seconds"].to_string().as_str());
        }
        release.send(()).unwrap();
        assert!(blocked.await.unwrap().is_ok());
        for refused in admitted.await {
            assert!(refused.is(401, "invalid_credentials"), "{refused:?}");
        }
        assert!(log_in(260).await.is(401, "invalid_credentials"), "there is room again, and no try was lost");
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

/// A network that opened as many challenges as it may is told so whether or not the password is right: else the answer would
/// tell.
#[tokio::test]
async fn full_network_is_told_whatever_the_password() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for _ in 0..19 {
        service.login(bob).await.ok();
    }
    let right = service.login(bob).await;
    assert!(right.is(429, "too_many_attempts"), "{right:?}");
    assert_eq!(seen(&service.login_with(bob, "wrong").await), seen(&right));
}

/// Who needs a reset is not delayed by failures from before the right password.
#[tokio::test]
async fn right_password_that_needs_a_reset_ends_the_row_of_failures() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.pass(91 * 86_400);
    for _ in 0..3 {
        for _ in 0..3 {
            assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
        }
        assert!(service.login(bob).await.is(403, "mfa_reset_required"));
    }
}

/// A contact may be excluded at any time, and then signs in with the password alone.
#[tokio::test]
async fn contact_changes_to_no_password_of_fewer_than_fifteen_characters() {
    let (service, mut people) = Service::peopled().await;
    for (name, fourteen) in [("con1", 400), ("bob", 200)] {
        let person = of(&mut people, name);
        let session = service.fresh(person).await;
        let to = |new: &str| json!({"current_password": person.password, "new_password": new});
        let reply = service.post("/v1/password", &session, to("fourteen chars")).await;
        assert_eq!(reply.status, fourteen, "{name}: {reply:?}");
        if fourteen == 400 {
            service.post("/v1/password", &session, to("fifteen or more")).await.ok();
        }
    }
}
