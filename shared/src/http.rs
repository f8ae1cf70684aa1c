//! The HTTP layer that every flow shares: what a request has to look like, who is asking, and how an answer is finished.
//!
//! A flow is a set of [`Routes`]; [`serve`] finishes them into a router, for the local runner and for Lambda alike. A
//! handler takes a [`Call`], whose form is right by then, and gives an [`Answer`].

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

mod call;
pub mod dto;
mod finish;
mod form;
mod openapi;
mod principal;
mod problem;

pub use call::{Call, Peer, Request};
pub use finish::{closed, serve, unreadable};
pub use form::{Body, FormBody, Large, Limit, Line, NoBody, OrEmpty, Page};
pub use openapi::document;
pub use problem::{Answer, Code, Problem};

use crate::{
    env::{Clock, Entropy},
    password::Passwords,
    secret::{DigestKeys, Sealer},
    store::Store,
};

/// What a handler works with.
pub struct App {
    /// The commands.
    pub store: Store,
    /// Read by the layer: handlers take [`Request::now`].
    pub clock: Arc<dyn Clock>,
    /// Randomness for tokens, secrets and attempts.
    pub entropy: Arc<dyn Entropy>,
    /// Keeps authenticators' secrets.
    pub sealer: Arc<dyn Sealer>,
    /// Digest names, codes and tickets.
    pub digests: Arc<DigestKeys>,
    /// Hashes and checks passwords.
    pub passwords: Arc<Passwords>,
}

/// The endpoints of a flow, with their description: built with `utoipa_axum::routes!`.
pub type Routes = OpenApiRouter<Arc<App>>;

#[cfg(test)]
mod tests;
