//! Conditional writes in DynamoDB, over the AWS SDK.
//!
//! The SDK's own retries are off for writes: it could apply an update twice after a lost reply and report it once. An
//! unknown outcome is returned as [`StoreError`], and the request is denied.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, CancellationReason, ConditionCheck, Delete,
        GlobalSecondaryIndex, KeySchemaElement, KeyType, KeysAndAttributes, Projection, ProjectionType, Put,
        ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure, ScalarAttributeType, TransactWriteItem, Update,
    },
};
use data_encoding::BASE64URL_NOPAD;

use super::{
    table::{Query, Retry, StoreError, Table, Transacted, Transaction, Unmet, Updated},
    write::{Action, Effect, Item, Key, Value, Write},
};
use crate::{env::Entropy, tls_roots::TlsRoots};

mod check;
mod expression;
mod failure;

pub use check::StoreCheck;
use expression::Expression;
use failure::{Failure, cancelled_for, failure, permanent_error, store_error, unavailable};

/// Maximum attempts of a call. Contention and throttling usually pass.
const CALLS: u32 = 4;

/// No attempt starts after this time, so that the caller can still receive a response.
const PATIENCE: Duration = Duration::from_secs(2);

/// The store's table in DynamoDB.
#[derive(Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
    entropy: std::sync::Arc<dyn Entropy>,
    /// A timeout is an unknown outcome too. Without these limits the SDK would wait without end.
    timeouts: TimeoutConfig,
}

fn to_sdk(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

fn from_sdk(item: HashMap<String, AttributeValue>) -> Item {
    item.into_iter().map(|(name, value)| (name, value.into())).collect()
}

fn build_error(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("a request could not be built: {what}"))
}

/// A DynamoDB client. `endpoint` replaces the address of AWS.
#[must_use]
pub fn client(region: String, credentials: Credentials, endpoint: Option<String>, trust: &TlsRoots) -> Client {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(credentials)
        .http_client(trust.http_client());
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

impl DynamoTable {
    /// The table with this name.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, entropy: std::sync::Arc<dyn Entropy>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(3))
            .build();
        Self { client, name: name.into(), entropy, timeouts }
    }

    /// Allows slow responses, for tests that are not about timeouts.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build();
        self
    }

    /// Creates the table and its index, with on-demand billing, unless it exists. For tests and development.
    ///
    /// # Errors
    /// [`StoreError`]: DynamoDB does not answer, or refuses to create the table.
    pub async fn create(&self) -> Result<(), StoreError> {
        let attribute = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let mut create = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for name in ["PK", "SK", "GP", "GS"] {
            create = create.attribute_definitions(attribute(name).map_err(build_error)?);
        }
        let index = GlobalSecondaryIndex::builder()
            .index_name("dir")
            .key_schema(key("GP", KeyType::Hash).map_err(build_error)?)
            .key_schema(key("GS", KeyType::Range).map_err(build_error)?)
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .map_err(build_error)?;
        create
            .key_schema(key("PK", KeyType::Hash).map_err(build_error)?)
            .key_schema(key("SK", KeyType::Range).map_err(build_error)?)
            .global_secondary_indexes(index)
            .send()
            .await
            .map(|_| ())
            .or_else(|error| match error.code() {
                Some("ResourceInUseException") => Ok(()),
                _ => Err(unavailable(&error)),
            })
    }

    /// The configuration of reads, which the SDK may retry.
    fn reading(&self) -> aws_sdk_dynamodb::config::Builder {
        aws_sdk_dynamodb::config::Config::builder().timeout_config(self.timeouts.clone())
    }

    fn once(&self) -> aws_sdk_dynamodb::config::Builder {
        self.reading().retry_config(RetryConfig::disabled())
    }

    /// Sends an update as UpdateItem. A single put or delete is sent as a transaction with one write: no frequent
    /// command needs them alone, so each call has one implementation.
    async fn update_item(&self, write: &Write, actions: &[Action]) -> Result<Updated, SdkError<UpdateItemError>> {
        let mut expression = Expression::default();
        let condition = expression.condition(write.condition());
        let update = expression.actions(actions);
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(to_sdk(&write.key().attributes())))
            .set_update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .customize()
            .config_override(self.once())
            .send()
            .await;
        match sent {
            Ok(done) => Ok(Updated::Written(done.attributes.map(from_sdk))),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Updated::Refused(failed.item.clone().map(from_sdk)))
                }
                _ => Err(error),
            },
        }
    }

    fn transact_item(&self, write: &Write) -> Result<TransactWriteItem, StoreError> {
        let mut expression = Expression::default();
        let condition = expression.condition(write.condition());
        let update = match write.effect() {
            Effect::Update(actions) => expression.actions(actions).unwrap_or_default(),
            _ => String::new(),
        };
        // The four builders are of different types with the same methods.
        macro_rules! conditional {
            ($builder:expr) => {
                $builder
                    .table_name(&self.name)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(expression.names())
                    .set_expression_attribute_values(expression.values())
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .build()
                    .map_err(build_error)?
            };
        }
        let key = to_sdk(&write.key().attributes());
        let item = TransactWriteItem::builder();
        Ok(match write.effect() {
            Effect::Update(_) => {
                item.update(conditional!(Update::builder().set_key(Some(key)).update_expression(update)))
            }
            Effect::Put(attributes) => {
                let whole = to_sdk(attributes).into_iter().chain(key).collect();
                item.put(conditional!(Put::builder().set_item(Some(whole))))
            }
            Effect::Delete => item.delete(conditional!(Delete::builder().set_key(Some(key)))),
            Effect::Check => item.condition_check(conditional!(ConditionCheck::builder().set_key(Some(key)))),
        }
        .build())
    }

    /// Waits a random time of 25 to 200 ms, so that concurrent writers can finish.
    async fn pause(&self) -> Result<(), StoreError> {
        let [random] = self.entropy.bytes::<1>()?;
        tokio::time::sleep(std::time::Duration::from_millis(25 + u64::from(random) * 175 / 255)).await;
        Ok(())
    }

    /// The items that the reference model does not apply their writes to. DynamoDB uses one code for those and for bugs.
    async fn unfit(&self, writes: &[Write]) -> Result<Unmet, StoreError> {
        let keys: Vec<_> = writes.iter().map(|write| write.key.clone()).collect();
        let found = self.read(&keys).await?;
        let unfit = writes.iter().zip(found).filter(|(write, item)| write.apply(item.clone()).is_err());
        Ok(unfit.map(|(write, item)| (write.key.clone(), item)).collect())
    }

    /// The items of a cancelled transaction that did not meet their conditions.
    ///
    /// DynamoDB uses one code for an action that does not fit its item, which is a refusal (see [`Write::apply`]), and
    /// for an invalid write or a too large item, which is a bug. The reference model tells them apart.
    async fn unmet(&self, writes: &[Write], reasons: &[CancellationReason]) -> Result<Unmet, StoreError> {
        let mut unmet = Unmet::new();
        for (write, reason) in writes.iter().zip(reasons) {
            match reason.code() {
                Some("ConditionalCheckFailed") => {
                    let found = reason.item.clone().filter(|item| !item.is_empty()).map(from_sdk);
                    unmet.insert(write.key.clone(), found);
                }
                Some("ValidationError") => unmet.extend(self.unfit(std::slice::from_ref(write)).await?),
                _ => {}
            }
        }
        Ok(unmet)
    }

    async fn send_transaction(
        &self,
        items: Vec<TransactWriteItem>,
        token: &str,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        let request = self.client.transact_write_items().set_transact_items(Some(items)).client_request_token(token);
        request.customize().config_override(self.once()).send().await.map(|_| ())
    }

    async fn transact_writes(&self, writes: &[Write], marker: Option<&Key>) -> Result<Transacted, StoreError> {
        let items = writes.iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>()?;
        let token = self.entropy.bytes::<16>()?;
        let token = BASE64URL_NOPAD.encode(&token);
        let began = Instant::now();
        // Once an attempt may have been applied, this stays true whatever later attempts return.
        let mut unknown = false;
        let mut last = StoreError::Contended("a transaction".into());
        // All attempts have the same token and the same bytes, so DynamoDB reports an earlier success as success.
        for call in 1..=CALLS {
            let Err(error) = self.send_transaction(items.clone(), &token).await else {
                return Ok(Transacted::Committed);
            };
            let failed = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let reasons = cancelled.cancellation_reasons();
                    // After a lost reply, the transaction's own marker refuses it: the earlier attempt was committed.
                    let row = reasons.get(writes.len().saturating_sub(1)).and_then(|reason| reason.code());
                    if unknown && marker.is_some() && row == Some("ConditionalCheckFailed") {
                        return Ok(Transacted::Committed);
                    }
                    let unmet = self.unmet(writes, reasons).await?;
                    if !unmet.is_empty() {
                        return Ok(Transacted::Refused(unmet));
                    }
                    cancelled_for(reasons)
                }
                _ => {
                    // An action that does not fit its item may be reported for the whole call (DynamoDB Local does
                    // this). After an unknown outcome the model could find what this call itself wrote, so it is not
                    // used then.
                    if !unknown && error.code() == Some("ValidationException") {
                        let unmet = self.unfit(writes).await?;
                        if !unmet.is_empty() {
                            return Ok(Transacted::Refused(unmet));
                        }
                    }
                    (failure(&error), store_error(&error))
                }
            };
            unknown |= failed.0 == Failure::Unknown;
            last = failed.1;
            if failed.0 == Failure::Permanent || call == CALLS || began.elapsed() >= PATIENCE {
                break;
            }
            self.pause().await?;
        }
        if unknown { self.resolve(marker, last).await } else { Err(last) }
    }

    /// Resolves an unknown commit by reading its marker. Absence is inconclusive: the writes may still be applied.
    async fn resolve(&self, marker: Option<&Key>, last: StoreError) -> Result<Transacted, StoreError> {
        match marker {
            Some(marker) if self.read(std::slice::from_ref(marker)).await?.into_iter().flatten().next().is_some() => {
                Ok(Transacted::Committed)
            }
            _ => Err(match last {
                // The last attempt met contention, but an earlier one may have been applied.
                StoreError::Contended(what) => {
                    StoreError::Unavailable(format!("unknown outcome, then contended: {what}"))
                }
                last => last,
            }),
        }
    }
}

/// The lowest and highest sort key of a query; `None` if no key can match. DynamoDB allows one condition on the sort key: a
/// range from the prefix, or from the bound, to the prefix's end.
fn sort_key_range(query: &Query) -> Option<(String, String)> {
    let end = format!("{}\u{10FFFF}", query.prefix);
    let (low, high) = match &query.after {
        Some(after) if query.descending => (query.prefix.clone(), after.clone().min(end)),
        Some(after) => (after.clone().max(query.prefix.clone()), end),
        None => (query.prefix.clone(), end),
    };
    (low <= high).then_some((low, high))
}

#[async_trait]
impl Table for DynamoTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        // A caller who reads their own item can request it twice, which DynamoDB refuses.
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        let mut pending: Vec<_> = distinct.into_iter().map(|key| to_sdk(&key.attributes())).collect();
        let mut found: HashMap<(String, String), Item> = HashMap::new();
        for _ in 0..CALLS {
            let request = KeysAndAttributes::builder().set_keys(Some(pending)).consistent_read(true);
            let request = request.build().map_err(build_error)?;
            let sent = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .customize()
                .config_override(self.reading())
                .send()
                .await;
            let response = sent.map_err(|error| store_error(&error))?;
            for item in response.responses.unwrap_or_default().into_values().flatten().map(from_sdk) {
                if let (Some(Value::S(pk)), Some(Value::S(sk))) = (item.get("PK"), item.get("SK")) {
                    found.insert((pk.clone(), sk.clone()), item);
                }
            }
            let rest = response.unprocessed_keys.unwrap_or_default().remove(&self.name);
            match rest {
                Some(rest) if !rest.keys.is_empty() => pending = rest.keys,
                _ => {
                    let of = |key: &Key| found.get(&(key.pk.clone(), key.sk.clone())).cloned();
                    return Ok(keys.iter().map(of).collect());
                }
            }
            self.pause().await?;
        }
        Err(StoreError::Unavailable("some keys remain unprocessed".into()))
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        let Effect::Update(actions) = write.effect() else {
            return match self.transact_writes(std::slice::from_ref(write), None).await? {
                Transacted::Committed => Ok(Updated::Written(
                    self.read(std::slice::from_ref(&write.key)).await?.into_iter().flatten().next(),
                )),
                Transacted::Refused(mut unmet) => Ok(Updated::Refused(unmet.remove(&write.key).flatten())),
            };
        };
        let began = Instant::now();
        let mut unknown = 0;
        for call in 1..=CALLS {
            let error = match self.update_item(write, actions).await {
                Ok(updated) => return Ok(updated),
                Err(error) => error,
            };
            // DynamoDB uses one code for an action that does not fit its item, which is a refusal (see `Write::apply`),
            // and for an invalid request, which is a bug. The reference model tells them apart.
            if error.code() == Some("ValidationException") {
                let met = self.read(std::slice::from_ref(&write.key)).await?.into_iter().flatten().next();
                return if write.apply(met.clone()).is_err() {
                    Ok(Updated::Refused(met))
                } else {
                    Err(permanent_error(&error))
                };
            }
            match failure(&error) {
                Failure::Permanent => return Err(store_error(&error)),
                Failure::Throttled | Failure::Contended => {}
                Failure::Unknown => unknown += 1,
            }
            let allowed = if retry == Retry::Idempotent { 1 } else { 0 };
            if unknown > allowed || call == CALLS || began.elapsed() >= PATIENCE {
                let contended = unknown == 0 && failure(&error) == Failure::Contended;
                return Err(if contended { StoreError::Contended("an item".into()) } else { unavailable(&error) });
            }
            self.pause().await?;
        }
        Err(StoreError::Unavailable("no attempt was made".into()))
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        self.transact_writes(transaction.writes(), Some(transaction.marker())).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let (partition, sort) = if query.index { ("GP", "GS") } else { ("PK", "SK") };
        let Some((low, high)) = sort_key_range(query) else { return Ok(Vec::new()) };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(query.index.then(|| "dir".to_owned()))
            .consistent_read(!query.index)
            .scan_index_forward(!query.descending)
            // One more than the limit, because the bound may be among them. Without a limit a page is a megabyte, which
            // costs money.
            .limit(i32::try_from(query.limit.saturating_add(1)).unwrap_or(i32::MAX))
            .expression_attribute_names("#p", partition)
            .expression_attribute_values(":p", AttributeValue::S(query.partition.clone()))
            .expression_attribute_names("#s", sort)
            .expression_attribute_values(":high", AttributeValue::S(high));
        // A key value cannot be an empty text, so an empty lower bound is left out.
        request = if low.is_empty() {
            request.key_condition_expression("#p = :p AND #s <= :high")
        } else {
            request
                .key_condition_expression("#p = :p AND #s BETWEEN :low AND :high")
                .expression_attribute_values(":low", AttributeValue::S(low))
        };
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = request.clone().set_exclusive_start_key(from).customize().config_override(self.reading());
            let sent = page.send().await;
            let page = sent.map_err(|error| store_error(&error))?;
            for item in page.items.unwrap_or_default().into_iter().map(from_sdk) {
                // The bound itself is excluded: it is the last item of the previous page.
                let at_bound = matches!(item.get(sort), Some(Value::S(at)) if query.after.as_ref() == Some(at));
                if !at_bound && found.len() < query.limit {
                    found.push(item);
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() || found.len() >= query.limit {
                return Ok(found);
            }
        }
    }
}
