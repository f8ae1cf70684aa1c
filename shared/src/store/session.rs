//! Sessions: authenticate the caller, and end sessions.

use std::collections::HashMap;

use super::{
    AttemptEvent, OperationError, Store, StoreError,
    commit::Audited,
    item,
    item::{CurrentIdp, Profile, Role, Session, User},
    keys,
    table::Retry,
    write::{Action, Condition, Item, Path, Write, absent, attr, eq, gt, lt, num, size},
};
use crate::{
    audit::AuditEvent,
    auth::session::end_sessions,
    env::Timestamp,
    id::{EntryId, TenantId, UserKey},
    policy,
    secret::{LoginKey, TokenClass, TokenRef},
    sign_in::Attempt,
};

pub use crate::auth::session::{EndRejection, SessionsToEnd, TokenRejection};

/// Why an operation of a signed-in caller was not done.
pub type SessionError = OperationError<TokenRejection>;

/// The signed-in caller, from one consistent read.
pub struct Principal {
    token: TokenRef,
    user: User,
    session: Session,
    idp: Option<CurrentIdp>,
}

impl Principal {
    /// The session's token.
    #[must_use]
    pub fn token(&self) -> &TokenRef {
        &self.token
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Principal {
    /// The tenant's IdP, from the same read.
    #[must_use]
    pub fn idp(&self) -> Option<&CurrentIdp> {
        self.idp.as_ref()
    }

    /// The user's login name, by its digest.
    #[must_use]
    pub fn login(&self) -> LoginKey {
        LoginKey::of(self.token.user().tenant(), &self.user.login_digest)
    }

    /// All valid sessions of the user.
    #[must_use]
    pub fn valid_sessions(&self, now: Timestamp) -> Vec<(&EntryId, &Session)> {
        let is_valid = |session: &Session| {
            session.security_version == self.user.security_version
                && session.is_valid(now)
                && session.is_idp_current(self.idp.as_ref())
        };
        self.user.sessions.iter().filter(|(_, session)| is_valid(session)).collect()
    }
}

/// Why a principal is not permitted to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role does not permit it.
    #[error("the role does not permit it")]
    Forbidden,
    /// The last step-up is too old (RFC 9470).
    #[error("the last step-up is too old")]
    StepUpRequired,
}

/// A caller with an administrative role and a fresh step-up, as loaded. Every administrative transaction checks again, as a
/// condition, that the session is valid and the security version is unchanged. A change of the role raises this version, so
/// nothing is written after the caller was demoted. The step-up is not checked again.
pub struct AdminContext(Principal);

impl AdminContext {
    /// The caller's key.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.0.token.user()
    }

    /// The caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.0.token.user().tenant()
    }

    /// The caller as loaded.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0
    }

    /// The conditions on the caller's own item: the session is valid, and the security version is the one that was loaded.
    pub(super) fn conditions(&self, now: Timestamp) -> Vec<Condition> {
        let mut conditions = session_is_valid(&self.0.token, now);
        conditions.push(eq(attr("ep"), self.0.user.security_version));
        conditions
    }

    /// The caller from `own`, the caller's item as it is now. `None` if the conditions of [`Self::conditions`] do not hold any
    /// more.
    pub(super) fn if_still_authorized(&self, own: Option<Item>, now: Timestamp) -> Result<Option<User>, StoreError> {
        let own: Option<User> = own.map(item::read).transpose()?;
        Ok(own.filter(|own| {
            own.session(&self.0.token, now).is_ok() && own.security_version == self.0.user.security_version
        }))
    }
}

/// A caller with a fresh step-up, or who has just signed in with a recovery token: they may replace their own factor.
pub struct FreshSession(Principal);

impl FreshSession {
    /// The caller as loaded.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

impl Principal {
    /// Accepts a caller with a fresh step-up, or with a recovery sign-in of the last ten minutes.
    ///
    /// # Errors
    /// [`Denied::StepUpRequired`]: the session has neither.
    pub fn fresh_or_recovering(self, now: Timestamp) -> Result<FreshSession, Denied> {
        if self.session.is_fresh_or_recovering(now) { Ok(FreshSession(self)) } else { Err(Denied::StepUpRequired) }
    }

    /// Accepts an Administrator of the tenant, or an operator in tenant `support`.
    ///
    /// # Errors
    /// [`Denied`]: the role is checked first, then the step-up.
    pub fn administrator(self, now: Timestamp) -> Result<AdminContext, Denied> {
        let permitted = self.administers();
        self.fresh(permitted, now)
    }

    /// Accepts an operator of support.
    ///
    /// # Errors
    /// [`Denied`]: the role is checked first, then the step-up.
    pub fn operator(self, now: Timestamp) -> Result<AdminContext, Denied> {
        let permitted = self.operates();
        self.fresh(permitted, now)
    }

    /// Whether the caller may read what only Administrators may see.
    #[must_use]
    pub fn administers(&self) -> bool {
        self.user.administers()
    }

    /// Whether the caller is an operator of support.
    #[must_use]
    pub fn operates(&self) -> bool {
        self.user.role == Role::Operator && self.token.user().tenant().is_support()
    }

    fn fresh(self, permitted: bool, now: Timestamp) -> Result<AdminContext, Denied> {
        match (permitted, self.session.is_fresh(now)) {
            (false, _) => Err(Denied::Forbidden),
            (true, false) => Err(Denied::StepUpRequired),
            (true, true) => Ok(AdminContext(self)),
        }
    }
}

impl Store {
    /// Authenticates a session token with one consistent read of the user and of the tenant's IdP, which may have changed since
    /// it opened the session. The last use is recorded at most once a minute, after the decision and without effect on it.
    ///
    /// # Errors
    /// [`SessionError`]: the token holds no valid session, or the store failed.
    pub async fn read_session(&self, token: &TokenRef, now: Timestamp) -> Result<Principal, SessionError> {
        if token.class() != TokenClass::Session {
            return Err(OperationError::Rejected(TokenRejection::Invalid));
        }
        let [user, idp] = self.read_all([keys::user(token.user()), keys::idp(token.user().tenant())]).await?;
        self.principal([user, idp], token, now).await
    }

    /// As [`Self::read_session`], from the items of the user and of the tenant's IdP as loaded.
    pub(super) async fn principal(
        &self,
        [user, idp]: [Option<Item>; 2],
        token: &TokenRef,
        now: Timestamp,
    ) -> Result<Principal, SessionError> {
        let Some(item) = user else { return Err(OperationError::Rejected(TokenRejection::Invalid)) };
        let mut user: User = item::read(item)?;
        user.forget_before(self.restore_epoch.since);
        let idp: Option<CurrentIdp> = idp.map(item::read).transpose()?;
        let session = match user.session(token, now) {
            Ok(session) if session.is_idp_current(idp.as_ref()) => session.clone(),
            Ok(_) => return Err(OperationError::Rejected(TokenRejection::Invalid)),
            Err(why) => return Err(OperationError::Rejected(why)),
        };
        if session.seen <= now - policy::LAST_SEEN_INTERVAL {
            let at = || entry(token);
            let touch = Write::note(
                keys::user(token.user()),
                vec![lt(at().key("l"), now.secs()), eq(at().key("e"), attr("ep"))],
                vec![Action::Set(at().key("l"), num(now.secs()))],
            );
            if let Err(error) = self.table.update(&touch, Retry::Never).await {
                tracing::warn!(%error, "the last use of a session was not recorded");
            }
        }
        Ok(Principal { token: token.clone(), user, session, idp })
    }

    /// As [`Self::read_session`], with the user's names, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`]: the token holds no valid session, or the store failed.
    pub async fn read_named_session(
        &self,
        token: &TokenRef,
        now: Timestamp,
    ) -> Result<(Principal, Profile), SessionError> {
        if token.class() != TokenClass::Session {
            return Err(OperationError::Rejected(TokenRejection::Invalid));
        }
        let who = token.user();
        let wanted = [keys::user(who), keys::idp(who.tenant()), keys::profile(who)];
        let [user, idp, profile] = self.read_all(wanted).await?;
        let principal = self.principal([user, idp], token, now).await?;
        let profile = profile.ok_or_else(|| StoreError::Corrupt("a user has no profile".into()))?;
        Ok((principal, item::read(profile)?))
    }

    /// A user's names.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Contended`] if the user was deleted meanwhile.
    pub async fn read_profile(&self, who: &UserKey) -> Result<Profile, StoreError> {
        let [found] = self.read_all([keys::profile(who)]).await?;
        item::read(found.ok_or_else(|| StoreError::Contended("the user was deleted meanwhile".into()))?)
    }

    /// The user agents that opened the caller's sessions, from the audit rows of the sign-ins.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn user_agents(&self, caller: &Principal) -> Result<HashMap<EntryId, String>, StoreError> {
        let who = caller.token.user();
        let shard = crate::audit::shard(who.user());
        let (ids, rows): (Vec<_>, Vec<_>) = caller
            .user
            .sessions
            .iter()
            .map(|(id, session)| (id.clone(), super::sign_in_row_key(who.tenant(), session, shard)))
            .unzip();
        let rows = self.table.read(&rows).await?;
        let agent = |row: Option<Item>| -> Option<String> { item::read::<AuditEvent>(row?).ok()?.user_agent };
        Ok(ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, agent(row)?))).collect())
    }

    /// Ends sessions of the caller, whose own session must be valid.
    ///
    /// # Errors
    /// [`EndRejection`]: the caller's own session ended meanwhile, or there is no such session. If the store failed, it may or
    /// may not have happened.
    pub async fn end_sessions(
        &self,
        caller: &Principal,
        which: &SessionsToEnd,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), OperationError<EndRejection>> {
        let token = &caller.token;
        let audited = Audited { attempt, which: AttemptEvent::Outcome, event };
        let decide = |user: &mut User| Ok(((), end_sessions(user, token, which, attempt.at()).map(|()| Vec::new())?));
        self.commit_user(token.user(), caller.user.clone(), audited, TokenRejection::Invalid.into(), decide).await
    }
}

fn entry(token: &TokenRef) -> Path {
    attr("s").key(token.id().as_str().to_owned())
}

/// The conditions that a session is valid: those of [`User::session`].
pub(super) fn session_is_valid(token: &TokenRef, now: Timestamp) -> Vec<Condition> {
    let attempts = || entry(token).key("p");
    let mut conditions = session_in_time(token, now);
    conditions.push(Condition::Any(vec![absent(attempts()), lt(attempts(), policy::MAX_ATTEMPTS)]));
    conditions
}

/// The conditions of [`User::session_in_time`]: as [`session_is_valid`], but the attempts at the current password may be
/// used up.
pub(super) fn session_in_time(token: &TokenRef, now: Timestamp) -> Vec<Condition> {
    let at = || entry(token);
    vec![
        eq(attr("ac"), true),
        eq(at().key("g"), token.verifier().bytes()),
        eq(at().key("e"), attr("ep")),
        gt(at().key("x"), now.secs()),
        super::write::le(at().key("x"), (now + policy::SESSION_LIFE + policy::SKEW).secs()),
        gt(at().key("l"), (now - policy::SESSION_IDLE).secs()),
    ]
}

/// The condition that a map has room for one more entry.
pub(super) fn room(map: &'static str, most: usize) -> Condition {
    lt(size(attr(map)), i64::try_from(most).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        env::SystemEntropy,
        secret::NewToken,
        store::{
            fixture::{Ann, NOW, STEP, ann, decided},
            write,
        },
    };

    async fn two_sessions() -> (Ann, TokenRef, TokenRef) {
        let (ann, challenges) = ann(2).await;
        let first = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let second = ann.with_step(&challenges[1], STEP + 1, NOW).await.unwrap().reference().clone();
        (ann, first, second)
    }

    async fn why(ann: &Ann, token: &TokenRef, at: Timestamp) -> Option<TokenRejection> {
        decided(ann.store.read_session(token, at).await).err()
    }

    async fn end(ann: &Ann, token: &TokenRef, which: &SessionsToEnd) -> Result<(), EndRejection> {
        let caller = ann.store.read_session(token, NOW).await.unwrap();
        let attempt = Attempt::begin(NOW, &SystemEntropy).unwrap();
        decided(ann.store.end_sessions(&caller, which, &attempt, &ann.event()).await)
    }

    #[tokio::test]
    async fn session_ends_after_twelve_hours_or_thirty_idle_minutes() {
        let (ann, first, second) = two_sessions().await;
        let mut at = NOW;
        while at < NOW + policy::SESSION_LIFE - Duration::from_secs(1700) {
            assert_eq!(why(&ann, &first, at).await, None, "{at}");
            at = at + Duration::from_secs(1700);
        }
        assert_eq!(why(&ann, &first, NOW + policy::SESSION_LIFE).await, Some(TokenRejection::Invalid));
        assert_eq!(why(&ann, &second, NOW + policy::SESSION_IDLE).await, Some(TokenRejection::Invalid));
    }

    #[tokio::test]
    async fn raised_security_version_requires_refresh_and_deactivation_is_not_explained() {
        let (ann, first, _) = two_sessions().await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert_eq!(why(&ann, &first, NOW).await, Some(TokenRejection::RefreshRequired));
        ann.change(Action::Set(attr("ac"), write::Value::Bool(false))).await;
        assert_eq!(why(&ann, &first, NOW).await, Some(TokenRejection::Invalid));
    }

    #[tokio::test]
    async fn unknown_token_is_no_session() {
        let (ann, first, _) = two_sessions().await;
        for class in [TokenClass::Challenge, TokenClass::Session] {
            let other =
                NewToken::generate(class, &ann.key, crate::secret::RestoreEpoch::default(), &SystemEntropy).unwrap();
            assert_eq!(why(&ann, other.reference(), NOW).await, Some(TokenRejection::Invalid));
        }
        assert_eq!(why(&ann, &first, NOW).await, None);
    }

    #[tokio::test]
    async fn ended_session_is_invalid_immediately() {
        let (ann, first, second) = two_sessions().await;
        assert_eq!(end(&ann, &first, &SessionsToEnd::One(second.id().clone())).await, Ok(()));
        assert_eq!(why(&ann, &second, NOW).await, Some(TokenRejection::Invalid));
        assert_eq!(end(&ann, &first, &SessionsToEnd::One(second.id().clone())).await, Err(EndRejection::NoSuchSession));
        assert_eq!(end(&ann, &first, &SessionsToEnd::This).await, Ok(()));
        assert_eq!(why(&ann, &first, NOW).await, Some(TokenRejection::Invalid));
    }

    #[tokio::test]
    async fn ending_other_sessions_keeps_current_one() {
        let (ann, first, second) = two_sessions().await;
        assert_eq!(end(&ann, &first, &SessionsToEnd::Others).await, Ok(()));
        assert_eq!(why(&ann, &first, NOW).await, None);
        assert_eq!(why(&ann, &second, NOW).await, Some(TokenRejection::Invalid));
    }

    #[tokio::test]
    async fn ended_session_cannot_end_others() {
        let (ann, first, second) = two_sessions().await;
        let caller = ann.store.read_session(&first, NOW).await.unwrap();
        assert_eq!(end(&ann, &second, &SessionsToEnd::One(first.id().clone())).await, Ok(()));
        let attempt = Attempt::begin(NOW, &SystemEntropy).unwrap();
        for which in [SessionsToEnd::This, SessionsToEnd::One(second.id().clone()), SessionsToEnd::Others] {
            let ended = ann.store.end_sessions(&caller, &which, &attempt, &ann.event()).await;
            assert_eq!(decided(ended), Err(TokenRejection::Invalid.into()), "{which:?}");
        }
        assert_eq!(why(&ann, &second, NOW).await, None);
    }
}
