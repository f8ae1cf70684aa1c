//! The store's contract on DynamoDB's semantics: the real SDK over HTTP against an emulator in this process. And what the
//! network and DynamoDB do on a bad day (replies lost after the commit, conflicts, throttling, silence): no emulator does any
//! of it, so it is injected below the SDK.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
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
use serde_json::Value as Json;
use vestibule::store::{
    StoreError, Table, contract,
    dynamo::DynamoTable,
    table::{Again, Transacted, Updated},
};

#[derive(Debug, Clone)]
enum Fault {
    /// DynamoDB does it; the answer never arrives.
    LoseReply,
    /// DynamoDB does it; the connection stays open and silent.
    Silence,
    /// The request never arrives.
    LoseRequest,
    /// An answer without DynamoDB, so without effect.
    Answer(u16, &'static str),
}
use Fault::{Answer, LoseReply, LoseRequest, Silence};

const CONFLICT: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"TransactionConflict","Message":"conflict"},{"Code":"None"}]}"#,
);
const THROTTLED: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}"#,
);
const TX_THROTTLED: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"ThrottlingError","Message":"slow down"},{"Code":"None"}]}"#,
);
const ROW_THERE: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"failed"}]}"#,
);
const MALFORMED: Fault =
    Answer(400, r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"Item size has exceeded"}"#);
const DENIED: Fault =
    Answer(400, r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#);

/// The faults to come, for the calls to come; and what was sent.
#[derive(Debug, Clone, Default)]
struct Script {
    faults: Arc<Mutex<VecDeque<Fault>>>,
    sent: Arc<Mutex<Vec<(String, Json)>>>,
}

impl Script {
    fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.faults.lock().unwrap() = faults.into_iter().collect();
        self.sent.lock().unwrap().clear();
    }

    fn sent(&self, operation: &str) -> Vec<Json> {
        let sent = self.sent.lock().unwrap();
        sent.iter()
            .filter(|(target, _)| target.ends_with(&format!(".{operation}")))
            .map(|(_, body)| body.clone())
            .collect()
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
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        self.script.sent.lock().unwrap().push((target, body));
        let fault = self.script.faults.lock().unwrap().pop_front();
        let inner = self.inner.clone();
        let lost = || ConnectorError::io("connection reset".into());
        HttpConnectorFuture::new(async move {
            match fault {
                None => inner.call(request).await,
                Some(LoseRequest) => Err(lost()),
                Some(LoseReply) => {
                    inner.call(request).await?;
                    Err(lost())
                }
                Some(Silence) => {
                    inner.call(request).await?;
                    std::future::pending().await
                }
                Some(Answer(status, body)) => Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into())),
            }
        })
    }
}

async fn table() -> (DynamoTable, Script) {
    let script = Script::default();
    let between = script.clone();
    let table = tests::emulator::table(|inner| SharedHttpClient::new(Faulty { script: between, inner })).await;
    (table, script)
}

#[tokio::test]
async fn a_transaction_with_a_lost_reply_is_committed_once() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    let sent = script.sent("TransactWriteItems");
    assert_eq!(sent.len(), 2);
    assert!(sent[0]["ClientRequestToken"].is_string() && sent[0] == sent[1]);
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn each_transaction_has_a_token_of_its_own() {
    let (table, script) = table().await;
    script.set([]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    // The same writes again are another call: told as refused, never as done by the token of the first.
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Refused(_))));
    let sent = script.sent("TransactWriteItems");
    assert_ne!(sent[0]["ClientRequestToken"], sent[1]["ClientRequestToken"]);
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn with_every_reply_lost_the_receipt_is_the_proof() {
    let (table, script) = table().await;
    script.set(vec![LoseReply; 4]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 1));
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn after_a_lost_reply_its_own_row_in_the_way_is_the_proof() {
    let (table, script) = table().await;
    script.set([LoseReply, ROW_THERE]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    assert_eq!(script.sent("TransactWriteItems").len(), 2);
    // Without a lost reply it is a refusal like any other.
    script.set([ROW_THERE]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Refused(_))));
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn a_transaction_that_never_arrives_is_not_known() {
    let (table, script) = table().await;
    script.set(vec![LoseRequest; 4]);
    let answer = table.transact(&contract::counting_together()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(contract::counted_so_far(&table).await, 0);
}

#[tokio::test]
async fn a_conflict_passes_or_is_contention() {
    let (table, script) = table().await;
    script.set([CONFLICT, CONFLICT]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::counted_so_far(&table).await, 1);
    script.set(vec![CONFLICT; 4]);
    let answer = table.transact(&contract::counting_together()).await;
    // The row of the transaction before is there: of another call, so no proof of this one.
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 4);
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn what_may_have_been_written_is_never_told_as_contention() {
    let (table, script) = table().await;
    script.set([LoseRequest, CONFLICT, CONFLICT, CONFLICT]);
    let answer = table.transact(&contract::counting_together()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn throttling_passes_within_limits() {
    let (table, script) = table().await;
    script.set([THROTTLED, THROTTLED]);
    assert!(matches!(table.update(&contract::counting(), Again::Never).await, Ok(Updated::Written(_))));
    script.set([TX_THROTTLED, THROTTLED]);
    assert!(matches!(table.transact(&contract::counting_together()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::counted_so_far(&table).await, 2);
    script.set(vec![THROTTLED; 9]);
    assert!(matches!(table.update(&contract::counting(), Again::Never).await, Err(StoreError::Unavailable(_))));
    assert_eq!(script.sent("UpdateItem").len(), 4);
    script.set([]);
    assert_eq!(contract::counted_so_far(&table).await, 2);
}

#[tokio::test]
async fn an_update_is_sent_once_when_a_second_would_show() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    let answer = table.update(&contract::counting(), Again::Never).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 1);
    assert_eq!(contract::counted_so_far(&table).await, 1);
}

#[tokio::test]
async fn an_update_that_knows_itself_is_sent_once_more() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    match table.update(&contract::marking("mine"), Again::Harmless).await {
        Ok(Updated::Refused(Some(item))) => assert!(format!("{:?}", item["mark"]).contains("mine")),
        other => panic!("{other:?}"),
    }
    assert_eq!(contract::counted_so_far(&table).await, 1);
    script.set(vec![LoseReply; 9]);
    let answer = table.update(&contract::marking("mine"), Again::Harmless).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 2);
}

#[tokio::test]
async fn what_the_store_will_never_do_is_asked_once_and_is_no_refusal() {
    let (table, script) = table().await;
    for fault in [DENIED, MALFORMED] {
        script.set(vec![fault.clone(); 9]);
        let answer = table.update(&contract::marking("mine"), Again::Harmless).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault:?}: {answer:?}");
        assert_eq!(script.sent("UpdateItem").len(), 1, "{fault:?}");
        script.set(vec![fault.clone(); 1]);
        let answer = table.transact(&contract::counting_together()).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault:?}: {answer:?}");
        assert_eq!(script.sent("TransactWriteItems").len(), 1, "{fault:?}");
    }
    // An action that does not fit its item is one, as in the model.
    script.set([]);
    assert!(matches!(table.update(&contract::not_fitting(), Again::Never).await, Ok(Updated::Refused(_))));
}

#[tokio::test]
async fn silence_ends() {
    let (table, script) = table().await;
    // Far beyond any limit of ours: this asks whether it ends, not when.
    let patience = Duration::from_secs(60);
    script.set(vec![Silence]);
    let write = contract::marking("mine");
    let answer = tokio::time::timeout(patience, table.update(&write, Again::Harmless)).await;
    assert!(matches!(answer, Ok(Ok(Updated::Refused(Some(_))))), "{answer:?}");
    script.set(vec![Silence; 99]);
    let transaction = contract::counting_together();
    let answer = tokio::time::timeout(patience, table.transact(&transaction)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable(_)))), "{answer:?}");
}

#[tokio::test]
async fn decisions_read_what_is_there_now_and_lists_only_what_they_show() {
    let (table, script) = table().await;
    script.set([]);
    contract::counted_so_far(&table).await;
    table.query(&contract::one_row()).await.unwrap();
    let (reads, query) = (script.sent("BatchGetItem"), script.sent("Query"));
    assert!(reads.iter().all(|read| read["RequestItems"]["vestibule"]["ConsistentRead"] == true));
    assert_eq!(query[0]["ConsistentRead"], true);
    assert!(query[0]["Limit"].as_u64().is_some_and(|limit| limit <= 2), "{}", query[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn expressions_mean_what_the_model_means() {
    contract::same_meaning(&table().await.0, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner() {
    contract::races(Arc::new(table().await.0), 5).await;
}
