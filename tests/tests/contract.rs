//! The store's contract on every backend.

use std::sync::Arc;

use local::data_dir::DataDir;
use vestibule::{
    env::SystemEntropy,
    store::{contract, memory::MemoryTable},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_store_matches_the_model() {
    let data = DataDir::ephemeral(&SystemEntropy).unwrap();
    contract::same_meaning(&data.table, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_on_the_embedded_store_have_one_winner() {
    let data = DataDir::ephemeral(&SystemEntropy).unwrap();
    contract::races(Arc::new(data.table), 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_on_the_model_have_one_winner() {
    contract::races(Arc::new(MemoryTable::default()), 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_races_on_the_embedded_store() {
    let data = DataDir::ephemeral(&SystemEntropy).unwrap();
    contract::commands::race(Arc::new(data.table), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_races_on_the_model() {
    contract::commands::race(Arc::new(MemoryTable::default()), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_races_on_dynamodb() {
    let table = tests::emulator::table(|inner| inner).await.patient();
    contract::commands::race(Arc::new(table), 1).await;
}
