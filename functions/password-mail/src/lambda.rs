//! The worker as a Lambda function, on the queue of mails.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use vestibule::{
    aws::{Aws, ConfigErrors},
    env::{SystemClock, SystemEntropy},
    log,
    mail_order::MailOrder,
    sso::PublicUrl,
    store::{Store, StoreError},
};

use crate::{Worker, ses::Ses};

/// The event that SQS sends: one message, because a function that fails gets the whole event again.
#[derive(Deserialize)]
pub struct Event {
    /// The messages.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A message of SQS.
#[derive(Deserialize)]
pub struct Record {
    /// The order, as JSON.
    pub body: String,
}

/// The worker with its table.
pub struct Function {
    store: Store,
    worker: Worker,
}

impl Function {
    /// Reads the configuration from environment variables, which `variable` looks up.
    ///
    /// # Errors
    /// [`ConfigErrors`] lists every missing or invalid variable.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let table = faults.require(&variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let from = faults.require(&variable, "VESTIBULE_MAIL_FROM", "the sender address of the mails");
        let url = faults.require(&variable, "VESTIBULE_PUBLIC_URL", "the address that the links begin with");
        let url = url.and_then(|text| {
            let expected = |expected| format!("VESTIBULE_PUBLIC_URL {text}: it must be {expected}");
            faults.take(PublicUrl::parse(&text).map_err(expected))
        });
        let audit_retention = faults.audit_retention(&variable);
        let aws = Aws::read(&variable, &mut faults);
        let configuration_set = variable("VESTIBULE_MAIL_CONFIGURATION_SET").filter(|name| !name.is_empty());
        if !faults.0.is_empty() {
            return Err(faults);
        }
        let (Some(table), Some(from), Some(public_url), Some(aws)) = (table, from, url, aws) else {
            return Err(faults);
        };
        let table = aws.table(table, variable("VESTIBULE_DYNAMODB_ENDPOINT"));
        let client = Ses::client(&aws, variable("VESTIBULE_SES_ENDPOINT"));
        let worker = Worker {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            public_url,
            post: Arc::new(Ses { client, from, configuration_set }),
        };
        Ok(Self { store: Store::new(Arc::new(table)).with_audit_retention(audit_retention), worker })
    }

    /// Handles the messages of an event. Tokens are made in the restore epoch that the store records now.
    ///
    /// # Errors
    /// Deliver the messages again.
    pub async fn handle(&self, event: &Event) -> Result<(), Error> {
        let identity = self.store.identity().await?;
        let identity = identity.ok_or_else(|| StoreError::Corrupt("the store has no identity".to_owned()))?;
        let store = self.store.at(identity.restore);
        for record in &event.records {
            let order: MailOrder = serde_json::from_str(&record.body)?;
            self.worker.handle(&store, &order).await?;
        }
        Ok(())
    }
}

/// Serves the queue. If the configuration is wrong, the function logs every fault and fails each invocation, so that the
/// messages are delivered again.
///
/// # Errors
/// Errors of the Lambda runtime.
pub async fn run() -> Result<(), Error> {
    log::start();
    let function = Function::configured(|name| std::env::var(name).ok());
    if let Err(faults) = &function {
        tracing::error!(%faults, "the configuration is wrong, so no mail is sent");
    }
    let function = &function;
    let handle = async move |event: LambdaEvent<Event>| match function {
        Ok(function) => function.handle(&event.payload).await,
        Err(faults) => Err(faults.to_string().into()),
    };
    lambda_runtime::run(service_fn(handle)).await
}
