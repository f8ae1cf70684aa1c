//! Notifications, as a developer sees them: each event that somebody is to be told of goes to the log and into a file of
//! the data directory, where a deployment would send mails.
//!
//! The rows themselves are the truth; a line that is lost here is still in the store.

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

/// The file in the data directory.
pub const FILE: &str = "mail.jsonl";

/// One notification, a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Mail {
    tenant: TenantId,
    /// The login name of whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Where a mail to them would go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(flatten)]
    row: Row,
}

/// A table that passes on what somebody is to be told of, once it is written.
pub struct NotifyingTable {
    table: Arc<dyn Table>,
    store: Store,
    file: Option<Mutex<File>>,
}

impl NotifyingTable {
    /// Over a table; with the directory in which the file is kept, or without one.
    ///
    /// # Errors
    /// What the system says when the file cannot be opened.
    pub fn new(table: Arc<dyn Table>, directory: Option<&Path>) -> io::Result<Self> {
        let open = |directory: &Path| {
            OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(FILE)).map(Mutex::new)
        };
        let store = Store::new(Arc::clone(&table));
        Ok(Self { table, store, file: directory.map(open).transpose()? })
    }

    async fn tell(&self, write: &Write) {
        let Some(mut mail) = mail(write) else { return };
        if let Some(user) = mail.concerned()
            && let Ok(profile) = self.store.read_profile(&mail.tenant.user(user.clone())).await
        {
            (mail.username, mail.email) = (Some(profile.username), profile.email);
        }
        tracing::info!(target: "vestibule::mail", tenant = mail.tenant.as_str(), "{}", mail.sentence());
        let Some(file) = &self.file else { return };
        let written = serde_json::to_vec(&mail).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line) // one write: a crash tears no line
        });
        if let Err(error) = written {
            tracing::error!(%error, "a notification was not written to {FILE}");
        }
    }
}

#[async_trait]
impl Table for NotifyingTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.table.read(keys).await
    }

    async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
        let updated = self.table.update(write, again).await?;
        if matches!(updated, Updated::Written(_)) {
            self.tell(write).await;
        }
        Ok(updated)
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let transacted = self.table.transact(transaction).await?;
        if matches!(transacted, Transacted::Committed) {
            for write in transaction.writes() {
                self.tell(write).await;
            }
        }
        Ok(transacted)
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.table.query(query).await
    }
}

/// The notification that a write of an audit row stands for.
fn mail(write: &Write) -> Option<Mail> {
    let (tenant, at, id) = keys::audited(write.key().pk(), write.key().sk())?;
    let row = Row::new(id, at, item::read(write.apply(None).ok()??).ok()?); // a row is put where there was none
    (!row.notified.is_empty()).then_some(Mail { tenant, username: None, email: None, row })
}

impl Mail {
    fn concerned(&self) -> Option<&UserId> {
        self.row.concerned()
    }

    fn to(&self) -> String {
        let whom = self.row.notified.iter().map(|tell| match (tell, &self.email) {
            (Notify::User, Some(email)) => format!("{} <{email}>", self.person()),
            (Notify::User, None) => self.person().to_owned(),
            (Notify::Administrators, _) => format!("the Administrators of {}", self.tenant),
        });
        whom.collect::<Vec<_>>().join(", ")
    }

    /// The login name; the id of somebody who is gone.
    fn person(&self) -> &str {
        self.username.as_deref().or(self.concerned().map(UserId::as_str)).unwrap_or("nobody known")
    }

    fn sentence(&self) -> String {
        let mut text = format!("To {}: {}. ", self.to(), mail::subject(self.row.action));
        let particulars = mail::details(&self.row, self.person(), None);
        text.push_str(
            &particulars.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; "),
        );
        text
    }
}

/// The file of notifications, readable.
///
/// # Errors
/// What the system says when the file cannot be read. One that is not there holds none.
pub fn read(directory: &Path) -> io::Result<String> {
    let lines = match fs::read_to_string(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.is_dir() => String::new(),
        read => read?,
    };
    let mut text = String::new();
    for line in lines.lines() {
        match serde_json::from_str::<Mail>(line) {
            Ok(mail) => {
                let _ = writeln!(text, "{}  {}  {}", mail.row.at, mail.tenant, mail.sentence());
            }
            Err(_) => text.push_str("(a line that does not read)\n"),
        }
    }
    if text.is_empty() {
        text.push_str("no notifications yet\n");
    }
    Ok(text)
}
