//! A stub server for AWS services.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, body::Bytes, extract::Request, http::StatusCode};
use serde_json::{Value, json};

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
