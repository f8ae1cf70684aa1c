//! Commands of the directory: creating, changing and deleting people, and changing one's own password.

use super::{
    Store, StoreError, audit_row,
    enrolment::raise_epoch,
    item,
    item::{AuthType, FactorState, Kind, Profile, Role, User},
    keys,
    session::{Authority, NoSession, Principal, find, living, open},
    table::{Transacted, Transaction},
    write::{self, Action, Guard, Item, Value, Write, absent, attr, empty, eq, exists, ge, num, size, text},
};
use crate::{
    attempt::{Attempt, NewSession, RightPassword, SignedIn},
    audit::AuditEvent,
    env::{Entropy, Timestamp},
    id::{TenantId, UserId, UserKey, fold},
    password::PasswordHash,
    secret::{LoginKey, Nonce, TokenRef},
};

/// On whose behalf.
pub enum By<'a> {
    /// Nobody's: a seed, or an operator of the machine.
    Seed,
    /// An Administrator's, whose right the transaction asks again.
    Authority(&'a Authority),
}

impl By<'_> {
    pub(super) fn check(&self, now: Timestamp) -> Option<Write> {
        match self {
            Self::Seed => None,
            Self::Authority(authority) => Some(Write::check(keys::user(authority.key()), authority.guards(now))),
        }
    }
}

/// A person to be.
pub struct NewPerson {
    /// Tenant and id.
    pub key: UserKey,
    /// The login name.
    pub login: LoginKey,
    /// As they begin.
    pub user: User,
    /// Their names.
    pub profile: Profile,
    /// Their password; without one they cannot sign in by it.
    pub hash: Option<PasswordHash>,
}

/// What somebody is to be, as the caller says it.
pub struct Asked<'a> {
    /// Employee or contact.
    pub kind: Kind,
    /// Role.
    pub role: Role,
    /// Which door.
    pub auth_type: AuthType,
    /// The login name as it was given.
    pub username: &'a str,
    /// The name that is shown.
    pub display_name: &'a str,
    /// Where notifications go.
    pub email: Option<&'a str>,
}

impl NewPerson {
    /// Somebody new, active, of a login name.
    #[must_use]
    pub fn new(key: UserKey, login: LoginKey, asked: &Asked<'_>, born: Nonce, now: Timestamp) -> Self {
        let user = User::new(asked.kind, asked.role, asked.auth_type, born, login.digest(), now);
        let profile = Profile {
            username: asked.username.to_owned(),
            display_name: asked.display_name.to_owned(),
            email: asked.email.map(str::to_owned),
            created: now.secs(),
        };
        Self { key, login, user, profile, hash: None }
    }

    /// A name that failed tries have made an item of is nobody's still: it is taken over, its failures forgotten.
    pub(super) fn writes(&self) -> Result<[Write; 3], StoreError> {
        let mut login = vec![
            Action::Set(attr("uid"), text(self.key.user().as_str())),
            Action::Set(attr("pv"), num(self.user.password_version)),
            Action::Set(attr("n"), num(0)),
            Action::Set(attr("ttl"), text("never")),
        ];
        login.extend(self.hash.as_ref().map(|hash| Action::Set(attr("ph"), text(hash.as_str()))));
        let mut profile = item::write(&self.profile)?;
        let sort = format!("{}#{}", fold(&self.profile.username), self.key.user());
        profile.insert("GP".to_owned(), text(keys::directory(self.key.tenant())));
        profile.insert("GS".to_owned(), text(sort));
        Ok([
            Write::update(keys::login(&self.login), vec![absent(attr("uid"))], login),
            Write::put_new(keys::user(&self.key), item::write(&self.user)?),
            Write::put_new(keys::profile(&self.key), profile),
        ])
    }
}

/// What became of somebody to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Created.
    Yes,
    /// Somebody has the login name.
    NameTaken,
    /// Somebody has the id.
    IdTaken,
    /// There is no such tenant.
    NoTenant,
    /// The caller may no longer.
    ActorGone,
}

/// What is to change about somebody.
#[derive(Default)]
pub struct Patch {
    /// Employee or contact; an exclusion ends with the contact.
    pub kind: Option<Kind>,
    /// Role.
    pub role: Option<Role>,
    /// Which door.
    pub auth_type: Option<AuthType>,
    /// May sign in.
    pub active: Option<bool>,
    /// The name that is shown.
    pub display_name: Option<String>,
    /// Where notifications go.
    pub email: Option<String>,
    /// A new password.
    pub hash: Option<PasswordHash>,
}

/// What became of a change.
pub enum Changed {
    /// Changed, or so already: as they are now.
    Yes(Box<(User, Profile)>),
    /// No such person in this tenant.
    NotFound,
    /// Kind and role would not fit.
    Misfit,
    /// A tenant keeps its last active Administrator.
    LastAdministrator,
    /// The caller may no longer.
    ActorGone,
}

/// Whom a change is about, as the round trip that found out who asks has read them.
pub struct Named {
    key: UserKey,
    found: [Option<Item>; 2],
}

impl Named {
    /// Who.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// As they are; `None` for nobody.
    ///
    /// # Errors
    /// [`StoreError::Poison`].
    pub fn read(&self) -> Result<Option<(User, Profile)>, StoreError> {
        let [Some(user), Some(profile)] = &self.found else { return Ok(None) };
        Ok(Some((item::read(user.clone())?, item::read(profile.clone())?)))
    }
}

/// What became of one's own password.
pub enum PasswordChanged {
    /// Changed; every session but this new one is dead.
    Yes(SignedIn),
    /// The caller's session ended meanwhile.
    Gone(NoSession),
}

/// Whether a role goes with a kind, in a tenant.
#[must_use]
pub fn fits(tenant: &TenantId, kind: Kind, role: Role) -> bool {
    match (kind, role) {
        (Kind::Employee, Role::Operator) => tenant.is_support(),
        (Kind::Employee, Role::Administrator | Role::Standard) | (Kind::Contact, Role::Portal) => !tenant.is_support(),
        _ => false,
    }
}

impl Store {
    /// Creates somebody: login name, person and names in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn create_person(
        &self,
        by: &By<'_>,
        person: &NewPerson,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Created, StoreError> {
        let tenant = person.key.tenant();
        let mut writes: Vec<_> = person.writes()?.into();
        writes.push(Write::check(keys::tenant(tenant), vec![exists(attr("PK"))]));
        if person.user.administers_now() {
            writes.push(Write::update(keys::administrators(tenant), vec![], vec![appointed("act", &person.key)]));
        }
        let own = writes.len();
        writes.extend(by.check(attempt.at()));
        let row = audit_row(tenant, attempt, 0, event)?;
        let met = match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => return Ok(Created::Yes),
            Transacted::Refused(met) => met,
        };
        let refused = |at: usize| met.get(at).is_some_and(Option::is_some);
        Ok(match () {
            () if refused(own) => Created::ActorGone,
            () if refused(3) || refused(4) => Created::NoTenant,
            () if refused(0) => Created::NameTaken,
            () => Created::IdTaken,
        })
    }

    /// Finds out who asks about a person of their tenant, and reads that person: one round trip.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn ask_person(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<Result<(Principal, Named), NoSession>, StoreError> {
        let key = token.user().tenant().user(target);
        let [own, user, profile] = self.read_all(named_keys(token.user(), &key)).await?;
        let principal = self.principal(own, token, now).await?;
        Ok(principal.map(|principal| (principal, Named { key, found: [user, profile] })))
    }

    /// Changes somebody. Every change but of names raises the epoch: their sessions have to be refreshed.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn change_person(
        &self,
        authority: &Authority,
        mut named: Named,
        patch: &Patch,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        for _ in 0..REPLANS {
            let Some((user, profile)) = named.read()? else { return Ok(Changed::NotFound) };
            let plan = Plan::new(&named.key, user, profile, patch, attempt.at());
            if !fits(named.key.tenant(), plan.after.kind, plan.after.role) {
                return Ok(Changed::Misfit);
            }
            let dismisses = plan.before.administers_now() && !plan.after.administers_now();
            let Some(writes) = plan.writes(authority, attempt.at())? else {
                return Ok(Changed::Yes(Box::new((plan.after, plan.profile))));
            };
            let row = audit_row(named.key.tenant(), attempt, 0, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(Changed::Yes(Box::new((plan.after, plan.profile))));
            }
            match self.look_again(authority, named, dismisses, attempt.at()).await? {
                Ok(again) => named = again,
                Err(why) => return Ok(why),
            }
        }
        Err(StoreError::Contended("a person who is to be changed keeps changing".into()))
    }

    /// Deletes somebody: nothing of theirs is left but the audit, and the name is free.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn delete_person(
        &self,
        authority: &Authority,
        mut named: Named,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        for _ in 0..REPLANS {
            let Some((user, profile)) = named.read()? else { return Ok(Changed::NotFound) };
            let (key, now) = (&named.key, attempt.at());
            let dismisses = user.administers_now();
            let mut guards = as_read(&user);
            let mut writes = Vec::new();
            merge_authority(authority, key, &mut guards, &mut writes, now);
            let mine = vec![eq(attr("uid"), key.user().as_str())];
            writes.extend([
                Write::delete(keys::user(key), guards),
                Write::delete(keys::profile(key), vec![]),
                Write::delete(keys::login(&LoginKey::of(key.tenant(), &user.login)), mine),
                Write::delete(keys::exclusion(key), vec![]),
            ]);
            if user.administers_now() {
                writes.push(dismissed(key));
            }
            let row = audit_row(key.tenant(), attempt, 0, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(Changed::Yes(Box::new((user, profile))));
            }
            match self.look_again(authority, named, dismisses, now).await? {
                Ok(again) => named = again,
                Err(why) => return Ok(why),
            }
        }
        Err(StoreError::Contended("a person who is to be deleted keeps changing".into()))
    }

    /// Why a change was refused; or the person as they are now, to plan it anew.
    async fn look_again(
        &self,
        authority: &Authority,
        named: Named,
        dismisses: bool,
        now: Timestamp,
    ) -> Result<Result<Named, Changed>, StoreError> {
        let key = named.key;
        let tenant = keys::administrators(key.tenant());
        let [own, user, profile] = named_keys(authority.key(), &key);
        let [own, user, profile, administrators] = self.read_all([own, user, profile, tenant]).await?;
        if !authority.still_holds(&item::read(own.ok_or_else(gone)?)?, now) {
            return Ok(Err(Changed::ActorGone));
        }
        let named = Named { key, found: [user, profile] };
        let administrators: item::Administrators = item::read(administrators.unwrap_or_default())?;
        let only = administrators.active.len() < 2 && administrators.active.contains_key(named.key.user());
        Ok(if only && dismisses { Err(Changed::LastAdministrator) } else { Ok(named) })
    }

    /// Changes the caller's own password, which was right: known devices are forgotten, every other session is dead.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn change_password(
        &self,
        caller: &Principal,
        right: RightPassword,
        hash: &PasswordHash,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<PasswordChanged, StoreError> {
        let (token, attempt) = (caller.token(), right.tried.attempt);
        let (key, now) = (token.user(), attempt.at());
        let mut user = right.user;
        for _ in 0..REPLANS {
            let session = NewSession::instead_of(caller.session(), key, user.epoch + 1, &attempt, entropy)
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let (mut guards, mut actions) = open(&user, &session, None, now)?;
            guards.extend(living(token, now));
            guards.extend([eq(attr("ep"), user.epoch), eq(attr("pv"), user.password_version)]);
            actions.extend([Action::Add(attr("pv"), 1), Action::Set(attr("d"), empty())]);
            actions.extend(raise_epoch());
            let writes = vec![
                Write::update(keys::user(key), guards, actions),
                new_password(key, &right.tried.login, user.password_version, hash),
            ];
            let row = audit_row(key.tenant(), &attempt, 0, event)?;
            let met = match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => return Ok(PasswordChanged::Yes(session.opened(&user))),
                Transacted::Refused(met) => met.into_iter().next().flatten().flatten(),
            };
            let Some(item) = met else { return Ok(PasswordChanged::Gone(NoSession::Invalid)) };
            let met: User = item::read(item)?;
            if let Err(why) = find(&met, token, now) {
                return Ok(PasswordChanged::Gone(why));
            }
            user = met;
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }
}

/// How often a change is planned anew because the person changed under it.
const REPLANS: usize = 4;

fn gone() -> StoreError {
    StoreError::Contended("the caller went away".into())
}

fn named_keys(actor: &UserKey, target: &UserKey) -> [write::Key; 3] {
    [keys::user(actor), keys::user(target), keys::profile(target)]
}

fn as_read(user: &User) -> Vec<Guard> {
    vec![eq(attr("ep"), user.epoch), eq(attr("born"), user.born.bytes()), eq(attr("fs"), state(user.factor))]
}

fn state(factor: FactorState) -> &'static str {
    match factor {
        FactorState::None => "n",
        FactorState::Active => "a",
        FactorState::Disabled => "d",
    }
}

/// The caller's right: a condition of its own, or, for a change of oneself, of the same write.
fn merge_authority(
    authority: &Authority,
    target: &UserKey,
    guards: &mut Vec<Guard>,
    writes: &mut Vec<Write>,
    now: Timestamp,
) {
    if target == authority.key() {
        guards.extend(authority.guards(now));
    } else {
        writes.push(Write::check(keys::user(authority.key()), authority.guards(now)));
    }
}

fn appointed(map: &'static str, key: &UserKey) -> Action {
    Action::Set(attr(map).key(key.user().as_str().to_owned()), Value::Bool(true))
}

/// An active Administrator who is one no longer: never the last.
fn dismissed(key: &UserKey) -> Write {
    let of = |map: &'static str| attr(map).key(key.user().as_str().to_owned());
    let guards = vec![ge(size(attr("act")), 2), exists(of("act"))];
    Write::update(
        keys::administrators(key.tenant()),
        guards,
        vec![Action::Remove(of("act")), Action::Remove(of("able"))],
    )
}

fn new_password(key: &UserKey, login: &LoginKey, version: i64, hash: &PasswordHash) -> Write {
    Write::update(
        keys::login(login),
        vec![eq(attr("uid"), key.user().as_str()), eq(attr("pv"), version)],
        vec![
            Action::Set(attr("ph"), text(hash.as_str())),
            Action::Set(attr("pv"), num(version + 1)),
            Action::Set(attr("n"), num(0)),
        ],
    )
}

/// A change as it is to be written.
struct Plan<'a> {
    key: &'a UserKey,
    patch: &'a Patch,
    before: User,
    after: User,
    profile: Profile,
    named_anew: bool,
    now: Timestamp,
}

impl<'a> Plan<'a> {
    fn new(key: &'a UserKey, before: User, mut profile: Profile, patch: &'a Patch, now: Timestamp) -> Self {
        let mut after = before.clone();
        after.kind = patch.kind.unwrap_or(before.kind);
        after.role = patch.role.unwrap_or(before.role);
        after.auth_type = patch.auth_type.unwrap_or(before.auth_type);
        after.active = patch.active.unwrap_or(before.active);
        if after.kind == Kind::Employee {
            after.excluded = None;
        }
        let old = profile.clone();
        if let Some(name) = &patch.display_name {
            profile.display_name.clone_from(name);
        }
        if patch.email.is_some() {
            profile.email.clone_from(&patch.email);
        }
        Self { key, patch, named_anew: old != profile, before, after, profile, now }
    }

    /// Whether it is more than a change of names.
    fn raises_epoch(&self) -> bool {
        let of = |user: &User| (user.kind, user.role, user.auth_type, user.active);
        of(&self.before) != of(&self.after) || self.patch.hash.is_some()
    }

    /// The writes; `None` where nothing changes.
    fn writes(&self, authority: &Authority, now: Timestamp) -> Result<Option<Vec<Write>>, StoreError> {
        let (key, mut writes) = (self.key, Vec::new());
        let mut guards = as_read(&self.before);
        merge_authority(authority, key, &mut guards, &mut writes, now);
        if self.raises_epoch() {
            writes.push(Write::update(keys::user(key), guards, self.actions()?));
        } else if self.named_anew {
            writes.push(Write::check(keys::user(key), guards));
        } else {
            return Ok(None);
        }
        if self.named_anew {
            let mut actions = vec![Action::Set(attr("dn"), text(&self.profile.display_name))];
            actions.extend(self.profile.email.as_ref().map(|email| Action::Set(attr("em"), text(email))));
            writes.push(Write::update(keys::profile(key), vec![exists(attr("PK"))], actions));
        }
        if let Some(hash) = &self.patch.hash {
            let login = LoginKey::of(key.tenant(), &self.before.login);
            writes.push(new_password(key, &login, self.before.password_version, hash));
        }
        if self.before.kind == Kind::Contact && self.after.kind == Kind::Employee {
            writes.push(Write::delete(keys::exclusion(key), vec![]));
        }
        match (self.before.administers_now(), self.after.administers_now()) {
            (true, false) => writes.push(dismissed(key)),
            (false, true) => {
                let mut actions = vec![appointed("act", key)];
                actions.extend((self.after.factor == FactorState::Active).then(|| appointed("able", key)));
                writes.push(Write::update(keys::administrators(key.tenant()), vec![], actions));
            }
            _ => {}
        }
        Ok(Some(writes))
    }

    fn actions(&self) -> Result<Vec<Action>, StoreError> {
        let after = &self.after;
        let mut actions = vec![
            Action::Set(attr("k"), item::value(&after.kind)?),
            Action::Set(attr("r"), item::value(&after.role)?),
            Action::Set(attr("at"), item::value(&after.auth_type)?),
            Action::Set(attr("ac"), Value::Bool(after.active)),
        ];
        actions.extend(raise_epoch());
        if after.kind == Kind::Employee && self.before.kind == Kind::Contact {
            actions.push(Action::Remove(attr("ex")));
        }
        if self.before.excluded.is_some() && after.excluded.is_none() {
            // They had no factor by right, and now have to enrol: not dormant.
            actions.push(Action::Set(attr("seen"), num(self.now.secs())));
        }
        if !after.active || self.patch.hash.is_some() {
            actions.push(Action::Set(attr("d"), empty()));
        }
        if self.patch.hash.is_some() {
            actions.push(Action::Add(attr("pv"), 1));
        }
        Ok(actions)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::{
        env::SystemEntropy,
        id::LoginName,
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt},
            login::Charge,
        },
    };

    fn newcomer(ann: &Ann, name: &str, role: Role) -> NewPerson {
        let tenant = ann.key.tenant();
        let login = ann.keys.login(tenant, &LoginName::fold(name));
        let kind = if role == Role::Portal { Kind::Contact } else { Kind::Employee };
        let asked = Asked { kind, role, auth_type: AuthType::Local, username: name, display_name: name, email: None };
        let key = tenant.user(UserId::parse(&format!("u-{name}")).unwrap());
        NewPerson::new(key, login, &asked, Nonce::generate(&SystemEntropy).unwrap(), NOW)
    }

    async fn create(ann: &Ann, person: &NewPerson) -> Created {
        ann.store.create_person(&By::Seed, person, &attempt(NOW), &ann.event()).await.unwrap()
    }

    async fn authority(ann: &Ann, token: &TokenRef) -> Authority {
        ann.store.read_session(token, NOW).await.unwrap().ok().unwrap().administrator(NOW).ok().unwrap()
    }

    /// Ann, signed in, with somebody else of a role.
    async fn office(name: &str, role: Role) -> (Ann, TokenRef, UserKey) {
        let (ann, challenges) = ann(2).await;
        let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let other = newcomer(&ann, name, role);
        assert_eq!(create(&ann, &other).await, Created::Yes);
        (ann, session, other.key)
    }

    async fn named(ann: &Ann, key: &UserKey) -> Named {
        let [_, user, profile] = ann.store.read_all(named_keys(&ann.key, key)).await.unwrap();
        Named { key: key.clone(), found: [user, profile] }
    }

    async fn change(ann: &Ann, session: &TokenRef, key: &UserKey, patch: &Patch) -> Changed {
        let (authority, named) = (authority(ann, session).await, named(ann, key).await);
        ann.store.change_person(&authority, named, patch, &attempt(NOW), &ann.event()).await.unwrap()
    }

    fn role(role: Role) -> Patch {
        Patch { role: Some(role), ..Patch::default() }
    }

    #[tokio::test]
    async fn of_people_of_one_name_one_is_created_and_takes_over_what_failed_tries_left() {
        let (ann, _) = ann(0).await;
        let one = newcomer(&ann, "bob", Role::Standard);
        for _ in 0..3 {
            let ladder = crate::policy::Ladder::at(NOW);
            let charge = ann.store.charge_login(&one.login, None, &ladder, &attempt(NOW)).await.unwrap();
            assert!(matches!(charge, Charge::Admitted(_)));
        }
        let people: Vec<_> = (0..8)
            .map(|n| {
                let mut person = newcomer(&ann, "bob", Role::Standard);
                person.key = ann.key.tenant().user(UserId::parse(&format!("u-{n}")).unwrap());
                person
            })
            .collect();
        let made = join_all(people.iter().map(|person| create(&ann, person))).await;
        assert_eq!(made.iter().filter(|it| **it == Created::Yes).count(), 1);
        assert_eq!(made.iter().filter(|it| **it == Created::NameTaken).count(), 7);
        let ladder = crate::policy::Ladder::at(NOW);
        let charge = ann.store.charge_login(&one.login, None, &ladder, &attempt(NOW)).await.unwrap();
        let Charge::Admitted(tried) = charge else { panic!("refused") };
        assert_eq!(tried.failures(), 1);
        let mut same_id = newcomer(&ann, "rob", Role::Standard);
        same_id.key = tried.owner().unwrap();
        assert_eq!(create(&ann, &same_id).await, Created::IdTaken);
    }

    #[tokio::test]
    async fn every_change_but_of_names_raises_the_epoch_and_none_is_no_change() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let name = Patch { display_name: Some("Bobby".into()), ..Patch::default() };
        let Changed::Yes(now) = change(&ann, &session, &bob, &name).await else { panic!("refused") };
        assert_eq!((now.0.epoch, now.1.display_name.as_str()), (1, "Bobby"));
        change(&ann, &session, &bob, &role(Role::Standard)).await;
        assert_eq!(ann.read(&bob).await.epoch, 1);
        for (patch, epoch) in [
            (role(Role::Administrator), 2),
            (Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() }, 3),
            (Patch { active: Some(false), ..Patch::default() }, 4),
            (Patch { kind: Some(Kind::Contact), role: Some(Role::Portal), ..Patch::default() }, 5),
        ] {
            assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Yes(_)));
            assert_eq!(ann.read(&bob).await.epoch, epoch);
        }
        assert!(matches!(change(&ann, &session, &bob, &role(Role::Standard)).await, Changed::Misfit));
    }

    /// store.md, corrections: who is an Administrator, and who of them has a factor, follows every change.
    #[tokio::test]
    async fn administrators_are_kept_count_of() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (u_ann, u_bob) = (ann.key.user().clone(), bob.user().clone());
        let state = || async {
            let now = ann.administrators().await;
            (now.active.contains_key(&u_bob), now.able.contains_key(&u_bob))
        };
        change(&ann, &session, &bob, &role(Role::Administrator)).await;
        assert_eq!(state().await, (true, false));
        change(&ann, &session, &bob, &Patch { active: Some(false), ..Patch::default() }).await;
        assert_eq!(state().await, (false, false));
        change(&ann, &session, &bob, &Patch { active: Some(true), ..Patch::default() }).await;
        assert_eq!(state().await, (true, false));
        let (authority, named) = (authority(&ann, &session).await, named(&ann, &bob).await);
        ann.store.delete_person(&authority, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(state().await, (false, false));
        assert!(ann.administrators().await.able.contains_key(&u_ann));
    }

    #[tokio::test]
    async fn the_last_active_administrator_stays_also_when_two_demote_each_other() {
        let (ann, session, amy) = office("amy", Role::Administrator).await;
        let inactive = || Patch { active: Some(false), ..Patch::default() };
        // Both were planned while there were two.
        let (event, patch) = (ann.event(), inactive());
        let mut plans = Vec::new();
        for key in [&ann.key, &amy] {
            plans.push((authority(&ann, &session).await, named(&ann, key).await, attempt(NOW)));
        }
        let done = plans.into_iter().map(|(authority, named, attempt)| {
            let (store, patch, event) = (&ann.store, &patch, &event);
            async move { store.change_person(&authority, named, patch, &attempt, event).await.unwrap() }
        });
        let done = join_all(done).await.iter().filter(|it| matches!(it, Changed::Yes(_))).count();
        assert_eq!((done, ann.administrators().await.active.len()), (1, 1));
        let (ann, session, _) = office("bob", Role::Standard).await;
        for patch in [role(Role::Standard), inactive()] {
            assert!(matches!(change(&ann, &session, &ann.key, &patch).await, Changed::LastAdministrator));
        }
        let (authority, named) = (authority(&ann, &session).await, named(&ann, &ann.key).await);
        let gone = ann.store.delete_person(&authority, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(gone, Changed::LastAdministrator));
    }

    #[tokio::test]
    async fn nobody_changes_anything_after_their_right_is_gone() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (authority, named_bob) = (authority(&ann, &session).await, named(&ann, &bob).await);
        ann.change(Action::Add(attr("ep"), 1)).await;
        let patch = role(Role::Administrator);
        let done = ann.store.change_person(&authority, named_bob, &patch, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(done, Changed::ActorGone) && ann.read(&bob).await.role == Role::Standard);
        let someone = newcomer(&ann, "eve", Role::Standard);
        let by = By::Authority(&authority);
        let made = ann.store.create_person(&by, &someone, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(made, Created::ActorGone);
    }

    #[tokio::test]
    async fn nothing_is_left_of_somebody_deleted_and_the_name_is_free() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (authority, named) = (authority(&ann, &session).await, named(&ann, &bob).await);
        let gone = ann.store.delete_person(&authority, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(gone, Changed::Yes(_)));
        let found = ann.store.read_all([keys::user(&bob), keys::profile(&bob), keys::exclusion(&bob)]).await.unwrap();
        assert_eq!(found, [None, None, None]);
        assert_eq!(create(&ann, &newcomer(&ann, "bob", Role::Standard)).await, Created::Yes);
    }

    #[tokio::test]
    async fn a_changed_password_ends_every_session_and_device_but_the_new_one() {
        let (ann, challenges) = ann(2).await;
        let first = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap();
        let other = ann.signed_in(&challenges[1], STEP + 1, NOW).await.unwrap();
        let caller = ann.store.read_session(first.token.reference(), NOW).await.unwrap().ok().unwrap();
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let late = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let hash = ann.hash("another good password").await;
        let event = ann.event();
        let done = ann.store.change_password(&caller, right, &hash, &SystemEntropy, &event).await.unwrap();
        let PasswordChanged::Yes(now) = done else { panic!("refused") };
        assert_eq!((now.session.amr, now.session.ends), (item::Amr::Otp, first.session.ends));
        let why = |token: &TokenRef| {
            let (store, token) = (ann.store.clone(), token.clone());
            async move { store.read_session(&token, NOW).await.unwrap().err() }
        };
        assert_eq!(why(now.token.reference()).await, None);
        for token in [&first.token, &other.token] {
            assert_eq!(why(token.reference()).await, Some(NoSession::RefreshRequired));
        }
        assert!(ann.read(&ann.key).await.devices.is_empty());
        assert!(ann.password(PASSWORD, None, NOW).await.is_err());
        let again = ann.store.change_password(&caller, late, &hash, &SystemEntropy, &event).await.unwrap();
        assert!(matches!(again, PasswordChanged::Gone(_)), "the old password changes nothing any more");
    }
}
