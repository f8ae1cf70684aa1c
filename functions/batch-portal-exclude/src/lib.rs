//! `/v1/admin/portal-exclusions`: exclude contacts from MFA, or include them again, up to 1,000 in one request. The page
//! `/admin/exclusions` does the same.

mod get;
mod list;
mod page;
mod report;
mod run;

use utoipa_axum::routes;
use vestibule::http::Routes;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(run::run, list::list)).routes(routes!(get::get)).merge(page::routes())
}
