//! Resets of a user's MFA: by an Administrator of the tenant, or by support for a sole Administrator.

use super::{
    AttemptEvent, OperationError, OperatorEvents, Store, StoreError, budget,
    commit::{self, Retries},
    item,
    item::{Administrators, LoginRow, Profile, ResetBudget, TenantPolicy},
    keys,
    session::{AdminContext, Principal, SessionError},
    table::{Transacted, Transaction},
    users::Actor,
    verify::remove_admin_with_mfa,
    write::{self, Action, Condition, Item, Key, Write, attr, eq, exists, num, size},
};
pub use crate::auth::reset_mfa::NotSoleAdministrator;
use crate::{
    audit::{self, AuditEvent, Notify},
    auth::reset_mfa::{ResetKind, check_sole_administrator, reset_mfa, reset_sole_administrator},
    domain::User,
    env::Timestamp,
    id::{TenantId, UserId, UserKey},
    policy::Budget,
    secret::{CodeDigest, LoginKey, TokenRef},
    sign_in::Attempt,
};

/// Why an Administrator did not reset a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MfaResetRejection {
    /// There is no such user in this tenant.
    #[error("there is no such user")]
    NotFound,
    /// An Administrator may not reset themselves.
    #[error("an Administrator cannot reset themselves")]
    SelfReset,
    /// Too many resets in the last hour.
    #[error("too many resets in the last hour")]
    OverBudget {
        /// When the next one is possible.
        retry_at: Timestamp,
    },
    /// The caller's session ended, or the caller's role changed meanwhile.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why an Administrator did not reset a user. If the store failed, the reset may have been committed, and a repeat is safe.
pub type MfaResetError = OperationError<MfaResetRejection>;

/// Why support did not reset a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SupportResetRejection {
    /// There is no such tenant, or no such user in it.
    #[error("there is no such user")]
    NotFound,
    /// The ticket was used before.
    #[error("the ticket was used before")]
    TicketUsed,
    /// An operator may not reset themselves.
    #[error("an operator cannot reset themselves")]
    SelfReset,
    /// Support resets only a sole Administrator.
    #[error(transparent)]
    NotSoleAdministrator(#[from] NotSoleAdministrator),
    /// The operator's session ended, or the operator's role changed meanwhile.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why support did not reset a user. If the store failed, the reset may have been committed, and a repeat needs a new ticket.
pub type SupportResetError = OperationError<SupportResetRejection>;

/// A user who was reset and must enrol again.
#[derive(Clone)]
pub struct ResetUser {
    /// Tenant and id.
    pub key: UserKey,
    /// The user after the reset. Enrolment may need the reset code that the caller gave.
    pub user: User,
    /// Login name, display name and e-mail address.
    pub profile: Profile,
    /// Until when the user can enrol.
    pub enrol_by: Timestamp,
}

/// The target of a reset, as the read that identified the caller found it.
pub struct ResetTarget {
    key: UserKey,
    /// `None`: there is no such user.
    loaded: Option<Loaded>,
}

impl ResetTarget {
    /// Tenant and id of the user to reset, whether or not there is such a user.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }
}

/// A user, and what else decides about a reset.
struct Loaded {
    user: User,
    profile: Profile,
    policy: TenantPolicy,
    /// The tenant's resets in the last hour. `None` if the tenant never had one.
    budget: Option<ResetBudget>,
}

/// A decided reset.
struct Decided {
    kind: ResetKind,
    user: User,
    writes: Vec<Write>,
}

/// The target of a support reset, as the last read found it.
pub struct SupportResetTarget {
    login: LoginKey,
    ticket: String,
    /// The user who has the login name. `None`: there is no such tenant or user.
    owner: Option<UserKey>,
    ticket_used: bool,
}

/// A user whom support may reset if they are the sole Administrator.
struct LoadedOwner {
    key: UserKey,
    user: User,
    profile: Profile,
    administrators: Administrators,
}

/// Makes the digest of the reset code for the user who has the login name. Another user can have it at a retry.
type DigestCode<'a> = &'a (dyn Fn(&UserKey) -> CodeDigest + Sync);

impl Store {
    /// Identifies the caller and reads the user to reset, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`]: the caller has no valid session, or the store failed.
    pub async fn load_reset(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<(Principal, ResetTarget), SessionError> {
        let key = token.user().tenant().user(target);
        let [own, target @ ..] = reset_keys(token.user(), &key);
        let [user, profile, policy, budget] = target;
        let wanted = [own, keys::idp(key.tenant()), user, profile, policy, budget];
        let [own, idp, target @ ..] = self.read_all(wanted).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok((principal, ResetTarget { key, loaded: Loaded::read(target)? }))
    }

    /// Resets a user of the caller's tenant, and counts the reset (docs/security.md 37, 38). A repeat before the user has
    /// enrolled only renews the reset code and is not counted. `code` is the digest of the new reset code for this user.
    ///
    /// # Errors
    /// [`MfaResetError`]: the user does not exist or is the caller, the budget of resets is used up, or the caller lost the right
    /// meanwhile.
    pub async fn reset_mfa(
        &self,
        admin: &AdminContext,
        target: ResetTarget,
        code: CodeDigest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<ResetUser, MfaResetError> {
        let rejected = OperationError::Rejected;
        let ResetTarget { key, mut loaded } = target;
        if key == *admin.key() {
            return Err(rejected(MfaResetRejection::SelfReset));
        }
        let mut actor = admin.principal().user().clone();
        let mut retries = Retries::of(attempt);
        loop {
            let target = loaded.ok_or(rejected(MfaResetRejection::NotFound))?;
            let decided = target.decide(&key, admin, &actor, code, attempt.at())?;
            let reset = ResetUser::new(&key, decided.user, target.profile)?;
            if decided.kind == ResetKind::Unchanged {
                return Ok(reset);
            }
            let event = reset_event(event, decided.kind, &reset.user);
            let audit_row = self.audit_row(key.tenant(), attempt, AttemptEvent::Outcome, &event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(decided.writes, audit_row)).await? {
                return Ok(reset);
            }
            retries.pause().await?;
            let [own, target @ ..] = self.read_all(reset_keys(admin.key(), &key)).await?;
            let own = admin.if_still_authorized(own, attempt.at())?;
            actor = own.ok_or(rejected(MfaResetRejection::ActorRevoked))?;
            loaded = Loaded::read(target)?;
        }
    }

    /// Identifies the operator of a support reset, and reads the login name, the tenant and the ticket, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`]: the operator has no valid session, or the store failed.
    pub async fn load_support_reset(
        &self,
        token: &TokenRef,
        login: LoginKey,
        ticket: String,
        now: Timestamp,
    ) -> Result<(Principal, SupportResetTarget), SessionError> {
        let [own, idp] = [keys::user(token.user()), keys::idp(token.user().tenant())];
        let [name, tenant, row] = support_keys(&login, &ticket);
        let [own, idp, target @ ..] = self.read_all([own, idp, name, tenant, row]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok((principal, SupportResetTarget::read(login, ticket, target)?))
    }

    /// Reads the login name, the tenant and the ticket of a support reset that is made with the operators' command line tool.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed; deny the reset.
    pub async fn load_support_reset_by_name(
        &self,
        login: LoginKey,
        ticket: String,
    ) -> Result<SupportResetTarget, StoreError> {
        let target = self.read_all(support_keys(&login, &ticket)).await?;
        SupportResetTarget::read(login, ticket, target)
    }

    /// Resets a sole Administrator who is locked out, for a ticket (docs/product.md P9).
    ///
    /// # Errors
    /// [`SupportResetError`]: there is no such user, the ticket was used, the user is the operator or no sole Administrator, or
    /// the operator lost the right meanwhile.
    pub async fn reset_sole_administrator(
        &self,
        actor: &Actor<'_>,
        mut target: SupportResetTarget,
        code: DigestCode<'_>,
        attempt: &Attempt,
        events: &OperatorEvents<'_>,
    ) -> Result<ResetUser, SupportResetError> {
        let now = attempt.at();
        let mut retries = Retries::of(attempt);
        loop {
            let LoadedOwner { key, user: loaded, profile, administrators } =
                self.load_owner_for(actor, &target).await?;
            let sole = check_sole_administrator(&administrators, key.user());
            sole.map_err(|why| OperationError::Rejected(why.into()))?;
            let mut user = loaded.clone();
            reset_sole_administrator(&mut user, code(&key), now);
            let mut writes = vec![
                Write::put_new(keys::ticket(&target.ticket), used_ticket(actor, &key, now)),
                remove_sole_admin_with_mfa(&key),
                commit::update(&key, &loaded, &user)?,
                self.audit_row(&TenantId::support(), attempt, AttemptEvent::InSupport, events.in_support)?,
            ];
            writes.extend(actor.check(now));
            let in_tenant = events.in_tenant.clone().about(key.user());
            let audit_row = self.audit_row(key.tenant(), attempt, AttemptEvent::Outcome, &in_tenant)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, audit_row)).await? {
                return ResetUser::new(&key, user, profile).map_err(OperationError::Store);
            }
            retries.pause().await?;
            target = self.load_support_reset_by_name(target.login, target.ticket).await?;
            if let Actor::AdminContext(operator) = actor {
                let [own] = self.read_all([keys::user(operator.key())]).await?;
                let own = operator.if_still_authorized(own, now)?;
                own.ok_or(OperationError::Rejected(SupportResetRejection::ActorRevoked))?;
            }
        }
    }

    /// Reads the user who has the login name, and the tenant's Administrators.
    async fn load_owner_for(
        &self,
        actor: &Actor<'_>,
        target: &SupportResetTarget,
    ) -> Result<LoadedOwner, SupportResetError> {
        let rejected = OperationError::Rejected;
        let key = target.owner.clone().ok_or(rejected(SupportResetRejection::NotFound))?;
        if target.ticket_used {
            return Err(rejected(SupportResetRejection::TicketUsed));
        }
        if matches!(actor, Actor::AdminContext(operator) if key == *operator.key()) {
            return Err(rejected(SupportResetRejection::SelfReset));
        }
        let wanted = [keys::user(&key), keys::profile(&key), keys::administrators(key.tenant())];
        let [user, profile, administrators] = self.read_all(wanted).await?;
        let (Some(user), Some(profile)) = (user, profile) else {
            return Err(rejected(SupportResetRejection::NotFound));
        };
        let administrators = item::read(administrators.unwrap_or_default())?;
        Ok(LoadedOwner { key, user: item::read(user)?, profile: item::read(profile)?, administrators })
    }
}

impl Loaded {
    /// Reads the items after the first of [`reset_keys`]. `None`: there is no such user.
    fn read([user, profile, policy, budget]: [Option<Item>; 4]) -> Result<Option<Self>, StoreError> {
        let (Some(user), Some(profile), Some(policy)) = (user, profile, policy) else { return Ok(None) };
        let budget = budget.map(item::read).transpose()?;
        let (user, profile, policy) = (item::read(user)?, item::read(profile)?, item::read(policy)?);
        Ok(Some(Self { user, profile, policy, budget }))
    }

    fn decide(
        &self,
        key: &UserKey,
        admin: &AdminContext,
        actor: &User,
        code: CodeDigest,
        now: Timestamp,
    ) -> Result<Decided, MfaResetError> {
        let mut user = self.user.clone();
        let kind = reset_mfa(&mut user, self.policy.reset_code_for, code, now);
        let mut writes = match kind {
            ResetKind::Unchanged => return Ok(Decided { kind, user, writes: Vec::new() }),
            ResetKind::CodeRenewed => vec![Write::check(keys::user(admin.key()), admin.conditions(now))],
            ResetKind::Reset => charge_budgets(admin, actor, self.budget.as_ref(), now)?,
        };
        if kind == ResetKind::Reset {
            writes.extend(remove_admin_with_mfa(key, &self.user));
        }
        writes.push(commit::update(key, &self.user, &user)?);
        Ok(Decided { kind, user, writes })
    }
}

impl SupportResetTarget {
    /// Reads the items of [`support_keys`].
    fn read(login: LoginKey, ticket: String, [name, tenant, used]: [Option<Item>; 3]) -> Result<Self, StoreError> {
        let name: LoginRow = item::read(name.unwrap_or_default())?;
        let owner = name.uid.filter(|_| tenant.is_some()).map(|user| login.tenant().user(user));
        Ok(Self { login, ticket, owner, ticket_used: used.is_some() })
    }
}

impl ResetUser {
    fn new(key: &UserKey, user: User, profile: Profile) -> Result<Self, StoreError> {
        let missing = || StoreError::Corrupt("a user who was reset has no time to enrol".into());
        let enrol_by = user.enrol_by.ok_or_else(missing)?;
        Ok(Self { key: key.clone(), user, profile, enrol_by })
    }
}

fn reset_keys(actor: &UserKey, target: &UserKey) -> [Key; 5] {
    let tenant = target.tenant();
    let profile = keys::profile(target);
    [keys::user(actor), keys::user(target), profile, keys::tenant(tenant), keys::reset_budget(tenant)]
}

fn support_keys(login: &LoginKey, ticket: &str) -> [Key; 3] {
    [keys::login(login), keys::tenant(login.tenant()), keys::ticket(ticket)]
}

/// The event of a reset. If an Administrator is reset, the other Administrators get a mail: otherwise an attacker who causes
/// a reset could take over an Administrator's account unnoticed.
fn reset_event(event: &AuditEvent, kind: ResetKind, user: &User) -> AuditEvent {
    let mut event = event.clone();
    if kind == ResetKind::CodeRenewed {
        event.action = audit::AuditAction::ResetCodeRenewed;
    } else if user.administers() {
        event = event.notify(Notify::Administrators);
    }
    event
}

/// Counts a reset against the budgets of the Administrator and of the tenant, on condition that the caller is still an
/// Administrator.
fn charge_budgets(
    admin: &AdminContext,
    actor: &User,
    budget: Option<&ResetBudget>,
    now: Timestamp,
) -> Result<Vec<Write>, MfaResetError> {
    let own = budget::take(&attr("rb"), Some(&actor.resets), Budget::OWN_RESETS, now);
    let all = budget::take(&attr("w"), budget.map(|it| it.resets.as_slice()), Budget::TENANT_RESETS, now);
    let ((own, count_own), (all, count_all)) = match (own, all) {
        (Ok(own), Ok(all)) => (own, all),
        (own, all) => {
            let retry_at = own.err().max(all.err()).unwrap_or(now);
            return Err(OperationError::Rejected(MfaResetRejection::OverBudget { retry_at }));
        }
    };
    let mut conditions = admin.conditions(now);
    conditions.extend(own);
    Ok(vec![
        Write::update(keys::user(admin.key()), conditions, vec![count_own]),
        Write::update(keys::reset_budget(admin.tenant()), all, vec![count_all]),
    ])
}

/// Removes a sole Administrator from those who have a factor, on condition that no other is among them. That the user is still
/// an active Administrator follows from the version of their item, which a change of role or activity raises.
fn remove_sole_admin_with_mfa(key: &UserKey) -> Write {
    let own = attr("able").key(key.user().as_str().to_owned());
    let alone = Condition::All(vec![eq(size(attr("able")), 1), exists(own.clone())]);
    let nobody_else = Condition::Any(vec![eq(size(attr("able")), 0), alone]);
    Write::update(keys::administrators(key.tenant()), vec![nobody_else], vec![Action::Remove(own)])
}

fn used_ticket(actor: &Actor<'_>, target: &UserKey, now: Timestamp) -> Item {
    let text = |id: &dyn std::fmt::Display| write::text(id.to_string());
    let mut used = Item::from([
        ("t".to_owned(), text(target.tenant())),
        ("u".to_owned(), text(target.user())),
        ("at".to_owned(), num(now.millis())),
    ]);
    if let Actor::AdminContext(operator) = actor {
        used.insert("by".to_owned(), text(operator.key().user()));
    }
    used
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::{
        auth::{session::TokenRejection, verify_code::VerificationRejection},
        domain::{Device, Factor, PasswordVersion, SecurityVersion},
        env::SystemEntropy,
        id::{LoginName, TenantId},
        policy::{self, Backoff},
        recovery::{RecoveryToken, ResetCode},
        secret::{NewToken, Nonce, RestoreEpoch, TokenClass},
        sign_in::{PasswordChecked, VerifiedPassword},
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt, authenticator, decided, person},
            item::{Kind, LoginRow, Role},
        },
    };

    fn key(tenant: &str, user: &str) -> UserKey {
        TenantId::parse(tenant).unwrap().user(UserId::parse(user).unwrap())
    }

    fn nonce() -> Nonce {
        Nonce::generate(&SystemEntropy).unwrap()
    }

    async fn admin(ann: &Ann, token: &crate::secret::TokenRef, at: Timestamp) -> AdminContext {
        let principal = ann.store.read_session(token, at).await.unwrap();
        principal.administrator(at).ok().unwrap()
    }

    /// Ann, signed in as an Administrator, and Bob, who has a factor.
    async fn admin_and_bob() -> (Ann, AdminContext, UserKey) {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let bob = key("acme", "u-bob");
        let user = User {
            factor: Factor::Active(authenticator()),
            consecutive_failures: 7,
            ..person(Kind::Employee, Role::Standard, nonce())
        };
        ann.add(&bob, &user).await;
        let admin = admin(&ann, session.reference(), NOW).await;
        (ann, admin, bob)
    }

    async fn reset(
        ann: &Ann,
        admin: &AdminContext,
        target: &UserKey,
        at: Timestamp,
    ) -> Result<ResetUser, MfaResetRejection> {
        let code = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, target);
        let [_, found @ ..] = ann.store.read_all(reset_keys(admin.key(), target)).await.unwrap();
        let target = ResetTarget { key: target.clone(), loaded: Loaded::read(found).unwrap() };
        decided(ann.store.reset_mfa(admin, target, code, &attempt(at), &ann.event()).await)
    }

    /// What Bob and somebody who knows his password hold before the reset.
    struct Held {
        login: LoginKey,
        session: TokenRef,
        device: TokenRef,
        /// Opened with Bob's password.
        challenge: TokenRef,
    }

    /// Gives Bob a password, a recovery token, a known device, a session and an open challenge.
    async fn holding(ann: &Ann, bob: &UserKey) -> Held {
        let login = ann.names.login(bob.tenant(), &LoginName::fold("bob"));
        let (hash, uid) = (ann.hash(PASSWORD).await.as_str().to_owned(), bob.user().clone());
        let row =
            LoginRow { uid: Some(uid), hash: Some(hash), version: Some(PasswordVersion(1)), ..LoginRow::default() };
        ann.put(Write::put_new(keys::login(&login), item::write(&row).unwrap())).await;
        let device = NewToken::generate(TokenClass::Device, bob, RestoreEpoch::default(), &SystemEntropy).unwrap();
        let device = device.reference().clone();
        let (verifier, ends) = (*device.verifier(), NOW + policy::DEVICE_LIFE);
        let known = Device { verifier, ends, attempts: 0, last: NOW, attempt: None };
        let recovery_token = RecoveryToken::generate(&SystemEntropy).unwrap().digest(&ann.codes, bob);
        let given = vec![
            Action::Set(attr("lh"), write::text(login.digest())),
            Action::Set(attr("d").key(device.id().as_str().to_owned()), item::value(&known).unwrap()),
            Action::Set(attr("rk"), write::bytes(recovery_token.bytes())),
            Action::Set(attr("rkt"), num(NOW.secs())),
        ];
        ann.put(Write::update(keys::user(bob), vec![], given)).await;
        let session = ann.session_of(bob).await;
        let verified = with_password(ann, &login, &device).await;
        assert!(verified.password_attempt().device.is_some() && verified.user().factor.recovery_token().is_some());
        let (challenge, _) = ann.opened(verified, "10.0.0").await.ok().unwrap();
        Held { login, session, device, challenge: challenge.reference().clone() }
    }

    /// Somebody signs in with Bob's password, from his device.
    async fn with_password(ann: &Ann, login: &LoginKey, device: &TokenRef) -> VerifiedPassword {
        let charged = ann.store.charge_login(login, Some(device), &Backoff::at(NOW), &attempt(NOW)).await;
        ann.checked(decided(charged).ok().unwrap(), PASSWORD).await.ok().unwrap()
    }

    #[tokio::test]
    async fn reset_leaves_only_enrolment() {
        let (ann, admin, bob) = admin_and_bob().await;
        let held = holding(&ann, &bob).await;
        let first = reset(&ann, &admin, &bob, NOW + Duration::from_millis(999)).await.unwrap();
        assert!(!first.user.reset_code_required && first.enrol_by == NOW + policy::ENROL_WINDOW);
        let user = ann.read(&bob).await;
        assert!(!user.has_factor(), "the recovery token is gone with the factor");
        assert_eq!(
            (user.consecutive_failures, user.security_version.0, user.enrol_by),
            (0, 2, Some(NOW + policy::ENROL_WINDOW))
        );
        assert!(user.reset_code.is_none(), "Bob is no Administrator");
        let session = decided(ann.store.read_session(&held.session, NOW).await);
        assert_eq!(session.err(), Some(TokenRejection::RefreshRequired));
        let code = ann.charge(&held.challenge, NOW).await;
        assert_eq!(code.err(), Some(VerificationRejection::InvalidToken.into()), "the challenge is void");
        let verified = with_password(&ann, &held.login, &held.device).await;
        assert!(verified.password_attempt().device.is_none(), "the device is forgotten");
        assert!(matches!(verified.decide(), PasswordChecked::EnrolmentRequired(_)));
    }

    #[tokio::test]
    async fn repeated_reset_changes_nothing_and_is_not_counted() {
        let (ann, admin, bob) = admin_and_bob().await;
        let first = reset(&ann, &admin, &bob, NOW).await.unwrap();
        let again = reset(&ann, &admin, &bob, NOW).await.unwrap();
        assert_eq!(again.enrol_by, first.enrol_by, "a repeat keeps the deadline");
        assert_eq!(ann.read(&bob).await.security_version.0, 2);
        assert_eq!(ann.read(&ann.key).await.resets.len(), 1);
        reset(&ann, &admin, &bob, NOW + policy::RECOVERY_GRACE / 3).await.unwrap();
    }

    #[tokio::test]
    async fn administrator_gets_reset_code_and_repeat_renews_it() {
        let (ann, admin, _) = admin_and_bob().await;
        let amy = key("acme", "u-amy");
        let user =
            User { factor: Factor::Active(authenticator()), ..person(Kind::Employee, Role::Administrator, nonce()) };
        ann.add(&amy, &user).await;
        assert!(reset(&ann, &admin, &amy, NOW).await.unwrap().user.reset_code_required);
        let first = ann.read(&amy).await.reset_code.unwrap();
        assert!(!ann.administrators().await.with_mfa.contains(amy.user()));
        assert!(reset(&ann, &admin, &amy, NOW).await.unwrap().user.reset_code_required);
        assert!(ann.read(&amy).await.reset_code.unwrap().digest != first.digest);
        assert!(matches!(reset(&ann, &admin, &ann.key, NOW).await, Err(MfaResetRejection::SelfReset)));
        assert!(matches!(reset(&ann, &admin, &key("acme", "u-none"), NOW).await, Err(MfaResetRejection::NotFound)));
    }

    #[tokio::test]
    async fn concurrent_resets_are_limited_to_ten_an_hour() {
        let (ann, admin, _) = admin_and_bob().await;
        let mut users = Vec::new();
        for n in 0..16 {
            let key = key("acme", &format!("u-{n}"));
            ann.add(&key, &person(Kind::Contact, Role::Portal, nonce())).await;
            users.push(key);
        }
        let resets = join_all(users.iter().map(|user| reset(&ann, &admin, user, NOW))).await;
        assert_eq!(resets.iter().filter(|it| it.is_ok()).count(), policy::OWN_RESETS);
        let over = resets.iter().find(|it| !it.is_ok()).unwrap();
        assert!(
            matches!(over, Err(MfaResetRejection::OverBudget { retry_at }) if *retry_at == NOW + policy::RESET_WINDOW)
        );
    }

    #[tokio::test]
    async fn reset_is_refused_after_caller_lost_right() {
        let (ann, admin, bob) = admin_and_bob().await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(reset(&ann, &admin, &bob, NOW).await, Err(MfaResetRejection::ActorRevoked)));
        ann.put(Write::delete(keys::user(&ann.key), vec![])).await;
        assert!(
            matches!(reset(&ann, &admin, &bob, NOW).await, Err(MfaResetRejection::ActorRevoked)),
            "deleted meanwhile"
        );
        assert_eq!(ann.read(&bob).await.security_version.0, 1);
    }

    /// An operator, signed in.
    async fn operator(ann: &Ann) -> AdminContext {
        let op = key("support", "u-op");
        let none = item::write(&Administrators::default()).unwrap();
        ann.put(Write::put_new(keys::administrators(op.tenant()), none)).await;
        let token =
            NewToken::generate(TokenClass::Session, &op, crate::secret::RestoreEpoch::default(), &SystemEntropy)
                .unwrap();
        let mut user = person(Kind::Employee, Role::Operator, nonce());
        let session = item::Session {
            verifier: *token.reference().verifier(),
            created: NOW,
            attempt: nonce(),
            ends: NOW + policy::SESSION_LIFE,
            seen: NOW,
            step_up: Some(NOW),
            amr: item::Amr::Otp,
            security_version: SecurityVersion(1),
            idp_generation: None,
            password_attempts: 0,
            password_attempt: None,
        };
        user.sessions.insert(token.reference().id().clone(), session);
        ann.add(&op, &user).await;
        let principal = ann.store.read_session(token.reference(), NOW).await.unwrap();
        principal.operator(NOW).ok().unwrap()
    }

    async fn support(
        ann: &Ann,
        operator: &AdminContext,
        login: &LoginKey,
        ticket: &str,
    ) -> Result<ResetUser, SupportResetRejection> {
        let code = ResetCode::generate(&SystemEntropy).unwrap();
        let (event, digest) = (ann.event(), |key: &UserKey| code.digest(&ann.codes, key));
        let (store, ticket) = (&ann.store, ann.names.ticket(ticket));
        let found = store.read_all(support_keys(login, &ticket)).await.unwrap();
        let target = SupportResetTarget::read(login.clone(), ticket, found).unwrap();
        let (actor, events) = (Actor::AdminContext(operator), OperatorEvents { in_support: &event, in_tenant: &event });
        decided(store.reset_sole_administrator(&actor, target, &digest, &attempt(NOW), &events).await)
    }

    #[tokio::test]
    async fn support_resets_sole_administrator_and_ticket_works_once() {
        let (ann, _) = ann(0).await;
        let operator = operator(&ann).await;
        let nobody = ann.names.login(ann.key.tenant(), &LoginName::fold("nobody"));
        assert!(matches!(support(&ann, &operator, &nobody, "T-1").await, Err(SupportResetRejection::NotFound)));
        let resets = join_all((0..8).map(|_| support(&ann, &operator, &ann.login, "T-1"))).await;
        assert_eq!(resets.iter().filter(|it| matches!(it, Ok(done) if done.user.reset_code_required)).count(), 1);
        assert!(matches!(support(&ann, &operator, &ann.login, "T-1").await, Err(SupportResetRejection::TicketUsed)));
        let user = ann.read(&ann.key).await;
        assert!(!user.has_factor() && user.reset_code_required);
        assert!(ann.administrators().await.with_mfa.is_empty());
        assert!(support(&ann, &operator, &ann.login, "T-2").await.is_ok(), "another ticket, another code");
    }

    #[tokio::test]
    async fn support_reset_is_refused_if_another_administrator_has_factor() {
        let (ann, _) = ann(0).await;
        let operator = operator(&ann).await;
        let amy = key("acme", "u-amy");
        let user =
            User { factor: Factor::Active(authenticator()), ..person(Kind::Employee, Role::Administrator, nonce()) };
        ann.add(&amy, &user).await;
        let refused = support(&ann, &operator, &ann.login, "T-1").await;
        assert!(matches!(
            refused,
            Err(SupportResetRejection::NotSoleAdministrator(NotSoleAdministrator::AnotherCanReset))
        ));
        let bob = key("acme", "u-bob");
        ann.add(&bob, &person(Kind::Employee, Role::Standard, nonce())).await;
        let login = ann.names.login(ann.key.tenant(), &LoginName::fold("bob"));
        let row = LoginRow { uid: Some(bob.user().clone()), ..LoginRow::default() };
        ann.put(Write::put_new(keys::login(&login), item::write(&row).unwrap())).await;
        let refused = support(&ann, &operator, &login, "T-2").await;
        assert!(matches!(
            refused,
            Err(SupportResetRejection::NotSoleAdministrator(NotSoleAdministrator::NotAnAdministrator))
        ));
    }
}
