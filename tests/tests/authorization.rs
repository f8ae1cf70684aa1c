//! Every operation against every caller who may not use it: no token, each wrong class of token, another role, another
//! tenant, a stale step-up. An operation that is not in the table fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Ask, People, Reply, Service, document::DOCUMENT, idp::Idp};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Anybody: a door.
    Anyone,
    /// The holder of a challenge.
    Challenge,
    /// The holder of an enrolment token, or of a session.
    Enrolling,
    /// Somebody signed in.
    Session,
    /// Somebody signed in, with a fresh step-up.
    Fresh,
    /// An Administrator.
    Reader,
    /// An Administrator with a fresh step-up.
    Administrator,
    /// An operator.
    OperatorReader,
    /// An operator with a fresh step-up.
    Operator,
    /// A portal, by its client credential.
    Client,
}
use Who::{Administrator, Anyone, Challenge, Client, Enrolling, Fresh, Operator, OperatorReader, Reader, Session};

fn table() -> Vec<(&'static str, &'static str, Who, Option<Value>)> {
    let code = || Some(json!({"code": "123456"}));
    let user = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "new",
                      "display_name": "New", "password": "a good long password"});
    let tenant = json!({"id": "new", "name": "New", "administrator": {
        "username": "a", "password": "a good long password", "display_name": "A"}});
    let exclusion = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let support = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
    vec![
        ("post", "/v1/login", Anyone, Some(json!({"tenant": "acme", "username": "bob", "password": "x"}))),
        ("post", "/v1/verify", Challenge, code()),
        ("post", "/v1/step-up", Session, code()),
        ("post", "/v1/mfa/enrolments", Enrolling, Some(json!({}))),
        ("post", "/v1/mfa/enrolments/confirm", Enrolling, code()),
        ("get", "/v1/mfa", Session, None),
        ("delete", "/v1/mfa", Session, None),
        ("post", "/v1/mfa/recovery-token", Fresh, None),
        ("get", "/v1/session", Session, None),
        ("delete", "/v1/session", Session, None),
        ("get", "/v1/sessions", Session, None),
        ("delete", "/v1/sessions", Session, None),
        ("delete", "/v1/sessions/{id}", Session, None),
        ("post", "/v1/introspect", Client, None),
        ("post", "/v1/password", Fresh, Some(json!({"current_password": "x", "new_password": "a good long password"}))),
        ("post", "/v1/admin/users", Administrator, Some(user)),
        ("get", "/v1/admin/users", Reader, None),
        ("get", "/v1/admin/users/{id}", Reader, None),
        ("patch", "/v1/admin/users/{id}", Administrator, Some(json!({"display_name": "New"}))),
        ("delete", "/v1/admin/users/{id}", Administrator, None),
        ("post", "/v1/admin/users/{user_id}/mfa-reset", Administrator, Some(json!({"reason": "r"}))),
        ("post", "/v1/admin/portal-exclusions", Administrator, Some(exclusion)),
        ("get", "/v1/admin/portal-exclusions", Reader, None),
        ("get", "/v1/admin/portal-exclusions/{batch_id}", Reader, None),
        ("get", "/v1/admin/audit", Reader, None),
        ("get", "/v1/admin/settings", Reader, None),
        ("patch", "/v1/admin/settings", Administrator, Some(json!({"issuer": "New"}))),
        ("post", "/v1/admin/clients", Administrator, Some(json!({"name": "portal"}))),
        ("get", "/v1/admin/clients", Reader, None),
        ("delete", "/v1/admin/clients/{client_id}", Administrator, None),
        ("get", "/v1/sso/{tenant}/metadata", Anyone, None),
        ("get", "/v1/sso/{tenant}/login", Anyone, None),
        ("post", "/v1/sso/{tenant}/acs", Anyone, None),
        ("get", "/v1/admin/sso", Administrator, None),
        ("put", "/v1/admin/sso", Administrator, Some(Idp::new("https://idp.example").fields())),
        ("delete", "/v1/admin/sso", Administrator, None),
        ("post", "/v1/support/mfa-resets", Operator, Some(support)),
        ("post", "/v1/support/clients", Operator, Some(json!({"name": "portal"}))),
        ("post", "/v1/support/tenants", Operator, Some(tenant)),
        ("get", "/v1/support/tenants", OperatorReader, None),
        ("get", "/v1/support/tenants/{tenant}/users", OperatorReader, None),
    ]
}

fn ask(method: &str, path: &str, body: Option<Value>) -> Ask {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let path = path.replace("{batch_id}", "b-none").replace("{client_id}", "c-none");
    let path = path
        .replace("{tenant}", "globex")
        .replace("{user_id}", "u-con1")
        .replace("/v1/sessions/{id}", "/v1/sessions/s-none");
    let mut ask = Ask::new(method.clone(), path.replace("{id}", "u-con1"));
    if path == "/v1/admin/portal-exclusions" && method == Method::POST {
        ask = ask.header("idempotency-key", "k");
    }
    if path == "/v1/introspect" {
        ask = ask.form("token=x");
    }
    match body {
        Some(body) => ask.json(body),
        None => ask,
    }
}

/// A living token of each class, bob's.
async fn tokens(service: &Service, people: &mut People) -> Vec<(&'static str, String)> {
    let eve = people["eve"].clone();
    let bob = people.get_mut("bob").unwrap();
    service.fresh(bob).await;
    let challenge = service.challenge(bob).await;
    vec![
        ("vs_", bob.session.clone()),
        ("vc_", challenge),
        ("ve_", service.enrolment(&eve).await),
        ("vd_", bob.device.clone()),
    ]
}

fn assert_is(reply: &Reply, status: u16, code: &str, what: &str) {
    assert!(reply.is(status, code), "{what}: {reply:?}");
}

#[tokio::test]
async fn every_operation_is_in_the_table() {
    let documented: BTreeSet<_> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let known: BTreeSet<_> = table().iter().map(|(method, path, ..)| format!("{method} {path}")).collect();
    assert_eq!(documented, known);
}

#[tokio::test]
async fn no_token_and_no_wrong_class_of_token_opens_anything() {
    let (service, mut people) = Service::peopled().await;
    let tokens = tokens(&service, &mut people).await;
    for (method, path, who, body) in table() {
        let accepts: &[&str] = match who {
            Anyone => continue,
            Challenge => &["vc_"],
            Enrolling => &["ve_", "vs_"],
            Client => &[],
            _ => &["vs_"],
        };
        let what = format!("{method} {path}");
        let one = ask(method, path, body);
        assert_is(&service.send(one.clone()).await, 401, "invalid_token", &what);
        for (class, token) in &tokens {
            if !accepts.contains(class) {
                let reply = service.send(one.clone().token(token)).await;
                assert_is(&reply, 401, "invalid_token", &format!("{what} with {class}"));
            }
        }
        for made_up in ["", "vs_", "x", &format!("{}A", tokens[0].1), &tokens[0].1.replace("vs_", "vc_")] {
            let reply = service.send(one.clone().token(made_up)).await;
            assert_is(&reply, 401, "invalid_token", &format!("{what} with a made-up token"));
        }
    }
}

#[tokio::test]
async fn no_other_role_opens_anything() {
    let (service, mut people) = Service::peopled().await;
    for name in ["bob", "con2", "ann"] {
        let person = people.get_mut(name).unwrap();
        let token = service.fresh(person).await;
        for (method, path, who, body) in table() {
            let barred = match who {
                Reader | Administrator => name != "ann",
                Operator | OperatorReader => true,
                _ => false,
            };
            if barred {
                let reply = service.send(ask(method, path, body).token(&token)).await;
                assert_is(&reply, 403, "forbidden", &format!("{name}: {method} {path}"));
            }
        }
    }
}

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    let (service, mut people) = Service::peopled().await;
    let gus = people.get_mut("gus").unwrap();
    let token = service.fresh(gus).await;
    for (method, path, who, body) in table() {
        if matches!(who, Reader | Administrator) && path.contains('{') {
            let reply = service.send(ask(method, path, body).token(&token)).await;
            assert_is(&reply, 404, "not_found", &format!("{method} {path}"));
        }
    }
    let listed = service.get("/v1/admin/users", &token).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    let excluded = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let ask = ask("post", "/v1/admin/portal-exclusions", Some(excluded)).token(&token);
    assert_eq!(service.send(ask).await.ok().text("/results/0/outcome"), "not_found");
}

#[tokio::test]
async fn a_stale_step_up_changes_nothing() {
    let (service, mut people) = Service::peopled().await;
    for name in ["ann", "op"] {
        let person = people.get_mut(name).unwrap();
        let token = service.fresh(person).await;
        service.pass(301);
        for (method, path, who, body) in table() {
            let asked = match who {
                Fresh | Administrator => true,
                Operator => name == "op",
                _ => false,
            };
            if asked {
                let reply = service.send(ask(method, path, body).token(&token)).await;
                assert_is(&reply, 401, "step_up_required", &format!("{name}: {method} {path}"));
                let header = reply.headers["www-authenticate"].to_str().unwrap();
                assert_eq!(header, r#"Bearer error="insufficient_user_authentication", max_age="300""#);
            }
        }
    }
}

#[tokio::test]
async fn operators_read_without_a_fresh_step_up() {
    let (service, mut people) = Service::peopled().await;
    let token = service.fresh(people.get_mut("op").unwrap()).await;
    service.pass(301);
    for (method, path, _, body) in table().into_iter().filter(|(_, _, who, _)| *who == OperatorReader) {
        service.send(ask(method, path, body).token(&token)).await.ok();
    }
}

#[tokio::test]
async fn the_form_is_looked_at_before_the_token() {
    let (service, _) = Service::peopled().await;
    for (method, path, _, body) in table() {
        let Some(mut body) = body else { continue };
        body["no_such_field"] = json!(1);
        let reply = service.send(ask(method, path, Some(body))).await;
        assert_is(&reply, 400, "invalid_request", &format!("{method} {path}"));
    }
}
