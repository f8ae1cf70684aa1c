//! The whole service over DynamoDB on a bad day. Each flow runs once as a rehearsal, to count what it asks of the store; then
//! again and again from the same state, and each time another one of these requests meets a fault.
//!
//! - One fault that passes (a reply lost after the commit, an error of the server, throttling, a conflict) changes nothing:
//!   the same answer as without it.
//! - From one request on the store is gone for good, or one operation is forbidden: the answer is
//!   503 with `Retry-After`, or the one success, and then it is durable. Never a denial, never a session, never less than MFA.
//! - Whatever was answered, the state is whole, and a repeat works or says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use axum::http::Method;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use tests::{
    Ask, People, Person, Reply, Service,
    emulator::{self, Database},
    faulty::{BROKEN, DENIED, Fault, Script, THROTTLED},
    idp::{Asked, Idp, asked, form},
    log::Log,
};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt};
use vestibule::{
    env::{Clock, Entropy, SystemEntropy},
    secret::{FactorRef, KeyRing, SealError, SealedSecret, Sealer, TotpSecret},
};

/// A service over DynamoDB, and ways behind its back.
struct World {
    service: Service,
    script: Script,
    database: Database,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(sealer: impl FnOnce(KeyRing) -> Arc<dyn Sealer>) -> Self {
        let (script, database) = (Script::default(), Database::memory().unwrap());
        let table = emulator::table_in(database.clone(), |inner| script.between(inner)).await.patient();
        let keys = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap().keys;
        let service = Service::sealed_by(sealer(keys.ring), Arc::new(table), keys.names, keys.codes);
        Self { service, script, database, folder: tempfile::tempdir().unwrap() }
    }

    fn snapshot(&self) -> String {
        self.folder.path().join("snapshot").to_str().unwrap().to_owned()
    }

    /// All that is stored.
    fn items(&self) -> Vec<Value> {
        let scan = serde_json::from_value(json!({"TableName": "vestibule"})).unwrap();
        let found = serde_json::to_value(self.database.scan(scan).unwrap()).unwrap();
        assert!(found.get("LastEvaluatedKey").is_none());
        found["Items"].as_array().unwrap().clone()
    }

    /// Somebody's item; null when there is none.
    fn user(&self, person: &Person) -> Value {
        let key = format!("T#{}#U#{}", person.tenant, person.id);
        self.items().into_iter().find(|item| item["PK"]["S"] == key && item["SK"]["S"] == "U").unwrap_or_default()
    }

    fn sessions(&self, person: &Person) -> usize {
        self.user(person)["s"]["M"].as_object().unwrap().len()
    }

    /// Their login name's count of tries.
    fn tries(&self, person: &Person) -> i64 {
        let items = self.items();
        let row = items.iter().find(|item| item["SK"]["S"] == "L" && item["uid"]["S"] == person.id.as_str());
        number(&row.unwrap()["n"])
    }

    /// Puts a value into somebody's item, behind everybody's back.
    fn put(&self, person: &Person, name: &str, value: Value) {
        let update = json!({
            "TableName": "vestibule",
            "Key": {"PK": {"S": format!("T#{}#U#{}", person.tenant, person.id)}, "SK": {"S": "U"}},
            "UpdateExpression": "SET #name = :value",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": value},
        });
        self.database.update_item(serde_json::from_value(update).unwrap()).unwrap();
    }

    /// What holds in every state.
    fn sound(&self, after: &str) {
        let items = self.items();
        let rows: Vec<_> = items.iter().map(|item| item["SK"]["S"].as_str().unwrap()).collect();
        for user in items.iter().filter(|item| item["SK"]["S"] == "U") {
            let pk = user["PK"]["S"].as_str().unwrap();
            let (tenant, id) = pk[2..].split_once("#U#").unwrap();
            let of = |pk: String, sk: &str| items.iter().find(|item| item["PK"]["S"] == pk && item["SK"]["S"] == sk);
            let excluded = user.get("ex").is_some();
            assert!(!excluded || user["k"]["S"] == "c", "{after}: an excluded employee: {id}");
            assert_eq!(excluded, of(pk.to_owned(), "X").is_some(), "{after}: the list of the excluded: {id}");
            for session in user["s"]["M"].as_object().unwrap().values() {
                let session = &session["M"];
                // No session that nothing paid for: its sign-in's row was written with it.
                let attempt = BASE64.decode(session["a"]["B"].as_str().unwrap().as_bytes()).unwrap();
                let row = format!("{:013}#{}-0", number(&session["c"]), BASE64URL_NOPAD.encode(&attempt));
                assert!(rows.contains(&row.as_str()), "{after}: a session of {id} without its row");
                let living = session["e"] == user["ep"];
                assert!(!living || session["m"]["N"] != "1" || excluded, "{after}: by password alone: {id}");
            }
            // The three items of a person go together, and the count of Administrators with them.
            assert!(of(pk.to_owned(), "P").is_some(), "{after}: {id} without names");
            let login = items.iter().find(|item| {
                item["SK"]["S"] == "L" && item["uid"]["S"] == id && item["PK"]["S"].as_str().unwrap().contains(tenant)
            });
            assert_eq!(login.unwrap()["pv"], user["pv"], "{after}: {id}'s password");
            let administrators = of(format!("T#{tenant}"), "ADMINS").unwrap();
            let listed = |map: &str| administrators[map]["M"].get(id).is_some();
            let active = ["a", "o"].contains(&user["r"]["S"].as_str().unwrap()) && user["ac"]["BOOL"] == true;
            assert_eq!(listed("act"), active, "{after}: {id} among the Administrators");
            assert_eq!(listed("able"), active && user["fs"]["S"] == "a", "{after}: {id} among those with a factor");
        }
        for row in items.iter().filter(|item| item["SK"]["S"] == "ADMINS") {
            let idp = items.iter().any(|item| item["PK"] == row["PK"] && item["SK"]["S"] == "IDP");
            assert_eq!(row["idp"]["BOOL"] == true, idp, "{after}: the IdP is counted");
            let local = row["act"]["M"].as_object().unwrap().values().any(|local| local["BOOL"] == true);
            assert!(idp || local, "{after}: no Administrator can sign in");
        }
        // Each name of the IdP's is of the one person who says so.
        let called = items.iter().filter(|item| item["SK"]["S"] == "P").filter_map(|names| {
            let (tenant, id) = names["PK"]["S"].as_str().unwrap().split_once("#U#").unwrap();
            Some((format!("{tenant}#N#{}", names.get("sj")?["S"].as_str().unwrap()), id.to_owned()))
        });
        let of = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let links = items.iter().filter(|item| item["SK"]["S"] == "N").map(|link| (of(link, "PK"), of(link, "uid")));
        assert_eq!(links.collect::<BTreeSet<_>>(), called.collect(), "{after}: names of the IdP's");
        let orphans = items.iter().filter(|item| item["SK"]["S"] == "L" && item.get("uid").is_some());
        let people = items.iter().filter(|item| item["SK"]["S"] == "U");
        assert_eq!(orphans.count(), people.count(), "{after}: names without people");
    }
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().unwrap().parse().unwrap()
}

/// What an answer says, besides secrets and times.
fn says(reply: &Reply) -> (u16, String, Value) {
    (reply.status.as_u16(), reply.code().to_owned(), reply.body["status"].clone())
}

/// Runs a flow, which is one request, under every fault at every request that it makes of the store. `setup` brings it about
/// and gives the request, `held` looks whether what the answer says is true and durable, and `again` at the answer to a repeat
/// after a 503.
async fn on_a_bad_day(
    setup: impl AsyncFn(&World, &mut People) -> Ask,
    held: impl AsyncFn(&World, People, Reply),
    again: impl AsyncFn(&World, People, Reply),
) {
    let world = World::new(|ring| Arc::new(ring)).await;
    let mut people = world.service.populate().await;
    let ask = setup(&world, &mut people).await;
    world.database.vacuum_into(&world.snapshot()).unwrap();
    let began = world.service.clock().now().millis();
    let rewind = || {
        world.database.restore_from(&world.snapshot()).unwrap();
        world.service.clock().shift_millis(began - world.service.clock().now().millis());
    };
    world.script.fine();
    let fine = world.service.send(ask.clone()).await;
    let (calls, said) = (world.script.called(), says(&fine));
    assert!(!calls.is_empty() && fine.status != 503, "{fine:?}");
    world.sound("a fine day");
    held(&world, people.clone(), fine).await;
    for (call, operation) in calls.iter().enumerate() {
        // An unknown outcome, done and not; and twice in a row it is known that nothing was done.
        for (faults, done) in
            [(vec![Fault::LoseReply], true), (vec![BROKEN], false), (vec![THROTTLED, Fault::Conflict], false)]
        {
            if !done && reads(operation) && faults.len() == 1 {
                continue; // a read that is not answered is one fault, whatever became of it
            }
            rewind();
            let what = format!("{faults:?} at {operation} {call} of {calls:?}");
            world.script.at(call, faults);
            let reply = world.service.send(ask.clone()).await;
            world.script.fine();
            assert_eq!(says(&reply), said, "{what}: {reply:?}");
            world.sound(&what);
            if done {
                held(&world, people.clone(), reply).await;
            }
        }
    }
    let from = calls.iter().enumerate().flat_map(|(call, operation)| {
        let lost = if reads(operation) { vec![Fault::LoseRequest] } else { vec![Fault::LoseReply, Fault::LoseRequest] };
        lost.into_iter().map(move |fault| Lasting::From(call, operation.as_str(), fault))
    });
    let operations: BTreeSet<_> = calls.iter().map(String::as_str).collect();
    for fault in from.chain(operations.into_iter().map(Lasting::Denied)) {
        rewind();
        match &fault {
            Lasting::From(call, _, fault) => world.script.from(*call, fault.clone()),
            Lasting::Denied(operation) => world.script.every(operation, DENIED),
        }
        let reply = world.service.send(ask.clone()).await;
        world.script.fine();
        let what = format!("{fault:?} of {calls:?}");
        world.sound(&what);
        if says(&reply) == said {
            held(&world, people.clone(), reply).await;
            continue;
        }
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{what}: {reply:?}");
        let repeated = world.service.send(ask.clone()).await;
        world.sound(&format!("a repeat after {what}"));
        assert_ne!(repeated.status, 503, "{what}: {repeated:?}");
        again(&world, people.clone(), repeated).await;
    }
}

fn reads(operation: &str) -> bool {
    matches!(operation, "BatchGetItem" | "Query")
}

/// What does not pass before the answer.
#[allow(dead_code, reason = "shown when a test fails")]
#[derive(Debug)]
enum Lasting<'a> {
    /// From this call on.
    From(usize, &'a str, Fault),
    /// All calls of one operation: the role may not.
    Denied(&'a str),
}

fn login(person: &Person) -> Ask {
    let body = json!({"tenant": person.tenant, "username": person.username, "password": person.password});
    Ask::new(Method::POST, "/v1/login").json(body)
}

fn post(path: &str, token: &str, body: Value) -> Ask {
    Ask::new(Method::POST, path).token(token).json(body)
}

/// A session token that works, and whose it is.
async fn works(world: &World, token: &str) -> Reply {
    world.service.get("/v1/session", token).await.ok()
}

/// Ann as an Administrator with a fresh step-up, and Bob with a factor.
async fn office(world: &World, people: &mut People) -> String {
    world.service.enrol(people.get_mut("bob").unwrap()).await;
    world.service.fresh(people.get_mut("ann").unwrap()).await
}

/// L1: right password and next fresh code get in.
async fn gets_in(world: &World, person: &mut Person) {
    world.service.sign_in(person).await;
    works(world, &person.session).await;
}

async fn challenge_works(world: &World, mut people: People, reply: Reply) {
    let (token, bob) = (reply.ok().text("/challenge/token"), people.get_mut("bob").unwrap());
    let code = world.service.code(bob);
    // Where the reply to what clears it was lost, the count stands until the next success: a delay that comes one try early.
    assert!(world.tries(bob) <= 1);
    world.service.post("/v1/verify", &token, json!({"code": code})).await.ok();
}

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
        assert!(world.tries(&people["bob"]) >= 1);
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

async fn exclude(ann: &str, contacts: &[&str], world: &World) {
    let reply = world.service.send(exclusion(ann, contacts)).await.ok();
    assert_eq!(reply.body["status"], "completed");
}

fn exclusion(ann: &str, contacts: &[&str]) -> Ask {
    let body = json!({"contact_ids": contacts, "disable_mfa": true, "reason": "r"});
    post("/v1/admin/portal-exclusions", ann, body).header("Idempotency-Key", "bad-day")
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
        assert!(world.service.post("/v1/verify", &token, json!({"code": code})).await.is(401, "invalid_code"));
        gets_in(world, bob).await;
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        // Signed in now, or then by an answer that nobody heard.
        assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
        assert_eq!(world.sessions(bob), 2);
        gets_in(world, bob).await;
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
        assert!(world.service.post("/v1/verify", &token, json!({"code": bob.device})).await.is(401, "invalid_code"));
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
        assert!(world.user(bob).get("rk").is_none() && world.sessions(bob) == 2);
        gets_in(world, bob).await;
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
        assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
        assert_eq!(world.sessions(bob), 1);
        gets_in(world, bob).await;
    };
    on_a_bad_day(setup, replaced, again).await;
}

#[tokio::test]
async fn an_enrolment_starts() {
    let setup = async |world: &World, people: &mut People| {
        let token = world.service.enrolment(&people["bob"]).await;
        people.get_mut("bob").unwrap().session = token.clone();
        post("/v1/mfa/enrolments", &token, json!({}))
    };
    let started = async |world: &World, mut people: People, reply: Reply| {
        let bob = people.get_mut("bob").unwrap();
        bob.secret = reply.ok().text("/secret");
        let (token, code) = (bob.session.clone(), world.service.code(bob));
        world.service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
        gets_in(world, bob).await;
    };
    on_a_bad_day(setup, started, started).await;
}

/// Somebody with a pending enrolment, and the code that confirms it.
async fn pending(world: &World, person: &mut Person, start: Value) -> Ask {
    let token = world.service.enrolment(person).await;
    person.secret = world.service.post("/v1/mfa/enrolments", &token, start).await.ok().text("/secret");
    person.step = 0;
    let code = world.service.code(person);
    post("/v1/mfa/enrolments/confirm", &token, json!({"code": code}))
}

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
        assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
        assert_eq!(world.sessions(ann), 1);
        gets_in(world, ann).await;
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
        let amy = people.get_mut("amy").unwrap();
        amy.secret = reply.ok().text("/secret");
        let (token, code) = (amy.session.clone(), world.service.code(amy));
        world.service.post("/v1/mfa/enrolments/confirm", &token, json!({"code": code})).await.ok();
        gets_in(world, amy).await;
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
        world.service.post("/v1/verify", &token, json!({"code": code})).await.ok();
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
        let token = world.service.enrolment(amy).await;
        world.service.enrol_with(amy, &token, json!({"reset_code": reply.ok().text("/reset_code")})).await;
        gets_in(world, amy).await;
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
        let token = world.service.enrolment(gus).await;
        world.service.enrol_with(gus, &token, json!({"reset_code": reply.ok().text("/reset_code")})).await;
        gets_in(world, gus).await;
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

/// The key service: out of reach while it is told to be.
struct Moody {
    ring: KeyRing,
    away: Arc<AtomicBool>,
}

impl Moody {
    fn here(&self) -> Result<&KeyRing, SealError> {
        let away = self.away.load(SeqCst);
        if away { Err(SealError::Unavailable("KMSInvalidStateException".into())) } else { Ok(&self.ring) }
    }
}

#[async_trait]
impl Sealer for Moody {
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError> {
        self.here()?.seal(secret, entropy).await
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        self.here()?.open(owner, sealed).await
    }

    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        self.ring.outdated(sealed).await
    }
}

/// X12
#[tokio::test]
async fn without_the_key_nothing_is_granted_and_nothing_stored() {
    let away = Arc::new(AtomicBool::new(false));
    let world = World::new(|ring| Arc::new(Moody { ring, away: Arc::clone(&away) })).await;
    let mut people = world.service.populate().await;
    let ann = office(&world, &mut people).await;
    let made = world.service.send(Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&people["bob"].session)).await;
    let recovery = made.ok().text("/recovery_token");
    let eve = pending(&world, people.get_mut("eve").unwrap(), json!({})).await;
    let amy = world.service.enrolment(&people["amy"]).await;
    let bob = people.get_mut("bob").unwrap();
    let token = world.service.challenge(bob).await;
    let code = world.service.code(bob);
    let verify = post("/v1/verify", &token, json!({"code": code}));
    let asks = [
        verify.clone(),
        post("/v1/verify", &token, json!({"code": world.service.wrong(bob)})),
        post("/v1/step-up", &bob.session, json!({"code": code})),
        eve.clone(),
        post("/v1/mfa/enrolments", &amy, json!({})),
        post("/v1/mfa/enrolments", &ann, json!({})),
    ];
    away.store(true, SeqCst);
    let before: Vec<_> = ["ann", "amy", "bob", "eve"].map(|name| world.user(&people[name])).into();
    for ask in &asks {
        let reply = world.service.send(ask.clone()).await;
        assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{reply:?}");
        world.sound("a try without the key");
    }
    for (name, before) in ["ann", "amy", "bob", "eve"].into_iter().zip(&before) {
        let now = world.user(&people[name]);
        for kept in ["ep", "fs", "fid", "sec", "ls", "rk", "s"] {
            assert_eq!(now[kept], before[kept], "{name} {kept}");
        }
        // The tries count all the same: also a guess that could not be looked at.
        let tried = if name == "bob" { 3 } else { 0 };
        assert_eq!(number(&now["row"]) - number(&before["row"]), tried, "{name}");
    }
    assert_eq!(world.user(&people["amy"]).get("pe"), None, "no secret is kept that cannot be sealed");
    // MFA stays what it was: the password opens a challenge and no more, and a recovery token is one, once.
    let token = world.service.challenge(&people["bob"]).await;
    let recovered = world.service.post("/v1/verify", &token, json!({"code": recovery})).await.ok();
    works(&world, &recovered.text("/session/token")).await;
    let token = world.service.challenge(&people["bob"]).await;
    assert!(world.service.post("/v1/verify", &token, json!({"code": recovery})).await.is(401, "invalid_code"));
    away.store(false, SeqCst);
    // It recovers by itself, and no code was spent.
    world.service.send(verify).await.ok();
    world.service.send(eve).await.ok();
    world.service.post("/v1/mfa/enrolments", &amy, json!({})).await.ok();
}

/// X13
#[tokio::test]
async fn a_secret_copied_to_another_person_opens_nothing_and_is_an_alarm() {
    let world = World::new(|ring| Arc::new(ring)).await;
    let mut people = world.service.populate().await;
    office(&world, &mut people).await;
    let (ann, bob) = (world.user(&people["ann"]), world.user(&people["bob"]));
    let log = Log::default();
    for copied in [&["sec"][..], &["sec", "fid"], &["sec", "fid", "born"]] {
        world.service.pass(901);
        copied.iter().for_each(|name| world.put(&people["ann"], name, bob[*name].clone()));
        let token = world.service.challenge(&people["ann"]).await;
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(LevelFilter::WARN);
        let _collected = subscriber.with_writer(log.clone()).set_default();
        for name in ["ann", "bob"] {
            let code = tests::code(&people[name].secret, world.service.step());
            let reply = world.service.post("/v1/verify", &token, json!({"code": code})).await;
            assert!(reply.is(503, "unavailable"), "{copied:?} {name}: {reply:?}");
            let said = log.take();
            assert!(said.contains("ERROR") && said.contains("does not open in its place"), "{said}");
        }
    }
    ["sec", "fid", "born"].iter().for_each(|name| world.put(&people["ann"], name, ann[*name].clone()));
    world.service.pass(901);
    gets_in(&world, people.get_mut("ann").unwrap()).await;
    gets_in(&world, people.get_mut("bob").unwrap()).await;
}

fn idp() -> Idp {
    Idp::new("https://idp.example/metadata")
}

impl World {
    /// Acme has an IdP, by its fields and more. Bob, who has a factor, and Eve, who has none, come from it.
    async fn has(&self, idp: &Idp, more: Value, people: &mut People) -> String {
        let ann = office(self, people).await;
        let mut fields = idp.fields();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.service.put("/v1/admin/sso", &ann, fields).await.ok();
        for path in ["/v1/admin/users/u-bob", "/v1/admin/users/u-eve"] {
            self.service.patch(path, &ann, json!({"auth_type": "saml_sso"})).await.ok();
        }
        ann
    }

    /// The answer to a request, as a browser brings it.
    async fn brings(&self, idp: &Idp, request: &Asked, name_id: &str, attributes: &[(&str, &str)]) -> Ask {
        let sp = self.service.sp("acme").await;
        let mut says = idp.answer(&self.service, &sp, request, name_id);
        says.attributes = attributes.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect();
        Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form(&says.signed(idp), &request.relay_state))
    }

    async fn answer(&self, idp: &Idp, name_id: &str, attributes: &[(&str, &str)]) -> Ask {
        self.brings(idp, &self.service.sso_request("acme").await, name_id, attributes).await
    }

    /// Somebody who has enrolled comes from the IdP anew.
    async fn comes_in(&self, idp: &Idp, name_id: &str) {
        let reply = self.service.send(self.answer(idp, name_id, &[]).await).await.ok();
        works(self, &reply.text("/session/token")).await;
    }
}

/// What the browser brings once more was heard of, or not; never twice.
fn once(reply: &Reply) {
    assert!(reply.status == 200 || reply.is(401, "invalid_credentials"), "{reply:?}");
}

#[tokio::test]
async fn a_browser_is_sent_to_the_idp() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        Ask::new(Method::GET, "/v1/sso/acme/login?return_to=/portal")
    };
    let sent = async |world: &World, _: People, reply: Reply| {
        assert_eq!(reply.status, 302, "{reply:?}");
        let answer = world.brings(&idp, &asked(&reply), "bob", &[]).await;
        let arrived = world.service.send(answer.header("accept", "text/html")).await;
        assert_eq!((arrived.status.as_u16(), &arrived.headers["location"]), (303, &"/portal".parse().unwrap()));
    };
    on_a_bad_day(setup, sent, sent).await;
}

#[tokio::test]
async fn an_assertion_signs_in_once() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "bob", &[]).await
    };
    let signed_in = async |world: &World, people: People, reply: Reply| {
        works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "bob").await;
    };
    let again = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "bob").await;
    };
    on_a_bad_day(setup, signed_in, again).await;
}

#[tokio::test]
async fn an_assertion_opens_one_enrolment() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "eve", &[]).await
    };
    let enrols = async |world: &World, eve: &mut Person, token: &str| {
        let reply = world.service.enrol_with(eve, token, json!({})).await;
        assert_eq!(reply.body["session"]["amr"], json!(["sso", "otp"]));
        world.comes_in(&idp, "eve").await;
    };
    let opened = async |world: &World, mut people: People, reply: Reply| {
        assert_eq!(world.user(&people["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        enrols(world, people.get_mut("eve").unwrap(), &reply.ok().text("/enrolment/token")).await;
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.user(&people["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        let next = world.service.send(world.answer(&idp, "eve", &[]).await).await.ok();
        enrols(world, people.get_mut("eve").unwrap(), &next.text("/enrolment/token")).await;
    };
    on_a_bad_day(setup, opened, again).await;
}

#[tokio::test]
async fn a_first_sign_in_links_with_its_session() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({"link_attribute": "Username"}), people).await;
        world.answer(&idp, "00u1", &[("Username", "bob")]).await
    };
    let linked = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "00u1").await;
        let named = world.service.send(world.answer(&idp, "bob", &[]).await).await;
        assert!(named.is(401, "invalid_credentials"), "{named:?}");
    };
    on_a_bad_day(setup, linked, linked).await;
}

/// In two transactions: the person, then the enrolment. One without the other is somebody whom the next answer finds.
#[tokio::test]
async fn somebody_is_provisioned_once() {
    const ZOE: &[(&str, &str)] = &[("Username", "zoe"), ("CompanyName", "Acme")];
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({"provisioning": {}}), people).await;
        world.answer(&idp, "00u9", ZOE).await
    };
    let made = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        let next = world.service.send(world.answer(&idp, "00u9", ZOE).await).await.ok();
        assert_eq!(next.text("/status"), "enrolment_required");
        let list = world.service.get("/v1/admin/users?q=zoe", &people["ann"].session).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    };
    on_a_bad_day(setup, made, made).await;
}

#[tokio::test]
async fn an_assertion_about_nobody_is_refused() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "nobody", &[]).await
    };
    let refused = async |world: &World, people: People, reply: Reply| {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert_eq!(world.sessions(&people["bob"]), 1);
    };
    on_a_bad_day(setup, refused, refused).await;
}

#[tokio::test]
async fn an_idp_is_configured_whole() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        Ask::new(Method::PUT, "/v1/admin/sso").token(&ann).json(idp.fields())
    };
    let configured = async |world: &World, people: People, reply: Reply| {
        assert_eq!(reply.ok().text("/idp_entity_id"), idp.entity_id);
        let ann = &people["ann"].session;
        assert_eq!(world.service.get("/v1/admin/sso", ann).await.ok().text("/idp_entity_id"), idp.entity_id);
        world.service.patch("/v1/admin/users/u-bob", ann, json!({"auth_type": "saml_sso"})).await.ok();
        world.comes_in(&idp, "bob").await;
    };
    on_a_bad_day(setup, configured, configured).await;
}

#[tokio::test]
async fn an_idp_is_gone_whole() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        let ann = world.has(&idp, json!({}), people).await;
        Ask::new(Method::DELETE, "/v1/admin/sso").token(&ann)
    };
    let gone = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        assert!(world.service.get("/v1/admin/sso", &people["ann"].session).await.is(404, "not_found"));
        let login = world.service.send(Ask::new(Method::GET, "/v1/sso/acme/login")).await;
        assert!(login.is(404, "not_found"), "{login:?}");
        // The one of the IdP's stays out, and an Administrator gets in.
        assert!(world.service.login(&people["bob"]).await.is(401, "invalid_credentials"));
        assert_eq!(world.service.login(&people["ann"]).await.ok().text("/status"), "mfa_required");
    };
    on_a_bad_day(setup, gone, gone).await;
}
