//! Notifications: sends mails about audit events, through Amazon SES.
//!
//! Each mail is sent at least once: a temporary failure fails the invocation, and Lambda retries it. A header of the mail holds
//! the id of the event, so that a duplicate can be recognised.

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

/// The mail header that holds the id of the event.
pub const HEADER: &str = "X-Vestibule-Event";

/// The event that EventBridge sends.
#[derive(Deserialize)]
pub struct Event {
    /// The audit event.
    pub detail: CloudEvent,
}

/// A temporary failure: not every mail was sent. Lambda retries the event.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The recipients could not be read.
    #[error("the recipients could not be read: {0}")]
    Store(#[from] StoreError),
    /// The number of mails that were not sent.
    #[error("{0} mail(s) were not sent")]
    Mails(usize),
}

/// One mail.
#[derive(Debug, PartialEq, Eq)]
struct Mail {
    /// The recipient, for the log. The log must not contain addresses.
    user: UserId,
    address: String,
    text: String,
}

/// Sends the mails about audit events.
pub struct Mailer {
    store: Store,
    client: Client,
    from: String,
    configuration_set: Option<String>,
}

impl Mailer {
    /// Reads the configuration from environment variables, which `variable` looks up.
    ///
    /// # Errors
    /// [`ConfigErrors`] lists every missing or invalid variable.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let table = faults.require(&variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let from = faults.require(&variable, "VESTIBULE_MAIL_FROM", "the sender address of the mails");
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

    /// Sends the mails about an event. If one mail fails, the others are still sent.
    ///
    /// # Errors
    /// [`NotifyError::Store`] if the recipients could not be read, [`NotifyError::Mails`] if a mail failed temporarily.
    pub async fn notify(&self, event: &CloudEvent) -> Result<(), NotifyError> {
        let to = self.store.recipients(&event.tenant, &event.data).await?;
        let mut failed = 0;
        for mail in mails(event, &to) {
            failed += usize::from(!self.send(event, &mail).await);
        }
        if failed == 0 { Ok(()) } else { Err(NotifyError::Mails(failed)) }
    }

    /// Sends a mail. `false`: a temporary failure, to be retried. If SES rejects the mail permanently, an error is logged, which
    /// raises an alarm, and the mail is dropped.
    async fn send(&self, event: &CloudEvent, mail: &Mail) -> bool {
        let sent = match message(event, &mail.text) {
            Ok(message) => {
                let to = Destination::builder().to_addresses(&mail.address).build();
                let content = EmailContent::builder().simple(message).build();
                let send = self.client.send_email().from_email_address(&self.from).destination(to).content(content);
                let send = send.set_configuration_set_name(self.configuration_set.clone());
                send.send().await.map(|_| ()).map_err(|error| {
                    let permanent = error
                        .as_service_error()
                        .is_some_and(|error| error.is_bad_request_exception() || error.is_message_rejected());
                    (permanent, error.code().unwrap_or("no answer").to_owned())
                })
            }
            Err(error) => Err((true, error)),
        };
        let (user, event) = (mail.user.as_str(), event.id.as_str());
        match sent {
            Ok(()) => tracing::info!(target: "vestibule", event, user, "mail sent"),
            Err((true, code)) => {
                tracing::error!(target: "vestibule", event, user, code, "SES rejected a mail permanently")
            }
            Err((false, code)) => {
                tracing::warn!(target: "vestibule", event, user, code, "a mail was not sent and will be retried");
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

/// The mails about an event, to the user concerned and to the Administrators. An Administrator who is the user concerned gets
/// only the user's mail. A recipient without an address is logged.
fn mails(event: &CloudEvent, to: &Recipients) -> Vec<Mail> {
    let row = &event.data;
    // A deleted user has only an id.
    let id = row.concerned().map_or("an unknown user", UserId::as_str);
    let username = to.concerned.as_ref().map_or(id, |profile| &profile.username);
    let actor = match &row.actor_tenant {
        Some(tenant) if tenant.is_support() => Some("the support team"),
        _ => to.actor.as_ref().map(|profile| profile.username.as_str()),
    };
    let own = row.notified.contains(&Notify::User).then(|| row.concerned().zip(to.concerned.as_ref())).flatten();
    let others = to.administrators.iter().filter(|(user, _)| own.is_none_or(|(own, _)| own != user));
    let all = own.into_iter().map(|(user, profile)| (Notify::User, user, profile));
    let all = all.chain(others.map(|(user, profile)| (Notify::Administrators, user, profile)));
    let mail = |(recipient, user, profile): (Notify, &UserId, &Profile)| {
        let Some(address) = profile.email.clone() else {
            tracing::info!(target: "vestibule", event = event.id, user = user.as_str(), "no mail was sent: the user has no address");
            return None;
        };
        Some(Mail { user: user.clone(), address, text: mail::text(event, recipient, &to.company, username, actor) })
    };
    all.filter_map(mail).collect()
}

/// Serves the event bus. If the configuration is wrong, the function logs every fault and fails each invocation, so that the
/// events are retried.
///
/// # Errors
/// Errors of the Lambda runtime.
#[cfg(feature = "lambda")]
pub async fn run() -> Result<(), lambda_runtime::Error> {
    vestibule::log::start();
    let mailer = Mailer::configured(|name| std::env::var(name).ok());
    if let Err(faults) = &mailer {
        tracing::error!(%faults, "the configuration is wrong, so no mail is sent");
    }
    let mailer = &mailer;
    let notify = async move |event: lambda_runtime::LambdaEvent<Event>| match mailer {
        Ok(mailer) => mailer.notify(&event.payload.detail).await.map_err(lambda_runtime::Error::from),
        Err(faults) => Err(faults.to_string().into()),
    };
    lambda_runtime::run(lambda_runtime::service_fn(notify)).await
}

#[cfg(test)]
mod tests {
    use vestibule::{
        audit::{AuditAction, AuditEvent, Outcome, Row},
        env::Timestamp,
        id::TenantId,
    };

    use super::*;

    /// The text of the mail to bob about a reset by an actor of this tenant.
    fn reset_by(actor_tenant: Option<TenantId>) -> String {
        let [ann, bob] = ["u-ann", "u-bob"].map(|id| UserId::parse(id).unwrap());
        let event =
            AuditEvent::new(AuditAction::MfaReset, Outcome::Success, "r").by(&ann).about(&bob).notify(Notify::User);
        let event = AuditEvent { actor_tenant, ..event };
        let row = Row::new("1800000000000-A-0".to_owned(), Timestamp::from_secs(1_800_000_000), event);
        let concerned = Profile {
            username: "bob".to_owned(),
            display_name: "Bob".to_owned(),
            email: Some("bob@acme.example".to_owned()),
            created: Timestamp::default(),
            name_id: None,
            subject: None,
        };
        let to = Recipients {
            company: "Acme".to_owned(),
            concerned: Some(concerned),
            actor: None,
            administrators: Vec::new(),
        };
        mails(&CloudEvent::new(TenantId::parse("acme").unwrap(), row), &to).remove(0).text
    }

    #[test]
    fn only_an_operator_is_called_the_support_team() {
        let support = reset_by(Some(TenantId::support()));
        assert!(support.contains("  by: the support team\n"), "{support}");
        for other in [None, TenantId::parse("globex").ok()] {
            let text = reset_by(other);
            assert!(text.contains("  by: u-ann\n"), "{text}");
        }
    }
}
