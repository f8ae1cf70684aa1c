//! The rows of product.md in which time passes. They set the clock, so they run only in this process.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{BEGIN, Reply, Service, TestRequest, TestUsers, idp::Idp, totp_code, user_mut};

#[tokio::test]
async fn p5_enrolment_tokens_and_challenges_expire() {
    let (service, mut users) = Service::with_users().await;
    let reply = service.login(&users["bob"]).await;
    assert_eq!(reply.seconds("/enrolment/expires_at"), BEGIN.secs() + 600);
    let token = reply.text("/enrolment/token");
    service.advance(600);
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(401, "invalid_token"));
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge_token(bob).await;
    service.advance(300);
    assert!(service.verify(&challenge, &service.next_code(bob)).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn p6_no_code_is_checked_until_the_window_ends() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for _ in 0..2 {
        let challenge = service.challenge_token(bob).await;
        for _ in 0..5 {
            assert!(service.verify(&challenge, &service.wrong_code(bob)).await.is(401, "invalid_code"));
        }
    }
    service.advance(899);
    let challenge = service.challenge_token(bob).await;
    let right = service.next_code(bob);
    let reply = service.verify(&challenge, &right).await;
    assert!(reply.is(429, "too_many_attempts"));
    assert_eq!(reply.body["retry_after_seconds"], 1);
    service.advance(1);
    service.sign_in(bob).await;
}

#[tokio::test]
async fn p6_hundred_failures_disable_the_factor_until_a_reset() {
    let (service, mut users) = Service::with_users().await;
    let ann = user_mut(&mut users, "ann");
    service.enrol(ann).await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for round in 0..10 {
        for _ in 0..2 {
            let challenge = service.challenge_token(bob).await;
            for _ in 0..5 {
                assert!(service.verify(&challenge, &service.wrong_code(bob)).await.is(401, "invalid_code"), "{round}");
            }
        }
        // A session in use stays valid.
        service.get("/v1/session", &bob.session).await.ok();
        service.advance(901);
    }
    assert!(service.login(bob).await.is(403, "mfa_reset_required"));
    let code = totp_code(&bob.secret, service.step());
    let stepped = service.post("/v1/step-up", &bob.session, json!({"code": code})).await;
    assert!(stepped.is(403, "mfa_reset_required"));
    // The answers do not require a step-up, which is no longer possible.
    for (path, body) in [("/v1/mfa/enrolments", json!({})), ("/v1/mfa/recovery-token", Value::Null)] {
        let request = TestRequest::new(Method::POST, path).token(&bob.session);
        let reply = service.send(if body.is_null() { request } else { request.json(body) }).await;
        assert!(reply.is(403, "mfa_reset_required"), "{path}");
    }
    assert_eq!(service.get("/v1/mfa", &bob.session).await.ok().text("/status"), "disabled");
    let session = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.post("/v1/admin/users/u-bob/mfa-reset", &session, json!({"reason": "r"})).await.ok();
    service.enrol(user_mut(&mut users, "bob")).await;
}

#[tokio::test]
async fn p6_idle_and_oldest_sessions_end() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(1799);
    service.get("/v1/session", &bob.session).await.ok();
    service.advance(1801);
    assert!(service.get("/v1/session", &bob.session).await.is(401, "invalid_token"));
    for _ in 0..12 {
        service.sign_in(bob).await;
    }
    let listed = service.get("/v1/sessions", &bob.session).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 10, "the oldest sessions end");
}

#[tokio::test]
async fn p7_new_recovery_token_requires_a_recent_step_up() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.advance(301);
    let token = TestRequest::new(Method::POST, "/v1/mfa/recovery-token");
    assert!(service.send(token.clone().token(&bob.session)).await.is(401, "step_up_required"));
    let session = service.stepped_up_session(bob).await;
    let shown = service.send(token.clone().token(&session)).await.ok().text("/recovery_token");
    let challenge = service.challenge_token(bob).await;
    let recovered = service.verify(&challenge, &shown).await.ok().text("/session/token");
    service.advance(601);
    assert!(
        service.send(token.token(&recovered)).await.is(401, "step_up_required"),
        "ten minutes after a sign-in by recovery token"
    );
}

#[tokio::test]
async fn p8_missed_enrolment_deadline_requires_another_reset() {
    let (service, mut users) = Service::with_users().await;
    let path = "/v1/admin/users/u-con1/mfa-reset";
    service.stepped_up_session(user_mut(&mut users, "con1")).await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.post(path, &ann, json!({"reason": "lost phone"})).await.ok();
    service.advance(72 * 3600);
    assert!(service.login(&users["con1"]).await.is(403, "mfa_reset_required"));
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.post(path, &ann, json!({"reason": "again"})).await.ok();
    service.enrol(user_mut(&mut users, "con1")).await;
}

#[tokio::test]
async fn p10_end_of_exclusion_ends_an_earlier_reset_window() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let batch = async |key: &str, token: &str, ids: &[&str], disable_mfa: bool| {
        let body = json!({"contact_ids": ids, "disable_mfa": disable_mfa, "reason": "r"});
        let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
        service.send(request.header("idempotency-key", key)).await.ok()
    };
    batch("a", &ann, &["u-con1", "u-con2"], true).await;
    for id in ["u-con1", "u-con2"] {
        service.post(&format!("/v1/admin/users/{id}/mfa-reset"), &ann, json!({"reason": "r"})).await.ok();
    }
    service.advance(73 * 3600);
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "signed_in");
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    batch("b", &ann, &["u-con1"], false).await;
    service.patch("/v1/admin/users/u-con2", &ann, json!({"kind": "employee", "role": "standard"})).await.ok();
    for name in ["con1", "con2"] {
        assert_eq!(service.login(&users[name]).await.text("/status"), "enrolment_required", "{name}");
        service.enrol(user_mut(&mut users, name)).await;
    }
}

#[tokio::test]
async fn p13_delays_double_up_to_fifteen_minutes_and_end() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    service.sign_in(bob).await;
    for _ in 0..5 {
        assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    }
    assert_eq!(service.login_with(bob, "wrong").await.headers["retry-after"], "1");
    let mut waits = Vec::new();
    for _ in 0..12 {
        let reply = service.login(bob).await;
        let wait = reply.body["retry_after_seconds"].as_u64().unwrap();
        waits.push(wait);
        service.advance(wait);
        assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    service.advance(900);
    assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required");
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let rows = service.get("/v1/admin/audit?user_id=u-bob&limit=100", &ann).await.ok();
    let rows = rows.body["items"].as_array().unwrap();
    assert_eq!(
        rows.iter().filter(|row| row["action"] == "login.delayed").count(),
        1,
        "one audit row a day, for the fifth failure"
    );
}

/// Asserts that the session and the tokens from before a change are refused. There is no session if `session` is empty.
async fn assert_ended(service: &Service, name: &str, issued: &Reply, session: &str) {
    if !session.is_empty() {
        assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"), "{name}");
    }
    for (pointer, path, body) in [
        ("/session/token", "/v1/step-up", json!({"code": "123456"})),
        ("/challenge/token", "/v1/verify", json!({"code": "123456"})),
        ("/enrolment/token", "/v1/mfa/enrolments", json!({})),
    ] {
        if let Some(token) = issued.body.pointer(pointer).and_then(Value::as_str) {
            let reply = service.post(path, token, body).await;
            let refused = reply.is(401, "invalid_token") || reply.is(401, "session_refresh_required");
            assert!(refused, "{name}: {} {}", reply.status, reply.code());
        }
    }
}

/// Changes the sign-in method of a user to SSO and back. Each change ends sessions, challenges and enrolment tokens.
/// `by_idp` and `by_password` are the expected status and answer of a sign-in.
async fn assert_changes_sign_in_method(
    service: &Service,
    users: &mut TestUsers,
    idp: &Idp,
    name: &str,
    by_idp: (u16, &str),
    by_password: (u16, &str),
) {
    let outcome = |reply: &Reply| {
        let answer = if reply.status == 200 { reply.text("/status") } else { reply.code().to_owned() };
        (reply.status.as_u16(), answer)
    };
    let sso_sign_in = async || {
        let (sp, authn_request) = (service.sp("acme").await, service.sso_request("acme").await);
        service
            .acs(
                "acme",
                &idp.valid_response(service, &sp, &authn_request, name).sign_assertion(idp),
                &authn_request.relay_state,
            )
            .await
    };
    let change = async |users: &mut TestUsers, auth_type: &str| {
        let ann = service.stepped_up_session(user_mut(users, "ann")).await;
        let path = format!("/v1/admin/users/{}", users[name].id);
        service.patch(&path, &ann, json!({"auth_type": auth_type})).await.ok();
    };
    let before = service.login(&users[name]).await;
    assert_eq!(outcome(&before), (by_password.0, by_password.1.to_owned()), "{name}");
    assert!(sso_sign_in().await.is(401, "invalid_credentials"), "{name}: SSO is refused before the change");
    change(users, "saml_sso").await;
    assert_ended(service, name, &before, &users[name].session).await;
    assert!(
        service.login(&users[name]).await.is(401, "invalid_credentials"),
        "{name}: the password is refused after the change"
    );
    let sso_reply = sso_sign_in().await;
    assert_eq!(outcome(&sso_reply), (by_idp.0, by_idp.1.to_owned()), "{name}");
    change(users, "local").await;
    assert_ended(service, name, &sso_reply, "").await;
    assert!(sso_sign_in().await.is(401, "invalid_credentials"), "{name}: SSO is refused after the change back");
    assert_eq!(outcome(&service.login(&users[name]).await), (by_password.0, by_password.1.to_owned()), "{name}");
}

#[tokio::test]
async fn p12_sign_in_method_changes_in_every_factor_state() {
    let (service, mut users) = Service::with_users().await;
    let idp = Idp::new("https://idp.example/acme");
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    let required = (200, "enrolment_required");
    assert_changes_sign_in_method(&service, &mut users, &idp, "bob", required, required).await;
    // With a pending enrolment.
    let token = service.enrolment_token(&users["bob"]).await;
    service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    assert_changes_sign_in_method(&service, &mut users, &idp, "bob", required, required).await;
    service.enrol(user_mut(&mut users, "bob")).await;
    assert_changes_sign_in_method(&service, &mut users, &idp, "bob", (200, "signed_in"), (200, "mfa_required")).await;
    // After a reset by an Administrator.
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.post("/v1/admin/users/u-bob/mfa-reset", &ann, json!({"reason": "r"})).await.ok();
    users.get_mut("bob").unwrap().session.clear();
    assert_changes_sign_in_method(&service, &mut users, &idp, "bob", required, required).await;
    // An excluded contact.
    let exclusion = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let request =
        TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).header("Idempotency-Key", "flips");
    service.send(request.json(exclusion)).await.ok();
    assert_changes_sign_in_method(&service, &mut users, &idp, "con1", (200, "signed_in"), (200, "signed_in")).await;
    // Disabled by a hundred wrong codes.
    service.enrol(user_mut(&mut users, "bob")).await;
    for _ in 0..10 {
        for _ in 0..2 {
            let challenge = service.challenge_token(&users["bob"]).await;
            for _ in 0..5 {
                let wrong = service.wrong_code(&users["bob"]);
                assert!(service.verify(&challenge, &wrong).await.is(401, "invalid_code"));
            }
        }
        service.advance(901);
    }
    users.get_mut("bob").unwrap().session.clear();
    let disabled = (403, "mfa_reset_required");
    assert_changes_sign_in_method(&service, &mut users, &idp, "bob", disabled, disabled).await;
}
