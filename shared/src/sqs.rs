//! The queue of mails on Amazon SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_smithy_types::{error::metadata::ProvideErrorMetadata, retry::RetryConfig, timeout::TimeoutConfig};

use crate::{
    aws::Aws,
    mail_order::{MailOrder, MailQueue, QueueError},
};

/// A queue of SQS. A message that SQS got twice makes one token, so a request without an answer is sent again.
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue with this URL. `endpoint` replaces the address of AWS.
    #[must_use]
    pub fn new(aws: &Aws, url: String, endpoint: Option<String>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(2))
            .operation_timeout(Duration::from_secs(5))
            .build();
        let config = aws.config(endpoint, timeouts, RetryConfig::standard());
        Self { client: Client::new(&config), url }
    }
}

#[async_trait]
impl MailQueue for SqsQueue {
    async fn put(&self, order: &MailOrder) -> Result<(), QueueError> {
        let body = serde_json::to_string(order).map_err(|error| QueueError(error.to_string()))?;
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await;
        sent.map(drop).map_err(|error| QueueError(error.code().unwrap_or("no answer").to_owned()))
    }
}
