//! Forgotten passwords and verified addresses.

use axum::http::Method;
use serde_json::json;
use tests::{Reply, TestRequest, TestUsers, browser::Browser, faulty::DENIED};

use super::{Harness, assert_can_sign_in, enrol_bob_and_ann, under_faults};

const NEW: &str = "seven green lamps in the hall";

fn reset_request(username: &str) -> TestRequest {
    TestRequest::new(Method::POST, "/v1/password-resets").json(json!({"tenant": "acme", "username": username}))
}

/// Gives bob an address, and returns the token of a mail that verifies it.
async fn verification_token(harness: &Harness, users: &mut TestUsers) -> String {
    let (service, ann) = (&harness.service, enrol_bob_and_ann(harness, users).await);
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": "bob@acme.example"})).await.ok();
    let request = TestRequest::new(Method::POST, "/v1/email-verifications").token(&users["bob"].session);
    service.send(request).await.ok();
    service.sent_mails().await[0].token()
}

fn verification(token: &str) -> TestRequest {
    TestRequest::new(Method::POST, "/v1/email-verifications/confirm").json(json!({"token": token}))
}

#[tokio::test]
async fn reset_request_survives_faults() {
    let setup = async |_: &Harness, _: &mut TestUsers| reset_request("bob");
    let queued = async |_: &Harness, _: TestUsers, reply: Reply| assert_eq!(reply.status, 202);
    under_faults(setup, queued, queued).await;
}

#[tokio::test]
async fn request_for_a_missing_name_makes_the_same_calls() {
    let harness = Harness::new(|ring| std::sync::Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    let token = verification_token(&harness, &mut users).await;
    assert_eq!(harness.service.send(verification(&token)).await.status, 204);
    let mut calls = Vec::new();
    for name in ["bob", "nobody", "off", "amy"] {
        harness.script.fine();
        harness.service.send(reset_request(name)).await.ok();
        calls.push(harness.script.called());
    }
    assert_eq!(calls[0], ["UpdateItem"], "one call, and none reads a user");
    assert!(calls.iter().all(|call| *call == calls[0]), "{calls:?}");
}

#[tokio::test]
async fn password_reset_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let token = verification_token(harness, users).await;
        harness.service.send(verification(&token)).await.ok();
        harness.service.send(reset_request("bob")).await.ok();
        let token = harness.service.sent_mails().await[0].token();
        let body = json!({"token": token, "new_password": NEW});
        TestRequest::new(Method::POST, "/v1/password-resets/confirm").json(body)
    };
    let set = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(401, "invalid_token"), "{reply:?}");
        let bob = users.get_mut("bob").unwrap();
        assert!(harness.service.login(bob).await.is(401, "invalid_credentials"));
        bob.password = NEW.to_owned();
        assert_can_sign_in(harness, bob).await;
    };
    under_faults(setup, set, set).await;
}

#[tokio::test]
async fn email_verification_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let token = verification_token(harness, users).await;
        verification(&token)
    };
    let verified = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(401, "invalid_token"), "{reply:?}");
        assert_eq!(harness.user_item(&users["bob"])["ev"]["BOOL"], true);
    };
    under_faults(setup, verified, verified).await;
}

#[tokio::test]
async fn page_keeps_the_token_of_a_link_while_the_store_fails() {
    let harness = Harness::new(|ring| std::sync::Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    let token = verification_token(&harness, &mut users).await;
    let mut browser = Browser::new(&harness.service);
    browser.open(&format!("/email/verify?token={token}")).await;
    harness.script.from(0, DENIED);
    let reply = browser.submit("/email/verify", &[]).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    harness.script.fine();
    assert_eq!(browser.submit("/email/verify", &[]).await.location(), "/email/verify?done=true");
}

/// Each call of the worker fails once: the message is delivered again, and one token lives at the end.
#[tokio::test]
async fn worker_survives_faults() {
    let harness = Harness::new(|ring| std::sync::Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    let token = verification_token(&harness, &mut users).await;
    harness.service.send(verification(&token)).await.ok();
    harness.service.send(reset_request("bob")).await.ok();
    let order = harness.service.mails().orders().remove(0);
    let (service, mails) = (&harness.service, harness.service.mails());
    harness.database.vacuum_into(&harness.snapshot()).unwrap();
    harness.script.fine();
    mails.deliver(service.app(), &order).await.unwrap();
    let calls = harness.script.called();
    assert_eq!(calls, ["BatchGetItem", "BatchGetItem", "TransactWriteItems", "UpdateItem"]);
    for call in 0..calls.len() {
        for fault in [tests::faulty::Fault::LoseReply, tests::faulty::Fault::LoseRequest] {
            harness.database.restore_from(&harness.snapshot()).unwrap();
            harness.script.from(call, fault.clone());
            let delivered = mails.deliver(service.app(), &order).await;
            harness.script.fine();
            if delivered.is_err() {
                mails.deliver(service.app(), &order).await.unwrap();
            }
            let what = format!("{fault:?} at {call}");
            harness.assert_consistent(&what);
            let tokens = harness.user_item(&users["bob"])["mt"]["M"].as_object().unwrap().len();
            assert_eq!(tokens, 1, "{what}");
            let last = service.sent_mails().await.last().unwrap().token();
            let body = json!({"token": last, "new_password": NEW});
            let used = service.send(TestRequest::new(Method::POST, "/v1/password-resets/confirm").json(body)).await;
            assert_eq!(used.status, 204, "{what}: the last mail has the token that works");
        }
    }
}
