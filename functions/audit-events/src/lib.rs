//! Audit events: puts each new audit row of the table's stream on the event bus, as a CloudEvent.
//!
//! The audit row is a transactional outbox (docs/adr/0011): one transaction writes the row and the change that it describes. The
//! stream delivers the rows of a partition in order. If the bus does not take an event, the function reports a failure, and
//! Lambda delivers the stream again from that row. So each row becomes an event at least once, and a repeated event keeps its id.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use aws_smithy_types::{error::metadata::ProvideErrorMetadata, retry::RetryConfig, timeout::TimeoutConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule::{
    audit::{AuditAction, AuditEvent, Row},
    aws::{Aws, ConfigErrors},
    cloud_event::{CloudEvent, SOURCE},
    store::{item, keys, write},
};

/// The maximum number of entries of one PutEvents call.
const MAX_ENTRIES: usize = 10;

/// The maximum size in bytes of the entries of one PutEvents call.
const MAX_BYTES: usize = 256 * 1024;

/// Actions that raise an alarm for those who run the service. `password.attacked` needs a stolen session, and has ended it.
const ATTACKS: [AuditAction; 3] =
    [AuditAction::LoginAttacked, AuditAction::FactorAttacked, AuditAction::FactorDisabled];

/// Actions that are a sign-in, accepted or refused.
const SIGN_INS: [AuditAction; 4] =
    [AuditAction::Login, AuditAction::SsoLogin, AuditAction::Verify, AuditAction::RecoveryUsed];

/// A batch of the stream, as Lambda delivers it. Images are parsed one by one, so that an unreadable one does not affect the
/// others.
#[derive(Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: String,
    dynamodb: Change,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    sequence_number: String,
    #[serde(default)]
    new_image: Value,
}

impl Batch {
    /// The number of sign-ins among the new rows, by action and outcome. A batch that is delivered again counts again.
    #[must_use]
    pub fn sign_ins(&self) -> BTreeMap<(&str, &str), usize> {
        let mut counts = BTreeMap::new();
        for image in self.records.iter().filter(|record| record.name == "INSERT").map(|it| &it.dynamodb.new_image) {
            let field = |name: &str| image.get(name)?.get("S")?.as_str();
            if let (Some(action), Some(outcome)) = (field("action"), field("outcome"))
                && SIGN_INS.iter().any(|it| it.as_str() == action)
            {
                *counts.entry((action, outcome)).or_default() += 1;
            }
        }
        counts
    }
}

/// The response to Lambda: the sequence number from which to deliver the stream again. Empty if everything is done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

impl BatchResponse {
    fn retry_from(sequence_number: &str) -> Self {
        Self { batch_item_failures: vec![Failure { item_identifier: sequence_number.to_owned() }] }
    }
}

/// The event bus.
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// Reads the configuration from environment variables, which `variable` looks up.
    ///
    /// # Errors
    /// [`ConfigErrors`] lists every missing or invalid variable.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let name = faults.require(&variable, "VESTIBULE_EVENT_BUS", "the event bus that audit events go to");
        let aws = Aws::read(&variable, &mut faults);
        let (Some(name), Some(aws)) = (name, aws) else { return Err(faults) };
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(10))
            .build();
        // A retry is harmless: an event that is put twice has the same id.
        let config = aws.config(variable("VESTIBULE_EVENTS_ENDPOINT"), timeouts, RetryConfig::standard());
        Ok(Self { client: Client::new(&config), name })
    }

    /// Puts the audit rows of the batch on the bus, in order.
    pub async fn put(&self, batch: &Batch) -> BatchResponse {
        let entries: Vec<_> = batch
            .records
            .iter()
            .filter_map(|record| Some((&*record.dynamodb.sequence_number, self.entry(record)?)))
            .collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fit(rest));
            if let Some(first) = self.first_failed(now).await {
                return BatchResponse::retry_from(now.get(first).map_or("", |(number, _)| number));
            }
            rest = later;
        }
        BatchResponse::default()
    }

    /// Puts entries on the bus. Returns the index of the first one that the bus did not take.
    async fn first_failed(&self, entries: &[(&str, PutEventsRequestEntry)]) -> Option<usize> {
        let sent = entries.iter().map(|(_, entry)| entry.clone()).collect();
        match self.client.put_events().set_entries(Some(sent)).send().await {
            Ok(output) => {
                let results = output.entries();
                let accepted = |n: &usize| results.get(*n).is_some_and(|one| one.event_id.is_some());
                let first = (0..entries.len()).find(|n| !accepted(n))?;
                let code = results.get(first).and_then(PutEventsResultEntry::error_code).unwrap_or("none");
                tracing::warn!(code, "the event bus did not take an event, which will be retried");
                Some(first)
            }
            Err(error) => {
                let code = error.code().map_or_else(|| error.to_string(), str::to_owned);
                tracing::warn!(code, "the event bus does not answer; the events will be retried");
                Some(0)
            }
        }
    }

    /// The event of a record. `None`: the record is not a new audit row.
    fn entry(&self, record: &Record) -> Option<PutEventsRequestEntry> {
        let (kind, at, detail) = event(record)?;
        let entry = PutEventsRequestEntry::builder().event_bus_name(&self.name).source(SOURCE).detail_type(kind);
        Some(entry.time(DateTime::from_millis(at)).detail(detail).build())
    }
}

/// Type, time and JSON of a record's event. `None`: the record is not a new audit row.
///
/// An unreadable row, damaged or written by another version, becomes an event without its contents: a retry would block all
/// later rows. The error in the log raises an alarm, and the row stays in the table.
fn event(record: &Record) -> Option<(String, i64, String)> {
    if record.name != "INSERT" {
        return None;
    }
    let key = |name: &str| record.dynamodb.new_image.pointer(&format!("/{name}/S")).and_then(Value::as_str);
    let (tenant, at, id) = keys::audited(key("PK")?, key("SK")?)?;
    // The parser's own message is not logged, because it may quote the row.
    let read = || -> Result<(AuditAction, String, String), &'static str> {
        let image = serde_json::from_value::<write::Item>(record.dynamodb.new_image.clone()).map_err(|_| "no item")?;
        let event: AuditEvent = item::read(image).map_err(|_| "no event")?;
        let action = event.action;
        let event = CloudEvent::new(tenant.clone(), Row::new(id.clone(), at, event));
        let text = serde_json::to_string(&event).map_err(|_| "no text")?;
        if text.len() + FRAME > MAX_BYTES { Err("too large for the bus") } else { Ok((action, event.kind, text)) }
    };
    let (kind, text) = match read() {
        Ok((action, kind, text)) => {
            if ATTACKS.contains(&action) {
                // A metric filter in infra/template.yaml counts lines with this message, for an alarm.
                tracing::warn!(target: "vestibule", tenant = tenant.as_str(), row = id, kind, "an attack");
            }
            (kind, text)
        }
        Err(fault) => {
            tracing::error!(
                tenant = tenant.as_str(),
                row = id,
                fault,
                "an audit row is unreadable, so its event is empty"
            );
            let event = CloudEvent::unreadable(tenant, id, at);
            (event.kind.clone(), serde_json::to_string(&event).ok()?)
        }
    };
    Some((kind, at.millis(), text))
}

/// Bytes that EventBridge counts for an entry in addition to its detail: 14 for the time, the source, and the type (at most 64).
const FRAME: usize = 14 + SOURCE.len() + 64;

/// The number of entries that fit into one call. At least one, because [`event`] limits the size of each.
fn fit(entries: &[(&str, PutEventsRequestEntry)]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take(MAX_ENTRIES).take_while(|(_, entry)| {
        bytes += entry.detail().map_or(0, str::len) + FRAME;
        bytes <= MAX_BYTES
    });
    fits.count().max(1)
}

/// Serves the stream. If the configuration is wrong, the function logs every fault and fails each invocation, so that the stream
/// does not advance.
///
/// # Errors
/// Errors of the Lambda runtime.
#[cfg(feature = "lambda")]
pub async fn run() -> Result<(), lambda_runtime::Error> {
    use vestibule::{
        env::{Clock, SystemClock},
        metrics::Metrics,
    };
    vestibule::log::start();
    let bus = Bus::configured(|name| std::env::var(name).ok());
    if let Err(faults) = &bus {
        tracing::error!(%faults, "the configuration is wrong, so no event is sent");
    }
    let (bus, metrics) = (&bus, &Metrics::read(|name| std::env::var(name).ok()));
    let put = async move |event: lambda_runtime::LambdaEvent<Batch>| match bus {
        Ok(bus) => {
            for ((action, outcome), count) in event.payload.sign_ins() {
                metrics.signed_in(action, outcome, count, SystemClock.now());
            }
            Ok(bus.put(&event.payload).await)
        }
        Err(faults) => Err(lambda_runtime::Error::from(faults.to_string())),
    };
    lambda_runtime::run(lambda_runtime::service_fn(put)).await
}
