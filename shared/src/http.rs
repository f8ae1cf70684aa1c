//! The HTTP layer that all flows share: the form of requests, authentication, and the common parts of responses.
//!
//! A flow is a set of [`Routes`]. [`serve`] turns them into a router, for the local server and for Lambda. A handler
//! takes an [`ApiRequest`], whose form was checked, and returns an [`ApiResult`].

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

mod call;
pub mod dto;
mod examples;
mod finish;
mod form;
mod mails;
mod openapi;
pub mod page;
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
    mail_order::MailQueue,
    password::Passwords,
    secret::{CodeKey, NameKey, Sealer},
    sso::{PublicUrl, ServiceProvider},
    store::Store,
};

/// The state that handlers use. Each flow gets only the keys it needs.
pub struct App {
    /// The store.
    pub store: Store,
    /// The clock. Handlers of requests use [`Request::now`]; only the HTTP layer and the operators' commands read it.
    pub clock: Arc<dyn Clock>,
    /// Randomness for tokens, secrets and attempts.
    pub entropy: Arc<dyn Entropy>,
    /// Seals the secrets of authenticator apps; for verify and enable-mfa.
    pub sealer: Option<Arc<dyn Sealer>>,
    /// Digests login names, NameIDs and tickets. Seals the signing keys of tenants for SAML, and lists of users to import.
    pub names: Option<Arc<NameKey>>,
    /// Digests recovery tokens and reset codes.
    pub codes: Option<Arc<CodeKey>>,
    /// Hashes and checks passwords.
    pub passwords: Arc<Passwords>,
    /// The public address of the service, if it is configured.
    pub public_url: Option<PublicUrl>,
    /// The queue of the worker that sends mails with tokens, if mails are configured.
    pub mails: Option<Arc<dyn MailQueue>>,
}

impl App {
    /// The sealer of authenticator secrets.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the flow has no sealer.
    pub fn sealer(&self) -> ApiResult<&dyn Sealer> {
        required(self.sealer.as_deref(), "sealing")
    }

    /// The key under which login names, NameIDs and tickets are digested, and SAML signing keys and lists of users sealed.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the flow does not have this key.
    pub fn names(&self) -> ApiResult<&NameKey> {
        required(self.names.as_deref(), "names")
    }

    /// This service as the service provider of a tenant.
    ///
    /// # Errors
    /// [`Code::NotFound`] if no public address is configured: then there is no sign-in by an IdP, which is not an error
    /// of the service.
    pub fn service_provider(&self, tenant: &TenantId) -> ApiResult<ServiceProvider> {
        let url = self.public_url.as_ref().ok_or(Code::NotFound)?;
        Ok(ServiceProvider::new(url, tenant))
    }

    /// The key for digests of recovery tokens and reset codes, in the store's restore epoch.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the flow does not have this key.
    pub fn codes(&self) -> ApiResult<CodeKey> {
        Ok(required(self.codes.as_deref(), "codes")?.at(self.store.restore_epoch()))
    }
}

fn required<'a, T: ?Sized>(found: Option<&'a T>, key: &str) -> ApiResult<&'a T> {
    found.ok_or_else(|| {
        tracing::error!(key, "denied: this flow does not have a key that it needs");
        Code::Unavailable.into()
    })
}

/// The endpoints of a flow with their API description, built with `utoipa_axum::routes!`.
pub type Routes = OpenApiRouter<Arc<App>>;

#[cfg(test)]
mod tests;
