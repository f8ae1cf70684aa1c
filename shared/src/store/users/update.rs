//! Changes and deletions of users by an Administrator.

use super::{AttemptEvent, LoadedUser, login_unclaimed_by_others, new_password, target_keys};
use crate::{
    audit::AuditEvent,
    auth::update_user::{UpdateRejection, UserChange, update_user},
    domain::{AuthType, Kind, Role, User},
    env::Timestamp,
    id::UserKey,
    password::PasswordHash,
    secret::{LoginKey, NameIdLink},
    sign_in::Attempt,
    store::{
        OperationError, Store, StoreError,
        administrators::{AdminChange, add_admin, change_admin, mark_admin_with_mfa},
        commit::{self, Retries},
        item,
        item::{Administrators, LoginRow, Profile, Subject},
        keys,
        session::AdminContext,
        sso::linked,
        table::{Transacted, Transaction},
        write::{Action, Condition, Write, absent, attr, eq, exists, text},
    },
};

/// A change of a user. `None` leaves the value.
#[derive(Default)]
pub struct Patch {
    /// Employee or contact. The exclusion of a contact who becomes an employee ends.
    pub kind: Option<Kind>,
    /// Role.
    pub role: Option<Role>,
    /// How the user signs in.
    pub auth_type: Option<AuthType>,
    /// Whether the user may sign in.
    pub active: Option<bool>,
    /// The display name.
    pub display_name: Option<String>,
    /// The address for notifications.
    pub email: Option<String>,
    /// The hash of a new password.
    pub hash: Option<PasswordHash>,
    /// The name id of the tenant's IdP to link the user to.
    pub linked: Option<NameIdLink>,
}

/// Why a user was not changed or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRejection {
    /// There is no such user in this tenant.
    #[error("there is no such user")]
    NotFound,
    /// The user may not be changed in this way.
    #[error(transparent)]
    Update(#[from] UpdateRejection),
    /// The tenant would lose its last active Administrator, or its last way to administer it without an IdP.
    #[error(
        "a tenant must keep an active Administrator, and without an identity provider one who signs in with a password"
    )]
    LastAdministrator,
    /// The name id is linked to another user.
    #[error("the name id is linked to another user")]
    SubjectTaken,
    /// The name id equals another user's login name.
    #[error("the name id equals another user's login name")]
    Ambiguous,
    /// The caller lost the right to do it.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why a user was not changed or deleted.
pub type ChangeError = OperationError<ChangeRejection>;

/// A user and their profile, before and after a change.
struct Change<'a> {
    key: &'a UserKey,
    patch: &'a Patch,
    before: User,
    after: User,
    old_profile: Profile,
    profile: Profile,
}

impl Store {
    /// Changes a user, and returns them as they are then. A change of the address makes it unverified, and mailed tokens void.
    /// Every change except of names raises the security version, so the user must sign in again.
    ///
    /// # Errors
    /// [`ChangeError`]: there is no such user, a rule forbids the change, or the caller lost the right. If the store failed, the user
    /// may have been changed.
    pub async fn update_user(
        &self,
        admin: &AdminContext,
        mut target: LoadedUser,
        patch: &Patch,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(User, Profile), ChangeError> {
        let mut retries = Retries::of(attempt);
        loop {
            let (user, profile) = target.read()?.ok_or(rejected(ChangeRejection::NotFound))?;
            let change = Change::new(&target.key, user, profile, patch, attempt.at());
            let change = change.map_err(|why| rejected(why.into()))?;
            if change.is_empty() {
                return Ok(change.done());
            }
            let administrators = self.administrators(&target.key, change.of_administrator().is_some()).await?;
            let writes = change.writes(admin, &administrators, attempt.at())?;
            let writes = writes.ok_or(rejected(ChangeRejection::LastAdministrator))?;
            let audit_row = self.audit_row(target.key.tenant(), attempt, AttemptEvent::Outcome, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, audit_row)).await? {
                return Ok(change.done());
            }
            target = self.reload(admin, target, attempt.at()).await?;
            if let Some(link) = &patch.linked {
                self.check_link(&target.key, link).await?;
            }
            retries.pause().await?;
        }
    }

    /// Deletes a user. Only their audit rows stay, and the login name becomes free.
    ///
    /// # Errors
    /// [`ChangeError`]: there is no such user, the user is the last Administrator, or the caller lost the right. If the store failed,
    /// the user may have been deleted.
    pub async fn delete_user(
        &self,
        admin: &AdminContext,
        mut target: LoadedUser,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), ChangeError> {
        let mut retries = Retries::of(attempt);
        loop {
            let (user, profile) = target.read()?.ok_or(rejected(ChangeRejection::NotFound))?;
            let (key, now) = (&target.key, attempt.at());
            let administrators = self.administrators(key, user.administers_now()).await?;
            let mut writes: Vec<_> = actor_check(admin, key, now).into_iter().collect();
            let own_name = vec![eq(attr("uid"), key.user().as_str())];
            writes.extend([
                Write::delete(keys::user(key), commit::unchanged(&user)),
                Write::delete(keys::profile(key), vec![linked_as_loaded(profile.subject.as_ref())]),
                Write::delete(keys::login(&LoginKey::of(key.tenant(), &user.login_digest)), own_name),
                Write::delete(keys::exclusion(key), vec![]),
            ]);
            let subject = profile.subject.iter();
            writes.extend(subject.map(|subject| Write::delete(keys::subject(key.tenant(), subject), vec![])));
            if user.administers_now() {
                let removed = change_admin(key, &administrators, AdminChange::Remove);
                writes.push(removed.ok_or(rejected(ChangeRejection::LastAdministrator))?);
            }
            let audit_row = self.audit_row(key.tenant(), attempt, AttemptEvent::Outcome, event)?;
            if let Transacted::Committed = self.table.transact(&Transaction::new(writes, audit_row)).await? {
                return Ok(());
            }
            target = self.reload(admin, target, now).await?;
            retries.pause().await?;
        }
    }

    /// Reads the user again, if the caller still has the right to change the user.
    async fn reload(
        &self,
        admin: &AdminContext,
        target: LoadedUser,
        now: Timestamp,
    ) -> Result<LoadedUser, ChangeError> {
        let key = target.key;
        let [own, user, profile] = self.read_all(target_keys(admin.key(), &key)).await?;
        admin.if_still_authorized(own, now)?.ok_or(rejected(ChangeRejection::ActorRevoked))?;
        Ok(LoadedUser { key, found: [user, profile] })
    }

    /// Rejects a name id that is linked to another user, or is another user's login name.
    async fn check_link(&self, key: &UserKey, link: &NameIdLink) -> Result<(), ChangeError> {
        let wanted = [keys::subject(key.tenant(), &link.subject), keys::login(&link.login)];
        let [subject, login] = self.read_all(wanted).await?;
        let subject: Option<Subject> = subject.map(item::read).transpose()?;
        let login: Option<LoginRow> = login.map(item::read).transpose()?;
        let is_other = |user| user != *key.user();
        if subject.is_some_and(|subject| is_other(subject.uid)) {
            return Err(rejected(ChangeRejection::SubjectTaken));
        }
        if login.and_then(|login| login.uid).is_some_and(is_other) {
            return Err(rejected(ChangeRejection::Ambiguous));
        }
        Ok(())
    }
}

impl<'a> Change<'a> {
    fn new(
        key: &'a UserKey,
        before: User,
        old_profile: Profile,
        patch: &'a Patch,
        now: Timestamp,
    ) -> Result<Self, UpdateRejection> {
        let mut profile = old_profile.clone();
        if let Some(name) = &patch.display_name {
            profile.display_name.clone_from(name);
        }
        if patch.email.is_some() {
            profile.email.clone_from(&patch.email);
        }
        if let Some(link) = &patch.linked {
            (profile.name_id, profile.subject) = (Some(link.name_id.clone()), Some(link.subject.clone()));
        }
        let mut after = before.clone();
        let change = UserChange {
            kind: patch.kind,
            role: patch.role,
            auth_type: patch.auth_type,
            active: patch.active,
            password_fits_contact: patch.hash.as_ref().map(PasswordHash::long_enough_for_a_contact),
            relinked: profile.subject != old_profile.subject,
        };
        update_user(&mut after, key.tenant(), change, now)?;
        if profile.email != old_profile.email {
            after.change_address();
        }
        Ok(Self { key, patch, before, after, old_profile, profile })
    }

    fn is_empty(&self) -> bool {
        self.before == self.after && self.old_profile == self.profile
    }

    fn done(self) -> (User, Profile) {
        (self.after, self.profile)
    }

    /// The change of an active Administrator. `None`: the user was none, or stays one and signs in as before.
    fn of_administrator(&self) -> Option<AdminChange> {
        match (self.before.administers_now(), self.after.administers_now()) {
            (true, false) => Some(AdminChange::Remove),
            (true, true) if self.before.auth_type != self.after.auth_type => {
                Some(AdminChange::SignInBy(self.after.auth_type))
            }
            _ => None,
        }
    }

    /// All writes of the change. `None`: the tenant would lose its last Administrator.
    fn writes(
        &self,
        admin: &AdminContext,
        administrators: &Administrators,
        now: Timestamp,
    ) -> Result<Option<Vec<Write>>, StoreError> {
        let key = self.key;
        let mut writes: Vec<_> = actor_check(admin, key, now).into_iter().collect();
        writes.push(if self.before == self.after {
            Write::check(keys::user(key), commit::unchanged(&self.before))
        } else {
            commit::update(key, &self.before, &self.after)?
        });
        if self.old_profile != self.profile {
            writes.push(self.profile_write());
        }
        if let Some(hash) = &self.patch.hash {
            let login = LoginKey::of(key.tenant(), &self.before.login_digest);
            writes.push(new_password(key, &login, self.before.password_version, hash));
        }
        if self.before.kind == Kind::Contact && self.after.kind == Kind::Employee {
            writes.push(Write::delete(keys::exclusion(key), vec![]));
        }
        writes.extend(self.link_writes()?);
        if let Some(change) = self.of_administrator() {
            let Some(write) = change_admin(key, administrators, change) else { return Ok(None) };
            writes.push(write);
        } else if self.after.administers_now() && !self.before.administers_now() {
            let mut actions = vec![add_admin(key, self.after.auth_type)];
            actions.extend(self.after.factor.is_active().then(|| mark_admin_with_mfa(key)));
            writes.push(Write::update(keys::administrators(key.tenant()), vec![], actions));
        }
        Ok(Some(writes))
    }

    fn profile_write(&self) -> Write {
        let Profile { display_name, email, name_id, subject, .. } = &self.profile;
        let mut actions = vec![Action::Set(attr("dn"), text(display_name))];
        let optional = [("em", email), ("ni", name_id), ("sj", subject)];
        let set = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        actions.extend(set.map(|(name, value)| Action::Set(attr(name), text(value))));
        let conditions = vec![exists(attr("PK")), linked_as_loaded(self.old_profile.subject.as_ref())];
        Write::update(keys::profile(self.key), conditions, actions)
    }

    /// The writes of a new link, if there is one: the name that the IdP uses must not be another user's login name.
    fn link_writes(&self) -> Result<Vec<Write>, StoreError> {
        let (old, new) = (&self.old_profile.subject, &self.profile.subject);
        let Some(subject) = new.as_ref().filter(|_| old != new) else { return Ok(Vec::new()) };
        let of = |subject: &str| keys::subject(self.key.tenant(), subject);
        let mut writes: Vec<_> = old.iter().map(|old| Write::delete(of(old), vec![])).collect();
        writes.push(linked(self.key, &self.before, subject)?);
        let login = self.patch.linked.iter().map(|link| &link.login);
        // The user's own login name may be written by this transaction too.
        let login = login.filter(|login| login.digest() != self.before.login_digest);
        writes.extend(login.map(|login| login_unclaimed_by_others(login, self.key.user())));
        Ok(writes)
    }
}

fn rejected(why: ChangeRejection) -> ChangeError {
    OperationError::Rejected(why)
}

/// The condition on the caller's own item. `None` if callers change themselves: then the version of their item is the
/// condition.
fn actor_check(admin: &AdminContext, target: &UserKey, now: Timestamp) -> Option<Write> {
    (target != admin.key()).then(|| Write::check(keys::user(admin.key()), admin.conditions(now)))
}

/// The condition that the link is as loaded. A first sign-in by SSO links a user without a change of the user's item, so the
/// version of that item does not show it.
fn linked_as_loaded(subject: Option<&String>) -> Condition {
    subject.map_or_else(|| absent(attr("sj")), |subject| eq(attr("sj"), subject.as_str()))
}
