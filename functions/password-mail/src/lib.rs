//! The worker that sends the mails of the flow `password`: it finds the user, makes the token and sends the mail. The token is
//! in the mail only: the store has its digest, and the log and the audit have nothing of it.
//!
//! A message is delivered at least once. Until its mail was sent, another delivery replaces the token; after that it does
//! nothing. If the worker ends between the mail and the note of it, a second mail has the token that works.

use std::sync::Arc;

use async_trait::async_trait;
use vestibule::{
    env::{Clock, Entropy, EntropyError},
    id::UserKey,
    mail_order::{MailOrder, OrderedMail},
    sign_in::Attempt,
    sso::PublicUrl,
    store::{OperationError, Store, StoreError, mail::IssuedToken},
};

#[cfg(feature = "lambda")]
pub mod lambda;
mod letter;
#[cfg(feature = "lambda")]
mod ses;

pub use letter::Letter;

/// A mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It may be sent later.
    #[error("the mail was not sent: {0}")]
    Temporary(String),
    /// The address or the mail is refused for good.
    #[error("the mail was refused: {0}")]
    Permanent(String),
}

/// Sends mails.
#[async_trait]
pub trait Post: Send + Sync {
    /// Sends a mail.
    ///
    /// # Errors
    /// [`PostError`].
    async fn send(&self, letter: &Letter) -> Result<(), PostError>;
}

/// A temporary failure: the message has to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The mail could not be made or sent.
    #[error("{0}")]
    Mail(String),
}

/// The worker.
pub struct Worker {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the tokens.
    pub entropy: Arc<dyn Entropy>,
    /// The public address of the service, which the links begin with.
    pub public_url: PublicUrl,
    /// Sends the mails.
    pub post: Arc<dyn Post>,
}

impl Worker {
    /// Handles a message. If no mail may be sent, nothing happens, and the log has no name of the user.
    ///
    /// # Errors
    /// [`WorkerError`]: deliver the message again.
    pub async fn handle(&self, store: &Store, order: &MailOrder) -> Result<(), WorkerError> {
        if let OrderedMail::AddressChanged { tenant, user, former } = &order.mail {
            return self.tell_former_address(store, order, &tenant.user(user.clone()), former).await;
        }
        let attempt = Attempt::begin(self.clock.now(), &*self.entropy)?;
        let issued = match store.issue_mail_token(order, &attempt, &*self.entropy).await {
            Ok(issued) => issued,
            Err(OperationError::Store(error)) => return Err(error.into()),
            Err(OperationError::Rejected(why)) => {
                tracing::info!(target: "vestibule", message = order.id.as_str(), %why, "no mail is sent");
                return Ok(());
            }
        };
        let (user, sent) = (issued.user.clone(), issued.mail());
        let letter = self.letter(order, issued)?;
        self.send(&letter, &user).await?;
        store.mark_mail_sent(&sent).await?;
        Ok(())
    }

    fn letter(&self, order: &MailOrder, issued: IssuedToken) -> Result<Letter, WorkerError> {
        Letter::with_token(order, issued, &self.public_url).map_err(|error| WorkerError::Mail(error.to_string()))
    }

    async fn tell_former_address(
        &self,
        store: &Store,
        order: &MailOrder,
        user: &UserKey,
        former: &str,
    ) -> Result<(), WorkerError> {
        // A user who was deleted since has no name to mention.
        let Some((company, profile)) = store.names_for_notice(user).await? else { return Ok(()) };
        let letter = Letter::to_former_address(order, former, &company, &profile)
            .map_err(|error| WorkerError::Mail(error.to_string()))?;
        self.send(&letter, user).await
    }

    /// Sends a mail. A mail that is refused for good is dropped, and an error is logged, which raises an alarm.
    async fn send(&self, letter: &Letter, user: &UserKey) -> Result<(), WorkerError> {
        let (message, user) = (letter.id.as_str(), user.user().as_str());
        match self.post.send(letter).await {
            Ok(()) => tracing::info!(target: "vestibule", message, user, "mail sent"),
            Err(PostError::Permanent(code)) => {
                tracing::error!(target: "vestibule", message, user, code, "a mail was refused permanently");
            }
            Err(error @ PostError::Temporary(_)) => return Err(WorkerError::Mail(error.to_string())),
        }
        Ok(())
    }
}
