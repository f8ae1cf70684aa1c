//! Sign-ins: password, code, recovery token, step-up.

use std::sync::Arc;

use axum::http::Method;
use serde_json::json;
use tests::{Reply, TestRequest, TestUsers, faulty::Fault};

use super::{
    Harness, assert_can_sign_in, assert_challenge_works, assert_done_once, assert_valid_session, begin_enrolment,
    enrol_bob_and_ann, exclude, login, number, post, under_faults,
};

#[tokio::test]
async fn login_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        login(bob)
    };
    under_faults(setup, assert_challenge_works, assert_challenge_works).await;
}

#[tokio::test]
async fn login_from_known_device_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        let body = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
        TestRequest::new(Method::POST, "/v1/login").json(body)
    };
    under_faults(setup, assert_challenge_works, assert_challenge_works).await;
}

#[tokio::test]
async fn wrong_password_is_counted_before_it_is_refused() {
    let setup = async |_: &Harness, users: &mut TestUsers| {
        users.get_mut("bob").unwrap().password.push('x');
        login(&users["bob"])
    };
    let counted = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert!(harness.attempts(&users["bob"]) >= 1);
    };
    under_faults(setup, counted, counted).await;
}

#[tokio::test]
async fn login_without_factor_survives_faults() {
    let setup = async |_: &Harness, users: &mut TestUsers| login(&users["bob"]);
    let opens = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let token = reply.ok().text("/enrolment/token");
        harness.service.enrol_with(users.get_mut("bob").unwrap(), &token, json!({})).await;
    };
    under_faults(setup, opens, opens).await;
}

#[tokio::test]
async fn login_of_excluded_contact_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        exclude(&ann, &["u-con1"], harness).await;
        login(&users["con1"])
    };
    let signed_in = async |harness: &Harness, _: TestUsers, reply: Reply| {
        let session = assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(session.body["session"]["amr"], json!(["pwd"]));
    };
    under_faults(setup, signed_in, signed_in).await;
}

/// A request with a valid code at a challenge of bob.
async fn valid_code_request(harness: &Harness, users: &mut TestUsers) -> TestRequest {
    let bob = users.get_mut("bob").unwrap();
    harness.service.enrol(bob).await;
    let (token, code) = (harness.service.challenge_token(bob).await, harness.service.next_code(bob));
    post("/v1/verify", &token, json!({"code": code}))
}

#[tokio::test]
async fn code_verification_survives_faults() {
    let signed_in = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let bob = users.get_mut("bob").unwrap();
        assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(harness.sessions(bob), 2);
        // The same code at another challenge.
        let (token, code) = (harness.service.challenge_token(bob).await, tests::totp_code(&bob.secret, bob.step));
        assert!(harness.service.verify(&token, &code).await.is(401, "invalid_code"));
        assert_can_sign_in(harness, bob).await;
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let bob = users.get_mut("bob").unwrap();
        assert_done_once(harness, bob, &reply, 2).await;
    };
    under_faults(valid_code_request, signed_in, again).await;
}

/// If the answer cannot be given, no code is spent: everything it contains is read before the code is spent.
#[tokio::test]
async fn unreadable_names_spend_no_code() {
    let harness = Harness::new(|ring| Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    let verify = valid_code_request(&harness, &mut users).await;
    let confirm = begin_enrolment(&harness, users.get_mut("ann").unwrap(), json!({})).await;
    for request in [verify, confirm] {
        harness.script.every("BatchGetItem", Fault::LoseRequest);
        assert!(harness.service.send(request.clone()).await.is(503, "unavailable"));
        assert!(harness.script.sent("TransactWriteItems").is_empty());
        harness.script.fine();
        harness.service.send(request).await.ok();
    }
}

#[tokio::test]
async fn wrong_code_is_counted_before_it_is_refused() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        let token = harness.service.challenge_token(bob).await;
        post("/v1/verify", &token, json!({"code": harness.service.wrong_code(bob)}))
    };
    let counted = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        assert!(reply.is(401, "invalid_code"), "{reply:?}");
        let bob = users.get_mut("bob").unwrap();
        let user = harness.user_item(bob);
        assert!(number(&user["row"]) >= 1 && !user["f"]["M"].as_object().unwrap().is_empty(), "{user}");
        assert_eq!(harness.sessions(bob), 1);
        assert_can_sign_in(harness, bob).await;
    };
    under_faults(setup, counted, counted).await;
}

#[tokio::test]
async fn hundredth_wrong_code_disables_the_factor() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = users.get_mut("ann").unwrap();
        harness.service.enrol(ann).await;
        let token = harness.service.challenge_token(ann).await;
        harness.put(ann, "row", json!({"N": "99"}));
        post("/v1/verify", &token, json!({"code": harness.service.wrong_code(ann)}))
    };
    let closed = async |harness: &Harness, users: TestUsers, _: Reply| {
        let ann = &users["ann"];
        assert_eq!(number(&harness.user_item(ann)["row"]), 100);
        assert!(harness.service.login(ann).await.is(403, "mfa_reset_required"));
        assert_eq!(harness.user_item(ann)["fs"]["S"], "d");
        harness.assert_consistent("a disabled factor");
    };
    let again = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.is(401, "invalid_code") || reply.is(401, "invalid_token"), "{reply:?}");
        closed(harness, users, reply).await;
    };
    under_faults(setup, closed, again).await;
}

#[tokio::test]
async fn login_completes_a_pending_disabling_of_a_factor() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = users.get_mut("ann").unwrap();
        harness.service.enrol(ann).await;
        harness.put(ann, "row", json!({"N": "100"}));
        login(ann)
    };
    let closed = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.is(403, "mfa_reset_required"), "{reply:?}");
        assert_eq!(harness.user_item(&users["ann"])["fs"]["S"], "d");
    };
    under_faults(setup, closed, closed).await;
}

#[tokio::test]
async fn recovery_token_sign_in_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        let created =
            harness.service.send(TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session)).await;
        let token = harness.service.challenge_token(bob).await;
        // The test user's password is not needed after this, so the field stores the recovery token.
        bob.device = created.ok().text("/recovery_token");
        post("/v1/verify", &token, json!({"code": bob.device}))
    };
    let signed_in = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let bob = users.get_mut("bob").unwrap();
        let session = assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(session.body["session"]["amr"], json!(["pwd", "recovery"]));
        assert!(harness.user_item(bob).get("rk").is_none() && harness.sessions(bob) == 2);
        let token = harness.service.challenge_token(bob).await;
        assert!(harness.service.verify(&token, &bob.device).await.is(401, "invalid_code"));
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let bob = users.get_mut("bob").unwrap();
        assert!(harness.user_item(bob).get("rk").is_none());
        assert_done_once(harness, bob, &reply, 2).await;
    };
    under_faults(setup, signed_in, again).await;
}

#[tokio::test]
async fn step_up_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        harness.service.advance(301);
        let code = harness.service.next_code(bob);
        post("/v1/step-up", &bob.session, json!({"code": code}))
    };
    let replaced = async |harness: &Harness, users: TestUsers, reply: Reply| {
        let session = assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert!(session.body["session"]["step_up_until"].is_string());
        assert!(harness.service.get("/v1/session", &users["bob"].session).await.is(401, "invalid_token"));
        assert_eq!(harness.sessions(&users["bob"]), 1);
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let bob = users.get_mut("bob").unwrap();
        assert_done_once(harness, bob, &reply, 1).await;
    };
    under_faults(setup, replaced, again).await;
}
