//! Reads of login names: who has one, and whether a user has a password.

use std::collections::HashMap;

use crate::{
    domain::{LoginRow, User},
    id::{UserId, UserKey},
    secret::LoginKey,
    store::{Store, StoreError, item, keys},
};

/// Maximum items of one read.
const MAX_READ: usize = 100;

impl Store {
    /// The users who have these login names, by the digest of the name. Names that nobody has are left out.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn login_owners(&self, logins: &[LoginKey]) -> Result<HashMap<String, Option<UserId>>, StoreError> {
        // A read must not name an item twice.
        let unique: HashMap<&str, &LoginKey> = logins.iter().map(|login| (login.digest(), login)).collect();
        let unique: Vec<_> = unique.into_values().collect();
        let mut owners = HashMap::new();
        for logins in unique.chunks(MAX_READ) {
            let wanted: Vec<_> = logins.iter().map(|login| keys::login(login)).collect();
            for (login, found) in logins.iter().zip(self.table.read(&wanted).await?) {
                let row: LoginRow = item::read(found.unwrap_or_default())?;
                if row.uid.is_some() {
                    owners.insert(login.digest().to_owned(), row.uid);
                }
            }
        }
        Ok(owners)
    }

    /// Whether a user has a password.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn has_password(&self, key: &UserKey, user: &User) -> Result<bool, StoreError> {
        let [row] = self.read_all([keys::login(&LoginKey::of(key.tenant(), &user.login_digest))]).await?;
        Ok(item::read::<LoginRow>(row.unwrap_or_default())?.hash.is_some())
    }
}
