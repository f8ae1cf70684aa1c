//! Resets of a user's MFA: by an Administrator of the tenant, or by support for a sole Administrator.

use super::{
    Store, StoreError, budget,
    commit::{self, Retries},
    item,
    item::{Administrators, Profile, ResetBudget, TenantPolicy},
    keys,
    session::{AdminContext, Principal, SessionError},
    table::{Transacted, Transaction},
    users::Actor,
    verify::remove_admin_with_mfa,
    write::{self, Action, Condition, Item, Key, Write, attr, eq, exists, num, size},
};
pub use crate::auth::reset_mfa::NotSole;
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

/// Why a user was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
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
    /// Support resets only a sole Administrator.
    #[error(transparent)]
    NotSole(#[from] NotSole),
    /// The ticket was used before.
    #[error("the ticket was used before")]
    TicketUsed,
    /// The caller's session ended, or the caller's role changed meanwhile.
    #[error("the caller may no longer do this")]
    ActorRevoked,
    /// The store failed. The reset may have been committed. A repeat is safe, but a support reset needs a new ticket.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A user who was reset and must enrol again.
#[derive(Clone)]
pub struct ResetUser {
    /// Tenant and id.
    pub key: UserKey,
    /// The user after the reset.
    pub user: User,
    /// Names.
    pub profile: Profile,
    /// Until when the user can enrol.
    pub enrol_by: Timestamp,
    /// Whether enrolment needs the reset code that the caller gave.
    pub code: bool,
}

/// The target of a reset, as the read that identified the caller found it.
pub struct LoadedReset {
    key: UserKey,
    /// The user, the profile, the tenant, its budget of resets.
    found: [Option<Item>; 4],
}

/// The target of a support reset, as the read that identified the operator found it.
pub struct SupportResetTarget {
    login: LoginKey,
    ticket: String,
    /// The login name, the tenant, the ticket.
    found: [Option<Item>; 3],
}

/// Makes the digest of the reset code for a user.
type DigestCode<'a> = &'a (dyn Fn(&UserKey) -> CodeDigest + Sync);

/// What a reset by an Administrator is decided on.
struct Loaded {
    actor: User,
    user: User,
    profile: Profile,
    policy: TenantPolicy,
    /// The tenant's resets in the last hour. `None` if the tenant never had one.
    budget: Option<ResetBudget>,
}

/// What a support reset is decided on.
struct LoadedSupport {
    key: UserKey,
    user: User,
    profile: Profile,
    administrators: Administrators,
}

impl Store {
    /// Identifies the caller and reads the user to reset, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn load_reset(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<(Principal, LoadedReset), SessionError> {
        let key = token.user().tenant().user(target);
        let [own, rest @ ..] = reset_keys(token.user(), &key);
        let [user, profile, policy, budget] = rest;
        let wanted = [own, keys::idp(key.tenant()), user, profile, policy, budget];
        let [own, idp, user, profile, policy, budget] = self.read_all(wanted).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok((principal, LoadedReset { key, found: [user, profile, policy, budget] }))
    }

    /// Resets a user of the caller's tenant, and counts the reset (docs/security.md 37, 38). A repeat before the user has
    /// enrolled only renews the reset code and is not counted.
    ///
    /// # Errors
    /// [`ResetError`].
    pub async fn reset_mfa(
        &self,
        admin: &AdminContext,
        target: LoadedReset,
        code: DigestCode<'_>,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<ResetUser, ResetError> {
        let LoadedReset { key, found } = target;
        if key == *admin.key() {
            return Err(ResetError::SelfReset);
        }
        let now = attempt.at();
        let mut loaded = Loaded::read(admin.principal().user().clone(), found)?;
        let mut retries = Retries::of(attempt);
        loop {
            let (reset, transaction) = self.decide_reset(admin, &key, &loaded, code(&key), attempt, event)?;
            let Some(transaction) = transaction else { return Ok(reset) };
            if let Transacted::Committed = self.table.transact(&transaction).await? {
                return Ok(reset);
            }
            retries.pause().await?;
            let [actor, found @ ..] = self.read_all(reset_keys(admin.key(), &key)).await?;
            loaded = Loaded::read(admin.if_still_authorized(actor, now)?.ok_or(ResetError::ActorRevoked)?, found)?;
        }
    }

    /// The user after the reset, and the transaction. `None`: the user is reset already, and nothing changes.
    fn decide_reset(
        &self,
        admin: &AdminContext,
        key: &UserKey,
        loaded: &Loaded,
        code: CodeDigest,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(ResetUser, Option<Transaction>), ResetError> {
        let (now, mut user) = (attempt.at(), loaded.user.clone());
        let kind = reset_mfa(&mut user, loaded.policy.reset_code_for, code, now);
        let reset = ResetUser::new(key, &user, &loaded.profile);
        let mut writes = match kind {
            ResetKind::Unchanged => return Ok((reset, None)),
            ResetKind::CodeRenewed => vec![Write::check(keys::user(admin.key()), admin.conditions(now))],
            ResetKind::Reset => charge_budgets(admin, &loaded.actor, loaded.budget.as_ref(), now)?,
        };
        if kind == ResetKind::Reset {
            writes.extend(remove_admin_with_mfa(key, &loaded.user));
        }
        writes.push(commit::update(key, &loaded.user, &user)?);
        let audit_row = self.audit_row(admin.tenant(), attempt, 0, &reset_event(event, kind, &user))?;
        Ok((reset, Some(Transaction::new(writes, audit_row))))
    }

    /// Identifies the operator of a support reset, and reads the login name, the tenant and the ticket, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn load_support_reset(
        &self,
        token: &TokenRef,
        login: LoginKey,
        ticket: String,
        now: Timestamp,
    ) -> Result<(Principal, SupportResetTarget), SessionError> {
        let [own, idp] = [keys::user(token.user()), keys::idp(token.user().tenant())];
        let [name, tenant, row] = support_keys(&login, &ticket);
        let [own, idp, found @ ..] = self.read_all([own, idp, name, tenant, row]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok((principal, SupportResetTarget { login, ticket, found }))
    }

    /// Reads the login name, the tenant and the ticket of a support reset that is made with the operators' command line tool.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_support_reset_by_name(
        &self,
        login: LoginKey,
        ticket: String,
    ) -> Result<SupportResetTarget, StoreError> {
        let found = self.read_all(support_keys(&login, &ticket)).await?;
        Ok(SupportResetTarget { login, ticket, found })
    }

    /// Resets a sole Administrator who is locked out, for a ticket (docs/product.md P9). `support_event` is recorded in tenant
    /// `support`, `tenant_event` in the Administrator's tenant.
    ///
    /// # Errors
    /// [`ResetError`].
    pub async fn reset_sole_administrator(
        &self,
        actor: &Actor<'_>,
        target: SupportResetTarget,
        code: DigestCode<'_>,
        attempt: &Attempt,
        (support_event, tenant_event): (&AuditEvent, &AuditEvent),
    ) -> Result<ResetUser, ResetError> {
        let SupportResetTarget { login, ticket, found } = target;
        let (tenant, now) = (login.tenant(), attempt.at());
        let mut loaded = self.load_sole_administrator(actor, tenant, found).await?;
        let mut retries = Retries::of(attempt);
        loop {
            let LoadedSupport { key, profile, administrators, .. } = &loaded;
            check_sole_administrator(administrators, key.user())?;
            let mut user = loaded.user.clone();
            reset_sole_administrator(&mut user, code(key), now);
            let mut writes = vec![
                Write::put_new(keys::ticket(&ticket), used_ticket(actor, key, now)),
                remove_sole_admin_with_mfa(key),
                commit::update(key, &loaded.user, &user)?,
                self.audit_row(&TenantId::support(), attempt, 1, support_event)?,
            ];
            writes.extend(actor.check(now));
            let audit_row = self.audit_row(tenant, attempt, 0, &tenant_event.clone().about(key.user()))?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, audit_row)).await? {
                return Ok(ResetUser::new(key, &user, profile));
            }
            retries.pause().await?;
            let found = self.read_all(support_keys(&login, &ticket)).await?;
            if let Actor::AdminContext(operator) = actor {
                let [own] = self.read_all([keys::user(operator.key())]).await?;
                operator.if_still_authorized(own, now)?.ok_or(ResetError::ActorRevoked)?;
            }
            loaded = self.load_sole_administrator(actor, tenant, found).await?;
        }
    }

    /// Reads the owner of the login name, and the tenant's Administrators.
    async fn load_sole_administrator(
        &self,
        actor: &Actor<'_>,
        tenant: &TenantId,
        [name, policy, ticket]: [Option<Item>; 3],
    ) -> Result<LoadedSupport, ResetError> {
        let name: item::LoginRow = item::read(name.unwrap_or_default())?;
        let (Some(_), Some(owner)) = (policy, name.uid) else { return Err(ResetError::NotFound) };
        let key = tenant.user(owner);
        if ticket.is_some() {
            return Err(ResetError::TicketUsed);
        }
        if matches!(actor, Actor::AdminContext(operator) if key == *operator.key()) {
            return Err(ResetError::SelfReset);
        }
        let wanted = [keys::user(&key), keys::profile(&key), keys::administrators(tenant)];
        let [user, profile, administrators] = self.read_all(wanted).await?;
        let (Some(user), Some(profile)) = (user, profile) else { return Err(ResetError::NotFound) };
        let administrators = item::read(administrators.unwrap_or_default())?;
        Ok(LoadedSupport { key, user: item::read(user)?, profile: item::read(profile)?, administrators })
    }
}

impl Loaded {
    fn read(actor: User, [user, profile, policy, budget]: [Option<Item>; 4]) -> Result<Self, ResetError> {
        let (Some(user), Some(profile), Some(policy)) = (user, profile, policy) else {
            return Err(ResetError::NotFound);
        };
        let budget = budget.map(item::read).transpose()?;
        Ok(Self { actor, user: item::read(user)?, profile: item::read(profile)?, policy: item::read(policy)?, budget })
    }
}

impl ResetUser {
    fn new(key: &UserKey, user: &User, profile: &Profile) -> Self {
        let enrol_by = user.enrol_by.unwrap_or_default();
        let code = user.reset_code_required;
        Self { key: key.clone(), user: user.clone(), profile: profile.clone(), enrol_by, code }
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
        event.action = audit::Action::ResetCodeRenewed;
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
) -> Result<Vec<Write>, ResetError> {
    let own = budget::take(&attr("rb"), Some(&actor.resets), Budget::OWN_RESETS, now);
    let all = budget::take(&attr("w"), budget.map(|it| it.resets.as_slice()), Budget::TENANT_RESETS, now);
    let ((own, count_own), (all, count_all)) = match (own, all) {
        (Ok(own), Ok(all)) => (own, all),
        (own, all) => {
            let retry_at = own.err().max(all.err()).unwrap_or(now);
            return Err(ResetError::OverBudget { retry_at });
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
        domain::Factor,
        env::SystemEntropy,
        id::{LoginName, TenantId},
        policy,
        recovery::ResetCode,
        secret::{NewToken, Nonce, TokenClass},
        store::{
            fixture::{Ann, NOW, STEP, ann, attempt, authenticator, person},
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

    async fn reset(ann: &Ann, admin: &AdminContext, target: &UserKey, at: Timestamp) -> Result<ResetUser, ResetError> {
        let code = ResetCode::generate(&SystemEntropy).unwrap();
        let digest = |key: &UserKey| code.digest(&ann.codes, key);
        let [_, found @ ..] = ann.store.read_all(reset_keys(admin.key(), target)).await.unwrap();
        let loaded = LoadedReset { key: target.clone(), found };
        ann.store.reset_mfa(admin, loaded, &digest, &attempt(at), &ann.event()).await
    }

    fn done(reset: Result<ResetUser, ResetError>) -> ResetUser {
        match reset {
            Ok(done) => done,
            _ => panic!("not done"),
        }
    }

    #[tokio::test]
    async fn reset_leaves_only_enrolment() {
        let (ann, admin, bob) = admin_and_bob().await;
        let first = done(reset(&ann, &admin, &bob, NOW + Duration::from_millis(999)).await);
        assert!(!first.code && first.enrol_by == NOW + policy::ENROL_WINDOW);
        let user = ann.read(&bob).await;
        assert!(!user.has_factor());
        assert_eq!(
            (user.consecutive_failures, user.security_version, user.enrol_by),
            (0, 2, Some(NOW + policy::ENROL_WINDOW))
        );
        assert!(user.reset_code.is_none(), "Bob is no Administrator");
        let again = done(reset(&ann, &admin, &bob, NOW).await);
        assert_eq!(again.enrol_by, first.enrol_by, "a repeat keeps the deadline");
        assert_eq!(ann.read(&bob).await.security_version, 2, "a repeat changes nothing");
        assert_eq!(ann.read(&ann.key).await.resets.len(), 1, "a repeat is not counted");
        done(reset(&ann, &admin, &bob, NOW + policy::RECOVERY_GRACE / 3).await);
    }

    #[tokio::test]
    async fn administrator_gets_reset_code_and_repeat_renews_it() {
        let (ann, admin, _) = admin_and_bob().await;
        let amy = key("acme", "u-amy");
        let user =
            User { factor: Factor::Active(authenticator()), ..person(Kind::Employee, Role::Administrator, nonce()) };
        ann.add(&amy, &user).await;
        assert!(done(reset(&ann, &admin, &amy, NOW).await).code);
        let first = ann.read(&amy).await.reset_code.unwrap();
        assert!(!ann.administrators().await.with_mfa.contains_key(amy.user()));
        assert!(done(reset(&ann, &admin, &amy, NOW).await).code);
        assert!(ann.read(&amy).await.reset_code.unwrap().digest != first.digest);
        assert!(matches!(reset(&ann, &admin, &ann.key, NOW).await, Err(ResetError::SelfReset)));
        assert!(matches!(reset(&ann, &admin, &key("acme", "u-none"), NOW).await, Err(ResetError::NotFound)));
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
        assert!(matches!(over, Err(ResetError::OverBudget { retry_at }) if *retry_at == NOW + policy::RESET_WINDOW));
    }

    #[tokio::test]
    async fn reset_is_refused_after_caller_lost_right() {
        let (ann, admin, bob) = admin_and_bob().await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(reset(&ann, &admin, &bob, NOW).await, Err(ResetError::ActorRevoked)));
        ann.put(Write::delete(keys::user(&ann.key), vec![])).await;
        assert!(matches!(reset(&ann, &admin, &bob, NOW).await, Err(ResetError::ActorRevoked)), "deleted meanwhile");
        assert_eq!(ann.read(&bob).await.security_version, 1);
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
            security_version: 1,
            idp: None,
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
    ) -> Result<ResetUser, ResetError> {
        let code = ResetCode::generate(&SystemEntropy).unwrap();
        let (event, digest) = (ann.event(), |key: &UserKey| code.digest(&ann.codes, key));
        let (store, ticket) = (&ann.store, ann.names.ticket(ticket));
        let found = store.read_all(support_keys(login, &ticket)).await.unwrap();
        let loaded = SupportResetTarget { login: login.clone(), ticket, found };
        store
            .reset_sole_administrator(&Actor::AdminContext(operator), loaded, &digest, &attempt(NOW), (&event, &event))
            .await
    }

    #[tokio::test]
    async fn support_resets_sole_administrator_and_ticket_works_once() {
        let (ann, _) = ann(0).await;
        let operator = operator(&ann).await;
        let nobody = ann.names.login(ann.key.tenant(), &LoginName::fold("nobody"));
        assert!(matches!(support(&ann, &operator, &nobody, "T-1").await, Err(ResetError::NotFound)));
        let resets = join_all((0..8).map(|_| support(&ann, &operator, &ann.login, "T-1"))).await;
        assert_eq!(resets.iter().filter(|it| matches!(it, Ok(done) if done.code)).count(), 1);
        assert!(matches!(support(&ann, &operator, &ann.login, "T-1").await, Err(ResetError::TicketUsed)));
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
        assert!(matches!(refused, Err(ResetError::NotSole(NotSole::AnotherCanReset))));
        let bob = key("acme", "u-bob");
        ann.add(&bob, &person(Kind::Employee, Role::Standard, nonce())).await;
        let login = ann.names.login(ann.key.tenant(), &LoginName::fold("bob"));
        let row = LoginRow { uid: Some(bob.user().clone()), ..LoginRow::default() };
        ann.put(Write::put_new(keys::login(&login), item::write(&row).unwrap())).await;
        let refused = support(&ann, &operator, &login, "T-2").await;
        assert!(matches!(refused, Err(ResetError::NotSole(NotSole::NotAnAdministrator))));
    }
}
