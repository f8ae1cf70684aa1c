//! The whole service on DynamoDB with injected faults. Each flow runs once without a fault, to record its calls of the
//! store. Then it runs again from the same state for every call and every fault.
//!
//! - A temporary fault (a reply lost after the commit, a server error, throttling, a conflict) does not change the
//!   answer.
//! - If the store fails permanently from one call on, or one operation is denied, the answer is 503 with `Retry-After`,
//!   or the
//!   success of the flow, which then is durable. It is never a refusal, a session or a bypass of MFA.
//! - After every answer the state is consistent, and a retry succeeds or gives the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directory;
mod factors;
mod keys;
mod password;
mod sign_in;
mod sso;

use std::{collections::BTreeSet, sync::Arc};

use axum::http::Method;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use tests::{
    Reply, Service, TestRequest, TestUser, TestUsers,
    emulator::{self, Database},
    faulty::{BROKEN, DENIED, Fault, Script, THROTTLED},
};
use vestibule::{
    env::{Clock, SystemEntropy},
    secret::{KeyRing, Sealer},
};

/// A service on DynamoDB, and direct access to its database.
struct Harness {
    service: Service,
    script: Script,
    database: Database,
    folder: tempfile::TempDir,
}

impl Harness {
    async fn new(sealer: impl FnOnce(KeyRing) -> Arc<dyn Sealer>) -> Self {
        let (script, database) = (Script::default(), Database::memory().unwrap());
        let table = emulator::table_in(database.clone(), |inner| script.wrap_client(inner)).await.patient();
        let keys = local::data_dir::DataDir::ephemeral(&SystemEntropy).unwrap().keys;
        let service = Service::with_sealer(sealer(keys.ring), Arc::new(table), keys.names, keys.codes);
        Self { service, script, database, folder: tempfile::tempdir().unwrap() }
    }

    fn snapshot(&self) -> String {
        self.folder.path().join("snapshot").to_str().unwrap().to_owned()
    }

    /// All items of the table.
    fn items(&self) -> Vec<Value> {
        let scan = serde_json::from_value(json!({"TableName": "vestibule"})).unwrap();
        let found = serde_json::to_value(self.database.scan(scan).unwrap()).unwrap();
        assert!(found.get("LastEvaluatedKey").is_none());
        found["Items"].as_array().unwrap().clone()
    }

    /// A user's item; null if it does not exist.
    fn user_item(&self, user: &TestUser) -> Value {
        let key = format!("T#{}#U#{}", user.tenant, user.id);
        self.items().into_iter().find(|item| item["PK"]["S"] == key && item["SK"]["S"] == "U").unwrap_or_default()
    }

    fn sessions(&self, user: &TestUser) -> usize {
        self.user_item(user)["s"]["M"].as_object().unwrap().len()
    }

    /// The number of failures counted for the user's username.
    fn attempts(&self, user: &TestUser) -> i64 {
        let items = self.items();
        let row = items.iter().find(|item| item["SK"]["S"] == "L" && item["uid"]["S"] == user.id.as_str());
        number(&row.unwrap()["n"])
    }

    /// Sets an attribute of a user's item directly in the database.
    fn put(&self, user: &TestUser, name: &str, value: Value) {
        let update = json!({
            "TableName": "vestibule",
            "Key": {"PK": {"S": format!("T#{}#U#{}", user.tenant, user.id)}, "SK": {"S": "U"}},
            "UpdateExpression": "SET #name = :value",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": value},
        });
        self.database.update_item(serde_json::from_value(update).unwrap()).unwrap();
    }

    /// Asserts the invariants that hold in every state.
    fn assert_consistent(&self, after: &str) {
        let items = self.items();
        for user_item in items.iter().filter(|item| item["SK"]["S"] == "U") {
            assert_consistent_user(&items, user_item, after);
        }
        for row in items.iter().filter(|item| item["SK"]["S"] == "ADMINS") {
            let idp = items.iter().any(|item| item["PK"] == row["PK"] && item["SK"]["S"] == "IDP");
            assert_eq!(row["idp"]["BOOL"] == true, idp, "{after}: the list of Administrators records the IdP");
            let local = row["act"]["M"].as_object().unwrap().values().any(|local| local["BOOL"] == true);
            assert!(idp || local, "{after}: no Administrator can sign in");
        }
        // Each link belongs to the one user whose item has its name ID.
        let called = items.iter().filter(|item| item["SK"]["S"] == "P").filter_map(|names| {
            let (tenant, id) = names["PK"]["S"].as_str().unwrap().split_once("#U#").unwrap();
            Some((format!("{tenant}#N#{}", names.get("sj")?["S"].as_str().unwrap()), id.to_owned()))
        });
        let of = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let links = items.iter().filter(|item| item["SK"]["S"] == "N").map(|link| (of(link, "PK"), of(link, "uid")));
        assert_eq!(links.collect::<BTreeSet<_>>(), called.collect(), "{after}: links");
        let orphans = items.iter().filter(|item| item["SK"]["S"] == "L" && item.get("uid").is_some());
        let users = items.iter().filter(|item| item["SK"]["S"] == "U");
        assert_eq!(orphans.count(), users.count(), "{after}: usernames without users");
    }
}

/// Asserts the invariants of one user.
fn assert_consistent_user(items: &[Value], user_item: &Value, after: &str) {
    let rows: Vec<_> = items.iter().map(|item| item["SK"]["S"].as_str().unwrap()).collect();
    let pk = user_item["PK"]["S"].as_str().unwrap();
    let (tenant, id) = pk[2..].split_once("#U#").unwrap();
    let of = |pk: String, sk: &str| items.iter().find(|item| item["PK"]["S"] == pk && item["SK"]["S"] == sk);
    let excluded = user_item.get("ex").is_some();
    assert!(!excluded || user_item["k"]["S"] == "c", "{after}: an employee is excluded: {id}");
    assert_eq!(excluded, of(pk.to_owned(), "X").is_some(), "{after}: the list of exclusions: {id}");
    for session in user_item["s"]["M"].as_object().unwrap().values() {
        let session = &session["M"];
        // Every session has the audit row of its sign-in.
        let attempt = BASE64.decode(session["a"]["B"].as_str().unwrap().as_bytes()).unwrap();
        let row = format!("{:013}#{}-0", number(&session["c"]), BASE64URL_NOPAD.encode(&attempt));
        assert!(rows.contains(&row.as_str()), "{after}: a session of {id} without its row");
        let living = session["e"] == user_item["ep"];
        assert!(!living || session["m"]["N"] != "1" || excluded, "{after}: a session by password only: {id}");
    }
    // The three items of a user exist together and agree with the list of Administrators.
    assert!(of(pk.to_owned(), "P").is_some(), "{after}: {id} without names");
    let login = items.iter().find(|item| {
        item["SK"]["S"] == "L" && item["uid"]["S"] == id && item["PK"]["S"].as_str().unwrap().contains(tenant)
    });
    assert_eq!(login.unwrap()["pv"], user_item["pv"], "{after}: {id}'s password");
    let administrators = of(format!("T#{tenant}"), "ADMINS").unwrap();
    let listed = |map: &str| administrators[map]["M"].get(id).is_some();
    let active = ["a", "o"].contains(&user_item["r"]["S"].as_str().unwrap()) && user_item["ac"]["BOOL"] == true;
    assert_eq!(listed("act"), active, "{after}: {id} in the list of Administrators");
    assert_eq!(
        listed("able"),
        active && user_item["fs"]["S"] == "a",
        "{after}: {id} in the list of Administrators with MFA"
    );
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().unwrap().parse().unwrap()
}

/// The parts of an answer that do not differ between runs.
fn outcome(reply: &Reply) -> (u16, String, Value) {
    (reply.status.as_u16(), reply.code().to_owned(), reply.body["status"].clone())
}

/// A flow of one request, sent once without faults, and what is needed to send it again from the same state.
struct Rehearsal {
    harness: Harness,
    users: TestUsers,
    request: TestRequest,
    /// The operations of the store that the request calls.
    calls: Vec<String>,
    outcome: (u16, String, Value),
    /// The time of the snapshot, milliseconds.
    began: i64,
}

impl Rehearsal {
    async fn new(
        setup: impl AsyncFn(&Harness, &mut TestUsers) -> TestRequest,
        check: &impl AsyncFn(&Harness, TestUsers, Reply),
    ) -> Self {
        let harness = Harness::new(|ring| Arc::new(ring)).await;
        let mut users = harness.service.add_users().await;
        let request = setup(&harness, &mut users).await;
        harness.database.vacuum_into(&harness.snapshot()).unwrap();
        let began = harness.service.clock().now().millis();
        harness.script.fine();
        let reply = harness.service.send(request.clone()).await;
        let (calls, outcome) = (harness.script.called(), outcome(&reply));
        assert!(!calls.is_empty() && reply.status != 503, "{reply:?}");
        harness.assert_consistent("no fault");
        check(&harness, users.clone(), reply).await;
        Self { harness, users, request, calls, outcome, began }
    }

    /// Restores the snapshot and the time of it.
    fn rewind(&self) {
        let Harness { database, service, .. } = &self.harness;
        database.restore_from(&self.harness.snapshot()).unwrap();
        service.clock().shift_millis(self.began - service.clock().now().millis());
    }

    /// A temporary fault at each call gives the same answer as no fault.
    async fn temporary_faults(&self, check: &impl AsyncFn(&Harness, TestUsers, Reply)) {
        let Self { harness, calls, .. } = self;
        for (call, operation) in calls.iter().enumerate() {
            // An unknown outcome with and without effect, and two faults in sequence that are known to have none.
            for (faults, executed) in
                [(vec![Fault::LoseReply], true), (vec![BROKEN], false), (vec![THROTTLED, Fault::Conflict], false)]
            {
                if !executed && reads(operation) && faults.len() == 1 {
                    continue; // the same as a lost reply, as a read has no effect
                }
                self.rewind();
                let what = format!("{faults:?} at {operation} {call} of {calls:?}");
                harness.script.at(call, faults);
                let reply = harness.service.send(self.request.clone()).await;
                harness.script.fine();
                assert_eq!(outcome(&reply), self.outcome, "{what}: {reply:?}");
                harness.assert_consistent(&what);
                if executed {
                    check(harness, self.users.clone(), reply).await;
                }
            }
        }
    }

    /// A permanent fault from each call on, and of each operation, gives the same answer as no fault, or 503.
    async fn permanent_faults(
        &self,
        check: &impl AsyncFn(&Harness, TestUsers, Reply),
        check_retry: &impl AsyncFn(&Harness, TestUsers, Reply),
    ) {
        let Self { harness, calls, users, .. } = self;
        let from = calls.iter().enumerate().flat_map(|(call, operation)| {
            let lost =
                if reads(operation) { vec![Fault::LoseRequest] } else { vec![Fault::LoseReply, Fault::LoseRequest] };
            lost.into_iter().map(move |fault| Permanent::From(call, operation.as_str(), fault))
        });
        let operations: BTreeSet<_> = calls.iter().map(String::as_str).collect();
        for fault in from.chain(operations.into_iter().map(Permanent::Denied)) {
            self.rewind();
            match &fault {
                Permanent::From(call, _, fault) => harness.script.from(*call, fault.clone()),
                Permanent::Denied(operation) => harness.script.every(operation, DENIED),
            }
            let reply = harness.service.send(self.request.clone()).await;
            harness.script.fine();
            let what = format!("{fault:?} of {calls:?}");
            harness.assert_consistent(&what);
            if outcome(&reply) == self.outcome {
                check(harness, users.clone(), reply).await;
                continue;
            }
            assert!(reply.is(503, "unavailable") && reply.headers.contains_key("retry-after"), "{what}: {reply:?}");
            let retried = harness.service.send(self.request.clone()).await;
            harness.assert_consistent(&format!("a retry after {what}"));
            assert_ne!(retried.status, 503, "{what}: {retried:?}");
            check_retry(harness, users.clone(), retried).await;
        }
    }
}

/// Runs a flow of one request under every fault at every call of the store. `setup` prepares the state and returns the
/// request. `check` verifies that an answer is true and durable, and `check_retry` the answer to a retry after 503.
async fn under_faults(
    setup: impl AsyncFn(&Harness, &mut TestUsers) -> TestRequest,
    check: impl AsyncFn(&Harness, TestUsers, Reply),
    check_retry: impl AsyncFn(&Harness, TestUsers, Reply),
) {
    let rehearsal = Rehearsal::new(setup, &check).await;
    rehearsal.temporary_faults(&check).await;
    rehearsal.permanent_faults(&check, &check_retry).await;
}

fn reads(operation: &str) -> bool {
    matches!(operation, "BatchGetItem" | "Query")
}

/// A fault that lasts until the answer.
#[allow(dead_code, reason = "shown when a test fails")]
#[derive(Debug)]
enum Permanent<'a> {
    /// From this call on.
    From(usize, &'a str, Fault),
    /// All calls of one operation are denied.
    Denied(&'a str),
}

fn login(user: &TestUser) -> TestRequest {
    let body = json!({"tenant": user.tenant, "username": user.username, "password": user.password});
    TestRequest::new(Method::POST, "/v1/login").json(body)
}

fn post(path: &str, token: &str, body: Value) -> TestRequest {
    TestRequest::new(Method::POST, path).token(token).json(body)
}

/// Asserts that a session token is valid, and returns its session.
async fn assert_valid_session(harness: &Harness, token: &str) -> Reply {
    harness.service.get("/v1/session", token).await.ok()
}

/// Enrols bob, and returns a stepped-up session of the Administrator ann.
async fn enrol_bob_and_ann(harness: &Harness, users: &mut TestUsers) -> String {
    harness.service.enrol(users.get_mut("bob").unwrap()).await;
    harness.service.stepped_up_session(users.get_mut("ann").unwrap()).await
}

/// Asserts that the user can sign in.
async fn assert_can_sign_in(harness: &Harness, user: &mut TestUser) {
    harness.service.sign_in(user).await;
    assert_valid_session(harness, &user.session).await;
}

/// A retry succeeds, or was executed by the first request whose answer was lost; not both.
async fn assert_done_once(harness: &Harness, user: &mut TestUser, reply: &Reply, sessions: usize) {
    assert!(reply.status == 200 || reply.is(401, "invalid_token"), "{reply:?}");
    assert_eq!(harness.sessions(user), sessions);
    assert_can_sign_in(harness, user).await;
}

async fn assert_challenge_works(harness: &Harness, mut users: TestUsers, reply: Reply) {
    let (token, bob) = (reply.ok().text("/challenge/token"), users.get_mut("bob").unwrap());
    let code = harness.service.next_code(bob);
    // If the call that clears the failures was lost, one failure remains: a later delay starts one attempt early.
    assert!(harness.attempts(bob) <= 1);
    harness.service.verify(&token, &code).await.ok();
}

async fn exclude(ann: &str, contacts: &[&str], harness: &Harness) {
    let reply = harness.service.send(exclusion(ann, contacts)).await.ok();
    assert_eq!(reply.body["status"], "completed");
}

fn exclusion(ann: &str, contacts: &[&str]) -> TestRequest {
    let body = json!({"contact_ids": contacts, "disable_mfa": true, "reason": "r"});
    post("/v1/admin/portal-exclusions", ann, body).header("Idempotency-Key", "faults")
}

async fn begin_enrolment(harness: &Harness, user: &mut TestUser, start: Value) -> TestRequest {
    let token = harness.service.enrolment_token(user).await;
    user.secret = harness.service.post("/v1/mfa/enrolments", &token, start).await.ok().text("/secret");
    user.step = 0;
    let code = harness.service.next_code(user);
    post("/v1/mfa/enrolments/confirm", &token, json!({"code": code}))
}
