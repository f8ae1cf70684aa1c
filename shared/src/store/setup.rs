//! The identity of the store and its restore epoch, and the checks before a seed or the first setup.

use serde::Deserialize;

use super::{
    AttemptEvent, Store, StoreError, item,
    item::{Administrators, LoginRow},
    keys,
    table::{Retry, Transacted, Transaction},
    write::{Action, Condition, Write, absent, attr, eq, exists, num, text},
};
use crate::{
    audit::AuditEvent,
    env::Timestamp,
    id::{TenantId, UserKey},
    secret::{LoginKey, RestoreEpoch},
    sign_in::Attempt,
};

/// How often the restore epoch is raised again because another request raised it first.
const MAX_RETRIES: usize = 4;

/// The identity of a store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "IdentityItem")]
pub struct Identity {
    /// The store's id. A copy of the store has the same id.
    pub id: String,
    /// The ARN of the table's stream. A restored table has another one. `None` if the backend has no streams.
    pub stream: Option<String>,
    /// The restore epoch.
    pub restore: RestoreEpoch,
}

#[derive(Deserialize)]
struct IdentityItem {
    id: String,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    re: u32,
    /// In milliseconds since 1970.
    #[serde(default)]
    since: i64,
}

impl From<IdentityItem> for Identity {
    fn from(IdentityItem { id, stream, re, since }: IdentityItem) -> Self {
        Self { id, stream, restore: RestoreEpoch { number: re, since: Timestamp::from_millis(since) } }
    }
}

impl Store {
    /// Reads the identity of the store; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        let [found] = self.read_all([keys::identity()]).await?;
        found.map(item::read).transpose()
    }

    /// Sets the identity of the store and the ARN of its table's stream, unless it is set already.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn identify(&self, id: &str, stream: Option<&str>) -> Result<(), StoreError> {
        let mut identity = vec![Action::Set(attr("id"), text(id)), Action::Set(attr("v"), num(1))];
        identity.extend(stream.map(set_stream));
        let write = Write::update(keys::identity(), vec![absent(attr("PK"))], identity);
        self.table.update(&write, Retry::Idempotent).await.map(|_| ())
    }

    /// Makes all existing tokens and codes void, and records that the store is in this table. Call it after a backup
    /// was restored. `None` if the store has no identity: then there is nothing to make void.
    ///
    /// # Errors
    /// [`StoreError`]; the epoch may have been raised. Raising it once more only signs all users out.
    pub async fn raise_restore_epoch(
        &self,
        stream: Option<&str>,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<RestoreEpoch>, StoreError> {
        let row = self.audit_row(&TenantId::support(), attempt, AttemptEvent::Outcome, event)?;
        for _ in 0..MAX_RETRIES {
            let Some(Identity { restore, .. }) = self.identity().await? else { return Ok(None) };
            let Some(number) = restore.number.checked_add(1) else {
                return Err(StoreError::Corrupt("the restore epoch has its maximum".into()));
            };
            let as_read = if restore.number == 0 {
                Condition::Any(vec![absent(attr("re")), eq(attr("re"), 0)])
            } else {
                eq(attr("re"), i64::from(restore.number))
            };
            // If the clock was set back, earlier tokens must stay void.
            let since = attempt.at().max(restore.since);
            let mut raised =
                vec![Action::Set(attr("re"), num(number.into())), Action::Set(attr("since"), num(since.millis()))];
            raised.extend(stream.map(set_stream));
            let write = Write::update(keys::identity(), vec![exists(attr("PK")), as_read], raised);
            if let Transacted::Committed = self.table.transact(&Transaction::new(vec![write], row.clone())).await? {
                return Ok(Some(RestoreEpoch { number, since }));
            }
        }
        Err(StoreError::Contended("the restore epoch was raised concurrently".into()))
    }

    /// Number of active Administrators of a tenant, or of operators in the tenant `support`. `None` if the tenant does
    /// not exist.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn count_administrators(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        let found = self.read_all([keys::tenant(tenant), keys::administrators(tenant)]).await?;
        let [Some(_), Some(administrators)] = found else { return Ok(None) };
        Ok(Some(item::read::<Administrators>(administrators)?.active.len()))
    }

    /// Whether the login name or, if given, the user id is taken.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn is_taken(&self, login: &LoginKey, key: Option<&UserKey>) -> Result<bool, StoreError> {
        let keys_read: Vec<_> = [keys::login(login)].into_iter().chain(key.map(keys::user)).collect();
        let mut found = self.table.read(&keys_read).await?.into_iter();
        let row: LoginRow = item::read(found.next().flatten().unwrap_or_default())?;
        Ok(row.uid.is_some() || found.next().flatten().is_some())
    }
}

fn set_stream(arn: &str) -> Action {
    Action::Set(attr("stream"), text(arn))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        audit::{AuditAction, Outcome},
        store::{
            fixture::{NOW, ann, at_once, attempt},
            interleaved::InterleavedTable,
            memory::MemoryTable,
        },
    };

    fn store() -> Store {
        Store::new(Arc::new(MemoryTable::default()))
    }

    async fn raise(store: &Store, stream: Option<&str>) -> Option<RestoreEpoch> {
        let event = AuditEvent::new(AuditAction::RestoreEpochRaised, Outcome::Success, "r").because("a backup");
        store.raise_restore_epoch(stream, &attempt(NOW), &event).await.unwrap()
    }

    #[tokio::test]
    async fn identity_is_set_once() {
        let store = store();
        assert_eq!(store.identity().await.unwrap(), None);
        for (id, table) in [("one", Some("t-1")), ("two", Some("t-2")), ("three", None)] {
            store.identify(id, table).await.unwrap();
        }
        let restore = RestoreEpoch::default();
        let identity = Identity { id: "one".into(), stream: Some("t-1".into()), restore };
        assert_eq!(store.identity().await.unwrap(), Some(identity));
    }

    #[tokio::test]
    async fn raising_epoch_sets_the_stream_and_is_audited_in_support() {
        let store = store();
        assert_eq!(raise(&store, Some("t-2")).await, None);
        store.identify("one", Some("t-1")).await.unwrap();
        let restore = RestoreEpoch { number: 1, since: NOW };
        assert_eq!(raise(&store, Some("t-2")).await, Some(restore));
        let identity = Identity { id: "one".into(), stream: Some("t-2".into()), restore };
        assert_eq!(store.identity().await.unwrap(), Some(identity));
        assert_eq!(raise(&store, None).await, Some(RestoreEpoch { number: 2, since: NOW }));
        assert_eq!(store.identity().await.unwrap().unwrap().stream.as_deref(), Some("t-2"));
        let partition = keys::audit_partition(&TenantId::support(), &NOW.year_month(), 0);
        let (prefix, after) = (String::new(), None);
        let query = super::super::table::Query { index: false, partition, prefix, after, descending: false, limit: 9 };
        assert_eq!(store.table.query(&query).await.unwrap().len(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_concurrent_raises_both_count() {
        for _ in 0..50 {
            let store = store();
            store.identify("one", None).await.unwrap();
            let both = (0..2).map(|_| {
                let store = store.clone();
                async move { raise(&store, None).await.unwrap().number }
            });
            let mut numbers = at_once(both).await;
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 2]);
            assert_eq!(store.identity().await.unwrap().unwrap().restore.number, 2);
        }
    }

    #[tokio::test]
    async fn epoch_that_was_raised_or_lost_meanwhile_is_read_again() {
        let interleaved = || {
            let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
            (Store::new(Arc::<InterleavedTable>::clone(&table)), table)
        };
        for earlier in 0..2 {
            let (store, table) = interleaved();
            store.identify("one", None).await.unwrap();
            for _ in 0..earlier {
                raise(&store, None).await.unwrap();
            }
            let other = store.clone();
            table.after_read(1, async move {
                raise(&other, None).await.unwrap();
            });
            assert_eq!(raise(&store, None).await.unwrap().number, earlier + 2);
        }
        let (store, table) = interleaved();
        store.identify("one", None).await.unwrap();
        let other = store.clone();
        table.after_read(1, async move {
            other.table.update(&Write::delete(keys::identity(), vec![]), Retry::Never).await.unwrap();
        });
        assert_eq!((raise(&store, None).await, store.identity().await.unwrap()), (None, None));
    }

    #[tokio::test]
    async fn name_or_id_of_a_user_is_taken() {
        let (ann, _) = ann(0).await;
        let free = ann.to_be("bob", crate::domain::Role::Standard);
        for (login, key, taken) in [
            (&ann.login, None, true),
            (&ann.login, Some(&free.key), true),
            (&free.login, Some(&ann.key), true),
            (&free.login, Some(&free.key), false),
            (&free.login, None, false),
        ] {
            assert_eq!(ann.store.is_taken(login, key).await.unwrap(), taken);
        }
    }
}
