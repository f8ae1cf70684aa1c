//! What the directory, batches and support refuse and keep, over HTTP: beyond the journeys of product.md.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, People, Reply, Service};

async fn fresh(service: &Service, people: &mut People, name: &str) -> String {
    service.fresh(people.get_mut(name).unwrap()).await
}

fn newcomer(name: &str) -> Value {
    json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": name})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// The actions in a tenant's audit, the latest first.
async fn actions(service: &Service, token: &str, query: &str) -> Vec<Value> {
    let audit = service.get(&format!("/v1/admin/audit?limit=100{query}"), token).await.ok();
    audit.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn nobody_sets_their_own_password_without_the_current_one() {
    let (service, mut people) = Service::peopled().await;
    let ann = fresh(&service, &mut people, "ann").await;
    let own = service.patch("/v1/admin/users/u-ann", &ann, json!({"password": "a good long password"})).await;
    assert!(own.is(403, "forbidden"), "{own:?}");
    let short = service.patch("/v1/admin/users/u-con1", &ann, json!({"password": "14 characters."})).await;
    assert!(short.is(400, "invalid_request"), "contacts may become single-factor: {short:?}");
    let both = json!({"kind": "contact", "role": "portal", "password": "14 characters."});
    assert!(service.patch("/v1/admin/users/u-eve", &ann, both).await.is(400, "invalid_request"));
    service.patch("/v1/admin/users/u-bob", &ann, json!({"password": "14 characters."})).await.ok();
    let bob = people.get_mut("bob").unwrap();
    assert!(service.login(bob).await.is(401, "invalid_credentials"), "the old one is dead");
    "14 characters.".clone_into(&mut bob.password);
    assert_eq!(service.login(bob).await.ok().text("/status"), "enrolment_required");
}

/// What is written before the outcome is known says no more than that the password was right.
#[tokio::test]
async fn the_audit_tells_a_right_password_from_a_sign_in() {
    let (service, mut people) = Service::peopled().await;
    let ann = fresh(&service, &mut people, "ann").await;
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
    service.send(ask.header("idempotency-key", "k")).await.ok();
    for name in ["bob", "con1"] {
        service.login(&people[name]).await.ok();
    }
    let told = async |id: &str| {
        let rows = actions(&service, &ann, &format!("&user_id={id}")).await;
        let told = rows.iter().map(|row| (row["action"].as_str().unwrap().to_owned(), row["outcome"].clone()));
        told.filter(|(action, _)| action.starts_with("login")).collect::<Vec<_>>()
    };
    assert_eq!(told("u-bob").await, [("login.password_accepted".to_owned(), json!("success"))]);
    assert_eq!(told("u-con1").await, [("login".to_owned(), json!("success"))]);
}

/// They turn the text around them, or hide in it: a name with one is shown as another.
#[tokio::test]
async fn username_with_control_characters_is_refused() {
    let (service, mut people) = Service::peopled().await;
    let ann = fresh(&service, &mut people, "ann").await;
    for c in [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{7f}',
        '\u{85}',
    ] {
        let name = format!("b{c}ob");
        let made = service.post("/v1/admin/users", &ann, with(newcomer("x"), "username", json!(name))).await;
        assert!(made.is(400, "invalid_request"), "{c:?} {made:?}");
        let body = json!({"tenant": "acme", "username": name, "password": people["bob"].password});
        let login = service.send(Ask::new(Method::POST, "/v1/login").json(body)).await;
        assert!(login.is(401, "invalid_credentials"), "{c:?} {login:?}");
    }
}

fn new_password(current: &str) -> Value {
    json!({"current_password": current, "new_password": "a good long password"})
}

#[tokio::test]
async fn a_stolen_session_has_five_tries_at_the_password_and_ends() {
    let (service, mut people) = Service::peopled().await;
    let other = fresh(&service, &mut people, "bob").await;
    service.pass(30);
    let stolen = service.sign_in(people.get_mut("bob").unwrap()).await.text("/session/token");
    for _ in 0..5 {
        let refused = service.post("/v1/password", &stolen, new_password("not the pass word")).await;
        assert!(refused.is(401, "invalid_credentials"), "{refused:?}");
    }
    let sixth = service.post("/v1/password", &stolen, new_password(&people["bob"].password)).await;
    assert!(sixth.is(401, "invalid_token"), "the right one comes too late: {sixth:?}");
    assert!(service.get("/v1/session", &stolen).await.is(401, "invalid_token"));
    assert_eq!(service.get("/v1/sessions", &other).await.ok().body["items"].as_array().unwrap().len(), 1);
    assert_eq!(service.login(&people["bob"]).await.ok().text("/status"), "mfa_required", "sign-in is not delayed");
    let ann = fresh(&service, &mut people, "ann").await;
    let rows = actions(&service, &ann, "&user_id=u-bob").await;
    let ended: Vec<_> = rows.iter().filter(|row| row["action"] == "password.attacked").collect();
    assert_eq!(ended.iter().map(|row| &row["notified"]).collect::<Vec<_>>(), [&json!(["user"])], "Bob is told, once");
    assert_eq!(rows.iter().filter(|row| row["action"] == "password.changed" && row["outcome"] == "refused").count(), 5);
    assert!(!rows.iter().any(|row| row["action"] == "login.delayed"));
}

#[tokio::test]
async fn strangers_who_fail_at_sign_in_do_not_stop_the_owner_from_changing_the_password() {
    let (service, mut people) = Service::peopled().await;
    let bob = fresh(&service, &mut people, "bob").await;
    for n in 0..6 {
        let wrong = json!({"tenant": "acme", "username": "bob", "password": "not the pass word"});
        let refused = service.send(Ask::new(Method::POST, "/v1/login").json(wrong)).await;
        assert!(
            refused.is(if n < 5 { 401 } else { 429 }, if n < 5 { "invalid_credentials" } else { "too_many_attempts" })
        );
    }
    let wrong = service.post("/v1/password", &bob, new_password("not the pass word")).await;
    assert!(wrong.is(401, "invalid_credentials"), "it is evaluated: {wrong:?}");
    let session = service.post("/v1/password", &bob, new_password(&people["bob"].password)).await.ok();
    service.get("/v1/session", &session.text("/session/token")).await.ok();
}

#[tokio::test]
async fn support_has_operators_alone_and_they_are_nobody_elsewhere() {
    let (service, mut people) = Service::peopled().await;
    let (ann, op) = (fresh(&service, &mut people, "ann").await, fresh(&service, &mut people, "op").await);
    let operator = with(newcomer("ops"), "role", json!("operator"));
    service.post("/v1/admin/users", &op, operator.clone()).await.ok();
    for (token, body) in [
        (&ann, operator),
        (&op, newcomer("x")),
        (&op, with(newcomer("x"), "role", json!("administrator"))),
        (&op, with(with(newcomer("x"), "kind", json!("contact")), "role", json!("portal"))),
    ] {
        let refused = service.post("/v1/admin/users", token, body).await;
        assert!(refused.is(400, "invalid_request"), "{refused:?}");
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
    let refused = actions(&service, &ann, "&user_id=u-ann").await;
    assert_eq!(refused.iter().filter(|row| row["action"] == "forbidden").count(), 2, "written down");
}

#[tokio::test]
async fn a_new_tenant_is_whole_and_an_id_is_given_once() {
    let (service, mut people) = Service::peopled().await;
    let op = fresh(&service, &mut people, "op").await;
    let body = |id: &str, password: &str| json!({"id": id, "name": "New", "administrator": {"username": "Ada", "password": password, "display_name": "Ada"}});
    let made = service.post("/v1/support/tenants", &op, body("new", "a good long password")).await.ok();
    assert_eq!(made.status, 201);
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
    let login = service.send(Ask::new(Method::POST, "/v1/login").json(login)).await.ok();
    assert_eq!(login.text("/status"), "enrolment_required");
}

/// The field of each item of a list.
fn each(list: &Reply, field: &str) -> Vec<Value> {
    list.body["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

#[tokio::test]
async fn operators_find_tenants_by_id_and_name() {
    let (service, mut people) = Service::peopled().await;
    let op = fresh(&service, &mut people, "op").await;
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
async fn operators_find_users_of_a_tenant_and_see_what_they_need_alone() {
    let (service, mut people) = Service::peopled().await;
    let (ann, op) = (fresh(&service, &mut people, "ann").await, fresh(&service, &mut people, "op").await);
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
async fn look_ups_of_users_are_audited_in_their_tenant_and_those_of_tenants_in_support() {
    let (service, mut people) = Service::peopled().await;
    let (ann, gus) = (fresh(&service, &mut people, "ann").await, fresh(&service, &mut people, "gus").await);
    let op = fresh(&service, &mut people, "op").await;
    service.get("/v1/support/tenants?q=ac", &op).await.ok();
    let asked = service.get("/v1/support/tenants/acme/users?q=none", &op).await.ok();
    let cursor = service.get("/v1/support/tenants/acme/users?limit=1", &op).await.ok().text("/next_cursor");
    service.get(&format!("/v1/support/tenants/acme/users?limit=1&cursor={cursor}"), &op).await.ok();
    service.get("/v1/support/tenants/support/users", &op).await.ok();
    let listed = async |token: &str| -> Vec<Value> {
        let rows = actions(&service, token, "").await.into_iter();
        rows.filter(|row| row["action"].as_str().unwrap().ends_with(".listed")).collect()
    };
    let acme = listed(&ann).await;
    assert_eq!(acme.len(), 3, "each page: {acme:?}");
    for row in &acme {
        let said = (&row["action"], &row["outcome"], &row["actor"], &row["actor_tenant"], &row["target"]);
        let success = json!("success");
        let want = (&json!("users.listed"), &success, &json!("u-op"), &json!("support"), &Value::Null);
        assert_eq!(said, want);
    }
    let request = asked.headers["x-request-id"].to_str().unwrap();
    assert_eq!(acme.iter().filter(|row| row["request_id"] == request).count(), 1);
    let own = listed(&op).await;
    let said: Vec<_> =
        own.iter().map(|row| (row["action"].as_str().unwrap(), row["actor"].as_str().unwrap())).collect();
    assert!(said.contains(&("tenants.listed", "u-op")) && said.contains(&("users.listed", "u-op")), "{said:?}");
    assert!(said.len() == 2 && own.iter().all(|row| row["actor_tenant"].is_null()), "the actor is of this tenant");
    assert!(listed(&gus).await.is_empty());
}

#[tokio::test]
async fn the_audit_is_a_tenants_own_and_says_who_and_whom() {
    let (service, mut people) = Service::peopled().await;
    let (ann, gus) = (fresh(&service, &mut people, "ann").await, fresh(&service, &mut people, "gus").await);
    service.patch("/v1/admin/users/u-con1", &ann, json!({"display_name": "C"})).await.ok();
    service.pass(10);
    service.patch("/v1/admin/users/u-con2", &ann, json!({"email": "c@example.com", "active": false})).await.ok();
    let rows = actions(&service, &ann, "").await;
    let changed: Vec<_> = rows.iter().filter(|row| row["action"] == "user.changed").collect();
    let said = |row: &Value| (row["actor"].clone(), row["target"].clone(), row["changed"].clone());
    assert_eq!(said(changed[0]), (json!("u-ann"), json!("u-con2"), json!(["active", "email"])));
    assert_eq!(said(changed[1]), (json!("u-ann"), json!("u-con1"), json!(["display_name"])));
    assert!(!changed[0].to_string().contains("c@example.com"), "fields, never values");
    let between = format!("&from={}", changed[0]["at"].as_str().unwrap());
    assert_eq!(actions(&service, &ann, &between).await.len(), 1);
    let before = format!("&to={}", changed[0]["at"].as_str().unwrap());
    assert_eq!(actions(&service, &ann, &before).await.len(), rows.len() - 1);
    let theirs = actions(&service, &gus, "").await;
    assert!(!theirs.is_empty() && theirs.iter().all(|row| !row.to_string().contains("u-con")));
    for query in ["from=yesterday", "cursor=x", "user_id=a%23b", "limit=101", "what=1"] {
        let refused = service.get(&format!("/v1/admin/audit?{query}"), &ann).await;
        assert!(refused.is(400, "invalid_request"), "{query}: {refused:?}");
    }
}

#[tokio::test]
async fn a_batch_says_no_to_what_it_does_not_know() {
    let (service, mut people) = Service::peopled().await;
    let ann = fresh(&service, &mut people, "ann").await;
    let whole = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "portal only"});
    let send = |key: Option<&'static str>, body: Value| {
        let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann).json(body);
        let ask = key.into_iter().fold(ask, |ask, key| ask.header("Idempotency-Key", key));
        let service = &service;
        async move { service.send(ask).await }
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
    assert_eq!(done.body["counts"]["excluded"], 1, "nothing refused had claimed the key");
    let again = send(Some("k"), with(whole.clone(), "dry_run", json!(false))).await.ok();
    assert_eq!(again.body, done.body, "what is left out is the same as what it stands for");
    assert!(send(Some("k"), with(whole, "dry_run", json!(true))).await.is(409, "idempotency_mismatch"));
    let path = format!("/v1/admin/portal-exclusions/{}", done.text("/batch_id"));
    let amy = fresh(&service, &mut people, "amy").await;
    assert_eq!(service.get(&path, &amy).await.ok().body, done.body, "any Administrator of the tenant reads it");
    let gus = fresh(&service, &mut people, "gus").await;
    assert!(service.get(&path, &gus).await.is(404, "not_found"));
}

#[tokio::test]
async fn whoever_is_demoted_finds_their_batch_ended_and_begins_none() {
    let (service, mut people) = Service::peopled().await;
    let (ann, amy) = (fresh(&service, &mut people, "ann").await, fresh(&service, &mut people, "amy").await);
    service.patch("/v1/admin/users/u-ann", &amy, json!({"role": "standard"})).await.ok();
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "late"});
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").json(body).header("Idempotency-Key", "late");
    assert!(service.send(ask.clone().token(&ann)).await.is(401, "session_refresh_required"));
    let ann = fresh(&service, &mut people, "ann").await;
    assert!(service.send(ask.token(&ann)).await.is(403, "forbidden"));
    let con1 = service.get("/v1/admin/users/u-con1", &amy).await.ok();
    assert_eq!(con1.body["excluded"], false);
    let last = service.patch("/v1/admin/users/u-amy", &amy, json!({"role": "standard"})).await;
    assert!(last.is(409, "conflict"), "{last:?}");
}

/// security.md 54: an attempt that the role allowed and the rules did not is in the audit too.
#[tokio::test]
async fn refused_acts_of_administrators_are_written_down() {
    let (service, mut people) = Service::peopled().await;
    fresh(&service, &mut people, "amy").await;
    let ann = fresh(&service, &mut people, "ann").await;
    let reason = || json!({"reason": "mine"});
    assert!(service.post("/v1/admin/users/u-ann/mfa-reset", &ann, reason()).await.is(403, "forbidden"));
    let own = service.patch("/v1/admin/users/u-ann", &ann, json!({"password": "a good long password"})).await;
    assert!(own.is(403, "forbidden"));
    service.patch("/v1/admin/users/u-amy", &ann, json!({"role": "standard"})).await.ok();
    assert!(service.patch("/v1/admin/users/u-ann", &ann, json!({"active": false})).await.is(409, "conflict"));
    assert!(service.delete("/v1/admin/users/u-ann", &ann).await.is(409, "conflict"));
    let rows = actions(&service, &ann, "&user_id=u-ann").await;
    let refused = |action: &str| {
        let mut rows = rows.iter();
        rows.any(|row| row["action"] == action && row["outcome"] == "refused" && row["target"] == "u-ann")
    };
    for action in ["mfa.reset", "user.changed", "user.deleted"] {
        assert!(refused(action), "{action}: {rows:?}");
    }
    assert!(rows.iter().any(|row| row["outcome"] == "refused" && row["reason"] == "mine"), "and why they wanted to");
    let op = fresh(&service, &mut people, "op").await;
    let ask = json!({"tenant": "acme", "username": "bob", "ticket": "T-9", "reason": "r"});
    let refused = service.post("/v1/support/mfa-resets", &op, ask).await;
    assert!(refused.is(409, "not_sole_administrator"));
    assert!(refused.text("/detail").starts_with("the user is not an active Administrator"), "{refused:?}");
    let rows = actions(&service, &op, "").await;
    assert!(
        rows.iter().any(|row| row["action"] == "mfa.reset" && row["outcome"] == "refused" && row["ticket"] == "T-9")
    );
}

/// docs/product.md, "Order of checks": form, token, role, freshness, state.
#[tokio::test]
async fn kind_and_role_that_fit_nowhere_are_a_matter_of_form() {
    let (service, mut people) = Service::peopled().await;
    let bob = fresh(&service, &mut people, "bob").await;
    for (kind, role) in [("contact", "administrator"), ("contact", "operator"), ("employee", "portal")] {
        let mut body = json!({"kind": kind, "role": role});
        let path = "/v1/admin/users/u-eve";
        assert!(service.patch(path, &bob, body.clone()).await.is(400, "invalid_request"), "{kind} {role}");
        for (name, value) in [("auth_type", "local"), ("username", "zoe"), ("display_name", "Zoe")] {
            body[name] = value.into();
        }
        let ask = Ask::new(Method::POST, "/v1/admin/users").json(body);
        assert!(service.send(ask).await.is(400, "invalid_request"), "{kind} {role}");
    }
    assert!(service.patch("/v1/admin/users/u-eve", &bob, json!({"role": "portal"})).await.is(403, "forbidden"));
}
