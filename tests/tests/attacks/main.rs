//! Attacks of docs/threat-model.md, one case per test, and their required outcome. Cases that the journeys or the authorization
//! tests cover are not repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod batch;
mod enrolment;
mod everywhere;
mod login;
mod password;
mod recovery;
mod verify;

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request},
};
use serde_json::{Value, json};
use tests::{Reply, Service, TestRequest, TestUser};

async fn recovery_token(service: &Service, session: &str) -> String {
    let request = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(session);
    service.send(request).await.ok().text("/recovery_token")
}

async fn reset(service: &Service, admin: &str, id: &str) -> Reply {
    service.post(&format!("/v1/admin/users/{id}/mfa-reset"), admin, json!({"reason": "r"})).await
}

async fn exclude(service: &Service, token: &str, key: &str, ids: &[&str], disable: bool) -> Reply {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "kiosk"});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
    service.send(request.header("idempotency-key", key)).await
}

async fn audit(service: &Service, admin: &str, id: &str) -> Vec<Value> {
    let rows = service.get(&format!("/v1/admin/audit?user_id={id}&limit=100"), admin).await.ok();
    rows.body["items"].as_array().unwrap().clone()
}

fn actions<'a>(rows: &'a [Value], action: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["action"] == action).collect()
}

/// Creates an employee by the API.
async fn create(service: &Service, admin: &str, tenant: &str, username: &str, password: &str) -> TestUser {
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": username,
                      "display_name": username, "password": password});
    let created = service.post("/v1/admin/users", admin, body).await.ok();
    TestUser {
        tenant: tenant.into(),
        username: username.into(),
        password: password.into(),
        id: created.text("/id"),
        secret: String::new(),
        step: 0,
        session: String::new(),
        device: String::new(),
    }
}

/// Sends a request that `TestRequest` cannot express.
async fn raw(service: &Service, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    service.raw(request).await
}

/// Everything that a client sees of a response, except what differs with every request.
fn visible_parts(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let mut body = reply.body.clone();
    if let Some(id) = body.get_mut("request_id") {
        *id = Value::Null;
    }
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status.as_u16(), headers, body)
}

/// All strings in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
