//! `POST /v1/verify` and `POST /v1/step-up`: check a code of the authenticator app, or a recovery token.

mod check;
mod page;
mod step_up;
mod verify;

use utoipa_axum::routes;
use vestibule::http::Routes;

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(verify::verify)).routes(routes!(step_up::step_up)).merge(page::routes())
}
