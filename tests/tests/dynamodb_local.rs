//! The store's contract on Amazon's DynamoDB Local at `DYNAMODB_LOCAL`. `just dynamodb-local` starts it and runs these
//! tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{collections::BTreeSet, sync::Arc};

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem, Update},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tests::emulator;
use vestibule::store::{contract, dynamo::DynamoTable};

fn url() -> String {
    std::env::var("DYNAMODB_LOCAL").expect("DYNAMODB_LOCAL is the address of a running DynamoDB Local")
}

/// A table name of this run: one server may serve several runs.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

async fn table(name: &str) -> DynamoTable {
    emulator::create_table(&url(), &unique(name), |inner| inner).await.patient()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dynamodb_local_matches_the_model() {
    contract::same_meaning(&table("meaning").await, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_on_dynamodb_local_have_one_winner() {
    contract::races(Arc::new(table("races").await), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_races_on_dynamodb_local() {
    contract::commands::race(Arc::new(table("commands").await), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_of_32_on_dynamodb_local_is_answered_without_503() {
    for round in 0..5 {
        let crowd = tests::crowd::send(Arc::new(table(&format!("crowd{round}")).await)).await;
        println!("dynamodb-local: {crowd:?}");
        assert_eq!(crowd.unavailable, 0, "{crowd:?}");
        assert!(crowd.signed_in <= 1, "{crowd:?}");
    }
}

/// The differences between DynamoDB implementations that docs/stores.md describes.
#[derive(Debug, PartialEq)]
struct Behaviour {
    twice_in_a_batch: String,
    missing_parent: Vec<String>,
    comparison_with_itself: String,
    /// Whether the answer to a failed condition reports its cost.
    failed_reports_cost: bool,
    /// The outcomes of concurrent transactions on the same two items.
    concurrent: BTreeSet<String>,
}

fn outcome<E: ProvideErrorMetadata, T>(answer: Result<T, SdkError<E, HttpResponse>>) -> String {
    match answer {
        Ok(_) => "taken".into(),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap().into(),
        Err(other) => panic!("no answer: {other}"),
    }
}

async fn observe(client: Client, table: &str) -> Behaviour {
    let text = |text: &str| AttributeValue::S(text.into());
    let key = |name: &str| [("PK".to_owned(), text(name)), ("SK".to_owned(), text("x"))].into();
    let update = |name: &str, expression: &str| {
        let one = AttributeValue::N("1".into());
        let update = Update::builder().table_name(table).set_key(Some(key(name))).update_expression(expression);
        update.expression_attribute_values(":one", one)
    };
    let write = |updates: Vec<Update>| {
        let items = updates.into_iter().map(|update| TransactWriteItem::builder().update(update).build());
        client.transact_write_items().set_transact_items(Some(items.collect())).send()
    };
    write(vec![update("T#a", "SET n = :one").build().unwrap()]).await.unwrap();

    let keys = KeysAndAttributes::builder().keys(key("T#a")).keys(key("T#a")).build().unwrap();
    let twice_in_a_batch = outcome(client.batch_get_item().request_items(table, keys).send().await);
    let orphan = write(vec![update("T#a", "SET a.b = :one").build().unwrap()]).await.unwrap_err().into_service_error();
    let missing_parent = match orphan {
        aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
            why,
        ) => why.cancellation_reasons().iter().map(|reason| reason.code().unwrap().to_owned()).collect(),
        other => vec![other.code().unwrap().to_owned()],
    };
    let plain = || client.update_item().table_name(table).set_key(Some(key("T#a"))).update_expression("SET n = :one");
    let plain = || plain().expression_attribute_values(":one", AttributeValue::N("1".into()));
    let comparison_with_itself = outcome(plain().condition_expression("n = n").send().await);
    let failed = plain().condition_expression("n <> :one").return_consumed_capacity(ReturnConsumedCapacity::Total);
    let failed = failed.send().await.unwrap_err();
    let body = failed.raw_response().unwrap().body().bytes().unwrap();
    let failed_reports_cost = String::from_utf8_lossy(body).contains("Capacity");

    let both = || ["T#a", "T#b"].map(|name| update(name, "ADD n :one").build().unwrap()).to_vec();
    let one = |_| {
        let racing = write(both());
        tokio::spawn(async move { outcome(racing.await) })
    };
    let mut concurrent = BTreeSet::new();
    for _ in 0..20 {
        for racing in (0..16).map(one).collect::<Vec<_>>() {
            concurrent.insert(racing.await.unwrap());
        }
    }
    Behaviour { twice_in_a_batch, missing_parent, comparison_with_itself, failed_reports_cost, concurrent }
}

/// If this fails, docs/stores.md is out of date.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_differ_as_documented() {
    let database = emulator::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let in_process = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    let refused = || "ValidationException".to_owned();
    let emulator = Behaviour {
        twice_in_a_batch: refused(),
        missing_parent: vec!["ValidationError".into()],
        comparison_with_itself: "taken".into(),
        failed_reports_cost: false,
        concurrent: ["taken".to_owned()].into(),
    };
    let local = Behaviour {
        twice_in_a_batch: refused(),
        missing_parent: vec![refused()],
        comparison_with_itself: refused(),
        failed_reports_cost: false,
        concurrent: ["taken".to_owned()].into(),
    };
    for (url, expected) in [(in_process, emulator), (url(), local)] {
        let name = unique("ways");
        emulator::create_table(&url, &name, |inner| inner).await;
        assert_eq!(observe(emulator::client(&url, |inner| inner), &name).await, expected, "{url}");
    }
}
