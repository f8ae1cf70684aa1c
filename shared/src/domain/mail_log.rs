//! The mails to one login name of the last day: which were sent, and how many more may be sent.

use std::{collections::HashMap, time::Duration};

use super::ItemVersion;
use crate::{env::Timestamp, id::MessageId, policy};

/// The mails to a login name (`M`). Each message is one entry, so a message that is delivered twice counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailLog {
    /// Raised by each charge, so that the second of two concurrent charges is refused and retried.
    pub version: ItemVersion,
    /// The mails, by message.
    pub mails: HashMap<MessageId, LoggedMail>,
}

/// A mail to a login name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedMail {
    /// When it was charged.
    pub at: Timestamp,
    /// The client network that asked for it. `None`: an Administrator asked, and strangers' requests do not count with it.
    pub network: Option<String>,
    /// Whether it was sent.
    pub sent: bool,
}

/// Why a mail is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCharged {
    /// The message was delivered before, and its mail was sent.
    #[error("the mail was sent before")]
    Sent,
    /// The limit of the login name or of its client network is reached.
    #[error("too many mails")]
    TooMany,
}

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

impl MailLog {
    /// Charges a mail before it is sent. A message that was charged and not sent may be sent without another charge.
    ///
    /// # Errors
    /// [`NotCharged::Sent`]: the mail of this message was sent before.
    /// [`NotCharged::TooMany`]: the client network reached [`policy::NETWORK_MAILS`], or the login name [`policy::DAILY_MAILS`].
    pub fn charge(&mut self, message: &MessageId, network: Option<&str>, now: Timestamp) -> Result<(), NotCharged> {
        // A time too far in the future came from a clock that ran ahead. It must not stop the mails.
        self.mails.retain(|_, mail| mail.at > now - DAY && mail.at <= now + DAY);
        match self.mails.get(message) {
            Some(mail) if mail.sent => return Err(NotCharged::Sent),
            Some(_) => return Ok(()),
            None => {}
        }
        let alike = self.mails.values().filter(|mail| mail.network.is_some() == network.is_some());
        let of_network = alike.clone().filter(|mail| mail.at > now - HOUR && mail.network.as_deref() == network);
        let too_many_of_network = network.is_some() && of_network.count() >= policy::NETWORK_MAILS;
        if too_many_of_network || alike.count() >= policy::DAILY_MAILS {
            return Err(NotCharged::TooMany);
        }
        let mail = LoggedMail { at: now, network: network.map(str::to_owned), sent: false };
        self.mails.insert(message.clone(), mail);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::SystemEntropy, store::fixture::NOW};

    fn message() -> MessageId {
        MessageId::generate(&SystemEntropy).unwrap()
    }

    #[test]
    fn network_gets_three_mails_an_hour_and_login_name_thirty_a_day() {
        let mut log = MailLog::default();
        for _ in 0..3 {
            assert_eq!(log.charge(&message(), Some("10.0.0"), NOW), Ok(()));
        }
        assert_eq!(log.charge(&message(), Some("10.0.0"), NOW), Err(NotCharged::TooMany));
        assert_eq!(log.charge(&message(), Some("10.0.0"), NOW + HOUR), Ok(()));
        for n in 0..26 {
            assert_eq!(log.charge(&message(), Some(&format!("10.1.{n}")), NOW + HOUR), Ok(()), "{n}");
        }
        assert_eq!(log.charge(&message(), Some("10.2.0"), NOW + HOUR), Err(NotCharged::TooMany));
        assert_eq!(log.charge(&message(), Some("10.2.0"), NOW + DAY), Ok(()));
    }

    #[test]
    fn administrators_mails_are_counted_apart() {
        let mut log = MailLog::default();
        for n in 0..30 {
            assert_eq!(log.charge(&message(), Some(&format!("10.0.{n}")), NOW), Ok(()));
        }
        for _ in 0..30 {
            assert_eq!(log.charge(&message(), None, NOW), Ok(()));
        }
        assert_eq!(log.charge(&message(), None, NOW), Err(NotCharged::TooMany));
    }

    #[test]
    fn message_delivered_twice_counts_once_and_is_sent_once() {
        let (mut log, message) = (MailLog::default(), message());
        for _ in 0..5 {
            assert_eq!(log.charge(&message, Some("10.0.0"), NOW), Ok(()));
        }
        assert_eq!(log.mails.len(), 1);
        if let Some(mail) = log.mails.get_mut(&message) {
            mail.sent = true;
        }
        assert_eq!(log.charge(&message, Some("10.0.0"), NOW), Err(NotCharged::Sent));
    }

    #[test]
    fn time_far_in_the_future_does_not_count() {
        let mut log = MailLog::default();
        for _ in 0..3 {
            assert_eq!(log.charge(&message(), Some("10.0.0"), NOW + DAY + HOUR), Ok(()));
        }
        assert_eq!(log.charge(&message(), Some("10.0.0"), NOW), Ok(()));
    }
}
