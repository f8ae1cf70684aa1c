//! Each flow as a Lambda of its own: recorded API Gateway events through the real Lambda handler.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use lambda_http::{Adapter, Context, LambdaEvent, request::LambdaRequest};
use serde_json::{Value, json};
use tests::{Service, code};
use tower::Service as _;
use vestibule::http::{App, Routes};

/// What API Gateway was answered.
struct Answer {
    status: u64,
    headers: Value,
    body: Value,
}

/// Sends an event to the Lambda of a flow.
async fn invoke(app: &Arc<App>, routes: Routes, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
    let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-v2.json")).unwrap();
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["path"] = json!(path);
    event["requestContext"]["http"]["method"] = json!(method);
    if !token.is_empty() {
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    }
    if let Some(body) = body {
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(body.to_string());
    }
    send(app, routes, event).await
}

async fn send(app: &Arc<App>, routes: Routes, event: Value) -> Answer {
    let served = vestibule::http::serve(routes, Arc::clone(app));
    through(vestibule::lambda::behind_gateway(served, "test".into(), Arc::clone(&app.clock)), event).await
}

async fn through(router: axum::Router, event: Value) -> Answer {
    let request: LambdaRequest = serde_json::from_value(event).unwrap();
    let mut handler = Adapter::from(router);
    let answer = handler.call(LambdaEvent::new(request, Context::default())).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_ne!(answer["isBase64Encoded"], json!(true), "{answer}");
    let body = answer["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
    Answer { status: answer["statusCode"].as_u64().unwrap(), headers: answer["headers"].clone(), body }
}

fn text(answer: &Answer, pointer: &str) -> String {
    answer.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

#[tokio::test]
async fn a_sign_in_goes_through_all_lambdas() {
    let (service, people) = Service::peopled().await;
    let (app, ann) = (service.app(), &people["ann"]);
    let password = json!({"tenant": "acme", "username": "ann", "password": ann.password});
    let reply = invoke(app, login::routes(), "POST", "/v1/login", "", Some(password.clone())).await;
    assert_eq!((reply.status, text(&reply, "/status").as_str()), (200, "enrolment_required"));
    let token = text(&reply, "/enrolment/token");

    let reply = invoke(app, enable_mfa::routes(), "POST", "/v1/mfa/enrolments", &token, Some(json!({}))).await;
    assert_eq!(reply.status, 201);
    let secret = text(&reply, "/secret");
    let body = json!({"code": code(&secret, service.step())});
    let reply = invoke(app, enable_mfa::routes(), "POST", "/v1/mfa/enrolments/confirm", &token, Some(body)).await;
    assert_eq!(text(&reply, "/status"), "mfa_enabled");

    let reply = invoke(app, login::routes(), "POST", "/v1/login", "", Some(password)).await;
    let challenge = text(&reply, "/challenge/token");
    let body = json!({"code": code(&secret, service.step() + 1)});
    let reply = invoke(app, verify::routes(), "POST", "/v1/verify", &challenge, Some(body)).await;
    assert_eq!(text(&reply, "/status"), "signed_in");
    let session = text(&reply, "/session/token");

    let reply = invoke(app, session::routes(), "GET", "/v1/sessions", &session, None).await;
    assert_eq!(text(&reply, "/items/0/user_agent"), "curl/8.5.0");
    let reply = invoke(app, recovery::routes(), "POST", "/v1/mfa/recovery-token", &session, None).await;
    assert_eq!(reply.status, 201);
    let reply = invoke(app, directory::routes(), "GET", "/v1/admin/users/u-bob", &session, None).await;
    assert_eq!(text(&reply, "/username"), "bob");
    let (path, body) = ("/v1/admin/users/u-bob/mfa-reset", json!({"reason": "r"}));
    assert_eq!(invoke(app, admin_reset::routes(), "POST", path, &session, Some(body)).await.status, 200);
    let path = "/v1/admin/portal-exclusions";
    let reply = invoke(app, batch_portal_exclude::routes(), "GET", path, &session, None).await;
    assert_eq!(reply.body["items"], json!([]));
    let body = json!({"name": "portal"});
    let reply = invoke(app, support::routes(), "POST", "/v1/support/clients", &session, Some(body)).await;
    assert_eq!((reply.status, text(&reply, "/code").as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn a_lambda_has_its_own_routes_alone_and_answers_problems_in_full() {
    let (service, _) = Service::peopled().await;
    let app = service.app();
    let reply = invoke(app, verify::routes(), "GET", "/v1/session", "", None).await;
    assert_eq!((reply.status, text(&reply, "/code").as_str()), (404, "not_found"));
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.headers["cache-control"], "no-store");
    let reply = invoke(app, verify::routes(), "PUT", "/v1/verify", "", None).await;
    assert_eq!((reply.status, &reply.headers["allow"]), (405, &json!("POST")));
}

/// The gateway may send a body as base64; and says itself who the client is.
#[tokio::test]
async fn a_body_may_come_as_base64_and_the_address_is_the_gateways() {
    let (service, people) = Service::peopled().await;
    let body = json!({"tenant": "acme", "username": "bob", "password": people["bob"].password}).to_string();
    let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-v2.json")).unwrap();
    event["rawPath"] = json!("/v1/login");
    event["requestContext"]["http"]["method"] = json!("POST");
    event["headers"]["content-type"] = json!("application/json");
    event["isBase64Encoded"] = json!(true);
    event["body"] = json!(data_encoding::BASE64.encode(body.as_bytes()));
    // Twenty from one network, whatever the header says; then no more.
    for n in 0..21_u64 {
        event["headers"]["x-forwarded-for"] = json!(format!("198.51.{n}.1"));
        let reply = send(service.app(), login::routes(), event.clone()).await;
        assert_eq!(reply.status, if n < 20 { 200 } else { 429 }, "{n}");
    }
    event["requestContext"]["http"]["sourceIp"] = json!("203.0.114.7");
    assert_eq!(send(service.app(), login::routes(), event).await.status, 200);
}

/// A REST API says the stage before the path, the client's address elsewhere, and headers twice.
#[tokio::test]
async fn a_rest_api_is_served_alike() {
    let (service, people) = Service::peopled().await;
    let body = json!({"tenant": "acme", "username": "bob", "password": people["bob"].password}).to_string();
    let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-rest.json")).unwrap();
    event["body"] = json!(body);
    for n in 0..21_u64 {
        event["multiValueHeaders"]["X-Forwarded-For"] = json!([format!("198.51.{n}.1")]);
        let reply = send(service.app(), login::routes(), event.clone()).await;
        assert_eq!(reply.status, if n < 20 { 200 } else { 429 }, "{n}");
    }
    event["requestContext"]["identity"]["sourceIp"] = json!("203.0.114.7");
    assert_eq!(send(service.app(), login::routes(), event.clone()).await.status, 200);
    event["multiValueQueryStringParameters"] = json!({"next": ["1"]});
    let reply = send(service.app(), login::routes(), event).await;
    assert_eq!((reply.status, text(&reply, "/code").as_str()), (400, "invalid_request"));
}
