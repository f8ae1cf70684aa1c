//! Reads a table's stream as Lambda does, and provides a stub server for AWS services.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use axum::{Json, Router, body::Bytes, extract::Request, http::StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::emulator;

/// Posts JSON to an emulator on a new connection.
pub async fn post(url: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let authority = url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(authority).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = axum::http::Request::post(path).header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(body.to_string()).unwrap()).await.unwrap();
    let status = answer.status();
    let bytes = axum::body::to_bytes(axum::body::Body::new(answer), 1 << 24).await.unwrap();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
    if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
}

/// A dummy signature: no emulator checks it.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=test/20270101/eu-central-1/dynamodb/aws4_request, \
                      SignedHeaders=host;x-amz-date;x-amz-target, Signature=00";

async fn call_stream(url: &str, action: &str, body: Value) -> Value {
    let target = format!("DynamoDBStreams_20120810.{action}");
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", &target),
        ("x-amz-date", "20270101T000000Z"),
        ("authorization", SIGNED),
    ];
    post(url, "/", &headers, &body).await
}

/// Enables the stream that the deployment template configures.
pub async fn enable(url: &str, table: &str) {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let stream = stream.build().unwrap();
    emulator::client(url, |inner| inner)
        .update_table()
        .table_name(table)
        .stream_specification(stream)
        .send()
        .await
        .unwrap();
}

/// All records of a table's stream so far, in the form that Lambda passes to a function.
pub async fn records(url: &str, table: &str) -> Vec<Value> {
    let streams = call_stream(url, "ListStreams", json!({"TableName": table})).await;
    let arn = &streams["Streams"][0]["StreamArn"];
    let stream = call_stream(url, "DescribeStream", json!({"StreamArn": arn})).await;
    let mut records = Vec::new();
    for shard in stream["StreamDescription"]["Shards"].as_array().unwrap() {
        let start = json!({"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
        let mut iterator = call_stream(url, "GetShardIterator", start).await["ShardIterator"].clone();
        loop {
            let page = call_stream(url, "GetRecords", json!({"ShardIterator": iterator})).await;
            let page_records = page["Records"].as_array().unwrap();
            records.extend(page_records.iter().cloned());
            iterator = page["NextShardIterator"].clone();
            if page_records.is_empty() || iterator.is_null() {
                break;
            }
        }
    }
    records
}

/// Calculates the answer to the call with this number and body.
type Answer = dyn Fn(usize, &Value) -> Option<(u16, Value)> + Send + Sync;

/// A server in place of an AWS service. It records the bodies it receives.
pub struct Stub {
    /// The URL of the server.
    pub url: String,
    sent: Arc<Mutex<Vec<Value>>>,
}

impl Stub {
    /// Answers each call, by its number and body, with a status and a body. `None`: never answers.
    pub async fn new(answer: impl Fn(usize, &Value) -> Option<(u16, Value)> + Send + Sync + 'static) -> Self {
        let (sent, answer): (_, Arc<Answer>) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::new(answer));
        let kept = Arc::clone(&sent);
        let router = Router::new().fallback(async move |request: Request| {
            let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 24).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let number = {
                let mut kept = kept.lock().unwrap();
                kept.push(body.clone());
                kept.len() - 1
            };
            let Some((status, answer)) = answer(number, &body) else { return std::future::pending().await };
            (StatusCode::from_u16(status).unwrap(), Json(answer))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, sent }
    }

    /// A stub of a URL where no server of this test listens.
    #[must_use]
    pub fn without_server(url: &str) -> Self {
        Self { url: url.to_owned(), sent: Arc::default() }
    }

    /// An event bus that accepts every event.
    pub async fn bus() -> Self {
        Self::new(|_, body| Some((200, taken(body)))).await
    }

    /// The bodies of all calls.
    #[must_use]
    pub fn sent(&self) -> Vec<Value> {
        self.sent.lock().unwrap().clone()
    }

    /// The entries of all PutEvents calls.
    #[must_use]
    pub fn entries(&self) -> Vec<Value> {
        self.sent().iter().flat_map(|body| body["Entries"].as_array().unwrap().clone()).collect()
    }

    /// The events of all PutEvents calls.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let detail = |entry: Value| serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        self.entries().into_iter().map(detail).collect()
    }
}

/// The PutEvents answer that accepts every entry.
#[must_use]
pub fn taken(body: &Value) -> Value {
    let entries = body["Entries"].as_array().unwrap().iter();
    let entries: Vec<_> = entries.enumerate().map(|(n, _)| json!({"EventId": n.to_string()})).collect();
    json!({"FailedEntryCount": 0, "Entries": entries})
}

/// The environment variables of a function: AWS credentials and `more`.
pub fn environment<'a>(more: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    let known = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    move |name| known.iter().chain(more).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}
