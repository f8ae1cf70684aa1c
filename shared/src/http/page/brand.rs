//! What the pages of a tenant show instead of the name and the colour of Vestibule.

use axum::http::Uri;

use super::asset::{accent_path, logo_path};
use crate::{
    domain::TenantPolicy,
    http::{App, call::Request},
    id::TenantId,
    secret::TokenClass,
};

/// The look of a tenant's pages.
#[derive(Debug, Clone)]
pub(super) struct Brand {
    /// The name of the service.
    pub(super) name: String,
    /// The path of the stylesheet with the colour.
    pub(super) style: Option<String>,
    /// The path of the logo.
    pub(super) logo: Option<String>,
}

impl Brand {
    /// The brand of the tenant that a request is about. Everyone can see it, so there is none until an Administrator sets a
    /// colour or a logo: a page does not show whether there is a tenant that has neither.
    pub(super) async fn of(app: &App, uri: &Uri, request: &Request) -> Option<Self> {
        let tenant = tenant(uri, request)?;
        let policy = app.store.settings(&tenant).await;
        let policy = policy.inspect_err(|error| tracing::warn!(%error, "a page is shown without its brand"));
        policy.ok().flatten().and_then(|policy| Self::in_policy(&tenant, policy))
    }

    fn in_policy(tenant: &TenantId, policy: TenantPolicy) -> Option<Self> {
        let (style, logo) = (policy.accent.map(accent_path), policy.logo.map(|digest| logo_path(tenant, &digest)));
        let brand = Self { name: policy.issuer, style, logo };
        (brand.style.is_some() || brand.logo.is_some()).then_some(brand)
    }
}

/// The tenant of the sign-in that goes on, of the session, of the link to the sign-in page, or of the last sign-in.
fn tenant(uri: &Uri, request: &Request) -> Option<TenantId> {
    use TokenClass::{Challenge, Device, Enrolment, Mail, Session};
    let of_token = |class| request.token(class).ok().map(|token| token.user().tenant().clone());
    let in_query = || {
        let named = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("tenant="))?;
        TenantId::parse(named).ok()
    };
    let signed_in = [Challenge, Enrolment, Session].into_iter().find_map(of_token);
    signed_in.or_else(in_query).or_else(|| [Mail, Device].into_iter().find_map(of_token))
}
