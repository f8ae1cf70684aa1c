//! `/v1/session`, `/v1/sessions` and `/v1/introspect`: what somebody is signed in with, and what a portal may know of it.

use vestibule::http::Routes;

mod introspect;
mod sessions;

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    sessions::routes().merge(introspect::routes())
}
