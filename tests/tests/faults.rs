//! X11, X13: a store that is unavailable or slow, or whose items were edited. Such requests are refused or get 503, and
//! grant nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use axum::http::Method;
use local::{data_dir::DataDir, sled_table::SledTable};
use serde_json::json;
use tests::{Reply, Service, TestRequest, TestUser, TestUsers, browser::Browser, totp_code, user_mut};
use vestibule::{
    env::SystemEntropy,
    store::{
        StoreError, Table,
        table::{Query, Retry, Transacted, Transaction, Updated},
        write::{Item, Key, Value, Write},
    },
};

/// What happens to a failing call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// It was not executed.
    NotDone,
    /// It was executed, but the answer is lost.
    Lost,
}

/// The embedded table. It fails on request, and can return forged attributes.
struct UnreliableTable {
    table: SledTable,
    /// Calls since the fault was set.
    calls: AtomicUsize,
    fault: Mutex<(Range<usize>, Fault)>,
    /// Forged attributes of items, by a part of their key.
    forged: Mutex<Option<(String, HashMap<String, Value>)>>,
    /// Items with a sealed secret, by partition.
    seen: Mutex<HashMap<String, Item>>,
}

impl UnreliableTable {
    fn fail(&self, calls: Range<usize>, fault: Fault) {
        self.calls.store(0, SeqCst);
        *self.fault.lock().unwrap() = (calls, fault);
    }

    fn next(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, SeqCst);
        let fault = self.fault.lock().unwrap();
        fault.0.contains(&call).then_some(fault.1)
    }

    fn forge(&self, item: &mut Item) {
        let Some(Value::S(key)) = item.get("PK").filter(|_| item.contains_key("sec")).cloned() else { return };
        self.seen.lock().unwrap().insert(key.clone(), item.clone());
        if let Some((whose, attributes)) = &*self.forged.lock().unwrap()
            && key.ends_with(whose)
        {
            item.extend(attributes.clone());
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the test says so".into())
}

macro_rules! unreliably {
    ($self:ident, $call:expr) => {{
        let fault = $self.next();
        if fault == Some(Fault::NotDone) {
            return Err(unavailable());
        }
        let outcome = $call.await;
        if fault == Some(Fault::Lost) {
            return Err(unavailable());
        }
        outcome
    }};
}

#[async_trait]
impl Table for UnreliableTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found = unreliably!(self, self.table.read(keys))?;
        found.iter_mut().flatten().for_each(|item| self.forge(item));
        Ok(found)
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        let mut updated = unreliably!(self, self.table.update(write, retry))?;
        if let Updated::Written(Some(item)) | Updated::Refused(Some(item)) = &mut updated {
            self.forge(item);
        }
        Ok(updated)
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        unreliably!(self, self.table.transact(transaction))
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        unreliably!(self, self.table.query(query))
    }
}

async fn unreliable_service() -> (Arc<UnreliableTable>, Service, TestUsers) {
    let DataDir { table, keys, .. } = DataDir::ephemeral(&SystemEntropy).unwrap();
    let table = Arc::new(UnreliableTable {
        table,
        calls: AtomicUsize::new(0),
        fault: Mutex::new((0..0, Fault::NotDone)),
        forged: Mutex::new(None),
        seen: Mutex::default(),
    });
    let service = Service::with_table(Arc::clone(&table) as Arc<dyn Table>, keys);
    let users = service.add_users().await;
    (table, service, users)
}

fn post(path: &str, token: &str, body: serde_json::Value) -> TestRequest {
    TestRequest::new(Method::POST, path).token(token).json(body)
}

fn login(user: &TestUser, password: &str) -> TestRequest {
    let body = json!({"tenant": user.tenant, "username": user.username, "password": password});
    TestRequest::new(Method::POST, "/v1/login").json(body)
}

/// The expected answer without faults: the status, and the code or status field.
type Expected = (u16, &'static str);

fn outcome(reply: &Reply) -> (u16, String) {
    let said = reply.body.get("status").and_then(serde_json::Value::as_str).unwrap_or(reply.code());
    (reply.status.as_u16(), said.to_owned())
}

/// Requests of all kinds with their expected answers.
async fn requests(service: &Service, users: &mut TestUsers) -> Vec<(TestRequest, Expected)> {
    service.advance(3600);
    let ann = service.stepped_up_session(user_mut(users, "ann")).await;
    // Each reset removes the factor of con1.
    let con = user_mut(users, "con1");
    con.secret.clear();
    service.send(post("/v1/admin/users/u-con1/mfa-reset", &ann, json!({"reason": "r"}))).await.ok();
    let con = service.enrolment_token(con).await;
    let bob = user_mut(users, "bob");
    let session = service.stepped_up_session(bob).await;
    let created = service.send(TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await.ok();
    let recovery = created.text("/recovery_token");
    let (one, two, three) =
        (service.challenge_token(bob).await, service.challenge_token(bob).await, service.challenge_token(bob).await);
    let (wrong, old) = (service.wrong_code(bob), bob.session.clone());
    service.advance(60);
    let right = totp_code(&bob.secret, service.step());
    let stepped = totp_code(&bob.secret, service.step() + 1);
    bob.step = service.step() + 1;
    let bob = &users["bob"];
    let confirm = "/v1/mfa/enrolments/confirm";
    let excluded = json!({"contact_ids": ["u-con2", "u-bob"], "disable_mfa": true, "reason": "r"});
    let exclusion = post("/v1/admin/portal-exclusions", &ann, excluded);
    vec![
        (login(bob, &bob.password), (200, "mfa_required")),
        (login(bob, "wrong"), (401, "invalid_credentials")),
        (login(&users["eve"], &users["eve"].password), (200, "enrolment_required")),
        (login(&users["off"], &users["off"].password), (401, "invalid_credentials")),
        (post("/v1/verify", &one, json!({"code": wrong})), (401, "invalid_code")),
        (post("/v1/verify", &one, json!({"code": right})), (200, "signed_in")),
        (post("/v1/verify", &two, json!({"code": recovery})), (200, "signed_in")),
        (post("/v1/verify", &three, json!({"code": recovery})), (401, "invalid_code")),
        (post("/v1/step-up", &session, json!({"code": stepped})), (200, "")),
        (TestRequest::new(Method::GET, "/v1/session").token(&old), (401, "invalid_token")),
        (post("/v1/mfa/enrolments", &con, json!({})), (201, "")),
        (post(confirm, &con, json!({"code": "000000"})), (401, "invalid_code")),
        (TestRequest::new(Method::GET, "/v1/session").token(&ann), (200, "")),
        (TestRequest::new(Method::GET, "/v1/admin/users/u-gil").token(&ann), (404, "not_found")),
        (TestRequest::new(Method::DELETE, "/v1/mfa").token(&ann), (403, "mfa_mandatory")),
        (exclusion.header("idempotency-key", &format!("k{}", bob.step)), (200, "completed")),
        (post("/v1/admin/users/u-eve/mfa-reset", &ann, json!({"reason": "r"})), (200, "")),
    ]
}

/// X11
#[tokio::test]
async fn any_failed_store_call_gives_the_right_answer_or_503() {
    let (table, service, mut users) = unreliable_service().await;
    service.enrol(user_mut(&mut users, "bob")).await;
    let mut unavailable = 0;
    for fault in [Fault::NotDone, Fault::Lost] {
        for first in 0..9 {
            // One call fails, or all calls from it on.
            for calls in [first..first + 1, first..usize::MAX] {
                for (n, (request, expected)) in requests(&service, &mut users).await.into_iter().enumerate() {
                    table.fail(calls.clone(), fault);
                    let reply = service.send(request.clone()).await;
                    table.fail(0..0, fault);
                    let (status, said) = outcome(&reply);
                    if status == 503 {
                        assert_eq!(said, "unavailable");
                        assert!(reply.headers.contains_key("retry-after"));
                        unavailable += 1;
                    } else if (status, said.as_str()) != expected {
                        // The failed request changed nothing: a token not spent or replaced, an enrolment not started.
                        let undone = [(7, 200), (9, 200), (11, 409)];
                        assert!(undone.contains(&(n, status)), "{fault:?} {calls:?} {n}: {reply:?}");
                    }
                }
            }
        }
    }
    assert!(unavailable > 100, "{unavailable}");
    // Afterwards everything works again.
    service.advance(3600);
    let bob = user_mut(&mut users, "bob");
    service.sign_in(bob).await;
    assert_eq!(service.get("/v1/mfa", &bob.session).await.ok().text("/status"), "active");
}

/// A lookup in a tenant is not answered without its audit row.
#[tokio::test]
async fn lookup_without_its_audit_row_is_not_answered() {
    let (table, service, mut users) = unreliable_service().await;
    let op = service.stepped_up_session(user_mut(&mut users, "op")).await;
    for path in ["/v1/support/tenants", "/v1/support/tenants/acme/users"] {
        // The first call reads the caller, the second writes the row.
        table.fail(1..2, Fault::NotDone);
        let reply = service.get(path, &op).await;
        table.fail(0..0, Fault::NotDone);
        assert!(reply.is(503, "unavailable"), "{path}: {reply:?}");
        service.get(path, &op).await.ok();
    }
}

/// A person must not believe that a session has ended which goes on.
#[tokio::test]
async fn page_does_not_say_that_a_session_ended_if_the_store_failed() {
    let (table, service, mut users) = unreliable_service().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let other = bob.session.clone();
    service.sign_in(bob).await;
    let mut browser = Browser::signed_in(&service, bob);
    for path in ["/settings/sessions", "/logout"] {
        // The calls read the look of the page and the caller, and end the session.
        for first in 0..3 {
            table.fail(first..usize::MAX, Fault::NotDone);
            let reply = browser.submit(path, &[]).await;
            table.fail(0..0, Fault::NotDone);
            assert_eq!(reply.status, 503, "{path} {first}: {reply:?}");
            assert!(browser.cookies.contains_key("__Host-vestibule"));
            for session in [&other, &bob.session] {
                service.get("/v1/session", session).await.ok();
            }
        }
    }
    assert_eq!(browser.submit("/settings/sessions", &[]).await.location(), "/settings/sessions");
    assert_eq!(browser.submit("/logout", &[]).await.location(), "/login");
    for session in [&other, &bob.session] {
        assert!(service.get("/v1/session", session).await.is(401, "invalid_token"));
    }
}

/// The hundredth wrong code disables a factor. If the store fails then, the factor is unusable nevertheless.
#[tokio::test]
async fn factor_that_could_not_be_disabled_is_disabled_at_the_next_sign_in() {
    let (table, service, mut users) = unreliable_service().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let mut challenge = String::new();
    for n in 0..100 {
        if n % 10 == 0 {
            service.advance(901);
            service.get("/v1/session", &bob.session).await.ok();
        }
        if n % 5 == 0 {
            challenge = service.challenge_token(bob).await;
        }
        if n == 99 {
            // The first two calls charge the code and read the user's names.
            table.fail(2..usize::MAX, Fault::NotDone);
        }
        assert!(service.verify(&challenge, &service.wrong_code(bob)).await.is(401, "invalid_code"), "{n}");
    }
    table.fail(0..0, Fault::NotDone);
    let recovery = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&bob.session);
    let recovery = service.send(recovery).await;
    assert!(recovery.is(403, "mfa_reset_required"), "a step-up, which comes later, is impossible: {recovery:?}");
    let ann = service.stepped_up_session(user_mut(&mut users, "ann")).await;
    let mfa = async || service.get("/v1/admin/users/u-bob", &ann).await.ok().text("/mfa");
    assert_eq!(mfa().await, "active");
    assert!(service.login(&users["bob"]).await.is(403, "mfa_reset_required"));
    assert_eq!(mfa().await, "disabled");
    let rows = service.get("/v1/admin/audit?user_id=u-bob&limit=100", &ann).await.ok();
    let mut rows = rows.body["items"].as_array().unwrap().iter();
    let row = rows.find(|row| row["action"] == "factor.disabled").unwrap();
    assert_eq!(row["notified"], json!(["user", "administrators"]));
}

/// X13
#[tokio::test]
async fn secret_moved_to_another_user_is_refused() {
    let (table, service, mut users) = unreliable_service().await;
    service.enrol(user_mut(&mut users, "bob")).await;
    service.enrol(user_mut(&mut users, "eve")).await;
    service.challenge_token(&users["bob"]).await;
    let bobs = table.seen.lock().unwrap()["T#acme#U#u-bob"].clone();
    for copied in [&["sec"][..], &["sec", "fid"], &["sec", "fid", "born", "ls", "fat"]] {
        service.advance(901);
        let attributes = copied.iter().map(|name| ((*name).to_owned(), bobs[*name].clone())).collect();
        // Before the forgery: a login commits on the incarnation in the table, and is denied where a read shows another.
        let challenge = service.challenge_token(&users["eve"]).await;
        *table.forged.lock().unwrap() = Some(("#u-eve".into(), attributes));
        for name in ["bob", "eve"] {
            let code = totp_code(&users[name].secret, service.step());
            let reply = service.send(post("/v1/verify", &challenge, json!({"code": code}))).await;
            assert!(reply.is(503, "unavailable"), "{copied:?} {name}: {reply:?}");
        }
        *table.forged.lock().unwrap() = None;
    }
    service.advance(901);
    service.sign_in(user_mut(&mut users, "eve")).await;
}
