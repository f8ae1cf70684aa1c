//! Checks of the table: what every function reads before it serves, and what only the function of the operators checks.

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

/// The result of a function's first read.
#[derive(Debug, Clone, Default)]
pub struct StoreCheck {
    /// The store's identity; `None` if the table has none yet or did not respond.
    pub identity: Option<Identity>,
    /// DynamoDB's clock, from the `Date` header of its response.
    pub service_time: Option<Timestamp>,
    /// Errors of the table or of the request.
    pub faults: Vec<String>,
}

impl DynamoTable {
    /// Reads the store's identity and DynamoDB's clock in one call. Later requests reuse the connection.
    pub async fn check_store(&self) -> StoreCheck {
        let date = Date::default();
        let request = KeysAndAttributes::builder().keys(to_sdk(&keys::identity().attributes())).consistent_read(true);
        let request = match request.build() {
            Ok(request) => request,
            Err(error) => return StoreCheck { faults: vec![error.to_string()], ..StoreCheck::default() },
        };
        let response = self
            .client
            .batch_get_item()
            .request_items(&self.name, request)
            .customize()
            .interceptor(date.clone())
            .config_override(self.reading())
            .send()
            .await;
        let mut check = StoreCheck { service_time: date.read(), ..StoreCheck::default() };
        match response {
            Ok(response) => {
                let found = response.responses.unwrap_or_default().into_values().flatten().next();
                match found.map(|found| item::read(from_sdk(found))).transpose() {
                    Ok(identity) => check.identity = identity,
                    Err(error) => check.faults.push(format!("table {}: {error}", self.name)),
                }
            }
            Err(error) => check.faults.push(self.describe_error(&error)),
        }
        check
    }

    /// Asks DynamoDB to describe the table, and lists the differences from a table that Vestibule can use. `stream` is
    /// the ARN of the stream that the functions are configured with: a table with another stream is another table.
    ///
    /// Only the function of the operators calls this. It creates the store in a table, so a table with a store was
    /// checked before.
    pub async fn describe(&self, stream: &str) -> Vec<String> {
        let response = self.client.describe_table().table_name(&self.name).customize().config_override(self.reading());
        match response.send().await {
            Ok(response) => faults(&response.table.unwrap_or_else(|| TableDescription::builder().build()), stream),
            Err(error) => vec![self.describe_error(&error)],
        }
    }

    fn describe_error<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug>(
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

/// The differences of a table from what Vestibule needs (`DynamoTable::create` makes such a table).
fn faults(table: &TableDescription, stream: &str) -> Vec<String> {
    let name = table.table_name().unwrap_or("?");
    let mut faults = Vec::new();
    // A table of an emulator may have no stream.
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

/// Records the `Date` header of a response, also of an error response.
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

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{GlobalSecondaryIndexDescription, Projection};

    use super::*;

    const KEYS: [(&str, KeyType); 2] = [("PK", KeyType::Hash), ("SK", KeyType::Range)];
    const INDEX_KEYS: [(&str, KeyType); 2] = [("GP", KeyType::Hash), ("GS", KeyType::Range)];

    fn schema(keys: &[(&str, KeyType)]) -> Vec<KeySchemaElement> {
        let element = |(name, kind): &(&str, KeyType)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build().unwrap()
        };
        keys.iter().map(element).collect()
    }

    /// The faults of a table with this state, these keys, and an index with these keys and attributes.
    fn found(
        status: TableStatus,
        keys: &[(&str, KeyType)],
        index_keys: &[(&str, KeyType)],
        projected: ProjectionType,
    ) -> String {
        let index = GlobalSecondaryIndexDescription::builder()
            .index_name("dir")
            .set_key_schema(Some(schema(index_keys)))
            .projection(Projection::builder().projection_type(projected).build())
            .build();
        let table = TableDescription::builder()
            .table_name("t")
            .table_status(status)
            .set_key_schema(Some(schema(keys)))
            .global_secondary_indexes(index)
            .build();
        faults(&table, "arn").join("; ")
    }

    #[test]
    fn table_of_another_form_is_refused() {
        use KeyType::{Hash, Range};
        use ProjectionType::{All, KeysOnly};
        use TableStatus::{Active, Creating, Updating};
        for status in [Active, Updating] {
            assert_eq!(found(status, &KEYS, &INDEX_KEYS, All), "");
        }
        assert_eq!(found(Creating, &KEYS, &INDEX_KEYS, All), "table t: its status is CREATING");
        let other_keys: [&[(&str, KeyType)]; 5] = [
            &[("X", Hash), ("SK", Range)],
            &[("PK", Hash), ("X", Range)],
            &[("PK", Range), ("SK", Hash)],
            &[("PK", Hash)],
            &[("PK", Hash), ("SK", Range), ("X", Range)],
        ];
        for keys in other_keys {
            assert_eq!(found(Active, keys, &INDEX_KEYS, All), "table t: its keys are not PK and SK", "{keys:?}");
        }
        for (keys, projected) in [(&KEYS, All), (&INDEX_KEYS, KeysOnly)] {
            let fault = "table t: its index dir is not of GP and GS with all attributes";
            assert_eq!(found(Active, &KEYS, keys, projected), fault, "{keys:?}");
        }
    }
}
