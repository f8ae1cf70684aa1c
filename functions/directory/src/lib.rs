//! The directory: a tenant's people, settings, clients and audit, and one's own password.

use vestibule::http::Routes;

mod audit;
mod clients;
mod password;
mod settings;
mod users;

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    [users::routes(), password::routes(), audit::routes(), settings::routes(), clients::routes()]
        .into_iter()
        .fold(Routes::new(), Routes::merge)
}
