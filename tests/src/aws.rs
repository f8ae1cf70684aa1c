//! Calls emulated AWS services, for what the service does not call itself. DynamoDB is at `DYNAMODB_LOCAL`
//! (`.ci/with-dynamodb-local`), and all other services are at `KMS_EMULATOR`, which is moto (`.ci/with-kms`).

use std::env;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::http;

/// The region of all emulated services.
pub const REGION: &str = "eu-central-1";

/// The URL of Amazon's DynamoDB Local.
#[must_use]
pub fn dynamodb() -> String {
    env::var("DYNAMODB_LOCAL").expect("run it by .ci/with-dynamodb-local")
}

/// The URL of moto.
#[must_use]
pub fn moto() -> String {
    env::var("KMS_EMULATOR").expect("run it by .ci/with-kms")
}

/// Calls a named action of a service, for example `DynamoDB_20120810.DescribeTable`. Panics if it fails.
pub async fn call(url: &str, service: &str, action: &str, body: Value) -> Value {
    request(url, service, Request::post("/").header("x-amz-target", action), "application/x-amz-json-1.0", &body).await
}

/// Posts to a path of a service that has no named actions. Panics if it fails.
pub async fn post(url: &str, service: &str, path: &str, body: Value) -> Value {
    request(url, service, Request::post(path), "application/json", &body).await
}

async fn request(
    url: &str,
    service: &str,
    request: axum::http::request::Builder,
    content_type: &str,
    body: &Value,
) -> Value {
    // No emulator checks the signature, but each reads the service in its scope.
    let signed = format!(
        "AWS4-HMAC-SHA256 Credential=test/20270101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature=00"
    );
    let request = request
        .header("content-type", content_type)
        .header("x-amz-date", "20270101T000000Z")
        .header("authorization", signed)
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = http::send(url, request).await;
    let (status, answer) = (response.status(), http::body(response).await);
    assert!(status.is_success(), "{service}: {status}: {}", String::from_utf8_lossy(&answer));
    http::json(&answer)
}

/// Creates a KMS key in moto, and returns its id.
pub async fn create_key(spec: &str, usage: &str) -> String {
    let key = json!({"KeySpec": spec, "KeyUsage": usage});
    let created = call(&moto(), "kms", "TrentService.CreateKey", key).await;
    created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

/// The ids of new keys, by their logical names in the template.
pub async fn create_keys() -> [(&'static str, String); 3] {
    [
        ("SealingKey", create_key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await),
        ("NamesKey", create_key("HMAC_256", "GENERATE_VERIFY_MAC").await),
        ("CodesKey", create_key("HMAC_256", "GENERATE_VERIFY_MAC").await),
    ]
}

/// All mails that the emulated SES accepted, oldest first.
pub async fn mails() -> Vec<Value> {
    let kept = post(&moto(), "ses", "/moto-api/data.json", Value::Null).await;
    kept["ses"]["Message"].as_array().cloned().unwrap_or_default()
}

/// Creates an event bus whose rule `mails` puts the events that match a pattern into a queue. Bus and queue have the
/// same name. Returns the URL of the queue.
pub async fn create_bus(name: &str, pattern: &Value) -> String {
    let (moto, queue) = (moto(), create_queue(name).await);
    call(&moto, "events", "AWSEvents.CreateEventBus", json!({"Name": name})).await;
    let rule = json!({"Name": "mails", "EventBusName": name, "EventPattern": pattern.to_string()});
    call(&moto, "events", "AWSEvents.PutRule", rule).await;
    let target = json!([{"Id": "mails", "Arn": format!("arn:aws:sqs:{REGION}:123456789012:{name}")}]);
    let targets = json!({"Rule": "mails", "EventBusName": name, "Targets": target});
    call(&moto, "events", "AWSEvents.PutTargets", targets).await;
    queue
}

/// Creates a queue, and returns its URL.
pub async fn create_queue(name: &str) -> String {
    let queue = call(&moto(), "sqs", "AmazonSQS.CreateQueue", json!({"QueueName": name})).await;
    queue["QueueUrl"].as_str().unwrap().to_owned()
}

/// Takes up to ten messages out of a queue. Returns their bodies; none if the queue is empty.
pub async fn take_messages(queue: &str) -> Vec<Value> {
    let moto = moto();
    let request = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10});
    let page = call(&moto, "sqs", "AmazonSQS.ReceiveMessage", request).await;
    let mut bodies = Vec::new();
    for message in page["Messages"].as_array().into_iter().flatten() {
        bodies.push(serde_json::from_str(message["Body"].as_str().unwrap()).unwrap());
        let delete = json!({"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]});
        call(&moto, "sqs", "AmazonSQS.DeleteMessage", delete).await;
    }
    bodies
}
