//! All keys of the table. Ids contain no `#`, every partition key has a fixed number of parts, and sort key prefixes
//! used for searches end in `#`. So no id can forge another item's key or be a prefix of it.

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

fn user_partition(user: &UserKey) -> String {
    format!("T#{}#U#{}", user.tenant(), user.user())
}

/// The item of a login name: password hash and failure counter. Unauthenticated clients can change it.
pub(crate) fn login(login: &LoginKey) -> Key {
    key(format!("T#{}#L#{}", login.tenant(), login.digest()), "L")
}

/// A key that no item has. It is read instead of the user's item if a login name has no user.
pub(crate) fn no_user(login: &LoginKey) -> Key {
    key(format!("T#{}#U#{}", login.tenant(), login.digest()), "-")
}

/// The sort key of [`user`].
pub(super) const USER: &str = "U";

/// The item of a user that all decisions use.
pub(crate) fn user(user: &UserKey) -> Key {
    key(user_partition(user), USER)
}

/// A user's names and other data whose change does not raise the security version.
pub(crate) fn profile(user: &UserKey) -> Key {
    key(user_partition(user), "P")
}

/// A contact's exclusion, for the list of them.
pub(crate) fn exclusion(user: &UserKey) -> Key {
    key(user_partition(user), "X")
}

/// The mails to a login name of the last day.
pub(crate) fn mail_log(login: &LoginKey) -> Key {
    key(format!("T#{}#L#{}", login.tenant(), login.digest()), "M")
}

/// The requests for mails from a client network, whatever the tenant.
pub(crate) fn mail_requests(network: &str) -> Key {
    key(format!("W#{network}"), "W")
}

/// A tenant's name and settings.
pub(crate) fn tenant(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "POLICY")
}

/// A tenant's logo.
pub(crate) fn logo(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "LOGO")
}

/// A tenant's active Administrators.
pub(crate) fn administrators(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "ADMINS")
}

/// A tenant's IdP.
pub(crate) fn idp(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "IDP")
}

/// A SAML request that waits for its response.
pub(crate) fn sso_request(tenant: &TenantId, relay: &Relay) -> Key {
    key(format!("T#{tenant}#R#{}", relay.digest()), "R")
}

/// A used assertion, by its digest.
pub(crate) fn assertion(tenant: &TenantId, digest: &str) -> Key {
    key(format!("T#{tenant}#S#{digest}"), "S")
}

/// The link from a NameID to a user.
pub(crate) fn subject(tenant: &TenantId, digest: &str) -> Key {
    key(format!("T#{tenant}#N#{digest}"), "N")
}

/// The times of a tenant's resets in the last hour.
pub(crate) fn reset_budget(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}"), "RB")
}

/// The item that claims a batch exclusion.
pub(crate) fn batch(tenant: &TenantId, batch: &BatchId) -> Key {
    key(batch_partition(tenant, batch), "B")
}

/// The contact ids of a batch exclusion.
pub(crate) fn batch_ids(tenant: &TenantId, batch: &BatchId) -> Key {
    key(batch_partition(tenant, batch), "I")
}

/// The outcomes of one group of a batch exclusion; `first` is the index of its first id.
pub(crate) fn batch_group(tenant: &TenantId, batch: &BatchId, first: usize) -> Key {
    key(batch_partition(tenant, batch), format!("G#{first:04}"))
}

/// The partition of a batch exclusion.
pub(crate) fn batch_partition(tenant: &TenantId, batch: &BatchId) -> String {
    format!("T#{tenant}#B#{batch}")
}

/// A portal's client credential.
pub(crate) fn client(client: &ClientId) -> Key {
    key(format!("C#{client}"), "C")
}

/// A support ticket, by its digest. Each ticket is used once, over all tenants and forever.
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

/// The item with all wrapped data keys.
pub(crate) fn data_keys() -> Key {
    key("D#keys".to_owned(), "K")
}

/// Tenant, time and API id of an audit row, from its key. `None` if the key is not of an audit row.
#[must_use]
pub fn audited(pk: &str, sk: &str) -> Option<(TenantId, Timestamp, String)> {
    let (tenant, _) = pk.strip_prefix("T#")?.split_once("#A#")?;
    let (millis, attempt) = sk.split_once('#')?;
    let at = millis.parse().ok().filter(|_| millis.len() == 13).map(Timestamp::from_millis)?;
    Some((TenantId::parse(tenant).ok()?, at, format!("{millis}-{attempt}")))
}

/// The item with the store's identity. A table without it has no Vestibule store.
#[must_use]
pub fn identity() -> Key {
    key("SYS".to_owned(), "STORE")
}

/// The index partition of all tenants: the only list over tenants, for operators.
pub(crate) fn tenants() -> String {
    "TENANTS".to_owned()
}

/// The index partition of a tenant's users.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_row_has_a_time_of_thirteen_digits() {
        let id = |sk| audited("T#acme#A#202701#0", sk).map(|(_, _, id)| id);
        assert_eq!(id("1800000000000#a-0").as_deref(), Some("1800000000000-a-0"));
        assert!(id("180000000000#a-0").is_none() && id("x#a-0").is_none() && audited("U#acme#u", "1#a").is_none());
    }
}
