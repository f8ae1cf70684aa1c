//! The answer to a request of the wrong form names the wrong field and its limit, for every field of every operation in
//! the API document. It does not repeat what was sent.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Map, Value, json};
use tests::{Reply, Service, TestRequest, document::DOCUMENT};

/// The content of wrong values that are text.
const SENT: &str = "s3cret-of-the-caller";

/// A schema, with references resolved.
fn schema(of: &'static Value) -> &'static Value {
    of["$ref"].as_str().map_or(of, |name| DOCUMENT.pointer(&name[1..]).unwrap())
}

/// All fields below a schema, as pointer and schema.
fn fields(of: &'static Value, at: &str, found: &mut Vec<(String, &'static Value)>) {
    let of = schema(of);
    for (name, field) in of["properties"].as_object().into_iter().flatten() {
        found.push((format!("{at}/{name}"), schema(field)));
        fields(field, &format!("{at}/{name}"), found);
    }
    if of["items"].is_object() {
        found.push((format!("{at}/0"), schema(&of["items"])));
        fields(&of["items"], &format!("{at}/0"), found);
    }
}

/// Puts a value at a pointer, and creates the objects above it.
fn put(into: &mut Value, pointer: &str, value: Value) {
    let Some((name, rest)) =
        pointer[1..].split_once('/').or(Some((&pointer[1..], ""))).filter(|(name, _)| !name.is_empty())
    else {
        return;
    };
    let place = if name == "0" {
        if !into.is_array() {
            *into = json!([]);
        }
        let list = into.as_array_mut().unwrap();
        list.truncate(1);
        if list.is_empty() {
            list.push(Value::Null);
        }
        &mut list[0]
    } else {
        if !into.is_object() {
            *into = Value::Object(Map::new());
        }
        into.as_object_mut().unwrap().entry(name).or_insert(Value::Null)
    };
    if rest.is_empty() { *place = value } else { put(place, &format!("/{rest}"), value) }
}

/// Wrong values of a field, each with the limit that the answer must name.
fn invalid_values(field: &Value) -> Vec<(Value, Option<u64>)> {
    let mut values = vec![match field["type"].as_str() {
        Some("string") => (json!(7), None),
        _ => (json!(SENT), None),
    }];
    values.push((Value::Null, None));
    if let Some(most) = field["maxLength"].as_u64() {
        values.push((json!("x".repeat(usize::try_from(most).unwrap() + 1)), Some(most)));
    }
    if let Some(least) = field["minLength"].as_u64().filter(|least| *least > 0) {
        values.push((json!(""), Some(least)));
    }
    if let Some(most) = field["maxItems"].as_u64() {
        values.push((json!(vec!["x"; usize::try_from(most).unwrap() + 1]), Some(most)));
    }
    if field["enum"].is_array() {
        values.push((json!(SENT), None));
    }
    if field["format"] == "email" {
        values.extend(
            [
                "s3cret",
                "s3cret@",
                "@example.com",
                "A <s3cret@example.com>",
                "s3cret@[127.0.0.1]",
                "s3 cret@example.com",
            ]
            .map(|text| (json!(text), Some(254))),
        );
    }
    values
}

fn names_field(reply: &Reply, field: &str, limit: Option<u64>) -> bool {
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    let found = errors.iter().find(|error| error["field"] == field);
    let detail = found.and_then(|error| error["detail"].as_str()).unwrap_or_default().replace(',', "");
    let said = reply.body.to_string();
    reply.is(400, "invalid_request")
        && !detail.is_empty()
        && limit.is_none_or(|limit| detail.contains(&limit.to_string()))
        && !reply.text("/detail").is_empty()
        && !said.contains("s3cret")
        && !said.contains("xxxxxxxx")
}

/// Each operation: method, path with possible ids, and its description in the document.
fn operations() -> Vec<(Method, String, String, &'static Value)> {
    let mut found = Vec::new();
    for (pattern, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path =
            pattern.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            found.push((method, pattern.clone(), path.clone(), operation));
        }
    }
    found
}

#[tokio::test]
async fn wrong_body_field_is_named_with_its_limit() {
    let service = Service::new();
    let (mut attempted, mut bad) = (0, Vec::new());
    for (method, pattern, path, operation) in operations() {
        let content = &operation["requestBody"]["content"]["application/json"];
        if content.is_null() {
            continue;
        }
        let whole = content["examples"].as_object().unwrap().values().next().unwrap()["value"].clone();
        let mut requests = vec![(String::new(), json!([SENT]), None), ("/surprise".to_owned(), json!(SENT), None)];
        let mut found = Vec::new();
        fields(&content["schema"], "", &mut found);
        for (pointer, field) in found {
            requests.extend(invalid_values(field).into_iter().map(|(value, limit)| (pointer.clone(), value, limit)));
        }
        for (pointer, value, limit) in requests {
            let mut body = whole.clone();
            if pointer.is_empty() {
                body = value.clone()
            } else {
                put(&mut body, &pointer, value.clone())
            }
            let request = TestRequest::new(method.clone(), &path).header("Idempotency-Key", "x").json(body);
            let reply = service.send(request).await;
            attempted += 1;
            if !names_field(&reply, &pointer, limit) {
                bad.push(format!("{method} {pattern} {pointer} {:.40} {limit:?}: {}", value.to_string(), reply.body));
            }
        }
        for name in schema(&content["schema"])["required"].as_array().into_iter().flatten() {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(name.as_str().unwrap());
            let reply =
                service.send(TestRequest::new(method.clone(), &path).header("Idempotency-Key", "x").json(body)).await;
            attempted += 1;
            if !names_field(&reply, &format!("/{}", name.as_str().unwrap()), None) {
                bad.push(format!("{method} {pattern} without {name}: {}", reply.body));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {attempted}:\n{}", bad.len(), bad.join("\n"));
    assert!(attempted > 200, "{attempted}");
}

#[tokio::test]
async fn wrong_parameter_is_named_with_its_limit() {
    let service = Service::new();
    let (mut attempted, mut bad) = (0, Vec::new());
    for (method, pattern, path, operation) in operations() {
        let mut requests = vec![
            (format!("{path}?surprise={SENT}"), "query:surprise".to_owned(), None),
            (format!("{path}?surprise=1&surprise={SENT}"), "query:surprise".to_owned(), None),
        ];
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, field) = (parameter["name"].as_str().unwrap(), schema(&parameter["schema"]));
            match parameter["in"].as_str().unwrap() {
                "path" => {
                    let path = pattern.replace(&format!("{{{name}}}"), "s3cret%23");
                    requests.push((path, format!("path:{name}"), Some(64)));
                }
                "query" => {
                    let text = |value: &str| format!("{path}?{name}={value}");
                    let mut values = vec![(text("%00"), None)];
                    match (name, field["type"].as_str().unwrap()) {
                        ("limit", _) => {
                            values.extend([(text(SENT), None), (text("0"), Some(1)), (text("101"), Some(100))])
                        }
                        ("user_id", _) => values.push((text("s3cret%23"), Some(64))),
                        (_, "boolean") => values.push((text(SENT), None)),
                        ("cursor" | "from" | "to" | "return_to" | "kind" | "mfa", _) => values.push((text(SENT), None)),
                        _ => {}
                    }
                    if let Some(most) = field["maxLength"].as_u64() {
                        values.push((text(&"x".repeat(usize::try_from(most).unwrap() + 1)), Some(most)));
                    }
                    requests.extend(values.into_iter().map(|(path, limit)| (path, format!("query:{name}"), limit)));
                }
                _ => {}
            }
        }
        for (path, field, limit) in requests {
            let reply = service.send(TestRequest::new(method.clone(), &path)).await;
            attempted += 1;
            if !names_field(&reply, &field, limit) {
                bad.push(format!("{method} {path} {field} {limit:?}: {}", reply.body));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {attempted}:\n{}", bad.len(), bad.join("\n"));
    assert!(attempted > 100, "{attempted}");
}

#[tokio::test]
async fn errors_around_a_body_are_named() {
    let service = Service::new();
    let batch = || TestRequest::new(Method::POST, "/v1/admin/portal-exclusions");
    let body = json!({"contact_ids": ["x"], "disable_mfa": true, "reason": "r"});
    assert!(names_field(&service.send(batch().json(body.clone())).await, "header:idempotency-key", Some(64)));
    let odd = batch().header("Idempotency-Key", "s3cret s3cret").json(body);
    assert!(names_field(&service.send(odd).await, "header:idempotency-key", Some(64)));
    let login = || TestRequest::new(Method::POST, "/v1/login");
    assert!(names_field(&service.send(login().form("a=s3cret")).await, "header:content-type", None));
    assert!(names_field(&service.send(TestRequest::new(Method::GET, "/v1/session").json(json!(SENT))).await, "", None));
    let introspect = |body: &str| TestRequest::new(Method::POST, "/v1/introspect").form(body);
    assert!(names_field(&service.send(introspect("")).await, "/token", None));
    assert!(names_field(&service.send(introspect("token=s3cret&token=s3cret")).await, "/token", None));
    // An unusual name of a field may be a misplaced secret, so it is not repeated.
    for name in [format!("s3cret_{}", "y".repeat(60)), "s3cretOfTheCaller".to_owned()] {
        assert!(names_field(&service.send(introspect(&format!("{name}=1"))).await, "", None));
        assert!(names_field(&service.send(introspect(&format!("{name}=1&{name}=1"))).await, "", None));
        assert!(names_field(&service.send(login().json(json!({ &name: 1 }))).await, "", None));
        assert!(names_field(&service.send(login().json(json!({ &name: null }))).await, "", None));
    }
}

#[tokio::test]
async fn invalid_combination_and_code_name_their_fields() {
    let service = Service::new();
    let create =
        json!({"kind": "contact", "role": "operator", "auth_type": "local", "username": "a", "display_name": "A"});
    for (method, path) in [(Method::POST, "/v1/admin/users"), (Method::PATCH, "/v1/admin/users/x")] {
        let body = if method == Method::POST { create.clone() } else { json!({"kind": "contact", "role": "operator"}) };
        let reply = service.send(TestRequest::new(method, path).json(body)).await;
        assert!(names_field(&reply, "/kind", None) && names_field(&reply, "/role", None), "{reply:?}");
    }
    for path in ["/v1/verify", "/v1/step-up"] {
        let reply = service.send(TestRequest::new(Method::POST, path).json(json!({"code": "s3cret"}))).await;
        assert!(reply.is(400, "malformed_code") && reply.text("/errors/0/field") == "/code", "{reply:?}");
    }
    for (path, field, body) in [
        ("/v1/admin/users", "/password", create),
        ("/v1/password", "/new_password", json!({"current_password": "x"})),
        ("/v1/password-resets/confirm", "/new_password", json!({"token": "x"})),
        (
            "/v1/support/tenants",
            "/administrator/password",
            json!({"id": "x", "name": "X",
            "administrator": {"username": "x", "display_name": "X"}}),
        ),
    ] {
        for (password, limit) in [("s3cret".to_owned(), 8), ("x".repeat(1025), 1024)] {
            let mut body = body.clone();
            put(&mut body, field, json!(password));
            let reply = service.send(TestRequest::new(Method::POST, path).json(body)).await;
            assert!(names_field(&reply, field, Some(limit)), "{path}: {reply:?}");
        }
    }
    let login = json!({"tenant": "x", "username": "x", "password": "x".repeat(1025)});
    assert!(names_field(
        &service.send(TestRequest::new(Method::POST, "/v1/login").json(login)).await,
        "/password",
        Some(1024)
    ));
}

/// Normalisation makes eighteen characters of each of these 128, more than the index accepts.
#[tokio::test]
async fn username_too_long_after_normalisation_is_refused() {
    let service = Service::new();
    let name = "\u{fdfa}".repeat(128);
    let create =
        json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": "A"});
    let administrator = json!({"username": name, "password": "a good long password", "display_name": "X"});
    let tenant = json!({"id": "x", "name": "X", "administrator": administrator});
    for (path, field, body) in
        [("/v1/admin/users", "/username", create), ("/v1/support/tenants", "/administrator/username", tenant)]
    {
        let reply = service.send(TestRequest::new(Method::POST, path).json(body)).await;
        assert!(names_field(&reply, field, Some(959)), "{path}: {reply:?}");
    }
    let q = "%EF%B7%BA".repeat(128);
    let reply = service.send(TestRequest::new(Method::GET, format!("/v1/admin/users?q={q}"))).await;
    assert!(names_field(&reply, "query:q", Some(959)), "{reply:?}");
    let command = json!({"command": "create_operator", "username": name, "display_name": "Op"});
    let refused = operators::handle(service.app(), None, command, "r").await.unwrap_err();
    assert_eq!(refused.code(), "invalid_request");
}
