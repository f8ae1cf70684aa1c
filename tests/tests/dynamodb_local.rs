//! The store's contract on Amazon's own DynamoDB Local, at the address in `DYNAMODB_LOCAL`: `just dynamodb-local` starts it
//! and runs these.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use tests::emulator;
use vestibule::store::{contract, dynamo::DynamoTable};

async fn table(name: &str) -> DynamoTable {
    let url = std::env::var("DYNAMODB_LOCAL").expect("DYNAMODB_LOCAL is the address of a running DynamoDB Local");
    // One server may serve many runs: each has tables of its own.
    emulator::fresh(&url, &format!("{name}-{}", std::process::id()), |inner| inner).await.patient()
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
