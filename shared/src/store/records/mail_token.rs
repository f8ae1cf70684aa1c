//! Attribute names of a mailed token within a user's item.

use serde::de::Error as _;

use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};
use crate::{
    domain::{MailPurpose, MailToken},
    id::MessageId,
    secret::TokenVerifier,
};

letters! { MailPurpose { Reset "r", Invitation "i", Verification "v" } }

#[derive(Serialize, Deserialize)]
struct MailTokenRecord {
    #[serde(rename = "g")]
    verifier: TokenVerifier,
    #[serde(rename = "u")]
    purpose: MailPurpose,
    /// Milliseconds.
    #[serde(rename = "c")]
    created: i64,
    #[serde(rename = "a")]
    message: MessageId,
}

impl<'de> Deserialize<'de> for MailToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let MailTokenRecord { verifier, purpose, created, message } = MailTokenRecord::deserialize(deserializer)?;
        Ok(Self { verifier, purpose, created: Timestamp::from_millis(created), message })
    }
}

impl Serialize for MailToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { verifier, purpose, created, message } = self.clone();
        MailTokenRecord { verifier, purpose, created: created.millis(), message }.serialize(serializer)
    }
}
