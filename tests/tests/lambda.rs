//! Each flow as its own Lambda function: recorded API Gateway events through the real Lambda handler.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use lambda_http::{Adapter, Context, LambdaEvent, request::LambdaRequest};
use serde_json::{Value, json};
use tests::{
    Service,
    idp::{Idp, authn_request_in_url, form},
    totp_code,
};
use tower::Service as _;
use vestibule::{
    http::{App, Routes},
    lambda::{Gateway, behind_gateway},
    metrics::Metrics,
};

/// A response to API Gateway.
struct Answer {
    status: u64,
    headers: Value,
    body: Value,
}

/// Sends an event to the function of a flow.
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
    let answer = whole_response(app, routes, event).await;
    assert_ne!(answer["isBase64Encoded"], json!(true), "{answer}");
    let body = answer["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
    Answer { status: answer["statusCode"].as_u64().unwrap(), headers: answer["headers"].clone(), body }
}

/// The whole response in the gateway's format.
async fn whole_response(app: &Arc<App>, routes: Routes, event: Value) -> Value {
    response_with_variables(&[], app, routes, event).await
}

/// The response of a deployment with these environment variables.
async fn response_with_variables(variables: &[(&str, &str)], app: &Arc<App>, routes: Routes, event: Value) -> Value {
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
async fn sign_in_works_through_all_functions() {
    let (service, users) = Service::with_users().await;
    let (app, ann) = (service.app(), &users["ann"]);
    let password = json!({"tenant": "acme", "username": "ann", "password": ann.password});
    let reply = invoke(app, login::routes(), "POST", "/v1/login", "", Some(password.clone())).await;
    assert_eq!((reply.status, text(&reply, "/status").as_str()), (200, "enrolment_required"));
    let token = text(&reply, "/enrolment/token");

    let reply = invoke(app, enable_mfa::routes(), "POST", "/v1/mfa/enrolments", &token, Some(json!({}))).await;
    assert_eq!(reply.status, 201);
    let secret = text(&reply, "/secret");
    let body = json!({"code": totp_code(&secret, service.step())});
    let reply = invoke(app, enable_mfa::routes(), "POST", "/v1/mfa/enrolments/confirm", &token, Some(body)).await;
    assert_eq!(text(&reply, "/status"), "mfa_enabled");

    let reply = invoke(app, login::routes(), "POST", "/v1/login", "", Some(password)).await;
    let challenge = text(&reply, "/challenge/token");
    let body = json!({"code": totp_code(&secret, service.step() + 1)});
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
async fn function_serves_only_its_routes_and_answers_with_problems() {
    let (service, _) = Service::with_users().await;
    let app = service.app();
    let reply = invoke(app, verify::routes(), "GET", "/v1/session", "", None).await;
    assert_eq!((reply.status, text(&reply, "/code").as_str()), (404, "not_found"));
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.headers["cache-control"], "no-store");
    let reply = invoke(app, verify::routes(), "PUT", "/v1/verify", "", None).await;
    assert_eq!((reply.status, &reply.headers["allow"]), (405, &json!("POST")));
}

/// The gateway may encode a body as base64, and reports the client address.
#[tokio::test]
async fn base64_body_is_decoded_and_the_gateway_address_is_used() {
    let (service, users) = Service::with_users().await;
    let body = json!({"tenant": "acme", "username": "bob", "password": users["bob"].password}).to_string();
    let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-v2.json")).unwrap();
    event["rawPath"] = json!("/v1/login");
    event["requestContext"]["http"]["method"] = json!("POST");
    event["headers"]["content-type"] = json!("application/json");
    event["isBase64Encoded"] = json!(true);
    event["body"] = json!(data_encoding::BASE64.encode(body.as_bytes()));
    // Twenty challenges per network, for any value of the header.
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

/// A REST API adds the stage to the path, and has other fields for the client address and headers.
#[tokio::test]
async fn rest_api_events_are_served() {
    let (service, users) = Service::with_users().await;
    let body = json!({"tenant": "acme", "username": "bob", "password": users["bob"].password}).to_string();
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

/// A browser's request to `sso` as an event of a REST API or an HTTP API, with the form in base64.
fn browser_event(rest: bool, method: &str, path: &str, return_to: Option<&str>, form: Option<&str>) -> Value {
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

/// A response header, from the field that the gateway reads.
fn header<'a>(answer: &'a Value, name: &str) -> &'a str {
    let cookie = answer["cookies"].get(0).filter(|_| name == "set-cookie");
    let plain = [cookie, answer["headers"].get(name), answer["multiValueHeaders"][name].get(0)];
    plain.into_iter().flatten().find_map(Value::as_str).unwrap_or_else(|| panic!("{name}: {answer}"))
}

#[tokio::test]
async fn browser_signs_in_by_an_idp_through_both_gateways() {
    let (service, mut users) = Service::with_users().await;
    let (idp, ann) =
        (Idp::new("https://idp.example/metadata"), service.stepped_up_session(users.get_mut("ann").unwrap()).await);
    service.put("/v1/admin/sso", &ann, idp.fields()).await.ok();
    service.patch("/v1/admin/users/u-bob", &ann, json!({"auth_type": "saml_sso"})).await.ok();
    let sp = service.sp("acme").await;
    for rest in [false, true] {
        let send = async |event| {
            let answer = whole_response(service.app(), sso::routes(), event).await;
            assert_eq!(answer["isBase64Encoded"], json!(false), "the body must not be base64: {answer}");
            answer
        };
        let metadata = send(browser_event(rest, "GET", "/v1/sso/acme/metadata", None, None)).await;
        assert_eq!(header(&metadata, "content-type"), "application/samlmetadata+xml");
        assert!(metadata["body"].as_str().unwrap().contains(&sp.acs_url), "{metadata}");
        let sent = send(browser_event(rest, "GET", "/v1/sso/acme/login", Some("/portal"), None)).await;
        assert_eq!(sent["statusCode"], json!(302), "{sent}");
        let started = header(&sent, "set-cookie").split(';').next().unwrap();
        assert!(started.starts_with("__Host-vestibule-sso="), "{started}");
        let request = authn_request_in_url(header(&sent, "location"));
        let response = idp.valid_response(&service, &sp, &request, "bob").sign_assertion(&idp);
        let form = form(&response, &request.relay_state);
        // The gateways pass cookies in different fields.
        let post = || {
            let mut event = browser_event(rest, "POST", "/v1/sso/acme/acs", None, Some(&form));
            if rest {
                event["headers"]["Cookie"] = json!(format!("a=b; {started}"));
            } else {
                event["cookies"] = json!(["a=b", started]);
            }
            event
        };
        let signed_in = send(post()).await;
        assert_eq!(
            (&signed_in["statusCode"], header(&signed_in, "location")),
            (&json!(303), "/enroll?return_to=%2Fportal"),
            "{signed_in}"
        );
        let cookie = header(&signed_in, "set-cookie");
        assert!(cookie.starts_with("__Host-vestibule-enrolment=ve_") && cookie.ends_with("; Secure"), "{cookie}");
        assert_eq!(signed_in["cookies"].get(0).is_some(), !rest, "an HTTP API has a separate field for cookies");
        let again = send(post()).await;
        assert_eq!((&again["statusCode"], header(&again, "content-type")), (&json!(401), "text/html; charset=utf-8"));
        assert!(!again.to_string().contains("set-cookie"), "{again}");
    }
}

/// An event of a REST API or an HTTP API, with these headers and no body.
fn event_with_headers(rest: bool, method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let mut event = browser_event(rest, method, path, None, None);
    for (name, value) in headers {
        event["headers"][*name] = json!(value);
        if rest {
            event["multiValueHeaders"][*name] = json!([value]);
        }
    }
    event
}

/// API Gateway leaves a custom domain's base path in the path.
#[tokio::test]
async fn configured_base_path_is_removed() {
    let (service, _) = Service::with_users().await;
    let auth = [("VESTIBULE_BASE_PATH", "company/auth")];
    for rest in [false, true] {
        for (variables, path, status) in [
            (&auth[..], "/company/auth/v1/session", 401),
            (&auth[..], "/company/auth", 303),
            (&auth[..], "/company/authority/v1/session", 404),
            (&auth[..], "/company/auth/company/auth/v1/session", 404),
            (&[], "/company/auth/v1/session", 404),
            (&[], "/v1/session", 401),
        ] {
            let event = event_with_headers(rest, "GET", path, &[]);
            let answer = response_with_variables(variables, service.app(), session::routes(), event).await;
            assert_eq!(answer["statusCode"], json!(status), "{path} {variables:?} {answer}");
        }
    }
}

/// The source of the client address is configured; a header alone never changes it.
#[tokio::test]
async fn cloudfront_viewer_address_is_used_and_bypass_is_refused() {
    let (service, users) = Service::with_users().await;
    // SHA-256 of "secret".
    let cloudfront = [
        ("VESTIBULE_CLIENT_ADDRESS", "cloudfront"),
        ("VESTIBULE_ORIGIN_SECRET_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
    ];
    let body = json!({"tenant": "acme", "username": "bob", "password": users["bob"].password}).to_string();
    let login = async |headers: &[(&str, &str)]| {
        let mut event = event_with_headers(false, "POST", "/v1/login", headers);
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(body);
        let answer = response_with_variables(&cloudfront, service.app(), login::routes(), event).await;
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
    // Twenty challenges per network, although all connections come from one address.
    for n in 0..21 {
        let address = format!("198.51.100.{n}:46532");
        let status = login(&[(viewer, &address), (secret, "secret")]).await;
        assert_eq!(status, if n < 20 { 200 } else { 429 }, "{n}");
    }
    assert_eq!(login(&[(viewer, "2001:db8::7:46532"), (secret, "secret")]).await, 200);
}

/// Pages of configured origins may call the API, without cookies.
#[tokio::test]
async fn configured_origin_may_send_cross_origin_requests() {
    let (service, _) = Service::with_users().await;
    let (ours, other) = ("https://portal.example.com", "https://portal.example.org");
    let shared = [("VESTIBULE_CORS_ORIGINS", "https://portal.example.com,http://localhost:3000")];
    for rest in [false, true] {
        let request = async |variables: &[(&str, &str)], method: &str, headers: &[(&str, &str)]| {
            let event = event_with_headers(rest, method, "/v1/session", headers);
            let answer = response_with_variables(variables, service.app(), session::routes(), event).await;
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
        let (status, [allowed, methods, headers, vary, _]) = request(&shared, "OPTIONS", &preflight(ours)).await;
        assert_eq!((status, allowed, vary.as_deref()), (204, origin(ours), Some("origin")));
        assert_eq!(methods.as_deref(), Some("GET, POST, PUT, PATCH, DELETE"));
        assert_eq!(headers.as_deref(), Some("authorization, content-type, idempotency-key"));
        let (status, [allowed, ..]) = request(&shared, "GET", &[("origin", "http://localhost:3000")]).await;
        assert_eq!((status, allowed), (401, origin("http://localhost:3000")), "refusals have the header too");
        // Other origins get the ordinary answer.
        for (variables, headers) in [
            (&shared[..], &preflight(other)[..]),
            (&shared[..], &preflight("null")[..]),
            (&shared[..], &[("access-control-request-method", "GET")][..]),
            (&[], &preflight(ours)[..]),
        ] {
            let (status, [allowed, methods, _, vary, allow]) = request(variables, "OPTIONS", headers).await;
            assert_eq!((status, allowed, methods), (405, None, None), "{variables:?} {headers:?}");
            assert_eq!((vary.is_some(), allow.as_deref()), (!variables.is_empty(), Some("GET, DELETE")));
        }
        // Not a preflight request.
        let (status, [allowed, methods, ..]) = request(&shared, "OPTIONS", &[("origin", ours)]).await;
        assert_eq!((status, allowed, methods), (405, origin(ours), None));
        let (status, [allowed, ..]) = request(&shared, "GET", &[("origin", other)]).await;
        assert_eq!((status, allowed), (401, None));
    }
}
