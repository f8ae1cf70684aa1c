//! Requests to a tenant's IdP.

use crate::{
    env::Timestamp,
    id::TenantId,
    policy,
    sso::{PreSession, Relay},
    store::{
        Store, StoreError,
        item::{self, Idp, SsoRequest},
        keys,
        table::{Retry, Updated},
        write::{Action, Write, absent, attr, num},
    },
};

/// A tenant's IdP, and the request that an assertion may answer.
pub struct LoadedRequest {
    /// The IdP.
    pub idp: Idp,
    /// The request. `None`: it does not exist, it expired, or it was answered.
    pub request: Option<SsoRequest>,
}

/// Lifetime of a request that is not answered: 15 minutes.
pub const REQUEST_LIFE: std::time::Duration = PreSession::LIFE;

impl SsoRequest {
    /// A request that starts now, requires no step-up and is not bound to a browser.
    #[must_use]
    pub fn new(return_to: String, now: Timestamp) -> Self {
        Self { ends: now + REQUEST_LIFE, return_to, step_up: false, pre_session: None }
    }

    /// Whether the request has not expired. An end too far in the future came from a clock that ran ahead.
    fn is_in_time(&self, now: Timestamp) -> bool {
        self.ends > now && self.ends <= now + REQUEST_LIFE + policy::SKEW
    }
}

impl Store {
    /// Stores a request to the IdP until it is answered or expires.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed. Do not redirect the browser to the IdP.
    pub async fn open_request(&self, tenant: &TenantId, relay: &Relay, request: &SsoRequest) -> Result<(), StoreError> {
        let mut fields = item::write(request)?;
        fields.insert("ttl".to_owned(), num((request.ends + policy::SKEW).secs()));
        let actions = fields.into_iter().map(|(name, value)| Action::Set(attr(name), value)).collect();
        let write = Write::update(keys::sso_request(tenant, relay), vec![absent(attr("PK"))], actions);
        match self.table.update(&write, Retry::Idempotent).await? {
            // A refused write means that the item exists. Its key is random, so this request wrote it, and the reply was lost.
            Updated::Written(_) | Updated::Refused(_) => Ok(()),
        }
    }

    /// Loads the tenant's IdP and the request that an assertion may answer. `None`: the tenant does not exist or has no IdP.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt. Reject the assertion.
    pub async fn load_request(
        &self,
        tenant: &TenantId,
        relay: Option<&Relay>,
        now: Timestamp,
    ) -> Result<Option<LoadedRequest>, StoreError> {
        let keys: Vec<_> =
            [keys::idp(tenant)].into_iter().chain(relay.map(|relay| keys::sso_request(tenant, relay))).collect();
        let mut found = self.table.read(&keys).await?.into_iter();
        let Some(idp) = found.next().flatten() else { return Ok(None) };
        let request: Option<SsoRequest> = found.next().flatten().map(item::read).transpose()?;
        let request = request.filter(|request| request.is_in_time(now));
        Ok(Some(LoadedRequest { idp: item::read(idp)?, request }))
    }
}

#[cfg(test)]
mod tests;
