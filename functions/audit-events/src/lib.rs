//! Audit events: each audit row that the table's stream tells of is put on the event bus, as a CloudEvent.
//!
//! The row is the outbox (docs/adr/0011): it is written with what it tells of, in one transaction, and the stream tells of each
//! row in the order of its partition. What the bus does not take is answered as a failure, and the stream begins again from
//! there: so every row is an event at least once, and a repeated event has the id it had.

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
    audit::Row,
    aws::{Aws, ConfigErrors},
    cloud_event::{CloudEvent, SOURCE},
    store::{item, keys, write},
};

/// How many entries PutEvents takes, and how many bytes of them all.
const MOST: (usize, usize) = (10, 256 * 1024);

/// What is told to whoever runs the service, as it happens.
const ATTACKS: [&str; 3] = ["login.attacked", "factor.attacked", "factor.disabled"];

/// Actions that are a sign-in, or one that was refused.
const SIGN_INS: [&str; 3] = ["login", "sso.login", "verify"];

/// What Lambda reads from the stream. Images are taken apart one by one: one that is odd spoils no other.
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
    /// The sign-ins among the new rows, and those that were refused: how many of each action and outcome. A batch that is read
    /// again counts again.
    #[must_use]
    pub fn sign_ins(&self) -> BTreeMap<(&str, &str), usize> {
        let mut counts = BTreeMap::new();
        for image in self.records.iter().filter(|record| record.name == "INSERT").map(|it| &it.dynamodb.new_image) {
            let field = |name: &str| image.get(name)?.get("S")?.as_str();
            if let (Some(action), Some(outcome)) = (field("action"), field("outcome"))
                && SIGN_INS.contains(&action)
            {
                *counts.entry((action, outcome)).or_default() += 1;
            }
        }
        counts
    }
}

/// Where the stream has to begin again; empty where all is done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

impl Done {
    fn but(sequence_number: &str) -> Self {
        Self { batch_item_failures: vec![Failure { item_identifier: sequence_number.to_owned() }] }
    }
}

/// The event bus.
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// As the environment has it.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let name = faults.require(&variable, "VESTIBULE_EVENT_BUS", "the event bus that audit events go to");
        let aws = Aws::read(&variable, &mut faults);
        let (Some(name), Some(aws)) = (name, aws) else { return Err(faults) };
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(10))
            .build();
        // An event that is put twice is the same event.
        let config = aws.config(variable("VESTIBULE_EVENTS_ENDPOINT"), timeouts, RetryConfig::standard());
        Ok(Self { client: Client::new(&config), name })
    }

    /// Puts the audit rows among the records on the bus, in their order.
    pub async fn put(&self, batch: &Batch) -> Done {
        let entries: Vec<_> = batch
            .records
            .iter()
            .filter_map(|record| Some((&*record.dynamodb.sequence_number, self.entry(record)?)))
            .collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fit(rest));
            if let Some(first) = self.refused(now).await {
                return Done::but(now.get(first).map_or("", |(number, _)| number));
            }
            rest = later;
        }
        Done::default()
    }

    /// Puts entries, and says which is the first that was not taken.
    async fn refused(&self, entries: &[(&str, PutEventsRequestEntry)]) -> Option<usize> {
        let sent = entries.iter().map(|(_, entry)| entry.clone()).collect();
        match self.client.put_events().set_entries(Some(sent)).send().await {
            Ok(answer) => {
                let results = answer.entries();
                let taken = |n: &usize| results.get(*n).is_some_and(|one| one.event_id.is_some());
                let first = (0..entries.len()).find(|n| !taken(n))?;
                let code = results.get(first).and_then(PutEventsResultEntry::error_code).unwrap_or("none");
                tracing::warn!(code, "the event bus did not take an event; it is tried again");
                Some(first)
            }
            Err(error) => {
                let code = error.code().map_or_else(|| error.to_string(), str::to_owned);
                tracing::warn!(code, "the event bus does not answer; its events are tried again");
                Some(0)
            }
        }
    }

    /// The event of a record; `None` for what is no new audit row.
    fn entry(&self, record: &Record) -> Option<PutEventsRequestEntry> {
        let (kind, at, detail) = event(record)?;
        let entry = PutEventsRequestEntry::builder().event_bus_name(&self.name).source(SOURCE).detail_type(kind);
        Some(entry.time(DateTime::from_millis(at)).detail(detail).build())
    }
}

/// Type, time and text of a record's event.
///
/// A row that cannot be read, of another version's making or damaged, is told of without what is in it: to try it again would
/// hold up all that come after it. The log has it as an error, which is an alarm; the row is in the table.
fn event(record: &Record) -> Option<(String, i64, String)> {
    if record.name != "INSERT" {
        return None;
    }
    let key = |name: &str| record.dynamodb.new_image.pointer(&format!("/{name}/S")).and_then(Value::as_str);
    let (tenant, at, id) = keys::audited(key("PK")?, key("SK")?)?;
    // What is wrong with it is not logged: that might quote the row.
    let read = || -> Result<(String, String), &'static str> {
        let image = serde_json::from_value::<write::Item>(record.dynamodb.new_image.clone()).map_err(|_| "no item")?;
        let event = item::read(image).map_err(|_| "no event")?;
        let event = CloudEvent::new(tenant.clone(), Row::new(id.clone(), at, event));
        let text = serde_json::to_string(&event).map_err(|_| "no text")?;
        if text.len() + FRAME > MOST.1 { Err("too large for the bus") } else { Ok((event.kind, text)) }
    };
    let (kind, text) = match read() {
        Ok((kind, text)) => {
            if ATTACKS.iter().any(|attack| kind.ends_with(attack)) {
                // A metric filter of the deployment counts these lines, and an alarm looks at them.
                tracing::warn!(target: "vestibule", tenant = tenant.as_str(), row = id, kind, "an attack");
            }
            (kind, text)
        }
        Err(fault) => {
            tracing::error!(
                tenant = tenant.as_str(),
                row = id,
                fault,
                "an audit row does not read; its event is empty"
            );
            let event = CloudEvent::unreadable(tenant, id, at);
            (event.kind.clone(), serde_json::to_string(&event).ok()?)
        }
    };
    Some((kind, at.millis(), text))
}

/// What EventBridge counts of an entry beside its detail: the time's 14 bytes, source and type.
const FRAME: usize = 14 + SOURCE.len() + 64;

/// How many of the entries go into one call: one at least, for each alone is small enough.
fn fit(entries: &[(&str, PutEventsRequestEntry)]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take(MOST.0).take_while(|(_, entry)| {
        bytes += entry.detail().map_or(0, str::len) + FRAME;
        bytes <= MOST.1
    });
    fits.count().max(1)
}

/// Serves the stream. With a faulty configuration it stays up, names every fault in the log, and takes nothing from the stream.
///
/// # Errors
/// What the runtime said.
#[cfg(feature = "lambda")]
pub async fn run() -> Result<(), lambda_runtime::Error> {
    use vestibule::{
        env::{Clock, SystemClock},
        metrics::Metrics,
    };
    vestibule::log::start();
    let bus = Bus::configured(|name| std::env::var(name).ok());
    if let Err(faults) = &bus {
        tracing::error!(%faults, "no event leaves before the configuration is mended");
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
