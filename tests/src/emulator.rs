//! DynamoDB's semantics in this process: the real SDK over HTTP against an emulator, with whatever stands between.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
pub use dynoxide::Database;
use vestibule::{
    env::{Entropy, EntropyError, SystemEntropy},
    store::dynamo::DynamoTable,
    tls_roots::TlsRoots,
};

/// A fresh table in an emulator of its own, reached through the given HTTP client.
pub async fn table(between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    table_in(Database::memory().unwrap(), between).await
}

/// A fresh table in a database that is empty yet.
pub async fn table_in(database: Database, between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    fresh(&serve(database).await, "vestibule", between).await
}

/// Serves a database in this process; its address.
pub async fn serve(database: Database) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    url
}

/// A fresh table of that name in whatever answers as DynamoDB at an address.
pub async fn fresh(url: &str, name: &str, between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    let table = table_at(url, name, between);
    table.create().await.unwrap();
    table
}

/// The table of that name at an address, whatever is there.
pub fn table_at(url: &str, name: &str, between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    DynamoTable::new(client(url, between), name, Arc::new(Hurried))
}

/// The SDK's client of whatever answers as DynamoDB at an address.
pub fn client(url: &str, between: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(between(TlsRoots::read(None).unwrap().http_client()))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .build();
    Client::from_conf(config)
}

/// The system's randomness; but the single byte that says how long to wait says: no longer than one has to.
struct Hurried;

impl Entropy for Hurried {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        match buffer {
            [one] => {
                *one = 0;
                Ok(())
            }
            more => SystemEntropy.fill(more),
        }
    }
}
