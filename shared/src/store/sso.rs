//! Sign-in through a tenant's IdP: the configuration of the IdP, the requests to it, and its assertions.

mod configure;
mod request;
mod sign_in;

pub use configure::{RemovalRejection, TenantIdp};
pub use request::{LoadedRequest, REQUEST_LIFE};
pub use sign_in::{NoOwner, OpeningRejection, SsoOpened, SsoSession};
pub(super) use sign_in::{linked, still_configured};

use super::write::{Condition, absent, attr, eq, exists};
pub use crate::auth::sso_sign_in::SubjectRejection;
use crate::secret::Nonce;

/// Condition: the IdP is configured and has this generation.
fn has_generation(generation: Option<Nonce>) -> Condition {
    let same = generation.map_or_else(|| absent(attr("gn")), |generation| eq(attr("gn"), generation.bytes()));
    Condition::All(vec![exists(attr("PK")), same])
}
