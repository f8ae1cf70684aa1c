//! Each function serves its own routes only, under the cloud of `.ci/with-cloud`.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::{body::Body, http::Request};
use serde_json::Value;
use tests::{document::DOCUMENT, http};
use xtask::cloud::Cloud;

/// Sends a request without body. Returns the status and the problem's code.
async fn send(url: &str, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = http::send(url, request).await;
    let status = response.status().as_u16();
    let body = http::body(response).await;
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// A path of another function is as unknown as any other, and an undefined method of an own path is refused, also OPTIONS,
/// which the emulator would answer itself if it were not configured otherwise.
#[tokio::test]
async fn function_serves_only_its_own_routes() {
    let url = Cloud::from_environment().url;
    let paths: Vec<(&String, &Value, &str)> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, operations)| {
            let operation = operations.as_object().unwrap().values().next().unwrap();
            (path, operations, operation["tags"][0].as_str().unwrap())
        })
        .collect();
    let mut functions: Vec<_> = paths.iter().map(|(_, _, owner)| *owner).collect();
    functions.sort_unstable();
    functions.dedup();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for function in functions {
        for (path, operations, owner) in &paths {
            let own = *owner == function;
            let methods = operations.as_object().unwrap().keys().map(String::as_str);
            let methods: Vec<_> = if own { vec!["trace", "options"] } else { methods.collect() };
            for method in methods {
                let path = format!("/lambda-url/{function}{}", path.replace(['{', '}'], ""));
                let answer = send(&url, &method.to_uppercase(), &path).await;
                let expected = if own { (405, "method_not_allowed") } else { (404, "not_found") };
                if (answer.0, answer.1.as_str()) != expected {
                    wrong.push(format!("{method} {path}: {answer:?}, expected {expected:?}"));
                }
                count += 1;
            }
        }
    }
    assert!(count > 300, "only {count} requests");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn unknown_path_is_not_found() {
    let url = Cloud::from_environment().url;
    for path in ["/healthz", "/v1", "/v1/nothing", "/v1/login/", "/v1/login/again"] {
        assert_eq!(send(&url, "GET", path).await, (404, "not_found".to_owned()), "{path}");
    }
}
