//! The single table's keys, all in one place. Ids hold no `#`, every partition key has a fixed number of parts, and sort
//! keys that are searched by prefix end in `#`: no id can forge or prefix another's key.

use super::write::Key;
use crate::{
    env::Timestamp,
    id::{BatchId, ClientId, TenantId, UserKey},
    secret::LoginKey,
    sso::Relay,
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

/// An item that nobody has, in the place of a login name's owner where there is none: its key has a sort key of its own.
pub(crate) fn nobody(login: &LoginKey) -> Key {
    key(format!("T#{}#U#{}", login.tenant(), login.digest()), "-")
}

/// The sort key of the item that decides about a user.
pub(super) const USER: &str = "U";

/// The item that decides about a user.
pub(crate) fn user(user: &UserKey) -> Key {
    key(person(user), USER)
}

/// A person's names: what does not raise the epoch.
pub(crate) fn profile(user: &UserKey) -> Key {
    key(person(user), "P")
}

/// A contact's exclusion, for the list of them.
pub(crate) fn exclusion(user: &UserKey) -> Key {
    key(person(user), "X")
}

/// A tenant's name and settings.
pub(crate) fn tenant(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "POLICY")
}

/// A tenant's active Administrators.
pub(crate) fn administrators(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "ADMINS")
}

/// A tenant's IdP.
pub(crate) fn idp(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "IDP")
}

/// A request for an assertion.
pub(crate) fn sso_request(tenant: &TenantId, relay: &Relay) -> Key {
    key(format!("T#{tenant}#R#{}", relay.digest()), "R")
}

/// An assertion that was spent, by its digest.
pub(crate) fn assertion(tenant: &TenantId, digest: &str) -> Key {
    key(format!("T#{tenant}#S#{digest}"), "S")
}

/// Who an IdP's name for somebody is.
pub(crate) fn subject(tenant: &TenantId, digest: &str) -> Key {
    key(format!("T#{tenant}#N#{digest}"), "N")
}

/// A tenant's resets of the last hour.
pub(crate) fn reset_budget(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "RB")
}

/// A batch exclusion: its claim.
pub(crate) fn batch(tenant: &TenantId, batch: &BatchId) -> Key {
    key(batch_partition(tenant, batch), "B")
}

/// A batch exclusion: its ids.
pub(crate) fn batch_ids(tenant: &TenantId, batch: &BatchId) -> Key {
    key(batch_partition(tenant, batch), "I")
}

/// A batch exclusion: the outcomes of the group that starts at a place in the ids.
pub(crate) fn batch_group(tenant: &TenantId, batch: &BatchId, first: usize) -> Key {
    key(batch_partition(tenant, batch), format!("G#{first:04}"))
}

/// The partition of a batch exclusion.
pub(crate) fn batch_partition(tenant: &TenantId, batch: &BatchId) -> String {
    format!("T#{tenant}#B#{batch}")
}

/// A portal's credential.
pub(crate) fn client(client: &ClientId) -> Key {
    key(format!("C#{client}"), "C")
}

/// A support ticket, by its digest: once, globally, for ever.
pub(crate) fn ticket(digest: &str) -> Key {
    key(format!("K#{digest}"), "K")
}

/// An audit row.
pub(crate) fn audit(tenant: &TenantId, at: Timestamp, shard: u8, id: &str) -> Key {
    key(audit_partition(tenant, &at.year_month(), shard), format!("{:013}#{id}", at.millis()))
}

/// The partition of audit rows of a month.
pub(crate) fn audit_partition(tenant: &TenantId, year_month: &str, shard: u8) -> String {
    format!("T#{tenant}#A#{year_month}#{shard}")
}

/// The wrapped data keys that authenticators' secrets are sealed under: all in one item.
pub(crate) fn data_keys() -> Key {
    key("D#keys".to_owned(), "K")
}

/// Whose audit row an item is, when it happened, and its id as the API shows it; `None` for whatever is no audit row.
#[must_use]
pub fn audited(pk: &str, sk: &str) -> Option<(TenantId, Timestamp, String)> {
    let (tenant, _) = pk.strip_prefix("T#")?.split_once("#A#")?;
    let (millis, attempt) = sk.split_once('#')?;
    let at = millis.parse().ok().filter(|_| millis.len() == 13).map(Timestamp::from_millis)?;
    Some((TenantId::parse(tenant).ok()?, at, format!("{millis}-{attempt}")))
}

/// The store's identity; a store without it is not ours.
#[must_use]
pub fn identity() -> Key {
    key("SYS".to_owned(), "STORE")
}

/// The index partition of all tenants: the one list over tenants, for operators.
pub(crate) fn tenants() -> String {
    "TENANTS".to_owned()
}

/// The index partition of a tenant's people.
pub(crate) fn directory(tenant: &TenantId) -> String {
    format!("T#{tenant}#D")
}

/// The index partition of a tenant's excluded contacts.
pub(crate) fn exclusions(tenant: &TenantId) -> String {
    format!("T#{tenant}#X")
}

/// The index partition of a tenant's clients.
pub(crate) fn clients(tenant: &TenantId) -> String {
    format!("T#{tenant}#C")
}
