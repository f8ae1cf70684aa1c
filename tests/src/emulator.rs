//! DynamoDB's semantics in this process: the real SDK over HTTP against an emulator, with whatever stands between.

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use vestibule::{env::SystemEntropy, store::dynamo::DynamoTable};

/// A fresh table in an emulator of its own, reached through the given HTTP client.
pub async fn table(between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    fresh(&url, "vestibule", between).await
}

/// A fresh table of that name in whatever answers as DynamoDB at an address.
pub async fn fresh(url: &str, name: &str, between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(between(aws_smithy_http_client::Builder::new().build_http()))
        .build();
    let table = DynamoTable::new(Client::from_conf(config), name, Arc::new(SystemEntropy));
    table.create().await.unwrap();
    table
}
