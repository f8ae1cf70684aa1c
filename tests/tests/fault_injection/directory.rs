//! Users, settings, clients, tenants and sessions.

use axum::http::Method;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{Reply, TestRequest, TestUsers};

use super::{Harness, assert_can_sign_in, assert_valid_session, enrol_bob_and_ann, exclude, post, under_faults};

#[tokio::test]
async fn password_change_survives_faults() {
    const NEW: &str = "a new password of Bob's";
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        post("/v1/password", &bob.session, json!({"current_password": bob.password, "new_password": NEW}))
    };
    let changed = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(harness.service.login_with(&users["bob"], NEW).await.ok().body["status"], "mfa_required");
        assert!(harness.service.login(&users["bob"]).await.is(401, "invalid_credentials"));
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        assert!(reply.status == 200 || reply.is(401, "session_refresh_required"), "{reply:?}");
        let bob = users.get_mut("bob").unwrap();
        assert!(harness.service.login(bob).await.is(401, "invalid_credentials"));
        bob.password = NEW.to_owned();
        assert_can_sign_in(harness, bob).await;
    };
    under_faults(setup, changed, again).await;
}

/// A user to be created.
fn zoe() -> Value {
    json!({"kind": "employee", "role": "administrator", "auth_type": "local", "username": "zoe", "display_name": "Zoe",
           "password": "zoe and a long tail of words"})
}

async fn assert_zoe_exists_once(harness: &Harness, users: TestUsers) {
    let list = harness.service.get("/v1/admin/users?q=zoe", &users["ann"].session).await.ok();
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    let mut zoe = users["bob"].clone();
    (zoe.username, zoe.password) = ("zoe".to_owned(), "zoe and a long tail of words".to_owned());
    harness.service.enrol(&mut zoe).await;
}

#[tokio::test]
async fn user_creation_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        post("/v1/admin/users", &ann, zoe())
    };
    let created = async |harness: &Harness, users: TestUsers, reply: Reply| {
        reply.ok();
        assert_zoe_exists_once(harness, users).await;
    };
    let again = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 201 || reply.is(409, "conflict"), "{reply:?}");
        assert_zoe_exists_once(harness, users).await;
    };
    under_faults(setup, created, again).await;
}

#[tokio::test]
async fn user_batch_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let (mut bob, mut none) = (zoe(), zoe());
        bob["username"] = json!("bob");
        none["kind"] = json!("contact");
        post("/v1/admin/users/batch", &ann, json!({"users": [bob, zoe(), none]}))
    };
    let outcomes = |reply: Reply| -> Vec<String> {
        let rows = reply.ok().body["results"].as_array().unwrap().clone();
        rows.iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect()
    };
    let created = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_eq!(outcomes(reply), ["exists", "created", "invalid"]);
        assert_zoe_exists_once(harness, users).await;
    };
    // A row whose creation was not confirmed exists at the retry.
    let again = async |harness: &Harness, users: TestUsers, reply: Reply| {
        let outcomes = outcomes(reply);
        assert!(outcomes == ["exists", "created", "invalid"] || outcomes == ["exists", "exists", "invalid"]);
        assert_zoe_exists_once(harness, users).await;
    };
    under_faults(setup, created, again).await;
}

#[tokio::test]
async fn invitation_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let ivy = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "ivy",
                         "display_name": "Ivy", "email": "ivy@acme.example"});
        let id = harness.service.post("/v1/admin/users", &ann, ivy).await.ok().text("/id");
        TestRequest::new(Method::POST, format!("/v1/admin/users/{id}/invitation")).token(&ann)
    };
    let invited = async |_: &Harness, _: TestUsers, reply: Reply| assert_eq!(reply.status, 204, "{reply:?}");
    under_faults(setup, invited, invited).await;
}

#[tokio::test]
async fn promotion_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let change = json!({"role": "administrator", "display_name": "Bobby"});
        TestRequest::new(Method::PATCH, "/v1/admin/users/u-bob").token(&ann).json(change)
    };
    let changed = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_eq!((&reply.body["role"], &reply.body["display_name"]), (&json!("administrator"), &json!("Bobby")));
        let bob = harness.service.get("/v1/admin/users/u-bob", &users["ann"].session).await.ok();
        assert_eq!(bob.body, reply.body);
        let ended = harness.service.get("/v1/session", &users["bob"].session).await;
        assert!(ended.is(401, "session_refresh_required"), "{ended:?}");
    };
    under_faults(setup, changed, changed).await;
}

#[tokio::test]
async fn user_deletion_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        TestRequest::new(Method::DELETE, "/v1/admin/users/u-bob").token(&ann)
    };
    let gone = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        assert_eq!(harness.user_item(&users["bob"]), Value::Null);
        assert!(harness.service.login(&users["bob"]).await.is(401, "invalid_credentials"));
        assert!(harness.service.get("/v1/session", &users["bob"].session).await.is(401, "invalid_token"));
    };
    under_faults(setup, gone, gone).await;
}

#[tokio::test]
async fn settings_change_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        TestRequest::new(Method::PATCH, "/v1/admin/settings").token(&ann).json(json!({"issuer": "Bad Day"}))
    };
    let changed = async |harness: &Harness, users: TestUsers, reply: Reply| {
        reply.ok();
        let now = harness.service.get("/v1/admin/settings", &users["ann"].session).await.ok();
        assert_eq!(now.body["issuer"], "Bad Day");
    };
    under_faults(setup, changed, changed).await;
}

/// A portal's introspection of bob's session.
async fn introspect(harness: &Harness, client: &Reply, token: &str) -> Reply {
    let credential = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
    let basic = format!("Basic {}", BASE64.encode(credential.as_bytes()));
    let request = TestRequest::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
    harness.service.send(request.header("authorization", &basic)).await
}

#[tokio::test]
async fn client_creation_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        post("/v1/admin/clients", &ann, json!({"name": "portal"}))
    };
    let created = async |harness: &Harness, users: TestUsers, reply: Reply| {
        let reply = reply.ok();
        assert_eq!(introspect(harness, &reply, &users["bob"].session).await.ok().body["active"], true);
    };
    under_faults(setup, created, created).await;
}

#[tokio::test]
async fn client_deletion_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let created = harness.service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
        TestRequest::new(Method::DELETE, format!("/v1/admin/clients/{}", created.text("/client_id"))).token(&ann)
    };
    let deleted = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        let list = harness.service.get("/v1/admin/clients", &users["ann"].session).await.ok();
        assert_eq!(list.body["items"], json!([]));
    };
    under_faults(setup, deleted, deleted).await;
}

#[tokio::test]
async fn introspection_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        let client = harness.service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
        harness.service.advance(61); // so that the last use is written too
        let credential = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
        let basic = format!("Basic {}", BASE64.encode(credential.as_bytes()));
        let form = format!("token={}", users["bob"].session);
        TestRequest::new(Method::POST, "/v1/introspect").form(&form).header("authorization", &basic)
    };
    let active = async |_: &Harness, _: TestUsers, reply: Reply| assert_eq!(reply.ok().body["active"], true);
    under_faults(setup, active, active).await;
}

#[tokio::test]
async fn tenant_creation_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let op = harness.service.stepped_up_session(users.get_mut("op").unwrap()).await;
        let first = json!({"username": "una", "password": "una and a long tail of words", "display_name": "Una"});
        post("/v1/support/tenants", &op, json!({"id": "umbra", "name": "Umbra", "administrator": first}))
    };
    let there = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 201 || reply.is(409, "conflict"), "{reply:?}");
        let mut una = users["bob"].clone();
        (una.tenant, una.username) = ("umbra".to_owned(), "una".to_owned());
        "una and a long tail of words".clone_into(&mut una.password);
        harness.service.enrol(&mut una).await;
        harness.service.get("/v1/admin/users", &una.session).await.ok();
    };
    under_faults(setup, there, there).await;
}

#[tokio::test]
async fn session_deletion_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        TestRequest::new(Method::DELETE, "/v1/session").token(&bob.session)
    };
    let over = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(401, "invalid_token"), "{reply:?}");
        assert!(harness.service.get("/v1/session", &users["bob"].session).await.is(401, "invalid_token"));
    };
    under_faults(setup, over, over).await;
}

#[tokio::test]
async fn deletion_of_other_sessions_survives_faults() {
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let bob = users.get_mut("bob").unwrap();
        harness.service.enrol(bob).await;
        let other = bob.session.clone();
        harness.service.sign_in(bob).await;
        harness.service.advance(61); // so that the last use is written too
        let request = TestRequest::new(Method::DELETE, "/v1/sessions").token(&bob.session);
        bob.device = other;
        request
    };
    let over = async |harness: &Harness, users: TestUsers, reply: Reply| {
        reply.ok();
        let bob = &users["bob"];
        assert!(harness.service.get("/v1/session", &bob.device).await.is(401, "invalid_token"));
        assert_valid_session(harness, &bob.session).await;
        assert_eq!(harness.sessions(bob), 1);
    };
    under_faults(setup, over, over).await;
}

#[tokio::test]
async fn lists_are_complete_or_unavailable() {
    for path in ["/v1/admin/users?limit=3", "/v1/admin/audit", "/v1/admin/portal-exclusions", "/v1/sessions"] {
        let setup = async |harness: &Harness, users: &mut TestUsers| {
            let ann = enrol_bob_and_ann(harness, users).await;
            exclude(&ann, &["u-con1"], harness).await;
            TestRequest::new(Method::GET, path).token(&ann)
        };
        let listed = async |_: &Harness, _: TestUsers, reply: Reply| {
            let items = reply.ok().body["items"].as_array().unwrap().len();
            match path {
                "/v1/admin/users?limit=3" => assert_eq!(items, 3),
                "/v1/admin/audit" => assert!(items > 10),
                _ => assert_eq!(items, 1),
            }
        };
        under_faults(setup, listed, listed).await;
    }
}
