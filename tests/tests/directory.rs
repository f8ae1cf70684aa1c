//! What the directory, batches and support refuse and store, beyond the journeys of product.md.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUsers, idp::Idp};

async fn step_up_session(service: &Service, users: &mut TestUsers, name: &str) -> String {
    service.stepped_up_session(users.get_mut(name).unwrap()).await
}

fn new_employee(name: &str) -> Value {
    json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": name})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// The rows of a tenant's audit, newest first.
async fn audit_rows(service: &Service, token: &str, query: &str) -> Vec<Value> {
    let audit = service.get(&format!("/v1/admin/audit?limit=100{query}"), token).await.ok();
    audit.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn own_password_change_requires_the_current_password() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    let own = service.patch("/v1/admin/users/u-ann", &ann, json!({"password": "a good long password"})).await;
    assert!(own.is(403, "forbidden"), "{own:?}");
    let short = service.patch("/v1/admin/users/u-con1", &ann, json!({"password": "14 characters."})).await;
    assert!(short.is(400, "invalid_request"), "a contact may be excluded and needs a long password: {short:?}");
    let both = json!({"kind": "contact", "role": "portal", "password": "14 characters."});
    assert!(service.patch("/v1/admin/users/u-eve", &ann, both).await.is(400, "invalid_request"));
    service.patch("/v1/admin/users/u-bob", &ann, json!({"password": "14 characters."})).await.ok();
    let bob = users.get_mut("bob").unwrap();
    assert!(service.login(bob).await.is(401, "invalid_credentials"), "the old password is refused");
    "14 characters.".clone_into(&mut bob.password);
    assert_eq!(service.login(bob).await.ok().text("/status"), "enrolment_required");
}

/// The form comes before the token, and is no attempt.
#[tokio::test]
async fn too_long_current_password_is_an_error_of_its_field() {
    let (service, _) = Service::with_users().await;
    let body = new_password(&"x".repeat(1025));
    let refused = service.send(TestRequest::new(Method::POST, "/v1/password").json(body)).await;
    assert!(refused.is(400, "invalid_request"), "{refused:?}");
    assert_eq!(refused.text("/errors/0/field"), "/current_password");
}

#[tokio::test]
async fn user_is_told_of_changes_of_how_they_sign_in_and_of_no_others() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    service.put("/v1/admin/sso", &ann, Idp::new("https://idp.example").fields()).await.ok();
    for (change, told) in [
        (json!({"password": "a good long password"}), json!(["user"])),
        (json!({"auth_type": "saml_sso"}), json!(["user"])),
        (json!({"sso_name_id": "00u1"}), json!(["user"])),
        (json!({"display_name": "Robert"}), Value::Null),
        (json!({"role": "administrator"}), Value::Null),
    ] {
        let done = service.patch("/v1/admin/users/u-bob", &ann, change.clone()).await.ok();
        let request = done.headers["x-request-id"].to_str().unwrap();
        let rows = audit_rows(&service, &ann, "&user_id=u-bob").await;
        let row = rows.iter().find(|row| row["request_id"] == request).unwrap();
        assert_eq!((&row["action"], &row["notified"]), (&json!("user.changed"), &told), "{change}");
    }
}

#[tokio::test]
async fn name_id_with_control_characters_or_surrounding_spaces_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    service.put("/v1/admin/sso", &ann, Idp::new("https://idp.example").fields()).await.ok();
    for name_id in ["00u\u{7}1", "00u\n1", " 00u1", "00u1 ", "\u{a0}00u1", " ", ""] {
        let refused = service.patch("/v1/admin/users/u-bob", &ann, json!({"sso_name_id": name_id})).await;
        assert!(refused.is(400, "invalid_request"), "{name_id:?} {refused:?}");
        assert_eq!(refused.text("/errors/0/field"), "/sso_name_id");
    }
    service.patch("/v1/admin/users/u-bob", &ann, json!({"sso_name_id": "00u 1"})).await.ok();
}

#[tokio::test]
async fn user_is_invited_only_if_asked_for_and_only_if_mails_are_configured() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    let new = |name: &str| with(new_employee(name), "email", json!("new@acme.example"));
    service.post("/v1/admin/users", &ann, new("ivy")).await.ok();
    assert!(service.mails().orders().is_empty());
    let silent = service.configured(|app| app.mails = None);
    silent.post("/v1/admin/users", &ann, new("max")).await.ok();
    let refused = silent.post("/v1/admin/users", &ann, with(new("moe"), "invite", json!(true))).await;
    assert!(refused.is(404, "not_found"), "{refused:?}");
    let found = service.get("/v1/admin/users?q=moe", &ann).await.ok();
    assert_eq!(found.body["items"], json!([]), "a user who cannot be invited is not created");
}

/// The row written before the outcome is known only says that the password was right.
#[tokio::test]
async fn audit_distinguishes_a_right_password_from_a_sign_in() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
    service.send(request.header("idempotency-key", "k")).await.ok();
    for name in ["bob", "con1"] {
        service.login(&users[name]).await.ok();
    }
    let sign_in_rows = async |id: &str| {
        let rows = audit_rows(&service, &ann, &format!("&user_id={id}")).await;
        let sign_in_rows = rows.iter().map(|row| (row["action"].as_str().unwrap().to_owned(), row["outcome"].clone()));
        sign_in_rows.filter(|(action, _)| action.starts_with("login")).collect::<Vec<_>>()
    };
    assert_eq!(sign_in_rows("u-bob").await, [("login.password_accepted".to_owned(), json!("success"))]);
    assert_eq!(sign_in_rows("u-con1").await, [("login".to_owned(), json!("success"))]);
}

/// Such characters reorder or hide text, so one name could be shown as another.
#[tokio::test]
async fn username_with_control_characters_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    for c in [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{7f}',
        '\u{85}',
    ] {
        let name = format!("b{c}ob");
        let created = service.post("/v1/admin/users", &ann, with(new_employee("x"), "username", json!(name))).await;
        assert!(created.is(400, "invalid_request"), "{c:?} {created:?}");
        let body = json!({"tenant": "acme", "username": name, "password": users["bob"].password});
        let login = service.send(TestRequest::new(Method::POST, "/v1/login").json(body)).await;
        assert!(login.is(401, "invalid_credentials"), "{c:?} {login:?}");
    }
}

fn new_password(current: &str) -> Value {
    json!({"current_password": current, "new_password": "a good long password"})
}

#[tokio::test]
async fn stolen_session_has_five_password_attempts_then_ends() {
    let (service, mut users) = Service::with_users().await;
    let other = step_up_session(&service, &mut users, "bob").await;
    service.advance(30);
    let stolen = service.sign_in(users.get_mut("bob").unwrap()).await.text("/session/token");
    for _ in 0..5 {
        let refused = service.post("/v1/password", &stolen, new_password("not the pass word")).await;
        assert!(refused.is(401, "invalid_credentials"), "{refused:?}");
    }
    let sixth = service.post("/v1/password", &stolen, new_password(&users["bob"].password)).await;
    assert!(sixth.is(401, "invalid_token"), "the right password comes too late: {sixth:?}");
    assert!(service.get("/v1/session", &stolen).await.is(401, "invalid_token"));
    assert_eq!(service.get("/v1/sessions", &other).await.ok().body["items"].as_array().unwrap().len(), 1);
    assert_eq!(service.login(&users["bob"]).await.ok().text("/status"), "mfa_required", "sign-in is not delayed");
    let ann = step_up_session(&service, &mut users, "ann").await;
    let rows = audit_rows(&service, &ann, "&user_id=u-bob").await;
    let ended: Vec<_> = rows.iter().filter(|row| row["action"] == "password.attacked").collect();
    assert_eq!(
        ended.iter().map(|row| &row["notified"]).collect::<Vec<_>>(),
        [&json!(["user"])],
        "Bob is notified once"
    );
    assert_eq!(rows.iter().filter(|row| row["action"] == "password.changed" && row["outcome"] == "refused").count(), 5);
    assert!(!rows.iter().any(|row| row["action"] == "login.delayed"));
}

#[tokio::test]
async fn failed_logins_by_others_do_not_block_a_password_change() {
    let (service, mut users) = Service::with_users().await;
    let bob = step_up_session(&service, &mut users, "bob").await;
    for n in 0..6 {
        let wrong = json!({"tenant": "acme", "username": "bob", "password": "not the pass word"});
        let refused = service.send(TestRequest::new(Method::POST, "/v1/login").json(wrong)).await;
        assert!(
            refused.is(if n < 5 { 401 } else { 429 }, if n < 5 { "invalid_credentials" } else { "too_many_attempts" })
        );
    }
    let wrong = service.post("/v1/password", &bob, new_password("not the pass word")).await;
    assert!(wrong.is(401, "invalid_credentials"), "the password is checked: {wrong:?}");
    let session = service.post("/v1/password", &bob, new_password(&users["bob"].password)).await.ok();
    service.get("/v1/session", &session.text("/session/token")).await.ok();
}

#[tokio::test]
async fn support_tenant_has_only_operators_and_other_tenants_have_none() {
    let (service, mut users) = Service::with_users().await;
    let (ann, op) =
        (step_up_session(&service, &mut users, "ann").await, step_up_session(&service, &mut users, "op").await);
    let operator = with(new_employee("ops"), "role", json!("operator"));
    service.post("/v1/admin/users", &op, operator.clone()).await.ok();
    for (token, body) in [
        (&ann, operator),
        (&op, new_employee("x")),
        (&op, with(new_employee("x"), "role", json!("administrator"))),
        (&op, with(with(new_employee("x"), "kind", json!("contact")), "role", json!("portal"))),
    ] {
        let refused = service.post("/v1/admin/users", token, body.clone()).await;
        assert!(refused.is(400, "invalid_request"), "{refused:?}");
        let batch = service.post("/v1/admin/users/batch", token, json!({"users": [body]})).await.ok();
        assert_eq!(batch.text("/results/0/outcome"), "invalid");
    }
    assert!(service.get("/v1/admin/users/u-bob", &op).await.is(404, "not_found"));
    for path in ["/v1/support/tenants", "/v1/support/clients"] {
        let body = match path {
            "/v1/support/clients" => json!({"name": "x"}),
            _ => json!({"id": "x", "name": "X", "administrator": {
                "username": "x", "password": "a good long password", "display_name": "X"}}),
        };
        assert!(service.post(path, &ann, body).await.is(403, "forbidden"));
    }
    let refused = audit_rows(&service, &ann, "&user_id=u-ann").await;
    assert_eq!(refused.iter().filter(|row| row["action"] == "forbidden").count(), 2, "refusals are audited");
}

#[tokio::test]
async fn new_tenant_is_complete_and_its_id_unique() {
    let (service, mut users) = Service::with_users().await;
    let op = step_up_session(&service, &mut users, "op").await;
    let body = |id: &str, password: &str| json!({"id": id, "name": "New", "administrator": {"username": "Ada", "password": password, "display_name": "Ada"}});
    let created = service.post("/v1/support/tenants", &op, body("new", "a good long password")).await.ok();
    assert_eq!(created.status, 201);
    for (id, password, status, code) in [
        ("new", "a good long password", 409, "conflict"),
        ("acme", "a good long password", 409, "conflict"),
        ("support", "a good long password", 400, "invalid_request"),
        ("other", "password", 400, "invalid_request"),
        ("no#id", "a good long password", 400, "invalid_request"),
    ] {
        let refused = service.post("/v1/support/tenants", &op, body(id, password)).await;
        assert!(refused.is(status, code), "{id}: {refused:?}");
    }
    let login = json!({"tenant": "new", "username": "ADA", "password": "a good long password"});
    let login = service.send(TestRequest::new(Method::POST, "/v1/login").json(login)).await.ok();
    assert_eq!(login.text("/status"), "enrolment_required");
}

/// The field of each item of a list.
fn each(list: &Reply, field: &str) -> Vec<Value> {
    list.body["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

#[tokio::test]
async fn operators_find_tenants_by_id_and_name() {
    let (service, mut users) = Service::with_users().await;
    let op = step_up_session(&service, &mut users, "op").await;
    let new = json!({"id": "initech", "name": "\u{c4}pfel", "administrator": {
        "username": "ian", "password": "a good long password", "display_name": "Ian"}});
    service.post("/v1/support/tenants", &op, new).await.ok();
    let list = async |query: &str| service.get(&format!("/v1/support/tenants{query}"), &op).await.ok();
    assert_eq!(each(&list("").await, "id"), ["acme", "globex", "initech", "support"]);
    for query in ["?q=INI", "?q=%C3%A4P"] {
        assert_eq!(list(query).await.body, json!({"items": [{"id": "initech", "name": "\u{c4}pfel"}]}), "{query}");
    }
    assert_eq!(list("?q=none").await.body, json!({"items": []}));
    let first = list("?limit=3").await;
    let next = first.text("/next_cursor");
    let rest = list(&format!("?limit=3&cursor={next}")).await;
    assert_eq!((each(&first, "id").len(), rest.body), (3, json!({"items": [{"id": "support", "name": "Support"}]})));
    for query in ["limit=101".to_owned(), "what=1".to_owned(), "cursor=x".to_owned(), format!("q={}", "a".repeat(129))]
    {
        let refused = service.get(&format!("/v1/support/tenants?{query}"), &op).await;
        assert!(refused.is(400, "invalid_request"), "{query}: {refused:?}");
    }
    let others = service.get(&format!("/v1/support/tenants/acme/users?cursor={next}"), &op).await;
    assert!(others.is(400, "invalid_request"), "a cursor of another list: {others:?}");
}

#[tokio::test]
async fn operators_find_users_and_see_only_what_they_need() {
    let (service, mut users) = Service::with_users().await;
    let (ann, op) =
        (step_up_session(&service, &mut users, "ann").await, step_up_session(&service, &mut users, "op").await);
    let change = json!({"email": "bob@acme.example", "display_name": "Robert"});
    service.patch("/v1/admin/users/u-bob", &ann, change).await.ok();
    let list = async |path: &str| service.get(&format!("/v1/support/tenants/{path}"), &op).await;
    let whole = list("acme/users").await.ok();
    assert_eq!(each(&whole, "username"), ["amy", "ann", "bob", "con1", "con2", "con3", "eve", "off"]);
    let bob = json!({"id": "u-bob", "username": "bob", "display_name": "Robert", "kind": "employee", "role": "standard",
        "mfa": "none", "active": true, "excluded": false});
    for query in ["?q=BO", "?q=rob"] {
        assert_eq!(list(&format!("acme/users{query}")).await.ok().body, json!({"items": [bob]}), "{query}");
    }
    assert_eq!(each(&list("acme/users?q=ann").await.ok(), "mfa"), ["active"]);
    assert_eq!(each(&list("globex/users").await.ok(), "id"), ["u-gil", "u-gus"]);
    let first = list("globex/users?limit=1").await.ok();
    let rest = list(&format!("globex/users?limit=1&cursor={}", first.text("/next_cursor"))).await.ok();
    assert_eq!((each(&first, "id"), each(&rest, "id")), (vec![json!("u-gil")], vec![json!("u-gus")]));
    assert!(rest.body["next_cursor"].is_null());
    assert!(list("nowhere/users").await.is(404, "not_found"));
    assert!(list("T%23acme/users").await.is(400, "invalid_request"));
}

#[tokio::test]
async fn user_lookups_are_audited_in_the_tenant_and_tenant_lookups_in_support() {
    let (service, mut users) = Service::with_users().await;
    let (ann, gus) =
        (step_up_session(&service, &mut users, "ann").await, step_up_session(&service, &mut users, "gus").await);
    let op = step_up_session(&service, &mut users, "op").await;
    service.get("/v1/support/tenants?q=ac", &op).await.ok();
    let lookup = service.get("/v1/support/tenants/acme/users?q=none", &op).await.ok();
    let cursor = service.get("/v1/support/tenants/acme/users?limit=1", &op).await.ok().text("/next_cursor");
    service.get(&format!("/v1/support/tenants/acme/users?limit=1&cursor={cursor}"), &op).await.ok();
    service.get("/v1/support/tenants/support/users", &op).await.ok();
    let listed = async |token: &str| -> Vec<Value> {
        let rows = audit_rows(&service, token, "").await.into_iter();
        rows.filter(|row| row["action"].as_str().unwrap().ends_with(".listed")).collect()
    };
    let acme = listed(&ann).await;
    assert_eq!(acme.len(), 3, "a row for each page: {acme:?}");
    for row in &acme {
        let row_fields = (&row["action"], &row["outcome"], &row["actor"], &row["actor_tenant"], &row["target"]);
        let success = json!("success");
        let expected = (&json!("users.listed"), &success, &json!("u-op"), &json!("support"), &Value::Null);
        assert_eq!(row_fields, expected);
    }
    let request = lookup.headers["x-request-id"].to_str().unwrap();
    assert_eq!(acme.iter().filter(|row| row["request_id"] == request).count(), 1);
    let own = listed(&op).await;
    let audited: Vec<_> =
        own.iter().map(|row| (row["action"].as_str().unwrap(), row["actor"].as_str().unwrap())).collect();
    assert!(
        audited.contains(&("tenants.listed", "u-op")) && audited.contains(&("users.listed", "u-op")),
        "{audited:?}"
    );
    assert!(audited.len() == 2 && own.iter().all(|row| row["actor_tenant"].is_null()), "the actor is of this tenant");
    assert!(listed(&gus).await.is_empty());
}

#[tokio::test]
async fn audit_is_per_tenant_and_names_actor_and_subject() {
    let (service, mut users) = Service::with_users().await;
    let (ann, gus) =
        (step_up_session(&service, &mut users, "ann").await, step_up_session(&service, &mut users, "gus").await);
    service.patch("/v1/admin/users/u-con1", &ann, json!({"display_name": "C"})).await.ok();
    service.advance(10);
    service.patch("/v1/admin/users/u-con2", &ann, json!({"email": "c@example.com", "active": false})).await.ok();
    let rows = audit_rows(&service, &ann, "").await;
    let changed: Vec<_> = rows.iter().filter(|row| row["action"] == "user.changed").collect();
    let audited = |row: &Value| (row["actor"].clone(), row["target"].clone(), row["changed"].clone());
    assert_eq!(audited(changed[0]), (json!("u-ann"), json!("u-con2"), json!(["active", "email"])));
    assert_eq!(audited(changed[1]), (json!("u-ann"), json!("u-con1"), json!(["display_name"])));
    assert!(!changed[0].to_string().contains("c@example.com"), "the audit names fields, not values");
    let between = format!("&from={}", changed[0]["at"].as_str().unwrap());
    assert_eq!(audit_rows(&service, &ann, &between).await.len(), 1);
    let before = format!("&to={}", changed[0]["at"].as_str().unwrap());
    assert_eq!(audit_rows(&service, &ann, &before).await.len(), rows.len() - 1);
    let theirs = audit_rows(&service, &gus, "").await;
    assert!(!theirs.is_empty() && theirs.iter().all(|row| !row.to_string().contains("u-con")));
    for query in ["from=yesterday", "cursor=x", "user_id=a%23b", "limit=101", "what=1"] {
        let refused = service.get(&format!("/v1/admin/audit?{query}"), &ann).await;
        assert!(refused.is(400, "invalid_request"), "{query}: {refused:?}");
    }
}

#[tokio::test]
async fn batch_refuses_invalid_bodies_and_keys() {
    let (service, mut users) = Service::with_users().await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    let whole = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "portal only"});
    let send = |key: Option<&'static str>, body: Value| {
        let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        let service = &service;
        async move { service.send(request).await }
    };
    let refused = |reply: &Reply| assert!(reply.is(400, "invalid_request"), "{reply:?}");
    refused(&send(None, whole.clone()).await);
    refused(&send(Some("a b"), whole.clone()).await);
    for (field, value) in [
        ("contact_ids", json!([])),
        ("contact_ids", json!(["u con1"])),
        ("contact_ids", json!("u-con1")),
        ("disable_mfa", json!("true")),
        ("dry_run", json!(null)),
        ("reason", json!(" ")),
        ("force", json!(true)),
    ] {
        refused(&send(Some("k"), with(whole.clone(), field, value)).await);
    }
    let done = send(Some("k"), whole.clone()).await.ok();
    assert_eq!(done.body["counts"]["excluded"], 1, "refused requests do not use the key");
    let again = send(Some("k"), with(whole.clone(), "dry_run", json!(false))).await.ok();
    assert_eq!(again.body, done.body, "an omitted field equals its default");
    assert!(send(Some("k"), with(whole, "dry_run", json!(true))).await.is(409, "idempotency_mismatch"));
    let path = format!("/v1/admin/portal-exclusions/{}", done.text("/batch_id"));
    let amy = step_up_session(&service, &mut users, "amy").await;
    assert_eq!(service.get(&path, &amy).await.ok().body, done.body, "any Administrator of the tenant can read it");
    let gus = step_up_session(&service, &mut users, "gus").await;
    assert!(service.get(&path, &gus).await.is(404, "not_found"));
}

#[tokio::test]
async fn demoted_administrator_cannot_continue_or_start_a_batch() {
    let (service, mut users) = Service::with_users().await;
    let (ann, amy) =
        (step_up_session(&service, &mut users, "ann").await, step_up_session(&service, &mut users, "amy").await);
    service.patch("/v1/admin/users/u-ann", &amy, json!({"role": "standard"})).await.ok();
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "late"});
    let request =
        TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").json(body).header("Idempotency-Key", "late");
    assert!(service.send(request.clone().token(&ann)).await.is(401, "session_refresh_required"));
    let ann = step_up_session(&service, &mut users, "ann").await;
    assert!(service.send(request.token(&ann)).await.is(403, "forbidden"));
    let con1 = service.get("/v1/admin/users/u-con1", &amy).await.ok();
    assert_eq!(con1.body["excluded"], false);
    let last = service.patch("/v1/admin/users/u-amy", &amy, json!({"role": "standard"})).await;
    assert!(last.is(409, "conflict"), "{last:?}");
}

/// security.md 54: attempts that the role allows and a rule refuses are audited too.
#[tokio::test]
async fn refused_administrator_operations_are_audited() {
    let (service, mut users) = Service::with_users().await;
    step_up_session(&service, &mut users, "amy").await;
    let ann = step_up_session(&service, &mut users, "ann").await;
    let reason = || json!({"reason": "mine"});
    assert!(service.post("/v1/admin/users/u-ann/mfa-reset", &ann, reason()).await.is(403, "forbidden"));
    let own = service.patch("/v1/admin/users/u-ann", &ann, json!({"password": "a good long password"})).await;
    assert!(own.is(403, "forbidden"));
    service.patch("/v1/admin/users/u-amy", &ann, json!({"role": "standard"})).await.ok();
    assert!(service.patch("/v1/admin/users/u-ann", &ann, json!({"active": false})).await.is(409, "conflict"));
    assert!(service.delete("/v1/admin/users/u-ann", &ann).await.is(409, "conflict"));
    assert!(service.post("/v1/admin/users", &ann, new_employee("bob")).await.is(409, "conflict"));
    let rows = audit_rows(&service, &ann, "").await;
    let creation = rows.iter().find(|row| row["action"] == "user.created" && row["outcome"] == "refused");
    assert_eq!(creation.unwrap()["actor"], "u-ann");
    let rows = audit_rows(&service, &ann, "&user_id=u-ann").await;
    let refused = |action: &str| {
        let mut rows = rows.iter();
        rows.any(|row| row["action"] == action && row["outcome"] == "refused" && row["target"] == "u-ann")
    };
    for action in ["mfa.reset", "user.changed", "user.deleted"] {
        assert!(refused(action), "{action}: {rows:?}");
    }
    assert!(rows.iter().any(|row| row["outcome"] == "refused" && row["reason"] == "mine"), "the reason is audited");
    let op = step_up_session(&service, &mut users, "op").await;
    let request = json!({"tenant": "acme", "username": "bob", "ticket": "T-9", "reason": "r"});
    let refused = service.post("/v1/support/mfa-resets", &op, request).await;
    assert!(refused.is(409, "not_sole_administrator"));
    assert!(refused.text("/detail").starts_with("the user is not an active Administrator"), "{refused:?}");
    let administrator = json!({"username": "zoe", "display_name": "Zoe", "password": "a good long password"});
    let taken = json!({"id": "acme", "name": "Acme", "administrator": administrator});
    assert!(service.post("/v1/support/tenants", &op, taken).await.is(409, "conflict"));
    let rows = audit_rows(&service, &op, "").await;
    let refused =
        |action: &str| rows.iter().find(|row| row["action"] == action && row["outcome"] == "refused").unwrap();
    assert_eq!(refused("mfa.reset")["ticket"], "T-9");
    assert_eq!(refused("tenant.created")["actor"], "u-op");
}

/// docs/product.md, "Order of checks": form, token, role, step-up, state.
#[tokio::test]
async fn kind_and_role_mismatch_is_a_form_error() {
    let (service, mut users) = Service::with_users().await;
    let bob = step_up_session(&service, &mut users, "bob").await;
    for (kind, role) in [("contact", "administrator"), ("contact", "operator"), ("employee", "portal")] {
        let mut body = json!({"kind": kind, "role": role});
        let path = "/v1/admin/users/u-eve";
        assert!(service.patch(path, &bob, body.clone()).await.is(400, "invalid_request"), "{kind} {role}");
        for (name, value) in [("auth_type", "local"), ("username", "zoe"), ("display_name", "Zoe")] {
            body[name] = value.into();
        }
        let request = TestRequest::new(Method::POST, "/v1/admin/users").json(body);
        assert!(service.send(request).await.is(400, "invalid_request"), "{kind} {role}");
    }
    assert!(service.patch("/v1/admin/users/u-eve", &bob, json!({"role": "portal"})).await.is(403, "forbidden"));
}
