//! People, settings, clients, tenants and sessions.

use axum::http::Method;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{Ask, People, Reply};

use super::{World, exclude, gets_in, office, on_a_bad_day, post, works};

#[tokio::test]
async fn a_password_is_changed() {
    const NEW: &str = "a new password of Bob's";
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        post("/v1/password", &bob.session, json!({"current_password": bob.password, "new_password": NEW}))
    };
    let changed = async |world: &World, people: People, reply: Reply| {
        works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(world.service.login_with(&people["bob"], NEW).await.ok().body["status"], "mfa_required");
        assert!(world.service.login(&people["bob"]).await.is(401, "invalid_credentials"));
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        assert!(reply.status == 200 || reply.is(401, "session_refresh_required"), "{reply:?}");
        let bob = people.get_mut("bob").unwrap();
        assert!(world.service.login(bob).await.is(401, "invalid_credentials"));
        bob.password = NEW.to_owned();
        gets_in(world, bob).await;
    };
    on_a_bad_day(setup, changed, again).await;
}

#[tokio::test]
async fn somebody_is_created() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        let zoe = json!({"kind": "employee", "role": "administrator", "auth_type": "local", "username": "zoe",
                         "display_name": "Zoe", "password": "zoe and a long tail of words"});
        post("/v1/admin/users", &ann, zoe)
    };
    let there = async |world: &World, people: People| {
        let list = world.service.get("/v1/admin/users?q=zoe", &people["ann"].session).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
        let mut zoe = people["bob"].clone();
        (zoe.username, zoe.password) = ("zoe".to_owned(), "zoe and a long tail of words".to_owned());
        world.service.enrol(&mut zoe).await;
    };
    let created = async |world: &World, people: People, reply: Reply| {
        reply.ok();
        there(world, people).await;
    };
    let again = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 201 || reply.is(409, "conflict"), "{reply:?}");
        there(world, people).await;
    };
    on_a_bad_day(setup, created, again).await;
}

#[tokio::test]
async fn somebody_is_promoted() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        let change = json!({"role": "administrator", "display_name": "Bobby"});
        Ask::new(Method::PATCH, "/v1/admin/users/u-bob").token(&ann).json(change)
    };
    let changed = async |world: &World, people: People, reply: Reply| {
        assert_eq!((&reply.body["role"], &reply.body["display_name"]), (&json!("administrator"), &json!("Bobby")));
        let bob = world.service.get("/v1/admin/users/u-bob", &people["ann"].session).await.ok();
        assert_eq!(bob.body, reply.body);
        let ended = world.service.get("/v1/session", &people["bob"].session).await;
        assert!(ended.is(401, "session_refresh_required"), "{ended:?}");
    };
    on_a_bad_day(setup, changed, changed).await;
}

#[tokio::test]
async fn somebody_is_deleted() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        Ask::new(Method::DELETE, "/v1/admin/users/u-bob").token(&ann)
    };
    let gone = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        assert_eq!(world.user(&people["bob"]), Value::Null);
        assert!(world.service.login(&people["bob"]).await.is(401, "invalid_credentials"));
        assert!(world.service.get("/v1/session", &people["bob"].session).await.is(401, "invalid_token"));
    };
    on_a_bad_day(setup, gone, gone).await;
}

#[tokio::test]
async fn settings_are_changed() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        Ask::new(Method::PATCH, "/v1/admin/settings").token(&ann).json(json!({"issuer": "Bad Day"}))
    };
    let changed = async |world: &World, people: People, reply: Reply| {
        reply.ok();
        let now = world.service.get("/v1/admin/settings", &people["ann"].session).await.ok();
        assert_eq!(now.body["issuer"], "Bad Day");
    };
    on_a_bad_day(setup, changed, changed).await;
}

/// The answer to a portal's question about Bob.
async fn introspected(world: &World, client: &Reply, token: &str) -> Reply {
    let credential = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
    let basic = format!("Basic {}", BASE64.encode(credential.as_bytes()));
    let ask = Ask::new(Method::POST, "/v1/introspect").form(&format!("token={token}"));
    world.service.send(ask.header("authorization", &basic)).await
}

#[tokio::test]
async fn a_client_is_created() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        post("/v1/admin/clients", &ann, json!({"name": "portal"}))
    };
    let created = async |world: &World, people: People, reply: Reply| {
        let reply = reply.ok();
        assert_eq!(introspected(world, &reply, &people["bob"].session).await.ok().body["active"], true);
    };
    on_a_bad_day(setup, created, created).await;
}

#[tokio::test]
async fn a_client_is_deleted() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        let made = world.service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
        Ask::new(Method::DELETE, format!("/v1/admin/clients/{}", made.text("/client_id"))).token(&ann)
    };
    let deleted = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        let list = world.service.get("/v1/admin/clients", &people["ann"].session).await.ok();
        assert_eq!(list.body["items"], json!([]));
    };
    on_a_bad_day(setup, deleted, deleted).await;
}

#[tokio::test]
async fn a_portal_asks_about_a_session() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        let client = world.service.post("/v1/admin/clients", &ann, json!({"name": "portal"})).await.ok();
        world.service.pass(61); // so that the use is noted too
        let credential = format!("{}:{}", client.text("/client_id"), client.text("/client_secret"));
        let basic = format!("Basic {}", BASE64.encode(credential.as_bytes()));
        let form = format!("token={}", people["bob"].session);
        Ask::new(Method::POST, "/v1/introspect").form(&form).header("authorization", &basic)
    };
    let active = async |_: &World, _: People, reply: Reply| assert_eq!(reply.ok().body["active"], true);
    on_a_bad_day(setup, active, active).await;
}

#[tokio::test]
async fn a_tenant_is_created() {
    let setup = async |world: &World, people: &mut People| {
        let op = world.service.fresh(people.get_mut("op").unwrap()).await;
        let first = json!({"username": "una", "password": "una and a long tail of words", "display_name": "Una"});
        post("/v1/support/tenants", &op, json!({"id": "umbra", "name": "Umbra", "administrator": first}))
    };
    let there = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 201 || reply.is(409, "conflict"), "{reply:?}");
        let mut una = people["bob"].clone();
        (una.tenant, una.username) = ("umbra".to_owned(), "una".to_owned());
        "una and a long tail of words".clone_into(&mut una.password);
        world.service.enrol(&mut una).await;
        world.service.get("/v1/admin/users", &una.session).await.ok();
    };
    on_a_bad_day(setup, there, there).await;
}

#[tokio::test]
async fn a_session_ends() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        Ask::new(Method::DELETE, "/v1/session").token(&bob.session)
    };
    let over = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 204 || reply.is(401, "invalid_token"), "{reply:?}");
        assert!(world.service.get("/v1/session", &people["bob"].session).await.is(401, "invalid_token"));
    };
    on_a_bad_day(setup, over, over).await;
}

#[tokio::test]
async fn all_other_sessions_end() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        let other = bob.session.clone();
        world.service.sign_in(bob).await;
        world.service.pass(61); // so that the use is noted too
        let ask = Ask::new(Method::DELETE, "/v1/sessions").token(&bob.session);
        bob.device = other;
        ask
    };
    let over = async |world: &World, people: People, reply: Reply| {
        reply.ok();
        let bob = &people["bob"];
        assert!(world.service.get("/v1/session", &bob.device).await.is(401, "invalid_token"));
        works(world, &bob.session).await;
        assert_eq!(world.sessions(bob), 1);
    };
    on_a_bad_day(setup, over, over).await;
}

#[tokio::test]
async fn lists_are_whole_or_unavailable() {
    for path in ["/v1/admin/users?limit=3", "/v1/admin/audit", "/v1/admin/portal-exclusions", "/v1/sessions"] {
        let setup = async |world: &World, people: &mut People| {
            let ann = office(world, people).await;
            exclude(&ann, &["u-con1"], world).await;
            Ask::new(Method::GET, path).token(&ann)
        };
        let listed = async |_: &World, _: People, reply: Reply| {
            let items = reply.ok().body["items"].as_array().unwrap().len();
            match path {
                "/v1/admin/users?limit=3" => assert_eq!(items, 3),
                "/v1/admin/audit" => assert!(items > 10),
                _ => assert_eq!(items, 1),
            }
        };
        on_a_bad_day(setup, listed, listed).await;
    }
}
