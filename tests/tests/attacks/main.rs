//! What an attacker tries, one case a test, and what may not come of it. What the journeys and the table of
//! authorization show already is not repeated here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod batch;
mod enrolment;
mod everywhere;
mod login;
mod recovery;
mod verify;

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request},
};
use serde_json::{Value, json};
use tests::{Ask, Person, Reply, Service};

async fn recovery_token(service: &Service, session: &str) -> String {
    let ask = Ask::new(Method::POST, "/v1/mfa/recovery-token").token(session);
    service.send(ask).await.ok().text("/recovery_token")
}

async fn reset(service: &Service, admin: &str, id: &str) -> Reply {
    service.post(&format!("/v1/admin/users/{id}/mfa-reset"), admin, json!({"reason": "r"})).await
}

async fn exclude(service: &Service, token: &str, key: &str, ids: &[&str], disable: bool) -> Reply {
    let body = json!({"contact_ids": ids, "disable_mfa": disable, "reason": "kiosk"});
    let ask = Ask::new(Method::POST, "/v1/admin/portal-exclusions").token(token).json(body);
    service.send(ask.header("idempotency-key", key)).await
}

async fn audit(service: &Service, admin: &str, id: &str) -> Vec<Value> {
    let rows = service.get(&format!("/v1/admin/audit?user_id={id}&limit=100"), admin).await.ok();
    rows.body["items"].as_array().unwrap().clone()
}

fn actions<'a>(rows: &'a [Value], action: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["action"] == action).collect()
}

/// Creates a person as an Administrator does.
async fn create(service: &Service, admin: &str, tenant: &str, username: &str, password: &str) -> Person {
    let body = json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": username,
                      "display_name": username, "password": password});
    let created = service.post("/v1/admin/users", admin, body).await.ok();
    Person {
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

/// A request that `Ask` would not make.
async fn raw(service: &Service, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    service.raw(request).await
}

/// Everything of an answer that a client sees, but for what differs from request to request.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let mut body = reply.body.clone();
    if let Some(id) = body.get_mut("request_id") {
        *id = Value::Null;
    }
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status.as_u16(), headers, body)
}

/// All texts in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
