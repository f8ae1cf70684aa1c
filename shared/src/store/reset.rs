//! Commands of resets: an Administrator's, and support's for a sole Administrator.

use super::{
    MAX_RETRIES, Store, StoreError, budget,
    enrolment::raise_security_version,
    item,
    item::{Administrators, FactorState, Profile, ResetBudget, ResetCodeEntry, ResetCodeFor, TenantPolicy, User},
    keys,
    session::{AdminContext, NoSession, Principal},
    table::{Transacted, Transaction},
    users::Actor,
    verify::remove_admin_with_mfa,
    write::{self, Action, Condition, Item, Key, Write, attr, empty, eq, exists, gt, num, size},
};
use crate::{
    audit::{AuditEvent, Notify},
    env::Timestamp,
    id::{TenantId, UserId, UserKey},
    policy::{self, Budget},
    secret::{CodeDigest, LoginKey, TokenRef},
    sign_in::Attempt,
};

/// What became of a reset.
pub enum Reset {
    /// Done, or done before and not yet used.
    Done(Done),
    /// No such person in this tenant.
    NotFound,
    /// Nobody resets themselves.
    SelfReset,
    /// Too many resets in the last hour.
    OverBudget {
        /// When there is room again.
        retry_at: Timestamp,
    },
    /// Support does not reset them: the target is no Administrator, or another one can do it.
    NotSole(NotSole),
    /// The ticket was used before.
    TicketUsed,
    /// The caller may no longer: their session ended or their role changed meanwhile.
    ActorRevoked,
}

/// Why an operator does not reset somebody (`not_sole_administrator`), in the words that the caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSole {
    /// Their Administrator does it.
    #[error("the person is not an active Administrator of the tenant: an Administrator of the tenant can reset them")]
    NotAnAdministrator,
    /// The other one does it.
    #[error("another active Administrator of the tenant has an active factor and can reset them")]
    AnotherCanReset,
}

/// Somebody who has to enrol again.
pub struct Done {
    /// Who.
    pub key: UserKey,
    /// As they are now.
    pub user: User,
    /// Their names.
    pub profile: Profile,
    /// Until when they can enrol.
    pub enrol_by: Timestamp,
    /// Whether the reset code that was given is the one that enrolment asks for.
    pub code: bool,
}

/// Whom a reset is about, as the round trip that found out who asks has read them.
pub struct LoadedReset {
    key: UserKey,
    /// The person, their names, their tenant, its budget.
    found: [Option<Item>; 4],
}

/// Whom an operator's reset is about, as far as the round trip that found out who asks could tell.
pub struct SupportResetTarget {
    login: LoginKey,
    ticket: String,
    /// The login name, the tenant, the ticket.
    found: [Option<Item>; 3],
}

/// A person as they were read, with what decides about resetting them.
struct Target {
    key: UserKey,
    user: User,
    profile: Profile,
    policy: TenantPolicy,
}

impl Store {
    /// Finds out who asks for a reset of a person of their tenant, and reads that person: one round trip.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_reset(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<Result<(Principal, LoadedReset), NoSession>, StoreError> {
        let key = token.user().tenant().user(target);
        let [own, rest @ ..] = reset_keys(token.user(), &key);
        let [user, profile, policy, budget] = rest;
        let wanted = [own, keys::idp(key.tenant()), user, profile, policy, budget];
        let [own, idp, user, profile, policy, budget] = self.read_all(wanted).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok(principal.map(|principal| (principal, LoadedReset { key, found: [user, profile, policy, budget] })))
    }

    /// Resets the MFA of a person of the caller's tenant: one transaction, and counted (security.md 37, 38). Repeated before
    /// they enrolled, only the reset code is new.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened; a repeat costs nothing.
    pub async fn reset_mfa(
        &self,
        admin: &AdminContext,
        loaded: LoadedReset,
        code: &(dyn Fn(&UserKey) -> CodeDigest + Sync),
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Reset, StoreError> {
        let LoadedReset { key, mut found } = loaded;
        if key == *admin.key() {
            return Ok(Reset::SelfReset);
        }
        let (now, tenant) = (attempt.at(), admin.tenant());
        let mut own = admin.principal().user().clone();
        for _ in 0..MAX_RETRIES {
            let [Some(user), Some(profile), Some(policy), budget] = found else { return Ok(Reset::NotFound) };
            let (user, profile, policy) = (item::read(user)?, item::read(profile)?, item::read(policy)?);
            let target = Target { key: key.clone(), user, profile, policy };
            let mut writes = vec![Write::check(keys::user(admin.key()), admin.conditions(now))];
            if target.repeats(now) {
                let Some(write) = target.repeat(code(&target.key), now)? else { return Ok(target.done(now)) };
                writes.push(write);
            } else {
                match charged(admin, &own, budget, tenant, now)? {
                    Ok(charges) => writes = charges,
                    Err(retry_at) => return Ok(Reset::OverBudget { retry_at }),
                }
                writes.push(target.anew(code(&target.key), now)?);
                writes.extend(remove_admin_with_mfa(&target.key, &target.user));
            }
            let row = self.audit_row(tenant, attempt, 0, &target.told(event, now))?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(target.done(now));
            }
            let [asker, user, profile, policy, budget] = self.read_all(reset_keys(admin.key(), &key)).await?;
            let Some(asker) = admin.still(asker, now)? else { return Ok(Reset::ActorRevoked) };
            own = asker;
            found = [user, profile, policy, budget];
        }
        Err(StoreError::Contended("a person who is to be reset keeps changing".into()))
    }

    /// Finds out who asks for a support reset, and reads what the name and the ticket are: one round trip.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_support_reset(
        &self,
        token: &TokenRef,
        login: LoginKey,
        ticket: String,
        now: Timestamp,
    ) -> Result<Result<(Principal, SupportResetTarget), NoSession>, StoreError> {
        let [own, idp] = [keys::user(token.user()), keys::idp(token.user().tenant())];
        let [name, tenant, row] = named_keys(&login, &ticket);
        let [own, idp, found @ ..] = self.read_all([own, idp, name, tenant, row]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok(principal.map(|principal| (principal, SupportResetTarget { login, ticket, found })))
    }

    /// Reads what the name and the ticket of a reset are, for whoever operates the machine.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_support_reset_by_name(
        &self,
        login: LoginKey,
        ticket: String,
    ) -> Result<SupportResetTarget, StoreError> {
        let found = self.read_all(named_keys(&login, &ticket)).await?;
        Ok(SupportResetTarget { login, ticket, found })
    }

    /// Resets a sole Administrator who is locked out, for a ticket (product.md P9). `here` is the event in the operators'
    /// tenant, `there` the one in the Administrator's.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened, and the ticket may be used up.
    pub async fn reset_sole_administrator(
        &self,
        by: &Actor<'_>,
        loaded: SupportResetTarget,
        code: &(dyn Fn(&UserKey) -> CodeDigest + Sync),
        attempt: &Attempt,
        (here, there): (&AuditEvent, &AuditEvent),
    ) -> Result<Reset, StoreError> {
        let SupportResetTarget { login, ticket, mut found } = loaded;
        let (tenant, now) = (login.tenant(), attempt.at());
        for _ in 0..MAX_RETRIES {
            let [row, policy, used] = found;
            let row: item::LoginRow = item::read(row.unwrap_or_default())?;
            let (Some(policy), Some(uid)) = (policy, row.uid) else { return Ok(Reset::NotFound) };
            let key = tenant.user(uid);
            if used.is_some() {
                return Ok(Reset::TicketUsed);
            }
            if matches!(by, Actor::AdminContext(operator) if key == *operator.key()) {
                return Ok(Reset::SelfReset);
            }
            let second = [keys::user(&key), keys::profile(&key), keys::administrators(tenant)];
            let [user, profile, administrators] = self.read_all(second).await?;
            let (Some(user), Some(profile)) = (user, profile) else { return Ok(Reset::NotFound) };
            let (user, profile, policy) = (item::read(user)?, item::read(profile)?, item::read(policy)?);
            let target = Target { key, user, profile, policy };
            let administrators: Administrators = item::read(administrators.unwrap_or_default())?;
            if let Err(why) = sole(&administrators, &target.key) {
                return Ok(Reset::NotSole(why));
            }
            let mut there = there.clone();
            there.target = Some(target.key.user().clone());
            let mut writes = vec![
                Write::put_new(keys::ticket(&ticket), used_ticket(by, &target.key, now)),
                remove_sole_admin_with_mfa(&target.key),
                target.anew(code(&target.key), now)?,
                self.audit_row(&TenantId::support(), attempt, 1, here)?,
            ];
            writes.extend(by.check(now));
            let row = self.audit_row(tenant, attempt, 0, &there)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(target.done(now));
            }
            found = self.read_all(named_keys(&login, &ticket)).await?;
            if let Actor::AdminContext(operator) = by {
                let [own] = self.read_all([keys::user(operator.key())]).await?;
                if operator.still(own, now)?.is_none() {
                    return Ok(Reset::ActorRevoked);
                }
            }
        }
        Err(StoreError::Contended("a person who is to be reset keeps changing".into()))
    }
}

fn reset_keys(actor: &UserKey, target: &UserKey) -> [Key; 5] {
    let tenant = target.tenant();
    let profile = keys::profile(target);
    [keys::user(actor), keys::user(target), profile, keys::tenant(tenant), keys::reset_budget(tenant)]
}

fn named_keys(login: &LoginKey, ticket: &str) -> [Key; 3] {
    [keys::login(login), keys::tenant(login.tenant()), keys::ticket(ticket)]
}

impl Target {
    /// Reset before, and not enrolled since.
    fn repeats(&self, now: Timestamp) -> bool {
        self.user.factor == FactorState::None && self.user.enrol_by.is_some_and(|until| until > now.secs())
    }

    fn asks_code(&self, now: Timestamp) -> bool {
        if self.repeats(now) {
            return self.user.reset_code_required.unwrap_or(false);
        }
        self.user.administers() || self.policy.reset_code_for == ResetCodeFor::Everyone
    }

    fn as_read(&self) -> Vec<Condition> {
        vec![eq(attr("ep"), self.user.security_version), eq(attr("born"), self.user.incarnation.bytes())]
    }

    fn code(digest: CodeDigest, now: Timestamp) -> Result<Action, StoreError> {
        let entry = ResetCodeEntry { digest, ends: (now + policy::RESET_CODE_LIFE).millis(), attempts: 0 };
        Ok(Action::Set(attr("rc"), item::value(&entry)?))
    }

    /// Of a repeat: the code alone, if there is one.
    fn repeat(&self, digest: CodeDigest, now: Timestamp) -> Result<Option<Write>, StoreError> {
        if !self.asks_code(now) {
            return Ok(None);
        }
        let mut conditions = self.as_read();
        conditions.extend([eq(attr("fs"), "n"), gt(attr("eb"), now.secs()), eq(attr("rq"), true)]);
        Ok(Some(Write::update(keys::user(&self.key), conditions, vec![Self::code(digest, now)?])))
    }

    /// Of a new reset: no factor, no token, no way in but enrolment.
    fn anew(&self, digest: CodeDigest, now: Timestamp) -> Result<Write, StoreError> {
        let mut actions = vec![
            Action::Set(attr("fs"), write::text("n")),
            Action::Set(attr("f"), empty()),
            Action::Set(attr("row"), num(0)),
            Action::Set(attr("life"), num(0)),
            Action::Set(attr("d"), empty()),
            Action::Set(attr("seen"), num(now.secs())),
            Action::Set(attr("eb"), num(enrol_by(now).secs())),
        ];
        actions.extend(["fid", "sec", "ls", "fat", "rk", "rkt"].map(|name| Action::Remove(attr(name))));
        actions.extend(raise_security_version());
        if self.asks_code(now) {
            actions.extend([Action::Set(attr("rq"), write::Value::Bool(true)), Self::code(digest, now)?]);
        } else {
            actions.extend(["rq", "rc"].map(|name| Action::Remove(attr(name))));
        }
        Ok(Write::update(keys::user(&self.key), self.as_read(), actions))
    }

    fn told(&self, event: &AuditEvent, now: Timestamp) -> AuditEvent {
        let mut event = event.clone();
        if self.repeats(now) {
            event.action = crate::audit::Action::ResetCodeRenewed;
        } else if self.user.administers() {
            // Whoever gets an Administrator reset is on the way to their rights: the others are told.
            event = event.tell(Notify::Administrators);
        }
        event
    }

    fn done(self, now: Timestamp) -> Reset {
        let repeats = self.repeats(now);
        let code = self.asks_code(now);
        let until = self.user.enrol_by.filter(|_| repeats).map(Timestamp::from_secs);
        let Self { key, mut user, profile, .. } = self;
        user.factor = FactorState::None;
        Reset::Done(Done { key, user, profile, enrol_by: until.unwrap_or(enrol_by(now)), code })
    }
}

/// Until when somebody who is reset now can enrol: to the second, as it is kept.
fn enrol_by(now: Timestamp) -> Timestamp {
    Timestamp::from_secs((now + policy::ENROL_WINDOW).secs())
}

/// The caller's right and both budgets, as writes; or when there is room again.
fn charged(
    admin: &AdminContext,
    own: &User,
    budget: Option<Item>,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Result<Vec<Write>, Timestamp>, StoreError> {
    let spent: Option<ResetBudget> = budget.map(item::read).transpose()?;
    let mine = budget::take(&attr("rb"), Some(&own.resets), Budget::OWN_RESETS, now);
    let all = budget::take(&attr("w"), spent.as_ref().map(|it| it.resets.as_slice()), Budget::TENANT_RESETS, now);
    Ok(match (mine, all) {
        (Ok((mine, note_mine)), Ok((all, note_all))) => {
            let mut conditions = admin.conditions(now);
            conditions.extend(mine);
            Ok(vec![
                Write::update(keys::user(admin.key()), conditions, vec![note_mine]),
                Write::update(keys::reset_budget(tenant), all, vec![note_all]),
            ])
        }
        (Err(mine), Err(all)) => Err(mine.max(all)),
        (Err(until), Ok(_)) | (Ok(_), Err(until)) => Err(until),
    })
}

/// An active Administrator beside whom no other active one has an active factor; or why they are not that.
fn sole(administrators: &Administrators, key: &UserKey) -> Result<(), NotSole> {
    match administrators.active.contains_key(key.user()) {
        false => Err(NotSole::NotAnAdministrator),
        true if administrators.with_mfa.keys().any(|mark_admin_with_mfa| mark_admin_with_mfa != key.user()) => {
            Err(NotSole::AnotherCanReset)
        }
        true => Ok(()),
    }
}

/// Asks again that nobody else has a factor. That the person is an active Administrator still, their epoch tells: it is raised
/// with every change of role or activity.
fn remove_sole_admin_with_mfa(key: &UserKey) -> Write {
    let own = attr("able").key(key.user().as_str().to_owned());
    let alone = Condition::All(vec![eq(size(attr("able")), 1), exists(own.clone())]);
    let nobody_else = Condition::Any(vec![eq(size(attr("able")), 0), alone]);
    Write::update(keys::administrators(key.tenant()), vec![nobody_else], vec![Action::Remove(own)])
}

fn used_ticket(by: &Actor<'_>, target: &UserKey, now: Timestamp) -> Item {
    let text = |id: &dyn std::fmt::Display| write::text(id.to_string());
    let mut used = Item::from([
        ("t".to_owned(), text(target.tenant())),
        ("u".to_owned(), text(target.user())),
        ("at".to_owned(), num(now.millis())),
    ]);
    if let Actor::AdminContext(operator) = by {
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
        env::SystemEntropy,
        id::{LoginName, TenantId},
        recovery::ResetCode,
        secret::{NewToken, Nonce, TokenClass},
        store::{
            fixture::{Ann, NOW, STEP, ann, attempt, person},
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
        let principal = ann.store.read_session(token, at).await.unwrap().ok().unwrap();
        principal.administrator(at).ok().unwrap()
    }

    /// Ann signed in as an Administrator, and Bob with a factor.
    async fn office() -> (Ann, AdminContext, UserKey) {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let bob = key("acme", "u-bob");
        let user = User {
            factor: FactorState::Active,
            factor_id: Some(nonce()),
            last_step: Some(1),
            consecutive_failures: 7,
            ..person(Kind::Employee, Role::Standard, nonce())
        };
        ann.add(&bob, &user).await;
        let admin = admin(&ann, session.reference(), NOW).await;
        (ann, admin, bob)
    }

    async fn reset(ann: &Ann, admin: &AdminContext, target: &UserKey, at: Timestamp) -> Reset {
        let code = ResetCode::generate(&SystemEntropy).unwrap();
        let digest = |key: &UserKey| code.digest(&ann.codes, key);
        let [_, found @ ..] = ann.store.read_all(reset_keys(admin.key(), target)).await.unwrap();
        let loaded = LoadedReset { key: target.clone(), found };
        ann.store.reset_mfa(admin, loaded, &digest, &attempt(at), &ann.event()).await.unwrap()
    }

    fn done(reset: Reset) -> Done {
        match reset {
            Reset::Done(done) => done,
            _ => panic!("not done"),
        }
    }

    #[tokio::test]
    async fn a_reset_leaves_no_way_in_but_enrolment() {
        let (ann, admin, bob) = office().await;
        let told = done(reset(&ann, &admin, &bob, NOW + Duration::from_millis(999)).await);
        assert!(!told.code && told.enrol_by == NOW + policy::ENROL_WINDOW);
        let user = ann.read(&bob).await;
        assert!(user.factor == FactorState::None && user.factor_id.is_none() && user.last_step.is_none());
        assert_eq!(
            (user.consecutive_failures, user.security_version, user.enrol_by),
            (0, 2, Some((NOW + policy::ENROL_WINDOW).secs()))
        );
        assert!(user.reset_code.is_none(), "Bob is no Administrator");
        let again = done(reset(&ann, &admin, &bob, NOW).await);
        assert_eq!(again.enrol_by, told.enrol_by, "a repeat says the same");
        assert_eq!(ann.read(&bob).await.security_version, 2, "a repeat changes nothing");
        assert_eq!(ann.read(&ann.key).await.resets.len(), 1, "and is not counted");
        done(reset(&ann, &admin, &bob, NOW + policy::RECOVERY_GRACE / 3).await);
    }

    #[tokio::test]
    async fn an_administrator_gets_a_code_and_a_repeat_another() {
        let (ann, admin, _) = office().await;
        let amy = key("acme", "u-amy");
        let user = User {
            factor: FactorState::Active,
            factor_id: Some(nonce()),
            ..person(Kind::Employee, Role::Administrator, nonce())
        };
        ann.add(&amy, &user).await;
        assert!(done(reset(&ann, &admin, &amy, NOW).await).code);
        let first = ann.read(&amy).await.reset_code.unwrap();
        assert!(!ann.administrators().await.with_mfa.contains_key(amy.user()));
        assert!(done(reset(&ann, &admin, &amy, NOW).await).code);
        assert!(ann.read(&amy).await.reset_code.unwrap().digest != first.digest);
        assert!(matches!(reset(&ann, &admin, &ann.key, NOW).await, Reset::SelfReset));
        assert!(matches!(reset(&ann, &admin, &key("acme", "u-none"), NOW).await, Reset::NotFound));
    }

    #[tokio::test]
    async fn ten_resets_an_hour_also_when_they_come_together() {
        let (ann, admin, _) = office().await;
        let mut people = Vec::new();
        for n in 0..16 {
            let key = key("acme", &format!("u-{n}"));
            ann.add(&key, &person(Kind::Contact, Role::Portal, nonce())).await;
            people.push(key);
        }
        let resets = join_all(people.iter().map(|person| reset(&ann, &admin, person, NOW))).await;
        assert_eq!(resets.iter().filter(|it| matches!(it, Reset::Done(_))).count(), policy::OWN_RESETS);
        let over = resets.iter().find(|it| !matches!(it, Reset::Done(_))).unwrap();
        assert!(matches!(over, Reset::OverBudget { retry_at } if *retry_at == NOW + policy::RESET_WINDOW));
    }

    #[tokio::test]
    async fn nobody_resets_after_their_right_is_gone() {
        let (ann, admin, bob) = office().await;
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(reset(&ann, &admin, &bob, NOW).await, Reset::ActorRevoked));
        ann.put(Write::delete(keys::user(&ann.key), vec![])).await;
        assert!(matches!(reset(&ann, &admin, &bob, NOW).await, Reset::ActorRevoked), "deleted meanwhile");
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
            created: NOW.millis(),
            attempt: nonce(),
            ends: (NOW + policy::SESSION_LIFE).secs(),
            seen: NOW.secs(),
            step_up: NOW.secs(),
            amr: item::Amr::Otp,
            security_version: 1,
            idp: None,
            password_attempts: 0,
            password_attempt: None,
        };
        user.sessions.insert(token.reference().id().clone(), session);
        ann.add(&op, &user).await;
        let principal = ann.store.read_session(token.reference(), NOW).await.unwrap().ok().unwrap();
        principal.operator(NOW).ok().unwrap()
    }

    async fn support(ann: &Ann, operator: &AdminContext, login: &LoginKey, ticket: &str) -> Reset {
        let code = ResetCode::generate(&SystemEntropy).unwrap();
        let (event, digest) = (ann.event(), |key: &UserKey| code.digest(&ann.codes, key));
        let (store, ticket) = (&ann.store, ann.names.ticket(ticket));
        let found = store.read_all(named_keys(login, &ticket)).await.unwrap();
        let loaded = SupportResetTarget { login: login.clone(), ticket, found };
        store
            .reset_sole_administrator(&Actor::AdminContext(operator), loaded, &digest, &attempt(NOW), (&event, &event))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn support_resets_a_sole_administrator_and_a_ticket_works_once() {
        let (ann, _) = ann(0).await;
        let operator = operator(&ann).await;
        let nobody = ann.names.login(ann.key.tenant(), &LoginName::fold("nobody"));
        assert!(matches!(support(&ann, &operator, &nobody, "T-1").await, Reset::NotFound));
        let both = join_all((0..8).map(|_| support(&ann, &operator, &ann.login, "T-1"))).await;
        assert_eq!(both.iter().filter(|it| matches!(it, Reset::Done(done) if done.code)).count(), 1);
        assert!(matches!(support(&ann, &operator, &ann.login, "T-1").await, Reset::TicketUsed));
        let user = ann.read(&ann.key).await;
        assert!(user.factor == FactorState::None && user.reset_code_required == Some(true));
        assert!(ann.administrators().await.with_mfa.is_empty());
        assert!(
            matches!(support(&ann, &operator, &ann.login, "T-2").await, Reset::Done(_)),
            "another ticket, another code"
        );
    }

    #[tokio::test]
    async fn support_resets_nobody_beside_an_able_administrator() {
        let (ann, _) = ann(0).await;
        let operator = operator(&ann).await;
        let amy = key("acme", "u-amy");
        let user = User { factor: FactorState::Active, ..person(Kind::Employee, Role::Administrator, nonce()) };
        ann.add(&amy, &user).await;
        let refused = support(&ann, &operator, &ann.login, "T-1").await;
        assert!(matches!(refused, Reset::NotSole(NotSole::AnotherCanReset)));
        let bob = key("acme", "u-bob");
        ann.add(&bob, &person(Kind::Employee, Role::Standard, nonce())).await;
        let login = ann.names.login(ann.key.tenant(), &LoginName::fold("bob"));
        let row = LoginRow { uid: Some(bob.user().clone()), ..LoginRow::default() };
        ann.put(Write::put_new(keys::login(&login), item::write(&row).unwrap())).await;
        let refused = support(&ann, &operator, &login, "T-2").await;
        assert!(matches!(refused, Reset::NotSole(NotSole::NotAnAdministrator)));
    }
}
