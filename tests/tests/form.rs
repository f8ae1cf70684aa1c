//! A request of the wrong form is told which field is wrong and what it has to be: every field of every operation, as the
//! API document has them. What was sent is not repeated.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Map, Value, json};
use tests::{Ask, Reply, Service, document::DOCUMENT};

/// What a wrong value holds, where it is text.
const SENT: &str = "s3cret-of-the-caller";

/// A schema, behind its name.
fn schema(of: &'static Value) -> &'static Value {
    of["$ref"].as_str().map_or(of, |name| DOCUMENT.pointer(&name[1..]).unwrap())
}

/// Each field below a schema: its pointer and its schema.
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

/// Puts a value at a pointer, with what has to be above it.
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

/// Values that a field does not take, each with the limit that the answer has to name.
fn wrong(field: &Value) -> Vec<(Value, Option<u64>)> {
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

fn names(reply: &Reply, field: &str, limit: Option<u64>) -> bool {
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

/// Each operation: method, path with ids that could be, and what the document says.
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
async fn a_wrong_field_of_a_body_is_named_with_its_limit() {
    let service = Service::new();
    let (mut tried, mut bad) = (0, Vec::new());
    for (method, pattern, path, operation) in operations() {
        let content = &operation["requestBody"]["content"]["application/json"];
        if content.is_null() {
            continue;
        }
        let whole = content["examples"].as_object().unwrap().values().next().unwrap()["value"].clone();
        let mut asks = vec![(String::new(), json!([SENT]), None), ("/surprise".to_owned(), json!(SENT), None)];
        let mut found = Vec::new();
        fields(&content["schema"], "", &mut found);
        for (pointer, field) in found {
            asks.extend(wrong(field).into_iter().map(|(value, limit)| (pointer.clone(), value, limit)));
        }
        for (pointer, value, limit) in asks {
            let mut body = whole.clone();
            if pointer.is_empty() {
                body = value.clone()
            } else {
                put(&mut body, &pointer, value.clone())
            }
            let ask = Ask::new(method.clone(), &path).header("Idempotency-Key", "x").json(body);
            let reply = service.send(ask).await;
            tried += 1;
            if !names(&reply, &pointer, limit) {
                bad.push(format!("{method} {pattern} {pointer} {:.40} {limit:?}: {}", value.to_string(), reply.body));
            }
        }
        for name in schema(&content["schema"])["required"].as_array().into_iter().flatten() {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(name.as_str().unwrap());
            let reply = service.send(Ask::new(method.clone(), &path).header("Idempotency-Key", "x").json(body)).await;
            tried += 1;
            if !names(&reply, &format!("/{}", name.as_str().unwrap()), None) {
                bad.push(format!("{method} {pattern} without {name}: {}", reply.body));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {tried}:\n{}", bad.len(), bad.join("\n"));
    assert!(tried > 200, "{tried}");
}

#[tokio::test]
async fn a_wrong_parameter_is_named_with_its_limit() {
    let service = Service::new();
    let (mut tried, mut bad) = (0, Vec::new());
    for (method, pattern, path, operation) in operations() {
        let mut asks = vec![
            (format!("{path}?surprise={SENT}"), "query:surprise".to_owned(), None),
            (format!("{path}?surprise=1&surprise={SENT}"), "query:surprise".to_owned(), None),
        ];
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, field) = (parameter["name"].as_str().unwrap(), schema(&parameter["schema"]));
            match parameter["in"].as_str().unwrap() {
                "path" => {
                    let path = pattern.replace(&format!("{{{name}}}"), "s3cret%23");
                    asks.push((path, format!("path:{name}"), Some(64)));
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
                    asks.extend(values.into_iter().map(|(path, limit)| (path, format!("query:{name}"), limit)));
                }
                _ => {}
            }
        }
        for (path, field, limit) in asks {
            let reply = service.send(Ask::new(method.clone(), &path)).await;
            tried += 1;
            if !names(&reply, &field, limit) {
                bad.push(format!("{method} {path} {field} {limit:?}: {}", reply.body));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {tried}:\n{}", bad.len(), bad.join("\n"));
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn what_surrounds_a_body_is_named_too() {
    let service = Service::new();
    let batch = || Ask::new(Method::POST, "/v1/admin/portal-exclusions");
    let body = json!({"contact_ids": ["x"], "disable_mfa": true, "reason": "r"});
    assert!(names(&service.send(batch().json(body.clone())).await, "header:idempotency-key", Some(64)));
    let odd = batch().header("Idempotency-Key", "s3cret s3cret").json(body);
    assert!(names(&service.send(odd).await, "header:idempotency-key", Some(64)));
    let login = || Ask::new(Method::POST, "/v1/login");
    assert!(names(&service.send(login().form("a=s3cret")).await, "header:content-type", None));
    assert!(names(&service.send(Ask::new(Method::GET, "/v1/session").json(json!(SENT))).await, "", None));
    let introspect = |body: &str| Ask::new(Method::POST, "/v1/introspect").form(body);
    assert!(names(&service.send(introspect("")).await, "/token", None));
    assert!(names(&service.send(introspect("token=s3cret&token=s3cret")).await, "/token", None));
    // A name that no field could have may be a secret in the wrong place.
    for name in [format!("s3cret_{}", "y".repeat(60)), "s3cretOfTheCaller".to_owned()] {
        assert!(names(&service.send(introspect(&format!("{name}=1"))).await, "", None));
        assert!(names(&service.send(introspect(&format!("{name}=1&{name}=1"))).await, "", None));
        assert!(names(&service.send(login().json(json!({ &name: 1 }))).await, "", None));
        assert!(names(&service.send(login().json(json!({ &name: null }))).await, "", None));
    }
}

#[tokio::test]
async fn a_combination_and_a_code_name_their_fields() {
    let service = Service::new();
    let create =
        json!({"kind": "contact", "role": "operator", "auth_type": "local", "username": "a", "display_name": "A"});
    for (method, path) in [(Method::POST, "/v1/admin/users"), (Method::PATCH, "/v1/admin/users/x")] {
        let body = if method == Method::POST { create.clone() } else { json!({"kind": "contact", "role": "operator"}) };
        let reply = service.send(Ask::new(method, path).json(body)).await;
        assert!(names(&reply, "/kind", None) && names(&reply, "/role", None), "{reply:?}");
    }
    for path in ["/v1/verify", "/v1/step-up"] {
        let reply = service.send(Ask::new(Method::POST, path).json(json!({"code": "s3cret"}))).await;
        assert!(reply.is(400, "malformed_code") && reply.text("/errors/0/field") == "/code", "{reply:?}");
    }
    for (path, field, body) in [
        ("/v1/admin/users", "/password", create),
        ("/v1/password", "/new_password", json!({"current_password": "x"})),
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
            let reply = service.send(Ask::new(Method::POST, path).json(body)).await;
            assert!(names(&reply, field, Some(limit)), "{path}: {reply:?}");
        }
    }
    let login = json!({"tenant": "x", "username": "x", "password": "x".repeat(1025)});
    assert!(names(&service.send(Ask::new(Method::POST, "/v1/login").json(login)).await, "/password", Some(1024)));
}

/// Each of these 128 characters becomes eighteen, which the index does not take.
#[tokio::test]
async fn a_name_that_becomes_too_long_is_refused_wherever_one_is_made_or_looked_for() {
    let service = Service::new();
    let name = "\u{fdfa}".repeat(128);
    let create =
        json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": "A"});
    let administrator = json!({"username": name, "password": "a good long password", "display_name": "X"});
    let tenant = json!({"id": "x", "name": "X", "administrator": administrator});
    for (path, field, body) in
        [("/v1/admin/users", "/username", create), ("/v1/support/tenants", "/administrator/username", tenant)]
    {
        let reply = service.send(Ask::new(Method::POST, path).json(body)).await;
        assert!(names(&reply, field, Some(959)), "{path}: {reply:?}");
    }
    let q = "%EF%B7%BA".repeat(128);
    let reply = service.send(Ask::new(Method::GET, format!("/v1/admin/users?q={q}"))).await;
    assert!(names(&reply, "query:q", Some(959)), "{reply:?}");
    let command = json!({"command": "create_operator", "username": name, "display_name": "Op"});
    let refused = operators::handle(service.app(), None, command, "r").await.unwrap_err();
    assert_eq!(refused.code(), "invalid_request");
}
