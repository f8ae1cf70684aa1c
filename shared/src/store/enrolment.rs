//! Enrolment of an authenticator app: starts it, counts a code, and confirms it.

use tokio::join;

use super::{
    AttemptEvent, OperationError, Store, StoreError,
    administrators::mark_admin_with_mfa,
    commit::Audited,
    item,
    item::{CurrentIdp, Profile, TenantPolicy},
    keys, session,
    table::{Retry, Updated},
    verify::login_token_is_valid,
    write::{self, Action, Condition, Item, Write, attr, eq, gt, lt, ne},
};
pub use crate::auth::enroll::{
    ConfirmedEnrolment, EnrolmentChanged, EnrolmentPermit, EnrolmentRejection, EnrolmentToken, PendingConfirmation,
};
use crate::{
    audit::AuditEvent,
    auth::{enroll, session::TokenRejection},
    domain::User,
    env::Timestamp,
    policy,
    secret::{CodeDigest, Nonce, SealedSecret},
    sign_in::{Attempt, SignedIn},
};

/// Why an enrolment may not be started or confirmed.
pub type EnrolmentError = OperationError<EnrolmentRejection>;

/// Why a step of an enrolment was not done although it was allowed.
pub type EnrolmentCommitError = OperationError<EnrolmentChanged>;

impl Store {
    /// Checks whether a user may start an enrolment. The write that compares the reset code also counts a wrong one. A right
    /// code is not counted, so that the user can start again with it.
    ///
    /// # Errors
    /// [`EnrolmentError`]: a rule of [`enroll::check_start`] rejects it, or the tenant's IdP changed.
    pub async fn authorize_enrolment(
        &self,
        token: EnrolmentToken,
        reset_code: Option<CodeDigest>,
        attempt: &Attempt,
    ) -> Result<EnrolmentPermit, EnrolmentError> {
        let now = attempt.at();
        let given = reset_code.filter(|_| matches!(token, EnrolmentToken::Enrolment(_)));
        let (user, [profile, policy, idp]) = self.load_enrolment(&token, given.as_ref(), now).await?;
        let user = user.ok_or(OperationError::Rejected(EnrolmentRejection::InvalidToken))?;
        let user: User = item::read(user)?;
        let idp: Option<CurrentIdp> = idp.map(item::read).transpose()?;
        enroll::check_idp(&user, &token, idp.as_ref()).map_err(|why| OperationError::Rejected(why.into()))?;
        enroll::check_start(&user, &token, given.as_ref(), now).map_err(OperationError::Rejected)?;
        let missing = || StoreError::Corrupt("the profile of a user or the item of its tenant is missing".into());
        let profile: Profile = item::read(profile.ok_or_else(missing)?)?;
        let policy: TenantPolicy = item::read(policy.ok_or_else(missing)?)?;
        Ok(EnrolmentPermit { token, user, profile, policy })
    }

    /// Loads the user, and then the profile, the tenant and the IdP in this order. It takes one round trip, and a wrong reset
    /// code is counted in the same round trip.
    async fn load_enrolment(
        &self,
        token: &EnrolmentToken,
        given: Option<&CodeDigest>,
        now: Timestamp,
    ) -> Result<(Option<Item>, [Option<Item>; 3]), StoreError> {
        let key = token.key();
        let [profile, tenant, idp] = [keys::profile(key), keys::tenant(key.tenant()), keys::idp(key.tenant())];
        let Some(given) = given else {
            let [user, rest @ ..] = self.read_all([keys::user(key), profile, tenant, idp]).await?;
            return Ok((user, rest));
        };
        // The conditions refuse this write if the code is right, or if the user has no reset code. A refused write also
        // returns the item.
        let charge = charge_wrong_code(token, given, now);
        let (charged, rest) =
            join!(self.table.update(&charge, Retry::Idempotent), self.read_all([profile, tenant, idp]));
        let (Updated::Written(user) | Updated::Refused(user)) = charged?;
        Ok((user, rest?))
    }

    /// Stores the sealed secret as the user's pending enrolment. It replaces an older one. Returns when the pending enrolment
    /// ends.
    ///
    /// # Errors
    /// [`EnrolmentCommitError`]: the token is no longer valid, the user changed, or the store failed. Do not show the secret.
    pub async fn begin_enrolment(
        &self,
        start: EnrolmentPermit,
        factor: Nonce,
        secret: SealedSecret,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Timestamp, EnrolmentCommitError> {
        let now = attempt.at();
        let pending = start.pending(factor, secret, now);
        let EnrolmentPermit { token, user, .. } = start;
        let audited = Audited { attempt, which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| Ok(((), enroll::begin(user, &token, &pending, now).map(|()| Vec::new())?));
        self.commit_user(token.key(), user, audited, TokenRejection::Invalid.into(), decide).await?;
        Ok(pending.ends)
    }

    /// Counts one of the five attempts of the pending enrolment, before the code is checked, and returns the sealed secret.
    ///
    /// # Errors
    /// [`EnrolmentError`]: the token is not valid, no enrolment is pending, or the reset code changed. Do not check the code.
    pub async fn charge_confirmation(
        &self,
        token: EnrolmentToken,
        attempt: Attempt,
    ) -> Result<PendingConfirmation, EnrolmentError> {
        let now = attempt.at();
        let write = charge_code(&token, now);
        let idp = self.read_all([keys::idp(token.key().tenant())]);
        let (charged, idp) = join!(self.table.update(&write, Retry::Idempotent), idp);
        let [idp] = idp?;
        let charged = charged?;
        let counted = matches!(charged, Updated::Written(_));
        let (Updated::Written(found) | Updated::Refused(found)) = charged;
        let found = found.ok_or(OperationError::Rejected(EnrolmentRejection::InvalidToken))?;
        let user: User = item::read(found)?;
        let idp: Option<CurrentIdp> = idp.map(item::read).transpose()?;
        enroll::check_idp(&user, &token, idp.as_ref()).map_err(|why| OperationError::Rejected(why.into()))?;
        if !counted {
            let why = enroll::check_confirmation(&user, &token, now).err();
            return Err(OperationError::Rejected(why.unwrap_or(EnrolmentRejection::NonePending)));
        }
        let pending = user.pending.clone();
        let pending = pending
            .ok_or_else(|| StoreError::Corrupt("the item of the charged user has no pending enrolment".into()))?;
        if !pending.is_reset_code_current(&user) {
            return Err(OperationError::Rejected(EnrolmentRejection::ResetCode));
        }
        Ok(PendingConfirmation { token, user, pending, attempt, restore_epoch: self.restore_epoch })
    }

    /// Makes the pending factor the active one and opens a session, in one transaction (docs/security.md 22).
    ///
    /// # Errors
    /// [`EnrolmentCommitError`]: another request used the code or the user changed, or the store failed and the transaction may be
    /// committed nevertheless.
    pub async fn confirm_enrolment(
        &self,
        confirmed: ConfirmedEnrolment,
        event: &AuditEvent,
    ) -> Result<SignedIn, EnrolmentCommitError> {
        let (key, user) = (confirmed.key(), confirmed.charged_user().clone());
        let audited = Audited { attempt: confirmed.attempt(), which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| {
            let new_device = confirmed.apply(user)?;
            let mark = || Write::update(keys::administrators(key.tenant()), vec![], vec![mark_admin_with_mfa(key)]);
            Ok((new_device, user.administers().then(mark).into_iter().collect()))
        };
        let new_device = self.commit_user(key, user, audited, EnrolmentChanged::Stale, decide).await?;
        Ok(confirmed.signed_in(new_device))
    }
}

/// The rules of [`enroll::check_token`] as conditions of a write.
fn valid(token: &EnrolmentToken, now: Timestamp) -> Vec<Condition> {
    match token {
        EnrolmentToken::Enrolment(token) => login_token_is_valid("e", token, policy::ENROLMENT_LIFE, now),
        EnrolmentToken::Session(token) => session::session_is_valid(token, now),
    }
}

/// Counts a wrong reset code. Conditions: the token is valid, the user's reset code has attempts and time left, and it differs
/// from the given code.
fn charge_wrong_code(token: &EnrolmentToken, given: &CodeDigest, now: Timestamp) -> Write {
    let at = |name: &'static str| attr("rc").key(name);
    let mut conditions = valid(token, now);
    conditions.extend([ne(at("h"), given.bytes()), lt(at("n"), policy::MAX_ATTEMPTS), gt(at("x"), now.millis())]);
    Write::update(keys::user(token.key()), conditions, vec![Action::Add(at("n"), 1)])
}

/// Counts a code for the pending enrolment. Conditions: the rules of [`enroll::check_confirmation`].
fn charge_code(token: &EnrolmentToken, now: Timestamp) -> Write {
    let at = |name: &'static str| attr("pe").key(name);
    let longest = (now + policy::ENROLMENT_LIFE + policy::SKEW).millis();
    let mut conditions = valid(token, now);
    conditions.extend([
        eq(at("by"), token.reference().id().as_str()),
        gt(at("x"), now.millis()),
        write::le(at("x"), longest),
        lt(at("n"), policy::MAX_ATTEMPTS),
    ]);
    Write::update(keys::user(token.key()), conditions, vec![Action::Add(at("n"), 1)])
}

#[cfg(test)]
mod tests;
