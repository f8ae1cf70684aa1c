//! `/v1/support`: operators create, look up and help tenants.

use vestibule::http::Routes;

mod lookups;
mod resets;
mod tenants;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    resets::routes().merge(tenants::routes()).merge(lookups::routes())
}
