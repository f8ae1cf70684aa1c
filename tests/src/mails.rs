//! The mails of the tests: a queue that delivers when a test says so, and the mails that were sent.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use password_mail::{Letter, Post, PostError, Worker, WorkerError};
use vestibule::{
    http::App,
    mail_order::{MailOrder, MailQueue, QueueError},
    sso::PublicUrl,
};

use crate::PUBLIC_URL;

/// A mail that was sent.
#[derive(Clone, Debug)]
pub struct TestMail {
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The HTML.
    pub html: String,
}

impl TestMail {
    /// The token of the link. Panics if there is none.
    #[must_use]
    pub fn token(&self) -> String {
        let link = self.text.lines().find_map(|line| line.split_once("?token=")).unwrap();
        assert!(self.html.contains(link.1));
        link.1.to_owned()
    }
}

/// Keeps messages until a test delivers them, and the mails that the worker sent.
#[derive(Default)]
pub struct TestMails {
    orders: Mutex<Vec<MailOrder>>,
    sent: Mutex<Vec<TestMail>>,
    broken: Mutex<bool>,
}

impl TestMails {
    /// The messages that wait.
    #[must_use]
    pub fn orders(&self) -> Vec<MailOrder> {
        self.orders.lock().unwrap().clone()
    }

    /// Lets queue and mail service fail, or work again.
    pub fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    fn broken(&self) -> bool {
        *self.broken.lock().unwrap()
    }

    /// Delivers a message to the worker of an app, as the queue does.
    ///
    /// # Errors
    /// Those of the worker.
    pub async fn deliver(self: &Arc<Self>, app: &App, order: &MailOrder) -> Result<(), WorkerError> {
        let (clock, entropy) = (Arc::clone(&app.clock), Arc::clone(&app.entropy));
        let public_url = PublicUrl::parse(PUBLIC_URL).unwrap();
        let worker = Worker { clock, entropy, public_url, post: Arc::clone(self) as Arc<dyn Post> };
        worker.handle(&app.store, order).await
    }

    /// Delivers the messages that wait, and returns the mails that were sent since the last call.
    pub async fn deliver_all(self: &Arc<Self>, app: &App) -> Vec<TestMail> {
        let orders = std::mem::take(&mut *self.orders.lock().unwrap());
        for order in orders {
            self.deliver(app, &order).await.unwrap();
        }
        std::mem::take(&mut *self.sent.lock().unwrap())
    }
}

#[async_trait]
impl MailQueue for TestMails {
    async fn put(&self, order: &MailOrder) -> Result<(), QueueError> {
        if self.broken() {
            return Err(QueueError("broken by a test".to_owned()));
        }
        // As it is in a real queue.
        let order = serde_json::from_str(&serde_json::to_string(order).unwrap()).unwrap();
        self.orders.lock().unwrap().push(order);
        Ok(())
    }
}

#[async_trait]
impl Post for TestMails {
    async fn send(&self, letter: &Letter) -> Result<(), PostError> {
        if self.broken() {
            return Err(PostError::Temporary("broken by a test".to_owned()));
        }
        let Letter { to, subject, text, html, .. } = letter;
        let (to, subject, text, html) = (to.clone(), subject.clone(), text.clone(), html.clone());
        self.sent.lock().unwrap().push(TestMail { to, subject, text, html });
        Ok(())
    }
}
