//! The `operators` function on a DynamoDB emulator, and the effects of a raised restore epoch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    BEGIN, Service, TestRequest, TestUser, emulator,
    faulty::{BROKEN, Script},
};
use vestibule::{
    domain::SecurityVersion,
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

/// The state of the function, in the store's restore epoch, at the start of the tests.
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
        mails: None,
    }
}

async fn run(app: &App, table: Option<&str>, command: Value) -> Result<Value, &'static str> {
    operators::handle(app, table, command, "invocation").await.map_err(|why| why.code())
}

fn create_operator(username: &str) -> Value {
    json!({"command": "create_operator", "username": username, "display_name": "Op"})
}

fn create_acme() -> Value {
    json!({"command": "create_tenant", "id": "acme", "name": "Acme",
        "administrator": {"username": "ann", "display_name": "Ann"}})
}

fn raise_epoch() -> Value {
    json!({"command": "raise_restore_epoch", "reason": "a backup was restored"})
}

/// The user that a command created.
fn created_user(answer: &Value) -> TestUser {
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    TestUser {
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
async fn empty_table_gets_an_operator_and_a_tenant_who_must_enrol() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = app(&table, &keys).await;
    assert_eq!(run(&app, Some("t-1"), json!({"command": "status"})).await, Err("no_store"));
    assert_eq!(run(&app, Some("t-1"), raise_epoch()).await, Err("no_store"));
    let op = run(&app, Some("t-1"), create_operator("op")).await.unwrap();
    assert_eq!(run(&app, Some("t-1"), create_operator("op2")).await, Err("operator_exists"));
    let ann = run(&app, Some("t-1"), create_acme()).await.unwrap();
    assert_eq!(run(&app, Some("t-1"), create_acme()).await, Err("tenant_exists"));
    let status = run(&app, Some("t-1"), json!({"command": "status"})).await.unwrap();
    assert_eq!((&status["table_matches"], &status["restore_epoch"]), (&json!(true), &json!(0)));
    assert_eq!(status["active_operators"], 1);
    let service = Service::with_table(table, keys.keys().unwrap());
    for answer in [op, ann] {
        let mut user = created_user(&answer);
        assert!(user.password.len() >= 22);
        service.enrol(&mut user).await;
        service.sign_in(&mut user).await;
        let rows = service.get("/v1/admin/audit", &user.session).await.ok();
        let rows = rows.body["items"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["request_id"] == "invocation"), "{rows:?}");
        if user.tenant == "support" {
            let tenants = service.get("/v1/support/tenants", &user.session).await.ok();
            let listed = json!([{"id": "acme", "name": "Acme"}, {"id": "support", "name": "Support"}]);
            assert_eq!(tenants.body["items"], listed);
        }
    }
}

#[tokio::test]
async fn unknown_command_is_refused() {
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
        assert_eq!(run(&app, None, bad.clone()).await, Err("invalid_request"), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_first_operators_and_ticket_resets_succeed_once() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = Arc::new(app(&table, &keys).await);
    let at_once = async |commands: Vec<Value>| {
        let tasks = commands.into_iter().map(|command| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { run(&app, None, command).await })
        });
        let mut done = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            done.push(task.await.unwrap());
        }
        done
    };
    let created_user = at_once((0..8).map(|n| create_operator(&format!("op{n}"))).collect()).await;
    assert_eq!(created_user.iter().filter(|created_user| created_user.is_ok()).count(), 1, "{created_user:?}");
    assert!(
        created_user.iter().all(|created_user| created_user.is_ok() || *created_user == Err("operator_exists")),
        "{created_user:?}"
    );
    run(&app, None, create_acme()).await.unwrap();
    let reset = json!({"command": "reset_mfa", "tenant": "acme", "username": "ann", "ticket": "T-1", "reason": "lost"});
    let done = at_once(vec![reset.clone(); 4]).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    assert!(done.iter().all(|done| done.is_ok() || *done == Err("ticket_used")), "{done:?}");
    let other = json!({"command": "reset_mfa", "tenant": "acme", "username": "bob", "ticket": "T-2", "reason": "lost"});
    assert_eq!(run(&app, None, other).await, Err("not_found"));
}

/// The reset may be committed, so the audit must not say that it was refused.
#[tokio::test]
async fn reset_of_unknown_outcome_is_not_audited_as_refused() {
    let (script, keys) = (Script::default(), KeyFile::generate(&SystemEntropy).unwrap());
    let table = Arc::new(emulator::table(|client| script.wrap_client(client)).await);
    let app = app(&table, &keys).await;
    run(&app, None, create_operator("op")).await.unwrap();
    run(&app, None, create_acme()).await.unwrap();
    script.every("TransactWriteItems", BROKEN);
    let reset = json!({"command": "reset_mfa", "tenant": "acme", "username": "ann", "ticket": "T-1", "reason": "lost"});
    assert_eq!(run(&app, None, reset.clone()).await, Err("unavailable"));
    assert_eq!(script.sent("UpdateItem"), [json!(null); 0]);
    script.fine();
    run(&app, None, reset).await.unwrap();
}

#[tokio::test]
async fn restored_table_serves_nothing_until_the_restore_epoch_is_raised() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let app = app(&table, &keys).await;
    run(&app, Some("t-1"), create_operator("op")).await.unwrap();
    assert_eq!(run(&app, Some("t-2"), create_acme()).await, Err("restored"));
    let status = run(&app, Some("t-2"), json!({"command": "status"})).await.unwrap();
    assert_eq!(status["table_matches"], json!(false));
    assert_eq!(run(&app, Some("t-2"), raise_epoch()).await.unwrap()["restore_epoch"], 1);
    run(&app, Some("t-2"), create_acme()).await.unwrap();
}

/// A table without a stream, in a test deployment, cannot show that it was restored. It works as before.
#[tokio::test]
async fn table_that_has_or_had_no_stream_does_not_count_as_restored() {
    for (created, now) in [(None, Some("t-1")), (Some("t-1"), None)] {
        let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
        let app = app(&table, &keys).await;
        run(&app, created, create_operator("op")).await.unwrap();
        let status = run(&app, now, json!({"command": "status"})).await.unwrap();
        assert_eq!(status["table_matches"], json!(true), "{created:?} {now:?}");
        run(&app, now, create_acme()).await.unwrap();
    }
}

/// Raises the restore epoch after `passed` seconds. Returns the service as another process would serve the same store.
async fn after_raised_epoch(table: &Arc<DynamoTable>, keys: &KeyFile, passed: u64) -> Service {
    let mut before = app(table, keys).await;
    before.clock = Arc::new(TestClock::at(BEGIN + Duration::from_secs(passed)));
    run(&before, None, raise_epoch()).await.unwrap();
    let after = Service::in_current_epoch(Arc::clone(table) as Arc<dyn Table>, keys.keys().unwrap()).await;
    after.advance(passed);
    after
}

async fn recovery_token(service: &Service, user: &TestUser) -> String {
    let request = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&user.session);
    service.send(request).await.ok().text("/recovery_token")
}

#[tokio::test]
async fn restore_revokes_issued_tokens_but_not_password_and_factor() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    let op = app(&table, &keys).await;
    run(&op, None, create_operator("op")).await.unwrap();
    let service = Service::with_table(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut users = service.add_users().await;
    let (mut ann, mut bob) = (users.remove("ann").unwrap(), users.remove("bob").unwrap());
    service.enrol(&mut ann).await;
    service.enrol(&mut bob).await;
    service.sign_in(&mut bob).await;
    let recovery = recovery_token(&service, &bob).await;
    assert!(service.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"]["exists"] == true);
    let challenge = service.challenge_token(&bob).await;
    let eve = users.remove("eve").unwrap();
    let enrolment = service.enrolment_token(&eve).await;
    let settings = json!({"reset_code_for": "everyone"});
    let ann_now = service.stepped_up_session(&mut ann).await;
    service.patch("/v1/admin/settings", &ann_now, settings).await.ok();
    let path = format!("/v1/admin/users/{}/mfa-reset", eve.id);
    let reset = service.post(&path, &ann_now, json!({"reason": "lost"})).await.ok().text("/reset_code");
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap() + 90;

    let after = after_raised_epoch(&table, &keys, passed).await;
    for token in [&bob.session, &challenge, &enrolment, &ann_now] {
        assert!(after.get("/v1/session", token).await.is(401, "invalid_token"));
    }
    let code = json!({"code": after.next_code(&mut bob)});
    assert!(after.post("/v1/verify", &challenge, code).await.is(401, "invalid_token"));
    assert!(after.post("/v1/mfa/enrolments", &enrolment, json!({})).await.is(401, "invalid_token"));
    // The issued reset code is void, and no one can enrol without a new one.
    let again = after.enrolment_token(&eve).await;
    let refused = after.post("/v1/mfa/enrolments", &again, json!({"reset_code": reset})).await;
    assert!(refused.is(403, "reset_code_required"), "{refused:?}");
    let fresh = after.challenge_token(&bob).await;
    assert!(after.verify(&fresh, &recovery).await.is(401, "invalid_code"));
    // The known device is no longer known: its failures count for the username.
    let known =
        json!({"tenant": bob.tenant, "username": bob.username, "password": "wrong", "device_token": bob.device});
    after.send(TestRequest::new(Method::POST, "/v1/login").json(known)).await;

    after.sign_in(&mut bob).await;
    assert_eq!(after.get("/v1/sessions", &bob.session).await.ok().body["items"].as_array().unwrap().len(), 1);
    assert_eq!(after.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"], json!({"exists": false}));
    assert_eq!(after.get("/v1/session", &bob.session).await.ok().body["recovery_token"], json!({"exists": false}));
    let renewed = recovery_token(&after, &bob).await;
    assert!(after.get("/v1/mfa", &bob.session).await.ok().body["recovery_token"]["exists"] == true);
    let challenge = after.challenge_token(&bob).await;
    after.verify(&challenge, &renewed).await.ok();
}

/// The state of the function, at the service's time.
async fn current_app(table: &Arc<DynamoTable>, keys: &KeyFile, service: &Service) -> App {
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap();
    let mut app = app(table, keys).await;
    app.clock = Arc::new(TestClock::at(BEGIN + Duration::from_secs(passed)));
    app
}

#[tokio::test]
async fn ticket_resets_only_the_only_administrator() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    run(&app(&table, &keys).await, None, create_operator("boss")).await.unwrap();
    let service = Service::with_table(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut users = service.add_users().await;
    let mut gus = users.remove("gus").unwrap();
    for name in ["ann", "amy", "bob"] {
        service.enrol(users.get_mut(name).unwrap()).await;
    }
    service.enrol(&mut gus).await;
    let (session, challenge) = (gus.session.clone(), service.challenge_token(&gus).await);
    let reset = |tenant: &str, username: &str, ticket: &str| json!({"command": "reset_mfa", "tenant": tenant, "username": username, "ticket": ticket, "reason": "lost"});
    let app = current_app(&table, &keys, &service).await;
    // Another Administrator has a factor, or the user is not an Administrator.
    assert_eq!(run(&app, None, reset("acme", "ann", "T-1")).await, Err("not_sole_administrator"));
    assert_eq!(run(&app, None, reset("acme", "bob", "T-1")).await, Err("not_sole_administrator"));
    assert_eq!(run(&app, None, reset("nowhere", "gus", "T-1")).await, Err("not_found"));
    assert!(service.get("/v1/session", &session).await.status.is_success(), "nothing was done yet");

    // The refusals did not use up the ticket.
    let done = run(&app, None, reset("globex", "gus", "T-1")).await.unwrap();
    assert_eq!(done["user"]["mfa"], "none");
    assert_eq!(run(&app, None, reset("globex", "gus", "T-1")).await, Err("ticket_used"));
    assert!(service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    let code = json!({"code": service.next_code(&mut gus)});
    assert!(service.post("/v1/verify", &challenge, code).await.is(401, "invalid_token"));
    let token = service.enrolment_token(&gus).await;
    assert!(service.post("/v1/mfa/enrolments", &token, json!({})).await.is(403, "reset_code_required"));
    service.enrol_with(&mut gus, &token, json!({"reset_code": done["reset_code"]})).await;
    let audit = service.get(&format!("/v1/admin/audit?user_id={}", gus.id), &gus.session).await.ok();
    let row = audit.body["items"].as_array().unwrap().iter().find(|row| row["action"] == "mfa.reset").unwrap();
    let who = (&row["actor_tenant"], &row["ticket"], &row["reason"], &row["request_id"], &row["actor"]);
    assert_eq!(who, (&json!("support"), &json!("T-1"), &json!("lost"), &json!("invocation"), &Value::Null));
}

/// The security version of every user.
async fn security_versions(table: &Arc<DynamoTable>) -> Vec<(String, SecurityVersion)> {
    let store = Store::new(Arc::clone(table) as Arc<dyn Table>);
    let acme = TenantId::parse("acme").unwrap();
    let page = store.list_users(&acme, &UserFilter::default(), None, 100).await.unwrap();
    page.items.into_iter().map(|(key, user, _)| (key.user().as_str().to_owned(), user.security_version)).collect()
}

#[tokio::test]
async fn revoked_sessions_displace_no_live_one_and_security_version_stays() {
    let (table, keys) = (table().await, KeyFile::generate(&SystemEntropy).unwrap());
    run(&app(&table, &keys).await, None, create_operator("boss")).await.unwrap();
    let service = Service::with_table(Arc::clone(&table) as Arc<dyn Table>, keys.keys().unwrap());
    let mut users = service.add_users().await;
    let mut bob = users.remove("bob").unwrap();
    service.enrol(&mut bob).await;
    let mut revoked = vec![bob.session.clone()];
    for _ in 1..SESSIONS {
        service.sign_in(&mut bob).await;
        revoked.push(bob.session.clone());
    }
    for session in &revoked {
        service.get("/v1/session", session).await.ok();
    }
    let passed = u64::try_from(service.now() - BEGIN.secs()).unwrap() + 90;
    let versions = security_versions(&table).await;
    assert!(versions.len() == 8 && versions.contains(&("u-bob".to_owned(), SecurityVersion(2))), "{versions:?}");
    let after = after_raised_epoch(&table, &keys, passed).await;
    let mut live = Vec::new();
    for count in 1..=SESSIONS {
        after.sign_in(&mut bob).await;
        live.push(bob.session.clone());
        for session in &live {
            after.get("/v1/session", session).await.ok();
        }
        let listed = after.get("/v1/sessions", &bob.session).await.ok();
        assert_eq!(listed.body["items"].as_array().unwrap().len(), count);
    }
    for session in &revoked {
        assert!(after.get("/v1/session", session).await.is(401, "invalid_token"));
    }
    assert_eq!(security_versions(&table).await, versions);
}
