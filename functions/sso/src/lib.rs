//! `/v1/sso` and `/v1/admin/sso`: people who come from their organisation's IdP enrol once (product.md P11).

mod acs;
mod configuration;
mod cookies;
mod limiter;
mod provisioning;
mod start;

use vestibule::http::Routes;

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    start::routes().merge(acs::routes()).merge(configuration::routes())
}
