//! `/v1/session` and `/v1/sessions`: the caller's own sessions; `/v1/introspect`: what a portal may know of a session.

use vestibule::http::Routes;

mod introspect;
mod page;
mod sessions;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    sessions::routes().merge(introspect::routes()).merge(page::routes())
}
