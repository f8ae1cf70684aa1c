//! Commands of the directory: creating, changing and deleting people, and changing one's own password.

use std::collections::BTreeSet;

use tokio::join;

use super::{
    MAX_RETRIES, Store, StoreError,
    enrolment::{raise_security_version, require_enrolment},
    item,
    item::{Administrators, AuthType, FactorState, Kind, LoginRow, Profile, Role, Subject, User},
    keys,
    session::{AdminContext, NoSession, Principal, in_time, living, open},
    sso::linked,
    table::{Retry, Transacted, Transaction, Updated, met_first},
    write::{self, Action, Condition, Item, Value, Write, absent, attr, empty, eq, exists, ge, ne, num, size, text},
};
use crate::{
    audit::AuditEvent,
    env::{Entropy, Timestamp},
    id::{TenantId, UserId, UserKey, fold},
    password::PasswordHash,
    secret::{LoginKey, NameIdLink, NameKey, Nonce, TokenRef},
    sign_in::{Attempt, NewSession, OwnPasswordAttempt, SignedIn, VerifiedOwnPassword},
};

/// On whose behalf.
pub enum Actor<'a> {
    /// Nobody's: a seed, or an operator of the machine.
    Seed,
    /// Nobody's either, for the first who administers a tenant: refused while somebody active does.
    First,
    /// Nobody's either: the tenant's IdP has said who they are, and its item was read.
    Idp,
    /// An Administrator's, whose right the transaction asks again.
    AdminContext(&'a AdminContext),
}

impl Actor<'_> {
    pub(super) fn check(&self, now: Timestamp) -> Option<Write> {
        match self {
            Self::Seed | Self::First | Self::Idp => None,
            Self::AdminContext(admin) => Some(Write::check(keys::user(admin.key()), admin.conditions(now))),
        }
    }
}

/// A person to be.
pub struct NewUser {
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
    /// Where somebody is whose login name is what the IdP calls them.
    called: Option<LoginKey>,
    /// Where somebody is whom the IdP calls by their login name.
    namesakes: Vec<String>,
}

/// What somebody is to be, as the caller says it.
pub struct NewUserDetails<'a> {
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

impl NewUser {
    /// Somebody new, active, of a login name.
    #[must_use]
    pub fn new(
        key: UserKey,
        login: LoginKey,
        details: &NewUserDetails<'_>,
        incarnation: Nonce,
        now: Timestamp,
    ) -> Self {
        let user = User::new(details.kind, details.role, details.auth_type, incarnation, login.digest(), now);
        let profile = Profile {
            username: details.username.to_owned(),
            display_name: details.display_name.to_owned(),
            email: details.email.map(str::to_owned),
            created: now.secs(),
            name_id: None,
            subject: None,
        };
        Self { key, login, user, profile, hash: None, called: None, namesakes: Vec::new() }
    }

    /// Called so by the tenant's IdP.
    #[must_use]
    pub fn linked(mut self, link: NameIdLink) -> Self {
        self.profile.name_id = Some(link.name_id);
        self.profile.subject = Some(link.subject);
        self.called = Some(link.login);
        self
    }

    /// In a tenant with an IdP: nobody else may be called by it as this person's login name is.
    #[must_use]
    pub fn beside_idp(mut self, names: &NameKey, entity_id: &str) -> Self {
        let name = &self.profile.username;
        let forms = BTreeSet::from([name.clone(), name.to_lowercase(), fold(name)]);
        self.namesakes = forms.iter().map(|form| names.subject(self.key.tenant(), entity_id, form)).collect();
        self
    }

    /// That no name is one person's at a sign-in by password, and another's at one by the IdP.
    fn name_collision_checks(&self) -> Vec<Write> {
        let called = self.called.iter().filter(|called| **called != self.login);
        let called = called.map(|called| login_unclaimed_by_others(called, self.key.user()));
        let own = self.profile.subject.as_ref();
        let namesakes = self.namesakes.iter().filter(|subject| Some(*subject) != own);
        let namesakes =
            namesakes.map(|subject| Write::check(keys::subject(self.key.tenant(), subject), vec![absent(attr("PK"))]));
        called.chain(namesakes).collect()
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
        let password_fits_contact = self.hash.as_ref().is_none_or(PasswordHash::long_enough_for_a_contact);
        let user = User { password_fits_contact, ..self.user.clone() };
        let mut profile = item::write(&self.profile)?;
        let sort = format!("{}#{}", fold(&self.profile.username), self.key.user());
        profile.insert("GP".to_owned(), text(keys::directory(self.key.tenant())));
        profile.insert("GS".to_owned(), text(sort));
        Ok([
            Write::update(keys::login(&self.login), vec![absent(attr("uid"))], login),
            Write::put_new(keys::user(&self.key), item::write(&user)?),
            Write::put_new(keys::profile(&self.key), profile),
        ])
    }
}

/// What became of somebody to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Created.
    Done,
    /// Somebody has the login name.
    NameTaken,
    /// Somebody has the id.
    IdTaken,
    /// There is no such tenant.
    NoTenant,
    /// Somebody else is called so by the IdP.
    SubjectTaken,
    /// The IdP calls somebody by another person's login name.
    Ambiguous,
    /// Somebody administers the tenant already.
    NotFirst,
    /// The caller may no longer.
    ActorRevoked,
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
    /// What the tenant's IdP calls them.
    pub linked: Option<NameIdLink>,
}

/// What became of a change.
pub enum Changed {
    /// Changed, or so already: as they are now.
    Done(Box<(User, Profile)>),
    /// No such person in this tenant.
    NotFound,
    /// Kind and role would not fit.
    InvalidCombination,
    /// The new password is too short for a contact.
    PasswordTooShort,
    /// A tenant keeps its last active Administrator.
    LastAdministrator,
    /// Somebody else is called so by the IdP.
    SubjectTaken,
    /// It is another person's login name.
    Ambiguous,
    /// The caller may no longer.
    ActorRevoked,
}

/// Whom a change is about, as the round trip that found out who asks has read them.
pub struct LoadedUser {
    key: UserKey,
    found: [Option<Item>; 2],
}

impl LoadedUser {
    /// Who.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// As they are; `None` for nobody.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn read(&self) -> Result<Option<(User, Profile)>, StoreError> {
        let [Some(user), Some(profile)] = &self.found else { return Ok(None) };
        Ok(Some((item::read(user.clone())?, item::read(profile.clone())?)))
    }
}

/// What became of one's own password.
pub enum PasswordChanged {
    /// Changed; every session but this new one is dead.
    Done(SignedIn),
    /// The caller's session ended meanwhile.
    NoSession(NoSession),
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

/// Whether they fit in some tenant: what can be said before it is known in which.
#[must_use]
pub fn fits_somewhere(kind: Kind, role: Role) -> bool {
    (kind == Kind::Contact) == (role == Role::Portal)
}

impl Store {
    /// Creates somebody: login name, person and names in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn create_user(
        &self,
        by: &Actor<'_>,
        person: &NewUser,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Created, StoreError> {
        let tenant = person.key.tenant();
        let mut writes: Vec<_> = person.writes()?.into();
        // Everybody's creation would meet at the tenant's item: it is asked only where nothing else shows that the tenant is
        // there. Nothing deletes a tenant.
        let shown = match by {
            Actor::Seed | Actor::First => false,
            Actor::AdminContext(admin) => admin.tenant() == tenant,
            Actor::Idp => true,
        };
        let details = writes.len();
        if !shown {
            writes.push(Write::check(keys::tenant(tenant), vec![exists(attr("PK"))]));
        }
        let registry = writes.len();
        if person.user.administers_now() {
            let nobody = Condition::Any(vec![absent(attr("act")), eq(size(attr("act")), 0)]);
            let conditions = if matches!(by, Actor::First) { vec![nobody] } else { vec![] };
            let add_admin = add_admin(&person.key, person.user.auth_type);
            writes.push(Write::update(keys::administrators(tenant), conditions, vec![add_admin]));
        }
        let own = writes.len();
        writes.extend(by.check(attempt.at()));
        let link = writes.len();
        if let Some(subject) = &person.profile.subject {
            writes.push(linked(&person.key, &person.user, subject)?);
        }
        let apart = writes.len();
        writes.extend(person.name_collision_checks());
        let row = self.audit_row(tenant, attempt, 0, event)?;
        let met = match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => return Ok(Created::Done),
            Transacted::Refused(met) => met,
        };
        let refused = |at: usize| met.get(at).is_some_and(Option::is_some);
        Ok(match () {
            () if link > own && refused(own) => Created::ActorRevoked,
            () if person.profile.subject.is_some() && refused(link) => Created::SubjectTaken,
            () if !shown && refused(details) => Created::NoTenant,
            () if met.iter().skip(apart).any(Option::is_some) => Created::Ambiguous,
            () if own > registry && refused(registry) => Created::NotFirst,
            () if refused(0) => Created::NameTaken,
            () => Created::IdTaken,
        })
    }

    /// Finds out who asks about a person of their tenant, and reads that person: one round trip.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_user(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<Result<(Principal, LoadedUser), NoSession>, StoreError> {
        let key = token.user().tenant().user(target);
        let [own, user, profile] = named_keys(token.user(), &key);
        let [own, idp, user, profile] = self.read_all([own, keys::idp(key.tenant()), user, profile]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok(principal.map(|principal| (principal, LoadedUser { key, found: [user, profile] })))
    }

    /// Changes somebody. Every change but of names raises the epoch: their sessions have to be refreshed.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn update_user(
        &self,
        admin: &AdminContext,
        mut named: LoadedUser,
        patch: &Patch,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        for _ in 0..MAX_RETRIES {
            let Some((user, profile)) = named.read()? else { return Ok(Changed::NotFound) };
            let plan = Plan::new(&named.key, user, profile, patch, attempt.at());
            if !fits(named.key.tenant(), plan.after.kind, plan.after.role) {
                return Ok(Changed::InvalidCombination);
            }
            if plan.after.kind == Kind::Contact && patch.hash.as_ref().is_some_and(|it| !it.long_enough_for_a_contact())
            {
                return Ok(Changed::PasswordTooShort);
            }
            let administrators = self.administrators(&named.key, plan.auth_type().is_some()).await?;
            let writes = match plan.writes(admin, &administrators)? {
                Planned::Writes(writes) => writes,
                Planned::Nothing => return Ok(Changed::Done(Box::new((plan.after, plan.profile)))),
                Planned::LastAdministrator => return Ok(Changed::LastAdministrator),
            };
            let row = self.audit_row(named.key.tenant(), attempt, 0, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(Changed::Done(Box::new((plan.after, plan.profile))));
            }
            match self.look_again(admin, named, attempt.at()).await? {
                Some(again) => named = again,
                None => return Ok(Changed::ActorRevoked),
            }
            if let Some(link) = &patch.linked {
                let wanted = [keys::subject(named.key.tenant(), &link.subject), keys::login(&link.login)];
                let [subject, login] = self.read_all(wanted).await?;
                let subject: Option<Subject> = subject.map(item::read).transpose()?;
                if subject.is_some_and(|subject| subject.uid != *named.key.user()) {
                    return Ok(Changed::SubjectTaken);
                }
                let login: Option<LoginRow> = login.map(item::read).transpose()?;
                if login.and_then(|login| login.uid).is_some_and(|uid| uid != *named.key.user()) {
                    return Ok(Changed::Ambiguous);
                }
            }
        }
        Err(StoreError::Contended("a person who is to be changed keeps changing".into()))
    }

    /// Deletes somebody: nothing of theirs is left but the audit, and the name is free.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn delete_user(
        &self,
        admin: &AdminContext,
        mut named: LoadedUser,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Changed, StoreError> {
        for _ in 0..MAX_RETRIES {
            let Some((user, profile)) = named.read()? else { return Ok(Changed::NotFound) };
            let (key, now) = (&named.key, attempt.at());
            let administrators = self.administrators(key, user.administers_now()).await?;
            let mut conditions = as_read(&user)?;
            let mut writes = Vec::new();
            merge_authority(admin, key, &mut conditions, &mut writes, now);
            let mine = vec![eq(attr("uid"), key.user().as_str())];
            writes.extend([
                Write::delete(keys::user(key), conditions),
                Write::delete(keys::profile(key), vec![called(profile.subject.as_ref())]),
                Write::delete(keys::login(&LoginKey::of(key.tenant(), &user.login)), mine),
                Write::delete(keys::exclusion(key), vec![]),
            ]);
            writes.extend(
                profile.subject.iter().map(|subject| Write::delete(keys::subject(key.tenant(), subject), vec![])),
            );
            if user.administers_now() {
                match remove_admin(key, &administrators, None) {
                    Some(write) => writes.push(write),
                    None => return Ok(Changed::LastAdministrator),
                }
            }
            let row = self.audit_row(key.tenant(), attempt, 0, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, row)).await? {
                return Ok(Changed::Done(Box::new((user, profile))));
            }
            match self.look_again(admin, named, now).await? {
                Some(again) => named = again,
                None => return Ok(Changed::ActorRevoked),
            }
        }
        Err(StoreError::Contended("a person who is to be deleted keeps changing".into()))
    }

    /// The tenant's active Administrators, where a change is about one of them.
    pub(super) async fn administrators(&self, key: &UserKey, wanted: bool) -> Result<Administrators, StoreError> {
        if !wanted {
            return Ok(Administrators::default());
        }
        let [found] = self.read_all([keys::administrators(key.tenant())]).await?;
        item::read(found.unwrap_or_default())
    }

    /// The person as they are now, to plan a change anew; `None`: the caller may no longer.
    async fn look_again(
        &self,
        admin: &AdminContext,
        named: LoadedUser,
        now: Timestamp,
    ) -> Result<Option<LoadedUser>, StoreError> {
        let key = named.key;
        let [own, user, profile] = self.read_all(named_keys(admin.key(), &key)).await?;
        let still = admin.still(own, now)?;
        Ok(still.map(|_| LoadedUser { key, found: [user, profile] }))
    }

    /// Counts a try at the caller's current password, at their session alone: strangers who fail at the login name do not
    /// matter here, and this does not delay sign-in. The count stands whatever the check says, and the last of
    /// [`policy::MAX_ATTEMPTS`] ends the session.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn charge_own_password(
        &self,
        caller: &Principal,
        attempt: &Attempt,
    ) -> Result<Result<OwnPasswordAttempt, NoSession>, StoreError> {
        let (token, now) = (caller.token(), attempt.at());
        let (count, login) = (charge_session(token, attempt), [keys::login(&caller.login())]);
        let (counted, row) = join!(self.table.update(&count, Retry::Idempotent), self.table.read(&login));
        let user: User = match counted? {
            Updated::Written(Some(item)) => item::read(item)?,
            Updated::Written(None) | Updated::Refused(None) => return Ok(Err(NoSession::Invalid)),
            Updated::Refused(Some(item)) => {
                let user: User = item::read(item)?;
                let session = match user.session_in_time(token, now) {
                    Ok(session) => session,
                    Err(why) => return Ok(Err(why)),
                };
                if session.password_attempt != Some(attempt.nonce()) {
                    return Ok(Err(NoSession::Invalid)); // its tries are used up
                }
                user // counted already, the reply was lost: it is this one
            }
        };
        let row = item::read(row?.into_iter().next().flatten().unwrap_or_default())?;
        Ok(Ok(OwnPasswordAttempt { token: token.clone(), row, user, attempt: *attempt }))
    }

    /// Changes the caller's own password, which was right: known devices are forgotten, every other session is dead.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn change_password(
        &self,
        right: VerifiedOwnPassword,
        hash: &PasswordHash,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<PasswordChanged, StoreError> {
        let VerifiedOwnPassword(OwnPasswordAttempt { token, row: _, mut user, attempt }) = right;
        let (key, now) = (token.user(), attempt.at());
        let login = LoginKey::of(key.tenant(), &user.login);
        for _ in 0..MAX_RETRIES {
            let old = match user.session_in_time(&token, now) {
                Ok(old) => old,
                Err(why) => return Ok(PasswordChanged::NoSession(why)),
            };
            let session =
                NewSession::instead_of(old, key, user.security_version + 1, &attempt, self.restored, entropy)?;
            let (mut conditions, mut actions) = open(&user, &session, None, now)?;
            conditions.extend(in_time(&token, now));
            conditions.extend([eq(attr("ep"), user.security_version), eq(attr("pv"), user.password_version)]);
            actions.push(Action::Set(attr("d"), empty()));
            actions.extend(password_set(hash));
            actions.extend(raise_security_version());
            let writes = vec![
                Write::update(keys::user(key), conditions, actions),
                new_password(key, &login, user.password_version, hash),
            ];
            let row = self.audit_row(key.tenant(), &attempt, 0, event)?;
            let met = match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => return Ok(PasswordChanged::Done(session.opened(&user))),
                Transacted::Refused(met) => met_first(met),
            };
            let Some(item) = met else { return Ok(PasswordChanged::NoSession(NoSession::Invalid)) };
            user = item::read(item)?;
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }
}

/// Counts a try at the current password in the caller's session, which has to be alive. An attempt is counted once.
fn charge_session(token: &TokenRef, attempt: &Attempt) -> Write {
    let at = || attr("s").key(token.id().as_str().to_owned());
    let mut conditions = living(token, attempt.at());
    conditions.push(Condition::Any(vec![absent(at().key("pa")), ne(at().key("pa"), attempt.id())]));
    let actions = vec![Action::Count(at().key("p"), 1), Action::Set(at().key("pa"), write::bytes(attempt.id()))];
    Write::update(keys::user(token.user()), conditions, actions)
}

fn named_keys(actor: &UserKey, target: &UserKey) -> [write::Key; 3] {
    [keys::user(actor), keys::user(target), keys::profile(target)]
}

fn as_read(user: &User) -> Result<Vec<Condition>, StoreError> {
    let factor = item::value(&user.factor.state())?;
    Ok(vec![eq(attr("ep"), user.security_version), eq(attr("born"), user.incarnation.bytes()), eq(attr("fs"), factor)])
}

/// Still linked as read: a first sign-in links somebody without a change of their item's epoch.
fn called(subject: Option<&String>) -> Condition {
    subject.map_or_else(|| absent(attr("sj")), |subject| eq(attr("sj"), subject.as_str()))
}

/// The caller's right: a condition of its own, or, for a change of oneself, of the same write.
fn merge_authority(
    admin: &AdminContext,
    target: &UserKey,
    conditions: &mut Vec<Condition>,
    writes: &mut Vec<Write>,
    now: Timestamp,
) {
    if target == admin.key() {
        conditions.extend(admin.conditions(now));
    } else {
        writes.push(Write::check(keys::user(admin.key()), admin.conditions(now)));
    }
}

/// Notes an Administrator among those who have a factor.
pub(super) fn mark_admin_with_mfa(key: &UserKey) -> Action {
    Action::Set(attr("able").key(key.user().as_str().to_owned()), Value::Bool(true))
}

/// Notes an Administrator among those who are active, and by which door.
pub(super) fn add_admin(key: &UserKey, auth_type: AuthType) -> Action {
    Action::Set(attr("act").key(key.user().as_str().to_owned()), Value::Bool(auth_type == AuthType::Local))
}

/// Somebody is an active Administrator who signs in locally.
pub(super) fn is_local_admin(user: &UserId) -> Condition {
    eq(attr("act").key(user.as_str().to_owned()), true)
}

/// An active Administrator who is one no longer, or not by this door: never the last of all, and of those who sign in
/// locally only where there is an IdP. `None` where it would be the last.
pub(super) fn remove_admin(key: &UserKey, administrators: &Administrators, to: Option<AuthType>) -> Option<Write> {
    let of = |map: &'static str| attr(map).key(key.user().as_str().to_owned());
    // As it was read: who is not there any more was dismissed since the person was read, who is read anew then.
    let own = administrators.active.get(key.user());
    let mut conditions = vec![own.map_or_else(|| absent(of("act")), |local| eq(of("act"), *local))];
    if to.is_none() && own.is_some() {
        if administrators.active.len() < 2 {
            return None;
        }
        conditions.push(ge(size(attr("act")), 2));
    }
    let leaves_locals = own == Some(&true) && to != Some(AuthType::Local);
    if leaves_locals {
        conditions.push(match administrators.local(Some(key.user())) {
            _ if administrators.idp => exists(attr("idp")),
            Some(other) => is_local_admin(other),
            None => return None,
        });
    }
    let actions = match to {
        Some(auth_type) => vec![add_admin(key, auth_type)],
        None => vec![Action::Remove(of("act")), Action::Remove(of("able"))],
    };
    Some(Write::update(keys::administrators(key.tenant()), conditions, actions))
}

/// What a new password changes in the person's item.
fn password_set(hash: &PasswordHash) -> [Action; 2] {
    [Action::Add(attr("pv"), 1), Action::Set(attr("pl"), Value::Bool(hash.long_enough_for_a_contact()))]
}

/// What a new password changes in the login name's item.
/// That a login name is this person's or nobody's.
fn login_unclaimed_by_others(login: &LoginKey, user: &UserId) -> Write {
    Write::check(keys::login(login), vec![Condition::Any(vec![absent(attr("uid")), eq(attr("uid"), user.as_str())])])
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

/// What a change comes to.
enum Planned {
    Writes(Vec<Write>),
    Nothing,
    LastAdministrator,
}

/// A change as it is to be written.
struct Plan<'a> {
    key: &'a UserKey,
    patch: &'a Patch,
    before: User,
    after: User,
    profile: Profile,
    named_anew: bool,
    /// The link as it was.
    subject: Option<String>,
    now: Timestamp,
}

impl<'a> Plan<'a> {
    fn new(key: &'a UserKey, before: User, mut profile: Profile, patch: &'a Patch, now: Timestamp) -> Self {
        let mut after = before.clone();
        after.kind = patch.kind.unwrap_or(before.kind);
        after.role = patch.role.unwrap_or(before.role);
        after.role_by_groups = before.role_by_groups && patch.role.is_none();
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
        let subject = old.subject.clone();
        if let Some(link) = &patch.linked {
            (profile.name_id, profile.subject) = (Some(link.name_id.clone()), Some(link.subject.clone()));
        }
        Self { subject, key, patch, named_anew: old != profile, before, after, profile, now }
    }

    /// Whether it is more than a change of names.
    fn raises_security_version(&self) -> bool {
        let of = |user: &User| (user.kind, user.role, user.role_by_groups, user.auth_type, user.active);
        of(&self.before) != of(&self.after) || self.patch.hash.is_some() || self.linked_anew().is_some()
    }

    /// The link that is new, if one is.
    fn linked_anew(&self) -> Option<&String> {
        self.profile.subject.as_ref().filter(|subject| self.subject.as_ref() != Some(subject))
    }

    /// Where an active Administrator is one no longer, or by another door: by which, if by any.
    fn auth_type(&self) -> Option<Option<AuthType>> {
        let of = |user: &User| user.administers_now().then_some(user.auth_type);
        of(&self.before).filter(|before| Some(*before) != of(&self.after)).map(|_| of(&self.after))
    }

    fn writes(&self, admin: &AdminContext, administrators: &Administrators) -> Result<Planned, StoreError> {
        let (key, mut writes) = (self.key, Vec::new());
        let mut conditions = as_read(&self.before)?;
        merge_authority(admin, key, &mut conditions, &mut writes, self.now);
        if self.raises_security_version() {
            writes.push(Write::update(keys::user(key), conditions, self.actions()?));
        } else if self.named_anew {
            writes.push(Write::check(keys::user(key), conditions));
        } else {
            return Ok(Planned::Nothing);
        }
        if self.named_anew {
            let mut actions = vec![Action::Set(attr("dn"), text(&self.profile.display_name))];
            actions.extend(self.profile.email.as_ref().map(|email| Action::Set(attr("em"), text(email))));
            actions.extend(self.profile.name_id.as_ref().map(|name_id| Action::Set(attr("ni"), text(name_id))));
            actions.extend(self.profile.subject.as_ref().map(|subject| Action::Set(attr("sj"), text(subject))));
            let conditions = vec![exists(attr("PK")), called(self.subject.as_ref())];
            writes.push(Write::update(keys::profile(key), conditions, actions));
        }
        if let Some(hash) = &self.patch.hash {
            let login = LoginKey::of(key.tenant(), &self.before.login);
            writes.push(new_password(key, &login, self.before.password_version, hash));
        }
        if self.before.kind == Kind::Contact && self.after.kind == Kind::Employee {
            writes.push(Write::delete(keys::exclusion(key), vec![]));
        }
        if let Some(subject) = self.linked_anew() {
            let of = |subject: &str| keys::subject(key.tenant(), subject);
            writes.extend(self.subject.as_ref().map(|old| Write::delete(of(old), vec![])));
            writes.push(linked(key, &self.before, subject)?);
            // Their own login name they have: it may be written by this, too.
            let login = self.patch.linked.iter().map(|link| &link.login);
            let login = login.filter(|login| login.digest() != self.before.login);
            writes.extend(login.map(|login| login_unclaimed_by_others(login, key.user())));
        }
        if let Some(to) = self.auth_type() {
            match remove_admin(key, administrators, to) {
                Some(write) => writes.push(write),
                None => return Ok(Planned::LastAdministrator),
            }
        } else if self.after.administers_now() && !self.before.administers_now() {
            let mut actions = vec![add_admin(key, self.after.auth_type)];
            actions.extend((self.after.factor.state() == FactorState::Active).then(|| mark_admin_with_mfa(key)));
            writes.push(Write::update(keys::administrators(key.tenant()), vec![], actions));
        }
        Ok(Planned::Writes(writes))
    }

    fn actions(&self) -> Result<Vec<Action>, StoreError> {
        let after = &self.after;
        let mut actions = vec![
            Action::Set(attr("k"), item::value(&after.kind)?),
            Action::Set(attr("r"), item::value(&after.role)?),
            Action::Set(attr("at"), item::value(&after.auth_type)?),
            Action::Set(attr("ac"), Value::Bool(after.active)),
        ];
        actions.extend(raise_security_version());
        if self.before.role_by_groups && !after.role_by_groups {
            actions.push(Action::Remove(attr("rg")));
        }
        if after.kind == Kind::Employee && self.before.kind == Kind::Contact {
            actions.push(Action::Remove(attr("ex")));
        }
        if self.before.excluded.is_some() && after.excluded.is_none() {
            actions.extend(require_enrolment(self.now));
        }
        if !after.active || self.patch.hash.is_some() {
            actions.push(Action::Set(attr("d"), empty()));
        }
        actions.extend(self.patch.hash.iter().flat_map(password_set));
        Ok(actions)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::{
        auth::verify_code::SignIn,
        env::SystemEntropy,
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt},
            login::Charge,
            session::{Ended, Which},
        },
        totp,
    };

    async fn create(ann: &Ann, person: &NewUser) -> Created {
        ann.store.create_user(&Actor::Seed, person, &attempt(NOW), &ann.event()).await.unwrap()
    }

    /// Ann, signed in, with somebody else of a role.
    async fn office(name: &str, role: Role) -> (Ann, TokenRef, UserKey) {
        let (ann, challenges) = ann(2).await;
        let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let other = ann.to_be(name, role);
        assert_eq!(create(&ann, &other).await, Created::Done);
        (ann, session, other.key)
    }

    async fn named(ann: &Ann, key: &UserKey) -> LoadedUser {
        let [_, user, profile] = ann.store.read_all(named_keys(&ann.key, key)).await.unwrap();
        LoadedUser { key: key.clone(), found: [user, profile] }
    }

    async fn change(ann: &Ann, session: &TokenRef, key: &UserKey, patch: &Patch) -> Changed {
        let (admin, named) = (ann.admin(session).await, named(ann, key).await);
        ann.store.update_user(&admin, named, patch, &attempt(NOW), &ann.event()).await.unwrap()
    }

    fn role(role: Role) -> Patch {
        Patch { role: Some(role), ..Patch::default() }
    }

    #[tokio::test]
    async fn of_people_of_one_name_one_is_created_and_takes_over_what_failed_tries_left() {
        let (ann, _) = ann(0).await;
        let one = ann.to_be("bob", Role::Standard);
        for _ in 0..3 {
            let ladder = crate::policy::Backoff::at(NOW);
            let charge = ann.store.charge_login(&one.login, None, &ladder, &attempt(NOW)).await.unwrap();
            assert!(matches!(charge, Charge::Admitted(_)));
        }
        let people: Vec<_> = (0..8)
            .map(|n| {
                let mut person = ann.to_be("bob", Role::Standard);
                person.key = ann.key.tenant().user(UserId::parse(&format!("u-{n}")).unwrap());
                person
            })
            .collect();
        let made = join_all(people.iter().map(|person| create(&ann, person))).await;
        assert_eq!(made.iter().filter(|it| **it == Created::Done).count(), 1);
        assert_eq!(made.iter().filter(|it| **it == Created::NameTaken).count(), 7);
        let ladder = crate::policy::Backoff::at(NOW);
        let charge = ann.store.charge_login(&one.login, None, &ladder, &attempt(NOW)).await.unwrap();
        let Charge::Admitted(password_attempt) = charge else { panic!("refused") };
        assert_eq!(password_attempt.failures(), 1);
        let mut same_id = ann.to_be("rob", Role::Standard);
        same_id.key = password_attempt.owner().unwrap();
        assert_eq!(create(&ann, &same_id).await, Created::IdTaken);
    }

    #[tokio::test]
    async fn every_change_but_of_names_raises_the_epoch_and_none_is_no_change() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let name = Patch { display_name: Some("Bobby".into()), ..Patch::default() };
        let Changed::Done(now) = change(&ann, &session, &bob, &name).await else { panic!("refused") };
        assert_eq!((now.0.security_version, now.1.display_name.as_str()), (1, "Bobby"));
        change(&ann, &session, &bob, &role(Role::Standard)).await;
        assert_eq!(ann.read(&bob).await.security_version, 1);
        for (patch, security_version) in [
            (role(Role::Administrator), 2),
            (Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() }, 3),
            (Patch { active: Some(false), ..Patch::default() }, 4),
            (Patch { kind: Some(Kind::Contact), role: Some(Role::Portal), ..Patch::default() }, 5),
        ] {
            assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Done(_)));
            assert_eq!(ann.read(&bob).await.security_version, security_version);
        }
        assert!(matches!(change(&ann, &session, &bob, &role(Role::Standard)).await, Changed::InvalidCombination));
    }

    /// docs/data-model.md, "Invariants": `ADMINS` follows every change of an Administrator and of their factor.
    #[tokio::test]
    async fn administrators_are_kept_count_of() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (u_ann, u_bob) = (ann.key.user().clone(), bob.user().clone());
        let state = || async {
            let now = ann.administrators().await;
            (now.active.contains_key(&u_bob), now.with_mfa.contains_key(&u_bob))
        };
        change(&ann, &session, &bob, &role(Role::Administrator)).await;
        assert_eq!(state().await, (true, false));
        change(&ann, &session, &bob, &Patch { active: Some(false), ..Patch::default() }).await;
        assert_eq!(state().await, (false, false));
        change(&ann, &session, &bob, &Patch { active: Some(true), ..Patch::default() }).await;
        assert_eq!(state().await, (true, false));
        let (admin, named) = (ann.admin(&session).await, named(&ann, &bob).await);
        ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(state().await, (false, false));
        assert!(ann.administrators().await.with_mfa.contains_key(&u_ann));
    }

    #[tokio::test]
    async fn the_last_active_administrator_stays_also_when_two_demote_each_other() {
        let (ann, session, amy) = office("amy", Role::Administrator).await;
        let inactive = || Patch { active: Some(false), ..Patch::default() };
        // Both were planned while there were two.
        let (event, patch) = (ann.event(), inactive());
        let mut plans = Vec::new();
        for key in [&ann.key, &amy] {
            plans.push((ann.admin(&session).await, named(&ann, key).await, attempt(NOW)));
        }
        let done = plans.into_iter().map(|(admin, named, attempt)| {
            let (store, patch, event) = (&ann.store, &patch, &event);
            async move { store.update_user(&admin, named, patch, &attempt, event).await.unwrap() }
        });
        let done = join_all(done).await.iter().filter(|it| matches!(it, Changed::Done(_))).count();
        assert_eq!((done, ann.administrators().await.active.len()), (1, 1));
        let (ann, session, _) = office("bob", Role::Standard).await;
        for patch in [role(Role::Standard), inactive()] {
            assert!(matches!(change(&ann, &session, &ann.key, &patch).await, Changed::LastAdministrator));
        }
        let (admin, named) = (ann.admin(&session).await, named(&ann, &ann.key).await);
        let gone = ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(gone, Changed::LastAdministrator));
    }

    #[tokio::test]
    async fn nobody_changes_anything_after_their_right_is_gone() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (admin, named_bob) = (ann.admin(&session).await, named(&ann, &bob).await);
        ann.change(Action::Add(attr("ep"), 1)).await;
        let patch = role(Role::Administrator);
        let done = ann.store.update_user(&admin, named_bob, &patch, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(done, Changed::ActorRevoked) && ann.read(&bob).await.role == Role::Standard);
        let someone = ann.to_be("eve", Role::Standard);
        let by = Actor::AdminContext(&admin);
        let made = ann.store.create_user(&by, &someone, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(made, Created::ActorRevoked);
    }

    #[tokio::test]
    async fn nothing_is_left_of_somebody_deleted_and_the_name_is_free() {
        let (ann, session, bob) = office("bob", Role::Standard).await;
        let (admin, named) = (ann.admin(&session).await, named(&ann, &bob).await);
        let gone = ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(gone, Changed::Done(_)));
        let found = ann.store.read_all([keys::user(&bob), keys::profile(&bob), keys::exclusion(&bob)]).await.unwrap();
        assert_eq!(found, [None, None, None]);
        assert_eq!(create(&ann, &ann.to_be("bob", Role::Standard)).await, Created::Done);
    }

    #[tokio::test]
    async fn a_changed_password_ends_every_session_and_device_but_the_new_one() {
        let (ann, challenges) = ann(2).await;
        let first = ann.signed_in(&challenges[0], STEP, NOW).await.unwrap();
        let other = ann.signed_in(&challenges[1], STEP + 1, NOW).await.unwrap();
        let caller = ann.store.read_session(first.token.reference(), NOW).await.unwrap().ok().unwrap();
        let (right, late) =
            (ann.own_password(&caller, PASSWORD, NOW).await, ann.own_password(&caller, PASSWORD, NOW).await);
        let (right, late) = (right.ok().unwrap(), late.ok().unwrap());
        let hash = ann.hash("another good password").await;
        let event = ann.event();
        let done = ann.store.change_password(right, &hash, &SystemEntropy, &event).await.unwrap();
        let PasswordChanged::Done(now) = done else { panic!("refused") };
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
        let again = ann.store.change_password(late, &hash, &SystemEntropy, &event).await.unwrap();
        assert!(matches!(again, PasswordChanged::NoSession(_)), "the old password changes nothing any more");
    }

    /// The tenant's item would be in everybody's creation.
    #[tokio::test]
    async fn a_tenant_is_asked_for_only_where_nothing_shows_that_it_is_there() {
        let (ann, challenges) = ann(1).await;
        let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        let admin = ann.admin(&session).await;
        let gone = Write::delete(keys::tenant(ann.key.tenant()), vec![]);
        ann.store.table.update(&gone, Retry::Never).await.unwrap();
        for (by, name, made) in [
            (Actor::AdminContext(&admin), "one", Created::Done),
            (Actor::Idp, "two", Created::Done),
            (Actor::Seed, "three", Created::NoTenant),
            (Actor::First, "four", Created::NoTenant),
        ] {
            let person = ann.to_be(name, Role::Standard);
            assert_eq!(ann.store.create_user(&by, &person, &attempt(NOW), &ann.event()).await.unwrap(), made, "{name}");
        }
    }

    async fn caller(ann: &Ann, challenge: &TokenRef, step: i64) -> Principal {
        let token = ann.with_step(challenge, step, NOW).await.unwrap();
        ann.store.read_session(token.reference(), NOW).await.unwrap().ok().unwrap()
    }

    #[tokio::test]
    async fn five_wrong_current_passwords_end_that_session_and_no_other() {
        let (ann, challenges) = ann(2).await;
        let (first, other) = (caller(&ann, &challenges[0], STEP).await, caller(&ann, &challenges[1], STEP + 1).await);
        for n in 1..=5 {
            assert!(ann.store.read_session(first.token(), NOW).await.unwrap().is_ok(), "before the {n}th");
            let password_attempt = ann.own_password(&first, "wrong", NOW).await.err().unwrap();
            assert_eq!(password_attempt.was_the_last(), n == 5);
        }
        assert_eq!(ann.store.read_session(first.token(), NOW).await.unwrap().err(), Some(NoSession::Invalid));
        let sixth = ann.store.charge_own_password(&first, &attempt(NOW)).await.unwrap();
        assert_eq!(sixth.err(), Some(NoSession::Invalid));
        let living = ann.read(&ann.key).await.sessions.values().filter(|session| session.alive(NOW)).count();
        assert_eq!(living, 1, "it is not listed either");
        assert!(ann.own_password(&other, PASSWORD, NOW).await.is_ok());
        assert_eq!(
            ann.password(PASSWORD, None, NOW).await.ok().unwrap().password_attempt().failures(),
            1,
            "this one alone"
        );
    }

    #[tokio::test]
    async fn the_fifth_try_may_be_the_right_one() {
        let (ann, challenges) = ann(1).await;
        let first = caller(&ann, &challenges[0], STEP).await;
        for n in 0..8 {
            ann.session_of(&ann.key).await;
            assert!(n >= 4 || ann.own_password(&first, "wrong", NOW).await.is_err());
        }
        let (right, hash) =
            (ann.own_password(&first, PASSWORD, NOW).await.ok().unwrap(), ann.hash("another good password").await);
        // The tenth session is opened meanwhile: the change is planned anew.
        let met = ann.session_of(&ann.key).await;
        let done = ann.store.change_password(right, &hash, &SystemEntropy, &ann.event()).await.unwrap();
        let PasswordChanged::Done(now) = done else { panic!("refused") };
        assert_eq!(now.session.password_attempts, 0);
        assert_eq!(ann.store.read_session(&met, NOW).await.unwrap().err(), Some(NoSession::RefreshRequired));
    }

    #[tokio::test]
    async fn a_count_whose_reply_was_lost_counts_once() {
        let (ann, challenges) = ann(1).await;
        let first = caller(&ann, &challenges[0], STEP).await;
        for _ in 0..4 {
            assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
        }
        let fifth = attempt(NOW);
        for _ in 0..2 {
            let password_attempt = ann.store.charge_own_password(&first, &fifth).await.unwrap().ok().unwrap();
            assert!(password_attempt.was_the_last());
        }
        let session = ann.read(&ann.key).await.sessions.remove(first.token().id()).unwrap();
        assert_eq!(session.password_attempts, 5);
    }

    #[tokio::test]
    async fn neither_a_step_up_nor_ending_the_others_forgets_tries_at_the_password() {
        let (ann, challenges) = ann(1).await;
        let first = caller(&ann, &challenges[0], STEP).await;
        let stale = ann.store.read_session(first.token(), NOW).await.unwrap().ok().unwrap();
        assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
        let ended = ann.store.end_sessions(&stale, &Which::Others, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(ended, Ended::Done, "a right that is there is not denied for it");
        let attempts = |user: &User| user.sessions.values().map(|session| session.password_attempts).max();
        assert_eq!(attempts(&ann.read(&ann.key).await), Some(1));
        // Charged between a step-up's charge and its end.
        let Charge::Admitted(pending) = ann.charge(first.token(), NOW).await else { panic!("refused") };
        assert!(ann.own_password(&first, "wrong", NOW).await.is_err());
        let code = totp::code_at(&ann.secret, STEP + 1).unwrap();
        let proof = totp::check(&ann.secret, &code, NOW, STEP).unwrap();
        let stepped_up = ann.accept(SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap()).await.unwrap();
        assert_eq!((stepped_up.session.password_attempts, attempts(&ann.read(&ann.key).await)), (2, Some(2)));
    }

    #[tokio::test]
    async fn a_try_needs_a_living_session_and_changes_only_its_owners_password() {
        let (ann, challenges) = ann(1).await;
        let first = caller(&ann, &challenges[0], STEP).await;
        let hash = ann.hash("another good password").await;
        for spoilt in [Action::Set(attr("at"), text("s")), Action::Set(attr("pv"), num(2))] {
            let before = ann.read(&ann.key).await;
            ann.change(spoilt).await;
            assert!(ann.own_password(&first, PASSWORD, NOW).await.is_err());
            for kept in [Action::Set(attr("at"), text("l")), Action::Set(attr("pv"), num(before.password_version))] {
                ann.change(kept).await;
            }
        }
        let right = ann.own_password(&first, PASSWORD, NOW).await.ok().unwrap();
        ann.change(Action::Set(attr("ac"), Value::Bool(false))).await;
        let refused = ann.store.charge_own_password(&first, &attempt(NOW)).await.unwrap();
        assert_eq!(refused.err(), Some(NoSession::Invalid));
        let done = ann.store.change_password(right, &hash, &SystemEntropy, &ann.event()).await.unwrap();
        assert!(matches!(done, PasswordChanged::NoSession(NoSession::Invalid)));
    }
}

/// What changes do to sessions, devices, passwords and the registry; and several at the same moment, on threads.
#[cfg(test)]
mod changes {
    use std::{pin::Pin, sync::Arc};

    use super::*;
    use crate::{
        env::SystemEntropy,
        id::LoginName,
        policy::{self, Backoff},
        store::{
            fixture::{Ann, NOW, PASSWORD, STEP, ann, at_once, attempt, enrolment},
            item::{Administrators, Device, LoginRow},
            table::Retry,
        },
    };

    async fn office() -> (Ann, TokenRef) {
        let (ann, challenges) = ann(1).await;
        let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap().reference().clone();
        (ann, session)
    }

    async fn change(ann: &Ann, by: &TokenRef, target: &UserKey, patch: &Patch) -> Changed {
        change_as(ann, &ann.admin(by).await, target, patch).await
    }

    async fn change_as(ann: &Ann, by: &AdminContext, target: &UserKey, patch: &Patch) -> Changed {
        let named = named(ann, target).await;
        ann.store.update_user(by, named, patch, &attempt(NOW), &ann.event()).await.unwrap()
    }

    async fn delete_as(ann: &Ann, by: &AdminContext, target: &UserKey) -> Changed {
        let named = named(ann, target).await;
        ann.store.delete_user(by, named, &attempt(NOW), &ann.event()).await.unwrap()
    }

    async fn named(ann: &Ann, target: &UserKey) -> LoadedUser {
        let found = ann.store.read_all([keys::user(target), keys::profile(target)]).await.unwrap();
        LoadedUser { key: target.clone(), found }
    }

    async fn login_row(ann: &Ann, key: &UserKey) -> Option<LoginRow> {
        let login = LoginKey::of(key.tenant(), &ann.read(key).await.login);
        let [row] = ann.store.read_all([keys::login(&login)]).await.unwrap();
        row.map(|row| item::read(row).unwrap())
    }

    async fn set(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
        let write = Write::update(keys::user(key), vec![], actions);
        ann.store.table.update(&write, Retry::Never).await.unwrap();
    }

    fn role(kind: Kind, role: Role) -> Patch {
        Patch { kind: Some(kind), role: Some(role), ..Patch::default() }
    }

    fn active(active: bool) -> Patch {
        Patch { active: Some(active), ..Patch::default() }
    }

    fn hash(text: &str) -> PasswordHash {
        PasswordHash::from_stored(text.to_owned())
    }

    /// The registry of Administrators says what the people say.
    async fn told_truly(ann: &Ann, people: &[&UserKey]) -> Administrators {
        let registry = ann.administrators().await;
        for key in people {
            let user = ann.read(key).await;
            assert_eq!(registry.active.contains_key(key.user()), user.administers_now(), "{}", key.user());
            let mark_admin_with_mfa = user.administers_now() && user.factor.state() == FactorState::Active;
            assert_eq!(registry.with_mfa.contains_key(key.user()), mark_admin_with_mfa, "{}", key.user());
        }
        registry
    }

    #[tokio::test]
    async fn whoever_is_deactivated_is_out_and_their_devices_are_forgotten() {
        let (ann, session) = office().await;
        let bob = ann.someone("bob", Role::Standard).await;
        let theirs = ann.session_of(&bob).await;
        let device =
            Device { verifier: *theirs.verifier(), ends: NOW.secs() + 1000, attempts: 0, last: 0, attempt: None };
        let known = Action::Set(attr("d").key(theirs.id().as_str().to_owned()), item::value(&device).unwrap());
        set(&ann, &bob, vec![known]).await;
        assert!(matches!(change(&ann, &session, &bob, &active(false)).await, Changed::Done(_)));
        assert!(ann.read(&bob).await.devices.is_empty());
        assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::Invalid));
        assert!(matches!(change(&ann, &session, &bob, &active(true)).await, Changed::Done(_)));
        assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::RefreshRequired));
    }

    #[tokio::test]
    async fn a_password_that_was_set_is_the_one() {
        let (ann, session) = office().await;
        let bob = ann.someone("bob", Role::Standard).await;
        let login = ann.names.login(bob.tenant(), &LoginName::fold("bob"));
        ann.store.charge_login(&login, None, &Backoff::at(NOW), &attempt(NOW)).await.unwrap();
        for (n, text) in (2..).zip(["one", "two"]) {
            let patch = Patch { hash: Some(hash(text)), ..Patch::default() };
            assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Done(_)));
            let row = login_row(&ann, &bob).await.unwrap();
            assert_eq!((row.hash.as_deref(), row.version, row.attempts), (Some(text), Some(n), 0));
            assert_eq!(ann.read(&bob).await.password_version, n);
        }
    }

    /// Whoever becomes a contact may be excluded and then have no other factor: whether their password is long enough for
    /// that is noted with each password.
    #[tokio::test]
    async fn whether_a_password_is_long_enough_for_a_contact_is_noted_with_each() {
        let (ann, session) = office().await;
        let (long, short) = (ann.hash(PASSWORD).await, ann.hash("ab3!kz9q").await);
        for (name, hash, fits) in [("one", None, true), ("two", Some(&long), true), ("three", Some(&short), false)] {
            let person = NewUser { hash: hash.cloned(), ..ann.to_be(name, Role::Standard) };
            let made = ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap();
            assert_eq!(made, Created::Done);
            assert_eq!(ann.read(&person.key).await.password_fits_contact, fits, "{name}");
        }
        let bob = ann.someone("bob", Role::Standard).await;
        for (hash, fits) in [(&short, false), (&long, true), (&short, false), (&hash("of unknown length"), false)] {
            let patch = Patch { hash: Some(hash.clone()), ..Patch::default() };
            assert!(matches!(change(&ann, &session, &bob, &patch).await, Changed::Done(_)));
            assert_eq!(ann.read(&bob).await.password_fits_contact, fits);
        }
        assert!(matches!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
        assert!(!ann.read(&bob).await.password_fits_contact, "another kind is no other password");
    }

    #[tokio::test]
    async fn the_owners_change_of_a_password_notes_whether_it_is_long_enough_and_a_new_hash_of_it_keeps_that() {
        let (ann, session) = office().await;
        let right = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        ann.store.strengthen(&right, &ann.hash(PASSWORD).await).await;
        assert!(ann.read(&ann.key).await.password_fits_contact);
        let caller = ann.store.read_session(&session, NOW).await.unwrap().ok().unwrap();
        let short = ann.hash("ab3!kz9q").await;
        let right = ann.own_password(&caller, PASSWORD, NOW).await.ok().unwrap();
        let done = ann.store.change_password(right, &short, &SystemEntropy, &ann.event()).await.unwrap();
        assert!(matches!(done, PasswordChanged::Done(_)));
        assert!(!ann.read(&ann.key).await.password_fits_contact);
    }

    /// An Administrator sets the password of an employee, who is a contact by the time it is written.
    #[tokio::test]
    async fn a_contact_gets_no_password_that_is_too_short_also_if_they_were_an_employee_when_it_was_planned() {
        let (ann, session) = office().await;
        let bob = ann.someone("bob", Role::Standard).await;
        let admin = ann.admin(&session).await;
        let as_employee = named(&ann, &bob).await;
        assert!(matches!(change(&ann, &session, &bob, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
        let patch = Patch { hash: Some(ann.hash("ab3!kz9q").await), ..Patch::default() };
        let done = ann.store.update_user(&admin, as_employee, &patch, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(done, Changed::PasswordTooShort));
        let user = ann.read(&bob).await;
        assert!(user.password_version == 1 && user.password_fits_contact);
        assert!(login_row(&ann, &bob).await.unwrap().hash.is_none());
    }

    #[tokio::test]
    async fn the_end_of_an_exclusion_ends_the_window_of_a_reset_before_it() {
        let (ann, session) = office().await;
        let con = ann.someone("con", Role::Portal).await;
        let excluded = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: NOW.millis() };
        let excluded = Action::Set(attr("ex"), item::value(&excluded).unwrap());
        set(&ann, &con, vec![excluded, Action::Set(attr("eb"), num(NOW.secs())), Action::Set(attr("seen"), num(0))])
            .await;
        assert!(matches!(change(&ann, &session, &con, &role(Kind::Employee, Role::Standard)).await, Changed::Done(_)));
        let user = ann.read(&con).await;
        assert!(user.excluded.is_none() && user.enrol_by.is_none() && user.seen == NOW.secs());
        // Of somebody who was not excluded the window stays.
        set(&ann, &con, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
        assert!(matches!(change(&ann, &session, &con, &role(Kind::Contact, Role::Portal)).await, Changed::Done(_)));
        assert_eq!(ann.read(&con).await.enrol_by, Some(NOW.secs()));
    }

    #[tokio::test]
    async fn the_registry_follows_every_change_of_an_administrator() {
        let (ann, session) = office().await;
        let amy = ann.someone("amy", Role::Standard).await;
        set(&ann, &amy, enrolment()).await;
        let both = [&ann.key, &amy];
        for (patch, administrators) in [
            (role(Kind::Employee, Role::Administrator), 2),
            (active(false), 1),
            (role(Kind::Employee, Role::Standard), 1),
            (role(Kind::Employee, Role::Administrator), 1),
            (active(true), 2),
            (Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() }, 2),
            (role(Kind::Contact, Role::Portal), 1),
        ] {
            assert!(matches!(change(&ann, &session, &amy, &patch).await, Changed::Done(_)));
            assert_eq!(told_truly(&ann, &both).await.active.len(), administrators);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn administrators_who_remove_each_other_leave_one() {
        for round in 0..20 {
            let (ann, _) = office().await;
            let ann = Arc::new(ann);
            let mut people = vec![ann.key.clone()];
            for name in ["amy", "abe", "ada"] {
                people.push(ann.someone(name, Role::Administrator).await);
            }
            let mut acts: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
            for (n, actor) in people.iter().enumerate() {
                let target = people[(n + 1 + round % 4) % 4].clone();
                let admin = ann.admin(&ann.session_of(actor).await).await;
                let ann = Arc::clone(&ann);
                acts.push(Box::pin(async move {
                    let done = match n {
                        0 => delete_as(&ann, &admin, &target).await,
                        1 => change_as(&ann, &admin, &target, &active(false)).await,
                        _ => change_as(&ann, &admin, &target, &role(Kind::Employee, Role::Standard)).await,
                    };
                    assert!(!matches!(done, Changed::InvalidCombination));
                }));
            }
            at_once(acts).await;
            let mut there = Vec::new();
            for key in &people {
                if named(&ann, key).await.read().unwrap().is_some() {
                    there.push(key);
                }
            }
            let registry = told_truly(&ann, &there).await;
            assert!(!registry.active.is_empty(), "round {round}");
            assert!(registry.active.keys().all(|user| there.iter().any(|key| key.user() == user)));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_promotion_beside_the_disabling_of_the_factor_makes_nobody_able_who_is_not() {
        for _ in 0..20 {
            let (ann, session) = office().await;
            let ann = Arc::new(ann);
            let amy = ann.someone("amy", Role::Standard).await;
            let full = Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES));
            set(&ann, &amy, enrolment().into_iter().chain([full]).collect()).await;
            let before = ann.read(&amy).await;
            let (one, key, admin) = (Arc::clone(&ann), amy.clone(), ann.admin(&session).await);
            let promote = async move {
                let patch = role(Kind::Employee, Role::Administrator);
                assert!(matches!(change_as(&one, &admin, &key, &patch).await, Changed::Done(_)));
            };
            let (one, key) = (Arc::clone(&ann), amy.clone());
            let disable = async move {
                one.store.disable_factor(&key, &before, &attempt(NOW), &one.event()).await.unwrap();
            };
            let acts: [Pin<Box<dyn Future<Output = ()> + Send>>; 2] = [Box::pin(promote), Box::pin(disable)];
            at_once(acts).await;
            told_truly(&ann, &[&ann.key, &amy]).await;
        }
    }

    #[tokio::test]
    async fn nothing_of_somebody_deleted_is_left_and_a_namesake_is_another_person() {
        let (ann, session) = office().await;
        let bob = ann.someone("bob", Role::Portal).await;
        let (theirs, before) = (ann.session_of(&bob).await, ann.read(&bob).await);
        let login = LoginKey::of(bob.tenant(), &before.login);
        let admin = ann.admin(&session).await;
        assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::Done(_)));
        let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login), keys::exclusion(&bob)];
        assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
        assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::NotFound));
        assert_eq!(ann.someone("bob", Role::Portal).await, bob);
        assert_eq!(ann.store.read_session(&theirs, NOW).await.unwrap().err(), Some(NoSession::Invalid));
        assert!(ann.read(&bob).await.incarnation != before.incarnation);
        // A change that was planned about the one who was deleted.
        ann.change(Action::Add(attr("ep"), 1)).await;
        assert!(matches!(delete_as(&ann, &admin, &bob).await, Changed::ActorRevoked));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_deletion_beside_changes_leaves_all_or_nothing() {
        for _ in 0..20 {
            let (ann, session) = office().await;
            let ann = Arc::new(ann);
            let bob = ann.someone("bob", Role::Standard).await;
            let login = LoginKey::of(bob.tenant(), &ann.read(&bob).await.login);
            let new = ann.hash("a good long password").await;
            let acts = (0..6).map(|n| {
                let (ann, bob, session, new) = (Arc::clone(&ann), bob.clone(), session.clone(), new.clone());
                async move {
                    let patch = match n {
                        0 => return delete_as(&ann, &ann.admin(&session).await, &bob).await,
                        1 => role(Kind::Employee, Role::Administrator),
                        2 => role(Kind::Contact, Role::Portal),
                        3 => Patch { display_name: Some("B".into()), ..Patch::default() },
                        4 => Patch { hash: Some(new), ..Patch::default() },
                        _ => active(false),
                    };
                    change(&ann, &session, &bob, &patch).await
                }
            });
            for (n, done) in at_once(acts).await.into_iter().enumerate() {
                assert!(matches!(done, Changed::Done(_)) || (n > 0 && matches!(done, Changed::NotFound)));
            }
            let left = [keys::user(&bob), keys::profile(&bob), keys::login(&login)];
            assert!(ann.store.read_all(left).await.unwrap().iter().all(Option::is_none));
            assert_eq!(ann.administrators().await.active.len(), 1);
        }
    }
}
