//! Mails with links, in development: a task of this process takes them from the queue, and writes each as a line of the file of
//! mails, where the command `mail` shows it. The log has no link, because a link holds a token.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use password_mail::{Letter, Post, PostError, Worker};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::sleep};
use vestibule::{
    env::{Clock, Timestamp},
    http::App,
    mail_order::{MailOrder, MailQueue, QueueError},
    store::Store,
};

use crate::mail::MailFile;

/// How many mails may wait to be sent. A request for one more waits for a place: an import invites faster than mails are made.
const QUEUE: usize = 1_000;

/// The maximum number of deliveries of a message.
const DELIVERIES: usize = 3;
/// The pause after a delivery that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many mails stay in memory.
const KEPT: usize = 100;

/// A mail with a link, as a line of the file.
#[derive(Clone, Serialize, Deserialize)]
pub struct SentLetter {
    /// When it was sent.
    pub at: Timestamp,
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// Writes mails to the file of mails instead of sending them, and keeps the last of them.
pub struct Letters {
    clock: Arc<dyn Clock>,
    file: Option<MailFile>,
    sent: Mutex<VecDeque<(u64, SentLetter)>>,
}

impl Letters {
    /// Opens the file in the directory. Without a directory, mails stay in memory.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(directory: Option<&Path>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self { clock, file: directory.map(MailFile::open).transpose()?, sent: Mutex::default() })
    }

    /// The last 100 mails with their numbers, the oldest first. The first mail since the start has number 1.
    #[must_use]
    pub fn sent(&self) -> Vec<(u64, SentLetter)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[async_trait]
impl Post for Letters {
    async fn send(&self, letter: &Letter) -> Result<(), PostError> {
        let Letter { to, subject, text, html, .. } = letter;
        let (to, subject, text, html) = (to.clone(), subject.clone(), text.clone(), html.clone());
        let sent = SentLetter { at: self.clock.now(), to, subject, text, html };
        if let Some(file) = &self.file {
            file.append(&sent).map_err(|error| PostError::Temporary(error.to_string()))?;
        }
        let mut kept = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(0, |(number, _)| *number) + 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((number, sent));
        Ok(())
    }
}

/// A queue within the process. Messages that wait are lost with the process.
pub struct LocalQueue(mpsc::Sender<MailOrder>);

#[async_trait]
impl MailQueue for LocalQueue {
    async fn put(&self, order: &MailOrder) -> Result<(), QueueError> {
        self.0.send(order.clone()).await.map_err(|error| QueueError(error.to_string()))
    }
}

/// Starts the worker of an app whose public URL is known, and gives the app its queue.
pub fn start(app: &mut App, letters: Arc<Letters>) {
    let Some(public_url) = app.public_url.clone() else { return };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let worker = Worker { clock: Arc::clone(&app.clock), entropy: Arc::clone(&app.entropy), public_url, post: letters };
    tokio::spawn(work(worker, app.store.clone(), receiver));
    app.mails = Some(Arc::new(LocalQueue(sender)));
}

async fn work(worker: Worker, store: Store, mut orders: mpsc::Receiver<MailOrder>) {
    while let Some(order) = orders.recv().await {
        for delivery in 1..=DELIVERIES {
            let Err(error) = worker.handle(&store, &order).await else { break };
            tracing::error!(%error, delivery, message = order.id.as_str(), "a mail was not sent");
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use vestibule::{
        env::SystemClock,
        id::{MessageId, TenantId, UserId},
        language::Language,
        mail_order::OrderedMail,
        sso::PublicUrl,
        store::users::{Actor, NewUser, NewUserDetails},
    };

    use super::*;
    use crate::{
        mail::{self, FILE},
        seed::Seed,
        seeding, server,
    };

    #[tokio::test]
    async fn mail_with_a_link_is_shown_by_the_command_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let letters = Letters::new(Some(folder.path()), Arc::new(SystemClock)).unwrap();
        let letter = Letter {
            id: MessageId::parse("m").unwrap(),
            to: "bob@acme.example".to_owned(),
            subject: "Acme: set a new password".to_owned(),
            text: "Hello Bob,\n\nhttps://login.example.com/password/reset?token=vp_A\n".to_owned(),
            html: "<p>".to_owned(),
        };
        letters.send(&letter).await.unwrap();
        let shown = mail::text(&mail::read(folder.path()).unwrap());
        assert!(shown.contains("  To bob@acme.example: Acme: set a new password\n    Hello Bob,\n"), "{shown}");
        assert!(shown.contains("    https://login.example.com/password/reset?token=vp_A\n"), "{shown}");
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn full_queue_takes_a_mail_when_it_has_a_place() {
        let (sender, mut receiver) = mpsc::channel(1);
        let queue = LocalQueue(sender);
        let order = |user: &str| {
            let user = TenantId::parse("acme").unwrap().user(UserId::parse(user).unwrap());
            let mail = OrderedMail::invitation(&user, user.user());
            MailOrder { id: MessageId::parse("m").unwrap(), request_id: "r".into(), language: Language::English, mail }
        };
        queue.put(&order("u-1")).await.unwrap();
        let second = order("u-2");
        let (put, first) = tokio::join!(queue.put(&second), async {
            sleep(Duration::from_millis(50)).await;
            receiver.recv().await
        });
        assert!(put.is_ok() && first.is_some() && receiver.recv().await.is_some());
        drop(receiver);
        assert!(queue.put(&second).await.is_err());
    }

    /// An invitation that was put into the queue becomes a mail.
    #[tokio::test]
    async fn queued_invitation_is_mailed() {
        let mut app = server::open(None).unwrap().app;
        app.public_url = PublicUrl::parse("http://127.0.0.1:8080").ok();
        let letters = Arc::new(Letters::new(None, Arc::new(SystemClock)).unwrap());
        start(&mut app, Arc::clone(&letters));
        let seed = json!({"tenants": [{"id": "acme", "name": "Acme", "users": []}]}).to_string();
        seeding::add_missing(&app, Seed::parse("a test", seed.as_bytes()).unwrap()).await.unwrap();
        let key = TenantId::parse("acme").unwrap().user(UserId::parse("u-ivy").unwrap());
        invite(&app, &key).await;
        let by = UserId::parse("u-ann").unwrap();
        let (id, mail) = (MessageId::parse("m").unwrap(), OrderedMail::invitation(&key, &by));
        let order = MailOrder { id, request_id: "r".to_owned(), language: Language::English, mail };
        app.mail_queue().unwrap().put(&order).await.unwrap();
        for _ in 0..500 {
            if !letters.sent().is_empty() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let [(1, letter)] = &letters.sent()[..] else { panic!("no mail") };
        assert_eq!((letter.to.as_str(), letter.subject.as_str()), ("ivy@acme.example", "Acme: your new account"));
        assert!(letter.text.contains("http://127.0.0.1:8080/password/reset?token=vp_"));
    }

    /// Creates a user without a password.
    async fn invite(app: &App, key: &vestibule::id::UserKey) {
        use vestibule::{
            audit::{AuditAction, AuditEvent, Outcome},
            id::LoginName,
            secret::Nonce,
            sign_in::Attempt,
            store::item::{AuthType, Kind, Role},
        };
        let login = app.names().unwrap().login(key.tenant(), &LoginName::fold("ivy"));
        let details = NewUserDetails {
            kind: Kind::Employee,
            role: Role::Standard,
            auth_type: AuthType::Local,
            username: "ivy",
            display_name: "Ivy",
            email: Some("ivy@acme.example"),
        };
        let attempt = Attempt::begin(app.clock.now(), &*app.entropy).unwrap();
        let user = NewUser::new(key.clone(), login, &details, Nonce::generate(&*app.entropy).unwrap(), attempt.at());
        let event = AuditEvent::new(AuditAction::UserCreated, Outcome::Success, "r").about(key.user());
        app.store.create_user(&Actor::Seed, &user, &attempt, &event).await.unwrap();
    }
}
