//! The configuration of a tenant's IdP.

use super::of_generation;
use crate::{
    audit::AuditEvent,
    id::{TenantId, UserId},
    sign_in::Attempt,
    store::{
        Store, StoreError,
        administrators::is_local_admin,
        commit::{self, Commit, Decision, Retries},
        item::{self, Administrators, CurrentIdp, Idp, TenantPolicy},
        keys,
        session::AdminContext,
        write::{Action, Condition, Value, Write, absent, attr, eq, exists},
    },
};

/// Result of the removal of a tenant's IdP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdpRemoved {
    /// Removed.
    Done,
    /// The tenant has no IdP.
    NotFound,
    /// No active Administrator signs in locally.
    Needed,
    /// The caller's session ended, or the caller's role changed.
    ActorRevoked,
}

impl Store {
    /// A tenant's IdP. The outer `None`: there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn idp(&self, tenant: &TenantId) -> Result<Option<Option<Idp>>, StoreError> {
        let [policy, idp] = self.read_all([keys::tenant(tenant), keys::idp(tenant)]).await?;
        let idp = idp.map(item::read).transpose()?;
        Ok(policy.map(item::read::<TenantPolicy>).transpose()?.map(|_| idp))
    }

    /// Configures the IdP of the caller's tenant, or replaces it. An IdP with the same entity id keeps its generation, and so
    /// the sessions of its users stay valid. `None`: the caller's session ended, or the caller's role changed.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn set_idp(
        &self,
        admin: &AdminContext,
        idp: &Idp,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<()>, StoreError> {
        let tenant = admin.tenant();
        let mut current = admin.principal().idp().cloned();
        let mut retries = Retries::of(attempt);
        loop {
            let (idp, condition) = in_place_of(current.as_ref(), idp);
            let writes = vec![
                Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
                Write { condition, ..Write::put(keys::idp(tenant), item::write(&idp)?) },
                Write::update(
                    keys::administrators(tenant),
                    vec![exists(attr("PK"))],
                    vec![Action::Set(attr("idp"), Value::Bool(true))],
                ),
            ];
            let audit_row = Some(self.audit_row(tenant, attempt, 0, event)?);
            let decision = Decision { writes, audit_row, outcome: () };
            let written = decision.keys();
            let Commit::Stale(found) = self.try_commit(decision).await? else { return Ok(Some(())) };
            match commit::changed_items(written, found).remove(&keys::idp(tenant)) {
                Some(found) => current = found.map(item::read).transpose()?,
                None => return Ok(None),
            }
            retries.pause().await?;
        }
    }

    /// Removes the IdP of the caller's tenant, if an active Administrator signs in without it.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn remove_idp(
        &self,
        admin: &AdminContext,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<IdpRemoved, StoreError> {
        let tenant = admin.tenant();
        let mut retries = Retries::of(attempt);
        loop {
            let [idp, administrators] = self.read_all([keys::idp(tenant), keys::administrators(tenant)]).await?;
            let administrators: Administrators = item::read(administrators.unwrap_or_default())?;
            let local = match (idp, administrators.local(None)) {
                (None, _) => return Ok(IdpRemoved::NotFound),
                (Some(_), None) => return Ok(IdpRemoved::Needed),
                (Some(_), Some(local)) => local,
            };
            let writes = removal(admin, local, attempt);
            let audit_row = Some(self.audit_row(tenant, attempt, 0, event)?);
            let decision = Decision { writes, audit_row, outcome: () };
            let written = decision.keys();
            let Commit::Stale(found) = self.try_commit(decision).await? else { return Ok(IdpRemoved::Done) };
            if commit::changed_items(written, found).contains_key(&keys::user(admin.key())) {
                return Ok(IdpRemoved::ActorRevoked);
            }
            retries.pause().await?;
        }
    }
}

/// Removes the IdP, on condition that `local` is still an active Administrator who signs in locally.
fn removal(admin: &AdminContext, local: &UserId, attempt: &Attempt) -> Vec<Write> {
    let tenant = admin.tenant();
    vec![
        Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
        Write::delete(keys::idp(tenant), vec![exists(attr("PK"))]),
        Write::update(keys::administrators(tenant), vec![is_local_admin(local)], vec![Action::Remove(attr("idp"))]),
    ]
}

/// The IdP as it replaces the current one, and the condition that the current one is still there.
fn in_place_of(current: Option<&CurrentIdp>, idp: &Idp) -> (Idp, Condition) {
    let mut idp = idp.clone();
    let Some(current) = current else { return (idp, absent(attr("PK"))) };
    if current.entity_id == idp.entity_id {
        idp.generation = current.generation;
    }
    let same = vec![eq(attr("e"), current.entity_id.as_str()), of_generation(current.generation)];
    (idp, Condition::All(same))
}

#[cfg(test)]
mod tests;
