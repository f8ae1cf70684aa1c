//! The names of users that an audit row needs, and the recipients of its notification.

use std::collections::{BTreeSet, HashMap};

use super::{
    Store, StoreError, item,
    item::{Administrators, Profile, TenantPolicy},
    keys,
};
use crate::{
    audit::{Notify, Row},
    id::{TenantId, UserId},
};

/// Maximum items per read of DynamoDB.
const MAX_READ: usize = 100;

/// Recipients and names for a notification.
#[derive(Debug)]
pub struct Recipients {
    /// The company's name.
    pub company: String,
    /// The user concerned; `None` if there is none or they were deleted.
    pub concerned: Option<Profile>,
    /// The actor; `None` if unknown, deleted, or of another tenant.
    pub actor: Option<Profile>,
    /// The tenant's Administrators, if they are notified. Deleted ones are left out.
    pub administrators: Vec<(UserId, Profile)>,
}

impl Store {
    /// Reads the recipients for an audit row.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] if the tenant does not exist.
    pub async fn recipients(&self, tenant: &TenantId, row: &Row) -> Result<Recipients, StoreError> {
        let [policy, administrators] = self.read_all([keys::tenant(tenant), keys::administrators(tenant)]).await?;
        let policy = policy.ok_or_else(|| StoreError::Corrupt("an audit row of a missing tenant".into()))?;
        let company = item::read::<TenantPolicy>(policy)?.name;
        let notified = if row.notified.contains(&Notify::Administrators) {
            let active = administrators.map(item::read::<Administrators>).transpose()?.unwrap_or_default().active;
            let mut active: Vec<_> = active.into_keys().collect();
            active.sort();
            active
        } else {
            Vec::new()
        };
        let actor = row.actor.as_ref().filter(|_| row.actor_tenant.is_none());
        let users = row.concerned().into_iter().chain(actor).chain(&notified);
        let profiles = self.names(tenant, users).await?;
        let of = |user: &UserId| profiles.get(user).cloned();
        Ok(Recipients {
            company,
            concerned: row.concerned().and_then(of),
            actor: actor.and_then(of),
            administrators: notified.into_iter().filter_map(|user| of(&user).map(|profile| (user, profile))).collect(),
        })
    }

    /// The names of users, by id. Users who do not exist are missing.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn names(
        &self,
        tenant: &TenantId,
        users: impl IntoIterator<Item = &UserId>,
    ) -> Result<HashMap<UserId, Profile>, StoreError> {
        let distinct: Vec<_> = users.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut profiles = HashMap::new();
        for users in distinct.chunks(MAX_READ) {
            let keys: Vec<_> = users.iter().map(|user| keys::profile(&tenant.user((*user).clone()))).collect();
            for (user, found) in users.iter().zip(self.table.read(&keys).await?) {
                if let Some(found) = found {
                    profiles.insert((*user).clone(), item::read::<Profile>(found)?);
                }
            }
        }
        Ok(profiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{AuditAction, AuditEvent, Outcome},
        store::{
            fixture::{NOW, ann},
            item::Role,
        },
    };

    #[tokio::test]
    async fn recipients_are_the_user_and_all_administrators() {
        let (ann, _) = ann(0).await;
        let (bob, tenant) = (ann.someone("bob", Role::Standard).await, ann.key.tenant());
        let mut others = Vec::new();
        for n in 0..120 {
            others.push(ann.someone(&format!("a{n:03}"), Role::Administrator).await);
        }
        let event = AuditEvent::new(AuditAction::MfaReset, Outcome::Success, "r");
        let event = event.by(others[0].user()).about(bob.user()).notify(Notify::User).notify(Notify::Administrators);
        let mut row = Row::new("i".into(), NOW, event);
        let found = ann.store.recipients(tenant, &row).await.unwrap();
        assert_eq!(found.concerned.unwrap().username, "bob");
        assert_eq!(found.actor.unwrap().username, "a000");
        let names: Vec<_> = found.administrators.iter().map(|(_, profile)| profile.username.as_str()).collect();
        for n in 0..120 {
            assert_eq!(names.iter().filter(|name| **name == format!("a{n:03}")).count(), 1, "{n}");
        }
        // The id of an actor in another tenant must not match a user of this tenant.
        row.actor_tenant = Some(TenantId::support());
        row.target = Some(UserId::parse("gone").unwrap());
        row.notified = vec![Notify::User];
        let found = ann.store.recipients(tenant, &row).await.unwrap();
        assert!(found.concerned.is_none() && found.actor.is_none() && found.administrators.is_empty());
    }
}
