//! Who is asking: token, role and freshness, in this order.

use super::{
    App,
    call::Request,
    problem::{ApiResult, Code, Problem},
};
use crate::{
    audit::{Action, AuditEvent, Notify, Outcome},
    id::UserKey,
    policy,
    secret::TokenClass,
    sign_in::{Attempt, PasswordAttempt},
    store::session::{AdminContext, Denied, Principal},
};

impl Request {
    /// Whoever is signed in.
    ///
    /// # Errors
    /// `invalid_token`, `session_refresh_required`, `unavailable`.
    pub async fn principal(&self, app: &App) -> ApiResult<Principal> {
        let token = self.token(TokenClass::Session)?;
        Ok(app.store.read_session(token, self.now).await??)
    }

    /// An Administrator with a fresh step-up: for changes.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`, then `step_up_required`.
    pub async fn administrator(&self, app: &App) -> ApiResult<AdminContext> {
        self.may_administer(app, self.principal(app).await?).await
    }

    /// As [`Self::administrator`], for somebody who was read already.
    ///
    /// # Errors
    /// `forbidden`, then `step_up_required`.
    pub async fn may_administer(&self, app: &App, principal: Principal) -> ApiResult<AdminContext> {
        let key = principal.token().user().clone();
        self.told(app, &key, principal.administrator(self.now)).await
    }

    /// An Administrator, for reading.
    ///
    /// # Errors
    /// Those of [`Self::principal`], then `forbidden`.
    pub async fn administrator_reading(&self, app: &App) -> ApiResult<Principal> {
        let principal = self.principal(app).await?;
        self.may_read(app, &principal).await?;
        Ok(principal)
    }

    /// As [`Self::administrator_reading`], for somebody who was read already.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn may_read(&self, app: &App, principal: &Principal) -> ApiResult<()> {
        let may = if principal.administers() { Ok(()) } else { Err(Denied::Forbidden) };
        self.told(app, principal.token().user(), may).await
    }

    /// An operator of support with a fresh step-up.
    ///
    /// # Errors
    /// As [`Self::administrator`].
    pub async fn operator(&self, app: &App) -> ApiResult<AdminContext> {
        self.may_operate(app, self.principal(app).await?).await
    }

    /// As [`Self::operator`], for somebody who was read already.
    ///
    /// # Errors
    /// `forbidden`, then `step_up_required`.
    pub async fn may_operate(&self, app: &App, principal: Principal) -> ApiResult<AdminContext> {
        let key = principal.token().user().clone();
        self.told(app, &key, principal.operator(self.now)).await
    }

    /// An operator of support, for reading: no step-up is asked for. For somebody who was read already.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn may_look_up(&self, app: &App, principal: &Principal) -> ApiResult<()> {
        let may = if principal.operates() { Ok(()) } else { Err(Denied::Forbidden) };
        self.told(app, principal.token().user(), may).await
    }

    /// Writes down that a password was wrong, and tells of a row of them: of five once a day, of a hundred as an attack. Alike
    /// at every door where a password is tried.
    pub async fn wrong_password(
        &self,
        app: &App,
        password_attempt: &PasswordAttempt,
        attempt: &Attempt,
        mut event: AuditEvent,
    ) -> Problem {
        let tenant = password_attempt.login().tenant();
        app.store.record(tenant, attempt, 0, &event).await;
        let told = app.store.notify_failures(password_attempt).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed passwords were not told of");
            false
        });
        if told {
            event.action = Action::LoginDelayed;
            app.store.record(tenant, attempt, 1, &event.clone().tell(Notify::User)).await;
        }
        if password_attempt.failures() == policy::ATTACK_FAILURES {
            event.action = Action::LoginAttacked;
            app.store.record(tenant, attempt, 2, &event.tell(Notify::User).tell(Notify::Administrators)).await;
        }
        Code::InvalidCredentials.into()
    }

    /// Why an act was refused whose caller lost the right under it: what their next request would be told.
    pub async fn no_longer(&self, app: &App) -> Problem {
        self.principal(app).await.err().unwrap_or_else(|| Code::InvalidToken.into())
    }

    /// Writes down that an administrative act was refused for what it was, and answers why (security.md 54).
    pub async fn refused(
        &self,
        app: &App,
        by: &AdminContext,
        mut event: AuditEvent,
        why: impl Into<Problem>,
    ) -> Problem {
        event.outcome = Outcome::Refused;
        event.tell.clear();
        match self.attempt(app) {
            Ok(attempt) => app.store.record(by.tenant(), &attempt, 0, &event).await,
            Err(problem) => return problem,
        }
        why.into()
    }

    /// Every refused administrative act is written down (security.md 54).
    async fn told<T>(&self, app: &App, key: &UserKey, may: Result<T, Denied>) -> ApiResult<T> {
        if matches!(may, Err(Denied::Forbidden)) {
            let event = self.event(Action::Forbidden, Outcome::Refused).own(key.user());
            app.store.record(key.tenant(), &self.attempt(app)?, 0, &event).await;
        }
        Ok(may?)
    }
}
