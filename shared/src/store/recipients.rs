//! Who is to be told of what is in an audit row, and the names that the words need.

use super::{
    Store, StoreError, item,
    item::{Administrators, Profile, TenantPolicy},
    keys,
};
use crate::{
    audit::{Notify, Row},
    id::{TenantId, UserId},
};

/// How many items DynamoDB reads at once.
const AT_ONCE: usize = 100;

/// Those who are to be told, and names.
#[derive(Debug)]
pub struct Recipients {
    /// The company's name.
    pub company: String,
    /// Whom the row concerns; `None` where it is nobody, or somebody who is gone.
    pub concerned: Option<Profile>,
    /// Who did it; `None` where that is not known, or they are gone, or of another tenant.
    pub actor: Option<Profile>,
    /// The tenant's Administrators, where they are to be told. One who is gone is not among them.
    pub administrators: Vec<(UserId, Profile)>,
}

impl Store {
    /// Reads who is to be told of a row.
    ///
    /// # Errors
    /// [`StoreError`]; so it is where there is no such tenant.
    pub async fn recipients(&self, tenant: &TenantId, row: &Row) -> Result<Recipients, StoreError> {
        let profile = |user: &UserId| keys::profile(&tenant.user(user.clone()));
        let [policy, administrators] = self.read_all([keys::tenant(tenant), keys::administrators(tenant)]).await?;
        let policy = policy.ok_or_else(|| StoreError::Corrupt("a row of no tenant".into()))?;
        let company = item::read::<TenantPolicy>(policy)?.name;
        let told = if row.notified.contains(&Notify::Administrators) {
            let active = administrators.map(item::read::<Administrators>).transpose()?.unwrap_or_default().active;
            let mut active: Vec<_> = active.into_keys().collect();
            active.sort();
            active
        } else {
            Vec::new()
        };
        let actor = row.actor.as_ref().filter(|_| row.actor_tenant.is_none());
        let people: Vec<_> = row.concerned().into_iter().chain(actor).chain(&told).collect();
        let mut profiles = std::collections::HashMap::new();
        for people in people.chunks(AT_ONCE) {
            let wanted: Vec<_> = people.iter().map(|user| profile(user)).collect();
            for (user, found) in people.iter().zip(self.table.read(&wanted).await?) {
                if let Some(found) = found {
                    profiles.insert((*user).clone(), item::read::<Profile>(found)?);
                }
            }
        }
        let of = |user: &UserId| profiles.get(user).cloned();
        Ok(Recipients {
            company,
            concerned: row.concerned().and_then(of),
            actor: actor.and_then(of),
            administrators: told.into_iter().filter_map(|user| of(&user).map(|profile| (user, profile))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{Action, AuditEvent, Outcome},
        store::{
            fixture::{NOW, ann},
            item::Role,
        },
    };

    #[tokio::test]
    async fn the_person_and_the_administrators_are_found_with_their_names() {
        let (ann, _) = ann(0).await;
        let (bob, tenant) = (ann.someone("bob", Role::Standard).await, ann.key.tenant());
        let mut others = Vec::new();
        for n in 0..120 {
            others.push(ann.someone(&format!("a{n:03}"), Role::Administrator).await);
        }
        let event = AuditEvent::new(Action::MfaReset, Outcome::Success, "r");
        let event = event.by(others[0].user()).about(bob.user()).tell(Notify::User).tell(Notify::Administrators);
        let mut row = Row::new("i".into(), NOW, event);
        let found = ann.store.recipients(tenant, &row).await.unwrap();
        assert_eq!(found.concerned.unwrap().username, "bob");
        assert_eq!(found.actor.unwrap().username, "a000");
        let names: Vec<_> = found.administrators.iter().map(|(_, profile)| profile.username.as_str()).collect();
        for n in 0..120 {
            assert_eq!(names.iter().filter(|name| **name == format!("a{n:03}")).count(), 1, "{n}");
        }
        // Nobody of this tenant is meant by the id of another's.
        row.actor_tenant = Some(TenantId::support());
        row.target = Some(UserId::parse("gone").unwrap());
        row.notified = vec![Notify::User];
        let found = ann.store.recipients(tenant, &row).await.unwrap();
        assert!(found.concerned.is_none() && found.actor.is_none() && found.administrators.is_empty());
    }
}
