//! `/v1/support`: operators create, look up and help tenants. The page `/support` looks up and helps.

use vestibule::http::Routes;

mod lookups;
mod page;
mod resets;
mod tenants;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    resets::routes().merge(tenants::routes()).merge(lookups::routes()).merge(page::routes())
}
