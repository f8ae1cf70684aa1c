//! Messages that ask for a mail. A request only puts one into a queue; the worker `password-mail` finds the user, makes the
//! token and sends the mail. So a response shows nothing about a user, and no token is ever stored in plain text.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    id::{MessageId, TenantId, UserId, UserKey},
    language::Language,
    secret::LoginKey,
};

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
    /// A token to set a forgotten password. It is possible that no user has the login name.
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
