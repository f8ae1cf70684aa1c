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
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vestibule::{
    audit::{Action, AuditEvent, Tell},
    env::Timestamp,
    store::{
        StoreError, Table, item,
        table::{Again, Query, Transacted, Transaction, Updated},
        write::{Item, Key, Write},
    },
};

use crate::sled_table::SledTable;

/// The file in the data directory.
pub const FILE: &str = "mail.jsonl";

/// One notification, a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Mail {
    at: String,
    tenant: String,
    #[serde(flatten)]
    event: AuditEvent,
}

/// The embedded table, which passes on what somebody is to be told of, once it is written.
pub struct TellingTable {
    table: SledTable,
    file: Option<Mutex<File>>,
}

impl TellingTable {
    /// Over a table; with the directory in which the file is kept, or without one.
    ///
    /// # Errors
    /// What the system says when the file cannot be opened.
    pub fn new(table: SledTable, directory: Option<&Path>) -> io::Result<Self> {
        let open = |directory: &Path| {
            OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(FILE)).map(Mutex::new)
        };
        Ok(Self { table, file: directory.map(open).transpose()? })
    }

    fn tell(&self, write: &Write) {
        let Some(mail) = mail(write) else { return };
        tracing::info!(target: "vestibule::mail", tenant = mail.tenant, "{}", mail.sentence());
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
impl Table for TellingTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.table.read(keys).await
    }

    async fn update(&self, write: &Write, again: Again) -> Result<Updated, StoreError> {
        let updated = self.table.update(write, again).await?;
        if matches!(updated, Updated::Written(_)) {
            self.tell(write);
        }
        Ok(updated)
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let transacted = self.table.transact(transaction).await?;
        if matches!(transacted, Transacted::Committed) {
            transaction.writes().iter().for_each(|write| self.tell(write));
        }
        Ok(transacted)
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        self.table.query(query).await
    }
}

/// The notification that a write of an audit row stands for. Keys are `T#<tenant>#A#…` and `<ms>#…`.
fn mail(write: &Write) -> Option<Mail> {
    let (tenant, _) = write.key().pk().strip_prefix("T#")?.split_once("#A#")?;
    let (millis, _) = write.key().sk().split_once('#')?;
    let event: AuditEvent = item::read(write.apply(None).ok()??).ok()?; // a row is put where there was none
    let at = Timestamp::from_millis(millis.parse().ok()?).to_string();
    (!event.tell.is_empty()).then(|| Mail { at, tenant: tenant.to_owned(), event })
}

impl Mail {
    fn to(&self) -> String {
        let whom = self.event.tell.iter().map(|tell| match tell {
            Tell::User => match self.event.target.as_ref().or(self.event.actor.as_ref()) {
                Some(user) => format!("user {user}"),
                None => "the user concerned".to_owned(),
            },
            Tell::Administrators => format!("the Administrators of {}", self.tenant),
        });
        whom.collect::<Vec<_>>().join(", ")
    }

    fn sentence(&self) -> String {
        let mut text = format!("{} (to {})", subject(self.event.action), self.to());
        if let Some(user) = &self.event.target {
            let _ = write!(text, "; concerns user {user}");
        }
        if let Some(actor) = self.event.actor.as_ref().filter(|actor| Some(*actor) != self.event.target.as_ref()) {
            let _ = write!(text, ", by {actor}");
        }
        text
    }
}

fn subject(action: Action) -> String {
    match action {
        Action::LoginDelayed => "Five wrong passwords in a row: sign-in is slowed down".to_owned(),
        Action::LoginAttacked => "A hundred wrong passwords in a row".to_owned(),
        Action::Verify => "The right password, then several wrong codes".to_owned(),
        Action::FactorAttacked => "Many wrong codes over time".to_owned(),
        Action::RecoveryUsed => "A recovery token was used to sign in".to_owned(),
        Action::RecoveryIssued => "A new recovery token was made".to_owned(),
        Action::FactorActivated => "An authenticator was enrolled".to_owned(),
        Action::FactorDisabled => "The authenticator was disabled after a hundred failures in a row".to_owned(),
        Action::MfaReset => "MFA was reset: enrol again at the next sign-in".to_owned(),
        Action::PasswordChanged => "The password was changed".to_owned(),
        other => other.as_str().to_owned(),
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
                let _ = writeln!(text, "{}  {}: {}", mail.at, mail.tenant, mail.sentence());
            }
            Err(_) => text.push_str("(a line that does not read)\n"),
        }
    }
    if text.is_empty() {
        text.push_str("no notifications yet\n");
    }
    Ok(text)
}
