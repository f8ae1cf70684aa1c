//! The directory of a tenant: its users, settings, client credentials and audit; and the caller's own password.

use vestibule::http::Routes;

mod audit;
mod clients;
mod page;
mod password;
mod settings;
mod users;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    [users::routes(), password::routes(), audit::routes(), settings::routes(), clients::routes(), page::routes()]
        .into_iter()
        .fold(Routes::new(), Routes::merge)
}
