//! Who is asking: token, role and freshness, in this order.

use super::{
    App,
    call::Request,
    problem::{Answer, Code},
};
use crate::{
    secret::TokenClass,
    store::session::{Authority, Principal},
};

impl Request {
    /// Whoever is signed in.
    ///
    /// # Errors
    /// `invalid_token`, `session_refresh_required`, `unavailable`.
    pub async fn principal(&self, app: &App) -> Answer<Principal> {
        let token = self.token(TokenClass::Session)?;
        Ok(app.store.read_session(token, self.now).await??)
    }

    /// An Administrator with a fresh step-up: for changes.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`, then `step_up_required`.
    pub async fn administrator(&self, app: &App) -> Answer<Authority> {
        Ok(self.principal(app).await?.administrator(self.now)?)
    }

    /// An Administrator, for reading.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`.
    pub async fn administrator_reading(&self, app: &App) -> Answer<Principal> {
        let principal = self.principal(app).await?;
        if principal.administers() { Ok(principal) } else { Err(Code::Forbidden.into()) }
    }

    /// An operator of support with a fresh step-up.
    ///
    /// # Errors
    /// As [`Self::administrator`].
    pub async fn operator(&self, app: &App) -> Answer<Authority> {
        Ok(self.principal(app).await?.operator(self.now)?)
    }
}
