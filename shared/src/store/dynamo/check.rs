//! Looks at the table: what every function reads before it serves anybody, and what only the function of the operators asks.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{KeySchemaElement, KeyType, KeysAndAttributes, ProjectionType, TableDescription, TableStatus},
};
use aws_smithy_runtime_api::{
    box_error::BoxError, client::interceptors::context::BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_types::date_time::{DateTime, Format};

use super::{DynamoTable, from_sdk, to_sdk};
use crate::{
    env::Timestamp,
    store::{item, keys, setup::Identity},
};

/// What the first read of a function found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The store's identity; `None` where the table has none yet, or did not answer.
    pub identity: Option<Identity>,
    /// The service's clock, from the `Date` of its answer.
    pub service_time: Option<Timestamp>,
    /// What is wrong with the table, or with asking for it.
    pub faults: Vec<String>,
}

impl DynamoTable {
    /// Reads the store's identity, and the service's clock with it: one call. The connection that it opens is kept for the
    /// requests to come.
    pub async fn look(&self) -> Look {
        let date = Date::default();
        let ask = KeysAndAttributes::builder().keys(to_sdk(&keys::identity().attributes())).consistent_read(true);
        let ask = match ask.build() {
            Ok(ask) => ask,
            Err(error) => return Look { faults: vec![error.to_string()], ..Look::default() },
        };
        let told = self
            .client
            .batch_get_item()
            .request_items(&self.name, ask)
            .customize()
            .interceptor(date.clone())
            .config_override(self.reading())
            .send()
            .await;
        let mut look = Look { service_time: date.read(), ..Look::default() };
        match told {
            Ok(told) => {
                let found = told.responses.unwrap_or_default().into_values().flatten().next();
                match found.map(|found| item::read(from_sdk(found))).transpose() {
                    Ok(identity) => look.identity = identity,
                    Err(error) => look.faults.push(format!("table {}: {error}", self.name)),
                }
            }
            Err(error) => look.faults.push(self.untold(&error)),
        }
        look
    }

    /// Asks DynamoDB what the table is, and says how it differs from one that the code works with. `stream` is the ARN of
    /// the stream that functions are told of: a table whose stream is another is another table.
    ///
    /// Only the function of the operators asks this: it makes a table a store, and a table that is one was found right.
    pub async fn describe(&self, stream: &str) -> Vec<String> {
        let told = self.client.describe_table().table_name(&self.name).customize().config_override(self.reading());
        match told.send().await {
            Ok(told) => faults(&told.table.unwrap_or_else(|| TableDescription::builder().build()), stream),
            Err(error) => vec![self.untold(&error)],
        }
    }

    fn untold<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug>(
        &self,
        error: &SdkError<E, R>,
    ) -> String {
        let (name, region) = (&self.name, self.client.config().region().map_or("?", AsRef::as_ref));
        match (error, error.code()) {
            (_, Some("ResourceNotFoundException")) => format!("table {name}: there is none of that name in {region}"),
            (_, Some(code)) => format!("table {name} in {region}: {code}"),
            (SdkError::TimeoutError(_), None) => format!("table {name}: DynamoDB in {region} does not answer in time"),
            (error, None) => format!("table {name}: DynamoDB in {region}: {}", DisplayErrorContext(error)),
        }
    }
}

/// How a table differs from what the code works with (`DynamoTable::create` makes such a one).
fn faults(table: &TableDescription, stream: &str) -> Vec<String> {
    let name = table.table_name().unwrap_or("?");
    let mut faults = Vec::new();
    // An emulator's table may have none.
    if let Some(other) = table.latest_stream_arn().filter(|other| *other != stream) {
        faults.push(format!("table {name}: VESTIBULE_TABLE_STREAM is {stream}, and its stream is {other}"));
    }
    if !matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
        let status = table.table_status().map_or("unknown", TableStatus::as_str);
        faults.push(format!("table {name}: its status is {status}"));
    }
    if !keys_are(table.key_schema(), "PK", "SK") {
        faults.push(format!("table {name}: its keys are not PK and SK"));
    }
    match table.global_secondary_indexes().iter().find(|index| index.index_name() == Some("dir")) {
        None => faults.push(format!("table {name}: it has no index dir")),
        Some(index) => {
            let projected = index.projection().and_then(|projection| projection.projection_type());
            if !keys_are(index.key_schema(), "GP", "GS") || projected != Some(&ProjectionType::All) {
                faults.push(format!("table {name}: its index dir is not of GP and GS with all attributes"));
            }
        }
    }
    faults
}

fn keys_are(schema: &[KeySchemaElement], hash: &str, range: &str) -> bool {
    let has = |name: &str, kind| schema.iter().any(|key| key.attribute_name() == name && *key.key_type() == kind);
    schema.len() == 2 && has(hash, KeyType::Hash) && has(range, KeyType::Range)
}

/// The `Date` of an answer, whether it is a refusal or not.
#[derive(Debug, Clone, Default)]
struct Date(Arc<Mutex<Option<Timestamp>>>);

impl Date {
    fn read(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Date {
    fn name(&self) -> &'static str {
        "Date"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.map(|date| Timestamp::from_secs(date.secs()));
        Ok(())
    }
}
