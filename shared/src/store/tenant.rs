//! Commands of tenants: making them, and their settings.

use super::{
    Store, StoreError, audit_row, item,
    item::{Administrators, ResetCodeFor, TenantPolicy},
    keys,
    people::{By, NewPerson},
    session::Authority,
    table::{Transacted, Transaction},
    write::{Action, Write, attr, exists, text},
};
use crate::{attempt::Attempt, audit::AuditEvent, id::TenantId};

/// A tenant to be.
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// The company's name, and what authenticator apps show.
    pub name: String,
    /// Its first Administrator.
    pub first: Option<NewPerson>,
}

/// What became of a tenant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantCreated {
    /// Made.
    Yes,
    /// There is one of that id.
    Taken,
    /// The caller may no longer.
    ActorGone,
}

impl Store {
    /// Makes a tenant, with its first Administrator if there is one. `here` is the event in the caller's tenant, `there` the
    /// one in the new.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn create_tenant(
        &self,
        by: &By<'_>,
        tenant: &NewTenant,
        attempt: &Attempt,
        (here, there): (&AuditEvent, &AuditEvent),
    ) -> Result<TenantCreated, StoreError> {
        let policy = TenantPolicy {
            name: tenant.name.clone(),
            issuer: tenant.name.clone(),
            reset_code_for: ResetCodeFor::Administrators,
            created: attempt.at().secs(),
        };
        let first = tenant.first.as_ref().filter(|first| first.user.administers_now());
        let active = first.map(|first| (first.key.user().clone(), true)).into_iter().collect();
        let administrators = Administrators { active, able: Default::default() };
        let mut writes = vec![
            Write::put_new(keys::tenant(&tenant.id), item::write(&policy)?),
            Write::put_new(keys::administrators(&tenant.id), item::write(&administrators)?),
        ];
        if let Some(first) = &tenant.first {
            writes.extend(first.writes()?);
        }
        let own = writes.len();
        writes.extend(by.check(attempt.at()));
        if let By::Authority(authority) = by {
            writes.push(audit_row(authority.tenant(), attempt, 1, here)?);
        }
        let row = audit_row(&tenant.id, attempt, 0, there)?;
        Ok(match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => TenantCreated::Yes,
            Transacted::Refused(met) if met.get(own).is_some_and(Option::is_some) => TenantCreated::ActorGone,
            Transacted::Refused(_) => TenantCreated::Taken,
        })
    }

    /// A tenant's name and settings.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settings(&self, tenant: &TenantId) -> Result<Option<TenantPolicy>, StoreError> {
        let found = self.table.read(&[keys::tenant(tenant)]).await?.into_iter().next().flatten();
        found.map(item::read).transpose()
    }

    /// Changes the settings of the caller's tenant, and returns them. `None`: the caller may no longer.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn change_settings(
        &self,
        authority: &Authority,
        issuer: Option<&str>,
        reset_code_for: Option<ResetCodeFor>,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<TenantPolicy>, StoreError> {
        let tenant = authority.tenant();
        let mut actions = Vec::new();
        actions.extend(issuer.map(|issuer| Action::Set(attr("issuer"), text(issuer))));
        if let Some(whom) = reset_code_for {
            actions.push(Action::Set(attr("rcf"), item::value(&whom)?));
        }
        if !actions.is_empty() {
            let writes = vec![
                Write::check(keys::user(authority.key()), authority.guards(attempt.at())),
                Write::update(keys::tenant(tenant), vec![exists(attr("PK"))], actions),
            ];
            let row = audit_row(tenant, attempt, 0, event)?;
            if let Transacted::Refused(_) = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(None);
            }
        }
        self.settings(tenant).await
    }
}
