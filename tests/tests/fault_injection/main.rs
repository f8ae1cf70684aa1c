//! The whole service over DynamoDB on a bad day. Each flow runs once as a rehearsal, to count what it asks of the store; then
//! again and again from the same state, and each time another one of these requests meets a fault.
//!
//! - One fault that passes (a reply lost after the commit, an error of the server, throttling, a conflict) changes nothing:
//!   the same answer as without it.
//! - From one request on the store is gone for good, or one operation is forbidden: the answer is
//!   503 with `Retry-After`, or the one success, and then it is durable. Never a denial, never a session, never less than MFA.
//! - Whatever was answered, the state is whole, and a repeat works or says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directory;
mod factors;
mod keys;
mod sign_in;
mod sso;

use std::{collections::BTreeSet, sync::Arc};

use axum::http::Method;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use tests::{
    Ask, People, Person, Reply, Service,
    emulator::{self, Database},
    faulty::{BROKEN, DENIED, Fault, Script, THROTTLED},
};
use vestibule::{
    env::{Clock, SystemEntropy},
    secret::{KeyRing, Sealer},
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
    fn attempts(&self, person: &Person) -> i64 {
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

/// What was sent once more is done now, or was then by an answer that nobody heard; not both.
async fn not_twice(world: &World, person: &mut Person, reply: &Reply, sessions: usize) {
    assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
    assert_eq!(world.sessions(person), sessions);
    gets_in(world, person).await;
}

async fn challenge_works(world: &World, mut people: People, reply: Reply) {
    let (token, bob) = (reply.ok().text("/challenge/token"), people.get_mut("bob").unwrap());
    let code = world.service.code(bob);
    // Where the reply to what clears it was lost, the count stands until the next success: a delay that comes one try early.
    assert!(world.attempts(bob) <= 1);
    world.service.verify(&token, &code).await.ok();
}

async fn exclude(ann: &str, contacts: &[&str], world: &World) {
    let reply = world.service.send(exclusion(ann, contacts)).await.ok();
    assert_eq!(reply.body["status"], "completed");
}

fn exclusion(ann: &str, contacts: &[&str]) -> Ask {
    let body = json!({"contact_ids": contacts, "disable_mfa": true, "reason": "r"});
    post("/v1/admin/portal-exclusions", ann, body).header("Idempotency-Key", "bad-day")
}

async fn pending(world: &World, person: &mut Person, start: Value) -> Ask {
    let token = world.service.enrolment(person).await;
    person.secret = world.service.post("/v1/mfa/enrolments", &token, start).await.ok().text("/secret");
    person.step = 0;
    let code = world.service.code(person);
    post("/v1/mfa/enrolments/confirm", &token, json!({"code": code}))
}
