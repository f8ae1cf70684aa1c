//! `/v1/support`: what operators do for tenants.

use vestibule::http::Routes;

mod lookups;
mod resets;
mod tenants;

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    resets::routes().merge(tenants::routes()).merge(lookups::routes())
}
