//! What a seed and the first set-up ask before they make anything.

use super::{
    Store, StoreError, item,
    item::{Administrators, LoginRow},
    keys,
    table::Again,
    write::{Action, Write, absent, attr, num, text},
};
use crate::{
    id::{TenantId, UserKey},
    secret::LoginKey,
};

impl Store {
    /// Says whose store this is, unless it is said already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identify(&self, id: &str) -> Result<(), StoreError> {
        let identity = vec![Action::Set(attr("id"), text(id)), Action::Set(attr("v"), num(1))];
        let write = Write::update(keys::identity(), vec![absent(attr("PK"))], identity);
        self.table.update(&write, Again::Harmless).await.map(|_| ())
    }

    /// How many active Administrators (in tenant support, operators) a tenant has; `None` when there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_administrators(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        let found = self.read_all([keys::tenant(tenant), keys::administrators(tenant)]).await?;
        let [Some(_), Some(administrators)] = found else { return Ok(None) };
        Ok(Some(item::read::<Administrators>(administrators)?.active.len()))
    }

    /// Whether somebody has the login name or, where one is given, the id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_taken(&self, login: &LoginKey, key: Option<&UserKey>) -> Result<bool, StoreError> {
        let wanted: Vec<_> = [keys::login(login)].into_iter().chain(key.map(keys::user)).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        let row: LoginRow = item::read(found.next().flatten().unwrap_or_default())?;
        Ok(row.uid.is_some() || found.next().flatten().is_some())
    }
}
