//! The store's contract on Amazon's own DynamoDB Local, at the address in `DYNAMODB_LOCAL`: `just dynamodb-local` starts it
//! and runs these.
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

/// One server may serve many runs: each has tables of its own.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

async fn table(name: &str) -> DynamoTable {
    emulator::fresh(&url(), &own(name), |inner| inner).await.patient()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dynamodb_local_means_what_the_model_means() {
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
        let crowd = tests::crowd::meet(Arc::new(table(&format!("crowd{round}")).await)).await;
        println!("dynamodb-local: {crowd:?}");
        assert_eq!(crowd.unavailable, 0, "{crowd:?}");
        assert!(crowd.signed_in <= 1, "{crowd:?}");
    }
}

/// What docs/stores.md says of a store that answers as DynamoDB.
#[derive(Debug, PartialEq)]
struct Ways {
    twice_in_a_batch: String,
    missing_parent: Vec<String>,
    with_itself: String,
    /// Whether a condition that failed says what it cost.
    failed_says_its_cost: bool,
    /// What became of transactions that wrote two items at once.
    at_once: BTreeSet<String>,
}

fn said<E: ProvideErrorMetadata, T>(answer: Result<T, SdkError<E, HttpResponse>>) -> String {
    match answer {
        Ok(_) => "taken".into(),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap().into(),
        Err(other) => panic!("no answer: {other}"),
    }
}

async fn ways(client: Client, table: &str) -> Ways {
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
    let twice_in_a_batch = said(client.batch_get_item().request_items(table, keys).send().await);
    let orphan = write(vec![update("T#a", "SET a.b = :one").build().unwrap()]).await.unwrap_err().into_service_error();
    let missing_parent = match orphan {
        aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
            why,
        ) => why.cancellation_reasons().iter().map(|reason| reason.code().unwrap().to_owned()).collect(),
        other => vec![other.code().unwrap().to_owned()],
    };
    let plain = || client.update_item().table_name(table).set_key(Some(key("T#a"))).update_expression("SET n = :one");
    let plain = || plain().expression_attribute_values(":one", AttributeValue::N("1".into()));
    let with_itself = said(plain().condition_expression("n = n").send().await);
    let failed = plain().condition_expression("n <> :one").return_consumed_capacity(ReturnConsumedCapacity::Total);
    let failed = failed.send().await.unwrap_err();
    let body = failed.raw_response().unwrap().body().bytes().unwrap();
    let failed_says_its_cost = String::from_utf8_lossy(body).contains("Capacity");

    let both = || ["T#a", "T#b"].map(|name| update(name, "ADD n :one").build().unwrap()).to_vec();
    let one = |_| {
        let racing = write(both());
        tokio::spawn(async move { said(racing.await) })
    };
    let mut at_once = BTreeSet::new();
    for _ in 0..20 {
        for racing in (0..16).map(one).collect::<Vec<_>>() {
            at_once.insert(racing.await.unwrap());
        }
    }
    Ways { twice_in_a_batch, missing_parent, with_itself, failed_says_its_cost, at_once }
}

/// Where this fails, docs/stores.md is out of date.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_stores_differ_as_docs_stores_says() {
    let database = emulator::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let in_process = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    let refused = || "ValidationException".to_owned();
    let emulator = Ways {
        twice_in_a_batch: refused(),
        missing_parent: vec!["ValidationError".into()],
        with_itself: "taken".into(),
        failed_says_its_cost: false,
        at_once: ["taken".to_owned()].into(),
    };
    let local = Ways {
        twice_in_a_batch: refused(),
        missing_parent: vec![refused()],
        with_itself: refused(),
        failed_says_its_cost: false,
        at_once: ["taken".to_owned()].into(),
    };
    for (url, expected) in [(in_process, emulator), (url(), local)] {
        let name = own("ways");
        emulator::fresh(&url, &name, |inner| inner).await;
        assert_eq!(ways(emulator::client(&url, |inner| inner), &name).await, expected, "{url}");
    }
}
