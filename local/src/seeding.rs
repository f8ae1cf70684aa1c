//! Putting a seed into a store: tenants and people that are missing are added, and nothing else is changed.

use futures_util::{StreamExt, TryStreamExt, stream};
use vestibule::{
    audit::{Action, AuditEvent, Outcome},
    http::App,
    id::{LoginName, TenantId, UserId},
    secret::Nonce,
    sign_in::Attempt,
    store::{
        StoreError,
        tenant::NewTenant,
        users::{Actor, Created, NewUser, NewUserDetails},
    },
};

use crate::{
    Failure,
    seed::{DEMO, Seed, SeedTenant, SeedUser},
};

/// What the audit rows of a seed give as their request.
const REQUEST: &str = "seed";

/// Adds the tenants and people that are missing: those whose login name and id nobody has.
///
/// # Errors
/// The store or a password's hash failed. What was added before stays; the next run adds the rest.
pub async fn add_missing(app: &App, seed: Seed) -> Result<(), Failure> {
    for tenant in seed.tenants {
        if app.store.count_administrators(&tenant.id).await?.is_none() {
            let event = AuditEvent::new(Action::TenantCreated, Outcome::Success, REQUEST);
            let new = NewTenant { id: tenant.id.clone(), name: tenant.name, first: None };
            app.store.create_tenant(&Actor::Seed, &new, &attempt(app)?, (&event, &event)).await?;
        }
        // Hashing is the work here: as many at once as there are cores.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let people = stream::iter(tenant.users).map(|user| add_person(app, &tenant.id, user));
        people.buffer_unordered(cores).try_collect::<()>().await?;
    }
    Ok(())
}

/// The demo people whom the store holds, with the passwords that they began with.
///
/// # Errors
/// The store failed.
pub async fn demo_people(app: &App) -> Result<Vec<SeedTenant>, Failure> {
    let mut found = Vec::new();
    for mut tenant in Seed::parse("demo", DEMO.as_bytes())?.tenants {
        let mut people = Vec::new();
        for user in std::mem::take(&mut tenant.users) {
            let Some(id) = user.id.clone() else { continue };
            match app.store.read_profile(&tenant.id.user(id)).await {
                Ok(it) if (&it.username, &it.display_name) == (&user.username, &user.display_name) => people.push(user),
                // Somebody else has the id, or nobody.
                Ok(_) | Err(StoreError::Contended(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !people.is_empty() {
            found.push(SeedTenant { users: people, ..tenant });
        }
    }
    Ok(found)
}

fn attempt(app: &App) -> Result<Attempt, Failure> {
    Ok(Attempt::begin(app.clock.now(), &*app.entropy)?)
}

async fn add_person(app: &App, tenant: &TenantId, user: SeedUser) -> Result<(), Failure> {
    let names = app.names.as_deref().ok_or("there is no key for names")?;
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
    let event = AuditEvent::new(Action::UserCreated, Outcome::Success, REQUEST).about(key.user());
    let asked = NewUserDetails {
        kind: user.kind,
        role: user.role,
        auth_type: user.auth_type,
        username: &user.username,
        display_name: &user.display_name,
        email: None,
    };
    let mut person = NewUser::new(key, login, &asked, Nonce::generate(&*app.entropy)?, attempt.at());
    person.user.active = user.active;
    if let Some(password) = &user.password {
        person.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    match app.store.create_user(&Actor::Seed, &person, &attempt, &event).await? {
        Created::Done => Ok(()),
        // Nobody else writes while a seed is put in: the lock is ours, and its names and ids are each their own.
        other => Err(format!("user {} of tenant {tenant} could not be created: {other:?}", user.username).into()),
    }
}
