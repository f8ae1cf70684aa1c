//! The OpenAPI 3.1 document: what the routes say of themselves, and what all of them have in common.

use utoipa::openapi::OpenApi;

use super::Routes;

/// The document of some routes.
#[must_use]
pub fn document(routes: Routes) -> OpenApi {
    routes.into_openapi()
}
