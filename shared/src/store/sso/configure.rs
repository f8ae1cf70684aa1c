//! The configuration of a tenant's IdP.

use super::has_generation;
use crate::{
    audit::AuditEvent,
    id::{TenantId, UserId},
    sign_in::Attempt,
    store::{
        ActorRevoked, AttemptEvent, OperationError, Store, StoreError,
        administrators::is_local_admin,
        commit::Retries,
        item::{self, Administrators, CurrentIdp, Idp},
        keys,
        session::AdminContext,
        table::{Transacted, Transaction},
        write::{Action, Condition, Value, Write, absent, attr, eq, exists},
    },
};

/// Why a tenant's IdP is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemovalRejection {
    /// The tenant has no IdP.
    #[error("the tenant has no identity provider")]
    NotFound,
    /// Every active Administrator signs in through the IdP.
    #[error("every active Administrator signs in through the identity provider")]
    Needed,
    /// The caller lost the right to do it.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// The IdP of a tenant.
pub enum TenantIdp {
    /// There is no such tenant.
    NoTenant,
    /// The tenant has no IdP.
    NoIdp,
    /// The tenant has this IdP.
    Configured(Idp),
}

impl TenantIdp {
    /// The IdP, if the tenant has one.
    #[must_use]
    pub fn configured(self) -> Option<Idp> {
        match self {
            Self::NoTenant | Self::NoIdp => None,
            Self::Configured(idp) => Some(idp),
        }
    }
}

impl Store {
    /// Reads a tenant's IdP.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn idp(&self, tenant: &TenantId) -> Result<TenantIdp, StoreError> {
        let [policy, idp] = self.read_all([keys::tenant(tenant), keys::idp(tenant)]).await?;
        Ok(match (policy, idp) {
            (None, _) => TenantIdp::NoTenant,
            (Some(_), None) => TenantIdp::NoIdp,
            (Some(_), Some(idp)) => TenantIdp::Configured(item::read(idp)?),
        })
    }

    /// Configures the IdP of the caller's tenant, or replaces it. If the entity id stays the same, the IdP keeps its generation,
    /// so the sessions of its users stay valid.
    ///
    /// # Errors
    /// [`ActorRevoked`], or a failure of the store; then the change may be committed nevertheless.
    pub async fn set_idp(
        &self,
        admin: &AdminContext,
        idp: &Idp,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), OperationError<ActorRevoked>> {
        let tenant = admin.tenant();
        let mut current = admin.principal().idp().cloned();
        let mut retries = Retries::of(attempt);
        loop {
            let (idp, condition) = replacement_for(current.as_ref(), idp);
            let writes = vec![
                Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
                Write { condition, ..Write::put(keys::idp(tenant), item::write(&idp)?) },
                Write::update(
                    keys::administrators(tenant),
                    vec![exists(attr("PK"))],
                    vec![Action::Set(attr("idp"), Value::Bool(true))],
                ),
            ];
            let audit_row = self.audit_row(tenant, attempt, AttemptEvent::Outcome, event)?;
            let mut unmet = match self.table.transact(&Transaction::new(writes, audit_row)).await? {
                Transacted::Committed => return Ok(()),
                Transacted::Refused(unmet) => unmet,
            };
            match unmet.remove(&keys::idp(tenant)) {
                Some(found) => current = found.map(item::read).transpose()?,
                None => return Err(OperationError::Rejected(ActorRevoked)),
            }
            retries.pause().await?;
        }
    }

    /// Removes the IdP of the caller's tenant, if at least one active Administrator signs in locally.
    ///
    /// # Errors
    /// [`RemovalRejection`], or a failure of the store; then the change may be committed nevertheless.
    pub async fn remove_idp(
        &self,
        admin: &AdminContext,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), OperationError<RemovalRejection>> {
        let tenant = admin.tenant();
        let mut retries = Retries::of(attempt);
        loop {
            let [idp, administrators] = self.read_all([keys::idp(tenant), keys::administrators(tenant)]).await?;
            let administrators: Administrators = item::read(administrators.unwrap_or_default())?;
            idp.ok_or(OperationError::Rejected(RemovalRejection::NotFound))?;
            let local = administrators.local(None).ok_or(OperationError::Rejected(RemovalRejection::Needed))?;
            let writes = removal(admin, local, attempt);
            let audit_row = self.audit_row(tenant, attempt, AttemptEvent::Outcome, event)?;
            match self.table.transact(&Transaction::new(writes, audit_row)).await? {
                Transacted::Committed => return Ok(()),
                Transacted::Refused(unmet) if unmet.contains_key(&keys::user(admin.key())) => {
                    return Err(OperationError::Rejected(RemovalRejection::ActorRevoked));
                }
                Transacted::Refused(_) => retries.pause().await?,
            }
        }
    }
}

/// The writes that remove the IdP. Condition: `local` is still an active Administrator who signs in locally.
fn removal(admin: &AdminContext, local: &UserId, attempt: &Attempt) -> Vec<Write> {
    let tenant = admin.tenant();
    vec![
        Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
        Write::delete(keys::idp(tenant), vec![exists(attr("PK"))]),
        Write::update(keys::administrators(tenant), vec![is_local_admin(local)], vec![Action::Remove(attr("idp"))]),
    ]
}

/// The IdP to store in place of the current one, and the condition that the current one did not change.
fn replacement_for(current: Option<&CurrentIdp>, idp: &Idp) -> (Idp, Condition) {
    let mut idp = idp.clone();
    let Some(current) = current else { return (idp, absent(attr("PK"))) };
    if current.entity_id == idp.entity_id {
        idp.generation = current.generation;
    }
    let same = vec![eq(attr("e"), current.entity_id.as_str()), has_generation(current.generation)];
    (idp, Condition::All(same))
}

#[cfg(test)]
mod tests;
