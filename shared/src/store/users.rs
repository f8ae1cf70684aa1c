//! Creating users, and loading one for a change.

use std::collections::BTreeSet;

use super::{
    Store, StoreError,
    administrators::add_admin,
    item,
    item::{AuthType, Kind, Profile, Role, User},
    keys,
    session::{AdminContext, NoSession, Principal},
    sso::linked,
    table::{Transacted, Transaction},
    write::{self, Action, Condition, Item, Write, absent, attr, eq, exists, num, size, text},
};
pub use crate::auth::update_user::{fits, fits_somewhere};
use crate::{
    audit::AuditEvent,
    env::Timestamp,
    id::{UserId, UserKey, fold},
    password::PasswordHash,
    secret::{LoginKey, NameIdLink, NameKey, Nonce, TokenRef},
    sign_in::Attempt,
};

mod password;
mod update;

pub use password::PasswordChanged;
pub use update::{Changed, Patch};

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

/// Whether a user was created. Of several reasons not to, the first in this order is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Created {
    /// Created.
    Done,
    /// The caller may no longer do it.
    ActorRevoked,
    /// The IdP calls another user so.
    SubjectTaken,
    /// There is no such tenant.
    NoTenant,
    /// The IdP calls a user by another user's login name.
    Ambiguous,
    /// The tenant has an active Administrator already.
    NotFirst,
    /// Another user has the login name.
    NameTaken,
    /// Another user has the id.
    IdTaken,
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
        let (refusals, writes): (Vec<_>, Vec<_>) = creation(by, person, attempt.at())?.into_iter().unzip();
        let row = self.audit_row(person.key.tenant(), attempt, 0, event)?;
        let found = match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => return Ok(Created::Done),
            Transacted::Refused(found) => found,
        };
        let refused = refusals.into_iter().zip(found).filter(|(_, found)| found.is_some());
        Ok(refused.map(|(refusal, _)| refusal).min().unwrap_or(Created::IdTaken))
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
        let [own, user, profile] = target_keys(token.user(), &key);
        let [own, idp, user, profile] = self.read_all([own, keys::idp(key.tenant()), user, profile]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok(principal.map(|principal| (principal, LoadedUser { key, found: [user, profile] })))
    }
}

/// The writes of a creation, each with what its refusal means.
fn creation(by: &Actor<'_>, person: &NewUser, now: Timestamp) -> Result<Vec<(Created, Write)>, StoreError> {
    let tenant = person.key.tenant();
    let [login, user, profile] = person.writes()?;
    let mut writes = vec![(Created::NameTaken, login), (Created::IdTaken, user), (Created::IdTaken, profile)];
    // A condition on the tenant's item would make all creations meet there. It is needed only where nothing else shows that
    // the tenant exists. Nothing deletes a tenant.
    let tenant_exists = match by {
        Actor::Seed | Actor::First => false,
        Actor::AdminContext(admin) => admin.tenant() == tenant,
        Actor::Idp => true,
    };
    if !tenant_exists {
        writes.push((Created::NoTenant, Write::check(keys::tenant(tenant), vec![exists(attr("PK"))])));
    }
    if person.user.administers_now() {
        let nobody = Condition::Any(vec![absent(attr("act")), eq(size(attr("act")), 0)]);
        let conditions = if matches!(by, Actor::First) { vec![nobody] } else { vec![] };
        let actions = vec![add_admin(&person.key, person.user.auth_type)];
        writes.push((Created::NotFirst, Write::update(keys::administrators(tenant), conditions, actions)));
    }
    writes.extend(by.check(now).map(|write| (Created::ActorRevoked, write)));
    if let Some(subject) = &person.profile.subject {
        writes.push((Created::SubjectTaken, linked(&person.key, &person.user, subject)?));
    }
    writes.extend(person.name_collision_checks().into_iter().map(|write| (Created::Ambiguous, write)));
    Ok(writes)
}

/// The condition that a login name is this user's or nobody's.
fn login_unclaimed_by_others(login: &LoginKey, user: &UserId) -> Write {
    Write::check(keys::login(login), vec![Condition::Any(vec![absent(attr("uid")), eq(attr("uid"), user.as_str())])])
}

/// The write of a new password into the login name's item, which is at this version of the password.
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

fn target_keys(actor: &UserKey, target: &UserKey) -> [write::Key; 3] {
    [keys::user(actor), keys::user(target), keys::profile(target)]
}

#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod tests;
