//! Attribute names of the mails to a login name (`M`).

use std::collections::HashMap;

use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};
use crate::{
    domain::{ItemVersion, LoggedMail, MailLog},
    id::MessageId,
};

#[derive(Serialize, Deserialize)]
struct MailLogRecord {
    #[serde(rename = "v", default)]
    version: ItemVersion,
    #[serde(rename = "m", default)]
    mails: HashMap<MessageId, LoggedMail>,
}

#[derive(Serialize, Deserialize)]
struct LoggedMailRecord {
    /// Milliseconds.
    #[serde(rename = "t")]
    at: i64,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    sent: bool,
}

impl<'de> Deserialize<'de> for MailLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let MailLogRecord { version, mails } = MailLogRecord::deserialize(deserializer)?;
        Ok(Self { version, mails })
    }
}

impl Serialize for MailLog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { version, mails } = self.clone();
        MailLogRecord { version, mails }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LoggedMail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LoggedMailRecord { at, network, sent } = LoggedMailRecord::deserialize(deserializer)?;
        Ok(Self { at: Timestamp::from_millis(at), network, sent })
    }
}

impl Serialize for LoggedMail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, network, sent } = self.clone();
        LoggedMailRecord { at: at.millis(), network, sent }.serialize(serializer)
    }
}
