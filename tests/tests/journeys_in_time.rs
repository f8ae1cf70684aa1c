//! product.md, row by row, where time has to pass: under a clock that is moved, so in this process alone.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, BEGIN, People, Reply, Service, code, idp::Idp, of};

#[tokio::test]
async fn p5_an_enrolment_token_and_a_challenge_end() {
    let (service, mut people) = Service::peopled().await;
    let reply = service.login(&people["bob"]).await;
    assert_eq!(reply.seconds("/enrolment/expires_at"), BEGIN.secs() + 600);
    let token = reply.text("/enrolment/token");
    service.pass(600);
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(401, "invalid_token"));
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    let challenge = service.challenge(bob).await;
    service.pass(300);
    assert!(service.verify(&challenge, &service.code(bob)).await.is(401, "invalid_token"));
}

#[tokio::test]
async fn p6_no_code_is_looked_at_until_the_window_is_over() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for _ in 0..2 {
        let challenge = service.challenge(bob).await;
        for _ in 0..5 {
            assert!(service.verify(&challenge, &service.wrong(bob)).await.is(401, "invalid_code"));
        }
    }
    service.pass(899);
    let challenge = service.challenge(bob).await;
    let right = service.code(bob);
    let reply = service.verify(&challenge, &right).await;
    assert!(reply.is(429, "too_many_attempts"));
    assert_eq!(reply.body["retry_after_seconds"], 1);
    service.pass(1);
    service.sign_in(bob).await;
}

#[tokio::test]
async fn p6_a_hundred_failures_disable_the_factor_until_a_reset() {
    let (service, mut people) = Service::peopled().await;
    let ann = of(&mut people, "ann");
    service.enrol(ann).await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    for round in 0..10 {
        for _ in 0..2 {
            let challenge = service.challenge(bob).await;
            for _ in 0..5 {
                assert!(service.verify(&challenge, &service.wrong(bob)).await.is(401, "invalid_code"), "{round}");
            }
        }
        // A session in use lives on through it.
        service.get("/v1/session", &bob.session).await.ok();
        service.pass(901);
    }
    assert!(service.login(bob).await.is(403, "mfa_reset_required"));
    let code = code(&bob.secret, service.step());
    let stepped = service.post("/v1/step-up", &bob.session, json!({"code": code})).await;
    assert!(stepped.is(403, "mfa_reset_required"));
    // Nor are they told to step up, which cannot be done any more.
    for (path, body) in [("/v1/mfa/enrolments", json!({})), ("/v1/mfa/recovery-token", Value::Null)] {
        let ask = Ask::new(Method::POST, path).token(&bob.session);
        let reply = service.send(if body.is_null() { ask } else { ask.json(body) }).await;
        assert!(reply.is(403, "mfa_reset_required"), "{path}");
    }
    assert_eq!(service.get("/v1/mfa", &bob.session).await.ok().text("/status"), "disabled");
    let session = service.fresh(of(&mut people, "ann")).await;
    service.post("/v1/admin/users/u-bob/mfa-reset", &session, json!({"reason": "r"})).await.ok();
    service.enrol(of(&mut people, "bob")).await;
}

#[tokio::test]
async fn p6_sessions_idle_and_the_oldest_go() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.pass(1799);
    service.get("/v1/session", &bob.session).await.ok();
    service.pass(1801);
    assert!(service.get("/v1/session", &bob.session).await.is(401, "invalid_token"));
    for _ in 0..12 {
        service.sign_in(bob).await;
    }
    let listed = service.get("/v1/sessions", &bob.session).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 10, "the oldest go");
}

#[tokio::test]
async fn p7_a_recovery_token_wants_a_fresh_step_up() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
    service.enrol(bob).await;
    service.pass(301);
    let token = Ask::new(Method::POST, "/v1/mfa/recovery-token");
    assert!(service.send(token.clone().token(&bob.session)).await.is(401, "step_up_required"));
    let session = service.fresh(bob).await;
    let shown = service.send(token.clone().token(&session)).await.ok().text("/recovery_token");
    let challenge = service.challenge(bob).await;
    let recovered = service.verify(&challenge, &shown).await.ok().text("/session/token");
    service.pass(601);
    assert!(service.send(token.token(&recovered)).await.is(401, "step_up_required"), "ten minutes after a recovery");
}

#[tokio::test]
async fn p8_whoever_does_not_enrol_in_time_is_reset_again() {
    let (service, mut people) = Service::peopled().await;
    let path = "/v1/admin/users/u-con1/mfa-reset";
    service.fresh(of(&mut people, "con1")).await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.post(path, &ann, json!({"reason": "lost phone"})).await.ok();
    service.pass(72 * 3600);
    assert!(service.login(&people["con1"]).await.is(403, "mfa_reset_required"));
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.post(path, &ann, json!({"reason": "again"})).await.ok();
    service.enrol(of(&mut people, "con1")).await;
}

#[tokio::test]
async fn p10_the_end_of_an_exclusion_ends_the_window_of_a_reset_before_it() {
    let (service, mut people) = Service::peopled().await;
    let ann = service.fresh(of(&mut people, "ann")).await;
    let batch = async |key: &str, token: &str, ids: &[&str], disable_mfa: bool| {
        let body = json!({"contact_ids": ids, "disable_mfa": disable_mfa, "reason": "r"});
        let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
        service.send(ask.header("idempotency-key", key)).await.ok()
    };
    batch("a", &ann, &["u-con1", "u-con2"], true).await;
    for id in ["u-con1", "u-con2"] {
        service.post(&format!("/v1/admin/users/{id}/mfa-reset"), &ann, json!({"reason": "r"})).await.ok();
    }
    service.pass(73 * 3600);
    assert_eq!(service.login(&people["con1"]).await.text("/status"), "signed_in");
    let ann = service.fresh(of(&mut people, "ann")).await;
    batch("b", &ann, &["u-con1"], false).await;
    service.patch("/v1/admin/users/u-con2", &ann, json!({"kind": "employee", "role": "standard"})).await.ok();
    for name in ["con1", "con2"] {
        assert_eq!(service.login(&people[name]).await.text("/status"), "enrolment_required", "{name}");
        service.enrol(of(&mut people, name)).await;
    }
}

#[tokio::test]
async fn p13_delays_double_to_a_quarter_of_an_hour_and_end() {
    let (service, mut people) = Service::peopled().await;
    let bob = of(&mut people, "bob");
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
        service.pass(wait);
        assert!(service.login_with(bob, "wrong").await.is(401, "invalid_credentials"));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    service.pass(900);
    assert_eq!(service.login(bob).await.ok().text("/status"), "mfa_required");
    let ann = service.fresh(of(&mut people, "ann")).await;
    let rows = service.get("/v1/admin/audit?user_id=u-bob&limit=100", &ann).await.ok();
    let rows = rows.body["items"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["action"] == "login.delayed").count(), 1, "the fifth, once a day");
}

/// Somebody's door is changed to the IdP's and back: each time all that was open is dead, and what they owe is asked anew.
async fn flips(
    service: &Service,
    people: &mut People,
    idp: &Idp,
    name: &str,
    by_idp: (u16, &str),
    by_password: (u16, &str),
) {
    let owes = |reply: &Reply| {
        let said = if reply.status == 200 { reply.text("/status") } else { reply.code().to_owned() };
        (reply.status.as_u16(), said)
    };
    let arrives = async || {
        let (sp, asked) = (service.sp("acme").await, service.sso_request("acme").await);
        service.acs("acme", &idp.answer(service, &sp, &asked, name).signed(idp), &asked.relay_state).await
    };
    // Nothing that a door gave before opens anything.
    let dead = async |given: &Reply, session: &str| {
        if !session.is_empty() {
            assert!(service.get("/v1/session", session).await.is(401, "session_refresh_required"), "{name}");
        }
        for (pointer, path, body) in [
            ("/session/token", "/v1/step-up", json!({"code": "123456"})),
            ("/challenge/token", "/v1/verify", json!({"code": "123456"})),
            ("/enrolment/token", "/v1/mfa/enrolments", json!({})),
        ] {
            if let Some(token) = given.body.pointer(pointer).and_then(Value::as_str) {
                let reply = service.post(path, token, body).await;
                assert!(
                    reply.is(401, "invalid_token") || reply.is(401, "session_refresh_required"),
                    "{name}: {} {}",
                    reply.status,
                    reply.code()
                );
            }
        }
    };
    let change = async |people: &mut People, door: &str| {
        let ann = service.fresh(of(people, "ann")).await;
        let path = format!("/v1/admin/users/{}", people[name].id);
        service.patch(&path, &ann, json!({"auth_type": door})).await.ok();
    };
    let before = service.login(&people[name]).await;
    assert_eq!(owes(&before), (by_password.0, by_password.1.to_owned()), "{name}");
    assert!(arrives().await.is(401, "invalid_credentials"), "{name}: not of the IdP's door");
    change(people, "saml_sso").await;
    dead(&before, &people[name].session).await;
    assert!(service.login(&people[name]).await.is(401, "invalid_credentials"), "{name}: not of the password's door");
    let arrived = arrives().await;
    assert_eq!(owes(&arrived), (by_idp.0, by_idp.1.to_owned()), "{name}");
    change(people, "local").await;
    dead(&arrived, "").await;
    assert!(arrives().await.is(401, "invalid_credentials"), "{name}: of the IdP's door no more");
    assert_eq!(owes(&service.login(&people[name]).await), (by_password.0, by_password.1.to_owned()), "{name}");
}

#[tokio::test]
async fn p12_the_door_is_changed_in_every_state_of_the_factor() {
    let (service, mut people) = Service::peopled().await;
    let idp = Idp::new("https://idp.example/acme");
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    let owed = (200, "enrolment_required");
    flips(&service, &mut people, &idp, "bob", owed, owed).await;
    // Begun and not confirmed.
    let token = service.enrolment(&people["bob"]).await;
    service.post("/v1/mfa/enrolments", &token, json!({})).await.ok();
    flips(&service, &mut people, &idp, "bob", owed, owed).await;
    service.enrol(of(&mut people, "bob")).await;
    flips(&service, &mut people, &idp, "bob", (200, "signed_in"), (200, "mfa_required")).await;
    // Reset by an Administrator.
    let ann = service.fresh(of(&mut people, "ann")).await;
    service.post("/v1/admin/users/u-bob/mfa-reset", &ann, json!({"reason": "r"})).await.ok();
    people.get_mut("bob").unwrap().session.clear();
    flips(&service, &mut people, &idp, "bob", owed, owed).await;
    // A contact who is excluded.
    let exclusion = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let ann = service.fresh(of(&mut people, "ann")).await;
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).header("Idempotency-Key", "flips");
    service.send(ask.json(exclusion)).await.ok();
    flips(&service, &mut people, &idp, "con1", (200, "signed_in"), (200, "signed_in")).await;
    // Disabled by a hundred wrong codes.
    service.enrol(of(&mut people, "bob")).await;
    for _ in 0..10 {
        for _ in 0..2 {
            let challenge = service.challenge(&people["bob"]).await;
            for _ in 0..5 {
                let wrong = service.wrong(&people["bob"]);
                assert!(service.verify(&challenge, &wrong).await.is(401, "invalid_code"));
            }
        }
        service.pass(901);
    }
    people.get_mut("bob").unwrap().session.clear();
    let disabled = (403, "mfa_reset_required");
    flips(&service, &mut people, &idp, "bob", disabled, disabled).await;
}
