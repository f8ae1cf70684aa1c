//! Guarded writes as DynamoDB takes them, over the real SDK.
//!
//! The SDK's own retries are off: a plain update whose reply was lost would be applied twice, and told as one. What this file
//! does not know it answers as [`StoreError`], which means no.

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
    table::{Query, Retry, StoreError, Table, Transacted, Transaction, Updated, met_first},
    write::{Action, Comparison, Condition, Effect, Item, Key, Operand, Path, Step, Value, Write},
};
use crate::{env::Entropy, tls_roots::TlsRoots};

mod check;

pub use check::Look;

/// How often a call is made at most: contention and throttling pass.
const CALLS: u32 = 4;

/// After this no call is begun again: the caller is still there to be answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a failed call says about its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Not applied, for now.
    Throttled,
    /// Not applied: a transaction is at work on the item.
    Contended,
    /// Not applied, and asking again does not help: a defect of ours, or a missing permission.
    Hopeless,
    /// Perhaps applied.
    Unknown,
}

fn failure<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Failure {
    match (error, error.code()) {
        (SdkError::ConstructionFailure(_), _) => Failure::Hopeless,
        (
            SdkError::ServiceError(_),
            Some(
                "ThrottlingException"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "ThrottlingError"
                | "ProvisionedThroughputExceeded",
            ),
        ) => Failure::Throttled,
        (SdkError::ServiceError(_), Some("TransactionConflictException")) => Failure::Contended,
        (
            SdkError::ServiceError(_),
            Some(
                "ValidationException"
                | "SerializationException"
                | "IdempotentParameterMismatchException"
                | "ItemCollectionSizeLimitExceededException"
                | "ResourceNotFoundException"
                | "AccessDeniedException"
                | "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "IncompleteSignatureException"
                | "MissingAuthenticationTokenException"
                | "ExpiredTokenException",
            ),
        ) => Failure::Hopeless,
        _ => Failure::Unknown,
    }
}

/// The single table in DynamoDB.
#[derive(Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
    entropy: std::sync::Arc<dyn Entropy>,
    /// Silence is an unknown outcome too. The SDK alone would wait for ever.
    timeouts: TimeoutConfig,
}

/// An expression with its placeholders. Every name is one: many of ours are reserved words.
#[derive(Debug, Default)]
struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn name(&mut self, name: &str) -> String {
        match self.names.iter().find(|(_, known)| *known == name) {
            Some((placeholder, _)) => placeholder.clone(),
            None => {
                let placeholder = format!("#n{}", self.names.len());
                self.names.insert(placeholder.clone(), name.to_owned());
                placeholder
            }
        }
    }

    fn value(&mut self, value: &Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.clone().into());
        placeholder
    }

    fn path(&mut self, path: &Path) -> String {
        let mut text = String::new();
        for step in path.steps() {
            match step {
                Step::Name(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(&self.name(name));
                }
                Step::At(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::At(path) => self.path(path),
            Operand::Size(path) => format!("size({})", self.path(path)),
            Operand::Value(value) => self.value(value),
        }
    }

    /// A guard as a condition; `None` for one that always holds.
    fn condition(&mut self, condition: &Condition) -> Option<String> {
        let text = self.clause(condition)?;
        // Parentheses around all of it are refused as redundant. Text that starts with one is of `joined`, so it ends with
        // that one's partner.
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).map(str::to_owned);
        Some(inner.unwrap_or(text))
    }

    fn clause(&mut self, condition: &Condition) -> Option<String> {
        Some(match condition {
            Condition::Exists(path) => format!("attribute_exists({})", self.path(path)),
            Condition::Absent(path) => format!("attribute_not_exists({})", self.path(path)),
            Condition::Is(left, comparison, right) => {
                let sign = match comparison {
                    Comparison::Eq => "=",
                    Comparison::Ne => "<>",
                    Comparison::Lt => "<",
                    Comparison::Le => "<=",
                    Comparison::Gt => ">",
                    Comparison::Ge => ">=",
                };
                let (left_text, right_text) = (self.operand(left), self.operand(right));
                // Here `<>` holds with an absent attribute; in our language no comparison does.
                let mut parts = vec![format!("{left_text} {sign} {right_text}")];
                if *comparison == Comparison::Ne {
                    for operand in [left, right] {
                        if let Operand::At(path) = operand {
                            parts.push(format!("attribute_exists({})", self.path(path)));
                        }
                    }
                }
                joined(parts, " AND ")
            }
            Condition::All(conditions) => {
                let parts: Vec<_> = conditions.iter().filter_map(|condition| self.clause(condition)).collect();
                if parts.is_empty() {
                    return None;
                }
                joined(parts, " AND ")
            }
            Condition::Any(conditions) => {
                let parts: Option<Vec<_>> = conditions.iter().map(|condition| self.clause(condition)).collect();
                joined(parts?, " OR ")
            }
        })
    }

    fn actions(&mut self, actions: &[Action]) -> Option<String> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Set(path, value) => set.push(format!("{} = {}", self.path(path), self.value(value))),
                Action::SetIfAbsent(path, value) => {
                    let path = self.path(path);
                    set.push(format!("{path} = if_not_exists({path}, {})", self.value(value)));
                }
                Action::Add(path, by) => {
                    let path = self.path(path);
                    set.push(format!("{path} = {path} + {}", self.value(&super::write::num(*by))));
                }
                Action::Count(path, by) => {
                    let (path, zero) = (self.path(path), self.value(&super::write::num(0)));
                    let by = self.value(&super::write::num(*by));
                    set.push(format!("{path} = if_not_exists({path}, {zero}) + {by}"));
                }
                Action::Append(path, value) => {
                    let path = self.path(path);
                    let one = self.value(&Value::L(vec![value.clone()]));
                    set.push(format!("{path} = list_append({path}, {one})"));
                }
                Action::Remove(path) => remove.push(self.path(path)),
            }
        }
        let clause =
            |word: &str, parts: Vec<String>| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let clauses: Vec<_> = [clause("SET", set), clause("REMOVE", remove)].into_iter().flatten().collect();
        (!clauses.is_empty()).then(|| clauses.join(" "))
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// Several parts in parentheses; one part as it is, for redundant parentheses are refused.
fn joined(parts: Vec<String>, by: &str) -> String {
    if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(by)) }
}

fn to_sdk(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

fn from_sdk(item: HashMap<String, AttributeValue>) -> Item {
    item.into_iter().map(|(name, value)| (name, value.into())).collect()
}

fn malformed(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("a request could not be built: {what}"))
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    StoreError::Unavailable(error.code().map_or_else(|| error.to_string(), str::to_owned))
}

/// A call that can never work: denied, and an alarm.
fn hopeless<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    alarm(error.code().unwrap_or("none"));
    unavailable(error)
}

/// The code alone: a message of DynamoDB's may quote what it was sent.
fn alarm(code: &str) {
    tracing::error!(code, "DynamoDB will not do what it is asked");
}

/// A call that failed, for whatever cause.
fn told<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    if failure(error) == Failure::Hopeless { hopeless(error) } else { unavailable(error) }
}

/// Why a transaction was cancelled without one of its writes being refused: none of it was applied.
fn cancelled_for(reasons: &[CancellationReason]) -> (Failure, StoreError) {
    let codes = || reasons.iter().filter_map(|reason| reason.code()).filter(|code| *code != "None");
    if codes().any(|code| code == "ValidationError") {
        alarm("ValidationError");
        return (Failure::Hopeless, StoreError::Unavailable("ValidationError".into()));
    }
    match codes().next() {
        Some("TransactionConflict") => (Failure::Contended, StoreError::Contended("a transaction".into())),
        other => (Failure::Throttled, StoreError::Unavailable(other.unwrap_or("cancelled").to_owned())),
    }
}

/// A client of DynamoDB; at another address than AWS's where one is given.
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
    /// The table of that name.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, entropy: std::sync::Arc<dyn Entropy>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(3))
            .build();
        Self { client, name: name.into(), entropy, timeouts }
    }

    /// Waits for a slow machine: a test of something else is not about silence.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build();
        self
    }

    /// Makes the table with its index, on demand, unless it is there: for tests and for development.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create(&self) -> Result<(), StoreError> {
        let attribute = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let mut create = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for name in ["PK", "SK", "GP", "GS"] {
            create = create.attribute_definitions(attribute(name).map_err(malformed)?);
        }
        let index = GlobalSecondaryIndex::builder()
            .index_name("dir")
            .key_schema(key("GP", KeyType::Hash).map_err(malformed)?)
            .key_schema(key("GS", KeyType::Range).map_err(malformed)?)
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .map_err(malformed)?;
        create
            .key_schema(key("PK", KeyType::Hash).map_err(malformed)?)
            .key_schema(key("SK", KeyType::Range).map_err(malformed)?)
            .global_secondary_indexes(index)
            .send()
            .await
            .map(|_| ())
            .or_else(|error| match error.code() {
                Some("ResourceInUseException") => Ok(()),
                _ => Err(unavailable(&error)),
            })
    }

    /// Reads may be sent again by the SDK.
    fn reading(&self) -> aws_sdk_dynamodb::config::Builder {
        aws_sdk_dynamodb::config::Config::builder().timeout_config(self.timeouts.clone())
    }

    fn once(&self) -> aws_sdk_dynamodb::config::Builder {
        self.reading().retry_config(RetryConfig::disabled())
    }

    /// A single write is an UpdateItem, or a transaction of one where it puts or deletes: no command does that alone in a
    /// hot path, and so there is one code for each.
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
        // The four kinds are builders of four types with these methods alike.
        macro_rules! guarded {
            ($builder:expr) => {
                $builder
                    .table_name(&self.name)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(expression.names())
                    .set_expression_attribute_values(expression.values())
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .build()
                    .map_err(malformed)?
            };
        }
        let key = to_sdk(&write.key().attributes());
        let item = TransactWriteItem::builder();
        Ok(match write.effect() {
            Effect::Update(_) => item.update(guarded!(Update::builder().set_key(Some(key)).update_expression(update))),
            Effect::Put(attributes) => {
                let whole = to_sdk(attributes).into_iter().chain(key).collect();
                item.put(guarded!(Put::builder().set_item(Some(whole))))
            }
            Effect::Delete => item.delete(guarded!(Delete::builder().set_key(Some(key)))),
            Effect::Check => item.condition_check(guarded!(ConditionCheck::builder().set_key(Some(key)))),
        }
        .build())
    }

    /// Waits 25 to 200 ms: others get on meanwhile.
    async fn pause(&self) -> Result<(), StoreError> {
        let [random] = self.entropy.bytes::<1>()?;
        tokio::time::sleep(std::time::Duration::from_millis(25 + u64::from(random) * 175 / 255)).await;
        Ok(())
    }

    /// The writes that the model refuses, and what they met: DynamoDB has one code for those and for defects.
    async fn unfit(&self, writes: &[Write]) -> Result<Vec<Option<Option<Item>>>, StoreError> {
        let keys: Vec<_> = writes.iter().map(|write| write.key.clone()).collect();
        let found = self.read(&keys).await?;
        let refused = writes.iter().zip(found).map(|(write, item)| write.apply(item.as_ref()).is_err().then_some(item));
        Ok(refused.collect())
    }

    /// What each refused write of a cancelled transaction has met.
    ///
    /// DynamoDB has one code for an action that does not fit its item, a refusal (see [`Write::apply`]), and for a write that
    /// is wrong, or makes its item too large, a defect. The model says which.
    async fn met(
        &self,
        writes: &[Write],
        reasons: &[CancellationReason],
    ) -> Result<Vec<Option<Option<Item>>>, StoreError> {
        let mut met = Vec::with_capacity(writes.len());
        for (write, reason) in writes.iter().zip(reasons) {
            met.push(match reason.code() {
                Some("ConditionalCheckFailed") => {
                    Some(reason.item.clone().filter(|item| !item.is_empty()).map(from_sdk))
                }
                Some("ValidationError") => {
                    let found = self.read(std::slice::from_ref(&write.key)).await?.into_iter().flatten().next();
                    write.apply(found.as_ref()).is_err().then_some(found)
                }
                _ => None,
            });
        }
        Ok(met)
    }

    async fn transact_writes(&self, writes: &[Write], receipt: Option<&Key>) -> Result<Transacted, StoreError> {
        let items = writes.iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>()?;
        let token = self.entropy.bytes::<16>()?;
        let token = BASE64URL_NOPAD.encode(&token);
        let began = Instant::now();
        // Once it may have been applied it stays so, whatever the calls after it say.
        let mut unknown = false;
        let mut last = StoreError::Contended("a transaction".into());
        // Always the same token and the same bytes: whatever was applied before is answered as applied.
        for call in 1..=CALLS {
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .customize()
                .config_override(self.once())
                .send()
                .await;
            let Err(error) = sent else { return Ok(Transacted::Committed) };
            let failed = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let reasons = cancelled.cancellation_reasons();
                    // Its own row in its own way, after a reply was lost: it is this one that came through.
                    let row = reasons.get(writes.len().saturating_sub(1)).and_then(|reason| reason.code());
                    if unknown && receipt.is_some() && row == Some("ConditionalCheckFailed") {
                        return Ok(Transacted::Committed);
                    }
                    let met = self.met(writes, reasons).await?;
                    if met.iter().any(Option::is_some) {
                        return Ok(Transacted::Refused(met));
                    }
                    cancelled_for(reasons)
                }
                _ => {
                    // An action that does not fit its item may be told of the whole call (DynamoDB Local does). After an
                    // unknown outcome the model might meet what this call itself has written.
                    if !unknown && error.code() == Some("ValidationException") {
                        let met = self.unfit(writes).await?;
                        if met.iter().any(Option::is_some) {
                            return Ok(Transacted::Refused(met));
                        }
                    }
                    (failure(&error), told(&error))
                }
            };
            unknown |= failed.0 == Failure::Unknown;
            last = failed.1;
            if failed.0 == Failure::Hopeless || call == CALLS || began.elapsed() >= PATIENCE {
                break;
            }
            self.pause().await?;
        }
        if unknown { self.resolve(receipt, last).await } else { Err(last) }
    }

    /// What became of a transaction is not known: its receipt is. Absent it proves nothing, for the writes may still come.
    async fn resolve(&self, receipt: Option<&Key>, last: StoreError) -> Result<Transacted, StoreError> {
        match receipt {
            Some(receipt) if self.read(std::slice::from_ref(receipt)).await?.into_iter().flatten().next().is_some() => {
                Ok(Transacted::Committed)
            }
            _ => Err(match last {
                // That the last call met contention says nothing of the one before.
                StoreError::Contended(what) => StoreError::Unavailable(format!("not known, then contended: {what}")),
                last => last,
            }),
        }
    }
}

#[async_trait]
impl Table for DynamoTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        // Whoever asks about themselves asks for one item twice, which DynamoDB refuses.
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        let mut wanted: Vec<_> = distinct.into_iter().map(|key| to_sdk(&key.attributes())).collect();
        let mut found: HashMap<(String, String), Item> = HashMap::new();
        for _ in 0..CALLS {
            let ask = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true);
            let ask = ask.build().map_err(malformed)?;
            let sent = self
                .client
                .batch_get_item()
                .request_items(&self.name, ask)
                .customize()
                .config_override(self.reading())
                .send()
                .await;
            let answer = sent.map_err(|error| told(&error))?;
            for item in answer.responses.unwrap_or_default().into_values().flatten().map(from_sdk) {
                if let (Some(Value::S(pk)), Some(Value::S(sk))) = (item.get("PK"), item.get("SK")) {
                    found.insert((pk.clone(), sk.clone()), item);
                }
            }
            let rest = answer.unprocessed_keys.unwrap_or_default().remove(&self.name);
            match rest {
                Some(rest) if !rest.keys.is_empty() => wanted = rest.keys,
                _ => {
                    let of = |key: &Key| found.get(&(key.pk.clone(), key.sk.clone())).cloned();
                    return Ok(keys.iter().map(of).collect());
                }
            }
            self.pause().await?;
        }
        Err(StoreError::Unavailable("keys stay unprocessed".into()))
    }

    async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
        let Effect::Update(actions) = write.effect() else {
            return match self.transact_writes(std::slice::from_ref(write), None).await? {
                Transacted::Committed => Ok(Updated::Written(
                    self.read(std::slice::from_ref(&write.key)).await?.into_iter().flatten().next(),
                )),
                Transacted::Refused(met) => Ok(Updated::Refused(met_first(met))),
            };
        };
        let began = Instant::now();
        let mut unknown = 0;
        for call in 1..=CALLS {
            let error = match self.update_item(write, actions).await {
                Ok(updated) => return Ok(updated),
                Err(error) => error,
            };
            // DynamoDB has one code for an action that does not fit its item, a refusal (see `Write::apply`), and for a
            // request that is wrong, a defect. The model says which.
            if error.code() == Some("ValidationException") {
                let met = self.read(std::slice::from_ref(&write.key)).await?.into_iter().flatten().next();
                return if write.apply(met.as_ref()).is_err() {
                    Ok(Updated::Refused(met))
                } else {
                    Err(hopeless(&error))
                };
            }
            match failure(&error) {
                Failure::Hopeless => return Err(told(&error)),
                Failure::Throttled | Failure::Contended => {}
                Failure::Unknown => unknown += 1,
            }
            let allowed = if again == Retry::Idempotent { 1 } else { 0 };
            if unknown > allowed || call == CALLS || began.elapsed() >= PATIENCE {
                let contended = unknown == 0 && failure(&error) == Failure::Contended;
                return Err(if contended { StoreError::Contended("an item".into()) } else { unavailable(&error) });
            }
            self.pause().await?;
        }
        Err(StoreError::Unavailable("not asked".into()))
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        self.transact_writes(transaction.writes(), Some(transaction.receipt())).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let (partition, sort) = if query.index { ("GP", "GS") } else { ("PK", "SK") };
        // One condition on the sort key is all there is: a range from the prefix, or from after it, to the prefix's end.
        let end = format!("{}\u{10FFFF}", query.prefix);
        let (low, high) = match &query.after {
            Some(after) if query.descending => (query.prefix.clone(), after.clone().min(end)),
            Some(after) => (after.clone().max(query.prefix.clone()), end),
            None => (query.prefix.clone(), end),
        };
        if low > high {
            return Ok(Vec::new());
        }
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(query.index.then(|| "dir".to_owned()))
            .consistent_read(!query.index)
            .scan_index_forward(!query.descending)
            // One more than asked for, as the bound may be among them. Without a limit a page is a megabyte, and paid for.
            .limit(i32::try_from(query.limit.saturating_add(1)).unwrap_or(i32::MAX))
            .expression_attribute_names("#p", partition)
            .expression_attribute_values(":p", AttributeValue::S(query.partition.clone()))
            .expression_attribute_names("#s", sort)
            .expression_attribute_values(":high", AttributeValue::S(high));
        // An empty text is no value of a key: without a lower bound there is none.
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
            let page = sent.map_err(|error| told(&error))?;
            for item in page.items.unwrap_or_default().into_iter().map(from_sdk) {
                // The bound itself is excluded: it is the last of the page before.
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
