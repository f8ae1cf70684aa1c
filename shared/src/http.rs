//! The HTTP layer that every flow shares: what a request has to look like, who is asking, and how an answer is finished.
//!
//! A flow is a set of [`Routes`]; [`serve`] finishes them into a router, for the local runner and for Lambda alike. A
//! handler takes a [`ApiRequest`], whose form is right by then, and gives an [`ApiResult`].

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

mod call;
pub mod dto;
mod examples;
mod finish;
mod form;
mod openapi;
mod principal;
mod problem;

pub use call::{ApiRequest, Peer, Request};
pub use finish::{always, serve, unreadable};
pub use form::{Body, FormBody, Large, LargeForm, Limit, Line, NoBody, OrEmpty, Page, cursor};
pub use openapi::document;
pub use problem::{ApiResult, Code, PASSWORD_TOO_LONG, Problem};

use crate::{
    env::{Clock, Entropy},
    id::TenantId,
    password::Passwords,
    secret::{CodeKey, NameKey, Sealer},
    sso::{PublicUrl, ServiceProvider},
    store::Store,
};

/// What a handler works with. A flow is given the keys that it needs, and no other.
pub struct App {
    /// The commands.
    pub store: Store,
    /// Read by the layer: handlers take [`Request::now`].
    pub clock: Arc<dyn Clock>,
    /// Randomness for tokens, secrets and attempts.
    pub entropy: Arc<dyn Entropy>,
    /// Keeps authenticators' secrets: of verify and enable-mfa.
    pub sealer: Option<Arc<dyn Sealer>>,
    /// Digests login names and tickets.
    pub names: Option<Arc<NameKey>>,
    /// Digests recovery tokens and reset codes.
    pub codes: Option<Arc<CodeKey>>,
    /// Hashes and checks passwords.
    pub passwords: Arc<Passwords>,
    /// Where people reach the service: of sso, if it is configured.
    pub public_url: Option<PublicUrl>,
}

impl App {
    /// Keeps authenticators' secrets.
    ///
    /// # Errors
    /// [`Code::Unavailable`] in a flow that was not given it.
    pub fn sealer(&self) -> ApiResult<&dyn Sealer> {
        given(self.sealer.as_deref(), "sealing")
    }

    /// Digests login names and tickets.
    ///
    /// # Errors
    /// [`Code::Unavailable`] in a flow that was not given the key.
    pub fn names(&self) -> ApiResult<&NameKey> {
        given(self.names.as_deref(), "names")
    }

    /// This service as a tenant's IdP knows it.
    ///
    /// # Errors
    /// [`Code::NotFound`] where it was not said where people reach it: then nobody signs in by an IdP, which is no fault.
    pub fn service_provider(&self, tenant: &TenantId) -> ApiResult<ServiceProvider> {
        let url = self.public_url.as_ref().ok_or(Code::NotFound)?;
        Ok(ServiceProvider::new(url, tenant))
    }

    /// Digests recovery tokens and reset codes, in the store's restore epoch.
    ///
    /// # Errors
    /// [`Code::Unavailable`] in a flow that was not given the key.
    pub fn codes(&self) -> ApiResult<CodeKey> {
        Ok(given(self.codes.as_deref(), "codes")?.at(self.store.restored()))
    }
}

fn given<'a, T: ?Sized>(found: Option<&'a T>, key: &str) -> ApiResult<&'a T> {
    found.ok_or_else(|| {
        tracing::error!(key, "denied: this flow was not given what it needs");
        Code::Unavailable.into()
    })
}

/// The endpoints of a flow, with their description: built with `utoipa_axum::routes!`.
pub type Routes = OpenApiRouter<Arc<App>>;

#[cfg(test)]
mod tests;
