//! Requests that ask for a mail, and the errors of mailed tokens.

use super::{
    App,
    call::Request,
    problem::{ApiResult, Code, Problem},
};
use crate::{
    auth::mail_token::{InvalidMailToken, PasswordResetRejection},
    id::MessageId,
    mail_order::{MailOrder, MailQueue, OrderedMail, QueueError},
    password::WeakPassword,
};

impl App {
    /// The queue of the worker that sends mails.
    ///
    /// # Errors
    /// [`Code::NotFound`] if the deployment sends no such mails, which is not an error of the service.
    pub fn mail_queue(&self) -> ApiResult<&dyn MailQueue> {
        Ok(self.mails.as_deref().ok_or(Code::NotFound)?)
    }
}

impl Request {
    /// Asks the worker for a mail, in the language of the request.
    ///
    /// # Errors
    /// `unavailable`: the mail may be sent; `not_found`: no mails are configured.
    pub async fn order_mail(&self, app: &App, mail: OrderedMail) -> ApiResult<()> {
        let id = MessageId::generate(&*app.entropy)?;
        let order = MailOrder { id, request_id: self.id.clone(), language: self.language, mail };
        Ok(app.mail_queue()?.put(&order).await?)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        tracing::error!(%error, "a mail may not be queued");
        Code::Unavailable.into()
    }
}

impl From<InvalidMailToken> for Problem {
    fn from(_: InvalidMailToken) -> Self {
        Code::InvalidToken.into()
    }
}

impl From<PasswordResetRejection> for Problem {
    fn from(why: PasswordResetRejection) -> Self {
        match why {
            PasswordResetRejection::Token(why) => why.into(),
            PasswordResetRejection::PasswordTooShort => Self::weak("/new_password", WeakPassword::TooShort),
        }
    }
}
