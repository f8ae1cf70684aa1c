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
use vestibule::{
    http::{App, Routes},
    lambda::{Gateway, behind_gateway},
    metrics::Metrics,
};

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
    answered_behind(&[], app, routes, event).await
}

/// The same, in a deployment with these variables.
async fn answered_behind(variables: &[(&str, &str)], app: &Arc<App>, routes: Routes, event: Value) -> Value {
    let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    let gateway = Gateway::read(find).unwrap();
    let served = vestibule::http::serve(routes, Arc::clone(app));
    let router = behind_gateway(served, gateway, Metrics::default(), Arc::clone(&app.clock));
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
        for header in ["x-forwarded-for", "forwarded", "x-real-ip", "cloudfront-viewer-address"] {
            event["headers"][header] = json!(format!("198.51.{n}.1"));
        }
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

/// An event of an HTTP API, or of a REST API, with these headers and no body.
fn asking(rest: bool, method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let mut event = browser(rest, method, path, None, None);
    for (name, value) in headers {
        event["headers"][*name] = json!(value);
        if rest {
            event["multiValueHeaders"][*name] = json!([value]);
        }
    }
    event
}

/// A custom domain's base path stands before each path that API Gateway tells.
#[tokio::test]
async fn a_base_path_is_taken_away_where_it_is_configured() {
    let (service, _) = Service::peopled().await;
    let auth = [("VESTIBULE_BASE_PATH", "company/auth")];
    for rest in [false, true] {
        for (variables, path, status) in [
            (&auth[..], "/company/auth/v1/session", 401),
            (&auth[..], "/company/auth", 404),
            (&auth[..], "/company/authority/v1/session", 404),
            (&auth[..], "/company/auth/company/auth/v1/session", 404),
            (&[], "/company/auth/v1/session", 404),
            (&[], "/v1/session", 401),
        ] {
            let event = asking(rest, "GET", path, &[]);
            let answer = answered_behind(variables, service.app(), session::routes(), event).await;
            assert_eq!(answer["statusCode"], json!(status), "{path} {variables:?} {answer}");
        }
    }
}

/// What says who asks is configured; a header alone never does.
#[tokio::test]
async fn behind_cloudfront_the_address_is_the_viewers_and_nobody_comes_past_it() {
    let (service, people) = Service::peopled().await;
    // SHA-256 of "secret".
    let cloudfront = [
        ("VESTIBULE_CLIENT_ADDRESS", "cloudfront"),
        ("VESTIBULE_ORIGIN_SECRET_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
    ];
    let body = json!({"tenant": "acme", "username": "bob", "password": people["bob"].password}).to_string();
    let login = async |headers: &[(&str, &str)]| {
        let mut event = asking(false, "POST", "/v1/login", headers);
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(body);
        let answer = answered_behind(&cloudfront, service.app(), login::routes(), event).await;
        assert_eq!(answer["headers"]["cache-control"], "no-store");
        answer["statusCode"].as_u64().unwrap()
    };
    let (secret, viewer) = ("x-vestibule-origin", "cloudfront-viewer-address");
    for (headers, status) in [
        (&[][..], 404),
        (&[(viewer, "198.51.100.7:46532")], 404),
        (&[(viewer, "198.51.100.7:46532"), (secret, "Secret")], 404),
        (&[(secret, "secret")], 503),
        (&[(viewer, "198.51.100.7"), (secret, "secret")], 503),
    ] {
        assert_eq!(login(headers).await, status, "{headers:?}");
    }
    // Twenty from one network, though all connect from one address.
    for n in 0..21 {
        let address = format!("198.51.100.{n}:46532");
        let status = login(&[(viewer, &address), (secret, "secret")]).await;
        assert_eq!(status, if n < 20 { 200 } else { 429 }, "{n}");
    }
    assert_eq!(login(&[(viewer, "2001:db8::7:46532"), (secret, "secret")]).await, 200);
}

/// Pages of other origins may call the API where it is configured, by their origin's name, and with no cookie.
#[tokio::test]
async fn a_page_of_another_origin_may_ask_where_its_origin_is_configured() {
    let (service, _) = Service::peopled().await;
    let (ours, other) = ("https://portal.example.com", "https://portal.example.org");
    let shared = [("VESTIBULE_CORS_ORIGINS", "https://portal.example.com,http://localhost:3000")];
    for rest in [false, true] {
        let ask = async |variables: &[(&str, &str)], method: &str, headers: &[(&str, &str)]| {
            let event = asking(rest, method, "/v1/session", headers);
            let answer = answered_behind(variables, service.app(), session::routes(), event).await;
            let said = |name: &str| {
                let all = [answer["headers"].get(name), answer["multiValueHeaders"][name].get(0)];
                all.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
            };
            assert_eq!(said("access-control-allow-credentials"), None);
            assert_eq!(said("cache-control").as_deref(), Some("no-store"));
            assert!(said("x-request-id").is_some());
            let names = [
                "access-control-allow-origin",
                "access-control-allow-methods",
                "access-control-allow-headers",
                "vary",
                "allow",
            ];
            (answer["statusCode"].as_u64().unwrap(), names.map(said))
        };
        let preflight = |origin| [("origin", origin), ("access-control-request-method", "GET")];
        let origin = |it: &str| Some(it.to_owned());
        let (status, [allowed, methods, headers, vary, _]) = ask(&shared, "OPTIONS", &preflight(ours)).await;
        assert_eq!((status, allowed, vary.as_deref()), (204, origin(ours), Some("origin")));
        assert_eq!(methods.as_deref(), Some("GET, POST, PUT, PATCH, DELETE"));
        assert_eq!(headers.as_deref(), Some("authorization, content-type, idempotency-key"));
        let (status, [allowed, ..]) = ask(&shared, "GET", &[("origin", "http://localhost:3000")]).await;
        assert_eq!((status, allowed), (401, origin("http://localhost:3000")), "also a refusal is told");
        // Whoever is not configured is answered as by the contract.
        for (variables, headers) in [
            (&shared[..], &preflight(other)[..]),
            (&shared[..], &preflight("null")[..]),
            (&shared[..], &[("access-control-request-method", "GET")][..]),
            (&[], &preflight(ours)[..]),
        ] {
            let (status, [allowed, methods, _, vary, allow]) = ask(variables, "OPTIONS", headers).await;
            assert_eq!((status, allowed, methods), (405, None, None), "{variables:?} {headers:?}");
            assert_eq!((vary.is_some(), allow.as_deref()), (!variables.is_empty(), Some("GET, DELETE")));
        }
        // Not a preflight request.
        let (status, [allowed, methods, ..]) = ask(&shared, "OPTIONS", &[("origin", ours)]).await;
        assert_eq!((status, allowed, methods), (405, origin(ours), None));
        let (status, [allowed, ..]) = ask(&shared, "GET", &[("origin", other)]).await;
        assert_eq!((status, allowed), (401, None));
    }
}
