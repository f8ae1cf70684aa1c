//! The item of a tenant's active Administrators, and of those among them with a factor.

use super::{
    Store, StoreError, item,
    item::{Administrators, AuthType},
    keys,
    write::{Action, Condition, Value, Write, absent, attr, eq, exists, ge, size},
};
use crate::id::{UserId, UserKey};

impl Store {
    /// Reads the tenant's active Administrators if a change needs them. Otherwise returns none.
    pub(super) async fn administrators(&self, key: &UserKey, needed: bool) -> Result<Administrators, StoreError> {
        if !needed {
            return Ok(Administrators::default());
        }
        let [found] = self.read_all([keys::administrators(key.tenant())]).await?;
        item::read(found.unwrap_or_default())
    }

    /// Whether the tenant needs this active Administrator: without them it would have none, or none who can sign in. The rule
    /// is the one by which a change is refused.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn is_last_administrator(&self, key: &UserKey) -> Result<bool, StoreError> {
        let administrators = self.administrators(key, true).await?;
        Ok(change_admin(key, &administrators, AdminChange::Remove).is_none())
    }
}

/// Adds an Administrator to those who have a factor.
pub(super) fn mark_admin_with_mfa(key: &UserKey) -> Action {
    Action::Set(attr("able").key(key.user().as_str().to_owned()), Value::Bool(true))
}

/// Adds an active Administrator, and whether they sign in locally.
pub(super) fn add_admin(key: &UserKey, auth_type: AuthType) -> Action {
    Action::Set(attr("act").key(key.user().as_str().to_owned()), Value::Bool(auth_type == AuthType::Local))
}

/// The condition that a user is an active Administrator who signs in locally.
pub(super) fn is_local_admin(user: &UserId) -> Condition {
    eq(attr("act").key(user.as_str().to_owned()), true)
}

/// A change of an active Administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdminChange {
    /// They are no longer an active Administrator.
    Remove,
    /// They sign in this way from now on.
    SignInBy(AuthType),
}

/// Changes an active Administrator. `None` if the tenant would lose its last active Administrator, or the last who signs in
/// locally in a tenant without an IdP.
pub(super) fn change_admin(key: &UserKey, administrators: &Administrators, change: AdminChange) -> Option<Write> {
    let of = |map: &'static str| attr(map).key(key.user().as_str().to_owned());
    // The entry is as loaded. If it is missing, another request removed it, and the version of the user's item refuses this
    // write.
    let own = administrators.active.get(key.user());
    let as_loaded = own.map_or_else(|| absent(of("act")), |auth_type| eq(of("act"), *auth_type == AuthType::Local));
    let mut conditions = vec![as_loaded];
    if change == AdminChange::Remove && own.is_some() {
        if administrators.active.len() < 2 {
            return None;
        }
        conditions.push(ge(size(attr("act")), 2));
    }
    let leaves_locals = own == Some(&AuthType::Local) && change != AdminChange::SignInBy(AuthType::Local);
    if leaves_locals {
        conditions.push(match administrators.local(Some(key.user())) {
            _ if administrators.has_idp => exists(attr("idp")),
            Some(other) => is_local_admin(other),
            None => return None,
        });
    }
    let actions = match change {
        AdminChange::SignInBy(auth_type) => vec![add_admin(key, auth_type)],
        AdminChange::Remove => vec![Action::Remove(of("act")), Action::Remove(of("able"))],
    };
    Some(Write::update(keys::administrators(key.tenant()), conditions, actions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    fn key(name: &str) -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse(name).unwrap())
    }

    /// Active Administrators, each with whether they sign in locally.
    fn active(them: &[(&str, bool)], has_idp: bool) -> Administrators {
        let auth_type = |local: bool| if local { AuthType::Local } else { AuthType::SamlSso };
        let active = them.iter().map(|(name, local)| (key(name).user().clone(), auth_type(*local))).collect();
        Administrators { active, has_idp, ..Administrators::default() }
    }

    #[test]
    fn one_administrator_stays_and_one_local_administrator_if_there_is_no_idp() {
        use AdminChange::{Remove, SignInBy};
        use AuthType::{Local, SamlSso};
        let allowed = |them, idp, change| change_admin(&key("ann"), &active(them, idp), change).is_some();
        for (them, idp, change, expected) in [
            (&[("ann", true)][..], true, Remove, false),
            (&[("ann", true)], true, SignInBy(SamlSso), true),
            (&[("ann", true)], false, SignInBy(SamlSso), false),
            (&[("ann", true)], false, SignInBy(Local), true),
            (&[("ann", true), ("bob", true)], false, Remove, true),
            (&[("ann", true), ("bob", false)], false, Remove, false),
            (&[("ann", false), ("bob", false)], false, Remove, true),
            (&[("bob", true)], false, Remove, true),
        ] {
            assert_eq!(allowed(them, idp, change), expected, "{them:?} {idp} {change:?}");
        }
    }

    #[test]
    fn entry_that_changed_meanwhile_is_not_removed() {
        let both = |local| active(&[("ann", local), ("bob", true)], false);
        let without_ann = active(&[("bob", true)], false);
        for (loaded, now) in [(&both(true), &both(false)), (&both(false), &both(true)), (&without_ann, &both(true))] {
            let write = change_admin(&key("ann"), loaded, AdminChange::Remove).unwrap();
            assert!(write.apply(Some(item::write(loaded).unwrap())).is_ok());
            assert!(write.apply(Some(item::write(now).unwrap())).is_err());
        }
    }
}
