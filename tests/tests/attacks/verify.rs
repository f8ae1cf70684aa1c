//! Section V: codes and challenges.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Service, TestRequest, totp_code, user_mut};

use super::{actions, audit, create, recovery_token, visible_parts};

/// V02, V12
#[tokio::test]
async fn spent_code_and_challenge_cannot_be_used_again() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(60);
    let used = totp_code(&bob.secret, service.step());
    let challenge = service.challenge_token(bob).await;
    service.verify(&challenge, &used).await.ok();
    service.advance(30);
    let next = totp_code(&bob.secret, service.step());
    assert!(service.verify(&challenge, &next).await.is(401, "invalid_token"), "the challenge was used");
    let other = service.challenge_token(bob).await;
    assert!(service.verify(&other, &used).await.is(401, "invalid_code"), "the code is still in T-1, but was used");
    service.verify(&other, &next).await.ok();
}

/// V06, V14
#[tokio::test]
async fn all_operations_of_a_factor_share_one_budget() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let shown = recovery_token(&service, &bob.session).await;
    for _ in 0..4 {
        let reply = service.post("/v1/step-up", &bob.session, json!({"code": service.wrong_code(bob)})).await;
        assert!(reply.is(401, "invalid_code"));
    }
    let never = "0123456789ABCDEFGHJKMNPQRS";
    let mixed = service.challenge_token(bob).await;
    for wrong in [&service.wrong_code(bob), never, &service.wrong_code(bob), never, &service.wrong_code(bob)] {
        assert!(service.verify(&mixed, wrong).await.is(401, "invalid_code"));
    }
    service.advance(30);
    let right = totp_code(&bob.secret, service.step());
    for right in [&right, &shown] {
        assert!(
            service.verify(&mixed, right).await.is(401, "invalid_token"),
            "five failures of either kind end a challenge"
        );
    }
    let other = service.challenge_token(bob).await;
    assert!(service.verify(&other, never).await.is(401, "invalid_code"), "the tenth failure");
    for attempt in [&right, &shown, &service.wrong_code(bob)] {
        assert!(service.verify(&other, attempt).await.is(429, "too_many_attempts"));
    }
    assert!(service.post("/v1/step-up", &bob.session, json!({"code": right})).await.is(429, "too_many_attempts"));
    assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required");
    service.advance(900);
    let challenge = service.challenge_token(bob).await;
    service.verify(&challenge, &shown).await.ok();
}

/// The sender of a code with a challenge knows the password. One or two wrong codes are mistakes.
#[tokio::test]
async fn user_is_told_of_the_third_wrong_code_of_a_challenge_and_of_no_wrong_step_up() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge_token(bob).await;
    let wrong = service.wrong_code(bob);
    let told = async |action: &str| {
        let rows = audit(&service, &ann, "u-bob").await;
        let refused = actions(&rows, action).into_iter().filter(|row| row["outcome"] == "refused");
        let told: Vec<_> = refused.map(|row| row["notified"] == json!(["user"])).collect();
        (told.len(), told.iter().filter(|told| **told).count())
    };
    for (sent, expected) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
        assert!(service.verify(&challenge, &wrong).await.is(401, "invalid_code"));
        assert!(service.post("/v1/step-up", &bob.session, json!({"code": wrong})).await.is(401, "invalid_code"));
        assert_eq!(told("verify").await, (sent, expected));
        assert_eq!(told("step_up").await, (sent, 0));
    }
}

/// V07
#[tokio::test]
async fn client_headers_give_no_additional_attempts() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let body = json!({"tenant": "acme", "username": "bob", "password": bob.password});
    let try_code = |n: u8, from: [u8; 4]| {
        let mut request = TestRequest::new(Method::POST, "/v1/login").json(body.clone()).from(from);
        for name in ["x-forwarded-for", "x-real-ip", "true-client-ip", "cf-connecting-ip", "user-agent"] {
            request = request.header(name, &format!("198.51.100.{n}"));
        }
        service.send(request.header("forwarded", &format!("for=198.51.100.{n}")))
    };
    for n in 0..20 {
        try_code(n, [192, 0, 2, n]).await.ok();
    }
    assert!(try_code(20, [192, 0, 2, 200]).await.is(429, "too_many_attempts"), "twenty challenges of one network");
    let challenge = try_code(21, [192, 0, 3, 1]).await.ok().text("/challenge/token");
    service.advance(30);
    service.verify(&challenge, &totp_code(&bob.secret, service.step())).await.ok();
    service.advance(870);
    try_code(22, [192, 0, 2, 1]).await.ok();
}

/// V08, V09
#[tokio::test]
async fn only_six_ascii_digits_of_the_server_time_are_a_code() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(60);
    let (step, challenge) = (service.step(), service.challenge_token(bob).await);
    let right = totp_code(&bob.secret, step);
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
    // These codes are right by the client's clock. They use four of the five attempts; the requests before used none.
    for shift in [-3, -2, 2, 3] {
        let body = json!({"code": totp_code(&bob.secret, step + shift)});
        let request = TestRequest::new(Method::POST, "/v1/verify").token(&challenge).json(body);
        let request = request.header("date", "Fri, 15 Jan 2027 08:02:00 GMT").header("x-amz-date", "20270115T080200Z");
        assert!(service.send(request).await.is(401, "invalid_code"), "T{shift:+}");
    }
    service.verify(&challenge, &format!(" {}-{} ", &right[..3], &right[3..])).await.ok();
    let challenge = service.challenge_token(bob).await;
    for respelled in [right.clone(), format!("{} {}", &right[..3], &right[3..]), format!("-{right}-")] {
        assert!(service.verify(&challenge, &respelled).await.is(401, "invalid_code"), "{respelled}");
    }
}

/// V10, R03
#[tokio::test]
async fn code_or_recovery_token_of_another_user_is_refused() {
    let (service, mut users) = Service::with_users().await;
    for name in ["bob", "ann", "gil"] {
        service.enrol(user_mut(&mut users, name)).await;
    }
    let shown = recovery_token(&service, &users["bob"].session).await;
    service.advance(60);
    let mine = totp_code(&users["bob"].secret, service.step());
    for name in ["ann", "gil"] {
        let challenge = service.challenge_token(&users[name]).await;
        for other in [&mine, &shown] {
            assert!(service.verify(&challenge, other).await.is(401, "invalid_code"), "{name}");
            let both = json!({"code": other, "user": "u-bob", "tenant": "acme"});
            assert!(service.post("/v1/verify", &challenge, both).await.is(400, "invalid_request"));
        }
        let reply = service.post("/v1/step-up", &users[name].session, json!({"code": mine})).await;
        assert!(reply.is(401, "invalid_code"));
    }
    // The attempts consumed nothing of bob's.
    for (code, amr) in [(&mine, "otp"), (&shown, "recovery")] {
        let challenge = service.challenge_token(&users["bob"]).await;
        assert_eq!(service.verify(&challenge, code).await.ok().body["session"]["amr"], json!(["pwd", amr]));
    }
}

/// V11
#[tokio::test]
async fn challenge_expires_after_five_minutes() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let (one, two) = (service.challenge_token(bob).await, service.challenge_token(bob).await);
    service.advance(299);
    service.verify(&one, &totp_code(&bob.secret, service.step())).await.ok();
    service.advance(1);
    assert!(service.verify(&two, &totp_code(&bob.secret, service.step() + 1)).await.is(401, "invalid_token"));
}

/// V13, X03
#[tokio::test]
async fn altered_token_is_refused() {
    let (service, mut users) = Service::with_users().await;
    service.enrol(user_mut(&mut users, "gil")).await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge_token(bob).await;
    service.advance(30);
    let right = totp_code(&bob.secret, service.step());
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
    let twice = TestRequest::new(Method::POST, "/v1/verify").token("vc_x").json(json!({"code": right}));
    let twice = twice.header("authorization", &format!("Bearer {challenge}"));
    assert!(!service.send(twice).await.status.is_success(), "two credentials are refused");
    service.verify(&challenge, &right).await.ok();
}

/// V15
#[tokio::test]
async fn refused_codes_get_identical_answers() {
    let (service, mut users) = Service::with_users().await;
    for name in ["bob", "eve"] {
        service.enrol(user_mut(&mut users, name)).await;
    }
    let shown = recovery_token(&service, &users["bob"].session).await;
    let bob = user_mut(&mut users, "bob");
    let challenge = service.challenge_token(bob).await;
    service.verify(&challenge, &shown).await.ok();
    service.sign_in(bob).await;
    let used = totp_code(&bob.secret, bob.step);
    let mut answers = Vec::new();
    for name in ["bob", "eve"] {
        let user = &users[name];
        let attempt = [service.wrong_code(user), used.clone(), shown.clone(), "0123456789ABCDEFGHJKMNPQRS".into()];
        let challenge = service.challenge_token(user).await;
        for attempt in attempt {
            answers.push(visible_parts(&service.verify(&challenge, &attempt).await));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
}

/// V16, S07
#[tokio::test]
async fn challenge_from_before_a_change_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let changes = [
        json!({"password": "quite another password"}),
        json!({"auth_type": "saml_sso"}),
        json!({"active": false}),
        json!({"role": "administrator"}),
        json!({"kind": "contact", "role": "portal"}),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let mut user = create(&service, &ann, "acme", &format!("p{n}"), "a good long password").await;
        service.enrol(&mut user).await;
        let (session, challenge) = (user.session.clone(), service.challenge_token(&user).await);
        service.patch(&format!("/v1/admin/users/{}", user.id), &ann, change.clone()).await.ok();
        let code = service.next_code(&mut user);
        assert!(service.verify(&challenge, &code).await.is(401, "invalid_token"), "{change}");
        let reply = service.get("/v1/session", &session).await;
        let code = if change == json!({"active": false}) { "invalid_token" } else { "session_refresh_required" };
        assert!(reply.is(401, code), "{change}: {reply:?}");
    }
    // The same holds for a change of one's own password, and for a new factor.
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge_token(bob).await;
    let body = json!({"current_password": bob.password, "new_password": "quite another password"});
    bob.session = service.post("/v1/password", &bob.session, body).await.ok().text("/session/token");
    service.advance(30);
    assert!(service.verify(&challenge, &totp_code(&bob.secret, service.step())).await.is(401, "invalid_token"));
    assert!(service.login(bob).await.is(401, "invalid_credentials"));
    bob.password = "quite another password".into();
    let challenge = service.challenge_token(bob).await;
    let session = service.stepped_up_session(bob).await;
    service.enrol_with(bob, &session, json!({})).await;
    service.advance(30);
    assert!(service.verify(&challenge, &totp_code(&bob.secret, service.step())).await.is(401, "invalid_token"));
}

/// V19
#[tokio::test]
async fn slow_series_of_wrong_codes_is_reported_and_disables_the_factor() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for n in 0..100 {
        assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required", "{n}");
        let challenge = service.challenge_token(bob).await;
        assert!(service.verify(&challenge, &service.wrong_code(bob)).await.is(401, "invalid_code"), "{n}");
        service.advance(16 * 60);
    }
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let read = service.get("/v1/admin/users/u-bob", &ann).await.ok();
    assert_eq!(read.text("/mfa"), "disabled", "at once, and not only at the next sign-in");
    assert!(service.login(&users["bob"]).await.is(403, "mfa_reset_required"));
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
async fn same_username_in_two_tenants_is_two_users() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let gus = service.stepped_up_session(user_mut(&mut users, "gus")).await;
    let mut here = create(&service, &ann, "acme", "twin", "the same password of both").await;
    let mut there = create(&service, &gus, "globex", "twin", "the same password of both").await;
    service.enrol(&mut here).await;
    service.enrol(&mut there).await;
    let shown = recovery_token(&service, &there.session).await;
    service.advance(60);
    let challenge = service.challenge_token(&here).await;
    for other in [&totp_code(&there.secret, service.step()), &shown] {
        assert!(service.verify(&challenge, other).await.is(401, "invalid_code"));
    }
    for _ in 0..5 {
        service.login_with(&here, "wrong").await;
    }
    assert!(service.login(&here).await.is(429, "too_many_attempts"));
    let challenge = service.challenge_token(&there).await;
    service.verify(&challenge, &shown).await.ok();
    // A tenant named by the client is ignored.
    let mut request = TestRequest::new(Method::GET, "/v1/session").token(&here.session);
    for name in ["x-tenant", "x-tenant-id", "x-user-id", "x-forwarded-host"] {
        request = request.header(name, "globex");
    }
    let reply = service.send(request.header("host", "globex.example")).await.ok();
    assert_eq!((reply.text("/user/tenant"), reply.text("/user/id")), ("acme".into(), here.id.clone()));
    assert!(service.get("/v1/session?tenant=globex", &here.session).await.is(400, "invalid_request"));
    assert!(service.get(&format!("/v1/admin/users/{}", there.id), &ann).await.is(404, "not_found"));
}
