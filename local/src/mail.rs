//! Mails in development: for each audit row that a deployment would send mails about, the local server writes a line to the log
//! and to a file in the data directory.
//!
//! If a line is lost, the audit row is still in the store.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vestibule::{
    audit::{Notify, Row},
    id::{TenantId, UserId},
    mail,
    store::{
        Store, StoreError, Table, item, keys,
        table::{Query, Retry, Transacted, Transaction, Updated},
        write::{Item, Key, Write},
    },
};

use crate::letters::SentLetter;

/// The file in the data directory.
pub const FILE: &str = "mail.jsonl";

/// The file of mails, one line of JSON each. Only the owner may read it, because links hold tokens.
pub(crate) struct MailFile(Mutex<File>);

impl MailFile {
    /// Opens the file in the directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(FILE)).map(Mutex::new).map(Self)
    }

    /// Appends a line with one write, so that a crash does not leave half a line.
    pub(crate) fn append(&self, mail: &impl Serialize) -> io::Result<()> {
        let line = [serde_json::to_vec(mail)?, b"\n".to_vec()].concat();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// A line of the file about an audit row that mails would be sent about. A mail with a link is the other kind ([`SentLetter`]).
#[derive(Debug, Serialize, Deserialize)]
struct Mail {
    tenant: TenantId,
    /// The login name of the user concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// The address of the user concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(flatten)]
    row: Row,
}

/// A table that writes the mails about the audit rows that it stores.
pub struct NotifyingTable {
    table: Arc<dyn Table>,
    store: Store,
    file: Option<MailFile>,
}

impl NotifyingTable {
    /// Wraps a table. `directory` holds the file; without it, mails go to the log only.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(table: Arc<dyn Table>, directory: Option<&Path>) -> io::Result<Self> {
        let store = Store::new(Arc::clone(&table));
        Ok(Self { table, store, file: directory.map(MailFile::open).transpose()? })
    }

    async fn write_mail(&self, write: &Write) {
        let Some(mut mail) = mail(write) else { return };
        if let Some(user) = mail.concerned()
            && let Ok(profile) = self.store.read_profile(&mail.tenant.user(user.clone())).await
        {
            (mail.username, mail.email) = (Some(profile.username), profile.email);
        }
        tracing::info!(target: "vestibule::mail", tenant = mail.tenant.as_str(), "{}", mail.sentence());
        let Some(file) = &self.file else { return };
        if let Err(error) = file.append(&mail) {
            tracing::error!(%error, "a mail was not written to {FILE}");
        }
    }
}

#[async_trait]
impl Table for NotifyingTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.table.read(keys).await
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        let updated = self.table.update(write, retry).await?;
        if matches!(updated, Updated::Written(_)) {
            self.write_mail(write).await;
        }
        Ok(updated)
    }

    async fn update_each(&self, writes: &[(Write, Retry)]) -> Vec<Result<Updated, StoreError>> {
        let updated = self.table.update_each(writes).await;
        for ((write, _), updated) in writes.iter().zip(&updated) {
            if matches!(updated, Ok(Updated::Written(_))) {
                self.write_mail(write).await;
            }
        }
        updated
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let transacted = self.table.transact(transaction).await?;
        if matches!(transacted, Transacted::Committed) {
            for write in transaction.writes() {
                self.write_mail(write).await;
            }
        }
        Ok(transacted)
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.table.query(query).await
    }
}

/// The mail about a write, if it stores an audit row with recipients.
fn mail(write: &Write) -> Option<Mail> {
    let (tenant, at, id) = keys::audited(write.key().pk(), write.key().sk())?;
    let row = Row::new(id, at, item::read(write.apply(None).ok()??).ok()?); // an audit row is always a new item
    (!row.notified.is_empty()).then_some(Mail { tenant, username: None, email: None, row })
}

impl Mail {
    fn concerned(&self) -> Option<&UserId> {
        self.row.concerned()
    }

    fn to(&self) -> String {
        let recipients = self.row.notified.iter().map(|notify| match (notify, &self.email) {
            (Notify::User, Some(email)) => format!("{} <{email}>", self.user()),
            (Notify::User, None) => self.user().to_owned(),
            (Notify::Administrators, _) => format!("the Administrators of {}", self.tenant),
        });
        recipients.collect::<Vec<_>>().join(", ")
    }

    /// The login name of the user concerned; the id if the user is deleted.
    fn user(&self) -> &str {
        self.username.as_deref().or(self.concerned().map(UserId::as_str)).unwrap_or("an unknown user")
    }

    fn sentence(&self) -> String {
        let mut text = format!("To {}: {}. ", self.to(), mail::subject(self.row.action));
        let details = mail::details(&self.row, self.user(), None);
        text.push_str(&details.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; "));
        text
    }
}

/// The lines of the file, each of them a mail as JSON. If the directory has no such file, there are none.
///
/// # Errors
/// The file cannot be read.
pub fn read(directory: &Path) -> io::Result<String> {
    match fs::read_to_string(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.is_dir() => Ok(String::new()),
        read => read,
    }
}

/// The mails of these lines as text for people.
#[must_use]
pub fn text(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        if let Ok(mail) = serde_json::from_str::<Mail>(line) {
            let _ = writeln!(text, "{}  {}  {}", mail.row.at, mail.tenant, mail.sentence());
        } else if let Ok(letter) = serde_json::from_str::<SentLetter>(line) {
            let _ = writeln!(text, "{}  To {}: {}", letter.at, letter.to, letter.subject);
            for line in letter.text.lines() {
                let _ = writeln!(text, "    {line}");
            }
        } else {
            text.push_str("(an unreadable line)\n");
        }
    }
    if text.is_empty() {
        text.push_str("no mails yet\n");
    }
    text
}
