//! Sign-ins: password, code, recovery token, step-up.

use std::sync::Arc;

use axum::http::Method;
use serde_json::json;
use tests::{Ask, People, Reply, faulty::Fault};

use super::{
    World, challenge_works, exclude, gets_in, login, not_twice, number, office, on_a_bad_day, pending, post, works,
};

#[tokio::test]
async fn a_login_opens_a_challenge() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        login(bob)
    };
    on_a_bad_day(setup, challenge_works, challenge_works).await;
}

#[tokio::test]
async fn a_login_from_a_known_device_opens_a_challenge() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        let body = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": bob.device});
        Ask::new(Method::POST, "/v1/login").json(body)
    };
    on_a_bad_day(setup, challenge_works, challenge_works).await;
}

#[tokio::test]
async fn a_wrong_password_is_counted_before_it_is_denied() {
    let setup = async |_: &World, people: &mut People| {
        people.get_mut("bob").unwrap().password.push('x');
        login(&people["bob"])
    };
    let counted = async |world: &World, people: People, reply: Reply| {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert!(world.attempts(&people["bob"]) >= 1);
    };
    on_a_bad_day(setup, counted, counted).await;
}

#[tokio::test]
async fn a_login_opens_an_enrolment() {
    let setup = async |_: &World, people: &mut People| login(&people["bob"]);
    let opens = async |world: &World, mut people: People, reply: Reply| {
        let token = reply.ok().text("/enrolment/token");
        world.service.enrol_with(people.get_mut("bob").unwrap(), &token, json!({})).await;
    };
    on_a_bad_day(setup, opens, opens).await;
}

#[tokio::test]
async fn an_excluded_contact_signs_in() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        exclude(&ann, &["u-con1"], world).await;
        login(&people["con1"])
    };
    let signed_in = async |world: &World, _: People, reply: Reply| {
        let session = works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(session.body["session"]["amr"], json!(["pwd"]));
    };
    on_a_bad_day(setup, signed_in, signed_in).await;
}

/// Bob at a challenge, with a code that is right.
async fn right_code(world: &World, people: &mut People) -> Ask {
    let bob = people.get_mut("bob").unwrap();
    world.service.enrol(bob).await;
    let (token, code) = (world.service.challenge(bob).await, world.service.code(bob));
    post("/v1/verify", &token, json!({"code": code}))
}

#[tokio::test]
async fn a_code_signs_in_once() {
    let signed_in = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(world.sessions(bob), 2);
        // The same code at another challenge.
        let (token, code) = (world.service.challenge(bob).await, tests::code(&bob.secret, bob.step));
        assert!(world.service.verify(&token, &code).await.is(401, "invalid_code"));
        gets_in(world, bob).await;
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        not_twice(world, bob, &reply, 2).await;
    };
    on_a_bad_day(right_code, signed_in, again).await;
}

/// An answer that cannot be given costs no code: all that it says is read before the code is spent.
#[tokio::test]
async fn no_code_is_spent_where_the_names_cannot_be_read() {
    let world = World::new(|ring| Arc::new(ring)).await;
    let mut people = world.service.populate().await;
    let verify = right_code(&world, &mut people).await;
    let confirm = pending(&world, people.get_mut("ann").unwrap(), json!({})).await;
    for ask in [verify, confirm] {
        world.script.every("BatchGetItem", Fault::LoseRequest);
        assert!(world.service.send(ask.clone()).await.is(503, "unavailable"));
        assert!(world.script.sent("TransactWriteItems").is_empty());
        world.script.fine();
        world.service.send(ask).await.ok();
    }
}

#[tokio::test]
async fn a_wrong_code_is_counted_before_it_is_denied() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        let token = world.service.challenge(bob).await;
        post("/v1/verify", &token, json!({"code": world.service.wrong(bob)}))
    };
    let counted = async |world: &World, mut people: People, reply: Reply| {
        assert!(reply.is(401, "invalid_code"), "{reply:?}");
        let bob = people.get_mut("bob").unwrap();
        let user = world.user(bob);
        assert!(number(&user["row"]) >= 1 && !user["f"]["M"].as_object().unwrap().is_empty(), "{user}");
        assert_eq!(world.sessions(bob), 1);
        gets_in(world, bob).await;
    };
    on_a_bad_day(setup, counted, counted).await;
}

#[tokio::test]
async fn the_hundredth_wrong_code_disables_the_factor() {
    let setup = async |world: &World, people: &mut People| {
        let ann = people.get_mut("ann").unwrap();
        world.service.enrol(ann).await;
        let token = world.service.challenge(ann).await;
        world.put(ann, "row", json!({"N": "99"}));
        post("/v1/verify", &token, json!({"code": world.service.wrong(ann)}))
    };
    let closed = async |world: &World, people: People, _: Reply| {
        let ann = &people["ann"];
        assert_eq!(number(&world.user(ann)["row"]), 100);
        assert!(world.service.login(ann).await.is(403, "mfa_reset_required"));
        assert_eq!(world.user(ann)["fs"]["S"], "d");
        world.sound("a disabled factor");
    };
    let again = async |world: &World, people: People, reply: Reply| {
        assert!(reply.is(401, "invalid_code") || reply.is(401, "invalid_token"), "{reply:?}");
        closed(world, people, reply).await;
    };
    on_a_bad_day(setup, closed, again).await;
}

#[tokio::test]
async fn a_login_finishes_what_disables_a_factor() {
    let setup = async |world: &World, people: &mut People| {
        let ann = people.get_mut("ann").unwrap();
        world.service.enrol(ann).await;
        world.put(ann, "row", json!({"N": "100"}));
        login(ann)
    };
    let closed = async |world: &World, people: People, reply: Reply| {
        assert!(reply.is(403, "mfa_reset_required"), "{reply:?}");
        assert_eq!(world.user(&people["ann"])["fs"]["S"], "d");
    };
    on_a_bad_day(setup, closed, closed).await;
}

#[tokio::test]
async fn a_recovery_token_signs_in_once() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        let made = world.service.send(Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session)).await;
        let token = world.service.challenge(bob).await;
        // What Bob knows as his password from here on is beside the point: it is kept for the recovery token.
        bob.device = made.ok().text("/recovery_token");
        post("/v1/verify", &token, json!({"code": bob.device}))
    };
    let signed_in = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        let session = works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(session.body["session"]["amr"], json!(["pwd", "recovery"]));
        assert!(world.user(bob).get("rk").is_none() && world.sessions(bob) == 2);
        let token = world.service.challenge(bob).await;
        assert!(world.service.verify(&token, &bob.device).await.is(401, "invalid_code"));
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        assert!(world.user(bob).get("rk").is_none());
        not_twice(world, bob, &reply, 2).await;
    };
    on_a_bad_day(setup, signed_in, again).await;
}

#[tokio::test]
async fn a_step_up_replaces_its_session() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        world.service.pass(301);
        let code = world.service.code(bob);
        post("/v1/step-up", &bob.session, json!({"code": code}))
    };
    let replaced = async |world: &World, people: People, reply: Reply| {
        let session = works(world, &reply.ok().text("/session/token")).await;
        assert!(session.body["session"]["step_up_until"].is_string());
        assert!(world.service.get("/v1/session", &people["bob"].session).await.is(401, "invalid_token"));
        assert_eq!(world.sessions(&people["bob"]), 1);
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        not_twice(world, bob, &reply, 1).await;
    };
    on_a_bad_day(setup, replaced, again).await;
}
