//! Enrolments, resets and exclusions.

use axum::http::Method;
use serde_json::json;
use tests::{Ask, People, Person, Reply};

use super::{World, exclusion, gets_in, not_twice, number, office, on_a_bad_day, pending, post, works};

/// Whoever has begun to enrol, with the token that they keep for a session, ends it and gets in.
async fn confirms(world: &World, person: &mut Person, begun: Reply) {
    person.secret = begun.ok().text("/secret");
    let (token, code) = (person.session.clone(), world.service.code(person));
    world.service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
    gets_in(world, person).await;
}

/// Whoever was reset enrols with the code of it, and gets in.
async fn enrols_anew(world: &World, person: &mut Person, reset: Reply) {
    let token = world.service.enrolment(person).await;
    world.service.enrol_with(person, &token, json!({"reset_code": reset.ok().text("/reset_code")})).await;
    gets_in(world, person).await;
}

#[tokio::test]
async fn an_enrolment_starts() {
    let setup = async |world: &World, people: &mut People| {
        let token = world.service.enrolment(&people["bob"]).await;
        people.get_mut("bob").unwrap().session = token.clone();
        post("/v1/mfa/enrolments", &token, json!({}))
    };
    let started = async |world: &World, mut people: People, reply: Reply| {
        confirms(world, people.get_mut("bob").unwrap(), reply).await;
    };
    on_a_bad_day(setup, started, started).await;
}

/// Somebody with a pending enrolment, and the code that confirms it.
#[tokio::test]
async fn an_enrolment_is_confirmed_once() {
    let setup =
        async |world: &World, people: &mut People| pending(world, people.get_mut("ann").unwrap(), json!({})).await;
    let enrolled = async |world: &World, mut people: People, reply: Reply| {
        let ann = people.get_mut("ann").unwrap();
        works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(world.sessions(ann), 1);
        gets_in(world, ann).await;
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let ann = people.get_mut("ann").unwrap();
        not_twice(world, ann, &reply, 1).await;
    };
    on_a_bad_day(setup, enrolled, again).await;
}

#[tokio::test]
async fn an_enrolment_starts_with_a_reset_code() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        let reset = world.service.post("/v1/admin/users/u-amy/mfa-reset", &ann, json!({"reason": "r"})).await.ok();
        let amy = people.get_mut("amy").unwrap();
        amy.session = world.service.enrolment(amy).await;
        post("/v1/mfa/enrolments", &amy.session, json!({"reset_code": reset.text("/reset_code")}))
    };
    let started = async |world: &World, mut people: People, reply: Reply| {
        confirms(world, people.get_mut("amy").unwrap(), reply).await;
    };
    on_a_bad_day(setup, started, started).await;
}

#[tokio::test]
async fn a_recovery_token_is_replaced() {
    let setup = async |world: &World, people: &mut People| {
        let bob = people.get_mut("bob").unwrap();
        world.service.enrol(bob).await;
        Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session)
    };
    let recovers = async |world: &World, people: People, reply: Reply| {
        let (code, token) = (reply.ok().text("/recovery_token"), world.service.challenge(&people["bob"]).await);
        world.service.verify(&token, &code).await.ok();
    };
    on_a_bad_day(setup, recovers, recovers).await;
}

#[tokio::test]
async fn an_administrator_resets() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        world.service.enrol(people.get_mut("amy").unwrap()).await;
        post("/v1/admin/users/u-amy/mfa-reset", &ann, json!({"reason": "r"}))
    };
    let reset = async |world: &World, mut people: People, reply: Reply| {
        let amy = people.get_mut("amy").unwrap();
        let ended = world.service.get("/v1/session", &amy.session).await;
        assert!(ended.is(401, "session_refresh_required"), "{ended:?}");
        enrols_anew(world, amy, reply).await;
    };
    on_a_bad_day(setup, reset, reset).await;
}

#[tokio::test]
async fn support_resets_for_a_ticket_that_works_once() {
    let setup = async |world: &World, people: &mut People| {
        world.service.enrol(people.get_mut("gus").unwrap()).await;
        let op = world.service.fresh(people.get_mut("op").unwrap()).await;
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
        post("/v1/support/mfa-resets", &op, body)
    };
    let reset = async |world: &World, mut people: People, reply: Reply| {
        let gus = people.get_mut("gus").unwrap();
        enrols_anew(world, gus, reply).await;
    };
    let again = async |world: &World, people: People, reply: Reply| {
        if reply.status == 200 {
            return reset(world, people, reply).await;
        }
        assert!(reply.is(409, "ticket_used"), "{reply:?}");
        let body = json!({"tenant": "globex", "username": "gus", "ticket": "T-2", "reason": "r"});
        let next = world.service.post("/v1/support/mfa-resets", &people["op"].session, body).await;
        reset(world, people, next).await;
    };
    on_a_bad_day(setup, reset, again).await;
}

#[tokio::test]
async fn a_batch_excludes_each_once() {
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        exclusion(&ann, &["u-con1", "u-bob", "u-con2", "u-nobody"])
    };
    let excluded = async |world: &World, people: People, reply: Reply| {
        let outcomes = reply.ok().body["results"].as_array().unwrap().clone();
        let outcomes: Vec<_> = outcomes.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["excluded", "not_a_contact", "excluded", "not_found"]);
        for contact in ["con1", "con2"] {
            let signed_in = world.service.login(&people[contact]).await.ok();
            assert_eq!(signed_in.body["status"], "signed_in");
            assert_eq!(number(&world.user(&people[contact])["ep"]), 2, "once");
        }
        assert_eq!(world.service.login(&people["bob"]).await.ok().body["status"], "mfa_required");
    };
    on_a_bad_day(setup, excluded, excluded).await;
}
