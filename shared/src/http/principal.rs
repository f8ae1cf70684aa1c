//! Authentication and authorization of the caller: token, role and fresh step-up, checked in this order.

use super::{
    App,
    call::Request,
    problem::{ApiResult, Code, Problem},
};
use crate::{
    audit::{AuditAction, AuditEvent, Outcome},
    id::UserKey,
    secret::TokenClass,
    store::{
        AttemptEvent,
        item::Profile,
        session::{AdminContext, Denied, Principal},
    },
};

impl Request {
    /// The signed-in caller.
    ///
    /// # Errors
    /// `invalid_token`, `session_refresh_required`, `unavailable`.
    pub async fn principal(&self, app: &App) -> ApiResult<Principal> {
        let token = self.token(TokenClass::Session)?;
        Ok(app.store.read_session(token, self.now).await?)
    }

    /// As [`Self::principal`], with the caller's names.
    ///
    /// # Errors
    /// Those of [`Self::principal`].
    pub async fn named_principal(&self, app: &App) -> ApiResult<(Principal, Profile)> {
        let token = self.token(TokenClass::Session)?;
        Ok(app.store.read_named_session(token, self.now).await?)
    }

    /// The caller as an Administrator with a fresh step-up, for changes.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`, then `step_up_required`.
    pub async fn administrator(&self, app: &App) -> ApiResult<AdminContext> {
        self.may_administer(app, self.principal(app).await?).await
    }

    /// Like [`Self::administrator`], for a principal that was already read.
    ///
    /// # Errors
    /// `forbidden`, then `step_up_required`.
    pub async fn may_administer(&self, app: &App, principal: Principal) -> ApiResult<AdminContext> {
        let key = principal.token().user().clone();
        self.authorized(app, &key, principal.administrator(self.now)).await
    }

    /// The caller as an Administrator, for reading. No step-up is needed.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`.
    pub async fn administrator_reading(&self, app: &App) -> ApiResult<Principal> {
        let principal = self.principal(app).await?;
        self.may_read(app, &principal).await?;
        Ok(principal)
    }

    /// Like [`Self::administrator_reading`], for a principal that was already read.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn may_read(&self, app: &App, principal: &Principal) -> ApiResult<()> {
        let permission = if principal.administers() { Ok(()) } else { Err(Denied::Forbidden) };
        self.authorized(app, principal.token().user(), permission).await
    }

    /// The caller as an operator of support with a fresh step-up.
    ///
    /// # Errors
    /// Those of [`Self::administrator`].
    pub async fn operator(&self, app: &App) -> ApiResult<AdminContext> {
        self.may_operate(app, self.principal(app).await?).await
    }

    /// Like [`Self::operator`], for a principal that was already read.
    ///
    /// # Errors
    /// `forbidden`, then `step_up_required`.
    pub async fn may_operate(&self, app: &App, principal: Principal) -> ApiResult<AdminContext> {
        let key = principal.token().user().clone();
        self.authorized(app, &key, principal.operator(self.now)).await
    }

    /// Checks that a principal that was already read is an operator of support, for reading. No step-up is needed.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn may_look_up(&self, app: &App, principal: &Principal) -> ApiResult<()> {
        let permission = if principal.operates() { Ok(()) } else { Err(Denied::Forbidden) };
        self.authorized(app, principal.token().user(), permission).await
    }

    /// Why a change was refused whose caller lost the permission while it ran: the same problem that the caller's next
    /// request would get.
    pub async fn no_longer(&self, app: &App) -> Problem {
        self.principal(app).await.err().unwrap_or_else(|| Code::InvalidToken.into())
    }

    /// Records that an administrative change was refused for its content, and returns the reason (security.md 54).
    pub async fn refused(
        &self,
        app: &App,
        by: &AdminContext,
        mut event: AuditEvent,
        why: impl Into<Problem>,
    ) -> Problem {
        event.outcome = Outcome::Refused;
        event.notify.clear();
        match self.attempt(app) {
            Ok(attempt) => app.store.record(by.tenant(), &attempt, AttemptEvent::Outcome, &event).await,
            Err(problem) => return problem,
        }
        why.into()
    }

    /// Records every administrative request that is refused for the caller's role (security.md 54).
    async fn authorized<T>(&self, app: &App, key: &UserKey, permission: Result<T, Denied>) -> ApiResult<T> {
        if matches!(permission, Err(Denied::Forbidden)) {
            let event = self.event(AuditAction::Forbidden, Outcome::Refused).own(key.user());
            app.store.record(key.tenant(), &self.attempt(app)?, AttemptEvent::Outcome, &event).await;
        }
        Ok(permission?)
    }
}
