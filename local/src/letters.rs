//! Mails with links, in development: the queue is a task in the process, and each mail is a line of the file of mails, where
//! the command `mail` shows it. The log has no link, because a link holds a token.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
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

use crate::mail::FILE;

/// How many mails may wait to be sent.
const QUEUE: usize = 1_000;

/// How often a message is delivered, and the pause in between.
const DELIVERIES: usize = 3;
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
    file: Option<Mutex<File>>,
    sent: Mutex<VecDeque<SentLetter>>,
}

impl Letters {
    /// Opens the file in the directory. Without a directory, mails stay in memory.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(directory: Option<&Path>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let open = |directory: &Path| {
            OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(FILE)).map(Mutex::new)
        };
        Ok(Self { clock, file: directory.map(open).transpose()?, sent: Mutex::default() })
    }

    /// The last mails, the oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<SentLetter> {
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
            let line = serde_json::to_vec(&sent).map(|line| [line, b"\n".to_vec()].concat());
            let written = line.map_err(io::Error::from).and_then(|line| {
                file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line) // one write, so that a crash does not leave half a line
            });
            written.map_err(|error| PostError::Temporary(error.to_string()))?;
        }
        let mut kept = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(sent);
        Ok(())
    }
}

/// A queue within the process. Messages that wait are lost with the process.
pub struct LocalQueue(mpsc::Sender<MailOrder>);

#[async_trait]
impl MailQueue for LocalQueue {
    async fn put(&self, order: &MailOrder) -> Result<(), QueueError> {
        self.0.try_send(order.clone()).map_err(|error| QueueError(error.to_string()))
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
