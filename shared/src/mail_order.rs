//! Messages that ask for a mail. A request only puts one into a queue; the worker `password-mail` finds the user, makes the
//! token and sends the mail. So a response shows nothing about a user, and no token is ever stored in plain text.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    id::{MessageId, TenantId, UserId, UserKey},
    secret::LoginKey,
};

/// The language of a mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

impl Language {
    /// The language that an `Accept-Language` header prefers (RFC 9110, 12.5.4). English if it names neither.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let quality = |parameters: &str| {
            let quality = parameters.split(';').find_map(|one| one.trim().strip_prefix("q="));
            quality.map_or(Some(1.0), |q| q.trim().parse::<f32>().ok()).filter(|q| *q > 0.0 && *q <= 1.0)
        };
        let mut best = (0.0, Self::En);
        for range in header.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let language = match tag.trim().split('-').next().map(str::to_ascii_lowercase).as_deref() {
                Some("en" | "*") => Self::En,
                Some("de") => Self::De,
                _ => continue,
            };
            if let Some(quality) = quality(parameters).filter(|quality| *quality > best.0) {
                best = (quality, language);
            }
        }
        best.1
    }
}

/// A message that asks for a mail. It has no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailOrder {
    /// Random. A message that is delivered twice makes one token.
    pub id: MessageId,
    /// The id of the request that asked, for the audit.
    pub request_id: String,
    /// The language of the mail.
    pub language: Language,
    /// What to mail.
    pub mail: OrderedMail,
}

/// What to mail to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OrderedMail {
    /// A token to set a forgotten password. Nobody may have the login name.
    Reset {
        /// The tenant.
        tenant: TenantId,
        /// The digest of the login name.
        login: String,
        /// The client network that asked.
        network: String,
    },
    /// A token to set the first password.
    Invitation {
        /// The user's tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// The Administrator who asked.
        by: UserId,
    },
    /// A token that verifies the user's address.
    Verification {
        /// The user's tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// The client network that asked.
        network: String,
    },
    /// A notice to the former address of a user that it was replaced. It has no token.
    AddressChanged {
        /// The user's tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// The former address.
        former: String,
    },
}

impl OrderedMail {
    /// A token to set a forgotten password.
    #[must_use]
    pub fn reset(login: &LoginKey, network: String) -> Self {
        Self::Reset { tenant: login.tenant().clone(), login: login.digest().to_owned(), network }
    }

    /// A token to set the first password.
    #[must_use]
    pub fn invitation(user: &UserKey, by: &UserId) -> Self {
        Self::Invitation { tenant: user.tenant().clone(), user: user.user().clone(), by: by.clone() }
    }

    /// A token that verifies the user's address.
    #[must_use]
    pub fn verification(user: &UserKey, network: String) -> Self {
        Self::Verification { tenant: user.tenant().clone(), user: user.user().clone(), network }
    }

    /// A notice to the former address of a user.
    #[must_use]
    pub fn address_changed(user: &UserKey, former: String) -> Self {
        Self::AddressChanged { tenant: user.tenant().clone(), user: user.user().clone(), former }
    }
}

/// The queue did not take a message, or did not say that it did.
#[derive(Debug, thiserror::Error)]
#[error("the mail queue is unavailable: {0}")]
pub struct QueueError(pub String);

/// Takes messages for the worker. A message that was taken is delivered at least once.
#[async_trait]
pub trait MailQueue: Send + Sync {
    /// Puts a message into the queue.
    ///
    /// # Errors
    /// [`QueueError`]: it may have been put there.
    async fn put(&self, order: &MailOrder) -> Result<(), QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_language_is_english_or_german() {
        for header in ["", "en", "en-GB,de;q=0.9", "fr", "*", "de;q=0", "de;q=x", "de;q=0.5,en;q=0.6", "fr,en;q=0.1"] {
            assert_eq!(Language::accepted(header), Language::En, "{header}");
        }
        for header in ["de", "de-AT", "DE", "de,en", "en;q=0.5, de;q=0.8", "fr, de;q=0.3", "en;q=0,de;q=0.1"] {
            assert_eq!(Language::accepted(header), Language::De, "{header}");
        }
    }
}
