//! Section X: sessions, requests and answers of all operations.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{
    document::DOCUMENT,
    {Service, totp_code, user_mut},
};

use super::{create, raw, reset};

/// X04
#[tokio::test]
async fn session_ends_after_twelve_hours_despite_use_and_step_ups() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    for _ in 0..28 {
        service.advance(1500);
        service.get("/v1/session", &bob.session).await.ok();
        service.stepped_up_session(bob).await;
    }
    let ends = service.get("/v1/session", &bob.session).await.ok().text("/session/expires_at");
    let ends = vestibule::env::Timestamp::parse(&ends).unwrap().secs();
    assert_eq!(ends, tests::BEGIN.secs() + 12 * 3600);
    service.advance(u64::try_from(ends - service.now() - 1).unwrap());
    service.get("/v1/session", &bob.session).await.ok();
    service.advance(1);
    assert!(service.get("/v1/session", &bob.session).await.is(401, "invalid_token"));
}

/// X05
#[tokio::test]
async fn cross_origin_page_cannot_send_authenticated_requests() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
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
    for reply in [elsewhere, service.login(&users["bob"]).await] {
        assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{reply:?}");
    }
}

/// X06, X07
#[tokio::test]
async fn errors_reveal_only_their_code() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
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
        ("GET", "//v1/session", vec![], vec![]),
        ("GET", "/V1/session", vec![], vec![]),
        ("GET", "/v1/session/", vec![], vec![]),
    ];
    for (method, path, headers, body) in probes {
        let what = format!("{method} {path} {headers:?}");
        let reply = raw(&service, method, path, &headers, body).await;
        assert!([400, 404].contains(&reply.status.as_u16()), "{what}: {reply:?}");
        let outcome = reply.body.to_string().to_lowercase();
        for word in ["serde", "expected", "line ", "column", "sled", "dynamo", "panick", ".rs", "rust", "axum"] {
            assert!(!outcome.contains(word), "{what}: {outcome}");
        }
    }
    service.get("/v1/session", &ann).await.ok();
}

/// X09
#[tokio::test]
async fn undefined_methods_have_no_effect() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
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
async fn no_operation_issues_more_than_its_own_kind_of_token() {
    let (service, mut users) = Service::with_users().await;
    let none = Value::Null;
    let states = [
        // A change of a user with a factor, whether the factor is reset, and the answer to the password afterwards.
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
        let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
        let mut user = create(&service, &ann, "acme", &format!("s{n}"), "a good long password").await;
        service.enrol(&mut user).await;
        let old = user.session.clone();
        if is_reset {
            reset(&service, &ann, &user.id).await.ok();
        }
        if !change.is_null() {
            service.patch(&format!("/v1/admin/users/{}", user.id), &ann, change.clone()).await.ok();
        }
        let reply = service.login(&user).await;
        let outcome = if reply.status == 200 { reply.text("/status") } else { reply.code().to_owned() };
        assert_eq!(outcome, expected, "{change} {is_reset}");
        assert!(reply.body.get("session").is_none() && reply.body.get("user").is_none());
        assert!(!reply.body.to_string().contains("vs_"));
        if !change.is_null() && change.get("display_name").is_none() || is_reset {
            assert_eq!(service.get("/v1/session", &old).await.status, 401);
        }
    }
}

/// X16, V18, R10
#[tokio::test]
async fn cancelled_request_is_done_completely_or_not_at_all() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let (mut done, mut undone) = (0, 0);
    for polls in 0..64 {
        let challenge = service.challenge_token(bob).await;
        let code = service.next_code(bob);
        let before = sessions(&service, &bob.session).await;
        let finished = cancel_after(polls, service.verify(&challenge, &code)).await;
        // The request may be completed after the cancellation; the next answer shows which.
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
        // End the other sessions, so that the limit of ten does not end the one in use.
        assert_eq!(service.delete("/v1/sessions", &bob.session).await.status, 204);
        service.advance(60);
    }
    assert!(done > 0 && undone > 0, "{done} done, {undone} undone");
    // An attempt is charged before the answer, so cancelling requests gives no additional attempts.
    service.advance(900);
    for _ in 0..2 {
        let challenge = service.challenge_token(bob).await;
        for _ in 0..5 {
            cancel_after(3, service.verify(&challenge, &service.wrong_code(bob))).await;
        }
    }
    let challenge = service.challenge_token(bob).await;
    assert!(service.verify(&challenge, &totp_code(&bob.secret, service.step())).await.is(429, "too_many_attempts"));
}

#[tokio::test]
async fn session_that_has_ended_cannot_be_ended_again() {
    let (service, mut users) = Service::with_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let first = service.get("/v1/sessions", &bob.session).await.ok().text("/items/0/id");
    service.advance(1200);
    service.sign_in(bob).await;
    assert_eq!(sessions(&service, &bob.session).await, 2);
    service.advance(700);
    // Half an hour without use has ended the first one.
    for id in [&*first, "s-none"] {
        let reply = service.delete(&format!("/v1/sessions/{id}"), &bob.session).await;
        assert!(reply.is(404, "not_found"), "{id}: {reply:?}");
    }
}

async fn sessions(service: &Service, session: &str) -> usize {
    service.get("/v1/sessions", session).await.ok().body["items"].as_array().unwrap().len()
}

/// Polls a future at most this many times, then drops it, as when a client disconnects.
async fn cancel_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
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
