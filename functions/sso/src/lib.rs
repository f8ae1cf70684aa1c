//! `/v1/sso` and `/v1/admin/sso`: sign-in through the tenant's identity provider (IdP), by SAML 2.0 (product.md P11).

mod acs;
mod configuration;
mod limiter;
mod provisioning;
mod start;

use vestibule::http::Routes;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    start::routes().merge(acs::routes()).merge(configuration::routes())
}
