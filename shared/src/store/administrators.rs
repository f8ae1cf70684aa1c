//! The item of a tenant's active Administrators: who they are, who of them has a factor, and who signs in locally.

use super::{
    Store, StoreError, item,
    item::{Administrators, AuthType},
    keys,
    write::{Action, Condition, Value, Write, absent, attr, eq, exists, ge, size},
};
use crate::id::{UserId, UserKey};

impl Store {
    /// The tenant's active Administrators, where a change is about one of them.
    pub(super) async fn administrators(&self, key: &UserKey, wanted: bool) -> Result<Administrators, StoreError> {
        if !wanted {
            return Ok(Administrators::default());
        }
        let [found] = self.read_all([keys::administrators(key.tenant())]).await?;
        item::read(found.unwrap_or_default())
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
