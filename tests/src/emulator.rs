//! A DynamoDB emulator in this process, used over HTTP by the real SDK. `wrap_client` can replace the HTTP client, for
//! example to inject faults.

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

/// A new table in a new emulator.
pub async fn table(wrap_client: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    table_in(Database::memory().unwrap(), wrap_client).await
}

/// A new table in an empty database.
pub async fn table_in(
    database: Database,
    wrap_client: impl FnOnce(SharedHttpClient) -> SharedHttpClient,
) -> DynamoTable {
    create_table(&serve(database).await, "vestibule", wrap_client).await
}

/// Serves a database in this process and returns its URL.
pub async fn serve(database: Database) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { dynoxide::server::serve_on(listener, database).await });
    url
}

/// Creates a table at a URL.
pub async fn create_table(
    url: &str,
    name: &str,
    wrap_client: impl FnOnce(SharedHttpClient) -> SharedHttpClient,
) -> DynamoTable {
    let table = table_at(url, name, wrap_client);
    table.create().await.unwrap();
    table
}

/// A table at a URL, which may exist or not.
pub fn table_at(url: &str, name: &str, wrap_client: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> DynamoTable {
    DynamoTable::new(client(url, wrap_client), name, Arc::new(NoJitter))
}

/// An SDK client for the DynamoDB at a URL.
pub fn client(url: &str, wrap_client: impl FnOnce(SharedHttpClient) -> SharedHttpClient) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(wrap_client(TlsRoots::read(None).unwrap().http_client()))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .build();
    Client::from_conf(config)
}

/// The system's randomness, but no jitter: a request for one random byte, which chooses a delay, returns zero.
struct NoJitter;

impl Entropy for NoJitter {
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
