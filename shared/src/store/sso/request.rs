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
    /// The request; `None` if there is none, or it ended or was answered.
    pub request: Option<SsoRequest>,
}

/// How long a request waits for its response.
pub const REQUEST_LIFE: std::time::Duration = PreSession::LIFE;

impl SsoRequest {
    /// A request that is sent now, requires no step-up and belongs to no browser.
    #[must_use]
    pub fn new(return_to: String, now: Timestamp) -> Self {
        Self { ends: (now + REQUEST_LIFE).millis(), return_to, step_up: false, pre_session: None }
    }

    fn in_time(&self, now: Timestamp) -> bool {
        let longest = (now + REQUEST_LIFE + policy::SKEW).millis();
        self.ends > now.millis() && self.ends <= longest
    }
}

impl Store {
    /// Stores a request to the IdP until it is answered.
    ///
    /// # Errors
    /// [`StoreError`]: do not redirect the browser to the IdP.
    pub async fn open_request(&self, tenant: &TenantId, relay: &Relay, request: &SsoRequest) -> Result<(), StoreError> {
        let mut fields = item::write(request)?;
        fields.insert("ttl".to_owned(), num((Timestamp::from_millis(request.ends) + policy::SKEW).secs()));
        let actions = fields.into_iter().map(|(name, value)| Action::Set(attr(name), value)).collect();
        let write = Write::update(keys::sso_request(tenant, relay), vec![absent(attr("PK"))], actions);
        match self.table.update(&write, Retry::Idempotent).await? {
            // Refused: the item has this request's random name, so an earlier reply was lost.
            Updated::Written(_) | Updated::Refused(_) => Ok(()),
        }
    }

    /// Reads what an assertion is checked against: the tenant's IdP, and the request that the assertion may answer. `None`: the
    /// tenant does not exist or has no IdP.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_request(
        &self,
        tenant: &TenantId,
        relay: Option<&Relay>,
        now: Timestamp,
    ) -> Result<Option<LoadedRequest>, StoreError> {
        let wanted: Vec<_> =
            [keys::idp(tenant)].into_iter().chain(relay.map(|relay| keys::sso_request(tenant, relay))).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        let Some(idp) = found.next().flatten() else { return Ok(None) };
        let request: Option<SsoRequest> = found.next().flatten().map(item::read).transpose()?;
        let request = request.filter(|request| request.in_time(now));
        Ok(Some(LoadedRequest { idp: item::read(idp)?, request }))
    }
}

#[cfg(test)]
mod tests;
