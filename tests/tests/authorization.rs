//! Every operation, with every caller who may not use it: no token, each wrong class of token, another role, another
//! tenant, a stale step-up. An operation that is missing in the table fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUsers, document::DOCUMENT, idp::Idp};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Everyone.
    Anyone,
    /// The holder of a challenge.
    Challenge,
    /// The holder of an enrolment token, or of a session.
    EnrolmentOrSession,
    /// A user with a session.
    Session,
    /// A user with a session and a recent step-up.
    SteppedUp,
    /// An Administrator.
    AdminReader,
    /// An Administrator with a recent step-up.
    Admin,
    /// An operator.
    OperatorReader,
    /// An operator with a recent step-up.
    Operator,
    /// A portal, by its client credential.
    Client,
}
use Caller::{
    Admin, AdminReader, Anyone, Challenge, Client, EnrolmentOrSession, Operator, OperatorReader, Session, SteppedUp,
};

type Operation = (&'static str, &'static str, Caller, Option<Value>);

fn operations() -> Vec<Operation> {
    [own_operations(), administrators_operations(), operators_operations()].concat()
}

/// What everyone, users and clients do for themselves.
fn own_operations() -> Vec<Operation> {
    let code = || Some(json!({"code": "123456"}));
    vec![
        ("post", "/v1/login", Anyone, Some(json!({"tenant": "acme", "username": "bob", "password": "x"}))),
        ("post", "/v1/verify", Challenge, code()),
        ("post", "/v1/step-up", Session, code()),
        ("post", "/v1/mfa/enrolments", EnrolmentOrSession, Some(json!({}))),
        ("post", "/v1/mfa/enrolments/confirm", EnrolmentOrSession, code()),
        ("get", "/v1/mfa", Session, None),
        ("delete", "/v1/mfa", Session, None),
        ("post", "/v1/mfa/recovery-token", SteppedUp, None),
        ("get", "/v1/session", Session, None),
        ("delete", "/v1/session", Session, None),
        ("get", "/v1/sessions", Session, None),
        ("delete", "/v1/sessions", Session, None),
        ("delete", "/v1/sessions/{id}", Session, None),
        ("post", "/v1/introspect", Client, None),
        (
            "post",
            "/v1/password",
            SteppedUp,
            Some(json!({"current_password": "x", "new_password": "a good long password"})),
        ),
        ("post", "/v1/password-resets", Anyone, Some(json!({"tenant": "acme", "username": "bob"}))),
        (
            "post",
            "/v1/password-resets/confirm",
            Anyone,
            Some(json!({"token": "x", "new_password": "a good long password"})),
        ),
        ("post", "/v1/email-verifications", Session, None),
        ("post", "/v1/email-verifications/confirm", Anyone, Some(json!({"token": "x"}))),
        ("get", "/v1/sso/{tenant}/metadata", Anyone, None),
        ("get", "/v1/sso/{tenant}/login", Anyone, None),
        ("post", "/v1/sso/{tenant}/acs", Anyone, None),
    ]
}

fn administrators_operations() -> Vec<Operation> {
    let user = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": "new",
                      "display_name": "New", "password": "a good long password"});
    let users = json!({"users": [user]});
    let exclusion = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    vec![
        ("post", "/v1/admin/users/batch", Admin, Some(users)),
        ("post", "/v1/admin/users/{id}/invitation", Admin, None),
        ("post", "/v1/admin/users", Admin, Some(user)),
        ("get", "/v1/admin/users", AdminReader, None),
        ("get", "/v1/admin/users/{id}", AdminReader, None),
        ("patch", "/v1/admin/users/{id}", Admin, Some(json!({"display_name": "New"}))),
        ("delete", "/v1/admin/users/{id}", Admin, None),
        ("post", "/v1/admin/users/{user_id}/mfa-reset", Admin, Some(json!({"reason": "r"}))),
        ("post", "/v1/admin/portal-exclusions", Admin, Some(exclusion)),
        ("get", "/v1/admin/portal-exclusions", AdminReader, None),
        ("get", "/v1/admin/portal-exclusions/{batch_id}", AdminReader, None),
        ("get", "/v1/admin/audit", AdminReader, None),
        ("get", "/v1/admin/settings", AdminReader, None),
        ("patch", "/v1/admin/settings", Admin, Some(json!({"issuer": "New"}))),
        ("post", "/v1/admin/clients", Admin, Some(json!({"name": "portal"}))),
        ("get", "/v1/admin/clients", AdminReader, None),
        ("delete", "/v1/admin/clients/{client_id}", Admin, None),
        ("get", "/v1/admin/sso", Admin, None),
        ("put", "/v1/admin/sso", Admin, Some(Idp::new("https://idp.example").fields())),
        ("delete", "/v1/admin/sso", Admin, None),
    ]
}

fn operators_operations() -> Vec<Operation> {
    let tenant = json!({"id": "new", "name": "New", "administrator": {
        "username": "a", "password": "a good long password", "display_name": "A"}});
    let support = json!({"tenant": "globex", "username": "gus", "ticket": "T-1", "reason": "r"});
    vec![
        ("post", "/v1/support/mfa-resets", Operator, Some(support)),
        ("post", "/v1/support/clients", Operator, Some(json!({"name": "portal"}))),
        ("post", "/v1/support/tenants", Operator, Some(tenant)),
        ("get", "/v1/support/tenants", OperatorReader, None),
        ("get", "/v1/support/tenants/{tenant}/users", OperatorReader, None),
    ]
}

fn request(method: &str, path: &str, body: Option<Value>) -> TestRequest {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let path = path.replace("{batch_id}", "b-none").replace("{client_id}", "c-none");
    let path = path
        .replace("{tenant}", "globex")
        .replace("{user_id}", "u-con1")
        .replace("/v1/sessions/{id}", "/v1/sessions/s-none");
    let mut request = TestRequest::new(method.clone(), path.replace("{id}", "u-con1"));
    if path == "/v1/admin/portal-exclusions" && method == Method::POST {
        request = request.header("idempotency-key", "k");
    }
    if path == "/v1/introspect" {
        request = request.form("token=x");
    }
    match body {
        Some(body) => request.json(body),
        None => request,
    }
}

/// A valid token of each class.
async fn tokens(service: &Service, users: &mut TestUsers) -> Vec<(&'static str, String)> {
    let eve = users["eve"].clone();
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let bob = users.get_mut("bob").unwrap();
    service.stepped_up_session(bob).await;
    service.patch("/v1/admin/users/u-bob", &ann, json!({"email": "bob@acme.example"})).await.ok();
    service.send(TestRequest::new(Method::POST, "/v1/email-verifications").token(&bob.session)).await.ok();
    let mailed = service.sent_mails().await[0].token();
    let challenge = service.challenge_token(bob).await;
    vec![
        ("vs_", bob.session.clone()),
        ("vc_", challenge),
        ("ve_", service.enrolment_token(&eve).await),
        ("vd_", bob.device.clone()),
        ("vp_", mailed),
    ]
}

fn assert_is(reply: &Reply, status: u16, code: &str, what: &str) {
    assert!(reply.is(status, code), "{what}: {reply:?}");
}

#[tokio::test]
async fn every_operation_is_covered_here() {
    let documented: BTreeSet<_> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let known: BTreeSet<_> = operations().iter().map(|(method, path, ..)| format!("{method} {path}")).collect();
    assert_eq!(documented, known);
}

#[tokio::test]
async fn missing_or_wrong_class_token_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let tokens = tokens(&service, &mut users).await;
    for (method, path, caller, body) in operations() {
        let accepts: &[&str] = match caller {
            Anyone => continue,
            Challenge => &["vc_"],
            EnrolmentOrSession => &["ve_", "vs_"],
            Client => &[],
            _ => &["vs_"],
        };
        let what = format!("{method} {path}");
        let one = request(method, path, body);
        assert_is(&service.send(one.clone()).await, 401, "invalid_token", &what);
        for (class, token) in &tokens {
            if !accepts.contains(class) {
                let reply = service.send(one.clone().token(token)).await;
                assert_is(&reply, 401, "invalid_token", &format!("{what} with {class}"));
            }
        }
        for invalid in ["", "vs_", "x", &format!("{}A", tokens[0].1), &tokens[0].1.replace("vs_", "vc_")] {
            let reply = service.send(one.clone().token(invalid)).await;
            assert_is(&reply, 401, "invalid_token", &format!("{what} with a made-up token"));
        }
    }
}

#[tokio::test]
async fn other_roles_are_refused() {
    let (service, mut users) = Service::with_users().await;
    for name in ["bob", "con2", "ann"] {
        let user = users.get_mut(name).unwrap();
        let token = service.stepped_up_session(user).await;
        for (method, path, caller, body) in operations() {
            let refused = match caller {
                AdminReader | Admin => name != "ann",
                Operator | OperatorReader => true,
                _ => false,
            };
            if refused {
                let reply = service.send(request(method, path, body).token(&token)).await;
                assert_is(&reply, 403, "forbidden", &format!("{name}: {method} {path}"));
            }
        }
    }
}

#[tokio::test]
async fn resources_of_another_tenant_look_nonexistent() {
    let (service, mut users) = Service::with_users().await;
    let gus = users.get_mut("gus").unwrap();
    let token = service.stepped_up_session(gus).await;
    for (method, path, caller, body) in operations() {
        if matches!(caller, AdminReader | Admin) && path.contains('{') {
            let reply = service.send(request(method, path, body).token(&token)).await;
            assert_is(&reply, 404, "not_found", &format!("{method} {path}"));
        }
    }
    let listed = service.get("/v1/admin/users", &token).await.ok();
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    let excluded = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "r"});
    let request = request("post", "/v1/admin/portal-exclusions", Some(excluded)).token(&token);
    assert_eq!(service.send(request).await.ok().text("/results/0/outcome"), "not_found");
}

#[tokio::test]
async fn stale_step_up_changes_nothing() {
    let (service, mut users) = Service::with_users().await;
    for name in ["ann", "op"] {
        let user = users.get_mut(name).unwrap();
        let token = service.stepped_up_session(user).await;
        service.advance(301);
        for (method, path, caller, body) in operations() {
            let allowed = match caller {
                SteppedUp | Admin => true,
                Operator => name == "op",
                _ => false,
            };
            if allowed {
                let reply = service.send(request(method, path, body).token(&token)).await;
                assert_is(&reply, 401, "step_up_required", &format!("{name}: {method} {path}"));
                let header = reply.headers["www-authenticate"].to_str().unwrap();
                assert_eq!(header, r#"Bearer error="insufficient_user_authentication", max_age="300""#);
            }
        }
    }
}

#[tokio::test]
async fn operators_read_without_a_fresh_step_up() {
    let (service, mut users) = Service::with_users().await;
    let token = service.stepped_up_session(users.get_mut("op").unwrap()).await;
    service.advance(301);
    for (method, path, _, body) in operations().into_iter().filter(|(_, _, caller, _)| *caller == OperatorReader) {
        service.send(request(method, path, body).token(&token)).await.ok();
    }
}

#[tokio::test]
async fn request_form_is_checked_before_the_token() {
    let (service, _) = Service::with_users().await;
    for (method, path, _, body) in operations() {
        let Some(mut body) = body else { continue };
        body["no_such_field"] = json!(1);
        let reply = service.send(request(method, path, Some(body))).await;
        assert_is(&reply, 400, "invalid_request", &format!("{method} {path}"));
    }
}
