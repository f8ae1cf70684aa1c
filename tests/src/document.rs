//! Checks answers against the API document.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use axum::http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::Reply;

/// The committed `openapi.json`.
pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../openapi.json")).unwrap());

/// The operation of a request, and its path pattern.
#[must_use]
pub fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let matches = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        let same = |(one, other): (&&str, &&str)| one.starts_with('{') || one == other;
        pattern.len() == path.len() && pattern.iter().zip(&path).all(same)
    };
    // A literal path takes precedence over one with a parameter.
    let mut found: Vec<_> = paths.iter().filter(|(pattern, _)| matches(pattern)).collect();
    found.sort_by_key(|(pattern, _)| pattern.matches('{').count());
    let name = method.as_str().to_lowercase();
    found.first().and_then(|(pattern, item)| Some((pattern.as_str(), item.get(&name)?)))
}

/// The validator of a schema. Cached, because creating it takes most of the time.
fn validator(schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let mut whole = json!({"components": DOCUMENT["components"]});
        whole.as_object_mut().unwrap().extend(schema.as_object().unwrap().clone());
        Arc::new(jsonschema::draft202012::new(&whole).unwrap())
    };
    Arc::clone(made.entry(schema.to_string()).or_insert_with(make))
}

/// The validation errors of a value.
#[must_use]
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let named = |fault: jsonschema::ValidationError<'_>| format!("{}: {fault}", fault.instance_path());
    validator(schema).iter_errors(value).map(named).collect()
}

/// Checks a JSON body that the service accepted. Panics if the document does not allow it.
pub fn check_accepted(method: &Method, path: &str, body: &str) {
    let path = path.split('?').next().unwrap();
    let Some((pattern, operation)) = operation(method, path) else { return };
    let content = &operation["requestBody"]["content"]["application/json"];
    let body = if body.is_empty() { json!({}) } else { serde_json::from_str(body).unwrap() };
    let faults = faults(&content["schema"], &body);
    assert!(faults.is_empty(), "{method} {pattern} accepted what is not documented: {faults:?}: {body}");
}

/// Checks an answer. Panics if the document does not allow it.
pub fn check(method: &Method, path: &str, reply: &Reply) {
    let header = |name: &str| reply.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let kept = path.starts_with("/assets/") && reply.status.is_success();
    assert_eq!(header("cache-control") != "no-store", kept, "only the files of pages are kept");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("strict-transport-security").starts_with("max-age=31536000"));
    assert!(!header("x-request-id").is_empty());
    let Some((pattern, operation)) = operation(method, path) else { return };
    let status = reply.status.as_str();
    let documented = &operation["responses"][status];
    assert!(documented.is_object(), "{method} {pattern} answers {status}, which is not documented: {reply:?}");
    let kind = header("content-type").split(';').next().unwrap();
    // A browser that comes back from an identity provider gets the problem as a page.
    if pattern == "/v1/sso/{tenant}/acs" && kind == "text/html" && reply.status.is_client_error() {
        return;
    }
    match documented.get("content").and_then(|content| content.get(kind)) {
        None => assert!(reply.body.is_null(), "{method} {pattern} {status} as {kind}: {reply:?}"),
        Some(content) => {
            let faults = faults(&content["schema"], &reply.body);
            assert!(faults.is_empty(), "{method} {pattern} {status}: {faults:?}: {reply:?}");
        }
    }
    if reply.status.is_client_error() || reply.status.is_server_error() {
        assert_eq!(kind, "application/problem+json");
        assert_eq!(reply.text("/request_id"), header("x-request-id"));
        let said = operation["responses"][status]["description"].as_str().unwrap();
        let code = reply.code();
        assert!(
            said.contains(&format!("`{code}`")),
            "{method} {pattern}: {code} is not documented for {status}: {said}"
        );
    }
}
