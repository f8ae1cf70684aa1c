//! Section V: codes and challenges.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, Service, code, of};

use super::{actions, create, recovery_token, seen};

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
