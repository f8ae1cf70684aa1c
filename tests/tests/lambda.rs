//! Each flow as a Lambda of its own: recorded API Gateway events through the real Lambda handler.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use lambda_http::{Adapter, Context, LambdaEvent, request::LambdaRequest};
use serde_json::{Value, json};
use tests::{
    Service, code,
    idp::{Idp, form, in_location},
};
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
    let answer = answered(app, routes, event).await;
    assert_ne!(answer["isBase64Encoded"], json!(true), "{answer}");
    let body = answer["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
    Answer { status: answer["statusCode"].as_u64().unwrap(), headers: answer["headers"].clone(), body }
}

/// The whole answer, in the form that the gateway has for it.
async fn answered(app: &Arc<App>, routes: Routes, event: Value) -> Value {
    let served = vestibule::http::serve(routes, Arc::clone(app));
    let router = vestibule::lambda::behind_gateway(served, "test".into(), Arc::clone(&app.clock));
    let request: LambdaRequest = serde_json::from_value(event).unwrap();
    let answer = Adapter::from(router).call(LambdaEvent::new(request, Context::default())).await.unwrap();
    serde_json::to_value(answer).unwrap()
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

/// What a browser asks of the flow `sso`, as an event of an HTTP API, its form in base64; or of a REST API.
fn browser(rest: bool, method: &str, path: &str, return_to: Option<&str>, form: Option<&str>) -> Value {
    let mut headers = vec![("accept", "text/html")];
    headers.extend(form.map(|_| ("content-type", "application/x-www-form-urlencoded")));
    if rest {
        let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-rest.json")).unwrap();
        (event["path"], event["httpMethod"]) = (json!(path), json!(method));
        event["requestContext"]["path"] = json!(format!("/v1{path}"));
        event["headers"] = headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        event["multiValueHeaders"] =
            headers.into_iter().map(|(name, value)| (name.to_owned(), json!([value]))).collect();
        event["multiValueQueryStringParameters"] = return_to.map_or(Value::Null, |to| json!({"return_to": [to]}));
        event["body"] = json!(form);
        return event;
    }
    let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-v2.json")).unwrap();
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["method"] = json!(method);
    event["headers"]
        .as_object_mut()
        .unwrap()
        .extend(headers.into_iter().map(|(name, it)| (name.to_owned(), json!(it))));
    event["rawQueryString"] = json!(return_to.map(|to| format!("return_to={to}")).unwrap_or_default());
    event["isBase64Encoded"] = json!(form.is_some());
    event["body"] = json!(form.map(|form| data_encoding::BASE64.encode(form.as_bytes())));
    event
}

/// A header of an answer, wherever that gateway has it.
fn header<'a>(answer: &'a Value, name: &str) -> &'a str {
    let cookie = answer["cookies"].get(0).filter(|_| name == "set-cookie");
    let plain = [cookie, answer["headers"].get(name), answer["multiValueHeaders"][name].get(0)];
    plain.into_iter().flatten().find_map(Value::as_str).unwrap_or_else(|| panic!("{name}: {answer}"))
}

#[tokio::test]
async fn a_browser_signs_in_by_an_idp_through_either_gateway() {
    let (service, mut people) = Service::peopled().await;
    let (idp, ann) = (Idp::new("https://idp.example/metadata"), service.fresh(people.get_mut("ann").unwrap()).await);
    service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    service.patch("/v1/admin/users/u-bob", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    let sp = service.sp("acme").await;
    for rest in [false, true] {
        let asked = async |event| {
            let answer = answered(service.app(), sso::routes(), event).await;
            assert_eq!(answer["isBase64Encoded"], json!(false), "nobody decodes it: {answer}");
            answer
        };
        let metadata = asked(browser(rest, "GET", "/v1/sso/acme/metadata", None, None)).await;
        assert_eq!(header(&metadata, "content-type"), "application/samlmetadata+xml");
        assert!(metadata["body"].as_str().unwrap().contains(&sp.acs_url), "{metadata}");
        let sent = asked(browser(rest, "GET", "/v1/sso/acme/login", Some("/portal"), None)).await;
        assert_eq!(sent["statusCode"], json!(302), "{sent}");
        let started = header(&sent, "set-cookie").split(';').next().unwrap();
        assert!(started.starts_with("__Host-vestibule-sso="), "{started}");
        let request = in_location(header(&sent, "location"));
        let response = idp.answer(&service, &sp, &request, "bob").signed(&idp);
        let form = form(&response, &request.relay_state);
        // The gateways hand a browser's cookies over in different places.
        let post = || {
            let mut event = browser(rest, "POST", "/v1/sso/acme/acs", None, Some(&form));
            if rest {
                event["headers"]["Cookie"] = json!(format!("a=b; {started}"));
            } else {
                event["cookies"] = json!(["a=b", started]);
            }
            event
        };
        let arrived = asked(post()).await;
        assert_eq!((&arrived["statusCode"], header(&arrived, "location")), (&json!(303), "/portal"), "{arrived}");
        let cookie = header(&arrived, "set-cookie");
        assert!(cookie.starts_with("__Host-vestibule=ve_") && cookie.ends_with("; Secure"), "{cookie}");
        assert_eq!(arrived["cookies"].get(0).is_some(), !rest, "an HTTP API has cookies apart");
        let again = asked(post()).await;
        assert_eq!((&again["statusCode"], header(&again, "content-type")), (&json!(401), "application/problem+json"));
        assert!(!again.to_string().contains("set-cookie"), "{again}");
    }
}
