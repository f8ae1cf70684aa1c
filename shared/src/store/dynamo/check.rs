//! Whether the table is there and is one of ours: what a function asks before it serves anybody.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{KeySchemaElement, KeyType, ProjectionType, TableDescription, TableStatus},
};
use aws_smithy_runtime_api::{
    box_error::BoxError, client::interceptors::context::BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_types::date_time::{DateTime, Format};

use super::DynamoTable;
use crate::env::Timestamp;

/// What a look at the table found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The table's id, where the service tells it. A table that was restored from a backup has another than the one that it
    /// is a copy of, whatever its name.
    pub id: Option<String>,
    /// What the service's clock said in its answer.
    pub service_time: Option<Timestamp>,
    /// What is wrong with the table, or with asking for it.
    pub faults: Vec<String>,
}

impl DynamoTable {
    /// Looks at the table. The connection that this opens is kept for the requests to come.
    pub async fn look(&self) -> Look {
        let date = Date::default();
        let told = self
            .client
            .describe_table()
            .table_name(&self.name)
            .customize()
            .interceptor(date.clone())
            .config_override(self.reading())
            .send()
            .await;
        let mut look = Look { service_time: date.read(), ..Look::default() };
        match told {
            Ok(told) => {
                let table = told.table.unwrap_or_else(|| TableDescription::builder().build());
                look.faults = faults(&table);
                look.id = table.table_id;
            }
            Err(error) => look.faults.push(self.untold(&error)),
        }
        look
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
fn faults(table: &TableDescription) -> Vec<String> {
    let name = table.table_name().unwrap_or("?");
    let mut faults = Vec::new();
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
