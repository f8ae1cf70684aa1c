//! Adds the tenants and users of a seed to a store. Existing tenants and users do not change.

use futures_util::{StreamExt, TryStreamExt, stream};
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome},
    http::App,
    id::{LoginName, TenantId, UserId},
    secret::Nonce,
    sign_in::Attempt,
    store::{
        OperatorEvents, StoreError,
        tenant::NewTenant,
        users::{Actor, CreationError, NewUser, NewUserDetails},
    },
};

use crate::{
    Failure,
    seed::{DEMO, Seed, SeedTenant, SeedUser},
};

/// The request id in the audit rows of a seed.
const REQUEST: &str = "seed";

/// Adds the missing tenants and users. A user is missing if no user of the tenant has the login name or the id.
///
/// # Errors
/// The store or the hash of a password failed. Users added before stay; the next run adds the rest.
pub async fn add_missing(app: &App, seed: Seed) -> Result<(), Failure> {
    for tenant in seed.tenants {
        if app.store.count_administrators(&tenant.id).await?.is_none() {
            let event = AuditEvent::new(AuditAction::TenantCreated, Outcome::Success, REQUEST);
            let new = NewTenant { id: tenant.id.clone(), name: tenant.name, first: None };
            let events = OperatorEvents { in_support: &event, in_tenant: &event };
            app.store.create_tenant(&Actor::Seed, &new, &attempt(app)?, &events).await?;
        }
        // Hashing takes most of the time: hash as many passwords in parallel as there are cores.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let users = stream::iter(tenant.users).map(|user| add_user(app, &tenant.id, user));
        users.buffer_unordered(cores).try_collect::<()>().await?;
    }
    Ok(())
}

/// The demo users in the store, with their initial passwords.
///
/// # Errors
/// The store failed.
pub async fn demo_users(app: &App) -> Result<Vec<SeedTenant>, Failure> {
    let mut found = Vec::new();
    for mut tenant in Seed::parse("demo", DEMO.as_bytes())?.tenants {
        let mut users = Vec::new();
        for user in std::mem::take(&mut tenant.users) {
            let Some(id) = user.id.clone() else { continue };
            match app.store.read_profile(&tenant.id.user(id)).await {
                Ok(it) if (&it.username, &it.display_name) == (&user.username, &user.display_name) => users.push(user),
                // Another user has the id, or no user.
                Ok(_) | Err(StoreError::Contended(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !users.is_empty() {
            found.push(SeedTenant { users, ..tenant });
        }
    }
    Ok(found)
}

fn attempt(app: &App) -> Result<Attempt, Failure> {
    Ok(Attempt::begin(app.clock.now(), &*app.entropy)?)
}

async fn add_user(app: &App, tenant: &TenantId, user: SeedUser) -> Result<(), Failure> {
    let names = app.names.as_deref().ok_or("the key for names is missing")?;
    let login = names.login(tenant, &LoginName::fold(&user.username));
    let key = user.id.clone().map(|id| tenant.user(id));
    if app.store.is_taken(&login, key.as_ref()).await? {
        return Ok(());
    }
    let key = match key {
        Some(key) => key,
        None => tenant.user(UserId::generate(&*app.entropy)?),
    };
    let attempt = attempt(app)?;
    let event = AuditEvent::new(AuditAction::UserCreated, Outcome::Success, REQUEST).about(key.user());
    let details = NewUserDetails {
        kind: user.kind,
        role: user.role,
        auth_type: user.auth_type,
        username: &user.username,
        display_name: &user.display_name,
        email: None,
    };
    let mut new_user = NewUser::new(key, login, &details, Nonce::generate(&*app.entropy)?, attempt.at());
    new_user.user.active = user.active;
    if let Some(password) = &user.password {
        new_user.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    match app.store.create_user(&Actor::Seed, &new_user, &attempt, &event).await {
        Ok(()) => Ok(()),
        Err(CreationError::Store(error)) => Err(error.into()),
        // The seed has no duplicate names or ids, so another process created a user since the items were read.
        Err(CreationError::Rejected(why)) => {
            Err(format!("user {} of tenant {tenant} could not be created: {why}", user.username).into())
        }
    }
}
