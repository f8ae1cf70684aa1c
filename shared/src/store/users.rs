//! Creating users, and loading one for a change.

use std::collections::BTreeSet;

use super::{
    AttemptEvent, OperationError, Store, StoreError,
    administrators::add_admin,
    item,
    item::{AuthType, Kind, Profile, Role, User},
    keys,
    session::{AdminContext, Principal, SessionError},
    sso::{linked, still_configured},
    table::{Transacted, Transaction},
    write::{self, Action, Condition, Item, Write, absent, attr, eq, exists, num, size, text},
};
pub use crate::auth::update_user::{UpdateRejection, role_allowed, role_allowed_in_some_tenant};
use crate::{
    audit::AuditEvent,
    domain::PasswordVersion,
    env::Timestamp,
    id::{UserId, UserKey, fold},
    password::PasswordHash,
    secret::{LoginKey, NameIdLink, NameKey, Nonce, TokenRef},
    sign_in::Attempt,
    sso::Assertion,
};

mod names;
mod password;
mod update;

pub use update::{ChangeError, ChangeRejection, Patch};

/// Who makes a change.
pub enum Actor<'a> {
    /// No user: a seed, or the operators' command line tool.
    Seed,
    /// No user: the first Administrator of a tenant is created. Refused if the tenant has an active Administrator.
    First,
    /// The tenant's IdP: an assertion creates the user. The transaction repeats the check that the IdP is configured if it makes
    /// the user an Administrator.
    Idp(&'a Assertion),
    /// An Administrator. The transaction repeats the check of their rights.
    AdminContext(&'a AdminContext),
}

impl Actor<'_> {
    pub(super) fn check(&self, now: Timestamp) -> Option<Write> {
        match self {
            Self::Seed | Self::First | Self::Idp(_) => None,
            Self::AdminContext(admin) => Some(Write::check(keys::user(admin.key()), admin.conditions(now))),
        }
    }
}

/// A user to be created.
pub struct NewUser {
    /// Tenant and id.
    pub key: UserKey,
    /// The login name.
    pub login: LoginKey,
    /// The user.
    pub user: User,
    /// Login name, display name and e-mail address.
    pub profile: Profile,
    /// The hash of the password. `None`: the user cannot sign in by password.
    pub hash: Option<PasswordHash>,
    /// The login name that equals the user's name id. Another user must not have it.
    name_id_login: Option<LoginKey>,
    /// The digests of the name ids that equal the login name. Another user must not be linked to one of them.
    colliding_subjects: Vec<String>,
}

/// The details of a new user.
pub struct NewUserDetails<'a> {
    /// Employee or contact.
    pub kind: Kind,
    /// Role.
    pub role: Role,
    /// How the user signs in.
    pub auth_type: AuthType,
    /// The login name as it was given.
    pub username: &'a str,
    /// The display name.
    pub display_name: &'a str,
    /// The address for notifications.
    pub email: Option<&'a str>,
}

impl NewUser {
    /// A new, active user without a password.
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
            created: now.whole_second(),
            name_id: None,
            subject: None,
        };
        Self { key, login, user, profile, hash: None, name_id_login: None, colliding_subjects: Vec::new() }
    }

    /// Links the user to a name id of the tenant's IdP.
    #[must_use]
    pub fn linked(mut self, link: NameIdLink) -> Self {
        self.profile.name_id = Some(link.name_id);
        self.profile.subject = Some(link.subject);
        self.name_id_login = Some(link.login);
        self
    }

    /// For a tenant with an IdP: refuses the creation if the login name equals the name id of another user.
    #[must_use]
    pub fn in_tenant_with_idp(mut self, names: &NameKey, entity_id: &str) -> Self {
        let name = &self.profile.username;
        let forms = BTreeSet::from([name.clone(), name.to_lowercase(), fold(name)]);
        self.colliding_subjects = forms.iter().map(|form| names.subject(self.key.tenant(), entity_id, form)).collect();
        self
    }

    /// The conditions that no name identifies one user at a sign-in by password and another user at a sign-in by SSO.
    fn name_collision_checks(&self) -> Vec<Write> {
        let name_id_login = self.name_id_login.iter().filter(|name_id_login| **name_id_login != self.login);
        let name_id_login =
            name_id_login.map(|name_id_login| login_unclaimed_by_others(name_id_login, self.key.user()));
        let own = self.profile.subject.as_ref();
        let colliding_subjects = self.colliding_subjects.iter().filter(|subject| Some(*subject) != own);
        let colliding_subjects = colliding_subjects
            .map(|subject| Write::check(keys::subject(self.key.tenant(), subject), vec![absent(attr("PK"))]));
        name_id_login.chain(colliding_subjects).collect()
    }

    /// The items of the new user. Failed attempts may have created an item of the login name: it is taken over, and its
    /// failures are cleared.
    pub(super) fn writes(&self) -> Result<[Write; 3], StoreError> {
        let mut login = vec![
            Action::Set(attr("uid"), text(self.key.user().as_str())),
            Action::Set(attr("pv"), num(self.user.password_version.0)),
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

/// Why a user was not created. If several reasons apply, the first in this order is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CreationRejection {
    /// The caller lost the right to do it, or the IdP is no longer configured.
    #[error("the caller may no longer do this")]
    ActorRevoked,
    /// The name id is linked to another user.
    #[error("the name id is linked to another user")]
    SubjectTaken,
    /// There is no such tenant.
    #[error("there is no such tenant")]
    NoTenant,
    /// A name id equals another user's login name.
    #[error("a name id equals another user's login name")]
    Ambiguous,
    /// The tenant has an active Administrator already.
    #[error("the tenant has an active Administrator")]
    NotFirst,
    /// Another user has the login name.
    #[error("another user has the login name")]
    NameTaken,
    /// Another user has the id.
    #[error("another user has the id")]
    IdTaken,
}

/// Why a user was not created.
pub type CreationError = OperationError<CreationRejection>;

/// The target of a change, as the read that authenticated the caller found it.
pub struct LoadedUser {
    key: UserKey,
    found: [Option<Item>; 2],
}

impl LoadedUser {
    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// The user and the profile. `None` if there is no such user.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: an item cannot be read.
    pub fn read(&self) -> Result<Option<(User, Profile)>, StoreError> {
        let [Some(user), Some(profile)] = &self.found else { return Ok(None) };
        Ok(Some((item::read(user.clone())?, item::read(profile.clone())?)))
    }
}

impl Store {
    /// Creates a user: login name, user and profile in one transaction.
    ///
    /// # Errors
    /// [`CreationError`]: a condition of the creation does not hold. If the store failed, the user may have been created.
    pub async fn create_user(
        &self,
        actor: &Actor<'_>,
        new_user: &NewUser,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), CreationError> {
        let creation = creation(actor, new_user, attempt.at())?;
        let writes = creation.iter().map(|(_, write)| write.clone()).collect();
        let row = self.audit_row(new_user.key.tenant(), attempt, AttemptEvent::Outcome, event)?;
        let unmet = match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => return Ok(()),
            Transacted::Refused(unmet) => unmet,
        };
        let rejections = creation.into_iter().filter(|(_, write)| unmet.contains_key(write.key()));
        let first = rejections.map(|(rejection, _)| rejection).min();
        Err(OperationError::Rejected(first.unwrap_or(CreationRejection::IdTaken)))
    }

    /// Authenticates the caller and reads a user of the caller's tenant, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`]: the token holds no valid session, or the store failed.
    pub async fn load_user(
        &self,
        token: &TokenRef,
        target: UserId,
        now: Timestamp,
    ) -> Result<(Principal, LoadedUser), SessionError> {
        let key = token.user().tenant().user(target);
        let [own, user, profile] = target_keys(token.user(), &key);
        let [own, idp, user, profile] = self.read_all([own, keys::idp(key.tenant()), user, profile]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        Ok((principal, LoadedUser { key, found: [user, profile] }))
    }
}

/// The writes of a creation, each with the rejection if its condition does not hold.
fn creation(
    actor: &Actor<'_>,
    new_user: &NewUser,
    now: Timestamp,
) -> Result<Vec<(CreationRejection, Write)>, StoreError> {
    let tenant = new_user.key.tenant();
    let [login, user, profile] = new_user.writes()?;
    let mut writes = vec![
        (CreationRejection::NameTaken, login),
        (CreationRejection::IdTaken, user),
        (CreationRejection::IdTaken, profile),
    ];
    // Creations would contend for the tenant's item if each had a condition on it. The condition is needed only if nothing
    // else shows that the tenant exists. Tenants are never deleted.
    let tenant_exists = match actor {
        Actor::Seed | Actor::First => false,
        Actor::AdminContext(admin) => admin.tenant() == tenant,
        Actor::Idp(_) => true,
    };
    if !tenant_exists {
        writes.push((CreationRejection::NoTenant, Write::check(keys::tenant(tenant), vec![exists(attr("PK"))])));
    }
    if new_user.user.administers_now() {
        let no_admin = Condition::Any(vec![absent(attr("act")), eq(size(attr("act")), 0)]);
        let conditions = if matches!(actor, Actor::First) { vec![no_admin] } else { vec![] };
        let actions = vec![add_admin(&new_user.key, new_user.user.auth_type)];
        writes.push((CreationRejection::NotFirst, Write::update(keys::administrators(tenant), conditions, actions)));
        if let Actor::Idp(assertion) = actor {
            writes.push((CreationRejection::ActorRevoked, still_configured(assertion)));
        }
    }
    writes.extend(actor.check(now).map(|write| (CreationRejection::ActorRevoked, write)));
    if let Some(subject) = &new_user.profile.subject {
        writes.push((CreationRejection::SubjectTaken, linked(&new_user.key, &new_user.user, subject)?));
    }
    writes.extend(new_user.name_collision_checks().into_iter().map(|write| (CreationRejection::Ambiguous, write)));
    Ok(writes)
}

/// The condition that no other user has a login name.
fn login_unclaimed_by_others(login: &LoginKey, user: &UserId) -> Write {
    Write::check(keys::login(login), vec![Condition::Any(vec![absent(attr("uid")), eq(attr("uid"), user.as_str())])])
}

/// The write of a new password into the login name's item. The stored password must have this version.
pub(super) fn new_password(key: &UserKey, login: &LoginKey, version: PasswordVersion, hash: &PasswordHash) -> Write {
    Write::update(
        keys::login(login),
        vec![eq(attr("uid"), key.user().as_str()), eq(attr("pv"), version)],
        vec![
            Action::Set(attr("ph"), text(hash.as_str())),
            Action::Set(attr("pv"), num(version.raised().0)),
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
