//! Notifications: whoever is to be told of an event of the audit gets a mail, through SES.
//!
//! Each is sent at least once: what fails for now fails the invocation, and Lambda tries again. The event's id stands in a
//! header of each mail, by which a second one is known.

use std::{sync::Arc, time::Duration};

use aws_sdk_sesv2::{
    Client,
    types::{Body, Content, Destination, EmailContent, Message, MessageHeader},
};
use aws_smithy_types::{error::metadata::ProvideErrorMetadata, retry::RetryConfig, timeout::TimeoutConfig};
use serde::Deserialize;
use vestibule::{
    audit::Notify,
    aws::{Aws, ConfigErrors},
    cloud_event::CloudEvent,
    id::UserId,
    mail,
    store::{Store, StoreError, item::Profile, recipients::Recipients},
};

/// The header with the event's id.
pub const HEADER: &str = "X-Vestibule-Event";

/// What EventBridge invokes with.
#[derive(Deserialize)]
pub struct Event {
    /// The event of the audit.
    pub detail: CloudEvent,
}

/// Why not everybody was told. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Who is to be told is not known.
    #[error("it is not known whom to tell: {0}")]
    Store(#[from] StoreError),
    /// Mails were not sent, for now.
    #[error("{0} mail(s) were not sent")]
    Mails(usize),
}

/// One mail.
#[derive(Debug, PartialEq, Eq)]
struct Mail {
    /// Who, for the log: an address is nobody's business there.
    user: UserId,
    address: String,
    text: String,
}

/// Sends mails.
pub struct Mailer {
    store: Store,
    client: Client,
    from: String,
    configuration_set: Option<String>,
}

impl Mailer {
    /// As the environment has it.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let table = faults.require(&variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let from = faults.require(&variable, "VESTIBULE_MAIL_FROM", "the address that mails are from");
        let aws = Aws::read(&variable, &mut faults);
        let configuration_set = variable("VESTIBULE_MAIL_CONFIGURATION_SET").filter(|name| !name.is_empty());
        let (Some(table), Some(from), Some(aws)) = (table, from, aws) else { return Err(faults) };
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(10))
            .build();
        let table = aws.table(table, variable("VESTIBULE_DYNAMODB_ENDPOINT"));
        let config = aws.config(variable("VESTIBULE_SES_ENDPOINT"), timeouts, RetryConfig::standard());
        let (store, client) = (Store::new(Arc::new(table)), Client::new(&config));
        Ok(Self { store, client, from, configuration_set })
    }

    /// Tells whoever is to be told of an event. Nobody waits for another: who cannot be told now does not keep the rest from it.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn tell(&self, event: &CloudEvent) -> Result<(), Untold> {
        let to = self.store.recipients(&event.tenant, &event.data).await?;
        let mut failed = 0;
        for mail in mails(event, &to) {
            failed += usize::from(!self.send(event, &mail).await);
        }
        if failed == 0 { Ok(()) } else { Err(Untold::Mails(failed)) }
    }

    /// Sends a mail; `false` if it is to be tried again. What SES refuses for good is done with, and an alarm.
    async fn send(&self, event: &CloudEvent, mail: &Mail) -> bool {
        let sent = match message(event, &mail.text) {
            Ok(message) => {
                let to = Destination::builder().to_addresses(&mail.address).build();
                let content = EmailContent::builder().simple(message).build();
                let send = self.client.send_email().from_email_address(&self.from).destination(to).content(content);
                let send = send.set_configuration_set_name(self.configuration_set.clone());
                send.send().await.map(|_| ()).map_err(|error| {
                    let for_good = error
                        .as_service_error()
                        .is_some_and(|error| error.is_bad_request_exception() || error.is_message_rejected());
                    (for_good, error.code().unwrap_or("no answer").to_owned())
                })
            }
            Err(error) => Err((true, error)),
        };
        let (user, event) = (mail.user.as_str(), event.id.as_str());
        match sent {
            Ok(()) => tracing::info!(target: "vestibule", event, user, "told by mail"),
            Err((true, code)) => tracing::error!(target: "vestibule", event, user, code, "a mail is refused for good"),
            Err((false, code)) => {
                tracing::warn!(target: "vestibule", event, user, code, "a mail was not sent; it is tried again");
                return false;
            }
        }
        true
    }
}

fn message(event: &CloudEvent, text: &str) -> Result<Message, String> {
    let content = |text: &str| Content::builder().data(text).charset("UTF-8").build();
    let build = || {
        let subject = content(mail::subject(event.data.action))?;
        let id = MessageHeader::builder().name(HEADER).value(&event.id).build()?;
        let body = Body::builder().text(content(text)?).build();
        Ok(Message::builder().subject(subject).body(body).headers(id).build())
    };
    build().map_err(|error: aws_smithy_types::error::operation::BuildError| error.to_string())
}

/// The mails of an event. The person concerned gets one, and each Administrator; who is both, the person's. Whoever has no
/// address is logged.
fn mails(event: &CloudEvent, to: &Recipients) -> Vec<Mail> {
    let row = &event.data;
    let gone = row.concerned().map_or("nobody known", UserId::as_str);
    let person = to.concerned.as_ref().map_or(gone, |profile| &profile.username);
    let actor = match &row.actor_tenant {
        Some(tenant) if tenant.is_support() => Some("the support team"),
        _ => to.actor.as_ref().map(|profile| profile.username.as_str()),
    };
    let own = row.notified.contains(&Notify::User).then(|| row.concerned().zip(to.concerned.as_ref())).flatten();
    let others = to.administrators.iter().filter(|(user, _)| own.is_none_or(|(own, _)| own != user));
    let all = own.into_iter().map(|(user, profile)| (Notify::User, user, profile));
    let all = all.chain(others.map(|(user, profile)| (Notify::Administrators, user, profile)));
    let mail = |(to_whom, user, profile): (Notify, &UserId, &Profile)| {
        let Some(address) = profile.email.clone() else {
            tracing::info!(target: "vestibule", event = event.id, user = user.as_str(), "no address: not told");
            return None;
        };
        Some(Mail { user: user.clone(), address, text: mail::text(event, to_whom, &to.company, person, actor) })
    };
    all.filter_map(mail).collect()
}

/// Serves the event bus. With a faulty configuration it stays up, names every fault in the log, and fails what it is asked, so
/// that it is asked again.
///
/// # Errors
/// What the runtime said.
#[cfg(feature = "lambda")]
pub async fn run() -> Result<(), lambda_runtime::Error> {
    vestibule::log::start();
    let mailer = Mailer::configured(|name| std::env::var(name).ok());
    if let Err(faults) = &mailer {
        tracing::error!(%faults, "nobody is told before the configuration is mended");
    }
    let mailer = &mailer;
    let tell = async move |event: lambda_runtime::LambdaEvent<Event>| match mailer {
        Ok(mailer) => mailer.tell(&event.payload.detail).await.map_err(lambda_runtime::Error::from),
        Err(faults) => Err(faults.to_string().into()),
    };
    lambda_runtime::run(lambda_runtime::service_fn(tell)).await
}
