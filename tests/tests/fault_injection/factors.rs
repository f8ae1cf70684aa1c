//! Enrolments, resets and exclusions.

use axum::http::Method;
use serde_json::json;
use tests::{Reply, TestRequest, TestUser, TestUsers};

use super::{
    Harness, assert_can_sign_in, assert_done_once, assert_valid_session, begin_enrolment, enrol_bob_and_ann, exclusion,
    number, post, under_faults,
};

/// Confirms an enrolment with the token that the user has instead of a session, and signs in.
async fn confirm_and_sign_in(harness: &Harness, user: &mut TestUser, begun: Reply) {
    user.secret = begun.ok().text("/secret");
    let (token, code) = (user.session.clone(), harness.service.next_code(user));
    harness.service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
    assert_can_sign_in(harness, user).await;
}

/// Enrols with the code of a reset, and signs in.
async fn enrol_again_and_sign_in(harness: &Harness, user: &mut TestUser, reset: Reply) {
    let token = harness.service.enrolment_token(user).await;
    harness.service.enrol_with(user, &token, json!({"reset_code": reset.ok().text("/reset_code")})).await;
    assert_can_sign_in(harness, user).await;
}

#[tokio::test]
async fn enrolment_start_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let token = harness.service.enrolment_token(&users["bob"]).await;
        users.get_mut("bob").unwrap().session = token.clone();
        post("/v1/mfa/enrolments", &token, json!({}))
    };
    let started = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        confirm_and_sign_in(harness, users.get_mut("bob").unwrap(), reply).await;
    };
    under_faults(setup, started, started).await;
}

/// The request that confirms a pending enrolment.
#[tokio::test]
async fn enrolment_confirmation_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        begin_enrolment(harness, users.get_mut("ann").unwrap(), json!({})).await
    };
    let enrolled = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let ann = users.get_mut("ann").unwrap();
        assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(harness.sessions(ann), 1);
        assert_can_sign_in(harness, ann).await;
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let ann = users.get_mut("ann").unwrap();
        assert_done_once(harness, ann, &reply, 1).await;
    };
    under_faults(setup, enrolled, again).await;
}

#[tokio::test]
async fn enrolment_start_with_reset_code_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let reset = harness.service.post("/v1/admin/users/u-amy/mfa-reset", &ann, json!({"reason": "r"})).await.ok();
        let amy = users.get_mut("amy").unwrap();
        amy.session = harness.service.enrolment_token(amy).await;
        post("/v1/mfa/enrolments", &amy.session, json!({"reset_code": reset.text("/reset_code")}))
    };
    let started = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        confirm_and_sign_in(harness, users.get_mut("amy").unwrap(), reply).await;
    };
    under_faults(setup, started, started).await;
}

#[tokio::test]
async fn recovery_token_replacement_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session)
    };
    let recovers = async |harness: &Harness, users: TestUsers, reply: Reply| {
        let (code, token) = (reply.ok().text("/recovery_token"), harness.service.challenge_token(&users["bob"]).await);
        harness.service.verify(&token, &code).await.ok();
    };
    under_faults(setup, recovers, recovers).await;
}

#[tokio::test]
async fn admin_reset_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        harness.service.enrol(users.get_mut("amy").unwrap()).await;
        post("/v1/admin/users/u-amy/mfa-reset", &ann, json!({"reason": "r"}))
    };
    let reset = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let amy = users.get_mut("amy").unwrap();
        let ended = harness.service.get("/v1/session", &amy.session).await;
        assert!(ended.is(401, "session_refresh_required"), "{ended:?}");
        enrol_again_and_sign_in(harness, amy, reply).await;
    };
    under_faults(setup, reset, reset).await;
}

#[tokio::test]
async fn support_reset_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.service.enrol(users.get_mut("gus").unwrap()).await;
        let op = harness.service.stepped_up_session(users.get_mut("op").unwrap()).await;
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        post("/v1/support/mfa-resets", &op, body)
    };
    let reset = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        let gus = users.get_mut("gus").unwrap();
        enrol_again_and_sign_in(harness, gus, reply).await;
    };
    let again = async |harness: &Harness, users: TestUsers, reply: Reply| {
        if reply.status == 200 {
            return reset(harness, users, reply).await;
        }
        assert!(reply.is(409, "ticket_used"), "{reply:?}");
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-2", "reason": "r"});
        let next = harness.service.post("/v1/support/mfa-resets", &users["op"].session, body).await;
        reset(harness, users, next).await;
    };
    under_faults(setup, reset, again).await;
}

#[tokio::test]
async fn batch_exclusion_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        exclusion(&ann, &["u-con1", "u-bob", "u-con2", "u-nobody"])
    };
    let excluded = async |harness: &Harness, users: TestUsers, reply: Reply| {
        let outcomes = reply.ok().body["results"].as_array().unwrap().clone();
        let outcomes: Vec<_> = outcomes.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["excluded", "not_a_contact", "excluded", "not_found"]);
        for contact in ["con1", "con2"] {
            let signed_in = harness.service.login(&users[contact]).await.ok();
            assert_eq!(signed_in.body["status"], "signed_in");
            assert_eq!(number(&harness.user_item(&users[contact])["ep"]), 2, "once");
        }
        assert_eq!(harness.service.login(&users["bob"]).await.ok().body["status"], "mfa_required");
    };
    under_faults(setup, excluded, excluded).await;
}
