//! Injects faults of the network and of DynamoDB below the SDK: replies lost after the commit, conflicts, throttling,
//! silence. No emulator simulates them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::{Value as Json, json};

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// DynamoDB executes the call; the answer is lost.
    LoseReply,
    /// DynamoDB executes the call; the connection stays open without an answer.
    Silence,
    /// The request is lost.
    LoseRequest,
    /// This answer is returned without calling DynamoDB.
    Answer(u16, &'static str),
    /// Another transaction holds the item. A read gets a server error instead, as it knows no conflicts.
    Conflict,
    /// A BatchGetItem processes only this many keys.
    Unprocessed(usize),
    /// A query's page ends after this many items. In DynamoDB it ends after a megabyte.
    Page(usize),
}

/// The partition's throughput is exceeded.
pub const THROTTLED: Fault = Fault::Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}"#,
);
/// A permission is missing.
pub const DENIED: Fault =
    Fault::Answer(400, r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#);
/// An internal error of DynamoDB: whether the request was executed is unknown.
pub const BROKEN: Fault =
    Fault::Answer(500, r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"oh"}"#);
/// A transaction whose first write conflicts with another transaction.
pub const CONFLICT: Fault = Fault::Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"TransactionConflict","Message":"conflict"},{"Code":"None"}]}"#,
);
/// A single write whose item is in another transaction.
pub const BUSY: Fault = Fault::Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException","message":"Transaction is ongoing for the item"}"#,
);

/// Which calls get which faults.
#[derive(Debug, Default)]
enum Plan {
    #[default]
    Fine,
    Next(VecDeque<Fault>),
    At(usize, Vec<Fault>),
    From(usize, Fault),
    Every(String, Fault),
}

/// The planned faults, and the calls since the plan was set.
#[derive(Debug, Clone, Default)]
pub struct Script {
    plan: Arc<Mutex<Plan>>,
    sent: Arc<Mutex<Vec<(String, Json)>>>,
}

impl Script {
    /// The next calls get these faults, one each.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        self.set_plan(Plan::Next(faults.into_iter().collect()));
    }

    /// The calls from number `call` on get these faults, one each. Calls are counted from 0, starting now.
    pub fn at(&self, call: usize, faults: impl IntoIterator<Item = Fault>) {
        self.set_plan(Plan::At(call, faults.into_iter().collect()));
    }

    /// All calls from number `call` on get this fault.
    pub fn from(&self, call: usize, fault: Fault) {
        self.set_plan(Plan::From(call, fault));
    }

    /// All calls of an operation get this fault.
    pub fn every(&self, operation: &str, fault: Fault) {
        self.set_plan(Plan::Every(operation.to_owned(), fault));
    }

    /// No call gets a fault.
    pub fn fine(&self) {
        self.set_plan(Plan::Fine);
    }

    fn set_plan(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
        self.sent.lock().unwrap().clear();
    }

    /// The bodies of an operation's calls since the plan was set.
    #[must_use]
    pub fn sent(&self, operation: &str) -> Vec<Json> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|(target, _)| target == operation).map(|(_, body)| body.clone()).collect()
    }

    /// The operations called since the plan was set.
    #[must_use]
    pub fn called(&self) -> Vec<String> {
        self.sent.lock().unwrap().iter().map(|(target, _)| target.clone()).collect()
    }

    /// Wraps the SDK's HTTP client so that the planned faults happen.
    #[must_use]
    pub fn wrap_client(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Faulty { script: self.clone(), inner })
    }

    fn next(&self, operation: &str, body: Json) -> Option<Fault> {
        let mut sent = self.sent.lock().unwrap();
        let number = sent.len();
        sent.push((operation.to_owned(), body));
        match &mut *self.plan.lock().unwrap() {
            Plan::Fine => None,
            Plan::Next(faults) => faults.pop_front(),
            Plan::At(call, faults) => number.checked_sub(*call).and_then(|at| faults.get(at)).cloned(),
            Plan::From(call, fault) => (number >= *call).then(|| fault.clone()),
            Plan::Every(wanted, fault) => (operation == wanted).then(|| fault.clone()),
        }
    }
}

#[derive(Debug)]
struct Faulty {
    script: Script,
    inner: SharedHttpClient,
}

impl HttpClient for Faulty {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnector { script: self.script.clone(), inner })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    script: Script,
    inner: SharedHttpConnector,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let body: Json = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let fault = self.script.next(&operation, body.clone());
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move { apply(fault, &operation, body, request, &inner).await })
    }
}

async fn apply(
    fault: Option<Fault>,
    operation: &str,
    mut body: Json,
    request: HttpRequest,
    inner: &SharedHttpConnector,
) -> Result<HttpResponse, ConnectorError> {
    let lost = || ConnectorError::io("connection reset".into());
    match fault {
        None => inner.call(request).await,
        Some(Fault::LoseRequest) => Err(lost()),
        Some(Fault::LoseReply) => {
            inner.call(request).await?;
            Err(lost())
        }
        Some(Fault::Silence) => {
            inner.call(request).await?;
            std::future::pending().await
        }
        Some(Fault::Answer(status, body)) => Ok(answer(status, body)),
        Some(Fault::Conflict) => {
            let answered = match operation {
                "TransactWriteItems" => CONFLICT,
                "UpdateItem" => BUSY,
                _ => BROKEN,
            };
            let Fault::Answer(status, body) = answered else { unreachable!() };
            Ok(answer(status, body))
        }
        Some(Fault::Unprocessed(most)) => {
            let keys = body["RequestItems"]["vestibule"]["Keys"].as_array_mut().unwrap();
            let rest = keys.split_off(most.min(keys.len()));
            let mut answered = json!({"Responses": {}});
            if most > 0 {
                answered = read_json(inner.call(with_body(request, &body)).await?).await;
            }
            answered["UnprocessedKeys"] = json!({"vestibule": {"Keys": rest, "ConsistentRead": true}});
            Ok(answer(200, answered.to_string()))
        }
        Some(Fault::Page(most)) => {
            body["Limit"] = json!(most);
            inner.call(with_body(request, &body)).await
        }
    }
}

fn answer(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into())
}

fn with_body(mut request: HttpRequest, body: &Json) -> HttpRequest {
    let bytes = serde_json::to_vec(body).unwrap();
    request.headers_mut().insert("content-length", bytes.len().to_string());
    *request.body_mut() = SdkBody::from(bytes);
    request
}

async fn read_json(mut response: HttpResponse) -> Json {
    let body = std::mem::replace(response.body_mut(), SdkBody::empty());
    serde_json::from_slice(&ByteStream::new(body).collect().await.unwrap().into_bytes()).unwrap()
}
