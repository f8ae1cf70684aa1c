//! The store's contract on DynamoDB's semantics: the real SDK over HTTP against an emulator in this process.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use vestibule::{
    env::SystemEntropy,
    store::{contract, dynamo::DynamoTable},
};

async fn table() -> DynamoTable {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let table = DynamoTable::new(Client::from_conf(config), "vestibule", Arc::new(SystemEntropy));
    table.create().await.unwrap();
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn expressions_mean_what_the_model_means() {
    contract::same_meaning(&table().await, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner() {
    contract::races(Arc::new(table().await), 5).await;
}
