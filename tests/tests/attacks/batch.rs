//! Section B: exclusion of contacts.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Service, TestRequest, totp_code, user_mut};

use super::{actions, audit, exclude, recovery_token};

/// B01, B03, A03
#[tokio::test]
async fn batch_never_excludes_employees_or_the_caller() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    service.enrol(user_mut(&mut users, "bob")).await;
    let ids = ["u-bob", "u-ann", "u-eve", "u-bob"];
    let reply = exclude(&service, &ann, "k", &ids, true).await.ok();
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|result| result["outcome"] == "not_a_contact"), "{results:?}");
    service.get("/v1/session", &users["bob"].session).await.ok();
    assert_eq!(service.login(&users["bob"]).await.text("/status"), "mfa_required");
    assert_eq!(service.login(&users["eve"]).await.text("/status"), "enrolment_required");
    // A contact who becomes an employee does not stay excluded, and an employee who becomes a contact is not excluded.
    exclude(&service, &ann, "k2", &["u-con1"], true).await.ok();
    let body = json!({"kind": "employee", "role": "standard"});
    service.patch("/v1/admin/users/u-con1", &ann, body).await.ok();
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "enrolment_required");
    let again = exclude(&service, &ann, "k2", &["u-con1"], true).await.ok();
    assert_eq!(again.text("/results/0/outcome"), "excluded", "the repetition reports the earlier outcome");
    assert_eq!(
        service.login(&users["con1"]).await.text("/status"),
        "enrolment_required",
        "the repetition changes nothing"
    );
    let fresh = exclude(&service, &ann, "k3", &["u-con1"], true).await.ok();
    assert_eq!(fresh.text("/results/0/outcome"), "not_a_contact");
}

/// B04
#[tokio::test]
async fn batch_has_1_to_1000_valid_ids() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let ids = |n: usize| (0..n).map(|n| format!("c{n}")).collect::<Vec<_>>();
    let post = |ids: Value| {
        let body = json!({"contact_ids": ids, "disable_mfa": true, "reason": "r"});
        let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        service.send(request.header("idempotency-key", "k"))
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
        let mut request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body.clone());
        for key in &keys {
            request = request.header("idempotency-key", key);
        }
        assert!(service.send(request).await.is(400, "invalid_request"), "{keys:?}");
    }
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "enrolment_required", "nothing was written");
    let whole = post(json!(ids(1000))).await.ok();
    assert_eq!(whole.body["counts"]["refused"], 1000);
}

/// B05
#[tokio::test]
async fn idempotency_keys_are_per_administrator() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let amy = service.stepped_up_session(user_mut(&mut users, "amy")).await;
    let gus = service.stepped_up_session(user_mut(&mut users, "gus")).await;
    let one = exclude(&service, &ann, "same", &["u-con1"], true).await.ok();
    let two = exclude(&service, &amy, "same", &["u-con1", "u-con2"], true).await.ok();
    assert_eq!(two.body["counts"], json!({"excluded": 1, "included": 0, "unchanged": 1, "refused": 0}));
    let three = exclude(&service, &gus, "same", &["u-con1"], false).await.ok();
    assert_eq!(three.text("/results/0/outcome"), "not_found");
    let batches: BTreeSet<_> = [&one, &two, &three].iter().map(|reply| reply.text("/batch_id")).collect();
    assert_eq!(batches.len(), 3);
    assert!(exclude(&service, &ann, "same", &["u-con1"], false).await.is(409, "idempotency_mismatch"));
    assert_eq!(service.login(&users["con1"]).await.text("/status"), "signed_in");
    let rows = audit(&service, &ann, "u-con1").await;
    assert_eq!(actions(&rows, "exclusion.excluded").len(), 1);
}

/// B07, B08
#[tokio::test]
async fn exclusion_removes_the_factor_and_reinclusion_does_not_restore_it() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let con = user_mut(&mut users, "con1");
    service.enrol(con).await;
    let session = con.session.clone();
    let shown = recovery_token(&service, &session).await;
    let challenge = service.challenge_token(con).await;
    exclude(&service, &ann, "k1", &["u-con1"], true).await.ok();
    service.advance(30);
    let right = totp_code(&con.secret, service.step());
    for attempt in [&right, &shown] {
        assert!(service.verify(&challenge, attempt).await.is(401, "invalid_token"));
    }
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let excluded = service.login(con).await.ok().text("/session/token");
    let step = service.post("/v1/step-up", &excluded, json!({"code": right})).await;
    assert!(!step.status.is_success(), "{step:?}");
    exclude(&service, &ann, "k2", &["u-con1"], false).await.ok();
    assert!(service.get("/v1/session", &excluded).await.is(401, "session_refresh_required"));
    let token = service.enrolment_token(con).await;
    let body = json!({"code": right});
    let reply = service.post("/v1/mfa/enrolments/confirm", &token, body).await;
    assert!(reply.is(409, "conflict"), "the old secret is not pending: {reply:?}");
    service.enrol_with(con, &token, json!({})).await;
    service.advance(60);
    let challenge = service.challenge_token(con).await;
    assert!(service.verify(&challenge, &shown).await.is(401, "invalid_code"));
}

/// B09, X04
#[tokio::test]
async fn excluded_contact_reaches_only_the_portal_for_eight_hours() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    exclude(&service, &ann, "k", &["u-con1"], true).await.ok();
    let session = service.login(&users["con1"]).await.ok().text("/session/token");
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
        let request = TestRequest::new(Method::from_bytes(method.as_bytes()).unwrap(), path).token(&session);
        let reply = service.send(if body.is_null() { request } else { request.json(body) }).await;
        assert!(reply.status == 403 || reply.is(401, "step_up_required"), "{method} {path}: {reply:?}");
    }
    for _ in 0..19 {
        service.advance(1500);
        service.get("/v1/session", &session).await.ok();
    }
    service.advance(300);
    assert!(service.get("/v1/session", &session).await.is(401, "invalid_token"), "eight hours despite use");
}
