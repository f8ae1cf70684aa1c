//! Sends mails through Amazon SES.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sesv2::{
    Client,
    types::{Body, Content, Destination, EmailContent, Message, MessageHeader},
};
use aws_smithy_types::{
    error::{metadata::ProvideErrorMetadata, operation::BuildError},
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use vestibule::aws::Aws;

use crate::{Letter, Post, PostError};

/// The mail header that holds the id of the message.
const HEADER: &str = "X-Vestibule-Message";

/// Amazon SES.
pub(crate) struct Ses {
    pub(crate) client: Client,
    pub(crate) from: String,
    pub(crate) configuration_set: Option<String>,
}

impl Ses {
    /// The client. `endpoint` replaces the address of AWS.
    pub(crate) fn client(aws: &Aws, endpoint: Option<String>) -> Client {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(10))
            .build();
        Client::new(&aws.config(endpoint, timeouts, RetryConfig::standard()))
    }
}

#[async_trait]
impl Post for Ses {
    async fn send(&self, letter: &Letter) -> Result<(), PostError> {
        let message = message(letter).map_err(|error| PostError::Permanent(error.to_string()))?;
        let to = Destination::builder().to_addresses(&letter.to).build();
        let content = EmailContent::builder().simple(message).build();
        let send = self.client.send_email().from_email_address(&self.from).destination(to).content(content);
        let sent = send.set_configuration_set_name(self.configuration_set.clone()).send().await;
        sent.map(drop).map_err(|error| {
            let code = error.code().unwrap_or("no answer").to_owned();
            match error.as_service_error() {
                Some(error) if error.is_bad_request_exception() || error.is_message_rejected() => {
                    PostError::Permanent(code)
                }
                _ => PostError::Temporary(code),
            }
        })
    }
}

fn message(letter: &Letter) -> Result<Message, BuildError> {
    let content = |text: &str| Content::builder().data(text).charset("UTF-8").build();
    let id = MessageHeader::builder().name(HEADER).value(letter.id.as_str()).build()?;
    let body = Body::builder().text(content(&letter.text)?).html(content(&letter.html)?).build();
    Ok(Message::builder().subject(content(&letter.subject)?).body(body).headers(id).build())
}
