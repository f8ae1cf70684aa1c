//! The store: commands that load items, decide, and write the result.
//!
//! A command is a conditional write ([`write`]) or one transaction of conditional writes, which a backend ([`Table`]) applies
//! atomically. Rules belong to `auth` and `policy`: the store only compares attributes with values that it gets from them.

use std::sync::Arc;

mod administrators;
pub mod batch;
mod budget;
pub mod client;
mod commit;
#[cfg(test)]
mod conditions;
#[cfg(feature = "testing")]
pub mod contract;
pub mod data_keys;
#[cfg(feature = "dynamo")]
pub mod dynamo;
pub mod enrolment;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fixture;
#[cfg(any(test, feature = "testing"))]
pub mod interleaved;
#[cfg(test)]
mod interleavings;
pub mod item;
pub mod keys;
pub mod lists;
pub mod login;
pub mod mail;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod recipients;
mod records;
pub mod recovery;
pub mod reset;
pub mod session;
pub mod setup;
pub mod sso;
pub mod table;
pub mod tenant;
pub mod users;
pub mod verify;
pub mod write;

pub use table::{StoreError, Table};

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError<R> {
    /// A rule rejects it: nothing was granted.
    #[error(transparent)]
    Rejected(R),
    /// The store failed. Deny the request, though it may have been committed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The caller's session ended, or the caller's role changed, before the change was committed. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the caller lost the permission")]
pub struct ActorRevoked;

use crate::{
    audit::{AuditEvent, AuditRetention},
    id::TenantId,
    secret::RestoreEpoch,
    sign_in::Attempt,
};

/// The commands, over any [`Table`].
#[derive(Clone)]
pub struct Store {
    table: Arc<dyn Table>,
    restore_epoch: RestoreEpoch,
    audit_retention: AuditRetention,
}

impl Store {
    /// A store over a table that was never restored from a backup. Audit rows are kept for 90 days.
    #[must_use]
    pub fn new(table: Arc<dyn Table>) -> Self {
        Self { table, restore_epoch: RestoreEpoch::default(), audit_retention: AuditRetention::default() }
    }

    /// Sets how long audit rows are kept. Rows that the store writes expire after this time, and it lists no older rows.
    #[must_use]
    pub fn with_audit_retention(self, audit_retention: AuditRetention) -> Self {
        Self { audit_retention, ..self }
    }

    /// The same store in a restore epoch (see [`Self::identity`]).
    #[must_use]
    pub fn at(&self, restore_epoch: RestoreEpoch) -> Self {
        Self { restore_epoch, ..self.clone() }
    }

    /// The restore epoch, which is part of the digests of tokens and codes.
    #[must_use]
    pub fn restore_epoch(&self) -> RestoreEpoch {
        self.restore_epoch
    }
}

/// The events of an operation in another tenant: one for the audit of each tenant.
pub struct OperatorEvents<'a> {
    /// In the tenant of the operators, `support`.
    pub in_support: &'a AuditEvent,
    /// In the other tenant.
    pub in_tenant: &'a AuditEvent,
}

/// Which event of an attempt an audit row is about. It is part of the row's key, so each is written once, and two events of one
/// operation in a tenant must differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEvent {
    /// What the operation did, or that it was refused.
    Outcome,
    /// A wrong code of an enrolment. The outcome of the enrolment is another event.
    WrongCode,
    /// The same outcome, in the audit of the operators.
    InSupport,
    /// A limit that the attempt reached.
    Limit,
    /// An attack that the attempt shows.
    Attack,
    /// The password was correct. The outcome of the sign-in is another event.
    PasswordAccepted,
    /// The outcome for a contact of a batch, by position.
    Contact(u16),
}

impl AttemptEvent {
    /// The number of the event in the row's key. No operation has two events with the same number.
    fn number(self) -> u32 {
        match self {
            Self::Outcome => 0,
            Self::WrongCode | Self::InSupport | Self::Limit => 1,
            Self::Attack => 2,
            Self::PasswordAccepted => 3,
            Self::Contact(position) => u32::from(position) + 1,
        }
    }
}

impl Store {
    /// Writes the audit row of an event that changed nothing: a refusal, or a threshold that was reached. The response does not
    /// depend on the row, so a failure is only logged.
    pub async fn record(&self, tenant: &TenantId, attempt: &Attempt, which: AttemptEvent, event: &AuditEvent) {
        if let Err(error) = self.record_or_fail(tenant, attempt, which, event).await {
            not_recorded(event, &error);
        }
    }

    /// As [`Self::record`], for an event whose response must not be sent without its row.
    ///
    /// # Errors
    /// [`StoreError`]: it may have been written.
    pub async fn record_or_fail(
        &self,
        tenant: &TenantId,
        attempt: &Attempt,
        which: AttemptEvent,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        let (row, retry) = self.lone_row(tenant, attempt, which, event)?;
        self.table.update(&row, retry).await.map(drop)
    }

    /// The write of an audit row without a transaction: an update that creates its item. If it is sent twice, the second finds
    /// the row of the first.
    fn lone_row(
        &self,
        tenant: &TenantId,
        attempt: &Attempt,
        which: AttemptEvent,
        event: &AuditEvent,
    ) -> Result<(write::Write, table::Retry), StoreError> {
        let row = self.audit_item(attempt, event)?.into_iter();
        let actions = row.map(|(name, value)| write::Action::Set(write::attr(name), value)).collect();
        let key = row_key(tenant, attempt, which, event);
        let row = write::Write::update(key, vec![write::absent(write::attr("PK"))], actions);
        Ok((row, table::Retry::Idempotent))
    }

    /// The write of an audit row. The key contains the attempt, so the row is written once.
    fn audit_row(
        &self,
        tenant: &TenantId,
        attempt: &Attempt,
        which: AttemptEvent,
        event: &AuditEvent,
    ) -> Result<write::Write, StoreError> {
        Ok(write::Write::put_new(row_key(tenant, attempt, which, event), self.audit_item(attempt, event)?))
    }

    fn audit_item(&self, attempt: &Attempt, event: &AuditEvent) -> Result<write::Item, StoreError> {
        let mut row = item::write(event)?;
        row.insert("ttl".to_owned(), write::num((attempt.at() + self.audit_retention.duration()).secs()));
        Ok(row)
    }

    /// Reads a known number of items at once.
    async fn read_all<const N: usize>(&self, keys: [write::Key; N]) -> Result<[Option<write::Item>; N], StoreError> {
        let found = self.table.read(&keys).await?;
        found.try_into().map_err(|_| StoreError::Unavailable("a read returned a wrong number of items".into()))
    }
}

/// Logs that an audit row is missing which the response does not depend on.
fn not_recorded(event: &AuditEvent, error: &StoreError) {
    tracing::error!(%error, action = event.action.as_str(), "an audit row was not written");
}

/// The key of the audit row of the sign-in that opened a session.
fn sign_in_row_key(tenant: &TenantId, session: &item::Session, shard: u8) -> write::Key {
    let attempt = data_encoding::BASE64URL_NOPAD.encode(session.attempt.bytes());
    keys::audit(tenant, session.created, shard, &format!("{attempt}-{}", AttemptEvent::Outcome.number()))
}

fn row_key(tenant: &TenantId, attempt: &Attempt, which: AttemptEvent, event: &AuditEvent) -> write::Key {
    keys::audit(tenant, attempt.at(), event.shard(), &format!("{}-{}", attempt.text(), which.number()))
}
