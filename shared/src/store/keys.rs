//! The single table's keys, all in one place. Ids hold no `#`, every partition key has a fixed number of parts, and sort
//! keys that are searched by prefix end in `#`: no id can forge or prefix another's key.

use super::write::Key;
use crate::{
    env::Timestamp,
    id::{TenantId, UserKey},
    secret::LoginKey,
};

fn key(pk: String, sk: impl Into<String>) -> Key {
    Key { pk, sk: sk.into() }
}

fn person(user: &UserKey) -> String {
    format!("T#{}#U#{}", user.tenant(), user.user())
}

/// A login name's item: password hash and failures. What strangers can write.
pub(crate) fn login(login: &LoginKey) -> Key {
    key(format!("T#{}#L#{}", login.tenant(), login.digest()), "L")
}

/// The item that decides about a person.
pub(crate) fn user(user: &UserKey) -> Key {
    key(person(user), "U")
}

/// A tenant's active Administrators.
pub(crate) fn administrators(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "ADMINS")
}

/// An audit row.
pub(crate) fn audit(tenant: &TenantId, at: Timestamp, shard: u8, id: &str) -> Key {
    key(audit_partition(tenant, &at.year_month(), shard), format!("{:013}#{id}", at.millis()))
}

/// The partition of audit rows of a month.
pub(crate) fn audit_partition(tenant: &TenantId, year_month: &str, shard: u8) -> String {
    format!("T#{tenant}#A#{year_month}#{shard}")
}

/// The store's identity; a store without it is not ours.
#[must_use]
pub fn identity() -> Key {
    key("SYS".to_owned(), "STORE")
}
