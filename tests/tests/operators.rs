//! What only those may who run the service, over an emulator of DynamoDB; and the restore epoch, as people feel it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, BEGIN, Person, Service, emulator};
use vestibule::{
    env::{SystemEntropy, TestClock},
    http::App,
    id::TenantId,
    key_file::KeyFile,
    password::{PasswordParams, Passwords},
    policy::SESSIONS,
    store::{Store, Table, dynamo::DynamoTable, lists::UserFilter},
};

async fn table() -> Arc<DynamoTable> {
    Arc::new(emulator::table(|client| client).await)
}

/// What the function works with, in the store's epoch.
async fn app(table: &Arc<DynamoTable>, keys: &KeyFile) -> App {
    let keys = keys.keys().unwrap();
    let store = Store::new(Arc::clone(table) as Arc<dyn Table>);
    let identity = store.identity().await.unwrap();
    App {
        store: store.at(identity.map(|it| it.restore).unwrap_or_default()),
        clock: Arc::new(TestClock::at(BEGIN)),
        entropy: Arc::new(SystemEntropy),
        sealer: None,
        names: Some(Arc::new(keys.names)),
        codes: Some(Arc::new(keys.codes)),
        passwords: Arc::new(Passwords::new(PasswordParams::cheap(), 4, 64, &SystemEntropy).unwrap()),
        public_url: None,
    }
}

async fn told(app: &App, table: Option<&str>, command: Value) -> Result<Value, &'static str> {
    operators::handle(app, table, command, "invocation").await.map_err(|why| why.code())
}

fn first(username: &str) -> Value {
    json!({"command": "create_operator", "username": username, "display_name": "Op"})
}

fn acme() -> Value {
    json!({"command": "create_tenant", "id": "acme", "name": "Acme",
        "administrator": {"username": "ann", "display_name": "Ann"}})
}

fn raise() -> Value {
    json!({"command": "raise_restore_epoch", "reason": "a backup was restored"})
}

/// Somebody whom a command made.
fn made(answer: &Value) -> Person {
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    Person {
        tenant: text("tenant"),
        username: text("username"),
        password: text("password"),
        id: text("user_id"),
        secret: String::new(),
        step: 0,
        session: String::new(),
        device: String::new(),
    }
}

#[tokio::test]
async fn from_an_empty_table_to_an_operator_and_a_tenant_who_have_to_enrol() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = app(&table, &keys).await;
    assert_eq!(told(&app, Some("t-1"), json!({"command": "status"})).await, Err("no_store"));
    assert_eq!(told(&app, Some("t-1"), raise()).await, Err("no_store"));
    let op = told(&app, Some("t-1"), first("op")).await.unwrap();
    assert_eq!(told(&app, Some("t-1"), first("op2")).await, Err("operator_exists"));
    let ann = told(&app, Some("t-1"), acme()).await.unwrap();
    assert_eq!(told(&app, Some("t-1"), acme()).await, Err("tenant_exists"));
    let status = told(&app, Some("t-1"), json!({"command": "status"})).await.unwrap();
    assert_eq!((&status["table_matches"], &status["restore_epoch"]), (&json!(true), &json!(0)));
    assert_eq!(status["active_operators"], 1);
    let service = Service::over(table, keys.keys().unwrap());
    for answer in [op, ann] {
        let mut person = made(&answer);
        assert!(person.password.len() >= 22);
        service.enrol(&mut person).await;
        service.sign_in(&mut person).await;
        let rows = service.get("/v1/admin/audit", &person.session).await.ok();
        let rows = rows.body["items"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["request_id"] == "invocation"), "{rows:?}");
        if person.tenant == "support" {
            let tenants = service.get("/v1/support/tenants", &person.session).await.ok();
            let listed = json!([{"id": "acme", "name": "Acme"}, {"id": "support", "name": "Support"}]);
            assert_eq!(tenants.body["items"], listed);
        }
    }
}

#[tokio::test]
async fn what_is_no_command_is_refused() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = app(&table, &keys).await;
    for bad in [
        json!(null),
        json!({}),
        json!({"command": "drop"}),
        json!({"command": "status", "more": 1}),
        json!({"command": "create_operator", "username": "op"}),
        json!({"command": "create_operator", "username": "op", "display_name": "Op", "password": "x"}),
        json!({"command": "raise_restore_epoch", "reason": " "}),
        json!({"command": "create_tenant", "id": "support", "name": "S",
            "administrator": {"username": "a", "display_name": "A"}}),
    ] {
        assert_eq!(told(&app, None, bad.clone()).await, Err("invalid_request"), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_first_operators_one_is_made_and_of_two_resets_by_one_ticket_one_is_done() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = Arc::new(app(&table, &keys).await);
    let at_once = async |commands: Vec<Value>| {
        let tasks = commands.into_iter().map(|command| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { told(&app, None, command).await })
        });
        let mut done = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            done.push(task.await.unwrap());
        }
        done
    };
    let made = at_once((0..8).map(|n| first(&format!("op{n}"))).collect()).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    assert!(made.iter().all(|made| made.is_ok() || *made == Err("operator_exists")), "{made:?}");
    told(&app, None, acme()).await.unwrap();
    let reset = json!({"command": "reset_mfa", "tenant": "acme", "username": "ann", "ticket": "T-1", "reason": "lost"});
    let done = at_once(vec![reset.clone(); 4]).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    assert!(done.iter().all(|done| done.is_ok() || *done == Err("ticket_used")), "{done:?}");
    let other = json!({"command": "reset_mfa", "tenant": "acme", "username": "bob", "ticket": "T-2", "reason": "lost"});
    assert_eq!(told(&app, None, other).await, Err("not_found"));
}

#[tokio::test]
async fn a_restored_table_is_refused_everything_until_the_epoch_is_raised() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = app(&table, &keys).await;
    told(&app, Some("t-1"), first("op")).await.unwrap();
    assert_eq!(told(&app, Some("t-2"), acme()).await, Err("restored"));
    let status = told(&app, Some("t-2"), json!({"command": "status"})).await.unwrap();
    assert_eq!(status["table_matches"], json!(false));
    assert_eq!(told(&app, Some("t-2"), raise()).await.unwrap()["restore_epoch"], 1);
    told(&app, Some("t-2"), acme()).await.unwrap();
}

/// The same store as another process has it, after the epoch was raised.
async fn raised(table: &Arc<DynamoTable>, keys: &KeyFile, passed: u64) -> Service {
    let mut before = app(table, keys).await;
    before.clock = Arc::new(TestClock::at(BEGIN + Duration::from_secs(passed)));
    told(&before, None, raise()).await.unwrap();
    let after = Service::in_its_epoch(Arc::clone(table) as Arc<dyn Table>, keys.keys().unwrap()).await;
    after.pass(passed);
    after
}

async fn recovery_token(service: &Service, person: &Person) -> String {
    let ask = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(&person.session);
    service.send(ask).await.ok().text("/recovery_token")
}

#[tokio::test]
async fn nothing_that_was_handed_out_before_works_and_password_and_code_do() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let op = app(&table, &keys).await;
    told(&op, None, first("op")).await.unwrap();
    let service = Service::over(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut people = service.populate().await;
    let (mut ann, mut bob) = (people.remove("ann").unwrap(), people.remove("bob").unwrap());
    service.enrol(&mut ann).await;
    service.enrol(&mut bob).await;
    service.sign_in(&mut bob).await;
    let recovery = recovery_token(&service, &bob).await;
    assert!(service.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"]["exists"] == true);
    let challenge = service.challenge(&bob).await;
    let eve = people.remove("eve").unwrap();
    let enrolment = service.enrolment(&eve).await;
    let settings = json!({"reset_code_for": "everyone"});
    let ann_now = service.fresh(&mut ann).await;
    service.patch("/v1/admin/settings", &ann_now, settings).await.ok();
    let path = format!("/v1/admin/users/{}/mfa-reset", eve.id);
    let reset = service.post(&path, &ann_now, json!({"reason": "lost"})).await.ok().text("/reset_code");
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap() + 90;

    let after = raised(&table, &keys, passed).await;
    for token in [&bob.session, &challenge, &enrolment, &ann_now] {
        assert!(after.get("/v1/session", token).await.is(401, "invalid_token"));
    }
    let code = json!({"code": after.code(&mut bob)});
    assert!(after.post("/v1/verify", &challenge, code).await.is(401, "invalid_token"));
    assert!(after.post("/v1/mfa/enrolments", &enrolment, json!({})).await.is(401, "invalid_token"));
    // The reset code that was handed out is void, and nobody enrols without one.
    let again = after.enrolment(&eve).await;
    let tried = after.post("/v1/mfa/enrolments", &again, json!({"reset_code": reset})).await;
    assert!(tried.is(403, "reset_code_required"), "{tried:?}");
    let fresh = after.challenge(&bob).await;
    assert!(after.verify(&fresh, &recovery).await.is(401, "invalid_code"));
    // A known device is one no longer: its failures are the name's.
    let known =
        json!({"tenant": bob.tenant, "username": bob.username, "password": "wrong", "device_token": bob.device});
    after.send(Ask::new(Method::POST, "/v1/login").json(known)).await;

    after.sign_in(&mut bob).await;
    assert_eq!(after.get("/v1/sessions", &bob.session).await.ok().body["items"].as_array().unwrap().len(), 1);
    assert_eq!(after.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"], json!({"exists": false}));
    assert_eq!(after.get("/v1/session", &bob.session).await.ok().body["recovery_token"], json!({"exists": false}));
    let renewed = recovery_token(&after, &bob).await;
    assert!(after.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"]["exists"] == true);
    let challenge = after.challenge(&bob).await;
    after.verify(&challenge, &renewed).await.ok();
}

/// What the function works with, at the service's time.
async fn app_now(table: &Arc<DynamoTable>, keys: &KeyFile, service: &Service) -> App {
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap();
    let mut app = app(table, keys).await;
    app.clock = Arc::new(TestClock::at(BEGIN + Duration::from_secs(passed)));
    app
}

#[tokio::test]
async fn a_sole_administrator_is_reset_by_a_ticket_and_one_beside_whom_another_can_do_it_is_not() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    told(&app(&table, &keys).await, None, first("boss")).await.unwrap();
    let service = Service::over(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut people = service.populate().await;
    let mut gus = people.remove("gus").unwrap();
    for name in ["ann", "amy", "bob"] {
        service.enrol(people.get_mut(name).unwrap()).await;
    }
    service.enrol(&mut gus).await;
    let (session, challenge) = (gus.session.clone(), service.challenge(&gus).await);
    let reset = |tenant: &str, username: &str, ticket: &str| json!({"command": "reset_mfa", "tenant": tenant, "username": username, "ticket": ticket, "reason": "lost"});
    let app = app_now(&table, &keys, &service).await;
    // Another Administrator has an authenticator; or it is no Administrator.
    assert_eq!(told(&app, None, reset("acme", "ann", "T-1")).await, Err("not_sole_administrator"));
    assert_eq!(told(&app, None, reset("acme", "bob", "T-1")).await, Err("not_sole_administrator"));
    assert_eq!(told(&app, None, reset("nowhere", "gus", "T-1")).await, Err("not_found"));
    assert!(service.get("/v1/session", &session).await.status.is_success(), "nothing was done yet");

    // None of these used the ticket up.
    let done = told(&app, None, reset("globex", "gus", "T-1")).await.unwrap();
    assert_eq!(done["user"]["mfa"], "none");
    assert_eq!(told(&app, None, reset("globex", "gus", "T-1")).await, Err("ticket_used"));
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let code = json!({"code": service.code(&mut gus)});
    assert!(service.post("/v1/verify", &challenge, code).await.is(401, "invalid_token"));
    let token = service.enrolment(&gus).await;
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(403, "reset_code_required"));
    service.enrol_with(&mut gus, &token, json!({"reset_code": done["reset_code"]})).await;
    let audit = service.get(&format!("/v1/admin/audit?user_id={}", gus.id), &gus.session).await.ok();
    let row = audit.body["items"].as_array().unwrap().iter().find(|row| row["action"] == "mfa.reset").unwrap();
    let who = (&row["actor_tenant"], &row["ticket"], &row["reason"], &row["request_id"], &row["actor"]);
    assert_eq!(who, (&json!("support"), &json!("T-1"), &json!("lost"), &json!("invocation"), &Value::Null));
}

/// Everybody's own epoch, as it is in their items.
async fn own_epochs(table: &Arc<DynamoTable>) -> Vec<(String, i64)> {
    let store = Store::new(Arc::clone(table) as Arc<dyn Table>);
    let acme = TenantId::parse("acme").unwrap();
    let page = store.list_users(&acme, &UserFilter::default(), None, 100).await.unwrap();
    page.items.into_iter().map(|(key, user, _)| (key.user().as_str().to_owned(), user.security_version)).collect()
}

#[tokio::test]
async fn dead_sessions_of_before_push_out_no_living_one_and_a_persons_own_epoch_stays() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    told(&app(&table, &keys).await, None, first("boss")).await.unwrap();
    let service = Service::over(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut people = service.populate().await;
    let mut bob = people.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut dead = vec![bob.session.clone()];
    for _ in 1..SESSIONS {
        service.sign_in(&mut bob).await;
        dead.push(bob.session.clone());
    }
    for session in &dead {
        service.get("/v1/session", session).await.ok();
    }
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap() + 90;
    let own = own_epochs(&table).await;
    assert!(own.len() == 8 && own.contains(&("u-bob".to_owned(), 2)), "{own:?}");
    let after = raised(&table, &keys, passed).await;
    let mut living = Vec::new();
    for count in 1..=SESSIONS {
        after.sign_in(&mut bob).await;
        living.push(bob.session.clone());
        for session in &living {
            after.get("/v1/session", session).await.ok();
        }
        let listed = after.get("/v1/sessions", &bob.session).await.ok();
        assert_eq!(listed.body["items"].as_array().unwrap().len(), count);
    }
    for session in &dead {
        assert!(after.get("/v1/session", session).await.is(401, "invalid_token"));
    }
    assert_eq!(own_epochs(&table).await, own);
}
